/* What machines measured, in checks 3 and 7: each reason by itself with its message, and the level of a host.
 */
#include "appraisal/checks/offline.h"
#include "tests/support/appraisal/forge.h"

#define HEALTHY "PPPPPPPPPPP"

struct row {
    const char *name;
    void (*plan)(struct forge *f);
    void (*after)(struct forge *f);
    enum lt_verdict_result result;
    const char *reason, *states;
    const char
        *part; /* where says is found: NULL: the failed check's message; else an omitted part or note */
    const char *says;            /* NULL: nothing more to see */
    enum lt_verdict_level level; /* of a row that says nothing of it: LT_VERDICT_LEVEL_NONE */
};

static bool told(const struct lt_verdict *v, const char *part, const char *says)
{
    for (unsigned i = 0; i < v->part_count; i++)
        if (!strcmp(v->parts[i].part, part) && strstr(v->parts[i].message, says))
            return true;
    return false;
}

static const char *first_message(const struct lt_verdict *v)
{
    for (int c = 0; c < LT_CHECKS; c++)
        if (!strcmp(lt_check_slug(c), v->reason))
            return v->check[c].message;
    return "";
}

static void show(const struct lt_verdict *v)
{
    for (int c = 0; c < LT_CHECKS; c++)
        print_message("  %c %s: %s\n", "-PF"[v->check[c].state], lt_check_slug(c), v -> check[c].message);
    for (unsigned i = 0; i < v->part_count; i++)
        print_message("    %s/%s: %s\n", lt_check_slug(v->parts[i].check), v->parts[i].part,
                      v->parts[i].message);
}

static void run(const struct row *row)
{
    char is[LT_CHECKS + 1];
    struct lt_verdict v;
    struct forge f;

    forge_init(&f);
    f.accept = "[]";
    forge_measure(&f);
    if (row->plan)
        row->plan(&f);
    forge_build(&f);
    if (row->after)
        row->after(&f);
    forge_judge(&f, &v);
    forge_states(&v, is);
    bool good = v.result == row->result && !strcmp(v.reason, row->reason) && !strcmp(is, row->states);
    if (row->says)
        good = good &&
               (row->part ? told(&v, row->part, row->says) : strstr(first_message(&v), row->says) != NULL);
    if (row->level)
        good = good && v.level == row->level;
    if (!good) {
        show(&v);
        fail_msg("%s: %s [%s] %s, not %s [%s] %s; to say: %s", row->name, lt_verdict_result_slug(v.result),
                 v.reason, is, lt_verdict_result_slug(row->result), row->reason, row->states,
                 row->says ? row->says : "-");
    }
    forge_free(&f);
}

#define RUN(rows)                                                                                            \
    for (size_t i = 0; i < sizeof(rows) / sizeof *(rows); i++)                                               \
    run(&(rows)[i])

/* ---- the guest, check 3 ---- */

static void no_list(struct forge *f)
{
    f->guest.logs.has_ima = false;
}

static void list_not_had(struct forge *f)
{
    f->guest.logs.has_ima = false;
    f->guest.logs.ima_trouble = "the list is on its way";
}

static void no_pcr10(struct forge *f)
{
    f->guest_mask &= ~(1u << LT_IMA_PCR);
}

static void no_layer(struct forge *f)
{
    f->ima_g.documents.layer[0] = NULL;
}

static void other_layer(struct forge *f)
{
    f->guest_policy->measured.layer[0].policy[0] ^= 1;
}

/* A policy that asks for nothing is not one that passed. */
static void judges_nothing(struct forge *f)
{
    f->guest_policy->pcrs.mask = 0;
    f->guest_policy->measured.layer_count = 0;
    f->guest_policy->measured.has_boot = false;
}

static void not_allowed(struct forge *f)
{
    f->ima_g.allowed[0] = "/init";
    f->ima_g.allowed[1] = "/usr/lib/libc.so.6";
}

static void two_not_allowed(struct forge *f)
{
    f->ima_g.allowed[0] = "/init";
}

static void behind(struct forge *f)
{
    f->ima_g.behind = 1;
}

