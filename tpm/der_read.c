#include "tpm/der.h"

#include <string.h>

#define MAX_DEPTH 16 /* of nested elements; a certificate has 9 */

int lt_der_next(struct lt_reader *r, uint8_t *tag, struct lt_slice *value, struct lt_err *e)
{
    size_t start = r->at;
    uint8_t first, octet;
    size_t n = 0;

    *value = (struct lt_slice){0};
    LT_TRY(lt_read_u8(r, tag, e));
    if ((*tag & 0x1f) == 0x1f)
        return lt_fail(e, LT_E_MALFORMED, "byte %zu: a tag of several bytes", start);
    LT_TRY(lt_read_u8(r, &first, e));
    if (first == 0x80)
        return lt_fail(e, LT_E_MALFORMED, "byte %zu: an indefinite length", start);
    if (first < 0x80) {
        n = first;
    } else {
        if (first > 0x84)
            return lt_fail(e, LT_E_MALFORMED, "byte %zu: a length of %u bytes", start, first & 0x7fu);
        for (unsigned i = 0; i < (first & 0x7fu); i++) {
            LT_TRY(lt_read_u8(r, &octet, e));
            if (!i && !octet)
                return lt_fail(e, LT_E_MALFORMED, "byte %zu: a length that begins with zero", start);
            n = n << 8 | octet;
        }
        if (n < 0x80)
            return lt_fail(e, LT_E_MALFORMED, "byte %zu: length %zu not in its shortest form", start, n);
    }
    if (n > lt_reader_left(r))
        return lt_fail(e, LT_E_MALFORMED, "byte %zu: length %zu, %zu bytes are left", start, n,
                       lt_reader_left(r));
    return lt_read_slice(r, n, value, e);
}

/* X.690 8.3: the first nine bits are not all alike. */
static bool shortest(struct lt_slice v)
{
    return v.n && (v.n == 1 || !((v.p[0] == 0 && !(v.p[1] & 0x80)) || (v.p[0] == 0xff && v.p[1] & 0x80)));
}

int lt_der_next_uint(struct lt_reader *r, struct lt_slice *value, struct lt_err *e)
{
    size_t start = r->at;
    uint8_t tag;

    LT_TRY(lt_der_next(r, &tag, value, e));
    if (tag != LT_DER_INTEGER || !shortest(*value) || value->p[0] & 0x80)
        return lt_fail(e, LT_E_MALFORMED, "byte %zu: not an INTEGER that is not negative", start);
    if (!value->p[0] && value->n > 1) {
        value->p++;
        value->n--;
    }
    return 0;
}

static bool good_oid(struct lt_slice v)
{
    bool begins = true;

    for (size_t i = 0; i < v.n; i++) {
        if (begins && v.p[i] == 0x80) /* 8.19.2 */
            return false;
        begins = !(v.p[i] & 0x80);
    }
    return v.n && begins;
}

static bool good_bits(struct lt_slice v)
{
    return v.n && v.p[0] <= 7 && (v.n > 1 || !v.p[0]) &&
           !(v.n > 1 && v.p[v.n - 1] & ((1u << v.p[0]) - 1)); /* 11.2.1: unused bits are zero */
}

/* What is wrong with a universal primitive; NULL: nothing. */
static const char *primitive(uint8_t tag, struct lt_slice v)
{
    switch (tag) {
    case LT_DER_BOOLEAN:
        return v.n == 1 && (v.p[0] == 0 || v.p[0] == 0xff) ? NULL : "a BOOLEAN that is neither 00 nor FF";
    case LT_DER_INTEGER:
    case LT_DER_ENUMERATED:
        return shortest(v) ? NULL : "an INTEGER not in its shortest form";
    case LT_DER_BIT_STRING:
        return good_bits(v) ? NULL : "a BIT STRING with unused bits that are not zero";
    case LT_DER_NULL:
        return v.n ? "a NULL with contents" : NULL;
    case LT_DER_OID:
        return good_oid(v) ? NULL : "an OBJECT IDENTIFIER with padding";
    case 0x00:
        return "an end-of-contents mark";
    case LT_DER_SEQUENCE & 0x1f:
    case LT_DER_SET & 0x1f:
        return "a SEQUENCE or SET that is not constructed";
    default:
        return NULL;
    }
}

/* 11.6: the elements of a SET OF ascend. */
static bool ascends(struct lt_slice a, struct lt_slice b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order < 0 || (!order && a.n <= b.n);
}

static int inside(const uint8_t *base, struct lt_slice v, uint8_t outer, unsigned depth, struct lt_err *e)
{
    struct lt_reader r = lt_reader(base, (size_t)(v.p - base) + v.n, "DER"); /* offsets count from base */
    struct lt_slice before = {0}, value;
    uint8_t tag, last = 0;

    if (depth > MAX_DEPTH)
        return lt_fail(e, LT_E_MALFORMED, "byte %zu: nested deeper than %d", (size_t)(v.p - base), MAX_DEPTH);
    for (r.at = (size_t)(v.p - base); lt_reader_left(&r);) {
        size_t start = r.at;
        const char *wrong = NULL;
        LT_TRY(lt_der_next(&r, &tag, &value, e));
        struct lt_slice whole = {base + start, r.at - start};
        bool universal = !(tag & 0xc0), constructed = tag & 0x20;
        if (universal && !constructed)
            wrong = primitive(tag, value);
        else if (universal && tag != LT_DER_SEQUENCE && tag != LT_DER_SET)
            wrong = "a string in parts";
        /* 11.5; only Extension has a BOOLEAN behind an OBJECT IDENTIFIER. */
        if (!wrong && tag == LT_DER_BOOLEAN && last == LT_DER_OID && outer == LT_DER_SEQUENCE && !value.p[0])
            wrong = "a default value written out";
        if (!wrong && outer == LT_DER_SET && before.p && !ascends(before, whole))
            wrong = "a SET not in order";
        if (wrong)
            return lt_fail(e, LT_E_MALFORMED, "byte %zu: %s", start, wrong);
        if (constructed)
            LT_TRY(inside(base, value, tag, depth + 1, e));
        before = whole;
        last = tag;
    }
    return 0;
}

int lt_der_check(struct lt_slice p, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p.p, p.n, "DER");
    struct lt_slice value;
    uint8_t tag;
    int rc = lt_der_next(&r, &tag, &value, e);

    if (!rc && lt_reader_left(&r))
        rc = lt_fail(e, LT_E_MALFORMED, "byte %zu: %zu bytes behind the end", r.at, lt_reader_left(&r));
    if (!rc)
        rc = inside(p.p, p, 0, 0, e);
    return rc ? lt_fail_in(e, rc, "not DER") : 0;
}
