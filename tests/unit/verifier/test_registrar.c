/* The registrar over real sockets, as Keylime's agents and its tenant talk to it, and as an attacker does. */
#include "common/file.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "tests/support/http/http_check.h"
#include "tests/support/softkey.h"
#include "tpm/credential.h"
#include "verifier/challenges.h"
#include "verifier/registrar.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

#define ID "d432fbb3-d2f1-4a97-9ef7-75bd81c00000"

struct at {
    struct check_pki pki;
    char db[128];
    struct lt_store *store;
    struct lt_work *pool;
    struct lt_registrar *r;
    struct lt_http_client *plain, *admin, *operator;
    struct lt_http_client *tls; /* what call() calls with, in the place of plain; NULL: that */
    unsigned activated;
};

struct keys {
    EVP_PKEY *ek, *ak;
    struct lt_public ek_public, ak_public;
};

static void on_activated(void *app, const char *id)
{
    assert_true(lt_id_ok(id));
    ((struct at *)app)->activated++;
}

static int setup(void **state)
{
    struct at *a = calloc(1, sizeof *a);
    const struct lt_http_client_conf plain = {.allow_plain = true};

    check_pki_make(&a->pki);
    snprintf(a->db, sizeof a->db, "%s/registrar.db", a->pki.dir);
    OK(lt_store_open(a->db, NULL, NULL, &a->store, &err));
    OK(lt_work_start(&(struct lt_work_conf){"test", 2, 0}, &a->pool, &err));
    struct lt_registrar_conf c = {.store = a->store,
                                  .pool = a->pool,
                                  .listen = "127.0.0.1:0",
                                  .tls_listen = "127.0.0.1:0",
                                  .cert = check_path(&a->pki, "server", "crt"),
                                  .key = check_path(&a->pki, "server", "key"),
                                  .ca = a->pki.ca,
                                  .keylime_admin_ca = a->pki.admin_ca,
                                  .activated = on_activated,
                                  .app = a};
    OK(lt_registrar_start(&c, &a->r, &err));
    OK(lt_http_client_new(&plain, &a->plain, &err));
    a->admin = check_client(&a->pki, "none");
    a->operator= check_client(&a->pki, "operator");
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct at *a = *state;

    lt_registrar_stop(a->r);
    lt_work_free(a->pool);
    lt_registrar_free(a->r);
    lt_http_client_free(a->plain);
    lt_http_client_free(a->admin);
    lt_http_client_free(a->operator);
    lt_store_close(a->store);
    check_pki_remove(&a->pki);
    free(a);
    return 0;
}

static void make_keys(struct keys *k)
{
    k->ek = soft_ecc("P-256");
    k->ak = soft_ecc("P-256");
    soft_parse(k->ek, &soft_ek, &k->ek_public);
    soft_parse(k->ak, &soft_ak_ecc, &k->ak_public);
}

static void drop_keys(struct keys *k)
{
    EVP_PKEY_free(k->ek);
    EVP_PKEY_free(k->ak);
}

static json_t *call(struct at *a, const char *method, const char *path, json_t *body, int want)
{
    char url[256];
    LT_AUTOFREE char *text = body ? lt_json_dump(body) : NULL;
    struct lt_http_reply reply = {0};

    json_decref(body);
    snprintf(url, sizeof url, "http%s://%s%s", a->tls ? "s" : "",
             a->tls ? lt_registrar_tls_address(a->r) : lt_registrar_address(a->r), path);
    const struct lt_http_request q = {
        .method = method, .url = url, .body = text, .body_n = text ? strlen(text) : 0};
    OK(lt_http_call(a->tls ? a->tls : a->plain, &q, &reply, &err));
    json_t *j = lt_json_parse(reply.body, reply.n, LT_MAX_BODY_SMALL, &err);
    if (reply.status != want)
        fail_msg("%s %s: %d, %d expected: %s", method, path, reply.status, want, reply.body);
    assert_non_null(j);
    assert_int_equal(json_integer_value(json_object_get(j, "code")),
                     want); /* Keylime's envelope, errors too */
    assert_true(json_is_object(json_object_get(j, "results")));
    free((char *)reply.body);
    return j;
}

static json_t *registration(const struct keys *k)
{
    return json_pack("{s:o, s:o, s:s, s:n, s:s, s:i, s:s}", "ek_tpm",
                     lt_json_new_base64(k->ek_public.raw, k->ek_public.raw_n), "aik_tpm",
                     lt_json_new_base64(k->ak_public.raw, k->ak_public.raw_n), "ekcert", "", "iak_cert", "ip",
                     "10.0.2.15", "port", 9002, "a_field_of_tomorrow", "x");
}

