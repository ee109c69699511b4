/* The server and the client over a UNIX socket: whose it is, who is heard, and what was there before. */
#include "tests/support/http/http_check.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRANGER 65534

static char dir[64], path[96], listen_on[112];

static void tell(struct lt_http_req *r, void *app)
{
    (void)app;
    lt_http_reply_json(
        r, 200,
        json_pack("{s:s, s:b}", "source", lt_http_req_source(r), "certificate", lt_http_req_peer(r) != NULL));
}

static const struct lt_http_route routes[] = {
    LT_HTTP_ROUTE("GET", "/local/v1/tell", LT_HTTP_MAY_LOCAL, 0, tell),
    LT_HTTP_ROUTE("GET", "/local/v1/role", LT_PEER_ROLE_OPERATOR, 0, tell),
    LT_HTTP_ROUTE("GET", "/local/v1/trusted", LT_HTTP_MAY_TRUSTED, 0, tell),
    LT_HTTP_ROUTE("GET", "/local/v1/anyone", LT_HTTP_MAY_ANYONE, 0, tell),
    LT_HTTP_ROUTE("POST", "/local/v1/either", LT_HTTP_MAY_LOCAL | LT_PEER_ROLE_OPERATOR, 100, tell),
};
#define ROUTES (sizeof routes / sizeof *routes)

static int start(struct lt_http_server **out)
{
    const struct lt_http_server_conf c = {
        .listen = listen_on, .routes = routes, .route_count = ROUTES, .threads = 2};
    return lt_http_server_start(&c, out, &err);
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-local-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/run/agent.sock", dir);
    snprintf(listen_on, sizeof listen_on, "unix:%s", path);
    return 0;
}

static int teardown(void **state)
{
    char run[96];

    (void)state;
    snprintf(run, sizeof run, "%s/run", dir);
    unlink(path);
    rmdir(run);
    return rmdir(dir);
}

static struct lt_http_client *client(void)
{
    const struct lt_http_client_conf c = {.allow_plain = true, .socket = path};
    struct lt_http_client *out;

    OK(lt_http_client_new(&c, &out, &err));
    return out;
}

static int status_of(struct lt_http_client *c, const char *method, const char *where, char **body)
{
    struct lt_http_reply reply = {0};
    char url[128];

    snprintf(url, sizeof url, "http://agent/local/v1/%s", where);
    const struct lt_http_request r = {.method = method, .url = url};
    int rc = lt_http_call(c, &r, &reply, &err);
    if (body)
        *body = (char *)reply.body;
    else
        free((char *)reply.body);
    return rc ? rc : reply.status;
}

/* ---- who is heard ---- */

static void local_routes_answer_their_user(void **state)
{
    struct lt_http_server *s;
    char expected[64], *body;

    (void)state;
    OK(start(&s));
    assert_string_equal(lt_http_server_address(s), listen_on);
    struct lt_http_client *c = client();
    assert_int_equal(status_of(c, "GET", "tell", &body), 200);
    snprintf(expected, sizeof expected, "{\"source\":\"uid %u\",\"certificate\":false}", geteuid());
    assert_string_equal(body, expected);
    free(body);
    assert_int_equal(status_of(c, "POST", "either", NULL), 200);
    assert_int_equal(status_of(c, "GET", "anyone", NULL), 200);
    /* The socket proves a user of this machine, and no role. */
    assert_int_equal(status_of(c, "GET", "role", NULL), 401);
    assert_int_equal(status_of(c, "GET", "trusted", NULL), 401);
    lt_http_client_free(c);
    lt_http_server_stop(s);
    assert_int_equal(access(path, F_OK), -1);
}

/* Over TCP a local route is nobody's, whatever he shows. */
static void local_routes_are_closed_over_tcp(void **state)
{
    struct check_pki pki;
    struct lt_http_server *s;

    (void)state;
    check_pki_make(&pki);
    const struct lt_http_server_conf c = {
        .listen = "127.0.0.1:0",
        .cert = check_path(&pki, "server", "crt"),
        .key = check_path(&pki, "server", "key"),
        .client_ca = pki.ca,
        .routes = routes,
        .route_count = ROUTES,
    };
    OK(lt_http_server_start(&c, &s, &err));
    check_routes_are_closed(&pki, lt_http_server_address(s), routes, ROUTES);
    lt_http_server_stop(s);
    const struct lt_http_server_conf plain = {
        .listen = "127.0.0.1:0", .routes = routes, .route_count = ROUTES};
    OK(lt_http_server_start(&plain, &s, &err));
    struct lt_http_client *nobody;
    char url[128];
    struct lt_http_reply reply = {0};
    OK(lt_http_client_new(&(struct lt_http_client_conf){.allow_plain = true}, &nobody, &err));
    snprintf(url, sizeof url, "http://%s/local/v1/tell", lt_http_server_address(s));
    OK(lt_http_call(nobody, &(struct lt_http_request){.method = "GET", .url = url}, &reply, &err));
    assert_int_equal(reply.status, 401);
    free((char *)reply.body);
    lt_http_client_free(nobody);
    lt_http_server_stop(s);
    check_pki_remove(&pki);
}

