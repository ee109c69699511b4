#include "vtpm/domain.h"

#include "common/hash.h"
#include "common/limits.h"
#include "vtpm/xml.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

/* An attribute that becomes a line of the digest: visible ASCII, so that it cannot hold a line's end, and
 * neither empty nor "-", which stands for absent. */
static int attribute(const struct lt_xml *x, const char *name, char **out, struct lt_err *e)
{
    int rc = lt_xml_attribute(x, name, LT_MAX_DOMAIN_VALUE, out, e);

    if (rc || !*out)
        return rc;
    for (const char *c = *out; *c; c++)
        if (*c < 0x21 || *c > 0x7e)
            return lt_fail(e, LT_E_MALFORMED, "<%.*s %s=…>: byte 0x%02x", (int)x->name.n,
                           (const char *)x->name.p, name, (unsigned char)*c);
    if (!**out || !strcmp(*out, "-"))
        return lt_fail(e, LT_E_MALFORMED, "<%.*s %s='%s'>", (int)x->name.n, (const char *)x->name.p, name,
                       *out);
    return 0;
}

static int path_text(const struct lt_xml *x, char **out, struct lt_err *e)
{
    int rc = lt_xml_text(x, PATH_MAX - 1, out, e);
    if (!rc && *out && **out != '/')
        return lt_fail(e, LT_E_MALFORMED, "<%.*s>%.200s: not an absolute path", (int)x->name.n,
                       (const char *)x->name.p, *out);
    return rc;
}

static int tpm(const struct lt_xml *devices, struct lt_domain *d, struct lt_err *e)
{
    struct lt_xml *found = NULL, *backend;
    char *kind = NULL;
    int rc;

    for (struct lt_xml *n = devices ? devices->first : NULL; n; n = n->next) {
        if (!lt_xml_is(n, "tpm"))
            continue;
        if (found) {
            d->tpm = LT_DOMAIN_TPM_OTHER;
            return 0;
        }
        found = n;
    }
    if (!found)
        return 0;
    if ((rc = attribute(found, "model", &d->tpm_model, e)) ||
        (rc = lt_xml_child(found, "backend", &backend, e)) ||
        (rc = attribute(backend, "version", &d->tpm_version, e)) ||
        (rc = attribute(backend, "type", &kind, e))) {
        free(kind);
        return rc;
    }
    bool ours = kind && !strcmp(kind, "emulator") && d->tpm_version && !strcmp(d->tpm_version, "2.0");
    d->tpm = ours ? LT_DOMAIN_TPM_EMULATOR : LT_DOMAIN_TPM_OTHER;
    free(kind);
    return 0;
}

/* <seclabel model='dac'><label>+UID:+GID</label>. Another form (a name) tells nothing. */
static int user(const struct lt_xml *root, struct lt_domain *d, struct lt_err *e)
{
    struct lt_xml *label;

    for (const struct lt_xml *n = root->first; n; n = n->next) {
        LT_AUTOFREE char *model = NULL;
        LT_AUTOFREE char *text = NULL;
        unsigned gid;
        int end = 0, rc;
        if (!lt_xml_is(n, "seclabel"))
            continue;
        if ((rc = lt_xml_attribute(n, "model", LT_MAX_DOMAIN_VALUE, &model, e)))
            return rc;
        if (!model || strcmp(model, "dac"))
            continue;
        if ((rc = lt_xml_child(n, "label", &label, e)) ||
            (rc = lt_xml_text(label, LT_MAX_DOMAIN_VALUE, &text, e)))
            return rc;
        d->has_uid = text && sscanf(text, "+%10" SCNu32 ":+%10u%n", &d->uid, &gid, &end) == 2 && !text[end];
    }
    return 0;
}

