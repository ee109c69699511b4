/* The templates of EKs, byte for byte (TCG EK Credential Profile, annex B.3.3 and B.3.4). */
#include "tests/support/unit.h"
#include "tpm/ek_template.h"

#define POLICY_A "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"

static void is(uint16_t alg, const char *head, size_t zeros)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC);
    char hex[2 * LT_MAX_PUBLIC + 1];

    lt_ek_template_put(&b, alg);
    OK(lt_buf_ok(&b, &err));
    lt_hex(b.p, b.n, hex);
    assert_memory_equal(hex, head, strlen(head));
    assert_int_equal(strspn(hex + strlen(head), "0"), 2 * zeros);
    assert_int_equal(b.n, strlen(head) / 2 + zeros);
    assert_int_equal(b.n, 2 + (b.p[0] << 8 | b.p[1])); /* the TPM2B is of one piece */
}

static void rsa(void **state)
{
    (void)state;
    is(LT_TPM_ALG_RSA,
       "013a0001000b000300b20020" POLICY_A "0006008000430010"
       "0800"
       "00000000"
       "0100",
       256);
}

static void ecc(void **state)
{
    char head[400];

    (void)state;
    snprintf(head, sizeof head,
             "007a0023000b000300b20020" POLICY_A "0006008000430010"
             "0003"
             "0010"
             "0020%064d0020",
             0);
    is(LT_TPM_ALG_ECC, head, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rsa), cmocka_unit_test(ecc)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
