/* A request inside the server: server.c and peer.c (libmicrohttpd's side), route.c and reply.c (the handlers'
 * side) share it; nobody else includes this.
 *
 *   READ      URI, headers, access, body                              owner: its connection
 *   CALLED    the handler has it, and is to reply exactly once        owner: the handler, or whom it gives it
 *   HELD      the handler returned without a reply, or waits for a    owner: who will reply, any thread
 *             pool (a blocking route): the connection is suspended
 *             and on the server's list
 *   DONE      response and status stand; a suspended connection is    owner: the connection's thread
 *             resumed, and sends them
 *   COMPLETED sent, or the peer is gone: conn is NULL                 owner: nobody; a late replier frees it
 *
 * READ -> DONE where something is refused, CALLED -> DONE where the handler answers at once. When the server
 * stops, it answers for what is HELD (lt_http_req_abort), and the owner's own reply, which still comes, is
 * dropped: the first one counts. Two references: the connection's until COMPLETED, the replier's until its
 * reply.
 *
 * Locks, in this order: the server's (list of held requests, active, stopping), the request's (done,
 * suspended, conn, response), that of the connections (lists and deadlines). The rest of a request is written
 * before the handler runs, and by the replier afterwards. */
#ifndef LT_COMMON_HTTP_SERVER_IMPL_H
#define LT_COMMON_HTTP_SERVER_IMPL_H

#include "common/http/local.h"
#include "common/http/server.h"
#include "common/ref.h"
#include "common/run/log_rate.h"

#include <gnutls/x509.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define LT_HTTP_REQ_ARGS 4
#define LT_HTTP_REQ_EXTRA 4

/* One connection. Its list and its deadline are under the lock of struct lt_http_conns. */
struct lt_http_conn {
    struct lt_http_server *server;
    struct lt_http_conn_list *list;
    struct lt_http_conn *prev, *next;
    int fd;
    char source[48]; /* the peer's address */
    uint64_t deadline_ms;
    uint16_t crowd;          /* its network: an IPv4 address, an IPv6 /64 */
    bool cut;                /* it was cut off: counted no more */
    bool verified, refused;  /* what its handshake proved; or was refused, and that was logged */
    bool local;              /* over our UNIX socket, by a user who may */
    unsigned crl_generation; /* of the lists it was last held against */
    struct lt_peer peer;
};

struct lt_http_conn_list {
    struct lt_http_conn *first, *last;
    unsigned count;
};

#define LT_HTTP_CROWDS 1024
struct lt_http_conns {
    uint64_t request_ms;
    unsigned max_strangers, max_open; /* max_open: where nobody has to show a certificate */
    uint8_t key[16];                  /* of the hash that networks have their place by */
    pthread_mutex_t lock;             /* innermost */
    pthread_cond_t wake;
    pthread_t thread;
    bool watched, stopping;
    struct lt_http_conn_list strangers, others; /* strangers: still owe a certificate */
    unsigned open;                              /* not cut off */
    uint16_t crowd[LT_HTTP_CROWDS]; /* the same, of each network; those whose hashes meet share one */
};

struct lt_http_server {
    struct lt_http_server_conf conf;
    struct lt_log_rate refusals; /* handshakes */
    struct MHD_Daemon *daemon;
    bool tls, ask, require;                           /* client certificates */
    gnutls_x509_trust_list_t clients, keylime_admins; /* NULL: there is no keylime_admin_ca */
    char address[128];
    bool over_local; /* not TCP: a UNIX socket */
    struct lt_http_local local;
    uint32_t id_prefix;
    atomic_uint id_next;
    pthread_mutex_t lock; /* before a request's own */
    pthread_cond_t idle;
    struct lt_http_req *suspended;
    unsigned active;
    bool stopping;
    atomic_size_t bytes;
    struct lt_http_conns conns;
};

