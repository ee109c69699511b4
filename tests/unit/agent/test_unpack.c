/* Zips that somebody else made. tests/integration/test_agent_payload.py has more of them, made by Python. */
#include "agent/secure.h"
#include "agent/unpack.h"
#include "common/file.h"
#include "common/limits.h"
#include "tests/support/unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/dev/shm/lt-unpack-XXXXXX";
static int parent;
static const char *const taken[] = {"derived_tci_key", NULL};

/* ---- making them ---- */

static void put_entry(struct archive *a, const char *path, mode_t mode, const char *text)
{
    struct archive_entry *x = archive_entry_new();

    archive_entry_set_pathname(x, path);
    archive_entry_set_mode(x, mode);
    if (S_ISLNK(mode))
        archive_entry_set_symlink(x, text);
    else
        archive_entry_set_size(x, (la_int64_t)strlen(text));
    assert_int_equal(archive_write_header(a, x), ARCHIVE_OK);
    if (S_ISREG(mode))
        assert_int_equal(archive_write_data(a, text, strlen(text)), strlen(text));
    archive_entry_free(x);
}

struct file {
    const char *path;
    mode_t mode;
    const char *text;
};

static struct lt_slice zip_of(const struct file *files, size_t count, uint8_t *out, size_t max)
{
    struct archive *a = archive_write_new();
    size_t n;

    assert_int_equal(archive_write_set_format_zip(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, out, max, &n), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++)
        put_entry(a, files[i].path, files[i].mode, files[i].text);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return (struct lt_slice){out, n};
}

/* Into a directory of its own, which is looked at by `seen` and removed. */
static int unpack(struct lt_slice zip, void (*seen)(int dir))
{
    assert_int_equal(mkdirat(parent, "d", 0700), 0);
    int dir = openat(parent, "d", O_RDONLY | O_DIRECTORY);
    int rc = lt_unpack_zip(zip, dir, taken, &err);
    if (seen)
        seen(dir);
    close(dir);
    assert_int_equal(lt_secure_remove(parent, "d", LT_NO_ERR), 0);
    return rc;
}

