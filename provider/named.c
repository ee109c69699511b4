#include "provider/named.h"

#include "provider/limits.h"

#include <stdlib.h>
#include <string.h>

struct lt_named_one {
    uint8_t digest[LT_SHA256], uuid[16];
    uint64_t until_ms;
};

void lt_named_free(struct lt_named *n)
{
    free(n->one);
    *n = (struct lt_named){0};
}

static int newest(const struct lt_named_one *a, const struct lt_named_one *b)
{
    return (a->until_ms < b->until_ms) - (a->until_ms > b->until_ms);
}

static int by_age(const void *a, const void *b)
{
    return newest(a, b);
}

/* A guest's together, the newest first. */
static int by_guest(const void *a, const void *b)
{
    const struct lt_named_one *x = a, *y = b;
    int c = memcmp(x->uuid, y->uuid, sizeof x->uuid);

    return c ? c : newest(x, y);
}

static int by_digest(const void *a, const void *b)
{
    const struct lt_named_one *x = a, *y = b;

    return memcmp(x->digest, y->digest, sizeof x->digest);
}

/* The same guest had the same list in one of the `count` ones before at. */
static bool again(const struct lt_named_one *at, size_t count)
{
    for (size_t i = 1; i <= count; i++)
        if (!memcmp(at[-(ptrdiff_t)i].digest, at->digest, sizeof at->digest))
            return true;
    return false;
}

/* The newest of each guest, each list once. How many are left. */
static size_t thin(struct lt_named_one *one, size_t count)
{
    size_t kept = 0, of_guest = 0;

    qsort(one, count, sizeof *one, by_guest);
    for (size_t i = 0; i < count; i++) {
        if (!kept || memcmp(one[i].uuid, one[kept - 1].uuid, sizeof one->uuid))
            of_guest = 0;
        if (of_guest == LT_NAMED_PER_GUEST)
            continue;
        one[kept] = one[i];
        if (again(&one[kept], of_guest))
            continue;
        kept++;
        of_guest++;
    }
    return kept;
}

static bool still_names(const struct lt_residents *now, const struct lt_residency_record *r)
{
    uint32_t at;

    return lt_residents_find(now, r->guest_uuid, r->ek_digest, &at) &&
           !memcmp(now->records[at].openers_digest, r->openers_digest, LT_SHA256);
}

/* Behind what is there; how many are there then. */
static size_t append(struct lt_named_one *one, size_t count, const struct lt_residents *was,
                     const struct lt_residents *now, uint64_t until_ms)
{
    for (uint32_t i = 0; i < was->sealed; i++) {
        const struct lt_residency_record *r = &was->records[was->by_openers[i]];
        if (still_names(now, r))
            continue;
        struct lt_named_one *x = &one[count++];
        memcpy(x->digest, r->openers_digest, sizeof x->digest);
        memcpy(x->uuid, r->guest_uuid, sizeof x->uuid);
        x->until_ms = until_ms;
    }
    return count;
}

/* Without memory nothing is noted: the tenant's next round has the new list. */
void lt_named_note(struct lt_named *n, const struct lt_residents *was, const struct lt_residents *now,
                   uint64_t now_ms)
{
    size_t count = 0;

    if (!was || !was->sealed)
        return;
    struct lt_named_one *all = calloc(n->count + was->sealed, sizeof *all);
    if (!all)
        return;
    for (size_t i = 0; i < n->count; i++)
        if (n->one[i].until_ms > now_ms)
            all[count++] = n->one[i];
    count = thin(all, append(all, count, was, now, now_ms + LT_PROVIDER_NAMED_MS));
    if (count > LT_PROVIDER_NAMED_MAX) {
        qsort(all, count, sizeof *all, by_age);
        count = LT_PROVIDER_NAMED_MAX;
    }
    qsort(all, count, sizeof *all, by_digest);
    lt_named_free(n);
    if (!count) {
        free(all);
        return;
    }
    struct lt_named_one *less = realloc(all, count * sizeof *all);
    *n = (struct lt_named){less ? less : all, count};
}

bool lt_named_find(const struct lt_named *n, const uint8_t digest[LT_SHA256], uint64_t now_ms,
                   bool (*is)(void *arg, const uint8_t uuid[16]), void *arg)
{
    size_t low = 0, high = n->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (memcmp(n->one[mid].digest, digest, LT_SHA256) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < n->count && !memcmp(n->one[low].digest, digest, LT_SHA256); low++)
        if (n->one[low].until_ms > now_ms && is(arg, n->one[low].uuid))
            return true;
    return false;
}
