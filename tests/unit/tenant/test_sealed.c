/* The tenant and sealed vTPMs: lists of openers that it fetches and remembers, and what it makes of them. */
#include "tests/support/tenant_rig.h"

#include "common/run/clock.h"
#include "verifier/token/token.h"

#include <sqlite3.h>
#include <string.h>

struct at {
    struct rig r;
    struct lt_openers list; /* of the first guest */
};

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A verdict of a round that began after this call; borrowed until the next. */
static json_t *now(struct rig *r, struct rig_guest *g)
{
    static json_t *last;

    for (int i = 0; i < 3; i++) { /* one at a time: when the third is asked, the second has ended */
        unsigned before = g->asked;
        rig_ask(r, g);
        rig_wait_asked(g, before + 1);
    }
    json_decref(last);
    last = rig_show(r, g);
    return json_object_get(last, "verdict");
}

static void expect(const json_t *verdict, const char *result, const char *reason, const char *link)
{
    const char *is = text(verdict, "reason"), *by = text(verdict, "link");
    LT_AUTOFREE char *all = json_dumps(verdict, 0);

    if (strcmp(text(verdict, "result"), result) || strcmp(is ? is : "", reason) ||
        (link && strcmp(by ? by : "", link)))
        fail_msg("not %s, %s, %s: %s", result, reason, link ? link : "", all);
}

/* One of what keeps the link low. */
static bool has_problem(const json_t *verdict, const char *slug)
{
    const json_t *p;
    size_t i;

    json_array_foreach(json_object_get(json_object_get(verdict, "openers"), "problems"), i, p)
    {
        if (!strcmp(text(p, "reason"), slug))
            return true;
    }
    return false;
}

static void is_bound(struct at *a)
{
    const json_t *v = now(&a->r, &a->r.guest[0]);

    expect(v, "trusted", "", "bound");
    assert_true(has_problem(v, "opener-not-enforced"));
}

static void is_copyable(struct at *a, const char *slug)
{
    const json_t *v = now(&a->r, &a->r.guest[0]);

    expect(v, "unchecked", "level", "copyable");
    if (!has_problem(v, slug))
        fail_msg("not for %s: %s", slug, json_dumps(v, 0));
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
}

static void path_of(const struct rig_guest *g, const char *what, char out[96])
{
    snprintf(out, 96, "guests/%s%s", g->text, what);
}

static void show_list(struct at *a)
{
    rig_seal(&a->r, &a->r.guest[0], &a->list, LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
}

/* ---- policies ---- */

static json_t *hex(const uint8_t digest[32])
{
    return lt_json_new_hex(digest, 32);
}

/* A new reference to the guest's policy document. */
static json_t *policy_of(struct rig *r, const struct rig_guest *g)
{
    char path[96];

    LT_JSON_AUTO json_t *guest = rig_show(r, g);
    snprintf(path, sizeof path, "policies/%s", text(guest, "policy"));
    return rig_call(r, "GET", path, NULL, 200);
}

/* policy is taken. */
static void set_policy(struct rig *r, const struct rig_guest *g, json_t *policy)
{
    char path[96];

    path_of(g, "", path);
    rig_drop(rig_call(r, "PUT", path, json_pack("{s:o}", "policy", policy), 200));
}

/* list of the policy: value (taken) is one more of it. */
static void name(struct rig *r, const struct rig_guest *g, const char *list, json_t *value)
{
    json_t *policy = policy_of(r, g), *l = json_object_get(policy, list);

    if (!l)
        json_object_set_new(policy, list, l = json_array());
    json_array_append_new(l, value);
    set_policy(r, g, policy);
}

/* Adds the guest, learns its policy, which accepts `bound`. */
static void adopt(struct rig *r, struct rig_guest *g)
{
    char path[96];

    path_of(g, "", path);
    rig_drop(rig_call(r, "PUT", path, json_object(), 200));
    rig_wait(r, g, "unchecked");
    path_of(g, "/learn", path);
    rig_drop(rig_call(r, "POST", path, json_pack("{s:[s,s]}", "accept", "bound", "boot-only"), 201));
    rig_wait(r, g, "trusted");
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);

    rig_make(&a->r);
    rig_policy_whole(&a->r);
    rig_state(&a->list, &a->r.host);
    show_list(a);
    rig_start(&a->r);
    adopt(&a->r, &a->r.guest[0]);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;

    rig_free(&a->r);
    lt_openers_free(&a->list);
    free(a);
    return 0;
}

