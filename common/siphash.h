/* SipHash-2-4 (Aumasson, Bernstein, INDOCRYPT 2012): 64 bits under a key of 16 bytes, so that who does not
 * know the key cannot aim names at one slot of a hash table. No signature, no digest. */
#ifndef LT_COMMON_SIPHASH_H
#define LT_COMMON_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t lt_siphash(const uint8_t key[16], const void *p, size_t n);

#endif
