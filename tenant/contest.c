/* A contest. Its flight waits at the stage that deals the proofs out, until it is decided.
 *   open     its claims are fetched (their group's) or judged (a worker's, which reads the flight's round)
 *   decided  once no claim reads the round, and all are closed or the grace is over: `decided` has the flight
 *            then, one worker chooses and brings it on
 *   gone     with the last claim, which may be open longer than the flight flies
 * All under the lock of the rounds; what a claim brings (`view`, `judged`, `e`) is its own until it is
 * closed. */
#include "common/alloc.h"
#include "common/ref.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tenant/stages.h"

#include "appraisal/checks/claimants.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRACE_MS 1000 /* for the others' keys and judgement, once one proof holds */

struct lt_contest {
    struct lt_work_task task;
    struct lt_contest *next; /* in lt_tenant_rounds.contests */
    struct lt_tenant_rounds *r;
    struct lt_tenant_flight *flight;  /* NULL: no claim may look at its round any more */
    struct lt_tenant_flight *decided; /* the same, from then on */
    uint8_t uuid[LT_UUID];
    unsigned count, open;                      /* claims; those that are fetched or judged */
    unsigned judging;                          /* claims that read the round now */
    struct lt_ref_count refs;                  /* the open ones, and who decides; counted under the lock */
    struct lt_ref *policy, *identity, *sealed; /* of the guest */
    uint64_t due_ms; /* one holds: the others are waited for until then. 0: none does */
    struct lt_tenant_claim {
        struct lt_work_task task;
        struct lt_tenant_claim *next; /* in a group */
        struct lt_contest *of;
        char host[2 * LT_RESIDENCY_HOST_ID + 1]; /* "": not told */
        bool its_host;
        struct lt_err e; /* not judged: why */
        struct lt_ref *quote;
        struct lt_proof proof;
        struct lt_hosts_host_view view;
        struct lt_ref *openers;
        struct judged *judged; /* NULL: not yet */
    } claim[];
};

/* As long as its verdict is: the parts that are not used are not there. */
struct judged {
    struct lt_history_host history;
    struct lt_history_round_facts facts;
    struct lt_verdict verdict;
};

/* ---- life ---- */

static void contest_free(struct lt_contest *x)
{
    for (unsigned i = 0; i < x->count; i++) {
        lt_ref_put(x->claim[i].quote);
        lt_hosts_host_view_free(&x->claim[i].view);
        lt_ref_put(x->claim[i].openers);
        free(x->claim[i].judged);
    }
    lt_ref_put(x->policy);
    lt_ref_put(x->identity);
    lt_ref_put(x->sealed);
    free(x);
}

/* Under the lock. */
static void unref(struct lt_contest *x)
{
    struct lt_tenant_rounds *r = x->r;
    struct lt_contest **at = &r->contests;

    if (!lt_ref_leave(&x->refs))
        return;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    contest_free(x);
    lt_watch_wake(&r->watch);
}

/* ---- the decision ---- */

static const char *why(const struct lt_verdict *v)
{
    for (int c = 0; c < LT_CHECKS; c++)
        if (v->check[c].state == LT_CHECK_NOT_PASSED)
            return v->check[c].message;
    for (int c = LT_CHECK_BATCH_INCLUSION; c < LT_CHECKS; c++)
        if (!lt_verdict_passed(v, c))
            return v->check[c].message;
    return "";
}

static void note(struct lt_verdict *v, const struct lt_tenant_claim *c)
{
    const struct lt_verdict *is = c->judged ? &c->judged->verdict : NULL;
    const char *host = c->host[0] ? c->host : "?";

    if (!is)
        lt_check_note(v, LT_CHECK_RESIDENCY, "claimant", "host %s was asked too: %.200s", host,
                      c->e.code ? c->e.msg : "it was not judged in time");
    else if (lt_claimants_verdict_holds(is))
        lt_check_note(v, LT_CHECK_RESIDENCY, "claimant",
                      "host %s has this guest too, and its proof holds: a second copy of it", host);
    else
        lt_check_note(v, LT_CHECK_RESIDENCY, "claimant", "host %s claims this guest too: %s%s%s: %.180s",
                      host, lt_verdict_result_slug(is->result), *is->reason ? ", " : "", is->reason, why(is));
}

