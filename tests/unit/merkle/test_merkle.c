#include "merkle/merkle.h"

#include "tests/support/unit.h"

#define NAIVE 130

static uint8_t leaves[NAIVE][LT_MERKLE_NODE];

static void naive_node(const uint8_t *l, const uint8_t *r, uint8_t out[LT_MERKLE_NODE])
{
    lt_hash(LT_HASH_SHA256,
            (struct lt_slice[]){{(const uint8_t *)"\x01", 1}, {l, LT_MERKLE_NODE}, {r, LT_MERKLE_NODE}}, 3,
            out);
}

static uint32_t split(uint32_t n)
{
    uint32_t k = 1;
    while (2 * k < n)
        k *= 2;
    return k;
}

/* RFC 9162 section 2.1.1, word for word. */
static void naive_root(const uint8_t (*d)[LT_MERKLE_NODE], uint32_t n, uint8_t out[LT_MERKLE_NODE])
{
    uint8_t l[LT_MERKLE_NODE], r[LT_MERKLE_NODE];

    if (n == 1) {
        memcpy(out, d[0], LT_MERKLE_NODE);
        return;
    }
    naive_root(d, split(n), l);
    naive_root(d + split(n), n - split(n), r);
    naive_node(l, r, out);
}

/* RFC 9162 section 2.1.3.1, word for word. */
static void naive_path(const uint8_t (*d)[LT_MERKLE_NODE], uint32_t n, uint32_t m, struct lt_merkle_path *out)
{
    uint32_t k = split(n);

    if (n == 1)
        return;
    naive_path(m < k ? d : d + k, m < k ? k : n - k, m < k ? m : m - k, out);
    naive_root(m < k ? d + k : d, m < k ? n - k : k, out->nodes[out->count++]);
}

/* The tree every implementation of RFC 6962 tests with. */
static const char *const inputs[8] = {
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
static const char *const roots[9] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};
static const struct {
    uint32_t index, size;
    const char *nodes[4];
} paths[] = {
    {0,
     8,
     {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
    {5,
     8,
     {"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
    {2, 3, {"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
    {1,
     5,
     {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
};

static void reference_leaves(uint8_t out[8][LT_MERKLE_NODE])
{
    for (size_t i = 0; i < 8; i++) {
        uint8_t data[16];
        lt_merkle_leaf(data, unit_hex(inputs[i], data, sizeof data), out[i]);
    }
}

static void test_known_roots(void **state)
{
    (void)state;
    uint8_t ref[8][LT_MERKLE_NODE], want[LT_MERKLE_NODE];

    reference_leaves(ref);
    for (uint32_t n = 0; n <= 8; n++) {
        struct lt_merkle *t;
        OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])ref, n, &t, &err));
        unit_hex(roots[n], want, sizeof want);
        assert_int_equal(lt_merkle_size(t), n);
        assert_memory_equal(lt_merkle_root(t), want, LT_MERKLE_NODE);
        lt_merkle_free(t);
    }
}

static void test_known_paths(void **state)
{
    (void)state;
    uint8_t ref[8][LT_MERKLE_NODE], root[LT_MERKLE_NODE];

    reference_leaves(ref);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct lt_merkle *t;
        struct lt_merkle_path want = {.index = paths[i].index}, got;
        for (; paths[i].nodes[want.count]; want.count++)
            unit_hex(paths[i].nodes[want.count], want.nodes[want.count], LT_MERKLE_NODE);
        OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])ref, paths[i].size, &t, &err));
        OK(lt_merkle_path(t, paths[i].index, &got, &err));
        assert_memory_equal(&got, &want, sizeof got);
        unit_hex(roots[paths[i].size], root, sizeof root);
        OK(lt_merkle_verify(ref[paths[i].index], &want, paths[i].size, root, &err));
        lt_merkle_free(t);
    }
}

static void test_against_naive(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= NAIVE; n++) {
        uint8_t root[LT_MERKLE_NODE];
        struct lt_merkle *t;
        OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, n, &t, &err));
        naive_root((const uint8_t(*)[LT_MERKLE_NODE])leaves, n, root);
        assert_memory_equal(lt_merkle_root(t), root, LT_MERKLE_NODE);
        for (uint32_t i = 0; i < n; i++) {
            struct lt_merkle_path want = {.index = i}, got;
            naive_path((const uint8_t(*)[LT_MERKLE_NODE])leaves, n, i, &want);
            OK(lt_merkle_path(t, i, &got, &err));
            assert_memory_equal(&got, &want, sizeof got);
            assert_int_equal(lt_merkle_path_length(i, n), want.count);
            OK(lt_merkle_verify(leaves[i], &got, n, root, &err));
        }
        lt_merkle_free(t);
    }
}

