#include "appraisal/boot/rules.h"

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

const struct lt_boot_event *lt_boot_next(const struct lt_boot_log *l, uint32_t pcr, unsigned *at)
{
    while (*at < l->count) {
        const struct lt_boot_event *ev = &l->event[(*at)++];
        if (ev->pcr == pcr && ev->type != LT_BOOT_EV_NO_ACTION)
            return ev;
    }
    return NULL;
}

static bool is(const struct lt_boot_event *ev, const void *p, size_t n)
{
    return lt_boot_measures(ev, LT_BOOT_ALG, (struct lt_slice){p, n});
}

bool lt_boot_is_text(const struct lt_boot_event *ev, const char *text)
{
    return is(ev, text, strlen(text)) || is(ev, text, strlen(text) + 1);
}

bool lt_boot_is_byte(const struct lt_boot_event *ev, uint8_t byte)
{
    return is(ev, &byte, 1);
}

bool lt_boot_is_separator(const struct lt_boot_event *ev)
{
    static const uint8_t digests[2][LT_SHA256] = {
        /* 00000000, ffffffff: asked for often, so not hashed each time */
        {0xdf, 0x3f, 0x61, 0x98, 0x04, 0xa9, 0x2f, 0xdb, 0x40, 0x57, 0x19, 0x2d, 0xc4, 0x3d, 0xd7, 0x48,
         0xea, 0x77, 0x8a, 0xdc, 0x52, 0xbc, 0x49, 0x8c, 0xe8, 0x05, 0x24, 0xc0, 0x14, 0xb8, 0x11, 0x19},
        {0xad, 0x95, 0x13, 0x1b, 0xc0, 0xb7, 0x99, 0xc0, 0xb1, 0xaf, 0x47, 0x7f, 0xb1, 0x4f, 0xcf, 0x26,
         0xa6, 0xa9, 0xf7, 0x60, 0x79, 0xe4, 0x8b, 0xf0, 0x90, 0xac, 0xb7, 0xe8, 0x36, 0x7b, 0xfd, 0x0e}};
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);

    return d && (!memcmp(d, digests[0], LT_SHA256) || !memcmp(d, digests[1], LT_SHA256));
}

bool lt_boot_is_attempt(const struct lt_boot_event *ev)
{
    return lt_boot_is_text(ev, "Calling EFI Application from Boot Option") ||
           lt_boot_is_text(ev, "BOOT ATTEMPTS OMITTED"); /* EV_OMIT_BOOT_DEVICE_EVENTS */
}

bool lt_boot_is_return(const struct lt_boot_event *ev)
{
    return lt_boot_is_text(ev, "Returning from EFI Application from Boot Option");
}

bool lt_boot_is_secure_boot(const struct lt_boot_event *ev, bool on)
{
    static const char name[] = "SecureBoot";
    uint8_t v[16 + 8 + 8 + 20 + 1] = {0};

    memcpy(v, lt_boot_guid_global, 16);
    v[16] = 10; /* characters of the name */
    v[24] = 1;  /* bytes of the value */
    for (int i = 0; i < 10; i++)
        v[32 + 2 * i] = (uint8_t)name[i];
    v[52] = on;
    if (is(ev, v, sizeof v))
        return true;
    v[24] = 0;
    return !on && is(ev, v, sizeof v - 1);
}

int lt_boot_proved_variable(const struct lt_boot_event *ev, bool late, struct lt_boot_variable *out,
                            struct lt_err *e)
{
    struct lt_slice data = ev->data;
    char value[80];
    struct lt_err why = {0};

    if (!is(ev, data.p, data.n)) {
        data.n -= data.n > 0;
        if (!late || !is(ev, data.p, data.n))
            return lt_boot_refuse(ev, e, "%s is not the digest of the variable beside it",
                                  lt_boot_value(ev, value));
    }
    if (late ? lt_boot_variable_front(data, out, &why) : lt_boot_variable(ev, out, &why))
        return lt_boot_refuse(ev, e, "%s: %s", lt_boot_value(ev, value), why.msg);
    return 0;
}

unsigned lt_boot_load_options(struct lt_slice cmdline, uint8_t out[LT_BOOT_WAYS][LT_SHA256])
{
    static const char image[] = "BOOT_IMAGE=";
    uint8_t wide[2 * (sizeof image + LT_MAX_SUBJECT)] = {0};
    size_t skip = sizeof image - 1;

    if (cmdline.n > LT_MAX_SUBJECT)
        return 0;
    for (size_t i = 0; i < skip + cmdline.n; i++) {
        wide[2 * i] = i < skip ? (uint8_t)image[i] : cmdline.p[i - skip];
        if (wide[2 * i] > 127) /* not ASCII: no telling how it was widened */
            return 0;
    }
    for (int way = 0; way < LT_BOOT_WAYS; way++) {
        size_t from = way & 1 ? skip : 0, to = skip + cmdline.n + (way & 2 ? 1 : 0);
        lt_sha256(wide + 2 * from, 2 * (to - from), out[way]);
    }
    return LT_BOOT_WAYS;
}

bool lt_boot_is_one_of(const struct lt_boot_event *ev, const uint8_t *digests, size_t n)
{
    const uint8_t *d = lt_boot_digest(ev, LT_BOOT_ALG);

    for (size_t i = 0; i < n; i++)
        if (!memcmp(d, digests + i * LT_SHA256, LT_SHA256))
            return true;
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
            return lt_fail(e, LT_E_REFUSED, "boot log: not every event has a sha256 digest");
        if (lt_boot_replay_fits(&l->replay, LT_BOOT_ALG, i, quoted->value[i]))
            continue;
        lt_hex(v, LT_SHA256, is);
        lt_hex(quoted->value[i], LT_SHA256, want);
        return lt_fail(e, LT_E_REFUSED, "boot log: %u events replay PCR %u to %s, quoted is %s",
                       l->replay.events, i, is, want);
    }
    return 0;
}