static void tell_others(const struct lt_contest *x, const struct lt_tenant_claim *chosen,
                        struct lt_verdict *v)
{
    for (unsigned i = 0; i < x->count; i++)
        if (&x->claim[i] != chosen)
            note(v, &x->claim[i]);
}

static size_t verdict_size(const struct lt_verdict *v)
{
    return offsetof(struct lt_verdict, parts) + v->part_count * sizeof v->parts[0];
}

/* The chosen claim is the round's. What a host says that is not known to be the guest's, and does not hold,
 * is no absence of the guest. */
static void take(struct lt_tenant_round *round, struct lt_tenant_claim *c)
{
    round->host_quote = lt_take(&c->quote);
    round->proof = c->proof;
    round->host = c->view;
    memset(&c->view, 0, sizeof c->view);
    round->openers = lt_take(&c->openers);
    round->host_history = c->judged->history;
    round->facts = c->judged->facts;
    memcpy(&round->verdict, &c->judged->verdict, verdict_size(&c->judged->verdict));
    round->has_proof = true;
    if (!c->its_host && !lt_claimants_verdict_holds(&c->judged->verdict))
        round->facts.absence = LT_HISTORY_PRESENT;
}

static void undecided(const struct lt_contest *x, struct lt_verdict *v)
{
    for (int c = LT_CHECK_BATCH_INCLUSION; c < LT_CHECKS; c++)
        lt_check_skip(v, c, "%u hosts claim this guest, and of none a proof holds", x->count);
    lt_verdict_undecided(v, "claimants");
}

static struct judged *judge(const struct lt_tenant_claim *c, const struct lt_tenant_round *round,
                            struct lt_err *e)
{
    const struct lt_tenant_rounds *r = c->of->r;
    const struct lt_verifier_host_keys *keys = lt_ref_value(c->view.keys);
    LT_AUTOFREE struct judged *j = lt_new(struct judged);
    if (lt_hosts_history(r->conf.hosts, keys->id->ak_name, &j->history, e))
        return NULL;
    const struct lt_tenant_host_half half = {c->quote, &c->proof, &c->view, &j->history, c->openers};
    j->facts = round->facts;
    memcpy(&j->verdict, &round->verdict, verdict_size(&round->verdict));
    lt_tenant_round_appraise_half(round, &half, round->policy, r->conf.window_ms, &r->caches, &j->facts,
                                  &j->verdict);
    struct judged *less = realloc(j, offsetof(struct judged, verdict) + verdict_size(&j->verdict));
    if (less)
        j = less;
    return lt_take(&j);
}

/* A rival's quote may expose the guest after the others were judged: nobody's verdict is of before. */
static void judge_again(struct lt_contest *x)
{
    if (!lt_tenant_refresh_seen(x->decided))
        return;
    for (unsigned i = 0; i < x->count; i++) {
        struct lt_tenant_claim *c = &x->claim[i];
        if (!c->judged)
            continue;
        free(lt_take(&c->judged));
        c->judged = judge(c, x->decided->round, &c->e);
    }
}

