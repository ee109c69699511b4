/* The digests that a boot policy accepts in one PCR; private to the boot judges.
 *
 * A set is closed: what it does not name is refused, unless the judge that holds it proves the event another
 * way. Stages are what the PCR must show: each at least once, their first ones in this order. Once a stage is
 * reached its digests may stand anywhere behind. That order is what tells a boot from a machine that booted
 * something else and extended the good digests later. */
#ifndef LT_APPRAISAL_BOOT_SET_H
#define LT_APPRAISAL_BOOT_SET_H

#include "appraisal/boot/event.h"
#include "common/json.h"

#define LT_BOOT_ANYWHERE                                                                                     \
    UINT32_MAX /* stage of a digest that may stand anywhere, and need not stand at all                       \
                */

struct lt_boot_named {
    uint8_t digest[LT_SHA256];
    uint32_t stage;
};

struct lt_boot_set {
    size_t count;
    struct lt_boot_named *named; /* owned; sorted by digest, no doubles */
    uint32_t stages, needed;     /* the first `needed` of the stages must be met */
    bool given;                  /* some key named it, if only with an empty list */
    bool listed;                 /* by "events": the stages name separators too */
};

/* [ENTRY…]: a digest, or a list of digests of which one must stand. */
int lt_boot_set_events(struct lt_boot_set *s, const json_t *list, struct lt_err *e) LT_MUST_CHECK;
/* [digest…], all of one stage. */
int lt_boot_set_add(struct lt_boot_set *s, const json_t *list, uint32_t stage,
                    struct lt_err *e) LT_MUST_CHECK;
/* Sorts, after the last was added. A digest of two stages is refused. */
int lt_boot_set_close(struct lt_boot_set *s, struct lt_err *e) LT_MUST_CHECK;
void lt_boot_set_free(struct lt_boot_set *s);

/* NULL: not in it. */
const struct lt_boot_named *lt_boot_set_find(const struct lt_boot_set *s, const uint8_t digest[LT_SHA256]);

#endif
