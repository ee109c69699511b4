/* limetree host openers: every state and key that the vTPMs of a host's vault were ever open to, each named
 * by the published host policy that accepts it; those that nobody accepts come first. */
#include "residency/openers.h"
#include "appraisal/checks/opened.h"
#include "cli/hostvault.h"
#include "common/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A policy that some host publishes, and what it names. */
struct policy {
    char digest[65], host[33]; /* the first host that publishes it */
    struct lt_policy_host *is;
    struct lt_boot_policy *boot;
    struct lt_measured_documents documents;
};

/* One opener of any number of vTPMs. */
struct seen {
    struct lt_openers_one one;
    unsigned open, closed;                     /* vTPMs */
    const struct policy *by;                   /* that accepts it; NULL: none does */
    char why[sizeof((struct lt_err *)0)->msg]; /* then: the host's own policy's word */
};

struct view {
    struct lt_cli *c;
    char host[33];
    json_t *vault, *hosts, *registry; /* owned */
    struct lt_boot_log *log;          /* NULL: the host has none */
    struct policy *policy;
    size_t policies;
    struct seen *seen;
    size_t count;
};

static void view_free(struct view *v)
{
    for (size_t i = 0; i < v->policies; i++) {
        lt_policy_host_free(v->policy[i].is);
        lt_boot_policy_free(v->policy[i].boot);
    }
    free(v->policy);
    free(v->seen);
    lt_boot_log_free(v->log);
    json_decref(v->vault);
    json_decref(v->hosts);
    json_decref(v->registry);
}

static int get(const struct view *v, const char *path, size_t max, uint8_t **out, size_t *n, struct lt_err *e)
{
    return lt_cli_get(v->c, LT_CLI_PROVIDER, path, max, out, n, e);
}

/* ---- policies ---- */

static int load_boot(struct view *v, struct policy *p, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *bytes = NULL;
    char hex[2 * LT_SHA256 + 1], path[80];
    size_t n;

    if (!p->is->measured.has_boot)
        return 0;
    lt_hex(p->is->measured.boot, LT_SHA256, hex);
    snprintf(path, sizeof path, "policies/%s", hex);
    LT_TRY(get(v, path, LT_MAX_BOOT_POLICY, &bytes, &n, e));
    LT_TRY(lt_boot_policy_parse(bytes, n, &p->boot, e));
    p->documents.boot = p->boot;
    memcpy(p->documents.boot_digest, p->is->measured.boot, LT_SHA256);
    return 0;
}

static int load_policy(struct view *v, const json_t *host, struct lt_err *e)
{
    const char *digest = json_string_value(json_object_get(host, "policy"));
    struct policy *p = &v->policy[v->policies];
    LT_AUTOFREE uint8_t *bytes = NULL;
    char path[80];
    size_t n;

    if (!digest || strlen(digest) != 64 || !digest[strspn(digest, "0")])
        return 0;
    for (size_t i = 0; i < v->policies; i++)
        if (!strcmp(v->policy[i].digest, digest))
            return 0;
    snprintf(path, sizeof path, "policies/%s", digest);
    LT_TRY(get(v, path, LT_MAX_HOST_POLICY, &bytes, &n, e));
    LT_TRY(lt_policy_host_parse(bytes, n, &p->is, e));
    v->policies++;
    snprintf(p->digest, sizeof p->digest, "%s", digest);
    snprintf(p->host, sizeof p->host, "%s", lt_cli_text(host, "host"));
    return load_boot(v, p, e);
}

static bool is_host(const json_t *host, const char *id)
{
    const char *is = json_string_value(json_object_get(host, "host"));

    return is && !strcmp(is, id);
}

/* The host's own first: its word is told where nobody accepts a state. */
static int load_policies(struct view *v, struct lt_err *e)
{
    json_t *list, *host;
    size_t i;

    LT_TRY(lt_json_array(v->hosts, "hosts", LT_MAX_HOSTS, &list, e));
    v->policy = lt_alloc(json_array_size(list) + 1, sizeof *v->policy);
    for (int own = 1; own >= 0; own--)
        json_array_foreach(list, i, host) if (is_host(host, v->host) == own)
            LT_TRY_IN(load_policy(v, host, e), e, "policy of host %s", lt_cli_text(host, "host"));
    return 0;
}

/* ---- lists ---- */