static void bad_behind(struct forge *f)
{
    not_allowed(f);
    f->ima_g.paths[1] = "/usr/lib/libc.so.6";
    f->ima_g.paths[2] = "/usr/bin/web";
    f->ima_g.behind = 1;
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

static void path_turned(struct forge *f)
{
    uint8_t *p = memmem(f->ima_g.list.p, f->ima_g.list.n, "/usr/bin/web", 12);
    p[11] = 'a';
}

static void tomtou(struct forge *f)
{
    f->ima_g.violation = true;
}

static void tomtou_accepted(struct forge *f)
{
    f->ima_g.violation = true;
    f->ima_g.options = ",\"ima\":{\"violations\":\"accept\"}";
}

static void aggregate(struct forge *f)
{
    f->ima_g.other_aggregate = true;
}

static void vacuous(struct forge *f)
{
    f->ima_g.vacuous = true;
}

static void host_vacuous(struct forge *f)
{
    f->ima_h.vacuous = true;
}

static void no_pcr5(struct forge *f)
{
    f->guest_mask &= ~(1u << 5);
}

static void expired(struct forge *f)
{
    f->ima_g.window = ",\"not_after\":\"2026-01-01T00:00:00Z\"";
}

static void not_yet(struct forge *f)
{
    f->ima_g.window = ",\"not_before\":\"2999-01-01T00:00:00Z\"";
}

static void in_window(struct forge *f)
{
    f->ima_g.window = ",\"not_before\":\"2020-01-01T00:00:00Z\",\"not_after\":\"2999-01-01T00:00:00Z\"";
}

static void boot(struct forge *f)
{
    f->ima_g.boot = true;
}

static void boot_gone(struct forge *f)
{
    f->ima_g.documents.boot = NULL;
}

static void boot_other_digest(struct forge *f)
{
    f->ima_g.documents.boot_digest[0] ^= 1;
}

static void boot_pcr_elsewhere(struct forge *f)
{
    static const char doc[] =
        "{\"golden\":{\"usual\":{\"4\":\"00000000000000000000000000000000000000000000000000000000"
        "00000000\"}}}";
    struct forge_ima *m = &f->ima_g;

    lt_boot_policy_free(m->boot_policy);
    OK(lt_boot_policy_parse(doc, sizeof doc - 1, &m->boot_policy, &err));
    m->documents.boot = m->boot_policy;
}

static void boot_pcr_not_quoted(struct forge *f)
{
    static const char doc[] =
        "{\"golden\":{\"usual\":{\"11\":\"00000000000000000000000000000000000000000000000000000000"
        "00000000\"}}}";
    struct forge_ima *m = &f->ima_g;

    lt_boot_policy_free(m->boot_policy);
    OK(lt_boot_policy_parse(doc, sizeof doc - 1, &m->boot_policy, &err));
    m->documents.boot = m->boot_policy;
}

static void begins_late(struct forge *f)
{
    f->guest.logs.ima_first = 2;
}

static void garbage(struct forge *f)
{
    f->guest.logs.ima = (struct lt_slice){(const uint8_t *)"10 zz\n", 6};
}

static void guest_reasons(void **state)
{
    static const struct row rows[] = {
        {"healthy", NULL, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL, LT_VERDICT_LEVEL_APPRAISED},
        {"no list", NULL, no_list, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL, "no IMA list",
         LT_VERDICT_LEVEL_NONE},
        {"list not had", NULL, list_not_had, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "on its way", LT_VERDICT_LEVEL_NONE},
        {"PCR 10 not quoted", no_pcr10, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "PCR 10", LT_VERDICT_LEVEL_NONE},
        {"no layer", NULL, no_layer, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "layer base: its document", LT_VERDICT_LEVEL_NONE},
        {"other layer", NULL, other_layer, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "not at hand", LT_VERDICT_LEVEL_NONE},
        {"judges nothing", NULL, judges_nothing, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "judges nothing of what was measured", LT_VERDICT_LEVEL_NONE},
        {"not allowed", not_allowed, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "IMA entry 2 (/usr/bin/web): digest sha256:", LT_VERDICT_LEVEL_NONE},
        {"not allowed: layer", not_allowed, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "base@", LT_VERDICT_LEVEL_NONE},
        {"two not allowed", two_not_allowed, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", "ima",
         "IMA entry 3 (/usr/lib/libc.so.6)", LT_VERDICT_LEVEL_NONE},
        {"list ahead of PCR 10", behind, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_NONE},
        /* No quote vouches for it yet: whoever passed the list on could have written it. */
        {"bad entry ahead of PCR 10", bad_behind, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_NONE},
        {"list cut", NULL, cut, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL, "PCR 10",
         LT_VERDICT_LEVEL_NONE},
        {"digest turned", NULL, digest_turned, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "IMA entry 2", LT_VERDICT_LEVEL_NONE},
        {"path turned", NULL, path_turned, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "IMA entry 2", LT_VERDICT_LEVEL_NONE},
        {"ToMToU", tomtou, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL, "IMA entry 4",
         LT_VERDICT_LEVEL_NONE},
        {"ToMToU accepted", tomtou_accepted, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_NONE},
        {"other boot_aggregate", aggregate, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "boot_aggregate", LT_VERDICT_LEVEL_NONE},
        {"nothing measured", vacuous, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "PCR 10 covers no entry, not even boot_aggregate", LT_VERDICT_LEVEL_NONE},
        {"PCR 5 not quoted", no_pcr5, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", "ima",
         "PCR 5: the policy has layers and it is not in the quote", LT_VERDICT_LEVEL_NONE},
        {"layer expired", expired, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "IMA entry 1 (/init)", LT_VERDICT_LEVEL_NONE},
        {"layer not yet valid", not_yet, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL, NULL,
         LT_VERDICT_LEVEL_NONE},
        {"layer in its window", in_window, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_NONE},
        {"boot policy", boot, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL, LT_VERDICT_LEVEL_NONE},
        {"boot policy gone", boot, boot_gone, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "boot policy", LT_VERDICT_LEVEL_NONE},
        {"boot policy of another digest", boot, boot_other_digest, LT_VERDICT_UNCHECKED, "guest-policy",
         "PP-PPPPPPPP", NULL, NULL, LT_VERDICT_LEVEL_NONE},
        {"boot policy: other PCR", boot, boot_pcr_elsewhere, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP",
         NULL, "PCR 4", LT_VERDICT_LEVEL_NONE},
        {"boot policy: PCR not quoted", boot, boot_pcr_not_quoted, LT_VERDICT_FAILED, "guest-policy",
         "PPFPPPPPPPP", NULL, "judges PCR 11, not in the quote", LT_VERDICT_LEVEL_NONE},
        {"list begins late", NULL, begins_late, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "begins at entry 2", LT_VERDICT_LEVEL_NONE},
        {"no list at all", NULL, garbage, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL, NULL,
         LT_VERDICT_LEVEL_NONE},
    };
    (void)state;
    RUN(rows);
}

/* A policy that says nothing of the list leaves it out by name. */
static void what_is_not_asked_is_omitted(void **state)
{
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_build(&f);
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    assert_true(told(&v, "ima", "no layers") && told(&v, "boot-policy", "no boot policy"));
    assert_int_equal(v.level, LT_VERDICT_LEVEL_BOOT_ONLY);
    forge_free(&f);
}

/* The verdict has room for the reasons of both machines, and says how many more there are. */
static void many_faults(void **state)
{
    static char names[15][32];
    struct lt_verdict v;
    struct forge f;
    unsigned notes = 0;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    for (int i = 0; i < 15; i++) {
        snprintf(names[i], sizeof names[i], "/bin/evil%d", i);
        f.ima_g.paths[i] = names[i];
    }
    f.ima_g.allowed[0] = "/init";
    f.ima_g.violation = true;
    f.ima_g.other_aggregate = true;
    forge_build(&f);
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    for (unsigned i = 0; i < v.part_count; i++)
        notes += v.parts[i].note && v.parts[i].check == LT_CHECK_GUEST_POLICY;
    assert_int_equal(notes, LT_IMA_FAULTS); /* 15 more, and how many are not told: 17 in all */
    assert_true(told(&v, "ima", "/bin/evil13") && told(&v, "ima", "1 more"));
    LT_JSON_AUTO json_t *j = lt_verdict_to_json(&v, NULL);
    assert_non_null(j);
    forge_free(&f);
}

/* ---- the host, check 7 ---- */

static void drop(struct forge *f, const char *path)
{
    unsigned n = 0;

    for (unsigned i = 0; f->ima_h.paths[i]; i++)
        if (strcmp(f->ima_h.paths[i], path))
            f->ima_h.paths[n++] = f->ima_h.paths[i];
    f->ima_h.paths[n] = NULL;
}

static void accept_boot_only(struct forge *f)
{
    f->accept = "[\"boot-only\"]";
}

static void no_agent(struct forge *f)
{
    drop(f, "/usr/sbin/limetree-agent");
}

static void no_libvirt(struct forge *f)
{
    drop(f, "/usr/sbin/libvirtd");
}

static void virtqemud(struct forge *f)
{
    f->ima_h.paths[1] = "/usr/sbin/virtqemud";
}

static void no_qemu(struct forge *f)
{
    f->ima_h.paths[3] = "/usr/bin/qemu-system-";
}

static void no_swtpm(struct forge *f)
{
    drop(f, "/usr/bin/swtpm");
    f->ima_h.paths[4] = "/usr/bin/swtpm_setup";
}

static void no_libraries(struct forge *f)
{
    drop(f, "/usr/lib/libtpms.so.0");
}

static void swtpm_excluded(struct forge *f)
{
    for (unsigned i = 0; f->ima_h.paths[i]; i++)
        f->ima_h.allowed[i] = i == 2 ? "/usr/bin/another" : f->ima_h.paths[i];
    f->ima_h.exclude = "\"/usr/bin/swtpm\"";
}

static void libraries_excluded(struct forge *f)
{
    for (unsigned i = 0; i < 4; i++)
        f->ima_h.allowed[i] = f->ima_h.paths[i];
    f->ima_h.exclude = "\"/usr/lib/\"";
}

/* The list says swtpm, PCR 10 does not: anybody can write a line. */
static void swtpm_not_attested(struct forge *f)
{
    accept_boot_only(f);
    f->ima_h.paths[2] = "/usr/lib/libtpms.so.0";
    f->ima_h.paths[4] = "/usr/bin/swtpm";
    f->ima_h.behind = 1;
}

static void host_not_allowed(struct forge *f)
{
    f->ima_h.allowed[0] = "/usr/sbin/limetree-agent";
}

static void host_no_list(struct forge *f)
{
    f->host.logs.has_ima = false;
}

static void host_list_not_had(struct forge *f)
{
    host_no_list(f);
    f->host.logs.ima_trouble = "could not be had";
}

static void host_no_layer(struct forge *f)
{
    f->ima_h.documents.layer[0] = NULL;
}

static void host_boot(struct forge *f)
{
    f->ima_h.boot = true;
}

static void host_boot_gone(struct forge *f)
{
    f->ima_h.documents.boot = NULL;
}

static void host_levels(void **state)
{
    static const struct row rows[] = {
        {"appraised", NULL, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL, LT_VERDICT_LEVEL_APPRAISED},
        {"virtqemud", virtqemud, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_APPRAISED},
        {"no agent", no_agent, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs", ": limetree-agent;",
         LT_VERDICT_LEVEL_BOOT_ONLY},
        {"no libvirt", no_libvirt, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs",
         ": libvirtd or virtqemud;", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"no QEMU", no_qemu, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs", ": qemu-system-*;",
         LT_VERDICT_LEVEL_BOOT_ONLY},
        {"no swtpm, no library", no_swtpm, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs",
         ": swtpm", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"no libraries", no_libraries, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs",
         ": their libraries", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"swtpm excluded", swtpm_excluded, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs",
         ": swtpm;", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"libraries excluded", libraries_excluded, NULL, LT_VERDICT_UNCHECKED, "level", HEALTHY, "programs",
         ": their libraries", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"swtpm past PCR 10", swtpm_not_attested, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, "programs",
         ": swtpm;", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"entry not allowed", host_not_allowed, NULL, LT_VERDICT_FAILED, "host-policy", "PPPPPPF--P-", NULL,
         "IMA entry 2 (/usr/sbin/libvirtd)", LT_VERDICT_LEVEL_NONE},
        {"nothing measured", host_vacuous, NULL, LT_VERDICT_FAILED, "host-policy", "PPPPPPF--P-", NULL,
         "PCR 10 covers no entry", LT_VERDICT_LEVEL_NONE},
        {"no list", NULL, host_no_list, LT_VERDICT_FAILED, "host-policy", "PPPPPPF--P-", NULL, "no IMA list",
         LT_VERDICT_LEVEL_NONE},
        {"list not had", NULL, host_list_not_had, LT_VERDICT_UNCHECKED, "host-policy", "PPPPPP---P-", NULL,
         "could not be had", LT_VERDICT_LEVEL_NONE},
        {"no layer", NULL, host_no_layer, LT_VERDICT_UNCHECKED, "host-policy", "PPPPPP---P-", NULL,
         "layer base", LT_VERDICT_LEVEL_NONE},
        {"boot policy", host_boot, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_APPRAISED},
        {"boot policy gone", host_boot, host_boot_gone, LT_VERDICT_UNCHECKED, "host-policy", "PPPPPP---P-",
         NULL, "boot policy", LT_VERDICT_LEVEL_NONE},
    };
    (void)state;
    RUN(rows);
}

/* One appraisal for all guests; another list, policy or PCR value is another appraisal. */
static void host_is_judged_once(void **state)
{
    struct lt_result_cache *cache = lt_measured_cache_new();
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    forge_build(&f);
    f.host.measured_cache = cache;
    forge_judge(&f, &v);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_APPRAISED);
    f.host.logs.ima = (struct lt_slice){(const uint8_t *)"never read", 10}; /* under the digest of before */
    forge_judge(&f, &v);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_APPRAISED);
    f.ima_h.digest[0] ^= 1;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    assert_string_equal(v.reason, "host-policy");
    forge_judge(&f, &v); /* that is kept too */
    assert_string_equal(v.reason, "host-policy");
    f.host.logs.ima_digest = NULL; /* of unknown identity: always judged */
    f.host.logs.ima = (struct lt_slice){f.ima_h.list.p, f.ima_h.list.n};
    forge_judge(&f, &v);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_APPRAISED);
    /* What is lacking is not kept. */
    f.ima_h.digest[0] ^= 2;
    f.host.logs.ima_digest = f.ima_h.digest;
    const struct lt_ima_table *t = f.ima_h.documents.layer[0];
    f.ima_h.documents.layer[0] = NULL;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    f.ima_h.documents.layer[0] = t;
    forge_judge(&f, &v);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_APPRAISED);
    forge_free(&f);
    lt_result_cache_free(cache);
}

