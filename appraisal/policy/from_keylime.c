#include "appraisal/policy/from_keylime.h"

#include "appraisal/policy/dsse.h"
#include "common/limits.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 256    /* characters of keylime_accept */
#define IMA_PCR 10       /* judged by the runtime policy alone */
#define TRANSPORT_PCR 16 /* names the transport key, and is in every quote */
#define ALWAYS_QUOTED                                                                                        \
    0xffffu /* PCRs that every guest is asked for: a mask may name them and judge nothing                    \
             */

static bool none(const char *s)
{
    return !s || !*s || !strcmp(s, "{}") || !strcmp(s, "null");
}

static void free_document(struct lt_from_keylime_document *d)
{
    free(d->p);
    *d = (struct lt_from_keylime_document){0};
}

void lt_from_keylime_free(struct lt_from_keylime *o)
{
    free_document(&o->policy);
    free_document(&o->runtime);
    free_document(&o->boot);
}

void lt_policy_cleanup_from_keylime(struct lt_from_keylime *o)
{
    lt_from_keylime_free(o);
}

/* Takes p. */
static void set_document(struct lt_from_keylime_document *d, uint8_t *p, size_t n)
{
    d->p = p;
    d->n = n;
    lt_sha256(p, n, d->digest);
}

static int copy_document(struct lt_from_keylime_document *d, struct lt_slice s, struct lt_err *e)
{
    uint8_t *p = malloc(s.n + 1);

    if (!p)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a document of %zu bytes", s.n);
    memcpy(p, s.p, s.n);
    p[s.n] = 0;
    set_document(d, p, s.n);
    return 0;
}

static int dump_document(struct lt_from_keylime_document *d, const json_t *j, struct lt_err *e)
{
    char *text = lt_json_dump(j);

    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a document");
    set_document(d, (uint8_t *)text, strlen(text));
    return 0;
}

/* A new object. */
static int object(const char *text, size_t n, json_t **out, struct lt_err *e)
{
    *out = lt_json_parse(text, n, LT_MAX_POLICY, e);
    if (!*out)
        return e->code;
    return json_is_object(*out) ? 0 : lt_fail(e, LT_E_MALFORMED, "not an object");
}

/* ---- tpm_policy ---- */

static int pcr_of(const char *key, unsigned *out, struct lt_err *e)
{
    size_t n = strspn(key, "0123456789");

    *out = n && n <= 2 && !key[n] && (*key != '0' || n == 1) ? (unsigned)strtoul(key, NULL, 10) : LT_MAX_PCRS;
    if (*out >= LT_MAX_PCRS)
        return lt_fail(e, LT_E_MALFORMED, "\"%.20s\" is neither a PCR from 0 to %d nor \"mask\"", key,
                       LT_MAX_PCRS - 1);
    if (*out == IMA_PCR || *out == TRANSPORT_PCR)
        return lt_fail(e, LT_E_MALFORMED, "\"%u\": PCR %u is not judged by its value", *out, *out);
    return 0;
}

/* Lower-cased. A length that is a bank's which is never quoted (SHA-1, SHA-512) is nobody's value. */
static int add_value(const json_t *v, json_t *list, struct lt_err *e)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";
    char lower[2 * LT_SHA384 + 1] = "";
    size_t n = strlen(s);

    if (strspn(s, "0123456789abcdefABCDEF") != n || (n != 40 && n != 64 && n != 96 && n != 128))
        return lt_fail(e, LT_E_MALFORMED, "a value that is no digest in hex");
    if (n != 2 * LT_SHA256 && n != 2 * LT_SHA384)
        return 0;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)s[i]);
    json_array_append_new(list, json_string(lower));
    return 0;
}

static int values(const json_t *given, json_t *list, struct lt_err *e)
{
    const json_t *v;
    size_t i;

    if (json_array_size(given) > LT_MAX_POLICY_VALUES)
        return lt_fail(e, LT_E_MALFORMED, "%zu values > %d", json_array_size(given), LT_MAX_POLICY_VALUES);
    if (!json_is_array(given))
        LT_TRY(add_value(given, list, e));
    json_array_foreach((json_t *)given, i, v)
    {
        LT_TRY(add_value(v, list, e));
    }
    return json_array_size(list)
               ? 0
               : lt_fail(e, LT_E_MALFORMED, "no value of SHA-256 (64 hex digits) or SHA-384 (96)");
}

static int mask_of(const json_t *v, uint32_t *out, struct lt_err *e)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";
    size_t digits = strncmp(s, "0x", 2) ? 0 : strspn(s + 2, "0123456789abcdefABCDEF");

    if (!digits || digits > 8 || s[2 + digits])
        return lt_fail(e, LT_E_MALFORMED, "\"mask\": not a text of 0x and hex");
    *out = (uint32_t)strtoul(s + 2, NULL, 16);
    return 0;
}

