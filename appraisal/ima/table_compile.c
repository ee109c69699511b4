/* Document to table, in two walks: the first judges and counts, the second writes into memory of exactly that
 * size. */
#include "appraisal/ima/keys.h"
#include "appraisal/ima/table.h"
#include "appraisal/ima/table_format.h"
#include "appraisal/policy/dsse.h"
#include "appraisal/policy/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct lt_ima_table_header) % 8 == 0 &&
                   sizeof(struct lt_ima_table_header) == 8 + 8 + 8 + 32 + 16 + 56,
               "a header without holes");

/* ---- first walk ---- */

static int count_name(void *arg, unsigned section, struct lt_slice name, struct lt_err *e)
{
    struct lt_ima_table_header *h = arg;

    (void)e; /* LT_MAX_POLICY keeps every sum below 2^32 */
    h->count[section]++;
    h->record_bytes += LT_IMA_TABLE_RECORD + (uint32_t)name.n;
    return 0;
}

static int count_digest(void *arg, const uint8_t *d, size_t n, struct lt_err *e)
{
    struct lt_ima_table_header *h = arg;

    (void)d;
    (void)e;
    h->record_bytes += 1 + (uint32_t)n;
    return 0;
}

/* Each must stand for itself before it is put between parentheses: what would reach beyond them is refused.
 */
static int count_exclude(void *arg, unsigned i, struct lt_slice pattern, struct lt_err *e)
{
    struct lt_ima_table_header *h = arg;
    struct lt_pattern *alone;

    if (!pattern.n)
        return lt_fail(e, LT_E_MALFORMED, "pattern %u is empty: it would exclude every path", i);
    if (memmem(pattern.p, pattern.n, "\\Q", 2))
        return lt_fail(e, LT_E_MALFORMED, "pattern %u holds \\Q, which Keylime's expressions do not know", i);
    LT_TRY_IN(lt_pattern_compile((const char *)pattern.p, pattern.n, false, &alone, e), e, "pattern %u", i);
    lt_pattern_free(alone);
    h->excludes++;
    h->exclude_bytes += (uint32_t)pattern.n + 2 + (h->exclude_bytes != 0);
    if (h->exclude_bytes > LT_MAX_PATTERN)
        return lt_fail(e, LT_E_TOO_LARGE, "%u patterns joined have more than %u bytes", i + 1,
                       LT_MAX_PATTERN);
    return 0;
}

static int count_keys(void *arg, struct lt_slice text, struct lt_err *e)
{
    struct lt_ima_table_header *h = arg;
    struct lt_ima_keys *keys = lt_ima_keys_new();

    h->key_bytes = (uint32_t)text.n;
    int rc = lt_ima_keys_add_json(keys, text, e);
    lt_ima_keys_free(keys);
    return rc;
}

/* ---- second walk ---- */

struct writer {
    uint8_t *base;
    struct lt_ima_table_header *h;
    struct lt_ima_table_layout l;
    uint32_t record, record_at, exclude_at; /* the open record, and where to write next */
    uint32_t first[LT_IMA_SECTIONS], seen[LT_IMA_SECTIONS];
    char name[LT_MAX_IMA_NAME]; /* of the open record: it stands behind its digests */
    uint32_t name_n;
};

static void close_record(struct writer *w)
{
    uint8_t *records = w->base + w->l.records;
    uint32_t head[2] = {w->name_n, w->record_at - w->record - LT_IMA_TABLE_RECORD};

    if (!w->name_n)
        return;
    memcpy(records + w->record, head, sizeof head);
    memcpy(records + w->record_at, w->name, w->name_n);
    w->record_at += w->name_n;
    w->name_n = 0;
}

static int write_name(void *arg, unsigned section, struct lt_slice name, struct lt_err *e)
{
    struct writer *w = arg;

    (void)e;
    close_record(w);
    if (!w->seen[section]++)
        w->first[section] = w->record_at;
    w->record = w->record_at;
    w->record_at += LT_IMA_TABLE_RECORD;
    memcpy(w->name, name.p, name.n);
    w->name_n = (uint32_t)name.n;
    return 0;
}

static int write_digest(void *arg, const uint8_t *d, size_t n, struct lt_err *e)
{
    struct writer *w = arg;
    uint8_t *at = w->base + w->l.records + w->record_at;

    (void)e;
    at[0] = (uint8_t)n;
    memcpy(at + 1, d, n);
    w->record_at += 1 + (uint32_t)n;
    return 0;
}

static int write_exclude(void *arg, unsigned i, struct lt_slice pattern, struct lt_err *e)
{
    struct writer *w = arg;
    uint8_t *at = w->base + w->l.excludes + w->exclude_at;

    (void)e;
    if (i)
        *at++ = '|';
    *at++ = '(';
    memcpy(at, pattern.p, pattern.n);
    at[pattern.n] = ')';
    w->exclude_at += (uint32_t)pattern.n + 2 + (i != 0);
    return 0;
}

static int write_keys(void *arg, struct lt_slice text, struct lt_err *e)
{
    struct writer *w = arg;

    (void)e;
    if (text.n)
        memcpy(w->base + w->l.keys, text.p, text.n);
    return 0;
}

/* ---- index ---- */

static struct lt_slice name_of(const struct writer *w, uint32_t record, uint32_t *next)
{
    const uint8_t *p = w->base + w->l.records + record;
    uint32_t head[2];

    memcpy(head, p, sizeof head);
    *next = record + LT_IMA_TABLE_RECORD + head[1] + head[0];
    return (struct lt_slice){p + LT_IMA_TABLE_RECORD + head[1], head[0]};
}

