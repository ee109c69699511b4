/* The bytes of docs/sealing.md section 2: STATE and OPENERS. */
#include "tests/support/sealing.h"

/* One of each kind, the first state closed. */
static struct lt_openers everything(void)
{
    static const enum lt_openers_kind kinds[] = {LT_OPENERS_AUTHORITY, LT_OPENERS_STATE, LT_OPENERS_ESCROW,
                                                 LT_OPENERS_HANDOVER, LT_OPENERS_STATE};
    struct lt_openers o = {0};

    for (uint8_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct lt_openers_one one = sealing_opener(kinds[i], i);
        one.closed = i == 1;
        OK(lt_openers_add(&o, &one, &err));
    }
    return o;
}

static void write_list(const struct lt_openers *o, struct lt_buf *b)
{
    *b = LT_BUF(LT_MAX_OPENERS_BYTES);
    lt_openers_write(o, b);
    OK(lt_buf_ok(b, &err));
    assert_int_equal(b->n, lt_openers_size(o));
}

/* Accepted only if it says the same bytes again; returns whether they are the original's. */
static int parse(const uint8_t *p, size_t n, void *state)
{
    const struct lt_buf *original = state;
    struct lt_openers o;
    int rc = lt_openers_parse(p, n, &o, &err);

    if (!rc) {
        LT_AUTOBUF struct lt_buf again;
        write_list(&o, &again);
        assert_int_equal(again.n, n);
        assert_memory_equal(again.p, p, n);
        rc = n != original->n || memcmp(p, original->p, n);
    }
    lt_openers_free(&o);
    return rc;
}

static void every_prefix_and_bit(void **state)
{
    LT_AUTOBUF struct lt_buf b, none;
    struct lt_openers o = everything();

    (void)state;
    write_list(&o, &b);
    unit_every_prefix(parse, b.p, b.n, &b);
    unit_every_bit(parse, b.p, b.n, &b);
    lt_openers_free(&o);
    write_list(&o, &none);
    assert_int_equal(none.n, 18);
    unit_every_prefix(parse, none.p, none.n, &none);
    unit_every_bit(parse, none.p, none.n, &none);
}

static void vectors(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    const char *name;
    json_t *one;

    (void)state;
    json_object_foreach(json_object_get(j, "openers"), name, one)
    {
        size_t n, digest_n;
        LT_AUTOFREE uint8_t *raw = sealing_bytes(one, "bytes", &n),
                            *want = sealing_bytes(one, "digest", &digest_n);
        struct lt_openers o;
        uint8_t digest[32];
        OK(lt_openers_parse(raw, n, &o, &err));
        OK(lt_openers_digest(&o, digest, &err));
        assert_memory_equal(digest, want, 32);
        if (!strcmp(name, "all")) {
            assert_int_equal(o.count, 6);
            assert_int_equal(o.one[0].kind, LT_OPENERS_AUTHORITY);
            assert_true(o.one[1].closed && !o.one[2].closed);
            assert_int_equal(o.one[2].state.mask, 0x5b95);
            assert_int_equal(o.one[4].kind, LT_OPENERS_HANDOVER);
            assert_true(lt_openers_state_same(&o.one[1].state, &o.one[5].state));
            assert_false(lt_openers_same(&o.one[1], &o.one[5]));
        }
        lt_openers_free(&o);
    }
}

/* Bytes that are laid out by hand: a list of one opener with that head and body. */
static int parse_one(unsigned kind, unsigned closed, const void *body, size_t body_n, size_t said_n)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
    struct lt_openers o;

    lt_buf_put(&b, "LT1:OPENERS\0\0\0\0\0\0\1", 18);
    lt_buf_u8(&b, (uint8_t)kind);
    lt_buf_u8(&b, (uint8_t)closed);
    lt_buf_u16(&b, (uint16_t)said_n);
    lt_buf_put(&b, body, body_n);
    int rc = lt_openers_parse(b.p, b.n, &o, &err);
    lt_openers_free(&o);
    return rc;
}

static void bodies(void **state)
{
    static const size_t right[] = {0, 0, 32, 64, 32};
    uint8_t body[600] = {0};

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++)
        for (size_t n = 0; kind != LT_OPENERS_STATE && n <= 100; n++) {
            const int rc = parse_one(kind, n & 1, body, n, n);
            assert_int_equal(rc == 0, kind >= 2 && kind <= 4 && n == right[kind]);
        }
    lt_put_u32(body + 32, LT_OPENERS_STATE_MIN);
    for (size_t n = 0; n < sizeof body; n++)
        assert_int_equal(parse_one(1, 0, body, n, n) == 0, n == 32 + 4 + 8 * 32);
    assert_int_equal(parse_one(2, 2, body, 32, 32), LT_E_MALFORMED);
    assert_int_equal(parse_one(2, 255, body, 32, 32), LT_E_MALFORMED);
    assert_int_equal(parse_one(5, 0, body, 32, 32), LT_E_UNSUPPORTED);
    assert_int_equal(parse_one(2, 0, body, 32, 33), LT_E_MALFORMED);
}

