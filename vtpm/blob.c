#include "vtpm/blob.h"

#include "common/hash.h"
#include "common/limits.h"

#include <openssl/evp.h>
#include <string.h>

#define TAG_DATA 2
#define TAG_HMAC 3
#define TAG_IV 6
#define IV_MIN 16
#define IV_MAX 64
#define BLOCK 16

/* swtpm's key derivation: its constants, not ours. */
#define KDF_SALT "swtpm"
#define KDF_ROUNDS 1000
#define KEY 32

static int read_header(struct lt_reader *r, struct lt_blob *out, struct lt_err *e)
{
    LT_TRY(lt_read_u8(r, &out->version, e));
    LT_TRY(lt_read_u8(r, &out->min_version, e));
    LT_TRY(lt_read_u16(r, &out->header, e));
    LT_TRY(lt_read_u16(r, &out->flags, e));
    LT_TRY(lt_read_u32(r, &out->length, e));
    if (!out->min_version || out->min_version > out->version || out->header != LT_BLOB_HEADER ||
        out->length != r->n)
        return lt_fail(e, LT_E_MALFORMED,
                       "vTPM state: versions %u and %u, a header of %u bytes, length %u of %zu", out->version,
                       out->min_version, out->header, out->length, r->n);
    return 0;
}

static int header(const void *p, size_t n, struct lt_blob *out, struct lt_reader *r, struct lt_err *e)
{
    *out = (struct lt_blob){0};
    if (n > LT_MAX_VTPM_STATE)
        return lt_fail(e, LT_E_MALFORMED, "vTPM state: %zu bytes > %u", n, LT_MAX_VTPM_STATE);
    *r = lt_reader(p, n, "vTPM state");
    LT_TRY(read_header(r, out, e));
    return 0;
}

int lt_blob_header(const void *p, size_t n, struct lt_blob *out, struct lt_err *e)
{
    struct lt_reader r;
    return header(p, n, out, &r, e);
}

/* Each value once, and no other. */
static int read_value(struct lt_reader *r, struct lt_blob *out, struct lt_err *e)
{
    uint16_t tag;
    uint32_t n;

    LT_TRY(lt_read_u16(r, &tag, e));
    LT_TRY(lt_read_u32(r, &n, e));
    struct lt_slice *to = tag == TAG_DATA   ? &out->data
                          : tag == TAG_HMAC ? &out->hmac
                          : tag == TAG_IV   ? &out->iv
                                            : NULL;
    if (!to || to->p)
        return lt_fail(e, LT_E_MALFORMED, "vTPM state at byte %zu: tag %u%s", r->at, tag,
                       to ? " a second time" : "");
    return lt_read_slice(r, n, to, e);
}

static int read_values(struct lt_reader *r, struct lt_blob *out, struct lt_err *e)
{
    while (lt_reader_left(r))
        LT_TRY(read_value(r, out, e));
    if (!out->data.n || out->data.n % BLOCK || out->hmac.n != LT_SHA256 || out->iv.n < IV_MIN ||
        out->iv.n > IV_MAX)
        return lt_fail(e, LT_E_MALFORMED, "vTPM state: ciphertext, HMAC and IV of %zu, %zu and %zu bytes",
                       out->data.n, out->hmac.n, out->iv.n);
    return 0;
}

static int sealed(const void *p, size_t n, struct lt_blob *out, struct lt_err *e)
{
    struct lt_reader r;

    LT_TRY(header(p, n, out, &r, e));
    if (out->version != LT_BLOB_VERSION || out->flags != LT_BLOB_FLAGS)
        return lt_fail(e, LT_E_MALFORMED, "vTPM state: version %u, flags %04x; sealed is version %u, %04x",
                       out->version, out->flags, LT_BLOB_VERSION, LT_BLOB_FLAGS);
    return read_values(&r, out, e);
}

int lt_blob_sealed(const void *p, size_t n, struct lt_blob *out, struct lt_err *e)
{
    return sealed(p, n, out, e) ? lt_fail_in(e, LT_E_STATE_PLAIN, "state-plain: no sealed state, or damaged")
                                : 0;
}

int lt_blob_opens(const struct lt_blob *b, const void *key, size_t key_n, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf text = LT_BUF(LT_MAX_VTPM_STATE);
    uint8_t derived[KEY], mac[LT_SHA256];

    lt_buf_put(&text, b->data.p, b->data.n);
    lt_buf_put(&text, b->iv.p, b->iv.n);
    LT_TRY(lt_buf_ok(&text, e));
    if (PKCS5_PBKDF2_HMAC(key, (int)key_n, (const uint8_t *)KDF_SALT, sizeof KDF_SALT - 1, KDF_ROUNDS,
                          EVP_sha512(), sizeof derived, derived) != 1)
        return lt_fail(e, LT_E_NO_MEMORY, "vTPM state: no key derivation");
    lt_hmac(LT_HASH_SHA256, derived, sizeof derived, text.p, text.n, mac);
    lt_wipe(derived, sizeof derived);
    if (!lt_equal_ct(mac, b->hmac.p, sizeof mac))
        return lt_fail(e, LT_E_STATE_FOREIGN_KEY,
                       "state-foreign-key: the vTPM's state was not encrypted with the vault's key, or was "
                       "changed");
    return 0;
}
