/* limetree-provider attests its hosts: the daemon as a process, mock agents behind mutual TLS. What a tenant
 * is given meanwhile, whatever becomes of the host's verdict (docs/protocol.md section 9). */
#include "common/run/clock.h"
#include "tests/support/provider_rig.h"
#include "tests/support/unit.h"

#include <signal.h>
#include <unistd.h>

static const char *const options[] = {"host_timeout_ms=20000", "host_period_s=3600",
                                      "host_accept=boot-only, ek-unproven", NULL};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    rig_make(r);
    rig_start(r, options);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    if (r->pid != -1)
        rig_stop(r);
    rig_free(r);
    free(r);
    return 0;
}

static json_t *shown(struct rig *r)
{
    char path[80];

    snprintf(path, sizeof path, "hosts/%s", r->host[0]);
    return rig_json(r, r->operator, "GET", path, NULL, 200);
}

static bool reads(const json_t *verdict, const char *key, const char *want)
{
    const char *is = json_string_value(json_object_get(verdict, key));
    return want ? is && !strcmp(is, want) : !is;
}

/* Waits until the host's verdict is that; a new reference to it. */
static json_t *await_verdict(struct rig *r, const char *result, const char *reason)
{
    uint64_t until = lt_clock_ms() + 20000;

    for (;; usleep(10000)) {
        LT_JSON_AUTO json_t *h = shown(r);
        json_t *v = json_object_get(h, "verdict");
        if (json_is_object(v) && reads(v, "result", result) && reads(v, "reason", reason))
            return json_incref(v);
        if (lt_clock_ms() > until)
            fail_msg("never %s %s: %s", result, reason ? reason : "", json_dumps(h, 0));
    }
}

static void post(struct rig *r, const char *what, json_t *body, int status)
{
    char path[96];

    snprintf(path, sizeof path, "hosts/%s/%s", r->host[0], what);
    json_decref(rig_json(r, r->operator, "POST", path, body, status));
}

/* One host with guests 0-9, all of tenant A's, trusted under what it was learnt to be. */
static void settle(struct rig *r)
{
    pthread_mutex_lock(&r->agent[0].lock);
    mock_host_populate(&r->agent[0].host, 0, 10);
    pthread_mutex_unlock(&r->agent[0].lock);
    rig_enrol(r, 0);
    for (uint32_t i = 0; i < 10; i++)
        rig_assign(r, i, r->tenant_a);
    post(r, "learn", json_object(), 201);
    json_decref(await_verdict(r, "trusted", NULL));
}

/* {"quote","proof"} of guest 0, or its error's slug. */
static json_t *proof(struct rig *r, uint32_t salt, const char **error)
{
    json_t *reply = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, salt), 200);
    const json_t *p = json_array_get(json_object_get(reply, "proofs"), 0);

    *error = json_string_value(json_object_get(json_object_get(p, "error"), "slug"));
    return reply;
}

static void header_of(const json_t *reply, struct lt_residency_header *h)
{
    struct lt_residency_host_quote q = {0};

    OK(lt_residency_host_quote_from_json(json_array_get(json_object_get(reply, "quotes"), 0), &q, &err));
    OK(lt_residency_header_parse(q.header, sizeof q.header, h, &err));
    lt_residency_host_quote_free(&q);
}

static void change_pcr(struct rig *r, unsigned pcr)
{
    pthread_mutex_lock(&r->agent[0].lock);
    r->agent[0].host.pcrs.value[pcr][0] ^= 1;
    pthread_mutex_unlock(&r->agent[0].lock);
}

/* The next round is an hour off; a tenant's quote shows another PCR, and that is enough. The tenant has its
 * proof, from the host that fails, before and after: its own check is to say so. */
static void a_tenants_quote_tells_the_operator(void **state)
{
    struct rig *r = *state;
    const char *error;

    settle(r);
    change_pcr(r, 4);
    LT_JSON_AUTO json_t *first = proof(r, 1, &error);
    assert_null(error);
    LT_JSON_AUTO json_t *v = await_verdict(r, "failed", "host-policy");
    const char *message =
        json_string_value(json_object_get(json_array_get(json_object_get(v, "failed"), 0), "message"));
    assert_non_null(strstr(message, "PCR 4"));
    for (uint32_t salt = 2; salt < 5; salt++) {
        LT_JSON_AUTO json_t *reply = proof(r, salt, &error);
        assert_null(error);
        assert_int_equal(json_array_size(json_object_get(reply, "quotes")), 1);
    }
    /* It comes back on policy: the verdict stands until somebody has looked. */
    change_pcr(r, 4);
    json_decref(rig_json(r, r->operator, "POST", "rounds", json_object(), 202));
    json_decref(proof(r, 6, &error));
    json_decref(await_verdict(r, "failed", "host-policy"));
    post(r, "clear", json_object(), 200);
    json_decref(await_verdict(r, "trusted", NULL));
    post(r, "clear", json_object(), 409);
}

