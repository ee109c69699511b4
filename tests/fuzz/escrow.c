/* Escrow copies, opened with the key of tests/vectors/sealing: a frame that is taken is all of its bytes, and
 * nothing opens but what was made. The input's first byte says whether a copy or a key is read. */
#include "vtpm/seal/escrow.h"

#include "tests/fuzz/fuzz.h"

static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9JeIKNbxjE/uy2nP\n"
                          "oQmW5i+Ys3FFZLuLROR8OkH6nsihRANCAAQ777YFpt7xabPIE+hwwzvi3vCdB44i\n"
                          "4ghO8mpNDDkah50XaUHc0crP7Bqae8wwJOGXhEmWtuqfB6NT1dL/J6+/\n"
                          "-----END PRIVATE KEY-----\n";

static void copy(struct lt_slice in)
{
    struct lt_seal_escrow_head head;
    struct lt_seal_entry x;

    int rc = lt_seal_escrow_head(in, &head, LT_NO_ERR);
    int opened =
        lt_seal_escrow_open(in, (struct lt_slice){(const uint8_t *)key, sizeof key - 1}, &x, LT_NO_ERR);
    FUZZ_REQUIRE(!rc || opened);
    if (!opened) {
        FUZZ_REQUIRE(!memcmp(x.uuid, head.uuid, sizeof x.uuid));
        lt_seal_entry_free(&x);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t digest[LT_SHA256];

    if (!n)
        return 0;
    if (*p == 'K')
        (void)!lt_seal_escrow_digest((struct lt_slice){p + 1, n - 1}, digest, LT_NO_ERR);
    else
        copy((struct lt_slice){p + 1, n - 1});
    return 0;
}
