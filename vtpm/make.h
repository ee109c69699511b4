/* A vTPM made by us, encrypted from its first byte: swtpm_setup with its EK certificate by limetree-localca,
 * in a private directory on tmpfs (docs/sealing.md section 3, Provision). The key goes through a pipe and is
 * nowhere else. Blocks for a second or two: of a worker. */
#ifndef LT_VTPM_MAKE_H
#define LT_VTPM_MAKE_H

#include "common/ids.h"
#include "tpm/public.h"
#include "vtpm/seal/entry.h"

#include <sys/types.h>

#define LT_MAKE_TIMEOUT_MS 60000

struct lt_make_conf {
    const char *swtpm_setup, *swtpm; /* programs; NULL or "": from PATH */
    const char *config;              /* swtpm_setup's; NULL or "": /etc/swtpm_setup.conf. Never a home's */
    const char *scratch;             /* must be a tmpfs; NULL or "": /dev/shm */
    uid_t uid;                       /* swtpm's user and group, dropped to by root; else they are ours */
    gid_t gid;
};

struct lt_make_result {
    uint8_t *state; /* tpm2-00.permall, sealed */
    size_t n;
    struct lt_public ek;
    uint8_t ek_digest[32];
};

/* name: the domain's, for certificate and birth record. Nothing is left behind but *out: lt_make_free, also
 * on failure. LT_E_CONFIG: swtpm_setup or its configuration will not do; the message has its last words. */
int lt_make(const struct lt_make_conf *c, const uint8_t uuid[LT_UUID], const char *name,
            const char key[LT_SEAL_KEY], struct lt_make_result *out, struct lt_err *e) LT_MUST_CHECK;
void lt_make_free(struct lt_make_result *m); /* wipes */
#define LT_MAKE_AUTO __attribute__((cleanup(lt_make_free)))

/* At start: removes the directories of makers of ours that were killed, and of nobody who still works. */
void lt_make_sweep(const char *scratch);

#endif