/* Guests that ask while the TPM is busy, and the host's own leaf, are in one batch. */
static void a_round_shares_a_batch(void **state)
{
    struct rig *r = *state;
    struct lt_residency_header h;
    struct lt_http_reply t = {0};
    uint64_t until = lt_clock_ms() + 20000;

    settle(r);
    atomic_store(&r->agent[0].hang, true);
    LT_AUTOFREE char *path = NULL;
    for (uint32_t i = 0; i < 2; i++) {
        LT_JSON_AUTO json_t *ask = rig_ask(i, 1, 1);
        LT_AUTOFREE char *body = lt_json_dump(ask);
        assert_int_equal(rig_http(r, r->a, "POST", "proofs", body, "Prefer: respond-async", &t), 202);
        free((char *)t.body);
        if (i)
            path = strdup(lt_http_reply_header(&t, "Location") + strlen("/federation/v1/"));
        else
            json_decref(rig_json(r, r->operator, "POST", "rounds", json_object(), 202));
    }
    /* Looking at it takes a quote, too, which does not come: so long, that the round's leaf is queued. */
    for (bool slow = false; !slow; usleep(50000)) {
        LT_JSON_AUTO json_t *j = shown(r);
        slow = reads(j, "state", "slow");
        assert_true(lt_clock_ms() < until);
    }
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
    while (rig_http(r, r->a, "GET", path, NULL, NULL, &t) == 202) {
        free((char *)t.body);
        assert_true(lt_clock_ms() < until);
    }
    LT_JSON_AUTO json_t *reply = lt_json_parse(t.body, t.n, LT_MAX_REPLY, &err);
    free((char *)t.body);
    header_of(reply, &h);
    assert_true(h.n >= 2);
    for (json_int_t seq = 0; seq != (json_int_t)h.batch_seq; usleep(10000)) {
        LT_JSON_AUTO json_t *v = await_verdict(r, "trusted", NULL);
        seq = json_integer_value(json_object_get(json_object_get(v, "batch"), "seq"));
        assert_true(lt_clock_ms() < until);
    }
}

/* Nobody asks, nobody looks, nothing changes. */
static void a_lone_host_costs_one_quote_a_period(void **state)
{
    static const char *const often[] = {"host_timeout_ms=20000", "host_period_s=1",
                                        "host_accept=boot-only, ek-unproven", NULL};
    struct rig *r = *state;

    settle(r);
    rig_stop(r);
    rig_start(r, often);
    json_decref(await_verdict(r, "trusted", NULL));
    unsigned long last = atomic_load(&r->agent[0].quotes) + 1;
    uint64_t until = lt_clock_ms() + 30000;
    for (; atomic_load(&r->agent[0].quotes) < last; usleep(1000)) /* one that looking did not ask for */
        assert_true(lt_clock_ms() < until);
    uint64_t from = lt_clock_ms();
    for (; atomic_load(&r->agent[0].quotes) < last + 4; usleep(1000))
        assert_true(lt_clock_ms() < until);
    assert_true(lt_clock_ms() - from > 3500); /* each may be a tenth early */
}

/* Another key than it was enrolled with: the tenant reads that no proof came, the operator why. */
static void another_key_fails_the_host_and_no_tenant(void **state)
{
    struct rig *r = *state;
    struct mock_host other;
    const char *error;

    settle(r);
    mock_host_init(&other);
    pthread_mutex_lock(&r->agent[0].lock);
    EVP_PKEY *own = r->agent[0].host.ak_key;
    r->agent[0].host.ak_key = other.ak_key;
    pthread_mutex_unlock(&r->agent[0].lock);
    json_decref(rig_json(r, r->operator, "POST", "rounds", json_object(), 202));
    LT_JSON_AUTO json_t *v = await_verdict(r, "failed", "host-quote");
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 1);
    LT_JSON_AUTO json_t *reply = proof(r, 1, &error);
    assert_string_equal(error, "host-unreachable");
    pthread_mutex_lock(&r->agent[0].lock);
    r->agent[0].host.ak_key = own;
    pthread_mutex_unlock(&r->agent[0].lock);
    mock_host_free(&other);
    LT_JSON_AUTO json_t *good = proof(r, 2, &error);
    assert_null(error);
}

