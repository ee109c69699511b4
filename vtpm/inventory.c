#include "vtpm/inventory.h"

#include "common/alloc.h"
#include "common/ref.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "vtpm/child.h"
#include "vtpm/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A snapshot with its count of holders; the inventory holds the current one. */
struct snapshot {
    struct lt_inventory_snapshot public;
    struct lt_ref_count holders;
    struct lt_residency_record *records;
    struct lt_merkle *tree;
};

/* ---- table ---- */

struct lt_vtpm_resident *lt_vtpm_table_find(struct lt_vtpm_inventory *inv, const uint8_t uuid[LT_UUID])
{
    for (size_t i = 0; i < inv->count; i++)
        if (!memcmp(inv->list[i]->uuid, uuid, LT_UUID))
            return inv->list[i];
    return NULL;
}

struct lt_vtpm_resident *lt_vtpm_table_add(struct lt_vtpm_inventory *inv, const uint8_t uuid[LT_UUID])
{
    struct lt_vtpm_resident *r = lt_vtpm_table_find(inv, uuid);

    if (r)
        return r;
    if (inv->count == inv->cap) {
        size_t cap = inv->cap ? inv->cap * 2 : 16;
        struct lt_vtpm_resident **list =
            cap > LT_MAX_INVENTORY ? NULL : realloc(inv->list, cap * sizeof *list);
        if (!list)
            return NULL;
        inv->list = list;
        inv->cap = cap;
    }
    r = lt_new(struct lt_vtpm_resident);
    memcpy(r->uuid, uuid, LT_UUID);
    r->marks.dirty = r->waits = true;
    r->pair = LT_PAIR_NONE;
    (void)lt_fail(&r->why, LT_E_BUSY, "not examined yet");
    inv->list[inv->count++] = r;
    return r;
}

static void free_resident(struct lt_vtpm_resident *r)
{
    lt_pair_close(&r->pair);
    free(r->name);
    free(r);
}

void lt_vtpm_table_remove(struct lt_vtpm_inventory *inv, struct lt_vtpm_resident *r)
{
    for (size_t i = 0; i < inv->count; i++)
        if (inv->list[i] == r)
            inv->list[i] = inv->list[--inv->count];
    free_resident(r);
}

/* Each in its turn: a guest that resets itself without end is due without end, and keeps nobody waiting. */
struct lt_vtpm_resident *lt_vtpm_table_due(struct lt_vtpm_inventory *inv, struct lt_vtpm_marks *marks,
                                           uint64_t *until)
{
    uint64_t now = lt_clock_ms();

    for (size_t n = 0; n < inv->count; n++) {
        inv->turn = inv->turn < inv->count ? inv->turn : 0;
        struct lt_vtpm_resident *r = inv->list[inv->turn++];
        if (!r->marks.dirty && (!r->retry_ms || r->retry_ms > now)) {
            if (r->retry_ms && r->retry_ms < *until)
                *until = r->retry_ms;
            continue;
        }
        *marks = r->marks;
        if (r->marks.redraw && !r->why.code)
            (void)lt_fail(&r->why, LT_E_BUSY, "its incarnation has ended; being examined");
        r->marks = (struct lt_vtpm_marks){0};
        return r;
    }
    return NULL;
}

void lt_vtpm_table_counts(struct lt_vtpm_inventory *inv, uint32_t reset_count, uint32_t restart_count)
{
    bool known = inv->have_counts;

    if (known && reset_count == inv->reset_count && restart_count == inv->restart_count)
        return;
    inv->have_counts = true;
    inv->reset_count = reset_count;
    inv->restart_count = restart_count;
    if (!known)
        return;
    for (size_t i = 0; i < inv->count; i++) {
        struct lt_vtpm_resident *r = inv->list[i];
        if (r->have_incarnation &&
            (r->record.start_reset != reset_count || r->record.start_restart != restart_count))
            r->marks.dirty = r->marks.redraw = r->waits = true;
    }
    inv->ready = false;
    pthread_cond_signal(&inv->wake);
}

/* ---- the vault ---- */

void lt_vtpm_table_entry(struct lt_vtpm_resident *r, int rc, const struct lt_seal_entry *x)
{
    struct lt_residency_record *rec = &r->record;

    r->has_entry = !rc && r->have_ek && !memcmp(x->ek_digest, rec->ek_digest, 32);
    rec->version = r->has_entry ? 2 : 1;
    rec->flags &= ~(uint32_t)(LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED);
    memset(rec->openers_digest, 0, sizeof rec->openers_digest);
    if (!r->has_entry || lt_openers_digest(&x->openers, rec->openers_digest, &r->unsealed))
        return;
    rec->flags |= LT_RESIDENCY_BORN | (r->unsealed.code ? 0u : LT_RESIDENCY_SEALED);
}

