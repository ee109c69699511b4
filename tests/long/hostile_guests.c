/* Guests whose agents send as much as they may, beside honest ones: a real limetree-tenant in a process of
 * its own must stay under the ceilings that docs/operations.md states, in memory and on disk, and judge the
 * honest ones on time. Every agent here is software over real TLS; the hostile ones' quotes are genuine, so
 * that they are asked again and again. One JSON object on standard output; exit code 1 when something was not
 * as it should be. */
#include "tests/long/tls_agent.h"

#include "common/file.h"
#include "common/pki/issue.h"
#include "common/run/clock.h"

#include <ftw.h>
#include <getopt.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HONEST_LIST (200u << 10) /* more than goes in without room */
#define MIB (1u << 20)
#ifdef __SANITIZE_THREAD__ /* whose shadow is in the RSS too: no word about what a daemon takes */
#define RSS_TELLS false
#else
#define RSS_TELLS true
#endif

static struct options {
    unsigned guests, honest, mib, period_s, seconds, memory_mib, bundle_mib;
} o = {.guests = 1000,
       .honest = 20,
       .mib = 16,
       .period_s = 60,
       .seconds = 300,
       .memory_mib = 512,
       .bundle_mib = 1024};

static struct rig rig;
static struct tls_agent *agents;
static unsigned count;
static pid_t tenant;
static char api[128];

/* ---- guests ---- */

/* Lines of an IMA list, as JSON text. */
static char *make_list(size_t n)
{
    static const char line[] = "10 0000000000000000000000000000000000000000 ima-ng sha256:"
                               "0000000000000000000000000000000000000000000000000000000000000000 /x\\n";
    size_t lines = n / (sizeof line - 1);
    char *text = malloc(lines * (sizeof line - 1) + 1);

    assert_non_null(text);
    for (size_t i = 0; i < lines; i++)
        memcpy(text + i * (sizeof line - 1), line, sizeof line - 1);
    text[lines * (sizeof line - 1)] = 0;
    return text;
}

static SSL_CTX *make_tls(void)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());

    assert_true(
        c && SSL_CTX_use_certificate_file(c, check_path(&rig.pki, "guest0", "crt"), SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_use_PrivateKey_file(c, check_path(&rig.pki, "guest0", "key"), SSL_FILETYPE_PEM) == 1);
    return c;
}

static void start_agents(void)
{
    const char *large = make_list((size_t)o.mib * MIB), *small = make_list(HONEST_LIST);
    SSL_CTX *tls = make_tls();

    agents = calloc(count, sizeof *agents);
    for (unsigned i = 0; i < count; i++) {
        struct tls_agent *a = &agents[i];
        mock_uuid(i + 1, a->uuid);
        a->list = i < o.honest ? small : large;
        a->list_n = strlen(a->list);
        a->tls = tls;
        tls_agent_start(a);
    }
}

static int by_ek(const void *a, const void *b)
{
    return memcmp(((const struct lt_residency_record *)a)->ek_digest,
                  ((const struct lt_residency_record *)b)->ek_digest, 32);
}

/* The host says that all of them live on it. */
static void make_inventory(void)
{
    mock_host_populate(&rig.host, 1, count);
    for (unsigned i = 0; i < count; i++) {
        struct lt_residency_record *x = &rig.host.records[i];
        *x = (struct lt_residency_record){.start_reset = rig.host.reset_count, .flags = LT_RESIDENCY_RUNNING};
        memcpy(x->guest_uuid, agents[i].uuid, 16);
        OK(lt_public_ek_digest(&agents[i].ek, x->ek_digest, &err));
        memcpy(x->incarnation, x->ek_digest, sizeof x->incarnation);
        memset(x->firmware_digest, 0xf1, 32);
        memset(x->domain_digest, 0xd0, 32);
    }
    qsort(rig.host.records, count, sizeof *rig.host.records, by_ek);
    lt_merkle_free(rig.host.tree);
    OK(lt_residency_inventory_tree(rig.host.records, count, &rig.host.tree, &err));
}

