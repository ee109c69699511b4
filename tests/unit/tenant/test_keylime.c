/* Keylime's verifier API on a whole tenant, as its command line calls it: between software guests and a
 * provider. */
#include "tests/support/tenant_rig.h"

#include "common/run/clock.h"
#include "common/run/cond.h"
#include "verifier/rounds/schedule.h"
#include "verifier/store/impl.h"
#include "verifier/store/keylime.h"

#define V "/v2.6"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define RUNTIME                                                                                              \
    "{\"meta\":{\"version\":1,\"generator\":1,\"timestamp\":\"2026-01-01 00:00:00\"},\"release\":0,"         \
    "\"digests\":{\"/bin/%s\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]},"      \
    "\"excludes\":[],\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha1\","            \
    "\"dm_policy\":null},\"ima-buf\":{},\"verification-keys\":\"\"}"
#define BOOT "{\"events\":{\"4\":[\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"]}}"

/* One call; the body is Keylime's envelope with that status, of which results is returned (borrowed until the
 * next call). */
static json_t *call(struct rig *r, const char *method, const char *path, json_t *body, int want)
{
    static json_t *last;
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;

    json_decref(body);
    LT_AUTOFREE char *reply =
        check_status(r->operator, method, lt_http_server_address(r->tenant->server), path, text, want);
    json_decref(last);
    last = NULL;
    if (want == 204) {
        assert_string_equal(reply, "");
        return NULL;
    }
    last = lt_json_parse(reply, strlen(reply), 1 << 24, &err);
    assert_int_equal(json_integer_value(json_object_get(last, "code")), want);
    assert_true(json_is_string(json_object_get(last, "status")));
    assert_true(json_is_object(json_object_get(last, "results")));
    if (want >= 400)
        assert_int_equal(json_object_size(json_object_get(last, "results")), 0);
    return json_object_get(last, want >= 400 ? "status" : "results");
}

static const char *path_of(const struct rig_guest *g, const char *verb)
{
    static char path[128];
    snprintf(path, sizeof path, V "/agents/%s%s", g->text, verb);
    return path;
}

static json_t *b64(const char *text)
{
    return lt_json_new_base64(text, strlen(text));
}

static json_t *runtime(const char *name)
{
    char text[1024];
    snprintf(text, sizeof text, RUNTIME, name);
    return b64(text);
}

/* As keylime_tenant sends it without a payload or policies. */
static json_t *add_body(const struct rig_guest *g)
{
    return json_pack("{s:n, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:n, s:s, s:s, s:s, s:s, s:[s], s:[s], "
                     "s:[s], s:o, s:s, s:s}",
                     "v", "cloudagent_ip", "127.0.0.1", "cloudagent_port",
                     strrchr(lt_http_server_address(g->server), ':') + 1, "verifier_ip", "198.51.100.7",
                     "verifier_port", "8881", "tpm_policy", "{\"mask\": \"0x0\"}", "runtime_policy", "",
                     "runtime_policy_name", "", "runtime_policy_key", "", "mb_policy", "mb_policy_name", "",
                     "ima_sign_verification_keys", "", "metadata", "{\"a\": 1}", "revocation_key", "",
                     "accept_tpm_hash_algs", "sha256", "accept_tpm_encryption_algs", "ecc",
                     "accept_tpm_signing_algs", "ecdsa", "ak_tpm", lt_json_new_base64(g->ak.raw, g->ak.raw_n),
                     "mtls_cert", "x", "supported_version", "2.6");
}

static json_t *with(json_t *body, const char *key, json_t *value)
{
    json_object_set_new(body, key, value);
    return body;
}

