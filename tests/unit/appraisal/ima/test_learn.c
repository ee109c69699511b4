/* A runtime policy learnt from a list is the one under which that list stands; what could not be learnt is
 * named. */
#include "appraisal/ima/banks.h"
#include "appraisal/ima/learn.h"
#include "common/json.h"
#include "tests/support/appraisal/imalist.h"
#include "tests/support/softkey.h"
#include "tests/support/vectors.h"

#include <openssl/x509.h>

static struct lt_ima_learnt l, other;
static struct lt_ima_result result;
static const struct lt_slice nothing;

/* PCR values of a quote that stands after this list. */
static struct lt_pcrs quote_of(const struct imalist *list)
{
    struct lt_pcrs q = {.alg = LT_HASH_SHA256, .mask = 1u << 10};
    memcpy(q.value[10], list->pcr, LT_SHA256);
    return q;
}

static int appraise(const struct imalist *list, const char *policy)
{
    static const struct lt_policy_layer_rule learnt = {.name = "learnt"};
    struct imapolicy p = {.table = LT_BUF(1 << 20)};

    OK(lt_ima_table_compile(policy, strlen(policy), NULL, &p.table, &err));
    OK(lt_ima_table_open(p.table.p, p.table.n, &p.open, &err));
    p.layers = (struct lt_ima_layers){.count = 1, .layer[0] = {&learnt, p.open}};
    const struct lt_ima_input in = {
        .list = imalist_text(list), .bank = list->bank, .pcr = list->pcr, .layers = &p.layers};
    int rc = lt_ima_appraise(&in, NULL, &result, &err);
    imapolicy_free(&p);
    return rc;
}

static void add_buffer(struct imalist *list, const char *name, const void *p, size_t n)
{
    imalist_add(list, "ima-buf", LT_HASH_SHA256, "", name, (struct lt_slice){p, n});
}

/* Files, buffers, keys; signed and changed since; names of any bytes. In both forms, with a quote and
 * without: the same bytes. */
static void stands_under_what_it_taught(void **state)
{
    EVP_PKEY *key = soft_ecc("P-256");
    unsigned char *der = NULL;
    struct imalist list;
    int n = i2d_PUBKEY(key, &der);

    (void)state;
    imalist_start(&list, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&list, "boot_aggregate");
    imalist_ng(&list, "/init");
    imalist_add(&list, "ima-sig", LT_HASH_SHA256, "second", "/init", nothing); /* changed since: both */
    imalist_add(&list, "ima-ngv2", LT_HASH_SHA512, "third", "/usr/bin/with space", nothing);
    imalist_ng(&list, "/usr/bin/\xc3\xbc\x62ung");
    imalist_ng(&list, "/srv/zo\xebm-k\\x");
    imalist_ng(&list, "/tmp/a\nb\t\r\\x41");
    imalist_ng(&list, "/init"); /* told once */
    add_buffer(&list, "kexec-cmdline", "root=/dev/vda1", 14);
    add_buffer(&list, "kexec-cmdline", "root=/dev/vda2", 14);
    add_buffer(&list, "kernel_version", "6.1", 3);
    add_buffer(&list, ".ima", der, (size_t)n);
    const struct lt_pcrs q = quote_of(&list);
    OK(lt_ima_learn(&(struct lt_ima_lesson){.list = imalist_text(&list), .pcrs = &q}, &l, &err));
    assert_int_equal(l.names, 5);
    assert_int_equal(l.files, 7);
    assert_int_equal(l.buffers, 3);
    assert_int_equal(l.keys, 1);
    assert_int_equal(l.left_out + l.violations + l.behind, 0);
    assert_int_equal(l.escaped, 1);
    assert_string_equal(l.note[0],
                        "IMA entry 5 (/srv/zo\\xebm-k\\x5cx): its name is no UTF-8, the policy has it "
                        "with \\xNN");
    LT_JSON_AUTO json_t *j = lt_json_parse(l.text, strlen(l.text), 1 << 20, &err);
    json_t *digests = json_object_get(j, "digests");
    assert_int_equal(json_array_size(json_object_get(digests, "/init")), 2);
    assert_int_equal(json_array_size(json_object_get(digests, "/srv/zo\\xebm-k\\x5cx")), 1);
    assert_int_equal(json_array_size(json_object_get(digests, "/tmp/a\nb\t\r\\x41")), 1);
    assert_int_equal(json_array_size(json_object_get(json_object_get(j, "ima-buf"), "kexec-cmdline")), 2);
    assert_int_equal(json_array_size(json_object_get(json_object_get(j, "keyrings"), ".ima")), 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "ima"), "log_hash_alg")),
                        "sha1");
    OK(appraise(&list, l.text));
    for (int i = 0; i < 3; i++) {
        const struct lt_ima_lesson lesson = {.list = i % 2 ? imalist_text(&list) : imalist_binary(&list),
                                             .pcrs = i == 2 ? &q : NULL,
                                             .all = i == 2};
        OK(lt_ima_learn(&lesson, &other, &err));
        assert_string_equal(other.text, l.text);
        assert_memory_equal(other.digest, l.digest, LT_SHA256);
        lt_ima_learnt_free(&other);
    }
    imalist_ng(&list, "/usr/bin/new");
    FAILS(LT_E_REFUSED, appraise(&list, l.text));
    add_buffer(&list, "kexec-cmdline", "init=/bin/sh", 12);
    FAILS(LT_E_REFUSED, appraise(&list, l.text));
    assert_int_equal(result.faults, 2);
    lt_ima_learnt_free(&l);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    imalist_free(&list);
}

