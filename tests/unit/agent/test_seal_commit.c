/* The vault's order of operations, held against tests/model/order.txt, and power cut before and after every
 * one of them: afterwards the vault opens, the key is there, and no file that was ever written gives it in a
 * state that the list hides. */
#include "agent/seal.h"
#include "common/alloc.h"
#include "common/file.h"
#include "tests/support/seal_fake.h"
#include "tests/support/unit.h"
#include "tpm/ek_template.h"

#include <pthread.h>
#include <semaphore.h>

static const uint8_t one_uuid[LT_UUID] = {1}, two_uuid[LT_UUID] = {2};
static struct lt_agent_ek ek;

/* ---- a host ---- */

struct host {
    struct seal_fake f;
    struct lt_agent_seal_ops ops;
    struct lt_agent_seal *seal;
    const char *leak;
    int changed;
};

static struct lt_pcrs state_of(uint8_t kernel)
{
    struct lt_pcrs s = {.alg = LT_HASH_SHA256, .mask = LT_OPENERS_STATE_MIN};

    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (s.mask & 1u << i)
            memset(s.value[i], (int)i + 1, LT_SHA256);
    memset(s.value[4], kernel, LT_SHA256);
    return s;
}

#define GOOD state_of(4)
#define BAD state_of(66)

static const char *leak(void *ctx)
{
    return ((struct host *)ctx)->leak;
}

static void changed(void *ctx)
{
    ((struct host *)ctx)->changed++;
}

static void begin(struct host *h)
{
    const struct lt_agent_seal_conf conf = {
        .dir = "/nowhere", .ek = &ek, .leak = leak, .changed = changed, .ctx = h, .ops = &h->ops};

    h->ops = seal_fake_ops(&h->f);
    OK(lt_agent_seal_new(&conf, &h->seal, &err));
}

static void start(struct host *h, struct lt_pcrs state)
{
    *h = (struct host){.f = {.present = state, .kinds = 1u << LT_SEAL_KEY_HMAC | 1u << LT_SEAL_KEY_ECDH}};
    lt_random(h->f.secret, sizeof h->f.secret);
    begin(h);
}

static void stop(struct host *h)
{
    lt_agent_seal_free(h->seal);
    seal_fake_free(&h->f);
}

/* The process ends with the power; the next one finds what is left. */
static int restart(struct host *h, int outcome)
{
    lt_agent_seal_free(h->seal);
    seal_fake_restart(&h->f, outcome);
    begin(h);
    return lt_agent_seal_open(h->seal, &err);
}

static enum lt_agent_seal_state state(struct host *h)
{
    struct lt_agent_seal_status now;

    lt_agent_seal_status(h->seal, &now);
    return now.state;
}

static struct lt_seal_entry entry_new(const uint8_t uuid[LT_UUID])
{
    struct lt_seal_entry x = {.origin = LT_SEAL_MADE};

    memcpy(x.uuid, uuid, LT_UUID);
    memset(x.ek_digest, uuid[0], LT_SHA256);
    lt_seal_key_new(x.key);
    return x;
}

static int put(struct host *h, const uint8_t uuid[LT_UUID])
{
    struct lt_seal_entry x = entry_new(uuid);
    int rc = lt_agent_seal_put_entry(h->seal, &x, &err);

    lt_seal_entry_free(&x);
    return rc;
}

static int entry_of(struct host *h, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out)
{
    const struct lt_seal_keeper *k = lt_agent_seal_keeper(h->seal);
    return k->entry(k->ctx, uuid, out, &err);
}

/* A vault with one entry in the good state. */
static void sealed(struct host *h)
{
    start(h, GOOD);
    OK(lt_agent_seal_open(h->seal, &err));
    OK(lt_agent_seal_create(h->seal, LT_OPENERS_STATE_MIN, &err));
    OK(put(h, one_uuid));
}

static bool lists(struct host *h, const struct lt_pcrs *s, bool *closed)
{
    struct lt_seal_entry x;
    bool found = false;

    OK(entry_of(h, one_uuid, &x));
    for (unsigned i = 0; i < x.openers.count; i++)
        if (lt_openers_state_same(&x.openers.one[i].state, s)) {
            found = true;
            *closed = x.openers.one[i].closed;
        }
    lt_seal_entry_free(&x);
    return found;
}

