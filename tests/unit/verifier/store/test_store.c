/* The verifier's store: what survives, what decays. */
#include "common/file.h"
#include "tests/support/unit.h"
#include "verifier/store/store.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char boot_a[] = "00000000-0000-4000-8000-00000000000a",
                  boot_b[] = "00000000-0000-4000-8000-00000000000b";
static const struct lt_store_deadlines deadlines = {.news_ms = 93000, .max_stale_ms = 180000};
static const uint8_t uuid[16] = {1, 2, 3};
static const struct lt_slice no_document;

struct at {
    char dir[64], path[96];
    struct lt_store *s;
};

static void reopen(struct at *a, const char *boot)
{
    lt_store_close(a->s);
    OK(lt_store_open(a->path, boot, NULL, &a->s, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const struct lt_store_guest g = {.uuid = {1, 2, 3}, .address = "127.0.0.1:9002"};

    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-store-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    reopen(a, boot_a);
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    *state = a;
    return 0;
}

static void room(bool is)
{
    struct rlimit l;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = is ? l.rlim_max : 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static int teardown(void **state)
{
    struct at *a = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[128];

    room(true);
    lt_store_close(a->s);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", a->path, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
    free(a);
    return 0;
}

static enum lt_store_kept put_about(struct at *a, enum lt_verdict_result result, uint64_t t1, uint64_t end,
                                    const struct lt_store_basis *basis)
{
    struct lt_verdict v;
    struct lt_store_round r = {
        .verdict = &v, .basis = basis, .t1_ms = t1, .end_ms = end, .started = 1, .received = 2};
    enum lt_store_kept kept;

    memcpy(r.uuid, uuid, 16);
    lt_verdict_init(&v);
    v.result = result;
    OK(lt_store_round(a->s, &r, &kept, &err));
    return kept;
}

static bool put(struct at *a, enum lt_verdict_result result, uint64_t t1, uint64_t end)
{
    return put_about(a, result, t1, end, NULL) == LT_STORE_KEPT;
}

static void expect(struct at *a, uint64_t now, enum lt_verdict_result result, bool unproven)
{
    struct lt_store_status st;
    LT_JSON_AUTO json_t *j = NULL;

    OK(lt_store_status(a->s, uuid, &deadlines, now, &st, &j, &err));
    assert_true(st.known);
    assert_int_equal(st.result, result);
    assert_int_equal(st.unproven, unproven);
    assert_true(!unproven || !st.proven_ms);
    assert_string_equal(json_string_value(json_object_get(j, "result")), lt_verdict_result_slug(result));
    if (unproven)
        assert_string_equal(json_string_value(json_object_get(j, "reason")), "unproven");
    assert_true(json_is_integer(json_object_get(json_object_get(j, "times"), "age_ms")));
}

static void test_trusted_decays(void **state)
{
    struct at *a = *state;
    struct lt_store_status st;
    LT_JSON_AUTO json_t *none = NULL;

    OK(lt_store_status(a->s, uuid, &deadlines, 5, &st, &none, &err));
    assert_false(st.known);
    assert_true(json_is_null(none));
    assert_true(put(a, LT_VERDICT_TRUSTED, 10000, 10500));
    expect(a, 10500, LT_VERDICT_TRUSTED, false);
    expect(a, 10500 + deadlines.news_ms, LT_VERDICT_TRUSTED, false);
    expect(a, 10501 + deadlines.news_ms, LT_VERDICT_STALE, false); /* no news for a period */
    expect(a, 10000 + deadlines.max_stale_ms, LT_VERDICT_STALE, false);
    expect(a, 10001 + deadlines.max_stale_ms, LT_VERDICT_STALE, true);
    expect(a, 9000, LT_VERDICT_STALE, true); /* a time that lies ahead of the clock proves nothing */
}

static void test_withholding_is_unproven(void **state)
{
    struct at *a = *state;

    assert_true(put(a, LT_VERDICT_UNREACHABLE, 1, 2));
    expect(a, 10000000, LT_VERDICT_UNREACHABLE, false); /* never trusted: nothing to take back */
    assert_true(put(a, LT_VERDICT_TRUSTED, 10000, 10500));
    assert_true(put(a, LT_VERDICT_UNREACHABLE, 100000, 100001));
    expect(a, 100001, LT_VERDICT_UNREACHABLE, false);
    expect(a, 190001, LT_VERDICT_UNREACHABLE, true);
    assert_true(put(a, LT_VERDICT_TRUSTED, 200000, 200500)); /* ends it */
    expect(a, 200500, LT_VERDICT_TRUSTED, false);
}

/* What a restart goes on with: the time left, whatever the last verdict was. */
static void test_time_left_until_unproven(void **state)
{
    static const enum lt_verdict_result later[] = {LT_VERDICT_TRUSTED, LT_VERDICT_UNREACHABLE,
                                                   LT_VERDICT_UNCHECKED, LT_VERDICT_STALE};
    struct at *a = *state;
    struct lt_store_status st;

    assert_true(put(a, LT_VERDICT_UNREACHABLE, 1, 2));
    OK(lt_store_status(a->s, uuid, &deadlines, 3, &st, NULL, &err));
    assert_int_equal(st.proven_ms, 0);
    assert_true(put(a, LT_VERDICT_TRUSTED, 10000, 10500));
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (i)
            assert_true(put(a, later[i], 150000, 150001));
        reopen(a, boot_a);
        OK(lt_store_status(a->s, uuid, &deadlines, 150001, &st, NULL, &err));
        assert_int_equal(st.proven_ms, 10000 + deadlines.max_stale_ms + 1 - 150001);
        expect(a, 150001 + st.proven_ms, i ? later[i] : LT_VERDICT_STALE, true);
    }
    assert_true(put(a, LT_VERDICT_FAILED, 150002, 150003));
    OK(lt_store_status(a->s, uuid, &deadlines, 150003, &st, NULL, &err));
    assert_int_equal(st.proven_ms, 0);
}

static void test_another_boot_leaves_nothing_green(void **state)
{
    struct at *a = *state;

    assert_true(put(a, LT_VERDICT_TRUSTED, 10000, 10500));
    reopen(a, boot_a);
    expect(a, 10600, LT_VERDICT_TRUSTED, false);
    reopen(a, boot_b);
    expect(a, 10600, LT_VERDICT_STALE, true);
}

static void test_failed_stands(void **state)
{
    struct at *a = *state;

    FAILS(LT_E_CONFLICT, lt_store_clear(a->s, uuid, &err));
    assert_true(put(a, LT_VERDICT_TRUSTED, 10, 20));
    FAILS(LT_E_CONFLICT, lt_store_clear(a->s, uuid, &err));
    assert_true(put(a, LT_VERDICT_FAILED, 30, 40));
    assert_false(put(a, LT_VERDICT_TRUSTED, 50, 60));
    assert_false(put(a, LT_VERDICT_FAILED, 50, 60));
    expect(a, 60, LT_VERDICT_FAILED, false);
    reopen(a, boot_b);
    expect(a, 10000000, LT_VERDICT_FAILED, false);
    OK(lt_store_clear(a->s, uuid, &err));
    assert_true(put(a, LT_VERDICT_TRUSTED, 70, 80));
    expect(a, 80, LT_VERDICT_TRUSTED, false);
}

/* What the guest's verdict reads as. */
static void reads(struct at *a, enum lt_verdict_result result, const char *reason)
{
    struct lt_store_status st;
    LT_JSON_AUTO json_t *j = NULL;

    OK(lt_store_status(a->s, uuid, &deadlines, 1000, &st, &j, &err));
    assert_int_equal(st.result, result);
    assert_string_equal(json_string_value(json_object_get(j, "result")), lt_verdict_result_slug(result));
    const char *is = json_string_value(json_object_get(j, "reason"));
    if (reason ? !is || strcmp(is, reason) : is != NULL)
        fail_msg("reason %s, not %s", is ? is : "null", reason ? reason : "null");
    if (result == LT_VERDICT_UNCHECKED && reason) /* nothing that was made counts */
        assert_int_equal(json_array_size(json_object_get(j, "not_made")), LT_CHECKS);
}

static void set_policy(struct at *a, uint8_t first)
{
    const struct lt_store_guest g = {.uuid = {1, 2, 3}, .has_policy = true, .policy = {first}};
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
}

/* Verdict and policy are one fact, whatever order a round and a PUT end in. */
static void test_a_verdict_is_of_one_policy(void **state)
{
    struct at *a = *state;
    const struct lt_store_basis none = {0}, one = {.has_policy = true, .policy = {1}},
                                two = {.has_policy = true, .policy = {2}};

    set_policy(a, 1);
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 10, 20, &none),
                     LT_STORE_OUTDATED); /* begun before it had one */
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 10, 20, &one), LT_STORE_KEPT);
    reads(a, LT_VERDICT_TRUSTED, NULL);
    set_policy(a, 1); /* an equal policy, or another address, changes nothing */
    reads(a, LT_VERDICT_TRUSTED, NULL);
    set_policy(a, 2);
    reads(a, LT_VERDICT_UNCHECKED, "policy-changed");
    reopen(a, boot_a);
    reads(a, LT_VERDICT_UNCHECKED, "policy-changed");
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 30, 40, &one),
                     LT_STORE_OUTDATED); /* in flight meanwhile */
    assert_int_equal(put_about(a, LT_VERDICT_FAILED, 30, 40, &one), LT_STORE_OUTDATED);
    reads(a, LT_VERDICT_UNCHECKED, "policy-changed");
    assert_int_equal(put_about(a, LT_VERDICT_UNREACHABLE, 50, 60, &two),
                     LT_STORE_KEPT); /* a round under the new one */
    reads(a, LT_VERDICT_UNREACHABLE, NULL);
    set_policy(a, 1);
    reads(a, LT_VERDICT_UNCHECKED, "policy-changed");
    assert_int_equal(put_about(a, LT_VERDICT_FAILED, 70, 80, &one), LT_STORE_KEPT);
    set_policy(a, 2);
    reads(a, LT_VERDICT_FAILED, NULL); /* stays until it is cleared */
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 90, 100, &two), LT_STORE_STANDS);
    reads(a, LT_VERDICT_FAILED, NULL);
}

