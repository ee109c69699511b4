/* Keylime's example engine: a reference state judged with its rules, and stricter where they trust what is
 * not measured (each such place says so). PCR 1, 3, 5 and 6 hold configuration that a reference state has no
 * words for: any event. */
#include "appraisal/bootrefstate.h"

#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    uint32_t pcr, type;
} expected[] = {
    {0, LT_EV_S_CRTM_VERSION},
    {0, LT_EV_S_CRTM_CONTENTS},
    {0, LT_EV_EFI_PLATFORM_FIRMWARE_BLOB},
    {0, LT_EV_EFI_PLATFORM_FIRMWARE_BLOB2},
    {0, LT_EV_POST_CODE},
    {0, LT_EV_POST_CODE2},
    {0, LT_EV_SEPARATOR},
    {2, LT_EV_EFI_BOOT_SERVICES_DRIVER},
    {2, LT_EV_EFI_RUNTIME_SERVICES_DRIVER},
    {2, LT_EV_SEPARATOR},
    {4, LT_EV_EFI_BOOT_SERVICES_APPLICATION},
    {4, LT_EV_EFI_ACTION},
    {4, LT_EV_SEPARATOR},
    {7, LT_EV_EFI_VARIABLE_DRIVER_CONFIG},
    {7, LT_EV_EFI_VARIABLE_AUTHORITY},
    {7, LT_EV_EFI_ACTION},
    {7, LT_EV_SEPARATOR},
    {8, LT_EV_IPL},
    {9, LT_EV_IPL},
    {9, LT_EV_EVENT_TAG},
    {14, LT_EV_IPL},
};

static bool is(const struct lt_boot_event *ev, const uint8_t want[LT_SHA256])
{
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    return d && !memcmp(d, want, LT_SHA256);
}

/* Only (PCR, type) pairs that the engine knows; separators are separators. */
static int kinds(const struct lt_boot_log *l, struct lt_err *e)
{
    char value[80];

    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        bool known = ev->pcr == 1 || ev->pcr == 3 || ev->pcr == 5 || ev->pcr == 6 ||
                     (ev->pcr > 9 && ev->pcr != 14) || ev->type == LT_EV_NO_ACTION;
        for (size_t k = 0; k < sizeof expected / sizeof *expected && !known; k++)
            known = ev->pcr == expected[k].pcr && ev->type == expected[k].type;
        if (!known)
            return lt_boot_refuse(ev, e, "%s: a reference state expects no such event there",
                                  lt_boot_value(ev, value));
        if (ev->pcr <= 7 && ev->type == LT_EV_SEPARATOR && !lt_boot_separator(ev, LT_BOOT_ALG))
            return lt_boot_refuse(ev, e, "%s is not the digest of a separator", lt_boot_value(ev, value));
    }
    return 0;
}

/* The one S-CRTM version and all firmware blobs in order. *far: how many events agreed. */
static int one_bios(const struct lt_ref_bios *b, const struct lt_boot_log *l, size_t which, unsigned *far,
                    struct lt_err *e)
{
    unsigned scrtm = 0;
    size_t blobs = 0;
    char value[80];

    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        if (ev->pcr)
            continue;
        if (ev->type == LT_EV_S_CRTM_VERSION) {
            if (scrtm++ || !is(ev, b->scrtm))
                return lt_boot_refuse(ev, e, "%s is not the scrtm of scrtm_and_bios[%zu]",
                                      lt_boot_value(ev, value), which);
            (*far)++;
        } else if (ev->type == LT_EV_EFI_PLATFORM_FIRMWARE_BLOB ||
                   ev->type == LT_EV_EFI_PLATFORM_FIRMWARE_BLOB2) {
            if (blobs == b->firmware.count || !is(ev, b->firmware.d[blobs]))
                return lt_boot_refuse(ev, e, "%s is not platform_firmware[%zu] of scrtm_and_bios[%zu]",
                                      lt_boot_value(ev, value), blobs, which);
            blobs++;
            (*far)++;
        }
    }
    if (!scrtm || blobs != b->firmware.count)
        return lt_fail(e, LT_E_REFUSED,
                       "boot log (PCR 0): %u S-CRTM versions and %zu firmware blobs, scrtm_and_bios[%zu]"
                       " has 1 and %zu",
                       scrtm, blobs, which, b->firmware.count);
    return 0;
}

