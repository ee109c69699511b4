/* What a machine measured, judged against its policy: PCR values, boot log, boot policy and IMA list, for
 * guests (check 3) and hosts (check 7) alike. Two steps, so that many guests share one appraisal of their
 * host: a result is made of evidence and policy alone, and then told to a verdict. Pure. */
#ifndef LT_APPRAISAL_CHECKS_MEASURED_H
#define LT_APPRAISAL_CHECKS_MEASURED_H

#include "appraisal/boot/log.h"
#include "appraisal/boot/policy.h"
#include "appraisal/checks/result_cache.h"
#include "appraisal/checks/verdict.h"
#include "appraisal/ima/replay.h"
#include "appraisal/policy/policy.h"
#include "common/limits.h"

/* The documents that a policy names, in its order. All borrowed; NULL: not at hand, so that part is not made.
 * A document that has another digest than the policy names counts as not at hand. */
struct lt_measured_documents {
    const struct lt_boot_policy *boot;
    uint8_t boot_digest[LT_SHA256]; /* of the document that boot was parsed from */
    const struct lt_ima_table *layer[LT_MAX_LAYERS];
};

/* What a machine wrote down of itself, and the documents it is judged by. */
struct lt_measured_logs {
    const struct lt_boot_log *boot_log; /* NULL: no log; only that part is not made */
    bool has_ima;                       /* false: no list, which fails a policy with layers */
    struct lt_slice ima;                /* from entry number ima_first on, text or binary */
    uint64_t ima_first;
    /* Why a log could not be had: then its part is not made, since trouble in transport is no verdict. NULL:
     * the machine has none, which fails a policy that asks for it. */
    const char *boot_log_trouble, *ima_trouble;
    const struct lt_measured_documents *documents; /* NULL: none */
    /* Digests of both logs, for the cache of results; not believed where the logs are not the caller's own
     * copy. */
    const uint8_t *boot_log_digest, *ima_digest;
    int64_t now; /* wall time for the layers' windows */
};

/* The evidence. PCR values are those a genuine quote signed; everything else is hearsay until it matches
 * them. */
struct lt_measured {
    const struct lt_pcrs *pcrs;
    const struct lt_measured_logs *logs;
    struct lt_ima_progress *progress; /* NULL: none, the list must be whole */
    /* No quote: values that a person brings, or those that the log replays to. PCR 0-9 need not be there, and
     * boot_aggregate is then not compared. */
    bool alone;
};

/* The programs whose word a host's quote rests on (section 5, check 7), bits. */
enum {
    LT_MEASURED_PROGRAM_AGENT = 1,
    LT_MEASURED_PROGRAM_LIBVIRT = 2,
    LT_MEASURED_PROGRAM_QEMU = 4,
    LT_MEASURED_PROGRAM_SWTPM = 8,
    LT_MEASURED_PROGRAM_LIBRARIES = 16
};
#define LT_MEASURED_PROGRAMS 0x1fu

enum lt_measured_part {
    LT_MEASURED_PART_PCRS,
    LT_MEASURED_PART_BOOT_LOG,
    LT_MEASURED_PART_BOOT_POLICY,
    LT_MEASURED_PART_IMA,
    LT_MEASURED_PARTS
};

/* Boot is measured into PCR 0-9 and 12, where there is something into 11 and 14 too. Those that decide over
 * the code that runs: 1, 3, 5 and 6 move with boot order, cards and partitions. */
#define LT_MEASURED_PCRS_DECISIVE 0x5b95u /* 0, 2, 4, 7, 8, 9, 11, 12, 14 */
/* Who chooses these in a guest chooses what IMA measures there (ima=off, no ima_policy=). */
#define LT_MEASURED_PCRS_IMA 0x1310u /* 4, 8, 9, 12 */
#define LT_MEASURED_PCRS_LINE                                                                                \
    0x1300u /* 8, 9, 12: where loaders and kernels measure the command line itself */

enum lt_measured_state { LT_MEASURED_GOOD, LT_MEASURED_OMITTED, LT_MEASURED_LACKING, LT_MEASURED_BAD };

struct lt_measured_result {
    struct {
        enum lt_measured_state state;
        char message[320];            /* of all but good */
        char cause[LT_VERDICT_CAUSE]; /* of bad: what is, as a slug (docs/api.md); "": not told */
        bool starved;                 /* lacking for want of memory: `consistent` cannot leave it out */
    } part[LT_MEASURED_PARTS];
    uint64_t entries, matched, faults; /* of the IMA list */
    size_t matched_bytes;              /* of m->ima, that PCR 10 covers */
    bool aggregate_open;               /* boot_aggregate was not compared with PCR 0-9 */
    unsigned kept; /* further faults that are told, after the one in part[LT_MEASURED_PART_IMA] */
    char fault[LT_IMA_FAULTS][320];
    unsigned programs; /* found among the matched entries, each allowed; 0 unless the list is good */
    uint32_t open;     /* boot PCRs that neither the PCR rules nor the boot policy cover: bits */
    /* PCR 8, 9 and 12 are covered and zero, and so is 11 unless it is covered too: nothing measured a command
     * line there, whoever chose it. */
    bool blind;
};

/* PCRs that must be in the quote: those of the rules, 0-10 with layers (boot_aggregate is made of 0-9), those
 * of the boot policy. */
uint32_t lt_measured_pcrs(const struct lt_policy_pcr_rules *rules, const struct lt_policy_measured *p,
                          const struct lt_measured_documents *d);
/* Layers whose window holds at now: bit N for layer N. Part of what a kept result stands for. */
uint32_t lt_measured_active(const struct lt_policy_measured *p, int64_t now);

/* programs: also look which of LT_MEASURED_PROGRAMS the list covers. Total. *m->progress advances only if the
 * IMA list is good. */
void lt_measured_appraise(const struct lt_measured *m, const struct lt_policy_pcr_rules *rules,
                          const struct lt_policy_measured *p, const uint8_t policy[LT_SHA256], bool programs,
                          struct lt_measured_result *out);
/* "PCR 0, PCR 12" of the PCRs of a mask; "": none. */
const char *lt_measured_list(uint32_t pcrs, char buf[200]);
/* Into check c, which is open. */
void lt_measured_tell(const struct lt_measured_result *r, enum lt_check c, struct lt_verdict *v);

/* ---- kept results ---- the key is a digest over all that went in. */
struct lt_result_cache *lt_measured_cache_new(void); /* of struct lt_measured_result */
/* Of logs that are there the digests must be too. Documents are named by the policy, so that its digest and
 * which of them are at hand stand for them. */
void lt_measured_key(const uint8_t ak_name[34], const struct lt_pcrs *pcrs, const uint8_t policy[LT_SHA256],
                     const struct lt_policy_measured *p, const struct lt_measured_logs *l,
                     uint8_t out[LT_SHA256]);

#endif