static char *make_policy(void)
{
    char host[65], zeros[65], f[65], d[65];
    uint8_t b[32];

    lt_hex(rig.policy_digest, 32, host);
    lt_hex(memset(b, 0, 32), 32, zeros);
    lt_hex(memset(b, 0xf1, 32), 32, f);
    lt_hex(memset(b, 0xd0, 32), 32, d);
    json_t *j = json_pack("{s:{s:[s]}, s:[s], s:[s], s:[s], s:[s,s]}", "pcrs", "0", zeros, "firmware", f,
                          "domain", d, "host_policies", host, "accept", "copyable", "boot-only");
    char *text = lt_json_dump(j);
    json_decref(j);
    return text;
}

/* Registered and added, before the tenant starts. */
static void fill_store(void)
{
    LT_AUTOFREE char *policy = make_policy(), *db = lt_file_path(rig.state, "tenant.db");
    struct lt_store *s;
    struct lt_store_guest g = {.has_policy = true};
    uint8_t *pem;
    size_t n;

    OK(lt_file_dir_private(rig.state, &err));
    OK(lt_store_open(db, NULL, NULL, &s, &err));
    OK(lt_file_read(check_path(&rig.pki, "guest0", "crt"), 65536, &pem, &n, &err));
    OK(lt_store_policy_put(s, policy, strlen(policy), g.policy, &err));
    for (unsigned i = 0; i < count; i++) {
        LT_KEYLIME_AUTOAGENT struct lt_agent a = {
            .ip = strdup("127.0.0.1"), .port = agents[i].port, .mtls_cert = strdup((char *)pem)};
        lt_uuid_format(agents[i].uuid, a.id);
        memcpy(a.ek, agents[i].ek.raw, a.ek_n = agents[i].ek.raw_n);
        memcpy(a.ak, agents[i].ak.raw, a.ak_n = agents[i].ak.raw_n);
        OK(lt_store_agent_activate(s, &a, NULL, &err));
        memcpy(g.uuid, agents[i].uuid, sizeof g.uuid);
        OK(lt_store_guest_put(s, &g, (struct lt_slice){0}, &err));
    }
    free(pem);
    lt_store_close(s);
}

/* ---- the tenant ---- */

