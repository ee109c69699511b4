/* limetree log: what its commands share. */
#ifndef LT_CLI_LOG_H
#define LT_CLI_LOG_H

#include "appraisal/boot/log.h"
#include "appraisal/policy/log_kind.h"
#include "common/json.h"

struct lt_cli_log_conf {
    bool json;
    const char *path, *policy, *pcrs, *key, *accept;
};

/* A log read from a file. bytes: as it was; of a boot log in base64, what it says. */
struct lt_cli_log_input {
    enum lt_log_kind kind; /* LT_LOG_KIND_BOOT_BASE64 has become LT_LOG_KIND_BOOT */
    uint8_t *bytes;
    size_t n;
    struct lt_boot_log *boot; /* with its fault, if it is malformed; NULL: an IMA list */
};

/* Events in words, those before a fault too. */
int lt_cli_log_show(const struct lt_cli_log_conf *c, const struct lt_cli_log_input *log,
                    struct lt_err *e) LT_MUST_CHECK;
/* *verdict: 0 ok, 1 refused or a malformed log (both are told). A document that is malformed is an error. */
int lt_cli_log_judge(const struct lt_cli_log_conf *c, const struct lt_cli_log_input *log, int *verdict,
                     struct lt_err *e) LT_MUST_CHECK;

#endif
