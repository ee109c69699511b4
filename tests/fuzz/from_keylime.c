/* Keylime's policies: what is taken is a guest policy that names its documents, and never accepts what was
 * not told. */
#include "appraisal/policy/from_keylime.h"
#include "appraisal/policy/policy.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/* tpm_policy, mb_policy and keyring end with a NUL each; the rest is the runtime policy. */
static char *text(const uint8_t **p, size_t *n)
{
    const uint8_t *end = memchr(*p, 0, *n);
    size_t len = end ? (size_t)(end - *p) : *n;
    char *s = strndup((const char *)*p, len);

    *p += end ? len + 1 : *n;
    *n -= end ? len + 1 : *n;
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    LT_AUTOFREE char *tpm = text(&p, &n), *boot = text(&p, &n), *keys = text(&p, &n);
    const struct lt_from_keylime_in in = {
        .tpm_policy = tpm, .boot = boot, .ima_keys = keys, .runtime = {p, n}};
    LT_POLICY_AUTO_FROM_KEYLIME struct lt_from_keylime o;
    struct lt_policy_guest *g;

    if (lt_from_keylime(&in, &o, LT_NO_ERR))
        return 0;
    FUZZ_REQUIRE(!lt_policy_guest_parse(o.policy.p, o.policy.n, &g, LT_NO_ERR));
    FUZZ_REQUIRE(g->measured.has_boot == (o.boot.p != NULL) &&
                 g->measured.layer_count == (o.runtime.p != NULL));
    FUZZ_REQUIRE(!(g->pcrs.mask & (1u << 10 | 1u << 16)));
    FUZZ_REQUIRE(!g->accept_unlinked && !g->accept_unjudged && !g->accept_open_boot &&
                 !g->accept_ek_unproven);
    FUZZ_REQUIRE(!g->measured.accept_violations && !g->measured.accept_padded);
    lt_policy_guest_free(g);
    return 0;
}
