/* A guest's agent with a software key, on a thread and a port of its own: real TLS, one connection at a time,
 * and a list as long as one likes of which all agents of the process send the same bytes. */
#ifndef LT_TESTS_LONG_TLS_AGENT_H
#define LT_TESTS_LONG_TLS_AGENT_H

#include "tests/support/tenant_rig.h"

#include <openssl/ssl.h>

struct tls_agent {
    uint8_t uuid[16];
    EVP_PKEY *ek_key, *ak_key;
    struct lt_public ek, ak;
    uint64_t clock_ms;
    const char *list; /* JSON text of it, shared */
    size_t list_n;
    SSL_CTX *tls; /* shared */
    int fd, port;
    pthread_t thread;
    atomic_ulong asked, answered; /* questions, and answers that were taken whole */
};

void tls_agent_start(struct tls_agent *a);

#endif
