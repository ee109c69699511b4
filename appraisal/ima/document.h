/* Keylime's runtime policy, version 1, read front to back without a tree, so that 100 MiB of it cost no more
 * than what the sink keeps. Strict: all eight keys once, no others, digests in lower-case hex, nothing of
 * zero length. */
#ifndef LT_APPRAISAL_IMA_DOCUMENT_H
#define LT_APPRAISAL_IMA_DOCUMENT_H

#include "common/bytes.h"
#include "common/limits.h"

enum lt_ima_section { LT_IMA_FILES, LT_IMA_KEYRINGS, LT_IMA_BUFFERS };
#define LT_IMA_IGNORED 3 /* ignored keyrings: a fourth section, of names without digests */
#define LT_IMA_SECTIONS 4
#define LT_IMA_DIGEST_MAX 64 /* bytes */

/* Called in document order; a negative answer ends the walk. Slices stand for the call only. A name comes
 * before its digests. That a name comes twice is the sink's to find. */
struct lt_ima_doc_sink {
    void *arg;
    int (*name)(void *arg, unsigned section, struct lt_slice name, struct lt_err *e);
    int (*digest)(void *arg, const uint8_t *d, size_t n, struct lt_err *e);
    int (*exclude)(void *arg, unsigned i, struct lt_slice pattern, struct lt_err *e);
    int (*keys)(void *arg, struct lt_slice text, struct lt_err *e);
};

struct lt_ima_doc {
    int64_t version, generator, release;
    char timestamp[64];
    uint16_t log_hash;
    bool ignores_all; /* ignored_keyrings holds "*" */
};

int lt_ima_doc_read(const void *p, size_t n, const struct lt_ima_doc_sink *sink, struct lt_ima_doc *out,
                    struct lt_err *e) LT_MUST_CHECK;

#endif
