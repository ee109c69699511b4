/* One line of an IMA list: template data as the kernel hashes it, and everything that is no line. */
#include "appraisal/ima/line.h"

#include "tests/support/appraisal/imalist.h"
#include "tests/support/unit.h"

static struct lt_ima_line line;

static int parse(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    return lt_ima_line_parse((struct lt_slice){p, n}, &line, &err);
}

static int parse_text(const char *text)
{
    return parse((const uint8_t *)text, strlen(text), NULL);
}

/* Each template: the hash of the data is the column, and the parts are found. */
static void templates(void **state)
{
    static const struct {
        const char *tmpl, *content, *path;
        uint16_t alg;
        size_t extra;
        enum lt_ima_kind kind;
        bool verity;
    } cases[] = {
        {"ima", "c", "/bin/a", LT_HASH_SHA1, 0, LT_IMA_FILE, false},
        {"ima", "c", "boot_aggregate", LT_HASH_SHA1, 0, LT_IMA_FILE, false},
        {"ima-ng", "c", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_FILE, false},
        {"ima-ng", "c", "/a path with  blanks ", LT_HASH_SHA512, 0, LT_IMA_FILE, false},
        {"ima-ng", "c", "/\xff\xfe\x01", LT_HASH_SHA384, 0, LT_IMA_FILE, false},
        {"ima-sig", "c", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_SIGNED, false},
        {"ima-sig", "c", "/bin/a", LT_HASH_SHA1, 20, LT_IMA_SIGNED, false},
        {"ima-sig", "c", "/a b c", LT_HASH_SHA256, 300, LT_IMA_SIGNED, false},
        {"ima-buf", "c", ".ima", LT_HASH_SHA256, 2000, LT_IMA_BUFFER, false},
        {"ima-buf", "c", "kexec-cmdline", LT_HASH_SHA256, 0, LT_IMA_BUFFER, false},
        {"ima-ngv2", "c", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_FILE, false},
        {"ima-ngv2", "verity", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_FILE, true},
        {"ima-sigv2", "verity", "/bin/a b", LT_HASH_SHA512, 20, LT_IMA_SIGNED, true},
        {"ima-modsig", "c", "/bin/a b", LT_HASH_SHA256, 20, LT_IMA_SIGNED, false},
        {"ima-modsig", "c", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_SIGNED, false},
        {"ima-modsig", "appended", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_SIGNED, false},
        {"d|n", "c", "/bin/a b", LT_HASH_SHA1, 0, LT_IMA_FILE, false},
        {"d-ng|n-ng", "c", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_FILE, false},
        {"d-ng|n-ng|sig", "c", "/bin/a", LT_HASH_SHA256, 20, LT_IMA_SIGNED, false},
        {"d-ngv2|n-ng", "verity", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_FILE, true},
        {"d-ng|n-ng|buf", "c", "kernel_version", LT_HASH_SHA256, 30, LT_IMA_BUFFER, false},
        {"d-ng|n-ng|sig|d-modsig|modsig", "appended", "/bin/a", LT_HASH_SHA256, 0, LT_IMA_SIGNED, false},
        {"ima-ng", "c", "", LT_HASH_SHA256, 0, LT_IMA_FILE, false},
        {"ima-sig", "c", "", LT_HASH_SHA256, 0, LT_IMA_SIGNED, false},
        {"ima-ng", "c", " /a", LT_HASH_SHA256, 0, LT_IMA_FILE, false},
        {"ima-sig", "c", "/a\\b\r\t ", LT_HASH_SHA256, 3, LT_IMA_SIGNED, false},
    };
    uint8_t extra[2000], h[LT_SHA256], d[LT_MAX_DIGEST];

    (void)state;
    memset(extra, 0xa5, sizeof extra);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct imalist l;
        struct lt_slice text;
        size_t at = 0;
        imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA256);
        imalist_add(&l, cases[i].tmpl, cases[i].alg, cases[i].content, cases[i].path,
                    (struct lt_slice){extra, cases[i].extra});
        assert_true(lt_ima_line_next(imalist_text(&l), &at, &text));
        OK(parse(text.p, text.n, NULL));
        lt_sha256(line.data.p, line.data.n, h);
        assert_int_equal(line.log_hash, LT_HASH_SHA256);
        if (memcmp(line.column, h, sizeof h))
            fail_msg("case %zu", i);
        assert_int_equal(line.pcr, 10);
        assert_false(line.violation);
        assert_int_equal(line.kind, cases[i].kind);
        assert_int_equal(line.verity, cases[i].verity);
        assert_int_equal(line.alg, cases[i].alg);
        assert_int_equal(line.path.n, strlen(cases[i].path));
        assert_memory_equal(line.path.p, cases[i].path, line.path.n);
        assert_int_equal(line.extra.n, cases[i].extra);
        if (cases[i].extra)
            assert_memory_equal(line.extra.p, extra, cases[i].extra);
        lt_hash(
            cases[i].alg,
            &(struct lt_slice){cases[i].kind == LT_IMA_BUFFER ? extra : (const uint8_t *)cases[i].content,
                               cases[i].kind == LT_IMA_BUFFER ? cases[i].extra : strlen(cases[i].content)},
            1, d);
        assert_int_equal(line.digest.n, lt_hash_size(cases[i].alg));
        assert_memory_equal(line.digest.p, d, line.digest.n);
        assert_false(lt_ima_line_next(imalist_text(&l), &at, &text));
        imalist_free(&l);
    }
}

