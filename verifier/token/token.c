#include "verifier/token/token.h"

#include "common/alloc.h"
#include "common/hash.h"
#include "common/limits.h"

#include <cjose/cjose.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "ES256"

static void free_jwk(cjose_jwk_t **k)
{
    cjose_jwk_release(*k);
}

static void free_jws(cjose_jws_t **s)
{
    cjose_jws_release(*s);
}

static void free_header(cjose_header_t **h)
{
    cjose_header_release(*h);
}
#define AUTO(fn) __attribute__((cleanup(fn)))

/* ---- words of a request ---- */

static int check_word(const char *what, const char *s, size_t min, size_t max, struct lt_err *e)
{
    size_t n = s ? strlen(s) : 0;

    if (n < min || n > max)
        return lt_fail(e, LT_E_MALFORMED, "%s: %zu to %zu bytes are needed, %zu are there", what, min, max,
                       n);
    for (const char *c = s; *c; c++)
        if (*c <= ' ' || *c > '~')
            return lt_fail(e, LT_E_MALFORMED, "%s: byte %zu is blank or no ASCII", what, (size_t)(c - s));
    return 0;
}

int lt_token_check_nonce(const char *nonce, struct lt_err *e)
{
    return check_word("nonce", nonce, LT_TOKEN_NONCE_MIN, LT_TOKEN_NONCE_MAX, e);
}

int lt_token_check_audience(const char *aud, struct lt_err *e)
{
    return check_word("aud", aud, 1, LT_TOKEN_AUDIENCE_MAX, e);
}

/* ---- base64url ---- */

char *lt_token_base64url(const void *p, size_t n)
{
    char *s = lt_base64_dup(p, n);

    for (char *c = s; c && *c; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? 0 : *c;
    return s;
}

static int read_base64url(const char *s, size_t n, size_t max, uint8_t **out, size_t *out_n, struct lt_err *e)
{
    LT_AUTOFREE char *plain = lt_alloc(n + 4, 1);
    size_t at = n;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == '+' || s[i] == '/' || s[i] == '=')
            return lt_fail(e, LT_E_MALFORMED, "token: not base64url");
        plain[i] = s[i] == '-' ? '+' : s[i] == '_' ? '/' : s[i];
    }
    while (at % 4)
        plain[at++] = '=';
    return lt_unbase64(plain, at, max, out, out_n, e);
}

/* ---- keys ---- */

static const char *member(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* RFC 7638 3.2: the required members in order, without blanks. */
static char *thumbprint(const json_t *key)
{
    LT_JSON_AUTO json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "crv", member(key, "crv"), "kty",
                                       member(key, "kty"), "x", member(key, "x"), "y", member(key, "y"));
    LT_AUTOFREE char *text = o ? lt_json_dump(o) : NULL;
    uint8_t digest[LT_SHA256];

    if (!text)
        return NULL;
    lt_sha256(text, strlen(text), digest);
    return lt_token_base64url(digest, sizeof digest);
}

static void wipe_text(char *text)
{
    if (text)
        lt_wipe(text, strlen(text));
    free(text);
}

json_t *lt_token_key_new(struct lt_err *e)
{
    AUTO(free_jwk) cjose_jwk_t *jwk = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, NULL);
    char *text = jwk ? cjose_jwk_to_json(jwk, true, NULL) : NULL;
    json_t *key = text ? lt_json_parse(text, strlen(text), LT_MAX_BODY_SMALL, e) : NULL;
    LT_AUTOFREE char *kid = key ? thumbprint(key) : NULL;

    wipe_text(text);
    if (!kid) {
        json_decref(key);
        (void)lt_fail(e, LT_E_NO_MEMORY, "token key: it cannot be made");
        return NULL;
    }
    json_object_set_new(key, "kid", json_string(kid));
    json_object_set_new(key, "alg", json_string(ALGORITHM));
    json_object_set_new(key, "use", json_string("sig"));
    return key;
}

json_t *lt_token_key_public(const json_t *key)
{
    static const char *const members[] = {"kty", "crv", "x", "y", "kid", "alg", "use"};
    json_t *pub = json_object();

    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        json_object_set(pub, members[i], json_object_get(key, members[i]));
    return pub;
}

void lt_token_key_free(json_t *key)
{
    const char *d = member(key, "d");

    if (d)
        lt_wipe((char *)(uintptr_t)d, strlen(d));
    json_decref(key);
}