/* 0, LT_E_MALFORMED for a name that is there twice, or LT_E_BUSY: this seed makes too long a run. */
static int index_record(struct writer *w, int section, uint32_t record, uint32_t *next, struct lt_err *e)
{
    struct lt_ima_table_slot *slot = (void *)(w->base + w->l.slots[section]);
    struct lt_slice name = name_of(w, record, next);
    uint64_t hash = lt_siphash(w->h->seed, name.p, name.n);
    uint32_t mask = w->h->slots[section] - 1, tag = (uint32_t)(hash >> 32), skip;

    for (uint32_t run = 0; run < LT_IMA_TABLE_RUN; run++) {
        struct lt_ima_table_slot *s = &slot[((uint32_t)hash + run) & mask];
        if (!s->record) {
            *s = (struct lt_ima_table_slot){tag, record + 1};
            return 0;
        }
        if (s->tag == tag && lt_slice_eq(name_of(w, s->record - 1, &skip), name))
            return lt_fail(e, LT_E_MALFORMED, "runtime policy: name \"%.*s\" is there twice",
                           (int)(name.n < 200 ? name.n : 200), name.p);
    }
    return lt_fail(e, LT_E_BUSY, "runtime policy: a run of more than %u slots", LT_IMA_TABLE_RUN);
}

/* The seed comes from the document's own digest: the same document gives the same table, and each byte that
 * its author turns to aim at one slot moves all of them. */
static int build_index(struct writer *w, unsigned attempt, struct lt_err *e)
{
    char label[] = "LT1:IMA-TABLE-0";
    uint8_t seed[LT_SHA256];

    label[sizeof label - 2] = (char)('0' + attempt);
    lt_sha256_2(label, sizeof label - 1, w->h->document, LT_SHA256, seed);
    memcpy(w->h->seed, seed, sizeof w->h->seed);
    memset(w->base + w->l.slots[0], 0, w->l.records - w->l.slots[0]);
    for (int s = 0; s < LT_IMA_SECTIONS; s++)
        for (uint32_t i = 0, at = w->first[s]; i < w->h->count[s]; i++)
            LT_TRY(index_record(w, s, at, &at, e));
    return 0;
}

static int write_table(struct lt_slice doc, const struct lt_ima_table_header *h, struct lt_buf *out,
                       struct lt_err *e)
{
    struct writer w = {0};
    const struct lt_ima_doc_sink sink = {&w, write_name, write_digest, write_exclude, write_keys};
    struct lt_ima_doc again;

    lt_table_lay_out(h, &w.l);
    if (w.l.size > LT_MAX_IMA_TABLE)
        return lt_fail(e, LT_E_TOO_LARGE, "runtime policy: a table of %llu bytes > %u",
                       (unsigned long long)w.l.size, LT_MAX_IMA_TABLE);
    out->p = malloc(w.l.size + 1); /* a buffer's own spare byte */
    if (!out->p)
        return lt_fail(e, LT_E_NO_MEMORY, "runtime policy: no memory for a table of %llu bytes",
                       (unsigned long long)w.l.size);
    out->n = w.l.size;
    out->cap = w.l.size + 1;
    w.base = out->p;
    w.h = (void *)out->p;
    *w.h = *h;
    w.h->size = w.l.size;
    LT_TRY(lt_ima_doc_read(doc.p, doc.n, &sink, &again, e));
    close_record(&w);
    int rc = LT_E_BUSY;
    for (unsigned attempt = 0; rc == LT_E_BUSY && attempt < 8; attempt++)
        rc = build_index(&w, attempt, e);
    return rc == LT_E_BUSY ? lt_fail(e, LT_E_INTERNAL, "runtime policy: no seed spreads its names") : rc;
}

/* A table that was written must be one that opens: the joined excludes are compiled here too. */
static int try_open(const struct lt_buf *b, struct lt_err *e)
{
    struct lt_ima_table *t;

    LT_TRY(lt_ima_table_open(b->p, b->n, &t, e));
    lt_ima_table_close(t);
    return 0;
}

int lt_ima_table_compile(const void *doc, size_t n, const char *pinned, struct lt_buf *out, struct lt_err *e)
{
    struct lt_ima_table_header h = {.magic = LT_IMA_TABLE_MAGIC, .order = LT_IMA_TABLE_ORDER};
    const struct lt_ima_doc_sink counter = {&h, count_name, count_digest, count_exclude, count_keys};
    LT_AUTOBUF struct lt_buf made = LT_BUF(LT_MAX_IMA_TABLE);
    LT_AUTOFREE uint8_t *payload = NULL;
    struct lt_slice text = {doc, n};
    struct lt_ima_doc read;

    *out = LT_BUF(LT_MAX_IMA_TABLE);
    if (n > LT_MAX_POLICY)
        return lt_fail(e, LT_E_TOO_LARGE, "runtime policy: %zu bytes > %u", n, LT_MAX_POLICY);
    if (pinned) {
        LT_TRY(lt_dsse_open(doc, n, pinned, &payload, &text.n, e));
        text.p = payload;
    } else if (lt_dsse_is(doc, n)) {
        return lt_fail(e, LT_E_REFUSED,
                       "runtime policy: in a signed envelope, and no key is pinned to check it with");
    }
    LT_TRY(lt_ima_doc_read(text.p, text.n, &counter, &read, e));
    lt_sha256(doc, n, h.document);
    h.log_hash = read.log_hash;
    h.ignores_all = read.ignores_all;
    for (int s = 0; s < LT_IMA_SECTIONS; s++)
        h.slots[s] = (uint32_t)lt_table_slots(h.count[s]); /* LT_MAX_POLICY keeps it below 2^32 */
    LT_TRY(write_table(text, &h, &made, e));
    LT_TRY(try_open(&made, e));
    *out = made;
    made = LT_BUF(0);
    return 0;
}
