/* What becomes of a payload whose fault it is not: a directory that takes no more. The rest needs a whole
 * agent: tests/integration/test_agent_payload.py. */
#include "agent/bootstrap.h"
#include "agent/secure.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define ID "vm-1"

static char top[] = "/dev/shm/lt-bootstrap-XXXXXX";
static char *dir;
static int fd;

static struct lt_agent_bootstrap *begin(const char *where)
{
    const struct lt_agent_bootstrap_conf c = {.dir = where, .fd = fd, .id = ID, .payload_timeout_s = 10};
    struct lt_agent_bootstrap *b;

    OK(lt_agent_bootstrap_start(&c, &b, &err));
    return b;
}

static void wait_state(struct lt_agent_bootstrap *b, const char *want)
{
    uint64_t deadline = lt_clock_ms() + 60000;

    for (;;) {
        json_t *j = lt_agent_bootstrap_state(b);
        const char *is = json_string_value(json_object_get(j, "state"));
        bool done = is && !strcmp(is, want);
        if (!done && lt_clock_ms() > deadline)
            fail_msg("%s: %s", want, lt_json_dump(j));
        json_decref(j);
        if (done)
            return;
        usleep(2000);
    }
}

/* One payload key and what it opens, wrapped for b. */
struct sent {
    struct lt_share k, u, v;
    uint8_t tag[LT_SHARE_TAG], wrapped_u[LT_SHARE_WRAPPED], wrapped_v[LT_SHARE_WRAPPED], *sealed;
    size_t u_n, v_n, sealed_n;
};

static struct sent make(const struct lt_agent_bootstrap *b, size_t plain_n)
{
    LT_AUTOFREE uint8_t *plain = calloc(1, plain_n);
    struct sent s = {0};

    lt_share_draw(&s.k, &s.u, &s.v);
    lt_share_tag(&s.k, ID, s.tag);
    OK(lt_share_wrap(&s.u, lt_agent_bootstrap_pubkey(b), s.wrapped_u, &s.u_n, &err));
    OK(lt_share_wrap(&s.v, lt_agent_bootstrap_pubkey(b), s.wrapped_v, &s.v_n, &err));
    OK(lt_share_seal(&s.k, (struct lt_slice){plain, plain_n}, &s.sealed, &s.sealed_n, &err));
    return s;
}

static int take_u(struct lt_agent_bootstrap *b, const struct sent *s)
{
    return lt_agent_bootstrap_take_u(b, (struct lt_slice){s->wrapped_u, s->u_n}, s->tag,
                                     (struct lt_slice){s->sealed, s->sealed_n}, &err);
}

static int take_v(struct lt_agent_bootstrap *b, const struct sent *s)
{
    return lt_agent_bootstrap_take_v(b, (struct lt_slice){s->wrapped_v, s->v_n}, &err);
}

static void files_up_to(rlim_t bytes)
{
    struct rlimit r;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static void no_room_for_it_is_not_its_fault(void **state)
{
    (void)state;
    struct lt_agent_bootstrap *b = begin(dir);
    struct sent s = make(b, 5000);
    uint8_t hmac[LT_SHARE_TAG], want[LT_SHARE_TAG];

    OK(take_u(b, &s));
    files_up_to(1000); /* enough for a share, too little for the payload */
    OK(take_v(b, &s));
    wait_state(b, "failed");
    assert_false(lt_agent_bootstrap_working(b));
    assert_true(lt_agent_bootstrap_verify(b, "abc", hmac)); /* K is known all the same */
    lt_share_tag(&s.k, "abc", want);
    assert_memory_equal(hmac, want, sizeof want);
    assert_int_equal(faccessat(fd, "unzipped", F_OK, 0), -1);
    assert_int_equal(faccessat(fd, "unzipped.new", F_OK, 0), -1);
    lt_agent_bootstrap_stop(b);
    files_up_to(RLIM_INFINITY);
    b = begin(dir); /* the halves are there still */
    wait_state(b, "unpacked");
    assert_int_equal(faccessat(fd, "unzipped/decrypted_payload", F_OK, 0), 0);
    lt_agent_bootstrap_stop(b);
    free(s.sealed);
}

static void no_room_for_a_share_is_said(void **state)
{
    (void)state;
    struct lt_agent_bootstrap *b = begin(dir);
    struct sent s = make(b, 5000);

    files_up_to(1000);
    FAILS(LT_E_IO, take_u(b, &s));
    files_up_to(RLIM_INFINITY);
    OK(take_v(b, &s));
    assert_false(lt_agent_bootstrap_working(b));
    OK(take_u(b, &s)); /* sent again */
    wait_state(b, "unpacked");
    lt_agent_bootstrap_stop(b);
    free(s.sealed);
}

static void nothing_is_taken_without_a_directory(void **state)
{
    (void)state;
    struct lt_agent_bootstrap *b = begin(NULL), *other = begin(NULL);
    struct sent s = make(b, 10);
    uint8_t hmac[LT_SHARE_TAG];

    assert_string_not_equal(lt_agent_bootstrap_pubkey(b), lt_agent_bootstrap_pubkey(other));
    FAILS(LT_E_UNSUPPORTED, take_u(b, &s));
    FAILS(LT_E_UNSUPPORTED, take_v(b, &s));
    assert_false(lt_agent_bootstrap_verify(b, "abc", hmac));
    wait_state(b, "none");
    lt_agent_bootstrap_stop(b);
    lt_agent_bootstrap_stop(other);
    lt_agent_bootstrap_stop(NULL);
    free(s.sealed);
}

static void a_state_that_cannot_be_read_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "[", "[]", "1", "{\"state\":1}", "{\"state\":\"x\",\"autorun\":{}}"};
    LT_AUTOFREE char *path = lt_file_path(dir, "state.json"), *k = lt_file_path(dir, "k");
    uint8_t hmac[LT_SHARE_TAG];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        OK(lt_file_replace(path, bad[i], strlen(bad[i]), 0600, &err));
        OK(lt_file_replace(k, bad[i], strlen(bad[i]), 0600, &err));
        struct lt_agent_bootstrap *b = begin(dir);
        assert_false(lt_agent_bootstrap_verify(b, "abc", hmac));
        json_decref(lt_agent_bootstrap_state(b));
        lt_agent_bootstrap_stop(b);
    }
}

static int make_top(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    if (!mkdtemp(top))
        return -1;
    dir = lt_file_path(top, "secure");
    return 0;
}

static int remove_top(void **state)
{
    (void)state;
    free(dir);
    return rmdir(top);
}

static int open_dir(void **state)
{
    (void)state;
    return lt_secure_open(dir, &fd, &err);
}

static int remove_dir(void **state)
{
    (void)state;
    close(fd);
    int above = open(top, O_RDONLY | O_DIRECTORY);
    int rc = lt_secure_remove(above, "secure", &err);
    close(above);
    return rc;
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, open_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(no_room_for_it_is_not_its_fault),
        IN_DIR(no_room_for_a_share_is_said),
        IN_DIR(nothing_is_taken_without_a_directory),
        IN_DIR(a_state_that_cannot_be_read_is_none),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
