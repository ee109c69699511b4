#include "keylime/quote.h"
#include "tpm/pcr.h"

#include "tests/support/unit.h"

#define BLOB_MAX 1732

/* Values that name their PCR. */
static struct lt_pcrs make(uint16_t alg, uint32_t mask)
{
    struct lt_pcrs p = {.alg = alg, .mask = mask};
    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (mask >> i & 1)
            memset(p.value[i], (int)(0xa0 + i), lt_hash_size(alg));
    return p;
}

/* keylime-api A.5, written out by hand. */
static void test_vector(void **state)
{
    (void)state;
    static uint8_t want[668];
    struct lt_pcrs p = {.alg = LT_HASH_SHA256, .mask = 1u << 10 | 1u << 16}, q;
    LT_AUTOBUF struct lt_buf b = LT_BUF(BLOB_MAX);

    for (uint8_t i = 0; i < 32; i++)
        p.value[10][i] = i;
    unit_hex("01000000 0b00 03 000401 00 00", want, 12);
    unit_hex("01000000 02000000 2000", want + 132, 10);
    memcpy(want + 142, p.value[10], 32);
    unit_hex("2000", want + 206, 2);
    OK(lt_pcr_blob_write(&p, &b, &err));
    assert_int_equal(b.n, sizeof want);
    assert_memory_equal(b.p, want, sizeof want);
    OK(lt_pcr_blob_parse(want, sizeof want, &q, &err));
    assert_memory_equal(&p, &q, sizeof p);
}

static void text_refused(const char *text)
{
    struct lt_pcrs p;
    FAILS(LT_E_MALFORMED,
          lt_pcrs_text_parse((struct lt_slice){(const uint8_t *)text, strlen(text)}, &p, &err));
}

#define FORTY "00112233445566778899aabbccddeeff00112233"
#define SIXTY_FOUR FORTY "445566778899aabbccddeeFF"

static void test_text(void **state)
{
    static const char text[] = "0 " SIXTY_FOUR "\n\n23 " SIXTY_FOUR;
    struct lt_pcrs p;

    (void)state;
    OK(lt_pcrs_text_parse((struct lt_slice){(const uint8_t *)text, strlen(text)}, &p, &err));
    assert_int_equal(p.alg, LT_HASH_SHA256);
    assert_int_equal(p.mask, 1u | 1u << 23);
    assert_int_equal(p.value[23][31], 0xff);
    OK(lt_pcrs_text_parse((struct lt_slice){(const uint8_t *)"7 " FORTY "\n", 43}, &p, &err));
    assert_int_equal(p.alg, LT_HASH_SHA1);
    text_refused("");
    text_refused("\n");
    text_refused("24 " FORTY);
    text_refused("100 " FORTY);
    text_refused("-1 " FORTY);
    text_refused(" 1 " FORTY);
    text_refused("1\t" FORTY);
    text_refused("1 0x" FORTY);
    text_refused("1 " FORTY " ");
    text_refused("1 " FORTY "\r\n");
    text_refused("1 " FORTY "\n1 " FORTY);
    text_refused("1 " FORTY "\n2 " SIXTY_FOUR);
    text_refused("1 " SIXTY_FOUR SIXTY_FOUR "00");
    text_refused("1 " SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR);
    text_refused("1 gg112233445566778899aabbccddeeff00112233");
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint16_t algs[] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};
    static const struct {
        uint32_t mask;
        size_t size;
    } shapes[] = {{1, 668},        {0xff, 668},      {0x1ff, 1200},   {0xffff, 1200},
                  {0x1ffff, 1732}, {0xffffff, 1732}, {0x800000, 668}, {0x10404, 668}};

    for (size_t a = 0; a < 4; a++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct lt_pcrs p = make(algs[a], shapes[i].mask), q;
            LT_AUTOBUF struct lt_buf b = LT_BUF(BLOB_MAX);
            OK(lt_pcr_blob_write(&p, &b, &err));
            assert_int_equal(b.n, shapes[i].size);
            OK(lt_pcr_blob_parse(b.p, b.n, &q, &err));
            assert_memory_equal(&p, &q, sizeof p);
        }
}

static int parse_only(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    struct lt_pcrs out;
    return lt_pcr_blob_parse(p, n, &out, LT_NO_ERR);
}

