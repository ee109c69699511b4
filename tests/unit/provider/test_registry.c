/* The provider's registry across restarts: what does not fit is not stored, what cannot be read stops nobody.
 */
#include "provider/registry.h"

#include "common/hash.h"
#include "common/json.h"
#include "tests/support/mock_host.h"
#include "tests/support/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#define MIB (1u << 20)

struct at {
    char dir[64], db[96];
    struct lt_provider_host_shared shared;
    struct lt_registry *r;
};

static void reopen(struct at *a)
{
    lt_registry_close(a->r);
    OK(lt_registry_open(a->dir, &a->shared, &a->r, &err));
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");

    snprintf(a->dir, sizeof a->dir, "%.40s/lt-registry-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->db, sizeof a->db, "%s/provider.db", a->dir);
    a->shared.documents_max = 4 * MIB;
    reopen(a);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[128];

    lt_registry_close(a->r);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", a->db, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
    free(a);
    return 0;
}

/* A runtime policy of n bytes: blank space is JSON. */
static int put(struct at *a, int release, size_t n, uint8_t digest[32])
{
    char *doc = malloc(n);
    int at = snprintf(
        doc, n,
        "{\"meta\":{\"version\":1,\"generator\":0},\"release\":%d,\"digests\":{},\"excludes\":[],"
        "\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},"
        "\"ima-buf\":{},\"verification-keys\":\"\"",
        release);

    memset(doc + at, ' ', n - (size_t)at);
    doc[n - 1] = '}';
    err = (struct lt_err){0};
    int rc = lt_registry_put_policy(a->r, (struct lt_slice){(uint8_t *)doc, n}, digest, &err);
    free(doc);
    return rc;
}

static bool has(struct at *a, const uint8_t digest[32])
{
    LT_AUTOFREE char *bytes = NULL;
    size_t n;
    return !lt_registry_policy(a->r, digest, &bytes, &n, LT_NO_ERR);
}

static void by_hand(struct at *a, const char *text)
{
    sqlite3 *sql;

    lt_registry_close(a->r);
    a->r = NULL;
    assert_int_equal(sqlite3_open(a->db, &sql), SQLITE_OK);
    if (sqlite3_exec(sql, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(sql));
    sqlite3_close(sql);
    OK(lt_registry_open(a->dir, &a->shared, &a->r, &err));
}

static struct lt_db_skipped skipped(struct at *a)
{
    struct lt_db_health health;
    struct lt_db_skipped s;

    lt_registry_status(a->r, &health, &s);
    assert_false(health.fault);
    return s;
}

static void test_one_document_too_many(void **state)
{
    struct at *a = *state;
    uint8_t digest[6][32];

    for (int i = 0; i < 3; i++)
        assert_int_equal(put(a, i, MIB, digest[i]), 0);
    for (int i = 3; i < 6; i++) {
        assert_int_equal(put(a, i, MIB + MIB / 2, digest[i]), LT_E_TOO_LARGE);
        assert_non_null(strstr(err.msg, "delete-document"));
    }
    assert_int_equal(put(a, 0, MIB, digest[0]), 0); /* it is here: takes no more room */
    reopen(a);
    assert_int_equal(skipped(a).count, 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(has(a, digest[i]), i < 3);
    OK(lt_registry_drop_policy(a->r, digest[1], &err));
    assert_int_equal(put(a, 3, MIB + MIB / 2, digest[3]), 0);
    reopen(a);
    assert_true(has(a, digest[0]) && !has(a, digest[1]) && has(a, digest[2]) && has(a, digest[3]));

    a->shared.documents_max = 2 * MIB; /* a store of before with more than there may be now */
    reopen(a);
    assert_int_equal(skipped(a).count, 1);
    assert_int_equal(has(a, digest[0]) + has(a, digest[2]) + has(a, digest[3]), 2);
    for (int i = 0; i < 4; i++) /* also those that were left out can go */
        if (i != 1)
            OK(lt_registry_drop_policy(a->r, digest[i], &err));
    FAILS(LT_E_NOT_FOUND, lt_registry_drop_policy(a->r, digest[0], &err));
    reopen(a);
    assert_int_equal(skipped(a).count, 0);
}

static void test_rows_that_cannot_be_read(void **state)
{
    struct at *a = *state;
    const uint8_t tenant[16] = {9}, uuid[16] = {1};
    struct lt_registry_store_guest g;
    uint8_t digest[32];

    assert_int_equal(put(a, 1, 4096, digest), 0);
    OK(lt_registry_assign(a->r, uuid, tenant, &err));
    by_hand(a,
            "INSERT INTO hosts "
            "VALUES(x'000102030405060708090a0b0c0d0e0f','10.0.0.1:1',x'00',x'00','[]',zeroblob(32)),"
            " (x'01','10.0.0.1:1',x'00',x'00','[]',zeroblob(32)), ('text','10.0.0.1:1',x'00',x'00','[]','x'),"
            " (x'020102030405060708090a0b0c0d0e0f','10.0.0.1:1',x'00',x'00','{',zeroblob(32));"
            "INSERT INTO policies VALUES(zeroblob(32),x'00'),(x'01',x'02');"
            "INSERT INTO guests VALUES(x'02',zeroblob(16)),(zeroblob(16),x'03');"
            "INSERT INTO places VALUES(NULL,x'05',zeroblob(32),zeroblob(16))");
    struct lt_db_skipped s = skipped(a);
    assert_int_equal(s.count, 9);
    assert_non_null(strstr(s.first, a->db));
    assert_true(has(a, digest));
    assert_true(lt_registry_guest(a->r, uuid, &g) && g.has_tenant);
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(a->r);
    assert_int_equal(hosts->count, 0);
    const uint8_t bad[32] = {0};
    OK(lt_registry_drop_policy(a->r, bad, &err)); /* one whose bytes are others */
    reopen(a);
    assert_int_equal(skipped(a).count, 8);
}

/* The first schema, as the first program wrote it; one row of it is bad. */
static void test_a_store_of_before(void **state)
{
    struct at *a = *state;
    const uint8_t uuid[16] = {1};
    struct lt_registry_store_guest g;
    uint8_t digest[32];

    assert_int_equal(put(a, 1, 4096, digest), 0);
    by_hand(
        a,
        "DROP TABLE places; DROP TABLE guests;"
        "CREATE TABLE guests(uuid BLOB PRIMARY KEY, tenant BLOB NOT NULL, host BLOB) WITHOUT ROWID;"
        "INSERT INTO guests VALUES(x'01000000000000000000000000000000',x'09000000000000000000000000000000',"
        " x'07000000000000000000000000000000'),(x'02',zeroblob(16),NULL);"
        "PRAGMA application_id=0; PRAGMA user_version=1");
    assert_true(has(a, digest));
    assert_true(lt_registry_guest(a->r, uuid, &g) && g.has_tenant && g.tenant[0] == 9);
    assert_int_equal(skipped(a).count, 1);
    reopen(a);
    assert_true(lt_registry_guest(a->r, uuid, &g));
}

/* Named by a host policy as layer or boot policy: it stays, and who names it is told. */
static void test_documents_that_are_named(void **state)
{
    struct at *a = *state;
    uint8_t layer[32], policy[32], twin[32];
    char hex[65], doc[512];

    assert_int_equal(put(a, 1, 4096, layer), 0);
    lt_hex(layer, 32, hex);
    snprintf(doc, sizeof doc, "{\"pcrs\":{\"4\":[\"%s\"]},\"layers\":[{\"name\":\"a\",\"policy\":\"%s\"}]}",
             hex, hex);
    OK(lt_registry_put_policy(a->r, (struct lt_slice){(uint8_t *)doc, strlen(doc)}, policy, &err));
    FAILS(LT_E_CONFLICT, lt_registry_drop_policy(a->r, layer, &err));
    lt_hex(policy, 32, hex);
    assert_non_null(strstr(err.msg, hex));
    reopen(a);
    FAILS(LT_E_CONFLICT, lt_registry_drop_policy(a->r, layer, &err));
    assert_int_equal(put(a, 2, 4096, twin), 0);
    OK(lt_registry_drop_policy(a->r, twin, &err)); /* nobody's */
    OK(lt_registry_drop_policy(a->r, policy, &err));
    OK(lt_registry_drop_policy(a->r, layer, &err));
    assert_false(has(a, layer) || has(a, policy));
}

static void test_another_daemons_store(void **state)
{
    struct at *a = *state;
    sqlite3 *sql;

    lt_registry_close(a->r);
    a->r = NULL;
    assert_int_equal(sqlite3_open(a->db, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, "PRAGMA application_id=1280603246", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
    FAILS(LT_E_CONFIG, lt_registry_open(a->dir, &a->shared, &a->r, &err));
    assert_non_null(strstr(err.msg, "a store of limetree-tenant"));
    assert_non_null(strstr(err.msg, a->db));
}

/* The mock, as the registry knows it after it was enrolled. */
static struct lt_provider_host *enrol(struct at *a, const struct mock_host *m, const uint8_t policy[32])
{
    LT_JSON_AUTO json_t *certificates = json_array();
    const struct lt_provider_host_keys keys = {&m->ek, &m->ak, certificates};
    struct lt_provider_host *h;

    OK(lt_provider_host_new(&a->shared, "127.0.0.1:9", &keys, policy, &h, &err));
    OK(lt_registry_put_host(a->r, h, &err));
    return h;
}

static void show(struct lt_provider_host *h, const struct mock_host *m)
{
    LT_JSON_AUTO json_t *j = mock_host_inventory(m);
    struct lt_residents *r;

    OK(lt_residents_from_json(j, &r, &err));
    lt_provider_host_adopt(h, r, true);
    lt_residents_unref(r);
}

/* Its last quote may come in when it is no host of ours any more, and it chooses when: what that claims
 * counts for nothing, now and after a restart. */
static void test_a_removed_host_claims_nothing(void **state)
{
    struct at *a = *state;
    const uint8_t nothing[32] = {0}, tenant[16] = {9};
    struct lt_registry_store_guest g;
    struct mock_host m;
    uint8_t uuid[16];

    mock_host_init(&m);
    mock_uuid(1, uuid);
    OK(lt_registry_assign(a->r, uuid, tenant, &err));
    struct lt_provider_host *h = enrol(a, &m, nothing);
    OK(lt_registry_drop_host(a->r, m.host_id, &err));
    mock_host_populate(&m, 1, 1);
    show(h, &m);
    assert_true(lt_registry_guest(a->r, uuid, &g) && !g.has_host);
    reopen(a);
    assert_true(lt_registry_guest(a->r, uuid, &g) && !g.has_host);
    lt_provider_host_unref(h);
    mock_host_free(&m);
}

/* Enrolling takes seconds; a policy that was set meanwhile stays. */
static void test_enrolled_again(void **state)
{
    static const char doc[] = "{\"pcrs\":{\"4\":[\"00000000000000000000000000000000"
                              "00000000000000000000000000000000\"]}}";
    struct at *a = *state;
    const uint8_t nothing[32] = {0};
    uint8_t digest[32], is[32];
    struct mock_host m;

    mock_host_init(&m);
    lt_provider_host_unref(enrol(a, &m, nothing));
    OK(lt_registry_put_policy(a->r, (struct lt_slice){(const uint8_t *)doc, strlen(doc)}, digest, &err));
    OK(lt_registry_set_policy(a->r, m.host_id, digest, &err));
    lt_provider_host_unref(enrol(a, &m, nothing));
    for (int i = 0; i < 2; i++) {
        struct lt_provider_host *h = lt_registry_host(a->r, m.host_id);
        lt_provider_host_policy(h, is);
        assert_memory_equal(is, digest, 32);
        lt_provider_host_unref(h);
        reopen(a);
    }
    mock_host_free(&m);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_one_document_too_many),         T(test_rows_that_cannot_be_read), T(test_a_store_of_before),
        T(test_documents_that_are_named),      T(test_another_daemons_store),    T(test_enrolled_again),
        T(test_a_removed_host_claims_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