/* The reference's own vector. */
static void vector(void **state)
{
    static const char want[] = "280000007368613235363a002d711642b726b04401627ca9fbac32f5c8530fb1903cc4db"
                               "02258717921a48810b0000002f7573722f62696e2f7800";
    char hex[256];

    (void)state;
    OK(parse_text("10 829de69e718061970530cad0f914199f7bfd0c92 ima-ng "
                  "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 /usr/bin/x"));
    assert_int_equal(line.data.n, 59);
    lt_hex(line.data.p, line.data.n, hex);
    assert_string_equal(hex, want);
}

#define COLUMN "829de69e718061970530cad0f914199f7bfd0c92"
#define ZEROS "0000000000000000000000000000000000000000"
#define DIGEST "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
#define SHA1 "2d711642b726b04401627ca9fbac32f5c8530fb1"

static void no_lines(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no PCR number"},
        {" ", "no PCR number"},
        {"1", "no PCR number"},
        {"010 " COLUMN " ima-ng " DIGEST " /a", "no PCR number"},
        {"00 " COLUMN " ima-ng " DIGEST " /a", "no PCR number"},
        {"100 " COLUMN " ima-ng " DIGEST " /a", "no PCR number"},
        {"1x " COLUMN " ima-ng " DIGEST " /a", "no PCR number"},
        {"10\t" COLUMN " ima-ng " DIGEST " /a", "no PCR number"},
        {"10 " COLUMN, "nothing follows the template hash"},
        {"10  ima-ng " DIGEST " /a", "template hash of 0 characters"},
        {"10 829DE69e718061970530cad0f914199f7bfd0c92 ima-ng " DIGEST " /a",
         "template hash is not lower-case"},
        {"10 " COLUMN "ab ima-ng " DIGEST " /a", "template hash of 42 characters"},
        {"10 " COLUMN " ima-ng", "nothing follows the template's name"},
        {"10 " COLUMN " ima-xx " DIGEST " /a", "template 'ima-xx' is not known"},
        {"10 " COLUMN " evm-sig " DIGEST " /a", "template 'evm-sig' is not known"},
        {"10 " COLUMN " \x1b[31m " DIGEST " /a", "template '\\x1b[31m' is not known"},
        {"10 " COLUMN "  " DIGEST " /a", "template '' is not known"},
        {"10 " COLUMN " IMA-NG " DIGEST " /a", "is not known"},
        {"10 " COLUMN " ima-ng " DIGEST, "nothing follows the digest"},
        {"10 " COLUMN " ima-ng  /a", "the digest has no algorithm"},
        {"10 " COLUMN " ima-ng " SHA1 " /a", "the digest has no algorithm"},
        {"10 " COLUMN " ima-ng :" SHA1 " /a", "the digest has no algorithm"},
        {"10 " COLUMN " ima-ng Sha1:" SHA1 " /a", "byte 0x53"},
        {"10 " COLUMN " ima-ng abcdefghijklmnopq:" SHA1 " /a", "no algorithm"},
        {"10 " COLUMN " ima-ng sha256:" SHA1 " /a", "sha256 digest of 20 bytes"},
        {"10 " COLUMN " ima-ng sha1: /a", "sha1 digest of 0 bytes"},
        {"10 " COLUMN " ima-ng wp512: /a", "a digest of 0 bytes"},
        {"10 " COLUMN " ima-ng sha1:" SHA1 "a /a", "the digest is not lower-case hex"},
        {"10 " COLUMN " ima-ng sha1:2D711642b726b04401627ca9fbac32f5c8530fb1 /a",
         "the digest is not lower-case hex"},
        {"10 " COLUMN " ima-ng sha1:2g711642b726b04401627ca9fbac32f5c8530fb1 /a",
         "the digest is not lower-case hex"},
        {"10 " COLUMN " ima sha1:" SHA1 " /a", "sha1 digest of"},
        {"10 " COLUMN " ima-ngv2 " DIGEST " /a", "digest type 'sha256'"},
        {"10 " COLUMN " ima-ngv2 ima:" SHA1 " /a", "no algorithm"},
        {"10 " COLUMN " ima-ngv2 evil:" DIGEST " /a", "digest type 'evil'"},
        {"10 " COLUMN " ima-sig " DIGEST " /a", "no signature behind the path"},
        {"10 " COLUMN " ima-sig " DIGEST " /a abc", "the signature is not lower-case hex"},
        {"10 " COLUMN " ima-sig " DIGEST " /a AB", "the signature is not lower-case hex"},
        {"10 " COLUMN " ima-buf " DIGEST " .ima", "no buffer behind the path"},
        {"10 " COLUMN " ima-buf " DIGEST " .ima zz", "the buffer is not lower-case hex"},
        {"10 " COLUMN " ima-modsig " DIGEST " /a", "no appended signature"},
        {"10 " COLUMN " ima-modsig " DIGEST " /a  ", "no signature behind"},
        {"10 " COLUMN " ima-modsig " DIGEST " /a ab " DIGEST " 0", "the appended signature is not"},
        {"10 " COLUMN " ima-modsig " DIGEST " /a ab sha1:12 ", "sha1 digest of 1 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FAILS(LT_E_MALFORMED, parse_text(cases[i].text));
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu: %s", i, err.msg);
    }
}

