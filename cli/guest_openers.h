/* limetree guest openers, escrow and clear --exposed: what opens a guest's vTPM, for the tenant. Verbs take
 * the guest's UUID as argument 0. */
#ifndef LT_CLI_GUEST_OPENERS_H
#define LT_CLI_GUEST_OPENERS_H

#include "cli/client.h"

int lt_cli_openers(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_openers_escrow(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_openers_clear(struct lt_cli *c, struct lt_err *e) LT_MUST_CHECK;

/* The slug of what keeps a VERDICT's link from being a higher one, the gravest; "": nothing does. Its own. */
const char *lt_cli_openers_why(const json_t *verdict);
/* Of a GUEST, for `guest show`: what keeps its link from being a higher one, and what to do. */
void lt_cli_openers_problems(const json_t *guest);

#endif
