#include "appraisal/policy/dsse.h"

#include "common/json_pull.h"
#include "common/limits.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIG 2048    /* base64 of a signature, characters */
#define MAX_KEYID 65536 /* x509: a certificate */
#define MAX_KEY_PEM 16384

struct envelope {
    struct lt_slice payload; /* base64; in the text, or in owned */
    uint8_t *owned;
    bool has_payload, has_type, has_signatures;
    unsigned count;
    struct {
        size_t n;
        uint8_t *p; /* owned */
    } sig[LT_MAX_DSSE_SIGNATURES];
};

static void envelope_free(struct envelope *v)
{
    free(v->owned);
    for (unsigned i = 0; i < v->count; i++)
        free(v->sig[i].p);
}

bool lt_dsse_is(const void *p, size_t n)
{
    LT_JSON_PULL_AUTO struct lt_json_pull in = lt_json_pull(p, n, "envelope");
    struct lt_json_pull_list l;
    struct lt_slice key;

    /* Its three keys may stand in any order, but no runtime policy begins with one of them. */
    return !lt_json_pull_object(&in, &l, LT_NO_ERR) && !lt_json_pull_key(&in, &l, 64, &key, LT_NO_ERR) &&
           !l.end &&
           (lt_slice_is(key, "payload") || lt_slice_is(key, "payloadType") || lt_slice_is(key, "signatures"));
}

static int signature(struct lt_json_pull *in, struct envelope *v, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice key, s;
    bool has_sig = false, has_id = false;

    if (v->count == LT_MAX_DSSE_SIGNATURES)
        return lt_json_pull_fail(in, e, "more than %u signatures", LT_MAX_DSSE_SIGNATURES);
    LT_TRY(lt_json_pull_object(in, &l, e));
    for (;;) {
        LT_TRY(lt_json_pull_key(in, &l, 16, &key, e));
        if (l.end)
            return has_sig ? 0 : lt_json_pull_fail(in, e, "a signature without \"sig\"");
        bool *seen = lt_slice_is(key, "sig") ? &has_sig : lt_slice_is(key, "keyid") ? &has_id : NULL;
        if (!seen || *seen)
            return lt_json_pull_fail(in, e, "signature: key \"%.*s\" is unknown or there twice", (int)key.n,
                                     key.p);
        *seen = true;
        LT_TRY(lt_json_pull_string(in, seen == &has_sig ? MAX_SIG : MAX_KEYID, &s, e));
        if (seen == &has_sig) {
            unsigned i = v->count;
            LT_TRY_IN(lt_unbase64((const char *)s.p, s.n, MAX_SIG, &v->sig[i].p, &v->sig[i].n, e), e,
                      "envelope at byte %zu: signature %u", in->at, i);
            v->count++;
        }
    }
}

static int signatures(struct lt_json_pull *in, struct envelope *v, struct lt_err *e)
{
    struct lt_json_pull_list l;

    LT_TRY(lt_json_pull_array(in, &l, e));
    for (;;) {
        LT_TRY(lt_json_pull_item(in, &l, e));
        if (l.end)
            return 0;
        LT_TRY(signature(in, v, e));
    }
}

static int payload(struct lt_json_pull *in, struct envelope *v, struct lt_err *e)
{
    LT_TRY(lt_json_pull_string(in, LT_MAX_POLICY, &v->payload, e));
    if (v->payload.p == in->scratch) { /* "\/" is an escape in JSON and a digit in base64 */
        v->owned = in->scratch;
        in->scratch = NULL;
        in->scratch_cap = 0;
    }
    return 0;
}

static int type(struct lt_json_pull *in, struct lt_err *e)
{
    struct lt_slice s;

    LT_TRY(lt_json_pull_string(in, 256, &s, e));
    if (!lt_slice_is(s, LT_DSSE_TYPE))
        return lt_json_pull_fail(in, e, "payloadType \"%.*s\" is not " LT_DSSE_TYPE,
                                 (int)(s.n < 80 ? s.n : 80), s.p);
    return 0;
}

