/* What Keylime's POST agents/{id} asks for (keylime-api 4.2), as a value: forms and sizes are checked,
 * nothing is judged. No I/O. */
#ifndef LT_KEYLIME_ADD_H
#define LT_KEYLIME_ADD_H

#include "common/ids.h"
#include "common/json.h"
#include "tpm/public.h"

#define LT_ADD_IMA_KEYS "ima_sign_verification_keys" /* among what was given, but not told back */

struct lt_add {
    /* what it is judged by */
    char *tpm_policy; /* JSON text */
    uint8_t *runtime; /* JSON or a DSSE envelope, NUL behind; NULL: none */
    size_t runtime_n;
    char *runtime_key;                                          /* PEM, for the envelope; NULL: none */
    char *boot;                                                 /* reference state, JSON text; NULL: none */
    char *ima_keys;                                             /* keyring, JSON text; NULL: none */
    char runtime_name[LT_ID_MAX + 1], boot_name[LT_ID_MAX + 1]; /* "": none */
    uint8_t ak[LT_MAX_PUBLIC];                                  /* TPM2B_PUBLIC */
    size_t ak_n;
    char address[LT_MAX_ADDRESS + 1]; /* "HOST:PORT" as told, not checked; "": not told */
    /* a new object: what GET tells as it was given, and the accepted algorithms */
    json_t *given;
};

/* Ports may be numbers or text of digits; "" is as good as null; unknown keys are ignored, and so are the
 * secrets, v and revocation_key (tenant/release.h). LT_E_MALFORMED and LT_E_TOO_LARGE name the key. */
int lt_add_read(const json_t *body, struct lt_add *out, struct lt_err *e) LT_MUST_CHECK;
void lt_add_free(struct lt_add *a);
void lt_keylime_cleanup_add(struct lt_add *a);
#define LT_KEYLIME_AUTOADD __attribute__((cleanup(lt_keylime_cleanup_add)))

/* Forms that the routes for policies share with it. *out NULL: null or "". */
/* base64 of a document of at most max bytes; a NUL behind. */
int lt_add_document(const json_t *o, const char *key, size_t max, uint8_t **out, size_t *n,
                    struct lt_err *e) LT_MUST_CHECK;
/* A copy of a text of at most max characters; the key must be there. */
int lt_add_text(const json_t *o, const char *key, size_t max, char **out, struct lt_err *e) LT_MUST_CHECK;

#endif
