/* GET guests/{uuid}/openers and /escrow: what opens a guest's vTPM, and who accepts it. */
#include "tenant/api.h"

#include "common/limits.h"
#include "residency/error.h"
#include "tenant/round.h"

#include <stdlib.h>
#include <string.h>

/* ---- the list ---- */

static int ek_of(struct lt_tenant *t, const struct lt_store_guest *g, uint8_t ek_digest[LT_SHA256],
                 struct lt_err *e)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {0};
    struct lt_store_basis b = {0};

    LT_TRY(lt_store_agent_get(t->store, g->agent, &a, e));
    lt_store_basis_ek(&b, a.ek, a.ek_n);
    memcpy(ek_digest, b.ek, LT_SHA256);
    return 0;
}

int lt_tenant_api_exposed(struct lt_tenant *t, const struct lt_store_guest *g, json_t **out, struct lt_err *e)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o = {0};
    uint8_t ek[LT_SHA256];

    *out = NULL;
    int rc = ek_of(t, g, ek, e);
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    if (!rc)
        LT_TRY(lt_store_openers(t->store, ek, &o, e));
    *out = json_array();
    for (size_t i = 0; i < o.exposed_count; i++)
        json_array_append_new(*out, json_pack("{s:o, s:I}", "host_ek_digest",
                                              lt_json_new_hex(o.exposed[i].host, LT_SHA256), "since",
                                              (json_int_t)(o.exposed[i].since / 1000)));
    return 0;
}

int lt_tenant_api_clear_exposed(struct lt_tenant *t, const struct lt_store_guest *g, struct lt_err *e)
{
    uint8_t ek[LT_SHA256];

    LT_TRY(ek_of(t, g, ek, e));
    return lt_store_exposure_clear(t->store, ek, e);
}

/* What the last round made of the list; of a round before the last start nothing is left. */
struct judged {
    struct lt_ref *last; /* struct lt_tenant_round; NULL: none */
    const struct lt_tenant_round *round;
    struct lt_tenant_openers with;
    const struct lt_boot_log **log; /* of the quoted host, and those that are kept */
    size_t log_count;
    struct lt_checks_openers_memo *memo; /* log_count a policy: a log is judged once */
};

static void gather_logs(struct judged *j)
{
    const struct lt_verifier_host_log *quoted = lt_ref_value(j->round->host.log);
    const struct lt_checks_openers *in = &j->with.in;

    j->log = lt_alloc(1 + in->log_count, sizeof *j->log);
    if (quoted)
        j->log[j->log_count++] = quoted->log;
    for (size_t i = 0; i < in->log_count; i++)
        j->log[j->log_count++] = in->log[i];
    j->memo = lt_alloc(j->log_count * in->policy_count + 1, sizeof *j->memo);
}

static void judge(struct lt_tenant *t, const uint8_t uuid[LT_UUID], const uint8_t digest[LT_SHA256],
                  struct judged *j)
{
    memset(j, 0, sizeof *j);
    j->last = lt_rounds_last(t->rounds, uuid);
    const struct lt_tenant_round *round = lt_ref_value(j->last);
    const struct lt_sealing_view *v = round ? lt_ref_value(round->openers) : NULL;
    const struct lt_sealing_list *l = v ? lt_ref_value(v->list) : NULL;

    if (!l || memcmp(l->digest, digest, LT_SHA256))
        return;
    j->round = round;
    lt_tenant_openers_fill(&j->with, round->openers, round->sealed, round->host.policy);
    gather_logs(j);
}

static void judged_free(struct judged *j)
{
    lt_tenant_openers_free(&j->with);
    free(j->log);
    free(j->memo);
    lt_ref_put(j->last);
}

/* The first of the documents that count for it which holds the state, as the round judged it. */
static json_t *accepted_by(const struct judged *j, const struct lt_openers_one *one, unsigned opener)
{
    const struct lt_policy_guest *p = lt_tenant_policy_parsed(j->round->policy);
    const struct lt_checks_openers *in = &j->with.in;

    for (size_t i = 0; p && one->kind == LT_OPENERS_STATE && i < in->policy_count; i++)
        if (lt_checks_openers_counts(in, p, opener, in->policy[i].policy->digest) &&
            !lt_checks_openers_holds_memo(&in->policy[i], &one->state, j->log, j->log_count,
                                          j->memo + i * j->log_count, LT_NO_ERR))
            return lt_json_new_hex(in->policy[i].policy->digest, LT_SHA256);
    return json_null();
}

static json_t *problems_of(const struct lt_verdict *v, int opener)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < v->openers.problem_count; i++) {
        const struct lt_verdict_problem *p = &v->openers.problem[i];
        if (p->opener == opener)
            json_array_append_new(
                list, json_pack("{s:s, s:o}", "reason", p->reason, "message", lt_json_new_text(p->message)));
    }
    return list;
}

