/* The vault's file, and its plaintext by itself: whoever is in a listed state can write one. What is accepted
 * says the same bytes again. */
#include "tests/fuzz/fuzz.h"
#include "vtpm/seal/change.h"
#include "vtpm/seal/vaultfile.h"

/* The slices follow one another and end where the file does. */
static void whole(const struct lt_seal_vault *v, const uint8_t *p, size_t n)
{
    const uint8_t *at = p + v->head.n;
    struct lt_seal_key_states s;
    enum lt_seal_key_kind kind;
    uint8_t policy[LT_SHA256];

    FUZZ_REQUIRE(v->head.p == p && v->count >= 1 && v->count <= LT_MAX_COMPARTMENTS);
    for (unsigned i = 0; i < v->count; i++) {
        const struct lt_seal_vault_compartment *c = &v->one[i];
        FUZZ_REQUIRE(c->head.p == at && c->nonce.n == LT_SEAL_VAULT_NONCE);
        FUZZ_REQUIRE(c->cipher.p == at + c->head.n + 4 && c->tag.p == c->cipher.p + c->cipher.n);
        lt_seal_vault_states(c, &s);
        FUZZ_REQUIRE(s.count >= 1 && s.count <= LT_MAX_SEAL_STATES);
        lt_seal_key_policy(&s, v->generation, policy);
        if (!lt_seal_key_check(c->public, policy, &kind, LT_NO_ERR))
            FUZZ_REQUIRE(kind == LT_SEAL_KEY_HMAC || kind == LT_SEAL_KEY_ECDH);
        at = c->tag.p + c->tag.n;
    }
    FUZZ_REQUIRE(at == p + n);
}

static void plain(const uint8_t *p, size_t n)
{
    struct lt_seal_entry *entries;
    uint32_t count;

    if (lt_seal_vault_plain_count((struct lt_slice){p, n}, &count, LT_NO_ERR))
        return;
    entries = calloc(count + 1, sizeof *entries);
    FUZZ_REQUIRE(entries);
    if (!lt_seal_vault_plain_read((struct lt_slice){p, n}, entries, LT_NO_ERR)) {
        FUZZ_REQUIRE(lt_seal_vault_plain_size(entries, count) == n);
        uint8_t *again = malloc(n);
        FUZZ_REQUIRE(again);
        lt_seal_vault_plain_put(entries, count, again);
        FUZZ_REQUIRE(!memcmp(again, p, n));
        free(again);
    }
    for (uint32_t i = 0; i < count; i++)
        lt_seal_entry_free(&entries[i]);
    free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_seal_vault v;

    if (!lt_seal_vault_parse(p, n, &v, LT_NO_ERR))
        whole(&v, p, n);
    plain(p, n);
    return 0;
}
