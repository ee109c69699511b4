/* Keys that libvirtd has: lent, taken back, and taken back again where libvirtd was away. */
#include "agent/lent.h"
#include "common/run/clock.h"
#include "tests/support/unit.h"
#include "vtpm/secrets.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* ---- libvirtd's secrets, which can be away ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool away, fail_put, slow;
    unsigned sweeps, puts, drops, tries;
    uint8_t has[8][LT_UUID];
    unsigned count;
} virt = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int lt_secrets_start(const char *uri, struct lt_secrets **out, struct lt_err *e)
{
    (void)e;
    assert_string_equal(uri, "test");
    *out = (struct lt_secrets *)&virt;
    return 0;
}

void lt_secrets_stop(struct lt_secrets *s)
{
    (void)s;
}

static int answer(struct lt_err *e)
{
    virt.tries++;
    pthread_cond_broadcast(&virt.changed);
    return virt.away ? lt_fail(e, LT_E_UNREACHABLE, "libvirtd is away") : 0;
}

/* Time for another start to lend the key meanwhile, if it may. */
static void answer_comes_late(unsigned puts)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (virt.puts < puts && !pthread_cond_timedwait(&virt.changed, &virt.lock, &until))
        ;
}

int lt_secrets_sweep(struct lt_secrets *s, struct lt_err *e)
{
    (void)s;
    pthread_mutex_lock(&virt.lock);
    int rc = answer(e);
    if (!rc) {
        virt.sweeps++;
        virt.count = 0;
    }
    pthread_mutex_unlock(&virt.lock);
    return rc;
}

int lt_secrets_put(struct lt_secrets *s, const uint8_t domain[LT_UUID], const char key[LT_SEAL_KEY],
                   struct lt_err *e)
{
    (void)s, (void)key;
    pthread_mutex_lock(&virt.lock);
    int rc = answer(e);
    if (!rc) {
        virt.puts++;
        pthread_cond_broadcast(&virt.changed);
        memcpy(virt.has[virt.count++], domain, LT_UUID);
        if (virt.fail_put) /* it came through, and the answer was lost */
            rc = lt_fail(e, LT_E_TIMEOUT, "no answer");
    }
    pthread_mutex_unlock(&virt.lock);
    return rc;
}

int lt_secrets_drop(struct lt_secrets *s, const uint8_t domain[LT_UUID], struct lt_err *e)
{
    (void)s;
    pthread_mutex_lock(&virt.lock);
    int rc = answer(e);
    if (!rc) {
        virt.drops++;
        for (unsigned i = 0; i < virt.count; i++)
            if (!memcmp(virt.has[i], domain, LT_UUID))
                memcpy(virt.has[i], virt.has[--virt.count], LT_UUID);
        pthread_cond_broadcast(&virt.changed);
        if (virt.slow)
            answer_comes_late(virt.puts + 1);
    }
    pthread_mutex_unlock(&virt.lock);
    return rc;
}

static void away(bool is)
{
    pthread_mutex_lock(&virt.lock);
    virt.away = is;
    pthread_mutex_unlock(&virt.lock);
}

/* Under the lock: something changed, or the test has failed. */
static void wait_change(const struct timespec *until)
{
    if (!pthread_cond_timedwait(&virt.changed, &virt.lock, until))
        return;
    pthread_mutex_unlock(&virt.lock); /* the next test wants it */
    fail_msg("nothing came");
}

static struct timespec soon(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 15;
    return t;
}

static void wait_tries(unsigned n)
{
    struct timespec until = soon();

    pthread_mutex_lock(&virt.lock);
    while (virt.tries < n)
        wait_change(&until);
    pthread_mutex_unlock(&virt.lock);
}

static void wait_none_left(void)
{
    struct timespec until = soon();

    pthread_mutex_lock(&virt.lock);
    while (virt.count)
        wait_change(&until);
    pthread_mutex_unlock(&virt.lock);
}

static const uint8_t a[LT_UUID] = {1}, b[LT_UUID] = {2};
static const char key[LT_SEAL_KEY] = "a key";

static int setup(void **state)
{
    virt.away = virt.fail_put = virt.slow = false;
    virt.sweeps = virt.puts = virt.drops = virt.tries = virt.count = 0;
    *state = NULL;
    return 0;
}

/* The sweep runs behind the caller's back; until then nothing is lent. */
static void give(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    int rc;

    do
        rc = lt_lent_give(l, uuid, key, &err);
    while (rc == LT_E_BUSY && !usleep(1000));
    OK(rc);
}

static void what_is_lent_is_taken_back(void **state)
{
    struct lt_lent *l;

    (void)state;
    OK(lt_lent_start("test", &l, &err));
    give(l, a);
    give(l, b);
    assert_int_equal(virt.count, 2);
    lt_lent_take(l, a);
    assert_int_equal(virt.count, 1);
    lt_lent_take(l, a); /* nothing is asked of libvirtd for that */
    assert_int_equal(virt.drops, 1);
    lt_lent_stop(l);
    assert_int_equal(virt.count, 0);
}

static void nothing_is_lent_before_the_sweep(void **state)
{
    struct lt_lent *l;

    (void)state;
    memcpy(virt.has[0], b, LT_UUID); /* an agent that died had lent it */
    virt.count = 1;
    away(true);
    OK(lt_lent_start("test", &l, &err));
    wait_tries(1);
    FAILS(LT_E_BUSY, lt_lent_give(l, a, key, &err));
    assert_int_equal(virt.puts, 0);
    away(false);
    wait_none_left();
    give(l, a);
    lt_lent_stop(l);
    assert_int_equal(virt.count, 0);
    assert_int_equal(virt.sweeps, 1);
}

static void a_put_without_an_answer_is_taken_back(void **state)
{
    struct lt_lent *l;

    (void)state;
    OK(lt_lent_start("test", &l, &err));
    give(l, a);
    lt_lent_take(l, a);
    virt.fail_put = true;
    FAILS(LT_E_TIMEOUT, lt_lent_give(l, b, key, &err));
    assert_int_equal(virt.count, 0);
    lt_lent_stop(l);
}

static void libvirtd_that_is_away_is_asked_again(void **state)
{
    struct lt_lent *l;

    (void)state;
    OK(lt_lent_start("test", &l, &err));
    give(l, a);
    away(true);
    lt_lent_take(l, a);
    assert_int_equal(virt.count, 1);
    away(false);
    wait_none_left(); /* nobody had to ask */
    lt_lent_stop(l);
}

static void *take_a(void *l)
{
    lt_lent_take(l, a);
    return NULL;
}

/* A late word of the start before, while the next one is lent the key: it is not forgotten that it is. */
static void lent_again_while_it_is_taken_back(void **state)
{
    struct lt_lent *l;
    pthread_t other;

    (void)state;
    OK(lt_lent_start("test", &l, &err));
    give(l, a);
    virt.slow = true;
    assert_int_equal(pthread_create(&other, NULL, take_a, l), 0);
    pthread_mutex_lock(&virt.lock);
    for (struct timespec until = soon(); !virt.drops;)
        wait_change(&until);
    pthread_mutex_unlock(&virt.lock);
    give(l, a);
    pthread_join(other, NULL);
    assert_int_equal(virt.count, 1);
    lt_lent_take(l, a);
    assert_int_equal(virt.count, 0);
    lt_lent_stop(l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        T(what_is_lent_is_taken_back),
        T(nothing_is_lent_before_the_sweep),
        T(a_put_without_an_answer_is_taken_back),
        T(libvirtd_that_is_away_is_asked_again),
        T(lent_again_while_it_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
