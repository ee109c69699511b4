/* Inside the inventory: its residents, one a running domain with an emulated TPM.
 *
 *   MARKED    an event said so (dirty, redraw, reread), or a refresh is due    owner: the event thread
 *   EXAMINED  marks taken; XML, processes, sockets, files and EK are read      owner: the worker, no lock
 *   LISTED    why.code 0: in the next snapshot, confirmed again when taken     owner: the lock
 *   REFUSED   why says for what cause; again at the next event or retry_ms     owner: the lock
 *   (gone)    the domain stopped: the event thread marks it, the worker removes it
 *
 * Who writes what: libvirt's event thread sets the marks and adds residents; the worker alone writes
 * everything else and removes; both under the lock. So the worker reads a resident without it, and no call of
 * libvirt, no read of a vTPM's state is made under it. While one `waits`, snapshots are busy: an inventory
 * that is not complete is not given out. One lock, and nothing is taken under it but the keeper's.
 *
 * What the vault has to do with a record is looked up when it is examined, and again by the first snapshot
 * behind lt_inventory_entries_changed. */
#ifndef LT_VTPM_TABLE_H
#define LT_VTPM_TABLE_H

#include "residency/residency.h"
#include "vtpm/ek.h"
#include "vtpm/files.h"
#include "vtpm/inventory_conf.h"
#include "vtpm/pair.h"
#include "vtpm/virt.h"

#include <pthread.h>
#include <stdatomic.h>

#define LT_VTPM_REFRESH_MS 5000 /* taint by a monitor command has no event; and a belt for missed ones */
#define LT_VTPM_RETRY_MS 30000  /* of a refused domain, unless an event comes before */
#define LT_VTPM_RETRY_SOON_MS 1000

struct lt_vtpm_marks {
    bool dirty;  /* to be examined */
    bool redraw; /* its incarnation is over; not listed until there is a new one */
    bool reread; /* swtpm may have loaded its state anew: the EK is to be read again */
    bool loaded; /* from a save image, a snapshot or another host: it was told so */
};

struct lt_vtpm_resident {
    uint8_t uuid[LT_UUID];
    struct lt_vtpm_marks marks;
    uint64_t retry_ms; /* lt_clock_ms() when it is examined again without a mark; 0: only at a refresh */
    bool waits;        /* not examined yet or not since the host's TPM was reset, or its clock could not be
                        * read: snapshots are busy */
    char *name;        /* NULL: not known */
    struct lt_err why; /* code 0: listed; else why not */
    struct lt_pair pair;
    bool have_ek, have_files, have_incarnation; /* what is valid in record */
    struct lt_vtpm_starts starts;               /* of its vTPM, when the EK was last read */
    bool settled;      /* and that was so long after the incarnation began that firmware has started it */
    bool once_more;    /* libvirt was away; if it was reset just then, only the next refresh sees that */
    uint64_t drawn_ms; /* lt_clock_ms() of the incarnation */
    bool agreed, born; /* no birth record speaks against the EK; one speaks for it */
    bool loaded;       /* of this pair: it began, or went on, with state that was not in its directory */
    bool has_entry;    /* in the vault, of this EK: record is of version 2 */
    bool judged;       /* the EK was read with the vault's key */
    bool sealed;       /* and the state it was read of was encrypted under that */
    struct lt_err unsealed; /* of one with an entry: why flag 32 is clear; code 0: it is set */
    struct lt_err plain;    /* of one that was judged: why not sealed */
    struct lt_residency_record record;
};

struct lt_vtpm_inventory {
    struct lt_inventory_conf conf; /* texts owned */
    char *swtpm;                   /* absolute */
    const struct lt_virt *virt;
    pthread_t events, worker;

    pthread_mutex_t lock;
    pthread_cond_t wake;                             /* the worker waits */
    bool stop, events_stop, connected, lost, listed; /* listed: all running domains are residents */
    bool ready;
    struct lt_vtpm_resident **list;
    size_t count, cap, turn; /* turn: who is looked at next */
    bool have_counts;
    uint32_t reset_count, restart_count;
    struct snapshot *current;
    atomic_uint changed; /* how often the keeper's entries did; no lock */
    unsigned told;       /* of these, what the residents' records know */

    struct lt_files *files; /* the worker's */
    int timer;              /* of libvirt's event loop: wakes it for stop */
};

/* Lock held. */
struct lt_vtpm_resident *lt_vtpm_table_find(struct lt_vtpm_inventory *inv, const uint8_t uuid[LT_UUID]);
/* Found, or added waiting and dirty; NULL when full. */
struct lt_vtpm_resident *lt_vtpm_table_add(struct lt_vtpm_inventory *inv, const uint8_t uuid[LT_UUID]);
void lt_vtpm_table_remove(struct lt_vtpm_inventory *inv, struct lt_vtpm_resident *r);
/* The next resident that is due, its marks taken; NULL: none. *until is lowered to when one will be. */
struct lt_vtpm_resident *lt_vtpm_table_due(struct lt_vtpm_inventory *inv, struct lt_vtpm_marks *marks,
                                           uint64_t *until);
void lt_vtpm_table_counts(struct lt_vtpm_inventory *inv, uint32_t reset_count, uint32_t restart_count);

/* The vault's word about a resident whose EK is known: version, flag 16 and openers of its record; flag 32 as
 * far as the vault has a say. rc, x: what the keeper answered. */
void lt_vtpm_table_entry(struct lt_vtpm_resident *r, int rc, const struct lt_seal_entry *x);
/* That of all, if the keeper's entries have changed. Under the lock. */
void lt_vtpm_table_tell(struct lt_vtpm_inventory *inv);

/* What libvirt says of a running domain. */
struct lt_vtpm_facts {
    char *xml; /* malloc'ed by libvirt; NULL: not running */
    uint32_t flags;
};

/* The worker, no lock held: finds, reads, compares, and stores what it found in r. */
void lt_vtpm_examine(struct lt_vtpm_inventory *inv, struct lt_vtpm_resident *r,
                     const struct lt_vtpm_facts *facts, struct lt_vtpm_marks marks);

/* libvirt's event loop. */
int lt_vtpm_events_start(struct lt_vtpm_inventory *inv, struct lt_err *e) LT_MUST_CHECK;
void lt_vtpm_events_stop(struct lt_vtpm_inventory *inv);
void *lt_vtpm_worker_thread(void *inv);

#endif
