/* sock_diag's answer, and this process' own sockets as the kernel tells them. */
#include "common/run/clock.h"
#include "tests/support/unit.h"

#include "vtpm/pair.h"
#include "vtpm/procs.h"
#include "vtpm/sockdiag.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void raw16(struct lt_buf *b, uint16_t v)
{
    lt_buf_put(b, &v, sizeof v);
}

static void raw32(struct lt_buf *b, uint32_t v)
{
    lt_buf_put(b, &v, sizeof v);
}

static void header(struct lt_buf *b, uint32_t length, uint16_t type, uint16_t flags)
{
    raw32(b, length);
    raw16(b, type);
    raw16(b, flags);
    raw32(b, 1);
    raw32(b, 0);
}

/* One socket: inode 77, peer 78, name "/run/x" (6 bytes: padded to 8), then NLMSG_DONE. */
static void answer(struct lt_buf *b)
{
    header(b, 16 + 16 + 8 + 12, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI);
    lt_buf_put(b, (const uint8_t[]){AF_UNIX, SOCK_STREAM, 1, 0}, 4);
    raw32(b, 77);
    raw32(b, 0);
    raw32(b, 0);
    raw16(b, 8);
    raw16(b, UNIX_DIAG_PEER);
    raw32(b, 78);
    raw16(b, 10);
    raw16(b, UNIX_DIAG_NAME);
    lt_buf_put(b, "/run/x\0\0", 8);
    header(b, 20, NLMSG_DONE, NLM_F_MULTI);
    raw32(b, 0);
}

static int parse(const uint8_t *p, size_t n, void *state)
{
    struct lt_sockdiag_sockets s = {0};
    bool done;
    int rc = lt_sockdiag_sockets_parse(p, n, &s, &done, &err);

    (void)state;
    lt_sockdiag_sockets_free(&s);
    return rc ? rc : done ? 0 : 1;
}

static void test_parse(void **state)
{
    (void)state;
    LT_AUTOBUF struct lt_buf b = LT_BUF(256);
    struct lt_sockdiag_sockets s = {0};
    bool done;

    answer(&b);
    OK(lt_sockdiag_sockets_parse(b.p, b.n, &s, &done, &err));
    assert_true(done);
    assert_int_equal(s.count, 1);
    const struct lt_sockdiag_socket *one = lt_sockdiag_sockets_find(&s, 77);
    assert_non_null(one);
    assert_int_equal(one->peer, 78);
    assert_string_equal(one->name, "/run/x");
    assert_null(lt_sockdiag_sockets_find(&s, 78));
    lt_sockdiag_sockets_free(&s);
}

