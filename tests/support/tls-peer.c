/* A service of a guest's, for the demo: mutual TLS with the key, the certificate and the authority of its
 * payload (limetree guest add --cert), run in the payload's directory.
 *
 *   tls-peer serve ID PORT                 answers each byte with the same (0: any port, and says which)
 *   tls-peer call ID HOST:PORT NAME        asks a byte every ASK_MS, and calls again when it is cut off
 *   tls-peer --version                     nothing; so that a guest has run it when its policy is learnt
 *
 * ID-private.pem, ID-cert.crt, cacert.crt; the list of revoked certificates is fetched over HTTP from where
 * its own certificate says: at the start, on HUP (a revocation message has come) and every LIST_MS. Whoever
 * is on it is refused, and cut off if he is connected. Without a list nobody is believed.
 *
 * What happens is told on standard output, a line each ("tls-peer: WHAT"), once while it stays so. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ASK_MS 100
#define AGAIN_MS 500
#define LIST_MS 10000
#define FETCH_S 3
#define HANDSHAKE_S 5
#define PEERS 16

struct peer {
    SSL *ssl;
    int fd;
    char name[128];
};

struct service {
    SSL_CTX *ctx;
    X509 *authority;
    X509_CRL *list;
    char *url;
    bool serves;
    int signals;
    long long list_at_ms, call_at_ms;
    const char *host, *port, *expected; /* of whom it calls */
    struct peer peers[PEERS];
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    static char told[400];
    char what[400], line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (!strcmp(what, told))
        return;
    memcpy(told, what, sizeof told);
    int n = snprintf(line, sizeof line, "tls-peer: %s\n", what);
    (void)!write(1, line, (size_t)n); /* at once, so that lines of others do not come between */
}

static void die(const char *what)
{
    unsigned long code = ERR_get_error();

    say("%s: %s", what, code ? ERR_reason_error_string(code) : strerror(errno));
    exit(1);
}

static long long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* ---- what it believes ---- */

static X509 *read_certificate(const char *path)
{
    BIO *b = BIO_new_file(path, "r");
    X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;

    if (!x)
        die(path);
    BIO_free(b);
    return x;
}

/* Where the list is: the certificate's own word (RFC 5280, section 4.2.1.13). */
static char *list_url(X509 *mine)
{
    STACK_OF(DIST_POINT) *points = X509_get_ext_d2i(mine, NID_crl_distribution_points, NULL, NULL);
    const DIST_POINT *p = sk_DIST_POINT_num(points) == 1 ? sk_DIST_POINT_value(points, 0) : NULL;
    const GENERAL_NAME *name = p && p->distpoint && p->distpoint->type == 0
                                   ? sk_GENERAL_NAME_value(p->distpoint->name.fullname, 0)
                                   : NULL;

    if (!name || name->type != GEN_URI)
        die("my certificate names no list");
    char *url = strdup((const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier));
    CRL_DIST_POINTS_free(points);
    return url;
}

/* The authority and the list in force, and both must say yes. */
static X509_STORE *believed(const struct service *s)
{
    X509_STORE *store = X509_STORE_new();

    if (!store || !X509_STORE_add_cert(store, s->authority) ||
        (s->list && !X509_STORE_add_crl(store, s->list)) ||
        !X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_X509_STRICT))
        die("store");
    return store;
}

static long number_of(X509_CRL *list)
{
    ASN1_INTEGER *n = list ? X509_CRL_get_ext_d2i(list, NID_crl_number, NULL, NULL) : NULL;
    long number = n ? ASN1_INTEGER_get(n) : -1;

    ASN1_INTEGER_free(n);
    return number;
}

static int revoked_on(X509_CRL *list)
{
    STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(list);

    return all ? sk_X509_REVOKED_num(all) : 0;
}

/* NULL: still in force is what was. Never one that is older, or another's. */
static X509_CRL *fetch_list(const struct service *s)
{
    X509_CRL *list = X509_CRL_load_http(s->url, NULL, NULL, FETCH_S);

    if (list && X509_CRL_verify(list, X509_get0_pubkey(s->authority)) == 1 &&
        number_of(list) >= number_of(s->list))
        return list;
    say("no list from %s", s->url);
    X509_CRL_free(list);
    return NULL;
}