/* Linked with --wrap: a judge without memory, as often as said. */
static unsigned starve;
int __real_lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *l,
                                const struct lt_pcrs *q, struct lt_err *e);
int __wrap_lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *l,
                                const struct lt_pcrs *q, struct lt_err *e);

int __wrap_lt_boot_policy_judge(const struct lt_boot_policy *p, const struct lt_boot_log *l,
                                const struct lt_pcrs *q, struct lt_err *e)
{
    if (!starve)
        return __real_lt_boot_policy_judge(p, l, q, e);
    starve--;
    return lt_fail(e, LT_E_NO_MEMORY, "no memory to match a pattern");
}

/* Without memory nothing is judged: no guest of the host fails for it, and the next round asks again. */
static void no_memory_is_no_verdict(void **state)
{
    struct lt_result_cache *cache = lt_measured_cache_new();
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    host_boot(&f);
    forge_build(&f);
    f.host.measured_cache = cache;
    starve = 1;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_string_equal(v.reason, "host-policy");
    assert_int_equal(v.check[LT_CHECK_HOST_POLICY].state, LT_CHECK_NOT_MADE);
    assert_non_null(strstr(v.check[LT_CHECK_HOST_POLICY].message, "no memory to match"));
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    forge_free(&f);
    lt_result_cache_free(cache);
}

