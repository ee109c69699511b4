/* The inventory of one host as the provider holds it: immutable, shared by reference, with its tree and an
 * index by guest. Its identity is the root, never a number (protocol.md section 3). */
#ifndef LT_PROVIDER_RESIDENTS_H
#define LT_PROVIDER_RESIDENTS_H

#include "common/alloc.h"
#include "common/json.h"
#include "common/ref.h"
#include "residency/residency.h"

struct lt_residents {
    struct lt_ref_count refs;
    uint32_t count;
    struct lt_residency_record *records; /* strictly ascending by ek_digest */
    uint32_t *by_uuid;                   /* places in records, ascending by (guest_uuid, ek_digest) */
    uint32_t *by_openers;                /* of those with an openers_digest, ascending by it */
    uint32_t sealed;                     /* how many those are */
    struct lt_merkle *tree;
};

/* {"seq":int,"root":hex,"records":[b64…]}. Refuses: a record that does not parse, an order that is not
 * strictly ascending, more than LT_MAX_INVENTORY, a root that is not the tree's. *out has one reference. */
int lt_residents_from_json(const json_t *j, struct lt_residents **out, struct lt_err *e) LT_MUST_CHECK;
struct lt_residents *lt_residents_ref(struct lt_residents *r); /* NULL in, NULL out */
void lt_residents_unref(struct lt_residents *r);
LT_DEFINE_AUTO(lt_residents, lt_residents_unref);

const uint8_t *lt_residents_root(const struct lt_residents *r);
/* The guest's record with that ek_digest; ek NULL: the one with the smallest. r may be NULL. */
bool lt_residents_find(const struct lt_residents *r, const uint8_t uuid[16], const uint8_t *ek,
                       uint32_t *place);
/* The places of the records that name this list of openers; how many. r may be NULL. */
uint32_t lt_residents_of_openers(const struct lt_residents *r, const uint8_t digest[32],
                                 const uint32_t **places);

#endif
