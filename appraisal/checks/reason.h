/* The reasons of a verdict that no check of the guest or its host gave, and those of a lower link (not_made,
 * openers): who is to look, why, and what to do. One table, for the command line, for docs/operations.md (a
 * test compares them) and for whoever maps an error to one. */
#ifndef LT_APPRAISAL_CHECKS_REASON_H
#define LT_APPRAISAL_CHECKS_REASON_H

#include "common/err.h"

struct lt_reason {
    const char *slug, *cause, *remedy;
};

extern const struct lt_reason lt_reasons[];          /* ended by a NULL slug */
const struct lt_reason *lt_reason(const char *slug); /* NULL: none of these */

/* A fault gets the code of the reason it is; its message stays. Each returns e's code. */
int lt_reason_guest(struct lt_err *e,
                    int status);          /* between us and a guest's agent; status: HTTP, 0: no reply */
int lt_reason_provider(struct lt_err *e); /* between us and the provider */
int lt_reason_said(struct lt_err *e);     /* what the provider answered: it may name the host, not us */

#endif