/* A key that ES256 may be verified with, or signed by. */
static int import(const json_t *key, cjose_jwk_t **out, struct lt_err *e)
{
    const char *kty = member(key, "kty"), *crv = member(key, "crv"), *alg = member(key, "alg"),
               *use = member(key, "use");

    if (!kty || strcmp(kty, "EC") || !crv || strcmp(crv, "P-256") || (alg && strcmp(alg, ALGORITHM)) ||
        (use && strcmp(use, "sig")))
        return lt_fail(e, LT_E_UNSUPPORTED, "token: its key is none of P-256 for " ALGORITHM);
    char *text = lt_json_dump(key);
    *out = text ? cjose_jwk_import(text, strlen(text), NULL) : NULL;
    wipe_text(text);
    return *out ? 0 : lt_fail(e, LT_E_MALFORMED, "token: its key cannot be read");
}

/* ---- signing ---- */

int lt_token_sign(const json_t *key, const json_t *claims, char **out, struct lt_err *e)
{
    AUTO(free_jwk) cjose_jwk_t *jwk = NULL;
    AUTO(free_header) cjose_header_t *header = cjose_header_new(NULL);
    AUTO(free_jws) cjose_jws_t *jws = NULL;
    LT_AUTOFREE char *text = lt_json_dump(claims);
    const char *kid = member(key, "kid"), *token = NULL;

    *out = NULL;
    LT_TRY(import(key, &jwk, e));
    if (!header || !text || !kid || !cjose_header_set(header, CJOSE_HDR_ALG, ALGORITHM, NULL) ||
        !cjose_header_set(header, CJOSE_HDR_KID, kid, NULL) ||
        !cjose_header_set(header, "typ", LT_TOKEN_TYPE, NULL) ||
        !(jws = cjose_jws_sign(jwk, header, (const uint8_t *)text, strlen(text), NULL)) ||
        !cjose_jws_export(jws, &token, NULL))
        return lt_fail(e, LT_E_INTERNAL, "token: it cannot be signed");
    *out = strdup(token);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "token: no memory");
}

/* ---- verifying ---- */

struct parts {
    const char *at[3];
    size_t n[3];
};

static int split(const char *token, size_t n, struct parts *p, struct lt_err *e)
{
    const char *end = token + n;

    if (n > LT_MAX_TOKEN)
        return lt_fail(e, LT_E_TOO_LARGE, "token: more than %d bytes", LT_MAX_TOKEN);
    for (int i = 0; i < 3; i++) {
        const char *dot = memchr(token, '.', (size_t)(end - token));
        p->at[i] = token;
        p->n[i] = (size_t)((dot ? dot : end) - token);
        if ((i < 2) != (dot != NULL) || !p->n[i])
            return lt_fail(e, LT_E_MALFORMED, "token: not three parts with dots between");
        token = dot + (dot ? 1 : 0);
    }
    return 0;
}

static json_t *read_part(const struct parts *p, int i, const char *what, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    if (read_base64url(p->at[i], p->n[i], LT_MAX_TOKEN, &text, &n, e)) {
        (void)lt_fail_in(e, e->code, "%s", what);
        return NULL;
    }
    json_t *j = lt_json_parse(text, n, LT_MAX_TOKEN, e);
    if (j && !json_is_object(j)) {
        json_decref(j);
        (void)lt_fail(e, LT_E_MALFORMED, "%s: not an object", what);
        return NULL;
    }
    return j;
}

/* Nothing in a token says by which rule it is to be believed: its header only names one of our keys. */
static int check_header(const json_t *h, const char **kid, struct lt_err *e)
{
    static const char *const keys[] = {"alg", "kid", "typ", NULL};
    const char *alg, *typ;

    LT_TRY_IN(lt_json_only(h, keys, e), e, "token header");
    LT_TRY_IN(lt_json_string(h, "alg", &alg, e), e, "token header");
    LT_TRY_IN(lt_json_string(h, "typ", &typ, e), e, "token header");
    LT_TRY_IN(lt_json_string(h, "kid", kid, e), e, "token header");
    if (strcmp(alg, ALGORITHM))
        return lt_fail(e, LT_E_UNSUPPORTED, "token: alg is %.32s, only " ALGORITHM " is accepted", alg);
    return strcmp(typ, LT_TOKEN_TYPE)
               ? lt_fail(e, LT_E_UNSUPPORTED, "token: typ is %.32s, only " LT_TOKEN_TYPE " is accepted", typ)
               : 0;
}

