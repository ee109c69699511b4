/* Check 8 on a list of openers (docs/sealing.md section 5): each reason reached, by the attack it is for; and
 * that whatever the provider withholds or garbles lowers the link, and fails nobody. */
#include "appraisal/checks/checks.h"
#include "appraisal/checks/offline.h"
#include "tests/support/appraisal/forge.h"

/* ---- one round ---- */

static struct forge f;
static struct lt_verdict v;
static struct lt_policy_guest policy; /* a copy, for a test to change: its lists are borrowed */

static void begin(void (*plan)(void))
{
    forge_init(&f);
    if (plan)
        plan();
    forge_build(&f);
    policy = *f.guest_policy;
    f.guest.policy = &policy;
}

static void judge(void)
{
    lt_verdict_init(&v);
    lt_checks_appraise_guest(&f.guest, &f.facts, &v);
    lt_checks_appraise_host(&f.host, &f.facts, &v);
    lt_verdict_conclude(&v, lt_checks_least_link(&policy), policy.accept_boot_only);
}

static void end(void)
{
    forge_free(&f);
}

static bool omitted(const char *part)
{
    unsigned times = 0;

    for (unsigned i = 0; i < v.part_count; i++)
        if (!v.parts[i].note && v.parts[i].check == LT_CHECK_RESIDENCY && !strcmp(v.parts[i].part, part))
            times++;
    assert_true(times <= 1);
    return times;
}

/* The one problem is that, of that opener. */
static void problem(const char *reason, int opener)
{
    if (v.openers.problem_count != 1 || strcmp(v.openers.problem[0].reason, reason) != 0 ||
        v.openers.problem[0].opener != opener)
        fail_msg("%u problems, the first %s of %d (%s), not %s of %d", v.openers.problem_count,
                 v.openers.problem_count ? v.openers.problem[0].reason : "", v.openers.problem[0].opener,
                 v.openers.problem[0].message, reason, opener);
    assert_true(omitted(reason));
    assert_true(v.openers.problem[0].message[0]);
}

/* Judged; not failed, and the link is lowered for that reason. */
static void lowered(const char *reason, int opener)
{
    judge();
    problem(reason, opener);
    assert_true(lt_verdict_passed(&v, LT_CHECK_RESIDENCY));
    assert_int_equal(v.link, strcmp(reason, "opener-not-enforced") ? LT_VERDICT_LINK_COPYABLE
                                                                   : LT_VERDICT_LINK_BOUND);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "level");
}

static void resident(void)
{
    judge();
    if (v.openers.problem_count)
        fail_msg("%s: %s", v.openers.problem[0].reason, v.openers.problem[0].message);
    assert_int_equal(v.link, LT_VERDICT_LINK_RESIDENT);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
}

static struct lt_policy_digests one_digest(const uint8_t (*d)[LT_SHA256])
{
    return (struct lt_policy_digests){1, (uint8_t(*)[LT_SHA256])d};
}

/* ---- what is good ---- */

static void healthy(void **state)
{
    (void)state;
    begin(NULL);
    resident();
    assert_true(f.facts.openers_seen);
    assert_false(f.facts.exposed);
    assert_int_equal(v.openers.count, 1);
    assert_memory_equal(v.openers.digest, f.record.openers_digest, 32);
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
    json_t *o = json_object_get(j, "openers");
    assert_string_equal(json_string_value(json_object_get(j, "link")), "resident");
    assert_int_equal(json_integer_value(json_object_get(o, "count")), 1);
    assert_int_equal(json_array_size(json_object_get(o, "problems")), 0);
    assert_null(json_object_get(o, "untold"));
    end();
}

static void plan_unsealing(void)
{
    f.sealing = "";
}

/* `bound` is a word of its own, and copyable is weaker. */
static void accepted_by_name(void **state)
{
    static const struct {
        bool bound, copyable, trusted;
    } cases[] = {{false, false, false}, {true, false, true}, {false, true, true}, {true, true, true}};

    (void)state;
    begin(plan_unsealing);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        policy.accept_bound = cases[i].bound;
        policy.accept_copyable = cases[i].copyable;
        judge();
        problem("opener-not-enforced", 0);
        assert_int_equal(v.link, LT_VERDICT_LINK_BOUND);
        assert_int_equal(v.result, cases[i].trusted ? LT_VERDICT_TRUSTED : LT_VERDICT_UNCHECKED);
    }
    f.openers_in.list = NULL; /* copyable: `bound` does not take it */
    policy.accept_bound = true;
    policy.accept_copyable = false;
    lowered("openers-missing", -1);
    policy.accept_copyable = true;
    judge();
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    end();
}

/* ---- not sealed ---- */

static void plan_version_1(void)
{
    f.record.version = 1;
}