static void hostile_sizes(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1 << 20);

    (void)state;
    /* A path of PATH_MAX, then one more. */
    lt_buf_str(&b, "10 " COLUMN " ima-ng " DIGEST " ");
    while (b.n < 3 + 40 + 8 + 71 + 1 + LT_MAX_IMA_NAME)
        lt_buf_u8(&b, 'p');
    OK(parse(b.p, b.n, NULL));
    assert_int_equal(line.path.n, LT_MAX_IMA_NAME);
    lt_buf_u8(&b, 'p');
    FAILS(LT_E_MALFORMED, parse(b.p, b.n, NULL));
    b.p[200] = 0;
    b.n = 300;
    FAILS(LT_E_MALFORMED, parse(b.p, b.n, NULL));
    assert_non_null(strstr(err.msg, "NUL"));
    /* Template ima pads to 256. */
    b.n = 0;
    lt_buf_str(&b, "10 " COLUMN " ima " SHA1 " ");
    for (int i = 0; i < 255; i++)
        lt_buf_u8(&b, 'p');
    OK(parse(b.p, b.n, NULL));
    assert_int_equal(line.data.n, 276);
    lt_buf_u8(&b, 'p');
    FAILS(LT_E_MALFORMED, parse(b.p, b.n, NULL));
    /* The longest line, all buffer; one character more. */
    b.n = 0;
    lt_buf_str(&b, "10 " COLUMN " ima-buf " DIGEST " n ");
    if (b.n % 2)
        b.n--, b.p[b.n - 1] = 'n', lt_buf_u8(&b, ' ');
    while (b.n < LT_MAX_IMA_LINE)
        lt_buf_u8(&b, 'a');
    int rc = parse(b.p, b.n, NULL);
    assert_true(rc == 0 || strstr(err.msg, "hex"));
    lt_buf_u8(&b, 'a');
    FAILS(LT_E_MALFORMED, parse(b.p, b.n, NULL));
    assert_non_null(strstr(err.msg, "65537 bytes"));
    /* The most data of a line: nearly all path of a kernel that allowed it is refused before. */
    b.n = 0;
    lt_buf_str(&b, "10 " COLUMN " ima-modsig " DIGEST " ");
    while (b.n < LT_MAX_IMA_LINE)
        lt_buf_str(&b, b.n % 4000 ? "a" : " ");
    rc = parse(b.p, LT_MAX_IMA_LINE, NULL);
    assert_int_equal(rc, LT_E_MALFORMED);
}

