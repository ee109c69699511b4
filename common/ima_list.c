#include "common/ima_list.h"

#include "common/limits.h"

#include <string.h>

#define DIGEST_OF_IMA 20 /* of template "ima", in front of its file name */

bool lt_ima_list_is_binary(struct lt_slice list)
{
    return list.n && list.p[0] < LT_MAX_PCRS;
}

static uint32_t number(const uint8_t *p, bool big_endian)
{
    return big_endian ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
                      : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* A length and as many bytes. */
static bool sized(struct lt_slice *rest, bool big_endian, size_t max, struct lt_slice *out)
{
    if (rest->n < 4)
        return false;
    size_t n = number(rest->p, big_endian);
    if (n > max || n > rest->n - 4)
        return false;
    *out = (struct lt_slice){rest->p + 4, n};
    *rest = (struct lt_slice){rest->p + 4 + n, rest->n - 4 - n};
    return true;
}

/* Of letters, digits, '-' and '|': names of fields, joined, where the format is the administrator's own. */
static bool is_template(struct lt_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '|')
            return false;
    }
    return name.n;
}

static bool read_frame(struct lt_slice rest, size_t hash_n, struct lt_ima_list_frame *f, size_t *size)
{
    struct lt_slice all = rest, file;

    if (rest.n < 4 + hash_n)
        return false;
    f->big_endian = !rest.p[0] && rest.p[3];
    f->pcr = number(rest.p, f->big_endian);
    f->hash = (struct lt_slice){rest.p + 4, hash_n};
    rest = (struct lt_slice){rest.p + 4 + hash_n, rest.n - 4 - hash_n};
    if (!sized(&rest, f->big_endian, LT_MAX_IMA_TEMPLATE, &f->name) || !is_template(f->name))
        return false;
    if (lt_slice_is(f->name, "ima")) {
        f->data.p = rest.p;
        if (rest.n < DIGEST_OF_IMA)
            return false;
        rest = (struct lt_slice){rest.p + DIGEST_OF_IMA, rest.n - DIGEST_OF_IMA};
        if (!sized(&rest, f->big_endian, LT_MAX_IMA_NAME, &file))
            return false;
        f->data.n = (size_t)(rest.p - f->data.p);
    } else if (!sized(&rest, f->big_endian, LT_MAX_IMA_LINE, &f->data)) {
        return false;
    }
    *size = (size_t)(rest.p - all.p);
    return true;
}

int lt_ima_list_frame_next(struct lt_slice list, size_t *at, size_t *hash_n, struct lt_ima_list_frame *out,
                           struct lt_err *e)
{
    static const size_t sizes[] = {20, 32, 48, 64};
    const struct lt_slice rest = {list.p + *at, list.n - *at};
    size_t size = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((!*hash_n || *hash_n == sizes[i]) && read_frame(rest, sizes[i], out, &size)) {
            *hash_n = sizes[i];
            *at += size;
            return 0;
        }
    return lt_fail(e, LT_E_MALFORMED, "no binary entry: its lengths do not fit");
}

static size_t skip_lines(struct lt_slice list, uint64_t lines, uint64_t *skipped)
{
    size_t at = 0;
    const uint8_t *lf;

    for (*skipped = 0; *skipped < lines && at < list.n; ++*skipped) {
        if (!(lf = memchr(list.p + at, '\n', list.n - at)))
            break;
        at = (size_t)(lf + 1 - list.p);
    }
    return at;
}

size_t lt_ima_list_skip(struct lt_slice list, uint64_t units, uint64_t *skipped)
{
    struct lt_ima_list_frame f;
    size_t at = 0, hash_n = 0;

    if (!lt_ima_list_is_binary(list))
        return skip_lines(list, units, skipped);
    for (*skipped = 0; *skipped < units && at < list.n; ++*skipped)
        if (lt_ima_list_frame_next(list, &at, &hash_n, &f, LT_NO_ERR))
            break;
    return at;
}

size_t lt_ima_list_from(struct lt_slice list, uint64_t *first)
{
    uint64_t skipped;
    size_t at = lt_ima_list_skip(list, *first, &skipped);

    if (skipped == *first)
        return at;
    *first = 0;
    return 0;
}

uint64_t lt_ima_list_units(struct lt_slice list)
{
    uint64_t units;

    (void)lt_ima_list_skip(list, UINT64_MAX, &units);
    return units;
}
