/* One domain: from libvirt's XML to a record, or to the reason why there is none. */
#include "common/run/clock.h"
#include "common/run/log.h"
#include "vtpm/birth.h"
#include "vtpm/ek.h"
#include "vtpm/sealed.h"
#include "vtpm/table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct work {
    struct lt_vtpm_inventory *inv;
    const struct lt_vtpm_resident *old;
    struct lt_vtpm_resident *live; /* the same, for what must be seen at once; under the lock */
    const struct lt_vtpm_facts *facts;
    struct lt_vtpm_marks marks;
    struct lt_domain domain;
    struct lt_vtpm_resident new; /* name and pair may be those of old: see store */
    bool new_pair, clock_failed;
    unsigned changed; /* inv->changed before the keeper was asked */
    int kept;         /* what he answered; entry: if that was 0 */
    struct lt_seal_entry entry;
    struct lt_err why_not_kept;
};

static int find_pair(struct work *w, struct lt_err *e)
{
    struct lt_sockdiag_sockets sockets;
    char uuid[LT_UUID_TEXT];
    int rc = lt_sockdiag_sockets_read(&sockets, e);

    /* While both live they stay joined; a snapshot confirms that anyhow. */
    if (!rc && !lt_pair_alive(&w->old->pair)) {
        lt_uuid_format(w->old->uuid, uuid);
        w->new.have_ek = w->new.have_files = w->new.have_incarnation = w->new.agreed = w->new.born = false;
        w->new.judged = w->new.sealed = w->new.loaded = false;
        w->new.pair = LT_PAIR_NONE;
        w->new_pair = true;
        /* Anybody can start a process with QEMU's words; not one with QEMU's user. */
        uid_t uid = w->domain.has_uid ? w->domain.uid : geteuid() ? geteuid() : LT_PROCS_ANY_UID;
        rc = lt_pair_find(uuid, uid, &sockets, &w->new.pair, e);
    }
    lt_sockdiag_sockets_free(&sockets);
    return rc;
}

/* The state was loaded anew since it was last read, and no event told: a reset while libvirt was away. What
 * is settled only: before, firmware may not have started the vTPM yet. */
static void compare_starts(struct work *w, const struct lt_vtpm_starts *now)
{
    bool same = now->reset == w->new.starts.reset && now->restart == w->new.starts.restart;

    w->new.starts = *now;
    if (w->new.settled && !same && !w->marks.redraw) {
        w->marks.redraw = true;
        pthread_mutex_lock(&w->inv->lock); /* not listed until there is a new one */
        (void)lt_fail(&w->live->why, LT_E_BUSY, "it was reset while libvirt was away; being examined");
        pthread_mutex_unlock(&w->inv->lock);
    } else if (!w->marks.redraw) {
        w->new.settled |= lt_clock_ms() - w->new.drawn_ms >= LT_VTPM_REFRESH_MS;
    }
}

/* QEMU began with state that was not in the vTPM's directory (docs/sealing.md section 4): the words stay on
 * its command line as long as it lives. What is loaded later has an event. */
static int find_loaded(struct work *w, struct lt_err *e)
{
    static const char *const words[] = {"-incoming", "-loadvm", "--incoming", "--loadvm"};
    struct lt_procs_words given;

    w->new.loaded |= w->marks.loaded;
    if (!w->new_pair)
        return 0;
    LT_TRY(lt_proc_words(&w->new.pair.qemu, &given, e));
    for (const char *word = lt_procs_words_next(&given, NULL); word; word = lt_procs_words_next(&given, word))
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            w->new.loaded |= !strcmp(word, words[i]);
    lt_procs_words_free(&given);
    return 0;
}

/* What the vault has of this domain. Without its key the state of an encrypted vTPM is not read by anybody.
 */
static int find_entry(struct work *w, struct lt_err *e)
{
    const struct lt_seal_keeper *k = w->inv->conf.keeper;

    w->changed = atomic_load(&w->inv->changed);
    w->kept = k ? k->entry(k->ctx, w->old->uuid, &w->entry, &w->why_not_kept) : LT_E_NOT_FOUND;
    if (!w->kept || !w->domain.tpm_secret || (w->new.have_ek && !w->marks.reread))
        return 0;
    return lt_fail(e, w->kept == LT_E_BUSY ? LT_E_BUSY : LT_E_REFUSED,
                   "its state is encrypted and its key is not in the vault%s%s",
                   w->why_not_kept.code && w->kept != LT_E_NOT_FOUND ? ": " : "",
                   w->why_not_kept.code && w->kept != LT_E_NOT_FOUND ? w->why_not_kept.msg : "");
}

/* While a swtpm lives its EK is the one first found: another one in its state means that somebody put another
 * state into its place, and it is not listed. */
