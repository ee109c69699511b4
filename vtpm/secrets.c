#include "vtpm/secrets.h"

#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "vtpm/virt.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEEPALIVE_S 2
#define KEEPALIVE_COUNT 2

/* The one job there is, on its way between a caller and the thread. */
enum stage {
    IDLE,      /* nobody's: whoever calls may take it */
    POSTED,    /* the caller waits, the thread is to take it */
    WORKING,   /* the thread has it; the caller waits */
    ABANDONED, /* the thread has it; the caller went away at its timeout */
    DONE,      /* the caller is to take the result */
};

struct job {
    enum { PUT, DROP, SWEEP } what;
    uint8_t domain[LT_UUID];
    char key[LT_SEAL_KEY];
};

struct lt_secrets {
    const struct lt_virt *virt;
    char *uri;
    virConnectPtr conn; /* the thread's */

    pthread_mutex_t lock;
    pthread_cond_t turned; /* stage or stop or ended is another */
    enum stage stage;
    struct job job;
    int rc;
    struct lt_err e;
    bool stop, ended, orphan; /* orphan: nobody will look at ended, the thread frees all */
};

/* ---- what the thread asks libvirt ---- */

static int failed(struct lt_secrets *s, const char *what, struct lt_err *e)
{
    return lt_fail(e, LT_E_UNREACHABLE, "libvirt: %s: %s", what, s->virt->virGetLastErrorMessage());
}

static void hang_up(struct lt_secrets *s)
{
    if (s->conn)
        s->virt->virConnectClose(s->conn);
    s->conn = NULL;
}

static int dial(struct lt_secrets *s, struct lt_err *e)
{
    if (s->conn && s->virt->virConnectIsAlive(s->conn) == 1)
        return 0;
    hang_up(s);
    if (!(s->conn = s->virt->virConnectOpen(s->uri)))
        return failed(s, s->uri, e);
    (void)s->virt->virConnectSetKeepAlive(s->conn, KEEPALIVE_S,
                                          KEEPALIVE_COUNT); /* not every driver has it */
    return 0;
}

/* found: what a lookup returned. */
static int undefine(struct lt_secrets *s, virSecretPtr found, struct lt_err *e)
{
    int code = found ? 0 : s->virt->virGetLastErrorCode(), rc = 0;

    if (!found)
        return code == VIR_ERR_NO_SECRET ? 0 : failed(s, "looking for a secret", e);
    if (s->virt->virSecretUndefine(found) && s->virt->virGetLastErrorCode() != VIR_ERR_NO_SECRET)
        rc = failed(s, "undefining a secret", e);
    s->virt->virSecretFree(found);
    return rc;
}

struct names {
    uint8_t secret[LT_UUID];
    char secret_text[LT_UUID_TEXT], usage[sizeof LT_SECRETS_USAGE + LT_UUID_TEXT];
};

static void name(const uint8_t domain[LT_UUID], struct names *out)
{
    lt_seal_secret_uuid(domain, out->secret);
    lt_uuid_format(out->secret, out->secret_text);
    memcpy(out->usage, LT_SECRETS_USAGE, sizeof LT_SECRETS_USAGE - 1);
    lt_uuid_format(domain, out->usage + sizeof LT_SECRETS_USAGE - 1);
}

/* Whoever defined it: a persistent one would outlive us, and its value could be another's. */
static int clear(struct lt_secrets *s, const struct names *n, struct lt_err *e)
{
    const struct lt_virt *v = s->virt;

    LT_TRY(undefine(s, v->virSecretLookupByUUID(s->conn, n->secret), e));
    return undefine(s, v->virSecretLookupByUsage(s->conn, VIR_SECRET_USAGE_TYPE_VTPM, n->usage), e);
}

static int define(struct lt_secrets *s, const struct names *n, const char key[LT_SEAL_KEY], struct lt_err *e)
{
    char xml[256];

    snprintf(xml, sizeof xml,
             "<secret ephemeral='yes' private='yes'><uuid>%s</uuid><usage type='vtpm'><name>%s</name></usage>"
             "</secret>",
             n->secret_text, n->usage);
    virSecretPtr mine = s->virt->virSecretDefineXML(s->conn, xml, 0);
    if (!mine)
        return failed(s, "defining a secret", e);
    int rc = s->virt->virSecretSetValue(mine, (const unsigned char *)key, LT_SEAL_KEY, 0)
                 ? failed(s, "setting a secret", e)
                 : 0;
    if (rc)
        (void)s->virt->virSecretUndefine(mine);
    s->virt->virSecretFree(mine);
    return rc;
}

/* One of libvirt's list, which is freed. */
static int sweep_one(struct lt_secrets *s, virSecretPtr found, struct lt_err *e)
{
    const char *usage = s->virt->virSecretGetUsageType(found) == VIR_SECRET_USAGE_TYPE_VTPM
                            ? s->virt->virSecretGetUsageID(found)
                            : NULL;

    if (usage && !strncmp(usage, LT_SECRETS_USAGE, sizeof LT_SECRETS_USAGE - 1))
        return undefine(s, found, e);
    s->virt->virSecretFree(found);
    return 0;
}

static int sweep(struct lt_secrets *s, struct lt_err *e)
{
    virSecretPtr *list = NULL;
    int rc = 0, n = s->virt->virConnectListAllSecrets(s->conn, &list, 0);

    if (n < 0)
        return failed(s, "listing secrets", e);
    for (int i = 0; i < n; i++) {
        int one = sweep_one(s, list[i], e);
        rc = rc ? rc : one;
    }
    free(list);
    return rc;
}