/* ---- the order ---- */

/* The steps of that operation as the table has them. */
static void expected(const char *operation, char *out, size_t size)
{
    LT_AUTOFREE uint8_t *p = NULL;
    char name[32];
    size_t n;

    OK(lt_file_read(LT_SOURCE_DIR "/tests/model/order.txt", 65536, &p, &n, &err));
    snprintf(name, sizeof name, "\n%s: ", operation);
    const char *at = strstr((char *)p, name);
    assert_non_null(at);
    at += strlen(name);
    snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
}

/* A commit's table has one word for the answer of the key. */
static void one_word(char *words)
{
    static const char before[] = "load session ";
    char *at = strstr(words, before);

    assert_non_null(at);
    memmove(at, at + strlen(before), strlen(at + strlen(before)) + 1);
}

static void commit_order(void **unused)
{
    char want[512];
    struct host h;

    (void)unused;
    sealed(&h);
    h.f.words[0] = 0;
    OK(put(&h, two_uuid));
    expected("commit", want, sizeof want);
    one_word(h.f.words);
    assert_string_equal(h.f.words, want);
    stop(&h);
}

static void open_order(void **unused)
{
    char want[512], *rest;
    struct host h;

    (void)unused;
    sealed(&h);
    expected("open", want, sizeof want);
    /* Power is cut after the increment: vault.next is the file. */
    h.f.cut_at = h.f.done + 8; /* counter, make, present, answer, write, sync, sync, increment */
    h.f.cut_after = true;
    FAILS(LT_E_IO, put(&h, two_uuid));
    OK(restart(&h, 0));
    assert_string_equal(h.f.words, want);
    /* Opened again it is the vault. */
    OK(restart(&h, 2));
    rest = strstr(want, " rename fsync-dir");
    assert_non_null(rest);
    *rest = 0;
    assert_string_equal(h.f.words, want);
    assert_int_equal(lt_agent_seal_list(h.seal, NULL, 0), 2);
    stop(&h);
}

static unsigned closed_of(const struct lt_openers *o)
{
    unsigned n = 0;

    for (unsigned i = 0; i < o->count; i++)
        n += o->one[i].closed;
    return n;
}

static const char *step_between(const struct lt_agent_seal_content *was,
                                const struct lt_agent_seal_content *is)
{
    const struct lt_openers *before = &was->entries[0].openers, *after = &is->entries[0].openers;

    for (unsigned i = 0; i < is->states.count; i++)
        if (lt_seal_key_find(&was->states, &is->states.state[i]) == was->states.count)
            return "wrap";
    if (after->count > before->count)
        return "grow";
    return closed_of(after) > closed_of(before) ? "close" : "burn";
}

/* What a file that was written holds: the chip opens it, whatever the counter. */
static void read_ever(struct host *h, unsigned file, struct lt_agent_seal_content *out)
{
    struct seal_fake chip = h->f;
    const struct lt_agent_seal_ops ops = seal_fake_ops(&chip);
    uint8_t host_ek_digest[LT_SHA256];
    struct lt_seal_vault v;

    OK(lt_public_ek_digest(&ek.pub, host_ek_digest, &err));
    OK(lt_seal_vault_parse(h->f.ever[file].p, h->f.ever[file].n, &v, &err));
    chip.counter = v.generation;
    chip.vault = h->f.ever[file];
    chip.next = (struct seal_fake_bytes){0};
    OK(lt_agent_seal_commit_open(&ops, host_ek_digest, out, &err));
}

