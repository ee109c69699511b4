/* A tree of 1024 leaves is 1023 inner nodes. What do they cost from ready leaf hashes, against 1023 bare
 * digests of 65 bytes with a fetched EVP_MD and a reused context? Bound: 1.3 times. Also: a path, a check. */
#include "merkle/merkle.h"
#include "tests/bench/bench.h"

#include <openssl/evp.h>
#include <string.h>

#define LEAVES 1024
#define NODES (LEAVES - 1)
#define BOUND 1.3

static uint8_t leaves[LEAVES][LT_MERKLE_NODE];

static double bare(EVP_MD *md, EVP_MD_CTX *c)
{
    uint8_t in[1 + 2 * LT_MERKLE_NODE] = {1}, out[LT_MERKLE_NODE];
    uint64_t start = bench_ns();

    for (int i = 0; i < NODES; i++) {
        if (EVP_DigestInit_ex2(c, md, NULL) != 1 || EVP_DigestUpdate(c, in, sizeof in) != 1 ||
            EVP_DigestFinal_ex(c, out, NULL) != 1)
            abort();
        memcpy(in + 1, out, LT_MERKLE_NODE);
    }
    return (double)(bench_ns() - start) / NODES;
}

static double tree(void)
{
    struct lt_merkle *t;
    uint64_t start = bench_ns();

    if (lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, LEAVES, &t, LT_NO_ERR))
        abort();
    double ns = (double)(bench_ns() - start) / NODES;
    memcpy(leaves[0], lt_merkle_root(t), LT_MERKLE_NODE); /* so that no round is like the one before */
    lt_merkle_free(t);
    return ns;
}

static void proofs(double *path_ns, double *verify_ns)
{
    static struct lt_merkle_path paths[LEAVES];
    struct lt_merkle *t;

    if (lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, LEAVES, &t, LT_NO_ERR))
        abort();
    uint64_t start = bench_ns();
    for (uint32_t i = 0; i < LEAVES; i++)
        if (lt_merkle_path(t, i, &paths[i], LT_NO_ERR))
            abort();
    uint64_t middle = bench_ns();
    for (uint32_t i = 0; i < LEAVES; i++)
        if (lt_merkle_verify(leaves[i], &paths[i], LEAVES, lt_merkle_root(t), LT_NO_ERR))
            abort();
    *path_ns = (double)(middle - start) / LEAVES;
    *verify_ns = (double)(bench_ns() - middle) / LEAVES;
    lt_merkle_free(t);
}

int main(int argc, char **argv)
{
    static double bare_ns[4000], tree_ns[4000], ratio[4000];
    double path_ns, verify_ns;
    bool quick = argc > 1 && !strcmp(argv[1], "--quick");
    int rounds = quick ? 300 : 4000;
    EVP_MD *md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    EVP_MD_CTX *c = EVP_MD_CTX_new();

    for (uint32_t i = 0; i < LEAVES; i++)
        lt_merkle_leaf(&i, sizeof i, leaves[i]);
    /* In turns, so that a busy machine slows both; medians, so that a preempted round counts for one. */
    for (int i = 0; i < rounds; i++) {
        bare_ns[i] = bare(md, c);
        tree_ns[i] = tree();
        ratio[i] = tree_ns[i] / bare_ns[i];
    }
    proofs(&path_ns, &verify_ns);
    double r = bench_quantile(ratio, (size_t)rounds, 0.5);
    bench_begin("merkle");
    bench_number("leaves", LEAVES);
    bench_number("nodes", NODES);
    bench_number("rounds", rounds);
    bench_number("ns_per_node", bench_quantile(tree_ns, (size_t)rounds, 0.5));
    bench_number("ns_per_bare_digest", bench_quantile(bare_ns, (size_t)rounds, 0.5));
    bench_number("ratio", r);
    bench_number("ratio_bound", BOUND);
    bench_number("ns_per_path", path_ns);
    bench_number("ns_per_verify", verify_ns);
    bench_text("openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    bench_end();
    EVP_MD_CTX_free(c);
    EVP_MD_free(md);
    return quick || r <= BOUND ? 0 : 1;
}
