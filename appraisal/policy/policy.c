#include "appraisal/policy/policy.h"

#include "common/alloc.h"
#include "common/json.h"
#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void digests_free(struct lt_policy_digests *l)
{
    free(l->d);
}

static void rules_free(struct lt_policy_pcr_rules *r)
{
    for (int i = 0; i < LT_MAX_PCRS; i++) {
        digests_free(&r->accepted[i]);
        free(r->accepted_384[i].d);
    }
}

void lt_policy_host_free(struct lt_policy_host *p)
{
    if (!p)
        return;
    rules_free(&p->pcrs);
    free(p);
}

void lt_policy_guest_free(struct lt_policy_guest *p)
{
    if (!p)
        return;
    rules_free(&p->pcrs);
    digests_free(&p->firmware);
    digests_free(&p->domain);
    digests_free(&p->host_policies);
    digests_free(&p->seals);
    digests_free(&p->escrow);
    digests_free(&p->authorities);
    digests_free(&p->retired_host_policies);
    digests_free(&p->retired_hosts);
    free(p);
}

static int digests(const json_t *o, const char *key, struct lt_policy_digests *out, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, key, LT_MAX_POLICY_VALUES, &list, e));
    size_t n = json_array_size(list);
    if (n && !(out->d = calloc(n, sizeof *out->d)))
        return lt_fail(e, LT_E_NO_MEMORY, "policy \"%s\": no memory for %zu digests", key, n);
    json_array_foreach(list, i, v)
    {
        LT_TRY_IN(lt_unhex(json_string_value(v), out->d[i], sizeof out->d[i], e), e,
                  "policy \"%s\" value %zu", key, i);
    }
    out->count = n;
    return 0;
}

/* Of one PCR: two banks in one list. */
static int values(const json_t *o, const char *key, struct lt_policy_digests *out,
                  struct lt_policy_digests_384 *out_384, struct lt_err *e)
{
    json_t *list, *v;
    size_t i;

    LT_TRY(lt_json_array(o, key, LT_MAX_POLICY_VALUES, &list, e));
    size_t n = json_array_size(list), wide = 0;
    json_array_foreach(list, i, v) wide += json_string_length(v) == 2 * LT_SHA384;
    if ((n > wide && !(out->d = calloc(n - wide, sizeof *out->d))) ||
        (wide && !(out_384->d = calloc(wide, sizeof *out_384->d))))
        return lt_fail(e, LT_E_NO_MEMORY, "policy \"%s\": no memory for %zu digests", key, n);
    json_array_foreach(list, i, v)
    {
        const char *s = json_string_value(v);
        bool is_wide = json_string_length(v) == 2 * LT_SHA384;
        uint8_t *at = is_wide ? out_384->d[out_384->count++] : out->d[out->count++];
        LT_TRY_IN(lt_unhex(s, at, is_wide ? LT_SHA384 : LT_SHA256, e), e, "policy \"%s\" value %zu", key, i);
    }
    return 0;
}

static int rules(const json_t *policy, struct lt_policy_pcr_rules *out, struct lt_err *e)
{
    const char *key;
    json_t *o, *v;
    unsigned i;
    char canonical[12];

    if (!json_object_get(policy, "pcrs"))
        return 0;
    LT_TRY(lt_json_object(policy, "pcrs", &o, e));
    json_object_foreach(o, key, v)
    {
        for (i = 0; i < LT_MAX_PCRS; i++) {
            snprintf(canonical, sizeof canonical, "%u", i);
            if (!strcmp(key, canonical))
                break;
        }
        if (i == LT_MAX_PCRS)
            return lt_fail(e, LT_E_MALFORMED, "policy \"pcrs\": \"%.20s\" is no PCR from 0 to %d", key,
                           LT_MAX_PCRS - 1);
        LT_TRY_IN(values(o, key, &out->accepted[i], &out->accepted_384[i], e), e, "policy PCR %u", i);
        out->mask |= 1u << i;
    }
    return 0;
}

