/* limetree pki, as a command: what init makes, that nothing is overwritten, issue and show. */
#include "cli/cli.h"
#include "common/file.h"
#include "common/json.h"
#include "common/pki/peer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <getopt.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TENANT "6d2f1a52-7c3b-4a0e-9f7d-0123456789ab"
#define HOST "00112233445566778899aabbccddeeff"

static char base[64], dir[80], out_path[80];

static char *in_dir(const char *name)
{
    static char ring[8][160];
    static int at;
    char *s = ring[at++ % 8];
    snprintf(s, sizeof ring[0], "%s/%s", dir, name);
    return s;
}

/* Runs the command with its output in a file; returns the exit code. */
static int pki(const char *const *args)
{
    char *argv[24] = {"pki"};
    int argc = 1;
    while (*args)
        argv[argc++] = (char *)*args++;
    fflush(stdout);
    int saved = dup(1), saved_err = dup(2);
    FILE *f = fopen(out_path, "w");
    assert_non_null(f);
    dup2(fileno(f), 1);
    dup2(fileno(f), 2);
    optind = 0;
    int rc = lt_cli_cmd_pki(argc, argv);
    fflush(stdout);
    dup2(saved, 1);
    dup2(saved_err, 2);
    close(saved);
    close(saved_err);
    fclose(f);
    return rc;
}
#define PKI(...) pki((const char *const[]){__VA_ARGS__, NULL})

static char *output(void)
{
    uint8_t *p;
    size_t n;
    struct lt_err e;
    assert_int_equal(lt_file_read(out_path, 1 << 20, &p, &n, &e), 0);
    return (char *)p;
}

static X509 *load(const char *name)
{
    FILE *f = fopen(in_dir(name), "r");
    assert_non_null(f);
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(x);
    return x;
}

static struct lt_peer peer_of(const char *name)
{
    X509 *x = load(name);
    uint8_t *der = NULL;
    int n = i2d_X509(x, &der);
    struct lt_peer p;
    struct lt_err e = {0};
    if (lt_peer_from_der(der, (size_t)n, &p, &e))
        fail_msg("%s: %s", name, e.msg);
    OPENSSL_free(der);
    X509_free(x);
    return p;
}

static bool signed_by(const char *leaf, const char *ca)
{
    X509 *x = load(leaf), *c = load(ca);
    bool good = X509_verify(x, X509_get0_pubkey(c)) == 1 && X509_check_issued(c, x) == X509_V_OK;
    X509_free(x);
    X509_free(c);
    return good;
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(base, sizeof base, "%.40s/lt-pki-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/pki", base);
    snprintf(out_path, sizeof out_path, "%s/out", base);
    return 0;
}

static int teardown(void **state)
{
    DIR *d = opendir(dir);
    (void)state;
    for (struct dirent *f; d && (f = readdir(d));)
        if (f->d_name[0] != '.')
            unlink(in_dir(f->d_name));
    if (d)
        closedir(d);
    rmdir(dir);
    unlink(out_path);
    assert_int_equal(rmdir(base), 0);
    return 0;
}