/* What consistent does not name is made: a part without memory is not left out of it. */
static void no_memory_is_not_consistent(void **state)
{
    static struct lt_measured_result r;
    struct lt_verdict v;

    (void)state;
    r.part[LT_MEASURED_PART_BOOT_POLICY].state = LT_MEASURED_LACKING;
    for (int starved = 0; starved < 2; starved++) {
        lt_verdict_init(&v);
        v.offline = true;
        assert_true(lt_check_open(&v, LT_CHECK_GUEST_QUOTE));
        r.part[LT_MEASURED_PART_BOOT_POLICY].starved = starved;
        lt_measured_tell(&r, LT_CHECK_GUEST_QUOTE, &v);
        lt_verdict_conclude(&v, LT_VERDICT_LINK_RESIDENT, false);
        assert_int_equal(v.result, starved ? LT_VERDICT_INCONSISTENT : LT_VERDICT_CONSISTENT);
    }
}

/* Every input of the key, turned by itself. */
static void cache_keys_differ(void **state)
{
    uint8_t name[34] = {1}, policy[32] = {2}, log[32] = {3}, list[32] = {4}, keys[16][32];
    struct lt_pcrs pcrs = {.alg = LT_HASH_SHA256, .mask = 0xffff};
    struct lt_policy_measured p = {.layer_count = 1, .layer[0].not_after = 100};
    struct lt_measured_documents d = {0};
    struct lt_measured_logs l = {.boot_log = (const void *)&d,
                                 .has_ima = true,
                                 .documents = &d,
                                 .boot_log_digest = log,
                                 .ima_digest = list};
    unsigned n = 0;

    (void)state;
#define KEY(at) l.now = (at), lt_measured_key(name, &pcrs, policy, &p, &l, keys[n++])
    KEY(50);
    KEY(101);
    name[33] ^= 1, KEY(50);
    policy[31] ^= 1, KEY(50);
    log[31] ^= 1, KEY(50);
    list[31] ^= 1, KEY(50);
    pcrs.value[10][31] ^= 1, KEY(50);
    pcrs.mask ^= 1, KEY(50);
    d.layer[0] = (const void *)&d, KEY(50);
    d.boot = (const void *)&d, KEY(50);
    l.boot_log = NULL, KEY(50);
    l.boot_log_trouble = "not had", KEY(50); /* not made is no verdict, and none of a machine without one */
    l.has_ima = false, KEY(50);
    l.boot_log_trouble = NULL, KEY(50);
    l.ima_trouble = "not had", KEY(50);
    l.boot_log_trouble = "not had", KEY(50);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < i; k++)
            assert_memory_not_equal(keys[i], keys[k], 32);
}

