/* Bundles offline: what is redone, what is named as left out, and that no bit can be turned. */
#include "appraisal/checks/offline.h"
#include "tests/support/appraisal/forge.h"
#include "tests/support/vectors.h"

static enum lt_verdict_result judge(const struct lt_bundle *b, const struct lt_offline *o,
                                    struct lt_verdict *v)
{
    OK(lt_offline_appraise(b, o, v, &err));
    return v->result;
}

static bool not_made(const struct lt_verdict *v, enum lt_check c, const char *part)
{
    for (unsigned i = 0; i < v->part_count; i++)
        if (!v->parts[i].note && v->parts[i].check == c && !strcmp(v->parts[i].part, part))
            return true;
    return false;
}

static void flip_all(const struct lt_bundle *b, const char *what, void *field, size_t n)
{
    static const struct lt_offline none;
    uint8_t *p = field;
    struct lt_verdict v;

    for (size_t bit = 0; bit < 8 * n; bit++) {
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (judge(b, &none, &v) != LT_VERDICT_INCONSISTENT)
            fail_msg("%s: byte %zu, bit %zu turned, and the bundle is %s", what, bit / 8, bit % 8,
                     lt_verdict_result_slug(v.result));
        p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(judge(b, &none, &v), LT_VERDICT_CONSISTENT);
}

static void flip_path(const struct lt_bundle *b, const char *what, struct lt_merkle_path *p)
{
    static const struct lt_offline none;
    struct lt_verdict v;

    flip_all(b, what, p->nodes, p->count * LT_MERKLE_NODE);
    flip_all(b, what, &p->index, sizeof p->index);
    p->count--;
    assert_int_equal(judge(b, &none, &v), LT_VERDICT_INCONSISTENT);
    p->count += 2;
    assert_int_equal(judge(b, &none, &v), LT_VERDICT_INCONSISTENT);
    p->count--;
}

/* Every bit that a signature, a hash or a name covers. */
static void flip_bundle(struct lt_bundle *b)
{
    struct {
        const char *what;
        struct lt_bundle_blob *blob;
    } blobs[] = {{"guest attest", &b->guest.attest}, {"guest signature", &b->guest.signature},
                 {"guest AK", &b->guest.ak},         {"guest EK", &b->guest.ek},
                 {"host AK", &b->host.ak},           {"host EK", &b->host.ek}};

    for (size_t i = 0; i < sizeof blobs / sizeof *blobs; i++)
        flip_all(b, blobs[i].what, blobs[i].blob->p, blobs[i].blob->n);
    flip_all(b, "host attest", b->host.quote.attest, b->host.quote.attest_n);
    flip_all(b, "host signature", b->host.quote.signature, b->host.quote.signature_n);
    flip_all(b, "header", b->host.quote.header, LT_RESIDENCY_HEADER);
    flip_all(b, "record", b->proof.record, b->proof.record_n);
    flip_all(b, "tenant_id", b->tenant_id, 16);
    flip_all(b, "guest uuid", b->guest.uuid, 16);
    flip_all(b, "nonce", b->guest.nonce, LT_RESIDENCY_NONCE);
    flip_all(b, "commitment", b->commitment, 32);
    for (int i = 0; i < 16; i++)
        flip_all(b, "host PCR", b->host.quote.pcrs.value[i], 32);
    flip_path(b, "batch path", &b->proof.batch);
    flip_path(b, "residency path", &b->proof.residency);
}

static void forged(struct lt_bundle *b, void (*plan)(struct forge *f))
{
    struct forge f;

    forge_init(&f);
    if (plan)
        plan(&f);
    forge_build(&f);
    forge_bundle(&f, b);
    forge_free(&f);
}

static void consistent_and_what_is_left_out(void **state)
{
    static const struct lt_offline none;
    char is[LT_CHECKS + 1];
    struct lt_verdict v;
    struct lt_bundle b;

    (void)state;
    forged(&b, NULL);
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_CONSISTENT);
    forge_states(&v, is);
    assert_string_equal(is, "P--PPPPPP--");
    assert_string_equal(v.reason, "");
    assert_true(not_made(&v, LT_CHECK_GUEST_QUOTE, "activation") &&
                not_made(&v, LT_CHECK_GUEST_QUOTE, "required-pcrs"));
    assert_false(not_made(&v, LT_CHECK_GUEST_QUOTE, "transport-key"));
    assert_true(not_made(&v, LT_CHECK_HOST_IDENTITY, "activation") &&
                not_made(&v, LT_CHECK_HOST_IDENTITY, "certificate"));
    assert_true(not_made(&v, LT_CHECK_HOST_IDENTITY, "registry") &&
                not_made(&v, LT_CHECK_HOST_POLICY, "accepted-policies"));
    assert_true(not_made(&v, LT_CHECK_RESIDENCY, "history") && not_made(&v, LT_CHECK_RESIDENCY, "expected"));
    assert_true(not_made(&v, LT_CHECK_HOST_CLOCK, "history"));
    free(b.guest.pubkey);
    b.guest.pubkey = NULL;
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_CONSISTENT);
    assert_true(not_made(&v, LT_CHECK_GUEST_QUOTE, "transport-key"));
    b.guest.boot_log.p[100] ^= 1; /* offline without a policy check 3 is not made */
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_CONSISTENT);
    b.host.boot_log.p[b.host.boot_log.n - 20] ^= 1;
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_INCONSISTENT);
    assert_string_equal(v.reason, "host-policy");
    lt_bundle_free(&b);
}

