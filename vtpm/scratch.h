/* A private directory for a program of others that we run on a vTPM's state: below a tmpfs, wiped when it has
 * been used, and swept when its maker was killed. Locked as long as it is used. */
#ifndef LT_VTPM_SCRATCH_H
#define LT_VTPM_SCRATCH_H

#include "common/err.h"

#include <limits.h>
#include <sys/types.h>

struct lt_scratch {
    char path[PATH_MAX];
    int fd; /* the directory itself, -1: none */
};
#define LT_SCRATCH_NONE ((struct lt_scratch){.fd = -1})

/* BELOW/limetree-vtpm-XXXXXX, 0700. */
int lt_scratch_make(const char *below, struct lt_scratch *out, struct lt_err *e) LT_MUST_CHECK;
/* Of root: it is that user's from now on. Of others: nothing. */
int lt_scratch_give(const struct lt_scratch *s, uid_t uid, gid_t gid, struct lt_err *e) LT_MUST_CHECK;
/* Overwritten and removed with all files in it. Its path is no more than where it was: who owns it by now may
 * have put a link into its place, or links into it. LT_SCRATCH_NONE is fine. */
void lt_scratch_wipe(struct lt_scratch *s);
#define LT_SCRATCH_AUTO __attribute__((cleanup(lt_scratch_wipe)))
/* Those that nobody holds. */
void lt_scratch_sweep(const char *below);

#endif
