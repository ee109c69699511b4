/* Who a peer is, and one matrix of bad certificates against both TLS stacks: as a client's towards our server
 * (GnuTLS), as a server's towards our client (OpenSSL). */
#include "tests/support/http/http_check.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/pki/identity.h"
#include "common/pki/issue.h"
#include "common/run/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct check_pki pki;

#define TENANT "urn:limetree:tenant:11111111-1111-1111-1111-111111111111"
#define HOST "urn:limetree:host:22222222222222222222222222222222"
#define BOTH "serverAuth,clientAuth"
#define DAY 86400

enum issuer { BY_CA, BY_OTHER_CA, BY_SAME_NAME_CA, BY_LEAF, BY_ITSELF, BY_ADMIN_CA };

struct bad {
    const char *what;
    const char *uris[4];
    const char *eku; /* NULL: no such extension */
    long from, to;   /* days from now; both 0: good */
    enum issuer issuer;
    bool ca, nul, critical;
    bool as_server, as_client; /* must be accepted as such */
};

#define GOOD_URIS                                                                                            \
    {                                                                                                        \
        "urn:limetree:role:tenant", TENANT                                                                   \
    }

static const struct bad matrix[] = {
    {"good", .uris = GOOD_URIS, .eku = BOTH, .as_server = true, .as_client = true},
    {"client only", .uris = GOOD_URIS, .eku = "clientAuth", .as_client = true},
    {"server only", .uris = GOOD_URIS, .eku = "serverAuth", .as_server = true},
    {"no extended key usage", .uris = GOOD_URIS, .eku = NULL, .as_client = true},
    {"wrong extended key usage", .uris = GOOD_URIS, .eku = "codeSigning"},
    {"expired", .uris = GOOD_URIS, .eku = BOTH, .from = -20, .to = -10},
    {"not yet valid", .uris = GOOD_URIS, .eku = BOTH, .from = 10, .to = 20},
    {"another CA", .uris = GOOD_URIS, .eku = BOTH, .issuer = BY_OTHER_CA},
    {"another CA of the same name", .uris = GOOD_URIS, .eku = BOTH, .issuer = BY_SAME_NAME_CA},
    {"self-signed", .uris = GOOD_URIS, .eku = BOTH, .issuer = BY_ITSELF},
    {"a leaf used as CA", .uris = GOOD_URIS, .eku = BOTH, .issuer = BY_LEAF},
    {"a CA used as leaf", .uris = GOOD_URIS, .eku = BOTH, .ca = true},
    {"unknown critical extension", .uris = GOOD_URIS, .eku = BOTH, .critical = true},
    {"no role", .uris = {TENANT}, .eku = BOTH},
    {"no names", .uris = {NULL}, .eku = BOTH},
    {"another role", .uris = {"urn:limetree:role:provider"}, .eku = BOTH},
    {"two roles", .uris = {"urn:limetree:role:tenant", TENANT, "urn:limetree:role:operator"}, .eku = BOTH},
    {"the same role twice", .uris = {"urn:limetree:role:tenant", TENANT, "urn:limetree:role:tenant"},
     .eku = BOTH},
    {"unknown role", .uris = {"urn:limetree:role:root", TENANT}, .eku = BOTH},
    {"a role that only a CA gives", .uris = {"urn:limetree:role:keylime-admin"}, .eku = BOTH},
    {"unknown name", .uris = {"urn:limetree:role:tenant", TENANT, "urn:limetree:admin:yes"}, .eku = BOTH},
    {"bare name", .uris = {"urn:limetree:role:tenant", TENANT, "urn:limetree:"}, .eku = BOTH},
    {"upper case", .uris = {"URN:LIMETREE:ROLE:TENANT", TENANT}, .eku = BOTH},
    {"missing scope", .uris = {"urn:limetree:role:tenant"}, .eku = BOTH},
    {"two tenants",
     .uris = {"urn:limetree:role:tenant", TENANT, "urn:limetree:tenant:33333333-3333-3333-3333-333333333333"},
     .eku = BOTH},
    {"malformed tenant", .uris = {"urn:limetree:role:tenant", "urn:limetree:tenant:1111"}, .eku = BOTH},
    {"host without scope", .uris = {"urn:limetree:role:host"}, .eku = BOTH},
    {"two hosts", .uris = {"urn:limetree:role:tenant", TENANT, HOST, HOST}, .eku = BOTH},
    {"NUL in a name", .uris = GOOD_URIS, .eku = BOTH, .nul = true},
};
#define CASES (sizeof matrix / sizeof *matrix)