/* One state is added and one dropped, so that no step is left out. */
static void change_order(void **unused)
{
    const struct lt_pcrs bad = BAD, third = state_of(99);
    struct lt_agent_seal_content was, is;
    char want[512], got[512] = "";
    struct host h;

    (void)unused;
    sealed(&h);
    OK(lt_agent_seal_reseal(h.seal, &third, 1, NULL, 0, &err));
    const unsigned first = h.f.ever_n;
    OK(lt_agent_seal_reseal(h.seal, &bad, 1, (const unsigned[]){1}, 1, &err));
    read_ever(&h, first - 1, &was);
    for (unsigned i = first; i < h.f.ever_n; i++) {
        read_ever(&h, i, &is);
        strcat(got, i > first ? " " : "");
        strcat(got, step_between(&was, &is));
        lt_agent_seal_content_free(&was);
        was = is;
    }
    lt_agent_seal_content_free(&was);
    expected("change", want, sizeof want);
    assert_string_equal(got, want);
    stop(&h);
}

/* ---- power cuts ---- */

/* For every file that was ever written: in the bad state it gives the key if the counter lets it, and whoever
 * was there has the key. Then the list must say so. */
static void nothing_hidden(struct host *h)
{
    const struct lt_pcrs bad = BAD;
    bool closed = false, listed = lists(h, &bad, &closed);

    for (unsigned i = 0; i < h->f.ever_n; i++) {
        struct lt_seal_key_states s;
        struct lt_seal_vault v;
        OK(lt_seal_vault_parse(h->f.ever[i].p, h->f.ever[i].n, &v, &err));
        lt_seal_vault_states(&v.one[0], &s);
        if (lt_seal_key_find(&s, &bad) == s.count || v.generation < h->f.counter)
            continue;
        if (!listed || closed)
            fail_msg("file %u of generation %llu (counter %llu) answers in a state that the list %s", i,
                     (unsigned long long)v.generation, (unsigned long long)h->f.counter,
                     listed ? "calls closed" : "lacks");
    }
}

/* What an attacker does with the files: each put back, as either. The agent takes one of the counter's
 * generation alone; there may be two, one of which was pending when power was cut: then either hides nothing
 * of the other. */
static void old_files_are_dead(struct host *h)
{
    struct seal_fake_bytes vault = {0}, next = {0};

    seal_fake_put(&vault, &h->f.vault);
    seal_fake_put(&next, &h->f.next);
    for (unsigned i = 0; i < h->f.ever_n; i++)
        for (int as_next = 0; as_next < 2; as_next++) {
            struct lt_seal_vault v;
            OK(lt_seal_vault_parse(h->f.ever[i].p, h->f.ever[i].n, &v, &err));
            seal_fake_put(&h->f.vault, as_next ? &vault : &h->f.ever[i]);
            seal_fake_put(&h->f.next, as_next ? &h->f.ever[i] : &(struct seal_fake_bytes){0});
            int rc = restart(h, 0);
            if (rc && rc != LT_E_VAULT_STALE)
                fail_msg("file %u put back: %s", i, err.msg);
            if (!rc && v.generation != h->f.counter && !as_next)
                fail_msg("file %u of generation %llu opens at %llu", i, (unsigned long long)v.generation,
                         (unsigned long long)h->f.counter);
            if (!rc)
                nothing_hidden(h);
        }
    seal_fake_put(&h->f.vault, &vault);
    seal_fake_put(&h->f.next, &next);
    free(vault.p);
    free(next.p);
    OK(restart(h, 0));
}

static int wish_put(struct host *h)
{
    return put(h, two_uuid);
}

static int wish_add(struct host *h)
{
    const struct lt_pcrs bad = BAD;
    return lt_agent_seal_reseal(h->seal, &bad, 1, NULL, 0, &err);
}

static int wish_drop(struct host *h)
{
    return lt_agent_seal_reseal(h->seal, NULL, 0, (const unsigned[]){1}, 1, &err);
}

static int wish_pin(struct host *h)
{
    return lt_agent_seal_pin(h->seal, one_uuid, h->f.secret, h->f.secret, &err);
}

static int wish_remove(struct host *h)
{
    return lt_agent_seal_remove_entry(h->seal, two_uuid, &err);
}

static void twice(struct host *h)
{
    OK(wish_put(h));
}

static void bad_too(struct host *h)
{
    OK(wish_add(h));
}

/* A commit of another kind takes the generation that a pending file has. */
static int wish_other(struct host *h)
{
    uint8_t pin[LT_SHA256];

    lt_random(pin, sizeof pin);
    return lt_agent_seal_pin(h->seal, one_uuid, NULL, pin, &err);
}

