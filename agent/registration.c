#include "agent/registration.h"

#include "agent/contact.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/http/client.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "keylime/auth_tag.h"
#include "keylime/envelope.h"
#include "keylime/versions.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MINOR_UNKNOWN 0
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define TIMEOUT_MS 10000
#define WAIT_MAX_MS 3600000           /* a wait ends then, whatever became of the clocks meanwhile */
#define IDLE_MAX_OURS_MS 3600000      /* a registrar of ours is asked once an hour at the least, */
#define IDLE_MAX_MS (24 * 3600000ull) /* one that counts registrations and warns once a day */

struct lt_registration {
    struct lt_registration_conf conf;
    struct lt_http_client *http;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    bool ours; /* of the thread: the registrar takes the same keys as nothing new */
};

static int call(struct lt_registration *r, const char *method, const char *path, json_t *body,
                struct lt_http_reply *reply, struct lt_err *e)
{
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;
    LT_AUTOFREE char *url = lt_file_path(r->conf.registrar, path);
    const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct lt_http_request q = {.method = method,
                                      .url = url,
                                      .body = text,
                                      .body_n = text ? strlen(text) : 0,
                                      .headers = headers,
                                      .timeout_ms = TIMEOUT_MS,
                                      .max_reply = LT_MAX_BODY_SMALL};
    return lt_http_call(r->http, &q, reply, e);
}

/* *results: borrowed from *doc, which the caller frees. */
static int results_of(const struct lt_http_reply *reply, json_t **doc, json_t **results, struct lt_err *e)
{
    *results = NULL;
    *doc = lt_http_json(reply, 200, lt_envelope_error_read, e);
    return *doc ? lt_json_object(*doc, "results", results, e) : e->code;
}

/* The newest version both of us speak; MINOR_UNKNOWN when the registrar does not say. */
static int discover(struct lt_registration *r, int *minor, struct lt_err *e)
{
    struct lt_http_reply reply = {0};
    LT_JSON_AUTO json_t *doc = NULL;
    json_t *results, *list, *item;
    struct lt_err why = {0};
    size_t i;

    *minor = MINOR_UNKNOWN;
    r->ours = false;
    LT_TRY(call(r, "GET", "version", NULL, &reply, e));
    LT_AUTOFREE char *body = (char *)reply.body;
    if (results_of(&reply, &doc, &results, &why) ||
        lt_json_array(results, "supported_versions", 64, &list, &why))
        return 0;
    const char *kind = json_string_value(json_object_get(results, "registrar"));
    r->ours = kind && !strcmp(kind, "limetree");
    json_array_foreach(list, i, item)
    {
        const char *v = json_string_value(item);
        int known = v ? lt_versions_minor(v, LT_VERSIONS_FROM) : -1;
        if (known > *minor)
            *minor = known;
    }
    return *minor ? 0
                  : lt_fail(e, LT_E_UNSUPPORTED, "registrar: speaks no API version from 2.%d to 2.%d",
                            LT_VERSIONS_FROM, LT_VERSIONS_TO);
}

static json_t *registration_body(const struct lt_registration *r, struct lt_err *e)
{
    const struct lt_attester *a = r->conf.attester;
    LT_AUTOFREE char *ekcert = lt_agent_ek_certificates_text(&a->ek_certificates);
    struct lt_http_address contact;

    if (lt_contact_parse(r->conf.contact, &contact, e) || lt_contact_resolve(&contact, r->conf.registrar, e))
        return NULL;
    json_t *j = json_pack("{s:o, s:o, s:s, s:s, s:s, s:i}", "ek_tpm",
                          lt_json_new_base64(a->ek.pub.raw, a->ek.pub.raw_n), "aik_tpm",
                          lt_json_new_base64(a->ak.raw, a->ak.raw_n), "ekcert", ekcert ? ekcert : "",
                          "mtls_cert", r->conf.mtls_cert, "ip", contact.host, "port", (int)contact.port);
    if (!j)
        lt_fail(e, LT_E_NO_MEMORY, "registration: no memory");
    return j;
}

