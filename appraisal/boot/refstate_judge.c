/* Keylime's example engine: a reference state judged with its rules, and by digests alone where they trust
 * types and labels. PCR 1, 3, 5 and 6 hold configuration that a reference state has no words for: any event.
 * In the others what it has no words for is refused, until a boot policy that carries it names the digest. */
#include "appraisal/boot/refstate.h"

#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A log, and what is good besides. */
struct view {
    const struct lt_refstate *r;
    const struct lt_boot_log *l;
    const struct lt_boot_set *more; /* by PCR */
};

static bool is(const struct lt_boot_event *ev, const uint8_t want[LT_SHA256])
{
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    return d && !memcmp(d, want, LT_SHA256);
}

/* The next event that the reference state must explain. *separators counts those passed on the way. */
static const struct lt_boot_event *next(const struct view *v, uint32_t pcr, unsigned *at,
                                        unsigned *separators)
{
    const struct lt_boot_event *ev;

    while ((ev = lt_boot_next(v->l, pcr, at))) {
        bool separator = pcr <= 7 && lt_boot_is_separator(ev);
        *separators += separator;
        if (!separator && !lt_boot_set_find(&v->more[pcr], lt_boot_digest(ev, LT_BOOT_ALG)))
            return ev;
    }
    return NULL;
}

static int separated(unsigned pcr, unsigned separators, struct lt_err *e)
{
    return separators ? 0 : lt_fail(e, LT_E_REFUSED, "boot log (PCR %u): no separator was measured", pcr);
}

/* ---- PCR 0 and 2 ---- */

/* The one S-CRTM version and all firmware blobs in order. *far: how many events agreed. */
static int one_bios(const struct view *v, size_t which, unsigned *far, struct lt_err *e)
{
    const struct lt_refstate_bios *b = &v->r->bios[which];
    const struct lt_boot_event *ev;
    unsigned separators = 0, scrtm = 0;
    size_t blobs = 0;
    char value[80];

    for (unsigned at = 0; (ev = next(v, 0, &at, &separators)); (*far)++) {
        if (blobs < b->firmware.count && is(ev, b->firmware.d[blobs]))
            blobs++;
        else if (scrtm++ || !is(ev, b->scrtm))
            return lt_boot_refuse(ev, e,
                                  "%s is neither the scrtm nor platform_firmware[%zu] of scrtm_and_bios[%zu]",
                                  lt_boot_value(ev, value), blobs, which);
    }
    if (!scrtm || blobs != b->firmware.count)
        return lt_fail(e, LT_E_REFUSED,
                       "boot log (PCR 0): %u S-CRTM versions and %zu firmware blobs, scrtm_and_bios[%zu]"
                       " has 1 and %zu",
                       scrtm, blobs, which, b->firmware.count);
    return separated(0, separators, e);
}

/* The nearest of some choices gives the reason. */
typedef int (*choice_fn)(const struct view *v, const void *arg, size_t which, unsigned *far,
                         struct lt_err *e);

static int nearest(const struct view *v, const void *arg, choice_fn fn, size_t count, const char *what,
                   struct lt_err *e)
{
    struct lt_err best = {0};
    unsigned most = 0;

    (void)lt_fail(&best, LT_E_REFUSED, "reference state: %s is empty", what);
    for (size_t i = 0; i < count; i++) {
        struct lt_err why = {0};
        unsigned far = 1;
        if (!fn(v, arg, i, &far, &why))
            return 0;
        if (far > most) {
            most = far;
            best = why;
        }
    }
    return lt_fail(e, best.code, "%s", best.msg);
}

static int bios(const struct view *v, const void *arg, size_t which, unsigned *far, struct lt_err *e)
{
    (void)arg;
    return one_bios(v, which, far, e);
}

static int option_roms(const struct view *v, struct lt_err *e)
{
    unsigned at = 0, separators = 0;
    const struct lt_boot_event *ev = next(v, 2, &at, &separators);
    char value[80];

    if (ev)
        return lt_boot_refuse(ev, e, "%s: a reference state has no words for what PCR 2 measures",
                              lt_boot_value(ev, value));
    return separated(2, separators, e);
}

/* ---- PCR 7 ---- */

