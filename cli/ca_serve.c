#include "cli/ca.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/pki/identity.h"
#include "common/run/daemon.h"
#include "common/run/log.h"
#include "residency/error.h"

#include <stdlib.h>
#include <string.h>

#define WRITERS 16 /* words that wait for one list together */

struct conf {
    struct lt_daemon_log_conf log;
    char *listen, *list_listen, *cert, *key, *ca, *dir;
};

static struct conf conf;
static struct served {
    struct lt_cli_ca of;
    struct lt_work *work, *look;
    struct lt_http_server *tls, *plain;
} served;

#define TEXT(k, fallback, help)                                                                              \
    {                                                                                                        \
#k, LT_CONF_TEXT, offsetof(struct conf, k), fallback, 0, 0, help                                     \
    }

static const struct lt_conf_key keys[] = {
    TEXT(dir, "/var/lib/limetree/ca", "directory of the CA, made by limetree ca init"),
    TEXT(listen, "127.0.0.1:8871", "address where the verifier says what is revoked, mutual TLS"),
    TEXT(list_listen, "127.0.0.1:8870",
         "address where everybody fetches the list, plain HTTP (it is signed)"),
    TEXT(cert, NULL, "certificate of the TLS server, PEM, role tenant, under ca"),
    TEXT(key, NULL, "its key, PEM, mode 0600"),
    TEXT(ca, NULL, "the tenant's CA, PEM: who says what is revoked shows role tenant or operator under it"),
    LT_DAEMON_LOG_KEYS(struct conf),
};

/* ---- routes ---- */

/* Replies itself when it is another tenant: under one CA there may be several. */
static bool ours(struct lt_http_req *req, const struct lt_cli_ca *c)
{
    const struct lt_peer *p = lt_http_req_peer(req);
    bool foreign =
        (p->roles & LT_PEER_ROLE_TENANT) && memcmp(p->tenant_id, c->tenant_id, sizeof c->tenant_id);
    struct lt_err e;

    if (foreign) {
        (void)lt_fail(&e, LT_E_FORBIDDEN, "these are another tenant's guests");
        lt_http_reply_error(req, &e, 0);
    }
    return !foreign;
}

static void put_guest(struct lt_http_req *req, void *app)
{
    static const char *const only[] = {"state", NULL};
    const struct lt_cli_ca *c = app;
    const char *guest = lt_http_req_arg(req, 0), *word;
    enum lt_ca_state state = LT_CA_GOOD;
    unsigned count = 0;
    struct lt_err e = {0};

    if (!ours(req, c))
        return;
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &e);
    int rc = body ? lt_json_only(body, only, &e) : e.code;
    if (!rc)
        rc = lt_json_string(body, "state", &word, &e);
    if (!rc)
        rc = lt_ca_state_by_name(word, &state, &e);
    if (!rc)
        rc = lt_ca_tell(c->ca, guest, state, &count, &e);
    if (rc) {
        lt_http_reply_error(req, &e, lt_err_class(rc) == LT_CLASS_RETRY ? 1 : 0);
        return;
    }
    lt_log(LT_LOG_INFO, "ca-state", "guest %s: %u certificates are %s", guest, count,
           lt_ca_state_name(state));
    lt_http_reply_json(req, 200,
                       json_pack("{ss si}", "state", lt_ca_state_name(state), "certificates", (int)count));
}

static void get_certificates(struct lt_http_req *req, void *app)
{
    const struct lt_cli_ca *c = app;
    json_t *all;
    struct lt_err e;

    if (!ours(req, c))
        return;
    if (lt_ca_certificates(c->ca, &all, &e))
        lt_http_reply_error(req, &e, 0);
    else
        lt_http_reply_json(req, 200, json_pack("{so}", "certificates", all));
}

static void get_list(struct lt_http_req *req, void *app)
{
    const struct lt_cli_ca *c = app;
    uint8_t *der;
    struct lt_err e;
    size_t n;

    if (lt_ca_list(c->ca, &der, &n, &e)) {
        lt_http_reply_error(req, &e, 1);
        return;
    }
    lt_http_req_add_header(req, "Cache-Control", "no-cache"); /* it is as old as the last verdict */
    lt_http_reply_bytes(req, 200, "application/pkix-crl", der, n);
}

static void get_authority(struct lt_http_req *req, void *app)
{
    const struct lt_cli_ca *c = app;
    uint8_t *pem;
    struct lt_err e;
    size_t n;

    if (lt_ca_certificate(c->ca, &pem, &n, &e))
        lt_http_reply_error(req, &e, 0);
    else
        lt_http_reply_bytes(req, 200, "application/x-pem-file", pem, n);
}

#define WHO (LT_PEER_ROLE_TENANT | LT_PEER_ROLE_OPERATOR)

