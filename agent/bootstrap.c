#include "agent/bootstrap.h"

#include "agent/archive.h"
#include "agent/payload.h"
#include "agent/script.h"
#include "agent/shares.h"
#include "agent/transport.h"
#include "common/file.h"
#include "common/run/log.h"
#include "common/run/work.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STATE_MAX 4096

struct lt_agent_bootstrap {
    struct lt_agent_bootstrap_conf conf;
    struct lt_transport transport;
    char *k_path, *state_path;
    int stop_fd;
    struct lt_work *work;
    struct lt_work_task task;
    pthread_mutex_t lock; /* of all below */
    struct lt_shares *shares;
    struct lt_share k; /* the last that was found */
    json_t *state;
    struct lt_shares_match next; /* to be worked on, if `waiting`; a newer one takes its place */
    bool waiting, posted, stopping;
};

/* ---- what became of it ---- */

static json_t *state_of(const char *state, const char *message, const char *autorun)
{
    return json_pack("{s:s, s:o, s:o}", "state", state, "message",
                     message ? lt_json_new_text(message) : json_null(), "autorun",
                     autorun ? lt_json_new_text(autorun) : json_null());
}

/* Under the lock, as the next. */
static void keep_state(struct lt_agent_bootstrap *b, json_t *state)
{
    struct lt_err why = {0};

    if (!state)
        return;
    json_decref(b->state);
    b->state = state;
    LT_AUTOFREE char *text = b->conf.dir ? lt_json_dump(state) : NULL;
    if (text && lt_file_replace(b->state_path, text, strlen(text), 0600, &why))
        lt_log(LT_LOG_WARNING, "payload", "%s", why.msg);
}

static void keep_autorun(struct lt_agent_bootstrap *b, const char *autorun)
{
    const char *state = json_string_value(json_object_get(b->state, "state"));

    keep_state(b, state_of(state ? state : "unpacked", NULL, autorun));
}

static bool autorun_is(const struct lt_agent_bootstrap *b, const char *word)
{
    const char *is = json_string_value(json_object_get(b->state, "autorun"));

    return is && !strcmp(is, word);
}

/* ---- the payload, on its thread ---- */

/* "started" is written down first: one that ends the agent, or the machine's services, is not started again
 * and again. */
static void autorun(struct lt_agent_bootstrap *b)
{
    LT_AUTOFREE char *dir = lt_file_path(b->conf.dir, LT_AGENT_PAYLOAD_DIR),
                     *path = lt_file_path(dir, LT_AGENT_PAYLOAD_AUTORUN);
    const struct lt_script script = {.path = path,
                                     .dir = dir,
                                     .agent_id = b->conf.id,
                                     .timeout_s = b->conf.payload_timeout_s,
                                     .stop_fd = b->stop_fd};
    struct lt_err why = {0};

    pthread_mutex_lock(&b->lock);
    bool due = autorun_is(b, "due") && !b->stopping;
    if (due)
        keep_autorun(b, "started");
    pthread_mutex_unlock(&b->lock);
    if (!due)
        return;
    int rc = lt_script_run(&script, &why);
    lt_log(rc ? LT_LOG_WARNING : LT_LOG_INFO, "autorun", "%s", rc ? why.msg : "done");
    pthread_mutex_lock(&b->lock);
    keep_autorun(b, rc ? why.msg : "done");
    pthread_mutex_unlock(&b->lock);
}

static int install(struct lt_agent_bootstrap *b, const struct lt_shares_match *m, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *sealed = NULL;
    size_t n = 0;

    if (m->has_payload)
        LT_TRY(lt_shares_payload(b->shares, m, &sealed, &n, e));
    return lt_agent_payload_install(b->conf.fd, &m->k, (struct lt_slice){sealed, n}, e);
}