/* As ever, whatever its flags say, and whatever is brought with it. */
static void version_1_is_copyable(void **state)
{
    bool noted = false;

    (void)state;
    begin(plan_version_1);
    judge();
    assert_int_equal(v.link, LT_VERDICT_LINK_COPYABLE);
    assert_string_equal(v.reason, "level");
    assert_false(v.openers.listed || omitted("not-sealed"));
    for (unsigned i = 0; i < v.part_count; i++)
        noted = noted || (v.parts[i].note && !strcmp(v.parts[i].part, "not-sealed"));
    assert_true(noted);
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
    assert_null(json_object_get(j, "openers"));
    policy.accept_copyable = true;
    judge();
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    f.host.openers = NULL;
    judge();
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    end();
}

static void plan_not_born(void)
{
    f.record.flags &= ~(uint32_t)LT_RESIDENCY_BORN;
}

static void plan_not_sealed(void)
{
    f.record.flags &= ~(uint32_t)LT_RESIDENCY_SEALED;
}

static void no_list(struct forge *forge)
{
    (void)forge; /* an empty one, whose digest is not the record's zeros */
}

static void not_sealed(void **state)
{
    (void)state;
    begin(plan_not_born);
    lowered("not-sealed", -1);
    assert_false(f.facts.openers_seen); /* no entry stands behind it */
    end();
    begin(plan_not_sealed);
    lowered("not-sealed", -1);
    assert_true(f.facts.openers_seen);
    end();
}

/* Without crypto: one record, its list, and the judgement. */
static struct lt_residency_record with(uint32_t flags, const uint8_t digest[32])
{
    struct lt_residency_record r = f.record;

    r.flags = flags;
    memcpy(r.openers_digest, digest, 32);
    return r;
}

static enum lt_verdict_link judge_record(const struct lt_residency_record *r, bool offline)
{
    struct lt_checks c = {.guest = &f.guest, .host = &f.host, .f = &f.facts, .v = &v, .record = *r};

    memset(&f.facts, 0, sizeof f.facts);
    (offline ? lt_verdict_init_offline : lt_verdict_init)(&v);
    for (int i = LT_CHECK_HOST_QUOTE; i < LT_CHECK_RESIDENCY; i++) {
        lt_check_open(&v, i);
        assert_true(lt_check_close(&v, i));
    }
    lt_check_open(&v, LT_CHECK_RESIDENCY);
    lt_checks_openers_judge(&c);
    lt_check_close(&v, LT_CHECK_RESIDENCY);
    return v.link;
}

static void every_flag(void **state)
{
    static const uint8_t zeros[32];

    (void)state;
    begin(NULL);
    for (uint32_t flags = 0; flags < 128; flags++) {
        uint32_t both = LT_RESIDENCY_BORN | LT_RESIDENCY_SEALED;
        struct lt_residency_record r = with(flags, f.record.openers_digest);
        enum lt_verdict_link link = judge_record(&r, false);
        assert_int_equal(link, (flags & both) == both ? LT_VERDICT_LINK_RESIDENT : LT_VERDICT_LINK_COPYABLE);
        r = with(flags, zeros);
        assert_int_equal(judge_record(&r, false), LT_VERDICT_LINK_COPYABLE);
        problem("not-sealed", -1);
        assert_false(f.facts.openers_seen);
    }
    end();
}

/* ---- withheld, garbled ---- */

static void missing(void **state)
{
    struct lt_openers other = {0};
    struct lt_openers_one one;

    (void)state;
    begin(NULL);
    f.host.openers = NULL;
    lowered("openers-missing", -1);
    f.host.openers = &f.openers_in;
    f.openers_in.list = NULL;
    lowered("openers-missing", -1);
    f.openers_in.trouble = "the provider answers 404";
    lowered("openers-missing", -1);
    assert_non_null(strstr(v.openers.problem[0].message, "answers 404"));
    assert_int_equal(v.openers.count, 0);
    assert_false(f.facts.openers_seen);
    /* A better list than the one that the record names. */
    one = forge_state(&f, 0x0000ffff & ~LT_OPENERS_STATE_NEVER);
    OK(lt_openers_add(&other, &one, &err));
    f.openers_in.list = &other;
    lowered("openers-missing", -1);
    assert_false(f.facts.openers_seen);
    f.openers_in.list = &f.list;
    resident();
    lt_openers_free(&other);
    end();
}

