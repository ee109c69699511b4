/* TPM2B_PUBLIC as a value: attributes, scheme, Name, the digest by which an EK is known, an OpenSSL key. */
#ifndef LT_TPM_PUBLIC_H
#define LT_TPM_PUBLIC_H

#include "common/bytes.h"
#include "common/limits.h"

#include <openssl/types.h>

#define LT_TPM_NAME 34 /* u16 nameAlg = sha256, 32 bytes of digest: what protocol.md's version 1 carries */

/* A Name by whatever hash it is made with. */
struct lt_tpm_name {
    size_t n;
    uint8_t p[LT_MAX_TPM_NAME];
};

/* TPMA_OBJECT (Part 2, 8.3) */
#define LT_TPM_OBJ_FIXED_TPM 0x00000002u
#define LT_TPM_OBJ_ST_CLEAR 0x00000004u
#define LT_TPM_OBJ_FIXED_PARENT 0x00000010u
#define LT_TPM_OBJ_SENSITIVE_DATA_ORIGIN 0x00000020u
#define LT_TPM_OBJ_USER_WITH_AUTH 0x00000040u
#define LT_TPM_OBJ_ADMIN_WITH_POLICY 0x00000080u
#define LT_TPM_OBJ_NO_DA 0x00000400u
#define LT_TPM_OBJ_ENCRYPTED_DUPLICATION 0x00000800u
#define LT_TPM_OBJ_RESTRICTED 0x00010000u
#define LT_TPM_OBJ_DECRYPT 0x00020000u
#define LT_TPM_OBJ_SIGN 0x00040000u

#define LT_TPM_ALG_RSA 0x0001
#define LT_TPM_ALG_AES 0x0006
#define LT_TPM_ALG_NULL 0x0010
#define LT_TPM_ALG_RSASSA 0x0014
#define LT_TPM_ALG_RSAPSS 0x0016
#define LT_TPM_ALG_ECDSA 0x0018
#define LT_TPM_ALG_ECC 0x0023
#define LT_TPM_ALG_CFB 0x0043

#define LT_TPM_ECC_P256 0x0003
#define LT_TPM_ECC_P384 0x0004
#define LT_TPM_ECC_P521 0x0005

/* R1 of protocol.md: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign. */
#define LT_TPM_AK_HOST_ATTRIBUTES 0x00050472u

struct lt_public {
    uint8_t raw[LT_MAX_PUBLIC]; /* TPM2B_PUBLIC as received, size field first */
    size_t raw_n;
    uint16_t type; /* LT_TPM_ALG_RSA or LT_TPM_ALG_ECC; nothing else is accepted */
    uint16_t name_alg;
    uint32_t attributes;
    struct lt_slice policy;               /* authPolicy; slices point into raw */
    uint16_t sym_alg, sym_bits, sym_mode; /* LT_TPM_ALG_NULL, 0, 0 for a signing key */
    uint16_t scheme, scheme_hash;         /* LT_TPM_ALG_NULL: none */
    uint16_t rsa_bits;
    uint32_t rsa_exponent; /* 65537 where the field says 0 */
    struct lt_slice rsa_modulus;
    uint16_t curve; /* TPM_ECC_NIST_P256 3, P384 4, P521 5 */
    struct lt_slice x, y;
};

/* p is a whole TPM2B_PUBLIC; trailing bytes are refused. *out is self-contained but its slices point into its
 * own raw: do not copy it by assignment; lt_public_copy does. */
int lt_public_parse(const void *p, size_t n, struct lt_public *out, struct lt_err *e) LT_MUST_CHECK;
void lt_public_copy(struct lt_public *to, const struct lt_public *from);

/* Bytes of a coordinate of a curve we know; 0: unknown. */
size_t lt_tpm_curve_size(uint16_t curve);

/* Name = nameAlg | H(TPMT_PUBLIC). SHA-256 only: LT_E_UNSUPPORTED_NAME_ALGORITHM otherwise. */
int lt_public_name(const struct lt_public *p, uint8_t out[LT_TPM_NAME], struct lt_err *e) LT_MUST_CHECK;
/* The same of any name algorithm that parses (SHA-256 and longer). */
void lt_public_any_name(const struct lt_public *p, struct lt_tpm_name *out);
/* DER SubjectPublicKeyInfo, byte for byte as protocol.md section 3 (ek_digest) says. b->max at least 1024. */
int lt_public_spki(const struct lt_public *p, struct lt_buf *b, struct lt_err *e) LT_MUST_CHECK;
/* ek_digest: SHA-256 of that. */
int lt_public_ek_digest(const struct lt_public *p, uint8_t out[32], struct lt_err *e) LT_MUST_CHECK;
/* Caller frees with EVP_PKEY_free. */
int lt_public_pkey(const struct lt_public *p, EVP_PKEY **out, struct lt_err *e) LT_MUST_CHECK;

/* Qualified Name of an AK directly under an EK in the endorsement hierarchy (protocol.md check 1):
 * H-name( QN(EK) | Name(AK) ), QN(EK) = nameAlg | H( 4000000B | Name(EK) ). */
int lt_tpm_qualified_name(const struct lt_public *ek, const struct lt_public *ak, uint8_t out[LT_TPM_NAME],
                          struct lt_err *e) LT_MUST_CHECK;

/* The same where one or both Names are not SHA-256: H is the AK's name algorithm outside, the EK's within. */
void lt_tpm_any_qualified_name(const struct lt_public *ek, const struct lt_public *ak,
                               struct lt_tpm_name *out);

/* G3: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign set; decrypt and encryptedDuplication
 * clear; a signing scheme we know (RSASSA for RSA, ECDSA for ECC, each with SHA-256 or SHA-384). The message
 * names the attribute. */
int lt_public_check_ak(const struct lt_public *p, struct lt_err *e) LT_MUST_CHECK;
/* R1: attributes exactly LT_TPM_AK_HOST_ATTRIBUTES, check_ak, and SHA-256. */
int lt_public_check_ak_host(const struct lt_public *p, struct lt_err *e) LT_MUST_CHECK;

#endif
