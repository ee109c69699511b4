/* V goes to trusted guests alone: to the key that the trusted round named, until it has arrived, and not
 * after the verdict has ended. */
#include "tenant/release.h"

#include "common/file.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "tests/support/tenant_rig.h"

#include <openssl/pem.h>
#include <unistd.h>

static const struct lt_share v1 = {"0123456789abcdef0123456789ABCDEF", 32}, v2 = {"0123456789abcdef", 16};

static json_t *body_of(const struct lt_share *v)
{
    return json_pack("{s:o}", "v", lt_json_new_base64(v->p, v->n));
}

static void put(struct rig *r, const struct rig_guest *g, json_t *body, int want)
{
    char path[64];
    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(r, "PUT", path, body, want));
}

static void clear(struct rig *r, const struct rig_guest *g)
{
    char path[64];
    snprintf(path, sizeof path, "guests/%s/clear", g->text);
    rig_drop(rig_call(r, "POST", path, json_object(), 200));
}

/* Rounds begun after this call have ended. */
static void settle(struct rig *r, struct rig_guest *g)
{
    for (int i = 0; i < 3; i++) {
        unsigned before = g->asked;
        rig_ask(r, g);
        rig_wait_asked(g, before + 1);
    }
}

/* RELEASE of the guest, borrowed until the next call. */
static const json_t *release_of(struct rig *r, const struct rig_guest *g)
{
    static json_t *last;
    json_decref(last);
    last = rig_show(r, g);
    return json_object_get(last, "release");
}

static bool is(const json_t *release, const char *key)
{
    return json_is_true(json_object_get(release, key));
}

/* Waits until that member is so; the API has no event for it. */
static void wait_release(struct rig *r, const struct rig_guest *g, const char *key, bool want)
{
    uint64_t until = lt_clock_ms() + 20000;

    while (is(release_of(r, g), key) != want) {
        if (lt_clock_ms() > until)
            fail_msg("%s never became %d: %s", key, want, json_dumps(release_of(r, g), 0));
        pthread_mutex_lock(&r->lock);
        (void)lt_cond_until(&r->news, &r->lock, lt_clock_ms() + 20);
        pthread_mutex_unlock(&r->lock);
    }
}

static void has(struct rig *r, const struct rig_guest *g, const struct lt_share *v)
{
    pthread_mutex_lock(&r->lock);
    assert_int_equal(g->v.n, v ? v->n : 0);
    if (v)
        assert_memory_equal(g->v.p, v->p, v->n);
    pthread_mutex_unlock(&r->lock);
}

static void begin(struct rig *r)
{
    rig_make(r);
    rig_start(r);
    rig_transport(r, &r->guest[0]);
}

static void test_trusted_and_then_v(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    put(&r, g, body_of(&v1), 200); /* no policy yet */
    settle(&r, g);
    assert_int_equal(g->vkeys, 0);
    assert_false(is(release_of(&r, g), "delivered"));
    rig_adopt(&r, g);
    wait_release(&r, g, "delivered", true);
    assert_int_equal(g->vkeys, 1);
    has(&r, g, &v1);
    settle(&r, g); /* once */
    assert_int_equal(g->vkeys, 1);
    put(&r, g, body_of(&v2), 200);
    rig_wait_vkeys(g, 2);
    has(&r, g, &v2);
    wait_release(&r, g, "delivered", true);
    put(&r, g, body_of(&v2), 200); /* the same again is a new delivery, too */
    rig_wait_vkeys(g, 3);
    rig_free(&r);
}

static void test_another_key_needs_another_round(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    put(&r, g, body_of(&v1), 200);
    wait_release(&r, g, "delivered", true);
    rig_transport(&r, g);
    assert_int_equal(g->vkeys, 1);
    settle(&r, g);
    rig_wait_vkeys(g, 2);
    has(&r, g, &v1);
    rig_free(&r);
}

