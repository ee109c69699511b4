/* Processes, held so that a number used again is never mistaken for the old process: a pidfd, and a
 * descriptor of /proc/PID, which answers ESRCH for ever once that process has ended. */
#ifndef LT_VTPM_PROCS_H
#define LT_VTPM_PROCS_H

#include "common/bytes.h"

#include <sys/types.h>

struct lt_proc {
    pid_t pid;
    int pidfd, dir;       /* dir: /proc/PID */
    uint64_t start_ticks; /* since boot, sysconf(_SC_CLK_TCK) a second: with pid, the process' identity */
    uid_t uid;            /* effective; root for one that may not be traced */
    gid_t gid;
};

#define LT_PROC_NONE ((struct lt_proc){.pidfd = -1, .dir = -1})

/* LT_E_NOT_FOUND if there is no such process (any more). lt_proc_close afterwards only on success. */
int lt_proc_open(pid_t pid, struct lt_proc *out, struct lt_err *e) LT_MUST_CHECK;
void lt_proc_close(struct lt_proc *p);
bool lt_proc_alive(const struct lt_proc *p); /* false for a zombie */
/* CLOCK_BOOTTIME of its start, in nanoseconds; exact to a clock tick. */
int64_t lt_proc_start_ns(const struct lt_proc *p);

/* The command line: words one after the other, each with its NUL. */
struct lt_procs_words {
    char *p;
    size_t n;
};
int lt_proc_words(const struct lt_proc *p, struct lt_procs_words *out, struct lt_err *e) LT_MUST_CHECK;
void lt_procs_words_free(struct lt_procs_words *w);
/* NULL behind the last. word NULL: the first. */
const char *lt_procs_words_next(const struct lt_procs_words *w, const char *word);
/* The word behind the last one that equals option; NULL if there is none. */
const char *lt_procs_words_option(const struct lt_procs_words *w, const char *option);
/* The value of key in "a=b,key=value,…", copied to out (size bytes); false if it is absent or does not fit.
 */
bool lt_procs_option_value(const char *option, const char *key, char *out, size_t size);

#define LT_PROCS_ANY_UID ((uid_t)-1)

/* Every process of that user whose command line has two neighbouring words `option value` (value NULL: any);
 * of nobody else's is the command line even read, for its owner can make that last for ever. Called until it
 * returns nonzero, which is passed on. *p is closed behind the call unless taken with *p = LT_PROC_NONE.
 */
typedef int (*lt_proc_fn)(void *ctx, struct lt_proc *p, const struct lt_procs_words *w, struct lt_err *e);
int lt_proc_each(uid_t uid, const char *option, const char *value, lt_proc_fn fn, void *ctx,
                 struct lt_err *e) LT_MUST_CHECK;

/* Inodes of the sockets it holds, ascending; caller frees. */
int lt_proc_sockets(const struct lt_proc *p, uint32_t **out, size_t *count, struct lt_err *e) LT_MUST_CHECK;
/* Does it hold a descriptor of that file? */
bool lt_proc_holds(const struct lt_proc *p, dev_t dev, ino_t ino);
/* Opens the absolute path as that process would find it (its root). A descriptor, or a negative code. */
int lt_proc_open_file(const struct lt_proc *p, const char *path, int flags, struct lt_err *e) LT_MUST_CHECK;

#endif