static X509 *load_cert(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(x);
    return x;
}

static EVP_PKEY *load_key(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    EVP_PKEY *k = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(k);
    return k;
}

static void add(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(ext);
    assert_int_equal(X509_add_ext(x, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

static void add_uris(X509 *x, const struct bad *b)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    for (int i = 0; i < 4 && b->uris[i]; i++) {
        GENERAL_NAME *gn = GENERAL_NAME_new();
        ASN1_IA5STRING *s = ASN1_IA5STRING_new();
        char text[200];
        int n = snprintf(text, sizeof text, "%s", b->uris[i]);
        if (b->nul && !i)
            n += snprintf(text + n + 1, sizeof text - (size_t)n - 1, ".example") + 1;
        ASN1_STRING_set(s, text, n);
        GENERAL_NAME_set0_value(gn, GEN_URI, s);
        sk_GENERAL_NAME_push(names, gn);
    }
    if (sk_GENERAL_NAME_num(names))
        assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
}

/* Writes DIR/bad.crt (with its issuer behind it, where that is a leaf) and DIR/bad.key. */
static void forge(const struct bad *b, const char *cert_path, const char *key_path)
{
    const char *issuer_name = b->issuer == BY_OTHER_CA       ? "other"
                              : b->issuer == BY_SAME_NAME_CA ? "same"
                              : b->issuer == BY_LEAF         ? "server"
                              : b->issuer == BY_ADMIN_CA     ? "admin-ca"
                                                             : "ca";
    X509 *issuer = load_cert(check_path(&pki, issuer_name, "crt")), *x = X509_new();
    EVP_PKEY *issuer_key = load_key(check_path(&pki, issuer_name, "key")), *key = EVP_EC_gen("P-256");

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 4711);
    X509_gmtime_adj(X509_getm_notBefore(x), b->to ? b->from * DAY : -DAY);
    X509_gmtime_adj(X509_getm_notAfter(x), b->to ? b->to * DAY : 10 * DAY);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"bad", -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(b->issuer == BY_ITSELF ? x : issuer));
    X509_set_pubkey(x, key);
    add(x, NID_basic_constraints, b->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add(x, NID_key_usage, b->ca ? "critical,digitalSignature,keyCertSign" : "critical,digitalSignature");
    if (b->eku)
        add(x, NID_ext_key_usage, b->eku);
    if (b->critical)
        add(x, NID_tlsfeature, "critical,DER:0403010203");
    add_uris(x, b);
    assert_true(X509_sign(x, b->issuer == BY_ITSELF ? key : issuer_key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_path, "w");
    PEM_write_X509(f, x);
    if (b->issuer == BY_LEAF)
        PEM_write_X509(f, issuer);
    fclose(f);
    f = fopen(key_path, "w");
    chmod(key_path, 0600);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    X509_free(issuer);
    EVP_PKEY_free(key);
    EVP_PKEY_free(issuer_key);
}

static void hello(struct lt_http_req *r, void *app)
{
    ++*(int *)app;
    lt_http_reply_empty(r, 200);
}

static struct lt_http_server *serve(const char *cert, const char *key, const struct lt_http_route *route,
                                    int *calls)
{
    struct lt_http_server_conf conf = {.listen = "127.0.0.1:0",
                                       .cert = cert,
                                       .key = key,
                                       .client_ca = pki.ca,
                                       .routes = route,
                                       .route_count = 1,
                                       .app = calls,
                                       .threads = 1};
    struct lt_http_server *s = NULL;
    struct lt_err e = {0};
    if (lt_http_server_start(&conf, &s, &e))
        fail_msg("server: %s", e.msg);
    return s;
}

static struct lt_http_client *client(const char *cert, const char *key, unsigned role)
{
    struct lt_http_client_conf conf = {.cert = cert, .key = key, .ca = pki.ca, .server_role = role};
    struct lt_http_client *c = NULL;
    struct lt_err e = {0};
    if (lt_http_client_new(&conf, &c, &e))
        fail_msg("client: %s", e.msg);
    return c;
}

/* 200, another status, or the (negative) fault of the client. */
static char told[320];

static int get(struct lt_http_client *c, const struct lt_http_server *s)
{
    struct lt_http_reply r = {0};
    struct lt_err e = {0};
    int rc = check_call(c, "GET", lt_http_server_address(s), "/hello", NULL, &r, &e);
    free((char *)r.body);
    memcpy(told, e.msg, sizeof told);
    return rc ? rc : r.status;
}

static const struct lt_http_route for_tenants[] = {
    LT_HTTP_ROUTE("GET", "/hello", LT_PEER_ROLE_TENANT, 0, hello)};
static const struct lt_http_route for_trusted[] = {
    LT_HTTP_ROUTE("GET", "/hello", LT_HTTP_MAY_TRUSTED, 0, hello)};
static const struct lt_http_route for_anyone[] = {
    LT_HTTP_ROUTE("GET", "/hello", LT_HTTP_MAY_ANYONE, 0, hello)};

static void test_matrix_clients(void **state)
{
    int calls = 0, expected = 0;
    struct lt_http_server *s =
        serve(check_path(&pki, "server", "crt"), check_path(&pki, "server", "key"), for_tenants, &calls);
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        const char *cert = check_path(&pki, "bad", "crt"), *key = check_path(&pki, "bad", "key");
        forge(&matrix[i], cert, key);
        struct lt_http_client *c = client(cert, key, LT_PEER_ROLE_PROVIDER);
        int rc = get(c, s);
        bool role_alone = !strcmp(matrix[i].what, "no role") || !strcmp(matrix[i].what, "no names") ||
                          !strcmp(matrix[i].what, "another role");
        expected += matrix[i].as_client;
        if (rc != (matrix[i].as_client ? 200 : role_alone ? 403 : LT_E_UNREACHABLE) || calls != expected)
            fail_msg("%s, as a client: %d, %d calls of %d", matrix[i].what, rc, calls, expected);
        /* The riddle "Empty reply from server" is the one thing that must not be all. */
        if (rc == LT_E_UNREACHABLE &&
            (!strstr(told, "the server refused our certificate") || !strstr(told, cert)))
            fail_msg("%s: the client is not told: %s", matrix[i].what, told);
        lt_http_client_free(c);
    }
    lt_http_server_stop(s);
}

/* Without a role only what is open to every trusted certificate is open; whatever else is bad stays shut out,
 * also where a certificate is not even required. */
static void test_matrix_clients_elsewhere(void **state)
{
    int calls = 0;
    struct lt_http_server *trusted =
        serve(check_path(&pki, "server", "crt"), check_path(&pki, "server", "key"), for_trusted, &calls);
    struct lt_http_server *anyone =
        serve(check_path(&pki, "server", "crt"), check_path(&pki, "server", "key"), for_anyone, &calls);
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        const struct bad *b = &matrix[i];
        bool in = b->as_client || !strcmp(b->what, "no role") || !strcmp(b->what, "no names") ||
                  !strcmp(b->what, "another role");
        const char *cert = check_path(&pki, "bad", "crt"), *key = check_path(&pki, "bad", "key");
        forge(b, cert, key);
        struct lt_http_client *c = client(cert, key, LT_PEER_ROLE_PROVIDER);
        int want = in ? 200 : LT_E_UNREACHABLE;
        if (get(c, trusted) != want || get(c, anyone) != want)
            fail_msg("%s: %d expected", b->what, want);
        lt_http_client_free(c);
    }
    struct lt_http_client *nobody = client(NULL, NULL, LT_PEER_ROLE_PROVIDER);
    assert_int_equal(get(nobody, trusted), LT_E_UNREACHABLE);
    assert_int_equal(get(nobody, anyone), 200);
    lt_http_client_free(nobody);
    lt_http_server_stop(trusted);
    lt_http_server_stop(anyone);
}

