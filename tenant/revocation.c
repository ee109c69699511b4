#include "tenant/revocation.h"

#include "common/alloc.h"
#include "common/http/address.h"
#include "common/limits.h"
#include "common/run/log.h"
#include "common/run/work.h"
#include "keylime/events.h"
#include "keylime/notice.h"
#include "keylime/versions.h"
#include "tenant/reach.h"
#include "verifier/ca_client.h"
#include "verifier/revoke/publish.h"
#include "verifier/revoke/webhook.h"
#include "verifier/store/keylime.h"
#include "verifier/store/releases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGENTS_AT_ONCE 256
#define AGENT_MS 10000    /* for an agent to take a message */
#define AUTHORITY_MS 3000 /* for the authority to publish its list */
#define AUTHORITY "ca"    /* the one receiver's name */
#define CHANNELS 4

struct lt_revocation {
    struct lt_revocation_conf conf;
    struct lt_revoke *sender;
    struct lt_revoke_webhook *webhook;
    struct lt_revoke_publish *publish;
    struct lt_ca_client *authority;
    struct lt_work *tell; /* the authority */
};

/* ---- the message ---- */

/* What is known of the guest it is about; it may have been removed since. */
struct about {
    char id[LT_ID_MAX + 1], ip[LT_HTTP_ADDRESS_HOST];
    int port;
    char *tpm_policy, *meta_data; /* as Keylime's API was given them */
};

static void read_address(struct about *a, const char *text, const struct lt_agent *agent)
{
    struct lt_http_address at;

    if (*text && !lt_http_address_parse(text, &at, LT_NO_ERR)) {
        snprintf(a->ip, sizeof a->ip, "%s", at.host);
        a->port = (int)at.port;
    } else if (agent->ip) {
        snprintf(a->ip, sizeof a->ip, "%s", agent->ip);
        a->port = agent->port;
    }
}

static char *given_text(const struct lt_store_keylime *k, const char *key)
{
    const char *text = json_string_value(json_object_get(k->given, key));
    return lt_alloc_text(text ? text : "{}");
}

static void read_about(struct lt_revocation *r, const uint8_t uuid[LT_UUID], struct about *a)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent agent = {0};
    LT_STORE_AUTOKEYLIME struct lt_store_keylime given = {0};
    struct lt_store_guest g;

    lt_uuid_format(uuid, a->id);
    if (!lt_store_guest_get(r->conf.store, uuid, &g, LT_NO_ERR)) {
        snprintf(a->id, sizeof a->id, "%s", g.agent);
        (void)!lt_store_agent_get(r->conf.store, g.agent, &agent, LT_NO_ERR);
        read_address(a, g.address, &agent);
    }
    (void)!lt_store_keylime_get(r->conf.store, uuid, &given, LT_NO_ERR);
    a->tpm_policy = given_text(&given, "tpm_policy");
    a->meta_data = given_text(&given, "meta_data");
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* Keylime's name for what happened, and what else there is to say of it. */
static json_t *context_of(const struct lt_outbox_item *item, char event[LT_EVENTS_ID])
{
    LT_JSON_AUTO json_t *doc = lt_json_parse(item->doc, strlen(item->doc), LT_MAX_BODY_PROOFS, LT_NO_ERR);
    const json_t *first = json_array_get(json_object_get(doc, "failed"), 0);
    const char *check = text_of(first, "check"), *message = text_of(first, "message"),
               *reason = text_of(doc, "reason");

    if (item->kind == LT_OUTBOX_FAILED)
        lt_events_id(check ? check : reason ? reason : "verdict", text_of(first, "cause"), event);
    else
        snprintf(event, LT_EVENTS_ID, "%s",
                 item->kind == LT_OUTBOX_UNPROVEN ? "internal.verifier.not_reachable" : "limetree.lifted");
    return json_pack("{s:I, s:s, s:o, s:o}", "number", (json_int_t)item->number, "decision",
                     lt_outbox_kind_slug(item->kind), "reason",
                     reason ? lt_json_new_text(reason) : json_null(), "message",
                     message ? lt_json_new_text(message) : json_null());
}

