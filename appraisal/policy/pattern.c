#define PCRE2_CODE_UNIT_WIDTH 8
#include "appraisal/policy/pattern.h"

#include "common/alloc.h"
#include "common/limits.h"

#include <pcre2.h>
#include <stdlib.h>

/* Of one match. Steps bound the time together with LT_MAX_SUBJECT, since one step may scan the subject once.
 */
#define STEPS 50000
#define DEPTH 5000
#define HEAP_KIB 4096
#define SHOWN 48 /* characters of a pattern in a message */

struct lt_pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
    char shown[SHOWN + 4];
};

static void show(char *out, const char *text, size_t n)
{
    size_t i;
    for (i = 0; i < n && i < SHOWN; i++)
        out[i] = text[i] >= ' ' && text[i] < 127 ? text[i] : '?';
    for (int dots = 0; n > SHOWN && dots < 3; dots++)
        out[i++] = '.';
    out[i] = 0;
}

/* $ is the end alone, not also before a last newline; \C and a switch to UTF from within are refused: bytes
 * it is. */
static int compile(struct lt_pattern *p, const char *text, size_t n, bool anchored_end, struct lt_err *e)
{
    uint32_t options = PCRE2_ANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C |
                       (anchored_end ? PCRE2_ENDANCHORED : 0);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_SIZE at;
    int code;

    p->limits = pcre2_match_context_create(NULL);
    if (!context || !p->limits) {
        pcre2_compile_context_free(context);
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for a pattern");
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context, LT_MAX_PATTERN);
    p->code = pcre2_compile((PCRE2_SPTR)text, n, options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!p->code) {
        char why[128];
        if (pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why) < 0)
            why[0] = 0;
        return lt_fail(e, LT_E_MALFORMED, "pattern '%s': %s at byte %zu", p->shown, why, (size_t)at);
    }
    pcre2_set_match_limit(p->limits, STEPS);
    pcre2_set_depth_limit(p->limits, DEPTH);
    pcre2_set_heap_limit(p->limits, HEAP_KIB);
    return 0;
}

int lt_pattern_compile(const char *text, size_t n, bool anchored_end, struct lt_pattern **out,
                       struct lt_err *e)
{
    *out = NULL;
    if (n > LT_MAX_PATTERN)
        return lt_fail(e, LT_E_TOO_LARGE, "pattern: %zu bytes > %u", n, LT_MAX_PATTERN);
    LT_AUTO(lt_pattern) struct lt_pattern *p = lt_new(struct lt_pattern);
    show(p->shown, text, n);
    LT_TRY(compile(p, text, n, anchored_end, e));
    *out = lt_take(&p);
    return 0;
}

int lt_pattern_match(const struct lt_pattern *p, struct lt_slice s, bool *hit, struct lt_err *e)
{
    char why[128];

    *hit = false;
    if (s.n > LT_MAX_SUBJECT)
        return lt_fail(e, LT_E_TOO_LARGE, "pattern '%s': asked about %zu bytes > %u", p->shown, s.n,
                       LT_MAX_SUBJECT);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory to match a pattern");
    int rc = pcre2_match(p->code, s.n ? s.p : (PCRE2_SPTR) "", s.n, 0, 0, data, p->limits);
    pcre2_match_data_free(data);
    *hit = rc >= 0;
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory to match pattern '%s'", p->shown);
    if (pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why) < 0)
        why[0] = 0;
    return lt_fail(e, LT_E_TOO_LARGE, "pattern '%s' on %zu bytes: %s", p->shown, s.n, why);
}

void lt_pattern_free(struct lt_pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->limits);
    free(p);
}
