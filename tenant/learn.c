#include "tenant/learn.h"

#include "appraisal/ima/learn.h"
#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PCR 10 grows with every file that is measured, PCR 16 names the transport key: neither is a reference
 * value. */
#define NOT_LEARNT (1u << 10 | 1u << LT_CHECKS_TRANSPORT_PCR)

#define LT_LEFT 340 /* what is told of entries that were not learnt as they are */

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
        json_object_set_new(o, name, json_pack("[o]", lt_json_new_hex(p->value[i], lt_hash_size(p->alg))));
    }
    return o;
}

static json_t *accepted(const struct lt_tenant_accept *accept)
{
    const struct {
        const char *word;
        bool is;
    } words[] = {{"bound", accept->bound},
                 {"copyable", accept->copyable},
                 {"boot-only", accept->boot_only},
                 {"tainted", accept->tainted},
                 {"open-boot", accept->open_boot},
                 {"unlinked", accept->unlinked},
                 {"ek-unproven", accept->ek_unproven}};
    json_t *names = json_array();

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].is)
            json_array_append_new(names, json_string(words[i].word));
    return names;
}

static bool hostless(const struct lt_tenant_round *round)
{
    return round->verdict.link == LT_VERDICT_LINK_UNLINKED;
}

/* What the host's half brought. */
static int learn_host(const struct lt_tenant_round *round, json_t *policy, struct lt_err *e)
{
    struct lt_residency_header h;
    struct lt_residency_record r;

    if (!round->has_proof || !round->host.keys || !round->proof.resident)
        return lt_fail(e, LT_E_CONFLICT,
                       "nothing to learn from: the last round brought no host quote with a residency");
    const struct lt_residency_host_quote *q = lt_ref_value(round->host_quote);
    LT_TRY(lt_residency_header_parse(q->header, sizeof q->header, &h, e));
    LT_TRY(lt_residency_record_parse(round->proof.record, round->proof.record_n, &r, e));
    json_object_set_new(policy, "firmware", one_hex(r.firmware_digest));
    json_object_set_new(policy, "domain", one_hex(r.domain_digest));
    json_object_set_new(policy, "host_policies", one_hex(h.policy_digest));
    return 0;
}

static int candidate(const struct lt_tenant_round *round, const struct lt_tenant_accept *accept, json_t **out,
                     struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = json_pack("{s:o}", "pcrs", learn_pcrs(&round->quote.pcrs));

    *out = NULL;
    if (!j)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    if (!hostless(round))
        LT_TRY(learn_host(round, j, e));
    json_object_set_new(j, "accept", accepted(accept));
    *out = lt_take(&j);
    return 0;
}

static int put_text(struct lt_documents *d, const char *text, char hex[2 * LT_SHA256 + 1], struct lt_err *e)
{
    uint8_t digest[LT_SHA256];

    LT_TRY(lt_documents_put(d, text, strlen(text), digest, e));
    lt_hex(digest, LT_SHA256, hex);
    return 0;
}

/* One layer "learnt" of the entries that the round's quote covers, as `limetree policy learn` makes it of its
 * bundle. */
static int learn_list(const struct lt_tenant_round *round, const struct lt_bundle_blob *ima,
                      struct lt_documents *d, json_t *policy, char left[LT_LEFT], struct lt_err *e)
{
    LT_AUTOFREE struct lt_ima_learnt *l = lt_new(struct lt_ima_learnt);
    const struct lt_ima_lesson lesson = {.list = {ima->p, ima->n}, .pcrs = &round->quote.pcrs};
    char hex[2 * LT_SHA256 + 1];
    LT_TRY(lt_ima_learn(&lesson, l, e));
    if (l->told)
        snprintf(left, LT_LEFT, "%s%s", l->note[0], l->told > 1 ? ", and more" : "");
    int rc = put_text(d, l->text, hex, e);
    if (!rc)
        json_object_set_new(policy, "layers", json_pack("[{s:s, s:s}]", "name", "learnt", "policy", hex));
    lt_ima_learnt_free(l);
    return rc;
}

