/* Random lists of openers under random policies, beside a second judge: slow, plain, and written from
 * docs/sealing.md section 5 alone. It works on a model (hosts, values and documents by small numbers) and
 * shares no code with the first. LT_SEED and LT_CASES choose others. */
#include "appraisal/checks/checks.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/appraisal/forge.h"

enum { HOSTS = 3, POLICIES = 3, OPENERS = 6, VALUES = 3, KEYS = 2 };
enum { NO_BOOT, BOOT_GOOD, BOOT_ONLY_0, BOOT_8, BOOT_WRONG, BOOT_ABSENT, BOOTS }; /* boot policies */

#define LEAST 0x5395u
#define LOGGED 0x4081u /* PCR 0, 7 and 14: what the log measures, value VALUES - 1 of each */

struct m_host {
    bool had, retired;
    int registry, certificate; /* enum lt_checks_fact */
    int retired_at;            /* 0: not known when */
};

struct m_policy {
    uint32_t mask;
    uint8_t accepted[16]; /* bit k: value k */
    int boot;
    bool in_force, retired, seals, at_hand;
    int retired_at;
};

struct m_opener {
    int kind, host, key;
    bool closed;
    uint32_t mask;
    int value[16];
};

struct model {
    struct m_host host[HOSTS];
    struct m_policy policy[POLICIES];
    bool escrow[KEYS], authority[KEYS];
    int count;
    struct m_opener one[OPENERS];
    bool born, sealed, named, list_at_hand, log_at_hand, has_policy;
    int last; /* openers of the list seen last; -1: none */
    bool turned;
    int closed_at[OPENERS];
    int exposed; /* host; -1: none */
};

/* ---- the second judge ---- */

static bool is_in(uint32_t set, int pcr)
{
    return set >> pcr & 1;
}

static uint32_t judged_by_boot(int boot)
{
    switch (boot) {
    case BOOT_GOOD:
        return LOGGED;
    case BOOT_ONLY_0:
    case BOOT_WRONG:
        return 1u << 0;
    case BOOT_8:
        return 1u << 8;
    default:
        return 0;
    }
}

static bool holds(const struct model *m, const struct m_policy *p, const struct m_opener *o)
{
    bool needs_log = false;

    if (p->boot == BOOT_ABSENT)
        return false;
    for (int i = 0; i < 16; i++) {
        bool by_list = is_in(p->mask, i), by_boot = is_in(judged_by_boot(p->boot), i);
        if (i == 10 || i == 13)
            continue;
        if ((by_list || by_boot) && !is_in(o->mask, i))
            return false;
        if (by_list && !(p->accepted[i] >> o->value[i] & 1))
            return false;
        if (is_in(LEAST, i) && !by_list && !by_boot)
            return false;
        if (by_boot && !by_list) {
            if (i != 0 && i != 7 && i != 14)
                return false;
            needs_log = true;
        }
    }
    if (!needs_log)
        return true;
    for (int i = 0; i < 16; i++) /* the one log comes to all that is judged */
        if (is_in(judged_by_boot(p->boot), i) && o->value[i] != VALUES - 1)
            return false;
    return m->log_at_hand && p->boot != BOOT_WRONG;
}

static bool seen_closed_before(const struct model *m, int i, int retired_at)
{
    return m->one[i].closed && m->last > i && m->closed_at[i] > 0 && retired_at > 0 &&
           m->closed_at[i] < retired_at;
}

/* 0: not acceptable, 1: bound, 2: resident. */
static int worth(const struct model *m, int i)
{
    const struct m_opener *o = &m->one[i];
    int best = 0;

    if (o->kind == LT_OPENERS_ESCROW)
        return m->escrow[o->key] ? 2 : 0;
    if (o->kind == LT_OPENERS_AUTHORITY)
        return m->authority[o->key] ? 2 : 0;
    if (o->kind == LT_OPENERS_HANDOVER)
        return 0;
    const struct m_host *h = &m->host[o->host];
    if (!h->had || h->certificate != LT_CHECKS_FACT_YES)
        return 0;
    if (h->retired ? !seen_closed_before(m, i, h->retired_at) : h->registry != LT_CHECKS_FACT_YES)
        return 0;
    for (int k = 0; k < POLICIES; k++) {
        const struct m_policy *p = &m->policy[k];
        bool counts = p->in_force || (p->retired && seen_closed_before(m, i, p->retired_at));
        if (p->at_hand && counts && holds(m, p, o))
            best = best > 1 + p->seals ? best : 1 + p->seals;
    }
    return best;
}

