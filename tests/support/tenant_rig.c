#include "tests/support/tenant_rig.h"

#include "keylime/envelope.h"
#include "keylime/quote.h"
#include "residency/error.h"
#include "tests/support/appraisal/ima_lines.h"

#include "common/file.h"
#include "common/ima_list.h"
#include "common/pki/issue.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "tpm/attest.h"
#include "verifier/rounds/schedule.h"

#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS 20000

/* ---- a TPM maker ---- */

#define DAY 86400

static X509 *certificate(EVP_PKEY *key, EVP_PKEY *by, X509 *issuer, bool ca, long seconds)
{
    X509 *x = X509_new();
    X509V3_CTX ctx;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ca ? 1 : 2);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), seconds);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)(ca ? "maker" : "chip"), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    const char *ext[][2] = {
        {"basicConstraints", ca ? "critical,CA:TRUE" : "critical,CA:FALSE"},
        {ca ? "keyUsage" : "extendedKeyUsage", ca ? "critical,keyCertSign" : "2.23.133.8.1"},
        {"subjectAltName", "dirName:tcg"}}; /* the chip's: manufacturer, model, version */
    static const char tcg[] =
        "[tcg]\n0.2.23.133.2.1=id:00001014\n1.2.23.133.2.2=rig\n2.2.23.133.2.3=id:00020170\n";
    BIO *text = BIO_new_mem_buf(tcg, -1);
    CONF *conf = NCONF_new(NULL);
    assert_int_equal(NCONF_load_bio(conf, text, NULL), 1);
    BIO_free(text);
    X509V3_set_nconf(&ctx, conf);
    for (int i = 0; i < (ca ? 2 : 3); i++) {
        X509_EXTENSION *e = X509V3_EXT_nconf(conf, &ctx, ext[i][0], ext[i][1]);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    NCONF_free(conf);
    assert_true(X509_sign(x, by, EVP_sha256()) > 0);
    return x;
}

static char *pem_of(X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p;

    PEM_write_bio_X509(b, x);
    long n = BIO_get_mem_data(b, &p);
    char *s = strndup(p, (size_t)n);
    BIO_free(b);
    return s;
}

static void write_text(const char *path, const char *text)
{
    OK(lt_file_write(path, text, strlen(text), 0600, &err));
}

void rig_registry(struct rig *r, const char *text)
{
    write_text(r->registry, text);
}

void rig_foreign_root(struct rig *r, const char *path)
{
    LT_AUTOFREE uint8_t *ca = NULL;
    size_t n;

    OK(lt_file_read(r->pki.ca, 65536, &ca, &n, &err));
    OK(lt_file_write(path, ca, n, 0600, &err));
}

static void make_maker(struct rig *r)
{
    char path[160], ek[65], rival[65], registry[400];
    EVP_PKEY *ca_key = soft_ecc("P-256");
    EVP_PKEY *other_key = soft_ecc("P-256");
    X509 *ca = certificate(ca_key, ca_key, NULL, true, DAY),
         *chip = certificate(r->host.ek_key, ca_key, ca, false, DAY),
         *other = certificate(other_key, ca_key, ca, false, DAY),
         *broken =
             certificate(r->host.ek_key, other_key, ca, false, DAY); /* signed by who is not its issuer */
    char *root = pem_of(ca);

    r->ek_pem = pem_of(chip);
    r->other_pem = pem_of(other);
    r->broken_pem = pem_of(broken);
    X509 *rivals = certificate(r->other.ek_key, ca_key, ca, false, DAY);
    r->other_ek_pem = pem_of(rivals);
    X509_free(rivals);
    X509_free(other);
    X509_free(broken);
    EVP_PKEY_free(other_key);
    snprintf(path, sizeof path, "%s/maker.pem", r->roots);
    write_text(path, root);
    lt_hex(r->host.ek_digest, 32, ek);
    lt_hex(r->other.ek_digest, 32, rival);
    snprintf(registry, sizeof registry,
             "{\"format\":\"limetree-registry/1\",\"hosts\":[{\"host\":\"%.32s\",\"ek_digest\":\"%s\"},"
             "{\"host\":\"%.32s\",\"ek_digest\":\"%s\"}]}",
             ek, ek, rival, rival);
    write_text(r->registry, registry);
    X509_free(chip);
    r->maker = ca;
    r->maker_key = ca_key;
    free(root);
}

void rig_chip_until(struct rig *r, long seconds)
{
    X509 *chip = certificate(r->host.ek_key, r->maker_key, r->maker, false, seconds);

    free(r->ek_pem);
    r->ek_pem = pem_of(chip);
    X509_free(chip);
}

/* ---- guests ---- */

static const char guest_pubkey[] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

static const char *pubkey_of(const struct rig_guest *g)
{
    return g->pubkey ? g->pubkey : guest_pubkey;
}

char *rig_quote(struct rig_guest *g, const char *nonce)
{
    struct lt_buf attest = LT_BUF(LT_MAX_ATTEST), sig = LT_BUF(LT_MAX_SIGNATURE);
    uint16_t hash = g->ak.scheme_hash; /* the bank's too */
    struct lt_quote q = {.pcrs = {.alg = hash, .mask = 0x1ffff}};
    const uint8_t selection[] = {0, 0, 0, 1, 0, (uint8_t)hash, 3, 0xff, 0xff, 1};
    const struct lt_slice pubkey = {(const uint8_t *)pubkey_of(g), strlen(pubkey_of(g))};
    struct lt_tpm_name name;
    uint8_t digest[LT_MAX_DIGEST];
    char *text;

    memcpy(q.pcrs.value[10], g->pcr10, sizeof g->pcr10);
    lt_hash(hash, &pubkey, 1, digest);
    lt_pcr_extend(hash, q.pcrs.value[16], digest);
    lt_pcrs_digest(&q.pcrs, hash, digest);
    lt_tpm_any_qualified_name(&g->ek, &g->ak, &name);
    lt_buf_u32(&attest, LT_TPM_GENERATED);
    lt_buf_u16(&attest, LT_TPM_ST_ATTEST_QUOTE);
    lt_buf_put16(&attest, name.p, name.n);
    lt_buf_put16(&attest, nonce, strlen(nonce));
    lt_buf_u64(&attest, ++g->clock_ms);
    lt_buf_u32(&attest, g->reset_count);
    lt_buf_u32(&attest, 0);
    lt_buf_u8(&attest, 1);
    lt_buf_u64(&attest, 1);
    lt_buf_put(&attest, selection, sizeof selection);
    lt_buf_put16(&attest, digest, lt_hash_size(hash));
    soft_sign_by(g->ak_key, hash, attest.p, attest.n, &sig);
    if (g->mode == GUEST_FORGES)
        sig.p[sig.n - 1] ^= 1;
    q.attest = attest.p, q.attest_n = attest.n;
    q.signature = sig.p, q.signature_n = sig.n;
    OK(lt_quote_write(&q, &text, &err));
    lt_buf_free(&attest);
    lt_buf_free(&sig);
    return text;
}