static void decide(struct lt_contest *x)
{
    struct lt_claimant who[LT_MAX_CLAIMANTS];
    struct lt_tenant_round *round = x->decided->round;
    bool any = false;
    unsigned which;

    judge_again(x);
    for (unsigned i = 0; i < x->count; i++) {
        who[i] = (struct lt_claimant){x->claim[i].judged ? &x->claim[i].judged->verdict : NULL,
                                      x->claim[i].its_host};
        any |= x->claim[i].judged != NULL;
    }
    enum lt_claimants_choice choice = lt_claimants_choose(who, x->count, &which);
    struct lt_tenant_claim *chosen = &x->claim[which];
    if (choice == LT_CLAIMANTS_CHOICE_ONE)
        take(round, chosen);
    else if (choice == LT_CLAIMANTS_CHOICE_UNDECIDED && any)
        undecided(x, &round->verdict);
    else
        lt_tenant_unreachable(&x->decided->flight, &chosen->e);
    round->contested = true;
    tell_others(x, choice == LT_CLAIMANTS_CHOICE_UNDECIDED ? NULL : chosen, &round->verdict);
    lt_flight_on(&x->decided->flight, LT_FLIGHT_STOP, NULL);
}

static void decide_stage(struct lt_work_task *t)
{
    struct lt_contest *x = LT_WORK_OWNER(t, struct lt_contest);
    struct lt_tenant_rounds *r = x->r;

    decide(x);
    lt_watch_lock(&r->watch);
    unref(x);
    lt_watch_unlock(&r->watch);
}

static bool holds(const struct lt_contest *x)
{
    for (unsigned i = 0; i < x->count; i++)
        if (x->claim[i].judged && lt_claimants_verdict_holds(&x->claim[i].judged->verdict))
            return true;
    return false;
}

/* Under the lock. */
static void decide_if_ready(struct lt_contest *x, uint64_t now_ms)
{
    if (!x->flight || x->judging)
        return;
    if (x->open && holds(x) && !x->due_ms) {
        x->due_ms = now_ms + GRACE_MS;
        lt_watch_wake(&x->r->watch);
    }
    if (x->open && (!x->due_ms || now_ms < x->due_ms))
        return;
    x->decided = lt_take(&x->flight);
    lt_work_post(x->r->conf.pool, &x->task, decide_stage);
}

void lt_tenant_contests_due(struct lt_tenant_rounds *r, uint64_t now_ms, uint64_t *next_ms)
{
    for (struct lt_contest *x = r->contests; x; x = x->next) {
        decide_if_ready(x, now_ms);
        if (x->flight && x->due_ms > now_ms && x->due_ms < *next_ms)
            *next_ms = x->due_ms;
    }
}

/* ---- one claim ---- */

/* Under the lock. */
static void close_claim(struct lt_tenant_claim *c)
{
    struct lt_contest *x = c->of;

    x->open--;
    decide_if_ready(x, lt_clock_ms());
    unref(x);
}

static void claim_stage(struct lt_work_task *t)
{
    struct lt_tenant_claim *c = LT_WORK_OWNER(t, struct lt_tenant_claim);
    struct lt_contest *x = c->of;
    struct lt_tenant_rounds *r = x->r;
    struct lt_err e = {0};
    struct judged *j = judge(c, x->flight->round, &e); /* it stays while this one is judging */

    lt_watch_lock(&r->watch);
    c->judged = j;
    c->e = e;
    x->judging--;
    close_claim(c);
    lt_watch_unlock(&r->watch);
}

const struct lt_policy_guest *lt_tenant_claim_policy(const struct lt_tenant_claim *c)
{
    return lt_tenant_policy_parsed(c->of->policy);
}

bool lt_tenant_claim_is_rival(const struct lt_tenant_claim *c)
{
    for (unsigned i = 0; i < c->of->count; i++)
        if (c->of->claim[i].its_host)
            return !c->its_host;
    return false;
}

struct lt_tenant_claim **lt_tenant_claim_next(struct lt_tenant_claim *c)
{
    return &c->next;
}

bool lt_tenant_claim_names(const struct lt_tenant_claim *c, uint8_t digest[LT_SHA256], struct lt_ref **had)
{
    const struct lt_contest *x = c->of;
    const struct lt_checks_identity_guest *id = lt_ref_value(x->identity);

    *had = lt_tenant_seen_last(x->sealed);
    return lt_tenant_seen_names(&c->proof, x->uuid, id->ek_digest, digest);
}