static int read_envelope(struct lt_json_pull *in, struct envelope *v, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice key;

    LT_TRY(lt_json_pull_object(in, &l, e));
    for (;;) {
        LT_TRY(lt_json_pull_key(in, &l, 64, &key, e));
        if (l.end)
            break;
        bool *seen = lt_slice_is(key, "payload")       ? &v->has_payload
                     : lt_slice_is(key, "payloadType") ? &v->has_type
                     : lt_slice_is(key, "signatures")  ? &v->has_signatures
                                                       : NULL;
        if (!seen || *seen)
            return lt_json_pull_fail(in, e, "key \"%.*s\" is unknown or there twice", (int)key.n, key.p);
        *seen = true;
        LT_TRY(seen == &v->has_payload ? payload(in, v, e)
               : seen == &v->has_type  ? type(in, e)
                                       : signatures(in, v, e));
    }
    if (!v->has_payload || !v->has_type || !v->has_signatures)
        return lt_json_pull_fail(in, e, "payload, payloadType or signatures is missing");
    return lt_json_pull_end(in, e);
}

static int load_key(const char *pem, EVP_PKEY **out, struct lt_err *e)
{
    size_t n = strnlen(pem, MAX_KEY_PEM + 1);
    BIO *bio = n <= MAX_KEY_PEM ? BIO_new_mem_buf(pem, (int)n) : NULL;
    char curve[32] = "";

    *out = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!*out)
        return lt_fail(e, LT_E_CONFIG, "pinned key: no PEM public key");
    bool rsa =
        EVP_PKEY_is_a(*out, "RSA") && EVP_PKEY_get_bits(*out) >= 2048 && EVP_PKEY_get_bits(*out) <= 8192;
    bool ec = EVP_PKEY_is_a(*out, "EC") && EVP_PKEY_get_group_name(*out, curve, sizeof curve, NULL) == 1 &&
              (!strcmp(curve, "prime256v1") || !strcmp(curve, "secp384r1") || !strcmp(curve, "secp521r1"));
    if (rsa || ec)
        return 0;
    EVP_PKEY_free(*out);
    *out = NULL;
    return lt_fail(e, LT_E_CONFIG,
                   "pinned key: neither RSA of 2048 to 8192 bits nor EC on P-256, P-384 or P-521");
}

/* PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body */
static bool verifies(EVP_PKEY *key, const uint8_t *sig, size_t sig_n, const uint8_t *body, size_t n)
{
    char head[96];
    int head_n = snprintf(head, sizeof head, "DSSEv1 %zu %s %zu ", sizeof LT_DSSE_TYPE - 1, LT_DSSE_TYPE, n);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = c && EVP_DigestVerifyInit_ex(c, NULL, "SHA2-256", NULL, NULL, key, NULL) == 1 &&
                EVP_DigestVerifyUpdate(c, head, (size_t)head_n) == 1 &&
                EVP_DigestVerifyUpdate(c, body, n) == 1 && EVP_DigestVerifyFinal(c, sig, sig_n) == 1;
    EVP_MD_CTX_free(c);
    return good;
}

static int check(const struct envelope *v, const char *pem, const uint8_t *body, size_t n, struct lt_err *e)
{
    EVP_PKEY *key;
    bool good = false;

    LT_TRY(load_key(pem, &key, e));
    for (unsigned i = 0; i < v->count && !good; i++)
        good = verifies(key, v->sig[i].p, v->sig[i].n, body, n);
    EVP_PKEY_free(key);
    return good ? 0
                : lt_fail(e, LT_E_BAD_SIGNATURE, "envelope: none of its %u signatures is of the pinned key",
                          v->count);
}

int lt_dsse_open(const void *p, size_t n, const char *pem, uint8_t **out, size_t *out_n, struct lt_err *e)
{
    LT_JSON_PULL_AUTO struct lt_json_pull in = lt_json_pull(p, n, "envelope");
    __attribute__((cleanup(envelope_free))) struct envelope v = {0};
    LT_AUTOFREE uint8_t *body = NULL;
    size_t body_n;

    *out = NULL;
    *out_n = 0;
    if (n > LT_MAX_POLICY)
        return lt_fail(e, LT_E_TOO_LARGE, "envelope: %zu bytes > %u", n, LT_MAX_POLICY);
    if (!lt_dsse_is(p, n))
        return lt_fail(e, LT_E_REFUSED, "not a signed envelope, and a key is pinned");
    LT_TRY(read_envelope(&in, &v, e));
    LT_TRY_IN(lt_unbase64((const char *)v.payload.p, v.payload.n, LT_MAX_POLICY, &body, &body_n, e), e,
              "envelope: payload");
    LT_TRY(check(&v, pem, body, body_n, e));
    *out = lt_take(&body);
    *out_n = body_n;
    return 0;
}
