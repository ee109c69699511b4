#include "tenant/tenant.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/http/address.h"
#include "common/pki/identity.h"
#include "common/run/clock.h"
#include "common/run/config_check.h"
#include "common/run/lock.h"
#include "common/run/log.h"
#include "keylime/envelope.h"
#include "tenant/guest_ek.h"
#include "tenant/keylime_conf.h"
#include "verifier/revoke/webhook.h"
#include "verifier/trust.h"

#include <stdlib.h>
#include <string.h>

#define TOKEN_KEYS "token-keys.json"
#define VAULT_KEY "vault.key" /* in state_dir */
#define FETCHERS 4            /* hosts that are asked about at once */
#define PROVIDER_PART 8       /* of the memory, that guests leave to the provider's answers */

#define TEXT(k, fallback, help)                                                                              \
    {                                                                                                        \
#k, LT_CONF_TEXT, offsetof(struct lt_tenant_conf, k), fallback, 0, 0, help                           \
    }
#define YES(k, fallback, help)                                                                               \
    {                                                                                                        \
#k, LT_CONF_BOOL, offsetof(struct lt_tenant_conf, k), fallback, 0, 0, help                           \
    }
#define INT(k, fallback, min, max, help)                                                                     \
    {                                                                                                        \
#k, LT_CONF_INT, offsetof(struct lt_tenant_conf, k), fallback, min, max, help                        \
    }

