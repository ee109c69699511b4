/* Lists of revoked certificates, in files and in both TLS stacks, on new connections and on kept ones; what
 * runs out; and what is logged of refused handshakes. */
#include "tests/support/http/http_check.h"

#include "common/file.h"
#include "common/pki/crl.h"
#include "common/pki/issue.h"
#include "common/run/clock.h"
#include "common/run/expiry.h"
#include "common/run/log.h"
#include "tests/support/unit.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <unistd.h>

static struct check_pki pki;
static char list_path[128], log_path[128];

static void hello(struct lt_http_req *r, void *app)
{
    (void)app;
    lt_http_reply_json(r, 200, json_pack("{ss}", "who", "me"));
}

static const struct lt_http_route routes[] = {LT_HTTP_ROUTE("GET", "/hello", LT_HTTP_MAY_TRUSTED, 0, hello)};

static void put_on_list(const char *name, int days)
{
    OK(lt_pki_revoke(pki.ca, pki.ca_key, name ? check_path(&pki, name, "crt") : NULL, list_path, days, &err));
}

static struct lt_http_server *serve(struct lt_crl *crl)
{
    const struct lt_http_server_conf conf = {.listen = "127.0.0.1:0",
                                             .cert = check_path(&pki, "server", "crt"),
                                             .key = check_path(&pki, "server", "key"),
                                             .client_ca = pki.ca,
                                             .crl = crl,
                                             .routes = routes,
                                             .route_count = 1,
                                             .threads = 1};
    struct lt_http_server *s = NULL;
    OK(lt_http_server_start(&conf, &s, &err));
    return s;
}

static struct lt_http_client *client(const char *name, struct lt_crl *crl)
{
    const struct lt_http_client_conf conf = {.cert = check_path(&pki, name, "crt"),
                                             .key = check_path(&pki, name, "key"),
                                             .ca = pki.ca,
                                             .crl = crl};
    struct lt_http_client *c = NULL;
    OK(lt_http_client_new(&conf, &c, &err));
    return c;
}

/* The status, or the client's fault, whose message is in err. */
static int get(struct lt_http_client *c, const struct lt_http_server *s)
{
    struct lt_http_reply r = {0};

    err = (struct lt_err){0};
    int rc = check_call(c, "GET", lt_http_server_address(s), "/hello", NULL, &r, &err);
    free((char *)r.body);
    return rc ? rc : r.status;
}

static struct lt_crl *open_list(void)
{
    struct lt_crl *c = NULL;
    OK(lt_crl_open("crl", list_path, pki.ca, &c, &err));
    return c;
}

