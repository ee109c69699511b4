#include "provider/render.h"

#include "provider/limits.h"

#include <stdlib.h>
#include <string.h>

static void put_uint(struct lt_buf *b, uint32_t v)
{
    char s[10];
    size_t at = sizeof s;

    do
        s[--at] = (char)('0' + v % 10);
    while (v /= 10);
    lt_buf_put(b, s + at, sizeof s - at);
}

/* "index":i,"path":["…",…] */
static void put_path(struct lt_buf *b, const struct lt_merkle_path *p)
{
    char node[2 * LT_MERKLE_NODE + 3];

    lt_buf_str(b, "\"index\":");
    put_uint(b, p->index);
    lt_buf_str(b, ",\"path\":[");
    for (unsigned i = 0; i < p->count; i++) {
        lt_hex(p->nodes[i], LT_MERKLE_NODE, node + 1);
        node[0] = node[2 * LT_MERKLE_NODE + 1] = '"';
        if (i)
            lt_buf_u8(b, ',');
        lt_buf_put(b, node, 2 * LT_MERKLE_NODE + 2);
    }
    lt_buf_u8(b, ']');
}

static int put_residency(struct lt_buf *b, const struct lt_residents *r, const struct lt_render_answers *of,
                         struct lt_err *e)
{
    uint8_t record[LT_RESIDENCY_RECORD];
    size_t record_n;
    char text[(LT_RESIDENCY_RECORD + 2) / 3 * 4 + 1];
    struct lt_merkle_path path;
    uint32_t place;

    if (!(of->ek && lt_residents_find(r, of->uuid, of->ek, &place)) &&
        !lt_residents_find(r, of->uuid, NULL, &place)) {
        lt_buf_str(b, "null");
        return 0;
    }
    LT_TRY(lt_merkle_path(r->tree, place, &path, e));
    record_n = lt_residency_record_write(&r->records[place], record);
    lt_base64(record, record_n, text);
    lt_buf_u8(b, '{');
    put_path(b, &path);
    lt_buf_str(b, ",\"record\":\"");
    lt_buf_str(b, text);
    lt_buf_str(b, "\"}");
    return 0;
}

/* "quote":…,"batch":…,"residency":…,"error":… */
static int put_answer(struct lt_buf *b, const struct lt_render_answers *of, const struct lt_render_answer *a,
                      uint32_t quote, struct lt_err *e)
{
    struct lt_merkle_path path;

    lt_buf_str(b, "\"quote\":");
    if (!a->batch) {
        lt_buf_printf(b,
                      "null,\"batch\":null,\"residency\":null,\"error\":{\"code\":%d,\"slug\":\"%s\","
                      "\"message\":\"%s\"",
                      lt_err_http(a->error.code), lt_err_slug(a->error.code), a->error.message);
        if (a->error.retry_after_s)
            lt_buf_printf(b, ",\"retry_after\":%u", a->error.retry_after_s);
        lt_buf_u8(b, '}');
        return 0;
    }
    put_uint(b, quote);
    lt_buf_str(b, ",\"batch\":{");
    int rc = lt_merkle_path(a->batch->tree, a->index, &path, e);
    if (!rc) {
        put_path(b, &path);
        lt_buf_str(b, "},\"residency\":");
        rc = put_residency(b, a->batch->residents, of, e);
    }
    lt_buf_str(b, ",\"error\":null");
    return rc;
}

static int put_item(struct lt_buf *b, const struct lt_render_answers *of, const uint32_t *quotes,
                    struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], host[33];

    lt_uuid_format(of->uuid, uuid);
    lt_buf_str(b, "{\"uuid\":\"");
    lt_buf_str(b, uuid);
    lt_buf_str(b, "\",");
    int rc = put_answer(b, of, &of->answer[0], quotes[0], e);
    for (unsigned i = 1; !rc && i < of->count; i++) {
        lt_hex(of->answer[i].host, 16, host);
        lt_buf_printf(b, "%s{\"host\":\"%s\",", i == 1 ? ",\"others\":[" : ",", host);
        rc = put_answer(b, of, &of->answer[i], quotes[i], e);
        lt_buf_str(b, i + 1 == of->count ? "}]" : "}");
    }
    lt_buf_u8(b, '}');
    return rc;
}

/* The quotes of all answers, each once; places in the array go to *at, LT_MAX_CLAIMANTS for an item. */
static void put_quotes(struct lt_buf *b, const struct lt_render_answers *items, uint32_t count, uint32_t *at,
                       const struct lt_batcher_batch **seen)
{
    uint32_t quotes = 0;

    for (uint32_t i = 0; i < count * LT_MAX_CLAIMANTS; i++) {
        const struct lt_render_answers *of = &items[i / LT_MAX_CLAIMANTS];
        const struct lt_batcher_batch *batch =
            i % LT_MAX_CLAIMANTS < of->count ? of->answer[i % LT_MAX_CLAIMANTS].batch : NULL;
        uint32_t q = quotes; /* looked for from the end: neighbours share their quote */
        while (batch && q && seen[q - 1] != batch)
            q--;
        if (batch && !q) {
            if (quotes)
                lt_buf_u8(b, ',');
            lt_buf_put(b, batch->text, batch->text_n);
            seen[quotes++] = batch;
            q = quotes;
        }
        at[i] = q - 1;
    }
}

int lt_render_proofs(const struct lt_render_answers *items, uint32_t count, char **out, size_t *n,
                     struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PROOFS_REPLY);
    LT_AUTOFREE uint32_t *at = calloc(count + 1, LT_MAX_CLAIMANTS * sizeof *at);
    LT_AUTOFREE const struct lt_batcher_batch **seen = calloc(count + 1, LT_MAX_CLAIMANTS * sizeof *seen);
    int rc = 0;

    *out = NULL;
    if (!at || !seen)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    lt_buf_str(&b, "{\"quotes\":[");
    put_quotes(&b, items, count, at, seen);
    lt_buf_str(&b, "],\"proofs\":[");
    for (uint32_t i = 0; !rc && i < count; i++) {
        if (i)
            lt_buf_u8(&b, ',');
        rc = put_item(&b, &items[i], at + i * LT_MAX_CLAIMANTS, e);
    }
    lt_buf_str(&b, "]}");
    if (!rc)
        rc = lt_buf_ok(&b, e);
    if (!rc) {
        *n = b.n;
        *out = lt_buf_take_str(&b);
        if (!*out)
            rc = lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    }
    return rc;
}
