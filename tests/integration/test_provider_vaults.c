/* limetree-provider as a process, mock agents behind mutual TLS: lists of openers, escrow copies and hosts'
 * vaults, and who is told of them. */
#include "common/run/clock.h"
#include "provider/provider.h"
#include "residency/openers.h"
#include "tests/support/provider_rig.h"
#include "tests/support/unit.h"

#include <unistd.h>

static const char *const quick[] = {"host_timeout_ms=1500", "host_period_s=3600", NULL};

static int begin(void **state, const char *const *options)
{
    struct rig *r = calloc(1, sizeof *r);
    rig_make(r);
    rig_start(r, options);
    *state = r;
    return 0;
}

static int setup(void **state)
{
    return begin(state, quick);
}

/* Where a host that hangs is waited for until the test lets it go. */
static int setup_patient(void **state)
{
    static const char *const patient[] = {"host_timeout_ms=60000", "host_period_s=3600", NULL};

    return begin(state, patient);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    rig_stop(r);
    rig_free(r);
    free(r);
    return 0;
}

/* A list as the bytes go: told apart by n. The provider does not judge what is in it. */
static size_t list_of(uint8_t n, uint8_t out[200], uint8_t digest[32])
{
    memset(out, n, 200);
    lt_sha256(out, 200, digest);
    return 200;
}

static void openers_path(const uint8_t digest[32], char out[80])
{
    strcpy(out, "openers/");
    lt_hex(digest, 32, out + strlen(out));
}

static void guest_path(uint32_t guest, const char *behind, char out[120])
{
    char uuid[LT_UUID_TEXT];
    uint8_t raw[16];

    mock_uuid(guest, raw);
    lt_uuid_format(raw, uuid);
    snprintf(out, 120, "guests/%s%s", uuid, behind);
}

/* The provider has seen a quote over what the agent's inventory is now. */
static void quoted(struct rig *r, unsigned host)
{
    char path[80];
    uint64_t until = lt_clock_ms() + 20000, last = 0;

    snprintf(path, sizeof path, "hosts/%s/pcrs", r->host[host]);
    pthread_mutex_lock(&r->agent[host].lock);
    uint64_t quotes = r->agent[host].host.quotes;
    pthread_mutex_unlock(&r->agent[host].lock);
    while (last <= quotes) { /* a quote that began after now */
        struct lt_http_reply reply = {0};
        rig_http(r, r->operator, "POST", "rounds", "{\"hosts\":null}", NULL, NULL);
        if (rig_http(r, r->operator, "GET", path, NULL, NULL, &reply) == 200) {
            LT_JSON_AUTO json_t *j = lt_json_parse(reply.body, reply.n, 1 << 16, &err);
            last = (uint64_t)json_integer_value(json_object_get(j, "seq"));
        }
        free((char *)reply.body);
        assert_true(lt_clock_ms() < until);
    }
}

/* Guests first, first + 1, … of a tenant on that host, each with a list of its own: list_of(number). */
static void settle(struct rig *r, unsigned host, uint32_t first, uint32_t count, const uint8_t tenant[16])
{
    struct mock_agent *a = &r->agent[host];
    uint8_t list[200], digest[32];

    pthread_mutex_lock(&a->lock);
    mock_host_populate(&a->host, first, count);
    for (uint32_t i = first; i < first + count; i++) {
        list_of((uint8_t)i, list, digest);
        mock_host_seal(&a->host, i, digest);
    }
    pthread_mutex_unlock(&a->lock);
    rig_enrol(r, host);
    for (uint32_t i = first; i < first + count; i++)
        rig_assign(r, i, tenant);
    quoted(r, host);
}

static void has_list(struct rig *r, unsigned host, uint8_t n)
{
    uint8_t list[200], digest[32];

    mock_agent_has(&r->agent[host], list, list_of(n, list, digest));
}

/* Asks for the list of that number; the body, where it is one, must be it. */
static int ask(struct rig *r, struct lt_http_client *c, uint8_t n)
{
    uint8_t list[200], digest[32];
    char path[80];
    struct lt_http_reply reply = {0};
    size_t size = list_of(n, list, digest);

    openers_path(digest, path);
    int status = rig_http(r, c, "GET", path, NULL, NULL, &reply);
    if (status == 200) {
        assert_int_equal(reply.n, size);
        assert_memory_equal(reply.body, list, size);
    }
    free((char *)reply.body);
    return status;
}

