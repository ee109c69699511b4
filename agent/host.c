#include "agent/host.h"

#include "agent/host_api.h"
#include "agent/leaks.h"
#include "agent/local.h"
#include "agent/state.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "residency/error.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INVENTORY_WAIT_MS 30000
#define CONNECT_WAIT_MS 10000
#define INVENTORY_POLL_MS 50

struct lt_agent_host {
    struct lt_state state;
    struct lt_attester attester;
    struct lt_host_api api;
    struct lt_tpm *tpm;
    struct lt_work *worker, *vault_work;
    struct lt_agent_leaks *leaks;
    struct lt_agent_seal *seal; /* NULL: of one-shot commands */
    struct lt_vtpm_inventory *inventory;
    struct lt_http_server *server;
    struct lt_agent_local *local; /* NULL: no socket configured */
    struct lt_crl *crl;           /* NULL: none configured */
    char *secret_file;
    uint32_t reset_count;
    struct lt_err none; /* why there is no key, of one-shot commands that make none */
};

/* R1: AK_h is named in PCR 13, once a boot, by whoever comes first. */
static int anchor(struct lt_device *d, const struct lt_attester *a, struct lt_err *e)
{
    static const uint8_t zero[LT_SHA256];
    uint8_t want[LT_SHA256], event[LT_SHA256];
    struct lt_pcrs pcrs;
    int rc = lt_device_pcr_read(d, 1u << LT_RESIDENCY_AK_PCR, &pcrs, e);

    lt_residency_ak_host_pcr(a->ak_name, want);
    if (!rc && !memcmp(pcrs.value[LT_RESIDENCY_AK_PCR], zero, sizeof zero)) {
        lt_residency_ak_host_event(a->ak_name, event);
        rc = lt_device_pcr_extend(d, LT_RESIDENCY_AK_PCR, event, e);
        if (!rc)
            rc = lt_device_pcr_read(d, 1u << LT_RESIDENCY_AK_PCR, &pcrs, e);
    }
    if (rc || !memcmp(pcrs.value[LT_RESIDENCY_AK_PCR], want, sizeof want))
        return rc;
    return lt_attester_pcr13_refused(pcrs.value[LT_RESIDENCY_AK_PCR], e);
}

/* Looks, and makes nothing: without a key (h->none says why) the EK is still an answer. */
static int open_identity(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct lt_agent_host *h = arg;
    int rc = lt_attester_open(d, &h->attester, e);

    if (rc != LT_E_NOT_FOUND)
        return rc;
    h->none = *e;
    return 0;
}

static int open_anchored(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct lt_agent_host *h = arg;
    struct lt_attest_clock_info clock;

    LT_TRY(lt_attester_open(d, &h->attester, e));
    LT_TRY(anchor(d, &h->attester, e));
    LT_TRY(lt_device_clock(d, &clock, e));
    h->reset_count = clock.reset_count;
    return 0;
}

/* From a thread of the inventory. */
static int clock_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    return lt_device_clock(d, arg, e);
}

static int read_clock(void *ctx, struct lt_vtpm_host_clock *out, struct lt_err *e)
{
    struct lt_attest_clock_info c;
    int rc = lt_tpm_call(ctx, clock_job, &c, e);

    if (!rc)
        *out = (struct lt_vtpm_host_clock){c.reset_count, c.restart_count, c.clock_ms};
    return rc;
}

static struct lt_agent_host *host_new(const struct lt_agent_conf *conf, const struct lt_agent_options *o)
{
    struct lt_agent_host *h = lt_new(struct lt_agent_host);

    h->state.lock = -1;
    h->secret_file = lt_file_path(conf->state_dir, "ak-host.secret");
    h->attester = (struct lt_attester){
        .home = LT_ATTESTER_AK_HOST,
        .ek_alg = o->ek_alg,
        .ak_alg = o->ak_alg,
        .handle = o->ak_handle,
        .file = h->secret_file,
        .make = true,
    };
    return h;
}

static int open_tpm(struct lt_agent_host *h, const struct lt_agent_conf *conf, lt_tpm_fn on_open,
                    struct lt_err *e)
{
    int rc = lt_state_open(conf->state_dir, conf->tcti, &h->state, e);
    return rc ? rc : lt_tpm_start(conf->tcti, on_open, h, &h->tpm, e);
}

static const char *leak(void *ctx)
{
    const struct lt_agent_host *h = ctx;
    return lt_agent_leaks_now(h->leaks);
}

static void entries_changed(void *ctx)
{
    struct lt_agent_host *h = ctx;

    if (h->inventory)
        lt_inventory_entries_changed(h->inventory);
}

/* After the anchor, before the first record: what is in the vault decides over a record's flags. A vault that
 * does not open is told, here and by every route that would need it; the host serves all the same. */
