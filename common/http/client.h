/* HTTPS client on libcurl multi: one thread, thousands of requests at once, connections kept. A client has
 * one identity and one expectation of its servers: certificate under the CA with the role, or (per request)
 * exactly the pinned certificate. Host names are not checked unless that is asked for; redirects are not
 * followed. */
#ifndef LT_COMMON_HTTP_CLIENT_H
#define LT_COMMON_HTTP_CLIENT_H

#include "common/json.h"
#include "common/pki/crl.h"
#include "common/pki/peer.h"
#include "common/run/budget.h"

struct lt_http_client;

struct lt_http_client_conf {
    const char *cert, *key; /* PEM files of our identity; NULL: none */
    const char *ca;         /* PEM file; NULL: only pinned or plain requests are possible */
    struct lt_crl *crl;   /* servers under ca that are on it are refused, on kept connections too; borrowed */
    unsigned server_role; /* the role a server under ca must have; 0: any certificate under ca */
    unsigned max_per_host; /* connections to one address; 0: 8 */
    struct lt_budget
        *budget;      /* borrowed; replies above LT_SMALL_REPLY are taken from it. NULL: nothing is counted */
    size_t leave;     /* of it, that stays free for others */
    bool allow_plain; /* http:// URLs too (Keylime's registration) */
    const char *socket; /* UNIX socket that every request goes to, whatever its URL's host; NULL: TCP. With
                         * allow_plain */
    bool named; /* a server's certificate must name the host of the URL, too: for servers that are not ours */
};

struct lt_http_request {
    const char *method, *url;
    const char *body; /* NULL: none. Copied */
    size_t body_n;
    const char *const
        *headers;     /* "Name: value", NULL-ended; may be NULL. Content-Type is JSON unless told here */
    const char *pin;  /* PEM of the one certificate the server must show; NULL: by CA and role */
    long timeout_ms;  /* in all; 0: 30000 */
    size_t max_reply; /* 0: LT_MAX_REPLY */
    unsigned rank;    /* a large reply waits for room behind those of a lower rank */
    unsigned weight;  /* bytes of the budget for a byte of a large reply; 0: 1 */
};

#define LT_HTTP_REPLY_HEADERS 2048 /* bytes of names and values */

struct lt_http_reply {
    int status;
    const char *body; /* NUL behind the last byte; borrowed, valid during the callback */
    size_t n;
    unsigned retry_after_s;              /* 0: not told; nobody sends us away for more than an hour */
    char headers[LT_HTTP_REPLY_HEADERS]; /* for lt_http_reply_header; what has no room left is dropped */
    uint64_t last_byte_ms;               /* CLOCK_BOOTTIME when the last byte came in: t5 */
    size_t charge;                       /* taken from the client's budget: now the callback's to give back */
    struct lt_peer server;               /* zero when pinned or plain */
};

/* The value of a header, whatever the case of its name; NULL: it has none. */
const char *lt_http_reply_header(const struct lt_http_reply *r, const char *name);

/* Runs on the client's thread: must not block. e->code is 0 when an HTTP reply of whatever status came in;
 * LT_E_UNREACHABLE, LT_E_TIMEOUT, LT_E_TOO_LARGE, LT_E_UNAUTHENTICATED (the server's certificate), LT_E_BUSY
 * (no room in the budget until it timed out) otherwise. A GET that finds its kept connection dead is sent
 * once more; nothing else is ever sent twice. */
typedef void (*lt_http_done)(void *arg, const struct lt_http_reply *r, const struct lt_err *e);

int lt_http_client_new(const struct lt_http_client_conf *c, struct lt_http_client **out,
                       struct lt_err *e) LT_MUST_CHECK;
/* Requests under way are ended with LT_E_UNREACHABLE first. */
void lt_http_client_free(struct lt_http_client *c);

/* done is called exactly once for every call, also when it cannot even be sent. Any thread. */
void lt_http_send(struct lt_http_client *c, const struct lt_http_request *r, lt_http_done done, void *arg);

/* Blocking, for command line programs: *reply's body is the caller's to free. Any status is success. */
int lt_http_call(struct lt_http_client *c, const struct lt_http_request *r, struct lt_http_reply *reply,
                 struct lt_err *e) LT_MUST_CHECK;
/* What an error's body tells: false, and *e untouched, if it tells none. body may be NULL. */
typedef bool (*lt_http_error_read)(const json_t *body, int status, struct lt_err *e);
/* The reply's body as a JSON object (new reference); a status other than want is turned into the error that
 * told finds in the body, or into LT_E_UNREACHABLE when it tells none. */
json_t *lt_http_json(const struct lt_http_reply *r, int want, lt_http_error_read told,
                     struct lt_err *e) LT_MUST_CHECK;

#endif
