/* Bundles: what is accepted can be written and read again, and is judged without trust. */
#include "appraisal/checks/offline.h"

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void there_and_back(const struct lt_bundle *b)
{
    struct lt_bundle again;
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(b);
    LT_AUTOFREE char *text = lt_json_dump(j);

    FUZZ_REQUIRE(text && !lt_bundle_parse(text, strlen(text), &again, LT_NO_ERR));
    lt_bundle_free(&again);
}

/* By a policy that takes every document of the bundle, so that its openers are judged. No link above copyable
 * comes of a bundle without them. */
static void sealed(const struct lt_bundle *b)
{
    LT_AUTOFREE uint8_t(*digest)[LT_SHA256] = calloc(b->policy_count + 1, sizeof *digest);
    struct lt_verdict v;

    FUZZ_REQUIRE(digest);
    for (size_t i = 0; i < b->policy_count; i++)
        memcpy(digest[i], b->policies[i].digest, LT_SHA256);
    const struct lt_policy_digests all = {b->policy_count, digest};
    const struct lt_policy_guest policy = {.host_policies = all, .seals = all};
    const struct lt_offline o = {.policy = &policy};
    if (lt_offline_appraise(b, &o, &v, LT_NO_ERR))
        return;
    FUZZ_REQUIRE(v.link < LT_VERDICT_LINK_BOUND || (b->host.openers.p && v.openers.count));
    json_decref(lt_verdict_to_json(&v, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct lt_offline none;
    struct lt_verdict v;
    struct lt_bundle b;

    if (lt_bundle_parse(p, n, &b, LT_NO_ERR))
        return 0;
    there_and_back(&b);
    if (!lt_offline_appraise(&b, &none, &v, LT_NO_ERR)) {
        FUZZ_REQUIRE(v.result == LT_VERDICT_CONSISTENT || v.result == LT_VERDICT_INCONSISTENT);
        json_decref(lt_verdict_to_json(&v, NULL));
    }
    sealed(&b);
    lt_bundle_free(&b);
    return 0;
}
