/* Each of the eleven checks as the only cause: its slug, what rests on it not made, every other passed. And
 * what a failure means (docs/protocol.md section 5). */
#include "tests/support/appraisal/forge.h"

#define HEALTHY "PPPPPPPPPPP"

struct row {
    const char *name;
    void (*plan)(struct forge *f);  /* before the keys sign */
    void (*after)(struct forge *f); /* after */
    enum lt_verdict_result result;
    const char *reason, *states;
};

static void run_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct forge f;
        forge_init(&f);
        if (rows[i].plan)
            rows[i].plan(&f);
        forge_build(&f);
        if (rows[i].after)
            rows[i].after(&f);
        forge_expect(&f, rows[i].name, rows[i].result, rows[i].reason, rows[i].states);
        forge_free(&f);
    }
}
#define RUN(rows) run_rows(rows, sizeof rows / sizeof *rows)

static void other_nonce(struct forge *f)
{
    f->guest.nonce[0] = f->guest.nonce[0] == 'a' ? 'b' : 'a';
}

static void guest_clock_seen(struct forge *f)
{
    f->history.has_clock = true;
    f->history.clock = f->guest_clock;
}

static void guest_pcr_off_policy(struct forge *f)
{
    f->guest_policy->pcrs.accepted[4].d[0][0] ^= 1;
}

static void index_moved(struct forge *f)
{
    f->proof.batch.index ^= 1;
}

static void header_changed(struct forge *f)
{
    f->quote.header[40] ^= 1;
}

static void activation_refused(struct forge *f)
{
    f->host_id->activated = LT_CHECKS_FACT_NO;
}

static void not_in_registry(struct forge *f)
{
    f->host_id->in_registry = LT_CHECKS_FACT_NO;
}

static void host_pcr_off_policy(struct forge *f)
{
    f->host_policy->pcrs.accepted[7].d[0][0] ^= 1;
}

static void host_policy_empty(struct forge *f)
{
    f->host_policy->pcrs.mask = 0;
}

static void other_guest(struct forge *f)
{
    f->record.guest_uuid[0] ^= 1;
}

static void start_after_clock(struct forge *f)
{
    f->record.start_clock_ms = f->host_clock.clock_ms + 1;
}

static void too_late(struct forge *f)
{
    f->host.t5_ms = f->host.t1_ms + LT_WINDOW_MS + 1;
}

static void just_started(struct forge *f)
{
    f->record.start_clock_ms = f->host_clock.clock_ms - (2 * 400 + 1999);
}

