/* What every daemon does alike: command line, configuration, signals, readiness.
 *
 *   --config FILE  -o key=value  --check-config  --ready-fd N  --version  --help
 *
 * TERM and INT stop, HUP calls back. What runs out (common/run/expiry.h) is warned of at the start and once a
 * day. No daemonising of our own; no core dumps. */
#ifndef LT_COMMON_RUN_DAEMON_H
#define LT_COMMON_RUN_DAEMON_H

#include "common/json.h"
#include "common/run/conf.h"

struct lt_daemon {
    const char *program; /* "limetree-provider" */
    const char *summary; /* one sentence for --help */
    const char *config;  /* default file, used if it exists and no --config is given */
    const struct lt_conf_key *keys;
    size_t key_count;
    void *conf; /* filled from the table */
    /* Start: threads, sockets. *ready receives a new object for the --ready-fd line: the bound addresses. */
    int (*start)(void *conf, json_t **ready, struct lt_err *e);
    void (*reload)(void *conf); /* SIGHUP, may be NULL; the log is reopened before */
    void (*stop)(void *conf);   /* drains and frees; called once if start succeeded */
    /* Before start: are certificates, keys and lists the right ones (common/pki/identity.h)? alone: for
     * --check-config, where no start follows that would find the rest: state, files, addresses. Binds and
     * changes nothing. May be NULL. */
    int (*check)(void *conf, bool alone, struct lt_err *e);
    const char *unchecked; /* what it does not look at, for --check-config's reader: "the TPM, libvirt"; may
                              be NULL */
};

/* The whole of main(). Blocks the signals before start, so that every thread inherits that. Every program's
 * table must have the text keys "log" and "log_level" (LT_DAEMON_LOG_KEYS). */
int lt_daemon_main(const struct lt_daemon *d, int argc, char **argv);

/* For every program that holds keys, first thing: no dump, to a file or a collector, and no other process of
 * this user reads its memory. */
void lt_daemon_no_core_dumps(void);

struct lt_daemon_log_conf {
    char *path, *level;
};
/* Put `struct lt_daemon_log_conf log;` into the program's struct and this into its table. */
#define LT_DAEMON_LOG_KEYS(type)                                                                             \
    {"log", LT_CONF_TEXT, offsetof(type, log.path), "-", 0, 0, "log file; - is standard error"},             \
    {                                                                                                        \
        "log_level", LT_CONF_TEXT, offsetof(type, log.level), "info", 0, 0, "error, warning, info or debug"  \
    }

#endif