const struct lt_conf_key lt_tenant_keys[] = {
    TEXT(listen, "127.0.0.1:8881", "address of the operators' API, HOST:PORT"),
    TEXT(registrar_listen, "127.0.0.1:8890", "address where agents register, plain HTTP"),
    TEXT(registrar_tls_listen, "127.0.0.1:8891", "address of the registrar's administration, mutual TLS"),
    TEXT(cert, NULL, "certificate of both TLS servers, PEM, under the tenant's CA"),
    TEXT(key, NULL, "its key, PEM, mode 0600"),
    TEXT(ca, NULL, "the tenant's CA, PEM: operators must show a certificate under it"),
    TEXT(keylime_admin_ca, "",
         "Keylime's own CA, PEM: whoever shows a client certificate under it is the admin of the"
         " Keylime-compatible API and registrar, and nobody anywhere else; empty: none is"),
    TEXT(keylime_accept, "resident, appraised",
         "what guests added by Keylime's API are accepted with: resident, appraised, or weaker words of guest"
         " policies (bound, copyable, boot-only, tainted, open-boot, unjudged, ek-unproven); without a "
         "provider"
         " `unlinked`, too. Holds for what is added or updated from then on"),
    TEXT(keylime_host_policies, "",
         "digests of the host policies that are accepted for them; empty: none, and with a provider no such "
         "guest"
         " becomes trusted"),
    TEXT(agent_cert, NULL, "certificate shown to guests' agents, PEM, under the tenant's CA"),
    TEXT(agent_key, NULL, "its key, PEM, mode 0600"),
    TEXT(provider, "",
         "the provider verifier, https://HOST:PORT; empty (then federation_* are, too): none, guests are "
         "judged"
         " without their hosts, and trusted only if their policies accept `unlinked`"),
    TEXT(federation_cert, "",
         "certificate shown to the provider, PEM, role tenant, under the federation's CA"),
    TEXT(federation_key, "", "its key, PEM, mode 0600"),
    TEXT(federation_ca, "", "the federation's CA, PEM: the provider must show role provider under it"),
    TEXT(federation_crl, "",
         "PEM file: certificates that the federation's CA has revoked, read at start and on HUP; empty: none "
         "is"
         " asked for"),
    TEXT(registry, "",
         "file with the provider's hosts that are accepted (limetree host registry --json); empty: none"
         " is pinned, and no guest becomes trusted"),
    TEXT(roots, "",
         "directory with the TPM makers' certificates, *.pem, *.crt, *.cer and *.der, or one file of them; "
         "each is"
         " an anchor. Empty: hosts' EK certificates are not checked, and no guest becomes trusted"),
    TEXT(guest_ek_roots, "",
         "the same of the makers of guests' vTPMs: whose EK certificate leads to one is no software that "
         "named the"
         " guest first. Asked for guests that are judged without a host; empty: those need a pinned EK, or a "
         "policy"
         " that accepts `ek-unproven`"),
    TEXT(policy_key, "",
         "file with the public key, PEM, that runtime policies in a DSSE envelope must be signed with; "
         "empty: only"
         " plain documents are accepted"),
    TEXT(tenant_id, NULL, "the tenant's UUID, as in federation_cert"),
    TEXT(state_dir, "/var/lib/limetree/tenant", "directory for the database and the bundles, mode 0700"),
    INT(period_s, "60", 1, 86400, "seconds from one round of a guest to the next"),
    INT(max_stale_s, "0", 0, 604800,
        "seconds without a trusted verdict after which a guest is unproven; 0: three"
        " periods, at least 180"),
    INT(window_ms, "30000", 100, 600000, "milliseconds a round may take from its nonce to the host quote"),
    INT(host_facts_s, "3600", 1, 604800,
        "seconds after which a host's EK certificate and place in the registry are judged again, and the EK "
        "certificates"
        " of guests without a host"),
    INT(gather_ms, "3000", 1, 60000, "milliseconds the guests of a sweep wait for a slow one"),
    YES(revoke_unproven, "yes",
        "whether a guest that is unproven, after max_stale_s in which it was tried, is revoked until the "
        "next trusted"
        " verdict; a failed one always is, until it is cleared"),
    YES(revocation_agents, "yes",
        "whether the agents of all guests are told of a revocation (Keylime's message)"),
    TEXT(revocation_webhook, "", "https URL that revocations are posted to; empty: none"),
    TEXT(revocation_webhook_ca, "/etc/ssl/certs/ca-certificates.crt",
         "PEM file with the authorities that the webhook's server may be under"),
    TEXT(revocation_zeromq, "", "ADDRESS:PORT where ZeroMQ subscribers hear of revocations; empty: nowhere"),
    INT(revocation_dead_s, "3600", 1, 31536000,
        "seconds without success after which limetree revocation list calls a receiver dead; it is tried on"),
    INT(token_key_days, "30", 1, 3650, "days after which the key that signs verdict tokens is replaced"),
    TEXT(ca_url, "",
         "authority of the guests' certificates, https://HOST:PORT of limetree ca serve: told of a "
         "revocation before"
         " all others; empty: none"),
    LT_SPACE_KEYS(struct lt_tenant_conf, reserve_mib, min_free_mib),
    INT(memory_limit_mib, "512", 448, 1048576,
        "MiB that all guests' and the provider's answers, and what is kept of them, may take together"),
    INT(bundle_limit_mib, "4096", 16, 16777216, "MiB of evidence bundles under state_dir"),
    INT(document_limit_mib, "1024", 16, 16777216,
        "MiB under state_dir of documents fetched from the provider, compiled ones included"),
    LT_DAEMON_LOG_KEYS(struct lt_tenant_conf),
};
const size_t lt_tenant_key_count = sizeof lt_tenant_keys / sizeof *lt_tenant_keys;

static size_t mib(int64_t n)
{
    return (size_t)n << 20;
}

static int open_store(struct lt_tenant *t, struct lt_err *e)
{
    const struct lt_space_conf conf = {(uint64_t)t->conf->reserve_mib << 20,
                                       (uint64_t)t->conf->min_free_mib << 20};
    LT_AUTOFREE char *db = lt_file_path(t->conf->state_dir, "tenant.db");

    return lt_store_open(db, NULL, lt_space_open(t->conf->state_dir, &conf), &t->store, e);
}

