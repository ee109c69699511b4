/* One state beside one host policy: what lists hold, what a boot policy and a log may stand for, and what
 * neither may. */
#include "appraisal/checks/opened.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/unit.h"

#define BY_LISTS 0x1104u /* 2, 8, 12: what the boot policy below leaves to values */

/* A machine that starts its kernel without grub. */
struct machine {
    const char *firmware, *kernel, *initrd, *file; /* file: read in PCR 9 besides, first; NULL: none */
};
static const struct machine usual = {"fw", "kernel", "initrd", NULL};

static const char good[] = "{\"firmware\":[\"@fw\"],\"kernel\":[\"@kernel\"],\"initrd\":[\"@initrd\"],"
                           "\"also\":{\"7\":[\"@sb\"],\"14\":[]}}";

static struct lt_boot_log *boot(const struct machine *m, struct lt_pcrs *state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(65536);

    boot_forge_begin(&b);
    boot_forge_label(&b, 0, "firmware", m->firmware);
    boot_forge_label(&b, 1, "order", "order");
    boot_forge_label(&b, 2, "card", "rom");
    boot_forge_label(&b, 7, "variable", "sb");
    boot_forge_label(&b, 4, "kernel", m->kernel);
    boot_forge_label(&b, 12, "line", "line");
    if (m->file)
        boot_forge_label(&b, 9, "file", m->file);
    boot_forge_label(&b, 9, "initrd", m->initrd);
    boot_forge_pcrs(&b, state);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    assert_non_null(l);
    state->mask = LT_OPENERS_STATE_MIN;
    return l;
}

/* "@NAME" becomes the SHA-256 of NAME. */
static void write_policy(const char *text, struct lt_buf *out)
{
    uint8_t digest[LT_SHA256];
    char hex[65];

    for (; *text; text++) {
        size_t n = strcspn(text + 1, "\"");
        if (*text != '@') {
            lt_buf_put(out, text, 1);
            continue;
        }
        lt_sha256(text + 1, n, digest);
        lt_hex(digest, sizeof digest, hex);
        lt_buf_str(out, hex);
        text += n;
    }
}

/* The policy that lists the values of `listed` in state, and has that boot policy (NULL: none). */
struct policy {
    struct lt_policy_host *host;
    struct lt_boot_policy *boot;
    struct lt_measured_documents documents;
    struct lt_checks_openers_policy held;
};

static void policy_new(struct policy *p, const char *text, const struct lt_pcrs *state, uint32_t listed)
{
    LT_AUTOBUF struct lt_buf doc = LT_BUF(1u << 20), json = LT_BUF(1u << 20);
    char hex[65];

    memset(p, 0, sizeof *p);
    lt_buf_str(&json, "{\"pcrs\":{");
    for (unsigned i = 0, more = 0; i < LT_MAX_PCRS; i++) {
        if (!(listed >> i & 1))
            continue;
        lt_hex(state->value[i], 32, hex);
        lt_buf_printf(&json, "%s\"%u\":[\"%s\"]", more++ ? "," : "", i, hex);
    }
    lt_buf_str(&json, "}");
    if (text) {
        write_policy(text, &doc);
        OK(lt_boot_policy_parse(doc.p, doc.n, &p->boot, &err));
        p->documents.boot = p->boot;
        lt_sha256(doc.p, doc.n, p->documents.boot_digest);
        lt_hex(p->documents.boot_digest, 32, hex);
        lt_buf_printf(&json, ",\"boot\":\"%s\"", hex);
    }
    lt_buf_str(&json, "}");
    OK(lt_policy_host_parse(json.p, json.n, &p->host, &err));
    p->held = (struct lt_checks_openers_policy){p->host, &p->documents};
}

static void policy_free(struct policy *p)
{
    lt_policy_host_free(p->host);
    lt_boot_policy_free(p->boot);
}

/* NULL: held; else what the refusal says. */
static void expect(const char *text, uint32_t listed, const struct lt_pcrs *state,
                   const struct lt_boot_log *log, const char *refusal)
{
    struct policy p;
    struct lt_err e = {0};

    policy_new(&p, text, state, listed);
    int rc = lt_checks_openers_holds(&p.held, state, &log, 1, &e);
    if (refusal ? rc != LT_E_REFUSED || !strstr(e.msg, refusal) : rc)
        fail_msg("%s, listed 0x%x: %d (%s), not %s", text ? text : "no boot policy", listed, rc, e.msg,
                 refusal ? refusal : "held");
    policy_free(&p);
}