static void news(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->news);
    pthread_mutex_unlock(&r->lock);
}

static void add_list(struct rig_guest *g, struct lt_http_req *req, json_t *results)
{
    uint64_t first = strtoull(lt_http_req_query(req, "ima_ml_entry"), NULL, 10);

    g->ima_asked = first;
    if (!g->ima.n)
        return;
    const struct lt_buf *b = g->form == FORM_BINARY ? &g->ima_binary : &g->ima;
    size_t from = lt_ima_list_from((struct lt_slice){b->p, b->n}, &first);
    if (g->form == FORM_TEXT)
        json_object_set_new(results, "ima_measurement_list", json_stringn((char *)b->p + from, b->n - from));
    else
        json_object_set_new(results, "ima_measurement_list_b64",
                            lt_json_new_base64(b->p + from, b->n - from));
    json_object_set_new(results, "ima_measurement_list_entry", json_integer((json_int_t)first));
    assert_string_equal(lt_http_req_query(req, "ima_ml_b64"), "1");
}

static void answer(struct rig_guest *g, struct lt_http_req *req)
{
    pthread_mutex_lock(&g->rig->lock);
    LT_AUTOFREE char *quote = rig_quote(g, lt_http_req_query(req, "nonce"));
    json_t *results = json_pack("{s:s, s:s, s:s, s:s, s:s}", "quote", quote, "hash_alg", "sha256", "enc_alg",
                                "ecc256", "sign_alg", "ecdsa", "pubkey", pubkey_of(g));
    add_list(g, req, results);
    pthread_mutex_unlock(&g->rig->lock);
    assert_string_equal(lt_http_req_query(req, "mask"), "0xffff");
    g->flying--;
    lt_http_reply_json(req, 200, lt_envelope_success(200, results));
}

void rig_measure(struct rig *r, struct rig_guest *g, const char *path)
{
    pthread_mutex_lock(&r->lock);
    if (!g->ima.n) {
        static const struct lt_pcrs zeros;
        uint8_t aggregate[32];
        g->ima = LT_BUF(65536);
        g->ima_binary = LT_BUF(65536);
        ima_aggregate(&g->ima, g->pcr10, &zeros, aggregate);
        ima_frame(&g->ima_binary, aggregate, "boot_aggregate");
    }
    uint8_t digest[32];
    lt_sha256(path, strlen(path), digest);
    ima_line(&g->ima, g->pcr10, digest, path);
    ima_frame(&g->ima_binary, digest, path);
    pthread_mutex_unlock(&r->lock);
}

void rig_reboot(struct rig *r, struct rig_guest *g)
{
    pthread_mutex_lock(&r->lock);
    lt_buf_free(&g->ima);
    lt_buf_free(&g->ima_binary);
    memset(g->pcr10, 0, sizeof g->pcr10);
    g->reset_count++;
    pthread_mutex_unlock(&r->lock);
}

void rig_measure_host(struct rig *r, const char *path)
{
    pthread_mutex_lock(&r->lock);
    if (!r->ima.n) {
        uint8_t aggregate[32];
        r->ima = LT_BUF(65536);
        ima_aggregate(&r->ima, r->host.pcrs.value[10], &r->host.pcrs, aggregate);
    }
    ima_file(&r->ima, r->host.pcrs.value[10], path);
    pthread_mutex_unlock(&r->lock);
}

void rig_host_layer(struct rig *r, const char *const *paths)
{
    char hex[65], layer[65];
    uint8_t digest[32];

    pthread_mutex_lock(&r->lock);
    lt_buf_free(&r->layer);
    r->layer = LT_BUF(65536);
    ima_policy(&r->layer, paths, NULL);
    lt_sha256(r->layer.p, r->layer.n, digest);
    lt_hex(digest, 32, layer);
    size_t at = (size_t)snprintf(r->policy, sizeof r->policy, "{\"pcrs\":{");
    for (unsigned i = 0; i < 15; i++) { /* what `appraised` needs: no PCR open that decides over the code */
        if (!(0x5bffu >> i & 1))
            continue;
        lt_hex(r->host.pcrs.value[i], 32, hex);
        at += (size_t)snprintf(r->policy + at, sizeof r->policy - at, "%s\"%u\":[\"%s\"]", i ? "," : "", i,
                               hex);
    }
    snprintf(r->policy + at, sizeof r->policy - at, "},\"layers\":[{\"name\":\"host\",\"policy\":\"%s\"}]}",
             layer);
    lt_sha256(r->policy, strlen(r->policy), r->policy_digest);
    pthread_mutex_unlock(&r->lock);
}

static void get_quote(struct lt_http_req *req, void *app)
{
    struct rig_guest *g = app;
    struct lt_err e = {LT_E_MALFORMED, "API version not supported"}, broken = {LT_E_TPM, "the TPM is away"};

    if (g->flying++)
        g->overlapped++;
    if (g->mode == GUEST_HOLDS) {
        pthread_mutex_lock(&g->rig->lock);
        lt_http_req_hold(req);
        g->held = req;
        pthread_mutex_unlock(&g->rig->lock);
        g->asked++; /* whoever waits for that finds it held */
        news(g->rig);
        return;
    }
    g->asked++;
    if (g->mode == GUEST_FAILS || (g->mode == GUEST_IS_OLD && strcmp(lt_http_req_arg(req, 0), "v2.3"))) {
        g->flying--;
        lt_http_reply_error(req, g->mode == GUEST_FAILS ? &broken : &e, 0);
    } else if (g->mode == GUEST_BABBLES) {
        g->flying--;
        lt_http_reply_bytes(req, 200, "application/json", strdup("{\"results\":{\"quote\":\"r\"}"), 24);
    } else {
        answer(g, req);
    }
    news(g->rig);
}

static bool opens(struct rig_guest *g, struct lt_http_req *req)
{
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &err);
    LT_AUTOFREE uint8_t *wrapped = NULL;
    struct lt_share v;
    size_t n;

    OK(lt_json_base64(body, "encrypted_key", LT_SHARE_WRAPPED, &wrapped, &n, &err));
    if (!g->transport || lt_share_unwrap(g->transport, (struct lt_slice){wrapped, n}, &v, LT_NO_ERR))
        return false;
    g->v = v;
    g->opened++;
    return true;
}

