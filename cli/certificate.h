/* What `guest add --cert` puts beside a payload, by the names that Keylime's CA gives them: a key and a
 * certificate of the guest's (limetree ca), the CA's certificate and list, and the certificate that
 * revocation messages are checked with. Its key goes to the tenant; one pair serves all guests of a CA, since
 * a message about one goes to the others: RevocationNotifier-private.pem (0600) and -cert.crt in the CA's
 * directory, RSA, made when they are first needed. */
#ifndef LT_CLI_CERTIFICATE_H
#define LT_CLI_CERTIFICATE_H

#include "cli/payload.h"
#include "common/ids.h"
#include "common/pki/ca.h"

#define LT_CLI_CERTIFICATE_FILES 6

struct lt_cli_certificate {
    struct lt_ca *ca;
    struct lt_pki_made made;
    char *revocation_key; /* PEM, for the tenant */
    /* the files: names and bytes are in here */
    char name[LT_CLI_CERTIFICATE_FILES][LT_ID_MAX + 32];
    struct lt_buf bytes[LT_CLI_CERTIFICATE_FILES];
    struct lt_cli_payload_extra file[LT_CLI_CERTIFICATE_FILES];
};

/* names: DNS names and IP addresses with commas between, or NULL. */
int lt_cli_certificate_make(const char *ca_dir, const char *guest, const char *names,
                            struct lt_cli_certificate *out, struct lt_err *e) LT_MUST_CHECK;
/* The guest did not get it. */
void lt_cli_certificate_revoke(struct lt_cli_certificate *c);
void lt_cli_certificate_free(struct lt_cli_certificate *c); /* wipes; zeroed is fine */
#define LT_CLI_AUTOCERTIFICATE __attribute__((cleanup(lt_cli_certificate_free)))

#endif
