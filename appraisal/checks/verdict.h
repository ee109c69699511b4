/* A verdict of docs/protocol.md section 5: never a bare bool. Every check is in exactly one of passed, failed
 * and not_made; a part that was left out of a check that stands is an extra not_made line with its name. */
#ifndef LT_APPRAISAL_CHECKS_VERDICT_H
#define LT_APPRAISAL_CHECKS_VERDICT_H

#include "common/json.h"

/* The eleven checks, in protocol order. */
enum lt_check {
    LT_CHECK_GUEST_QUOTE,
    LT_CHECK_GUEST_CLOCK,
    LT_CHECK_GUEST_POLICY,
    LT_CHECK_BATCH_INCLUSION,
    LT_CHECK_HOST_QUOTE,
    LT_CHECK_HOST_IDENTITY,
    LT_CHECK_HOST_POLICY,
    LT_CHECK_RESIDENCY,
    LT_CHECK_HOST_CLOCK,
    LT_CHECK_WINDOW,
    LT_CHECK_SANDWICH,
    LT_CHECKS
};

enum lt_verdict_result {
    LT_VERDICT_TRUSTED,
    LT_VERDICT_FAILED,
    LT_VERDICT_UNCHECKED,
    LT_VERDICT_STALE,
    LT_VERDICT_UNREACHABLE,
    LT_VERDICT_CONSISTENT,  /* offline: nothing that was made failed */
    LT_VERDICT_INCONSISTENT /* offline */
};

/* Unlinked: judged without a host, which is weaker than any link to one. */
enum lt_verdict_link {
    LT_VERDICT_LINK_NONE,
    LT_VERDICT_LINK_UNLINKED,
    LT_VERDICT_LINK_COPYABLE, /* whoever once had the vTPM's state may run it elsewhere */
    LT_VERDICT_LINK_BOUND,    /* its state was open in listed and accepted states only */
    LT_VERDICT_LINK_RESIDENT  /* and these enforce user space, which the tenant's policy says */
};
enum lt_verdict_level { LT_VERDICT_LEVEL_NONE, LT_VERDICT_LEVEL_BOOT_ONLY, LT_VERDICT_LEVEL_APPRAISED };

/* What a verdict lacks although its checks say nothing against it; a policy accepts each by that name alone.
 */
enum lt_verdict_weakness {
    LT_VERDICT_WEAK_UNLINKED,    /* "unlinked" */
    LT_VERDICT_WEAK_UNJUDGED,    /* "unjudged": check 3 judged nothing */
    LT_VERDICT_WEAK_EK_UNPROVEN, /* "ek-unproven": nobody vouches for the EK of a guest that is unlinked */
    LT_VERDICT_WEAKNESSES
};

enum lt_check_state { LT_CHECK_NOT_MADE, LT_CHECK_PASSED, LT_CHECK_NOT_PASSED };

/* Why a check is where it is, as far as the result depends on it. The enumerators are in the order of the
 * table "What a failure means": a smaller one decides. */
enum lt_check_weight {
    LT_CHECK_WEIGHT_FAILED,    /* revoke */
    LT_CHECK_WEIGHT_UNCHECKED, /* a new round */
    LT_CHECK_WEIGHT_STALE,
    LT_CHECK_WEIGHT_NONE /* passed; or not made because of another check, which decides */
};

#define LT_VERDICT_CAUSE 24 /* characters, with NUL */
#define LT_VERDICT_PARTS 64 /* omitted parts and notes of one verdict, count */

struct lt_check_part {
    enum lt_check check;
    bool note; /* something to know about a check that was made ("first"); else a part that was not made */
    const char *part; /* static */
    char message[320];
};

/* What keeps the link of a sealed vTPM from being a higher one (docs/sealing.md section 5). */
#define LT_VERDICT_PROBLEMS 16 /* of one list that are told, count */
struct lt_verdict_problem {
    int opener;         /* its index; -1: of the list as a whole */
    const char *reason; /* static slug: opener-off-policy, … */
    char message[240];
};

struct lt_verdict {
    bool offline;
    unsigned left_out;      /* bits: checks that do not apply to what is judged (lt_verdict_leave_out) */
    unsigned weak, refused; /* weaknesses; those of them that the policy does not accept: bits */
    enum lt_verdict_result result;
    char reason[32]; /* slug; "": none */
    enum lt_verdict_link link;
    enum lt_verdict_level level;
    bool tainted;
    bool has_host, has_batch;
    uint8_t host_id[16];
    uint32_t batch_n;
    uint64_t batch_seq;
    struct {
        enum lt_check_state state;
        enum lt_check_weight weight;
        bool lacking;       /* something it needs is absent */
        const char *reason; /* static; what the verdict's reason is when this check decides; NULL: its slug */
        char cause[LT_VERDICT_CAUSE]; /* of one that failed: what in it, as a slug (docs/api.md); "": not told
                                       */
        char message[320];
    } check[LT_CHECKS];
    struct {
        bool listed; /* the record names a list */
        uint8_t digest[32];
        unsigned count;                 /* of the list at hand; 0: none is */
        unsigned problem_count, untold; /* untold: for want of room */
        struct lt_verdict_problem problem[LT_VERDICT_PROBLEMS];
    } openers;
    unsigned part_count;
    struct lt_check_part parts[LT_VERDICT_PARTS]; /* last: a copy need not have those that are not used */
};

