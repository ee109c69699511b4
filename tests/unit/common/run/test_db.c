/* SQLite with one writer: migrations, jobs that fail alone, order, readers, and what survives a kill. */
#include "common/run/db.h"

#include "common/bytes.h"
#include "common/file.h"
#include "common/hash.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const schema[] = {
    "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB) STRICT",
    "CREATE TABLE part(item INTEGER NOT NULL REFERENCES item(id)) STRICT; ALTER TABLE item ADD COLUMN more "
    "TEXT",
};

#define ID 0x74657374

static int open_at(const char *at, const char *const *migrations, int count, struct lt_db **db,
                   struct lt_err *e)
{
    return lt_db_open(at, &(struct lt_db_kind){"test_db", ID, "item", migrations, count}, NULL, db, e);
}

static char dir[64], path[96];

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-db-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/test.db", dir);
    return 0;
}

static int teardown(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        char p[128];
        snprintf(p, sizeof p, "%s%s", path, ends[i]);
        unlink(p);
    }
    assert_int_equal(rmdir(dir), 0);
    return 0;
}

static struct lt_db *open_db(int version)
{
    struct lt_db *db = NULL;
    struct lt_err e = {0};
    if (open_at(path, schema, version, &db, &e))
        fail_msg("open: %s", e.msg);
    return db;
}

static int add(sqlite3 *sql, void *arg, struct lt_err *e)
{
    int changes = 0;
    uint8_t digest[4] = {1, 2, 3, 4};
    LT_TRY(lt_db_exec(sql, &changes, e, "INSERT INTO item(name, digest) VALUES(?, ?)", "tb",
                      (const char *)arg, digest, sizeof digest));
    return changes == 1 ? 0 : lt_fail(e, LT_E_INTERNAL, "%d changes", changes);
}

static int count(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_DB_AUTOSTMT sqlite3_stmt *st = NULL;
    LT_TRY(lt_db_prepare(sql, "SELECT count(*) FROM item", &st, e, ""));
    int rc = lt_db_step(st, e);
    if (rc == 1)
        *(int *)arg = sqlite3_column_int(st, 0);
    return rc < 0 ? rc : 0;
}

static int items(struct lt_db *db)
{
    struct lt_err e = {0};
    int n = -1;
    if (lt_db_read(db, count, &n, &e))
        fail_msg("read: %s", e.msg);
    return n;
}

static void test_file(void **state)
{
    struct lt_db *db = open_db(1);
    struct lt_err e = {0};
    struct stat st;
    (void)state;
    assert_int_equal(lt_db_write(db, add, "a", &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    lt_db_close(db);
    assert_int_equal(chmod(path, 0644), 0); /* somebody could have read it */
    assert_int_equal(open_at(path, schema, 1, &db, &e), LT_E_CONFIG);
    assert_null(db);
    assert_int_equal(chmod(path, 0600), 0);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fputs("not a database at all", f);
    fclose(f);
    assert_int_equal(open_at(path, schema, 1, &db, &e), LT_E_IO);
    assert_int_equal(open_at("/nonexistent/x.db", schema, 1, &db, &e), LT_E_IO);
    assert_int_equal(open_at(dir, schema, 1, &db, &e), LT_E_IO);
    lt_db_close(NULL);
}

static void test_migrations(void **state)
{
    const char *const with_broken[] = {schema[0], schema[1],
                                       "CREATE TABLE fine(x INTEGER) STRICT; CREATE TABLE"};
    struct lt_err e = {0};
    (void)state;
    struct lt_db *db = open_db(1);
    assert_int_equal(lt_db_write(db, add, "kept", &e), 0);
    lt_db_close(db);
    /* A step that fails leaves the version before. */
    assert_int_equal(open_at(path, with_broken, 3, &db, &e), LT_E_IO);
    assert_non_null(strstr(e.msg, "version 3"));
    db = open_db(2);
    assert_int_equal(items(db), 1);
    lt_db_close(db);
    db = open_db(2);
    lt_db_close(db);
    /* Newer than the program. */
    assert_int_equal(open_at(path, schema, 1, &db, &e), LT_E_CONFIG);
    assert_non_null(strstr(e.msg, "newer"));
}

static void by_hand(const char *text)
{
    sqlite3 *sql;
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    if (sqlite3_exec(sql, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(sql));
    sqlite3_close(sql);
}

static void refuses(const char *what)
{
    struct lt_db *db;
    struct lt_err e = {0};

    assert_int_equal(open_at(path, schema, 2, &db, &e), LT_E_CONFIG);
    if (!strstr(e.msg, what) || !strstr(e.msg, path))
        fail_msg("%s: not a word of %s", e.msg, what);
}

/* Another program's file is refused by name, and not a byte of it is changed. */
static void test_whose_it_is(void **state)
{
    struct lt_err e = {0};
    struct lt_db *db = open_db(1);
    uint8_t before[LT_SHA256], after[LT_SHA256];
    (void)state;
    assert_int_equal(lt_db_write(db, add, "kept", &e), 0);
    lt_db_close(db);
    by_hand("PRAGMA application_id=0"); /* as it was before there was an id: told by its table */
    db = open_db(2);
    assert_int_equal(items(db), 1);
    lt_db_close(db);
    by_hand("PRAGMA application_id=1280603246"); /* LTtn */
    assert_int_equal(lt_file_sha256(path, before, &e), 0);
    refuses("a store of limetree-tenant");
    assert_int_equal(lt_file_sha256(path, after, &e), 0);
    assert_memory_equal(before, after, sizeof before);
    by_hand("PRAGMA application_id=1280602226"); /* LTpr */
    refuses("a store of limetree-provider");
    by_hand("PRAGMA application_id=7");
    refuses("another program");
    by_hand("PRAGMA application_id=0; ALTER TABLE item RENAME TO other");
    refuses("another program");
    assert_int_equal(truncate(path, 0), 0); /* empty: nobody's, and a store begins */
    db = open_db(2);
    assert_int_equal(items(db), 0);
    lt_db_close(db);
    by_hand("PRAGMA user_version=9");
    refuses("newer");
}

/* A file that is damaged says so with a way out, whether at the start or later. */
static void test_damaged(void **state)
{
    struct lt_err e = {0};
    struct lt_db_health health;
    struct lt_db *db = open_db(1);
    char name[64];
    int n;
    (void)state;
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof name, "a name of some length, so that there are pages %d", i);
        assert_int_equal(lt_db_write(db, add, name, &e), 0);
    }
    lt_db_close(db);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, 4096, SEEK_SET);
    for (int i = 0; i < 16384; i++)
        fputc(0x5a, f);
    fclose(f);
    db = open_db(1);
    assert_true(lt_db_read(db, count, &n, &e) < 0);
    assert_non_null(strstr(e.msg, path));
    assert_non_null(strstr(e.msg, "backup"));
    lt_db_health(db, &health);
    assert_true(health.fault);
    assert_string_equal(health.why, e.msg);
    lt_db_close(db);
}

