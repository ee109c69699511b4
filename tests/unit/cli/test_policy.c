/* limetree policy as a user calls it: learn, compile, check, diff, show. */
#include "cli/cli.h"
#include "tests/support/appraisal/forge.h"
#include "tests/support/vectors.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

static char dir[] = P_tmpdir "/lt-policy-XXXXXX";
static char *paths[16];
static unsigned path_count;

static char *at(const char *name)
{
    assert_true(path_count < sizeof paths / sizeof *paths);
    return paths[path_count++] = lt_file_path(dir, name);
}

static char *good, *worse, *behind, *silent, *list, *out, *doc, *other, *table, *boot, *logfile, *spec;

static int run(char **text, const char *const *args)
{
    char *argv[16] = {"policy"};
    int argc = 1, code, keep[2] = {dup(1), dup(2)}, fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t n;

    for (; *args; args++)
        argv[argc++] = (char *)*args;
    assert_true(fd >= 0);
    fflush(NULL);
    dup2(fd, 1);
    dup2(fd, 2);
    optind = 0;
    code = lt_cli_cmd_policy(argc, argv);
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
#define POLICY(want, needle, ...)                                                                            \
    do {                                                                                                     \
        LT_AUTOFREE char *text_ = NULL;                                                                      \
        int code_ = run(&text_, (const char *const[]){__VA_ARGS__, NULL});                                   \
        if (code_ != (want) || !strstr(text_, needle))                                                       \
            fail_msg("exit %d, not %d, or no \"%s\" in: %s", code_, want, needle, text_);                    \
    } while (0)

static void bundle(const char *path, const char *extra, unsigned late)
{
    struct lt_bundle b;
    struct forge f;

    forge_init(&f);
    if (path != silent)
        forge_measure(&f);
    if (extra)
        f.ima_g.paths[3] = extra;
    f.ima_g.behind = late;
    forge_build(&f);
    forge_bundle(&f, &b);
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&b);
    LT_AUTOFREE char *text = lt_json_pretty(j);
    OK(lt_file_write(path, text, strlen(text), 0600, &err));
    if (path == good) {
        OK(lt_file_write(list, b.guest.ima.p, b.guest.ima.n, 0600, &err));
        OK(lt_file_write(logfile, b.guest.boot_log.p, b.guest.boot_log.n, 0600, &err));
    }
    lt_bundle_free(&b);
    forge_free(&f);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    good = at("good");
    worse = at("worse");
    behind = at("behind");
    silent = at("silent");
    list = at("list");
    logfile = at("log");
    out = at("out");
    doc = at("doc.json");
    other = at("other.json");
    table = at("table");
    boot = at("boot.json");
    spec = malloc(strlen(doc) + strlen(other) + 32);
    bundle(good, NULL, 0);
    bundle(worse, "/usr/bin/foo", 0);
    bundle(behind, "/usr/bin/late", 1);
    bundle(silent, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(spec);
    while (path_count--) {
        unlink(paths[path_count]);
        free(paths[path_count]);
    }
    return rmdir(dir);
}

static char *read_text(const char *path)
{
    uint8_t *p;
    size_t n;
    OK(lt_file_read(path, 1 << 20, &p, &n, &err));
    return (char *)p;
}

static void learned(void **state)
{
    (void)state;
    POLICY(0, ": 3 names from 3 file entries, 0 buffers, 0 keys\n", "learn", "--from", good, "-o", doc);
    LT_AUTOFREE char *a = read_text(doc);
    assert_non_null(strstr(a, "\"/usr/bin/web\""));
    assert_null(strstr(a, "boot_aggregate")); /* it follows from the boot PCRs */
    POLICY(0, "no quote stands behind them", "learn", "--ima", list, "-o", other);
    LT_AUTOFREE char *b = read_text(other);
    assert_string_equal(a, b); /* the same evidence, the same document */
    POLICY(0, "\"names\": 3", "learn", "--from", good, "-o", doc, "--json");
    /* beyond the quoted entries nothing is believed, unless asked for */
    POLICY(0, "1 entries beyond the quoted ones left out", "learn", "--from", behind, "-o", other);
    LT_AUTOFREE char *c = read_text(other);
    assert_null(strstr(c, "/usr/bin/late"));
    POLICY(0, "4 names", "learn", "--from", behind, "--all", "-o", other);
    LT_AUTOFREE char *d = read_text(other);
    assert_non_null(strstr(d, "/usr/bin/late"));
    POLICY(0, "5 names", "learn", "--from", good, "--host", "-o", other);
    POLICY(1, "no IMA list in the evidence", "learn", "--from", silent, "-o", other);
    POLICY(0, "names", "learn", "--ima", list, "--boot-log", logfile, "-o", other, "--boot", boot);
    /* A boot log alone gives the same boot policy, by either option. */
    LT_AUTOFREE char *both = read_text(boot);
    POLICY(0, "a boot policy, covers PCR 0-9, 12, 14; no quote stands behind it", "learn", "--boot-log",
           logfile, "--boot", boot);
    POLICY(0, "\"boot\": true", "learn", "--boot-log", logfile, "-o", other, "--json");
    LT_AUTOFREE char *by_boot = read_text(boot), *by_out = read_text(other);
    assert_string_equal(both, by_boot);
    assert_string_equal(both, by_out);
}

/* A list that the quote does not stand for, and evidence that does not hold, teach nothing. */
static void not_learned(void **state)
{
    LT_AUTOFREE char *text = read_text(good), *bad = at("bad");
    struct lt_bundle b;

    (void)state;
    paths[--path_count] = NULL;
    OK(lt_bundle_parse(text, strlen(text), &b, &err));
    uint8_t *slash = memmem(b.guest.ima.p, b.guest.ima.n, "/init", 5);
    assert_non_null(slash);
    slash[1] = 'X';
    LT_JSON_AUTO json_t *j = lt_bundle_to_json(&b);
    LT_AUTOFREE char *changed = lt_json_pretty(j);
    OK(lt_file_write(bad, changed, strlen(changed), 0600, &err));
    unlink(other);
    POLICY(1, "bad: ", "learn", "--from", bad, "-o", other);
    slash[1] = 'i';
    b.guest.signature.p[20] ^= 1;
    LT_JSON_AUTO json_t *k = lt_bundle_to_json(&b);
    LT_AUTOFREE char *forged = lt_json_pretty(k);
    OK(lt_file_write(bad, forged, strlen(forged), 0600, &err));
    POLICY(1, "guest-quote", "learn", "--from", bad, "-o", other);
    assert_int_not_equal(access(other, F_OK), 0);
    lt_bundle_free(&b);
    unlink(bad);
}

static void checked(void **state)
{
    (void)state;
    POLICY(0, "names", "learn", "--from", good, "-o", doc);
    sprintf(spec, "base=%s", doc);
    POLICY(0, "0 of 1 would fail\n", "check", "--layers", spec, good);
    POLICY(1, "1 of 2 would fail\n  /usr/bin/foo sha256:", "check", "--layers", spec, good, worse);
    POLICY(1, "in no layer (1)", "check", "--layers", spec, good, worse);
    POLICY(1, "in layers base@", "check", "--layers", spec, good, worse);
    POLICY(1, "(/usr/bin/foo)", "check", "--layers", spec, worse);
    POLICY(1, "\"failing\": 1", "check", "--json", "--layers", spec, good, worse);
    POLICY(1, "1 of 1 would fail", "check", "--layers", spec,
           silent); /* what is missing fails, never skips */
    /* a second layer that knows it */
    POLICY(0, "names", "learn", "--from", worse, "-o", other);
    sprintf(spec, "base=%s,web=%s", doc, other);
    POLICY(0, "0 of 2 would fail\n", "check", "--layers", spec, good, worse);
    POLICY(0, "names", "learn", "--from", good, "--host", "-o", other);
    sprintf(spec, "host=%s", other);
    POLICY(0, "0 of 1 would fail\n", "check", "--host", "--layers", spec, good);
    POLICY(1, "2 of 2 would fail", "check", "--layers", spec, good, worse);
    /* boot policies beside or instead */
    static const char golden[] =
        "{\"golden\":{\"usual\":{\"4\":\"00000000000000000000000000000000000000000000000000000000000000"
        "00\"}}}";
    OK(lt_file_write(boot, golden, strlen(golden), 0600, &err));
    POLICY(1, "1 of 1 would fail", "check", "--boot", boot, good);
    POLICY(1, "boot policy", "check", "--boot", boot, good);
    POLICY(1, "or golden, of PCR 4", "check", "--host", "--boot", boot, good);
    POLICY(1, "1 of 1 would fail\n/", "check", "--boot", boot, good); /* without layers no file is in none */
}

static void compiled_and_compared(void **state)
{
    (void)state;
    POLICY(0, "names", "learn", "--from", good, "-o", doc);
    POLICY(0, "names", "learn", "--from", worse, "-o", other);
    POLICY(0, ": 3 files, 0 keyrings, 0 buffers; table of ", "compile", doc, "-o", table);
    POLICY(0, "\"files\": 3", "compile", doc, "-o", table, "--json");
    LT_AUTOFREE uint8_t *p = NULL;
    struct lt_ima_table *t;
    size_t n;
    OK(lt_file_read(table, 1 << 20, &p, &n, &err));
    OK(lt_ima_table_open(p, n, &t, &err));
    lt_ima_table_close(t);
    POLICY(0, "digests: 3", "show", doc);
    POLICY(0, "\"/usr/bin/web\": [", "show", doc, "--json");
    POLICY(0, "", "diff", doc, doc);
    POLICY(1, "+ digests /usr/bin/foo ", "diff", doc, other);
    POLICY(1, "- digests /usr/bin/foo ", "diff", other, doc);
    POLICY(1, "\"added\": [", "diff", doc, other, "--json");
    POLICY(1, "good: runtime policy at byte ", "show", good);
    POLICY(1, "good: runtime policy at byte ", "compile", good, "-o", table);
    POLICY(0, "names", "learn", "--ima", list, "--boot-log", logfile, "-o", other, "--boot", boot);
    POLICY(2, "a boot policy or reference state; a runtime policy is wanted", "show", boot);
    POLICY(2, "a boot policy or reference state", "diff", doc, boot);
    POLICY(2, "a boot policy or reference state", "compile", boot, "-o", table);
}

static void usages(void **state)
{
    (void)state;
    POLICY(2, "usage:", NULL);
    POLICY(0, "usage:", "--help");
    POLICY(2, "no command 'x'", "x");
    POLICY(2, "unrecognized", "show", doc, "--force");
    POLICY(2, "learn: either", "learn");
    POLICY(2, "-o OUT", "learn", "--from", good);
    POLICY(2, "-o OUT", "learn", "--boot-log", logfile);
    POLICY(2, "-o OUT", "learn", "--boot-log", logfile, "-o", other, "--boot", boot);
    POLICY(2, "learn: either", "learn", "--from", good, "--boot-log", logfile, "-o", other);
    POLICY(2, "learn: either", "learn", "--from", good, "--ima", list, "-o", other);
    POLICY(2, "learn: either", "learn", "--ima", list, "--host", "-o", other);
    POLICY(2, "--boot OUT", "learn", "--ima", list, "--boot-log", logfile, "-o", other);
    POLICY(2, "this is a boot log", "learn", "--ima", logfile, "-o", other);
    POLICY(2, "this is an IMA list", "learn", "--boot-log", list, "--boot", other);
    POLICY(2, "'-' is no file here", "learn", "--ima", list, "-o", "-");
    POLICY(2, "'-' is no file here", "learn", "--boot-log", logfile, "--boot", "-");
    POLICY(2, "compile: one", "compile", doc);
    POLICY(2, "check: --layers", "check", good);
    POLICY(2, "check: --layers", "check", "--layers", "a=b");
    POLICY(2, "is not NAME=DOC", "check", "--layers", "a", good);
    POLICY(2, "is not NAME=DOC", "check", "--layers", "=a", good);
    POLICY(2, "absent", "check", "--layers", "a=absent", good);
    POLICY(2, "diff: two", "diff", doc);
    POLICY(2, "show: one", "show");
    POLICY(2, "absent", "show", "absent");
    POLICY(2, "absent", "compile", doc, "-k", "absent", "-o", table);
}

static void guests_list(void **state)
{
    LT_AUTOFREE char *guest = lt_vector("guest-logs/ovmf/ima_ascii_runtime_measurements");

    (void)state;
    POLICY(0, ": 56 names from 57 file entries", "learn", "--ima", guest, "-o", other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(learned), cmocka_unit_test(not_learned),
                                       cmocka_unit_test(checked), cmocka_unit_test(compiled_and_compared),
                                       cmocka_unit_test(usages),  cmocka_unit_test(guests_list)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