void lt_tenant_claim_viewed(struct lt_tenant_claim *c, const struct lt_hosts_host_view *v,
                            struct lt_ref *openers, const struct lt_err *e)
{
    struct lt_contest *x = c->of;
    struct lt_tenant_rounds *r = x->r;

    lt_watch_lock(&r->watch);
    if (x->flight && !e) {
        c->view = (struct lt_hosts_host_view){lt_ref_get(v->keys), lt_ref_get(v->policy), lt_ref_get(v->log),
                                              lt_ref_get(v->ima)};
        c->openers = lt_take(&openers);
        x->judging++;
        lt_work_post(r->conf.pool, &c->task, claim_stage);
    } else {
        if (x->flight)
            c->e = *e;
        close_claim(c);
    }
    lt_watch_unlock(&r->watch);
    lt_ref_put(openers); /* nobody judges it */
}

/* ---- from the provider's reply ---- */

static void name_host(struct lt_tenant_claim *c, const json_t *answer)
{
    const struct lt_history_guest *h = &c->of->flight->round->history;
    const struct lt_residency_host_quote *q = lt_ref_value(c->quote);
    struct lt_residency_header header;
    uint8_t id[LT_RESIDENCY_HOST_ID];

    /* Of a quote, what stands in it; else what the provider says: of an error there is no better. */
    if (q ? lt_residency_header_parse(q->header, LT_RESIDENCY_HEADER, &header, LT_NO_ERR)
          : lt_json_hex(answer, "host", id, sizeof id, LT_NO_ERR))
        return;
    if (q)
        memcpy(id, header.host_id, sizeof id);
    lt_hex(id, sizeof id, c->host);
    c->its_host = h->has_accepted_host && !memcmp(h->accepted_host, id, sizeof id);
}

static void read_claim(struct lt_contest *x, const json_t *answer, struct lt_ref *const *quotes,
                       struct lt_ref *const *groups, size_t n)
{
    struct lt_tenant_claim *c = &x->claim[x->count++];
    size_t at;

    c->of = x;
    if (lt_tenant_round_read_answer(answer, quotes, n, &c->proof, &at, &x->flight->round->retry_after_s,
                                    &c->e)) {
        (void)lt_fail_in(&c->e, c->e.code, "provider's proof");
    } else {
        c->quote = lt_ref_get(quotes[at]);
        lt_tenant_group_claim(groups[at], c);
    }
    name_host(c, answer);
    x->open += c->quote != NULL;
}

/* It may be decided, and gone, once the groups are closed. */
void lt_tenant_contest(struct lt_tenant_flight *f, const json_t *item, struct lt_ref *const *quotes,
                       struct lt_ref *const *groups, size_t n)
{
    json_t *others = json_object_get(item, "others"), *other;
    size_t most =
        1 + json_array_size(others) < LT_MAX_CLAIMANTS ? 1 + json_array_size(others) : LT_MAX_CLAIMANTS;
    struct lt_contest *x = lt_alloc(1, sizeof *x + most * sizeof *x->claim);
    struct lt_tenant_rounds *r = f->owner;
    size_t i;

    x->r = r;
    x->flight = f;
    x->policy = lt_ref_get(f->round->policy);
    x->identity = lt_ref_get(f->round->identity);
    x->sealed = lt_ref_get(f->round->sealed);
    memcpy(x->uuid, f->round->uuid, sizeof x->uuid);
    read_claim(x, item, quotes, groups, n);
    json_array_foreach(others, i, other)
    {
        if (x->count < most)
            read_claim(x, other, quotes, groups, n);
    }
    lt_ref_start(&x->refs, x->open + 1);
    lt_watch_lock(&r->watch);
    x->next = r->contests;
    r->contests = x;
    decide_if_ready(x, lt_clock_ms()); /* if no proof came at all */
    lt_watch_unlock(&r->watch);
}
