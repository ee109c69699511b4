/* Bundles: what is accepted can be written and read again, and is judged without trust. */
#include "appraisal/checks/offline.h"

#include "tests/fuzz/fuzz.h"

static void there_and_back(const struct lt_bundle *b)
{
    struct lt_bundle again;
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(b);
    LT_AUTOFREE char *text = lt_json_dump(j);

    FUZZ_REQUIRE(text && !lt_bundle_parse(text, strlen(text), &again, LT_NO_ERR));
    lt_bundle_free(&again);
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
    lt_bundle_free(&b);
    return 0;
}
