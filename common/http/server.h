/* HTTP(S) server on libmicrohttpd: a table of routes, each with a rule who may call it; replies at once or
 * later from any thread. Nothing blocks its own threads: a route that may says so, and runs on a pool. */
#ifndef LT_COMMON_HTTP_SERVER_H
#define LT_COMMON_HTTP_SERVER_H

#include "common/json.h"
#include "common/pki/crl.h"
#include "common/pki/peer.h"
#include "common/run/work.h"

struct lt_http_req;
struct lt_http_server;

/* A handler must reply exactly once: before it returns, or after lt_http_req_hold() from any thread. */
typedef void (*lt_http_handler)(struct lt_http_req *req, void *app);

/* Access rules: one of these, or a union of LT_PEER_ROLE_… bits (mutual TLS with that role), as in
 * LT_PEER_ROLE_OPERATOR | LT_PEER_ROLE_KEYLIME_ADMIN. */
#define LT_HTTP_MAY_ANYONE 0x1000u /* also without TLS and without a certificate */
/* Any certificate under the server's client CA, with or without a role. Who is under keylime_admin_ca is not
 * meant: such a route says LT_HTTP_MAY_TRUSTED | LT_PEER_ROLE_KEYLIME_ADMIN. */
#define LT_HTTP_MAY_TRUSTED 0x2000u
/* Whoever calls over a UNIX socket: root, or the user that serves. Over TCP nobody does. */
#define LT_HTTP_MAY_LOCAL 0x4000u

struct lt_http_route {
    const char *method;
    const char *path; /* "/federation/v1/hosts/{}/ima": {} takes one segment. A trailing slash is tolerated */
    unsigned access;
    size_t max_body; /* bytes; 0: none is accepted */
    lt_http_handler fn;
    bool blocking;         /* fn may block: the request is held, and fn runs on a pool of the server's conf */
    unsigned blocking_for; /* that, for peers with one of these roles alone; others are served at once */
    bool urgent;           /* on the pool before those that are not */
};
/* Behind f: .blocking, .blocking_for, .urgent. A route without an access rule does not compile: the array
 * would have a negative size. */
#define LT_HTTP_ROUTE(m, p, who, body, f, ...)                                                               \
    {                                                                                                        \
        .method = (m), .path = (p), .access = (who) + 0 * sizeof(char[(who) ? 1 : -1]), .max_body = (body),  \
        .fn = (f), __VA_ARGS__                                                                               \
    }

/* An error as a body: a new reference, NULL without memory. *e may be told as it is. */
typedef json_t *(*lt_http_error_body)(const struct lt_err *e, unsigned retry_after_s);
/* Errors of paths that begin so, also of those that no route has. */
struct lt_http_error_form {
    const char *prefix; /* "/federation/" */
    lt_http_error_body body;
};

struct lt_http_server_conf {
    const char
        *listen; /* "127.0.0.1:8981", "[::]:0"; port 0: the kernel picks. "unix:/PATH": a socket of mode
                  * 0600 in a directory that no other user can write to (made, 0700, if it is absent);
                  * what a dead process left there is replaced. Only root and our own user are heard */
    const char *cert,
        *key; /* PEM files; NULL: plain HTTP (only LT_HTTP_MAY_ANYONE routes can then be called) */
    const char *client_ca;        /* PEM file; NULL: no client certificates are asked for */
    const char *keylime_admin_ca; /* PEM file; NULL: none. Whose certificate leads there has the role
                                   * LT_PEER_ROLE_KEYLIME_ADMIN and no other. Needs client_ca */
    struct lt_crl
        *crl; /* client certificates that are on it are refused, on kept connections too; borrowed */
    const struct lt_http_route *routes;
    size_t route_count;
    lt_http_error_body error_body;                /* NULL: an error has a status and no body */
    const struct lt_http_error_form *error_forms; /* where another applies, the first that fits; the last has
                                                   * no prefix. NULL: nowhere */
    void *app;            /* for every handler; outlives the pools below, not the server alone: what a stopped
                           * server had posted runs there still, with app */
    struct lt_work *work; /* where blocking routes run; borrowed, freed after the server has stopped */
    struct lt_work
        *look; /* those of them that only look (GET), who shall not wait behind the others; NULL: work */
    unsigned threads;         /* 0: one a core */
    unsigned max_connections; /* 0: LT_MAX_CONNECTIONS */
    unsigned max_per_address; /* of them; 0: a quarter */
    size_t max_bytes;         /* bodies and replies on their way, of all connections; 0: LT_MAX_HTTP_BYTES */
    unsigned idle_timeout_s;  /* 0: 30 */
    unsigned request_timeout_s; /* for handshake and headers, for a body, for a reply (once more for each 16
                                 * MiB of it), however busy the peer looks; 0: 60 */
};

