#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "tenant/rounds_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void round_free(void *p)
{
    lt_round_free(p);
}

/* UUID.json is the last round's evidence, UUID.trusted.json the last trusted one's. Nothing is decided by
 * them, and a round must not cost an fsync. */
static void write_bundles(struct lt_rounds *r, const struct lt_round *round)
{
    char name[LT_UUID_TEXT + 16];
    struct lt_err e = {0};
    LT_AUTOFREE char *text = lt_round_bundle(round, r->conf.documents);

    snprintf(name, sizeof name, "%s.json", round->uuid_text);
    LT_AUTOFREE char *last = lt_path(r->conf.bundles, name);
    snprintf(name, sizeof name, "%s.trusted.json", round->uuid_text);
    LT_AUTOFREE char *trusted = lt_path(r->conf.bundles, name);
    if (text && !lt_store_fits(r->conf.store, strlen(text)))
        return; /* told once, by the store: what is left of the disk is for verdicts */
    int rc =
        text ? lt_file_replace(last, text, strlen(text), 0600, &e) : lt_fail(&e, LT_E_NO_MEMORY, "no memory");
    if (!rc && round->verdict.result == LT_TRUSTED)
        rc = lt_file_link(last, trusted, &e);
    if (rc)
        lt_log(LT_LOG_ERROR, "bundle", "guest %s: %s", round->uuid_text, e.msg);
}

/* What became of the verdict; LOST: the store's fault. */
enum kept {
    KEPT = LT_STORE_KEPT,
    STANDS = LT_STORE_STANDS,
    OUTDATED = LT_STORE_OUTDATED,
    GONE = LT_STORE_GONE,
    HELD = LT_STORE_HELD,
    LOST
};

static void tell(const struct lt_round *round, enum kept kept)
{
    static const char *const notes[] = {
        [KEPT] = "",
        [STANDS] = " (an earlier failed verdict stands)",
        [OUTDATED] = " (under a policy or registration of before: it does not count)",
        [GONE] = " (the guest was removed)",
        [HELD] = " (in memory: the store takes nothing)",
        [LOST] = "",
    };
    const struct lt_verdict *v = &round->verdict;

    lt_log(v->result == LT_TRUSTED ? LT_LOG_INFO : LT_LOG_WARNING, "verdict", "guest %s: %s%s%s%s",
           round->uuid_text, lt_result_slug(v->result), v->reason[0] ? ", " : "", v->reason, notes[kept]);
    if (v->result == LT_FAILED && (kept == KEPT || kept == HELD || kept == LOST))
        lt_log(LT_LOG_ERROR, "revocation", "guest %s: failed, %s", round->uuid_text, v->reason);
}

/* History first, then the verdict, in one transaction. */
static enum kept store(struct lt_rounds *r, struct lt_flight *f)
{
    struct lt_round *round = f->round;
    const struct lt_guest_identity *id = lt_ref_value(round->identity);
    struct lt_store_round s = {
        .verdict = &round->verdict,
        .basis = round->has_basis ? &round->basis : NULL,
        .t1_ms = round->t1_ms,
        .started = round->started,
        .end_ms = round->t5_ms ? round->t5_ms : lt_now_ms(),
        .received = round->t5_ms ? round->received : lt_wall_s(),
    };
    struct lt_err e = {0};
    enum lt_store_kept kept;

    memcpy(s.uuid, round->uuid, sizeof s.uuid);
    if (round->has_quote) {
        lt_guest_history_learn(&f->guest->history, &round->facts);
        s.ek_digest = id->ek_digest;
        s.history = &f->guest->history;
    }
    if (round->has_proof && lt_hosts_learn(r->conf.hosts, &round->facts, round->t5_ms, &s.host_clock))
        s.host_ak_name = round->facts.host_ak_name;
    if (round->verdict.has_host && lt_verdict_passed(&round->verdict, LT_HOST_IDENTITY))
        lt_hosts_note(r->conf.hosts, round->verdict.host_id, round->verdict.level);
    if (lt_store_round(r->conf.store, &s, &kept, &e)) {
        lt_log(LT_LOG_ERROR, "store", "guest %s: %s", round->uuid_text, e.msg);
        return LOST;
    }
    return (enum kept)kept;
}

/* The evidence can be judged again (learn), by whoever was told of its verdict: so it is kept before that is. A
 * reference for the caller. */
static struct lt_ref *keep(struct lt_rounds *r, struct lt_watched *g, struct lt_round *round)
{
    round->list = NULL; /* the guest's, not the round's */
    struct lt_ref *ref = lt_ref_new(round, round_free);

    if (round->has_proof && round->host.keys) {
        pthread_mutex_lock(&r->lock);
        struct lt_ref *old = g->last;
        g->last = lt_ref_get(ref);
        pthread_mutex_unlock(&r->lock);
        lt_ref_put(old);
    }
    return ref;
}

void lt_flight_finish(struct lt_flight *f)
{
    struct lt_rounds *r = f->owner;
    struct lt_watched *g = f->guest;
    const struct lt_verdict *v = &f->round->verdict;
    struct lt_ref *round = keep(r, g, f->round);

    if (f->round->has_quote)
        write_bundles(r, f->round);
    enum kept kept = store(r, f);
    tell(f->round, kept);
    bool counts = kept == KEPT || kept == HELD;
    bool proven = counts && v->result == LT_TRUSTED, failed = counts && v->result == LT_FAILED;
    uint64_t t1 = f->round->t1_ms, now = lt_now_ms();
    uint64_t due = lt_schedule_next(&g->schedule, v, t1, now, r->conf.period_ms, f->round->retry_after_s);
    if (kept == STANDS)
        due = LT_NEVER; /* until it is cleared, or somebody asks */
    else if (kept == OUTDATED)
        due = now; /* whatever it said, it said of something else */
    else if (kept == LOST)
        due = now + r->conf.period_ms;
    lt_ref_put(round);

    pthread_mutex_lock(&r->lock);
    if (proven)
        g->proven_until_ms = t1 + r->conf.max_stale_ms;
    else if (failed)
        g->proven_until_ms = 0;
    g->due_ms = due;
    if (g->ask) {
        g->schedule = (struct lt_schedule){0};
        g->due_ms = now;
    }
    g->flying = false;
    r->flying--;
    r->large -= f->large;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    free(f);
}

void lt_flight_unreachable(struct lt_flight *f, const struct lt_err *e)
{
    lt_verdict_no_answer(&f->round->verdict, LT_UNREACHABLE, e);
    lt_flight_finish(f);
}
