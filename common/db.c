#include "common/db.h"

#include "common/bytes.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MS 5000
#define GROUP 256 /* jobs in one commit */

struct job {
    struct job *next;
    lt_db_fn fn;
    void *arg;
    void (*done)(void *arg, int rc, const struct lt_err *e);
    int rc;
    struct lt_err e;
};

struct reader {
    struct reader *next;
    struct lt_db *db;
    sqlite3 *sql;
};

struct lt_db {
    char *path;
    sqlite3 *sql; /* the writer thread's alone, once that runs */
    pthread_t thread;
    pthread_key_t key; /* this thread's struct reader */
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *head, **tail;
    struct reader *readers;
    bool stopping;
};

/* ---- helpers for statements ---- */

int lt_db_fail(sqlite3 *sql, struct lt_err *e, const char *what)
{
    int rc = sql ? sqlite3_errcode(sql) : SQLITE_NOMEM;
    int code = rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? LT_E_BUSY
               : rc == SQLITE_CONSTRAINT                ? LT_E_CONFLICT
               : rc == SQLITE_NOMEM                     ? LT_E_NO_MEMORY
                                                        : LT_E_IO;
    return lt_fail(e, code, "%s: %s", what, sql ? sqlite3_errmsg(sql) : "no memory");
}

static int bind(sqlite3 *sql, sqlite3_stmt *st, struct lt_err *e, const char *text, const char *fmt,
                va_list ap)
{
    if (sqlite3_bind_parameter_count(st) != (int)strlen(fmt))
        return lt_fail(e, LT_E_INTERNAL, "%s: %d parameters, %zu given", text,
                       sqlite3_bind_parameter_count(st), strlen(fmt));
    for (int i = 1; fmt[i - 1]; i++) {
        int rc = SQLITE_MISUSE;
        if (fmt[i - 1] == 'i') {
            rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
        } else if (fmt[i - 1] == 't') {
            rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        } else if (fmt[i - 1] == 'b') {
            const void *p = va_arg(ap, const void *);
            size_t n = va_arg(ap, size_t);
            rc = p ? sqlite3_bind_blob64(st, i, p, n, SQLITE_TRANSIENT) : sqlite3_bind_null(st, i);
        }
        if (rc != SQLITE_OK)
            return lt_db_fail(sql, e, text);
    }
    return 0;
}

static int prepare(sqlite3 *sql, const char *text, sqlite3_stmt **out, struct lt_err *e, const char *fmt,
                   va_list ap)
{
    *out = NULL;
    if (sqlite3_prepare_v2(sql, text, -1, out, NULL) != SQLITE_OK)
        return lt_db_fail(sql, e, text);
    int rc = bind(sql, *out, e, text, fmt ? fmt : "", ap);
    if (rc)
        lt_cleanup_stmt(out);
    return rc;
}

int lt_db_prepare(sqlite3 *sql, const char *text, sqlite3_stmt **out, struct lt_err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = prepare(sql, text, out, e, fmt, ap);
    va_end(ap);
    return rc;
}

int lt_db_exec(sqlite3 *sql, int *changes, struct lt_err *e, const char *text, const char *fmt, ...)
{
    LT_AUTOSTMT sqlite3_stmt *st = NULL;
    va_list ap;

    if (changes)
        *changes = 0;
    va_start(ap, fmt);
    int rc = prepare(sql, text, &st, e, fmt, ap);
    va_end(ap);
    if (rc)
        return rc;
    while ((rc = lt_db_step(st, e)) > 0)
        ;
    if (!rc && changes)
        *changes = sqlite3_changes(sql);
    return rc;
}

int lt_db_step(sqlite3_stmt *st, struct lt_err *e)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : lt_db_fail(sqlite3_db_handle(st), e, sqlite3_sql(st));
}

int lt_db_blob(sqlite3_stmt *st, int col, void *out, size_t n, struct lt_err *e)
{
    bool blob = sqlite3_column_type(st, col) == SQLITE_BLOB;
    const void *p = blob ? sqlite3_column_blob(st, col) : NULL;
    size_t have = blob ? (size_t)sqlite3_column_bytes(st, col) : 0;

    memset(out, 0, n);
    if (!blob || have != n)
        return lt_fail(e, LT_E_INTERNAL, "database: column %s: %zu bytes of blob, %zu expected",
                       sqlite3_column_name(st, col), have, n);
    if (n)
        memcpy(out, p, n);
    return 0;
}

void lt_cleanup_stmt(sqlite3_stmt **st)
{
    sqlite3_finalize(*st);
    *st = NULL;
}

/* ---- connections ---- */