static void post_vkey(struct lt_http_req *req, void *app)
{
    struct rig_guest *g = app;
    struct lt_err e = {LT_E_MALFORMED, "as the test says"};

    pthread_mutex_lock(&g->rig->lock);
    bool opened = opens(g, req);
    g->vkeys++;
    if (g->vkey_hangs) {
        lt_http_req_hold(req);
        g->held = req;
    }
    bool hangs = g->vkey_hangs;
    int status = g->vkey_status ? g->vkey_status : opened ? 200 : 400; /* before anybody is told */
    pthread_cond_broadcast(&g->rig->news);
    pthread_mutex_unlock(&g->rig->lock);
    if (hangs)
        return;
    if (status == 200)
        lt_http_reply_json(req, 200, lt_envelope_success(200, json_null()));
    else
        lt_http_reply_json(req, status, lt_envelope_error(&e, 0));
}

/* Keylime's revocation messages, as they came. */
static void post_notice(struct lt_http_req *req, void *app)
{
    struct rig_guest *g = app;
    json_t *body = lt_http_req_json(req, LT_NO_ERR);

    pthread_mutex_lock(&g->rig->lock);
    int status = g->notice_status;
    g->notices_asked++;
    if (!status && !g->notices_hang)
        json_array_append(g->notices, body);
    if (g->notices_hang) {
        lt_http_req_hold(req);
        g->held = req;
    }
    bool hangs = g->notices_hang;
    pthread_cond_broadcast(&g->rig->news);
    json_decref(body); /* jansson counts without atomics here: under the lock, as whoever looks at it */
    pthread_mutex_unlock(&g->rig->lock);
    if (!hangs)
        lt_http_reply_json(req, status ? status : 200, lt_envelope_success(200, json_null()));
}

static const struct lt_http_route guest_routes[] = {
    LT_HTTP_ROUTE("POST", "/{}/notifications/revocation", LT_HTTP_MAY_TRUSTED, LT_MAX_BODY_SMALL,
                  post_notice),
    LT_HTTP_ROUTE("GET", "/{}/quotes/integrity", LT_HTTP_MAY_TRUSTED, 0, get_quote),
    LT_HTTP_ROUTE("POST", "/{}/keys/vkey", LT_HTTP_MAY_TRUSTED, LT_MAX_BODY_SMALL, post_vkey),
};

void rig_transport(struct rig *r, struct rig_guest *g)
{
    EVP_PKEY *key = soft_rsa(2048);
    BIO *b = BIO_new(BIO_s_mem());
    char *p;

    assert_int_equal(PEM_write_bio_PUBKEY(b, key), 1);
    long n = BIO_get_mem_data(b, &p);
    pthread_mutex_lock(&r->lock);
    EVP_PKEY_free(g->transport);
    free(g->pubkey);
    g->transport = key;
    g->pubkey = strndup(p, (size_t)n);
    g->v = (struct lt_share){0};
    pthread_mutex_unlock(&r->lock);
    BIO_free(b);
}

static void wait_count(struct rig *r, atomic_uint *count, unsigned times, const char *what)
{
    uint64_t until = lt_clock_ms() + WAIT_MS;

    pthread_mutex_lock(&r->lock);
    while (*count < times)
        if (!lt_cond_until(&r->news, &r->lock, until))
            fail_msg("%s: %u times, not %u", what, *count, times);
    pthread_mutex_unlock(&r->lock);
}

void rig_wait_vkeys(struct rig_guest *g, unsigned times)
{
    wait_count(g->rig, &g->vkeys, times, "V was brought");
}

void rig_release(struct rig_guest *g)
{
    pthread_mutex_lock(&g->rig->lock);
    struct lt_http_req *req = lt_take(&g->held);
    pthread_mutex_unlock(&g->rig->lock);
    g->mode = GUEST_ANSWERS;
    if (req)
        answer(g, req);
}

void rig_wait_asked(struct rig_guest *g, unsigned times)
{
    wait_count(g->rig, &g->asked, times, "guest was asked");
}

static void make_guest(struct rig *r, unsigned i)
{
    struct rig_guest *g = &r->guest[i];
    char name[16];

    g->rig = r;
    g->notices = json_array();
    g->clock_ms = 1000;
    g->reset_count = 1;
    mock_uuid(i + 1, g->uuid);
    lt_uuid_format(g->uuid, g->text);
    g->ek_key = soft_ecc("P-256");
    g->ak_key = soft_ecc("P-256");
    soft_parse(g->ek_key, &soft_ek, &g->ek);
    soft_parse(g->ak_key, &soft_ak_ecc, &g->ak);
    snprintf(name, sizeof name, "guest%u", i);
    const struct lt_pki_subject s = {.common_name = g->text, .server = true, .days = 1};
    OK(lt_pki_issue(NULL, NULL, &s, check_path(&r->pki, name, "crt"), check_path(&r->pki, name, "key"),
                    &err));
    const struct lt_http_server_conf c = {.listen = "127.0.0.1:0",
                                          .cert = check_path(&r->pki, name, "crt"),
                                          .key = check_path(&r->pki, name, "key"),
                                          .client_ca = r->pki.ca,
                                          .error_body = lt_envelope_error,
                                          .routes = guest_routes,
                                          .route_count = sizeof guest_routes / sizeof *guest_routes,
                                          .app = g,
                                          .threads = 1};
    OK(lt_http_server_start(&c, &g->server, &err));
}

void rig_keys_of_sha384(struct rig_guest *g)
{
    EVP_PKEY_free(g->ek_key);
    EVP_PKEY_free(g->ak_key);
    g->ek_key = soft_ecc("P-384");
    g->ak_key = soft_ecc("P-384");
    soft_parse(g->ek_key, &soft_ek_high, &g->ek);
    soft_parse(g->ak_key, &soft_ak_ecc_384, &g->ak);
}

void rig_register(struct rig *r, struct rig_guest *g)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent a = {.ip = strdup("127.0.0.1"), .port = 0};
    char name[16];
    uint8_t *pem;
    size_t n;

    snprintf(name, sizeof name, "guest%u", (unsigned)(g - r->guest));
    OK(lt_file_read(check_path(&r->pki, name, "crt"), 65536, &pem, &n, &err));
    a.mtls_cert = (char *)pem;
    a.port = atoi(strrchr(lt_http_server_address(g->server), ':') + 1);
    strcpy(a.id, g->id ? g->id : g->text);
    a.ekcert = g->ekcert ? strdup(g->ekcert) : NULL;
    memcpy(a.ek, g->ek.raw, a.ek_n = g->ek.raw_n);
    memcpy(a.ak, g->ak.raw, a.ak_n = g->ak.raw_n);
    OK(lt_store_agent_activate(r->tenant->store, &a, NULL, &err));
}

