/* limetree ek check as a person calls it, over the cases of tests/vectors; and one rule for directories of
 * roots. */
#include "cli/cli.h"
#include "common/file.h"
#include "common/json.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

#define CASES LT_SOURCE_DIR "/tests/vectors/cases/"
#define ROOT CASES "ek-root.pem"
#define MIDDLE CASES "ek-intermediate.pem"
#define LEAF CASES "ek-leaf.pem"
#define EK CASES "ek.pub"
#define PLAIN CASES "agent-plain.json"
#define PADDED CASES "agent-padded-zeros.json"

static char dir[] = P_tmpdir "/lt-ek-XXXXXX";
static char *out, *made[64];
static unsigned made_count;

/* A file of the test's own; the path stays good until its end. */
static const char *file(const char *name, const void *p, size_t n)
{
    char *path = lt_file_path(dir, name);

    OK(lt_file_write(path, p, n, 0600, &err));
    assert_true(made_count < 64);
    return made[made_count++] = path;
}

static int run(char **text, const char *const *args)
{
    char *argv[16] = {"ek"};
    int argc = 1, code, keep[2] = {dup(1), dup(2)}, fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t n;

    for (; *args; args++)
        argv[argc++] = (char *)*args;
    assert_true(fd >= 0);
    fflush(NULL);
    dup2(fd, 1);
    dup2(fd, 2);
    optind = 0;
    code = lt_cli_cmd_ek(argc, argv);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(keep[i], i + 1);
        close(keep[i]);
    }
    close(fd);
    OK(lt_file_read(out, 1 << 20, (uint8_t **)text, &n, &err));
    return code;
}

#define CHECK(want, needle, ...)                                                                             \
    do {                                                                                                     \
        LT_AUTOFREE char *text_ = NULL;                                                                      \
        int code_ = run(&text_, (const char *const[]){"check", __VA_ARGS__, NULL});                          \
        if (code_ != (want) || !strstr(text_, needle))                                                       \
            fail_msg("exit %d, not %d, or no \"%s\" in: %s", code_, want, needle, text_);                    \
    } while (0)

static size_t ekcert_of(const char *path, uint8_t **der)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    OK(lt_file_read(path, 1 << 16, &p, &n, &err));
    LT_JSON_AUTO json_t *j = lt_json_parse(p, n, 1 << 16, &err);
    OK(lt_json_base64(j, "ekcert", 1 << 16, der, &n, &err));
    return n;
}

/* The body of PLAIN with another certificate. */
static const char *body(const char *name, const uint8_t *ekcert, size_t n)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t size;

    OK(lt_file_read(PLAIN, 1 << 16, &p, &size, &err));
    LT_JSON_AUTO json_t *j = lt_json_parse(p, size, 1 << 16, &err);
    json_object_set_new(j, "ekcert", n ? lt_json_new_base64(ekcert, n) : json_string(""));
    LT_AUTOFREE char *text = lt_json_dump(j);
    return file(name, text, strlen(text));
}

static void cases(void **state)
{
    (void)state;
    CHECK(0, "ok: ", "--roots", ROOT, "--ek", EK, LEAF, MIDDLE);
    CHECK(0, "revocation was not checked", "--roots", MIDDLE, "--ek", EK, LEAF); /* the operator named it */
    CHECK(1, "refused: EK certificate 0 of the path", "--roots", ROOT, "--ek", EK, LEAF);
    CHECK(0, "ok: ", "--roots", MIDDLE, "--ek", EK, PLAIN);
    CHECK(0, "ok: ", "--roots", MIDDLE, "--ek", EK, PADDED);
    CHECK(0, "ok: ", "--roots", ROOT, PADDED, MIDDLE); /* the EK is in the body */
    CHECK(0, "ok: ", "--roots", MIDDLE, "--ek", PLAIN, LEAF);
    CHECK(1, "refused: EK certificate 0", "--roots", ROOT, "--ek", EK, MIDDLE); /* no leaf */
}