/* What is asked for is judged, or quoted anyway; what is judged is asked for. */
static int check_mask(uint32_t mask, uint32_t judged, struct lt_err *e)
{
    uint32_t idle = mask & ~judged & ~(ALWAYS_QUOTED | 1u << TRANSPORT_PCR), missing = judged & ~mask;

    if (missing)
        return lt_fail(e, LT_E_MALFORMED, "\"mask\": PCR %d has values and is not in it",
                       __builtin_ctz(missing));
    if (idle)
        return lt_fail(e, LT_E_MALFORMED, "\"mask\": bit %d is of no PCR that has values",
                       __builtin_ctz(idle));
    return 0;
}

static int one_pcr(const char *key, const json_t *given, json_t *pcrs, uint32_t *judged, struct lt_err *e)
{
    LT_JSON_AUTO json_t *list = json_array();
    unsigned pcr;

    LT_TRY(pcr_of(key, &pcr, e));
    LT_TRY_IN(values(given, list, e), e, "\"%u\"", pcr);
    *judged |= 1u << pcr;
    json_object_set(pcrs, key, list);
    return 0;
}

static int tpm_policy(const char *text, json_t *policy, struct lt_err *e)
{
    LT_JSON_AUTO json_t *given = NULL, *pcrs = json_object();
    uint32_t judged = 0, mask;
    const char *key;
    json_t *v;

    if (none(text))
        return 0;
    LT_TRY(object(text, strlen(text), &given, e));
    json_object_foreach(given, key, v)
    {
        if (strcmp(key, "mask"))
            LT_TRY(one_pcr(key, v, pcrs, &judged, e));
    }
    if ((v = json_object_get(given, "mask"))) {
        LT_TRY(mask_of(v, &mask, e));
        LT_TRY(check_mask(mask, judged, e));
    }
    if (judged)
        json_object_set(policy, "pcrs", pcrs);
    return 0;
}

/* ---- runtime policy ---- */

/* Signed once by who asks, or, always, by the key that is pinned. */
static int open_envelope(const struct lt_from_keylime_in *in, struct lt_from_keylime_document *d,
                         struct lt_err *e)
{
    LT_AUTOFREE uint8_t *payload = NULL;
    bool given = in->runtime_key && *in->runtime_key;
    size_t n = 0;

    if (!given && !in->pinned_key)
        return lt_fail(e, LT_E_BAD_SIGNATURE, "a DSSE envelope, and no runtime_policy_key to check it with");
    if (in->pinned_key) {
        LT_TRY_IN(lt_dsse_open(in->runtime.p, in->runtime.n, in->pinned_key, &payload, &n, e), e,
                  "policy_key");
        free(lt_take(&payload));
    }
    if (given)
        LT_TRY_IN(lt_dsse_open(in->runtime.p, in->runtime.n, in->runtime_key, &payload, &n, e), e,
                  "runtime_policy_key");
    if (in->pinned_key)
        return copy_document(d, in->runtime, e);
    set_document(d, lt_take(&payload), n);
    return 0;
}

static int open_plain(const struct lt_from_keylime_in *in, struct lt_from_keylime_document *d,
                      struct lt_err *e)
{
    if (in->pinned_key)
        return lt_fail(e, LT_E_REFUSED, "not signed, and policy_key is configured");
    if (in->runtime_key && *in->runtime_key)
        return lt_fail(e, LT_E_MALFORMED, "runtime_policy_key: the policy is not signed");
    return copy_document(d, in->runtime, e);
}

/* Keylime's older way to give keys, which takes the place of the policy's. */
static int replace_keys(const struct lt_from_keylime_in *in, struct lt_from_keylime_document *d,
                        struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = NULL;

    if (none(in->ima_keys))
        return 0;
    if (in->pinned_key)
        return lt_fail(e, LT_E_MALFORMED, "the runtime policy is signed, and names the keys");
    LT_TRY(object((const char *)d->p, d->n, &j, e));
    json_object_set_new(j, "verification-keys", lt_json_new_text(in->ima_keys));
    free_document(d);
    return dump_document(d, j, e);
}

