/* What Keylime calls our failures (keylime-api 4.5): its event ids, and how grave they are. One table: a
 * check's slug and its cause, as verdicts have them (`failed` of docs/api.md: "check" and "cause"). Pure. */
#ifndef LT_KEYLIME_EVENTS_H
#define LT_KEYLIME_EVENTS_H

#include <stddef.h>

#define LT_EVENTS_ID 64 /* characters of an id, with NUL */
#define LT_EVENTS_EMERGENCY 6

struct lt_events_rule {
    const char *check; /* NULL: any that no row before names */
    const char *cause; /* NULL: any; "pcr-": with a PCR's number behind it, which stands behind the id, too */
    const char *id;    /* one that ends with '.' is followed by the check's slug */
};
extern const struct lt_events_rule lt_events_rules[];
extern const size_t lt_events_rule_count;

/* cause NULL: not told. Checks that Keylime does not make have ids of their own, "limetree.SLUG". */
void lt_events_id(const char *check, const char *cause, char out[LT_EVENTS_ID]);
/* severity_level of that event: the place of its label in Keylime's list, where 6 is the gravest. As Keylime
 * has it unless it is configured otherwise, each failure is an emergency, and ends the polling. */
int lt_events_severity(const char *id);
const char *lt_events_label(int severity); /* "emergency"; NULL: none */

#endif
