/* limetree-tenant as a whole, guests and provider in software. */
#include "tests/support/tenant_rig.h"

#include "appraisal/checks/offline.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "verifier/store/impl.h"

#include <stdatomic.h>
#include <unistd.h>

#define PUTS 40 /* that race with others, count */

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static bool names(const json_t *verdict, const char *list, const char *check)
{
    json_t *v;
    size_t i;

    json_array_foreach(
        json_object_get(verdict, list), i,
        v) if (!strcmp(json_is_string(v) ? json_string_value(v) : text(v, "check"), check)) return true;
    return false;
}

static json_t *round_of(struct rig *r, struct rig_guest *g, const char *result)
{
    unsigned before = g->asked;
    rig_ask(r, g);
    rig_wait_asked(g, before + 1);
    return rig_wait(r, g, result);
}

/* A round begun after this call has ended: the guest is asked for the next but one. */
static void settle(struct rig *r, struct rig_guest *g)
{
    for (int i = 0; i < 3; i++) {
        unsigned before = g->asked;
        rig_ask(r, g);
        rig_wait_asked(g, before + 1);
    }
}

static void consistent(struct rig *r, const struct rig_guest *g, bool trusted)
{
    char path[96];
    struct lt_bundle b;
    struct lt_verdict v;
    struct lt_offline o = {.now = lt_clock_wall_s()};

    snprintf(path, sizeof path, "guests/%s/bundle%s", g->text, trusted ? "?trusted=1" : "");
    LT_JSON_AUTO json_t *j = rig_call(r, "GET", path, NULL, 200);
    LT_AUTOFREE char *s = lt_json_dump(j);
    OK(lt_bundle_parse(s, strlen(s), &b, &err));
    assert_true(b.has_host);
    OK(lt_offline_appraise(&b, &o, &v, &err));
    if (v.result != LT_VERDICT_CONSISTENT)
        fail_msg("bundle of %s: %s", g->text, v.reason);
    lt_bundle_free(&b);
}

static void test_adopt_and_share_a_quote(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    for (int i = 0; i < RIG_GUESTS; i++)
        rig_adopt(&r, &r.guest[i]);
    unsigned posts = r.posts;
    int64_t seq = -1;
    rig_ask(&r, NULL);
    for (int i = 0; i < RIG_GUESTS; i++) {
        json_t *v;
        do /* the verdict of the round before is trusted too */
            v = rig_wait(&r, &r.guest[i], "trusted");
        while (json_integer_value(json_object_get(json_object_get(v, "batch"), "n")) != RIG_GUESTS);
        int64_t s = json_integer_value(json_object_get(json_object_get(v, "batch"), "seq"));
        assert_true(seq < 0 || s == seq);
        seq = s;
        assert_string_equal(text(v, "link"), "copyable");
        assert_string_equal(text(v, "host_level"), "boot-only");
        assert_int_equal(json_array_size(json_object_get(v, "passed")), LT_CHECKS);
        consistent(&r, &r.guest[i], false);
        consistent(&r, &r.guest[i], true);
    }
    assert_int_equal(r.posts, posts + 1);
    assert_int_equal(r.activations, 1); /* once per host, not per round */
    LT_JSON_AUTO json_t *st = rig_call(&r, "GET", "status", NULL, 200);
    assert_int_equal(json_integer_value(json_object_get(st, "trusted")), RIG_GUESTS);
    assert_int_equal(json_integer_value(json_object_get(st, "last_batch")), RIG_GUESTS);
    LT_JSON_AUTO json_t *hosts = rig_call(&r, "GET", "hosts", NULL, 200);
    json_t *h = json_array_get(json_object_get(hosts, "hosts"), 0);
    assert_true(json_is_true(json_object_get(h, "activated")));
    assert_true(json_is_true(json_object_get(h, "in_registry")));
    assert_string_equal(text(h, "level"), "boot-only");
    rig_free(&r);
}

/* What the provider says of one guest; it cannot speak for guests or for the tenant. */
static const struct rig_item said[] = {
    {"host-unreachable", "host-unreachable"},
    {"host-tpm", "host-tpm"},
    {"not-assigned", "not-assigned"},
    {"busy", "busy"},
    {"not-found", "not-found"},
    {"guest-tpm", "provider-refused"},
    {"no-room", "provider-refused"},
    {"internal", "provider-refused"},
    {"of-later", "provider-refused"},
    {NULL, NULL},
};

