/* IMA lists, text and binary. The chain is replayed a second time, entry by entry, and both must agree about
 * the value that good entries lead to; with a policy and learnt keys besides, whatever comes out is
 * consistent. */
#include "appraisal/ima/keys.h"
#include "appraisal/ima/line.h"
#include "appraisal/ima/replay.h"
#include "common/ima_list.h"

#include "tests/fuzz/fuzz.h"

static const char document[] =
    "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"digests\":{\"/bin/a\":"
    "[\"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\"]},\"excludes\":[\"/tmp/.*\"],"
    "\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[\".evm\"],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},"
    "\"ima-buf\":{},"
    "\"verification-keys\":\"\"}";

static struct lt_ima_line line;

/* The entries up to one that is none, or not of PCR 10, or without the right column of SHA-1; pcr is what
 * they extend to. */
static void replay(struct lt_slice list, uint8_t pcr[LT_SHA256], uint64_t *entries)
{
    struct lt_ima_walk w = lt_ima_walk(list);
    uint8_t h[LT_SHA256];
    bool more;

    memset(pcr, 0, LT_SHA256);
    for (*entries = 0;; ++*entries) {
        struct lt_err e = {0};
        size_t from = w.at;
        int rc = lt_ima_walk_next(&w, &line, &more, &e);
        FUZZ_REQUIRE(!rc == !e.msg[0] && (!rc || rc == LT_E_MALFORMED));
        FUZZ_REQUIRE(rc || !more ? w.at == from : w.at > from && w.at <= list.n);
        if (rc || !more || line.pcr != LT_IMA_PCR || line.log_hash != LT_HASH_SHA1 ||
            !(line.proved || line.violation))
            return;
        FUZZ_REQUIRE(line.data.n <= LT_MAX_IMA_LINE + 512 && line.path.n <= LT_MAX_IMA_NAME);
        memset(h, 0xff, sizeof h);
        if (!line.violation) {
            lt_hash(LT_HASH_SHA1, &line.data, 1, h);
            FUZZ_REQUIRE(!memcmp(h, line.column, 20));
            lt_hash(LT_HASH_SHA256, &line.data, 1, h);
        }
        lt_sha256_2(pcr, LT_SHA256, h, sizeof h, pcr);
    }
}

/* Pieces cut by either end are the same list: what is skipped and what is left. */
static void pieces(struct lt_slice list)
{
    uint64_t units = lt_ima_list_units(list), skipped, first;

    for (uint64_t i = 0; i <= units && i < 40; i++) {
        size_t at = lt_ima_list_skip(list, i, &skipped);
        FUZZ_REQUIRE(skipped == i && at <= list.n);
        first = i;
        FUZZ_REQUIRE(lt_ima_list_from(list, &first) == at && first == i);
    }
    first = units + 1;
    FUZZ_REQUIRE(!lt_ima_list_from(list, &first) && !first);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct lt_ima_layers layers;
    static struct lt_buf table = LT_BUF(1 << 20);
    static struct lt_ima_result out;
    struct lt_ima_progress at = {0};
    struct lt_err e = {0};
    uint8_t pcr[LT_SHA256];
    uint64_t entries;

    if (!layers.count) {
        static const struct lt_policy_layer_rule rule = {.name = "fuzz"};
        struct lt_ima_table *t;
        FUZZ_REQUIRE(!lt_ima_table_compile(document, sizeof document - 1, NULL, &table, &e) &&
                     !lt_ima_table_open(table.p, table.n, &t, &e));
        layers = (struct lt_ima_layers){.count = 1, .layer = {{&rule, t}}, .learn_keys = true};
    }
    pieces((struct lt_slice){p, n});
    replay((struct lt_slice){p, n}, pcr, &entries);
    struct lt_ima_input in = {.list = {p, n}, .bank = LT_HASH_SHA256, .pcr = pcr};
    int rc = lt_ima_appraise(&in, &at, &out, &e);
    FUZZ_REQUIRE(!rc && at.next == entries && out.entries == entries && out.matched_bytes <= n);
    FUZZ_REQUIRE(at.bytes == out.matched_bytes && !out.faults);
    lt_ima_progress_free(&at);

    in.layers = &layers;
    e = (struct lt_err){0};
    rc = lt_ima_appraise(&in, &at, &out, &e);
    FUZZ_REQUIRE(!rc || e.msg[0]);
    FUZZ_REQUIRE(rc || (!out.faults && at.next == entries && entries));
    FUZZ_REQUIRE(out.kept <= LT_IMA_FAULTS && out.kept <= out.faults && out.matched <= entries);
    for (unsigned i = 0; i < out.kept; i++)
        FUZZ_REQUIRE(memchr(out.fault[i], 0, sizeof out.fault[i]));
    pcr[0] ^= 1; /* one that it does not lead to */
    FUZZ_REQUIRE(lt_ima_appraise(&in, NULL, &out, LT_NO_ERR));
    lt_ima_progress_free(&at);
    return 0;
}