/* ---- PCR 7 ---- */

struct variables {
    const struct lt_refstate *r;
    unsigned seen[LT_REF_LISTS];
};

struct walk {
    const struct lt_refstate *r;
    const struct lt_boot_event *ev;
    int list;
    uint8_t *hit; /* one a key of the list; NULL: a subset is wanted */
};

/* The one key with this data and owner, or NULL. */
static const struct lt_ref_key *find(const struct lt_ref_keys *k, const uint8_t owner[16], bool swapped,
                                     struct lt_slice data)
{
    struct lt_ref_key want = {.data = data};

    for (int i = 0; i < 16; i++)
        want.owner[0][i] = owner[swapped ? lt_ref_guid_order[i] : i];
    return k->count ? bsearch(&want, k->key, k->count, sizeof want, lt_ref_key_order) : NULL;
}

static int signature(void *arg, const uint8_t type[16], const uint8_t owner[16], struct lt_slice data,
                     struct lt_err *e)
{
    const struct walk *w = arg;
    const struct lt_ref_keys *k = &w->r->keys[w->list];
    uint8_t digest[LT_SHA256];
    char hex[17];
    bool found = false;

    /* db and dbx hold certificates and digests, PK and KEK certificates. */
    bool fits = !memcmp(type, lt_guid_x509, 16) ||
                (!memcmp(type, lt_guid_sha256, 16) && w->list != LT_REF_PK && w->list != LT_REF_KEK);
    for (int swapped = 0; swapped < 2 && fits; swapped++) {
        const struct lt_ref_key *key = find(k, owner, swapped, data);
        found = found || key;
        if (key && w->hit)
            w->hit[key - k->key] = 1;
    }
    if (found || w->hit)
        return 0;
    lt_sha256(data.p, data.n, digest);
    lt_hex(digest, 8, hex);
    return lt_boot_refuse(w->ev, e, "a key of %zu bytes (its SHA-256: %s...) is not in %s (%zu keys)", data.n,
                          hex, lt_ref_names[w->list], k->count);
}

/* Measured PK, KEK, db: a subset of the list; measured dbx: a superset. */
static int key_list(const struct lt_refstate *r, const struct lt_boot_event *ev, int list,
                    struct lt_slice data, struct lt_err *e)
{
    const struct lt_ref_keys *k = &r->keys[list];
    struct walk w = {r, ev, list, NULL};
    struct lt_err why = {0};
    char hex[17];

    if (!r->secure_boot && !k->count)
        return 0; /* the engine's rule: secure boot off and nothing said, nothing judged */
    LT_AUTOFREE uint8_t *hit = list == LT_REF_DBX ? calloc(k->count + 1, 1) : NULL;
    if (list == LT_REF_DBX && !hit)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for %zu keys", k->count);
    w.hit = hit;
    int rc = lt_boot_signatures(data, signature, &w, &why);
    if (rc == LT_E_REFUSED)
        return lt_fail(e, rc, "%s", why.msg);
    if (rc)
        return lt_boot_refuse(ev, e, "%s", why.msg);
    for (size_t i = 0; hit && i < k->count; i++) {
        if (hit[i])
            continue;
        lt_hex(k->key[i].data.p, k->key[i].data.n < 8 ? k->key[i].data.n : 8, hex);
        return lt_boot_refuse(ev, e, "dbx lacks the key of %zu bytes that begins %s", k->key[i].data.n, hex);
    }
    return 0;
}

