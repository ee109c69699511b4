#include "tests/support/mock_host.h"

#include "residency/activation.h"
#include "tests/support/softkey.h"
#include "tpm/attest.h"
#include "tpm/credential.h"

/* What runs on the threads of several agents has an error of its own. */
#define MUST(call) assert_int_equal((call), 0)

static const struct soft_shape ak_shape = {LT_HASH_SHA256, LT_TPM_AK_HOST_ATTRIBUTES, 0, LT_TPM_ALG_ECDSA,
                                           LT_HASH_SHA256};

void mock_host_init(struct mock_host *h)
{
    mock_host_from(h, soft_ecc("P-256"), soft_ecc("P-256"));
}

void mock_host_from(struct mock_host *h, EVP_PKEY *ek_key, EVP_PKEY *ak_key)
{
    uint8_t name[LT_TPM_NAME];

    *h = (struct mock_host){.ek_key = ek_key, .ak_key = ak_key, .reset_count = 7};
    soft_parse(h->ek_key, &soft_ek, &h->ek);
    soft_parse(h->ak_key, &ak_shape, &h->ak);
    OK(lt_residency_host_id(&h->ek, h->host_id, &err));
    OK(lt_public_ek_digest(&h->ek, h->ek_digest, &err));
    OK(lt_public_name(&h->ak, name, &err));
    h->pcrs.alg = LT_HASH_SHA256;
    h->pcrs.mask = LT_RESIDENCY_HOST_PCR_MASK;
    for (unsigned i = 0; i < 10; i++)
        lt_sha256(&i, sizeof i, h->pcrs.value[i]);
    lt_residency_ak_host_pcr(name, h->pcrs.value[LT_RESIDENCY_AK_PCR]);
    mock_host_populate(h, 0, 0);
}

void mock_host_free(struct mock_host *h)
{
    EVP_PKEY_free(h->ek_key);
    EVP_PKEY_free(h->ak_key);
    free(h->records);
    free(h->ek_certificate);
    lt_merkle_free(h->tree);
}

void mock_uuid(uint32_t number, uint8_t out[16])
{
    memset(out, 0, 16);
    out[6] = 0x40;
    out[8] = 0x80;
    lt_put_u32(out + 12, number);
}

static int by_ek(const void *a, const void *b)
{
    return memcmp(((const struct lt_residency_record *)a)->ek_digest,
                  ((const struct lt_residency_record *)b)->ek_digest, 32);
}

void mock_host_populate(struct mock_host *h, uint32_t first, uint32_t count)
{
    free(h->records);
    lt_merkle_free(h->tree);
    h->records = calloc(count + 1, sizeof *h->records);
    h->count = count;
    h->inventory_seq++;
    for (uint32_t i = 0; i < count; i++) {
        struct lt_residency_record *r = &h->records[i];
        mock_uuid(first + i, r->guest_uuid);
        lt_sha256(r->guest_uuid, 16, r->ek_digest);
        memcpy(r->incarnation, r->ek_digest, sizeof r->incarnation);
        r->start_reset = h->reset_count;
        r->flags = LT_RESIDENCY_RUNNING;
    }
    qsort(h->records, count, sizeof *h->records, by_ek);
    OK(lt_residency_inventory_tree(h->records, count, &h->tree, &err));
}

void mock_host_seal(struct mock_host *h, uint32_t guest, const uint8_t openers[32])
{
    uint8_t uuid[16];

    mock_uuid(guest, uuid);
    for (uint32_t i = 0; i < h->count; i++)
        if (!memcmp(h->records[i].guest_uuid, uuid, sizeof uuid)) {
            h->records[i].version = 2;
            h->records[i].flags |= LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED;
            memcpy(h->records[i].openers_digest, openers, 32);
        }
    lt_merkle_free(h->tree);
    h->inventory_seq++;
    OK(lt_residency_inventory_tree(h->records, h->count, &h->tree, &err));
}

