/* What failed within a check, as a word, and as Keylime calls it. */
#include "keylime/events.h"
#include "tests/support/appraisal/forge.h"

struct row {
    void (*plan)(struct forge *f), (*after)(struct forge *f);
    const char *check, *cause, *event;
};

static void other_value(struct forge *f)
{
    f->guest_policy->pcrs.accepted[4].d[0][0] ^= 1;
}

static void not_quoted(struct forge *f)
{
    f->guest_policy->pcrs.mask |= 1u << 20;
}

static void other_key(struct forge *f)
{
    f->guest.pubkey = "another";
}

static void other_bank(struct forge *f)
{
    f->guest_bank = LT_HASH_SHA1;
}

static void forged(struct forge *f)
{
    f->sig_g.p[f->sig_g.n - 1] ^= 1;
}

static void not_allowed(struct forge *f)
{
    f->ima_g.allowed[0] = "/init";
    f->ima_g.allowed[1] = "/usr/lib/libc.so.6";
}

static void no_list(struct forge *f)
{
    f->guest.logs.has_ima = false;
}

static void violation(struct forge *f)
{
    f->ima_g.violation = true;
}

static void aggregate(struct forge *f)
{
    f->ima_g.other_aggregate = true;
}

static void cut(struct forge *f)
{
    const uint8_t *last = memrchr(f->ima_g.list.p, '\n', f->ima_g.list.n - 1);
    f->guest.logs.ima.n = (size_t)(last + 1 - f->ima_g.list.p);
}

static void digest_turned(struct forge *f)
{
    uint8_t *p = memmem(f->ima_g.list.p, f->ima_g.list.n, "/usr/bin/web", 12);
    p[-2] = p[-2] == '0' ? '1' : '0';
}

static void garbage(struct forge *f)
{
    f->guest.logs.ima = (struct lt_slice){(const uint8_t *)"10 zz\n", 6};
}

static void log_of_another_boot(struct forge *f)
{
    f->guest_log->replay.fault.code = 0;
    lt_boot_log_free(f->guest_log);
    f->log_g.p[f->log_g.n - 10] ^= 1; /* the digest of the last event: PCR 8 */
    f->guest_log = lt_boot_log_new((struct lt_slice){f->log_g.p, f->log_g.n});
    f->guest.logs.boot_log = f->guest_log;
}

static void with_boot(struct forge *f)
{
    f->ima_g.boot = true;
}

static void other_boot(struct forge *f)
{
    static const char doc[] = "{\"golden\":{\"usual\":{\"4\":"
                              "\"0000000000000000000000000000000000000000000000000000000000000000\"}}}";

    lt_boot_policy_free(f->ima_g.boot_policy);
    OK(lt_boot_policy_parse(doc, sizeof doc - 1, &f->ima_g.boot_policy, &err));
    f->ima_g.documents.boot = f->ima_g.boot_policy;
}

static const struct row rows[] = {
    {NULL, forged, "guest-quote", NULL, "qoute_validation.quote_validation"},
    {other_bank, NULL, "guest-quote", "bank", "qoute_validation.invalid_hash_alg"},
    {NULL, other_key, "guest-quote", "pcr-16", "pcr_validation.invalid_pcr_16"},
    {NULL, other_value, "guest-policy", "pcr-4", "pcr_validation.invalid_pcr_4"},
    {NULL, not_quoted, "guest-policy", "pcr-missing", "pcr_validation.missing_pcrs"},
    {NULL, log_of_another_boot, "guest-policy", "boot-log-pcr-8", "measured_boot.invalid_pcr_8"},
    {with_boot, other_boot, "guest-policy", "boot-policy", "measured_boot.policy_limetree"},
    {not_allowed, NULL, "guest-policy", "ima-not-listed", "ima.validation.ima-ng.not_in_allowlist"},
    {violation, NULL, "guest-policy", "ima-violation", "ima.validation.tomtou"},
    {aggregate, NULL, "guest-policy", "ima-aggregate", "ima.validation.ima-ng.runtime_policy_hash"},
    {NULL, no_list, "guest-policy", "ima", "ima.pcr_mismatch"},
    {NULL, cut, "guest-policy", "ima", "ima.pcr_mismatch"},
    {NULL, digest_turned, "guest-policy", "ima-hash", "ima.validation.ima_hash"},
    {NULL, garbage, "guest-policy", "ima-entry", "ima.entry"},
};

static const json_t *failed_line(const json_t *verdict, const char *check)
{
    const json_t *line;
    size_t i;

    json_array_foreach(json_object_get(verdict, "failed"), i, line)
    {
        if (!strcmp(json_string_value(json_object_get(line, "check")), check))
            return line;
    }
    return NULL;
}

static void expect(const struct row *w, const json_t *verdict)
{
    const json_t *line = failed_line(verdict, w->check);
    const char *cause = json_string_value(json_object_get(line, "cause"));
    char id[LT_EVENTS_ID];

    assert_non_null(line);
    if (w->cause ? !cause || strcmp(cause, w->cause) : cause != NULL)
        fail_msg("%s, not %s: %s", cause ? cause : "no cause", w->cause ? w->cause : "none",
                 json_string_value(json_object_get(line, "message")));
    lt_events_id(w->check, cause, id);
    assert_string_equal(id, w->event);
}

static void each_cause(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lt_verdict v;
        struct forge f;
        forge_init(&f);
        forge_measure(&f);
        if (rows[i].plan)
            rows[i].plan(&f);
        forge_build(&f);
        if (rows[i].after)
            rows[i].after(&f);
        forge_judge(&f, &v);
        LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
        expect(&rows[i], j);
        forge_free(&f);
    }
}

/* Of several faults the first is told, with its cause and not another's. */
static void the_first_one(void **state)
{
    struct lt_verdict v;

    (void)state;
    lt_verdict_init(&v);
    lt_check_open(&v, LT_CHECK_GUEST_QUOTE);
    lt_check_fault(&v, LT_CHECK_GUEST_QUOTE, "first");
    lt_check_fault_of(&v, LT_CHECK_GUEST_QUOTE, "pcr-16", "second");
    assert_string_equal(v.check[LT_CHECK_GUEST_QUOTE].message, "first");
    assert_string_equal(v.check[LT_CHECK_GUEST_QUOTE].cause, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_cause),
        cmocka_unit_test(the_first_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
