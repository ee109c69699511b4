#include "tenant/release.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "keylime/envelope.h"
#include "keylime/notice.h"
#include "keylime/share.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 10000
#define FIRST_MS 1000 /* after the first failure; doubles */
#define DOUBLINGS 6
#define WRITE_AGAIN_MS 1000

/* One guest's, from the round that allowed it until it is written down as delivered. Under the lock; freed by
 * the thread alone. */
struct delivery {
    struct delivery *next;
    struct lt_release *owner;
    uint8_t uuid[LT_UUID];
    char id[LT_UUID_TEXT];
    bool wanted;         /* the round that allowed it is the last one */
    bool gone;           /* so is the guest */
    uint64_t generation; /* of the round */
    uint64_t due_ms;
    unsigned tries;
    char address[300], error[200];
    unsigned minor;
    char *pin, *pem;
    uint8_t key[32];
    struct lt_buf v; /* sealed */
    /* what is under way, or has arrived */
    bool flying, arrived;
    uint8_t sent_key[32];
    struct lt_buf sent_v;
};

struct lt_release {
    struct lt_release_conf conf;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows, and is taken before the client's */
    pthread_cond_t wake;
    bool stopping;
    uint64_t generation;
    struct delivery *first;
};

/* ---- the list: under the lock ---- */

static struct delivery *find(const struct lt_release *r, const uint8_t uuid[LT_UUID])
{
    struct delivery *d = r->first;

    while (d && memcmp(d->uuid, uuid, LT_UUID))
        d = d->next;
    return d;
}

static struct delivery *find_or_make(struct lt_release *r, const uint8_t uuid[LT_UUID])
{
    struct delivery *d = find(r, uuid);

    if (d)
        return d;
    d = lt_new(struct delivery);
    d->owner = r;
    memcpy(d->uuid, uuid, LT_UUID);
    lt_uuid_format(uuid, d->id);
    d->next = r->first;
    r->first = d;
    return d;
}

static void delivery_free(struct delivery *d)
{
    lt_buf_free(&d->v);
    lt_buf_free(&d->sent_v);
    free(d->pin);
    free(d->pem);
    free(d);
}

static void take_out(struct lt_release *r, struct delivery *d)
{
    struct delivery **at = &r->first;

    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    delivery_free(d);
}

static void copy(struct lt_buf *to, const struct lt_buf *from)
{
    lt_buf_free(to);
    *to = LT_BUF(LT_MAX_SEALED);
    lt_buf_put(to, from->p, from->n);
}

static bool same(const struct lt_buf *a, const struct lt_buf *b)
{
    return a->n == b->n && !memcmp(a->p, b->p, a->n);
}

static struct lt_slice slice(const struct lt_buf *b)
{
    return (struct lt_slice){b->p, b->n};
}

/* ---- what did not go well: under the lock ---- */

static uint64_t later(unsigned tries)
{
    unsigned n = tries - 1;
    return lt_clock_ms() + ((uint64_t)FIRST_MS << (n < DOUBLINGS ? n : DOUBLINGS));
}

static void tell(const struct delivery *d, enum lt_log_level level, const char *message, bool again)
{
    lt_log_fields(level, "release",
                  json_pack("{s:s, s:o, s:I, s:b}", "guest", d->id, "message", lt_json_new_text(message),
                            "tries", (json_int_t)d->tries, "again", (int)again));
}

/* again: by itself, while the verdict stands; else with the next trusted round, and no sooner than that. */
static void failed(struct delivery *d, const char *message, bool again)
{
    d->tries++;
    d->due_ms = later(d->tries);
    d->wanted = d->wanted && again;
    if (strncmp(d->error, message, sizeof d->error - 1)) /* a line is for a change */
        tell(d, LT_LOG_WARNING, message, again);
    snprintf(d->error, sizeof d->error, "%s", message);
}

/* ---- the agent's answer, on the client's thread ---- */

static bool may_pass(int status)
{
    return status == 408 || status == 429 || status >= 500;
}

