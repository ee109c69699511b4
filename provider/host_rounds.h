/* The provider's own rounds: each enrolled host is attested once a period by the checks that apply to a host
 * by itself (docs/protocol.md section 5), as long as it is enrolled; also one that failed, whose verdict
 * stands until it is cleared. What comes out changes nothing about what tenants get: docs/protocol.md
 * section 9.
 *
 * Verdicts and clocks are kept in STATE/hosts.db, a store of verifier/store/ in which a host has the place of
 * a guest (its id is 16 bytes, its policy the one that is published): deadlines live there, and a process
 * that died leaves nothing green. */
#ifndef LT_PROVIDER_HOST_ROUNDS_H
#define LT_PROVIDER_HOST_ROUNDS_H

#include "provider/host_rounds_conf.h"
#include "verifier/store/store.h"

struct lt_provider_rounds;

/* accept: words of host_accept, between commas or spaces. LT_E_CONFIG names one that is none. */
int lt_provider_rounds_accept(const char *accept, struct lt_provider_rounds_conf *out,
                              struct lt_err *e) LT_MUST_CHECK;

/* All hosts of the registry are due at once. */
int lt_provider_rounds_start(const struct lt_provider_rounds_conf *c, struct lt_provider_rounds **out,
                             struct lt_err *e) LT_MUST_CHECK;
/* Three steps to the end. No new rounds; those under way end by their deadlines, or when lt_net_close ends
 * their questions, and are waited for; nobody calls any more. NULL is fine. */
void lt_provider_rounds_halt(struct lt_provider_rounds *r);
void lt_provider_rounds_drain(struct lt_provider_rounds *r);
void lt_provider_rounds_free(struct lt_provider_rounds *r);
/* The makers' roots are read again (SIGHUP). */
int lt_provider_rounds_reload(struct lt_provider_rounds *r, struct lt_err *e) LT_MUST_CHECK;

/* The host was enrolled, or its policy changed: due at once. */
void lt_provider_rounds_add(struct lt_provider_rounds *r, const uint8_t id[LT_RESIDENCY_HOST_ID]);
/* It is enrolled no longer; its verdict goes, its clock stays. */
void lt_provider_rounds_remove(struct lt_provider_rounds *r, const uint8_t id[LT_RESIDENCY_HOST_ID]);
/* These (NULL: all) are due at once. False, and nothing is done: one of them is not attested. */
bool lt_provider_rounds_ask(struct lt_provider_rounds *r, const uint8_t (*ids)[LT_RESIDENCY_HOST_ID],
                            size_t count);
/* Blocks. A new VERDICT of docs/api.md as of now, or JSON null. */
int lt_provider_rounds_verdict(struct lt_provider_rounds *r, struct lt_provider_host *h, json_t **out,
                               struct lt_err *e) LT_MUST_CHECK;
/* Blocks. The operator ends a failed verdict; LT_E_CONFLICT: it is not failed. Due at once. */
int lt_provider_rounds_clear(struct lt_provider_rounds *r, const uint8_t id[LT_RESIDENCY_HOST_ID],
                             struct lt_err *e) LT_MUST_CHECK;
/* Blocks. {"revocations","receivers"} of docs/api.md. */
int lt_provider_rounds_revocations(struct lt_provider_rounds *r, json_t **out,
                                   struct lt_err *e) LT_MUST_CHECK;
/* How the store of verdicts is. */
void lt_provider_rounds_report(struct lt_provider_rounds *r, struct lt_db_health *health,
                               struct lt_db_skipped *skipped, size_t *unwritten);

#endif