#define SHRUNK (-1)
static int second_judge(const struct model *m)
{
    int least = 2;
    bool own = false, exposed = false;

    if (!m->born || !m->named || !m->list_at_hand)
        return LT_VERDICT_LINK_COPYABLE;
    if (m->last >= 0 && (m->turned || m->last > m->count))
        return SHRUNK;
    for (int i = 0; i < m->count; i++) {
        int w = m->has_policy ? worth(m, i) : 0;
        least = w < least ? w : least;
        exposed = exposed || (m->one[i].kind == LT_OPENERS_STATE && m->one[i].host == m->exposed);
        own = own || (m->one[i].kind == LT_OPENERS_STATE && m->one[i].host == 0 && !m->one[i].closed);
    }
    if (!m->sealed || !own || !m->has_policy || exposed || !least)
        return LT_VERDICT_LINK_COPYABLE;
    return least == 2 ? LT_VERDICT_LINK_RESIDENT : LT_VERDICT_LINK_BOUND;
}

/* ---- chance ---- */

static uint64_t seed;

static unsigned chance(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static bool mostly(void)
{
    return chance(12) > 0;
}

static uint32_t random_mask(void)
{
    static const uint32_t masks[] = {LEAST,    LEAST, LEAST, LEAST, LEAST | 1u << 11, LEAST & ~(1u << 12),
                                     LEAST | 2};
    return masks[chance(sizeof masks / sizeof *masks)];
}

static void random_policy(struct m_policy *p)
{
    p->mask = random_mask();
    if (mostly() && p->mask != LEAST)
        p->mask = LEAST;
    p->boot = (int)chance(2 * BOOTS);
    p->boot = p->boot < BOOTS ? p->boot : NO_BOOT;
    if (p->boot == BOOT_GOOD)
        p->mask &= ~LOGGED | (chance(4) ? 0 : 1u << 7);
    else if (p->boot == BOOT_ONLY_0 || p->boot == BOOT_WRONG)
        p->mask &= ~(chance(4) ? 1u << 0 : 0);
    else if (p->boot == BOOT_8)
        p->mask &= ~(chance(2) ? 1u << 8 : 0);
    if (!chance(6))
        p->mask |= 1u << 10 | 1u << 13;
    for (int i = 0; i < 16; i++)
        p->accepted[i] = (uint8_t)(mostly() ? (1u << VALUES) - 1 : 1u << chance(VALUES));
    p->in_force = chance(3);
    p->retired = !p->in_force && chance(3);
    p->seals = chance(3);
    p->at_hand = mostly();
    p->retired_at = (int)chance(5);
}

static void random_one(struct m_opener *o, bool first)
{
    unsigned kind = chance(14);

    *o = (struct m_opener){.kind = kind == 0                ? LT_OPENERS_ESCROW
                                   : kind == 1 && first     ? LT_OPENERS_AUTHORITY
                                   : kind == 2 && !mostly() ? LT_OPENERS_HANDOVER
                                                            : LT_OPENERS_STATE,
                           .key = (int)chance(KEYS),
                           .host = chance(3) ? 0 : (int)chance(HOSTS),
                           .closed = chance(2),
                           .mask = mostly() ? LEAST : random_mask()};
    for (int i = 0; i < 16; i++)
        o->value[i] = is_in(LOGGED, i) && chance(5) ? VALUES - 1 : (int)chance(VALUES);
}

static void random_model(struct model *m)
{
    memset(m, 0, sizeof *m);
    for (int i = 0; i < HOSTS; i++)
        m->host[i] = (struct m_host){.had = !i || mostly(),
                                     .retired = i && chance(2),
                                     .registry = mostly() ? LT_CHECKS_FACT_YES : (int)chance(3),
                                     .certificate = mostly() ? LT_CHECKS_FACT_YES : (int)chance(3),
                                     .retired_at = (int)chance(5)};
    for (int k = 0; k < POLICIES; k++)
        random_policy(&m->policy[k]);
    for (int k = 0; k < KEYS; k++) {
        m->escrow[k] = chance(4);
        m->authority[k] = chance(4);
    }
    m->count = (int)chance(OPENERS + 1);
    for (int i = 0; i < m->count; i++)
        random_one(&m->one[i], !i);
    m->born = mostly();
    m->sealed = mostly();
    m->named = mostly();
    m->list_at_hand = mostly();
    m->log_at_hand = mostly();
    m->has_policy = mostly();
    m->last = chance(3) ? m->count : (int)chance(OPENERS + 2) - 1;
    m->turned = m->last > 0 && !mostly();
    for (int i = 0; i < OPENERS; i++)
        m->closed_at[i] = (int)chance(4);
    m->exposed = mostly() ? -1 : (int)chance(HOSTS);
}

/* ---- the model as the first judge sees it ---- */

struct scene {
    struct forge f;
    struct lt_boot_log *log;
    struct lt_pcrs logged;
    struct lt_boot_policy *boot[BOOTS];
    uint8_t boot_digest[BOOTS][32];
};

/* '@' becomes the digest of word. */
static void boot_policy(struct scene *s, int which, const char *form, const char *word)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(512);
    char hex[65];
    uint8_t digest[32];

    lt_sha256(word, strlen(word), digest);
    lt_hex(digest, 32, hex);
    for (; *form; form++)
        lt_buf_printf(&b, "%.*s", *form == '@' ? 64 : 1, *form == '@' ? hex : form);
    OK(lt_boot_policy_parse(b.p, b.n, &s->boot[which], &err));
    memset(s->boot_digest[which], 0x70 + which, 32);
}

