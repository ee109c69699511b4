#include "tests/support/http/http_check.h"
#include "common/limits.h"
#include "common/pki/issue.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *check_path(const struct check_pki *p, const char *name, const char *ext)
{
    static _Thread_local char ring[8][160];
    static _Thread_local unsigned at;
    char *s = ring[at++ % 8];
    snprintf(s, sizeof ring[0], "%s/%s.%s", p->dir, name, ext);
    return s;
}

static void issue_under(const struct check_pki *p, const char *ca, const char *name, unsigned role,
                        bool server)
{
    struct lt_err e = {0};
    const char *const names[] = {"127.0.0.1", NULL};
    struct lt_pki_subject s = {
        .common_name = name,
        .role = role,
        .tenant_id = role == LT_PEER_ROLE_TENANT ? p->tenant_id : NULL,
        .host_id = role == LT_PEER_ROLE_HOST ? p->host_id : NULL,
        .names = server ? names : NULL,
        .server = server,
        .client = true,
        .days = CHECK_DAYS,
    };
    if (lt_pki_issue(check_path(p, ca, "crt"), check_path(p, ca, "key"), &s, check_path(p, name, "crt"),
                     check_path(p, name, "key"), &e))
        fail_msg("issue %s: %s", name, e.msg);
}

static void make_ca(const struct check_pki *p, const char *name, const char *common_name)
{
    struct lt_err e = {0};
    if (lt_pki_make_ca(check_path(p, name, "crt"), check_path(p, name, "key"), common_name, CHECK_DAYS, &e))
        fail_msg("CA: %s", e.msg);
}

void check_pki_make(struct check_pki *p)
{
    static const char *const roles[] = {"provider", "host", "tenant", "operator", "none"};
    const char *tmp = getenv("TMPDIR");

    memset(p, 0, sizeof *p);
    memset(p->tenant_id, 0x11, 16);
    memset(p->host_id, 0x22, 16);
    snprintf(p->dir, sizeof p->dir, "%.40s/lt-pki-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->ca, sizeof p->ca, "%s/ca.crt", p->dir);
    snprintf(p->ca_key, sizeof p->ca_key, "%s/ca.key", p->dir);
    snprintf(p->admin_ca, sizeof p->admin_ca, "%s/admin-ca.crt", p->dir);
    make_ca(p, "ca", "test CA");
    make_ca(p, "admin-ca", "Keylime's CA");
    make_ca(p, "strange-ca", "a CA nobody knows");
    issue_under(p, "ca", "server", LT_PEER_ROLE_PROVIDER, true);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        issue_under(p, "ca", roles[i], lt_peer_role_by_name(roles[i]), false);
    issue_under(p, "admin-ca", "keylime-admin", 0, false);
    issue_under(p, "strange-ca", "stranger", LT_PEER_ROLE_OPERATOR, false);
}

void check_pki_remove(struct check_pki *p)
{
    DIR *d = opendir(p->dir);
    char path[512];

    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", p->dir, f->d_name);
        if (strcmp(f->d_name, ".") && strcmp(f->d_name, ".."))
            assert_int_equal(unlink(path), 0);
    }
    closedir(d);
    assert_int_equal(rmdir(p->dir), 0);
}

struct lt_http_client *check_client(const struct check_pki *p, const char *name)
{
    struct lt_http_client *c = NULL;
    struct lt_err e = {0};
    struct lt_http_client_conf conf = {
        .cert = name ? check_path(p, name, "crt") : NULL,
        .key = name ? check_path(p, name, "key") : NULL,
        .ca = p->ca,
        .max_per_host = 64,
    };
    if (lt_http_client_new(&conf, &c, &e))
        fail_msg("client %s: %s", name ? name : "without certificate", e.msg);
    return c;
}

int check_call(struct lt_http_client *c, const char *method, const char *address, const char *path,
               const char *body, struct lt_http_reply *reply, struct lt_err *e)
{
    char url[2 * LT_MAX_URL];
    snprintf(url, sizeof url, "https://%s%s", address, path);
    struct lt_http_request r = {
        .method = method, .url = url, .body = body, .body_n = body ? strlen(body) : 0};
    return lt_http_call(c, &r, reply, e);
}

char *check_status(struct lt_http_client *c, const char *method, const char *address, const char *path,
                   const char *body, int status)
{
    struct lt_http_reply reply = {0};
    struct lt_err e = {0};

    if (check_call(c, method, address, path, body, &reply, &e))
        fail_msg("%s %s: %s", method, path, e.msg);
    if (reply.status != status)
        fail_msg("%s %s: status %d, %d expected: %s", method, path, reply.status, status, reply.body);
    return (char *)reply.body;
}

static void fill(const char *pattern, char *out, size_t n)
{
    size_t at = 0;
    while (*pattern && at + 40 < n) {
        if (!strncmp(pattern, "{}", 2)) {
            at += (size_t)snprintf(out + at, n - at, "6d2f1a52-7c3b-4a0e-9f7d-0123456789ab");
            pattern += 2;
        } else {
            out[at++] = *pattern++;
        }
    }
    out[at] = 0;
}

enum refusal { IN_HANDSHAKE = 1, WITH_401 = 2, WITH_403 = 4 };

static void refused(struct lt_http_client *c, const char *who, const char *address,
                    const struct lt_http_route *route, unsigned ways)
{
    struct lt_http_reply reply = {0};
    struct lt_err e = {0};
    char path[512];

    fill(route->path, path, sizeof path);
    int rc = check_call(c, route->method, address, path, route->max_body ? "{}" : NULL, &reply, &e);
    free((char *)reply.body);
    unsigned way = rc ? IN_HANDSHAKE : reply.status == 401 ? WITH_401 : reply.status == 403 ? WITH_403 : 0;
    if (!(way & ways))
        fail_msg("%s %s as %s: %s, status %d; way %x expected", route->method, path, who,
                 rc ? e.msg : "a reply", reply.status, ways);
}

/* But where the rule names one of may. */
static void refused_everywhere(const struct check_pki *p, const char *who, const char *address,
                               const struct lt_http_route *routes, size_t count, unsigned may, unsigned ways)
{
    struct lt_http_client *c = check_client(p, who);

    for (size_t i = 0; i < count; i++)
        if (!(routes[i].access & may))
            refused(c, who ? who : "nobody", address, &routes[i], ways);
    lt_http_client_free(c);
}

void check_routes_are_closed(const struct check_pki *p, const char *address,
                             const struct lt_http_route *routes, size_t count)
{
    static const char *const roles[] = {"provider", "host", "tenant", "operator", "none"};
    const unsigned trusted = LT_HTTP_MAY_ANYONE | LT_HTTP_MAY_TRUSTED;

    refused_everywhere(p, NULL, address, routes, count, LT_HTTP_MAY_ANYONE, IN_HANDSHAKE | WITH_401);
    refused_everywhere(p, "stranger", address, routes, count, 0, IN_HANDSHAKE);
    refused_everywhere(p, "keylime-admin", address, routes, count,
                       LT_HTTP_MAY_ANYONE | LT_PEER_ROLE_KEYLIME_ADMIN, IN_HANDSHAKE | WITH_403);
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        refused_everywhere(p, roles[k], address, routes, count, lt_peer_role_by_name(roles[k]) | trusted,
                           WITH_403);
}
