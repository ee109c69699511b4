/* Bundles: there and back, and what is refused. */
#include "tests/support/appraisal/forge.h"

static void forged(struct lt_bundle *b)
{
    struct forge f;

    forge_init(&f);
    forge_build(&f);
    forge_bundle(&f, b);
    forge_free(&f);
    b->times = json_pack("{s:s}", "started", "2026-11-22T05:24:38Z");
    b->guest.ek_certificates.count = 1;
    b->guest.ek_certificates.pem[0] = strdup("-----BEGIN CERTIFICATE-----\n");
    b->guest.ima.p = calloc(1, 3);
    b->guest.ima.n = 3;
}

static int parse_json(json_t *j, struct lt_bundle *b)
{
    LT_AUTOFREE char *text = lt_json_dump(j);
    return lt_bundle_parse(text, strlen(text), b, &err);
}

static void there_and_back(void **state)
{
    struct lt_bundle a, b;

    (void)state;
    forged(&a);
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&a);
    OK(parse_json(j, &b));
    LT_JSON_AUTO json_t *again = lt_bundle_to_json(&b);
    assert_true(json_equal(j, again));
    assert_memory_equal(a.commitment, b.commitment, 32);
    assert_memory_equal(&a.proof, &b.proof, sizeof a.proof);
    assert_string_equal(a.guest.pubkey, b.guest.pubkey);
    assert_int_equal(b.guest.ima.n, 3);
    assert_int_equal(b.policy_count, 2); /* of the quote, and of the openers */
    assert_int_equal(b.host.openers.n, a.host.openers.n);
    assert_memory_equal(b.host.openers.p, a.host.openers.p, a.host.openers.n);
    assert_null(b.host.ima.p);
    lt_bundle_free(&a);
    lt_bundle_free(&b);
}

static void without_host(void **state)
{
    struct lt_bundle a, b;

    (void)state;
    forged(&a);
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&a);
    lt_bundle_free(&a);
    json_object_del(j, "host");
    FAILS(LT_E_MALFORMED, parse_json(j, &b)); /* paths to nothing */
    json_object_del(j, "batch");
    json_object_del(j, "residency");
    OK(parse_json(j, &b));
    assert_false(b.has_host);
    LT_JSON_AUTO json_t *again = lt_bundle_to_json(&b);
    assert_true(json_equal(j, again));
    lt_bundle_free(&b);
}

/* path is a dot-separated place; value NULL deletes. */
static int changed(const json_t *good, const char *path, json_t *value)
{
    LT_JSON_AUTO json_t *j = json_deep_copy(good);
    json_t *o = j;
    struct lt_bundle b;
    char key[80];

    for (;;) {
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        if (!path[n])
            break;
        o = json_object_get(o, key);
        path += n + 1;
    }
    if (value)
        json_object_set_new(o, key, value);
    else
        assert_int_equal(json_object_del(o, key), 0);
    int rc = parse_json(j, &b);
    if (!rc)
        lt_bundle_free(&b);
    return rc;
}

static int too_many_openers(const json_t *good)
{
    LT_AUTOFREE uint8_t *p = calloc(1, LT_MAX_OPENERS_BYTES + 1);

    assert_non_null(p);
    return changed(good, "host.openers", lt_json_new_base64(p, LT_MAX_OPENERS_BYTES + 1));
}

static void refused(void **state)
{
    static const char *const needed[] = {
        "format",
        "tenant_id",
        "guest",
        "commitment",
        "batch",
        "residency",
        "policies",
        "guest.uuid",
        "guest.nonce",
        "guest.attest",
        "guest.signature",
        "guest.pcrs",
        "guest.ak",
        "guest.ek",
        "host.header",
        "host.attest",
        "host.signature",
        "host.pcrs",
        "host.ak",
        "host.ek",
        "batch.index",
        "batch.path",
        "residency.record",
    };
    static const char *const objects[] = {"x", "guest.x", "host.x", "batch.x", "residency.x"};
    static const char *const optional[] = {
        "guest.pubkey",          "guest.boot_log", "guest.ima", "host.boot_log",
        "guest.ek_certificates", "host.openers",   "times",     "verdict"};
    struct lt_bundle a;

    (void)state;
    forged(&a);
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&a);
    lt_bundle_free(&a);
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (!changed(j, needed[i], NULL) || !changed(j, needed[i], json_integer(-1)))
            fail_msg("%s missing or a number: accepted", needed[i]);
    }
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        FAILS(LT_E_MALFORMED, changed(j, objects[i], json_null()));
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        OK(changed(j, optional[i], NULL));
        FAILS(LT_E_MALFORMED, changed(j, optional[i], json_integer(1)));
    }
    FAILS(LT_E_UNSUPPORTED, changed(j, "format", json_string("limetree-bundle/2")));
    FAILS(LT_E_MALFORMED, changed(j, "guest.nonce", json_string("short")));
    FAILS(LT_E_MALFORMED, changed(j, "guest.nonce", json_string("abcdefghijklmnopqrstuvwxyz01234_")));
    FAILS(LT_E_MALFORMED, changed(j, "host.openers", json_string("no base64")));
    FAILS(LT_E_TOO_LARGE, too_many_openers(j));
    FAILS(LT_E_MALFORMED, changed(j, "policies", json_pack("{s:s}", "00", "AAAA")));
    FAILS(LT_E_MALFORMED, changed(j, "guest.ek_certificates", json_pack("[i]", 1)));
    FAILS(LT_E_TOO_LARGE,
          changed(j, "guest.ek_certificates", json_pack("[sssssssss]", "", "", "", "", "", "", "", "", "")));
    json_t *policies = json_deep_copy(json_object_get(j, "policies"));
    json_object_set_new(policies, json_object_iter_key(json_object_iter(policies)), json_string("e30="));
    FAILS(LT_E_MALFORMED, changed(j, "policies", policies)); /* another document under its name */
}

static int parse(const uint8_t *p, size_t n, void *state)
{
    struct lt_bundle b;

    (void)state;
    int rc = lt_bundle_parse(p, n, &b, &err);
    if (!rc)
        lt_bundle_free(&b);
    return rc;
}

static void every_prefix(void **state)
{
    struct lt_bundle a;

    (void)state;
    forged(&a);
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&a);
    lt_bundle_free(&a);
    LT_AUTOFREE char *text = lt_json_dump(j);
    unit_every_prefix(parse, text, strlen(text), NULL);
    FAILS(LT_E_MALFORMED, parse((const uint8_t *)"[]", 2, NULL));
    FAILS(LT_E_MALFORMED, parse((const uint8_t *)"{\"format\":1,\"format\":1}", 23, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(without_host),
        cmocka_unit_test(refused),
        cmocka_unit_test(every_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