/* ---- the admin of Keylime's API: whom another CA makes ---- */

static const struct lt_http_route by_admin[] = {
    LT_HTTP_ROUTE("GET", "/anyone", LT_HTTP_MAY_ANYONE, 0, hello),
    LT_HTTP_ROUTE("GET", "/trusted", LT_HTTP_MAY_TRUSTED, 0, hello),
    LT_HTTP_ROUTE("GET", "/all", LT_HTTP_MAY_TRUSTED | LT_PEER_ROLE_KEYLIME_ADMIN, 0, hello),
    LT_HTTP_ROUTE("GET", "/roles", 0xf, 0, hello),
    LT_HTTP_ROUTE("GET", "/operator", LT_PEER_ROLE_OPERATOR, 0, hello),
    LT_HTTP_ROUTE("GET", "/both", LT_PEER_ROLE_OPERATOR | LT_PEER_ROLE_KEYLIME_ADMIN, 0, hello),
    LT_HTTP_ROUTE("GET", "/admin", LT_PEER_ROLE_KEYLIME_ADMIN, 0, hello),
};
#define BY_ADMIN (sizeof by_admin / sizeof *by_admin)

/* Without /anyone a certificate is asked for in the handshake. */
static struct lt_http_server *serve_admin(bool anyone, const char *admin_ca, int *calls, struct lt_err *e)
{
    struct lt_http_server_conf conf = {.listen = "127.0.0.1:0",
                                       .cert = check_path(&pki, "server", "crt"),
                                       .key = check_path(&pki, "server", "key"),
                                       .client_ca = pki.ca,
                                       .keylime_admin_ca = admin_ca,
                                       .routes = by_admin + !anyone,
                                       .route_count = BY_ADMIN - !anyone,
                                       .app = calls,
                                       .threads = 1};
    struct lt_http_server *s = NULL;
    return lt_http_server_start(&conf, &s, e) ? NULL : s;
}

