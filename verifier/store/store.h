/* What a verifier keeps: agents, guests, policies, history and verdicts, in SQLite (common/run/db.h).
 * Functions that write wait for the commit: call them from workers, never from an HTTP handler. Reads are
 * short.
 *
 * Deadlines live here, and a status is computed when it is read: a process that died leaves nothing green.
 * Times are CLOCK_BOOTTIME of the boot they were written in; those of another boot are past every deadline.
 */
#ifndef LT_VERIFIER_STORE_STORE_H
#define LT_VERIFIER_STORE_STORE_H

#include "appraisal/checks/history.h"
#include "appraisal/checks/verdict.h"
#include "common/run/db.h"
#include "keylime/agent.h"

#define LT_STORE_AGENTS                                                                                      \
    65536 /* active agents, count: registration is open to anybody with a TPM, or software */

struct lt_store;

/* boot_id NULL: this boot's, from the kernel (tests give their own). space: of the directory it lies in,
 * taken over also on failure; NULL: nobody watches it. */
int lt_store_open(const char *path, const char *boot_id, struct lt_space *space, struct lt_store **out,
                  struct lt_err *e) LT_MUST_CHECK;
void lt_store_close(struct lt_store *s);
/* Rows that were left out at the start, and verdicts that wait to be written. */
void lt_store_report(struct lt_store *s, struct lt_db_health *health, struct lt_db_skipped *skipped,
                     size_t *unwritten);
/* Whether n bytes that can be done without may be written into the state directory. */
bool lt_store_fits(struct lt_store *s, uint64_t n);

/* Where verifier/store/outbox.h finds what was decided: lt_store_round puts a failed verdict's revocation
 * there in the transaction that stores it (one that waits in memory, when it is written), and that it is
 * lifted with the first trusted verdict after `unproven`. */
struct lt_db *lt_store_outbox(struct lt_store *s);
/* fn, which must not block, is called when there may be something new in it; NULL: nobody is. */
void lt_store_on_revocation(struct lt_store *s, void (*fn)(void *arg), void *arg);

/* ---- agents: active registrations only ---- */
/* LT_E_NOT_FOUND; free *out with lt_agent_free. */
int lt_store_agent_get(struct lt_store *s, const char *id, struct lt_agent *out,
                       struct lt_err *e) LT_MUST_CHECK;
/* Stores what was activated; LT_E_FORBIDDEN when an active record has another identity
 * (lt_keylime_agent_check_identity), or another id has this EK. *changed (may be NULL): false when the very
 * same is active already; then nothing is written. */
int lt_store_agent_activate(struct lt_store *s, const struct lt_agent *a, bool *changed,
                            struct lt_err *e) LT_MUST_CHECK;
/* keylime: by the admin of Keylime's API, who is told LT_E_FORBIDDEN of a federation guest's agent: its id
 * would be free for another TPM. */
int lt_store_agent_delete(struct lt_store *s, const char *id, bool keylime, struct lt_err *e) LT_MUST_CHECK;
/* The next ids in order, after that one ("": from the first), at most n of them; a row that is no agent's is
 * left out. *count 0: there are no more. */
int lt_store_agent_page(struct lt_store *s, const char *after, char (*ids)[LT_ID_MAX + 1], size_t n,
                        size_t *count, struct lt_err *e) LT_MUST_CHECK;
/* A new array of ids: all. */
int lt_store_agent_ids(struct lt_store *s, json_t **out, struct lt_err *e) LT_MUST_CHECK;

/* ---- guests: what is to be attested ---- */
/* Which API a guest came by. Keylime's may not write what is the federation's. */
enum lt_store_door { LT_STORE_DOOR_FEDERATION, LT_STORE_DOOR_KEYLIME };

struct lt_store_guest {
    uint8_t uuid[LT_UUID];     /* its key: the domain's; of one without (lt_uuid_of_id) a name of its id */
    char agent[LT_ID_MAX + 1]; /* what its agent registers as; no two guests have one */
    enum lt_store_door door;
    char address[280]; /* "": as registered by the agent */
    bool has_policy, has_ek;
    uint8_t policy[32];
    uint8_t ek[32]; /* ek_digest that is pinned: no other vTPM is this guest's */
    bool linked;    /* read only: a host's proof of it was accepted since it was added (protocol.md 5) */
};

/* The guest's address, and what it has here of agent ("": none; a new guest's is its UUID's text), policy and
 * EK; what it does not have here stays, also what somebody else gives it at this moment. document (p NULL:
 * none): the policy's bytes, stored in the same transaction. LT_E_FORBIDDEN: by Keylime's door, and it is the
 * federation's (which takes over what it writes). LT_E_CONFLICT: another guest has that agent. */
int lt_store_guest_put(struct lt_store *s, const struct lt_store_guest *g, struct lt_slice document,
                       struct lt_err *e) LT_MUST_CHECK;
/* The policy of a guest that is there, and nothing else of it; its digest. LT_E_NOT_FOUND. */
int lt_store_guest_policy(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_slice document,
                          uint8_t digest[32], struct lt_err *e) LT_MUST_CHECK;
int lt_store_guest_get(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_store_guest *out,
                       struct lt_err *e) LT_MUST_CHECK;
/* The guest whose agent registers as that. LT_E_NOT_FOUND. */
int lt_store_guest_by_agent(struct lt_store *s, const char *id, struct lt_store_guest *out,
                            struct lt_err *e) LT_MUST_CHECK;
