/* One entry of the kernel's IMA list, out of its text or its binary form, and the template data behind it:
 * the bytes whose hash the kernel showed and extended (Documentation/security/IMA-templates.rst;
 * security/integrity/ima/ima_template_lib.c).
 *
 * Strict, for the kernel's own printing is: lower-case hex, one space between fields, an empty signature
 * leaves its space. So no bit of a line is without meaning. Text is read as of machines with little-endian
 * integers, as are all that we know; a binary list says itself what it has.
 *
 * Text loses where an entry ends: names are printed with their newlines. The template hash tells: a line that
 * does not have the hash it shows is joined with those behind it, as long as the name stays below its ceiling
 * and wherever the next line begins like an entry, until it has. That proves the joined name. The same way a
 * name is proved whose bytes that are no UTF-8 came as \xNN (Keylime's wire is JSON): docs/protocol.md 5.
 * What a violation's hash of zeros cannot prove ends at the first line that begins like an entry. */
#ifndef LT_APPRAISAL_IMA_LINE_H
#define LT_APPRAISAL_IMA_LINE_H

#include "common/hash.h"
#include "common/limits.h"

enum lt_ima_kind { LT_IMA_FILE, LT_IMA_SIGNED, LT_IMA_BUFFER };

/* Slices point into the list or into made. Not zeroed: made is large. */
struct lt_ima_line {
    unsigned pcr;
    uint16_t log_hash;             /* of the column: what its width says */
    uint8_t column[LT_MAX_DIGEST]; /* template hash, as the list shows it */
    bool violation; /* column is all zeros: ToMToU or open-writers; then only pcr, kind, path are set */
    bool proved;    /* hash equals column; never of a violation */
    uint8_t hash[LT_MAX_DIGEST]; /* of data, by log_hash; set by lt_ima_walk_next() alone, as is proved */
    enum lt_ima_kind kind;       /* ima-ngv2, ima-sigv2 and ima-modsig count as their plain kin */
    bool verity; /* the digest is not of the file's bytes but of its Merkle tree (fs-verity) */
    struct lt_slice alg_name;
    uint16_t alg; /* 0: none of ours; the name stands */
    struct lt_slice digest, path;
    struct lt_slice extra; /* signature or buffer; may be empty */
    struct lt_slice data;  /* template data */
    size_t made_n;
    uint8_t made[LT_MAX_IMA_LINE + 512]; /* hex shrinks; the padded name of template ima is 256 */
};

/* A walk over a list of either form. */
struct lt_ima_walk {
    struct lt_slice list;
    size_t at;      /* where the next entry begins */
    size_t hash_n;  /* of a binary list; 0: not seen yet */
    unsigned lost;  /* entries whose end was searched for in vain: honest lists have none, and after
                       LT_IMA_LOST no more is searched, so that work stays linear */
    uint64_t tried; /* bytes hashed in such searches, for tests */
};
#define LT_IMA_LOST 8

struct lt_ima_walk lt_ima_walk(struct lt_slice list);
/* The next entry; *more false: there is none. LT_E_MALFORMED without place: the caller knows entry and offset
 * (w->at, which stays). */
int lt_ima_walk_next(struct lt_ima_walk *w, struct lt_ima_line *out, bool *more,
                     struct lt_err *e) LT_MUST_CHECK;

/* The next line of text, without its newline; at moves on. False: none is left. */
bool lt_ima_line_next(struct lt_slice text, size_t *at, struct lt_slice *line);
/* What would be an entry of text if it ended here: it may hold newlines, in its name. The hash is not looked
 * at. LT_E_MALFORMED without place. */
int lt_ima_line_parse(struct lt_slice line, struct lt_ima_line *out, struct lt_err *e) LT_MUST_CHECK;
/* What the kernel measures first, over the boot PCRs; no file has a name without a slash. */
bool lt_ima_line_is_aggregate(const struct lt_ima_line *l);
/* For people: at most max characters and a NUL, what is not printable ASCII as \xNN, the middle of what is
 * long left out. out holds max + 1. */
void lt_ima_line_show(struct lt_slice path, char *out, size_t max);

#endif