static int open_vault(struct lt_agent_host *h, const struct lt_agent_conf *conf, struct lt_err *e)
{
    const struct lt_agent_seal_conf seal = {
        .dir = h->state.dir,
        .tpm = h->tpm,
        .ek = &h->attester.ek,
        .leak = leak,
        .changed = entries_changed,
        .ctx = h,
    };
    enum lt_agent_leaks_mode mode;

    LT_TRY(lt_agent_leaks_mode(conf->seal_checks, &mode, e));
    LT_TRY(lt_agent_leaks_start(mode, conf->swtpm_user, &h->leaks, e));
    LT_TRY(lt_agent_seal_new(&seal, &h->seal, e));
    (void)!lt_agent_seal_open(h->seal, LT_NO_ERR); /* the log tells */
    return 0;
}

static int start_inventory(struct lt_agent_host *h, const struct lt_agent_conf *conf,
                           int (*clock)(void *, struct lt_vtpm_host_clock *, struct lt_err *),
                           struct lt_err *e)
{
    const struct lt_inventory_conf inventory = {
        .uri = conf->libvirt_uri,
        .records = conf->records,
        .swtpm = conf->swtpm,
        .keeper = h->seal ? lt_agent_seal_keeper(h->seal) : NULL,
        .read_clock = clock,
        .ctx = h->tpm,
    };
    return lt_inventory_start(&inventory, &h->inventory, e);
}

static int start_server(struct lt_agent_host *h, const struct lt_agent_conf *conf, const char *address,
                        struct lt_err *e)
{
    LT_TRY(lt_work_start(&(struct lt_work_conf){"worker", 1, LT_MAX_AGENT_TASKS}, &h->worker, e));
    LT_TRY(lt_work_start(&(struct lt_work_conf){"vault", LT_AGENT_VAULT_THREADS, LT_MAX_AGENT_TASKS},
                         &h->vault_work, e));
    LT_TRY(lt_residency_host_id(&h->attester.ek.pub, h->api.host_id, e));
    LT_TRY(lt_agent_check_identity(conf, h->api.host_id, e));
    lt_residency_ak_host_pcr(h->attester.ak_name, h->api.pcr13);
    h->api.tpm = h->tpm;
    h->api.attester = &h->attester;
    h->api.inventory = h->inventory;
    h->api.ima = conf->ima;
    h->api.boot_log = conf->boot_log;
    h->api.vault = (struct lt_agent_vault_api){h->seal, h->vault_work, h->state.dir};
    const struct lt_http_server_conf server = {
        .listen = address,
        .cert = conf->cert,
        .key = conf->key,
        .client_ca = conf->client_ca,
        .crl = h->crl,
        .error_body = lt_residency_error,
        .routes = lt_agent_host_routes,
        .route_count = lt_agent_host_route_count,
        .app = &h->api,
        .work = h->worker,
        .threads = 2,
        .max_connections = 256,
    };
    return lt_http_server_start(&server, &h->server, e);
}

/* Before anything else uses the TPM's thread, which writes reset_count. */
static int open_sequence(struct lt_agent_host *h, struct lt_err *e)
{
    LT_AUTOFREE char *file = lt_file_path(h->state.dir, "batch-seq");
    return lt_sequence_open(file, h->reset_count, &h->api.sequence, e);
}

/* What --identity would say: while this agent serves, that is refused. */
static void log_identity(const struct lt_agent_host *h)
{
    char id[2 * LT_RESIDENCY_HOST_ID + 1], ek[2 * LT_SHA256 + 1], ak[2 * LT_TPM_NAME + 1];
    uint8_t digest[LT_SHA256];
    struct lt_err none;

    if (lt_public_ek_digest(&h->attester.ek.pub, digest, &none))
        return;
    lt_hex(h->api.host_id, LT_RESIDENCY_HOST_ID, id);
    lt_hex(digest, sizeof digest, ek);
    lt_hex(h->attester.ak_name, LT_TPM_NAME, ak);
    lt_log(LT_LOG_INFO, "identity", "host %s, ek_digest %s, ak_name %s", id, ek, ak);
}

int lt_agent_host_start(struct lt_agent_conf *conf, const struct lt_agent_options *o,
                        struct lt_agent_host **out, json_t **ready, struct lt_err *e)
{
    struct lt_agent_host *h = host_new(conf, o);

    *out = NULL;
    int rc = *conf->crl ? lt_crl_open("crl", conf->crl, conf->client_ca, &h->crl, e) : 0;
    if (!rc)
        rc = open_tpm(h, conf, open_anchored, e);
    if (!rc)
        rc = open_sequence(h, e);
    if (!rc)
        rc = open_vault(h, conf, e);
    if (!rc)
        rc = start_inventory(h, conf, read_clock, e);
    if (!rc)
        rc = start_server(h, conf, o->listen, e);
    if (!rc)
        rc = lt_agent_local_start(conf, h->seal, h->inventory, &h->local, e);
    if (rc) {
        lt_agent_host_stop(h);
        return rc;
    }
    *ready = json_pack("{s:s, s:o}", "listen", lt_http_server_address(h->server), "host",
                       lt_json_new_hex(h->api.host_id, LT_RESIDENCY_HOST_ID));
    log_identity(h);
    *out = h;
    return 0;
}

