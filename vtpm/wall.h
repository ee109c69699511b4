/* File times are CLOCK_REALTIME as it was when they were written, processes start by CLOCK_BOOTTIME; the two
 * drift apart only where somebody sets the clock. What the difference was when is noted, so that a clock that
 * is set neither makes a new file look old nor an old one new. Nanoseconds; no clock but in lt_wall_look. One
 * thread at a time. */
#ifndef LT_VTPM_WALL_H
#define LT_VTPM_WALL_H

#include <stdbool.h>
#include <stdint.h>

#define LT_WALL_STEPS 32 /* settings of the clock that are remembered, count */

struct lt_wall {
    unsigned count;
    struct {
        int64_t offset;      /* CLOCK_REALTIME - CLOCK_BOOTTIME */
        int64_t first, last; /* CLOCK_BOOTTIME when it was seen so, the first time and the last */
    } seen[LT_WALL_STEPS];
};

/* Both clocks, read together. */
void lt_wall_note(struct lt_wall *w, int64_t boot_ns, int64_t wall_ns);
/* The same of now. Often: a clock that is set and set back between two looks is not seen. */
void lt_wall_look(struct lt_wall *w);
/* Whether something with that file time may have happened after that time of CLOCK_BOOTTIME. What was before
 * the first note is taken to have been as it was then. Look first: times after the last note are times to
 * come. */
bool lt_wall_after(const struct lt_wall *w, int64_t file_ns, int64_t boot_ns);

#endif