/* Adds "boot" and "layers". Where there is no boot log there is no boot policy, and check 3 says so. */
static int learn_logs(const struct lt_tenant_round *round, struct lt_documents *d, json_t *policy,
                      char left[LT_LEFT], struct lt_err *e)
{
    const struct lt_bundle_blob *ima = lt_ref_value(round->ima);
    char hex[2 * LT_SHA256 + 1];
    uint32_t covers;

    if (round->dropped)
        return lt_fail(
            e, LT_E_CONFLICT,
            "nothing was learnt: %zu bytes of logs of the last round were judged and not kept, for want of"
            " room in memory_limit_mib; learn from files with limetree policy learn",
            round->dropped);
    if (!ima || !ima->n || round->ima_broken)
        return lt_fail(e, LT_E_CONFLICT, "nothing was learnt: the last round brought no IMA list");
    if (round->boot_log && round->boot_log->replay.present) {
        LT_AUTOFREE char *boot = NULL;
        LT_TRY(lt_boot_policy_learn(round->boot_log, &round->quote.pcrs, &boot, &covers, e));
        LT_TRY(put_text(d, boot, hex, e));
        json_object_set_new(policy, "boot", json_string(hex));
    }
    return learn_list(round, ima, d, policy, left, e);
}

static bool may_stay_open(enum lt_check c)
{
    return c == LT_CHECK_HOST_CLOCK || c == LT_CHECK_SANDWICH;
}

/* What the policy would have to accept by name, and does not. */
static void tell_refused(const struct lt_verdict *v, char open[LT_TENANT_LEARN_OPEN])
{
    size_t n = (size_t)snprintf(open, LT_TENANT_LEARN_OPEN, "not accepted:");

    for (enum lt_verdict_weakness w = 0; w < LT_VERDICT_WEAKNESSES; w++)
        if (v->refused >> w & 1)
            n += (size_t)snprintf(open + n, LT_TENANT_LEARN_OPEN - n, " %s", lt_verdict_weakness_slug(w));
    snprintf(open + n, LT_TENANT_LEARN_OPEN - n, "; name what you accept with --accept");
}

static int judge(const struct lt_verdict *v, char open[LT_TENANT_LEARN_OPEN], struct lt_err *e)
{
    size_t n = 0;

    open[0] = 0;
    for (int c = 0; c < LT_CHECKS; c++) {
        if (lt_verdict_passed(v, c) || v->left_out >> c & 1)
            continue;
        if (!may_stay_open(c))
            return lt_fail(e, LT_E_CONFLICT, "nothing was learnt: %s did not pass: %s", lt_check_slug(c),
                           v->check[c].message);
        n += (size_t)snprintf(open + n, LT_TENANT_LEARN_OPEN - n, "%s%s", n ? ", " : "", lt_check_slug(c));
    }
    if (!strcmp(v->reason, "level"))
        snprintf(open, LT_TENANT_LEARN_OPEN,
                 "level: link %s, host %s are not accepted; name what you accept with --accept",
                 lt_verdict_link_slug(v->link), lt_verdict_level_slug(v->level));
    else if (v->refused)
        tell_refused(v, open);
    return 0;
}

/* The same bytes with the history as it was at that t1, under the candidate. */
static void appraise(const struct lt_tenant_round *round, const struct lt_ref *policy, uint64_t window_ms,
                     struct lt_verdict *v)
{
    struct lt_history_round_facts facts;

    lt_tenant_round_appraise_guest(round, policy, &facts, v);
    if (lt_verdict_stopped(v))
        return;
    if (hostless(round))
        lt_tenant_round_appraise_unlinked(round, policy, window_ms, "it was judged without a host", &facts,
                                          v);
    else
        lt_tenant_round_appraise_host(round, policy, window_ms, NULL, &facts, v);
}

int lt_tenant_learn(const struct lt_tenant_round *round, const struct lt_tenant_accept *accept,
                    uint64_t window_ms, struct lt_documents *d, struct lt_ref **policy,
                    char open[LT_TENANT_LEARN_OPEN], struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = NULL;
    struct lt_verdict v;
    char left[LT_LEFT] = "";

    *policy = NULL;
    if (round->contested && !round->history.has_accepted_host)
        return lt_fail(
            e, LT_E_CONFLICT,
            "nothing was learnt: several hosts claim this guest, and which is its host is not known (limetree"
            " guest show names them)");
    LT_TRY(candidate(round, accept, &j, e));
    if (accept->ima)
        LT_TRY(learn_logs(round, d, j, left, e));
    char *text = lt_json_dump(j);
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    LT_TRY(lt_tenant_policy_new((uint8_t *)text, strlen(text), d, true, policy, e));
    appraise(round, *policy, window_ms, &v);
    int rc = judge(&v, open, e);
    if (rc)
        lt_ref_put(lt_take(policy));
    else if (left[0])
        snprintf(open + strlen(open), LT_TENANT_LEARN_OPEN - strlen(open), "%s%s", open[0] ? "; " : "", left);
    return rc;
}
