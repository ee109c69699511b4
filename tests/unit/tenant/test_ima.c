/* The tenant and what machines measured: lists that grow, reboots, layers and where they come from, and a
 * host that reaches `appraised`. */
#include "tests/support/appraisal/ima_lines.h"
#include "tests/support/tenant_rig.h"

#include "appraisal/checks/offline.h"
#include "appraisal/ima/learn.h"
#include "common/file.h"
#include "common/ima_list.h"
#include "common/run/clock.h"

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A line about that check, in that list, that says so. */
static bool says(const json_t *verdict, const char *list, const char *check, const char *what)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(verdict, list), i, v)
    {
        if (json_is_object(v) && !strcmp(text(v, "check"), check) && strstr(text(v, "message"), what))
            return true;
    }
    return false;
}

static json_t *round_of(struct rig *r, struct rig_guest *g, const char *result)
{
    unsigned before = g->asked;
    rig_ask(r, g);
    rig_wait_asked(g, before + 1);
    return rig_wait(r, g, result);
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

static void path_of(const struct rig_guest *g, const char *what, char out[96])
{
    snprintf(out, 96, "guests/%s%s", g->text, what);
}

/* Adds it and learns its policy with its list; the policy document. */
static json_t *adopt(struct rig *r, struct rig_guest *g)
{
    char path[96];

    path_of(g, "", path);
    rig_drop(rig_call(r, "PUT", path, json_object(), 200));
    rig_wait(r, g, "unchecked");
    path_of(g, "/learn", path);
    json_t *reply = rig_call(r, "POST", path,
                             json_pack("{s:[s,s], s:b}", "accept", "copyable", "boot-only", "ima", 1), 201);
    json_t *policy = json_incref(json_object_get(reply, "policy"));
    json_decref(reply);
    rig_wait(r, g, "trusted");
    return policy;
}

static void bundle_of(struct rig *r, const struct rig_guest *g, struct lt_bundle *b)
{
    char path[96];

    path_of(g, "/bundle", path);
    LT_JSON_AUTO json_t *j = rig_call(r, "GET", path, NULL, 200);
    LT_AUTOFREE char *s = lt_json_dump(j);
    OK(lt_bundle_parse(s, strlen(s), b, &err));
}

static void learnt_and_grown(void **state)
{
    char path[96], hex[65], name[96];
    struct lt_bundle b;
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[0];
    rig_measure(&r, g, "/init");
    rig_measure(&r, g, "/usr/bin/web");
    LT_JSON_AUTO json_t *policy = adopt(&r, g);
    json_t *layers = json_object_get(policy, "layers");
    assert_string_equal(text(json_array_get(layers, 0), "name"), "learnt");
    /* Compiled once, named by the document. */
    snprintf(name, sizeof name, "tables/%s", text(json_array_get(layers, 0), "policy"));
    LT_AUTOFREE char *table = lt_file_path(r.state, name);
    LT_AUTOFREE uint8_t *compiled = NULL;
    size_t n;
    OK(lt_file_read(table, 1 << 20, &compiled, &n, &err));
    settle(&r, g);
    rig_wait(&r, g, "trusted");
    assert_int_equal(g->ima_asked, 3); /* what was matched is not asked for again */
    /* One more file, that no layer has. */
    rig_measure(&r, g, "/tmp/new");
    json_t *v = round_of(&r, g, "failed");
    assert_string_equal(text(v, "reason"), "guest-policy");
    assert_true(says(v, "failed", "guest-policy", "IMA entry 3 (/tmp/new): digest sha256:"));
    assert_true(says(v, "failed", "guest-policy", "learnt@"));
    bundle_of(&r, g, &b); /* the whole list, not only what came last */
    assert_int_equal(b.guest.ima.n, g->ima.n);
    assert_memory_equal(b.guest.ima.p, g->ima.p, g->ima.n);
    lt_bundle_free(&b);
    /* A second layer allows it: the same guest is trusted, when its tenant has cleared it. */
    struct lt_buf doc = LT_BUF(65536);
    ima_policy(&doc, (const char *const[]){"/tmp/new", NULL}, NULL);
    uint8_t digest[32];
    lt_sha256(doc.p, doc.n, digest);
    lt_hex(digest, 32, hex);
    json_array_append_new(layers, json_pack("{s:s, s:s}", "name", "role", "policy", hex));
    path_of(g, "", path);
    LT_JSON_AUTO json_t *refused = rig_call(&r, "PUT", path, json_pack("{s:O}", "policy", policy), 409);
    assert_non_null(strstr(text(json_object_get(refused, "error"), "message"), hex));
    LT_JSON_AUTO json_t *added =
        rig_call(&r, "POST", "policies", lt_json_parse(doc.p, doc.n, doc.n, &err), 201);
    if (strcmp(text(added, "digest"), hex)) { /* the call wrote the document its own way */
        json_object_set(json_array_get(layers, 1), "policy", json_object_get(added, "digest"));
    }
    rig_drop(rig_call(&r, "PUT", path, json_pack("{s:O}", "policy", policy), 200));
    path_of(g, "/clear", path);
    rig_drop(rig_call(&r, "POST", path, json_object(), 200));
    rig_wait(&r, g, "trusted");
    settle(&r, g);
    rig_wait(&r, g, "trusted");
    assert_int_equal(g->ima_asked, 4);
    lt_buf_free(&doc);
    rig_free(&r);
}

static void list_of_an_earlier_boot(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[1];
    rig_measure(&r, g, "/init");
    rig_measure(&r, g, "/usr/bin/web");
    json_decref(adopt(&r, g));
    settle(&r, g);
    rig_wait(&r, g, "trusted");
    assert_int_equal(g->ima_asked, 3);
    /* Shorter than what is kept: it comes whole, and is judged so. */
    rig_reboot(&r, g);
    rig_measure(&r, g, "/init");
    round_of(&r, g, "trusted");
    settle(&r, g);
    rig_wait(&r, g, "trusted");
    assert_int_equal(g->ima_asked, 2);
    /* As long, and of another boot: it is no list of this one, so nothing is said of it; the next is whole.
     */
    unsigned before = g->asked;
    rig_reboot(&r, g);
    rig_measure(&r, g, "/usr/bin/web");
    rig_measure(&r, g, "/init");
    rig_ask(&r, g);
    rig_wait_asked(g, before + 2); /* unchecked: a new round at once */
    settle(&r, g);
    rig_wait(&r, g, "trusted");
    assert_int_equal(g->ima_asked, 3);
    rig_free(&r);
}

/* PCR 10 must be what the list gives: a guest that hides an entry fails. */
static void a_list_that_hides(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    struct rig_guest *g = &r.guest[2];
    rig_measure(&r, g, "/init");
    json_decref(adopt(&r, g));
    pthread_mutex_lock(&r.lock);
    g->pcr10[0] ^= 1;
    pthread_mutex_unlock(&r.lock);
    json_t *v = round_of(&r, g, "failed");
    assert_true(says(v, "failed", "guest-policy", "PCR 10"));
    rig_free(&r);
}

static void host_is_appraised(void **state)
{
    static const char *const files[] = {"/usr/sbin/limetree-agent", "/usr/sbin/libvirtd",
                                        "/usr/bin/swtpm",           "/usr/bin/qemu-system-x86_64",
                                        "/usr/lib/libtpms.so.0",    NULL};
    struct lt_offline o = {.now = lt_clock_wall_s()};
    struct lt_verdict offline;
    struct lt_bundle b;
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_host_layer(&r, files);
    for (int i = 0; i < 4; i++)
        rig_measure_host(&r, files[i == 2 ? 4 : i]); /* all but swtpm */
    rig_start(&r);
    rig_adopt(&r, &r.guest[0]);
    rig_adopt(&r, &r.guest[1]);
    json_t *v = rig_wait(&r, &r.guest[0], "trusted");
    assert_string_equal(text(v, "host_level"), "boot-only");
    assert_true(says(v, "not_made", "host-policy", ": swtpm;"));
    assert_int_equal(r.ima_posts, 1); /* once for all guests and rounds */
    rig_measure_host(&r, "/usr/bin/swtpm");
    settle(&r, &r.guest[0]);
    v = rig_wait(&r, &r.guest[0], "trusted");
    assert_string_equal(text(v, "host_level"), "appraised");
    assert_int_equal(r.ima_posts, 2);
    assert_int_equal(r.ima_first, 5); /* only what is new */
    bundle_of(&r, &r.guest[0], &b);
    assert_int_equal(b.host.ima.n, r.ima.n);
    OK(lt_offline_appraise(&b, &o, &offline, &err));
    assert_int_equal(offline.result, LT_VERDICT_CONSISTENT);
    assert_int_equal(offline.level, LT_VERDICT_LEVEL_APPRAISED); /* by the layer in the bundle */
    lt_bundle_free(&b);
    rig_measure_host(&r, "/usr/bin/evil");
    v = round_of(&r, &r.guest[0], "failed");
    assert_true(says(v, "failed", "host-policy", "IMA entry 6 (/usr/bin/evil)"));
    rig_free(&r);
}

/* The host's list comes by way of the provider: one that does not replay to the quote, or none, says nothing
 * of the host (live: a digit of it changed). */
static void the_provider_changes_the_list(void **state)
{
    static const char *const files[] = {"/usr/sbin/limetree-agent", "/usr/bin/swtpm", "/usr/bin/more", NULL};
    static const enum provider_lie lies[] = {LIE_IMA_DIGIT, LIE_IMA_SHORT, LIE_NO_IMA};

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct rig r;
        rig_make(&r);
        rig_host_layer(&r, files);
        rig_measure_host(&r, files[0]);
        rig_measure_host(&r, files[1]);
        rig_start(&r);
        rig_adopt(&r, &r.guest[0]);
        r.lie = lies[i];
        lt_tenant_reload(r.tenant); /* forgets the list it has */
        json_t *v = round_of(&r, &r.guest[0], "unchecked");
        assert_string_equal(text(v, "reason"), "host-policy");
        assert_int_equal(json_array_size(json_object_get(v, "failed")), 0);
        assert_true(says(v, "not_made", "host-policy", "IMA list could not be had"));
        unsigned posts = r.ima_posts;
        settle(&r, &r.guest[0]);
        assert_true(r.ima_posts <= posts + 1); /* not every round */
        r.lie = LIE_NONE;
        rig_measure_host(&r, files[2]);
        lt_tenant_reload(r.tenant); /* no waiting in a test */
        round_of(&r, &r.guest[0], "trusted");
        assert_int_equal(r.ima_first, 0);
        /* A list that grew wrongly is given up whole: the next question is for all of it. */
        r.lie = lies[i];
        rig_measure_host(&r, files[2]);
        rig_measure_host(&r, files[0]);
        round_of(&r, &r.guest[0], "unchecked");
        assert_int_equal(r.ima_first, 4);
        rig_free(&r);
    }
}

