/* The escrow copy: against one computed elsewhere, made and opened, and what is refused. */
#include "tests/support/sealing.h"
#include "vtpm/seal/escrow.h"

#include <openssl/ec.h>
#include <openssl/pem.h>

/* A key pair in PEM; texts are the caller's to free. */
struct pair {
    char *private, *public;
};

static char *pem_of(EVP_PKEY *key, bool private)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p;

    assert_int_equal(private ? PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL)
                             : PEM_write_bio_PUBKEY(b, key),
                     1);
    long n = BIO_get_mem_data(b, &p);
    char *text = strndup(p, (size_t)n);
    BIO_free(b);
    return text;
}

static struct pair pair_of(EVP_PKEY *key)
{
    struct pair p = {pem_of(key, true), pem_of(key, false)};

    EVP_PKEY_free(key);
    return p;
}

static void pair_free(struct pair *p)
{
    free(p->private);
    free(p->public);
}

static struct lt_slice text(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, strlen(s)};
}

/* With a state, and the recovery key on the list if there is one. */
static struct lt_seal_entry entry_for(const char *public)
{
    struct lt_seal_entry x = sealing_entry(5);
    struct lt_openers_one one = sealing_opener(LT_OPENERS_STATE, 3);

    OK(lt_openers_add(&x.openers, &one, &err));
    if (public) {
        OK(lt_seal_escrow_opener(text(public), &one, &err));
        OK(lt_openers_add(&x.openers, &one, &err));
    }
    return x;
}

static bool same_entry(const struct lt_seal_entry *a, const struct lt_seal_entry *b)
{
    LT_AUTOBUF struct lt_buf x = LT_BUF(1 << 20), y = LT_BUF(1 << 20);

    lt_seal_entry_write(a, &x);
    lt_seal_entry_write(b, &y);
    return lt_slice_eq((struct lt_slice){x.p, x.n}, (struct lt_slice){y.p, y.n});
}

/* ---- against Python's ---- */

static void opens_what_was_made_elsewhere(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    const json_t *v = json_object_get(j, "escrow");
    LT_AUTOFREE uint8_t *copy = NULL, *entry = NULL, *digest = NULL;
    struct lt_seal_entry x;
    struct lt_seal_escrow_head head;
    uint8_t is[LT_SHA256];
    size_t n, entry_n, digest_n;

    (void)state;
    copy = sealing_bytes(v, "copy", &n);
    entry = sealing_bytes(v, "entry", &entry_n);
    digest = sealing_bytes(v, "digest", &digest_n);
    OK(lt_seal_escrow_digest(text(json_string_value(json_object_get(v, "public"))), is, &err));
    assert_memory_equal(is, digest, LT_SHA256);
    OK(lt_seal_escrow_head((struct lt_slice){copy, n}, &head, &err));
    assert_memory_equal(head.recovery, digest, LT_SHA256);
    assert_memory_equal(head.uuid, entry, LT_UUID);
    OK(lt_seal_escrow_open((struct lt_slice){copy, n}, text(json_string_value(json_object_get(v, "private"))),
                           &x, &err));
    LT_AUTOBUF struct lt_buf again = LT_BUF(1 << 20);
    lt_seal_entry_write(&x, &again);
    assert_int_equal(again.n, entry_n);
    assert_memory_equal(again.p, entry, entry_n);
    lt_seal_entry_free(&x);
}

/* ---- made here ---- */

static void what_is_made_opens(void **state)
{
    struct pair key = pair_of(EVP_EC_gen("P-256"));
    struct lt_seal_entry x = entry_for(key.public), back;
    LT_AUTOBUF struct lt_buf one = LT_BUF(LT_MAX_ESCROW), two = LT_BUF(LT_MAX_ESCROW);

    (void)state;
    OK(lt_seal_escrow_make(&x, text(key.public), &one, &err));
    OK(lt_seal_escrow_make(&x, text(key.public), &two, &err));
    assert_int_equal(one.n, two.n); /* and nothing but the frame is the same */
    assert_memory_not_equal(one.p + 66, two.p + 66, 65);
    for (size_t i = 131; i + 16 <= one.n; i += 16)
        assert_memory_not_equal(one.p + i, two.p + i, 16);
    OK(lt_seal_escrow_open((struct lt_slice){one.p, one.n}, text(key.private), &back, &err));
    assert_true(same_entry(&x, &back));
    lt_seal_entry_free(&back);
    OK(lt_seal_escrow_open((struct lt_slice){two.p, two.n}, text(key.private), &back, &err));
    lt_seal_entry_free(&back);
    assert_null(memmem(one.p, one.n, x.key, sizeof x.key));
    lt_seal_entry_free(&x);
    pair_free(&key);
}

/* Nobody gets a copy who is not on the list that the tenant judges. */
static void an_unlisted_key_gets_no_copy(void **state)
{
    struct pair key = pair_of(EVP_EC_gen("P-256")), other = pair_of(EVP_EC_gen("P-256"));
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_ESCROW);
    struct lt_seal_entry x = entry_for(NULL);

    (void)state;
    FAILS(LT_E_REFUSED, lt_seal_escrow_make(&x, text(key.public), &b, &err));
    lt_seal_entry_free(&x);
    x = entry_for(other.public);
    FAILS(LT_E_REFUSED, lt_seal_escrow_make(&x, text(key.public), &b, &err));
    x.openers.one[1].closed = true;
    FAILS(LT_E_REFUSED, lt_seal_escrow_make(&x, text(other.public), &b, &err));
    x.openers.one[1].closed = false;
    x.openers.one[1].kind = LT_OPENERS_AUTHORITY; /* the same digest in another sense */
    FAILS(LT_E_REFUSED, lt_seal_escrow_make(&x, text(other.public), &b, &err));
    assert_int_equal(b.n, 0);
    lt_seal_entry_free(&x);
    pair_free(&key);
    pair_free(&other);
}

