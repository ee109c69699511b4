/* Following libvirt: its event loop in one thread, and a worker that connects, lists and examines. Callbacks
 * only set marks; every question to libvirt is the worker's, with no lock held. */
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "vtpm/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 6

/* ---- events ---- */

static void mark(struct lt_vtpm_inventory *inv, virDomainPtr dom, bool redraw, bool loaded)
{
    uint8_t uuid[LT_UUID];

    if (inv->virt->virDomainGetUUID(dom, uuid))
        return;
    pthread_mutex_lock(&inv->lock);
    struct lt_vtpm_resident *r = lt_vtpm_table_add(inv, uuid);
    if (r) {
        r->marks.dirty = true;
        r->marks.redraw |= redraw;
        r->marks.reread |= redraw;
        r->marks.loaded |= loaded;
    } else {
        lt_log(LT_LOG_ERROR, "vtpm-inventory-full", "a domain is not followed: more than %u",
               LT_MAX_INVENTORY);
    }
    pthread_cond_signal(&inv->wake);
    pthread_mutex_unlock(&inv->lock);
}

/* The lifecycle events behind which swtpm has other state than before (docs/protocol.md section 3,
 * incarnation). A plain boot is a new pair of processes, and that is seen by itself. */
static bool loads_state(int event, int detail)
{
    static const struct {
        int event, detail;
    } list[] = {
        {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED},
        {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_RESTORED},
        {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT},
        {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_WAKEUP},
        {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED},
        {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT},
        {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY},
        {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_RESTORED},
        {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].event == event && list[i].detail == detail)
            return true;
    return false;
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *inv)
{
    (void)conn;
    bool loads = loads_state(event, detail);
    mark(inv, dom, loads,
         loads && !(event == VIR_DOMAIN_EVENT_STARTED && detail == VIR_DOMAIN_EVENT_STARTED_WAKEUP));
    return 0;
}

/* QEMU's RESET: by `virsh reset` as by the guest itself. */
static void on_reboot(virConnectPtr conn, virDomainPtr dom, void *inv)
{
    (void)conn;
    mark(inv, dom, true, false);
}

/* Waking from S3 resets the devices. */
static void on_wakeup(virConnectPtr conn, virDomainPtr dom, int reason, void *inv)
{
    (void)conn;
    (void)reason;
    mark(inv, dom, true, false);
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
    struct lt_vtpm_inventory *inv = opaque;

    (void)conn;
    pthread_mutex_lock(&inv->lock);
    inv->lost = true;
    pthread_cond_signal(&inv->wake);
    pthread_mutex_unlock(&inv->lock);
    lt_log(LT_LOG_WARNING, "libvirt-lost", "connection closed, reason %d", reason);
}

static void on_timer(int timer, void *opaque)
{
    struct lt_vtpm_inventory *inv = opaque;
    inv->virt->virEventUpdateTimeout(timer, -1); /* its work is done: the loop has turned */
}

static bool stopping(struct lt_vtpm_inventory *inv)
{
    pthread_mutex_lock(&inv->lock);
    bool stop = inv->events_stop;
    pthread_mutex_unlock(&inv->lock);
    return stop;
}

static void *events_thread(void *opaque)
{
    struct lt_vtpm_inventory *inv = opaque;

    while (!stopping(inv))
        if (inv->virt->virEventRunDefaultImpl())
            lt_log(LT_LOG_ERROR, "libvirt-events", "%s", inv->virt->virGetLastErrorMessage());
    return NULL;
}

int lt_vtpm_events_start(struct lt_vtpm_inventory *inv, struct lt_err *e)
{
    inv->timer = inv->virt->virEventAddTimeout(-1, on_timer, inv, NULL);
    if (inv->timer < 0)
        return lt_fail(e, LT_E_INTERNAL, "libvirt: no timer: %s", inv->virt->virGetLastErrorMessage());
    int rc = pthread_create(&inv->events, NULL, events_thread, inv);
    return rc ? lt_fail(e, LT_E_NO_MEMORY, "inventory: thread: %s", strerror(rc)) : 0;
}

void lt_vtpm_events_stop(struct lt_vtpm_inventory *inv)
{
    pthread_mutex_lock(&inv->lock);
    inv->events_stop = true;
    pthread_mutex_unlock(&inv->lock);
    inv->virt->virEventUpdateTimeout(inv->timer, 0);
    pthread_join(inv->events, NULL);
    inv->virt->virEventRemoveTimeout(inv->timer);
}

