/* Policy documents: strict, and judged with reasons. */
#include "appraisal/policy/policy.h"
#include "tests/support/unit.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B16 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static int guest(const char *text, struct lt_policy_guest **p)
{
    return lt_policy_guest_parse(text, strlen(text), p, &err);
}

static int host(const char *text, struct lt_policy_host **p)
{
    return lt_policy_host_parse(text, strlen(text), p, &err);
}

static void whole(void **state)
{
    static const char text[] =
        "{\"pcrs\":{\"0\":[\"" A "\",\"" B "\"],\"23\":[]},\"firmware\":[\"" A
        "\"],\"domain\":[],\"host_policies\":[\"" B "\"],\"accept\":[\"tainted\",\"copyable\"]}";
    uint8_t digest[32], a[32], b[32];
    struct lt_policy_guest *p;

    (void)state;
    memset(a, 0xaa, 32);
    memset(b, 0xbb, 32);
    OK(guest(text, &p));
    lt_sha256(text, strlen(text), digest);
    assert_memory_equal(p->digest, digest, 32);
    assert_int_equal(p->pcrs.mask, 0x800001);
    assert_true(p->judges_firmware && p->judges_domain);
    assert_true(lt_policy_digests_have(&p->firmware, a) && !lt_policy_digests_have(&p->firmware, b));
    assert_false(lt_policy_digests_have(&p->domain, a));
    assert_true(lt_policy_digests_have(&p->host_policies, b));
    assert_true(p->accept_copyable && p->accept_tainted && !p->accept_boot_only);
    assert_false(p->accept_open_boot);
    lt_policy_guest_free(p);
    OK(guest("{\"accept\":[\"open-boot\"]}", &p));
    assert_true(p->accept_open_boot && !p->accept_copyable && !p->accept_tainted && !p->accept_boot_only);
    lt_policy_guest_free(p);
    OK(guest("{}", &p));
    assert_false(p->judges_firmware || p->judges_domain || p->pcrs.mask || p->host_policies.count);
    assert_false(p->accept_copyable || p->accept_tainted || p->accept_boot_only);
    lt_policy_guest_free(p);
    lt_policy_guest_free(NULL);
    lt_policy_host_free(NULL);
}

/* What a sealed vTPM may have been open to. */
static void sealing(void **state)
{
    static const char text[] =
        "{\"host_policies\":[\"" A "\"],\"seals\":[\"" A "\",\"" B "\"],\"escrow\":[\"" B
        "\"],\"authorities\":[\"" A "\"],\"retired_host_policies\":[\"" B "\"],\"retired_hosts\":[\"" A
        "\",\"" B "\"],\"accept\":[\"bound\"]}";
    static const char *const lists[] = {"seals", "escrow", "authorities", "retired_host_policies",
                                        "retired_hosts"};
    static const char *const bad[] = {"null",     "\"" A "\"",    "{}",           "[1]",
                                      "[\"aa\"]", "[\"" A "a\"]", "[\"" A B "\"]"};
    uint8_t a[32], b[32];
    struct lt_policy_guest *p;
    struct lt_policy_host *h;
    char json[400];

    (void)state;
    memset(a, 0xaa, 32);
    memset(b, 0xbb, 32);
    OK(guest(text, &p));
    assert_true(p->accept_bound && !p->accept_copyable);
    assert_true(p->seals.count == 2 && lt_policy_digests_have(&p->seals, a) &&
                lt_policy_digests_have(&p->seals, b));
    assert_true(p->escrow.count == 1 && lt_policy_digests_have(&p->escrow, b));
    assert_true(p->authorities.count == 1 && lt_policy_digests_have(&p->authorities, a));
    assert_true(p->retired_host_policies.count == 1 && lt_policy_digests_have(&p->retired_host_policies, b));
    assert_true(p->retired_hosts.count == 2 && p->host_policies.count == 1);
    lt_policy_guest_free(p);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        snprintf(json, sizeof json, "{\"%s\":[]}", lists[i]);
        OK(guest(json, &p));
        lt_policy_guest_free(p);
        FAILS(LT_E_MALFORMED, host(json, &h)); /* the provider's document cannot say it */
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            snprintf(json, sizeof json, "{\"%s\":%s}", lists[i], bad[k]);
            FAILS(LT_E_MALFORMED, guest(json, &p));
            assert_null(p);
        }
    }
    OK(guest("{}", &p)); /* none is accepted by nobody's word */
    assert_false(p->seals.count || p->escrow.count || p->authorities.count || p->retired_hosts.count ||
                 p->retired_host_policies.count || p->accept_bound);
    lt_policy_guest_free(p);
    FAILS(LT_E_MALFORMED,
          guest("{\"retired_host_policies\":[\"" A "\",\"" B "\"],\"host_policies\":[\"" B "\"]}", &p));
    assert_non_null(strstr(err.msg, "\"host_policies\" too"));
}

