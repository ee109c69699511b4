/* Policies by name: Keylime's allowlists (runtime policies) and mbpolicies (reference states). What lies
 * under a name is a document of ours, by digest; a name can be given another for guests of Keylime's door
 * alone. */
#include "common/hash.h"
#include "common/limits.h"
#include "keylime/add.h"
#include "tenant/keylime.h"

#include <stdlib.h>
#include <string.h>

#define TRIES 4 /* to find the guests of a name as they were when their policies were made, count */

/* ---- the routes ---- */

static int read_runtime(struct lt_tenant *t, const json_t *body, struct lt_store_keylime_policy *out,
                        struct lt_err *e)
{
    LT_AUTOFREE uint8_t *doc = NULL, *key = NULL;
    size_t n, key_n;

    if (lt_json_has(body, "tpm_policy"))
        LT_TRY(lt_add_text(body, "tpm_policy", LT_MAX_BODY_SMALL, &out->tpm_policy, e));
    LT_TRY(lt_add_document(body, "runtime_policy", LT_MAX_POLICY, &doc, &n, e));
    LT_TRY(lt_add_document(body, "runtime_policy_key", LT_MAX_PUBKEY, &key, &key_n, e));
    return lt_tenant_keylime_runtime(t, (struct lt_slice){doc, n}, (const char *)key, out, e);
}

static int read_boot(struct lt_tenant *t, const json_t *body, struct lt_store_keylime_policy *out,
                     struct lt_err *e)
{
    LT_AUTOFREE char *text = NULL;

    LT_TRY(lt_add_text(body, "mb_policy", LT_MAX_BOOT_POLICY, &text, e));
    return lt_tenant_keylime_boot(t, text, out, e);
}

static int read_policy(struct lt_tenant *t, struct lt_http_req *req, enum lt_store_keylime_kind kind,
                       struct lt_store_keylime_policy *out, struct lt_err *e)
{
    const char *name = lt_http_req_arg(req, 1);
    LT_JSON_AUTO json_t *body = NULL;

    memset(out, 0, sizeof *out);
    if (!lt_id_ok(name))
        return lt_fail(e, LT_E_MALFORMED, "a policy's name has 1 to %d of A-Z a-z 0-9 . _ -", LT_ID_MAX);
    memcpy(out->name, name, strlen(name) + 1);
    if (!(body = lt_http_req_json(req, e)))
        return e->code;
    int rc = kind == LT_STORE_KEYLIME_RUNTIME ? read_runtime(t, body, out, e) : read_boot(t, body, out, e);
    if (rc)
        lt_store_keylime_policy_free(out);
    return rc;
}

static int post_policy(struct lt_tenant *t, struct lt_http_req *req, enum lt_store_keylime_kind kind,
                       struct lt_err *e)
{
    struct lt_store_keylime_policy p;

    LT_TRY(read_policy(t, req, kind, &p, e));
    int rc = lt_store_keylime_policy_add(t->store, &p, e);
    if (rc)
        lt_tenant_keylime_forget(t, &p);
    lt_store_keylime_policy_free(&p);
    return rc;
}

/* ---- another content under a name ---- */

struct changing {
    struct lt_tenant *t;
    const struct lt_store_keylime_policy *now;
    struct lt_store_keylime_change *changes; /* documents are owned */
    size_t count;
    struct lt_err *e;
};

static void changing_free(struct changing *c)
{
    for (size_t i = 0; i < c->count; i++)
        free((void *)c->changes[i].document.p);
    free(c->changes);
    c->changes = NULL;
    c->count = 0;
}

/* The document of that kind that the guest is to be judged by. */
static int document_of(const struct changing *c, enum lt_store_keylime_kind kind,
                       const struct lt_store_keylime *row, struct lt_store_keylime_policy *out)
{
    memset(out, 0, sizeof *out);
    if (kind == c->now->kind) {
        *out = *c->now;
        out->tpm_policy = NULL;
        return 0;
    }
    if (!row->name[kind][0])
        return 0;
    LT_TRY(lt_store_keylime_policy_get(c->t->store, kind, row->name[kind], out, c->e));
    free(lt_take(&out->tpm_policy));
    return 0;
}