static void agent(struct at *a, uint8_t ek)
{
    struct lt_agent g = {
        .id = "01020300-0000-0000-0000-000000000000", .ek = {ek}, .ek_n = 4, .ak = {1}, .ak_n = 4};
    OK(lt_store_agent_activate(a->s, &g, NULL, &err));
}

static void test_a_verdict_is_of_one_vtpm(void **state)
{
    struct at *a = *state;
    struct lt_store_basis b = {0};

    agent(a, 1);
    lt_store_basis_ek(&b, (const uint8_t *)"no key at all", 13); /* zeros, as of the agent above */
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 10, 20, &b), LT_STORE_KEPT);
    reads(a, LT_VERDICT_TRUSTED, NULL);
    OK(lt_store_agent_delete(a->s, "01020300-0000-0000-0000-000000000000", false, &err));
    reads(a, LT_VERDICT_UNCHECKED, "registration-changed");
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 30, 40, &b), LT_STORE_OUTDATED);
    agent(a, 1);
    reads(a, LT_VERDICT_TRUSTED, NULL); /* the same vTPM again */
    b.ek[0] = 1;
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 30, 40, &b), LT_STORE_OUTDATED);
    assert_int_equal(put_about(a, LT_VERDICT_FAILED, 30, 40, &b), LT_STORE_OUTDATED);
    reads(a, LT_VERDICT_TRUSTED, NULL);
}

