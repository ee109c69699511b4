/* What a tenant asks the provider about one host, and proves for itself where it can. Blocks. */
#ifndef LT_TENANT_HOST_FETCH_H
#define LT_TENANT_HOST_FETCH_H

#include "common/http/client.h"
#include "verifier/host_source.h"

struct lt_host_fetch_host_source {
    struct lt_http_client *client;
    const char *url; /* https://HOST:PORT */
    long timeout_ms;
    struct lt_budget *memory; /* large replies are taken from it, and what is kept of them */
};

/* GET or POST /federation/v1/PATH; the reply's body is the caller's to free, and its charge to give back. */
int lt_host_fetch_host_call(const struct lt_host_fetch_host_source *p, const char *method, const char *path,
                            const char *body, size_t max, struct lt_http_reply *reply,
                            struct lt_err *e) LT_MUST_CHECK;

/* Keys and certificates of GET hosts/{id}, judged against trust and activated with a credential of our own
 * (had: what was had before, or NULL; the same keys are not activated twice). The EK must be the host's,
 * whose id is a hash of it. An answer to the activation that is wrong, or none at all, leaves it unknown: it
 * came by way of the provider. The documents and logs are those of GET policies/{digest}, hosts/{id}/boot-log
 * and hosts/{id}/ima. p is borrowed. */
struct lt_host_source lt_host_fetch_source(struct lt_host_fetch_host_source *p);

#endif
