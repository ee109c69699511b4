/* What one of several hosts may have: they are asked one after the other, until one has it. Those who ask for
 * the same thing meanwhile share the question. Lists of openers and escrow copies come this way. Bounded, and
 * no thread waits. */
#ifndef LT_PROVIDER_SEEK_H
#define LT_PROVIDER_SEEK_H

#include "common/http/server.h"
#include "provider/host.h"

struct lt_seek;

/* A kind of thing. */
struct lt_seek_kind {
    size_t max; /* bytes of an answer */
    /* It is what was asked for (the name's own bytes: a digest, a UUID), or why not: for the log. The next
     * host is asked then. On the work pool. */
    int (*check)(struct lt_slice bytes, const uint8_t *key, struct lt_err *e);
    /* It was checked; may be NULL. Before anybody is answered. */
    void (*keep)(void *arg, const uint8_t *key, struct lt_http_shared *bytes);
    const char *none; /* what 404 says: no host has it */
};

struct lt_seek_question {
    const struct lt_seek_kind *kind;
    char name[80]; /* below /federation/v1/ of the hosts, and what makes it the same question */
    uint8_t key[LT_SHA256];
    uint8_t tenant[16];                              /* zeros: an operator asks */
    struct lt_provider_host *host[LT_MAX_CLAIMANTS]; /* references, which this takes; in order */
    unsigned count;
};

struct lt_seek *lt_seek_new(struct lt_work *work, void *keep_arg);
void lt_seek_free(struct lt_seek *s); /* nothing is under way any more */

/* Takes over req, which is answered now or later: 200 with the bytes, 404, 503 when a host did not answer or
 * when too much is asked for already. The hosts of a question that joins another are not asked. */
void lt_seek_ask(struct lt_seek *s, struct lt_http_req *req, const struct lt_seek_question *q);

#endif