static void by_hand(struct at *a, const char *sql)
{
    sqlite3 *db;

    lt_store_close(a->s);
    a->s = NULL;
    assert_int_equal(sqlite3_open(a->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
    OK(lt_store_open(a->path, boot_a, NULL, &a->s, &err));
}

/* The second schema, as the first program wrote it, with a trusted guest, a failed one and a history. */
static void test_a_store_of_before(void **state)
{
    struct at *a = *state;
    const uint8_t ek[32] = {9}, failed[16] = {2};
    struct lt_history_guest h;
    struct lt_store_status st;

    by_hand(a,
            "DROP TABLE moments; DROP TABLE sealed_lists; DROP TABLE sealed_hosts; DROP TABLE sealed_closed;"
            "DROP TABLE exposures; DROP TABLE retirements; DROP TABLE sealed_logs;"
            "DROP TABLE revocations; DROP TABLE receivers; DROP TABLE unproven;"
            "DROP TABLE keylime_policies; DROP TABLE keylime; DROP TABLE releases; DROP TABLE verdicts; "
            "DROP TABLE guests; DROP TABLE agents; DROP TABLE policies;"
            "DROP TABLE guest_history; DROP TABLE host_clocks; DROP TABLE nonces;"
            "CREATE TABLE agents(id TEXT PRIMARY KEY, ek BLOB NOT NULL, ak BLOB NOT NULL, ekcert TEXT,"
            " mtls_cert TEXT, ip TEXT, port INTEGER NOT NULL, regcount INTEGER NOT NULL,"
            " activated INTEGER NOT NULL); CREATE INDEX agents_ek ON agents(ek);"
            "CREATE TABLE guests(uuid BLOB PRIMARY KEY, address TEXT NOT NULL, policy BLOB);"
            "CREATE TABLE policies(digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);"
            "CREATE TABLE guest_history(ek_digest BLOB PRIMARY KEY, clock_reset INTEGER, clock_restart"
            " INTEGER, clock INTEGER, accepted_reset INTEGER, accepted_restart INTEGER, accepted_clock"
            " INTEGER, ak_name BLOB, incarnation BLOB, absent INTEGER NOT NULL);"
            "CREATE TABLE host_clocks(ak_name BLOB PRIMARY KEY, reset INTEGER NOT NULL, restart INTEGER"
            " NOT NULL, clock INTEGER NOT NULL);"
            "CREATE TABLE nonces(nonce TEXT PRIMARY KEY, boot TEXT NOT NULL, at INTEGER NOT NULL);"
            "CREATE TABLE verdicts(uuid BLOB PRIMARY KEY REFERENCES guests(uuid) ON DELETE CASCADE, result"
            " INTEGER NOT NULL, doc TEXT NOT NULL, boot TEXT NOT NULL, at INTEGER NOT NULL, received"
            " INTEGER NOT NULL, trusted_boot TEXT, trusted_at INTEGER);"
            "INSERT INTO guests VALUES(x'01020300000000000000000000000000','h:1',zeroblob(32)),"
            " (x'02000000000000000000000000000000','h:2',zeroblob(32));"
            "INSERT INTO verdicts VALUES(x'01020300000000000000000000000000',0,'{\"times\":{}}',"
            "'00000000-0000-4000-8000-00000000000a',900,1,'00000000-0000-4000-8000-00000000000a',890),"
            "(x'02000000000000000000000000000000',1,'{\"times\":{}}','x',900,1,NULL,NULL);"
            "INSERT INTO guest_history VALUES(x'0900000000000000000000000000000000000000000000000000000000"
            "000000',1,2,3,NULL,NULL,NULL,NULL,NULL,1);"
            "PRAGMA application_id=0; PRAGMA user_version=2");
    reads(a, LT_VERDICT_UNCHECKED, "policy-changed"); /* of which policy was it? The next round tells */
    OK(lt_store_status(a->s, failed, &deadlines, 1000, &st, NULL, &err));
    assert_int_equal(st.result, LT_VERDICT_FAILED);
    OK(lt_store_guest_history(a->s, ek, &h, &err));
    assert_true(h.has_clock && h.absent_before && h.clock.clock_ms == 3);
    const struct lt_store_basis b = {.has_policy = true};
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 910, 920, &b), LT_STORE_KEPT);
    reads(a, LT_VERDICT_TRUSTED, NULL);
}

