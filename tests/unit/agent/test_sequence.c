/* batch_seq across restarts of the agent, and on a full disk: a host must not fall silent because of its
 * logs. */
#include "agent/sequence.h"

#include "tests/support/mounts.h"
#include "tests/support/unit.h"

static char dir[64], file[96], filler[96];
static bool mounted;

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-sequence-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/sequence", dir);
    snprintf(filler, sizeof filler, "%s/filler", dir);
    mounted = mounts_of_our_own() && !mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    unlink(filler);
    if (mounted)
        umount2(dir, MNT_DETACH);
    return rmdir(dir);
}

static struct lt_sequence reopened(struct lt_sequence *s, uint32_t reset_count)
{
    struct lt_sequence fresh;

    lt_sequence_close(s);
    OK(lt_sequence_open(file, reset_count, &fresh, &err));
    return fresh;
}

static void never_falls(void **state)
{
    struct lt_sequence s = {0};

    (void)state;
    s = reopened(&s, 7);
    assert_int_equal(s.last, 0);
    OK(lt_sequence_claim(&s, 1, &err));
    OK(lt_sequence_claim(&s, 5, &err));
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&s, 5, &err));
    s = reopened(&s, 7);
    assert_true(s.last >= 5);
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&s, 5, &err));
    OK(lt_sequence_claim(&s, INT64_MAX - 5, &err));
    s = reopened(&s, 7);
    assert_true(s.last == INT64_MAX - 5);
    s = reopened(&s, 8); /* another boot of the TPM begins anew */
    assert_int_equal(s.last, 0);
    lt_sequence_close(&s);
    unlink(file);
}

static void fill(void)
{
    static const char block[4096];
    int fd = open(filler, O_WRONLY | O_CREAT | O_APPEND, 0600);

    while (write(fd, block, sizeof block) == (ssize_t)sizeof block)
        ;
    close(fd);
}

static void full_disk(void **state)
{
    struct lt_sequence s = {0};

    (void)state;
    if (!mounted) {
        print_message("skipped: no mount namespace of its own to be had: neither root nor user namespaces\n");
        skip();
    }
    s = reopened(&s, 7);
    OK(lt_sequence_claim(&s, 1, &err));
    fill();
    uint64_t before = s.written;
    OK(lt_sequence_claim(&s, before + 1, &err)); /* has to be written */
    assert_true(s.written > before);
    uint64_t ceiling = s.written;
    s = reopened(&s, 7);
    assert_int_equal(s.last, ceiling);
    lt_sequence_close(&s);
    unlink(file);
    fill();
    s = reopened(&s, 7);
    FAILS(LT_E_IO, lt_sequence_claim(&s, 1, &err)); /* there was none, and there is no room for one */
    lt_sequence_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_falls),
        cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