static void test_every_prefix_and_bit(void **state)
{
    (void)state;
    LT_AUTOBUF struct lt_buf b = LT_BUF(256);

    answer(&b);
    for (size_t k = 0; k < b.n; k++) {
        uint8_t *copy = malloc(k ? k : 1);
        memcpy(copy, b.p, k);
        assert_int_not_equal(parse(copy, k, NULL), 0);
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * b.n; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        (void)!parse(b.p, b.n, NULL); /* a sanitizer watches */
        b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_faults(void **state)
{
    (void)state;
    struct lt_sockdiag_sockets s = {0};
    bool done;
    LT_AUTOBUF struct lt_buf refused = LT_BUF(64), torn = LT_BUF(64);

    header(&refused, 20, NLMSG_ERROR, 0);
    raw32(&refused, (uint32_t)-13);
    FAILS(LT_E_IO, lt_sockdiag_sockets_parse(refused.p, refused.n, &s, &done, &err));
    header(&torn, 20, NLMSG_DONE, NLM_F_DUMP_INTR);
    raw32(&torn, 0);
    FAILS(LT_E_BUSY, lt_sockdiag_sockets_parse(torn.p, torn.n, &s, &done, &err));
    lt_sockdiag_sockets_free(&s);
}

static uint32_t inode_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (uint32_t)st.st_ino;
}

static void test_kernel_s_word(void **state)
{
    (void)state;
    struct lt_sockdiag_sockets s;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(lt_sockdiag_sockets_read(&s, &err));
    const struct lt_sockdiag_socket *one = lt_sockdiag_sockets_find(&s, inode_of(ends[0]));
    assert_non_null(one);
    assert_int_equal(one->peer, inode_of(ends[1]));
    assert_string_equal(one->name, "");
    for (size_t i = 1; i < s.count; i++)
        assert_true(s.list[i - 1].inode <= s.list[i].inode);
    lt_sockdiag_sockets_free(&s);
    close(ends[0]);
    close(ends[1]);
}

static void test_own_process(void **state)
{
    (void)state;
    struct lt_proc p;
    struct lt_procs_words w;
    uint32_t *sockets;
    size_t n;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(lt_proc_open(getpid(), &p, &err));
    assert_true(lt_proc_alive(&p));
    OK(lt_proc_sockets(&p, &sockets, &n, &err));
    unsigned found = 0;
    for (size_t i = 0; i < n; i++)
        found += sockets[i] == inode_of(ends[0]) || sockets[i] == inode_of(ends[1]);
    assert_int_equal(found, 2);
    OK(lt_proc_words(&p, &w, &err));
    assert_non_null(strstr(lt_procs_words_next(&w, NULL), "test_vtpm_sockets"));
    int64_t age = (int64_t)lt_clock_ms() / 1000 - lt_proc_start_ns(&p) / 1000000000;
    assert_in_range(age + 2, 0, 300);
    int fd = lt_proc_open_file(&p, "/proc/self/../../etc/passwd", O_RDONLY, &err);
    assert_true(fd >= 0);
    close(fd);
    lt_procs_words_free(&w);
    free(sockets);
    lt_proc_close(&p);
    close(ends[0]);
    close(ends[1]);
}

/* A dead process' descriptors never become another's. */
static void test_dead_process(void **state)
{
    (void)state;
    struct lt_proc p;
    uint32_t *sockets;
    size_t n;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (!pid) {
        char c;
        close(ends[1]);
        (void)!read(ends[0], &c, 1);
        _exit(0);
    }
    OK(lt_proc_open(pid, &p, &err));
    close(ends[0]);
    close(ends[1]);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(lt_proc_alive(&p)); /* a zombie is not alive */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(lt_proc_alive(&p));
    FAILS(LT_E_NOT_FOUND, lt_proc_sockets(&p, &sockets, &n, &err));
    lt_proc_close(&p);
    FAILS(LT_E_NOT_FOUND, lt_proc_open(pid, &p, &err));
}

/* This process plays swtpm, a child of it QEMU. */
struct play {
    struct lt_pair pair;
    char dir[32];
    int listener, control, data, hold;
    pid_t qemu;
};

static void play_begin(struct play *p)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int ends[2], hold[2];

    strcpy(p->dir, P_tmpdir "/lt-pair-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(a.sun_path, sizeof a.sun_path, "%s/ctrl", p->dir);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(p->listener, 1), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    p->qemu = fork();
    if (!p->qemu) {
        char c;
        close(ends[1]);
        close(hold[1]);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a))
            _exit(1);
        (void)!read(hold[0], &c, 1); /* until the test lets go, or dies */
        _exit(0);
    }
    p->control = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(p->control >= 0);
    p->data = ends[1];
    p->hold = hold[1];
    close(ends[0]);
    close(hold[0]);
    OK(lt_proc_open(p->qemu, &p->pair.qemu, &err));
    OK(lt_proc_open(getpid(), &p->pair.swtpm, &err));
    snprintf(p->pair.control, sizeof p->pair.control, "%s/ctrl", p->dir);
}

static int confirm(const struct play *p)
{
    struct lt_sockdiag_sockets s;

    OK(lt_sockdiag_sockets_read(&s, &err));
    err = (struct lt_err){0};
    int rc = lt_pair_confirm(&p->pair, &s, &err);
    lt_sockdiag_sockets_free(&s);
    return rc;
}