static void check_who(const struct lt_http_server *s, const char *who, const int *want, size_t from)
{
    struct lt_http_client *c = check_client(&pki, who);

    for (size_t i = from; i < BY_ADMIN; i++) {
        struct lt_http_reply r = {0};
        struct lt_err e = {0};
        int rc = check_call(c, "GET", lt_http_server_address(s), by_admin[i].path, NULL, &r, &e);
        free((char *)r.body);
        if ((rc ? rc : r.status) != want[i])
            fail_msg("%s as %s: %d %s, status %d; %d expected", by_admin[i].path, who ? who : "nobody", rc,
                     e.msg, r.status, want[i]);
    }
    lt_http_client_free(c);
}

static void test_keylime_admin(void **state)
{
    enum { SHUT = LT_E_UNREACHABLE };
    static const struct {
        const char *who;
        int want[BY_ADMIN];
    } table[] = {
        {NULL, {200, 401, 401, 401, 401, 401, 401}},
        {"keylime-admin", {200, 403, 200, 403, 403, 200, 200}},
        {"operator", {200, 200, 200, 200, 200, 200, 403}},
        {"tenant", {200, 200, 200, 200, 403, 403, 403}},
        {"none", {200, 200, 200, 403, 403, 403, 403}},
        {"stranger", {SHUT, SHUT, SHUT, SHUT, SHUT, SHUT, SHUT}},
    };
    int calls = 0;
    struct lt_err e = {0};
    struct lt_http_server *open = serve_admin(true, pki.admin_ca, &calls, &e),
                          *shut = serve_admin(false, pki.admin_ca, &calls, &e),
                          *without = serve_admin(true, NULL, &calls, &e);
    (void)state;

    assert_true(open && shut && without);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        check_who(open, table[i].who, table[i].want, 0);
        if (table[i].who)
            check_who(shut, table[i].who, table[i].want, 1);
    }
    check_who(shut, NULL, table[5].want, 1);
    check_who(without, "keylime-admin", table[5].want, 0);
    check_routes_are_closed(&pki, lt_http_server_address(open), by_admin, BY_ADMIN);
    check_routes_are_closed(&pki, lt_http_server_address(shut), by_admin + 1, BY_ADMIN - 1);
    lt_http_server_stop(open);
    lt_http_server_stop(shut);
    lt_http_server_stop(without);
}

/* That CA gives no roles: what names one under it is refused, and what is bad elsewhere is bad here. */
static void test_keylime_admin_matrix(void **state)
{
    int calls = 0;
    struct lt_err e = {0};
    struct lt_http_server *s = serve_admin(true, pki.admin_ca, &calls, &e);
    (void)state;

    assert_non_null(s);
    for (size_t i = 0; i < CASES; i++) {
        struct bad b = matrix[i];
        if (b.issuer == BY_CA)
            b.issuer = BY_ADMIN_CA;
        for (int bare = 0; bare < 2; bare++) {
            if (bare)
                b.uris[0] = NULL;
            bool in = !b.uris[0] && !b.ca && !b.critical && !b.to && b.issuer == BY_ADMIN_CA &&
                      (!b.eku || strstr(b.eku, "clientAuth"));
            forge(&b, check_path(&pki, "bad", "crt"), check_path(&pki, "bad", "key"));
            struct lt_http_reply r = {0};
            struct lt_http_client *c = check_client(&pki, "bad");
            int rc = check_call(c, "GET", lt_http_server_address(s), "/admin", NULL, &r, &e);
            free((char *)r.body);
            if (in ? rc || r.status != 200 : rc != LT_E_UNREACHABLE)
                fail_msg("%s%s: %d, status %d", b.what, bare ? ", without names" : "", rc, r.status);
            lt_http_client_free(c);
        }
    }
    lt_http_server_stop(s);
}

