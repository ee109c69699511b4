#include "agent/seal.h"

#include "agent/fault.h"
#include "agent/seal_chip.h"
#include "agent/seal_commit.h"
#include "agent/seal_files.h"
#include "agent/seal_past.h"
#include "common/alloc.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "residency/proof.h"

#include <stdlib.h>
#include <string.h>

struct lt_agent_seal {
    struct lt_agent_seal_conf conf;
    uint8_t host_ek_digest[LT_SHA256];
    struct lt_agent_seal_chip chip;
    struct lt_agent_seal_files files;
    struct lt_agent_seal_ops ops;
    struct lt_seal_keeper keeper;
    pthread_mutex_t lock; /* of what follows; innermost, never held over the TPM or the disk */
    pthread_cond_t free;
    bool changing; /* whoever set it may read content without the lock: nobody else writes it */
    enum lt_agent_seal_state state;
    struct lt_err why;                    /* msg: of the state */
    struct lt_agent_seal_content content; /* committed; of another state than open without entries */
    bool unfinished;                      /* its lists show as open what the key does not answer in */
    struct lt_agent_seal_past past;
    enum lt_agent_seal_state said_state; /* of the last line in the log, by whoever changes */
    char said[sizeof((struct lt_err *)0)->msg];
};

static const struct {
    const char *slug;
    int code;
} states[] = {
#define X(name, slug, code) [LT_AGENT_SEAL_##name] = {slug, code},
    LT_AGENT_SEAL_STATES(X)
#undef X
};

const char *lt_agent_seal_slug(enum lt_agent_seal_state s)
{
    return states[s].slug;
}

/* What is no word about the vault is trouble, and passes. */
static enum lt_agent_seal_state state_of(int rc)
{
    for (unsigned i = 0; i < sizeof states / sizeof *states; i++)
        if (states[i].code == rc)
            return (enum lt_agent_seal_state)i;
    return LT_AGENT_SEAL_BUSY;
}

/* ---- one change at a time ---- */

static int begin(struct lt_agent_seal *s, struct lt_err *e)
{
    const uint64_t until = lt_clock_ms() + LT_AGENT_SEAL_WAIT_MS;
    bool ours;

    pthread_mutex_lock(&s->lock);
    while (s->changing && lt_cond_until(&s->free, &s->lock, until))
        ;
    ours = !s->changing;
    s->changing = true;
    pthread_mutex_unlock(&s->lock);
    return ours ? 0 : lt_fail(e, LT_E_VAULT_BUSY, "another change of the vault takes its time; try again");
}

static void end(struct lt_agent_seal *s)
{
    pthread_mutex_lock(&s->lock);
    s->changing = false;
    pthread_cond_signal(&s->free);
    pthread_mutex_unlock(&s->lock);
}

static bool closes(const struct lt_agent_seal_content *c, const struct lt_seal_change *change)
{
    bool any = false;

    for (uint32_t i = 0; i < c->count; i++)
        any = any || lt_seal_change_closes(change, &c->entries[i]);
    return any;
}

/* A change of openers was cut off: one of nothing would close something. */
static bool unfinished(const struct lt_agent_seal *s, const struct lt_agent_seal_content *c)
{
    struct lt_seal_change none;

    return c->count &&
           !lt_seal_change_plan(&c->states, s->host_ek_digest, NULL, 0, NULL, 0, &none, LT_NO_ERR) &&
           closes(c, &none);
}

/* c is the vault now, and emptied; the lists that are no more go to the past. */
static void adopt(struct lt_agent_seal *s, enum lt_agent_seal_state state, const struct lt_err *why,
                  struct lt_agent_seal_content *c)
{
    const bool left = unfinished(s, c);
    struct lt_agent_seal_content old;

    pthread_mutex_lock(&s->lock);
    s->unfinished = left;
    old = s->content;
    s->content = *c;
    s->state = state;
    s->why = *why;
    lt_agent_seal_past_add(&s->past, &old, &s->content);
    pthread_mutex_unlock(&s->lock);
    lt_agent_seal_content_free(&old);
    *c = (struct lt_agent_seal_content){0};
    if (s->conf.changed)
        s->conf.changed(s->conf.ctx);
}

