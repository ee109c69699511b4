#include "common/run/clock.h"
#include "common/run/db.h"

#include <stdio.h>
#include <string.h>

static json_t *text_or_null(const char *s)
{
    return *s ? lt_json_new_text(s) : json_null();
}

static const char *state_of(const struct lt_db_health *h)
{
    return h->fault ? "fault" : h->space.low ? "low" : "ok";
}

/* What is wrong, or about to be, in a sentence. */
static void why(const struct lt_db_health *h, char out[320])
{
    *out = 0;
    if (h->fault)
        memcpy(out, h->why, sizeof h->why);
    else if (h->space.low)
        snprintf(out, 320,
                 "the disk of the state directory is almost full (%llu MiB free): documents and bundles are "
                 "not kept; "
                 "free some",
                 (unsigned long long)h->space.free >> 20);
}

json_t *lt_db_status_json(const struct lt_db_health *h, const struct lt_db_skipped *skipped)
{
    char since[32] = "", message[320];

    why(h, message);
    if (h->fault)
        lt_clock_wall_text(h->since, since);
    return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "state", state_of(h), "since",
                     text_or_null(since), "message", text_or_null(message), "free_mib",
                     (json_int_t)(h->space.free >> 20), "min_free_mib", (json_int_t)(h->space.min_free >> 20),
                     "reserve_mib", (json_int_t)(h->space.reserve >> 20), "held_mib",
                     (json_int_t)(h->space.held >> 20), "skipped", (json_int_t)skipped->count,
                     "skipped_first", text_or_null(skipped->first));
}
