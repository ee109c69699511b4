/* What a start would stumble over, looked at before: for --check-config, and first thing of every start.
 * Nothing is made, bound or changed, and a daemon that runs on the same state is not disturbed. */
#ifndef LT_COMMON_RUN_CONFIG_CHECK_H
#define LT_COMMON_RUN_CONFIG_CHECK_H

#include "common/err.h"

/* The directory is there and ours alone, or can be made; its database (file; NULL: none), if there is one, is
 * an SQLite file that can be read and written. LT_E_CONFIG or LT_E_IO, with the path. */
int lt_config_check_state(const char *dir, const char *file, struct lt_err *e) LT_MUST_CHECK;
/* One public key in PEM. */
int lt_config_check_public_key(const char *key, const char *path, struct lt_err *e) LT_MUST_CHECK;

#endif