json_t *mock_host_inventory(const struct mock_host *h)
{
    json_t *records = json_array();
    uint8_t raw[LT_RESIDENCY_RECORD];

    for (uint32_t i = 0; i < h->count; i++) {
        size_t n = lt_residency_record_write(&h->records[i], raw);
        json_array_append_new(records, lt_json_new_base64(raw, n));
    }
    return json_pack("{s:I, s:o, s:o}", "seq", (json_int_t)h->inventory_seq, "root",
                     lt_json_new_hex(lt_merkle_root(h->tree), LT_MERKLE_NODE), "records", records);
}

json_t *mock_host_describe(const struct mock_host *h)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "host", lt_json_new_hex(h->host_id, 16), "ak",
                     lt_json_new_base64(h->ak.raw, h->ak.raw_n), "ek",
                     lt_json_new_base64(h->ek.raw, h->ek.raw_n), "ek_certificates",
                     h->ek_certificate ? json_pack("[s]", h->ek_certificate) : json_array(), "batch_seq",
                     (json_int_t)h->last_batch_seq, "inventory", mock_host_inventory(h));
}

void mock_host_header(const struct mock_host *h, const json_t *ask, struct lt_residency_header *out)
{
    struct lt_err e;
    int64_t n, seq;

    *out = (struct lt_residency_header){.inventory_seq = h->inventory_seq, .m = h->count};
    memcpy(out->host_id, h->host_id, 16);
    MUST(lt_json_int(ask, "n", 1, LT_MAX_BATCH, &n, &e));
    MUST(lt_json_int(ask, "batch_seq", 1, INT64_MAX, &seq, &e));
    MUST(lt_json_hex(ask, "batch_root", out->batch_root, 32, &e));
    MUST(lt_json_hex(ask, "policy_digest", out->policy_digest, 32, &e));
    out->n = (uint32_t)n;
    out->batch_seq = (uint64_t)seq;
    memcpy(out->inventory_root, lt_merkle_root(h->tree), 32);
}

static void write_attest(const struct mock_host *h, const uint8_t *header, struct lt_buf *b)
{
    struct lt_err e;
    uint8_t name[LT_TPM_NAME], digest[32];

    MUST(lt_tpm_qualified_name(&h->ek, &h->ak, name, &e));
    lt_buf_u32(b, LT_TPM_GENERATED);
    lt_buf_u16(b, LT_TPM_ST_ATTEST_QUOTE);
    lt_buf_put16(b, name, sizeof name);
    lt_sha256(header, LT_RESIDENCY_HEADER, digest);
    lt_buf_put16(b, digest, sizeof digest);
    lt_buf_u64(b, 100000 + h->quotes);
    lt_buf_u32(b, h->reset_count);
    lt_buf_u32(b, 0);
    lt_buf_u8(b, 1);
    lt_buf_u64(b, 1);
    lt_buf_put(b, "\0\0\0\1\0\x0b\3\xff\xff\0", 10);
    lt_pcrs_digest(&h->pcrs, LT_HASH_SHA256, digest);
    lt_buf_put16(b, digest, sizeof digest);
}

json_t *mock_host_quote(struct mock_host *h, const struct lt_residency_header *header)
{
    LT_AUTOBUF struct lt_buf attest = LT_BUF(LT_MAX_ATTEST), sig = LT_BUF(LT_MAX_SIGNATURE);
    struct lt_residency_host_quote q = {.pcrs = h->pcrs};

    h->quotes++;
    lt_residency_header_write(header, q.header);
    write_attest(h, q.header, &attest);
    soft_sign(h->ak_key, attest.p, attest.n, &sig);
    q.attest = attest.p;
    q.attest_n = attest.n;
    q.signature = sig.p;
    q.signature_n = sig.n;
    return lt_residency_host_quote_to_json(&q);
}

