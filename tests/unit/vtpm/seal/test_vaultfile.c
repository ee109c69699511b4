/* The vault's file: its frame, what is encrypted in it, and that no byte of either may be another. */
#include "tests/support/sealing.h"
#include "vtpm/seal/vaultfile.h"

static const uint8_t km[32] = "one key of a chip's making, 32..";

struct example {
    struct lt_seal_key_states states;
    struct lt_seal_entry entries[3];
    struct lt_buf file;
    uint8_t *plain;
    size_t plain_n;
};

static void make(struct example *x)
{
    uint8_t policy[32], pub[LT_SEAL_KEY_TEMPLATE];

    memset(x, 0, sizeof *x);
    x->states.count = 2;
    x->states.state[0] = sealing_state("a", LT_OPENERS_STATE_MIN);
    x->states.state[1] = sealing_state("b", LT_OPENERS_STATE_MIN | 2);
    for (uint8_t i = 0; i < 3; i++) {
        const struct lt_openers_one one = sealing_opener(LT_OPENERS_ESCROW, i);
        x->entries[i] = sealing_entry((uint8_t)(i + 1));
        OK(lt_openers_add(&x->entries[i].openers, &one, &err));
    }
    x->plain_n = lt_seal_vault_plain_size(x->entries, 3);
    x->plain = malloc(x->plain_n);
    assert_non_null(x->plain);
    lt_seal_vault_plain_put(x->entries, 3, x->plain);
    lt_seal_key_policy(&x->states, 5, policy);
    const size_t n = lt_seal_key_template(LT_SEAL_KEY_HMAC, policy, pub);
    const struct lt_seal_vault_draft d = {.host_ek_digest = {1, 2, 3},
                                          .generation = 5,
                                          .states = &x->states,
                                          .public = {pub, n},
                                          .private = {(const uint8_t *)"\0\4priv", 6}};
    x->file = LT_BUF(LT_MAX_VAULT);
    OK(lt_seal_vault_seal(&d, km, (struct lt_slice){x->plain, x->plain_n}, &x->file, &err));
}

static void discard(struct example *x)
{
    for (int i = 0; i < 3; i++)
        lt_seal_entry_free(&x->entries[i]);
    lt_buf_free(&x->file);
    free(x->plain);
}

/* All of it, from the bytes to the entries. */
static int open_whole(const uint8_t *p, size_t n, void *state)
{
    const struct example *x = state;
    struct lt_seal_entry back[3];
    struct lt_seal_vault v;
    int rc = lt_seal_vault_parse(p, n, &v, &err);

    if (rc)
        return rc;
    LT_AUTOFREE uint8_t *plain = malloc(v.one[0].cipher.n + 1);
    assert_non_null(plain);
    rc = lt_seal_vault_open(&v, 0, km, plain, &err);
    if (rc)
        return rc;
    assert_int_equal(v.one[0].cipher.n, x->plain_n);
    assert_memory_equal(plain, x->plain, x->plain_n);
    OK(lt_seal_vault_plain_read((struct lt_slice){plain, x->plain_n}, back, &err));
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(back[i].key, x->entries[i].key, LT_SEAL_KEY);
        lt_seal_entry_free(&back[i]);
    }
    return 0;
}

/* Everything that lies in the clear is authenticated with what does not. */
static void every_prefix_and_bit(void **state)
{
    struct example x;

    (void)state;
    make(&x);
    unit_every_prefix(open_whole, x.file.p, x.file.n, &x);
    unit_every_bit(open_whole, x.file.p, x.file.n, &x);
    discard(&x);
}

static void what_is_parsed(void **state)
{
    struct lt_seal_key_states s;
    struct lt_seal_vault v;
    struct example x;

    (void)state;
    make(&x);
    OK(lt_seal_vault_parse(x.file.p, x.file.n, &v, &err));
    assert_int_equal(v.generation, 5);
    assert_int_equal(v.count, 1);
    assert_memory_equal(v.host_ek_digest, "\1\2\3", 4);
    lt_seal_vault_states(&v.one[0], &s);
    assert_int_equal(s.count, 2);
    assert_true(lt_openers_state_same(&s.state[1], &x.states.state[1]));
    assert_memory_equal(v.one[0].private.p, "\0\4priv", 6);
    assert_int_equal(v.one[0].private.n, 6);
    assert_int_equal(v.one[0].public.p[3], 8);
    discard(&x);
}

