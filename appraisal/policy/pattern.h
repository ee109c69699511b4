/* Regular expressions of policy documents, on PCRE2 with limits: a hostile one costs a clear error, not a
 * CPU.
 *
 * A pattern matches at the START of the subject, like Python's re.match; with anchored_end also up to its
 * end, like re.fullmatch. It works on bytes: NUL, newline and what is not UTF-8 are bytes like any other ('.'
 * is not a newline),
 * '$' is the very end. Read-only after compilation: any number of threads may match at once. */
#ifndef LT_APPRAISAL_POLICY_PATTERN_H
#define LT_APPRAISAL_POLICY_PATTERN_H

#include "common/alloc.h"
#include "common/bytes.h"

struct lt_pattern;

/* At most LT_MAX_PATTERN bytes (LT_E_TOO_LARGE), well-formed (LT_E_MALFORMED, with the offset). */
int lt_pattern_compile(const char *text, size_t n, bool anchored_end, struct lt_pattern **out,
                       struct lt_err *e) LT_MUST_CHECK;
/* 0 and *hit. LT_E_TOO_LARGE: the subject is longer than LT_MAX_SUBJECT, or the limits of steps, depth or
 * memory were met: neither a match nor none. *hit is then false. */
int lt_pattern_match(const struct lt_pattern *p, struct lt_slice s, bool *hit,
                     struct lt_err *e) LT_MUST_CHECK;
void lt_pattern_free(struct lt_pattern *p);
LT_DEFINE_AUTO(lt_pattern, lt_pattern_free);

#endif