static void test_transport_is_no_verdict(void **state)
{
    static const enum guest_mode modes[] = {GUEST_FAILS, GUEST_BABBLES};
    static const char *const reasons[] = {"guest-tpm", "guest-unreachable"};
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    for (size_t i = 0; i < 2; i++) {
        g->mode = modes[i];
        json_t *v = round_of(&r, g, "unreachable");
        assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
        for (uint64_t until = lt_clock_ms() + 20000;
             strcmp(text(v, "reason"), reasons[i]) && lt_clock_ms() < until;)
            v = rig_wait(&r, g, "unreachable");
        assert_string_equal(text(v, "reason"), reasons[i]);
        g->mode = GUEST_ANSWERS;
        round_of(&r, g, "trusted");
    }
    r.mode = PROVIDER_IS_BUSY;
    json_t *v = round_of(&r, g, "unreachable");
    assert_true(names(v, "passed", "guest-quote") && names(v, "not_made", "host-quote"));
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    assert_string_equal(text(v, "reason"), "provider-refused");
    r.mode = PROVIDER_PROVES;
    round_of(&r, g, "trusted");
    for (r.item = said; r.item->slug; r.item++) {
        v = round_of(&r, g, "unreachable");
        for (uint64_t until = lt_clock_ms() + 20000;
             strcmp(text(v, "reason"), r.item->reason) && lt_clock_ms() < until;)
            v = rig_wait(&r, g, "unreachable"); /* one round earlier said so too */
        assert_string_equal(text(v, "reason"), r.item->reason);
        assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    }
    r.item = NULL;
    round_of(&r, g, "trusted");
    g->mode = GUEST_IS_OLD; /* speaks 2.3 at most: found within the round */
    unsigned before = g->asked;
    round_of(&r, g, "trusted");
    rig_wait_asked(g, before + 4);
    rig_free(&r);
}

static void test_a_slow_guest_holds_nobody(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.conf.gather_ms = 300;
    rig_start(&r);
    for (int i = 0; i < RIG_GUESTS; i++)
        rig_adopt(&r, &r.guest[i]);
    struct rig_guest *slow = &r.guest[0];
    unsigned asked = slow->asked, posts = r.posts;
    slow->mode = GUEST_HOLDS;
    rig_ask(&r, NULL);
    rig_wait_asked(slow, asked + 1);
    for (int i = 1; i < RIG_GUESTS; i++) {
        json_t *v;
        do
            v = rig_wait(&r, &r.guest[i], "trusted");
        while (json_integer_value(json_object_get(json_object_get(v, "batch"), "n")) != RIG_GUESTS - 1);
    }
    assert_int_equal(r.posts, posts + 1);
    /* Asked for again and again, the one that is held is in one round all the time. */
    for (int i = 0; i < 5; i++)
        rig_ask(&r, slow);
    assert_int_equal(slow->asked, asked + 1);
    rig_release(slow);
    rig_wait_asked(slow, asked + 2);
    rig_wait(&r, slow, "trusted");
    assert_int_equal(slow->overlapped, 0);
    rig_free(&r);
}

static void test_absent_twice_fails_and_sticks(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    unsigned asked = g->asked;
    r.mode = PROVIDER_OMITS;
    json_t *v = round_of(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "residency");
    assert_int_equal(g->asked, asked + 2); /* unchecked, a new round at once, failed, no further one */
    r.mode = PROVIDER_PROVES;
    unsigned posts = r.posts;
    settle(&r, g); /* good rounds, asked for: they turn nothing green */
    assert_true(r.posts > posts);
    v = rig_wait(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "residency");
    char path[96];
    snprintf(path, sizeof path, "guests/%s/clear", g->text);
    rig_drop(rig_call(&r, "POST", path, json_object(), 200));
    rig_wait(&r, g, "trusted");
    rig_drop(rig_call(&r, "POST", path, json_object(), 409));
    rig_free(&r);
}

static void test_forged_quote_never_reaches_the_provider(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    unsigned posts = r.posts;
    g->mode = GUEST_FORGES;
    json_t *v = round_of(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "guest-quote");
    assert_int_equal(json_array_size(json_object_get(v, "not_made")), LT_CHECKS - 1);
    assert_int_equal(r.posts, posts);
    rig_free(&r);
}

static void test_replayed_proof(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    r.mode = PROVIDER_REPLAYS;
    json_t *v = round_of(&r, &r.guest[0], "failed");
    assert_string_equal(text(v, "reason"), "batch-inclusion");
    rig_free(&r);
}

static void test_sandwich_closes_with_the_next_round(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    unsigned asked = g->asked;
    pthread_mutex_lock(&r.lock);
    uint64_t young = 100000 + r.host.quotes; /* the host's clock: the new incarnation has just begun */
    pthread_mutex_unlock(&r.lock);
    rig_inventory(&r, LT_RESIDENCY_RUNNING, young);
    for (uint32_t i = 0; i < r.host.count; i++)
        r.host.records[i].incarnation[0] ^= 1;
    lt_merkle_free(r.host.tree);
    OK(lt_residency_inventory_tree(r.host.records, r.host.count, &r.host.tree, &err));
    rig_ask(&r, g);
    rig_wait_asked(g, asked + 2); /* unchecked: a new round at once */
    json_t *v = rig_wait(&r, g, "trusted");
    assert_true(names(v, "passed", "sandwich"));
    rig_free(&r);
}

static void test_a_restart_forgets_nothing(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0], *other = &r.guest[1];
    rig_adopt(&r, g);
    rig_adopt(&r, other);
    g->mode = GUEST_FORGES;
    round_of(&r, g, "failed");
    rig_stop(&r);
    g->mode = GUEST_ANSWERS;
    other->clock_ms -= 5; /* an older copy of the vTPM */
    unsigned asked = g->asked;
    rig_start(&r);
    json_t *v = rig_wait(&r, other, "failed");
    assert_string_equal(text(v, "reason"), "guest-clock");
    v = rig_wait(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "guest-quote");
    assert_int_equal(g->asked, asked);
    rig_free(&r);
}

