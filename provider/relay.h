/* What tenants ask of a host through the provider beside proofs: activation of AK_h, boot log, IMA list.
 * Bounded, and never in the way of host quotes. */
#ifndef LT_PROVIDER_RELAY_H
#define LT_PROVIDER_RELAY_H

#include "common/http/server.h"

struct lt_net;
struct lt_work;
struct lt_relay;

enum lt_relay_kind { LT_RELAY_BOOT_LOG, LT_RELAY_IMA };

/* The host it speaks for. All borrowed, and there as long as a reference is held. */
struct lt_relay_host {
    const uint8_t *id; /* LT_RESIDENCY_HOST_ID bytes */
    const char *address;
    struct lt_net *net;
    struct lt_work *work;
    const _Atomic uint32_t *reset_count; /* of its last quote */
    const _Atomic uint64_t *ima_epoch;   /* counts the changes of PCR 10 from quote to quote */
    void *arg;
    void (*ref)(void *arg); /* each question under way holds one */
    void (*unref)(void *arg);
};

struct lt_relay *lt_relay_new(const struct lt_relay_host *host);
void lt_relay_free(struct lt_relay *r);

/* Both take over req: it is answered now or later. A boot log is kept 60 s and while the host's reset count
 * stays the same, an IMA list 5 s and while PCR 10 stays the same in the host's quotes: whoever has a quote
 * gets a list that covers it. Those who ask meanwhile share one question to the host. An IMA list is told
 * from the line of the query "first" on. Who calls holds a reference to the host meanwhile. */
void lt_relay_log(struct lt_relay *r, enum lt_relay_kind kind, struct lt_http_req *req);
/* One at a time for each host, tenants in turn: nobody waits behind all of another's, and who has most makes
 * room for who has none. req's body is checked here. */
void lt_relay_activate(struct lt_relay *r, struct lt_http_req *req);
/* Frees logs that are no longer fresh. */
void lt_relay_sweep(struct lt_relay *r);

#endif
