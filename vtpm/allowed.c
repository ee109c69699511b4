#include "vtpm/allowed.h"

#include "common/limits.h"

#include <expat.h>
#include <stdio.h>
#include <string.h>

#define DEV "domain/devices/"
#define IMAGES "/var/lib/libvirt/images/"
#define PATH 256
#define TEXT 4096

/* path: "…/" at its end stands for all that is below as well. types: what an attribute `type` may be. under:
 * what a value with a slash in it may begin with; "": whatever it likes. Several are divided by blanks; NULL:
 * any type, no such value. */
static const struct rule {
    const char *path, *types, *under;
} rules[] = {
    {"domain", "kvm qemu", NULL},
    {"domain/name", NULL, NULL},
    {"domain/uuid", NULL, NULL},
    {"domain/title", NULL, ""},
    {"domain/description", NULL, ""},
    {"domain/metadata/", NULL, ""}, /* nobody's but who wrote it */
    {"domain/memory", NULL, NULL},
    {"domain/currentMemory", NULL, NULL},
    {"domain/vcpu", NULL, NULL},
    {"domain/iothreads", NULL, NULL},
    {"domain/cpu/", NULL, NULL},
    {"domain/cputune/", NULL, NULL},
    {"domain/clock/", NULL, NULL},
    {"domain/pm/", NULL, NULL},
    {"domain/on_poweroff", NULL, NULL},
    {"domain/on_reboot", NULL, NULL},
    {"domain/on_crash", NULL, NULL},
    {"domain/features/", NULL, NULL},
    {"domain/os", NULL, NULL},
    {"domain/os/type", NULL, NULL},
    {"domain/os/boot", NULL, NULL},
    {"domain/os/bootmenu", NULL, NULL},
    {"domain/os/firmware/", NULL, NULL},
    {"domain/os/loader", NULL, "/usr/share/"},
    {"domain/os/nvram", NULL, "/usr/share/ /var/lib/libvirt/qemu/nvram/"},
    {"domain/os/kernel", NULL, IMAGES},
    {"domain/os/initrd", NULL, IMAGES},
    {"domain/os/cmdline", NULL, ""}, /* the guest's own */
    {"domain/devices", NULL, NULL},
    {DEV "emulator", NULL, "/usr/bin/qemu-system-"},
    {DEV "controller/", NULL, NULL},
    {DEV "disk", "file block", NULL},
    {DEV "disk/driver", NULL, NULL},
    {DEV "disk/source", NULL, IMAGES " /dev/mapper/ /dev/disk/"},
    {DEV "disk/target", NULL, NULL},
    {DEV "disk/boot", NULL, NULL},
    {DEV "disk/alias", NULL, NULL},
    {DEV "disk/address", NULL, NULL},
    {DEV "disk/serial", NULL, NULL},
    {DEV "disk/readonly", NULL, NULL},
    {DEV "disk/iotune/", NULL, NULL},
    {DEV "interface", "bridge user", NULL},
    {DEV "interface/mac", NULL, NULL},
    {DEV "interface/source", NULL, NULL},
    {DEV "interface/model", NULL, NULL},
    {DEV "interface/target", NULL, NULL},
    {DEV "interface/boot", NULL, NULL},
    {DEV "interface/alias", NULL, NULL},
    {DEV "interface/address", NULL, NULL},
    {DEV "interface/link", NULL, NULL},
    {DEV "interface/mtu", NULL, NULL},
    {DEV "interface/bandwidth/", NULL, NULL},
    {DEV "serial", "pty", NULL},
    {DEV "serial/target/", NULL, NULL},
    {DEV "serial/alias", NULL, NULL},
    {DEV "serial/address", NULL, NULL},
    {DEV "console", "pty", NULL},
    {DEV "console/target", NULL, NULL},
    {DEV "console/alias", NULL, NULL},
    {DEV "console/address", NULL, NULL},
    {DEV "channel", "unix", NULL},
    {DEV "channel/target", NULL, NULL},
    {DEV "channel/alias", NULL, NULL},
    {DEV "channel/address", NULL, NULL},
    {DEV "graphics", "vnc", NULL},
    {DEV "graphics/listen", "address none", NULL},
    {DEV "tpm", NULL, NULL},
    {DEV "tpm/backend", "emulator", NULL},
    {DEV "tpm/backend/encryption", NULL, NULL},
    {DEV "tpm/alias", NULL, NULL},
    {DEV "tpm/address", NULL, NULL},
    {DEV "rng/", NULL, "/dev/urandom /dev/random"},
    {DEV "memballoon/", NULL, NULL},
    {DEV "watchdog/", NULL, NULL},
    {DEV "panic/", NULL, NULL},
    {DEV "iommu/", NULL, NULL},
    {DEV "video/", NULL, NULL},
    {DEV "input", "keyboard mouse tablet", NULL},
    {DEV "input/alias", NULL, NULL},
    {DEV "input/address", NULL, NULL},
    {DEV "audio", "none", NULL},
};

/* One reading. A text is looked at when its element ends, or a child begins. */
struct reader {
    XML_Parser expat;
    struct lt_err *e;
    int rc;
    unsigned elements, depth;
    size_t n, text_n;    /* of path, of text */
    char path[PATH];     /* of the element that is open */
    char text[TEXT + 1]; /* of it, or as much as was seen */
};

static const struct rule *rule_of(const char *path)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const size_t n = strlen(rules[i].path), bare = n - (rules[i].path[n - 1] == '/');
        if (!strncmp(path, rules[i].path, bare) && (!path[bare] || (bare < n && path[bare] == '/')))
            return &rules[i];
    }
    return NULL;
}

