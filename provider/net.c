#include "provider/net.h"

#include "common/alloc.h"
#include "common/run/wait.h"
#include "provider/limits.h"
#include "residency/error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct lt_net {
    struct lt_http_client *client;
    long timeout_ms;
    pthread_rwlock_t gate;
    bool closed;
};

int lt_net_new(const struct lt_http_client_conf *identity, long timeout_ms, struct lt_net **out,
               struct lt_err *e)
{
    struct lt_http_client_conf conf = *identity;
    struct lt_net *n = lt_new(struct lt_net);

    *out = NULL;
    n->timeout_ms = timeout_ms;
    pthread_rwlock_init(&n->gate, NULL);
    conf.server_role = LT_PEER_ROLE_HOST;
    int rc = lt_http_client_new(&conf, &n->client, e);
    if (rc)
        lt_net_free(n);
    else
        *out = n;
    return rc;
}

void lt_net_close(struct lt_net *n)
{
    pthread_rwlock_wrlock(&n->gate);
    struct lt_http_client *client = n->client;
    n->closed = true;
    n->client = NULL;
    pthread_rwlock_unlock(&n->gate);
    if (client)
        lt_http_client_free(client);
}

void lt_net_free(struct lt_net *n)
{
    if (!n)
        return;
    lt_net_close(n);
    pthread_rwlock_destroy(&n->gate);
    free(n);
}

void lt_net_send(struct lt_net *n, const struct lt_net_request *r, lt_http_done done, void *arg)
{
    char url[LT_MAX_ADDRESS + 64];

    snprintf(url, sizeof url, "https://%s/federation/v1/%s", r->address, r->name);
    pthread_rwlock_rdlock(&n->gate);
    bool closed = n->closed;
    if (!closed)
        lt_http_send(n->client,
                     &(struct lt_http_request){.method = r->method,
                                               .url = url,
                                               .body = r->body,
                                               .body_n = r->body_n,
                                               .timeout_ms = r->timeout_ms ? r->timeout_ms : n->timeout_ms,
                                               .max_reply = r->max_reply},
                     done, arg);
    pthread_rwlock_unlock(&n->gate);
    if (closed)
        done(arg, NULL, &(struct lt_err){LT_E_UNREACHABLE, "the provider stops"});
}

struct call {
    struct lt_wait wait;
    bool raw;
    int want;
    json_t *json;
    struct lt_net_bytes bytes;
    struct lt_peer peer;
};

static int take_raw(struct call *c, const struct lt_http_reply *r, struct lt_err *e)
{
    if (r->status != 200) {
        json_decref(lt_http_json(r, 200, lt_residency_error_read, e));
        return e->code;
    }
    if (!(c->bytes.p = malloc(r->n + 1)))
        return lt_fail(e, LT_E_NO_MEMORY, "reply: no memory");
    memcpy(c->bytes.p, r->body, c->bytes.n = r->n);
    const char *first = lt_http_reply_header(r, "X-Ima-First");
    c->bytes.ima_first = first ? strtoull(first, NULL, 10) : 0;
    return 0;
}

static int take_json(struct call *c, const struct lt_http_reply *r, struct lt_err *e)
{
    c->json = lt_http_json(r, c->want, lt_residency_error_read, e);
    return c->json ? 0 : e->code;
}

static void call_done(void *arg, const struct lt_http_reply *r, const struct lt_err *trouble)
{
    struct call *c = arg;
    struct lt_err e = {0};
    int rc;

    if (trouble && trouble->code) {
        lt_wait_end(&c->wait, trouble->code, trouble);
        return;
    }
    c->peer = r->server;
    rc = c->raw ? take_raw(c, r, &e) : take_json(c, r, &e);
    lt_wait_end(&c->wait, rc, &e);
}

static int call(struct lt_net *n, const struct lt_net_request *r, struct call *c, struct lt_peer *peer,
                struct lt_err *e)
{
    lt_net_send(n, r, call_done, c);
    LT_TRY(lt_wait_for(&c->wait, e));
    if (!c->peer.has_host || (peer->has_host && memcmp(peer->host_id, c->peer.host_id, sizeof peer->host_id)))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "%s: the server's certificate is not this host's",
                       r->address);
    *peer = c->peer;
    return 0;
}

json_t *lt_net_call(struct lt_net *n, const struct lt_net_request *r, struct lt_peer *peer, struct lt_err *e)
{
    struct call c = {.wait = LT_WAIT, .want = r->want ? r->want : 200};
    int rc = call(n, r, &c, peer, e);
    LT_JSON_AUTO json_t *j = c.json;

    return rc ? NULL : lt_take(&j);
}

int lt_net_get(struct lt_net *n, const struct lt_net_request *r, struct lt_peer *peer,
               struct lt_net_bytes *out, struct lt_err *e)
{
    struct call c = {.wait = LT_WAIT, .raw = true};
    int rc = call(n, r, &c, peer, e);

    *out = c.bytes;
    if (rc)
        free(lt_take(&out->p));
    return rc;
}

int lt_net_check_server(const uint8_t host_id[16], const struct lt_http_reply *r,
                        const struct lt_err *trouble, struct lt_err *e)
{
    if (trouble && trouble->code)
        return lt_fail(e, trouble->code, "%s", trouble->msg);
    if (!(r->server.roles & LT_PEER_ROLE_HOST) || !r->server.has_host ||
        memcmp(r->server.host_id, host_id, 16))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "the server's certificate is not this host's");
    return 0;
}
