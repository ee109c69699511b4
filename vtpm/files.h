/* SHA-256 of files that a process was started with: firmware, kernel, initrd. Hashed once, and again only
 * when device, inode, ctime or size is another (docs/protocol.md section 3, firmware_digest). One thread at a
 * time. */
#ifndef LT_VTPM_FILES_H
#define LT_VTPM_FILES_H

#include "vtpm/domain.h"
#include "vtpm/procs.h"
#include "vtpm/wall.h"

struct lt_files;

struct lt_files *lt_files_new(void); /* aborts without memory */
void lt_files_free(struct lt_files *f);
/* Now and then, so that a clock that was set is seen soon (vtpm/wall.h). */
void lt_files_look(struct lt_files *f);
/* path as p finds it. LT_E_REFUSED if the file was written or made after p started: what p read is unknown
 * then. */
int lt_files_digest(struct lt_files *f, const struct lt_proc *p, const char *path, uint8_t out[32],
                    struct lt_err *e) LT_MUST_CHECK;
/* The firmware code image: what `-bios` says, the XML's loader, or what QEMU's x86 machines load by default,
 * from Debian's directories. LT_E_REFUSED where that cannot be told. */
int lt_files_firmware(struct lt_files *f, const struct lt_proc *qemu, const struct lt_domain *d,
                      uint8_t out[32], struct lt_err *e) LT_MUST_CHECK;

/* Of a domain that does not run yet: what its QEMU would read now. */
int lt_files_digest_at_rest(struct lt_files *f, const char *path, uint8_t out[32],
                            struct lt_err *e) LT_MUST_CHECK;
int lt_files_firmware_at_rest(struct lt_files *f, const struct lt_domain *d, uint8_t out[32],
                              struct lt_err *e) LT_MUST_CHECK;

#endif
