/* Inside tenant/ only: Keylime's verifier API v2 (docs/keylime.md). Two doors: who comes by this one reads
 * every guest, and changes those alone that came by it; the federation's are LT_E_FORBIDDEN. Handlers run on
 * a pool and may block. */
#ifndef LT_TENANT_KEYLIME_H
#define LT_TENANT_KEYLIME_H

#include "tenant/tenant.h"
#include "verifier/store/keylime.h"

void lt_tenant_keylime_get_version(struct lt_http_req *req, void *app);
/* keylime_agents.c, keylime_add.c */
void lt_tenant_keylime_get_agents(struct lt_http_req *req, void *app);
void lt_tenant_keylime_get_agent(struct lt_http_req *req, void *app);
void lt_tenant_keylime_post_agent(struct lt_http_req *req, void *app);
void lt_tenant_keylime_delete_agent(struct lt_http_req *req, void *app);
void lt_tenant_keylime_put_stop(struct lt_http_req *req, void *app);
void lt_tenant_keylime_put_reactivate(struct lt_http_req *req, void *app);
/* keylime_policies.c */
void lt_tenant_keylime_get_allowlists(struct lt_http_req *req, void *app);
void lt_tenant_keylime_get_allowlist(struct lt_http_req *req, void *app);
void lt_tenant_keylime_post_allowlist(struct lt_http_req *req, void *app);
void lt_tenant_keylime_put_allowlist(struct lt_http_req *req, void *app);
void lt_tenant_keylime_delete_allowlist(struct lt_http_req *req, void *app);
void lt_tenant_keylime_get_mbpolicies(struct lt_http_req *req, void *app);
void lt_tenant_keylime_get_mbpolicy(struct lt_http_req *req, void *app);
void lt_tenant_keylime_post_mbpolicy(struct lt_http_req *req, void *app);
void lt_tenant_keylime_put_mbpolicy(struct lt_http_req *req, void *app);
void lt_tenant_keylime_delete_mbpolicy(struct lt_http_req *req, void *app);
/* keylime_verify.c */
void lt_tenant_keylime_get_identity(struct lt_http_req *req, void *app);
void lt_tenant_keylime_post_evidence(struct lt_http_req *req, void *app);

/* One of the above, without its envelope: *results (may stay NULL) is a new reference. */
typedef int (*lt_tenant_keylime_fn)(struct lt_tenant *t, struct lt_http_req *req, json_t **results,
                                    struct lt_err *e);
/* Calls fn if the path's version (argument 0) is one of ours, and answers with that status, or the error. 204
 * has no body. */
void lt_tenant_keylime_answer(struct lt_http_req *req, struct lt_tenant *t, lt_tenant_keylime_fn fn,
                              int status);

/* The guest of agent `id`: LT_E_MALFORMED: no id, LT_E_NOT_FOUND. */
int lt_tenant_keylime_find(struct lt_tenant *t, const char *id, struct lt_store_guest *out,
                           struct lt_err *e) LT_MUST_CHECK;
/* The same of one that may be changed by this API: LT_E_FORBIDDEN. */
int lt_tenant_keylime_own(struct lt_tenant *t, const char *id, struct lt_store_guest *out,
                          struct lt_err *e) LT_MUST_CHECK;
/* keylime_judged.c */
/* A policy's bytes become a document of ours (out: kind, has_document, digest). An empty one judges nothing.
 * key: PEM for an envelope, or NULL. */
int lt_tenant_keylime_runtime(struct lt_tenant *t, struct lt_slice bytes, const char *key,
                              struct lt_store_keylime_policy *out, struct lt_err *e) LT_MUST_CHECK;
int lt_tenant_keylime_boot(struct lt_tenant *t, const char *text, struct lt_store_keylime_policy *out,
                           struct lt_err *e) LT_MUST_CHECK;
/* Its document goes, unless somebody names it. */
void lt_tenant_keylime_forget(struct lt_tenant *t, const struct lt_store_keylime_policy *p);
/* The guest policy of a guest with these documents (of each kind), its tpm_policy and its
 * ima_sign_verification_keys (NULL: none), with what tenant.conf accepts for Keylime's guests. out: bytes and
 * digest; lt_tenant_keylime_bytes_free. LT_E_MALFORMED names the key that our policies have no words for. */
struct lt_tenant_keylime_bytes {
    uint8_t *p;
    size_t n;
    uint8_t digest[32];
};
void lt_tenant_keylime_bytes_free(struct lt_tenant_keylime_bytes *b);
int lt_tenant_keylime_judged(struct lt_tenant *t, const struct lt_store_keylime_policy *const documents[],
                             const char *tpm_policy, const char *ima_keys,
                             struct lt_tenant_keylime_bytes *out, struct lt_err *e) LT_MUST_CHECK;

#endif