/* What is behind the quoted entries, unless it is asked for; garbage there is nobody's. */
static void as_far_as_the_quote(void **state)
{
    struct imalist list;

    (void)state;
    imalist_start(&list, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&list, "/init");
    const struct lt_pcrs q = quote_of(&list);
    imalist_ng(&list, "/usr/bin/late");
    struct lt_ima_lesson lesson = {.list = imalist_text(&list), .pcrs = &q};
    OK(lt_ima_learn(&lesson, &l, &err));
    assert_null(strstr(l.text, "late"));
    assert_int_equal(l.behind, 1);
    lt_ima_learnt_free(&l);
    lesson.all = true;
    OK(lt_ima_learn(&lesson, &l, &err));
    assert_non_null(strstr(l.text, "late"));
    lt_ima_learnt_free(&l);
    lt_buf_str(&list.text, "garbage\n");
    lesson.list = imalist_text(&list);
    FAILS(LT_E_MALFORMED, lt_ima_learn(&lesson, &l, &err));
    lesson.all = false;
    OK(lt_ima_learn(&lesson, &l, &err));
    assert_int_equal(l.behind, 1);
    lt_ima_learnt_free(&l);
    lesson.pcrs = NULL;
    FAILS(LT_E_MALFORMED, lt_ima_learn(&lesson, &l, &err));
    assert_null(l.text);
    imalist_free(&list);
}

/* Named and counted, and the rest is learnt. */
static void what_is_not_learnt(void **state)
{
    static char name[LT_MAX_IMA_NAME + 1];
    struct imalist list;

    (void)state;
    memset(name, 0xff, LT_MAX_IMA_NAME);
    imalist_start(&list, LT_HASH_SHA256, LT_HASH_SHA256);
    imalist_ng(&list, "boot_aggregate");
    imalist_ng(&list, "/init");
    imalist_ng(&list, name);
    imalist_ng(&list, "");
    imalist_violation(&list, "/var/log/x");
    OK(lt_ima_learn(&(struct lt_ima_lesson){.list = imalist_text(&list)}, &l, &err));
    assert_int_equal(l.names, 1);
    assert_int_equal(l.left_out, 2);
    assert_int_equal(l.violations, 1);
    assert_non_null(strstr(l.note[0], "IMA entry 2 (\\xff\\xff"));
    assert_non_null(strstr(l.note[0], "its name is too long for a policy"));
    assert_string_equal(l.note[1], "IMA entry 3 (): it has no name");
    assert_non_null(strstr(l.text, "\"log_hash_alg\": \"sha256\""));
    lt_ima_learnt_free(&l);
    imalist_free(&list);
}

