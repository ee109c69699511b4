#include "common/file.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "keylime/versions.h"
#include "tenant/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void round_free(void *p)
{
    lt_tenant_round_free(p);
}

/* Nothing is decided by bundles, and a round must not cost an fsync. One too large for its guest's part of
 * the quota is made again without the guest's logs. */
static int write_bundle(struct lt_tenant_rounds *r, struct lt_tenant_round *round, struct lt_err *e)
{
    struct lt_bundles *b = r->conf.bundles;
    size_t host = lt_tenant_round_host_logs(round),
           taken = host > LT_SMALL_REPLY ? host * LT_REPLY_WEIGHT : 0;
    bool fits = lt_bundles_room(b, round->uuid, (lt_tenant_round_logs(round) + host) / 3 * 4);

    taken = fits && lt_budget_take(r->conf.memory, taken, 0) ? taken : 0;
    fits = fits && (taken || host <= LT_SMALL_REPLY);
    LT_AUTOFREE char *text = fits ? lt_tenant_round_bundle(round, r->conf.documents) : NULL;
    if (!text || !lt_bundles_room(b, round->uuid, strlen(text))) {
        free(lt_take(&text));
        text = lt_tenant_round_bundle_without(round);
    }
    lt_budget_give(r->conf.memory, taken);
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "bundle: no memory");
    if (!lt_store_fits(r->conf.store, strlen(text)))
        return 0; /* told once, by the store: what is left of the disk is for verdicts */
    return lt_bundles_put(b, round->uuid, text, strlen(text), round->verdict.result == LT_VERDICT_TRUSTED, e);
}

static void write_bundles(struct lt_tenant_rounds *r, struct lt_tenant_round *round)
{
    struct lt_err e = {0};

    if (write_bundle(r, round, &e))
        lt_log(LT_LOG_ERROR, "bundle", "guest %s: %s", round->uuid_text, e.msg);
}

static void tell(struct lt_tenant_guest *g, const struct lt_tenant_round *round, enum lt_told_kept kept)
{
    const struct lt_verdict *v = &round->verdict;

    if (!lt_told_verdict(&g->told, "guest", round->uuid_text, v, kept))
        return;
    if (v->result == LT_VERDICT_FAILED &&
        (kept == LT_TOLD_KEPT || kept == LT_TOLD_HELD || kept == LT_TOLD_LOST))
        lt_log_fields(
            LT_LOG_ERROR, "revocation",
            json_pack("{s:s, s:s, s:s}", "guest", round->uuid_text, "result", "failed", "reason", v->reason));
}

/* A list that is longer, or in which more is closed, than what is remembered. */
static struct lt_slice news_of(const struct lt_tenant_round *round)
{
    const struct lt_sealing_view *v = lt_ref_value(round->openers);
    const struct lt_sealing_list *l = v ? lt_ref_value(v->list) : NULL,
                                 *had = lt_ref_value(lt_tenant_seen_last(round->sealed));

    if (!round->facts.openers_seen || !l || (had && !memcmp(had->digest, l->digest, LT_SHA256)))
        return (struct lt_slice){0};
    return (struct lt_slice){l->bytes, l->n};
}

/* A boot policy judges a state by the log of its boot, which the host shows no more after the next. */
static void keep_log(struct lt_tenant_rounds *r, const struct lt_tenant_round *round)
{
    const struct lt_verifier_host_document *policy = lt_ref_value(round->host.policy);
    const struct lt_verifier_host_log *log = lt_ref_value(round->host.log);
    const struct lt_verifier_host_keys *keys = lt_ref_value(round->host.keys);
    const struct lt_residency_host_quote *q = lt_ref_value(round->host_quote);
    const struct lt_sealing_view *v = lt_ref_value(round->openers);
    const struct lt_sealing_list *l = v ? lt_ref_value(v->list) : NULL;

    if (round->facts.openers_seen && l && log && log->log->replay.present && policy && policy->parsed &&
        policy->parsed->measured.has_boot)
        lt_sealing_keep_log(r->conf.openers, &l->parsed, keys->id->ek_digest, &q->pcrs, log->log);
}

/* History first, then the verdict, in one transaction. */
static enum lt_told_kept store(struct lt_tenant_rounds *r, struct lt_tenant_flight *f)
{
    struct lt_tenant_round *round = f->round;
    const struct lt_checks_identity_guest *id = lt_ref_value(round->identity);
    struct lt_store_round s = {
        .verdict = &round->verdict,
        .basis = round->has_basis ? &round->basis : NULL,
        .t1_ms = round->t1_ms,
        .started = round->started,
        .end_ms = round->t5_ms ? round->t5_ms : lt_clock_ms(),
        .received = round->t5_ms ? round->received : lt_clock_wall_s(),
    };
    struct lt_err e = {0};
    enum lt_store_kept kept;

    memcpy(s.uuid, round->uuid, sizeof s.uuid);
    if (round->has_quote) {
        lt_history_guest_learn(&f->guest->history, &round->facts);
        s.ek_digest = id->ek_digest;
        s.history = &f->guest->history;
    }
    s.openers = news_of(round);
    keep_log(r, round);
    if (round->facts.exposed)
        lt_exposure_found(r->conf.store, id->ek_digest, round->facts.exposed_host);
    s.linked = round->facts.accepted;
    if (round->has_proof && lt_hosts_learn(r->conf.hosts, &round->facts, round->t5_ms, &s.host_clock))
        s.host_ak_name = round->facts.host_ak_name;
    if (round->verdict.has_host && lt_verdict_passed(&round->verdict, LT_CHECK_HOST_IDENTITY))
        lt_hosts_note(r->conf.hosts, round->verdict.host_id, round->verdict.level);
    int rc = lt_store_round(r->conf.store, &s, &kept, &e);
    if (s.openers.p) /* with the moments that the store gave it */
        lt_ref_put(lt_take(&f->guest->sealed));
    if (rc) {
        lt_log(LT_LOG_ERROR, "store", "guest %s: %s", round->uuid_text, e.msg);
        return LT_TOLD_LOST;
    }
    return (enum lt_told_kept)kept;
}