/* A plain dialogue, for a child that may use nothing of ours: its threads are not there. */
static int raw_status(const char *where)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char text[256] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(a.sun_path, path, strlen(path) + 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
        return errno;
    int n = snprintf(text, sizeof text, "GET /local/v1/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                     where);
    if (write(fd, text, (size_t)n) != n || read(fd, text, sizeof text - 1) < 12)
        return -1;
    close(fd);
    return atoi(text + 9);
}

static int as_stranger(const char *where)
{
    int ends[2], status = -1;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child) {
        status = setuid(STRANGER) ? -2 : raw_status(where);
        _exit(write(ends[1], &status, sizeof status) != sizeof status);
    }
    assert_int_equal(read(ends[0], &status, sizeof status), sizeof status);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
    return status;
}

/* The mode keeps him out; and if it did not, the kernel's word about him would. */
static void another_user_is_refused(void **state)
{
    struct lt_http_server *s;
    char run[96];

    (void)state;
    if (geteuid())
        skip(); /* only root can be two users */
    OK(start(&s));
    assert_int_equal(as_stranger("tell"), EACCES);
    snprintf(run, sizeof run, "%s/run", dir);
    assert_int_equal(chmod(dir, 0755) | chmod(run, 0755) | chmod(path, 0666), 0);
    assert_int_equal(as_stranger("tell"), 403);
    assert_int_equal(as_stranger("anyone"), 403);
    assert_int_equal(raw_status("tell"), 200);
    lt_http_server_stop(s);
}

/* ---- what was there before ---- */

static void socket_is_private(void **state)
{
    struct lt_http_server *s;
    struct stat st;
    char run[96];

    (void)state;
    OK(start(&s));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    snprintf(run, sizeof run, "%s/run", dir);
    assert_int_equal(stat(run, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    lt_http_server_stop(s);
    /* Others could put a socket of theirs into its place. */
    assert_int_equal(chmod(run, 0777), 0);
    FAILS(LT_E_CONFIG, start(&s));
    assert_int_equal(chmod(run, 0700), 0);
}

static void stale_socket_is_replaced(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct lt_http_server *s, *second;

    (void)state;
    OK(start(&s));
    lt_http_server_stop(s);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(a.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a) | listen(fd, 1), 0);
    close(fd); /* as of a process that was killed */
    OK(start(&s));
    FAILS(LT_E_CONFLICT, start(&second));
    struct lt_http_client *c = client();
    assert_int_equal(status_of(c, "GET", "tell", NULL), 200); /* the first one serves on */
    lt_http_client_free(c);
    lt_http_server_stop(s);
}

static void what_is_no_socket_stays(void **state)
{
    struct lt_http_server *s;

    (void)state;
    OK(start(&s));
    lt_http_server_stop(s);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    FAILS(LT_E_CONFLICT, start(&s));
    assert_int_equal(access(path, F_OK), 0);
}

/* Another server's socket in our place is not ours to remove. */
static void stop_removes_its_own_only(void **state)
{
    struct lt_http_server *first, *second;

    (void)state;
    OK(start(&first));
    assert_int_equal(unlink(path), 0);
    OK(start(&second));
    lt_http_server_stop(first);
    assert_int_equal(access(path, F_OK), 0);
    lt_http_server_stop(second);
    assert_int_equal(access(path, F_OK), -1);
}

static void bad_addresses_are_refused(void **state)
{
    static const char *const bad[] = {"unix:", "unix:relative/sock", "unix:/directory/", "unix:/"};
    char longest[160] = "unix:/";

    (void)state;
    memset(longest + 6, 'a', 107);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(LT_E_CONFIG, lt_http_server_check_listen("local_socket", bad[i], &err));
    FAILS(LT_E_CONFIG, lt_http_server_check_listen("local_socket", longest, &err));
    assert_non_null(strstr(err.msg, "local_socket"));
    longest[6 + 106] = 0;
    OK(lt_http_server_check_listen("local_socket", longest, &err));
}

static void nobody_serves(void **state)
{
    (void)state;
    struct lt_http_client *c = client();
    assert_int_equal(status_of(c, "GET", "tell", NULL), LT_E_UNREACHABLE);
    lt_http_client_free(c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(local_routes_answer_their_user),
        T(local_routes_are_closed_over_tcp),
        T(another_user_is_refused),
        T(socket_is_private),
        T(stale_socket_is_replaced),
        T(what_is_no_socket_stays),
        T(stop_removes_its_own_only),
        T(bad_addresses_are_refused),
        T(nobody_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
