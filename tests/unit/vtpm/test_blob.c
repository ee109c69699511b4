/* swtpm's state file: one form of it is sealed, and its HMAC is swtpm's (tests/vectors/README.md). */
#include "tests/support/vectors.h"

#include "common/limits.h"
#include "vtpm/blob.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static uint8_t *vector(size_t *n)
{
    return lt_vector_read("vtpm/sealed.permall", n);
}

static int opens(const uint8_t *p, size_t n, void *state)
{
    struct lt_blob b;
    (void)state;
    LT_TRY(lt_blob_sealed(p, n, &b, &err));
    return lt_blob_opens(&b, KEY, strlen(KEY), &err);
}

static void swtpm_s_own(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = vector(&n);
    struct lt_blob b;
    (void)state;

    OK(lt_blob_header(p, n, &b, &err));
    assert_true(b.version == 2 && b.min_version == 1 && b.header == 10 && b.flags == 9 && b.length == n);
    OK(lt_blob_sealed(p, n, &b, &err));
    assert_int_equal(b.hmac.n, 32);
    OK(lt_blob_opens(&b, KEY, strlen(KEY), &err));
}

static void another_key(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = vector(&n);
    char other[] = KEY;
    struct lt_blob b;
    (void)state;

    OK(lt_blob_sealed(p, n, &b, &err));
    for (size_t i = 0; i < strlen(KEY); i++) {
        other[i] ^= 1;
        FAILS(LT_E_STATE_FOREIGN_KEY, lt_blob_opens(&b, other, strlen(other), &err));
        other[i] ^= 1;
    }
    FAILS(LT_E_STATE_FOREIGN_KEY, lt_blob_opens(&b, KEY, strlen(KEY) - 1, &err));
    FAILS(LT_E_STATE_FOREIGN_KEY, lt_blob_opens(&b, "", 0, &err));
}

static int sealed(const uint8_t *p, size_t n, void *state)
{
    struct lt_blob b;
    (void)state;
    return lt_blob_sealed(p, n, &b, &err);
}

static void every_prefix(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = vector(&n);
    (void)state;
    unit_every_prefix(sealed, p, n, NULL);
}

/* All of the header and of the tags, and a stretch of each value: one key derivation a bit. */
static void every_bit(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = vector(&n);
    (void)state;

    for (size_t i = 0; i < n; i++) {
        if (i > 64 && i < n - 128 && i % 101)
            continue;
        for (int bit = 0; bit < 8; bit++) {
            p[i] ^= (uint8_t)(1 << bit);
            int rc = opens(p, n, NULL);
            if (rc != LT_E_STATE_PLAIN && rc != LT_E_STATE_FOREIGN_KEY)
                fail_msg("byte %zu, bit %d: %d", i, bit, rc);
            p[i] ^= (uint8_t)(1 << bit);
        }
    }
    OK(opens(p, n, NULL));
}

/* What swtpm takes as well, and we do not: each with the key beside it is not sealed. */
static void other_forms(void **state)
{
    static const struct {
        const char *what;
        uint8_t version, min_version;
        uint16_t flags;
    } list[] = {
        {"plaintext", 2, 1, 0x0000},
        {"plaintext that says 256 bits", 2, 1, 0x0008},
        {"a key of 128 bits", 2, 1, 0x0001},
        {"version 1: nothing authenticates it", 1, 1, 0x0009},
        {"version 1, plaintext", 1, 1, 0x0008},
        {"of a migration", 2, 1, 0x000f},
        {"a flag more", 2, 1, 0x0019},
        {"a version to come", 3, 1, 0x0009},
        {"none", 0, 0, 0x0009},
        {"too new for its own version", 2, 3, 0x0009},
    };
    size_t n;
    LT_AUTOFREE uint8_t *p = vector(&n);
    (void)state;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        p[0] = list[i].version;
        p[1] = list[i].min_version;
        lt_put_u16(p + 4, list[i].flags);
        if (sealed(p, n, NULL) != LT_E_STATE_PLAIN)
            fail_msg("%s: taken", list[i].what);
        assert_non_null(strstr(err.msg, "state-plain"));
    }
}

static void put(struct lt_buf *b, uint16_t tag, const void *p, size_t n)
{
    lt_buf_u16(b, tag);
    lt_buf_u32(b, (uint32_t)n);
    lt_buf_put(b, p, n);
}

static int with(const struct lt_buf *values)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
    static const uint8_t head[] = {2, 1, 0, 10, 0, 9};

    lt_buf_put(&b, head, sizeof head);
    lt_buf_u32(&b, (uint32_t)(10 + values->n));
    lt_buf_put(&b, values->p, values->n);
    return sealed(b.p, b.n, NULL);
}

static void values(void **state)
{
    static const uint8_t bytes[80];
    static const struct {
        size_t data, hmac, iv;
        uint16_t more;
        bool taken;
    } list[] = {
        {32, 32, 16, 0, true},  {32, 32, 32, 0, true},  {0, 32, 16, 0, false},  {33, 32, 16, 0, false},
        {32, 31, 16, 0, false}, {32, 33, 16, 0, false}, {32, 32, 15, 0, false}, {32, 32, 65, 0, false},
        {32, 32, 16, 2, false}, {32, 32, 16, 3, false}, {32, 32, 16, 6, false}, {32, 32, 16, 1, false},
        {32, 32, 16, 5, false}, {32, 32, 16, 7, false},
    };
    (void)state;

    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
        put(&b, 2, bytes, list[i].data);
        put(&b, 3, bytes, list[i].hmac);
        put(&b, 6, bytes, list[i].iv);
        if (list[i].more)
            put(&b, list[i].more, bytes, 32);
        if ((with(&b) == 0) != list[i].taken)
            fail_msg("case %zu", i);
    }
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
    assert_int_equal(with(&b), LT_E_STATE_PLAIN);
    lt_buf_u16(&b, 2);
    lt_buf_u32(&b, UINT32_MAX); /* more than there is */
    assert_int_equal(with(&b), LT_E_STATE_PLAIN);
}

static void too_large(void **state)
{
    LT_AUTOFREE uint8_t *p = calloc(1, LT_MAX_VTPM_STATE + 1);
    struct lt_blob b;
    (void)state;

    FAILS(LT_E_MALFORMED, lt_blob_header(p, LT_MAX_VTPM_STATE + 1, &b, &err));
    FAILS(LT_E_STATE_PLAIN, lt_blob_sealed(p, LT_MAX_VTPM_STATE + 1, &b, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swtpm_s_own), cmocka_unit_test(another_key), cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_bit),   cmocka_unit_test(other_forms), cmocka_unit_test(values),
        cmocka_unit_test(too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
