#include "verifier/told.h"

#include "common/run/log.h"

#include <stdio.h>
#include <string.h>

static enum lt_verdict_link link_of(const struct lt_verdict *v)
{
    return v->result == LT_VERDICT_TRUSTED ? v->link : LT_VERDICT_LINK_NONE;
}

static bool same(const struct lt_told *t, const struct lt_verdict *v, enum lt_told_kept kept)
{
    return t->told && t->result == v->result && t->link == link_of(v) && t->kept == kept &&
           !strcmp(t->reason, v->reason);
}

static const char *first_message(const struct lt_verdict *v)
{
    for (int c = 0; v->result != LT_VERDICT_TRUSTED && c < LT_CHECKS; c++)
        if (v->check[c].state == LT_CHECK_NOT_PASSED && v->check[c].message[0])
            return v->check[c].message;
    for (int c = 0; v->result != LT_VERDICT_TRUSTED && c < LT_CHECKS; c++)
        if (v->check[c].state == LT_CHECK_NOT_MADE && v->check[c].weight != LT_CHECK_WEIGHT_NONE &&
            v->check[c].message[0])
            return v->check[c].message;
    return NULL;
}

static json_t *text_or_null(const char *s)
{
    return s && *s ? lt_json_new_text(s) : json_null();
}

static json_t *before(const struct lt_told *t)
{
    return t->told ? json_pack("{s:s, s:o}", "result", lt_verdict_result_slug(t->result), "reason",
                               text_or_null(t->reason))
                   : json_null();
}

static json_t *line(const struct lt_told *t, const char *what, const char *who, const struct lt_verdict *v,
                    enum lt_told_kept kept)
{
    static const char *const notes[] = {
        [LT_TOLD_KEPT] = "",
        [LT_TOLD_STANDS] = "an earlier failed verdict stands",
        [LT_TOLD_OUTDATED] = "under a policy or registration of before: it does not count",
        [LT_TOLD_GONE] = "it was removed",
        [LT_TOLD_HELD] = "in memory: the store takes nothing",
        [LT_TOLD_LOST] = "the store took nothing",
    };
    json_t *j = json_object();

    json_object_set_new(j, "host",
                        v->has_host ? lt_json_new_hex(v->host_id, sizeof v->host_id) : json_null());
    json_object_set_new(j, what, json_string(who)); /* a host by itself is its own */
    json_object_set_new(j, "result", json_string(lt_verdict_result_slug(v->result)));
    json_object_set_new(j, "reason", text_or_null(v->reason));
    json_object_set_new(j, "link", text_or_null(lt_verdict_link_slug(v->link)));
    json_object_set_new(j, "was", before(t));
    json_object_set_new(j, "note", text_or_null(notes[kept]));
    json_object_set_new(j, "message", text_or_null(first_message(v)));
    return j;
}

bool lt_told_verdict(struct lt_told *t, const char *what, const char *who, const struct lt_verdict *v,
                     enum lt_told_kept kept)
{
    if (same(t, v, kept))
        return false;
    lt_log_fields(v->result == LT_VERDICT_TRUSTED ? LT_LOG_INFO : LT_LOG_WARNING, "verdict",
                  line(t, what, who, v, kept));
    t->told = true;
    t->result = v->result;
    t->link = link_of(v);
    t->kept = kept;
    snprintf(t->reason, sizeof t->reason, "%s", v->reason);
    return true;
}