/* What is not the payload's fault may go away: its files stay for the next start. */
static void conclude(struct lt_agent_bootstrap *b, const struct lt_shares_match *m, int rc,
                     const struct lt_err *why)
{
    bool refused = rc && lt_err_class(rc) == LT_CLASS_PEER;
    bool runs = !rc && b->conf.run_payload && lt_agent_payload_program(b->conf.fd, LT_AGENT_PAYLOAD_AUTORUN);
    const char *word = refused ? "refused" : rc ? "failed" : m->has_payload ? "unpacked" : "key-only";

    lt_log(rc ? LT_LOG_WARNING : LT_LOG_INFO, "payload", "%s%s%s", word, rc ? ": " : "", rc ? why->msg : "");
    pthread_mutex_lock(&b->lock);
    keep_state(b, state_of(word, rc ? why->msg : NULL, runs ? "due" : NULL));
    if (!rc || refused)
        lt_shares_forget(b->shares, m->last);
    pthread_mutex_unlock(&b->lock);
}

static bool next_match(struct lt_agent_bootstrap *b, struct lt_shares_match *m)
{
    pthread_mutex_lock(&b->lock);
    bool any = b->waiting && !b->stopping;
    if (any) {
        *m = b->next;
        lt_wipe(&b->next, sizeof b->next);
        b->waiting = false;
    } else {
        b->posted = false;
    }
    pthread_mutex_unlock(&b->lock);
    return any;
}

static void work(struct lt_work_task *t)
{
    struct lt_agent_bootstrap *b = LT_WORK_OWNER(t, struct lt_agent_bootstrap);
    struct lt_shares_match m;

    autorun(b); /* one that was due when an earlier agent ended */
    while (next_match(b, &m)) {
        struct lt_err why = {0};
        int rc = install(b, &m, &why);
        conclude(b, &m, rc, &why);
        lt_wipe(&m, sizeof m);
        autorun(b);
    }
}

static void post(struct lt_agent_bootstrap *b)
{
    if (!b->posted && !b->stopping)
        lt_work_post(b->work, &b->task, work);
    b->posted = true;
}

/* Under the lock. */
static void look_for_match(struct lt_agent_bootstrap *b)
{
    struct lt_shares_match m;
    struct lt_err why = {0};

    if (!lt_shares_take(b->shares, b->conf.id, &m))
        return;
    b->k = m.k;
    b->next = m;
    b->waiting = true;
    lt_wipe(&m, sizeof m);
    keep_state(b, state_of("working", NULL, NULL));
    if (lt_file_replace(b->k_path, b->k.p, b->k.n, 0600, &why))
        lt_log(LT_LOG_WARNING, "payload", "%s", why.msg);
    post(b);
}

/* ---- what comes ---- */

static int unwrap(struct lt_agent_bootstrap *b, struct lt_slice wrapped, struct lt_share *out,
                  struct lt_err *e)
{
    if (!b->conf.dir)
        return lt_fail(e, LT_E_UNSUPPORTED,
                       "this agent takes no payload: it has no directory in memory (secure_dir)");
    return lt_share_unwrap(b->transport.key, wrapped, out, e);
}

