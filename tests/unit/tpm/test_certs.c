/* Certificates as they are handed over: padded, wrapped, in PEM with text around, several, or no certificate.
 */
#include "tpm/certs.h"

#include "common/file.h"
#include "common/limits.h"
#include "tests/support/unit.h"

#define LEAF LT_SOURCE_DIR "/tests/vectors/cases/ek-leaf.pem"
#define ISSUER LT_SOURCE_DIR "/tests/vectors/cases/ek-intermediate.pem"

static uint8_t leaf[2048], issuer[2048];
static size_t leaf_n, issuer_n;

struct got {
    unsigned count;
    size_t n[LT_MAX_CERTIFICATES];
    uint8_t bytes[LT_MAX_CERTIFICATES][2048];
    int fail; /* what to return */
};

static int take(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct got *g = arg;

    if (g->fail)
        return lt_fail(e, g->fail, "by the taker");
    assert_true(g->count < LT_MAX_CERTIFICATES && der.n <= sizeof *g->bytes);
    memcpy(g->bytes[g->count], der.p, der.n);
    g->n[g->count++] = der.n;
    return 0;
}

static size_t der_of(const char *path, uint8_t *out)
{
    LT_AUTOFREE uint8_t *p = NULL;
    struct got g = {0};
    size_t n;

    OK(lt_file_read(path, 1 << 16, &p, &n, &err));
    OK(lt_certs_read((struct lt_slice){p, n}, 1, take, &g, &err));
    memcpy(out, g.bytes[0], g.n[0]);
    return g.n[0];
}

static int setup(void **state)
{
    (void)state;
    leaf_n = der_of(LEAF, leaf);
    issuer_n = der_of(ISSUER, issuer);
    return leaf[0] == 0x30 && leaf[1] == 0x82 && leaf_n > 300 ? 0 : -1;
}

/* A small language: L leaf, I issuer, 0 and F eight bytes of padding, W the leaf in an OCTET STRING, P the
 * leaf with padding in one, D in two, 2 both in one, E an empty one, S the leaf in a SEQUENCE of its own, C
 * the leaf cut short, X a byte that is no padding, O an OCTET STRING longer than what follows. */
static void wrap(struct lt_buf *b, uint8_t tag, const struct lt_buf *inside)
{
    const uint8_t head[] = {tag, 0x82, (uint8_t)(inside->n >> 8), (uint8_t)inside->n};
    lt_buf_put(b, head, sizeof head);
    lt_buf_put(b, inside->p, inside->n);
}