static void add(struct rig *r, const struct rig_guest *g)
{
    call(r, "POST", path_of(g, ""), add_body(g), 200);
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int64_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* Waits until GET tells that state and attestation_status. */
static json_t *wait_state(struct rig *r, const struct rig_guest *g, int state, const char *status)
{
    uint64_t until = lt_clock_ms() + 20000;

    for (;;) {
        json_t *o = call(r, "GET", path_of(g, ""), NULL, 200);
        if (number(o, "operational_state") == state && !strcmp(text(o, "attestation_status"), status))
            return o;
        if (lt_clock_ms() > until)
            fail_msg("state %d %s never came: %s", state, status, json_dumps(o, 0));
        pthread_mutex_lock(&r->lock);
        (void)lt_cond_until(&r->news, &r->lock, lt_clock_ms() + 20);
        pthread_mutex_unlock(&r->lock);
    }
}

/* Its present state becomes its policy, which the operator's own API can do for a guest of either door. */
static void learn(struct rig *r, struct rig_guest *g)
{
    char path[96];

    rig_wait_asked(g, 1 + LT_SCHEDULE_AT_ONCE); /* the rounds of a guest that was just added have begun */
    snprintf(path, sizeof path, "guests/%s/learn", g->text);
    rig_wait(r, g, "unchecked");
    rig_drop(rig_call(r, "POST", path, json_pack("{s:[s,s]}", "accept", "copyable", "boot-only"), 201));
}

static void whole_life(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    call(&r, "GET", path_of(g, ""), NULL, 404);
    add(&r, g);
    call(&r, "POST", path_of(g, ""), add_body(g), 409);
    json_t *o = wait_state(&r, g, 3, "PENDING");
    assert_string_equal(text(o, "verifier_ip"), "198.51.100.7"); /* as it was told, whatever ours is */
    assert_int_equal(number(o, "verifier_port"), 8881);
    assert_string_equal(text(o, "ip"), "127.0.0.1");
    assert_string_equal(text(o, "meta_data"), "{\"a\": 1}");
    assert_true(json_is_null(json_object_get(o, "v")));
    assert_int_equal(number(o, "attestation_count"), 0); /* nothing was judged, so nothing passed */
    assert_string_equal(text(json_object_get(o, "verdict"), "result"), "unchecked");
    learn(&r, g);
    o = wait_state(&r, g, 3, "PASS");
    assert_true(number(o, "attestation_count") > 0);
    assert_true(number(o, "last_successful_attestation") > 0);
    assert_string_equal(text(o, "enc_alg"), "ecc256");
    assert_string_equal(text(o, "sign_alg"), "ecdsa");
    g->mode = GUEST_FORGES;
    rig_ask(&r, g);
    o = wait_state(&r, g, 9, "FAIL");
    assert_string_equal(text(json_object_get(o, "verdict"), "reason"), "guest-quote");
    assert_string_equal(text(o, "last_event_id"),
                        "qoute_validation.quote_validation"); /* Keylime's spelling */
    assert_int_equal(number(o, "severity_level"), 6);
    g->mode = GUEST_ANSWERS;
    call(&r, "PUT", path_of(g, "/reactivate"), NULL, 200);
    o = wait_state(&r, g, 3, "PASS");
    assert_true(json_is_null(json_object_get(o, "last_event_id")));
    call(&r, "DELETE", path_of(g, ""), NULL, 200);
    call(&r, "GET", path_of(g, ""), NULL, 404);
    call(&r, "DELETE", path_of(g, ""), NULL, 404);
    rig_free(&r);
}

static void stopped(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    call(&r, "PUT", path_of(g, "/stop"), NULL, 400);
    call(&r, "PUT", path_of(g, "/reactivate"), NULL, 400);
    add(&r, g);
    wait_state(&r, g, 3, "PENDING");
    call(&r, "PUT", path_of(g, "/stop"), NULL, 200);
    wait_state(&r, g, 10, "FAIL");
    LT_JSON_AUTO json_t *ours = rig_show(&r, g); /* one state, two views */
    assert_true(json_is_true(json_object_get(ours, "stopped")));
    rig_stop(&r);
    unsigned before = g->asked;
    rig_start(&r); /* over a restart too */
    wait_state(&r, g, 10, "FAIL");
    assert_int_equal(g->asked, before);
    call(&r, "PUT", path_of(g, "/reactivate"), json_object(), 200);
    rig_wait_asked(g, before + 1);
    wait_state(&r, g, 3, "PENDING");
    rig_free(&r);
}

static void lists(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    assert_int_equal(json_array_size(json_object_get(call(&r, "GET", V "/agents/", NULL, 200), "uuids")), 0);
    add(&r, &r.guest[0]);
    rig_adopt(&r, &r.guest[1]);
    json_t *o = call(&r, "GET", V "/agents/?verifier=", NULL, 200), *uuids = json_object_get(o, "uuids");
    assert_int_equal(json_array_size(uuids), 2);
    assert_int_equal(json_array_size(json_array_get(uuids, 0)), 1); /* a list of lists */
    o = call(&r, "GET", V "/agents/?bulk=True&verifier=default", NULL, 200);
    assert_int_equal(json_object_size(o), 2);
    assert_string_equal(text(json_object_get(o, r.guest[1].text), "attestation_status"), "PASS");
    o = call(&r, "GET", V "/agents/?verifier=another", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(o, "uuids")), 0);
    rig_free(&r);
}

