#include "verifier/revoke/publish.h"

#include "common/alloc.h"
#include "common/http/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define TCP "tcp://"
#define CONNECTIONS 1024 /* subscribers, count */

struct lt_revoke_publish {
    void *context;
    void *socket; /* the sender's thread's, between open and close */
    char endpoint[LT_HTTP_ADDRESS_HOST + 32];
};

static int bind_it(struct lt_revoke_publish *p, const char *listen, struct lt_err *e)
{
    struct lt_http_address a;
    char endpoint[LT_HTTP_ADDRESS_HOST + 32];
    size_t n = sizeof p->endpoint;
    int none = 0, v6 = 1;

    LT_TRY(lt_http_address_parse(listen, &a, e));
    const char *left = strchr(a.host, ':') ? "[" : "", *right = *left ? "]" : "";
    if (a.port)
        snprintf(endpoint, sizeof endpoint, TCP "%s%s%s:%u", left, a.host, right, a.port);
    else
        snprintf(endpoint, sizeof endpoint, TCP "%s%s%s:*", left, a.host, right);
    p->context = zmq_ctx_new();
    if (p->context)
        zmq_ctx_set(p->context, ZMQ_MAX_SOCKETS, CONNECTIONS);
    p->socket = p->context ? zmq_socket(p->context, ZMQ_PUB) : NULL;
    if (!p->socket || zmq_setsockopt(p->socket, ZMQ_LINGER, &none, sizeof none) ||
        zmq_setsockopt(p->socket, ZMQ_IPV6, &v6, sizeof v6) || zmq_bind(p->socket, endpoint) ||
        zmq_getsockopt(p->socket, ZMQ_LAST_ENDPOINT, p->endpoint, &n))
        return lt_fail(e, LT_E_IO, "%s: %s", endpoint, zmq_strerror(errno));
    return 0;
}

int lt_revoke_publish_open(const char *listen, struct lt_revoke_publish **out, struct lt_err *e)
{
    struct lt_revoke_publish *p = lt_new(struct lt_revoke_publish);
    int rc = bind_it(p, listen, e);

    *out = NULL;
    if (rc)
        lt_revoke_publish_close(p);
    else
        *out = p;
    return rc;
}

void lt_revoke_publish_close(struct lt_revoke_publish *p)
{
    if (!p)
        return;
    if (p->socket)
        zmq_close(p->socket);
    if (p->context)
        zmq_ctx_term(p->context);
    free(p);
}

const char *lt_revoke_publish_address(const struct lt_revoke_publish *p)
{
    return p->endpoint + strlen(TCP);
}

void lt_revoke_publish_send(void *publish, struct lt_revoke_delivery *d)
{
    struct lt_revoke_publish *p = publish;
    struct lt_err e = {0};

    if (zmq_send(p->socket, d->message->body, strlen(d->message->body), ZMQ_DONTWAIT) < 0)
        (void)lt_fail(&e, LT_E_BUSY, "%s", zmq_strerror(errno));
    lt_revoke_ended(d, &e);
}