static json_t *put_policy(struct rig *r, const struct rig_guest *g, const char *address, const char *firmware)
{
    char path[96];
    snprintf(path, sizeof path, "guests/%s", g->text);
    LT_JSON_AUTO json_t *had = rig_show(r, g);
    LT_JSON_AUTO json_t *old = NULL;
    char where[128];
    snprintf(where, sizeof where, "policies/%s", text(had, "policy"));
    old = rig_call(r, "GET", where, NULL, 200);
    if (firmware)
        json_object_set_new(old, "firmware", json_pack("[s]", firmware));
    return rig_call(
        r, "PUT", path,
        json_pack("{s:s, s:O}", "address", address ? address : text(had, "address"), "policy", old), 200);
}

static void is_unchecked_by(const json_t *guest, const char *reason)
{
    const json_t *v = json_object_get(guest, "verdict");
    assert_string_equal(text(v, "result"), "unchecked");
    assert_string_equal(text(v, "reason"), reason);
    assert_int_equal(json_array_size(json_object_get(v, "passed")), 0);
}

/* A PUT takes the old verdict away, though the guest holds the round under way back, or answers no more. */
static void test_a_new_policy_begins_anew(void **state)
{
    static const char none[] = "0000000000000000000000000000000000000000000000000000000000000000";
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0], *gone = &r.guest[1];
    rig_adopt(&r, g);
    rig_adopt(&r, gone);
    LT_JSON_AUTO json_t *same = put_policy(&r, g, NULL, NULL); /* equal: nothing begins anew */
    assert_string_equal(text(json_object_get(same, "verdict"), "result"), "trusted");

    unsigned asked = g->asked;
    g->mode = GUEST_HOLDS;
    rig_ask(&r, g);
    rig_wait_asked(g, asked + 1);
    LT_JSON_AUTO json_t *put = put_policy(&r, g, NULL, none);
    is_unchecked_by(put, "policy-changed");
    g->mode = GUEST_ANSWERS;
    asked = g->asked;
    rig_release(g); /* good under the old one: does not count */
    rig_wait_asked(g, asked + 1);
    for (bool failed = false; !failed;) {
        LT_JSON_AUTO json_t *now = rig_show(&r, g);
        const char *is = text(json_object_get(now, "verdict"), "result");
        assert_string_not_equal(is, "trusted");
        failed = !strcmp(is, "failed");
    }

    LT_JSON_AUTO json_t *away = put_policy(&r, gone, "127.0.0.1:9", none);
    is_unchecked_by(away, "policy-changed");
    rig_stop(&r);
    rig_start(&r);
    rig_wait(&r, gone, "unreachable");
    rig_wait(&r, g, "failed"); /* stays, whatever policy comes */
    LT_JSON_AUTO json_t *other = put_policy(&r, g, NULL,
                                            "11111111111111111111111111111111"
                                            "11111111111111111111111111111111");
    assert_string_equal(text(json_object_get(other, "verdict"), "result"), "failed");
    rig_free(&r);
}

static json_t *runtime_policy(int release)
{
    return json_pack("{s:{s:i,s:i},s:i,s:{},s:[],s:{},s:{s:[],s:s,s:n},s:{},s:s}", "meta", "version", 1,
                     "generator", 0, "release", release, "digests", "excludes", "keyrings", "ima",
                     "ignored_keyrings", "log_hash_alg", "sha1", "dm_policy", "ima-buf", "verification-keys",
                     "");
}

/* A document that a guest's policy names stays, and so does the policy; what nobody names goes, table and
 * all. */
static void test_documents_that_nobody_names(void **state)
{
    struct rig r;
    char path[128], table[256], guest[96];
    (void)state;
    rig_make(&r);
    rig_start(&r);
    LT_JSON_AUTO json_t *layer = rig_call(&r, "POST", "policies", runtime_policy(1), 201);
    LT_JSON_AUTO json_t *other = rig_call(&r, "POST", "policies", runtime_policy(2), 201);
    snprintf(guest, sizeof guest, "guests/%s", r.guest[0].text);
    json_t *policy = json_pack("{s:[{s:s,s:s}]}", "layers", "name", "a", "policy", text(layer, "digest"));
    LT_JSON_AUTO json_t *put = rig_call(&r, "PUT", guest, json_pack("{s:o}", "policy", policy), 200);
    snprintf(path, sizeof path, "policies/%s", text(layer, "digest"));
    LT_JSON_AUTO json_t *named = rig_call(&r, "DELETE", path, NULL, 409);
    assert_non_null(strstr(text(json_object_get(named, "error"), "message"), text(put, "policy")));
    snprintf(path, sizeof path, "policies/%s", text(put, "policy"));
    LT_JSON_AUTO json_t *held = rig_call(&r, "DELETE", path, NULL, 409);
    assert_non_null(strstr(text(json_object_get(held, "error"), "message"), r.guest[0].text));
    snprintf(table, sizeof table, "%s/tables/%s", r.state, text(other, "digest"));
    assert_int_equal(access(table, F_OK), 0);
    snprintf(path, sizeof path, "policies/%s", text(other, "digest"));
    rig_drop(rig_call(&r, "DELETE", path, NULL, 200));
    assert_int_not_equal(access(table, F_OK), 0);
    rig_drop(rig_call(&r, "GET", path, NULL, 404));
    rig_drop(rig_call(&r, "DELETE", path, NULL, 404));
    rig_drop(rig_call(&r, "DELETE", "policies/xyz", NULL, 400));

    rig_drop(rig_call(&r, "DELETE", guest, NULL, 200)); /* then its policy, then the layer */
    snprintf(path, sizeof path, "policies/%s", text(layer, "digest"));
    rig_drop(rig_call(&r, "DELETE", path, NULL, 409));
    snprintf(path, sizeof path, "policies/%s", text(put, "policy"));
    rig_drop(rig_call(&r, "DELETE", path, NULL, 200));
    snprintf(path, sizeof path, "policies/%s", text(layer, "digest"));
    rig_drop(rig_call(&r, "DELETE", path, NULL, 200));
    rig_free(&r);
}

