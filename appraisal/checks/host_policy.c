#include "appraisal/checks/checks.h"

#include <stdio.h>
#include <string.h>

/* A tenant's are those of its guest's policy; of a host by itself the one that is published. */
static const struct lt_policy_digests *accepted(const struct lt_checks *c)
{
    if (!c->guest)
        return c->host->accepted;
    return c->guest->policy ? &c->guest->policy->host_policies : NULL;
}

/* False: the check is not made (section 5: policy_digest outside the accepted set). */
static bool policy_accepted(struct lt_checks *c)
{
    const struct lt_policy_digests *own = accepted(c);
    char digest[2 * LT_SHA256 + 1];

    lt_hex(c->header.policy_digest, LT_SHA256, digest);
    if (!own) {
        lt_check_lack(c->v, LT_CHECK_HOST_POLICY, "accepted-policies",
                      c->guest ? "no set of accepted host policies"
                               : "no host policy is published for it (limetree host learn, or host policy)");
        return true;
    }
    if (lt_policy_digests_have(own, c->header.policy_digest))
        return true;
    /* Offline nobody can run another round: a set that was given and does not hold is a failure. */
    if (c->v->offline)
        lt_check_fault(c->v, LT_CHECK_HOST_POLICY, "host policy %s is not accepted", digest);
    else
        lt_check_skip(c->v, LT_CHECK_HOST_POLICY, "host policy %s is not accepted", digest);
    return c->v->offline;
}

/* What the level `appraised` lacks (section 5): boot PCRs that nothing judges, and programs that a host's
 * word rests on and the list does not show. */
static void say_missing(struct lt_verdict *v, unsigned programs, uint32_t open, bool blind)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{LT_MEASURED_PROGRAM_AGENT, "limetree-agent"},
                 {LT_MEASURED_PROGRAM_LIBVIRT, "libvirtd or virtqemud"},
                 {LT_MEASURED_PROGRAM_QEMU, "qemu-system-*"},
                 {LT_MEASURED_PROGRAM_SWTPM, "swtpm"},
                 {LT_MEASURED_PROGRAM_LIBRARIES, "their libraries (lib*.so*)"}};
    char missing[160] = "", list[200];
    size_t n = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!(programs & names[i].bit))
            n += (size_t)snprintf(missing + n, sizeof missing - n, "%s%s", n ? ", " : "", names[i].name);
    if (open)
        lt_check_omit(v, LT_CHECK_HOST_POLICY, "level",
                      "open, though it decides over the code that runs: %s; boot-only",
                      lt_measured_list(open, list));
    if (blind)
        lt_check_omit(v, LT_CHECK_HOST_POLICY, "level",
                      "PCR 8, 9 and 12 are zero: nothing measured the kernel's command line; boot-only");
    if (!n)
        return;
    lt_check_omit(v, LT_CHECK_HOST_POLICY, "programs",
                  "the host's IMA list does not show, as allowed by a layer: %s; boot-only", missing);
}

/* One host, one policy and the same logs: judged once for all guests. A result with something lacking is not
 * kept. */
static void appraise(struct lt_checks *c, const struct lt_policy_host *p, struct lt_measured_result *r)
{
    const struct lt_measured_logs *l = &c->host->logs;
    const struct lt_pcrs *pcrs = &c->host->quote->pcrs;
    struct lt_result_cache *cache = c->host->measured_cache;
    uint8_t key[LT_SHA256];
    const struct lt_measured m = {.pcrs = pcrs, .logs = l};

    /* Only logs with a digest can be told apart. */
    if ((l->boot_log && !l->boot_log_digest) || (l->has_ima && !l->ima_digest) || l->ima_first)
        cache = NULL;
    if (cache) {
        lt_measured_key(c->host->identity->ak_name, pcrs, p->digest, &p->measured, l, key);
        if (lt_result_cache_get(cache, key, r))
            return;
    }
    lt_measured_appraise(&m, &p->pcrs, &p->measured, p->digest, true, r);
    for (int i = 0; i < LT_MEASURED_PARTS; i++)
        if (r->part[i].state == LT_MEASURED_LACKING)
            cache = NULL;
    if (cache)
        lt_result_cache_put(cache, key, r);
}

void lt_checks_host_policy(struct lt_checks *c)
{
    static const struct lt_policy_host nothing;
    const struct lt_policy_host *policy = c->host->policy;
    struct lt_verdict *v = c->v;
    struct lt_measured_result r;

    if (!policy_accepted(c))
        return;
    bool at_hand = policy && !memcmp(policy->digest, c->header.policy_digest, LT_SHA256);
    appraise(c, at_hand ? policy : &nothing, &r);
    if (!at_hand) { /* the boot log must match all the same */
        lt_check_lack(v, LT_CHECK_HOST_POLICY, "policy",
                      "the host policy that the header names is not at hand");
        for (int i = 0; i < LT_MEASURED_PARTS; i++)
            if (i != LT_MEASURED_PART_BOOT_LOG)
                r.part[i].state = LT_MEASURED_GOOD;
        r.open = 0; /* nobody knows */
        r.blind = false;
    } else if (!policy->pcrs.mask && r.part[LT_MEASURED_PART_BOOT_POLICY].state == LT_MEASURED_OMITTED) {
        lt_check_lack(v, LT_CHECK_HOST_POLICY, "pcrs",
                      "the host policy names no PCR: nothing of the host's boot is judged");
        r.part[LT_MEASURED_PART_PCRS].state = LT_MEASURED_GOOD; /* told */
    }
    lt_measured_tell(&r, LT_CHECK_HOST_POLICY, v);
    bool whole = r.programs == LT_MEASURED_PROGRAMS && !(r.open & LT_MEASURED_PCRS_DECISIVE) && !r.blind;
    if (at_hand && policy->measured.layer_count && r.part[LT_MEASURED_PART_IMA].state == LT_MEASURED_GOOD &&
        !whole)
        say_missing(v, r.programs, r.open & LT_MEASURED_PCRS_DECISIVE, r.blind);
    if (lt_verdict_stands(v, LT_CHECK_HOST_POLICY))
        v->level = whole ? LT_VERDICT_LEVEL_APPRAISED : LT_VERDICT_LEVEL_BOOT_ONLY;
}