static int write_text(const struct lt_outbox_item *item, const struct about *a, char **out, struct lt_err *e)
{
    static const char *const types[] = {[LT_OUTBOX_FAILED] = LT_NOTICE_REVOCATION,
                                        [LT_OUTBOX_UNPROVEN] = "comm_error",
                                        [LT_OUTBOX_LIFTED] = "lifted"};
    char event[LT_EVENTS_ID];
    LT_JSON_AUTO json_t *context = context_of(item, event);
    const struct lt_notice n = {
        .type = item->kind >= LT_OUTBOX_FAILED && item->kind <= LT_OUTBOX_LIFTED ? types[item->kind] : "",
        .agent_id = a->id,
        .ip = a->ip,
        .port = a->port,
        .tpm_policy = a->tpm_policy,
        .meta_data = a->meta_data,
        .event_id = event,
        .severity_label = lt_events_label(item->kind == LT_OUTBOX_LIFTED ? 0 : lt_events_severity(event)),
        .context = context,
        .event_time_s = item->decided};
    return lt_notice_text(&n, out, e);
}

static void leave_out(char **text)
{
    free(*text);
    *text = lt_alloc_text("{}");
}

/* What a guest was added with may be longer than a message: it is left out, for everybody would wait behind
 * one that cannot be made. */
static int write_within(const struct lt_outbox_item *item, struct about *a, char **out, struct lt_err *e)
{
    int rc = write_text(item, a, out, e);

    if (rc != LT_E_TOO_LARGE)
        return rc;
    lt_log(LT_LOG_WARNING, "revocation", "guest %s: the message is without its tpm_policy and meta_data: %s",
           a->id, e->msg);
    leave_out(&a->tpm_policy);
    leave_out(&a->meta_data);
    return write_text(item, a, out, e);
}

/* The guest's revocation key in PEM; n 0: it has none. */
static int open_key(struct lt_revocation *r, const uint8_t uuid[LT_UUID], struct lt_buf *out,
                    struct lt_err *e)
{
    LT_STORE_AUTORELEASE struct lt_store_release is = {0};

    LT_TRY(lt_store_release_get(r->conf.store, uuid, &is, e));
    if (!is.revocation_key.n)
        return 0;
    return lt_vault_unseal(r->conf.vault, LT_STORE_RELEASE_REVOCATION_KEY, uuid,
                           (struct lt_slice){is.revocation_key.p, is.revocation_key.n}, out, e);
}

static int sign_text(struct lt_revocation *r, const uint8_t uuid[LT_UUID], const char *text, json_t **out,
                     struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf sealed = LT_BUF(LT_MAX_SECRET), pem = LT_BUF(LT_MAX_SECRET + 1);

    LT_TRY(open_key(r, uuid, &sealed, e));
    lt_buf_put(&pem, sealed.p, sealed.n);
    lt_buf_u8(&pem, 0);
    LT_TRY(lt_buf_ok(&pem, e));
    return lt_notice_sign(text, (const char *)pem.p, out, e);
}

/* What cannot be signed goes out unsigned, and the log says so: the authority and a webhook need no
 * signature. */
static int compose(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e)
{
    struct lt_revocation *r = app;
    struct about a = {0};
    LT_AUTOFREE char *text = NULL;
    LT_JSON_AUTO json_t *message = NULL;
    struct lt_err why = {0};

    read_about(r, item->id, &a);
    int rc = write_within(item, &a, &text, e);
    free(a.tpm_policy);
    free(a.meta_data);
    if (!rc && sign_text(r, item->id, text, &message, &why)) {
        lt_log(LT_LOG_ERROR, "revocation", "guest %s: the message is not signed: %s", a.id, why.msg);
        rc = lt_notice_sign(text, NULL, &message, e);
    }
    *out = rc ? NULL : lt_json_dump(message);
    return rc || *out ? rc : lt_fail(e, LT_E_NO_MEMORY, "message: no memory");
}

/* ---- guests' agents ---- */

struct to_agent {
    struct lt_revocation *owner;
    struct lt_revoke_delivery *d;
    unsigned minor; /* of the API, tried from the newest down */
    char address[LT_TENANT_REACH_MAX];
    char *pin;
};

static void ask_agent(struct to_agent *t);

static void agent_ended(struct to_agent *t, const struct lt_err *e)
{
    lt_revoke_ended(t->d, e);
    free(t->pin);
    free(t);
}

