/* limetree-agent-faults: the agent, built from the same sources with -DLT_FAULT_POINTS, and this: what
 * happens at a point (agent/fault.h). */
#include "agent/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
#define X(name, text) text,
    LT_FAULT_POINT_TABLE(X)
#undef X
};

static struct {
    int point; /* -1: none */
    long at;   /* its so-manieth time */
    bool pause;
} wanted = {.point = -1};
static atomic_long seen;

static void refuse(const char *text)
{
    fprintf(stderr, "LT_FAULT=%s: not NAME[:N][:pause]; the names: --list-faults\n", text);
    _exit(2);
}

static void read_wish(const char *text)
{
    size_t n = strcspn(text, ":");
    char *rest = NULL;

    for (int i = 0; i < LT_FAULT_POINTS_COUNT; i++)
        if (strlen(names[i]) == n && !strncmp(names[i], text, n))
            wanted.point = i;
    wanted.at = 1;
    const char *more = text + n;
    if (*more == ':' && more[1] >= '1' && more[1] <= '9') {
        wanted.at = strtol(more + 1, &rest, 10);
        more = rest;
    }
    wanted.pause = !strcmp(more, ":pause");
    if (wanted.point < 0 || (*more && !wanted.pause))
        refuse(text);
}

/* Before main, with its arguments: this program has no others of its own. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
    const char *wish = getenv("LT_FAULT");

    if (argc == 2 && !strcmp(argv[1], "--list-faults")) {
        for (int i = 0; i < LT_FAULT_POINTS_COUNT; i++)
            puts(names[i]);
        fflush(stdout);
        _exit(0);
    }
    if (wish && *wish)
        read_wish(wish);
}

void lt_fault_here(enum lt_fault_point p)
{
    if ((int)p != wanted.point || atomic_fetch_add(&seen, 1) + 1 != wanted.at)
        return;
    if (wanted.pause)
        raise(SIGSTOP);
    else
        _exit(137);
}
