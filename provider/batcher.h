/* The heart of the federation, one per host: everybody's commitments are collected while the host's TPM is
 * busy, and one host quote over their tree answers them all (protocol.md section 4). No timer, no thread and
 * no socket of its own: the owner sends what it is asked to send and brings the host's answer.
 *
 *   IDLE    nothing asked, nothing queued
 *   ASKED   one batch is closed and with the host; more items queue   owner: who calls answer
 *   CHECK   its answer is held against header, attest, inventory      owner: that thread, no lock
 *
 *   IDLE  --add--> close: tree, ask --> ASKED
 *   ASKED --answer 409--> ask again, above the host's last batch_seq (at most three times) --> ASKED
 *   ASKED --answer--> CHECK --> the next batch is asked for, if anything is queued: the TPM never waits
 *                               for us; only then this one's items are told --> ASKED or IDLE
 *
 * An item has one owner: its own until add, the batcher until done is called, its own again from then on. One
 * lock guards queue, busy and batch_seq; it is the innermost and never held across a callback. */
#ifndef LT_PROVIDER_BATCHER_H
#define LT_PROVIDER_BATCHER_H

#include "common/ref.h"
#include "provider/residents.h"
#include "residency/proof.h"

/* Why an item has no proof. */
struct lt_batcher_item_error {
    int code; /* LT_E_…; 0: none */
    unsigned retry_after_s;
    const char *message; /* static text: it is told to tenants, so nothing of the host's wording is in it */
};

/* A closed batch with its checked host quote: immutable, shared by all whose commitments are in it. */
struct lt_batcher_batch {
    struct lt_ref_count refs;
    char *text; /* the QUOTE of docs/api.md with "host", rendered once */
    size_t text_n;
    struct lt_ref *quote; /* struct lt_residency_host_quote */
    struct lt_merkle *tree;
    struct lt_residents *residents;
    uint32_t reset_count;
};
/* The values it signed. */
const struct lt_pcrs *lt_batcher_batch_pcrs(const struct lt_batcher_batch *b);
struct lt_batcher_batch *lt_batcher_batch_ref(struct lt_batcher_batch *b);
void lt_batcher_batch_unref(struct lt_batcher_batch *b);

/* The same, with what only the provider itself is told. Borrowed, as long as done runs. */
struct lt_batcher_failure {
    struct lt_batcher_item_error told;
    const struct lt_err *cause; /* NULL: told says all */
    /* A host quote (struct lt_residency_host_quote) for which check 5 failed, and only that kind of failure;
     * NULL: none. Get a reference to keep it. */
    struct lt_ref *refused;
};

/* One commitment that waits, embedded in its owner's struct. done is called exactly once, without locks held:
 * with the batch (take a reference to keep it) and the leaf's index, or with batch NULL and why. */
struct lt_batcher_batch_item {
    uint8_t commitment[32];
    struct lt_batcher_batch_item *next;
    void (*done)(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                 const struct lt_batcher_failure *why);
};

/* The body of POST host-quotes. */
struct lt_batcher_batch_ask {
    uint64_t batch_seq;
    uint32_t n;
    uint8_t batch_root[32], policy_digest[32];
    const uint8_t *inventory_root; /* NULL: none known */
};

struct lt_batcher_conf {
    uint8_t host_id[LT_RESIDENCY_HOST_ID];
    const struct lt_public *ak;
    void *arg;
    /* What a batch that closes now is to name: the host's policy, and its inventory as far as known (a new
     * reference or NULL). */
    void (*context)(void *arg, uint8_t policy_digest[32], struct lt_residents **known);
    /* A host quote was accepted: the host's inventory and reset count are now these. */
    void (*quoted)(void *arg, const struct lt_batcher_batch *batch);
    /* A batch got none: LT_E_HOST_TPM and LT_E_BUSY as the host said it, LT_E_MALFORMED and the like when its
     * answer proves nothing, else it was not reached. The text is for operators. May be NULL. */
    void (*failed)(void *arg, const struct lt_err *e);
    /* Ask the host; lt_batcher_answer is to be called exactly once for it, by any thread. */
    void (*send)(void *arg, const struct lt_batcher_batch_ask *ask);
};

struct lt_batcher_host_answer {
    int status; /* of HTTP; 0: none came, trouble says why */
    const char *body;
    size_t n;
    unsigned retry_after_s;
    const struct lt_err *trouble;
};

struct lt_batcher;

int lt_batcher_new(const struct lt_batcher_conf *c, struct lt_batcher **out, struct lt_err *e) LT_MUST_CHECK;
/* Nothing may be under way or queued. */
void lt_batcher_free(struct lt_batcher *b);
/* Queues a list of items; they stay together if LT_MAX_BATCH allows. Any thread, no locks held. */
void lt_batcher_add(struct lt_batcher *b, struct lt_batcher_batch_item *items);
/* Checks the answer as strictly as a tenant will (a broken host fails its own items only), starts the next
 * quote, then calls the items. No answer at all fails the queued items too: they would wait for nothing. */
void lt_batcher_answer(struct lt_batcher *b, const struct lt_batcher_host_answer *a);

#endif