static void read_ready(int fd)
{
    char line[1024];
    size_t n = 0;
    ssize_t got;

    while (n < sizeof line - 1 && (got = read(fd, line + n, sizeof line - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    LT_JSON_AUTO json_t *j = lt_json_parse(line, n, sizeof line, &err);
    const char *listen = json_string_value(json_object_get(j, "listen"));
    if (!listen)
        fail_msg("limetree-tenant did not start: %.*s", (int)n, line);
    snprintf(api, sizeof api, "%s", listen);
}

/* The daemon, unlike the rig, asks its certificates for their roles. */
static void make_certificate(const char *name, char **cert, char **key)
{
    const struct lt_pki_subject s = {.common_name = name,
                                     .role = LT_PEER_ROLE_TENANT,
                                     .tenant_id = rig.pki.tenant_id,
                                     .server = true,
                                     .client = true,
                                     .days = 2};

    free(*cert);
    free(*key);
    *cert = strdup(check_path(&rig.pki, name, "crt"));
    *key = strdup(check_path(&rig.pki, name, "key"));
    OK(lt_pki_issue(rig.pki.ca, rig.pki.ca_key, &s, *cert, *key, &err));
}

static void make_certificates(void)
{
    struct lt_http_client_conf conf = {.cert = strdup(check_path(&rig.pki, "operator", "crt")),
                                       .key = strdup(check_path(&rig.pki, "operator", "key")),
                                       .ca = rig.pki.ca};

    make_certificate("as-server", &rig.conf.cert, &rig.conf.key);
    make_certificate("to-agents", &rig.conf.agent_cert, &rig.conf.agent_key);
    make_certificate("to-provider", &rig.conf.federation_cert, &rig.conf.federation_key);
    lt_http_client_free(rig.operator);
    OK(lt_http_client_new(&conf, &rig.operator, & err));
    free((char *)conf.cert);
    free((char *)conf.key);
}

static void add_option(char ***at, const char *key, const char *value)
{
    char *text;

    assert_true(asprintf(&text, "%s=%s", key, value) > 0);
    *(*at)++ = strdup("-o");
    *(*at)++ = text;
}

static void start_tenant(void)
{
    char *argv[128], **at = argv, number[24];
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    snprintf(number, sizeof number, "%d", fds[1]);
    *at++ = strdup(LT_BIN "/limetree-tenant");
    *at++ = strdup("--ready-fd");
    *at++ = strdup(number);
    for (size_t i = 0; i < lt_tenant_key_count; i++) {
        const struct lt_conf_key *k = &lt_tenant_keys[i];
        const char *text = k->type == LT_CONF_TEXT ? *(char **)((char *)&rig.conf + k->offset) : NULL;
        if (text && strncmp(k->key, "log", 3))
            add_option(&at, k->key, text);
    }
    const struct {
        const char *key;
        unsigned value;
    } set[] = {
        {"period_s", o.period_s}, {"memory_limit_mib", o.memory_mib}, {"bundle_limit_mib", o.bundle_mib}};
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        snprintf(number, sizeof number, "%u", set[i].value);
        add_option(&at, set[i].key, number);
    }
    add_option(&at, "log_level", "error");
    *at = NULL;
    tenant = fork();
    if (!tenant) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(fds[1]);
    read_ready(fds[0]);
    for (at = argv; *at; at++)
        free(*at);
}

static size_t status_kib(const char *key)
{
    char path[64];
    uint8_t *text;
    size_t n;

    snprintf(path, sizeof path, "/proc/%d/status", (int)tenant);
    OK(lt_file_read(path, 65536, &text, &n, &err));
    const char *at = strstr((char *)text, key);
    size_t kib = at ? strtoul(at + strlen(key), NULL, 10) : 0;
    free(text);
    return kib;
}

static size_t disk_bytes;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    if (type == FTW_F)
        disk_bytes += (size_t)st->st_size / st->st_nlink;
    return 0;
}

static size_t disk(const char *name)
{
    LT_AUTOFREE char *path = lt_file_path(rig.state, name);

    disk_bytes = 0;
    nftw(path, add_file, 16, FTW_PHYS); /* files come and go meanwhile */
    return disk_bytes;
}

/* ---- what is seen ---- */

struct seen {
    unsigned samples, late, not_trusted;
    uint64_t oldest_ms;
    size_t peak_bundles, peak_rss_kib;
    char trouble[256];
};

static json_t *get(const char *path)
{
    LT_AUTOFREE char *reply = check_status(rig.operator, "GET", api, path, NULL, 200);
    json_t *j = lt_json_parse(reply, strlen(reply), LT_MAX_BUNDLE, &err);

    assert_non_null(j);
    return j;
}

static uint64_t slack_ms(void)
{
    return 15000; /* gathering, and a busy machine of two cores */
}

static void look_at(struct seen *s, unsigned i, bool settled)
{
    char uuid[LT_UUID_TEXT], path[128];

    lt_uuid_format(agents[i].uuid, uuid);
    snprintf(path, sizeof path, "/federation/v1/guests/%s", uuid);
    LT_JSON_AUTO json_t *j = get(path);
    const json_t *v = json_object_get(j, "verdict");
    const char *result = json_string_value(json_object_get(v, "result"));
    uint64_t age = (uint64_t)json_integer_value(json_object_get(json_object_get(v, "times"), "age_ms"));
    if (!settled)
        return;
    s->samples++;
    if (!result || strcmp(result, "trusted")) {
        LT_AUTOFREE char *text = lt_json_dump(v ? v : j);
        s->not_trusted++;
        snprintf(s->trouble, sizeof s->trouble, "%s", text);
    }
    s->late += age > o.period_s * 1000ull + slack_ms();
    if (age > s->oldest_ms)
        s->oldest_ms = age;
}

/* From one period after the start on, so that every honest guest has had its first rounds. */
static void watch(struct seen *s)
{
    uint64_t from = lt_clock_ms(), now;

    while ((now = lt_clock_ms()) < from + o.seconds * 1000ull) {
        for (unsigned i = 0; i < o.honest; i++)
            look_at(s, i, now > from + o.period_s * 1000ull + slack_ms());
        size_t bundles = disk("bundles"), rss = status_kib("VmRSS:");
        s->peak_bundles = bundles > s->peak_bundles ? bundles : s->peak_bundles;
        s->peak_rss_kib = rss > s->peak_rss_kib ? rss : s->peak_rss_kib;
        fprintf(stderr,
                "hostile_guests: %4llu s, RSS %zu MiB, bundles %zu MiB, oldest honest verdict %.1f s, not "
                "trusted %u\n",
                (unsigned long long)(now - from) / 1000, rss >> 10, bundles >> 20, (double)s->oldest_ms / 1e3,
                s->not_trusted);
        usleep(1000000);
    }
    size_t high = status_kib("VmHWM:");
    s->peak_rss_kib = high > s->peak_rss_kib ? high : s->peak_rss_kib;
}

static int report(const struct seen *s)
{
    size_t ceiling =
        (size_t)o.memory_mib * 1024 + 128 * 1024 + (size_t)count * 512; /* KiB, docs/operations.md */
    unsigned long asked = 0, answered = 0, honest = 0;

    for (unsigned i = 0; i < count; i++) {
        asked += i >= o.honest ? atomic_load(&agents[i].asked) : 0;
        answered += i >= o.honest ? atomic_load(&agents[i].answered) : 0;
        honest += i < o.honest ? atomic_load(&agents[i].answered) : 0;
    }
    bool memory = !RSS_TELLS || s->peak_rss_kib <= ceiling;
    bool bundles = s->peak_bundles <= (size_t)o.bundle_mib * MIB;
    bool on_time = s->samples && !s->late && !s->not_trusted, attacked = answered > 0 && asked >= o.guests;
    LT_JSON_AUTO json_t *status = get("/federation/v1/status");
    LT_JSON_AUTO json_t *out = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:O, s:s}",
        "long", "hostile_guests", "hostile", (int)o.guests, "honest", (int)o.honest, "list_mib", (int)o.mib,
        "period_s", (int)o.period_s, "seconds", (int)o.seconds, "rss_peak_mib", (int)(s->peak_rss_kib >> 10),
        "rss_ceiling_mib", (int)(ceiling >> 10), "bundles_peak_mib", (int)(s->peak_bundles >> 20),
        "bundles_ceiling_mib", (int)o.bundle_mib, "oldest_honest_verdict_s", (double)s->oldest_ms / 1e3,
        "honest_samples", (int)s->samples, "honest_late", (int)s->late, "honest_not_trusted",
        (int)s->not_trusted, "honest_answers", (int)honest, "hostile_questions", (int)asked,
        "hostile_answers", (int)answered, "status", status, "trouble", s->trouble);
    LT_AUTOFREE char *text = lt_json_dump(out);

    puts(text ? text : "{}");
    if (!RSS_TELLS)
        fprintf(stderr, "hostile_guests: RSS is not judged in this build\n");
    if (!memory)
        fprintf(stderr, "hostile_guests: RSS above its ceiling\n");
    if (!bundles)
        fprintf(stderr, "hostile_guests: bundles above their ceiling\n");
    if (!on_time)
        fprintf(stderr, "hostile_guests: honest guests were late or not trusted\n");
    if (!attacked)
        fprintf(stderr, "hostile_guests: the hostile guests were not asked, which shows nothing\n");
    return memory && bundles && on_time && attacked ? 0 : 1;
}

