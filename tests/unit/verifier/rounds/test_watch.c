/* Who is due, by a watch of toys: who flies with whom, who waits for whom, who goes. The pool is a list that
 * the test works off itself; it looks after the thread has. */
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "tests/support/unit.h"
#include "verifier/rounds/watch.h"

#define TOYS 6

struct toy {
    struct lt_watch_entry entry;
    int departed, stale;
};

static struct lt_watch watch;
static pthread_cond_t looked;
static unsigned looks;
static int freed;
static struct lt_flight *posted[TOYS];
static size_t waiting;
static uint64_t due_again;

static struct toy *toy_of(struct lt_watch_entry *entry)
{
    return (struct toy *)entry;
}

/* ---- the table: one stage, which says nothing, and the last ---- */

static enum lt_flight_next pass(struct lt_flight *f, struct lt_err *e)
{
    (void)f;
    (void)e;
    return LT_FLIGHT_NEXT;
}

/* Called on the watch's thread only, without the lock: taken here, so that the test may look. */
static bool post(struct lt_flight *f, enum lt_flight_where where)
{
    (void)where;
    lt_watch_lock(&watch);
    posted[waiting++] = f;
    pthread_cond_broadcast(&looked);
    lt_watch_unlock(&watch);
    return true;
}

static void failed(struct lt_flight *f, const struct lt_err *e)
{
    (void)f;
    fail_msg("%s", e->msg);
}

static void ended(struct lt_flight *f)
{
    lt_watch_landed(&watch, f, due_again);
    free(f);
}

static const struct lt_flight_stage stages[] = {
    {"last", LT_FLIGHT_ON_POOL, LT_FLIGHT_MAY(NEXT), pass, NULL, ""},
};
static const struct lt_flight_table table = {stages, 1, post, failed, ended};

/* ---- what the watch calls ---- */

static struct lt_watch_entry *make(void *app)
{
    struct toy *t = calloc(1, sizeof *t);

    (void)app;
    assert_non_null(t);
    return &t->entry;
}

static void toy_free(void *app, struct lt_watch_entry *entry)
{
    (void)app;
    freed++;
    free(toy_of(entry));
}

static struct lt_flight *depart(void *app, struct lt_watch_entry *entry)
{
    struct lt_flight *f = calloc(1, sizeof *f);

    (void)app;
    assert_non_null(f);
    assert_false(entry->flying); /* never two at once */
    toy_of(entry)->departed++;
    return f;
}

static void stale(void *app, struct lt_watch_entry *entry)
{
    (void)app;
    toy_of(entry)->stale++;
}

static void look(void *app, uint64_t now_ms, uint64_t *next_ms)
{
    (void)app;
    (void)now_ms;
    (void)next_ms;
    looks++;
    pthread_cond_broadcast(&looked);
}

/* ---- the test's side ---- */

static const uint8_t *id(int i)
{
    static uint8_t ids[TOYS][LT_WATCH_ID];

    ids[i][0] = (uint8_t)(i + 1);
    return ids[i];
}

static int set_up(void **state)
{
    const struct lt_watch_conf conf = {.table = &table,
                                       .period_ms = 60000,
                                       .gather_ms = 1000,
                                       .bulky_at_once = 2,
                                       .make = make,
                                       .free = toy_free,
                                       .depart = depart,
                                       .stale = stale,
                                       .look = look};

    (void)state;
    lt_watch_init(&watch, &conf);
    lt_cond_init(&looked);
    looks = 0;
    freed = 0;
    waiting = 0;
    due_again = LT_COND_EVER;
    return 0;
}

/* The thread has looked, and whoever was due has departed. */
static void settle(void)
{
    lt_watch_lock(&watch);
    for (int i = 0; i < 2; i++) { /* the second look finds nobody, after the first has sent them all */
        unsigned n = looks;
        lt_watch_wake(&watch);
        while (looks == n)
            pthread_cond_wait(&looked, &watch.control.lock);
    }
    while (waiting < watch.control.flying)
        pthread_cond_wait(&looked, &watch.control.lock);
    lt_watch_unlock(&watch);
}

static void begin(int n)
{
    for (int i = 0; i < n; i++)
        lt_watch_new(&watch, id(i));
    OK(lt_watch_start(&watch, &err));
    settle();
}

static struct toy *toy(int i)
{
    lt_watch_lock(&watch);
    struct lt_watch_entry *entry = lt_watch_find(&watch, id(i));
    lt_watch_unlock(&watch);
    assert_non_null(entry);
    return toy_of(entry);
}

static void departures(const char *want) /* "1102": of each toy so far */
{
    char is[TOYS + 1] = "";

    for (size_t i = 0; want[i]; i++)
        is[i] = (char)('0' + toy((int)i)->departed);
    assert_string_equal(is, want);
}

/* The flight of this one ends; the thread has looked again. */
static void land(int i)
{
    struct lt_flight *f = NULL;

    lt_watch_lock(&watch);
    for (size_t k = 0; k < waiting; k++)
        if (!memcmp(posted[k]->watched->id, id(i), LT_WATCH_ID)) {
            f = posted[k];
            posted[k] = posted[--waiting];
            break;
        }
    lt_watch_unlock(&watch);
    assert_non_null(f);
    lt_flight_work(f);
    settle();
}

