#include "keylime/states.h"

#define NEVER "never"
#define REACTIVATE "not before `reactivate`"
#define BACKOFF "after 1 s, then twice as long each time, up to the period; for ever"

static const char *const names[LT_STATES_COUNT] = {
    [LT_STATES_REGISTERED] = "Registered",
    [LT_STATES_START] = "Start",
    [LT_STATES_SAVED] = "Saved",
    [LT_STATES_GET_QUOTE] = "Get Quote",
    [LT_STATES_GET_QUOTE_RETRY] = "Get Quote (retry)",
    [LT_STATES_PROVIDE_V] = "Provide V",
    [LT_STATES_PROVIDE_V_RETRY] = "Provide V (retry)",
    [LT_STATES_FAILED] = "Failed",
    [LT_STATES_TERMINATED] = "Terminated",
    [LT_STATES_INVALID_QUOTE] = "Invalid Quote",
    [LT_STATES_TENANT_FAILED] = "Tenant Quote Failed",
};

const struct lt_states_rule lt_states_rules[] = {
    {LT_STATES_STOPPED, LT_STATES_TENANT_FAILED, "FAIL", "`stop` was called", REACTIVATE},
    {LT_STATES_REJECTED, LT_STATES_INVALID_QUOTE, "FAIL", "a verdict `failed` stands", REACTIVATE},
    {LT_STATES_TRUSTED | LT_STATES_SHARE | LT_STATES_SHARE_TRIED, LT_STATES_PROVIDE_V_RETRY, "PASS",
     "trusted and fresh; a delivery of V failed", BACKOFF},
    {LT_STATES_TRUSTED | LT_STATES_SHARE, LT_STATES_PROVIDE_V, "PASS", "trusted and fresh; V is on its way",
     "at once"},
    {LT_STATES_TRUSTED, LT_STATES_GET_QUOTE, "PASS", "trusted and fresh", "after a period"},
    {LT_STATES_UNPROVEN, LT_STATES_FAILED, "TIMEOUT",
     "was trusted, and has not been for `max_stale_s`, for whatever reason", BACKOFF},
    {LT_STATES_UNREACHABLE, LT_STATES_GET_QUOTE_RETRY, "PENDING",
     "the last round got no answer: no word about the guest", BACKOFF},
    {LT_STATES_JUDGED, LT_STATES_GET_QUOTE, "PENDING",
     "a round has ended and trust was neither given nor taken: the full verdict says why",
     "twice at once, then after a period"},
    {0, LT_STATES_START, "PENDING", "added or reactivated; no round has ended yet", "at once"},
    {0, LT_STATES_REGISTERED, NULL, "an agent that was not added is 404 here", NEVER},
    {0, LT_STATES_SAVED, NULL, "all are due at once when the daemon starts", NEVER},
    {0, LT_STATES_TERMINATED, NULL, "`delete` is done when it is answered", NEVER},
};
const size_t lt_states_rule_count = sizeof lt_states_rules / sizeof *lt_states_rules;

const struct lt_states_rule *lt_states_of(unsigned facts)
{
    const struct lt_states_rule *r = lt_states_rules;

    while ((r->facts & facts) != r->facts) /* ends: a row wants none */
        r++;
    return r;
}

const char *lt_states_name(enum lt_states_code s)
{
    return names[s];
}

void lt_states_print(struct lt_buf *out)
{
    lt_buf_str(out,
               "| State | `attestation_status` | When | Its agent is asked again |\n|---|---|---|---|\n");
    for (size_t i = 0; i < lt_states_rule_count; i++) {
        const struct lt_states_rule *r = &lt_states_rules[i];
        lt_buf_printf(out, "| %d %s | %s | %s | %s |\n", (int)r->state, names[r->state],
                      r->status ? r->status : "not told", r->when, r->again);
    }
}
