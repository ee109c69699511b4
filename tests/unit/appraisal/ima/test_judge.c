/* What entries say, against layers: digests, excludes, windows, signatures, keys and other buffers. */
#include "appraisal/ima/keys.h"
#include "tests/support/appraisal/imalist.h"
#include "tests/support/unit.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static struct lt_ima_result out;
static const struct lt_slice nothing = {NULL, 0};

struct signer {
    EVP_PKEY *key;
    uint8_t *spki;
    size_t n;
    uint32_t id;
    char *keyring; /* a JSON string with the keyring's text */
};

static void signer_make(struct signer *s)
{
    uint8_t *point = NULL, sha1[20];
    unsigned char *spki = NULL;

    s->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    assert_non_null(s->key);
    s->n = (size_t)i2d_PUBKEY(s->key, &spki);
    s->spki = spki;
    int n = i2d_PublicKey(s->key, &point);
    lt_hash(LT_HASH_SHA1, &(struct lt_slice){point, (size_t)n}, 1, sha1);
    OPENSSL_free(point);
    s->id = (uint32_t)sha1[16] << 24 | (uint32_t)sha1[17] << 16 | (uint32_t)sha1[18] << 8 | sha1[19];
    LT_AUTOFREE char *b64 = lt_base64_dup(s->spki, s->n);
    assert_true(asprintf(&s->keyring, "\"{\\\"keyids\\\":[%u],\\\"pubkeys\\\":[\\\"%s\\\"]}\"", s->id, b64) >
                0);
}

static void signer_free(struct signer *s)
{
    EVP_PKEY_free(s->key);
    OPENSSL_free(s->spki);
    free(s->keyring);
}

/* The blob of ima-sig over the SHA-256 of content. */
static struct lt_slice sign(const struct signer *s, const char *content, uint8_t blob[128])
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(s->key, NULL);
    uint8_t digest[LT_SHA256];
    size_t n = 100;

    lt_sha256(content, strlen(content), digest);
    memcpy(blob, "\x03\x02\x04", 3);
    lt_put_u32(blob + 3, s->id);
    assert_true(EVP_PKEY_sign_init(c) == 1 && EVP_PKEY_sign(c, blob + 9, &n, digest, sizeof digest) == 1);
    lt_put_u16(blob + 7, (uint16_t)n);
    EVP_PKEY_CTX_free(c);
    return (struct lt_slice){blob, 9 + n};
}

static char *digest_entry(const char *name, const void *p, size_t n)
{
    uint8_t d[LT_SHA256];
    char hex[2 * LT_SHA256 + 1], *text;

    lt_sha256(p, n, d);
    lt_hex(d, sizeof d, hex);
    assert_true(asprintf(&text, "{\"%s\":[\"%s\"]}", name, hex) > 0);
    return text;
}

static int appraise_at(const struct imalist *l, const struct lt_ima_layers *layers, int64_t now,
                       struct lt_ima_progress *at)
{
    const struct lt_ima_input in = {
        .list = imalist_text(l), .bank = l->bank, .pcr = l->pcr, .layers = layers, .now = now};
    return lt_ima_appraise(&in, at, &out, &err);
}

static int appraise(const struct imalist *l, const struct imapolicy *p)
{
    return appraise_at(l, &p->layers, 0, NULL);
}

static void says(const char *want)
{
    if (!strstr(err.msg, want))
        fail_msg("'%s' is not in '%s'", want, err.msg);
}

/* One entry, one policy. */
static void one(int want, const struct imapolicy *p, const char *tmpl, uint16_t alg, const char *content,
                const char *path, struct lt_slice extra, const char *message)
{
    struct imalist l;

    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_add(&l, tmpl, alg, content, path, extra);
    if (want)
        FAILS(want, appraise(&l, p));
    else
        OK(appraise(&l, p));
    if (want)
        says(message);
    imalist_free(&l);
}

