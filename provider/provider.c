#include "provider/provider.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/pki/identity.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/config_check.h"
#include "common/run/lock.h"
#include "common/run/log.h"
#include "provider/relay.h"
#include "residency/error.h"
#include "verifier/revoke/webhook.h"
#include "verifier/trust.h"

#include <stdlib.h>
#include <string.h>

#define ADMIN_THREADS 4
#define JUDGE_THREADS 2

#define KEY(name) offsetof(struct lt_provider_conf, name)
const struct lt_conf_key lt_provider_keys[] = {
    {"listen", LT_CONF_TEXT, KEY(listen), "127.0.0.1:8981", 0, 0,
     "address and port of the federation API; port 0: any"},
    {"cert", LT_CONF_TEXT, KEY(cert), NULL, 0, 0,
     "PEM file: certificate with the role provider, for server and client"},
    {"key", LT_CONF_TEXT, KEY(key), NULL, 0, 0, "PEM file: its private key, mode 0600"},
    {"ca", LT_CONF_TEXT, KEY(ca), NULL, 0, 0, "PEM file: the federation CA"},
    {"crl", LT_CONF_TEXT, KEY(crl), "", 0, 0,
     "PEM file: certificates that the federation CA has revoked, read at start and on HUP; empty: none is "
     "asked for"},
    {"state_dir", LT_CONF_TEXT, KEY(state_dir), "/var/lib/limetree/provider", 0, 0,
     "directory of the database; made if it is missing"},
    {"max_waiting", LT_CONF_INT, KEY(max_waiting), "65536", 1, 1 << 20,
     "guests, of all tenants, that may wait for proofs or be kept for a ticket"},
    {"max_waiting_per_tenant", LT_CONF_INT, KEY(max_waiting_per_tenant), "8192", 1, 1 << 20,
     "the same of one tenant"},
    {"host_timeout_ms", LT_CONF_INT, KEY(host_timeout_ms), "10000", 100, 60000,
     "milliseconds after which a host that does not answer fails its guests' requests"},
    {"host_period_s", LT_CONF_INT, KEY(host_period_s), "60", 1, 86400,
     "seconds from one round of a host, in which it is attested, to its next"},
    {"host_max_stale_s", LT_CONF_INT, KEY(host_max_stale_s), "0", 0, 604800,
     "seconds without a trusted verdict after which a host is unproven; 0: three periods, at least 180"},
    {"host_ek_roots", LT_CONF_TEXT, KEY(host_ek_roots), "", 0, 0,
     "directory of PEM files: TPM makers' roots for the hosts' EK certificates, read at start and on HUP; "
     "empty: "
     "those are not judged"},
    {"host_accept", LT_CONF_TEXT, KEY(host_accept), "", 0, 0,
     "what is weaker than appraised and accepted of hosts all the same: boot-only, ek-unproven"},
    {"revocation_webhook", LT_CONF_TEXT, KEY(webhook), "", 0, 0,
     "https URL that is told of each host that failed or is unproven, and when that is over; empty: none"},
    {"revocation_webhook_ca", LT_CONF_TEXT, KEY(webhook_ca), "/etc/ssl/certs/ca-certificates.crt", 0, 0,
     "PEM file with the authorities that the webhook's server may be under"},
    {"revocation_dead_s", LT_CONF_INT, KEY(dead_s), "3600", 1, 31536000,
     "seconds without success after which limetree host revocations calls the webhook dead; it is tried on"},
    {"memory_limit_mib", LT_CONF_INT, KEY(memory_limit_mib), "1024", 64, 1 << 20,
     "MiB of memory for hosts' logs that are kept between rounds"},
    {"max_connections_per_address", LT_CONF_INT, KEY(max_per_address), "2048", 1, LT_MAX_CONNECTIONS,
     "connections from one address"},
    {"max_documents_mib", LT_CONF_INT, KEY(max_documents_mib), "512", 1, 1 << 16,
     "MiB of host policies and what they name, all together; they are kept in memory"},
    LT_SPACE_KEYS(struct lt_provider_conf, reserve_mib, min_free_mib),
    LT_DAEMON_LOG_KEYS(struct lt_provider_conf),
};
const size_t lt_provider_key_count = sizeof lt_provider_keys / sizeof *lt_provider_keys;