/* Padded and wrapped as chips give it, and as the registrar gets it: both judge alike. */
static void shapes(void **state)
{
    LT_AUTOFREE uint8_t *der = NULL;
    size_t n = ekcert_of(PLAIN, &der);
    uint8_t more[4096];
    const struct {
        const char *name;
        uint8_t before[8];
        size_t before_n;
        uint8_t fill;
        size_t fill_n;
        const char *behind;
        int code;
    } rows[] = {
        {"ff", {0}, 0, 0xff, 300, "", 0},
        {"mixed", {0}, 0, 0xff, 9, "\xff\xff", 0},
        {"wrapped", {0x04, 0x82, (uint8_t)(n >> 8), (uint8_t)n}, 4, 0, 0, "", 0},
        {"wrapped-padded", {0x04, 0x82, (uint8_t)(n >> 8), (uint8_t)n}, 4, 0, 200, "\xff", 0},
        {"double",
         {0x04, 0x82, (uint8_t)((n + 4) >> 8), (uint8_t)(n + 4), 0x04, 0x82, (uint8_t)(n >> 8), (uint8_t)n},
         8,
         0,
         0,
         "",
         1},
        {"garbage", {0}, 0, 0, 0, "garbage", 1},
        {"padded-garbage", {0}, 0, 0xff, 40, "\x01", 1},
        {"short-wrapping", {0x04, 0x10}, 2, 0, 0, "", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        size_t at = rows[i].before_n;
        memcpy(more, rows[i].before, at);
        memcpy(more + at, der, n);
        memset(more + at + n, rows[i].fill, rows[i].fill_n);
        size_t all = at + n + rows[i].fill_n;
        memcpy(more + all, rows[i].behind, strlen(rows[i].behind));
        all += strlen(rows[i].behind);
        snprintf(name, sizeof name, "%s.der", rows[i].name);
        CHECK(rows[i].code, rows[i].code ? "refused: " : "ok: ", "--roots", MIDDLE, "--ek", EK,
              file(name, more, all));
        snprintf(name, sizeof name, "%s.json", rows[i].name);
        CHECK(rows[i].code, rows[i].code ? "ekcert: " : "ok: ", "--roots", MIDDLE, body(name, more, all));
    }
}

static void bundles(void **state)
{
    LT_AUTOFREE uint8_t *leaf = NULL, *middle = NULL;
    LT_AUTOBUF struct lt_buf text = LT_BUF(1 << 16);
    size_t leaf_n, middle_n;

    (void)state;
    OK(lt_file_read(LEAF, 1 << 16, &leaf, &leaf_n, &err));
    OK(lt_file_read(MIDDLE, 1 << 16, &middle, &middle_n, &err));
    lt_buf_str(&text, "some chip's certificate\n");
    lt_buf_put(&text, leaf, leaf_n);
    lt_buf_str(&text, "\nIts issuer:\n");
    lt_buf_put(&text, middle, middle_n);
    CHECK(0, "ok: ", "--roots", ROOT, "--ek", EK, file("bundle.pem", text.p, text.n));
    CHECK(1, "cut short", "--roots", ROOT, "--ek", EK, file("cut.pem", text.p, text.n - 30));
    CHECK(1, "no certificate", "--roots", ROOT, "--ek", EK, file("empty.pem", "", 0));
    CHECK(1, "the registration has none", "--roots", ROOT, body("none.json", NULL, 0));
    CHECK(1, "more than 8", "--roots", ROOT, "--ek", EK, LEAF, LEAF, LEAF, LEAF, LEAF, LEAF, LEAF, LEAF,
          LEAF);
}

static void usage(void **state)
{
    (void)state;
    CHECK(2, "check needs --roots PATH and a CERT", "--roots", ROOT, "--ek", EK);
    CHECK(2, "check needs --roots PATH and a CERT", "--ek", EK, LEAF);
    CHECK(2, "--ek FILE is missing", "--roots", MIDDLE, LEAF);
    CHECK(2, "missing.pem", "--roots", MIDDLE, "--ek", EK, "missing.pem");
    CHECK(2, "missing.pem", "--roots", "missing.pem", "--ek", EK, LEAF);
    CHECK(2, "--ek " LEAF ": ", "--roots", MIDDLE, "--ek", LEAF, LEAF);
    CHECK(2, "unrecognized", "--roots", MIDDLE, "--trust", LEAF);
    CHECK(0, "usage:", "--help");
}

/* A leaf as an anchor would make any holder of its key an issuer's equal; a README does no harm. */
static void roots(void **state)
{
    LT_AUTOFREE uint8_t *middle = NULL, *leaf = NULL, *der = NULL;
    LT_AUTOFREE char *sub = lt_file_path(dir, "roots"), *readme = lt_file_path(sub, "README"),
                     *cer = lt_file_path(sub, "maker.cer"), *bad = lt_file_path(sub, "leaf.crt"),
                     *hidden = lt_file_path(sub, ".hidden.pem");
    size_t middle_n, leaf_n;

    (void)state;
    OK(lt_file_dir_private(sub, &err));
    CHECK(2, "no *.pem, *.crt, *.cer or *.der in it", "--roots", sub, "--ek", EK, LEAF);
    OK(lt_file_read(MIDDLE, 1 << 16, &middle, &middle_n, &err));
    OK(lt_file_read(LEAF, 1 << 16, &leaf, &leaf_n, &err));
    OK(lt_file_write(readme, "certificates of makers\n", 23, 0600, &err));
    OK(lt_file_write(hidden, "not one\n", 8, 0600, &err));
    const char *base64 = strchr((char *)middle + 5, '\n') + 1, *end = strstr(base64, "-----END");
    LT_AUTOBUF struct lt_buf one_line = LT_BUF(4096);
    for (const char *p = base64; p < end; p++)
        if (*p != '\n')
            lt_buf_u8(&one_line, (uint8_t)*p);
    size_t der_n;
    OK(lt_unbase64((char *)one_line.p, one_line.n, 4096, &der, &der_n, &err));
    OK(lt_file_write(cer, der, der_n, 0600, &err)); /* DER, as many makers publish theirs */
    CHECK(0, "ok: ", "--roots", sub, "--ek", EK, LEAF);
    CHECK(0, "\"anchors\": 1", "--roots", sub, "--ek", EK, LEAF, "--json");
    OK(lt_file_write(bad, leaf, leaf_n, 0600, &err));
    CHECK(2, "leaf.crt: PEM block 0: certificate 0 (no subject): not a certificate authority's", "--roots",
          sub, "--ek", EK, LEAF);
    OK(lt_file_write(bad, "", 0, 0600, &err));
    CHECK(2, "leaf.crt: no certificate", "--roots", sub, "--ek", EK, LEAF);
    unlink(bad);
    unlink(cer);
    unlink(readme);
    unlink(hidden);
    rmdir(sub);
}

static void as_json(void **state)
{
    LT_AUTOFREE char *good = NULL, *bad = NULL;

    (void)state;
    assert_int_equal(run(&good, (const char *const[]){"check", "--json", "--roots", MIDDLE, PADDED, NULL}),
                     0);
    LT_JSON_AUTO json_t *j = lt_json_parse(good, strlen(good), 1 << 16, &err);
    assert_string_equal(json_string_value(json_object_get(j, "result")), "ok");
    assert_true(json_is_null(json_object_get(j, "reason")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "not_made"), 0)), "revocation");
    assert_int_equal(run(&bad, (const char *const[]){"check", "--json", "--roots", ROOT, PADDED, NULL}), 1);
    LT_JSON_AUTO json_t *k = lt_json_parse(bad, strlen(bad), 1 << 16, &err);
    assert_string_equal(json_string_value(json_object_get(k, "result")), "refused");
    assert_non_null(strstr(json_string_value(json_object_get(k, "reason")), "issuer certificate"));
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    out = lt_file_path(dir, "out");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < made_count; i++) {
        unlink(made[i]);
        free(made[i]);
    }
    unlink(out);
    free(out);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases), cmocka_unit_test(shapes), cmocka_unit_test(bundles),
        cmocka_unit_test(usage), cmocka_unit_test(roots),  cmocka_unit_test(as_json),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
