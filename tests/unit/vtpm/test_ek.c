/* The copy of a vTPM's state under hostile hands: the private swtpm, or whoever else has its user, owns the
 * directory of the copy while the agent, root, works there. */
#include "tests/support/unit.h"

#include "common/file.h"
#include "vtpm/ek.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/limetree-ek-XXXXXX";

static char *at(const char *name)
{
    return lt_file_path(top, name);
}

static void put(const char *name, const char *text, mode_t mode)
{
    LT_AUTOFREE char *path = at(name);
    OK(lt_file_write(path, text, strlen(text), mode, &err));
}

static void make_dir(const char *name)
{
    LT_AUTOFREE char *path = at(name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int make(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(top));
    make_dir("state");
    make_dir("scratch");
    make_dir("victim");
    put("state/tpm2-00.permall", "a state", 0600);
    put("victim/precious", "precious", 0600);
    return 0;
}

static int sweep(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

/* A process that looks like the swtpm of that state: its words, and the lock in its hands. */
static pid_t stand_in(int *hold, struct lt_proc *p)
{
    LT_AUTOFREE char *state = at("state");
    LT_AUTOFREE char *option = NULL;
    int in[2], out[2];
    char ready;

    assert_true(asprintf(&option, "dir=%s", state) > 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl("/bin/sh", "sh", "-c", "exec 8>\"${2#dir=}/.lock\"; echo; read x", "swtpm", "--tpmstate",
              option, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(read(out[0], &ready, 1), 1);
    close(out[0]);
    *hold = in[1];
    OK(lt_proc_open(pid, p, &err));
    return pid;
}

static void let_go(pid_t pid, int hold, struct lt_proc *p)
{
    lt_proc_close(p);
    close(hold);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void read_by(const char *script)
{
    LT_AUTOFREE char *program = at("program"), *scratch = at("scratch");
    const struct lt_ek_conf conf = {.program = program, .scratch = scratch};
    struct lt_ek_found found;
    struct lt_proc p;
    int hold;

    put("program", script, 0700);
    pid_t pid = stand_in(&hold, &p);
    FAILS(LT_E_TPM, lt_ek_read(&conf, &p, &found, &err));
    let_go(pid, hold, &p);
}

static void expect_file(const char *name, const char *text)
{
    LT_AUTOFREE char *path = at(name);
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    OK(lt_file_read(path, 100, &p, &n, &err));
    assert_string_equal((char *)p, text);
}

#define FIND_COPY "#!/bin/sh\nfor w; do case $w in dir=*) d=${w#dir=};; esac; done\ntop=${d%/scratch/*}\n"

static void the_directory_becomes_a_link(void **state)
{
    LT_AUTOFREE char *moved = at("moved"), *left = at("moved/tpm2-00.permall");
    (void)state;

    read_by(FIND_COPY "/bin/mv \"$d\" \"$top/moved\" && /bin/ln -s \"$top/victim\" \"$d\"\n");
    assert_int_equal(access(moved, F_OK), 0); /* it did what it was meant to do */
    expect_file("victim/precious", "precious");
    assert_int_not_equal(access(left, F_OK), 0); /* and the copy is wiped where it went */
}

static void a_file_is_another_s_too(void **state)
{
    (void)state;
    read_by(FIND_COPY "/bin/ln \"$top/victim/precious\" \"$d/volatile\"; "
                      "/bin/ln -s \"$top/victim/precious\" \"$d/link\"\n");
    expect_file("victim/precious", "precious");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_becomes_a_link),
        cmocka_unit_test(a_file_is_another_s_too),
    };
    return cmocka_run_group_tests(tests, make, sweep);
}