static void test_keylime_admin_starts(void **state)
{
    struct lt_err e = {0};
    int calls = 0;
    (void)state;

    assert_null(serve_admin(true, check_path(&pki, "operator", "key"), &calls, &e));
    assert_int_equal(e.code, LT_E_CONFIG);
    assert_null(serve_admin(true, "/nonexistent", &calls, &e));
    const struct lt_http_server_conf conf = {
        .listen = "127.0.0.1:0", .keylime_admin_ca = pki.admin_ca, .routes = for_anyone, .route_count = 1};
    struct lt_http_server *s;
    assert_int_equal(lt_http_server_start(&conf, &s, &e), LT_E_CONFIG);
    assert_int_equal(lt_identity_check_apart("keylime_admin_ca", pki.admin_ca, "ca", pki.ca, &e), 0);
    assert_int_equal(lt_identity_check_apart("keylime_admin_ca", pki.ca, "ca", pki.ca, &e), LT_E_CONFIG);
    assert_non_null(strstr(e.msg, "keylime_admin_ca = "));
}

static void test_matrix_servers(void **state)
{
    struct lt_http_client *c =
        client(check_path(&pki, "tenant", "crt"), check_path(&pki, "tenant", "key"), LT_PEER_ROLE_TENANT);
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        int calls = 0;
        const char *cert = check_path(&pki, "bad", "crt"), *key = check_path(&pki, "bad", "key");
        forge(&matrix[i], cert, key);
        struct lt_http_server *s = serve(cert, key, for_tenants, &calls);
        int rc = get(c, s);
        if (rc == LT_E_UNAUTHENTICATED && !strstr(told, "certificate: "))
            fail_msg("%s: the reason is not told: %s", matrix[i].what, told);
        if (rc != (matrix[i].as_server ? 200 : LT_E_UNAUTHENTICATED) || calls != matrix[i].as_server)
            fail_msg("%s, as a server: %d, %d calls", matrix[i].what, rc, calls);
        lt_http_server_stop(s);
    }
    lt_http_client_free(c);
}

/* The same matrix before a start: what the stacks would refuse is a sentence with key, file and remedy. */
static void test_matrix_starts(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        const char *cert = check_path(&pki, "bad", "crt"), *key = check_path(&pki, "bad", "key");
        forge(&matrix[i], cert, key);
        for (int serve_it = 0; serve_it < 2; serve_it++) {
            const struct lt_identity mine = {.cert_key = "cert",
                                             .cert = cert,
                                             .key_key = "key",
                                             .key = key,
                                             .ca_key = "ca",
                                             .ca = pki.ca,
                                             .role = LT_PEER_ROLE_TENANT,
                                             .serve = serve_it,
                                             .call = !serve_it,
                                             .remedy = "issue it"};
            bool want = serve_it ? matrix[i].as_server : matrix[i].as_client;
            struct lt_err e = {0};
            int rc = lt_identity_check(&mine, &e);
            if ((rc == 0) != want ||
                (rc && (rc != LT_E_CONFIG || !strstr(e.msg, cert) || !strstr(e.msg, "issue it"))))
                fail_msg("%s as a %s: %d %s", matrix[i].what, serve_it ? "server" : "client", rc, e.msg);
        }
    }
}

static int check_mine(struct lt_identity mine, const char *says)
{
    struct lt_err e = {0};
    int rc = lt_identity_check(&mine, &e);

    if (rc && !strstr(e.msg, says))
        fail_msg("no \"%s\" in: %s", says, e.msg);
    return rc;
}

