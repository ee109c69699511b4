/* The kernel's logs: the boot log and the IMA list. */
#ifndef LT_AGENT_MEASUREMENTS_H
#define LT_AGENT_MEASUREMENTS_H

#include "common/bytes.h"

/* The file, at most max bytes, with a NUL behind; LT_E_NOT_FOUND when there is none (also for path "").
 * Caller frees. */
int lt_measurements_read(const char *path, size_t max, uint8_t **out, size_t *n,
                         struct lt_err *e) LT_MUST_CHECK;
/* Keylime's ima_ml_entry (keylime-api 3.2): the text from line `entry` on and that number; the whole text and
 * 0 when the list is shorter. text ends with a NUL; a line counts when its LF is there. */
const char *lt_ima_from(const char *text, uint64_t entry, uint64_t *first);
/* Lines of the list: the kernel's counter beside it, or counted; 0 when there is none. */
uint64_t lt_ima_count(const char *path);

#endif
