#include "provider/stages.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/run/clock.h"

#include <stdlib.h>
#include <string.h>

/* ---- prepare ---- */

int lt_provider_follow(struct lt_provider_rounds *r, struct lt_provider_host *h, uint8_t policy[LT_SHA256],
                       struct lt_err *e)
{
    static const uint8_t none[LT_SHA256];
    struct lt_store_guest row = {0};

    lt_provider_host_policy(h, policy);
    int rc = lt_store_guest_get(r->store, h->id, &row, e);
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    bool has = memcmp(policy, none, sizeof none);
    if (!rc && has == row.has_policy && (!has || !memcmp(policy, row.policy, sizeof row.policy)))
        return 0;
    row.has_policy = has;
    memcpy(row.uuid, h->id, sizeof row.uuid);
    memcpy(row.policy, policy, sizeof row.policy);
    return lt_store_guest_put(r->store, &row, (struct lt_slice){0}, e);
}

static void begin_round(struct lt_provider_flight *f)
{
    lt_hex(f->watched->entry.id, LT_RESIDENCY_HOST_ID, f->name);
    f->t1_ms = lt_clock_ms();
    f->started = lt_clock_wall_s();
    lt_verdict_init(&f->verdict);
    lt_checks_host_alone(&f->verdict);
}

static enum lt_flight_next prepare(struct lt_flight *flight, struct lt_err *e)
{
    static const uint8_t none[LT_SHA256];
    struct lt_provider_flight *f = lt_provider_flight_of(flight);

    begin_round(f);
    f->host = lt_registry_host(f->owner->conf.registry, f->watched->entry.id);
    if (!f->host) {
        (void)lt_fail(e, LT_E_NOT_FOUND, "host %s: not enrolled any more", f->name);
        return LT_FLIGHT_END;
    }
    if (lt_provider_follow(f->owner, f->host, f->basis.policy, e))
        return LT_FLIGHT_END;
    f->has_basis = true;
    f->basis.has_policy = memcmp(f->basis.policy, none, sizeof none);
    return LT_FLIGHT_NEXT;
}

/* ---- quote ---- */

/* Faults of our own are not the host's. */
static void no_quote(const struct lt_batcher_failure *why, struct lt_err *e)
{
    int code = why->cause ? why->cause->code : why->told.code;
    const char *text = why->cause ? why->cause->msg : why->told.message;

    if (code != LT_E_HOST_TPM && code != LT_E_BUSY && code != LT_E_NO_MEMORY)
        code = LT_E_HOST_UNREACHABLE;
    (void)lt_fail(e, code, "%s", text);
}

static void quoted(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                   const struct lt_batcher_failure *why)
{
    struct lt_provider_flight *f =
        (struct lt_provider_flight *)(void *)((char *)i - offsetof(struct lt_provider_flight, item));
    struct lt_err e = {0};

    (void)index;
    f->quote = lt_ref_get(batch ? batch->quote : why->refused);
    f->refused = !batch && f->quote;
    if (!f->quote) {
        no_quote(why, &e);
        lt_flight_on(&f->flight, LT_FLIGHT_END, &e);
        return;
    }
    f->t5_ms = lt_clock_ms();
    f->received = lt_clock_wall_s();
    lt_flight_on(&f->flight, LT_FLIGHT_NEXT, NULL);
}

/* A leaf like any other: nobody could know it before t1, and the batcher holds the quote against its tree. */
static enum lt_flight_next quote(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_provider_flight *f = lt_provider_flight_of(flight);

    (void)e;
    f->item.done = quoted;
    lt_random(f->item.commitment, sizeof f->item.commitment);
    f->t1_ms = lt_clock_ms();
    lt_batcher_add(f->host->batcher, &f->item);
    return LT_FLIGHT_WAIT;
}

/* ---- host, judge ---- */

static enum lt_flight_next view(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_provider_flight *f = lt_provider_flight_of(flight);

    if (lt_hosts_view(f->owner->hosts, f->name, lt_ref_value(f->quote), f->basis.has_policy, true, &f->view,
                      e))
        return LT_FLIGHT_END;
    const struct lt_verifier_host_keys *keys = lt_ref_value(f->view.keys);
    return lt_hosts_history(f->owner->hosts, keys->id->ak_name, &f->history, e) ? LT_FLIGHT_END
                                                                                : LT_FLIGHT_NEXT;
}

