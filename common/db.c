#include "common/db.h"

#include "common/bytes.h"
#include "common/clock.h"
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
#define TICK_MS 1000

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

enum fault {
    UNWRITTEN, /* the last group could not be written */
    LOST,      /* our file is not at its path */
    DAMAGED,   /* something in it cannot be read: until the next start */
    FAULTS
};

struct lt_db {
    char *path;
    dev_t dev; /* the file we write; another one at its path is not ours */
    ino_t ino;
    struct lt_space *space;
    sqlite3 *sql; /* the writer thread's alone, once that runs, as is ticked_ms */
    uint64_t ticked_ms;
    pthread_t thread;
    pthread_key_t key; /* this thread's struct reader */
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *head, **tail;
    struct reader *readers;
    bool stopping;
    void (*tick)(void *arg);
    void *tick_arg;
    /* under lock */
    bool fault[FAULTS];
    char why[FAULTS][320];
    int64_t since;
};

/* ---- helpers for statements ---- */

/* The last trouble of this thread's connections that is the file's or the disk's, not the statement's. */
static _Thread_local int trouble;

static const struct {
    int code;
    const char *remedy;
} remedies[] = {
    {SQLITE_FULL, "free space on its file system"},
    {SQLITE_CORRUPT, "it is damaged: put a backup in its place, or move it away with its -wal and -shm (sqlite3's "
                     ".recover reads what is left), and start anew"},
    {SQLITE_NOTADB, "it is damaged, or no database of ours: put a backup in its place, or move it away with its -wal "
                    "and -shm, and start anew"},
    {SQLITE_IOERR, "its disk gives errors, or has no room: see the kernel's log"},
    {SQLITE_READONLY, "see its owner, its mode, and how its file system is mounted"},
    {SQLITE_CANTOPEN, "see whether it and its directory are there, and their owner and mode"},
};

static const char *remedy(int code)
{
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
        if (remedies[i].code == code)
            return remedies[i].remedy;
    return NULL;
}

int lt_db_fail(sqlite3 *sql, struct lt_err *e, const char *what)
{
    int rc = sql ? sqlite3_errcode(sql) & 0xff : SQLITE_NOMEM;
    const char *file = sql ? sqlite3_db_filename(sql, "main") : NULL;
    int code = rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? LT_E_BUSY
               : rc == SQLITE_CONSTRAINT                ? LT_E_CONFLICT
               : rc == SQLITE_NOMEM                     ? LT_E_NO_MEMORY
                                                        : LT_E_IO;
    if (!remedy(rc))
        return lt_fail(e, code, "%s: %s", what, sql ? sqlite3_errmsg(sql) : "no memory");
    trouble = rc;
    return lt_fail(e, code, "%s: %s; %s", file && *file ? file : what, sqlite3_errmsg(sql), remedy(rc));
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

void lt_db_skip(struct lt_db_skipped *s, const char *table, sqlite3_stmt *st, int col, const struct lt_err *why)
{
    uint8_t key[20];
    char hex[2 * sizeof key + 1], text[320];
    int n = sqlite3_column_bytes(st, col);
    const void *p = sqlite3_column_blob(st, col);

    n = p && n > 0 ? (n > (int)sizeof key ? (int)sizeof key : n) : 0;
    if (n)
        memcpy(key, p, (size_t)n);
    lt_hex(key, (size_t)n, hex);
    snprintf(text, sizeof text, "%.60s: row x'%s' of %.20s left out: %.160s",
             sqlite3_db_filename(sqlite3_db_handle(st), "main"), hex, table, why ? why->msg : "unreadable");
    if (!s->count++)
        memcpy(s->first, text, sizeof text);
    lt_log(LT_LOG_ERROR, "store-row", "%s", text);
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

/* Debian's library can load extensions and honours what a schema says: both off. Nothing is written yet. */
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
                     writer ? "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY"
                            : "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA query_only=ON",
                     e);
    if (rc) {
        sqlite3_close(*out);
        *out = NULL;
    }
    return rc;
}