/* Every byte of OPENERS, and every prefix: never failed, never bound; offline never consistent. */
static void every_byte(void **state)
{
    struct lt_buf bytes = LT_BUF(LT_MAX_OPENERS_BYTES);
    unsigned parsed = 0;

    (void)state;
    begin(NULL);
    lt_openers_write(&f.list, &bytes);
    for (size_t bit = 0; bit < 8 * bytes.n; bit++) {
        struct lt_openers garbled = {0};
        bytes.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        bool whole = !lt_openers_parse(bytes.p, bytes.n, &garbled, LT_NO_ERR);
        f.openers_in.list = whole ? &garbled : NULL;
        parsed += whole;
        assert_int_equal(judge_record(&f.record, false), LT_VERDICT_LINK_COPYABLE);
        problem("openers-missing", -1);
        assert_true(lt_verdict_passed(&v, LT_CHECK_RESIDENCY));
        if (whole) {
            assert_int_equal(judge_record(&f.record, true), LT_VERDICT_LINK_NONE);
            assert_string_equal(v.check[LT_CHECK_RESIDENCY].cause, "openers-missing");
        }
        bytes.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        lt_openers_free(&garbled);
    }
    assert_true(parsed > 8 * 9 * 32); /* its digests, and `closed` */
    lt_buf_free(&bytes);
    end();
}

static enum lt_verdict_result offline(const struct lt_bundle *b, const struct lt_policy_guest *p)
{
    const struct lt_offline o = {.now = FORGE_NOW, .policy = p};

    if (lt_offline_appraise(b, &o, &v, &err))
        return LT_VERDICT_INCONSISTENT;
    return v.result;
}

static void every_byte_of_a_bundle(void **state)
{
    struct lt_bundle b;

    (void)state;
    begin(NULL);
    forge_bundle(&f, &b);
    for (int with_policy = 0; with_policy < 2; with_policy++) {
        const struct lt_policy_guest *p = with_policy ? &policy : NULL;
        for (size_t i = 0; i < b.host.openers.n; i++) {
            b.host.openers.p[i] ^= (uint8_t)(1 + i % 255);
            assert_int_equal(offline(&b, p), LT_VERDICT_INCONSISTENT);
            b.host.openers.p[i] ^= (uint8_t)(1 + i % 255);
        }
        b.host.openers.n--;
        assert_int_equal(offline(&b, p), LT_VERDICT_INCONSISTENT);
        b.host.openers.n++;
        assert_int_equal(offline(&b, p), LT_VERDICT_CONSISTENT);
        assert_int_equal(v.link, with_policy ? LT_VERDICT_LINK_RESIDENT : LT_VERDICT_LINK_COPYABLE);
        assert_int_equal(omitted("opener-hosts"), with_policy);
        assert_int_equal(omitted("opener-off-policy"), !with_policy);
    }
    free(b.host.openers.p);
    b.host.openers = (struct lt_bundle_blob){0};
    assert_int_equal(offline(&b, &policy), LT_VERDICT_CONSISTENT);
    assert_int_equal(v.link, LT_VERDICT_LINK_COPYABLE);
    assert_true(omitted("openers-missing"));
    lt_bundle_free(&b);
    end();
}

/* The policy of the openers left out of the bundle; a list beside a record that names none. */
static void what_a_bundle_lacks(void **state)
{
    struct lt_bundle b;

    (void)state;
    begin(NULL);
    forge_bundle(&f, &b);
    for (size_t i = 0; i < b.policy_count; i++)
        if (!memcmp(b.policies[i].digest, f.seal_policy->digest, 32))
            b.policies[i].digest[0] ^= 1; /* as good as not there */
    assert_int_equal(offline(&b, &policy), LT_VERDICT_CONSISTENT);
    problem("opener-off-policy", 0);
    assert_int_equal(v.link, LT_VERDICT_LINK_COPYABLE);
    struct lt_residency_record r =
        with(f.record.flags & ~(uint32_t)LT_RESIDENCY_BORN, f.record.openers_digest);
    judge_record(&r, true);
    assert_int_equal(v.check[LT_CHECK_RESIDENCY].state, LT_CHECK_NOT_PASSED);
    r.version = 1;
    judge_record(&r, true);
    assert_int_equal(v.check[LT_CHECK_RESIDENCY].state, LT_CHECK_NOT_PASSED);
    lt_bundle_free(&b);
    end();
}

/* ---- hosts ---- */

static const uint8_t foreign_ek[32] = {0xf0};

static void list_foreign(struct forge *forge)
{
    struct lt_openers_one one = forge_state(forge, LT_OPENERS_STATE_MIN);

    forge_list(forge);
    memcpy(one.digest, foreign_ek, 32);
    OK(lt_openers_add(&forge->list, &one, &err));
}

static void plan_foreign(void)
{
    f.openers = list_foreign;
}

