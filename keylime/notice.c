#include "keylime/notice.h"

#include "common/limits.h"
#include "common/openssl.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RSA_MIN 2048
#define RSA_MAX 8192
#define SIGNATURE_MAX (RSA_MAX / 8)

LT_DEFINE_AUTO_OF(EVP_MD_CTX, EVP_MD_CTX, EVP_MD_CTX_free);

static const char *text_or_empty(const char *s)
{
    return s ? s : "";
}

int lt_notice_text(const struct lt_notice *n, char **out, struct lt_err *e)
{
    LT_AUTOFREE char *context = n->context ? lt_json_dump(n->context) : strdup("{}");
    time_t at = (time_t)n->event_time_s;
    struct tm utc = {0};
    char when[64] = "";

    *out = NULL;
    gmtime_r(&at, &utc);
    asctime_r(&utc, when);
    when[strcspn(when, "\n")] = 0;
    LT_JSON_AUTO json_t *msg =
        context
            ? json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "type", n->type, "agent_id",
                        text_or_empty(n->agent_id), "ip", text_or_empty(n->ip), "port", n->port, "tpm_policy",
                        text_or_empty(n->tpm_policy), "meta_data", text_or_empty(n->meta_data), "event_time",
                        when, "event_id", text_or_empty(n->event_id), "severity_label",
                        text_or_empty(n->severity_label), "context", context)
            : NULL;
    LT_AUTOFREE char *text = msg ? lt_json_dump(msg) : NULL;
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "notice: no memory, or a text that is no UTF-8");
    if (strlen(text) > LT_MAX_NOTICE)
        return lt_fail(e, LT_E_TOO_LARGE, "notice: %zu bytes > %d", strlen(text), LT_MAX_NOTICE);
    *out = lt_take(&text);
    return 0;
}

/* ---- keys ---- */

static int fit(EVP_PKEY *key, const char *what, struct lt_err *e)
{
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_is_a(key, "RSA") && bits >= RSA_MIN && bits <= RSA_MAX)
        return 0;
    return lt_fail(e, LT_E_UNSUPPORTED, "%s: %d bits, and not RSA of %d to %d", what, bits, RSA_MIN, RSA_MAX);
}

static BIO *open_pem(const char *pem)
{
    size_t n = strnlen(pem, LT_MAX_NOTICE_PEM + 1);

    lt_openssl_begin();
    return n <= LT_MAX_NOTICE_PEM ? BIO_new_mem_buf(pem, (int)n) : NULL;
}

static int unreadable(const char *what, const char *want, struct lt_err *e)
{
    return lt_openssl_no_memory() ? lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", what)
                                  : lt_fail(e, LT_E_MALFORMED, "%s: no %s in PEM", what, want);
}

/* Never asks for a password. */
static int read_private(const char *pem, EVP_PKEY **out, struct lt_err *e)
{
    static const char what[] = "revocation key";
    LT_AUTO(BIO) BIO *bio = open_pem(pem);
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;

    if (!key)
        return unreadable(what, "private key", e);
    LT_TRY(fit(key, what, e));
    *out = lt_take(&key);
    return 0;
}

static int read_certificate(const char *pem, EVP_PKEY **out, struct lt_err *e)
{
    static const char what[] = "notifier's certificate";
    LT_AUTO(BIO) BIO *bio = open_pem(pem);
    LT_AUTO(X509) X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, (void *)"") : NULL;
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = x ? X509_get_pubkey(x) : NULL;

    if (!key)
        return unreadable(what, "certificate", e);
    LT_TRY(fit(key, what, e));
    *out = lt_take(&key);
    return 0;
}

int lt_notice_check_key(const char *pem, struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL;

    return read_private(pem, &key, e);
}

/* ---- signatures ---- */

/* The longest salt is demanded of a signature too, as Keylime's programs do. */
static bool pss(EVP_PKEY_CTX *c)
{
    return EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(c, RSA_PSS_SALTLEN_MAX) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha256()) == 1;
}

static int signature_of(EVP_PKEY *key, const char *msg, char **out, struct lt_err *e)
{
    uint8_t sig[SIGNATURE_MAX];
    size_t n = sizeof sig;
    EVP_PKEY_CTX *c = NULL; /* md's */

    LT_AUTO(EVP_MD_CTX) EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (!md || EVP_DigestSignInit(md, &c, EVP_sha256(), NULL, key) != 1 || !pss(c) ||
        EVP_DigestSign(md, sig, &n, (const uint8_t *)msg, strlen(msg)) != 1)
        return lt_fail(e, LT_E_INTERNAL, "notice: the revocation key does not sign");
    *out = lt_base64_dup(sig, n);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "notice: no memory");
}

int lt_notice_sign(const char *msg, const char *pem, json_t **out, struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL;
    LT_AUTOFREE char *sig = NULL;

    *out = NULL;
    if (strnlen(msg, LT_MAX_NOTICE + 1) > LT_MAX_NOTICE)
        return lt_fail(e, LT_E_TOO_LARGE, "notice: more than %d bytes", LT_MAX_NOTICE);
    if (pem && *pem) {
        LT_TRY(read_private(pem, &key, e));
        LT_TRY(signature_of(key, msg, &sig, e));
    }
    *out = json_pack("{s:s, s:s}", "msg", msg, "signature", text_or_empty(sig));
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "notice: no memory, or msg is no UTF-8");
}

static int read_body(const json_t *body, const char **msg, uint8_t **sig, size_t *n, struct lt_err *e)
{
    LT_TRY(lt_json_string(body, "msg", msg, e));
    if (strlen(*msg) > LT_MAX_NOTICE || strlen(*msg) != json_string_length(json_object_get(body, "msg")))
        return lt_fail(e, LT_E_MALFORMED, "msg: more than %d bytes, or a NUL in it", LT_MAX_NOTICE);
    return lt_json_base64(body, "signature", SIGNATURE_MAX, sig, n, e);
}

int lt_notice_check(const json_t *body, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *sig = NULL;
    const char *msg;
    size_t n;

    return read_body(body, &msg, &sig, &n, e);
}

static int verify(EVP_PKEY *key, const char *msg, struct lt_slice sig, struct lt_err *e)
{
    EVP_PKEY_CTX *c = NULL; /* md's */

    lt_openssl_begin();
    LT_AUTO(EVP_MD_CTX) EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (md && EVP_DigestVerifyInit(md, &c, EVP_sha256(), NULL, key) == 1 && pss(c) &&
        EVP_DigestVerify(md, sig.p, sig.n, (const uint8_t *)msg, strlen(msg)) == 1)
        return 0;
    return !md || lt_openssl_no_memory()
               ? lt_fail(e, LT_E_NO_MEMORY, "notice: no memory")
               : lt_fail(e, LT_E_BAD_SIGNATURE, "notice: not signed by the notifier's certificate");
}

int lt_notice_open(const json_t *body, const char *certificate, json_t **out, struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL;
    LT_AUTOFREE uint8_t *sig = NULL;
    const char *msg;
    size_t n;

    *out = NULL;
    LT_TRY(read_body(body, &msg, &sig, &n, e));
    LT_TRY(read_certificate(certificate, &key, e));
    LT_TRY(verify(key, msg, (struct lt_slice){sig, n}, e));
    LT_JSON_AUTO json_t *parsed = lt_json_parse(msg, strlen(msg), LT_MAX_NOTICE, e);
    if (!parsed)
        return lt_fail_in(e, e->code, "notice: msg");
    if (!json_is_object(parsed))
        return lt_fail(e, LT_E_MALFORMED, "notice: msg is no JSON object");
    *out = lt_take(&parsed);
    return 0;
}