static void refused(void **state)
{
    static const char *const both[] = {
        "",
        "[]",
        "null",
        "1",
        "{\"pcrs\":[]}",
        "{\"pcrs\":null}",
        "{\"pcrs\":{\"24\":[]}}",
        "{\"pcrs\":{\"-1\":[]}}",
        "{\"pcrs\":{\"01\":[]}}",
        "{\"pcrs\":{\"\":[]}}",
        "{\"pcrs\":{\"0\":\"" A "\"}}",
        "{\"pcrs\":{\"0\":[1]}}",
        "{\"pcrs\":{\"0\":[\"aa\"]}}",
        "{\"pcrs\":{\"0\":[\"" A "a\"]}}",
        "{\"pcrs\":{\"0\":[\"" A B "\"]}}",
        "{\"pcrs\":{\"0\":[\"" A "" B16 "a\"]}}",
        "{\"pcrs\":{\"0\":[\"" A "\"],\"0\":[]}}",
        "{\"pcr\":{}}",
        "{} x",
    };
    static const char *const only_guest[] = {
        "{\"accept\":\"copyable\"}",
        "{\"accept\":[\"all\"]}",
        "{\"accept\":[1]}",
        "{\"accept\":[\"\"]}",
        "{\"accept\":[\"copyable\",\"copyable\",\"copyable\",\"copyable\",\"copyable\"]}",
        "{\"firmware\":null}",
        "{\"domain\":\"" A "\"}",
        "{\"host_policies\":{}}",
        "{\"host_policies\":[\"x\"]}",
    };
    struct lt_policy_guest *g;
    struct lt_policy_host *h;

    (void)state;
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        if (!guest(both[i], &g) || g || !host(both[i], &h) || h)
            fail_msg("%s: accepted", both[i]);
    }
    for (size_t i = 0; i < sizeof only_guest / sizeof *only_guest; i++)
        if (!guest(only_guest[i], &g) || g)
            fail_msg("%s: accepted", only_guest[i]);
    FAILS(LT_E_MALFORMED, host("{\"firmware\":[]}", &h));
    FAILS(LT_E_MALFORMED, host("{\"accept\":[]}", &h));
}

static void judged(void **state)
{
    struct lt_pcrs q = {.alg = LT_HASH_SHA256, .mask = 0x5};
    struct lt_policy_host *p;

    (void)state;
    OK(host("{\"pcrs\":{\"0\":[\"" A "\",\"" B "\"],\"2\":[\"" B "\"]}}", &p));
    memset(q.value[0], 0xbb, 32);
    memset(q.value[2], 0xbb, 32);
    OK(lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    memset(q.value[2], 0xaa, 32);
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    char digest[65];
    lt_hex(p->digest, 32, digest);
    assert_non_null(strstr(err.msg, "PCR 2"));
    assert_non_null(strstr(err.msg, A));
    assert_non_null(strstr(err.msg, digest));
    memset(q.value[2], 0xbb, 32);
    q.mask = 1; /* absent fails, never skips */
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    q.mask = 5;
    q.alg = LT_HASH_SHA384;
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    lt_policy_host_free(p);
    /* Two banks in one document: a quote is judged by the values of its own. */
    OK(host("{\"pcrs\":{\"0\":[\"" A "\",\"" B B16 "\"],\"2\":[\"" B "\"]}}", &p));
    q.mask = 1;
    memset(q.value[0], 0xbb, 48);
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err)); /* PCR 2 is not in it */
    q.mask = 5;
    memset(q.value[2], 0xbb, 48);
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err)); /* and has no such value */
    assert_non_null(strstr(err.msg, "PCR 2"));
    lt_policy_host_free(p);
    OK(host("{\"pcrs\":{\"0\":[\"" A "\",\"" B B16 "\"]}}", &p));
    q.mask = 1;
    OK(lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    q.value[0][47] ^= 1;
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    assert_non_null(strstr(err.msg, B));
    q.alg = LT_HASH_SHA256; /* the first 32 bytes of a longer value are nobody's */
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    memset(q.value[0], 0xaa, 32);
    OK(lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    q.alg = LT_HASH_SHA512;
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    lt_policy_host_free(p);
    OK(host("{\"pcrs\":{\"9\":[]}}", &p)); /* named with no value: nothing is accepted */
    q = (struct lt_pcrs){.alg = LT_HASH_SHA256, .mask = 1u << 9};
    FAILS(LT_E_REFUSED, lt_policy_pcr_rules_judge(&p->pcrs, &q, p->digest, &err));
    lt_policy_host_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(sealing),
        cmocka_unit_test(refused),
        cmocka_unit_test(judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
