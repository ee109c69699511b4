/* The provider is asked for the proofs of all who gathered, and deals them out. */
#include "appraisal/checks/reason.h"
#include "common/alloc.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "residency/error.h"
#include "tenant/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One POST proofs: of at most LT_MAX_PROOF_ITEMS guests, each of which has a reference. */
struct ask {
    struct lt_tenant_rounds *r;
    struct lt_flight *flights; /* in the order of the items; whose they are again with the reply */
    size_t n;
    struct lt_budget *memory;
    struct lt_http_reply reply; /* body is ours */
};

static void ask_free(void *p)
{
    struct ask *a = p;

    free((char *)a->reply.body);
    lt_budget_give(a->memory, a->reply.charge);
    free(a);
}

/* ---- asking ---- */

static void provider_done(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    struct lt_err said = *e;
    struct ask *a = arg;

    if (!said.code) {
        a->reply = *reply;
        a->reply.body = lt_tenant_body(reply, &said);
    }
    lt_flight_on(a->flights, LT_FLIGHT_NEXT, &said);
}

/* The pair, and the host that was accepted last: it is asked whoever else claims the guest. */
static json_t *describe(const struct lt_tenant_round *round)
{
    const struct lt_checks_identity_guest *id = lt_ref_value(round->identity);
    json_t *o = json_pack("{s:s, s:o, s:o}", "uuid", round->uuid_text, "commitment",
                          lt_json_new_hex(round->facts.commitment, 32), "ek_digest",
                          lt_json_new_hex(id->ek_digest, 32));

    if (round->history.has_accepted_host)
        json_object_set_new(o, "host", lt_json_new_hex(round->history.accepted_host, LT_RESIDENCY_HOST_ID));
    return o;
}

static void send_ask(struct ask *a)
{
    const struct lt_rounds_conf *c = &a->r->conf;
    json_t *guests = json_array();
    char url[LT_MAX_URL];

    for (struct lt_flight *f = a->flights; f; f = f->next)
        json_array_append_new(guests, describe(lt_tenant_flight_of(f)->round));
    LT_JSON_AUTO json_t *j = json_pack("{s:o}", "guests", guests);
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
    lt_http_send(c->to_provider, &q, provider_done, a);
}

/* Takes those of the list that have an accepted host, or those that have none. */
static struct lt_flight *split(struct lt_flight **flights, bool accepted)
{
    struct lt_flight *mine = NULL, **end = &mine;

    for (struct lt_flight **at = flights; *at;) {
        struct lt_flight *f = *at;
        if (lt_tenant_flight_of(f)->round->history.has_accepted_host != accepted) {
            at = &f->next;
            continue;
        }
        *end = lt_flight_pop(at);
        end = &f->next;
    }
    return mine;
}

static void ask_all(struct lt_tenant_rounds *r, struct lt_flight *flights)
{
    while (flights) {
        struct ask *a = lt_new(struct ask);
        struct lt_ref *ask = lt_ref_new(a, ask_free);
        a->r = r;
        a->memory = r->conf.memory;
        for (struct lt_flight **end = &a->flights; flights && a->n < LT_MAX_PROOF_ITEMS; a->n++) {
            *end = lt_flight_pop(&flights);
            lt_tenant_flight_of(*end)->ask = a->n ? lt_ref_get(ask) : ask;
            end = &(*end)->next;
        }
        send_ask(a);
    }
}

/* A guest that no host was accepted for waits for all who claim it, however slow: not the others' business,
 * so those go in a request of their own. */
enum lt_flight_next lt_tenant_gather(struct lt_flight **these, struct lt_err *e)
{
    struct lt_tenant_rounds *r = lt_tenant_flight_of(*these)->owner;
    struct lt_flight *accepted = split(these, true), *others = *these;

    (void)e;
    ask_all(r, accepted);
    ask_all(r, others);
    return LT_FLIGHT_WAIT;
}

/* ---- the reply ---- */

/* The quotes of a reply, n; NULL where malformed. */
struct dealt {
    struct lt_ref **quotes, **groups;
    size_t n;
};

static void quote_free(void *p)
{
    lt_residency_host_quote_free(p);
    free(p);
}

/* Quotes that are malformed stay out, and only their own guests miss them. */
static struct lt_ref *read_quote(const json_t *j, char host[2 * LT_RESIDENCY_HOST_ID + 1], struct lt_err *e)
{
    struct lt_residency_host_quote *q = calloc(1, sizeof *q); /* as many as the provider sends */
    uint8_t id[LT_RESIDENCY_HOST_ID];
    struct lt_residency_header h;

    if (!q) {
        (void)lt_fail(e, LT_E_NO_MEMORY, "a quote: no memory");
        return NULL;
    }
    int rc = lt_json_hex(j, "host", id, sizeof id, e);
    if (!rc && !(rc = lt_residency_host_quote_from_json(j, q, e)) &&
        !lt_residency_header_parse(q->header, LT_RESIDENCY_HEADER, &h, LT_NO_ERR) &&
        memcmp(h.host_id, id, sizeof id)) { /* whose quote it is stands in it, signed */
        lt_residency_host_quote_free(q);
        rc = lt_fail(e, LT_E_MALFORMED, "a quote of another host than it is said to be of");
    }
    if (rc) {
        free(q);
        return NULL;
    }
    lt_hex(id, sizeof id, host);
    return lt_ref_new(q, quote_free);
}

/* A provider can send thousands: one line for them all. Want of memory is nobody's malformed quote. */
static int read_quotes(struct dealt *d, struct lt_tenant_rounds *r, const json_t *quotes,
                       struct lt_err *failed)
{
    struct lt_err first = {0};
    char host[2 * LT_RESIDENCY_HOST_ID + 1];
    size_t bad = 0;

