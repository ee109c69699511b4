/* libvirt's directory of a vTPM, as hostile hands leave it. */
#include "tests/support/unit.h"

#include "common/file.h"
#include "vtpm/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOMAIN "0f0e0d0c-0b0a-0908-0706-050403020100"
#define TPM2 DOMAIN "/tpm2"
#define STATE TPM2 "/tpm2-00.permall"
#define OURS ".limetree-" DOMAIN

static const uint8_t uuid[LT_UUID] = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
static char top[64];
static char *base;
static struct lt_statedir dir;

static int make(void **state)
{
    (void)state;
    umask(022);
    strcpy(top, "/tmp/limetree-statedir-XXXXXX");
    assert_non_null(mkdtemp(top));
    base = lt_file_path(top, "swtpm");
    assert_int_equal(mkdir(base, 0711), 0);
    dir = (struct lt_statedir){.base = base, .uid = geteuid(), .gid = getegid()};
    return 0;
}

static int sweep(void **state)
{
    char command[192];
    (void)state;
    free(base);
    snprintf(command, sizeof command, "chmod -R u+rwx '%s'; rm -rf '%s'", top, top);
    return system(command);
}

static char *at(const char *name)
{
    return lt_file_path(base, name);
}

static void make_dir(const char *name)
{
    LT_AUTOFREE char *path = at(name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void put(const char *name, const char *text)
{
    LT_AUTOFREE char *path = at(name);
    OK(lt_file_write(path, text, strlen(text), 0600, &err));
}

static void link_to(const char *target, const char *name)
{
    LT_AUTOFREE char *path = at(name);
    assert_int_equal(symlink(target, path), 0);
}

static bool there(const char *name)
{
    LT_AUTOFREE char *path = at(name);
    struct stat st;
    return !lstat(path, &st);
}

static int read_it(void)
{
    uint8_t *p;
    size_t n;
    int rc = lt_statedir_read(&dir, uuid, &p, &n, &err);

    assert_true(rc ? !p : n == 7 && !memcmp(p, "a state", 7));
    free(p);
    return rc;
}

static int install(void)
{
    return lt_statedir_install(&dir, uuid, "a state", 7, &err);
}

static void a_state(void)
{
    make_dir(DOMAIN);
    make_dir(TPM2);
    put(STATE, "a state");
}

/* ---- reading ---- */

static void as_libvirt_leaves_it(void **state)
{
    (void)state;
    FAILS(LT_E_NOT_FOUND, read_it());
    make_dir(DOMAIN);
    FAILS(LT_E_NOT_FOUND, read_it());
    make_dir(TPM2);
    FAILS(LT_E_NOT_FOUND, read_it());
    put(TPM2 "/.lock", "");
    FAILS(LT_E_NOT_FOUND, read_it());
    put(STATE, "a state");
    OK(read_it());
    put(TPM2 "/TMP2-00.permall", "half a sta");
    OK(read_it());
}

static void what_swtpm_would_load(void **state)
{
    static const char *const list[] = {"tpm2-00.volatilestate", "tpm2-00.savestate", "tpm2-00.permall.bak",
                                       "..."};
    (void)state;

    a_state();
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        LT_AUTOFREE char *name = lt_file_path(TPM2, list[i]);
        LT_AUTOFREE char *path = at(name);
        put(name, "planted");
        FAILS(LT_E_STATE_VOLATILE, read_it());
        assert_non_null(strstr(err.msg, list[i]));
        assert_int_equal(unlink(path), 0);
        link_to("/nowhere", name);
        FAILS(LT_E_STATE_VOLATILE, read_it());
        assert_int_equal(unlink(path), 0);
    }
    OK(read_it());
}

static void links_are_not_followed(void **state)
{
    LT_AUTOFREE char *file = at(STATE), *second = at("second"), *tpm2 = at(TPM2), *domain = at(DOMAIN);
    LT_AUTOFREE char *moved = at("moved");
    (void)state;

    a_state();
    assert_int_equal(link(file, second), 0); /* somebody else has it too, and may write to it */
    FAILS(LT_E_REFUSED, read_it());
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink(second, file), 0);
    FAILS(LT_E_REFUSED, read_it());
    assert_int_equal(rename(second, file), 0);
    OK(read_it());
    assert_int_equal(rename(tpm2, moved), 0);
    assert_int_equal(symlink(moved, tpm2), 0);
    FAILS(LT_E_REFUSED, read_it());
    assert_int_equal(unlink(tpm2), 0);
    assert_int_equal(rename(moved, tpm2), 0);
    OK(read_it());
    assert_int_equal(rename(domain, moved), 0);
    assert_int_equal(symlink(moved, domain), 0);
    FAILS(LT_E_REFUSED, read_it());
}

