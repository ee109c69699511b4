/* A table of stages as docs/architecture.md has it: printed from the table, and compared. */
#ifndef LT_TEST_STAGES_H
#define LT_TEST_STAGES_H

#include "tests/support/unit.h"
#include "verifier/rounds/flight.h"

#include "common/file.h"

static char picture[8000];

__attribute__((format(printf, 1, 2))) static void put(const char *fmt, ...)
{
    size_t n = strlen(picture);
    va_list ap;

    va_start(ap, fmt);
    assert_true((size_t)vsnprintf(picture + n, sizeof picture - n, fmt, ap) < sizeof picture - n);
    va_end(ap);
}

static const char *place(const struct lt_flight_stage *s)
{
    static const char *const places[] = {[LT_FLIGHT_ON_POOL] = "pool",
                                         [LT_FLIGHT_ON_CLIENT] = "client",
                                         [LT_FLIGHT_ON_SWEEP] = "sweep",
                                         [LT_FLIGHT_ON_FETCH] = "fetch"};

    return places[s->where];
}

static inline void put_row(const struct lt_flight_table *t, size_t i)
{
    const struct lt_flight_stage *s = &t->stages[i];
    const char *last = t->stages[t->count - 1].slug;

    put("| `%s` | %s", s->slug, place(s));
    put("%s | %s | ", s->run_all ? ", together" : "", s->does);
    if (i + 1 < t->count)
        put("%s`%s`", s->may & LT_FLIGHT_MAY(WAIT) ? "waits, then " : "", t->stages[i + 1].slug);
    else
        put("has ended");
    if (s->may & LT_FLIGHT_MAY(AGAIN))
        put("; again `%s`", t->stages[i - 1].slug);
    if (s->may & LT_FLIGHT_MAY(STOP))
        put("; stop: `%s`", last);
    if (s->may & LT_FLIGHT_MAY(END))
        put("; error: `%s`", last);
    put(" |\n");
}

static inline void stages_docs_have_the_picture(const struct lt_flight_table *t)
{
    uint8_t *text;
    size_t n;

    put("| Stage | Where | Does | Then |\n|---|---|---|---|\n");
    for (size_t i = 0; i < t->count; i++)
        put_row(t, i);
    OK(lt_file_read(LT_SOURCE_DIR "/docs/architecture.md", 1 << 20, &text, &n, &err));
    if (!strstr((char *)text, picture))
        fail_msg("docs/architecture.md is to have this:\n%s", picture);
    free(text);
}

/* The rules of a table, which the driver insists on. */
static inline void stages_are_lawful(const struct lt_flight_table *t)
{
    struct lt_flight_control c;

    lt_flight_control_init(&c, t, 1);
    lt_flight_control_close(&c);
}

#endif
