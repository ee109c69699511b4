#include "tests/support/mock_agent.h"
#include "common/pki/issue.h"

#include "residency/error.h"
#include "tests/support/unit.h"

#include <time.h>

struct mock_wait {
    struct mock_wait *next;
    struct lt_http_req *req;
};

/* ---- PKI ---- */

static void pki_path(char out[256], const char *dir, const char *name, const char *suffix)
{
    assert_true(snprintf(out, 256, "%s/%s.%s", dir, name, suffix) < 256);
}

void mock_pki_make(const char *dir)
{
    char cert[256], key[256];
    pki_path(cert, dir, "ca", "pem");
    pki_path(key, dir, "ca", "key");
    OK(lt_pki_make_ca(cert, key, "test federation", 2, &err));
}

void mock_pki_issue(const char *dir, const char *name, unsigned role, const uint8_t *tenant,
                    const uint8_t *host)
{
    char ca[256], ca_key[256], cert[256], key[256];
    const char *const names[] = {"127.0.0.1", NULL};

    pki_path(ca, dir, "ca", "pem");
    pki_path(ca_key, dir, "ca", "key");
    pki_path(cert, dir, name, "pem");
    pki_path(key, dir, name, "key");
    struct lt_pki_subject s = {.common_name = name,
                               .role = role,
                               .tenant_id = tenant,
                               .host_id = host,
                               .names = names,
                               .server = true,
                               .client = true,
                               .days = 2};
    OK(lt_pki_issue(ca, ca_key, &s, cert, key, &err));
}

/* ---- the TPM thread ---- */

static void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t))
        ;
}

static void answer(struct mock_agent *a, struct lt_http_req *req)
{
    int status = 400;
    struct lt_err e;
    json_t *ask = lt_http_req_json(req, &e), *reply;
    int64_t n = 0;

    if (atomic_load(&a->no_tpm)) {
        json_decref(ask);
        lt_http_reply_error(req, &(struct lt_err){LT_E_HOST_TPM, "TPM device:/dev/tpmrm0: absent"}, 7);
        return;
    }
    pthread_mutex_lock(&a->lock);
    reply = ask ? mock_host_answer(&a->host, ask, &status) : json_object();
    pthread_mutex_unlock(&a->lock);
    if (status == 200 && !lt_json_int(ask, "n", 1, LT_MAX_BATCH, &n, &e)) {
        atomic_fetch_add(&a->quotes, 1);
        atomic_fetch_add(&a->leaves, (unsigned long)n);
    }
    json_decref(ask);
    lt_http_reply_json(req, status, reply);
}