static int refuse(struct reader *r, const char *what, const char *value)
{
    return lt_fail(r->e, LT_E_REFUSED, "%s: %s%.80s is not among what this host starts (seal_checks = all)",
                   r->path, what, value);
}

/* Whether s begins with a word of list (begin), or is one. */
static bool in_list(const char *list, const char *s, bool begin)
{
    for (size_t n; *list; list += n + (list[n] == ' ')) {
        n = strcspn(list, " ");
        if (!strncmp(s, list, n) && (begin || !s[n]))
            return true;
    }
    return false;
}

/* A value that may be a path: below one of those, and without a way out of there. */
static int check_value(struct reader *r, const struct rule *rule, const char *value)
{
    if (!strchr(value, '/') || (rule->under && !*rule->under))
        return 0;
    if (!rule->under || !in_list(rule->under, value, true) || strstr(value, "/../") || strstr(value, "//") ||
        (strlen(value) > 2 && !strcmp(value + strlen(value) - 3, "/..")))
        return refuse(r, "", value);
    return 0;
}

static int push(struct reader *r, const char *name)
{
    const size_t n = strlen(name);

    if (++r->elements > LT_MAX_XML_ELEMENTS || ++r->depth > LT_MAX_XML_DEPTH || r->n + n + 2 > sizeof r->path)
        return lt_fail(r->e, LT_E_REFUSED, "XML: more, deeper or longer than a domain is");
    if (r->n)
        r->path[r->n++] = '/';
    memcpy(r->path + r->n, name, n + 1);
    r->n += n;
    r->text_n = 0;
    return 0;
}

/* What was read of the open element's text. */
static int check_text(struct reader *r)
{
    const struct rule *rule = rule_of(r->path);

    r->text[r->text_n] = 0;
    if (!strcmp(r->path, "domain/on_crash") && strstr(r->text, "coredump"))
        return refuse(r, "", r->text);
    return rule && r->text_n ? check_value(r, rule, r->text) : 0;
}

static int begin(struct reader *r, const char *name, const XML_Char **attributes)
{
    LT_TRY(check_text(r));
    LT_TRY(push(r, name));
    const struct rule *rule = rule_of(r->path);
    if (!rule)
        return refuse(r, "", "that element");
    for (; *attributes; attributes += 2) {
        if (rule->under && !*rule->under)
            continue;
        if (strchr(attributes[0], ':')) /* of a namespace, or one's declaration */
            return refuse(r, "attribute ", attributes[0]);
        if (!strcmp(attributes[0], "rawio") || !strcmp(attributes[0], "sgio"))
            return refuse(r, "attribute ", attributes[0]);
        if (!strcmp(r->path, DEV "watchdog") && !strcmp(attributes[1], "dump")) /* a core, as of on_crash */
            return refuse(r, "action ", attributes[1]);
        if (rule->types && !strcmp(attributes[0], "type") && !in_list(rule->types, attributes[1], false))
            return refuse(r, "type ", attributes[1]);
        LT_TRY(check_value(r, rule, attributes[1]));
    }
    return 0;
}

static int end(struct reader *r)
{
    const int rc = check_text(r);
    const char *slash = strrchr(r->path, '/');

    r->n = slash ? (size_t)(slash - r->path) : 0;
    r->path[r->n] = 0;
    r->depth--;
    r->text_n = 0;
    return rc;
}

static void stop(struct reader *r, int rc)
{
    if (rc && !r->rc) {
        r->rc = rc;
        XML_StopParser(r->expat, XML_FALSE);
    }
}

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = ctx;
    stop(r, r->rc ? 0 : begin(r, name, attributes));
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct reader *r = ctx;
    (void)name;
    stop(r, r->rc ? 0 : end(r));
}

static void XMLCALL on_text(void *ctx, const XML_Char *s, int n)
{
    struct reader *r = ctx;

    for (int i = 0; !r->rc && i < n; i++) {
        if (r->text_n == TEXT)
            stop(r, refuse(r, "", "a text of that length"));
        else if (r->text_n || !strchr(" \t\r\n", s[i]))
            r->text[r->text_n++] = s[i];
    }
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int internal)
{
    struct reader *r = ctx;
    (void)name, (void)system, (void)public, (void)internal;
    stop(r, lt_fail(r->e, LT_E_REFUSED, "XML: a document type"));
}

int lt_allowed_check(const char *xml, size_t n, struct lt_err *e)
{
    struct reader r = {.e = e};

    if (n > LT_MAX_DOMAIN_XML)
        return lt_fail(e, LT_E_TOO_LARGE, "XML: %zu bytes > %u", n, LT_MAX_DOMAIN_XML);
    r.expat = XML_ParserCreate("UTF-8");
    if (!r.expat)
        return lt_fail(e, LT_E_NO_MEMORY, "XML: no memory");
    XML_SetUserData(r.expat, &r);
    XML_SetElementHandler(r.expat, on_begin, on_end);
    XML_SetCharacterDataHandler(r.expat, on_text);
    XML_SetStartDoctypeDeclHandler(r.expat, on_doctype);
    const bool read = XML_Parse(r.expat, xml, (int)n, XML_TRUE) == XML_STATUS_OK;
    const long at = (long)XML_GetCurrentByteIndex(r.expat);
    XML_ParserFree(r.expat);
    if (r.rc || read)
        return r.rc;
    return lt_fail(e, LT_E_MALFORMED, "XML at byte %ld: not well-formed", at);
}
