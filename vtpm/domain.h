/* A libvirt domain's live XML, as far as the residency proof looks at it, and domain_digest
 * (docs/protocol.md section 3). No libvirt, no I/O but through the caller's hash of a file. */
#ifndef LT_VTPM_DOMAIN_H
#define LT_VTPM_DOMAIN_H

#include "common/ids.h"
#include "common/limits.h"

enum lt_domain_tpm {
    LT_DOMAIN_TPM_NONE,
    LT_DOMAIN_TPM_EMULATOR, /* swtpm run by libvirt, version 2.0: the only one with a record */
    LT_DOMAIN_TPM_OTHER,    /* passthrough, external, version 1.2, or several */
};

struct lt_domain {
    uint8_t uuid[LT_UUID];
    char *name, *emulator;
    char *type, *arch, *machine; /* NULL where absent, here and below */
    char *loader, *loader_type, *loader_secure;
    char *smm;
    char *kernel, *initrd, *cmdline;
    char *tpm_model, *tpm_version, *tpm_backend;
    char *tpm_secret; /* of <encryption>: the libvirt secret (a UUID, as it stands there); NULL: not encrypted
                       */
    enum lt_domain_tpm tpm;
    bool has_uid; /* libvirt told QEMU's user (system libvirt) */
    uint32_t uid;
    bool qemu_namespace; /* has elements of the qemu: namespace */
};

/* Refuses a DTD, a NUL, more than LT_MAX_DOMAIN_XML, an element twice where libvirt writes it once, and
 * values that could be mistaken for another line of the digest. lt_domain_free afterwards also on failure. */
int lt_domain_parse(const void *xml, size_t n, struct lt_domain *out, struct lt_err *e) LT_MUST_CHECK;
void lt_domain_free(struct lt_domain *d);

/* SHA-256 of the file that the XML names. */
typedef int (*lt_domain_hash_fn)(void *ctx, const char *path, uint8_t out[32], struct lt_err *e);

/* The lines that are hashed, owned by the caller; and their SHA-256. */
int lt_domain_lines(const struct lt_domain *d, lt_domain_hash_fn hash, void *ctx, char **out,
                    struct lt_err *e) LT_MUST_CHECK;
int lt_domain_digest(const struct lt_domain *d, lt_domain_hash_fn hash, void *ctx, uint8_t out[32],
                     struct lt_err *e) LT_MUST_CHECK;

#endif
