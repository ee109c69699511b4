/* V of guests that are trusted, on its way to them (Keylime's POST keys/vkey).
 *
 * V leaves this machine at the end of a round whose verdict is `trusted`, at the levels that the guest's
 * policy accepts, and was kept: wrapped for the transport key that PCR 16 of that very round named, over a
 * connection pinned to the certificate its agent had in that round. What did not arrive is sent again, later
 * and later, as long as that verdict is the one that stands and is fresh, and to that key alone; whatever
 * round ends next ends it, and begins anew if it is trusted. Nothing of this outlives the process: after a
 * start the next trusted round begins anew. So V may come to one key twice, which an agent takes, and never
 * to a second key without a second trusted round. What is under way is not called back; it has 10 s.
 *
 *   none -> (a trusted round, a V that this key has not) -> due -> under way -> delivered, written down
 *                                                            ^         |
 *                                                            '- later -'   refused: with the next such round
 */
#ifndef LT_TENANT_RELEASE_H
#define LT_TENANT_RELEASE_H

#include "common/http/client.h"
#include "tenant/round.h"
#include "verifier/store/releases.h"
#include "verifier/vault.h"

struct lt_release;

struct lt_release_conf { /* all borrowed */
    struct lt_store *store;
    const struct lt_vault *vault;
    struct lt_http_client *to_guests;
    struct lt_store_deadlines deadlines; /* what is fresh */
};

int lt_release_start(const struct lt_release_conf *c, struct lt_release **out,
                     struct lt_err *e) LT_MUST_CHECK;
/* Nothing leaves from now on. to_guests goes after that, and before lt_release_free. */
void lt_release_stop(struct lt_release *r);
void lt_release_free(struct lt_release *r);

/* Before a round's verdict is stored: what an earlier one allowed is allowed no longer. */
void lt_release_hold(struct lt_release *r, const uint8_t uuid[LT_UUID]);
/* The guest was removed. */
void lt_release_forget(struct lt_release *r, const uint8_t uuid[LT_UUID]);
/* After a trusted one was kept. address: HOST:PORT of its agent; minor: of the API 2.minor that it speaks. A
 * read of the store, and no more: for workers. */
void lt_release_trusted(struct lt_release *r, const struct lt_tenant_round *round, const char *address,
                        unsigned minor);

/* A guest's V, seen from outside; V itself is never told. */
struct lt_release_state {
    bool has;       /* it has a V */
    bool delivered; /* to the key of that digest, and when (wall) */
    uint8_t key[32];
    int64_t when;
    unsigned tries;  /* that failed since this V, or this key, began */
    bool waiting;    /* it will be tried again by itself */
    char error[200]; /* of the last try; "": none */
};
int lt_release_state(struct lt_release *r, const uint8_t uuid[LT_UUID], struct lt_release_state *out,
                     struct lt_err *e) LT_MUST_CHECK;
/* RELEASE of docs/api.md. */
json_t *lt_release_json(const struct lt_release_state *s);

/* What a request brings: "v" (base64 of 16 or 32 bytes) and "revocation_key" (PEM), each maybe null, "" or
 * absent. Checked, sealed (out->v.n 0: none came), and wiped in the request; for lt_store_release_put. */
int lt_release_read(const struct lt_vault *vault, const uint8_t uuid[LT_UUID], json_t *body,
                    struct lt_store_release *out, struct lt_err *e) LT_MUST_CHECK;

#endif
