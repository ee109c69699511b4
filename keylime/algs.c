#include "keylime/algs.h"

#include <string.h>

const char *lt_algs_hash_name(uint16_t alg)
{
    switch (alg) {
    case 0x0004:
        return "sha1";
    case 0x000b:
        return "sha256";
    case 0x000c:
        return "sha384";
    case 0x000d:
        return "sha512";
    default:
        return "";
    }
}

static const char *rsa_name(uint16_t bits)
{
    switch (bits) {
    case 1024:
        return "rsa1024";
    case 2048:
        return "rsa2048";
    case 3072:
        return "rsa3072";
    case 4096:
        return "rsa4096";
    default:
        return "";
    }
}

static const char *curve_name(uint16_t curve)
{
    switch (curve) {
    case LT_TPM_ECC_P256:
        return "ecc256";
    case LT_TPM_ECC_P384:
        return "ecc384";
    case LT_TPM_ECC_P521:
        return "ecc521";
    default:
        return "";
    }
}

static const char *scheme_name(uint16_t scheme)
{
    switch (scheme) {
    case LT_TPM_ALG_RSASSA:
        return "rsassa";
    case LT_TPM_ALG_RSAPSS:
        return "rsapss";
    case LT_TPM_ALG_ECDSA:
        return "ecdsa";
    default:
        return "";
    }
}

const char *lt_algs_name(const struct lt_public *ak, enum lt_algs_kind kind)
{
    if (kind == LT_ALGS_HASH)
        return lt_algs_hash_name(ak->scheme_hash);
    if (kind == LT_ALGS_SIGN)
        return scheme_name(ak->scheme);
    return ak->type == LT_TPM_ALG_RSA ? rsa_name(ak->rsa_bits) : curve_name(ak->curve);
}

const char *lt_algs_key(enum lt_algs_kind kind)
{
    static const char *const keys[] = {"accept_tpm_hash_algs", "accept_tpm_encryption_algs",
                                       "accept_tpm_signing_algs"};
    return keys[kind];
}

int lt_algs_check_list(const json_t *o, enum lt_algs_kind kind, struct lt_err *e)
{
    const char *key = lt_algs_key(kind);
    json_t *list;

    LT_TRY(lt_json_array(o, key, LT_ALGS_MAX, &list, e));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)) || json_string_length(json_array_get(list, i)) > 32)
            return lt_fail(e, LT_E_MALFORMED, "%s[%zu]: no name of an algorithm", key, i);
    return 0;
}

static const char *whole(const char *name)
{
    return !strcmp(name, "rsa") ? "rsa2048" : !strcmp(name, "ecc") ? "ecc256" : name;
}

static bool listed(const json_t *list, const char *name)
{
    bool found = false;

    for (size_t i = 0; *name && i < json_array_size(list); i++)
        found |= !strcmp(whole(json_string_value(json_array_get(list, i))), whole(name));
    return found;
}

int lt_algs_accepted(const json_t *o, const struct lt_public *ak, struct lt_err *e)
{
    for (int kind = 0; kind < LT_ALGS_KINDS; kind++) {
        const char *name = lt_algs_name(ak, (enum lt_algs_kind)kind);
        LT_TRY(lt_algs_check_list(o, (enum lt_algs_kind)kind, e));
        if (!listed(json_object_get(o, lt_algs_key((enum lt_algs_kind)kind)), name))
            return lt_fail(e, LT_E_MALFORMED, "%s: the AK's %s is not in it",
                           lt_algs_key((enum lt_algs_kind)kind),
                           *name ? name : "algorithm, which has no name");
    }
    return 0;
}
