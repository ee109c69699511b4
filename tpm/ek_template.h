/* The templates of EKs: L-1 (RSA 2048) and L-2 (ECC P-256) of the TCG EK Credential Profile, annex B.3. */
#ifndef LT_TPM_EK_TEMPLATE_H
#define LT_TPM_EK_TEMPLATE_H

#include "tpm/public.h"

#define LT_EK_TEMPLATE_ATTRIBUTES                                                                            \
    (LT_TPM_OBJ_FIXED_TPM | LT_TPM_OBJ_FIXED_PARENT | LT_TPM_OBJ_SENSITIVE_DATA_ORIGIN |                     \
     LT_TPM_OBJ_ADMIN_WITH_POLICY | LT_TPM_OBJ_RESTRICTED | LT_TPM_OBJ_DECRYPT)

/* Appends the TPM2B_PUBLIC for TPM2_CreatePrimary, with unique all zeros. alg: LT_TPM_ALG_RSA or
 * LT_TPM_ALG_ECC. */
void lt_ek_template_put(struct lt_buf *b, uint16_t alg);

#endif