/* Every bit of leaf, nodes and root; a node more or less; every other index; every other size. */
static void test_tampering(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 13; n++) {
        struct lt_merkle *t;
        uint8_t leaf[LT_MERKLE_NODE], root[LT_MERKLE_NODE];
        OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, n, &t, &err));
        memcpy(root, lt_merkle_root(t), LT_MERKLE_NODE);
        for (uint32_t i = 0; i < n; i++) {
            struct lt_merkle_path p, q;
            OK(lt_merkle_path(t, i, &p, &err));
            memcpy(leaf, leaves[i], LT_MERKLE_NODE);
            for (size_t bit = 0; bit < 8 * LT_MERKLE_NODE; bit++) {
                uint8_t mask = (uint8_t)(1u << bit % 8);
                leaf[bit / 8] ^= mask;
                FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &p, n, root, &err));
                leaf[bit / 8] ^= mask;
                root[bit / 8] ^= mask;
                FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &p, n, root, &err));
                root[bit / 8] ^= mask;
                for (unsigned k = 0; k < p.count; k++) {
                    p.nodes[k][bit / 8] ^= mask;
                    FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &p, n, root, &err));
                    p.nodes[k][bit / 8] ^= mask;
                }
            }
            q = p;
            q.count++;
            FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &q, n, root, &err));
            assert_non_null(strstr(err.msg, "nodes, must be"));
            memcpy(q.nodes[p.count], root, LT_MERKLE_NODE);
            FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &q, n, root, &err));
            if (p.count) {
                q.count = p.count - 1;
                FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &q, n, root, &err));
            }
            q = p;
            for (q.index = 0; q.index < n + 3; q.index++)
                if (q.index != i)
                    FAILS(LT_E_REFUSED, lt_merkle_verify(leaf, &q, n, root, &err));
            OK(lt_merkle_verify(leaf, &p, n, root, &err));
        }
        lt_merkle_free(t);
    }
}

/* An inner node given out as a leaf: the path fits a tree half as deep, and no size admits it. */
static void test_inner_node_is_no_leaf(void **state)
{
    (void)state;
    struct lt_merkle *t;
    struct lt_merkle_path p;
    uint8_t inner[LT_MERKLE_NODE];

    OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, 8, &t, &err));
    OK(lt_merkle_path(t, 0, &p, &err));
    naive_node(leaves[0], leaves[1], inner);
    memmove(p.nodes[0], p.nodes[1], sizeof p.nodes[0] * 2);
    p.count = 2;
    FAILS(LT_E_REFUSED, lt_merkle_verify(inner, &p, 8, lt_merkle_root(t), &err));
    lt_merkle_free(t);
    uint8_t data[2 * LT_MERKLE_NODE], leaf[LT_MERKLE_NODE];
    memcpy(data, leaves[0], LT_MERKLE_NODE);
    memcpy(data + LT_MERKLE_NODE, leaves[1], LT_MERKLE_NODE);
    lt_merkle_leaf(data, sizeof data, leaf);
    assert_memory_not_equal(leaf, inner, LT_MERKLE_NODE);
}

static void test_bounds(void **state)
{
    (void)state;
    struct lt_merkle *t;
    struct lt_merkle_path p = {0};
    uint8_t root[LT_MERKLE_NODE];

    FAILS(LT_E_REFUSED, lt_merkle_verify(leaves[0], &p, 0, leaves[0], &err));
    FAILS(LT_E_REFUSED, lt_merkle_verify(leaves[0], &p, LT_MAX_BATCH + 1, leaves[0], &err));
    OK(lt_merkle_verify(leaves[0], &p, 1, leaves[0], &err));
    p.count = LT_MAX_PATH + 1;
    FAILS(LT_E_REFUSED, lt_merkle_verify(leaves[0], &p, LT_MAX_BATCH, leaves[0], &err));
    assert_int_equal(lt_merkle_path_length(0, 0), 0);
    assert_int_equal(lt_merkle_path_length(7, 7), 0);
    assert_int_equal(lt_merkle_path_length(LT_MAX_BATCH - 1, LT_MAX_BATCH), LT_MAX_PATH);

    OK(lt_merkle_new(NULL, 0, &t, &err));
    FAILS(LT_E_REFUSED, lt_merkle_path(t, 0, &p, &err));
    lt_merkle_free(t);
    lt_merkle_free(NULL);
    FAILS(LT_E_TOO_LARGE,
          lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, LT_MAX_BATCH + 1, &t, &err));
    assert_null(t);

    uint8_t(*many)[LT_MERKLE_NODE] = calloc(LT_MAX_BATCH, LT_MERKLE_NODE);
    assert_non_null(many);
    many[LT_MAX_BATCH - 1][0] = 1;
    OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])many, LT_MAX_BATCH, &t, &err));
    memcpy(root, lt_merkle_root(t), LT_MERKLE_NODE);
    OK(lt_merkle_path(t, LT_MAX_BATCH - 1, &p, &err));
    assert_int_equal(p.count, LT_MAX_PATH);
    OK(lt_merkle_verify(many[LT_MAX_BATCH - 1], &p, LT_MAX_BATCH, root, &err));
    FAILS(LT_E_REFUSED, lt_merkle_verify(many[0], &p, LT_MAX_BATCH, root, &err));
    lt_merkle_free(t);
    free(many);
}

int main(void)
{
    for (unsigned i = 0; i < NAIVE; i++)
        lt_merkle_leaf(&i, sizeof i, leaves[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_roots),           cmocka_unit_test(test_known_paths),
        cmocka_unit_test(test_against_naive),         cmocka_unit_test(test_tampering),
        cmocka_unit_test(test_inner_node_is_no_leaf), cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