/* Lock held: the records as the vault has it now. What is more than the list of openers is examined. */
static void tell_entry(struct lt_vtpm_inventory *inv, struct lt_vtpm_resident *r)
{
    const struct lt_seal_keeper *k = inv->conf.keeper;
    struct lt_seal_entry x = {0};
    int rc = k->entry(k->ctx, r->uuid, &x, LT_NO_ERR);
    bool had = r->has_entry, whole = had && !rc;

    if (had)
        lt_vtpm_table_entry(r, rc, &x);
    r->marks.dirty |= !whole || !r->has_entry;
    if (!rc)
        lt_seal_entry_free(&x);
}

void lt_vtpm_table_tell(struct lt_vtpm_inventory *inv)
{
    unsigned changed = atomic_load(&inv->changed);

    if (!inv->conf.keeper || inv->told == changed)
        return;
    inv->told = changed;
    for (size_t i = 0; i < inv->count; i++)
        tell_entry(inv, inv->list[i]);
    pthread_cond_signal(&inv->wake);
}

void lt_inventory_entries_changed(struct lt_vtpm_inventory *inv)
{
    atomic_fetch_add(&inv->changed, 1);
}

/* Why no vTPM of this host may be called sealed now; NULL: nothing. */
static const char *leak(const struct lt_vtpm_inventory *inv)
{
    const struct lt_seal_keeper *k = inv->conf.keeper;
    return k ? k->leak(k->ctx) : NULL;
}

/* ---- snapshot ---- */

struct entry {
    const struct lt_vtpm_resident *r;
    struct lt_err why; /* of not being listed */
};

static int by_ek(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return memcmp(x->r->record.ek_digest, y->r->record.ek_digest, 32);
}

/* Lock held. Every resident with what speaks against it, sorted by EK. An EK that two living pairs have is
 * nobody's, listed or not (docs/protocol.md section 3). */
static int confirm(struct lt_vtpm_inventory *inv, struct entry **out, bool *collision, struct lt_err *e)
{
    struct lt_sockdiag_sockets sockets;
    struct entry *list = calloc(inv->count + 1, sizeof *list);
    int rc =
        list ? lt_sockdiag_sockets_read(&sockets, e) : lt_fail(e, LT_E_NO_MEMORY, "inventory: no memory");

    *out = NULL;
    *collision = false;
    if (rc) {
        free(list);
        return rc;
    }
    for (size_t i = 0; i < inv->count; i++) {
        list[i].r = inv->list[i];
        list[i].why = inv->list[i]->why;
        if (!list[i].why.code && list[i].r->marks.redraw)
            (void)lt_fail(&list[i].why, LT_E_BUSY, "its incarnation has just ended");
        else if (!list[i].why.code)
            (void)!lt_pair_confirm(&list[i].r->pair, &sockets, &list[i].why);
    }
    lt_sockdiag_sockets_free(&sockets);
    qsort(list, inv->count, sizeof *list, by_ek);
    for (size_t i = 0, j; i < inv->count; i = j) {
        size_t living = 0;
        for (j = i; j < inv->count && !by_ek(&list[i], &list[j]); j++)
            living += list[j].r->have_ek && lt_pair_alive(&list[j].r->pair);
        if (living < 2)
            continue;
        *collision = true;
        for (size_t k = i; k < j; k++)
            if (!list[k].why.code)
                (void)lt_fail(&list[k].why, LT_E_CONFLICT, "%zu running domains have this EK", living);
    }
    *out = list;
    return 0;
}

static void put(struct snapshot *s)
{
    if (s && lt_ref_leave(&s->holders)) {
        lt_merkle_free(s->tree);
        free(s->records);
        free(s);
    }
}

void lt_inventory_snapshot_put(const struct lt_inventory_snapshot *s)
{
    put((struct snapshot *)(uintptr_t)s);
}

