/* May that domain be started with that key? What is judged of its state at rest (docs/sealing.md section 3,
 * Start), before the key is handed to libvirt. */
#ifndef LT_VTPM_SEALED_H
#define LT_VTPM_SEALED_H

#include "vtpm/domain.h"
#include "vtpm/seal/entry.h"
#include "vtpm/statedir.h"

/* d is the XML's, x the domain's entry. LT_E_STATE_PLAIN, LT_E_STATE_FOREIGN_KEY, LT_E_STATE_VOLATILE;
 * LT_E_REFUSED: the XML does not name this domain's secret; LT_E_NOT_FOUND: there is no state. A few
 * milliseconds: no swtpm is run, whose EK it is the inventory sees. */
int lt_sealed_check(const struct lt_statedir *at, const struct lt_domain *d, const struct lt_seal_entry *x,
                    struct lt_err *e) LT_MUST_CHECK;
/* The XML names S of its own UUID, as the only encryption of its only emulated TPM. */
bool lt_sealed_domain(const struct lt_domain *d);

#endif
