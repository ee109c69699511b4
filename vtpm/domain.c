#include "vtpm/domain.h"

#include "common/hash.h"
#include "common/limits.h"

#include <expat.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"
#define TPM "domain/devices/tpm"
#define ENCRYPTION TPM "/backend/encryption"

enum kind {
    VALUE, /* an attribute */
    PATH,  /* an element's text, below: of a file */
    TEXT,
    UUID,
    USER, /* +UID:+GID */
    NODE, /* nothing of its own, but there once at the most */
};

/* What is read of a domain, each element once, and what becomes of it: the lines of the digest in their
 * order. */
static const struct part {
    const char *path, *attribute;
    enum kind kind;
    size_t max, field; /* VALUE, PATH, TEXT: a char * of struct lt_domain */
    const char *line;  /* NULL: none */
} parts[] = {
#define FIELD(name) offsetof(struct lt_domain, name)
    {"domain", "type", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(type), "type"},
    {"domain/os/type", "arch", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(arch), "arch"},
    {"domain/os/type", "machine", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(machine), "machine"},
    {"domain/os/loader", "type", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(loader_type), "loader-type"},
    {"domain/os/loader", "secure", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(loader_secure), "loader-secure"},
    {"domain/features/smm", "state", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(smm), "smm"},
    {"domain/os/kernel", NULL, PATH, PATH_MAX - 1, FIELD(kernel), "kernel"},
    {"domain/os/initrd", NULL, PATH, PATH_MAX - 1, FIELD(initrd), "initrd"},
    {"domain/os/cmdline", NULL, TEXT, LT_MAX_DOMAIN_XML, FIELD(cmdline), "cmdline"},
    {TPM, "model", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(tpm_model), "tpm-model"},
    {TPM "/backend", "version", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(tpm_version), "tpm-version"},
    {TPM "/backend", "type", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(tpm_backend), NULL},
    {ENCRYPTION, "secret", VALUE, LT_MAX_DOMAIN_VALUE, FIELD(tpm_secret), NULL},
    {"domain/name", NULL, TEXT, LT_MAX_DOMAIN_NAME, FIELD(name), NULL},
    {"domain/os/loader", NULL, PATH, PATH_MAX - 1, FIELD(loader), NULL},
    {"domain/devices/emulator", NULL, PATH, PATH_MAX - 1, FIELD(emulator), NULL},
#undef FIELD
    {"domain/uuid", NULL, UUID, LT_MAX_DOMAIN_VALUE, 0, NULL},
    {"domain/seclabel/label", NULL, USER, LT_MAX_DOMAIN_VALUE, 0, NULL},
    {"domain/seclabel", NULL, NODE, 0, 0, NULL},
    {"domain/os", NULL, NODE, 0, 0, NULL},
    {"domain/features", NULL, NODE, 0, 0, NULL},
    {"domain/devices", NULL, NODE, 0, 0, NULL},
};
#define PARTS (sizeof parts / sizeof *parts)

static char *get(const struct lt_domain *d, const struct part *p)
{
    char *value = NULL;
    if (p->kind <= TEXT)
        memcpy(&value, (const char *)d + p->field, sizeof value);
    return value;
}

static void set(struct lt_domain *d, const struct part *p, char *value)
{
    memcpy((char *)d + p->field, &value, sizeof value);
}

/* One reading. Elements that are not in path are passed over with all that is in them. */
struct reader {
    XML_Parser expat;
    const char *xml;
    struct lt_domain *d;
    struct lt_err *e;
    int rc; /* what a handler ended it with */
    unsigned depth, elements, tpms;
    unsigned known;   /* elements in path, the depth at which its children are */
    char path[64];    /* longer than all of parts */
    bool seen[PARTS]; /* the element was there */
    bool has_uuid;
    const struct part *text; /* whose text comes in */
    struct lt_buf buf;
};

static int bad(struct reader *r, const char *what)
{
    return lt_fail(r->e, LT_E_MALFORMED, "<%s> at byte %ld: %s", r->path,
                   (long)XML_GetCurrentByteIndex(r->expat), what);
}

static const char *attribute(const XML_Char **list, const char *name)
{
    for (; *list; list += 2)
        if (!strcmp(list[0], name))
            return list[1];
    return NULL;
}