static int find_ek(struct work *w, struct lt_err *e)
{
    const struct lt_ek_conf conf = {
        .program = w->inv->swtpm, .scratch = w->inv->conf.scratch, .key = w->kept ? NULL : w->entry.key};
    struct lt_ek_found found;
    uint8_t digest[32];

    if (w->new.have_ek && !w->marks.reread && (w->kept || w->new.judged))
        return 0;
    LT_TRY(lt_ek_read(&conf, &w->new.pair.swtpm, &found, e));
    LT_TRY(lt_public_ek_digest(&found.ek, digest, e));
    if (w->new.have_ek && memcmp(digest, w->new.record.ek_digest, 32))
        return lt_fail(e, LT_E_REFUSED, "swtpm %d: its state holds another EK than the one it began with",
                       (int)w->new.pair.swtpm.pid);
    if (w->new.have_ek)
        compare_starts(w, &found.starts);
    else
        w->new.starts = found.starts;
    memcpy(w->new.record.ek_digest, digest, 32);
    w->new.have_ek = true;
    w->new.agreed = false;
    w->new.judged = !w->kept;
    w->new.sealed = found.sealed;
    w->new.plain = found.why;
    return 0;
}

/* The vault's entry of this domain is of this EK, and no other domain's is. */
static int agree_with_vault(struct work *w, struct lt_err *e)
{
    const struct lt_seal_keeper *k = w->inv->conf.keeper;
    uint8_t owner[LT_UUID];
    char id[LT_UUID_TEXT];

    if (!w->kept && memcmp(w->entry.ek_digest, w->new.record.ek_digest, 32))
        return lt_fail(
            e, LT_E_STATE_FOREIGN_EK,
            "state-foreign-ek: its state is not that of the vTPM that was made for it (another EK)");
    if (!k || k->of_ek(k->ctx, w->new.record.ek_digest, owner, LT_NO_ERR) ||
        !memcmp(owner, w->old->uuid, LT_UUID))
        return 0;
    lt_uuid_format(owner, id);
    return lt_fail(e, LT_E_STATE_FOREIGN_EK, "state-foreign-ek: its state is a copy of domain %s's vTPM", id);
}

static int agree(struct work *w, struct lt_err *e)
{
    const char *records = w->inv->conf.records;

    if (!w->new.agreed &&*records) {
        LT_TRY(lt_birth_check(records, w->old->uuid, w->new.record.ek_digest, w->new.pair.swtpm.uid,
                              &w->new.born, e));
    }
    w->new.agreed = true;
    return 0;
}

struct file_ctx {
    struct lt_files *files;
    const struct lt_proc *qemu;
};

static int hash_file(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    struct file_ctx *f = ctx;
    return lt_files_digest(f->files, f->qemu, path, out, e);
}

static int find_files(struct work *w, struct lt_err *e)
{
    struct file_ctx ctx = {w->inv->files, &w->new.pair.qemu};
    struct lt_residency_record *r = &w->new.record;

    if (w->new.have_files)
        return 0;
    LT_TRY(lt_files_firmware(w->inv->files, ctx.qemu, &w->domain, r->firmware_digest, e));
    LT_TRY(lt_domain_digest(&w->domain, hash_file, &ctx, r->domain_digest, e));
    w->new.have_files = true;
    return 0;
}

/* The clock is read after both processes were seen alive. */
static int draw(struct work *w, struct lt_err *e)
{
    struct lt_vtpm_inventory *inv = w->inv;
    struct lt_residency_record *r = &w->new.record;
    struct lt_vtpm_host_clock clock;

    if (w->new.have_incarnation && !w->marks.redraw)
        return 0;
    if (!lt_pair_alive(&w->new.pair))
        return lt_fail(e, LT_E_REFUSED, "QEMU or swtpm ended meanwhile");
    w->clock_failed = true;
    LT_TRY_IN(inv->conf.read_clock(inv->conf.ctx, &clock, e), e, "the host's TPM");
    w->clock_failed = false;
    lt_random(r->incarnation, sizeof r->incarnation);
    r->start_reset = clock.reset_count;
    r->start_restart = clock.restart_count;
    r->start_clock_ms = clock.clock_ms;
    w->new.have_incarnation = true;
    w->new.settled = false;
    w->new.drawn_ms = lt_clock_ms();
    pthread_mutex_lock(&inv->lock);
    lt_vtpm_table_counts(inv, clock.reset_count, clock.restart_count);
    pthread_mutex_unlock(&inv->lock);
    return 0;
}

/* Of one with an entry: what is left of flag 32's conditions (docs/sealing.md section 4). */
static int seal(struct work *w, struct lt_err *e)
{
    if (!lt_sealed_domain(&w->domain))
        return lt_fail(e, LT_E_REFUSED, "its XML does not name the secret of its own vTPM");
    if (!w->new.sealed)
        return lt_fail(e, w->new.plain.code, "%s", w->new.plain.msg);
    if (w->new.loaded)
        return lt_fail(e, LT_E_REFUSED, "it was started from a save image, a snapshot or another host");
    if (w->new.record.flags & LT_RESIDENCY_TAINTED)
        return lt_fail(e, LT_E_REFUSED, "libvirt calls it tainted");
    return 0;
}