static int open_state(struct lt_tenant *t, struct lt_err *e)
{
    int rc = lt_file_dir_private(t->conf->state_dir, e);

    if (!rc)
        rc = lt_lock_state(t->conf->state_dir, &t->state_lock, e);
    LT_AUTOFREE char *bundles = lt_file_path(t->conf->state_dir, "bundles");
    if (!rc)
        rc = lt_bundles_open(bundles, mib(t->conf->bundle_limit_mib), &t->bundles, e);
    if (!rc)
        rc = open_store(t, e);
    LT_AUTOFREE char *vault = lt_file_path(t->conf->state_dir, VAULT_KEY);
    if (!rc)
        rc = lt_vault_open(vault, &t->vault, e);
    t->tables = lt_file_path(t->conf->state_dir, "tables");
    if (!rc && *t->conf->policy_key) {
        size_t n;
        rc = lt_file_read(t->conf->policy_key, LT_MAX_PUBKEY, (uint8_t **)&t->policy_key, &n, e);
    }
    t->fetched = lt_file_path(t->conf->state_dir, "fetched");
    const struct lt_documents_conf documents = {.tables = t->tables,
                                                .fetched = t->fetched,
                                                .max_fetched = mib(t->conf->document_limit_mib),
                                                .store = t->store,
                                                .key = t->policy_key};
    return rc ? rc : lt_documents_new(&documents, &t->documents, e);
}

static const char *or_null(const char *s)
{
    return *s ? s : NULL;
}

/* Three identities: its servers', and towards guests and towards the federation. */
static int check_identities(const struct lt_tenant_conf *c, const uint8_t id[LT_UUID], struct lt_err *e)
{
    const struct lt_identity mine[] = {
        {.cert_key = "cert",
         .cert = c->cert,
         .key_key = "key",
         .key = c->key,
         .ca_key = "ca",
         .ca = c->ca,
         .role = LT_PEER_ROLE_TENANT,
         .serve = true,
         .tenant_id = id,
         .remedy = "limetree pki issue DIR --ca tenant --role tenant --tenant UUID --server --out PREFIX"},
        {.cert_key = "agent_cert",
         .cert = c->agent_cert,
         .key_key = "agent_key",
         .key = c->agent_key,
         .ca_key = "ca",
         .ca = c->ca,
         .call = true,
         .remedy = "limetree pki issue DIR --ca tenant --role tenant --tenant UUID --client --out PREFIX"},
        {.cert_key = "federation_cert",
         .cert = c->federation_cert,
         .key_key = "federation_key",
         .key = c->federation_key,
         .ca_key = "federation_ca",
         .ca = c->federation_ca,
         .role = LT_PEER_ROLE_TENANT,
         .call = true,
         .tenant_id = id,
         .remedy = "the provider's: limetree pki issue DIR --ca federation --role tenant --tenant UUID --out "
                   "PREFIX"},
    };

    for (size_t i = 0; i < sizeof mine / sizeof *mine - !*c->provider; i++) /* the last is the federation's */
        LT_TRY(lt_identity_check(&mine[i], e));
    return 0;
}

/* All of the federation, or nothing of it: a key that was left out by mistake makes no tenant without a
 * provider. */
static int check_federation(const struct lt_tenant_conf *c, struct lt_err *e)
{
    const struct {
        const char *key, *value;
        bool needed;
    } keys[] = {{"federation_cert", c->federation_cert, true},
                {"federation_key", c->federation_key, true},
                {"federation_ca", c->federation_ca, true},
                {"federation_crl", c->federation_crl, false}};
    struct lt_http_address provider;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!*c->provider && *keys[i].value)
            return lt_fail(e, LT_E_CONFIG,
                           "%s is set and provider is not: without a provider there is no federation",
                           keys[i].key);
        if (*c->provider && keys[i].needed && !*keys[i].value)
            return lt_fail(e, LT_E_CONFIG, "%s must be set, as provider is", keys[i].key);
    }
    return *c->provider ? lt_http_address_parse_url("provider", c->provider, "https://", &provider, e) : 0;
}