/* Once, not at each try. */
static void say(struct lt_agent_seal *s)
{
    enum lt_log_level level =
        s->state == LT_AGENT_SEAL_OPEN || s->state == LT_AGENT_SEAL_NONE ? LT_LOG_INFO : LT_LOG_ERROR;

    if (s->state != LT_AGENT_SEAL_OPEN && s->state == s->said_state && !strcmp(s->said, s->why.msg))
        return;
    s->said_state = s->state;
    memcpy(s->said, s->why.msg, sizeof s->said);
    if (s->state == LT_AGENT_SEAL_OPEN)
        lt_log(level, "vault", "open: generation %llu, %u entries", (unsigned long long)s->content.generation,
               (unsigned)s->content.count);
    if (s->unfinished)
        lt_log(LT_LOG_WARNING, "vault",
               "a change of openers was cut off: lists show states as open in which the vault's key does not "
               "answer; `limetree host reseal HOST`, or the same reseal again, ends it");
    if (s->state != LT_AGENT_SEAL_OPEN)
        lt_log(level, "vault", "%s: %s", lt_agent_seal_slug(s->state), s->why.msg);
}

/* Without entries; what is known of the file stays for people to see. */
static void close_vault(struct lt_agent_seal *s, enum lt_agent_seal_state state, const struct lt_err *why,
                        struct lt_agent_seal_content *known)
{
    struct lt_agent_seal_content head = {
        .generation = known->generation, .kind = known->kind, .states = known->states};

    lt_agent_seal_content_free(known);
    adopt(s, state, why, &head);
}

static const char *leak(const struct lt_agent_seal *s)
{
    return s->conf.leak ? s->conf.leak(s->conf.ctx) : NULL;
}

static int refuse_leak(const char *what, struct lt_err *e)
{
    return lt_fail(
        e, LT_E_HOST_LEAKS,
        "%s: keys of vTPMs would not stay in this host's memory (limetree-agent --check-seals says why)",
        what);
}

static int open_anew(struct lt_agent_seal *s, struct lt_err *e)
{
    struct lt_agent_seal_content c = {0};
    const char *what = leak(s);

    close_vault(s, LT_AGENT_SEAL_BUSY, &(struct lt_err){.msg = "the vault is being opened"}, &c);
    int rc = what ? refuse_leak(what, e) : lt_agent_seal_commit_open(&s->ops, s->host_ek_digest, &c, e);
    if (!rc)
        adopt(s, LT_AGENT_SEAL_OPEN, &(struct lt_err){0}, &c);
    else
        close_vault(s, state_of(rc), e, &c);
    say(s);
    LT_FAULT_AT(SEAL_OPENED);
    return rc && states[s->state].code != rc ? lt_fail_in(e, LT_E_VAULT_BUSY, "the vault") : rc;
}

int lt_agent_seal_open(struct lt_agent_seal *s, struct lt_err *e)
{
    LT_TRY(begin(s, e));
    int rc = open_anew(s, e);
    end(s);
    return rc == LT_E_VAULT_NONE ? 0 : rc;
}

void lt_agent_seal_tend(struct lt_agent_seal *s)
{
    pthread_mutex_lock(&s->lock);
    bool leaks = leak(s);
    bool wanted = leaks ? s->state == LT_AGENT_SEAL_OPEN
                        : s->state == LT_AGENT_SEAL_BUSY || s->state == LT_AGENT_SEAL_LEAKS;
    wanted = wanted && !s->changing;
    s->changing |= wanted;
    pthread_mutex_unlock(&s->lock);
    if (!wanted)
        return;
    (void)!open_anew(s, LT_NO_ERR);
    end(s);
}

/* For a change, which then is to end(). */
static int begin_open(struct lt_agent_seal *s, struct lt_err *e)
{
    LT_TRY(begin(s, e));
    int rc = s->state == LT_AGENT_SEAL_OPEN && !leak(s) ? 0 : open_anew(s, e);
    if (rc)
        end(s);
    return rc;
}

/* c is committed and becomes the vault; or what is committed is found out by opening it anew. */
static int commit(struct lt_agent_seal *s, struct lt_agent_seal_content *c, struct lt_err *e)
{
    int rc = lt_agent_seal_commit(&s->ops, s->host_ek_digest, c, e);

    if (rc)
        (void)open_anew(s, LT_NO_ERR);
    else
        adopt(s, LT_AGENT_SEAL_OPEN, &(struct lt_err){0}, c);
    LT_FAULT_AT(SEAL_COMMITTED);
    return rc;
}

/* ---- the first vault ---- */

static int commit_first(struct lt_agent_seal *s, unsigned kinds, const struct lt_seal_key_states *present,
                        struct lt_err *e)
{
    struct lt_agent_seal_content c;

