#include "tenant/learn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PCR 10 grows with every file that is measured, PCR 16 names the transport key: neither is a reference
 * value. */
#define NOT_LEARNT (1u << 10 | 1u << LT_TRANSPORT_PCR)

static json_t *one_hex(const uint8_t d[LT_SHA256])
{
    return json_pack("[o]", lt_json_new_hex(d, LT_SHA256));
}

static json_t *learn_pcrs(const struct lt_pcrs *p)
{
    json_t *o = json_object();

    for (int i = 0; i < LT_MAX_PCRS; i++) {
        char name[4];
        if (!(p->mask & ~NOT_LEARNT & 1u << i))
            continue;
        snprintf(name, sizeof name, "%d", i);
        json_object_set_new(o, name, one_hex(p->value[i]));
    }
    return o;
}

static json_t *candidate(const struct lt_round *round, const struct lt_header *h, const struct lt_record *r,
                         const struct lt_accept *accept)
{
    json_t *names = json_array();

    if (accept->copyable)
        json_array_append_new(names, json_string("copyable"));
    if (accept->boot_only)
        json_array_append_new(names, json_string("boot-only"));
    if (accept->tainted)
        json_array_append_new(names, json_string("tainted"));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "pcrs", learn_pcrs(&round->quote.pcrs), "firmware",
                     one_hex(r->firmware_digest), "domain", one_hex(r->domain_digest), "host_policies",
                     one_hex(h->policy_digest), "accept", names);
}

static bool may_stay_open(enum lt_check c)
{
    return c == LT_HOST_CLOCK || c == LT_SANDWICH;
}

static int judge(const struct lt_verdict *v, char open[160], struct lt_err *e)
{
    size_t n = 0;

    open[0] = 0;
    for (int c = 0; c < LT_CHECKS; c++) {
        if (lt_verdict_passed(v, c))
            continue;
        if (!may_stay_open(c))
            return lt_fail(e, LT_E_CONFLICT, "nothing was learnt: %s did not pass: %s", lt_check_slug(c),
                           v->check[c].message);
        n += (size_t)snprintf(open + n, 160 - n, "%s%s", n ? ", " : "", lt_check_slug(c));
    }
    if (!strcmp(v->reason, "level"))
        snprintf(open, 160, "level: link %s, host %s are not accepted; name what you accept with --accept",
                 lt_link_slug(v->link), lt_level_slug(v->level));
    return 0;
}

int lt_learn(const struct lt_round *round, const struct lt_accept *accept, uint64_t window_ms,
             struct lt_ref **policy, char open[160], struct lt_err *e)
{
    struct lt_header header;
    struct lt_record record;
    struct lt_round_facts facts;
    struct lt_verdict v;

    *policy = NULL;
    if (!round->has_proof || !round->host.keys || !round->proof.resident)
        return lt_fail(e, LT_E_CONFLICT,
                       "nothing to learn from: the last round brought no host quote with a residency");
    const struct lt_host_quote *q = lt_ref_value(round->host_quote);
    int rc = lt_header_parse(q->header, sizeof q->header, &header, e);
    if (!rc)
        rc = lt_record_parse(round->proof.record, sizeof round->proof.record, &record, e);
    if (rc)
        return rc;
    LT_AUTOJSON json_t *j = candidate(round, &header, &record, accept);
    char *text = j ? lt_json_dump(j) : NULL;
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    rc = lt_policy_new((uint8_t *)text, strlen(text), policy, e);
    if (rc)
        return rc;
    /* The same bytes with the history as it was at that t1, under the candidate. */
    lt_round_appraise_guest(round, lt_policy_parsed(*policy), &facts, &v);
    if (!lt_verdict_stopped(&v))
        lt_round_appraise_host(round, lt_policy_parsed(*policy), window_ms, NULL, &facts, &v);
    rc = judge(&v, open, e);
    if (rc)
        lt_ref_put(lt_take(policy));
    return rc;
}
