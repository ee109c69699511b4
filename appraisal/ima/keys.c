#include "appraisal/ima/keys.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/openssl.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#define KEYS_STEP 8
#define RSA_MIN 2048
#define RSA_MAX 8192
#define SIG_MAX 1024 /* RSA-8192 */

struct lt_ima_keys {
    unsigned count, room;
    struct key {
        uint32_t id; /* 32 bits: two keys may share one, then both are tried */
        EVP_PKEY *key;
    } * key;
};

struct lt_ima_keys *lt_ima_keys_new(void)
{
    return lt_new(struct lt_ima_keys);
}

unsigned lt_ima_keys_count(const struct lt_ima_keys *k)
{
    return k ? k->count : 0;
}

void lt_ima_keys_cut(struct lt_ima_keys *k, unsigned count)
{
    while (k && k->count > count)
        EVP_PKEY_free(k->key[--k->count].key);
}

void lt_ima_keys_free(struct lt_ima_keys *k)
{
    if (!k)
        return;
    lt_ima_keys_cut(k, 0);
    free(k->key);
    free(k);
}

/* Takes key over, also when it fails. */
static int keep(struct lt_ima_keys *k, uint32_t id, EVP_PKEY *key, struct lt_err *e)
{
    struct key *more = NULL;

    for (unsigned i = 0; i < k->count; i++)
        if (k->key[i].id == id && EVP_PKEY_eq(k->key[i].key, key) == 1) {
            EVP_PKEY_free(key);
            return 0;
        }
    if (k->count == k->room && k->room < LT_MAX_IMA_KEYS &&
        (more = realloc(k->key, (k->room + KEYS_STEP) * sizeof *more))) {
        k->key = more;
        k->room += KEYS_STEP;
    }
    if (k->count == k->room) {
        EVP_PKEY_free(key);
        return k->room < LT_MAX_IMA_KEYS
                   ? lt_fail(e, LT_E_NO_MEMORY, "no memory for a keyring")
                   : lt_fail(e, LT_E_TOO_LARGE, "keyring of more than %u keys", LT_MAX_IMA_KEYS);
    }
    k->key[k->count++] = (struct key){id, key};
    return 0;
}

/* What a signature may be checked with. Explicit curve parameters have no group name and are refused with the
 * rest. */
static bool fit(EVP_PKEY *key)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(key, "RSA"))
        return EVP_PKEY_get_bits(key) >= RSA_MIN && EVP_PKEY_get_bits(key) <= RSA_MAX;
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
           (!strcmp(group, "prime256v1") || !strcmp(group, "secp384r1") || !strcmp(group, "secp521r1"));
}

static uint32_t last4(const uint8_t *p, size_t n)
{
    return (uint32_t)p[n - 4] << 24 | (uint32_t)p[n - 3] << 16 | (uint32_t)p[n - 2] << 8 | p[n - 1];
}

/* Last four bytes of the SHA-1 of the BIT STRING in SubjectPublicKeyInfo: RSAPublicKey, or the point (RFC
 * 5280 4.2.1.2 (1), as evmctl does). */
static bool key_id(EVP_PKEY *key, uint32_t *id)
{
    uint8_t *der = NULL, sha1[20];
    int n = i2d_PublicKey(key, &der);

    if (n <= 0)
        return false;
    lt_hash(LT_HASH_SHA1, &(struct lt_slice){der, (size_t)n}, 1, sha1);
    OPENSSL_free(der);
    *id = last4(sha1, sizeof sha1);
    return true;
}

static EVP_PKEY *read_spki(struct lt_slice der)
{
    const unsigned char *at = der.p;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)der.n);

    if (key && at != der.p + der.n) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    ERR_clear_error();
    return key;
}

/* *is_key without a key: a certificate whose key OpenSSL does not know. */
static EVP_PKEY *read_certificate(struct lt_slice der, bool *is_key, bool *has_id, uint32_t *id)
{
    const unsigned char *at = der.p;
    X509 *x = d2i_X509(NULL, &at, (long)der.n);
    EVP_PKEY *key = NULL;

    *is_key = x && at == der.p + der.n;
    if (*is_key) {
        const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(x);
        key = X509_get_pubkey(x);
        *has_id = ski && ASN1_STRING_length(ski) >= 4;
        if (*has_id)
            *id = last4(ASN1_STRING_get0_data(ski), (size_t)ASN1_STRING_length(ski));
    }
    X509_free(x);
    ERR_clear_error();
    return key;
}