/* An agent that falls silent after it was good is green no longer, whatever came last (CVE-2022-3500). */
static void silence(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    r.conf.max_stale_s = 2;
    rig_start(&r);
    add(&r, g);
    learn(&r, g);
    wait_state(&r, g, 3, "PASS");
    g->mode = GUEST_FAILS;
    rig_ask(&r, g);
    json_t *o = wait_state(&r, g, 7, "TIMEOUT");
    assert_true(number(o, "attestation_count") > 0);
    assert_true(json_is_null(json_object_get(o, "last_event_id"))); /* no word about the guest */
    g->mode = GUEST_ANSWERS;
    rig_ask(&r, g);
    wait_state(&r, g, 3, "PASS");
    rig_free(&r);
}

static int spoil(sqlite3 *sql, void *arg, struct lt_err *e)
{
    (void)arg;
    return lt_db_exec(sql, NULL, e, "UPDATE keylime SET given = 'no JSON'", "");
}

/* One row that cannot be read keeps nobody from the list (CVE-2025-1057). */
static void a_bad_row(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    add(&r, &r.guest[0]);
    OK(lt_db_write(r.tenant->store->db, spoil, NULL, &err));
    add(&r, &r.guest[1]);
    json_t *o = call(&r, "GET", V "/agents/?bulk=True", NULL, 200);
    assert_int_equal(json_object_size(o), 2);
    assert_string_equal(text(json_object_get(o, r.guest[1].text), "meta_data"), "{\"a\": 1}");
    call(&r, "GET", path_of(&r.guest[0], ""), NULL, 200);
    call(&r, "DELETE", path_of(&r.guest[0], ""), NULL, 200);
    rig_free(&r);
}

static void accept(struct rig *r, const char *words)
{
    char hex[2 * LT_SHA256 + 1];

    free(r->conf.keylime_accept);
    r->conf.keylime_accept = strdup(words);
    free(r->conf.keylime_host_policies);
    lt_hex(r->policy_digest, LT_SHA256, hex);
    r->conf.keylime_host_policies = strdup(hex);
}

/* Keylime's tutorial: add without any policy. Whoever accepts that says so, and the verdict does. */
static void nothing_is_judged(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    accept(&r, "copyable, boot-only");
    rig_start(&r);
    add(&r, g);
    json_t *o = wait_state(&r, g, 3, "PENDING");
    assert_string_equal(text(json_object_get(o, "verdict"), "reason"), "guest-policy");
    rig_stop(&r);
    accept(&r, "copyable, boot-only, unjudged");
    rig_start(&r);
    wait_state(&r, g, 3, "PENDING"); /* what it was added with stands */
    call(&r, "DELETE", path_of(g, ""), NULL, 200);
    add(&r, g);
    o = wait_state(&r, g, 3, "PASS");
    LT_AUTOFREE char *said = lt_json_dump(json_object_get(json_object_get(o, "verdict"), "not_made"));
    assert_non_null(strstr(said, "guest-policy"));
    rig_free(&r);
}

