/* Room on the disk: a small file system of its own is filled, and emptied again. */
#include "common/run/space.h"

#include "tests/support/mounts.h"
#include "tests/support/unit.h"

#include <sys/stat.h>

#define MIB (1u << 20)

static char dir[64], filler[80];
static bool mounted;

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-space-XXXXXX", tmp ? tmp : "/tmp");
    snprintf(filler, sizeof filler, "%s", mkdtemp(dir));
    strcat(filler, "/filler");
    mounted = mounts_of_our_own() && !mount("tmpfs", dir, "tmpfs", 0, "size=40m,mode=0700");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (mounted)
        assert_int_equal(umount2(dir, MNT_DETACH), 0);
    return rmdir(dir);
}

static void fill(void)
{
    static const char block[65536];
    int fd = open(filler, O_WRONLY | O_CREAT | O_APPEND, 0600);

    assert_true(fd >= 0);
    for (size_t n = sizeof block; n; n /= 2)
        while (write(fd, block, n) == (ssize_t)n)
            ;
    close(fd);
}

static void look(struct lt_space *s, struct lt_space_state *out)
{
    usleep(1010000); /* it looks once a second */
    lt_space_look(s);
    lt_space_state(s, out);
}

static void test_reserve(void **state)
{
    const struct lt_space_conf conf = {.reserve = 3 * MIB, .min_free = 2 * MIB};
    struct lt_space_state t;
    struct lt_space *s;
    struct stat st;
    char reserve[96];

    (void)state;
    if (!mounted) {
        print_message("skipped: no mount namespace of its own to be had: neither root nor user namespaces\n");
        skip();
    }
    s = lt_space_open(dir, &conf);
    lt_space_state(s, &t);
    assert_true(t.held == 3 * MIB && t.reserve == 3 * MIB && !t.low && t.free > 30 * MIB);
    assert_true(lt_space_fits(s, 20 * MIB) && !lt_space_fits(s, 37 * MIB));
    snprintf(reserve, sizeof reserve, "%s/reserve", dir);
    assert_int_equal(stat(reserve, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    fill();
    look(s, &t);
    assert_true(t.low && t.held == 3 * MIB && t.free == 0);
    assert_false(lt_space_fits(s, 0));
    assert_true(lt_space_release(s));
    lt_space_state(s, &t);
    assert_true(t.low && t.held == 0 && t.free == 3 * MIB);
    assert_false(lt_space_release(s)); /* there is no second one */
    look(s, &t);
    assert_true(t.held == 0); /* not made whole from what verdicts need now */

    assert_int_equal(unlink(filler), 0);
    look(s, &t);
    assert_true(!t.low && t.held == 3 * MIB);
    assert_int_equal(unlink(reserve), 0); /* somebody tidied up */
    look(s, &t);
    assert_true(!t.low && t.held == 3 * MIB);
    lt_space_close(s);

    fill();
    assert_int_equal(unlink(reserve), 0);
    fill();
    s = lt_space_open(dir, &conf); /* full at the start: no reason not to start */
    lt_space_state(s, &t);
    assert_true(t.low && t.held == 0);
    lt_space_close(s);
    unlink(reserve);
    unlink(filler);
}

/* On a small file system both are a tenth of it at most. */
static void test_small(void **state)
{
    const struct lt_space_conf conf = {.reserve = 1000 * MIB, .min_free = 1000 * MIB};
    struct lt_space_state t;
    struct lt_space *s;

    (void)state;
    if (!mounted)
        skip();
    s = lt_space_open(dir, &conf);
    lt_space_state(s, &t);
    assert_true(t.reserve == 4 * MIB && t.held == 4 * MIB && t.min_free == 4 * MIB && !t.low);
    lt_space_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_small),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
