/* Lists by themselves: the cases from public reports and the guests' own, judged as `limetree log` does it;
 * and what boot_aggregate and kernels before 5.8 decide. */
#include "appraisal/checks/measured.h"
#include "appraisal/ima/banks.h"
#include "tests/support/appraisal/imalist.h"
#include "tests/support/vectors.h"

enum { BANK_SHA1, BANK_SHA256 };

static struct lt_ima_replay replayed;
static struct lt_measured_result judged;
static struct lt_ima_result result;

/* By one policy; q NULL: by what the list replays to. */
static int judge(struct lt_slice list, const struct imapolicy *p, const struct lt_pcrs *q,
                 const char *options)
{
    static const struct lt_policy_pcr_rules rules;
    static const uint8_t name[LT_SHA256];
    struct lt_policy_measured policy = {.layer_count = 1, .layer[0].name = "base"};
    struct lt_measured_documents documents = {.layer[0] = p->open};
    struct lt_pcrs own = {.alg = LT_HASH_SHA256, .mask = 1u << LT_IMA_PCR};
    const struct lt_measured_logs logs = {.has_ima = true, .ima = list, .documents = &documents};
    const struct lt_measured m = {.pcrs = q ? q : &own, .logs = &logs, .alone = true};

    if (!q)
        LT_TRY(lt_ima_replay(list, &replayed, &err));
    memcpy(own.value[LT_IMA_PCR], replayed.bank[BANK_SHA256].value, LT_SHA256);
    memcpy(policy.layer[0].policy, lt_ima_table_digest(p->open), LT_SHA256);
    policy.accept_padded = strstr(options, "padded");
    lt_measured_appraise(&m, &rules, &policy, name, false, &judged);
    if (judged.part[LT_MEASURED_PART_IMA].state == LT_MEASURED_GOOD)
        return 0;
    return lt_fail(&err, LT_E_REFUSED, "%s", judged.part[LT_MEASURED_PART_IMA].message);
}

static void value_is(const uint8_t *value, const char *want)
{
    char hex[2 * LT_SHA256 + 1];

    lt_hex(value, LT_SHA256, hex);
    assert_string_equal(hex, want);
}

static struct lt_slice file(const char *name, uint8_t **keep)
{
    size_t n;

    *keep = lt_vector_read(name, &n);
    return (struct lt_slice){*keep, n};
}

static void cases_replay(void **state)
{
    static const struct {
        const char *name, *pcr;
        unsigned entries;
        bool padded;
    } cases[] = {
        {"cases/ima-buffers.txt", "a54fd19e586d1d18b9438ae7c6041e668e9926d4d2f88c74523c65cf43aac397", 4,
         false},
        {"cases/ima-newline.txt", "6d5c4f6a312179b80aa8e8572879e12b1d68a8543979e1d23d64e5c65c7f7164", 3,
         false},
        {"cases/ima-old-kernel.txt", "17039b98819180854d5f26a760fb95fc7b34be032ac197529ac90c0b50e64b46", 3,
         true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LT_AUTOFREE uint8_t *text = NULL;
        OK(lt_ima_replay(file(cases[i].name, &text), &replayed, &err));
        assert_int_equal(replayed.entries, cases[i].entries);
        value_is(cases[i].padded ? replayed.bank[BANK_SHA256].padded : replayed.bank[BANK_SHA256].value,
                 cases[i].pcr);
        assert_memory_equal(replayed.bank[BANK_SHA1].value, replayed.bank[BANK_SHA1].padded, 20);
    }
}

static void says(const char *want)
{
    if (!strstr(err.msg, want))
        fail_msg("'%s' is not in '%s'", want, err.msg);
}

/* Lines "N HEX". */
static void read_pcrs(const char *name, struct lt_pcrs *out)
{
    size_t n;
    LT_AUTOFREE char *text = (char *)lt_vector_read(name, &n);

    *out = (struct lt_pcrs){.alg = LT_HASH_SHA256};
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned i = (unsigned)strtoul(line, &line, 10);
        assert_true(i < LT_MAX_PCRS);
        OK(lt_unhex(line + strspn(line, " "), out->value[i], LT_SHA256, &err));
        out->mask |= 1u << i;
    }
    assert_int_equal(out->mask & 0x7ff, 0x7ff);
}