struct variables {
    const struct lt_refstate *r;
    unsigned seen[LT_REFSTATE_LISTS];
    bool secure_boot;
};

struct walk {
    const struct lt_refstate *r;
    const struct lt_boot_event *ev;
    int list;
    uint8_t *hit; /* one a key of the list; NULL: a subset is wanted */
};

/* Where keys with this data begin, or would. A dbx has a thousand, and each is looked for. */
static size_t begin_of(const struct lt_refstate_keys *k, struct lt_slice data)
{
    size_t from = 0, left = k->count;

    while (left) {
        size_t half = left / 2;
        const struct lt_slice at = k->key[from + half].data;
        bool before = at.n == data.n ? memcmp(at.p, data.p, data.n) < 0 : at.n < data.n;
        from += before ? half + 1 : 0;
        left = before ? left - half - 1 : half;
    }
    return from;
}

static bool owned_by(const struct lt_refstate_key *k, const uint8_t owner[16])
{
    bool plain = true, swapped = true;

    for (int i = 0; i < 16; i++) {
        plain = plain && k->owner[0][i] == owner[i];
        swapped = swapped && k->owner[0][i] == owner[lt_refstate_guid_order[i]];
    }
    return plain || swapped;
}

static int signature(void *arg, const uint8_t type[16], const uint8_t owner[16], struct lt_slice data,
                     struct lt_err *e)
{
    const struct walk *w = arg;
    const struct lt_refstate_keys *k = &w->r->keys[w->list];
    uint8_t digest[LT_SHA256];
    char hex[17];
    bool found = false;

    /* db and dbx hold certificates and digests, PK and KEK certificates. */
    bool fits =
        !memcmp(type, lt_boot_guid_x509, 16) ||
        (!memcmp(type, lt_guid_sha256, 16) && w->list != LT_REFSTATE_PK && w->list != LT_REFSTATE_KEK);
    for (size_t i = fits ? begin_of(k, data) : k->count; i < k->count && lt_slice_eq(k->key[i].data, data);
         i++) {
        bool its = owned_by(&k->key[i], owner);
        found = found || its;
        if (its && w->hit)
            w->hit[i] = 1;
    }
    if (found || w->hit)
        return 0;
    lt_sha256(data.p, data.n, digest);
    lt_hex(digest, 8, hex);
    return lt_boot_refuse(w->ev, e, "a key of %zu bytes (its SHA-256: %s...) is not in %s (%zu keys)", data.n,
                          hex, lt_refstate_names[w->list], k->count);
}

/* Measured PK, KEK, db: a subset of the list; measured dbx: a superset. */
static int key_list(const struct lt_refstate *r, const struct lt_boot_event *ev, int list,
                    struct lt_slice data, struct lt_err *e)
{
    const struct lt_refstate_keys *k = &r->keys[list];
    struct walk w = {r, ev, list, NULL};
    struct lt_err why = {0};
    char hex[17];

    if (!r->secure_boot && !k->count)
        return 0; /* the engine's rule: secure boot off and nothing said, nothing judged */
    LT_AUTOFREE uint8_t *hit = list == LT_REFSTATE_DBX ? calloc(k->count + 1, 1) : NULL;
    if (list == LT_REFSTATE_DBX && !hit)
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

/* What let an application be loaded: the one signature (owner, data) that verified it, or its whole list. */
static int authority(const struct lt_refstate *r, const struct lt_boot_event *ev, int list,
                     struct lt_slice data, struct lt_err *e)
{
    struct walk w = {r, ev, list, NULL};