static void others_could_write(void **state)
{
    static const char *const list[] = {"", DOMAIN, TPM2};
    (void)state;

    a_state();
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        LT_AUTOFREE char *path = at(list[i]);
        assert_int_equal(chmod(path, 0722), 0);
        FAILS(LT_E_REFUSED, read_it());
        assert_int_equal(chmod(path, 0770), 0);
        FAILS(LT_E_REFUSED, read_it());
        assert_int_equal(chmod(path, 0711), 0);
        OK(read_it());
    }
    dir.uid++; /* swtpm's user is another: it cannot have made this file */
    FAILS(LT_E_REFUSED, read_it());
}

static void no_file(void **state)
{
    LT_AUTOFREE char *path = at(STATE);
    (void)state;

    make_dir(DOMAIN);
    make_dir(TPM2);
    make_dir(STATE);
    FAILS(LT_E_REFUSED, read_it());
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* and nobody waits for its other end */
    FAILS(LT_E_REFUSED, read_it());
    assert_int_equal(unlink(path), 0);
    put(DOMAIN "/file", "");
    LT_AUTOFREE char *tpm2 = at(TPM2);
    assert_int_equal(rmdir(tpm2), 0);
    put(TPM2, "a file");
    FAILS(LT_E_REFUSED, read_it());
}

/* ---- installing ---- */

