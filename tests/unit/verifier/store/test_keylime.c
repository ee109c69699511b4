/* What Keylime's API knows of its guests: rows that live and die with them, counters that the rounds write,
 * and policies by name. */
#include "tests/support/unit.h"
#include "verifier/store/keylime.h"
#include "verifier/store/releases.h"
#include "verifier/store/seals.h"

#include <unistd.h>

static const char boot[] = "00000000-0000-4000-8000-00000000000a";
static const struct lt_slice none, sealed = {(const uint8_t *)"sealed one", 10};
static const struct lt_slice ak = {(const uint8_t *)"its AK", 6}, other_ak = {(const uint8_t *)"another", 7};
static const uint8_t ek[32] = {5}, old_digest[32] = {0xaa}, new_digest[32] = {0xbb};

struct at {
    char dir[64], path[96];
    struct lt_store *s;
};

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-keylime-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[128];

    lt_store_close(a->s);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", a->path, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
    free(a);
    return 0;
}

static struct lt_store_guest guest(uint8_t n)
{
    struct lt_store_guest g = {.uuid = {n}, .door = LT_STORE_DOOR_KEYLIME};
    snprintf(g.agent, sizeof g.agent, "agent-%d", n);
    return g;
}

/* With a runtime policy of that name; came: as its own, or as one that others may use. */
static int add(struct at *a, uint8_t n, const char *name, bool came, bool own, const char *document)
{
    struct lt_store_guest g = guest(n);
    struct lt_store_keylime row = {.given = json_pack("{s:i}", "port", 9000 + n)};
    struct lt_store_keylime_policy p = {.own = own, .has_document = true},
                                   judged[2] = {{.has_document = true}};
    struct lt_store_keylime_new new = {
        .guest = &g, .row = &row, .policies = &p, .count = came, .ak = ak, .v = sealed, .judged = judged};

    if (document) {
        new.document = (struct lt_slice){(const uint8_t *)document, strlen(document)};
        g.has_policy = true;
        g.policy[0] = n;
    }
    memcpy(p.digest, old_digest, 32);
    memcpy(judged[LT_STORE_KEYLIME_RUNTIME].digest, old_digest, 32);
    snprintf(p.name, sizeof p.name, "%s", name);
    snprintf(row.name[LT_STORE_KEYLIME_RUNTIME], sizeof row.name[0], "%s", name);
    int rc = lt_store_keylime_add(a->s, &new, &err);
    json_decref(row.given);
    return rc;
}

static void a_row_lives_with_its_guest(void **state)
{
    struct at *a = *state;
    LT_STORE_AUTOKEYLIME struct lt_store_keylime k;
    LT_STORE_AUTORELEASE struct lt_store_release r;
    struct lt_store_keylime_policy p;
    struct lt_store_guest g = guest(1);

    FAILS(LT_E_NOT_FOUND, lt_store_keylime_get(a->s, g.uuid, &k, &err));
    OK(add(a, 1, "agent-1", true, true, NULL));
    OK(lt_store_keylime_get(a->s, g.uuid, &k, &err));
    assert_int_equal(json_integer_value(json_object_get(k.given, "port")), 9001);
    assert_string_equal(k.name[LT_STORE_KEYLIME_RUNTIME], "agent-1");
    assert_string_equal(k.name[LT_STORE_KEYLIME_BOOT], "");
    assert_true(!k.stopped && !k.attestations && !k.last_quote);
    OK(lt_store_release_get(a->s, g.uuid, &r, &err));
    assert_int_equal(r.v.n, 10);
    OK(lt_store_keylime_policy_get(a->s, LT_STORE_KEYLIME_RUNTIME, "agent-1", &p, &err));
    assert_true(p.own && p.has_document);
    FAILS(LT_E_CONFLICT, add(a, 1, "agent-1", false, false, NULL)); /* it is there */
    OK(lt_store_guest_delete(a->s, g.uuid, &err));
    lt_store_keylime_free(&k);
    FAILS(LT_E_NOT_FOUND, lt_store_keylime_get(a->s, g.uuid, &k, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_keylime_policy_get(a->s, LT_STORE_KEYLIME_RUNTIME, "agent-1", &p, &err));
}

static void all_or_nothing(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = guest(1), got;

    FAILS(LT_E_NOT_FOUND, add(a, 1, "nowhere", false, false, NULL));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_get(a->s, g.uuid, &got, &err));
    OK(add(a, 2, "taken", true, false, NULL));
    FAILS(LT_E_CONFLICT, add(a, 1, "taken", true, false, NULL));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_get(a->s, g.uuid, &got, &err));
    OK(add(a, 1, "taken", false, false, NULL));
}