static void each_check_alone(void **state)
{
    static const struct row rows[] = {
        {"healthy", NULL, NULL, LT_VERDICT_TRUSTED, "", HEALTHY},
        {"1", NULL, other_nonce, LT_VERDICT_FAILED, "guest-quote", "F---PPPPPP-"},
        {"2", NULL, guest_clock_seen, LT_VERDICT_FAILED, "guest-clock", "PFPPPPPPPPP"},
        {"3", NULL, guest_pcr_off_policy, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP"},
        {"4", NULL, index_moved, LT_VERDICT_FAILED, "batch-inclusion", "PPPFPPPPPP-"},
        {"5", NULL, header_changed, LT_VERDICT_FAILED, "host-quote", "PPP-F----P-"},
        {"6", NULL, activation_refused, LT_VERDICT_FAILED, "host-identity", "PPPPPF---P-"},
        {"7", NULL, host_pcr_off_policy, LT_VERDICT_FAILED, "host-policy", "PPPPPPF--P-"},
        {"7 of nothing", NULL, host_policy_empty, LT_VERDICT_UNCHECKED, "host-policy", "PPPPPP---P-"},
        {"8", other_guest, NULL, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"9", start_after_clock, NULL, LT_VERDICT_UNCHECKED, "host-clock", "PPPPPPPPFP-"},
        {"10", NULL, too_late, LT_VERDICT_STALE, "window", "PPPPPPPPPFP"},
        {"11", just_started, NULL, LT_VERDICT_UNCHECKED, "sandwich", "PPPPPPPPPPF"},
    };
    (void)state;
    RUN(rows);
}

/* ---- what is absent is unchecked, never failed and never passed ---- */

static void no_activation_g(struct forge *f)
{
    f->guest_id->activated = LT_CHECKS_FACT_UNKNOWN;
}

static void no_pubkey(struct forge *f)
{
    f->guest.pubkey = NULL;
}

static void no_required(struct forge *f)
{
    f->guest.required_pcrs = 0;
}

static void no_history(struct forge *f)
{
    f->guest.history = NULL;
}

static void no_policy(struct forge *f)
{
    f->guest.policy = NULL;
}

static void no_activation_h(struct forge *f)
{
    f->host_id->activated = LT_CHECKS_FACT_UNKNOWN;
}

static void no_registry(struct forge *f)
{
    f->host_id->in_registry = LT_CHECKS_FACT_UNKNOWN;
}

static void no_certificate(struct forge *f)
{
    f->host_id->certificate = LT_CHECKS_FACT_UNKNOWN;
}

static void bad_certificate(struct forge *f)
{
    f->host_id->certificate = LT_CHECKS_FACT_NO;
    strcpy(f->host_id->certificate_text, "expired");
}

static void no_root(struct forge *f)
{
    f->host_id->certificate = LT_CHECKS_FACT_UNKNOWN;
    f->host_id->certificate_gap = "no-root";
}

static void no_root_nor_entry(struct forge *f)
{
    no_root(f);
    not_in_registry(f);
}

/* A gap excuses nothing that speaks against the host. */
static void no_root_and_bad(struct forge *f)
{
    no_root_nor_entry(f);
    f->host_id->activated = LT_CHECKS_FACT_NO;
}

static void no_host_policy(struct forge *f)
{
    f->host.policy = NULL;
}

static void policy_not_accepted(struct forge *f)
{
    f->pin_host = false;
}

static void no_host_history(struct forge *f)
{
    f->host.history = NULL;
}

static void no_times(struct forge *f)
{
    f->host.timed = false;
}

static void not_listed(struct forge *f)
{
    f->listed = false;
}

static void not_listed_collision(struct forge *f)
{
    f->listed = false;
    f->header_flags = LT_RESIDENCY_EK_COLLISION;
}

static void paused(struct forge *f)
{
    f->record.flags |= LT_RESIDENCY_PAUSED;
}

static void leaving(struct forge *f)
{
    f->record.flags |= LT_RESIDENCY_MIGRATING_OUT;
}

static void leaving_paused(struct forge *f)
{
    f->record.flags |= LT_RESIDENCY_MIGRATING_OUT | LT_RESIDENCY_PAUSED;
}

static void paused_other_guest(struct forge *f)
{
    paused(f);
    other_guest(f);
}

static void second_time(struct forge *f)
{
    f->history.absent_before = true;
}

static void copyable(struct forge *f)
{
    f->record.flags = LT_RESIDENCY_RUNNING | LT_RESIDENCY_BORN;
}

static void copyable_accepted(struct forge *f)
{
    copyable(f);
    f->accept = "[\"boot-only\",\"copyable\"]";
}

static void boot_only_refused(struct forge *f)
{
    f->accept = "[\"copyable\"]";
}

static void tainted(struct forge *f)
{
    f->record.flags |= LT_RESIDENCY_TAINTED;
}

static void tainted_accepted(struct forge *f)
{
    tainted(f);
    f->accept = "[\"boot-only\",\"tainted\"]";
}

static void not_running(struct forge *f)
{
    f->record.flags &= ~(uint32_t)LT_RESIDENCY_RUNNING;
}

static void unknown_flag(struct forge *f)
{
    f->record.flags |= 128;
}

static void unknown_header_flag(struct forge *f)
{
    f->header_flags = 2;
}

static void known_header_flag(struct forge *f)
{
    f->header_flags = LT_RESIDENCY_EK_COLLISION;
}

static void firmware_unexpected(struct forge *f)
{
    f->guest_policy->firmware.d[0][0] ^= 1;
}

static void domain_unexpected(struct forge *f)
{
    f->guest_policy->domain.d[0][0] ^= 1;
}

static void late_and_young(struct forge *f)
{
    too_late(f);
    f->host_id->in_registry = LT_CHECKS_FACT_UNKNOWN;
}

static void what_a_failure_means(void **state)
{
    static const struct row rows[] = {
        {"guest not activated", NULL, no_activation_g, LT_VERDICT_UNCHECKED, "guest-quote", "----PPPPPP-"},
        {"no transport key", NULL, no_pubkey, LT_VERDICT_UNCHECKED, "guest-quote", "----PPPPPP-"},
        {"required set unknown", NULL, no_required, LT_VERDICT_UNCHECKED, "guest-quote", "----PPPPPP-"},
        {"no history", NULL, no_history, LT_VERDICT_UNCHECKED, "guest-clock", "P-PPPPP--P-"},
        {"no policy", NULL, no_policy, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPP---P-"},
        {"host not activated", NULL, no_activation_h, LT_VERDICT_UNCHECKED, "host-identity", "PPPPP----P-"},
        {"no registry", NULL, no_registry, LT_VERDICT_UNCHECKED, "host-identity", "PPPPP----P-"},
        {"no certificate", NULL, no_certificate, LT_VERDICT_UNCHECKED, "host-identity", "PPPPP----P-"},
        {"not in the registry", NULL, not_in_registry, LT_VERDICT_UNCHECKED, "not-in-registry",
         "PPPPP----P-"},
        {"no maker's root", NULL, no_root, LT_VERDICT_UNCHECKED, "no-root", "PPPPP----P-"},
        {"neither", NULL, no_root_nor_entry, LT_VERDICT_UNCHECKED, "no-root", "PPPPP----P-"},
        {"neither, and not activated", NULL, no_root_and_bad, LT_VERDICT_FAILED, "host-identity",
         "PPPPPF---P-"},
        {"bad certificate", NULL, bad_certificate, LT_VERDICT_FAILED, "host-identity", "PPPPPF---P-"},
        {"no host policy at hand", NULL, no_host_policy, LT_VERDICT_UNCHECKED, "host-policy", "PPPPPP---P-"},
        {"host policy not accepted", policy_not_accepted, NULL, LT_VERDICT_UNCHECKED, "host-policy",
         "PPPPPP---P-"},
        {"no host history", NULL, no_host_history, LT_VERDICT_UNCHECKED, "host-clock", "PPPPPPPP-P-"},
        {"no times", NULL, no_times, LT_VERDICT_UNCHECKED, "window", "PPPPPPPPP--"},
        {"null, first", not_listed, NULL, LT_VERDICT_UNCHECKED, "residency", "PPPPPPPF-P-"},
        {"null, EK twice", not_listed_collision, NULL, LT_VERDICT_UNCHECKED, "residency", "PPPPPPPF-P-"},
        {"null, second", not_listed, second_time, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"paused, first", paused, NULL, LT_VERDICT_UNCHECKED, "residency", "PPPPPPPF-P-"},
        {"paused, second", paused, second_time, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"leaving, first", leaving, NULL, LT_VERDICT_UNCHECKED, "residency", "PPPPPPPF-P-"},
        {"leaving, second", leaving, second_time, LT_VERDICT_UNCHECKED, "residency", "PPPPPPPF-P-"},
        {"leaving and paused", leaving_paused, second_time, LT_VERDICT_UNCHECKED, "residency", "PPPPPPPF-P-"},
        {"paused and another's", paused_other_guest, NULL, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"not running", not_running, NULL, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"unknown record flag", unknown_flag, NULL, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"unknown header flag", unknown_header_flag, NULL, LT_VERDICT_FAILED, "host-quote", "PPP-F----P-"},
        {"known header flag", known_header_flag, NULL, LT_VERDICT_TRUSTED, "", HEALTHY},
        {"copyable", copyable, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY},
        {"copyable by name", copyable_accepted, NULL, LT_VERDICT_TRUSTED, "", HEALTHY},
        {"boot-only not accepted", boot_only_refused, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY},
        {"tainted", tainted, NULL, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"tainted by name", tainted_accepted, NULL, LT_VERDICT_TRUSTED, "", HEALTHY},
        {"firmware", NULL, firmware_unexpected, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"domain", NULL, domain_unexpected, LT_VERDICT_FAILED, "residency", "PPPPPPPF-P-"},
        {"unchecked before stale", NULL, late_and_young, LT_VERDICT_UNCHECKED, "host-identity",
         "PPPPP----F-"},
    };
    (void)state;
    RUN(rows);
}

static void link_level_and_parts(void **state)
{
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    tainted_accepted(&f);
    f.pin_digests = false;
    forge_build(&f);
    f.guest.logs.boot_log = NULL;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    assert_int_equal(v.link, LT_VERDICT_LINK_RESIDENT);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_BOOT_ONLY);
    assert_true(v.tainted && v.has_host && v.has_batch);
    assert_int_equal(v.batch_n, FORGE_BATCH);
    assert_int_equal(v.batch_seq, 42);
    const char *wanted[][2] = {
        {"guest-policy", "boot-log"}, {"guest-policy", "boot-policy"}, {"guest-policy", "ima"},
        {"guest-policy", "pcrs"},     {"host-policy", "boot-policy"},  {"host-policy", "ima"},
        {"host-policy", "pcrs"},      {"residency", "firmware"},       {"residency", "domain"},
        {"residency", "tainted"},     {"guest-clock", "first"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        bool found = false;
        for (unsigned k = 0; k < v.part_count; k++)
            found = found || (!strcmp(lt_check_slug(v.parts[k].check), wanted[i][0]) &&
                              !strcmp(v.parts[k].part, wanted[i][1]));
        if (!found)
            fail_msg("%s/%s is not named", wanted[i][0], wanted[i][1]);
    }
    assert_int_equal(v.part_count, sizeof wanted / sizeof *wanted);
    forge_free(&f);
}

static void live_round_stops(void **state)
{
    void (*const causes[])(struct forge *) = {other_nonce, guest_clock_seen, guest_pcr_off_policy, NULL};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct lt_verdict v;
        struct forge f;
        char is[LT_CHECKS + 1];
        forge_init(&f);
        forge_build(&f);
        if (causes[i])
            causes[i](&f);
        lt_verdict_init(&v);
        lt_checks_appraise_guest(&f.guest, &f.facts, &v);
        assert_int_equal(lt_verdict_stopped(&v), causes[i] != NULL);
        lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
        forge_states(&v, is);
        assert_int_equal(v.result, causes[i] ? LT_VERDICT_FAILED : LT_VERDICT_UNCHECKED);
        assert_string_equal(is + 3, "--------");
        forge_free(&f);
    }
}

/* Nobody's evidence is bad because memory ran out. */
static void no_memory_is_no_fault(void **state)
{
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_build(&f);
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    (void)!lt_fail(&f.host_id->key_fault, LT_E_NO_MEMORY, "no memory");
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "host-quote");
    (void)!lt_fail(&f.guest_id->fault, LT_E_NO_MEMORY, "no memory");
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "guest-quote");
    assert_int_equal(v.check[LT_CHECK_GUEST_QUOTE].state, LT_CHECK_NOT_MADE);
    lt_verdict_init(&v); /* offline nobody asks again: not consistent */
    v.offline = true;
    lt_check_failed(&v, LT_CHECK_GUEST_QUOTE, &f.guest_id->fault);
    lt_verdict_conclude(&v, LT_VERDICT_LINK_RESIDENT, false);
    assert_int_equal(v.result, LT_VERDICT_INCONSISTENT);
    forge_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_is_no_fault), cmocka_unit_test(each_check_alone),
        cmocka_unit_test(what_a_failure_means),  cmocka_unit_test(link_level_and_parts),
        cmocka_unit_test(live_round_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
