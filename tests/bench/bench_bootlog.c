/* A server's boot log, 73 kB: parse with replay, a boot policy of each form judged, against the bare hashing
 * of the same bytes: its extends (H(64 bytes) each) and one digest of the log. [LOG [REFSTATE]] may name a
 * raw log and a reference state; a forged one of that size is there without. One JSON line; with --quick
 * fewer rounds. */
#include "appraisal/boot/policy.h"
#include "common/file.h"
#include "common/limits.h"
#include "tests/bench/bench.h"
#include "tests/support/appraisal/boot_forge.h"

#include <openssl/evp.h>
#include <string.h>

#define ROUNDS 400
#define DBX 1120 /* signatures that make the forged log 73 kB */

static uint64_t bare(const uint8_t *p, size_t n, unsigned extends, unsigned banks, EVP_MD *md, EVP_MD_CTX *c)
{
    uint8_t in[64] = {1};
    uint64_t start = bench_ns();

    for (unsigned i = 0; i < extends * banks; i++)
        if (EVP_DigestInit_ex2(c, md, NULL) != 1 || EVP_DigestUpdate(c, in, sizeof in) != 1 ||
            EVP_DigestFinal_ex(c, in, NULL) != 1)
            abort();
    if (EVP_DigestInit_ex2(c, md, NULL) != 1 || EVP_DigestUpdate(c, p, n) != 1 ||
        EVP_DigestFinal_ex(c, in, NULL) != 1)
        abort();
    return bench_ns() - start;
}

static uint64_t judge(const struct lt_boot_policy *p, const struct lt_boot_log *l, const struct lt_pcrs *pcrs)
{
    struct lt_err e;
    uint64_t start = bench_ns();
    if (lt_boot_policy_judge(p, l, pcrs, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    return bench_ns() - start;
}

static struct lt_boot_policy *policy(char *text)
{
    struct lt_boot_policy *p;
    struct lt_err e;
    if (!text || lt_boot_policy_parse(text, strlen(text), &p, &e))
        abort();
    free(text);
    return p;
}

int main(int argc, char **argv)
{
    static double parse[ROUNDS], ours[ROUNDS], theirs[ROUNDS], hash[ROUNDS], replay[ROUNDS];
    size_t rounds = ROUNDS;
    struct boot_plan plan = {.secure_boot = true, .dbx = DBX};
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_BOOT_LOG);
    LT_AUTOFREE uint8_t *file = NULL, *state = NULL;
    const char *path = NULL, *state_path = NULL;
    struct lt_err e;
    struct lt_pcrs pcrs;

    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--quick"))
            rounds = 20;
        else if (path)
            state_path = argv[i];
        else
            path = argv[i];
    boot_forge_server(&b, &plan);
    struct lt_boot_policy *refstate = policy(boot_forge_refstate(&plan));
    if (path) {
        size_t n, state_n;
        if (lt_file_read(path, LT_MAX_BOOT_LOG, &file, &n, &e) ||
            (state_path && lt_file_read(state_path, LT_MAX_BOOT_POLICY, &state, &state_n, &e))) {
            fprintf(stderr, "%s\n", e.msg);
            return 2;
        }
        b.n = 0;
        lt_buf_put(&b, file, n);
        lt_boot_policy_free(refstate);
        refstate = state ? policy(strdup((char *)state)) : NULL;
    }
    boot_forge_pcrs(&b, &pcrs);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    char *learnt;
    uint32_t covers;
    if (!l || lt_boot_policy_learn(l, &pcrs, &learnt, &covers, &e))
        abort();
    struct lt_boot_policy *own = policy(learnt);
    EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    for (size_t i = 0; i < rounds; i++) {
        struct lt_boot_replay r;
        uint64_t start = bench_ns();
        struct lt_boot_log *again = lt_boot_log_new((struct lt_slice){b.p, b.n});
        parse[i] = (double)(bench_ns() - start);
        lt_boot_log_free(again);
        start = bench_ns();
        lt_boot_replay((struct lt_slice){b.p, b.n}, &r);
        replay[i] = (double)(bench_ns() - start);
        ours[i] = (double)judge(own, l, &pcrs);
        theirs[i] = refstate ? (double)judge(refstate, l, &pcrs) : 0;
        hash[i] = (double)bare(b.p, b.n, l->count - 1, l->replay.bank_count, md, c);
    }
    double p = bench_quantile(parse, rounds, 0.5), o = bench_quantile(ours, rounds, 0.5),
           t = bench_quantile(theirs, rounds, 0.5), h = bench_quantile(hash, rounds, 0.5);
    bench_begin("bootlog");
    bench_text("log", path ? "given" : "forged");
    bench_number("bytes", (double)b.n);
    bench_number("events", l->count);
    bench_number("banks", l->replay.bank_count);
    bench_number("parse_and_replay_us", p / 1e3);
    bench_number("replay_only_us", bench_quantile(replay, rounds, 0.5) / 1e3);
    bench_number("judge_ours_us", o / 1e3);
    if (refstate)
        bench_number("judge_refstate_us", t / 1e3);
    bench_number("bare_hash_us", h / 1e3);
    bench_number("ratio", (p + (refstate ? t : o)) / h);
    bench_end();
    lt_boot_log_free(l);
    lt_boot_policy_free(own);
    lt_boot_policy_free(refstate);
    EVP_MD_CTX_free(c);
    EVP_MD_free(md);
    return 0;
}