static void test_unregistered_and_removed(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    LT_JSON_AUTO json_t *all = rig_call(&r, "GET", "guests", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(all, "guests")), RIG_GUESTS); /* registered, not added */
    const char *stranger = "guests/6d2f1a52-7c3b-4a0e-9f7d-0123456789ab";
    rig_drop(rig_call(&r, "GET", stranger, NULL, 404));
    rig_drop(rig_call(&r, "PUT", stranger, json_pack("{s:s}", "address", "127.0.0.1:1"), 200));
    rig_drop(rig_call(&r, "PUT", stranger, json_pack("{s:s}", "address", "127.0.0.1:1/x"), 400));
    rig_drop(rig_call(&r, "PUT", stranger, json_pack("{s:s}", "unknown", "x"), 400));
    rig_drop(rig_call(&r, "PUT", stranger, json_pack("{s:{s:i}}", "policy", "pcrs", 1), 400));
    struct rig_guest g = {0};
    strcpy(g.text, stranger + 7);
    json_t *v = rig_wait(&r, &g, "unreachable");
    assert_string_equal(text(v, "reason"), "not-registered");
    rig_drop(rig_call(&r, "DELETE", stranger, NULL, 200));
    rig_drop(rig_call(&r, "GET", stranger, NULL, 404));
    rig_drop(rig_call(&r, "POST", "rounds", json_pack("{s:[s]}", "guests", g.text), 404));
    rig_free(&r);
}

static void test_learn_needs_an_attested_state(void **state)
{
    struct rig r;
    char path[96];
    (void)state;
    rig_make(&r);
    r.mode = PROVIDER_IS_BUSY;
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(&r, "PUT", path, json_object(), 200));
    rig_wait(&r, g, "unreachable");
    strcat(path, "/learn");
    rig_drop(rig_call(&r, "POST", path, json_object(), 409)); /* no host quote yet */
    r.mode = PROVIDER_OMITS;
    settle(&r, g);
    rig_drop(rig_call(&r, "POST", path, json_object(), 409)); /* not resident */
    r.mode = PROVIDER_PROVES;
    rig_inventory(&r, LT_RESIDENCY_RUNNING | LT_RESIDENCY_TAINTED, 0);
    settle(&r, g);
    rig_drop(rig_call(&r, "POST", path, json_pack("{s:[s]}", "accept", "copyable"),
                      409)); /* tainted, not accepted */
    rig_drop(rig_call(&r, "POST", path, json_pack("{s:[s]}", "accept", "anything"), 400));
    rig_drop(rig_call(&r, "POST", path, json_pack("{s:[s,s]}", "accept", "copyable", "tainted"), 201));
    json_t *v;
    do /* copyable and tainted were named, boot-only was not */
        v = rig_wait(&r, g, "unchecked");
    while (strcmp(text(v, "reason"), "level"));
    assert_true(json_is_true(json_object_get(v, "tainted")));
    rig_free(&r);
}

/* Another TPM's AK behind this EK: the provider's word is not taken. */
static void test_a_host_that_cannot_activate(void **state)
{
    struct rig r;
    char path[96];
    (void)state;
    rig_make(&r);
    r.activation = 2;
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(&r, "PUT", path, json_object(), 200));
    settle(&r, g);
    json_t *v = rig_wait(&r, g, "unchecked"); /* no answer is no verdict */
    assert_true(names(v, "not_made", "host-identity"));
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    rig_free(&r);

    rig_make(&r); /* a wrong one may be the provider's: no more is known than before */
    r.activation = 1;
    rig_start(&r);
    rig_drop(rig_call(&r, "PUT", path, json_object(), 200));
    settle(&r, g);
    v = rig_wait(&r, &r.guest[0], "unchecked");
    assert_true(names(v, "not_made", "host-identity"));
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    rig_free(&r);
}

static const char *message(const json_t *verdict, const char *check)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(verdict, "not_made"), i, v)
    {
        if (!strcmp(text(v, "check"), check) && !text(v, "part"))
            return text(v, "message");
    }
    return "";
}

/* Nothing that the provider hands on unsigned turns a guest red, or lets one be green: it proves itself, or
 * it is as if it were not there, and asked for again. */