struct lt_http_req {
    struct lt_http_server *server;   /* for libmicrohttpd's threads only: a late replier may outlive it */
    struct MHD_Connection *conn;     /* NULL once completed */
    struct lt_http_conn *on;         /* for libmicrohttpd's threads only; may be NULL */
    struct lt_http_req *prev, *next; /* of the server's suspended requests; under the server's lock */
    pthread_mutex_t lock;
    struct lt_ref_count refs;
    bool begun, called, held, linked;
    bool suspended, done;

    const struct lt_http_route *route;
    struct lt_work_task task; /* of a blocking route */
    void *app;                /* the server's, which may be gone when that runs */
    char id[17], source[48];
    char *uri; /* as received, cut into pieces */
    lt_http_error_body error_body;
    const char *args[LT_HTTP_REQ_ARGS];
    char *query, *headers; /* "key\0value\0…", an empty key ends */
    struct lt_buf body;
    size_t received; /* of the body, kept or not */
    struct lt_peer peer;
    bool has_peer;
    uint64_t started_ms;

    struct {
        char *name, *value;
    } extra[LT_HTTP_REQ_EXTRA];
    unsigned extras;
    struct MHD_Response *response;
    size_t reply_n, charged; /* charged: of the server's bytes; for libmicrohttpd's threads only */
    bool reply_shared;
    unsigned status;
};

struct lt_http_req *lt_http_req_ref(struct lt_http_req *r);
void lt_http_req_unref(struct lt_http_req *r);
/* Answers 503 in the owner's stead, who still has to reply and will not notice. Any thread. */
void lt_http_req_abort(struct lt_http_req *r);
/* Puts a 503 into the place of a reply for which the server has no room. Under r's lock. */
void lt_http_req_no_room(struct lt_http_req *r);

int lt_http_conns_start(struct lt_http_conns *l, struct lt_err *e) LT_MUST_CHECK;
void lt_http_conns_stop(struct lt_http_conns *l); /* after a failed start too; when all are closed */
struct lt_http_conn *lt_http_conn_open(struct lt_http_server *s, int fd);
void lt_http_conn_proven(struct lt_http_conn *c);
void lt_http_conn_allow(struct lt_http_conn *c,
                        uint64_t ms); /* from now on; UINT64_MAX: for ever. NULL is fine */
void lt_http_conn_close(struct lt_http_conn *c);
/* The lists by which two client CAs are told apart; ca and admin_ca: PEM. lt_http_cas_free also after a
 * failure.
 */
int lt_http_cas_load(struct lt_http_server *s, const char *ca, const char *admin_ca,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_http_cas_free(struct lt_http_server *s);
/* NOTIFY_CONNECTION: asks for the client's certificate, and lets verification refuse the handshake. */
void lt_http_on_connection(void *cls, struct MHD_Connection *m, void **context,
                           enum MHD_ConnectionNotificationCode code);
/* Sets r->peer: the certificate this connection shows now is the one its handshake verified, and has not run
 * out since. */
int lt_http_req_identify(struct lt_http_req *r, struct lt_err *e) LT_MUST_CHECK;
/* Sets r->route and r->args; r->uri is cut into segments. */
int lt_http_req_route(struct lt_http_req *r, const char *method, struct lt_err *e) LT_MUST_CHECK;
int lt_http_req_check_access(const struct lt_http_req *r, struct lt_err *e) LT_MUST_CHECK;
/* Runs the handler: here, or on a pool. Takes the replier's reference. */
void lt_http_req_call(struct lt_http_req *r);
/* Cuts r->uri into path and query. LT_E_MALFORMED: bad escapes, NUL. */
int lt_http_req_split(struct lt_http_req *r, struct lt_err *e) LT_MUST_CHECK;
/* Percent-decodes in place. Refuses what is not two hex digits, NUL, and, in a path, '/'. */
int lt_http_req_unescape(char *s, bool path, struct lt_err *e) LT_MUST_CHECK;

#endif
