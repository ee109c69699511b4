#include "residency/residency.h"

#include <stdlib.h>
#include <string.h>

const uint8_t lt_residency_selection[10] = {0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0xff, 0x00};

#define TAG 16
#define VERSION 1
#define RECORD_VERSION 2 /* with the openers' digest */

/* Tags are ASCII, zero-padded to 16 bytes. */
static const char tag_evidence[TAG] = "LT1:EVIDENCE";
static const char tag_commitment[TAG] = "LT1:COMMITMENT";
static const char tag_resident[TAG] = "LT1:RESIDENT";
static const char tag_host_quote[TAG] = "LT1:HOST-QUOTE";
static const char tag_ak_host[TAG] = "LT1:AK-HOST";

/* A cursor over storage whose size the format fixes. */
static uint8_t *put(uint8_t *to, const void *p, size_t n)
{
    memcpy(to, p, n);
    return to + n;
}

static uint8_t *put_u16(uint8_t *to, uint16_t v)
{
    lt_put_u16(to, v);
    return to + 2;
}

static uint8_t *put_u32(uint8_t *to, uint32_t v)
{
    lt_put_u32(to, v);
    return to + 4;
}

static uint8_t *put_u64(uint8_t *to, uint64_t v)
{
    lt_put_u64(to, v);
    return to + 8;
}

void lt_residency_evidence_digest(struct lt_slice attest, struct lt_slice signature, uint8_t out[32])
{
    uint8_t attest_n[2], signature_n[2];

    lt_put_u16(attest_n, (uint16_t)attest.n);
    lt_put_u16(signature_n, (uint16_t)signature.n);
    struct lt_slice parts[] = {
        {(const uint8_t *)tag_evidence, TAG}, {attest_n, 2}, attest, {signature_n, 2}, signature,
    };
    lt_hash(LT_HASH_SHA256, parts, sizeof parts / sizeof *parts, out);
}

void lt_residency_commitment(const uint8_t tenant_id[16], const uint8_t guest_uuid[16],
                             const uint8_t ek_digest[32], const uint8_t ak_name[LT_TPM_NAME],
                             const char nonce[LT_RESIDENCY_NONCE], const uint8_t evidence[32],
                             uint8_t out[32])
{
    uint8_t preimage[TAG + 2 + 16 + 16 + 32 + LT_TPM_NAME + LT_RESIDENCY_NONCE + 32], *p = preimage;

    p = put(p, tag_commitment, TAG);
    p = put_u16(p, VERSION);
    p = put(p, tenant_id, 16);
    p = put(p, guest_uuid, 16);
    p = put(p, ek_digest, 32);
    p = put(p, ak_name, LT_TPM_NAME);
    p = put(p, nonce, LT_RESIDENCY_NONCE);
    p = put(p, evidence, 32);
    lt_sha256(preimage, (size_t)(p - preimage), out);
}

/* The first fields of record and header. */
static int tag_and_version(struct lt_reader *r, const char tag[TAG], uint16_t newest, uint16_t *version,
                           struct lt_err *e)
{
    LT_TRY(lt_read_expect(r, tag, TAG, e));
    LT_TRY(lt_read_u16(r, version, e));
    if (*version < VERSION || *version > newest)
        return lt_fail(e, LT_E_UNSUPPORTED, "%s at byte %d: version %u, only up to %u is known", r->what, TAG,
                       *version, newest);
    return 0;
}

size_t lt_residency_record_write(const struct lt_residency_record *r, uint8_t out[LT_RESIDENCY_RECORD])
{
    const bool sealed = r->version == RECORD_VERSION;
    uint8_t *p = put_u16(put(out, tag_resident, TAG), sealed ? RECORD_VERSION : VERSION);

    p = put(p, r->guest_uuid, 16);
    p = put(p, r->ek_digest, 32);
    p = put(p, r->incarnation, LT_RESIDENCY_INCARNATION);
    p = put_u32(p, r->start_reset);
    p = put_u32(p, r->start_restart);
    p = put_u64(p, r->start_clock_ms);
    p = put(p, r->firmware_digest, 32);
    p = put(p, r->domain_digest, 32);
    p = put_u32(p, r->flags);
    p = put(p, r->previous_host_ak_name, LT_TPM_NAME);
    if (sealed)
        p = put(p, r->openers_digest, 32);
    return (size_t)(p - out);
}

int lt_residency_record_parse(const void *p, size_t n, struct lt_residency_record *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, "residency record");
    struct lt_residency_record v = {0};

    memset(out, 0, sizeof *out);
    LT_TRY(tag_and_version(&r, tag_resident, RECORD_VERSION, &v.version, e));
    LT_TRY(lt_read_copy(&r, v.guest_uuid, 16, e));
    LT_TRY(lt_read_copy(&r, v.ek_digest, 32, e));
    LT_TRY(lt_read_copy(&r, v.incarnation, LT_RESIDENCY_INCARNATION, e));
    LT_TRY(lt_read_u32(&r, &v.start_reset, e));
    LT_TRY(lt_read_u32(&r, &v.start_restart, e));
    LT_TRY(lt_read_u64(&r, &v.start_clock_ms, e));
    LT_TRY(lt_read_copy(&r, v.firmware_digest, 32, e));
    LT_TRY(lt_read_copy(&r, v.domain_digest, 32, e));
    LT_TRY(lt_read_u32(&r, &v.flags, e));
    LT_TRY(lt_read_copy(&r, v.previous_host_ak_name, LT_TPM_NAME, e));
    if (v.version == RECORD_VERSION)
        LT_TRY(lt_read_copy(&r, v.openers_digest, 32, e));
    LT_TRY(lt_reader_end(&r, e));
    *out = v;
    return 0;
}

