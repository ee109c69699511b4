#include "tpm/public.h"

#include "common/hash.h"
#include "common/openssl.h"
#include "tpm/der.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#define WHAT "TPM2B_PUBLIC"

/* RFC 3279 section 2.3.1: AlgorithmIdentifier { rsaEncryption, NULL }. */
static const uint8_t rsa_algorithm[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                        0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
/* RFC 5480 section 2.1.1: AlgorithmIdentifier { id-ecPublicKey, namedCurve }. */
static const uint8_t ec_public_key[] = {0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const struct curve {
    uint16_t id;
    uint8_t size; /* bytes of a coordinate */
    uint8_t oid_n, oid[10];
} curves[] = {
    {LT_TPM_ECC_P256, 32, 10, {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}},
    {LT_TPM_ECC_P384, 48, 7, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}},
    {LT_TPM_ECC_P521, 66, 7, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23}},
};
#define LARGEST_COORDINATE 66

static const struct curve *curve_by_id(uint16_t id)
{
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        if (curves[i].id == id)
            return &curves[i];
    return NULL;
}

size_t lt_tpm_curve_size(uint16_t curve)
{
    const struct curve *c = curve_by_id(curve);
    return c ? c->size : 0;
}

/* TPMT_SYM_DEF_OBJECT (Part 2, 11.1.7) */
static int parse_symmetric(struct lt_reader *r, struct lt_public *p, struct lt_err *e)
{
    LT_TRY(lt_read_u16(r, &p->sym_alg, e));
    if (p->sym_alg == LT_TPM_ALG_NULL)
        return 0;
    if (p->sym_alg != LT_TPM_ALG_AES)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": symmetric algorithm 0x%04x", p->sym_alg);
    LT_TRY(lt_read_u16(r, &p->sym_bits, e));
    LT_TRY(lt_read_u16(r, &p->sym_mode, e));
    if ((p->sym_bits != 128 && p->sym_bits != 256) || p->sym_mode != LT_TPM_ALG_CFB)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": AES with %u bits, mode 0x%04x", p->sym_bits, p->sym_mode);
    return 0;
}

/* TPMT_RSA_SCHEME, TPMT_ECC_SCHEME: of those with a place in an EK or AK each has one hash behind it. */
static int parse_scheme(struct lt_reader *r, struct lt_public *p, struct lt_err *e)
{
    bool rsa = p->type == LT_TPM_ALG_RSA;

    LT_TRY(lt_read_u16(r, &p->scheme, e));
    if (p->scheme == LT_TPM_ALG_NULL)
        return 0;
    if (rsa ? p->scheme != LT_TPM_ALG_RSASSA && p->scheme != LT_TPM_ALG_RSAPSS
            : p->scheme != LT_TPM_ALG_ECDSA)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": scheme 0x%04x of %s key", p->scheme,
                       rsa ? "an RSA" : "an ECC");
    LT_TRY(lt_read_u16(r, &p->scheme_hash, e));
    if (!lt_hash_size(p->scheme_hash))
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": scheme hash 0x%04x", p->scheme_hash);
    return 0;
}

static int parse_rsa(struct lt_reader *r, struct lt_public *p, struct lt_err *e)
{
    LT_TRY(lt_read_u16(r, &p->rsa_bits, e));
    LT_TRY(lt_read_u32(r, &p->rsa_exponent, e));
    if (p->rsa_bits < 1024 || p->rsa_bits > 4096 || p->rsa_bits % 8)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": RSA with %u bits", p->rsa_bits);
    if (!p->rsa_exponent)
        p->rsa_exponent = 65537; /* Part 2, 12.2.3.5 */
    if (p->rsa_exponent < 3 || p->rsa_exponent % 2 == 0)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": RSA exponent %u", p->rsa_exponent);
    LT_TRY(lt_read_slice16(r, p->rsa_bits / 8, &p->rsa_modulus, e));
    const struct lt_slice *m = &p->rsa_modulus;
    if (m->n != p->rsa_bits / 8u || !(m->p[0] & 0x80) || !(m->p[m->n - 1] & 1))
        return lt_fail(e, LT_E_MALFORMED, WHAT ": not an odd RSA modulus of %u bits", p->rsa_bits);
    return 0;
}

