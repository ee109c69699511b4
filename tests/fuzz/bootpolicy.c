/* Boot policies of both forms: the first byte chooses a log, the rest is the document. What judges something
 * never passes without a log that is there, and a judgement is the same twice. */
#include "appraisal/boot/policy.h"
#include "tests/support/appraisal/boot_forge.h"

#include "tests/fuzz/fuzz.h"

static struct lt_boot_log *logs[2];
static struct lt_pcrs pcrs[2];

static void once(void)
{
    for (int i = 0; i < 2 && !logs[i]; i++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
        boot_forge_server(&b, &(struct boot_plan){.secure_boot = i, .dbx = 2});
        logs[i] = lt_boot_log_new((struct lt_slice){b.p, b.n});
        boot_forge_pcrs(&b, &pcrs[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct lt_boot_policy *policy = NULL;
    struct lt_pcrs none = {.alg = LT_HASH_SHA256};
    struct lt_err e = {0};

    once();
    if (!n)
        return 0;
    int which = p[0] & 1;
    FUZZ_REQUIRE((lt_boot_policy_parse(p + 1, n - 1, &policy, &e) == 0) == (policy != NULL));
    FUZZ_REQUIRE((policy == NULL) == (e.msg[0] != 0));
    if (!policy)
        return 0;
    int rc = lt_boot_policy_judge(policy, logs[which], &pcrs[which], &e);
    FUZZ_REQUIRE(!rc || (e.code == rc && e.msg[0]));
    FUZZ_REQUIRE(lt_boot_policy_judge(policy, logs[which], &pcrs[which], LT_NO_ERR) == rc);
    FUZZ_REQUIRE(!lt_boot_policy_pcrs(policy) || lt_boot_policy_judge(policy, logs[which], &none, LT_NO_ERR));
    lt_boot_policy_free(policy);
    return 0;
}
