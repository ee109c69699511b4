/* What a sealed vTPM needs in a domain's XML: <encryption secret='S'/> in the backend of its <tpm>. A splice:
 * the rest of the document stays byte by byte what it was. */
#ifndef LT_VTPM_DEFINE_H
#define LT_VTPM_DEFINE_H

#include "common/ids.h"

/* *out: the document with <encryption secret='S'/>, the caller's to free; a copy where it is there already.
 * What lt_domain_parse refuses is refused as it says. LT_E_REFUSED, with what to do: no <tpm>, more than one,
 * one that is no emulator of version 2.0, another secret, state elsewhere than where libvirt keeps it
 * (<source>). The result is read again: it is libvirt's own output that counts for a start. */
int lt_define_sealed(const char *xml, size_t n, const uint8_t secret[LT_UUID], char **out,
                     struct lt_err *e) LT_MUST_CHECK;

#endif
