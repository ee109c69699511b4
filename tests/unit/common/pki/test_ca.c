/* The authority of guests' certificates: what it issues, what it takes back, and lists whose numbers only
 * rise. */
#include "common/pki/ca.h"

#include "common/file.h"
#include "common/openssl.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tests/support/unit.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUEST "d432fbb3-d2f1-4a97-9ef7-75bd81c00000"
#define URL "http://ca.example:8880/guests.crl"

struct at {
    char top[64], dir[96];
    struct lt_ca *ca;
};

static const char *in(const struct at *a, const char *name)
{
    static _Thread_local char path[4][160];
    static _Thread_local unsigned at;
    char *p = path[at++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", a->dir, name);
    return p;
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");

    snprintf(a->top, sizeof a->top, "%.40s/lt-ca-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->top));
    snprintf(a->dir, sizeof a->dir, "%s/ca", a->top);
    OK(lt_ca_init(a->dir, "Guests of a test", URL, 30, &err));
    OK(lt_ca_open(a->dir, &a->ca, &err));
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;
    char command[128];

    lt_ca_close(a->ca);
    snprintf(command, sizeof command, "rm -r '%s'", a->top);
    assert_int_equal(system(command), 0);
    free(a);
    return 0;
}

static X509 *x509_of(const char *pem)
{
    LT_AUTO(BIO) BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

    assert_non_null(x);
    return x;
}

static X509 *ca_of(const struct at *a)
{
    LT_AUTOFREE uint8_t *pem = NULL;
    size_t n;

    OK(lt_file_read(in(a, "guests-ca.crt"), 1 << 16, &pem, &n, &err));
    return x509_of((char *)pem);
}

static X509_CRL *list_of(const struct at *a)
{
    LT_AUTOFREE uint8_t *der = NULL;
    size_t n;

    OK(lt_ca_list(a->ca, &der, &n, &err));
    const uint8_t *p = der;
    X509_CRL *l = d2i_X509_CRL(NULL, &p, (long)n);
    assert_non_null(l);
    return l;
}

static uint64_t number_of(const struct at *a)
{
    uint64_t pem, der;
    X509_CRL *l = list_of(a);
    ASN1_INTEGER *i = X509_CRL_get_ext_d2i(l, NID_crl_number, NULL, NULL);

    assert_true(i && ASN1_INTEGER_get_uint64(&der, i));
    ASN1_INTEGER_free(i);
    X509_CRL_free(l);
    OK(lt_pki_list_number(in(a, "guests-ca.crl"), &pem, &err));
    assert_int_equal(pem, der);
    return pem;
}

/* As a peer whose clock is behind verifies it, with the list in force: X509_V_OK, X509_V_ERR_CERT_REVOKED. */
static int verify(const struct at *a, const char *pem, int purpose)
{
    X509_STORE *s = X509_STORE_new();
    X509_STORE_CTX *c = X509_STORE_CTX_new();
    LT_AUTO(X509) X509 *ca = ca_of(a);
    LT_AUTO(X509) X509 *x = x509_of(pem);
    X509_CRL *l = list_of(a);

    X509_STORE_add_cert(s, ca);
    X509_STORE_add_crl(s, l);
    X509_STORE_set_flags(s, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_X509_STRICT);
    assert_int_equal(X509_STORE_CTX_init(c, s, x, NULL), 1);
    X509_STORE_CTX_set_purpose(c, purpose);
    X509_STORE_CTX_set_time(c, 0, time(NULL) - 60);
    int rc = X509_verify_cert(c) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(c);
    X509_STORE_CTX_free(c);
    X509_STORE_free(s);
    X509_CRL_free(l);
    return rc;
}

/* The reason on the list, 0 without one; -1: it is not there. */
static long reason_of(const struct at *a, const char *pem)
{
    LT_AUTO(X509) X509 *x = x509_of(pem);
    X509_CRL *l = list_of(a);
    X509_REVOKED *r;
    long why = -1;

    if (X509_CRL_get0_by_cert(l, &r, x) == 1) {
        ASN1_ENUMERATED *e = X509_REVOKED_get_ext_d2i(r, NID_crl_reason, NULL, NULL);
        why = e ? ASN1_ENUMERATED_get(e) : 0;
        ASN1_ENUMERATED_free(e);
    }
    X509_CRL_free(l);
    return why;
}

static void issue(struct at *a, const char *guest, struct lt_pki_made *out)
{
    static const char *const names[] = {"guest.example", "10.0.2.15", NULL};
    const struct lt_ca_request r = {.guest = guest, .names = names, .days = 2};

    OK(lt_ca_issue(a->ca, &r, out, &err));
}

static unsigned tell(struct at *a, const char *guest, enum lt_ca_state s)
{
    unsigned count = 99;

    OK(lt_ca_tell(a->ca, guest, s, &count, &err));
    return count;
}

static void test_issue(void **state)
{
    struct at *a = *state;
    struct lt_pki_made m;

    issue(a, "D432FBB3-d2f1-4a97-9ef7-75bd81c00000", &m);
    LT_AUTO(X509) X509 *x = x509_of(m.cert);
    char cn[80];
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn);
    assert_string_equal(cn, GUEST);
    assert_int_equal(X509_check_host(x, "guest.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(x, "10.0.2.15", 0), 1);
    assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    LT_AUTO(GENERAL_NAMES) GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    assert_string_equal((const char *)ASN1_STRING_get0_data(sk_GENERAL_NAME_value(all, 0)->d.ia5),
                        "urn:uuid:" GUEST);
    CRL_DIST_POINTS *points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);
    assert_int_equal(sk_DIST_POINT_num(points), 1);
    const GENERAL_NAME *where =
        sk_GENERAL_NAME_value(sk_DIST_POINT_value(points, 0)->distpoint->name.fullname, 0);
    assert_string_equal((const char *)ASN1_STRING_get0_data(where->d.ia5), URL);
    CRL_DIST_POINTS_free(points);
    assert_true(m.ends > lt_clock_wall_s() + 86400 && strstr(m.key, "PRIVATE KEY") &&
                strlen(m.key) == m.key_n);
    assert_int_equal(verify(a, m.cert, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    assert_int_equal(verify(a, m.cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    lt_pki_made_free(&m);
    lt_pki_made_free(&m);
    issue(a, "an-id.that_is-no-uuid", &m);
    lt_pki_made_free(&m);
    static const struct lt_ca_request bad[] = {{.guest = "", .days = 1},
                                               {.guest = "../x", .days = 1},
                                               {.guest = GUEST, .days = 0},
                                               {.guest = NULL, .days = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_not_equal(lt_ca_issue(a->ca, &bad[i], &m, &err), 0);
    LT_JSON_AUTO json_t *list = NULL;
    OK(lt_ca_certificates(a->ca, &list, &err));
    assert_int_equal(json_array_size(list), 2);
}

/* Good, held, good again, revoked for ever; by guest, whatever the case of its UUID; all its certificates. */
static void test_states(void **state)
{
    struct at *a = *state;
    struct lt_pki_made one, two, other;

    issue(a, GUEST, &one);
    issue(a, GUEST, &two);
    issue(a, "another", &other);
    uint64_t n = number_of(a);
    assert_int_equal(tell(a, "D432FBB3-D2F1-4A97-9EF7-75BD81C00000", LT_CA_HELD), 2);
    assert_int_equal(reason_of(a, one.cert), LT_PKI_HOLD);
    assert_int_equal(reason_of(a, two.cert), LT_PKI_HOLD);
    assert_int_equal(verify(a, one.cert, X509_PURPOSE_SSL_SERVER), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(a, other.cert, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    assert_int_equal(number_of(a), n + 1);
    tell(a, GUEST, LT_CA_HELD); /* again: nothing new, no new list */
    assert_int_equal(number_of(a), n + 1);
    tell(a, GUEST, LT_CA_GOOD);
    assert_int_equal(reason_of(a, one.cert), -1);
    assert_int_equal(verify(a, one.cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    tell(a, GUEST, LT_CA_REVOKED);
    assert_int_equal(reason_of(a, one.cert), LT_PKI_KEY_COMPROMISE);
    tell(a, GUEST, LT_CA_GOOD);
    tell(a, GUEST, LT_CA_HELD);
    assert_int_equal(reason_of(a, one.cert), LT_PKI_KEY_COMPROMISE);
    /* What is issued after that is good: the guest was cleared, and gets a new one. */
    struct lt_pki_made again;
    issue(a, GUEST, &again);
    assert_int_equal(verify(a, again.cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    assert_int_equal(tell(a, GUEST, LT_CA_GOOD), 3);
    assert_int_equal(reason_of(a, two.cert), LT_PKI_KEY_COMPROMISE);
    assert_int_equal(tell(a, "nobody", LT_CA_REVOKED), 0);
    unsigned count;
    FAILS(LT_E_MALFORMED, lt_ca_tell(a->ca, "a b", LT_CA_REVOKED, &count, &err));
    lt_pki_made_free(&one);
    lt_pki_made_free(&two);
    lt_pki_made_free(&other);
    lt_pki_made_free(&again);
}

static void test_one_certificate(void **state)
{
    struct at *a = *state;
    struct lt_pki_made one, two;

    issue(a, GUEST, &one);
    issue(a, GUEST, &two);
    OK(lt_ca_tell_one(a->ca, one.cert, LT_CA_HELD, &err));
    OK(lt_ca_tell_one(a->ca, one.cert, LT_CA_REVOKED, &err));
    FAILS(LT_E_CONFLICT, lt_ca_tell_one(a->ca, one.cert, LT_CA_GOOD, &err));
    assert_int_equal(reason_of(a, one.cert), LT_PKI_KEY_COMPROMISE);
    assert_int_equal(reason_of(a, two.cert), -1);
    FAILS(LT_E_MALFORMED, lt_ca_tell_one(a->ca, "no PEM", LT_CA_REVOKED, &err));
    /* Another CA's, of the same name. */
    char dir[128];
    struct lt_ca *foreign;
    struct lt_pki_made theirs;
    snprintf(dir, sizeof dir, "%s/other", a->top);
    OK(lt_ca_init(dir, "Guests of a test", URL, 30, &err));
    OK(lt_ca_open(dir, &foreign, &err));
    OK(lt_ca_issue(foreign, &(struct lt_ca_request){.guest = GUEST, .days = 1}, &theirs, &err));
    lt_ca_close(foreign);
    FAILS(LT_E_REFUSED, lt_ca_tell_one(a->ca, theirs.cert, LT_CA_REVOKED, &err));
    lt_pki_made_free(&one);
    lt_pki_made_free(&two);
    lt_pki_made_free(&theirs);
}

static void test_nothing_is_overwritten(void **state)
{
    struct at *a = *state;
    static const char *const secret[] = {"guests-ca.key", "ca.db"};
    struct lt_ca *c;
    struct stat st;
    char dir[128];

    FAILS(LT_E_CONFLICT, lt_ca_init(a->dir, "again", URL, 30, &err));
    snprintf(dir, sizeof dir, "%s/none", a->top);
    FAILS(LT_E_CONFIG, lt_ca_open(dir, &c, &err));
    FAILS(LT_E_USAGE, lt_ca_init(dir, "x", "https://ca.example/l.crl", 30, &err));
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++) {
        assert_int_equal(stat(in(a, secret[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    assert_int_equal(stat(a->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* A record from a backup is behind its list; the number does not fall. */
static void test_the_number_never_falls(void **state)
{
    struct at *a = *state;
    char command[512];

    uint64_t n = number_of(a);
    OK(lt_ca_publish(a->ca, &err));
    assert_int_equal(number_of(a), n + 1);
    lt_ca_close(a->ca);
    snprintf(command, sizeof command, "cp -r '%s' '%s/backup'", a->dir, a->top);
    assert_int_equal(system(command), 0);
    OK(lt_ca_open(a->dir, &a->ca, &err));
    for (int i = 0; i < 5; i++)
        OK(lt_ca_publish(a->ca, &err));
    lt_ca_close(a->ca);
    snprintf(command, sizeof command, "cp '%s'/backup/ca.db* '%s/'", a->top, a->dir);
    assert_int_equal(system(command), 0);
    OK(lt_ca_open(a->dir, &a->ca, &err));
    OK(lt_ca_publish(a->ca, &err));
    assert_int_equal(number_of(a), n + 7);
    /* A list that is none (half a disk) is written anew, by the record's number. */
    assert_int_equal(truncate(in(a, "guests-ca.crl"), 40), 0);
    OK(lt_ca_publish(a->ca, &err));
    assert_int_equal(number_of(a), n + 8);
}

/* A process that died between its record and its list: whoever says it again makes the list. */
static void test_a_word_without_its_list(void **state)
{
    struct at *a = *state;
    struct lt_pki_made m;
    LT_AUTOFREE uint8_t *old = NULL;
    size_t n;

    issue(a, GUEST, &m);
    OK(lt_ca_list(a->ca, &old, &n, &err));
    tell(a, GUEST, LT_CA_REVOKED);
    OK(lt_file_write(in(a, "guests-ca.crl.der"), old, n, 0644, &err));
    lt_ca_close(a->ca);
    OK(lt_ca_open(a->dir, &a->ca, &err));
    assert_int_equal(reason_of(a, m.cert), -1);
    tell(a, GUEST, LT_CA_REVOKED);
    assert_int_equal(reason_of(a, m.cert), LT_PKI_KEY_COMPROMISE);
    lt_pki_made_free(&m);
}

struct teller {
    struct at *a;
    struct lt_ca *ca;
    unsigned from;
};

#define TOLD 8

static void *tell_many(void *arg)
{
    struct teller *t = arg;

    for (unsigned i = 0; i < TOLD; i++) {
        char guest[32];
        unsigned count;
        struct lt_err e = {0};
        snprintf(guest, sizeof guest, "guest-%u", t->from + i);
        if (lt_ca_tell(t->ca, guest, LT_CA_REVOKED, &count, &e) || count != 1)
            fail_msg("%s: %u certificates, %s", guest, count, e.msg);
    }
    return NULL;
}

/* Threads share lists, and another process's handle on the same directory neither loses a word nor a number.
 */
/* Another process has said it, and ended before it made a list: what is answered is on one all the same. */
static void test_a_word_of_another_process(void **state)
{
    struct at *a = *state;
    struct lt_pki_made m;
    struct lt_ca *other;
    unsigned count;

    issue(a, GUEST, &m);
    OK(lt_ca_open(a->dir, &other, &err));
    OK(lt_ca_publish(other, &err));
    OK(lt_ca_publish(a->ca, &err));
    assert_int_equal(rename(in(a, "guests-ca.key"), in(a, "away")), 0);
    assert_int_not_equal(lt_ca_tell(other, GUEST, LT_CA_REVOKED, &count, &err), 0);
    lt_ca_close(other);
    assert_int_equal(rename(in(a, "away"), in(a, "guests-ca.key")), 0);
    assert_int_equal(reason_of(a, m.cert), -1);
    OK(lt_ca_tell(a->ca, GUEST, LT_CA_REVOKED, &count, &err));
    assert_int_equal(count, 1);
    assert_true(reason_of(a, m.cert) >= 0);
    uint64_t number = number_of(a);
    OK(lt_ca_tell(a->ca, GUEST, LT_CA_REVOKED, &count, &err)); /* and once is enough */
    assert_int_equal(number_of(a), number);
    lt_pki_made_free(&m);
}

static void test_many_at_once(void **state)
{
    enum { THREADS = 8 };
    struct at *a = *state;
    struct lt_ca *second;
    struct teller tellers[THREADS];
    pthread_t threads[THREADS];
    struct lt_pki_made made[THREADS * TOLD];
    char guest[32];

    for (unsigned i = 0; i < THREADS * TOLD; i++) {
        snprintf(guest, sizeof guest, "guest-%u", i);
        issue(a, guest, &made[i]);
    }
    uint64_t n = number_of(a);
    OK(lt_ca_open(a->dir, &second, &err));
    for (unsigned i = 0; i < THREADS; i++) {
        tellers[i] = (struct teller){a, i % 4 ? a->ca : second, i * TOLD};
        assert_int_equal(pthread_create(&threads[i], NULL, tell_many, &tellers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    lt_ca_close(second);
    for (unsigned i = 0; i < THREADS * TOLD; i++) {
        assert_int_equal(reason_of(a, made[i].cert), LT_PKI_KEY_COMPROMISE);
        lt_pki_made_free(&made[i]);
    }
    assert_in_range(number_of(a), n + 1, n + THREADS * TOLD);
}

/* Signed again before it runs out, with nobody asking; a list that cannot be written is tried again. */
static void test_kept_fresh(void **state)
{
    struct at *a = *state;
    uint64_t n = number_of(a), is = n, until = lt_clock_ms() + 20000;

    lt_ca_keep_fresh(a->ca, 1);
    while (is < n + 2 && lt_clock_ms() < until) {
        usleep(50000);
        OK(lt_pki_list_number(in(a, "guests-ca.crl"), &is, &err)); /* the other file follows it */
    }
    assert_true(is >= n + 2);
    lt_ca_keep_fresh(a->ca, 0);
}

static void test_names_of_states(void **state)
{
    enum lt_ca_state s;
    (void)state;

    for (unsigned i = LT_CA_GOOD; i <= LT_CA_REVOKED; i++) {
        OK(lt_ca_state_by_name(lt_ca_state_name((enum lt_ca_state)i), &s, &err));
        assert_int_equal(s, i);
    }
    FAILS(LT_E_MALFORMED, lt_ca_state_by_name("GOOD", &s, &err));
    FAILS(LT_E_MALFORMED, lt_ca_state_by_name(NULL, &s, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_states),
        cmocka_unit_test_setup_teardown(test_issue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_number_never_falls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_word_without_its_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_word_of_another_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kept_fresh, setup, teardown),
    };
    if (lt_log_open("test", NULL, LT_LOG_ERROR, &err))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