static int parse_ecc(struct lt_reader *r, struct lt_public *p, struct lt_err *e)
{
    uint16_t kdf;

    LT_TRY(lt_read_u16(r, &p->curve, e));
    LT_TRY(lt_read_u16(r, &kdf, e));
    size_t size = lt_tpm_curve_size(p->curve);
    if (!size)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": curve 0x%04x", p->curve);
    if (kdf != LT_TPM_ALG_NULL)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": key derivation scheme 0x%04x", kdf);
    LT_TRY(lt_read_slice16(r, size, &p->x, e));
    LT_TRY(lt_read_slice16(r, size, &p->y, e));
    if (!p->x.n || !p->y.n)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": no point, but a template");
    return 0;
}

static int parse(struct lt_public *p, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p->raw, p->raw_n, WHAT);
    uint16_t size;

    LT_TRY(lt_read_u16(&r, &size, e));
    if (size != lt_reader_left(&r))
        return lt_fail(e, LT_E_MALFORMED, WHAT ": size %u, but %zu bytes follow", size, lt_reader_left(&r));
    LT_TRY(lt_read_u16(&r, &p->type, e));
    LT_TRY(lt_read_u16(&r, &p->name_alg, e));
    LT_TRY(lt_read_u32(&r, &p->attributes, e));
    if (p->type != LT_TPM_ALG_RSA && p->type != LT_TPM_ALG_ECC)
        return lt_fail(e, LT_E_UNSUPPORTED, WHAT ": type 0x%04x", p->type);
    if (lt_hash_size(p->name_alg) < LT_SHA256)
        return lt_fail(e, LT_E_UNSUPPORTED_NAME_ALGORITHM, WHAT ": name algorithm 0x%04x", p->name_alg);
    LT_TRY(lt_read_slice16(&r, LT_MAX_DIGEST, &p->policy, e));
    if (p->policy.n && p->policy.n != lt_hash_size(p->name_alg))
        return lt_fail(e, LT_E_MALFORMED, WHAT ": policy of %zu bytes", p->policy.n);
    LT_TRY(parse_symmetric(&r, p, e));
    LT_TRY(parse_scheme(&r, p, e));
    LT_TRY(p->type == LT_TPM_ALG_RSA ? parse_rsa(&r, p, e) : parse_ecc(&r, p, e));
    return lt_reader_end(&r, e);
}

int lt_public_parse(const void *p, size_t n, struct lt_public *out, struct lt_err *e)
{
    *out = (struct lt_public){0};
    if (n > sizeof out->raw)
        return lt_fail(e, LT_E_TOO_LARGE, WHAT ": %zu bytes > %zu", n, sizeof out->raw);
    if (n)
        memcpy(out->raw, p, n);
    out->raw_n = n;
    int rc = parse(out, e);
    if (rc)
        *out = (struct lt_public){0};
    return rc;
}

void lt_public_copy(struct lt_public *to, const struct lt_public *from)
{
    *to = *from;
    struct lt_slice *slices[] = {&to->policy, &to->rsa_modulus, &to->x, &to->y};
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
        if (slices[i]->p)
            slices[i]->p = to->raw + (slices[i]->p - from->raw);
}

void lt_public_any_name(const struct lt_public *p, struct lt_tpm_name *out)
{
    const struct lt_slice area = {p->raw + 2, p->raw_n - 2};

    lt_put_u16(out->p, p->name_alg);
    lt_hash(p->name_alg, &area, 1, out->p + 2);
    out->n = 2 + lt_hash_size(p->name_alg);
}

