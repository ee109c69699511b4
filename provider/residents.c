#include "provider/residents.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

struct lt_residents *lt_residents_ref(struct lt_residents *r)
{
    if (r)
        lt_ref_join(&r->refs, 1);
    return r;
}

void lt_residents_unref(struct lt_residents *r)
{
    if (!r || !lt_ref_leave(&r->refs))
        return;
    lt_merkle_free(r->tree);
    free(r->records);
    free(r->by_uuid);
    free(r->by_openers);
    free(r);
}

const uint8_t *lt_residents_root(const struct lt_residents *r)
{
    return lt_merkle_root(r->tree);
}

static int read_record(const json_t *j, size_t i, struct lt_residency_record *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *raw = NULL;
    size_t n;

    if (!json_is_string(j))
        return lt_fail(e, LT_E_MALFORMED, "inventory record %zu: not a string", i);
    LT_TRY_IN(lt_unbase64(json_string_value(j), json_string_length(j), LT_RESIDENCY_RECORD, &raw, &n, e), e,
              "inventory record %zu", i);
    LT_TRY_IN(lt_residency_record_parse(raw, n, out, e), e, "inventory record %zu", i);
    return 0;
}

static int by_uuid(const void *a, const void *b, void *records)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const struct lt_residency_record *r = records;
    int c = memcmp(r[i].guest_uuid, r[j].guest_uuid, 16);
    return c ? c : (i > j) - (i < j);
}

static int by_openers(const void *a, const void *b, void *records)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const struct lt_residency_record *r = records;
    int c = memcmp(r[i].openers_digest, r[j].openers_digest, 32);
    return c ? c : (i > j) - (i < j);
}

static void index_records(struct lt_residents *r)
{
    static const uint8_t none[32];

    for (uint32_t i = 0; i < r->count; i++) {
        r->by_uuid[i] = i;
        if (memcmp(r->records[i].openers_digest, none, sizeof none))
            r->by_openers[r->sealed++] = i;
    }
    qsort_r(r->by_uuid, r->count, sizeof *r->by_uuid, by_uuid, r->records);
    qsort_r(r->by_openers, r->sealed, sizeof *r->by_openers, by_openers, r->records);
}

int lt_residents_from_json(const json_t *j, struct lt_residents **out, struct lt_err *e)
{
    LT_AUTO(lt_residents) struct lt_residents *r = NULL;
    uint8_t root[32];
    json_t *list, *item;
    int64_t seq;
    size_t i;

    *out = NULL;
    LT_TRY_IN(lt_json_int(j, "seq", 0, INT64_MAX, &seq, e), e, "inventory");
    LT_TRY_IN(lt_json_hex(j, "root", root, sizeof root, e), e, "inventory");
    LT_TRY_IN(lt_json_array(j, "records", LT_MAX_INVENTORY, &list, e), e, "inventory");
    r = lt_new(struct lt_residents);
    lt_ref_start(&r->refs, 1);
    r->count = (uint32_t)json_array_size(list);
    r->records = calloc(r->count + 1, sizeof *r->records);
    r->by_uuid = calloc(r->count + 1, sizeof *r->by_uuid);
    r->by_openers = calloc(r->count + 1, sizeof *r->by_openers);
    if (!r->records || !r->by_uuid || !r->by_openers)
        return lt_fail(e, LT_E_NO_MEMORY, "inventory of %u records: no memory", r->count);
    json_array_foreach(list, i, item)
    {
        LT_TRY_IN(read_record(item, i, &r->records[i], e), e, "inventory");
        if (i && memcmp(r->records[i - 1].ek_digest, r->records[i].ek_digest, 32) >= 0)
            return lt_fail(e, LT_E_MALFORMED, "inventory record %zu: not strictly ascending by ek_digest", i);
    }
    LT_TRY_IN(lt_residency_inventory_tree(r->records, r->count, &r->tree, e), e, "inventory");
    if (memcmp(lt_residents_root(r), root, sizeof root))
        return lt_fail(e, LT_E_MALFORMED, "inventory of %u records: root is not that of its tree", r->count);
    index_records(r);
    *out = lt_take(&r);
    return 0;
}

/* Below, at or above (uuid, ek); ek NULL is below every record of that UUID. */
static int compare(const struct lt_residency_record *r, const uint8_t uuid[16], const uint8_t *ek)
{
    int c = memcmp(r->guest_uuid, uuid, 16);
    return c ? c : ek ? memcmp(r->ek_digest, ek, 32) : 1;
}

bool lt_residents_find(const struct lt_residents *r, const uint8_t uuid[16], const uint8_t *ek,
                       uint32_t *place)
{
    uint32_t low = 0, high = r ? r->count : 0;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (compare(&r->records[r->by_uuid[mid]], uuid, ek) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (!r || low == r->count)
        return false;
    const struct lt_residency_record *found = &r->records[r->by_uuid[low]];
    if (ek ? compare(found, uuid, ek) : memcmp(found->guest_uuid, uuid, 16))
        return false;
    *place = r->by_uuid[low];
    return true;
}

uint32_t lt_residents_of_openers(const struct lt_residents *r, const uint8_t digest[32],
                                 const uint32_t **places)
{
    uint32_t low = 0, high = r ? r->sealed : 0, n = 0;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(r->records[r->by_openers[mid]].openers_digest, digest, 32) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *places = r ? r->by_openers + low : NULL;
    while (r && low + n < r->sealed && !memcmp(r->records[(*places)[n]].openers_digest, digest, 32))
        n++;
    return n;
}