/* The sixth schema is of guests that registered as their UUIDs: those are there, judged as before, and one
 * whose key is no UUID keeps nobody from starting. */
static void test_guests_of_before_agents_had_ids(void **state)
{
    struct at *a = *state;
    const struct lt_store_basis b = {.has_policy = true, .policy = {1}};
    struct lt_store_guest g;

    set_policy(a, 1);
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 910, 920, &b), LT_STORE_KEPT);
    by_hand(
        a,
        "DROP TABLE moments; DROP TABLE sealed_lists; DROP TABLE sealed_hosts; DROP TABLE sealed_closed;"
        "DROP TABLE exposures; DROP TABLE retirements; DROP TABLE sealed_logs;"
        "DROP TRIGGER guest_added; DROP TRIGGER guest_removed; DROP TABLE revocations; DROP TABLE receivers;"
        "DROP TABLE unproven; DROP TABLE keylime_policies; DROP TABLE keylime;"
        "DROP INDEX guests_agent; ALTER TABLE guests DROP COLUMN agent; ALTER TABLE guests DROP COLUMN"
        " door; ALTER TABLE guests DROP COLUMN ek; ALTER TABLE guests DROP COLUMN linked;"
        "ALTER TABLE verdicts DROP COLUMN pin; INSERT INTO guests VALUES(x'02','h:2',NULL), ('','',NULL);"
        "PRAGMA user_version=5");
    reads(a, LT_VERDICT_TRUSTED, NULL);
    OK(lt_store_guest_get(a->s, uuid, &g, &err));
    assert_string_equal(g.agent, "01020300-0000-0000-0000-000000000000");
    assert_int_equal(g.door, LT_STORE_DOOR_FEDERATION);
    assert_true(g.linked && !g.has_ek); /* whoever was trusted was so on a host */
    OK(lt_store_guest_by_agent(a->s, g.agent, &g, &err));
    assert_memory_equal(g.uuid, uuid, LT_UUID);
    agent(a, 1);
    assert_int_equal(put_about(a, LT_VERDICT_UNCHECKED, 930, 940, &b), LT_STORE_KEPT);
    reads(a, LT_VERDICT_UNCHECKED, NULL);
}

