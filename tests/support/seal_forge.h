/* A vault's file as its attacker writes it: root on this host, in a state that the vault's key answers in, or
 * with another key. What is right in it is made by the product's own functions. */
#ifndef LT_TESTS_SUPPORT_SEAL_FORGE_H
#define LT_TESTS_SUPPORT_SEAL_FORGE_H

#include "agent/seal_chip.h"
#include "agent/seal_commit.h"
#include "agent/seal_files.h"

struct seal_forge {
    struct lt_agent_seal_ops ops;
    struct lt_tpm *tpm;
    const struct lt_agent_ek *ek;
    uint8_t host_ek_digest[LT_SHA256];
};

/* What another key is like; 0 and false: as it has to be. */
struct seal_forge_key {
    uint32_t attributes;
    bool known;       /* its maker knows the HMAC key: sensitiveDataOrigin is clear */
    bool storage;     /* its parent is a storage key of the owner's */
    bool any_counter; /* policy without PolicyNV */
    bool extra_state; /* policy with a state that the file does not name */
    uint64_t limit;   /* of PolicyNV */
};
/* Rewrites `vault` in place: same generation and entries, under such a key. */
int seal_forge_file(const struct seal_forge *f, const struct seal_forge_key *k, struct lt_err *e);
/* Commits content whose key answers in `state` too, the lists as they were. */
int seal_forge_ungrown(const struct seal_forge *f, const struct lt_pcrs *state, struct lt_err *e);
/* Asks the key of `vault` without its policy: "password" or "hmac" (session). 0: it answered. */
int seal_forge_ask(const struct seal_forge *f, const char *how, struct lt_err *e);
/* n entries of fresh keys, each with the vault's states, in one commit. */
int seal_forge_fill(const struct seal_forge *f, uint32_t n, struct lt_err *e);

#endif