static const char *or_null(const char *s)
{
    return *s ? s : NULL;
}

static int check_rounds(const struct lt_provider_conf *c, struct lt_err *e)
{
    struct lt_provider_rounds_conf accept;
    struct lt_verifier_trust *trust = NULL;

    LT_TRY(lt_provider_rounds_accept(c->host_accept, &accept, e));
    LT_TRY_IN(lt_verifier_trust_load(NULL, or_null(c->host_ek_roots), &trust, e), e, "host_ek_roots");
    lt_verifier_trust_free(trust);
    if (*c->webhook)
        LT_TRY(lt_revoke_webhook_check("revocation_webhook", c->webhook, e));
    return lt_config_check_state(c->state_dir, "hosts.db", e);
}

int lt_provider_check(const struct lt_provider_conf *c, bool alone, struct lt_err *e)
{
    const struct lt_identity mine = {
        .cert_key = "cert",
        .cert = c->cert,
        .key_key = "key",
        .key = c->key,
        .ca_key = "ca",
        .ca = c->ca,
        .role = LT_PEER_ROLE_PROVIDER,
        .serve = true,
        .call = true,
        .remedy = "limetree pki issue DIR --ca federation --role provider --out PREFIX"};
    struct lt_crl *crl = NULL;

    LT_TRY(lt_identity_check(&mine, e));
    if (*c->crl)
        LT_TRY(lt_crl_open("crl", c->crl, c->ca, &crl, e));
    lt_crl_free(crl);
    if (!alone)
        return 0;
    LT_TRY(lt_http_server_check_listen("listen", c->listen, e));
    LT_TRY(check_rounds(c, e));
    return lt_config_check_state(c->state_dir, "provider.db", e);
}

void lt_provider_reload(struct lt_provider *p)
{
    struct lt_err e = {0};

    if (lt_crl_reload(p->crl, &e))
        lt_log(LT_LOG_ERROR, "reload", "%s; the lists of before stay in force", e.msg);
    if (lt_provider_rounds_reload(p->rounds, &e))
        lt_log(LT_LOG_ERROR, "reload", "%s; the roots of before stay in force", e.msg);
}

static void look_after(struct lt_provider *p)
{
    LT_REGISTRY_AUTOHOSTS struct lt_registry_host_list *hosts = lt_registry_hosts(p->registry);

    for (size_t i = 0; hosts && i < hosts->count; i++)
        lt_relay_sweep(hosts->host[i]->relay);
}

