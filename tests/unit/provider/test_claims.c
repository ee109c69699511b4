/* Which hosts count as a guest's, and who is asked: what an enrolled host can and cannot do by listing UUIDs
 * and EK digests of its choice. */
#include "common/limits.h"
#include "provider/claims.h"
#include "provider/limits.h"
#include "provider/proofs.h"
#include "provider/registry_store.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t ek[32] = {0xee}, own_ek[32] = {0x66}, nothing[32];

static const uint8_t *host(uint8_t n)
{
    static uint8_t ids[256][16];
    ids[n][0] = n;
    return ids[n];
}

struct told {
    int kept, gone;
};

static void told(void *arg, const struct lt_claim *c, bool kept)
{
    struct told *t = arg;

    (void)c;
    *(kept ? &t->kept : &t->gone) += 1;
}

/* Who is asked, as text: first bytes of their ids. */
static const char *asked(const struct lt_claims *c, const uint8_t *of, const uint8_t *named, unsigned turn)
{
    static char text[16];
    uint8_t out[LT_MAX_CLAIMANTS][16];
    unsigned n = lt_claims_pick(c, of, named, turn, out);

    assert_true(n <= LT_MAX_CLAIMANTS);
    for (unsigned i = 0; i < n; i++)
        text[i] = (char)out[i][0];
    text[n] = 0;
    return text;
}

static void another_claim_takes_none_away(void **state)
{
    struct lt_claims c = {0};

    (void)state;
    lt_claims_arrive(&c, host('T'), ek, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "T");
    lt_claims_arrive(&c, host('R'), ek, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "TR");
    assert_memory_equal(lt_claims_place(&c)->host, host('T'), 16); /* the newest does not win */
    /* With an EK of its own it claims another pair. */
    lt_claims_arrive(&c, host('S'), own_ek, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "TR");
    assert_string_equal(asked(&c, own_ek, NULL, 0), "S");
    assert_string_equal(asked(&c, NULL, NULL, 0), "TRS"); /* without an EK every claimant counts, each once */
    lt_claims_arrive(&c, host('T'), own_ek, true, NULL);
    assert_string_equal(asked(&c, NULL, NULL, 0), "TRS");
    /* Whoever is named comes first, claimant or not. */
    assert_string_equal(asked(&c, ek, host('R'), 0), "RT");
    assert_string_equal(asked(&c, ek, host('X'), 0), "XTR");
    lt_claims_free(&c);
    assert_string_equal(asked(&c, ek, NULL, 0), "");
    assert_string_equal(asked(&c, ek, host('X'), 0), "X");
    assert_null(lt_claims_place(&c));
}

static void only_quotes_count_while_there_are_any(void **state)
{
    struct lt_claims c = {0};

    (void)state;
    lt_claims_arrive(&c, host('T'), ek, false, NULL); /* nobody else: whom else to ask */
    assert_string_equal(asked(&c, ek, NULL, 0), "T");
    assert_false(lt_claims_contested(&c, host('T'), ek));
    lt_claims_arrive(&c, host('T'), ek, true, NULL);
    lt_claims_arrive(&c, host('R'), ek, false, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "T");
    assert_true(lt_claims_contested(&c, host('R'), ek)); /* it must be quoted before it counts */
    assert_false(lt_claims_contested(&c, host('T'), ek));
    assert_memory_equal(lt_claims_place(&c)->host, host('T'), 16);
    /* The quoted one shows it no more: it has moved, or is restarted, and nobody has been quoted yet. */
    lt_claims_leave(&c, host('T'), ek, false, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "TR");
    lt_claims_arrive(&c, host('R'), ek, true, NULL);
    assert_false(lt_claims_contested(&c, host('R'), ek));
    assert_string_equal(asked(&c, ek, NULL, 0), "TR"); /* T's last quote still has it */
    lt_claims_leave(&c, host('T'), ek, true, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "R");
    lt_claims_free(&c);
}

static void the_last_place_is_kept(void **state)
{
    struct told n = {0};
    const struct lt_claims_told t = {&n, told};
    struct lt_claims c = {0};

    (void)state;
    lt_claims_arrive(&c, host('T'), ek, false, &t);
    assert_int_equal(n.kept, 0); /* nothing that was not quoted gets into the store */
    lt_claims_arrive(&c, host('T'), ek, true, &t);
    lt_claims_arrive(&c, host('T'), ek, true, &t);
    assert_int_equal(n.kept, 1);
    lt_claims_leave(&c, host('T'), ek, true, true, &t);
    assert_string_equal(asked(&c, ek, NULL, 0), "T"); /* its null is evidence too */
    assert_int_equal(n.gone, 0);
    lt_claims_arrive(&c, host('N'), ek, true, &t); /* and ends with the next quoted claim */
    assert_string_equal(asked(&c, ek, NULL, 0), "N");
    assert_int_equal(n.kept, 2);
    assert_int_equal(n.gone, 1);
    lt_claims_leave(&c, host('N'), ek, true, false, &t); /* nobody's guest */
    assert_int_equal(c.count, 0);
    assert_int_equal(n.gone, 2);
    lt_claims_arrive(&c, host('T'), ek, true, NULL);
    lt_claims_leave(&c, host('T'), ek, true, true, NULL);
    lt_claims_arrive(&c, host('T'), ek, true, NULL); /* back again */
    assert_int_equal(c.count, 1);
    assert_int_equal(c.list[0].is, LT_CLAIM_SEEN | LT_CLAIM_QUOTED);
    lt_claims_leave(&c, host('T'), ek, true, true, NULL);
    lt_claims_forget_last(&c);
    assert_int_equal(c.count, 0);
    lt_claims_arrive(&c, host('T'), ek, true, NULL);
    lt_claims_arrive(&c, host('R'), ek, true, NULL);
    lt_claims_drop_host(&c, host('T'));
    assert_string_equal(asked(&c, ek, NULL, 0), "R");
    lt_claims_free(&c);
}