/* What `limetree policy learn` makes of the last round's bundle is the layer that the tenant has learnt. */
static void same_learner(struct rig *r, const struct rig_guest *g, const json_t *policy)
{
    static struct lt_ima_learnt l;
    struct lt_bundle b;
    char hex[65];

    bundle_of(r, g, &b);
    const struct lt_ima_lesson lesson = {.list = {b.guest.ima.p, b.guest.ima.n}, .pcrs = &b.guest.pcrs};
    OK(lt_ima_learn(&lesson, &l, &err));
    lt_hex(l.digest, sizeof l.digest, hex);
    assert_string_equal(text(json_array_get(json_object_get(policy, "layers"), 0), "policy"), hex);
    lt_ima_learnt_free(&l);
    lt_bundle_free(&b);
}

/* Names that any user of the guest can make, in each form that its list comes in; learnt, and grown by more.
 * A form that changes between two rounds is asked for again, from its beginning. */
static void odd_names(void **state)
{
    static const enum guest_form forms[] = {FORM_TEXT, FORM_BYTES, FORM_BINARY};
    static const char *const names[] = {"/tmp/a\nb", "/tmp/a\n10 0 x", "/tmp/\n\n\n", "/tmp/a\\x41 b\t\r",
                                        "/tmp/\xeb\xff\\n"};
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    for (int i = 0; i < RIG_GUESTS; i++) {
        struct rig_guest *g = &r.guest[i];
        size_t count = forms[i] == FORM_TEXT ? 4 : 5; /* JSON holds no other bytes than UTF-8 */
        g->form = forms[i];
        rig_measure(&r, g, "/init");
        for (size_t k = 0; k < count; k++)
            rig_measure(&r, g, names[k]);
        json_t *policy = adopt(&r, g);
        settle(&r, g);
        rig_wait(&r, g, "trusted");
        same_learner(&r, g, policy);
        json_decref(policy);
        const struct lt_buf *list = forms[i] == FORM_BINARY ? &g->ima_binary : &g->ima;
        assert_int_equal(g->ima_asked, lt_ima_list_units((struct lt_slice){list->p, list->n}));
        for (size_t k = 0; k < count; k++)
            rig_measure(&r, g, names[k]);
        round_of(&r, g, "trusted");
        settle(&r, g);
        assert_int_equal(g->ima_asked, lt_ima_list_units((struct lt_slice){list->p, list->n}));
        rig_wait(&r, g, "trusted");
    }
    struct rig_guest *g = &r.guest[1]; /* bytes of the text; then a kernel with the binary list */
    unsigned before = g->asked;
    g->form = FORM_BINARY;
    rig_measure(&r, g, "/init");
    rig_ask(&r, g);
    rig_wait_asked(g, before + 1);
    settle(&r, g);
    rig_wait(&r, g, "trusted");
    assert_int_equal(g->ima_asked, lt_ima_list_units((struct lt_slice){g->ima_binary.p, g->ima_binary.n}));
    rig_measure(&r, g, "/tmp/new\n");
    json_t *v = round_of(&r, g, "failed");
    assert_true(says(v, "failed", "guest-policy", "(/tmp/new\\x0a): digest sha256:"));
    rig_free(&r);
}

static void documents_are_checked(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r);
    rig_start(&r);
    rig_drop(rig_call(&r, "POST", "policies", json_pack("{s:i}", "digests", 1), 400));
    rig_drop(rig_call(&r, "POST", "policies", json_pack("[i]", 1), 400));
    LT_JSON_AUTO json_t *boot = rig_call(&r, "POST", "policies", json_pack("{s:b}", "secure_boot", 1), 201);
    char path[96];
    snprintf(path, sizeof path, "policies/%s", text(boot, "digest"));
    LT_JSON_AUTO json_t *back = rig_call(&r, "GET", path, NULL, 200);
    assert_true(json_is_true(json_object_get(back, "secure_boot")));
    path[strlen(path) - 1] ^= 1;
    rig_drop(rig_call(&r, "GET", path, NULL, 404));
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learnt_and_grown),
        cmocka_unit_test(list_of_an_earlier_boot),
        cmocka_unit_test(a_list_that_hides),
        cmocka_unit_test(host_is_appraised),
        cmocka_unit_test(the_provider_changes_the_list),
        cmocka_unit_test(odd_names),
        cmocka_unit_test(documents_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
