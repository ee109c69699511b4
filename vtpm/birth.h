/* Birth records: RECORDS/UUID/EKDIGEST.json, one for each EK that limetree-localca certified.
 *
 *   {"format":"limetree-birth/1","uuid","name","ek_digest":hex,"ek":base64 SubjectPublicKeyInfo,"time"}
 *
 * They say which domain a vTPM was made for; the inventory compares (docs/protocol.md section 3, ek_digest).
 */
#ifndef LT_VTPM_BIRTH_H
#define LT_VTPM_BIRTH_H

#include "common/ids.h"

#include <sys/types.h>

/* records must be there; RECORDS/UUID is made 0700, the file 0600, whole or not at all. name: the domain's.
 */
int lt_birth_write(const char *records, const uint8_t uuid[LT_UUID], const char *name, const void *spki,
                   size_t n, struct lt_err *e) LT_MUST_CHECK;
/* *born: there is a record of this domain and this EK. LT_E_REFUSED: the domain's records name other EKs
 * only, another domain's record names this EK, a record is not owner's or does not agree with its own name.
 */
int lt_birth_check(const char *records, const uint8_t uuid[LT_UUID], const uint8_t ek_digest[32], uid_t owner,
                   bool *born, struct lt_err *e) LT_MUST_CHECK;

#endif