/* Another state of the first host: PCR 4 or 7 holds that. */
static void add_state(struct at *a, int pcr, uint8_t value)
{
    LT_OPENERS_AUTO struct lt_openers one = {0};

    rig_state(&one, &a->r.host);
    memset(one.one[0].state.value[pcr], value, 32);
    OK(lt_openers_add(&a->list, &one.one[0], &err));
}

/* ---- levels ---- */

static void test_bound_by_name_alone(void **state)
{
    struct at *a = *state;

    is_bound(a);
    json_t *policy = policy_of(&a->r, &a->r.guest[0]);
    json_object_set_new(policy, "accept", json_pack("[s]", "boot-only"));
    set_policy(&a->r, &a->r.guest[0], policy);
    expect(now(&a->r, &a->r.guest[0]), "unchecked", "level", "bound");
    name(&a->r, &a->r.guest[0], "seals", hex(a->r.policy_digest));
    const json_t *v = now(&a->r, &a->r.guest[0]);
    expect(v, "trusted", "", "resident");
    assert_int_equal(json_array_size(json_object_get(json_object_get(v, "openers"), "problems")), 0);
}

static void test_a_record_of_before_is_copyable(void **state)
{
    struct at *a = *state;

    rig_seal(&a->r, &a->r.guest[0], NULL, 0);
    expect(now(&a->r, &a->r.guest[0]), "unchecked", "level", "copyable");
    rig_seal(&a->r, &a->r.guest[0], &a->list, LT_RESIDENCY_BORN);
    is_copyable(a, "not-sealed");
}

/* Fetched once, whatever the rounds; the store's is as good after a restart. */
static void test_a_list_is_asked_for_once(void **state)
{
    struct at *a = *state;

    is_bound(a);
    assert_int_equal(a->r.openers_asked, 1);
    rig_stop(&a->r);
    a->r.openers = OPENERS_WITHHELD;
    rig_start(&a->r);
    is_bound(a);
    assert_int_equal(a->r.openers_asked, 1);
}

/* ---- what the provider does to a list ---- */

static void test_what_the_provider_withholds_or_garbles(void **state)
{
    static const enum rig_openers how[] = {OPENERS_WITHHELD, OPENERS_GARBLED, OPENERS_CUT, OPENERS_OTHER};
    struct at *a = *state;

    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        a->r.openers = (int)how[i];
        add_state(a, 7, (uint8_t)(i + 1)); /* another list each time */
        show_list(a);
        unsigned before = a->r.openers_asked;
        is_copyable(a, "openers-missing");
        is_copyable(a, "openers-missing");
        if (how[i] != OPENERS_WITHHELD)                       /* that is asked for again soon */
            assert_int_equal(a->r.openers_asked, before + 1); /* not at every round */
    }
    lt_openers_free(&a->list);
    rig_state(&a->list, &a->r.host);
    a->r.openers = OPENERS_SERVED;
    show_list(a); /* the list of before: nothing was lost by it */
    is_bound(a);
}

/* The provider has it not yet, or not for a moment: nobody asks for a round, and none waits for the period.
 */
static void test_openers_that_come_a_little_later(void **state)
{
    struct at *a = *state;
    uint8_t more[32];

    a->r.openers = OPENERS_WITHHELD;
    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_copyable(a, "openers-missing");
    a->r.openers = OPENERS_SERVED;
    rig_wait(&a->r, &a->r.guest[0], "trusted");
}

static void test_late_openers(void **state)
{
    struct at *a = *state;
    uint8_t more[32];

    a->r.openers = OPENERS_WITHHELD;
    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_copyable(a, "openers-missing");
    a->r.openers = OPENERS_SERVED;
    rig_stop(&a->r); /* which knows nothing of a pause */
    rig_start(&a->r);
    is_bound(a);
}