static void mode_is(const char *name, mode_t mode)
{
    LT_AUTOFREE char *path = at(name);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void installed_as_libvirt_would(void **state)
{
    (void)state;
    umask(0); /* whatever it is */
    OK(install());
    umask(022);
    OK(read_it());
    mode_is(DOMAIN, 0711);
    mode_is(TPM2, 0700);
    mode_is(STATE, 0600);
    assert_false(there(OURS));
    FAILS(LT_E_CONFLICT, install());
    OK(read_it());
}

static void base_is_made(void **state)
{
    LT_AUTOFREE char *deep = at("not/yet/there");
    (void)state;

    dir.base = deep;
    FAILS(LT_E_NOT_FOUND, read_it());
    OK(install());
    OK(read_it());
}

/* What stands there is not touched, whatever it is. */
static void occupied(void **state)
{
    LT_AUTOFREE char *path = at(DOMAIN);
    (void)state;

    make_dir(DOMAIN);
    FAILS(LT_E_CONFLICT, install());
    assert_int_equal(rmdir(path), 0);
    put(DOMAIN, "a file");
    FAILS(LT_E_CONFLICT, install());
    assert_int_equal(unlink(path), 0);
    link_to("elsewhere", DOMAIN);
    FAILS(LT_E_CONFLICT, install());
    assert_false(there("elsewhere") || there(OURS));
    assert_int_equal(unlink(path), 0);
    OK(install());
}

static void killed_before(void **state)
{
    (void)state;
    make_dir(OURS);
    OK(install());
    OK(lt_statedir_remove(&dir, uuid, &err));
    make_dir(OURS);
    make_dir(OURS "/tpm2");
    put(OURS "/tpm2/tpm2-00.permall", "half");
    OK(install());
    OK(read_it());
    assert_false(there(OURS));
}

/* Only root and we write there; but if somebody did. */
static void our_name_is_a_link(void **state)
{
    LT_AUTOFREE char *victim = at("victim"), *precious = at("victim/tpm2/precious");
    (void)state;

    make_dir("victim");
    make_dir("victim/tpm2");
    put("victim/tpm2/precious", "precious");
    link_to(victim, OURS);
    FAILS(LT_E_REFUSED, install());
    assert_int_equal(access(precious, F_OK), 0);
    assert_false(there(DOMAIN));
}

static void of_another_user(void **state)
{
    struct stat st;
    LT_AUTOFREE char *path = at(STATE), *tpm2 = at(TPM2), *domain = at(DOMAIN);
    (void)state;

    if (geteuid())
        skip();
    dir.uid = 12345;
    dir.gid = 12346;
    OK(install());
    OK(read_it());
    assert_true(!stat(path, &st) && st.st_uid == 12345 && st.st_gid == 12346);
    assert_true(!stat(tpm2, &st) && st.st_uid == 12345);
    assert_true(!stat(domain, &st) && st.st_uid == 0);
}

/* ---- taking away ---- */

static void taken_away(void **state)
{
    (void)state;
    OK(lt_statedir_remove(&dir, uuid, &err));
    make_dir(DOMAIN);
    OK(lt_statedir_remove(&dir, uuid, &err));
    assert_false(there(DOMAIN));
    a_state();
    put(TPM2 "/.lock", "");
    put(TPM2 "/tpm2-00.volatilestate", "");
    put(TPM2 "/TMP2-00.permall", "");
    OK(lt_statedir_remove(&dir, uuid, &err));
    assert_false(there(DOMAIN) || there(OURS));
    OK(install());
}

/* All of it stays where it is. */
static void not_only_swtpm_s(void **state)
{
    LT_AUTOFREE char *thesis = at(TPM2 "/thesis"), *beside = at(DOMAIN "/tpm1.2"), *lock = at(TPM2 "/.lock");
    (void)state;

    a_state();
    put(TPM2 "/thesis", "");
    FAILS(LT_E_REFUSED, lt_statedir_remove(&dir, uuid, &err));
    assert_true(there(STATE) && !unlink(thesis));
    make_dir(DOMAIN "/tpm1.2");
    FAILS(LT_E_REFUSED, lt_statedir_remove(&dir, uuid, &err));
    assert_true(there(STATE) && !rmdir(beside));
    link_to(thesis, TPM2 "/.lock");
    FAILS(LT_E_REFUSED, lt_statedir_remove(&dir, uuid, &err));
    assert_true(there(STATE) && !unlink(lock));
    OK(lt_statedir_remove(&dir, uuid, &err));
    assert_false(there(DOMAIN));
}

/* ---- where it is ---- */

static void base_is(const char *uri, const char *wanted)
{
    char *got;
    OK(lt_statedir_base(uri, &got, &err));
    assert_string_equal(got, wanted);
    free(got);
}

static void by_uri(void **state)
{
    char *got;
    (void)state;

    setenv("XDG_CONFIG_HOME", "/x", 1);
    setenv("HOME", "/home/u", 1);
    base_is("qemu:///system", "/var/lib/libvirt/swtpm");
    base_is("qemu+unix:///system?socket=/session", "/var/lib/libvirt/swtpm");
    base_is("qemu:///session", "/x/libvirt/qemu/swtpm");
    base_is("qemu+unix:///session?socket=/r/libvirt-sock", "/x/libvirt/qemu/swtpm");
    base_is("qemu+ssh://host/sessions", "/var/lib/libvirt/swtpm");
    base_is("", geteuid() ? "/x/libvirt/qemu/swtpm" : "/var/lib/libvirt/swtpm");
    unsetenv("XDG_CONFIG_HOME");
    base_is("qemu:///session", "/home/u/.config/libvirt/qemu/swtpm");
    setenv("XDG_CONFIG_HOME", "relative", 1);
    base_is("qemu:///session", "/home/u/.config/libvirt/qemu/swtpm");
    unsetenv("HOME");
    FAILS(LT_E_CONFIG, lt_statedir_base("qemu:///session", &got, &err));
    base_is("qemu:///system", "/var/lib/libvirt/swtpm");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make, sweep)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(as_libvirt_leaves_it),
        CASE(what_swtpm_would_load),
        CASE(links_are_not_followed),
        CASE(others_could_write),
        CASE(no_file),
        CASE(installed_as_libvirt_would),
        CASE(base_is_made),
        CASE(occupied),
        CASE(killed_before),
        CASE(our_name_is_a_link),
        CASE(of_another_user),
        CASE(taken_away),
        CASE(not_only_swtpm_s),
        CASE(by_uri),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