static void *keep(void *arg)
{
    struct lt_provider *p = arg;

    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        pthread_mutex_unlock(&p->lock);
        lt_proofs_sweep(p->proofs, lt_clock_ms());
        look_after(p);
        pthread_mutex_lock(&p->lock);
        if (!p->stopping)
            (void)lt_cond_until(&p->stop, &p->lock, lt_clock_ms() + 1000);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int serve(struct lt_provider *p, const struct lt_provider_conf *c, struct lt_err *e)
{
    struct lt_http_server_conf s = {.listen = c->listen,
                                    .cert = c->cert,
                                    .key = c->key,
                                    .client_ca = c->ca,
                                    .crl = p->crl,
                                    .error_body = lt_residency_error,
                                    .app = p,
                                    .work = p->admin,
                                    .look = p->look,
                                    .max_per_address = (unsigned)c->max_per_address};

    s.routes = lt_provider_routes(&s.route_count);
    int rc = lt_http_server_start(&s, &p->server, e);
    if (!rc) {
        int err = pthread_create(&p->keeper, NULL, keep, p);
        p->keeping = !err;
        if (err)
            rc = lt_fail(e, LT_E_IO, "thread: %s", strerror(err));
    }
    return rc;
}

static int start_rounds(struct lt_provider *p, const struct lt_provider_conf *c, struct lt_err *e)
{
    struct lt_provider_rounds_conf r = {.registry = p->registry,
                                        .shared = &p->shared,
                                        .state_dir = c->state_dir,
                                        .roots = or_null(c->host_ek_roots),
                                        .webhook = or_null(c->webhook),
                                        .webhook_ca = or_null(c->webhook_ca),
                                        .dead_s = c->dead_s,
                                        .period_ms = (uint64_t)c->host_period_s * 1000,
                                        .max_stale_ms = (uint64_t)c->host_max_stale_s * 1000,
                                        .max_memory = (size_t)c->memory_limit_mib << 20,
                                        .max_documents = (size_t)c->max_documents_mib << 21};

    LT_TRY(lt_provider_rounds_accept(c->host_accept, &r, e));
    return lt_provider_rounds_start(&r, &p->rounds, e);
}

int lt_provider_start(const struct lt_provider_conf *c, struct lt_provider **out, struct lt_err *e)
{
    struct lt_provider *p = lt_new(struct lt_provider);

    *out = NULL;
    p->state_lock = -1;
    p->shared.documents_max = (uint64_t)c->max_documents_mib << 20;
    p->shared.space = (struct lt_space_conf){(uint64_t)c->reserve_mib << 20, (uint64_t)c->min_free_mib << 20};
    pthread_mutex_init(&p->lock, NULL);
    lt_cond_init(&p->stop);
    p->shared.period_ms = (uint64_t)c->host_period_s * 1000;
    int rc = lt_file_dir_private(c->state_dir, e) ? lt_fail_in(e, e->code, "state_dir")
                                                  : lt_lock_state(c->state_dir, &p->state_lock, e);
    if (!rc && *c->crl)
        rc = lt_crl_open("crl", c->crl, c->ca, &p->crl, e);
    if (!rc)
        rc = lt_net_new(
            &(struct lt_http_client_conf){.cert = c->cert, .key = c->key, .ca = c->ca, .crl = p->crl},
            (long)c->host_timeout_ms, &p->shared.net, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"judge", JUDGE_THREADS, 0}, &p->shared.work, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"admin", ADMIN_THREADS, 0}, &p->admin, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"look", ADMIN_THREADS, 0}, &p->look, e);
    if (!rc)
        rc = lt_registry_open(c->state_dir, &p->shared, &p->registry, e);
    if (!rc)
        rc = lt_proofs_new(p->registry, (uint32_t)c->max_waiting, (uint32_t)c->max_waiting_per_tenant,
                           &p->proofs, e);
    if (!rc)
        rc = start_rounds(p, c, e);
    p->openers = lt_kept_new(LT_PROVIDER_OPENERS_BYTES);
    p->seek = lt_seek_new(p->shared.work, p->openers);
    if (!rc)
        rc = serve(p, c, e);
    if (rc)
        lt_provider_stop(p);
    else
        *out = p;
    return rc;
}

/* From the outside in: nobody comes in, nobody is asked, what is under way ends, and then nothing is used any
 * more. */
void lt_provider_stop(struct lt_provider *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_signal(&p->stop);
    pthread_mutex_unlock(&p->lock);
    if (p->keeping)
        pthread_join(p->keeper, NULL);
    lt_provider_rounds_halt(p->rounds);
    if (p->server)
        lt_http_server_stop(p->server);
    if (p->shared.net)
        lt_net_close(p->shared.net);
    lt_provider_rounds_drain(p->rounds);
    lt_work_free(p->admin);
    lt_work_free(p->look);
    lt_work_free(p->shared.work);
    lt_seek_free(p->seek);
    lt_kept_free(p->openers);
    lt_provider_rounds_free(p->rounds);
    lt_proofs_free(p->proofs);
    lt_registry_close(p->registry);
    lt_net_free(p->shared.net);
    lt_crl_free(p->crl);
    lt_lock_release(&p->state_lock);
    pthread_cond_destroy(&p->stop);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
