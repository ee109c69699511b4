/* The inventory of resident vTPMs (docs/protocol.md section 3): which vTPM is attached to which running
 * domain of this host, followed through libvirt's events and confirmed by the kernel at each snapshot.
 *
 * Threads of its own; every function may be called from any thread. libvirt is loaded with dlopen at
 * lt_inventory_start, so a program that never starts an inventory does not need it. */
#ifndef LT_VTPM_INVENTORY_H
#define LT_VTPM_INVENTORY_H

#include "common/json.h"
#include "residency/residency.h"
#include "vtpm/inventory_conf.h"

/* What was true at one moment. Immutable; an unchanged inventory returns the same object again. */
struct lt_inventory_snapshot {
    uint64_t seq; /* rises with each change */
    uint32_t count;
    const struct lt_residency_record *records; /* strictly ascending by ek_digest */
    const struct lt_merkle *tree;              /* over them */
    uint32_t header_flags; /* LT_RESIDENCY_EK_COLLISION or 0: goes into HDR.flags as it is */
};

struct lt_vtpm_inventory;

/* Starts following. Fails only if libvirt or swtpm is not installed, or for lack of memory; a libvirtd that
 * does not answer yet is waited for. conf's texts are copied. */
int lt_inventory_start(const struct lt_inventory_conf *conf, struct lt_vtpm_inventory **out,
                       struct lt_err *e) LT_MUST_CHECK;
void lt_inventory_stop(struct lt_vtpm_inventory *inv); /* NULL is fine; snapshots taken stay valid */

/* t3: takes the list and confirms each record, now, by the kernel's word: both processes alive, both sockets
 * of swtpm ending in that domain's QEMU. Costs about 10 ms with a hundred domains, no libvirt call, no hash
 * if nothing changed. LT_E_BUSY until every running vTPM domain has been listed or refused for cause. The
 * caller gives *out back with lt_inventory_snapshot_put. */
int lt_inventory_snapshot(struct lt_vtpm_inventory *inv, const struct lt_inventory_snapshot **out,
                          struct lt_err *e) LT_MUST_CHECK;
void lt_inventory_snapshot_put(const struct lt_inventory_snapshot *s); /* NULL is fine */

/* Tell the counts that a quote or TPM2_ReadClock showed. Others than those known: every record gets a new
 * incarnation (soon; snapshots are LT_E_BUSY meanwhile). Cheap; call it after each quote. */
void lt_inventory_counts(struct lt_vtpm_inventory *inv, uint32_t reset_count, uint32_t restart_count);

/* The keeper's entries, or what keeps the vault shut, are others than before: the next snapshot tells so.
 * Cheap; call it behind each commit. An inventory without a keeper: nothing. */
void lt_inventory_entries_changed(struct lt_vtpm_inventory *inv);

/* For people, confirmed as a snapshot is:
 * {"ready":bool,"connected":bool,"collision":bool,"domains":[{"uuid","name","listed":bool,
 *  "reason":text|null (why it is not listed, or null), "ek_digest":hex|null, "incarnation":hex|null,
 * "flags":int, "firmware":hex|null, "domain":hex|null, "born":bool (a birth record agrees),
 * "not_sealed":text|null (why it has an entry but not the flags 16 and 32, or null),
 * "qemu_pid":int|null, "swtpm_pid":int|null}]}. New reference. */
json_t *lt_inventory_report(struct lt_vtpm_inventory *inv);

#endif