static void test_agents_of_guests(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = {.uuid = {7}, .agent = "hash_ek.1", .door = LT_STORE_DOOR_KEYLIME}, got;
    const struct lt_store_guest other = {.uuid = {8}, .agent = "hash_ek.1"};
    const struct lt_store_guest named = {.uuid = {9}, .agent = "01020300-0000-0000-0000-000000000000"};

    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_by_agent(a->s, "hash_ek.1", &got, &err));
    assert_memory_equal(got.uuid, g.uuid, LT_UUID);
    assert_int_equal(got.door, LT_STORE_DOOR_KEYLIME);
    assert_false(got.linked);
    FAILS(LT_E_NOT_FOUND, lt_store_guest_by_agent(a->s, "hash_ek.2", &got, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_by_agent(a->s, "a/b", &got, &err));
    FAILS(LT_E_CONFLICT, lt_store_guest_put(a->s, &other, no_document, &err));
    FAILS(LT_E_CONFLICT, lt_store_guest_put(a->s, &named, no_document, &err));
    g.agent[0] = 0; /* stays */
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_get(a->s, g.uuid, &got, &err));
    assert_string_equal(got.agent, "hash_ek.1");
    strcpy(g.agent, "another");
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_by_agent(a->s, "hash_ek.1", &got, &err));
    OK(lt_store_guest_put(a->s, &other, no_document, &err));
}

/* A domain's guest whose agent is another UUID: nobody is added by that id in capitals, whose revocation
 * would be this one's. */
static void test_a_uuid_is_one_in_either_case(void **state)
{
    struct at *a = *state;
    const struct lt_store_guest mapped = {.uuid = {7}, .agent = "abcdef00-0000-4000-8000-00000000000a"},
                                node = {.uuid = {8}, .agent = "Node"}, other = {.uuid = {9}, .agent = "node"};
    struct lt_store_guest evil = {.agent = "ABCDEF00-0000-4000-8000-00000000000A",
                                  .door = LT_STORE_DOOR_KEYLIME};

    lt_uuid_of_id(evil.agent, evil.uuid);
    OK(lt_store_guest_put(a->s, &mapped, no_document, &err));
    FAILS(LT_E_CONFLICT, lt_store_guest_put(a->s, &evil, no_document, &err));
    OK(lt_store_guest_put(a->s, &mapped, no_document, &err));
    OK(lt_store_guest_put(a->s, &node, no_document, &err));
    OK(lt_store_guest_put(a->s, &other, no_document, &err)); /* of other ids nobody says so */
}

/* Keylime's door writes what came by it, and nothing else. */
static void test_two_doors(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = {.uuid = {1, 2, 3}, .address = "evil:1", .door = LT_STORE_DOOR_KEYLIME}, got;

    FAILS(LT_E_FORBIDDEN, lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_get(a->s, uuid, &got, &err));
    assert_string_equal(got.address, "127.0.0.1:9002");
    OK(lt_store_guest_delete(a->s, uuid, &err));
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    g.door = LT_STORE_DOOR_FEDERATION;
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    g.door = LT_STORE_DOOR_KEYLIME;
    FAILS(LT_E_FORBIDDEN, lt_store_guest_put(a->s, &g, no_document, &err));
}

/* Another pin is about another vTPM, whatever the last verdict was. */
static void test_a_verdict_is_of_one_pin(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = {.uuid = {1, 2, 3}, .has_ek = true, .ek = {5}}, got;
    struct lt_store_basis b = {0};

    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 10, 20, &b), LT_STORE_KEPT);
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    reads(a, LT_VERDICT_UNCHECKED, "registration-changed");
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 30, 40, &b), LT_STORE_OUTDATED);
    b.has_pin = true;
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 30, 40, &b), LT_STORE_OUTDATED);
    b.pin[0] = 5;
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 30, 40, &b), LT_STORE_KEPT);
    reads(a, LT_VERDICT_TRUSTED, NULL);
    reopen(a, boot_a);
    reads(a, LT_VERDICT_TRUSTED, NULL);
    g.has_ek = false; /* stays */
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_get(a->s, uuid, &got, &err));
    assert_true(got.has_ek && got.ek[0] == 5);
    reads(a, LT_VERDICT_TRUSTED, NULL);
}

/* That a host's proof was once accepted survives restarts, and ends with the guest. */
static void test_linked_once(void **state)
{
    struct at *a = *state;
    const struct lt_store_guest g = {.uuid = {1, 2, 3}};
    struct lt_store_round r = {.end_ms = 20, .started = 1, .received = 2, .linked = true};
    struct lt_store_guest got;
    enum lt_store_kept kept;
    struct lt_verdict v;

    memcpy(r.uuid, uuid, sizeof uuid);
    lt_verdict_init(&v);
    r.verdict = &v;
    OK(lt_store_guest_get(a->s, uuid, &got, &err));
    assert_false(got.linked);
    OK(lt_store_round(a->s, &r, &kept, &err));
    r.linked = false;
    OK(lt_store_round(a->s, &r, &kept, &err));
    reopen(a, boot_b);
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_get(a->s, uuid, &got, &err));
    assert_true(got.linked);
    OK(lt_store_guest_delete(a->s, uuid, &err));
    OK(lt_store_guest_put(a->s, &g, no_document, &err));
    OK(lt_store_guest_get(a->s, uuid, &got, &err));
    assert_false(got.linked);
}