/* ---- openers ---- */

static void a_list_is_asked_for_once(void **state)
{
    struct rig *r = *state;

    settle(r, 0, 1, 1, r->tenant_a);
    has_list(r, 0, 1);
    assert_int_equal(ask(r, r->a, 1), 200);
    assert_int_equal(ask(r, r->a, 1), 200);
    assert_int_equal(ask(r, r->operator, 1), 200);
    assert_int_equal(atomic_load(&r->agent[0].blobs), 1);
    mock_agent_has(&r->agent[0], NULL, 0);
    assert_int_equal(ask(r, r->a, 1), 200); /* kept: the host need not have it any more */
}

/* Another tenant's list, kept already, answers as one that nobody has. */
static void a_foreign_list_is_as_one_that_is_not(void **state)
{
    struct rig *r = *state;
    struct lt_http_reply foreign = {0}, none = {0};
    uint8_t list[200], digest[32];
    char path[80];

    settle(r, 0, 1, 1, r->tenant_a);
    has_list(r, 0, 1);
    assert_int_equal(ask(r, r->a, 1), 200);
    list_of(1, list, digest);
    openers_path(digest, path);
    assert_int_equal(rig_http(r, r->b, "GET", path, NULL, NULL, &foreign), 404);
    list_of(77, list, digest);
    openers_path(digest, path);
    assert_int_equal(rig_http(r, r->b, "GET", path, NULL, NULL, &none), 404);
    assert_string_equal(foreign.body, none.body);
    assert_int_equal(rig_http(r, r->a, "GET", "openers/zz", NULL, NULL, NULL), 404);
    free((char *)foreign.body);
    free((char *)none.body);
    assert_int_equal(atomic_load(&r->agent[0].blobs), 1); /* nor was the host asked */
    rig_assign(r, 1, r->tenant_b);
    assert_int_equal(ask(r, r->a, 1), 404);
    assert_int_equal(ask(r, r->b, 1), 200);
}

static void another_list_than_asked_for_counts_for_nothing(void **state)
{
    struct rig *r = *state;

    settle(r, 0, 1, 1, r->tenant_a);
    has_list(r, 0, 2);
    assert_int_equal(ask(r, r->a, 1), 404);
    assert_int_equal(ask(r, r->a, 1), 404);
    assert_int_equal(atomic_load(&r->agent[0].blobs), 2); /* not kept */
    has_list(r, 0, 1);
    assert_int_equal(ask(r, r->a, 1), 200);
}

/* Two hosts name the list; the one that lies is passed over. */
static void the_next_host_is_asked(void **state)
{
    struct rig *r = *state;
    unsigned liar = strcmp(r->host[0], r->host[1]) < 0 ? 0 : 1;

    settle(r, 0, 1, 1, r->tenant_a);
    settle(r, 1, 1, 1, r->tenant_a);
    has_list(r, liar, 9);
    has_list(r, !liar, 1);
    assert_int_equal(ask(r, r->a, 1), 200);
    assert_int_equal(atomic_load(&r->agent[liar].blobs), 1);
    assert_int_equal(atomic_load(&r->agent[!liar].blobs), 1);
}

static void reseal(struct rig *r, unsigned host, uint32_t guest, uint8_t n)
{
    uint8_t list[200], digest[32];

    list_of(n, list, digest);
    pthread_mutex_lock(&r->agent[host].lock);
    mock_host_seal(&r->agent[host].host, guest, digest);
    pthread_mutex_unlock(&r->agent[host].lock);
    quoted(r, host);
}

/* A tenant asks for the list of the quote that it judges, and no record names that any more. */
static void a_list_that_was_replaced_meanwhile(void **state)
{
    struct rig *r = *state;

    settle(r, 0, 1, 1, r->tenant_a);
    reseal(r, 0, 1, 2);
    has_list(r, 0, 1); /* the host keeps it */
    assert_int_equal(ask(r, r->b, 1), 404);
    assert_int_equal(atomic_load(&r->agent[0].blobs), 0);
    assert_int_equal(ask(r, r->a, 1), 200);
    has_list(r, 0, 2);
    assert_int_equal(ask(r, r->a, 2), 200);
    reseal(r, 0, 1, 3);
    mock_agent_has(&r->agent[0], NULL, 0);
    assert_int_equal(ask(r, r->a, 2), 200); /* kept, and of a guest of its own still */
    assert_int_equal(ask(r, r->b, 2), 404);
    assert_int_equal(ask(r, r->a, 77), 404);
}

