/* What stands behind a sealed vTPM's list of openers: the list itself, the host policies that may hold its
 * states, and what is known of the hosts that it names. Asked of the provider, which is not believed: a list
 * and a document are what their digests say, a host is judged by registry and roots as for check 6. What
 * cannot be had is asked for again, ever more seldom, and is no word about the guest. Blocks: for workers. */
#ifndef LT_VERIFIER_SEALING_H
#define LT_VERIFIER_SEALING_H

#include "residency/openers.h"
#include "verifier/hosts.h"

#define LT_SEALING_LISTS 4096    /* kept by digest, count; guests with the same states share one */
#define LT_SEALING_POLICIES 1024 /* host policies kept by digest, count */
#define LT_SEALING_LOGS 4096     /* boot logs kept open by state, count */
#define LT_SEALING_SOON_MS 1000  /* what a reseal or a busy host keeps from us is there in a moment */
#define LT_SEALING_PER_GUEST 128 /* host policies of one guest policy that are asked for, count */

/* A list, immutable; shared by all that have it. */
struct lt_sealing_list {
    struct lt_openers parsed;
    uint8_t digest[LT_SHA256];
    uint8_t *bytes;
    size_t n;
    struct lt_budget *memory;
    size_t kept;
};

struct lt_sealing_cache;
struct lt_sealing_conf {
    struct lt_host_source source;   /* its arg and memory borrowed, as all below */
    struct lt_hosts *hosts;         /* facts about hosts */
    struct lt_store *store;         /* boot logs of states that were seen */
    struct lt_documents *documents; /* boot policies that host policies name are put there */
    uint64_t retry_ms;              /* first pause after what could not be had; 0: LT_HOSTS_HOST_RETRY_MS */
    uint64_t soon_ms;               /* the same of a list that did not come; 0: LT_SEALING_SOON_MS */
};
struct lt_sealing_cache *lt_sealing_cache_new(const struct lt_sealing_conf *c);
void lt_sealing_cache_free(struct lt_sealing_cache *c); /* NULL is fine */

/* A list that is at hand already (the store's), into *out as a new reference. The digest is computed. */
int lt_sealing_list_new(struct lt_sealing_cache *c, const uint8_t *bytes, size_t n, struct lt_ref **out,
                        struct lt_err *e) LT_MUST_CHECK;

/* What one guest's openers are judged by. */
struct lt_sealing_host { /* of kind 1, each once */
    uint8_t ek_digest[LT_SHA256];
    enum lt_checks_fact registered; /* in the registry that is pinned */
    struct lt_ref *keys; /* struct lt_verifier_host_keys; NULL: not registered, or could not be had */
};
struct lt_sealing_log {
    struct lt_boot_log *log;
    struct lt_budget *memory;
    size_t kept;
};
struct lt_sealing_view {
    struct lt_ref *list; /* struct lt_sealing_list; NULL: could not be had */
    char trouble[240];   /* then: why */
    uint64_t again_ms;   /* then: of lt_clock_ms, when it may be asked for again, and a round is worth it; 0:
                            what came was wrong */
    struct lt_sealing_host *host;
    size_t host_count;
    struct lt_ref **policy; /* struct lt_verifier_host_document, parsed; those that could be had */
    size_t policy_count;
    /* struct lt_sealing_log, kept since those states were seen quoted; looked for only where one of the
     * policies names a boot policy. */
    struct lt_ref **log;
    size_t log_count;
};
/* digest: of the record. had: the last list seen of this guest (NULL: none); if it is that, nobody is asked.
 * The documents are those of policy's host_policies and retired_host_policies that can be had (NULL: none).
 * Never fails: what is missing is not there. A struct lt_sealing_view, new reference. */
struct lt_ref *lt_sealing_view(struct lt_sealing_cache *c, const uint8_t digest[LT_SHA256],
                               struct lt_ref *had, const struct lt_policy_guest *policy);
/* The host with that EK quoted these values, and log replays to them: if a state of it on the list is that,
 * the log is kept, for when the host has another boot. */
void lt_sealing_keep_log(struct lt_sealing_cache *c, const struct lt_openers *list,
                         const uint8_t ek_digest[LT_SHA256], const struct lt_pcrs *quoted,
                         const struct lt_boot_log *log);

#endif