struct activation {
    struct lt_attester *attester;
    struct lt_slice blob;
    uint8_t secret[LT_MAX_DIGEST];
    size_t secret_n;
};

static int activate(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct activation *a = arg;
    return lt_attester_activate(d, a->attester, a->blob, a->secret, &a->secret_n, e);
}

/* 403 is the registrar's word that this id belongs to other keys (keylime-api 2.5). */
static int judge(const struct lt_http_reply *reply, const char *id, struct lt_err *e)
{
    LT_JSON_AUTO json_t *doc = NULL;
    json_t *results;
    int rc = results_of(reply, &doc, &results, e);

    if (reply->status == 403)
        return lt_fail(
            e, LT_E_FORBIDDEN,
            "the registrar knows agent %s with another EK or AK and refuses this one, or it has this TPM "
            "under "
            "another id. If the TPM, the state directory or the id was changed on purpose, remove the old "
            "registration there first",
            id);
    return rc;
}

static int prove(struct lt_registration *r, const char *path, struct lt_slice blob, struct lt_err *e)
{
    struct activation a = {.attester = r->conf.attester, .blob = blob};
    struct lt_http_reply reply = {0};
    uint8_t tag[LT_AUTH_TAG];

    LT_TRY(lt_tpm_call(r->conf.tpm, activate, &a, e));
    lt_auth_tag(a.secret, a.secret_n, r->conf.id, tag);
    lt_wipe(&a, sizeof a);
    LT_JSON_AUTO json_t *body = json_pack("{s:o}", "auth_tag", lt_json_new_hex(tag, sizeof tag));
    LT_TRY(call(r, "PUT", path, body, &reply, e));
    LT_AUTOFREE char *text = (char *)reply.body;
    return judge(&reply, r->conf.id, e);
}

/* LT_E_NOT_FOUND: the registrar has no such API version. */
static int register_as(struct lt_registration *r, int minor, struct lt_err *e)
{
    LT_JSON_AUTO json_t *body = registration_body(r, e), *doc = NULL;
    LT_AUTOFREE uint8_t *blob = NULL;
    struct lt_http_reply reply = {0};
    json_t *results;
    char path[128];
    size_t n = 0;

    if (!body)
        return e->code;
    snprintf(path, sizeof path, "v2.%d/agents/%s", minor, r->conf.id);
    LT_TRY(call(r, "POST", path, body, &reply, e));
    LT_AUTOFREE char *text = (char *)reply.body;
    if (reply.status == 404)
        return lt_fail(e, LT_E_NOT_FOUND, "registrar: no API version 2.%d", minor);
    int rc = judge(&reply, r->conf.id, e);
    if (!rc)
        rc = results_of(&reply, &doc, &results, e);
    if (!rc)
        rc = lt_json_base64(results, "blob", LT_MAX_CREDENTIAL, &blob, &n, e);
    return rc ? rc : prove(r, path, (struct lt_slice){blob, n}, e);
}

static int attempt(struct lt_registration *r, struct lt_err *e)
{
    int minor, rc = discover(r, &minor, e);

    if (rc || minor != MINOR_UNKNOWN)
        return rc ? rc : register_as(r, minor, e);
    for (minor = LT_VERSIONS_TO; minor >= LT_VERSIONS_FROM; minor--)
        if ((rc = register_as(r, minor, e)) != LT_E_NOT_FOUND)
            break;
    return rc;
}

/* Until that moment of lt_clock_ms(); false when it is time to stop. */
static bool wait_until(struct lt_registration *r, uint64_t when)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && lt_cond_until(&r->wake, &r->lock, when))
        ;
    bool go_on = !r->stopping;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

/* From 3/4 to 5/4 of it: a thousand guests that started together do not come together. */
static uint64_t spread(uint64_t ms)
{
    uint32_t random;

    lt_random(&random, sizeof random);
    return ms - ms / 4 + random % (ms / 2 + 1);
}

static void tell(const struct lt_registration *r, enum lt_log_level level)
{
    lt_log(level, "registered", "agent %s is registered and activated at %s", r->conf.id, r->conf.registrar);
}

