/* Forged boot logs from a generator. Every honest log at hand, under the policy learnt from it and the
 * reference state there is of it: each event that extended a judged PCR with another digest, under its own
 * and every other type, label and tag, in its place and with the good one behind; one more inserted; the only
 * one of a role left out. All of them are refused, with PCR values that fit the forged log, since a quote is
 * honest about those. The same digests with other types and labels are judged as before, by the PCR values of
 * the honest log. */
#include "appraisal/boot/policy.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/vectors.h"

#define MAX_EVENTS 400
#define MAX_CLOTHES 700

/* What a log says of an event and no PCR proves. */
struct clothes {
    uint32_t type;
    struct lt_slice data;
};

struct event {
    uint32_t pcr;
    const uint8_t *digest;
    struct clothes says;
};

struct honest {
    const char *name;
    struct lt_boot_log *log;
    unsigned count;
    struct event event[MAX_EVENTS];
    struct lt_pcrs pcrs;
    unsigned worn;
    struct clothes wardrobe[MAX_CLOTHES];
};

/* A policy, and of which PCRs it has to refuse what it does not know. */
struct rule {
    const char *kind, *text, *words; /* words: what must be measured, where the policy names more besides */
    struct lt_boot_policy *policy;
    bool refstate;
    uint32_t judged;
};

static unsigned long forged, relabelled, honest_logs, accepted;
static char first_accepted[400];

/* ---- the wardrobe ---- */

static const uint32_t types[] = {
    0,          1,          2,          4,          5,          6,          7,          8,
    9,          10,         11,         12,         13,         14,         15,         16,
    17,         18,         19,         0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004,
    0x80000005, 0x80000006, 0x80000007, 0x80000008, 0x80000009, 0x8000000a, 0x8000000b, 0x8000000c,
    0x80000010, 0x800000e0, 0x800000e1, 0x800000e2, 0xdeadbeef};
static const char *const labels[] = {"grub_cmd: set x=y",
                                     "grub_cmd set x=y",
                                     "grub_cmd: initrd /x",
                                     "kernel_cmdline: x",
                                     "grub_kernel_cmdline x",
                                     "module_cmdline: x",
                                     "grub_linuxefi Kernel",
                                     "grub_linuxefi Initrd",
                                     "/vmlinuz-6.1",
                                     "/boot/vmlinuz",
                                     "/initrd.img-6.1",
                                     "/initramfs.img",
                                     "(hd0,gpt1)/EFI/debian/grub.cfg",
                                     "(hd0,gpt2)/grub/grubenv",
                                     "(hd0)/loader/entries/a.conf",
                                     "MokList",
                                     "MokListX",
                                     "MokListTrusted",
                                     "MokSBState",
                                     "Shim",
                                     "Calling EFI Application from Boot Option",
                                     "Returning from EFI Application from Boot Option",
                                     "DMA Protection Disabled",
                                     "BOOT ATTEMPTS OMITTED",
                                     "ACPI DATA",
                                     "HCRTM",
                                     "Exit Boot Services Invocation",
                                     "\xed\x22\x3b\x8f\x1a\0\0\0LOADED_IMAGE::LoadOptions",
                                     "\xec\x22\x3b\x8f\x0d\0\0\0Linux initrd",
                                     "StartupLocality"};
static const char *const prefixes[] = {"grub_cmd: ",           "kernel_cmdline: ", "grub_cmd ",
                                       "grub_kernel_cmdline ", "other: ",          ""};

static void wear(struct honest *h, uint32_t type, struct lt_slice data)
{
    for (unsigned i = 0; i < h->worn; i++)
        if (h->wardrobe[i].type == type && h->wardrobe[i].data.n == data.n &&
            (!data.n || !memcmp(h->wardrobe[i].data.p, data.p, data.n)))
            return;
    assert_true(h->worn < MAX_CLOTHES);
    h->wardrobe[h->worn++] = (struct clothes){type, data};
}

