/* IMA lists. The chain is replayed a second time, line by line, and both must agree when a list is good; with
 * a policy and learnt keys besides, whatever comes out is consistent. */
#include "appraisal/ima.h"
#include "appraisal/imakeys.h"
#include "appraisal/imaline.h"

#include "tests/fuzz/fuzz.h"

static const char document[] =
    "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"digests\":{\"/bin/a\":"
    "[\"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\"]},\"excludes\":[\"/tmp/.*\"],"
    "\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[\".evm\"],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},"
    "\"ima-buf\":{},"
    "\"verification-keys\":\"\"}";

static struct lt_ima_line line;

/* True: every line is one, of PCR 10, with the right column of SHA-1; pcr is what they extend to. */
static bool replay(struct lt_slice text, uint8_t pcr[LT_SHA256], uint64_t *entries)
{
    struct lt_slice one;
    uint8_t h[LT_SHA256];
    char hex[41];
    size_t at = 0;

    memset(pcr, 0, LT_SHA256);
    for (*entries = 0; lt_ima_line_next(text, &at, &one); ++*entries) {
        struct lt_err e = {0};
        int rc = lt_ima_line_parse(one, &line, &e);
        FUZZ_REQUIRE(!rc == !e.msg[0] && (!rc || rc == LT_E_MALFORMED));
        if (rc || line.pcr != LT_IMA_PCR || line.column.n != 40)
            return false;
        FUZZ_REQUIRE(line.data_n <= sizeof line.data && line.path.n && line.path.n < one.n);
        const struct lt_slice data = {line.data, line.data_n};
        memset(h, 0xff, sizeof h);
        if (!line.violation) {
            lt_hash(LT_HASH_SHA1, &data, 1, h);
            lt_hex(h, 20, hex);
            if (memcmp(hex, line.column.p, 40))
                return false;
            lt_hash(LT_HASH_SHA256, &data, 1, h);
        }
        lt_sha256_2(pcr, LT_SHA256, h, sizeof h, pcr);
    }
    return true;
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
        struct lt_ima_table *t;
        FUZZ_REQUIRE(!lt_ima_table_compile(document, sizeof document - 1, NULL, &table, &e) &&
                     !lt_ima_table_open(table.p, table.n, &t, &e));
        layers =
            (struct lt_ima_layers){.count = 1, .layer = {{.name = "fuzz", .table = t}}, .learn_keys = true};
    }
    bool good = replay((struct lt_slice){p, n}, pcr, &entries);
    struct lt_ima_input in = {.list = {p, n}, .bank = LT_HASH_SHA256, .pcr = pcr};
    int rc = lt_ima_appraise(&in, &at, &out, &e);
    FUZZ_REQUIRE(good ? !rc && at.next == entries && out.entries == entries && !out.faults
                      : rc && e.msg[0] && !at.next);
    lt_ima_progress_free(&at);

    in.layers = &layers;
    e = (struct lt_err){0};
    rc = lt_ima_appraise(&in, &at, &out, &e);
    FUZZ_REQUIRE(!rc || e.msg[0]);
    FUZZ_REQUIRE(rc || (good && !out.faults && at.next == entries));
    FUZZ_REQUIRE(out.kept <= LT_IMA_FAULTS && out.kept <= out.faults && out.matched <= entries);
    for (unsigned i = 0; i < out.kept; i++)
        FUZZ_REQUIRE(memchr(out.fault[i], 0, sizeof out.fault[i]));
    pcr[0] ^= 1; /* a PCR that it does not lead to */
    FUZZ_REQUIRE(lt_ima_appraise(&in, NULL, &out, NULL));
    lt_ima_progress_free(&at);
    return 0;
}