/* shim measures the one signature that verified (owner, data), or its whole list. */
static int vendor_db(const struct lt_refstate *r, const struct lt_boot_event *ev, struct lt_slice data,
                     struct lt_err *e)
{
    struct walk w = {r, ev, LT_REF_VENDOR_DB, NULL};
    char value[80];

    if (!r->has_vendor_db)
        return 0; /* shim's own digest answers for what is built into it */
    if (!lt_boot_measures(ev, LT_BOOT_ALG, ev->data))
        return lt_boot_refuse(ev, e, "%s is not the digest of the vendor_db beside it",
                              lt_boot_value(ev, value));
    if (data.n > 16 &&
        !signature(&w, lt_guid_x509, data.p, (struct lt_slice){data.p + 16, data.n - 16}, NULL))
        return 0;
    return key_list(r, ev, LT_REF_VENDOR_DB, data, e);
}

static int variable(void *arg, const struct lt_boot_event *ev, const struct lt_boot_variable *v,
                    struct lt_err *e)
{
    static const struct {
        const uint8_t *guid;
        const char *name;
        uint32_t type;
        int list; /* -1: any value (the engine's rule: shim's digest was judged, and MokList in PCR 14) */
    } known[] = {
        {lt_guid_global, "PK", LT_EV_EFI_VARIABLE_DRIVER_CONFIG, LT_REF_PK},
        {lt_guid_global, "KEK", LT_EV_EFI_VARIABLE_DRIVER_CONFIG, LT_REF_KEK},
        {lt_guid_security, "db", LT_EV_EFI_VARIABLE_DRIVER_CONFIG, LT_REF_DB},
        {lt_guid_security, "dbx", LT_EV_EFI_VARIABLE_DRIVER_CONFIG, LT_REF_DBX},
        {lt_guid_shim, "vendor_db", LT_EV_EFI_VARIABLE_AUTHORITY, LT_REF_VENDOR_DB},
        {lt_guid_security, "db", LT_EV_EFI_VARIABLE_AUTHORITY, -1},
        {lt_guid_shim, "SbatLevel", LT_EV_EFI_VARIABLE_AUTHORITY, -1},
        {lt_guid_shim, "Shim", LT_EV_EFI_VARIABLE_AUTHORITY, -1},
        {lt_guid_shim, "MokListTrusted", LT_EV_EFI_VARIABLE_AUTHORITY, -1},
        {lt_guid_shim, "MokListRT", LT_EV_EFI_VARIABLE_AUTHORITY, -1},
    };
    struct variables *s = arg;
    char shown[64];

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (ev->type != known[i].type || !lt_boot_variable_is(v, known[i].guid, known[i].name))
            continue;
        if (known[i].list < 0)
            return 0;
        if (s->seen[known[i].list]++)
            return lt_boot_refuse(ev, e, "%s was measured before", known[i].name);
        return known[i].list == LT_REF_VENDOR_DB ? vendor_db(s->r, ev, v->data, e)
                                                 : key_list(s->r, ev, known[i].list, v->data, e);
    }
    return lt_boot_refuse(ev, e, "variable '%s' is none that a reference state knows",
                          lt_boot_variable_name(v, shown));
}

static int pcr7(const struct lt_refstate *r, const struct lt_boot_log *l, struct lt_err *e)
{
    struct variables v = {.r = r};

    LT_TRY(lt_boot_pcr7(l, r->secure_boot, variable, &v, e));
    for (int i = LT_REF_PK; i <= LT_REF_DBX; i++) /* stricter: what is judged must have been measured */
        if (!v.seen[i] && (r->secure_boot || r->keys[i].count))
            return lt_fail(e, LT_E_REFUSED, "boot log (PCR 7): no variable %s was measured", lt_ref_names[i]);
    return 0;
}

/* ---- shim, grub, kernel, initrd, command line ---- */

