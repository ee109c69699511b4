#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *slug;
    enum lt_err_class class;
    int http, exit;
} table[LT_EI_COUNT] = {
#define X(name, slug, class, http, exit) {slug, class, http, exit},
    LT_ERR_TABLE(X)
#undef X
};

static int at(int code)
{
    return code < 0 && -1 - code < LT_EI_COUNT ? -1 - code : LT_EI_INTERNAL;
}

#undef lt_fail /* err.h: what an analyzer sees of them */
#undef lt_fail_in
int lt_fail(struct lt_err *e, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return e->code = code;
}

int lt_fail_in(struct lt_err *e, int rc, const char *fmt, ...)
{
    char where[160], old[sizeof e->msg];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(where, sizeof where, fmt, ap);
    va_end(ap);
    memcpy(old, e->code ? e->msg : "", e->code ? sizeof old : 1);
    /* A message too long for its place is cut at the end; the place itself is kept. */
    size_t n = strlen(where);
    memcpy(e->msg, where, n);
    snprintf(e->msg + n, sizeof e->msg - n, "%s%.*s", *old ? ": " : "", (int)(sizeof e->msg - n - 3), old);
    return e->code = rc ? rc : LT_E_INTERNAL;
}

const char *lt_err_slug(int code)
{
    return code ? table[at(code)].slug : "ok";
}

enum lt_err_class lt_err_class(int code)
{
    return table[at(code)].class;
}

int lt_err_http(int code)
{
    return code ? table[at(code)].http : 200;
}

int lt_err_exit(int code)
{
    return code ? table[at(code)].exit : 0;
}

int lt_err_from_slug(const char *slug)
{
    for (int i = 0; slug && i < LT_EI_COUNT; i++)
        if (!strcmp(table[i].slug, slug))
            return -1 - i;
    return LT_E_INTERNAL;
}

/* The other way: several statuses share a status. */
static const struct {
    int status, code;
} statuses[] = {
    {400, LT_E_MALFORMED}, {401, LT_E_UNAUTHENTICATED}, {403, LT_E_FORBIDDEN},
    {404, LT_E_NOT_FOUND}, {405, LT_E_METHOD},          {409, LT_E_CONFLICT},
    {413, LT_E_TOO_LARGE}, {422, LT_E_REFUSED},         {429, LT_E_TOO_MANY},
    {503, LT_E_BUSY},      {504, LT_E_TIMEOUT},
};

int lt_err_from_http(int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status)
            return statuses[i].code;
    return status >= 400 && status < 500 ? LT_E_REFUSED : LT_E_UNREACHABLE;
}
