/* The private directory in memory: which mounts do, who may look into it, and that nothing stays behind. */
#include "agent/secure.h"
#include "common/file.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS_MAGIC_NUMBER 0x01021994

static const char mountinfo[] =
    "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
    "23 22 0:21 / /run rw,nosuid,nodev,noexec shared:5 master:7 - tmpfs tmpfs rw,size=10%,mode=755\n"
    "24 22 0:22 / /no/optional rw - tmpfs tmpfs rw\n"
    "25 22 0:23 / /ram rw - ramfs none rw\n"
    "26 22 254:2 / /a\\040-\\040tmpfs\\040x rw,relatime shared:2 - ext4 /dev/vda2 rw\n"
    "27 22 254:3 /tmpfs /tmpfs rw,tmpfs tmpfs:1 - ext4 tmpfs rw,tmpfs\n"
    "28 22 0:24 / /almost rw - tmpfsx tmpfs rw\n"
    "29 22 0:25 / /upper rw - TMPFS tmpfs rw\n"
    "230 22 0:26 / /longer rw - ext4 tmpfs rw\n"
    "31 22 0:27 / /dash - - tmpfs tmpfs rw\n"
    "32 22 0:28 / /nodash rw tmpfs tmpfs rw\n"
    "33 22 0:29 / /end rw -\n"
    "34 22 0:30 / /half rw - tmpfs";

static void mounts(void **state)
{
    (void)state;
    static const struct {
        uint64_t id;
        int rc;
    } rows[] = {{22, LT_E_CONFIG},  {23, 0},           {24, 0},           {25, 0},
                {26, LT_E_CONFIG},  {27, LT_E_CONFIG}, {28, LT_E_CONFIG}, {29, LT_E_CONFIG},
                {230, LT_E_CONFIG}, {31, 0},           {32, LT_E_CONFIG}, {33, LT_E_CONFIG},
                {34, LT_E_IO},      {2, LT_E_IO},      {3, LT_E_IO},      {0, LT_E_IO}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        err = (struct lt_err){0};
        if (lt_secure_mount(mountinfo, rows[i].id, &err) != rows[i].rc)
            fail_msg("mount %d: %d %s", (int)rows[i].id, err.code, err.msg);
    }
    FAILS(LT_E_IO, lt_secure_mount("", 22, &err));
}

static void every_cut_of_a_table(void **state)
{
    (void)state;
    char cut[sizeof mountinfo];

    for (size_t n = 0; n < sizeof mountinfo; n++) {
        memcpy(cut, mountinfo, n);
        cut[n] = 0;
        for (uint64_t id = 22; id < 35; id++)
            if (lt_secure_mount(cut, id, LT_NO_ERR) == 0 && id != 23 && id != 24 && id != 25 && id != 31)
                fail_msg("cut at %zu, mount %d: taken for a tmpfs", n, (int)id);
    }
}

static char top[] = "/dev/shm/lt-secure-XXXXXX";

static void who_may_look_into_it(void **state)
{
    (void)state;
    LT_AUTOFREE char *dir = lt_file_path(top, "s");
    struct stat st;
    int fd;

    OK(lt_secure_open(dir, &fd, &err));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    close(fd);
    OK(lt_secure_open(dir, &fd, &err));
    close(fd);
    static const mode_t open_ones[] = {0710, 0701, 0740, 0770, 0777};
    for (size_t i = 0; i < sizeof open_ones / sizeof *open_ones; i++) {
        assert_int_equal(chmod(dir, open_ones[i]), 0);
        FAILS(LT_E_CONFIG, lt_secure_open(dir, &fd, &err));
        FAILS(LT_E_CONFIG, lt_secure_check(dir, &err));
        assert_int_equal(fd, -1);
    }
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(symlink(top, dir), 0);
    FAILS(LT_E_CONFIG, lt_secure_open(dir, &fd, &err));
    assert_int_equal(unlink(dir), 0);
    OK(lt_secure_check(dir, &err));
    assert_int_equal(access(dir, F_OK), -1); /* nothing was made */
    LT_AUTOFREE char *far = lt_file_path(dir, "absent");
    FAILS(LT_E_IO, lt_secure_open(far, &fd, &err));
    FAILS(LT_E_CONFIG, lt_secure_check(far, &err));
}

static void a_disk_is_refused(void **state)
{
    (void)state;
    char dir[] = "/var/tmp/lt-secure-XXXXXX";
    struct statfs fs;
    int fd;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(statfs(dir, &fs), 0);
    if (fs.f_type == TMPFS_MAGIC_NUMBER) {
        rmdir(dir);
        print_message("skipped: /var/tmp is a tmpfs here\n");
        skip();
    }
    FAILS(LT_E_CONFIG, lt_secure_open(dir, &fd, &err));
    assert_non_null(strstr(err.msg, "not in memory"));
    assert_int_equal(fd, -1);
    FAILS(LT_E_CONFIG, lt_secure_check(dir, &err));
    assert_int_equal(rmdir(dir), 0);
    FAILS(LT_E_CONFIG, lt_secure_check(dir, &err)); /* where it would be made is a disk as well */
    FAILS(LT_E_CONFIG, lt_secure_check("no-slash-in-it/", &err));
}

static void removed_with_all_below(void **state)
{
    (void)state;
    int fd = open(top, O_RDONLY | O_DIRECTORY);

    assert_int_equal(mkdirat(fd, "tree", 0700) | mkdirat(fd, "tree/a", 0700) | mkdirat(fd, "tree/a/b", 0700) |
                         mkdirat(fd, "kept", 0700),
                     0);
    assert_int_equal(close(openat(fd, "tree/a/f", O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(close(openat(fd, "kept/f", O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(symlinkat("../kept", fd, "tree/link") | symlinkat("/nowhere", fd, "tree/a/b/dangling"),
                     0);
    OK(lt_secure_remove(fd, "tree", &err));
    assert_int_equal(faccessat(fd, "tree", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(faccessat(fd, "kept/f", F_OK, 0), 0); /* the link was not followed */
    OK(lt_secure_remove(fd, "tree", &err));
    assert_int_equal(symlinkat("kept", fd, "link"), 0);
    OK(lt_secure_remove(fd, "link", &err));
    assert_int_equal(faccessat(fd, "kept/f", F_OK, 0), 0);
    OK(lt_secure_remove(fd, "kept", &err));
    close(fd);
}

static int make_top(void **state)
{
    (void)state;
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
    (void)state;
    return rmdir(top); /* every test takes its files away, or this fails */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mounts),
        cmocka_unit_test(every_cut_of_a_table),
        cmocka_unit_test(who_may_look_into_it),
        cmocka_unit_test(a_disk_is_refused),
        cmocka_unit_test(removed_with_all_below),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
