/* A whole IMA list against a policy of as many files: parsed, replayed, every entry looked up. The control
 * hashes the same bytes and nothing else: template data with SHA-1 (the list's column) and SHA-256 (the
 * bank), and the extend, with fetched digests and a reused context for each. Bound: 2.0 times. */
#include "appraisal/ima/line.h"
#include "appraisal/ima/replay.h"
#include "tests/bench/bench.h"

#include <openssl/evp.h>
#include <string.h>

#define BOUND 2.0
#define MAX_ROUNDS 64

struct load {
    unsigned entries;
    struct lt_buf text, document, table;
    uint8_t *data; /* template data of all entries, one behind the other */
    size_t *end;
    uint8_t pcr[LT_SHA256];
    struct lt_ima_table *open;
    struct lt_ima_layers layers;
};

static EVP_MD *sha1, *sha256;
static EVP_MD_CTX *c1, *c256;

/* Of this thread: what others on the machine do in between is not ours. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void must(int rc, const struct lt_err *e, const char *what)
{
    if (!rc)
        return;
    fprintf(stderr, "bench_ima: %s: %s\n", what, e->msg);
    exit(2);
}

static void digest(EVP_MD_CTX *context, const EVP_MD *md, const void *p, size_t n, uint8_t *out)
{
    if (EVP_DigestInit_ex2(context, md, NULL) != 1 || EVP_DigestUpdate(context, p, n) != 1 ||
        EVP_DigestFinal_ex(context, out, NULL) != 1)
        abort();
}

/* Lengths as on a server: 20 to 110 characters, 58 in the mean. */
static void path_of(unsigned i, char out[160])
{
    static const char *const kinds[][2] = {
        {"/usr/bin/program-", ""},
        {"/usr/lib/x86_64-linux-gnu/libexample", ".so.6.0.1"},
        {"/usr/lib/python3/dist-packages/package/module/submodule_", ".py"},
        {"/usr/lib/modules/6.8.0-51-generic/kernel/drivers/net/ethernet/vendor/driver", ".ko.zst"},
    };
    const char *const *kind = kinds[i * 2654435761u >> 30];
    snprintf(out, 160, "%s%06u%s", kind[0], i, kind[1]);
}

static void make(struct load *l, unsigned entries)
{
    static struct lt_ima_line line;
    struct lt_err e = {0};
    uint8_t both[2 * LT_SHA256] = {0}, d[LT_SHA256];
    char path[160], hex[2 * LT_SHA256 + 1];
    struct lt_slice one;
    size_t at = 0, n = 0;

    *l = (struct load){.entries = entries,
                       .text = LT_BUF(LT_MAX_IMA_LOG),
                       .document = LT_BUF(LT_MAX_POLICY),
                       .table = LT_BUF(LT_MAX_IMA_TABLE)};
    lt_buf_str(
        &l->document,
        "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"excludes\":[\"/tmp/.*\",\"/var/log/.*\"],"
        "\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},"
        "\"ima-buf\":{},\"verification-keys\":\"\",\"digests\":{");
    for (unsigned i = 0; i < entries; i++) {
        path_of(i, path);
        lt_sha256(&i, sizeof i, d);
        lt_hex(d, sizeof d, hex);
        lt_buf_printf(&l->document, "%s\"%s\":[\"%s\"]", i ? "," : "", path, hex);
        lt_buf_printf(&l->text, "10 %040d ima-ng sha256:%s %s\n", 1, hex, path);
    }
    lt_buf_str(&l->document, "}}");
    must(lt_buf_ok(&l->text, &e) | lt_buf_ok(&l->document, &e), &e, "input");
    l->data = malloc(l->text.n);
    l->end = malloc(entries * sizeof *l->end);
    /* The columns and PCR 10, now that the data is known. */
    for (unsigned i = 0; i < entries; i++) {
        if (!lt_ima_line_next((struct lt_slice){l->text.p, l->text.n}, &at, &one))
            abort();
        must(lt_ima_line_parse(one, &line, &e), &e, "line");
        memcpy(l->data + n, line.data.p, line.data.n);
        lt_hash(LT_HASH_SHA1, &line.data, 1, d);
        lt_hex(d, 20, hex);
        memcpy(l->text.p + (one.p - l->text.p) + 3, hex, 40);
        lt_sha256(line.data.p, line.data.n, both + LT_SHA256);
        lt_sha256(both, sizeof both, both);
        l->end[i] = n += line.data.n;
    }
    memcpy(l->pcr, both, LT_SHA256);
    must(lt_ima_table_compile(l->document.p, l->document.n, NULL, &l->table, &e), &e, "compile");
    must(lt_ima_table_open(l->table.p, l->table.n, &l->open, &e), &e, "open");
    static const struct lt_policy_layer_rule base = {.name = "base"};
    l->layers = (struct lt_ima_layers){.count = 1, .layer = {{&base, l->open}}};
}

