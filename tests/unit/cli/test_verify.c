/* limetree verify as a user calls it: exit codes, options, what is printed. */
#include "cli/cli.h"
#include "common/file.h"
#include "tests/support/appraisal/forge.h"

#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

static char dir[] = P_tmpdir "/lt-verify-XXXXXX";
static char *good, *bad, *malformed, *policy, *missing, *out, *turned, *without;

/* Standard output and error go to a file. *text is owned by the caller. */
static int run(char **text, const char *const *args)
{
    char *argv[12] = {"verify"};
    int argc = 1, code, keep[2] = {dup(1), dup(2)}, fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t n;

    for (; *args; args++)
        argv[argc++] = (char *)*args;
    assert_true(fd >= 0);
    fflush(NULL);
    dup2(fd, 1);
    dup2(fd, 2);
    optind = 0;
    code = lt_cli_cmd_verify(argc, argv);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(keep[i], i + 1);
        close(keep[i]);
    }
    close(fd);
    OK(lt_file_read(out, 1 << 20, (uint8_t **)text, &n, &err));
    return code;
}

/* Expects the code, and that what is printed has needle. */
#define VERIFY(want, needle, ...)                                                                            \
    do {                                                                                                     \
        LT_AUTOFREE char *text_ = NULL;                                                                      \
        int code_ = run(&text_, (const char *const[]){__VA_ARGS__, NULL});                                   \
        if (code_ != (want) || !strstr(text_, needle))                                                       \
            fail_msg("exit %d, not %d, or no \"%s\" in: %s", code_, want, needle, text_);                    \
    } while (0)

static void write_bundle(const char *path, const struct lt_bundle *b)
{
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(b);
    LT_AUTOFREE char *text = lt_json_pretty(j);
    OK(lt_file_write(path, text, strlen(text), 0600, &err));
}

static int setup(void **state)
{
    static const char steering[] = "{\"format\":\"\\u001b[31m\"}";
    struct lt_bundle b;
    struct forge f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    good = lt_file_path(dir, "good.json");
    bad = lt_file_path(dir, "bad.json");
    malformed = lt_file_path(dir, "malformed.json");
    policy = lt_file_path(dir, "policy.json");
    missing = lt_file_path(dir, "missing.json");
    out = lt_file_path(dir, "out");
    turned = lt_file_path(dir, "turned.json");
    without = lt_file_path(dir, "without.json");
    forge_init(&f);
    forge_build(&f);
    forge_bundle(&f, &b);
    write_bundle(good, &b);
    b.host.openers.p[30] ^= 1;
    write_bundle(turned, &b);
    free(b.host.openers.p);
    b.host.openers = (struct lt_bundle_blob){0};
    write_bundle(without, &b);
    b.proof.record[100] ^= 1;
    write_bundle(bad, &b);
    lt_bundle_free(&b);
    OK(lt_file_write(policy, f.policy_g.p, f.policy_g.n, 0600, &err));
    OK(lt_file_write(malformed, steering, sizeof steering - 1, 0600, &err));
    forge_free(&f);
    return 0;
}

static int teardown(void **state)
{
    char *paths[] = {good, bad, malformed, policy, missing, out, turned, without};

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    return rmdir(dir);
}

static void exit_codes(void **state)
{
    (void)state;
    VERIFY(0, ": consistent", good);
    VERIFY(1, ": inconsistent residency", bad);
    VERIFY(1, "malformed.json: ", malformed);
    VERIFY(2, "missing.json", missing);
    VERIFY(2, "usage:", "--json");
    VERIFY(2, "unrecognized", good, "--trust");
    VERIFY(0, "usage:", "--help");
    VERIFY(2, "missing.json", good, "--policy", missing);
    VERIFY(2, "missing.json", good, "--roots", missing);
    VERIFY(2, "no *.pem, *.crt, *.cer or *.der in it", good, "--roots", dir);
    VERIFY(1, ": consistent", bad, good); /* of several the worst */
    VERIFY(2, ": consistent", missing, bad, good);
}

static void lines(void **state)
{
    (void)state;
    VERIFY(0, "passed   residency", good);
    VERIFY(0, "not made host-identity/registry: ", good);
    VERIFY(0, "not made guest-policy", good);
    VERIFY(0, "passed   guest-policy", good, "--policy", policy);
    VERIFY(1, "FAILED   residency: ", bad);
    VERIFY(1, "not made host-clock: rests on residency", bad);
}

static void openers(void **state)
{
    (void)state;
    VERIFY(0, "(link copyable, ", good); /* nobody says which states are accepted */
    VERIFY(0, "not made residency/opener-off-policy: no guest policy", good);
    VERIFY(0, "(link resident, ", good, "--policy", policy);
    VERIFY(0, "  openers  1 at hand, list ", good, "--policy", policy);
    VERIFY(0, "not made residency/opener-hosts: ", good, "--policy", policy);
    VERIFY(1, "the openers are not those of the record", turned);
    VERIFY(1, "FAILED   residency: ", turned, "--policy", policy);
    VERIFY(0, "    the list openers-missing: ", without, "--policy", policy);
    VERIFY(0, "(link copyable, ", without, "--policy", policy);
}

static void hostile_text(void **state)
{
    LT_AUTOFREE char *text = NULL;

    (void)state;
    assert_int_equal(run(&text, (const char *const[]){malformed, NULL}), 1);
    assert_non_null(strstr(text, "?[31m"));
    assert_null(strchr(text, 0x1b));
}

static void as_json(void **state)
{
    LT_AUTOFREE char *text = NULL;

    (void)state;
    assert_int_equal(run(&text, (const char *const[]){"--json", good, bad, NULL}), 1);
    LT_JSON_AUTO json_t *j = lt_json_parse(text, strlen(text), 1 << 20, &err);
    assert_int_equal(json_array_size(j), 2);
    const char *want[] = {"consistent", "inconsistent"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(json_array_get(j, i), "verdict");
        assert_string_equal(json_string_value(json_object_get(v, "result")), want[i]);
        assert_int_equal(json_array_size(json_object_get(v, "passed")), i ? 5 : 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes),   cmocka_unit_test(lines),   cmocka_unit_test(openers),
        cmocka_unit_test(hostile_text), cmocka_unit_test(as_json),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
