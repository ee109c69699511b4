#include "keylime/share.h"
#include "tests/support/vectors.h"

#include "common/json.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>

/* keylime-api A.3 */
#define A3_ID "tenant-a.vm-0001"
#define A3_CHALLENGE "Ab12Cd34Ef56Gh78Ij90"
#define A3_U "a5a4a7a6a1a0a3a2adacafaea9a8abaab5b4b7b6b1b0b3b2bdbcbfbeb9b8bbba"
#define A3_TAG                                                                                               \
    "50efb46c403ed18d266e42e00656f1d0cdd85e0b78b7d96ffa95b227747dc3a20f819232da93e2218ba911daa7655163"
#define A3_VERIFY                                                                                            \
    "8324f45d903967308d9e7e9e124e50d25cc4740e8a73a5e2f00c16f0888c3f98198cf377803b93d90a446c5d6e1b5eb5"
#define A3_PAYLOAD "QEFCQ0RFRkdISUpLTE1OT13nerfzfyFfyUZpRJ03Bi/FoCP3bu/zii5J/g=="
#define A3_PLAIN "hello vTPM\n"

static struct lt_share a3_key(void)
{
    struct lt_share k = {.n = 32};

    for (unsigned i = 0; i < k.n; i++)
        k.p[i] = (uint8_t)i;
    return k;
}

static struct lt_share share_of(const char *hex)
{
    struct lt_share s;
    uint8_t p[64];

    OK(lt_share_from(p, unit_hex(hex, p, sizeof p), &s, &err));
    return s;
}

static void assert_share(const struct lt_share *a, const struct lt_share *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->p, b->p, a->n);
}

static void published_vector(void **state)
{
    (void)state;
    struct lt_share k = a3_key(), v = {.n = 32}, u, want = share_of(A3_U), back;
    uint8_t tag[LT_SHARE_TAG], expected[LT_SHARE_TAG];
    LT_AUTOFREE uint8_t *sealed = NULL, *plain = NULL;
    size_t sealed_n, n;

    memset(v.p, 0xa5, v.n);
    assert_true(lt_share_join(&k, &v, &u));
    assert_share(&u, &want);
    assert_true(lt_share_join(&u, &v, &back));
    assert_share(&back, &k);

    unit_hex(A3_TAG, expected, sizeof expected);
    lt_share_tag(&k, A3_ID, tag);
    assert_memory_equal(tag, expected, sizeof tag);
    assert_true(lt_share_tag_is(&k, A3_ID, expected));
    assert_false(lt_share_tag_is(&u, A3_ID, expected));
    unit_hex(A3_VERIFY, expected, sizeof expected);
    lt_share_tag(&k, A3_CHALLENGE, tag);
    assert_memory_equal(tag, expected, sizeof tag);

    OK(lt_unbase64(A3_PAYLOAD, strlen(A3_PAYLOAD), 4096, &sealed, &sealed_n, &err));
    OK(lt_share_open(&k, (struct lt_slice){sealed, sealed_n}, &plain, &n, &err));
    assert_string_equal((char *)plain, A3_PLAIN);
    assert_int_equal(n, strlen(A3_PLAIN));
}

static void sizes(void **state)
{
    (void)state;
    uint8_t p[64] = {1};
    struct lt_share a, b, out;

    for (size_t n = 0; n <= sizeof p; n++) {
        if (n == 16 || n == 32)
            OK(lt_share_from(p, n, &a, &err));
        else
            FAILS(LT_E_MALFORMED, lt_share_from(p, n, &a, &err));
        assert_int_equal(a.n, n == 16 || n == 32 ? n : 0);
    }
    OK(lt_share_from(p, 16, &a, &err));
    OK(lt_share_from(p, 32, &b, &err));
    assert_false(lt_share_join(&a, &b, &out));
    assert_int_equal(out.n, 0);
    a = b = (struct lt_share){0}; /* two that are none */
    assert_false(lt_share_join(&a, &b, &out));
}

static void drawn(void **state)
{
    (void)state;
    struct lt_share k, u, v, again, u2, v2, joined;

    lt_share_draw(&k, &u, &v);
    lt_share_draw(&again, &u2, &v2);
    assert_true(lt_share_join(&u, &v, &joined));
    assert_share(&joined, &k);
    assert_memory_not_equal(k.p, again.p, 32);
    assert_memory_not_equal(v.p, v2.p, 32);
    assert_memory_not_equal(u.p, k.p, 32);
    assert_memory_not_equal(v.p, k.p, 32);
}

static void wiped(void **state)
{
    (void)state;
    static const struct lt_share none;
    struct lt_share s = a3_key();

    lt_share_wipe(&s);
    assert_memory_equal(&s, &none, sizeof s);
}