/* An attribute that becomes a line of the digest: visible ASCII, so that it cannot hold a line's end, and
 * neither empty nor "-", which stands for absent. */
static int take_value(struct reader *r, const struct part *p, const char *value)
{
    size_t n = strlen(value);

    if (n > p->max)
        return lt_fail(r->e, LT_E_TOO_LARGE, "<%s %s=…>: %zu bytes > %zu", p->path, p->attribute, n, p->max);
    for (const char *c = value; *c; c++)
        if (*c < 0x21 || *c > 0x7e)
            return lt_fail(r->e, LT_E_MALFORMED, "<%s %s=…>: byte 0x%02x", p->path, p->attribute,
                           (unsigned char)*c);
    if (!n || !strcmp(value, "-"))
        return lt_fail(r->e, LT_E_MALFORMED, "<%s %s='%s'>", p->path, p->attribute, value);
    char *copy = strdup(value);
    set(r->d, p, copy);
    return copy ? 0 : lt_fail(r->e, LT_E_NO_MEMORY, "XML: no memory");
}

static int take_text(struct reader *r, const struct part *p)
{
    LT_AUTOFREE char *text = lt_buf_take_str(&r->buf);
    unsigned gid;
    int end = 0;

    if (!text)
        return lt_fail(r->e, LT_E_NO_MEMORY, "XML: no memory");
    if (p->kind == UUID) {
        r->has_uuid = true;
        LT_TRY_IN(lt_uuid_parse(text, r->d->uuid, r->e), r->e, "<uuid>");
        return 0;
    }
    if (p->kind == USER) { /* another form (a name) tells nothing */
        r->d->has_uid = sscanf(text, "+%10" SCNu32 ":+%10u%n", &r->d->uid, &gid, &end) == 2 && !text[end];
        return 0;
    }
    if (p->kind == PATH && *text != '/')
        return lt_fail(r->e, LT_E_MALFORMED, "<%s>%.200s: not an absolute path", p->path, text);
    set(r->d, p, lt_take(&text));
    return 0;
}

/* A UUID, and never an encryption whose secret is not told. */
static int check_secret(const struct reader *r)
{
    bool there = false;

    for (size_t i = 0; i < PARTS; i++)
        there |= r->seen[i] && !strcmp(parts[i].path, ENCRYPTION);
    if (!there)
        return 0;
    if (!r->d->tpm_secret)
        return lt_fail(r->e, LT_E_MALFORMED, "<" ENCRYPTION ">: names no secret");
    LT_TRY_IN(lt_uuid_parse(r->d->tpm_secret, (uint8_t[LT_UUID]){0}, r->e), r->e,
              "<" ENCRYPTION " secret=…>");
    return 0;
}

/* Is what is now at the end of the path to be read? Of several TPMs only the first is, of the security
 * labels the one with the user. */
static bool wanted(struct reader *r, const XML_Char **attributes)
{
    if (!strcmp(r->path, TPM))
        return !r->tpms++;
    if (!strcmp(r->path, "domain/seclabel")) {
        const char *model = attribute(attributes, "model");
        return model && !strcmp(model, "dac");
    }
    return true;
}

static bool enter(struct reader *r, const XML_Char *name, const XML_Char **attributes)
{
    size_t n = strlen(r->path), room = sizeof r->path - n;

    if (r->known != r->depth)
        return false;
    if ((size_t)snprintf(r->path + n, room, "%s%s", n ? "/" : "", name) < room && wanted(r, attributes)) {
        r->known++;
        return true;
    }
    r->path[n] = 0;
    return false;
}

static int read_element(struct reader *r, const XML_Char **attributes)
{
    for (size_t i = 0; i < PARTS; i++) {
        if (strcmp(parts[i].path, r->path))
            continue;
        if (r->seen[i])
            return bad(r, "a second one");
        r->seen[i] = true;
        const char *value = parts[i].attribute ? attribute(attributes, parts[i].attribute) : NULL;
        if (value)
            LT_TRY(take_value(r, &parts[i], value));
        if (!parts[i].attribute && parts[i].kind != NODE)
            r->text = &parts[i];
    }
    return 0;
}

