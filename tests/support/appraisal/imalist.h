/* IMA lists made to order, with the PCR 10 they give: template data written a second time, from the kernel's
 * documentation, so that a mistake in appraisal/ima/line.c does not hide. */
#ifndef LT_TESTS_SUPPORT_APPRAISAL_IMALIST_H
#define LT_TESTS_SUPPORT_APPRAISAL_IMALIST_H

#include "appraisal/ima/replay.h"

struct imalist {
    struct lt_buf text;
    struct lt_buf binary; /* the same list, as binary_runtime_measurements shows it */
    uint16_t bank, column;
    uint8_t pcr[LT_MAX_DIGEST];
    unsigned entries;
};

void imalist_start(struct imalist *l, uint16_t bank, uint16_t column);
void imalist_free(struct imalist *l);
struct lt_slice imalist_text(const struct imalist *l);
struct lt_slice imalist_binary(const struct imalist *l);
/* tmpl: ima, ima-ng, ima-sig, ima-buf, ima-ngv2, ima-sigv2, ima-modsig. The file's digest is that of content,
 * but for ima-buf, where it is that of extra. extra: signature or buffer. */
void imalist_add(struct imalist *l, const char *tmpl, uint16_t alg, const char *content, const char *path,
                 struct lt_slice extra);
void imalist_ng(struct imalist *l, const char *path); /* ima-ng, sha256, content = path */
void imalist_violation(struct imalist *l, const char *path);

/* The policy {"path": digest of path as content…} and more; text parts may be NULL for none. Exits on a
 * fault. */
struct imapolicy {
    struct lt_buf table;
    struct lt_ima_table *open;
    struct lt_ima_layers layers;
};
struct imapolicy_parts {
    const char *digests, *excludes, *keyrings, *ignored, *bufs, *keys; /* JSON, the latter as a JSON string */
};
void imapolicy_make(struct imapolicy *p, const struct imapolicy_parts *parts);
void imapolicy_of_paths(struct imapolicy *p, const char *const *paths); /* NULL-ended; sha256 of each path */
void imapolicy_free(struct imapolicy *p);

#endif
