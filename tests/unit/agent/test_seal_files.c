/* The vault's two files: 0600, no link followed, next durable before it takes its place. And the memory that
 * its keys lie in. */
#include "agent/seal_files.h"
#include "agent/seal_memory.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], vault[96], next[96], other[96];
static struct lt_agent_seal_files f;
static const struct lt_agent_seal_file_ops *ops = &lt_agent_seal_files_ops;

static int setup(void **unused)
{
    const char *tmp = getenv("TMPDIR");

    (void)unused;
    snprintf(dir, sizeof dir, "%.40s/lt-seal-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(vault, sizeof vault, "%s/vault", dir);
    snprintf(next, sizeof next, "%s/vault.next", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    lt_agent_seal_files_init(&f, dir);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    lt_agent_seal_files_free(&f);
    unlink(vault);
    unlink(next);
    unlink(other);
    return rmdir(dir);
}

static void reads(enum lt_agent_seal_file which, const char *want)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    OK(ops->read(&f, which, &p, &n, &err));
    assert_int_equal(n, strlen(want));
    assert_memory_equal(p, want, n);
}

static void refuses(int code, enum lt_agent_seal_file which)
{
    uint8_t *p;
    size_t n;

    FAILS(code, ops->read(&f, which, &p, &n, &err));
    assert_null(p);
}

static void write_all(const char *text)
{
    OK(ops->write_next(&f, text, strlen(text), &err));
    OK(ops->sync_next(&f, &err));
    OK(ops->sync_dir(&f, &err));
}

static void next_becomes_the_vault(void **unused)
{
    struct stat st;
    mode_t mask = umask(0);

    (void)unused;
    refuses(LT_E_NOT_FOUND, LT_AGENT_SEAL_VAULT);
    refuses(LT_E_NOT_FOUND, LT_AGENT_SEAL_NEXT);
    FAILS(LT_E_INTERNAL, ops->sync_next(&f, &err)); /* nothing was written */
    FAILS(LT_E_IO, ops->rename(&f, &err));
    write_all("one");
    assert_int_equal(stat(next, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    umask(mask);
    refuses(LT_E_NOT_FOUND, LT_AGENT_SEAL_VAULT);
    reads(LT_AGENT_SEAL_NEXT, "one");
    OK(ops->rename(&f, &err));
    reads(LT_AGENT_SEAL_VAULT, "one");
    refuses(LT_E_NOT_FOUND, LT_AGENT_SEAL_NEXT);
    write_all("a longer one");
    write_all("two"); /* over what was only pending */
    reads(LT_AGENT_SEAL_NEXT, "two");
    reads(LT_AGENT_SEAL_VAULT, "one");
}

/* What is planted at next is not written through, and what is planted at the vault is not read. */
static void links_are_not_followed(void **unused)
{
    (void)unused;
    int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, "keep", 4) == 4);
    close(fd);
    assert_int_equal(symlink(other, next), 0);
    refuses(LT_E_VAULT_FORGED, LT_AGENT_SEAL_NEXT);
    write_all("new");
    reads(LT_AGENT_SEAL_NEXT, "new");
    assert_int_equal(rename(other, vault), 0);
    reads(LT_AGENT_SEAL_VAULT, "keep");
    assert_int_equal(unlink(next), 0);
    assert_int_equal(link(vault, other), 0);
    assert_int_equal(link(vault, next), 0);
    write_all("new");
    reads(LT_AGENT_SEAL_VAULT, "keep");
}

static void others_must_not_read_it(void **unused)
{
    (void)unused;
    write_all("one");
    assert_int_equal(chmod(next, 0640), 0);
    refuses(LT_E_VAULT_FORGED, LT_AGENT_SEAL_NEXT);
    assert_int_equal(unlink(next), 0);
    assert_int_equal(mkfifo(next, 0600), 0);
    refuses(LT_E_VAULT_FORGED, LT_AGENT_SEAL_NEXT); /* and does not wait for a writer */
}

static void no_larger_than_a_vault(void **unused)
{
    (void)unused;
    write_all("one");
    assert_int_equal(truncate(next, (off_t)LT_MAX_VAULT + 1), 0);
    refuses(LT_E_VAULT_FORGED, LT_AGENT_SEAL_NEXT);
}

static void a_directory_that_is_gone(void **unused)
{
    struct lt_agent_seal_files gone;

    (void)unused;
    lt_agent_seal_files_init(&gone, "/nonexistent/dir");
    FAILS(LT_E_IO, ops->write_next(&gone, "x", 1, &err));
    FAILS(LT_E_IO, ops->sync_dir(&gone, &err));
    lt_agent_seal_files_free(&gone);
}

/* The kernel's word for that mapping: "lo" locked, "dd" left out of cores. */
static bool mapping_is(const void *p, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512];
    bool ours = false, is = false;

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            ours = (unsigned long)(uintptr_t)p >= from && (unsigned long)(uintptr_t)p < to;
        if (ours && !strncmp(line, "VmFlags:", 8))
            is = strstr(line, flag);
    }
    fclose(maps);
    return is;
}

static void memory_for_keys(void **unused)
{
    const struct rlimit none = {0, 0};
    struct rlimit was;
    void *p, *q;

    (void)unused;
    OK(lt_agent_seal_memory_new(5000, &p, &err));
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(((uint8_t *)p)[i], 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which make nothing of mlock */
    assert_true(mapping_is(p, " lo"));
#endif
    assert_true(mapping_is(p, " dd"));
    lt_agent_seal_memory_free(p, 5000);
    OK(lt_agent_seal_memory_new(0, &p, &err));
    lt_agent_seal_memory_free(p, 0);
    lt_agent_seal_memory_free(NULL, 7);
    /* Where none can be locked, none is given. */
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &was), 0);
    if (geteuid() == 0)
        return;
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    FAILS(LT_E_CONFIG, lt_agent_seal_memory_new(1, &q, &err));
    assert_null(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(next_becomes_the_vault, setup, teardown),
        cmocka_unit_test_setup_teardown(links_are_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(others_must_not_read_it, setup, teardown),
        cmocka_unit_test_setup_teardown(no_larger_than_a_vault, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_gone, setup, teardown),
        cmocka_unit_test(memory_for_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