static void test_identities(void **state)
{
    static const uint8_t other[16] = {1};
    const char *crt = check_path(&pki, "tenant", "crt"), *key = check_path(&pki, "tenant", "key");
    const struct lt_identity good = {.cert_key = "federation_cert",
                                     .cert = crt,
                                     .key_key = "federation_key",
                                     .key = key,
                                     .ca_key = "federation_ca",
                                     .ca = pki.ca,
                                     .role = LT_PEER_ROLE_TENANT,
                                     .call = true,
                                     .tenant_id = pki.tenant_id,
                                     .remedy = "issue it"};
    struct lt_identity i = good;
    char old[128];
    (void)state;

    assert_int_equal(check_mine(good, ""), 0);
    i.tenant_id = other;
    assert_int_equal(check_mine(i, "this one is 01000000-0000-0000-0000-000000000000; issue the right one"),
                     LT_E_CONFIG);
    i = good;
    i.host_id = other;
    assert_int_equal(check_mine(i, "for host none, this one is 01000000"), LT_E_CONFIG);
    i = good;
    i.role = LT_PEER_ROLE_PROVIDER;
    assert_int_equal(check_mine(i, "its role is tenant, provider is needed here"), LT_E_CONFIG);
    i = good;
    i.key = pki.ca_key;
    assert_int_equal(check_mine(i, "federation_key = "), LT_E_CONFIG);
    assert_int_equal(chmod(key, 0640), 0);
    assert_int_equal(check_mine(good, "chmod 600"), LT_E_CONFIG);
    assert_int_equal(chmod(key, 0600), 0);
    i = good;
    i.cert = "/nonexistent.crt";
    assert_int_equal(check_mine(i, "federation_cert = /nonexistent.crt: open: No such file"), LT_E_IO);
    i.cert = key;
    assert_int_equal(check_mine(i, "no certificate in PEM"), LT_E_CONFIG);
    i = good;
    i.ca = check_path(&pki, "other", "crt");
    assert_int_equal(check_mine(i, "not under federation_ca = "), LT_E_CONFIG);
    i.ca = crt;
    assert_int_equal(check_mine(i, "not a CA's certificate"), LT_E_CONFIG);
    /* A CA whose days are over says so itself. */
    const struct bad expired = {"expired CA", .ca = true, .from = -20, .to = -10, .issuer = BY_ITSELF};
    snprintf(old, sizeof old, "%s/old-ca.crt", pki.dir);
    forge(&expired, old, check_path(&pki, "bad", "key"));
    i.ca = old;
    assert_int_equal(check_mine(i, "old-ca.crt (CN = bad): expired on "), LT_E_CONFIG);
    struct lt_err e = {0};
    assert_int_equal(lt_identity_check_ca("client_ca", old, &e), LT_E_CONFIG);
    assert_non_null(strstr(e.msg, "client_ca = "));
    assert_int_equal(lt_identity_check_ca("client_ca", pki.ca, &e), 0);
}

