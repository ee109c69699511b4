/* What a machine may have booted: a document judged against a boot log that was matched to quoted PCRs before.
 * Two forms are read: Keylime's example-engine reference state (keys scrtm_and_bios, kernels, …), and ours:
 *
 *   {"secure_boot":true, "firmware":[hex…], "shim":[hex…], "grub":[hex…], "kernel":[hex…], "initrd":[hex…],
 *    "cmdline":[pattern…], "golden":{"NAME":{"0":hex,…},…}}
 *
 * Every key is optional; what is absent is not judged. Digests are SHA-256: firmware of EV_EFI_PLATFORM_FIRMWARE_BLOB
 * and their kin, shim/grub/kernel Authenticode digests in the order of boot applications, initrd and cmdline as
 * measured by the EFI stub or grub. cmdline patterns are anchored at both ends, bounded PCRE2. golden: one named
 * configuration must match in all its PCRs. */
#ifndef LT_APPRAISAL_BOOTPOLICY_H
#define LT_APPRAISAL_BOOTPOLICY_H

#include "appraisal/bootlog.h"
#include "common/json.h"

struct lt_boot_policy;

/* Unknown keys of our form are refused; *out is to be freed also after use by many threads (it is read-only). */
int lt_boot_policy_parse(const void *p, size_t n, struct lt_boot_policy **out, struct lt_err *e) LT_MUST_CHECK;
void lt_boot_policy_free(struct lt_boot_policy *p);
/* PCRs that must be quoted for it to be judged at all. */
uint32_t lt_boot_policy_pcrs(const struct lt_boot_policy *p);
/* 0, or LT_E_REFUSED naming event number, PCR, what was measured, and what was accepted. log must have matched
 * quoted. golden needs no log. */
int lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *log, const struct lt_pcrs *quoted,
                         struct lt_err *e) LT_MUST_CHECK;
/* Ours, learnt from a log (firmware, shim, grub, kernel, initrd, exact cmdline, secure boot): a new JSON object. */
json_t *lt_boot_policy_learn(const struct lt_boot_log *log, struct lt_err *e) LT_MUST_CHECK;

#endif