int lt_public_name(const struct lt_public *p, uint8_t out[LT_TPM_NAME], struct lt_err *e)
{
    struct lt_tpm_name name;

    memset(out, 0, LT_TPM_NAME);
    if (p->name_alg != LT_HASH_SHA256)
        return lt_fail(e, LT_E_UNSUPPORTED_NAME_ALGORITHM, WHAT ": name algorithm 0x%04x, must be sha256",
                       p->name_alg);
    lt_public_any_name(p, &name);
    memcpy(out, name.p, LT_TPM_NAME);
    return 0;
}

static void spki(struct lt_buf *b, const uint8_t *algorithm, size_t algorithm_n, const void *key,
                 size_t key_n)
{
    LT_AUTOBUF struct lt_buf bits = LT_BUF(LT_MAX_PUBLIC), body = LT_BUF(LT_MAX_PUBLIC);

    lt_buf_u8(&bits, 0); /* unused bits */
    lt_buf_put(&bits, key, key_n);
    lt_buf_put(&body, algorithm, algorithm_n);
    lt_der_put(&body, LT_DER_BIT_STRING, bits.p, bits.n);
    lt_der_put(b, LT_DER_SEQUENCE, body.p, body.n);
    b->failed |= bits.failed || body.failed;
}

int lt_public_spki(const struct lt_public *p, struct lt_buf *b, struct lt_err *e)
{
    if (p->type == LT_TPM_ALG_RSA) {
        LT_AUTOBUF struct lt_buf numbers = LT_BUF(LT_MAX_PUBLIC), key = LT_BUF(LT_MAX_PUBLIC);
        uint8_t exponent[4];

        lt_put_u32(exponent, p->rsa_exponent);
        lt_der_uint(&numbers, p->rsa_modulus);
        lt_der_uint(&numbers, (struct lt_slice){exponent, sizeof exponent});
        lt_der_put(&key, LT_DER_SEQUENCE, numbers.p, numbers.n);
        spki(b, rsa_algorithm, sizeof rsa_algorithm, key.p, key.n);
        b->failed |= numbers.failed || key.failed;
    } else {
        uint8_t point[1 + 2 * LARGEST_COORDINATE] = {4}; /* uncompressed */
        LT_AUTOBUF struct lt_buf oids = LT_BUF(64), algorithm = LT_BUF(64);
        const struct curve *c = curve_by_id(p->curve);

        if (!c)
            return lt_fail(e, LT_E_INTERNAL, WHAT ": not parsed");
        lt_buf_put(&oids, ec_public_key, sizeof ec_public_key);
        lt_buf_put(&oids, c->oid, c->oid_n);
        lt_der_put(&algorithm, LT_DER_SEQUENCE, oids.p, oids.n);
        memcpy(point + 1 + c->size - p->x.n, p->x.p, p->x.n);
        memcpy(point + 1 + 2 * c->size - p->y.n, p->y.p, p->y.n);
        spki(b, algorithm.p, algorithm.n, point, 1 + 2u * c->size);
        b->failed |= oids.failed || algorithm.failed;
    }
    return lt_buf_ok(b, e);
}

int lt_public_ek_digest(const struct lt_public *p, uint8_t out[32], struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf der = LT_BUF(LT_MAX_PUBLIC);

    memset(out, 0, 32);
    LT_TRY(lt_public_spki(p, &der, e));
    lt_sha256(der.p, der.n, out);
    return 0;
}

int lt_public_pkey(const struct lt_public *p, EVP_PKEY **out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf der = LT_BUF(LT_MAX_PUBLIC);

    *out = NULL;
    LT_TRY(lt_public_spki(p, &der, e));
    const uint8_t *at = der.p;
    lt_openssl_begin();
    *out = d2i_PUBKEY(NULL, &at, (long)der.n);
    if (!*out && lt_openssl_no_memory())
        return lt_fail(e, LT_E_NO_MEMORY, WHAT ": no memory");
    if (!*out)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": not a key (a point that is not on its curve?)");
    return 0;
}

/* Part 1, 16.5: QN = nameAlg | H( QN of the parent | Name ), and the endorsement hierarchy's is its handle.
 */