static void *tpm_thread(void *arg)
{
    struct mock_agent *a = arg;

    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        struct mock_wait *w = atomic_load(&a->hang) ? NULL : a->first;
        if (!w) {
            pthread_cond_wait(&a->news, &a->lock);
            continue;
        }
        a->first = w->next;
        if (!a->first)
            a->last = &a->first;
        pthread_mutex_unlock(&a->lock);
        sleep_ms(atomic_load(&a->delay_ms));
        answer(a, w->req);
        free(w);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- routes ---- */

static void get_host(struct lt_http_req *req, void *app)
{
    struct mock_agent *a = app;
    pthread_mutex_lock(&a->lock);
    json_t *j = mock_host_describe(&a->host);
    pthread_mutex_unlock(&a->lock);
    lt_http_reply_json(req, 200, j);
}

static void post_quote(struct lt_http_req *req, void *app)
{
    struct mock_agent *a = app;
    struct mock_wait *w = calloc(1, sizeof *w);

    w->req = req;
    lt_http_req_hold(req);
    pthread_mutex_lock(&a->lock);
    *a->last = w;
    a->last = &w->next;
    pthread_cond_signal(&a->news);
    pthread_mutex_unlock(&a->lock);
}

static void post_activation(struct lt_http_req *req, void *app)
{
    struct mock_agent *a = app;
    struct lt_err e;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    LT_AUTOFREE uint8_t *credential = NULL;
    uint8_t challenge[32], proof[32];
    size_t n;

    if (!j || lt_json_base64(j, "credential", LT_MAX_CREDENTIAL, &credential, &n, &e) ||
        lt_json_hex(j, "challenge", challenge, 32, &e) ||
        !mock_host_activate(&a->host, (struct lt_slice){credential, n}, challenge, proof))
        lt_http_reply_error(req, &(struct lt_err){LT_E_REFUSED, "credential"}, 0);
    else
        lt_http_reply_json(req, 200, json_pack("{s:o}", "proof", lt_json_new_hex(proof, 32)));
}

static void get_boot_log(struct lt_http_req *req, void *app)
{
    struct mock_agent *a = app;
    atomic_fetch_add(&a->logs, 1);
    lt_http_reply_bytes(req, 200, "application/octet-stream", strdup("boot log"), 8);
}

static void get_ima(struct lt_http_req *req, void *app)
{
    struct mock_agent *a = app;

    pthread_mutex_lock(&a->lock);
    size_t n = a->ima_n;
    char *copy = n ? memcpy(malloc(n + 1), a->ima, n) : NULL;
    pthread_mutex_unlock(&a->lock);
    atomic_fetch_add(&a->lists, 1);
    if (copy)
        lt_http_reply_bytes(req, 200, "application/octet-stream", copy, n);
    else
        lt_http_reply_error(req, &(struct lt_err){LT_E_NOT_FOUND, "no IMA here"}, 0);
}

static void reply_blob(struct mock_agent *a, struct lt_http_req *req)
{
    pthread_mutex_lock(&a->lock);
    size_t n = a->blob_n;
    uint8_t *copy = a->blob ? memcpy(malloc(n + 1), a->blob, n) : NULL;
    int code = a->blob_code ? a->blob_code : LT_E_NOT_FOUND;
    pthread_mutex_unlock(&a->lock);
    if (copy)
        lt_http_reply_bytes(req, 200, "application/octet-stream", copy, n);
    else
        lt_http_reply_error(req, &(struct lt_err){code, "not here"}, 0);
}

static void get_blob(struct lt_http_req *req, void *app)
{
    struct mock_agent *a = app;

    atomic_fetch_add(&a->blobs, 1);
    if (!atomic_load(&a->blob_hang)) {
        reply_blob(a, req);
        return;
    }
    struct mock_wait *w = calloc(1, sizeof *w);
    w->req = req;
    lt_http_req_hold(req);
    pthread_mutex_lock(&a->lock);
    w->next = a->sought;
    a->sought = w;
    pthread_mutex_unlock(&a->lock);
}

void mock_agent_has(struct mock_agent *a, const void *p, size_t n)
{
    pthread_mutex_lock(&a->lock);
    free(a->blob);
    a->blob = p ? memcpy(malloc(n + 1), p, n) : NULL;
    a->blob_n = n;
    pthread_mutex_unlock(&a->lock);
}

void mock_agent_let_go(struct mock_agent *a)
{
    pthread_mutex_lock(&a->lock);
    struct mock_wait *w = lt_take(&a->sought);
    pthread_mutex_unlock(&a->lock);
    for (struct mock_wait *next; w; w = next) {
        next = w->next;
        reply_blob(a, w->req);
        free(w);
    }
}

static void vault(struct lt_http_req *req, struct mock_agent *a, int status)
{
    struct lt_slice body = lt_http_req_body(req);

    pthread_mutex_lock(&a->lock);
    json_decref(a->vault_asked);
    a->vault_asked = body.n ? lt_json_parse((const char *)body.p, body.n, body.n, &err) : NULL;
    int code = a->vault_code;
    pthread_mutex_unlock(&a->lock);
    if (code)
        lt_http_reply_error(req, &(struct lt_err){code, "as the mock was told"}, 0);
    else
        lt_http_reply_json(req, status, json_pack("{s:s}", "state", "open"));
}

static void get_vault(struct lt_http_req *req, void *app)
{
    vault(req, app, 200);
}

static void post_seal(struct lt_http_req *req, void *app)
{
    vault(req, app, 201);
}

#define BASE "/federation/v1/"
static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("GET", BASE "host", LT_PEER_ROLE_PROVIDER, 0, get_host),
    LT_HTTP_ROUTE("POST", BASE "host-quotes", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, post_quote),
    LT_HTTP_ROUTE("POST", BASE "activations", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, post_activation),
    LT_HTTP_ROUTE("GET", BASE "boot-log", LT_PEER_ROLE_PROVIDER, 0, get_boot_log),
    LT_HTTP_ROUTE("GET", BASE "ima", LT_PEER_ROLE_PROVIDER, 0, get_ima),
    LT_HTTP_ROUTE("GET", BASE "openers/{}", LT_PEER_ROLE_PROVIDER, 0, get_blob),
    LT_HTTP_ROUTE("GET", BASE "guests/{}/escrow", LT_PEER_ROLE_PROVIDER, 0, get_blob),
    LT_HTTP_ROUTE("GET", BASE "vault", LT_PEER_ROLE_PROVIDER, 0, get_vault),
    LT_HTTP_ROUTE("POST", BASE "vault/seal", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, post_seal),
    LT_HTTP_ROUTE("POST", BASE "vault/reseal", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, get_vault),
};

void mock_agent_start(struct mock_agent *a, const char *dir, const char *name)
{
    char ca[256];

    pki_path(ca, dir, "ca", "pem");
    pki_path(a->cert, dir, name, "pem");
    pki_path(a->key, dir, name, "key");
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->news, NULL);
    a->first = NULL;
    a->last = &a->first;
    a->stopping = false;
    struct lt_http_server_conf c = {.listen = "127.0.0.1:0",
                                    .cert = a->cert,
                                    .key = a->key,
                                    .client_ca = ca,
                                    .error_body = lt_residency_error,
                                    .routes = routes,
                                    .route_count = sizeof routes / sizeof *routes,
                                    .app = a,
                                    .threads = 1};
    OK(lt_http_server_start(&c, &a->server, &err));
    assert_int_equal(pthread_create(&a->tpm, NULL, tpm_thread, a), 0);
}

const char *mock_agent_address(const struct mock_agent *a)
{
    return lt_http_server_address(a->server);
}

void mock_agent_wake(struct mock_agent *a)
{
    pthread_mutex_lock(&a->lock);
    pthread_cond_signal(&a->news);
    pthread_mutex_unlock(&a->lock);
}

void mock_agent_stop(struct mock_agent *a)
{
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_signal(&a->news);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->tpm, NULL);
    lt_http_server_stop(a->server); /* answers what still waits with 503 */
    a->server = NULL;
    for (struct mock_wait *w = a->first, *next; w; w = next) {
        next = w->next;
        lt_http_reply_empty(w->req, 503);
        free(w);
    }
    mock_agent_let_go(a);
    mock_agent_has(a, NULL, 0);
    json_decref(lt_take(&a->vault_asked));
    pthread_cond_destroy(&a->news);
    pthread_mutex_destroy(&a->lock);
}