static void answered(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct delivery *d = arg;
    struct lt_release *r = d->owner;
    struct lt_err why = *e;

    if (!why.code && reply->status != 200) {
        LT_JSON_AUTO json_t *none = lt_http_json(reply, 200, lt_envelope_error_read, &why);
        (void)!lt_fail_in(&why, why.code, "POST keys/vkey, HTTP %d", reply->status);
    }
    pthread_mutex_lock(&r->lock);
    d->flying = false;
    d->arrived = !why.code;
    if (d->arrived)
        d->due_ms = 0;
    else
        failed(d, why.msg, e->code || may_pass(reply->status));
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

/* ---- sending, on our thread ---- */

/* A copy of what the lock guards. */
struct job {
    uint8_t uuid[LT_UUID];
    uint64_t generation;
    char url[400];
    char *pin, *pem;
    struct lt_buf v;
    char body[64 + LT_SHARE_WRAPPED * 2];
};

static void take_job(const struct delivery *d, struct job *j)
{
    *j = (struct job){.generation = d->generation};
    memcpy(j->uuid, d->uuid, sizeof j->uuid);
    snprintf(j->url, sizeof j->url, "https://%s/v2.%u/keys/vkey", d->address, d->minor);
    j->pin = lt_alloc_text(d->pin);
    j->pem = lt_alloc_text(d->pem);
    copy(&j->v, &d->v);
}

static void job_free(struct job *j)
{
    free(j->pin);
    free(j->pem);
    lt_buf_free(&j->v);
}

/* The verdict as anybody would be told it now. */
static int check_trusted(const struct lt_release *r, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    struct lt_store_status st;

    LT_TRY(lt_store_status(r->conf.store, uuid, &r->conf.deadlines, lt_clock_ms(), &st, NULL, e));
    return st.known && st.result == LT_VERDICT_TRUSTED
               ? 0
               : lt_fail(e, LT_E_REFUSED, "the guest is not trusted any more");
}

static int open_v(const struct lt_release *r, const struct job *j, struct lt_share *v, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf plain = {0};

    LT_TRY(lt_vault_unseal(r->conf.vault, LT_STORE_RELEASE_V, j->uuid, slice(&j->v), &plain, e));
    return lt_share_from(plain.p, plain.n, v, e);
}

static int write_body(const struct lt_release *r, struct job *j, struct lt_err *e)
{
    LT_SHARE_AUTO struct lt_share v = {0};
    uint8_t wrapped[LT_SHARE_WRAPPED];
    size_t n;

    LT_TRY(open_v(r, j, &v, e));
    LT_TRY_IN(lt_share_wrap(&v, j->pem, wrapped, &n, e), e, "transport key");
    LT_AUTOFREE char *text = lt_base64_dup(wrapped, n);
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "V: no memory");
    snprintf(j->body, sizeof j->body, "{\"encrypted_key\":\"%s\"}", text);
    return 0;
}

/* Under the lock. A round that ended meanwhile has the word. */
static void send_it(struct lt_release *r, struct delivery *d, const struct job *j)
{
    const struct lt_http_request q = {.method = "POST",
                                      .url = j->url,
                                      .body = j->body,
                                      .body_n = strlen(j->body),
                                      .pin = j->pin,
                                      .timeout_ms = TIMEOUT_MS,
                                      .max_reply = LT_SMALL_REPLY};

    d->flying = true;
    memcpy(d->sent_key, d->key, sizeof d->sent_key);
    copy(&d->sent_v, &d->v);
    lt_http_send(r->conf.to_guests, &q, answered, d);
}

static void try_now(struct lt_release *r, struct delivery *d)
{
    struct lt_err e = {0};
    struct job j;

    take_job(d, &j);
    pthread_mutex_unlock(&r->lock);
    int ended = check_trusted(r, j.uuid, &e);
    int rc = ended ? ended : write_body(r, &j, &e);
    pthread_mutex_lock(&r->lock);
    if (d->wanted && d->generation == j.generation && !r->stopping) {
        if (ended == LT_E_REFUSED)
            d->wanted = false; /* nothing went wrong: the next trusted round begins anew */
        else if (rc)
            failed(d, e.msg, ended || rc == LT_E_NO_MEMORY);
        else
            send_it(r, d, &j);
    }
    job_free(&j);
}