static void foreign_host(void **state)
{
    struct lt_checks_identity_host other = {0};

    (void)state;
    begin(plan_foreign);
    lowered("opener-unknown-host", 1); /* nobody has its EK */
    memcpy(other.ek_digest, foreign_ek, 32);
    f.hosts[1] = &other;
    f.openers_in.host_count = 2;
    for (int registry = LT_CHECKS_FACT_UNKNOWN; registry <= LT_CHECKS_FACT_NO; registry++)
        for (int certificate = LT_CHECKS_FACT_UNKNOWN; certificate <= LT_CHECKS_FACT_NO; certificate++) {
            other.in_registry = registry;
            other.certificate = certificate;
            if (registry == LT_CHECKS_FACT_YES && certificate == LT_CHECKS_FACT_YES)
                resident();
            else
                lowered("opener-unknown-host", 1);
        }
    end();
}

/* The provider wrote the registry: an EK of software in it is no chip's. */
static void software_ek_in_the_registry(void **state)
{
    struct lt_checks_identity_host software = {.in_registry = LT_CHECKS_FACT_YES,
                                               .certificate_text = "signed by nobody"};

    (void)state;
    begin(plan_foreign);
    memcpy(software.ek_digest, foreign_ek, 32);
    f.hosts[1] = &software;
    f.openers_in.host_count = 2;
    lowered("opener-unknown-host", 1);
    assert_non_null(strstr(v.openers.problem[0].message, "signed by nobody"));
    end();
}

static void list_closed(struct forge *forge)
{
    forge_list(forge);
    forge->list.one[0].closed = true;
}

static void plan_closed(void)
{
    f.openers = list_closed;
}

/* Whoever runs it has it open; a list without that is not of this host. */
static void not_open_where_it_runs(void **state)
{
    (void)state;
    begin(plan_closed);
    lowered("opener-unknown-host", -1);
    end();
    forge_init(&f);
    f.openers = no_list;
    forge_build(&f);
    policy = *f.guest_policy;
    f.guest.policy = &policy;
    lowered("opener-unknown-host", -1);
    end();
}

/* ---- states ---- */

static unsigned wrong_pcr;

static void list_wrong(struct forge *forge)
{
    struct lt_openers_one one = forge_state(forge, LT_OPENERS_STATE_MIN);

    one.state.value[wrong_pcr][7] ^= 1;
    OK(lt_openers_add(&forge->list, &one, &err));
}

static void plan_wrong(void)
{
    f.openers = list_wrong;
}

static void plan_unjudged(void)
{
    f.sealing_named = LT_OPENERS_STATE_MIN & ~(1u << wrong_pcr);
}

/* Each PCR of the least: another value, and one that the policy does not judge (an unjudged 12 is any command
 * line). */
static void each_pcr(void **state)
{
    (void)state;
    for (wrong_pcr = 0; wrong_pcr < 16; wrong_pcr++) {
        if (!(LT_OPENERS_STATE_MIN >> wrong_pcr & 1))
            continue;
        char name[16];
        snprintf(name, sizeof name, "PCR %u:", wrong_pcr);
        begin(plan_wrong);
        lowered("opener-off-policy", 0);
        assert_non_null(strstr(v.openers.problem[0].message, name));
        end();
        begin(plan_unjudged);
        lowered("opener-off-policy", 0);
        assert_non_null(strstr(v.openers.problem[0].message, name));
        assert_non_null(strstr(v.openers.problem[0].message, "does not judge"));
        end();
    }
}

static void plan_more(void)
{
    f.sealing_named = LT_OPENERS_STATE_MIN | 1u << 11;
}

static void plan_apart(void)
{
    f.sealing_named = LT_OPENERS_STATE_MIN | 1u << 10 | 1u << 13;
}

/* What the policy judges and the state leaves open would open off policy. PCR 10 and 13 are apart. */
static void judged_and_open(void **state)
{
    (void)state;
    begin(plan_more);
    lowered("opener-off-policy", 0);
    assert_non_null(strstr(v.openers.problem[0].message, "leaves it open"));
    end();
    begin(plan_apart);
    resident();
    end();
}

static void policies(void **state)
{
    const uint8_t other[1][32] = {{9}};
    const struct lt_policy_digests good_ones = {0};

    (void)state;
    begin(NULL);
    f.openers_in.policy_count = 0; /* not had */
    lowered("opener-off-policy", 0);
    f.openers_in.policy_count = 1;
    policy.host_policies.count = 1; /* at hand, and not accepted: only the quoted one is */
    lowered("opener-off-policy", 0);
    policy.host_policies.count = 2;
    resident();
    /* Held by the first, enforced by the second: the order is of no matter. */
    struct lt_policy_host twin = *f.seal_policy;
    struct lt_policy_digests three = {3, (uint8_t[3][32]){{0}, {0}, {0}}};
    memcpy(three.d[0], f.host_policy->digest, 32);
    memcpy(three.d[1], f.seal_policy->digest, 32);
    memcpy(three.d[2], other[0], 32);
    memcpy(twin.digest, other[0], 32);
    policy.host_policies = three;
    f.held[1] = (struct lt_checks_openers_policy){&twin, NULL};
    f.openers_in.policy_count = 2;
    resident();
    policy.seals = one_digest(other);
    resident();
    policy.seals = good_ones;
    lowered("opener-not-enforced", 0);
    policy.host_policies.count = 2; /* what seals name and host_policies do not counts for nothing */
    policy.seals = one_digest(other);
    lowered("opener-not-enforced", 0);
    end();
}

