/* One registered agent, as a value: what it sent at registration (keylime-api 2.2), checked. No I/O. */
#ifndef LT_KEYLIME_AGENT_H
#define LT_KEYLIME_AGENT_H

#include "common/ids.h"
#include "common/json.h"
#include "tpm/public.h"

struct lt_agent {
    char id[LT_ID_MAX + 1];
    uint8_t ek[LT_MAX_PUBLIC], ak[LT_MAX_PUBLIC]; /* TPM2B_PUBLIC */
    size_t ek_n, ak_n;
    char *ekcert;    /* PEM, leaf first; NULL: the TPM has none. Owned, as the two below */
    char *mtls_cert; /* PEM, or "disabled"; NULL: none */
    char *ip;        /* NULL: not told */
    int port;        /* 0: not told */
    int64_t regcount;
};

void lt_agent_free(struct lt_agent *a);
void lt_keylime_cleanup_agent(struct lt_agent *a);
#define LT_KEYLIME_AUTOAGENT __attribute__((cleanup(lt_keylime_cleanup_agent)))

/* A registration body; unknown keys are ignored, "" is as good as null. Refuses: keys that do not parse, an
 * AK without the attributes of lt_public_check_ak, an EK that is no restricted decryption key of its TPM, a
 * certificate that certifies another key, an address that is none. */
int lt_agent_from_json(const json_t *body, const char *id, struct lt_agent *out,
                       struct lt_err *e) LT_MUST_CHECK;
/* Of such a body the EK, and its certificates as PEM that we wrote, leaf first (caller frees; NULL: none),
 * judged as there: what is an EK, and that the first certificate is this EK's. */
int lt_agent_ek_from_json(const json_t *body, struct lt_public *ek, char **ekcert,
                          struct lt_err *e) LT_MUST_CHECK;
/* Version 1 of protocol.md's commitment has room for its AK's Name (SHA-256). Where not, no host can be asked
 * for a proof about it: `unlinked` is what it can be. */
bool lt_keylime_agent_linkable(const struct lt_agent *a);
/* `results` of GET agents/{id}; ours among them is "linkable". */
json_t *lt_agent_to_json(const struct lt_agent *a);

/* keylime-api 2.5: EK, AK and EK certificate of an active record never change (LT_E_FORBIDDEN), but a
 * certificate may be added. */
int lt_keylime_agent_check_identity(const struct lt_agent *stored, const struct lt_agent *offered,
                                    struct lt_err *e) LT_MUST_CHECK;

/* Nothing that a registration can change differs. */
bool lt_agent_same(const struct lt_agent *a, const struct lt_agent *b);

/* The first certificate of a PEM chain as DER; caller frees. */
int lt_keylime_pem_leaf(const char *pem, uint8_t **der, size_t *n, struct lt_err *e) LT_MUST_CHECK;

#endif