void rig_certify(struct rig *r, struct rig_guest *g, bool known)
{
    EVP_PKEY *other = soft_ecc("P-256");
    X509 *ca = known ? NULL : certificate(other, other, NULL, true, DAY);
    X509 *x = certificate(g->ek_key, known ? r->maker_key : other, known ? r->maker : ca, false, DAY);

    free(g->ekcert);
    g->ekcert = pem_of(x);
    X509_free(x);
    X509_free(ca);
    EVP_PKEY_free(other);
}

/* ---- the provider ---- */

static int by_ek(const void *a, const void *b)
{
    return memcmp(((const struct lt_residency_record *)a)->ek_digest,
                  ((const struct lt_residency_record *)b)->ek_digest, 32);
}

void rig_inventory(struct rig *r, uint32_t flags, uint64_t start_clock_ms)
{
    pthread_mutex_lock(&r->lock);
    mock_host_populate(&r->host, 1, RIG_GUESTS);
    for (unsigned i = 0; i < RIG_GUESTS; i++) {
        struct lt_residency_record *x = &r->host.records[i];
        *x = (struct lt_residency_record){
            .start_reset = r->host.reset_count, .start_clock_ms = start_clock_ms, .flags = flags};
        memcpy(x->guest_uuid, r->guest[i].uuid, 16);
        OK(lt_public_ek_digest(&r->guest[i].ek, x->ek_digest, &err));
        memcpy(x->incarnation, x->ek_digest, sizeof x->incarnation);
        memset(x->firmware_digest, 0xf1, 32);
        memset(x->domain_digest, 0xd0, 32);
    }
    qsort(r->host.records, RIG_GUESTS, sizeof *r->host.records, by_ek);
    lt_merkle_free(r->host.tree);
    OK(lt_residency_inventory_tree(r->host.records, RIG_GUESTS, &r->host.tree, &err));
    pthread_mutex_unlock(&r->lock);
}

static void seal(struct mock_host *h, const uint8_t uuid[16], const uint8_t *digest, uint32_t flags)
{
    for (uint32_t i = 0; i < h->count; i++) {
        struct lt_residency_record *x = &h->records[i];
        if (memcmp(x->guest_uuid, uuid, 16))
            continue;
        x->version = digest ? 2 : 1;
        x->flags = LT_RESIDENCY_RUNNING | flags;
        memset(x->openers_digest, 0, 32);
        if (digest)
            memcpy(x->openers_digest, digest, 32);
    }
    lt_merkle_free(h->tree);
    OK(lt_residency_inventory_tree(h->records, h->count, &h->tree, &err));
}

static void put(struct rig_document *all, unsigned *count, unsigned most, uint8_t *p, size_t n,
                uint8_t digest[32])
{
    struct rig_document *d = &all[(*count)++ % most];

    free(d->p);
    *d = (struct rig_document){.p = p, .n = n};
    lt_sha256(p, n, d->digest);
    memcpy(digest, d->digest, 32);
}

void rig_seal(struct rig *r, struct rig_guest *g, const struct lt_openers *list, uint32_t flags)
{
    struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);
    uint8_t digest[32];

    pthread_mutex_lock(&r->lock);
    if (list) {
        lt_openers_write(list, &b);
        assert_false(b.failed);
        put(r->list, &r->lists, RIG_LISTS, b.p, b.n, digest);
    }
    seal(&r->host, g->uuid, list ? digest : NULL, flags);
    pthread_mutex_unlock(&r->lock);
}

void rig_state(struct lt_openers *list, const struct mock_host *h)
{
    struct lt_openers_one one = {.kind = LT_OPENERS_STATE, .state = h->pcrs};

    memcpy(one.digest, h->ek_digest, 32);
    one.state.mask = LT_OPENERS_STATE_MIN;
    for (int i = 0; i < LT_MAX_PCRS; i++)
        if (!(one.state.mask >> i & 1))
            memset(one.state.value[i], 0, sizeof one.state.value[i]);
    OK(lt_openers_add(list, &one, &err));
}

static json_t *residency(struct rig *r, const struct mock_host *h, const uint8_t uuid[16])
{
    struct lt_merkle_path path;
    uint8_t raw[LT_RESIDENCY_RECORD];

    for (uint32_t j = 0; r->mode != PROVIDER_OMITS && j < h->count; j++)
        if (!memcmp(h->records[j].guest_uuid, uuid, 16)) {
            OK(lt_merkle_path(h->tree, j, &path, &err));
            json_t *o = lt_residency_path_to_json(&path);
            size_t n = lt_residency_record_write(&h->records[j], raw);
            json_object_set_new(o, "record", lt_json_new_base64(raw, n));
            return o;
        }
    return json_null();
}

static json_t *prove(struct rig *r, struct mock_host *h, const json_t *guests)
{
    uint32_t n = (uint32_t)json_array_size(guests);
    uint8_t(*leaves)[LT_MERKLE_NODE] = calloc(n, LT_MERKLE_NODE), c[32], uuid[16];
    struct lt_merkle *tree;
    struct lt_residency_header header;
    struct lt_merkle_path path;
    json_t *proofs = json_array();

    for (uint32_t i = 0; i < n; i++) {
        OK(lt_json_hex(json_array_get(guests, i), "commitment", c, 32, &err));
        lt_merkle_leaf(c, 32, leaves[i]);
    }
    OK(lt_merkle_new((const uint8_t(*)[LT_MERKLE_NODE])leaves, n, &tree, &err));
    LT_JSON_AUTO json_t *ask =
        json_pack("{s:I, s:I, s:o, s:o}", "n", (json_int_t)n, "batch_seq", (json_int_t)++h->last_batch_seq,
                  "batch_root", lt_json_new_hex(lt_merkle_root(tree), 32), "policy_digest",
                  lt_json_new_hex(r->policy_digest, 32));
    mock_host_header(h, ask, &header);
    json_t *quote = mock_host_quote(h, &header);
    json_object_set_new(quote, "host",
                        lt_json_new_hex(r->lie == LIE_LABEL ? h->ek_digest + 1 : h->host_id, 16));
    for (uint32_t i = 0; i < n; i++) {
        OK(lt_json_uuid(json_array_get(guests, i), "uuid", uuid, &err));
        OK(lt_merkle_path(tree, i, &path, &err));
        json_array_append_new(proofs,
                              json_pack("{s:o, s:i, s:o, s:o, s:n}", "uuid", lt_json_new_uuid(uuid), "quote",
                                        h == &r->host ? 0 : 1, "batch", lt_residency_path_to_json(&path),
                                        "residency", residency(r, h, uuid), "error"));
    }
    lt_merkle_free(tree);
    free(leaves);
    json_t *quotes = json_pack("[o]", quote);
    for (int i = 0; r->lie == LIE_MANY && i < 100; i++)
        json_array_append_new(quotes, json_object());
    return json_pack("{s:o, s:o}", "quotes", quotes, "proofs", proofs);
}

