#include "agent/revocations.h"

#include "agent/payload.h"
#include "agent/script.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/run/log.h"
#include "common/run/work.h"
#include "keylime/notice.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file each: n, how often it was begun, its number. */
#define TRIES 2
#define NAME_LENGTH 19 /* "n0-" and 16 digits */
#define MESSAGE "notice.json"

struct lt_agent_revocations {
    struct lt_agent_revocations_conf conf;
    char *message; /* path of the file that actions get */
    int stop_fd;
    struct lt_work *work;
    struct lt_work_task task;
    pthread_mutex_t lock; /* of all below */
    uint64_t next;
    unsigned waiting;
    bool posted, stopping;
};

struct spooled {
    unsigned tries;
    uint64_t number;
    char name[NAME_LENGTH + 1];
};

static struct spooled spooled_of(unsigned tries, uint64_t number)
{
    struct spooled s = {.tries = tries, .number = number};

    snprintf(s.name, sizeof s.name, "n%u-%016" PRIx64, tries % 10, number);
    return s;
}

static bool parse_name(const char *name, struct spooled *out)
{
    uint8_t bytes[8];

    if (strlen(name) != NAME_LENGTH || name[0] != 'n' || name[1] < '0' || name[1] > '0' + TRIES ||
        name[2] != '-' || !lt_unhex_lower(name + 3, sizeof bytes, bytes))
        return false;
    *out = (struct spooled){.tries = (unsigned)(name[1] - '0')};
    for (size_t i = 0; i < sizeof bytes; i++)
        out->number = out->number << 8 | bytes[i];
    memcpy(out->name, name, NAME_LENGTH + 1);
    return true;
}

