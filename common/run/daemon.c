#include "common/run/daemon.h"

#include "common/bytes.h"
#include "common/run/clock.h"
#include "common/run/expiry.h"
#include "common/run/log.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_OVERRIDES 64

static void help(const struct lt_daemon *d)
{
    printf("%s - %s\n\n"
           "usage: %s [--config FILE] [-o key=value]... [--check-config] [--ready-fd N]\n"
           "       %s --version | --help\n\n"
           "  --config FILE   read FILE instead of %s\n"
           "  -o key=value    set a key after the file was read\n"
           "  --check-config  do all that a start does but binding: certificates, keys, lists, roots, state; "
           "say what\n"
           "                  is wrong, and exit\n"
           "  --ready-fd N    write one line of JSON with the bound addresses to file descriptor N when "
           "ready\n\n"
           "TERM stops, HUP reopens the log%s. Configuration keys:\n\n",
           d->program, d->summary, d->program, d->program, d->config,
           d->reload ? " and reads the files anew that may change" : "");
    lt_conf_help(d->keys, d->key_count, stdout);
}

static const struct lt_daemon_log_conf *log_conf(const struct lt_daemon *d)
{
    for (size_t i = 0; i < d->key_count; i++)
        if (!strcmp(d->keys[i].key, "log"))
            return (const void *)((const char *)d->conf + d->keys[i].offset);
    abort();
}

static int open_log(const struct lt_daemon *d, struct lt_err *e)
{
    const struct lt_daemon_log_conf *c = log_conf(d);
    int level = lt_log_level_parse(c->level);
    if (level < 0)
        return lt_fail(e, LT_E_CONFIG, "log_level = %s: not error, warning, info or debug", c->level);
    return lt_log_open(d->program, c->path, (enum lt_log_level)level, e);
}

static int tell_ready(int fd, json_t *ready, struct lt_err *e)
{
    LT_AUTOFREE char *s = lt_json_dump(ready);
    if (!s)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    size_t n = strlen(s);
    s[n] = '\n';
    if (write(fd, s, n + 1) != (ssize_t)n + 1)
        return lt_fail(e, LT_E_IO, "--ready-fd %d: %s", fd, strerror(errno));
    close(fd);
    return 0;
}

/* The next signal; in between, once a day, what runs out. */
static int next_signal(const sigset_t *set, uint64_t *warned_ms)
{
    static const struct timespec hour = {.tv_sec = 3600};

    for (;;) {
        int sig = sigtimedwait(set, NULL, &hour);
        if (sig >= 0 || (errno != EAGAIN && errno != EINTR))
            return sig;
        if (lt_clock_ms() - *warned_ms >= 86400000) { /* CLOCK_BOOTTIME: a machine that slept is warned too */
            *warned_ms = lt_clock_ms();
            lt_expiry_warn(lt_clock_wall_s());
        }
    }
}

static void serve(const struct lt_daemon *d, const sigset_t *set)
{
    uint64_t warned_ms = lt_clock_ms();

    lt_expiry_warn(lt_clock_wall_s());
    while (next_signal(set, &warned_ms) == SIGHUP) {
        struct lt_err e = {0};
        if (lt_log_reopen(&e))
            lt_log(LT_LOG_ERROR, "reload", "%s", e.msg);
        if (d->reload)
            d->reload(d->conf);
        lt_expiry_warn(lt_clock_wall_s());
    }
}

static int run(const struct lt_daemon *d, int ready_fd, struct lt_err *e)
{
    LT_JSON_AUTO json_t *ready = NULL;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);

    int rc = open_log(d, e);
    if (!rc && d->check)
        rc = d->check(d->conf, false, e);
    if (!rc)
        rc = d->start(d->conf, &ready, e);
    if (rc)
        return rc;
    if (ready_fd >= 0)
        rc = tell_ready(ready_fd, ready, e);
    lt_log(LT_LOG_INFO, "ready", "%s %s is ready", d->program, LT_VERSION);
    if (!rc)
        serve(d, &set);
    lt_log(LT_LOG_INFO, "stop", "%s stops", d->program);
    d->stop(d->conf);
    return rc;
}