/* Five claimants and more: the host that is named is asked in every round, the true one within a few. */
static void numbers_keep_nobody_out(void **state)
{
    struct lt_claims c = {0};

    (void)state;
    for (uint8_t rogues = 5; rogues <= 40; rogues += 7) {
        for (uint8_t i = 0; i < rogues; i++)
            lt_claims_arrive(&c, host((uint8_t)(128 + i)), ek, true, NULL);
        lt_claims_arrive(&c, host('T'), ek, true, NULL);
        unsigned asked_in = 0, rounds = (rogues + LT_MAX_CLAIMANTS) / LT_MAX_CLAIMANTS + 1;
        for (unsigned turn = 0; turn < rounds; turn++) {
            const char *who = asked(&c, ek, NULL, 1000 + turn);
            assert_int_equal(strlen(who), LT_MAX_CLAIMANTS);
            asked_in += strchr(who, 'T') != NULL;
            who = asked(&c, ek, host('T'), turn);
            assert_int_equal(who[0], 'T');
            assert_int_equal(strlen(who), LT_MAX_CLAIMANTS);
            assert_null(strchr(who + 1, 'T'));
        }
        assert_true(asked_in > 0);
        lt_claims_free(&c);
    }
}

/* One host with all EKs of the world under one UUID takes no more than its share of memory. */
static void one_host_claims_so_much(void **state)
{
    struct lt_claims c = {0};
    uint8_t any[32] = {1};

    (void)state;
    lt_claims_arrive(&c, host('T'), ek, true, NULL);
    for (unsigned i = 0; i < 1000; i++) {
        lt_put_u32(any + 4, i);
        lt_claims_arrive(&c, host('R'), any, true, NULL);
    }
    assert_int_equal(c.count, 1 + LT_MAX_CLAIMS_OF_HOST);
    assert_string_equal(asked(&c, ek, NULL, 0), "T");
    assert_string_equal(asked(&c, NULL, NULL, 0), "TR");
    lt_claims_free(&c);
}

/* A store of an earlier version knows a host and no EK: it is asked for whatever pair, until a quote says
 * better. */
static void places_of_before(void **state)
{
    struct lt_claims c = {0};

    (void)state;
    lt_claims_load(&c, host('R'), nothing);
    assert_string_equal(asked(&c, ek, NULL, 0), "R");
    assert_memory_equal(lt_claims_place(&c)->host, host('R'), 16);
    lt_claims_arrive(&c, host('T'), ek, false, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "RT");
    lt_claims_arrive(&c, host('T'), ek, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "T");
    lt_claims_free(&c);
    lt_claims_load(&c, host('T'), ek); /* of this version: quoted before the restart */
    lt_claims_load(&c, host('R'), ek);
    assert_string_equal(asked(&c, ek, NULL, 0), "TR");
    lt_claims_leave(&c, host('R'), ek, false, true, NULL); /* its first inventory, merely shown */
    assert_string_equal(asked(&c, ek, NULL, 0), "TR");
    lt_claims_leave(&c, host('R'), ek, true, true, NULL);
    assert_string_equal(asked(&c, ek, NULL, 0), "T");
    lt_claims_free(&c);
}

/* ---- the store ---- */

struct loaded {
    struct lt_registry_store_guest guest[4];
    struct lt_registry_store_place place[8];
    unsigned guests, places;
};

static int load_guest(void *arg, const struct lt_registry_store_guest *g, struct lt_err *e)
{
    struct loaded *l = arg;
    (void)e;
    l->guest[l->guests++] = *g;
    return 0;
}

static int load_place(void *arg, const struct lt_registry_store_place *p, struct lt_err *e)
{
    struct loaded *l = arg;
    (void)e;
    l->place[l->places++] = *p;
    return 0;
}

static struct loaded load(struct lt_db *db)
{
    struct lt_db_skipped skipped = {0};
    struct loaded l = {0};
    OK(lt_registry_store_load(
        db, &(struct lt_registry_store_sink){.arg = &l, .guest = load_guest, .place = load_place}, &skipped,
        &err));
    assert_int_equal(skipped.count, 0);
    return l;
}