const struct lt_http_route lt_cli_ca_routes[] = {
    LT_HTTP_ROUTE("PUT", "/ca/v1/guests/{}", WHO, LT_MAX_BODY_SMALL, put_guest, .blocking = true),
    LT_HTTP_ROUTE("GET", "/ca/v1/certificates", WHO, 0, get_certificates, .blocking = true),
};
const size_t lt_cli_ca_route_count = sizeof lt_cli_ca_routes / sizeof *lt_cli_ca_routes;

const struct lt_http_route lt_cli_ca_list_routes[] = {
    LT_HTTP_ROUTE("GET", "/guests.crl", LT_HTTP_MAY_ANYONE, 0, get_list, .blocking = true),
    LT_HTTP_ROUTE("GET", "/guests-ca.crt", LT_HTTP_MAY_ANYONE, 0, get_authority, .blocking = true),
};
const size_t lt_cli_ca_list_route_count = sizeof lt_cli_ca_list_routes / sizeof *lt_cli_ca_list_routes;

/* ---- the daemon ---- */

static int check(void *arg, bool alone, struct lt_err *e)
{
    const struct conf *c = arg;
    const struct lt_identity mine = {.cert_key = "cert",
                                     .cert = c->cert,
                                     .key_key = "key",
                                     .key = c->key,
                                     .ca_key = "ca",
                                     .ca = c->ca,
                                     .role = LT_PEER_ROLE_TENANT,
                                     .serve = true,
                                     .remedy =
                                         "limetree pki issue DIR --ca tenant --role tenant --tenant UUID "
                                         "--server --out PREFIX"};
    LT_AUTOFREE char *authority = lt_file_path(c->dir, "guests-ca.crt");

    (void)alone;
    LT_TRY(lt_identity_check(&mine, e));
    LT_TRY(lt_http_server_check_listen("listen", c->listen, e));
    LT_TRY(lt_http_server_check_listen("list_listen", c->list_listen, e));
    LT_TRY(lt_identity_check_ca("dir", authority, e));
    return lt_identity_check_apart("dir", authority, "ca", c->ca, e);
}

static int start_servers(const struct conf *c, struct served *s, struct lt_err *e)
{
    const struct lt_http_server_conf tls = {.listen = c->listen,
                                            .cert = c->cert,
                                            .key = c->key,
                                            .client_ca = c->ca,
                                            .routes = lt_cli_ca_routes,
                                            .route_count = lt_cli_ca_route_count,
                                            .error_body = lt_residency_error,
                                            .app = &s->of,
                                            .work = s->work,
                                            .look = s->look,
                                            .threads = 1};
    const struct lt_http_server_conf plain = {.listen = c->list_listen,
                                              .routes = lt_cli_ca_list_routes,
                                              .route_count = lt_cli_ca_list_route_count,
                                              .error_body = lt_residency_error,
                                              .app = &s->of,
                                              .work = s->look,
                                              .max_bytes = LT_MAX_REGISTRAR_BYTES,
                                              .threads = 1};

    LT_TRY(lt_http_server_start(&tls, &s->tls, e));
    LT_TRY_IN(lt_http_server_start(&plain, &s->plain, e), e, "list_listen");
    return 0;
}

static void stop(void *arg)
{
    struct served *s = &served;

    (void)arg;
    if (s->tls)
        lt_http_server_stop(s->tls);
    if (s->plain)
        lt_http_server_stop(s->plain);
    lt_work_free(s->work);
    lt_work_free(s->look);
    lt_ca_close(s->of.ca);
    *s = (struct served){0};
}

/* What a process that died before had on record is on the list before anybody is answered. */
static int start(void *arg, json_t **ready, struct lt_err *e)
{
    const struct conf *c = arg;
    struct served *s = &served;

    struct lt_peer mine;
    int rc = lt_identity_peer("cert", c->cert, &mine, e);
    if (!rc)
        rc = lt_ca_open(c->dir, &s->of.ca, e);
    if (!rc)
        rc = lt_ca_publish(s->of.ca, e);
    if (!rc)
        lt_ca_keep_fresh(s->of.ca, LT_CA_FRESH_S);
    memcpy(s->of.tenant_id, mine.tenant_id, sizeof s->of.tenant_id);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"work", WRITERS, 0}, &s->work, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"look", 2, 0}, &s->look, e);
    if (!rc)
        rc = start_servers(c, s, e);
    if (rc) {
        stop(arg);
        return rc;
    }
    *ready = json_pack("{ss ss}", "listen", lt_http_server_address(s->tls), "list_listen",
                       lt_http_server_address(s->plain));
    return 0;
}

int lt_cli_ca_serve(int argc, char **argv)
{
    const struct lt_daemon d = {
        .program = "limetree ca serve",
        .summary = "publishes which guests' certificates are revoked, as the verifier says",
        .config = "/etc/limetree/ca.conf",
        .keys = keys,
        .key_count = sizeof keys / sizeof *keys,
        .conf = &conf,
        .start = start,
        .stop = stop,
        .check = check,
    };
    return lt_daemon_main(&d, argc, argv);
}
