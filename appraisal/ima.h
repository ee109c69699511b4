/* The kernel's IMA list (ascii_runtime_measurements), parsed line by line and replayed into PCR 10: the quoted value
 * must be the running value after some *prefix* of the list (it grows while it is read), at or beyond the prefix that
 * matched last time. Incremental by entry number. Pure. */
#ifndef LT_APPRAISAL_IMA_H
#define LT_APPRAISAL_IMA_H

#include "appraisal/imatable.h"
#include "common/limits.h"

#define LT_IMA_PCR 10
#define LT_IMA_AGGREGATES 8
#define LT_IMA_FAULTS 16 /* that are kept with their text; all are counted */

struct lt_ima_keys; /* verification keys: appraisal/imakeys.h */

/* Where a replay stands; plain data but for learnt keys. Zeroed: from the beginning, as after a reboot (lower counts in
 * the quote) and when the policy changed. */
struct lt_ima_progress {
    uint64_t next;            /* entries replayed so far = number of the next one */
    uint16_t bank;            /* of run; 0: nothing replayed yet */
    uint8_t run[LT_MAX_DIGEST]; /* running PCR 10 after them */
    struct lt_ima_keys *learnt; /* owned; NULL: none */
};

struct lt_ima_input {
    struct lt_slice list;      /* ascii text from entry number first on */
    uint64_t first;            /* must equal progress->next, or 0: a full list, the replay starts anew */
    uint16_t bank;             /* of the quote */
    const uint8_t *pcr;        /* the quoted PCR 10, as long as the bank says */
    const struct lt_ima_layers *layers; /* NULL: the chain alone is checked, no content (learning) */
    /* boot_aggregate values that PCRs or a boot log matched to them give: an entry boot_aggregate with one of
     * these digests is good, whatever the layers say; with another one the layers are asked. */
    unsigned aggregate_count;
    struct lt_slice aggregate[LT_IMA_AGGREGATES];
    int64_t now;
};

struct lt_ima_result {
    uint64_t entries;          /* looked at in this call */
    uint64_t matched;          /* the quoted value stands after this many entries, counted from the list's start */
    uint64_t faults;
    unsigned kept;
    char fault[LT_IMA_FAULTS][320]; /* "IMA entry 812 (/usr/bin/foo): digest sha256:ab12… not in layers base@9f…, web@11…" */
};

/* 0: every entry is good and PCR 10 was met. LT_E_REFUSED: *out tells. LT_E_MALFORMED: a line that is none, with entry
 * number and byte offset. *progress advances to the match only on success; entries past the match are judged too, but not
 * counted as replayed. */
/* Also LT_E_REFUSED: the list begins elsewhere or in another bank than the replay stands. What the layers answer with
 * goes up. progress NULL: the list must be whole. */
int lt_ima_appraise(const struct lt_ima_input *in, struct lt_ima_progress *progress, struct lt_ima_result *out,
                    struct lt_err *e) LT_MUST_CHECK;
void lt_ima_progress_free(struct lt_ima_progress *p);

/* One entry, for learning and for coverage ("which programs are in the list"): calls back for each file entry. */
struct lt_ima_file { /* neither buffers nor violations; the chain is not looked at */
    uint64_t entry;
    struct lt_slice path;
    uint16_t alg;
    struct lt_slice digest; /* bytes */
};
typedef int (*lt_ima_file_fn)(void *arg, const struct lt_ima_file *f, struct lt_err *e);
int lt_ima_files(struct lt_slice list, lt_ima_file_fn fn, void *arg, struct lt_err *e) LT_MUST_CHECK;

#endif
