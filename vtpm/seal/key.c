#include "vtpm/seal/key.h"

#include <string.h>

#define TAG 16
#define CC_POLICY_NV 0x00000149u
#define CC_POLICY_OR 0x00000171u
#define CC_POLICY_PCR 0x0000017fu
#define EO_UNSIGNED_LE 0x0009

#define ALG_HMAC 0x0005
#define ALG_KEYEDHASH 0x0008

/* TPMA_OBJECT of both kinds, but for what they do. */
#define ATTRIBUTES                                                                                           \
    (LT_TPM_OBJ_FIXED_TPM | LT_TPM_OBJ_FIXED_PARENT | LT_TPM_OBJ_SENSITIVE_DATA_ORIGIN |                     \
     LT_TPM_OBJ_ADMIN_WITH_POLICY | LT_TPM_OBJ_NO_DA)

static const char tag_vault[TAG] = "LT1:VAULT";

const uint8_t lt_seal_key_nv_name[LT_TPM_NAME] = {
    0x00, 0x0b, 0xdb, 0x50, 0x9c, 0xcb, 0xe7, 0x71, 0x5c, 0x56, 0x78, 0xd5, 0x65, 0x3e, 0x00, 0x76, 0x80,
    0xd2, 0xf1, 0xeb, 0x3f, 0xe8, 0x2b, 0x6e, 0x4f, 0xb8, 0xd3, 0xf9, 0x80, 0xab, 0x7f, 0x4e, 0x81, 0x85};

const uint8_t lt_seal_key_nv_name_unwritten[LT_TPM_NAME] = {
    0x00, 0x0b, 0x1d, 0xcb, 0x73, 0xb0, 0x0a, 0x6a, 0x7d, 0xfa, 0x7b, 0x96, 0x90, 0x7e, 0x2a, 0xc2, 0x19,
    0xc8, 0xbf, 0xb2, 0xd5, 0x47, 0x6a, 0xaf, 0xc4, 0x0f, 0xc2, 0xa9, 0x21, 0x09, 0xc0, 0xcc, 0x55, 0xb2};

/* x = H("LT1:VAULT-POINT" | u8 0) is of a point of P-256, and y its even one. */
static const uint8_t point_x[32] = {0x4e, 0xc9, 0xce, 0x28, 0xd3, 0xbd, 0x2a, 0x5c, 0x6c, 0x7c, 0xf9,
                                    0xbf, 0x40, 0x34, 0xdb, 0xd5, 0x94, 0x55, 0xa8, 0x5a, 0xc4, 0x42,
                                    0x51, 0x3b, 0x9a, 0x33, 0xd5, 0x46, 0xa7, 0xf6, 0xfc, 0xde};
static const uint8_t point_y[32] = {0x3e, 0x39, 0x6b, 0xa3, 0x90, 0x60, 0xcd, 0xf5, 0xbd, 0x1a, 0x2c,
                                    0xb5, 0xae, 0xaf, 0x30, 0x0b, 0xe6, 0x96, 0x18, 0xba, 0x78, 0x8f,
                                    0xd0, 0x38, 0x5d, 0xb7, 0x37, 0x3c, 0x40, 0xfb, 0xee, 0x4a};

unsigned lt_seal_key_find(const struct lt_seal_key_states *s, const struct lt_pcrs *state)
{
    unsigned i = 0;

    while (i < s->count && !lt_openers_state_same(&s->state[i], state))
        i++;
    return i;
}

/* ---- the policy (TPM 2.0 Part 3: TPM2_PolicyPCR, _PolicyOR, _PolicyNV) ---- */

void lt_seal_key_selection(uint32_t mask, uint8_t out[LT_SEAL_KEY_SELECTION])
{
    lt_put_u32(out, 1);
    lt_put_u16(out + 4, LT_HASH_SHA256);
    out[6] = 3;
    for (int i = 0; i < 3; i++)
        out[7 + i] = (uint8_t)(mask >> 8 * i);
}

void lt_seal_key_pcr_policy(const struct lt_pcrs *state, uint8_t out[LT_SHA256])
{
    uint8_t p[LT_SHA256 + 4 + LT_SEAL_KEY_SELECTION + LT_SHA256] = {0};

    lt_put_u32(p + LT_SHA256, CC_POLICY_PCR);
    lt_seal_key_selection(state->mask, p + LT_SHA256 + 4);
    lt_pcrs_digest(state, LT_HASH_SHA256, p + LT_SHA256 + 4 + LT_SEAL_KEY_SELECTION);
    lt_sha256(p, sizeof p, out);
}

void lt_seal_key_or_policy(const struct lt_seal_key_states *s, uint8_t out[LT_SHA256])
{
    uint8_t p[LT_SHA256 + 4 + LT_MAX_SEAL_STATES * LT_SHA256] = {0};
    const unsigned branches = s->count == 1 ? 2 : s->count; /* a chip takes two at least */
    size_t n = LT_SHA256 + 4;

    lt_put_u32(p + LT_SHA256, CC_POLICY_OR);
    for (unsigned i = 0; i < branches; i++, n += LT_SHA256)
        lt_seal_key_pcr_policy(&s->state[s->count == 1 ? 0 : i], p + n);
    lt_sha256(p, n, out);
}

