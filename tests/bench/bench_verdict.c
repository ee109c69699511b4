/* All eleven checks of one guest: 57 IMA entries and a boot log, the host with a list of its own. Three ways:
 * nothing cached; the host's quote and its logs' appraisal cached, as for all but the first guest of a batch;
 * and the IMA list going on where it stood. Beside each the sum of the bare signature checks and hashes in
 * it. --quick: fewer rounds. */
#include "appraisal/checks/host_quote.h"
#include "tests/bench/bench.h"
#include "tests/support/appraisal/forge.h"

#define ROUNDS 2000
#define ENTRIES 57

static EVP_MD *md, *sha1;

static void digest(EVP_MD_CTX *c, EVP_MD *alg, const void *p, size_t n)
{
    uint8_t out[64];

    if (EVP_DigestInit_ex2(c, alg, NULL) != 1 || EVP_DigestUpdate(c, p, n) != 1 ||
        EVP_DigestFinal_ex(c, out, NULL) != 1)
        abort();
}

/* Template hash in SHA-1 and in the bank, extend. */
static void bare_list(EVP_MD_CTX *c, const struct forge_ima *m)
{
    uint8_t data[160] = {0};
    size_t entries = 1;

    while (m->paths[entries - 1])
        entries++;
    for (size_t i = 0; i < entries; i++) {
        size_t n = 49 + (i ? strlen(m->paths[i - 1]) : 14);
        digest(c, sha1, data, n);
        digest(c, md, data, n);
        digest(c, md, data, 64);
    }
}

static void bare_tree(EVP_MD_CTX *c, unsigned levels)
{
    uint8_t node[201] = {0};

    digest(c, md, node, sizeof node);
    for (unsigned i = 0; i < levels; i++)
        digest(c, md, node, 65);
}

/* The same hashes over as many bytes: evidence, commitment, PCR digests, transport key, cache key, paths,
 * header. */
static double bare(const struct forge *f, EVP_PKEY *guest, EVP_PKEY *host, const uint8_t *sig[2],
                   const size_t sig_n[2], bool cached, bool incremental)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint8_t bytes[2048] = {0};
    uint64_t start = bench_ns();

    if (EVP_DigestVerifyInit_ex(c, NULL, "SHA256", NULL, NULL, guest, NULL) != 1 ||
        EVP_DigestVerify(c, sig[0], sig_n[0], f->attest_g.p, f->attest_g.n) != 1)
        abort();
    EVP_MD_CTX_reset(c);
    if (!cached && (EVP_DigestVerifyInit_ex(c, NULL, "SHA256", NULL, NULL, host, NULL) != 1 ||
                    EVP_DigestVerify(c, sig[1], sig_n[1], f->attest_h.p, f->attest_h.n) != 1))
        abort();
    EVP_MD_CTX_reset(c);
    digest(c, md, bytes, f->attest_g.n + f->sig_g.n + 20); /* E */
    digest(c, md, bytes, 180);                             /* C */
    digest(c, md, bytes, 11 * 32);                         /* the guest's PCRs */
    digest(c, md, bytes, strlen(f->pubkey));
    digest(c, md, bytes, 64);
    digest(c, md, bytes, 8 * 32); /* boot_aggregate */
    digest(c, md, bytes,
           LT_RESIDENCY_HEADER + f->attest_h.n + f->sig_h.n + 16 * 32 + 60); /* the quote cache's key */
    digest(c, md, bytes, 24 * 64 + 200);                                     /* the appraisal's */
    bare_tree(c, 4);
    bare_tree(c, 3);
    if (!incremental)
        bare_list(c, &f->ima_g);
    if (!cached) {
        digest(c, md, bytes, LT_RESIDENCY_HEADER);
        digest(c, md, bytes, 16 * 32);
        digest(c, md, bytes, 8 * 32);
        digest(c, md, bytes, 10 * 32);
        bare_list(c, &f->ima_h);
    }
    uint64_t ns = bench_ns() - start;
    EVP_MD_CTX_free(c);
    return (double)ns;
}

static double ours(struct forge *f)
{
    struct lt_verdict v;
    uint64_t start = bench_ns();

    forge_judge(f, &v);
    uint64_t ns = bench_ns() - start;
    if (v.result != LT_VERDICT_TRUSTED) {
        fprintf(stderr, "%s [%s]\n", lt_verdict_result_slug(v.result), v.reason);
        exit(1);
    }
    return (double)ns;
}

static size_t sign(EVP_PKEY *key, const struct lt_buf *attest, uint8_t out[512])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    size_t n = 512;

    if (EVP_DigestSignInit_ex(c, NULL, "SHA256", NULL, NULL, key, NULL) != 1 ||
        EVP_DigestSign(c, out, &n, attest->p, attest->n) != 1)
        abort();
    EVP_MD_CTX_free(c);
    return n;
}

static void run(struct forge *f, const char *name, bool cached, bool incremental, size_t rounds)
{
    static double mine[ROUNDS], theirs[ROUNDS];
    uint8_t sig_g[512], sig_h[512];
    const uint8_t *sig[2] = {sig_g, sig_h};
    const size_t sig_n[2] = {sign(f->guest_ak, &f->attest_g, sig_g), sign(f->host_ak, &f->attest_h, sig_h)};
    struct lt_ima_progress none = {0}, *progress = f->guest.progress;

    for (size_t i = 0; i < rounds; i++) {
        if (progress && !incremental) {
            lt_ima_progress_free(progress);
            *progress = none;
        }
        theirs[i] = bare(f, f->guest_ak, f->host_ak, sig, sig_n, cached, incremental);
        mine[i] = ours(f);
    }
    double us = bench_quantile(mine, rounds, 0.5) / 1e3, bare_us = bench_quantile(theirs, rounds, 0.5) / 1e3;
    bench_begin("verdict");
    bench_text("case", name);
    bench_number("ima_entries", incremental ? 0 : ENTRIES);
    bench_number("us", us);
    bench_number("bare_us", bare_us);
    bench_number("ratio", us / bare_us);
    bench_end();
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 1 && !strcmp(argv[1], "--quick") ? ROUNDS / 8 : ROUNDS;
    static char names[ENTRIES][48];
    struct lt_ima_progress progress = {0};
    struct forge f;

    md = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    forge_init(&f);
    forge_measure(&f);
    f.ima_g.boot = true;
    for (int i = 0; i < ENTRIES - 1; i++) { /* and boot_aggregate */
        snprintf(names[i], sizeof names[i], "/usr/lib/x86_64-linux-gnu/lib%d.so", i);
        f.ima_g.paths[i] = names[i];
    }
    forge_build(&f);
    run(&f, "nothing cached", false, false, rounds);
    f.host.cache = lt_host_quote_cache_new();
    f.host.measured_cache = lt_measured_cache_new();
    ours(&f);
    run(&f, "host cached", true, false, rounds);
    f.guest.progress = &progress;
    ours(&f);
    f.guest.logs.ima_first = progress.next;
    f.guest.logs.ima = (struct lt_slice){(const uint8_t *)"", 0};
    run(&f, "host cached, list unchanged", true, true, rounds);
    lt_ima_progress_free(&progress);
    lt_result_cache_free(f.host.cache);
    lt_result_cache_free(f.host.measured_cache);
    forge_free(&f);
    EVP_MD_free(md);
    EVP_MD_free(sha1);
    return 0;
}
