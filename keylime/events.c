#include "keylime/events.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* "qoute" is how Keylime spells it, and its clients match. */
const struct lt_events_rule lt_events_rules[] = {
    {"guest-quote", "bank", "qoute_validation.invalid_hash_alg"},
    {"guest-quote", "pcr-missing", "pcr_validation.missing_pcr_16"},
    {"guest-quote", "pcr-", "pcr_validation.invalid_pcr_"},
    {"guest-quote", NULL, "qoute_validation.quote_validation"},
    {"guest-policy", "pcr-missing", "pcr_validation.missing_pcrs"},
    {"guest-policy", "pcr-", "pcr_validation.invalid_pcr_"},
    {"guest-policy", "boot-log", "measured_boot.missing_pcrs"},
    {"guest-policy", "boot-log-pcr-", "measured_boot.invalid_pcr_"},
    {"guest-policy", "boot-policy", "measured_boot.policy_limetree"},
    {"guest-policy", "ima-aggregate", "ima.validation.ima-ng.runtime_policy_hash"},
    {"guest-policy", "ima-entry", "ima.entry"},
    {"guest-policy", "ima-hash", "ima.validation.ima_hash"},
    {"guest-policy", "ima-key", "ima.invalid_key"},
    {"guest-policy", "ima-not-listed", "ima.validation.ima-ng.not_in_allowlist"},
    {"guest-policy", "ima-other-digest", "ima.validation.ima-ng.runtime_policy_hash"},
    {"guest-policy", "ima-pcr", "ima.validation.ima_pcr"},
    {"guest-policy", "ima-progress", "ima.quote_progress"},
    {"guest-policy", "ima-signature", "ima.validator.ima-sig.invalid_signature"},
    {"guest-policy", "ima-violation", "ima.validation.tomtou"},
    {"guest-policy", "ima", "ima.pcr_mismatch"},
    {NULL, NULL, "limetree."},
};
const size_t lt_events_rule_count = sizeof lt_events_rules / sizeof *lt_events_rules;

static bool prefix(const char *s)
{
    size_t n = strlen(s);
    return n > 4 ? !strcmp(s + n - 4, "pcr-") : !strcmp(s, "pcr-");
}

/* Of a number that is a PCR's: 0 to 23, and nothing behind it. */
static bool is_pcr(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n && n <= 2 && !s[n];
}

static bool fits(const struct lt_events_rule *r, const char *check, const char *cause, const char **number)
{
    *number = "";
    if (!r->check)
        return true;
    if (strcmp(r->check, check))
        return false;
    if (!r->cause || !cause)
        return !r->cause;
    if (!prefix(r->cause))
        return !strcmp(r->cause, cause);
    *number = cause + strlen(r->cause);
    return !strncmp(r->cause, cause, strlen(r->cause)) && is_pcr(*number);
}

void lt_events_id(const char *check, const char *cause, char out[LT_EVENTS_ID])
{
    const struct lt_events_rule *r = lt_events_rules;
    const char *number;

    while (!fits(r, check, cause, &number))
        r++;
    snprintf(out, LT_EVENTS_ID, "%s%s", r->id, r->check ? number : check);
}

static const char *const labels[] = {"info", "notice", "warning", "error", "critical", "alert", "emergency"};

int lt_events_severity(const char *id)
{
    (void)id;
    return LT_EVENTS_EMERGENCY;
}

const char *lt_events_label(int severity)
{
    return severity >= 0 && severity <= LT_EVENTS_EMERGENCY ? labels[severity] : NULL;
}
