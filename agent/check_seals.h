/* What of a host's promises about its sealed vTPMs the host itself can look at (docs/sealing.md section 7):
 * where their keys could leak to a disk or a guest, and who could change what starts them. A tenant believes
 * none of it from here: these are checks of the agent's own, worth what the platform state is worth in which
 * it runs. */
#ifndef LT_AGENT_CHECK_SEALS_H
#define LT_AGENT_CHECK_SEALS_H

#include "common/bytes.h"

#include <jansson.h>
#include <sys/types.h>

/* LEAK: keys would reach a disk or a guest: the vault is not opened ("host-leaks"). SEALS: somebody could
 * change what is started: asked for where vTPMs are to be `resident`. REPORT: said, and nothing follows.
 * X(NAME, slug, class, point of section 7) */
#define LT_CHECK_SEALS_TABLE(X)                                                                              \
    X(SWAP, "swap", LT_CHECK_SEALS_LEAK, 3)                                                                  \
    X(CRASH_KERNEL, "crash-kernel", LT_CHECK_SEALS_LEAK, 3)                                                  \
    X(HIBERNATION, "hibernation", LT_CHECK_SEALS_LEAK, 3)                                                    \
    X(CORE_PATTERN, "core-pattern", LT_CHECK_SEALS_LEAK, 3)                                                  \
    X(TPM_HELD, "tpm-held", LT_CHECK_SEALS_LEAK, 2)                                                          \
    X(TPM_NODE, "tpm-node", LT_CHECK_SEALS_SEALS, 2)                                                         \
    X(USERS, "users", LT_CHECK_SEALS_SEALS, 2)                                                               \
    X(LIBVIRT_FILES, "libvirt-files", LT_CHECK_SEALS_SEALS, 2)                                               \
    X(ROOT, "root", LT_CHECK_SEALS_SEALS, 1)                                                                 \
    X(MOUNTS, "mounts", LT_CHECK_SEALS_SEALS, 1)                                                             \
    X(LOCKDOWN, "lockdown", LT_CHECK_SEALS_SEALS, 1)                                                         \
    X(MODULES, "modules", LT_CHECK_SEALS_SEALS, 1)                                                           \
    X(KEXEC, "kexec", LT_CHECK_SEALS_SEALS, 1)                                                               \
    X(EMERGENCY_SHELL, "emergency-shell", LT_CHECK_SEALS_SEALS, 1)                                           \
    X(MEMORY, "memory-encryption", LT_CHECK_SEALS_REPORT, 4)
enum lt_check_seals_class { LT_CHECK_SEALS_LEAK, LT_CHECK_SEALS_SEALS, LT_CHECK_SEALS_REPORT };
enum lt_check_seals_check {
#define X(name, slug, class, point) LT_CHECK_SEALS_##name,
    LT_CHECK_SEALS_TABLE(X)
#undef X
        LT_CHECK_SEALS_COUNT
};

/* ---- facts ---- */

#define LT_CHECK_SEALS_TEXT 256
/* Texts as the kernel gives them, cut at that size; "" where the file is not there. */
struct lt_check_seals_facts {
    char unread[LT_CHECK_SEALS_TEXT]; /* a file that is there and cannot be read; "": none */
    char swaps[LT_CHECK_SEALS_TEXT];  /* the first swap that is no zram; "": none */
    char crash_loaded[8], kexec_loaded[8], kexec_disabled[8], sig_enforce[8];
    char sleep[64], hibernate[128]; /* /sys/power/state, /sys/power/disk */
    char core_pattern[LT_CHECK_SEALS_TEXT], core_uses_pid[8];
    char lockdown[64];
    char cmdline[4096];
    char memory[32]; /* "sme", "tme": the CPU says it can */
    /* The first thing that is not as it should be, for people; "": none. */
    char tpm_held[LT_CHECK_SEALS_TEXT], tpm_node[LT_CHECK_SEALS_TEXT], users[LT_CHECK_SEALS_TEXT];
    char libvirt_files[LT_CHECK_SEALS_TEXT], root[LT_CHECK_SEALS_TEXT], mounts[LT_CHECK_SEALS_TEXT];
};

/* proc, sys: where these are mounted (tests have others). swtpm_uid: who runs swtpm. Milliseconds, and more
 * with many guests; never fails: what cannot be read is in the facts. */
void lt_check_seals_gather(const char *proc, const char *sys, uid_t swtpm_uid,
                           struct lt_check_seals_facts *out);

/* ---- judging, pure ---- */

struct lt_check_seals_finding {
    bool holds;
    char message[LT_CHECK_SEALS_TEXT + 128]; /* what is, and where it does not hold what to do */
};
struct lt_check_seals_findings {
    struct lt_check_seals_finding of[LT_CHECK_SEALS_COUNT];
};
void lt_check_seals_judge(const struct lt_check_seals_facts *f, struct lt_check_seals_findings *out);
/* The slug of the first that does not hold: of LEAK; with all, of LEAK and SEALS. NULL: all hold. Static. */
const char *lt_check_seals_leak(const struct lt_check_seals_findings *f, bool all);
/* {"leaks": slug|null, "seals": slug|null, "checks": [{"check","point","holds","message"}]}. NULL without
 * memory. */
json_t *lt_check_seals_to_json(const struct lt_check_seals_findings *f);

/* ---- parts of facts, of the text that the kernel gives ---- */

/* /proc/swaps: the first that is neither a zram nor on one. */
void lt_check_seals_swap(const char *swaps, char out[LT_CHECK_SEALS_TEXT]);
/* A mount of /proc/PID/mountinfo. */
struct lt_check_seals_mount {
    char point[1024], device[32], type[32], source[256]; /* device: MAJOR:MINOR; escapes undone in point */
    bool ro, nodev, noexec, nosuid;
};
/* The next mount of that text; *mountinfo moves on. Lines that are none are passed over. False: no more. */
bool lt_check_seals_mount_next(const char **mountinfo, struct lt_check_seals_mount *out);
/* The mount that path lies in: the last line with the longest prefix. False: none. */
bool lt_check_seals_mount_of(const char *mountinfo, const char *path, struct lt_check_seals_mount *out);

#endif
