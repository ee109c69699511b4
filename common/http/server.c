#include "common/http/server.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/http/address.h"
#include "common/http/server_impl.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define IDLE_S 30
#define REQUEST_S 60
#define DRAIN_MS 3000         /* how long stop waits for replies to be read */
#define OVERFLOW (256u << 10) /* of a chunked body: skipped so that its sender can read the 413 */
#define CONNECTION_MEMORY (16u << 10)
/* TLS 1.2 with ephemeral keys only, or 1.3; no tickets: a resumed session would not verify anybody again. */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:%NO_TICKETS"

/* ---- one request ---- */

static void take_source(struct lt_http_req *r)
{
    if (r->on && r->server->over_local) {
        memcpy(r->source, r->on->source, sizeof r->source);
        return;
    }
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = i ? i->client_addr : NULL;
    socklen_t n = a && a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    if (!a || getnameinfo(a, n, r->source, sizeof r->source, NULL, 0, NI_NUMERICHOST))
        r->source[0] = 0;
}

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct lt_buf *b = cls;
    (void)kind;
    if (key && *key) {
        lt_buf_put(b, key, strlen(key) + 1);
        lt_buf_put(b, value ? value : "", value ? strlen(value) + 1 : 1);
    }
    return MHD_YES;
}

static int check_length(struct lt_http_req *r, struct lt_err *e)
{
    const char *length = lt_http_req_header(r, "Content-Length");
    if (length && strtoull(length, NULL, 10) > r->route->max_body) /* libmicrohttpd has checked its form */
        return lt_fail(e, LT_E_TOO_LARGE, "body: %.20s bytes > %zu", length, r->route->max_body);
    r->body = LT_BUF(r->route->max_body);
    return 0;
}

static int begin(struct lt_http_req *r, const char *method, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(4 * CONNECTION_MEMORY);

    const union MHD_ConnectionInfo *i = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->on = i ? i->socket_context : NULL;
    lt_http_conn_allow(r->on, r->server->conns.request_ms); /* for the body */
    take_source(r);
    MHD_get_connection_values(r->conn, MHD_HEADER_KIND, add_header, &b);
    lt_buf_put(&b, "", 1);
    int rc = lt_buf_ok(&b, e);
    if (!rc) {
        r->headers = (char *)lt_take(&b.p);
        if (strlen(r->uri) > LT_MAX_URL)
            rc = lt_fail(e, LT_E_TOO_LARGE, "URL: more than %d bytes", LT_MAX_URL);
    }
    if (!rc)
        rc = lt_http_req_split(r, e);
    if (!rc)
        rc = lt_http_req_identify(r, e);
    if (!rc)
        rc = lt_http_req_route(r, method, e);
    if (!rc)
        rc = lt_http_req_check_access(r, e);
    return rc ? rc : check_length(r, e);
}

/* False: the server holds as much as it may. */
static bool charge(struct lt_http_req *r, size_t n)
{
    struct lt_http_server *s = r->server;

    if (atomic_fetch_add(&s->bytes, n) + n > s->conf.max_bytes) {
        atomic_fetch_sub(&s->bytes, n);
        return false;
    }
    r->charged += n;
    return true;
}

/* libmicrohttpd takes a reply before the body or after it, never in its midst. False: hang up. */
static bool take_body(struct lt_http_req *r, const char *p, size_t n)
{
    r->received += n;
    if (r->done)
        return r->received <= r->body.max + OVERFLOW;
    if (r->received > r->body.max) {
        struct lt_err e;
        (void)lt_fail(&e, LT_E_TOO_LARGE, "body: more than %zu bytes", r->body.max);
        lt_http_reply_error(lt_http_req_ref(r), &e, 0);
    } else if (!charge(r, n)) {
        static const struct lt_err busy = {LT_E_BUSY, "too many bodies and replies are on their way"};
        lt_http_reply_error(lt_http_req_ref(r), &busy, 1);
    }
    lt_buf_put(&r->body, p, n);
    return true;
}