/* What keeps a guest from being trusted, and from V. */
static void off_residency(struct rig *r, bool off)
{
    r->mode = off ? PROVIDER_OMITS : PROVIDER_PROVES;
}

static void off_host(struct rig *r, bool off)
{
    (void)off;
    pthread_mutex_lock(&r->lock);
    r->host.pcrs.value[4][0] ^= 1;
    pthread_mutex_unlock(&r->lock);
}

static void off_provider(struct rig *r, bool off)
{
    r->mode = off ? PROVIDER_IS_BUSY : PROVIDER_PROVES;
}

static void off_guest(struct rig *r, bool off)
{
    r->guest[0].mode = off ? GUEST_FORGES : GUEST_ANSWERS;
}

static void never(void (*turn)(struct rig *r, bool off), const char *result, const char *reason)
{
    struct rig r;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    turn(&r, true);
    settle(&r, g);
    put(&r, g, body_of(&v1), 200);
    settle(&r, g);
    const json_t *v = rig_wait(&r, g, result);
    assert_string_equal(json_string_value(json_object_get(v, "reason")), reason);
    assert_int_equal(g->vkeys, 0);
    assert_false(is(release_of(&r, g), "waiting"));
    turn(&r, false);
    settle(&r, g); /* those of before have ended */
    if (!strcmp(result, "failed"))
        clear(&r, g);
    rig_wait_vkeys(g, 1); /* nothing else was in the way */
    wait_release(&r, g, "delivered", true);
    has(&r, g, &v1);
    rig_free(&r);
}

static void test_never_while_residency_fails(void **state)
{
    (void)state;
    never(off_residency, "failed", "residency");
}

static void test_never_while_the_host_is_off_policy(void **state)
{
    (void)state;
    never(off_host, "failed", "host-policy");
}

static void test_never_while_the_provider_is_down(void **state)
{
    (void)state;
    never(off_provider, "unreachable", "provider-refused");
}

static void test_never_to_a_guest_that_lies(void **state)
{
    (void)state;
    never(off_guest, "failed", "guest-quote");
}

/* The policy that was learnt, accepting other words. */
static json_t *policy_with(struct rig *r, const struct rig_guest *g, json_t *accept)
{
    LT_JSON_AUTO json_t *shown = rig_show(r, g);
    char path[96];
    snprintf(path, sizeof path, "policies/%s", json_string_value(json_object_get(shown, "policy")));
    json_t *policy = rig_call(r, "GET", path, NULL, 200);
    json_object_set_new(policy, "accept", accept);
    return policy;
}

static void test_never_over_a_weaker_link(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    json_t *body = body_of(&v1), *good = policy_with(&r, g, json_pack("[s,s]", "copyable", "boot-only"));
    json_object_set_new(body, "policy", policy_with(&r, g, json_pack("[s]", "boot-only")));
    put(&r, g, body, 200);
    settle(&r, g);
    const json_t *v = rig_wait(&r, g, "unchecked");
    assert_string_equal(json_string_value(json_object_get(v, "reason")), "level");
    assert_int_equal(g->vkeys, 0);
    put(&r, g, json_pack("{s:o}", "policy", good), 200);
    rig_wait_vkeys(g, 1);
    has(&r, g, &v1);
    rig_free(&r);
}

static void test_tried_again_while_it_stands(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_status = 500;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 2);
    assert_true(is(release_of(&r, g), "waiting"));
    assert_true(json_integer_value(json_object_get(release_of(&r, g), "tries")) >= 1);
    assert_non_null(strstr(json_string_value(json_object_get(release_of(&r, g), "error")), "HTTP 500"));
    g->vkey_status = 0;
    wait_release(&r, g, "delivered", true);
    assert_true(json_is_null(json_object_get(release_of(&r, g), "error")));
    has(&r, g, &v1);
    rig_free(&r);
}

