/* A TPMT_SIGNATURE from outside under a key of each kind. The message is the signature itself, and nobody can
 * sign what contains its own signature: none may verify. */
#include "tpm/signature.h"

#include "common/hash.h"
#include "tests/fuzz/fuzz.h"

/* The generator of P-256 (SEC 2), a point like any other. */
static const uint8_t generator[64] = {
    0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
    0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};

static struct lt_signature_key *make(bool rsa)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC), body = LT_BUF(LT_MAX_PUBLIC);
    uint8_t modulus[256];
    struct lt_public p;
    struct lt_signature_key *k;

    memset(modulus, 0xc5, sizeof modulus);
    lt_buf_u16(&body, rsa ? LT_TPM_ALG_RSA : LT_TPM_ALG_ECC);
    lt_buf_u16(&body, LT_HASH_SHA256);
    lt_buf_u32(&body, LT_TPM_AK_HOST_ATTRIBUTES);
    lt_buf_u16(&body, 0);
    lt_buf_u16(&body, LT_TPM_ALG_NULL);
    lt_buf_u16(&body, rsa ? LT_TPM_ALG_RSASSA : LT_TPM_ALG_ECDSA);
    lt_buf_u16(&body, LT_HASH_SHA256);
    if (rsa) {
        lt_buf_u16(&body, 2048);
        lt_buf_u32(&body, 0);
        lt_buf_put16(&body, modulus, sizeof modulus);
    } else {
        lt_buf_u16(&body, LT_TPM_ECC_P256);
        lt_buf_u16(&body, LT_TPM_ALG_NULL);
        lt_buf_put16(&body, generator, 32);
        lt_buf_put16(&body, generator + 32, 32);
    }
    lt_buf_put16(&b, body.p, body.n);
    FUZZ_REQUIRE(!lt_public_parse(b.p, b.n, &p, LT_NO_ERR) && !lt_signature_key_new(&p, &k, LT_NO_ERR));
    return k;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct lt_signature_key *keys[2];

    for (int i = 0; i < 2; i++) {
        if (!keys[i])
            keys[i] = make(i);
        int rc = lt_signature_check(keys[i], (struct lt_slice){p, n}, (struct lt_slice){p, n}, LT_NO_ERR);
        FUZZ_REQUIRE(rc == LT_E_MALFORMED || rc == LT_E_BAD_SIGNATURE);
    }
    return 0;
}
