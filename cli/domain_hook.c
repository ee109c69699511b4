/* limetree domain hook: libvirt's hook for QEMU domains (/etc/libvirt/hooks/qemu.d). libvirtd waits for it
 * with the domain locked, and shows its standard error where it refuses; so it ends within ten seconds, with
 * a sentence. Whatever has no secret of ours it lets pass. */
#include "cli/client.h"
#include "cli/domain_verbs.h"
#include "common/alloc.h"
#include "vtpm/domain.h"
#include "vtpm/seal/entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a start that fails libvirt tells prepare and release: together less than ten seconds. */
static const struct operation {
    const char *name, *sub;
    long ms;
    bool refuses; /* a failure of ours ends the start; later it would end a guest that runs */
} listened[] = {
    {"prepare", "begin", 6000, true},
    {"started", "begin", 2000, false},
    {"release", "end", 2000, false},
};

/* NULL: none that the agent is told of. */
static const struct operation *operation_of(const struct lt_cli_domain *c)
{
    for (size_t i = 0; i < sizeof listened / sizeof *listened; i++)
        if (!strcmp(listened[i].name, c->argument[1]) &&
            (c->count < 3 || !strcmp(listened[i].sub, c->argument[2])))
            return &listened[i];
    return NULL;
}

/* The domain names the secret of its own sealed vTPM. What cannot be read is not ours to start. */
static bool ours(const uint8_t *xml, size_t n, uint8_t uuid[LT_UUID])
{
    uint8_t named[LT_UUID], own[LT_UUID];
    struct lt_domain d;

    bool is = !lt_domain_parse(xml, n, &d, LT_NO_ERR) && d.tpm_secret &&
              !lt_uuid_parse(d.tpm_secret, named, LT_NO_ERR);
    memcpy(uuid, d.uuid, LT_UUID);
    lt_domain_free(&d);
    lt_seal_secret_uuid(uuid, own);
    return is && !memcmp(named, own, LT_UUID);
}

static int tell(const struct lt_cli_domain *c, const struct operation *o, const uint8_t uuid[LT_UUID],
                const uint8_t *xml, size_t n, struct lt_err *e)
{
    json_t *text = json_stringn((const char *)xml, n);

    if (!text)
        return lt_fail(e, LT_E_MALFORMED, "domain XML: not UTF-8");
    LT_JSON_AUTO json_t *j = lt_cli_domain_call(
        c, "hook",
        json_pack("{s:o, s:s, s:o}", "uuid", lt_json_new_uuid(uuid), "operation", o->name, "xml", text), 200,
        o->ms, e);
    return j ? 0 : e->code;
}

int lt_cli_domain_hook(const struct lt_cli_domain *c, struct lt_err *e)
{
    const struct operation *o = operation_of(c);
    LT_AUTOFREE uint8_t *xml = NULL;
    uint8_t uuid[LT_UUID];
    size_t n;

    if (!o)
        return 0;
    /* What cannot be read gets no key, and that is enough: a domain that needs none is let pass. */
    if (lt_file_read("-", LT_MAX_DOMAIN_XML, &xml, &n, e) || !ours(xml, n, uuid))
        return 0;
    int rc = tell(c, o, uuid, xml, n, e);
    if (!rc || o->refuses)
        return rc ? lt_fail_in(e, rc, "its vTPM is sealed, and it gets no key") : 0;
    fprintf(stderr, "limetree: domain hook: %s: the agent was not told, and takes the key back later: %s\n",
            o->name, lt_cli_shown(e->msg));
    return 0;
}
