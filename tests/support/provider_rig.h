/* A real limetree-provider in a process of its own, a federation PKI in a directory of its own, mock agents,
 * and clients with every role. For the provider's integration test and its benchmark. */
#ifndef LT_TESTS_SUPPORT_PROVIDER_RIG_H
#define LT_TESTS_SUPPORT_PROVIDER_RIG_H

#include "common/http/client.h"
#include "tests/support/mock_agent.h"

#include <sys/types.h>

#define RIG_HOSTS 6

struct rig {
    char dir[64];
    pid_t pid;
    char address[64];
    uint8_t tenant_a[16], tenant_b[16];
    struct lt_http_client *a, *b, *operator;
    struct mock_agent agent[RIG_HOSTS];
    char host[RIG_HOSTS][33]; /* ids in hex */
};

/* PKI, clients and agents (each host with no guests yet, no delay). */
void rig_make(struct rig *r);
/* The same under the federation CA (ca.pem, ca.key) of another directory; NULL: one of its own. */
void rig_make_in(struct rig *r, const char *pki);
void rig_free(struct rig *r); /* the provider must be stopped */

/* options: "-o" values, NULL-ended. */
void rig_start(struct rig *r, const char *const *options);
void rig_stop(struct rig *r); /* TERM, and its exit status is 0 */
void rig_kill(struct rig *r); /* KILL */

/* A client with the certificate NAME.pem of the rig's directory; NULL: none. */
struct lt_http_client *rig_client(struct rig *r, const char *name, unsigned max_per_host);
struct lt_http_client *rig_client_of(struct rig *r, const char *name, unsigned max_per_host,
                                     unsigned server_role);

/* path below /federation/v1/. The status; *reply (may be NULL) is the caller's to free. Fails the test if no
 * reply comes. header: "Name: value" or NULL. */
int rig_http(struct rig *r, struct lt_http_client *c, const char *method, const char *path, const char *body,
             const char *header, struct lt_http_reply *reply);
/* The same with JSON: body is taken; the status must be want. */
json_t *rig_json(struct rig *r, struct lt_http_client *c, const char *method, const char *path, json_t *body,
                 int want);

/* The agent's host through POST hosts. */
void rig_enrol(struct rig *r, unsigned host);
void rig_assign(struct rig *r, uint32_t guest, const uint8_t tenant[16]);
/* {"guests":[…]} for count guests from first; commitments are H(guest | salt). */
json_t *rig_ask(uint32_t first, uint32_t count, uint32_t salt);
void rig_commitment(uint32_t guest, uint32_t salt, uint8_t out[32]);

#endif