    if (list == LT_REFSTATE_VENDOR_DB && !r->has_vendor_db)
        return lt_boot_refuse(ev, e, "the reference state has no vendor_db");
    if (data.n > 16 &&
        !signature(&w, lt_boot_guid_x509, data.p, (struct lt_slice){data.p + 16, data.n - 16}, LT_NO_ERR))
        return 0;
    return key_list(r, ev, list, data, e);
}

/* A variable that its digest proves, before the separator or behind it. */
static int variable(struct variables *s, const struct lt_boot_event *ev, bool late, struct lt_err *e)
{
    static const struct {
        const uint8_t *guid;
        const char *name;
        bool late;
        int list; /* -1: any value (the engine's rule: shim's digest was judged, and MokList in PCR 14) */
    } known[] = {
        {lt_boot_guid_global, "PK", false, LT_REFSTATE_PK},
        {lt_boot_guid_global, "KEK", false, LT_REFSTATE_KEK},
        {lt_guid_security, "db", false, LT_REFSTATE_DB},
        {lt_guid_security, "dbx", false, LT_REFSTATE_DBX},
        {lt_guid_security, "db", true, LT_REFSTATE_DB},
        {lt_guid_security, "vendor_db", true, LT_REFSTATE_VENDOR_DB},
        {lt_guid_shim, "vendor_db", true, LT_REFSTATE_VENDOR_DB},
        {lt_guid_shim, "SbatLevel", true, -1},
        {lt_guid_shim, "Shim", true, -1},
        {lt_guid_shim, "MokListTrusted", true, -1},
        {lt_guid_shim, "MokListRT", true, -1},
    };
    struct lt_boot_variable v;
    char shown[64];

    LT_TRY(lt_boot_proved_variable(ev, late, &v, e));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (late != known[i].late || !lt_boot_variable_is(&v, known[i].guid, known[i].name))
            continue;
        if (known[i].list < 0)
            return 0;
        if (late)
            return authority(s->r, ev, known[i].list, v.data, e);
        if (s->seen[known[i].list]++)
            return lt_boot_refuse(ev, e, "%s was measured before", known[i].name);
        return key_list(s->r, ev, known[i].list, v.data, e);
    }
    return lt_boot_refuse(ev, e, "variable '%s' is none that a reference state knows %s the separator",
                          lt_boot_variable_name(&v, shown), late ? "behind" : "before");
}

static int secure_boot(const struct view *v, const struct lt_boot_event *ev, struct variables *s, bool late,
                       struct lt_err *e)
{
    bool want = v->r->secure_boot;

    if (lt_boot_is_secure_boot(ev, !want))
        return lt_boot_refuse(ev, e, "secure boot is %s, only %s is accepted", want ? "off" : "on",
                              want ? "on" : "off");
    if (!late && lt_boot_is_secure_boot(ev, want)) {
        s->secure_boot = true;
        return 0;
    }
    return lt_boot_is_text(ev, "DMA Protection Disabled") ? 0 : variable(s, ev, late, e);
}

static int pcr7(const struct view *v, struct lt_err *e)
{
    struct variables s = {.r = v->r};
    const struct lt_boot_event *ev;
    unsigned separators = 0;

    for (unsigned at = 0; (ev = next(v, 7, &at, &separators));)
        LT_TRY(secure_boot(v, ev, &s, separators > 0, e));
    LT_TRY(separated(7, separators, e));
    if (separators > 1)
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 7): %u separators", separators);
    if (!s.secure_boot)
        return lt_fail(e, LT_E_REFUSED,
                       "boot log (PCR 7): no SecureBoot variable was measured, only %s is accepted",
                       v->r->secure_boot ? "on" : "off");
    for (int i = LT_REFSTATE_PK; i <= LT_REFSTATE_DBX;
         i++) /* stricter: what is judged must have been measured */
        if (!s.seen[i] && (v->r->secure_boot || v->r->keys[i].count))
            return lt_fail(e, LT_E_REFUSED, "boot log (PCR 7): no variable %s was measured",
                           lt_refstate_names[i]);
    return 0;
}

/* ---- PCR 14 ---- */

static int mok(const struct view *v, struct lt_err *e)
{
    const struct lt_refstate *r = v->r;
    const struct lt_boot_event *ev;
    unsigned separators = 0, lists = 0, blocked = 0;
    char value[80];

    for (unsigned at = 0; (ev = next(v, 14, &at, &separators));) {
        const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
        bool in = lt_policy_digests_have(&r->mok, d), out = lt_policy_digests_have(&r->mokx, d);
        lists += in;
        blocked += out;
        /* MokListTrusted is a flag: a byte of 0 or 1. */
        if (!in && !out && !lt_boot_is_byte(ev, 0) && !lt_boot_is_byte(ev, 1))
            return lt_boot_refuse(ev, e, "%s is not in mokdig or mokxdig", lt_boot_value(ev, value));
    }
    if ((r->mok.count && !lists) || (r->mokx.count && !blocked))
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 14): nothing of %s was measured",
                       r->mok.count && !lists ? "mokdig" : "mokxdig");
    return 0;
}