static void setup(struct scene *s)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(4096);

    memset(s, 0, sizeof *s);
    forge_init(&s->f);
    forge_build(&s->f);
    boot_forge_begin(&b);
    for (unsigned i = 0; i < 16; i++)
        if (is_in(LOGGED, (int)i))
            boot_forge_label(&b, i, "good", "good");
    boot_forge_pcrs(&b, &s->logged);
    s->log = lt_boot_log_new((struct lt_slice){b.p, b.n});
    boot_policy(s, BOOT_GOOD, "{\"events\":{\"0\":[\"@\"],\"7\":[\"@\"],\"14\":[\"@\"]}}", "good");
    boot_policy(s, BOOT_ONLY_0, "{\"events\":{\"0\":[\"@\"]}}", "good");
    boot_policy(s, BOOT_8, "{\"events\":{\"8\":[]}}", "");
    boot_policy(s, BOOT_WRONG, "{\"events\":{\"0\":[\"@\"]}}", "other");
    memset(s->boot_digest[BOOT_ABSENT], 0x70 + BOOT_ABSENT, 32);
}

static void teardown(struct scene *s)
{
    for (int i = 0; i < BOOTS; i++)
        lt_boot_policy_free(s->boot[i]);
    lt_boot_log_free(s->log);
    forge_free(&s->f);
}

static void value_of(const struct scene *s, unsigned pcr, int value, uint8_t out[32])
{
    if (is_in(LOGGED, (int)pcr) && value == VALUES - 1)
        memcpy(out, s->logged.value[pcr], 32);
    else
        memset(out, 1 + value + (int)pcr, 32);
}

static void ek_of(const struct scene *s, int host, uint8_t out[32])
{
    if (host)
        memset(out, 0xe0 + host, 32);
    else
        memcpy(out, s->f.host_id->ek_digest, 32);
}

/* False: no list of these, one is there twice. */
static bool list_of(const struct scene *s, const struct model *m, struct lt_openers *out)
{
    for (int i = 0; i < m->count; i++) {
        struct lt_openers_one one = {.kind = (enum lt_openers_kind)m->one[i].kind,
                                     .closed = m->one[i].closed};
        if (one.kind == LT_OPENERS_STATE) {
            one.state = (struct lt_pcrs){.alg = LT_HASH_SHA256, .mask = m->one[i].mask};
            for (unsigned k = 0; k < 16; k++)
                if (is_in(one.state.mask, (int)k))
                    value_of(s, k, m->one[i].value[k], one.state.value[k]);
            ek_of(s, m->one[i].host, one.digest);
        } else {
            memset(one.digest, 0x90 + m->one[i].key, 32);
        }
        if (lt_openers_add(out, &one, &err))
            return false;
    }
    return true;
}

