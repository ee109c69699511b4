/* Keys and signatures of IMA. The first byte chooses: a key or certificate in DER, a keyring in JSON, or a
 * signature under the P-256 key of tests/vectors/evmctl.json, over the SHA-256 of "hello\n". */
#include "appraisal/ima/keys.h"
#include "common/limits.h"

#include "tests/fuzz/fuzz.h"

static const char ring[] =
    "{\"keyids\":[3797899535],\"pubkeys\":[\"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWhWL/"
    "ewlT5oMNs4BHEFiQTeWtRpwL6CT5IcSaS13tCX1QmgmyFA1zDVFrXxYkGnk3h25p95zq4vfybAFE7yAiQ==\"]}";

static void signature(struct lt_slice in)
{
    static struct lt_ima_keys *known;
    struct lt_err e = {0};
    uint8_t digest[LT_SHA256];

    if (!known) {
        FUZZ_REQUIRE((known = lt_ima_keys_new()));
        FUZZ_REQUIRE(
            !lt_ima_keys_add_json(known, (struct lt_slice){(const uint8_t *)ring, sizeof ring - 1}, &e));
    }
    lt_sha256("hello\n", 6, digest);
    int rc = lt_ima_signature_check(known, in, LT_HASH_SHA256, (struct lt_slice){digest, sizeof digest}, &e);
    FUZZ_REQUIRE(rc == e.code && !rc == !e.msg[0]);
    digest[0] ^= 1;
    if (!rc)
        FUZZ_REQUIRE(lt_ima_signature_check(known, in, LT_HASH_SHA256,
                                            (struct lt_slice){digest, sizeof digest},
                                            &e) == LT_E_BAD_SIGNATURE);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_err e = {0};
    bool added, looked;

    if (!n)
        return 0;
    struct lt_slice in = {p + 1, n - 1};
    if (p[0] == 'S') {
        signature(in);
        return 0;
    }
    struct lt_ima_keys *k = lt_ima_keys_new();
    FUZZ_REQUIRE(k);
    if (p[0] == 'J') {
        int rc = lt_ima_keys_add_json(k, in, &e);
        FUZZ_REQUIRE(!rc == !e.msg[0] && (!rc || !lt_ima_keys_count(k)));
    } else {
        FUZZ_REQUIRE(!lt_ima_keys_add_der(k, in, &added, &e) && !lt_ima_keys_add_der(NULL, in, &looked, &e));
        FUZZ_REQUIRE(added == looked && lt_ima_keys_count(k) <= added);
    }
    lt_ima_keys_free(k);
    return 0;
}
