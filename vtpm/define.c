#include "vtpm/define.h"

#include "common/limits.h"
#include "vtpm/domain.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>

/* Where <domain><devices><tpm><backend …> is. lt_domain_parse has taken the document: it is there once. */
struct place {
    XML_Parser expat;
    unsigned depth, known; /* known: how far down the path this element's parents are */
    long begin, length;    /* of the start tag; length 0: not found */
    bool elsewhere;        /* it has a <source> */
};

static const char *const path[] = {"domain", "devices", "tpm", "backend"};
#define PATH (sizeof path / sizeof *path)

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct place *p = ctx;

    (void)attributes;
    if (p->depth == p->known && p->known < PATH && !strcmp(name, path[p->known])) {
        if (++p->known == PATH) {
            p->begin = (long)XML_GetCurrentByteIndex(p->expat);
            p->length = XML_GetCurrentByteCount(p->expat);
        }
    } else if (p->known == PATH && p->depth == PATH) {
        p->elsewhere |= !strcmp(name, "source");
    }
    p->depth++;
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct place *p = ctx;

    (void)name;
    if (p->known == p->depth--)
        p->known--;
}

static int find(const char *xml, size_t n, struct place *p, struct lt_err *e)
{
    p->expat = XML_ParserCreate("UTF-8");
    if (!p->expat)
        return lt_fail(e, LT_E_NO_MEMORY, "XML: no memory");
    XML_SetUserData(p->expat, p);
    XML_SetElementHandler(p->expat, on_begin, on_end);
    bool read = XML_Parse(p->expat, xml, (int)n, XML_TRUE) == XML_STATUS_OK;
    XML_ParserFree(p->expat);
    if (!read || !p->length)
        return lt_fail(e, LT_E_MALFORMED, "domain XML: no <tpm><backend> of its own");
    return p->elsewhere ? lt_fail(e, LT_E_REFUSED,
                                  "domain XML: its <tpm><backend> has a <source>; a sealed vTPM's state lies "
                                  "where libvirt keeps it, so leave it out")
                        : 0;
}

/* "<backend …/>" becomes "<backend …><encryption …/></backend>"; behind "<backend …>" it goes at once. */
static int splice(const char *xml, size_t n, const struct place *at, const char *secret, char **out,
                  struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_DOMAIN_XML);
    size_t end = (size_t)(at->begin + at->length);
    bool empty = xml[end - 2] == '/';

    lt_buf_put(&b, xml, empty ? end - 2 : end);
    lt_buf_printf(&b, "%s<encryption secret='%s'/>%s", empty ? ">" : "", secret, empty ? "</backend>" : "");
    lt_buf_put(&b, xml + end, n - end);
    LT_TRY_IN(lt_buf_ok(&b, e), e, "domain XML");
    *out = lt_buf_take_str(&b);
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "domain XML: no memory");
}

static int check(const struct lt_domain *d, const char *secret, struct lt_err *e)
{
    uint8_t given[LT_UUID];
    char text[LT_UUID_TEXT];

    if (d->tpm == LT_DOMAIN_TPM_NONE)
        return lt_fail(e, LT_E_REFUSED,
                       "domain XML: it has no vTPM; put <tpm model='tpm-crb'><backend type='emulator' "
                       "version='2.0'/></tpm> into <devices>");
    if (d->tpm != LT_DOMAIN_TPM_EMULATOR)
        return lt_fail(e, LT_E_REFUSED,
                       "domain XML: its TPM is not one emulator of version 2.0 (<backend type='emulator' "
                       "version='2.0'/>); no other can be sealed");
    if (!d->tpm_secret)
        return 0;
    LT_TRY_IN(lt_uuid_parse(d->tpm_secret, given, e), e, "domain XML: <encryption secret>");
    lt_uuid_format(given, text);
    return strcmp(text, secret)
               ? lt_fail(e, LT_E_REFUSED,
                         "domain XML: <encryption> names the secret %s, and this domain's is "
                         "%s; leave the element out, or name that one",
                         text, secret)
               : 0;
}

/* That it is in there now, for every reader of ours. */
static int confirm(const char *xml, const char *secret, struct lt_err *e)
{
    struct lt_domain d;
    int rc = lt_domain_parse(xml, strlen(xml), &d, e);

    if (!rc && (d.tpm != LT_DOMAIN_TPM_EMULATOR || !d.tpm_secret || strcmp(d.tpm_secret, secret)))
        rc = lt_fail(e, LT_E_REFUSED, "domain XML: the secret cannot be put into its <tpm>");
    lt_domain_free(&d);
    return rc;
}

static int seal(const char *xml, size_t n, const struct lt_domain *d, const char *secret, char **out,
                struct lt_err *e)
{
    struct place at = {0};

    LT_TRY(check(d, secret, e));
    LT_TRY(find(xml, n, &at, e));
    if (d->tpm_secret) {
        *out = strndup(xml, n);
        return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "domain XML: no memory");
    }
    LT_TRY(splice(xml, n, &at, secret, out, e));
    int rc = confirm(*out, secret, e);
    if (rc) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

int lt_define_sealed(const char *xml, size_t n, const uint8_t secret[LT_UUID], char **out, struct lt_err *e)
{
    char text[LT_UUID_TEXT];
    struct lt_domain d;

    *out = NULL;
    lt_uuid_format(secret, text);
    int rc = lt_domain_parse(xml, n, &d, e);
    if (!rc)
        rc = seal(xml, n, &d, text, out, e);
    lt_domain_free(&d);
    return rc;
}