/* Under r's lock, unless nobody else can know r. */
static enum MHD_Result send_reply(struct lt_http_req *r)
{
    if (!r->response)
        return MHD_NO;
    if (!r->reply_shared && !charge(r, r->reply_n))
        lt_http_req_no_room(r);
    uint64_t ms = r->server->conns.request_ms;
    lt_http_conn_allow(r->on, ms + ms * r->reply_n / (16u << 20));
    return r->response ? MHD_queue_response(r->conn, r->status, r->response) : MHD_NO;
}

/* The reply may come from another thread at any moment: either it finds the connection suspended and resumes
 * it, or we find the reply and send it. Both under the request's lock. */
static enum MHD_Result settle(struct lt_http_req *r)
{
    struct lt_http_server *s = r->server;
    enum MHD_Result rc = MHD_YES;

    pthread_mutex_lock(&s->lock);
    pthread_mutex_lock(&r->lock);
    bool stopping = s->stopping && !r->done;
    if (r->done) {
        rc = send_reply(r);
    } else if (!stopping) {
        r->suspended = r->linked = true;
        r->prev = NULL;
        r->next = s->suspended;
        if (r->next)
            r->next->prev = r;
        s->suspended = r;
        MHD_suspend_connection(r->conn);
    }
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&s->lock);
    if (stopping) {
        lt_http_req_abort(r);
        pthread_mutex_lock(&r->lock);
        rc = send_reply(r);
        pthread_mutex_unlock(&r->lock);
    }
    return rc;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *m, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_n, void **context)
{
    struct lt_http_req *r = *context;
    struct lt_err e = {0};

    (void)cls;
    (void)url;
    (void)version;
    if (!r)
        return MHD_NO; /* no memory */
    if (!r->begun) {
        r->begun = true;
        r->conn = m;
        if (!begin(r, method, &e))
            return MHD_YES;
        lt_log(LT_LOG_DEBUG, "request", "%s: %s %s", r->id, lt_err_slug(e.code), e.msg);
        lt_http_reply_error(lt_http_req_ref(r), &e, 0);
        /* With a body on its way the connection ends here; without one it is kept. */
        const char *length = lt_http_req_header(r, "Content-Length");
        bool body = lt_http_req_header(r, "Transfer-Encoding") || (length && strcmp(length, "0"));
        return body || !r->headers ? send_reply(r) : MHD_YES;
    }
    if (*upload_n) {
        size_t n = *upload_n;
        *upload_n = 0;
        return take_body(r, upload, n) ? MHD_YES : MHD_NO;
    }
    if (!r->called && !r->done) {
        r->called = true;
        lt_http_conn_allow(r->on, UINT64_MAX); /* from here on we are the slow ones */
        if (r->body.failed) {
            static const struct lt_err memory = {LT_E_NO_MEMORY, "body: no memory"};
            lt_http_reply_error(lt_http_req_ref(r), &memory, 1);
        } else {
            lt_http_req_ref(r); /* the replier's */
            lt_http_req_call(r);
        }
    }
    return settle(r);
}