/* Each of the 32 bits by itself and beside a PCR that may be there. */
static void bitmaps(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        const bool may = i < 16 && i != 10 && i != 13;
        assert_int_equal(lt_openers_state_mask(1u << i, &err) == 0, may);
        assert_int_equal(lt_openers_state_mask(1u << i | 1, &err) == 0, may);
    }
    FAILS(LT_E_MALFORMED, lt_openers_state_mask(0, &err));
    OK(lt_openers_state_mask(0xdbff, &err));
    OK(lt_openers_state_mask(LT_OPENERS_STATE_MIN, &err));
    assert_int_equal(LT_OPENERS_STATE_MIN & LT_OPENERS_STATE_NEVER, 0);
}

static void states(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_OPENERS_STATE_BYTES + 1);
    const struct lt_pcrs all = sealing_state("x", 0xdbff);
    struct lt_pcrs back;

    (void)state;
    lt_openers_state_write(&all, &b);
    OK(lt_buf_ok(&b, &err));
    assert_int_equal(b.n, LT_OPENERS_STATE_BYTES);
    for (size_t n = 0; n < b.n; n++) {
        struct lt_reader r = lt_reader(b.p, n, "state");
        assert_int_not_equal(lt_openers_state_read(&r, &back, &err), 0);
        assert_int_equal(r.at, 0); /* left where it was */
        assert_int_equal(back.mask, 0);
    }
    lt_buf_u8(&b, 7);
    struct lt_reader r = lt_reader(b.p, b.n, "state");
    OK(lt_openers_state_read(&r, &back, &err));
    assert_int_equal(lt_reader_left(&r), 1);
    assert_true(lt_openers_state_same(&all, &back));
    assert_memory_equal(b.p + 4 + 32, all.value[1], 32); /* PCR 0 first */
    assert_memory_equal(b.p + b.n - 33, all.value[15], 32);
    for (int i = 0; i < 16; i++) {
        back = all;
        back.value[i][31] ^= 1;
        assert_int_equal(lt_openers_state_same(&all, &back), i == 10 || i == 13);
    }
    back = sealing_state("x", 0xd3ff);
    assert_false(lt_openers_state_same(&all, &back));
    assert_false(lt_openers_state_same(&back, &all));
}

static void what_is_refused(void **state)
{
    LT_AUTOBUF struct lt_buf b;
    struct lt_openers o = everything(), back;
    const struct lt_openers_one authority = sealing_opener(LT_OPENERS_AUTHORITY, 9);

    (void)state;
    o.one[1].closed = false;
    for (unsigned i = 0; i < o.count; i++) {
        struct lt_openers_one twice = o.one[i];
        twice.closed = !twice.closed;
        FAILS(LT_E_USAGE, lt_openers_add(&o, &twice, &err)); /* closed or not: one opener */
        o.one[i].closed = o.one[i].kind != LT_OPENERS_STATE;
        FAILS(LT_E_USAGE, lt_openers_add(&o, &twice, &err)); /* closed: a state alone comes again */
    }
    FAILS(LT_E_USAGE, lt_openers_add(&o, &authority, &err));
    assert_int_equal(o.count, 5);

    o.one[2] = authority; /* behind others */
    write_list(&o, &b);
    FAILS(LT_E_MALFORMED, lt_openers_parse(b.p, b.n, &back, &err));
    lt_openers_free(&back);
    lt_buf_free(&b);
    o.one[2] = o.one[1]; /* the same twice */
    o.one[2].closed = false;
    write_list(&o, &b);
    FAILS(LT_E_MALFORMED, lt_openers_parse(b.p, b.n, &back, &err));
    lt_openers_free(&back);
    lt_openers_free(&o);
}

/* What is opened again stands there again, behind its own that is closed; nothing that was closed is open. */
static void opened_again(void **state)
{
    LT_AUTOBUF struct lt_buf b;
    struct lt_openers o = everything(), older, back;
    struct lt_openers_one again = o.one[1];

    (void)state;
    OK(lt_openers_copy(&o, &older, &err));
    again.closed = false;
    OK(lt_openers_add(&o, &again, &err));
    FAILS(LT_E_USAGE, lt_openers_add(&o, &again, &err));
    assert_int_equal(lt_openers_find(&o, &again), o.count - 1);
    assert_true(lt_openers_prefix(&older, &o) && !lt_openers_prefix(&o, &older));
    write_list(&o, &b);
    OK(lt_openers_parse(b.p, b.n, &back, &err));
    assert_true(back.one[1].closed && !back.one[back.count - 1].closed);
    lt_openers_free(&back);
    lt_buf_free(&b);
    o.one[1].closed = false;
    assert_false(lt_openers_prefix(&older, &o));
    write_list(&o, &b);
    FAILS(LT_E_MALFORMED, lt_openers_parse(b.p, b.n, &back, &err));
    lt_openers_free(&back);
    lt_openers_free(&older);
    lt_openers_free(&o);
}