static int check_only(const struct lt_daemon *d, struct lt_err *e)
{
    const struct lt_daemon_log_conf *c = log_conf(d);

    if (lt_log_level_parse(c->level) < 0)
        return lt_fail(e, LT_E_CONFIG, "log_level = %s: not error, warning, info or debug", c->level);
    if (d->check)
        LT_TRY(d->check(d->conf, true, e));
    lt_expiry_warn(lt_clock_wall_s()); /* to standard error */
    printf("%s: configuration is good%s%s%s\n", d->program, d->unchecked ? " (not looked at: " : "",
           d->unchecked ? d->unchecked : "", d->unchecked ? ")" : "");
    return 0;
}

/* The leak checker traces its own process, which is no longer allowed then. */
#if defined(__SANITIZE_ADDRESS__)
#define LT_DUMPABLE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LT_DUMPABLE 1
#endif
#endif

/* The limit holds for files; a dump piped to a collector needs the second, which also keeps every process of
 * the same user from reading our memory by ptrace or /proc. */
void lt_daemon_no_core_dumps(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#ifndef LT_DUMPABLE
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

enum { CONFIG = 256, CHECK, READY, VERSION, HELP };

struct arguments {
    const char *config, *overrides[MAX_OVERRIDES + 1];
    int count, ready_fd;
    bool check;
};

/* False: not a number. */
static bool take_ready_fd(struct arguments *a, const char *text)
{
    char *end;

    a->ready_fd = (int)strtol(text, &end, 10);
    return *text && !*end && a->ready_fd >= 0;
}

/* -1, or the exit status. */
static int take_option(const struct lt_daemon *d, struct arguments *a, int opt)
{
    switch (opt) {
    case CONFIG:
        a->config = optarg;
        return -1;
    case CHECK:
        a->check = true;
        return -1;
    case READY:
        if (take_ready_fd(a, optarg))
            return -1;
        fprintf(stderr, "%s: --ready-fd %s: not a file descriptor\n", d->program, optarg);
        return 2;
    case VERSION:
        printf("%s %s\n", d->program, LT_VERSION);
        return 0;
    case HELP:
    case 'h':
        help(d);
        return 0;
    case 'o':
        if (a->count < MAX_OVERRIDES) {
            a->overrides[a->count++] = optarg;
            return -1;
        }
        fprintf(stderr, "%s: more than %d -o\n", d->program, MAX_OVERRIDES);
        return 2;
    default:
        fprintf(stderr, "Try '%s --help'.\n", d->program);
        return 2;
    }
}

/* -1, or the exit status. */
static int take_arguments(const struct lt_daemon *d, struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, CONFIG},
        {"check-config", no_argument, NULL, CHECK},
        {"ready-fd", required_argument, NULL, READY},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, HELP},
        {0},
    };

    for (int opt, status; (opt = getopt_long(argc, argv, "o:h", options, NULL)) != -1;)
        if ((status = take_option(d, a, opt)) >= 0)
            return status;
    if (optind == argc)
        return -1;
    fprintf(stderr, "%s: unexpected argument '%s'\nTry '%s --help'.\n", d->program, argv[optind], d->program);
    return 2;
}

int lt_daemon_main(const struct lt_daemon *d, int argc, char **argv)
{
    struct arguments a = {.ready_fd = -1};
    struct lt_err e = {0};

    lt_daemon_no_core_dumps();
    int status = take_arguments(d, &a, argc, argv);
    if (status >= 0)
        return status;
    if (!a.config && access(d->config, R_OK) == 0)
        a.config = d->config;
    int rc = lt_conf_load(d->keys, d->key_count, d->conf, a.config, a.overrides, &e);
    if (!rc)
        rc = a.check ? check_only(d, &e) : run(d, a.ready_fd, &e);
    if (rc)
        fprintf(stderr, "%s: %s\n", d->program, e.msg);
    lt_conf_free(d->keys, d->key_count, d->conf);
    return lt_err_exit(rc);
}