static bool parse(int argc, char **argv)
{
    static const struct option options[] = {{"guests", 1, NULL, 'g'},  {"honest", 1, NULL, 'h'},
                                            {"mib", 1, NULL, 'm'},     {"period", 1, NULL, 'p'},
                                            {"seconds", 1, NULL, 's'}, {"memory", 1, NULL, 'M'},
                                            {"bundles", 1, NULL, 'B'}, {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned v = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        unsigned *at = c == 'g'   ? &o.guests
                       : c == 'h' ? &o.honest
                       : c == 'm' ? &o.mib
                       : c == 'p' ? &o.period_s
                       : c == 's' ? &o.seconds
                       : c == 'M' ? &o.memory_mib
                       : c == 'B' ? &o.bundle_mib
                                  : NULL;
        if (!at || !v)
            return false;
        *at = v;
    }
    count = o.guests + o.honest;
    return optind == argc && o.mib <= 28 && count <= 8000;
}

int main(int argc, char **argv)
{
    struct seen seen = {0};
    struct rlimit files;

    if (!parse(argc, argv)) {
        fprintf(stderr,
                "usage: hostile_guests [--guests N] [--honest N] [--mib N] [--period S] [--seconds S]\n"
                "                      [--memory MIB] [--bundles MIB]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    rig_make(&rig);
    start_agents();
    make_inventory();
    fill_store();
    make_certificates();
    start_tenant();
    watch(&seen);
    int rc = report(&seen);
    kill(tenant, SIGTERM);
    waitpid(tenant, NULL, 0);
    rig_free(&rig);
    return rc;
}