int lt_ima_keys_add_der(struct lt_ima_keys *k, struct lt_slice der, bool *added, struct lt_err *e)
{
    bool has_id = false;
    uint32_t id = 0;

    *added = false;
    if (!der.n || der.n > LT_MAX_IMA_LINE || der.p[0] != 0x30) /* both are SEQUENCEs */
        return 0;
    EVP_PKEY *key = read_certificate(der, added, &has_id, &id);
    if (!key && !*added)
        *added = (key = read_spki(der)) != NULL;
    if (key && k && fit(key) && (has_id || key_id(key, &id)))
        return keep(k, id, key, e);
    EVP_PKEY_free(key);
    return 0;
}

static int add_pair(struct lt_ima_keys *k, const json_t *id, const json_t *pub, size_t i, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *der = NULL;
    size_t n;

    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > UINT32_MAX)
        return lt_fail(e, LT_E_MALFORMED, "keyids[%zu] is no number of 32 bits", i);
    if (!json_is_string(pub))
        return lt_fail(e, LT_E_MALFORMED, "pubkeys[%zu] is no string", i);
    LT_TRY_IN(lt_unbase64(json_string_value(pub), json_string_length(pub), LT_MAX_CERTIFICATE, &der, &n, e),
              e, "pubkeys[%zu]", i);
    EVP_PKEY *key = n ? read_spki((struct lt_slice){der, n}) : NULL;
    if (!key)
        return lt_fail(e, LT_E_MALFORMED, "pubkeys[%zu] is no SubjectPublicKeyInfo", i);
    if (!fit(key)) {
        const char *type = EVP_PKEY_get0_type_name(key);
        int rc = lt_fail(
            e, LT_E_UNSUPPORTED,
            "pubkeys[%zu]: %s key of %d bits, only RSA of %d to %d bits and P-256, P-384, P-521 serve", i,
            type ? type : "a", EVP_PKEY_get_bits(key), RSA_MIN, RSA_MAX);
        EVP_PKEY_free(key);
        return rc;
    }
    return keep(k, (uint32_t)json_integer_value(id), key, e);
}

int lt_ima_keys_add_json(struct lt_ima_keys *k, struct lt_slice text, struct lt_err *e)
{
    static const char *const keys[] = {"meta", "keyids", "pubkeys", NULL};
    unsigned before = k->count;
    json_t *ids, *pubs;

    if (!text.n)
        return 0;
    LT_JSON_AUTO json_t *j = lt_json_parse(text.p, text.n, LT_MAX_KEYRING_TEXT, e);
    if (json_is_string(j)) { /* encoded twice, as Keylime's tenant sends it */
        json_t *inner = json_string_length(j) ? lt_json_parse(json_string_value(j), json_string_length(j),
                                                              LT_MAX_KEYRING_TEXT, e)
                                              : json_object();
        bool empty = !json_string_length(j);
        json_decref(j);
        j = inner;
        if (empty)
            return 0;
    }
    if (!j)
        return lt_fail_in(e, e->code, "keyring");
    if (!json_is_object(j))
        return lt_fail(e, LT_E_MALFORMED, "keyring is no object");
    LT_TRY_IN(lt_json_only(j, keys, e), e, "keyring");
    LT_TRY_IN(lt_json_array(j, "keyids", LT_MAX_IMA_KEYS, &ids, e), e, "keyring");
    LT_TRY_IN(lt_json_array(j, "pubkeys", LT_MAX_IMA_KEYS, &pubs, e), e, "keyring");
    if (json_array_size(ids) != json_array_size(pubs))
        return lt_fail(e, LT_E_MALFORMED, "keyring: %zu keyids, %zu pubkeys", json_array_size(ids),
                       json_array_size(pubs));
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (add_pair(k, json_array_get(ids, i), json_array_get(pubs, i), i, e)) {
            lt_ima_keys_cut(k, before);
            return lt_fail_in(e, e->code, "keyring");
        }
    return 0;
}