int lt_agent_bootstrap_take_u(struct lt_agent_bootstrap *b, struct lt_slice wrapped,
                              const uint8_t tag[LT_SHARE_TAG], struct lt_slice payload, struct lt_err *e)
{
    LT_SHARE_AUTO struct lt_share u = {0};

    LT_TRY(unwrap(b, wrapped, &u, e));
    pthread_mutex_lock(&b->lock);
    int rc = lt_shares_add_u(b->shares, &u, tag, payload, e);
    if (!rc)
        look_for_match(b);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

int lt_agent_bootstrap_take_v(struct lt_agent_bootstrap *b, struct lt_slice wrapped, struct lt_err *e)
{
    LT_SHARE_AUTO struct lt_share v = {0};

    LT_TRY(unwrap(b, wrapped, &v, e));
    pthread_mutex_lock(&b->lock);
    int rc = lt_shares_add_v(b->shares, &v, e);
    if (!rc)
        look_for_match(b);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

bool lt_agent_bootstrap_verify(struct lt_agent_bootstrap *b, const char *challenge, uint8_t out[LT_SHARE_TAG])
{
    pthread_mutex_lock(&b->lock);
    bool known = b->k.n;
    if (known)
        lt_share_tag(&b->k, challenge, out);
    pthread_mutex_unlock(&b->lock);
    return known;
}

bool lt_agent_bootstrap_working(struct lt_agent_bootstrap *b)
{
    pthread_mutex_lock(&b->lock);
    const char *state = json_string_value(json_object_get(b->state, "state"));
    bool working = state && !strcmp(state, "working");
    pthread_mutex_unlock(&b->lock);
    return working;
}

json_t *lt_agent_bootstrap_state(struct lt_agent_bootstrap *b)
{
    pthread_mutex_lock(&b->lock);
    json_t *copy = json_deep_copy(b->state);
    pthread_mutex_unlock(&b->lock);
    return copy;
}

const char *lt_agent_bootstrap_pubkey(const struct lt_agent_bootstrap *b)
{
    return b->transport.pem;
}

const uint8_t *lt_agent_bootstrap_pubkey_digest(const struct lt_agent_bootstrap *b)
{
    return b->transport.digest;
}

/* ---- start and stop ---- */

static void load_k(struct lt_agent_bootstrap *b)
{
    uint8_t *p = NULL;
    size_t n;

    if (!lt_file_read_secret(b->k_path, LT_SHARE_MAX, &p, &n, LT_NO_ERR)) {
        (void)!lt_share_from(p, n, &b->k, LT_NO_ERR);
        lt_wipe(p, n);
    }
    free(p);
}

static void load_state(struct lt_agent_bootstrap *b)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    if (lt_file_read_secret(b->state_path, STATE_MAX, &p, &n, LT_NO_ERR))
        return;
    json_t *state = lt_json_parse(p, n, STATE_MAX, LT_NO_ERR);
    if (!json_is_object(state)) {
        json_decref(state);
        return;
    }
    json_decref(b->state);
    b->state = state;
    if (autorun_is(b, "started"))
        keep_autorun(b, "the agent ended while it ran; it is not started again");
}

/* Now, where it is installed, and not with the first zip: its files are measured when they are loaded, and a
 * policy that was learnt before would not know them. The guest would fail for its own payload. */
static void load_archive(void)
{
    const struct lt_archive *lib;
    struct lt_err why = {0};

    if (lt_archive_load(&lib, &why))
        lt_log(LT_LOG_INFO, "payload", "no zip can be unpacked: %s", why.msg);
}

static void resume(struct lt_agent_bootstrap *b)
{
    load_archive();
    b->k_path = lt_file_path(b->conf.dir, "k");
    b->state_path = lt_file_path(b->conf.dir, "state.json");
    lt_agent_payload_tidy(b->conf.fd);
    b->shares = lt_shares_open(b->conf.dir, b->conf.fd);
    pthread_mutex_lock(&b->lock);
    load_k(b);
    load_state(b);
    look_for_match(b);
    if (autorun_is(b, "due"))
        post(b);
    pthread_mutex_unlock(&b->lock);
}

static int start(struct lt_agent_bootstrap *b, struct lt_err *e)
{
    b->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (b->stop_fd < 0)
        return lt_fail(e, LT_E_IO, "eventfd: %s", strerror(errno));
    LT_TRY(lt_transport_open(b->conf.dir, &b->transport, e));
    LT_TRY(lt_work_start(&(struct lt_work_conf){"payload", 1, 0}, &b->work, e));
    if (b->conf.dir)
        resume(b);
    return 0;
}

int lt_agent_bootstrap_start(const struct lt_agent_bootstrap_conf *c, struct lt_agent_bootstrap **out,
                             struct lt_err *e)
{
    struct lt_agent_bootstrap *b = lt_new(struct lt_agent_bootstrap);

    *out = NULL;
    b->conf = *c;
    b->stop_fd = -1;
    b->state = state_of("none", NULL, NULL);
    pthread_mutex_init(&b->lock, NULL);
    int rc = start(b, e);
    if (rc) {
        lt_agent_bootstrap_stop(b);
        return rc;
    }
    *out = b;
    return 0;
}

void lt_agent_bootstrap_stop(struct lt_agent_bootstrap *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_mutex_unlock(&b->lock);
    if (b->stop_fd >= 0)
        (void)!write(b->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    lt_work_stop(b->work);
    lt_work_free(b->work);
    if (b->stop_fd >= 0)
        close(b->stop_fd);
    lt_shares_close(b->shares);
    lt_transport_close(&b->transport);
    pthread_mutex_destroy(&b->lock);
    json_decref(b->state);
    free(b->k_path);
    free(b->state_path);
    lt_wipe(b, sizeof *b);
    free(b);
}
