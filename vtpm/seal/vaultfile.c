#include "vtpm/seal/vaultfile.h"

#include "common/openssl.h"

#include <stdlib.h>
#include <string.h>

#define TAG 16
#define VERSION 1
#define HEAD (TAG + 2 + 2 + LT_SHA256 + LT_TPM_NAME + 8) /* VAULT before the compartments */
#define TRAILER 2                                        /* behind the entries of the plaintext */

LT_DEFINE_AUTO_OF(EVP_CIPHER_CTX, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free);

static const char tag_vault[TAG] = "LT1:VAULT";
static const char tag_key[TAG] = "LT1:VAULT-KEY";

/* ---- the file's frame ---- */

static int read_head(struct lt_reader *r, struct lt_seal_vault *v, struct lt_err *e)
{
    uint16_t version, count;

    LT_TRY(lt_read_expect(r, tag_vault, TAG, e));
    LT_TRY(lt_read_u16(r, &version, e));
    if (version != VERSION)
        return lt_fail(e, LT_E_UNSUPPORTED, "vault: version %u, only %d is known", version, VERSION);
    LT_TRY(lt_read_u16(r, &count, e));
    if (!count || count > LT_MAX_COMPARTMENTS)
        return lt_fail(e, LT_E_MALFORMED, "vault: %u compartments, not 1 to %d", count, LT_MAX_COMPARTMENTS);
    v->count = count;
    LT_TRY(lt_read_copy(r, v->host_ek_digest, LT_SHA256, e));
    LT_TRY_IN(lt_read_expect(r, lt_seal_key_nv_name, LT_TPM_NAME, e), e, "the counter's Name");
    return lt_read_u64(r, &v->generation, e);
}

static int read_states(struct lt_reader *r, struct lt_seal_key_states *out, struct lt_err *e)
{
    struct lt_pcrs state;
    uint8_t count;

    out->count = 0;
    LT_TRY(lt_read_u8(r, &count, e));
    if (!count || count > LT_MAX_SEAL_STATES)
        return lt_fail(e, LT_E_MALFORMED, "%u states, not 1 to %d", count, LT_MAX_SEAL_STATES);
    while (out->count < count) {
        LT_TRY_IN(lt_openers_state_read(r, &state, e), e, "state %u", out->count);
        if (lt_seal_key_find(out, &state) < out->count)
            return lt_fail(e, LT_E_MALFORMED, "state %u is there already", out->count);
        out->state[out->count++] = state;
    }
    return 0;
}

static struct lt_slice since(const struct lt_reader *r, size_t at)
{
    return (struct lt_slice){r->p + at, r->at - at};
}

/* A TPM2B with its size field. */
static int read_sized(struct lt_reader *r, size_t max, struct lt_slice *out, struct lt_err *e)
{
    const size_t at = r->at;
    struct lt_slice inner;

    LT_TRY(lt_read_slice16(r, max, &inner, e));
    *out = since(r, at);
    return 0;
}

static int read_compartment(struct lt_reader *r, struct lt_seal_vault_compartment *c, struct lt_err *e)
{
    const size_t at = r->at;
    struct lt_seal_key_states states;
    uint32_t n;

    LT_TRY(read_states(r, &states, e));
    c->states = since(r, at);
    LT_TRY(read_sized(r, LT_MAX_PUBLIC - 2, &c->public, e));
    LT_TRY(read_sized(r, LT_SEAL_VAULT_PRIVATE - 2, &c->private, e));
    LT_TRY(lt_read_slice(r, LT_SEAL_VAULT_NONCE, &c->nonce, e));
    c->head = since(r, at);
    LT_TRY(lt_read_u32(r, &n, e));
    LT_TRY(lt_read_slice(r, n, &c->cipher, e));
    return lt_read_slice(r, LT_SEAL_VAULT_TAG, &c->tag, e);
}

int lt_seal_vault_parse(const void *p, size_t n, struct lt_seal_vault *out, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p, n, "vault");

    memset(out, 0, sizeof *out);
    if (n > LT_MAX_VAULT)
        return lt_fail(e, LT_E_TOO_LARGE, "vault: %zu bytes > %u", n, LT_MAX_VAULT);
    LT_TRY(read_head(&r, out, e));
    out->head = since(&r, 0);
    for (unsigned i = 0; i < out->count; i++)
        LT_TRY_IN(read_compartment(&r, &out->one[i], e), e, "vault: compartment %u", i);
    return lt_reader_end(&r, e);
}