static struct seen *find(struct view *v, const struct lt_openers_one *one)
{
    for (size_t i = 0; i < v->count; i++)
        if (lt_openers_same(&v->seen[i].one, one))
            return &v->seen[i];
    struct seen *more = realloc(v->seen, (v->count + 1) * sizeof *more);
    if (!more)
        return NULL;
    v->seen = more;
    v->seen[v->count] = (struct seen){.one = *one};
    return &v->seen[v->count++];
}

/* vTPMs: how many have this list. */
static int add_list(struct view *v, const char *digest, unsigned vtpms, struct lt_err *e)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    LT_AUTOFREE uint8_t *bytes = NULL;
    uint8_t is[LT_SHA256], want[LT_SHA256];
    char path[160];
    size_t n = 0;

    LT_TRY(lt_unhex(digest, want, sizeof want, e));
    snprintf(path, sizeof path, "openers/%s?host=%s", digest, v->host);
    LT_TRY(get(v, path, LT_MAX_OPENERS_BYTES, &bytes, &n, e));
    lt_sha256(bytes, n, is);
    if (memcmp(is, want, sizeof is) != 0)
        return lt_fail(e, LT_E_MALFORMED, "what came has another digest");
    LT_TRY(lt_openers_parse(bytes, n, &list, e));
    for (unsigned i = 0; i < list.count; i++) {
        struct seen *s = find(v, &list.one[i]);
        if (!s)
            return lt_fail(e, LT_E_NO_MEMORY, "no memory");
        s->open += list.one[i].closed ? 0 : vtpms;
        s->closed += list.one[i].closed ? vtpms : 0;
    }
    return 0;
}

/* {"DIGEST": how many vTPMs have that list}. A new object. */
static json_t *count_lists(const json_t *entries)
{
    json_t *lists = json_object(), *one;
    size_t i;

    json_array_foreach(entries, i, one)
    {
        const char *digest = json_string_value(json_object_get(one, "openers"));
        if (digest)
            json_object_set_new(lists, digest,
                                json_integer(json_integer_value(json_object_get(lists, digest)) + 1));
    }
    return lists;
}

/* A list that is not to be had is told of, and the others are shown. *missing: their digests. */
static int load_lists(struct view *v, json_t *missing, struct lt_err *e)
{
    LT_JSON_AUTO json_t *lists = count_lists(json_object_get(v->vault, "entries"));
    const char *digest;
    json_t *vtpms;

    json_object_foreach(lists, digest, vtpms)
    {
        struct lt_err why = {0};
        int rc = add_list(v, digest, (unsigned)json_integer_value(vtpms), &why);
        if (rc && rc != LT_E_NOT_FOUND) {
            *e = why;
            return lt_fail_in(e, rc, "openers %s", lt_cli_shown(digest));
        }
        if (rc)
            json_array_append_new(missing, json_string(digest));
    }
    return 0;
}

/* ---- who accepts what ---- */

static void judge(const struct view *v, struct seen *s)
{
    const struct lt_boot_log *const logs[] = {v->log};

    for (size_t i = 0; i < v->policies && !s->by; i++) {
        const struct lt_checks_openers_policy p = {v->policy[i].is, &v->policy[i].documents};
        struct lt_err e = {0};
        if (!lt_checks_openers_holds(&p, &s->one.state, logs, v->log ? 1 : 0, &e))
            s->by = &v->policy[i];
        else if (!i)
            snprintf(s->why, sizeof s->why, "%s", e.msg);
    }
}

/* States that nobody accepts, keys and marks that the tenant alone judges, states that somebody accepts. */
static int rank(const struct seen *s)
{
    return s->one.kind != LT_OPENERS_STATE ? 1 : s->by ? 2 : 0;
}

static int by_rank(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    int c = rank(x) - rank(y);

    return c ? c : (x->open == 0) - (y->open == 0);
}

/* The host whose EK that is; NULL: none that is enrolled. */
static const char *host_of(const struct view *v, const uint8_t ek_digest[LT_SHA256])
{
    const json_t *list = json_object_get(v->registry, "hosts"), *one;
    char hex[2 * LT_SHA256 + 1];
    size_t i;

    lt_hex(ek_digest, LT_SHA256, hex);
    json_array_foreach(list, i, one)
    {
        const char *is = json_string_value(json_object_get(one, "ek_digest"));
        if (is && !strcmp(is, hex))
            return json_string_value(json_object_get(one, "host"));
    }
    return NULL;
}