static void lists_alone(void **state)
{
    struct lt_pcrs pcrs;
    struct lt_boot_log *l = boot(&usual, &pcrs);

    (void)state;
    expect(NULL, LT_OPENERS_STATE_MIN, &pcrs, NULL, NULL);
    for (unsigned i = 0; i < 16; i++) {
        if (LT_OPENERS_STATE_MIN >> i & 1)
            expect(NULL, LT_OPENERS_STATE_MIN & ~(1u << i), &pcrs, l, "does not judge");
        else
            expect(NULL, LT_OPENERS_STATE_MIN | 1u << i, &pcrs, l,
                   i == 10 || i == 13 ? NULL : "leaves it open");
    }
    expect(NULL, LT_OPENERS_STATE_MIN | 1u << 16, &pcrs, l, "PCR 16: the policy judges it");
    pcrs.mask |= 1u << 1; /* a state may hold more than the policy judges */
    expect(NULL, LT_OPENERS_STATE_MIN, &pcrs, NULL, NULL);
    lt_boot_log_free(l);
}

static void what_a_log_may_stand_for(void **state)
{
    struct lt_pcrs pcrs;
    struct lt_boot_log *l = boot(&usual, &pcrs);
    static const struct {
        const char *text;
        uint32_t listed;
        const char *refusal;
    } cases[] = {
        {good, BY_LISTS, NULL},
        {good, BY_LISTS | 1u << 0 | 1u << 9, NULL},
        {good, LT_OPENERS_STATE_MIN, NULL},
        {good, BY_LISTS & ~(1u << 2), "PCR 2: the policy does not judge it"},
        {good, BY_LISTS & ~(1u << 8), "PCR 8: the policy does not judge it"},
        {good, BY_LISTS & ~(1u << 12), "PCR 12: the policy does not judge it"},
        /* 2, 8 and 12 never by a boot policy */
        {"{\"events\":{\"2\":[\"@rom\"]}}", 0x5391, "PCR 2: a boot policy is not enough"},
        {"{\"events\":{\"8\":[]}}", 0x5295, "PCR 8: a boot policy is not enough"},
        {"{\"events\":{\"12\":[\"@line\"]}}", 0x4395, "PCR 12: a boot policy is not enough"},
        {"{\"cmdline\":[\".*\"]}", 0x4395, "PCR 12: a boot policy is not enough"},
        /* 4 by one that names the kernel */
        {"{\"events\":{\"4\":[\"@kernel\"]}}", 0x5385, "PCR 4: a boot policy is not enough"},
        {"{\"shim\":[\"@kernel\"]}", 0x5385, "PCR 4: a boot policy is not enough"},
        {"{\"kernel\":[\"@kernel\"],\"also\":{\"9\":[\"@initrd\"]}}", 0x5385, NULL}, /* 9 is listed */
        {"{\"kernel\":[\"@kernel\"],\"also\":{\"9\":[\"@initrd\"]}}", 0x5185,
         "PCR 9: a boot policy is not enough"},
        {"{\"kernel\":[\"@initrd\"]}", 0x5385, "PCR 4"},
        /* 9 by one in which no other file has a name */
        {"{\"initrd\":[\"@initrd\"]}", 0x5195, NULL},
        {"{\"initrd\":[\"@initrd\"],\"also\":{\"9\":[\"@font\"]}}", 0x5195,
         "PCR 9: a boot policy is not enough"},
        {"{\"initrd\":[\"@initrd\"],\"grub\":[\"@kernel\"]}", 0x5195, "PCR 9: a boot policy is not enough"},
        {"{\"events\":{\"9\":[\"@initrd\"]}}", 0x5195, "PCR 9: a boot policy is not enough"},
        {"{\"initrd\":[\"@evil\"]}", 0x5195, "PCR 9"},
        /* 0, 7, 14 */
        {"{\"events\":{\"0\":[\"@fw\"],\"7\":[\"@sb\"],\"14\":[]}}", 0x1314, NULL},
        {"{\"events\":{\"0\":[\"@fw\",\"@more\"],\"7\":[\"@sb\"],\"14\":[]}}", 0x1314, "was not measured"},
        {"{\"also\":{\"14\":[]}}", 0x1395, NULL},
        /* what it judges and the state leaves open */
        {"{\"events\":{\"1\":[\"@order\"]}}", 0x5395,
         "PCR 1: the policy judges it, and the state leaves it open"},
        {"{\"events\":{\"10\":[]},\"also\":{\"13\":[]}}", 0x5395, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i].text, cases[i].listed, &pcrs, l, cases[i].refusal);
    pcrs.mask |= 1u << 1;
    expect("{\"events\":{\"1\":[\"@order\"]}}", 0x5395, &pcrs, l, "PCR 1: a boot policy is not enough");
    expect("{\"events\":{\"1\":[\"@evil\"]}}", 0x5397, &pcrs, l, NULL); /* its value is listed */
    lt_boot_log_free(l);
}

