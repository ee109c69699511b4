/* The EK's certificate and its issuers', as the maker left them in NV (TCG EK Credential Profile 2.2.1.5). On
 * the TPM's thread. The agent only carries them: judging is the verifier's. */
#ifndef LT_AGENT_CERTIFICATES_H
#define LT_AGENT_CERTIFICATES_H

#include "agent/keys.h"
#include "residency/bundle.h"

/* The leaf (0x01C00002 for RSA, 0x01C0000A for P-256), then the chain (0x01C00100 to 0x01C001FF) in its
 * order. Without a leaf: none. A leaf for another key is left out. unread: a leaf that cannot be read here is
 * sent all the same, for the verifier to say so. Caller frees with lt_agent_ek_certificates_free. */
int lt_agent_ek_certificates(struct lt_device *d, const struct lt_agent_ek *ek, bool unread,
                             struct lt_bundle_certificates *out, struct lt_err *e) LT_MUST_CHECK;
void lt_agent_ek_certificates_free(struct lt_bundle_certificates *c);
/* Adds as PEM what lies in nv one behind the other (tpm/certs.h); what is no certificate and no padding ends
 * it. LT_E_TOO_LARGE above LT_MAX_CERTIFICATES. */
int lt_agent_ek_certificates_split(struct lt_slice nv, struct lt_bundle_certificates *out,
                                   struct lt_err *e) LT_MUST_CHECK;
/* One text, leaf first, then the chain reversed, as Keylime's agents send it (keylime-api 2.2); caller frees.
 * NULL without memory. */
char *lt_agent_ek_certificates_text(const struct lt_bundle_certificates *c);

#endif
