#include "agent/sealed_domains.h"

#include "agent/fault.h"
#include "agent/sealed_domains_impl.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "vtpm/allowed.h"
#include "vtpm/define.h"
#include "vtpm/make.h"
#include "vtpm/sealed.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AUTOSTART_MAX 1024
#define AUTOSTART_MS 2000 /* until they, and the vault, are tried again where waiting helps */

/* ---- one operation at a time ---- */

static const char *const names[] = {"", "define", "provision", "start", "pin"};

int lt_agent_domains_begin(struct lt_agent_domains *d, enum lt_agent_domains_operation what,
                           const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    char other[LT_UUID_TEXT];

    pthread_mutex_lock(&d->lock);
    enum lt_agent_domains_operation now = d->doing;
    lt_uuid_format(d->whose, other);
    if (now == LT_AGENT_DOMAINS_NONE) {
        d->doing = what;
        memcpy(d->whose, uuid, LT_UUID);
    }
    pthread_mutex_unlock(&d->lock);
    return now == LT_AGENT_DOMAINS_NONE
               ? 0
               : lt_fail(e, LT_E_BUSY, "%s of domain %s is under way; try again when it has ended",
                         names[now], other);
}

void lt_agent_domains_end(struct lt_agent_domains *d)
{
    pthread_mutex_lock(&d->lock);
    d->doing = LT_AGENT_DOMAINS_NONE;
    pthread_mutex_unlock(&d->lock);
}

/* What is being done with that very domain. */
static enum lt_agent_domains_operation doing_with(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID])
{
    pthread_mutex_lock(&d->lock);
    enum lt_agent_domains_operation now = memcmp(d->whose, uuid, LT_UUID) ? LT_AGENT_DOMAINS_NONE : d->doing;
    pthread_mutex_unlock(&d->lock);
    return now;
}

void lt_agent_domains_tell(const uint8_t uuid[LT_UUID], const char *what, int rc, const struct lt_err *e)
{
    char id[LT_UUID_TEXT];

    lt_uuid_format(uuid, id);
    if (rc)
        lt_log(LT_LOG_WARNING, "domain-refused", "%s of domain %s: %s: %s", what, id, lt_err_slug(rc),
               e->msg);
    else
        lt_log(LT_LOG_INFO, "domain", "%s of domain %s", what, id);
}

/* ---- what is judged before a key leaves the vault ---- */

static int hash_file(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    return lt_files_digest_at_rest(ctx, path, out, e);
}

static int compare_pin(const char *what, const uint8_t pin[32], const uint8_t now[32], struct lt_err *e)
{
    char wanted[65], have[65];

    lt_hex(pin, 32, wanted);
    lt_hex(now, 32, have);
    return memcmp(pin, now, 32) ? lt_fail(e, LT_E_DOMAIN_UNPINNED,
                                          "its %s digest is %s, and %s is pinned; if the change is meant: "
                                          "limetree domain pin UUID --clear, start it, pin it again",
                                          what, have, wanted)
                                : 0;
}

static bool is_pinned(const uint8_t pin[32])
{
    static const uint8_t none[32];
    return memcmp(pin, none, sizeof none);
}

/* Files are read only where something is pinned: they are large. */
static int check_pins(struct lt_agent_domains *d, const struct lt_domain *x,
                      const struct lt_seal_entry *entry, struct lt_err *e)
{
    uint8_t now[32];
    int rc = 0;

    pthread_mutex_lock(&d->files_lock);
    if (is_pinned(entry->firmware)) {
        rc = lt_files_firmware_at_rest(d->files, x, now, e);
        if (!rc)
            rc = compare_pin("firmware", entry->firmware, now, e);
    }
    if (!rc && is_pinned(entry->domain)) {
        rc = lt_domain_digest(x, hash_file, d->files, now, e);
        if (!rc)
            rc = compare_pin("domain", entry->domain, now, e);
    }
    pthread_mutex_unlock(&d->files_lock);
    return rc;
}