static void digests(void **state)
{
    static const char *const templates[] = {"ima-ng", "ima-sig", "ima-ngv2", "ima-sigv2", "ima-modsig"};
    static const char *const paths[] = {"/bin/a", "/with blank", "boot_aggregate", NULL};
    struct imapolicy p;
    char want[200];

    (void)state;
    imapolicy_of_paths(&p, paths);
    LT_AUTOFREE char *sha1_text = NULL;
    for (size_t t = 0; t < sizeof templates / sizeof *templates; t++) {
        for (int i = 0; paths[i]; i++) {
            one(0, &p, templates[t], LT_HASH_SHA256, paths[i], paths[i], nothing, "");
            one(LT_E_REFUSED, &p, templates[t], LT_HASH_SHA256, "other", paths[i], nothing,
                ", which know it with other digests");
            one(LT_E_REFUSED, &p, templates[t], LT_HASH_SHA512, paths[i], paths[i], nothing,
                "): digest sha512:");
        }
        snprintf(want, sizeof want, "IMA entry 0 (/bin/A): digest sha256:%s not in layers base@",
                 "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa");
        one(LT_E_REFUSED, &p, templates[t], LT_HASH_SHA256, "other", "/bin/A", nothing, want);
        one(LT_E_REFUSED, &p, templates[t], LT_HASH_SHA256, "/bin/a", "/bin/aa", nothing, "(/bin/aa)");
        one(LT_E_REFUSED, &p, templates[t], LT_HASH_SHA256, "/bin/a", "/bin/\x1b", nothing, "(/bin/\\x1b)");
    }
    imapolicy_free(&p);
    /* Template ima has SHA-1 only. */
    uint8_t d[20];
    char hex[41];
    lt_hash(LT_HASH_SHA1, &(struct lt_slice){(const uint8_t *)"x", 1}, 1, d);
    lt_hex(d, sizeof d, hex);
    assert_true(asprintf(&sha1_text, "{\"/x\":[\"%s\"]}", hex) > 0);
    imapolicy_make(&p, &(struct imapolicy_parts){.digests = sha1_text});
    one(0, &p, "ima", LT_HASH_SHA1, "x", "/x", nothing, "");
    one(0, &p, "ima-ng", LT_HASH_SHA1, "x", "/x", nothing, "");
    one(LT_E_REFUSED, &p, "ima", LT_HASH_SHA1, "y", "/x", nothing, "digest sha1:");
    imapolicy_free(&p);
}

static void excludes(void **state)
{
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_make(&p, &(struct imapolicy_parts){.excludes = "[\"/tmp/\",\"/a(b|c)$\"]"});
    one(0, &p, "ima-ng", LT_HASH_SHA256, "x", "/tmp/x", nothing, "");
    one(0, &p, "ima-sig", LT_HASH_SHA256, "x", "/ab", nothing, "");
    one(LT_E_REFUSED, &p, "ima-ng", LT_HASH_SHA256, "x", "/abc", nothing, "(/abc)");
    one(LT_E_REFUSED, &p, "ima-ng", LT_HASH_SHA256, "x", "/x/tmp/", nothing, "(/x/tmp/)");
    imapolicy_free(&p);
    /* A hostile pattern is an error of its own, with the entry, and no verdict. */
    imapolicy_make(&p, &(struct imapolicy_parts){.excludes = "[\"(a+a+)+$\"]"});
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    int rc = appraise(&l, &p);
    assert_true(rc && rc != LT_E_REFUSED && rc != LT_E_MALFORMED);
    says("IMA entry 0 (aaaa");
    imalist_free(&l);
    imapolicy_free(&p);
}

/* The first layer that allows decides; outside its window it is not asked, nor are its keys and keyrings. */
static void layers(void **state)
{
    static const char *const base_paths[] = {"/bin/a", NULL}, *const web_paths[] = {"/bin/b", NULL};
    struct imapolicy base, web;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&base, base_paths);
    imapolicy_of_paths(&web, web_paths);
    struct lt_ima_layers both = {
        .count = 2,
        .layer = {{&(struct lt_policy_layer_rule){.name = "base"}, base.open},
                  {&(struct lt_policy_layer_rule){.name = "web", .not_before = 1000, .not_after = 2000},
                   web.open}},
    };
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "/bin/a");
    imalist_ng(&l, "/bin/b");
    OK(appraise_at(&l, &both, 1000, NULL));
    OK(appraise_at(&l, &both, 2000, NULL));
    FAILS(LT_E_REFUSED, appraise_at(&l, &both, 999, NULL));
    says("IMA entry 1 (/bin/b)");
    says("base@");
    says(", web@");
    FAILS(LT_E_REFUSED, appraise_at(&l, &both, 2001, NULL));
    assert_int_equal(out.faults, 1);
    both.count = 0;
    FAILS(LT_E_REFUSED, appraise_at(&l, &both, 1500, NULL));
    assert_int_equal(out.faults, 2);
    says("not in layers (none)");
    imalist_free(&l);
    imapolicy_free(&base);
    imapolicy_free(&web);
}