/* A policy that allows every path. */
static void any(struct imapolicy *p)
{
    imapolicy_make(p, &(struct imapolicy_parts){.excludes = "[\"(?s).*\"]"});
}

/* Both guests, both forms: boot_aggregate is that of their PCRs, and one PCR of another boot is seen. */
static void guests(void **state)
{
    static const char *const dirs[] = {"guest-logs/ovmf", "guest-logs/seabios"};
    static const char *const forms[] = {"ima_ascii_runtime_measurements", "ima_binary_runtime_measurements"};
    struct imapolicy p;
    struct lt_pcrs q;

    (void)state;
    any(&p);
    for (int i = 0; i < 4; i++) {
        LT_AUTOFREE char *list = lt_file_path(dirs[i / 2], forms[i % 2]),
                         *pcrs = lt_file_path(dirs[i / 2], "pcrs.txt");
        LT_AUTOFREE uint8_t *keep = NULL;
        struct lt_slice all = file(list, &keep);
        read_pcrs(pcrs, &q);
        OK(judge(all, &p, &q, ""));
        assert_false(judged.aggregate_open);
        assert_int_equal(judged.matched, 56);
        assert_true(judged.matched_bytes < all.n);
        for (unsigned pcr = 0; pcr < 11; pcr++) {
            q.value[pcr][31] ^= 1;
            FAILS(LT_E_REFUSED, judge(all, &p, &q, ""));
            says(pcr == 10 ? "after none of its entries" : "IMA entry 0 (boot_aggregate): sha256:");
            q.value[pcr][31] ^= 1;
        }
        q.mask &= ~1u;
        OK(judge(all, &p, &q, ""));
        assert_true(judged.aggregate_open);
        q.mask &= ~(1u << 10);
        FAILS(LT_E_REFUSED, judge(all, &p, &q, ""));
        says("PCR 10: the policy has layers and it is not in the quote");
        OK(judge(all, &p, NULL, ""));
        assert_true(judged.aggregate_open);
        assert_int_equal(judged.matched_bytes, all.n);
    }
    imapolicy_free(&p);
}

/* ---- boot_aggregate ---- */

static void quoted(struct lt_pcrs *q, const struct imalist *l, uint8_t aggregate[LT_SHA256])
{
    struct lt_slice part[10];

    *q = (struct lt_pcrs){.alg = LT_HASH_SHA256, .mask = 0x7ff};
    for (unsigned i = 0; i < 10; i++) {
        memset(q->value[i], (int)i + 1, LT_SHA256);
        part[i] = (struct lt_slice){q->value[i], LT_SHA256};
    }
    if (l)
        memcpy(q->value[10], l->pcr, LT_SHA256);
    lt_hash(LT_HASH_SHA256, part, 10, aggregate);
}

/* An entry whose digest is given. */
static void add_digest(struct imalist *l, const char *path, const uint8_t d[LT_SHA256])
{
    char to[65];
    LT_AUTOBUF struct lt_buf data = LT_BUF(1 << 16);
    const size_t n = strlen(path) + 1;
    uint8_t h[LT_MAX_DIGEST];

    lt_buf_put(&data, "\x28\0\0\0sha256:\0", 12);
    lt_buf_put(&data, d, LT_SHA256);
    lt_buf_put(&data, (const uint8_t[]){(uint8_t)n, (uint8_t)(n >> 8), 0, 0}, 4);
    lt_buf_put(&data, path, n);
    const struct lt_slice all = {data.p, data.n};
    lt_hash(LT_HASH_SHA1, &all, 1, h);
    lt_hex(h, 20, to);
    lt_buf_printf(&l->text, "10 %s ima-ng sha256:", to);
    lt_hex(d, LT_SHA256, to);
    lt_buf_printf(&l->text, "%s %s\n", to, path);
    lt_hash(LT_HASH_SHA256, &all, 1, h);
    lt_sha256_2(l->pcr, LT_SHA256, h, LT_SHA256, l->pcr);
    l->entries++;
}

