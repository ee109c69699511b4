#include "common/run/db_impl.h"

#include "common/alloc.h"
#include "common/bytes.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "common/run/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP 256 /* jobs in one commit */
#define TICK_MS 1000
#define HUNG_MS 10000 /* a group that takes so long: the disk does not answer */

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
    uint64_t busy_ms; /* when the writer began with the group it has; 0: none */
    bool fault[FAULTS];
    char why[FAULTS][320];
    int64_t since;
};

/* ---- the writer ---- */

static void run_job(sqlite3 *sql, struct job *j)
{
    j->e = (struct lt_err){0};
    j->rc = lt_db_run(sql, "SAVEPOINT job", &j->e);
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
    lt_db_trouble = 0;
    int rc = lt_db_run(sql, "BEGIN IMMEDIATE", e);

    for (struct job *j = group; !rc && j; j = j->next) {
        run_job(sql, j);
        if (sqlite3_get_autocommit(sql) || (whole && lt_db_trouble))
            rc = lt_fail(e, LT_E_IO, "database: the transaction was rolled back (%s)", j->e.msg);
    }
    if (!rc)
        rc = lt_db_run(sql, "COMMIT", e);
    if (rc && !sqlite3_get_autocommit(sql))
        sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* Once more after trouble, when the reserve may have given room, and each job for itself. */
static int write_group(struct lt_db *db, struct job *group, struct lt_err *e)
{
    int rc = try_group(db->sql, group, true, e);

    if (!lt_db_trouble || lt_db_trouble == SQLITE_BUSY) /* that was waited for already */
        return rc;
    if (lt_db_trouble == SQLITE_FULL || lt_db_trouble == SQLITE_IOERR)
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
        db->since = lt_clock_wall_s();
    pthread_mutex_unlock(&db->lock);
    if (is && !was)
        lt_log(LT_LOG_ERROR, "store-fault", "%s", why);
    else if (!now && before)
        lt_log(LT_LOG_WARNING, "store-recovered", "%s: writes are kept again", db->path);
}

static void note_trouble(struct lt_db *db, const char *why)
{
    bool damaged = lt_db_trouble == SQLITE_CORRUPT || lt_db_trouble == SQLITE_NOTADB;
    note(db, damaged ? DAMAGED : UNWRITTEN, true, why);
}

static const char *why_of(const struct job *group, const struct lt_err *e)
{
    for (const struct job *j = group; !e->code && j; j = j->next)
        if (j->rc)
            return j->e.msg;
    return e->msg;
}

static void set_busy(struct lt_db *db, uint64_t since_ms)
{
    pthread_mutex_lock(&db->lock);
    db->busy_ms = since_ms;
    pthread_mutex_unlock(&db->lock);
}

static void run_group(struct lt_db *db, struct job *group)
{
    struct lt_err e = {0};

    set_busy(db, lt_clock_ms());
    int rc = write_group(db, group, &e);
    set_busy(db, 0);
    if (lt_db_trouble)
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
    uint64_t now = lt_clock_ms();

    if (now - db->ticked_ms < TICK_MS)
        return;
    db->ticked_ms = now;
    lt_space_look(db->space);
    snprintf(why, sizeof why,
             "%.160s: was deleted or replaced: what is written goes into the old file and is gone at the "
             "end; stop, "
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

static void *writer(void *arg)
{
    struct lt_db *db = arg;

    for (;;) {
        pthread_mutex_lock(&db->lock);
        if (!db->head && !db->stopping)
            (void)lt_cond_until(&db->work, &db->lock, lt_clock_ms() + TICK_MS);
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
    struct job *j = lt_new(struct job);
    j->fn = fn;
    j->arg = arg;
    j->done = done;
    pthread_mutex_lock(&db->lock);
    *db->tail = j;
    db->tail = &j->next;
    pthread_cond_signal(&db->work);
    pthread_mutex_unlock(&db->lock);
}

struct write {
    struct lt_wait wait;
    lt_db_fn fn;
    void *arg;
};

static int write_fn(sqlite3 *sql, void *arg, struct lt_err *e)
{
    struct write *w = arg;
    return w->fn(sql, w->arg, e);
}

static void write_done(void *arg, int rc, const struct lt_err *e)
{
    struct write *w = arg;
    lt_wait_end(&w->wait, rc, e);
}

int lt_db_write(struct lt_db *db, lt_db_fn fn, void *arg, struct lt_err *e)
{
    struct write w = {.wait = LT_WAIT, .fn = fn, .arg = arg};

    if (pthread_equal(pthread_self(), db->thread))
        return lt_fail(e, LT_E_INTERNAL, "database: a write that waits, from the writer itself");
    lt_db_post(db, write_fn, &w, write_done);
    return lt_wait_for(&w.wait, e);
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
    r = lt_new(struct reader);
    r->db = db;
    int rc = in_place(db) ? lt_db_connect(db->path, false, &r->sql, e)
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
    lt_db_trouble = 0;
    int rc = lt_db_run(r->sql, "BEGIN", e);
    if (!rc) {
        rc = fn(r->sql, arg, e);
        sqlite3_exec(r->sql, "ROLLBACK", NULL, NULL, NULL);
    }
    if (lt_db_trouble == SQLITE_CORRUPT || lt_db_trouble == SQLITE_NOTADB)
        note_trouble(db, e->msg);
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
    LT_TRY(lt_db_connect(db->path, true, &db->sql, e));
    lt_db_trouble = 0;
    int rc = lt_db_prepare_store(db->sql, db->path, kind, e);
    if (!rc || lt_db_trouble != SQLITE_FULL || !lt_space_release(db->space))
        return rc;
    *e = (struct lt_err){0};
    return lt_db_prepare_store(db->sql, db->path, kind, e);
}

static int start_writer(struct lt_db *db, struct lt_err *e)
{
    pthread_mutex_init(&db->lock, NULL);
    lt_cond_init(&db->work);
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
    struct lt_db *db = lt_new(struct lt_db);

    *out = NULL;
    db->path = lt_alloc_text(path);
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

/* Under the lock. */
static uint64_t hung_ms(const struct lt_db *db)
{
    return db->busy_ms ? lt_clock_ms() - db->busy_ms : 0;
}

bool lt_db_faulty(struct lt_db *db)
{
    pthread_mutex_lock(&db->lock);
    bool faulty = worst(db) >= 0 || hung_ms(db) > HUNG_MS;
    pthread_mutex_unlock(&db->lock);
    return faulty;
}

void lt_db_health(struct lt_db *db, struct lt_db_health *out)
{
    *out = (struct lt_db_health){0};
    pthread_mutex_lock(&db->lock);
    int f = worst(db);
    uint64_t hung = hung_ms(db);
    out->fault = f >= 0 || hung > HUNG_MS;
    if (f >= 0) {
        out->since = db->since;
        memcpy(out->why, db->why[f], sizeof out->why);
    } else if (out->fault) {
        out->since = lt_clock_wall_s() - (int64_t)(hung / 1000);
        snprintf(out->why, sizeof out->why, "%.200s: its disk does not answer", db->path);
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
