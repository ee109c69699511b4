#include "appraisal/bootrules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int lt_boot_refuse(const struct lt_boot_event *ev, struct lt_err *e, const char *fmt, ...)
{
    char text[240], type[16];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return lt_fail(e, LT_E_REFUSED, "boot log event %u (PCR %u, %s): %s", ev->number, ev->pcr,
                   lt_boot_type_name(ev->type, type), text);
}

const char *lt_boot_value(const struct lt_boot_event *ev, char buf[80])
{
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    if (!d)
        return "no sha256";
    memcpy(buf, "sha256:", 7);
    lt_hex(d, LT_SHA256, buf + 7);
    return buf;
}

int lt_boot_applications(const struct lt_boot_log *l, struct lt_boot_apps *out, struct lt_err *e)
{
    char value[80];

    out->count = 0;
    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        struct lt_slice text = lt_boot_text(ev);
        if (ev->pcr != 4 || ev->type == LT_EV_NO_ACTION || lt_boot_separator(ev, LT_BOOT_ALG))
            continue;
        if (ev->type == LT_EV_EFI_BOOT_SERVICES_APPLICATION) {
            if (out->count == LT_BOOT_APPS)
                return lt_boot_refuse(ev, e, "more than %d boot applications", LT_BOOT_APPS);
            out->app[out->count++] = ev;
        } else if (ev->type != LT_EV_EFI_ACTION || !lt_boot_measures(ev, LT_BOOT_ALG, ev->data) ||
                   (!lt_slice_is(text, "Calling EFI Application from Boot Option") &&
                    !lt_slice_is(text, "Returning from EFI Application from Boot Option"))) {
            return lt_boot_refuse(
                ev, e, "%s is neither a boot application nor an action or separator that it proves",
                lt_boot_value(ev, value));
        }
    }
    return 0;
}

/* One variable of PCR 7 whose data the digest must prove. */
static int configuration(const struct lt_boot_event *ev, struct lt_boot_variable *v, struct lt_err *e)
{
    char value[80];
    struct lt_err why = {0};

    if (!lt_boot_measures(ev, LT_BOOT_ALG, ev->data))
        return lt_boot_refuse(ev, e, "%s is not the digest of the variable beside it",
                              lt_boot_value(ev, value));
    if (lt_boot_variable(ev, v, &why))
        return lt_boot_refuse(ev, e, "%s", why.msg);
    return 0;
}

static int pcr7_event(const struct lt_boot_event *ev, bool want, bool *separated, unsigned *found,
                      lt_boot_visit visit, void *arg, struct lt_err *e)
{
    struct lt_boot_variable v;
    struct lt_err why = {0};
    char value[80];

    if (ev->type == LT_EV_SEPARATOR) {
        if (*separated || !lt_boot_separator(ev, LT_BOOT_ALG))
            return lt_boot_refuse(ev, e, "%s: %s", lt_boot_value(ev, value),
                                  *separated ? "a second separator" : "not the digest of a separator");
        *separated = true;
        return 0;
    }
    if (ev->type == LT_EV_EFI_ACTION && lt_boot_measures(ev, LT_BOOT_ALG, ev->data) &&
        lt_slice_is(lt_boot_text(ev), "DMA Protection Disabled"))
        return 0;
    if (ev->type == LT_EV_EFI_VARIABLE_DRIVER_CONFIG && !*separated) {
        LT_TRY(configuration(ev, &v, e));
        if (!lt_boot_variable_is(&v, lt_guid_global, "SecureBoot"))
            return visit ? visit(arg, ev, &v, e) : 0;
        bool on = v.data.n == 1 && v.data.p[0] == 1;
        if (on != want || (!on && v.data.n && (v.data.n != 1 || v.data.p[0])))
            return lt_boot_refuse(ev, e, "secure boot is %s, %s is accepted", on ? "on" : "not on",
                                  want ? "only on" : "only off");
        (*found)++;
        return 0;
    }
    if (ev->type == LT_EV_EFI_VARIABLE_AUTHORITY && *separated) {
        if (lt_boot_variable(ev, &v, &why))
            return lt_boot_refuse(ev, e, "%s", why.msg);
        return visit ? visit(arg, ev, &v, e) : 0;
    }
    return lt_boot_refuse(ev, e, "%s is not expected %s the separator of PCR 7", lt_boot_value(ev, value),
                          *separated ? "behind" : "before");
}