/* ---- the others ---- */

static void close_peer(struct peer *p)
{
    SSL_free(p->ssl);
    close(p->fd);
    *p = (struct peer){.fd = -1};
}

/* Of a connection that stands: is its certificate still good? */
static int judge(const struct service *s, const struct peer *p)
{
    X509_STORE_CTX *c = X509_STORE_CTX_new();
    X509_STORE *store = SSL_CTX_get_cert_store(s->ctx);

    if (!c || !X509_STORE_CTX_init(c, store, SSL_get0_peer_certificate(p->ssl), NULL) ||
        !X509_STORE_CTX_set_default(c, s->serves ? "ssl_client" : "ssl_server"))
        die("check");
    int error = X509_verify_cert(c) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(c);
    X509_STORE_CTX_free(c);
    return error ? error : X509_V_OK;
}

static void look_again(struct service *s)
{
    X509_CRL *list = fetch_list(s);

    s->list_at_ms = now_ms() + LIST_MS;
    if (!list)
        return;
    if (number_of(list) != number_of(s->list))
        say("list %ld, %d on it", number_of(list), revoked_on(list));
    X509_CRL_free(s->list);
    s->list = list;
    SSL_CTX_set_cert_store(s->ctx, believed(s));
    for (struct peer *p = s->peers; p < s->peers + PEERS; p++) {
        int error = p->fd < 0 ? X509_V_OK : judge(s, p);
        if (error) {
            say("cut off %s: %s", p->name, X509_verify_cert_error_string(error));
            (void)SSL_shutdown(p->ssl);
            close_peer(p);
        }
    }
}

static void name_of(const SSL *ssl, char out[128])
{
    X509 *x = SSL_get0_peer_certificate(ssl);

    if (!x || X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out, 128) < 0)
        snprintf(out, 128, "somebody");
}

/* Who it was, if he came to show his certificate. */
static int keep_name(int good, X509_STORE_CTX *c)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(c, SSL_get_ex_data_X509_STORE_CTX_idx());
    X509 *x = X509_STORE_CTX_get0_cert(c);
    struct peer *p = SSL_get_app_data(ssl);

    if (p && x)
        (void)X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, p->name, sizeof p->name);
    return good;
}

static const char *why(const SSL *ssl)
{
    long verdict = SSL_get_verify_result(ssl);
    unsigned long code = ERR_peek_last_error();

    if (verdict != X509_V_OK)
        return X509_verify_cert_error_string(verdict);
    return code && ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "it hung up";
}

static void begin(struct service *s, int fd)
{
    const struct timeval t = {HANDSHAKE_S, 0};
    struct peer *p = s->peers;

    while (p < s->peers + PEERS && p->fd >= 0)
        p++;
    if (p == s->peers + PEERS) {
        close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
    *p = (struct peer){.ssl = SSL_new(s->ctx), .fd = fd, .name = "somebody"};
    ERR_clear_error();
    if (!p->ssl || !SSL_set_app_data(p->ssl, p) || !SSL_set_fd(p->ssl, fd) ||
        (s->expected && !SSL_set1_host(p->ssl, s->expected)))
        die("connection");
    if ((s->serves ? SSL_accept(p->ssl) : SSL_connect(p->ssl)) != 1) {
        say("refused %s: %s", p->name, why(p->ssl));
        close_peer(p);
        return;
    }
    name_of(p->ssl, p->name);
    if (s->serves)
        say("talks with %s", p->name);
}

/* ---- one that serves ---- */

static int listen_at(const char *port)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    struct sockaddr_in bound;
    socklen_t n = sizeof bound;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (const struct sockaddr *)&at, sizeof at) || listen(fd, PEERS) ||
        getsockname(fd, (struct sockaddr *)&bound, &n))
        die("listen");
    say("listens at %d", ntohs(bound.sin_port));
    return fd;
}

static void answer(struct peer *p)
{
    char byte;

    ERR_clear_error();
    if (SSL_read(p->ssl, &byte, 1) != 1 || SSL_write(p->ssl, &byte, 1) != 1) {
        say("%s hung up", p->name);
        close_peer(p);
    }
}

/* ---- one that calls ---- */

static int reach(const char *host, const char *port)
{
    const struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *at = NULL;
    int fd = -1;

    if (getaddrinfo(host, port, &want, &at))
        die("address");
    fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(at);
    return fd;
}