static void fill_wardrobe(struct honest *h)
{
    static const uint8_t zeros[4];

    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        size_t n = (uint8_t)labels[i][0] > 127 ? 8 + strlen(labels[i] + 8) : strlen(labels[i]);
        wear(h, (uint8_t)labels[i][0] > 127 ? 6 : 13, (struct lt_slice){(const uint8_t *)labels[i], n + 1});
    }
    wear(h, 4, (struct lt_slice){zeros, 4});
    wear(h, 13, (struct lt_slice){zeros, 0});
    for (unsigned i = 0; i < h->count; i++)
        wear(h, h->event[i].says.type, h->event[i].says.data);
}

/* ---- judging ---- */

static void put(struct lt_buf *b, const struct event *e)
{
    boot_forge_event(b, e->pcr, e->says.type, e->digest, e->says.data.p, e->says.data.n);
}

/* pcrs NULL: those that fit the log. */
static int judge(const struct rule *r, const struct lt_buf *b, const struct lt_pcrs *pcrs)
{
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b->p, b->n});
    struct lt_pcrs own;

    assert_non_null(l);
    assert_int_equal(l->replay.fault.code, 0);
    assert_true(lt_boot_replay_pcrs(&l->replay, LT_HASH_SHA256, &own));
    err = (struct lt_err){0};
    int rc = lt_boot_policy_judge(r->policy, l, pcrs ? pcrs : &own, &err);
    lt_boot_log_free(l);
    return rc;
}

static void refused(const struct honest *h, const struct rule *r, const struct lt_buf *b, const char *how,
                    unsigned i, const struct clothes *c)
{
    forged++;
    if (judge(r, b, NULL) || accepted++)
        return;
    snprintf(first_accepted, sizeof first_accepted,
             "%s under its %s: event %u of PCR %u, %s as type 0x%x '%.40s'", h->name, r->kind, i,
             h->event[i].pcr, how, c->type, c->data.n ? (const char *)c->data.p : "");
}

/* ---- one event changed ---- */

enum way { IN_PLACE, GOOD_BEHIND, INSERTED, APPENDED, WAYS };
static const char *const ways[] = {"in its place", "in its place, the good one behind", "inserted before it",
                                   "behind all"};

static void one(const struct honest *h, const struct rule *r, unsigned at, const struct event *bad,
                enum way way, struct lt_buf *b)
{
    b->n = 0;
    boot_forge_begin(b);
    for (unsigned i = 0; i < h->count; i++) {
        if (i == at && way != APPENDED)
            put(b, bad);
        if (i != at || way == INSERTED || way == APPENDED)
            put(b, &h->event[i]);
    }
    if (way == GOOD_BEHIND)
        put(b, &h->event[at]);
    if (way == APPENDED)
        put(b, bad);
    refused(h, r, b, ways[way], at, &bad->says);
}

static bool first_of_its_pcr(const struct honest *h, unsigned at)
{
    for (unsigned i = 0; i < at; i++)
        if (h->event[i].pcr == h->event[at].pcr)
            return false;
    return true;
}

/* With secure boot a reference state has no word for the kernel's file in PCR 9 (and does not cover it). */
static bool has_no_word(const struct honest *h, const struct rule *r, unsigned at)
{
    return r->refstate && h->event[at].pcr == 9 && first_of_its_pcr(h, at) &&
           !(lt_boot_policy_covers(r->policy) >> 9 & 1);
}

static void every_way(const struct honest *h, const struct rule *r, unsigned at, const struct event *bad,
                      struct lt_buf *b)
{
    for (enum way w = IN_PLACE; w < WAYS; w++)
        if (w != IN_PLACE || !has_no_word(h, r, at))
            one(h, r, at, bad, w, b);
}

