/* limetree policy: what its commands share. */
#ifndef LT_CLI_POLICY_H
#define LT_CLI_POLICY_H

#include "appraisal/checks/measured.h"
#include "residency/bundle.h"

struct lt_cli_policy_conf {
    bool json, host, all;
    const char *from, *ima, *boot_log, *out, *boot, *layers, *key;
    char **args; /* NULL-ended */
    int count;
};

/* One side of a bundle, or files: what a machine measured. Borrowed from where it was read. */
struct lt_cli_policy_evidence {
    const struct lt_pcrs *pcrs;    /* NULL: files, without a quote */
    struct lt_slice ima, boot_log; /* p NULL: absent */
};

/* 0, or a negative code with *e; *verdict: the exit code of a command that did its work (0 or 1). */
int lt_cli_policy_learn(const struct lt_cli_policy_conf *c, int *verdict, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_policy_check(const struct lt_cli_policy_conf *c, int *verdict, struct lt_err *e) LT_MUST_CHECK;

/* The bundle's half that --host asks for. Borrows from b. */
void lt_cli_policy_half(const struct lt_bundle *b, bool host, struct lt_cli_policy_evidence *out);
/* A document compiled: pinned by --key when it is in an envelope. Caller frees *b; t borrows from it. */
int lt_cli_policy_load(const char *path, const char *key_file, bool strict, struct lt_buf *b,
                       struct lt_ima_table **t, struct lt_err *e) LT_MUST_CHECK;
/* What documents and bundles hold may not steer a terminal. */
void lt_cli_policy_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int lt_cli_policy_print_json(json_t *j, struct lt_err *e) LT_MUST_CHECK; /* takes j */

#endif
