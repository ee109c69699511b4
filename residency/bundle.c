#include "residency/bundle.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT "limetree-bundle/1"
#define MAX_PEM (2 * LT_MAX_CERTIFICATE) /* characters */
#define MAX_POLICIES 256                 /* documents in one bundle */

static void certificates_free(struct lt_bundle_certificates *c)
{
    for (unsigned i = 0; i < c->count; i++)
        free(c->pem[i]);
}

void lt_bundle_free(struct lt_bundle *b)
{
    struct lt_bundle_guest_evidence *g = &b->guest;
    struct lt_bundle_host_evidence *h = &b->host;
    uint8_t *blobs[] = {g->attest.p, g->signature.p, g->ak.p,       g->ek.p,  g->boot_log.p, g->ima.p,
                        h->ak.p,     h->ek.p,        h->boot_log.p, h->ima.p, h->openers.p};

    for (size_t i = 0; i < sizeof blobs / sizeof *blobs; i++)
        free(blobs[i]);
    free(g->pubkey);
    certificates_free(&g->ek_certificates);
    certificates_free(&h->ek_certificates);
    lt_residency_host_quote_free(&h->quote);
    for (size_t i = 0; i < b->policy_count; i++)
        free(b->policies[i].bytes.p);
    free(b->policies);
    json_decref(b->times);
    json_decref(b->verdict);
    memset(b, 0, sizeof *b);
}

static int blob(const json_t *o, const char *key, size_t max, struct lt_bundle_blob *out, struct lt_err *e)
{
    return lt_json_base64(o, key, max, &out->p, &out->n, e);
}

static int optional_blob(const json_t *o, const char *key, size_t max, struct lt_bundle_blob *out,
                         struct lt_err *e)
{
    return lt_json_has(o, key) ? blob(o, key, max, out, e) : 0;
}

static int text(const json_t *v, const char *key, size_t max, char **out, struct lt_err *e)
{
    const char *s = json_string_value(v);

    if (!s || strlen(s) != json_string_length(v))
        return lt_fail(e, LT_E_MALFORMED, "JSON \"%s\": not a string without NULs", key);
    if (json_string_length(v) > max)
        return lt_fail(e, LT_E_TOO_LARGE, "JSON \"%s\": %zu characters > %zu", key, json_string_length(v),
                       max);
    return (*out = strdup(s)) ? 0 : lt_fail(e, LT_E_NO_MEMORY, "JSON \"%s\": no memory", key);
}

static int certificates(const json_t *o, struct lt_bundle_certificates *out, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    if (!lt_json_has(o, "ek_certificates"))
        return 0;
    LT_TRY(lt_json_array(o, "ek_certificates", LT_MAX_CERTIFICATES, &list, e));
    json_array_foreach(list, i, v)
    {
        LT_TRY(text(v, "ek_certificates", MAX_PEM, &out->pem[i], e));
        out->count = (unsigned)i + 1;
    }
    return 0;
}

static int nonce(const json_t *o, char out[LT_RESIDENCY_NONCE + 1], struct lt_err *e)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *s;

    LT_TRY(lt_json_string(o, "nonce", &s, e));
    if (strlen(s) != LT_RESIDENCY_NONCE || strspn(s, alphabet) != LT_RESIDENCY_NONCE)
        return lt_fail(e, LT_E_MALFORMED, "JSON \"nonce\": not %d characters of [A-Za-z0-9]",
                       LT_RESIDENCY_NONCE);
    memcpy(out, s, LT_RESIDENCY_NONCE + 1);
    return 0;
}

static int guest(const json_t *o, struct lt_bundle_guest_evidence *g, struct lt_err *e)
{
    static const char *const keys[] = {"uuid", "nonce",           "attest", "signature", "pcrs", "ak",
                                       "ek",   "ek_certificates", "pubkey", "boot_log",  "ima",  NULL};
    json_t *pcrs;

    LT_TRY(lt_json_only(o, keys, e));
    LT_TRY(lt_json_uuid(o, "uuid", g->uuid, e));
    LT_TRY(nonce(o, g->nonce, e));
    LT_TRY(blob(o, "attest", LT_MAX_ATTEST, &g->attest, e));
    LT_TRY(blob(o, "signature", LT_MAX_SIGNATURE, &g->signature, e));
    LT_TRY(lt_json_object(o, "pcrs", &pcrs, e));
    LT_TRY(lt_residency_pcrs_from_json(pcrs, lt_residency_pcrs_bank(pcrs), &g->pcrs, e));
    LT_TRY(blob(o, "ak", LT_MAX_PUBLIC, &g->ak, e));
    LT_TRY(blob(o, "ek", LT_MAX_PUBLIC, &g->ek, e));
    LT_TRY(certificates(o, &g->ek_certificates, e));
    if (lt_json_has(o, "pubkey"))
        LT_TRY(text(json_object_get(o, "pubkey"), "pubkey", LT_MAX_PUBKEY, &g->pubkey, e));
    LT_TRY(optional_blob(o, "boot_log", LT_MAX_BOOT_LOG, &g->boot_log, e));
    return optional_blob(o, "ima", LT_MAX_IMA_LOG, &g->ima, e);
}