/* enum pkey_hash_algo's numbers in the blob (linux/hash_info.h), of hashes that we know. */
static uint16_t hash_of(uint8_t id)
{
    static const uint16_t algs[] = {
        [2] = LT_HASH_SHA1, [4] = LT_HASH_SHA256, [5] = LT_HASH_SHA384, [6] = LT_HASH_SHA512};

    return id < sizeof algs / sizeof *algs ? algs[id] : 0;
}

static const char *openssl_name(uint16_t alg)
{
    return alg == LT_HASH_SHA1     ? "SHA1"
           : alg == LT_HASH_SHA256 ? "SHA2-256"
           : alg == LT_HASH_SHA384 ? "SHA2-384"
                                   : "SHA2-512";
}

static int verify(EVP_PKEY *key, struct lt_slice sig, uint16_t alg, struct lt_slice digest, struct lt_err *e)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, (char *)(uintptr_t)openssl_name(alg),
                                         0),
        OSSL_PARAM_END,
    };
    bool rsa = EVP_PKEY_is_a(key, "RSA"), good = false;

    lt_openssl_begin();
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (c && EVP_PKEY_verify_init(c) == 1 &&
        (!rsa || EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1) &&
        EVP_PKEY_CTX_set_params(c, params) == 1)
        good = EVP_PKEY_verify(c, sig.p, sig.n, digest.p, digest.n) == 1;
    bool starved = !good && lt_openssl_no_memory();
    EVP_PKEY_CTX_free(c);
    ERR_clear_error();
    if (starved)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory to check a signature");
    return good ? 0
                : lt_fail(e, LT_E_BAD_SIGNATURE, "the %s signature does not verify", rsa ? "RSA" : "ECDSA");
}

/* One key of that id without memory to try it: then nobody knows that the signature is bad. */
static int verify_any(const struct lt_ima_keys *k, uint32_t id, struct lt_slice sig, uint16_t alg,
                      struct lt_slice digest, struct lt_err *e)
{
    struct lt_err why = {0};
    int rc = 0;

    for (unsigned i = 0; i < lt_ima_keys_count(k); i++) {
        if (k->key[i].id != id)
            continue;
        int one = verify(k->key[i].key, sig, alg, digest, &why);
        if (!one)
            return 0;
        rc = rc == LT_E_NO_MEMORY ? rc : one;
    }
    if (rc == LT_E_NO_MEMORY)
        return lt_fail(e, rc, "no memory to check a signature");
    return rc ? lt_fail(e, rc, "%s", why.msg)
              : lt_fail(e, LT_E_REFUSED, "IMA signature by key %08x, which is in no keyring", id);
}

int lt_ima_signature_check(const struct lt_ima_keys *k, struct lt_slice sig, uint16_t alg,
                           struct lt_slice digest, struct lt_err *e)
{
    struct lt_reader r = lt_reader(sig.p, sig.n, "IMA signature");
    struct lt_slice value;
    uint8_t type, version, hash;
    uint32_t id;

    LT_TRY(lt_read_u8(&r, &type, e));
    LT_TRY(lt_read_u8(&r, &version, e));
    LT_TRY(lt_read_u8(&r, &hash, e));
    LT_TRY(lt_read_u32(&r, &id, e));
    LT_TRY(lt_read_slice16(&r, SIG_MAX, &value, e));
    LT_TRY(lt_reader_end(&r, e));
    if ((type != 3 && type != 5) || version != 2)
        return lt_fail(e, LT_E_MALFORMED,
                       "IMA signature of type %u, version %u: only types 3 and 5 of version 2 are read", type,
                       version);
    if (!hash_of(hash) || hash_of(hash) != alg || digest.n != lt_hash_size(alg))
        return lt_fail(e, LT_E_MALFORMED, "IMA signature over hash %u, the entry's digest is %s", hash,
                       lt_hash_name(alg) ? lt_hash_name(alg) : "of another kind");
    if (!value.n)
        return lt_fail(e, LT_E_MALFORMED, "IMA signature of 0 bytes");
    return verify_any(k, id, value, alg, digest, e);
}