/* The one that came first; *count and *last: how many lie there, and the highest number. */
static bool first(const struct lt_agent_revocations *r, struct spooled *out, unsigned *count, uint64_t *last)
{
    int fd = openat(r->conf.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct spooled s;

    *out = (struct spooled){0};
    *count = 0;
    *last = 0;
    for (struct dirent *x; d && (x = readdir(d));) {
        if (!parse_name(x->d_name, &s))
            continue;
        if (!(*count)++ || s.number < out->number)
            *out = s;
        *last = s.number > *last ? s.number : *last;
    }
    if (d)
        closedir(d);
    return *count;
}

/* ---- acting ---- */

static void act(const struct lt_agent_revocations *r, const char *dir, const char *name, const char *cwd)
{
    LT_AUTOFREE char *path = lt_file_path(dir, name);
    const struct lt_script script = {.path = path,
                                     .argument = r->message,
                                     .dir = cwd,
                                     .agent_id = r->conf.id,
                                     .timeout_s = r->conf.timeout_s,
                                     .stop_fd = r->stop_fd};
    struct lt_err why = {0};
    int rc = lt_script_run(&script, &why);

    lt_log(rc ? LT_LOG_WARNING : LT_LOG_INFO, "revocation-action", "%s", rc ? why.msg : path);
}

static int is_action(const struct dirent *x)
{
    return lt_id_ok(x->d_name) && x->d_name[0] != '.';
}

/* What others may write to is not run: the directory, and each file in it. */
static bool is_safe(const char *path, mode_t kind)
{
    struct stat st;
    bool safe = !lstat(path, &st) && (st.st_mode & S_IFMT) == kind &&
                (st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & 022);

    if (!safe)
        lt_log(LT_LOG_WARNING, "revocation-action",
               "%s: not run: others may write to it, or it is no file of ours", path);
    return safe;
}

static void act_configured(const struct lt_agent_revocations *r)
{
    struct dirent **names = NULL;
    int n = *r->conf.actions_dir && is_safe(r->conf.actions_dir, S_IFDIR)
                ? scandir(r->conf.actions_dir, &names, is_action, alphasort)
                : 0;

    for (int i = 0; i < n; i++) {
        LT_AUTOFREE char *path = lt_file_path(r->conf.actions_dir, names[i]->d_name);
        if (i < LT_MAX_ACTIONS && is_safe(path, S_IFREG))
            act(r, r->conf.actions_dir, names[i]->d_name, "/");
        free(names[i]);
    }
    free(names);
}

/* Names in a list, with or without ".py" behind, as Keylime's agents take them. */
static void act_listed(const struct lt_agent_revocations *r, const char *dir, const char *name)
{
    char with_py[LT_ID_MAX + 4];

    snprintf(with_py, sizeof with_py, "%.*s.py", LT_ID_MAX, name);
    if (!lt_id_ok(name) || *name == '.')
        lt_log(LT_LOG_WARNING, "revocation-action",
               "action_list: a name that is none: nothing is run for it");
    else if (lt_agent_payload_program(r->conf.fd, name))
        act(r, dir, name, dir);
    else if (lt_agent_payload_program(r->conf.fd, with_py))
        act(r, dir, with_py, dir);
    else
        lt_log(LT_LOG_WARNING, "revocation-action", "action_list: the payload has no %s", name);
}

static void act_payload(const struct lt_agent_revocations *r)
{
    LT_AUTOFREE char *dir = lt_file_path(r->conf.dir, LT_AGENT_PAYLOAD_DIR),
                     *path = lt_file_path(dir, LT_AGENT_PAYLOAD_ACTIONS);
    LT_AUTOFREE uint8_t *list = NULL;
    char *rest, *name;
    size_t n;
    struct lt_err why = {0};
    unsigned count = 0;

    if (!r->conf.run_payload || access(path, F_OK))
        return;
    if (lt_file_read(path, LT_MAX_ACTION_LIST, &list, &n, &why)) {
        lt_log(LT_LOG_WARNING, "revocation-action", "%s", why.msg);
        return;
    }
    rest = (char *)list;
    while ((name = strsep(&rest, ", \t\r\n")) && count < LT_MAX_ACTIONS)
        if (*name) {
            act_listed(r, dir, name);
            count++;
        }
}

/* ---- judging ---- */

static int read_notice(const struct lt_agent_revocations *r, const struct spooled *s, json_t **msg,
                       struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(r->conf.dir, s->name),
                     *dir = lt_file_path(r->conf.dir, LT_AGENT_PAYLOAD_DIR),
                     *cert = lt_file_path(dir, LT_AGENT_PAYLOAD_CERTIFICATE);
    LT_AUTOFREE uint8_t *text = NULL, *pem = NULL;
    size_t n, pem_n;

    LT_TRY(lt_file_read_secret(path, LT_MAX_BODY_NOTICE, &text, &n, e));
    LT_JSON_AUTO json_t *body = lt_json_parse(text, n, LT_MAX_BODY_NOTICE, e);
    if (!body)
        return e->code;
    if (access(cert, F_OK))
        return lt_fail(e, LT_E_NOT_FOUND, "no payload with a " LT_AGENT_PAYLOAD_CERTIFICATE " is here");
    LT_TRY(lt_file_read(cert, LT_MAX_NOTICE_PEM, &pem, &pem_n, e));
    return lt_notice_open(body, (const char *)pem, msg, e);
}

static void obey(const struct lt_agent_revocations *r, const json_t *msg)
{
    LT_AUTOFREE char *text = lt_json_dump(msg);
    struct lt_err why = {0};

    lt_log_fields(LT_LOG_INFO, "revocation",
                  json_pack("{s:O?, s:O?, s:O?}", "agent_id", json_object_get(msg, "agent_id"), "type",
                            json_object_get(msg, "type"), "event_id", json_object_get(msg, "event_id")));
    if (!text || lt_file_replace(r->message, text, strlen(text), 0600, &why)) {
        lt_log(LT_LOG_ERROR, "revocation", "%s", text ? why.msg : "no memory");
        return;
    }
    act_configured(r);
    act_payload(r);
    unlink(r->message);
}

/* Written down that it is begun: what ends the agent each time is not begun for ever. */
static bool begin(const struct lt_agent_revocations *r, struct spooled *s)
{
    struct spooled begun = spooled_of(s->tries + 1, s->number);

    if (s->tries >= TRIES) {
        lt_log(LT_LOG_ERROR, "revocation", "message %" PRIu64 " ended the agent %d times and is dropped",
               s->number, TRIES);
        return false;
    }
    if (renameat(r->conf.fd, s->name, r->conf.fd, begun.name))
        return false;
    *s = begun;
    return true;
}

static void handle(const struct lt_agent_revocations *r, struct spooled *s)
{
    LT_JSON_AUTO json_t *msg = NULL;
    struct lt_err why = {0};

    if (!begin(r, s))
        return;
    if (read_notice(r, s, &msg, &why))
        lt_log(LT_LOG_WARNING, "revocation-refused", "nothing is done: %s", why.msg);
    else
        obey(r, msg);
}

/* One that the agent's stop interrupted stays, and was not begun. */
static void finish(struct lt_agent_revocations *r, const struct spooled *s)
{
    pthread_mutex_lock(&r->lock);
    if (!r->stopping)
        (void)!unlinkat(r->conf.fd, s->name, 0);
    else if (s->tries)
        (void)!renameat(r->conf.fd, s->name, r->conf.fd, spooled_of(s->tries - 1, s->number).name);
    pthread_mutex_unlock(&r->lock);
}

/* False: no more, or the agent stops. */
static bool step(struct lt_agent_revocations *r)
{
    struct spooled s;
    uint64_t last;

    pthread_mutex_lock(&r->lock);
    bool go = !r->stopping && first(r, &s, &r->waiting, &last);
    r->posted = go;
    pthread_mutex_unlock(&r->lock);
    if (!go)
        return false;
    handle(r, &s);
    finish(r, &s);
    return true;
}

static void work(struct lt_work_task *t)
{
    struct lt_agent_revocations *r = LT_WORK_OWNER(t, struct lt_agent_revocations);

    while (step(r))
        ;
}

/* Under the lock. */
static void post(struct lt_agent_revocations *r)
{
    if (!r->posted && !r->stopping) {
        r->posted = true;
        lt_work_post(r->work, &r->task, work);
    }
}

/* ---- what comes ---- */

static int spool(struct lt_agent_revocations *r, const char *text, struct lt_err *e)
{
    if (r->waiting >= LT_MAX_NOTICES)
        return lt_fail(e, LT_E_BUSY, "%u revocation messages wait already", r->waiting);
    struct spooled s = spooled_of(0, r->next);
    LT_AUTOFREE char *path = lt_file_path(r->conf.dir, s.name);
    LT_TRY(lt_file_replace(path, text, strlen(text), 0600, e));
    r->next++;
    r->waiting++;
    post(r);
    return 0;
}

int lt_agent_revocations_take(struct lt_agent_revocations *r, const json_t *body, struct lt_err *e)
{
    if (!r->conf.dir)
        return lt_fail(e, LT_E_UNSUPPORTED,
                       "this agent takes no payload: it has no directory in memory (secure_dir)");
    LT_TRY(lt_notice_check(body, e));
    LT_JSON_AUTO json_t *bare = json_pack("{s:O, s:O}", "msg", json_object_get(body, "msg"), "signature",
                                          json_object_get(body, "signature"));
    LT_AUTOFREE char *text = bare ? lt_json_dump(bare) : NULL;
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "revocation: no memory");
    pthread_mutex_lock(&r->lock);
    int rc = spool(r, text, e);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

/* ---- start and stop ---- */

static int start(struct lt_agent_revocations *r, struct lt_err *e)
{
    struct spooled s;
    uint64_t last;

    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (r->stop_fd < 0)
        return lt_fail(e, LT_E_IO, "eventfd: %s", strerror(errno));
    LT_TRY(lt_work_start(&(struct lt_work_conf){"revocations", 1, 0}, &r->work, e));
    if (!r->conf.dir)
        return 0;
    r->message = lt_file_path(r->conf.dir, MESSAGE);
    pthread_mutex_lock(&r->lock);
    bool any = first(r, &s, &r->waiting, &last);
    r->next = last + 1;
    if (any)
        post(r);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

int lt_agent_revocations_start(const struct lt_agent_revocations_conf *c, struct lt_agent_revocations **out,
                               struct lt_err *e)
{
    struct lt_agent_revocations *r = lt_new(struct lt_agent_revocations);

    *out = NULL;
    r->conf = *c;
    r->stop_fd = -1;
    pthread_mutex_init(&r->lock, NULL);
    int rc = start(r, e);
    if (rc) {
        lt_agent_revocations_stop(r);
        return rc;
    }
    *out = r;
    return 0;
}

void lt_agent_revocations_stop(struct lt_agent_revocations *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_mutex_unlock(&r->lock);
    if (r->stop_fd >= 0)
        (void)!write(r->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    lt_work_stop(r->work);
    lt_work_free(r->work);
    if (r->stop_fd >= 0)
        close(r->stop_fd);
    pthread_mutex_destroy(&r->lock);
    free(r->message);
    free(r);
}