/* Digits: exactly 0-9a-f, in every place of a pair. */
static void digits(void **state)
{
    char text[] = "10 " COLUMN " ima-sig " DIGEST " /a 00";
    size_t n = sizeof text - 1;

    (void)state;
    for (size_t place = n - 2; place < n; place++)
        for (unsigned c = 0; c < 256; c++) {
            bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            text[n - 2] = text[n - 1] = '0';
            text[place] = (char)c;
            int rc = parse((const uint8_t *)text, n, NULL);
            /* A blank in the first place is a path that ends with "a " and half a pair. */
            if ((rc == 0) != (hex || (c == ' ' && place == n - 1)))
                fail_msg("0x%02x at %zu: %d", c, place, rc);
        }
}

static void violations(void **state)
{
    (void)state;
    OK(parse_text("10 " ZEROS " ima-ng sha1:" ZEROS " /var/log/x y"));
    assert_true(line.violation);
    assert_int_equal(line.path.n, 12);
    OK(parse_text("10 " ZEROS " ima-sig " ZEROS " /var/log/x ")); /* older kernels name no algorithm */
    assert_true(line.violation);
    assert_int_equal(line.path.n, 10);
    assert_int_equal(line.digest.n, 0);
    OK(parse_text(" 9 1000000000000000000000000000000000000000 ima-ng " DIGEST " /a"));
    assert_false(line.violation);
    assert_int_equal(line.pcr, 9);
}

static void shown(const char *path, size_t n, size_t max, const char *want)
{
    char out[128];

    memset(out, 'x', sizeof out);
    lt_ima_line_show((struct lt_slice){(const uint8_t *)path, n}, out, max);
    assert_string_equal(out, want);
    assert_true(strlen(out) <= max);
}

static void paths_for_people(void **state)
{
    char long_path[300];

    (void)state;
    shown("", 0, 30, "");
    shown("/bin/true", 9, 30, "/bin/true");
    shown("/\x1b[2J\n\\\0\xc3\xa4", 9, 60, "/\\x1b[2J\\x0a\\x5c\\x00\\xc3");
    shown("123456789012345678901234567890", 30, 30, "123456789012345678901234567890");
    shown("1234567890123456789012345678901", 31, 30, "1234567890...56789012345678901");
    memset(long_path, 1, sizeof long_path);
    shown(long_path, sizeof long_path, 30, "\\x01\\x01...\\x01\\x01\\x01\\x01");
}

static void every_prefix(void **state)
{
    static const char plain[] = "10 " COLUMN " ima-ng " DIGEST " /";

    (void)state;
    for (size_t n = 0; n < sizeof plain - 2; n++) { /* without the '/' it is an entry without a name */
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, plain, n);
        FAILS(LT_E_MALFORMED, parse(copy, n, NULL));
        free(copy);
    }
    OK(parse_text(plain));
}

static void lines(void **state)
{
    static const char text[] = "a\n\nb";
    const struct lt_slice all = {(const uint8_t *)text, 4};
    struct lt_slice one;
    size_t at = 0;

    (void)state;
    assert_true(lt_ima_line_next(all, &at, &one) && one.n == 1 && one.p[0] == 'a');
    assert_true(lt_ima_line_next(all, &at, &one) && one.n == 0);
    assert_true(lt_ima_line_next(all, &at, &one) && one.n == 1 && one.p[0] == 'b');
    assert_false(lt_ima_line_next(all, &at, &one));
    at = 0;
    assert_false(lt_ima_line_next((struct lt_slice){NULL, 0}, &at, &one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates),     cmocka_unit_test(vector), cmocka_unit_test(no_lines),
        cmocka_unit_test(hostile_sizes), cmocka_unit_test(digits), cmocka_unit_test(violations),
        cmocka_unit_test(every_prefix),  cmocka_unit_test(lines),  cmocka_unit_test(paths_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
