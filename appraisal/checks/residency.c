#include "appraisal/checks/checks.h"

#include <string.h>

/* Null and paused are a new round's business once, leaving always (section 5, "What a failure means"). */
static void absent(struct lt_checks *c, enum lt_history_absence why, const char *message)
{
    const struct lt_history_guest *h = c->guest->history;
    bool again = why != LT_HISTORY_ABSENT_LEAVING && h && h->absent_before;

    c->f->absence = why;
    lt_check_fault(c->v, LT_CHECK_RESIDENCY, "%s%s", message, again ? ", for the second time" : "");
    if (!again)
        c->v->check[LT_CHECK_RESIDENCY].weight = LT_CHECK_WEIGHT_UNCHECKED;
}

static void expected(struct lt_checks *c, const char *part, bool judged,
                     const struct lt_policy_digests *accepted, const uint8_t digest[32])
{
    char is[2 * LT_SHA256 + 1];

    if (!judged) {
        lt_check_omit(c->v, LT_CHECK_RESIDENCY, part, "the policy expects no %s digest", part);
        return;
    }
    lt_hex(digest, LT_SHA256, is);
    if (!lt_policy_digests_have(accepted, digest))
        lt_check_fault(c->v, LT_CHECK_RESIDENCY, "%s digest %s is not among the %zu of the policy", part, is,
                       accepted->count);
}

static void check_against_policy(struct lt_checks *c)
{
    const struct lt_policy_guest *p = c->guest->policy;
    struct lt_verdict *v = c->v;

    v->tainted = c->record.flags & LT_RESIDENCY_TAINTED;
    if (!p) {
        lt_check_lack(v, LT_CHECK_RESIDENCY, "expected",
                      "no policy: firmware, domain and taint are not judged");
        return;
    }
    expected(c, "firmware", p->judges_firmware, &p->firmware, c->record.firmware_digest);
    expected(c, "domain", p->judges_domain, &p->domain, c->record.domain_digest);
    if (v->tainted && !p->accept_tainted)
        lt_check_fault(v, LT_CHECK_RESIDENCY, "the domain is tainted, which the policy does not accept");
    else if (v->tainted)
        lt_check_note(v, LT_CHECK_RESIDENCY, "tainted",
                      "the domain is tainted; the policy accepts that by name");
}

/* A guest may turn up on another host handed over by the last one, or freshly booted; else it is a copy. */
static void check_host_change(struct lt_checks *c)
{
    const struct lt_history_guest *h = c->guest->history;

    if (!h) {
        lt_check_lack(c->v, LT_CHECK_RESIDENCY, "history", "no history: a change of host is not judged");
        return;
    }
    if (!h->has_accepted || !memcmp(h->accepted_ak_name, c->f->host_ak_name, LT_TPM_NAME) ||
        c->f->guest_clock.reset_count > h->accepted_clock.reset_count)
        return;
    if (!(c->record.flags & LT_RESIDENCY_MOVED_IN) ||
        memcmp(c->record.previous_host_ak_name, h->accepted_ak_name, LT_TPM_NAME))
        lt_check_fault(
            c->v, LT_CHECK_RESIDENCY,
            "on another host than before, not handed over by it, and the guest has not been reset");
}

/* Any host can list this UUID with an EK of its own: that says no more of the guest than a null. From the
 * host that was accepted last it says that another vTPM runs there under this UUID. */
static void other_ek(struct lt_checks *c)
{
    const struct lt_history_guest *h = c->guest->history;
    bool its_host = h && h->has_accepted && !memcmp(h->accepted_ak_name, c->f->host_ak_name, LT_TPM_NAME);

    if (its_host || c->v->check[LT_CHECK_RESIDENCY].state == LT_CHECK_NOT_PASSED)
        lt_check_fault(c->v, LT_CHECK_RESIDENCY, "the record is of another EK");
    else
        absent(c, LT_HISTORY_ABSENT_NULL, "the record is of another EK");
}

int lt_checks_residency_record(struct lt_checks *c, struct lt_err *e)
{
    const struct lt_proof *proof = c->host->proof;
    uint8_t leaf[LT_MERKLE_NODE];

    lt_merkle_leaf(proof->record, proof->record_n, leaf);
    LT_TRY(lt_residency_record_parse(proof->record, proof->record_n, &c->record, e));
    return lt_merkle_verify(leaf, &proof->residency, c->header.m, c->header.inventory_root, e);
}

static void check_record(struct lt_checks *c)
{
    const struct lt_residency_record *r = &c->record;
    struct lt_verdict *v = c->v;
    struct lt_err e = {0};

    if (lt_checks_residency_record(c, &e)) {
        lt_check_fault(v, LT_CHECK_RESIDENCY, "%s", e.msg);
        return;
    }
    if (memcmp(r->guest_uuid, c->guest->guest_uuid, LT_UUID))
        lt_check_fault(v, LT_CHECK_RESIDENCY, "the record is of another guest");
    if (memcmp(r->ek_digest, c->guest->identity->ek_digest, sizeof r->ek_digest)) {
        other_ek(c);
        return;
    }
    if (r->flags & ~(uint32_t)LT_RESIDENCY_RECORD_FLAGS)
        lt_check_fault(v, LT_CHECK_RESIDENCY, "record flags 0x%x: not all known", r->flags);
    if (!(r->flags & (LT_RESIDENCY_RUNNING | LT_RESIDENCY_PAUSED)))
        lt_check_fault(v, LT_CHECK_RESIDENCY, "the guest is not running");
    check_against_policy(c);
    check_host_change(c);
    if (v->check[LT_CHECK_RESIDENCY].state == LT_CHECK_NOT_PASSED) /* not only because of what follows */
        return;
    if (r->flags & LT_RESIDENCY_MIGRATING_OUT)
        absent(c, LT_HISTORY_ABSENT_LEAVING, "the guest is being migrated to another host");
    else if (r->flags & LT_RESIDENCY_PAUSED)
        absent(c, LT_HISTORY_ABSENT_PAUSED, "the guest is paused");
}

void lt_checks_residency(struct lt_checks *c)
{
    struct lt_verdict *v = c->v;

    if (c->host->proof->resident)
        check_record(c);
    else
        absent(c, LT_HISTORY_ABSENT_NULL,
               c->header.flags & LT_RESIDENCY_EK_COLLISION
                   ? "not among the host's residents, where one EK is there twice"
                   : "not among the host's residents");
    if (!lt_verdict_stands(v, LT_CHECK_RESIDENCY))
        return;
    memcpy(c->f->incarnation, c->record.incarnation, LT_RESIDENCY_INCARNATION);
    lt_checks_openers_judge(c);
}
