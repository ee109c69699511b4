/* One whole quote of a guest without logs: the quote string read, and checks 1 to 3 made on it. Against one
 * bare EVP_DigestVerify of the same attest with a key that is loaded. RSA-2048 and P-256; one JSON line each;
 * a median above the bound ends with status 1. --quick: fewer rounds, and no bound. */
#include "keylime/quote.h"
#include "tests/bench/bench.h"
#include "tests/support/appraisal/forge.h"

#define ROUNDS 4000
#define BOUND 1.3

static double bare(EVP_PKEY *key, const struct lt_buf *attest, const uint8_t *sig, size_t sig_n)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    uint64_t start = bench_ns();

    if (EVP_DigestVerifyInit_ex(c, NULL, "SHA256", NULL, NULL, key, NULL) != 1 ||
        EVP_DigestVerify(c, sig, sig_n, attest->p, attest->n) != 1)
        abort();
    uint64_t ns = bench_ns() - start;
    EVP_MD_CTX_free(c);
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

static double whole(struct forge *f, const char *text)
{
    struct lt_quote q;
    struct lt_verdict v;
    uint64_t start = bench_ns();

    if (lt_quote_parse(text, &q, LT_NO_ERR))
        abort();
    f->guest.attest = (struct lt_slice){q.attest, q.attest_n};
    f->guest.signature = (struct lt_slice){q.signature, q.signature_n};
    f->guest.pcrs = &q.pcrs;
    lt_verdict_init(&v);
    lt_checks_appraise_guest(&f->guest, &f->facts, &v);
    lt_quote_free(&q);
    uint64_t ns = bench_ns() - start;
    for (int c = LT_CHECK_GUEST_QUOTE; c <= LT_CHECK_GUEST_POLICY; c++)
        if (!lt_verdict_passed(&v, c)) {
            fprintf(stderr, "%s: %s\n", lt_check_slug(c), v.check[c].message);
            exit(1);
        }
    return (double)ns;
}

static bool run(const char *name, bool ecc, size_t rounds)
{
    static double ours[ROUNDS], theirs[ROUNDS];
    uint8_t sig[512];
    struct forge f;
    char *text;

    forge_init(&f);
    if (ecc) {
        f.guest_ak = soft_ecc("P-256");
        f.guest_ak_shape = soft_ak_ecc;
    }
    forge_build(&f);
    f.guest.logs = (struct lt_measured_logs){.now = FORGE_NOW};
    struct lt_quote q = {.attest = f.attest_g.p,
                         .attest_n = f.attest_g.n,
                         .signature = f.sig_g.p,
                         .signature_n = f.sig_g.n,
                         .pcrs = f.guest_pcrs};
    if (lt_quote_write(&q, &text, LT_NO_ERR))
        abort();
    size_t sig_n = sign(f.guest_ak, &f.attest_g, sig);
    /* In turns: what disturbs one disturbs the other. */
    for (size_t i = 0; i < rounds; i++) {
        theirs[i] = bare(f.guest_ak, &f.attest_g, sig, sig_n);
        ours[i] = whole(&f, text);
    }
    double us = bench_quantile(ours, rounds, 0.5) / 1e3, bare_us = bench_quantile(theirs, rounds, 0.5) / 1e3;
    bench_begin("quote");
    bench_text("key", name);
    bench_number("us", us);
    bench_number("bare_us", bare_us);
    bench_number("ratio", us / bare_us);
    bench_number("bound", BOUND);
    bench_end();
    free(text);
    if (ecc)
        EVP_PKEY_free(f.guest_ak);
    forge_free(&f);
    return us / bare_us <= BOUND;
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && !strcmp(argv[1], "--quick");
    size_t rounds = quick ? ROUNDS / 8 : ROUNDS;
    bool good = run("rsa2048", false, rounds);

    good &= run("p256", true, rounds);
    return quick || good ? 0 : 1;
}