/* Its number in the vault's key, as `reseal --drop` takes it; -1: the key does not answer in it. */
static int number_of(const struct lt_cli_hostvault *k, const struct lt_pcrs *state)
{
    for (unsigned i = 0; i < k->count; i++)
        if (lt_openers_state_same(&k->states[i], state))
            return (int)i;
    return -1;
}

/* ---- shown ---- */

static void print_count(const struct seen *s)
{
    if (s->open)
        printf("open to %u vTPM%s", s->open, s->open == 1 ? "" : "s");
    if (s->closed)
        printf("%sCLOSED for %u", s->open ? ", " : "", s->closed);
    printf("\n");
}

static void print_state(const struct view *v, const struct lt_cli_hostvault *k, const struct seen *s)
{
    const char *host = host_of(v, s->one.digest);
    bool own = host && !strcmp(host, v->host);
    int number = own ? number_of(k, &s->one.state) : -1;
    char hex[2 * LT_SHA256 + 1];

    if (number >= 0)
        printf("state %d of this host, ", number);
    else
        printf("a state of %s%s, ",
               own    ? "this host"
               : host ? "host "
                      : "a host that is not enrolled",
               own || !host ? "" : lt_cli_shown(host));
    print_count(s);
    if (s->by)
        printf("  accepted by policy %s, published for host %s\n", s->by->digest, s->by->host);
    else
        printf("  NO PUBLISHED POLICY ACCEPTS IT%s%s\n", *s->why ? ": " : "", lt_cli_shown(s->why));
    if (!host) {
        lt_hex(s->one.digest, LT_SHA256, hex);
        printf("  EK digest %s\n", hex);
    }
    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (s->one.state.mask >> i & 1) {
            lt_hex(s->one.state.value[i], LT_SHA256, hex);
            printf("  PCR %-2u %s\n", i, hex);
        }
}

static void print_key(const struct seen *s)
{
    static const char *const words[] = {[LT_OPENERS_ESCROW] = "recovery key",
                                        [LT_OPENERS_HANDOVER] = "handed over by the host with EK",
                                        [LT_OPENERS_AUTHORITY] = "authority"};
    char hex[2 * LT_SHA256 + 1];

    lt_hex(s->one.digest, LT_SHA256, hex);
    printf("%s %s, ", words[s->one.kind], hex);
    print_count(s);
    printf("  the tenants' policies say who accepts it\n");
}

/* Of a vault that is not open its states are known, and not its lists. */
static void print_head(const struct view *v, const struct lt_cli_hostvault *k)
{
    const char *message = json_string_value(json_object_get(v->vault, "message"));
    size_t entries = json_array_size(json_object_get(v->vault, "entries"));

    if (message)
        printf("host %s: %s: %s\n", v->host, lt_cli_text(v->vault, "state"), lt_cli_shown(message));
    else
        printf("host %s: vault %s, %zu vTPM%s, %zu opener%s\n", v->host, lt_cli_text(v->vault, "state"),
               entries, entries == 1 ? "" : "s", v->count, v->count == 1 ? "" : "s");
    if (message || !entries)
        lt_cli_hostvault_print_states(k);
}

static int print(const struct view *v, const json_t *missing, struct lt_err *e)
{
    struct lt_cli_hostvault k;
    const json_t *one;
    size_t i;

    LT_TRY(lt_cli_hostvault_read(v->vault, &k, e));
    print_head(v, &k);
    lt_cli_hostvault_unfinished(v->host, v->vault);
    for (i = 0; i < v->count; i++)
        if (v->seen[i].one.kind == LT_OPENERS_STATE)
            print_state(v, &k, &v->seen[i]);
        else
            print_key(&v->seen[i]);
    json_array_foreach(missing, i, one)
        printf("list %s: the host has it no more\n", lt_cli_shown(json_string_value(one)));
    return 0;
}