/* ---- seals ---- */

static void list_two(struct forge *forge)
{
    struct lt_openers_one one = forge_state(forge, LT_OPENERS_STATE_MIN);

    forge_list(forge);
    one.state.value[4][0] ^= 1; /* another kernel */
    OK(lt_openers_add(&forge->list, &one, &err));
}

static void plan_two(void)
{
    f.openers = list_two;
}

static void each_state_must_enforce(void **state)
{
    struct lt_policy_host other;
    struct lt_policy_digests values, three = {3, (uint8_t[3][32]){{0}, {0}, {9}}};

    (void)state;
    begin(plan_two);
    lowered("opener-off-policy", 1);
    other = *f.seal_policy;
    uint8_t kernel[1][32];
    memcpy(kernel[0], f.list.one[1].state.value[4], 32);
    values = one_digest((const uint8_t(*)[32])kernel);
    other.pcrs.accepted[4] = values;
    memcpy(other.digest, three.d[2], 32);
    memcpy(three.d[0], f.host_policy->digest, 32);
    memcpy(three.d[1], f.seal_policy->digest, 32);
    policy.host_policies = three;
    f.held[1] = (struct lt_checks_openers_policy){&other, NULL};
    f.openers_in.policy_count = 2;
    lowered("opener-not-enforced", 1);
    policy.seals = three;
    resident();
    end();
}

/* ---- keys ---- */

static enum lt_openers_kind key_kind;

static void list_key(struct forge *forge)
{
    struct lt_openers_one one = {.kind = key_kind, .digest = {0xe5}, .name = {0}};

    if (key_kind == LT_OPENERS_AUTHORITY)
        OK(lt_openers_add(&forge->list, &one, &err));
    forge_list(forge);
    if (key_kind != LT_OPENERS_AUTHORITY)
        OK(lt_openers_add(&forge->list, &one, &err));
}

static void plan_key(void)
{
    f.openers = list_key;
}

static void keys(void **state)
{
    static const uint8_t key[1][32] = {{0xe5}}, other[1][32] = {{0xe6}};

    (void)state;
    key_kind = LT_OPENERS_ESCROW;
    begin(plan_key);
    lowered("opener-escrow", 1);
    policy.escrow = one_digest(other);
    lowered("opener-escrow", 1);
    policy.authorities = one_digest(key); /* not one for the other */
    lowered("opener-escrow", 1);
    policy.escrow = one_digest(key);
    resident();
    end();
    key_kind = LT_OPENERS_AUTHORITY;
    begin(plan_key);
    policy.escrow = one_digest(key);
    lowered("opener-escrow", 0);
    policy.authorities = one_digest(key);
    resident();
    end();
    key_kind = LT_OPENERS_HANDOVER; /* well-formed, and nothing says what was open before */
    begin(plan_key);
    policy.escrow = policy.authorities = one_digest(key);
    lowered("import-unknown", 1);
    end();
}

/* ---- lists seen before ---- */

static void shrunk(void **state)
{
    struct lt_openers last = {0}, turned = {0};

    (void)state;
    begin(plan_two);
    f.held[0].policy = f.seal_policy;
    f.openers_in.last = &last;
    judge(); /* none seen is a prefix of all */
    assert_true(lt_verdict_passed(&v, LT_CHECK_RESIDENCY));
    OK(lt_openers_copy(&f.list, &last, &err));
    for (unsigned n = 2; n; n--) {
        last.count = n;
        for (unsigned closed = 0; closed < 4; closed++) {
            last.one[0].closed = closed & 1;
            last.one[1].closed = closed & 2;
            bool again = last.one[0].closed || (n > 1 && last.one[1].closed); /* both are open now */
            judge();
            assert_int_equal(lt_verdict_passed(&v, LT_CHECK_RESIDENCY), !again);
            assert_int_equal(f.facts.openers_seen, !again);
        }
    }
    last.one[0].closed = last.one[1].closed = false;
    OK(lt_openers_copy(&f.list, &turned, &err));
    struct lt_openers_one first = turned.one[0];
    turned.one[0] = turned.one[1];
    turned.one[1] = first;
    f.openers_in.last = &turned; /* the same two, in another order */
    judge();
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    assert_string_equal(v.reason, "residency");
    assert_string_equal(v.check[LT_CHECK_RESIDENCY].cause, "openers-shrunk");
    assert_false(f.facts.openers_seen);
    assert_int_equal(v.link, LT_VERDICT_LINK_NONE);
    end();
    begin(NULL);
    last.count = 2; /* seen longer */
    f.openers_in.last = &last;
    judge();
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    assert_string_equal(v.check[LT_CHECK_RESIDENCY].cause, "openers-shrunk");
    f.openers_in.list = NULL; /* withheld is no shrinking */
    lowered("openers-missing", -1);
    policy.accept_copyable = true; /* and no word accepts it */
    f.openers_in.list = &f.list;
    judge();
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    lt_openers_free(&turned);
    lt_openers_free(&last);
    end();
}