static void a_federation_guest_is_not_taken(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = guest(1);

    g.door = LT_STORE_DOOR_FEDERATION;
    OK(lt_store_guest_put(a->s, &g, none, &err));
    assert_int_not_equal(add(a, 1, "own", true, true, NULL), 0);
    FAILS(LT_E_NOT_FOUND, lt_store_keylime_stop(a->s, g.uuid, true, &err));
    assert_false(lt_store_keylime_stopped(a->s, g.uuid));
}

static void stopped_and_again(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = guest(1);

    OK(add(a, 1, "x", true, true, NULL));
    OK(lt_store_keylime_stop(a->s, g.uuid, true, &err));
    assert_true(lt_store_keylime_stopped(a->s, g.uuid));
    lt_store_close(a->s);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
    assert_true(lt_store_keylime_stopped(a->s, g.uuid));
    g.door = LT_STORE_DOOR_FEDERATION; /* whose operator takes it over, and knows no stop */
    OK(lt_store_guest_put(a->s, &g, none, &err));
    assert_false(lt_store_keylime_stopped(a->s, g.uuid));
}

/* An id that was freed and taken by another TPM is not this guest's. */
static void a_guest_is_its_aks(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = guest(1), other = guest(2);

    OK(add(a, 1, "x", true, true, NULL));
    OK(lt_store_keylime_check_ak(a->s, g.uuid, ak, &err));
    FAILS(LT_E_NOT_REGISTERED, lt_store_keylime_check_ak(a->s, g.uuid, other_ak, &err));
    OK(lt_store_keylime_check_ak(a->s, other.uuid, other_ak, &err)); /* no guest of this door */
    g.door = LT_STORE_DOOR_FEDERATION;
    OK(lt_store_guest_put(a->s, &g, none, &err));
    OK(lt_store_keylime_check_ak(a->s, g.uuid, other_ak, &err));
}

static void round_of(struct at *a, uint8_t n, enum lt_verdict_result result, int64_t received, bool quoted)
{
    struct lt_verdict v;
    struct lt_history_guest h = {0};
    struct lt_store_round r = {.uuid = {n}, .verdict = &v, .t1_ms = 10, .end_ms = 20, .received = received};
    enum lt_store_kept kept;

    lt_verdict_init(&v);
    v.result = result;
    r.ek_digest = quoted ? ek : NULL;
    r.history = quoted ? &h : NULL;
    OK(lt_store_round(a->s, &r, &kept, &err));
}

static void counted(struct at *a, int64_t attestations, int64_t quote, int64_t attestation)
{
    LT_STORE_AUTOKEYLIME struct lt_store_keylime k;
    struct lt_store_guest g = guest(1);

    OK(lt_store_keylime_get(a->s, g.uuid, &k, &err));
    assert_int_equal(k.attestations, attestations);
    assert_int_equal(k.last_quote, quote);
    assert_int_equal(k.last_attestation, attestation);
}

/* Attestations that count are those whose verdict was stored as trusted. */
static void rounds_are_counted(void **state)
{
    struct at *a = *state;

    OK(add(a, 1, "x", true, true, NULL));
    round_of(a, 1, LT_VERDICT_UNREACHABLE, 100, false);
    counted(a, 0, 0, 0);
    round_of(a, 1, LT_VERDICT_UNCHECKED, 101, true);
    counted(a, 0, 101, 0);
    round_of(a, 1, LT_VERDICT_TRUSTED, 102, true);
    round_of(a, 1, LT_VERDICT_TRUSTED, 103, true);
    counted(a, 2, 103, 103);
    round_of(a, 1, LT_VERDICT_FAILED, 104, true);
    round_of(a, 1, LT_VERDICT_TRUSTED, 105, true); /* the failed one stands */
    counted(a, 2, 105, 103);
}