/* The openers seen last: a prefix, with fewer of them closed; or longer, or turned. */
static void last_of(const struct model *m, const struct lt_openers *list, struct lt_openers *out)
{
    OK(lt_openers_copy(list, out, &err));
    for (int i = m->count; i < m->last; i++) {
        struct lt_openers_one one = {.kind = LT_OPENERS_ESCROW};
        memset(one.digest, 0xb0 + i, 32);
        OK(lt_openers_add(out, &one, &err));
    }
    out->count = (unsigned)m->last;
    for (unsigned i = 0; i < out->count; i++)
        out->one[i].closed = out->one[i].closed && chance(2);
    if (m->turned)
        out->one[out->count - 1].digest[5] ^= 1;
}

struct view {
    struct lt_openers list, last;
    struct lt_checks_identity_host id[HOSTS];
    const struct lt_checks_identity_host *host[HOSTS];
    struct lt_policy_host policy[POLICIES];
    uint8_t values[POLICIES][16][VALUES][32];
    struct lt_measured_documents documents[POLICIES];
    struct lt_checks_openers_policy held[POLICIES];
    uint8_t in_force[POLICIES][32], retired[POLICIES][32], seals[POLICIES][32], hosts[HOSTS][32];
    uint8_t escrow[KEYS][32], authority[KEYS][32];
    struct lt_policy_guest guest;
    struct lt_checks_openers_retired when[POLICIES + HOSTS];
    int64_t closed_at[OPENERS + 2];
    struct lt_checks_openers_exposed exposed;
    struct lt_checks_openers in;
};

static void into(struct lt_policy_digests *l, uint8_t (*room)[32], int fill)
{
    l->d = room;
    memset(room[l->count++], fill, 32);
}

static void view_policy(const struct scene *s, const struct m_policy *m, int k, struct view *v)
{
    struct lt_policy_host *p = &v->policy[k];

    memset(p->digest, 0x40 + k, 32);
    p->pcrs.mask = m->mask;
    for (unsigned i = 0; i < 16; i++) {
        struct lt_policy_digests *l = &p->pcrs.accepted[i];
        l->d = v->values[k][i];
        for (int x = 0; x < VALUES; x++)
            if (is_in(m->mask, (int)i) && m->accepted[i] >> x & 1)
                value_of(s, i, x, l->d[l->count++]);
    }
    p->measured.has_boot = m->boot != NO_BOOT;
    memcpy(p->measured.boot, s->boot_digest[m->boot], 32);
    v->documents[k].boot = s->boot[m->boot];
    memcpy(v->documents[k].boot_digest, s->boot_digest[m->boot], 32);
    if (m->in_force)
        into(&v->guest.host_policies, v->in_force, 0x40 + k);
    if (m->retired)
        into(&v->guest.retired_host_policies, v->retired, 0x40 + k);
    if (m->seals)
        into(&v->guest.seals, v->seals, 0x40 + k);
    if (m->at_hand)
        v->held[v->in.policy_count++] = (struct lt_checks_openers_policy){p, &v->documents[k]};
    if (m->retired_at) {
        struct lt_checks_openers_retired *r = &v->when[v->in.retired_count++];
        r->at = m->retired_at;
        memcpy(r->digest, p->digest, 32);
    }
}

static void view_host(const struct scene *s, const struct m_host *m, int i, struct view *v)
{
    struct lt_checks_identity_host *id = &v->id[i];

    ek_of(s, i, id->ek_digest);
    id->in_registry = (enum lt_checks_fact)m->registry;
    id->certificate = (enum lt_checks_fact)m->certificate;
    if (m->had)
        v->host[v->in.host_count++] = id;
    if (m->retired) {
        into(&v->guest.retired_hosts, v->hosts, 0);
        memcpy(v->hosts[v->guest.retired_hosts.count - 1], id->ek_digest, 32);
    }
    if (m->retired_at) {
        struct lt_checks_openers_retired *r = &v->when[v->in.retired_count++];
        *r = (struct lt_checks_openers_retired){.host = true, .at = m->retired_at};
        memcpy(r->digest, id->ek_digest, 32);
    }
}

static void view(const struct scene *s, const struct model *m, struct view *v)
{
    for (int k = 0; k < POLICIES; k++)
        view_policy(s, &m->policy[k], k, v);
    for (int i = 0; i < HOSTS; i++)
        view_host(s, &m->host[i], i, v);
    for (int k = 0; k < KEYS; k++) {
        if (m->escrow[k])
            into(&v->guest.escrow, v->escrow, 0x90 + k);
        if (m->authority[k])
            into(&v->guest.authorities, v->authority, 0x90 + k);
    }
    if (m->last >= 0)
        last_of(m, &v->list, &v->last);
    for (int i = 0; i < OPENERS; i++)
        v->closed_at[i] = m->closed_at[i];
    if (m->exposed >= 0)
        ek_of(s, m->exposed, v->exposed.host_ek_digest);
    v->in.list = m->list_at_hand ? &v->list : NULL;
    v->in.host = v->host;
    v->in.policy = v->held;
    v->in.last = m->last >= 0 ? &v->last : NULL;
    v->in.closed_at = v->closed_at;
    v->in.retired = v->when;
    v->in.exposed = &v->exposed;
    v->in.exposed_count = m->exposed >= 0;
}