static void put(struct lt_buf *b, char c)
{
    LT_AUTOBUF struct lt_buf in = LT_BUF(8192), outer = LT_BUF(8192);
    static const uint8_t zeros[8] = {0}, ones[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    lt_buf_put(&in, leaf, leaf_n);
    switch (c) {
    case 'L':
        return lt_buf_put(b, leaf, leaf_n);
    case 'I':
        return lt_buf_put(b, issuer, issuer_n);
    case '0':
        return lt_buf_put(b, zeros, 8);
    case 'F':
        return lt_buf_put(b, ones, 8);
    case 'W':
        return wrap(b, 0x04, &in);
    case 'P':
        lt_buf_put(&in, zeros, 8);
        lt_buf_put(&in, ones, 8);
        return wrap(b, 0x04, &in);
    case 'D':
        wrap(&outer, 0x04, &in);
        return wrap(b, 0x04, &outer);
    case '2':
        lt_buf_put(&in, issuer, issuer_n);
        return wrap(b, 0x04, &in);
    case 'E':
        return lt_buf_put(b, "\x04\x00", 2);
    case 'C':
        return lt_buf_put(b, leaf, leaf_n - 1);
    case 'O':
        return lt_buf_put(b, "\x04\x7f", 2);
    default:
        return lt_buf_u8(b, 0x55);
    }
}

static void shape(const char *text, struct lt_buf *b)
{
    for (; *text; text++)
        put(b, *text);
    OK(lt_buf_ok(b, &err));
}

static const struct {
    const char *shape;
    unsigned count; /* 0: refused */
    const char *says;
} shapes[] = {
    {"L", 1, NULL},
    {"L0", 1, NULL},
    {"LF", 1, NULL},
    {"LFF0F00", 1, NULL},
    {"0L", 1, NULL},
    {"F0LF", 1, NULL},
    {"W", 1, NULL},
    {"WFF0", 1, NULL},
    {"P", 1, NULL},
    {"0P0F", 1, NULL},
    {"LI", 2, NULL},
    {"LF00IF", 2, NULL},
    {"WI", 2, NULL},
    {"WW0", 2, NULL},
    {"", 0, "no certificate"},
    {"0", 0, "all of them padding"},
    {"F0F", 0, "all of them padding"},
    {"LX", 0, "0x55 is no padding and begins no certificate (there is one before it)"},
    {"LF0X", 0, "0x55 is no padding"},
    {"XL", 0, "byte 0: 0x55 is no padding and begins no certificate"},
    {"X", 0, "begins no certificate"},
    {"WX", 0, "0x55"},
    {"D", 0, "OCTET STRING at byte 0: byte 0: 0x04"},
    {"2", 0, "OCTET STRING at byte 0: 2 certificates"},
    {"E", 0, "OCTET STRING at byte 0"},
    {"LE", 0, "OCTET STRING at byte"},
    {"O", 0, "length 127"},
    {"C", 0, "length"},
    {"LC", 0, "length"},
    {"WC", 0, "length"},
};

static void der(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1 << 16);
        struct got g = {0};

        shape(shapes[i].shape, &b);
        err = (struct lt_err){0};
        int rc = lt_certs_read((struct lt_slice){b.p, b.n}, LT_MAX_CERTIFICATES, take, &g, &err);
        if (rc != (shapes[i].count ? 0 : LT_E_MALFORMED) || (!rc && g.count != shapes[i].count) ||
            (rc && !strstr(err.msg, shapes[i].says)))
            fail_msg("\"%s\": %d, %u certificates: %s", shapes[i].shape, rc, g.count, err.msg);
        if (!rc) {
            assert_int_equal(g.n[0], leaf_n); /* without the padding, and without the wrapping */
            assert_memory_equal(g.bytes[0], leaf, leaf_n);
        }
    }
}

/* The same shapes as the contents of a PEM block: one certificate in one. */
static void pem_block(const struct lt_buf *der, const char *name, struct lt_buf *out)
{
    LT_AUTOFREE char *text = lt_base64_dup(der->n ? der->p : (const uint8_t *)"", der->n);

    lt_buf_printf(out, "-----BEGIN %s-----\n", name);
    for (const char *at = text; *at; at += strnlen(at, 64))
        lt_buf_printf(out, "%.64s\n", at);
    lt_buf_printf(out, "-----END %s-----\n", name);
}

static void pem(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1 << 16), text = LT_BUF(1 << 16);
        struct got g = {0};

        shape(shapes[i].shape, &b);
        lt_buf_str(&text, "Subject: CN = some chip\n\x30 text of people\n");
        pem_block(&b, "CERTIFICATE", &text);
        lt_buf_str(&text, "and after it\r\n\xff\xff");
        int rc = lt_certs_read((struct lt_slice){text.p, text.n}, LT_MAX_CERTIFICATES, take, &g, &err);
        if (rc != (shapes[i].count == 1 ? 0 : LT_E_MALFORMED))
            fail_msg("PEM of \"%s\": %d %s", shapes[i].shape, rc, err.msg);
    }
}

static int read_text(const char *text, size_t n, struct got *g)
{
    *g = (struct got){0};
    err = (struct lt_err){0};
    return lt_certs_read((struct lt_slice){(const uint8_t *)text, n}, LT_MAX_CERTIFICATES, take, g, &err);
}