/* The same content twice: nothing of one file is of use in the other. */
static void nonces(void **state)
{
    struct lt_seal_vault v, w;
    struct example x, y;

    (void)state;
    make(&x);
    make(&y);
    OK(lt_seal_vault_parse(x.file.p, x.file.n, &v, &err));
    OK(lt_seal_vault_parse(y.file.p, y.file.n, &w, &err));
    assert_memory_not_equal(v.one[0].nonce.p, w.one[0].nonce.p, LT_SEAL_VAULT_NONCE);
    LT_AUTOFREE uint8_t *plain = malloc(w.one[0].cipher.n);
    w.head = v.head;
    w.one[0].cipher = v.one[0].cipher;
    w.one[0].tag = v.one[0].tag; /* under the other's nonce */
    FAILS(LT_E_REFUSED, lt_seal_vault_open(&w, 0, km, plain, &err));
    discard(&x);
    discard(&y);
}

static void another_key(void **state)
{
    uint8_t other[32];
    struct lt_seal_vault v;
    struct example x;

    (void)state;
    make(&x);
    OK(lt_seal_vault_parse(x.file.p, x.file.n, &v, &err));
    LT_AUTOFREE uint8_t *plain = malloc(x.plain_n), *zeros = calloc(1, x.plain_n);
    for (int bit = 0; bit < 256; bit++) {
        memcpy(other, km, 32);
        other[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memset(plain, 9, x.plain_n);
        FAILS(LT_E_REFUSED, lt_seal_vault_open(&v, 0, other, plain, &err));
        assert_memory_equal(plain, zeros, x.plain_n); /* nothing unauthenticated is left lying there */
    }
    v.one[1] = v.one[0]; /* as another compartment */
    FAILS(LT_E_REFUSED, lt_seal_vault_open(&v, 1, km, plain, &err));
    discard(&x);
}

static void vectors(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    struct lt_seal_vault v;
    struct lt_seal_entry entries[2];
    size_t n, km_n, plain_n;
    uint32_t count;
    LT_AUTOFREE uint8_t *file = sealing_bytes(j, "vault.file", &n),
                        *want = sealing_bytes(j, "vault.plain", &plain_n),
                        *their_km = sealing_bytes(j, "vault.km", &km_n), *plain = malloc(plain_n);

    (void)state;
    OK(lt_seal_vault_parse(file, n, &v, &err));
    assert_int_equal(v.generation, 41);
    assert_int_equal(v.one[0].cipher.n, plain_n);
    OK(lt_seal_vault_open(&v, 0, their_km, plain, &err));
    assert_memory_equal(plain, want, plain_n);
    OK(lt_seal_vault_plain_count((struct lt_slice){plain, plain_n}, &count, &err));
    assert_int_equal(count, 2);
    OK(lt_seal_vault_plain_read((struct lt_slice){plain, plain_n}, entries, &err));
    LT_AUTOFREE uint8_t *again = malloc(plain_n);
    assert_int_equal(lt_seal_vault_plain_size(entries, 2), plain_n);
    lt_seal_vault_plain_put(entries, 2, again);
    assert_memory_equal(again, want, plain_n);
    enum lt_seal_key_kind kind;
    struct lt_seal_key_states s;
    uint8_t policy[32];
    lt_seal_vault_states(&v.one[0], &s);
    lt_seal_key_policy(&s, v.generation, policy);
    OK(lt_seal_key_check(v.one[0].public, policy, &kind, &err));
    for (int i = 0; i < 2; i++)
        lt_seal_entry_free(&entries[i]);
}

static int parse_turned(const struct example *x, size_t at, uint8_t to)
{
    struct lt_seal_vault v;
    LT_AUTOFREE uint8_t *copy = malloc(x->file.n);

    memcpy(copy, x->file.p, x->file.n);
    copy[at] = to;
    return lt_seal_vault_parse(copy, x->file.n, &v, &err);
}

static void frames(void **state)
{
    const size_t states = 16 + 2 + 2 + 32 + 34 + 8;
    struct example x;

    (void)state;
    make(&x);
    assert_int_equal(parse_turned(&x, 17, 2), LT_E_UNSUPPORTED); /* a later version */
    assert_int_equal(parse_turned(&x, 19, 0), LT_E_MALFORMED);   /* no compartment */
    assert_int_equal(parse_turned(&x, 19, 17), LT_E_MALFORMED);
    assert_int_not_equal(parse_turned(&x, 19, 2), 0);          /* one is missing */
    assert_int_not_equal(parse_turned(&x, 52, 1), 0);          /* another counter's Name */
    assert_int_equal(parse_turned(&x, 15, 1), LT_E_MALFORMED); /* the tag's padding */
    assert_int_equal(parse_turned(&x, states, 0), LT_E_MALFORMED);
    assert_int_equal(parse_turned(&x, states, 9), LT_E_MALFORMED);
    assert_int_equal(parse_turned(&x, states + 3, 0x57), LT_E_MALFORMED); /* a bitmap with PCR 10 */
    discard(&x);
}

/* Sixteen compartments are well-formed, whoever writes them; the same state twice in one is not. */
static void compartments(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_VAULT);
    struct lt_seal_vault v;
    struct example x;

    (void)state;
    make(&x);
    OK(lt_seal_vault_parse(x.file.p, x.file.n, &v, &err));
    for (unsigned n = 1; n <= LT_MAX_COMPARTMENTS + 1; n++) {
        lt_buf_free(&b);
        b = LT_BUF(LT_MAX_VAULT);
        lt_buf_put(&b, v.head.p, v.head.n);
        for (unsigned i = 0; i < n; i++)
            lt_buf_put(&b, x.file.p + v.head.n, x.file.n - v.head.n);
        lt_put_u16(b.p + 18, (uint16_t)n);
        struct lt_seal_vault many;
        assert_int_equal(lt_seal_vault_parse(b.p, b.n, &many, &err) == 0, n <= LT_MAX_COMPARTMENTS);
    }
    struct lt_seal_key_states twice = x.states;
    twice.state[1] = twice.state[0];
    const struct lt_seal_vault_draft d = {
        .states = &twice, .public = {(const uint8_t *)"\0", 2}, .private = {(const uint8_t *)"\0", 2}};
    lt_buf_free(&b);
    b = LT_BUF(LT_MAX_VAULT);
    OK(lt_seal_vault_seal(&d, km, (struct lt_slice){x.plain, x.plain_n}, &b, &err));
    FAILS(LT_E_MALFORMED, lt_seal_vault_parse(b.p, b.n, &v, &err));
    discard(&x);
}