static void test_the_provider_lies_about_a_host(void **state)
{
    static const struct {
        enum provider_lie lie;
        const char *result, *reason, *says;
    } lies[] = {
        {LIE_NO_CERTIFICATE, "unchecked", "no-certificate", "shows no certificate of its EK"},
        {LIE_OTHER_CERTIFICATE, "unchecked", "no-certificate", "no valid certificate of its EK"},
        {LIE_CERTIFICATE_BIT, "unchecked", "no-certificate", "no valid certificate of its EK"},
        {LIE_NO_PEM, "unchecked", "no-certificate", "EK certificate 0: PEM"},
        {LIE_EK, "unreachable", "provider-refused", "the EK shown is that of host"},
        {LIE_AK, "unreachable", "provider-refused", "not those that signed its quote"},
        {LIE_LABEL, "unreachable", NULL, "is missing or malformed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct rig r;
        rig_make(&r);
        rig_start(&r);
        rig_adopt(&r, &r.guest[0]);
        r.lie = lies[i].lie;
        lt_tenant_reload(r.tenant); /* what was prepared of hosts is forgotten */
        json_t *v = round_of(&r, &r.guest[0], lies[i].result);
        if (lies[i].reason)
            assert_string_equal(text(v, "reason"), lies[i].reason);
        assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
        if (!strstr(message(v, "host-identity"), lies[i].says))
            fail_msg("lie %zu: %s", i, message(v, "host-identity"));
        r.lie = LIE_NONE;
        lt_tenant_reload(r.tenant);
        round_of(&r, &r.guest[0], "trusted");
        rig_free(&r);
    }
}

/* Nor does junk behind a certificate that is good by itself. */
static void test_junk_behind_a_certificate(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    r.lie = LIE_JUNK_BEHIND;
    lt_tenant_reload(r.tenant);
    round_of(&r, &r.guest[0], "trusted");
    rig_free(&r);
}

/* However many malformed quotes come with an answer, they hurt nobody and cost one line. */
static void test_quotes_that_are_none(void **state)
{
    struct rig r;
    char log[128];
    unsigned lines = 0;
    size_t n;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    r.lie = LIE_MANY;
    snprintf(log, sizeof log, "%s/log", r.dir);
    OK(lt_log_open("limetree", log, LT_LOG_WARNING, &err));
    unsigned before = r.posts;
    settle(&r, &r.guest[0]);
    OK(lt_log_open("limetree", NULL, LT_LOG_INFO, &err));
    LT_AUTOFREE uint8_t *told = NULL;
    OK(lt_file_read(log, 1 << 20, &told, &n, &err));
    for (const char *at = (const char *)told; (at = strstr(at, "host-quote-malformed")); at++)
        lines++;
    assert_in_range(lines, 1, r.posts - before);
    unlink(log);
    rig_free(&r);
}

/* Linked with --wrap: without memory for a place of each of the quotes of LIE_MANY. */
static atomic_bool no_places;
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return no_places && n == 102 && size == sizeof(void *) ? NULL : __real_calloc(n, size);
}

/* How many quotes come is the provider's choice: it ends a round, and not the tenant. */
static void test_no_memory_for_quotes(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    r.lie = LIE_MANY;
    no_places = true;
    json_t *v = round_of(&r, &r.guest[0], "unreachable");
    assert_string_equal(text(v, "reason"), "no-memory");
    no_places = false;
    round_of(&r, &r.guest[0], "trusted");
    rig_free(&r);
}

/* A root that is missing here disproves nothing: it is named with host, issuer and remedy, and never green.
 */
static void test_a_makers_root_is_missing(void **state)
{
    char maker[128], away[128], host[33];
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    snprintf(maker, sizeof maker, "%s/maker.pem", r.roots);
    snprintf(away, sizeof away, "%s/maker.away", r.roots);
    LT_AUTOFREE uint8_t *root = NULL;
    size_t n;
    OK(lt_file_read(maker, 65536, &root, &n, &err));
    OK(lt_file_write(away, root, n, 0600, &err));
    char foreign[128];
    snprintf(foreign, sizeof foreign, "%s/foreign.pem", r.roots);
    rig_foreign_root(&r, foreign);
    assert_int_equal(remove(maker), 0);
    lt_tenant_reload(r.tenant);
    json_t *v = round_of(&r, g, "unchecked");
    assert_string_equal(text(v, "reason"), "no-root");
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    lt_hex(r.host.host_id, 16, host);
    const char *says = message(v, "host-identity");
    if (!strstr(says, host) || !strstr(says, "CN=maker") || !strstr(says, "roots"))
        fail_msg("%s", says);
    OK(lt_file_write(maker, root, n, 0600, &err));
    lt_tenant_reload(r.tenant);
    round_of(&r, g, "trusted"); /* without being cleared */
    rig_free(&r);
}

static void test_a_host_that_leaves_the_registry(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    rig_registry(&r, "[");
    lt_tenant_reload(r.tenant); /* malformed: the old one stays in force */
    round_of(&r, g, "trusted");
    rig_registry(&r, "{\"format\":\"limetree-registry/1\",\"hosts\":[]}");
    lt_tenant_reload(r.tenant);
    json_t *v = round_of(&r, g, "unchecked");
    assert_string_equal(text(v, "reason"), "not-in-registry");
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    rig_free(&r);
}