static void describe_one(json_t *o, const struct judged *j, const struct lt_openers_one *one, int i,
                         int64_t closed_at)
{
    json_object_set_new(o, "seen_closed",
                        closed_at ? json_integer((json_int_t)(closed_at / 1000)) : json_null());
    json_object_set_new(o, "accepted_by", j->round ? accepted_by(j, one, (unsigned)i) : json_null());
    json_object_set_new(o, "problems", j->round ? problems_of(&j->round->verdict, i) : json_array());
}

static json_t *describe(struct lt_tenant *t, const uint8_t uuid[LT_UUID], const uint8_t ek[LT_SHA256],
                        const struct lt_store_openers *o, const struct lt_openers *list)
{
    uint8_t digest[LT_SHA256];
    struct judged j;

    lt_sha256(o->bytes ? o->bytes : (const uint8_t *)"", o->n, digest);
    judge(t, uuid, digest, &j);
    json_t *openers = lt_openers_to_json(list);
    for (unsigned i = 0; list->one && i < list->count; i++)
        describe_one(json_array_get(openers, i), &j, &list->one[i], (int)i, o->closed[i]);
    const char *link = j.round ? lt_verdict_link_slug(j.round->verdict.link) : NULL;
    json_t *out = json_pack("{s:o, s:o, s:s?, s:b, s:o, s:o}", "ek_digest", lt_json_new_hex(ek, LT_SHA256),
                            "digest", o->bytes ? lt_json_new_hex(digest, sizeof digest) : json_null(), "link",
                            link, "judged", j.round != NULL, "problems",
                            j.round ? problems_of(&j.round->verdict, -1) : json_array(), "openers", openers);
    judged_free(&j);
    return out;
}

static int get_openers(struct lt_tenant *t, const uint8_t uuid[LT_UUID], json_t **out, struct lt_err *e)
{
    LT_STORE_AUTOOPENERS struct lt_store_openers o = {0};
    LT_OPENERS_AUTO struct lt_openers list = {0};
    struct lt_store_guest g;
    uint8_t ek[LT_SHA256];
    json_t *exposed;

    LT_TRY(lt_store_guest_get(t->store, uuid, &g, e));
    LT_TRY(ek_of(t, &g, ek, e));
    LT_TRY(lt_store_openers(t->store, ek, &o, e));
    LT_TRY(o.bytes ? lt_openers_parse(o.bytes, o.n, &list, e) : 0);
    LT_TRY(lt_tenant_api_exposed(t, &g, &exposed, e));
    *out = describe(t, uuid, ek, &o, &list);
    json_object_set_new(*out, "exposed", exposed);
    return 0;
}

void lt_tenant_api_get_openers(struct lt_http_req *req, void *app)
{
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};
    json_t *j = NULL;

    if (lt_tenant_api_uuid(req, uuid, &e) || get_openers(app, uuid, &j, &e))
        lt_tenant_api_fail(req, &e);
    else
        lt_http_reply_json(req, 200, j);
}

/* ---- the escrow copy ---- */

static int get_escrow(struct lt_tenant *t, const uint8_t uuid[LT_UUID], struct lt_http_reply *reply,
                      struct lt_err *e)
{
    char path[64], text[LT_UUID_TEXT];
    struct lt_store_guest g;

    LT_TRY(lt_store_guest_get(t->store, uuid, &g, e));
    if (!*t->conf->provider)
        return lt_fail(e, LT_E_CONFLICT, "no provider is configured: nobody has an escrow copy");
    lt_uuid_format(uuid, text);
    snprintf(path, sizeof path, "guests/%s/escrow", text);
    LT_TRY(lt_host_fetch_host_call(&t->provider, "GET", path, NULL, LT_MAX_ESCROW, reply, e));
    if (reply->status == 200)
        return 0;
    LT_JSON_AUTO json_t *none = lt_http_json(reply, 200, lt_residency_error_read, e);
    free((char *)reply->body);
    lt_budget_give(t->memory, reply->charge);
    return lt_fail_in(e, e->code ? e->code : LT_E_PROVIDER_REFUSED, "provider, %s", path);
}

void lt_tenant_api_get_escrow(struct lt_http_req *req, void *app)
{
    struct lt_http_reply reply = {0};
    struct lt_tenant *t = app;
    uint8_t uuid[LT_UUID];
    struct lt_err e = {0};

    if (lt_tenant_api_uuid(req, uuid, &e) || get_escrow(t, uuid, &reply, &e)) {
        lt_tenant_api_fail(req, &e);
        return;
    }
    lt_budget_give(t->memory, reply.charge);
    lt_http_reply_bytes(req, 200, "application/octet-stream", (uint8_t *)reply.body, reply.n);
}