static void qualify(struct lt_slice parent, const struct lt_public *p, struct lt_tpm_name *out)
{
    struct lt_tpm_name name;

    lt_public_any_name(p, &name);
    const struct lt_slice in[] = {parent, {name.p, name.n}};
    lt_put_u16(out->p, p->name_alg);
    lt_hash(p->name_alg, in, 2, out->p + 2);
    out->n = name.n;
}

void lt_tpm_any_qualified_name(const struct lt_public *ek, const struct lt_public *ak,
                               struct lt_tpm_name *out)
{
    static const uint8_t endorsement[] = {0x40, 0x00, 0x00, 0x0b};
    struct lt_tpm_name parent;

    qualify((struct lt_slice){endorsement, sizeof endorsement}, ek, &parent);
    qualify((struct lt_slice){parent.p, parent.n}, ak, out);
}

int lt_tpm_qualified_name(const struct lt_public *ek, const struct lt_public *ak, uint8_t out[LT_TPM_NAME],
                          struct lt_err *e)
{
    struct lt_tpm_name name;

    memset(out, 0, LT_TPM_NAME);
    if (ek->name_alg != LT_HASH_SHA256 || ak->name_alg != LT_HASH_SHA256)
        return lt_fail(e, LT_E_UNSUPPORTED_NAME_ALGORITHM,
                       WHAT ": name algorithms 0x%04x and 0x%04x, must be sha256", ek->name_alg,
                       ak->name_alg);
    lt_tpm_any_qualified_name(ek, ak, &name);
    memcpy(out, name.p, LT_TPM_NAME);
    return 0;
}

int lt_public_check_ak(const struct lt_public *p, struct lt_err *e)
{
    static const struct {
        uint32_t bit;
        bool want;
        const char *name;
    } rules[] = {
        {LT_TPM_OBJ_FIXED_TPM, true, "fixedTPM"},
        {LT_TPM_OBJ_FIXED_PARENT, true, "fixedParent"},
        {LT_TPM_OBJ_SENSITIVE_DATA_ORIGIN, true, "sensitiveDataOrigin"},
        {LT_TPM_OBJ_RESTRICTED, true, "restricted"},
        {LT_TPM_OBJ_SIGN, true, "sign"},
        {LT_TPM_OBJ_DECRYPT, false, "decrypt"},
        {LT_TPM_OBJ_ENCRYPTED_DUPLICATION, false, "encryptedDuplication"},
    };

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!(p->attributes & rules[i].bit) == rules[i].want)
            return lt_fail(e, LT_E_REFUSED, "AK: attribute %s is %s", rules[i].name,
                           rules[i].want ? "clear" : "set");
    if (p->type == LT_TPM_ALG_RSA && p->rsa_bits < 2048)
        return lt_fail(e, LT_E_REFUSED, "AK: RSA with %u bits < 2048", p->rsa_bits);
    if (p->scheme != (p->type == LT_TPM_ALG_RSA ? LT_TPM_ALG_RSASSA : LT_TPM_ALG_ECDSA) ||
        (p->scheme_hash != LT_HASH_SHA256 && p->scheme_hash != LT_HASH_SHA384))
        return lt_fail(e, LT_E_REFUSED,
                       "AK: scheme 0x%04x with hash 0x%04x, must be RSASSA or ECDSA with sha256 or sha384",
                       p->scheme, p->scheme_hash);
    return 0;
}

int lt_public_check_ak_host(const struct lt_public *p, struct lt_err *e)
{
    if (p->attributes != LT_TPM_AK_HOST_ATTRIBUTES)
        return lt_fail(e, LT_E_REFUSED, "host AK: attributes 0x%08x, must be 0x%08x", p->attributes,
                       LT_TPM_AK_HOST_ATTRIBUTES);
    if (p->scheme_hash != LT_HASH_SHA256)
        return lt_fail(e, LT_E_REFUSED, "host AK: signs with hash 0x%04x, must be sha256", p->scheme_hash);
    return lt_public_check_ak(p, e);
}