/* ---- incremental ---- */

/* The rest of the list alone, from where the last round's replay stands. */
static void goes_on_where_it_stood(void **state)
{
    struct lt_ima_progress p = {0};
    struct lt_verdict v;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    forge_build(&f);
    f.guest.progress = &p;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    assert_int_equal(p.next, 4);
    f.guest.logs.ima_first = 4; /* nothing new */
    f.guest.logs.ima = (struct lt_slice){(const uint8_t *)"", 0};
    forge_judge(&f, &v);
    if (v.result != LT_VERDICT_TRUSTED)
        show(&v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    f.guest.logs.ima_first = 3;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    assert_int_equal(p.next, 4);
    p.run[0] ^= 1; /* not the PCR that the quote has */
    f.guest.logs.ima_first = 4;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    f.guest.logs.ima_first = 0; /* whole again: it must go through what was seen */
    f.guest.logs.ima = (struct lt_slice){f.ima_g.list.p, f.ima_g.list.n};
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    p.run[0] ^= 1;
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_TRUSTED);
    lt_ima_progress_free(&p);
    forge_free(&f);
}

static void pcrs_that_are_needed(void **state)
{
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    f.ima_g.boot = true;
    forge_build(&f);
    const struct lt_policy_guest *p = f.guest_policy;
    assert_int_equal(lt_measured_pcrs(&p->pcrs, &p->measured, &f.ima_g.documents),
                     LT_IMA_BOOT_PCRS | 1u << LT_IMA_PCR | 1u << 12);
    boot_pcr_not_quoted(&f);
    assert_int_equal(lt_measured_pcrs(&p->pcrs, &p->measured, &f.ima_g.documents),
                     LT_IMA_BOOT_PCRS | 1u << LT_IMA_PCR | 1u << 11 | 1u << 12);
    forge_free(&f);
}