static int number(sqlite3 *sql, const char *text, int64_t *out, struct lt_err *e)
{
    LT_AUTOSTMT sqlite3_stmt *st = NULL;
    int rc = lt_db_prepare(sql, text, &st, e, "");
    if (!rc)
        rc = lt_db_step(st, e);
    *out = rc == 1 ? sqlite3_column_int64(st, 0) : 0;
    return rc < 0 ? rc : 0;
}

static int foreign(const char *path, const struct lt_db_kind *kind, uint32_t id, struct lt_err *e)
{
    const char *whose = id == LT_DB_TENANT     ? "is a store of limetree-tenant"
                        : id == LT_DB_PROVIDER ? "is a store of limetree-provider"
                                               : "belongs to another program";
    return lt_fail(e, LT_E_CONFIG,
                   "%s: %s (application id %08x), not of %s, and was left as it is: name another state_dir, or move "
                   "it away",
                   path, whose, id, kind->program);
}

/* What file this is, before anything is written into it. *version: of its schema. */
static int check_kind(sqlite3 *sql, const char *path, const struct lt_db_kind *kind, int *version, struct lt_err *e)
{
    int64_t id, is, tables, marked = 0;
    LT_AUTOSTMT sqlite3_stmt *st = NULL;

    LT_TRY(number(sql, "PRAGMA application_id", &id, e));
    LT_TRY(number(sql, "PRAGMA user_version", &is, e));
    LT_TRY(number(sql, "SELECT count(*) FROM sqlite_schema", &tables, e));
    LT_TRY(lt_db_prepare(sql, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", &st, e, "t",
                         kind->mark));
    marked = lt_db_step(st, e);
    if (marked < 0)
        return (int)marked;
    if ((uint32_t)id != kind->application_id && (id || (tables && !marked)))
        return foreign(path, kind, (uint32_t)id, e);
    if (is < 0 || is > kind->count)
        return lt_fail(e, LT_E_CONFIG,
                       "%s: schema version %lld, this program knows %d: made by a newer %s; run that one, or put a "
                       "backup of before in its place",
                       path, (long long)is, kind->count, kind->program);
    *version = (int)is;
    return 0;
}

