/* The vault's life on this host (docs/sealing.md sections 2 and 3): opened by the chip, changed by commits
 * that a power cut may end anywhere, its entries in locked memory. What says so blocks (the TPM's thread,
 * fsync): for worker threads. Changes exclude each other; who waits for another's longer than
 * LT_AGENT_SEAL_WAIT_MS gets LT_E_VAULT_BUSY.
 *
 * Where the vault has to be open and is not, the code is its state's: LT_E_VAULT_LOCKED and so on. */
#ifndef LT_AGENT_SEAL_H
#define LT_AGENT_SEAL_H

#include "agent/keys.h"
#include "agent/tpm.h"
#include "vtpm/seal/keeper.h"
#include "vtpm/seal/key.h"

#define LT_AGENT_SEAL_WAIT_MS 5000
#define LT_AGENT_SEAL_PCR10_MS 60000 /* how long opening waits for a moment in which PCR 10 stands still */

/* X(NAME, slug, code), and which condition gives it, the first that holds:
 *   vault-busy    not opened yet, being opened, or the TPM or the disk failed (message): try again
 *   host-leaks    conf.leak named something: the vault is not opened (section 7 point 3)
 *   counter-lost  NV index 01804C54 is there and its Name is not the counter's (redefined, ordinary, other
 *                 attributes; nothing is changed there); or there is a vault's file and no counter, or one
 *                 that was never incremented
 *   vault-none    no vault's file, or only a pending one of a first vault that was cut off
 *   vault-forged  the file is not well-formed, of another version, or not ours with mode 0600
 *   vault-stale   the counter's value is the generation of no file: an old one was copied back, or somebody
 *                 else incremented the counter
 *   vault-forged  the file is another TPM's; its key is not exactly the key for its states, generation and
 *                 counter
 *   tpm-no-hmac   the file's key needs a command that this chip has not (or, behind vault-locked, refuses)
 *   vault-locked  no state of its key is the present one: the chip does not answer in this boot
 *   vault-forged  its key is not a child of this TPM's EK; the file does not decrypt; it holds an entry
 *                 whose list lacks, or calls closed, a state that its key answers in: none is taken
 *   open */
#define LT_AGENT_SEAL_STATES(X)                                                                              \
    X(BUSY, "vault-busy", LT_E_VAULT_BUSY)                                                                   \
    X(LEAKS, "host-leaks", LT_E_HOST_LEAKS)                                                                  \
    X(COUNTER_LOST, "counter-lost", LT_E_COUNTER_LOST)                                                       \
    X(NONE, "vault-none", LT_E_VAULT_NONE)                                                                   \
    X(STALE, "vault-stale", LT_E_VAULT_STALE)                                                                \
    X(FORGED, "vault-forged", LT_E_VAULT_FORGED)                                                             \
    X(NO_HMAC, "tpm-no-hmac", LT_E_TPM_NO_HMAC)                                                              \
    X(LOCKED, "vault-locked", LT_E_VAULT_LOCKED)                                                             \
    X(OPEN, "open", 0)
enum lt_agent_seal_state {
#define X(name, slug, code) LT_AGENT_SEAL_##name,
    LT_AGENT_SEAL_STATES(X)
#undef X
};
const char *lt_agent_seal_slug(enum lt_agent_seal_state s);

struct lt_agent_seal;
struct lt_agent_seal_ops;

struct lt_agent_seal_conf { /* borrowed until free */
    const char *dir;        /* the agent's state directory: vault, vault.next */
    struct lt_tpm *tpm;
    const struct lt_agent_ek *ek; /* the attester's, constant after the first open of the TPM */
    /* NULL, or why nothing may be open here (a static slug); asked at every look, so cheap. May be NULL. */
    const char *(*leak)(void *ctx);
    /* Entries are others now: committed, opened, closed. From whoever did that, with no lock held. May be
     * NULL. */
    void (*changed)(void *ctx);
    void *ctx;
    const struct lt_agent_seal_ops
        *ops; /* NULL: that chip, and files in dir; a test's: these are used instead */
};
/* Touches neither chip nor file: the state is vault-busy until _open. *out: _free. */
int lt_agent_seal_new(const struct lt_agent_seal_conf *c, struct lt_agent_seal **out,
                      struct lt_err *e) LT_MUST_CHECK;
void lt_agent_seal_free(struct lt_agent_seal *s); /* NULL is fine; wipes */

/* Opens it, or anew: at start after the anchor, and by each change where it is not open. 0: open, or there is
 * no vault; else its state. Milliseconds; up to LT_AGENT_SEAL_PCR10_MS where IMA extends PCR 10 all the time.
 * Blocks. */