/* TPM2_ActivateCredential for an ECC EK, then the tag of keylime-api 2.4. */
static void open_challenge(const struct keys *k, json_t *reply, const char *id, char tag[2 * LT_AUTH_TAG + 1])
{
    LT_AUTOFREE uint8_t *blob = NULL;
    uint8_t point[65] = {4}, z[32], seed[32], key[16], iv[16] = {0}, plain[34], name[LT_TPM_NAME],
            mac[LT_AUTH_TAG];
    struct lt_slice object, secret, x, y, hmac, sealed;
    size_t n, zn = sizeof z;
    int len;

    OK(lt_json_base64(json_object_get(reply, "results"), "blob", LT_MAX_CREDENTIAL, &blob, &n, &err));
    OK(lt_credential_parse(blob, n, &object, &secret, &err));
    struct lt_reader pr = lt_reader(secret.p, secret.n, "point"),
                     or = lt_reader(object.p, object.n, "object");
    OK(lt_read_slice16(&pr, 32, &x, &err));
    OK(lt_read_slice16(&pr, 32, &y, &err));
    OK(lt_read_slice16(& or, 32, &hmac, &err));
    OK(lt_read_slice(& or, 34, &sealed, &err));
    memcpy(point + 1, x.p, 32);
    memcpy(point + 33, y.p, 32);
    EVP_PKEY *peer = EVP_PKEY_new();
    assert_int_equal(EVP_PKEY_copy_parameters(peer, k->ek), 1);
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, point, sizeof point), 1);
    EVP_PKEY_CTX *d = EVP_PKEY_CTX_new(k->ek, NULL);
    assert_true(EVP_PKEY_derive_init(d) == 1 && EVP_PKEY_derive_set_peer(d, peer) == 1 &&
                EVP_PKEY_derive(d, z, &zn) == 1);
    EVP_PKEY_CTX_free(d);
    EVP_PKEY_free(peer);
    OK(lt_public_name(&k->ak_public, name, &err));
    lt_credential_kdfe(LT_HASH_SHA256, (struct lt_slice){z, 32}, "IDENTITY", x, k->ek_public.x, 256, seed);
    lt_credential_kdfa(LT_HASH_SHA256, (struct lt_slice){seed, 32}, "STORAGE",
                       (struct lt_slice){name, sizeof name}, (struct lt_slice){0}, 128, key);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_DecryptInit_ex(c, EVP_aes_128_cfb128(), NULL, key, iv), 1);
    assert_int_equal(EVP_DecryptUpdate(c, plain, &len, sealed.p, 34), 1);
    EVP_CIPHER_CTX_free(c);
    assert_int_equal(plain[1], LT_CHALLENGE);
    lt_auth_tag(plain + 2, LT_CHALLENGE, id, mac);
    lt_hex(mac, sizeof mac, tag);
}

static void enrol(struct at *a, const struct keys *k, const char *version, json_t *body)
{
    char path[128], tag[2 * LT_AUTH_TAG + 1];

    snprintf(path, sizeof path, "/%s/agents/" ID, version);
    LT_JSON_AUTO json_t *challenge = call(a, "POST", path, body, 200);
    open_challenge(k, challenge, ID, tag);
    json_decref(call(a, "PUT", path, json_pack("{s:s}", "auth_tag", tag), 200));
}

static json_t *admin(struct at *a, const char *method, const char *path, int want)
{
    struct lt_http_client *c = strcmp(method, "DELETE") ? a->admin : a->operator;
    LT_AUTOFREE char *s = check_status(c, method, lt_registrar_tls_address(a->r), path, NULL, want);
    json_t *j = lt_json_parse(s, strlen(s), LT_MAX_BODY_PROOFS, &err);
    assert_non_null(j);
    json_t *results = json_incref(json_object_get(j, "results"));
    json_decref(j);
    return results;
}

static void test_auth_tag_vector(void **state)
{
    uint8_t got[LT_AUTH_TAG], want[LT_AUTH_TAG];
    (void)state;
    lt_auth_tag("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", 32, "tenant-a.vm-0001", got);
    unit_hex("7fcc6111e546a96a388b7f647ae2a02e466b090d7db9983cdedd3915ef9dd3d2"
             "436876c583a794a4db36efa084b3e562",
             want, sizeof want);
    assert_memory_equal(got, want, sizeof want);
}

static void test_register_activate_and_read(void **state)
{
    struct at *a = *state;
    struct keys k;

    make_keys(&k);
    LT_JSON_AUTO json_t *v = call(a, "GET", "/version", NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(v, "results"), "current_version")),
                        "2.6");
    json_decref(admin(a, "GET", "/v2.6/agents/" ID, 404));
    LT_JSON_AUTO json_t *challenge = call(a, "POST", "/v2.1/agents/" ID, registration(&k), 200);
    json_decref(admin(a, "GET", "/v2.6/agents/" ID, 404)); /* not before it is active */
    char tag[2 * LT_AUTH_TAG + 1];
    open_challenge(&k, challenge, ID, tag);
    json_decref(call(a, "PUT", "/v2.1/agents/" ID "/activate", json_pack("{s:s}", "auth_tag", tag), 200));
    assert_int_equal(a->activated, 1);
    json_decref(
        call(a, "PUT", "/v2.1/agents/" ID, json_pack("{s:s}", "auth_tag", tag), 404)); /* single use */
    LT_JSON_AUTO json_t *got = admin(a, "GET", "/v2.5/agents/" ID, 200);
    assert_string_equal(json_string_value(json_object_get(got, "agent_id")), ID);
    assert_true(json_is_null(json_object_get(got, "ekcert")) &&
                json_is_null(json_object_get(got, "mtls_cert")));
    assert_int_equal(json_integer_value(json_object_get(got, "port")), 9002);
    assert_int_equal(json_integer_value(json_object_get(got, "regcount")), 1);
    LT_JSON_AUTO json_t *list = admin(a, "GET", "/v2.6/agents/", 200);
    assert_string_equal(json_string_value(json_array_get(json_object_get(list, "uuids"), 0)), ID);
    json_decref(admin(a, "DELETE", "/v2.6/agents/" ID, 200));
    json_decref(admin(a, "DELETE", "/v2.6/agents/" ID, 404));
    json_decref(call(a, "POST", "/v2.9/agents/" ID, registration(&k), 404));
    json_decref(call(a, "POST", "/v1.0/agents/" ID, registration(&k), 404));
    drop_keys(&k);
}