/* ---- PCRs that a policy leaves open ---- */

static uint32_t opened; /* PCRs that the policy of the row does not name */

static void guest_open(struct forge *f)
{
    f->guest_named &= ~opened;
}

static void guest_open_accepted(struct forge *f)
{
    guest_open(f);
    f->accept = "[\"open-boot\"]";
}

/* A boot policy names the values of all PCRs that the rules leave open. */
static void guest_boot_covers(struct forge *f)
{
    guest_open(f);
    f->ima_g.boot = true; /* of PCR 4 */
}

static void guest_bad_file(struct forge *f)
{
    guest_open(f);
    not_allowed(f);
}

static void host_open(struct forge *f)
{
    f->host_named &= ~opened;
    accept_boot_only(f);
}

static void host_open_pcr14(struct forge *f)
{
    f->host_pcrs.value[14][0] = 1;
    accept_boot_only(f);
}

static void host_named_pcr14(struct forge *f)
{
    host_open_pcr14(f);
    f->host_named |= 1u << 14;
}

static void host_boot_covers(struct forge *f)
{
    host_open(f);
    f->ima_h.boot = true;
}

static void open_pcrs(void **state)
{
    static const struct row decides = {"guest",
                                       guest_open,
                                       NULL,
                                       LT_VERDICT_UNCHECKED,
                                       "guest-policy",
                                       "PP-PPPPPPPP",
                                       NULL,
                                       "accept \"open-boot\"",
                                       LT_VERDICT_LEVEL_NONE};
    static const struct row accepted = {
        "guest, accepted",         guest_open_accepted, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
        LT_VERDICT_LEVEL_APPRAISED};
    static const struct row host = {"host",  host_open, NULL,        LT_VERDICT_TRUSTED,        "",
                                    HEALTHY, "level",   "boot-only", LT_VERDICT_LEVEL_BOOT_ONLY};
    static const struct row rows[] = {
        {"bad file all the same", guest_bad_file, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP",
         NULL, "/usr/bin/web", LT_VERDICT_LEVEL_NONE},
        {"host, PCR 14 is something", host_open_pcr14, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, "pcrs",
         ": PCR 14", LT_VERDICT_LEVEL_BOOT_ONLY},
        {"host, PCR 14 named", host_named_pcr14, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_APPRAISED},
    };

    (void)state;
    for (unsigned i = 0; i <= 12; i = i == 9 ? 12 : i + 1) {
        char name[16];
        bool code = i != 1 && i != 3 && i != 5 && i != 6;
        snprintf(name, sizeof name, ": PCR %u", i);
        opened = 1u << i;
        struct row g = i == 4 || i == 8 || i == 9 || i == 12 ? decides : accepted, h = host;
        struct row named = accepted,
                   covered = {
                       "boot policy", guest_boot_covers,         NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL,
                       NULL,          LT_VERDICT_LEVEL_APPRAISED};
        g.plan = guest_open;
        run(&g); /* named without being accepted where it lowers nothing */
        named.part = "pcrs";
        named.says = name;
        run(&named);
        h.level = code ? LT_VERDICT_LEVEL_BOOT_ONLY : LT_VERDICT_LEVEL_APPRAISED;
        h.part = code ? "level" : "pcrs";
        h.says = code ? "boot-only" : name;
        run(&h);
        if (i != 4)
            continue;
        run(&covered);
        covered.plan = host_boot_covers;
        run(&covered);
    }
    opened = 1u << 8;
    RUN(rows);
}

