/* What a tenant remembers between rounds. The tenant stores these structs and hands out the state as it was
 * at t1; it never decides: the only ways to change them are the two _learn functions. */
#ifndef LT_APPRAISAL_CHECKS_HISTORY_H
#define LT_APPRAISAL_CHECKS_HISTORY_H

#include "residency/residency.h"
#include "tpm/attest.h"

/* Why a residency was not there to be judged (section 5). */
enum lt_history_absence {
    LT_HISTORY_PRESENT,
    LT_HISTORY_ABSENT_NULL,
    LT_HISTORY_ABSENT_PAUSED,
    LT_HISTORY_ABSENT_LEAVING
};

/* Of one guest (per EK_g): zeroed at first. Copy it at t1 and give the copy to the round: so rounds that
 * overlap do not see one another. Plain data, may be stored as columns. */
struct lt_history_guest {
    bool has_clock;
    struct lt_attest_clock_info clock;          /* the highest of a genuine guest quote */
    bool has_accepted;                          /* the last round that passed 4-9 */
    struct lt_attest_clock_info accepted_clock; /* of its guest quote */
    uint8_t accepted_ak_name[LT_TPM_NAME];      /* AK_h */
    uint8_t accepted_incarnation[LT_RESIDENCY_INCARNATION];
    bool has_accepted_host; /* false: accepted by a version that kept no host_id */
    uint8_t accepted_host[LT_RESIDENCY_HOST_ID];
    bool absent_before; /* the last residency asked for was null or paused */
};

/* Of one AK_h. "Received before this t1" is asked after the fact (which host answers is not known at t1), so
 * the latest quotes are kept with their times. Zeroed at first; after a reboot of the tenant load one entry
 * at time 0. */
#define LT_HISTORY_HOST_QUOTES_KEPT 256
struct lt_history_host {
    unsigned count; /* entries, oldest first; clocks and times never fall */
    struct {
        uint64_t received_ms;              /* CLOCK_BOOTTIME, t5 */
        struct lt_attest_clock_info clock; /* the highest so far */
    } entry[LT_HISTORY_HOST_QUOTES_KEPT];
};

/* What one round brought, filled by lt_checks_appraise_guest and lt_checks_appraise_host. */
struct lt_history_round_facts {
    uint8_t evidence[32];   /* E */
    uint8_t commitment[32]; /* C */
    bool guest_genuine;     /* check 1 passed */
    struct lt_attest_clock_info guest_clock;
    bool rests_on_domain; /* check 3 passed because its host says which command line it gave (check 8) */
    bool host_genuine;    /* checks 5 and 6 passed */
    struct lt_attest_clock_info host_clock;
    uint8_t host_ak_name[LT_TPM_NAME], host_id[LT_RESIDENCY_HOST_ID]; /* host_id: of the header */
    enum lt_history_absence absence;
    bool resident; /* check 8 passed */
    bool accepted; /* checks 4-9 passed */
    uint8_t incarnation[LT_RESIDENCY_INCARNATION];
    /* Of sealed vTPMs: the list that was handed in is the one to remember (check 8 passed on a record that
     * names it, and it is a continuation of the last one); this round's host is among the guest's openers and
     * failed check 7, without proof that none of them was open (sticky: exposed). */
    bool openers_seen, exposed;
    uint8_t exposed_host[32]; /* its ek_digest */
};

/* After every round, whatever its verdict, at t5. */
void lt_history_guest_learn(struct lt_history_guest *h, const struct lt_history_round_facts *f);
void lt_history_host_learn(struct lt_history_host *h, const struct lt_history_round_facts *f, uint64_t t5_ms);
/* The highest clock received before t1; false: none. */
bool lt_history_host_at(const struct lt_history_host *h, uint64_t t1_ms, struct lt_attest_clock_info *out);

#endif