void lt_seal_key_policy(const struct lt_seal_key_states *s, uint64_t generation, uint8_t out[LT_SHA256])
{
    uint8_t args[8 + 2 + 2] = {0}, p[LT_SHA256 + 4 + LT_SHA256 + LT_TPM_NAME];

    lt_put_u64(args, generation);
    lt_put_u16(args + 10, EO_UNSIGNED_LE);
    lt_seal_key_or_policy(s, p);
    lt_put_u32(p + LT_SHA256, CC_POLICY_NV);
    lt_sha256(args, sizeof args, p + LT_SHA256 + 4);
    memcpy(p + LT_SHA256 + 4 + LT_SHA256, lt_seal_key_nv_name, LT_TPM_NAME);
    lt_sha256(p, sizeof p, out);
}

/* ---- the public area ---- */

static uint8_t *put16(uint8_t *to, uint16_t v)
{
    lt_put_u16(to, v);
    return to + 2;
}

/* TPMT_PUBLIC up to the unique field. */
static size_t public_head(enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256], uint8_t *out)
{
    const bool ecdh = kind == LT_SEAL_KEY_ECDH;
    uint8_t *p = put16(out, ecdh ? LT_TPM_ALG_ECC : ALG_KEYEDHASH);

    p = put16(p, LT_HASH_SHA256);
    lt_put_u32(p, ATTRIBUTES | (ecdh ? LT_TPM_OBJ_DECRYPT : LT_TPM_OBJ_SIGN));
    p = put16(p + 4, LT_SHA256);
    memcpy(p, policy, LT_SHA256);
    p += LT_SHA256;
    if (!ecdh)
        return (size_t)(put16(put16(p, ALG_HMAC), LT_HASH_SHA256) - out);
    p = put16(put16(p, LT_TPM_ALG_NULL), LT_TPM_ALG_NULL);                    /* symmetric, scheme */
    return (size_t)(put16(put16(p, LT_TPM_ECC_P256), LT_TPM_ALG_NULL) - out); /* curve, kdf */
}

size_t lt_seal_key_template(enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256],
                            uint8_t out[LT_SEAL_KEY_TEMPLATE])
{
    size_t n = public_head(kind, policy, out + 2);

    memset(out + 2 + n, 0, 4); /* one or two empty parts */
    n += kind == LT_SEAL_KEY_ECDH ? 4 : 2;
    lt_put_u16(out, (uint16_t)n);
    return 2 + n;
}

/* The unique field: one or two parts, each of its size and no other. */
static bool unique_is(struct lt_slice p, enum lt_seal_key_kind kind)
{
    struct lt_reader r = lt_reader(p.p, p.n, "VK");
    static const uint8_t size[2] = {0, 32};
    struct lt_slice part;

    for (int i = 0; i < (kind == LT_SEAL_KEY_ECDH ? 2 : 1); i++)
        if (lt_read_expect(&r, size, sizeof size, LT_NO_ERR) || lt_read_slice(&r, 32, &part, LT_NO_ERR))
            return false;
    return !lt_reader_left(&r);
}

int lt_seal_key_check(struct lt_slice pub, const uint8_t policy[LT_SHA256], enum lt_seal_key_kind *kind,
                      struct lt_err *e)
{
    static const enum lt_seal_key_kind kinds[] = {LT_SEAL_KEY_HMAC, LT_SEAL_KEY_ECDH};
    uint8_t want[LT_SEAL_KEY_TEMPLATE];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t n = 2 + public_head(kinds[i], policy, want + 2);
        if (pub.n < n || pub.n > LT_MAX_PUBLIC)
            continue;
        lt_put_u16(want, (uint16_t)(pub.n - 2));
        if (!memcmp(pub.p, want, n) && unique_is((struct lt_slice){pub.p + n, pub.n - n}, kinds[i])) {
            *kind = kinds[i];
            return 0;
        }
    }
    return lt_fail(e, LT_E_REFUSED,
                   "the vault's key is not exactly the key for its file's states, generation and counter");
}

/* ---- what it is asked ---- */

void lt_seal_key_message(uint64_t generation, uint16_t compartment, uint8_t out[LT_SEAL_KEY_MESSAGE])
{
    memcpy(out, tag_vault, TAG);
    lt_put_u64(out + TAG, generation);
    lt_put_u16(out + TAG + 8, compartment);
}

void lt_seal_key_point(uint8_t x[32], uint8_t y[32])
{
    memcpy(x, point_x, sizeof point_x);
    memcpy(y, point_y, sizeof point_y);
}

int lt_seal_key_of_point(struct lt_slice x, struct lt_slice y, uint8_t km[LT_SHA256], struct lt_err *e)
{
    uint8_t p[64] = {0};

    if (!x.n || x.n > 32 || !y.n || y.n > 32)
        return lt_fail(e, LT_E_TPM, "TPM2_ECDH_ZGen: coordinates of %zu and %zu bytes, not up to 32", x.n,
                       y.n);
    memcpy(p + 32 - x.n, x.p, x.n);
    memcpy(p + 64 - y.n, y.p, y.n);
    lt_sha256(p, sizeof p, km);
    lt_wipe(p, sizeof p);
    return 0;
}