/* ---- retired ---- */

static void list_old(struct forge *forge)
{
    struct lt_openers_one one = forge_state(forge, LT_OPENERS_STATE_MIN);

    one.state.value[4][0] ^= 1; /* an older kernel, of the retired policy */
    one.closed = true;
    OK(lt_openers_add(&forge->list, &one, &err));
    forge_list(forge);
}

static void plan_old(void)
{
    f.openers = list_old;
}

/* Sealed in a broken state, K_v taken, closed, and shown: only what was seen closed before counts. */
static void closed_before_it_was_retired(void **state)
{
    static uint8_t retired_digest[1][32] = {{0x0d}};
    uint8_t kernel[1][32];
    int64_t closed[2] = {0};
    struct lt_checks_openers_retired when[2] = {{.digest = {0x0d}, .at = 50}};

    (void)state;
    begin(plan_old);
    struct lt_policy_host old = *f.seal_policy;
    memcpy(kernel[0], f.list.one[0].state.value[4], 32);
    old.pcrs.accepted[4] = one_digest((const uint8_t(*)[32])kernel);
    memcpy(old.digest, retired_digest[0], 32);
    f.held[1] = (struct lt_checks_openers_policy){&old, NULL};
    f.openers_in.policy_count = 2;
    lowered("opener-off-policy", 0); /* in no list of the policy's */
    policy.retired_host_policies = one_digest((const uint8_t(*)[32])retired_digest);
    lowered("opener-off-policy", 0); /* no history */
    f.openers_in.last = &f.list;
    f.openers_in.closed_at = closed;
    f.openers_in.retired = when;
    f.openers_in.retired_count = 1;
    lowered("opener-off-policy", 0); /* never seen closed */
    closed[1] = 10;
    lowered("opener-off-policy", 0); /* another was */
    closed[0] = 50;
    lowered("opener-off-policy", 0); /* when it was retired */
    closed[0] = 60;
    lowered("opener-off-policy", 0);
    closed[0] = 49;
    judge();
    problem("opener-not-enforced", 0); /* it counts: bound */
    struct lt_policy_digests both = {2, (uint8_t[2][32]){{0x0d}, {0}}};
    memcpy(both.d[1], f.seal_policy->digest, 32);
    policy.seals = both;
    resident();
    f.openers_in.retired_count = 0; /* retired before all */
    lowered("opener-off-policy", 0);
    f.openers_in.retired_count = 2;
    when[1] = (struct lt_checks_openers_retired){.digest = {0x0d}, .at = 20}; /* the earlier counts */
    lowered("opener-off-policy", 0);
    when[1].host = true; /* of a host */
    resident();
    f.list.one[0].closed = false; /* open again, whatever was seen */
    OK(lt_openers_digest(&f.list, f.record.openers_digest, &err));
    assert_int_equal(judge_record(&f.record, false), LT_VERDICT_LINK_COPYABLE);
    problem("opener-off-policy", 0);
    end();
}

static void list_retired_host(struct forge *forge)
{
    struct lt_openers_one one = forge_state(forge, LT_OPENERS_STATE_MIN);

    memcpy(one.digest, foreign_ek, 32);
    one.closed = true;
    OK(lt_openers_add(&forge->list, &one, &err));
    forge_list(forge);
}

static void plan_retired_host(void)
{
    f.openers = list_retired_host;
}

