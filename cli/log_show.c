/* limetree log show: events in words. Nothing is judged: what a log says of itself is shown as said, with a
 * mark where the digest proves it. */
#include "cli/log.h"

#include "appraisal/boot/event.h"
#include "appraisal/boot/log.h"
#include "appraisal/ima/line.h"
#include "cli/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS 512
#define PATH_SHOWN 200

/* ---- boot events ---- */

/* Text as firmware and loaders write it, UTF-16 or not, without the NULs at its end. */
struct text {
    struct lt_slice bytes;
    size_t unit; /* bytes a character */
};

static struct text text_in(struct lt_slice s)
{
    struct text t = {s, s.n >= 2 && s.n % 2 == 0 && !s.p[1] ? 2 : 1};

    while (t.bytes.n >= t.unit && !s.p[t.bytes.n - t.unit] && !s.p[t.bytes.n - 1])
        t.bytes.n -= t.unit;
    return t;
}

/* 0: the character is none of ASCII's. */
static char letter(const struct text *t, size_t i)
{
    const uint8_t *at = t->bytes.p + i * t->unit;
    return *at >= ' ' && *at < 127 && (t->unit == 1 || !at[1]) ? (char)*at : 0;
}

static bool printable(struct lt_slice s)
{
    struct text t = text_in(s);

    for (size_t i = 0; i < t.bytes.n / t.unit; i++)
        if (!letter(&t, i))
            return false;
    return t.bytes.n;
}

static void text_of(struct lt_slice s, char *out, size_t max)
{
    struct text t = text_in(s);
    size_t n = t.bytes.n / t.unit;

    n = n < max ? n : max - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = letter(&t, i) ? letter(&t, i) : '?';
    out[n] = 0;
}

static void quoted(const char *what, struct lt_slice s, char *out)
{
    char text[WORDS - 64];

    text_of(s, text, sizeof text);
    snprintf(out, WORDS, "%s\"%s\"", what, text);
}

static void variable_words(const struct lt_boot_event *ev, char *out)
{
    struct lt_boot_variable v;
    char name[64];

    if (lt_boot_variable(ev, &v, LT_NO_ERR))
        snprintf(out, WORDS, "UEFI variable, malformed, %zu bytes", ev->data.n);
    else if (lt_boot_variable_is(&v, lt_boot_guid_global, "SecureBoot") && v.data.n == 1)
        snprintf(out, WORDS, "secure boot is %s", *v.data.p ? "on" : "off");
    else
        snprintf(out, WORDS, "UEFI variable %s, %zu bytes", lt_boot_variable_name(&v, name), v.data.n);
}

/* The last file path of a device path (UEFI 10.3.5.4: type 4, subtype 4), or none. */
static struct lt_slice file_path(struct lt_slice path)
{
    struct lt_slice found = {0};

    for (size_t at = 0; at + 4 <= path.n;) {
        size_t n = path.p[at + 2] | (size_t)path.p[at + 3] << 8;
        if (n < 4 || n > path.n - at)
            break;
        if (path.p[at] == 4 && path.p[at + 1] == 4)
            found = (struct lt_slice){path.p + at + 4, n - 4};
        at += n;
    }
    return found;
}

static void image_words(const struct lt_boot_event *ev, char *out)
{
    struct lt_boot_image image;

    if (lt_boot_image(ev, &image, LT_NO_ERR)) {
        snprintf(out, WORDS, "program, malformed, %zu bytes", ev->data.n);
        return;
    }
    struct lt_slice path = file_path(image.device_path);
    if (path.n)
        quoted("program ", path, out);
    else
        snprintf(out, WORDS, "program of %" PRIu64 " bytes, from no file", image.length);
}

static void tag_words(const struct lt_boot_event *ev, char *out)
{
    struct lt_slice data;
    uint32_t id;

    if (lt_boot_tag(ev, &id, &data, LT_NO_ERR))
        snprintf(out, WORDS, "tagged event, malformed, %zu bytes", ev->data.n);
    else if (id == LT_BOOT_TAG_INITRD || id == LT_BOOT_TAG_LOAD_OPTIONS)
        quoted(id == LT_BOOT_TAG_INITRD ? "initrd for Linux " : "command line for Linux ", data, out);
    else
        snprintf(out, WORDS, "tag 0x%08x, %zu bytes", id, data.n);
}

static void no_action_words(const struct lt_boot_event *ev, char *out)
{
    struct lt_slice s = ev->data;

    if (lt_slice_begins(s, "Spec ID Event"))
        snprintf(out, WORDS, "begins the log and announces its digests");
    else if (s.n == 17 && lt_slice_begins(s, "StartupLocality"))
        snprintf(out, WORDS, "PCR 0 started at %u", s.p[16]);
    else
        snprintf(out, WORDS, "%zu bytes that are not measured", s.n);
}

static void words(const struct lt_boot_event *ev, char *out)
{
    switch (ev->type) {
    case LT_BOOT_EV_NO_ACTION:
        no_action_words(ev, out);
        return;
    case LT_BOOT_EV_EFI_VARIABLE_DRIVER_CONFIG:
    case LT_BOOT_EV_EFI_VARIABLE_AUTHORITY:
    case 0x80000002: /* EV_EFI_VARIABLE_BOOT */
    case 0x8000000c: /* EV_EFI_VARIABLE_BOOT2 */
        variable_words(ev, out);
        return;
    case LT_BOOT_EV_EFI_BOOT_SERVICES_APPLICATION:
    case LT_BOOT_EV_EFI_BOOT_SERVICES_DRIVER:
    case LT_BOOT_EV_EFI_RUNTIME_SERVICES_DRIVER:
        image_words(ev, out);
        return;
    case LT_BOOT_EV_EVENT_TAG:
        tag_words(ev, out);
        return;
    default:
        break;
    }
    if (ev->type == LT_BOOT_EV_SEPARATOR && ev->data.n == 4)
        snprintf(out, WORDS, "separator");
    else if (printable(ev->data))
        quoted("", ev->data, out);
    else
        snprintf(out, WORDS, "%zu bytes", ev->data.n);
}