static void with_policy(void **state)
{
    const char *unaccepted = "{\"host_policies\":[]}", *pcr = "{\"pcrs\":{\"23\":[]}}";
    struct lt_policy_guest *policy;
    struct lt_offline o = {0};
    struct lt_verdict v;
    struct lt_bundle b;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_build(&f);
    forge_bundle(&f, &b);
    o.policy = f.guest_policy;
    assert_int_equal(judge(&b, &o, &v), LT_VERDICT_CONSISTENT);
    assert_true(lt_verdict_passed(&v, LT_CHECK_GUEST_POLICY));
    assert_false(not_made(&v, LT_CHECK_RESIDENCY, "expected") ||
                 not_made(&v, LT_CHECK_HOST_POLICY, "accepted-policies"));
    OK(lt_policy_guest_parse(unaccepted, strlen(unaccepted), &policy, &err));
    o.policy = policy;
    assert_int_equal(judge(&b, &o, &v), LT_VERDICT_INCONSISTENT);
    assert_string_equal(v.reason, "host-policy");
    lt_policy_guest_free(policy);
    OK(lt_policy_guest_parse(pcr, strlen(pcr), &policy, &err));
    o.policy = policy;
    assert_int_equal(judge(&b, &o, &v), LT_VERDICT_INCONSISTENT);
    assert_string_equal(v.reason, "guest-policy");
    lt_policy_guest_free(policy);
    lt_bundle_free(&b);
    forge_free(&f);
}

/* What the policy names by digest is not at hand: nothing was judged, and that is no pass. */
static void policy_of_absent_documents(void **state)
{
    struct lt_policy_guest *policy;
    struct lt_offline o = {0};
    struct lt_verdict v;
    struct lt_bundle b;
    struct forge f;
    char text[200];

    (void)state;
    forge_init(&f);
    forge_build(&f);
    forge_bundle(&f, &b);
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text,
                 i ? "{\"boot\":\"%064d\"}" : "{\"layers\":[{\"name\":\"base\",\"policy\":\"%064d\"}]}", 7);
        OK(lt_policy_guest_parse(text, strlen(text), &policy, &err));
        o.policy = policy;
        (void)judge(&b, &o, &v);
        assert_false(lt_verdict_passed(&v, LT_CHECK_GUEST_POLICY));
        assert_int_equal(v.check[LT_CHECK_GUEST_POLICY].state, LT_CHECK_NOT_MADE);
        assert_non_null(strstr(v.check[LT_CHECK_GUEST_POLICY].message, "at hand"));
        lt_policy_guest_free(policy);
    }
    lt_bundle_free(&b);
    forge_free(&f);
}

static void without_host(void **state)
{
    static const struct lt_offline none;
    char is[LT_CHECKS + 1];
    struct lt_verdict v;
    struct lt_bundle b;

    (void)state;
    forged(&b, NULL);
    b.has_host = false;
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_CONSISTENT);
    forge_states(&v, is);
    assert_string_equal(is, "P----------");
    b.commitment[0] ^= 1;
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_INCONSISTENT);
    b.has_host = true; /* so that all is freed */
    lt_bundle_free(&b);
}

static void unlisted(struct forge *f)
{
    f->listed = false;
}

static void null_residency(void **state)
{
    static const struct lt_offline none;
    struct lt_verdict v;
    struct lt_bundle b;

    (void)state;
    forged(&b, unlisted);
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_INCONSISTENT);
    assert_string_equal(v.reason, "residency");
    lt_bundle_free(&b);
}

