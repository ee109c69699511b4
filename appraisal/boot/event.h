/* What is inside boot events: UEFI variables, signature lists, loaded images, tagged events, texts of loaders
 * (TCG PC Client Platform Firmware Profile 10.4; UEFI 32.4). All of it is said by the log alone: believe it
 * only where lt_boot_measures says that it is what was measured. */
#ifndef LT_APPRAISAL_BOOT_EVENT_H
#define LT_APPRAISAL_BOOT_EVENT_H

#include "common/hash.h"
#include "common/limits.h"

#define LT_BOOT_BANKS 4 /* that an event has digests of, count */

struct lt_boot_digest {
    uint16_t alg; /* known ones only (common/hash.h) */
    struct lt_slice value;
};

struct lt_boot_event {
    uint32_t number; /* 0-based */
    size_t offset;   /* bytes from the log's start */
    uint32_t pcr, type;
    unsigned digest_count;
    struct lt_boot_digest digest[LT_BOOT_BANKS];
    struct lt_slice data;
};

enum lt_boot_event_type {
    LT_BOOT_EV_POST_CODE = 1,
    LT_BOOT_EV_NO_ACTION = 3,
    LT_BOOT_EV_SEPARATOR = 4,
    LT_BOOT_EV_ACTION = 5,
    LT_BOOT_EV_EVENT_TAG = 6,
    LT_BOOT_EV_S_CRTM_CONTENTS = 7,
    LT_BOOT_EV_S_CRTM_VERSION = 8,
    LT_BOOT_EV_IPL = 13,
    LT_BOOT_EV_POST_CODE2 = 19,
    LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001,
    LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003,
    LT_BOOT_EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004,
    LT_BOOT_EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005,
    LT_BOOT_EV_EFI_ACTION = 0x80000007,
    LT_BOOT_EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008,
    LT_BOOT_EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000a,
    LT_BOOT_EV_EFI_HCRTM_EVENT = 0x80000010,
    LT_BOOT_EV_EFI_VARIABLE_AUTHORITY = 0x800000e0,
};
/* "EV_SEPARATOR"; a type without a name comes as hex in the buffer. */
const char *lt_boot_type_name(uint32_t type, char buf[16]);

/* NULL: the event has no digest of that algorithm. */
const uint8_t *lt_boot_digest(const struct lt_boot_event *ev, uint16_t alg);
/* The digest is that of these bytes. */
bool lt_boot_measures(const struct lt_boot_event *ev, uint16_t alg, struct lt_slice bytes);

/* UEFI_VARIABLE_DATA */
struct lt_boot_variable {
    uint8_t guid[16];      /* as in the log */
    struct lt_slice utf16; /* little-endian, without a NUL */
    struct lt_slice data;
};
int lt_boot_variable(const struct lt_boot_event *ev, struct lt_boot_variable *out,
                     struct lt_err *e) LT_MUST_CHECK;
/* The same of bytes that may go on behind it: shim up to 15 logs a few more than its variable has. */
int lt_boot_variable_front(struct lt_slice bytes, struct lt_boot_variable *out,
                           struct lt_err *e) LT_MUST_CHECK;
bool lt_boot_variable_is(const struct lt_boot_variable *v, const uint8_t guid[16], const char *ascii);
/* For messages: its name, what is not printable ASCII as '?', at most 60 characters. */
const char *lt_boot_variable_name(const struct lt_boot_variable *v, char buf[64]);
extern const uint8_t lt_boot_guid_global[16], lt_guid_security[16],
    lt_guid_shim[16]; /* SecureBoot PK KEK; db dbx; shim */

/* EFI_SIGNATURE_LISTs one after the other, each signature in turn. Not 0 from the callback ends it. */
extern const uint8_t lt_boot_guid_x509[16], lt_guid_sha256[16]; /* signature types */
typedef int (*lt_boot_signature_fn)(void *arg, const uint8_t type[16], const uint8_t owner[16],
                                    struct lt_slice data, struct lt_err *e);
int lt_boot_signatures(struct lt_slice lists, lt_boot_signature_fn fn, void *arg,
                       struct lt_err *e) LT_MUST_CHECK;

/* UEFI_IMAGE_LOAD_EVENT */
struct lt_boot_image {
    uint64_t address, length, link_address;
    struct lt_slice device_path;
};
int lt_boot_image(const struct lt_boot_event *ev, struct lt_boot_image *out, struct lt_err *e) LT_MUST_CHECK;

/* TCG_PCClientTaggedEvent; Linux's EFI stub measures what it was given with these. */
#define LT_BOOT_TAG_INITRD 0x8f3b22ecu
#define LT_BOOT_TAG_LOAD_OPTIONS 0x8f3b22edu
int lt_boot_tag(const struct lt_boot_event *ev, uint32_t *id, struct lt_slice *data,
                struct lt_err *e) LT_MUST_CHECK;

/* The text of EV_IPL, EV_ACTION and EV_EFI_ACTION without NULs at its end. */
struct lt_slice lt_boot_text(const struct lt_boot_event *ev);
/* For messages: at most 60 characters, what is not printable as '?'. */
const char *lt_boot_shown(struct lt_slice s, char buf[64]);

/* The text that was measured, wherever the digest proves it: all of the data or what stands behind a label
 * ("kernel_cmdline: TEXT", "grub_cmd TEXT"), with or without a NUL; UTF-16 comes as ASCII in buf. False: the
 * digest proves none, or its text is longer than buf and UTF-16. */
bool lt_boot_proved_text(const struct lt_boot_event *ev, uint16_t alg, uint8_t buf[LT_MAX_SUBJECT],
                         struct lt_slice *text);

#endif
