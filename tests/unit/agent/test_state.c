/* What the agent keeps: its locked directory, its certificate, batch_seq. */
#include "agent/sequence.h"
#include "agent/state.h"
#include "tests/support/unit.h"

#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/lt-state-XXXXXX";

static char *under(const char *name)
{
    return lt_file_path(top, name);
}

static void write_text(const char *path, const char *text)
{
    OK(lt_file_write(path, text, strlen(text), 0600, &err));
}

static void one_agent_a_directory(void **state)
{
    (void)state;
    LT_AUTOFREE char *dir = under("a");
    struct lt_state one, two;
    struct stat st;

    OK(lt_state_open(dir, "x", &one, &err));
    assert_true(one.lasting);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    FAILS(LT_E_CONFIG, lt_state_open(dir, "x", &two, &err));
    lt_state_close(&one);
    OK(lt_state_open(dir, "x", &two, &err));
    lt_state_close(&two);
    assert_int_equal(chmod(dir, 0777), 0);
    FAILS(LT_E_CONFIG, lt_state_open(dir, "x", &two, &err));
}

static void one_agent_a_tpm_without_a_disk(void **state)
{
    (void)state;
    struct lt_state one, two, other;

    assert_int_equal(setenv("XDG_RUNTIME_DIR", top, 1), 0);
    OK(lt_state_open("", "device:/dev/tpmrm0", &one, &err));
    assert_false(one.lasting);
    assert_int_equal(strncmp(one.dir, top, strlen(top)), 0);
    FAILS(LT_E_CONFIG, lt_state_open("", "device:/dev/tpmrm0", &two, &err));
    OK(lt_state_open("", "swtpm:path=x", &other, &err));
    lt_state_close(&one);
    lt_state_close(&other);
}

static void get_certificate(const struct lt_state *s, const char *id, char **pem)
{
    LT_AUTOFREE char *cert = NULL;
    LT_AUTOFREE char *key = NULL;
    struct stat st;

    OK(lt_state_certificate(s, id, &cert, &key, pem, &err));
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void certificate_is_kept_while_it_fits(void **state)
{
    (void)state;
    LT_AUTOFREE char *dir = under("c");
    LT_AUTOFREE char *file = under("c/mtls.pem");
    LT_AUTOFREE char *key = under("c/mtls-key.pem");
    char *first, *again, *other, *fresh, *last;
    struct lt_state s;

    OK(lt_state_open(dir, "x", &s, &err));
    get_certificate(&s, "vm-1", &first);
    get_certificate(&s, "vm-1", &again);
    assert_string_equal(first, again);
    get_certificate(&s, "vm-2", &other);
    assert_string_not_equal(first, other);
    write_text(file, "not a certificate\n");
    get_certificate(&s, "vm-2", &fresh);
    assert_string_not_equal(other, fresh);
    /* A key that others could have read is not used again. */
    assert_int_equal(chmod(key, 0644), 0);
    get_certificate(&s, "vm-2", &last);
    assert_string_not_equal(fresh, last);
    lt_state_close(&s);
    free(first);
    free(again);
    free(other);
    free(fresh);
    free(last);
}

static void sequence_rises(void **state)
{
    (void)state;
    LT_AUTOFREE char *file = under("seq");
    struct lt_sequence s, t;

    OK(lt_sequence_open(file, 7, &s, &err));
    assert_int_equal(s.last, 0);
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&s, 0, &err));
    OK(lt_sequence_claim(&s, 1, &err));
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&s, 1, &err));
    OK(lt_sequence_claim(&s, 2, &err));
    OK(lt_sequence_claim(&s, 5000, &err));
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&s, 4999, &err));
    /* Another run in the same boot never goes below. */
    OK(lt_sequence_open(file, 7, &t, &err));
    assert_true(t.last >= 5000);
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&t, 5000, &err));
    OK(lt_sequence_claim(&t, t.last + 1, &err));
    OK(lt_sequence_claim(&t, INT64_MAX, &err));
    FAILS(LT_E_CONFLICT, lt_sequence_claim(&t, INT64_MAX, &err));
    lt_sequence_close(&t);
    OK(lt_sequence_open(file, 7, &t, &err));
    assert_true(t.last == INT64_MAX);
    lt_sequence_close(&t);
    lt_sequence_close(&s);
    /* Another boot begins anew. */
    OK(lt_sequence_open(file, 8, &t, &err));
    assert_int_equal(t.last, 0);
    lt_sequence_close(&t);
}

static void sequence_file_is_not_guessed(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "boot", "boot -", "boot 12 13\n", "boot x\n"};
    LT_AUTOFREE char *file = under("bad");
    LT_AUTOFREE char *nowhere = under("none/seq");
    struct lt_sequence s;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(file, bad[i]);
        FAILS(LT_E_CONFIG, lt_sequence_open(file, 1, &s, &err));
        lt_sequence_close(&s);
    }
    /* What cannot be written down is not claimed. */
    OK(lt_sequence_open(nowhere, 1, &s, &err));
    FAILS(LT_E_IO, lt_sequence_claim(&s, 1, &err));
    assert_int_equal(s.last, 0);
    lt_sequence_close(&s);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", top);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_agent_a_directory),
        cmocka_unit_test(one_agent_a_tpm_without_a_disk),
        cmocka_unit_test(certificate_is_kept_while_it_fits),
        cmocka_unit_test(sequence_rises),
        cmocka_unit_test(sequence_file_is_not_guessed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
