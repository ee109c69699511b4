/* What the vault seals is opened by its key, for its purpose and its guest, and by nothing else. */
#include "verifier/vault.h"

#include "common/file.h"
#include "tests/support/unit.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "limetree-test-vault-XXXXXX";
static const uint8_t guest[LT_UUID] = {1, 2, 3}, other[LT_UUID] = {1, 2, 4};
static const uint8_t secret[32] = "thirty-two bytes of a V, no more";

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    return chdir(tmp ? tmp : P_tmpdir) || !mkdtemp(dir) || chdir(dir);
}

static int teardown(void **state)
{
    (void)state;
    return unlink("key") || chdir("..") || rmdir(dir);
}

static struct lt_vault *vault(void)
{
    struct lt_vault *v;
    OK(lt_vault_open("key", &v, &err));
    return v;
}

static struct lt_slice slice(const struct lt_buf *b)
{
    return (struct lt_slice){b->p, b->n};
}

static void seal(const struct lt_vault *v, struct lt_buf *out)
{
    OK(lt_vault_seal(v, "v", guest, (struct lt_slice){secret, sizeof secret}, out, &err));
}

static void test_the_key_is_made_once_and_ours_alone(void **state)
{
    LT_AUTOBUF struct lt_buf sealed = {0}, plain = {0};
    struct stat st;
    (void)state;
    OK(lt_vault_check("key", &err));
    assert_int_not_equal(access("key", F_OK), 0);
    struct lt_vault *v = vault();
    assert_int_equal(stat("key", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 32);
    seal(v, &sealed);
    lt_vault_free(v);
    v = vault();
    OK(lt_vault_unseal(v, "v", guest, slice(&sealed), &plain, &err));
    assert_int_equal(plain.n, sizeof secret);
    assert_memory_equal(plain.p, secret, sizeof secret);
    lt_vault_free(v);
    lt_vault_free(NULL);
}

static void test_a_key_of_others_is_refused(void **state)
{
    struct lt_vault *v;
    (void)state;
    lt_vault_free(vault());
    assert_int_equal(chmod("key", 0640), 0);
    FAILS(LT_E_CONFIG, lt_vault_open("key", &v, &err));
    assert_null(v);
    FAILS(LT_E_CONFIG, lt_vault_check("key", &err));
    assert_int_equal(chmod("key", 0600), 0);
    for (size_t n = 0; n <= 33; n += n == 0 ? 31 : 2) {
        OK(lt_file_write("short", "0123456789abcdef0123456789abcdef0", n, 0600, &err));
        assert_true(lt_vault_open("short", &v, &err) && lt_vault_check("short", &err));
        assert_null(v);
    }
    assert_int_equal(unlink("short"), 0);
    FAILS(LT_E_IO, lt_vault_open("none/key", &v, &err));
}

static void test_another_key_opens_nothing(void **state)
{
    LT_AUTOBUF struct lt_buf sealed = {0}, plain = {0};
    (void)state;
    struct lt_vault *v = vault();
    seal(v, &sealed);
    lt_vault_free(v);
    assert_int_equal(unlink("key"), 0);
    v = vault();
    FAILS(LT_E_BAD_SIGNATURE, lt_vault_unseal(v, "v", guest, slice(&sealed), &plain, &err));
    lt_vault_free(v);
}

static void test_purpose_and_guest_are_part_of_it(void **state)
{
    LT_AUTOBUF struct lt_buf sealed = {0}, again = {0}, plain = {0};
    (void)state;
    struct lt_vault *v = vault();
    seal(v, &sealed);
    FAILS(LT_E_BAD_SIGNATURE, lt_vault_unseal(v, "v", other, slice(&sealed), &plain, &err));
    FAILS(LT_E_BAD_SIGNATURE, lt_vault_unseal(v, "revocation_key", guest, slice(&sealed), &plain, &err));
    FAILS(LT_E_BAD_SIGNATURE, lt_vault_unseal(v, "", guest, slice(&sealed), &plain, &err));
    assert_null(plain.p);
    /* the same secret never looks the same, and is nowhere in it */
    seal(v, &again);
    assert_int_equal(sealed.n, sizeof secret + LT_VAULT_MORE);
    assert_memory_not_equal(sealed.p, again.p, sealed.n);
    assert_null(memmem(sealed.p, sealed.n, secret, 4));
    lt_vault_free(v);
}

static void test_sizes(void **state)
{
    LT_AUTOBUF struct lt_buf sealed = {0}, plain = {0};
    LT_AUTOFREE uint8_t *large = calloc(1, LT_MAX_SECRET + 1);
    (void)state;
    struct lt_vault *v = vault();
    FAILS(LT_E_MALFORMED, lt_vault_seal(v, "v", guest, (struct lt_slice){large, 0}, &sealed, &err));
    FAILS(LT_E_MALFORMED,
          lt_vault_seal(v, "v", guest, (struct lt_slice){large, LT_MAX_SECRET + 1}, &sealed, &err));
    OK(lt_vault_seal(v, "v", guest, (struct lt_slice){large, LT_MAX_SECRET}, &sealed, &err));
    OK(lt_vault_unseal(v, "v", guest, slice(&sealed), &plain, &err));
    assert_int_equal(plain.n, LT_MAX_SECRET);
    lt_vault_free(v);
}

static int unseal(const uint8_t *p, size_t n, void *v)
{
    LT_AUTOBUF struct lt_buf plain = {0};
    return lt_vault_unseal(v, "v", guest, (struct lt_slice){p, n}, &plain, LT_NO_ERR);
}

static void test_every_prefix_and_every_bit(void **state)
{
    LT_AUTOBUF struct lt_buf sealed = {0};
    (void)state;
    struct lt_vault *v = vault();
    seal(v, &sealed);
    unit_every_prefix(unseal, sealed.p, sealed.n, v);
    unit_every_bit(unseal, sealed.p, sealed.n, v);
    lt_vault_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_key_is_made_once_and_ours_alone),
        cmocka_unit_test(test_a_key_of_others_is_refused),
        cmocka_unit_test(test_another_key_opens_nothing),
        cmocka_unit_test(test_purpose_and_guest_are_part_of_it),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_every_prefix_and_every_bit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