struct wish {
    const char *name;
    void (*before)(struct host *h);
    int (*run)(struct host *h);
};
static const struct wish wishes[] = {
    {"put", NULL, wish_put},      {"pin", NULL, wish_pin},        {"add", NULL, wish_add},
    {"drop", bad_too, wish_drop}, {"remove", twice, wish_remove}, {"add again", NULL, wish_add},
};

/* Power is cut at operation `at`; false: there are not so many. */
static bool cut_at(const struct wish *w, unsigned at, bool after, int outcome)
{
    struct host h;
    char key[LT_SEAL_KEY];
    struct lt_seal_entry x;

    sealed(&h);
    if (w->before)
        w->before(&h);
    OK(entry_of(&h, one_uuid, &x));
    memcpy(key, x.key, sizeof key);
    lt_seal_entry_free(&x);
    h.f.cut_at = h.f.done + at;
    h.f.cut_after = after;
    int rc = w->run(&h);
    bool was_cut = h.f.is_cut;
    assert_int_equal(rc != 0, was_cut);
    rc = restart(&h, outcome);
    if (rc)
        fail_msg("%s cut %s operation %u, outcome %d: %s", w->name, after ? "after" : "before", at, outcome,
                 err.msg);
    OK(entry_of(&h, one_uuid, &x));
    assert_memory_equal(x.key, key, sizeof key);
    lt_seal_entry_free(&x);
    nothing_hidden(&h);
    old_files_are_dead(&h);
    OK(wish_other(&h));
    old_files_are_dead(&h);
    if (was_cut && w->run != wish_pin && !(w->run == wish_put && lt_agent_seal_list(h.seal, NULL, 0) == 2)) {
        (void)!w->run(&h); /* the wish again: what it leaves is as good */
        nothing_hidden(&h);
    }
    /* A stranger's increment kills what is committed, and makes what is pending no better. */
    h.f.counter++;
    rc = restart(&h, 0);
    if (rc && rc != LT_E_VAULT_STALE)
        fail_msg("after a stranger's increment: %s", err.msg);
    if (!rc)
        nothing_hidden(&h);
    stop(&h);
    return was_cut;
}

static void power_cuts(void **unused)
{
    unsigned cuts = 0;

    (void)unused;
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
        for (int outcome = 0; outcome < 3; outcome++)
            for (int after = 0; after < 2; after++)
                for (unsigned at = 1; cut_at(&wishes[i], at, after, outcome); at++)
                    cuts++;
    assert_true(cuts > 500);
}

static bool unfinished(struct host *h)
{
    struct lt_agent_seal_status now;

    lt_agent_seal_status(h->seal, &now);
    LT_JSON_AUTO json_t *told = lt_agent_seal_json(h->seal);
    assert_int_equal(json_is_true(json_object_get(told, "unfinished")), now.unfinished);
    return now.unfinished;
}

/* The first state is the key's alone, and the second is shown as open. */
static bool second_is_left(struct host *h)
{
    struct lt_agent_seal_status now;
    struct lt_seal_entry x;

    lt_agent_seal_status(h->seal, &now);
    OK(entry_of(h, one_uuid, &x));
    bool left = now.states.count == 1 && x.openers.count == 2 && !x.openers.one[1].closed;
    lt_seal_entry_free(&x);
    return left;
}

/* Nobody ends by itself what was cut off, but everybody is told. */
static void a_change_that_was_cut_off_is_told(void **unused)
{
    bool was_cut = true;
    unsigned left = 0;

    (void)unused;
    for (unsigned at = 1; was_cut; at++)
        for (int add = 0; add < 2; add++) {
            struct host h;
            sealed(&h);
            if (!add)
                bad_too(&h);
            assert_false(unfinished(&h));
            h.f.cut_at = h.f.done + at;
            h.f.cut_after = true;
            (void)!(add ? wish_add(&h) : wish_drop(&h));
            was_cut = h.f.is_cut;
            OK(restart(&h, 0));
            assert_int_equal(unfinished(&h), second_is_left(&h));
            left += unfinished(&h);
            if (unfinished(&h))
                OK(lt_agent_seal_reseal(h.seal, NULL, 0, NULL, 0, &err));
            assert_false(unfinished(&h));
            stop(&h);
        }
    assert_true(left > 10);
}