int lt_agent_domains_check_leak(const struct lt_agent_domains *d, struct lt_err *e)
{
    const char *leak = d->keeper->leak(d->keeper->ctx);

    return leak ? lt_fail(e, LT_E_HOST_LEAKS,
                          "no key leaves the vault of this host now: %s (limetree-agent --check-seals)", leak)
                : 0;
}

static int entry_of(const struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out,
                    struct lt_err *e)
{
    int rc = d->keeper->entry(d->keeper->ctx, uuid, out, e);

    return rc == LT_E_NOT_FOUND ? lt_fail(e, rc,
                                          "the vault has no vTPM of this domain; make one: limetree domain "
                                          "provision UUID")
                                : rc;
}

/* *entry: lt_seal_entry_free, also on failure. */
static int judge(struct lt_agent_domains *d, const struct lt_domain *x, struct lt_seal_entry *entry,
                 struct lt_err *e)
{
    LT_TRY(lt_agent_domains_check_leak(d, e));
    LT_TRY(entry_of(d, x->uuid, entry, e));
    LT_TRY(lt_sealed_check(&d->state, x, entry, e));
    return check_pins(d, x, entry, e);
}

/* ---- libvirt's view of a domain ---- */

void lt_agent_domains_view_free(struct lt_agent_domains_view *v)
{
    free(v->found.xml);
    lt_domain_free(&v->xml);
    lt_launch_close(v->link);
}

static int look(struct lt_agent_domains_view *v, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    LT_TRY(lt_launch_look(v->link, uuid, &v->found, e));
    LT_TRY(lt_domain_parse(v->found.xml, strlen(v->found.xml), &v->xml, e));
    if (memcmp(v->xml.uuid, uuid, LT_UUID))
        return lt_fail(e, LT_E_INTERNAL, "libvirt gave another domain's XML");
    if (!lt_sealed_domain(&v->xml))
        return lt_fail(e, LT_E_REFUSED,
                       "it is not defined with a sealed vTPM; give its XML to: limetree domain define FILE");
    if (v->found.autostart)
        return lt_fail(
            e, LT_E_CONFLICT,
            "libvirt's autostart is set, and libvirtd would start it when nobody has its key; virsh "
            "autostart --disable it, and define it with --autostart, so that the agent starts it");
    return 0;
}

/* A definition that libvirtd has lost (its directory is a tmpfs on a host that gives no file of it to the
 * next boot) is the one it was given last. */
int lt_agent_domains_view_open(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID],
                               struct lt_agent_domains_view *v, struct lt_err *e)
{
    LT_AUTOFREE char *kept = NULL;

    LT_TRY(lt_launch_open(d->conf.uri, &v->link, e));
    int rc = look(v, uuid, e);
    if (rc != LT_E_NOT_FOUND || lt_definitions_get(&d->definitions, uuid, &kept, LT_NO_ERR))
        return rc;
    LT_TRY(lt_launch_define(v->link, kept, e));
    return look(v, uuid, e);
}