/* ---- a rival ---- */

static json_t *silence(void)
{
    return json_pack("{s:n, s:n, s:n, s:{s:i, s:s, s:s, s:i}}", "quote", "batch", "residency", "error",
                     "code", 503, "slug", "host-unreachable", "message", "it is silent", "retry_after", 1);
}

/* An answer among the others: it bears its host's name, and not the guest's. */
static json_t *as_other(json_t *answer, const struct mock_host *h)
{
    json_object_set_new(answer, "host", lt_json_new_hex(h->host_id, 16));
    json_object_del(answer, "uuid");
    return answer;
}

/* Of the first guest's item (taken), and what the rival says instead or beside it. */
static json_t *contest(struct rig *r, json_t *item, json_t *rivals)
{
    LT_JSON_AUTO json_t *uuid = json_incref(json_object_get(item, "uuid"));
    json_t *own = item, *other = json_incref(rivals);

    switch (r->rival) {
    case RIVAL_FIRST:
    case RIVAL_IS_GOOD:
    case RIVAL_AND_SILENCE:
        own = other;
        other = item;
        if (r->rival == RIVAL_AND_SILENCE) {
            json_decref(other);
            other = silence();
        }
        other = as_other(other, &r->host);
        break;
    case RIVAL_OTHER_EK:
        json_decref(own);
        return other;
    case RIVAL_ERRS:
        json_decref(other);
        other = as_other(silence(), &r->other);
        break;
    default:
        other = as_other(other, &r->other);
    }
    json_object_set(own, "uuid", uuid);
    json_object_set_new(own, "others", json_pack("[o]", other));
    return own;
}

static void add_rival(struct rig *r, json_t *reply, const json_t *guests)
{
    LT_JSON_AUTO json_t *theirs = prove(r, &r->other, guests);
    json_t *proofs = json_object_get(reply, "proofs");

    json_array_append(json_object_get(reply, "quotes"), json_array_get(json_object_get(theirs, "quotes"), 0));
    for (size_t i = 0; i < json_array_size(proofs); i++) {
        json_t *item = json_array_get(proofs, i);
        if (strcmp(json_string_value(json_object_get(item, "uuid")), r->guest[0].text))
            continue;
        r->contested++;
        json_array_set_new(
            proofs, i,
            contest(r, json_deep_copy(item), json_array_get(json_object_get(theirs, "proofs"), i)));
    }
}

/* One record: the first guest's. */
void rig_rival(struct rig *r, enum rival how)
{
    struct mock_host *h = &r->other;

    pthread_mutex_lock(&r->lock);
    r->rival = how;
    mock_host_populate(h, 1, 1);
    for (uint32_t i = 0; i < r->host.count; i++)
        if (!memcmp(r->host.records[i].guest_uuid, r->guest[0].uuid, 16))
            h->records[0] = r->host.records[i];
    if (how == RIVAL_OTHER_EK)
        memset(h->records[0].ek_digest, 0x66, 32);
    memcpy(h->pcrs.value, r->host.pcrs.value, LT_RESIDENCY_AK_PCR * sizeof *h->pcrs.value);
    h->pcrs.value[4][0] ^= how != RIVAL_IS_GOOD && how != RIVAL_OTHER_EK;
    lt_merkle_free(h->tree);
    OK(lt_residency_inventory_tree(h->records, h->count, &h->tree, &err));
    struct lt_http_req *held = how == RIVAL_NONE ? lt_take(&r->hanging) : NULL;
    pthread_mutex_unlock(&r->lock);
    if (held)
        lt_http_reply_error(held, &(struct lt_err){LT_E_HOST_UNREACHABLE, "the host does not answer"}, 1);
}

static void count_asked(struct rig *r, const json_t *guests)
{
    char host[33];
    json_t *g;
    size_t i;

    lt_hex(r->host.host_id, 16, host);
    json_array_foreach(guests, i, g)
    {
        const char *named = json_string_value(json_object_get(g, "host"));
        r->named += named && !strcmp(named, host);
        r->pairs += lt_json_has(g, "ek_digest");
    }
}

static void post_proofs(struct lt_http_req *req, void *app)
{
    struct rig *r = app;
    struct lt_err e = {LT_E_BUSY, "too many are waiting"};
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &err);
    const json_t *guests = json_object_get(body, "guests");

    r->posts++;
    if (r->mode == PROVIDER_IS_BUSY) {
        lt_http_reply_error(req, &e, 1);
        news(r);
        return;
    }
    if (r->item) {
        const char *id =
            json_string_value(json_object_get(json_array_get(json_object_get(body, "guests"), 0), "uuid"));
        lt_http_reply_json(req, 200,
                           json_pack("{s:[], s:[{s:s, s:n, s:n, s:n, s:{s:i, s:s, s:s}}]}", "quotes",
                                     "proofs", "uuid", id, "quote", "batch", "residency", "error", "code",
                                     503, "slug", r->item->slug, "message", "as the test says"));
        news(r);
        return;
    }
    pthread_mutex_lock(&r->lock);
    count_asked(r, guests);
    json_t *reply = prove(r, &r->host, guests);
    r->last_n = (unsigned)json_array_size(guests);
    if (r->rival)
        add_rival(r, reply, guests);
    if (r->mode == PROVIDER_REPLAYS && r->replay) {
        json_decref(reply);
        reply = json_deep_copy(r->replay);
    } else {
        json_decref(r->replay);
        r->replay = json_deep_copy(reply);
    }
    pthread_cond_broadcast(&r->news);
    pthread_mutex_unlock(&r->lock);
    lt_http_reply_json(req, 200, reply);
}

