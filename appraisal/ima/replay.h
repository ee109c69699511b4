/* The kernel's IMA list, text or binary (told apart by its first byte), replayed into PCR 10: the quoted
 * value must be the running value after some *prefix* of the list (it grows while it is read), at or beyond
 * the prefix that matched last time. What is behind that prefix is not looked at: no quote vouches for it,
 * and the next one will. Incremental by entry number. Pure. */
#ifndef LT_APPRAISAL_IMA_REPLAY_H
#define LT_APPRAISAL_IMA_REPLAY_H

#include "appraisal/ima/table.h"
#include "common/limits.h"
#include "tpm/pcr.h"

#define LT_IMA_PCR 10
#define LT_IMA_AGGREGATES 8
#define LT_IMA_FAULTS 16 /* that are kept with their text; all are counted */
#define LT_IMA_BOOT_PCRS                                                                                     \
    0x3ffu /* what boot_aggregate is made of; must be quoted wherever there are layers                       \
            */

struct lt_ima_keys; /* verification keys: appraisal/ima/keys.h */

/* Where a replay stands; plain data but for learnt keys. Zeroed: from the beginning, as after a reboot (lower
 * counts in the quote) and when the policy changed. */
struct lt_ima_progress {
    uint64_t next;                                 /* entries replayed so far = number of the next one */
    uint64_t bytes;                                /* of the list, from its beginning, that they take */
    uint16_t bank;                                 /* of run; 0: nothing replayed yet */
    bool padded;                                   /* of a kernel before 5.8 */
    uint8_t run[LT_MAX_DIGEST];                    /* running PCR 10 after them */
    uint8_t aggregate_n, aggregate[LT_MAX_DIGEST]; /* entry 0's, where it was compared */
    struct lt_ima_keys *learnt;                    /* owned; NULL: none */
};

struct lt_ima_input {
    struct lt_slice list; /* from entry number first on */
    uint64_t first;       /* must equal progress->next, or 0: a full list, the replay starts anew */
    uint16_t bank;        /* of the quote */
    const uint8_t *pcr;   /* the quoted PCR 10, as long as the bank says */
    const struct lt_ima_layers *layers; /* NULL: the chain alone is checked, no content (learning) */
    /* What boot_aggregate may be by the quoted boot PCRs. With layers entry 0 must be one of these, a later
     * one (kexec's) too, and no layer is asked. None: PCR 0-9 are not at hand (a list by itself); then the
     * layers are asked, and one that they do not know passes: out->aggregate_open says so. */
    unsigned aggregate_count;
    struct lt_slice aggregate[LT_IMA_AGGREGATES];
    int64_t now;
};

struct lt_ima_result {
    uint64_t entries;     /* looked at in this call: up to the match */
    uint64_t matched;     /* the quoted value stands after this many entries, counted from the list's start */
    size_t matched_bytes; /* of in->list: its entries up to there */
    bool padded;          /* matched as kernels before 5.8 extend: SHA-1 of the template data and zeros */
    bool aggregate_open;  /* boot_aggregate was not compared */
    /* Code not 0: of the first entry that could not be judged (a pattern's limits, a damaged table). Any user
     * of a machine makes names: alone that says nothing of the machine. */
    struct lt_err unable;
    uint64_t faults;
    const char *cause; /* static: what the first one is, a slug (docs/api.md); NULL: none, or not told */
    unsigned kept;
    char fault[LT_IMA_FAULTS]
              [320]; /* "IMA entry 812 (/usr/bin/foo): digest sha256:ab12… not in layers base@9f…, web@11…" */
};

/* 0: every entry up to the match is good and PCR 10 was met. LT_E_REFUSED: *out tells. LT_E_MALFORMED: what
 * is no entry, with its number and byte offset. *progress advances to the match only on success. */
/* With layers a list, or a PCR 10, that covers no entry at all is refused. Also LT_E_REFUSED: the list begins
 * elsewhere or in another bank than the replay stands. What the layers answer with goes up. progress NULL:
 * the list must be whole. */
int lt_ima_appraise(const struct lt_ima_input *in, struct lt_ima_progress *progress,
                    struct lt_ima_result *out, struct lt_err *e) LT_MUST_CHECK;
void lt_ima_progress_free(struct lt_ima_progress *p);

/* Values of boot_aggregate: H(PCR 0-7), all that a SHA-1 bank gives and others before Linux 5.8, and H(PCR
 * 0-9). */
struct lt_ima_aggregates {
    unsigned count;
    uint8_t value[2][LT_MAX_DIGEST];
};
/* Bank, PCR 10 and aggregates (where PCR 0-9 are all quoted), of which *in points into q and keep. */
void lt_ima_quoted(struct lt_ima_input *in, const struct lt_pcrs *q, struct lt_ima_aggregates *keep);

/* One entry, for learning and for coverage ("which programs are in the list"): calls back for each file
 * entry. */
struct lt_ima_file { /* neither buffers nor violations; the chain is not looked at */
    uint64_t entry;
    struct lt_slice path;
    uint16_t alg;
    struct lt_slice digest; /* bytes */
    bool aggregate;         /* boot_aggregate, which is no file */
};
typedef int (*lt_ima_file_fn)(void *arg, const struct lt_ima_file *f, struct lt_err *e);
int lt_ima_files(struct lt_slice list, lt_ima_file_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;

#endif