static int judge_made(const struct imalist *l, struct lt_pcrs *q, const struct imapolicy *p)
{
    memcpy(q->value[10], l->pcr, LT_SHA256);
    return judge(imalist_text(l), p, q, "");
}

static void aggregate(void **state)
{
    uint8_t good[LT_SHA256], other[LT_SHA256] = {9};
    struct imapolicy p, names_other;
    char digests[160], hex[65];
    struct lt_pcrs q;
    struct imalist l;

    (void)state;
    any(&p);
    lt_hex(other, sizeof other, hex);
    snprintf(digests, sizeof digests, "{\"boot_aggregate\":[\"%s\"]}", hex);
    imapolicy_make(&names_other, &(struct imapolicy_parts){.digests = digests, .excludes = "[\"/.*\"]"});
    quoted(&q, NULL, good);
    /* Nothing measured. */
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    FAILS(LT_E_REFUSED, judge_made(&l, &q, &p));
    says("covers no entry");
    FAILS(LT_E_REFUSED, judge(imalist_text(&l), &p, NULL, ""));
    /* Entries, of which PCR 10 covers none. */
    static const uint8_t zeros[LT_SHA256];
    add_digest(&l, "boot_aggregate", good);
    memcpy(q.value[10], zeros, sizeof zeros);
    FAILS(LT_E_REFUSED, judge(imalist_text(&l), &p, &q, ""));
    says("covers no entry");
    OK(judge_made(&l, &q, &p));
    /* kexec: the same again, then another. */
    add_digest(&l, "/bin/a", other);
    add_digest(&l, "boot_aggregate", good);
    OK(judge_made(&l, &q, &p));
    OK(judge_made(&l, &q, &names_other)); /* it names another, which is not this machine's */
    add_digest(&l, "boot_aggregate", other);
    FAILS(LT_E_REFUSED, judge_made(&l, &q, &p));
    says("IMA entry 3 (boot_aggregate): sha256:0900");
    FAILS(LT_E_REFUSED, judge_made(&l, &q, &names_other));
    imalist_free(&l);
    /* Another one first, whatever a layer names; none first. */
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    add_digest(&l, "boot_aggregate", other);
    FAILS(LT_E_REFUSED, judge_made(&l, &q, &p));
    FAILS(LT_E_REFUSED, judge_made(&l, &q, &names_other));
    says("is not that of the quoted PCRs 0-9 of sha256");
    /* By itself: the layers are asked, and what they do not know passes, once. */
    OK(judge(imalist_text(&l), &names_other, NULL, ""));
    assert_true(judged.aggregate_open);
    imalist_free(&l);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    add_digest(&l, "boot_aggregate", good);
    FAILS(LT_E_REFUSED, judge(imalist_text(&l), &names_other, NULL, ""));
    says("which know it with other digests");
    imapolicy_free(&names_other);
    imapolicy_make(&names_other, &(struct imapolicy_parts){.excludes = "[\"/.*\"]"});
    OK(judge(imalist_text(&l), &names_other, NULL, ""));
    add_digest(&l, "boot_aggregate", good);
    OK(judge(imalist_text(&l), &names_other, NULL, ""));
    add_digest(&l, "boot_aggregate", other);
    FAILS(LT_E_REFUSED, judge(imalist_text(&l), &names_other, NULL, ""));
    says("IMA entry 2 (boot_aggregate)");
    imalist_free(&l);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    add_digest(&l, "/init", good);
    add_digest(&l, "boot_aggregate", good);
    FAILS(LT_E_REFUSED, judge_made(&l, &q, &p));
    says("IMA entry 0 (/init): the first entry must be boot_aggregate");
    imalist_free(&l);
    imapolicy_free(&p);
    imapolicy_free(&names_other);
}