/* An agent comes again with what is on record: the record stays as it is, and nobody is told. */
static void test_the_same_again_changes_nothing(void **state)
{
    struct at *a = *state;
    struct keys k;

    make_keys(&k);
    enrol(a, &k, "v2.6", registration(&k));
    assert_int_equal(a->activated, 1);
    LT_JSON_AUTO json_t *before = admin(a, "GET", "/v2.6/agents/" ID, 200);
    for (int i = 0; i < 3; i++)
        enrol(a, &k, "v2.6", registration(&k));
    LT_JSON_AUTO json_t *after = admin(a, "GET", "/v2.6/agents/" ID, 200);
    assert_true(json_equal(before, after));
    assert_int_equal(a->activated, 1);
    /* One that asks and does not answer: active stays active. */
    json_decref(call(a, "POST", "/v2.6/agents/" ID, registration(&k), 200));
    LT_JSON_AUTO json_t *still = admin(a, "GET", "/v2.6/agents/" ID, 200);
    assert_true(json_equal(before, still));
    json_t *moved = registration(&k);
    json_object_set_new(moved, "port", json_integer(9003));
    enrol(a, &k, "v2.6", moved);
    assert_int_equal(a->activated, 2);
    LT_JSON_AUTO json_t *v = call(a, "GET", "/version", NULL, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(v, "results"), "registrar")),
                        "limetree");
    drop_keys(&k);
}

static void test_identity_never_changes(void **state)
{
    struct at *a = *state;
    struct keys k, thief;

    make_keys(&k);
    make_keys(&thief);
    enrol(a, &k, "v2.6", registration(&k));
    json_t *moved = registration(&k);
    json_object_set_new(moved, "ip", json_string("10.0.2.16"));
    enrol(a, &k, "v2", moved); /* again, from another address: the same record */
    LT_JSON_AUTO json_t *got = admin(a, "GET", "/v2.6/agents/" ID, 200);
    assert_string_equal(json_string_value(json_object_get(got, "ip")), "10.0.2.16");
    assert_int_equal(json_integer_value(json_object_get(got, "regcount")), 1);
    json_decref(call(a, "POST", "/v2.6/agents/" ID, registration(&thief), 403));
    struct keys mixed = k;
    mixed.ak = thief.ak;
    lt_public_copy(&mixed.ak_public, &thief.ak_public);
    lt_public_copy(&mixed.ek_public, &k.ek_public);
    json_decref(call(a, "POST", "/v2.6/agents/" ID, registration(&mixed), 403));
    drop_keys(&k);
    drop_keys(&thief);
}

/* One vTPM must not vouch for two machines; its clock is compared within one history. */
static void test_one_ek_one_agent(void **state)
{
    static const char second[] = "/v2.6/agents/d432fbb3-d2f1-4a97-9ef7-75bd81c00001";
    struct at *a = *state;
    struct keys k;
    char tag[2 * LT_AUTH_TAG + 1];

    make_keys(&k);
    enrol(a, &k, "v2.6", registration(&k));
    for (int want = 403; want >= 200; want -= 203) {
        LT_JSON_AUTO json_t *challenge = call(a, "POST", second, registration(&k), 200);
        open_challenge(&k, challenge, strrchr(second, '/') + 1, tag);
        json_decref(call(a, "PUT", second, json_pack("{s:s}", "auth_tag", tag), want));
        json_decref(admin(a, "GET", second, want == 403 ? 404 : 200));
        if (want == 403)
            json_decref(admin(a, "DELETE", "/v2.6/agents/" ID, 200));
    }
    drop_keys(&k);
}

/* Anybody can speak to this listener: knowing an id must not be enough to evict it or to change where it
 * answers. */
