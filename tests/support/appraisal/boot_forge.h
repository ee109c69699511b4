/* Boot logs made to order, in the crypto-agile form with SHA-256. */
#ifndef LT_TESTS_SUPPORT_APPRAISAL_BOOT_FORGE_H
#define LT_TESTS_SUPPORT_APPRAISAL_BOOT_FORGE_H

#include "appraisal/boot/event.h"
#include "appraisal/boot/log.h"

void boot_forge_begin(struct lt_buf *b);
/* digest NULL: that of the data. */
void boot_forge_event(struct lt_buf *b, uint32_t pcr, uint32_t type, const uint8_t *digest, const void *data,
                      size_t n);
/* Data is text and a NUL; digest is SHA-256 of what ("" : of one byte 0x01). */
void boot_forge_label(struct lt_buf *b, uint32_t pcr, const char *label, const char *what);
void boot_forge_variable(struct lt_buf *b, uint32_t type, const uint8_t guid[16], const char *name,
                         const void *data, size_t n);
/* One EFI_SIGNATURE_LIST of count signatures of n bytes; the first byte of data i is seed + i. */
void boot_forge_keys(struct lt_buf *b, const uint8_t type[16], unsigned count, size_t n, uint8_t seed);

struct boot_plan {
    bool secure_boot;
    bool grub_files;     /* PCR 9 holds a file that grub read for itself, too */
    unsigned dbx;        /* digests in it, count */
    const char *cmdline; /* NULL: the usual one */
    const char *firmware, *shim, *grub, *kernel, *initrd,
        *mok; /* what their digests are of; NULL: the usual */
};
/* A server with shim and grub. */
void boot_forge_server(struct lt_buf *b, const struct boot_plan *plan);
/* The reference state that a log of {.secure_boot, .dbx} with everything else usual, and no files of
 * grub's, passes; caller frees. */
char *boot_forge_refstate(const struct boot_plan *plan);
/* PCR values that the log replays to, mask PCR 0-15. */
void boot_forge_pcrs(const struct lt_buf *b, struct lt_pcrs *out);

#endif
