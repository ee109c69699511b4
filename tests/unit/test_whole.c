/* All rooms in one binary, each library whole (whole.cmake): that it links says that no public name is
 * defined twice. */
#include "tests/support/unit.h"

#include <dlfcn.h>

/* One function of each room, by its name: the program exports what it holds. */
static void every_room_is_here(void **state)
{
    static const char *const names[] = {
        "lt_hash_size",        "lt_merkle_new",        "lt_public_name",    "lt_residency_header_parse",
        "lt_versions_minor",   "lt_verdict_conclude",  "lt_challenges_new", "lt_inventory_start",
        "lt_agent_host_start", "lt_provider_host_new", "lt_rounds_start",   "lt_cli_cmd_verify"};
    (void)state;

    assert_true(LT_LIBRARY_COUNT >= 20);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!dlsym(RTLD_DEFAULT, names[i]))
            fail_msg("%s is not in it", names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_room_is_here)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
