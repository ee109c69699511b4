/* The guest is asked, and what it answers goes through checks 1-3. */
#include "appraisal/checks/reason.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "keylime/envelope.h"
#include "keylime/versions.h"
#include "tenant/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SLOW 255 /* more makes no difference */

static void guest_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct lt_tenant_flight *f = arg;
    struct lt_err said = *e;

    f->charge = reply->charge;
    if (!said.code) {
        f->status = reply->status;
        f->round->retry_after_s = reply->retry_after_s;
        f->round->answered_ms = reply->last_byte_ms;
        f->body_n = reply->n;
        f->body = lt_tenant_body(reply, &said);
    }
    lt_flight_on(&f->flight, LT_FLIGHT_NEXT, &said);
}

enum lt_flight_next lt_tenant_ask(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    struct lt_tenant_rounds *r = f->owner;
    char url[LT_MAX_URL];

    snprintf(url, sizeof url,
             "https://%s/v2.%u/quotes/integrity?nonce=%s&mask=0x%x&partial=0&ima_ml_entry=%llu&ima_ml_b64=1",
             f->address, LT_VERSIONS_TO - f->guest->version, f->round->nonce, f->round->mask,
             (unsigned long long)f->round->ima_asked);
    struct lt_http_request q = {.method = "GET",
                                .url = url,
                                .pin = f->round->agent.mtls_cert,
                                .timeout_ms = (long)r->conf.window_ms,
                                .max_reply = LT_MAX_GUEST_REPLY,
                                .rank = f->guest->slow,
                                .weight = LT_REPLY_WEIGHT};
    (void)e;
    lt_http_send(r->conf.to_guests, &q, guest_done, f);
    return LT_FLIGHT_WAIT;
}

/* Newest first; an agent that says it does not know one is asked in the next (keylime-api 1.2). */
static bool older_version(struct lt_tenant_flight *f)
{
    if (f->flight.e.code || f->status != 400 || !strstr(f->body, LT_VERSIONS_REFUSAL))
        return false;
    if (f->guest->version < LT_VERSIONS_TO - LT_VERSIONS_FROM) {
        f->guest->version++;
        return true;
    }
    f->guest->version = 0; /* none of ours; the next round begins anew, as after an upgrade of the agent */
    return false;
}

static int read_answer(struct lt_tenant_flight *f, struct lt_err *e)
{
    if (f->flight.e.code) {
        *e = f->flight.e;
        return lt_reason_guest(e, 0);
    }
    if (f->status != 200) {
        struct lt_http_reply reply = {.status = f->status, .body = f->body, .n = f->body_n};
        LT_JSON_AUTO json_t *none = lt_http_json(&reply, 200, lt_envelope_error_read, e);
        lt_reason_guest(e, f->status);
        return lt_fail_in(e, e->code, "guest's agent, HTTP %d", f->status);
    }
    return lt_tenant_round_read_quote(f->round, f->body, f->body_n, e) ? lt_reason_guest(e, f->status) : 0;
}

/* Who found no room, or kept it busy while others waited, comes behind them until its answer finds room; who
 * is known for large answers is asked a few at a time (lt_rounds). */
static void note_pace(struct lt_tenant_flight *f)
{
    struct lt_tenant_guest *g = f->guest;
    bool crowded = f->flight.e.code == LT_E_BUSY, large = f->charge > LT_LARGE_ANSWER * LT_REPLY_WEIGHT;

    if (crowded)
        g->slow += g->slow < MAX_SLOW;
    else if (!f->flight.e.code)
        g->slow = 0;
    lt_watch_lock(&f->owner->watch);
    if (crowded || !f->flight.e.code)
        g->entry.bulky = crowded || large;
    lt_watch_unlock(&f->owner->watch);
}

/* What was judged and will be neither evidence on disk nor kept must not wait for the provider in memory. */
static void drop_early(struct lt_tenant_flight *f)
{
    struct lt_tenant_rounds *r = f->owner;
    size_t logs = lt_tenant_round_logs(f->round);
    struct lt_budget_use use;

    lt_budget_use(r->conf.memory, &use);
    if (logs <= LT_SMALL_REPLY || lt_bundles_room(r->conf.bundles, f->round->uuid, logs) ||
        lt_budget_allows(use.limit / 2, use.kept, f->guest->kept, logs))
        return;
    lt_tenant_round_drop_logs(f->round);
    lt_list_clear(&f->guest->list);
    lt_tenant_uncharge(f);
}

static void drop_body(struct lt_tenant_flight *f)
{
    free(lt_take(&f->body));
}

bool lt_tenant_may_unlink(const struct lt_tenant_round *round)
{
    const struct lt_policy_guest *p = lt_tenant_policy_parsed(round->policy);

    return p && p->accept_unlinked && !round->linked && !round->contested && round->has_quote &&
           !round->has_proof;
}

/* While it is on a worker: what the verdict without a host rests on. */
static void ask_ek(struct lt_tenant_flight *f)
{
    struct lt_tenant_round *round = f->round;
    const struct lt_checks_identity_guest *id = lt_ref_value(round->identity);

    if ((round->unlinked || lt_tenant_may_unlink(round)) && !id->fault.code)
        lt_guest_ek_judge(f->owner->conf.guest_ek, round->agent.ekcert, &id->ek, &f->guest->ek, &round->ek);
}

void lt_tenant_unlinked(struct lt_tenant_flight *f, const char *why)
{
    struct lt_tenant_round *round = f->round;

    round->t5_ms = round->answered_ms;
    round->received = lt_clock_wall_s();
    lt_tenant_round_appraise_unlinked(round, round->policy, f->owner->conf.window_ms, why, &round->facts,
                                      &round->verdict);
}

enum lt_flight_next lt_tenant_answer(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    struct lt_tenant_round *round = f->round;

    if (older_version(f)) {
        drop_body(f);
        lt_tenant_uncharge(f);
        return LT_FLIGHT_AGAIN;
    }
    int rc = read_answer(f, e);
    drop_body(f);
    note_pace(f);
    if (rc)
        return LT_FLIGHT_END;
    lt_tenant_round_appraise_guest(round, round->policy, &round->facts, &round->verdict);
    lt_tenant_round_keep_list(round);
    ask_ek(f);
    drop_early(f);
    if (!lt_verdict_stopped(&round->verdict)) {
        if (!round->unlinked)
            return LT_FLIGHT_NEXT;
        lt_tenant_unlinked(f, round->unlinked);
        return LT_FLIGHT_STOP;
    }
    lt_tenant_round_conclude(lt_tenant_policy_parsed(round->policy), &round->verdict);
    return LT_FLIGHT_STOP;
}
