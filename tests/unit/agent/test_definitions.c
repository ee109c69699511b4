/* What an agent was told to define, on its disk. */
#include "agent/definitions.h"
#include "common/alloc.h"
#include "tests/support/unit.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static const uint8_t a[LT_UUID] = {0xaa}, b[LT_UUID] = {0xbb};

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof dir, "%.40s/lt-def-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

static void kept_and_given_back(void **state)
{
    struct lt_definitions d;
    LT_AUTOFREE char *xml = NULL, *none = NULL;
    char path[128];
    struct stat st;

    (void)state;
    OK(lt_definitions_open(dir, &d, &err));
    FAILS(LT_E_NOT_FOUND, lt_definitions_get(&d, a, &none, &err));
    OK(lt_definitions_put(&d, a, "<domain/>", false, &err));
    OK(lt_definitions_get(&d, a, &xml, &err));
    assert_string_equal(xml, "<domain/>");
    snprintf(path, sizeof path, "%s/domains/aa000000-0000-0000-0000-000000000000.xml", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* a VNC password may be in it */
    snprintf(path, sizeof path, "%s/domains", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    lt_definitions_close(&d);
}

static void autostart_goes_with_the_last_definition(void **state)
{
    uint8_t list[4][LT_UUID];
    struct lt_definitions d;

    (void)state;
    OK(lt_definitions_open(dir, &d, &err));
    OK(lt_definitions_put(&d, a, "<domain/>", true, &err));
    OK(lt_definitions_put(&d, b, "<domain/>", false, &err));
    assert_true(lt_definitions_autostart(&d, a));
    assert_false(lt_definitions_autostart(&d, b));
    assert_int_equal(lt_definitions_all_autostart(&d, list, 4), 1);
    assert_memory_equal(list[0], a, LT_UUID);
    assert_int_equal(lt_definitions_all_autostart(&d, list, 0), 0);
    OK(lt_definitions_put(&d, a, "<domain/>", false, &err));
    assert_int_equal(lt_definitions_all_autostart(&d, list, 4), 0);
    lt_definitions_close(&d);
}

static void foreign_names_are_passed_over(void **state)
{
    static const char *const names[] = {"x.autostart", "aa000000-0000-0000-0000-00000000000g.autostart",
                                        "aa000000-0000-0000-0000-000000000000.autostart.x", ".autostart"};
    uint8_t list[4][LT_UUID];
    struct lt_definitions d;
    char path[160];

    (void)state;
    OK(lt_definitions_open(dir, &d, &err));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/domains/%s", dir, names[i]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
    }
    assert_int_equal(lt_definitions_all_autostart(&d, list, 4), 0);
    lt_definitions_close(&d);
}

static void making_is_between_begin_and_end(void **state)
{
    struct lt_definitions d;

    (void)state;
    OK(lt_definitions_open(dir, &d, &err));
    assert_false(lt_definitions_making(&d, a));
    OK(lt_definitions_begin_making(&d, a, &err));
    lt_definitions_close(&d);
    OK(lt_definitions_open(dir, &d, &err)); /* an agent that comes after it */
    assert_true(lt_definitions_making(&d, a));
    assert_false(lt_definitions_making(&d, b));
    OK(lt_definitions_end_making(&d, a, &err));
    assert_false(lt_definitions_making(&d, a));
    lt_definitions_close(&d);
}

static void a_directory_of_others_is_refused(void **state)
{
    struct lt_definitions d;
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/domains", dir);
    assert_int_equal(mkdir(path, 0700) | chmod(path, 0777), 0);
    FAILS(LT_E_CONFIG, lt_definitions_open(dir, &d, &err));
    lt_definitions_close(&d);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(kept_and_given_back),
        T(autostart_goes_with_the_last_definition),
        T(foreign_names_are_passed_over),
        T(making_is_between_begin_and_end),
        T(a_directory_of_others_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