static void aggregates(void **state)
{
    static const char *const paths[] = {"/bin/a", "boot_aggregate", NULL};
    uint8_t d[2][LT_SHA256];
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&p, paths);
    lt_sha256("pcrs", 4, d[0]);
    lt_sha256("more", 4, d[1]);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_add(&l, "ima-ng", LT_HASH_SHA256, "more", "boot_aggregate", nothing);
    FAILS(LT_E_REFUSED, appraise(&l, &p)); /* the layer names another */
    struct lt_ima_input in = {.list = imalist_text(&l),
                              .bank = l.bank,
                              .pcr = l.pcr,
                              .layers = &p.layers,
                              .aggregate_count = 2,
                              .aggregate = {{d[0], LT_SHA256}, {d[1], LT_SHA256}}};
    OK(lt_ima_appraise(&in, NULL, &out, &err));
    in.aggregate_count = 1;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, NULL, &out, &err));
    says("IMA entry 0 (boot_aggregate): sha256:");
    says("is not that of the quoted PCRs 0-9 of sha256");
    in.aggregate_count = 2;
    imalist_add(&l, "ima-ng", LT_HASH_SHA256, "more", "/boot_aggregate", nothing); /* a file */
    in.list = imalist_text(&l);
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, NULL, &out, &err));
    says("IMA entry 1 (/boot_aggregate)");
    imalist_free(&l);
    imapolicy_free(&p);
}

static void signatures(void **state)
{
    uint8_t blob[128];
    struct signer s, other;
    struct imapolicy p, none;

    (void)state;
    signer_make(&s);
    signer_make(&other);
    imapolicy_make(
        &p, &(struct imapolicy_parts){
                .digests = "{\"/l\":[\"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"]}",
                .excludes = "[\"/tmp/\"]",
                .keys = s.keyring});
    imapolicy_make(&none, &(struct imapolicy_parts){0});
    struct lt_slice sig = sign(&s, "x", blob);
    one(0, &p, "ima-sig", LT_HASH_SHA256, "x", "/any/where", sig, "");
    one(0, &p, "ima-sigv2", LT_HASH_SHA256, "x", "/any/where", sig, "");
    one(0, &p, "ima-modsig", LT_HASH_SHA256, "x", "/any/where", sig, "");
    /* The digest that is signed is that of the file's bytes. */
    one(LT_E_REFUSED, &p, "ima-sigv2", LT_HASH_SHA256, "verity", "/any", sign(&s, "verity", blob),
        "fs-verity");
    sig = sign(&s, "x", blob);
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA256, "y", "/y", sig, "; the ECDSA signature does not verify");
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA512, "x", "/y", sig, "; IMA signature over hash 4");
    one(LT_E_REFUSED, &none, "ima-sig", LT_HASH_SHA256, "x", "/y", sig, "; no keys for its signature");
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA256, "x", "/y", nothing, "(/y): digest");
    /* Bad ones do not spoil what the table allows. */
    one(0, &p, "ima-sig", LT_HASH_SHA256, "a", "/l", sig, "");
    one(0, &p, "ima-sig", LT_HASH_SHA256, "a", "/tmp/l", sig, "");
    sig = sign(&other, "x", blob);
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA256, "x", "/y", sig, "which is in no keyring");
    blob[0] = 1;
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA256, "x", "/y", sig, "only types 3 and 5");
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA256, "x", "/y", (struct lt_slice){blob, 1},
        "; IMA signature");
    /* Of a layer that is not in force, the keys are not either. */
    p.layers.layer[0].rule = &(struct lt_policy_layer_rule){.name = "base", .not_before = 1, .not_after = 1};
    sig = sign(&s, "x", blob);
    one(LT_E_REFUSED, &p, "ima-sig", LT_HASH_SHA256, "x", "/y", sig, "no keys for its signature");
    imapolicy_free(&p);
    imapolicy_free(&none);
    signer_free(&s);
    signer_free(&other);
}