/* ---- a name that meets a pattern's limits: any user of the machine can make one ---- */

static void costly_name(struct forge *f)
{
    unsigned n = 0;

    for (; f->ima_g.paths[n]; n++)
        f->ima_g.allowed[n] = f->ima_g.paths[n];
    f->ima_g.paths[n] = "/home/u/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.";
    f->ima_g.exclude = "\"/home/u/(x+x+)+$\"";
}

static void costly_name_and_bad_file(struct forge *f)
{
    unsigned n = 0;

    costly_name(f);
    while (f->ima_g.paths[n])
        n++;
    f->ima_g.paths[n] = "/usr/bin/evil";
}

static void names_that_cost(void **state)
{
    static const struct row rows[] = {
        {"costly name", costly_name, NULL, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "limit exceeded", LT_VERDICT_LEVEL_NONE},
        {"costly name in front of a bad file", costly_name_and_bad_file, NULL, LT_VERDICT_FAILED,
         "guest-policy", "PPFPPPPPPPP", NULL, "/usr/bin/evil", LT_VERDICT_LEVEL_NONE},
    };
    (void)state;
    RUN(rows);
}

/* ---- a boot that measured no command line: all that a policy names of it is zeros ---- */

static void dark_guest(struct forge *f)
{
    f->dark_guest = true;
    f->pin_digests = false;
}

/* The host says which kernel and command line it gave. */
static void dark_guest_of_a_domain(struct forge *f)
{
    f->dark_guest = true;
}

static void dark_guest_accepted(struct forge *f)
{
    dark_guest(f);
    f->accept = "[\"open-boot\"]";
}

/* Who booted as he liked can extend PCR 11, too: only one that is judged tells. */
static void dark_guest_extends(struct forge *f)
{
    dark_guest(f);
    f->guest_mask |= 1u << 11;
    f->guest_pcrs.value[11][0] = 1;
}

static void dark_guest_of_systemd(struct forge *f)
{
    dark_guest_extends(f);
    f->guest_named |= 1u << 11;
}

static void dark_host(struct forge *f)
{
    f->dark_host = true;
    accept_boot_only(f);
}

static void no_command_line(void **state)
{
    static const struct row rows[] = {
        {"guest", dark_guest, NULL, LT_VERDICT_UNCHECKED, "guest-policy", "PP-PPPPPPPP", NULL,
         "nothing measured the command line", LT_VERDICT_LEVEL_NONE},
        {"guest, PCR 11 by anybody", dark_guest_extends, NULL, LT_VERDICT_UNCHECKED, "guest-policy",
         "PP-PPPPPPPP", NULL, "nothing measured the command line", LT_VERDICT_LEVEL_NONE},
        {"guest, PCR 11", dark_guest_of_systemd, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_APPRAISED},
        {"guest, domain", dark_guest_of_a_domain, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_APPRAISED},
        {"guest, accepted", dark_guest_accepted, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, NULL, NULL,
         LT_VERDICT_LEVEL_APPRAISED},
        {"host", dark_host, NULL, LT_VERDICT_TRUSTED, "", HEALTHY, "level", "PCR 8, 9 and 12 are zero",
         LT_VERDICT_LEVEL_BOOT_ONLY},
    };
    (void)state;
    RUN(rows);
}

/* ---- the rules for verifiers of keylime-api 9.3, G1 to G5, each turned by itself ---- */

static void g1_other_bank(struct forge *f)
{
    f->guest_bank = LT_HASH_SHA1;
}

static void g1_blob_renumbered(struct forge *f)
{
    f->guest_pcrs.mask ^= 1u << 8 | 1u << 9;
    memcpy(f->guest_pcrs.value[9], f->guest_pcrs.value[8], 32);
}

static void g1_more_than_asked(struct forge *f)
{
    f->guest.required_pcrs &= ~(1u << 8);
}

/* Even where nobody has told what must be quoted, the policy tells. */
static void g2_policy_decides(struct forge *f)
{
    f->guest_mask &= ~(1u << 4);
}

static void g3_unrestricted(struct forge *f)
{
    f->guest_ak_shape.attributes &= ~0x00010000u;
}

