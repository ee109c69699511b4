/* limetree log in this process, so that the sanitizers see it: every command over real logs, and show over
 * every prefix and turned bit of them, for what it reads inside events nobody has judged.
 * tests/integration/test_log.py has the right values. */
#include "cli/cli.h"
#include "cli/log.h"
#include "tests/support/vectors.h"

#include <fcntl.h>
#include <getopt.h>

static int keep[2];

static int silence(void **state)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    (void)state;
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        keep[i] = dup(i + 1);
        dup2(null, i + 1);
    }
    return close(null);
}

static int speak(void **state)
{
    (void)state;
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(keep[i], i + 1);
        close(keep[i]);
    }
    return 0;
}

static int command(const char *const *args)
{
    char *argv[12] = {"log"};
    int argc = 1;

    for (; *args; args++)
        argv[argc++] = (char *)*args;
    optind = 0;
    return lt_cli_cmd_log(argc, argv);
}

#define LOG(...) command((const char *const[]){__VA_ARGS__, NULL})

static void commands(void **state)
{
    LT_AUTOFREE char *boot = lt_vector("cases/boot-base.bin"),
                     *state_doc = lt_vector("cases/refstate-base.json"),
                     *list = lt_vector("cases/ima-buffers.txt"),
                     *doc = lt_vector("cases/policy-true-sh.json"),
                     *binary = lt_vector("guest-logs/ovmf/ima_binary_runtime_measurements"),
                     *pcrs = lt_vector("guest-logs/ovmf/pcrs.txt");

    (void)state;
    assert_int_equal(LOG("replay", boot), 0);
    assert_int_equal(LOG("replay", boot, "--json"), 0);
    assert_int_equal(LOG("replay", list), 0);
    assert_int_equal(LOG("replay", binary, "--json"), 0);
    assert_int_equal(LOG("show", boot, "--json"), 0);
    assert_int_equal(LOG("show", binary), 0);
    assert_int_equal(LOG("judge", boot, "--policy", state_doc), 0);
    assert_int_equal(LOG("judge", boot, "--policy", state_doc, "--pcrs", pcrs, "--json"), 1);
    assert_int_equal(LOG("judge", list, "--policy", doc, "--accept", "violations,sha1_padded"), 1);
    assert_int_equal(LOG("judge", list, "--policy", doc, "--accept", "x"), 2);
    assert_int_equal(LOG("judge", list, "--policy", doc, "--pcrs", list), 1);
    assert_int_equal(LOG("judge", boot, "--policy", doc), 2);
    assert_int_equal(LOG("judge", doc, "--policy", doc), 1);
    assert_int_equal(LOG("show", "absent"), 2);
    assert_int_equal(LOG("--help"), 0);
    assert_int_equal(LOG("--nonsense"), 2);
}

/* As log_read does it, from an allocation of its own size. 0: a whole log. */
static int show(const uint8_t *p, size_t n, void *arg)
{
    const struct lt_cli_log_conf c = {.path = "swept", .json = *(bool *)arg};
    LT_AUTOFREE uint8_t *copy = malloc(n ? n : 1);
    struct lt_cli_log_input log = {.bytes = copy, .n = n};

    memcpy(copy, p, n);
    log.kind = lt_log_kind((struct lt_slice){copy, n});
    if (log.kind == LT_LOG_KIND_UNKNOWN || log.kind == LT_LOG_KIND_BOOT_BASE64)
        return LT_E_MALFORMED;
    if (log.kind == LT_LOG_KIND_BOOT)
        log.boot = lt_boot_log_new((struct lt_slice){copy, n});
    int rc = lt_cli_log_show(&c, &log, &err);
    lt_boot_log_free(log.boot);
    return rc;
}

static void sweep(const char *name, bool json)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read(name, &n);

    assert_int_equal(show(p, n, &json), 0);
    for (size_t k = 0; k < n; k += 3)
        (void)!show(p, k, &json);
    for (size_t i = 0; i < n;
         i++) { /* a length, a type, a text: anything may be shown, nothing read beyond */
        uint8_t was = p[i];
        p[i] ^= i % 2 ? 0x80 : 0xff;
        (void)!show(p, n, &json);
        p[i] = was;
    }
}

static void sweeps(void **state)
{
    (void)state;
    sweep("guest-logs/ovmf/tpm0_binary_bios_measurements", false);
    sweep("cases/boot-sdboot-cmdline.bin", false);
    sweep("cases/ima-buffers.txt", false);
    sweep("guest-logs/seabios/tpm0_binary_bios_measurements", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(commands, silence, speak),
                                       cmocka_unit_test_setup_teardown(sweeps, silence, speak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
