/* A chip and a disk for the vault, in memory: what they are asked is written down, power may be cut before or
 * after any step of it, and every file that was ever written is kept. */
#ifndef LT_TESTS_SUPPORT_SEAL_FAKE_H
#define LT_TESTS_SUPPORT_SEAL_FAKE_H

#include "agent/seal_commit.h"

#define SEAL_FAKE_EVER 64

struct seal_fake_bytes {
    uint8_t *p; /* NULL: no such file */
    size_t n;
    bool synced;
};

struct seal_fake {
    /* the chip */
    uint8_t secret[LT_SHA256];
    uint64_t counter;
    bool defined, others;    /* others: what is at the index is another's */
    unsigned kinds, refused; /* 1 << kind */
    struct lt_pcrs present;
    /* the disk: what programs see, and what a power cut leaves for certain */
    struct seal_fake_bytes vault, next, vault_kept, next_kept;
    /* the cut: at that operation (1: the first; 0: none), before it or after; operations since it are refused
     */
    unsigned cut_at, done;
    bool cut_after, is_cut;
    /* the record */
    char words[8192];
    struct seal_fake_bytes ever[SEAL_FAKE_EVER];
    unsigned ever_n;
};

extern const struct lt_agent_seal_chip_ops seal_fake_chip_ops;
extern const struct lt_agent_seal_file_ops seal_fake_file_ops;
struct lt_agent_seal_ops seal_fake_ops(struct seal_fake *f);

/* Power is back. What was not synced: 0: is there all the same; 1: the names are, the bytes not all; 2:
 * neither. */
void seal_fake_restart(struct seal_fake *f, int outcome);
void seal_fake_put(struct seal_fake_bytes *b, const struct seal_fake_bytes *from);
void seal_fake_free(struct seal_fake *f);

#endif