/* Takes over records. */
static int new_snapshot(struct lt_vtpm_inventory *inv, struct lt_residency_record *records, uint32_t count,
                        uint32_t flags, struct lt_err *e)
{
    struct snapshot *s = lt_new(struct snapshot);
    struct lt_merkle *tree = NULL;
    int rc = lt_residency_inventory_tree(records, count, &tree, e);

    if (rc) {
        free(records);
        free(s);
        return rc;
    }
    s->records = records;
    s->tree = tree;
    s->public = (struct lt_inventory_snapshot){.seq = inv->current ? inv->current->public.seq + 1 : 1,
                                               .count = count,
                                               .records = records,
                                               .tree = tree,
                                               .header_flags = flags};
    lt_ref_start(&s->holders, 1);
    put(inv->current);
    inv->current = s;
    return 0;
}

static bool same_record(const struct lt_residency_record *a, const struct lt_residency_record *b)
{
    uint8_t x[LT_RESIDENCY_RECORD], y[LT_RESIDENCY_RECORD];
    const size_t n = lt_residency_record_write(a, x);
    return lt_residency_record_write(b, y) == n && !memcmp(x, y, n);
}

static bool unchanged(const struct snapshot *s, const struct lt_residency_record *records, uint32_t count,
                      uint32_t flags)
{
    bool same = s && s->public.count == count && s->public.header_flags == flags;
    for (uint32_t i = 0; same && i < count; i++)
        same = same_record(&s->records[i], &records[i]);
    return same;
}

static int take(struct lt_vtpm_inventory *inv, struct lt_err *e)
{
    LT_AUTOFREE struct entry *list = NULL;
    uint32_t count = 0;
    bool collision;

    if (!inv->ready)
        return lt_fail(e, LT_E_BUSY, "inventory: %s",
                       inv->listed ? "not every running vTPM domain has been examined"
                                   : "libvirt has not told its running domains yet");
    lt_vtpm_table_tell(inv);
    LT_TRY(confirm(inv, &list, &collision, e));
    struct lt_residency_record *records = calloc(inv->count + 1, sizeof *records);
    if (!records)
        return lt_fail(e, LT_E_NO_MEMORY, "inventory: no memory");
    uint32_t mask = leak(inv) ? ~(uint32_t)LT_RESIDENCY_SEALED : ~0u;
    for (size_t i = 0; i < inv->count; i++)
        if (!list[i].why.code) {
            records[count] = list[i].r->record;
            records[count++].flags &= mask;
        }
    uint32_t flags = collision ? LT_RESIDENCY_EK_COLLISION : 0;
    if (!unchanged(inv->current, records, count, flags))
        return new_snapshot(inv, records, count, flags, e);
    free(records);
    return 0;
}

int lt_inventory_snapshot(struct lt_vtpm_inventory *inv, const struct lt_inventory_snapshot **out,
                          struct lt_err *e)
{
    *out = NULL;
    pthread_mutex_lock(&inv->lock);
    int rc = take(inv, e);
    if (!rc) {
        lt_ref_join(&inv->current->holders, 1);
        *out = &inv->current->public;
    }
    pthread_mutex_unlock(&inv->lock);
    return rc;
}

void lt_inventory_counts(struct lt_vtpm_inventory *inv, uint32_t reset_count, uint32_t restart_count)
{
    pthread_mutex_lock(&inv->lock);
    lt_vtpm_table_counts(inv, reset_count, restart_count);
    pthread_mutex_unlock(&inv->lock);
}

/* ---- report ---- */

static json_t *hex_or_null(bool known, const void *p, size_t n)
{
    return known ? lt_json_new_hex(p, n) : json_null();
}

static json_t *not_sealed(const struct lt_vtpm_resident *r, const char *leaking)
{
    const char *why = !r->has_entry ? NULL : r->unsealed.code ? r->unsealed.msg : leaking;
    return why ? lt_json_new_text(why) : json_null();
}

static json_t *report_one(const struct entry *x, const char *leaking)
{
    const struct lt_vtpm_resident *r = x->r;
    const struct lt_residency_record *rec = &r->record;
    uint32_t flags = leaking ? rec->flags & ~(uint32_t)LT_RESIDENCY_SEALED : rec->flags;

    return json_pack("{s:o, s:o, s:b, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:b, s:o, s:o}", "uuid",
                     lt_json_new_uuid(r->uuid), "name", r->name ? lt_json_new_text(r->name) : json_null(),
                     "listed", !x->why.code, "reason",
                     x->why.code ? lt_json_new_text(x->why.msg) : json_null(), "ek_digest",
                     hex_or_null(r->have_ek, rec->ek_digest, 32), "incarnation",
                     hex_or_null(r->have_incarnation, rec->incarnation, LT_RESIDENCY_INCARNATION), "flags",
                     (int)flags, "not_sealed", not_sealed(r, leaking), "firmware",
                     hex_or_null(r->have_files, rec->firmware_digest, 32), "domain",
                     hex_or_null(r->have_files, rec->domain_digest, 32), "born", r->born, "qemu_pid",
                     r->pair.qemu.pid ? json_integer(r->pair.qemu.pid) : json_null(), "swtpm_pid",
                     r->pair.swtpm.pid ? json_integer(r->pair.swtpm.pid) : json_null());
}

