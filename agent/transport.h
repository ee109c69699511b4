/* The transport key NK (keylime-api 3.5): U and V come wrapped for it, and PCR 16 of every quote names it.
 * Kept as "transport.pem" (0600) where the boot is outlived by nothing, so that a restart of the agent is no
 * other key. */
#ifndef LT_AGENT_TRANSPORT_H
#define LT_AGENT_TRANSPORT_H

#include "common/err.h"
#include "common/openssl.h"

#include <stdint.h>

struct lt_transport {
    EVP_PKEY *key;
    char *pem;          /* PEM SPKI: the exact text that is told and hashed */
    uint8_t digest[32]; /* SHA-256 of it, what PCR 16 is extended with */
};

/* dir: lt_secure_open's; NULL: a new key that ends with the process. A file that cannot be read makes way for
 * a new key, with a line in the log. */
int lt_transport_open(const char *dir, struct lt_transport *out, struct lt_err *e) LT_MUST_CHECK;
void lt_transport_close(struct lt_transport *t);

#endif
