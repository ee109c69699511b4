#include "appraisal/checks/reason.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tenant/rounds_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One POST proofs: at most LT_MAX_PROOF_ITEMS guests. */
struct ask {
    struct lt_tenant_rounds *r;
    struct lt_tenant_flight *items[LT_MAX_PROOF_ITEMS];
    size_t n;
    struct lt_err e;
    struct lt_http_reply reply; /* body is ours */
};

/* The guests of one host quote. Only as long as one of them flies is `r` sure to be there. */
struct group {
    struct lt_tenant_rounds *r;
    struct lt_ref *quote;
    char host[2 * LT_RESIDENCY_HOST_ID + 1];
    struct lt_tenant_flight *flights;
    struct lt_claim *claims; /* of guests that other hosts claim too */
};

static void group_free(struct group *g)
{
    lt_ref_put(g->quote);
    free(g);
}

static void host_stage(void *arg)
{
    struct lt_tenant_flight *f = arg;
    struct lt_tenant_round *round = f->round;
    struct lt_tenant_rounds *r = f->owner;
    const struct lt_hosts_host_keys *keys = lt_ref_value(round->host.keys);
    struct lt_err e = {0};

    if (lt_hosts_history(r->conf.hosts, keys->id->ak_name, &round->host_history, &e)) {
        lt_tenant_flight_unreachable(f, &e);
        return;
    }
    lt_tenant_round_appraise_host(round, round->policy, r->conf.window_ms, &r->caches, &round->facts,
                                  &round->verdict);
    lt_tenant_flight_finish(f);
}

static bool accepted(const struct group *g)
{
    const struct lt_residency_host_quote *q = lt_ref_value(g->quote);
    struct lt_residency_header h;

    if (lt_residency_header_parse(q->header, sizeof q->header, &h, NULL))
        return false;
    for (const struct lt_tenant_flight *f = g->flights; f; f = f->next) {
        const struct lt_policy_guest *p = lt_tenant_policy_parsed(f->round->policy);
        if (p && lt_policy_digests_have(&p->host_policies, h.policy_digest))
            return true;
    }
    for (const struct lt_claim *c = g->claims; c; c = lt_tenant_claim_next(c)) {
        const struct lt_policy_guest *p = lt_tenant_claim_policy(c);
        if (p && lt_policy_digests_have(&p->host_policies, h.policy_digest))
            return true;
    }
    return false;
}

/* Some guest's verdict waits for this host's; else they are all its rivals. */
static bool awaited(const struct group *g)
{
    bool rivals = !g->flights;

    for (struct lt_claim *c = g->claims; c && rivals; c = lt_tenant_claim_next(c))
        rivals = lt_tenant_claim_is_rival(c);
    return !rivals;
}

static void group_stage(void *arg)
{
    struct group *g = arg;
    struct lt_hosts_host_view view = {0};
    struct lt_err e = {0};
    int rc =
        lt_hosts_view(g->r->conf.hosts, g->host, lt_ref_value(g->quote), accepted(g), awaited(g), &view, &e);

    for (struct lt_claim *c = g->claims, *next; c; c = next) {
        next = lt_tenant_claim_next(c);
        lt_tenant_claim_viewed(c, &view, rc ? &e : NULL);
    }
    for (struct lt_tenant_flight *f = g->flights, *next; f; f = next) {
        next = f->next;
        if (rc) {
            lt_tenant_flight_unreachable(f, &e);
            continue;
        }
        f->round->host = (struct lt_hosts_host_view){lt_ref_get(view.keys), lt_ref_get(view.policy),
                                                     lt_ref_get(view.log), lt_ref_get(view.ima)};
        lt_pool_post(lt_flight_pool(f), host_stage, f);
    }
    lt_hosts_host_view_free(&view);
    group_free(g);
}

static void quote_free(void *p)
{
    lt_residency_host_quote_free(p);
    free(p);
}

/* Quotes that are malformed stay out, and only their own guests miss them. */
static struct group *read_quote(struct lt_tenant_rounds *r, const json_t *j, struct lt_err *e)
{
    struct lt_residency_host_quote *q = calloc(1, sizeof *q);
    struct group *g = calloc(1, sizeof *g);
    uint8_t id[LT_RESIDENCY_HOST_ID];
    struct lt_residency_header h;

