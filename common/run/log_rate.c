#include "common/run/log_rate.h"

#include <stdio.h>
#include <string.h>

void lt_log_rate_init(struct lt_log_rate *r)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
}

void lt_log_rate_destroy(struct lt_log_rate *r)
{
    pthread_mutex_destroy(&r->lock);
}

static struct lt_log_share *share_of(struct lt_log_rate *r, const char *source)
{
    unsigned h = 5381;

    for (const char *p = source; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return &r->share[h % LT_LOG_RATE_SHARES];
}

bool lt_log_rate_may(struct lt_log_rate *r, const char *source, uint64_t now_ms,
                     char more[LT_LOG_RATE_SHARE_MORE])
{
    struct lt_log_share *s = share_of(r, source);

    *more = 0;
    pthread_mutex_lock(&r->lock);
    if (now_ms - s->since_ms >= LT_LOG_RATE_SHARE_PERIOD_MS || !s->since_ms) {
        s->since_ms = now_ms;
        s->logged = 0;
    }
    bool may = s->logged < LT_LOG_RATE_SHARE_LINES;
    if (may && s->missed)
        snprintf(more, LT_LOG_RATE_SHARE_MORE, " (%u more were not logged)", s->missed);
    s->missed = may ? 0 : s->missed + 1;
    s->logged += may;
    pthread_mutex_unlock(&r->lock);
    return may;
}
