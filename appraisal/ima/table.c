/* A compiled table, opened and asked. Every offset from the file is compared with its area when it is used.
 */
#include "appraisal/ima/table.h"

#include "appraisal/ima/table_format.h"
#include "appraisal/policy/pattern.h"
#include "common/alloc.h"
#include "common/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE 64u /* of a processor's cache */

struct lt_ima_table {
    const struct lt_ima_table_header *h;
    const uint8_t *base;
    struct lt_ima_table_layout l;
    struct lt_pattern *excludes; /* NULL: none */
};

static int check_frame(const struct lt_ima_table_header *h, size_t n, struct lt_ima_table_layout *l,
                       struct lt_err *e)
{
    if (memcmp(h->magic, LT_IMA_TABLE_MAGIC, sizeof h->magic) || h->order != LT_IMA_TABLE_ORDER)
        return lt_fail(e, LT_E_UNSUPPORTED,
                       "IMA table: of another format, version or byte order; compile it again");
    lt_table_lay_out(h, l);
    if (h->size != n || l->size != n)
        return lt_fail(e, LT_E_MALFORMED, "IMA table: %zu bytes, its header says %llu and its counts %llu", n,
                       (unsigned long long)h->size, (unsigned long long)l->size);
    for (int s = 0; s < LT_IMA_SECTIONS; s++)
        if (h->slots[s] != lt_table_slots(h->count[s]))
            return lt_fail(e, LT_E_MALFORMED, "IMA table: section %d has %u slots for %u names", s,
                           h->slots[s], h->count[s]);
    if (!lt_hash_size((uint16_t)h->log_hash) || h->log_hash > UINT16_MAX || h->zero || h->ignores_all > 1 ||
        h->exclude_bytes > LT_MAX_PATTERN || h->key_bytes > LT_MAX_KEYRING_TEXT ||
        (h->excludes != 0) != (h->exclude_bytes != 0) || h->excludes > LT_MAX_EXCLUDES)
        return lt_fail(e, LT_E_MALFORMED, "IMA table: header out of range");
    return 0;
}

int lt_ima_table_open(const void *p, size_t n, struct lt_ima_table **out, struct lt_err *e)
{
    const struct lt_ima_table_header *h = p;
    struct lt_ima_table_layout l;

    *out = NULL;
    if ((uintptr_t)p % 8)
        return lt_fail(e, LT_E_USAGE, "IMA table: not aligned to 8 bytes");
    if (n < sizeof *h || n > LT_MAX_IMA_TABLE)
        return lt_fail(e, LT_E_MALFORMED, "IMA table: %zu bytes, not %zu to %u", n, sizeof *h,
                       LT_MAX_IMA_TABLE);
    LT_TRY(check_frame(h, n, &l, e));
    LT_AUTOFREE struct lt_ima_table *t = lt_new(struct lt_ima_table);
    t->h = h;
    t->base = p;
    t->l = l;
    if (h->exclude_bytes)
        LT_TRY_IN(
            lt_pattern_compile((const char *)t->base + l.excludes, h->exclude_bytes, false, &t->excludes, e),
            e, "excludes joined");
    *out = lt_take(&t);
    return 0;
}

void lt_ima_table_close(struct lt_ima_table *t)
{
    if (t)
        lt_pattern_free(t->excludes);
    free(t);
}

const uint8_t *lt_ima_table_digest(const struct lt_ima_table *t)
{
    return t->h->document;
}

uint16_t lt_ima_table_log_hash(const struct lt_ima_table *t)
{
    return (uint16_t)t->h->log_hash;
}

unsigned lt_ima_table_count(const struct lt_ima_table *t, enum lt_ima_section s)
{
    return t->h->count[s];
}

struct lt_slice lt_ima_table_keys(const struct lt_ima_table *t)
{
    return (struct lt_slice){t->base + t->l.keys, t->h->key_bytes};
}

static int damaged(const struct lt_ima_table *t, uint32_t record, struct lt_err *e)
{
    char name[9];
    lt_hex(t->h->document, 4, name);
    return lt_fail(e, LT_E_MALFORMED, "IMA table %s: damaged at record %u; compile it again", name, record);
}

/* What lies between a record's head and its end, all within the area. */
static int read_record(const struct lt_ima_table *t, uint32_t record, struct lt_slice *name,
                       struct lt_slice *digests, struct lt_err *e)
{
    const uint8_t *p = t->base + t->l.records + record;
    uint32_t head[2], left;

    if (record > t->h->record_bytes || t->h->record_bytes - record < LT_IMA_TABLE_RECORD)
        return damaged(t, record, e);
    left = t->h->record_bytes - record - LT_IMA_TABLE_RECORD;
    memcpy(head, p, sizeof head);
    if (head[0] > LT_MAX_IMA_NAME || head[1] > LT_MAX_NAME_DIGESTS * (1 + LT_IMA_DIGEST_MAX) ||
        head[0] > left || head[1] > left - head[0])
        return damaged(t, record, e);
    *digests = (struct lt_slice){p + LT_IMA_TABLE_RECORD, head[1]};
    *name = (struct lt_slice){p + LT_IMA_TABLE_RECORD + head[1], head[0]};
    return 0;
}

struct found {
    bool there;
    uint32_t record;
    struct lt_slice digests;
};