static int label(const struct lt_refstate *r, const struct lt_boot_event *ev, struct lt_err *e)
{
    static const uint8_t no = 0, yes = 1;
    struct lt_slice s = lt_boot_text(ev);
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    char value[80], shown[64];

    if (ev->pcr == 14) {
        bool good = d && ((lt_slice_is(s, "MokList") && lt_digests_have(&r->mok, d)) ||
                          (lt_slice_is(s, "MokListX") && lt_digests_have(&r->mokx, d)));
        /* Stricter: a flag is a flag, or another list could go by its name. */
        if (lt_slice_is(s, "MokListTrusted"))
            good = lt_boot_measures(ev, LT_BOOT_ALG, (struct lt_slice){&no, 1}) ||
                   lt_boot_measures(ev, LT_BOOT_ALG, (struct lt_slice){&yes, 1});
        return good ? 0
                    : lt_boot_refuse(ev, e, "'%s' with %s is not in mokdig or mokxdig",
                                     lt_boot_shown(s, shown), lt_boot_value(ev, value));
    }
    if (ev->pcr == 8 && ev->type == LT_EV_IPL && !lt_slice_begins(s, "grub_cmd: ") &&
        !lt_boot_cmdline(ev, &s))
        return lt_boot_refuse(ev, e, "'%s' is neither grub_cmd nor kernel_cmdline", lt_boot_shown(s, shown));
    if (ev->pcr == 9 && ev->type == LT_EV_IPL && lt_boot_file(ev) == LT_BOOT_OTHER)
        return lt_boot_refuse(ev, e, "'%s' is neither kernel, initrd nor a file of grub",
                              lt_boot_shown(s, shown));
    return 0;
}

static int one_app(const struct lt_boot_event *ev, const uint8_t want[LT_SHA256], const char *what,
                   size_t which, unsigned *far, struct lt_err *e)
{
    char value[80];
    if (!is(ev, want))
        return lt_boot_refuse(ev, e, "%s is not the %s of kernels[%zu]", lt_boot_value(ev, value), what,
                              which);
    (*far)++;
    return 0;
}

static int one_cmdline(const struct lt_ref_kernel *k, const struct lt_boot_event *ev, struct lt_slice text,
                       size_t which, struct lt_err *e)
{
    char shown[80];
    bool hit;

    if (!lt_boot_cmdline_measured(ev, LT_BOOT_ALG, text))
        return lt_boot_refuse(ev, e, "%s is not the digest of its command line", lt_boot_value(ev, shown));
    LT_TRY(lt_pattern_match(k->cmdline, text, &hit, e));
    return hit ? 0
               : lt_boot_refuse(ev, e, "command line '%s' is not the kernel_cmdline of kernels[%zu]",
                                lt_boot_shown(text, shown), which);
}

/* What grub and the kernel's stub measured of one boot, told apart once: a log may be long, and kernels many.
 */
struct loaded {
    unsigned count;
    struct {
        const struct lt_boot_event *ev;
        enum lt_boot_file file; /* LT_BOOT_OTHER: a command line, its text */
        struct lt_slice text;
    } part[LT_MAX_BOOT_CMDLINES];
};

static int loaded(const struct lt_boot_log *l, struct loaded *out, struct lt_err *e)
{
    unsigned kernels = 0, initrds = 0, cmdlines = 0;

    out->count = 0;
    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        enum lt_boot_file file = lt_boot_tagged(ev, LT_TAG_INITRD) ? LT_BOOT_INITRD : lt_boot_file(ev);
        struct lt_slice text = {0};
        if (file == LT_BOOT_GRUB || (file == LT_BOOT_OTHER && !lt_boot_cmdline(ev, &text)))
            continue;
        if (out->count == LT_MAX_BOOT_CMDLINES)
            return lt_boot_refuse(ev, e, "more than %d kernels, initrds and command lines",
                                  LT_MAX_BOOT_CMDLINES);
        out->part[out->count].ev = ev;
        out->part[out->count].file = file;
        out->part[out->count++].text = text;
        kernels += file == LT_BOOT_KERNEL;
        initrds += file == LT_BOOT_INITRD && ev->type == LT_EV_IPL;
        cmdlines += file == LT_BOOT_OTHER;
    }
    if (initrds != 1 || kernels != 1 || cmdlines != 1)
        return lt_fail(e, LT_E_REFUSED,
                       "boot log (PCR 8, 9): %u kernels, %u initrds and %u command lines, not one each",
                       kernels, initrds, cmdlines);
    return 0;
}