/* ---- the worker ---- */

struct link {
    virConnectPtr conn;
    int callbacks[3];
};

static void hang_up(struct lt_vtpm_inventory *inv, struct link *l)
{
    const struct lt_virt *v = inv->virt;

    if (!l->conn)
        return;
    for (size_t i = 0; i < 3; i++)
        if (l->callbacks[i] >= 0)
            v->virConnectDomainEventDeregisterAny(l->conn, l->callbacks[i]);
    v->virConnectUnregisterCloseCallback(l->conn, on_close);
    v->virConnectClose(l->conn);
    l->conn = NULL;
    pthread_mutex_lock(&inv->lock);
    inv->connected = inv->lost = false;
    pthread_mutex_unlock(&inv->lock);
}

/* Events first, then the list: nothing falls between. */
static int connect_events(struct lt_vtpm_inventory *inv, struct link *l)
{
    static const int events[3] = {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_ID_REBOOT,
                                  VIR_DOMAIN_EVENT_ID_PMWAKEUP};
    const virConnectDomainEventGenericCallback callbacks[3] = {VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle),
                                                               VIR_DOMAIN_EVENT_CALLBACK(on_reboot),
                                                               VIR_DOMAIN_EVENT_CALLBACK(on_wakeup)};
    const struct lt_virt *v = inv->virt;

    for (size_t i = 0; i < 3; i++)
        l->callbacks[i] = -1;
    if (!(l->conn = v->virConnectOpenReadOnly(inv->conf.uri)))
        return LT_E_UNREACHABLE;
    if (v->virConnectRegisterCloseCallback(l->conn, on_close, inv, NULL))
        return LT_E_UNREACHABLE;
    (void)v->virConnectSetKeepAlive(l->conn, KEEPALIVE_S, KEEPALIVE_COUNT); /* not every driver has it */
    for (size_t i = 0; i < 3; i++) {
        l->callbacks[i] =
            v->virConnectDomainEventRegisterAny(l->conn, NULL, events[i], callbacks[i], inv, NULL);
        if (l->callbacks[i] < 0)
            return LT_E_UNREACHABLE;
    }
    return 0;
}

/* Every running domain becomes a resident to be examined, and so does every one known from before. A reset
 * while libvirt was away is not told any more: the EKs are read again, and with them how often the vTPM was
 * started; the incarnations of living pairs whose vTPM was not stay. */
static int list_all(struct lt_vtpm_inventory *inv, struct link *l)
{
    const struct lt_virt *v = inv->virt;
    virDomainPtr *domains = NULL;
    int n = v->virConnectListAllDomains(l->conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    if (n < 0)
        return LT_E_UNREACHABLE;
    pthread_mutex_lock(&inv->lock);
    for (size_t i = 0; i < inv->count; i++)
        inv->list[i]->marks.dirty = inv->list[i]->marks.reread = inv->list[i]->once_more = true;
    pthread_mutex_unlock(&inv->lock);
    for (int i = 0; i < n; i++) {
        mark(inv, domains[i], false, false);
        v->virDomainFree(domains[i]);
    }
    free(domains);
    pthread_mutex_lock(&inv->lock);
    inv->connected = inv->listed = true;
    pthread_mutex_unlock(&inv->lock);
    lt_log(LT_LOG_INFO, "libvirt-connected", "%s: %d running domains", inv->conf.uri, n);
    return 0;
}

static uint32_t state_flag(int state)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN: /* being shut down: it still runs */
        return LT_RESIDENCY_RUNNING;
    default:
        return LT_RESIDENCY_PAUSED;
    }
}

/* LT_E_UNREACHABLE: libvirt did not answer, nothing is known. Not running is an answer: facts without XML. */
static int ask(struct lt_vtpm_inventory *inv, struct link *l, const uint8_t uuid[LT_UUID],
               struct lt_vtpm_facts *f)
{
    const struct lt_virt *v = inv->virt;
    char **taints = NULL;
    int state, reason;
    bool known = false;