/* The first vault: there is none, or it is open. */
static void power_cuts_of_the_first(void **unused)
{
    bool was_cut = true;

    (void)unused;
    for (unsigned at = 1; was_cut; at++)
        for (int variant = 0; variant < 6; variant++) {
            struct host h;
            start(&h, GOOD);
            h.f.cut_at = at;
            h.f.cut_after = variant & 1;
            (void)!lt_agent_seal_create(h.seal, LT_OPENERS_STATE_MIN, &err);
            was_cut = h.f.is_cut;
            OK(restart(&h, variant / 2));
            if (state(&h) == LT_AGENT_SEAL_NONE)
                OK(lt_agent_seal_create(h.seal, LT_OPENERS_STATE_MIN, &err));
            assert_int_equal(state(&h), LT_AGENT_SEAL_OPEN);
            OK(put(&h, one_uuid));
            stop(&h);
        }
}

/* Opening is cut as it settles a file that was pending. */
static void power_cuts_of_opening(void **unused)
{
    (void)unused;
    for (unsigned at = 1; at < 12; at++)
        for (int variant = 0; variant < 6; variant++) {
            struct host h;
            sealed(&h);
            h.f.cut_at = h.f.done + 8;
            h.f.cut_after = true;
            FAILS(LT_E_IO, put(&h, two_uuid));
            lt_agent_seal_free(h.seal);
            seal_fake_restart(&h.f, variant / 2);
            begin(&h);
            h.f.cut_at = h.f.done + at;
            h.f.cut_after = variant & 1;
            (void)!lt_agent_seal_open(h.seal, &err);
            OK(restart(&h, variant / 2));
            assert_int_equal(lt_agent_seal_list(h.seal, NULL, 0), 2);
            stop(&h);
        }
}

/* ---- rules of opening ---- */

static void states_and_codes(void **unused)
{
    struct host h;

    (void)unused;
    sealed(&h);
    h.f.present = BAD;
    FAILS(LT_E_VAULT_LOCKED, restart(&h, 0));
    assert_int_equal(state(&h), LT_AGENT_SEAL_LOCKED);
    FAILS(LT_E_VAULT_LOCKED, put(&h, two_uuid));
    h.f.present = GOOD;
    OK(put(&h, two_uuid)); /* opened by who needs it */
    h.f.others = true;
    FAILS(LT_E_COUNTER_LOST, restart(&h, 0));
    h.f.others = h.f.defined = false;
    FAILS(LT_E_COUNTER_LOST, restart(&h, 0));
    h.f.defined = true;
    h.f.kinds = 1u << LT_SEAL_KEY_ECDH;
    FAILS(LT_E_TPM_NO_HMAC, restart(&h, 0));
    h.f.kinds = 6;
    h.f.counter++;
    FAILS(LT_E_VAULT_STALE, restart(&h, 0));
    assert_string_equal(lt_agent_seal_slug(state(&h)), "vault-stale");
    h.f.counter--;
    h.f.vault.p[20] ^= 1;
    FAILS(LT_E_VAULT_FORGED, restart(&h, 0));
    h.f.vault.p[20] ^= 1;
    OK(restart(&h, 0));
    h.leak = "swap";
    FAILS(LT_E_HOST_LEAKS, put(&h, (const uint8_t[LT_UUID]){3}));
    assert_int_equal(state(&h), LT_AGENT_SEAL_LEAKS);
    stop(&h);
}

/* A file system that is not mounted looks like a host without a vault; a new one would end the old one. */
static void a_counter_without_a_file(void **unused)
{
    struct lt_agent_seal_status now;
    struct seal_fake_bytes kept;
    struct host h;

    (void)unused;
    sealed(&h);
    kept = h.f.vault;
    h.f.vault = (struct seal_fake_bytes){0};
    OK(restart(&h, 0));
    lt_agent_seal_status(h.seal, &now);
    assert_int_equal(now.state, LT_AGENT_SEAL_NONE);
    assert_non_null(strstr(now.message, "put its file back"));
    h.f.vault = kept;
    OK(restart(&h, 0));
    assert_int_equal(state(&h), LT_AGENT_SEAL_OPEN);
    stop(&h);
}

