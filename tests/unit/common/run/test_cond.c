/* common/run/cond: deadlines kept through wakeups for nothing, signals in time, deadlines long past and
 * never. */
#include "common/run/clock.h"
#include "common/run/cond.h"

#include "tests/support/unit.h"

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t cond, heard;
    bool ready, stop;
    unsigned woken;
};

static void start(struct shared *s)
{
    *s = (struct shared){.lock = PTHREAD_MUTEX_INITIALIZER};
    lt_cond_init(&s->cond);
    lt_cond_init(&s->heard);
}

static void end(struct shared *s)
{
    pthread_cond_destroy(&s->cond);
    pthread_cond_destroy(&s->heard);
    pthread_mutex_destroy(&s->lock);
}

static void the_deadline_comes(void **state)
{
    struct shared s;

    (void)state;
    start(&s);
    for (uint64_t ms = 0; ms <= 60; ms += 20) {
        uint64_t until = lt_clock_ms() + ms;
        pthread_mutex_lock(&s.lock);
        while (lt_cond_until(&s.cond, &s.lock, until))
            ;
        pthread_mutex_unlock(&s.lock);
        assert_true(lt_clock_ms() >= until);
    }
    end(&s);
}

static void one_long_past_does_not_wait(void **state)
{
    struct shared s;

    (void)state;
    start(&s);
    pthread_mutex_lock(&s.lock);
    assert_false(lt_cond_until(&s.cond, &s.lock, 0));
    assert_false(lt_cond_until(&s.cond, &s.lock, lt_clock_ms()));
    pthread_mutex_unlock(&s.lock);
    end(&s);
}

/* Signals without a reason until it is told to stop: what the waiter must take for a spurious wakeup. */
static void *pester(void *arg)
{
    struct shared *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        pthread_cond_broadcast(&s->cond);
        (void)lt_cond_until(&s->heard, &s->lock, lt_clock_ms() + 1);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void wakeups_for_nothing_end_no_wait_early(void **state)
{
    struct shared s;
    pthread_t thread;

    (void)state;
    start(&s);
    uint64_t until = lt_clock_ms() + 100;
    pthread_mutex_lock(&s.lock);
    assert_int_equal(pthread_create(&thread, NULL, pester, &s), 0);
    while (!s.ready && lt_cond_until(&s.cond, &s.lock, until))
        s.woken++;
    assert_true(lt_clock_ms() >= until);
    assert_true(s.woken > 0);
    s.stop = true;
    pthread_cond_signal(&s.heard);
    pthread_mutex_unlock(&s.lock);
    pthread_join(thread, NULL);
    end(&s);
}

static void *make_ready(void *arg)
{
    struct shared *s = arg;

    pthread_mutex_lock(&s->lock);
    s->ready = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void a_signal_ends_the_wait(void **state)
{
    const uint64_t until[] = {LT_COND_EVER, LT_COND_EVER - 1, lt_clock_ms() + 60000};
    struct shared s;
    pthread_t thread;

    (void)state;
    for (size_t i = 0; i < sizeof until / sizeof *until; i++) {
        start(&s);
        pthread_mutex_lock(&s.lock);
        assert_int_equal(pthread_create(&thread, NULL, make_ready, &s), 0);
        while (!s.ready)
            assert_true(lt_cond_until(&s.cond, &s.lock, until[i]));
        pthread_mutex_unlock(&s.lock);
        pthread_join(thread, NULL);
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_deadline_comes),
        cmocka_unit_test(one_long_past_does_not_wait),
        cmocka_unit_test(wakeups_for_nothing_end_no_wait_early),
        cmocka_unit_test(a_signal_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