    int rc = lt_fail(e, LT_E_TPM_NO_HMAC,
                     "this TPM has neither TPM2_HMAC nor TPM2_ECDH_ZGen: it can keep no vault");
    /* A command that is on the list may be refused all the same. */
    for (unsigned kind = LT_SEAL_KEY_HMAC; rc == LT_E_TPM_NO_HMAC && kind <= LT_SEAL_KEY_ECDH; kind++) {
        if (!(kinds & 1u << kind))
            continue;
        LT_TRY(lt_agent_seal_content_new(0, &c, e));
        c.kind = (enum lt_seal_key_kind)kind;
        c.states = *present;
        rc = s->ops.chip->counter(s->ops.chip_ctx, &c.generation, e);
        if (!rc)
            rc = commit(s, &c, e);
        lt_agent_seal_content_free(&c);
    }
    return rc;
}

static int create(struct lt_agent_seal *s, uint32_t bitmap, struct lt_err *e)
{
    struct lt_seal_key_states present = {.count = 1};
    unsigned kinds;
    /* An open one is not closed for that, not for a moment: what it holds would be called unsealed. */
    int rc = s->state == LT_AGENT_SEAL_OPEN && !leak(s) ? 0 : open_anew(s, e);

    if (!rc)
        return lt_fail(e, LT_E_CONFLICT,
                       "this host has a vault already (`limetree host openers`); `limetree host reseal` is "
                       "what changes its states");
    if (rc != LT_E_VAULT_NONE)
        return lt_fail_in(e, rc, "there is something already, which is not overwritten");
    LT_TRY(s->ops.chip->kinds(s->ops.chip_ctx, &kinds, e));
    LT_TRY(s->ops.chip->present(s->ops.chip_ctx, bitmap, &present.state[0], e));
    LT_TRY(s->ops.chip->counter_define(s->ops.chip_ctx, e));
    return commit_first(s, kinds, &present, e);
}

int lt_agent_seal_create(struct lt_agent_seal *s, uint32_t bitmap, struct lt_err *e)
{
    if ((bitmap & LT_OPENERS_STATE_MIN) != LT_OPENERS_STATE_MIN || bitmap & LT_OPENERS_STATE_NEVER ||
        bitmap >> LT_MAX_PCRS)
        return lt_fail(e, LT_E_USAGE, "bitmap %08x: it has to hold %08x, and nothing of %08x",
                       (unsigned)bitmap, LT_OPENERS_STATE_MIN, LT_OPENERS_STATE_NEVER | ~0u << LT_MAX_PCRS);
    LT_TRY(begin(s, e));
    int rc = create(s, bitmap, e);
    end(s);
    return rc;
}

/* ---- change of openers ---- */

static int apply(struct lt_agent_seal_content *c, const struct lt_seal_change *change,
                 enum lt_seal_change_step step, struct lt_err *e)
{
    for (uint32_t i = 0; i < c->count; i++)
        LT_TRY(lt_seal_change_apply(change, step, &c->entries[i], e));
    c->states = *lt_seal_change_states(change, step);
    return 0;
}

/* Whether all steps can be made, before the first is. */
static int rehearse(const struct lt_agent_seal *s, const struct lt_seal_change *change, struct lt_err *e)
{
    struct lt_agent_seal_content c;
    unsigned which;

    LT_TRY(lt_agent_seal_commit_present(&s->ops, &change->after, &which, e));
    if (which == change->after.count)
        return lt_fail(
            e, LT_E_USAGE,
            "the present platform state would not be among the vault's: boot one that stays, and drop "
            "this one from there");
    int rc = lt_agent_seal_content_copy(&s->content, 0, &c, e);
    for (int step = 0; !rc && step < LT_SEAL_CHANGE_STEPS; step++)
        rc = apply(&c, change, (enum lt_seal_change_step)step, e);
    lt_agent_seal_content_free(&c);
    return rc;
}

static int make_step(struct lt_agent_seal *s, const struct lt_seal_change *change,
                     enum lt_seal_change_step step, struct lt_err *e)
{
    struct lt_agent_seal_content c;

    int rc = lt_agent_seal_content_copy(&s->content, 0, &c, e);
    if (!rc)
        rc = apply(&c, change, step, e);
    if (!rc)
        rc = commit(s, &c, e);
    lt_agent_seal_content_free(&c);
    return rc;
}

