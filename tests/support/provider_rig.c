#include "tests/support/provider_rig.h"

#include "common/file.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    LT_AUTOFREE char *from = lt_file_path(from_dir, name), *to = lt_file_path(to_dir, name);
    LT_AUTOFREE uint8_t *bytes = NULL;
    size_t n;

    OK(lt_file_read(from, 1 << 16, &bytes, &n, &err));
    OK(lt_file_write(to, bytes, n, 0600, &err));
}

void rig_make(struct rig *r)
{
    rig_make_in(r, NULL);
}

void rig_make_in(struct rig *r, const char *pki)
{
    const char *tmp = getenv("TMPDIR");

    *r = (struct rig){.pid = -1};
    snprintf(r->dir, sizeof r->dir, "%.40s/lt-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(r->dir));
    lt_uuid_random(r->tenant_a);
    lt_uuid_random(r->tenant_b);
    if (pki) {
        copy_file(pki, r->dir, "ca.pem");
        copy_file(pki, r->dir, "ca.key");
    } else {
        mock_pki_make(r->dir);
    }
    mock_pki_issue(r->dir, "provider", LT_PEER_ROLE_PROVIDER, NULL, NULL);
    mock_pki_issue(r->dir, "operator", LT_PEER_ROLE_OPERATOR, NULL, NULL);
    mock_pki_issue(r->dir, "tenant-a", LT_PEER_ROLE_TENANT, r->tenant_a, NULL);
    mock_pki_issue(r->dir, "tenant-b", LT_PEER_ROLE_TENANT, r->tenant_b, NULL);
    for (unsigned i = 0; i < RIG_HOSTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "host-%u", i);
        mock_host_init(&r->agent[i].host);
        mock_pki_issue(r->dir, name, LT_PEER_ROLE_HOST, NULL, r->agent[i].host.host_id);
        lt_hex(r->agent[i].host.host_id, 16, r->host[i]);
        mock_agent_start(&r->agent[i], r->dir, name);
    }
    r->operator= rig_client(r, "operator", 0);
    r->a = rig_client(r, "tenant-a", 0);
    r->b = rig_client(r, "tenant-b", 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void rig_free(struct rig *r)
{
    assert_int_equal(r->pid, -1);
    lt_http_client_free(r->operator);
    lt_http_client_free(r->a);
    lt_http_client_free(r->b);
    for (unsigned i = 0; i < RIG_HOSTS; i++) {
        mock_agent_stop(&r->agent[i]);
        mock_host_free(&r->agent[i].host);
    }
    nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the program ---- */

static void read_ready(struct rig *r, int fd)
{
    char line[256];
    size_t n = 0;
    ssize_t got;

    while (n < sizeof line - 1 && (got = read(fd, line + n, sizeof line - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    LT_JSON_AUTO json_t *j = lt_json_parse(line, n, sizeof line, &err);
    const char *address;
    if (!j)
        fail_msg("the provider did not start (its log: %s/provider.log)", r->dir);
    OK(lt_json_string(j, "listen", &address, &err));
    snprintf(r->address, sizeof r->address, "%s", address);
}

void rig_start(struct rig *r, const char *const *options)
{
    static const char *const keys[] = {"cert=%s/provider.pem", "key=%s/provider.key", "ca=%s/ca.pem",
                                       "state_dir=%s/state", "log=%s/provider.log"};
    enum { KEYS = sizeof keys / sizeof *keys };
    char text[KEYS][128], number[12], *argv[64];
    posix_spawn_file_actions_t files;
    sigset_t none;
    posix_spawnattr_t attr;
    int pipefd[2], argc = 0;

    assert_int_equal(pipe(pipefd), 0);
    snprintf(number, sizeof number, "%d", pipefd[1]);
    argv[argc++] = (char *)LT_PROVIDER_PROGRAM;
    argv[argc++] = (char *)"--ready-fd";
    argv[argc++] = number;
    argv[argc++] = (char *)"-o";
    argv[argc++] = (char *)"listen=127.0.0.1:0";
    for (unsigned i = 0; i < KEYS; i++) {
        char *fmt = strstr(keys[i], "%s");
        snprintf(text[i], sizeof text[i], "%.*s%s%s", (int)(fmt - keys[i]), keys[i], r->dir, fmt + 2);
        argv[argc++] = (char *)"-o";
        argv[argc++] = text[i];
    }
    for (; options && *options && argc < 62; options++) {
        argv[argc++] = (char *)"-o";
        argv[argc++] = (char *)*options;
    }
    argv[argc] = NULL;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addclose(&files, pipefd[0]);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    assert_int_equal(posix_spawn(&r->pid, argv[0], &files, &attr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    close(pipefd[1]);
    read_ready(r, pipefd[0]);
}

static int end(struct rig *r, int sig)
{
    int status;

    kill(r->pid, sig);
    while (waitpid(r->pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    r->pid = -1;
    return status;
}

void rig_stop(struct rig *r)
{
    int status = end(r, SIGTERM);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("the provider ended with status 0x%x", status);
}

void rig_kill(struct rig *r)
{
    int status = end(r, SIGKILL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- requests ---- */

struct lt_http_client *rig_client(struct rig *r, const char *name, unsigned max_per_host)
{
    return rig_client_of(r, name, max_per_host, LT_PEER_ROLE_PROVIDER);
}

struct lt_http_client *rig_client_of(struct rig *r, const char *name, unsigned max_per_host,
                                     unsigned server_role)
{
    char ca[128], cert[128], key[128];
    struct lt_http_client *c = NULL;

    snprintf(ca, sizeof ca, "%s/ca.pem", r->dir);
    snprintf(cert, sizeof cert, "%s/%s.pem", r->dir, name ? name : "");
    snprintf(key, sizeof key, "%s/%s.key", r->dir, name ? name : "");
    struct lt_http_client_conf conf = {.cert = name ? cert : NULL,
                                       .key = name ? key : NULL,
                                       .ca = ca,
                                       .server_role = server_role,
                                       .max_per_host = max_per_host};
    OK(lt_http_client_new(&conf, &c, &err));
    return c;
}

int rig_http(struct rig *r, struct lt_http_client *c, const char *method, const char *path, const char *body,
             const char *header, struct lt_http_reply *reply)
{
    char url[512];
    const char *const headers[] = {header, NULL};
    struct lt_http_reply own = {0}, *out = reply ? reply : &own;
    struct lt_http_request req = {.method = method,
                                  .url = url,
                                  .body = body,
                                  .body_n = body ? strlen(body) : 0,
                                  .headers = header ? headers : NULL};

    snprintf(url, sizeof url, "https://%s/federation/v1/%s", r->address, path);
    OK(lt_http_call(c, &req, out, &err));
    if (!reply)
        free((char *)own.body);
    return out->status;
}

json_t *rig_json(struct rig *r, struct lt_http_client *c, const char *method, const char *path, json_t *body,
                 int want)
{
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;
    struct lt_http_reply reply = {0};

    json_decref(body);
    rig_http(r, c, method, path, text, NULL, &reply);
    if (reply.status != want)
        fail_msg("%s %s: %d, not %d: %.300s", method, path, reply.status, want, reply.body);
    json_t *j = lt_json_parse(reply.body, reply.n, LT_MAX_REPLY, &err);
    free((char *)reply.body);
    assert_non_null(j);
    return j;
}

void rig_enrol(struct rig *r, unsigned host)
{
    json_t *ask = json_pack("{s:s, s:o}", "address", mock_agent_address(&r->agent[host]), "ek_digest",
                            lt_json_new_hex(r->agent[host].host.ek_digest, 32));
    LT_JSON_AUTO json_t *j = rig_json(r, r->operator, "POST", "hosts", ask, 201);
    assert_string_equal(json_string_value(json_object_get(j, "host")), r->host[host]);
}

void rig_assign(struct rig *r, uint32_t guest, const uint8_t tenant[16])
{
    char path[80], uuid[LT_UUID_TEXT];
    uint8_t raw[16];

    mock_uuid(guest, raw);
    lt_uuid_format(raw, uuid);
    snprintf(path, sizeof path, "guests/%s/tenant", uuid);
    json_decref(
        rig_json(r, r->operator, "PUT", path, json_pack("{s:o}", "tenant", lt_json_new_uuid(tenant)), 200));
}

void rig_commitment(uint32_t guest, uint32_t salt, uint8_t out[32])
{
    uint32_t v[2] = {guest, salt};
    lt_sha256(v, sizeof v, out);
}

json_t *rig_ask(uint32_t first, uint32_t count, uint32_t salt)
{
    json_t *guests = json_array();
    uint8_t uuid[16], commitment[32];

    for (uint32_t i = 0; i < count; i++) {
        mock_uuid(first + i, uuid);
        rig_commitment(first + i, salt, commitment);
        json_array_append_new(guests, json_pack("{s:o, s:o}", "uuid", lt_json_new_uuid(uuid), "commitment",
                                                lt_json_new_hex(commitment, 32)));
    }
    return json_pack("{s:o}", "guests", guests);
}
