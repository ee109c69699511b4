#include "tenant/bundles.h"

#include "common/limits.h"
#include "common/run/budget.h"
#include "tests/support/unit.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct lt_bundles *b;

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof dir, "%.30s/bundles-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    lt_bundles_free(b);
    b = NULL;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void reopen(size_t limit)
{
    lt_bundles_free(b);
    OK(lt_bundles_open(dir, limit, &b, &err));
}

static const uint8_t *guest(unsigned i)
{
    static uint8_t uuid[LT_UUID];
    memset(uuid, 0x40, sizeof uuid);
    uuid[14] = (uint8_t)(i >> 8);
    uuid[15] = (uint8_t)i;
    return uuid;
}

static size_t used(void)
{
    struct lt_bundles_use u;
    lt_bundles_use(b, &u);
    return u.used;
}

static int counted(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    extern size_t on_disk;
    (void)path, (void)ftw;
    if (type == FTW_F)
        on_disk += (size_t)st->st_size / st->st_nlink;
    return 0;
}
size_t on_disk;

static size_t disk(void)
{
    on_disk = 0;
    assert_int_equal(nftw(dir, counted, 16, FTW_PHYS), 0);
    return on_disk;
}

static int put(unsigned i, size_t n, bool trusted)
{
    LT_AUTOFREE char *text = malloc(n + 1);
    memset(text, 'a' + (int)(i % 26), n);
    text[n] = 0;
    return lt_bundles_put(b, guest(i), text, n, trusted, &err);
}

static void replaces_and_counts(void **state)
{
    uint8_t *text;
    size_t n;
    (void)state;

    reopen(64u << 20);
    assert_int_equal(lt_bundles_get(b, guest(1), false, &text, &n, &err), LT_E_NOT_FOUND);
    OK(put(1, 1000, true));
    assert_int_equal(used(), 1000); /* one file under two names */
    OK(put(1, 400, false));
    assert_int_equal(used(), 1400);
    OK(lt_bundles_get(b, guest(1), true, &text, &n, &err));
    assert_int_equal(n, 1000);
    free(text);
    OK(lt_bundles_get(b, guest(1), false, &text, &n, &err));
    assert_int_equal(n, 400);
    free(text);
    OK(put(1, 300, true));
    assert_int_equal(used(), 300);
    reopen(64u << 20);
    assert_int_equal(used(), 300);
    assert_int_equal(disk(), 300);
    lt_bundles_remove(b, guest(1));
    lt_bundles_remove(b, guest(2));
    assert_int_equal(used() + disk(), 0);
}

/* However many send all they can, the next one's evidence has a part, and the quota holds. */
static void many_large_ones(void **state)
{
    enum { MANY = 200 };
    const size_t limit = 32u << 20, large = 2u << 20;
    unsigned whole = 0;
    (void)state;

    reopen(limit);
    for (unsigned again = 0; again < 2; again++)
        for (unsigned i = 0; i < MANY; i++) {
            bool room = lt_bundles_room(b, guest(i), large);
            whole += room;
            if (room)
                OK(put(i, large, again));
            else
                (void)!put(i, 10000, again);
            assert_true(used() <= limit);
        }
    assert_true(whole > 1);
    assert_int_equal(used(), disk());
    assert_true(lt_bundles_room(b, guest(MANY), LT_SMALL_BUNDLE));
    assert_false(lt_bundles_room(b, guest(MANY), limit));
}

static void full(void **state)
{
    uint8_t *text;
    size_t n;
    unsigned i = 0;
    (void)state;

    reopen(1u << 20);
    while (!put(i, LT_SMALL_BUNDLE - 1, false))
        i++;
    assert_int_equal(i, 4); /* small ones are only bounded by the quota */
    assert_int_equal(err.code, LT_E_TOO_LARGE);
    /* The last round's evidence has no room: an older one must not pass for it. */
    OK(put(0, 10, true));
    OK(put(0, 1, false));
    for (i = 4; !put(i, 1000, false); i++)
        ;
    assert_int_equal(put(0, LT_SMALL_BUNDLE, false), LT_E_TOO_LARGE);
    assert_int_equal(lt_bundles_get(b, guest(0), false, &text, &n, &err), LT_E_NOT_FOUND);
    OK(lt_bundles_get(b, guest(0), true, &text, &n, &err));
    free(text);
    assert_int_equal(used(), disk());
}

static bool is_odd(void *arg, const uint8_t uuid[LT_UUID])
{
    (void)arg;
    return uuid[15] & 1;
}

static void garbage_goes(void **state)
{
    char path[128];
    (void)state;

    reopen(1u << 20);
    for (unsigned i = 0; i < 10; i++)
        OK(put(i, 10, i & 2));
    snprintf(path, sizeof path, "%s/half-written.tmp", dir);
    OK(lt_file_write(path, "x", 1, 0600, &err));
    reopen(1u << 20);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(used(), 100);
    lt_bundles_collect(b, is_odd, NULL);
    assert_int_equal(used(), 50);
    assert_int_equal(disk(), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replaces_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(many_large_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(full, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_goes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
