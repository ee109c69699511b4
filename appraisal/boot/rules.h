/* What both forms of boot policy stand on; private to the boot judges.
 *
 * What a TPM proves of a boot is, for each PCR, which digests were extended and in which order. The types,
 * labels and data beside them are the machine's word: one that booted what it should not may call its events
 * what it likes, and extend what was missing later. So nothing here asks for a type or a label. An event is
 * known by its digest, or by text and variables that its digest proves; everything else is refused. */
#ifndef LT_APPRAISAL_BOOT_RULES_H
#define LT_APPRAISAL_BOOT_RULES_H

#include "appraisal/boot/log.h"
#include "appraisal/boot/set.h"
#include "appraisal/policy/pattern.h"
#include "appraisal/policy/policy.h"

#define LT_BOOT_ALG LT_HASH_SHA256 /* the bank policies are written in, and the one that must be quoted */
#define LT_BOOT_APPS 16            /* boot applications of one boot, count */

/* LT_E_REFUSED "boot log event 10 (PCR 4, EV_…): …" */
int lt_boot_refuse(const struct lt_boot_event *ev, struct lt_err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "sha256:<64 hex>" of the event, or "no sha256". */
const char *lt_boot_value(const struct lt_boot_event *ev, char buf[80]);

/* The next event that extended this PCR from *at on; NULL: no more. */
const struct lt_boot_event *lt_boot_next(const struct lt_boot_log *l, uint32_t pcr, unsigned *at);

/* Digests that mean the same everywhere. */
bool lt_boot_is_text(const struct lt_boot_event *ev, const char *text); /* with or without a NUL */
bool lt_boot_is_byte(const struct lt_boot_event *ev, uint8_t byte);
bool lt_boot_is_separator(
    const struct lt_boot_event *ev); /* 00000000 or ffffffff; an error separator is none */
/* What firmware says in PCR 4 of its attempts to boot. "Returning …" is none: it may stand before the first
 * application only, since an attempt that came to one and back leaves the next to somebody else. */
bool lt_boot_is_attempt(const struct lt_boot_event *ev);
bool lt_boot_is_return(const struct lt_boot_event *ev);
/* The variable SecureBoot with that value: off is 0 or no bytes. */
bool lt_boot_is_secure_boot(const struct lt_boot_event *ev, bool on);

/* The variable that the digest proves. late: behind PCR 7's separator, where shim up to 15 measures more
 * bytes than its variable has, all that it logs but the last. */
int lt_boot_proved_variable(const struct lt_boot_event *ev, bool late, struct lt_boot_variable *out,
                            struct lt_err *e) LT_MUST_CHECK;
/* The digests that load options made of this command line may have: UTF-16, with or without NUL and grub's
 * BOOT_IMAGE=. Their number: 0 of a line that is not ASCII, or too long. Made once a line, since it may be
 * long. */
#define LT_BOOT_WAYS 4
unsigned lt_boot_load_options(struct lt_slice cmdline, uint8_t out[LT_BOOT_WAYS][LT_SHA256]);
bool lt_boot_is_one_of(const struct lt_boot_event *ev, const uint8_t *digests, size_t n);

/* Every PCR of mask is quoted in SHA-256; with a log, it replays to that. */
int lt_boot_quoted(const struct lt_boot_log *l, uint32_t mask, const struct lt_pcrs *quoted,
                   struct lt_err *e) LT_MUST_CHECK;

/* ---- Keylime's reference state ---- */
struct lt_refstate;
bool lt_boot_refstate_is(const json_t *o);
int lt_boot_refstate_parse(const json_t *o, struct lt_refstate **out, struct lt_err *e) LT_MUST_CHECK;
void lt_boot_refstate_free(struct lt_refstate *r);
#define LT_BOOT_REFSTATE_PCRS 0x43ffu   /* 0-9 and 14: must be quoted */
#define LT_BOOT_REFSTATE_JUDGED 0x4395u /* 0, 2, 4, 7, 8, 9, 14: for 1, 3, 5 and 6 it has no words */
/* PCRs of which it names every event; with secure boot not 9, where it has no word for the kernel's file. */
uint32_t lt_boot_refstate_covers(const struct lt_refstate *r);
/* more: digests that are good besides, by PCR. */
int lt_boot_refstate_judge(const struct lt_refstate *r, const struct lt_boot_log *l,
                           const struct lt_boot_set more[LT_BOOT_REPLAYED], struct lt_err *e) LT_MUST_CHECK;

#endif
