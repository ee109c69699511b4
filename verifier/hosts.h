/* The hosts a verifier has met, by what it found out itself: identity (activated with its own credential, EK
 * certificate against its own roots, EK in the registry it pinned), policy documents, logs. Where they come
 * from host_source.h says; for a tenant that is not believed. Blocks: for workers. */
#ifndef LT_VERIFIER_HOSTS_H
#define LT_VERIFIER_HOSTS_H

#include "appraisal/checks/history.h"
#include "appraisal/checks/identity.h"
#include "appraisal/checks/measured.h"
#include "appraisal/checks/verdict.h"
#include "appraisal/policy/policy.h"
#include "common/ref.h"
#include "residency/bundle.h"
#include "verifier/documents.h"
#include "verifier/host_source.h"
#include "verifier/store/store.h"

#define LT_HOSTS_HOST_FACTS_MS 3600000  /* what was true of an EK certificate then may have expired since */
#define LT_HOSTS_HOST_RETRY_MS 15000    /* after a fetch that brought no good, before the next of that host */
#define LT_HOSTS_HOST_IMA_RETRY_MS 5000 /* the same of an IMA list, which changes while it is asked for */

struct lt_hosts;

struct lt_hosts_conf {
    struct lt_host_source source;   /* its arg and memory borrowed */
    struct lt_store *store;         /* borrowed: the last clock of each AK_h */
    struct lt_documents *documents; /* borrowed: what host policies name is put there */
    const char *registry;           /* file, limetree-registry/1; NULL: none pinned */
    const char *roots;              /* directory of PEM files; NULL: certificates are not checked */
    uint64_t facts_ms;              /* after which registry and certificate of a host are judged again; 0:
                                       LT_HOSTS_HOST_FACTS_MS */
};

int lt_hosts_new(const struct lt_hosts_conf *c, struct lt_hosts **out, struct lt_err *e) LT_MUST_CHECK;
void lt_hosts_free(struct lt_hosts *h);
/* Reads registry and roots again (SIGHUP); what was prepared under the old ones is forgotten. */
int lt_hosts_reload(struct lt_hosts *h, struct lt_err *e) LT_MUST_CHECK;

/* What stands behind one host quote. */
struct lt_hosts_host_view {
    struct lt_ref *keys;   /* struct lt_verifier_host_keys */
    struct lt_ref *policy; /* struct lt_verifier_host_document; NULL: could not be had */
    struct lt_ref *log;    /* struct lt_verifier_host_log; NULL: could not be had */
    struct lt_ref *ima; /* struct lt_verifier_host_ima; NULL: could not be had, or the policy has no layers */
};
void lt_hosts_host_view_free(struct lt_hosts_host_view *v);

/* host: 32 hex digits, as its source names it; q: its quote, not checked yet. accepted: some guest's policy
 * accepts the document that the quote's header names; else neither that nor what it names is fetched. wait
 * false: LT_E_BUSY if somebody asks about it just now. LT_E_…: the identity could not be had, which is
 * transport trouble. */
int lt_hosts_view(struct lt_hosts *h, const char *host, const struct lt_residency_host_quote *q,
                  bool accepted, bool wait, struct lt_hosts_host_view *out, struct lt_err *e) LT_MUST_CHECK;

/* What is known of the EK of a host that an opener names, whether it answers now or not. *registered: in the
 * registry that is pinned; only then it is asked about, unless it is known otherwise (the tenant's policy
 * names it). *keys: struct lt_verifier_host_keys with that EK, judged against the roots, a new reference;
 * NULL: not registered, or it could not be had, and is asked for again after LT_HOSTS_HOST_RETRY_MS. */
void lt_hosts_facts(struct lt_hosts *h, const uint8_t ek_digest[LT_SHA256], bool known,
                    enum lt_checks_fact *registered, struct lt_ref **keys);

/* Its documents and logs, as checks take them; now: wall time. */
void lt_hosts_logs(const struct lt_hosts_host_view *v, int64_t now, struct lt_measured_logs *l);

/* History of an AK_h: all quotes so far, and one more. */
int lt_hosts_history(struct lt_hosts *h, const uint8_t ak_name[LT_TPM_NAME], struct lt_history_host *out,
                     struct lt_err *e) LT_MUST_CHECK;
/* After a round with a host quote. True: it was genuine, and *clock is the highest of its AK_h so far. */
bool lt_hosts_learn(struct lt_hosts *h, const struct lt_history_round_facts *f, uint64_t t5_ms,
                    struct lt_attest_clock_info *clock);
/* What the round said of the host, for lt_hosts_list. */
void lt_hosts_note(struct lt_hosts *h, const uint8_t host_id[LT_RESIDENCY_HOST_ID],
                   enum lt_verdict_level level);

/* {"hosts":[…]} of docs/api.md. Of a host that is being asked for long it says so. */
json_t *lt_hosts_list(struct lt_hosts *h);

#endif