static void test_pair(void **state)
{
    (void)state;
    struct play p;
    int stray[2];

    play_begin(&p);
    OK(confirm(&p));
    /* A connection that ends elsewhere than in QEMU. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stray), 0);
    FAILS(LT_E_REFUSED, confirm(&p));
    assert_non_null(strstr(err.msg, "ends elsewhere"));
    close(stray[0]);
    close(stray[1]);
    OK(confirm(&p));
    /* One that is none of the machine's unix sockets. */
    stray[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FAILS(LT_E_REFUSED, confirm(&p));
    assert_non_null(strstr(err.msg, "no unix socket"));
    close(stray[0]);
    /* A named connection to QEMU by another name than the control socket's. */
    p.pair.control[0] = '!';
    FAILS(LT_E_REFUSED, confirm(&p));
    assert_non_null(strstr(err.msg, "neither control nor data"));
    p.pair.control[0] = '/';
    OK(confirm(&p));
    /* Another process than the one both ends are in. */
    struct lt_proc qemu = p.pair.qemu;
    p.pair.qemu = p.pair.swtpm;
    FAILS(LT_E_REFUSED, confirm(&p));
    p.pair.qemu = qemu;
    /* The data channel is gone, the control connection stays. */
    int kept = dup(p.data);
    assert_true(kept >= 0);
    FAILS(LT_E_REFUSED, confirm(&p)); /* two */
    close(kept);
    close(p.data);
    FAILS(LT_E_REFUSED, confirm(&p)); /* none */
    assert_non_null(strstr(err.msg, "1 control and 0 data"));
    close(p.hold); /* QEMU ends */
    assert_int_equal(waitpid(p.qemu, NULL, 0), p.qemu);
    FAILS(LT_E_REFUSED, confirm(&p));
    assert_non_null(strstr(err.msg, "QEMU"));
    lt_pair_close(&p.pair);
    close(p.control);
    close(p.listener);
    char path[64];
    snprintf(path, sizeof path, "%s/ctrl", p.dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(p.dir), 0);
}

static int count(void *ctx, struct lt_proc *p, const struct lt_procs_words *w, struct lt_err *e)
{
    (void)p, (void)w, (void)e;
    ++*(unsigned *)ctx;
    return 0;
}

/* A process with QEMU's words, but of another user than QEMU's, is nobody. */
static void test_impostor(void **state)
{
    (void)state;
    char uuid[32], ready;
    unsigned mine = 0, others = 0, any = 0;
    int in[2], out[2];

    snprintf(uuid, sizeof uuid, "test-%d", (int)getpid());
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl("/bin/sh", "sh", "-c", "echo; read x", "qemu", "-uuid", uuid, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(read(out[0], &ready, 1), 1);
    OK(lt_proc_each(geteuid(), "-uuid", uuid, count, &mine, &err));
    OK(lt_proc_each(geteuid() + 1, "-uuid", uuid, count, &others, &err));
    OK(lt_proc_each(LT_PROCS_ANY_UID, "-uuid", uuid, count, &any, &err));
    close(in[1]);
    close(out[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(mine, 1);
    assert_int_equal(others, 0);
    assert_int_equal(any, 1);
}

static void test_words_and_options(void **state)
{
    (void)state;
    char line[] = "swtpm\0socket\0--ctrl\0type=unixio,path=/run/a,mode=0600\0-L\0one\0-L\0two\0--last";
    const struct lt_procs_words w = {line, sizeof line};
    const struct lt_procs_words none = {line, 0};
    char value[16];

    assert_string_equal(lt_procs_words_option(&w, "-L"), "two");
    assert_null(lt_procs_words_option(&w, "--last"));
    assert_null(lt_procs_words_option(&w, "--absent"));
    assert_null(lt_procs_words_next(&none, NULL));
    const char *ctrl = lt_procs_words_option(&w, "--ctrl");
    assert_true(lt_procs_option_value(ctrl, "path", value, sizeof value));
    assert_string_equal(value, "/run/a");
    assert_true(lt_procs_option_value(ctrl, "mode", value, sizeof value));
    assert_false(lt_procs_option_value(ctrl, "pat", value, sizeof value));
    assert_false(lt_procs_option_value(ctrl, "path", value, 6)); /* does not fit */
    assert_false(lt_procs_option_value("xpath=/a", "path", value, sizeof value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_every_prefix_and_bit),
        cmocka_unit_test(test_faults),      cmocka_unit_test(test_kernel_s_word),
        cmocka_unit_test(test_own_process), cmocka_unit_test(test_dead_process),
        cmocka_unit_test(test_pair),        cmocka_unit_test(test_words_and_options),
        cmocka_unit_test(test_impostor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
