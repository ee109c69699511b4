/* What a domain may have on a host whose user space is enforced (docs/sealing.md section 7, point 2): a
 * closed list of elements, of their types, and of the places that they may name. libvirt and QEMU do as root
 * what a domain's definition says: a serial port on /dev/tpmrm0, a program as emulator, a directory of the
 * host as a file system. Pure. */
#ifndef LT_VTPM_ALLOWED_H
#define LT_VTPM_ALLOWED_H

#include "common/bytes.h"

/* LT_E_REFUSED: names the element, and what of it is not on the list. LT_E_MALFORMED: no XML. */
int lt_allowed_check(const char *xml, size_t n, struct lt_err *e) LT_MUST_CHECK;

#endif