void lt_seal_vault_states(const struct lt_seal_vault_compartment *c, struct lt_seal_key_states *out)
{
    struct lt_reader r = lt_reader(c->states.p, c->states.n, "states");

    if (read_states(&r, out, LT_NO_ERR)) /* parsed before */
        abort();
}

static void put_head(const struct lt_seal_vault_draft *d, struct lt_buf *b)
{
    lt_buf_put(b, tag_vault, TAG);
    lt_buf_u16(b, VERSION);
    lt_buf_u16(b, 1);
    lt_buf_put(b, d->host_ek_digest, LT_SHA256);
    lt_buf_put(b, lt_seal_key_nv_name, LT_TPM_NAME);
    lt_buf_u64(b, d->generation);
}

static void put_compartment_head(const struct lt_seal_vault_draft *d,
                                 const uint8_t nonce[LT_SEAL_VAULT_NONCE], struct lt_buf *b)
{
    lt_buf_u8(b, (uint8_t)d->states->count);
    for (unsigned i = 0; i < d->states->count; i++)
        lt_openers_state_write(&d->states->state[i], b);
    lt_buf_put(b, d->public.p, d->public.n);
    lt_buf_put(b, d->private.p, d->private.n);
    lt_buf_put(b, nonce, LT_SEAL_VAULT_NONCE);
}

/* ---- AES-256-GCM ---- */

static bool feed(EVP_CIPHER_CTX *x, uint8_t *out, struct lt_slice in)
{
    int done;

    return !in.n || (EVP_CipherUpdate(x, out, &done, in.p, (int)in.n) == 1 && (size_t)done == in.n);
}

/* tag: written when sealing, compared when opening. in.n is below LT_MAX_VAULT. */
static bool gcm(bool seal, const uint8_t km[LT_SHA256], const uint8_t *nonce, const struct lt_slice aad[3],
                struct lt_slice in, uint8_t *out, uint8_t tag[LT_SEAL_VAULT_TAG])
{
    LT_AUTO(EVP_CIPHER_CTX) EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    uint8_t key[LT_SHA256], end[16];
    int n;

    lt_hmac(LT_HASH_SHA256, km, LT_SHA256, tag_key, TAG, key);
    bool ok = x && EVP_CipherInit_ex(x, EVP_aes_256_gcm(), NULL, key, nonce, seal) == 1;
    lt_wipe(key, sizeof key);
    for (int i = 0; ok && i < 3; i++)
        ok = feed(x, NULL, aad[i]);
    ok = ok && feed(x, out, in);
    if (ok && !seal)
        ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, LT_SEAL_VAULT_TAG, tag) == 1;
    ok = ok && EVP_CipherFinal_ex(x, end, &n) == 1 && !n;
    return ok && (!seal || EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, LT_SEAL_VAULT_TAG, tag) == 1);
}

int lt_seal_vault_seal(const struct lt_seal_vault_draft *d, const uint8_t km[LT_SHA256],
                       struct lt_slice plain, struct lt_buf *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf head = LT_BUF(HEAD), body = LT_BUF(LT_MAX_VAULT);
    uint8_t nonce[LT_SEAL_VAULT_NONCE], tag[LT_SEAL_VAULT_TAG], number[2] = {0, 0};

    if (plain.n > LT_MAX_VAULT)
        return lt_fail(e, LT_E_TOO_LARGE, "vault: %zu bytes of entries > %u", plain.n, LT_MAX_VAULT);
    LT_AUTOFREE uint8_t *cipher = malloc(plain.n + 1);
    if (!cipher)
        return lt_fail(e, LT_E_NO_MEMORY, "vault: no memory for %zu bytes", plain.n);
    lt_random(nonce, sizeof nonce);
    put_head(d, &head);
    put_compartment_head(d, nonce, &body);
    LT_TRY(lt_buf_ok(&head, e));
    LT_TRY(lt_buf_ok(&body, e));
    const struct lt_slice aad[3] = {{head.p, head.n}, {number, sizeof number}, {body.p, body.n}};
    lt_openssl_begin();
    if (!gcm(true, km, nonce, aad, plain, cipher, tag))
        return lt_fail(e, lt_openssl_no_memory() ? LT_E_NO_MEMORY : LT_E_INTERNAL, "vault: not encrypted");
    lt_buf_put(out, head.p, head.n);
    lt_buf_put(out, body.p, body.n);
    lt_buf_u32(out, (uint32_t)plain.n);
    lt_buf_put(out, cipher, plain.n);
    lt_buf_put(out, tag, sizeof tag);
    return lt_buf_ok(out, e);
}