static enum lt_flight_next judge(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_provider_flight *f = lt_provider_flight_of(flight);
    const struct lt_provider_rounds *r = f->owner;
    const struct lt_verifier_host_keys *keys = lt_ref_value(f->view.keys);
    const struct lt_verifier_host_document *document = lt_ref_value(f->view.policy);
    const struct lt_policy_digests published = {1, &f->basis.policy};
    struct lt_checks_host_round h = {
        .quote = lt_ref_value(f->quote),
        .identity = keys->id,
        .policy = document ? document->parsed : NULL,
        .accepted = f->basis.has_policy ? &published : NULL,
        .accept_ek_unproven = r->conf.accept_ek_unproven,
        .measured_cache = r->measured,
        .timed = true,
        .t1_ms = f->t1_ms,
        .t5_ms = f->t5_ms,
        .window_ms = LT_WINDOW_MS,
        .history = &f->history,
        .cache = r->quotes,
    };

    lt_hosts_logs(&f->view, f->started, &h.logs);
    lt_checks_appraise_host(&h, &f->facts, &f->verdict);
    lt_verdict_conclude(&f->verdict, LT_VERDICT_LINK_RESIDENT, r->conf.accept_boot_only);
    if (!f->refused || !lt_verdict_passed(&f->verdict, LT_CHECK_HOST_QUOTE))
        return LT_FLIGHT_NEXT;
    /* Its keys were replaced meanwhile: nobody held its header against the batch. */
    memset(&f->facts, 0, sizeof f->facts);
    lt_verdict_init(&f->verdict);
    lt_checks_host_alone(&f->verdict);
    (void)lt_fail(e, LT_E_BUSY, "host %s was enrolled anew while it was asked", f->name);
    return LT_FLIGHT_END;
}

/* ---- the table ---- */

#define MAY LT_FLIGHT_MAY

/* docs/architecture.md has this as a picture (tests/unit/provider/test_stages.c). */
static const struct lt_flight_stage stages[] = {
    {"prepare", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(END), prepare, NULL,
     "the host as it is enrolled, and the policy that is published for it"},
    {"quote", LT_FLIGHT_ON_POOL, MAY(WAIT) | MAY(NEXT) | MAY(END), quote, NULL,
     "a leaf of the provider's own joins the host's next batch (t1)"},
    {"view", LT_FLIGHT_ON_FETCH, MAY(NEXT) | MAY(END), view, NULL,
     "policy and logs behind the quote (t5), from registry and host agent"},
    {"judge", LT_FLIGHT_ON_POOL, MAY(NEXT) | MAY(END), judge, NULL, "checks 5, 6, 7, 9 and 10"},
    {"finish", LT_FLIGHT_ON_POOL, MAY(NEXT), lt_provider_finish, NULL,
     "clock and verdict are stored, the log is told, the next round is due"},
};

static void work(struct lt_work_task *t)
{
    lt_flight_work(&LT_WORK_OWNER(t, struct lt_provider_flight)->flight);
}

static bool post(struct lt_flight *flight, enum lt_flight_where where)
{
    struct lt_provider_flight *f = lt_provider_flight_of(flight);

    (void)where; /* one pool: few of its threads ever judge */
    lt_work_post(f->owner->pool, &f->task, work);
    return true;
}

/* Transport trouble is no verdict about a host. */
static void unreachable(struct lt_flight *flight, const struct lt_err *e)
{
    lt_verdict_no_answer(&lt_provider_flight_of(flight)->verdict, LT_VERDICT_UNREACHABLE, e);
}

static void ended(struct lt_flight *flight)
{
    struct lt_provider_flight *f = lt_provider_flight_of(flight);

    if (f->proven_until_ms || f->failed)
        f->watched->entry.proven_until_ms = f->proven_until_ms;
    lt_watch_landed(&f->owner->watch, flight, f->due_ms);
    free(f);
}

const struct lt_flight_table lt_provider_stages = {stages, sizeof stages / sizeof *stages, post, unreachable,
                                                   ended};