/* *far: how many events agreed; the kernel that agreed longest gives the reason. */
static int one_kernel(const struct lt_refstate *r, size_t which, const struct lt_boot_apps *apps,
                      const struct loaded *parts, unsigned *far, struct lt_err *e)
{
    const struct lt_ref_kernel *k = &r->kernel[which];
    unsigned least = r->secure_boot ? 3 : 2;

    /* With secure boot the kernel may be measured twice; without, grub measures it only as a file. */
    if (apps->count < least || apps->count > (r->secure_boot ? 4u : 2u))
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 4): %u boot applications, kernels[%zu] has %u",
                       apps->count, which, least);
    LT_TRY(one_app(apps->app[0], k->shim, "shim", which, far, e));
    LT_TRY(one_app(apps->app[1], k->grub, "grub", which, far, e));
    for (unsigned i = 2; i < apps->count; i++)
        LT_TRY(one_app(apps->app[i], k->kernel, "kernel", which, far, e));
    for (unsigned i = 0; i < parts->count; i++) {
        const struct lt_boot_event *ev = parts->part[i].ev;
        if (parts->part[i].file == LT_BOOT_INITRD)
            LT_TRY(one_app(ev, k->initrd, "initrd", which, far, e));
        if (parts->part[i].file == LT_BOOT_KERNEL && !r->secure_boot)
            LT_TRY(one_app(ev, k->kernel, "vmlinuz", which, far, e));
        if (parts->part[i].file != LT_BOOT_OTHER)
            continue;
        LT_TRY(one_cmdline(k, ev, parts->part[i].text, which, e));
        (*far)++;
    }
    return 0;
}

int lt_refstate_judge(const struct lt_refstate *r, const struct lt_boot_log *l, struct lt_err *e)
{
    struct lt_boot_apps apps;
    struct loaded parts;
    struct lt_err best = {0};
    unsigned most = 0;
    bool good = false;

    LT_TRY(kinds(l, e));
    (void)lt_fail(&best, LT_E_REFUSED, "reference state: scrtm_and_bios is empty");
    for (size_t i = 0; i < r->bios_count && !good; i++) {
        struct lt_err why = {0};
        unsigned far = 1;
        good = !one_bios(&r->bios[i], l, i, &far, &why);
        if (far > most) {
            most = far;
            best = why;
        }
    }
    if (!good)
        return lt_fail(e, best.code, "%s", best.msg);
    LT_TRY(pcr7(r, l, e));
    for (unsigned i = 0; i < l->count; i++)
        if (l->event[i].type != LT_EV_NO_ACTION)
            LT_TRY(label(r, &l->event[i], e));
    LT_TRY(lt_boot_applications(l, &apps, e));
    LT_TRY(loaded(l, &parts, e));
    (void)lt_fail(&best, LT_E_REFUSED, "reference state: kernels is empty");
    good = false;
    most = 0;
    for (size_t i = 0; i < r->kernel_count && !good; i++) {
        struct lt_err why = {0};
        unsigned far = 1;
        good = !one_kernel(r, i, &apps, &parts, &far, &why);
        if (far > most) {
            most = far;
            best = why;
        }
    }
    return good ? 0 : lt_fail(e, best.code, "%s", best.msg);
}