static int begin(struct reader *r, const XML_Char *name, const XML_Char **attributes)
{
    if (r->text)
        return bad(r, "more than text");
    if (++r->elements > LT_MAX_XML_ELEMENTS || r->depth >= LT_MAX_XML_DEPTH)
        return lt_fail(r->e, LT_E_TOO_LARGE, "XML: more than %u elements, or deeper than %d",
                       LT_MAX_XML_ELEMENTS, LT_MAX_XML_DEPTH);
    if (XML_GetSpecifiedAttributeCount(r->expat) > 2 * LT_MAX_XML_ATTRIBUTES)
        return bad(r, "too many attributes");
    for (const XML_Char **a = attributes; *a; a += 2) /* libvirt declares it only where it is used */
        if (!strncmp(a[0], "xmlns", 5) && !strcmp(a[1], QEMU_NAMESPACE))
            r->d->qemu_namespace = true;
    int rc = enter(r, name, attributes) ? read_element(r, attributes) : 0;
    r->depth++;
    return rc;
}

static int end(struct reader *r)
{
    int rc = r->text ? take_text(r, r->text) : 0;

    r->text = NULL;
    if (r->known == r->depth--) {
        char *cut = strrchr(r->path, '/');
        *(cut ? cut : r->path) = 0;
        r->known--;
    }
    return rc;
}

/* Expat turns a carriage return into a line feed, QEMU was given the former. */
static int characters(struct reader *r, const XML_Char *s, size_t n)
{
    if (!r->text)
        return 0;
    if (*s == '\n' && r->xml[XML_GetCurrentByteIndex(r->expat)] == '\r')
        return bad(r, "a carriage return");
    if (n > r->text->max - r->buf.n)
        return lt_fail(r->e, LT_E_TOO_LARGE, "<%s>: more than %zu bytes", r->path, r->text->max);
    lt_buf_put(&r->buf, s, n);
    return 0;
}

/* ---- what expat calls; not only once it was stopped */

static void step(struct reader *r, int rc)
{
    if (rc) {
        r->rc = rc;
        XML_StopParser(r->expat, XML_FALSE);
    }
}

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = ctx;
    step(r, r->rc ? r->rc : begin(r, name, attributes));
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct reader *r = ctx;
    (void)name;
    step(r, r->rc ? r->rc : end(r));
}

static void XMLCALL on_characters(void *ctx, const XML_Char *s, int n)
{
    struct reader *r = ctx;
    step(r, r->rc ? r->rc : characters(r, s, (size_t)n));
}

/* A comment, CDATA, a processing instruction. */
static void XMLCALL on_other(void *ctx, const XML_Char *s, int n)
{
    struct reader *r = ctx;
    (void)s, (void)n;
    step(r, r->rc ? r->rc : r->text ? bad(r, "more than text") : 0);
}

/* No document type, hence no entities but XML's own, nothing expanded and nothing fetched. */
static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int internal)
{
    struct reader *r = ctx;
    (void)name, (void)system, (void)public, (void)internal;
    step(r, r->rc ? r->rc : bad(r, "a document type"));
}

static int read_xml(struct reader *r, size_t n)
{
    XML_SetUserData(r->expat, r);
    XML_SetElementHandler(r->expat, on_begin, on_end);
    XML_SetCharacterDataHandler(r->expat, on_characters);
    XML_SetDefaultHandler(r->expat, on_other);
    XML_SetStartDoctypeDeclHandler(r->expat, on_doctype);
    if (n && r->xml[0] == '\xef') /* libvirt writes none, and it is not to be two texts of one domain */
        return lt_fail(r->e, LT_E_MALFORMED, "XML: a byte order mark");
    if (XML_Parse(r->expat, r->xml, (int)n, XML_TRUE) == XML_STATUS_OK || r->rc)
        return r->rc;
    if (!n)
        return lt_fail(r->e, LT_E_MALFORMED, "XML: it is empty");
    enum XML_Error why = XML_GetErrorCode(r->expat);
    return lt_fail(r->e, why == XML_ERROR_NO_MEMORY ? LT_E_NO_MEMORY : LT_E_MALFORMED, "XML at byte %ld: %s",
                   (long)XML_GetCurrentByteIndex(r->expat), XML_ErrorString(why));
}

