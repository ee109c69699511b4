/* What a tenant asks the provider about one host, and proves for itself where it can. Blocks. */
#ifndef LT_TENANT_HOST_FETCH_H
#define LT_TENANT_HOST_FETCH_H

#include "tenant/hosts.h"
#include "tenant/trust.h"

struct lt_host_source {
    struct lt_http_client *client;
    const char *url; /* https://HOST:PORT */
    long timeout_ms;
};

/* Keys and certificates of GET hosts/{id}, judged against trust and activated with a credential of our own.
 * An answer that is wrong makes `activated` no; none at all leaves it unknown. New reference. */
int lt_host_fetch_keys(const struct lt_host_source *p, const char *host, const struct lt_trust *trust,
                       struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;
/* The document with that digest; the digest is verified. */
int lt_host_fetch_policy(const struct lt_host_source *p, const uint8_t digest[LT_SHA256], struct lt_ref **out,
                         struct lt_err *e) LT_MUST_CHECK;
/* 404 gives a log that is not present. */
int lt_host_fetch_log(const struct lt_host_source *p, const char *host, uint32_t reset_count,
                      struct lt_ref **out, struct lt_err *e) LT_MUST_CHECK;

#endif
