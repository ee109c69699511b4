/* What must survive a kill -9: enrolled hosts, policies, assignments, and where assigned guests were last
 * seen. */
#ifndef LT_PROVIDER_REGISTRY_STORE_H
#define LT_PROVIDER_REGISTRY_STORE_H

#include "common/bytes.h"
#include "common/run/db.h"

struct lt_registry_store_host {
    uint8_t id[16];
    const char *address, *certificates; /* certificates: a JSON array of PEM texts */
    struct lt_slice ek, ak;             /* TPM2B_PUBLIC */
    uint8_t policy[32];                 /* zeros: none */
};
struct lt_registry_store_guest { /* host: where it is said to be, for people; not stored here */
    uint8_t uuid[16];
    bool has_tenant, has_host;
    uint8_t tenant[16], host[16];
};
/* A claim of provider/claims.h on an assigned guest: quoted, or its last place. */
struct lt_registry_store_place {
    uint8_t uuid[16], ek[32], host[16]; /* ek zeros: not known */
    bool gone;
};

/* A non-zero return leaves that row out (LT_E_NO_MEMORY ends the load). */
struct lt_registry_store_sink {
    void *arg;
    int (*host)(void *arg, const struct lt_registry_store_host *h, struct lt_err *e);
    int (*policy)(void *arg, const uint8_t digest[32], struct lt_slice bytes, struct lt_err *e);
    int (*guest)(void *arg, const struct lt_registry_store_guest *g, struct lt_err *e);
    int (*place)(void *arg, const struct lt_registry_store_place *p,
                 struct lt_err *e); /* its guest came before */
};

/* space: reserve and watch of the directory; NULL: none. */
int lt_registry_store_open(const char *state_dir, const struct lt_space_conf *space, struct lt_db **out,
                           struct lt_err *e) LT_MUST_CHECK;
int lt_registry_store_load(struct lt_db *db, const struct lt_registry_store_sink *sink,
                           struct lt_db_skipped *skipped, struct lt_err *e) LT_MUST_CHECK;

/* Each returns after commit. */
int lt_registry_store_put_host(struct lt_db *db, const struct lt_registry_store_host *h,
                               struct lt_err *e) LT_MUST_CHECK;
int lt_registry_store_drop_host(struct lt_db *db, const uint8_t id[16], struct lt_err *e) LT_MUST_CHECK;
int lt_registry_store_set_policy(struct lt_db *db, const uint8_t host[16], const uint8_t digest[32],
                                 struct lt_err *e) LT_MUST_CHECK;
/* LT_E_TOO_LARGE, and not stored: with the others it is more than max bytes. */
int lt_registry_store_put_policy(struct lt_db *db, const uint8_t digest[32], struct lt_slice bytes,
                                 uint64_t max, struct lt_err *e) LT_MUST_CHECK;
int lt_registry_store_drop_policy(struct lt_db *db, const uint8_t digest[32], struct lt_err *e) LT_MUST_CHECK;
/* Without a tenant the guest is forgotten, with its places. */
int lt_registry_store_put_guest(struct lt_db *db, const struct lt_registry_store_guest *g,
                                struct lt_err *e) LT_MUST_CHECK;
/* Queues these changes, in order; takes places (malloc'd). A loss costs one question to the hosts. */
void lt_registry_store_post_places(struct lt_db *db, struct lt_registry_store_place *places, size_t count);

#endif
