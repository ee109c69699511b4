#include "agent/lent.h"

#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "vtpm/secrets.h"

#include <stdlib.h>
#include <string.h>

struct loan {
    uint8_t uuid[LT_UUID];
    uint64_t until_ms;
    bool asked; /* libvirtd is, to take or to forget it, without the lock: nobody else is to come between */
};

struct lt_lent {
    struct lt_secrets *secrets;
    pthread_t thread;
    pthread_mutex_t lock; /* of the rest; not held while libvirtd is asked */
    pthread_cond_t wake;
    bool stop, swept;
    struct loan list[LT_LENT_MAX];
    unsigned count;
};

/* ---- under the lock ---- */

static struct loan *find(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    for (unsigned i = 0; i < l->count; i++)
        if (!memcmp(l->list[i].uuid, uuid, LT_UUID))
            return &l->list[i];
    return NULL;
}

static struct loan *add(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    struct loan *x = find(l, uuid);

    if (!x && l->count < LT_LENT_MAX) {
        x = &l->list[l->count++];
        *x = (struct loan){.until_ms = 0};
        memcpy(x->uuid, uuid, LT_UUID);
    }
    return x;
}

static void strike(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    struct loan *x = find(l, uuid);

    if (x)
        *x = l->list[--l->count];
}

static struct loan *due(struct lt_lent *l, uint64_t now, uint64_t *next)
{
    *next = LT_COND_EVER;
    for (unsigned i = 0; i < l->count; i++) {
        if (l->list[i].asked)
            continue;
        if (l->list[i].until_ms <= now)
            return &l->list[i];
        if (l->list[i].until_ms < *next)
            *next = l->list[i].until_ms;
    }
    return NULL;
}

/* ---- taking back ---- */

/* Under the lock: false where nothing is lent, or another thread is at it: a start that has just begun ends
 * by itself. */
static bool begin_taking(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    struct loan *x = find(l, uuid);

    if (!x || x->asked)
        return false;
    x->asked = true;
    return true;
}

/* Behind begin_taking. It is entered until libvirtd has confirmed that it is gone. */
static bool take_back(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    struct lt_err e = {0};
    char id[LT_UUID_TEXT];
    int rc = lt_secrets_drop(l->secrets, uuid, &e);

    pthread_mutex_lock(&l->lock);
    struct loan *x = find(l, uuid);
    if (rc && x) {
        x->until_ms = lt_clock_ms() + LT_LENT_AGAIN_MS;
        x->asked = false;
    } else {
        strike(l, uuid);
    }
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
    if (rc) {
        lt_uuid_format(uuid, id);
        lt_log(LT_LOG_WARNING, "key-in-libvirtd", "domain %s: its vTPM's key is not taken back yet: %s", id,
               e.msg);
    }
    return !rc;
}

static void sweep(struct lt_lent *l)
{
    struct lt_err e = {0};
    bool done = !lt_secrets_sweep(l->secrets, &e);

    pthread_mutex_lock(&l->lock);
    l->swept = done;
    if (!done && !l->stop)
        (void)lt_cond_until(&l->wake, &l->lock, lt_clock_ms() + LT_LENT_AGAIN_MS);
    pthread_mutex_unlock(&l->lock);
}

static void *watch(void *arg)
{
    struct lt_lent *l = arg;
    uint8_t uuid[LT_UUID];
    uint64_t next;

    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (!l->swept) {
            pthread_mutex_unlock(&l->lock);
            sweep(l);
            pthread_mutex_lock(&l->lock);
            continue;
        }
        struct loan *x = due(l, lt_clock_ms(), &next);
        if (!x) {
            (void)lt_cond_until(&l->wake, &l->lock, next);
            continue;
        }
        memcpy(uuid, x->uuid, LT_UUID);
        x->asked = true;
        pthread_mutex_unlock(&l->lock);
        take_back(l, uuid);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- public ---- */

int lt_lent_start(const char *uri, struct lt_lent **out, struct lt_err *e)
{
    struct lt_lent *l = lt_new(struct lt_lent);

    *out = NULL;
    int rc = lt_secrets_start(uri, &l->secrets, e);
    if (rc) {
        free(l);
        return rc;
    }
    pthread_mutex_init(&l->lock, NULL);
    lt_cond_init(&l->wake);
    if (pthread_create(&l->thread, NULL, watch, l)) {
        pthread_cond_destroy(&l->wake);
        pthread_mutex_destroy(&l->lock);
        lt_secrets_stop(l->secrets);
        free(l);
        return lt_fail(e, LT_E_IO, "keys in libvirtd: no thread");
    }
    *out = l;
    return 0;
}

void lt_lent_stop(struct lt_lent *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    while (l->count && take_back(l, l->list[0].uuid))
        ;
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    lt_secrets_stop(l->secrets);
    free(l);
}

static int enter(struct lt_lent *l, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    const uint64_t until = lt_clock_ms() + LT_SECRETS_TIMEOUT_MS;
    struct loan *x;

    while ((x = find(l, uuid)) && x->asked)
        if (!lt_cond_until(&l->wake, &l->lock, until))
            return lt_fail(e, LT_E_BUSY, "libvirtd is still asked about its key of another start");
    x = l->swept ? add(l, uuid) : NULL;
    if (!l->swept)
        return lt_fail(e, LT_E_BUSY,
                       "libvirtd has not been asked yet for keys that an earlier agent left "
                       "there");
    if (!x)
        return lt_fail(e, LT_E_BUSY, "%d domains are starting", LT_LENT_MAX);
    x->until_ms = lt_clock_ms() + LT_LENT_START_MS;
    x->asked = true;
    pthread_cond_broadcast(&l->wake);
    return 0;
}

static void settle(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&l->lock);
    struct loan *x = find(l, uuid);
    if (x)
        x->asked = false;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

int lt_lent_give(struct lt_lent *l, const uint8_t uuid[LT_UUID], const char key[LT_SEAL_KEY],
                 struct lt_err *e)
{
    pthread_mutex_lock(&l->lock);
    int rc = enter(l, uuid, e);
    pthread_mutex_unlock(&l->lock);
    if (rc)
        return rc;
    rc = lt_secrets_put(l->secrets, uuid, key, e);
    if (rc)
        take_back(l, uuid);
    else
        settle(l, uuid);
    return rc;
}

void lt_lent_take(struct lt_lent *l, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&l->lock);
    bool ours = begin_taking(l, uuid);
    pthread_mutex_unlock(&l->lock);
    if (ours)
        take_back(l, uuid);
}