/* Replayed from where it stood, the boot PCRs are still those. */
static void aggregate_later(void **state)
{
    struct lt_ima_progress at = {0};
    struct lt_ima_aggregates keep;
    uint8_t good[LT_SHA256];
    struct imapolicy p;
    struct imalist l;
    struct lt_pcrs q;

    (void)state;
    any(&p);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    quoted(&q, NULL, good);
    add_digest(&l, "boot_aggregate", good);
    memcpy(q.value[10], l.pcr, LT_SHA256);
    struct lt_ima_input in = {.list = imalist_text(&l), .layers = &p.layers};
    lt_ima_quoted(&in, &q, &keep);
    assert_int_equal(in.aggregate_count, 2);
    OK(lt_ima_appraise(&in, &at, &result, &err));
    in.first = 1;
    in.list.n = 0;
    OK(lt_ima_appraise(&in, &at, &result, &err));
    q.value[9][0] ^= 1;
    lt_ima_quoted(&in, &q, &keep);
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &result, &err));
    says("its boot_aggregate is no longer that of the quoted PCRs");
    lt_ima_progress_free(&at);
    imalist_free(&l);
    imapolicy_free(&p);
}

/* ---- kernels before 5.8 ---- */

static void old_kernel(void **state)
{
    static const char quote[] = "17039b98819180854d5f26a760fb95fc7b34be032ac197529ac90c0b50e64b46";
    LT_AUTOFREE uint8_t *text = NULL, *doc = NULL;
    struct lt_slice list = file("cases/ima-old-kernel.txt", &text),
                    json = file("cases/policy-true-sh.json", &doc);
    struct imapolicy p = {.table = LT_BUF(1 << 20)}, none;
    struct lt_pcrs q = {.alg = LT_HASH_SHA256, .mask = 1u << 10};

    (void)state;
    OK(lt_ima_table_compile(json.p, json.n, NULL, &p.table, &err));
    OK(lt_ima_table_open(p.table.p, p.table.n, &p.open, &err));
    imapolicy_make(&none, &(struct imapolicy_parts){.digests = NULL});
    OK(lt_unhex(quote, q.value[10], LT_SHA256, &err));
    FAILS(LT_E_REFUSED, judge(list, &p, &q, ""));
    says("SHA-1 and zeros, as kernels before 5.8 do; the policy does not accept that");
    assert_int_equal(judged.faults, 1);
    OK(judge(list, &p, &q, "padded"));
    assert_int_equal(judged.matched, 3);
    OK(judge(list, &p, NULL, "padded")); /* what was accepted before is so still */
    /* What the policy does not know is named, as of any kernel. */
    FAILS(LT_E_REFUSED, judge(list, &none, &q, "padded"));
    says("IMA entry 1 (/usr/bin/true)");
    assert_int_equal(judged.faults, 2);
    q.value[10][0] ^= 1;
    FAILS(LT_E_REFUSED, judge(list, &p, &q, "padded"));
    says("after none of its entries");
    imapolicy_free(&p);
    imapolicy_free(&none);
}

/* Round after round, with a violation between; and a boot into a newer kernel. */
static void old_kernel_grows(void **state)
{
    struct lt_ima_progress at = {0};
    struct imapolicy p;
    struct imalist l;

    (void)state;
    any(&p);
    p.layers.accept_padded = p.layers.accept_violations = true;
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    for (int i = 0; i < 4; i++) {
        size_t from = l.text.n;
        imalist_ng(&l, "/bin/a");
        if (i == 2)
            imalist_violation(&l, "/var/log/x");
        OK(lt_ima_replay(imalist_text(&l), &replayed, &err));
        const struct lt_ima_input in = {.list = {l.text.p + from, l.text.n - from},
                                        .first = at.next,
                                        .bank = LT_HASH_SHA256,
                                        .pcr = replayed.bank[BANK_SHA256].padded,
                                        .layers = &p.layers};
        OK(lt_ima_appraise(&in, &at, &result, &err));
        assert_true(at.padded && result.padded);
        assert_int_equal(at.next, l.entries);
    }
    const struct lt_ima_input now = {
        .list = imalist_text(&l), .bank = LT_HASH_SHA256, .pcr = l.pcr, .layers = &p.layers};
    lt_ima_progress_free(&at);
    OK(lt_ima_appraise(&now, &at, &result, &err));
    assert_false(at.padded || result.padded);
    lt_ima_progress_free(&at);
    imalist_free(&l);
    imapolicy_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_replay),    cmocka_unit_test(guests),     cmocka_unit_test(aggregate),
        cmocka_unit_test(aggregate_later), cmocka_unit_test(old_kernel), cmocka_unit_test(old_kernel_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