static int fill(const struct lt_xml *root, struct lt_domain *d, struct lt_err *e)
{
    struct lt_xml *os, *kind, *loader, *node, *features, *devices;
    LT_AUTOFREE char *id = NULL;
    int rc;

    if (!lt_xml_is(root, "domain"))
        return lt_fail(e, LT_E_MALFORMED, "root element <%.*s>, not <domain>", (int)root->name.n,
                       (const char *)root->name.p);
    d->qemu_namespace = lt_xml_declares(root, QEMU_NAMESPACE); /* libvirt declares it only where it is used */
    if ((rc = attribute(root, "type", &d->type, e)) || (rc = lt_xml_child(root, "name", &node, e)) ||
        (rc = lt_xml_text(node, 1024, &d->name, e)) || (rc = lt_xml_child(root, "uuid", &node, e)) ||
        (rc = lt_xml_text(node, LT_MAX_DOMAIN_VALUE, &id, e)))
        return rc;
    if (!id || !d->name || !d->type)
        return lt_fail(e, LT_E_MALFORMED, "type, name or uuid is missing");
    if (lt_uuid_parse(id, d->uuid, e))
        return lt_fail_in(e, "<uuid>");
    if ((rc = lt_xml_child(root, "os", &os, e)) || (rc = lt_xml_child(os, "type", &kind, e)) ||
        (rc = attribute(kind, "arch", &d->arch, e)) || (rc = attribute(kind, "machine", &d->machine, e)) ||
        (rc = lt_xml_child(os, "loader", &loader, e)) || (rc = path_text(loader, &d->loader, e)) ||
        (rc = attribute(loader, "type", &d->loader_type, e)) ||
        (rc = attribute(loader, "secure", &d->loader_secure, e)))
        return rc;
    if ((rc = lt_xml_child(os, "kernel", &node, e)) || (rc = path_text(node, &d->kernel, e)) ||
        (rc = lt_xml_child(os, "initrd", &node, e)) || (rc = path_text(node, &d->initrd, e)) ||
        (rc = lt_xml_child(os, "cmdline", &node, e)) ||
        (rc = lt_xml_text(node, LT_MAX_DOMAIN_XML, &d->cmdline, e)))
        return rc;
    if ((rc = lt_xml_child(root, "features", &features, e)) ||
        (rc = lt_xml_child(features, "smm", &node, e)) || (rc = attribute(node, "state", &d->smm, e)) ||
        (rc = lt_xml_child(root, "devices", &devices, e)) ||
        (rc = lt_xml_child(devices, "emulator", &node, e)) || (rc = path_text(node, &d->emulator, e)))
        return rc;
    return (rc = user(root, d, e)) ? rc : tpm(devices, d, e);
}

int lt_domain_parse(const void *xml, size_t n, struct lt_domain *out, struct lt_err *e)
{
    struct lt_xml *root;

    *out = (struct lt_domain){0};
    if (n > LT_MAX_DOMAIN_XML)
        return lt_fail(e, LT_E_TOO_LARGE, "domain XML: %zu bytes > %u", n, LT_MAX_DOMAIN_XML);
    int rc = lt_xml_parse(xml, n, &root, e);
    if (!rc)
        rc = fill(root, out, e);
    lt_xml_free(root);
    return rc ? lt_fail_in(e, "domain XML") : 0;
}

void lt_domain_free(struct lt_domain *d)
{
    char **texts[] = {&d->name,   &d->emulator,    &d->type,          &d->arch,       &d->machine,
                      &d->loader, &d->loader_type, &d->loader_secure, &d->smm,        &d->kernel,
                      &d->initrd, &d->cmdline,     &d->tpm_model,     &d->tpm_version};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
}

static void value_line(struct lt_buf *b, const char *key, const char *value)
{
    lt_buf_printf(b, "%s=%s\n", key, value ? value : "-");
}

static void digest_line(struct lt_buf *b, const char *key, const uint8_t digest[32])
{
    char hex[65];
    lt_hex(digest, 32, hex);
    value_line(b, key, hex);
}

static int file_line(struct lt_buf *b, const char *key, const char *path, lt_domain_hash_fn hash, void *ctx,
                     struct lt_err *e)
{
    uint8_t digest[32];

    if (!path) {
        value_line(b, key, NULL);
        return 0;
    }
    if (hash(ctx, path, digest, e))
        return lt_fail_in(e, "%s", key);
    digest_line(b, key, digest);
    return 0;
}

int lt_domain_lines(const struct lt_domain *d, lt_domain_hash_fn hash, void *ctx, char **out,
                    struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(8192);
    uint8_t digest[32];
    int rc;

    *out = NULL;
    lt_buf_str(&b, "LT1:DOMAIN\n");
    value_line(&b, "type", d->type);
    value_line(&b, "arch", d->arch);
    value_line(&b, "machine", d->machine);
    value_line(&b, "loader-type", d->loader_type);
    value_line(&b, "loader-secure", d->loader_secure);
    value_line(&b, "smm", d->smm);
    if ((rc = file_line(&b, "kernel", d->kernel, hash, ctx, e)) ||
        (rc = file_line(&b, "initrd", d->initrd, hash, ctx, e)))
        return rc;
    if (d->cmdline) {
        lt_sha256(d->cmdline, strlen(d->cmdline), digest);
        digest_line(&b, "cmdline", digest);
    } else {
        value_line(&b, "cmdline", NULL);
    }
    value_line(&b, "tpm-model", d->tpm_model);
    value_line(&b, "tpm-version", d->tpm_version);
    if ((rc = lt_buf_ok(&b, e)))
        return rc;
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
