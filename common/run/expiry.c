#include "common/run/expiry.h"

#include "common/run/clock.h"
#include "common/run/log.h"

#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES 8192

struct entry {
    char *what, *path, *who;
    int64_t end, early_s;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *list;
static size_t count, room;

static void entry_free(struct entry *x)
{
    free(x->what);
    free(x->path);
    free(x->who);
}

void lt_expiry_forget(const char *what)
{
    size_t kept = 0;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].what, what))
            list[kept++] = list[i];
        else
            entry_free(&list[i]);
    count = kept;
    pthread_mutex_unlock(&lock);
}

void lt_expiry_add(const char *what, const char *path, const char *who, int64_t end, int64_t early_s)
{
    struct entry x = {strdup(what), strdup(path), strdup(who), end, early_s};

    pthread_mutex_lock(&lock);
    if (count == room && room < MAX_ENTRIES) {
        size_t more = room ? room * 2 : 16;
        struct entry *p = realloc(list, more * sizeof *p);
        list = p ? p : list;
        room = p ? more : room;
    }
    bool fits = count < room && x.what && x.path && x.who;
    if (fits)
        list[count++] = x;
    pthread_mutex_unlock(&lock);
    if (!fits)
        entry_free(&x);
}

int64_t lt_expiry_seconds(const ASN1_TIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : INT64_MAX;
}

void lt_expiry_day(int64_t s, char out[16])
{
    char text[32];

    lt_clock_wall_text(s, text);
    snprintf(out, 16, "%.10s", text);
}

void lt_expiry_name(const X509_NAME *name, char *out, size_t n)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    long size = 0;

    if (b && X509_NAME_print_ex(b, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        size = BIO_get_mem_data(b, &p);
    snprintf(out, n, "%.*s", (int)size, size ? p : "");
    for (char *c = out; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (!*out)
        snprintf(out, n, "no subject");
    BIO_free(b);
}

void lt_expiry_add_x509(const char *what, const char *path, const X509 *x)
{
    char who[128];

    lt_expiry_name(X509_get_subject_name(x), who, sizeof who);
    lt_expiry_add(what, path, who, lt_expiry_seconds(X509_get0_notAfter(x)), LT_EXPIRY_CERTIFICATE_S);
}

static int by_end(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->end > y->end) - (x->end < y->end);
}

static void warn(const struct entry *x, int64_t now)
{
    char day[16];
    int64_t days = (x->end - now) / 86400;

    lt_expiry_day(x->end, day);
    if (x->end <= now)
        lt_log(LT_LOG_ERROR, "expired", "%s = %s (%s): ran out on %s; bring a new one and restart", x->what,
               x->path, x->who, day);
    else
        lt_log(LT_LOG_WARNING, "expires",
               "%s = %s (%s): runs out on %s, in %lld day%s; bring a new one and restart", x->what, x->path,
               x->who, day, (long long)days, days == 1 ? "" : "s");
}

unsigned lt_expiry_warn(int64_t now)
{
    unsigned found = 0;

    pthread_mutex_lock(&lock);
    if (count)
        qsort(list, count, sizeof *list, by_end);
    for (size_t i = 0; i < count; i++) {
        if (list[i].end == INT64_MAX || list[i].end - now > list[i].early_s)
            continue;
        if (found++ < LT_EXPIRY_LINES)
            warn(&list[i], now);
    }
    pthread_mutex_unlock(&lock);
    if (found > LT_EXPIRY_LINES)
        lt_log(LT_LOG_WARNING, "expires", "%u more run out within their time", found - LT_EXPIRY_LINES);
    return found;
}