/* regdelete frees the id, and another TPM takes it: with Keylime's verifier the AK of add decides, and so
 * here. */
static void another_tpm_takes_the_id(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0], *thief = &r.guest[1];
    struct lt_err e = {0};

    (void)state;
    rig_make(&r);
    rig_start(&r);
    add(&r, g);
    learn(&r, g);
    wait_state(&r, g, 3, "PASS");
    OK(lt_store_agent_delete(r.tenant->store, g->text, false, &e));
    OK(lt_store_agent_delete(r.tenant->store, thief->text, false, &e));
    char was[LT_UUID_TEXT];
    memcpy(was, thief->text, sizeof was);
    memcpy(thief->text, g->text, sizeof was);
    rig_register(&r, thief);
    rig_ask(&r, g);
    json_t *o = wait_state(&r, g, 4, "PENDING");
    assert_string_equal(text(json_object_get(o, "verdict"), "reason"), "not-registered");
    memcpy(thief->text, was, sizeof was);
    rig_free(&r);
}

/* Every verb that writes, on a guest of the other door: refused, and nothing is changed. */
static void two_doors(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    rig_adopt(&r, g);
    call(&r, "POST", path_of(g, ""), add_body(g), 403);
    call(&r, "DELETE", path_of(g, ""), NULL, 403);
    call(&r, "PUT", path_of(g, "/stop"), NULL, 403);
    call(&r, "PUT", path_of(g, "/reactivate"), NULL, 403);
    g->mode = GUEST_FORGES;
    rig_ask(&r, g);
    rig_wait(&r, g, "failed");
    call(&r, "PUT", path_of(g, "/reactivate"), NULL, 403); /* a failed verdict is not this door's to end */
    json_t *o = wait_state(&r, g, 9, "FAIL");
    assert_true(json_is_null(json_object_get(o, "tpm_policy")));
    assert_string_equal(text(o, "verifier_ip"), "127.0.0.1"); /* where this client found us */
    assert_int_equal(number(o, "verifier_port"),
                     atoi(strrchr(lt_http_server_address(r.tenant->server), ':') + 1));
    rig_free(&r);
}

static void refuses(struct rig *r, const struct rig_guest *g, const char *key, json_t *value, int status)
{
    json_t *why = call(r, "POST", path_of(g, ""), with(add_body(g), key, value), status);

    if (!strstr(json_string_value(why), key))
        fail_msg("%s: %s", key, json_string_value(why));
}

static void bad_adds(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    refuses(&r, g, "ak_tpm", lt_json_new_base64(r.guest[1].ak.raw, r.guest[1].ak.raw_n), 400);
    refuses(&r, g, "ak_tpm", json_null(), 400);
    refuses(&r, g, "accept_tpm_signing_algs", json_pack("[s]", "rsassa"), 400);
    refuses(&r, g, "cloudagent_ip", json_string("a b"), 400);
    refuses(&r, g, "verifier_port", json_string("x"), 400);
    refuses(&r, g, "runtime_policy", b64("{\"meta\":{}}"), 400);
    refuses(&r, g, "mb_policy", json_string("{\"unknown\":1}"), 400);
    refuses(&r, g, "tpm_policy", json_string("["), 400);
    call(&r, "POST", path_of(g, ""), with(add_body(g), "runtime_policy_name", json_string("nowhere")), 404);
    call(&r, "POST", path_of(g, ""), with(add_body(g), "mb_policy_name", json_string("nowhere")), 404);
    call(&r, "POST", path_of(g, ""), json_object(), 400);
    call(&r, "POST", path_of(g, ""), NULL, 400);
    call(&r, "POST", V "/agents/never-registered", add_body(g), 400);
    call(&r, "POST", V "/agents/a%20b", add_body(g), 400);
    call(&r, "GET", V "/agents/a%20b", NULL, 400);
    call(&r, "GET", path_of(g, ""), NULL, 404); /* none of them left anything */
    rig_free(&r);
}