json_t *mock_host_answer(struct mock_host *h, const json_t *ask, int *status)
{
    struct lt_err e;
    struct lt_residency_header header;
    uint8_t known[32];

    mock_host_header(h, ask, &header);
    if (header.batch_seq <= h->last_batch_seq) {
        *status = 409;
        return json_pack("{s:{s:i,s:s,s:s}, s:I}", "error", "code", 409, "slug", "conflict", "message",
                         "batch_seq", "last_batch_seq", (json_int_t)h->last_batch_seq);
    }
    *status = 200;
    h->last_batch_seq = header.batch_seq;
    json_t *j = mock_host_quote(h, &header);
    if (!lt_json_has(ask, "inventory_root") || lt_json_hex(ask, "inventory_root", known, 32, &e) ||
        memcmp(known, header.inventory_root, 32))
        json_object_set_new(j, "inventory", mock_host_inventory(h));
    return j;
}

/* ---- TPM2_ActivateCredential for an ECC EK (TPM 2.0 Part 1, 24) ---- */

static bool ecdh(const struct mock_host *h, struct lt_slice x, struct lt_slice y, uint8_t z[32])
{
    uint8_t point[65] = {4};
    size_t n = 32;

    if (x.n != 32 || y.n != 32)
        return false;
    memcpy(point + 1, x.p, 32);
    memcpy(point + 33, y.p, 32);
    EVP_PKEY *peer = EVP_PKEY_new();
    EVP_PKEY_CTX *c = NULL;
    bool ok = EVP_PKEY_copy_parameters(peer, h->ek_key) == 1 &&
              EVP_PKEY_set1_encoded_public_key(peer, point, sizeof point) == 1 &&
              (c = EVP_PKEY_CTX_new(h->ek_key, NULL)) && EVP_PKEY_derive_init(c) == 1 &&
              EVP_PKEY_derive_set_peer(c, peer) == 1 && EVP_PKEY_derive(c, z, &n) == 1 && n == 32;
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(peer);
    return ok;
}

static bool open_identity(const struct mock_host *h, struct lt_slice id, struct lt_slice point,
                          uint8_t secret[32])
{
    struct lt_err e;
    struct lt_reader r = lt_reader(id.p, id.n, "id"), pr = lt_reader(point.p, point.n, "point");
    struct lt_slice mac, x, y, sealed = {0};
    uint8_t z[32], seed[32], key[16], iv[16] = {0}, plain[34], name[LT_TPM_NAME];
    int n = 0;

    if (lt_read_slice16(&r, 32, &mac, &e) || lt_read_slice(&r, 34, &sealed, &e) || lt_reader_end(&r, &e) ||
        lt_read_slice16(&pr, 32, &x, &e) || lt_read_slice16(&pr, 32, &y, &e) || !ecdh(h, x, y, z) ||
        lt_public_name(&h->ak, name, &e))
        return false;
    lt_credential_kdfe(LT_HASH_SHA256, (struct lt_slice){z, 32}, "IDENTITY", x, h->ek.x, 256, seed);
    lt_credential_kdfa(LT_HASH_SHA256, (struct lt_slice){seed, 32}, "STORAGE",
                       (struct lt_slice){name, sizeof name}, (struct lt_slice){0}, 128, key);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = EVP_DecryptInit_ex(c, EVP_aes_128_cfb128(), NULL, key, iv) == 1 &&
              EVP_DecryptUpdate(c, plain, &n, sealed.p, (int)sealed.n) == 1 && n == 34 && !plain[0] &&
              plain[1] == 32;
    EVP_CIPHER_CTX_free(c);
    memcpy(secret, plain + 2, 32);
    return ok;
}

bool mock_host_activate(const struct mock_host *h, struct lt_slice credential, const uint8_t challenge[32],
                        uint8_t proof[32])
{
    struct lt_err e;
    struct lt_slice id, point;
    uint8_t secret[32], name[LT_TPM_NAME];

    if (lt_credential_parse(credential.p, credential.n, &id, &point, &e) ||
        !open_identity(h, id, point, secret))
        return false;
    MUST(lt_public_name(&h->ak, name, &e));
    lt_activation_proof(secret, h->host_id, name, challenge, proof);
    return true;
}
