/* A tenant on a small file system that is full: rounds go on, the newest verdict is what is told, what is
 * wrong is said, and it ends by itself. Real daemon, real TLS, a tmpfs in a mount namespace of our own. */
#include "common/run/clock.h"
#include "tests/support/mounts.h"
#include "tests/support/tenant_rig.h"

#include <sys/stat.h>

#define PERIOD_MS 1000
#define WAIT_MS 60000

static bool mounts;

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static int setup(void **state)
{
    (void)state;
    mounts = mounts_of_our_own();
    return 0;
}

/* Writes until nothing more goes in, and again, as whoever fills a disk does: a reserve that is given back is
 * not left to the verdicts alone. */
struct filler {
    char path[128];
    pthread_t thread;
    atomic_bool stop;
    atomic_uint filled; /* times that it was full */
};

static void *fill(void *arg)
{
    struct filler *f = arg;
    static const char block[65536];
    int fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    while (!f->stop) {
        for (size_t n = sizeof block; n; n /= 2)
            while (!f->stop && write(fd, block, n) == (ssize_t)n)
                ;
        f->filled++;
        usleep(2000);
    }
    close(fd);
    return NULL;
}

static void filler_start(struct filler *f, const struct rig *r)
{
    memset(f, 0, sizeof *f);
    snprintf(f->path, sizeof f->path, "%s/filler", r->state);
    assert_int_equal(pthread_create(&f->thread, NULL, fill, f), 0);
    while (!f->filled)
        usleep(1000);
}

static void filler_stop(struct filler *f)
{
    f->stop = true;
    pthread_join(f->thread, NULL);
    assert_int_equal(unlink(f->path), 0);
}

static json_t *store(struct rig *r, json_t **status)
{
    *status = rig_call(r, "GET", "status", NULL, 200);
    return json_object_get(*status, "store");
}

static void wait_store(struct rig *r, const char *want)
{
    for (uint64_t until = lt_clock_ms() + WAIT_MS;;) {
        LT_JSON_AUTO json_t *status = NULL;
        const json_t *s = store(r, &status);
        bool done = !json_integer_value(json_object_get(s, "unwritten")) || strcmp(want, "ok");
        if (!strcmp(text(s, "state"), want) && done)
            return;
        if (lt_clock_ms() > until)
            fail_msg("the store is never %s: %s", want, json_dumps(s, 0));
        usleep(20000);
    }
}

/* What a guest is told to be, on the way to `result`. With a store that takes nothing no trusted verdict is
 * older than a period. */
static void watch(struct rig *r, const struct rig_guest *g, const char *result)
{
    for (uint64_t until = lt_clock_ms() + WAIT_MS;;) {
        LT_JSON_AUTO json_t *before = NULL, *after = NULL;
        bool fault = !strcmp(text(store(r, &before), "state"), "fault");
        LT_JSON_AUTO json_t *guest = rig_show(r, g);
        fault &= !strcmp(text(store(r, &after), "state"), "fault");
        const json_t *v = json_object_get(guest, "verdict");
        const char *is = json_is_object(v) ? text(v, "result") : ""; /* just cleared: none */
        json_int_t age = json_integer_value(json_object_get(json_object_get(v, "times"), "age_ms"));
        if (fault && !strcmp(is, "trusted") && age > PERIOD_MS)
            fail_msg("trusted, %lld ms old", (long long)age);
        if (!strcmp(is, result))
            return;
        if (lt_clock_ms() > until)
            fail_msg("never %s: %s", result, json_dumps(v, 0));
        usleep(20000);
    }
}

static void move_host(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    r->host.pcrs.value[4][0] ^= 1;
    pthread_mutex_unlock(&r->lock);
}

static void clear(struct rig *r, const struct rig_guest *g)
{
    char path[96];
    snprintf(path, sizeof path, "guests/%s/clear", g->text);
    rig_drop(rig_call(r, "POST", path, json_object(), 200));
}

static void start_small(struct rig *r, const char *size)
{
    rig_make(r);
    r->conf.period_s = PERIOD_MS / 1000;
    assert_int_equal(mkdir(r->state, 0700), 0);
    assert_int_equal(mount("tmpfs", r->state, "tmpfs", 0, size), 0);
    rig_start(r);
}

static void end_small(struct rig *r)
{
    rig_stop(r);
    assert_int_equal(umount2(r->state, MNT_DETACH), 0);
    rig_free(r);
}

#define NEEDS_MOUNTS                                                                                         \
    do {                                                                                                     \
        if (!mounts) {                                                                                       \
            print_message(                                                                                   \
                "skipped: no mount namespace of its own to be had: neither root nor user namespaces\n");     \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

static void test_filled_and_the_host_off_policy(void **state)
{
    struct rig r;
    struct filler f;
    (void)state;
    NEEDS_MOUNTS;
    start_small(&r, "size=24m,mode=0700");
    struct rig_guest *g = &r.guest[0], *other = &r.guest[1];
    rig_adopt(&r, g);
    rig_adopt(&r, other);
    wait_store(&r, "ok");

    filler_start(&f, &r);
    wait_store(&r, "fault"); /* the reserve went to the filler, too */
    LT_JSON_AUTO json_t *status = NULL;
    const json_t *s = store(&r, &status);
    assert_non_null(strstr(text(s, "message"), "tenant.db"));
    assert_non_null(text(s, "since"));
    unsigned asked = other->asked;
    rig_wait_asked(other, asked + 3); /* rounds go on, and what they say is told */
    watch(&r, other, "trusted");
    move_host(&r);
    watch(&r, g, "failed");
    watch(&r, other, "failed");
    LT_JSON_AUTO json_t *still = NULL;
    s = store(&r, &still);
    assert_string_equal(text(s, "state"), "fault");
    assert_int_equal(json_integer_value(json_object_get(s, "unwritten")), 2);
    move_host(&r); /* good again: failed stays failed, written or not */
    rig_ask(&r, g);
    watch(&r, g, "failed");

    filler_stop(&f);
    wait_store(&r, "ok");
    watch(&r, g, "failed");
    rig_stop(&r); /* it was written meanwhile: a new start knows it */
    rig_start(&r);
    watch(&r, g, "failed");
    clear(&r, g);
    clear(&r, other);
    watch(&r, g, "trusted");
    watch(&r, other, "trusted");
    end_small(&r);
}

/* Without anybody who takes it, the reserve carries the verdicts; bundles and documents wait. */
static void test_the_reserve_carries(void **state)
{
    struct rig r;
    struct filler f;
    (void)state;
    NEEDS_MOUNTS;
    start_small(&r, "size=64m,mode=0700");
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    filler_start(&f, &r);
    f.stop = true;
    pthread_join(f.thread, NULL);
    wait_store(&r, "low");
    rig_drop(rig_call(&r, "POST", "policies", json_pack("{s:s}", "no", "document"), 503));
    move_host(&r);
    watch(&r, g, "failed");
    LT_JSON_AUTO json_t *status = NULL;
    const json_t *s = store(&r, &status);
    assert_string_equal(text(s, "state"), "low");
    assert_int_equal(json_integer_value(json_object_get(s, "unwritten")), 0);
    assert_non_null(text(s, "message"));
    rig_stop(&r);
    rig_start(&r); /* starts on the full disk, and knows */
    watch(&r, g, "failed");
    clear(&r, g);
    move_host(&r);
    watch(&r, g, "trusted");
    assert_int_equal(unlink(f.path), 0);
    wait_store(&r, "ok");
    end_small(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filled_and_the_host_off_policy),
        cmocka_unit_test(test_the_reserve_carries),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
