#include "keylime/add.h"

#include "common/limits.h"
#include "keylime/algs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ECHO 65536 /* what is only told back */

void lt_add_free(struct lt_add *a)
{
    free(a->tpm_policy);
    free(a->runtime);
    free(a->runtime_key);
    free(a->boot);
    free(a->ima_keys);
    json_decref(a->given);
    memset(a, 0, sizeof *a);
}

void lt_keylime_cleanup_add(struct lt_add *a)
{
    lt_add_free(a);
}

/* A text, null or absent. */
static int optional(const json_t *o, const char *key, size_t max, const char **out, struct lt_err *e)
{
    *out = NULL;
    if (!lt_json_has(o, key))
        return 0;
    LT_TRY(lt_json_string(o, key, out, e));
    if (strlen(*out) > max)
        return lt_fail(e, LT_E_TOO_LARGE, "%s: %zu characters > %zu", key, strlen(*out), max);
    if (!**out)
        *out = NULL;
    return 0;
}

int lt_add_text(const json_t *o, const char *key, size_t max, char **out, struct lt_err *e)
{
    const char *s;

    *out = NULL;
    if (!json_object_get(o, key))
        return lt_fail(e, LT_E_MALFORMED, "%s is missing", key);
    LT_TRY(optional(o, key, max, &s, e));
    if (s && !(*out = strdup(s)))
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", key);
    return 0;
}

int lt_add_document(const json_t *o, const char *key, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    const char *s;

    *out = NULL;
    *n = 0;
    LT_TRY(optional(o, key, lt_base64_size(max), &s, e));
    if (!s)
        return 0;
    LT_TRY_IN(lt_unbase64(s, strlen(s), max, out, n, e), e, "%s", key);
    uint8_t *p = realloc(*out, *n + 1);
    if (!p) {
        free(lt_take(out));
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", key);
    }
    p[*n] = 0;
    *out = p;
    return 0;
}

static int name(const json_t *o, const char *key, char out[LT_ID_MAX + 1], struct lt_err *e)
{
    const char *s;

    LT_TRY(optional(o, key, LT_ID_MAX, &s, e));
    if (s && !lt_id_ok(s))
        return lt_fail(e, LT_E_MALFORMED, "%s: a name has 1 to %d of A-Z a-z 0-9 . _ -", key, LT_ID_MAX);
    if (s)
        memcpy(out, s, strlen(s) + 1);
    return 0;
}

/* keylime_tenant sends numbers, and text where its command line had a port. *out 0: null or absent. */
static int port(const json_t *o, const char *key, int64_t *out, struct lt_err *e)
{
    const json_t *v = json_object_get(o, key);
    const char *s = json_string_value(v);
    size_t digits = s ? strspn(s, "0123456789") : 0;

    *out = 0;
    if (!lt_json_has(o, key) || (s && !*s))
        return 0;
    if (s && digits <= 5 && !s[digits])
        *out = strtol(s, NULL, 10);
    else if (json_is_integer(v))
        *out = json_integer_value(v);
    return *out > 0 && *out < 65536 ? 0 : lt_fail(e, LT_E_MALFORMED, "%s: no port", key);
}

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *port_or_null(int64_t n)
{
    return n ? json_integer(n) : json_null();
}

/* Where the agent is reached; told back as `ip` and `port`. */
static int read_contact(const json_t *o, struct lt_add *a, struct lt_err *e)
{
    const char *ip;
    int64_t at;

    LT_TRY(optional(o, "cloudagent_ip", 255, &ip, e));
    LT_TRY(port(o, "cloudagent_port", &at, e));
    if (ip && at) {
        bool v6 = strchr(ip, ':') && *ip != '[';
        snprintf(a->address, sizeof a->address, v6 ? "[%.255s]:%u" : "%.255s:%u", ip, (unsigned)at);
    }
    json_object_set_new(a->given, "ip", text_or_null(ip));
    json_object_set_new(a->given, "port", port_or_null(at));
    return 0;
}

/* keylime_tenant goes on at the address that it reads here, so it is what it gave, never one of ours. */
static int read_echo(const json_t *o, struct lt_add *a, struct lt_err *e)
{
    static const char *const texts[][2] = {{"verifier_ip", "verifier_ip"},
                                           {"metadata", "meta_data"},
                                           {"mtls_cert", "mtls_cert"},
                                           {"supported_version", "supported_version"}};
    int64_t at;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *s;
        LT_TRY(optional(o, texts[i][0], MAX_ECHO, &s, e));
        json_object_set_new(a->given, texts[i][1], text_or_null(s));
    }
    LT_TRY(port(o, "verifier_port", &at, e));
    json_object_set_new(a->given, "verifier_port", port_or_null(at));
    json_object_set_new(a->given, "tpm_policy", text_or_null(a->tpm_policy));
    json_object_set_new(a->given, LT_ADD_IMA_KEYS, text_or_null(a->ima_keys));
    for (int kind = 0; kind < LT_ALGS_KINDS; kind++) {
        const char *key = lt_algs_key((enum lt_algs_kind)kind);
        LT_TRY(lt_algs_check_list(o, (enum lt_algs_kind)kind, e));
        json_object_set(a->given, key, json_object_get(o, key));
    }
    return 0;
}

static int read_policies(const json_t *o, struct lt_add *a, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *key = NULL;
    size_t n;

    LT_TRY(lt_add_text(o, "tpm_policy", LT_MAX_BODY_SMALL, &a->tpm_policy, e));
    LT_TRY(lt_add_document(o, "runtime_policy", LT_MAX_POLICY, &a->runtime, &a->runtime_n, e));
    LT_TRY(lt_add_document(o, "runtime_policy_key", LT_MAX_PUBKEY, &key, &n, e));
    a->runtime_key = (char *)lt_take(&key);
    LT_TRY(lt_add_text(o, "mb_policy", LT_MAX_BOOT_POLICY, &a->boot, e));
    LT_TRY(lt_add_text(o, LT_ADD_IMA_KEYS, LT_MAX_KEYRING_TEXT, &a->ima_keys, e));
    LT_TRY(name(o, "runtime_policy_name", a->runtime_name, e));
    return name(o, "mb_policy_name", a->boot_name, e);
}

static int read_ak(const json_t *o, struct lt_add *a, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    struct lt_public parsed;

    LT_TRY(lt_json_base64(o, "ak_tpm", LT_MAX_PUBLIC, &p, &a->ak_n, e));
    LT_TRY_IN(lt_public_parse(p, a->ak_n, &parsed, e), e, "ak_tpm");
    memcpy(a->ak, p, a->ak_n);
    return 0;
}

int lt_add_read(const json_t *body, struct lt_add *out, struct lt_err *e)
{
    memset(out, 0, sizeof *out);
    out->given = json_object();
    if (!out->given)
        return lt_fail(e, LT_E_NO_MEMORY, "add: no memory");
    int rc = read_ak(body, out, e);
    if (!rc)
        rc = read_policies(body, out, e);
    if (!rc)
        rc = read_contact(body, out, e);
    if (!rc)
        rc = read_echo(body, out, e);
    if (rc)
        lt_add_free(out);
    return rc;
}