static const struct lt_ima_table_slot *slot_at(const struct lt_ima_table *t, unsigned section, uint32_t at)
{
    const struct lt_ima_table_slot *slots = (const void *)(t->base + t->l.slots[section]);
    return &slots[at & (t->h->slots[section] - 1)];
}

static int find_hash(const struct lt_ima_table *t, unsigned section, uint64_t hash, struct lt_slice name,
                     struct found *out, struct lt_err *e)
{
    struct lt_slice have;

    *out = (struct found){0};
    for (uint32_t run = 0; run < LT_IMA_TABLE_RUN; run++) {
        const struct lt_ima_table_slot *s = slot_at(t, section, (uint32_t)hash + run);
        if (!s->record)
            return 0;
        if (s->tag != (uint32_t)(hash >> 32))
            continue;
        LT_TRY(read_record(t, s->record - 1, &have, &out->digests, e));
        if (lt_slice_eq(have, name)) {
            out->record = s->record - 1;
            out->there = true;
            return 0;
        }
    }
    return 0; /* no writer makes a longer run */
}

static int find(const struct lt_ima_table *t, unsigned section, struct lt_slice name, struct found *out,
                struct lt_err *e)
{
    *out = (struct found){0};
    if (!t->h->count[section])
        return 0;
    return find_hash(t, section, lt_siphash(t->h->seed, name.p, name.n), name, out, e);
}

static int has_digest(const struct lt_ima_table *t, const struct found *f, struct lt_slice digest, bool *out,
                      struct lt_err *e)
{
    const uint8_t *p = f->digests.p, *end = p + f->digests.n;

    *out = false;
    while (p < end) {
        size_t n = *p++;
        if (n < 20 || n > LT_IMA_DIGEST_MAX || n > (size_t)(end - p))
            return damaged(t, f->record, e);
        if (n == digest.n && !memcmp(p, digest.p, n)) {
            *out = true;
            return 0;
        }
        p += n;
    }
    return 0;
}

/* A name that is no UTF-8, as a document can hold it. */
static __attribute__((noinline)) int find_escaped(const struct lt_ima_table *t, unsigned section,
                                                  struct lt_slice name, struct found *out, struct lt_err *e)
{
    char text[LT_UTF8_ESCAPED(LT_MAX_IMA_NAME)];
    struct lt_slice held = {(const uint8_t *)text, 0};

    *out = (struct found){0};
    if (name.n > LT_MAX_IMA_NAME)
        return 0;
    held.n = lt_utf8_escape(name, text);
    return held.n > LT_MAX_IMA_NAME ? 0 : find(t, section, held, out, e);
}

int lt_ima_table_ask(const struct lt_ima_table *t, enum lt_ima_section s, struct lt_slice name,
                     struct lt_slice digest, enum lt_ima_answer *out, struct lt_err *e)
{
    struct found f;
    bool hit = false;

    *out = LT_IMA_ABSENT;
    LT_TRY(find(t, s, name, &f, e));
    if (!f.there && !lt_utf8_valid(name))
        LT_TRY(find_escaped(t, s, name, &f, e));
    if (f.there) {
        LT_TRY(has_digest(t, &f, digest, &hit, e));
        *out = hit ? LT_IMA_ALLOWED : LT_IMA_OTHER;
    }
    if (hit || s != LT_IMA_FILES || !t->excludes)
        return 0;
    /* Keylime asks the excludes first; the outcome is the same, and a listed file costs no match. */
    if (lt_pattern_match(t->excludes, name, &hit, e)) {
        *out = LT_IMA_ABSENT;
        return lt_fail_in(e, e->code, "excludes");
    }
    if (hit)
        *out = LT_IMA_EXCLUDED;
    return 0;
}

struct lt_ima_table_probe lt_ima_table_probe(const struct lt_ima_table *t, struct lt_slice path)
{
    if (!t->h->count[LT_IMA_FILES])
        return (struct lt_ima_table_probe){NULL, 0};
    const struct lt_ima_table_probe p = {t, lt_siphash(t->h->seed, path.p, path.n)};
    __builtin_prefetch(slot_at(t, LT_IMA_FILES, (uint32_t)p.hash));
    return p;
}

void lt_ima_table_probe_closer(const struct lt_ima_table_probe *p)
{
    const struct lt_ima_table *t = p->table;

    if (!t)
        return;
    const struct lt_ima_table_slot *s = slot_at(t, LT_IMA_FILES, (uint32_t)p->hash);
    if (!s->record || s->record > t->h->record_bytes)
        return;
    const uint8_t *record = t->base + t->l.records + (s->record - 1);
    __builtin_prefetch(record);
    if (t->h->record_bytes - (s->record - 1) > LINE)
        __builtin_prefetch(record + LINE);
}

bool lt_ima_table_probe_allows(const struct lt_ima_table_probe *p, struct lt_slice path,
                               struct lt_slice digest)
{
    struct lt_err unread; /* LT_NO_ERR would be cleared for each entry */
    struct found f;
    bool hit = false;

    return p->table && !find_hash(p->table, LT_IMA_FILES, p->hash, path, &f, &unread) && f.there &&
           !has_digest(p->table, &f, digest, &hit, &unread) && hit;
}

bool lt_ima_table_ignores_keyring(const struct lt_ima_table *t, struct lt_slice name)
{
    struct found f;

    if (t->h->ignores_all)
        return true;
    return !find(t, LT_IMA_IGNORED, name, &f, LT_NO_ERR) && f.there;
}