static void test_eviction_attack(void **state)
{
    struct at *a = *state;
    struct keys k;
    char zeros[2 * LT_AUTH_TAG + 1], tag[2 * LT_AUTH_TAG + 1];

    make_keys(&k);
    memset(zeros, '0', sizeof zeros - 1);
    zeros[sizeof zeros - 1] = 0;
    enrol(a, &k, "v2.6", registration(&k));
    json_t *lure = registration(&k); /* public keys are public */
    json_object_set_new(lure, "ip", json_string("192.0.2.66"));
    LT_JSON_AUTO json_t *challenge = call(a, "POST", "/v2.6/agents/" ID, lure, 200);
    json_decref(call(a, "PUT", "/v2.6/agents/" ID, json_pack("{s:s}", "auth_tag", zeros), 400));
    LT_JSON_AUTO json_t *got = admin(a, "GET", "/v2.6/agents/" ID, 200);
    assert_string_equal(json_string_value(json_object_get(got, "ip")), "10.0.2.15");
    open_challenge(&k, challenge, ID, tag); /* the right answer comes too late: tried once */
    json_decref(call(a, "PUT", "/v2.6/agents/" ID, json_pack("{s:s}", "auth_tag", tag), 404));
    /* CVE-2023-38201: whoever answers wrong is not told what had been right. */
    lure = registration(&k);
    LT_JSON_AUTO json_t *again = call(a, "POST", "/v2.6/agents/" ID, lure, 200);
    open_challenge(&k, again, ID, tag);
    LT_JSON_AUTO json_t *no = call(a, "PUT", "/v2.6/agents/" ID, json_pack("{s:s}", "auth_tag", zeros), 400);
    LT_AUTOFREE char *said = lt_json_dump(no);
    assert_null(strstr(said, tag));
    json_decref(call(a, "PUT", "/v2.6/agents/" ID, json_object(), 400)); /* no tag at all */
    assert_int_equal(a->activated, 1);
    drop_keys(&k);
}

static void test_bad_registrations(void **state)
{
    struct at *a = *state;
    struct keys k;
    static const struct {
        const char *key;
        const char *value; /* JSON */
    } rows[] = {
        {"ek_tpm", "null"}, {"aik_tpm", "\"AAAA\""}, {"ekcert", "\"no certificate\""},
        {"ekcert", "7"},    {"ip", "\"a b\""},       {"ip", "\"x/../y\""},
        {"port", "65536"},  {"port", "\"9002\""},    {"mtls_cert", "\"-----BEGIN CERTIFICATE-----\\n\""},
    };

    make_keys(&k);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *j = registration(&k);
        json_object_set_new(j, rows[i].key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        json_decref(call(a, "POST", "/v2.6/agents/" ID, j, 400));
    }
    json_decref(call(a, "POST", "/v2.6/agents/%20", registration(&k), 400));
    json_decref(call(a, "POST", "/v2.6/agents", registration(&k), 400)); /* no agent_id */
    json_t *j = registration(&k);
    json_object_set_new(j, "agent_id", json_string(ID));
    json_object_set_new(j, "mtls_cert", json_string("disabled"));
    json_decref(call(a, "POST", "/v2.6/agents", j, 200));
    /* G3: an AK that could sign anything gets no challenge; nor does an EK that is none. */
    static const uint32_t wrong[] = {0x00040072, 0x00070072, 0x00050070, 0x00050062, 0x00050052, 0x00050872};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct soft_shape s = soft_ak_ecc;
        s.attributes = wrong[i];
        LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_PUBLIC);
        soft_public(k.ak, &s, &b);
        j = registration(&k);
        json_object_set_new(j, "aik_tpm", lt_json_new_base64(b.p, b.n));
        LT_AUTOFREE char *text = lt_json_dump(j);
        json_decref(j);
        struct lt_agent out;
        LT_JSON_AUTO json_t *body = lt_json_parse(text, strlen(text), LT_MAX_BODY_SMALL, &err);
        assert_int_not_equal(lt_agent_from_json(body, ID, &out, &err), 0);
        json_decref(
            call(a, "POST", "/v2.6/agents/" ID, json_incref(body), 400)); /* not 422: Keylime's wire */
    }
    j = registration(&k);
    json_object_set_new(j, "ek_tpm", json_incref(json_object_get(j, "aik_tpm")));
    struct lt_agent out;
    FAILS(LT_E_REFUSED, lt_agent_from_json(j, ID, &out, &err));
    json_decref(j);
    drop_keys(&k);
}

static void test_admin_needs_a_certificate(void **state)
{
    struct at *a = *state;
    struct lt_http_client *nobody = check_client(&a->pki, NULL);
    struct lt_http_reply reply = {0};
    static const char *const paths[] = {"/v2.6/agents", "/v2.6/agents/" ID};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int rc = check_call(nobody, "GET", lt_registrar_tls_address(a->r), paths[i], NULL, &reply, &err);
        assert_true(rc || reply.status == 401 || reply.status == 403);
        free((char *)reply.body);
        reply = (struct lt_http_reply){0};
    }
    /* Nor are they on the plain listener. */
    json_decref(call(a, "GET", "/v2.6/agents", NULL, 405));
    json_decref(call(a, "DELETE", "/v2.6/agents/" ID, NULL, 405));
    lt_http_client_free(nobody);
}

/* CVE-2026-1709: every route as nobody, as a stranger, and in every role that its row does not name. */
static void test_every_route_is_closed(void **state)
{
    struct at *a = *state;

    check_routes_are_closed(&a->pki, lt_registrar_tls_address(a->r), lt_registrar_routes,
                            lt_registrar_route_count);
}