    if (!q || !g)
        abort();
    int rc = lt_json_hex(j, "host", id, sizeof id, e);
    if (!rc && !(rc = lt_residency_host_quote_from_json(j, q, e)) &&
        !lt_residency_header_parse(q->header, LT_RESIDENCY_HEADER, &h, NULL) &&
        memcmp(h.host_id, id, sizeof id)) { /* whose quote it is stands in it, signed */
        lt_residency_host_quote_free(q);
        rc = lt_fail(e, LT_E_MALFORMED, "a quote of another host than it is said to be of");
    }
    if (rc) {
        free(q);
        free(g);
        return NULL;
    }
    g->r = r;
    g->quote = lt_ref_new(q, quote_free);
    lt_hex(id, sizeof id, g->host);
    return g;
}

/* A provider can send thousands: one line for them all. */
static void read_quotes(struct lt_tenant_rounds *r, const json_t *quotes, struct group **groups, size_t n)
{
    struct lt_err first = {0};
    size_t bad = 0;

    for (size_t i = 0; i < n; i++) {
        struct lt_err e = {0};
        groups[i] = read_quote(r, json_array_get(quotes, i), &e);
        if (!groups[i] && !bad++)
            first = e;
    }
    if (bad)
        lt_log(LT_LOG_WARNING, "host-quote-malformed", "%zu of %zu, the first: %s", bad, n, first.msg);
}

static void count_quotes(struct lt_tenant_rounds *r, struct group *const *groups, size_t n)
{
    struct lt_residency_header h;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++)
        if (groups[i]) {
            const struct lt_residency_host_quote *q = lt_ref_value(groups[i]->quote);
            r->count.quotes++;
            if (!lt_residency_header_parse(q->header, sizeof q->header, &h, NULL))
                r->count.last_batch = h.n;
        }
    pthread_mutex_unlock(&r->lock);
}

/* Deals the items out to their quotes' groups; those without go now. */
static void deal(struct ask *a, const json_t *proofs, struct group **groups, size_t n)
{
    LT_AUTOFREE struct lt_ref **quotes = calloc(n + 1, sizeof *quotes);
    LT_AUTOFREE struct lt_claim **claims = calloc(n + 1, sizeof *claims);

    if (!quotes || !claims)
        abort();
    for (size_t i = 0; i < n; i++)
        quotes[i] = groups[i] ? groups[i]->quote : NULL;
    for (size_t i = 0; i < a->n; i++) {
        const json_t *item = json_array_get(proofs, i);
        struct lt_tenant_flight *f = a->items[i];
        struct lt_err e = {0};
        if (json_array_size(json_object_get(item, "others")) &&
            !lt_tenant_round_check_item(f->round, item, &e)) {
            lt_tenant_contest_start(f, item, quotes, n, claims);
            continue;
        }
        if (lt_tenant_round_read_proof(f->round, item, quotes, n, &e)) {
            lt_tenant_flight_unreachable(f, &e);
            continue;
        }
        size_t at = 0;
        while (quotes[at] != f->round->host_quote)
            at++;
        f->next = groups[at]->flights;
        groups[at]->flights = f;
    }
    for (size_t i = 0; i < n; i++)
        if (groups[i])
            groups[i]->claims = claims[i];
}

static int read_reply(struct ask *a, json_t **reply, json_t **quotes, json_t **proofs, struct lt_err *e)
{
    if (a->e.code) {
        *e = a->e;
        lt_reason_provider(e);
        return lt_fail_in(e, "provider");
    }
    *reply = lt_http_json(&a->reply, 200, e);
    if (!*reply && a->reply.status != 200) {
        e->code = LT_E_PROVIDER_REFUSED;
        return lt_fail_in(e, "provider, HTTP %d", a->reply.status);
    }
    int rc =
        *reply ? lt_json_array(*reply, "quotes", LT_MAX_PROOF_ITEMS * LT_MAX_CLAIMANTS, quotes, e) : e->code;
    if (!rc)
        rc = lt_json_array(*reply, "proofs", LT_MAX_PROOF_ITEMS, proofs, e);
    if (!rc && json_array_size(*proofs) != a->n)
        rc = lt_fail(e, LT_E_MALFORMED, "%zu proofs for %zu guests", json_array_size(*proofs), a->n);
    if (rc)
        lt_reason_provider(e);
    return rc ? lt_fail_in(e, "provider") : 0;
}

