/* limetree-tenant: registrar and continuous verifier of a tenant's guests. Everything the program holds, and
 * its start and stop; main() only hands this to lt_daemon_main. */
#ifndef LT_TENANT_TENANT_H
#define LT_TENANT_TENANT_H

#include "common/http/server.h"
#include "common/run/daemon.h"
#include "tenant/host_fetch.h"
#include "tenant/revocation.h"
#include "tenant/rounds.h"
#include "verifier/registrar.h"
#include "verifier/token/keys.h"
#include "verifier/vault.h"

#include <pthread.h>

struct lt_tenant_conf {
    struct lt_daemon_log_conf log;
    char *listen, *registrar_listen, *registrar_tls_listen;
    char *cert, *key, *ca, *keylime_admin_ca, *keylime_accept, *keylime_host_policies;
    char *agent_cert, *agent_key;
    char *provider, *federation_cert, *federation_key, *federation_ca, *federation_crl;
    char *registry, *roots, *guest_ek_roots, *policy_key, *tenant_id, *state_dir;
    bool revoke_unproven, revocation_agents;
    char *revocation_webhook, *revocation_webhook_ca, *revocation_zeromq, *ca_url;
    int64_t revocation_dead_s, token_key_days;
    int64_t period_s, max_stale_s, window_ms, gather_ms, host_facts_s, reserve_mib, min_free_mib;
    int64_t memory_limit_mib, bundle_limit_mib, document_limit_mib;
};

extern const struct lt_conf_key lt_tenant_keys[];
extern const size_t lt_tenant_key_count;

struct lt_tenant {
    const struct lt_tenant_conf *conf; /* borrowed */
    uint8_t id[LT_UUID];
    int state_lock;             /* of state_dir, common/run/lock.h */
    struct lt_budget *memory;   /* of everything that guests and the provider make it hold */
    struct lt_bundles *bundles; /* their evidence on disk */
    pthread_mutex_t doors;      /* from the look at whose guest it is to the write that rests on it */
    struct lt_store *store;
    struct lt_vault *vault; /* of what lies sealed in the store */
    struct lt_documents *documents;
    char *tables, *fetched, *policy_key; /* directories; PEM text, NULL: none */
    struct lt_work *work;                /* appraisal */
    struct lt_work *large;               /* the same of answers that are large */
    struct lt_work *fetch;               /* waits for the provider */
    struct lt_work *io;   /* serves requests that change something, and may wait for the disk */
    struct lt_work *look; /* serves those that only read */
    struct lt_crl *crl;   /* the federation's; NULL: none configured */
    struct lt_http_client *to_provider;
    struct lt_host_fetch_host_source provider; /* of what hosts prove */
    struct lt_hosts *hosts;
    struct lt_sealing_cache *openers;
    struct lt_guest_ek *guest_ek;
    struct lt_tenant_rounds *rounds;
    struct lt_token_keys *token_keys;
    struct lt_revocation *revocation;
    struct lt_registrar *registrar;
    struct lt_http_server *server;
};

/* What struct lt_daemon's check does. */
int lt_tenant_check(const struct lt_tenant_conf *c, bool alone, struct lt_err *e) LT_MUST_CHECK;
int lt_tenant_start(const struct lt_tenant_conf *c, struct lt_tenant **out, struct lt_err *e) LT_MUST_CHECK;
/* The registry, the makers' roots and the lists of revoked certificates are read again. */
void lt_tenant_reload(struct lt_tenant *t);
void lt_tenant_stop(struct lt_tenant *t);

/* docs/api.md, 'Tenant'; app is a struct lt_tenant. */
extern const struct lt_http_route lt_tenant_routes[];
extern const size_t lt_tenant_route_count;
/* The federation's API has its own form of errors, all other paths Keylime's. */
extern const struct lt_http_error_form lt_tenant_error_forms[];

#endif
