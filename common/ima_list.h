/* How the kernel's IMA list is cut into pieces, in both of its forms (security/integrity/ima/ima_fs.c); what
 * the pieces say is appraisal's business.
 *
 *   text    ascii_runtime_measurements: an entry is a line, or several: names are printed as they are, with
 *           their newlines, and only the template hash tells where such an entry ends (appraisal/ima/line.h)
 *   binary  binary_runtime_measurements: u32 PCR | template hash | u32 length, template's name |
 *           u32 length, template data; of template "ima": digest[20] | u32 length, file name
 *
 * "Units" are what a list goes on by where it is asked for from somewhere on: lines of text, entries of a
 * binary list. Both ends count the same way, whatever is in a name. */
#ifndef LT_COMMON_IMA_LIST_H
#define LT_COMMON_IMA_LIST_H

#include "common/bytes.h"

/* A PCR number's first byte is below any that a text begins with; an empty list counts as text. */
bool lt_ima_list_is_binary(struct lt_slice list);

/* One binary entry. Slices point into the list. */
struct lt_ima_list_frame {
    uint32_t pcr;
    bool big_endian; /* of all its integers: those of the machine that wrote it */
    struct lt_slice hash, name, data;
};
/* The entry at *at, which moves on. *hash_n: size of the list's template hashes; 0: to be found out, from
 * this entry (20, 32, 48, 64). LT_E_MALFORMED: *at stays. */
int lt_ima_list_frame_next(struct lt_slice list, size_t *at, size_t *hash_n, struct lt_ima_list_frame *out,
                           struct lt_err *e) LT_MUST_CHECK;

/* Bytes of the first `units` units. *skipped: how many these are; fewer, if the list ends (or a binary one is
 * cut) before. A line counts when its LF is there. */
size_t lt_ima_list_skip(struct lt_slice list, uint64_t units, uint64_t *skipped);
/* Where unit *first begins, for who serves a list from there on: 0, and *first 0, if it is not that long. */
size_t lt_ima_list_from(struct lt_slice list, uint64_t *first);
uint64_t lt_ima_list_units(struct lt_slice list);

#endif
