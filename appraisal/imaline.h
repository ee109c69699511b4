/* One line of the kernel's IMA list in ascii, and the template data behind it: the bytes whose hash the
 * kernel showed and extended (Documentation/security/IMA-templates.rst;
 * security/integrity/ima/ima_template_lib.c).
 *
 * Strict, for the kernel's own printing is: lower-case hex, one space between fields, an empty signature
 * leaves its space. So no bit of a line is without meaning. Integers are little-endian, as of all machines we
 * know. */
#ifndef LT_APPRAISAL_IMALINE_H
#define LT_APPRAISAL_IMALINE_H

#include "common/hash.h"
#include "common/limits.h"

enum lt_ima_kind { LT_IMA_FILE, LT_IMA_SIGNED, LT_IMA_BUFFER };

/* Filled by lt_ima_line_parse(). Slices point into data, path and column into the text. Not zeroed: data is
 * large. */
struct lt_ima_line {
    unsigned pcr;
    struct lt_slice column; /* template hash, hex text, 40 to 128 characters */
    bool violation; /* column is all zeros: ToMToU or open-writers; then only pcr, kind, path are set */
    enum lt_ima_kind kind; /* ima-ngv2, ima-sigv2 and ima-modsig count as their plain kin */
    bool verity;           /* the digest is not of the file's bytes but of its Merkle tree (fs-verity) */
    struct lt_slice alg_name;
    uint16_t alg; /* 0: none of ours; the name stands */
    struct lt_slice digest, path;
    struct lt_slice extra; /* signature or buffer; may be empty */
    size_t data_n;
    uint8_t data[LT_MAX_IMA_LINE + 512]; /* hex shrinks; the padded name of template ima is 256 */
};

/* The next line of text, without its newline; at moves on. False: none is left. */
bool lt_ima_line_next(struct lt_slice text, size_t *at, struct lt_slice *line);
/* LT_E_MALFORMED without place: the caller knows entry and offset. */
int lt_ima_line_parse(struct lt_slice line, struct lt_ima_line *out, struct lt_err *e) LT_MUST_CHECK;
/* n bytes from 2n digits, lower case only; false: others, and out is anything. */
bool lt_ima_line_unhex(const uint8_t *s, size_t n, uint8_t *out);
/* For people: at most max characters and a NUL, what is not printable ASCII as \xNN, the middle of what is
 * long left out. out holds max + 1. */
void lt_ima_line_show(struct lt_slice path, char *out, size_t max);

#endif
