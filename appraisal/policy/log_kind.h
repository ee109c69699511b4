/* Which of the logs that a machine hands out these bytes are, and what kind of document may judge them. Told
 * by how they begin, not by a file's name; that they are well-formed is the parsers' business. Pure. */
#ifndef LT_APPRAISAL_POLICY_LOG_KIND_H
#define LT_APPRAISAL_POLICY_LOG_KIND_H

#include "common/bytes.h"

enum lt_log_kind {
    LT_LOG_KIND_UNKNOWN,
    LT_LOG_KIND_BOOT,        /* binary_bios_measurements, crypto-agile or of TCG 1.2 */
    LT_LOG_KIND_BOOT_BASE64, /* the same as Keylime's wire carries it */
    LT_LOG_KIND_IMA,         /* ascii_runtime_measurements */
    LT_LOG_KIND_IMA_BINARY,  /* binary_runtime_measurements */
};
enum lt_log_kind lt_log_kind(struct lt_slice bytes);
const char *lt_log_kind_name(enum lt_log_kind kind); /* "boot log", "IMA list", "unknown" */

/* A runtime policy, plain or in an envelope; else it can only be a boot policy or reference state. The first
 * key tells: such documents may be large. */
bool lt_log_kind_is_runtime(struct lt_slice doc);

#endif