/* So many bad signatures cost no more than the ceiling. */
static void signature_flood(void **state)
{
    uint8_t blob[128];
    struct signer s;
    struct imapolicy p;
    struct imalist l;

    (void)state;
    signer_make(&s);
    imapolicy_make(&p, &(struct imapolicy_parts){.keys = s.keyring});
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    struct lt_slice sig = sign(&s, "x", blob);
    for (int i = 0; i < 1100; i++)
        imalist_add(&l, "ima-sig", LT_HASH_SHA256, "y", "/y", sig);
    imalist_add(&l, "ima-sig", LT_HASH_SHA256, "x", "/y", sig);
    FAILS(LT_E_REFUSED, appraise(&l, &p));
    assert_int_equal(out.faults, 1101); /* also the good one, which was not looked at */
    imalist_free(&l);
    imapolicy_free(&p);
    signer_free(&s);
}

static void buffers(void **state)
{
    const struct lt_slice quiet = {(const uint8_t *)"quiet", 5}, loud = {(const uint8_t *)"loud", 4};
    LT_AUTOFREE char *bufs = digest_entry("kexec-cmdline", "quiet", 5);
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_make(&p, &(struct imapolicy_parts){.bufs = bufs, .digests = bufs});
    one(0, &p, "ima-buf", LT_HASH_SHA256, "", "kexec-cmdline", quiet, "");
    one(LT_E_REFUSED, &p, "ima-buf", LT_HASH_SHA256, "", "kexec-cmdline", loud,
        "(kexec-cmdline): buffer sha256:");
    one(LT_E_REFUSED, &p, "ima-buf", LT_HASH_SHA256, "", "dm_table_load", quiet,
        "not in ima-buf of layers base@");
    one(LT_E_REFUSED, &p, "ima-buf", LT_HASH_SHA256, "", "kexec-cmdline", nothing, "(kexec-cmdline): buffer");
    imapolicy_free(&p);
    /* A digest that the policy allows over other bytes: forged by extending PCR 10 from user space. */
    LT_AUTOFREE char *forged = digest_entry("kexec-cmdline", "hush!", 5);
    imapolicy_make(&p, &(struct imapolicy_parts){.bufs = forged});
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_add(&l, "ima-buf", LT_HASH_SHA256, "", "kexec-cmdline", quiet);
    FAILS(LT_E_REFUSED, appraise(&l, &p));
    says("buffer sha256:");
    /* The same, with digest and column made to fit. */
    uint8_t d[LT_SHA256], data[128];
    char hex[2 * LT_SHA256 + 1];
    lt_sha256("hush!", 5, d);
    lt_hex(d, sizeof d, hex);
    memcpy(l.text.p + 3 + 40 + 1 + 8 + 7, hex, 64);
    memcpy(data, "\x28\0\0\0sha256:\0", 12);
    memcpy(data + 12, d, 32);
    memcpy(data + 44, "\x0e\0\0\0kexec-cmdline\0\x05\0\0\0quiet", 4 + 14 + 4 + 5);
    const struct lt_slice all = {data, 71};
    lt_hash(LT_HASH_SHA1, &all, 1, d);
    lt_hex(d, 20, hex);
    memcpy(l.text.p + 3, hex, 40);
    memset(l.pcr, 0, sizeof l.pcr);
    lt_sha256(data, 71, d);
    lt_sha256_2(l.pcr, LT_SHA256, d, LT_SHA256, l.pcr);
    FAILS(LT_E_REFUSED, appraise(&l, &p));
    assert_int_equal(out.faults, 1);
    says("its digest is not that of the buffer's 5 bytes");
    imalist_free(&l);
    imapolicy_free(&p);
}

