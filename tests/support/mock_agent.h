/* The mock host behind the host agent's API, over mutual TLS, with a TPM that takes its time: quotes one
 * after the other, each T milliseconds. */
#ifndef LT_TESTS_SUPPORT_MOCK_AGENT_H
#define LT_TESTS_SUPPORT_MOCK_AGENT_H

#include "common/http/server.h"
#include "tests/support/mock_host.h"

#include <pthread.h>
#include <stdatomic.h>

struct mock_agent {
    struct mock_host host; /* under the lock while the agent runs */
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct lt_http_server *server;
    pthread_t tpm;
    struct mock_wait *first, **last; /* quotes that wait for the TPM */
    bool stopping;
    atomic_uint delay_ms;
    atomic_bool hang;   /* quotes are taken and not answered until it is cleared and mock_agent_wake called */
    atomic_bool no_tpm; /* quotes are answered as without a TPM */
    atomic_ulong quotes, leaves; /* answered with 200 */
    atomic_uint logs;            /* questions for the boot log */
    atomic_uint lists;           /* questions for the IMA list */
    char ima[4096];              /* under the lock, with a NUL behind its ima_n bytes; "": none */
    size_t ima_n;
    char cert[256], key[256];
    /* What it has of vaults; under the lock but for the atomics. */
    struct mock_wait *sought; /* questions for openers and escrow copies that hang */
    uint8_t *blob;            /* malloc'd: what it answers those with; NULL: blob_code, or 404 */
    size_t blob_n;
    int blob_code;         /* LT_E_… */
    atomic_bool blob_hang; /* they are held until mock_agent_let_go */
    atomic_uint blobs;     /* how many there were */
    int vault_code;        /* LT_E_… that the vault's routes answer with; 0: {"state":"open"} */
    json_t *vault_asked;   /* the last body of seal and reseal */
};

/* Federation PKI in dir: ca.pem, ca.key; NAME.pem and NAME.key by mock_pki_issue. */
void mock_pki_make(const char *dir);
void mock_pki_issue(const char *dir, const char *name, unsigned role, const uint8_t *tenant,
                    const uint8_t *host);

/* a->host is initialised; starts on a free port of 127.0.0.1 with a certificate of its own from dir. */
void mock_agent_start(struct mock_agent *a, const char *dir, const char *name);
const char *mock_agent_address(const struct mock_agent *a);
void mock_agent_wake(struct mock_agent *a);
/* What it answers questions for openers and escrow copies with from now on; NULL: 404. */
void mock_agent_has(struct mock_agent *a, const void *p, size_t n);
void mock_agent_let_go(struct mock_agent *a);
/* The server goes; host stays. Can be started again. */
void mock_agent_stop(struct mock_agent *a);

#endif
