/* A directory becomes a zip of its files and directories, and of nothing else. */
#include "cli/payload.h"

#include "common/file.h"
#include "tests/support/unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "limetree-test-payload-XXXXXX";

static void put(const char *path, const void *p, size_t n, mode_t mode)
{
    OK(lt_file_write(path, p, n, mode, &err));
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    return chdir(tmp ? tmp : P_tmpdir) || !mkdtemp(dir) || chdir(dir) || mkdir("d", 0700) ||
           mkdir("d/sub", 0750);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return chdir("..") || nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "name mode size\n" of each entry, in order. */
static void listed(const struct lt_buf *zip, char *out, size_t size)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    size_t at = 0;

    assert_int_equal(archive_read_support_format_zip(a), 0);
    assert_int_equal(archive_read_open_memory(a, zip->p, zip->n), 0);
    out[0] = 0;
    while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
        char bytes[4096];
        la_ssize_t n = archive_read_data(a, bytes, sizeof bytes);
        assert_true(n >= 0);
        at += (size_t)snprintf(out + at, size - at, "%s %o %d\n", archive_entry_pathname(e),
                               archive_entry_perm(e), (int)n);
    }
    archive_read_free(a);
}

static void test_a_directory(void **state)
{
    static const struct lt_cli_payload_extra extra = {"cacert.crt", {(const uint8_t *)"CA", 2}, 0644};
    LT_AUTOBUF struct lt_buf b = {0};
    char list[512];
    (void)state;
    put("d/autorun.sh", "#!/bin/sh\n", 10, 0700);
    put("d/sub/key", "secret", 6, 0600);
    put("d/empty", "", 0, 0644);
    OK(lt_cli_payload_read("d", NULL, 0, &b, &err));
    listed(&b, list, sizeof list);
    assert_string_equal(list, "autorun.sh 700 10\nempty 644 0\nsub/ 750 0\nsub/key 600 6\n");
    lt_buf_free(&b);
    OK(lt_cli_payload_read("d///", &extra, 1, &b, &err));
    listed(&b, list, sizeof list);
    assert_string_equal(list,
                        "cacert.crt 644 2\nautorun.sh 700 10\nempty 644 0\nsub/ 750 0\nsub/key 600 6\n");
    lt_buf_free(&b);
    put("d/cacert.crt", "other", 5, 0644);
    FAILS(LT_E_USAGE, lt_cli_payload_read("d", &extra, 1, &b, &err));
    assert_null(b.p);
    assert_int_equal(unlink("d/cacert.crt"), 0);
}

static void test_a_file(void **state)
{
    static const struct lt_cli_payload_extra extra = {"cacert.crt", {(const uint8_t *)"CA", 2}, 0644};
    LT_AUTOBUF struct lt_buf b = {0};
    char list[512];
    (void)state;
    put("file", "as it is\n", 9, 0600);
    OK(lt_cli_payload_read("file", NULL, 0, &b, &err));
    assert_int_equal(b.n, 9);
    assert_memory_equal(b.p, "as it is\n", 9);
    lt_buf_free(&b);
    OK(lt_cli_payload_read("./file", &extra, 1, &b, &err));
    listed(&b, list, sizeof list);
    assert_string_equal(list, "cacert.crt 644 2\nfile 600 9\n");
    lt_buf_free(&b);
    OK(lt_cli_payload_read(NULL, &extra, 1, &b, &err));
    listed(&b, list, sizeof list);
    assert_string_equal(list, "cacert.crt 644 2\n");
    lt_buf_free(&b);
    put("none", "", 0, 0600);
    FAILS(LT_E_USAGE, lt_cli_payload_read("none", NULL, 0, &b, &err));
    FAILS(LT_E_IO, lt_cli_payload_read("absent", NULL, 0, &b, &err));
}

static void test_what_is_no_payload(void **state)
{
    LT_AUTOBUF struct lt_buf b = {0};
    (void)state;
    assert_int_equal(symlink("/etc/passwd", "d/sub/link"), 0);
    FAILS(LT_E_USAGE, lt_cli_payload_read("d", NULL, 0, &b, &err));
    assert_non_null(strstr(err.msg, "d/sub/link"));
    assert_int_equal(unlink("d/sub/link"), 0);
    assert_int_equal(mkfifo("d/pipe", 0600), 0); /* and is not opened, which would hang */
    FAILS(LT_E_USAGE, lt_cli_payload_read("d", NULL, 0, &b, &err));
    assert_int_equal(unlink("d/pipe"), 0);
    assert_null(b.p);
}

static void test_too_much(void **state)
{
    LT_AUTOBUF struct lt_buf b = {0};
    LT_AUTOFREE uint8_t *large = malloc(LT_MAX_PAYLOAD + 1);
    uint32_t x = 1;
    (void)state;
    for (size_t i = 0; i <= LT_MAX_PAYLOAD; i++) /* does not shrink */
        large[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    put("large", large, LT_MAX_PAYLOAD + 1, 0600);
    FAILS(LT_E_TOO_LARGE, lt_cli_payload_read("large", NULL, 0, &b, &err));
    put("d/a", large, LT_MAX_PAYLOAD / 2, 0600);
    put("d/b", large, LT_MAX_PAYLOAD / 2, 0600);
    put("d/c", large, LT_MAX_PAYLOAD / 2, 0600);
    FAILS(LT_E_TOO_LARGE, lt_cli_payload_read("d", NULL, 0, &b, &err));
    assert_null(b.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_directory),
        cmocka_unit_test(test_a_file),
        cmocka_unit_test(test_what_is_no_payload),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