int lt_seal_vault_open(const struct lt_seal_vault *v, unsigned i, const uint8_t km[LT_SHA256], uint8_t *plain,
                       struct lt_err *e)
{
    const struct lt_seal_vault_compartment *c = &v->one[i];
    uint8_t tag[LT_SEAL_VAULT_TAG], number[2];

    lt_put_u16(number, (uint16_t)i);
    memcpy(tag, c->tag.p, sizeof tag);
    const struct lt_slice aad[3] = {v->head, {number, sizeof number}, c->head};
    lt_openssl_begin();
    if (gcm(false, km, c->nonce.p, aad, c->cipher, plain, tag))
        return 0;
    lt_wipe(plain, c->cipher.n);
    return lt_openssl_no_memory()
               ? lt_fail(e, LT_E_NO_MEMORY, "vault: no memory to decrypt it")
               : lt_fail(e, LT_E_REFUSED, "compartment %u of its file is not as its key sealed it", i);
}

/* ---- plaintext ---- */

size_t lt_seal_vault_plain_size(const struct lt_seal_entry *entries, uint32_t count)
{
    size_t n = 4 + TRAILER;

    for (uint32_t i = 0; i < count; i++)
        n += lt_seal_entry_size(&entries[i]);
    return n;
}

void lt_seal_vault_plain_put(const struct lt_seal_entry *entries, uint32_t count, uint8_t *to)
{
    lt_put_u32(to, count);
    to += 4;
    for (uint32_t i = 0; i < count; i++) {
        lt_seal_entry_put(&entries[i], to);
        to += lt_seal_entry_size(&entries[i]);
    }
    lt_put_u16(to, 0);
}

int lt_seal_vault_plain_count(struct lt_slice plain, uint32_t *count, struct lt_err *e)
{
    const struct lt_seal_entry none = {0};
    struct lt_reader r = lt_reader(plain.p, plain.n, "vault's plaintext");

    LT_TRY(lt_read_u32(&r, count, e));
    if (*count > LT_MAX_INVENTORY || *count > lt_reader_left(&r) / lt_seal_entry_size(&none))
        return lt_fail(e, LT_E_MALFORMED, "vault's plaintext: %u entries in %zu bytes", *count, plain.n);
    return 0;
}

static int by_ek(const void *a, const void *b)
{
    return memcmp((*(const struct lt_seal_entry *const *)a)->ek_digest,
                  (*(const struct lt_seal_entry *const *)b)->ek_digest, LT_SHA256);
}

static int check_eks(const struct lt_seal_entry *entries, uint32_t count, struct lt_err *e)
{
    LT_AUTOFREE const struct lt_seal_entry **sorted = malloc((count + 1) * sizeof(struct lt_seal_entry *));

    if (!sorted)
        return lt_fail(e, LT_E_NO_MEMORY, "vault: no memory for %u entries", count);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = &entries[i];
    qsort(sorted, count, sizeof *sorted, by_ek);
    for (uint32_t i = 1; i < count; i++)
        if (!by_ek(&sorted[i - 1], &sorted[i]))
            return lt_fail(e, LT_E_MALFORMED, "vault's plaintext: one EK in two entries");
    return 0;
}

int lt_seal_vault_plain_read(struct lt_slice plain, struct lt_seal_entry *entries, struct lt_err *e)
{
    struct lt_reader r = lt_reader(plain.p, plain.n, "vault's plaintext");
    uint32_t count;
    uint16_t trailer;

    LT_TRY(lt_seal_vault_plain_count(plain, &count, e));
    memset(entries, 0, count * sizeof *entries);
    LT_TRY(lt_read_u32(&r, &count, e));
    for (uint32_t i = 0; i < count; i++) {
        LT_TRY_IN(lt_seal_entry_read(&r, &entries[i], e), e, "vault's entry %u", i);
        if (i && memcmp(entries[i - 1].uuid, entries[i].uuid, LT_UUID) >= 0)
            return lt_fail(e, LT_E_MALFORMED, "vault's entry %u is not above entry %u by uuid", i, i - 1);
    }
    LT_TRY(lt_read_u16(&r, &trailer, e));
    if (trailer)
        return lt_fail(e, LT_E_UNSUPPORTED, "vault's plaintext: %u offers, which a later version knows",
                       trailer);
    LT_TRY(lt_reader_end(&r, e));
    return check_eks(entries, count, e);
}
