/* The kernel's logs: the boot log and the IMA list. */
#ifndef LT_AGENT_MEASUREMENTS_H
#define LT_AGENT_MEASUREMENTS_H

#include "common/bytes.h"

/* The file, at most max bytes, with a NUL behind; LT_E_NOT_FOUND when there is none (also for path "").
 * Caller frees. */
int lt_measurements_read(const char *path, size_t max, uint8_t **out, size_t *n,
                         struct lt_err *e) LT_MUST_CHECK;
/* The IMA list without loss: the kernel's binary list, which lies beside the text of that path
 * ("ascii_…", "binary_…"), else the text as it is. */
int lt_measurements_ima_read(const char *path, uint8_t **out, size_t *n, struct lt_err *e) LT_MUST_CHECK;
/* The text as Keylime's wire can hold it: as it is, or escaped from end to end (common/utf8.h) if any of it
 * is no UTF-8. Where its entries end only their hashes tell, and one whose parts were escaped differently
 * would be proved by none. Lines stay lines. NULL without memory; caller frees. */
char *lt_measurements_ima_text(const char *text, size_t n);
/* Entries of the list: the kernel's counter beside it, or its lines; 0 when there is none. */
uint64_t lt_measurements_ima_count(const char *path);

#endif