static int runtime_policy(const struct lt_from_keylime_in *in, struct lt_from_keylime_document *d,
                          json_t *policy, struct lt_err *e)
{
    if (!in->runtime.n) {
        if (in->runtime_key && *in->runtime_key)
            return lt_fail(e, LT_E_MALFORMED, "runtime_policy_key: there is no runtime policy");
        return none(in->ima_keys) ? 0
                                  : lt_fail(e, LT_E_MALFORMED,
                                            "ima_sign_verification_keys: there is no runtime"
                                            " policy that they could serve");
    }
    if (in->runtime.n > LT_MAX_POLICY)
        return lt_fail(e, LT_E_TOO_LARGE, "runtime_policy: %zu bytes > %u", in->runtime.n, LT_MAX_POLICY);
    LT_TRY_IN(lt_dsse_is(in->runtime.p, in->runtime.n) ? open_envelope(in, d, e) : open_plain(in, d, e), e,
              "runtime_policy");
    LT_TRY_IN(replace_keys(in, d, e), e, "ima_sign_verification_keys");
    json_object_set_new(
        policy, "layers",
        json_pack("[{s:s, s:o}]", "name", "keylime", "policy", lt_json_new_hex(d->digest, sizeof d->digest)));
    json_object_set_new(policy, "ima", json_pack("{s:b}", "learn_keys", 1));
    return 0;
}

/* ---- mb_policy ---- */

/* The engine of ours reads these, and no others; nor does Keylime's. Our own form is checked where it is
 * read. */
static int check_refstate(const json_t *j, struct lt_err *e)
{
    static const char *const keys[] = {"has_secureboot", "scrtm_and_bios", "pk",      "kek",     "db", "dbx",
                                       "vendor_db",      "mokdig",         "mokxdig", "kernels", NULL};
    bool is = json_object_get(j, "scrtm_and_bios") || json_object_get(j, "kernels") ||
              json_object_get(j, "has_secureboot");

    return is ? lt_json_only(j, keys, e) : 0;
}

static int boot_policy(const char *text, struct lt_from_keylime_document *d, json_t *policy, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = NULL;

    if (none(text))
        return 0;
    LT_TRY(object(text, strlen(text), &j, e));
    if (!json_object_size(j)) /* "{ }" */
        return 0;
    LT_TRY(check_refstate(j, e));
    LT_TRY(copy_document(d, (struct lt_slice){(const uint8_t *)text, strlen(text)}, e));
    json_object_set_new(policy, "boot", lt_json_new_hex(d->digest, sizeof d->digest));
    return 0;
}

/* ---- the guest policy ---- */

static int translate(const struct lt_from_keylime_in *in, struct lt_from_keylime *o, struct lt_err *e)
{
    LT_JSON_AUTO json_t *policy = json_object();

    LT_TRY_IN(tpm_policy(in->tpm_policy, policy, e), e, "tpm_policy");
    LT_TRY(runtime_policy(in, &o->runtime, policy, e));
    LT_TRY_IN(boot_policy(in->boot, &o->boot, policy, e), e, "mb_policy");
    if (json_array_size(in->accept))
        json_object_set(policy, "accept", (json_t *)in->accept);
    if (in->host_policies)
        json_object_set(policy, "host_policies", (json_t *)in->host_policies);
    return dump_document(&o->policy, policy, e);
}

int lt_from_keylime(const struct lt_from_keylime_in *in, struct lt_from_keylime *out, struct lt_err *e)
{
    *out = (struct lt_from_keylime){0};
    int rc = translate(in, out, e);
    if (rc)
        lt_from_keylime_free(out);
    return rc;
}

/* ---- keylime_accept ---- */

static void add_once(json_t *list, const char *word)
{
    const json_t *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        if (!strcmp(json_string_value(v), word))
            return;
    }
    json_array_append_new(list, json_string(word));
}

static int add_word(const char *word, json_t *list, struct lt_err *e)
{
    static const char *const words[] = {"resident", "appraised", "bound",    "copyable",   "boot-only",
                                        "tainted",  "open-boot", "unjudged", "ek-unproven"};
    size_t i = 0;

    while (i < sizeof words / sizeof *words && strcmp(words[i], word))
        i++;
    if (i == sizeof words / sizeof *words)
        return lt_fail(
            e, LT_E_CONFIG,
            "\"%.20s\" is none of resident, appraised, bound, copyable, boot-only, tainted, open-boot,"
            " unjudged, ek-unproven",
            word);
    if (i >= 2) /* what is not the default */
        add_once(list, word);
    return 0;
}

int lt_from_keylime_accept(const char *words, bool unlinked, json_t **out, struct lt_err *e)
{
    LT_JSON_AUTO json_t *list = json_array();
    char copy[MAX_WORDS + 1], *save = NULL;
    size_t n = strlen(words);

    *out = NULL;
    if (n > MAX_WORDS)
        return lt_fail(e, LT_E_CONFIG, "%zu characters > %d", n, MAX_WORDS);
    memcpy(copy, words, n + 1);
    for (char *w = strtok_r(copy, ", ", &save); w; w = strtok_r(NULL, ", ", &save))
        LT_TRY(add_word(w, list, e));
    if (unlinked)
        json_array_append_new(list, json_string("unlinked"));
    *out = lt_take(&list);
    return 0;
}