static void clients(void **state)
{
    (void)state;
    unlink(list_path);
    put_on_list("host", 30);
    struct lt_crl *crl = open_list();
    struct lt_http_server *s = serve(crl);
    struct lt_http_client *host = client("host", NULL), *tenant = client("tenant", NULL),
                          *other = client("operator", NULL);

    assert_int_equal(get(host, s), LT_E_UNREACHABLE);
    if (!strstr(err.msg, "the server refused our certificate"))
        fail_msg("%s", err.msg);
    assert_int_equal(get(tenant, s), 200);
    assert_int_equal(get(other, s), 200);
    /* Read anew: the kept connection of the one that is revoked now ends, the others' go on. */
    put_on_list("tenant", 30);
    unsigned before = lt_crl_generation(crl);
    OK(lt_crl_reload(crl, &err));
    assert_int_equal(lt_crl_generation(crl), before + 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(get(tenant, s), 401); /* and stays so */
    assert_int_equal(get(other, s), 200);
    struct lt_http_client *again = client("tenant", NULL);
    assert_int_equal(get(again, s), LT_E_UNREACHABLE);
    assert_int_equal(get(host, s), LT_E_UNREACHABLE); /* what was on the list stays on it */
    lt_http_client_free(again);
    lt_http_client_free(host);
    lt_http_client_free(tenant);
    lt_http_client_free(other);
    lt_http_server_stop(s);
    lt_crl_free(crl);
}

static void servers(void **state)
{
    (void)state;
    unlink(list_path);
    put_on_list(NULL, 30); /* an empty one */
    struct lt_crl *crl = open_list();
    struct lt_http_server *s = serve(NULL);
    struct lt_http_client *c = client("tenant", crl), *without = client("tenant", NULL);

    assert_int_equal(get(c, s), 200);
    put_on_list("server", 30);
    OK(lt_crl_reload(crl, &err));
    assert_int_equal(get(c, s), LT_E_UNAUTHENTICATED); /* on the kept connection */
    assert_non_null(strstr(err.msg, "revoked"));
    struct lt_http_client *again = client("tenant", crl);
    assert_int_equal(get(again, s), LT_E_UNAUTHENTICATED);
    assert_non_null(strstr(err.msg, "server certificate: revoked by its CA"));
    assert_non_null(strstr(err.msg, "(it is \"CN = server\")"));
    assert_int_equal(get(without, s), 200);
    lt_http_client_free(again);
    lt_http_client_free(c);
    lt_http_client_free(without);
    lt_http_server_stop(s);
    lt_crl_free(crl);
}

static void write_list(const void *p, size_t n)
{
    OK(lt_file_write(list_path, p, n, 0600, &err));
}

static X509_CRL *read_list(void)
{
    FILE *f = fopen(list_path, "r");
    X509_CRL *l = PEM_read_X509_CRL(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(l);
    return l;
}

/* A list with one more extension, signed again; from: seconds from now. */
static void forge_list(int nid, const char *value, long from)
{
    unlink(list_path);
    put_on_list(NULL, 30);
    X509_CRL *l = read_list();
    FILE *f = fopen(pki.ca_key, "r");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);

    fclose(f);
    if (nid) {
        X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
        assert_non_null(x);
        assert_int_equal(X509_CRL_add_ext(l, x, -1), 1);
        X509_EXTENSION_free(x);
    }
    ASN1_TIME *t = X509_gmtime_adj(NULL, from);
    X509_CRL_set1_lastUpdate(l, t);
    ASN1_TIME_free(t);
    assert_true(X509_CRL_sign(l, key, EVP_sha256()) > 0);
    f = fopen(list_path, "w");
    PEM_write_X509_CRL(f, l);
    fclose(f);
    EVP_PKEY_free(key);
    X509_CRL_free(l);
}

#define REFUSED(says)                                                                                        \
    do {                                                                                                     \
        struct lt_crl *none_ = NULL;                                                                         \
        FAILS(LT_E_CONFIG, lt_crl_open("crl", list_path, pki.ca, &none_, &err));                             \
        if (none_ || !strstr(err.msg, says) || !strstr(err.msg, "crl = "))                                   \
            fail_msg("no \"%s\" in: %s", says, err.msg);                                                     \
    } while (0)

static void files(void **state)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    uint8_t *der = NULL;
    struct lt_crl *c;
    size_t n;

    (void)state;
    unlink(list_path);
    REFUSED("No such file");
    write_list("", 0);
    REFUSED("not lists of revoked certificates");
    write_list("hello", 5);
    REFUSED("not lists of revoked certificates");
    OK(lt_file_read(pki.ca, 1 << 16, &pem, &n, &err));
    write_list(pem, n);
    REFUSED("not lists of revoked certificates");
    forge_list(NID_delta_crl, "critical,DER:020101", -60);
    REFUSED("a partial list");
    forge_list(NID_issuing_distribution_point, "critical,DER:30038101FF", -60);
    REFUSED("a partial list");
    forge_list(0, NULL, 3600);
    REFUSED("of a time to come");
    unlink(list_path);
    put_on_list(NULL, -1);
    REFUSED("out of date: the next one was due on ");
    unlink(list_path);
    OK(lt_pki_revoke(check_path(&pki, "other", "crt"), check_path(&pki, "other", "key"), NULL, list_path, 30,
                     &err));
    REFUSED("none is there");
    unlink(list_path);
    OK(lt_pki_revoke(check_path(&pki, "same", "crt"), check_path(&pki, "same", "key"), NULL, list_path, 30,
                     &err));
    REFUSED("not signed by that CA");
    /* Cut short behind a good one: nothing is let pass in silence. */
    unlink(list_path);
    put_on_list(NULL, 30);
    free(lt_take(&pem));
    OK(lt_file_read(list_path, 1 << 16, &pem, &n, &err));
    LT_AUTOBUF struct lt_buf two = LT_BUF(1 << 16);
    lt_buf_put(&two, pem, n);
    lt_buf_put(&two, pem, n - 40);
    write_list(two.p, two.n);
    REFUSED("not lists of revoked certificates");
    /* DER, as most CAs publish theirs. */
    write_list(pem, n);
    X509_CRL *l = read_list();
    int der_n = i2d_X509_CRL(l, &der);
    X509_CRL_free(l);
    write_list(der, (size_t)der_n);
    OK(lt_crl_open("crl", list_path, pki.ca, &c, &err));
    lt_crl_free(c);
    OPENSSL_free(der);
}