json_t *lt_inventory_report(struct lt_vtpm_inventory *inv)
{
    LT_AUTOFREE struct entry *list = NULL;
    bool collision;
    struct lt_err e = {0};

    pthread_mutex_lock(&inv->lock);
    json_t *domains = json_array();
    const char *leaking = leak(inv);
    lt_vtpm_table_tell(inv);
    bool failed = confirm(inv, &list, &collision, &e) != 0;
    for (size_t i = 0; !failed && i < inv->count; i++)
        failed = json_array_append_new(domains, report_one(&list[i], leaking)) != 0;
    json_t *o = failed ? NULL
                       : json_pack("{s:b, s:b, s:b, s:O}", "ready", inv->ready, "connected", inv->connected,
                                   "collision", collision, "domains", domains);
    pthread_mutex_unlock(&inv->lock);
    json_decref(domains);
    return o;
}

/* ---- life ---- */

static const char *text(const char *given, const char *fallback)
{
    return lt_alloc_text(given && *given ? given : fallback);
}

static void free_all(struct lt_vtpm_inventory *inv)
{
    for (size_t i = 0; i < inv->count; i++)
        free_resident(inv->list[i]);
    free(inv->list);
    put(inv->current);
    lt_files_free(inv->files);
    free((char *)(uintptr_t)inv->conf.uri);
    free((char *)(uintptr_t)inv->conf.records);
    free((char *)(uintptr_t)inv->conf.swtpm);
    free((char *)(uintptr_t)inv->conf.scratch);
    free(inv->swtpm);
    pthread_cond_destroy(&inv->wake);
    pthread_mutex_destroy(&inv->lock);
    free(inv);
}

static int setup(struct lt_vtpm_inventory *inv, const struct lt_inventory_conf *conf, struct lt_err *e)
{
    pthread_mutex_init(&inv->lock, NULL);
    lt_cond_init(&inv->wake);
    inv->files = lt_files_new();
    inv->conf = (struct lt_inventory_conf){
        .uri = text(conf->uri, geteuid() ? "qemu:///session" : "qemu:///system"),
        .records = text(conf->records, ""),
        .swtpm = text(conf->swtpm, "swtpm"),
        .scratch = text(conf->scratch, "/dev/shm"),
        .read_clock = conf->read_clock,
        .ctx = conf->ctx,
        .keeper = conf->keeper,
    };
    if (!inv->conf.uri || !inv->conf.records || !inv->conf.swtpm || !inv->conf.scratch)
        return lt_fail(e, LT_E_NO_MEMORY, "inventory: no memory");
    if (!(inv->swtpm = lt_child_program(inv->conf.swtpm)))
        return lt_fail(e, LT_E_CONFIG, "inventory: no program %s", inv->conf.swtpm);
    return lt_virt_load(&inv->virt, e);
}

int lt_inventory_start(const struct lt_inventory_conf *conf, struct lt_vtpm_inventory **out, struct lt_err *e)
{
    struct lt_vtpm_inventory *inv = lt_new(struct lt_vtpm_inventory);

    *out = NULL;
    int rc = setup(inv, conf, e);
    if (!rc && (rc = lt_vtpm_events_start(inv, e)) == 0 &&
        (errno = pthread_create(&inv->worker, NULL, lt_vtpm_worker_thread, inv))) {
        rc = lt_fail(e, LT_E_NO_MEMORY, "inventory: thread: %s", strerror(errno));
        lt_vtpm_events_stop(inv);
    }
    if (rc)
        free_all(inv);
    else
        *out = inv;
    return rc;
}

void lt_inventory_stop(struct lt_vtpm_inventory *inv)
{
    if (!inv)
        return;
    pthread_mutex_lock(&inv->lock);
    inv->stop = true;
    pthread_cond_signal(&inv->wake);
    pthread_mutex_unlock(&inv->lock);
    pthread_join(inv->worker, NULL);
    lt_vtpm_events_stop(inv);
    free_all(inv);
}
