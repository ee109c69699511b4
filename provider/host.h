/* One enrolled host: its keys, its batcher and the wire to its agent. Counted references; the registry holds
 * one, everything under way another, so that a host can be deleted or enrolled anew at any time. */
#ifndef LT_PROVIDER_HOST_H
#define LT_PROVIDER_HOST_H

#include "common/run/space.h"
#include "common/run/work.h"
#include "provider/batcher.h"
#include "provider/health.h"
#include "provider/limits.h"
#include "provider/net.h"

struct lt_provider_host;
struct lt_relay;

/* An inventory that takes the place of another. */
struct lt_provider_move {
    const struct lt_residents *seen,
        *quoted_before; /* the latest so far, the last quoted one; NULL: none yet */
    const struct lt_residents *now;
    bool quoted; /* its root stood in a quote of this host that was verified; else the host merely shows it */
};

/* What all hosts share. */
struct lt_provider_host_shared {
    struct lt_net *net;
    struct lt_work *work; /* answers are judged here, not on the client's thread */
    uint64_t period_ms;   /* each is asked for a quote at least this often (provider/host_rounds.h) */
    /* The values in a quote are others than in the one before; may be NULL. Any thread. */
    void (*changed)(void *arg, const uint8_t id[LT_RESIDENCY_HOST_ID]);
    void *changed_arg;
    void *arg;
    /* In order for one host; under its lock. True: it shows a guest that another host has quoted, so that it
     * has to be quoted itself before it counts. */
    bool (*moved)(void *arg, struct lt_provider_host *h, const struct lt_provider_move *m);
    struct lt_space_conf space; /* of the state directory; zeros: nobody watches it */
    uint64_t documents_max;     /* bytes of all documents together; 0: LT_MAX_POLICIES_KEPT */
};

/* What never changes after it was made, or has a lock of its own; the rest is host.c's. */
struct lt_provider_host {
    const struct lt_provider_host_shared *shared;
    uint8_t id[LT_RESIDENCY_HOST_ID], ek_digest[32];
    char address[LT_MAX_ADDRESS + 1];
    struct lt_public ek, ak;
    json_t *certificates; /* array of PEM texts */
    struct lt_batcher *batcher;
    struct lt_relay *relay;
    struct lt_health health; /* of its quotes */
};

struct lt_provider_host_keys {
    const struct lt_public *ek, *ak;
    json_t *certificates;
};

/* Checks AK_h's attributes; *out has one reference. */
int lt_provider_host_new(const struct lt_provider_host_shared *shared, const char *address,
                         const struct lt_provider_host_keys *keys, const uint8_t policy[32],
                         struct lt_provider_host **out, struct lt_err *e) LT_MUST_CHECK;
struct lt_provider_host *lt_provider_host_ref(struct lt_provider_host *h);
void lt_provider_host_unref(struct lt_provider_host *h);

void lt_provider_host_policy(struct lt_provider_host *h, uint8_t out[32]);
void lt_provider_host_set_policy(struct lt_provider_host *h, const uint8_t digest[32]);
struct lt_residents *lt_provider_host_residents(struct lt_provider_host *h); /* a new reference or NULL */
struct lt_residents *lt_provider_host_quoted(struct lt_provider_host *h);    /* of its last quote; the same */
/* No record names that list any more, but one of a guest for which is() says yes did lately. is() is called
 * with the host's lock held. */
bool lt_provider_host_named(struct lt_provider_host *h, const uint8_t digest[LT_SHA256],
                            bool (*is)(void *arg, const uint8_t uuid[16]), void *arg);
/* The values of its last good quote, its batch_seq and CLOCK_BOOTTIME when it came; false: none yet. */
struct lt_provider_host_pcrs {
    struct lt_pcrs pcrs;
    uint64_t seq, at_ms;
};
bool lt_provider_host_pcrs(struct lt_provider_host *h, struct lt_provider_host_pcrs *out);
void lt_provider_host_adopt(struct lt_provider_host *h, struct lt_residents *r, bool quoted);
/* A quote of our own, if it gave no answer for age_ms and no other such question is under way: false, and
 * done is not called, if there is no need. done (may be NULL) runs once, on the work pool. */
bool lt_provider_host_check(struct lt_provider_host *h, uint64_t age_ms, void (*done)(void *arg), void *arg);

/* GET host without waiting, unless one is under way; no use of the TPM. done may be NULL; it runs on the work
 * pool, or at once if nothing was sent. */
void lt_provider_host_refresh(struct lt_provider_host *h, void (*done)(void *arg), void *arg);

#endif