/* Old agents want an older version; those that know no such path take no messages. */
static void agent_answered(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct to_agent *t = arg;
    struct lt_err why = *e;

    if (!e->code && reply->status == 400 && strstr(reply->body, LT_VERSIONS_REFUSAL) &&
        t->minor > LT_VERSIONS_FROM) {
        t->minor--;
        ask_agent(t);
        return;
    }
    if (!e->code && reply->status != 200 && reply->status != 404 && reply->status != 405)
        (void)lt_fail(&why, LT_E_UNREACHABLE, "HTTP %d", reply->status);
    agent_ended(t, &why);
}

static void ask_agent(struct to_agent *t)
{
    char url[LT_TENANT_REACH_MAX + 64];

    snprintf(url, sizeof url, "https://%s/v2.%u/notifications/revocation", t->address, t->minor);
    const struct lt_http_request q = {.method = "POST",
                                      .url = url,
                                      .body = t->d->message->body,
                                      .body_n = strlen(t->d->message->body),
                                      .pin = t->pin,
                                      .timeout_ms = AGENT_MS,
                                      .max_reply = LT_MAX_BODY_SMALL};
    lt_http_send(t->owner->conf.to_guests, &q, agent_answered, t);
}

/* Who has not registered has nothing that a message could change. */
static void send_agent(void *app, struct lt_revoke_delivery *d)
{
    struct lt_revocation *r = app;
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    struct to_agent *t = lt_new(struct to_agent);
    struct lt_store_guest g;
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};

    *t = (struct to_agent){.owner = r, .d = d, .minor = LT_VERSIONS_TO};
    int rc = lt_unhex(d->receiver, uuid, sizeof uuid, &e) ? lt_fail(&e, LT_E_NOT_FOUND, "no guest") : 0;
    if (!rc)
        rc = lt_store_guest_get(r->conf.store, uuid, &g, &e);
    if (!rc && lt_store_agent_get(r->conf.store, g.agent, &a, &e) == LT_E_NOT_FOUND) {
        agent_ended(t, NULL);
        return;
    }
    if (!rc)
        rc = lt_tenant_reach_of(&g, &a, t->address, &e);
    if (rc) {
        agent_ended(t, &e);
        return;
    }
    t->pin = lt_alloc_text(a.mtls_cert);
    ask_agent(t);
}

/* ---- the authority ---- */

struct to_authority {
    struct lt_work_task task;
    struct lt_revocation *owner;
    struct lt_revoke_delivery *d;
};

/* As the message has it: the guest may have been removed since. */
static void read_id(const struct lt_revoke_message *m, char id[LT_ID_MAX + 1])
{
    LT_JSON_AUTO json_t *body = lt_json_parse(m->body, strlen(m->body), LT_MAX_BODY_PROOFS, LT_NO_ERR);
    const char *msg = text_of(body, "msg");
    LT_JSON_AUTO json_t *said =
        lt_json_parse(msg ? msg : "", msg ? strlen(msg) : 0, LT_MAX_BODY_PROOFS, LT_NO_ERR);
    const char *is = text_of(said, "agent_id");

    lt_uuid_format(m->id, id);
    if (is)
        snprintf(id, LT_ID_MAX + 1, "%s", is);
}

static void tell_authority(struct lt_work_task *task)
{
    static const enum lt_ca_state states[] = {[LT_OUTBOX_FAILED] = LT_CA_REVOKED,
                                              [LT_OUTBOX_UNPROVEN] = LT_CA_HELD,
                                              [LT_OUTBOX_LIFTED] = LT_CA_GOOD};
    struct to_authority *t = LT_WORK_OWNER(task, struct to_authority);
    const struct lt_revoke_message *m = t->d->message;
    char id[LT_ID_MAX + 1];
    struct lt_err e = {0};

    read_id(m, id);
    if (lt_ca_client_tell(t->owner->authority, id, states[m->kind], AUTHORITY_MS, &e) &&
        e.code == LT_E_NOT_FOUND)
        e.code = LT_E_UNREACHABLE;
    lt_revoke_ended(t->d, &e);
    free(t);
}

static void send_authority(void *app, struct lt_revoke_delivery *d)
{
    struct lt_revocation *r = app;
    struct to_authority *t = lt_new(struct to_authority);

    *t = (struct to_authority){.owner = r, .d = d};
    lt_work_post(r->tell, &t->task, tell_authority);
}

/* ---- start and stop ---- */