/* A certificate that was good when the host was first seen. */
static void test_a_certificate_that_expires(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.conf.host_facts_s = 1;
    r.conf.period_s = 1;
    rig_chip_until(&r, 12);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    settle(&r, g);
    rig_wait(&r, g, "trusted"); /* judged again meanwhile, and still good */
    json_t *v = rig_wait(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "host-identity");
    assert_non_null(strstr(text(json_array_get(json_object_get(v, "failed"), 0), "message"), "expired"));
    assert_int_equal(r.activations, 1); /* nobody was asked for that */
    rig_free(&r);
}

/* The provider may publish what it likes: nothing of it is fetched before somebody accepts it by its digest.
 */
static void test_documents_nobody_accepts(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    char path[64];
    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(&r, "PUT", path, json_object(), 200));
    rig_wait(&r, g, "unchecked");
    settle(&r, g);
    assert_int_equal(r.policies, 0);
    rig_adopt(&r, g); /* learning accepts it */
    unsigned asked = r.policies;
    assert_true(asked > 0);
    pthread_mutex_lock(&r.lock);
    strcat(r.policy, " ");
    lt_sha256(r.policy, strlen(r.policy), r.policy_digest);
    pthread_mutex_unlock(&r.lock);
    json_t *v = round_of(&r, g, "unchecked");
    assert_string_equal(text(v, "reason"), "host-policy");
    settle(&r, g);
    assert_int_equal(r.policies, asked);
    rig_free(&r);
}

static bool lacks_log(const json_t *verdict)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(verdict, "not_made"), i, v)
    {
        if (!strcmp(text(v, "check"), "host-policy") && text(v, "part") &&
            !strcmp(text(v, "part"), "boot-log"))
            return true;
    }
    return false;
}

/* The host's log comes by way of the provider, and from its cache: one that is not this boot's says nothing
 * of the host. Of a host that is none, nothing is fetched. */
static void test_what_the_provider_tells_of_hosts(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    r.log = 1;
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    json_t *v = round_of(&r, &r.guest[0], "trusted");
    assert_true(lacks_log(v));
    assert_int_equal(r.logs, 1); /* not every round */
    rig_free(&r);

    rig_make(&r);
    memset(r.host.pcrs.value, 0, 10 * sizeof *r.host.pcrs.value);
    rig_policy(&r);
    r.log = 2;
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    assert_false(lacks_log(round_of(&r, &r.guest[0], "trusted")));
    assert_int_equal(r.logs, 1);
    for (r.log = 3; r.log <= 4; r.log++) { /* booted anew: the new log, then only the old one */
        uint8_t digest[32] = {0};
        pthread_mutex_lock(&r.lock);
        lt_pcr_extend(LT_HASH_SHA256, r.host.pcrs.value[5], digest);
        pthread_mutex_unlock(&r.lock);
        settle(&r, &r.guest[0]);
        assert_int_equal(lacks_log(rig_wait(&r, &r.guest[0], "trusted")), r.log == 4);
    }
    assert_int_equal(r.logs, 3);
    rig_free(&r);

    rig_make(&r);
    rig_registry(&r, "{\"format\":\"limetree-registry/1\",\"hosts\":[]}");
    rig_start(&r);
    char path[96];
    snprintf(path, sizeof path, "guests/%s", r.guest[0].text);
    rig_drop(rig_call(&r, "PUT", path, json_object(), 200));
    v = rig_wait(&r, &r.guest[0], "unchecked");
    settle(&r, &r.guest[0]);
    v = rig_wait(&r, &r.guest[0], "unchecked");
    assert_string_equal(text(v, "reason"),
                        "guest-policy"); /* the first that was not made; then the registry */
    assert_true(names(v, "not_made", "host-identity"));
    assert_int_equal(r.logs, 0);
    rig_free(&r);
}

/* The note about the other host's claim. */
static const char *claimant(const json_t *verdict)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(verdict, "notes"), i, v)
    {
        if (!strcmp(text(v, "part"), "claimant"))
            return text(v, "message");
    }
    return "";
}

static bool is_host(const struct mock_host *h, const json_t *verdict)
{
    char id[33];

    lt_hex(h->host_id, 16, id);
    return text(verdict, "host") && !strcmp(text(verdict, "host"), id);
}

/* An enrolled host says that it has another's guest (place theft): the true host's proof is the verdict, and
 * the other a note with its name. */
static void test_another_host_claims_the_guest(void **state)
{
    static const struct {
        enum rival rival;
        const char *result, *reason, *note;
    } rows[] = {
        {RIVAL_CLAIMS, "trusted", NULL, "claims this guest too: failed, host-policy: PCR 4"},
        {RIVAL_FIRST, "trusted", NULL, "claims this guest too: failed, host-policy: PCR 4"},
        {RIVAL_ERRS, "trusted", NULL, "was asked too: provider's proof: host-unreachable"},
        {RIVAL_AND_SILENCE, "unreachable", NULL, "claims this guest too: failed, host-policy: PCR 4"},
        {RIVAL_CLAIMS, "trusted", NULL, "claims this guest too"},
    };
    char other[33];
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    rig_adopt(&r, &r.guest[1]);
    lt_hex(r.other.host_id, 16, other);
    assert_true(r.pairs > 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned named = r.named;
        rig_rival(&r, rows[i].rival);
        settle(&r, g);
        json_t *v = rig_wait(&r, g, rows[i].result);
        assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
        if (!strstr(claimant(v), rows[i].note) || !strstr(claimant(v), other))
            fail_msg("row %zu: %s", i, claimant(v));
        assert_true(rows[i].rival == RIVAL_AND_SILENCE || is_host(&r.host, v));
        assert_true(r.named > named);         /* the host that was accepted last */
        round_of(&r, &r.guest[1], "trusted"); /* nobody else's business */
        rig_rival(&r, RIVAL_NONE);
        round_of(&r, g, "trusted"); /* nothing stuck */
    }
    /* A record of another EK from a host that is not the last accepted one: unchecked first, like a null. */
    unsigned contested = r.contested;
    rig_rival(&r, RIVAL_OTHER_EK);
    json_t *v = round_of(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "residency");
    assert_true(r.contested >= contested + 2); /* never by the first answer */
    rig_free(&r);
}

