/* What a machine may have booted: a document judged against a boot log that was matched to quoted PCRs
 * before. Two forms are read: Keylime's example-engine reference state (keys scrtm_and_bios, kernels, …), and
 * ours; docs/policies.md says it key by key:
 *
 *   {"events":{"N":[digest or [digest…]…]}, "also":{"N":[digest…]}, "secure_boot":true, "firmware":[digest…],
 *    "shim":[…], "grub":[…], "kernel":[…], "initrd":[…], "cmdline":[pattern or "sha256:HEX"…],
 *    "golden":{"NAME":{"N":digest,…},…}, "refstate":{…}}
 *
 * Every key is optional. Digests are SHA-256, and that bank must be quoted. Each key judges PCRs, and what a
 * policy judges is closed: every event that extended such a PCR has a digest that the policy names for that
 * PCR, or proves text that it judges. Types, labels and the order between PCRs are nobody's word. */
#ifndef LT_APPRAISAL_BOOT_POLICY_H
#define LT_APPRAISAL_BOOT_POLICY_H

#include "appraisal/boot/log.h"
#include "common/alloc.h"
#include "common/json.h"

struct lt_boot_policy;

/* Unknown keys of our form are refused; *out is to be freed also after use by many threads (it is read-only).
 */
int lt_boot_policy_parse(const void *p, size_t n, struct lt_boot_policy **out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_boot_policy_free(struct lt_boot_policy *p);
LT_DEFINE_AUTO(lt_boot_policy, lt_boot_policy_free);
/* PCRs that must be quoted for it to be judged at all (0-9 and 14 for a reference state). 0: it judges
 * nothing, and the caller must say so. */
uint32_t lt_boot_policy_pcrs(const struct lt_boot_policy *p);
/* Of these, the PCRs that it leaves nothing open of: every event is named, or the value. */
uint32_t lt_boot_policy_covers(const struct lt_boot_policy *p);
/* 0, or LT_E_REFUSED naming event number, PCR, what was measured, and what was accepted; a fault of the log
 * or of a pattern's limits as it is. The judged PCRs are compared with the log's here once more. golden needs
 * no log. */
int lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *log,
                         const struct lt_pcrs *quoted, struct lt_err *e) LT_MUST_CHECK;

/* ---- of a state that nobody quoted: PCR values that a key was sealed to ---- */
/* PCRs that it has rules for; with a reference state fewer than must be quoted. */
uint32_t lt_boot_policy_judges(const struct lt_boot_policy *p);
/* Of these, the ones that a log is enough for: 0, 7 and 14; 4 if `kernel` is named; 9 if `initrd` is named
 * and no other file could stand there for it (no grub, no further list). Never 8: labels are not measured. */
uint32_t lt_boot_policy_foretells(const struct lt_boot_policy *p);
/* *listed: PCRs whose values in state a golden configuration has, 0 without golden. LT_E_REFUSED: the state
 * is none of the configurations. */
int lt_boot_policy_golden(const struct lt_boot_policy *p, const struct lt_pcrs *state, uint32_t *listed,
                          struct lt_err *e) LT_MUST_CHECK;
/* The events alone, golden apart: what the log replays to is taken for quoted. */
int lt_boot_policy_judge_log(const struct lt_boot_policy *p, const struct lt_boot_log *log,
                             struct lt_err *e) LT_MUST_CHECK;
/* PCR 9 holds a kernel of the policy's. Without grub it has no business there: it could stand for an initrd.
 */
bool lt_boot_policy_kernel_as_file(const struct lt_boot_policy *p, const struct lt_boot_log *log);

/* The policy that names what this log measured, and nothing else: each digest of PCR 0-9, 12, 14 (and 11 if
 * it has events) in the order of its first event. quoted: only PCRs that were, and replay to that; NULL: all,
 * and no quote stands behind them. The log's own judgement by it is made before it is handed out. The same
 * evidence gives the same bytes. *text: JSON, the caller frees; *covers: lt_boot_policy_covers of it. */
int lt_boot_policy_learn(const struct lt_boot_log *log, const struct lt_pcrs *quoted, char **text,
                         uint32_t *covers, struct lt_err *e) LT_MUST_CHECK;
#define LT_BOOT_LEARNT 0x53ffu /* 0-9, 12, 14 */

#endif
