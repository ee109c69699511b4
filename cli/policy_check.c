/* limetree policy check: a dry run of layers and boot policy on stored bundles, by the same judgement as
 * checks 3 and 7. */
#include "appraisal/ima/line.h"
#include "cli/policy.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/run/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BOOT_POLICY (4u << 20)

struct check {
    const struct lt_cli_policy_conf *c;
    struct lt_policy_measured policy;
    struct lt_measured_documents documents;
    struct lt_ima_layers layers; /* the same, for naming what is missing */
    struct lt_ima_table *table[LT_MAX_LAYERS];
    struct lt_buf bytes[LT_MAX_LAYERS];
    struct lt_boot_policy *boot;
    int64_t now;
    unsigned bundles, failing;
    json_t *reports, *missing; /* missing: "PATH ALG:DIGEST" → bundles */
};

static void check_free(struct check *k)
{
    for (int i = 0; i < LT_MAX_LAYERS; i++) {
        lt_ima_table_close(k->table[i]);
        lt_buf_free(&k->bytes[i]);
    }
    lt_boot_policy_free(k->boot);
    json_decref(k->reports);
    json_decref(k->missing);
}

static int add_layer(struct check *k, char *spec, struct lt_err *e)
{
    unsigned i = k->policy.layer_count;
    char *path = strchr(spec, '=');

    if (i == LT_MAX_LAYERS)
        return lt_fail(e, LT_E_USAGE, "--layers: more than %d", LT_MAX_LAYERS);
    if (!path || path == spec || path - spec > 63 || !path[1])
        return lt_fail(e, LT_E_USAGE, "--layers: '%.60s' is not NAME=DOC", spec);
    *path++ = 0;
    LT_TRY(lt_cli_policy_load(path, k->c->key, false, &k->bytes[i], &k->table[i], e));
    struct lt_policy_layer_rule *rule = &k->policy.layer[i];
    snprintf(rule->name, sizeof rule->name, "%.63s", spec);
    memcpy(rule->policy, lt_ima_table_digest(k->table[i]), LT_SHA256);
    k->documents.layer[i] = k->table[i];
    k->layers.layer[i] = (struct lt_ima_layer){rule, k->table[i]};
    k->policy.layer_count = k->layers.count = i + 1;
    return 0;
}

static int load(struct check *k, struct lt_err *e)
{
    LT_AUTOFREE char *specs = k->c->layers ? lt_alloc_text(k->c->layers) : NULL;
    LT_AUTOFREE uint8_t *doc = NULL;
    size_t n;

    for (char *save = NULL, *s = specs ? strtok_r(specs, ",", &save) : NULL; s;
         s = strtok_r(NULL, ",", &save))
        LT_TRY(add_layer(k, s, e));
    if (!k->c->boot)
        return 0;
    LT_TRY(lt_file_read(k->c->boot, MAX_BOOT_POLICY, &doc, &n, e));
    LT_TRY_IN(lt_boot_policy_parse(doc, n, &k->boot, e), e, "%s", k->c->boot);
    lt_sha256(doc, n, k->policy.boot);
    memcpy(k->documents.boot_digest, k->policy.boot, LT_SHA256);
    k->policy.has_boot = true;
    k->documents.boot = k->boot;
    return 0;
}

/* A file that no layer allows, counted once a bundle. The judgement was made before; this only gathers names.
 */
struct gather {
    struct check *k;
    json_t *seen;
};

#define PATH_SHOWN 512

static int gather_file(void *arg, const struct lt_ima_file *f, struct lt_err *e)
{
    struct gather *g = arg;
    enum lt_ima_answer a;
    char digest[2 * LT_MAX_DIGEST + 1], path[PATH_SHOWN + 1], key[sizeof digest + sizeof path + 16];
    int which;

    if (f->aggregate ||
        lt_ima_layers_ask(&g->k->layers, g->k->now, LT_IMA_FILES, f->path, f->digest, &a, &which, e) ||
        a == LT_IMA_ALLOWED || a == LT_IMA_EXCLUDED || f->digest.n > LT_MAX_DIGEST)
        return 0;
    lt_hex(f->digest.p, f->digest.n, digest);
    lt_ima_line_show(f->path, path, PATH_SHOWN); /* a JSON key must be text */
    snprintf(key, sizeof key, "%s %s:%s", path, lt_hash_name(f->alg) ? lt_hash_name(f->alg) : "?", digest);
    if (json_object_get(g->seen, key))
        return 0;
    json_int_t count = json_integer_value(json_object_get(g->k->missing, key));
    return json_object_set_new(g->seen, key, json_true()) ||
                   json_object_set_new(g->k->missing, key, json_integer(count + 1))
               ? lt_fail(e, LT_E_NO_MEMORY, "no memory")
               : 0;
}

static void reason(json_t *list, const char *text)
{
    json_array_append_new(list, lt_json_new_text(text));
}