static int parse_same(const uint8_t *p, size_t n, void *state)
{
    struct lt_pcrs out;
    int rc = lt_pcr_blob_parse(p, n, &out, LT_NO_ERR);
    return rc ? rc : memcmp(&out, state, sizeof out);
}

static void test_every_prefix_and_bit(void **state)
{
    (void)state;
    static const uint32_t masks[] = {0x10400, 0x1ffff};

    for (size_t i = 0; i < 2; i++) {
        struct lt_pcrs p = make(LT_HASH_SHA256, masks[i]);
        LT_AUTOBUF struct lt_buf b = LT_BUF(BLOB_MAX);
        OK(lt_pcr_blob_write(&p, &b, &err));
        unit_every_prefix(parse_only, b.p, b.n, NULL);
        unit_every_bit(parse_same, b.p, b.n, &p);
    }
}

/* One byte at a time, in a blob of PCRs 0-8: two lists, the second with one digest. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {
        {0, 0},         {0, 2},        {3, 1},    /* banks */
        {4, 0x12},      {4, 0},                   /* SM3, no algorithm */
        {6, 0},         {6, 4},                   /* selection size */
        {7, 0},                                   /* a digest more than selected */
        {8, 3},                                   /* one less */
        {10, 1},        {11, 1},                  /* fourth bitmap byte, pad */
        {12, 0x0b},     {14, 3},       {131, 1},  /* a slot behind the first */
        {132, 1},       {132, 3},      {135, 1},  /* lists */
        {136, 7},       {136, 9},      {668, 2},  /* digests of a list */
        {140, 20},      {140, 48},     {141, 1},  /* size of a digest */
        {174, 1},                                 /* behind a digest */
        {672 + 66, 32}, {672 + 68, 1}, {1199, 1}, /* unused digests */
    };
    struct lt_pcrs p = make(LT_HASH_SHA256, 0x1ff), q;
    LT_AUTOBUF struct lt_buf b = LT_BUF(BLOB_MAX);

    OK(lt_pcr_blob_write(&p, &b, &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t was = b.p[cases[i].at];
        b.p[cases[i].at] = cases[i].value;
        if (lt_pcr_blob_parse(b.p, b.n, &q, &err) != LT_E_MALFORMED)
            fail_msg("case %zu: %d", i, err.code);
        assert_int_equal(q.mask, 0);
        b.p[cases[i].at] = was;
    }
    struct lt_pcrs none = make(LT_HASH_SHA256, 0), far = make(LT_HASH_SHA256, 1);
    LT_AUTOBUF struct lt_buf c = LT_BUF(BLOB_MAX);
    FAILS(LT_E_MALFORMED, lt_pcr_blob_write(&none, &c, &err));
    far.mask = 1u << 24;
    FAILS(LT_E_MALFORMED, lt_pcr_blob_write(&far, &c, &err));
    far = make(LT_HASH_SHA256, 1);
    far.alg = 0x12;
    FAILS(LT_E_MALFORMED, lt_pcr_blob_write(&far, &c, &err));
}

static void test_digest_and_extend(void **state)
{
    (void)state;
    /* keylime-api A.4: PCR 16 after one extend with the hash of a transport key's text. */
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    uint8_t value[32] = {0}, digest[32], want[32], values[64];

    lt_sha256(pem, sizeof pem - 1, digest);
    lt_pcr_extend(LT_HASH_SHA256, value, digest);
    unit_hex("ae9aad5aa96207386f120cfcf84767a1151efd41054bf52d0db101b7d77207c9", want, 32);
    assert_memory_equal(value, want, 32);

    struct lt_pcrs p = make(LT_HASH_SHA1, 1u << 3 | 1u << 23);
    memset(values, 0xa3, 20);
    memset(values + 20, 0xb7, 20);
    lt_sha256(values, 40, want);
    lt_pcrs_digest(&p, LT_HASH_SHA256, digest);
    assert_memory_equal(digest, want, 32);
    p.mask = 0;
    lt_sha256("", 0, want);
    lt_pcrs_digest(&p, LT_HASH_SHA256, digest);
    assert_memory_equal(digest, want, 32);
}

static char *quote_text(uint32_t mask)
{
    uint8_t attest[] = {0xff, 0x54, 0x43, 0x47, 0x80}, signature[] = {0x00, 0x14, 0x00, 0x0b};
    struct lt_quote q = {attest, signature, sizeof attest, sizeof signature, make(LT_HASH_SHA256, mask)};
    char *s;
    OK(lt_quote_write(&q, &s, &err));
    return s;
}