static void versions(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    json_t *o = call(&r, "GET", "/version", NULL, 200);
    assert_string_equal(text(o, "current_version"), "2.6");
    assert_int_equal(json_array_size(json_object_get(o, "supported_versions")), 7);
    call(&r, "GET", "/v2/agents/", NULL, 200);
    call(&r, "GET", "/v2.0/agents/", NULL, 200);
    o = call(&r, "GET", "/v2.7/agents/", NULL, 404);
    assert_non_null(strstr(json_string_value(o), "API version not supported"));
    call(&r, "GET", "/v3.0/agents/", NULL, 404);
    call(&r, "GET", "/nothing", NULL, 404);
    call(&r, "PATCH", "/v2.6/agents/", NULL, 405);
    LT_JSON_AUTO json_t *ours = rig_call(&r, "GET", "nothing", NULL, 404);
    assert_non_null(json_object_get(ours, "error"));
    rig_free(&r);
}

static void policies(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    call(&r, "POST", V "/allowlists/p",
         json_pack("{s:s, s:o}", "tpm_policy", "{}", "runtime_policy", runtime("x")), 201);
    call(&r, "POST", V "/allowlists/p", json_pack("{s:o}", "runtime_policy", runtime("x")), 409);
    json_t *o = call(&r, "GET", V "/allowlists/p", NULL, 200);
    assert_string_equal(text(o, "name"), "p");
    assert_string_equal(text(o, "tmp_policy"), "{}"); /* Keylime's spelling */
    assert_non_null(strstr(text(o, "runtime_policy"), "/bin/x"));
    o = call(&r, "GET", V "/allowlists/", NULL, 200);
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "runtimepolicy names"), 0)), "p");
    call(&r, "PUT", V "/allowlists/p", json_pack("{s:o}", "runtime_policy", runtime("y")), 201);
    assert_non_null(strstr(text(call(&r, "GET", V "/allowlists/p", NULL, 200), "runtime_policy"), "/bin/y"));
    call(&r, "PUT", V "/allowlists/q", json_pack("{s:o}", "runtime_policy", runtime("y")), 404);
    call(&r, "POST", V "/allowlists/q", json_pack("{s:o}", "runtime_policy", b64(BOOT)), 400);
    call(&r, "POST", V "/allowlists/q%20", json_pack("{s:o}", "runtime_policy", runtime("y")), 400);
    call(&r, "GET", V "/allowlists/q", NULL, 404);
    call(&r, "DELETE", V "/allowlists/p", NULL, 204);
    call(&r, "DELETE", V "/allowlists/p", NULL, 404);

    call(&r, "PUT", V "/mbpolicies/m", json_pack("{s:s}", "mb_policy", BOOT), 409); /* and not 404 */
    call(&r, "POST", V "/mbpolicies/m", json_pack("{s:s}", "mb_policy", BOOT), 201);
    call(&r, "POST", V "/mbpolicies/m", json_pack("{s:s}", "mb_policy", BOOT), 409);
    call(&r, "POST", V "/mbpolicies/n", json_pack("{s:s}", "mb_policy", "{}"), 201);
    call(&r, "POST", V "/mbpolicies/o", json_pack("{s:s}", "mb_policy", "{\"x\":1}"), 400);
    o = call(&r, "GET", V "/mbpolicies/", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(o, "mbpolicy names")), 2);
    assert_string_equal(text(call(&r, "GET", V "/mbpolicies/m", NULL, 200), "mb_policy"), BOOT);
    call(&r, "PUT", V "/mbpolicies/m", json_pack("{s:s}", "mb_policy", "{}"), 201);
    call(&r, "DELETE", V "/mbpolicies/m", NULL, 204);
    rig_free(&r);
}

/* The guest policy's document, borrowed until the next call. */
static json_t *document(struct rig *r, const struct rig_guest *g)
{
    static json_t *last;
    char path[128];
    LT_JSON_AUTO json_t *show = rig_show(r, g);

    snprintf(path, sizeof path, "policies/%s", text(show, "policy"));
    json_decref(last);
    return last = rig_call(r, "GET", path, NULL, 200);
}