int lt_boot_pcr7(const struct lt_boot_log *l, bool want, lt_boot_visit visit, void *arg, struct lt_err *e)
{
    bool separated = false;
    unsigned found = 0;

    for (unsigned i = 0; i < l->count; i++)
        if (l->event[i].pcr == 7 && l->event[i].type != LT_EV_NO_ACTION)
            LT_TRY(pcr7_event(&l->event[i], want, &separated, &found, visit, arg, e));
    if (want && !found)
        return lt_fail(e, LT_E_REFUSED,
                       "boot log (PCR 7): no SecureBoot variable was measured, only on is accepted");
    if (found && !separated)
        return lt_fail(e, LT_E_REFUSED, "boot log (PCR 7): no separator behind the variables");
    return 0;
}

int lt_boot_secure_boot(const struct lt_boot_log *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct lt_boot_variable v;
        const struct lt_boot_event *ev = &l->event[i];
        if (ev->pcr == 7 && ev->type == LT_EV_EFI_VARIABLE_DRIVER_CONFIG && !configuration(ev, &v, NULL) &&
            lt_boot_variable_is(&v, lt_guid_global, "SecureBoot"))
            return v.data.n == 1 && v.data.p[0] == 1;
    }
    return -1;
}

enum lt_boot_file lt_boot_file(const struct lt_boot_event *ev)
{
    struct lt_slice s = lt_boot_text(ev);

    if (ev->pcr != 9 || ev->type != LT_EV_IPL)
        return LT_BOOT_OTHER;
    /* First what is judged: a label that could be read either way is judged. */
    if (lt_slice_holds(s, "/vmlinuz"))
        return LT_BOOT_KERNEL;
    if (lt_slice_holds(s, "/initrd") || lt_slice_holds(s, "/initramfs"))
        return LT_BOOT_INITRD;
    return lt_slice_holds(s, "/grub") || lt_slice_holds(s, "/loader/entries") ? LT_BOOT_GRUB : LT_BOOT_OTHER;
}

bool lt_boot_tagged(const struct lt_boot_event *ev, uint32_t id)
{
    uint32_t is;
    struct lt_slice data;
    return ev->pcr == 9 && ev->type == LT_EV_EVENT_TAG && !lt_boot_tag(ev, &is, &data, NULL) && is == id;
}

bool lt_boot_is_load_options(const uint8_t digest[LT_SHA256], struct lt_slice cmdline)
{
    static const char image[] = "BOOT_IMAGE=";
    uint8_t wide[2 * (sizeof image + LT_MAX_SUBJECT)] = {0}, is[LT_SHA256];
    size_t skip = sizeof image - 1;

    if (cmdline.n > LT_MAX_SUBJECT)
        return false;
    for (size_t i = 0; i < skip + cmdline.n; i++) {
        wide[2 * i] = i < skip ? (uint8_t)image[i] : cmdline.p[i - skip];
        if (wide[2 * i] > 127) /* not ASCII: no telling how it was widened */
            return false;
    }
    for (int way = 0; way < 4; way++) {
        size_t from = way & 1 ? skip : 0, to = skip + cmdline.n + (way & 2 ? 1 : 0);
        lt_sha256(wide + 2 * from, 2 * (to - from), is);
        if (!memcmp(is, digest, sizeof is))
            return true;
    }
    return false;
}

int lt_boot_quoted(const struct lt_boot_log *l, uint32_t mask, const struct lt_pcrs *quoted, struct lt_err *e)
{
    char is[2 * LT_SHA256 + 1], want[2 * LT_SHA256 + 1];

    if (quoted->alg != LT_BOOT_ALG)
        return lt_fail(e, LT_E_REFUSED, "boot policy: written for PCRs of sha256, quoted is bank 0x%04x",
                       quoted->alg);
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        if (!(mask >> i & 1))
            continue;
        if (!(quoted->mask >> i & 1))
            return lt_fail(e, LT_E_REFUSED, "boot policy: judges PCR %u, which is not quoted", i);
        if (!l)
            continue;
        const uint8_t *v = lt_boot_replay_value(&l->replay, LT_BOOT_ALG, i);
        if (!v)
            return lt_fail(e, LT_E_REFUSED, "boot log: no sha256 digests for PCR %u", i);
        if (!memcmp(v, quoted->value[i], LT_SHA256))
            continue;
        lt_hex(v, LT_SHA256, is);
        lt_hex(quoted->value[i], LT_SHA256, want);
        return lt_fail(e, LT_E_REFUSED, "boot log: %u events replay PCR %u to %s, quoted is %s",
                       l->replay.events, i, is, want);
    }
    return 0;
}
