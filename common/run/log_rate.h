/* Log lines that anybody can cause: so many a period for each crowd of addresses, the rest is counted. No
 * flood fills the disk, and none hides the others. */
#ifndef LT_COMMON_RUN_LOG_RATE_H
#define LT_COMMON_RUN_LOG_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define LT_LOG_RATE_SHARES 64     /* crowds, count */
#define LT_LOG_RATE_SHARE_LINES 5 /* of each, a period, count */
#define LT_LOG_RATE_SHARE_PERIOD_MS 60000
#define LT_LOG_RATE_SHARE_MORE 48 /* characters */

struct lt_log_rate {
    pthread_mutex_t lock;
    struct lt_log_share {
        uint64_t since_ms;
        unsigned logged, missed;
    } share[LT_LOG_RATE_SHARES];
};

void lt_log_rate_init(struct lt_log_rate *r);
void lt_log_rate_destroy(struct lt_log_rate *r);
/* False: this line is one too many of source, an address as text. more: what to put behind one that may be
 * logged, of those before that might not; mostly "". Thread safe. */
bool lt_log_rate_may(struct lt_log_rate *r, const char *source, uint64_t now_ms,
                     char more[LT_LOG_RATE_SHARE_MORE]);

#endif