static void refused(void **state)
{
    struct imalist list;

    (void)state;
    imalist_start(&list, LT_HASH_SHA256, LT_HASH_SHA1);
    FAILS(LT_E_REFUSED, lt_ima_learn(&(struct lt_ima_lesson){.list = nothing}, &l, &err));
    imalist_ng(&list, "boot_aggregate");
    struct lt_pcrs q = quote_of(&list);
    struct lt_ima_lesson lesson = {.list = imalist_text(&list), .pcrs = &q};
    q.mask |= 0x3ff; /* boot_aggregate is not theirs */
    FAILS(LT_E_REFUSED, lt_ima_learn(&lesson, &l, &err));
    assert_non_null(strstr(err.msg, "does not pass what was learnt from it"));
    q.mask = 1u << 10;
    OK(lt_ima_learn(&lesson, &l, &err));
    lt_ima_learnt_free(&l);
    q.value[10][0] ^= 1;
    FAILS(LT_E_REFUSED, lt_ima_learn(&lesson, &l, &err));
    assert_null(l.text);
    memset(q.value[10], 0, LT_SHA256); /* covers nothing */
    FAILS(LT_E_REFUSED, lt_ima_learn(&lesson, &l, &err));
    q.mask = 0x3ff;
    FAILS(LT_E_REFUSED, lt_ima_learn(&lesson, &l, &err));
    assert_non_null(strstr(err.msg, "PCR 10 is not in the quote"));
    FAILS(LT_E_MALFORMED,
          lt_ima_learn(&(struct lt_ima_lesson){.list = {(const uint8_t *)"10 ab\n", 6}}, &l, &err));
    imalist_free(&list);
}

/* The cases from public reports, and the guests' own lists. */
static void cases(void **state)
{
    static const struct {
        const char *name;
        size_t names;
        unsigned buffers, escaped;
    } files[] = {{"cases/ima-buffers.txt", 1, 2, 0},
                 {"cases/ima-latin1.txt", 2, 0, 1},
                 {"cases/ima-newline.txt", 2, 0, 0},
                 {"cases/ima-old-kernel.txt", 2, 0, 0},
                 {"guest-logs/ovmf/ima_ascii_runtime_measurements", 56, 0, 0},
                 {"guest-logs/ovmf/ima_binary_runtime_measurements", 56, 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct lt_ima_lesson lesson = {0};
        LT_AUTOFREE uint8_t *bytes = lt_vector_read(files[i].name, &lesson.list.n);
        lesson.list.p = bytes;
        OK(lt_ima_learn(&lesson, &l, &err));
        if (l.names != files[i].names || l.buffers != files[i].buffers || l.escaped != files[i].escaped)
            fail_msg("%s: %zu names", files[i].name, l.names);
        assert_int_equal(l.left_out, 0);
        lt_ima_learnt_free(&l);
    }
}

/* A kernel before 5.8 is told, with the quote of the case. */
static void old_kernel(void **state)
{
    struct lt_pcrs q = {.alg = LT_HASH_SHA256, .mask = 1u << 10};
    struct lt_ima_lesson lesson = {.pcrs = &q};
    LT_AUTOFREE uint8_t *bytes = lt_vector_read("cases/ima-old-kernel.txt", &lesson.list.n);

    (void)state;
    lesson.list.p = bytes;
    OK(lt_unhex("17039b98819180854d5f26a760fb95fc7b34be032ac197529ac90c0b50e64b46", q.value[10], LT_SHA256,
                &err));
    OK(lt_ima_learn(&lesson, &l, &err));
    assert_true(l.padded);
    assert_int_equal(l.names, 2);
    lt_ima_learnt_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_under_what_it_taught),
        cmocka_unit_test(as_far_as_the_quote),
        cmocka_unit_test(what_is_not_learnt),
        cmocka_unit_test(refused),
        cmocka_unit_test(cases),
        cmocka_unit_test(old_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
