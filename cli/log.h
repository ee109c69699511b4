/* limetree log: what its commands share. */
#ifndef LT_CLI_LOG_H
#define LT_CLI_LOG_H

#include "appraisal/bootlog.h"
#include "appraisal/logkind.h"
#include "common/json.h"

struct lt_log_cli {
    bool json;
    const char *path, *policy, *pcrs, *key, *accept;
};

/* A log read from a file. bytes: as it was; of a boot log in base64, what it says. */
struct lt_log {
    enum lt_log_kind kind; /* LT_LOG_BOOT_BASE64 has become LT_LOG_BOOT */
    uint8_t *bytes;
    size_t n;
    struct lt_boot_log *boot; /* with its fault, if it is malformed; NULL: an IMA list */
};

/* Events in words, those before a fault too. */
int lt_log_show(const struct lt_log_cli *c, const struct lt_log *log, struct lt_err *e) LT_MUST_CHECK;
/* *verdict: 0 ok, 1 refused or a malformed log (both are told). A document that is malformed is an error. */
int lt_log_judge(const struct lt_log_cli *c, const struct lt_log *log, int *verdict,
                 struct lt_err *e) LT_MUST_CHECK;

#endif