static bool is_other(const struct rig *r, struct lt_http_req *req)
{
    char id[33];

    lt_hex(r->other.host_id, 16, id);
    return !strcmp(lt_http_req_arg(req, 0), id);
}

static json_t *certificates(const struct rig *r)
{
    switch (r->lie) {
    case LIE_NO_CERTIFICATE:
        return json_array();
    case LIE_OTHER_CERTIFICATE:
        return json_pack("[s]", r->other_pem);
    case LIE_CERTIFICATE_BIT:
        return json_pack("[s]", r->broken_pem);
    case LIE_NO_PEM:
        return json_pack("[s]", "-----BEGIN CERTIFICATE-----");
    case LIE_JUNK_BEHIND:
        return json_pack("[s, s]", r->ek_pem, "x");
    default:
        return json_pack("[s]", r->ek_pem);
    }
}

static void get_host(struct lt_http_req *req, void *app)
{
    struct rig *r = app;
    bool other = is_other(r, req);
    const struct mock_host *h = other ? &r->other : &r->host;
    r->others_asked += other;
    const struct lt_public *ak = r->lie == LIE_AK ? &r->guest[0].ak : &h->ak,
                           *ek = r->lie == LIE_EK ? &r->guest[0].ek : &h->ek;

    lt_http_reply_json(req, 200,
                       json_pack("{s:s, s:o, s:o, s:o, s:o}", "host", lt_http_req_arg(req, 0), "ak",
                                 lt_json_new_base64(ak->raw, ak->raw_n), "ek",
                                 lt_json_new_base64(ek->raw, ek->raw_n), "ek_certificates",
                                 other ? json_pack("[s]", r->other_ek_pem) : certificates(r), "policy",
                                 lt_json_new_hex(r->policy_digest, 32)));
}

static void post_activation(struct lt_http_req *req, void *app)
{
    struct rig *r = app;
    LT_JSON_AUTO json_t *body = lt_http_req_json(req, &err);
    LT_AUTOFREE uint8_t *p = NULL;
    uint8_t challenge[32], proof[32];
    size_t n;

    r->activations++;
    OK(lt_json_base64(body, "credential", LT_MAX_CREDENTIAL, &p, &n, &err));
    OK(lt_json_hex(body, "challenge", challenge, 32, &err));
    if (is_other(r, req) && r->rival == RIVAL_HANGS) {
        pthread_mutex_lock(&r->lock);
        lt_http_req_hold(req);
        r->hanging = req;
        pthread_cond_broadcast(&r->news);
        pthread_mutex_unlock(&r->lock);
        return;
    }
    bool opened = mock_host_activate(is_other(r, req) ? &r->other : &r->host, (struct lt_slice){p, n},
                                     challenge, proof);
    assert_true(opened || r->lie == LIE_AK);
    if (r->activation == 2 || !opened) {
        struct lt_err e = {LT_E_HOST_UNREACHABLE, "the host does not answer"};
        lt_http_reply_error(req, &e, 1);
        return;
    }
    proof[31] ^= (uint8_t)r->activation;
    lt_http_reply_json(req, 200, json_pack("{s:o}", "proof", lt_json_new_hex(proof, 32)));
}

/* A copy of what has that digest, the caller's; NULL: nothing has. */
static uint8_t *look_up(struct rig *r, const struct rig_document *all, unsigned most, const char *hex,
                        size_t *n)
{
    uint8_t digest[32], *copy = NULL;

    OK(lt_unhex(hex, digest, 32, &err));
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < most && !copy; i++)
        if (all[i].p && !memcmp(all[i].digest, digest, 32)) {
            copy = malloc(all[i].n + 1);
            assert_non_null(copy);
            memcpy(copy, all[i].p, *n = all[i].n);
        }
    pthread_mutex_unlock(&r->lock);
    return copy;
}

static void get_openers(struct lt_http_req *req, void *app)
{
    struct lt_err none = {LT_E_NOT_FOUND, "no such openers"};
    struct rig *r = app;
    size_t n = 0;
    uint8_t *p = look_up(r, r->list, RIG_LISTS, lt_http_req_arg(req, 0), &n);

    r->openers_asked++;
    if (!p || r->openers == OPENERS_WITHHELD) {
        free(p);
        lt_http_reply_error(req, &none, 0);
        return;
    }
    if (r->openers == OPENERS_GARBLED)
        p[n - 1] ^= 1;
    else if (r->openers == OPENERS_CUT)
        n--;
    else if (r->openers == OPENERS_OTHER)
        p[0] ^= 1;
    lt_http_reply_bytes(req, 200, "application/octet-stream", p, n);
}

static void get_escrow(struct lt_http_req *req, void *app)
{
    struct lt_err none = {LT_E_NOT_FOUND, "no escrow copy"};
    const struct rig *r = app;

    if (strcmp(lt_http_req_arg(req, 0), r->guest[0].text))
        lt_http_reply_error(req, &none, 0);
    else
        lt_http_reply_bytes(req, 200, "application/octet-stream", strdup("an escrow copy"), 14);
}

static void get_policy(struct lt_http_req *req, void *app)
{
    struct rig *r = app;
    char hex[65];
    size_t more = 0;
    uint8_t *document = look_up(r, r->document, RIG_DOCUMENTS, lt_http_req_arg(req, 0), &more);

    r->policies++;
    if (document) {
        lt_http_reply_bytes(req, 200, "application/json", document, more);
        return;
    }
    pthread_mutex_lock(&r->lock);
    lt_hex(r->policy_digest, 32, hex);
    bool layer = r->layer.n && strcmp(lt_http_req_arg(req, 0), hex);
    size_t n = layer ? r->layer.n : strlen(r->policy);
    char *copy = strndup(layer ? (const char *)r->layer.p : r->policy, n);
    pthread_mutex_unlock(&r->lock);
    lt_http_reply_bytes(req, 200, "application/json", copy, n);
}

static void get_ima(struct lt_http_req *req, void *app)
{
    struct rig *r = app;
    uint64_t first = strtoull(lt_http_req_query(req, "first"), NULL, 10);
    struct lt_err none = {LT_E_NOT_FOUND, "no such log"};
    char header[24];

    pthread_mutex_lock(&r->lock);
    r->ima_posts++;
    r->ima_first = first;
    size_t from = lt_ima_list_from((struct lt_slice){r->ima.p, r->ima.n}, &first), n = r->ima.n - from;
    char *copy = r->ima.n && r->lie != LIE_NO_IMA ? strndup((const char *)r->ima.p + from, n) : NULL;
    pthread_mutex_unlock(&r->lock);
    if (copy && r->lie == LIE_IMA_DIGIT && n > 60) /* of a template hash or a file's digest */
        copy[60] = copy[60] == '0' ? '1' : '0';
    else if (copy && r->lie == LIE_IMA_SHORT)
        copy[n = (size_t)(strchr(copy, '\n') + 1 - copy)] = 0;
    snprintf(header, sizeof header, "%llu", (unsigned long long)first);
    lt_http_req_add_header(req, "X-Ima-First", header);
    if (copy)
        lt_http_reply_bytes(req, 200, "application/octet-stream", copy, n);
    else
        lt_http_reply_error(req, &none, 0);
}