static void policies_by_name(void **state)
{
    struct at *a = *state;
    struct lt_store_keylime_policy p = {.kind = LT_STORE_KEYLIME_BOOT, .name = "b", .tpm_policy = NULL}, got;
    LT_JSON_AUTO json_t *names = NULL, *others = NULL;

    OK(lt_store_keylime_policy_add(a->s, &p, &err));
    FAILS(LT_E_CONFLICT, lt_store_keylime_policy_add(a->s, &p, &err));
    p.kind = LT_STORE_KEYLIME_RUNTIME; /* the same name, another kind */
    p.tpm_policy = strdup("{}");
    OK(lt_store_keylime_policy_add(a->s, &p, &err));
    strcpy(p.name, "a");
    OK(lt_store_keylime_policy_add(a->s, &p, &err));
    lt_store_keylime_policy_free(&p);
    OK(lt_store_keylime_policy_names(a->s, LT_STORE_KEYLIME_RUNTIME, &names, &err));
    assert_int_equal(json_array_size(names), 2);
    assert_string_equal(json_string_value(json_array_get(names, 0)), "a");
    OK(lt_store_keylime_policy_names(a->s, LT_STORE_KEYLIME_BOOT, &others, &err));
    assert_int_equal(json_array_size(others), 1);
    OK(lt_store_keylime_policy_get(a->s, LT_STORE_KEYLIME_RUNTIME, "a", &got, &err));
    assert_string_equal(got.tpm_policy, "{}");
    assert_true(!got.has_document && !got.own);
    lt_store_keylime_policy_free(&got);
    OK(lt_store_keylime_policy_drop(a->s, LT_STORE_KEYLIME_RUNTIME, "a", &err));
    FAILS(LT_E_NOT_FOUND, lt_store_keylime_policy_drop(a->s, LT_STORE_KEYLIME_RUNTIME, "a", &err));
    FAILS(LT_E_NOT_FOUND, lt_store_keylime_policy_get(a->s, LT_STORE_KEYLIME_RUNTIME, "../x", &got, &err));
}

static void in_use(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = guest(1);

    OK(add(a, 1, "shared", true, false, NULL));
    FAILS(LT_E_CONFLICT, lt_store_keylime_policy_drop(a->s, LT_STORE_KEYLIME_RUNTIME, "shared", &err));
    OK(lt_store_guest_delete(a->s, g.uuid, &err));
    OK(lt_store_keylime_policy_drop(a->s, LT_STORE_KEYLIME_RUNTIME, "shared", &err));
    OK(add(a, 1, "shared", true, false, NULL));
    g.door = LT_STORE_DOOR_FEDERATION; /* whose documents go by digest */
    OK(lt_store_guest_put(a->s, &g, none, &err));
    OK(lt_store_keylime_policy_drop(a->s, LT_STORE_KEYLIME_RUNTIME, "shared", &err));
}

static void a_document_under_a_name_stays(void **state)
{
    struct at *a = *state;
    struct lt_store_keylime_policy p = {.name = "n", .has_document = true};

    OK(lt_store_policy_put(a->s, "doc", 3, p.digest, &err));
    OK(lt_store_keylime_policy_add(a->s, &p, &err));
    FAILS(LT_E_CONFLICT, lt_store_policy_drop(a->s, p.digest, &err));
    OK(lt_store_keylime_policy_drop(a->s, LT_STORE_KEYLIME_RUNTIME, "n", &err));
    OK(lt_store_policy_drop(a->s, p.digest, &err));
}

static int count_user(void *arg, const struct lt_store_guest *g, const struct lt_store_keylime *row)
{
    assert_string_equal(row->name[LT_STORE_KEYLIME_RUNTIME], "shared");
    assert_int_equal(json_integer_value(json_object_get(row->given, "port")), 9000 + g->uuid[0]);
    ++*(unsigned *)arg;
    return 0;
}

