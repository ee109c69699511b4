/* The boot event log in TCG's crypto-agile form (PC Client Platform Firmware Profile, section 10) and in the
 * SHA-1-only form of TPM 1.2 (TCG PC Client Implementation Specification, 11.3), parsed and replayed. Nothing
 * in a log is believed before it matches the quoted PCRs; and then only its digests and their order: types,
 * labels and data are not measured unless the digest is theirs. */
#ifndef LT_APPRAISAL_BOOT_LOG_H
#define LT_APPRAISAL_BOOT_LOG_H

#include "appraisal/boot/event.h"
#include "common/alloc.h"
#include "tpm/pcr.h"

#define LT_BOOT_PCRS 10      /* PCR 0-9 are compared; later ones belong to the operating system */
#define LT_BOOT_REPLAYED 16  /* PCR 0-15 are replayed: shim's PCR 14 is for policies that ask for it */
#define LT_BOOT_LOCALITIES 5 /* TPM2_Startup comes from locality 0 or 3, an H-CRTM from 4 */

/* What a log replays to: made once per log, then used read-only by any number of rounds. No pointers: copy
 * freely. */
struct lt_boot_replay {
    struct lt_err
        fault;    /* code not 0: the log is malformed or absent, message with event number and byte offset */
    bool present; /* false: there is no log (fault is then 0) */
    unsigned events;
    unsigned bank_count; /* banks that every extending event has a digest of */
    unsigned locality;   /* of TPM2_Startup as the log has it: PCR 0 starts at 00…0L */
    struct {
        uint16_t alg;
        uint8_t value[LT_BOOT_REPLAYED][LT_MAX_DIGEST];
        uint8_t from[LT_BOOT_LOCALITIES][LT_MAX_DIGEST]; /* PCR 0, had it started from there */
    } bank[LT_BOOT_BANKS];
};

/* The log as typed events, for policies: parsed once, then read-only. */
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
LT_DEFINE_AUTO(lt_boot_log, lt_boot_log_free);

/* log.p NULL: no log. Total: whatever the bytes, *out is filled. */
void lt_boot_replay(struct lt_slice log, struct lt_boot_replay *out);
/* Every PCR of 0-9 that is quoted has the replayed value: 0, else LT_E_MALFORMED or LT_E_REFUSED. The log
 * must be present. */
int lt_boot_replay_match(const struct lt_boot_replay *r, const struct lt_pcrs *quoted,
                         struct lt_err *e) LT_MUST_CHECK;
/* The replayed value of one PCR below LT_BOOT_REPLAYED; NULL: the log has not that bank. */
const uint8_t *lt_boot_replay_value(const struct lt_boot_replay *r, uint16_t bank, unsigned pcr);
/* That PCR may have this value: the replayed one. For PCR 0 any start will do: where it started is not
 * measured but by its value, and the log's word for it (StartupLocality, EV_EFI_HCRTM_EVENT) decides nothing.
 */
bool lt_boot_replay_fits(const struct lt_boot_replay *r, uint16_t bank, unsigned pcr, const uint8_t *value);
/* All of them, PCR 0-15, as if they were quoted: no quote stands behind them. False: the log is
 * faulty or has not that bank. */
bool lt_boot_replay_pcrs(const struct lt_boot_replay *r, uint16_t bank, struct lt_pcrs *out);
/* What IMA may have as its first entry, boot_aggregate: H(PCR 0-7) (before Linux 5.8, and SHA-1 banks) and
 * H(PCR 0-9), with the bank's own hash. The number of candidates: 2, or 0 if the log is faulty or has not
 * that bank. */
unsigned lt_boot_aggregate(const struct lt_boot_replay *r, uint16_t bank, uint8_t out[2][LT_MAX_DIGEST]);

/* Whether that PCR may have held this value at some moment of the boot that ends in `quoted`, its start
 * included. False only where the log proves it: it replays to `quoted`, and each value on the way is another.
 * SHA-256. */
bool lt_boot_log_may_have_held(const struct lt_boot_log *l, unsigned pcr, const uint8_t quoted[LT_SHA256],
                               const uint8_t value[LT_SHA256]);

#endif
