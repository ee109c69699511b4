/* What a machine may have booted: a document judged against a boot log that was matched to quoted PCRs
 * before. Two forms are read: Keylime's example-engine reference state (keys scrtm_and_bios, kernels, …), and
 * ours:
 *
 *   {"secure_boot":true, "firmware":[hex…], "shim":[hex…], "grub":[hex…], "kernel":[hex…], "initrd":[hex…],
 *    "cmdline":[pattern…], "golden":{"NAME":{"0":hex,…},…}}
 *
 * Every key is optional; what is absent is not judged. Digests are SHA-256, and that bank must be quoted.
 *
 * - firmware: every event of PCR 0 but separators, whatever its type says (types are not measured).
 * - shim, grub, kernel: Authenticode digests of the boot applications of PCR 4 in this order, all the rest
 * being kernels. grub without secure boot measures the kernel as a plain file in PCR 9: that digest then.
 * - initrd: PCR 9, the EFI stub's "Linux initrd", grub's file of that name. Without "grub" in the policy
 * nothing else may stand there.
 * - cmdline: grub's kernel_cmdline in PCR 8, bounded PCRE2 anchored at both ends. The EFI stub's LoadOptions
 * in PCR 9 is a digest without its text: it must be that of a grub line, of a pattern without operators, or
 * be given as "sha256:HEX".
 * - golden: one named configuration must match in all its PCRs.
 *
 * Limits: what grub reads into PCR 9 has labels that nothing proves. With "grub", an initrd (and without
 * secure boot the kernel) could go by the name of a file of grub's, the good one being extended later. */
#ifndef LT_APPRAISAL_BOOTPOLICY_H
#define LT_APPRAISAL_BOOTPOLICY_H

#include "appraisal/bootlog.h"
#include "common/json.h"

struct lt_boot_policy;

/* Unknown keys of our form are refused; *out is to be freed also after use by many threads (it is read-only).
 */
int lt_boot_policy_parse(const void *p, size_t n, struct lt_boot_policy **out,
                         struct lt_err *e) LT_MUST_CHECK;
void lt_boot_policy_free(struct lt_boot_policy *p);
/* PCRs that must be quoted for it to be judged at all (0-9 and 14 for a reference state). 0: it judges
 * nothing, and the caller must say so. */
uint32_t lt_boot_policy_pcrs(const struct lt_boot_policy *p);
/* 0, or LT_E_REFUSED naming event number, PCR, what was measured, and what was accepted; a fault of the log
 * or of a pattern's limits as it is. The judged PCRs are compared with the log's here once more. golden needs
 * no log. */
int lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *log,
                         const struct lt_pcrs *quoted, struct lt_err *e) LT_MUST_CHECK;
/* Ours, learnt from a log (firmware, shim, grub, kernel, initrd, exact cmdline, secure boot): a new JSON
 * object. Firmware that names nothing it measures (SeaBIOS) gives golden values of PCR 0-7. The log must have
 * matched a quote. */
json_t *lt_boot_policy_learn(const struct lt_boot_log *log, struct lt_err *e) LT_MUST_CHECK;

#endif
