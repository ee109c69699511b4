/* A start is refused unless XML and state are those of the vault's entry. */
#include "tests/support/vectors.h"

#include "vtpm/sealed.h"

#include <sys/stat.h>

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
/* The pair of docs/sealing.md section 1. */
#define DOMAIN "11111111-2222-4333-8444-555555555555"
#define SECRET "49ed1932-18dc-5b41-904c-95044560a982"

static char top[] = "/tmp/limetree-sealed-XXXXXX";
static struct lt_statedir dir;
static struct lt_seal_entry entry = {.origin = LT_SEAL_MADE};

static int make(void **state)
{
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("vtpm/sealed.permall", &n);
    (void)state;

    umask(022);
    assert_non_null(mkdtemp(top));
    dir = (struct lt_statedir){.base = top, .uid = geteuid(), .gid = getegid()};
    OK(lt_uuid_parse(DOMAIN, entry.uuid, &err));
    memcpy(entry.key, KEY, LT_SEAL_KEY);
    OK(lt_statedir_install(&dir, entry.uuid, p, n, &err));
    return 0;
}

static int sweep(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static struct lt_domain domain(const char *uuid, const char *tpm)
{
    LT_AUTOFREE char *xml = NULL;
    struct lt_domain d;

    assert_true(asprintf(&xml,
                         "<domain type='qemu'><name>n</name><uuid>%s</uuid><devices>%s</devices></domain>",
                         uuid, tpm) > 0);
    OK(lt_domain_parse(xml, strlen(xml), &d, &err));
    return d;
}

static int check(const char *uuid, const char *tpm)
{
    struct lt_domain d = domain(uuid, tpm);
    int rc = lt_sealed_check(&dir, &d, &entry, &err);
    assert_int_equal(lt_sealed_domain(&d), strstr(tpm, "secret='" SECRET) && !strcmp(uuid, DOMAIN));
    lt_domain_free(&d);
    return rc;
}

#define TPM(secret)                                                                                          \
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='" secret                \
    "'/></backend></tpm>"

static void good(void **state)
{
    (void)state;
    OK(check(DOMAIN, TPM(SECRET)));
}

static void the_xml_says_something_else(void **state)
{
    (void)state;
    FAILS(LT_E_REFUSED, check(DOMAIN, ""));
    FAILS(LT_E_REFUSED, check(DOMAIN, "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"));
    FAILS(LT_E_REFUSED, check(DOMAIN, TPM("49ed1932-18dc-5b41-904c-95044560a983")));
    FAILS(LT_E_REFUSED, check("11111111-2222-4333-8444-555555555556", TPM(SECRET))); /* a clone */
}

static void replace(size_t at, uint8_t value)
{
    LT_AUTOFREE char *path = lt_file_path(top, DOMAIN "/tpm2/tpm2-00.permall");
    size_t n;
    LT_AUTOFREE uint8_t *p = lt_vector_read("vtpm/sealed.permall", &n);

    p[at] = value;
    OK(lt_file_write(path, p, n, 0600, &err));
}

static void the_state_is_another(void **state)
{
    (void)state;
    replace(0, 1);
    FAILS(LT_E_STATE_PLAIN, check(DOMAIN, TPM(SECRET)));
    replace(5, 0);
    FAILS(LT_E_STATE_PLAIN, check(DOMAIN, TPM(SECRET)));
    replace(5, 8);
    FAILS(LT_E_STATE_PLAIN, check(DOMAIN, TPM(SECRET)));
    replace(1000, 0);
    FAILS(LT_E_STATE_FOREIGN_KEY, check(DOMAIN, TPM(SECRET)));
    replace(0, 2);
    OK(check(DOMAIN, TPM(SECRET)));
    entry.key[0] = 'B';
    FAILS(LT_E_STATE_FOREIGN_KEY, check(DOMAIN, TPM(SECRET)));
    entry.key[0] = 'A';
}

static void more_than_the_state(void **state)
{
    LT_AUTOFREE char *path = lt_file_path(top, DOMAIN "/tpm2/tpm2-00.volatilestate");
    (void)state;

    OK(lt_file_write(path, "", 0, 0600, &err));
    FAILS(LT_E_STATE_VOLATILE, check(DOMAIN, TPM(SECRET)));
    assert_int_equal(unlink(path), 0);
    OK(check(DOMAIN, TPM(SECRET)));
}

/* libvirt would have swtpm_setup make one, under the key. */
static void no_state(void **state)
{
    (void)state;
    OK(lt_statedir_remove(&dir, entry.uuid, &err));
    FAILS(LT_E_NOT_FOUND, check(DOMAIN, TPM(SECRET)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(the_xml_says_something_else),
        cmocka_unit_test(the_state_is_another),
        cmocka_unit_test(more_than_the_state),
        cmocka_unit_test(no_state),
    };
    return cmocka_run_group_tests(tests, make, sweep);
}