static void a_failed_reload(void **state)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    uint8_t *der = NULL;
    size_t n;

    (void)state;
    unlink(list_path);
    put_on_list("host", 30);
    struct lt_crl *crl = open_list();
    FILE *f = fopen(check_path(&pki, "host", "crt"), "r");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    n = (size_t)i2d_X509(x, &der);
    FAILS(LT_E_UNAUTHENTICATED, lt_crl_check(crl, der, n, &err));
    unsigned before = lt_crl_generation(crl);
    write_list("hello", 5);
    FAILS(LT_E_CONFIG, lt_crl_reload(crl, &err));
    assert_int_equal(lt_crl_generation(crl), before);
    FAILS(LT_E_UNAUTHENTICATED, lt_crl_check(crl, der, n, &err)); /* the one of before stays in force */
    OK(lt_crl_check(NULL, der, n, &err));
    FAILS(LT_E_UNAUTHENTICATED, lt_crl_check(crl, der, n - 1, &err));
    OPENSSL_free(der);
    X509_free(x);
    lt_crl_free(crl);
}

static void who_may_revoke(void **state)
{
    (void)state;
    unlink(list_path);
    FAILS(LT_E_CONFIG, lt_pki_revoke(pki.ca, check_path(&pki, "other", "key"), NULL, list_path, 30, &err));
    FAILS(LT_E_CONFIG, lt_pki_revoke(check_path(&pki, "server", "crt"), check_path(&pki, "server", "key"),
                                     NULL, list_path, 30, &err));
    FAILS(LT_E_REFUSED, lt_pki_revoke(check_path(&pki, "other", "crt"), check_path(&pki, "other", "key"),
                                      check_path(&pki, "host", "crt"), list_path, 30, &err));
    write_list("hello", 5);
    FAILS(LT_E_CONFIG,
          lt_pki_revoke(pki.ca, pki.ca_key, NULL, list_path, 30, &err)); /* nothing is overwritten */
    assert_non_null(strstr(err.msg, list_path));
    unlink(list_path);
    put_on_list("host", 30);
    put_on_list("host", 30); /* twice is once */
    X509_CRL *l = read_list();
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(l)), 1);
    X509_CRL_free(l);
}

static unsigned lines(const char *needle)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;
    unsigned count = 0;

    OK(lt_file_read(log_path, 1 << 20, &text, &n, &err));
    for (const char *at = (char *)text; (at = strstr(at, needle)); at++)
        count++;
    return count;
}

static void open_log(void)
{
    unlink(log_path);
    OK(lt_log_open("test", log_path, LT_LOG_WARNING, &err));
}

