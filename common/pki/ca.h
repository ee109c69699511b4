/* The authority for guests' certificates alone (limetree ca): what it issued, to which guest, and the list of
 * what must not be believed any more (RFC 5280). The federation's certificates are another authority's
 * (issue.h).
 *
 * A directory, 0700:  guests-ca.crt, guests-ca.key (0600)   the CA, P-256
 *                     ca.db                                 every certificate and its state, the list's
 * number guests-ca.crl, guests-ca.crl.der      the list in force, PEM and DER
 *
 * A certificate is good, held (certificateHold: the next good word lifts it) or revoked, for ever. The list's
 * number only rises, and the list is written in the transaction that takes its number: several processes may
 * use a directory. Thread safe. */
#ifndef LT_COMMON_PKI_CA_H
#define LT_COMMON_PKI_CA_H

#include "common/json.h"
#include "common/pki/issue.h"

struct lt_ca;

enum lt_ca_state { LT_CA_GOOD, LT_CA_HELD, LT_CA_REVOKED };
/* "good", "held", "revoked". */
const char *lt_ca_state_name(enum lt_ca_state s);
int lt_ca_state_by_name(const char *name, enum lt_ca_state *out, struct lt_err *e) LT_MUST_CHECK;

/* Makes the directory, a CA in it and its first list. url: where the list will be fetched, "http://…" (goes
 * into every certificate). Overwrites nothing. */
int lt_ca_init(const char *dir, const char *common_name, const char *url, int days,
               struct lt_err *e) LT_MUST_CHECK;
int lt_ca_open(const char *dir, struct lt_ca **out, struct lt_err *e) LT_MUST_CHECK;
void lt_ca_close(struct lt_ca *c); /* NULL is fine */

struct lt_ca_request {
    const char *guest;        /* its agent id (lt_id_ok); a UUID in any case is one */
    const char *const *names; /* DNS names and IP addresses, NULL-ended; may be NULL */
    int days;
};
/* For TLS servers and clients. CN is the guest's id, and a UUID is urn:uuid:… too. It is on record before it
 * is handed out. */
int lt_ca_issue(struct lt_ca *c, const struct lt_ca_request *r, struct lt_pki_made *out,
                struct lt_err *e) LT_MUST_CHECK;

/* From now on all certificates of the guest that are not revoked are in this state, and the list that says so
 * is published when this returns 0. *count: of certificates it has that have not run out; none is no error.
 * Saying it again changes nothing. */
int lt_ca_tell(struct lt_ca *c, const char *guest, enum lt_ca_state s, unsigned *count,
               struct lt_err *e) LT_MUST_CHECK;
/* The same of one certificate, PEM. LT_E_REFUSED: another CA's; LT_E_CONFLICT: revoked, and that is for ever.
 */
int lt_ca_tell_one(struct lt_ca *c, const char *pem, enum lt_ca_state s, struct lt_err *e) LT_MUST_CHECK;

/* A list with the next number, good for LT_CA_LIST_S from now. */
int lt_ca_publish(struct lt_ca *c, struct lt_err *e) LT_MUST_CHECK;
/* From now on a list is published again every_s seconds after the last; LT_CA_FRESH_S before half of one's
 * life is over. Trouble is logged, and tried again a minute later. */
void lt_ca_keep_fresh(struct lt_ca *c, int64_t every_s);
/* The list in force: malloc'd DER. */
int lt_ca_list(struct lt_ca *c, uint8_t **der, size_t *n, struct lt_err *e) LT_MUST_CHECK;
/* Its certificate: malloc'd PEM. */
int lt_ca_certificate(struct lt_ca *c, uint8_t **pem, size_t *n, struct lt_err *e) LT_MUST_CHECK;
/* A new array of {"serial","guest","state","since","ends"}: all that have not run out. */
int lt_ca_certificates(struct lt_ca *c, json_t **out, struct lt_err *e) LT_MUST_CHECK;

#define LT_CA_LIST_S 86400
#define LT_CA_FRESH_S (LT_CA_LIST_S / 2)

#endif