/* ---- against Python's cryptography: tests/vectors/README.md ---- */

struct peer {
    json_t *j;
    const char *id, *pem;
    EVP_PKEY *key;
};

static const char *text(const json_t *o, const char *key)
{
    const char *s;

    OK(lt_json_string(o, key, &s, &err));
    return s;
}

static uint8_t *bytes(const json_t *o, const char *key, size_t *n)
{
    uint8_t *p;

    OK(lt_json_base64(o, key, LT_MAX_PAYLOAD, &p, n, &err));
    return p;
}

static int load(void **state)
{
    static struct peer peer;
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("keylime-shares.json", &n);

    peer.j = lt_json_parse(p, n, n, &err);
    assert_non_null(peer.j);
    peer.id = text(peer.j, "id");
    peer.pem = text(peer.j, "pubkey");
    BIO *bio = BIO_new_mem_buf(text(peer.j, "transport_key"), -1);
    peer.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    assert_non_null(peer.key);
    BIO_free(bio);
    *state = &peer;
    return 0;
}

static int unload(void **state)
{
    struct peer *p = *state;

    EVP_PKEY_free(p->key);
    json_decref(p->j);
    return 0;
}

static struct lt_share unwrapped(struct peer *p, const json_t *o, const char *key)
{
    struct lt_share s;
    size_t n;
    LT_AUTOFREE uint8_t *wrapped = bytes(o, key, &n);

    OK(lt_share_unwrap(p->key, (struct lt_slice){wrapped, n}, &s, &err));
    return s;
}

static void others_open_here(void **state)
{
    struct peer *p = *state;
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(p->j, "cases"), i, one)
    {
        struct lt_share k = share_of(text(one, "k")), u = share_of(text(one, "u")),
                        v = share_of(text(one, "v"));
        struct lt_share got_u = unwrapped(p, one, "wrapped_u"), got_v = unwrapped(p, one, "wrapped_v"), got_k;
        uint8_t tag[LT_SHARE_TAG];
        size_t sealed_n, plain_n, want_n;

        assert_share(&got_u, &u);
        assert_share(&got_v, &v);
        assert_true(lt_share_join(&got_u, &got_v, &got_k));
        assert_share(&got_k, &k);
        OK(lt_unhex(text(one, "auth_tag"), tag, sizeof tag, &err));
        assert_true(lt_share_tag_is(&got_k, p->id, tag));
        LT_AUTOFREE uint8_t *sealed = bytes(one, "payload", &sealed_n), *want = bytes(one, "plain", &want_n),
                            *plain = NULL;
        OK(lt_share_open(&got_k, (struct lt_slice){sealed, sealed_n}, &plain, &plain_n, &err));
        assert_int_equal(plain_n, want_n);
        assert_memory_equal(plain, want, want_n);
    }
    assert_true(i >= 6);
}

static void foreign_wrappings_are_refused_alike(void **state)
{
    struct peer *p = *state;
    const char *kind;
    json_t *value;
    char said[sizeof err.msg] = "";

    json_object_foreach(json_object_get(p->j, "refused"), kind, value)
    {
        struct lt_share s;
        size_t n;
        LT_AUTOFREE uint8_t *wrapped = bytes(json_object_get(p->j, "refused"), kind, &n);

        FAILS(LT_E_REFUSED, lt_share_unwrap(p->key, (struct lt_slice){wrapped, n}, &s, &err));
        assert_int_equal(s.n, 0);
        if (*said)
            assert_string_equal(err.msg, said);
        memcpy(said, err.msg, sizeof said);
    }
}

static void what_is_no_transport_key(void **state)
{
    struct peer *p = *state;
    struct lt_share k = a3_key();
    uint8_t out[LT_SHARE_WRAPPED];
    const char *kind;
    json_t *value;
    size_t n;

    json_object_foreach(json_object_get(p->j, "unfit_keys"), kind, value)
    {
        FAILS(LT_E_UNSUPPORTED, lt_share_wrap(&k, json_string_value(value), out, &n, &err));
        assert_int_equal(n, 0);
    }
    FAILS(LT_E_MALFORMED, lt_share_wrap(&k, "", out, &n, &err));
    FAILS(LT_E_MALFORMED, lt_share_wrap(&k, text(p->j, "transport_key"), out, &n, &err));
    char *long_one = malloc(LT_MAX_PUBKEY + 2 + strlen(p->pem));
    memset(long_one, '\n', LT_MAX_PUBKEY + 1);
    memcpy(long_one + LT_MAX_PUBKEY + 1, p->pem, strlen(p->pem) + 1);
    FAILS(LT_E_MALFORMED, lt_share_wrap(&k, long_one, out, &n, &err));
    free(long_one);
}

