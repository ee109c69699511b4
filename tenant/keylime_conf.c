#include "tenant/keylime_conf.h"

#include "appraisal/policy/from_keylime.h"

#include <string.h>

#define MAX_HOST_POLICIES 64 /* in keylime_host_policies, count */

/* Digests, between commas or blanks: a new array. */
static int digests(const char *words, json_t **out, struct lt_err *e)
{
    LT_JSON_AUTO json_t *list = json_array();
    uint8_t digest[LT_SHA256];
    char hex[2 * LT_SHA256 + 1];

    *out = NULL;
    while (*(words += strspn(words, ", "))) {
        size_t n = strcspn(words, ", ");
        if (n != sizeof hex - 1 || !lt_unhex_lower(words, LT_SHA256, digest))
            return lt_fail(e, LT_E_CONFIG, "\"%.*s\" is no digest in lower-case hex", (int)(n < 70 ? n : 70),
                           words);
        if (json_array_size(list) == MAX_HOST_POLICIES)
            return lt_fail(e, LT_E_CONFIG, "more than %d", MAX_HOST_POLICIES);
        lt_hex(digest, sizeof digest, hex);
        json_array_append_new(list, json_string(hex));
        words += n;
    }
    *out = lt_take(&list);
    return 0;
}

int lt_tenant_keylime_conf_read(const struct lt_tenant_keylime_conf *c, json_t **accept,
                                json_t **host_policies, struct lt_err *e)
{
    LT_TRY_IN(lt_from_keylime_accept(c->accept, c->unlinked, accept, e), e, "keylime_accept");
    LT_TRY_IN(digests(c->host_policies, host_policies, e), e, "keylime_host_policies");
    return 0;
}

int lt_tenant_keylime_conf_check(const struct lt_tenant_keylime_conf *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *accept = NULL, *host_policies = NULL;

    return lt_tenant_keylime_conf_read(c, &accept, &host_policies, e);
}