static void rules_for_verifiers(void **state)
{
    static const struct row rows[] = {
        {"G1: bank", g1_other_bank, NULL, LT_VERDICT_FAILED, "guest-quote", "F---PPPPPP-", NULL,
         "sha384 alone", LT_VERDICT_LEVEL_NONE},
        {"G1: blob's bitmap", NULL, g1_blob_renumbered, LT_VERDICT_FAILED, "guest-quote", "F---PPPPPP-", NULL,
         "the signed selection is", LT_VERDICT_LEVEL_NONE},
        {"G1: required set", NULL, g1_more_than_asked, LT_VERDICT_FAILED, "guest-quote", "F---PPPPPP-", NULL,
         "required is", LT_VERDICT_LEVEL_NONE},
        {"G2: PCR of the list", no_pcr10, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP", NULL,
         "PCR 10", LT_VERDICT_LEVEL_NONE},
        {"G2: PCR of the rules", g2_policy_decides, NULL, LT_VERDICT_FAILED, "guest-policy", "PPFPPPPPPPP",
         NULL, "PCR 4: named in policy", LT_VERDICT_LEVEL_NONE},
        {"G2: PCR of the boot policy", boot, boot_pcr_not_quoted, LT_VERDICT_FAILED, "guest-policy",
         "PPFPPPPPPPP", NULL, "judges PCR ", LT_VERDICT_LEVEL_NONE},
        {"G3: AK attributes", g3_unrestricted, NULL, LT_VERDICT_FAILED, "guest-quote", "F---PPPPPP-", NULL,
         "AK", LT_VERDICT_LEVEL_NONE},
    };
    struct lt_history_guest h = {0};
    struct lt_verdict v;
    struct forge f;

    (void)state;
    RUN(rows);
    /* G4: before anything was seen, nothing is good. */
    lt_verdict_init(&v);
    lt_verdict_conclude(&v, LT_VERDICT_LINK_COPYABLE, true);
    assert_int_equal(v.result, LT_VERDICT_UNCHECKED);
    /* G5: the clock of a good quote is kept, also when another check fails. */
    forge_init(&f);
    forge_measure(&f);
    not_allowed(&f);
    forge_build(&f);
    forge_judge(&f, &v);
    assert_int_equal(v.result, LT_VERDICT_FAILED);
    lt_history_guest_learn(&h, &f.facts);
    assert_true(h.has_clock && h.clock.clock_ms == f.guest_clock.clock_ms);
    forge_free(&f);
}

/* ---- offline ---- */

static void offline(void **state)
{
    struct lt_offline o = {.now = FORGE_NOW};
    struct lt_verdict v;
    struct lt_bundle b;
    struct forge f;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    f.ima_g.boot = f.ima_h.boot = true;
    forge_build(&f);
    forge_bundle(&f, &b);
    o.policy = f.guest_policy;
    OK(lt_offline_appraise(&b, &o, &v, &err));
    if (v.result != LT_VERDICT_CONSISTENT)
        show(&v);
    assert_int_equal(v.result, LT_VERDICT_CONSISTENT);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_APPRAISED);
    assert_true(lt_verdict_passed(&v, LT_CHECK_GUEST_POLICY));
    /* A line more than PCR 10 knows, that no layer allows. */
    uint8_t *p = memmem(b.guest.ima.p, b.guest.ima.n, "/usr/bin/web", 12);
    p[11] ^= 1;
    OK(lt_offline_appraise(&b, &o, &v, &err));
    assert_int_equal(v.result, LT_VERDICT_INCONSISTENT);
    assert_string_equal(v.reason, "guest-policy");
    p[11] ^= 1;
    b.host.ima.p[b.host.ima.n - 3] ^= 1;
    OK(lt_offline_appraise(&b, &o, &v, &err));
    assert_string_equal(v.reason, "host-policy");
    b.host.ima.p[b.host.ima.n - 3] ^= 1;
    /* Documents that are not there are named. */
    size_t all = b.policy_count;
    b.policy_count = 1;
    OK(lt_offline_appraise(&b, &o, &v, &err));
    assert_int_equal(v.result, LT_VERDICT_CONSISTENT);
    assert_int_equal(v.level, LT_VERDICT_LEVEL_BOOT_ONLY);
    assert_true(told(&v, "ima", "layer base: its document") && told(&v, "boot-policy", "not at hand"));
    b.policy_count = all;
    lt_bundle_free(&b);
    forge_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_reasons),
        cmocka_unit_test(what_is_not_asked_is_omitted),
        cmocka_unit_test(many_faults),
        cmocka_unit_test(host_levels),
        cmocka_unit_test(host_is_judged_once),
        cmocka_unit_test(no_memory_is_no_verdict),
        cmocka_unit_test(no_memory_is_not_consistent),
        cmocka_unit_test(cache_keys_differ),
        cmocka_unit_test(goes_on_where_it_stood),
        cmocka_unit_test(pcrs_that_are_needed),
        cmocka_unit_test(open_pcrs),
        cmocka_unit_test(no_command_line),
        cmocka_unit_test(names_that_cost),
        cmocka_unit_test(rules_for_verifiers),
        cmocka_unit_test(offline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