static void there_and_back(void **state)
{
    struct peer *p = *state;
    struct lt_share k = a3_key(), back;
    uint8_t once[LT_SHARE_WRAPPED], twice[LT_SHARE_WRAPPED];
    size_t n, m;

    for (k.n = 16; k.n <= 32; k.n += 16) {
        OK(lt_share_wrap(&k, p->pem, once, &n, &err));
        OK(lt_share_wrap(&k, p->pem, twice, &m, &err));
        assert_int_equal(n, 256);
        assert_memory_not_equal(once, twice, n);
        OK(lt_share_unwrap(p->key, (struct lt_slice){once, n}, &back, &err));
        assert_share(&back, &k);
    }
    for (size_t cut = 0; cut < n; cut += 51)
        FAILS(LT_E_REFUSED, lt_share_unwrap(p->key, (struct lt_slice){once, cut}, &back, &err));
    for (size_t bit = 0; bit < 8 * n; bit += 97) {
        once[bit / 8] ^= (uint8_t)(1u << bit % 8);
        FAILS(LT_E_REFUSED, lt_share_unwrap(p->key, (struct lt_slice){once, n}, &back, &err));
        once[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    uint8_t large[LT_SHARE_WRAPPED + 1] = {0};
    FAILS(LT_E_REFUSED, lt_share_unwrap(p->key, (struct lt_slice){large, sizeof large}, &back, &err));
}

/* ---- sealing ---- */

static int opens(const uint8_t *p, size_t n, void *key)
{
    uint8_t *plain;
    size_t plain_n;
    int rc = lt_share_open(key, (struct lt_slice){p, n}, &plain, &plain_n, LT_NO_ERR);

    assert_true(rc == 0 || (rc == LT_E_REFUSED && !plain && !plain_n));
    free(plain);
    return rc;
}

static void sealed_and_altered(void **state)
{
    (void)state;
    struct lt_share k = a3_key(), other = a3_key();
    const struct lt_slice plain = {(const uint8_t *)"a secret", 8};
    LT_AUTOFREE uint8_t *once = NULL, *twice = NULL;
    size_t n, m;

    OK(lt_share_seal(&k, plain, &once, &n, &err));
    OK(lt_share_seal(&k, plain, &twice, &m, &err));
    assert_int_equal(n, plain.n + LT_SHARE_OVERHEAD);
    assert_memory_not_equal(once, twice, 16);
    assert_int_equal(opens(twice, m, &k), 0);
    unit_every_prefix(opens, once, n, &k);
    unit_every_bit(opens, once, n, &k);
    other.p[31] ^= 1;
    assert_int_equal(opens(once, n, &other), LT_E_REFUSED);
    other = a3_key();
    other.n = 16;
    assert_int_equal(opens(once, n, &other), LT_E_REFUSED);
    other.n = 0;
    assert_int_equal(opens(once, n, &other), LT_E_REFUSED);
}

static void ceilings(void **state)
{
    (void)state;
    struct lt_share k = a3_key();
    LT_AUTOFREE uint8_t *zeros = calloc(1, LT_MAX_PAYLOAD + 1), *sealed = NULL, *plain = NULL, *none = NULL;
    size_t n, plain_n;

    assert_non_null(zeros);
    OK(lt_share_seal(&k, (struct lt_slice){zeros, LT_MAX_PAYLOAD - LT_SHARE_OVERHEAD}, &sealed, &n, &err));
    assert_int_equal(n, LT_MAX_PAYLOAD);
    OK(lt_share_open(&k, (struct lt_slice){sealed, n}, &plain, &plain_n, &err));
    assert_int_equal(plain_n, LT_MAX_PAYLOAD - LT_SHARE_OVERHEAD);
    FAILS(LT_E_TOO_LARGE, lt_share_seal(&k, (struct lt_slice){zeros, LT_MAX_PAYLOAD - LT_SHARE_OVERHEAD + 1},
                                        &none, &n, &err));
    FAILS(LT_E_TOO_LARGE, lt_share_open(&k, (struct lt_slice){zeros, LT_MAX_PAYLOAD + 1}, &none, &n, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vector),
        cmocka_unit_test(sizes),
        cmocka_unit_test(drawn),
        cmocka_unit_test(wiped),
        cmocka_unit_test(others_open_here),
        cmocka_unit_test(foreign_wrappings_are_refused_alike),
        cmocka_unit_test(what_is_no_transport_key),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(sealed_and_altered),
        cmocka_unit_test(ceilings),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
