#include "appraisal/checks/single.h"

#include "appraisal/ima/table.h"
#include "common/hash.h"

#include <string.h>

/* What the policy is judged with; one layer is all that it can name. */
struct documents {
    struct lt_policy_guest *policy;
    struct lt_boot_policy *boot;
    struct lt_buf bytes; /* of the table */
    struct lt_ima_table *table;
    struct lt_measured_documents view;
};

static void documents_free(struct documents *d)
{
    lt_ima_table_close(d->table);
    lt_buf_free(&d->bytes);
    lt_boot_policy_free(d->boot);
    lt_policy_guest_free(d->policy);
}

static int open_runtime(const struct lt_single *in, struct documents *d, struct lt_err *e)
{
    d->bytes = LT_BUF(LT_MAX_IMA_TABLE);
    if (!in->runtime.n)
        return 0;
    LT_TRY_IN(lt_ima_table_compile(in->runtime.p, in->runtime.n, in->pinned, &d->bytes, e), e,
              "runtime_policy");
    LT_TRY_IN(lt_ima_table_open(d->bytes.p, d->bytes.n, &d->table, e), e, "runtime_policy");
    for (unsigned i = 0; i < d->policy->measured.layer_count; i++)
        d->view.layer[i] = d->table; /* of another digest than the rule's: not judged */
    return 0;
}

static int open_boot(const struct lt_single *in, struct documents *d, struct lt_err *e)
{
    if (!in->boot.n)
        return 0;
    LT_TRY_IN(lt_boot_policy_parse(in->boot.p, in->boot.n, &d->boot, e), e, "mb_policy");
    d->view.boot = d->boot;
    lt_sha256(in->boot.p, in->boot.n, d->view.boot_digest);
    return 0;
}

static int open_documents(const struct lt_single *in, struct documents *d, struct lt_err *e)
{
    if (!in->policy.p)
        return 0;
    LT_TRY_IN(lt_policy_guest_parse(in->policy.p, in->policy.n, &d->policy, e), e, "policy");
    LT_TRY(open_runtime(in, d, e));
    return open_boot(in, d, e);
}

int lt_single_judge(const struct lt_single *in, struct lt_verdict *v, struct lt_err *e)
{
    __attribute__((cleanup(documents_free))) struct documents d = {0};
    LT_AUTO(lt_checks_identity_guest)
    struct lt_checks_identity_guest *id = lt_checks_identity_guest_new(in->ek, in->ak);
    struct lt_checks_guest_round round = {
        .identity = id, .attest = in->attest, .signature = in->signature, .pcrs = in->pcrs, .logs = in->logs};
    struct lt_history_round_facts facts;
    size_t n = strlen(in->nonce);

    lt_verdict_init_offline(v);
    if (!n || n > LT_CHECKS_NONCE)
        return lt_fail(e, LT_E_MALFORMED, "nonce: %zu characters, not 1 to %d", n, LT_CHECKS_NONCE);
    LT_TRY(open_documents(in, &d, e));
    memcpy(round.nonce, in->nonce, n + 1);
    id->activated = in->activated ? LT_CHECKS_FACT_YES : LT_CHECKS_FACT_UNKNOWN;
    round.policy = d.policy;
    round.logs.documents = &d.view;
    lt_checks_appraise_guest(&round, &facts, v);
    return 0;
}

/* A part of check 3 that was asked for and left out. */
static bool left_out(const struct lt_single *in, const struct lt_check_part *p)
{
    if (p->check != LT_CHECK_GUEST_POLICY || p->note)
        return false;
    return (in->runtime.n && !strcmp(p->part, "ima")) ||
           (in->boot.n && (!strcmp(p->part, "boot-policy") || !strcmp(p->part, "boot-log")));
}

bool lt_single_valid(const struct lt_single *in, const struct lt_verdict *v)
{
    if (!lt_verdict_passed(v, LT_CHECK_GUEST_QUOTE) ||
        (in->policy.p && !lt_verdict_passed(v, LT_CHECK_GUEST_POLICY)))
        return false;
    for (unsigned i = 0; i < v->part_count; i++)
        if (left_out(in, &v->parts[i]))
            return false;
    return true;
}