static int open_channels(struct lt_revocation *r, struct lt_err *e)
{
    const struct lt_revocation_conf *c = &r->conf;
    const struct lt_ca_client_conf authority = {c->authority, c->cert, c->key, c->ca};

    if (*c->webhook)
        LT_TRY_IN(lt_revoke_webhook_open(c->webhook, c->webhook_ca, &r->webhook, e), e, "revocation_webhook");
    if (*c->zeromq)
        LT_TRY_IN(lt_revoke_publish_open(c->zeromq, &r->publish, e), e, "revocation_zeromq");
    if (!*c->authority)
        return 0;
    LT_TRY(lt_work_start(&(struct lt_work_conf){"authority", 1, 0}, &r->tell, e));
    LT_TRY_IN(lt_ca_client_new(&authority, &r->authority, e), e, "ca_url");
    return 0;
}

/* Those that are configured are receivers, and no others. */
static int name_receivers(struct lt_revocation *r, struct lt_err *e)
{
    struct lt_db *db = lt_store_outbox(r->conf.store);
    const char *const webhook[] = {r->webhook ? lt_revoke_webhook_name(r->webhook) : NULL, NULL},
                      *const publish[] = {r->publish ? LT_REVOKE_PUBLISH : NULL, NULL},
                      *const authority[] = {r->authority ? AUTHORITY : NULL, NULL};

    LT_TRY(lt_outbox_only(db, LT_REVOKE_WEBHOOK, webhook, e));
    LT_TRY(lt_outbox_only(db, LT_REVOKE_PUBLISH, publish, e));
    return lt_outbox_only(db, AUTHORITY, authority, e);
}

static int start_sender(struct lt_revocation *r, struct lt_err *e)
{
    unsigned agents =
        r->conf.agents ? LT_REVOKE_KIND(LT_OUTBOX_FAILED) | LT_REVOKE_KIND(LT_OUTBOX_UNPROVEN) : 0;
    const struct lt_revoke_channel channels[CHANNELS] = {
        {.prefix = AUTHORITY,
         .kinds = LT_REVOKE_ALL,
         .at_once = 1,
         .first = true,
         .send = send_authority,
         .app = r},
        {.prefix = LT_OUTBOX_AGENT, .kinds = agents, .at_once = AGENTS_AT_ONCE, .send = send_agent, .app = r},
        {.prefix = LT_REVOKE_WEBHOOK,
         .kinds = LT_REVOKE_ALL,
         .at_once = 1,
         .send = lt_revoke_webhook_send,
         .app = r->webhook},
        {.prefix = LT_REVOKE_PUBLISH,
         .kinds = LT_REVOKE_ALL,
         .at_once = 1,
         .send = lt_revoke_publish_send,
         .app = r->publish},
    };
    const struct lt_revoke_conf conf = {.db = lt_store_outbox(r->conf.store),
                                        .channels = channels,
                                        .count = CHANNELS,
                                        .compose = compose,
                                        .app = r};

    LT_TRY(lt_revoke_start(&conf, &r->sender, e));
    lt_store_on_revocation(r->conf.store, lt_revoke_wake, r->sender);
    return 0;
}

int lt_revocation_start(const struct lt_revocation_conf *c, struct lt_revocation **out, struct lt_err *e)
{
    struct lt_revocation *r = lt_new(struct lt_revocation);

    *out = NULL;
    r->conf = *c;
    int rc = open_channels(r, e);
    if (!rc)
        rc = name_receivers(r, e);
    if (!rc)
        rc = start_sender(r, e);
    if (rc)
        lt_revocation_free(r);
    else
        *out = r;
    return rc;
}

void lt_revocation_stop(struct lt_revocation *r)
{
    if (!r)
        return;
    lt_store_on_revocation(r->conf.store, NULL, NULL);
    lt_revoke_stop(r->sender);
}

void lt_revocation_free(struct lt_revocation *r)
{
    if (!r)
        return;
    lt_revocation_stop(r);
    lt_revoke_webhook_close(r->webhook);
    lt_work_free(r->tell);
    lt_revoke_free(r->sender);
    lt_ca_client_free(r->authority);
    lt_revoke_publish_close(r->publish);
    free(r);
}

const char *lt_revocation_zeromq(const struct lt_revocation *r)
{
    return r->publish ? lt_revoke_publish_address(r->publish) : NULL;
}