static void an_endless_list_is_none(void **state)
{
    struct rig *r = *state;
    size_t n = LT_MAX_OPENERS_BYTES + 1;
    uint8_t *much = calloc(1, n), digest[32];
    char path[80];

    settle(r, 0, 1, 1, r->tenant_a);
    lt_sha256(much, n, digest);
    pthread_mutex_lock(&r->agent[0].lock);
    mock_host_seal(&r->agent[0].host, 1, digest);
    pthread_mutex_unlock(&r->agent[0].lock);
    quoted(r, 0);
    openers_path(digest, path);
    mock_agent_has(&r->agent[0], much, n);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 404);
    mock_agent_has(&r->agent[0], much, n - 1);
    lt_sha256(much, n - 1, digest);
    pthread_mutex_lock(&r->agent[0].lock);
    mock_host_seal(&r->agent[0].host, 1, digest);
    pthread_mutex_unlock(&r->agent[0].lock);
    quoted(r, 0);
    openers_path(digest, path);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 200);
    free(much);
}

/* ---- many at once ---- */

struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t news;
    unsigned left, ok, busy, unreachable, other;
};

/* One a test, for good: answers may come after an assertion that failed. */
static struct crowd *crowd_new(void)
{
    static struct crowd all[3];
    static unsigned used;

    assert_true(used < 3);
    pthread_mutex_init(&all[used].lock, NULL);
    pthread_cond_init(&all[used].news, NULL);
    return &all[used++];
}

static void crowd_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct crowd *c = arg;

    pthread_mutex_lock(&c->lock);
    if (e->code)
        c->other++;
    else if (reply->status == 200)
        c->ok++;
    else if (strstr(reply->body, "\"busy\""))
        c->busy++;
    else if (strstr(reply->body, "\"host-unreachable\""))
        c->unreachable++;
    else
        c->other++;
    c->left--;
    pthread_cond_signal(&c->news);
    pthread_mutex_unlock(&c->lock);
}

static void crowd_ask(struct rig *r, struct lt_http_client *client, struct crowd *c, uint8_t n)
{
    uint8_t list[200], digest[32];
    char path[80], url[256];

    list_of(n, list, digest);
    openers_path(digest, path);
    snprintf(url, sizeof url, "https://%s/federation/v1/%s", r->address, path);
    pthread_mutex_lock(&c->lock);
    c->left++;
    pthread_mutex_unlock(&c->lock);
    lt_http_send(client, &(struct lt_http_request){.method = "GET", .url = url}, crowd_done, c);
}