static void test_quote(void **state)
{
    (void)state;
    LT_AUTOFREE char *s = quote_text(0x103ff), *again = NULL;
    struct lt_quote q;

    assert_memory_equal(s, "r/1RDR4A=:ABQACw==:AQAAAA", 25);
    OK(lt_quote_parse(s, &q, &err));
    assert_int_equal(q.attest_n, 5);
    assert_memory_equal(q.attest, "\xff\x54\x43\x47\x80", 5);
    assert_int_equal(q.signature_n, 4);
    assert_memory_equal(q.signature, "\x00\x14\x00\x0b", 4);
    struct lt_pcrs want = make(LT_HASH_SHA256, 0x103ff);
    assert_memory_equal(&q.pcrs, &want, sizeof want);
    OK(lt_quote_write(&q, &again, &err));
    assert_string_equal(s, again);
    lt_quote_free(&q);
    lt_quote_free(&q);
}

/* The text is canonical: what is accepted writes back as what came. */
static int quote_same(const uint8_t *p, size_t n, void *state)
{
    LT_AUTOFREE char *s = strndup((const char *)p, n), *back = NULL;
    struct lt_quote q;

    (void)state;
    int rc = lt_quote_parse(s, &q, LT_NO_ERR);
    if (rc)
        return rc;
    OK(lt_quote_write(&q, &back, &err));
    lt_quote_free(&q);
    assert_string_equal(s, back);
    return 0;
}

static void test_quote_prefixes_and_bits(void **state)
{
    (void)state;
    LT_AUTOFREE char *s = quote_text(1);
    size_t n = strlen(s);

    for (size_t k = 0; k < n; k++)
        assert_int_not_equal(quote_same((uint8_t *)s, k, NULL), 0);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        s[bit / 8] = (char)(s[bit / 8] ^ 1 << bit % 8);
        (void)quote_same((uint8_t *)s, n, NULL);
        s[bit / 8] = (char)(s[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(quote_same((uint8_t *)s, n, NULL), 0);
}

static void test_quote_refusals(void **state)
{
    (void)state;
    LT_AUTOFREE char *good = quote_text(1);
    const char *blob = strrchr(good, ':') + 1;
    static const char *const heads[] = {
        "",                         /* no 'r' */
        "d/1RDR4A=:ABQACw==:",      /* another letter */
        "r/1RDR4A=:",               /* two parts */
        "r/1RDR4A=:ABQACw==:AA==:", /* four */
        "r/1RDR4A:ABQACw==:",       /* no padding */
        "r/1RDR4B=:ABQACw==:",      /* bits in the padding */
        "r/1RDR4A= :ABQACw==:",     /* a blank */
        "r/1RDR4A=:ABQACw=\n:",     /* a line end */
        "r/1RDR4-=:ABQACw==:",      /* the URL alphabet */
    };

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char s[2048];
        struct lt_quote q;
        snprintf(s, sizeof s, "%s%s", heads[i], blob);
        if (lt_quote_parse(s, &q, &err) != LT_E_MALFORMED)
            fail_msg("case %zu: %d", i, err.code);
        assert_null(q.attest);
        assert_null(q.signature);
    }
    struct lt_quote q;
    FAILS(LT_E_TOO_LARGE, lt_quote_parse(NULL, &q, &err));
    static char large[LT_MAX_QUOTE_STRING + 2];
    memset(large, 'A', sizeof large - 1);
    large[0] = 'r';
    FAILS(LT_E_TOO_LARGE, lt_quote_parse(large, &q, &err));
    /* Within the string's ceiling, beyond the attest's. */
    large[2049] = ':';
    large[2050] = 0;
    FAILS(LT_E_TOO_LARGE, lt_quote_parse(large, &q, &err));
    static uint8_t bytes[LT_MAX_ATTEST + 1];
    char *s;
    struct lt_quote big = {bytes, bytes, sizeof bytes, 4, make(LT_HASH_SHA256, 1)};
    FAILS(LT_E_TOO_LARGE, lt_quote_write(&big, &s, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),           cmocka_unit_test(test_vector),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_every_prefix_and_bit),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_digest_and_extend),
        cmocka_unit_test(test_quote),          cmocka_unit_test(test_quote_prefixes_and_bits),
        cmocka_unit_test(test_quote_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