/* What failed or could not be made, as the verdict would say it. */
static json_t *reasons(const struct lt_measured_result *r)
{
    json_t *list = json_array();

    for (int p = LT_MEASURED_PART_BOOT_LOG; p < LT_MEASURED_PARTS; p++)
        if (r->part[p].state == LT_MEASURED_BAD || r->part[p].state == LT_MEASURED_LACKING)
            reason(list, r->part[p].message);
    for (unsigned i = 0; i < r->kept; i++)
        reason(list, r->fault[i]);
    if (r->faults > r->kept + 1u) {
        char more[64];
        snprintf(more, sizeof more, "and %llu more entries", (unsigned long long)(r->faults - r->kept - 1));
        reason(list, more);
    }
    return list;
}

static void judge(struct check *k, const char *path, const struct lt_cli_policy_evidence *ev,
                  struct lt_measured_result *r)
{
    static const struct lt_policy_pcr_rules none;
    static const uint8_t no_policy[LT_SHA256];
    struct lt_boot_log *log = ev->boot_log.p ? lt_boot_log_new(ev->boot_log) : NULL;
    const struct lt_measured_logs logs = {.boot_log = log,
                                          .has_ima = ev->ima.p != NULL,
                                          .ima = ev->ima,
                                          .documents = &k->documents,
                                          .now = k->now};
    const struct lt_measured m = {.pcrs = ev->pcrs, .logs = &logs};
    struct gather g = {.k = k, .seen = json_object()};
    struct lt_err ignored;

    lt_measured_appraise(&m, &none, &k->policy, no_policy, false, r);
    lt_boot_log_free(log);
    json_t *list = reasons(r);
    bool fails = json_array_size(list);
    k->bundles++;
    k->failing += fails;
    if (fails && k->c->layers && ev->ima.p && lt_ima_files(ev->ima, gather_file, &g, &ignored))
        reason(list, ignored.msg);
    json_decref(g.seen);
    json_array_append_new(k->reports, json_pack("{s:o, s:b, s:o}", "file", lt_json_new_text(path), "passes",
                                                !fails, "reasons", list));
}

static int one(struct check *k, const char *path, struct lt_err *e)
{
    LT_AUTOFREE struct lt_measured_result *r = lt_new(struct lt_measured_result);
    LT_AUTOFREE uint8_t *text = NULL;
    struct lt_cli_policy_evidence ev;
    struct lt_bundle b;
    size_t n;
    LT_TRY(lt_file_read(path, LT_MAX_BUNDLE, &text, &n, e));
    LT_TRY_IN(lt_bundle_parse(text, n, &b, e), e, "%s", path);
    int rc = k->c->host && !b.has_host ? lt_fail(e, LT_E_NOT_FOUND, "%s: no host evidence in it", path) : 0;
    if (!rc) {
        lt_cli_policy_half(&b, k->c->host, &ev);
        judge(k, path, &ev, r);
    }
    lt_bundle_free(&b);
    return rc;
}

/* What that boot policy is worth for the states that vTPMs are sealed to (docs/policies.md). */
static void print_states(const struct check *k)
{
    uint32_t judged = lt_boot_policy_judges(k->boot), enough = lt_boot_policy_foretells(k->boot);
    char list[200];

    if (judged & enough)
        lt_cli_policy_say("states of sealed vTPMs: enough by itself for %s\n",
                          lt_measured_list(judged & enough, list));
    if (judged & ~enough)
        lt_cli_policy_say(
            "states of sealed vTPMs: only with the values, in the host policy or golden, of %s\n",
            lt_measured_list(judged & ~enough, list));
}

/* "2 of 40 would fail", then "  /usr/bin/foo sha256:… in no layer (2)", then each bundle's reasons. */
static void print(const struct check *k)
{
    json_t *report, *list, *text, *count;
    const char *key;
    size_t i, n;

    lt_cli_policy_say("%u of %u would fail\n", k->failing, k->bundles);
    if (k->c->host && k->boot)
        print_states(k);
    json_object_foreach(k->missing, key, count)
        lt_cli_policy_say("  %s in no layer (%lld)\n", key, (long long)json_integer_value(count));
    json_array_foreach(k->reports, i, report)
    {
        list = json_object_get(report, "reasons");
        json_array_foreach(list, n, text) lt_cli_policy_say(
            "%s: %s\n", json_string_value(json_object_get(report, "file")), json_string_value(text));
    }
}

int lt_cli_policy_check(const struct lt_cli_policy_conf *c, int *verdict, struct lt_err *e)
{
    __attribute__((cleanup(check_free))) struct check k = {
        .c = c, .now = lt_clock_wall_s(), .reports = json_array(), .missing = json_object()};

    if (!c->count || (!c->layers && !c->boot))
        return lt_fail(e, LT_E_USAGE, "check: --layers NAME=DOC or --boot DOC, and bundles");
    LT_TRY(load(&k, e));
    for (int i = 0; i < c->count; i++)
        LT_TRY(one(&k, c->args[i], e)); /* one that cannot be read is no answer at all */
    *verdict = k.failing != 0;
    if (c->json)
        return lt_cli_policy_print_json(json_pack("{s:i, s:i, s:O, s:O}", "bundles", (int)k.bundles,
                                                  "failing", (int)k.failing, "missing", k.missing, "reports",
                                                  k.reports),
                                        e);
    print(&k);
    return 0;
}
