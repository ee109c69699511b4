/* What inventory-shell does of sealed vTPMs: a keeper with entries that the test sets, and vtpm/'s work on
 * states and secrets. Numbers and keys are as the test gives them.
 *
 *   entry UUID EK_DIGEST KEY N   the vault has this one, with N openers; the inventory is told
 *   forget UUID                  no longer
 *   vault SLUG                   what the keeper answers from now on instead; "vault ok"
 *   leak SLUG                    why nothing is sealed; "leak ok"
 *   make UUID NAME KEY CONFIG    {"ek_digest","bytes"}; the state is remembered
 *   install UUID | remove UUID   in libvirt's directory; of the state remembered
 *   check FILE KEY               a start of that XML with that key
 *   put UUID KEY | drop UUID | sweep     libvirt's secrets
 *
 * Each answers {} or {"error":slug,"message"}. */
#ifndef LT_TESTS_SUPPORT_VTPM_SEALING_H
#define LT_TESTS_SUPPORT_VTPM_SEALING_H

#include "vtpm/inventory.h"

const struct lt_seal_keeper *sealing_keeper(void);
/* NULL: not one of these. */
json_t *sealing_answer(const char *uri, struct lt_vtpm_inventory *inv, const char *line);
void sealing_end(void);

#endif