static lt_http_error_body error_body_of(const struct lt_http_server_conf *c, const char *uri)
{
    for (const struct lt_http_error_form *f = c->error_forms; f && f->prefix; f++)
        if (!strncmp(uri, f->prefix, strlen(f->prefix)))
            return f->body;
    return c->error_body;
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *m)
{
    struct lt_http_server *s = cls;
    size_t n = strlen(uri);
    struct lt_http_req *r = lt_new(struct lt_http_req);

    (void)m;
    /* Behind the URI, room for its query cut into pairs. */
    if (!(r->uri = calloc(3, n + 1))) {
        free(r);
        return NULL;
    }
    memcpy(r->uri, uri, n);
    r->query = r->uri + n + 1;
    r->server = s;
    r->error_body = error_body_of(&s->conf, uri);
    lt_ref_start(&r->refs, 1);
    pthread_mutex_init(&r->lock, NULL);
    r->started_ms = lt_clock_ms();
    snprintf(r->id, sizeof r->id, "%08x%08x", s->id_prefix, atomic_fetch_add(&s->id_next, 1));
    pthread_mutex_lock(&s->lock);
    s->active++;
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void on_completed(void *cls, struct MHD_Connection *m, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct lt_http_server *s = cls;
    struct lt_http_req *r = *context;

    (void)m;
    if (!r)
        return;
    *context = NULL;
    lt_http_conn_allow(r->on, s->conns.request_ms); /* for the next one's headers */
    atomic_fetch_sub(&s->bytes, r->charged);
    lt_log(LT_LOG_DEBUG, "request", "%s: %s %u, %llu ms%s", r->id, r->route ? r->route->path : "-", r->status,
           (unsigned long long)(lt_clock_ms() - r->started_ms),
           code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : ", connection lost");
    pthread_mutex_lock(&s->lock);
    if (r->linked) {
        if (r->next)
            r->next->prev = r->prev;
        *(r->prev ? &r->prev->next : &s->suspended) = r->next;
        r->linked = false;
    }
    pthread_mutex_lock(&r->lock);
    r->conn = NULL;
    pthread_mutex_unlock(&r->lock);
    if (!--s->active)
        pthread_cond_signal(&s->idle);
    pthread_mutex_unlock(&s->lock);
    lt_http_req_unref(r);
}

/* ---- start and stop ---- */

static size_t no_unescape(void *cls, struct MHD_Connection *m, char *s)
{
    (void)cls;
    (void)m;
    return strlen(s); /* we decode ourselves, after cutting at '/' */
}

static void log_mhd(void *cls, const char *fmt, va_list ap)
{
    char text[512];
    (void)cls;
    vsnprintf(text, sizeof text, fmt, ap);
    lt_log(LT_LOG_DEBUG, "microhttpd", "%s", text);
}

/* *ai is the caller's to free. */
static int resolve(const char *listen_on, struct addrinfo **ai, struct lt_err *e)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct lt_http_address a;
    char port[8];

    if (lt_http_address_parse(listen_on ? listen_on : "", &a, e))
        return lt_fail(e, LT_E_CONFIG, "listen = %s: not ADDRESS:PORT", listen_on ? listen_on : "");
    snprintf(port, sizeof port, "%u", a.port);
    int rc = getaddrinfo(a.host, port, &hints, ai);
    return rc ? lt_fail(e, LT_E_CONFIG, "listen = %s: %s", listen_on, gai_strerror(rc)) : 0;
}

int lt_http_server_check_listen(const char *key, const char *listen_on, struct lt_err *e)
{
    struct addrinfo *ai = NULL;
    struct lt_err why = {0};

    if (lt_http_local_path(listen_on) ? lt_http_local_check(listen_on, &why) : resolve(listen_on, &ai, &why))
        return lt_fail(e, why.code, "%s%s", key, why.msg + strlen("listen"));
    if (ai)
        freeaddrinfo(ai);
    return 0;
}