int lt_agent_seal_open(struct lt_agent_seal *s, struct lt_err *e) LT_MUST_CHECK;

/* To be called every few seconds: wipes the keys of a host that leaks now, opens the vault when that is over,
 * and after trouble of the chip's or the disk's. Blocks as _open; returns at once while a change is under
 * way. */
void lt_agent_seal_tend(struct lt_agent_seal *s);

/* For the inventory and whoever starts domains; lives as long as s. */
const struct lt_seal_keeper *lt_agent_seal_keeper(struct lt_agent_seal *s);

struct lt_agent_seal_status {
    enum lt_agent_seal_state state;
    char message[sizeof((struct lt_err *)0)->msg]; /* "": nothing to say */
    uint64_t generation;                           /* 0: none known */
    enum lt_seal_key_kind key;                     /* 0: none known */
    struct lt_seal_key_states states;              /* that it answers in; count 0: none known */
    bool unfinished; /* a change of openers was cut off, or is under way: lists are longer than that */
};
void lt_agent_seal_status(struct lt_agent_seal *s, struct lt_agent_seal_status *out);
/* VAULT of docs/api.md: {"state","message","generation","key","unfinished","states","present",
 * "entries"}. present: PCRs
 * over the bitmap of the key's states (LT_OPENERS_STATE_MIN where there is none), read now; {} if the TPM
 * does not answer. Blocks. */
json_t *lt_agent_seal_json(struct lt_agent_seal *s);

/* ---- changes; all block, and where they fail the vault was opened anew ---- */

/* The first vault, of the present state over bitmap (LT_E_USAGE: one that a STATE may not have, or that lacks
 * a PCR of LT_OPENERS_STATE_MIN). LT_E_CONFLICT: it is open; its state: there is one that does not open,
 * which is not overwritten; LT_E_TPM_NO_HMAC: the chip has neither TPM2_HMAC nor TPM2_ECDH_ZGen. */
int lt_agent_seal_create(struct lt_agent_seal *s, uint32_t bitmap, struct lt_err *e) LT_MUST_CHECK;
/* Burn, grow, wrap, close, each a commit: the key then answers in its states and those of add, less the ones
 * whose numbers (of status.states) are in drop, which are closed in every list. LT_E_USAGE: nothing to do,
 * none left, a number that is none, the present state would not be among them; LT_E_TOO_LARGE: more than
 * LT_MAX_SEAL_STATES, a list that is full. After a failure some of the commits may stand: lists may be longer
 * than the key's states, never shorter, and what was dropped may be open in them. Ask again; with neither add
 * nor drop where closing is all that is left. */
int lt_agent_seal_reseal(struct lt_agent_seal *s, const struct lt_pcrs *add, unsigned add_n,
                         const unsigned *drop, unsigned drop_n, struct lt_err *e) LT_MUST_CHECK;

/* x->openers as a new entry's has to be now: its authority, the states of the vault's key, its escrow keys.
 * For who needs the whole entry before it is committed (an escrow copy is written first). */
int lt_agent_seal_complete_entry(struct lt_agent_seal *s, struct lt_seal_entry *x,
                                 struct lt_err *e) LT_MUST_CHECK;
/* Commits a copy of x, completed if it was not. LT_E_CONFLICT: that UUID, or that EK, has an entry. */
int lt_agent_seal_put_entry(struct lt_agent_seal *s, const struct lt_seal_entry *x,
                            struct lt_err *e) LT_MUST_CHECK;
/* Sets the pins; NULL leaves one as it is. LT_E_NOT_FOUND: no such entry. No commit where nothing changes. */
int lt_agent_seal_pin(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], const uint8_t *firmware,
                      const uint8_t *domain, struct lt_err *e) LT_MUST_CHECK;
int lt_agent_seal_remove_entry(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID],
                               struct lt_err *e) LT_MUST_CHECK;

/* ---- looks ---- */

/* OPENERS whose H is digest, of a committed entry, or of one that was committed while this process ran (a
 * round may ask for the list of its quote just after a reseal). LT_E_NOT_FOUND. out->max at least
 * LT_MAX_OPENERS_BYTES. */
int lt_agent_seal_openers(struct lt_agent_seal *s, const uint8_t digest[LT_SHA256], struct lt_buf *out,
                          struct lt_err *e) LT_MUST_CHECK;
/* How many entries there are, and their UUIDs, ascending, at most max. */
size_t lt_agent_seal_list(struct lt_agent_seal *s, uint8_t (*uuids)[LT_UUID], size_t max);

#endif