int lt_agent_domains_answer(const struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], json_t *more,
                            json_t **out, struct lt_err *e)
{
    uint8_t secret[LT_UUID];

    lt_seal_secret_uuid(uuid, secret);
    json_t *j =
        json_pack("{s:o, s:o, s:b}", "uuid", lt_json_new_uuid(uuid), "secret", lt_json_new_uuid(secret),
                  "autostart", lt_definitions_autostart(&d->definitions, uuid));
    if (j && more)
        json_object_update(j, more);
    json_decref(more);
    *out = j;
    return j ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

/* ---- define ---- */

static int define(struct lt_agent_domains *d, const char *sealed, const uint8_t uuid[LT_UUID], bool autostart,
                  struct lt_err *e)
{
    LT_AGENT_DOMAINS_VIEW_AUTO struct lt_agent_domains_view v = {0};

    LT_TRY(lt_launch_open(d->conf.uri, &v.link, e));
    LT_TRY(lt_launch_define(v.link, sealed, e));
    LT_TRY(look(&v, uuid, e));
    return lt_definitions_put(&d->definitions, uuid, v.found.xml, autostart, e);
}

int lt_agent_domains_define(struct lt_agent_domains *d, const char *xml, bool autostart, json_t **out,
                            struct lt_err *e)
{
    LT_AUTOFREE char *sealed = NULL;
    uint8_t secret[LT_UUID];
    struct lt_domain x;

    *out = NULL;
    int rc = lt_domain_parse(xml, strlen(xml), &x, e);
    if (!rc) {
        lt_seal_secret_uuid(x.uuid, secret);
        rc = lt_define_sealed(xml, strlen(xml), secret, &sealed, e);
    }
    if (!rc)
        rc = lt_agent_domains_begin(d, LT_AGENT_DOMAINS_DEFINE, x.uuid, e);
    if (!rc) {
        rc = define(d, sealed, x.uuid, autostart, e);
        lt_agent_domains_end(d);
        lt_agent_domains_tell(x.uuid, "define", rc, e);
    }
    if (!rc)
        rc = lt_agent_domains_answer(d, x.uuid, NULL, out, e);
    lt_domain_free(&x);
    return rc;
}

/* ---- start ---- */

/* Whatever becomes of the start, the key does not stay. */
static int start_with_key(struct lt_agent_domains *d, struct lt_launch *link, struct lt_seal_entry *entry,
                          bool paused, struct lt_err *e)
{
    int rc = lt_lent_give(d->lent, entry->uuid, entry->key, e);

    if (rc)
        return rc;
    LT_FAULT_AT(START_SECRET);
    rc = lt_launch_start(link, entry->uuid, paused, e);
    LT_FAULT_AT(START_CREATED);
    lt_lent_take(d->lent, entry->uuid);
    LT_FAULT_AT(START_DROPPED);
    return rc;
}

/* On a host whose user space is enforced libvirt gets nothing but what that can judge. */
static int check_allowed(const struct lt_agent_domains *d, const char *xml, struct lt_err *e)
{
    return d->conf.allowed_only ? lt_allowed_check(xml, strlen(xml), e) : 0;
}

static int launch(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool paused, struct lt_err *e)
{
    LT_AGENT_DOMAINS_VIEW_AUTO struct lt_agent_domains_view v = {0};
    struct lt_seal_entry entry = {0};

    LT_TRY(lt_agent_domains_view_open(d, uuid, &v, e));
    if (v.found.active)
        return lt_fail(e, LT_E_CONFLICT, "it runs already");
    if (v.found.saved)
        return lt_fail(e, LT_E_CONFLICT,
                       "libvirt would restore it from a save image, with a vTPM's state of its own; virsh "
                       "managedsave-remove it, or restore it with virsh through the hook");
    LT_TRY(check_allowed(d, v.found.xml, e));
    int rc = judge(d, &v.xml, &entry, e);
    LT_FAULT_AT(START_CHECKED);
    if (!rc)
        rc = start_with_key(d, v.link, &entry, paused, e);
    lt_seal_entry_free(&entry);
    return rc;
}

int lt_agent_domains_launch(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool paused,
                            json_t **out, struct lt_err *e)
{
    *out = NULL;
    LT_TRY(lt_agent_domains_begin(d, LT_AGENT_DOMAINS_START, uuid, e));
    int rc = launch(d, uuid, paused, e);
    lt_agent_domains_end(d);
    lt_agent_domains_tell(uuid, "start", rc, e);
    return rc ? rc : lt_agent_domains_answer(d, uuid, NULL, out, e);
}

/* ---- pin ---- */

/* What the inventory says it runs with: what every tenant sees. */
static int live_digests(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], uint8_t firmware[32],
                        uint8_t domain[32], struct lt_err *e)
{
    const struct lt_inventory_snapshot *s;
    bool found = false;

    LT_TRY(lt_inventory_snapshot(d->conf.inventory, &s, e));
    for (uint32_t i = 0; i < s->count && !found; i++) {
        const struct lt_residency_record *r = &s->records[i];
        if (memcmp(r->guest_uuid, uuid, LT_UUID))
            continue;
        found = true;
        memcpy(firmware, r->firmware_digest, 32);
        memcpy(domain, r->domain_digest, 32);
    }
    lt_inventory_snapshot_put(s);
    return found ? 0
                 : lt_fail(e, LT_E_CONFLICT,
                           "it does not run, or is not listed (limetree-agent --inventory says why): what a "
                           "domain runs with is what is pinned");
}