static void which_log(void **state)
{
    static const struct machine others[] = {{"other", "kernel", "initrd", NULL},
                                            {"fw", "other", "initrd", NULL},
                                            {"fw", "kernel", "other", NULL}};
    struct lt_pcrs pcrs, other;
    struct lt_boot_log *l = boot(&usual, &pcrs);
    const struct lt_boot_log *logs[4] = {NULL};
    struct lt_checks_openers_memo memo[4] = {{LT_CHECKS_FACT_UNKNOWN, LT_CHECKS_FACT_UNKNOWN}};
    struct policy p;

    (void)state;
    expect(good, BY_LISTS, &pcrs, NULL, "no boot log");
    policy_new(&p, good, &pcrs, BY_LISTS);
    FAILS(LT_E_REFUSED, lt_checks_openers_holds(&p.held, &pcrs, NULL, 0, &err));
    for (size_t i = 0; i < 3; i++) { /* the boot of another state, good or not, says nothing of this one */
        struct lt_boot_log *bad = boot(&others[i], &other);
        expect(good, BY_LISTS, &pcrs, bad, "no boot log");
        expect(good, BY_LISTS, &other, bad, others[i].firmware[0] == 'o' ? "PCR 0" : "PCR");
        expect(good, BY_LISTS, &other, l, "no boot log");
        logs[1] = bad;
        logs[2] = l; /* one of them is enough, wherever it stands */
        OK(lt_checks_openers_holds(&p.held, &pcrs, logs, 3, &err));
        lt_boot_log_free(bad);
    }
    /* A state that lists agree with is judged by no log; one that a log passed for is asked about once. */
    logs[0] = l;
    OK(lt_checks_openers_holds_memo(&p.held, &pcrs, logs, 1, memo, &err));
    assert_int_equal(memo[0].passes, LT_CHECKS_FACT_YES);
    OK(lt_checks_openers_holds_memo(&p.held, &pcrs, logs, 1, memo, &err));
    memo[0].passes = LT_CHECKS_FACT_NO;
    FAILS(LT_E_REFUSED, lt_checks_openers_holds_memo(&p.held, &pcrs, logs, 1, memo, &err));
    /* Its document, and no other. */
    p.documents.boot_digest[0] ^= 1;
    FAILS(LT_E_REFUSED, lt_checks_openers_holds(&p.held, &pcrs, logs, 1, &err));
    assert_non_null(strstr(err.msg, "not at hand"));
    p.documents.boot_digest[0] ^= 1;
    p.documents.boot = NULL;
    FAILS(LT_E_REFUSED, lt_checks_openers_holds(&p.held, &pcrs, logs, 1, &err));
    p.held.documents = NULL;
    FAILS(LT_E_REFUSED, lt_checks_openers_holds(&p.held, &pcrs, logs, 1, &err));
    policy_free(&p);
    lt_boot_log_free(l);
}

/* A file of that name was read as the initrd, and the good one's digest extended later: labels are not
 * measured. */
static void an_initrd_under_another_name(void **state)
{
    const struct machine files[] = {{"fw", "kernel", "initrd", "kernel"}, {"fw", "kernel", "initrd", "font"}};
    struct lt_pcrs pcrs;

    (void)state;
    struct lt_boot_log *l = boot(&files[0], &pcrs);
    expect(good, BY_LISTS, &pcrs, l, "an initrd could stand for");
    expect(good, BY_LISTS | 1u << 9, &pcrs, l, NULL);
    lt_boot_log_free(l);
    l = boot(&files[1], &pcrs);
    expect(good, BY_LISTS, &pcrs, l, "PCR 9");
    lt_boot_log_free(l);
}

/* A server with shim and grub, and all that it read named: 8 and 9 by values, or not at all. */
static void grub(void **state)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    struct lt_pcrs pcrs;
    uint32_t covers;
    char *text;

    (void)state;
    boot_forge_server(&b, &(struct boot_plan){.secure_boot = true, .grub_files = true, .dbx = 3});
    boot_forge_pcrs(&b, &pcrs);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    OK(lt_boot_policy_learn(l, NULL, &text, &covers, &err));
    pcrs.mask = 0xd3ff; /* 0-9, 12, 14, 15: all that it learns */
    expect(text, 0x0800 & pcrs.mask, &pcrs, l, "a boot policy is not enough");
    expect(text, 0x53ff & ~(1u << 9), &pcrs, l, "PCR 9: a boot policy is not enough");
    expect(text, 0x53ff & ~(1u << 8), &pcrs, l, "PCR 8: a boot policy is not enough");
    expect(text, 0x53ff & ~0x4081u, &pcrs, l, NULL); /* 0, 7, 14 by the log */
    pcrs.mask = LT_OPENERS_STATE_MIN;
    expect(text, 0x5395, &pcrs, l, "leaves it open"); /* 1, 3, 5, 6 are judged, and move */
    free(text);
    lt_boot_log_free(l);
}