static void wait_fault(struct lt_db *db, bool want, struct lt_db_health *h)
{
    for (int i = 0; i < 1000; i++) {
        lt_db_health(db, h);
        if (h->fault == want)
            return;
        usleep(10000);
    }
    fail_msg("fault %d never came", want);
}

/* Deleted under the program: SQLite goes on, into nothing. */
static void test_lost(void **state)
{
    struct lt_db *db = open_db(1);
    struct lt_db_health h;
    char aside[128];
    (void)state;
    wait_fault(db, false, &h);
    snprintf(aside, sizeof aside, "%s-aside", path);
    assert_int_equal(rename(path, aside), 0);
    wait_fault(db, true, &h);
    assert_non_null(strstr(h.why, path));
    FILE *f = fopen(path, "w"); /* another file there is not ours either */
    assert_non_null(f);
    fclose(f);
    assert_int_equal(rename(aside, path), 0);
    wait_fault(db, false, &h);
    lt_db_close(db);
}

/* A disk without room: every job is told, nothing is half there, and it goes on when there is some. */
static void test_no_room(void **state)
{
    struct rlimit none = {0, RLIM_INFINITY}, was;
    struct lt_db *db = open_db(1);
    struct lt_db_health h;
    struct lt_err e = {0};
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(lt_db_write(db, add, "before", &e), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    none.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int rc = lt_db_write(db, add, "without room", &e);
    lt_db_health(db, &h);
    int n = items(db);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(rc, LT_E_IO);
    assert_non_null(strstr(e.msg, path));
    assert_true(h.fault && h.since && strstr(h.why, path));
    assert_int_equal(n, 1);
    assert_int_equal(lt_db_write(db, add, "after", &e), 0);
    lt_db_health(db, &h);
    assert_false(h.fault);
    assert_int_equal(items(db), 2);
    lt_db_close(db);
}

/* Another program in the middle of a transaction: a fault that ends with it. */
static void test_held_by_another(void **state)
{
    struct lt_db *db = open_db(1);
    struct lt_db_health h;
    struct lt_err e = {0};
    sqlite3 *other;
    (void)state;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(lt_db_write(db, add, "late", &e), LT_E_BUSY);
    lt_db_health(db, &h);
    assert_true(h.fault && strstr(h.why, "another program") && strstr(h.why, path));
    sqlite3_close(other);
    assert_int_equal(lt_db_write(db, add, "late", &e), 0);
    lt_db_health(db, &h);
    assert_false(h.fault);
    lt_db_close(db);
}

static int take_long(sqlite3 *sql, void *arg, struct lt_err *e)
{
    sem_wait(arg);
    return add(sql, "long", e);
}

/* A disk that does not answer is a fault before anything has failed. */
static void test_hung(void **state)
{
    struct lt_db *db = open_db(1);
    struct lt_db_health h;
    sem_t sem;
    (void)state;
    sem_init(&sem, 0, 0);
    lt_db_post(db, take_long, &sem, NULL);
    do {
        usleep(50000);
        lt_db_health(db, &h);
    } while (!h.fault);
    assert_non_null(strstr(h.why, "does not answer"));
    assert_int_equal(items(db), 0); /* readers are told what there is */
    sem_post(&sem);
    wait_fault(db, false, &h);
    lt_db_close(db);
}

static int fail_after_writing(sqlite3 *sql, void *arg, struct lt_err *e)
{
    LT_TRY(add(sql, arg, e));
    return lt_fail(e, LT_E_REFUSED, "changed my mind about %s", (const char *)arg);
}

static int add_orphan(sqlite3 *sql, void *arg, struct lt_err *e)
{
    (void)arg;
    return lt_db_exec(sql, NULL, e, "INSERT INTO part(item) VALUES(?)", "i", (int64_t)999);
}

struct seen {
    sem_t sem;
    atomic_int n;
    int rc[64];
};

static void note(void *arg, int rc, const struct lt_err *e)
{
    struct seen *s = arg;
    assert_int_equal(rc, e->code);
    s->rc[atomic_fetch_add(&s->n, 1)] = rc;
    sem_post(&s->sem);
}

static int add_one(sqlite3 *sql, void *arg, struct lt_err *e)
{
    char name[32];
    (void)arg;
    static int i;
    snprintf(name, sizeof name, "n%d", i++);
    if (i % 3)
        return add(sql, name, e);
    LT_TRY(add(sql, name, e));
    return lt_fail(e, LT_E_CONFLICT, "every third");
}

static void test_neighbours(void **state)
{
    struct lt_db *db = open_db(2);
    struct lt_err e = {0};
    struct seen s = {0};
    (void)state;

    assert_int_equal(lt_db_write(db, fail_after_writing, "a", &e), LT_E_REFUSED);
    assert_string_equal(e.msg, "changed my mind about a");
    assert_int_equal(items(db), 0);
    assert_int_equal(lt_db_write(db, add, "a", &e), 0);
    assert_int_equal(lt_db_write(db, add, "a", &e), LT_E_CONFLICT);         /* UNIQUE */
    assert_int_equal(lt_db_write(db, add_orphan, NULL, &e), LT_E_CONFLICT); /* foreign_keys=ON */
    sem_init(&s.sem, 0, 0);
    for (int i = 0; i < 60; i++)
        lt_db_post(db, add_one, &s, note);
    for (int i = 0; i < 60; i++)
        sem_wait(&s.sem);
    for (int i = 0; i < 60; i++) /* in order, and every third alone */
        assert_int_equal(s.rc[i], i % 3 == 2 ? LT_E_CONFLICT : 0);
    assert_int_equal(items(db), 1 + 40);
    lt_db_close(db);
}

static void test_close_drains(void **state)
{
    struct lt_db *db = open_db(1);
    struct seen s = {0};
    static char names[50][16];
    (void)state;
    sem_init(&s.sem, 0, 0);
    for (int i = 0; i < 50; i++) {
        snprintf(names[i], sizeof names[i], "d%d", i);
        lt_db_post(db, add, names[i], NULL);
    }
    lt_db_close(db);
    db = open_db(1);
    assert_int_equal(items(db), 50);
    lt_db_close(db);
}

static int write_in_read(sqlite3 *sql, void *arg, struct lt_err *e)
{
    (void)arg;
    return lt_db_exec(sql, NULL, e, "DELETE FROM item", "");
}

static int read_twice(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct lt_db *db = arg;
    int before, after, nested = -1;
    LT_TRY(count(sql, &before, e));
    LT_TRY(lt_db_write(db, add, "meanwhile", e)); /* another connection's */
    LT_TRY(count(sql, &after, e));
    LT_TRY(lt_db_read(db, count, &nested, e));
    return before == after && nested == before
               ? 0
               : lt_fail(e, LT_E_INTERNAL, "%d, %d, %d", before, after, nested);
}

static int write_from_writer(sqlite3 *sql, void *arg, struct lt_err *e)
{
    (void)sql;
    return lt_db_write(arg, add, "x", e);
}

static void test_readers(void **state)
{
    struct lt_db *db = open_db(2);
    struct lt_err e = {0};
    (void)state;
    assert_int_equal(lt_db_write(db, add, "a", &e), 0);
    assert_true(lt_db_read(db, write_in_read, NULL, &e) < 0);
    assert_int_equal(items(db), 1);
    if (lt_db_read(db, read_twice, db, &e))
        fail_msg("one snapshot for one read: %s", e.msg);
    assert_int_equal(items(db), 2);
    assert_int_equal(lt_db_write(db, write_from_writer, db, &e), LT_E_INTERNAL); /* would wait for itself */
    lt_db_close(db);
}

static int helpers(sqlite3 *sql, void *arg, struct lt_err *e)
{
    sqlite3_stmt *st = NULL;
    uint8_t out[4], wrong[5];
    (void)arg;
    LT_TRY(lt_db_exec(sql, NULL, e, "INSERT INTO item(id, name, digest) VALUES(?, ?, ?)", "itb",
                      (int64_t)1 << 40, "x'; DROP TABLE item; --", "\0\1\2\3", (size_t)4));
    LT_TRY(lt_db_prepare(sql, "SELECT digest, name, id, more FROM item WHERE id = ?", &st, e, "i",
                         (int64_t)1 << 40));
    assert_int_equal(lt_db_step(st, e), 1);
    assert_int_equal(lt_db_blob(st, 0, out, 4, e), 0);
    assert_memory_equal(out, "\0\1\2\3", 4);
    assert_int_equal(lt_db_blob(st, 0, wrong, 5, e), LT_E_INTERNAL);
    assert_int_equal(lt_db_blob(st, 1, wrong, 5, e), LT_E_INTERNAL);
    assert_int_equal(lt_db_blob(st, 3, wrong, 5, e), LT_E_INTERNAL);
    assert_int_equal(sqlite3_column_int64(st, 2), (int64_t)1 << 40);
    assert_int_equal(lt_db_step(st, e), 0);
    lt_db_cleanup_stmt(&st);
    assert_null(st);
    assert_int_equal(lt_db_prepare(sql, "SELECT ?", &st, e, ""), LT_E_INTERNAL);
    assert_int_equal(lt_db_prepare(sql, "SELECT 1", &st, e, "i", (int64_t)1), LT_E_INTERNAL);
    assert_int_equal(lt_db_prepare(sql, "SELEC", &st, e, ""), LT_E_IO);
    assert_null(st);
    assert_true(lt_db_exec(sql, NULL, e, "SELECT load_extension('x')", "") < 0);
    assert_true(lt_db_exec(sql, NULL, e, "UPDATE sqlite_schema SET sql = 'x'", "") < 0);
    *e = (struct lt_err){0};
    return lt_db_exec(sql, NULL, e, "UPDATE item SET more = ? WHERE id = ?", "ti", NULL, (int64_t)1 << 40);
}

static void test_helpers(void **state)
{
    struct lt_db *db = open_db(2);
    struct lt_err e = {0};
    (void)state;
    if (lt_db_write(db, helpers, NULL, &e))
        fail_msg("%s", e.msg);
    lt_db_close(db);
}

static void *write_many(void *arg)
{
    char name[32];
    struct lt_err e = {0};
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "%lx-%d", (unsigned long)pthread_self(), i);
        if (lt_db_write(arg, add, name, &e) || items(arg) < 1)
            abort();
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct lt_db *db = open_db(2);
    pthread_t t[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, write_many, db), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(items(db), 200);
    lt_db_close(db);
}

/* A child writes and tells each commit; killed in the midst, nothing it told may be lost. */
static void test_killed(void **state)
{
    int fds[2], told = 0;
    char c;
    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        struct lt_err e = {0};
        struct lt_db *db = NULL;
        char name[16];
        if (open_at(path, schema, 2, &db, &e))
            _exit(1);
        for (int i = 0;; i++) {
            snprintf(name, sizeof name, "k%d", i);
            if (lt_db_write(db, add, name, &e) || write(fds[1], "x", 1) != 1)
                _exit(1);
        }
    }
    close(fds[1]);
    while (told < 25 && read(fds[0], &c, 1) == 1)
        told++;
    assert_int_equal(told, 25);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (read(fds[0], &c, 1) == 1)
        told++;
    close(fds[0]);
    struct lt_db *db = open_db(2);
    int n = items(db);
    assert_true(n == told || n == told + 1);
    lt_db_close(db);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_killed),     T(test_file),         T(test_migrations),
        T(test_neighbours), T(test_close_drains), T(test_readers),
        T(test_helpers),    T(test_threads),      T(test_held_by_another),
        T(test_hung),       T(test_whose_it_is),  T(test_damaged),
        T(test_lost),       T(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