static void remove_store(const char *dir)
{
    static const char *const files[] = {"provider.db", "provider.db-wal", "provider.db-shm", "lock"};
    char path[128];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* The tables as version 1 of the store had them. */
static void store_of_an_earlier_version(void **state)
{
    static const char old[] =
        "CREATE TABLE hosts(id BLOB PRIMARY KEY, address TEXT NOT NULL, ek BLOB NOT NULL, ak BLOB NOT NULL,"
        "  certificates TEXT NOT NULL, policy BLOB NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE policies(digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);"
        "CREATE TABLE guests(uuid BLOB PRIMARY KEY, tenant BLOB NOT NULL, host BLOB) WITHOUT ROWID;"
        "INSERT INTO guests VALUES(x'01010101010101010101010101010101', x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a',"
        "  x'54000000000000000000000000000000'),"
        "  (x'02020202020202020202020202020202', x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', NULL);"
        "PRAGMA user_version=1;";
    char dir[] = "/tmp/lt-claims-XXXXXX", path[64];
    struct lt_db *db;
    sqlite3 *sql;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/provider.db", dir);
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, old, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
    assert_int_equal(chmod(path, 0600), 0);
    for (int again = 0; again < 2; again++) {
        OK(lt_registry_store_open(dir, NULL, &db, &err));
        struct loaded l = load(db);
        assert_int_equal(l.guests, 2);
        assert_true(l.guest[0].has_tenant && l.guest[1].has_tenant);
        assert_int_equal(l.places, 1);
        assert_int_equal(l.place[0].uuid[0], 1);
        assert_memory_equal(l.place[0].ek, nothing, 32);
        assert_memory_equal(l.place[0].host, host('T'), 16);
        lt_db_close(db);
    }
    remove_store(dir);
}

static struct lt_registry_store_place place(uint8_t guest, const uint8_t of[32], uint8_t on, bool gone)
{
    struct lt_registry_store_place p = {.gone = gone};

    memset(p.uuid, guest, 16);
    memcpy(p.ek, of, 32);
    memcpy(p.host, host(on), 16);
    return p;
}

static void post(struct lt_db *db, struct lt_registry_store_place p)
{
    struct lt_registry_store_place *list = malloc(sizeof *list);
    *list = p;
    lt_registry_store_post_places(db, list, 1);
}

static void places_are_kept(void **state)
{
    char dir[] = "/tmp/lt-claims-XXXXXX";
    struct lt_registry_store_guest g = {.has_tenant = true};
    struct lt_db *db;

    (void)state;
    assert_non_null(mkdtemp(dir));
    OK(lt_registry_store_open(dir, NULL, &db, &err));
    memset(g.uuid, 7, 16);
    OK(lt_registry_store_put_guest(db, &g, &err));
    post(db, place(7, ek, 'T', false));
    post(db, place(7, ek, 'R', false));
    post(db, place(7, ek, 'R', false));
    post(db, place(7, own_ek, 'R', false));
    post(db, place(9, ek, 'T', false)); /* nobody's */
    post(db, place(7, own_ek, 'R', true));
    lt_registry_store_post_places(db, NULL, 0);
    lt_db_close(db);
    OK(lt_registry_store_open(dir, NULL, &db, &err));
    struct loaded l = load(db);
    assert_int_equal(l.places, 2);
    OK(lt_registry_store_drop_host(db, host('R'), &err));
    l = load(db);
    assert_int_equal(l.places, 1);
    assert_memory_equal(l.place[0].host, host('T'), 16);
    assert_memory_equal(l.place[0].ek, ek, 32);
    g.has_tenant = false;
    OK(lt_registry_store_put_guest(db, &g, &err));
    l = load(db);
    assert_int_equal(l.guests + l.places, 0);
    lt_db_close(db);
    remove_store(dir);
}

/* Who sweeps may have looked at the clock before a ticket was finished: it is not older than the world. */
static void a_ticket_from_the_future_is_not_over(void **state)
{
    (void)state;
    assert_false(lt_ticket_over(1000, 999));
    assert_false(lt_ticket_over(1000, 1000));
    assert_false(lt_ticket_over(1000, 1000 + LT_PROVIDER_TICKET_MS - 1));
    assert_true(lt_ticket_over(1000, 1000 + LT_PROVIDER_TICKET_MS));
    assert_true(lt_ticket_over(1000, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_claim_takes_none_away),
        cmocka_unit_test(only_quotes_count_while_there_are_any),
        cmocka_unit_test(the_last_place_is_kept),
        cmocka_unit_test(numbers_keep_nobody_out),
        cmocka_unit_test(one_host_claims_so_much),
        cmocka_unit_test(places_of_before),
        cmocka_unit_test(store_of_an_earlier_version),
        cmocka_unit_test(places_are_kept),
        cmocka_unit_test(a_ticket_from_the_future_is_not_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
