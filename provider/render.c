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
static void put_path(struct lt_buf *b, const struct lt_path *p)
{
    char node[2 * LT_NODE + 3];

    lt_buf_str(b, "\"index\":");
    put_uint(b, p->index);
    lt_buf_str(b, ",\"path\":[");
    for (unsigned i = 0; i < p->count; i++) {
        lt_hex(p->nodes[i], LT_NODE, node + 1);
        node[0] = node[2 * LT_NODE + 1] = '"';
        if (i)
            lt_buf_u8(b, ',');
        lt_buf_put(b, node, 2 * LT_NODE + 2);
    }
    lt_buf_u8(b, ']');
}

static int put_residency(struct lt_buf *b, const struct lt_residents *r, const uint8_t uuid[16], struct lt_err *e)
{
    uint8_t record[LT_RECORD];
    char text[(LT_RECORD + 2) / 3 * 4 + 1];
    struct lt_path path;
    uint32_t place;

    if (!lt_residents_find(r, uuid, &place)) {
        lt_buf_str(b, "null");
        return 0;
    }
    int rc = lt_merkle_path(r->tree, place, &path, e);
    if (rc)
        return rc;
    lt_record_write(&r->records[place], record);
    lt_base64(record, sizeof record, text);
    lt_buf_u8(b, '{');
    put_path(b, &path);
    lt_buf_str(b, ",\"record\":\"");
    lt_buf_str(b, text);
    lt_buf_str(b, "\"}");
    return 0;
}

static int put_proof(struct lt_buf *b, const struct lt_answer *a, uint32_t quote, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT];
    struct lt_path path;
    int rc = 0;

    lt_uuid_format(a->uuid, uuid);
    lt_buf_str(b, "{\"uuid\":\"");
    lt_buf_str(b, uuid);
    lt_buf_str(b, "\",\"quote\":");
    if (!a->batch) {
        lt_buf_printf(b, "null,\"batch\":null,\"residency\":null,\"error\":{\"code\":%d,\"slug\":\"%s\",\"message\":\"%s\"",
                      lt_err_http(a->error.code), lt_err_slug(a->error.code), a->error.message);
        if (a->error.retry_after_s)
            lt_buf_printf(b, ",\"retry_after\":%u", a->error.retry_after_s);
        lt_buf_str(b, "}}");
        return 0;
    }
    put_uint(b, quote);
    lt_buf_str(b, ",\"batch\":{");
    rc = lt_merkle_path(a->batch->tree, a->index, &path, e);
    if (!rc) {
        put_path(b, &path);
        lt_buf_str(b, "},\"residency\":");
        rc = put_residency(b, a->batch->residents, a->uuid, e);
    }
    lt_buf_str(b, ",\"error\":null}");
    return rc;
}

int lt_render_proofs(const struct lt_answer *const *answers, uint32_t count, char **out, size_t *n, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PROOFS_REPLY);
    LT_AUTOFREE uint32_t *quote = calloc(count + 1, sizeof *quote);
    LT_AUTOFREE const struct lt_batch **seen = calloc(count + 1, sizeof *seen);
    uint32_t quotes = 0;
    int rc = 0;

    *out = NULL;
    if (!quote || !seen)
        return lt_fail(e, LT_E_NO_MEMORY, "proofs: no memory");
    lt_buf_str(&b, "{\"quotes\":[");
    for (uint32_t i = 0; i < count; i++) {
        const struct lt_batch *batch = answers[i]->batch;
        uint32_t q = quotes; /* looked for from the end: neighbours share their quote */
        while (q && seen[q - 1] != batch)
            q--;
        if (batch && !q) {
            if (quotes)
                lt_buf_u8(&b, ',');
            lt_buf_put(&b, batch->text, batch->text_n);
            seen[quotes++] = batch;
            q = quotes;
        }
        quote[i] = q - 1;
    }
    lt_buf_str(&b, "],\"proofs\":[");
    for (uint32_t i = 0; !rc && i < count; i++) {
        if (i)
            lt_buf_u8(&b, ',');
        rc = put_proof(&b, answers[i], quote[i], e);
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