static int first_judge(struct scene *s, const struct model *m, struct view *v, struct lt_verdict *verdict)
{
    struct lt_history_round_facts facts = {0};
    struct lt_checks_guest_round guest = s->f.guest;
    struct lt_checks_host_round host = s->f.host;
    struct lt_checks c = {.guest = &guest, .host = &host, .f = &facts, .v = verdict, .record = s->f.record};

    guest.policy = m->has_policy ? &v->guest : NULL;
    host.openers = &v->in;
    host.logs.boot_log = m->log_at_hand ? s->log : NULL;
    c.record.flags = LT_RESIDENCY_RUNNING | (m->born ? (uint32_t)LT_RESIDENCY_BORN : 0) |
                     (m->sealed ? (uint32_t)LT_RESIDENCY_SEALED : 0);
    memset(c.record.openers_digest, 0, 32);
    if (m->named)
        OK(lt_openers_digest(&v->list, c.record.openers_digest, &err));
    lt_verdict_init(verdict);
    for (int i = LT_CHECK_HOST_QUOTE; i < LT_CHECK_RESIDENCY; i++) {
        lt_check_open(verdict, i);
        assert_true(lt_check_close(verdict, i));
    }
    lt_check_open(verdict, LT_CHECK_RESIDENCY);
    lt_checks_openers_judge(&c);
    bool passed = lt_check_close(verdict, LT_CHECK_RESIDENCY);
    bool seen = m->born && m->named && m->list_at_hand;
    assert_int_equal(facts.openers_seen, passed && seen);
    return passed ? (int)verdict->link : SHRUNK;
}

static void tell(const struct model *m, const struct lt_verdict *v)
{
    print_message("%d openers, last %d%s, born %d sealed %d named %d\n", m->count, m->last,
                  m->turned ? " turned" : "", m->born, m->sealed, m->named);
    for (unsigned i = 0; i < v->openers.problem_count; i++)
        print_message("  %d %s: %s\n", v->openers.problem[i].opener, v->openers.problem[i].reason,
                      v->openers.problem[i].message);
}

static unsigned long long number(const char *name, unsigned long long usual)
{
    const char *s = getenv(name);

    return s ? strtoull(s, NULL, 0) : usual;
}

static void two_judges(void **state)
{
    unsigned long long first = number("LT_SEED", 1), cases = number("LT_CASES", 60000);
    unsigned met[LT_VERDICT_LINK_RESIDENT + 2] = {0};
    static struct scene s;

    (void)state;
    setup(&s);
    for (unsigned long long i = 0; i < cases; i++) {
        struct lt_verdict v;
        struct model m;
        struct view w = {0};
        seed = first + i;
        random_model(&m);
        if (list_of(&s, &m, &w.list)) {
            view(&s, &m, &w);
            int is = first_judge(&s, &m, &w, &v), want = second_judge(&m);
            met[want + 1]++;
            if (is != want) {
                tell(&m, &v);
                fail_msg("LT_SEED=%llu LT_CASES=1: %d, the second judge says %d", seed ? first + i : 0, is,
                         want);
            }
        }
        lt_openers_free(&w.list);
        lt_openers_free(&w.last);
    }
    if (cases > 10000) { /* it must have been about something */
        assert_true(met[SHRUNK + 1] > cases / 100 && met[LT_VERDICT_LINK_BOUND + 1] > cases / 100);
        assert_true(met[LT_VERDICT_LINK_RESIDENT + 1] > cases / 100 &&
                    met[LT_VERDICT_LINK_COPYABLE + 1] > cases / 100);
    }
    print_message("shrunk %u, copyable %u, bound %u, resident %u\n", met[0],
                  met[LT_VERDICT_LINK_COPYABLE + 1], met[LT_VERDICT_LINK_BOUND + 1],
                  met[LT_VERDICT_LINK_RESIDENT + 1]);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_judges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