static void test_not_tried_again_after_it_ended(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_status = 500;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 1);
    g->mode = GUEST_FORGES;
    rig_ask(&r, g);
    rig_wait(&r, g, "failed");
    wait_release(&r, g, "waiting", false);
    unsigned before = g->vkeys;
    g->vkey_status = 0;
    settle(&r, g);
    assert_int_equal(g->vkeys, before);
    has(&r, g, g->opened ? &v1 : NULL); /* what it opened, it had before */
    g->mode = GUEST_ANSWERS;
    settle(&r, g);
    clear(&r, g);
    wait_release(&r, g, "delivered", true);
    rig_free(&r);
}

/* It came up as another system between the verdict and V, and between two tries. */
static void test_a_guest_that_restarts_opens_nothing(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_status = 500;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 1);
    rig_transport(&r, g); /* nothing of before is known to it */
    unsigned opened = g->opened;
    rig_wait_vkeys(g, 3);
    assert_int_equal(g->opened, opened);
    has(&r, g, NULL);
    g->vkey_status = 0;
    rig_wait_vkeys(g, 4); /* refused now: what it got is nothing to it */
    assert_int_equal(g->opened, opened);
    settle(&r, g); /* the whole chain anew, with that key */
    wait_release(&r, g, "delivered", true);
    has(&r, g, &v1);
    rig_free(&r);
}

static void test_refused_waits_for_a_round(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_status = 400;
    put(&r, g, body_of(&v1), 200);
    wait_release(&r, g, "waiting", false);
    while (!json_integer_value(json_object_get(release_of(&r, g), "tries")))
        ;
    assert_int_equal(g->vkeys, 1);
    g->vkey_status = 0;
    settle(&r, g);
    rig_wait_vkeys(g, 2);
    wait_release(&r, g, "delivered", true);
    rig_free(&r);
}

static void test_over_a_restart(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_status = 503;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 1);
    rig_stop(&r);
    g->mode = GUEST_HOLDS; /* the verdict of before still reads trusted */
    unsigned before = g->vkeys, asked = g->asked;
    g->vkey_status = 0;
    rig_start(&r);
    rig_wait_asked(g, asked + 1);
    assert_false(is(release_of(&r, g), "waiting"));
    assert_int_equal(g->vkeys, before);
    rig_release(g);
    wait_release(&r, g, "delivered", true);
    has(&r, g, &v1);
    before = g->vkeys;
    rig_stop(&r);
    rig_start(&r);
    settle(&r, g);
    assert_int_equal(g->vkeys, before); /* written down */
    assert_true(is(release_of(&r, g), "delivered"));
    rig_free(&r);
}

/* The tenant goes while an agent that has V keeps its answer. */
static void test_stopped_under_way(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_hangs = true;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 1);
    rig_stop(&r);
    g->vkey_hangs = false;
    lt_http_reply_empty(lt_take(&g->held), 200);
    rig_start(&r);
    settle(&r, g);
    rig_wait_vkeys(g, 2); /* at least once */
    wait_release(&r, g, "delivered", true);
    rig_free(&r);
}

static void test_one_that_hangs_hinders_nobody(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0], *other = &r.guest[1];
    rig_transport(&r, other);
    rig_adopt(&r, g);
    rig_adopt(&r, other);
    g->vkey_hangs = true;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 1);
    put(&r, other, body_of(&v2), 200);
    wait_release(&r, other, "delivered", true);
    has(&r, other, &v2);
    settle(&r, g); /* one at a time */
    assert_int_equal(g->vkeys, 1);
    g->vkey_hangs = false;
    pthread_mutex_lock(&r.lock);
    struct lt_http_req *held = lt_take(&g->held);
    pthread_mutex_unlock(&r.lock);
    lt_http_reply_json(held, 200, json_object());
    wait_release(&r, g, "delivered", true);
    rig_free(&r);
}