static int find_key(const json_t *jwks, const char *kid, const json_t **out, struct lt_err *e)
{
    const json_t *keys = json_object_get(jwks, "keys");
    size_t found = 0;

    if (!json_is_array(keys))
        return lt_fail(e, LT_E_MALFORMED, "JWKS: no array \"keys\"");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *k = json_array_get(keys, i);
        const char *is = member(k, "kid");
        if (is && !strcmp(is, kid)) {
            *out = k;
            found++;
        }
    }
    return found == 1 ? 0
                      : lt_fail(e, LT_E_BAD_SIGNATURE, "token: its key %.64s is %s in the JWKS", kid,
                                found ? "twice" : "not");
}

static int check_signature(const char *token, size_t n, const json_t *key, struct lt_err *e)
{
    AUTO(free_jwk) cjose_jwk_t *jwk = NULL;
    AUTO(free_jws) cjose_jws_t *jws = NULL;

    LT_TRY(import(key, &jwk, e));
    jws = cjose_jws_import(token, n, NULL);
    return jws && cjose_jws_verify(jws, jwk, NULL) ? 0
                                                   : lt_fail(e, LT_E_BAD_SIGNATURE, "token: bad signature");
}

static int check_text(const json_t *claims, const char *key, const char *want, struct lt_err *e)
{
    const char *is;

    LT_TRY_IN(lt_json_string(claims, key, &is, e), e, "token");
    return strcmp(is, want) ? lt_fail(e, LT_E_REFUSED, "token: %s is %.80s, not %.80s", key, is, want) : 0;
}

static int check_times(const json_t *claims, int64_t now, struct lt_err *e)
{
    int64_t iat, exp;

    LT_TRY_IN(lt_json_int(claims, "iat", 0, INT64_MAX / 2, &iat, e), e, "token");
    LT_TRY_IN(lt_json_int(claims, "exp", 0, INT64_MAX / 2, &exp, e), e, "token");
    if (exp <= now)
        return lt_fail(e, LT_E_REFUSED, "token: it ended %lld s ago", (long long)(now - exp));
    return iat > now + LT_TOKEN_SKEW_S
               ? lt_fail(e, LT_E_REFUSED, "token: it was made %lld s from now", (long long)(iat - now))
               : 0;
}

/* Every submodule there is says affirming, and there is the guest's. */
static int check_status(const json_t *claims, struct lt_err *e)
{
    json_t *submods, *one;
    const char *name, *status;

    LT_TRY_IN(lt_json_object(claims, "submods", &submods, e), e, "token");
    if (!json_is_object(json_object_get(submods, "guest")))
        return lt_fail(e, LT_E_MALFORMED, "token: no submodule guest");
    json_object_foreach(submods, name, one)
    {
        LT_TRY_IN(lt_json_string(one, "ear.status", &status, e), e, "token: submodule %.32s", name);
        if (strcmp(status, "affirming"))
            return lt_fail(e, LT_E_REFUSED, "token: %.32s is %.32s", name, status);
    }
    return 0;
}

static int check_claims(const json_t *claims, const struct lt_token_expected *x, struct lt_err *e)
{
    const char *profile;

    LT_TRY_IN(lt_json_string(claims, "eat_profile", &profile, e), e, "token");
    if (strcmp(profile, LT_TOKEN_PROFILE))
        return lt_fail(e, LT_E_UNSUPPORTED, "token: eat_profile is %.80s", profile);
    LT_TRY(check_text(claims, "aud", x->aud, e));
    LT_TRY(check_text(claims, "eat_nonce", x->nonce, e));
    if (x->issuer)
        LT_TRY(check_text(claims, "iss", x->issuer, e));
    LT_TRY(check_times(claims, x->now, e));
    return check_status(claims, e);
}

json_t *lt_token_verify(const char *token, size_t n, const json_t *jwks, const struct lt_token_expected *x,
                        struct lt_err *e)
{
    LT_JSON_AUTO json_t *header = NULL, *claims = NULL;
    const json_t *key = NULL;
    const char *kid = NULL;
    struct parts p;

    int rc = split(token, n, &p, e);
    if (!rc && !(header = read_part(&p, 0, "token header", e)))
        rc = e->code;
    if (!rc)
        rc = check_header(header, &kid, e);
    if (!rc)
        rc = find_key(jwks, kid, &key, e);
    if (!rc)
        rc = check_signature(token, n, key, e);
    if (!rc && !(claims = read_part(&p, 1, "token", e)))
        rc = e->code;
    if (!rc)
        rc = check_claims(claims, x, e);
    return rc ? NULL : lt_take(&claims);
}
