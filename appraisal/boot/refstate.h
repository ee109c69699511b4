/* A parsed reference state; private to refstate.c and refstate_judge.c. */
#ifndef LT_APPRAISAL_BOOT_REFSTATE_H
#define LT_APPRAISAL_BOOT_REFSTATE_H

#include "appraisal/boot/rules.h"

struct lt_refstate_key {
    uint8_t owner[2][16]; /* old tpm2_eventlog printed GUIDs in the wrong byte order: both are known */
    struct lt_slice data; /* owned */
};

struct lt_refstate_keys {
    size_t count;
    struct lt_refstate_key *key; /* sorted by data and owner, no doubles */
};

struct lt_refstate_kernel {
    uint8_t shim[LT_SHA256], grub[LT_SHA256], kernel[LT_SHA256], initrd[LT_SHA256];
    struct lt_pattern *cmdline;
};

struct lt_refstate_bios {
    uint8_t scrtm[LT_SHA256];
    struct lt_policy_digests firmware; /* a sequence */
};

enum {
    LT_REFSTATE_PK,
    LT_REFSTATE_KEK,
    LT_REFSTATE_DB,
    LT_REFSTATE_DBX,
    LT_REFSTATE_VENDOR_DB,
    LT_REFSTATE_LISTS
};
extern const char *const lt_refstate_names[LT_REFSTATE_LISTS]; /* "pk" */

struct lt_refstate {
    bool secure_boot, has_vendor_db;
    size_t bios_count, kernel_count;
    struct lt_refstate_bios *bios;
    struct lt_refstate_kernel *kernel;
    struct lt_refstate_keys keys[LT_REFSTATE_LISTS];
    struct lt_policy_digests mok, mokx;
};

extern const uint8_t
    lt_refstate_guid_order[16]; /* byte i of a GUID in the other byte order; its own inverse */
int lt_refstate_key_order(const void *a, const void *b); /* by data, then owner[0] */

#endif
