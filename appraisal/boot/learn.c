/* A boot policy from the log of a good machine. It names digests, in the order of their first events, and
 * asks for no type or label: what a log calls its events is not measured, in a good machine's neither. */
#include "appraisal/boot/policy.h"
#include "appraisal/boot/rules.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct lt_err *e)
{
    return lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy");
}

/* Each digest of one PCR once. */
static int learn_pcr(const struct lt_boot_log *l, unsigned pcr, json_t *events, struct lt_err *e)
{
    LT_JSON_AUTO json_t *seen = json_object();
    json_t *list = json_array();
    const struct lt_boot_event *ev;
    char hex[2 * LT_SHA256 + 1], index[4];

    snprintf(index, sizeof index, "%u", pcr);
    if (!seen || json_object_set_new(events, index, list))
        return no_memory(e);
    for (unsigned at = 0; (ev = lt_boot_next(l, pcr, &at));) {
        lt_hex(lt_boot_digest(ev, LT_BOOT_ALG), LT_SHA256, hex);
        if (json_object_get(seen, hex))
            continue;
        if (json_array_size(list) == LT_MAX_BOOT_DIGESTS)
            return lt_boot_refuse(ev, e, "more than %d digests in one PCR", LT_MAX_BOOT_DIGESTS);
        if (json_object_set_new(seen, hex, json_true()) || json_array_append_new(list, json_string(hex)))
            return no_memory(e);
    }
    return 0;
}

/* PCRs that the evidence speaks of: systemd extends PCR 11 after the last event of the log, and what a log
 * does not replay to it cannot explain. */
static uint32_t learnable(const struct lt_boot_log *l, const struct lt_pcrs *quoted)
{
    unsigned at = 0;
    uint32_t mask = LT_BOOT_LEARNT | (lt_boot_next(l, 11, &at) ? 1u << 11 : 0), out = 0;

    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        if (mask >> i & 1 && (!quoted || (quoted->mask >> i & 1 &&
                                          lt_boot_replay_fits(&l->replay, LT_BOOT_ALG, i, quoted->value[i]))))
            out |= 1u << i;
    return out;
}

/* What is handed out must pass what it was made of. */
static int proven(const char *text, const struct lt_boot_log *l, const struct lt_pcrs *pcrs, uint32_t *covers,
                  struct lt_err *e)
{
    struct lt_boot_policy *p;
    struct lt_err why = {0};
    int rc = lt_boot_policy_parse(text, strlen(text), &p, &why);

    rc = rc ? rc : lt_boot_policy_judge(p, l, pcrs, &why);
    *covers = rc ? 0 : lt_boot_policy_covers(p);
    lt_boot_policy_free(p);
    return rc ? lt_fail(e, rc, "what was learnt refuses its own evidence: %.250s", why.msg) : 0;
}

int lt_boot_policy_learn(const struct lt_boot_log *l, const struct lt_pcrs *quoted, char **text,
                         uint32_t *covers, struct lt_err *e)
{
    LT_JSON_AUTO json_t *events = json_object();
    struct lt_pcrs replayed;

    *text = NULL;
    *covers = 0;
    if (l->replay.fault.code)
        return lt_fail(e, l->replay.fault.code, "%s", l->replay.fault.msg);
    if (!l->replay.present || !lt_boot_replay_pcrs(&l->replay, LT_BOOT_ALG, &replayed))
        return lt_fail(e, LT_E_UNSUPPORTED,
                       "boot log: not every event has a sha256 digest, nothing to learn a policy from");
    if (quoted)
        LT_TRY(lt_boot_replay_match(&l->replay, quoted, e));
    uint32_t mask = learnable(l, quoted);
    if (!mask)
        return lt_fail(e, LT_E_REFUSED, "boot log: no PCR of it was quoted, nothing to learn a policy from");
    for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++)
        if (mask >> i & 1)
            LT_TRY(learn_pcr(l, i, events, e));
    LT_JSON_AUTO json_t *out = json_pack("{s:O}", "events", events);
    LT_AUTOFREE char *made = out ? lt_json_pretty(out) : NULL;
    if (!made)
        return no_memory(e);
    LT_TRY(proven(made, l, quoted ? quoted : &replayed, covers, e));
    *text = lt_take(&made);
    return 0;
}