static void crowd_wait(struct crowd *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->left)
        pthread_cond_wait(&c->news, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void await_blobs(struct mock_agent *a, unsigned n)
{
    uint64_t until = lt_clock_ms() + 10000;

    while (atomic_load(&a->blobs) < n) {
        assert_true(lt_clock_ms() < until);
        usleep(1000);
    }
}

static void those_who_ask_meanwhile_share_a_question(void **state)
{
    struct rig *r = *state;
    struct mock_agent *a = &r->agent[0];
    struct crowd *c = crowd_new();
    struct lt_http_client *many = rig_client(r, "tenant-a", 32);

    settle(r, 0, 1, 1, r->tenant_a);
    has_list(r, 0, 1);
    atomic_store(&a->blob_hang, true);
    for (unsigned i = 0; i < 16; i++)
        crowd_ask(r, many, c, 1);
    await_blobs(a, 1);
    /* Quotes do not wait behind it. */
    LT_JSON_AUTO json_t *proofs = rig_json(r, r->a, "POST", "proofs", rig_ask(1, 1, 5), 200);
    const json_t *proof = json_array_get(json_object_get(proofs, "proofs"), 0);
    assert_true(json_is_object(json_object_get(proof, "residency")));
    atomic_store(&a->blob_hang, false);
    mock_agent_let_go(a);
    crowd_wait(c);
    assert_int_equal(c->ok, 16);
    assert_int_equal(atomic_load(&a->blobs), 1);
    lt_http_client_free(many);
}

static void a_host_that_hangs_is_503(void **state)
{
    struct rig *r = *state;
    uint64_t began;

    settle(r, 0, 1, 1, r->tenant_a);
    atomic_store(&r->agent[0].blob_hang, true);
    began = lt_clock_ms();
    assert_int_equal(ask(r, r->a, 1), 503);
    assert_true(lt_clock_ms() - began < 10000);
}

static void await_busy(struct crowd *c, unsigned n)
{
    uint64_t until = lt_clock_ms() + 30000;
    unsigned are;

    do {
        pthread_mutex_lock(&c->lock);
        are = c->busy;
        pthread_mutex_unlock(&c->lock);
        assert_true(lt_clock_ms() < until);
        usleep(1000);
    } while (are < n);
}

/* One tenant's questions at a host that hangs do not take another's place; and those that wait for their turn
 * there are not asked any more once it has failed the ones before. */
static void a_tenant_has_its_share_of_questions(void **state)
{
    struct rig *r = *state;
    struct crowd *c = crowd_new();
    struct lt_http_client *many = rig_client(r, "tenant-a", 200);
    struct mock_agent *a = &r->agent[0];
    enum { MORE = LT_MAX_SOUGHT_TENANT + 6 };

    settle(r, 0, 1, MORE, r->tenant_a);
    settle(r, 1, 200, 1, r->tenant_b);
    has_list(r, 1, 200);
    atomic_store(&a->blob_hang, true);
    for (uint8_t i = 1; i <= MORE; i++)
        crowd_ask(r, many, c, i);
    await_busy(c, 6);
    await_blobs(a, LT_MAX_SOUGHT_AT_ONCE);
    assert_int_equal(ask(r, r->b, 200), 200);
    pthread_mutex_lock(&a->lock);
    a->blob_code = LT_E_BUSY;
    pthread_mutex_unlock(&a->lock);
    atomic_store(&a->blob_hang, false);
    mock_agent_let_go(a);
    crowd_wait(c);
    assert_int_equal(c->busy, 6);
    assert_int_equal(c->unreachable, LT_MAX_SOUGHT_TENANT);
    assert_int_equal(atomic_load(&a->blobs), LT_MAX_SOUGHT_AT_ONCE);
    lt_http_client_free(many);
}

/* Two tenants' guests have one list, on a host each. */
static void a_silent_host_holds_up_nobody_elses_list(void **state)
{
    struct rig *r = *state;
    struct crowd *c = crowd_new();
    uint8_t list[200], digest[32];

    settle(r, 0, 1, 1, r->tenant_a);
    settle(r, 1, 2, 1, r->tenant_b);
    list_of(1, list, digest);
    pthread_mutex_lock(&r->agent[1].lock);
    mock_host_seal(&r->agent[1].host, 2, digest);
    pthread_mutex_unlock(&r->agent[1].lock);
    quoted(r, 1);
    has_list(r, 1, 1);
    atomic_store(&r->agent[0].blob_hang, true);
    crowd_ask(r, r->a, c, 1);
    await_blobs(&r->agent[0], 1);
    assert_int_equal(ask(r, r->b, 1), 200);
    assert_int_equal(ask(r, r->a, 1), 200); /* it is kept now, whoever asked for it */
    mock_agent_let_go(&r->agent[0]);
    crowd_wait(c);
}

/* ---- escrow copies ---- */

static size_t copy_of(uint32_t guest, uint8_t out[100])
{
    memset(out, 0, 100);
    memcpy(out, "LT1:ESCROW", 10);
    out[17] = 1;
    mock_uuid(guest, out + 18);
    return 100;
}

static void an_escrow_copy_is_its_tenants(void **state)
{
    struct rig *r = *state;
    struct lt_http_reply foreign = {0}, none = {0}, got = {0};
    uint8_t copy[100];
    char path[120];

    settle(r, 0, 1, 1, r->tenant_a);
    guest_path(1, "/escrow", path);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 404); /* the host has none */
    mock_agent_has(&r->agent[0], copy, copy_of(1, copy));
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, &got), 200);
    assert_int_equal(got.n, sizeof copy);
    assert_memory_equal(got.body, copy, sizeof copy);
    unsigned asked = atomic_load(&r->agent[0].blobs);
    assert_int_equal(rig_http(r, r->b, "GET", path, NULL, NULL, &foreign), 404);
    guest_path(99, "/escrow", path);
    assert_int_equal(rig_http(r, r->b, "GET", path, NULL, NULL, &none), 404);
    assert_string_equal(foreign.body, none.body);
    assert_int_equal(atomic_load(&r->agent[0].blobs), asked);
    assert_int_equal(rig_http(r, r->operator, "GET", path, NULL, NULL, NULL), 403);
    free((char *)got.body);
    free((char *)foreign.body);
    free((char *)none.body);
}