/* A row of the table of checks, which appraisal/checks/checks.c holds with its one caller. */
struct lt_checks;
struct lt_verdict_rule {
    const char *slug;
    unsigned rests_on;            /* bit N set: not made unless check N passed */
    enum lt_check_weight failure; /* what it means if it fails */
    void (*run)(struct lt_checks *c);
};
extern const struct lt_verdict_rule lt_verdict_rules[LT_CHECKS];

const char *lt_check_slug(enum lt_check c);
const char *lt_verdict_result_slug(enum lt_verdict_result r);
const char *lt_verdict_link_slug(enum lt_verdict_link l);   /* NULL: none */
const char *lt_verdict_level_slug(enum lt_verdict_level l); /* NULL: none */

/* Everything not made, result unchecked. */
void lt_verdict_init(struct lt_verdict *v);
void lt_verdict_init_offline(struct lt_verdict *v);

/* Before they are asked for: these checks (bits) do not apply to what is judged. They are not made, named so,
 * and decide nothing; what rests on them rests on its other checks alone. */
void lt_verdict_leave_out(struct lt_verdict *v, unsigned checks, const char *message);

/* It has that weakness, which the policy accepts or not: then it is never trusted. */
void lt_verdict_weakened(struct lt_verdict *v, enum lt_verdict_weakness w, bool accepted);
const char *lt_verdict_weakness_slug(enum lt_verdict_weakness w);

/* ---- the checks' side: open, then any of fault, lack, omit, note, then close ---- */
/* False, and not made, if what the check rests on did not pass. */
bool lt_check_open(struct lt_verdict *v, enum lt_check c);
/* The check fails, with the weight the protocol gives it (1-8 failed, 9 and 11 unchecked, 10 stale). The
 * first message is kept. */
void lt_check_fault(struct lt_verdict *v, enum lt_check c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, and what in it failed: a slug, NULL or "": not told. */
void lt_check_fault_of(struct lt_verdict *v, enum lt_check c, const char *cause, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The check could not be made good, for e: a fault, unless memory ran out, which is no word about anybody's
 * evidence: not made. Offline that is a fault all the same: `consistent` needs every check that it does not
 * name. */
void lt_check_failed(struct lt_verdict *v, enum lt_check c, const struct lt_err *e);
/* Something the check needs is absent: live, the check is not made; offline, the part is named as omitted. */
void lt_check_lack(struct lt_verdict *v, enum lt_check c, const char *part, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same where the gap is the operator's to close and has a name of its own (no-root): live, the verdict's
 * reason is that word. */
void lt_check_gap(struct lt_verdict *v, enum lt_check c, const char *part, const char *reason,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A part that this version or the policy leaves out: named, and the check stands. */
void lt_check_omit(struct lt_verdict *v, enum lt_check c, const char *part, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void lt_check_note(struct lt_verdict *v, enum lt_check c, const char *part, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Not made, for a reason of its own: unchecked, whatever else was found. */
void lt_check_skip(struct lt_verdict *v, enum lt_check c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Passed if it stands (lt_verdict_stands); true if passed. */
bool lt_check_close(struct lt_verdict *v, enum lt_check c);

/* ---- the round's side ---- */
bool lt_verdict_passed(const struct lt_verdict *v, enum lt_check c);
/* It would pass if it were closed now: open, and nothing failed, lacks or was skipped. */
bool lt_verdict_stands(const struct lt_verdict *v, enum lt_check c);
/* A live round stops after a failed 1, 2 or 3. */
bool lt_verdict_stopped(const struct lt_verdict *v);
/* Result and reason from the checks, by the table. What the tenant's policy accepts by name: links from least
 * on (RESIDENT: no other; lt_checks_least_link), and the level boot-only. */
void lt_verdict_conclude(struct lt_verdict *v, enum lt_verdict_link least, bool accept_boot_only);
/* Unchecked, for that reason (static), whatever its checks say: none of them failed. */
void lt_verdict_undecided(struct lt_verdict *v, const char *reason);
/* A round that got no usable answer (result LT_VERDICT_UNREACHABLE or LT_VERDICT_STALE): checks already made
 * stay, the others are not made with e's message; a check that failed before decides all the same. */
void lt_verdict_no_answer(struct lt_verdict *v, enum lt_verdict_result result, const struct lt_err *e);

/* VERDICT of docs/api.md; times is taken over (NULL: null). NULL without memory. */
json_t *lt_verdict_to_json(const struct lt_verdict *v, json_t *times);

#endif