static void reference_state(void **state)
{
    const struct boot_plan plan = {.secure_boot = true, .dbx = 3};
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    struct lt_pcrs pcrs;

    (void)state;
    boot_forge_server(&b, &plan);
    boot_forge_pcrs(&b, &pcrs);
    pcrs.mask = LT_OPENERS_STATE_MIN;
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    LT_AUTOFREE char *text = boot_forge_refstate(&plan);
    expect(text, 0x1314, &pcrs, l, NULL); /* 0, 7, 14; 1, 3, 5 and 6 it has no words for */
    expect(text, 0x1304, &pcrs, l, "PCR 4: a boot policy is not enough");
    expect(text, 0x1114, &pcrs, l, "PCR 9: a boot policy is not enough");
    expect(text, 0x1214, &pcrs, l, "PCR 8: a boot policy is not enough");
    lt_boot_log_free(l);
}

static void golden(void **state)
{
    LT_AUTOBUF struct lt_buf text = LT_BUF(65536);
    struct lt_pcrs pcrs;
    struct lt_boot_log *l = boot(&usual, &pcrs);
    char hex[65];

    (void)state;
    lt_buf_str(&text, "{\"golden\":{\"other\":{\"4\":\"@nothing\"},\"usual\":{");
    for (unsigned i = 0, more = 0; i < 16; i++) {
        if (!(LT_OPENERS_STATE_MIN >> i & 1))
            continue;
        lt_hex(pcrs.value[i], 32, hex);
        lt_buf_printf(&text, "%s\"%u\":\"%s\"", more++ ? "," : "", i, hex);
    }
    lt_buf_put(&text, "}}}", 4);
    const char *all = (const char *)text.p;
    expect(all, 0, &pcrs, NULL, NULL); /* values, like those of a list: no log is asked */
    expect(all, 0x5395, &pcrs, NULL, NULL);
    pcrs.value[7][0] ^= 1;
    expect(all, 0, &pcrs, l, "none of the 2 golden");
    expect(all, 0x5395, &pcrs, l, "none of the 2 golden"); /* lists do not outvote it */
    pcrs.value[7][0] ^= 1;
    pcrs.mask &= ~(1u << 14);
    expect(all, 0x1395, &pcrs, l, "none of the 2 golden"); /* the state leaves open what one names */
    lt_boot_log_free(l);
}

/* PCR 0 starts where its value says, and a start that leads elsewhere is no way to it. */
static void where_pcr_0_starts(void **state)
{
    uint8_t at[32], before[32], event[32], start[32], zeros[32] = {0};

    (void)state;
    lt_sha256("fw", 2, event);
    for (uint8_t locality = 0; locality < 6; locality++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(4096);
        boot_forge_begin(&b);
        boot_forge_label(&b, 0, "firmware", "fw");
        struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
        memset(start, 0, sizeof start);
        start[31] = locality;
        memcpy(at, start, sizeof at);
        memcpy(before, start, sizeof at);
        lt_pcr_extend(LT_HASH_SHA256, at, event);
        bool known = locality < LT_BOOT_LOCALITIES;
        assert_true(lt_boot_log_may_have_held(l, 0, at, before));
        assert_true(lt_boot_log_may_have_held(l, 0, at, at));
        assert_int_equal(lt_boot_log_may_have_held(l, 0, at, zeros), !known || locality == 0);
        assert_int_equal(lt_boot_log_may_have_held(l, 0, at, event), !known);
        lt_boot_log_free(l);
    }
    assert_false(lt_boot_log_may_have_held(&(struct lt_boot_log){.replay = {.present = true}}, 8, zeros,
                                           event)); /* nothing was measured */
    assert_true(
        lt_boot_log_may_have_held(&(struct lt_boot_log){.replay = {.present = false}}, 8, zeros, event));
    assert_true(lt_boot_log_may_have_held(
        &(struct lt_boot_log){.replay = {.present = true, .fault = {.code = LT_E_MALFORMED}}}, 8, zeros,
        event));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_alone), cmocka_unit_test(what_a_log_may_stand_for),
        cmocka_unit_test(which_log),   cmocka_unit_test(an_initrd_under_another_name),
        cmocka_unit_test(grub),        cmocka_unit_test(reference_state),
        cmocka_unit_test(golden),      cmocka_unit_test(where_pcr_0_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
