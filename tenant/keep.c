/* The rest of round.h: what a round takes in memory, and how it takes less. */
#include "tenant/round.h"

#include <stdlib.h>

static size_t boot_size(const struct lt_boot_log *l)
{
    return l ? l->n + l->count * sizeof *l->event : 0;
}

size_t lt_tenant_round_logs(const struct lt_tenant_round *r)
{
    const struct lt_bundle_blob *ima = lt_ref_value(r->ima);

    return (ima ? ima->n : 0) + boot_size(r->boot_log);
}

size_t lt_tenant_round_host_logs(const struct lt_tenant_round *r)
{
    const struct lt_verifier_host_ima *ima = lt_ref_value(r->host.ima);
    const struct lt_verifier_host_log *log = lt_ref_value(r->host.log);

    return (ima ? ima->bytes.n : 0) + boot_size(log ? log->log : NULL);
}

void lt_tenant_round_drop_logs(struct lt_tenant_round *r)
{
    r->dropped += lt_tenant_round_logs(r);
    lt_ref_put(lt_take(&r->ima));
    lt_boot_log_free(r->boot_log);
    r->boot_log = lt_boot_log_new((struct lt_slice){NULL, 0});
    if (!r->boot_log)
        abort();
}