/* An object with these keys only; *out is a new reference. */
static int document(const void *p, size_t n, const char *const *keys, json_t **out, struct lt_err *e)
{
    *out = lt_json_parse(p, n, LT_MAX_POLICY, e);
    if (!*out)
        return e->code;
    if (!json_is_object(*out))
        return lt_fail(e, LT_E_MALFORMED, "policy: not an object");
    return lt_json_only(*out, keys, e);
}

int lt_policy_host_parse(const void *p, size_t n, struct lt_policy_host **out, struct lt_err *e)
{
    static const char *const keys[] = {"pcrs", "layers", "boot", "ima", NULL};
    LT_JSON_AUTO json_t *j = NULL;

    *out = NULL;
    LT_TRY(document(p, n, keys, &j, e));
    LT_AUTO(lt_policy_host) struct lt_policy_host *policy = lt_new(struct lt_policy_host);
    LT_TRY(rules(j, &policy->pcrs, e));
    LT_TRY(lt_policy_measured_parse(j, &policy->measured, e));
    lt_sha256(p, n, policy->digest);
    *out = lt_take(&policy);
    return 0;
}

/* What a tenant accepts although it is weaker, each by its name. */
static int accept(const json_t *j, struct lt_policy_guest *p, struct lt_err *e)
{
    const struct {
        const char *name;
        bool *flag;
    } names[] = {{"bound", &p->accept_bound},         {"copyable", &p->accept_copyable},
                 {"boot-only", &p->accept_boot_only}, {"tainted", &p->accept_tainted},
                 {"open-boot", &p->accept_open_boot}, {"unlinked", &p->accept_unlinked},
                 {"unjudged", &p->accept_unjudged},   {"ek-unproven", &p->accept_ek_unproven}};
    json_t *list, *v;
    size_t i, k;

    if (!json_object_get(j, "accept"))
        return 0;
    LT_TRY(lt_json_array(j, "accept", sizeof names / sizeof *names, &list, e));
    json_array_foreach(list, i, v)
    {
        const char *s = json_is_string(v) ? json_string_value(v) : "";
        for (k = 0; k < sizeof names / sizeof *names && strcmp(names[k].name, s); k++)
            ;
        if (k == sizeof names / sizeof *names)
            return lt_fail(e, LT_E_MALFORMED,
                           "policy \"accept\" value %zu: \"%.20s\" is none of bound, copyable, boot-only, "
                           "tainted, open-boot,"
                           " unlinked, unjudged, ek-unproven",
                           i, s);
        if (*names[k].flag)
            return lt_fail(e, LT_E_MALFORMED, "policy \"accept\" value %zu: \"%s\" is there already", i, s);
        *names[k].flag = true;
    }
    return 0;
}

/* What stands in both would be taken for accepted by one reader and for retired by another. */
static int retired(const struct lt_policy_guest *p, struct lt_err *e)
{
    char hex[2 * LT_SHA256 + 1];

    for (size_t i = 0; i < p->retired_host_policies.count; i++) {
        const uint8_t *d = p->retired_host_policies.d[i];
        lt_hex(d, LT_SHA256, hex);
        if (lt_policy_digests_have(&p->host_policies, d))
            return lt_fail(e, LT_E_MALFORMED,
                           "policy \"retired_host_policies\": %s is in \"host_policies\" too", hex);
    }
    return 0;
}

/* What a sealed vTPM may have been open to. */
static int sealing(const json_t *j, struct lt_policy_guest *p, struct lt_err *e)
{
    const struct {
        const char *key;
        struct lt_policy_digests *out;
    } lists[] = {{"host_policies", &p->host_policies},
                 {"seals", &p->seals},
                 {"escrow", &p->escrow},
                 {"authorities", &p->authorities},
                 {"retired_host_policies", &p->retired_host_policies},
                 {"retired_hosts", &p->retired_hosts}};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (json_object_get(j, lists[i].key))
            LT_TRY(digests(j, lists[i].key, lists[i].out, e));
    return retired(p, e);
}