static void another_vtpms_copy_counts_for_nothing(void **state)
{
    struct rig *r = *state;
    uint8_t copy[100];
    char path[120];

    settle(r, 0, 1, 1, r->tenant_a);
    guest_path(1, "/escrow", path);
    mock_agent_has(&r->agent[0], copy, copy_of(2, copy));
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 404);
    mock_agent_has(&r->agent[0], "LT1:ESCROW", 10);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 404);
}

/* Any host can list a guest; the tenant names the one that it accepted. */
static void the_named_host_is_asked_first(void **state)
{
    struct rig *r = *state;
    uint8_t copy[100];
    char path[120], behind[60];

    settle(r, 0, 1, 1, r->tenant_a);
    settle(r, 1, 1, 1, r->tenant_a);
    for (unsigned named = 0; named < 2; named++) {
        mock_agent_has(&r->agent[0], copy, copy_of(1, copy));
        mock_agent_has(&r->agent[1], copy, sizeof copy);
        atomic_store(&r->agent[!named].blobs, 0);
        snprintf(behind, sizeof behind, "/escrow?host=%s", r->host[named]);
        guest_path(1, behind, path);
        assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 200);
        assert_int_equal(atomic_load(&r->agent[!named].blobs), 0);
    }
    guest_path(1, "/escrow?host=nonsense", path);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 404);
}

/* ---- vaults ---- */

static json_t *asked(struct mock_agent *a)
{
    pthread_mutex_lock(&a->lock);
    json_t *j = json_incref(a->vault_asked);
    pthread_mutex_unlock(&a->lock);
    return j;
}

static void bitmap_is(struct rig *r, const char *want)
{
    LT_JSON_AUTO json_t *j = asked(&r->agent[0]);
    assert_string_equal(json_string_value(json_object_get(j, "bitmap")), want);
}

static void vaults_are_the_operators(void **state)
{
    struct rig *r = *state;
    char path[80];

    settle(r, 0, 1, 1, r->tenant_a);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const what[] = {"vault", "pcrs", "seal", "reseal"};
        snprintf(path, sizeof path, "hosts/%s/%s", r->host[0], what[i]);
        assert_int_equal(rig_http(r, r->a, i < 2 ? "GET" : "POST", path, i < 2 ? NULL : "{}", NULL, NULL),
                         403);
        snprintf(path, sizeof path, "hosts/%032d/%s", 0, what[i]);
        assert_int_equal(
            rig_http(r, r->operator, i<2 ? "GET" : "POST", path, i < 2 ? NULL : "{}", NULL, NULL), 404);
    }
    LT_JSON_AUTO json_t *none = asked(&r->agent[0]);
    assert_null(none);
    snprintf(path, sizeof path, "hosts/%s/vault", r->host[0]);
    LT_JSON_AUTO json_t *j = rig_json(r, r->operator, "GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(j, "state")), "open");
}

