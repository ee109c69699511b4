/* The eleven checks of docs/protocol.md section 5: one function each, in the file of its slug (guest-quote:
 * guest_quote.c). Their table, and the one loop that calls them, is checks.c; each is called with its check
 * open in c->v and closed after it, so it only says what it found: fault, lack, omit, note, or skip. */
#ifndef LT_APPRAISAL_CHECKS_CHECKS_H
#define LT_APPRAISAL_CHECKS_CHECKS_H

#include "appraisal/checks/round.h"

/* One round under its checks: what goes in, what comes out, and what they hand on to one another. */
struct lt_checks {
    const struct lt_checks_guest_round *guest; /* NULL: a host by itself */
    const struct lt_checks_host_round *host;   /* NULL for 1-3 */
    struct lt_history_round_facts *f;
    struct lt_verdict *v;
    struct lt_residency_header header; /* of the host quote, with its attest: for what rests on 5 */
    struct lt_attest attest;
    struct lt_residency_record record; /* for what rests on 8 */
};

/* The record behind the proof: parsed into c->record, and in the header's inventory. 0, or why not. */
int lt_checks_residency_record(struct lt_checks *c, struct lt_err *e) LT_MUST_CHECK;
/* Of check 8, which stands: the list of openers, and the link that comes of it. */
void lt_checks_openers_judge(struct lt_checks *c);
/* After all checks: whether this round's host exposes the guest. */
void lt_checks_openers_expose(struct lt_checks *c);

void lt_checks_guest_quote(struct lt_checks *c);
void lt_checks_guest_clock(struct lt_checks *c);
void lt_checks_guest_policy(struct lt_checks *c);
void lt_checks_batch_inclusion(struct lt_checks *c);
void lt_checks_host_quote(struct lt_checks *c);
void lt_checks_host_identity(struct lt_checks *c);
void lt_checks_host_policy(struct lt_checks *c);
void lt_checks_residency(struct lt_checks *c);
void lt_checks_host_clock(struct lt_checks *c);
void lt_checks_window(struct lt_checks *c);
void lt_checks_sandwich(struct lt_checks *c);

#endif
