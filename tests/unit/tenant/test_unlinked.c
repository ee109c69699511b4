/* Guests without a host: a tenant that has no provider, and guests that none answers for. Trusted by name
 * alone; and nobody who withholds a proof makes one of a guest that had a host. */
#include "common/file.h"
#include "common/run/clock.h"
#include "tests/support/tenant_rig.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static json_t *policy(const char *const *words)
{
    json_t *accept = json_array();

    for (; *words; words++)
        json_array_append_new(accept, json_string(*words));
    return json_pack("{s:{s:[s]}, s:o}", "pcrs", "4", ZEROS, "accept", accept);
}

static void put(struct rig *r, struct rig_guest *g, json_t *body)
{
    char path[64];

    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(r, "PUT", path, body, 200));
}

static void put_words(struct rig *r, struct rig_guest *g, const char *const *words)
{
    put(r, g, json_pack("{s:o}", "policy", policy(words)));
}

/* The verdict that the guest comes to, whatever is told on the way. */
static json_t *comes_to(struct rig *r, struct rig_guest *g, const char *result, const char *reason)
{
    uint64_t until = lt_clock_ms() + 20000;

    rig_ask(r, g);
    for (;;) {
        json_t *v = rig_wait(r, g, result);
        const char *is = text(v, "reason");
        if (reason ? is && !strcmp(is, reason) : !is)
            return v;
        if (lt_clock_ms() > until)
            fail_msg("%s %s, not %s", result, is ? is : "-", reason ? reason : "-");
        rig_ask(r, g);
    }
}

/* A round begun after this call has ended. */
static void settle(struct rig *r, struct rig_guest *g)
{
    for (int i = 0; i < 3; i++) {
        unsigned before = g->asked;
        rig_ask(r, g);
        rig_wait_asked(g, before + 1);
    }
}

static void never_trusted(struct rig *r, struct rig_guest *g)
{
    settle(r, g);
    LT_JSON_AUTO json_t *is = rig_show(r, g);
    assert_string_not_equal(text(json_object_get(is, "verdict"), "result"), "trusted");
}

static bool not_made(const json_t *v, const char *check, const char *part, const char *message)
{
    const json_t *line;
    size_t i;

    json_array_foreach(json_object_get(v, "not_made"), i, line)
    {
        const char *p = text(line, "part");
        if (!strcmp(text(line, "check"), check) && (part ? p && !strcmp(p, part) : !p) &&
            strstr(text(line, "message"), message))
            return true;
    }
    return false;
}

static bool weak(const json_t *v, const char *word)
{
    const json_t *w;
    size_t i;

    json_array_foreach(json_object_get(v, "weak"), i, w)
    {
        if (!strcmp(json_string_value(w), word))
            return true;
    }
    return false;
}

/* ---- no provider ---- */