/* Keys of a host that leaks are gone, and back when that is over; what waiting does not mend is not tried. */
static void tended(void **unused)
{
    struct host h;

    (void)unused;
    sealed(&h);
    h.f.words[0] = 0;
    lt_agent_seal_tend(h.seal);
    assert_string_equal(h.f.words, "");
    h.leak = "crash-kernel";
    lt_agent_seal_tend(h.seal);
    assert_int_equal(state(&h), LT_AGENT_SEAL_LEAKS);
    assert_int_equal(lt_agent_seal_list(h.seal, NULL, 0), 0);
    lt_agent_seal_tend(h.seal);
    assert_string_equal(h.f.words, "");
    h.leak = NULL;
    lt_agent_seal_tend(h.seal);
    assert_int_equal(state(&h), LT_AGENT_SEAL_OPEN);
    assert_int_equal(lt_agent_seal_list(h.seal, NULL, 0), 1);
    /* Trouble: the chip does not answer, then it does. */
    h.f.cut_at = h.f.done + 1;
    FAILS(LT_E_VAULT_BUSY, lt_agent_seal_open(h.seal, &err));
    lt_agent_seal_tend(h.seal);
    assert_int_equal(state(&h), LT_AGENT_SEAL_BUSY);
    seal_fake_restart(&h.f, 0);
    lt_agent_seal_tend(h.seal);
    assert_int_equal(state(&h), LT_AGENT_SEAL_OPEN);
    h.f.present = BAD;
    FAILS(LT_E_VAULT_LOCKED, lt_agent_seal_open(h.seal, &err));
    h.f.words[0] = 0;
    lt_agent_seal_tend(h.seal);
    assert_string_equal(h.f.words, "");
    stop(&h);
}

/* The chip opens what root wrote in a listed state; the entry's own list convicts it. */
static void a_state_that_no_list_names(void **unused)
{
    struct lt_agent_seal_content c;
    uint8_t host_ek_digest[LT_SHA256];
    struct lt_seal_entry x;
    struct host h;

    (void)unused;
    for (int closed = 0; closed < 2; closed++) {
        sealed(&h);
        if (closed) {
            OK(wish_add(&h));
            OK(wish_drop(&h));
        }
        OK(lt_public_ek_digest(&ek.pub, host_ek_digest, &err));
        OK(lt_agent_seal_commit_open(&h.ops, host_ek_digest, &c, &err));
        c.states.state[c.states.count++] = BAD;
        OK(lt_agent_seal_commit(&h.ops, host_ek_digest, &c, &err));
        lt_agent_seal_content_free(&c);
        FAILS(LT_E_VAULT_FORGED, restart(&h, 0));
        FAILS(LT_E_VAULT_FORGED, entry_of(&h, one_uuid, &x));
        stop(&h);
    }
}

static void only_the_key_of_its_states(void **unused)
{
    struct host h;
    struct lt_seal_vault v;

    (void)unused;
    sealed(&h);
    OK(lt_seal_vault_parse(h.f.vault.p, h.f.vault.n, &v, &err));
    uint8_t *public = h.f.vault.p + (v.one[0].public.p - h.f.vault.p);
    const size_t words = strlen(h.f.words);
    for (size_t i = 2; i < 50; i++) { /* up to the unique field */
        public[i] ^= 1;
        FAILS(LT_E_VAULT_FORGED, restart(&h, 0));
        assert_null(strstr(h.f.words, "km")); /* seen before the chip is asked */
        public[i] ^= 1;
    }
    assert_true(words > 0);
    OK(restart(&h, 0));
    stop(&h);
}