static void broken_policy_document(void **state)
{
    static const struct lt_offline none;
    struct lt_verdict v;
    struct lt_bundle b;

    (void)state;
    forged(&b, NULL);
    b.policies[0].bytes.p[0] = 'x'; /* the parser of bundles would have refused the digest */
    FAILS(LT_E_MALFORMED, lt_offline_appraise(&b, &none, &v, &err));
    lt_bundle_free(&b);
}

static void every_bit(void **state)
{
    struct lt_bundle b;

    (void)state;
    forged(&b, NULL);
    flip_bundle(&b);
    lt_bundle_free(&b);
}

/* Real TPM structures made by two swtpms. */
static void sample(void **state)
{
    static const struct lt_offline none;
    struct lt_verdict v;
    struct lt_bundle b;
    size_t n;
    LT_AUTOFREE uint8_t *text = lt_vector_read("bundle-sample.json", &n);

    (void)state;
    OK(lt_bundle_parse(text, n, &b, &err));
    assert_int_equal(judge(&b, &none, &v), LT_VERDICT_CONSISTENT);
    assert_int_equal(v.batch_n, 12);
    flip_bundle(&b);
    lt_bundle_free(&b);
}

static void without_note(json_t *notes, const char *part)
{
    for (size_t i = json_array_size(notes); i--;)
        if (!strcmp(json_string_value(json_object_get(json_array_get(notes, i), "part")), part))
            json_array_remove(notes, i);
}

/* A bundle with logs, its policy, and what the version that made it said of it, word for word (but that a
 * record of version 1 is copyable now): as it is, and
 * with one bit turned where each check looks. */
static void as_an_earlier_version_judged_it(void **state)
{
    LT_AUTOFREE uint8_t *text = NULL, *doc = NULL, *told = NULL;
    struct lt_policy_guest *policy;
    size_t text_n, doc_n, told_n;
    struct lt_bundle b;

    (void)state;
    text = lt_vector_read("bundle-logs.json", &text_n);
    doc = lt_vector_read("bundle-logs-policy.json", &doc_n);
    told = lt_vector_read("bundle-logs-verdicts.json", &told_n);
    LT_JSON_AUTO json_t *verdicts = lt_json_parse((char *)told, told_n, told_n, &err);
    OK(lt_bundle_parse(text, text_n, &b, &err));
    OK(lt_policy_guest_parse(doc, doc_n, &policy, &err));
    const struct {
        const char *name;
        uint8_t *byte; /* NULL: none is changed */
    } cases[] = {
        {"", NULL},
        {"policy", NULL},
        {"guest-ima", (uint8_t *)memmem(b.guest.ima.p, b.guest.ima.n, "/usr/bin/web", 12) + 11},
        {"host-ima", b.host.ima.p + b.host.ima.n - 3},
        {"guest-attest", b.guest.attest.p + b.guest.attest.n - 1},
        {"host-header", b.host.quote.header + 40},
        {"record", b.proof.record + 60},
        {"host-pcr", b.host.quote.pcrs.value[7]},
        {"documents", NULL}, /* only the host's policy is there */
    };
    size_t all = b.policy_count;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lt_offline o = {.now = FORGE_NOW, .policy = i ? policy : NULL};
        struct lt_verdict v;
        b.policy_count = strcmp(cases[i].name, "documents") ? all : 1;
        if (cases[i].byte)
            *cases[i].byte ^= 1;
        judge(&b, &o, &v);
        if (cases[i].byte)
            *cases[i].byte ^= 1;
        LT_JSON_AUTO json_t *is = lt_verdict_to_json(&v, NULL);
        size_t at;
        json_t *line;
        json_array_foreach(json_object_get(is, "failed"), at, line)
            json_object_del(line, "cause"); /* what that version did not say */
        without_note(json_object_get(is, "notes"), "not-sealed");
        if (!json_equal(is, json_object_get(verdicts, cases[i].name))) {
            LT_AUTOFREE char *pretty = lt_json_pretty(is);
            fail_msg("\"%s\" is judged otherwise: %s", cases[i].name, pretty);
        }
    }
    assert_int_equal(json_object_size(verdicts), sizeof cases / sizeof *cases);
    b.policy_count = all;
    lt_policy_guest_free(policy);
    lt_bundle_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(consistent_and_what_is_left_out),
        cmocka_unit_test(with_policy),
        cmocka_unit_test(policy_of_absent_documents),
        cmocka_unit_test(without_host),
        cmocka_unit_test(null_residency),
        cmocka_unit_test(broken_policy_document),
        cmocka_unit_test(every_bit),
        cmocka_unit_test(sample),
        cmocka_unit_test(as_an_earlier_version_judged_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
