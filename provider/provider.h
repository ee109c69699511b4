/* The provider verifier as one object: store, hosts, batchers, API. */
#ifndef LT_PROVIDER_PROVIDER_H
#define LT_PROVIDER_PROVIDER_H

#include "common/http/server.h"
#include "common/run/daemon.h"
#include "provider/host_rounds.h"
#include "provider/kept.h"
#include "provider/proofs.h"
#include "provider/seek.h"

struct lt_provider_conf {
    char *listen, *cert, *key, *ca, *crl, *state_dir;
    struct lt_daemon_log_conf log;
    int64_t max_waiting, max_waiting_per_tenant, host_timeout_ms, max_per_address;
    int64_t host_period_s, host_max_stale_s, memory_limit_mib, dead_s;
    char *host_ek_roots, *host_accept, *webhook, *webhook_ca;
    int64_t reserve_mib, min_free_mib, max_documents_mib;
};

extern const struct lt_conf_key lt_provider_keys[];
extern const size_t lt_provider_key_count;

struct lt_provider {
    struct lt_provider_host_shared shared;
    struct lt_registry *registry;
    struct lt_proofs *proofs;
    struct lt_provider_rounds *rounds; /* of hosts */
    struct lt_kept *openers;
    struct lt_seek *seek;  /* openers and escrow copies that hosts are asked for */
    atomic_uint turn;      /* of hosts, when more name a list than are asked */
    struct lt_work *admin; /* what operators ask for may block here */
    struct lt_work *look;  /* the same, of what changes nothing */
    struct lt_http_server *server;
    pthread_t keeper; /* refreshes and sweeps */
    bool keeping, stopping;
    struct lt_crl *crl; /* NULL: none configured */
    int state_lock;     /* of state_dir, common/run/lock.h */
    pthread_mutex_t lock;
    pthread_cond_t stop;
};

/* What struct lt_daemon's check does. */
int lt_provider_check(const struct lt_provider_conf *c, bool alone, struct lt_err *e) LT_MUST_CHECK;
/* The lists of revoked certificates and the makers' roots are read again. */
void lt_provider_reload(struct lt_provider *p);
int lt_provider_start(const struct lt_provider_conf *c, struct lt_provider **out,
                      struct lt_err *e) LT_MUST_CHECK;
/* Whoever waits is answered 503. */
void lt_provider_stop(struct lt_provider *p);

/* docs/api.md, "Provider": the table, its size at *count. */
const struct lt_http_route *lt_provider_routes(size_t *count);

#endif