static void test_init(void **state)
{
    static const struct {
        const char *name, *ca;
        unsigned role;
        bool server, client;
    } want[] = {
        {"provider", "federation-ca.crt", LT_PEER_ROLE_PROVIDER, true, true},
        {"operator", "federation-ca.crt", LT_PEER_ROLE_OPERATOR, false, true},
        {"tenant", "federation-ca.crt", LT_PEER_ROLE_TENANT, false, true},
        {"tenant-server", "tenant-ca.crt", LT_PEER_ROLE_TENANT, true, false},
        {"tenant-client", "tenant-ca.crt", LT_PEER_ROLE_TENANT, false, true},
        {"tenant-operator", "tenant-ca.crt", LT_PEER_ROLE_OPERATOR, false, true},
    };
    static const char *const cas[] = {"federation-ca", "vtpm-ca", "tenant-ca"};
    struct stat st;
    char name[64];
    (void)state;

    if (PKI("init", dir, "--tenant", TENANT, "--json"))
        fail_msg("%s", output());
    LT_AUTOFREE char *text = output();
    assert_non_null(strstr(text, "\"tenant\": \"" TENANT "\""));
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        snprintf(name, sizeof name, "%s.crt", want[i].name);
        struct lt_peer p = peer_of(name);
        assert_int_equal(p.roles, want[i].role);
        assert_int_equal(p.may_serve, want[i].server);
        assert_int_equal(p.may_call, want[i].client);
        assert_int_equal(p.has_tenant, want[i].role == LT_PEER_ROLE_TENANT);
        if (p.has_tenant)
            assert_memory_equal(p.tenant_id,
                                "\x6d\x2f\x1a\x52\x7c\x3b\x4a\x0e\x9f\x7d\x01\x23\x45\x67\x89\xab", 16);
        assert_true(signed_by(name, want[i].ca));
        assert_false(signed_by(name, "vtpm-ca.crt"));
        snprintf(name, sizeof name, "%s.key", want[i].name);
        assert_int_equal(stat(in_dir(name), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.crt", cas[i]);
        X509 *ca = load(name);
        assert_int_equal(X509_check_ca(ca), 1);
        X509_free(ca);
        snprintf(name, sizeof name, "%s.key", cas[i]);
        assert_int_equal(stat(in_dir(name), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
    }
}

static void test_init_twice(void **state)
{
    uint8_t before[32], after[32];
    struct lt_err e;
    (void)state;
    assert_int_equal(PKI("init", dir), 0);
    assert_int_equal(lt_file_sha256(in_dir("tenant-ca.key"), before, &e), 0);
    assert_int_equal(PKI("init", dir), 1);
    LT_AUTOFREE char *text = output();
    assert_non_null(strstr(text, "federation-ca.crt: exists"));
    /* Whatever single file is in the way, nothing else is made. */
    assert_int_equal(unlink(in_dir("federation-ca.crt")), 0);
    assert_int_equal(unlink(in_dir("federation-ca.key")), 0);
    assert_int_equal(PKI("init", dir), 1);
    assert_int_equal(access(in_dir("federation-ca.crt"), F_OK), -1);
    assert_int_equal(lt_file_sha256(in_dir("tenant-ca.key"), after, &e), 0);
    assert_memory_equal(before, after, 32);
}

static void test_issue_and_show(void **state)
{
    (void)state;
    assert_int_equal(PKI("init", dir, "--days", "3"), 0);
    assert_int_equal(PKI("issue", dir, "--ca", "federation", "--role", "host", "--host", HOST, "--name",
                         "127.0.0.1", "--name", "host.example", "--out", in_dir("host")),
                     0);
    struct lt_peer p = peer_of("host.crt");
    assert_int_equal(p.roles, LT_PEER_ROLE_HOST);
    assert_true(p.may_serve && p.may_call);
    assert_true(signed_by("host.crt", "federation-ca.crt"));
    X509 *x = load("host.crt");
    assert_int_equal(X509_check_host(x, "host.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
    X509_free(x);
    assert_int_equal(
        PKI("issue", dir, "--ca", "federation", "--role", "host", "--host", HOST, "--out", in_dir("host")),
        1);

    assert_int_equal(PKI("show", in_dir("host.crt"), "--json"), 0);
    LT_AUTOFREE char *text = output();
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *j = lt_json_parse(text, strlen(text), 1 << 16, &e);
    const char *s = NULL;
    assert_int_equal(lt_json_string(j, "host", &s, &e), 0);
    assert_string_equal(s, HOST);
    assert_int_equal(lt_json_string(j, "role", &s, &e), 0);
    assert_string_equal(s, "host");
    uint8_t print[32];
    assert_int_equal(lt_json_hex(j, "fingerprint", print, 32, &e), 0);
    assert_memory_equal(print, p.fingerprint, 32);
    assert_int_equal(PKI("show", in_dir("tenant-ca.crt")), 0);
    LT_AUTOFREE char *ca = output();
    assert_non_null(strstr(ca, "ca           yes"));
    assert_int_equal(PKI("show", in_dir("host.key")), 1);
    assert_int_equal(PKI("show", in_dir("nothing")), 2);
}

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(PKI("init", dir), 0);
#define BAD(...) assert_int_equal(PKI("issue", dir, "--out", in_dir("bad"), __VA_ARGS__), 2)
    BAD("--ca", "other");
    BAD("--role", "host");
    BAD("--ca", "federation", "--role", "host");
    BAD("--ca", "federation", "--role", "tenant");
    BAD("--ca", "federation", "--role", "root");
    BAD("--ca", "federation", "--tenant", "123");
    BAD("--ca", "federation", "--host", "00");
    BAD("--ca", "federation", "--days", "0");
    BAD("--ca", "federation", "--name", "a b");
    BAD("--ca", "federation", "--nonsense");
    assert_int_equal(PKI("issue", dir, "--ca", "federation"), 2);
    assert_int_equal(PKI("init"), 2);
    assert_int_equal(PKI("init", dir, "more"), 2);
    assert_int_equal(PKI("make", dir), 2);
    assert_int_equal(access(in_dir("bad.crt"), F_OK), -1);
    assert_int_equal(access(in_dir("bad.key"), F_OK), -1);
    assert_int_equal(PKI("--help"), 0);
    LT_AUTOFREE char *text = output();
    assert_non_null(strstr(text, "usage: limetree pki"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_init), T(test_init_twice), T(test_issue_and_show),
                                       T(test_usage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