/* Another digest, in everything that could be said of it. step: a long log is not tried in all of them. */
static void another_digest(const struct honest *h, const struct rule *r, unsigned at, unsigned step,
                           struct lt_buf *b)
{
    static const char line[] = "/vmlinuz-6.1 root=/dev/vda1 ro ima=off init=/evil";
    const struct event *good = &h->event[at];
    uint8_t digest[LT_SHA256], proved[LT_SHA256];
    LT_AUTOBUF struct lt_buf text = LT_BUF(4096);

    lt_sha256(good->digest, LT_SHA256, digest);
    for (size_t i = at % step; i < sizeof types / sizeof *types; i += step)
        every_way(h, r, at, &(struct event){good->pcr, digest, {types[i], good->says.data}}, b);
    for (unsigned i = at % step; i < h->worn; i += step)
        every_way(h, r, at, &(struct event){good->pcr, digest, h->wardrobe[i]}, b);
    /* A text that its digest proves, and that nobody accepted. */
    lt_sha256(line, sizeof line - 1, proved);
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        text.n = 0;
        lt_buf_str(&text, prefixes[i]);
        lt_buf_put(&text, line, sizeof line);
        every_way(h, r, at, &(struct event){good->pcr, proved, {13, {text.p, text.n}}}, b);
    }
}

/* What grub says sixty times over needs no sixty trials. */
static bool said_before(const struct honest *h, unsigned at)
{
    return at && h->event[at - 1].pcr == h->event[at].pcr &&
           !memcmp(h->event[at - 1].digest, h->event[at].digest, LT_SHA256);
}

/* A digest that stands once, and that the policy has a word for. */
static bool only_one(const struct honest *h, const struct rule *r, unsigned at)
{
    static const char *const lines[] = {"kernel_cmdline", "grub_kernel_cmdline"};
    const struct event *e = &h->event[at];
    const struct lt_slice data = e->says.data;
    char hex[2 * LT_SHA256 + 1];
    bool word = !r->refstate || has_no_word(h, r, at);

    for (unsigned i = 0; i < h->count; i++)
        if (i != at && h->event[i].pcr == e->pcr && !memcmp(h->event[i].digest, e->digest, LT_SHA256))
            return false;
    lt_hex(e->digest, LT_SHA256, hex);
    word = word || strstr(r->words, hex) || e->says.type == LT_BOOT_EV_SEPARATOR ||
           (e->pcr == 7 && e->says.type == LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG);
    for (size_t i = 0; i < 2 && !word; i++)
        word = e->pcr == 8 && lt_slice_begins(data, lines[i]);
    return word;
}

static void left_out(const struct honest *h, const struct rule *r, unsigned at, struct lt_buf *b)
{
    if (!only_one(h, r, at))
        return;
    b->n = 0;
    boot_forge_begin(b);
    for (unsigned i = 0; i < h->count; i++)
        if (i != at)
            put(b, &h->event[i]);
    refused(h, r, b, "left out", at, &h->event[at].says);
}

/* ---- the same digests, told otherwise ---- */

static void accepts(const struct honest *h, const struct rule *r, struct event *events, struct lt_buf *b,
                    const char *how, unsigned at)
{
    b->n = 0;
    boot_forge_begin(b);
    for (unsigned i = 0; i < h->count; i++)
        put(b, &events[i]);
    relabelled++;
    if (judge(r, b, &h->pcrs))
        fail_msg("%s under its %s, event %u %s (type 0x%x): %s", h->name, r->kind, at, how,
                 events[at].says.type, err.msg);
}

/* What a reference state knows by text or variable needs that beside the digest which proves it. */
static bool needs_data(const struct rule *r, const struct event *e)
{
    return r->refstate && (e->pcr == 7 || e->pcr == 8);
}