/* A row that nobody can read is no verdict, stops nobody else's, and goes with the next round. */
static void test_rows_that_cannot_be_read(void **state)
{
    static const char *const how[] = {
        "UPDATE verdicts SET doc = '{'",          "UPDATE verdicts SET doc = ''",
        "UPDATE verdicts SET result = 'trusted'", "UPDATE verdicts SET result = 77",
        "UPDATE verdicts SET policy = x'00'",     "UPDATE verdicts SET boot = 7, at = 'x', received = x'01'",
    };
    struct at *a = *state;
    const struct lt_store_basis none = {0};
    struct lt_store_status st;

    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 990, 999, &none), LT_STORE_KEPT);
        by_hand(a, how[i]);
        LT_JSON_AUTO json_t *j = NULL;
        OK(lt_store_status(a->s, uuid, &deadlines, 1000, &st, &j, &err));
        assert_true(json_is_object(j));
        if (i > 1)
            assert_int_not_equal(st.result, LT_VERDICT_TRUSTED);
        assert_int_equal(st.bad, i == 2 || i == 3);
    }
    assert_int_equal(put_about(a, LT_VERDICT_FAILED, 990, 999, &none), LT_STORE_KEPT);
    by_hand(a, "UPDATE verdicts SET doc = 'x', policy = x'01'");
    reads(a, LT_VERDICT_FAILED, "store");
}

static size_t unwritten(struct at *a, bool fault)
{
    struct lt_db_health h;
    struct lt_db_skipped skipped;
    size_t n;

    lt_store_report(a->s, &h, &skipped, &n);
    assert_int_equal(h.fault, fault);
    return n;
}

static void wait_written(struct at *a)
{
    struct lt_db_health h;
    struct lt_db_skipped skipped;
    size_t n = 1;

    for (int i = 0; i < 1000; i++) {
        lt_store_report(a->s, &h, &skipped, &n);
        if (!n && !h.fault)
            return;
        usleep(10000);
    }
    fail_msg("%zu verdicts were never written", n);
}

/* The newest verdict wins though the disk takes nothing; failed stands; both are written as soon as it does.
 */
static void test_a_full_disk(void **state)
{
    static const char n[1][LT_RESIDENCY_NONCE + 1] = {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    struct at *a = *state;
    const struct lt_store_basis none = {0};
    const struct lt_store_guest g = {.uuid = {1, 2, 3}, .has_policy = true, .policy = {1}};
    bool used;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 900, 910, &none), LT_STORE_KEPT);
    room(false);
    assert_int_equal(put_about(a, LT_VERDICT_UNREACHABLE, 920, 930, &none), LT_STORE_HELD);
    reads(a, LT_VERDICT_UNREACHABLE, NULL);
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 920, 930, &none), LT_STORE_HELD);
    reads(a, LT_VERDICT_TRUSTED, NULL);
    for (uint64_t now = 930 + 50; now < 930 + 52; now++) { /* and for no longer than a period */
        const struct lt_store_deadlines d = {.news_ms = 93000, .fault_ms = 50, .max_stale_ms = 180000};
        struct lt_store_status st;
        OK(lt_store_status(a->s, uuid, &d, now, &st, NULL, &err));
        assert_int_equal(st.result, now > 980 ? LT_VERDICT_STALE : LT_VERDICT_TRUSTED);
    }
    OK(lt_store_nonces(a->s, n, 1, 1000, 60000, &used, &err)); /* rounds go on */
    assert_false(used);
    OK(lt_store_nonces(a->s, n, 1, 30000, 60000, &used, &err));
    assert_true(used);
    assert_int_equal(put_about(a, LT_VERDICT_FAILED, 940, 950, &none), LT_STORE_HELD);
    assert_int_equal(put_about(a, LT_VERDICT_TRUSTED, 960, 970, &none), LT_STORE_STANDS);
    reads(a, LT_VERDICT_FAILED, NULL);
    FAILS(LT_E_IO, lt_store_clear(a->s, uuid, &err)); /* not half cleared */
    FAILS(LT_E_IO, lt_store_guest_put(a->s, &g, no_document, &err));
    reads(a, LT_VERDICT_FAILED, NULL);
    assert_int_equal(unwritten(a, true), 1);
    room(true);
    wait_written(a);
    reads(a, LT_VERDICT_FAILED, NULL);
    OK(lt_store_nonces(a->s, n, 1, 50000, 60000, &used, &err));
    assert_true(used); /* what memory claimed stays claimed */
    reopen(a, boot_a);
    reads(a, LT_VERDICT_FAILED, NULL);
    OK(lt_store_clear(a->s, uuid, &err));
    assert_int_equal(unwritten(a, false), 0);
}