static void kinds_of_keys(void **unused)
{
    struct lt_agent_seal_status now;
    struct host h;

    (void)unused;
    for (int how = 0; how < 2; how++) {
        start(&h, GOOD);
        h.f.kinds = how ? 6 : 1u << LT_SEAL_KEY_ECDH;
        h.f.refused = how ? 1u << LT_SEAL_KEY_HMAC : 0;
        OK(lt_agent_seal_create(h.seal, LT_OPENERS_STATE_MIN, &err));
        lt_agent_seal_status(h.seal, &now);
        assert_int_equal(now.key, LT_SEAL_KEY_ECDH);
        OK(restart(&h, 2));
        h.f.refused = 1u << LT_SEAL_KEY_ECDH;
        FAILS(LT_E_TPM_NO_HMAC, restart(&h, 2));
        stop(&h);
    }
    start(&h, GOOD);
    h.f.kinds = 0;
    FAILS(LT_E_TPM_NO_HMAC, lt_agent_seal_create(h.seal, LT_OPENERS_STATE_MIN, &err));
    assert_null(h.f.next.p);
    stop(&h);
}

/* ---- changes ---- */

static void the_present_state_stays(void **unused)
{
    const struct lt_pcrs bad = BAD;
    struct host h;

    (void)unused;
    sealed(&h);
    const uint64_t at = h.f.counter;
    FAILS(LT_E_USAGE, lt_agent_seal_reseal(h.seal, &bad, 1, (const unsigned[]){0}, 1, &err));
    assert_int_equal(h.f.counter, at);
    OK(wish_add(&h));
    FAILS(LT_E_USAGE, lt_agent_seal_reseal(h.seal, NULL, 0, (const unsigned[]){0}, 1, &err));
    stop(&h);
}

/* A list that has no room for the change: nothing is committed, not even the burn. */
static void no_room(void **unused)
{
    struct lt_seal_entry x = entry_new(two_uuid);
    const struct lt_pcrs bad = BAD;
    struct host h;

    (void)unused;
    sealed(&h);
    for (unsigned i = 0; i < LT_MAX_OPENERS - 1; i++) {
        struct lt_openers_one one = {.kind = LT_OPENERS_ESCROW};
        lt_put_u32(one.digest, i);
        OK(lt_openers_add(&x.openers, &one, &err));
    }
    OK(lt_agent_seal_put_entry(h.seal, &x, &err));
    const uint64_t at = h.f.counter;
    FAILS(LT_E_TOO_LARGE, lt_agent_seal_reseal(h.seal, &bad, 1, NULL, 0, &err));
    assert_int_equal(h.f.counter, at);
    lt_seal_entry_free(&x);
    stop(&h);
}

static void completed_before(void **unused)
{
    struct lt_seal_entry x = entry_new(two_uuid), got;
    struct host h;

    (void)unused;
    sealed(&h);
    OK(lt_agent_seal_complete_entry(h.seal, &x, &err));
    assert_int_equal(x.openers.count, 1);
    OK(lt_agent_seal_put_entry(h.seal, &x, &err));
    OK(entry_of(&h, two_uuid, &got));
    assert_int_equal(got.openers.count, 1);
    lt_seal_entry_free(&got);
    lt_seal_entry_free(&x);
    stop(&h);
}

static void told_of_changes(void **unused)
{
    struct host h;

    (void)unused;
    sealed(&h);
    const int at = h.changed;
    OK(put(&h, two_uuid));
    assert_int_equal(h.changed, at + 1);
    /* A first vault where there is one: refused, and the open one is not closed for it. */
    FAILS(LT_E_CONFLICT, lt_agent_seal_create(h.seal, LT_OPENERS_STATE_MIN, &err));
    assert_int_equal(h.changed, at + 1);
    OK(wish_add(&h));
    assert_int_equal(h.changed, at + 4);
    stop(&h);
}

/* A list of before is told as long as the process lives. */
static void lists_of_before(void **unused)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);
    uint8_t was[LT_SHA256], is[LT_SHA256], digest[LT_SHA256];
    struct lt_seal_entry x;
    struct host h;

    (void)unused;
    sealed(&h);
    OK(entry_of(&h, one_uuid, &x));
    OK(lt_openers_digest(&x.openers, was, &err));
    lt_seal_entry_free(&x);
    OK(wish_add(&h));
    OK(entry_of(&h, one_uuid, &x));
    OK(lt_openers_digest(&x.openers, is, &err));
    lt_seal_entry_free(&x);
    OK(lt_agent_seal_openers(h.seal, is, &b, &err));
    b.n = 0;
    OK(lt_agent_seal_openers(h.seal, was, &b, &err));
    lt_sha256(b.p, b.n, digest);
    assert_memory_equal(digest, was, sizeof was);
    OK(restart(&h, 0));
    FAILS(LT_E_NOT_FOUND, lt_agent_seal_openers(h.seal, was, &b, &err));
    stop(&h);
}