/* Trouble with its TPM is no verdict about it, and what stood goes on ageing. */
static void no_tpm_is_no_verdict(void **state)
{
    struct rig *r = *state;

    settle(r);
    atomic_store(&r->agent[0].no_tpm, true);
    json_decref(rig_json(r, r->operator, "POST", "rounds", json_object(), 202));
    LT_JSON_AUTO json_t *v = await_verdict(r, "unreachable", "host-tpm");
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    assert_int_equal(json_array_size(json_object_get(v, "passed")), 0);
    atomic_store(&r->agent[0].no_tpm, false);
    json_decref(await_verdict(r, "trusted", NULL)); /* by itself: it is asked again soon */
}

/* A policy that is published is a policy that nobody was judged by yet. */
static void another_policy_makes_it_unchecked_at_once(void **state)
{
    struct rig *r = *state;
    char path[80];

    settle(r);
    atomic_store(&r->agent[0].hang, true); /* no round ends */
    json_t *body = json_loads(
        "{\"pcrs\":{\"4\":[\"0000000000000000000000000000000000000000000000000000000000000000\"]}}", 0, NULL);
    LT_JSON_AUTO json_t *made = rig_json(r, r->operator, "POST", "policies", body, 201);
    snprintf(path, sizeof path, "hosts/%s/policy", r->host[0]);
    json_decref(rig_json(r, r->operator, "PUT", path,
                         json_pack("{s:O}", "policy", json_object_get(made, "digest")), 200));
    json_decref(await_verdict(r, "unchecked", "policy-changed"));
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
    json_decref(await_verdict(r, "failed", "host-policy"));
}

/* Killed while rounds are under way; what failed still has, and what was dropped is forgotten. */
static void a_kill_turns_nothing_green(void **state)
{
    struct rig *r = *state;
    char path[80];

    settle(r);
    change_pcr(r, 7);
    json_decref(rig_json(r, r->operator, "POST", "rounds", json_object(), 202));
    json_decref(await_verdict(r, "failed", "host-policy"));
    change_pcr(r, 7);
    for (unsigned i = 0; i < 5; i++) {
        json_decref(rig_json(r, r->operator, "POST", "rounds", json_object(), 202));
        usleep(i * 3000); /* another moment each time */
        rig_kill(r);
        rig_start(r, options);
        json_decref(await_verdict(r, "failed", "host-policy"));
    }
    snprintf(path, sizeof path, "hosts/%s", r->host[0]);
    json_decref(rig_json(r, r->operator, "DELETE", path, NULL, 200));
    rig_enrol(r, 0);
    json_decref(await_verdict(r, "unchecked", "host-policy")); /* none is published for it */
}

static void who_may_ask(void **state)
{
    struct rig *r = *state;
    char path[80];

    settle(r);
    assert_int_equal(rig_http(r, r->a, "POST", "rounds", "{}", NULL, NULL), 403);
    snprintf(path, sizeof path, "hosts/%s/clear", r->host[0]);
    assert_int_equal(rig_http(r, r->a, "POST", path, "{}", NULL, NULL), 403);
    static const struct {
        const char *body;
        int status;
    } cases[] = {{"{\"hosts\":[\"00112233445566778899aabbccddeeff\"]}", 404},
                 {"{\"hosts\":[\"short\"]}", 400},
                 {"{\"hosts\":[7]}", 400},
                 {"{\"hosts\":{}}", 400},
                 {"{\"guests\":[]}", 400},
                 {"[]", 400},
                 {"{\"hosts\":[]}", 202},
                 {"{\"hosts\":null}", 202}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (rig_http(r, r->operator, "POST", "rounds", cases[i].body, NULL, NULL) != cases[i].status)
            fail_msg("%s", cases[i].body);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_tenants_quote_tells_the_operator),
        T(a_round_shares_a_batch),
        T(a_lone_host_costs_one_quote_a_period),
        T(another_key_fails_the_host_and_no_tenant),
        T(no_tpm_is_no_verdict),
        T(another_policy_makes_it_unchecked_at_once),
        T(a_kill_turns_nothing_green),
        T(who_may_ask),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