/* A key that the policy allows is learnt from its entry, kept over rounds, and not before. */
static void learning(void **state)
{
    uint8_t blob[128];
    struct signer s;
    struct imapolicy p;
    struct imalist l, rest;
    struct lt_ima_progress at = {0};

    (void)state;
    signer_make(&s);
    LT_AUTOFREE char *rings = digest_entry(".ima", s.spki, s.n);
    imapolicy_make(&p, &(struct imapolicy_parts){.keyrings = rings, .bufs = rings, .digests = rings});
    const struct lt_slice key = {s.spki, s.n}, sig = sign(&s, "x", blob);
    one(0, &p, "ima-buf", LT_HASH_SHA256, "", ".ima", key, "");
    one(LT_E_REFUSED, &p, "ima-buf", LT_HASH_SHA256, "", ".evm", key, "(.evm): key sha256:");
    one(LT_E_REFUSED, &p, "ima-buf", LT_HASH_SHA512, "", ".ima", key, "not in keyrings of layers base@");

    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_add(&l, "ima-buf", LT_HASH_SHA256, "", ".ima", key);
    imalist_add(&l, "ima-sig", LT_HASH_SHA256, "x", "/x", sig);
    FAILS(LT_E_REFUSED, appraise_at(&l, &p.layers, 0, &at)); /* nobody asked to learn */
    says("IMA entry 1 (/x)");
    p.layers.learn_keys = true;
    OK(appraise_at(&l, &p.layers, 0, &at));
    assert_int_equal(at.next, 2);
    assert_int_equal(lt_ima_keys_count(at.learnt), 1);
    /* The next round has only what is new. */
    imalist_start(&rest, LT_HASH_SHA256, LT_HASH_SHA1);
    memcpy(rest.pcr, l.pcr, sizeof rest.pcr);
    imalist_add(&rest, "ima-sig", LT_HASH_SHA256, "x", "/y", sig);
    struct lt_ima_input in = {
        .list = imalist_text(&rest), .first = 2, .bank = l.bank, .pcr = rest.pcr, .layers = &p.layers};
    OK(lt_ima_appraise(&in, &at, &out, &err));
    assert_int_equal(at.next, 3);
    assert_int_equal(lt_ima_keys_count(at.learnt), 1);
    lt_ima_progress_free(&at);
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err)); /* without that progress */
    /* Before its key, a signature is by nobody. */
    imalist_free(&rest);
    imalist_start(&rest, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_add(&rest, "ima-sig", LT_HASH_SHA256, "x", "/x", sig);
    imalist_add(&rest, "ima-buf", LT_HASH_SHA256, "", ".ima", key);
    FAILS(LT_E_REFUSED, appraise_at(&rest, &p.layers, 0, &at));
    says("IMA entry 0 (/x)");
    assert_int_equal(lt_ima_keys_count(at.learnt), 0);
    OK(appraise_at(&l, &p.layers, 0, &at));
    assert_int_equal(lt_ima_keys_count(at.learnt), 1);
    /* A list that fails teaches nothing; a full one starts anew. */
    in = (struct lt_ima_input){
        .list = imalist_text(&l), .first = 2, .bank = l.bank, .pcr = l.pcr, .layers = &p.layers};
    FAILS(LT_E_REFUSED,
          lt_ima_appraise(&in, &at, &out, &err) ? LT_E_REFUSED : lt_fail(&err, LT_E_REFUSED, "good"));
    assert_int_equal(lt_ima_keys_count(at.learnt), 1);
    OK(appraise_at(&l, &p.layers, 0, &at));
    assert_int_equal(lt_ima_keys_count(at.learnt), 1);
    lt_ima_progress_free(&at);
    imapolicy_free(&p);

    /* Ignored keyrings: good, and nothing is learnt. */
    for (int star = 0; star < 2; star++) {
        imapolicy_make(
            &p, &(struct imapolicy_parts){.ignored = star ? "[\"*\"]" : "[\".ima\"]", .keyrings = rings});
        p.layers.learn_keys = true;
        one(0, &p, "ima-buf", LT_HASH_SHA256, "", ".ima", key, "");
        FAILS(LT_E_REFUSED, appraise(&l, &p));
        says("IMA entry 1 (/x)");
        if (star)
            one(0, &p, "ima-buf", LT_HASH_SHA256, "", ".any", key, "");
        else
            one(LT_E_REFUSED, &p, "ima-buf", LT_HASH_SHA256, "", ".any", key, "key sha256:");
        imapolicy_free(&p);
    }
    imalist_free(&rest);
    imalist_free(&l);
    signer_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests),    cmocka_unit_test(excludes),   cmocka_unit_test(layers),
        cmocka_unit_test(aggregates), cmocka_unit_test(signatures), cmocka_unit_test(signature_flood),
        cmocka_unit_test(buffers),    cmocka_unit_test(learning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
