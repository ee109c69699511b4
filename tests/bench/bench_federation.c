/* How many tenants one chip serves. A real limetree-provider in a process of its own; this process is the
 * load (closed loop, every waiting tenant on a connection of its own) and, unless --agent names a real one,
 * the host agent with a TPM that takes --delay ms for a quote. JSON on stdout. */
#include "common/run/clock.h"
#include "provider/registry_store.h"
#include "residency/error.h"
#include "tests/support/provider_rig.h"
#include "tests/support/unit.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES (1u << 22)
#define MAX_PHASES 16
#define MAX_WAITING 8000
#define START_S 120    /* for the first answer of every tenant, handshakes included */
#define PER_CLIENT 250 /* connections: curl looks for a free one by walking them all */
#define HANDSHAKES 64  /* at once, while the load builds up */

struct options {
    unsigned seconds, warm_up, delay_ms, waiting[MAX_PHASES], phases;
    const char *agent, *pki;
    bool throughput;
};

struct bench {
    struct rig rig;
    struct options o;
    struct lt_http_client *as_provider; /* asks the agent, as the control does */
    const char *agent;
    double t_ms; /* one quote, as the control measures it */
};

/* ---- one closed loop for each tenant that waits ---- */

struct load;

struct loop {
    struct load *load;
    struct lt_http_client *client;
    char *body;
    size_t body_n;
    uint64_t sent_ns;
    bool started;
};

struct load {
    char url[128];
    struct loop *loops;
    uint32_t items; /* a request */
    atomic_uint running, started;
    atomic_bool stop, measure;
    atomic_ulong replies, failed;
    atomic_uint samples;
    float *ms;
};

static void loop_send(struct loop *l);

static void loop_done(void *arg, const struct lt_http_reply *r, const struct lt_err *e)
{
    struct loop *l = arg;
    struct load *load = l->load;
    bool good = !e->code && r->status == 200 && strstr(r->body, "\"error\":null");

    if (!good && !atomic_load(&load->failed))
        fprintf(stderr, "bench_federation: %s %.200s\n", e->msg, r ? r->body : "");
    if (!l->started) {
        l->started = true;
        atomic_fetch_add(&load->started, 1);
    }
    if (!good) {
        atomic_fetch_add(&load->failed, 1);
    } else if (atomic_load(&load->measure)) {
        unsigned i = atomic_fetch_add(&load->samples, 1);
        if (i < MAX_SAMPLES)
            load->ms[i] = (float)(lt_clock_ns() - l->sent_ns) / 1e6f;
        atomic_fetch_add(&load->replies, 1);
    }
    if (atomic_load(&load->stop) || !good)
        atomic_fetch_sub(&load->running, 1);
    else
        loop_send(l);
}

static void loop_send(struct loop *l)
{
    l->sent_ns = lt_clock_ns();
    lt_http_send(
        l->client,
        &(struct lt_http_request){
            .method = "POST", .url = l->load->url, .body = l->body, .body_n = l->body_n, .timeout_ms = 60000},
        loop_done, l);
}

static void pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

static void await_started(const struct load *l, uint32_t count)
{
    for (uint64_t until = lt_clock_ms() + START_S * 1000; atomic_load(&l->started) < count;) {
        if (lt_clock_ms() > until)
            fail_msg("%u of %u tenants have an answer after %d s", atomic_load(&l->started), count, START_S);
        pause_ms(1);
    }
}