static void retired_host(void **state)
{
    struct lt_checks_identity_host gone = {.in_registry = LT_CHECKS_FACT_NO,
                                           .certificate = LT_CHECKS_FACT_YES};
    int64_t closed[2] = {5, 0};
    struct lt_checks_openers_retired when = {.host = true, .at = 6};

    (void)state;
    begin(plan_retired_host);
    memcpy(gone.ek_digest, foreign_ek, 32);
    memcpy(when.digest, foreign_ek, 32);
    f.hosts[1] = &gone;
    f.openers_in.host_count = 2;
    f.openers_in.last = &f.list;
    f.openers_in.closed_at = closed;
    f.openers_in.retired = &when;
    f.openers_in.retired_count = 1;
    lowered("opener-unknown-host", 0); /* gone from the registry, and the policy does not say so */
    policy.retired_hosts = one_digest((const uint8_t(*)[32])foreign_ek);
    resident();
    closed[0] = 6;
    lowered("opener-unknown-host", 0);
    closed[0] = 0;
    lowered("opener-unknown-host", 0);
    gone.in_registry = LT_CHECKS_FACT_YES; /* retired is retired */
    lowered("opener-unknown-host", 0);
    closed[0] = 5;
    gone.certificate = LT_CHECKS_FACT_UNKNOWN; /* it never was a chip */
    lowered("opener-unknown-host", 0);
    end();
}

/* ---- exposed ---- */

static void plan_off_policy(void)
{
    forge_measure(&f);
    f.ima_h.paths[5] = "/usr/bin/evil"; /* nobody allowed it */
    for (int i = 0; i < 5; i++)
        f.ima_h.allowed[i] = f.ima_h.paths[i];
}

static bool exposes(void)
{
    judge();
    assert_int_equal(v.check[LT_CHECK_HOST_POLICY].state, LT_CHECK_NOT_PASSED);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    if (f.facts.exposed)
        assert_memory_equal(f.facts.exposed_host, f.host_id->ek_digest, 32);
    return f.facts.exposed;
}

static void a_host_off_its_policy_exposes(void **state)
{
    struct lt_openers none = {0}, last = {0};
    struct lt_proof proof;

    (void)state;
    begin(plan_off_policy);
    assert_true(exposes()); /* by this round's list alone */
    f.openers_in.last = &none;
    assert_true(exposes());
    f.openers_in.list = NULL;
    assert_false(exposes()); /* nobody knows of any opener */
    OK(lt_openers_copy(&f.list, &last, &err));
    f.openers_in.last = &last;
    assert_true(exposes()); /* by the one seen last, whatever is withheld now */
    f.host.logs.boot_log = NULL;
    assert_true(exposes());
    last.one[0].digest[0] ^= 1; /* another host's state */
    assert_false(exposes());
    f.openers_in.list = &f.list;
    assert_true(exposes());
    /* A list that no record of it names is anybody's. */
    proof = f.proof;
    f.proof.record[60] ^= 1; /* another EK */
    assert_false(exposes());
    f.proof = proof;
    f.proof.record[120] ^= 1; /* not in the host's inventory */
    assert_false(exposes());
    f.proof = proof;
    f.proof.resident = false;
    assert_false(exposes());
    f.proof = proof;
    f.guest.guest_uuid[0] ^= 1;
    assert_false(exposes());
    f.guest.guest_uuid[0] ^= 1;
    f.host.openers = NULL;
    assert_false(exposes());
    f.host.openers = &f.openers_in;
    f.host_id->in_registry = LT_CHECKS_FACT_NO; /* 6 did not pass: who knows whose quote that is */
    judge();
    assert_false(f.facts.exposed);
    lt_openers_free(&last);
    end();
    begin(NULL); /* on its policy */
    judge();
    assert_false(f.facts.exposed);
    policy.host_policies.count = 0; /* 7 not made: no failure */
    judge();
    assert_false(f.facts.exposed);
    end();
}

/* A boot that never came to the state gave the key to nobody: only a log that replays to the quote says so.
 */