static int guest_policy(const json_t *j, struct lt_policy_guest *p, struct lt_err *e)
{
    p->judges_firmware = json_object_get(j, "firmware");
    p->judges_domain = json_object_get(j, "domain");
    LT_TRY(rules(j, &p->pcrs, e));
    LT_TRY(lt_policy_measured_parse(j, &p->measured, e));
    if (p->judges_firmware)
        LT_TRY(digests(j, "firmware", &p->firmware, e));
    if (p->judges_domain)
        LT_TRY(digests(j, "domain", &p->domain, e));
    LT_TRY(sealing(j, p, e));
    return accept(j, p, e);
}

int lt_policy_guest_parse(const void *p, size_t n, struct lt_policy_guest **out, struct lt_err *e)
{
    static const char *const keys[] = {
        "pcrs",  "firmware", "domain",      "host_policies",         "accept",        "layers", "boot", "ima",
        "seals", "escrow",   "authorities", "retired_host_policies", "retired_hosts", NULL};
    LT_JSON_AUTO json_t *j = NULL;

    *out = NULL;
    LT_TRY(document(p, n, keys, &j, e));
    LT_AUTO(lt_policy_guest) struct lt_policy_guest *policy = lt_new(struct lt_policy_guest);
    LT_TRY(guest_policy(j, policy, e));
    lt_sha256(p, n, policy->digest);
    *out = lt_take(&policy);
    return 0;
}

bool lt_policy_digests_have(const struct lt_policy_digests *l, const uint8_t d[LT_SHA256])
{
    for (size_t i = 0; i < l->count; i++)
        if (!memcmp(l->d[i], d, LT_SHA256))
            return true;
    return false;
}

bool lt_policy_pcr_rules_know(const struct lt_policy_pcr_rules *r, uint16_t alg)
{
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        size_t mine = alg == LT_HASH_SHA256 ? r->accepted[i].count : r->accepted_384[i].count;
        if (!mine && (r->accepted[i].count || r->accepted_384[i].count))
            return false;
    }
    return true;
}

static bool accepts(const struct lt_policy_pcr_rules *r, uint16_t alg, unsigned pcr, const uint8_t *value)
{
    const struct lt_policy_digests_384 *wide = &r->accepted_384[pcr];

    if (alg == LT_HASH_SHA256)
        return lt_policy_digests_have(&r->accepted[pcr], value);
    for (size_t i = 0; i < wide->count; i++)
        if (!memcmp(wide->d[i], value, LT_SHA384))
            return true;
    return false;
}

int lt_policy_pcr_rules_bad(const struct lt_policy_pcr_rules *r, const struct lt_pcrs *quoted)
{
    for (int i = 0; i < LT_MAX_PCRS; i++)
        if (r->mask >> i & 1 &&
            (!(quoted->mask >> i & 1) || !accepts(r, quoted->alg, (unsigned)i, quoted->value[i])))
            return i;
    return -1;
}

int lt_policy_pcr_rules_judge(const struct lt_policy_pcr_rules *r, const struct lt_pcrs *quoted,
                              const uint8_t policy[LT_SHA256], struct lt_err *e)
{
    char name[2 * LT_SHA256 + 1], value[2 * LT_SHA384 + 1];

    lt_hex(policy, LT_SHA256, name);
    if (r->mask && quoted->alg != LT_HASH_SHA256 && quoted->alg != LT_HASH_SHA384)
        return lt_fail(e, LT_E_REFUSED, "PCR values of bank 0x%04x, policy %s judges sha256 and sha384",
                       quoted->alg, name);
    int i = lt_policy_pcr_rules_bad(r, quoted);
    if (i < 0)
        return 0;
    if (!(quoted->mask >> i & 1))
        return lt_fail(e, LT_E_REFUSED, "PCR %d: named in policy %s and not in the quote", i, name);
    lt_hex(quoted->value[i], lt_hash_size(quoted->alg), value);
    return lt_fail(e, LT_E_REFUSED, "PCR %d: %s is not among the %zu accepted values of policy %s", i, value,
                   quoted->alg == LT_HASH_SHA256 ? r->accepted[i].count : r->accepted_384[i].count, name);
}