static void kind_of_tpm(struct lt_domain *d, unsigned tpms)
{
    bool ours = d->tpm_backend && !strcmp(d->tpm_backend, "emulator") && d->tpm_version &&
                !strcmp(d->tpm_version, "2.0");

    d->tpm = !tpms ? LT_DOMAIN_TPM_NONE : tpms == 1 && ours ? LT_DOMAIN_TPM_EMULATOR : LT_DOMAIN_TPM_OTHER;
    if (tpms > 1)
        for (size_t i = 0; i < PARTS; i++)
            if (!strncmp(parts[i].path, TPM, strlen(TPM))) {
                free(get(d, &parts[i]));
                set(d, &parts[i], NULL);
            }
}

static int finish(const struct reader *r)
{
    if (!r->seen[0])
        return lt_fail(r->e, LT_E_MALFORMED, "the root element is not <%s>", parts[0].path);
    if (!r->d->type || !r->d->name || !r->has_uuid)
        return lt_fail(r->e, LT_E_MALFORMED, "type, name or uuid is missing");
    LT_TRY(check_secret(r));
    kind_of_tpm(r->d, r->tpms);
    return 0;
}

int lt_domain_parse(const void *xml, size_t n, struct lt_domain *out, struct lt_err *e)
{
    struct reader r = {.xml = xml, .d = out, .e = e, .buf = LT_BUF(LT_MAX_DOMAIN_XML + 1)};

    *out = (struct lt_domain){0};
    if (n > LT_MAX_DOMAIN_XML)
        return lt_fail(e, LT_E_TOO_LARGE, "domain XML: %zu bytes > %u", n, LT_MAX_DOMAIN_XML);
    r.expat = XML_ParserCreate("UTF-8");
    int rc = r.expat ? read_xml(&r, n) : lt_fail(e, LT_E_NO_MEMORY, "XML: no memory");
    if (!rc)
        rc = finish(&r);
    XML_ParserFree(r.expat);
    lt_buf_free(&r.buf);
    return rc ? lt_fail_in(e, rc, "domain XML") : 0;
}

void lt_domain_free(struct lt_domain *d)
{
    for (size_t i = 0; i < PARTS; i++)
        if (parts[i].kind <= TEXT) {
            free(get(d, &parts[i]));
            set(d, &parts[i], NULL);
        }
}

static void digest_line(struct lt_buf *b, const char *key, const uint8_t digest[32])
{
    char hex[65];
    lt_hex(digest, 32, hex);
    lt_buf_printf(b, "%s=%s\n", key, hex);
}

static int line(struct lt_buf *b, const struct part *p, const char *value, lt_domain_hash_fn hash, void *ctx,
                struct lt_err *e)
{
    uint8_t digest[32];

    if (!value || p->kind == VALUE) {
        lt_buf_printf(b, "%s=%s\n", p->line, value ? value : "-");
        return 0;
    }
    if (p->kind == TEXT)
        lt_sha256(value, strlen(value), digest);
    else
        LT_TRY_IN(hash(ctx, value, digest, e), e, "%s", p->line);
    digest_line(b, p->line, digest);
    return 0;
}

int lt_domain_lines(const struct lt_domain *d, lt_domain_hash_fn hash, void *ctx, char **out,
                    struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(8192);

    *out = NULL;
    lt_buf_str(&b, "LT1:DOMAIN\n");
    for (size_t i = 0; i < PARTS; i++)
        if (parts[i].line)
            LT_TRY(line(&b, &parts[i], get(d, &parts[i]), hash, ctx, e));
    LT_TRY(lt_buf_ok(&b, e));
    *out = lt_buf_take_str(&b);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "domain digest: no memory");
}

int lt_domain_digest(const struct lt_domain *d, lt_domain_hash_fn hash, void *ctx, uint8_t out[32],
                     struct lt_err *e)
{
    LT_AUTOFREE char *lines = NULL;
    int rc = lt_domain_lines(d, hash, ctx, &lines, e);

    memset(out, 0, 32);
    if (!rc)
        lt_sha256(lines, strlen(lines), out);
    return rc;
}