static void told_otherwise(const struct honest *h, const struct rule *r, unsigned step, struct lt_buf *b)
{
    struct event *events = calloc(h->count, sizeof *events);

    memcpy(events, h->event, h->count * sizeof *events);
    for (unsigned at = 0; at < h->count; at++) {
        for (size_t i = at % step; i < sizeof types / sizeof *types && !said_before(h, at); i += step) {
            events[at].says.type = types[i];
            accepts(h, r, events, b, "as another type", at);
        }
        for (unsigned i = at % step; i < h->worn && !needs_data(r, &h->event[at]) && !said_before(h, at);
             i += step) {
            events[at].says = h->wardrobe[i];
            accepts(h, r, events, b, "in other clothes", at);
        }
        events[at] = h->event[at];
    }
    for (unsigned at = 0; at < h->count; at++) {
        events[at].says.type = types[(at * 7 + 3) % (sizeof types / sizeof *types)];
        if (!needs_data(r, &events[at]))
            events[at].says.data = h->wardrobe[(at * 5 + 1) % h->worn].data;
    }
    accepts(h, r, events, b, "and all the others otherwise", 0);
    free(events);
}

/* ---- logs ---- */

static void under(const struct honest *h, struct rule *r, unsigned step)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
    unsigned long before = forged;

    OK(lt_boot_policy_parse(r->text, strlen(r->text), &r->policy, &err));
    r->judged = lt_boot_policy_covers(r->policy) | (r->refstate ? 1u << 9 : 0);
    accepts(h, r, (struct event *)h->event, &b, "as it is", 0);
    for (unsigned i = 0; i < h->count; i++) {
        if (!(r->judged >> h->event[i].pcr & 1) || said_before(h, i))
            continue;
        another_digest(h, r, i, step, &b);
        left_out(h, r, i, &b);
    }
    told_otherwise(h, r, step, &b);
    lt_boot_policy_free(r->policy);
    print_message("%s, %s: %lu forged logs\n", h->name, r->kind, forged - before);
}

static struct honest *open_log(const char *name, struct lt_slice raw)
{
    struct honest *h = calloc(1, sizeof *h);

    h->name = name;
    h->log = lt_boot_log_new(raw);
    assert_non_null(h->log);
    if (h->log->replay.fault.code)
        fail_msg("%s: %s", name, h->log->replay.fault.msg);
    assert_true(lt_boot_replay_pcrs(&h->log->replay, LT_HASH_SHA256, &h->pcrs));
    for (unsigned i = 0; i < h->log->count; i++) {
        const struct lt_boot_event *ev = &h->log->event[i];
        if (ev->type == LT_BOOT_EV_NO_ACTION)
            continue;
        assert_true(h->count < MAX_EVENTS);
        h->event[h->count++] =
            (struct event){ev->pcr, lt_boot_digest(ev, LT_HASH_SHA256), {ev->type, ev->data}};
    }
    fill_wardrobe(h);
    honest_logs++;
    return h;
}

/* Under what is learnt from it, and under its reference state, or a boot policy that carries that, if there
 * is. */
static void try_log(const char *name, struct lt_slice raw, const char *refstate, const char *carried,
                    unsigned step)
{
    struct honest *h = open_log(name, raw);
    LT_AUTOFREE char *learnt = NULL;
    uint32_t covers;

    OK(lt_boot_policy_learn(h->log, NULL, &learnt, &covers, &err));
    assert_int_equal(covers & LT_BOOT_LEARNT, LT_BOOT_LEARNT);
    under(h, &(struct rule){.kind = "learnt policy", .text = learnt}, step);
    if (refstate)
        under(h,
              &(struct rule){.kind = carried ? "carried reference state" : "reference state",
                             .text = carried ? carried : refstate,
                             .words = refstate,
                             .refstate = true},
              step);
    lt_boot_log_free(h->log);
    free(h);
}

static void report(void)
{
    if (accepted)
        fail_msg("%lu of %lu forged logs are accepted; the first: %s", accepted, forged, first_accepted);
    print_message("%lu forged logs of %lu honest ones refused, %lu told otherwise judged as before\n", forged,
                  honest_logs, relabelled);
}