static int open_tcp(const char *listen_on, char address[64], int *out, struct lt_err *e)
{
    struct addrinfo *ai = NULL;
    char name[64], serv[16];
    struct sockaddr_storage bound = {0};
    socklen_t n = sizeof bound;
    int on = 1;

    LT_TRY(resolve(listen_on, &ai, e));
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) &&
              !bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, SOMAXCONN) &&
              !getsockname(fd, (struct sockaddr *)&bound, &n) &&
              !getnameinfo((struct sockaddr *)&bound, n, name, sizeof name, serv, sizeof serv,
                           NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(address, 64, ok && bound.ss_family == AF_INET6 ? "[%.46s]:%.6s" : "%.46s:%.6s", ok ? name : "",
             ok ? serv : "");
    freeaddrinfo(ai);
    if (!ok) {
        int rc = lt_fail(e, LT_E_IO, "listen = %s: %s", listen_on, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

static int open_socket(struct lt_http_server *s, int *out, struct lt_err *e)
{
    if (!s->over_local)
        return open_tcp(s->conf.listen, s->address, out, e);
    if (s->tls)
        return lt_fail(e, LT_E_CONFIG, "listen = %s: a UNIX socket has no certificates", s->conf.listen);
    LT_TRY(lt_http_local_listen(s->conf.listen, &s->local, out, e));
    snprintf(s->address, sizeof s->address, LT_HTTP_LOCAL "%s", s->local.path);
    return 0;
}

struct tls_files {
    uint8_t *cert, *key, *ca, *admin_ca;
    size_t key_n;
};

static void tls_files_free(struct tls_files *f)
{
    if (f->key)
        lt_wipe(f->key, f->key_n);
    free(f->cert);
    free(f->key);
    free(f->ca);
    free(f->admin_ca);
}

static int read_tls(const struct lt_http_server_conf *c, struct tls_files *f, struct lt_err *e)
{
    size_t n;

    if (!c->cert != !c->key || (c->client_ca && !c->cert) || (c->keylime_admin_ca && !c->client_ca))
        return lt_fail(e, LT_E_CONFIG, "listen = %s: certificate and key go together, a client CA needs both",
                       c->listen);
    int rc = c->cert ? lt_file_read(c->cert, 1 << 20, &f->cert, &n, e) : 0;
    if (!rc && c->key)
        rc = lt_file_read_secret(c->key, 1 << 16, &f->key, &f->key_n, e);
    if (!rc && c->client_ca)
        rc = lt_file_read(c->client_ca, 1 << 20, &f->ca, &n, e);
    if (!rc && c->keylime_admin_ca)
        rc = lt_file_read(c->keylime_admin_ca, 1 << 20, &f->admin_ca, &n, e);
    return rc;
}

/* The handshake takes, and names to clients, both CAs; which of them it was is asked afterwards. */
static int join_cas(struct lt_http_server *s, struct tls_files *f, struct lt_err *e)
{
    char *both;

    if (!f->admin_ca)
        return 0;
    LT_TRY(lt_http_cas_load(s, (char *)f->ca, (char *)f->admin_ca, e));
    if (asprintf(&both, "%s\n%s", (char *)f->ca, (char *)f->admin_ca) < 0)
        return lt_fail(e, LT_E_NO_MEMORY, "client CAs: no memory");
    free(f->ca);
    f->ca = (uint8_t *)both;
    return 0;
}

/* Thousands of connections, each a descriptor. */
static void raise_descriptors(rlim_t wanted)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= wanted)
        return;
    l.rlim_cur = l.rlim_max < wanted ? l.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &l);
}

static int start_daemon(struct lt_http_server *s, int fd, const struct tls_files *f, struct lt_err *e)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    unsigned threads = s->conf.threads ? s->conf.threads : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    unsigned most = s->conf.max_connections ? s->conf.max_connections : LT_MAX_CONNECTIONS;
    struct MHD_OptionItem options[16];
    unsigned n = 0;

    if (most < threads)
        threads = most;
    raise_descriptors(2 * (rlim_t)most + 256);
    if (threads > 1)
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL};
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_LIMIT, (intptr_t)most, NULL};
    unsigned each = s->conf.max_per_address ? s->conf.max_per_address : (most + 3) / 4;
    options[n++] = (struct MHD_OptionItem){MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)each, NULL};
    s->conns.max_strangers = (most + 3) / 4;
    s->conns.max_open = most - most / 8; /* below that libmicrohttpd takes everybody up */
    if (s->tls) {
        flags |= MHD_USE_TLS;
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, f->cert};
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, f->key};
        options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)PRIORITIES};
        if (s->ask)
            options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, f->ca};
    }
    options[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, s, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_TIMEOUT,
        s->conf.idle_timeout_s ? s->conf.idle_timeout_s : IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, lt_http_on_connection, s, MHD_OPTION_UNESCAPE_CALLBACK,
        no_unescape, NULL, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    return s->daemon ? 0
                     : lt_fail(e, LT_E_CONFIG,
                               "listen = %s: the server does not start (certificate, key or "
                               "client CA unusable?)",
                               s->conf.listen);
}

