/* The lists of openers that this process committed and that are no entry's any more: who was given a digest
 * with a quote may ask for the bytes a moment later. */
#ifndef LT_AGENT_SEAL_PAST_H
#define LT_AGENT_SEAL_PAST_H

#include "agent/seal_commit.h"

#define LT_AGENT_SEAL_PAST_MAX 8192 /* lists; the oldest make room */

struct lt_agent_seal_past {
    struct lt_agent_seal_past_list {
        uint8_t digest[LT_SHA256];
        uint8_t *p; /* OPENERS; owned */
        size_t n;
    } * list;       /* NULL: none yet */
    uint64_t added; /* ever */
};
/* The lists of was's entries that are not those of now's. */
void lt_agent_seal_past_add(struct lt_agent_seal_past *p, const struct lt_agent_seal_content *was,
                            const struct lt_agent_seal_content *now);
/* Appends OPENERS of that digest, of now's entries or of the past. */
bool lt_agent_seal_past_find(const struct lt_agent_seal_past *p, const struct lt_agent_seal_content *now,
                             const uint8_t digest[LT_SHA256], struct lt_buf *out);
void lt_agent_seal_past_free(struct lt_agent_seal_past *p);

#endif