static void get_log(struct lt_http_req *req, void *app)
{
    static const uint8_t spec_id[65] = "\0\0\0\0\3\0\0\0"
                                       "\0\0\0\0\0\0\0\0\0\0"
                                       "\0\0\0\0\0\0\0\0\0\0"
                                       "\x21\0\0\0"
                                       "Spec ID Event03\0"
                                       "\0\0\0\0\0\2\0\2"
                                       "\1\0\0\0\x0b\0\x20\0",        /* and no vendor's bytes */
        event[50] = {5, 0, 0, 0, 1, 0, 0, 0x80, 1, 0, 0, 0, 0x0b, 0}; /* digest of zeros, no data */
    struct rig *r = app;
    struct lt_err e = {LT_E_NOT_FOUND, "no boot log"};
    uint8_t *log = malloc(sizeof spec_id + sizeof event);

    r->logs++;
    memcpy(log, r->log == 1 ? event : spec_id, r->log == 1 ? sizeof event : sizeof spec_id);
    memcpy(log + sizeof spec_id, event, sizeof event);
    if (r->log) {
        lt_http_reply_bytes(req, 200, "application/octet-stream", log,
                            sizeof spec_id + (r->log == 3 ? sizeof event : 0));
        return;
    }
    free(log);
    lt_http_reply_error(req, &e, 0);
}

static const struct lt_http_route provider_routes[] = {
    LT_HTTP_ROUTE("POST", "/federation/v1/proofs", LT_PEER_ROLE_TENANT, LT_MAX_BODY_PROOFS, post_proofs),
    LT_HTTP_ROUTE("GET", "/federation/v1/hosts/{}", LT_PEER_ROLE_TENANT, 0, get_host),
    LT_HTTP_ROUTE("POST", "/federation/v1/hosts/{}/activations", LT_PEER_ROLE_TENANT, LT_MAX_BODY_SMALL,
                  post_activation),
    LT_HTTP_ROUTE("GET", "/federation/v1/policies/{}", LT_PEER_ROLE_TENANT, 0, get_policy),
    LT_HTTP_ROUTE("GET", "/federation/v1/openers/{}", LT_PEER_ROLE_TENANT, 0, get_openers),
    LT_HTTP_ROUTE("GET", "/federation/v1/guests/{}/escrow", LT_PEER_ROLE_TENANT, 0, get_escrow),
    LT_HTTP_ROUTE("GET", "/federation/v1/hosts/{}/boot-log", LT_PEER_ROLE_TENANT, 0, get_log),
    LT_HTTP_ROUTE("GET", "/federation/v1/hosts/{}/ima", LT_PEER_ROLE_TENANT, 0, get_ima),
};

void rig_policy(struct rig *r)
{
    char hex[65];

    lt_hex(r->host.pcrs.value[4], 32, hex);
    snprintf(r->policy, sizeof r->policy, "{\"pcrs\":{\"4\":[\"%s\"]}}", hex);
    lt_sha256(r->policy, strlen(r->policy), r->policy_digest);
}

static json_t *whole(const struct lt_pcrs *pcrs)
{
    json_t *o = json_object();
    char n[4];

    for (int i = 0; i < LT_MAX_PCRS; i++)
        if (LT_OPENERS_STATE_MIN >> i & 1) {
            snprintf(n, sizeof n, "%d", i);
            json_object_set_new(o, n, json_pack("[o]", lt_json_new_hex(pcrs->value[i], 32)));
        }
    return json_pack("{s:o}", "pcrs", o);
}

void rig_policy_whole(struct rig *r)
{
    LT_JSON_AUTO json_t *j = whole(&r->host.pcrs);
    LT_AUTOFREE char *text = json_dumps(j, JSON_COMPACT);

    pthread_mutex_lock(&r->lock);
    snprintf(r->policy, sizeof r->policy, "%s", text);
    lt_sha256(r->policy, strlen(r->policy), r->policy_digest);
    pthread_mutex_unlock(&r->lock);
}

void rig_policy_more(struct rig *r, const struct lt_pcrs *pcrs, uint8_t out[32])
{
    LT_JSON_AUTO json_t *j = whole(pcrs);
    char *text = json_dumps(j, JSON_COMPACT);

    pthread_mutex_lock(&r->lock);
    put(r->document, &r->documents, RIG_DOCUMENTS, (uint8_t *)text, strlen(text), out);
    pthread_mutex_unlock(&r->lock);
}

static void make_provider(struct rig *r)
{
    const struct lt_http_server_conf c = {.listen = "127.0.0.1:0",
                                          .cert = check_path(&r->pki, "server", "crt"),
                                          .key = check_path(&r->pki, "server", "key"),
                                          .client_ca = r->pki.ca,
                                          .error_body = lt_residency_error,
                                          .routes = provider_routes,
                                          .route_count = sizeof provider_routes / sizeof *provider_routes,
                                          .app = r,
                                          .threads = 2};
    mock_host_init(&r->host);
    mock_host_init(&r->other);
    rig_policy(r);
    OK(lt_http_server_start(&c, &r->provider, &err));
    snprintf(r->provider_url, sizeof r->provider_url, "https://%s", lt_http_server_address(r->provider));
}

/* ---- all of it ---- */