static int read_plain(const struct lt_seal_entry *entries, uint32_t count, const char *behind, size_t cut)
{
    struct lt_seal_entry back[4] = {{.origin = 0}};
    size_t n = lt_seal_vault_plain_size(entries, count);
    LT_AUTOFREE uint8_t *p = malloc(n + 2);

    lt_seal_vault_plain_put(entries, count, p);
    memcpy(p + n - 2, behind, 2);
    memcpy(p + n, behind, 2);
    int rc = lt_seal_vault_plain_read((struct lt_slice){p, n - cut}, back, &err);
    for (int i = 0; i < 4; i++)
        lt_seal_entry_free(&back[i]);
    return rc;
}

static void plaintexts(void **state)
{
    struct lt_seal_entry swap;
    struct example x;

    (void)state;
    make(&x);
    assert_int_equal(read_plain(x.entries, 3, "\0\0", 0), 0);
    assert_int_equal(read_plain(x.entries, 0, "\0\0", 0), 0);
    assert_int_not_equal(read_plain(x.entries, 3, "\0\0", 1), 0);
    assert_int_not_equal(read_plain(x.entries, 3, "\0\0", (size_t)-1), 0);
    assert_int_equal(read_plain(x.entries, 3, "\0\1", 0), LT_E_UNSUPPORTED); /* offers: a later version's */
    memcpy(x.entries[2].ek_digest, x.entries[0].ek_digest, 32);
    assert_int_equal(read_plain(x.entries, 3, "\0\0", 0), LT_E_MALFORMED); /* one EK twice */
    x.entries[2].ek_digest[0] ^= 0x40;
    assert_int_equal(read_plain(x.entries, 3, "\0\0", 0), 0);
    swap = x.entries[0];
    x.entries[0] = x.entries[1];
    x.entries[1] = swap;
    assert_int_equal(read_plain(x.entries, 3, "\0\0", 0), LT_E_MALFORMED);
    memcpy(x.entries[1].uuid, x.entries[0].uuid, LT_UUID);
    assert_int_equal(read_plain(x.entries, 3, "\0\0", 0), LT_E_MALFORMED);
    discard(&x);
}

/* What a count says never decides an allocation. */
static void counts(void **state)
{
    uint8_t p[512] = {0};
    uint32_t count;

    (void)state;
    for (uint64_t n = 0; n <= UINT32_MAX; n = n * 3 + 1) {
        lt_put_u32(p, (uint32_t)n);
        const int rc = lt_seal_vault_plain_count((struct lt_slice){p, sizeof p}, &count, &err);
        assert_int_equal(rc == 0, n <= (sizeof p - 4) / 243);
    }
    FAILS(LT_E_MALFORMED, lt_seal_vault_plain_count((struct lt_slice){p, 3}, &count, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_and_bit), cmocka_unit_test(what_is_parsed), cmocka_unit_test(nonces),
        cmocka_unit_test(another_key),          cmocka_unit_test(vectors),        cmocka_unit_test(frames),
        cmocka_unit_test(compartments),         cmocka_unit_test(plaintexts),     cmocka_unit_test(counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