/* An opener as residency/openers.h tells it, and what is known here. */
static int print_json(const struct view *v, const json_t *missing, struct lt_err *e)
{
    LT_JSON_AUTO json_t *list = json_array();
    struct lt_cli_hostvault k;

    LT_TRY(lt_cli_hostvault_read(v->vault, &k, e));
    for (size_t i = 0; i < v->count; i++) {
        struct seen *s = &v->seen[i];
        const char *host = host_of(v, s->one.digest);
        s->one.closed = !s->open;
        LT_JSON_AUTO json_t *all = lt_openers_to_json(&(struct lt_openers){1, &s->one});
        json_t *j = json_incref(json_array_get(all, 0));
        json_object_set_new(j, "open", json_integer(s->open));
        json_object_set_new(j, "closed_for", json_integer(s->closed));
        if (s->one.kind == LT_OPENERS_STATE) {
            int number = host && !strcmp(host, v->host) ? number_of(&k, &s->one.state) : -1;
            json_object_set_new(j, "host", host ? json_string(host) : json_null());
            json_object_set_new(j, "number", number < 0 ? json_null() : json_integer(number));
            json_object_set_new(j, "policy", s->by ? json_string(s->by->digest) : json_null());
            json_object_set_new(j, "message", s->by ? json_null() : lt_json_new_text(s->why));
        }
        json_array_append_new(list, j);
    }
    LT_JSON_AUTO json_t *out = json_pack(
        "{s:s, s:O, s:O, s:b, s:O, s:O}", "host", v->host, "state", json_object_get(v->vault, "state"),
        "message", json_object_get(v->vault, "message"), "unfinished",
        json_is_true(json_object_get(v->vault, "unfinished")), "openers", list, "missing", (json_t *)missing);
    lt_cli_json(out);
    return 0;
}

/* ---- all of it ---- */

static int load(struct view *v, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *log = NULL;
    char path[80];
    size_t n;

    if (!(v->vault = lt_cli_call(v->c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "hosts/%s/vault", v->host)) ||
        !(v->hosts = lt_cli_call(v->c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "hosts")) ||
        !(v->registry = lt_cli_call(v->c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "registry")))
        return e->code;
    LT_TRY(load_policies(v, e));
    snprintf(path, sizeof path, "hosts/%s/boot-log", v->host);
    if (!get(v, path, LT_MAX_BOOT_LOG, &log, &n, LT_NO_ERR)) /* a host need not have one */
        v->log = lt_boot_log_new((struct lt_slice){log, n});
    return 0;
}

static int work(struct view *v, struct lt_err *e)
{
    LT_JSON_AUTO json_t *missing = json_array();

    LT_TRY(load(v, e));
    LT_TRY(load_lists(v, missing, e));
    for (size_t i = 0; i < v->count; i++)
        if (v->seen[i].one.kind == LT_OPENERS_STATE)
            judge(v, &v->seen[i]);
    if (v->count)
        qsort(v->seen, v->count, sizeof *v->seen, by_rank);
    return v->c->json ? print_json(v, missing, e) : print(v, missing, e);
}

int lt_cli_hostvault_openers(struct lt_cli *c, struct lt_err *e)
{
    struct view v = {.c = c};
    int rc = lt_cli_host(c, 0, v.host, e);

    if (!rc)
        rc = work(&v, e);
    view_free(&v);
    return rc;
}

/* By the policy that is published for the host itself; others' do not speak for it. */
static bool held(const struct view *v, const struct lt_pcrs *state, struct lt_err *why)
{
    const struct lt_boot_log *const logs[] = {v->log};
    const struct lt_checks_openers_policy p = {v->policies ? v->policy[0].is : NULL,
                                               v->policies ? &v->policy[0].documents : NULL};

    if (!p.policy || strcmp(v->policy[0].host, v->host) != 0)
        return lt_fail(why, LT_E_NOT_FOUND, "none is published"), false;
    return !lt_checks_openers_holds(&p, state, logs, v->log ? 1 : 0, why);
}

void lt_cli_hostvault_warn(struct lt_cli *c, const char *host, const json_t *vault)
{
    struct view v = {.c = c};
    struct lt_cli_hostvault k = {0};
    struct lt_err e = {0};

    snprintf(v.host, sizeof v.host, "%s", host);
    if (load(&v, &e) || lt_cli_hostvault_read(vault, &k, &e))
        fprintf(stderr, "limetree: whether the host's policy holds its states was not looked at: %s\n",
                e.msg);
    for (unsigned i = 0; i < k.count && !e.code; i++) {
        struct lt_err why = {0};
        if (!held(&v, &k.states[i], &why))
            fprintf(
                stderr,
                "limetree: state %u: the policy published for this host does not hold it: %s. Publish one "
                "that holds each of its states before it boots into that one, or its guests fail "
                "(host-policy)\n",
                i, why.msg);
    }
    view_free(&v);
}
