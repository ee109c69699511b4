/* What a tenant asks the provider about one host, and proves for itself where it can. Blocks. */
#ifndef LT_TENANT_HOST_FETCH_H
#define LT_TENANT_HOST_FETCH_H

#include "common/http/client.h"
#include "tenant/host.h"
#include "verifier/trust.h"

struct lt_host_fetch_host_source {
    struct lt_http_client *client;
    const char *url; /* https://HOST:PORT */
    long timeout_ms;
    struct lt_budget *memory; /* large replies are taken from it, and what is kept of them */
};

/* GET or POST /federation/v1/PATH; the reply's body is the caller's to free, and its charge to give back. */
int lt_host_fetch_host_call(const struct lt_host_fetch_host_source *p, const char *method, const char *path,
                            const char *body, size_t max, struct lt_http_reply *reply,
                            struct lt_err *e) LT_MUST_CHECK;

/* Keys and certificates of GET hosts/{id}, judged against trust and activated with a credential of our own
 * (had: what was had before, or NULL; the same keys are not activated twice). The EK must be the host's,
 * whose id is a hash of it. An answer to the activation that is wrong, or none at all, leaves it unknown: it
 * came by way of the provider. New reference. */
int lt_host_fetch_keys(const struct lt_host_fetch_host_source *p, const char *host,
                       const struct lt_verifier_trust *trust, const struct lt_tenant_host_keys *had,
                       struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* The same keys judged as of now, without asking anybody. New reference. */
int lt_host_fetch_host_judge_again(const struct lt_tenant_host_keys *had,
                                   const struct lt_verifier_trust *trust, struct lt_ref **out,
                                   struct lt_err *e) LT_MUST_CHECK;
/* The document with that digest; the digest is verified. The documents that it names are put into d, where
 * they are not there yet. */
int lt_host_fetch_policy(const struct lt_host_fetch_host_source *p, const uint8_t digest[LT_SHA256],
                         struct lt_documents *d, struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* Those of a policy that could not be had before: true, and *fresh is that policy with all of them. */
bool lt_host_fetch_missing(const struct lt_host_fetch_host_source *p,
                           const struct lt_tenant_host_document *have, struct lt_documents *d,
                           struct lt_ref **fresh);
/* 404 gives a log that is not present. */
int lt_host_fetch_log(const struct lt_host_fetch_host_source *p, const char *host, uint32_t reset_count,
                      struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* The whole list: what is had of it (NULL: nothing) and what has come since. 404 gives one that is not
 * present. */
int lt_host_fetch_ima(const struct lt_host_fetch_host_source *p, const char *host,
                      const struct lt_tenant_host_ima *had, uint32_t reset_count,
                      const uint8_t pcr[LT_SHA256], struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;

#endif