static int reseal(struct lt_agent_seal *s, const struct lt_seal_change *change, struct lt_err *e)
{
    LT_TRY(rehearse(s, change, e));
    LT_TRY_IN(make_step(s, change, LT_SEAL_CHANGE_BURN, e), e, "burn");
    LT_FAULT_AT(SEAL_BURNT);
    LT_TRY_IN(make_step(s, change, LT_SEAL_CHANGE_GROW, e), e, "grow");
    LT_FAULT_AT(SEAL_GROWN);
    LT_TRY_IN(make_step(s, change, LT_SEAL_CHANGE_WRAP, e), e, "wrap");
    LT_FAULT_AT(SEAL_WRAPPED);
    if (closes(&s->content, change))
        LT_TRY_IN(make_step(s, change, LT_SEAL_CHANGE_CLOSE, e), e, "close");
    LT_FAULT_AT(SEAL_CLOSED);
    return 0;
}

int lt_agent_seal_reseal(struct lt_agent_seal *s, const struct lt_pcrs *add, unsigned add_n,
                         const unsigned *drop, unsigned drop_n, struct lt_err *e)
{
    struct lt_seal_change change;

    LT_TRY(begin_open(s, e));
    int rc = lt_seal_change_plan(&s->content.states, s->host_ek_digest, add, add_n, drop, drop_n, &change, e);
    if (!rc && !add_n && !drop_n && !closes(&s->content, &change))
        rc = lt_fail(e, LT_E_USAGE, "reseal: no state to add, none to drop, and none left to close");
    if (!rc)
        rc = reseal(s, &change, e);
    end(s);
    return rc;
}

/* ---- entries ---- */

int lt_agent_seal_complete_entry(struct lt_agent_seal *s, struct lt_seal_entry *x, struct lt_err *e)
{
    struct lt_seal_key_states now;

    LT_TRY(begin_open(s, e));
    now = s->content.states;
    end(s);
    return lt_seal_change_complete(&now, s->host_ek_digest, x, e);
}

static int check_new(const struct lt_agent_seal_content *c, const struct lt_seal_entry *x, struct lt_err *e)
{
    if (c->count >= LT_MAX_INVENTORY)
        return lt_fail(e, LT_E_TOO_LARGE, "the vault has %u entries, and takes no more", (unsigned)c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        if (!memcmp(c->entries[i].uuid, x->uuid, LT_UUID))
            return lt_fail(e, LT_E_CONFLICT, "that domain has an entry in the vault already");
        if (!memcmp(c->entries[i].ek_digest, x->ek_digest, LT_SHA256))
            return lt_fail(e, LT_E_CONFLICT, "the vTPM with that EK is another domain's in the vault");
    }
    return 0;
}

/* The room for it is behind the others; it goes where its uuid belongs. */
static int insert(struct lt_agent_seal *s, struct lt_agent_seal_content *c, const struct lt_seal_entry *x,
                  struct lt_err *e)
{
    struct lt_seal_entry *at = c->entries;

    while (at < c->entries + c->count && memcmp(at->uuid, x->uuid, LT_UUID) < 0)
        at++;
    memmove(at + 1, at, (size_t)(c->entries + c->count - at) * sizeof *at);
    *at = (struct lt_seal_entry){0};
    c->count++;
    LT_TRY(lt_seal_entry_copy(x, at, e));
    return lt_seal_change_complete(&c->states, s->host_ek_digest, at, e);
}

static int put(struct lt_agent_seal *s, const struct lt_seal_entry *x, struct lt_err *e)
{
    struct lt_agent_seal_content c;

    LT_TRY(check_new(&s->content, x, e));
    int rc = lt_agent_seal_content_copy(&s->content, 1, &c, e);
    if (!rc)
        rc = insert(s, &c, x, e);
    if (!rc)
        rc = commit(s, &c, e);
    lt_agent_seal_content_free(&c);
    return rc;
}

int lt_agent_seal_put_entry(struct lt_agent_seal *s, const struct lt_seal_entry *x, struct lt_err *e)
{
    LT_TRY(begin_open(s, e));
    int rc = put(s, x, e);
    end(s);
    return rc;
}

static int no_entry(struct lt_err *e)
{
    return lt_fail(e, LT_E_NOT_FOUND, "the vault has no entry of that domain");
}

static bool set_pin(uint8_t pin[LT_SHA256], const uint8_t *to)
{
    if (!to || !memcmp(pin, to, LT_SHA256))
        return false;
    memcpy(pin, to, LT_SHA256);
    return true;
}

