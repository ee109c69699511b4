/* A boot policy from the log of a good machine. */
#include "appraisal/bootrules.h"

#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends a digest to out[key], once. False: no memory, or more than a boot has. */
static bool add(json_t *out, const char *key, const struct lt_boot_event *ev)
{
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);
    json_t *list = json_object_get(out, key), *v;
    char hex[2 * LT_SHA256 + 1];
    size_t i;

    if (!list && json_object_set_new(out, key, list = json_array()))
        return false;
    lt_hex(d, LT_SHA256, hex);
    json_array_foreach(list, i, v)
    {
        if (!strcmp(json_string_value(v), hex))
            return true;
    }
    if (json_array_size(list) == LT_MAX_BOOT_CHOICES)
        return false;
    return !json_array_append_new(list, json_string(hex));
}

static bool add_text(json_t *out, const char *key, const char *text)
{
    json_t *list = json_object_get(out, key);
    if (!list && json_object_set_new(out, key, list = json_array()))
        return false;
    if (json_array_size(list) == LT_MAX_BOOT_CMDLINES)
        return false;
    return !json_array_append_new(list, json_string(text));
}

/* The pattern that matches this text alone. What is not ASCII cannot be told apart from its escapes in JSON:
 * refused. */
static int add_cmdline(json_t *out, const struct lt_boot_event *ev, struct lt_slice text, struct lt_err *e)
{
    LT_AUTOFREE char *pattern = text.n <= LT_MAX_SUBJECT ? malloc(2 * text.n + 1) : NULL;
    size_t n = 0;

    if (text.n > LT_MAX_SUBJECT)
        return lt_boot_refuse(ev, e, "a command line of %zu bytes", text.n);
    if (!pattern)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a command line, or too many");
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < ' ' || text.p[i] > 126)
            return lt_boot_refuse(ev, e, "byte 0x%02x in the command line", text.p[i]);
        if (strchr("\\^$.[]|()?*+{}#-", text.p[i]))
            pattern[n++] = '\\';
        pattern[n++] = (char)text.p[i];
    }
    pattern[n] = 0;
    return add_text(out, "cmdline", pattern)
               ? 0
               : lt_fail(e, LT_E_NO_MEMORY, "no memory for a command line, or too many");
}

static bool has_label(const struct lt_boot_log *l, uint32_t pcr, const char *begin)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->event[i].pcr == pcr && l->event[i].type == LT_EV_IPL &&
            lt_slice_begins(lt_boot_text(&l->event[i]), begin))
            return true;
    return false;
}

/* Who is who among the applications: shim measures Mok lists into PCR 14, grub its commands into PCR 8. */
static int applications(const struct lt_boot_log *l, json_t *out, struct lt_err *e)
{
    struct lt_boot_apps apps;
    unsigned next = 0;
    bool good = true;

    LT_TRY(lt_boot_applications(l, &apps, e));
    if (next < apps.count && has_label(l, 14, "MokList"))
        good = good && add(out, "shim", apps.app[next++]);
    if (next < apps.count && has_label(l, 8, "grub_cmd: "))
        good = good && add(out, "grub", apps.app[next++]);
    bool plain = next == apps.count;
    for (; next < apps.count; next++)
        good = good && add(out, "kernel", apps.app[next]);
    for (unsigned i = 0; i < l->count && plain; i++)
        if (lt_boot_file(&l->event[i]) == LT_BOOT_KERNEL)
            good = good && add(out, "kernel", &l->event[i]);
    return good ? 0
                : lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy, or more than one boot measures");
}

static int load_options(const struct lt_boot_log *l, const struct lt_boot_event *ev, json_t *out,
                        struct lt_err *e)
{
    struct lt_slice text;
    char value[80];

    for (unsigned i = 0; i < l->count; i++)
        if (lt_boot_cmdline(&l->event[i], &text) &&
            lt_boot_is_load_options(lt_boot_digest(ev, LT_BOOT_ALG), text))
            return 0; /* said by grub already */
    return add_text(out, "cmdline", lt_boot_value(ev, value))
               ? 0
               : lt_fail(e, LT_E_NO_MEMORY, "no memory for load options, or too many");
}

static int events(const struct lt_boot_log *l, json_t *out, struct lt_err *e)
{
    bool good = true;

    for (unsigned i = 0; i < l->count && good; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        struct lt_slice text;
        if (ev->type == LT_EV_NO_ACTION)
            continue;
        if (!lt_boot_digest(ev, LT_BOOT_ALG))
            return lt_boot_refuse(ev, e, "no sha256 digest to learn");
        if (ev->pcr == 0 && !lt_boot_separator(ev, LT_BOOT_ALG))
            good = add(out, "firmware", ev);
        if (lt_boot_file(ev) == LT_BOOT_INITRD || lt_boot_tagged(ev, LT_TAG_INITRD))
            good = good && add(out, "initrd", ev);
        if (lt_boot_tagged(ev, LT_TAG_LOAD_OPTIONS))
            LT_TRY(load_options(l, ev, out, e));
        if (lt_boot_cmdline(ev, &text))
            LT_TRY(add_cmdline(out, ev, text, e));
    }
    return good ? 0
                : lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy, or more than one boot measures");
}

/* Firmware that measures nothing by name (SeaBIOS): the values as they are, PCR 0-7. */
static int golden(const struct lt_boot_log *l, json_t *out, struct lt_err *e)
{
    json_t *values = json_object();
    json_t *all = json_pack("{s:o}", "learnt", values);
    char index[4], hex[2 * LT_SHA256 + 1];
    bool good = all && !json_object_set_new(out, "golden", all);

    for (unsigned i = 0; i < 8 && good; i++) {
        snprintf(index, sizeof index, "%u", i);
        lt_hex(lt_boot_replay_value(&l->replay, LT_BOOT_ALG, i), LT_SHA256, hex);
        good = !json_object_set_new(values, index, json_string(hex));
    }
    return good ? 0
                : lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy, or more than one boot measures");
}

json_t *lt_boot_policy_learn(const struct lt_boot_log *l, struct lt_err *e)
{
    LT_AUTOJSON json_t *out = json_object();
    int on;

    if (!out) {
        (void)lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy, or more than one boot measures");
        return NULL;
    }
    if (!l->replay.present || l->replay.fault.code || !lt_boot_replay_value(&l->replay, LT_BOOT_ALG, 0)) {
        (void)lt_fail(e, l->replay.fault.code ? l->replay.fault.code : LT_E_UNSUPPORTED, "%s",
                      l->replay.fault.code ? l->replay.fault.msg
                                           : "boot log: no sha256 digests, nothing to learn a policy from");
        return NULL;
    }
    on = lt_boot_secure_boot(l);
    if (on >= 0 && json_object_set_new(out, "secure_boot", json_boolean(on))) {
        (void)lt_fail(e, LT_E_NO_MEMORY, "no memory for a boot policy, or more than one boot measures");
        return NULL;
    }
    if (on < 0 ? golden(l, out, e) : (events(l, out, e) || applications(l, out, e)))
        return NULL;
    return lt_take(&out);
}
