/* What both forms of boot policy stand on; private to bootpolicy.c, bootrefstate.c and bootlearn.c.
 *
 * A digest in a log is what was measured; the type, label and data beside it are the machine's word, and a
 * machine that booted what it should not may relabel, and extend later what was missing. So in PCR 0, 4 and 7
 * every event is judged by its digest or has data that the digest proves, and PCR 7's variables stand before
 * its one separator. */
#ifndef LT_APPRAISAL_BOOTRULES_H
#define LT_APPRAISAL_BOOTRULES_H

#include "appraisal/bootevent.h"
#include "appraisal/bootpolicy.h"
#include "appraisal/pattern.h"
#include "appraisal/policy.h"

#define LT_BOOT_ALG LT_HASH_SHA256 /* the bank policies are written in, and the one that must be quoted */
#define LT_BOOT_APPS 16            /* boot applications of one boot, count */

/* LT_E_REFUSED "boot log event 10 (PCR 4, EV_…): …" */
int lt_boot_refuse(const struct lt_boot_event *ev, struct lt_err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "sha256:<64 hex>" of the event, or "no sha256". */
const char *lt_boot_value(const struct lt_boot_event *ev, char buf[80]);

struct lt_boot_apps {
    unsigned count;
    const struct lt_boot_event *app[LT_BOOT_APPS];
};
/* PCR 4: the boot applications in order; anything else must be a proven action or separator. */
int lt_boot_applications(const struct lt_boot_log *l, struct lt_boot_apps *out,
                         struct lt_err *e) LT_MUST_CHECK;

/* PCR 7: SecureBoot is what is wanted. visit (or NULL) gets every other variable before the separator, whose
 * data is proven, and every authority (EV_EFI_VARIABLE_AUTHORITY) behind it. */
typedef int (*lt_boot_visit)(void *arg, const struct lt_boot_event *ev, const struct lt_boot_variable *v,
                             struct lt_err *e);
int lt_boot_pcr7(const struct lt_boot_log *l, bool want, lt_boot_visit visit, void *arg,
                 struct lt_err *e) LT_MUST_CHECK;
/* What PCR 7 proves: 1 on, 0 off, -1 nothing measured. */
int lt_boot_secure_boot(const struct lt_boot_log *l);

/* Labels of PCR 9, as Keylime's example engine tells them apart. */
enum lt_boot_file { LT_BOOT_OTHER, LT_BOOT_KERNEL, LT_BOOT_INITRD, LT_BOOT_GRUB };
enum lt_boot_file lt_boot_file(const struct lt_boot_event *ev);
/* Linux's EFI stub measured that. */
bool lt_boot_tagged(const struct lt_boot_event *ev, uint32_t id);
/* The digest is that of load options made of this command line: UTF-16, with or without NUL and grub's
 * BOOT_IMAGE=. */
bool lt_boot_is_load_options(const uint8_t digest[LT_SHA256], struct lt_slice cmdline);

/* Every PCR of mask is quoted in SHA-256; with a log, it replays to that. */
int lt_boot_quoted(const struct lt_boot_log *l, uint32_t mask, const struct lt_pcrs *quoted,
                   struct lt_err *e) LT_MUST_CHECK;

/* ---- Keylime's reference state ---- */
struct lt_refstate;
bool lt_refstate_is(const json_t *o);
int lt_refstate_parse(const json_t *o, struct lt_refstate **out, struct lt_err *e) LT_MUST_CHECK;
void lt_refstate_free(struct lt_refstate *r);
#define LT_REFSTATE_PCRS 0x43ffu /* 0-9 and 14 */
int lt_refstate_judge(const struct lt_refstate *r, const struct lt_boot_log *l,
                      struct lt_err *e) LT_MUST_CHECK;

#endif
