#include "vtpm/wall.h"

#include <string.h>
#include <time.h>

/* File times come from a coarser clock than process starts, and the two clocks are not read in one moment: no
 * more than a few ticks apart. Adjusting a clock slowly moves both alike. */
#define SLACK_NS 100000000LL

static bool near(int64_t a, int64_t b)
{
    return a - b <= SLACK_NS / 2 && b - a <= SLACK_NS / 2;
}

void lt_wall_note(struct lt_wall *w, int64_t boot_ns, int64_t wall_ns)
{
    int64_t offset = wall_ns - boot_ns;

    if (w->count && near(w->seen[w->count - 1].offset, offset)) {
        w->seen[w->count - 1].last = boot_ns;
        return;
    }
    if (w->count == LT_WALL_STEPS)
        memmove(w->seen, w->seen + 1, --w->count * sizeof *w->seen);
    w->seen[w->count].offset = offset;
    w->seen[w->count].first = w->seen[w->count].last = boot_ns;
    w->count++;
}

static int64_t ns(const struct timespec *t)
{
    return t->tv_sec * 1000000000LL + t->tv_nsec;
}

void lt_wall_look(struct lt_wall *w)
{
    struct timespec wall, boot;

    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_REALTIME, &wall);
    lt_wall_note(w, ns(&boot), ns(&wall));
}

/* When the clock was set between two looks, either offset may have been the one. A time that no look
 * explains, as one to come, may have been written at any. */
bool lt_wall_after(const struct lt_wall *w, int64_t file_ns, int64_t boot_ns)
{
    bool explained = false;

    for (unsigned i = 0; i < w->count; i++) {
        int64_t at = file_ns - w->seen[i].offset;
        int64_t end = i + 1 < w->count ? w->seen[i + 1].first : w->seen[i].last;
        if ((i && at < w->seen[i - 1].last - SLACK_NS) || at > end + SLACK_NS)
            continue;
        if (at > boot_ns + SLACK_NS)
            return true;
        explained = true;
    }
    return !explained;
}
