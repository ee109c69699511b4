/* Keys "layers", "boot" and "ima" of guest and host policies. */
#include "appraisal/policy/policy.h"

#include "common/json.h"
#include "common/limits.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* RFC 3339 in UTC without fractions: "2026-01-01T00:00:00Z", as strftime writes it again: no 30th of
 * February. 1970 itself is left out: 0 stands for open. */
static bool instant(const char *s, int64_t *out)
{
    static const char form[] = "%Y-%m-%dT%H:%M:%SZ";
    struct tm tm = {0};
    char again[24];
    const char *end = strptime(s, form, &tm);

    if (!end || *end)
        return false;
    time_t t = timegm(&tm);
    *out = t;
    return gmtime_r(&t, &tm) && tm.tm_year > 70 && strftime(again, sizeof again, form, &tm) &&
           !strcmp(again, s);
}

static int bound(const json_t *o, const char *key, int64_t *out, struct lt_err *e)
{
    const char *s;

    *out = 0;
    if (!json_object_get(o, key))
        return 0;
    LT_TRY(lt_json_string(o, key, &s, e));
    return instant(s, out)
               ? 0
               : lt_fail(e, LT_E_MALFORMED, "\"%s\": \"%.30s\" is no time like 2026-01-01T00:00:00Z", key, s);
}

bool lt_policy_layer_in_force(const struct lt_policy_layer_rule *l, int64_t now)
{
    return (!l->not_before || now >= l->not_before) && (!l->not_after || now <= l->not_after);
}

/* Names stand in messages and on command lines. */
static int layer_name(const json_t *o, char out[64], struct lt_err *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *s;

    LT_TRY(lt_json_string(o, "name", &s, e));
    size_t n = strlen(s);
    if (!n || n > 63 || strspn(s, allowed) != n)
        return lt_fail(e, LT_E_MALFORMED, "\"name\": not 1 to 63 of letters, digits, '.', '_', '-'");
    memcpy(out, s, n + 1);
    return 0;
}

static int layer(const json_t *o, struct lt_policy_measured *p, struct lt_err *e)
{
    static const char *const keys[] = {"name", "policy", "not_before", "not_after", NULL};
    struct lt_policy_layer_rule *l = &p->layer[p->layer_count];

    if (!json_is_object(o))
        return lt_fail(e, LT_E_MALFORMED, "not an object");
    LT_TRY(lt_json_only(o, keys, e));
    LT_TRY(layer_name(o, l->name, e));
    LT_TRY(lt_json_hex(o, "policy", l->policy, sizeof l->policy, e));
    LT_TRY(bound(o, "not_before", &l->not_before, e));
    LT_TRY(bound(o, "not_after", &l->not_after, e));
    if (l->not_before && l->not_after && l->not_after < l->not_before)
        return lt_fail(e, LT_E_MALFORMED, "\"%s\" ends before it begins", l->name);
    for (unsigned i = 0; i < p->layer_count; i++)
        if (!strcmp(p->layer[i].name, l->name))
            return lt_fail(e, LT_E_MALFORMED, "\"%s\" is the name of layer %u already", l->name, i);
    p->layer_count++;
    return 0;
}

static int layers(const json_t *j, struct lt_policy_measured *p, struct lt_err *e)
{
    json_t *list, *o;
    size_t i;

    LT_TRY(lt_json_array(j, "layers", LT_MAX_LAYERS, &list, e));
    if (!json_array_size(list)) /* a slip that would switch the IMA list off */
        return lt_fail(e, LT_E_MALFORMED, "policy \"layers\": empty; leave the key out");
    json_array_foreach(list, i, o)
    {
        LT_TRY_IN(layer(o, p, e), e, "policy \"layers\" %zu", i);
    }
    return 0;
}

/* "accept" or, as when it is absent, "fail". */
static int acceptance(const json_t *o, const char *key, bool *out, struct lt_err *e)
{
    const char *s = "fail";

    if (json_object_get(o, key))
        LT_TRY(lt_json_string(o, key, &s, e));
    *out = !strcmp(s, "accept");
    if (!*out && strcmp(s, "fail"))
        return lt_fail(e, LT_E_MALFORMED, "\"%s\": \"%.20s\" is neither accept nor fail", key, s);
    return 0;
}

static int ima(const json_t *j, struct lt_policy_measured *p, struct lt_err *e)
{
    static const char *const keys[] = {"violations", "sha1_padded", "learn_keys", "log_hash", NULL};
    const char *s;
    json_t *o;

    LT_TRY(lt_json_object(j, "ima", &o, e));
    LT_TRY(lt_json_only(o, keys, e));
    if (!p->layer_count)
        return lt_fail(e, LT_E_MALFORMED, "without \"layers\" there is nothing to apply it to");
    LT_TRY(acceptance(o, "violations", &p->accept_violations, e));
    LT_TRY(acceptance(o, "sha1_padded", &p->accept_padded, e));
    if (json_object_get(o, "learn_keys"))
        LT_TRY(lt_json_bool(o, "learn_keys", &p->learn_keys, e));
    if (json_object_get(o, "log_hash")) {
        LT_TRY(lt_json_string(o, "log_hash", &s, e));
        if (!(p->log_hash = lt_hash_by_name(s)))
            return lt_fail(e, LT_E_MALFORMED,
                           "\"log_hash\": \"%.20s\" is none of sha1, sha256, sha384, sha512", s);
    }
    return 0;
}

int lt_policy_measured_parse(const json_t *j, struct lt_policy_measured *p, struct lt_err *e)
{
    *p = (struct lt_policy_measured){0};
    if (json_object_get(j, "layers"))
        LT_TRY(layers(j, p, e));
    if (json_object_get(j, "boot")) {
        LT_TRY(lt_json_hex(j, "boot", p->boot, sizeof p->boot, e));
        p->has_boot = true;
    }
    if (json_object_get(j, "ima"))
        LT_TRY_IN(ima(j, p, e), e, "policy \"ima\"");
    return 0;
}