/* A peer that refuses us says so in its answer to the first byte (TLS 1.3). */
static void ask(struct service *s)
{
    static bool answered;
    struct peer *p = s->peers;
    char byte = '?';

    s->call_at_ms = now_ms() + ASK_MS;
    if (p->fd < 0) {
        int fd = reach(s->host, s->port);
        if (fd >= 0)
            begin(s, fd);
        answered = false;
    }
    if (p->fd >= 0) {
        ERR_clear_error();
        if (SSL_write(p->ssl, &byte, 1) == 1 && SSL_read(p->ssl, &byte, 1) == 1) {
            if (!answered)
                say("talks with %s", p->name);
            answered = true;
            return;
        }
        say("%s by %s: %s", answered ? "cut off" : "refused", p->name, why(p->ssl));
        close_peer(p);
    }
    s->call_at_ms = now_ms() + AGAIN_MS;
}

/* ---- all of it ---- */

static void start(struct service *s, const char *id)
{
    char key[256], certificate[256];
    sigset_t hup;

    snprintf(key, sizeof key, "%s-private.pem", id);
    snprintf(certificate, sizeof certificate, "%s-cert.crt", id);
    s->ctx = SSL_CTX_new(TLS_method());
    if (!s->ctx || !SSL_CTX_set_min_proto_version(s->ctx, TLS1_3_VERSION) ||
        !SSL_CTX_use_certificate_file(s->ctx, certificate, SSL_FILETYPE_PEM) ||
        !SSL_CTX_use_PrivateKey_file(s->ctx, key, SSL_FILETYPE_PEM))
        die(certificate);
    SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, keep_name);
    SSL_CTX_set_session_cache_mode(s->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(s->ctx, 0); /* a resumed session would not look at the certificate again */
    s->authority = read_certificate("cacert.crt");
    s->url = list_url(SSL_CTX_get0_certificate(s->ctx));
    SSL_CTX_set_cert_store(s->ctx, believed(s));
    for (size_t i = 0; i < PEERS; i++)
        s->peers[i].fd = -1;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hup, NULL);
    s->signals = signalfd(-1, &hup, SFD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    look_again(s);
}

static void heed(struct service *s)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof info) == sizeof info)
        look_again(s);
}

static int wait_ms(const struct service *s)
{
    long long next = s->serves || s->list_at_ms < s->call_at_ms ? s->list_at_ms : s->call_at_ms,
              now = now_ms();

    return next > now ? (int)(next - now) : 0;
}

static void step(struct service *s, int listener)
{
    struct pollfd p[2 + PEERS] = {{.fd = s->signals, .events = POLLIN}, {.fd = listener, .events = POLLIN}};

    for (size_t i = 0; i < PEERS; i++)
        p[2 + i] = (struct pollfd){.fd = s->serves ? s->peers[i].fd : -1, .events = POLLIN};
    if (poll(p, 2 + PEERS, wait_ms(s)) < 0)
        die("poll");
    if (p[0].revents)
        heed(s);
    if (now_ms() >= s->list_at_ms)
        look_again(s);
    for (size_t i = 0; i < PEERS; i++)
        if (p[2 + i].revents && s->peers[i].fd >= 0)
            answer(&s->peers[i]);
    if (p[1].revents) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            begin(s, fd);
    }
    if (!s->serves && now_ms() >= s->call_at_ms)
        ask(s);
}

int main(int argc, char **argv)
{
    static struct service s;

    if (argc == 2 && !strcmp(argv[1], "--version"))
        return 0;
    s.serves = argc == 4 && !strcmp(argv[1], "serve");
    char *colon = argc == 5 && !strcmp(argv[1], "call") ? strrchr(argv[3], ':') : NULL;
    if (!s.serves && !colon) {
        fprintf(stderr, "usage: tls-peer serve ID PORT | tls-peer call ID HOST:PORT NAME\n");
        return 2;
    }
    if (colon) {
        *colon = 0;
        s.host = argv[3];
        s.port = colon + 1;
        s.expected = argv[4];
    }
    start(&s, argv[2]);
    int listener = s.serves ? listen_at(argv[3]) : -1;
    for (;;)
        step(&s, listener);
}