/* ---- shim, grub, kernel, initrd, command line ---- */

enum kind {
    LINE,
    LINUX,
    FIRST, /* the first file */
    LATER, /* another one, by digest alone */
};

/* What one boot loaded: what needs judging by each of the kernels, gathered once. A log may be long. */
struct loaded {
    unsigned apps, parts;
    const struct lt_boot_event *app[LT_BOOT_APPS];
    struct {
        const struct lt_boot_event *ev;
        enum kind kind;
        struct lt_slice text;
    } part[LT_MAX_BOOT_CMDLINES];
    unsigned options;
    uint8_t option[LT_MAX_BOOT_CMDLINES * LT_BOOT_WAYS][LT_SHA256]; /* load options of the lines */
    uint8_t buf[LT_MAX_SUBJECT];
};

static int applications(const struct view *v, struct loaded *out, struct lt_err *e)
{
    const struct lt_boot_event *ev;
    unsigned separators = 0;

    for (unsigned at = 0; (ev = next(v, 4, &at, &separators));) {
        if (lt_boot_is_attempt(ev) || (!out->apps && lt_boot_is_return(ev)))
            continue;
        if (out->apps == LT_BOOT_APPS)
            return lt_boot_refuse(ev, e, "more than %d boot applications", LT_BOOT_APPS);
        out->app[out->apps++] = ev;
    }
    return separated(4, separators, e);
}

/* Commands of grub that run nothing whose code or command line goes unmeasured. Any other (chainloader hands
 * a kernel its own options) is one that a reference state has no words for. */
static bool command(struct lt_slice text, bool *linux_, struct lt_slice *rest)
{
    static const char *const words[] = {
        "[",         "configfile", "export",   "gfxmode",        "initrd",          "initrdefi",
        "insmod",    "linux",      "linuxefi", "load_env",       "load_video",      "loadfont",
        "menuentry", "recordfail", "save_env", "search",         "search.fs_label", "search.fs_uuid",
        "set",       "setparams",  "submenu",  "terminal_input", "terminal_output", "test"};
    const uint8_t *blank = text.n ? memchr(text.p, ' ', text.n) : NULL;
    struct lt_slice word = {text.p, blank ? (size_t)(blank - text.p) : text.n};

    *linux_ = lt_slice_is(word, "linux") || lt_slice_is(word, "linuxefi");
    *rest = (struct lt_slice){text.p + word.n + (blank != NULL), text.n - word.n - (blank != NULL)};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (lt_slice_is(word, words[i]))
            return true;
    return false;
}

static int part(struct loaded *out, const struct lt_boot_event *ev, enum kind kind, struct lt_slice text,
                struct lt_err *e)
{
    if (out->parts == LT_MAX_BOOT_CMDLINES)
        return lt_boot_refuse(ev, e, "more than %d kernels, initrds and command lines", LT_MAX_BOOT_CMDLINES);
    out->part[out->parts].ev = ev;
    out->part[out->parts].kind = kind;
    out->part[out->parts++].text = text;
    if (kind == LINE)
        out->options += lt_boot_load_options(text, out->option + out->options);
    return 0;
}