/* A bare OpenSSL client, at one version of TLS: what the server answers, or "" if it lets nobody in. */
static void bare_client(const char *address, int version, const char *name, char *out, size_t n)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char text[64];
    int got = 0;

    SSL_CTX_set_security_level(ctx, 0); /* the server is to refuse, not we */
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    if (name) {
        assert_int_equal(SSL_CTX_use_certificate_file(ctx, check_path(&pki, name, "crt"), SSL_FILETYPE_PEM),
                         1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, check_path(&pki, name, "key"), SSL_FILETYPE_PEM),
                         1);
    }
    BIO *b = BIO_new_ssl_connect(ctx);
    snprintf(text, sizeof text, "%s", address);
    BIO_set_conn_hostname(b, text);
    if (BIO_do_connect(b) == 1 && BIO_do_handshake(b) == 1 &&
        BIO_puts(b, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") > 0)
        got = BIO_read(b, out, (int)n - 1);
    out[got > 0 ? got : 0] = 0;
    BIO_free_all(b);
    SSL_CTX_free(ctx);
}

static void test_versions(void **state)
{
    static const struct {
        int version;
        const char *name, *reply;
    } cases[] = {
        {TLS1_3_VERSION, "tenant", "HTTP/1.1 200"},
        {TLS1_2_VERSION, "tenant", "HTTP/1.1 200"},
        {TLS1_1_VERSION, "tenant", ""},
        {TLS1_VERSION, "tenant", ""},
        {TLS1_3_VERSION, NULL, ""},
        {TLS1_2_VERSION, NULL, ""},
        {TLS1_3_VERSION, "foreign", ""},
        {TLS1_2_VERSION, "foreign", ""},
        {TLS1_3_VERSION, "none", "HTTP/1.1 403"},
        {TLS1_2_VERSION, "none", "HTTP/1.1 403"},
    };
    const struct bad foreign = {"foreign", .uris = GOOD_URIS, .eku = BOTH, .issuer = BY_OTHER_CA};
    int calls = 0;
    struct lt_http_server *s =
        serve(check_path(&pki, "server", "crt"), check_path(&pki, "server", "key"), for_tenants, &calls);
    (void)state;
    forge(&foreign, check_path(&pki, "foreign", "crt"), check_path(&pki, "foreign", "key"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reply[1024];
        bare_client(lt_http_server_address(s), cases[i].version, cases[i].name, reply, sizeof reply);
        if (strncmp(reply, cases[i].reply, strlen(cases[i].reply)) || !*cases[i].reply != !*reply)
            fail_msg("version %x as %s: \"%s\"", (unsigned)cases[i].version,
                     cases[i].name ? cases[i].name : "nobody", reply);
    }
    assert_int_equal(calls, 2);
    lt_http_server_stop(s);
}

static size_t der_of(const char *path, uint8_t **der)
{
    X509 *x = load_cert(path);
    *der = NULL;
    int n = i2d_X509(x, der);
    X509_free(x);
    assert_true(n > 0);
    return (size_t)n;
}

static void test_peer(void **state)
{
    uint8_t *der, print[32];
    size_t n = der_of(check_path(&pki, "tenant", "crt"), &der);
    struct lt_peer p;
    struct lt_err e = {0};
    (void)state;

    assert_int_equal(lt_peer_from_der(der, n, &p, &e), 0);
    assert_int_equal(p.roles, LT_PEER_ROLE_TENANT);
    assert_true(p.has_tenant && !p.has_host && p.may_call && !p.may_serve);
    assert_memory_equal(p.tenant_id, pki.tenant_id, 16);
    assert_true(p.not_after > lt_clock_wall_s() && p.not_after < lt_clock_wall_s() + (CHECK_DAYS + 1) * DAY);
    lt_sha256(der, n, print);
    assert_memory_equal(p.fingerprint, print, 32);
    OPENSSL_free(der);

    n = der_of(check_path(&pki, "host", "crt"), &der);
    assert_int_equal(lt_peer_from_der(der, n, &p, &e), 0);
    assert_int_equal(p.roles, LT_PEER_ROLE_HOST);
    assert_memory_equal(p.host_id, pki.host_id, 16);
    OPENSSL_free(der);
    for (unsigned bit = 1; bit < 0x100; bit <<= 1)
        assert_int_equal(lt_peer_role_by_name(lt_peer_role_name(bit)),
                         bit <= LT_PEER_ROLE_OPERATOR ? bit : 0);
    assert_string_equal(lt_peer_role_name(LT_PEER_ROLE_KEYLIME_ADMIN), "keylime-admin");
    assert_int_equal(lt_peer_role_by_name("keylime-admin"), 0);
    assert_null(lt_peer_role_name(LT_PEER_ROLE_TENANT | LT_PEER_ROLE_HOST));
    assert_int_equal(lt_peer_role_by_name("TENANT"), 0);
}

/* Every prefix is refused; with any bit turned there is either a refusal, or a value that is not more than
 * what the text says: one role with its scope. (Signatures are the stack's business.) */
static void test_peer_every_prefix_every_bit(void **state)
{
    uint8_t *der;
    size_t n = der_of(check_path(&pki, "tenant", "crt"), &der);
    struct lt_peer p;
    struct lt_err e = {0};
    (void)state;

    for (size_t i = 0; i < n; i++) {
        LT_AUTOFREE uint8_t *copy = malloc(i ? i : 1);
        memcpy(copy, der, i);
        assert_int_equal(lt_peer_from_der(copy, i, &p, &e), LT_E_UNAUTHENTICATED);
        assert_int_equal(p.roles, 0);
    }
    LT_AUTOFREE uint8_t *longer = calloc(1, n + 1);
    memcpy(longer, der, n);
    assert_int_equal(lt_peer_from_der(longer, n + 1, &p, &e), LT_E_UNAUTHENTICATED);
    for (size_t i = 0; i < n * 8; i++) {
        der[i / 8] ^= (uint8_t)(1 << i % 8);
        int rc = lt_peer_from_der(der, n, &p, &e);
        assert_true(rc == 0 || rc == LT_E_UNAUTHENTICATED);
        if (!rc && p.roles)
            assert_true(p.roles == LT_PEER_ROLE_TENANT && p.has_tenant);
        if (rc)
            assert_int_equal(p.roles, 0);
        der[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    OPENSSL_free(der);
}

static void test_pki_rules(void **state)
{
    const char *const bad_names[] = {"a,URI:urn:limetree:role:operator", NULL}, *const spaced[] = {"a b",
                                                                                                   NULL};
    const char *cert = check_path(&pki, "new", "crt"), *key = check_path(&pki, "new", "key");
    struct lt_pki_subject s = {.common_name = "x", .role = LT_PEER_ROLE_OPERATOR, .client = true, .days = 1};
    struct lt_err e = {0};
    struct stat st;
    (void)state;

    s.role = LT_PEER_ROLE_TENANT; /* without its scope */
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_USAGE);
    s.role = LT_PEER_ROLE_TENANT | LT_PEER_ROLE_HOST;
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_USAGE);
    s.role = LT_PEER_ROLE_OPERATOR;
    s.names = bad_names;
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_USAGE);
    s.names = spaced;
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_USAGE);
    s.names = NULL;
    s.days = 0;
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_USAGE);
    s.days = 1;
    s.common_name = "";
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_USAGE);
    s.common_name = "x";
    /* A leaf is no CA; a key that others can read is not read. */
    assert_int_equal(
        lt_pki_issue(check_path(&pki, "server", "crt"), check_path(&pki, "server", "key"), &s, cert, key, &e),
        LT_E_CONFIG);
    assert_int_equal(lt_pki_issue(pki.ca, check_path(&pki, "other", "key"), &s, cert, key, &e), LT_E_CONFIG);
    assert_int_equal(chmod(pki.ca_key, 0640), 0);
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_CONFIG);
    assert_int_equal(chmod(pki.ca_key, 0600), 0);
    assert_int_equal(access(cert, F_OK), -1);
    assert_int_equal(access(key, F_OK), -1);

    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), 0);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_CONFLICT);
    assert_non_null(strstr(e.msg, cert));
    /* Neither or both: a key in the way leaves no certificate. */
    assert_int_equal(unlink(cert), 0);
    assert_int_equal(lt_pki_issue(pki.ca, pki.ca_key, &s, cert, key, &e), LT_E_CONFLICT);
    assert_non_null(strstr(e.msg, key));
    assert_int_equal(access(cert, F_OK), -1);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(lt_pki_make_ca(pki.ca, pki.ca_key, "again", 1, &e), LT_E_CONFLICT);
}

