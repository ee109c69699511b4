/* The last stage of a host's round: what came out of it is kept, told, and decides when the next one is. */
#include "common/run/clock.h"
#include "common/run/log.h"
#include "provider/stages.h"

#include <stdlib.h>
#include <string.h>

/* The clock of its AK first, then the verdict, in one transaction. */
static enum lt_told_kept store(struct lt_provider_flight *f)
{
    struct lt_provider_rounds *r = f->owner;
    struct lt_store_round s = {
        .verdict = &f->verdict,
        .basis = f->has_basis ? &f->basis : NULL,
        .t1_ms = f->t1_ms,
        .started = f->started,
        .end_ms = f->t5_ms ? f->t5_ms : lt_clock_ms(),
        .received = f->t5_ms ? f->received : lt_clock_wall_s(),
    };
    struct lt_err e = {0};
    enum lt_store_kept kept;

    memcpy(s.uuid, f->watched->entry.id, sizeof s.uuid);
    if (lt_hosts_learn(r->hosts, &f->facts, f->t5_ms, &s.host_clock))
        s.host_ak_name = f->facts.host_ak_name;
    if (lt_store_round(r->store, &s, &kept, &e)) {
        lt_log(LT_LOG_ERROR, "store", "host %s: %s", f->name, e.msg);
        return LT_TOLD_LOST;
    }
    return (enum lt_told_kept)kept;
}

static void tell(struct lt_provider_flight *f, enum lt_told_kept kept)
{
    bool counts = kept == LT_TOLD_KEPT || kept == LT_TOLD_HELD || kept == LT_TOLD_LOST;

    if (!lt_told_verdict(&f->watched->told, "host", f->name, &f->verdict, kept))
        return;
    if (f->verdict.result == LT_VERDICT_FAILED && counts)
        lt_log_fields(
            LT_LOG_ERROR, "revocation",
            json_pack("{s:s, s:s, s:s}", "host", f->name, "result", "failed", "reason", f->verdict.reason));
}

/* Once a period, whatever came out: what a host lacks is the operator's to mend, and one that failed is asked
 * on whether it answers, while its verdict stands. Only one that gave no quote is asked again sooner. */
static uint64_t due(struct lt_provider_flight *f, enum lt_told_kept kept, uint64_t now_ms)
{
    uint64_t period = f->owner->conf.period_ms, regular = f->t1_ms + period;

    if (f->flight.asked)
        f->watched->schedule = (struct lt_schedule){0};
    uint64_t next = lt_schedule_next(&f->watched->schedule, &f->verdict, f->t1_ms, now_ms, period, 0);
    if (kept == LT_TOLD_OUTDATED)
        return now_ms; /* whatever it said, it said of another policy */
    if (f->verdict.result != LT_VERDICT_UNREACHABLE)
        next = regular;
    return next > now_ms ? next : now_ms;
}

enum lt_flight_next lt_provider_finish(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_provider_flight *f = lt_provider_flight_of(flight);

    (void)e;
    enum lt_told_kept kept = f->host ? store(f) : LT_TOLD_GONE;
    tell(f, kept);
    bool counts = kept == LT_TOLD_KEPT || kept == LT_TOLD_HELD;
    f->failed = counts && f->verdict.result == LT_VERDICT_FAILED;
    if (counts && f->verdict.result == LT_VERDICT_TRUSTED)
        f->proven_until_ms = f->t1_ms + f->owner->conf.max_stale_ms;
    f->due_ms = due(f, kept, lt_clock_ms());
    lt_hosts_host_view_free(&f->view);
    lt_ref_put(lt_take(&f->quote));
    lt_provider_host_unref(lt_take(&f->host));
    return LT_FLIGHT_NEXT;
}
