/* A host that fails check 7 exposes every guest that has one of its states among its openers, wherever that
 * guest runs now (docs/sealing.md section 5, "Sticky"). Each is judged under its own policy. Blocks: for
 * workers. */
#ifndef LT_TENANT_EXPOSURE_H
#define LT_TENANT_EXPOSURE_H

#include "tenant/round.h"

struct lt_exposure;

struct lt_exposure_conf { /* all borrowed */
    struct lt_store *store;
    struct lt_hosts *hosts;
    const struct lt_tenant_caches *caches;
};
struct lt_exposure *lt_exposure_new(const struct lt_exposure_conf *c);
void lt_exposure_free(struct lt_exposure *x); /* NULL is fine */

/* A quote of that host (32 hex digits), and what stands behind it (keys: not NULL). What it exposes is in the
 * store, and the log, when this returns. */
void lt_exposure_look(struct lt_exposure *x, const char *host, const struct lt_residency_host_quote *q,
                      const struct lt_hosts_host_view *view);
/* Into the store, and if it is news into the log. */
void lt_exposure_found(struct lt_store *s, const uint8_t ek_digest[LT_SHA256], const uint8_t host[LT_SHA256]);

#endif
