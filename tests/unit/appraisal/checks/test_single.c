/* A quote that somebody brings: good, of another nonce or key, turned; and what a policy makes of it. */
#include "appraisal/checks/single.h"

#include "tests/support/appraisal/forge.h"
#include "tests/support/unit.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static struct lt_slice of(const struct lt_buf *b)
{
    return (struct lt_slice){b->p, b->n};
}

static struct lt_slice text(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, strlen(s)};
}

static struct lt_single bring(const struct forge *f)
{
    return (struct lt_single){.ek = of(&f->ek_g),
                              .ak = of(&f->ak_g),
                              .activated = true,
                              .nonce = f->nonce,
                              .attest = of(&f->attest_g),
                              .signature = of(&f->sig_g),
                              .pcrs = &f->guest_pcrs};
}

static bool valid(const struct lt_single *in)
{
    struct lt_verdict v;

    OK(lt_single_judge(in, &v, &err));
    return lt_single_valid(in, &v);
}

static void a_quote(void **state)
{
    struct forge f;
    uint8_t turned[LT_MAX_ATTEST];

    (void)state;
    forge_init(&f);
    forge_build(&f);
    struct lt_single in = bring(&f);
    assert_true(valid(&in));
    in.activated = false; /* not made, and named; the quote is as good */
    assert_true(valid(&in));
    in.nonce = "another";
    assert_false(valid(&in));
    in = bring(&f);
    in.ak = of(&f.ak_h);
    assert_false(valid(&in));
    in = bring(&f);
    in.ek = of(&f.ek_h); /* the AK is not under this one */
    assert_false(valid(&in));
    in = bring(&f);
    struct lt_pcrs other = f.guest_pcrs;
    other.value[4][0] ^= 1;
    in.pcrs = &other;
    assert_false(valid(&in));
    in = bring(&f);
    memcpy(turned, in.attest.p, in.attest.n);
    in.attest.p = turned;
    for (size_t i = 0; i < in.attest.n; i++) {
        turned[i] ^= 1;
        assert_false(valid(&in));
        turned[i] ^= 1;
    }
    assert_true(valid(&in));
    forge_free(&f);
}

static void nonces(void **state)
{
    struct forge f;
    struct lt_verdict v;
    char longest[LT_CHECKS_NONCE + 2];

    (void)state;
    forge_init(&f);
    forge_build(&f);
    struct lt_single in = bring(&f);
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    in.nonce = longest;
    FAILS(LT_E_MALFORMED, lt_single_judge(&in, &v, &err));
    longest[LT_CHECKS_NONCE] = 0;
    assert_false(valid(&in));
    in.nonce = "";
    FAILS(LT_E_MALFORMED, lt_single_judge(&in, &v, &err));
    char prefix[LT_RESIDENCY_NONCE];
    memcpy(prefix, f.nonce, sizeof prefix - 1);
    prefix[sizeof prefix - 1] = 0;
    in.nonce = prefix; /* all but the last character */
    assert_false(valid(&in));
    forge_free(&f);
}

static void a_policy(void **state)
{
    struct forge f;
    struct lt_verdict v;
    char good[160], hex[65];

    (void)state;
    forge_init(&f);
    forge_build(&f);
    struct lt_single in = bring(&f);
    lt_hex(f.guest_pcrs.value[4], 32, hex);
    snprintf(good, sizeof good, "{\"pcrs\":{\"4\":[\"%s\"]}}", hex);
    in.policy = text(good);
    assert_true(valid(&in));
    in.policy = text("{\"pcrs\":{\"4\":[\"" ZEROS "\"]}}");
    assert_false(valid(&in));
    in.policy = text("{\"pcrs\":{\"23\":[\"" ZEROS "\"]}}"); /* not quoted: fails, never skips */
    assert_false(valid(&in));
    in.policy = text("{}"); /* judges nothing, so nothing passed */
    assert_false(valid(&in));
    in.policy = text("{\"unknown\":1}");
    FAILS(LT_E_MALFORMED, lt_single_judge(&in, &v, &err));
    forge_free(&f);
}

/* Documents that do not read are an error; logs that the policy asks for and nobody brought are no pass. */
static void documents(void **state)
{
    struct forge f;
    struct lt_verdict v;

    (void)state;
    forge_init(&f);
    forge_measure(&f);
    forge_build(&f);
    struct lt_single in = bring(&f);
    in.policy = of(&f.policy_g);
    in.runtime = of(&f.ima_g.layer);
    in.boot = of(&f.ima_g.boot_doc);
    assert_false(valid(&in)); /* no logs */
    in.logs = f.guest.logs;
    in.logs.documents = NULL;
    struct lt_slice boot = in.boot;
    if (!boot.n)
        in.boot = (struct lt_slice){0};
    assert_int_equal(valid(&in), true);
    in.runtime = text("{}");
    assert_int_not_equal(lt_single_judge(&in, &v, &err), 0);
    in.runtime = (struct lt_slice){0}; /* the layer is not at hand */
    OK(lt_single_judge(&in, &v, &err));
    in.runtime = of(&f.ima_g.layer);
    in.logs.ima.n /= 2; /* a list cut short */
    assert_false(valid(&in));
    forge_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quote),
        cmocka_unit_test(nonces),
        cmocka_unit_test(a_policy),
        cmocka_unit_test(documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