static void bundles(void **state)
{
    LT_AUTOBUF struct lt_buf l = LT_BUF(4096), two = LT_BUF(1 << 16), key = LT_BUF(1 << 16),
                             cut = LT_BUF(1 << 16);
    struct got g;

    (void)state;
    shape("L", &l);
    pem_block(&l, "CERTIFICATE", &two);
    lt_buf_str(&two, "text between\n");
    pem_block(&l, "X509 CERTIFICATE", &two);
    OK(read_text((char *)two.p, two.n, &g));
    assert_int_equal(g.count, 2);
    assert_memory_equal(g.bytes[1], leaf, leaf_n);
    /* Nothing is let pass in silence: another kind of block, a broken one behind a good one. */
    pem_block(&l, "CERTIFICATE", &key);
    pem_block(&l, "PRIVATE KEY", &key);
    FAILS(LT_E_MALFORMED, read_text((char *)key.p, key.n, &g));
    assert_non_null(strstr(err.msg, "PEM block 1: \"PRIVATE KEY\""));
    pem_block(&l, "TRUSTED CERTIFICATE", &cut);
    FAILS(LT_E_MALFORMED, read_text((char *)cut.p, cut.n, &g));
    size_t one = two.n / 2;
    for (size_t n = 1; n < one - 30; n += 7) {
        int rc = read_text((char *)two.p, n, &g);
        if (rc != LT_E_MALFORMED)
            fail_msg("%zu characters: %d", n, rc);
    }
    FAILS(LT_E_MALFORMED, read_text((char *)two.p, two.n - 40, &g));
    assert_non_null(strstr(err.msg, "PEM block 1: cut short"));
}

static void ceilings(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1 << 20);
    static uint8_t large[LT_MAX_CERTIFICATE + 5] = {0x30, 0x82, (LT_MAX_CERTIFICATE + 1) >> 8,
                                                    (LT_MAX_CERTIFICATE + 1) & 0xff};
    struct got g = {0};

    (void)state;
    FAILS(LT_E_TOO_LARGE, lt_certs_read((struct lt_slice){large, sizeof large}, 1, take, &g, &err));
    shape("LLLLLLLL", &b);
    OK(lt_certs_read((struct lt_slice){b.p, b.n}, LT_MAX_CERTIFICATES, take, &g, &err));
    shape("F0L", &b);
    g = (struct got){0};
    FAILS(LT_E_TOO_LARGE, lt_certs_read((struct lt_slice){b.p, b.n}, LT_MAX_CERTIFICATES, take, &g, &err));
    g = (struct got){.fail = LT_E_REFUSED};
    FAILS(LT_E_REFUSED, lt_certs_read((struct lt_slice){b.p, b.n}, LT_MAX_CERTIFICATES, take, &g, &err));
    assert_int_equal(g.count, 0);
}

/* What is not DER at its first length goes over whole, for whoever judges it to name. */
static void not_der(void **state)
{
    static const uint8_t forms[][4] = {{0x30, 0x80, 1, 2}, {0x30, 0x83, 0, 1}, {0x30, 0x81, 0x10, 9}};
    uint8_t bytes[64];

    (void)state;
    memset(bytes, 7, sizeof bytes);
    for (size_t i = 0; i < 3; i++) {
        struct got g = {0};
        memcpy(bytes, forms[i], 4);
        OK(lt_certs_read((struct lt_slice){bytes, sizeof bytes}, 1, take, &g, &err));
        assert_int_equal(g.n[0], sizeof bytes);
    }
}

static int parser(const uint8_t *p, size_t n, void *arg)
{
    struct got g = {0};
    (void)arg;
    return lt_certs_read((struct lt_slice){p, n}, 1, take, &g, &err);
}

static void every_prefix(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1 << 16);

    (void)state;
    shape("P", &b);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *exact = malloc(n + 1);
        memcpy(exact, b.p, n);
        if (parser(exact, n, NULL) != LT_E_MALFORMED)
            fail_msg("%zu of %zu bytes are read", n, b.n);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(der),      cmocka_unit_test(pem),     cmocka_unit_test(bundles),
        cmocka_unit_test(ceilings), cmocka_unit_test(not_der), cmocka_unit_test(every_prefix),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