/* ---- who waits for whom ---- */

static struct {
    sem_t inside, go;
    bool armed;
} gate;

static int slow_make(void *ctx, enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256],
                     struct lt_buf *public, struct lt_buf *private, struct lt_err *e)
{
    if (gate.armed) {
        gate.armed = false;
        sem_post(&gate.inside);
        sem_wait(&gate.go);
    }
    return seal_fake_chip_ops.make(ctx, kind, policy, public, private, e);
}

static void *put_slowly(void *arg)
{
    return (void *)(intptr_t)put(arg, two_uuid);
}

static void *pin_meanwhile(void *arg)
{
    return (void *)(intptr_t)wish_pin(arg);
}

/* Entries are told while the chip works; another change comes behind. */
static void looks_do_not_wait(void **unused)
{
    struct lt_agent_seal_chip_ops chip = seal_fake_chip_ops;
    pthread_t slow, other;
    struct lt_seal_entry x;
    struct host h;
    void *rc;

    (void)unused;
    sealed(&h);
    lt_agent_seal_free(h.seal);
    chip.make = slow_make;
    h.ops.chip = &chip;
    const struct lt_agent_seal_conf conf = {.dir = "/nowhere", .ek = &ek, .ops = &h.ops};
    OK(lt_agent_seal_new(&conf, &h.seal, &err));
    OK(lt_agent_seal_open(h.seal, &err));
    sem_init(&gate.inside, 0, 0);
    sem_init(&gate.go, 0, 0);
    gate.armed = true;
    assert_int_equal(pthread_create(&slow, NULL, put_slowly, &h), 0);
    sem_wait(&gate.inside);
    assert_int_equal(pthread_create(&other, NULL, pin_meanwhile, &h), 0);
    OK(entry_of(&h, one_uuid, &x));
    lt_seal_entry_free(&x);
    FAILS(LT_E_NOT_FOUND, entry_of(&h, two_uuid, &x)); /* not before it is committed */
    assert_int_equal(lt_agent_seal_list(h.seal, NULL, 0), 1);
    sem_post(&gate.go);
    pthread_join(slow, &rc);
    assert_null(rc);
    pthread_join(other, &rc);
    assert_null(rc);
    assert_int_equal(lt_agent_seal_list(h.seal, NULL, 0), 2);
    stop(&h);
}

static int make_ek(void **unused)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC);

    (void)unused;
    lt_ek_template_put(&b, LT_TPM_ALG_RSA);
    memset(b.p + b.n - 256, 0xa5, 256); /* a modulus of its size */
    OK(lt_public_parse(b.p, b.n, &ek.pub, &err));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit_order),
        cmocka_unit_test(open_order),
        cmocka_unit_test(change_order),
        cmocka_unit_test(power_cuts),
        cmocka_unit_test(a_change_that_was_cut_off_is_told),
        cmocka_unit_test(power_cuts_of_the_first),
        cmocka_unit_test(power_cuts_of_opening),
        cmocka_unit_test(states_and_codes),
        cmocka_unit_test(a_counter_without_a_file),
        cmocka_unit_test(tended),
        cmocka_unit_test(a_state_that_no_list_names),
        cmocka_unit_test(only_the_key_of_its_states),
        cmocka_unit_test(kinds_of_keys),
        cmocka_unit_test(the_present_state_stays),
        cmocka_unit_test(no_room),
        cmocka_unit_test(completed_before),
        cmocka_unit_test(told_of_changes),
        cmocka_unit_test(lists_of_before),
        cmocka_unit_test(looks_do_not_wait),
    };
    return cmocka_run_group_tests(tests, make_ek, NULL);
}