/* On a guest that no host was accepted for yet. */
static void test_claims_on_a_fresh_guest(void **state)
{
    char path[96];
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_rival(&r, RIVAL_CLAIMS);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(&r, "PUT", path, json_object(), 200));
    rig_wait(&r, g, "unchecked");
    settle(&r, g);
    /* Which of them would be learnt? */
    strcat(path, "/learn");
    LT_JSON_AUTO json_t *refused =
        rig_call(&r, "POST", path, json_pack("{s:[s,s]}", "accept", "copyable", "boot-only"), 409);
    assert_non_null(strstr(text(json_object_get(refused, "error"), "message"), "several hosts"));
    rig_rival(&r, RIVAL_NONE);
    settle(&r, g);
    rig_drop(rig_call(&r, "POST", path, json_pack("{s:[s,s]}", "accept", "copyable", "boot-only"), 201));
    rig_wait(&r, g, "trusted");
    rig_free(&r);

    /* The policy is known, the host is not: all that claim it fail, and nobody turns it red. */
    rig_make(&r);
    lt_hex(r.policy_digest, 32, path);
    rig_rival(&r, RIVAL_CLAIMS);
    pthread_mutex_lock(&r.lock);
    r.host.pcrs.value[4][1] ^= 1;
    pthread_mutex_unlock(&r.lock);
    rig_start(&r);
    g = &r.guest[0];
    json_t *policy = json_pack("{s:{s:[s]}, s:[s], s:[s,s]}", "pcrs", "4",
                               "0000000000000000000000000000000000000000000000000000000000000000",
                               "host_policies", path, "accept", "copyable", "boot-only");
    char put[64];
    snprintf(put, sizeof put, "guests/%s", g->text);
    rig_drop(rig_call(&r, "PUT", put, json_pack("{s:o}", "policy", policy), 200));
    settle(&r, g);
    json_t *v = rig_wait(&r, g, "unchecked");
    assert_string_equal(text(v, "reason"), "claimants");
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
    assert_non_null(strstr(claimant(v), "failed, host-policy"));
    pthread_mutex_lock(&r.lock);
    r.host.pcrs.value[4][1] ^= 1;
    pthread_mutex_unlock(&r.lock);
    settle(&r, g);
    v = rig_wait(&r, g, "trusted"); /* as soon as one holds */
    assert_true(is_host(&r.host, v));
    rig_free(&r);
}

/* Two hosts on policy have it: the one of before, and the verdict says that there is a copy. */
static void test_two_copies(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    rig_rival(&r, RIVAL_IS_GOOD);
    settle(&r, g);
    json_t *v = rig_wait(&r, g, "trusted");
    assert_true(is_host(&r.host, v));
    assert_non_null(strstr(claimant(v), "not handed over by it")); /* on another host than before */
    rig_free(&r);
}

/* A rival whose keys cannot be had, for as long as it likes, costs the verdict a second. */
static void test_a_rival_that_hangs(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    rig_rival(&r, RIVAL_HANGS);
    uint64_t from = lt_clock_ms();
    for (int i = 0; i < 3; i++) {
        json_t *v = round_of(&r, g, "trusted");
        settle(&r, g);
        v = rig_wait(&r, g, "trusted");
        assert_true(is_host(&r.host, v));
    }
    assert_true(lt_clock_ms() - from < 20000);
    json_t *v = rig_wait(&r, g, "trusted");
    assert_non_null(strstr(claimant(v), "was asked too"));
    rig_rival(&r, RIVAL_NONE); /* lets go of it */
    round_of(&r, g, "trusted");
    rig_free(&r);
}

struct puts {
    struct rig *r;
    char path[64];
    pthread_barrier_t together;
};

static void *put_addresses(void *arg)
{
    struct puts *p = arg;

    for (int i = 0; i < PUTS; i++) {
        pthread_barrier_wait(&p->together);
        rig_drop(rig_call(p->r, "PUT", p->path, json_pack("{s:s}", "address", "127.0.0.1:9"), 200));
        pthread_barrier_wait(&p->together);
    }
    return NULL;
}