static void a_boot_that_never_came_there(void **state)
{
    (void)state;
    begin(plan_off_policy);
    f.openers_in.last = &f.list;
    for (unsigned pcr = 0; pcr < 16; pcr++) {
        struct lt_openers never = {0};
        if (!(LT_OPENERS_STATE_MIN >> pcr & 1))
            continue;
        OK(lt_openers_copy(&f.list, &never, &err));
        never.one[0].state.value[pcr][0] ^= 1;
        const bool was = lt_checks_openers_exposed(&never, f.host_id->ek_digest, f.host_log, &f.host_pcrs);
        assert_false(was);
        /* The same mismatch without a log, or with one of another boot, proves nothing: root can extend. */
        assert_true(lt_checks_openers_exposed(&never, f.host_id->ek_digest, NULL, &f.host_pcrs));
        struct lt_pcrs other = f.host_pcrs;
        other.value[pcr][1] ^= 1;
        assert_true(lt_checks_openers_exposed(&never, f.host_id->ek_digest, f.host_log, &other));
        other = f.host_pcrs;
        other.mask &= ~(1u << pcr);
        assert_true(lt_checks_openers_exposed(&never, f.host_id->ek_digest, f.host_log, &other));
        lt_openers_free(&never);
    }
    /* Each of that host's openers must be shown not to have been there. */
    struct lt_openers two = {0};
    struct lt_openers_one one = forge_state(&f, LT_OPENERS_STATE_MIN);
    one.state.value[4][0] ^= 1;
    OK(lt_openers_add(&two, &one, &err));
    assert_false(lt_checks_openers_exposed(&two, f.host_id->ek_digest, f.host_log, &f.host_pcrs));
    one = forge_state(&f, LT_OPENERS_STATE_MIN);
    OK(lt_openers_add(&two, &one, &err));
    assert_true(lt_checks_openers_exposed(&two, f.host_id->ek_digest, f.host_log, &f.host_pcrs));
    lt_openers_free(&two);
    /* The chain's start counts: a state with PCR 8 of zeros was there before the first event. */
    one = forge_state(&f, 1u << 8);
    memset(one.state.value[8], 0, 32);
    OK(lt_openers_add(&two, &one, &err));
    assert_true(lt_checks_openers_exposed(&two, f.host_id->ek_digest, f.host_log, &f.host_pcrs));
    lt_openers_free(&two);
    end();
}

static void exposed_is_sticky(void **state)
{
    struct lt_checks_openers_exposed exposed = {.since = 7};

    (void)state;
    begin(NULL);
    memcpy(exposed.host_ek_digest, f.host_id->ek_digest, 32);
    f.openers_in.exposed = &exposed;
    f.openers_in.exposed_count = 1;
    lowered("exposed", 0); /* though all that is quoted now is good */
    policy.accept_bound = true;
    lowered("exposed", 0);
    exposed.host_ek_digest[0] ^= 1; /* a host that is not on the list: by a list that it invented */
    resident();
    exposed.host_ek_digest[0] ^= 1;
    f.openers_in.exposed_count = 0; /* cleared by name */
    resident();
    end();
}

/* ---- telling ---- */

static void list_many(struct forge *forge)
{
    struct lt_openers_one one = forge_state(forge, LT_OPENERS_STATE_MIN);

    forge_list(forge);
    for (unsigned i = 1; i < LT_MAX_OPENERS; i++) {
        lt_put_u32(one.state.value[4], i);
        OK(lt_openers_add(&forge->list, &one, &err));
    }
}

static void plan_many(void)
{
    f.openers = list_many;
    f.sealing = "";
}

/* What weighs more comes first, and what finds no room is counted. */
static void many(void **state)
{
    (void)state;
    begin(plan_many);
    judge();
    assert_int_equal(v.link, LT_VERDICT_LINK_COPYABLE);
    assert_int_equal(v.openers.count, LT_MAX_OPENERS);
    assert_int_equal(v.openers.problem_count, LT_VERDICT_PROBLEMS);
    assert_int_equal(v.openers.untold, LT_MAX_OPENERS - LT_VERDICT_PROBLEMS);
    assert_true(lt_verdict_passed(&v, LT_CHECK_RESIDENCY) && omitted("opener-off-policy"));
    for (unsigned i = 0; i < v.openers.problem_count; i++)
        assert_int_equal(v.openers.problem[i].opener, i + 1);
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
    json_t *o = json_object_get(j, "openers"), *p = json_array_get(json_object_get(o, "problems"), 0);
    assert_int_equal(json_integer_value(json_object_get(o, "untold")), v.openers.untold);
    assert_int_equal(json_integer_value(json_object_get(p, "opener")), 1);
    assert_string_equal(json_string_value(json_object_get(p, "reason")), "opener-off-policy");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy),
        cmocka_unit_test(accepted_by_name),
        cmocka_unit_test(version_1_is_copyable),
        cmocka_unit_test(not_sealed),
        cmocka_unit_test(every_flag),
        cmocka_unit_test(missing),
        cmocka_unit_test(every_byte),
        cmocka_unit_test(every_byte_of_a_bundle),
        cmocka_unit_test(what_a_bundle_lacks),
        cmocka_unit_test(foreign_host),
        cmocka_unit_test(software_ek_in_the_registry),
        cmocka_unit_test(not_open_where_it_runs),
        cmocka_unit_test(each_pcr),
        cmocka_unit_test(judged_and_open),
        cmocka_unit_test(policies),
        cmocka_unit_test(each_state_must_enforce),
        cmocka_unit_test(keys),
        cmocka_unit_test(shrunk),
        cmocka_unit_test(closed_before_it_was_retired),
        cmocka_unit_test(retired_host),
        cmocka_unit_test(a_host_off_its_policy_exposes),
        cmocka_unit_test(a_boot_that_never_came_there),
        cmocka_unit_test(exposed_is_sticky),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
