#include "tenant/token.h"

#include "common/openssl.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MODULUS 1024 /* bytes: RSA of 8192 bits */

/* ---- cnf: the transport key that PCR 16 of the round named (RFC 7800 3.2) ---- */

static json_t *number(const EVP_PKEY *key, const char *name)
{
    uint8_t bytes[MAX_MODULUS];
    BIGNUM *v = NULL;
    json_t *text = NULL;

    if (EVP_PKEY_get_bn_param(key, name, &v) == 1 && BN_num_bytes(v) <= MAX_MODULUS) {
        LT_AUTOFREE char *s = lt_token_base64url(bytes, (size_t)BN_bn2bin(v, bytes));
        text = s ? json_string(s) : NULL;
    }
    BN_free(v);
    return text;
}

static json_t *confirmation(const char *pem)
{
    lt_openssl_begin();
    LT_AUTO(BIO) BIO *b = pem ? BIO_new_mem_buf(pem, -1) : NULL;
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = b ? PEM_read_bio_PUBKEY(b, NULL, NULL, NULL) : NULL;
    json_t *cnf = NULL;

    if (key && EVP_PKEY_is_a(key, "RSA"))
        cnf = json_pack("{s:{s:s, s:o, s:o}}", "jwk", "kty", "RSA", "n", number(key, OSSL_PKEY_PARAM_RSA_N),
                        "e", number(key, OSSL_PKEY_PARAM_RSA_E));
    (void)lt_openssl_no_memory();
    return cnf;
}

/* ---- submodules ---- */

static json_t *policy_id(bool has, const uint8_t digest[32])
{
    char hex[65];

    lt_hex(digest, 32, hex);
    return has ? json_sprintf("urn:limetree:policy:sha256:%s", hex) : json_null();
}

/* "guest-policy", or "guest-policy/ima" of a part. */
static json_t *not_made(const struct lt_verdict *v)
{
    LT_JSON_AUTO json_t *doc = lt_verdict_to_json(v, NULL);
    json_t *list = json_array(), *line;
    size_t i;

    json_array_foreach(json_object_get(doc, "not_made"), i, line)
    {
        const char *check = json_string_value(json_object_get(line, "check")),
                   *part = json_string_value(json_object_get(line, "part"));
        json_array_append_new(list, json_sprintf(part ? "%s/%s" : "%s", check ? check : "", part));
    }
    return list;
}

static json_t *weak(const struct lt_verdict *v)
{
    json_t *list = json_array();

    for (unsigned w = 0; v->weak >> w; w++)
        if (v->weak >> w & 1)
            json_array_append_new(list, json_string(lt_verdict_weakness_slug((enum lt_verdict_weakness)w)));
    return list;
}

static json_t *guest(const struct lt_tenant_round *round)
{
    const struct lt_verdict *v = &round->verdict;
    const char *link = lt_verdict_link_slug(v->link);

    return json_pack(
        "{s:s, s:o, s:s, s:s?, s:o, s:b, s:o, s:o}", "ear.status", "affirming", "ear.appraisal-policy-id",
        policy_id(round->basis.has_policy, round->basis.policy), "limetree.uuid", round->uuid_text,
        "limetree.link", link, "limetree.ek_digest",
        round->basis.has_ek ? lt_json_new_hex(round->basis.ek, sizeof round->basis.ek) : json_null(),
        "limetree.tainted", v->tainted, "limetree.not_made", not_made(v), "limetree.weak", weak(v));
}

static json_t *host(const struct lt_tenant_round *round)
{
    const struct lt_residency_host_quote *q = lt_ref_value(round->host_quote);
    struct lt_residency_header h = {0};
    bool has = q && !lt_residency_header_parse(q->header, sizeof q->header, &h, LT_NO_ERR);

    return json_pack("{s:s, s:o, s:o, s:s?}", "ear.status", "affirming", "ear.appraisal-policy-id",
                     policy_id(has, h.policy_digest), "limetree.host",
                     lt_json_new_hex(round->verdict.host_id, sizeof round->verdict.host_id), "limetree.level",
                     lt_verdict_level_slug(round->verdict.level));
}

/* ---- the whole ---- */

static json_t *issuer(const struct lt_tenant_round *round)
{
    char id[LT_UUID_TEXT];

    lt_uuid_format(round->tenant_id, id);
    return json_sprintf("urn:limetree:tenant:%s", id);
}

static int check_fresh(const struct lt_tenant_round *round, const struct lt_tenant_token *t, int64_t *left_s,
                       struct lt_err *e)
{
    uint64_t age = t->now_ms > round->t1_ms ? t->now_ms - round->t1_ms : 0;

    *left_s = age < t->period_ms ? (int64_t)((t->period_ms - age) / 1000) : 0;
    return *left_s > 0 ? 0
                       : lt_fail(e, LT_E_BUSY,
                                 "guest %s: its last round is a period old; the next one brings a token",
                                 round->uuid_text);
}

int lt_tenant_token_claims(const struct lt_tenant_round *round, const struct lt_tenant_token *t, json_t **out,
                           struct lt_err *e)
{
    LT_JSON_AUTO json_t *cnf = confirmation(round->pubkey);
    uint8_t id[16];
    int64_t left_s;

    *out = NULL;
    LT_TRY(check_fresh(round, t, &left_s, e));
    if (!cnf)
        return lt_fail(e, LT_E_CONFLICT, "guest %s: its agent showed no RSA transport key to bind a token to",
                       round->uuid_text);
    lt_random(id, sizeof id);
    json_t *c = json_pack("{s:s, s:o, s:s, s:s, s:I, s:I, s:o, s:s, s:O, s:{s:s, s:s}, s:{s:o}}",
                          "eat_profile", LT_TOKEN_PROFILE, "iss", issuer(round), "aud", t->aud, "eat_nonce",
                          t->nonce, "iat", (json_int_t)t->now, "exp", (json_int_t)t->now + left_s, "jti",
                          lt_json_new_hex(id, sizeof id), "sub", round->uuid_text, "cnf", cnf,
                          "ear.verifier-id", "developer", "Limetree", "build", "limetree-tenant " LT_VERSION,
                          "submods", "guest", guest(round));
    if (c && round->verdict.has_host)
        json_object_set_new(json_object_get(c, "submods"), "host", host(round));
    *out = c;
    return c ? 0 : lt_fail(e, LT_E_NO_MEMORY, "token: no memory");
}