static const char *layer(struct rig *r, const struct rig_guest *g)
{
    return text(json_array_get(json_object_get(document(r, g), "layers"), 0), "policy");
}

static void names_are_mutable(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];
    char before[80];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    call(&r, "POST", V "/allowlists/p", json_pack("{s:o}", "runtime_policy", runtime("x")), 201);
    call(&r, "POST", V "/mbpolicies/m", json_pack("{s:s}", "mb_policy", BOOT), 201);
    json_t *body = with(add_body(g), "runtime_policy_name", json_string("p"));
    call(&r, "POST", path_of(g, ""), with(body, "mb_policy_name", json_string("m")), 200);
    json_t *o = call(&r, "GET", path_of(g, ""), NULL, 200);
    assert_int_equal(number(o, "has_runtime_policy"), 1);
    assert_int_equal(number(o, "has_mb_refstate"), 1);
    call(&r, "DELETE", V "/allowlists/p", NULL, 409);
    call(&r, "DELETE", V "/mbpolicies/m", NULL, 409);
    snprintf(before, sizeof before, "%s", layer(&r, g));
    call(&r, "PUT", V "/allowlists/p", json_pack("{s:o}", "runtime_policy", runtime("y")), 201);
    assert_string_not_equal(layer(&r, g), before);
    assert_string_not_equal(text(document(&r, g), "boot"), "");
    call(&r, "PUT", V "/mbpolicies/m", json_pack("{s:s}", "mb_policy", "{}"), 201);
    assert_string_equal(text(document(&r, g), "boot"), "");
    assert_string_not_equal(layer(&r, g), "");
    call(&r, "DELETE", path_of(g, ""), NULL, 200);
    call(&r, "DELETE", V "/allowlists/p", NULL, 204);
    rig_free(&r);
}

/* Policies that come with add: under a name for all, or the agent's own, which goes with it. */
static void policies_of_add(void **state)
{
    struct rig r;
    struct rig_guest *g = &r.guest[0];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    json_t *body = with(add_body(g), "runtime_policy", runtime("x"));
    call(&r, "POST", path_of(g, ""), with(body, "mb_policy", json_string(BOOT)), 200);
    char own[128];
    snprintf(own, sizeof own, V "/allowlists/%s", g->text);
    call(&r, "GET", own, NULL, 200);
    char gone[128];
    snprintf(gone, sizeof gone, "policies/%s", layer(&r, g));
    rig_drop(rig_call(&r, "GET", gone, NULL, 200));
    call(&r, "DELETE", path_of(g, ""), NULL, 200);
    call(&r, "GET", own, NULL, 404);
    rig_drop(rig_call(&r, "GET", gone, NULL, 404)); /* nobody names it any more */
    body = with(add_body(g), "runtime_policy", runtime("x"));
    call(&r, "POST", path_of(g, ""), with(body, "runtime_policy_name", json_string("shared")), 200);
    call(&r, "DELETE", path_of(g, ""), NULL, 200);
    call(&r, "GET", V "/allowlists/shared", NULL, 200);
    body = with(add_body(g), "runtime_policy", runtime("y"));
    call(&r, "POST", path_of(g, ""), with(body, "runtime_policy_name", json_string("shared")), 409);
    rig_free(&r);
}

static json_t *evidence(struct rig *r, struct rig_guest *g, const char *nonce)
{
    LT_AUTOFREE char *quote = rig_quote(g, nonce);

    (void)r;
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:o, s:o}}", "type", "tpm", "data", "quote", quote, "nonce",
                     nonce, "hash_alg", "sha256", "tpm_ek", lt_json_new_base64(g->ek.raw, g->ek.raw_n),
                     "tpm_ak", lt_json_new_base64(g->ak.raw, g->ak.raw_n));
}

static json_t *data(json_t *body)
{
    return json_object_get(body, "data");
}