int lt_agent_domains_pin(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], bool clear, json_t **out,
                         struct lt_err *e)
{
    uint8_t firmware[32] = {0}, domain[32] = {0};

    *out = NULL;
    LT_TRY(lt_agent_domains_begin(d, LT_AGENT_DOMAINS_PIN, uuid, e));
    int rc = clear ? 0 : live_digests(d, uuid, firmware, domain, e);
    if (!rc)
        rc = lt_agent_seal_pin(d->conf.seal, uuid, firmware, domain, e);
    lt_agent_domains_end(d);
    lt_agent_domains_tell(uuid, "pin", rc, e);
    return rc ? rc
              : lt_agent_domains_answer(d, uuid,
                                        json_pack("{s:o, s:o}", "firmware",
                                                  lt_json_new_hex(firmware, sizeof firmware), "domain",
                                                  lt_json_new_hex(domain, sizeof domain)),
                                        out, e);
}

/* ---- libvirt's hook ---- */

/* Of the agent's own start: it has judged, and has lent the key, and takes it back. */
static int prepare(struct lt_agent_domains *d, const struct lt_domain *x, struct lt_err *e)
{
    struct lt_seal_entry entry = {0};
    enum lt_agent_domains_operation now = doing_with(d, x->uuid);

    if (now == LT_AGENT_DOMAINS_PROVISION)
        return lt_fail(e, LT_E_BUSY, "its vTPM is being made; start it when that has ended");
    if (d->conf.allowed_only && now != LT_AGENT_DOMAINS_START)
        return lt_fail(e, LT_E_REFUSED,
                       "with seal_checks = all the agent alone starts sealed domains: limetree domain start");
    int rc = judge(d, x, &entry, e);
    if (!rc && now != LT_AGENT_DOMAINS_START)
        rc = lt_lent_give(d->lent, entry.uuid, entry.key, e);
    lt_seal_entry_free(&entry);
    if (!rc && now != LT_AGENT_DOMAINS_START)
        LT_FAULT_AT(HOOK_PREPARE);
    return rc;
}

int lt_agent_domains_hook(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID],
                          enum lt_agent_domains_hook what, const char *xml, struct lt_err *e)
{
    struct lt_domain x;

    int rc = lt_domain_parse(xml, strlen(xml), &x, e);
    if (!rc && memcmp(x.uuid, uuid, LT_UUID))
        rc = lt_fail(e, LT_E_REFUSED, "the hook's XML is another domain's");
    if (!rc && lt_sealed_domain(&x)) {
        if (what == LT_AGENT_DOMAINS_PREPARE)
            rc = prepare(d, &x, e);
        else if (doing_with(d, uuid) != LT_AGENT_DOMAINS_START)
            lt_lent_take(d->lent, uuid);
        LT_FAULT_AT(HOOK_STARTED);
        if (what == LT_AGENT_DOMAINS_PREPARE)
            lt_agent_domains_tell(uuid, "start by libvirt", rc, e);
    }
    lt_domain_free(&x);
    return rc;
}

/* ---- what the agent starts by itself ---- */

