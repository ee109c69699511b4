#include "tenant/list.h"

#include <stdlib.h>
#include <string.h>

void lt_list_clear(struct lt_list *l)
{
    lt_ref_put(l->text);
    lt_ima_progress_free(&l->progress);
    memset(l, 0, sizeof *l);
}

void lt_list_basis(const uint8_t policy[LT_SHA256], const struct lt_policy_measured *p, int64_t now,
                   uint8_t out[LT_SHA256])
{
    uint8_t active[4];

    lt_put_u32(active, lt_measured_active(p, now));
    lt_sha256_2(policy, LT_SHA256, active, sizeof active, out);
}

static void blob_free(void *p)
{
    struct lt_bundle_blob *b = p;
    free(b->p);
    free(b);
}

int lt_list_join(const struct lt_ref *kept, size_t n, const void *text, size_t text_n, struct lt_ref **out,
                 struct lt_err *e)
{
    const struct lt_bundle_blob *old = lt_ref_value(kept);
    struct lt_bundle_blob *b;

    *out = NULL;
    if (!old || n > old->n)
        n = 0;
    if (text_n > LT_MAX_IMA_LOG - n)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list: %zu bytes and %zu more > %u", n, text_n, LT_MAX_IMA_LOG);
    b = calloc(1, sizeof *b);
    if (!b || !(b->p = malloc(n + text_n + 1))) {
        free(b);
        return lt_fail(e, LT_E_NO_MEMORY, "IMA list: no memory");
    }
    if (n)
        memcpy(b->p, old->p, n);
    memcpy(b->p + n, text, text_n);
    b->p[n + text_n] = 0;
    b->n = n + text_n;
    *out = lt_ref_new(b, blob_free);
    return 0;
}