/* What the published policy judges is in the state: else it would accept none. */
static void a_seal_takes_what_the_policy_judges(void **state)
{
    struct rig *r = *state;
    char path[80];

    settle(r, 0, 1, 1, r->tenant_a);
    snprintf(path, sizeof path, "hosts/%s/seal", r->host[0]);
    json_decref(rig_json(r, r->operator, "POST", path, json_object(), 201));
    bitmap_is(r, "00005395");
    json_decref(rig_json(r, r->operator, "POST", path, json_pack("{s:s}", "bitmap", "00005bff"), 201));
    bitmap_is(r, "00005bff");
    assert_int_equal(rig_http(r, r->operator, "POST", path, "{\"bitmap\":\"5395\"}", NULL, NULL), 400);
    assert_int_equal(rig_http(r, r->operator, "POST", path, "{\"bitmaps\":null}", NULL, NULL), 400);
    char learn[80];
    snprintf(learn, sizeof learn, "hosts/%s/learn", r->host[0]);
    json_decref(rig_json(r, r->operator, "POST", learn, json_object(), 201));
    json_decref(rig_json(r, r->operator, "POST", path, json_object(), 201));
    LT_JSON_AUTO json_t *j = asked(&r->agent[0]);
    const char *bitmap = json_string_value(json_object_get(j, "bitmap"));
    uint32_t mask = (uint32_t)strtoul(bitmap, NULL, 16);
    assert_int_equal(mask & 0x53ff, 0x53ff);
    assert_int_equal(mask & LT_OPENERS_STATE_NEVER, 0);
}

static void a_reseal_goes_to_the_host_as_it_is(void **state)
{
    struct rig *r = *state;
    char path[80];

    settle(r, 0, 1, 1, r->tenant_a);
    snprintf(path, sizeof path, "hosts/%s/reseal", r->host[0]);
    json_decref(rig_json(r, r->operator, "POST", path, json_pack("{s:[], s:[i]}", "add", "drop", 3), 200));
    LT_JSON_AUTO json_t *j = asked(&r->agent[0]);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(j, "drop"), 0)), 3);
    assert_int_equal(rig_http(r, r->operator, "POST", path, "{\"states\":[]}", NULL, NULL), 400);
    pthread_mutex_lock(&r->agent[0].lock);
    r->agent[0].vault_code = LT_E_VAULT_LOCKED;
    pthread_mutex_unlock(&r->agent[0].lock);
    LT_JSON_AUTO json_t *locked = rig_json(r, r->operator, "POST", path, json_object(), 409);
    assert_string_equal(json_string_value(json_object_get(json_object_get(locked, "error"), "slug")),
                        "vault-locked");
    mock_agent_stop(&r->agent[0]);
    LT_JSON_AUTO json_t *gone = rig_json(r, r->operator, "POST", path, json_object(), 503);
    assert_string_equal(json_string_value(json_object_get(json_object_get(gone, "error"), "slug")),
                        "host-unreachable");
    mock_agent_start(&r->agent[0], r->dir, "host-0");
}

static void pcrs_are_those_of_the_last_quote(void **state)
{
    struct rig *r = *state;
    struct mock_agent *a = &r->agent[0];
    char path[80], hex[65];

    settle(r, 0, 1, 1, r->tenant_a);
    pthread_mutex_lock(&a->lock);
    memset(a->host.pcrs.value[4], 0x5a, 32);
    pthread_mutex_unlock(&a->lock);
    quoted(r, 0);
    snprintf(path, sizeof path, "hosts/%s/pcrs", r->host[0]);
    LT_JSON_AUTO json_t *j = rig_json(r, r->operator, "GET", path, NULL, 200);
    lt_hex(a->host.pcrs.value[4], 32, hex);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "pcrs"), "4")), hex);
    assert_int_equal(json_object_size(json_object_get(j, "pcrs")), 16);
    assert_in_range(json_integer_value(json_object_get(j, "age_ms")), 0, 20000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_list_is_asked_for_once),
        T(a_foreign_list_is_as_one_that_is_not),
        T(another_list_than_asked_for_counts_for_nothing),
        T(the_next_host_is_asked),
        T(a_list_that_was_replaced_meanwhile),
        T(an_endless_list_is_none),
        T(those_who_ask_meanwhile_share_a_question),
        T(a_host_that_hangs_is_503),
        cmocka_unit_test_setup_teardown(a_tenant_has_its_share_of_questions, setup_patient, teardown),
        cmocka_unit_test_setup_teardown(a_silent_host_holds_up_nobody_elses_list, setup_patient, teardown),
        T(an_escrow_copy_is_its_tenants),
        T(another_vtpms_copy_counts_for_nothing),
        T(the_named_host_is_asked_first),
        T(vaults_are_the_operators),
        T(a_seal_takes_what_the_policy_judges),
        T(a_reseal_goes_to_the_host_as_it_is),
        T(pcrs_are_those_of_the_last_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
