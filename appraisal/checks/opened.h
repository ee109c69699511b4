/* Openers judged (docs/sealing.md section 5): every platform state and key that a sealed vTPM's secrets were
 * ever open to, each by the tenant's policy. Part of check 8: what is missing or not accepted lowers the
 * link, a list that shrank fails. Pure. */
#ifndef LT_APPRAISAL_CHECKS_OPENED_H
#define LT_APPRAISAL_CHECKS_OPENED_H

#include "appraisal/checks/identity.h"
#include "appraisal/checks/measured.h"
#include "residency/openers.h"

/* A host policy at hand, with what it names. */
struct lt_checks_openers_policy {
    const struct lt_policy_host *policy;
    const struct lt_measured_documents *documents; /* its boot policy; NULL: none at hand */
};

/* When the guest's policies first named what they have retired. */
struct lt_checks_openers_retired {
    bool host; /* else a host policy */
    uint8_t digest[LT_SHA256];
    int64_t at;
};

struct lt_checks_openers_exposed {
    uint8_t host_ek_digest[LT_SHA256];
    int64_t since;
};

/* All pointers are borrowed; what is not there was not to be had, and is no word about the guest. */
struct lt_checks_openers {
    const struct lt_openers *list; /* NULL: absent. Its digest is compared with the record's here */
    const char *trouble;           /* then: why; NULL: not said */
    /* Of the hosts of kind 1 that could be had: EK, registry, certificate as for check 6. */
    const struct lt_checks_identity_host *const *host;
    size_t host_count;
    const struct lt_checks_openers_policy *policy; /* those of host_policies and retired_host_policies */
    size_t policy_count;
    /* Boot logs beside the quoted one, which is that of the round: of earlier boots, of other hosts. Anybody
     * may bring them: what one replays to is what it proves. */
    const struct lt_boot_log *const *log;
    size_t log_count;
    /* Of this EK_g, as it was at t1. Times are of one clock that rises with every entry. */
    const struct lt_openers *last;                   /* the list seen last; NULL: none */
    const int64_t *closed_at;                        /* of each of last->one: first seen closed; 0: never */
    const struct lt_checks_openers_retired *retired; /* what is not here was retired before all */
    size_t retired_count;
    const struct lt_checks_openers_exposed *exposed; /* not cleared */
    size_t exposed_count;
};

/* That host failed check 7 on a quote that passed 5 and 6: true unless a log (NULL: none) that replays to
 * the quoted values shows, for each opener of that host, a selected PCR that never had the opener's value in
 * this boot, its start included. False also where the list has no opener of that host. */
bool lt_checks_openers_exposed(const struct lt_openers *list, const uint8_t host_ek_digest[LT_SHA256],
                               const struct lt_boot_log *log, const struct lt_pcrs *quoted);

/* Whether a host policy with that digest counts for opener i of in->list: p accepts it, or has retired it
 * since the opener was seen closed. */
bool lt_checks_openers_counts(const struct lt_checks_openers *in, const struct lt_policy_guest *p, unsigned i,
                              const uint8_t digest[LT_SHA256]);

/* Whether that policy holds the state: it judges LT_OPENERS_STATE_MIN at least, and what it judges (PCR 10
 * and 13 apart) is in the state with a listed value, or judged by its boot policy where that is enough, on
 * one of the logs. 0, or LT_E_REFUSED saying which PCR and why. */
int lt_checks_openers_holds(const struct lt_checks_openers_policy *p, const struct lt_pcrs *state,
                            const struct lt_boot_log *const *log, size_t log_count,
                            struct lt_err *e) LT_MUST_CHECK;
/* What a log came to under one boot policy, whatever the state. Zeros: not looked yet. */
struct lt_checks_openers_memo {
    enum lt_checks_fact passes;
    enum lt_checks_fact kernel_as_file;
};
/* The same of many states under one policy: memo has an entry a log. */
int lt_checks_openers_holds_memo(const struct lt_checks_openers_policy *p, const struct lt_pcrs *state,
                                 const struct lt_boot_log *const *log, size_t log_count,
                                 struct lt_checks_openers_memo *memo, struct lt_err *e) LT_MUST_CHECK;

#endif