static void proofs_stage(void *arg)
{
    struct ask *a = arg;
    struct lt_budget *memory = a->r->conf.memory; /* with the last flight the rounds may be gone */
    LT_AUTOJSON json_t *reply = NULL;
    json_t *quotes, *proofs;
    struct lt_err e = {0};
    int rc = read_reply(a, &reply, &quotes, &proofs, &e);

    for (size_t i = 0; i < a->n; i++) {
        struct lt_tenant_round *round = a->items[i]->round;
        a->items[i]->next = NULL;
        round->retry_after_s = a->reply.retry_after_s;
        round->t5_ms = a->reply.last_byte_ms;
        round->received = lt_clock_wall_s();
        if (rc)
            lt_tenant_flight_unreachable(a->items[i], &e);
    }
    if (!rc) {
        size_t n = json_array_size(quotes);
        LT_AUTOFREE struct group **groups = calloc(n + 1, sizeof *groups);
        if (!groups)
            abort();
        read_quotes(a->r, quotes, groups, n);
        count_quotes(a->r, groups, n);
        deal(a, proofs, groups, n);
        for (size_t i = 0; i < n; i++) {
            if (groups[i] && (groups[i]->flights || groups[i]->claims))
                lt_pool_post(a->r->conf.fetch, group_stage, groups[i]);
            else if (groups[i])
                group_free(groups[i]);
        }
    }
    free((char *)a->reply.body);
    lt_budget_give(memory, a->reply.charge);
    free(a);
}

static void proofs_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct ask *a = arg;

    a->e = *e;
    if (!e->code) {
        char *copy = malloc(reply->n + 1);
        if (!copy)
            abort();
        memcpy(copy, reply->body, reply->n);
        copy[reply->n] = 0;
        a->reply = *reply;
        a->reply.body = copy;
    }
    lt_pool_post(a->r->conf.pool, proofs_stage, a);
}

/* The pair, and the host that was accepted last: it is asked whoever else claims the guest. */
static json_t *describe(const struct lt_tenant_round *round)
{
    const struct lt_checks_guest_identity *id = lt_ref_value(round->identity);
    json_t *o = json_pack("{s:s, s:o, s:o}", "uuid", round->uuid_text, "commitment",
                          lt_json_new_hex(round->facts.commitment, 32), "ek_digest",
                          lt_json_new_hex(id->ek_digest, 32));

    if (round->history.has_accepted_host)
        json_object_set_new(o, "host", lt_json_new_hex(round->history.accepted_host, LT_RESIDENCY_HOST_ID));
    return o;
}

static void send_ask(struct ask *a)
{
    const struct lt_tenant_rounds_conf *c = &a->r->conf;
    json_t *guests = json_array();
    char url[LT_MAX_URL];

    for (size_t i = 0; i < a->n; i++)
        json_array_append_new(guests, describe(a->items[i]->round));
    LT_AUTOJSON json_t *j = json_pack("{s:o}", "guests", guests);
    LT_AUTOFREE char *body = j ? lt_json_dump(j) : NULL;
    if (!body)
        abort();
    snprintf(url, sizeof url, "%s/federation/v1/proofs", c->provider);
    struct lt_http_request q = {.method = "POST",
                                .url = url,
                                .body = body,
                                .body_n = strlen(body),
                                .timeout_ms = (long)c->window_ms,
                                .weight = LT_REPLY_WEIGHT,
                                .max_reply = LT_SMALL_REPLY + a->n * LT_MAX_PROOF_REPLY};
    lt_http_send(c->to_provider, &q, proofs_done, a);
}

/* Takes those of the list that have an accepted host, or those that have none. */
static struct lt_tenant_flight *split(struct lt_tenant_flight **flights, bool accepted)
{
    struct lt_tenant_flight *mine = NULL, **end = &mine;

    for (struct lt_tenant_flight **at = flights; *at;) {
        struct lt_tenant_flight *f = *at;
        if (f->round->history.has_accepted_host != accepted) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        f->next = NULL;
        *end = f;
        end = &f->next;
    }
    return mine;
}

static void ask_all(struct lt_tenant_rounds *r, struct lt_tenant_flight *flights)
{
    while (flights) {
        struct ask *a = calloc(1, sizeof *a);
        if (!a)
            abort();
        a->r = r;
        for (; flights && a->n < LT_MAX_PROOF_ITEMS; flights = flights->next)
            a->items[a->n++] = flights;
        send_ask(a);
    }
}

/* A guest that no host was accepted for waits for all who claim it, however slow: not the others' business,
 * so those go in a request of their own. */
void lt_tenant_flights_ask(struct lt_tenant_rounds *r, struct lt_tenant_flight *flights)
{
    struct lt_tenant_flight *accepted = split(&flights, true);

    ask_all(r, accepted);
    ask_all(r, flights);
}
