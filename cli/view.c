#include "cli/view.h"

#include "cli/client.h"

#include <stdio.h>
#include <string.h>

static const json_t *member(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}

void lt_cli_verdict_age(const json_t *verdict, char out[32])
{
    const json_t *ms = member(member(verdict, "times"), "age_ms");
    if (json_is_integer(ms))
        snprintf(out, 32, "%.1f s", (double)json_integer_value(ms) / 1000);
    else
        snprintf(out, 32, "-");
}

static void print_check(const json_t *line)
{
    printf("%s", lt_cli_text(line, "check"));
    if (json_is_string(member(line, "part")))
        printf("/%s", lt_cli_text(line, "part"));
}

/* What several checks lack for one cause is one line: "not made  batch-inclusion, host-quote: no answer". */
static void print_folded(const json_t *list, size_t from, const char *word)
{
    const json_t *message = member(json_array_get(list, from), "message");

    for (size_t i = 0; message && i < from; i++) /* it is in a line before */
        if (json_equal(member(json_array_get(list, i), "message"), message))
            return;
    printf("  %-9s ", word);
    print_check(json_array_get(list, from));
    for (size_t i = from + 1; message && i < json_array_size(list); i++)
        if (json_equal(member(json_array_get(list, i), "message"), message)) {
            printf(", ");
            print_check(json_array_get(list, i));
        }
    printf(": %s\n", lt_cli_text(json_array_get(list, from), "message"));
}

static void print_checks(const json_t *verdict, const char *key, const char *word)
{
    const json_t *list = member(verdict, key), *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item)
    {
        if (json_is_string(item))
            printf("  %-9s %s\n", word, lt_cli_shown(json_string_value(item)));
        else
            print_folded(list, i, word);
    }
}

void lt_cli_verdict_checks(const json_t *verdict)
{
    print_checks(verdict, "passed", "passed");
    print_checks(verdict, "failed", "FAILED");
    print_checks(verdict, "not_made", "not made");
}