static void with_sql(const struct at *a, const char *text)
{
    sqlite3 *sql;

    assert_int_equal(sqlite3_open(a->db, &sql), SQLITE_OK);
    sqlite3_busy_timeout(sql, 10000);
    if (sqlite3_exec(sql, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(sql));
    sqlite3_close(sql);
}

/* CVE-2025-1057: a row that is none stops neither the list nor its neighbours. */
static void test_a_list_of_ten_thousand(void **state)
{
    struct at *a = *state;
    struct keys k;

    make_keys(&k);
    enrol(a, &k, "v2.6", registration(&k));
    with_sql(a, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
                " INSERT INTO agents(id, ek, ak, port, regcount, activated)"
                " SELECT printf('agent-%05d', i), randomblob(40), x'00', 0, 1, 0 FROM n;"
                " INSERT INTO agents(id, ek, ak, port, regcount, activated) VALUES"
                " ('a \"b', x'01', x'', 0, 1, 0), (NULL, x'02', x'', 0, 1, 0), ('', x'03', x'', 0, 1, 0);");
    LT_JSON_AUTO json_t *list = admin(a, "GET", "/v2.6/agents/", 200);
    const json_t *ids = json_object_get(list, "uuids");
    assert_int_equal(json_array_size(ids), 10001);
    for (size_t i = 0; i < 10000; i++) {
        char want[16];
        snprintf(want, sizeof want, "agent-%05zu", i);
        assert_string_equal(json_string_value(json_array_get(ids, i)), want);
    }
    assert_string_equal(json_string_value(json_array_get(ids, 10000)), ID);
    json_decref(admin(a, "GET", "/v2.6/agents/" ID, 200));
    drop_keys(&k);
}

/* Pages of the store, against one list of all. */
static void test_pages(void **state)
{
    struct at *a = *state;
    char ids[3][LT_ID_MAX + 1], last[LT_ID_MAX + 1] = "";
    size_t n, seen = 0;

    with_sql(a,
             "INSERT INTO agents(id, ek, ak, port, regcount, activated) VALUES ('b', x'01', x'00', 0, 1, 0),"
             " ('a', x'02', x'00', 0, 1, 0), ('d', x'03', x'00', 0, 1, 0), ('c', x'04', x'00', 0, 1, 0)");
    for (;;) {
        OK(lt_store_agent_page(a->store, last, ids, 3, &n, &err));
        if (!n)
            break;
        for (size_t i = 0; i < n; i++)
            assert_int_equal(ids[i][0], 'a' + (int)seen++);
        memcpy(last, ids[n - 1], sizeof last);
    }
    assert_int_equal(seen, 4);
}

/* Keys of SHA-384 get a challenge; what the federation cannot carry is told in the record. */
static void test_keys_of_sha384(void **state)
{
    struct at *a = *state;
    struct keys k = {.ek = soft_ecc("P-384"), .ak = soft_ecc("P-384")};
    struct lt_agent out;

    soft_parse(k.ek, &soft_ek_high, &k.ek_public);
    soft_parse(k.ak, &soft_ak_ecc_384, &k.ak_public);
    LT_JSON_AUTO json_t *body = registration(&k);
    json_decref(call(a, "POST", "/v2.6/agents/" ID, json_incref(body), 200));
    OK(lt_agent_from_json(body, ID, &out, &err));
    assert_false(lt_keylime_agent_linkable(&out));
    OK(lt_store_agent_activate(a->store, &out, NULL, &err));
    LT_JSON_AUTO json_t *got = admin(a, "GET", "/v2.6/agents/" ID, 200);
    assert_true(json_is_false(json_object_get(got, "linkable")));
    lt_agent_free(&out);
    drop_keys(&k);
    make_keys(&k);
    LT_JSON_AUTO json_t *usual = registration(&k);
    OK(lt_agent_from_json(usual, ID, &out, &err));
    assert_true(lt_keylime_agent_linkable(&out));
    lt_agent_free(&out);
    drop_keys(&k);
}

static int dial(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* As keylime_tenant's requests come: no Content-Type, a slash behind the path. */
static void test_without_a_content_type(void **state)
{
    struct at *a = *state;
    struct keys k;
    char head[256], reply[64] = "";

    make_keys(&k);
    LT_JSON_AUTO json_t *body = registration(&k);
    LT_AUTOFREE char *text = lt_json_dump(body);
    int n = snprintf(head, sizeof head,
                     "POST /v2.6/agents/" ID "/ HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                     strlen(text));
    int fd = dial(lt_registrar_address(a->r));
    assert_int_equal(write(fd, head, (size_t)n), n);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_true(read(fd, reply, sizeof reply - 1) > 12);
    reply[12] = 0;
    assert_string_equal(reply, "HTTP/1.1 200");
    close(fd);
    drop_keys(&k);
}

/* CVE-2023-38200: those who connect and say nothing hold up nobody. */
static void test_silent_handshakes(void **state)
{
    enum { SILENT = 200 };
    struct at *a = *state;
    int fd[SILENT];

    for (int i = 0; i < SILENT; i++) {
        fd[i] = dial(lt_registrar_tls_address(a->r));
        assert_int_equal(write(fd[i], "\x16\x03\x01", 3), 3); /* a record begins */
    }
    uint64_t began = lt_clock_ms();
    json_decref(admin(a, "GET", "/v2.6/agents", 200));
    assert_true(lt_clock_ms() - began < 5000);
    for (int i = 0; i < SILENT; i++)
        close(fd[i]);
}

/* An agent that checks a CA, and has no certificate: registered and active by the TLS port alone. */
static void test_agents_on_the_tls_port(void **state)
{
    struct at *a = *state;
    struct keys k;

    make_keys(&k);
    a->tls = check_client(&a->pki, NULL);
    json_decref(call(a, "GET", "/version", NULL, 200));
    json_decref(call(a, "GET", "/versions/", NULL, 200));
    enrol(a, &k, "v2.6", registration(&k));
    json_decref(call(a, "GET", "/v2.6/agents/" ID, NULL, 401));
    json_decref(call(a, "GET", "/v2.6/agents/", NULL, 401));
    json_decref(call(a, "DELETE", "/v2.6/agents/" ID, NULL, 401));
    assert_int_equal(a->activated, 1);
    lt_http_client_free(a->tls);
    a->tls = check_client(&a->pki, "stranger"); /* what is shown must be good, also where nothing need be */
    struct lt_http_reply reply = {0};
    FAILS(LT_E_UNREACHABLE,
          check_call(a->tls, "GET", lt_registrar_tls_address(a->r), "/version", NULL, &reply, &err));
    lt_http_client_free(a->tls);
    a->tls = NULL;
    json_decref(admin(a, "GET", "/v2.6/agents/" ID, 200));
    drop_keys(&k);
}

/* Keylime's admin reads all, and deletes what no federation guest is attested by. */
static void test_the_keylime_admin(void **state)
{
    struct at *a = *state;
    struct lt_store_guest g = {.address = ""};
    struct keys k;

    make_keys(&k);
    enrol(a, &k, "v2.6", registration(&k));
    OK(lt_uuid_parse(ID, g.uuid, &err));
    OK(lt_store_guest_put(a->store, &g, (struct lt_slice){0}, &err));
    a->tls = check_client(&a->pki, "keylime-admin");
    json_decref(call(a, "GET", "/v2.6/agents", NULL, 200));
    json_decref(call(a, "GET", "/v2.6/agents/" ID, NULL, 200));
    json_decref(call(a, "DELETE", "/v2.6/agents/" ID, NULL, 403));
    json_decref(call(a, "GET", "/v2.6/agents/" ID, NULL, 200));
    OK(lt_store_guest_delete(a->store, g.uuid, &err));
    json_decref(call(a, "DELETE", "/v2.6/agents/" ID, NULL, 200));
    json_decref(call(a, "GET", "/v2.6/agents/" ID, NULL, 404));
    json_decref(call(a, "DELETE", "/v2.6/agents/" ID, NULL, 404));
    lt_http_client_free(a->tls);
    a->tls = NULL;
    drop_keys(&k);
}

/* Whoever deletes a record lets another TPM take its place: not everybody whose certificate may read may do
 * that. */
static void test_deletion_is_the_operators(void **state)
{
    static const char *const others[] = {"none", "tenant", "provider", "host"};
    struct at *a = *state;
    struct keys k;

    make_keys(&k);
    enrol(a, &k, "v2.6", registration(&k));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct lt_http_client *c = check_client(&a->pki, others[i]);
        LT_AUTOFREE char *no =
            check_status(c, "DELETE", lt_registrar_tls_address(a->r), "/v2.6/agents/" ID, NULL, 403);
        LT_AUTOFREE char *may =
            check_status(c, "GET", lt_registrar_tls_address(a->r), "/v2.6/agents/" ID, NULL, 200);
        lt_http_client_free(c);
    }
    json_decref(admin(a, "GET", "/v2.6/agents/" ID, 200));
    json_decref(admin(a, "DELETE", "/v2.6/agents/" ID, 200));
    json_decref(admin(a, "GET", "/v2.6/agents/" ID, 404));
    drop_keys(&k);
}

/* ---- the table of challenges, with a clock of its own ---- */

static struct lt_agent agent(const char *id)
{
    struct lt_agent a = {0};
    snprintf(a.id, sizeof a.id, "%s", id);
    return a;
}

static void test_challenges(void **state)
{
    static const char secret[LT_CHALLENGE + 1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    struct lt_challenges *c = lt_challenges_new();
    struct lt_agent a = agent("vm"), out;
    uint8_t tag[LT_AUTH_TAG], wrong[LT_AUTH_TAG] = {0};
    (void)state;

    lt_auth_tag(secret, LT_CHALLENGE, "vm", tag);
    OK(lt_challenges_put(c, "10.0.0.1", &a, secret, 1000, &err));
    assert_int_equal(a.id[0], 0); /* taken over */
    /* Another source neither answers it nor spoils it. */
    FAILS(LT_E_NOT_FOUND, lt_challenges_answer(c, "10.0.0.2", "vm", wrong, 1001, &out, &err));
    FAILS(LT_E_NOT_FOUND, lt_challenges_answer(c, "10.0.0.2", "vm", tag, 1001, &out, &err));
    OK(lt_challenges_answer(c, "10.0.0.1", "vm", tag, 1002, &out, &err));
    assert_string_equal(out.id, "vm");
    FAILS(LT_E_NOT_FOUND, lt_challenges_answer(c, "10.0.0.1", "vm", tag, 1003, &out, &err));
    a = agent("vm");
    OK(lt_challenges_put(c, "10.0.0.1", &a, secret, 2000, &err));
    FAILS(LT_E_REFUSED, lt_challenges_answer(c, "10.0.0.1", "vm", wrong, 2001, &out, &err));
    FAILS(LT_E_NOT_FOUND, lt_challenges_answer(c, "10.0.0.1", "vm", tag, 2002, &out, &err));
    a = agent("vm");
    OK(lt_challenges_put(c, "10.0.0.1", &a, secret, 3000, &err));
    FAILS(LT_E_NOT_FOUND,
          lt_challenges_answer(c, "10.0.0.1", "vm", tag, 3001 + LT_CHALLENGE_MS, &out, &err)); /* too old */
    /* A full table: the oldest gives way, so that a flood cannot lock everybody out for a minute. */
    char id[16];
    for (unsigned i = 0; i <= LT_CHALLENGES_MAX; i++) {
        snprintf(id, sizeof id, "vm-%u", i);
        a = agent(id);
        OK(lt_challenges_put(c, "10.0.0.1", &a, secret, 100000 + i, &err));
    }
    lt_auth_tag(secret, LT_CHALLENGE, "vm-0", tag);
    FAILS(LT_E_NOT_FOUND, lt_challenges_answer(c, "10.0.0.1", "vm-0", tag, 105000, &out, &err));
    lt_auth_tag(secret, LT_CHALLENGE, "vm-1", tag);
    OK(lt_challenges_answer(c, "10.0.0.1", "vm-1", tag, 105000, &out, &err));
    lt_challenges_free(c);
}

/* One who holds a network, however many addresses of it he uses, pushes out his own challenges only. */
static void test_flood_of_a_network(void **state)
{
    static const char secret[LT_CHALLENGE + 1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    static const struct {
        const char *victim, *flood, *behind; /* flood, a number, behind, another */
    } rows[] = {
        {"2001:db8:1::7", "2001:db8:2::", ":"},     /* one /64 */
        {"10.1.2.3", "2001:db8:2::", ":"},          /* towards IPv4 too */
        {"2001:db8:1::7", "2001:db8:2:", "::"},     /* the /64s of one /48 */
        {"fe80::7%eth0", "2001:db8:2::", ":"},      /* a scope is no reason to be lost */
        {"2001:db8:1:1::7", "2001:db8:1:2::", ":"}, /* a neighbour in the same /48 */
        {"10.1.2.3", "10.1.3.3", NULL},             /* one address */
        {"10.1.2.3", "::ffff:10.1.3.3", NULL},      /* written otherwise */
        {"10.1.2.3", "10.1.2.4", NULL},             /* a neighbour */
    };
    uint8_t tag[LT_AUTH_TAG];
    struct lt_agent out;
    (void)state;

    lt_auth_tag(secret, LT_CHALLENGE, "victim", tag);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lt_challenges *c = lt_challenges_new();
        struct lt_agent a = agent("victim");
        OK(lt_challenges_put(c, rows[i].victim, &a, secret, 1000, &err));
        for (unsigned n = 0; n < LT_CHALLENGES_MAX + 300; n++) {
            char id[16], source[64];
            snprintf(id, sizeof id, "vm-%u", n);
            int at = snprintf(source, sizeof source, "%s", rows[i].flood);
            if (rows[i].behind)
                snprintf(source + at, sizeof source - (size_t)at, "%x%s%x", n & 0xff, rows[i].behind, n >> 8);
            a = agent(id);
            OK(lt_challenges_put(c, source, &a, secret, 1001 + n, &err));
        }
        if (lt_challenges_answer(c, rows[i].victim, "victim", tag, 9000, &out, &err))
            fail_msg("%s, flooded from %s: %s", rows[i].victim, rows[i].flood, err.msg);
        lt_challenges_free(c);
    }
}

/* The addresses of a /64 share one rate. */
static void test_rate_of_a_network(void **state)
{
    struct lt_challenges *c = lt_challenges_new();
    unsigned admitted = 0;
    (void)state;

    for (unsigned i = 0; i < 1000; i++) {
        char source[64];
        snprintf(source, sizeof source, "2001:db8::%x:%x", i * 7919 & 0xffff, i);
        admitted += !lt_challenges_admit(c, source, 5000, &err);
    }
    assert_int_equal(admitted, LT_CHALLENGES_REGISTRATIONS_BURST);
    OK(lt_challenges_admit(c, "2001:db8:0:1::1", 5000, &err));
    lt_challenges_free(c);
}

static void test_rate_of_a_source(void **state)
{
    struct lt_challenges *c = lt_challenges_new();
    (void)state;

    for (int i = 0; i < LT_CHALLENGES_REGISTRATIONS_BURST; i++)
        OK(lt_challenges_admit(c, "10.0.0.1", 5000, &err));
    FAILS(LT_E_TOO_MANY, lt_challenges_admit(c, "10.0.0.1", 5000, &err));
    for (int i = 0; i < LT_CHALLENGES_REGISTRATIONS_RATE; i++)
        OK(lt_challenges_admit(c, "10.0.0.1", 6000, &err));
    FAILS(LT_E_TOO_MANY, lt_challenges_admit(c, "10.0.0.1", 6000, &err));
    FAILS(LT_E_TOO_MANY,
          lt_challenges_admit(c, "10.0.0.1", 5500, &err)); /* a clock read earlier gives nothing */
    OK(lt_challenges_admit(c, "10.0.0.2", 6000, &err));
    for (int i = 0; i < LT_CHALLENGES_REGISTRATIONS_BURST; i++)
        OK(lt_challenges_admit(c, "10.0.0.1", 600000, &err));
    FAILS(LT_E_TOO_MANY, lt_challenges_admit(c, "10.0.0.1", 600000, &err)); /* never more than a burst */
    lt_challenges_free(c);
}

static unsigned lines_with(const char *path, const char *event)
{
    LT_AUTOFREE uint8_t *text = NULL;
    unsigned count = 0;
    size_t n;

    OK(lt_file_read(path, 1 << 20, &text, &n, &err));
    for (const char *at = (const char *)text; (at = strstr(at, event)); at++)
        count++;
    return count;
}

/* Anybody may call, and be refused as often as he likes: not each time at the cost of a line on our disk. */
static void test_refusals_do_not_fill_the_log(void **state)
{
    struct at *a = *state;
    char log[160], tag[2 * LT_AUTH_TAG + 1];

    memset(tag, '0', sizeof tag - 1);
    tag[sizeof tag - 1] = 0;
    snprintf(log, sizeof log, "%s/log", a->pki.dir);
    OK(lt_log_open("limetree", log, LT_LOG_WARNING, &err));
    for (int i = 0; i < 200; i++)
        json_decref(call(a, "PUT", "/v2.1/agents/" ID "/activate", json_pack("{s:s}", "auth_tag", tag), 404));
    for (int i = 0; i < 40; i++)
        json_decref(call(a, "POST", "/v2.1/agents/" ID, json_object(), 400));
    /* CVE-2022-23949: an id makes no line of its own. */
    json_decref(call(a, "POST", "/v2.1/agents/x%0a-refused%22", json_object(), 400));
    OK(lt_log_open("limetree", NULL, LT_LOG_INFO, &err));
    assert_in_range(lines_with(log, "-refused"), 1, 5);
    unlink(log);
}

struct busy {
    struct lt_work_task task;
    sem_t in, gate;
};

static void hold_the_pool(struct lt_work_task *t)
{
    struct busy *b = LT_WORK_OWNER(t, struct busy);

    sem_post(&b->in);
    sem_wait(&b->gate);
}

static void on_answer(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    (void)reply;
    (void)e;
    sem_post(arg);
}

/* An activation waits behind a pool that is held: it runs when the registrar has stopped. */
static void test_stopped_before_its_pool(void **state)
{
    struct at *a = *state;
    struct busy busy[2];
    char url[160], body[160], tag[2 * LT_AUTH_TAG + 1] = {0};
    sem_t answered;

    sem_init(&answered, 0, 0);
    for (size_t i = 0; i < 2; i++) {
        sem_init(&busy[i].in, 0, 0);
        sem_init(&busy[i].gate, 0, 0);
        lt_work_post(a->pool, &busy[i].task, hold_the_pool);
        sem_wait(&busy[i].in);
    }
    memset(tag, 'a', sizeof tag - 1);
    snprintf(url, sizeof url, "http://%s/v2.6/agents/" ID, lt_registrar_address(a->r));
    snprintf(body, sizeof body, "{\"auth_tag\": \"%s\"}", tag);
    const struct lt_http_request q = {.method = "PUT", .url = url, .body = body, .body_n = strlen(body)};
    lt_http_send(a->plain, &q, on_answer, &answered);
    usleep(300000); /* nothing tells that it waits; a test that is too early passes */
    lt_registrar_stop(a->r);
    sem_wait(&answered);
    for (size_t i = 0; i < 2; i++)
        sem_post(&busy[i].gate);
    lt_work_stop(a->pool); /* runs the activation; `busy` is ours until then */
    sem_destroy(&answered);
}

/* The first listener has served, the second one's address is taken: all is there to be stopped in order. */
static void test_a_listener_that_fails(void **state)
{
    struct at *a = *state;
    struct lt_registrar *r;
    const struct lt_registrar_conf c = {.store = a->store,
                                        .pool = a->pool,
                                        .listen = "127.0.0.1:0",
                                        .tls_listen = lt_registrar_tls_address(a->r),
                                        .cert = check_path(&a->pki, "server", "crt"),
                                        .key = check_path(&a->pki, "server", "key"),
                                        .ca = a->pki.ca};

    FAILS(LT_E_IO, lt_registrar_start(&c, &r, &err));
    assert_non_null(strstr(err.msg, "registrar_tls_listen"));
    assert_non_null(lt_registrar_address(r));
    lt_registrar_stop(r);
    lt_registrar_stop(r);
    lt_work_stop(a->pool);
    lt_registrar_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auth_tag_vector),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_rate_of_a_source),
        cmocka_unit_test(test_flood_of_a_network),
        cmocka_unit_test(test_rate_of_a_network),
        cmocka_unit_test_setup_teardown(test_register_activate_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_same_again_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity_never_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_ek_one_agent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction_attack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_registrations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_admin_needs_a_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_route_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_list_of_ten_thousand, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_of_sha384, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_content_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent_handshakes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_agents_on_the_tls_port, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_keylime_admin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deletion_is_the_operators, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_do_not_fill_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_before_its_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_listener_that_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