static int remake(void *arg, const struct lt_store_guest *g, const struct lt_store_keylime *row)
{
    struct changing *c = arg;
    struct lt_store_keylime_policy documents[LT_STORE_KEYLIME_KINDS];
    struct lt_tenant_keylime_bytes bytes;
    struct lt_store_keylime_change *more = realloc(c->changes, (c->count + 1) * sizeof *more);

    if (!more)
        return lt_fail(c->e, LT_E_NO_MEMORY, "policy: no memory");
    c->changes = more;
    for (int kind = 0; kind < LT_STORE_KEYLIME_KINDS; kind++)
        LT_TRY(document_of(c, (enum lt_store_keylime_kind)kind, row, &documents[kind]));
    LT_TRY_IN(lt_tenant_keylime_judged(
                  c->t,
                  (const struct lt_store_keylime_policy *const[]){&documents[LT_STORE_KEYLIME_RUNTIME],
                                                                  &documents[LT_STORE_KEYLIME_BOOT]},
                  json_string_value(json_object_get(row->given, "tpm_policy")),
                  json_string_value(json_object_get(row->given, LT_ADD_IMA_KEYS)), &bytes, c->e),
              c->e, "agent %s", g->agent);
    struct lt_store_keylime_change *one = &c->changes[c->count++];
    memcpy(one->uuid, g->uuid, sizeof one->uuid);
    one->document = (struct lt_slice){bytes.p, bytes.n};
    return 0;
}

static int change_once(struct changing *c)
{
    const struct lt_store_keylime_policy *p = c->now;
    int rc = lt_store_keylime_users(c->t->store, p->kind, p->name, remake, c, c->e);

    if (!rc)
        rc = lt_store_keylime_policy_change(c->t->store, p, c->changes, c->count, c->e);
    for (size_t i = 0; !rc && i < c->count; i++)
        lt_rounds_add(c->t->rounds, c->changes[i].uuid);
    changing_free(c);
    return rc;
}

static int change_policy(struct lt_tenant *t, const struct lt_store_keylime_policy *p, struct lt_err *e)
{
    struct changing c = {.t = t, .now = p, .e = e};
    struct lt_store_keylime_policy was;
    int rc = LT_E_BUSY;

    LT_TRY(lt_store_keylime_policy_get(t->store, p->kind, p->name, &was, e));
    for (int i = 0; i < TRIES && rc == LT_E_BUSY; i++)
        rc = change_once(&c);
    if (rc || !was.has_document || !p->has_document || memcmp(was.digest, p->digest, sizeof was.digest))
        lt_tenant_keylime_forget(t, rc ? p : &was);
    lt_store_keylime_policy_free(&was);
    return rc;
}

static int put_policy(struct lt_tenant *t, struct lt_http_req *req, enum lt_store_keylime_kind kind,
                      struct lt_err *e)
{
    struct lt_store_keylime_policy p;

    LT_TRY(read_policy(t, req, kind, &p, e));
    int rc = change_policy(t, &p, e);
    lt_store_keylime_policy_free(&p);
    return rc;
}

static int delete_policy(struct lt_tenant *t, struct lt_http_req *req, enum lt_store_keylime_kind kind,
                         struct lt_err *e)
{
    const char *name = lt_http_req_arg(req, 1);
    struct lt_store_keylime_policy p;

    LT_TRY(lt_store_keylime_policy_get(t->store, kind, name, &p, e));
    int rc = lt_store_keylime_policy_drop(t->store, kind, name, e);
    if (!rc)
        lt_tenant_keylime_forget(t, &p);
    lt_store_keylime_policy_free(&p);
    return rc;
}