/* All steps in one transaction: a program killed here leaves the old schema. */
static int migrate(sqlite3 *sql, const char *path, const struct lt_db_kind *kind, int version, struct lt_err *e)
{
    char set[96];

    int rc = run_sql(sql, "BEGIN IMMEDIATE", e);
    for (; !rc && version < kind->count; version++)
        if ((rc = run_sql(sql, kind->migrations[version], e)))
            rc = lt_fail_in(e, "%s: migration to version %d", path, version + 1);
    snprintf(set, sizeof set, "PRAGMA user_version=%d; PRAGMA application_id=%d", kind->count,
             (int)kind->application_id);
    if (!rc)
        rc = run_sql(sql, set, e);
    if (!rc)
        rc = run_sql(sql, "COMMIT", e);
    if (rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* FULL in WAL syncs the log at every commit, so what was answered survives the power. A store that is up to date is
 * not written to: it must open on a full disk. */
static int prepare_store(sqlite3 *sql, const char *path, const struct lt_db_kind *kind, struct lt_err *e)
{
    int64_t id;
    int version;

    LT_TRY(check_kind(sql, path, kind, &version, e));
    LT_TRY(run_sql(sql, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", e));
    LT_TRY(number(sql, "PRAGMA application_id", &id, e));
    if (version == kind->count && (uint32_t)id == kind->application_id)
        return 0;
    return migrate(sql, path, kind, version, e);
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

/* whole: one job that meets trouble undoes them all. */
static int try_group(sqlite3 *sql, struct job *group, bool whole, struct lt_err *e)
{
    *e = (struct lt_err){0};
    trouble = 0;
    int rc = run_sql(sql, "BEGIN IMMEDIATE", e);

    for (struct job *j = group; !rc && j; j = j->next) {
        run_job(sql, j);
        if (sqlite3_get_autocommit(sql) || (whole && trouble))
            rc = lt_fail(e, LT_E_IO, "database: the transaction was rolled back (%s)", j->e.msg);
    }
    if (!rc)
        rc = run_sql(sql, "COMMIT", e);
    if (rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* Once more after trouble, when the reserve may have given room, and each job for itself. */
static int write_group(struct lt_db *db, struct job *group, struct lt_err *e)
{
    int rc = try_group(db->sql, group, true, e);

    if (!trouble)
        return rc;
    if (trouble == SQLITE_FULL || trouble == SQLITE_IOERR)
        (void)lt_space_release(db->space);
    return try_group(db->sql, group, false, e);
}

static int worst(const struct lt_db *db)
{
    int f = FAULTS - 1;
    while (f >= 0 && !db->fault[f])
        f--;
    return f;
}

/* A fault is told when it comes and when it goes, not with each write. */
static void note(struct lt_db *db, enum fault f, bool is, const char *why)
{
    pthread_mutex_lock(&db->lock);
    bool was = db->fault[f], before = worst(db) >= 0;
    db->fault[f] = is;
    bool now = worst(db) >= 0;
    if (is)
        snprintf(db->why[f], sizeof db->why[f], "%s", why);
    if (now && !before)
        db->since = lt_wall_s();
    pthread_mutex_unlock(&db->lock);
    if (is && !was)
        lt_log(LT_LOG_ERROR, "store-fault", "%s", why);
    else if (!now && before)
        lt_log(LT_LOG_WARNING, "store-recovered", "%s: writes are kept again", db->path);
}

static void note_trouble(struct lt_db *db, const char *why)
{
    bool damaged = trouble == SQLITE_CORRUPT || trouble == SQLITE_NOTADB;
    note(db, damaged ? DAMAGED : UNWRITTEN, true, why);
}

static const char *why_of(const struct job *group, const struct lt_err *e)
{
    for (const struct job *j = group; !e->code && j; j = j->next)
        if (j->rc)
            return j->e.msg;
    return e->msg;
}

static void run_group(struct lt_db *db, struct job *group)
{
    struct lt_err e = {0};
    int rc = write_group(db, group, &e);

    if (trouble)
        note_trouble(db, why_of(group, &e));
    else if (!rc)
        note(db, UNWRITTEN, false, "");
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

/* SQLite goes on with a file that was deleted or replaced: into nothing. */
static bool in_place(const struct lt_db *db)
{
    struct stat st;
    return !lstat(db->path, &st) && st.st_dev == db->dev && st.st_ino == db->ino;
}

static void look_after(struct lt_db *db)
{
    char why[320];
    uint64_t now = lt_now_ms();

    if (now - db->ticked_ms < TICK_MS)
        return;
    db->ticked_ms = now;
    lt_space_look(db->space);
    snprintf(why, sizeof why,
             "%.160s: was deleted or replaced: what is written goes into the old file and is gone at the end; stop, "
             "put it back (or a backup), start",
             db->path);
    note(db, LOST, !in_place(db), why);
    pthread_mutex_lock(&db->lock);
    void (*tick)(void *) = db->tick;
    void *arg = db->tick_arg;
    pthread_mutex_unlock(&db->lock);
    if (tick)
        tick(arg);
}

/* Under the lock. */
static void wait_work(struct lt_db *db)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TICK_MS / 1000;
    pthread_cond_timedwait(&db->work, &db->lock, &until);
}

static void *writer(void *arg)
{
    struct lt_db *db = arg;

    for (;;) {
        pthread_mutex_lock(&db->lock);
        if (!db->head && !db->stopping)
            wait_work(db);
        struct job *group = db->head, **end = &group;
        for (int n = 0; n < GROUP && *end; n++)
            end = &(*end)->next;
        db->head = group ? *end : NULL;
        if (!db->head)
            db->tail = &db->head;
        if (group)
            *end = NULL;
        bool stop = !group && db->stopping;
        pthread_mutex_unlock(&db->lock);
        if (stop)
            return NULL;
        if (group)
            run_group(db, group);
        look_after(db);
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
    int rc = in_place(db) ? open_connection(db->path, false, &r->sql, e)
                          : lt_fail(e, LT_E_IO, "%s: was deleted or replaced", db->path);
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
    trouble = 0;
    int rc = run_sql(r->sql, "BEGIN", e);
    if (!rc) {
        rc = fn(r->sql, arg, e);
        sqlite3_exec(r->sql, "ROLLBACK", NULL, NULL, NULL);
    }
    if (trouble == SQLITE_CORRUPT || trouble == SQLITE_NOTADB)
        note_trouble(db, e ? e->msg : db->path);
    return rc;
}

/* ---- open and close ---- */

/* SQLite gives its -wal and -shm files the mode of the database. */
static int make_file(struct lt_db *db, struct lt_err *e)
{
    struct stat st;
    bool fresh = lstat(db->path, &st) && errno == ENOENT;
    int fd = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || fstat(fd, &st)) {
        int rc = lt_fail(e, LT_E_IO, "%s: %s", db->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    close(fd);
    db->dev = st.st_dev;
    db->ino = st.st_ino;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
        return lt_fail(e, LT_E_CONFIG, "%s: must be a regular file of mode 0600 (is %04o)", db->path,
                       (unsigned)(st.st_mode & 07777));
    if (fresh)
        lt_log(LT_LOG_WARNING, "store-new", "%s: there was none; an empty store begins", db->path);
    return 0;
}

/* The reserve is for this, too: a store that has to grow by a schema. */
static int open_store(struct lt_db *db, const struct lt_db_kind *kind, struct lt_err *e)
{
    LT_TRY(open_connection(db->path, true, &db->sql, e));
    trouble = 0;
    int rc = prepare_store(db->sql, db->path, kind, e);
    if (!rc || trouble != SQLITE_FULL || !lt_space_release(db->space))
        return rc;
    *e = (struct lt_err){0};
    return prepare_store(db->sql, db->path, kind, e);
}

static int start_writer(struct lt_db *db, struct lt_err *e)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&db->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&db->work, &attr);
    pthread_condattr_destroy(&attr);
    db->tail = &db->head;
    if (pthread_key_create(&db->key, reader_gone))
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no thread key", db->path);
    if (pthread_create(&db->thread, NULL, writer, db)) {
        pthread_key_delete(db->key);
        return lt_fail(e, LT_E_IO, "%s: no thread", db->path);
    }
    return 0;
}

static void db_free(struct lt_db *db)
{
    sqlite3_close(db->sql);
    lt_space_close(db->space);
    free(db->path);
    free(db);
}

int lt_db_open(const char *path, const struct lt_db_kind *kind, struct lt_space *space, struct lt_db **out,
               struct lt_err *e)
{
    struct lt_db *db = calloc(1, sizeof *db);
    struct lt_err ignored = {0};

    *out = NULL;
    if (!db || !(db->path = strdup(path))) {
        free(db);
        lt_space_close(space);
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", path);
    }
    e = e ? e : &ignored;
    db->space = space;
    int rc = make_file(db, e);
    if (!rc)
        rc = open_store(db, kind, e);
    if (!rc)
        rc = start_writer(db, e);
    if (rc)
        db_free(db);
    else
        *out = db;
    return rc;
}

void lt_db_on_tick(struct lt_db *db, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&db->lock);
    db->tick = fn;
    db->tick_arg = arg;
    pthread_mutex_unlock(&db->lock);
}

void lt_db_health(struct lt_db *db, struct lt_db_health *out)
{
    *out = (struct lt_db_health){0};
    pthread_mutex_lock(&db->lock);
    int f = worst(db);
    out->fault = f >= 0;
    if (out->fault) {
        out->since = db->since;
        memcpy(out->why, db->why[f], sizeof out->why);
    }
    pthread_mutex_unlock(&db->lock);
    lt_space_state(db->space, &out->space);
}

bool lt_db_fits(struct lt_db *db, uint64_t n)
{
    return lt_space_fits(db->space, n);
}

void lt_db_close(struct lt_db *db)
{
    if (!db)
        return;
    pthread_mutex_lock(&db->lock);
    db->stopping = true;
    db->tick = NULL;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->thread, NULL);
    pthread_key_delete(db->key); /* threads that end later no longer call reader_gone */
    for (struct reader *r = db->readers, *next; r; r = next) {
        next = r->next;
        sqlite3_close(r->sql);
        free(r);
    }
    pthread_cond_destroy(&db->work);
    pthread_mutex_destroy(&db->lock);
    db_free(db);
}
