/* The registrar: Keylime's wire, versions 2.0 to 2.6. Registration, activation and versions are for anybody,
 * on plain HTTP and on the TLS port (an agent has no certificate yet; one that is shown must be good all the
 * same); everything else needs a certificate under the tenant's CA, or that of Keylime's admin.
 *
 * Rules beyond Keylime's, because registration is unauthenticated:
 *   nothing is stored before an activation succeeds, contact address and certificate included;
 *   the AK's attributes are checked before a challenge is issued;
 *   a challenge is bound to (agent id, source address), tried once and short-lived, and a failed activation
 * discards that challenge only, never the record; pending challenges are capped in all and
 * a flood evicts its own network's, registrations are rate-limited per source (an IPv6 /64 is one);
 *   a record is deleted by an operator only, or by Keylime's admin where it is no federation guest's;
 * everybody under the two CAs may read. */
#ifndef LT_VERIFIER_REGISTRAR_H
#define LT_VERIFIER_REGISTRAR_H

#include "common/http/server.h"
#include "common/run/work.h"
#include "verifier/store/store.h"

struct lt_registrar;

struct lt_registrar_conf {
    struct lt_store *store; /* borrowed, as the pool; it outlives both */
    struct lt_work *pool;   /* has no bound; stopped before the registrar is freed */
    struct lt_work *look;   /* the same, where what only reads runs; NULL: pool */
    const char *listen;     /* plain */
    const char *tls_listen; /* NULL: no admin listener */
    const char *cert, *key, *ca;
    const char *keylime_admin_ca; /* its client certificates administer this registrar; NULL: none */
    void (*activated)(void *app, const char *id); /* after the commit, on a worker; may be NULL */
    void *app;
};

/* Of the TLS listener; those for anybody are on the plain one too. */
extern const struct lt_http_route lt_registrar_routes[];
extern const size_t lt_registrar_route_count;

/* Also on failure *out is there, for stop and free: one of two listeners may have served already. */
int lt_registrar_start(const struct lt_registrar_conf *c, struct lt_registrar **out,
                       struct lt_err *e) LT_MUST_CHECK;
const char *lt_registrar_address(const struct lt_registrar *r);
const char *lt_registrar_tls_address(const struct lt_registrar *r); /* NULL: none */
/* In this order: lt_registrar_stop, lt_work_stop of its pool, lt_registrar_free. What was called before the
 * stop may wait on the pool still, and runs there with the registrar. NULL, and stop a second time, are fine.
 */
void lt_registrar_stop(struct lt_registrar *r);
void lt_registrar_free(struct lt_registrar *r);

#endif
