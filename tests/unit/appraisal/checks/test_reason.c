#include "appraisal/checks/reason.h"

#include "common/file.h"
#include "tests/support/unit.h"

static void every_reason_says_what_to_do(void **state)
{
    static const char *const wanted[] = {
        "provider-unreachable", "provider-refused", "host-unreachable", "host-tpm",
        "guest-unreachable",    "guest-tpm",        "not-assigned"};
    LT_AUTOFREE uint8_t *doc = NULL;
    size_t n;
    (void)state;

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_non_null(lt_reason(wanted[i]));
    assert_null(lt_reason("unreachable"));
    assert_null(lt_reason(NULL));
    OK(lt_file_read(LT_SOURCE_DIR "/docs/operations.md", 1 << 20, &doc, &n, &err));
    for (const struct lt_reason *r = lt_reasons; r->slug; r++) {
        char row[512];
        assert_true(*r->cause && *r->remedy && !strchr(r->cause, '\n') && !strchr(r->remedy, '\n'));
        assert_ptr_equal(lt_reason(r->slug), r);
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |\n", r->slug, r->cause, r->remedy);
        if (!strstr((const char *)doc, row))
            fail_msg("docs/operations.md lacks the row%s", row);
    }
}

static void faults_say_who(void **state)
{
    static const struct {
        int code, status;
        const char *msg;
        int is;
    } guest[] = {
        {LT_E_TIMEOUT, 0, "timed out", LT_E_GUEST_UNREACHABLE},
        {LT_E_UNAUTHENTICATED, 0, "another certificate", LT_E_GUEST_UNREACHABLE},
        {LT_E_MALFORMED, 200, "TPM quote: no colon", LT_E_GUEST_UNREACHABLE},
        {LT_E_UNREACHABLE, 500, "TPM device:/dev/tpmrm0: absent", LT_E_GUEST_TPM},
        {LT_E_UNREACHABLE, 500, "Internal error: tpm2 lockout", LT_E_GUEST_TPM},
        {LT_E_BUSY, 503, "stopping", LT_E_GUEST_UNREACHABLE},
        {LT_E_BUSY, 0, "others left no room", LT_E_NO_ROOM},
        {LT_E_NO_MEMORY, 0, "no memory", LT_E_NO_MEMORY},
    };
    static const int provider[][2] = {{LT_E_TIMEOUT, LT_E_PROVIDER_UNREACHABLE},
                                      {LT_E_UNAUTHENTICATED, LT_E_PROVIDER_UNREACHABLE},
                                      {LT_E_MALFORMED, LT_E_PROVIDER_UNREACHABLE},
                                      {LT_E_BUSY, LT_E_NO_ROOM}};
    static const int said[][2] = {
        {LT_E_HOST_TPM, LT_E_HOST_TPM},         {LT_E_HOST_UNREACHABLE, LT_E_HOST_UNREACHABLE},
        {LT_E_NOT_ASSIGNED, LT_E_NOT_ASSIGNED}, {LT_E_FORBIDDEN, LT_E_PROVIDER_REFUSED},
        {LT_E_TOO_MANY, LT_E_PROVIDER_REFUSED}, {LT_E_GUEST_TPM, LT_E_PROVIDER_REFUSED}, /* it cannot know */
        {LT_E_INTERNAL, LT_E_PROVIDER_REFUSED}};
    (void)state;

    for (size_t i = 0; i < sizeof guest / sizeof *guest; i++) {
        struct lt_err e = {0};
        (void)lt_fail(&e, guest[i].code, "%s", guest[i].msg);
        assert_int_equal(lt_reason_guest(&e, guest[i].status), guest[i].is);
        assert_string_equal(e.msg, guest[i].msg);
    }
    for (size_t i = 0; i < sizeof provider / sizeof *provider; i++)
        assert_int_equal(lt_reason_provider(&(struct lt_err){.code = provider[i][0]}), provider[i][1]);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        assert_int_equal(lt_reason_said(&(struct lt_err){.code = said[i][0]}), said[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_reason_says_what_to_do),
                                       cmocka_unit_test(faults_say_who)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