static void expiry(void **state)
{
    const int64_t now = 1800000000, day = 86400; /* 2027-01-15 */
    (void)state;

    open_log();
    lt_expiry_forget("crl");
    assert_int_equal(lt_expiry_warn(now), 0);
    lt_expiry_add("cert", "/a.crt", "CN = a", now + 31 * day, LT_EXPIRY_CERTIFICATE_S);
    lt_expiry_add("ca", "/b.crt", "CN = b", now + 29 * day, LT_EXPIRY_CERTIFICATE_S);
    lt_expiry_add("roots", "/c.pem", "CN = c", now - day, LT_EXPIRY_CERTIFICATE_S);
    lt_expiry_add("crl", "/d.crl", "CN = d", now + 3 * day, LT_EXPIRY_CRL_S);
    lt_expiry_add("never", "/e.crt", "CN = e", INT64_MAX, LT_EXPIRY_CERTIFICATE_S);
    assert_int_equal(lt_expiry_warn(now), 2);
    assert_int_equal(lines("ca = /b.crt (CN = b): runs out on 2027-02-13, in 29 days"), 1);
    assert_int_equal(lines("roots = /c.pem (CN = c): ran out on 2027-01-14"), 1);
    assert_int_equal(lines("\"level\":\"error\",\"program\":\"test\",\"event\":\"expired\""), 1);
    assert_int_equal(lt_expiry_warn(now + day), 4);
    lt_expiry_forget("roots");
    assert_int_equal(lt_expiry_warn(now + day), 3);
    for (int i = 0; i < 100; i++)
        lt_expiry_add("roots", "/r.pem", "CN = r", now - i, LT_EXPIRY_CERTIFICATE_S);
    open_log();
    assert_int_equal(lt_expiry_warn(now), 101);
    assert_int_equal(lines("\"event\":\"expire"), LT_EXPIRY_LINES + 1);
    assert_int_equal(lines("61 more run out"), 1);
    static const char *const all[] = {"cert", "ca", "roots", "crl", "never"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        lt_expiry_forget(all[i]);
    assert_int_equal(lt_expiry_warn(INT64_MAX / 2), 0);
    /* A list is on it by itself, under the word of its configuration. */
    unlink(list_path);
    put_on_list(NULL, 30);
    struct lt_crl *crl = open_list();
    assert_int_equal(lt_expiry_warn(lt_clock_wall_s()), 0);
    assert_int_equal(lt_expiry_warn(lt_clock_wall_s() + 29 * day), 1);
    lt_crl_free(crl);
    lt_expiry_forget("crl");
}

/* Address, subject and reason, and never more lines than their share. */
static void refusals(void **state)
{
    (void)state;
    open_log();
    struct lt_http_server *s = serve(NULL);
    for (int i = 0; i < 20; i++) {
        const struct lt_http_client_conf conf = {.cert = check_path(&pki, "foreign", "crt"),
                                                 .key = check_path(&pki, "foreign", "key"),
                                                 .ca = pki.ca};
        struct lt_http_client *c = NULL;
        OK(lt_http_client_new(&conf, &c, &err));
        assert_int_equal(get(c, s), LT_E_UNREACHABLE);
        /* With its reason, unless the connection was reset before the alert was read. */
        if (!strstr(err.msg, "the server refused our certificate ") ||
            !strstr(err.msg, "foreign.crt (CN = foreign, "))
            fail_msg("%s", err.msg);
        lt_http_client_free(c);
    }
    lt_http_server_stop(s);
    assert_int_equal(lines("\"event\":\"tls-refused\""), 5);
    assert_int_equal(lines("127.0.0.1: client certificate \\\"CN=foreign\\\" refused: "), 5);
    assert_int_equal(lines("issuer is unknown"), 5);
    open_log();
    s = serve(NULL);
    struct lt_http_client *nobody = check_client(&pki, NULL);
    assert_int_equal(get(nobody, s), LT_E_UNREACHABLE);
    assert_non_null(strstr(err.msg, "(we have none)"));
    lt_http_client_free(nobody);
    lt_http_server_stop(s);
    assert_int_equal(lines("127.0.0.1: handshake: it ended before a client certificate was shown"), 1);
}

static int setup(void **state)
{
    static const struct lt_pki_subject foreign = {.common_name = "foreign", .client = true, .days = 9};
    static const char *const cas[][2] = {{"other", "other CA"}, {"same", "test CA"}};

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    check_pki_make(&pki);
    snprintf(list_path, sizeof list_path, "%s/list.crl", pki.dir);
    snprintf(log_path, sizeof log_path, "%s/log", pki.dir);
    for (size_t i = 0; i < 2; i++)
        OK(lt_pki_make_ca(check_path(&pki, cas[i][0], "crt"), check_path(&pki, cas[i][0], "key"), cas[i][1],
                          30, &err));
    OK(lt_pki_issue(check_path(&pki, "other", "crt"), check_path(&pki, "other", "key"), &foreign,
                    check_path(&pki, "foreign", "crt"), check_path(&pki, "foreign", "key"), &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    OK(lt_log_open("test", NULL, LT_LOG_WARNING, &err));
    check_pki_remove(&pki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients),         cmocka_unit_test(servers),        cmocka_unit_test(files),
        cmocka_unit_test(a_failed_reload), cmocka_unit_test(who_may_revoke), cmocka_unit_test(expiry),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