static int lines_and_files(const struct view *v, struct loaded *out, struct lt_err *e)
{
    const struct lt_boot_event *ev;
    unsigned separators = 0, files = 0;
    struct lt_slice text, rest;
    char value[80];
    bool linux_;

    for (unsigned at = 0; (ev = next(v, 8, &at, &separators));) {
        if (!lt_boot_proved_text(ev, LT_BOOT_ALG, out->buf, &text) || text.p == out->buf)
            return lt_boot_refuse(ev, e, "%s is not the digest of the text beside it",
                                  lt_boot_value(ev, value));
        if (!command(text, &linux_, &rest))
            LT_TRY(part(out, ev, LINE, text, e));
        else if (linux_)
            LT_TRY(part(out, ev, LINUX, rest, e));
    }
    for (unsigned at = 0; (ev = next(v, 9, &at, &separators));)
        LT_TRY(part(out, ev, files++ ? LATER : FIRST, (struct lt_slice){0}, e));
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

static int one_line(const struct lt_refstate_kernel *k, const struct lt_boot_event *ev, struct lt_slice text,
                    size_t which, struct lt_err *e)
{
    char shown[80];
    bool hit;

    LT_TRY(lt_pattern_match(k->cmdline, text, &hit, e));
    return hit ? 0
               : lt_boot_refuse(ev, e, "'%s' is neither the kernel_cmdline of kernels[%zu] nor a command",
                                lt_boot_shown(text, shown), which);
}

/* Which of initrd, kernel and command line one part is. With secure boot the form has no word for the file
 * that grub read the kernel from, which PCR 4 names: the first of PCR 9 then, unless the policy names files.
 */
static int one_part(const struct view *v, size_t which, const struct loaded *in, unsigned i,
                    unsigned found[3], struct lt_err *e)
{
    const struct lt_refstate_kernel *k = &v->r->kernel[which];
    const struct lt_boot_event *ev = in->part[i].ev;
    bool file = in->part[i].kind >= FIRST;
    bool plain =
        file && (v->r->secure_boot ? in->part[i].kind == FIRST && !v->more[9].given : is(ev, k->kernel));
    char value[80];

    found[2] += in->part[i].kind == LINE;
    if (!file)
        return one_line(k, ev, in->part[i].text, which, e);
    if (is(ev, k->initrd))
        found[1]++;
    else if (plain)
        found[0]++;
    else if (!lt_boot_is_one_of(ev, in->option[0], in->options)) /* of a line, each of which is judged */
        return lt_boot_refuse(ev, e, "%s is neither initrd nor vmlinuz of kernels[%zu]",
                              lt_boot_value(ev, value), which);
    return 0;
}

/* *far: how many events agreed; the kernel that agreed longest gives the reason. */
static int one_kernel(const struct view *v, const void *arg, size_t which, unsigned *far, struct lt_err *e)
{
    const struct loaded *in = arg;
    const struct lt_refstate_kernel *k = &v->r->kernel[which];
    unsigned least = v->r->secure_boot ? 3 : 2, found[3] = {0};

    /* With secure boot the kernel may be measured twice; without, grub measures it only as a file. */
    if (in->apps < least || in->apps > (v->r->secure_boot ? 4u : 2u))
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 4): %u boot applications, kernels[%zu] has %u",
                       in->apps, which, least);
    LT_TRY(one_app(in->app[0], k->shim, "shim", which, far, e));
    LT_TRY(one_app(in->app[1], k->grub, "grub", which, far, e));
    for (unsigned i = 2; i < in->apps; i++)
        LT_TRY(one_app(in->app[i], k->kernel, "kernel", which, far, e));
    for (unsigned i = 0; i < in->parts; i++, (*far)++)
        LT_TRY(one_part(v, which, in, i, found, e));
    bool kernel = found[0] || (v->r->secure_boot && v->more[9].given);
    return kernel && found[1] && found[2]
               ? 0
               : lt_fail(e, LT_E_REFUSED, "boot log (PCR 8, 9): kernels[%zu]: no %s was measured", which,
                         !kernel     ? "kernel's file in front"
                         : !found[1] ? "initrd"
                                     : "command line");
}

uint32_t lt_boot_refstate_covers(const struct lt_refstate *r)
{
    return LT_BOOT_REFSTATE_JUDGED & ~(r->secure_boot ? 1u << 9 : 0u);
}

int lt_boot_refstate_judge(const struct lt_refstate *r, const struct lt_boot_log *l,
                           const struct lt_boot_set more[LT_BOOT_REPLAYED], struct lt_err *e)
{
    const struct view v = {r, l, more};
    struct loaded in;

    in.apps = in.parts = in.options = 0;
    LT_TRY(nearest(&v, NULL, bios, r->bios_count, "scrtm_and_bios", e));
    LT_TRY(option_roms(&v, e));
    LT_TRY(pcr7(&v, e));
    LT_TRY(mok(&v, e));
    LT_TRY(applications(&v, &in, e));
    LT_TRY(lines_and_files(&v, &in, e));
    return nearest(&v, &in, one_kernel, r->kernel_count, "kernels", e);
}
