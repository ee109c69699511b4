/* Layers of tables: who is asked, in which order, and what they are called. */
#include "appraisal/ima/table.h"

#include <stdio.h>
#include <string.h>

static void label(const struct lt_ima_layer *l, char out[80])
{
    char digest[9];

    lt_hex(lt_ima_table_digest(l->table), 4, digest);
    snprintf(out, 80, "%.63s@%s", l->rule->name, digest);
}

static __attribute__((noinline)) int fail_in(const struct lt_ima_layer *l, struct lt_err *e)
{
    char where[80];

    label(l, where);
    return lt_fail_in(e, e->code, "layer %s", where);
}

int lt_ima_layers_ask(const struct lt_ima_layers *l, int64_t now, enum lt_ima_section s, struct lt_slice name,
                      struct lt_slice digest, enum lt_ima_answer *out, int *which, struct lt_err *e)
{
    enum lt_ima_answer answer;
    bool known = false;

    *out = LT_IMA_ABSENT;
    *which = -1;
    for (unsigned i = 0; i < l->count; i++) {
        if (!lt_policy_layer_in_force(l->layer[i].rule, now))
            continue;
        if (lt_ima_table_ask(l->layer[i].table, s, name, digest, &answer, e))
            return fail_in(&l->layer[i], e);
        known |= answer == LT_IMA_OTHER;
        if (answer == LT_IMA_ALLOWED || answer == LT_IMA_EXCLUDED) {
            *out = answer;
            *which = (int)i;
            return 0;
        }
    }
    *out = known ? LT_IMA_OTHER : LT_IMA_ABSENT;
    return 0;
}

uint16_t lt_ima_layers_log_hash(const struct lt_ima_layers *l)
{
    if (l->log_hash)
        return l->log_hash;
    return l->count ? lt_ima_table_log_hash(l->layer[0].table)
                    : (uint16_t)LT_HASH_SHA1; /* the kernel's default */
}

void lt_ima_layers_names(const struct lt_ima_layers *l, char *out, size_t n)
{
    char one[80];
    size_t at = 0;

    if (!n)
        return;
    out[0] = 0;
    for (unsigned i = 0; i < l->count; i++) {
        label(&l->layer[i], one);
        size_t need = strlen(one) + (i ? 2 : 0), more = i + 1 < l->count ? sizeof ", …" - 1 : 0;
        if (at + need + more >= n) { /* whole names only */
            if (at + (i ? 2 : 0) + sizeof "…" <= n)
                snprintf(out + at, n - at, "%s…", i ? ", " : "");
            return;
        }
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", one);
    }
}
