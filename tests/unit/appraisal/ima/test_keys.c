/* IMA signatures made by evmctl (tests/vectors/evmctl.json), the keyrings they are checked with, and what is
 * neither. */
#include "appraisal/ima/keys.h"

#include "common/file.h"
#include "common/json.h"
#include "common/limits.h"
#include "tests/support/scarce.h"
#include "tests/support/unit.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

static json_t *vectors;

static int open_vectors(void **state)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    (void)state;
    OK(lt_file_read(LT_SOURCE_DIR "/tests/vectors/evmctl.json", 1 << 20, &text, &n, &err));
    vectors = lt_json_parse(text, n, 1 << 20, &err);
    return vectors ? 0 : -1;
}

static int close_vectors(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

struct signature {
    uint8_t sig[1100], digest[LT_MAX_DIGEST];
    size_t n;
    uint16_t alg;
    const char *key;
};

/* Signature i over "hello\n". */
static void get(size_t i, struct signature *s)
{
    const json_t *j = json_array_get(json_object_get(vectors, "signatures"), i);
    const char *hex = json_string_value(json_object_get(j, "sig"));

    s->n = strlen(hex) / 2;
    OK(lt_unhex(hex, s->sig, s->n, &err));
    s->alg = lt_hash_by_name(json_string_value(json_object_get(j, "alg")));
    s->key = json_string_value(json_object_get(j, "key"));
    lt_hash(s->alg, &(struct lt_slice){(const uint8_t *)"hello\n", 6}, 1, s->digest);
}

static size_t signatures(void)
{
    return json_array_size(json_object_get(vectors, "signatures"));
}

static int check_of(const struct lt_ima_keys *k, const struct signature *s)
{
    return lt_ima_signature_check(k, (struct lt_slice){s->sig, s->n}, s->alg,
                                  (struct lt_slice){s->digest, lt_hash_size(s->alg)}, &err);
}

static uint8_t *der_of(const char *kind, const char *name, const char *member, size_t *n)
{
    const json_t *j = json_object_get(json_object_get(vectors, kind), name);
    const char *text = json_string_value(member ? json_object_get(j, member) : j);
    uint8_t *der;

    OK(lt_unbase64(text, strlen(text), LT_MAX_CERTIFICATE, &der, n, &err));
    return der;
}

static void add_der(struct lt_ima_keys *k, const char *kind, const char *name, const char *member)
{
    size_t n;
    bool added;
    LT_AUTOFREE uint8_t *der = der_of(kind, name, member, &n);

    OK(lt_ima_keys_add_der(k, (struct lt_slice){der, n}, &added, &err));
    assert_true(added);
}

static int add_text(struct lt_ima_keys *k, const char *text)
{
    return lt_ima_keys_add_json(k, (struct lt_slice){(const uint8_t *)text, strlen(text)}, &err);
}

static char *keyring(void)
{
    const char *name;
    json_t *key, *ids = json_array(), *pubs = json_array();

    json_object_foreach(json_object_get(vectors, "keys"), name, key)
    {
        json_array_append(ids, json_object_get(key, "keyid"));
        json_array_append(pubs, json_object_get(key, "spki"));
    }
    LT_JSON_AUTO json_t *ring =
        json_pack("{s:{s:i}, s:o, s:o}", "meta", "version", 1, "keyids", ids, "pubkeys", pubs);
    return lt_json_dump(ring);
}

/* Every signature under its key, given as SPKI, as JSON, as JSON in JSON; certificates by key identifier. */
static void good(void **state)
{
    LT_AUTOFREE char *ring = keyring();
    LT_JSON_AUTO json_t *as_string = json_string(ring);
    LT_AUTOFREE char *twice = json_dumps(as_string, JSON_ENCODE_ANY);
    struct lt_ima_keys *k[3];
    struct signature s;

    (void)state;
    for (int how = 0; how < 3; how++) {
        k[how] = lt_ima_keys_new();
        if (how == 0) {
            add_der(k[0], "keys", "rsa2048", "spki");
            add_der(k[0], "keys", "p256", "spki");
            add_der(k[0], "keys", "p384", "spki");
            add_der(k[0], "keys", "p384", "spki"); /* once is enough */
        } else {
            OK(add_text(k[how], how == 1 ? ring : twice));
        }
        assert_int_equal(lt_ima_keys_count(k[how]), 3);
        for (size_t i = 0; i < signatures(); i++) {
            get(i, &s);
            if (!strcmp(s.key, "ski"))
                FAILS(LT_E_REFUSED, check_of(k[how], &s));
            else
                OK(check_of(k[how], &s));
        }
        lt_ima_keys_free(k[how]);
    }
    struct lt_ima_keys *c = lt_ima_keys_new();
    add_der(c, "certificates", "ski", NULL);
    add_der(c, "certificates", "plain", NULL); /* without an identifier: that of the key */
    for (size_t i = 0; i < signatures(); i++) {
        get(i, &s);
        if (!strcmp(s.key, "ski") || !strcmp(s.key, "rsa2048"))
            OK(check_of(c, &s));
        else
            FAILS(LT_E_REFUSED, check_of(c, &s));
    }
    lt_ima_keys_cut(c, 1);
    get(signatures() - 1, &s);
    OK(check_of(c, &s));
    lt_ima_keys_cut(c, 0);
    FAILS(LT_E_REFUSED, check_of(c, &s));
    lt_ima_keys_free(c);
    FAILS(LT_E_REFUSED, check_of(NULL, &s));
    lt_ima_keys_free(NULL);
    lt_ima_keys_cut(NULL, 0);
}

struct sweep {
    struct lt_ima_keys *k;
    struct signature s;
    bool type_5;
};

static int sweep(const uint8_t *p, size_t n, void *state)
{
    struct sweep *w = state;
    if (n && p[0] == 5) /* portable signatures are checked alike; that byte is not signed */
        return -1;
    return lt_ima_signature_check(w->k, (struct lt_slice){p, n}, w->s.alg,
                                  (struct lt_slice){w->s.digest, lt_hash_size(w->s.alg)}, &err);
}

static void sweeps(void **state)
{
    struct sweep w = {.k = lt_ima_keys_new()};
    LT_AUTOFREE char *ring = keyring();

    (void)state;
    OK(add_text(w.k, ring));
    for (size_t i = 0; i < signatures(); i += 4) { /* one of each key */
        get(i, &w.s);
        unit_every_prefix(sweep, w.s.sig, w.s.n, &w);
        unit_every_bit(sweep, w.s.sig, w.s.n, &w);
        /* ECDSA takes as many bits of the digest as the curve's order has (FIPS 186-4, 6.4). */
        size_t bits = !strcmp(w.s.key, "p384") ? 384 : 8 * lt_hash_size(w.s.alg);
        for (size_t bit = 0; bit < bits; bit++) {
            w.s.digest[bit / 8] ^= (uint8_t)(1u << bit % 8);
            FAILS(LT_E_BAD_SIGNATURE, check_of(w.k, &w.s));
            w.s.digest[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        w.s.sig[0] = 5;
        OK(check_of(w.k, &w.s));
        w.s.sig[0] = 3;
        w.s.alg = w.s.alg == LT_HASH_SHA256 ? LT_HASH_SHA512 : LT_HASH_SHA256;
        FAILS(LT_E_MALFORMED, check_of(w.k, &w.s));
        w.s.alg = 0;
        FAILS(LT_E_MALFORMED, check_of(w.k, &w.s));
    }
    lt_ima_keys_free(w.k);
}

static void heads(void **state)
{
    static const struct {
        const char *hex, *says;
    } cases[] = {
        {"", "IMA signature"},
        {"0302", "IMA signature"},
        {"030204aabbccdd0001", "IMA signature"},
        {"030204aabbccdd000111ff", "IMA signature"},
        {"030204aabbccddffff11", "IMA signature"},
        {"010204aabbccdd000111", "type 1, version 2"},
        {"030304aabbccdd000111", "type 3, version 3"},
        {"030304aabbccdd000111", "only types 3 and 5 of version 2"},
        {"030201aabbccdd000111", "over hash 1"},
        {"030212aabbccdd000111", "over hash 18"},
        {"0302ffaabbccdd000111", "over hash 255"},
        {"030204aabbccdd0000", "0 bytes"},
    };
    const uint8_t digest[LT_SHA256] = {0};
    uint8_t sig[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = unit_hex(cases[i].hex, sig, sizeof sig);
        FAILS(LT_E_MALFORMED, lt_ima_signature_check(NULL, (struct lt_slice){sig, n}, LT_HASH_SHA256,
                                                     (struct lt_slice){digest, sizeof digest}, &err));
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu: %s", i, err.msg);
    }
    size_t n = unit_hex("030204aabbccdd000111", sig, sizeof sig);
    FAILS(LT_E_REFUSED, lt_ima_signature_check(NULL, (struct lt_slice){sig, n}, LT_HASH_SHA256,
                                               (struct lt_slice){digest, sizeof digest}, &err));
    assert_non_null(strstr(err.msg, "key aabbccdd"));
    FAILS(LT_E_MALFORMED, lt_ima_signature_check(NULL, (struct lt_slice){sig, n}, LT_HASH_SHA256,
                                                 (struct lt_slice){digest, 20}, &err));
}

/* Two keys under one 32-bit id: the right one is found in any order. */
static void same_id(void **state)
{
    struct signature s;

    (void)state;
    get(0, &s);
    for (int order = 0; order < 2; order++) {
        const json_t *keys = json_object_get(vectors, "keys");
        json_t *right = json_object_get(keys, "rsa2048"), *wrong = json_object_get(keys, "p256");
        json_int_t id = json_integer_value(json_object_get(right, "keyid"));
        LT_JSON_AUTO json_t *ring = json_pack("{s:[I,I], s:[O,O]}", "keyids", id, id, "pubkeys",
                                              json_object_get(order ? right : wrong, "spki"),
                                              json_object_get(order ? wrong : right, "spki"));
        LT_AUTOFREE char *text = lt_json_dump(ring);
        struct lt_ima_keys *k = lt_ima_keys_new();
        OK(add_text(k, text));
        assert_int_equal(lt_ima_keys_count(k), 2);
        OK(check_of(k, &s));
        assert_int_equal(err.code, 0);
        s.digest[0] ^= 1;
        FAILS(LT_E_BAD_SIGNATURE, check_of(k, &s));
        s.digest[0] ^= 1;
        lt_ima_keys_free(k);
    }
}

static void bad_keyrings(void **state)
{
    static const struct {
        int code;
        const char *text, *says;
    } cases[] = {
        {LT_E_MALFORMED, "x", "keyring"},
        {LT_E_MALFORMED, "[]", "keyring is no object"},
        {LT_E_MALFORMED, "\"\\\"\\\"\"", "keyring is no object"}, /* three times is once too often */
        {LT_E_MALFORMED, "\"{\"", "keyring"},
        {LT_E_MALFORMED, "{}", "keyids"},
        {LT_E_MALFORMED, "{\"keyids\":[]}", "pubkeys"},
        {LT_E_MALFORMED, "{\"keyids\":[],\"pubkeys\":[],\"more\":1}", "more"},
        {LT_E_MALFORMED, "{\"keyids\":[1],\"pubkeys\":[]}", "1 keyids, 0 pubkeys"},
        {LT_E_MALFORMED, "{\"keyids\":[-1],\"pubkeys\":[\"AA==\"]}", "keyids[0]"},
        {LT_E_MALFORMED, "{\"keyids\":[4294967296],\"pubkeys\":[\"AA==\"]}", "keyids[0]"},
        {LT_E_MALFORMED, "{\"keyids\":[\"1\"],\"pubkeys\":[\"AA==\"]}", "keyids[0]"},
        {LT_E_MALFORMED, "{\"keyids\":[1],\"pubkeys\":[1]}", "pubkeys[0]"},
        {LT_E_MALFORMED, "{\"keyids\":[1],\"pubkeys\":[\"\"]}", "pubkeys[0]"},
        {LT_E_MALFORMED, "{\"keyids\":[1],\"pubkeys\":[\"!\"]}", "pubkeys[0]"},
        {LT_E_MALFORMED, "{\"keyids\":[1],\"pubkeys\":[\"AA==\"]}", "pubkeys[0] is no SubjectPublicKeyInfo"},
        {LT_E_MALFORMED, "{\"keyids\":[],\"keyids\":[],\"pubkeys\":[]}", "keyring"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_ima_keys *k = lt_ima_keys_new();
        FAILS(cases[i].code, add_text(k, cases[i].text));
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu: %s", i, err.msg);
        assert_int_equal(lt_ima_keys_count(k), 0);
        OK(add_text(k, ""));
        OK(add_text(k, "\"\""));
        OK(add_text(k, "{\"keyids\":[],\"pubkeys\":[]}"));
        assert_int_equal(lt_ima_keys_count(k), 0);
        lt_ima_keys_free(k);
    }
}

/* Keys that check nothing: refused in a keyring, passed over when the kernel has them. */
static void unfit(void **state)
{
    static const struct {
        const char *type;
        const char *param;
        unsigned bits;
    } kinds[] = {{"RSA", NULL, 1024}, {"EC", "secp256k1", 0}, {"EC", "secp224r1", 0}, {"ED25519", NULL, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        EVP_PKEY *key = kinds[i].bits    ? EVP_PKEY_Q_keygen(NULL, NULL, kinds[i].type, (size_t)kinds[i].bits)
                        : kinds[i].param ? EVP_PKEY_Q_keygen(NULL, NULL, kinds[i].type, kinds[i].param)
                                         : EVP_PKEY_Q_keygen(NULL, NULL, kinds[i].type);
        uint8_t *der = NULL;
        bool added;
        assert_non_null(key);
        int n = i2d_PUBKEY(key, &der);
        assert_true(n > 0);
        struct lt_ima_keys *k = lt_ima_keys_new();
        OK(lt_ima_keys_add_der(k, (struct lt_slice){der, (size_t)n}, &added, &err));
        assert_true(added);
        assert_int_equal(lt_ima_keys_count(k), 0);
        LT_AUTOFREE char *b64 = lt_base64_dup(der, (size_t)n);
        LT_JSON_AUTO json_t *ring = json_pack("{s:[i], s:[s]}", "keyids", 1, "pubkeys", b64);
        LT_AUTOFREE char *text = lt_json_dump(ring);
        FAILS(LT_E_UNSUPPORTED, add_text(k, text));
        lt_ima_keys_free(k);
        OPENSSL_free(der);
        EVP_PKEY_free(key);
    }
}

static int is_key(const uint8_t *p, size_t n, void *state)
{
    bool added = true;
    (void)state;
    OK(lt_ima_keys_add_der(NULL, (struct lt_slice){p, n}, &added, &err));
    return added ? 0 : -1;
}

/* A cut key or certificate is none, nor is one with a byte behind. A turned bit may well be another key,
 * never a crash. */
static void ders(void **state)
{
    static const struct {
        const char *kind, *name, *member;
    } all[] = {{"keys", "rsa2048", "spki"},
               {"keys", "p256", "spki"},
               {"certificates", "ski", NULL},
               {"certificates", "plain", NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t n;
        LT_AUTOFREE uint8_t *der = der_of(all[i].kind, all[i].name, all[i].member, &n);
        unit_every_prefix(is_key, der, n, NULL);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            struct lt_ima_keys *k = lt_ima_keys_new();
            bool added;
            der[bit / 8] ^= (uint8_t)(1u << bit % 8);
            OK(lt_ima_keys_add_der(k, (struct lt_slice){der, n}, &added, &err));
            assert_true(lt_ima_keys_count(k) <= added);
            der[bit / 8] ^= (uint8_t)(1u << bit % 8);
            lt_ima_keys_free(k);
        }
    }
    assert_int_equal(is_key((const uint8_t *)"", 0, NULL), -1);
    assert_int_equal(is_key((const uint8_t *)"BOOT_IMAGE=/vmlinuz", 19, NULL), -1);
}

static void ceiling(void **state)
{
    struct lt_ima_keys *k = lt_ima_keys_new();
    size_t n;
    LT_AUTOFREE uint8_t *der = der_of("keys", "p256", "spki", &n);
    LT_AUTOFREE char *b64 = lt_base64_dup(der, n);

    (void)state;
    json_t *ids = json_array(), *pubs = json_array();
    for (unsigned i = 0; i < LT_MAX_IMA_KEYS; i++) {
        json_array_append_new(ids, json_integer(i));
        json_array_append_new(pubs, json_string(b64));
    }
    LT_JSON_AUTO json_t *ring = json_pack("{s:o, s:o}", "keyids", ids, "pubkeys", pubs);
    LT_AUTOFREE char *text = lt_json_dump(ring);
    OK(add_text(k, text));
    assert_int_equal(lt_ima_keys_count(k), LT_MAX_IMA_KEYS);
    bool added;
    FAILS(LT_E_TOO_LARGE, lt_ima_keys_add_der(k, (struct lt_slice){der, n}, &added, &err));
    lt_ima_keys_free(k);
}

struct known {
    struct lt_ima_keys *keys;
    struct signature sig;
};

static int check_known(void *state)
{
    const struct known *k = state;
    return check_of(k->keys, &k->sig);
}

/* A good signature is never called bad. */
static void no_memory(void **state)
{
    LT_AUTOFREE char *ring = keyring();
    struct known k = {.keys = lt_ima_keys_new()};

    (void)state;
    OK(add_text(k.keys, ring));
    get(0, &k.sig);
    scarce_every(check_known, &k);
    lt_ima_keys_free(k.keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory), cmocka_unit_test(good),    cmocka_unit_test(sweeps),
        cmocka_unit_test(heads),     cmocka_unit_test(same_id), cmocka_unit_test(bad_keyrings),
        cmocka_unit_test(unfit),     cmocka_unit_test(ders),    cmocka_unit_test(ceiling),
    };
    scarce_begin();
    return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
