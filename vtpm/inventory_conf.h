/* What an inventory is started with; vtpm/inventory.h has the rest. */
#ifndef LT_VTPM_INVENTORY_CONF_H
#define LT_VTPM_INVENTORY_CONF_H

#include "vtpm/seal/keeper.h"

/* TPM2_ReadClock of the host's TPM. */
struct lt_vtpm_host_clock {
    uint32_t reset_count, restart_count;
    uint64_t clock_ms;
};

struct lt_inventory_conf {
    const char *uri;     /* of libvirt; NULL or "": qemu:///system as root, else qemu:///session */
    const char *records; /* birth records of limetree-localca; NULL or "": there are none */
    const char *swtpm;   /* the program; NULL or "": swtpm, from PATH */
    const char
        *scratch; /* where copies of vTPM states are read, 0700 below it and wiped; NULL or "": /dev/shm */
    /* Reads the host TPM's clock, now. Called from a thread of the inventory, no lock held; may block for
     * seconds. A failure is retried; until it succeeds the new domain is not listed. */
    int (*read_clock)(void *ctx, struct lt_vtpm_host_clock *out, struct lt_err *e);
    void *ctx;
    const struct lt_seal_keeper *keeper; /* the vault's entries; NULL: none. Outlives the inventory */
};

#endif