static void cases(void **state)
{
    static const struct {
        const char *log, *refstate;
    } all[] = {
        {"cases/boot-base.bin", "cases/refstate-base.json"},
        {"cases/boot-el8.bin", "cases/refstate-base.json"},
        {"cases/boot-el8-cmdline.bin", NULL},
        {"cases/boot-sdboot.bin", NULL},
        {"cases/boot-sdboot-cmdline.bin", NULL},
        {"cases/boot-old-shim.bin", "cases/refstate-base.json"},
        {"cases/boot-vendor-db.bin", "cases/refstate-vendor-db.json"},
        {"cases/boot-hcrtm.bin", NULL},
        {"cases/boot-fewer-digests.bin", "cases/refstate-base.json"},
        {"guest-logs/ovmf/tpm0_binary_bios_measurements", NULL},
        {"guest-logs/seabios/tpm0_binary_bios_measurements", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t n, k;
        LT_AUTOFREE uint8_t *raw = lt_vector_read(all[i].log, &n);
        LT_AUTOFREE uint8_t *refstate = all[i].refstate ? lt_vector_read(all[i].refstate, &k) : NULL;
        try_log(all[i].log, (struct lt_slice){raw, n}, (char *)refstate, NULL, 1);
    }
    report();
}

/* {"refstate":…, "also":{…}} with a digest of a text for each PCR. */
static char *carry(const char *refstate, const char *also)
{
    LT_JSON_AUTO json_t *o = json_object(), *more = lt_json_parse(also, strlen(also), 1 << 20, &err);

    assert_non_null(more);
    json_object_set_new(o, "refstate", lt_json_parse(refstate, strlen(refstate), 1 << 20, &err));
    json_object_set(o, "also", more);
    return lt_json_dump(o);
}

static void servers(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct boot_plan plan = {.secure_boot = way & 1, .grub_files = way & 2, .dbx = 2};
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
        LT_AUTOFREE char *plain = boot_forge_refstate(&plan), *carried = NULL;
        char also[400], hex[2][65];
        uint8_t digest[LT_SHA256];

        lt_sha256("grub.cfg", 8, digest);
        lt_hex(digest, sizeof digest, hex[0]);
        lt_sha256("vmlinuz", 7, digest);
        lt_hex(digest, sizeof digest, hex[1]);
        snprintf(also, sizeof also, "{\"9\":[\"%s\"%s%s%s],\"12\":[]}", hex[0], way & 1 ? ",\"" : "",
                 way & 1 ? hex[1] : "", way & 1 ? "\"" : "");
        carried = carry(plain, also);
        boot_forge_server(&b, &plan);
        try_log(plan.secure_boot ? "server, secure boot" : "server", (struct lt_slice){b.p, b.n}, plain,
                plan.grub_files ? carried : NULL, 1);
    }
    report();
}

/* A unified kernel image that firmware starts: its stub measures sections, with the command line, into
 * PCR 11. */
static void stub(void **state)
{
    static const char *const sections[] = {".linux", ".osrel", ".cmdline", ".initrd"};
    LT_AUTOBUF struct lt_buf b = LT_BUF(65536);
    uint8_t digest[LT_SHA256], on = 1;

    (void)state;
    boot_forge_begin(&b);
    boot_forge_event(&b, 0, LT_BOOT_EV_S_CRTM_VERSION, NULL, "v1", 2);
    boot_forge_variable(&b, LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG, lt_boot_guid_global, "SecureBoot", &on, 1);
    for (uint32_t i = 0; i < 8; i++)
        boot_forge_event(&b, i, LT_BOOT_EV_SEPARATOR, NULL, "\0\0\0\0", 4);
    lt_sha256("uki", 3, digest);
    boot_forge_event(&b, 4, LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION, digest, "image", 5);
    for (size_t i = 0; i < 4; i++) {
        boot_forge_label(&b, 11, sections[i], sections[i]);
        boot_forge_label(&b, 11, sections[i], i == 2 ? "root=/dev/vda2 ro" : "contents");
    }
    boot_forge_event(&b, 12, LT_BOOT_EV_IPL, NULL, "q\0u\0i\0e\0t\0\0", 12);
    boot_forge_event(&b, 9, LT_BOOT_EV_EVENT_TAG, digest, "\xec\x22\x3b\x8f\x0d\0\0\0Linux initrd", 21);
    try_log("stub", (struct lt_slice){b.p, b.n}, NULL, NULL, 1);
    report();
}

