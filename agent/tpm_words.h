/* What goes wrong with a TPM, in words and with what to do: the one place that maps the TSS's numbers and the
 * operating system's. */
#ifndef LT_AGENT_TPM_WORDS_H
#define LT_AGENT_TPM_WORDS_H

#include "common/err.h"

#include <sys/types.h>
#include <tss2/tss2_common.h>

/* A response code in words; NULL when there are none for it and the TSS's own have to do. */
const char *lt_tpm_words(TSS2_RC rc);

/* "NAME" or "NAME:WHERE", as TSS's loader reads it: NAME may be a library ("libtss2-tcti-device.so.0"). */
struct lt_tpm_words_tcti {
    char name[64];  /* "device", "swtpm", …; "": the loader's own choice */
    char path[256]; /* of a device, or of a program's socket; "": none */
};
void lt_tpm_words_tcti_parse(const char *tcti, struct lt_tpm_words_tcti *out);

/* Why that TCTI does not open, asked of the operating system: "absent: …", "denied: …", "busy: …", "no
 * library …". 0 when it finds nothing wrong. */
int lt_tpm_words_tcti_diagnose(const char *tcti, struct lt_err *e);

/* A process that has this character device open; 0: none that may be seen. */
pid_t lt_tpm_words_device_holder(dev_t device);

#endif
