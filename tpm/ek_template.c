#include "tpm/ek_template.h"

/* PolicyA of the profile: PolicySecret(TPM_RH_ENDORSEMENT). */
static const uint8_t policy_a[32] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc,
                                     0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
                                     0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};

void lt_ek_template_put(struct lt_buf *b, uint16_t alg)
{
    static const uint8_t unique[256];

    lt_buf_u16(b, alg == LT_TPM_ALG_RSA ? 314 : 122);
    lt_buf_u16(b, alg);
    lt_buf_u16(b, 0x000b); /* nameAlg SHA-256 */
    lt_buf_u32(b, LT_EK_TEMPLATE_ATTRIBUTES);
    lt_buf_put16(b, policy_a, sizeof policy_a);
    lt_buf_u16(b, LT_TPM_ALG_AES);
    lt_buf_u16(b, 128);
    lt_buf_u16(b, LT_TPM_ALG_CFB);
    lt_buf_u16(b, LT_TPM_ALG_NULL); /* scheme */
    if (alg == LT_TPM_ALG_RSA) {
        lt_buf_u16(b, 2048);
        lt_buf_u32(b, 0); /* exponent 65537 */
        lt_buf_put16(b, unique, 256);
    } else {
        lt_buf_u16(b, LT_TPM_ECC_P256);
        lt_buf_u16(b, LT_TPM_ALG_NULL); /* kdf */
        lt_buf_put16(b, unique, 32);
        lt_buf_put16(b, unique, 32);
    }
}