/* False: stopping. */
static bool rest(struct lt_agent_domains *d)
{
    uint64_t until = lt_clock_ms() + AUTOSTART_MS;

    pthread_mutex_lock(&d->lock);
    while (!d->stop && lt_cond_until(&d->wake, &d->lock, until))
        ;
    bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return !stop;
}

static bool stopping(struct lt_agent_domains *d)
{
    pthread_mutex_lock(&d->lock);
    bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return stop;
}

/* Whom waiting does not help is left out, as are those that run. Of a leak the vault tells, once. */
static bool start_later(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID])
{
    struct lt_err e = {0};
    json_t *out = NULL;

    if (d->keeper->leak(d->keeper->ctx))
        return true;
    int rc = lt_agent_domains_launch(d, uuid, false, &out, &e);
    json_decref(out);
    return rc == LT_E_HOST_LEAKS || (rc && lt_err_class(rc) == LT_CLASS_RETRY);
}

/* The vault is tended whoever waits for libvirtd: it is closed where the host leaks, and opened when that is
 * over. */
static void *run(void *arg)
{
    struct lt_agent_domains *d = arg;
    uint8_t(*list)[LT_UUID] = calloc(AUTOSTART_MAX, LT_UUID);
    size_t n = list ? lt_definitions_all_autostart(&d->definitions, list, AUTOSTART_MAX) : 0;

    do {
        size_t left = 0;
        lt_agent_seal_tend(d->conf.seal);
        for (size_t i = 0; i < n && !stopping(d); i++)
            if (start_later(d, list[i]))
                memmove(list[left++], list[i], LT_UUID);
        n = left;
    } while (rest(d));
    free(list);
    return NULL;
}

/* ---- start and stop ---- */

static int find_user(struct lt_agent_domains *d, struct lt_err *e)
{
    const char *name = *d->conf.swtpm_user ? d->conf.swtpm_user : geteuid() ? NULL : "tss";
    const struct passwd *p = name ? getpwnam(name) : NULL;

    if (name && !p)
        return lt_fail(e, LT_E_CONFIG,
                       "swtpm_user = %s: no such user here; it is swtpm_user of libvirt's qemu.conf", name);
    d->state.uid = p ? p->pw_uid : geteuid();
    d->state.gid = p ? p->pw_gid : getegid();
    return 0;
}

static int open_all(struct lt_agent_domains *d, struct lt_err *e)
{
    char *base = NULL;

    LT_TRY(find_user(d, e));
    LT_TRY(lt_statedir_base(d->conf.uri, &base, e));
    d->state.base = base;
    LT_TRY(lt_definitions_open(d->conf.state_dir, &d->definitions, e));
    lt_make_sweep(NULL);
    LT_TRY(lt_lent_start(d->conf.uri, &d->lent, e));
    if (pthread_create(&d->thread, NULL, run, d))
        return lt_fail(e, LT_E_IO, "domains: no thread");
    d->has_thread = true;
    return 0;
}

int lt_agent_domains_start(const struct lt_agent_domains_conf *conf, struct lt_agent_domains **out,
                           struct lt_err *e)
{
    struct lt_agent_domains *d = lt_new(struct lt_agent_domains);

    *out = NULL;
    d->conf = *conf;
    d->keeper = lt_agent_seal_keeper(conf->seal);
    d->files = lt_files_new();
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->files_lock, NULL);
    lt_cond_init(&d->wake);
    int rc = open_all(d, e);
    if (rc)
        lt_agent_domains_stop(d);
    else
        *out = d;
    return rc;
}

void lt_agent_domains_stop(struct lt_agent_domains *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (d->has_thread)
        pthread_join(d->thread, NULL);
    lt_lent_stop(d->lent);
    lt_definitions_close(&d->definitions);
    lt_files_free(d->files);
    free((char *)d->state.base);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->files_lock);
    pthread_mutex_destroy(&d->lock);
    free(d);
}