static int check_files(const struct lt_tenant_conf *c, struct lt_err *e)
{
    const char *const listens[][2] = {{"listen", c->listen},
                                      {"registrar_listen", c->registrar_listen},
                                      {"registrar_tls_listen", c->registrar_tls_listen}};
    struct lt_verifier_trust *trust = NULL;
    struct lt_guest_ek *guest_ek = NULL;

    for (size_t i = 0; i < 3; i++)
        LT_TRY(lt_http_server_check_listen(listens[i][0], listens[i][1], e));
    LT_TRY(lt_verifier_trust_load(or_null(c->registry), or_null(c->roots), &trust, e));
    lt_verifier_trust_free(trust);
    LT_TRY(lt_guest_ek_new(c->guest_ek_roots, 0, &guest_ek, e));
    lt_guest_ek_free(guest_ek);
    if (*c->policy_key)
        LT_TRY(lt_config_check_public_key("policy_key", c->policy_key, e));
    if (*c->revocation_zeromq)
        LT_TRY(lt_http_server_check_listen("revocation_zeromq", c->revocation_zeromq, e));
    LT_AUTOFREE char *vault = lt_file_path(c->state_dir, VAULT_KEY);
    LT_TRY(lt_config_check_state(c->state_dir, "tenant.db", e));
    return lt_vault_check(vault, e);
}

/* Its CA gives a right of its own, so it shares no key with one that gives others. */
static int check_keylime_admin(const struct lt_tenant_conf *c, struct lt_err *e)
{
    const char *key = "keylime_admin_ca", *ca = c->keylime_admin_ca;

    if (!*ca)
        return 0;
    LT_TRY(lt_identity_check_ca(key, ca, e));
    LT_TRY(lt_identity_check_apart(key, ca, "ca", c->ca, e));
    return *c->provider ? lt_identity_check_apart(key, ca, "federation_ca", c->federation_ca, e) : 0;
}

static int check_revocation(const struct lt_tenant_conf *c, struct lt_err *e)
{
    struct lt_http_address at;

    if (*c->ca_url)
        LT_TRY(lt_http_address_parse_url("ca_url", c->ca_url, "https://", &at, e));
    return *c->revocation_webhook ? lt_revoke_webhook_check("revocation_webhook", c->revocation_webhook, e)
                                  : 0;
}

int lt_tenant_check(const struct lt_tenant_conf *c, bool alone, struct lt_err *e)
{
    struct lt_crl *crl = NULL;
    uint8_t id[LT_UUID];

    LT_TRY_IN(lt_uuid_parse(c->tenant_id, id, e), e, "tenant_id");
    LT_TRY(check_federation(c, e));
    LT_TRY(check_revocation(c, e));
    LT_TRY(check_identities(c, id, e));
    LT_TRY(check_keylime_admin(c, e));
    const struct lt_tenant_keylime_conf keylime = {c->keylime_accept, c->keylime_host_policies,
                                                   !*c->provider};
    LT_TRY(lt_tenant_keylime_conf_check(&keylime, e));
    if (*c->federation_crl)
        LT_TRY(lt_crl_open("federation_crl", c->federation_crl, c->federation_ca, &crl, e));
    lt_crl_free(crl);
    return alone ? check_files(c, e) : 0;
}

