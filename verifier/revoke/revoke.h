/* Sends what the outbox holds (verifier/store/outbox.h) to all who are to hear of it, each by a channel:
 * guests' agents, webhooks, subscribers, a certificate authority. What a channel does is its own; here is who
 * is due.
 *
 * Each receiver takes one decision at a time, in order, and the next when that is confirmed. One that fails
 * is tried again, later and later (1 s to 5 min), for as long as it is a receiver; it holds up nobody else:
 * those who failed last have a quarter of their channel's places, and cannot fill the others.
 *
 * A delivery is the channel's from `send` until it calls lt_revoke_ended, once, from any thread. One thread
 * looks after it all, reads the store and calls `send`; what it waits for wakes it. */
#ifndef LT_VERIFIER_REVOKE_REVOKE_H
#define LT_VERIFIER_REVOKE_REVOKE_H

#include "verifier/store/outbox.h"

#define LT_REVOKE_HOLD_MS 1000 /* the others wait so long for a channel that is first */

struct lt_revoke_message {
    int64_t number;
    uint8_t id[LT_UUID]; /* whom it is about */
    enum lt_outbox_kind kind;
    int64_t decided; /* wall */
    const char *body;
};

struct lt_revoke_delivery {
    const struct lt_revoke_message *message;
    const char *receiver; /* its name behind the channel's prefix */
};

struct lt_revoke_channel {
    const char *prefix; /* of its receivers' names in the outbox */
    unsigned kinds;     /* bit K: hears of enum lt_outbox_kind K; of others its receivers need not hear */
    unsigned at_once;   /* deliveries under way, count */
    /* The others are told when this one has been, or when LT_REVOKE_HOLD_MS are over; it has one receiver,
     * whose name is the prefix. */
    bool first;
    /* Must not block. */
    void (*send)(void *app, struct lt_revoke_delivery *d);
    void *app;
};
#define LT_REVOKE_KIND(k) (1u << (k))
#define LT_REVOKE_ALL                                                                                        \
    (LT_REVOKE_KIND(LT_OUTBOX_FAILED) | LT_REVOKE_KIND(LT_OUTBOX_UNPROVEN) | LT_REVOKE_KIND(LT_OUTBOX_LIFTED))

struct lt_revoke_conf {
    struct lt_db *db;                         /* borrowed */
    const struct lt_revoke_channel *channels; /* copied */
    size_t count;
    /* The text that all receivers of an item get: made once, when it is first sent, and kept with it. *out:
     * caller frees. */
    int (*compose)(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e);
    void *app;
    unsigned first_retry_ms; /* 0: 1000; tests have less patience */
};

struct lt_revoke;

int lt_revoke_start(const struct lt_revoke_conf *c, struct lt_revoke **out, struct lt_err *e) LT_MUST_CHECK;
/* Something may have come into the outbox. Does not block; any thread. arg: struct lt_revoke *. */
void lt_revoke_wake(void *arg);
/* e NULL, or without a code: it confirmed. LT_E_NOT_FOUND: it is no receiver any more. d is gone. */
void lt_revoke_ended(struct lt_revoke_delivery *d, const struct lt_err *e);
/* Nothing is sent from now on. What the channels use goes after that, and with it what is under way. */
void lt_revoke_stop(struct lt_revoke *r);
void lt_revoke_free(struct lt_revoke *r); /* waits for what is under way; NULL is fine */

#endif
