#include "agent/guest.h"

#include "agent/bootstrap.h"
#include "agent/contact.h"
#include "agent/guest_api.h"
#include "agent/guest_routes.h"
#include "agent/registration.h"
#include "agent/revocations.h"
#include "agent/state.h"
#include "common/alloc.h"
#include "common/ids.h"
#include "common/run/log.h"
#include "keylime/envelope.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DMI_UUID "/sys/class/dmi/id/product_uuid"

struct lt_agent_guest {
    struct lt_agent_conf *conf;
    struct lt_state state;
    struct lt_state_secure secure;
    struct lt_attester attester;
    struct lt_guest_api api;
    struct lt_tpm *tpm;
    struct lt_work *worker;
    struct lt_http_server *server;
    struct lt_registration *registration;
    char *id, *ak_file, *cert, *key, *cert_pem, *contact;
};

static int agent_id(const char *configured, char **out, struct lt_err *e)
{
    LT_AUTOFREE char *id = NULL;

    if (strcmp(configured, "dmidecode")) {
        id = lt_alloc_text(configured);
    } else {
        uint8_t *text;
        size_t n;
        LT_TRY_IN(lt_file_read(DMI_UUID, 128, &text, &n, e), e, "uuid = dmidecode");
        id = (char *)text;
        id[strcspn(id, " \n")] = 0;
        for (char *p = id; *p; p++)
            *p = (char)tolower((unsigned char)*p);
    }
    if (!id || !lt_id_ok(id))
        return lt_fail(e, LT_E_CONFIG, "uuid = %s: not 1 to %d characters of [A-Za-z0-9_.-]", id ? id : "",
                       LT_ID_MAX);
    *out = lt_take(&id);
    return 0;
}

static int opened(struct lt_device *d, void *arg, struct lt_err *e)
{
    return lt_attester_open(d, arg, e);
}

/* The program ends, with a status that tells; systemd or a person has to act. */
static void registration_refused(void *arg, const struct lt_err *why)
{
    struct lt_agent_guest *g = arg;

    lt_log(LT_LOG_ERROR, "registration-refused", "%s", why->msg);
    g->conf->exit_code = lt_err_exit(why->code);
    kill(getpid(), SIGTERM);
}

static int start_attester(struct lt_agent_guest *g, const struct lt_agent_options *o, struct lt_err *e)
{
    LT_TRY(lt_state_open(g->conf->state_dir, g->conf->tcti, &g->state, e));
    LT_TRY(agent_id(g->conf->uuid, &g->id, e));
    g->ak_file = lt_file_path(g->state.dir, "ak.blob");
    g->attester = (struct lt_attester){
        .home = g->state.lasting ? LT_ATTESTER_AK_WRAPPED : LT_ATTESTER_AK_HANDLE,
        .ek_alg = o->ek_alg,
        .ak_alg = o->ak_alg,
        .handle = g->state.lasting ? 0 : o->ak_handle,
        .file = g->ak_file,
        .make = true,
    };
    return lt_tpm_start(g->conf->tcti, opened, &g->attester, &g->tpm, e);
}

static int start_bootstrap(struct lt_agent_guest *g, struct lt_err *e)
{
    LT_TRY(lt_state_secure_open(g->conf->secure_dir, g->conf->tcti, &g->secure, e));
    const struct lt_agent_bootstrap_conf bootstrap = {
        .dir = g->secure.dir,
        .fd = g->secure.fd,
        .id = g->id,
        .run_payload = g->conf->run_payload,
        .payload_timeout_s = g->conf->payload_timeout_s,
    };
    const struct lt_agent_revocations_conf revocations = {
        .dir = g->secure.dir,
        .fd = g->secure.fd,
        .id = g->id,
        .actions_dir = g->conf->revocation_actions_dir,
        .run_payload = g->conf->run_payload,
        .timeout_s = g->conf->action_timeout_s,
    };
    LT_TRY(lt_agent_bootstrap_start(&bootstrap, &g->api.bootstrap, e));
    return lt_agent_revocations_start(&revocations, &g->api.revocations, e);
}

