#include "appraisal/boot/set.h"

#include "common/limits.h"

#include <stdlib.h>
#include <string.h>

static int order(const void *a, const void *b)
{
    return memcmp(((const struct lt_boot_named *)a)->digest, ((const struct lt_boot_named *)b)->digest,
                  LT_SHA256);
}

static int room(struct lt_boot_set *s, size_t more, struct lt_err *e)
{
    if (more > LT_MAX_BOOT_DIGESTS || s->count + more > LT_MAX_BOOT_DIGESTS)
        return lt_fail(e, LT_E_TOO_LARGE, "more than %d digests", LT_MAX_BOOT_DIGESTS);
    struct lt_boot_named *grown = reallocarray(s->named, s->count + more + 1, sizeof *grown);
    if (!grown)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu digests", s->count + more);
    s->named = grown;
    return 0;
}

static int add(struct lt_boot_set *s, const json_t *hex, uint32_t stage, struct lt_err *e)
{
    struct lt_boot_named *n = &s->named[s->count];

    LT_TRY(lt_unhex(json_string_value(hex), n->digest, LT_SHA256, e));
    n->stage = stage;
    s->count++;
    return 0;
}

int lt_boot_set_add(struct lt_boot_set *s, const json_t *list, uint32_t stage, struct lt_err *e)
{
    json_t *v;
    size_t i;

    if (!json_is_array(list))
        return lt_fail(e, LT_E_MALFORMED, "not an array");
    s->given = true;
    LT_TRY(room(s, json_array_size(list), e));
    json_array_foreach((json_t *)list, i, v)
    {
        LT_TRY_IN(add(s, v, stage, e), e, "value %zu", i);
    }
    return 0;
}

int lt_boot_set_events(struct lt_boot_set *s, const json_t *list, struct lt_err *e)
{
    json_t *v;
    size_t i;

    if (!json_is_array(list))
        return lt_fail(e, LT_E_MALFORMED, "not an array");
    s->given = s->listed = true;
    json_array_foreach((json_t *)list, i, v)
    {
        bool any = json_is_array(v);
        if (any && !json_array_size(v))
            return lt_fail(e, LT_E_MALFORMED, "entry %zu: an empty list, which nothing could meet", i);
        LT_TRY_IN(any ? lt_boot_set_add(s, v, s->stages, e) : room(s, 1, e), e, "entry %zu", i);
        if (!any)
            LT_TRY_IN(add(s, v, s->stages, e), e, "entry %zu", i);
        s->needed = ++s->stages;
    }
    return 0;
}

int lt_boot_set_close(struct lt_boot_set *s, struct lt_err *e)
{
    char hex[2 * LT_SHA256 + 1];
    size_t kept = 1;

    if (!s->count)
        return 0;
    qsort(s->named, s->count, sizeof *s->named, order);
    for (size_t i = 1; i < s->count; i++) {
        const struct lt_boot_named *last = &s->named[kept - 1], *next = &s->named[i];
        if (order(last, next)) {
            s->named[kept++] = *next;
        } else if (last->stage != next->stage) {
            lt_hex(next->digest, LT_SHA256, hex);
            return lt_fail(e, LT_E_MALFORMED, "%s is named twice, in two places", hex);
        }
    }
    s->count = kept;
    return 0;
}

void lt_boot_set_free(struct lt_boot_set *s)
{
    free(s->named);
}

const struct lt_boot_named *lt_boot_set_find(const struct lt_boot_set *s, const uint8_t digest[LT_SHA256])
{
    struct lt_boot_named want;

    if (!s->count)
        return NULL;
    memcpy(want.digest, digest, LT_SHA256);
    return bsearch(&want, s->named, s->count, sizeof want, order);
}