/* A real server. Its own reference state has no words for two events of PCR 0, seven of PCR 2, what grub read
 * into PCR 9 and some commands: a boot policy that carries it names their digests. */
static void real(void **state)
{
    const char *at = vector_third_party("hpe/uefi_log.txt");
    const char *state_at = vector_third_party("hpe/uefi_refstate.json");
    LT_AUTOFREE uint8_t *text = NULL, *raw = NULL, *refstate = NULL;
    LT_JSON_AUTO json_t *more = json_object();
    size_t n, raw_n, k;
    struct lt_boot_policy *bare;
    struct rule r;

    (void)state;
    OK(lt_file_read(at, 1 << 20, &text, &n, &err));
    OK(lt_file_read(state_at, 1 << 20, &refstate, &k, &err));
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    OK(lt_unbase64((char *)text, n, LT_MAX_BOOT_LOG, &raw, &raw_n, &err));
    struct honest *h = open_log("hpe", (struct lt_slice){raw, raw_n});
    OK(lt_boot_policy_parse(refstate, k, &bare, &err));
    FAILS(LT_E_REFUSED, lt_boot_policy_judge(bare, h->log, &h->pcrs, &err));
    assert_non_null(strstr(err.msg, "event 11 (PCR 0, EV_POST_CODE): sha256:b2b68168be057b85"));
    lt_boot_policy_free(bare);
    /* What it lacks is found by asking: each refusal names one event. */
    LT_AUTOFREE char *doc = NULL;
    for (unsigned asked = 0;; asked++) {
        LT_AUTOFREE char *also = lt_json_dump(more);
        free(doc);
        doc = carry((char *)refstate, also);
        OK(lt_boot_policy_parse(doc, strlen(doc), &r.policy, &err));
        err = (struct lt_err){0};
        int rc = lt_boot_policy_judge(r.policy, h->log, &h->pcrs, &err);
        lt_boot_policy_free(r.policy);
        if (!rc)
            break;
        unsigned number, pcr;
        const char *digest = strstr(err.msg, "sha256:");
        if (asked == 60 || sscanf(err.msg, "boot log event %u (PCR %u", &number, &pcr) != 2)
            fail_msg("after %u: %s", asked, err.msg);
        char index[12], hex[65];
        snprintf(index, sizeof index, "%u", pcr);
        lt_hex(lt_boot_digest(&h->log->event[number], LT_HASH_SHA256), LT_SHA256, hex);
        assert_true(!digest || !strncmp(digest + 7, hex, 64));
        if (!json_object_get(more, index))
            json_object_set_new(more, index, json_array());
        json_array_append_new(json_object_get(more, index), json_string(hex));
    }
    print_message("hpe: named besides %zu of PCR 0, %zu of PCR 2, %zu of PCR 8, %zu of PCR 9\n",
                  json_array_size(json_object_get(more, "0")), json_array_size(json_object_get(more, "2")),
                  json_array_size(json_object_get(more, "8")), json_array_size(json_object_get(more, "9")));
    assert_int_equal(json_array_size(json_object_get(more, "0")), 2);
    lt_boot_log_free(h->log);
    free(h);
    honest_logs--;
    try_log("hpe", (struct lt_slice){raw, raw_n}, (char *)refstate, doc, 29);
    report();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cases), cmocka_unit_test(servers),
                                       cmocka_unit_test(stub), cmocka_unit_test(real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
