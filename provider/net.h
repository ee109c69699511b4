/* The provider's side of the wire to host agents: one client identity, and a gate, so that nothing is sent
 * any more once the provider stops. */
#ifndef LT_PROVIDER_NET_H
#define LT_PROVIDER_NET_H

#include "common/http/client.h"

struct lt_net;

/* Servers must have the role host under identity's ca. */
int lt_net_new(const struct lt_http_client_conf *identity, long timeout_ms, struct lt_net **out,
               struct lt_err *e) LT_MUST_CHECK;
/* Ends what is under way with LT_E_UNREACHABLE; all later requests end so at once. */
void lt_net_close(struct lt_net *n);
void lt_net_free(struct lt_net *n);

struct lt_net_request {
    const char *method, *address, *name; /* https://ADDRESS/federation/v1/NAME */
    const char *body;                    /* copied; NULL: none */
    size_t body_n;
    long timeout_ms; /* 0: the one of lt_net_new */
    size_t max_reply;
    int want; /* of lt_net_call: the status of success; 0: 200 */
};

/* done as lt_http_send says: exactly once, on the client's thread or before this returns. */
void lt_net_send(struct lt_net *n, const struct lt_net_request *r, lt_http_done done, void *arg);
/* Blocks; not on the client's thread or in an HTTP handler. The JSON object of a reply with the wanted status
 * whose server is peer (filled if peer has no host, else compared), or NULL and *e. */
json_t *lt_net_call(struct lt_net *n, const struct lt_net_request *r, struct lt_peer *peer,
                    struct lt_err *e) LT_MUST_CHECK;

/* The same for a reply that is not JSON. */
struct lt_net_bytes {
    uint8_t *p; /* the caller's to free */
    size_t n;
    uint64_t ima_first; /* X-Ima-First of docs/api.md, or 0 */
};
int lt_net_get(struct lt_net *n, const struct lt_net_request *r, struct lt_peer *peer,
               struct lt_net_bytes *out, struct lt_err *e) LT_MUST_CHECK;

/* An answer counts only if it came and the server's certificate names this host; otherwise *e. */
int lt_net_check_server(const uint8_t host_id[16], const struct lt_http_reply *r,
                        const struct lt_err *trouble, struct lt_err *e) LT_MUST_CHECK;

#endif