/* The guest and its verdict; its history stays, so that adding it again forgets nothing. */
int lt_store_guest_delete(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_err *e) LT_MUST_CHECK;
/* Calls each in order of uuid until it returns non-zero. */
int lt_store_guests(struct lt_store *s, int (*each)(void *arg, const struct lt_store_guest *g), void *arg,
                    struct lt_err *e) LT_MUST_CHECK;

/* ---- policy documents, by the SHA-256 of their bytes ---- */
int lt_store_policy_put(struct lt_store *s, const void *p, size_t n, uint8_t digest[32],
                        struct lt_err *e) LT_MUST_CHECK;
/* Caller frees *p. The digest is verified. */
int lt_store_policy_get(struct lt_store *s, const uint8_t digest[32], uint8_t **p, size_t *n,
                        struct lt_err *e) LT_MUST_CHECK;

/* LT_E_CONFLICT says which guest or guest policy names it; LT_E_NOT_FOUND. */
int lt_store_policy_drop(struct lt_store *s, const uint8_t digest[32], struct lt_err *e) LT_MUST_CHECK;

/* ---- history ---- zeroed when there is none */
int lt_store_guest_history(struct lt_store *s, const uint8_t ek_digest[32], struct lt_history_guest *out,
                           struct lt_err *e) LT_MUST_CHECK;
int lt_store_host_clock(struct lt_store *s, const uint8_t ak_name[LT_TPM_NAME], bool *has,
                        struct lt_attest_clock_info *out, struct lt_err *e) LT_MUST_CHECK;
/* Marks nonces as used and forgets those older than keep_ms. used[i]: it was used before. While the store
 * takes nothing they are remembered in memory. */
int lt_store_nonces(struct lt_store *s, const char (*nonces)[LT_RESIDENCY_NONCE + 1], size_t count,
                    uint64_t now_ms, uint64_t keep_ms, bool *used, struct lt_err *e) LT_MUST_CHECK;

/* ---- verdicts ---- */
/* What a verdict is about: it counts as long as guest and registration still say the same. */
struct lt_store_basis {
    bool has_policy, has_ek, has_pin;
    uint8_t policy[32]; /* digest of the guest's policy */
    uint8_t ek[32];     /* ek_digest of its registration; zeros: of one that has none */
    uint8_t pin[32];    /* ek_digest that is pinned */
};
/* Of an agent's EK, as bases hold it. */
void lt_store_basis_ek(struct lt_store_basis *b, const uint8_t *ek, size_t n);

struct lt_store_round {
    uint8_t uuid[LT_UUID];
    const struct lt_verdict *verdict;
    const struct lt_store_basis *basis;     /* as at t1; NULL: the round ended before it was known */
    uint64_t t1_ms, end_ms;                 /* CLOCK_BOOTTIME; end: the last byte, or when it was given up */
    int64_t started, received;              /* wall, for people */
    const uint8_t *ek_digest;               /* NULL: no history to keep */
    const struct lt_history_guest *history; /* of that EK, after the round */
    struct lt_slice openers; /* the last list of openers of that EK; p NULL: none that is news (seals.h) */
    bool linked;             /* a host's proof was accepted */
    const uint8_t *host_ak_name;            /* NULL: no host quote */
    struct lt_attest_clock_info host_clock; /* the highest of that AK_h */
};

enum lt_store_kept {
    LT_STORE_KEPT,
    LT_STORE_STANDS,   /* an earlier failed verdict stands: only lt_store_clear ends that */
    LT_STORE_OUTDATED, /* the policy, or the registration, is another than the round was made under */
    LT_STORE_GONE,     /* the guest was removed meanwhile */
    LT_STORE_HELD      /* the store takes nothing: it counts, from memory, and is written when it can be */
};
/* History always; the verdict where *kept says so. From the call on status tells it, whatever the disk does.
 */
int lt_store_round(struct lt_store *s, const struct lt_store_round *r, enum lt_store_kept *kept,
                   struct lt_err *e) LT_MUST_CHECK;
/* Removes a failed verdict; its revocation stays decided, and if it fails again that is a new one.
 * LT_E_CONFLICT: it is not failed. */
int lt_store_clear(struct lt_store *s, const uint8_t uuid[LT_UUID], struct lt_err *e) LT_MUST_CHECK;

struct lt_store_deadlines {
    uint64_t news_ms;      /* a trusted verdict older than that reads as stale: no news for a period */
    uint64_t fault_ms;     /* the same while the store takes nothing, when that is shorter; 0: news_ms */
    uint64_t max_stale_ms; /* no trusted verdict for that long: reason "unproven" */
};

struct lt_store_status {
    bool known;                    /* false: no verdict yet */
    bool bad;                      /* the store holds one that cannot be read: unchecked */
    enum lt_verdict_result result; /* as of now */
    bool unproven;
    uint64_t proven_ms; /* from now until it is unproven; 0: it is, or was never trusted, or failed */
};

/* The status now. json (may be NULL): a new VERDICT of docs/api.md, or JSON null. A verdict of another policy
 * or EK than the guest has now is unchecked, "policy-changed" or "registration-changed"; a failed one stays.
 */
int lt_store_status(struct lt_store *s, const uint8_t uuid[LT_UUID], const struct lt_store_deadlines *d,
                    uint64_t now_ms, struct lt_store_status *out, json_t **json,
                    struct lt_err *e) LT_MUST_CHECK;

/* A guest whose status is unproven has been tried for long enough: the outbox gets that, unless that is what
 * it has of the guest already. Queued: any thread. */
void lt_store_unproven(struct lt_store *s, const uint8_t uuid[LT_UUID], const struct lt_store_deadlines *d);

#endif