/* It has arrived, and is not sent to that key again; a disk that takes nothing does not change that. */
static void write_down(struct lt_release *r, struct delivery *d)
{
    struct lt_buf v = {0};
    uint8_t uuid[LT_UUID], key[32];
    struct lt_err e = {0};
    bool counts;

    copy(&v, &d->sent_v);
    memcpy(uuid, d->uuid, sizeof uuid);
    memcpy(key, d->sent_key, sizeof key);
    pthread_mutex_unlock(&r->lock);
    int rc = lt_store_release_delivered(r->conf.store, uuid, slice(&v), key, lt_clock_wall_s(), &counts, &e);
    pthread_mutex_lock(&r->lock);
    lt_buf_free(&v);
    if (rc) {
        d->due_ms = lt_clock_ms() + WRITE_AGAIN_MS;
        return;
    }
    d->arrived = false;
    if (counts)
        tell(d, LT_LOG_INFO, "V was delivered", false);
    if (!memcmp(d->key, d->sent_key, sizeof d->key) && same(&d->v, &d->sent_v))
        take_out(r, d);
}

/* The one that is to be looked at, and when the next one is. */
static struct delivery *next_due(const struct lt_release *r, uint64_t now_ms, uint64_t *until_ms)
{
    *until_ms = LT_COND_EVER;
    for (struct delivery *d = r->first; d; d = d->next) {
        if (d->flying || !(d->arrived || d->wanted || d->gone))
            continue;
        if (d->due_ms <= now_ms || d->gone)
            return d;
        *until_ms = d->due_ms < *until_ms ? d->due_ms : *until_ms;
    }
    return NULL;
}