static int try(struct lt_secrets *s, const struct job *j, struct lt_err *e)
{
    struct names n;

    LT_TRY(dial(s, e));
    if (j->what == SWEEP)
        return sweep(s, e);
    name(j->domain, &n);
    LT_TRY(clear(s, &n, e));
    return j->what == PUT ? define(s, &n, j->key, e) : 0;
}

static int work(struct lt_secrets *s, const struct job *j, struct lt_err *e)
{
    int rc = 0;

    for (int i = 0; i < 2; i++) { /* the first may find that the connection is no more */
        rc = try(s, j, e);
        if (!rc)
            return 0;
        hang_up(s);
    }
    return rc;
}

/* ---- the thread ---- */

static void free_all(struct lt_secrets *s)
{
    free(s->uri);
    pthread_cond_destroy(&s->turned);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Lock held, and again on return. */
static void serve(struct lt_secrets *s)
{
    struct job j = s->job;
    struct lt_err e = {0};

    s->stage = WORKING;
    pthread_mutex_unlock(&s->lock);
    int rc = work(s, &j, &e);
    lt_wipe(j.key, sizeof j.key);
    pthread_mutex_lock(&s->lock);
    if (s->stage == ABANDONED) { /* whoever wanted it has given up: it must not stay */
        pthread_mutex_unlock(&s->lock);
        if (j.what == PUT && !rc) {
            j.what = DROP;
            rc = work(s, &j, &e);
        }
        lt_log(LT_LOG_WARNING, "libvirt-secret", "a call of libvirt came back late%s%s", rc ? ": " : "",
               rc ? e.msg : "");
        pthread_mutex_lock(&s->lock);
    }
    s->rc = rc;
    s->e = e;
    s->stage = s->stage == ABANDONED ? IDLE : DONE;
    lt_wipe(s->job.key, sizeof s->job.key);
    pthread_cond_broadcast(&s->turned);
}

static void *thread(void *opaque)
{
    struct lt_secrets *s = opaque;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (s->stage == POSTED)
            serve(s);
        else if (s->stop)
            break;
        else
            pthread_cond_wait(&s->turned, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    hang_up(s);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    bool orphan = s->orphan;
    pthread_cond_broadcast(&s->turned);
    pthread_mutex_unlock(&s->lock);
    if (orphan)
        free_all(s);
    return NULL;
}

int lt_secrets_start(const char *uri, struct lt_secrets **out, struct lt_err *e)
{
    const struct lt_virt *virt;
    pthread_t id;

    *out = NULL;
    LT_TRY(lt_virt_load(&virt, e));
    struct lt_secrets *s = lt_new(struct lt_secrets);
    s->virt = virt;
    s->uri = lt_alloc_text(uri && *uri ? uri : geteuid() ? "qemu:///session" : "qemu:///system");
    pthread_mutex_init(&s->lock, NULL);
    lt_cond_init(&s->turned);
    int rc = pthread_create(&id, NULL, thread, s);
    if (rc) {
        free_all(s);
        return lt_fail(e, LT_E_NO_MEMORY, "libvirt's secrets: thread: %s", strerror(rc));
    }
    pthread_detach(id);
    *out = s;
    return 0;
}

void lt_secrets_stop(struct lt_secrets *s)
{
    if (!s)
        return;
    uint64_t until = lt_clock_ms() + LT_SECRETS_TIMEOUT_MS;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->turned);
    while (!s->ended && s->stage != ABANDONED && lt_cond_until(&s->turned, &s->lock, until))
        ;
    bool ended = s->ended;
    s->orphan = !ended;
    pthread_mutex_unlock(&s->lock);
    if (ended)
        free_all(s);
}

/* ---- the caller ---- */

/* Lock held. false: the deadline came first. */
static bool until(struct lt_secrets *s, enum stage stage, uint64_t deadline)
{
    while (s->stage != stage)
        if (!lt_cond_until(&s->turned, &s->lock, deadline))
            return s->stage == stage;
    return true;
}

static int call(struct lt_secrets *s, const struct job *j, struct lt_err *e)
{
    uint64_t deadline = lt_clock_ms() + LT_SECRETS_TIMEOUT_MS;
    int rc;

    pthread_mutex_lock(&s->lock);
    if (s->stage == ABANDONED || !until(s, IDLE, deadline)) {
        pthread_mutex_unlock(&s->lock);
        return lt_fail(e, LT_E_BUSY, "libvirtd still has the secret before this one: does it hang?");
    }
    s->job = *j;
    s->stage = POSTED;
    pthread_cond_broadcast(&s->turned);
    if (until(s, DONE, deadline)) {
        rc = s->rc;
        *e = rc ? s->e : *e;
        s->stage = IDLE;
    } else {
        s->stage = s->stage == POSTED ? IDLE : ABANDONED;
        lt_wipe(s->job.key, sizeof s->job.key);
        rc =
            lt_fail(e, LT_E_TIMEOUT, "libvirtd has not taken the secret within %d ms", LT_SECRETS_TIMEOUT_MS);
    }
    pthread_cond_broadcast(&s->turned);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int lt_secrets_put(struct lt_secrets *s, const uint8_t domain[LT_UUID], const char key[LT_SEAL_KEY],
                   struct lt_err *e)
{
    struct job j = {.what = PUT};

    memcpy(j.domain, domain, LT_UUID);
    memcpy(j.key, key, LT_SEAL_KEY);
    int rc = call(s, &j, e);
    lt_wipe(j.key, sizeof j.key);
    return rc;
}

int lt_secrets_drop(struct lt_secrets *s, const uint8_t domain[LT_UUID], struct lt_err *e)
{
    struct job j = {.what = DROP};

    memcpy(j.domain, domain, LT_UUID);
    return call(s, &j, e);
}

int lt_secrets_sweep(struct lt_secrets *s, struct lt_err *e)
{
    const struct job j = {.what = SWEEP};
    return call(s, &j, e);
}
