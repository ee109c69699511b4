/* What a tenant keeps of a guest's IMA list between rounds: the text that was matched, and where its replay
 * stands, so that the guest is asked for the rest only. */
#ifndef LT_TENANT_LIST_H
#define LT_TENANT_LIST_H

#include "appraisal/checks/measured.h"
#include "common/ref.h"
#include "residency/bundle.h"

struct lt_list {
    struct lt_ref *text;             /* struct lt_bundle_blob; NULL: nothing kept */
    size_t n;                        /* bytes of it that hold the entries up to progress.next */
    uint64_t units;                  /* in these (common/ima_list.h): what the guest is asked for next */
    struct lt_ima_progress progress; /* zeroed: from the beginning */
    uint32_t reset_count;            /* of the boot it belongs to */
    uint8_t basis[LT_SHA256];        /* of the policy and its layers in force that judged it */
};

void lt_list_clear(struct lt_list *l);
/* Of a policy at a time: another basis means that what is kept must be judged anew. */
void lt_list_basis(const uint8_t policy[LT_SHA256], const struct lt_policy_measured *p, int64_t now,
                   uint8_t out[LT_SHA256]);
/* A new blob: the first n bytes of kept (NULL: none) and the text behind. LT_E_TOO_LARGE beyond
 * LT_MAX_IMA_LOG. */
int lt_list_join(const struct lt_ref *kept, size_t n, const void *text, size_t text_n, struct lt_ref **out,
                 struct lt_err *e) LT_MUST_CHECK;

#endif