static void how_many(void **state)
{
    LT_AUTOBUF struct lt_buf b;
    struct lt_openers o = {0}, back;
    struct lt_openers_one one = sealing_opener(LT_OPENERS_STATE, 1);

    (void)state;
    one.state = sealing_state("full", 0xdbff);
    for (unsigned i = 0; i < LT_MAX_OPENERS; i++) {
        lt_put_u32(one.digest, i);
        OK(lt_openers_add(&o, &one, &err));
    }
    lt_put_u32(one.digest, LT_MAX_OPENERS);
    FAILS(LT_E_TOO_LARGE, lt_openers_add(&o, &one, &err));
    write_list(&o, &b); /* the longest there is: below its ceiling */
    OK(lt_openers_parse(b.p, b.n, &back, &err));
    assert_int_equal(back.count, LT_MAX_OPENERS);
    lt_openers_free(&back);
    lt_put_u16(b.p + 16, LT_MAX_OPENERS + 1);
    FAILS(LT_E_TOO_LARGE, lt_openers_parse(b.p, b.n, &back, &err));
    lt_openers_free(&back);
    lt_openers_free(&o);
}

/* Every list of the first k openers is a prefix, unless something is closed there that is open now; any other
 * change is none. */
static void prefixes(void **state)
{
    struct lt_openers o = everything(), older;

    (void)state;
    for (unsigned k = 0; k <= o.count; k++)
        for (unsigned closed = 0; closed < 1u << k; closed++) {
            OK(lt_openers_copy(&o, &older, &err));
            older.count = k;
            for (unsigned i = 0; i < k; i++)
                older.one[i].closed = closed >> i & 1;
            assert_int_equal(lt_openers_prefix(&older, &o), !(closed & ~2u));
            assert_int_equal(lt_openers_prefix(&o, &older), k == o.count && closed & 2);
            lt_openers_free(&older);
        }
    for (unsigned i = 0; i < o.count; i++)
        for (int what = 0; what < 4; what++) {
            OK(lt_openers_copy(&o, &older, &err));
            struct lt_openers_one *x = &older.one[i];
            const bool counts = what == 0 || what == 1 || (what == 2 && x->kind == LT_OPENERS_HANDOVER) ||
                                (what == 3 && x->kind == LT_OPENERS_STATE);
            if (what == 0)
                x->digest[31] ^= 1;
            else if (what == 1)
                x->kind = x->kind == LT_OPENERS_ESCROW ? LT_OPENERS_AUTHORITY : LT_OPENERS_ESCROW;
            else if (what == 2)
                x->name[0] ^= 1;
            else
                x->state.value[14][0] ^= 1;
            assert_int_equal(lt_openers_prefix(&older, &o), !counts);
            assert_int_equal(lt_openers_find(&o, x), counts ? LT_MAX_OPENERS : i);
            lt_openers_free(&older);
        }
    lt_openers_free(&o);
}

static void digest_tells_closed(void **state)
{
    struct lt_openers o = everything();
    uint8_t a[32], b[32];

    (void)state;
    OK(lt_openers_digest(&o, a, &err));
    o.one[4].closed = true;
    OK(lt_openers_digest(&o, b, &err));
    assert_memory_not_equal(a, b, 32);
    lt_openers_free(&o);
}

static void for_people(void **state)
{
    struct lt_openers o = everything();
    LT_JSON_AUTO json_t *j = lt_openers_to_json(&o);
    static const char *const keys[] = {"key", "host_ek_digest", "key", "import_key", "pcrs"},
                             *const kinds[] = {"authority", "state", "escrow", "handover", "state"};

    (void)state;
    assert_int_equal(json_array_size(j), o.count);
    for (unsigned i = 0; i < o.count; i++) {
        const json_t *x = json_array_get(j, i);
        assert_non_null(json_object_get(x, keys[i]));
        assert_string_equal(json_string_value(json_object_get(x, "kind")), kinds[i]);
        assert_int_equal(json_is_true(json_object_get(x, "closed")), i == 1);
    }
    const json_t *pcrs = json_object_get(json_array_get(j, 4), "pcrs");
    assert_int_equal(json_object_size(pcrs), 8);
    assert_int_equal(json_string_length(json_object_get(pcrs, "14")), 64);
    lt_openers_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_and_bit),
        cmocka_unit_test(vectors),
        cmocka_unit_test(bodies),
        cmocka_unit_test(bitmaps),
        cmocka_unit_test(states),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(how_many),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(opened_again),
        cmocka_unit_test(digest_tells_closed),
        cmocka_unit_test(for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