static int host(const json_t *o, struct lt_bundle_host_evidence *h, struct lt_err *e)
{
    static const char *const keys[] = {"header",          "attest",   "signature", "pcrs",    "ak", "ek",
                                       "ek_certificates", "boot_log", "ima",       "openers", NULL};

    LT_TRY(lt_json_only(o, keys, e));
    LT_TRY(lt_residency_host_quote_from_json(o, &h->quote, e));
    LT_TRY(blob(o, "ak", LT_MAX_PUBLIC, &h->ak, e));
    LT_TRY(blob(o, "ek", LT_MAX_PUBLIC, &h->ek, e));
    LT_TRY(certificates(o, &h->ek_certificates, e));
    LT_TRY(optional_blob(o, "boot_log", LT_MAX_BOOT_LOG, &h->boot_log, e));
    LT_TRY(optional_blob(o, "ima", LT_MAX_IMA_LOG, &h->ima, e));
    return optional_blob(o, "openers", LT_MAX_OPENERS_BYTES, &h->openers, e);
}

/* What only the host's half brings: its quote, and the two paths. */
static int host_half(const json_t *j, struct lt_bundle *b, struct lt_err *e)
{
    static const char *const batch_keys[] = {"index", "path", NULL};
    static const char *const residency_keys[] = {"index", "path", "record", NULL};
    json_t *o;

    if (!lt_json_has(j, "host")) {
        if (lt_json_has(j, "batch") || lt_json_has(j, "residency"))
            return lt_fail(e, LT_E_MALFORMED, "bundle: a path without a host quote");
        return 0;
    }
    b->has_host = true;
    LT_TRY(lt_json_object(j, "host", &o, e));
    LT_TRY_IN(host(o, &b->host, e), e, "host");
    LT_TRY(lt_proof_from_json(j, &b->proof, e));
    LT_TRY(lt_json_only(json_object_get(j, "batch"), batch_keys, e));
    return b->proof.resident ? lt_json_only(json_object_get(j, "residency"), residency_keys, e) : 0;
}

static int policies(const json_t *j, struct lt_bundle *b, struct lt_err *e)
{
    const char *key;
    json_t *o, *v;

    LT_TRY(lt_json_object(j, "policies", &o, e));
    if (json_object_size(o) > MAX_POLICIES)
        return lt_fail(e, LT_E_TOO_LARGE, "policies: %zu documents > %d", json_object_size(o), MAX_POLICIES);
    if (json_object_size(o) && !(b->policies = calloc(json_object_size(o), sizeof *b->policies)))
        return lt_fail(e, LT_E_NO_MEMORY, "policies: no memory");
    json_object_foreach(o, key, v)
    {
        struct lt_bundle_policy *p = &b->policies[b->policy_count];
        uint8_t digest[LT_SHA256];
        LT_TRY_IN(lt_unhex(key, p->digest, sizeof p->digest, e), e, "policies: name \"%.70s\"", key);
        b->policy_count++;
        LT_TRY(blob(o, key, LT_MAX_POLICY, &p->bytes, e));
        lt_sha256(p->bytes.p, p->bytes.n, digest);
        if (memcmp(digest, p->digest, sizeof digest))
            return lt_fail(e, LT_E_MALFORMED, "policies: the document under %s has another digest", key);
    }
    return 0;
}

/* times and verdict are for people: any object, kept as it is. */
static int any_object(const json_t *j, const char *key, json_t **out, struct lt_err *e)
{
    if (!lt_json_has(j, key))
        return 0;
    json_t *o;
    int rc = lt_json_object(j, key, &o, e);
    *out = rc ? NULL : json_incref(o);
    return rc;
}