static int run_sql(sqlite3 *sql, const char *text, struct lt_err *e)
{
    return sqlite3_exec(sql, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : lt_db_fail(sql, e, text);
}

/* Debian's library can load extensions and honours what a schema says: both off. FULL in WAL syncs the log at
 * every commit, so what was answered survives the power. */
static int open_connection(const char *path, bool writer, sqlite3 **out, struct lt_err *e)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE |
                (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int rc = sqlite3_open_v2(path, out, flags, NULL) != SQLITE_OK ? lt_db_fail(*out, e, path) : 0;

    if (!rc) {
        sqlite3_extended_result_codes(*out, 0);
        sqlite3_busy_timeout(*out, BUSY_MS);
        if (sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
            sqlite3_db_config(*out, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK ||
            sqlite3_db_config(*out, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL) != SQLITE_OK)
            rc = lt_db_fail(*out, e, path);
    }
    if (!rc)
        rc = run_sql(*out,
                     writer ? "PRAGMA foreign_keys=ON; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
                            : "PRAGMA foreign_keys=ON; PRAGMA query_only=ON",
                     e);
    if (rc) {
        sqlite3_close(*out);
        *out = NULL;
    }
    return rc;
}

static int schema_version(sqlite3 *sql, int *out, struct lt_err *e)
{
    LT_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, "PRAGMA user_version", &st, e, "");
    if (!rc)
        rc = lt_db_step(st, e);
    *out = rc == 1 ? sqlite3_column_int(st, 0) : 0;
    return rc < 0 ? rc : 0;
}

/* All steps in one transaction: a program killed here leaves the old schema. */
static int migrate(sqlite3 *sql, const char *path, const char *const *migrations, int count, struct lt_err *e)
{
    char set[64];
    int version = 0;

    int rc = run_sql(sql, "BEGIN IMMEDIATE", e);
    if (!rc)
        rc = schema_version(sql, &version, e);
    if (!rc && (version < 0 || version > count))
        rc = lt_fail(e, LT_E_CONFIG, "%s: schema version %d, this program knows %d: made by a newer one",
                     path, version, count);
    for (; !rc && version < count; version++)
        if ((rc = run_sql(sql, migrations[version], e)))
            rc = lt_fail_in(e, "%s: migration to version %d", path, version + 1);
    snprintf(set, sizeof set, "PRAGMA user_version=%d", count);
    if (!rc)
        rc = run_sql(sql, set, e);
    if (!rc)
        rc = run_sql(sql, "COMMIT", e);
    if (rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* ---- the writer ---- */

static void run_job(sqlite3 *sql, struct job *j)
{
    j->e = (struct lt_err){0};
    j->rc = run_sql(sql, "SAVEPOINT job", &j->e);
    if (j->rc)
        return;
    j->rc = j->fn(sql, j->arg, &j->e);
    if (j->rc && !j->e.code)
        j->e.code = j->rc;
    /* A full disk may have ended the whole transaction; the commit below will say so to everybody. */
    if (j->rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK TO job", NULL, NULL, NULL);
    if (!sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "RELEASE job", NULL, NULL, NULL);
}

static void run_group(sqlite3 *sql, struct job *group)
{
    struct lt_err e = {0};

    int rc = run_sql(sql, "BEGIN IMMEDIATE", &e);
    for (struct job *j = group; !rc && j; j = j->next) {
        run_job(sql, j);
        if (sqlite3_get_autocommit(sql))
            rc = lt_fail(&e, LT_E_IO, "database: the transaction was rolled back (%s)", j->e.msg);
    }
    if (!rc)
        rc = run_sql(sql, "COMMIT", &e);
    if (rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
    for (struct job *j = group, *next; j; j = next) {
        next = j->next; /* a waiter frees its job once told */
        if (rc && !j->rc) {
            j->rc = rc;
            j->e = e;
        }
        void (*done)(void *, int, const struct lt_err *) = j->done;
        if (done)
            done(j->arg, j->rc, &j->e);
        else if (j->rc)
            lt_log(LT_LOG_ERROR, "database", "%s", j->e.msg);
        free(j);
    }
}

static void *writer(void *arg)
{
    struct lt_db *db = arg;

    for (;;) {
        pthread_mutex_lock(&db->lock);
        while (!db->head && !db->stopping)
            pthread_cond_wait(&db->work, &db->lock);
        struct job *group = db->head, **end = &group;
        for (int n = 0; n < GROUP && *end; n++)
            end = &(*end)->next;
        db->head = group ? *end : NULL;
        if (!db->head)
            db->tail = &db->head;
        if (group)
            *end = NULL;
        pthread_mutex_unlock(&db->lock);
        if (!group)
            return NULL;
        run_group(db->sql, group);
    }
}

void lt_db_post(struct lt_db *db, lt_db_fn fn, void *arg,
                void (*done)(void *arg, int rc, const struct lt_err *e))
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        abort(); /* a write that nobody would hear of */
    j->fn = fn;
    j->arg = arg;
    j->done = done;
    pthread_mutex_lock(&db->lock);
    *db->tail = j;
    db->tail = &j->next;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
}

struct wait {
    lt_db_fn fn;
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int rc;
    struct lt_err e;
};

static int wait_fn(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct wait *w = arg;
    return w->fn(sql, w->arg, e);
}

static void wait_done(void *arg, int rc, const struct lt_err *e)
{
    struct wait *w = arg;
    pthread_mutex_lock(&w->lock);
    w->rc = rc;
    w->e = *e;
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

int lt_db_write(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e)
{
    struct wait w = {fn, arg, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, {0}};

    if (pthread_equal(pthread_self(), db->thread))
        return lt_fail(e, LT_E_INTERNAL, "database: a write that waits, from the writer itself");
    lt_db_post(db, wait_fn, &w, wait_done);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    if (w.rc && e)
        *e = w.e;
    return w.rc;
}

/* ---- readers ---- */

static void reader_gone(void *arg)
{
    struct reader *r = arg;
    pthread_mutex_lock(&r->db->lock);
    for (struct reader **at = &r->db->readers; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    pthread_mutex_unlock(&r->db->lock);
    sqlite3_close(r->sql);
    free(r);
}

static int reader_of(struct lt_db *db, struct reader **out, struct lt_err *e)
{
    struct reader *r = *out = pthread_getspecific(db->key);
    if (r)
        return 0;
    if (!(r = calloc(1, sizeof *r)))
        return lt_fail(e, LT_E_NO_MEMORY, "database: no memory");
    r->db = db;
    int rc = open_connection(db->path, false, &r->sql, e);
    if (!rc && pthread_setspecific(db->key, r))
        rc = lt_fail(e, LT_E_NO_MEMORY, "database: no memory");
    if (rc) {
        sqlite3_close(r->sql);
        free(r);
        return rc;
    }
    pthread_mutex_lock(&db->lock);
    r->next = db->readers;
    db->readers = r;
    pthread_mutex_unlock(&db->lock);
    *out = r;
    return 0;
}

/* One snapshot for all of fn's statements. */
int lt_db_read(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e)
{
    struct reader *r;

    LT_TRY(reader_of(db, &r, e));
    if (!sqlite3_get_autocommit(r->sql)) /* a read inside a read: the same snapshot */
        return fn(r->sql, arg, e);
    int rc = run_sql(r->sql, "BEGIN", e);
    if (rc)
        return rc;
    rc = fn(r->sql, arg, e);
    sqlite3_exec(r->sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* ---- open and close ---- */

/* SQLite gives its -wal and -shm files the mode of the database. */
static int make_file(const char *path, struct lt_err *e)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || fstat(fd, &st)) {
        int rc = lt_fail(e, LT_E_IO, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    close(fd);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
        return lt_fail(e, LT_E_CONFIG, "%s: must be a regular file of mode 0600 (is %04o)", path,
                       (unsigned)(st.st_mode & 07777));
    return 0;
}

int lt_db_open(const char *path, const char *const *migrations, int count, struct lt_db **out,
               struct lt_err *e)
{
    *out = NULL;
    int rc = make_file(path, e);
    if (rc)
        return rc;
    struct lt_db *db = calloc(1, sizeof *db);
    if (!db || !(db->path = strdup(path))) {
        free(db);
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", path);
    }
    db->tail = &db->head;
    pthread_mutex_init(&db->lock, NULL);
    pthread_cond_init(&db->work, NULL);
    bool key = !pthread_key_create(&db->key, reader_gone);
    rc = key ? open_connection(path, true, &db->sql, e)
             : lt_fail(e, LT_E_NO_MEMORY, "%s: no thread key", path);
    if (!rc)
        rc = migrate(db->sql, path, migrations, count, e);
    if (!rc && pthread_create(&db->thread, NULL, writer, db))
        rc = lt_fail(e, LT_E_IO, "%s: no thread", path);
    if (!rc) {
        *out = db;
        return 0;
    }
    if (key)
        pthread_key_delete(db->key);
    sqlite3_close(db->sql);
    free(db->path);
    free(db);
    return rc;
}

void lt_db_close(struct lt_db *db)
{
    if (!db)
        return;
    pthread_mutex_lock(&db->lock);
    db->stopping = true;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->thread, NULL);
    pthread_key_delete(db->key); /* threads that end later no longer call reader_gone */
    for (struct reader *r = db->readers, *next; r; r = next) {
        next = r->next;
        sqlite3_close(r->sql);
        free(r);
    }
    sqlite3_close(db->sql);
    pthread_cond_destroy(&db->work);
    pthread_mutex_destroy(&db->lock);
    free(db->path);
    free(db);
}