static int start_rounds(struct lt_tenant *t, struct lt_err *e)
{
    const struct lt_tenant_conf *c = t->conf;
    struct lt_http_client *to_guests;
    struct lt_http_client_conf provider = {.cert = c->federation_cert,
                                           .key = c->federation_key,
                                           .ca = c->federation_ca,
                                           .crl = t->crl,
                                           .server_role = LT_PEER_ROLE_PROVIDER,
                                           .max_per_host = 64,
                                           .budget = t->memory};
    struct lt_http_client_conf guests = {.cert = c->agent_cert,
                                         .key = c->agent_key,
                                         .max_per_host = 2,
                                         .budget = t->memory,
                                         .leave = mib(c->memory_limit_mib) / PROVIDER_PART};
    int64_t stale_s = c->max_stale_s ? c->max_stale_s : 3 * c->period_s > 180 ? 3 * c->period_s : 180;

    if (*c->provider)
        LT_TRY(lt_http_client_new(&provider, &t->to_provider, e));
    t->provider = (struct lt_host_fetch_host_source){t->to_provider, c->provider,
                                                     LT_HOST_QUOTE_TIMEOUT_MS + 2000, t->memory};
    struct lt_hosts_conf hosts = {.source = lt_host_fetch_source(&t->provider),
                                  .store = t->store,
                                  .documents = t->documents,
                                  .registry = or_null(c->registry),
                                  .roots = or_null(c->roots),
                                  .facts_ms = (uint64_t)c->host_facts_s * 1000};
    LT_TRY(lt_hosts_new(&hosts, &t->hosts, e));
    t->openers = lt_sealing_cache_new(&(struct lt_sealing_conf){
        .source = hosts.source, .hosts = t->hosts, .store = t->store, .documents = t->documents});
    LT_TRY(lt_guest_ek_new(c->guest_ek_roots, (uint64_t)c->host_facts_s * 1000, &t->guest_ek, e));
    LT_TRY(lt_http_client_new(&guests, &to_guests, e));
    struct lt_rounds_conf rounds = {
        .provider = or_null(c->provider),
        .guest_ek = t->guest_ek,
        .vault = t->vault,
        .bundles = t->bundles,
        .memory = t->memory,
        .period_ms = (uint64_t)c->period_s * 1000,
        .max_stale_ms = (uint64_t)stale_s * 1000,
        .window_ms = (uint64_t)c->window_ms,
        .revoke_unproven = c->revoke_unproven,
        .gather_ms = (uint64_t)c->gather_ms,
        .store = t->store,
        .hosts = t->hosts,
        .openers = t->openers,
        .documents = t->documents,
        .pool = t->work,
        .large = t->large,
        .fetch = t->fetch,
        .to_provider = t->to_provider,
        .to_guests = to_guests,
    };
    memcpy(rounds.tenant_id, t->id, sizeof rounds.tenant_id);
    int rc = lt_rounds_start(&rounds, &t->rounds, e);
    if (rc)
        lt_http_client_free(to_guests);
    return rc;
}

/* An agent registered (anew): if it is a guest's, its next round is due. */
static void activated(void *app, const char *id)
{
    struct lt_tenant *t = app;
    struct lt_store_guest g;

    if (!lt_store_guest_by_agent(t->store, id, &g, LT_NO_ERR))
        (void)lt_rounds_ask(t->rounds, &g.uuid, 1);
}

static int open_token_keys(struct lt_tenant *t, struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(t->conf->state_dir, TOKEN_KEYS);
    const struct lt_token_keys_conf c = {path, t->conf->token_key_days * 86400, t->conf->period_s};

    return lt_token_keys_open(&c, lt_clock_wall_s(), &t->token_keys, e);
}

static int start_revocation(struct lt_tenant *t, struct lt_err *e)
{
    const struct lt_tenant_conf *c = t->conf;
    const struct lt_revocation_conf conf = {.store = t->store,
                                            .vault = t->vault,
                                            .to_guests = lt_rounds_client(t->rounds),
                                            .agents = c->revocation_agents,
                                            .webhook = c->revocation_webhook,
                                            .webhook_ca = c->revocation_webhook_ca,
                                            .zeromq = c->revocation_zeromq,
                                            .authority = c->ca_url,
                                            .cert = c->agent_cert,
                                            .key = c->agent_key,
                                            .ca = c->ca};

    return lt_revocation_start(&conf, &t->revocation, e);
}