static int check_routes(const struct lt_http_server_conf *c, struct lt_err *e)
{
    for (size_t i = 0; i < c->route_count && !c->work; i++)
        if (c->routes[i].blocking || c->routes[i].blocking_for)
            return lt_fail(e, LT_E_INTERNAL, "%s %s: blocks, and there is no pool for it",
                           c->routes[i].method, c->routes[i].path);
    return 0;
}

int lt_http_server_start(const struct lt_http_server_conf *c, struct lt_http_server **out, struct lt_err *e)
{
    __attribute__((cleanup(tls_files_free))) struct tls_files f = {0};
    int fd = -1;

    *out = NULL;
    LT_TRY(check_routes(c, e));
    LT_TRY(read_tls(c, &f, e));
    struct lt_http_server *s = lt_new(struct lt_http_server);
    s->conf = *c;
    s->tls = c->cert;
    s->over_local = lt_http_local_path(c->listen);
    s->conf.max_bytes = c->max_bytes ? c->max_bytes : LT_MAX_HTTP_BYTES;
    s->conns.request_ms = (c->request_timeout_s ? c->request_timeout_s : REQUEST_S) * 1000;
    s->ask = s->require = c->client_ca;
    for (size_t i = 0; i < c->route_count; i++)
        if (c->routes[i].access & LT_HTTP_MAY_ANYONE)
            s->require = false;
    lt_random(&s->id_prefix, sizeof s->id_prefix);
    pthread_mutex_init(&s->lock, NULL);
    lt_log_rate_init(&s->refusals);
    lt_cond_init(&s->idle);
    int rc = lt_http_conns_start(&s->conns, e);
    if (!rc)
        rc = join_cas(s, &f, e);
    if (!rc)
        rc = open_socket(s, &fd, e);
    if (!rc)
        rc = start_daemon(s, fd, &f, e); /* closes fd itself on some of its faults, so we never do */
    if (rc) {
        lt_http_local_remove(&s->local);
        lt_http_conns_stop(&s->conns);
        pthread_cond_destroy(&s->idle);
        pthread_mutex_destroy(&s->lock);
        lt_log_rate_destroy(&s->refusals);
        lt_http_cas_free(s);
        free(s);
        return rc;
    }
    s->conf.listen = s->conf.cert = s->conf.key = NULL; /* were the caller's, as these */
    s->conf.client_ca = s->conf.keylime_admin_ca = NULL;
    *out = s;
    return 0;
}

const char *lt_http_server_address(const struct lt_http_server *s)
{
    return s->address;
}

/* libmicrohttpd must not be stopped with a suspended connection, and drops what is not yet written: so every
 * held request is answered and resumed first, and replies get a moment to go out. */
void lt_http_server_stop(struct lt_http_server *s)
{
    if (!s)
        return;
    lt_http_local_remove(&s->local);
    int fd = MHD_quiesce_daemon(s->daemon);
    uint64_t until = lt_clock_ms() + DRAIN_MS;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (struct lt_http_req *r = s->suspended; r; r = r->next)
        lt_http_req_abort(r);
    while (s->active && lt_cond_until(&s->idle, &s->lock, until))
        ;
    pthread_mutex_unlock(&s->lock);
    MHD_stop_daemon(s->daemon);
    lt_http_conns_stop(&s->conns);
    if (fd >= 0)
        close(fd);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    lt_log_rate_destroy(&s->refusals);
    lt_http_cas_free(s);
    free(s);
}
