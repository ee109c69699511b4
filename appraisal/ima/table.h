/* A runtime policy compiled once into a content-addressed table: bytes without pointers, so that they can be
 * mapped (by the caller: no I/O here) and shared by all guests that use them. Named by the SHA-256 of the
 * *document*.
 *
 * Documents: Keylime runtime policy v1 (meta, release, digests, excludes, keyrings, ima, ima-buf,
 * verification-keys), plain JSON or in a DSSE envelope whose signature must verify under a pinned key. */
#ifndef LT_APPRAISAL_IMA_TABLE_H
#define LT_APPRAISAL_IMA_TABLE_H

#include "appraisal/ima/document.h"
#include "appraisal/policy/policy.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/limits.h"

/* Compiles a document. pinned: PEM of the one key a DSSE envelope must be signed with; NULL: plain documents
 * only. The certificate carried by an envelope is never trusted. */
int lt_ima_table_compile(const void *doc, size_t n, const char *pinned, struct lt_buf *out,
                         struct lt_err *e) LT_MUST_CHECK;

struct lt_ima_table;
/* p stays the caller's and must outlive the table (8-byte aligned). Checks the frame in O(1), a checksum is
 * the caller's business (it made the file); compiles the excludes (PCRE2 with limits). Thread safe
 * afterwards. */
int lt_ima_table_open(const void *p, size_t n, struct lt_ima_table **out, struct lt_err *e) LT_MUST_CHECK;
void lt_ima_table_close(struct lt_ima_table *t);
const uint8_t *lt_ima_table_digest(const struct lt_ima_table *t); /* of the document, 32 bytes */

enum lt_ima_answer {
    LT_IMA_ABSENT, /* the name is not in the table */
    LT_IMA_OTHER,  /* it is, with other digests */
    LT_IMA_ALLOWED,
    LT_IMA_EXCLUDED, /* a pattern of excludes matches the path */
};
/* name need not be NUL-terminated, may hold any byte; one that is no UTF-8 is looked up as JSON can hold it
 * (common/utf8.h), and matched with excludes as it is. Digests are compared by value and length (Keylime: the
 * algorithm's name does not take part). A hostile exclude that hits PCRE2's limits is an error, not a match.
 */
int lt_ima_table_ask(const struct lt_ima_table *t, enum lt_ima_section s, struct lt_slice name,
                     struct lt_slice digest, enum lt_ima_answer *out, struct lt_err *e) LT_MUST_CHECK;

/* The same for a file that the table most likely allows, in three steps with other work between them: a large
 * table costs two misses of the processor's caches, which that work hides. */
struct lt_ima_table_probe {
    const struct lt_ima_table *table;
    uint64_t hash;
};
struct lt_ima_table_probe lt_ima_table_probe(const struct lt_ima_table *t, struct lt_slice path);
void lt_ima_table_probe_closer(const struct lt_ima_table_probe *p);
/* True: LT_IMA_ALLOWED. False: lt_ima_table_ask() says what it is; so it does if the path is not the probe's.
 */
bool lt_ima_table_probe_allows(const struct lt_ima_table_probe *p, struct lt_slice path,
                               struct lt_slice digest);

bool lt_ima_table_ignores_keyring(const struct lt_ima_table *t, struct lt_slice name);
uint16_t lt_ima_table_log_hash(const struct lt_ima_table *t); /* of the list's template-hash column */
unsigned lt_ima_table_count(const struct lt_ima_table *t, enum lt_ima_section s); /* names in it */
/* JSON text of the document's verification-keys ("" if none). */
struct lt_slice lt_ima_table_keys(const struct lt_ima_table *t);

/* ---- layers ---- distribution, role, this machine: asked in order, the first that allows or excludes
 * decides. */
struct lt_ima_layer { /* borrowed, both */
    const struct lt_policy_layer_rule *rule;
    const struct lt_ima_table *table;
};

struct lt_ima_layers {
    unsigned count;
    struct lt_ima_layer layer[LT_MAX_LAYERS];
    bool accept_violations; /* ToMToU and open-writers do not fail */
    bool accept_padded;     /* kernels before 5.8: every bank is extended with SHA-1 and zeros */
    bool learn_keys; /* keys in ima-buf entries that the keyrings section allows join the verification keys */
    uint16_t log_hash; /* of the list's template-hash column; 0: as the first layer's document says */
};
/* A layer outside its window at now is passed over. *which: the layer that decided, or -1. */
int lt_ima_layers_ask(const struct lt_ima_layers *l, int64_t now, enum lt_ima_section s, struct lt_slice name,
                      struct lt_slice digest, enum lt_ima_answer *out, int *which,
                      struct lt_err *e) LT_MUST_CHECK;
/* Of the list's template-hash column: what the policy says, else the first layer's document. */
uint16_t lt_ima_layers_log_hash(const struct lt_ima_layers *l);
/* "base@9f37fd92, web@11aa22bb": for messages. */
void lt_ima_layers_names(const struct lt_ima_layers *l, char *out, size_t n);

#endif