static int start_servers(struct lt_tenant *t, struct lt_err *e)
{
    const struct lt_tenant_conf *c = t->conf;
    struct lt_registrar_conf registrar = {.store = t->store,
                                          .pool = t->io,
                                          .look = t->look,
                                          .listen = c->registrar_listen,
                                          .tls_listen = c->registrar_tls_listen,
                                          .cert = c->cert,
                                          .key = c->key,
                                          .ca = c->ca,
                                          .keylime_admin_ca = or_null(c->keylime_admin_ca),
                                          .activated = activated,
                                          .app = t};
    struct lt_http_server_conf api = {.listen = c->listen,
                                      .cert = c->cert,
                                      .key = c->key,
                                      .client_ca = c->ca,
                                      .keylime_admin_ca = or_null(c->keylime_admin_ca),
                                      .error_body = lt_envelope_error,
                                      .error_forms = lt_tenant_error_forms,
                                      .routes = lt_tenant_routes,
                                      .route_count = lt_tenant_route_count,
                                      .app = t,
                                      .work = t->io,
                                      .look = t->look,
                                      .threads = 1};

    int rc = lt_registrar_start(&registrar, &t->registrar, e);
    return rc ? rc : lt_http_server_start(&api, &t->server, e);
}

int lt_tenant_start(const struct lt_tenant_conf *c, struct lt_tenant **out, struct lt_err *e)
{
    struct lt_tenant *t = lt_new(struct lt_tenant);

    *out = NULL;
    t->conf = c;
    t->memory = lt_budget_new(mib(c->memory_limit_mib));
    t->state_lock = -1;
    pthread_mutex_init(&t->doors, NULL);
    int rc = lt_uuid_parse(c->tenant_id, t->id, e) ? lt_fail_in(e, e->code, "tenant_id") : 0;
    if (!rc)
        rc = open_state(t, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"work", 0, 0}, &t->work, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"large", 1, 0}, &t->large, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"fetch", FETCHERS, 0}, &t->fetch, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"io", 2, 0}, &t->io, e);
    if (!rc)
        rc = lt_work_start(&(struct lt_work_conf){"look", 2, 0}, &t->look, e);
    if (!rc)
        rc = *c->federation_crl
                 ? lt_crl_open("federation_crl", c->federation_crl, c->federation_ca, &t->crl, e)
                 : 0;
    if (!rc)
        rc = start_rounds(t, e);
    if (!rc)
        rc = start_revocation(t, e);
    if (!rc)
        rc = open_token_keys(t, e);
    if (!rc)
        rc = start_servers(t, e);
    if (rc)
        lt_tenant_stop(t);
    else
        *out = t;
    return rc;
}

void lt_tenant_reload(struct lt_tenant *t)
{
    struct lt_err e = {0};

    if (lt_hosts_reload(t->hosts, &e))
        lt_log(LT_LOG_ERROR, "reload", "%s; the old registry and roots stay in force", e.msg);
    if (lt_guest_ek_reload(t->guest_ek, &e))
        lt_log(LT_LOG_ERROR, "reload", "%s; the old ones stay in force", e.msg);
    if (lt_crl_reload(t->crl, &e))
        lt_log(LT_LOG_ERROR, "reload", "%s; the lists of before stay in force", e.msg);
}

/* From the outside inwards: nobody is left who could post to what is already gone. */
void lt_tenant_stop(struct lt_tenant *t)
{
    if (t->server)
        lt_http_server_stop(t->server);
    lt_registrar_stop(t->registrar);
    lt_work_free(t->io);
    lt_work_free(t->look);
    lt_registrar_free(t->registrar); /* what had been called waited on io */
    lt_revocation_stop(t->revocation);
    lt_rounds_stop(t->rounds); /* and with it what is under way to agents */
    lt_revocation_free(t->revocation);
    lt_work_free(t->fetch);
    lt_work_free(t->large);
    lt_work_free(t->work);
    lt_sealing_cache_free(t->openers);
    lt_hosts_free(t->hosts);
    lt_guest_ek_free(t->guest_ek);
    if (t->to_provider)
        lt_http_client_free(t->to_provider);
    lt_crl_free(t->crl);
    lt_documents_free(t->documents);
    lt_store_close(t->store);
    lt_token_keys_free(t->token_keys);
    lt_vault_free(t->vault);
    lt_lock_release(&t->state_lock);
    free(t->tables);
    free(t->fetched);
    free(t->policy_key);
    lt_bundles_free(t->bundles);
    lt_budget_free(t->memory);
    pthread_mutex_destroy(&t->doors);
    free(t);
}
