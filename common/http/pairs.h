/* Names and values as one run of text: "name\0value\0…", an empty name ends it. */
#ifndef LT_COMMON_HTTP_PAIRS_H
#define LT_COMMON_HTTP_PAIRS_H

/* The first value of that name, compared by cmp (strcmp, strcasecmp); NULL: there is none. pairs may be NULL.
 */
const char *lt_http_pairs_get(const char *pairs, const char *name, int (*cmp)(const char *, const char *));

#endif