/* Cleared before it could be written: it does not come back. */
static void test_clearing_what_is_not_written(void **state)
{
    struct at *a = *state;
    const struct lt_store_basis none = {0};
    struct lt_store_status st;

    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 20; i++) {
        room(false);
        assert_int_equal(put_about(a, LT_VERDICT_FAILED, 940, 950, &none), LT_STORE_HELD);
        room(true);
        OK(lt_store_clear(a->s, uuid, &err)); /* before the writer's next second, mostly */
        wait_written(a);
        OK(lt_store_status(a->s, uuid, &deadlines, 1000, &st, NULL, &err));
        assert_false(st.known);
    }
    room(false);
    assert_int_equal(put_about(a, LT_VERDICT_FAILED, 940, 950, &none), LT_STORE_HELD);
    room(true);
    OK(lt_store_guest_delete(a->s, uuid, &err));
    wait_written(a);
    reopen(a, boot_a);
    OK(lt_store_status(a->s, uuid, &deadlines, 1000, &st, NULL, &err));
    assert_false(st.known);
}

/* History goes on in memory, and is there when it is asked for. */
static void test_history_of_a_full_disk(void **state)
{
    struct at *a = *state;
    const uint8_t ek[32] = {9};
    struct lt_history_guest h = {.has_clock = true, .clock = {.clock_ms = 5}}, got;
    struct lt_verdict v;
    enum lt_store_kept kept;
    struct lt_store_round r = {.verdict = &v, .ek_digest = ek, .history = &h};

    signal(SIGXFSZ, SIG_IGN);
    memcpy(r.uuid, uuid, 16);
    lt_verdict_init(&v);
    room(false);
    for (h.clock.clock_ms = 5; h.clock.clock_ms < 8; h.clock.clock_ms++) {
        OK(lt_store_round(a->s, &r, &kept, &err));
        assert_int_equal(kept, LT_STORE_HELD);
        OK(lt_store_guest_history(a->s, ek, &got, &err));
        assert_int_equal(got.clock.clock_ms, h.clock.clock_ms);
    }
    room(true);
    wait_written(a);
    reopen(a, boot_b);
    OK(lt_store_guest_history(a->s, ek, &got, &err));
    assert_int_equal(got.clock.clock_ms, 7);
}

/* Rows of guests that nobody can read: the others are there, and the report says how many are not. */
static int count_guest(void *arg, const struct lt_store_guest *g)
{
    (void)g;
    ++*(int *)arg;
    return 0;
}

static void test_bad_guests_are_left_out(void **state)
{
    struct at *a = *state;
    struct lt_db_health h;
    struct lt_db_skipped skipped;
    struct lt_store_guest g;
    size_t n;
    int guests = 0;
    const uint8_t bad[16] = {7};

    by_hand(a, "INSERT INTO guests(uuid, address, policy) "
               "VALUES(x'07000000000000000000000000000000','h:1',x'00'),(x'08','h:2',NULL)");
    OK(lt_store_guests(a->s, count_guest, &guests, &err));
    assert_int_equal(guests, 1);
    lt_store_report(a->s, &h, &skipped, &n);
    assert_int_equal(skipped.count, 2);
    assert_non_null(strstr(skipped.first, "07000000"));
    assert_non_null(strstr(skipped.first, a->path));
    FAILS(LT_E_CONFLICT, lt_store_guest_get(a->s, bad, &g, &err));
    assert_non_null(strstr(err.msg, "guest remove"));
    OK(lt_store_guest_delete(a->s, bad, &err));
}