/* ---- what is remembered ---- */

static void test_a_list_that_shrinks_fails(void **state)
{
    struct at *a = *state;
    LT_OPENERS_AUTO struct lt_openers before = {0};
    uint8_t more[32];

    OK(lt_openers_copy(&a->list, &before, &err));
    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_bound(a);
    rig_stop(&a->r); /* what it has seen is in the store */
    rig_start(&a->r);
    rig_seal(&a->r, &a->r.guest[0], &before, LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    const json_t *v = now(&a->r, &a->r.guest[0]);
    expect(v, "failed", "residency", NULL);
    assert_string_equal(text(json_array_get(json_object_get(v, "failed"), 0), "cause"), "openers-shrunk");
    char path[96];
    path_of(&a->r.guest[0], "/clear", path);
    show_list(a);
    expect(now(&a->r, &a->r.guest[0]), "failed", "residency", NULL); /* until it is cleared */
    rig_drop(rig_call(&a->r, "POST", path, json_object(), 200));
    is_bound(a); /* it was the list that was wrong */
}

static void by_hand(struct at *a, const char *statement)
{
    char path[160];
    sqlite3 *sql;

    rig_stop(&a->r);
    snprintf(path, sizeof path, "%s/tenant.db", a->r.state);
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, statement, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
    rig_start(&a->r);
}

/* What was seen last cannot be read any more: then no list passes for a longer one, and none fails. */
static void test_a_last_list_that_cannot_be_read(void **state)
{
    struct at *a = *state;

    is_bound(a);
    by_hand(a, "UPDATE sealed_lists SET openers = x'00'");
    is_copyable(a, "openers-missing");
    is_copyable(a, "openers-missing");
}

/* Another has the store's lock: what is found meanwhile counts, and is written when it is free. */
static void test_a_locked_store(void **state)
{
    LT_OPENERS_AUTO struct lt_openers before = {0};
    struct at *a = *state;
    uint8_t more[32];
    char path[160];
    sqlite3 *other;

    OK(lt_openers_copy(&a->list, &before, &err));
    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    is_bound(a);
    snprintf(path, sizeof path, "%s/tenant.db", a->r.state);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    show_list(a);
    rig_ask(&a->r, &a->r.guest[0]); /* its round waits, or is told from memory */
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    is_bound(a);
    rig_seal(&a->r, &a->r.guest[0], &before, LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    expect(now(&a->r, &a->r.guest[0]), "failed", "residency", NULL);
}

/* A state that nobody accepts is shown, and a policy for it, fetched, makes it good. */
static void test_a_state_that_nobody_accepts(void **state)
{
    struct at *a = *state;
    uint8_t more[32];

    add_state(a, 4, 7);
    show_list(a);
    is_copyable(a, "opener-off-policy");
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    is_bound(a);
}

static void test_a_host_of_another_registry(void **state)
{
    struct at *a = *state;
    struct mock_host stranger;

    mock_host_init(&stranger);
    rig_state(&a->list, &stranger);
    show_list(a);
    is_copyable(a, "opener-unknown-host");
    assert_int_equal(a->r.others_asked, 0);
    mock_host_free(&stranger);
}

/* A second host of the registry, which never quoted here: its certificate is asked for. */
static void test_a_second_host(void **state)
{
    struct at *a = *state;

    rig_state(&a->list, &a->r.other);
    memcpy(a->list.one[1].state.value, a->list.one[0].state.value, sizeof a->list.one[1].state.value);
    show_list(a);
    is_bound(a);
    assert_true(a->r.others_asked > 0);
}

/* ---- retired ---- */

static void close_second(struct at *a)
{
    a->list.one[1].closed = true;
    show_list(a);
}

/* Moves it from the accepted to the retired ones. */
static void retire(struct at *a, const uint8_t digest[32])
{
    json_t *policy = policy_of(&a->r, &a->r.guest[0]);

    json_object_set_new(policy, "host_policies", json_pack("[o]", hex(a->r.policy_digest)));
    json_object_set_new(policy, "retired_host_policies", json_pack("[o]", hex(digest)));
    set_policy(&a->r, &a->r.guest[0], policy);
}

static void test_closed_before_it_was_retired(void **state)
{
    struct at *a = *state;
    uint8_t more[32];

    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_bound(a);
    close_second(a);
    is_bound(a); /* and it was seen */
    retire(a, more);
    is_bound(a);
    rig_stop(&a->r);
    rig_start(&a->r);
    is_bound(a);
}

static void test_closed_after_it_was_retired(void **state)
{
    struct at *a = *state;
    uint8_t more[32];

    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_bound(a);
    retire(a, more);
    is_copyable(a, "opener-off-policy");
    close_second(a);
    is_copyable(a, "opener-off-policy");
    rig_stop(&a->r);
    rig_start(&a->r);
    is_copyable(a, "opener-off-policy");
}

/* ---- exposed ---- */

static void clear(struct at *a, const struct rig_guest *g, json_t *body, int status)
{
    char path[96];

    path_of(g, "/clear", path);
    rig_drop(rig_call(&a->r, "POST", path, body, status));
}

static void extend(struct at *a, struct mock_host *h, uint8_t turn)
{
    pthread_mutex_lock(&a->r.lock);
    h->pcrs.value[4][0] ^= turn;
    pthread_mutex_unlock(&a->r.lock);
}

static size_t exposures(struct at *a, const struct rig_guest *g)
{
    LT_JSON_AUTO json_t *j = rig_show(&a->r, g);

    return json_array_size(json_object_get(j, "exposed"));
}

static void test_exposed_until_it_is_cleared_by_name(void **state)
{
    struct rig_guest *g;
    struct at *a = *state;

    g = &a->r.guest[0];
    clear(a, g, json_pack("{s:b}", "exposed", 1), 409); /* it is not */
    clear(a, g, json_pack("{s:s}", "exposed", "x"), 400);
    extend(a, &a->r.host, 1);
    expect(now(&a->r, g), "failed", "host-policy", NULL);
    assert_int_equal(exposures(a, g), 1);
    extend(a, &a->r.host, 1);
    expect(now(&a->r, g), "failed", "host-policy", NULL);
    clear(a, g, json_object(), 200); /* the verdict, and not that it was exposed */
    is_copyable(a, "exposed");
    rig_stop(&a->r);
    rig_start(&a->r);
    is_copyable(a, "exposed");
    clear(a, g, json_pack("{s:b}", "exposed", 1), 200);
    assert_int_equal(exposures(a, g), 0);
    is_bound(a);
    rig_stop(&a->r);
    rig_start(&a->r);
    is_bound(a);
}

/* Another host, which claims another guest, fails: who has a state of it among its openers is exposed, on
 * whatever host it runs; who has none is not. */
static void test_a_host_exposes_guests_that_run_elsewhere(void **state)
{
    struct at *a = *state;
    struct rig_guest *second = &a->r.guest[1], *third = &a->r.guest[2];
    LT_OPENERS_AUTO struct lt_openers list = {0}, own = {0};

    rig_state(&list, &a->r.host);
    rig_state(&own, &a->r.host);
    rig_state(&list, &a->r.other);
    memcpy(list.one[1].state.value, list.one[0].state.value, sizeof list.one[1].state.value);
    rig_seal(&a->r, second, &list, LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    rig_seal(&a->r, third, &own, LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    adopt(&a->r, second);
    adopt(&a->r, third);
    expect(now(&a->r, second), "trusted", "", "bound");
    rig_rival(&a->r, RIVAL_CLAIMS); /* of the first guest; its PCR 4 is off policy */
    expect(now(&a->r, &a->r.guest[0]), "trusted", "", "bound");
    rig_rival(&a->r, RIVAL_NONE);
    const json_t *v = now(&a->r, second);
    expect(v, "unchecked", "level", "copyable");
    assert_true(has_problem(v, "exposed"));
    assert_int_equal(exposures(a, second), 1);
    assert_int_equal(exposures(a, third), 0);
    expect(now(&a->r, third), "trusted", "", "bound");
    clear(a, second, json_pack("{s:b}", "exposed", 1), 200);
    expect(now(&a->r, second), "trusted", "", "bound");
}

/* The verdict of the first round in which the rival claims the guest: it was under way already, and every one
 * before it has ended. Borrowed until the next. */
static json_t *first_contest(struct rig *r, struct rig_guest *g)
{
    static json_t *last;
    unsigned before = g->asked;

    g->mode = GUEST_HOLDS;
    rig_ask(r, g);
    rig_wait_asked(g, before + 1);
    rig_rival(r, RIVAL_CLAIMS);
    rig_release(g);
    g->mode = GUEST_HOLDS;
    rig_ask(r, g);
    rig_wait_asked(g, before + 2);
    json_decref(last);
    last = rig_show(r, g);
    rig_release(g);
    return json_object_get(last, "verdict");
}

/* A host among its openers claims the guest too, and is off policy: the round that finds it so trusts the
 * guest's own host no more. */
static void test_a_claimant_exposes_at_once(void **state)
{
    struct at *a = *state;
    struct rig_guest *g = &a->r.guest[0];

    rig_state(&a->list, &a->r.other);
    memcpy(a->list.one[1].state.value, a->list.one[0].state.value, sizeof a->list.one[1].state.value);
    show_list(a);
    is_bound(a);
    const json_t *v = first_contest(&a->r, g);
    expect(v, "unchecked", "level", "copyable");
    assert_true(has_problem(v, "exposed"));
    assert_int_equal(exposures(a, g), 1);
    rig_rival(&a->r, RIVAL_NONE);
    is_copyable(a, "exposed");
}

/* Its own policy judges it: a host that another guest's policy refuses exposes nobody who accepts it. */
static void test_each_is_judged_under_its_own_policy(void **state)
{
    struct at *a = *state;
    struct rig_guest *second = &a->r.guest[1];
    LT_OPENERS_AUTO struct lt_openers list = {0};
    uint8_t strict[32];
    struct lt_pcrs none = {.alg = LT_HASH_SHA256, .mask = LT_OPENERS_STATE_MIN};

    rig_state(&list, &a->r.host);
    rig_seal(&a->r, second, &list, LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    adopt(&a->r, second);
    /* The second guest's policy knows the host's document no more: its check 7 is not made, which is no
     * failure. */
    memset(none.value[4], 0x55, 32);
    rig_policy_more(&a->r, &none, strict);
    json_t *policy = policy_of(&a->r, second);
    json_object_set_new(policy, "host_policies", json_pack("[o]", hex(strict)));
    set_policy(&a->r, second, policy);
    expect(now(&a->r, second), "unchecked", "host-policy", NULL);
    extend(a, &a->r.host, 1);
    expect(now(&a->r, &a->r.guest[0]), "failed", "host-policy", NULL);
    assert_int_equal(exposures(a, &a->r.guest[0]), 1);
    assert_int_equal(exposures(a, second), 0);
}

/* ---- the API, the bundle ---- */

static void test_openers_told(void **state)
{
    struct at *a = *state;
    char path[96], accepted[65], ek[65];

    add_state(a, 4, 7);
    show_list(a);
    is_copyable(a, "opener-off-policy");
    path_of(&a->r.guest[0], "/openers", path);
    LT_JSON_AUTO json_t *j = rig_call(&a->r, "GET", path, NULL, 200);
    const json_t *all = json_object_get(j, "openers"), *own = json_array_get(all, 0),
                 *off = json_array_get(all, 1);
    lt_hex(a->r.policy_digest, 32, accepted);
    lt_hex(a->r.host.ek_digest, 32, ek);
    assert_int_equal(json_array_size(all), 2);
    assert_string_equal(text(own, "accepted_by"), accepted);
    assert_string_equal(text(own, "host_ek_digest"), ek);
    assert_true(json_is_null(json_object_get(off, "accepted_by")));
    assert_string_equal(text(json_array_get(json_object_get(off, "problems"), 0), "reason"),
                        "opener-off-policy");
    assert_true(json_is_true(json_object_get(j, "judged")));
    assert_string_equal(text(j, "link"), "copyable");
    path_of(&a->r.guest[1], "/openers", path);
    rig_drop(rig_call(&a->r, "GET", path, NULL, 404));
}

/* What the verdict does not count is not shown as what accepts. */
static void test_a_retired_policy_accepts_what_was_closed(void **state)
{
    struct at *a = *state;
    char path[96];
    uint8_t more[32];

    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_bound(a);
    retire(a, more);
    path_of(&a->r.guest[0], "/openers", path);
    for (int closed = 0; closed < 2; closed++) {
        is_copyable(a, "opener-off-policy");
        LT_JSON_AUTO json_t *j = rig_call(&a->r, "GET", path, NULL, 200);
        const json_t *off = json_array_get(json_object_get(j, "openers"), 1);
        assert_true(json_is_null(json_object_get(off, "accepted_by")));
        close_second(a);
    }
    json_t *policy = policy_of(&a->r, &a->r.guest[0]);
    json_object_del(policy, "retired_host_policies");
    json_array_append_new(json_object_get(policy, "host_policies"), hex(more));
    set_policy(&a->r, &a->r.guest[0], policy);
    is_bound(a); /* and it is seen closed */
    retire(a, more);
    is_bound(a);
    LT_JSON_AUTO json_t *j = rig_call(&a->r, "GET", path, NULL, 200);
    assert_true(
        json_is_string(json_object_get(json_array_get(json_object_get(j, "openers"), 1), "accepted_by")));
}

/* 503 while a round that is under way has the token with it: the next brings one. */
static json_t *get_token(struct at *a)
{
    struct rig_guest *g = &a->r.guest[0];
    struct lt_http_reply reply = {0};
    char path[160], tail[128];

    path_of(g, "/token?aud=vault&nonce=12345678", tail);
    snprintf(path, sizeof path, "/federation/v1/%s", tail);
    for (int i = 0; i < 5; i++) {
        OK(check_call(a->r.operator, "GET", lt_http_server_address(a->r.tenant->server), path, NULL, &reply,
                      &err));
        if (reply.status != 503)
            break;
        free((char *)reply.body);
        now(&a->r, g);
    }
    assert_int_equal(reply.status, 200);
    json_t *j = lt_json_parse(reply.body, reply.n, LT_MAX_TOKEN, &err);
    free((char *)reply.body);
    assert_non_null(j);
    return j;
}

static void test_tokens_say_bound(void **state)
{
    const struct lt_token_expected x = {.aud = "vault", .nonce = "12345678", .now = lt_clock_wall_s()};
    struct at *a = *state;

    rig_transport(&a->r, &a->r.guest[0]);
    is_bound(a);
    LT_JSON_AUTO json_t *keys = rig_call(&a->r, "GET", "token-keys", NULL, 200);
    LT_JSON_AUTO json_t *reply = get_token(a);
    const char *token = text(reply, "token");
    LT_JSON_AUTO json_t *claims = lt_token_verify(token, strlen(token), keys, &x, &err);
    const json_t *guest = json_object_get(json_object_get(claims, "submods"), "guest");
    assert_string_equal(text(guest, "limetree.link"), "bound");
}

/* Neither V nor a token, of whatever is lower than the policy accepts. */
static void gets_nothing(struct at *a)
{
    struct rig_guest *g = &a->r.guest[0];
    char path[128];

    expect(now(&a->r, g), "unchecked", "level", NULL);
    assert_int_equal(g->vkeys, 0);
    path_of(g, "/token?aud=vault&nonce=12345678", path);
    rig_drop(rig_call(&a->r, "GET", path, NULL, 409));
}

static void accept(struct at *a, const char *word)
{
    json_t *policy = policy_of(&a->r, &a->r.guest[0]);

    json_object_set_new(policy, "accept", json_pack("[s,s*]", "boot-only", word));
    set_policy(&a->r, &a->r.guest[0], policy);
}

static void test_secrets_at_the_level_that_is_accepted(void **state)
{
    struct at *a = *state;
    struct rig_guest *g = &a->r.guest[0];
    char path[96];

    rig_transport(&a->r, g);
    accept(a, NULL);
    now(&a->r, g);
    path_of(g, "", path);
    rig_drop(rig_call(&a->r, "PUT", path,
                      json_pack("{s:o}", "v", lt_json_new_base64((const uint8_t *)"0123456789abcdef", 16)),
                      200));
    gets_nothing(a); /* bound, and nobody accepts that */
    extend(a, &a->r.host, 1);
    expect(now(&a->r, g), "failed", "host-policy", NULL);
    extend(a, &a->r.host, 1);
    accept(a, "bound");
    clear(a, g, json_object(), 200);
    gets_nothing(a); /* exposed: copyable */
    clear(a, g, json_pack("{s:b}", "exposed", 1), 200);
    rig_wait_vkeys(g, 1);
    is_bound(a);
    rig_drop(get_token(a));
    add_state(a, 4, 7);
    show_list(a);
    is_copyable(a, "opener-off-policy");
    path_of(g, "/token?aud=vault&nonce=12345678", path);
    rig_drop(rig_call(&a->r, "GET", path, NULL, 409));
}

static void test_escrow_is_handed_on(void **state)
{
    struct at *a = *state;
    char path[128];

    snprintf(path, sizeof path, "/federation/v1/guests/%s/escrow", a->r.guest[0].text);
    LT_AUTOFREE char *copy =
        check_status(a->r.operator, "GET", lt_http_server_address(a->r.tenant->server), path, NULL, 200);
    assert_string_equal(copy, "an escrow copy");
    path_of(&a->r.guest[1], "", path);
    rig_drop(rig_call(&a->r, "PUT", path, json_object(), 200));
    path_of(&a->r.guest[1], "/escrow", path);
    rig_drop(rig_call(&a->r, "GET", path, NULL, 404));
}

static void test_bundles_bring_the_list(void **state)
{
    struct at *a = *state;
    struct lt_bundle b;
    uint8_t more[32];
    char path[96];
    bool found = false;

    add_state(a, 4, 7);
    rig_policy_more(&a->r, &a->list.one[1].state, more);
    name(&a->r, &a->r.guest[0], "host_policies", hex(more));
    show_list(a);
    is_bound(a);
    path_of(&a->r.guest[0], "/bundle", path);
    LT_JSON_AUTO json_t *j = rig_call(&a->r, "GET", path, NULL, 200);
    LT_AUTOFREE char *s = lt_json_dump(j);
    OK(lt_bundle_parse(s, strlen(s), &b, &err));
    LT_OPENERS_AUTO struct lt_openers list = {0};
    OK(lt_openers_parse(b.host.openers.p, b.host.openers.n, &list, &err));
    assert_int_equal(list.count, 2);
    for (size_t i = 0; i < b.policy_count; i++) /* the document that judged the second state */
        found |= !memcmp(b.policies[i].digest, more, 32);
    assert_true(found);
    lt_bundle_free(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bound_by_name_alone),
        TEST(test_a_record_of_before_is_copyable),
        TEST(test_a_list_is_asked_for_once),
        TEST(test_what_the_provider_withholds_or_garbles),
        TEST(test_openers_that_come_a_little_later),
        TEST(test_late_openers),
        TEST(test_a_list_that_shrinks_fails),
        TEST(test_a_last_list_that_cannot_be_read),
        TEST(test_a_locked_store),
        TEST(test_a_state_that_nobody_accepts),
        TEST(test_a_host_of_another_registry),
        TEST(test_a_second_host),
        TEST(test_closed_before_it_was_retired),
        TEST(test_closed_after_it_was_retired),
        TEST(test_exposed_until_it_is_cleared_by_name),
        TEST(test_a_host_exposes_guests_that_run_elsewhere),
        TEST(test_a_claimant_exposes_at_once),
        TEST(test_each_is_judged_under_its_own_policy),
        TEST(test_openers_told),
        TEST(test_a_retired_policy_accepts_what_was_closed),
        TEST(test_tokens_say_bound),
        TEST(test_secrets_at_the_level_that_is_accepted),
        TEST(test_escrow_is_handed_on),
        TEST(test_bundles_bring_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
