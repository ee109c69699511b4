/* Keylime's revocation message (keylime-api 3.7, 4.7): {"msg": text of a JSON object, "signature": base64 or
 * ""}, signed with RSA-PSS (SHA-256, MGF1-SHA-256, the longest salt) over the very bytes of msg. No I/O, no
 * clock. */
#ifndef LT_KEYLIME_NOTICE_H
#define LT_KEYLIME_NOTICE_H

#include "common/json.h"

#define LT_NOTICE_REVOCATION "revocation"

/* What msg says. Texts are borrowed; NULL ones stand as "". */
struct lt_notice {
    const char *type; /* LT_NOTICE_REVOCATION, "comm_error" */
    const char *agent_id, *ip;
    int port;
    const char *tpm_policy, *meta_data; /* as `add` gave them */
    const char *event_id, *severity_label;
    const json_t *context; /* stands as its text; NULL: {} */
    int64_t event_time_s;  /* since 1970, UTC; told as asctime() does */
};

/* msg, caller frees. LT_E_TOO_LARGE above LT_MAX_NOTICE. */
int lt_notice_text(const struct lt_notice *n, char **out, struct lt_err *e) LT_MUST_CHECK;

/* The message (a new reference). key: PEM private key, RSA of 2048 to 8192 bits; NULL or "": the signature is
 * "".
 */
int lt_notice_sign(const char *msg, const char *key, json_t **out, struct lt_err *e) LT_MUST_CHECK;
/* Whether lt_notice_sign would take it; LT_E_MALFORMED, LT_E_UNSUPPORTED. The key is never told. */
int lt_notice_check_key(const char *key, struct lt_err *e) LT_MUST_CHECK;

/* LT_E_MALFORMED unless a received body has a msg of at most LT_MAX_NOTICE bytes and a signature in base64.
 */
int lt_notice_check(const json_t *body, struct lt_err *e) LT_MUST_CHECK;
/* LT_E_BAD_SIGNATURE unless the key in this certificate (PEM) signed msg. Its dates and its issuer are not
 * looked at: it is pinned by who put it there. *msg: the object that was signed, a new reference. */
int lt_notice_open(const json_t *body, const char *certificate, json_t **msg, struct lt_err *e) LT_MUST_CHECK;

#endif