static int pin(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], const uint8_t *firmware,
               const uint8_t *domain, struct lt_err *e)
{
    const uint32_t at = lt_agent_seal_content_find(&s->content, uuid);
    struct lt_agent_seal_content c;

    if (at == s->content.count)
        return no_entry(e);
    int rc = lt_agent_seal_content_copy(&s->content, 0, &c, e);
    if (!rc) {
        bool other = set_pin(c.entries[at].firmware, firmware);
        other |= set_pin(c.entries[at].domain, domain);
        rc = other ? commit(s, &c, e) : 0;
    }
    lt_agent_seal_content_free(&c);
    return rc;
}

int lt_agent_seal_pin(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], const uint8_t *firmware,
                      const uint8_t *domain, struct lt_err *e)
{
    LT_TRY(begin_open(s, e));
    int rc = pin(s, uuid, firmware, domain, e);
    end(s);
    return rc;
}

static int remove_entry(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    const uint32_t at = lt_agent_seal_content_find(&s->content, uuid);
    struct lt_agent_seal_content c;

    if (at == s->content.count)
        return no_entry(e);
    int rc = lt_agent_seal_content_copy(&s->content, 0, &c, e);
    if (!rc) {
        lt_seal_entry_free(&c.entries[at]);
        c.count--;
        memmove(&c.entries[at], &c.entries[at + 1], (c.count - at) * sizeof *c.entries);
        rc = commit(s, &c, e);
    }
    lt_agent_seal_content_free(&c);
    return rc;
}

int lt_agent_seal_remove_entry(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    LT_TRY(begin_open(s, e));
    int rc = remove_entry(s, uuid, e);
    end(s);
    return rc;
}

/* ---- looks ---- */

void lt_agent_seal_status(struct lt_agent_seal *s, struct lt_agent_seal_status *out)
{
    pthread_mutex_lock(&s->lock);
    *out = (struct lt_agent_seal_status){
        .state = s->state,
        .generation = s->content.generation,
        .key = s->content.kind,
        .states = s->content.states,
        .unfinished = s->unfinished,
    };
    memcpy(out->message, s->why.msg, sizeof out->message);
    pthread_mutex_unlock(&s->lock);
}

int lt_agent_seal_openers(struct lt_agent_seal *s, const uint8_t digest[LT_SHA256], struct lt_buf *out,
                          struct lt_err *e)
{
    pthread_mutex_lock(&s->lock);
    bool found = lt_agent_seal_past_find(&s->past, &s->content, digest, out);
    pthread_mutex_unlock(&s->lock);
    return found ? lt_buf_ok(out, e)
                 : lt_fail(e, LT_E_NOT_FOUND, "no vTPM of this host has openers of that digest");
}

size_t lt_agent_seal_list(struct lt_agent_seal *s, uint8_t (*uuids)[LT_UUID], size_t max)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->content.count;
    for (size_t i = 0; i < n && i < max; i++)
        memcpy(uuids[i], s->content.entries[i].uuid, LT_UUID);
    pthread_mutex_unlock(&s->lock);
    return n;
}

static json_t *entries_json(struct lt_agent_seal *s)
{
    json_t *out = json_array();
    uint8_t digest[LT_SHA256];
    char uuid[LT_UUID_TEXT];

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->content.count; i++) {
        const struct lt_seal_entry *x = &s->content.entries[i];
        if (lt_openers_digest(&x->openers, digest, LT_NO_ERR))
            continue;
        lt_uuid_format(x->uuid, uuid);
        json_array_append_new(out, json_pack("{s:s, s:o, s:o}", "uuid", uuid, "ek_digest",
                                             lt_json_new_hex(x->ek_digest, LT_SHA256), "openers",
                                             lt_json_new_hex(digest, sizeof digest)));
    }
    pthread_mutex_unlock(&s->lock);
    return out;
}