static void *serve(void *arg)
{
    struct lt_release *r = arg;
    uint64_t until;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct delivery *d = next_due(r, lt_clock_ms(), &until);
        if (!d)
            (void)lt_cond_until(&r->wake, &r->lock, until);
        else if (d->gone)
            take_out(r, d);
        else if (d->arrived)
            write_down(r, d);
        else
            try_now(r, d);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- start and stop ---- */

int lt_release_start(const struct lt_release_conf *c, struct lt_release **out, struct lt_err *e)
{
    struct lt_release *r = lt_new(struct lt_release);

    r->conf = *c;
    pthread_mutex_init(&r->lock, NULL);
    lt_cond_init(&r->wake);
    *out = NULL;
    if (pthread_create(&r->thread, NULL, serve, r)) {
        pthread_cond_destroy(&r->wake);
        pthread_mutex_destroy(&r->lock);
        free(r);
        return lt_fail(e, LT_E_IO, "release: no thread");
    }
    *out = r;
    return 0;
}

void lt_release_stop(struct lt_release *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
}

/* What arrived and is not written down is written now, or sent once more by the next start. */
void lt_release_free(struct lt_release *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    for (struct delivery *d = r->first, *next; d; d = next) {
        next = d->next;
        if (d->arrived)
            write_down(r, d);
    }
    pthread_mutex_unlock(&r->lock);
    while (r->first)
        take_out(r, r->first);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- from the rounds ---- */

void lt_release_hold(struct lt_release *r, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&r->lock);
    struct delivery *d = find(r, uuid);
    if (d)
        d->wanted = false;
    pthread_mutex_unlock(&r->lock);
}

void lt_release_forget(struct lt_release *r, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&r->lock);
    struct delivery *d = find(r, uuid);
    if (d) {
        d->gone = true;
        d->wanted = d->arrived = false;
        pthread_cond_signal(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
}

static void replace(char **text, const char *with)
{
    free(*text);
    *text = lt_alloc_text(with);
}

/* Under the lock. */
static void arm(struct lt_release *r, const struct lt_tenant_round *round, const char *address,
                unsigned minor, const uint8_t key[32], const struct lt_buf *v)
{
    struct delivery *d = find_or_make(r, round->uuid);

    if (memcmp(d->key, key, sizeof d->key) || !same(&d->v, v)) { /* another delivery */
        d->tries = 0;
        d->due_ms = 0;
        d->error[0] = 0;
    }
    d->gone = false;
    d->wanted = true;
    d->generation = ++r->generation;
    d->minor = minor;
    snprintf(d->address, sizeof d->address, "%s", address);
    replace(&d->pin, round->agent.mtls_cert);
    replace(&d->pem, round->pubkey);
    memcpy(d->key, key, sizeof d->key);
    copy(&d->v, v);
    pthread_cond_signal(&r->wake);
}

/* It has arrived there already. Under the lock. */
static bool only_to_write(const struct delivery *d, const uint8_t key[32], const struct lt_buf *v)
{
    return d && d->arrived && !memcmp(d->sent_key, key, sizeof d->sent_key) && same(&d->sent_v, v);
}

void lt_release_trusted(struct lt_release *r, const struct lt_tenant_round *round, const char *address,
                        unsigned minor)
{
    LT_STORE_AUTORELEASE struct lt_store_release is = {0};
    struct lt_err e = {0};
    uint8_t key[32];

    if (lt_store_release_get(r->conf.store, round->uuid, &is, &e)) {
        lt_log(LT_LOG_ERROR, "release", "guest %s: %s", round->uuid_text, e.msg);
        return;
    }
    if (!is.v.n || !round->pubkey || !round->agent.mtls_cert)
        return;
    lt_sha256(round->pubkey, strlen(round->pubkey), key);
    if (is.delivered && !memcmp(is.key, key, sizeof key))
        return;
    pthread_mutex_lock(&r->lock);
    if (!only_to_write(find(r, round->uuid), key, &is.v))
        arm(r, round, address, minor, key, &is.v);
    pthread_mutex_unlock(&r->lock);
}

/* ---- from outside ---- */

int lt_release_state(struct lt_release *r, const uint8_t uuid[LT_UUID], struct lt_release_state *out,
                     struct lt_err *e)
{
    LT_STORE_AUTORELEASE struct lt_store_release is = {0};

    *out = (struct lt_release_state){0};
    LT_TRY(lt_store_release_get(r->conf.store, uuid, &is, e));
    out->has = is.v.n;
    out->delivered = is.delivered;
    out->when = is.when;
    memcpy(out->key, is.key, sizeof out->key);
    pthread_mutex_lock(&r->lock);
    const struct delivery *d = find(r, uuid);
    if (d && same(&d->v, &is.v)) {
        out->tries = d->tries;
        out->waiting = d->wanted || d->flying || d->arrived;
        snprintf(out->error, sizeof out->error, "%s", d->error);
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}

json_t *lt_release_json(const struct lt_release_state *s)
{
    if (!s->has)
        return json_null();
    return json_pack("{s:b, s:o, s:o, s:I, s:b, s:o}", "delivered", (int)s->delivered, "when",
                     s->delivered ? json_integer(s->when) : json_null(), "key",
                     s->delivered ? lt_json_new_hex(s->key, sizeof s->key) : json_null(), "tries",
                     (json_int_t)s->tries, "waiting", (int)s->waiting, "error",
                     s->error[0] ? lt_json_new_text(s->error) : json_null());
}

static bool brings(const json_t *body, const char *key)
{
    const json_t *is = json_object_get(body, key);
    return is && !json_is_null(is) && !(json_is_string(is) && !json_string_length(is));
}

static int read_v(const struct lt_vault *vault, const uint8_t uuid[LT_UUID], const json_t *body,
                  struct lt_buf *out, struct lt_err *e)
{
    LT_SHARE_AUTO struct lt_share v = {0};
    uint8_t *p;
    size_t n;

    LT_TRY(lt_json_base64(body, "v", LT_SHARE_MAX, &p, &n, e));
    int rc = lt_share_from(p, n, &v, e);
    lt_wipe(p, n);
    free(p);
    LT_TRY_IN(rc, e, "v");
    return lt_vault_seal(vault, LT_STORE_RELEASE_V, uuid, (struct lt_slice){v.p, v.n}, out, e);
}

static int read_revocation_key(const struct lt_vault *vault, const uint8_t uuid[LT_UUID], const json_t *body,
                               struct lt_buf *out, struct lt_err *e)
{
    const char *pem;

    LT_TRY(lt_json_string(body, "revocation_key", &pem, e));
    LT_TRY_IN(lt_notice_check_key(pem, e), e, "revocation_key");
    return lt_vault_seal(vault, LT_STORE_RELEASE_REVOCATION_KEY, uuid,
                         (struct lt_slice){(const uint8_t *)pem, strlen(pem)}, out, e);
}

int lt_release_read(const struct lt_vault *vault, const uint8_t uuid[LT_UUID], json_t *body,
                    struct lt_store_release *out, struct lt_err *e)
{
    *out = (struct lt_store_release){0};
    int rc = brings(body, "v") ? read_v(vault, uuid, body, &out->v, e) : 0;
    if (!rc && brings(body, "revocation_key"))
        rc = read_revocation_key(vault, uuid, body, &out->revocation_key, e);
    lt_json_wipe(body, "v");
    lt_json_wipe(body, "revocation_key");
    if (rc)
        lt_store_release_free(out);
    return rc;
}