/* A client certificate is required in the handshake unless some route is LT_HTTP_MAY_ANYONE. Then every
 * route's own rule decides (401 without one), and a certificate that is shown must be good all the same: a
 * bad one ends the handshake. It is checked again for every request. */
int lt_http_server_start(const struct lt_http_server_conf *c, struct lt_http_server **out,
                         struct lt_err *e) LT_MUST_CHECK;
/* ADDRESS:PORT with numbers, as start wants it. key: the configuration's word, for the message. */
int lt_http_server_check_listen(const char *key, const char *listen, struct lt_err *e) LT_MUST_CHECK;
/* "127.0.0.1:40123", as bound. */
const char *lt_http_server_address(const struct lt_http_server *s);
/* Stops accepting; every request that is still held is answered 503; returns when the last is done. */
void lt_http_server_stop(struct lt_http_server *s);

/* ---- inside a handler ---- */
const char *lt_http_req_arg(const struct lt_http_req *r,
                            unsigned i); /* the i-th {}: percent-decoded, no NUL, no '/' */
const char *lt_http_req_query(const struct lt_http_req *r, const char *key); /* NULL: absent */
const char *lt_http_req_header(const struct lt_http_req *r, const char *name);
struct lt_slice lt_http_req_body(const struct lt_http_req *r);
const struct lt_peer *lt_http_req_peer(const struct lt_http_req *r); /* NULL: no certificate */
const char *lt_http_req_source(const struct lt_http_req *r); /* the client's address without its port */
const char *lt_http_req_id(const struct lt_http_req *r);     /* for the log; also sent as X-Request-ID */
/* Body as JSON object (new reference), or NULL and *e. */
json_t *lt_http_req_json(const struct lt_http_req *r, struct lt_err *e) LT_MUST_CHECK;

/* Suspends: the request stays valid until it is replied to, also when its client has vanished meanwhile. */
void lt_http_req_hold(struct lt_http_req *r);

/* ---- replies; each ends the request, *r must not be touched afterwards ---- */
void lt_http_reply_json(struct lt_http_req *r, int status, json_t *body); /* takes the reference */
/* Takes p (malloc'd). type: "application/json", "text/plain", … */
void lt_http_reply_bytes(struct lt_http_req *r, int status, const char *type, void *p, size_t n);
void lt_http_reply_empty(struct lt_http_req *r, int status);
/* Bytes that any number of replies send, one copy in memory however slowly they are read. */
struct lt_http_shared;
struct lt_http_shared *lt_http_shared_new(void *p, size_t n); /* takes p (malloc'd), also on failure (NULL) */
struct lt_http_shared *lt_http_shared_ref(struct lt_http_shared *s);
void lt_http_shared_unref(struct lt_http_shared *s); /* NULL is fine */
struct lt_slice lt_http_shared_bytes(const struct lt_http_shared *s);
/* Its bytes from offset `from` on (at most n); holds a reference of its own. */
void lt_http_reply_shared(struct lt_http_req *r, int status, const char *type, struct lt_http_shared *s,
                          size_t from);
/* In the form that the server was started with. retry_after_s 0: no such header. Messages of class bug and
 * local are logged in full and told as their slug only. */
void lt_http_reply_error(struct lt_http_req *r, const struct lt_err *why, unsigned retry_after_s);
/* Adds a header to the reply that will follow. */
void lt_http_req_add_header(struct lt_http_req *r, const char *name, const char *value);

#endif
