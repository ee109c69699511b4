/* What the verbs of `limetree domain` share that speak with this host's agent over its UNIX socket. */
#ifndef LT_CLI_DOMAIN_VERBS_H
#define LT_CLI_DOMAIN_VERBS_H

#include "common/ids.h"
#include "common/json.h"

struct lt_cli_domain {
    const char *socket; /* of --socket; NULL: what the agent's configuration says, or the usual place */
    bool json, lines, autostart, convert, paused, clear;
    const char *escrow;
    char **argument; /* behind the verb */
    int count;
};

/* Verbs. */
int lt_cli_domain_digest(const struct lt_cli_domain *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_domain_define(const struct lt_cli_domain *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_domain_provision(const struct lt_cli_domain *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_domain_start(const struct lt_cli_domain *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_domain_pin(const struct lt_cli_domain *c, struct lt_err *e) LT_MUST_CHECK;
int lt_cli_domain_hook(const struct lt_cli_domain *c, struct lt_err *e) LT_MUST_CHECK;

/* POST path (below /local/v1/), body is taken. A new reference, or NULL and *e. LT_E_UNREACHABLE: no agent
 * serves there, with what to look at. */
json_t *lt_cli_domain_call(const struct lt_cli_domain *c, const char *path, json_t *body, int want,
                           long timeout_ms, struct lt_err *e) LT_MUST_CHECK;

#endif