static void test_removed_guest(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g;

    assert_true(put(a, LT_VERDICT_FAILED, 10, 20));
    OK(lt_store_guest_delete(a->s, uuid, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_get(a->s, uuid, &g, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_delete(a->s, uuid, &err));
    assert_false(put(a, LT_VERDICT_TRUSTED, 10, 20)); /* its last round came in late */
}

static void test_history_survives(void **state)
{
    struct at *a = *state;
    const struct lt_history_guest h = {
        .has_clock = true,
        .clock = {.clock_ms = 1ull << 40, .reset_count = UINT32_MAX, .restart_count = 2},
        .has_accepted = true,
        .accepted_clock = {.clock_ms = 7, .reset_count = 8, .restart_count = 9},
        .accepted_ak_name = {0, 0x0b, 1},
        .accepted_incarnation = {5},
        .absent_before = true};
    const uint8_t ek[32] = {9}, name[LT_TPM_NAME] = {0, 0x0b, 4};
    struct lt_verdict v;
    struct lt_history_guest got;
    struct lt_attest_clock_info clock;
    enum lt_store_kept kept;
    bool has;

    OK(lt_store_guest_history(a->s, ek, &got, &err));
    assert_false(got.has_clock || got.has_accepted || got.absent_before);
    lt_verdict_init(&v);
    struct lt_store_round r = {.verdict = &v,
                               .ek_digest = ek,
                               .history = &h,
                               .host_ak_name = name,
                               .host_clock = {.clock_ms = 100, .reset_count = 3}};
    memcpy(r.uuid, uuid, 16);
    OK(lt_store_round(a->s, &r, &kept, &err));
    OK(lt_store_guest_delete(a->s, uuid, &err));
    r.host_clock.clock_ms = 50; /* behind: a later commit of an earlier quote */
    OK(lt_store_round(a->s, &r, &kept, &err));
    assert_int_equal(kept, LT_STORE_GONE);
    reopen(a, boot_b);
    OK(lt_store_guest_history(a->s, ek, &got, &err));
    assert_true(got.has_clock && got.has_accepted && got.absent_before);
    assert_int_equal(lt_tpm_clock_compare(&got.clock, &h.clock), 0);
    assert_int_equal(lt_tpm_clock_compare(&got.accepted_clock, &h.accepted_clock), 0);
    assert_memory_equal(got.accepted_ak_name, h.accepted_ak_name, LT_TPM_NAME);
    assert_memory_equal(got.accepted_incarnation, h.accepted_incarnation, LT_RESIDENCY_INCARNATION);
    OK(lt_store_host_clock(a->s, name, &has, &clock, &err));
    assert_true(has);
    assert_int_equal(clock.clock_ms, 100);
}

static void test_nonces_are_used_once(void **state)
{
    struct at *a = *state;
    static const char n[2][LT_RESIDENCY_NONCE + 1] = {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                                      "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"};
    bool used[2];

    OK(lt_store_nonces(a->s, n, 1, 1000, 60000, used, &err));
    assert_false(used[0]);
    OK(lt_store_nonces(a->s, n, 2, 2000, 60000, used, &err));
    assert_true(used[0]);
    assert_false(used[1]);
    OK(lt_store_nonces(a->s, n, 2, 61500, 60000, used, &err)); /* the first is forgotten, the second is not */
    assert_false(used[0]);
    assert_true(used[1]);
}

/* Each change leaves alone what it does not name, whatever the caller knew; none brings back a guest. */
static void test_changes_of_a_guest(void **state)
{
    struct at *a = *state;
    const struct lt_store_guest moved = {.uuid = {1, 2, 3}, .address = "127.0.0.1:9"};
    const struct lt_slice document = {(const uint8_t *)"{}", 2};
    uint8_t digest[32], *p;
    struct lt_store_guest g;
    size_t n;

    OK(lt_store_guest_policy(a->s, uuid, document, digest, &err));
    OK(lt_store_policy_get(a->s, digest, &p, &n, &err));
    free(p);
    OK(lt_store_guest_get(a->s, uuid, &g, &err));
    assert_string_equal(g.address, "127.0.0.1:9002");
    OK(lt_store_guest_put(a->s, &moved, no_document, &err));
    OK(lt_store_guest_get(a->s, uuid, &g, &err));
    assert_string_equal(g.address, "127.0.0.1:9");
    assert_true(g.has_policy);
    assert_memory_equal(g.policy, digest, 32);
    OK(lt_store_guest_delete(a->s, uuid, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_policy(a->s, uuid, document, digest, &err));
    FAILS(LT_E_NOT_FOUND, lt_store_guest_get(a->s, uuid, &g, &err));
}

static void test_policies_by_digest(void **state)
{
    struct at *a = *state;
    uint8_t digest[32], other[32] = {1}, *p;
    size_t n;

    OK(lt_store_policy_put(a->s, "{}", 2, digest, &err));
    OK(lt_store_policy_put(a->s, "{}", 2, digest, &err));
    OK(lt_store_policy_get(a->s, digest, &p, &n, &err));
    assert_int_equal(n, 2);
    assert_memory_equal(p, "{}", 2);
    free(p);
    FAILS(LT_E_NOT_FOUND, lt_store_policy_get(a->s, other, &p, &n, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_trusted_decays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_withholding_is_unproven, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_left_until_unproven, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_boot_leaves_nothing_green, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_verdict_is_of_one_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_verdict_is_of_one_vtpm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_store_of_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guests_of_before_agents_had_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_agents_of_guests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_uuid_is_one_in_either_case, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_doors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_verdict_is_of_one_pin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_linked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rows_that_cannot_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clearing_what_is_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_of_a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_guests_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonces_are_used_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_of_a_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policies_by_digest, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
