/* The versions of Keylime's API that we speak (keylime-api 1.1): 2.1 to 2.6, and 2.0 as a server. */
#ifndef LT_KEYLIME_VERSIONS_H
#define LT_KEYLIME_VERSIONS_H

#include "common/json.h"

#define LT_VERSIONS_FROM 1           /* the minor of the oldest, */
#define LT_VERSIONS_FROM_REGISTRAR 0 /* of the oldest a registrar and a verifier are called with, */
#define LT_VERSIONS_TO 6             /* of the newest */
/* The status text that makes a verifier try the version before (keylime-api 1.2). */
#define LT_VERSIONS_REFUSAL "API version not supported"

/* N of "2.N", if it is from `from` to LT_VERSIONS_TO; else -1. */
int lt_versions_minor(const char *text, int from);
/* A path's segment: "v2", or "v2.N" of those. */
bool lt_versions_in_path(const char *segment, int from);
/* ["2.from", …, "2.6"], oldest first. */
json_t *lt_versions_list(int from);

#endif