static void test_removed_is_forgotten(void **state)
{
    struct rig r;
    char path[64];
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->vkey_status = 500;
    put(&r, g, body_of(&v1), 200);
    rig_wait_vkeys(g, 1);
    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(&r, "DELETE", path, NULL, 200));
    unsigned before = g->vkeys;
    g->vkey_status = 0;
    rig_adopt(&r, g); /* the same guest, and no V of its own */
    settle(&r, g);
    assert_int_equal(g->vkeys, before);
    assert_true(json_is_null(release_of(&r, g)));
    rig_free(&r);
}

static char *new_private_key(void)
{
    EVP_PKEY *key = soft_rsa(2048);
    BIO *b = BIO_new(BIO_s_mem());
    char *p;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL), 1);
    long n = BIO_get_mem_data(b, &p);
    char *s = strndup(p, (size_t)n);
    BIO_free(b);
    EVP_PKEY_free(key);
    return s;
}

static void absent_from(const char *path, const char *secret)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    if (access(path, F_OK))
        return;
    OK(lt_file_read(path, 64u << 20, &p, &n, &err));
    assert_null(memmem(p, n, secret, strlen(secret)));
}

static void test_secrets_lie_sealed(void **state)
{
    static const char *const files[] = {"tenant.db", "tenant.db-wal"};
    struct rig r;
    char path[128];
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    LT_AUTOFREE char *pem = new_private_key();
    json_t *body = body_of(&v1);
    json_object_set_new(body, "revocation_key", json_string(pem));
    put(&r, g, body, 200);
    LT_JSON_AUTO json_t *shown = rig_show(&r, g);
    LT_AUTOFREE char *told = lt_json_dump(shown);
    LT_AUTOFREE char *b64 = lt_base64_dup(v1.p, v1.n);
    assert_null(strstr(told, b64));
    assert_null(strstr(told, "PRIVATE"));
    char line[60];
    snprintf(line, sizeof line, "%.48s", strchr(pem, '\n') + 1);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", r.state, files[i]);
        absent_from(path, "0123456789abcdef0123");
        absent_from(path, b64);
        absent_from(path, line);
    }
    LT_STORE_AUTORELEASE struct lt_store_release is = {0};
    LT_AUTOBUF struct lt_buf plain = {0};
    OK(lt_store_release_get(r.tenant->store, g->uuid, &is, &err));
    OK(lt_vault_unseal(r.tenant->vault, LT_STORE_RELEASE_REVOCATION_KEY, g->uuid,
                       (struct lt_slice){is.revocation_key.p, is.revocation_key.n}, &plain, &err));
    assert_int_equal(plain.n, strlen(pem));
    assert_memory_equal(plain.p, pem, plain.n);
    rig_free(&r);
}

static void test_bad_requests_change_nothing(void **state)
{
    static const char *const bad[] = {
        "{\"v\":\"AAAA\"}",
        "{\"v\":17}",
        "{\"v\":\"AAAAAAAAAAAAAAAAAAAAA\"}",
        "{\"v\":[]}",
        "{\"revocation_key\":\"x\"}",
        "{\"revocation_key\":1}",
        "{\"V\":null}",
        "{\"v\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlBQkNERUY=\",\"revocation_key\":\"-----BEGIN PRIVATE "
        "KEY-----\"}"};
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        put(&r, g, lt_json_parse(bad[i], strlen(bad[i]), 4096, &err), 400);
    static const uint8_t long_v[33];
    put(&r, g, json_pack("{s:o}", "v", lt_json_new_base64(long_v, sizeof long_v)), 413);
    struct lt_store_guest is;
    FAILS(LT_E_NOT_FOUND, lt_store_guest_get(r.tenant->store, g->uuid, &is, &err));
    put(&r, g, json_pack("{s:n, s:s}", "v", "revocation_key", ""), 200);
    assert_true(json_is_null(release_of(&r, g)));
    rig_free(&r);
}

