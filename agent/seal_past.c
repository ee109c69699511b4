#include "agent/seal_past.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

static bool is(const struct lt_openers *o, const uint8_t digest[LT_SHA256])
{
    uint8_t own[LT_SHA256];

    return !lt_openers_digest(o, own, LT_NO_ERR) && !memcmp(own, digest, LT_SHA256);
}

static void add(struct lt_agent_seal_past *p, const struct lt_openers *o, const uint8_t digest[LT_SHA256])
{
    struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);

    lt_openers_write(o, &b);
    if (b.failed) {
        lt_buf_free(&b);
        return;
    }
    if (!p->list)
        p->list = lt_alloc(LT_AGENT_SEAL_PAST_MAX, sizeof *p->list);
    struct lt_agent_seal_past_list *at = &p->list[p->added++ % LT_AGENT_SEAL_PAST_MAX];
    free(at->p);
    memcpy(at->digest, digest, LT_SHA256);
    at->p = b.p;
    at->n = b.n;
}

void lt_agent_seal_past_add(struct lt_agent_seal_past *p, const struct lt_agent_seal_content *was,
                            const struct lt_agent_seal_content *now)
{
    for (uint32_t i = 0; i < was->count; i++) {
        const struct lt_seal_entry *x = &was->entries[i];
        const uint32_t at = lt_agent_seal_content_find(now, x->uuid);
        uint8_t digest[LT_SHA256];
        if (lt_openers_digest(&x->openers, digest, LT_NO_ERR) ||
            (at < now->count && is(&now->entries[at].openers, digest)))
            continue;
        add(p, &x->openers, digest);
    }
}

bool lt_agent_seal_past_find(const struct lt_agent_seal_past *p, const struct lt_agent_seal_content *now,
                             const uint8_t digest[LT_SHA256], struct lt_buf *out)
{
    for (uint32_t i = 0; i < now->count; i++) {
        if (!is(&now->entries[i].openers, digest))
            continue;
        lt_openers_write(&now->entries[i].openers, out);
        return true;
    }
    for (size_t i = 0; p->list && i < LT_AGENT_SEAL_PAST_MAX && p->list[i].p; i++) {
        if (memcmp(p->list[i].digest, digest, LT_SHA256))
            continue;
        lt_buf_put(out, p->list[i].p, p->list[i].n);
        return true;
    }
    return false;
}

void lt_agent_seal_past_free(struct lt_agent_seal_past *p)
{
    for (size_t i = 0; p->list && i < LT_AGENT_SEAL_PAST_MAX; i++)
        free(p->list[i].p);
    free(p->list);
    *p = (struct lt_agent_seal_past){0};
}