static void another_key_opens_nothing(void **state)
{
    struct pair key = pair_of(EVP_EC_gen("P-256")), other = pair_of(EVP_EC_gen("P-256"));
    struct lt_seal_entry x = entry_for(key.public), back;
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_ESCROW);
    uint8_t digest[LT_SHA256];

    (void)state;
    OK(lt_seal_escrow_make(&x, text(key.public), &b, &err));
    FAILS(LT_E_REFUSED, lt_seal_escrow_open((struct lt_slice){b.p, b.n}, text(other.private), &back, &err));
    OK(lt_seal_escrow_digest(text(other.public), digest, &err));
    memcpy(b.p + 34, digest, sizeof digest); /* nor if it says it is for that one */
    FAILS(LT_E_REFUSED, lt_seal_escrow_open((struct lt_slice){b.p, b.n}, text(other.private), &back, &err));
    FAILS(LT_E_MALFORMED, lt_seal_escrow_open((struct lt_slice){b.p, b.n}, text(other.public), &back, &err));
    lt_seal_entry_free(&x);
    pair_free(&key);
    pair_free(&other);
}

struct sweep {
    const char *private;
    uint8_t *copy;
    size_t n;
};

static int open_copy(const uint8_t *p, size_t n, void *state)
{
    const struct sweep *s = state;
    struct lt_seal_entry back;
    int rc = lt_seal_escrow_open((struct lt_slice){p, n}, text(s->private), &back, &err);

    if (!rc)
        lt_seal_entry_free(&back);
    return rc;
}

static void any_other_byte_is_noticed(void **state)
{
    struct pair key = pair_of(EVP_EC_gen("P-256"));
    struct lt_seal_entry x = entry_for(key.public);
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_ESCROW);
    struct sweep s = {.private = key.private};

    (void)state;
    OK(lt_seal_escrow_make(&x, text(key.public), &b, &err));
    unit_every_prefix(open_copy, b.p, b.n, &s);
    assert_int_equal(open_copy(b.p, b.n, &s), 0);
    for (size_t i = 0; i < b.n; i++) {
        b.p[i] ^= (uint8_t)(1 << i % 8);
        if (!open_copy(b.p, b.n, &s))
            fail_msg("byte %zu changed, and it opens", i);
        b.p[i] ^= (uint8_t)(1 << i % 8);
    }
    lt_seal_entry_free(&x);
    pair_free(&key);
}

/* ---- keys ---- */

static char *compressed(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");

    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, "point-format", "compressed"), 1);
    char *pem = pem_of(key, false);
    EVP_PKEY_free(key);
    return pem;
}

static void keys_of_other_kinds_are_refused(void **state)
{
    uint8_t digest[LT_SHA256];
    struct pair p384 = pair_of(EVP_EC_gen("P-384")), rsa = pair_of(EVP_RSA_gen(2048)),
                good = pair_of(EVP_EC_gen("P-256"));
    LT_AUTOFREE char *small = compressed(), *both = NULL, *much = calloc(1, LT_SEAL_ESCROW_PEM_MAX + 2);

    (void)state;
    OK(lt_seal_escrow_digest(text(good.public), digest, &err));
    FAILS(LT_E_UNSUPPORTED, lt_seal_escrow_digest(text(p384.public), digest, &err));
    FAILS(LT_E_UNSUPPORTED, lt_seal_escrow_digest(text(rsa.public), digest, &err));
    FAILS(LT_E_MALFORMED, lt_seal_escrow_digest(text(small), digest, &err));
    FAILS(LT_E_MALFORMED, lt_seal_escrow_digest(text(good.private), digest, &err)); /* it stays at home */
    FAILS(LT_E_MALFORMED, lt_seal_escrow_digest(text(""), digest, &err));
    assert_true(asprintf(&both, "%s%s", good.public, p384.public) > 0);
    FAILS(LT_E_MALFORMED, lt_seal_escrow_digest(text(both), digest, &err));
    memset(much, '\n', LT_SEAL_ESCROW_PEM_MAX + 1);
    FAILS(LT_E_TOO_LARGE, lt_seal_escrow_digest(text(much), digest, &err));
    pair_free(&p384);
    pair_free(&rsa);
    pair_free(&good);
}

/* Whoever has K_v can make a copy that opens and is another vTPM's than it says. */
static void the_frame_names_its_entry(void **state)
{
    LT_JSON_AUTO json_t *j = sealing_vectors();
    const json_t *v = json_object_get(j, "escrow");
    LT_AUTOFREE uint8_t *copy = NULL;
    struct lt_seal_entry x;
    size_t n;

    (void)state;
    copy = sealing_bytes(v, "misnamed", &n);
    FAILS(LT_E_MALFORMED,
          lt_seal_escrow_open((struct lt_slice){copy, n},
                              text(json_string_value(json_object_get(v, "private"))), &x, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_was_made_elsewhere), cmocka_unit_test(what_is_made_opens),
        cmocka_unit_test(an_unlisted_key_gets_no_copy),  cmocka_unit_test(another_key_opens_nothing),
        cmocka_unit_test(any_other_byte_is_noticed),     cmocka_unit_test(keys_of_other_kinds_are_refused),
        cmocka_unit_test(the_frame_names_its_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
