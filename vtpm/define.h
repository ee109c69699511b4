/* What a sealed vTPM needs in a domain's XML: <encryption secret='S'/> in its <tpm>'s backend. A splice: the
 * rest of the document stays byte by byte what it was. */
#ifndef LT_VTPM_DEFINE_H
#define LT_VTPM_DEFINE_H

#include "common/ids.h"

/* *out: the document with <encryption secret='S'/>, NUL behind it, the caller's to free; a copy where it is
 * there already. LT_E_REFUSED, with what to do: no <tpm>, more than one, one that is not an emulator of
 * version 2.0, another secret, no <uuid>, a document that lt_domain_parse does not take. */
int lt_define_sealed(const char *xml, size_t n, char **out, struct lt_err *e) LT_MUST_CHECK;
#endif