void lt_residency_header_write(const struct lt_residency_header *h, uint8_t out[LT_RESIDENCY_HEADER])
{
    uint8_t *p = put_u16(put(out, tag_host_quote, TAG), VERSION);

    p = put_u16(p, LT_HASH_SHA256);
    p = put(p, h->host_id, LT_RESIDENCY_HOST_ID);
    p = put_u64(p, h->batch_seq);
    p = put_u32(p, h->n);
    p = put(p, h->batch_root, 32);
    p = put_u64(p, h->inventory_seq);
    p = put_u32(p, h->m);
    p = put(p, h->inventory_root, 32);
    p = put(p, h->policy_digest, 32);
    p = put_u64(p, h->ima_count);
    put_u32(p, h->flags);
}

int lt_residency_header_parse(const void *p, size_t n, struct lt_residency_header *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, "host-quote header");
    struct lt_residency_header v;
    uint16_t version, alg;

    memset(out, 0, sizeof *out);
    LT_TRY(tag_and_version(&r, tag_host_quote, VERSION, &version, e));
    LT_TRY(lt_read_u16(&r, &alg, e));
    if (alg != LT_HASH_SHA256)
        return lt_fail(e, LT_E_UNSUPPORTED,
                       "host-quote header at byte %d: hash algorithm 0x%04x, only 0x000b", TAG + 2, alg);
    LT_TRY(lt_read_copy(&r, v.host_id, LT_RESIDENCY_HOST_ID, e));
    LT_TRY(lt_read_u64(&r, &v.batch_seq, e));
    LT_TRY(lt_read_u32(&r, &v.n, e));
    LT_TRY(lt_read_copy(&r, v.batch_root, 32, e));
    LT_TRY(lt_read_u64(&r, &v.inventory_seq, e));
    LT_TRY(lt_read_u32(&r, &v.m, e));
    LT_TRY(lt_read_copy(&r, v.inventory_root, 32, e));
    LT_TRY(lt_read_copy(&r, v.policy_digest, 32, e));
    LT_TRY(lt_read_u64(&r, &v.ima_count, e));
    LT_TRY(lt_read_u32(&r, &v.flags, e));
    LT_TRY(lt_reader_end(&r, e));
    if (v.n < 1 || v.n > LT_MAX_BATCH)
        return lt_fail(e, LT_E_MALFORMED, "host-quote header: batch of %u, not 1 to %u", v.n, LT_MAX_BATCH);
    if (v.m > LT_MAX_INVENTORY)
        return lt_fail(e, LT_E_MALFORMED, "host-quote header: inventory of %u > %u", v.m, LT_MAX_INVENTORY);
    *out = v;
    return 0;
}

int lt_residency_inventory_tree(const struct lt_residency_record *records, uint32_t count,
                                struct lt_merkle **out, struct lt_err *e)
{
    *out = NULL;
    if (count > LT_MAX_INVENTORY)
        return lt_fail(e, LT_E_TOO_LARGE, "inventory: %u records > %u", count, LT_MAX_INVENTORY);
    LT_AUTOFREE uint8_t(*leaves)[LT_MERKLE_NODE] = calloc(count ? count : 1, LT_MERKLE_NODE);
    if (!leaves)
        return lt_fail(e, LT_E_NO_MEMORY, "inventory: no memory for %u leaves", count);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t bytes[LT_RESIDENCY_RECORD];
        if (i && memcmp(records[i - 1].ek_digest, records[i].ek_digest, 32) >= 0)
            return lt_fail(e, LT_E_REFUSED, "inventory: record %u is not above record %u by ek_digest", i,
                           i - 1);
        lt_merkle_leaf(bytes, lt_residency_record_write(&records[i], bytes), leaves[i]);
    }
    return lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, count, out, e);
}

void lt_residency_ak_host_event(const uint8_t ak_name[LT_TPM_NAME], uint8_t out[32])
{
    lt_sha256_2(tag_ak_host, TAG, ak_name, LT_TPM_NAME, out);
}

void lt_residency_ak_host_pcr(const uint8_t ak_name[LT_TPM_NAME], uint8_t out[32])
{
    uint8_t zeros[32] = {0}, event[32];

    lt_residency_ak_host_event(ak_name, event);
    lt_sha256_2(zeros, sizeof zeros, event, sizeof event, out);
}

int lt_residency_host_id(const struct lt_public *ek, uint8_t out[LT_RESIDENCY_HOST_ID], struct lt_err *e)
{
    uint8_t digest[32];

    memset(out, 0, LT_RESIDENCY_HOST_ID);
    int rc = lt_public_ek_digest(ek, digest, e);
    if (!rc)
        memcpy(out, digest, LT_RESIDENCY_HOST_ID);
    return rc;
}
