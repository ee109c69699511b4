/* What the provider knows: enrolled hosts, host policies, guests (whose they are, where they run). In memory
 * for handlers, which never wait for a disk; every change is in the store before it is seen here. */
#ifndef LT_PROVIDER_REGISTRY_H
#define LT_PROVIDER_REGISTRY_H

#include "provider/host.h"
#include "provider/registry_store.h"

struct lt_registry;

/* Loads state_dir. shared->arg and shared->moved are filled in by this; *shared must outlive the registry. */
int lt_registry_open(const char *state_dir, struct lt_provider_host_shared *shared, struct lt_registry **out,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_registry_close(struct lt_registry *r);

/* How the store is, and what of it could not be read at the start. */
void lt_registry_status(struct lt_registry *r, struct lt_db_health *health, struct lt_db_skipped *skipped);

/* ---- hosts ---- */
struct lt_provider_host *lt_registry_host(struct lt_registry *r,
                                          const uint8_t id[16]); /* a new reference or NULL */
struct lt_registry_host_list {
    size_t count;
    struct lt_provider_host *host[]; /* references, ascending by id */
};
struct lt_registry_host_list *lt_registry_hosts(struct lt_registry *r); /* NULL: no memory */
void lt_registry_host_list_free(struct lt_registry_host_list **l);
#define LT_REGISTRY_AUTOHOSTS __attribute__((cleanup(lt_registry_host_list_free)))

/* These write, and block until the disk has it. A host that is known keeps its policy. */
int lt_registry_put_host(struct lt_registry *r, struct lt_provider_host *h, struct lt_err *e) LT_MUST_CHECK;
int lt_registry_drop_host(struct lt_registry *r, const uint8_t id[16], struct lt_err *e) LT_MUST_CHECK;
/* Refuses a document that is no host policy, or that names documents which are not here. */
int lt_registry_set_policy(struct lt_registry *r, const uint8_t host[16], const uint8_t digest[32],
                           struct lt_err *e) LT_MUST_CHECK;

/* ---- policies ---- */
/* Host policies of docs/api.md, and the documents that they name: runtime policies, plain or in a DSSE
 * envelope, and boot policies. Refuses anything else. */
int lt_registry_put_policy(struct lt_registry *r, struct lt_slice bytes, uint8_t digest[32],
                           struct lt_err *e) LT_MUST_CHECK;
/* LT_E_CONFLICT says which host or policy names it; LT_E_NOT_FOUND. */
int lt_registry_drop_policy(struct lt_registry *r, const uint8_t digest[32], struct lt_err *e) LT_MUST_CHECK;
/* A copy the caller frees; LT_E_NOT_FOUND. */
int lt_registry_policy(struct lt_registry *r, const uint8_t digest[32], char **out, size_t *n,
                       struct lt_err *e) LT_MUST_CHECK;

/* ---- guests ---- */
/* False: unknown; *out is then zero but for the uuid. */
bool lt_registry_guest(struct lt_registry *r, const uint8_t uuid[16], struct lt_registry_store_guest *out);
/* All, ascending by uuid; the caller frees. NULL without memory. */
struct lt_registry_store_guest *lt_registry_guests(struct lt_registry *r, size_t *count);
/* tenant NULL: nobody's. */
int lt_registry_assign(struct lt_registry *r, const uint8_t uuid[16], const uint8_t *tenant,
                       struct lt_err *e) LT_MUST_CHECK;

/* For many guests under one lock: the hosts to ask for the proof of a guest of that tenant. */
struct lt_registry_sought {
    uint8_t uuid[16];
    bool has_ek, has_host;
    uint8_t ek[32];   /* absent: every claimant of the UUID counts */
    uint8_t host[16]; /* asked always, if it is enrolled: the last that the tenant accepted */
};
enum lt_registry_place {
    LT_REGISTRY_PLACE_FOREIGN,
    LT_REGISTRY_PLACE_NOWHERE,
    LT_REGISTRY_PLACE_HOST
}; /* FOREIGN: unknown or another's, no telling */
struct lt_registry_places {
    unsigned count;
    struct lt_provider_host *host[LT_MAX_CLAIMANTS]; /* borrowed: take references before unlocking */
};
void lt_registry_lock(struct lt_registry *r); /* shared */
/* last_try: where nobody claims the pair, whoever claims its UUID with another EK is asked. */
enum lt_registry_place lt_registry_places(struct lt_registry *r, const struct lt_registry_sought *s,
                                          const uint8_t tenant[16], bool last_try,
                                          struct lt_registry_places *out);
/* That guest is assigned to that tenant. */
bool lt_registry_is_of(struct lt_registry *r, const uint8_t uuid[16], const uint8_t tenant[16]);
void lt_registry_unlock(struct lt_registry *r);

#endif