void rig_make(struct rig *r)
{
    static const char *const overrides[] = {"cert=x",
                                            "key=x",
                                            "ca=x",
                                            "agent_cert=x",
                                            "agent_key=x",
                                            "provider=x",
                                            "federation_cert=x",
                                            "federation_key=x",
                                            "federation_ca=x",
                                            "tenant_id=x",
                                            NULL};
    const char *tmp = getenv("TMPDIR");

    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    lt_cond_init(&r->news);
    check_pki_make(&r->pki);
    snprintf(r->dir, sizeof r->dir, "%.30s/lt-tenant-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->roots, sizeof r->roots, "%s/roots", r->dir);
    snprintf(r->registry, sizeof r->registry, "%s/registry.json", r->dir);
    snprintf(r->state, sizeof r->state, "%s/state", r->dir);
    assert_int_equal(mkdir(r->roots, 0700), 0);
    make_provider(r);
    make_maker(r);
    for (unsigned i = 0; i < RIG_GUESTS; i++)
        make_guest(r, i);
    rig_inventory(r, LT_RESIDENCY_RUNNING, 0);
    lt_uuid_format(r->pki.tenant_id, r->tenant_id);
    OK(lt_conf_load(lt_tenant_keys, lt_tenant_key_count, &r->conf, NULL, overrides, &err));
    const struct {
        char **at;
        const char *value;
    } set[] = {
        {&r->conf.listen, "127.0.0.1:0"},
        {&r->conf.registrar_listen, "127.0.0.1:0"},
        {&r->conf.registrar_tls_listen, "127.0.0.1:0"},
        {&r->conf.cert, check_path(&r->pki, "server", "crt")},
        {&r->conf.key, check_path(&r->pki, "server", "key")},
        {&r->conf.ca, r->pki.ca},
        {&r->conf.agent_cert, check_path(&r->pki, "none", "crt")},
        {&r->conf.agent_key, check_path(&r->pki, "none", "key")},
        {&r->conf.provider, r->provider_url},
        {&r->conf.federation_cert, check_path(&r->pki, "tenant", "crt")},
        {&r->conf.federation_key, check_path(&r->pki, "tenant", "key")},
        {&r->conf.federation_ca, r->pki.ca},
        {&r->conf.registry, r->registry},
        {&r->conf.roots, r->roots},
        {&r->conf.tenant_id, r->tenant_id},
        {&r->conf.state_dir, r->state},
    };
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        free(*set[i].at);
        *set[i].at = strdup(set[i].value);
    }
    r->operator= check_client(&r->pki, "operator");
}

void rig_without_provider(struct rig *r)
{
    char **const none[] = {&r->conf.provider,      &r->conf.federation_cert, &r->conf.federation_key,
                           &r->conf.federation_ca, &r->conf.registry,        &r->conf.roots};

    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        free(*none[i]);
        *none[i] = strdup("");
    }
}

void rig_start(struct rig *r)
{
    OK(lt_tenant_start(&r->conf, &r->tenant, &err));
    for (unsigned i = 0; i < RIG_GUESTS; i++)
        rig_register(r, &r->guest[i]);
}

void rig_stop(struct rig *r)
{
    lt_tenant_stop(r->tenant);
    r->tenant = NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void rig_free(struct rig *r)
{
    if (r->tenant)
        rig_stop(r);
    for (unsigned i = 0; i < RIG_GUESTS; i++) {
        lt_http_server_stop(r->guest[i].server);
        lt_buf_free(&r->guest[i].ima);
        lt_buf_free(&r->guest[i].ima_binary);
        EVP_PKEY_free(r->guest[i].ek_key);
        EVP_PKEY_free(r->guest[i].ak_key);
        EVP_PKEY_free(r->guest[i].transport);
        json_decref(r->guest[i].notices);
        free(r->guest[i].pubkey);
        free(r->guest[i].ekcert);
    }
    lt_http_server_stop(r->provider);
    lt_http_client_free(r->operator);
    lt_conf_free(lt_tenant_keys, lt_tenant_key_count, &r->conf);
    mock_host_free(&r->host);
    mock_host_free(&r->other);
    free(r->other_ek_pem);
    lt_buf_free(&r->ima);
    lt_buf_free(&r->layer);
    for (unsigned i = 0; i < RIG_LISTS; i++)
        free(r->list[i].p);
    for (unsigned i = 0; i < RIG_DOCUMENTS; i++)
        free(r->document[i].p);
    json_decref(r->replay);
    X509_free(r->maker);
    EVP_PKEY_free(r->maker_key);
    free(r->ek_pem);
    free(r->other_pem);
    free(r->broken_pem);
    nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    check_pki_remove(&r->pki);
}

json_t *rig_call(struct rig *r, const char *method, const char *path, json_t *body, int want)
{
    char full[256];
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;

    json_decref(body);
    snprintf(full, sizeof full, "/federation/v1/%s", path);
    LT_AUTOFREE char *reply =
        check_status(r->operator, method, lt_http_server_address(r->tenant->server), full, text, want);
    json_t *j = lt_json_parse(reply, strlen(reply), LT_MAX_BUNDLE, &err);
    assert_non_null(j);
    return j;
}

void rig_drop(json_t *j)
{
    json_decref(j);
}

json_t *rig_show(struct rig *r, const struct rig_guest *g)
{
    char path[64];
    snprintf(path, sizeof path, "guests/%s", g->text);
    return rig_call(r, "GET", path, NULL, 200);
}

json_t *rig_wait(struct rig *r, const struct rig_guest *g, const char *result)
{
    static json_t *last;
    uint64_t until = lt_clock_ms() + WAIT_MS;

    /* The API has no event for this; the lock's news wake us earlier. */
    for (;;) {
        json_decref(last);
        last = rig_show(r, g);
        json_t *v = json_object_get(last, "verdict");
        const char *is = json_string_value(json_object_get(v, "result"));
        if (is && !strcmp(is, result))
            return v;
        if (lt_clock_ms() > until)
            fail_msg("%s never came: %s", result, json_dumps(last, 0));
        pthread_mutex_lock(&r->lock);
        (void)lt_cond_until(&r->news, &r->lock, lt_clock_ms() + 20);
        pthread_mutex_unlock(&r->lock);
    }
}

void rig_adopt(struct rig *r, struct rig_guest *g)
{
    unsigned before = g->asked;
    char path[64];

    snprintf(path, sizeof path, "guests/%s", g->text);
    rig_drop(rig_call(r, "PUT", path, json_object(), 200));
    json_t *v = rig_wait(r, g, "unchecked");
    /* One of the rounds at once could find the policy before the round that learning asks for. */
    rig_wait_asked(g, before + 1 + LT_SCHEDULE_AT_ONCE);
    assert_string_equal(json_string_value(json_object_get(v, "reason")), "guest-policy");
    strcat(path, "/learn");
    rig_drop(rig_call(r, "POST", path, json_pack("{s:[s,s]}", "accept", "copyable", "boot-only"), 201));
    rig_wait(r, g, "trusted");
}

void rig_ask(struct rig *r, const struct rig_guest *g)
{
    rig_drop(rig_call(r, "POST", "rounds", g ? json_pack("{s:[s]}", "guests", g->text) : json_object(), 202));
}