/* Until it works (0) or cannot (LT_E_FORBIDDEN), or it is time to stop. Trouble is told when it begins and
 * when it ends. */
static int try_on(struct lt_registration *r, bool first, struct lt_err *e)
{
    uint64_t backoff = BACKOFF_MIN_MS;

    for (;;) {
        int rc = attempt(r, e);
        if (!rc)
            tell(r, first || backoff > BACKOFF_MIN_MS ? LT_LOG_INFO : LT_LOG_DEBUG);
        if (!rc || rc == LT_E_FORBIDDEN)
            return rc;
        lt_log(backoff == BACKOFF_MIN_MS ? LT_LOG_WARNING : LT_LOG_DEBUG, "registration", "%s; trying on",
               e->msg);
        if (!wait_until(r, lt_clock_ms() + spread(backoff)))
            return rc;
        backoff = backoff < BACKOFF_MAX_MS / 2 ? backoff * 2 : BACKOFF_MAX_MS;
    }
}

/* When to come again, from the last time we did: what is due first. */
static uint64_t due(const struct lt_registration *r, uint64_t registered, uint64_t idle, uint64_t again)
{
    uint64_t asked = atomic_load(r->conf.asked_ms), from = asked > registered ? asked : registered;
    uint64_t when = idle ? from + idle : UINT64_MAX;

    return again && registered + again < when ? registered + again : when;
}

/* False when it is time to stop. Whoever is asked again has not been forgotten: *idle is short again then. */
static bool wait_due(struct lt_registration *r, uint64_t registered, uint64_t idle)
{
    uint64_t again = r->ours ? spread(r->conf.again_ms) : 0, when;

    if (idle)
        idle = spread(idle);
    while ((when = due(r, registered, idle, again)) > lt_clock_ms())
        if (!wait_until(r, when < lt_clock_ms() + WAIT_MAX_MS ? when : lt_clock_ms() + WAIT_MAX_MS))
            return false;
    return true;
}

/* Nobody asks a guest that was registered and never added: the less often does it come. */
static uint64_t longer(const struct lt_registration *r, uint64_t idle, uint64_t registered)
{
    uint64_t most = r->ours ? IDLE_MAX_OURS_MS : IDLE_MAX_MS, next = idle * 2 < most ? idle * 2 : most;

    if (atomic_load(r->conf.asked_ms) > registered)
        return r->conf.idle_ms;
    return next > idle ? next : idle;
}

static void *registration_thread(void *arg)
{
    struct lt_registration *r = arg;
    uint64_t idle = r->conf.idle_ms, registered = 0;
    struct lt_err e = {0};
    int rc;

    while (!(rc = try_on(r, !registered, &e)) || (rc == LT_E_FORBIDDEN && registered)) {
        if (rc) /* it served until now, and goes on */
            lt_log(LT_LOG_ERROR, "registration-refused", "%s", e.msg);
        if (registered && idle)
            idle = longer(r, idle, registered);
        registered = lt_clock_ms();
        if (!wait_due(r, registered, idle))
            return NULL;
    }
    if (rc == LT_E_FORBIDDEN)
        r->conf.refused(r->conf.arg, &e);
    return NULL;
}

int lt_registration_start(const struct lt_registration_conf *conf, struct lt_registration **out,
                          struct lt_err *e)
{
    const struct lt_http_client_conf http = {.allow_plain = true};
    struct lt_registration *r = lt_new(struct lt_registration);

    *out = NULL;
    r->conf = *conf;
    int rc = lt_http_client_new(&http, &r->http, e);
    if (rc) {
        free(r);
        return rc;
    }
    pthread_mutex_init(&r->lock, NULL);
    lt_cond_init(&r->wake);
    int os = pthread_create(&r->thread, NULL, registration_thread, r);
    if (os) {
        lt_http_client_free(r->http);
        free(r);
        return lt_fail(e, LT_E_IO, "registration thread: %s", strerror(os));
    }
    *out = r;
    return 0;
}

void lt_registration_stop(struct lt_registration *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    lt_http_client_free(r->http);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
