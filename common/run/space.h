/* Room on the disk of a state directory: how much is free, when only what must not be lost is written, and a
 * reserve (DIR/reserve, preallocated) that is given back to the file system when such a write finds no room.
 * Any thread may ask; lt_space_look is one thread's. */
#ifndef LT_COMMON_RUN_SPACE_H
#define LT_COMMON_RUN_SPACE_H

#include "common/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes; 0: none. On a small file system each is a tenth of it at most. */
struct lt_space_conf {
    uint64_t reserve;
    uint64_t min_free; /* with less, only what must not be lost is written */
};
/* For a table of configuration keys, in MiB. */
#define LT_SPACE_KEYS(type, reserve, min_free)                                                               \
    {"reserve_mib",                                                                                          \
     LT_CONF_INT,                                                                                            \
     offsetof(type, reserve),                                                                                \
     "16",                                                                                                   \
     0,                                                                                                      \
     1 << 20,                                                                                                \
     "MiB of disk kept back, and used when a verdict or a change finds no room; 0: none"},                   \
    {                                                                                                        \
        "min_free_mib", LT_CONF_INT, offsetof(type, min_free), "64", 0, 1 << 20,                             \
            "MiB: with less free disk neither documents nor bundles nor strangers' registrations are kept"   \
    }

struct lt_space;

struct lt_space_state {
    uint64_t free, total, min_free; /* bytes; free: without the reserve */
    uint64_t reserve, held;         /* wanted, and there */
    bool low;                       /* less is free than min_free, or the reserve is not whole */
};

/* A reserve that cannot be made now is tried again by lt_space_look: never a reason not to start. */
struct lt_space *lt_space_open(const char *dir, const struct lt_space_conf *c);
void lt_space_close(struct lt_space *s); /* the reserve stays; NULL is fine */

/* Asks the file system, and makes the reserve whole again when there is room for it. Logs when it gets
 * scarce, and when that ends. Once a second at most. */
void lt_space_look(struct lt_space *s);
/* A write that must not be lost found no room. True: there is some now. */
bool lt_space_release(struct lt_space *s);
/* Whether n bytes that can be done without may be written. */
bool lt_space_fits(struct lt_space *s, uint64_t n);
void lt_space_state(struct lt_space *s, struct lt_space_state *out);

#endif