    *f = (struct lt_vtpm_facts){0};
    virDomainPtr dom = v->virDomainLookupByUUID(l->conn, uuid);
    if (!dom)
        return v->virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : LT_E_UNREACHABLE;
    int active = v->virDomainIsActive(dom);
    if (active == 1 && !v->virDomainGetState(dom, &state, &reason, 0) &&
        (f->xml = v->virDomainGetXMLDesc(dom, 0))) {
        int n = v->virDomainGetMessages(dom, &taints, VIR_DOMAIN_MESSAGE_TAINTING);
        /* A driver that cannot say does not call it clean; a libvirtd that has just gone says nothing at all.
         */
        f->flags = state_flag(state) | (n == 0 ? 0u : LT_RESIDENCY_TAINTED);
        for (int i = 0; i < n; i++)
            free(taints[i]);
        free(taints);
        known = n >= 0 || v->virGetLastErrorCode() == VIR_ERR_NO_SUPPORT;
    }
    bool ended = active == 0 || (!known && (v->virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ||
                                            v->virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID));
    if (!known)
        free(lt_take(&f->xml));
    v->virDomainFree(dom);
    return known || ended ? 0 : LT_E_UNREACHABLE;
}

static bool none_waits(const struct lt_vtpm_inventory *inv)
{
    for (size_t i = 0; i < inv->count; i++)
        if (inv->list[i]->waits)
            return false;
    return true;
}

static void examine(struct lt_vtpm_inventory *inv, struct link *l, struct lt_vtpm_resident *r,
                    struct lt_vtpm_marks marks)
{
    struct lt_vtpm_facts facts;

    if (!ask(inv, l, r->uuid, &facts)) {
        lt_vtpm_examine(inv, r, &facts, marks);
        free(facts.xml);
        return;
    }
    pthread_mutex_lock(&inv->lock);
    r->marks.dirty = true;
    r->marks.redraw |= marks.redraw;
    r->marks.reread |= marks.reread;
    r->marks.loaded |= marks.loaded;
    inv->lost = true; /* no answer: connect anew */
    pthread_mutex_unlock(&inv->lock);
}

/* Lock held. The starts of its vTPM are read once more when they have settled, and after libvirt was away. */
static void refresh_one(struct lt_vtpm_resident *r)
{
    if (r->why.code)
        return;
    r->marks.dirty = true;
    if (r->once_more || (!r->settled && lt_clock_ms() - r->drawn_ms >= LT_VTPM_REFRESH_MS))
        r->marks.reread = true;
    r->once_more = false;
}

/* Serves one connection until it is lost or the inventory stops. */
static void serve(struct lt_vtpm_inventory *inv, struct link *l)
{
    uint64_t refresh = lt_clock_ms() + LT_VTPM_REFRESH_MS;

    pthread_mutex_lock(&inv->lock);
    while (!inv->stop && !inv->lost) {
        struct lt_vtpm_marks marks;
        uint64_t until = refresh;
        /* In time even when somebody is always due: nothing else finds a taint by monitor commands. */
        if (lt_clock_ms() >= refresh) {
            lt_files_look(inv->files);
            for (size_t i = 0; i < inv->count; i++)
                refresh_one(inv->list[i]);
            until = refresh = lt_clock_ms() + LT_VTPM_REFRESH_MS;
        }
        lt_vtpm_table_tell(inv);
        inv->ready = inv->ready || none_waits(inv); /* not "none is due": somebody may always be */
        struct lt_vtpm_resident *r = lt_vtpm_table_due(inv, &marks, &until);
        if (r) {
            pthread_mutex_unlock(&inv->lock);
            examine(inv, l, r, marks);
            pthread_mutex_lock(&inv->lock);
            continue;
        }
        (void)lt_cond_until(&inv->wake, &inv->lock, until);
    }
    pthread_mutex_unlock(&inv->lock);
}

void *lt_vtpm_worker_thread(void *opaque)
{
    struct lt_vtpm_inventory *inv = opaque;
    bool told = false, stop = false;

    while (!stop) {
        struct link l = {0};
        if (connect_events(inv, &l) || list_all(inv, &l)) {
            if (!told)
                lt_log(LT_LOG_WARNING, "libvirt-unreachable", "%s: %s", inv->conf.uri,
                       inv->virt->virGetLastErrorMessage());
            told = true;
        } else {
            told = false;
            serve(inv, &l);
        }
        hang_up(inv, &l);
        pthread_mutex_lock(&inv->lock);
        if (!inv->stop)
            (void)lt_cond_until(&inv->wake, &inv->lock, lt_clock_ms() + LT_VTPM_RETRY_SOON_MS);
        stop = inv->stop;
        pthread_mutex_unlock(&inv->lock);
    }
    return NULL;
}
