/* The boot event log in TCG's crypto-agile form (PC Client Platform Firmware Profile, section 10), parsed and
 * replayed. Nothing in a log is believed before it matches the quoted PCRs. */
#ifndef LT_APPRAISAL_BOOTLOG_H
#define LT_APPRAISAL_BOOTLOG_H

#include "tpm/pcr.h"

#define LT_BOOT_PCRS 10 /* PCR 0-9 are compared; later ones belong to the operating system */

/* What a log replays to: made once per log, then used read-only by any number of rounds. No pointers: copy
 * freely. */
struct lt_boot_replay {
    struct lt_err
        fault;    /* code not 0: the log is malformed or absent, message with event number and byte offset */
    bool present; /* false: there is no log (fault is then 0) */
    unsigned events;
    unsigned bank_count;
    struct {
        uint16_t alg;
        uint8_t value[LT_BOOT_PCRS][LT_MAX_DIGEST];
    } bank[4];
};

/* ---- the log as typed events, for policies ---- parsed once, then read-only. */
struct lt_boot_digest {
    uint16_t alg;
    struct lt_slice value;
};

struct lt_boot_event {
    uint32_t number; /* 0-based */
    size_t offset;   /* bytes from the log's start */
    uint32_t pcr, type;
    unsigned digest_count;
    struct lt_boot_digest digest[4];
    struct lt_slice data;
};

struct lt_boot_log {
    struct lt_boot_replay replay;
    uint8_t *bytes; /* owned copy; slices point into it */
    size_t n;
    bool sha1_only; /* TCG 1.2 form */
    struct lt_boot_event *event;
    unsigned count;
};
/* Total: a malformed log has its fault in replay and the events before it. NULL only without memory. */
struct lt_boot_log *lt_boot_log_new(struct lt_slice log);
void lt_boot_log_free(struct lt_boot_log *l);

/* log.p NULL: no log. Total: whatever the bytes, *out is filled. */
void lt_boot_replay(struct lt_slice log, struct lt_boot_replay *out);
/* Every PCR of 0-9 that is quoted has the replayed value: 0, else LT_E_MALFORMED or LT_E_REFUSED. The log
 * must be present. */
int lt_boot_replay_match(const struct lt_boot_replay *r, const struct lt_pcrs *quoted,
                         struct lt_err *e) LT_MUST_CHECK;

#endif