static void test_pki_certificates(void **state)
{
    X509 *ca = load_cert(pki.ca), *leaf = load_cert(check_path(&pki, "server", "crt"));
    (void)state;

    assert_int_equal(X509_check_ca(ca), 1);
    assert_int_equal(X509_get_pathlen(ca), 0);
    assert_true(X509_get_extension_flags(ca) & EXFLAG_SS);
    assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_check_ca(leaf), 0);
    assert_int_equal(X509_check_issued(ca, leaf), X509_V_OK);
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(ca), X509_get0_authority_key_id(leaf)),
                     0);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(leaf)), 16);
    assert_int_equal(X509_check_ip_asc(leaf, "127.0.0.1", 0), 1);
    time_t now = time(NULL), early = now - 200, late = now - 400;
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(leaf), &early), -1);
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(leaf), &late), 1);
    X509_free(ca);
    X509_free(leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_peer_every_prefix_every_bit),
        cmocka_unit_test(test_pki_rules),
        cmocka_unit_test(test_pki_certificates),
        cmocka_unit_test(test_matrix_clients),
        cmocka_unit_test(test_matrix_clients_elsewhere),
        cmocka_unit_test(test_keylime_admin),
        cmocka_unit_test(test_keylime_admin_matrix),
        cmocka_unit_test(test_keylime_admin_starts),
        cmocka_unit_test(test_matrix_servers),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_matrix_starts),
        cmocka_unit_test(test_identities),
    };
    struct lt_err e = {0};
    signal(SIGPIPE, SIG_IGN); /* the bare client's */
    check_pki_make(&pki);
    if (lt_pki_make_ca(check_path(&pki, "other", "crt"), check_path(&pki, "other", "key"), "other CA", 30,
                       &e) ||
        lt_pki_make_ca(check_path(&pki, "same", "crt"), check_path(&pki, "same", "key"), "test CA", 30, &e))
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    check_pki_remove(&pki);
    return rc;
}
