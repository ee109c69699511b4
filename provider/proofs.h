/* Requests for proofs from the first byte to the last: items to their hosts' batchers, answers in the order
 * asked, tickets for those who would rather poll, and the ceilings. */
#ifndef LT_PROVIDER_PROOFS_H
#define LT_PROVIDER_PROOFS_H

#include "common/http/server.h"
#include "provider/registry.h"

struct lt_proofs;

/* Ceilings, in items that wait or are kept for a ticket. */
int lt_proofs_new(struct lt_registry *r, uint32_t max_waiting, uint32_t max_per_tenant,
                  struct lt_proofs **out, struct lt_err *e) LT_MUST_CHECK;
/* Nothing may be under way any more. */
void lt_proofs_free(struct lt_proofs *p);

/* POST proofs. */
void lt_proofs_ask(struct lt_proofs *p, struct lt_http_req *req);
/* GET proofs/{ticket}: the tenant's own; anybody else's does not exist. */
void lt_proofs_collect(struct lt_proofs *p, struct lt_http_req *req, const char *ticket);
/* Drops tickets whose time is over; now_ms UINT64_MAX: all that are finished. */
void lt_proofs_sweep(struct lt_proofs *p, uint64_t now_ms);
/* Items that wait or are kept. */
uint32_t lt_proofs_waiting(struct lt_proofs *p);

/* A ticket finished at done_ms is over. Who sweeps may have looked at the clock before that. */
static inline bool lt_ticket_over(uint64_t done_ms, uint64_t now_ms)
{
    return now_ms > done_ms && now_ms - done_ms >= LT_PROVIDER_TICKET_MS;
}

#endif