static int parse(const json_t *j, struct lt_bundle *b, struct lt_err *e)
{
    static const char *const keys[] = {"format", "tenant_id", "guest",        "commitment",
                                       "host",   "batch",     "residency",    "policies",
                                       "times",  "verdict",   "logs_omitted", NULL};
    const char *format;
    json_t *o;

    LT_TRY(lt_json_string(j, "format", &format, e));
    if (strcmp(format, FORMAT))
        return lt_fail(e, LT_E_UNSUPPORTED, "bundle: format \"%.40s\", only " FORMAT " is known", format);
    LT_TRY(lt_json_only(j, keys, e));
    LT_TRY(lt_json_uuid(j, "tenant_id", b->tenant_id, e));
    LT_TRY(lt_json_hex(j, "commitment", b->commitment, 32, e));
    LT_TRY(lt_json_object(j, "guest", &o, e));
    LT_TRY_IN(guest(o, &b->guest, e), e, "guest");
    if (lt_json_has(j, "logs_omitted"))
        LT_TRY(lt_json_bool(j, "logs_omitted", &b->logs_omitted, e));
    LT_TRY(host_half(j, b, e));
    LT_TRY(policies(j, b, e));
    LT_TRY(any_object(j, "times", &b->times, e));
    return any_object(j, "verdict", &b->verdict, e);
}

int lt_bundle_parse(const void *bytes, size_t n, struct lt_bundle *out, struct lt_err *e)
{
    memset(out, 0, sizeof *out);
    LT_JSON_AUTO json_t *j = lt_json_parse(bytes, n, LT_MAX_BUNDLE, e);
    if (!j)
        return e->code ? e->code : LT_E_MALFORMED;
    int rc = parse(j, out, e);
    if (rc)
        lt_bundle_free(out);
    return rc;
}

/* ---- out ---- */

static void set_blob(json_t *o, const char *key, const struct lt_bundle_blob *b)
{
    if (b->p)
        json_object_set_new(o, key, lt_json_new_base64(b->p, b->n));
}

static void set_certificates(json_t *o, const struct lt_bundle_certificates *c)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < c->count; i++)
        json_array_append_new(list, lt_json_new_text(c->pem[i]));
    json_object_set_new(o, "ek_certificates", list);
}

static json_t *guest_json(const struct lt_bundle_guest_evidence *g)
{
    json_t *o = json_pack("{s:o, s:s}", "uuid", lt_json_new_uuid(g->uuid), "nonce", g->nonce);

    set_blob(o, "attest", &g->attest);
    set_blob(o, "signature", &g->signature);
    json_object_set_new(o, "pcrs", lt_residency_pcrs_to_json(&g->pcrs));
    set_blob(o, "ak", &g->ak);
    set_blob(o, "ek", &g->ek);
    set_certificates(o, &g->ek_certificates);
    if (g->pubkey)
        json_object_set_new(o, "pubkey", lt_json_new_text(g->pubkey));
    set_blob(o, "boot_log", &g->boot_log);
    set_blob(o, "ima", &g->ima);
    return o;
}

static json_t *host_json(const struct lt_bundle_host_evidence *h)
{
    json_t *o = lt_residency_host_quote_to_json(&h->quote);

    set_blob(o, "ak", &h->ak);
    set_blob(o, "ek", &h->ek);
    set_certificates(o, &h->ek_certificates);
    set_blob(o, "boot_log", &h->boot_log);
    set_blob(o, "ima", &h->ima);
    set_blob(o, "openers", &h->openers);
    return o;
}

static json_t *policies_json(const struct lt_bundle *b)
{
    json_t *o = json_object();

    for (size_t i = 0; i < b->policy_count; i++) {
        char name[2 * LT_SHA256 + 1];
        lt_hex(b->policies[i].digest, LT_SHA256, name);
        json_object_set_new(o, name, lt_json_new_base64(b->policies[i].bytes.p, b->policies[i].bytes.n));
    }
    return o;
}

json_t *lt_bundle_to_json(const struct lt_bundle *b)
{
    json_t *o =
        json_pack("{s:s, s:o, s:o, s:o}", "format", FORMAT, "tenant_id", lt_json_new_uuid(b->tenant_id),
                  "guest", guest_json(&b->guest), "commitment", lt_json_new_hex(b->commitment, 32));

    if (b->has_host) {
        LT_JSON_AUTO json_t *proof = lt_proof_to_json(&b->proof);
        json_object_set_new(o, "host", host_json(&b->host));
        json_object_update(o, proof);
    }
    json_object_set_new(o, "policies", policies_json(b));
    if (b->logs_omitted)
        json_object_set_new(o, "logs_omitted", json_true());
    if (b->times)
        json_object_set(o, "times", b->times);
    if (b->verdict)
        json_object_set(o, "verdict", b->verdict);
    return o;
}
