/* OpenSSL without memory: one allocation of its own fails. */
#ifndef LT_TESTS_SUPPORT_SCARCE_H
#define LT_TESTS_SUPPORT_SCARCE_H

#include "tests/support/unit.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static long scarce_left = -1; /* allocations until one fails, once; below 0: none does */

static void *scarce_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    if (scarce_left >= 0 && !scarce_left--) {
        errno = ENOMEM; /* as malloc does */
        return NULL;
    }
    return malloc(n);
}

static void *scarce_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return realloc(p, n);
}

static void scarce_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* First in main(), before OpenSSL allocates anything. */
static void scarce_begin(void)
{
    if (!CRYPTO_set_mem_functions(scarce_malloc, scarce_realloc, scarce_free))
        abort();
}

enum { SCARCE_GOOD, SCARCE_STARVED, SCARCE_WRONG, SCARCE_SPENT, SCARCE_STOPPED };

/* One call in a process of its own, whose nth allocation fails: a digest without memory stops the program. */
static int scarce_call(long n, int (*call)(void *), void *state)
{
    int status;
    pid_t child = fork();

    if (!child) {
        scarce_left = n;
        int rc = call(state);
        _exit(scarce_left >= 0       ? SCARCE_SPENT
              : !rc                  ? SCARCE_GOOD
              : rc == LT_E_NO_MEMORY ? SCARCE_STARVED
                                     : SCARCE_WRONG);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : SCARCE_STOPPED;
}

/* A call that succeeds with memory never says anything but LT_E_NO_MEMORY without, whichever allocation
 * fails. */
static void scarce_every(int (*call)(void *), void *state)
{
    unsigned starved = 0;
    int how;

    assert_int_equal(call(state), 0); /* what is made once is made */
    for (long n = 0; (how = scarce_call(n, call, state)) != SCARCE_SPENT; n++) {
        if (how == SCARCE_WRONG)
            fail_msg("allocation %ld", n);
        starved += how == SCARCE_STARVED;
    }
    assert_true(starved > 3);
}

#endif