static void quotes_that_are_brought(void **state)
{
    static const char nonce[] = "Ab12Cd34Ef56Gh78Ij90Kl12Mn34Op56";
    struct rig r;
    struct rig_guest *g = &r.guest[0];
    char path[8192], policy[160], hex[65];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    json_t *body = evidence(&r, g, nonce);
    call(&r, "POST", V "/verify/evidence", json_incref(body), 400); /* no policy */
    json_object_set_new(data(body), "tpm_policy", json_string("{\"4\": [\"" ZEROS "\"]}"));
    json_t *o = call(&r, "POST", V "/verify/evidence", json_incref(body), 200);
    assert_true(json_is_true(json_object_get(o, "valid"))); /* as the rig's PCR 4 is */
    memset(hex, 'f', 64);
    hex[64] = 0;
    snprintf(policy, sizeof policy, "{\"4\": [\"%s\"]}", hex);
    json_object_set_new(data(body), "tpm_policy", json_string(policy));
    o = call(&r, "POST", V "/verify/evidence", json_incref(body), 200);
    assert_true(json_is_false(json_object_get(o, "valid")) && json_is_object(json_object_get(o, "claims")));
    assert_true(json_array_size(json_object_get(o, "failures")) > 0);
    json_object_set_new(data(body), "nonce", json_string("another"));
    o = call(&r, "POST", V "/verify/evidence", json_incref(body), 200);
    assert_true(json_is_false(json_object_get(o, "valid")));
    static const char *const needed[] = {"quote", "nonce", "hash_alg", "tpm_ek", "tpm_ak"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        json_t *less = json_deep_copy(body);
        json_object_del(data(less), needed[i]);
        call(&r, "POST", V "/verify/evidence", less, 400);
    }
    json_object_set_new(body, "type", json_string("tee"));
    call(&r, "POST", V "/verify/evidence", body, 400);

    LT_AUTOFREE char *quote = rig_quote(g, nonce);
    char escaped[4096], *to = escaped;
    for (const char *p = quote; *p; p++)
        to += sprintf(to, strchr("+/=", *p) ? "%%%02x" : "%c", *p);
    snprintf(path, sizeof path, V "/verify/identity?agent_uuid=%s&nonce=%s&hash_alg=sha256&quote=%s", g->text,
             nonce, escaped);
    o = call(&r, "GET", path, NULL, 200);
    assert_int_equal(number(o, "valid"), 1);
    snprintf(path, sizeof path, V "/verify/identity?agent_uuid=%s&nonce=other&hash_alg=sha256&quote=%s",
             g->text, escaped);
    o = call(&r, "GET", path, NULL, 200);
    assert_int_equal(number(o, "valid"), 0);
    assert_true(json_array_size(json_object_get(o, "reason")) > 0);
    snprintf(path, sizeof path, V "/verify/identity?agent_uuid=%s&nonce=other&hash_alg=sha256", g->text);
    call(&r, "GET", path, NULL, 400);
    snprintf(path, sizeof path, V "/verify/identity?agent_uuid=nobody&nonce=%s&hash_alg=sha256&quote=%s",
             nonce, escaped);
    call(&r, "GET", path, NULL, 404);
    snprintf(path, sizeof path, V "/verify/identity?agent_uuid=%s&nonce=%s&hash_alg=sha512&quote=%s", g->text,
             nonce, escaped);
    call(&r, "GET", path, NULL, 400);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_life),
        cmocka_unit_test(stopped),
        cmocka_unit_test(lists),
        cmocka_unit_test(another_tpm_takes_the_id),
        cmocka_unit_test(nothing_is_judged),
        cmocka_unit_test(silence),
        cmocka_unit_test(a_bad_row),
        cmocka_unit_test(two_doors),
        cmocka_unit_test(bad_adds),
        cmocka_unit_test(versions),
        cmocka_unit_test(policies),
        cmocka_unit_test(names_are_mutable),
        cmocka_unit_test(policies_of_add),
        cmocka_unit_test(quotes_that_are_brought),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