/* What lies there under another key is a fault that is told, and no V. */
static void test_a_vault_that_was_replaced(void **state)
{
    struct rig r;
    char path[128];
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    put(&r, g, body_of(&v1), 200);
    rig_stop(&r);
    snprintf(path, sizeof path, "%s/vault.key", r.state);
    assert_int_equal(unlink(path), 0);
    rig_start(&r);
    rig_adopt(&r, g);
    while (json_is_null(json_object_get(release_of(&r, g), "error")))
        ;
    assert_non_null(
        strstr(json_string_value(json_object_get(release_of(&r, g), "error")), "cannot be opened"));
    assert_int_equal(g->vkeys, 0);
    put(&r, g, body_of(&v1), 200);
    wait_release(&r, g, "delivered", true);
    rig_free(&r);
}

/* A verdict that is not of the present any more allows nothing, whoever says that it was trusted. */
static void test_old_news_allow_nothing(void **state)
{
    struct rig r;
    (void)state;
    begin(&r);
    struct rig_guest *g = &r.guest[0];
    rig_adopt(&r, g);
    g->mode = GUEST_HOLDS;
    put(&r, g, body_of(&v1), 200);
    rig_wait_asked(g, g->asked);
    LT_KEYLIME_AUTOAGENT struct lt_agent a;
    OK(lt_store_agent_get(r.tenant->store, g->text, &a, &err));
    struct lt_tenant_round round = {.pubkey = g->pubkey, .agent = a};
    memcpy(round.uuid, g->uuid, sizeof round.uuid);
    struct lt_http_client *client = check_client(&r.pki, "none");
    char address[64];
    snprintf(address, sizeof address, "%s:%d", a.ip, a.port);
    for (unsigned fresh = 0; fresh < 2; fresh++) {
        const struct lt_release_conf c = {.store = r.tenant->store,
                                          .vault = r.tenant->vault,
                                          .to_guests = client,
                                          .deadlines = {fresh ? 3600000 : 0, 0, 3600000}};
        struct lt_release *release;
        struct lt_release_state s;
        OK(lt_release_start(&c, &release, &err));
        pthread_mutex_lock(&r.lock); /* the clock goes on: 0 ms are over */
        (void)lt_cond_until(&r.news, &r.lock, lt_clock_ms() + 5);
        pthread_mutex_unlock(&r.lock);
        lt_release_trusted(release, &round, address, 6);
        do
            OK(lt_release_state(release, g->uuid, &s, &err));
        while (fresh ? !s.delivered : s.waiting);
        lt_release_stop(release);
        assert_int_equal(g->vkeys, fresh);
        lt_release_free(release);
    }
    lt_http_client_free(client);
    rig_release(g);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trusted_and_then_v),
        cmocka_unit_test(test_another_key_needs_another_round),
        cmocka_unit_test(test_never_while_residency_fails),
        cmocka_unit_test(test_never_while_the_host_is_off_policy),
        cmocka_unit_test(test_never_while_the_provider_is_down),
        cmocka_unit_test(test_never_to_a_guest_that_lies),
        cmocka_unit_test(test_never_over_a_weaker_link),
        cmocka_unit_test(test_tried_again_while_it_stands),
        cmocka_unit_test(test_not_tried_again_after_it_ended),
        cmocka_unit_test(test_a_guest_that_restarts_opens_nothing),
        cmocka_unit_test(test_refused_waits_for_a_round),
        cmocka_unit_test(test_over_a_restart),
        cmocka_unit_test(test_stopped_under_way),
        cmocka_unit_test(test_one_that_hangs_hinders_nobody),
        cmocka_unit_test(test_removed_is_forgotten),
        cmocka_unit_test(test_secrets_lie_sealed),
        cmocka_unit_test(test_bad_requests_change_nothing),
        cmocka_unit_test(test_a_vault_that_was_replaced),
        cmocka_unit_test(test_old_news_allow_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