static void unmake(struct load *l)
{
    lt_ima_table_close(l->open);
    lt_buf_free(&l->text);
    lt_buf_free(&l->document);
    lt_buf_free(&l->table);
    free(l->data);
    free(l->end);
}

static double bare(const struct load *l)
{
    uint8_t column[20], both[2 * LT_SHA256] = {0};
    uint64_t start = cpu_ns();
    size_t from = 0;

    for (unsigned i = 0; i < l->entries; from = l->end[i++]) {
        digest(c1, sha1, l->data + from, l->end[i] - from, column);
        digest(c256, sha256, l->data + from, l->end[i] - from, both + LT_SHA256);
        digest(c256, sha256, both, sizeof both, both);
    }
    if (memcmp(both, l->pcr, LT_SHA256))
        abort();
    return (double)(cpu_ns() - start) / l->entries;
}

static double appraise(const struct load *l, const struct lt_ima_layers *layers)
{
    struct lt_ima_progress progress = {0};
    static struct lt_ima_result result;
    const struct lt_ima_input in = {
        .list = {l->text.p, l->text.n}, .bank = LT_HASH_SHA256, .pcr = l->pcr, .layers = layers};
    struct lt_err e = {0};
    uint64_t start = cpu_ns();

    must(lt_ima_appraise(&in, &progress, &result, &e), &e, "appraise");
    double ns = (double)(cpu_ns() - start) / l->entries;
    if (progress.next != l->entries)
        abort();
    lt_ima_progress_free(&progress);
    return ns;
}

static bool measure(unsigned entries, unsigned rounds, double bound)
{
    static double bare_ns[MAX_ROUNDS], full_ns[MAX_ROUNDS], chain_ns[MAX_ROUNDS], ratio[MAX_ROUNDS];
    struct load l;

    make(&l, entries);
    /* In turns, so that a busy machine slows all; medians, so that a preempted round counts for one. */
    for (unsigned i = 0; i < rounds; i++) {
        bare_ns[i] = bare(&l);
        full_ns[i] = appraise(&l, &l.layers);
        chain_ns[i] = appraise(&l, NULL);
        ratio[i] = full_ns[i] / bare_ns[i];
    }
    double r = bench_quantile(ratio, rounds, 0.5);
    bench_begin("ima");
    bench_number("entries", entries);
    bench_number("rounds", rounds);
    bench_number("list_bytes", (double)l.text.n);
    bench_number("table_bytes", (double)l.table.n);
    bench_number("ns_per_entry", bench_quantile(full_ns, rounds, 0.5));
    bench_number("ns_without_policy", bench_quantile(chain_ns, rounds, 0.5));
    bench_number("ns_bare_hashes", bench_quantile(bare_ns, rounds, 0.5));
    bench_number("ratio", r);
    bench_number("ratio_bound", bound);
    bench_end();
    unmake(&l);
    return r <= bound;
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && !strcmp(argv[1], "--quick");

    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    c1 = EVP_MD_CTX_new();
    c256 = EVP_MD_CTX_new();
    bool good = measure(10000, quick ? 15 : 60, BOUND);
    good &= measure(100000, quick ? 5 : 20, BOUND);
    EVP_MD_CTX_free(c1);
    EVP_MD_CTX_free(c256);
    EVP_MD_free(sha1);
    EVP_MD_free(sha256);
    return quick || good ? 0 : 1;
}