/* All of its data, or the text in it, in each bank that the event has. */
static bool proven(const struct lt_boot_event *ev)
{
    uint8_t buf[LT_MAX_SUBJECT];
    struct lt_slice text;

    for (unsigned i = 0; i < ev->digest_count; i++)
        if (!lt_boot_measures(ev, ev->digest[i].alg, ev->data) &&
            !lt_boot_proved_text(ev, ev->digest[i].alg, buf, &text))
            return false;
    return ev->digest_count && ev->type != LT_BOOT_EV_NO_ACTION;
}

static json_t *event_json(const struct lt_boot_event *ev)
{
    json_t *digests = json_object();
    char type[16], text[WORDS];

    words(ev, text);
    for (unsigned i = 0; i < ev->digest_count; i++)
        json_object_set_new(digests, lt_hash_name(ev->digest[i].alg),
                            lt_json_new_hex(ev->digest[i].value.p, ev->digest[i].value.n));
    return json_pack("{s:i, s:i, s:s, s:o, s:i, s:b, s:o}", "event", (int)ev->number, "pcr", (int)ev->pcr,
                     "type", lt_boot_type_name(ev->type, type), "digests", digests, "bytes", (int)ev->data.n,
                     "proven", proven(ev), "words", lt_json_new_text(text));
}

static void event_line(const struct lt_boot_event *ev)
{
    char type[16], text[WORDS], hex[2 * LT_MAX_DIGEST + 1];

    words(ev, text);
    lt_cli_policy_say("%u PCR %u %s: %s%s\n", ev->number, ev->pcr, lt_boot_type_name(ev->type, type), text,
                      proven(ev) ? " (proven by its digest)" : "");
    for (unsigned i = 0; ev->type != LT_BOOT_EV_NO_ACTION && i < ev->digest_count; i++) {
        lt_hex(ev->digest[i].value.p, ev->digest[i].value.n, hex);
        lt_cli_policy_say("    %s:%s\n", lt_hash_name(ev->digest[i].alg), hex);
    }
}

/* ---- IMA entries ---- */

static const char *entry_words(const struct lt_ima_line *l)
{
    if (l->violation)
        return "violation: opened for writing while it was measured, or the other way round";
    if (l->kind == LT_IMA_BUFFER)
        return "buffer";
    if (l->kind == LT_IMA_SIGNED && l->extra.n)
        return "signed file";
    return l->verity ? "file, by its fs-verity digest" : "file";
}

static json_t *entry_json(uint64_t number, const struct lt_ima_line *l, const char *path, const char *digest)
{
    return json_pack("{s:I, s:i, s:o, s:o, s:s, s:I}", "entry", (json_int_t)number, "pcr", (int)l->pcr,
                     "path", lt_json_new_text(path), "digest",
                     l->violation ? json_null() : json_string(digest), "words", entry_words(l), "extra_bytes",
                     (json_int_t)(l->violation ? 0 : l->extra.n));
}

static void entry(uint64_t number, const struct lt_ima_line *l, json_t *list)
{
    char path[PATH_SHOWN + 1], digest[2 * LT_MAX_DIGEST + 32] = "";

    lt_ima_line_show(l->path, path, PATH_SHOWN);
    if (!l->violation) {
        int n = snprintf(digest, 32, "%.*s:", (int)(l->alg_name.n < 20 ? l->alg_name.n : 20), l->alg_name.p);
        lt_hex(l->digest.p, l->digest.n < LT_MAX_DIGEST ? l->digest.n : LT_MAX_DIGEST, digest + n);
    }
    if (list)
        json_array_append_new(list, entry_json(number, l, path, digest));
    else
        lt_cli_policy_say("%" PRIu64 " PCR %u %s: %s%s%s\n", number, l->pcr, path, entry_words(l),
                          *digest ? " " : "", digest);
}

static int show_ima(const struct lt_cli_log_input *log, json_t *list, struct lt_err *e)
{
    struct lt_ima_walk w = lt_ima_walk((struct lt_slice){log->bytes, log->n});
    struct lt_ima_line line;
    bool more;

    for (uint64_t i = 0;; i++) {
        size_t from = w.at;
        LT_TRY_IN(lt_ima_walk_next(&w, &line, &more, e), e, "IMA entry %" PRIu64 " at byte %zu", i, from);
        if (!more)
            return 0;
        entry(i, &line, list);
    }
}

static int show_boot(const struct lt_boot_log *l, json_t *list, struct lt_err *e)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (list)
            json_array_append_new(list, event_json(&l->event[i]));
        else
            event_line(&l->event[i]);
    }
    return l->replay.fault.code ? lt_fail(e, l->replay.fault.code, "%s", l->replay.fault.msg) : 0;
}

int lt_cli_log_show(const struct lt_cli_log_conf *c, const struct lt_cli_log_input *log, struct lt_err *e)
{
    LT_JSON_AUTO json_t *list = c->json ? json_array() : NULL;
    struct lt_err ignored;
    int rc = log->boot ? show_boot(log->boot, list, e) : show_ima(log, list, e);

    if (rc)
        rc = lt_fail_in(e, rc, "%s", c->path);
    /* What stands before the fault is shown, too. */
    if (list)
        LT_TRY(lt_cli_policy_print_json(json_pack("{s:s, s:O}", "log", lt_log_kind_name(log->kind),
                                                  log->boot ? "events" : "entries", list),
                                        rc ? &ignored : e));
    return rc;
}