static double provider_cpu(const struct bench *b)
{
    clockid_t id;
    struct timespec t;
    assert_int_equal(clock_getcpuclockid(b->rig.pid, &id), 0);
    assert_int_equal(clock_gettime(id, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static json_t *agent_json(struct bench *b, const char *method, const char *name, json_t *body, int want)
{
    char url[320];
    struct lt_http_reply reply = {0};
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;

    json_decref(body);
    snprintf(url, sizeof url, "https://%s/federation/v1/%s", b->agent, name);
    OK(lt_http_call(b->as_provider,
                    &(struct lt_http_request){
                        .method = method, .url = url, .body = text, .body_n = text ? strlen(text) : 0},
                    &reply, &err));
    json_t *j = lt_http_json(&reply, want, lt_residency_error_read, &err);
    free((char *)reply.body);
    if (!j)
        fail_msg("agent: %s", err.msg);
    return j;
}

/* Tells how many quotes there were, for a real agent too. */
static int64_t last_batch_seq(struct bench *b)
{
    int64_t seq;
    LT_JSON_AUTO json_t *j = agent_json(b, "GET", "host", NULL, 200);
    OK(lt_json_int(j, "batch_seq", 0, INT64_MAX, &seq, &err));
    return seq;
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* waiting loops of items guests each; guests are taken in turn. */
static json_t *run(struct bench *b, uint32_t waiting, uint32_t items, uint32_t guests, unsigned delay_ms)
{
    struct load load = {.items = items,
                        .loops = calloc(waiting, sizeof *load.loops),
                        .ms = malloc(MAX_SAMPLES * sizeof *load.ms)};
    struct lt_http_client *clients[MAX_WAITING / PER_CLIENT + 1];
    uint32_t client_count = (waiting + PER_CLIENT - 1) / PER_CLIENT;

    fprintf(stderr, "bench_federation: %u waiting, %u guests a request, T = %u ms\n", waiting, items,
            delay_ms);
    atomic_store(&b->rig.agent[0].delay_ms, 0); /* until all are connected */
    snprintf(load.url, sizeof load.url, "https://%s/federation/v1/proofs", b->rig.address);
    for (uint32_t i = 0; i < client_count; i++)
        clients[i] = rig_client(&b->rig, "tenant-a", PER_CLIENT);
    atomic_store(&load.running, waiting);
    for (uint32_t i = 0; i < waiting; i++) {
        LT_JSON_AUTO json_t *ask = rig_ask(i * items % (guests - items + 1), items, i);
        load.loops[i] =
            (struct loop){.load = &load, .client = clients[i / PER_CLIENT], .body = lt_json_dump(ask)};
        load.loops[i].body_n = strlen(load.loops[i].body);
        await_started(&load, i < HANDSHAKES ? 0 : i - HANDSHAKES);
        loop_send(&load.loops[i]);
    }
    await_started(&load, waiting);
    atomic_store(&b->rig.agent[0].delay_ms, delay_ms);
    pause_ms(b->o.warm_up * 1000);
    int64_t seq = last_batch_seq(b);
    double cpu = provider_cpu(b);
    uint64_t from = lt_clock_ns();
    atomic_store(&load.measure, true);
    pause_ms(b->o.seconds * 1000);
    atomic_store(&load.measure, false);
    double s = (double)(lt_clock_ns() - from) / 1e9;
    cpu = provider_cpu(b) - cpu;
    seq = last_batch_seq(b) - seq;
    atomic_store(&load.stop, true);
    while (atomic_load(&load.running))
        pause_ms(10);
    for (uint32_t i = 0; i < client_count; i++)
        lt_http_client_free(clients[i]);

    unsigned n = atomic_load(&load.samples) < MAX_SAMPLES ? atomic_load(&load.samples) : MAX_SAMPLES;
    double proofs = (double)atomic_load(&load.replies) * items;
    qsort(load.ms, n, sizeof *load.ms, by_size);
    double p50 = n ? (double)load.ms[n / 2] : 0, p99 = n ? (double)load.ms[n - 1 - n / 100] : 0;
    json_t *j = json_pack("{s:i, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:I}", "waiting", (int)waiting,
                          "guests_per_request", (int)items, "quotes", (json_int_t)seq, "proofs", proofs,
                          "proofs_per_s", proofs / s, "wait_p50_ms", p50, "wait_p99_ms", p99,
                          "provider_cpu_us_per_proof", proofs > 0 ? cpu * 1e6 / proofs : 0, "failed",
                          (json_int_t)atomic_load(&load.failed));
    if (delay_ms) {
        json_object_set_new(j, "wait_p50_T", json_real(p50 / b->t_ms));
        json_object_set_new(j, "wait_p99_T", json_real(p99 / b->t_ms));
        json_object_set_new(j, "control_wait_T", json_real(waiting));
    }
    for (uint32_t i = 0; i < waiting; i++)
        free(load.loops[i].body);
    free(load.loops);
    free(load.ms);
    return j;
}

/* The control: a quote for every request, one after the other, straight from the agent. With W waiting, each
 * then waits W quotes (Little's law), which is control_wait_T above. */
static json_t *control(struct bench *b)
{
    static float ms[1u << 16];
    uint8_t zeros[32] = {0}, root[32];
    int64_t seq;
    unsigned n = 0;

    while (!(seq = last_batch_seq(b))) /* the provider's own first quote has been made */
        pause_ms(10);
    uint64_t from = lt_clock_ns(), now = from;
    LT_JSON_AUTO json_t *host = agent_json(b, "GET", "host", NULL, 200);
    json_t *known = json_object_get(json_object_get(host, "inventory"), "root");

    fprintf(stderr, "bench_federation: control, a quote for each request\n");
    atomic_store(&b->rig.agent[0].delay_ms, b->o.delay_ms);
    while (now - from < b->o.seconds * 1000000000ull && n < sizeof ms / sizeof *ms) {
        lt_random(root, sizeof root);
        json_t *ask = json_pack("{s:I, s:i, s:o, s:o, s:O}", "batch_seq", (json_int_t)++seq, "n", 1,
                                "batch_root", lt_json_new_hex(root, 32), "policy_digest",
                                lt_json_new_hex(zeros, 32), "inventory_root", known);
        json_decref(agent_json(b, "POST", "host-quotes", ask, 200));
        uint64_t then = now;
        now = lt_clock_ns();
        ms[n++] = (float)(now - then) / 1e6f;
    }
    qsort(ms, n, sizeof *ms, by_size);
    b->t_ms = (double)ms[n / 2];
    return json_pack("{s:i, s:f, s:f}", "quotes", (int)n, "proofs_per_s", n / ((double)(now - from) / 1e9),
                     "quote_p50_ms", b->t_ms);
}

/* ---- set-up ---- */

/* Assignments straight into the store: thousands of them, and a guest of a real host needs no VM. */
static void seed(struct bench *b, const uint8_t host[16], uint32_t guests)
{
    char state[128];
    struct lt_db *db = NULL;
    struct lt_registry_store_guest g = {.has_tenant = true};

    snprintf(state, sizeof state, "%s/state", b->rig.dir);
    OK(lt_registry_store_open(state, NULL, &db, &err));
    memcpy(g.tenant, b->rig.tenant_a, 16);
    struct lt_registry_store_place *places =
        calloc(guests, sizeof *places); /* EKs not known: as of an earlier version */
    for (uint32_t i = 0; i < guests; i++) {
        mock_uuid(i, g.uuid);
        OK(lt_registry_store_put_guest(db, &g, &err));
        memcpy(places[i].uuid, g.uuid, 16);
        memcpy(places[i].host, host, 16);
    }
    lt_registry_store_post_places(db, places, guests);
    lt_db_close(db);
}

static void prepare(struct bench *b, uint32_t guests)
{
    static const char *const wide[] = {"max_waiting=1000000",
                                       "max_waiting_per_tenant=1000000",
                                       "max_connections_per_address=8192",
                                       "log_level=warning",
                                       "host_period_s=3600",
                                       NULL}; /* the control asks the host itself */
    uint8_t host[16];

    mock_host_populate(&b->rig.agent[0].host, 0, guests);
    rig_start(&b->rig, wide);
    LT_JSON_AUTO json_t *j =
        rig_json(&b->rig, b->rig.operator, "POST", "hosts", json_pack("{s:s}", "address", b->agent), 201);
    OK(lt_json_hex(j, "host", host, sizeof host, &err));
    rig_stop(&b->rig);
    seed(b, host, guests);
    rig_start(&b->rig, wide);
}

static void usage(FILE *out)
{
    fprintf(
        out,
        "usage: bench_federation [--seconds N] [--warm-up N] [--delay MS] [--waiting N,N,...] "
        "[--no-throughput]\n"
        "                        [--agent HOST:PORT --pki DIR]\n\n"
        "  --agent  a limetree-agent with the role host instead of the mock one; DIR has ca.pem and ca.key\n"
        "           of its federation. --delay is then without meaning, and only waits are measured\n");
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {{"seconds", 1, NULL, 's'},       {"warm-up", 1, NULL, 'w'},
                                            {"delay", 1, NULL, 'd'},         {"waiting", 1, NULL, 'n'},
                                            {"agent", 1, NULL, 'a'},         {"pki", 1, NULL, 'p'},
                                            {"no-throughput", 0, NULL, 't'}, {0}};
    int opt;

    *o = (struct options){.seconds = 30,
                          .warm_up = 5,
                          .delay_ms = 165,
                          .waiting = {1, 100, 1000, 5000},
                          .phases = 4,
                          .throughput = true};
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 's')
            o->seconds = (unsigned)atoi(optarg);
        else if (opt == 'w')
            o->warm_up = (unsigned)atoi(optarg);
        else if (opt == 'd')
            o->delay_ms = (unsigned)atoi(optarg);
        else if (opt == 'a')
            o->agent = optarg;
        else if (opt == 'p')
            o->pki = optarg;
        else if (opt == 't')
            o->throughput = false;
        else if (opt == 'n')
            for (o->phases = 0; optarg && *optarg && o->phases < MAX_PHASES; optarg += *optarg == ',')
                o->waiting[o->phases++] = (unsigned)strtoul(optarg, &optarg, 10);
        else
            return false;
    }
    for (unsigned i = 0; i < o->phases; i++)
        if (!o->waiting[i] || o->waiting[i] > MAX_WAITING)
            return false;
    return o->seconds && o->phases && !o->agent == !o->pki && optind == argc;
}

int main(int argc, char **argv)
{
    struct bench b = {.t_ms = 1};
    struct rlimit files;
    uint32_t guests = 1024, failed = 0;

    if (!parse(argc, argv, &b.o)) {
        usage(stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (unsigned i = 0; i < b.o.phases; i++)
        if (b.o.waiting[i] > guests)
            guests = b.o.waiting[i];
    rig_make_in(&b.rig, b.o.pki);
    b.as_provider = rig_client_of(&b.rig, "provider", 1, LT_PEER_ROLE_HOST);
    b.agent = b.o.agent ? b.o.agent : mock_agent_address(&b.rig.agent[0]);
    prepare(&b, guests);

    json_t *phases = json_array(),
           *out = json_pack("{s:s, s:s, s:i, s:i, s:i}", "bench", "federation", "agent",
                            b.o.agent ? "real" : "mock", "delay_ms", (int)b.o.delay_ms, "seconds",
                            (int)b.o.seconds, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN));
    json_object_set_new(out, "control", control(&b));
    for (unsigned i = 0; i < b.o.phases; i++)
        json_array_append_new(phases, run(&b, b.o.waiting[i], 1, guests, b.o.delay_ms));
    json_object_set_new(out, "batched", phases);
    if (b.o.throughput && !b.o.agent) {
        json_object_set_new(out, "single", run(&b, 256, 1, guests, 0));
        json_object_set_new(out, "arrays", run(&b, 16, 256, guests, 0));
    }
    rig_stop(&b.rig);
    lt_http_client_free(b.as_provider);
    rig_free(&b.rig);
    json_dumpf(out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    putchar('\n');
    size_t i;
    json_t *phase;
    json_array_foreach(json_object_get(out, "batched"), i, phase) failed +=
        json_integer_value(json_object_get(phase, "failed")) != 0;
    json_decref(out);
    return failed ? 1 : 0;
}
