/* docs/architecture.md has the provider's table of stages as a picture. */
#include "provider/stages.h"
#include "tests/support/stages.h"

static void the_docs_have_the_picture(void **state)
{
    (void)state;
    stages_docs_have_the_picture(&lt_provider_stages);
}

static void the_table_is_lawful(void **state)
{
    (void)state;
    stages_are_lawful(&lt_provider_stages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_docs_have_the_picture),
        cmocka_unit_test(the_table_is_lawful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