static void policy_is(struct at *a, uint8_t n, const char *text)
{
    struct lt_store_guest g = guest(n), got;
    uint8_t *p;
    size_t size;

    OK(lt_store_guest_get(a->s, g.uuid, &got, &err));
    OK(lt_store_policy_get(a->s, got.policy, &p, &size, &err));
    assert_int_equal(size, strlen(text));
    assert_memory_equal(p, text, size);
    free(p);
}

static struct lt_slice slice(const char *text)
{
    return (struct lt_slice){(const uint8_t *)text, strlen(text)};
}

/* Another content for a name is another guest policy for each that uses it, or none for any. */
static void another_content(void **state)
{
    struct at *a = *state;
    unsigned users = 0;
    struct lt_store_keylime_policy now = {.name = "shared", .has_document = true}, got;
    const struct lt_store_keylime_change both[] = {{{1}, slice("one!")}, {{2}, slice("two!")}},
                                         others[] = {{{1}, slice("one!")}, {{3}, slice("three!")}};
    struct lt_store_guest one = guest(1), two = guest(2);

    memcpy(now.digest, new_digest, 32);
    FAILS(LT_E_NOT_FOUND, lt_store_keylime_policy_change(a->s, &now, NULL, 0, &err));
    OK(add(a, 1, "shared", true, false, NULL));
    OK(add(a, 2, "shared", false, false, NULL));
    OK(add(a, 3, "other", true, false, NULL));
    OK(lt_store_guest_policy(a->s, one.uuid, slice("one"), one.policy, &err));
    OK(lt_store_guest_policy(a->s, two.uuid, slice("two"), two.policy, &err));
    OK(lt_store_keylime_users(a->s, LT_STORE_KEYLIME_RUNTIME, "shared", count_user, &users, &err));
    assert_int_equal(users, 2);
    FAILS(LT_E_BUSY, lt_store_keylime_policy_change(a->s, &now, NULL, 0, &err));
    FAILS(LT_E_BUSY, lt_store_keylime_policy_change(a->s, &now, both, 1, &err));
    FAILS(LT_E_BUSY, lt_store_keylime_policy_change(a->s, &now, others, 2, &err));
    policy_is(a, 1, "one");
    policy_is(a, 2, "two");
    OK(lt_store_keylime_policy_change(a->s, &now, both, 2, &err));
    policy_is(a, 1, "one!");
    policy_is(a, 2, "two!");
    OK(lt_store_keylime_policy_get(a->s, LT_STORE_KEYLIME_RUNTIME, "shared", &got, &err));
    assert_memory_equal(got.digest, new_digest, 32);
    lt_store_keylime_policy_free(&got);
    FAILS(LT_E_BUSY, add(a, 4, "shared", false, false, NULL)); /* its policy was made with the old one */
}

#define RETIRED "1111111111111111111111111111111111111111111111111111111111111111"

static size_t retired(struct at *a, uint8_t n)
{
    struct lt_store_retired *list;
    size_t count;

    OK(lt_store_retired(a->s, guest(n).uuid, &list, &count, &err));
    free(list);
    return count;
}

/* What a policy retires is retired, and accepted again, by whatever door the policy comes. */
static void retires(void **state)
{
    struct at *a = *state;
    const struct lt_store_keylime_policy now = {.name = "shared", .has_document = true};
    const struct lt_store_keylime_change
        retires = {{1}, slice("{\"host_policies\":[],\"retired_host_policies\":[\"" RETIRED "\"]}")},
        accepts = {{1}, slice("{\"host_policies\":[\"" RETIRED "\"]}")};

    OK(add(a, 1, "shared", true, false, NULL));
    OK(lt_store_keylime_policy_change(a->s, &now, &retires, 1, &err));
    assert_int_equal(retired(a, 1), 1);
    OK(lt_store_keylime_policy_change(a->s, &now, &accepts, 1, &err));
    assert_int_equal(retired(a, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_lives_with_its_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_federation_guest_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_is_its_aks, setup, teardown),
        cmocka_unit_test_setup_teardown(rounds_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(policies_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(a_document_under_a_name_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(another_content, setup, teardown),
        cmocka_unit_test_setup_teardown(retires, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
