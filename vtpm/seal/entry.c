#include "vtpm/seal/entry.h"

#include <stdlib.h>
#include <string.h>

#define FIXED (LT_UUID + LT_SHA256 + LT_SEAL_KEY + 1 + 3 * LT_SHA256) /* before the list's length */
#define SECRET 32

/* The namespace of S: 6c696d65-7472-6565-8076-54504d4b6579. */
static const uint8_t secret_namespace[LT_UUID] = "limetree\x80vTPMKey";

void lt_seal_secret_uuid(const uint8_t domain[LT_UUID], uint8_t out[LT_UUID])
{
    char text[LT_UUID_TEXT];
    uint8_t digest[LT_MAX_DIGEST];

    lt_uuid_format(domain, text);
    const struct lt_slice parts[] = {{secret_namespace, LT_UUID}, {(const uint8_t *)text, LT_UUID_TEXT - 1}};
    lt_hash(LT_HASH_SHA1, parts, 2, digest);
    memcpy(out, digest, LT_UUID);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x50); /* version 5 */
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80); /* RFC 9562's variant */
}

void lt_seal_key_new(char out[LT_SEAL_KEY])
{
    uint8_t secret[SECRET];
    char text[LT_SEAL_KEY + 1];

    lt_random(secret, sizeof secret);
    lt_base64(secret, sizeof secret, text);
    memcpy(out, text, LT_SEAL_KEY);
    lt_wipe(secret, sizeof secret);
    lt_wipe(text, sizeof text);
}

static int check_key(const char key[LT_SEAL_KEY], struct lt_err *e)
{
    uint8_t *secret = NULL;
    size_t n = 0;
    int rc = lt_unbase64(key, LT_SEAL_KEY, SECRET, &secret, &n, LT_NO_ERR);

    if (secret)
        lt_wipe(secret, n);
    free(secret);
    return !rc && n == SECRET ? 0 : lt_fail(e, LT_E_MALFORMED, "entry: the key is not base64 of 32 bytes");
}

size_t lt_seal_entry_size(const struct lt_seal_entry *x)
{
    return FIXED + 4 + lt_openers_size(&x->openers);
}

static uint8_t *put(uint8_t *to, const void *p, size_t n)
{
    memcpy(to, p, n);
    return to + n;
}

/* The list is no secret: it may be written by way of a buffer. */
static uint8_t *put_openers(uint8_t *to, const struct lt_openers *o)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);

    lt_openers_write(o, &b);
    if (lt_buf_ok(&b, LT_NO_ERR))
        abort(); /* some kB: as of a struct of ours */
    lt_put_u32(to, (uint32_t)b.n);
    return put(to + 4, b.p, b.n);
}

void lt_seal_entry_put(const struct lt_seal_entry *x, uint8_t *to)
{
    to = put(to, x->uuid, LT_UUID);
    to = put(to, x->ek_digest, LT_SHA256);
    to = put(to, x->key, LT_SEAL_KEY);
    *to++ = (uint8_t)x->origin;
    to = put(to, x->authority, LT_SHA256);
    to = put(to, x->firmware, LT_SHA256);
    to = put(to, x->domain, LT_SHA256);
    put_openers(to, &x->openers);
}

void lt_seal_entry_write(const struct lt_seal_entry *x, struct lt_buf *b)
{
    const size_t n = lt_seal_entry_size(x);
    uint8_t *p = lt_alloc(1, n);

    lt_seal_entry_put(x, p);
    lt_buf_put(b, p, n);
    lt_wipe(p, n);
    free(p);
}

static int read_fields(struct lt_reader *r, struct lt_seal_entry *x, struct lt_err *e)
{
    uint8_t origin;

    LT_TRY(lt_read_copy(r, x->uuid, LT_UUID, e));
    LT_TRY(lt_read_copy(r, x->ek_digest, LT_SHA256, e));
    LT_TRY(lt_read_copy(r, x->key, LT_SEAL_KEY, e));
    LT_TRY(lt_read_u8(r, &origin, e));
    if (origin != LT_SEAL_MADE && origin != LT_SEAL_IMPORTED)
        return lt_fail(e, LT_E_MALFORMED, "entry: origin %u, neither 1 nor 2", origin);
    x->origin = (enum lt_seal_origin)origin;
    LT_TRY(lt_read_copy(r, x->authority, LT_SHA256, e));
    LT_TRY(lt_read_copy(r, x->firmware, LT_SHA256, e));
    LT_TRY(lt_read_copy(r, x->domain, LT_SHA256, e));
    return check_key(x->key, e);
}

int lt_seal_entry_read(struct lt_reader *r, struct lt_seal_entry *out, struct lt_err *e)
{
    struct lt_reader at = *r;
    struct lt_slice list;
    uint32_t n;

    *out = (struct lt_seal_entry){0};
    int rc = read_fields(&at, out, e);
    if (!rc && !(rc = lt_read_u32(&at, &n, e)))
        rc = n > LT_MAX_OPENERS_BYTES
                 ? lt_fail(e, LT_E_TOO_LARGE, "entry: %u bytes of openers > %u", n, LT_MAX_OPENERS_BYTES)
                 : lt_read_slice(&at, n, &list, e);
    if (!rc)
        rc = lt_openers_parse(list.p, list.n, &out->openers, e);
    if (rc)
        lt_seal_entry_free(out);
    else
        *r = at;
    return rc;
}

int lt_seal_entry_copy(const struct lt_seal_entry *in, struct lt_seal_entry *out, struct lt_err *e)
{
    *out = *in;
    int rc = lt_openers_copy(&in->openers, &out->openers, e);
    if (rc)
        lt_seal_entry_free(out);
    return rc;
}

void lt_seal_entry_free(struct lt_seal_entry *x)
{
    lt_openers_free(&x->openers);
    lt_wipe(x, sizeof *x);
}