static size_t text_size(const struct lt_list *l, const struct lt_tenant_round *last)
{
    const struct lt_bundle_blob *text = lt_ref_value(l->text);
    return text && (!last || last->ima != l->text) ? text->n : 0;
}

/* The logs of `last`, and the list, are kept only if there is room: `fresh` loses them otherwise. */
static void keep_logs(struct lt_tenant_flight *f, const struct lt_tenant_round *last,
                      struct lt_tenant_round *fresh)
{
    struct lt_budget *memory = f->owner->conf.memory;
    struct lt_tenant_guest *g = f->guest;
    size_t logs = last ? lt_tenant_round_logs(last) : 0;

    if (lt_budget_settle(memory, lt_tenant_take_charge(f), &g->kept, logs + text_size(&g->list, last)))
        return;
    lt_list_clear(&g->list);
    if (fresh)
        lt_tenant_round_drop_logs(fresh);
    (void)!lt_budget_keep(memory, &g->kept, fresh ? 0 : logs); /* less: always */
}

/* The evidence can be judged again (learn), from before its verdict is seen. A new reference to the round,
 * which nobody changes any more. */
static struct lt_ref *keep(struct lt_tenant_flight *f)
{
    struct lt_tenant_round *round = f->round;
    struct lt_tenant_rounds *r = f->owner;
    bool judged = (round->has_proof && round->host.keys) || round->verdict.link == LT_VERDICT_LINK_UNLINKED;
    struct lt_ref *is = lt_ref_new(round, round_free), *old;

    round->list = NULL; /* the guest's, not the round's */
    lt_watch_lock(&r->watch);
    old = lt_ref_get(f->guest->last);
    lt_watch_unlock(&r->watch);
    keep_logs(f, judged ? round : lt_ref_value(old), judged ? round : NULL);
    lt_ref_put(old);
    lt_watch_lock(&r->watch);
    if (judged && !f->guest->entry.removed) {
        lt_ref_put(f->guest->last);
        f->guest->last = lt_ref_get(is);
    }
    lt_watch_unlock(&r->watch);
    return is;
}

/* A list of openers that merely did not come is waited for as its pauses say, not for the period. */
static uint64_t with_list(const struct lt_tenant_round *round, uint64_t next, uint64_t now_ms)
{
    const struct lt_sealing_view *v = lt_ref_value(round->openers);
    uint64_t again = v ? v->again_ms : 0;

    if (!again || round->verdict.result == LT_VERDICT_UNREACHABLE || again >= next)
        return next;
    return again > now_ms ? again : now_ms;
}

/* When the next round is due, by what came out and what became of it. */
static uint64_t due(struct lt_tenant_flight *f, enum lt_told_kept kept, uint64_t now_ms)
{
    const struct lt_rounds_conf *c = &f->owner->conf;
    const struct lt_tenant_round *round = f->round;

    if (f->flight.asked)
        f->guest->schedule = (struct lt_schedule){0};
    uint64_t next = lt_schedule_next(&f->guest->schedule, &round->verdict, round->t1_ms, now_ms, c->period_ms,
                                     round->retry_after_s);
    switch (kept) {
    case LT_TOLD_STANDS:
        return LT_SCHEDULE_NEVER; /* until it is cleared, or somebody asks */
    case LT_TOLD_OUTDATED:
        return now_ms; /* whatever it said, it said of something else */
    case LT_TOLD_LOST:
        return now_ms + c->period_ms;
    default:
        return next == LT_SCHEDULE_NEVER ? next : with_list(round, next, now_ms);
    }
}

enum lt_flight_next lt_tenant_finish(struct lt_flight *flight, struct lt_err *e)
{
    struct lt_tenant_flight *f = lt_tenant_flight_of(flight);
    struct lt_tenant_rounds *r = f->owner;
    const struct lt_verdict *v = &f->round->verdict;

    (void)e;
    if (f->round->has_quote)
        write_bundles(r, f->round);
    struct lt_ref *round = keep(f);
    lt_release_hold(r->release, f->round->uuid);
    enum lt_told_kept kept = store(r, f);
    tell(f->guest, f->round, kept);
    bool counts = kept == LT_TOLD_KEPT || kept == LT_TOLD_HELD;
    f->proven_until_ms =
        counts && v->result == LT_VERDICT_TRUSTED ? f->round->t1_ms + r->conf.max_stale_ms : 0;
    f->revoked = counts && v->result == LT_VERDICT_FAILED;
    f->untrusted = counts && v->result != LT_VERDICT_TRUSTED;
    if (counts && v->result == LT_VERDICT_TRUSTED)
        lt_release_trusted(r->release, f->round, f->address, LT_VERSIONS_TO - f->guest->version);
    f->due_ms = due(f, kept, lt_clock_ms());
    lt_ref_put(round);
    lt_ref_put(lt_take(&f->ask));
    lt_ref_put(lt_take(&f->group));
    free(lt_take(&f->body));
    return LT_FLIGHT_NEXT;
}