    for (size_t i = 0; i < d->n; i++) {
        struct lt_err e = {0};
        d->quotes[i] = read_quote(json_array_get(quotes, i), host, &e);
        if (d->quotes[i])
            d->groups[i] = lt_tenant_group_new(r, lt_ref_get(d->quotes[i]), host);
        else if (e.code == LT_E_NO_MEMORY)
            return lt_fail(failed, e.code, "%s", e.msg);
        else if (!bad++)
            first = e;
    }
    if (bad)
        lt_log(LT_LOG_WARNING, "host-quote-malformed", "%zu of %zu, the first: %s", bad, d->n, first.msg);
    return 0;
}

static void count_quotes(struct lt_tenant_rounds *r, const struct dealt *d)
{
    struct lt_residency_header h;

    lt_watch_lock(&r->watch);
    for (size_t i = 0; i < d->n; i++) {
        const struct lt_residency_host_quote *q = lt_ref_value(d->quotes[i]);
        r->quotes += q != NULL;
        if (q && !lt_residency_header_parse(q->header, sizeof q->header, &h, LT_NO_ERR))
            r->last_batch = h.n;
    }
    lt_watch_unlock(&r->watch);
}

static int read_reply(const struct ask *a, const struct lt_err *failed, json_t **reply, json_t **quotes,
                      json_t **proofs, struct lt_err *e)
{
    if (failed->code) {
        *e = *failed;
        lt_reason_provider(e);
        return lt_fail_in(e, e->code, "provider");
    }
    *reply = lt_http_json(&a->reply, 200, lt_residency_error_read, e);
    if (!*reply && a->reply.status != 200)
        return lt_fail_in(e, LT_E_PROVIDER_REFUSED, "provider, HTTP %d", a->reply.status);
    int rc =
        *reply ? lt_json_array(*reply, "quotes", LT_MAX_PROOF_ITEMS * LT_MAX_CLAIMANTS, quotes, e) : e->code;
    if (!rc)
        rc = lt_json_array(*reply, "proofs", LT_MAX_PROOF_ITEMS, proofs, e);
    if (!rc && json_array_size(*proofs) != a->n)
        rc = lt_fail(e, LT_E_MALFORMED, "%zu proofs for %zu guests", json_array_size(*proofs), a->n);
    if (rc)
        lt_reason_provider(e);
    return rc ? lt_fail_in(e, rc, "provider") : 0;
}

/* An item's flight stays in the list, in the group of its quote, or is out of it: without a proof of its own,
 * or a contest's. */
static bool deal(struct lt_tenant_flight *f, const json_t *item, const struct dealt *d)
{
    struct lt_err e = {0};
    size_t at;

    if (json_array_size(json_object_get(item, "others")) && !lt_tenant_round_check_item(f->round, item, &e)) {
        lt_tenant_contest(f, item, d->quotes, d->groups, d->n);
        return false;
    }
    if (lt_tenant_round_read_proof(f->round, item, d->quotes, d->n, &at, &e)) {
        lt_flight_on(&f->flight, LT_FLIGHT_END, &e);
        return false;
    }
    lt_tenant_group_add(d->groups[at], f);
    return true;
}

static void deal_each(struct lt_flight **these, const json_t *proofs, const struct dealt *d)
{
    struct lt_flight *list = lt_take(these);
    size_t i = 0;

    while (list) {
        struct lt_flight *f = lt_flight_pop(&list);
        if (deal(lt_tenant_flight_of(f), json_array_get(proofs, i++), d)) {
            *these = f;
            these = &f->next;
        }
    }
}

/* How many quotes is the provider's choice, so want of memory for them ends these rounds and no more. */
static int deal_all(struct lt_tenant_rounds *r, struct lt_flight **these, const json_t *quotes,
                    const json_t *proofs, struct lt_err *e)
{
    size_t n = json_array_size(quotes);
    LT_AUTOFREE struct lt_ref **quote = calloc(n + 1, sizeof *quote), **group = calloc(n + 1, sizeof *group);
    struct dealt d = {quote, group, n};

    if (!quote || !group)
        return lt_fail(e, LT_E_NO_MEMORY, "the provider's %zu quotes: no memory", n);
    int rc = read_quotes(&d, r, quotes, e);
    if (!rc) {
        count_quotes(r, &d);
        deal_each(these, proofs, &d);
    }
    for (size_t i = 0; i < n; i++) {
        lt_tenant_group_close(d.groups[i]);
        lt_ref_put(d.quotes[i]);
    }
    return rc;
}

enum lt_flight_next lt_tenant_proof(struct lt_flight **these, struct lt_err *e)
{
    struct lt_tenant_flight *first = lt_tenant_flight_of(*these);
    struct lt_ref *held = lt_ref_get(first->ask); /* with the last flight the rounds may be gone */
    const struct ask *a = lt_ref_value(held);
    LT_JSON_AUTO json_t *reply = NULL;
    json_t *quotes = NULL, *proofs = NULL;
    int rc = read_reply(a, &first->flight.e, &reply, &quotes, &proofs, e);

    for (struct lt_flight *f = *these; f; f = f->next) {
        struct lt_tenant_round *round = lt_tenant_flight_of(f)->round;
        round->retry_after_s = a->reply.retry_after_s;
        round->t5_ms = a->reply.last_byte_ms;
        round->received = lt_clock_wall_s();
        lt_ref_put(lt_take(&lt_tenant_flight_of(f)->ask));
    }
    if (!rc)
        rc = deal_all(a->r, these, quotes, proofs, e);
    lt_ref_put(held);
    return rc ? LT_FLIGHT_END : LT_FLIGHT_NEXT;
}