static int work(struct work *w, struct lt_err *e)
{

    if (!w->facts->xml)
        return lt_fail(e, LT_E_NOT_FOUND, "libvirt does not know it as running");
    LT_TRY(lt_domain_parse(w->facts->xml, strlen(w->facts->xml), &w->domain, e));
    if (memcmp(w->domain.uuid, w->old->uuid, LT_UUID))
        return lt_fail(e, LT_E_INTERNAL, "libvirt gave another domain's XML");
    if (w->domain.tpm == LT_DOMAIN_TPM_NONE)
        return lt_fail(e, LT_E_UNSUPPORTED, "no vTPM");
    if (w->domain.tpm != LT_DOMAIN_TPM_EMULATOR)
        return lt_fail(e, LT_E_UNSUPPORTED, "its TPM is not one emulator of version 2.0 run by libvirt");
    LT_TRY(find_pair(w, e));
    LT_TRY(find_loaded(w, e));
    LT_TRY(find_entry(w, e));
    LT_TRY(find_ek(w, e));
    LT_TRY(agree_with_vault(w, e));
    LT_TRY(agree(w, e));
    LT_TRY(find_files(w, e));
    LT_TRY(draw(w, e));
    w->new.record.flags = w->facts->flags | (w->domain.qemu_namespace ? LT_RESIDENCY_TAINTED : 0u);
    w->new.unsealed = (struct lt_err){0};
    (void)!seal(w, &w->new.unsealed);
    lt_vtpm_table_entry(&w->new, w->kept, &w->entry);
    return 0;
}

/* Lock held: the new state takes the old one's place, but for marks that events set meanwhile. */
static void store(struct work *w, struct lt_vtpm_resident *r)
{
    bool news = r->why.code != w->new.why.code || (w->new.why.code &&strcmp(r->why.msg, w->new.why.msg));
    char id[LT_UUID_TEXT];

    if (w->domain.name) {
        free(r->name);
        r->name = lt_take(&w->domain.name);
    }
    if (w->new_pair) {
        lt_pair_close(&r->pair);
        r->pair = w->new.pair;
    }
    r->have_ek = w->new.have_ek;
    r->have_files = w->new.have_files;
    r->have_incarnation = w->new.have_incarnation;
    r->agreed = w->new.agreed;
    r->born = w->new.born;
    r->loaded = w->new.loaded;
    r->has_entry = w->new.has_entry;
    r->judged = w->new.judged;
    r->sealed = w->new.sealed;
    r->unsealed = w->new.unsealed;
    r->plain = w->new.plain;
    r->starts = w->new.starts;
    r->settled = w->new.settled;
    r->drawn_ms = w->new.drawn_ms;
    r->record = w->new.record;
    r->why = w->new.why;
    r->waits = w->clock_failed;
    r->retry_ms = 0;
    if (r->why.code) {
        /* What was owed is still owed. */
        r->marks.redraw |= w->marks.redraw;
        r->marks.reread |= w->marks.reread;
        r->marks.loaded |= w->marks.loaded;
        bool soon = w->clock_failed || r->why.code == LT_E_BUSY;
        r->retry_ms = lt_clock_ms() + (soon ? LT_VTPM_RETRY_SOON_MS : LT_VTPM_RETRY_MS);
    }
    if (w->changed != atomic_load(&w->inv->changed)) /* what the keeper said is of yesterday */
        w->inv->told = w->changed;
    lt_uuid_format(r->uuid, id);
    if (news && r->why.code)
        lt_log(LT_LOG_WARNING, "vtpm-not-listed", "domain %s (%s): %s", id, r->name ? r->name : "?",
               r->why.msg);
    else if (news || w->new_pair)
        lt_log(LT_LOG_INFO, "vtpm-listed", "domain %s (%s): QEMU %d, swtpm %d", id, r->name ? r->name : "?",
               (int)r->pair.qemu.pid, (int)r->pair.swtpm.pid);
}

void lt_vtpm_examine(struct lt_vtpm_inventory *inv, struct lt_vtpm_resident *r,
                     const struct lt_vtpm_facts *facts, struct lt_vtpm_marks marks)
{
    struct work w = {.inv = inv, .old = r, .live = r, .facts = facts, .marks = marks};

    w.new.pair = r->pair;
    w.new.have_ek = r->have_ek;
    w.new.have_files = r->have_files;
    w.new.have_incarnation = r->have_incarnation;
    w.new.agreed = r->agreed;
    w.new.born = r->born;
    w.new.loaded = r->loaded;
    w.new.has_entry = r->has_entry;
    w.new.judged = r->judged;
    w.new.sealed = r->sealed;
    w.new.unsealed = r->unsealed;
    w.new.plain = r->plain;
    w.new.starts = r->starts;
    w.new.settled = r->settled;
    w.new.drawn_ms = r->drawn_ms;
    w.new.record = r->record;
    memcpy(w.new.record.guest_uuid, r->uuid, LT_UUID);
    int rc = work(&w, &w.new.why);
    w.new.why.code = rc; /* the verdict, and nothing that was overcome on the way */
    pthread_mutex_lock(&inv->lock);
    if (rc == LT_E_NOT_FOUND && !lt_proc_alive(&r->pair.qemu))
        lt_vtpm_table_remove(inv, r);
    else
        store(&w, r);
    pthread_mutex_unlock(&inv->lock);
    lt_seal_entry_free(&w.entry);
    lt_domain_free(&w.domain);
}