static int tear_down(void **state)
{
    (void)state;
    lt_watch_stop(&watch);
    while (waiting)
        lt_flight_work(posted[--waiting]);
    assert_int_equal(watch.control.flying, 0);
    lt_watch_close(&watch);
    pthread_cond_destroy(&looked);
    return 0;
}

static bool ask(const char *which) /* "02" */
{
    uint8_t ids[TOYS][LT_WATCH_ID];
    size_t n = 0;

    for (; which[n]; n++)
        memcpy(ids[n], id(which[n] - '0'), LT_WATCH_ID);
    bool known = lt_watch_ask(&watch, (const uint8_t(*)[LT_WATCH_ID])ids, n);
    settle();
    return known;
}

/* ---- cases ---- */

static void all_are_due_at_the_start(void **state)
{
    (void)state;
    begin(3);
    departures("111");
    for (int i = 0; i < 3; i++)
        land(i);
    departures("111"); /* due again: never */
}

static void due_again_when_it_says(void **state)
{
    (void)state;
    begin(2);
    due_again = lt_clock_ms();
    land(0);
    departures("21");
    due_again = lt_clock_ms() + 2900; /* within the slack, but nobody is due whom it could go with */
    land(1);
    departures("21");
    due_again = lt_clock_ms();
    land(0); /* now there is */
    departures("32");
}

static void a_round_that_is_asked_for(void **state)
{
    (void)state;
    begin(3);
    for (int i = 0; i < 3; i++)
        land(i);
    assert_true(ask("02"));
    departures("212");
    for (size_t k = 0; k < waiting; k++)
        assert_true(posted[k]->asked);
    assert_false(ask("05")); /* nobody of them is asked for then */
    departures("212");
}

static void those_of_a_request_fly_together(void **state)
{
    (void)state;
    begin(2);
    land(1);
    assert_true(ask("01"));
    departures("11"); /* 0 still flies, for the last time before */
    land(0);
    departures("22");
}

static void all_are_asked_for(void **state)
{
    (void)state;
    begin(3);
    for (int i = 0; i < 3; i++)
        land(i);
    assert_true(lt_watch_ask(&watch, NULL, 0));
    settle();
    departures("222");
}

static void few_bulky_ones_at_a_time(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct lt_watch_entry *entry = lt_watch_new(&watch, id(i));
        entry->bulky = i < 4;
        entry->due_ms = 1 + (uint64_t)i; /* all are; 0 has waited longest */
    }
    OK(lt_watch_start(&watch, &err));
    settle();
    departures("11001");
    land(0);
    departures("11101");
    land(4); /* was not bulky: frees no place */
    departures("11101");
    land(2);
    departures("11111");
}

static void who_is_removed_goes(void **state)
{
    (void)state;
    begin(2);
    land(0);
    lt_watch_remove(&watch, id(0));
    settle();
    assert_int_equal(freed, 1);
    lt_watch_remove(&watch, id(1)); /* while it flies: when it has landed */
    settle();
    assert_int_equal(freed, 1);
    assert_false(ask("1"));
    land(1);
    assert_int_equal(freed, 2);
    lt_watch_remove(&watch, id(3)); /* nobody */
}

static void who_is_added_again_stays(void **state)
{
    (void)state;
    begin(1);
    lt_watch_remove(&watch, id(0));
    lt_watch_add(&watch, id(0));
    lt_watch_add(&watch, id(1));
    settle();
    departures("11"); /* 0 still flies; 1 is in a request of its own, and does not wait for it */
    land(0);
    departures("21");
    assert_int_equal(freed, 0);
}

static void staleness_is_told_once(void **state)
{
    (void)state;
    lt_watch_new(&watch, id(0))->proven_until_ms = 1; /* long ago */
    lt_watch_new(&watch, id(1))->proven_until_ms = LT_COND_EVER;
    OK(lt_watch_start(&watch, &err));
    settle();
    settle();
    assert_int_equal(toy(0)->stale, 1);
    assert_int_equal(toy(0)->entry.proven_until_ms, 0);
    assert_int_equal(toy(1)->stale, 0);
}

static void nobody_departs_after_the_stop(void **state)
{
    (void)state;
    begin(1);
    land(0);
    lt_watch_lock(&watch);
    watch.control.stopping = true; /* as lt_watch_stop does first */
    lt_watch_unlock(&watch);
    assert_true(lt_watch_ask(&watch, NULL, 0));
    lt_watch_stop(&watch);
    assert_int_equal(toy(0)->departed, 1);
    assert_int_equal(watch.control.flying, 0);
    watch.control.stopping = false; /* for tear_down's stop */
    OK(lt_watch_start(&watch, &err));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(all_are_due_at_the_start),  CASE(due_again_when_it_says),
        CASE(a_round_that_is_asked_for), CASE(those_of_a_request_fly_together),
        CASE(all_are_asked_for),         CASE(few_bulky_ones_at_a_time),
        CASE(who_is_removed_goes),       CASE(who_is_added_again_stays),
        CASE(staleness_is_told_once),    CASE(nobody_departs_after_the_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