static int start_server(struct lt_agent_guest *g, const char *address, struct lt_err *e)
{
    g->api.tpm = g->tpm;
    g->api.attester = &g->attester;
    g->api.id = g->id;
    g->api.ima = g->conf->ima;
    g->api.boot_log = g->conf->boot_log;
    if (!*g->conf->client_ca)
        return lt_fail(e, LT_E_CONFIG, "client_ca: must be set (who may call this agent)");
    int rc = start_bootstrap(g, e);
    if (!rc)
        rc = lt_state_certificate(&g->state, g->id, &g->cert, &g->key, &g->cert_pem, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"logs", 1, LT_MAX_AGENT_TASKS}, &g->worker, e);
    g->api.worker = g->worker;
    const struct lt_http_server_conf server = {
        .listen = address,
        .cert = g->cert,
        .key = g->key,
        .client_ca = g->conf->client_ca,
        .error_body = lt_envelope_error,
        .routes = lt_agent_guest_routes,
        .route_count = lt_agent_guest_route_count,
        .app = &g->api,
        .work = g->worker,
        .threads = 1,
        .max_connections = 64, /* a small guest has no memory for a flood */
        .max_per_address = 32,
    };
    return rc ? rc : lt_http_server_start(&server, &g->server, e);
}

static int start_registration(struct lt_agent_guest *g, struct lt_err *e)
{
    struct lt_http_address contact;

    if (!*g->conf->registrar)
        return 0;
    g->contact = lt_alloc_text(*g->conf->contact ? g->conf->contact : lt_http_server_address(g->server));
    LT_TRY_IN(lt_contact_parse(g->contact, &contact, e), e, "contact");
    const struct lt_registration_conf conf = {
        .registrar = g->conf->registrar,
        .id = g->id,
        .mtls_cert = g->cert_pem,
        .contact = g->contact,
        .tpm = g->tpm,
        .attester = &g->attester,
        .asked_ms = &g->api.asked_ms,
        .idle_ms = (uint64_t)g->conf->register_idle_s * 1000,
        .again_ms = (uint64_t)g->conf->register_again_s * 1000,
        .refused = registration_refused,
        .arg = g,
    };
    return lt_registration_start(&conf, &g->registration, e);
}

int lt_guest_start(struct lt_agent_conf *conf, const struct lt_agent_options *o, struct lt_agent_guest **out,
                   json_t **ready, struct lt_err *e)
{
    struct lt_agent_guest *g = lt_new(struct lt_agent_guest);

    *out = NULL;
    g->conf = conf;
    g->state.lock = -1;
    g->secure = (struct lt_state_secure){.fd = -1, .lock = -1};
    int rc = start_attester(g, o, e);
    if (!rc)
        rc = start_server(g, o->listen, e);
    if (!rc)
        rc = start_registration(g, e);
    if (rc) {
        lt_guest_stop(g);
        return rc;
    }
    *ready = json_pack("{s:s, s:s}", "listen", lt_http_server_address(g->server), "uuid", g->id);
    *out = g;
    return 0;
}

/* A TPM without a resource manager would keep the AK in one of its slots. */
static int release(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct lt_agent_guest *g = arg;
    (void)e;
    lt_device_flush(d, &g->attester.key);
    return 0;
}

/* First who brings work, then who does it: requests that are held are answered, late ones refused. */
void lt_guest_stop(struct lt_agent_guest *g)
{
    if (!g)
        return;
    lt_registration_stop(g->registration);
    if (g->tpm && lt_tpm_call(g->tpm, release, g, LT_NO_ERR))
        lt_log(LT_LOG_WARNING, "stop", "the TPM is away, its slots are not cleared");
    lt_tpm_stop(g->tpm);
    lt_work_stop(g->worker);
    if (g->server)
        lt_http_server_stop(g->server);
    lt_agent_bootstrap_stop(g->api.bootstrap);
    lt_agent_revocations_stop(g->api.revocations);
    lt_tpm_free(g->tpm);
    lt_work_free(g->worker);
    lt_attester_free(&g->attester);
    lt_state_close(&g->state);
    lt_state_secure_close(&g->secure);
    free(g->id);
    free(g->ak_file);
    free(g->cert);
    free(g->key);
    free(g->cert_pem);
    free(g->contact);
    free(g);
}