static void test_no_provider(void **state)
{
    static const char *const none[] = {"copyable", "boot-only", "ek-unproven", NULL},
                             *const one[] = {"unlinked", NULL},
                             *const both[] = {"unlinked", "ek-unproven", NULL};
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_without_provider(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    put_words(&r, g, none);
    json_t *v = comes_to(&r, g, "unchecked", "unlinked");
    assert_string_equal(text(v, "link"), "unlinked");
    assert_true(not_made(v, "residency", NULL, "no provider is configured"));
    put_words(&r, g, one);
    v = comes_to(&r, g, "unchecked", "ek-unproven");
    assert_true(not_made(v, "guest-quote", "ek-unproven", "no guest_ek_roots"));
    put_words(&r, g, both);
    v = comes_to(&r, g, "trusted", NULL);
    assert_true(weak(v, "unlinked") && weak(v, "ek-unproven") && !weak(v, "unjudged"));
    assert_int_equal(json_array_size(json_object_get(v, "passed")), 4);
    assert_true(json_is_null(json_object_get(v, "host")) && json_is_null(json_object_get(v, "host_level")));
    assert_int_equal(r.posts, 0);
    g->mode = GUEST_FORGES;
    comes_to(&r, g, "failed", "guest-quote");
    rig_free(&r);
}

/* Its present state is learnt without a host, and the words are still its operator's to say. */
static void test_learning(void **state)
{
    struct rig r;
    char path[64];

    (void)state;
    rig_make(&r);
    rig_without_provider(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    put(&r, g, json_object());
    comes_to(&r, g, "unchecked", "guest-policy");
    settle(&r, g);
    snprintf(path, sizeof path, "guests/%s/learn", g->text);
    LT_JSON_AUTO json_t *first = rig_call(&r, "POST", path, json_object(), 201);
    assert_non_null(strstr(text(first, "message"), "not accepted: unlinked ek-unproven"));
    assert_null(json_object_get(json_object_get(first, "policy"), "host_policies"));
    comes_to(&r, g, "unchecked", "unlinked");
    rig_drop(rig_call(&r, "POST", path, json_pack("{s:[s,s]}", "accept", "unlinked", "ek-unproven"), 201));
    comes_to(&r, g, "trusted", NULL);
    snprintf(path, sizeof path, "guests/%s/bundle?trusted=1", g->text);
    LT_JSON_AUTO json_t *bundle = rig_call(&r, "GET", path, NULL, 200);
    assert_true(json_is_null(json_object_get(bundle, "host")) || !json_object_get(bundle, "host"));
    rig_free(&r);
}

/* Keylime's tutorial. */
static void test_nothing_judged(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_without_provider(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    put(&r, g, json_pack("{s:{s:[s,s]}}", "policy", "accept", "unlinked", "ek-unproven"));
    comes_to(&r, g, "unchecked", "guest-policy");
    put(&r, g, json_pack("{s:{s:[s,s,s]}}", "policy", "accept", "unlinked", "ek-unproven", "unjudged"));
    json_t *v = comes_to(&r, g, "trusted", NULL);
    assert_true(weak(v, "unjudged") && not_made(v, "guest-policy", NULL, "unjudged"));
    rig_free(&r);
}

/* A TPM that works with SHA-384, where there is a provider: the commitment has no room for its AK's Name, so
 * no host is asked. It is never `failed` for that. */
static void test_keys_of_sha384(void **state)
{
    static const char *const none[] = {"copyable", "boot-only", "ek-unproven", NULL}, *const both[] = {
                                                                                          "unlinked",
                                                                                          "ek-unproven",
                                                                                          NULL};
    struct rig r;

    (void)state;
    rig_make(&r);
    struct rig_guest *g = &r.guest[0];
    rig_keys_of_sha384(g);
    rig_start(&r);
    json_t *wide = json_pack("{s:{s:[s+]}, s:[s,s]}", "pcrs", "4", ZEROS, "00000000000000000000000000000000",
                             "accept", both[0], both[1]);
    json_t *weak_one = policy(none);
    json_object_set(weak_one, "pcrs", json_object_get(wide, "pcrs"));
    put(&r, g, json_pack("{s:o}", "policy", weak_one));
    json_t *v = comes_to(&r, g, "unchecked", "unlinked");
    assert_true(not_made(v, "residency", NULL, "no room for its AK's Name"));
    put(&r, g, json_pack("{s:o}", "policy", wide));
    v = comes_to(&r, g, "trusted", NULL);
    assert_string_equal(text(v, "link"), "unlinked");
    assert_int_equal(r.posts, 0);
    put_words(&r, g,
              both); /* values of the other bank accept nothing of this one, nor do they speak against it */
    v = comes_to(&r, g, "unchecked", "guest-policy");
    assert_true(not_made(v, "guest-policy", NULL, "no values of the bank sha384"));
    rig_free(&r);
}

/* ---- who vouches for the EK ---- */

static void test_certified(void **state)
{
    static const char *const one[] = {"unlinked", NULL};
    struct rig r;

    (void)state;
    rig_make(&r);
    free(r.conf.guest_ek_roots);
    r.conf.guest_ek_roots = strdup(r.roots);
    rig_without_provider(&r);
    rig_certify(&r, &r.guest[0], true);
    rig_certify(&r, &r.guest[1], false);
    rig_start(&r);
    for (int i = 0; i < 3; i++)
        put_words(&r, &r.guest[i], one);
    json_t *v = comes_to(&r, &r.guest[0], "trusted", NULL);
    assert_true(weak(v, "unlinked") && !weak(v, "ek-unproven"));
    v = comes_to(&r, &r.guest[1], "unchecked", "ek-unproven");
    assert_true(
        not_made(v, "guest-quote", "ek-unproven", "its certificate: ")); /* another maker of that name */
    v = comes_to(&r, &r.guest[2], "unchecked", "ek-unproven");
    assert_true(not_made(v, "guest-quote", "ek-unproven", "no certificate"));
    rig_certify(&r, &r.guest[2], true); /* its agent comes again with one */
    rig_register(&r, &r.guest[2]);
    comes_to(&r, &r.guest[2], "trusted", NULL);
    /* The roots go: nobody vouches any more. */
    char path[160];
    snprintf(path, sizeof path, "%s/maker.pem", r.roots);
    rig_foreign_root(&r, path);
    lt_tenant_reload(r.tenant);
    rig_ask(&r, &r.guest[0]);
    comes_to(&r, &r.guest[0], "unchecked", "ek-unproven");
    rig_free(&r);
}

/* Software registered under the guest's UUID before the guest did. */
static void test_another_tpm_was_first(void **state)
{
    static const char *const both[] = {"unlinked", "ek-unproven", NULL};
    uint8_t pin[LT_SHA256];
    char hex[2 * LT_SHA256 + 1];
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_without_provider(&r);
    struct rig_guest *g = &r.guest[0];
    OK(lt_public_ek_digest(&g->ek, pin, &err));
    EVP_PKEY_free(g->ek_key);
    struct lt_public own = g->ek;
    g->ek_key = soft_ecc("P-256");
    soft_parse(g->ek_key, &soft_ek, &g->ek);
    rig_start(&r);
    lt_hex(pin, sizeof pin, hex);
    put(&r, g, json_pack("{s:o, s:s}", "policy", policy(both), "ek", hex));
    json_t *v = comes_to(&r, g, "unchecked", "other-ek");
    assert_int_equal(json_array_size(json_object_get(v, "failed")), 0); /* who comes first revokes nobody */
    never_trusted(&r, g);
    OK(lt_store_agent_delete(r.tenant->store, g->text, false, &err));
    g->ek = own;
    rig_register(&r, g);
    v = comes_to(&r, g, "trusted", NULL);
    assert_true(weak(v, "unlinked") && !weak(v, "ek-unproven"));
    rig_free(&r);
}

/* ---- a provider that answers for others ---- */

static const struct rig_item not_assigned = {"not-assigned", NULL}, not_found = {"not-found", NULL},
                             unreachable = {"host-unreachable", NULL};

static void test_no_host_of_the_provider(void **state)
{
    static const char *const none[] = {"copyable", "boot-only", NULL}, *const both[] = {"unlinked",
                                                                                        "ek-unproven", NULL};
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    r.item = &not_assigned;
    put_words(&r, g, none);
    comes_to(&r, g, "unreachable", "not-assigned"); /* not by default, and not by other words */
    put_words(&r, g, both);
    json_t *v = comes_to(&r, g, "trusted", NULL);
    assert_string_equal(text(v, "link"), "unlinked");
    assert_true(not_made(v, "host-quote", NULL, "no provider answers for it: ") && r.posts);
    r.item = &not_found;
    settle(&r, g);
    comes_to(&r, g, "trusted", NULL);
    r.item = NULL;
    r.mode = PROVIDER_IS_BUSY;
    settle(&r, g);
    comes_to(&r, g, "trusted", NULL);
    r.mode = PROVIDER_PROVES;
    r.item = &unreachable; /* a host that is known, and silent */
    settle(&r, g);
    comes_to(&r, g, "unreachable", "host-unreachable");
    rig_free(&r);
}

/* The heart of it: whoever accepts `unlinked` and had a host once is not unlinked by silence. */
static void test_withholding_unlinks_nobody(void **state)
{
    static const struct rig_item *const said[] = {&not_assigned, &not_found, &unreachable};
    struct rig r;
    char path[64];

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    snprintf(path, sizeof path, "guests/%s/learn", g->text);
    rig_drop(rig_call(
        &r, "POST", path,
        json_pack("{s:[s,s,s,s]}", "accept", "copyable", "boot-only", "unlinked", "ek-unproven"), 201));
    json_t *v = comes_to(&r, g, "trusted", NULL);
    assert_string_equal(text(v, "link"), "copyable");
    for (int restarts = 0; restarts < 2; restarts++) {
        for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
            r.item = said[i];
            never_trusted(&r, g);
        }
        r.item = NULL;
        r.mode = PROVIDER_IS_BUSY;
        never_trusted(&r, g);
        r.mode = PROVIDER_PROVES;
        settle(&r, g);
        v = comes_to(&r, g, "trusted", NULL);
        assert_string_equal(text(v, "link"), "copyable");
        if (!restarts) { /* what is remembered is remembered on disk */
            rig_stop(&r);
            rig_start(&r);
        }
    }
    r.item = &not_found;
    rig_stop(&r);
    rig_start(&r);
    never_trusted(&r, g);
    /* Only its operator takes it from its host: by removing it. */
    snprintf(path, sizeof path, "guests/%s", g->text);
    LT_JSON_AUTO json_t *shown = rig_show(&r, g);
    LT_AUTOFREE char *digest = strdup(text(shown, "policy"));
    char get[80];
    snprintf(get, sizeof get, "policies/%s", digest);
    json_t *is = rig_call(&r, "GET", get, NULL, 200);
    rig_drop(rig_call(&r, "DELETE", path, json_object(), 200));
    put(&r, g, json_pack("{s:o}", "policy", is));
    v = comes_to(&r, g, "trusted", NULL);
    assert_string_equal(text(v, "link"), "unlinked");
    rig_free(&r);
}

/* A null is an answer, not silence. */
static void test_a_null_residency_fails(void **state)
{
    static const char *const both[] = {"copyable", "boot-only", "unlinked", "ek-unproven", NULL};
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    char hex[65];
    lt_hex(r.policy_digest, 32, hex);
    json_t *p = policy(both);
    json_object_set_new(p, "host_policies", json_pack("[s]", hex));
    r.mode = PROVIDER_OMITS;
    put(&r, g, json_pack("{s:o}", "policy", p));
    comes_to(&r, g, "failed", "residency");
    rig_free(&r);
}

/* An id that is no UUID, of a guest without a domain: no provider can know it, and none is asked. */
static void test_an_id_without_a_domain(void **state)
{
    static const char id[] = "0f1e2d3c.hash_ek";
    static const char *const both[] = {"unlinked", "ek-unproven", NULL}, *const none[] = {NULL};
    struct rig r;

    (void)state;
    rig_make(&r);
    struct rig_guest *g = &r.guest[0];
    g->id = id;
    lt_uuid_of_id(id, g->uuid);
    lt_uuid_format(g->uuid, g->text);
    rig_start(&r);
    put(&r, g, json_pack("{s:o, s:s}", "policy", policy(both), "agent", id));
    json_t *v = comes_to(&r, g, "trusted", NULL);
    assert_true(not_made(v, "residency", NULL, "--domain"));
    put_words(&r, g, none);
    comes_to(&r, g, "unchecked", "unlinked");
    assert_int_equal(r.posts, 0);
    rig_free(&r);
}

/* The same id of a domain: the provider is asked for that. */
static void test_an_id_of_a_domain(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    struct rig_guest *g = &r.guest[0];
    g->id = "0f1e2d3c.hash_ek";
    rig_start(&r);
    put(&r, g, json_pack("{s:s}", "agent", g->id));
    rig_adopt(&r, g);
    LT_JSON_AUTO json_t *shown = rig_show(&r, g);
    assert_string_equal(text(shown, "agent"), g->id);
    assert_string_equal(text(json_object_get(shown, "verdict"), "link"), "copyable");
    rig_free(&r);
}

/* ---- the configuration ---- */

static void test_half_a_federation(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    char *const provider = r.conf.provider, *const cert = r.conf.federation_cert;
    r.conf.provider = (char *)"";
    FAILS(LT_E_CONFIG, lt_tenant_check(&r.conf, true, &err));
    assert_non_null(strstr(err.msg, "federation_cert"));
    r.conf.provider = provider;
    r.conf.federation_cert = (char *)"";
    FAILS(LT_E_CONFIG, lt_tenant_check(&r.conf, true, &err));
    assert_non_null(strstr(err.msg, "federation_cert"));
    r.conf.federation_cert = cert;
    rig_without_provider(&r);
    FAILS(LT_E_CONFIG, lt_tenant_check(&r.conf, true, &err));
    assert_memory_equal(err.msg,
                        "cert = ", 7); /* the rig's is a provider's; nobody asks for the federation's */
    free(r.conf.guest_ek_roots);
    r.conf.guest_ek_roots = strdup("/nowhere");
    FAILS(LT_E_IO, lt_tenant_start(&r.conf, &r.tenant, &err));
    assert_non_null(strstr(err.msg, "guest_ek_roots"));
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_provider),
        cmocka_unit_test(test_learning),
        cmocka_unit_test(test_nothing_judged),
        cmocka_unit_test(test_keys_of_sha384),
        cmocka_unit_test(test_certified),
        cmocka_unit_test(test_another_tpm_was_first),
        cmocka_unit_test(test_no_host_of_the_provider),
        cmocka_unit_test(test_withholding_unlinks_nobody),
        cmocka_unit_test(test_a_null_residency_fails),
        cmocka_unit_test(test_an_id_without_a_domain),
        cmocka_unit_test(test_an_id_of_a_domain),
        cmocka_unit_test(test_half_a_federation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
