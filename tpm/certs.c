#include "tpm/certs.h"

#include "common/limits.h"
#include "common/openssl.h"
#include "tpm/der.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

struct reading {
    unsigned most, count;
    lt_certs_take take;
    void *arg;
};

static int hand_over(struct reading *to, struct lt_slice der, struct lt_err *e)
{
    if (to->count == to->most)
        return lt_fail(e, LT_E_TOO_LARGE, "more than %u certificate%s", to->most, to->most == 1 ? "" : "s");
    if (der.n > LT_MAX_CERTIFICATE)
        return lt_fail(e, LT_E_TOO_LARGE, "certificate %u: %zu bytes > %d", to->count, der.n,
                       LT_MAX_CERTIFICATE);
    to->count++;
    return to->take(to->arg, der, e);
}

/* A length that BER allows and DER does not: where such a certificate ends is not for us to say. */
static bool ber_length(struct lt_slice p)
{
    return p.n > 2 && (p.p[1] == 0x80 || (p.p[1] == 0x81 && p.p[2] < 0x80) ||
                       (p.p[1] > 0x81 && p.p[1] <= 0x84 && !p.p[2]));
}

static int read_sequence(struct lt_reader *r, struct lt_slice *whole, struct lt_err *e)
{
    size_t start = r->at;
    struct lt_slice inner, rest = {r->p + start, lt_reader_left(r)};
    uint8_t tag;

    *whole = rest;
    if (ber_length(rest))
        return lt_read_slice(r, rest.n, whole, e);
    LT_TRY(lt_der_next(r, &tag, &inner, e));
    whole->n = r->at - start;
    return 0;
}

static void skip_padding(struct lt_reader *r)
{
    while (lt_reader_left(r) && (r->p[r->at] == 0x00 || r->p[r->at] == 0xff))
        r->at++;
}

static int read_der(struct reading *to, struct lt_slice p, bool wrapped, struct lt_err *e);

static int read_wrapped(struct reading *to, struct lt_reader *r, struct lt_err *e)
{
    unsigned before = to->count;
    size_t start = r->at;
    struct lt_slice inside;
    uint8_t tag;

    LT_TRY(lt_der_next(r, &tag, &inside, e));
    LT_TRY_IN(read_der(to, inside, true, e), e, "OCTET STRING at byte %zu", start);
    if (to->count != before + 1)
        return lt_fail(e, LT_E_MALFORMED, "OCTET STRING at byte %zu: %u certificates in it, not one", start,
                       to->count - before);
    return 0;
}

static int read_der(struct reading *to, struct lt_slice p, bool wrapped, struct lt_err *e)
{
    struct lt_reader r = lt_reader(p.p, p.n, "certificates");
    unsigned before = to->count;
    struct lt_slice whole;

    for (skip_padding(&r); lt_reader_left(&r); skip_padding(&r)) {
        uint8_t first = r.p[r.at];
        if (first == LT_DER_SEQUENCE) {
            LT_TRY(read_sequence(&r, &whole, e));
            LT_TRY(hand_over(to, whole, e));
        } else if (first == LT_DER_OCTET_STRING && !wrapped) {
            LT_TRY(read_wrapped(to, &r, e));
        } else {
            return lt_fail(e, LT_E_MALFORMED, "byte %zu: 0x%02x is no padding and begins no certificate%s",
                           r.at, first, to->count > before ? " (there is one before it)" : "");
        }
    }
    if (to->count == before)
        return lt_fail(e, LT_E_MALFORMED,
                       p.n ? "no certificate in %zu bytes, all of them padding" : "no certificate: %zu bytes",
                       p.n);
    return 0;
}

struct block {
    char *name, *header;
    unsigned char *der;
    long n;
};

static void block_free(struct block *b)
{
    OPENSSL_free(b->name);
    OPENSSL_free(b->header);
    OPENSSL_free(b->der);
}

static int read_block(struct reading *to, const struct block *b, struct lt_err *e)
{
    unsigned before = to->count;

    if ((strcmp(b->name, PEM_STRING_X509) && strcmp(b->name, PEM_STRING_X509_OLD)) || *b->header)
        return lt_fail(e, LT_E_MALFORMED, "\"%.40s\", not a CERTIFICATE without headers", b->name);
    LT_TRY(read_der(to, (struct lt_slice){b->der, (size_t)b->n}, false, e));
    return to->count == before + 1 ? 0 : lt_fail(e, LT_E_MALFORMED, "more than one certificate in it");
}

static int read_pem(struct reading *to, struct lt_slice p, struct lt_err *e)
{
    LT_AUTO(BIO) BIO *in = BIO_new_mem_buf(p.p, (int)p.n);

    for (unsigned i = 0; in; i++) {
        __attribute__((cleanup(block_free))) struct block b = {0};
        ERR_clear_error();
        if (PEM_read_bio(in, &b.name, &b.header, &b.der, &b.n) != 1) {
            bool end = i && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            ERR_clear_error();
            return end ? 0 : lt_fail(e, LT_E_MALFORMED, "PEM block %u: cut short, or not base64", i);
        }
        LT_TRY_IN(read_block(to, &b, e), e, "PEM block %u", i);
    }
    return lt_fail(e, LT_E_NO_MEMORY, "certificates: no memory");
}

bool lt_certs_is_pem(struct lt_slice p)
{
    return p.n && memmem(p.p, p.n, "-----BEGIN ", 11);
}

int lt_certs_read(struct lt_slice p, unsigned most, lt_certs_take take, void *arg, struct lt_err *e)
{
    struct reading to = {.most = most, .take = take, .arg = arg};

    if (p.n > INT32_MAX)
        return lt_fail(e, LT_E_TOO_LARGE, "certificates: %zu bytes", p.n);
    return lt_certs_is_pem(p) ? read_pem(&to, p, e) : read_der(&to, p, false, e);
}
