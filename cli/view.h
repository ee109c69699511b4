/* A VERDICT of docs/api.md for people, of guests and hosts alike. */
#ifndef LT_CLI_VIEW_H
#define LT_CLI_VIEW_H

#include "common/json.h"

/* "3.2 s"; "-" of none. */
void lt_cli_verdict_age(const json_t *verdict, char out[32]);
/* Every check, one line each; what several lack for one cause is one line. */
void lt_cli_verdict_checks(const json_t *verdict);

#endif