/* Who changes the address alone does not bring back the policy of before. */
static void test_changes_at_once(void **state)
{
    struct rig r;
    struct puts p = {.r = &r};
    char want[65];
    pthread_t other;
    (void)state;

    rig_make(&r);
    rig_start(&r);
    snprintf(p.path, sizeof p.path, "guests/%s", r.guest[0].text);
    rig_drop(rig_call(&r, "PUT", p.path, json_object(), 200));
    pthread_barrier_init(&p.together, NULL, 2);
    assert_int_equal(pthread_create(&other, NULL, put_addresses, &p), 0);
    for (int i = 0; i < PUTS; i++) {
        LT_JSON_AUTO json_t *policy = json_pack("{s:{s:[s]}}", "pcrs", "4", "");
        snprintf(want, sizeof want, "%064x", i);
        json_array_set_new(json_object_get(json_object_get(policy, "pcrs"), "4"), 0, json_string(want));
        LT_AUTOFREE char *bytes = lt_json_dump(policy);
        pthread_barrier_wait(&p.together);
        json_t *body = json_pack("{s:s, s:O}", "address", "127.0.0.1:9", "policy", policy);
        rig_drop(rig_call(&r, "PUT", p.path, body, 200));
        pthread_barrier_wait(&p.together);
        LT_JSON_AUTO json_t *now = rig_show(&r, &r.guest[0]);
        uint8_t digest[LT_SHA256];
        lt_sha256(bytes, strlen(bytes), digest);
        lt_hex(digest, sizeof digest, want);
        assert_non_null(text(now, "policy"));
        assert_string_equal(text(now, "policy"), want);
    }
    pthread_join(other, NULL);
    pthread_barrier_destroy(&p.together);
    rig_free(&r);
}

struct hung {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool over;
};

/* On the store's writer: a disk that does not answer. */
static int hang(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct hung *h = arg;

    (void)sql, (void)e;
    pthread_mutex_lock(&h->lock);
    while (!h->over)
        pthread_cond_wait(&h->news, &h->lock);
    pthread_mutex_unlock(&h->lock);
    return 0;
}

struct change {
    struct rig *r;
    const char *path;
};

static void *change(void *arg)
{
    const struct change *c = arg;

    rig_drop(rig_call(c->r, "PUT", c->path, json_object(), 200));
    return NULL;
}

/* Who wants to know why is answered, however many wait for the disk. */
static void test_a_disk_that_hangs(void **state)
{
    struct rig r;
    struct hung h = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    pthread_t waits[4];
    char path[64];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    snprintf(path, sizeof path, "guests/%s", r.guest[0].text);
    lt_db_post(r.tenant->store->db, hang, &h, NULL);
    struct change c = {&r, path};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&waits[i], NULL, change, &c), 0);
    usleep(300000); /* nothing tells that they wait; a test that is too early passes */
    uint64_t from = lt_clock_ms();
    rig_drop(rig_call(&r, "GET", "status", NULL, 200));
    rig_drop(rig_call(&r, "GET", "guests", NULL, 200));
    assert_true(lt_clock_ms() - from < 10000);
    pthread_mutex_lock(&h.lock);
    h.over = true;
    pthread_cond_signal(&h.news);
    pthread_mutex_unlock(&h.lock);
    for (int i = 0; i < 4; i++)
        pthread_join(waits[i], NULL);
    rig_free(&r);
}

static void test_routes_are_closed(void **state)
{
    struct rig r;
    (void)state;
    rig_make(&r);
    rig_start(&r);
    check_routes_are_closed(&r.pki, lt_http_server_address(r.tenant->server), lt_tenant_routes,
                            lt_tenant_route_count);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopt_and_share_a_quote),
        cmocka_unit_test(test_transport_is_no_verdict),
        cmocka_unit_test(test_a_slow_guest_holds_nobody),
        cmocka_unit_test(test_absent_twice_fails_and_sticks),
        cmocka_unit_test(test_forged_quote_never_reaches_the_provider),
        cmocka_unit_test(test_replayed_proof),
        cmocka_unit_test(test_sandwich_closes_with_the_next_round),
        cmocka_unit_test(test_a_restart_forgets_nothing),
        cmocka_unit_test(test_a_new_policy_begins_anew),
        cmocka_unit_test(test_documents_that_nobody_names),
        cmocka_unit_test(test_unregistered_and_removed),
        cmocka_unit_test(test_learn_needs_an_attested_state),
        cmocka_unit_test(test_a_host_that_cannot_activate),
        cmocka_unit_test(test_the_provider_lies_about_a_host),
        cmocka_unit_test(test_junk_behind_a_certificate),
        cmocka_unit_test(test_quotes_that_are_none),
        cmocka_unit_test(test_no_memory_for_quotes),
        cmocka_unit_test(test_a_makers_root_is_missing),
        cmocka_unit_test(test_a_host_that_leaves_the_registry),
        cmocka_unit_test(test_a_certificate_that_expires),
        cmocka_unit_test(test_what_the_provider_tells_of_hosts),
        cmocka_unit_test(test_another_host_claims_the_guest),
        cmocka_unit_test(test_claims_on_a_fresh_guest),
        cmocka_unit_test(test_two_copies),
        cmocka_unit_test(test_a_rival_that_hangs),
        cmocka_unit_test(test_documents_nobody_accepts),
        cmocka_unit_test(test_changes_at_once),
        cmocka_unit_test(test_a_disk_that_hangs),
        cmocka_unit_test(test_routes_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
