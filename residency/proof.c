#include "residency/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A base64 string that must decode to exactly n bytes. */
static int base64_exact(const json_t *j, const char *key, void *out, size_t n, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t got;
    LT_TRY(lt_json_base64(j, key, n, &p, &got, e));
    if (got != n)
        return lt_fail(e, LT_E_MALFORMED, "JSON \"%s\": %zu bytes, not %zu", key, got, n);
    memcpy(out, p, n);
    return 0;
}

void lt_residency_host_quote_free(struct lt_residency_host_quote *q)
{
    free(q->attest);
    free(q->signature);
    memset(q, 0, sizeof *q);
}

int lt_residency_host_quote_from_json(const json_t *j, struct lt_residency_host_quote *out, struct lt_err *e)
{
    json_t *pcrs;

    memset(out, 0, sizeof *out);
    int rc = base64_exact(j, "header", out->header, LT_RESIDENCY_HEADER, e);
    if (!rc)
        rc = lt_json_base64(j, "attest", LT_MAX_ATTEST, &out->attest, &out->attest_n, e);
    if (!rc)
        rc = lt_json_base64(j, "signature", LT_MAX_SIGNATURE, &out->signature, &out->signature_n, e);
    if (!rc)
        rc = lt_json_object(j, "pcrs", &pcrs, e);
    if (!rc)
        rc = lt_residency_pcrs_from_json(pcrs, LT_HASH_SHA256, &out->pcrs, e);
    if (!rc && out->pcrs.mask != LT_RESIDENCY_HOST_PCR_MASK)
        rc = lt_fail(e, LT_E_MALFORMED, "host quote: PCR values of mask 0x%06x, not 0x%06x", out->pcrs.mask,
                     LT_RESIDENCY_HOST_PCR_MASK);
    if (rc)
        lt_residency_host_quote_free(out);
    return rc;
}

json_t *lt_residency_host_quote_to_json(const struct lt_residency_host_quote *q)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "header", lt_json_new_base64(q->header, LT_RESIDENCY_HEADER),
                     "attest", lt_json_new_base64(q->attest, q->attest_n), "signature",
                     lt_json_new_base64(q->signature, q->signature_n), "pcrs",
                     lt_residency_pcrs_to_json(&q->pcrs));
}

int lt_residency_path_from_json(const json_t *j, struct lt_merkle_path *out, struct lt_err *e)
{
    json_t *nodes, *node;
    int64_t index;
    size_t i;

    memset(out, 0, sizeof *out);
    LT_TRY(lt_json_int(j, "index", 0, UINT32_MAX, &index, e));
    LT_TRY(lt_json_array(j, "path", LT_MAX_PATH, &nodes, e));
    json_array_foreach(nodes, i, node)
    {
        if (lt_unhex(json_string_value(node), out->nodes[i], LT_MERKLE_NODE, e)) {
            memset(out, 0, sizeof *out);
            return lt_fail_in(e, e->code, "path node %zu", i);
        }
    }
    out->index = (uint32_t)index;
    out->count = (unsigned)json_array_size(nodes);
    return 0;
}

json_t *lt_residency_path_to_json(const struct lt_merkle_path *p)
{
    json_t *nodes = json_array();

    for (unsigned i = 0; i < p->count; i++)
        json_array_append_new(nodes, lt_json_new_hex(p->nodes[i], LT_MERKLE_NODE));
    return json_pack("{s:I, s:o}", "index", (json_int_t)p->index, "path", nodes);
}

/* Of either version's length; which it is must agree with its bytes, as whoever parses them finds out. */
static int read_record(const json_t *j, struct lt_proof *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;

    LT_TRY(lt_json_base64(j, "record", LT_RESIDENCY_RECORD, &p, &out->record_n, e));
    if (out->record_n != LT_RESIDENCY_RECORD_1 && out->record_n != LT_RESIDENCY_RECORD)
        return lt_fail(e, LT_E_MALFORMED, "record: %zu bytes, not %d or %d", out->record_n,
                       LT_RESIDENCY_RECORD_1, LT_RESIDENCY_RECORD);
    memcpy(out->record, p, out->record_n);
    return 0;
}

int lt_proof_from_json(const json_t *j, struct lt_proof *out, struct lt_err *e)
{
    json_t *batch, *residency;

    memset(out, 0, sizeof *out);
    int rc = lt_json_object(j, "batch", &batch, e);
    if (!rc && lt_residency_path_from_json(batch, &out->batch, e))
        rc = lt_fail_in(e, e->code, "batch");
    if (!rc && !json_is_null(json_object_get(j, "residency"))) {
        rc = lt_json_object(j, "residency", &residency, e);
        if (!rc &&
            (lt_residency_path_from_json(residency, &out->residency, e) || read_record(residency, out, e)))
            rc = lt_fail_in(e, e->code, "residency");
        out->resident = !rc;
    }
    if (rc)
        memset(out, 0, sizeof *out);
    return rc;
}

json_t *lt_proof_to_json(const struct lt_proof *p)
{
    json_t *residency = json_null();

    if (p->resident) {
        residency = lt_residency_path_to_json(&p->residency);
        json_object_set_new(residency, "record", lt_json_new_base64(p->record, p->record_n));
    }
    return json_pack("{s:o, s:o}", "batch", lt_residency_path_to_json(&p->batch), "residency", residency);
}

/* "0" to "23", no signs, no leading zeros; -1: not an index. */
static int pcr_index(const char *s)
{
    if (s[0] < '0' || s[0] > '9' || (s[0] == '0' && s[1]) || strlen(s) > 2 ||
        (s[1] && (s[1] < '0' || s[1] > '9')))
        return -1;
    int i = s[1] ? (s[0] - '0') * 10 + (s[1] - '0') : s[0] - '0';
    return i < LT_MAX_PCRS ? i : -1;
}

int lt_residency_pcrs_from_json(const json_t *j, uint16_t alg, struct lt_pcrs *out, struct lt_err *e)
{
    const char *key;
    json_t *value;

    memset(out, 0, sizeof *out);
    if (!json_is_object(j) || !lt_hash_size(alg))
        return lt_fail(e, LT_E_MALFORMED, "PCR values: not an object, or bank 0x%04x is not known", alg);
    json_object_foreach((json_t *)j, key, value)
    {
        int i = pcr_index(key);
        if (i < 0 || lt_unhex(json_string_value(value), out->value[i < 0 ? 0 : i], lt_hash_size(alg), e)) {
            memset(out, 0, sizeof *out);
            return lt_fail(e, LT_E_MALFORMED, "PCR values: \"%.20s\" is no PCR, or its value no digest of %s",
                           key, lt_hash_name(alg));
        }
        out->mask |= 1u << i;
    }
    out->alg = alg;
    return 0;
}

json_t *lt_residency_pcrs_to_json(const struct lt_pcrs *p)
{
    json_t *o = json_object();

    for (int i = 0; i < LT_MAX_PCRS; i++) {
        char key[12];
        if (!(p->mask >> i & 1))
            continue;
        snprintf(key, sizeof key, "%d", i);
        json_object_set_new(o, key, lt_json_new_hex(p->value[i], lt_hash_size(p->alg)));
    }
    return o;
}

uint16_t lt_residency_pcrs_bank(const json_t *j)
{
    const json_t *first = json_object_iter_value(json_object_iter((json_t *)j));

    return json_string_length(first) == 2 * LT_SHA384 ? LT_HASH_SHA384 : LT_HASH_SHA256;
}