void lt_agent_host_reload(struct lt_agent_host *h)
{
    struct lt_err e = {0};

    if (lt_crl_reload(h->crl, &e))
        lt_log(LT_LOG_ERROR, "reload", "%s; the lists of before stay in force", e.msg);
}

/* The inventory goes before the TPM that it reads; requests that are held are answered, late ones refused. */
void lt_agent_host_stop(struct lt_agent_host *h)
{
    if (!h)
        return;
    lt_agent_local_stop(h->local);
    lt_work_stop(h->worker);
    lt_tpm_stop(h->tpm);
    lt_work_stop(h->vault_work);
    if (h->server)
        lt_http_server_stop(h->server);
    lt_inventory_stop(h->inventory);
    lt_agent_seal_free(h->seal);
    lt_agent_leaks_stop(h->leaks);
    lt_work_free(h->worker);
    lt_work_free(h->vault_work);
    lt_tpm_free(h->tpm);
    lt_sequence_close(&h->api.sequence);
    lt_attester_free(&h->attester);
    lt_state_close(&h->state);
    lt_crl_free(h->crl);
    free(h->secret_file);
    free(h);
}

int lt_agent_host_anchor(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                         struct lt_err *e)
{
    struct lt_agent_host *h = host_new(conf, o);
    uint8_t pcr[LT_SHA256];

    int rc = open_tpm(h, conf, open_anchored, e);
    if (!rc) {
        lt_residency_ak_host_pcr(h->attester.ak_name, pcr);
        *out = json_pack("{s:o, s:o}", "ak_name", lt_json_new_hex(h->attester.ak_name, LT_TPM_NAME), "pcr13",
                         lt_json_new_hex(pcr, sizeof pcr));
    }
    lt_agent_host_stop(h);
    return rc;
}

int lt_agent_host_identity(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                           struct lt_err *e)
{
    struct lt_agent_host *h = host_new(conf, o);
    uint8_t id[LT_RESIDENCY_HOST_ID], ek_digest[LT_SHA256];

    h->attester.make = false;
    int rc = open_tpm(h, conf, open_identity, e);
    if (!rc)
        rc = lt_residency_host_id(&h->attester.ek.pub, id, e);
    if (!rc)
        rc = lt_public_ek_digest(&h->attester.ek.pub, ek_digest, e);
    if (!rc)
        *out = json_pack("{s:o, s:o, s:o, s:o*}", "host", lt_json_new_hex(id, sizeof id), "ek_digest",
                         lt_json_new_hex(ek_digest, sizeof ek_digest), "ak_name",
                         h->attester.known ? lt_json_new_hex(h->attester.ak_name, LT_TPM_NAME) : json_null(),
                         "note", h->attester.known ? NULL : lt_json_new_text(h->none.msg));
    lt_agent_host_stop(h);
    return rc;
}

/* For people the TPM's clock does not matter, so it is not opened: this works beside the agent that has it.
 */
static int no_clock(void *ctx, struct lt_vtpm_host_clock *out, struct lt_err *e)
{
    (void)ctx, (void)e;
    *out = (struct lt_vtpm_host_clock){0};
    return 0;
}

int lt_agent_host_inventory(const struct lt_agent_conf *conf, const struct lt_agent_options *o, json_t **out,
                            struct lt_err *e)
{
    const struct timespec poll = {.tv_nsec = INVENTORY_POLL_MS * 1000000};
    if (*conf->local_socket && !lt_agent_local_inventory(conf->local_socket, out, LT_NO_ERR))
        return 0;
    struct lt_agent_host *h = host_new(conf, o);
    uint64_t begun = lt_clock_ms();

    int rc = start_inventory(h, conf, no_clock, e);
    while (!rc) {
        *out = lt_inventory_report(h->inventory);
        bool connected = json_is_true(json_object_get(*out, "connected"));
        uint64_t waited = lt_clock_ms() - begun;
        if (json_is_true(json_object_get(*out, "ready")) || (connected && waited >= INVENTORY_WAIT_MS))
            break;
        json_decref(lt_take(out));
        if (!connected && waited >= CONNECT_WAIT_MS)
            rc = lt_fail(e, LT_E_UNREACHABLE,
                         "libvirt does not answer: does it run, and is libvirt_uri its address?");
        else
            nanosleep(&poll, NULL);
    }
    lt_agent_host_stop(h);
    return rc;
}
