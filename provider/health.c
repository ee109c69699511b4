#include "provider/health.h"

#include "common/run/log.h"

#include <string.h>

#define PERIODS 3    /* without a quote, and an old one says nothing any more */
#define SLOW_MS 3000 /* a chip takes less than one for a quote */

void lt_health_init(struct lt_health *h, uint64_t period_ms)
{
    *h = (struct lt_health){.period_ms = period_ms};
    pthread_mutex_init(&h->lock, NULL);
}

void lt_health_destroy(struct lt_health *h)
{
    pthread_mutex_destroy(&h->lock);
}

/* Of what went wrong. Any code that is none of these is a way of not being reached. */
static const char *word_of(int code)
{
    switch (code) {
    case LT_E_HOST_TPM:
    case LT_E_BUSY:
        return lt_err_slug(code);
    case LT_E_MALFORMED:
    case LT_E_BAD_SIGNATURE:
    case LT_E_UNSUPPORTED:
    case LT_E_UNSUPPORTED_NAME_ALGORITHM:
        return "bad-quote";
    default:
        return "unreachable";
    }
}

/* Under the lock. */
static const char *word(const struct lt_health *h, uint64_t now_ms)
{
    if (h->e.code)
        return word_of(h->e.code);
    if (h->checking && now_ms - h->asked_ms >= SLOW_MS)
        return "slow";
    if (!h->quoted_ms)
        return "unknown";
    return now_ms - h->quoted_ms < PERIODS * h->period_ms ? "up" : "stale";
}

void lt_health_note(struct lt_health *h, const char *who, const struct lt_err *e, uint64_t now_ms)
{
    pthread_mutex_lock(&h->lock);
    const char *was = word(h, now_ms);
    h->tried_ms = now_ms;
    h->e = e ? *e : (struct lt_err){0};
    if (!e)
        h->quoted_ms = now_ms;
    const char *is = word(h, now_ms);
    pthread_mutex_unlock(&h->lock);
    if (strcmp(was, is))
        lt_log(e ? LT_LOG_WARNING : LT_LOG_INFO, "host-state", "host %s: %s, was %s%s%s", who, is, was,
               e ? ": " : "", e ? e->msg : "");
}

bool lt_health_due(struct lt_health *h, uint64_t age_ms, uint64_t now_ms)
{
    pthread_mutex_lock(&h->lock);
    bool due = !h->checking && (!h->tried_ms || now_ms - h->tried_ms >= age_ms);
    if (due) {
        h->checking = true;
        h->asked_ms = now_ms;
    }
    pthread_mutex_unlock(&h->lock);
    return due;
}

void lt_health_checked(struct lt_health *h)
{
    pthread_mutex_lock(&h->lock);
    h->checking = false;
    pthread_mutex_unlock(&h->lock);
}

const char *lt_health_word(struct lt_health *h, uint64_t now_ms)
{
    pthread_mutex_lock(&h->lock);
    const char *w = word(h, now_ms);
    pthread_mutex_unlock(&h->lock);
    return w;
}

json_t *lt_health_json(struct lt_health *h, uint64_t now_ms)
{
    pthread_mutex_lock(&h->lock);
    json_t *error = h->e.code ? json_pack("{s:s, s:o}", "slug", lt_err_slug(h->e.code), "message",
                                          lt_json_new_text(h->e.msg))
                              : json_null();
    json_t *age = h->quoted_ms ? json_integer((json_int_t)(now_ms - h->quoted_ms)) : json_null();
    json_t *j =
        json_pack("{s:s, s:o, s:o}", "state", word(h, now_ms), "last_quote_age_ms", age, "error", error);
    pthread_mutex_unlock(&h->lock);
    return j;
}