/* The document's text; "{}" of one that judges nothing. */
static int text_of(struct lt_tenant *t, const struct lt_store_keylime_policy *p, json_t **out,
                   struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n;

    if (p->has_document)
        LT_TRY(lt_store_policy_get(t->store, p->digest, &bytes, &n, e));
    *out = lt_json_new_text(bytes ? (char *)bytes : "{}");
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
}

static int get_policy(struct lt_tenant *t, struct lt_http_req *req, enum lt_store_keylime_kind kind,
                      json_t **results, struct lt_err *e)
{
    struct lt_store_keylime_policy p;
    json_t *text = NULL;

    LT_TRY(lt_store_keylime_policy_get(t->store, kind, lt_http_req_arg(req, 1), &p, e));
    int rc = text_of(t, &p, &text, e);
    if (!rc && kind == LT_STORE_KEYLIME_RUNTIME) /* tmp_policy: so it is spelt */
        *results = json_pack("{s:s, s:s, s:o}", "name", p.name, "tmp_policy",
                             p.tpm_policy ? p.tpm_policy : "", "runtime_policy", text);
    else if (!rc)
        *results = json_pack("{s:s, s:o}", "name", p.name, "mb_policy", text);
    lt_store_keylime_policy_free(&p);
    return rc;
}

static int list_policies(struct lt_tenant *t, enum lt_store_keylime_kind kind, const char *key,
                         json_t **results, struct lt_err *e)
{
    json_t *names;

    LT_TRY(lt_store_keylime_policy_names(t->store, kind, &names, e));
    *results = json_pack("{s:o}", key, names);
    return 0;
}

/* ---- allowlists ---- */

static int list_runtime(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)req;
    return list_policies(t, LT_STORE_KEYLIME_RUNTIME, "runtimepolicy names", results, e);
}

static int get_runtime(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    return get_policy(t, req, LT_STORE_KEYLIME_RUNTIME, results, e);
}

static int post_runtime(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return post_policy(t, req, LT_STORE_KEYLIME_RUNTIME, e);
}

static int put_runtime(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return put_policy(t, req, LT_STORE_KEYLIME_RUNTIME, e);
}

static int delete_runtime(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return delete_policy(t, req, LT_STORE_KEYLIME_RUNTIME, e);
}

void lt_tenant_keylime_get_allowlists(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, list_runtime, 200);
}

void lt_tenant_keylime_get_allowlist(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, get_runtime, 200);
}

void lt_tenant_keylime_post_allowlist(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, post_runtime, 201);
}

void lt_tenant_keylime_put_allowlist(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, put_runtime, 201);
}

void lt_tenant_keylime_delete_allowlist(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, delete_runtime, 204);
}

/* ---- mbpolicies ---- */

static int list_boot(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)req;
    return list_policies(t, LT_STORE_KEYLIME_BOOT, "mbpolicy names", results, e);
}

static int get_boot(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    return get_policy(t, req, LT_STORE_KEYLIME_BOOT, results, e);
}

static int post_boot(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return post_policy(t, req, LT_STORE_KEYLIME_BOOT, e);
}

/* Of a name that is absent 409, where allowlists say 404. */
static int put_boot(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    int rc = put_policy(t, req, LT_STORE_KEYLIME_BOOT, e);

    (void)results;
    if (rc == LT_E_NOT_FOUND)
        rc = e->code = LT_E_CONFLICT;
    return rc;
}

static int delete_boot(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    (void)results;
    return delete_policy(t, req, LT_STORE_KEYLIME_BOOT, e);
}

void lt_tenant_keylime_get_mbpolicies(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, list_boot, 200);
}

void lt_tenant_keylime_get_mbpolicy(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, get_boot, 200);
}

void lt_tenant_keylime_post_mbpolicy(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, post_boot, 201);
}

void lt_tenant_keylime_put_mbpolicy(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, put_boot, 201);
}

void lt_tenant_keylime_delete_mbpolicy(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, delete_boot, 204);
}
