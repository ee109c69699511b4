/* Inside of a compiled table; for table.c and table_compile.c only. In this machine's byte order: a table is
 * a cache of a document, made anew where the order or the version differs.
 *
 *   header | slots of each section | records | excludes (joined) | keys
 *   record:  name_n u32 | digest_n u32 | digests (each u8 length, bytes) | name
 *
 * Where each area begins follows from the counts, so no offset can disagree with them. A slot is empty (all
 * zero) or holds the upper half of the name's SipHash and its record's offset plus one; the lower half says
 * where the search begins, and it goes at most LT_IMA_TABLE_RUN slots far. Slot and record: two places in
 * memory for one question. */
#ifndef LT_APPRAISAL_IMA_TABLE_FORMAT_H
#define LT_APPRAISAL_IMA_TABLE_FORMAT_H

#include "appraisal/ima/document.h"
#include "common/hash.h"
#include "common/siphash.h"

#define LT_IMA_TABLE_MAGIC "LTIMATB1"
#define LT_IMA_TABLE_ORDER 0x01020304u
#define LT_IMA_TABLE_RUN 256u

struct lt_ima_table_header {
    uint8_t magic[8];
    uint32_t order, log_hash;
    uint64_t size; /* of all */
    uint8_t document[LT_SHA256];
    uint8_t seed[16]; /* of SipHash */
    uint32_t ignores_all;
    uint32_t excludes; /* patterns, for people */
    uint32_t count[LT_IMA_SECTIONS], slots[LT_IMA_SECTIONS];
    uint32_t record_bytes, exclude_bytes, key_bytes, zero;
};

struct lt_ima_table_slot {
    uint32_t tag, record;
};

#define LT_IMA_TABLE_RECORD 8 /* bytes of a record before its digests */

struct lt_ima_table_layout {
    uint64_t slots[LT_IMA_SECTIONS], records, excludes, keys, size;
};

/* A power of two, at most half full; 0 for an empty section. 64 bits, since count may come from a damaged
 * file. */
static inline uint64_t lt_table_slots(uint32_t count)
{
    uint64_t n = 4;
    while (n < 2 * (uint64_t)count)
        n *= 2;
    return count ? n : 0;
}

/* Sums of 32-bit numbers in 64 bits: cannot overflow. */
static inline void lt_table_lay_out(const struct lt_ima_table_header *h, struct lt_ima_table_layout *l)
{
    uint64_t at = sizeof *h;

    for (int s = 0; s < LT_IMA_SECTIONS; s++) {
        l->slots[s] = at;
        at += (uint64_t)h->slots[s] * sizeof(struct lt_ima_table_slot);
    }
    l->records = at;
    l->excludes = l->records + h->record_bytes;
    l->keys = l->excludes + h->exclude_bytes;
    l->size = l->keys + h->key_bytes;
}

#endif
