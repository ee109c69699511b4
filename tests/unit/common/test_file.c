#include "common/file.h"

#include "common/hash.h"
#include "tests/support/unit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "limetree-test-file-XXXXXX";

static int setup(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    return chdir(tmp ? tmp : P_tmpdir) || !mkdtemp(dir) || chdir(dir);
}

static int teardown(void **state)
{
    (void)state;
    return chdir("..") || rmdir(dir); /* every test takes its files away, or this fails */
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_write_and_read(void **state)
{
    (void)state;
    LT_AUTOFREE uint8_t *p = NULL, *q = NULL;
    size_t n;

    OK(lt_file_write("a", "one\0two", 7, 0640, &err));
    assert_int_equal(mode_of("a"), 0640);
    OK(lt_file_read("a", 7, &p, &n, &err));
    assert_int_equal(n, 7);
    assert_memory_equal(p, "one\0two", 8); /* a NUL behind */
    OK(lt_file_write("a", "", 0, 0600, &err));
    assert_int_equal(mode_of("a"), 0600);
    OK(lt_file_read("a", 0, &q, &n, &err));
    assert_int_equal(n, 0);
    assert_int_equal(q[0], 0);
    assert_int_equal(unlink("a"), 0);
}

static void test_ceiling(void **state)
{
    (void)state;
    static uint8_t big[20000];
    uint8_t *p;
    size_t n;

    OK(lt_file_write("a", big, sizeof big, 0600, &err));
    OK(lt_file_read("a", sizeof big, &p, &n, &err));
    assert_int_equal(n, sizeof big);
    free(p);
    FAILS(LT_E_TOO_LARGE, lt_file_read("a", sizeof big - 1, &p, &n, &err));
    assert_null(p);
    FAILS(LT_E_TOO_LARGE, lt_file_read("a", 1, &p, &n, &err));
    /* A file without a size and without an end. */
    FAILS(LT_E_TOO_LARGE, lt_file_read("/dev/zero", 100000, &p, &n, &err));
    assert_int_equal(unlink("a"), 0);
}

static void test_errors_name_the_file(void **state)
{
    (void)state;
    uint8_t *p;
    size_t n;

    FAILS(LT_E_IO, lt_file_read("missing", 10, &p, &n, &err));
    assert_non_null(strstr(err.msg, "missing"));
    FAILS(LT_E_IO, lt_file_read(".", 10, &p, &n, &err));
    FAILS(LT_E_IO, lt_file_write("no/such/dir", "x", 1, 0600, &err));
    uint8_t digest[32];
    FAILS(LT_E_IO, lt_file_sha256("missing", digest, &err));
}

static void test_secret(void **state)
{
    (void)state;
    uint8_t *p;
    size_t n;

    OK(lt_file_write("s", "key", 3, 0600, &err));
    OK(lt_file_read_secret("s", 10, &p, &n, &err));
    assert_memory_equal(p, "key", 3);
    free(p);
    static const mode_t open_modes[] = {0640, 0604, 0620, 0601, 0666};
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        assert_int_equal(chmod("s", open_modes[i]), 0);
        FAILS(LT_E_CONFIG, lt_file_read_secret("s", 10, &p, &n, &err));
        assert_null(p);
    }
    assert_int_equal(chmod("s", 0400), 0);
    OK(lt_file_read_secret("s", 10, &p, &n, &err));
    free(p);
    FAILS(LT_E_CONFIG, lt_file_read_secret("/dev/null", 10, &p, &n, &err));
    assert_int_equal(unlink("s"), 0);
    FAILS(LT_E_IO, lt_file_read_secret("-", 10, &p, &n, &err)); /* a file of that name, not standard input */
}

/* The old file is there until the new one is whole; nothing else remains. */
static void test_write_replaces(void **state)
{
    (void)state;
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n, files = 0;

    OK(lt_file_write("a", "old", 3, 0600, &err));
    assert_int_equal(link("a", "b"), 0);
    OK(lt_file_replace("a", "new", 3, 0600, &err));
    OK(lt_file_read("b", 10, &p, &n, &err));
    assert_memory_equal(p, "old", 3);
    assert_int_equal(mkdir("d", 0700), 0);
    FAILS(LT_E_IO, lt_file_write("d", "x", 1, 0600, &err)); /* rename onto a directory */
    DIR *here = opendir(".");
    while (readdir(here))
        files++;
    closedir(here);
    assert_int_equal(files, 2 + 3);
    assert_int_equal(unlink("a") | unlink("b") | rmdir("d"), 0);
}

static void test_link(void **state)
{
    (void)state;
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n, files = 0;

    OK(lt_file_replace("a", "one", 3, 0600, &err));
    OK(lt_file_write("b", "", 0, 0600, &err));
    for (int i = 0; i < 2; i++) /* the second time both are one file already */
        OK(lt_file_link("a", "b", &err));
    OK(lt_file_replace("a", "two", 3, 0600, &err));
    OK(lt_file_read("b", 10, &p, &n, &err));
    assert_memory_equal(p, "one", 4);
    FAILS(LT_E_IO, lt_file_link("none", "b", &err));
    DIR *here = opendir(".");
    while (readdir(here))
        files++;
    closedir(here);
    assert_int_equal(files, 4); /* with . and .. */
    assert_int_equal(unlink("a") | unlink("b"), 0);
}

static void test_dir_private(void **state)
{
    (void)state;
    OK(lt_file_dir_private("d", &err));
    OK(lt_file_sync_dir("d", &err));
    FAILS(LT_E_IO, lt_file_sync_dir("missing", &err));
    assert_int_equal(mode_of("d") & 077, 0);
    OK(lt_file_dir_private("d", &err));
    assert_int_equal(chmod("d", 0770), 0);
    FAILS(LT_E_CONFIG, lt_file_dir_private("d", &err));
    assert_int_equal(chmod("d", 0702), 0);
    FAILS(LT_E_CONFIG, lt_file_dir_private("d", &err));
    assert_int_equal(chmod("d", 0700), 0);
    assert_int_equal(symlink("d", "l"), 0);
    FAILS(LT_E_CONFIG, lt_file_dir_private("l", &err));
    FAILS(LT_E_IO, lt_file_dir_private("missing/d", &err));
    assert_int_equal(unlink("l") | rmdir("d"), 0);
    OK(lt_file_write("f", "", 0, 0600, &err));
    FAILS(LT_E_CONFIG, lt_file_dir_private("f", &err));
    assert_int_equal(unlink("f"), 0);
}

static void test_sha256(void **state)
{
    (void)state;
    static uint8_t big[200000];
    uint8_t got[32], want[32];

    memset(big, 0x5a, sizeof big);
    OK(lt_file_write("a", big, sizeof big, 0600, &err));
    OK(lt_file_sha256("a", got, &err));
    lt_sha256(big, sizeof big, want);
    assert_memory_equal(got, want, 32);
    FAILS(LT_E_IO, lt_file_sha256(".", got, &err));
    assert_memory_equal(got, (uint8_t[32]){0}, 32);
    assert_int_equal(unlink("a"), 0);
    LT_AUTOFREE char *path = lt_file_path("dir", "name");
    assert_string_equal(path, "dir/name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read),       cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_errors_name_the_file), cmocka_unit_test(test_secret),
        cmocka_unit_test(test_write_replaces),       cmocka_unit_test(test_link),
        cmocka_unit_test(test_dir_private),          cmocka_unit_test(test_sha256),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