static void see_good(int dir)
{
    struct stat st;

    assert_int_equal(fstatat(dir, "a", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600); /* whatever the zip says */
    assert_int_equal(st.st_size, 3);
    assert_int_equal(fstatat(dir, "x/y/z", &st, 0), 0);
    assert_int_equal(fstatat(dir, "x", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(fstatat(dir, "folder", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
}

static void good(void **state)
{
    (void)state;
    static const struct file files[] = {{"a", S_IFREG | 06777, "one"},
                                        {"folder/", S_IFDIR | 0777, ""},
                                        {"x/y/z", S_IFREG | 0644, "two"},
                                        {"x/", S_IFDIR | 0777, ""}};
    uint8_t out[4096];
    struct lt_slice zip = zip_of(files, 4, out, sizeof out);

    assert_true(lt_unpack_is_zip(zip));
    OK(unpack(zip, see_good));
}

static void bad_entries(void **state)
{
    (void)state;
    static const struct {
        struct file files[2];
        const char *word;
    } bad[] = {
        {{{"../x", S_IFREG | 0600, "1"}}, "\"..\""},
        {{{"a/../../x", S_IFREG | 0600, "1"}}, "\"..\""},
        {{{"/etc/x", S_IFREG | 0600, "1"}}, "absolute"},
        {{{"l", S_IFLNK | 0777, "/etc"}, {"l/x", S_IFREG | 0600, "1"}}, "symbolic link"},
        {{{"derived_tci_key", S_IFREG | 0600, "1"}}, "agent uses"},
        {{{"derived_tci_key/x", S_IFREG | 0600, "1"}}, "agent uses"},
        {{{"x", S_IFREG | 0600, "1"}, {"x", S_IFREG | 0600, "2"}}, "there twice"},
        {{{"x", S_IFREG | 0600, "1"}, {"x/", S_IFDIR | 0600, ""}}, "where a file is"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t out[4096];
        size_t count = bad[i].files[1].path ? 2 : 1;
        FAILS(LT_E_REFUSED, unpack(zip_of(bad[i].files, count, out, sizeof out), NULL));
        if (!strstr(err.msg, bad[i].word))
            fail_msg("%s: %s", bad[i].word, err.msg);
    }
    assert_int_equal(access("/etc/x", F_OK), -1);
}

static void paths(void **state)
{
    (void)state;
    static const char *const fine[] = {"a", "a/b", "a/", "...", "..a", "a..", "\303\274", "a b", "-rf"};
    static const char *const not [] = {"",    "/",    "//",     "a//b", "./a",  "a/.",   "a/./b", "..",
                                       "../", "a/..", "a/../b", "\\",   "a\nb", "a\177", "\377",  "a//"};
    char text[LT_MAX_UNPACK_PATH + 2];

    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        OK(lt_unpack_check_path(fine[i], &err));
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        if (lt_unpack_check_path(not [i], &err) != LT_E_REFUSED)
            fail_msg("\"%s\" is taken", not [i]);
    memset(text, 'n', sizeof text);
    text[256] = 0;
    FAILS(LT_E_REFUSED, lt_unpack_check_path(text, &err));
    text[255] = 0;
    OK(lt_unpack_check_path(text, &err));
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = i % 128 == 127 ? '/' : 'n';
    text[sizeof text - 1] = 0;
    FAILS(LT_E_REFUSED, lt_unpack_check_path(text, &err));
    for (size_t i = 0; i < 2 * LT_MAX_UNPACK_DEPTH; i++)
        text[i] = i % 2 ? '/' : 'd';
    text[2 * LT_MAX_UNPACK_DEPTH - 1] = 0;
    OK(lt_unpack_check_path(text, &err));
    text[2 * LT_MAX_UNPACK_DEPTH - 1] = '/';
    text[2 * LT_MAX_UNPACK_DEPTH] = 'd';
    text[2 * LT_MAX_UNPACK_DEPTH + 1] = 0;
    FAILS(LT_E_REFUSED, lt_unpack_check_path(text, &err));
}

/* ---- by hand: what a writer would not make ---- */

static void le(struct lt_buf *b, uint64_t v, unsigned bytes)
{
    for (; bytes--; v >>= 8)
        lt_buf_u8(b, (uint8_t)v);
}

static void entry_head(struct lt_buf *b, bool central, unsigned method, uint64_t packed, uint64_t size,
                       const char *name, uint64_t at)
{
    lt_buf_str(b, central ? "PK\1\2" : "PK\3\4");
    if (central)
        le(b, 0x0314, 2); /* made on UNIX */
    le(b, 20, 2);
    le(b, 0, 2);
    le(b, method, 2);
    le(b, 0, 4);
    le(b, 0, 4); /* CRC: nobody gets that far */
    le(b, packed, 4);
    le(b, size, 4);
    le(b, strlen(name), 2);
    le(b, 0, central ? 8 : 2);
    if (central) {
        le(b, (uint64_t)0100644 << 16, 4);
        le(b, at, 4);
    }
    lt_buf_str(b, name);
}

static void tail(struct lt_buf *b, unsigned count, size_t from, size_t size)
{
    lt_buf_str(b, "PK\5\6");
    le(b, 0, 4);
    le(b, count & 0xffff, 2);
    le(b, count & 0xffff, 2);
    le(b, size, 4);
    le(b, from, 4);
    le(b, 0, 2);
}

/* Deflate by hand: a stored block of one zero, then matches of length 258 at distance 1, each a fixed-Huffman
 * block's symbols 285 and 0: 8 and 5 bits of which all are known. 13 bits give 258 zeros. */
struct bits {
    struct lt_buf *b;
    uint32_t hold, count;
};

static void put_bits(struct bits *s, uint32_t v, unsigned n)
{
    s->hold |= v << s->count;
    for (s->count += n; s->count >= 8; s->count -= 8, s->hold >>= 8)
        lt_buf_u8(s->b, (uint8_t)s->hold);
}

static uint32_t turned(uint32_t v, unsigned n)
{
    uint32_t out = 0;

    for (unsigned i = 0; i < n; i++)
        out |= (v >> i & 1) << (n - 1 - i);
    return out;
}

static void deflate_zeros(struct lt_buf *b, uint64_t size)
{
    struct bits s = {.b = b};

    put_bits(&s, 1 | 1 << 1, 3);      /* the last block, fixed codes */
    put_bits(&s, turned(0x30, 8), 8); /* literal 0 */
    for (uint64_t n = 1; n + 258 <= size; n += 258) {
        put_bits(&s, turned(0xc0 + 285 - 280, 8), 8); /* length 258 */
        put_bits(&s, 0, 5);                           /* distance 1 */
    }
    put_bits(&s, 0, 7); /* end */
    put_bits(&s, 0, 7);
}

static void see_little(int dir)
{
    struct stat st;

    if (!fstatat(dir, "z", &st, 0))
        assert_true(st.st_size <= LT_MAX_UNPACK_BYTES);
}

static void ten_gigabytes_of_zeros(void **state)
{
    (void)state;
    const uint64_t size = (uint64_t)10 << 30;
    struct lt_buf b = LT_BUF((size_t)128 << 20);
    LT_AUTOBUF struct lt_buf data = LT_BUF((size_t)128 << 20);

    deflate_zeros(&data, size);
    entry_head(&b, false, 8, data.n, size & UINT32_MAX, "z", 0);
    lt_buf_put(&b, data.p, data.n);
    size_t from = b.n;
    entry_head(&b, true, 8, data.n, size & UINT32_MAX, "z", 0);
    tail(&b, 1, from, b.n - from);
    OK(lt_buf_ok(&b, &err));
    FAILS(LT_E_REFUSED, unpack((struct lt_slice){b.p, b.n}, see_little));
    if (!strstr(err.msg, "together") && !strstr(err.msg, "times"))
        fail_msg("%s", err.msg);
    lt_buf_free(&b);
}

static void a_hundred_thousand_entries(void **state)
{
    (void)state;
    struct lt_buf b = LT_BUF((size_t)32 << 20);
    LT_AUTOBUF struct lt_buf central = LT_BUF((size_t)32 << 20);
    char name[16];

    for (unsigned i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "%05u", i);
        entry_head(&central, true, 0, 0, 0, name, b.n);
        entry_head(&b, false, 0, 0, 0, name, 0);
    }
    size_t from = b.n;
    lt_buf_put(&b, central.p, central.n);
    tail(&b, 100000, from, central.n);
    OK(lt_buf_ok(&b, &err));
    FAILS(LT_E_REFUSED, unpack((struct lt_slice){b.p, b.n}, NULL));
    assert_non_null(strstr(err.msg, "more than 4096 entries"));
    lt_buf_free(&b);
}

static int try_one(const uint8_t *p, size_t n, void *state)
{
    (void)state;
    err = (struct lt_err){0};
    int rc = unpack((struct lt_slice){p, n}, NULL);
    if (rc && rc != LT_E_REFUSED && rc != LT_E_MALFORMED)
        fail_msg("%zu bytes: %d %s", n, rc, err.msg);
    return rc;
}

static void cut_and_turned(void **state)
{
    (void)state;
    static const struct file files[] = {{"a", S_IFREG | 0644, "one"}, {"d/b", S_IFREG | 0644, "two"}};
    uint8_t out[4096];
    struct lt_slice zip = zip_of(files, 2, out, sizeof out);

    for (size_t n = 0; n < zip.n; n++)
        (void)!try_one(zip.p, n, NULL);
    for (size_t bit = 0; bit < 8 * zip.n; bit++) {
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)!try_one(out, zip.n, NULL);
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_false(lt_unpack_is_zip((struct lt_slice){out, 3}));
    assert_false(lt_unpack_is_zip((struct lt_slice){(const uint8_t *)"PK\3\3", 4}));
}

/* No other format of libarchive's is read, whatever it begins with. */
static void no_tar(void **state)
{
    (void)state;
    struct archive *a = archive_write_new();
    uint8_t out[65536];
    size_t n;

    assert_int_equal(archive_write_set_format_pax(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, out, sizeof out, &n), ARCHIVE_OK);
    put_entry(a, "x", S_IFREG | 0600, "1");
    archive_write_close(a);
    archive_write_free(a);
    FAILS(LT_E_MALFORMED, unpack((struct lt_slice){out, n}, NULL));
}

static int make_top(void **state)
{
    (void)state;
    parent = mkdtemp(top) ? open(top, O_RDONLY | O_DIRECTORY) : -1;
    return parent < 0;
}

static int remove_top(void **state)
{
    (void)state;
    close(parent);
    return rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad_entries),
        cmocka_unit_test(paths),
        cmocka_unit_test(ten_gigabytes_of_zeros),
        cmocka_unit_test(a_hundred_thousand_entries),
        cmocka_unit_test(cut_and_turned),
        cmocka_unit_test(no_tar),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