json_t *lt_agent_seal_json(struct lt_agent_seal *s)
{
    static const char *const kinds[] = {[LT_SEAL_KEY_HMAC] = "hmac", [LT_SEAL_KEY_ECDH] = "ecdh"};
    struct lt_agent_seal_status now;
    struct lt_pcrs present;
    uint32_t mask = 0;
    json_t *list = json_array();

    lt_agent_seal_status(s, &now);
    for (unsigned i = 0; i < now.states.count; i++) {
        mask |= now.states.state[i].mask;
        json_array_append_new(list, lt_residency_pcrs_to_json(&now.states.state[i]));
    }
    if (s->ops.chip->present(s->ops.chip_ctx, mask ? mask : LT_OPENERS_STATE_MIN, &present, LT_NO_ERR))
        present.mask = 0;
    return json_pack("{s:s, s:o, s:I, s:s?, s:b, s:o, s:o, s:o}", "state", lt_agent_seal_slug(now.state),
                     "message", *now.message ? lt_json_new_text(now.message) : json_null(), "generation",
                     (json_int_t)now.generation, "key", kinds[now.key], "unfinished", now.unfinished,
                     "states", list, "present", lt_residency_pcrs_to_json(&present), "entries",
                     entries_json(s));
}

/* ---- the keeper ---- */

/* Under the lock: 0 when entries may be looked at. Who tends it, or the next change, wipes the keys of a host
 * that leaks; it answers nothing till then. */
static int look(struct lt_agent_seal *s, struct lt_err *e)
{
    const char *what = leak(s);

    if (what)
        return refuse_leak(what, e);
    if (s->state == LT_AGENT_SEAL_OPEN)
        return 0;
    return s->state == LT_AGENT_SEAL_NONE ? no_entry(e) : lt_fail(e, states[s->state].code, "%s", s->why.msg);
}

static int keeper_entry(void *ctx, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out, struct lt_err *e)
{
    struct lt_agent_seal *s = ctx;

    *out = (struct lt_seal_entry){0};
    pthread_mutex_lock(&s->lock);
    int rc = look(s, e);
    uint32_t at = rc ? 0 : lt_agent_seal_content_find(&s->content, uuid);
    if (!rc)
        rc = at == s->content.count ? no_entry(e) : lt_seal_entry_copy(&s->content.entries[at], out, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int keeper_of_ek(void *ctx, const uint8_t ek_digest[LT_SHA256], uint8_t uuid[LT_UUID],
                        struct lt_err *e)
{
    struct lt_agent_seal *s = ctx;
    uint32_t at = 0;

    pthread_mutex_lock(&s->lock);
    int rc = look(s, e);
    while (!rc && at < s->content.count && memcmp(s->content.entries[at].ek_digest, ek_digest, LT_SHA256))
        at++;
    if (!rc && at == s->content.count)
        rc = lt_fail(e, LT_E_NOT_FOUND, "no entry of the vault has that EK");
    if (!rc)
        memcpy(uuid, s->content.entries[at].uuid, LT_UUID);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static const char *keeper_leak(void *ctx)
{
    return leak(ctx);
}

const struct lt_seal_keeper *lt_agent_seal_keeper(struct lt_agent_seal *s)
{
    return &s->keeper;
}

/* ---- life ---- */

int lt_agent_seal_new(const struct lt_agent_seal_conf *c, struct lt_agent_seal **out, struct lt_err *e)
{
    struct lt_agent_seal *s = lt_new(struct lt_agent_seal);

    *out = NULL;
    s->conf = *c;
    s->state = LT_AGENT_SEAL_BUSY;
    s->why = (struct lt_err){.msg = "the vault was not opened yet"};
    s->chip = (struct lt_agent_seal_chip){c->tpm, c->ek, LT_AGENT_SEAL_PCR10_MS, NULL};
    s->ops = c->ops ? *c->ops
                    : (struct lt_agent_seal_ops){
                          .chip = &lt_agent_seal_chip_ops,
                          .file = &lt_agent_seal_files_ops,
                          .chip_ctx = &s->chip,
                          .file_ctx = &s->files,
                      };
    s->keeper = (struct lt_seal_keeper){keeper_entry, keeper_of_ek, keeper_leak, s};
    lt_agent_seal_files_init(&s->files, c->dir);
    pthread_mutex_init(&s->lock, NULL);
    lt_cond_init(&s->free);
    int rc = lt_public_ek_digest(&c->ek->pub, s->host_ek_digest, e);
    if (rc) {
        lt_agent_seal_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void lt_agent_seal_free(struct lt_agent_seal *s)
{
    if (!s)
        return;
    lt_agent_seal_content_free(&s->content);
    lt_agent_seal_past_free(&s->past);
    lt_agent_seal_files_free(&s->files);
    pthread_cond_destroy(&s->free);
    pthread_mutex_destroy(&s->lock);
    lt_agent_seal_chip_forget(&s->chip);
    free(s);
}
