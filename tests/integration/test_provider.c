/* limetree-provider as a process, mock agents behind mutual TLS: the federation API as a tenant and an
 * operator meet it, and what is left after a kill. */
#include "common/ima_list.h"
#include "common/run/clock.h"
#include "provider/provider.h"
#include "residency/activation.h"
#include "tests/support/appraisal/ima_lines.h"
#include "tests/support/provider_rig.h"
#include "tests/support/unit.h"
#include "tpm/attest.h"
#include "tpm/credential.h"
#include "tpm/signature.h"

#include <netinet/in.h>
#include <signal.h>
#include <unistd.h>

static const char *const quick[] = {"host_timeout_ms=1500", "host_period_s=3600", NULL};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    rig_make(r);
    rig_start(r, quick);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    if (r->pid != -1)
        rig_stop(r);
    rig_free(r);
    free(r);
    return 0;
}

static void populate(struct rig *r, unsigned host, uint32_t first, uint32_t count)
{
    pthread_mutex_lock(&r->agent[host].lock);
    mock_host_populate(&r->agent[host].host, first, count);
    pthread_mutex_unlock(&r->agent[host].lock);
}

/* The first round of a host, which its enrolment makes due, has ended: the next is an hour off. What it asked
 * for is not counted. */
static void await_round(struct rig *r, unsigned host)
{
    struct mock_agent *a = &r->agent[host];
    uint64_t until = lt_clock_ms() + 20000;
    char path[80];

    snprintf(path, sizeof path, "hosts/%s", r->host[host]);
    for (bool judged = false; !judged; usleep(5000)) {
        LT_JSON_AUTO json_t *h = rig_json(r, r->operator, "GET", path, NULL, 200);
        judged = lt_json_has(h, "verdict");
        assert_true(lt_clock_ms() < until);
    }
    atomic_store(&a->quotes, 0);
    atomic_store(&a->leaves, 0);
    atomic_store(&a->logs, 0);
    atomic_store(&a->lists, 0);
}

/* Both hosts enrolled, guests 0-9 on the first and 100-104 on the second; A has 0-4 and 100-104, B has 5-9.
 */
static void settle(struct rig *r)
{
    populate(r, 0, 0, 10);
    populate(r, 1, 100, 5);
    rig_enrol(r, 0);
    rig_enrol(r, 1);
    await_round(r, 0);
    await_round(r, 1);
    for (uint32_t i = 0; i < 10; i++)
        rig_assign(r, i, i < 5 ? r->tenant_a : r->tenant_b);
    for (uint32_t i = 100; i < 105; i++)
        rig_assign(r, i, r->tenant_a);
}

static void guest_path(uint32_t guest, char out[64])
{
    uint8_t raw[16];
    char uuid[LT_UUID_TEXT];
    mock_uuid(guest, raw);
    lt_uuid_format(raw, uuid);
    snprintf(out, 64, "guests/%s", uuid);
}

/* Everything of the i-th proof that a tenant can check with the host's AK; returns the header. */
static struct lt_residency_header check_answer(const json_t *reply, const json_t *p,
                                               const struct mock_host *host, uint32_t guest, uint32_t salt,
                                               bool resident)
{
    json_t *quote;
    struct lt_residency_host_quote q = {0};
    struct lt_proof proof;
    struct lt_residency_header h;
    struct lt_attest a;
    struct lt_signature_key *key = NULL;
    uint8_t expected[16], commitment[32], leaf[32], digest[32];
    int64_t index;

    assert_false(lt_json_has(p, "error"));
    mock_uuid(guest, expected);
    OK(lt_json_int(p, "quote", 0, 1024, &index, &err));
    quote = json_array_get(json_object_get(reply, "quotes"), (size_t)index);
    OK(lt_residency_host_quote_from_json(quote, &q, &err));
    OK(lt_json_hex(quote, "host", digest, 16, &err));
    assert_memory_equal(digest, host->host_id, 16);
    OK(lt_proof_from_json(p, &proof, &err));
    OK(lt_residency_header_parse(q.header, sizeof q.header, &h, &err));
    assert_memory_equal(h.host_id, host->host_id, 16);

    rig_commitment(guest, salt, commitment);
    lt_merkle_leaf(commitment, 32, leaf);
    OK(lt_merkle_verify(leaf, &proof.batch, h.n, h.batch_root, &err));
    assert_int_equal(proof.resident, resident);
    if (resident) {
        struct lt_residency_record record;
        lt_merkle_leaf(proof.record, proof.record_n, leaf);
        OK(lt_merkle_verify(leaf, &proof.residency, h.m, h.inventory_root, &err));
        OK(lt_residency_record_parse(proof.record, proof.record_n, &record, &err));
        assert_memory_equal(record.guest_uuid, expected, 16);
    }
    OK(lt_attest_parse(q.attest, q.attest_n, &a, &err));
    lt_sha256(q.header, LT_RESIDENCY_HEADER, digest);
    assert_memory_equal(a.extra_data.p, digest, 32);
    OK(lt_signature_key_new(&host->ak, &key, &err));
    OK(lt_signature_check(key, (struct lt_slice){q.signature, q.signature_n},
                          (struct lt_slice){q.attest, q.attest_n}, &err));
    lt_signature_key_free(key);
    lt_residency_host_quote_free(&q);
    return h;
}

static struct lt_residency_header check_proof(const json_t *reply, size_t i, const struct mock_host *host,
                                              uint32_t guest, uint32_t salt, bool resident)
{
    const json_t *p = json_array_get(json_object_get(reply, "proofs"), i);
    uint8_t uuid[16], expected[16];

    OK(lt_json_uuid(p, "uuid", uuid, &err));
    mock_uuid(guest, expected);
    assert_memory_equal(uuid, expected, 16);
    return check_answer(reply, p, host, guest, salt, resident);
}

static void check_item_error(const json_t *reply, size_t i, const char *slug, int code, bool retry)
{
    json_t *e = json_object_get(json_array_get(json_object_get(reply, "proofs"), i), "error");
    assert_string_equal(json_string_value(json_object_get(e, "slug")), slug);
    assert_int_equal(json_integer_value(json_object_get(e, "code")), code);
    assert_int_equal(lt_json_has(e, "retry_after"), retry);
}

/* ---- enrolment ---- */

static void enrolment(void **state)
{
    struct rig *r = *state;
    char path[80];
    int64_t guests;

    settle(r);
    LT_JSON_AUTO json_t *list = rig_json(r, r->operator, "GET", "hosts", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "hosts")), 2);
    LT_JSON_AUTO json_t *registry = rig_json(r, r->operator, "GET", "registry", NULL, 200);
    assert_string_equal(json_string_value(json_object_get(registry, "format")), "limetree-registry/1");
    assert_int_equal(json_array_size(json_object_get(registry, "hosts")), 2);

    snprintf(path, sizeof path, "hosts/%s", r->host[0]);
    LT_JSON_AUTO json_t *mine = rig_json(r, r->a, "GET", path, NULL, 200);
    assert_null(json_object_get(mine, "address")); /* the provider's business */
    LT_AUTOFREE uint8_t *ak = NULL;
    size_t n;
    OK(lt_json_base64(mine, "ak", LT_MAX_PUBLIC, &ak, &n, &err));
    assert_int_equal(n, r->agent[0].host.ak.raw_n);
    assert_memory_equal(ak, r->agent[0].host.ak.raw, n);
    LT_JSON_AUTO json_t *full = rig_json(r, r->operator, "GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(full, "address")),
                        mock_agent_address(&r->agent[0]));
    assert_string_equal(json_string_value(json_object_get(full, "state")), "up");

    json_t *h0 = json_array_get(json_object_get(list, "hosts"), 0);
    OK(lt_json_int(h0, "guests", 5, 10, &guests, &err));

    rig_enrol(r, 0); /* again: no second host */
    LT_JSON_AUTO json_t *again = rig_json(r, r->operator, "GET", "hosts", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(again, "hosts")), 2);

    json_decref(rig_json(r, r->operator, "DELETE", path, NULL, 200));
    json_decref(rig_json(r, r->operator, "GET", path, NULL, 404));
    json_decref(rig_json(r, r->operator, "DELETE", path, NULL, 404));
    LT_JSON_AUTO json_t *gone = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200);
    check_item_error(gone, 0, "not-found", 404, true);
}

static void refused_enrolments(void **state)
{
    struct rig *r = *state;
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "",
                                      "{\"address\":1}",
                                      "{\"address\":\"127.0.0.1\"}",
                                      "{\"address\":\"127.0.0.1:1/x\"}",
                                      "{\"address\":\"a@b:1\"}",
                                      "{\"address\":\"127.0.0.1:1\",\"ek_digest\":\"00\"}",
                                      "{\"address\":\"127.0.0.1:1\",\"intermediates\":1}",
                                      "{\"address\":\"127.0.0.1:1\",\"more\":1}"};
    uint8_t digest[32] = {1};
    EVP_PKEY *own = r->agent[0].host.ek_key;

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rig_http(r, r->operator, "POST", "hosts", bad[i], NULL, NULL), 400);
    json_decref(rig_json(r, r->operator, "POST", "hosts", json_pack("{s:s}", "address", "127.0.0.1:1"), 503));
    /* another EK than the operator read off the chip */
    json_decref(rig_json(r, r->operator, "POST", "hosts",
                         json_pack("{s:s, s:o}", "address", mock_agent_address(&r->agent[0]), "ek_digest",
                                   lt_json_new_hex(digest, 32)),
                         422));
    /* issuers for a chip that shows no certificate */
    LT_JSON_AUTO json_t *issuers = rig_json(
        r, r->operator, "POST", "hosts",
        json_pack("{s:s, s:[s]}", "address", mock_agent_address(&r->agent[0]), "intermediates", "x"), 422);
    /* an agent that shows an EK whose private part it does not have */
    r->agent[0].host.ek_key = r->agent[1].host.ek_key;
    LT_JSON_AUTO json_t *fails =
        rig_json(r, r->operator, "POST", "hosts",
                 json_pack("{s:s}", "address", mock_agent_address(&r->agent[0])), 422);
    assert_non_null(fails);
    r->agent[0].host.ek_key = own;
    /* an agent whose certificate is for another host */
    struct mock_host swap = r->agent[0].host;
    r->agent[0].host = r->agent[1].host;
    json_decref(rig_json(r, r->operator, "POST", "hosts",
                         json_pack("{s:s}", "address", mock_agent_address(&r->agent[0])), 422));
    r->agent[0].host = swap;
    LT_JSON_AUTO json_t *list = rig_json(r, r->operator, "GET", "hosts", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "hosts")), 0);
}

/* ---- proofs ---- */

static void proofs_of_two_hosts_in_the_order_asked(void **state)
{
    struct rig *r = *state;

    settle(r);
    json_t *ask = rig_ask(3, 2, 1), *more = rig_ask(100, 3, 1), *list = json_object_get(ask, "guests");
    json_array_insert(list, 1, json_array_get(json_object_get(more, "guests"), 0));
    json_array_append(list, json_array_get(json_object_get(more, "guests"), 2));
    json_decref(more);
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", ask, 200);
    assert_int_equal(json_array_size(json_object_get(reply, "quotes")), 2);
    assert_int_equal(json_array_size(json_object_get(reply, "proofs")), 4);
    struct lt_residency_header h = check_proof(reply, 0, &r->agent[0].host, 3, 1, true);
    assert_int_equal(h.n, 2); /* one request for one host is one batch */
    check_proof(reply, 1, &r->agent[1].host, 100, 1, true);
    check_proof(reply, 2, &r->agent[0].host, 4, 1, true);
    check_proof(reply, 3, &r->agent[1].host, 102, 1, true);
    assert_int_equal(r->agent[0].quotes, 1);
    assert_int_equal(r->agent[1].quotes, 1);
}

static void anothers_guest_is_like_none(void **state)
{
    struct rig *r = *state;
    struct lt_http_reply foreign = {0}, unknown = {0};
    char path[64];

    settle(r);
    rig_assign(r, 105, r->tenant_b); /* assigned, and on no host */
    static const uint32_t guests[] = {5, 4000, 105};
    LT_AUTOFREE char *first = NULL;
    for (unsigned i = 0; i < 3; i++) {
        LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", rig_ask(guests[i], 1, 1), 200);
        check_item_error(reply, 0, "not-assigned", 404, false);
        json_object_del(json_array_get(json_object_get(reply, "proofs"), 0), "uuid");
        LT_AUTOFREE char *text = lt_json_dump(reply);
        if (first)
            assert_string_equal(text, first);
        else
            first = strdup(text);
    }
    guest_path(5, path);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, &foreign), 404);
    guest_path(4000, path);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, &unknown), 404);
    assert_string_equal(foreign.body, unknown.body);
    free((char *)foreign.body);
    free((char *)unknown.body);
    guest_path(0, path);
    LT_JSON_AUTO json_t *own = rig_json(r, r->a, "GET", path, NULL, 200);
    assert_string_equal(json_string_value(json_object_get(own, "host")), r->host[0]);
    /* one fault stays inside its item */
    LT_JSON_AUTO json_t *mixed = rig_json(r, r->a, "POST", "proofs", rig_ask(4, 2, 9), 200);
    check_proof(mixed, 0, &r->agent[0].host, 4, 9, true);
    check_item_error(mixed, 1, "not-assigned", 404, false);
}

/* The server answers before the body is in and hangs up: the client sees the 413 or the hanging up. */
static void oversized(struct rig *r, const char *body)
{
    char url[128];
    struct lt_http_reply reply = {0};
    struct lt_http_request req = {.method = "POST", .url = url, .body = body, .body_n = strlen(body)};

    snprintf(url, sizeof url, "https://%s/federation/v1/proofs", r->address);
    if (!lt_http_call(r->a, &req, &reply, &err))
        assert_int_equal(reply.status, 413);
    free((char *)reply.body);
}

static void bad_requests(void **state)
{
    struct rig *r = *state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"guests\":[]}",
        "{\"guests\":{}}",
        "{\"guests\":[1]}",
        "{\"guests\":[{}]}",
        "{\"guests\":[{\"uuid\":\"x\",\"commitment\":\"00\"}]}",
        "{\"guests\":[{\"uuid\":\"00000000-0000-4000-8000-000000000000\",\"commitment\":\"00\"}]}",
        "{\"guests\":[],\"guests\":[]}",
        "{\"guests\":[],\"x\":1}"};

    settle(r);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rig_http(r, r->a, "POST", "proofs", bad[i], NULL, NULL), 400);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, LT_MAX_PROOF_ITEMS + 1, 1), 413));
    LT_AUTOFREE char *big = malloc(LT_MAX_BODY_PROOFS + 2);
    memset(big, ' ', LT_MAX_BODY_PROOFS + 1);
    big[LT_MAX_BODY_PROOFS + 1] = 0;
    oversized(r, big);
    LT_JSON_AUTO json_t *many = rig_json(r, r->a, "POST", "proofs", rig_ask(0, LT_MAX_PROOF_ITEMS, 2), 200);
    check_proof(many, 4, &r->agent[0].host, 4, 2, true);
    check_item_error(many, 5, "not-assigned", 404, false);
}

/* ---- places ---- */

static void a_new_guest_is_found_when_asked_for(void **state)
{
    struct rig *r = *state;

    settle(r);
    rig_assign(r, 700, r->tenant_a);
    populate(r, 1, 700, 1);
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", rig_ask(700, 1, 1), 200);
    check_proof(reply, 0, &r->agent[1].host, 700, 1, true);
    /* who was there and is gone: its last host says so */
    LT_JSON_AUTO json_t *gone = rig_json(r, r->a, "POST", "proofs", rig_ask(101, 1, 1), 200);
    check_proof(gone, 0, &r->agent[1].host, 101, 1, false);
    /* and now it has moved */
    populate(r, 0, 90, 20);
    LT_JSON_AUTO json_t *other =
        rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 2), 200); /* brings the news */
    check_proof(other, 0, &r->agent[0].host, 0, 2, false);
    LT_JSON_AUTO json_t *moved = rig_json(r, r->a, "POST", "proofs", rig_ask(101, 1, 3), 200);
    check_proof(moved, 0, &r->agent[0].host, 101, 3, true);
}

/* ---- places that are claimed by several ---- */

/* What that host answers for the i-th guest: the item itself, or one of its others. NULL: it was not asked.
 */
static const json_t *answer_of(struct rig *r, const json_t *reply, size_t i, unsigned host)
{
    const json_t *item = json_array_get(json_object_get(reply, "proofs"), i), *other;
    const json_t *quotes = json_object_get(reply, "quotes"), *quote = json_object_get(item, "quote");
    size_t k;

    if (json_is_integer(quote) &&
        !strcmp(json_string_value(
                    json_object_get(json_array_get(quotes, (size_t)json_integer_value(quote)), "host")),
                r->host[host]))
        return item;
    json_array_foreach(json_object_get(item, "others"), k, other)
    {
        if (!strcmp(json_string_value(json_object_get(other, "host")), r->host[host]))
            return other;
    }
    return NULL;
}

static size_t answers(const json_t *reply, size_t i)
{
    return 1 +
           json_array_size(json_object_get(json_array_get(json_object_get(reply, "proofs"), i), "others"));
}

/* One guest, by its pair and the host that was accepted last (-1: none). The EK as mock_host_populate makes
 * it. */
static json_t *ask_for(struct rig *r, uint32_t guest, uint32_t salt, bool pair, int named)
{
    json_t *ask = rig_ask(guest, 1, salt), *g = json_array_get(json_object_get(ask, "guests"), 0);
    uint8_t uuid[16], ek[32];

    mock_uuid(guest, uuid);
    lt_sha256(uuid, 16, ek);
    if (pair)
        json_object_set_new(g, "ek_digest", lt_json_new_hex(ek, 32));
    if (named >= 0)
        json_object_set_new(g, "host", json_string(r->host[named]));
    return rig_json(r, r->a, "POST", "proofs", ask, 200);
}

/* The hosts' inventories are asked for: a guest that nobody has brings that about. */
static void refresh(struct rig *r)
{
    static uint32_t stranger = 500000;

    rig_assign(r, ++stranger, r->tenant_a);
    for (;;) { /* at most once a second */
        LT_JSON_AUTO json_t *j = rig_json(r, r->a, "POST", "proofs", rig_ask(stranger, 1, 1), 200);
        check_item_error(j, 0, "not-found", 404, true);
        LT_JSON_AUTO json_t *list = rig_json(r, r->operator, "GET", "hosts", NULL, 200);
        json_t *h;
        size_t i;
        bool all = true;
        json_array_foreach(json_object_get(list, "hosts"), i, h)
        {
            for (unsigned k = 0; k < RIG_HOSTS; k++)
                if (!strcmp(r->host[k], json_string_value(json_object_get(h, "host"))))
                    all = all && json_integer_value(json_object_get(h, "guests")) == r->agent[k].host.count;
        }
        if (all)
            return;
    }
}

/* An enrolled host lists another's guest and is quoted with it: both are asked from then on, and the true
 * one's proof is never withheld (docs/protocol.md section 6). */
static void place_theft(void **state)
{
    struct rig *r = *state;
    uint32_t salt = 10;
    char path[64];

    settle(r);
    rig_assign(r, 3, r->tenant_a);
    for (int restarted = 0; restarted < 2; restarted++) {
        if (!restarted) {
            LT_JSON_AUTO json_t *before = rig_json(r, r->a, "POST", "proofs", rig_ask(3, 1, 1), 200);
            check_proof(before, 0, &r->agent[0].host, 3, 1, true);
            assert_int_equal(answers(before, 0), 1);
            populate(r, 1, 3, 1); /* the rogue says: guest 3; any round with it quotes that */
            json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(100, 1, 9), 200));
        }
        for (int i = 0; i < 4; i++) {
            bool pair = i & 1, named = i & 2;
            LT_JSON_AUTO json_t *j = ask_for(r, 3, ++salt, pair, named ? 0 : -1);
            check_proof(j, 0, &r->agent[0].host, 3, salt, true); /* an item's own: the true host's */
            assert_int_equal(answers(j, 0), 2);
            check_answer(j, answer_of(r, j, 0, 1), &r->agent[1].host, 3, salt, true);
            assert_int_equal(json_array_size(json_object_get(j, "quotes")), 2);
        }
        guest_path(3, path);
        LT_JSON_AUTO json_t *place = rig_json(r, r->a, "GET", path, NULL, 200);
        assert_string_equal(json_string_value(json_object_get(place, "host")), r->host[0]);
        rig_stop(r);
        rig_start(r, quick);
    }
    /* The rogue drops it: it is gone from the places, not the true one. */
    populate(r, 1, 100, 5);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(100, 1, 10), 200));
    LT_JSON_AUTO json_t *after = ask_for(r, 3, ++salt, true, -1);
    check_proof(after, 0, &r->agent[0].host, 3, salt, true);
    assert_int_equal(answers(after, 0), 1);
    /* The true host drops it, and it turns up elsewhere: the item's own is who has it. */
    populate(r, 0, 90, 2);
    populate(r, 1, 3, 1);
    rig_assign(r, 90, r->tenant_a);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(90, 1, 11), 200));
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(100, 1, 11), 200));
    LT_JSON_AUTO json_t *moved = ask_for(r, 3, ++salt, true, 0);
    check_proof(moved, 0, &r->agent[1].host, 3, salt, true);
    check_answer(moved, answer_of(r, moved, 0, 0), &r->agent[0].host, 3, salt, false);
}

/* With an EK of its own a host claims another pair: it is not asked for this one. */
static void another_ek_is_another_pair(void **state)
{
    struct rig *r = *state;

    settle(r);
    json_decref(ask_for(r, 3, 1, true, -1));
    populate(r, 1, 3, 1);
    pthread_mutex_lock(&r->agent[1].lock);
    struct mock_host *h = &r->agent[1].host;
    memset(h->records[0].ek_digest, 0x66, 32);
    lt_merkle_free(h->tree);
    OK(lt_residency_inventory_tree(h->records, h->count, &h->tree, &err));
    pthread_mutex_unlock(&r->agent[1].lock);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(100, 1, 9), 200));
    LT_JSON_AUTO json_t *pair = ask_for(r, 3, 2, true, -1);
    check_proof(pair, 0, &r->agent[0].host, 3, 2, true);
    assert_int_equal(answers(pair, 0), 1);
    LT_JSON_AUTO json_t *uuid = ask_for(r, 3, 3, false, -1); /* absent: every claimant of the UUID counts */
    check_proof(uuid, 0, &r->agent[0].host, 3, 3, true);
    check_answer(uuid, answer_of(r, uuid, 0, 1), h, 3, 3, true);
    /* Named, it is asked, and shows what it has under this UUID. */
    LT_JSON_AUTO json_t *named = ask_for(r, 3, 4, true, 1);
    check_proof(named, 0, &r->agent[0].host, 3, 4, true);
    check_answer(named, answer_of(r, named, 0, 1), h, 3, 4, true);
    /* Who has the UUID under another EK answers for a pair that nobody claims. */
    rig_assign(r, 105, r->tenant_a);
    populate(r, 1, 105, 1);
    json_t *ask = rig_ask(105, 1, 5);
    json_object_set_new(json_array_get(json_object_get(ask, "guests"), 0), "ek_digest",
                        lt_json_new_hex((uint8_t[32]){9}, 32));
    LT_JSON_AUTO json_t *other = rig_json(r, r->a, "POST", "proofs", ask, 200);
    check_proof(other, 0, h, 105, 5, true);
    static const char *const bad[] = {
        "{\"guests\":[{\"uuid\":\"00000000-0000-4000-8000-000000000003\",\"commitment\":\""
        "0000000000000000000000000000000000000000000000000000000000000000\","
        "\"ek_digest\":\"00\"}]}",
        "{\"guests\":[{\"uuid\":\"00000000-0000-4000-8000-000000000003\",\"commitment\":\""
        "0000000000000000000000000000000000000000000000000000000000000000\","
        "\"host\":3}]}"};
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(rig_http(r, r->a, "POST", "proofs", bad[i], NULL, NULL), 400);
}

/* A host that merely shows an inventory (its TLS key suffices) moves no place: it has to be quoted with it.
 */
static void an_inventory_that_no_quote_has(void **state)
{
    struct rig *r = *state;
    uint32_t salt = 1;

    settle(r);
    json_decref(ask_for(r, 3, salt, true, -1));
    atomic_store(&r->agent[1].hang, true); /* it cannot quote */
    populate(r, 1, 3, 1);
    refresh(r);
    for (int i = 0; i < 3; i++) {
        LT_JSON_AUTO json_t *j = ask_for(r, 3, ++salt, true, i ? 0 : -1);
        check_proof(j, 0, &r->agent[0].host, 3, salt, true);
        assert_int_equal(answers(j, 0), 1);
    }
    atomic_store(&r->agent[1].hang, false);
    mock_agent_wake(&r->agent[1]);
    /* The other way round: the rogue was quoted with a guest that has just been started elsewhere. The true
     * host is quoted for it by and by without being asked for, and from then on both are. */
    populate(r, 1, 4200, 1);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(100, 1, 9), 200));
    rig_assign(r, 4200, r->tenant_a);
    populate(r, 0, 4200, 1);
    refresh(r);
    for (uint64_t until = lt_clock_ms() + 20000;;) {
        LT_JSON_AUTO json_t *j = ask_for(r, 4200, ++salt, true, -1);
        const json_t *a = answer_of(r, j, 0, 0);
        if (a) {
            check_answer(j, a, &r->agent[0].host, 4200, salt, true);
            break;
        }
        if (lt_clock_ms() > until)
            fail_msg("the true host was never asked");
    }
}

/* Five rogues for one guest that has just been started: the true host is asked within a few rounds, and in
 * every one once the tenant names it. */
static void more_claimants_than_are_asked(void **state)
{
    struct rig *r = *state;
    unsigned seen = 0;

    settle(r);
    for (unsigned h = 1; h < RIG_HOSTS; h++) {
        if (h > 1)
            rig_enrol(r, h);
        populate(r, h, 4300, 1);
    }
    rig_assign(r, 4300, r->tenant_a);
    refresh(r);
    json_decref(ask_for(r, 4300, 1, true, -1)); /* some of the rogues are quoted, */
    json_decref(ask_for(r, 4300, 2, true, -1)); /* and the others */
    populate(r, 0, 4300, 1);
    refresh(r);
    for (uint32_t salt = 3; salt < 60 && !seen; salt++) {
        LT_JSON_AUTO json_t *j = ask_for(r, 4300, salt, true, -1);
        assert_int_equal(answers(j, 0), LT_MAX_CLAIMANTS);
        seen += answer_of(r, j, 0, 0) != NULL;
    }
    assert_true(seen);
    for (uint32_t salt = 100; salt < 104; salt++) {
        LT_JSON_AUTO json_t *j = ask_for(r, 4300, salt, true, 0);
        assert_int_equal(answers(j, 0), LT_MAX_CLAIMANTS);
        check_proof(j, 0, &r->agent[0].host, 4300, salt, true);
    }
}

/* A rogue that is slow, or dead, delays the true host's answer by little, and nobody else's in the same
 * request. */
static void a_slow_claimant(void **state)
{
    struct rig *r = *state;

    rig_stop(r);
    static const char *const patient[] = {"host_timeout_ms=8000", NULL};
    rig_start(r, patient);
    settle(r);
    populate(r, 1, 3, 1);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(100, 1, 9), 200));
    json_decref(ask_for(r, 3, 1, true, 0));
    atomic_store(&r->agent[1].hang, true);
    json_t *ask = rig_ask(2, 3, 2);
    json_object_set_new(json_array_get(json_object_get(ask, "guests"), 1), "host", json_string(r->host[0]));
    uint64_t from = lt_clock_ms();
    LT_JSON_AUTO json_t *j = rig_json(r, r->a, "POST", "proofs", ask, 200);
    assert_true(lt_clock_ms() - from < 4000); /* the grace is at most a second; its timeout is 8 */
    for (uint32_t i = 0; i < 3; i++)
        check_proof(j, i, &r->agent[0].host, 2 + i, 2, true);
    const json_t *other = answer_of(r, j, 1, 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(other, "error"), "slug")),
                        "host-unreachable");
    assert_int_equal(answers(j, 0), 1);
    /* As a ticket too. */
    struct lt_http_reply t = {0};
    ask = rig_ask(3, 1, 3);
    json_object_set_new(json_array_get(json_object_get(ask, "guests"), 0), "host", json_string(r->host[0]));
    LT_AUTOFREE char *text = lt_json_dump(ask);
    json_decref(ask);
    assert_int_equal(rig_http(r, r->a, "POST", "proofs", text, "Prefer: respond-async", &t), 202);
    free((char *)t.body);
    LT_AUTOFREE char *path = strdup(lt_http_reply_header(&t, "Location") + strlen("/federation/v1/"));
    int status;
    from = lt_clock_ms();
    while ((status = rig_http(r, r->a, "GET", path, NULL, NULL, &t)) == 202)
        free((char *)t.body);
    assert_int_equal(status, 200);
    assert_true(lt_clock_ms() - from < 4000);
    LT_JSON_AUTO json_t *late = lt_json_parse(t.body, t.n, LT_MAX_REPLY, &err);
    free((char *)t.body);
    check_proof(late, 0, &r->agent[0].host, 3, 3, true);
    /* Who is named and slow is waited for: the rogue's answer does not suffice. */
    atomic_store(&r->agent[1].hang, false);
    mock_agent_wake(&r->agent[1]);
    atomic_store(&r->agent[0].delay_ms, 2000);
    LT_JSON_AUTO json_t *slow = ask_for(r, 3, 4, true, 0);
    check_proof(slow, 0, &r->agent[0].host, 3, 4, true);
    assert_non_null(answer_of(r, slow, 0, 1));
}

/* ---- tickets ---- */

static void tickets(void **state)
{
    struct rig *r = *state;
    struct lt_http_reply t = {0}, last = {0};

    settle(r);
    atomic_store(&r->agent[0].hang, true);
    LT_AUTOFREE char *text = ({
        LT_JSON_AUTO json_t *j = rig_ask(0, 3, 1);
        lt_json_dump(j);
    });
    assert_int_equal(rig_http(r, r->a, "POST", "proofs", text, "Prefer: respond-async", &t), 202);
    free((char *)t.body);
    const char *prefix = "/federation/v1/";
    const char *location = lt_http_reply_header(&t, "Location");
    assert_memory_equal(location, prefix, strlen(prefix));
    const char *path = location + strlen(prefix);
    assert_int_equal(strlen(path), strlen("proofs/") + 32);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 202);
    assert_int_equal(rig_http(r, r->b, "GET", path, NULL, NULL, NULL), 404);
    assert_int_equal(rig_http(r, r->a, "GET", "proofs/00000000000000000000000000000000", NULL, NULL, NULL),
                     404);
    assert_int_equal(rig_http(r, r->a, "GET", "proofs/x", NULL, NULL, NULL), 404);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
    int status;
    while ((status = rig_http(r, r->a, "GET", path, NULL, NULL, &last)) == 202)
        free((char *)last.body);
    assert_int_equal(status, 200);
    LT_JSON_AUTO json_t *j = lt_json_parse(last.body, last.n, LT_MAX_REPLY, &err);
    for (uint32_t i = 0; i < 3; i++)
        check_proof(j, i, &r->agent[0].host, i, 1, true);
    struct lt_http_reply again = {0}; /* a lost answer can be asked for again */
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, &again), 200);
    assert_string_equal(again.body, last.body);
    assert_int_equal(rig_http(r, r->b, "GET", path, NULL, NULL, NULL), 404);
    free((char *)again.body);
    free((char *)last.body);
}

/* ---- trouble ---- */

static void a_host_that_hangs_fails_its_own(void **state)
{
    struct rig *r = *state;

    settle(r);
    atomic_store(&r->agent[0].hang, true);
    json_t *ask = rig_ask(0, 1, 1), *more = rig_ask(100, 1, 1);
    json_array_extend(json_object_get(ask, "guests"), json_object_get(more, "guests"));
    json_decref(more);
    uint64_t before = lt_clock_ms();
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", ask, 200);
    assert_true(lt_clock_ms() - before < 8000);
    check_item_error(reply, 0, "host-unreachable", 503, true);
    check_proof(reply, 1, &r->agent[1].host, 100, 1, true);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]); /* what hung is answered too late, and moves the host's batch_seq */
    LT_JSON_AUTO json_t *later = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 2), 200);
    check_proof(later, 0, &r->agent[0].host, 0, 2, true);
}

static void a_dead_host_comes_back(void **state)
{
    struct rig *r = *state;

    settle(r);
    mock_agent_stop(&r->agent[0]);
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200);
    check_item_error(reply, 0, "host-unreachable", 503, true);
    mock_agent_start(&r->agent[0], r->dir, "host-0"); /* on another port: enrolled again at its new address */
    rig_enrol(r, 0);
    LT_JSON_AUTO json_t *later = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 2), 200);
    check_proof(later, 0, &r->agent[0].host, 0, 2, true);
}

/* ---- how hosts are ---- */

/* One host as `host list` has it. */
static json_t *listed(struct rig *r, unsigned host)
{
    LT_JSON_AUTO json_t *list = rig_json(r, r->operator, "GET", "hosts", NULL, 200);
    json_t *h;
    size_t i;

    json_array_foreach(
        json_object_get(list, "hosts"), i,
        h) if (!strcmp(json_string_value(json_object_get(h, "host")), r->host[host])) return json_incref(h);
    fail_msg("host %u is not listed", host);
    return NULL;
}

static void check_state(struct rig *r, unsigned host, const char *state, const char *slug)
{
    char path[80];
    LT_JSON_AUTO json_t *h = listed(r, host);

    snprintf(path, sizeof path, "hosts/%s", r->host[host]);
    LT_JSON_AUTO json_t *shown = rig_json(r, r->operator, "GET", path, NULL, 200);
    for (unsigned i = 0; i < 2; i++) {
        const json_t *j = i ? shown : h, *error = json_object_get(j, "error");
        assert_string_equal(json_string_value(json_object_get(j, "state")), state);
        assert_int_equal(json_is_null(error), !slug);
        if (slug)
            assert_string_equal(json_string_value(json_object_get(error, "slug")), slug);
    }
}

/* Quietly waits for the age at which a state is asked for again: as an operator would, by looking. */
static void wait_state(struct rig *r, unsigned host, const char *state)
{
    uint64_t until = lt_clock_ms() + 20000;

    for (;;) {
        LT_JSON_AUTO json_t *h = listed(r, host);
        if (!strcmp(json_string_value(json_object_get(h, "state")), state))
            return;
        if (lt_clock_ms() > until)
            fail_msg("never %s: %s", state, json_dumps(h, 0));
    }
}

static void a_host_s_state_is_its_last_quote(void **state)
{
    struct rig *r = *state;

    settle(r);
    uint64_t until = lt_clock_ms() + 20000;
    for (; !atomic_load(&r->agent[0].quotes);
         usleep(10000)) { /* nobody asks it: listing does, of one a second old */
        check_state(r, 0, "up", NULL);
        assert_true(lt_clock_ms() < until);
    }
    atomic_store(&r->agent[0].no_tpm, true);
    wait_state(r, 0, "host-tpm");
    check_state(r, 0, "host-tpm", "host-tpm");
    check_state(r, 1, "up", NULL);
    LT_JSON_AUTO json_t *h = listed(r, 0);
    assert_non_null(
        strstr(json_string_value(json_object_get(json_object_get(h, "error"), "message")), "absent"));
    assert_true(json_is_integer(json_object_get(h, "last_quote_age_ms"))); /* the last good one */
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200);
    check_item_error(reply, 0, "host-tpm", 503, true);
    assert_null(
        strstr(json_string_value(json_object_get(
                   json_object_get(json_array_get(json_object_get(reply, "proofs"), 0), "error"), "message")),
               "tpmrm0")); /* its words are not for tenants */
    atomic_store(&r->agent[0].no_tpm, false);
    wait_state(r, 0, "up");
    mock_agent_stop(&r->agent[0]);
    wait_state(r, 0, "unreachable");
    mock_agent_start(&r->agent[0], r->dir, "host-0");
    rig_enrol(r, 0);
    check_state(r, 0, "up", NULL);
    /* What tenants may see of a host has no state in it. */
    char path[80];
    snprintf(path, sizeof path, "hosts/%s", r->host[0]);
    LT_JSON_AUTO json_t *tenants = rig_json(r, r->a, "GET", path, NULL, 200);
    assert_false(lt_json_has(tenants, "state") || json_object_get(tenants, "error") ||
                 lt_json_has(tenants, "address"));
}

/* A host that hangs keeps the list from nobody, and is not "up" by that. */
static void listing_does_not_wait_for_ever(void **state)
{
    struct rig *r = *state;

    settle(r);
    atomic_store(&r->agent[0].hang, true);
    uint64_t until = lt_clock_ms() + 20000;
    for (bool up = true; up; usleep(10000)) { /* a quote of just now is not asked for again */
        uint64_t before = lt_clock_ms();
        LT_JSON_AUTO json_t *h = listed(r, 0);
        assert_true(lt_clock_ms() - before < 10000);
        up = !strcmp(json_string_value(json_object_get(h, "state")), "up");
        assert_true(lt_clock_ms() < until);
    }
    wait_state(r, 0, "unreachable");
    check_state(r, 1, "up", NULL);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
    wait_state(r, 0, "up");
}

/* Nobody asks and nobody lists: the provider notices by itself, and a list says so at once. */
static void an_idle_host_is_looked_after(void **state)
{
    static const char *const often[] = {"host_timeout_ms=1500", "host_period_s=1", NULL};
    struct rig *r = *state;

    rig_stop(r);
    rig_start(r, often);
    settle(r);
    uint64_t until = lt_clock_ms() + 20000;
    for (; atomic_load(&r->agent[1].quotes) < 3; usleep(10000)) /* no request comes from us meanwhile */
        assert_true(lt_clock_ms() < until);
    /* After a restart everything enrolled is asked at once. */
    rig_stop(r);
    unsigned long quotes = atomic_load(&r->agent[0].quotes);
    rig_start(r, quick);
    for (; atomic_load(&r->agent[0].quotes) == quotes; usleep(10000))
        assert_true(lt_clock_ms() < until);
    check_state(r, 0, "up", NULL);
}

static void empty_pcrs_are_not_learnt(void **state)
{
    static const uint8_t fills[] = {0, 0xff};
    struct rig *r = *state;
    struct mock_host *host = &r->agent[0].host;
    uint8_t pcr4[32];
    char path[80];

    settle(r);
    snprintf(path, sizeof path, "hosts/%s/learn", r->host[0]);
    pthread_mutex_lock(&r->agent[0].lock);
    memcpy(pcr4, host->pcrs.value[4], 32);
    pthread_mutex_unlock(&r->agent[0].lock);
    for (unsigned i = 0; i < 2; i++) {
        pthread_mutex_lock(&r->agent[0].lock);
        for (unsigned k = 0; k < 8; k++)
            memset(host->pcrs.value[k], fills[i], 32);
        pthread_mutex_unlock(&r->agent[0].lock);
        LT_JSON_AUTO json_t *e = rig_json(r, r->operator, "POST", path, json_object(), 422);
        const char *message = json_string_value(json_object_get(json_object_get(e, "error"), "message"));
        assert_non_null(strstr(message, "PCR 0-7 of the sha256 bank are empty"));
        LT_JSON_AUTO json_t *h = listed(r, 0);
        assert_int_equal(strspn(json_string_value(json_object_get(h, "policy")), "0"), 64);
    }
    pthread_mutex_lock(&r->agent[0].lock);
    memcpy(host->pcrs.value[4], pcr4, 32);
    pthread_mutex_unlock(&r->agent[0].lock);
    json_decref(rig_json(r, r->operator, "POST", path, json_object(), 201));
}

static void never(void *arg, const struct lt_http_reply *reply, const struct lt_err *e)
{
    (void)reply;
    atomic_fetch_add((atomic_int *)arg, e->code ? 1 : 1000);
}

static void who_vanishes_harms_nobody(void **state)
{
    struct rig *r = *state;
    struct lt_http_client *gone = rig_client(r, "tenant-a", 16);
    atomic_int ended = 0;
    char url[128];

    settle(r);
    atomic_store(&r->agent[0].hang, true);
    LT_AUTOFREE char *text = ({
        LT_JSON_AUTO json_t *j = rig_ask(0, 5, 1);
        lt_json_dump(j);
    });
    snprintf(url, sizeof url, "https://%s/federation/v1/proofs", r->address);
    for (int i = 0; i < 10; i++)
        lt_http_send(
            gone,
            &(struct lt_http_request){.method = "POST", .url = url, .body = text, .body_n = strlen(text)},
            never, &ended);
    /* a ticket behind them says when they are in the queue */
    struct lt_http_reply t = {0};
    assert_int_equal(
        rig_http(r, r->b, "POST", "proofs",
                 "{\"guests\":[{\"uuid\":\"00000000-0000-4000-8000-000000000005\",\"commitment\":"
                 "\"0000000000000000000000000000000000000000000000000000000000000000\"}]}",
                 "Prefer: respond-async", &t),
        202);
    free((char *)t.body);
    lt_http_client_free(gone);
    assert_int_equal(ended, 10);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
    LT_JSON_AUTO json_t *reply = rig_json(r, r->b, "POST", "proofs", rig_ask(5, 5, 2), 200);
    for (uint32_t i = 0; i < 5; i++)
        check_proof(reply, i, &r->agent[0].host, 5 + i, 2, true);
}

static void ceilings(void **state)
{
    struct rig *r = *state;
    static const char *const small[] = {"max_waiting=8", "max_waiting_per_tenant=5", "host_timeout_ms=1500",
                                        NULL};
    struct lt_http_reply t = {0};

    rig_stop(r);
    rig_start(r, small);
    settle(r);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, 6, 1), 429));
    atomic_store(&r->agent[0].hang, true);
    LT_AUTOFREE char *four = ({
        LT_JSON_AUTO json_t *j = rig_ask(0, 4, 1);
        lt_json_dump(j);
    });
    LT_AUTOFREE char *five = ({
        LT_JSON_AUTO json_t *j = rig_ask(5, 5, 1);
        lt_json_dump(j);
    });
    assert_int_equal(rig_http(r, r->a, "POST", "proofs", four, "Prefer: respond-async", NULL), 202);
    assert_int_equal(rig_http(r, r->a, "POST", "proofs", four, NULL, &t), 429);
    assert_true(t.retry_after_s > 0);
    free((char *)t.body);
    assert_int_equal(rig_http(r, r->b, "POST", "proofs", five, NULL, &t), 503);
    assert_true(t.retry_after_s > 0);
    free((char *)t.body);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
    LT_JSON_AUTO json_t *fits = rig_json(r, r->b, "POST", "proofs", rig_ask(5, 4, 1), 200);
    check_proof(fits, 3, &r->agent[0].host, 8, 1, true);
}

/* ---- policies, relay ---- */

static void policies(void **state)
{
    struct rig *r = *state;
    char path[128];
    struct lt_http_reply doc = {0};
    uint8_t digest[32], told[32], zeros[32] = {0};

    settle(r);
    LT_JSON_AUTO json_t *none = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200);
    struct lt_residency_header h = check_proof(none, 0, &r->agent[0].host, 0, 1, true);
    assert_memory_equal(h.policy_digest, zeros, 32);

    snprintf(path, sizeof path, "hosts/%s/learn", r->host[0]);
    LT_JSON_AUTO json_t *learnt = rig_json(r, r->operator, "POST", path, json_object(), 201);
    OK(lt_json_hex(learnt, "digest", told, 32, &err));
    snprintf(path, sizeof path, "policies/%s", json_string_value(json_object_get(learnt, "digest")));
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, &doc), 200);
    lt_sha256(doc.body, doc.n, digest);
    assert_memory_equal(digest, told, 32);
    LT_JSON_AUTO json_t *policy = lt_json_parse(doc.body, doc.n, 1 << 20, &err);
    free((char *)doc.body);
    assert_int_equal(json_object_size(json_object_get(policy, "pcrs")), 12);
    LT_JSON_AUTO json_t *with = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 2), 200);
    h = check_proof(with, 0, &r->agent[0].host, 0, 2, true);
    assert_memory_equal(h.policy_digest, told, 32);

    LT_JSON_AUTO json_t *added =
        rig_json(r, r->operator, "POST", "policies", json_pack("{s:{}}", "pcrs"), 201);
    snprintf(path, sizeof path, "hosts/%s/policy", r->host[0]);
    json_decref(rig_json(r, r->operator, "PUT", path,
                         json_pack("{s:O}", "policy", json_object_get(added, "digest")), 200));
    LT_JSON_AUTO json_t *other = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 3), 200);
    h = check_proof(other, 0, &r->agent[0].host, 0, 3, true);
    assert_memory_not_equal(h.policy_digest, told, 32);
    json_decref(
        rig_json(r, r->operator, "PUT", path, json_pack("{s:o}", "policy", lt_json_new_hex(zeros, 32)), 404));
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"pcrs\":{\"16\":[]}}",
                                      "{\"pcrs\":{\"1\":[\"00\"]}}",
                                      "{\"pcrs\":{\"01\":[]}}",
                                      "{\"pcrs\":{},\"more\":1}",
                                      "{\"pcrs\":{\"1\":[1]}}"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rig_http(r, r->operator, "POST", "policies", bad[i], NULL, NULL), 400);
}

/* Behind the host's list, which is text or binary. */
static void append(struct mock_agent *a, const struct lt_buf *more)
{
    assert_true(a->ima_n + more->n < sizeof a->ima);
    memcpy(a->ima + a->ima_n, more->p, more->n);
    a->ima_n += more->n;
    a->ima[a->ima_n] = 0;
}

/* The host has measured a file: its list and PCR 10. What it measures first is boot_aggregate. */
static void measure_as(struct rig *r, const char *path, bool binary)
{
    LT_AUTOBUF struct lt_buf line = LT_BUF(1024), frame = LT_BUF(1024);
    struct mock_agent *a = &r->agent[0];
    uint8_t digest[32];

    pthread_mutex_lock(&a->lock);
    if (!a->ima_n) {
        ima_aggregate(&line, a->host.pcrs.value[10], &a->host.pcrs, digest);
        ima_frame(&frame, digest, "boot_aggregate");
    }
    lt_sha256(path, strlen(path), digest);
    ima_line(&line, a->host.pcrs.value[10], digest, path);
    ima_frame(&frame, digest, path);
    append(a, binary ? &frame : &line);
    pthread_mutex_unlock(&a->lock);
}

static void measure(struct rig *r, const char *path)
{
    measure_as(r, path, false);
}

static void get_bytes(struct rig *r, const char *query, uint64_t first, struct lt_slice expected)
{
    struct lt_http_reply t = {0};
    char path[96];

    snprintf(path, sizeof path, "hosts/%s/ima%s", r->host[0], query);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, &t), 200);
    assert_true(lt_slice_eq((struct lt_slice){(const uint8_t *)t.body, t.n}, expected));
    assert_int_equal(strtoull(lt_http_reply_header(&t, "X-Ima-First"), NULL, 10), first);
    free((char *)t.body);
}

static void get_list(struct rig *r, const char *query, uint64_t first, const char *expected)
{
    get_bytes(r, query, first, (struct lt_slice){(const uint8_t *)expected, strlen(expected)});
}

/* The digests that the host's policy learns, and the layer they are in. */
static json_t *learn_host(struct rig *r)
{
    char path[96];

    snprintf(path, sizeof path, "hosts/%s/learn", r->host[0]);
    LT_JSON_AUTO json_t *learnt = rig_json(r, r->operator, "POST", path, json_pack("{s:b}", "ima", 1), 201);
    snprintf(path, sizeof path, "policies/%s", json_string_value(json_object_get(learnt, "digest")));
    LT_JSON_AUTO json_t *policy = rig_json(r, r->a, "GET", path, NULL, 200);
    json_t *layer = json_array_get(json_object_get(policy, "layers"), 0);
    snprintf(path, sizeof path, "policies/%s", json_string_value(json_object_get(layer, "policy")));
    LT_JSON_AUTO json_t *runtime = rig_json(r, r->a, "GET", path, NULL, 200);
    return json_incref(json_object_get(runtime, "digests"));
}

/* Names with newlines and bytes that are no text, in either form of the list: what is asked for from
 * somewhere on, both ends count alike, and what is learnt is the same. */
static void odd_names(void **state)
{
    static const char *const names[] = {"/sbin/init", "/tmp/a\nb", "/tmp/\n10 0 x\n", "/tmp/\xeb", NULL};
    json_t *learnt[2] = {NULL, NULL};
    struct rig *r = *state;
    struct mock_agent *a = &r->agent[0];

    for (int binary = 0; binary < 2; binary++) {
        settle(r);
        pthread_mutex_lock(&a->lock);
        a->ima_n = 0;
        memset(a->host.pcrs.value[10], 0, 32);
        pthread_mutex_unlock(&a->lock);
        for (int i = 0; names[i]; i++)
            measure_as(r, names[i], binary);
        json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200));
        const struct lt_slice all = {(const uint8_t *)a->ima, a->ima_n};
        uint64_t units = lt_ima_list_units(all), skipped;
        assert_int_equal(units, binary ? 5 : 8);
        for (uint64_t i = 0; i <= units; i++) {
            char query[32];
            size_t at = lt_ima_list_skip(all, i, &skipped);
            snprintf(query, sizeof query, "?first=%llu", (unsigned long long)i);
            get_bytes(r, query, i, (struct lt_slice){all.p + at, all.n - at});
        }
        learnt[binary] = learn_host(r);
        assert_int_equal(json_object_size(learnt[binary]), 4);
        assert_non_null(json_object_get(learnt[binary], "/tmp/a\nb"));
        assert_non_null(json_object_get(learnt[binary], "/tmp/\\xeb"));
    }
    assert_true(json_equal(learnt[0], learnt[1]));
    json_decref(lt_take(&learnt[0]));
    json_decref(lt_take(&learnt[1]));
}

static void ima_lists(void **state)
{
    struct rig *r = *state;
    struct mock_agent *a = &r->agent[0];
    char path[96], hex[65] = "";
    uint8_t digest[32];

    settle(r);
    measure(r, "/usr/bin/swtpm"); /* behind boot_aggregate */
    const char *second = strchr(a->ima, '\n') + 1;
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200));
    get_list(r, "", 0, a->ima);
    get_list(r, "?first=0", 0, a->ima);
    get_list(r, "?first=1", 1, second);
    get_list(r, "?first=2", 2, "");
    get_list(r, "?first=3", 0, a->ima); /* it is not that long: whole */
    get_list(r, "?first=-1", 0, a->ima);
    get_list(r, "?first=99999999999999999999", 0, a->ima);
    assert_int_equal(atomic_load(&a->lists), 1);
    /* A quote with another PCR 10 went out: nobody gets the list of before. */
    measure(r, "/usr/bin/new");
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 2), 200));
    get_list(r, "?first=2", 2, strstr(second, "\n") + 1);
    assert_int_equal(atomic_load(&a->lists), 2);
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 3), 200));
    get_list(r, "", 0, a->ima);
    assert_int_equal(atomic_load(&a->lists), 2);
    /* Learnt: the layer is a document of its own, which tenants get. */
    snprintf(path, sizeof path, "hosts/%s/learn", r->host[0]);
    json_decref(rig_json(r, r->operator, "POST", path, json_pack("{s:s}", "ima", "yes"), 400));
    LT_JSON_AUTO json_t *learnt = rig_json(r, r->operator, "POST", path, json_pack("{s:b}", "ima", 1), 201);
    snprintf(path, sizeof path, "policies/%s", json_string_value(json_object_get(learnt, "digest")));
    LT_JSON_AUTO json_t *policy = rig_json(r, r->a, "GET", path, NULL, 200);
    json_t *layer = json_array_get(json_object_get(policy, "layers"), 0);
    assert_string_equal(json_string_value(json_object_get(layer, "name")), "learnt");
    snprintf(path, sizeof path, "policies/%s", json_string_value(json_object_get(layer, "policy")));
    LT_JSON_AUTO json_t *runtime = rig_json(r, r->a, "GET", path, NULL, 200);
    json_t *files = json_object_get(runtime, "digests");
    assert_int_equal(json_object_size(files), 2);
    lt_sha256("/usr/bin/swtpm", 14, digest);
    lt_hex(digest, 32, hex);
    assert_string_equal(json_string_value(json_array_get(json_object_get(files, "/usr/bin/swtpm"), 0)), hex);
    /* A policy that names what is not here cannot become a host's; nor can a layer. */
    json_object_set_new(layer, "policy", json_string(hex));
    LT_JSON_AUTO json_t *wrong = rig_json(r, r->operator, "POST", "policies", json_incref(policy), 201);
    snprintf(path, sizeof path, "hosts/%s/policy", r->host[0]);
    LT_JSON_AUTO json_t *e = rig_json(r, r->operator, "PUT", path,
                                      json_pack("{s:O}", "policy", json_object_get(wrong, "digest")), 409);
    assert_non_null(strstr(json_string_value(json_object_get(json_object_get(e, "error"), "message")), hex));
    LT_JSON_AUTO json_t *layer_doc = rig_json(r, r->operator, "POST", "policies", json_incref(runtime), 201);
    json_decref(rig_json(r, r->operator, "PUT", path,
                         json_pack("{s:O}", "policy", json_object_get(layer_doc, "digest")), 400));
}

static void relayed_logs(void **state)
{
    struct rig *r = *state;
    char path[80];
    struct lt_http_reply t = {0};

    settle(r);
    snprintf(path, sizeof path, "hosts/%s/boot-log", r->host[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_http(r, i ? r->b : r->a, "GET", path, NULL, NULL, &t), 200);
        assert_string_equal(t.body, "boot log");
        free((char *)t.body);
    }
    assert_int_equal(atomic_load(&r->agent[0].logs), 1);
    pthread_mutex_lock(&r->agent[0].lock);
    r->agent[0].host.reset_count++;
    pthread_mutex_unlock(&r->agent[0].lock); /* a reboot, seen in the next quote: the log is asked for anew */
    json_decref(rig_json(r, r->a, "POST", "proofs", rig_ask(0, 1, 1), 200));
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 200);
    assert_int_equal(atomic_load(&r->agent[0].logs), 2);
    snprintf(path, sizeof path, "hosts/%s/ima", r->host[0]);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 404);
    assert_int_equal(
        rig_http(r, r->a, "GET", "hosts/00112233445566778899aabbccddeeff/boot-log", NULL, NULL, NULL), 404);
}

static void relayed_activation(void **state)
{
    struct rig *r = *state;
    const struct mock_host *h = &r->agent[0].host;
    LT_AUTOBUF struct lt_buf credential = LT_BUF(LT_MAX_CREDENTIAL);
    uint8_t secret[32], challenge[32], name[LT_TPM_NAME], expected[32], proof[32];
    char path[80];

    settle(r);
    lt_random(secret, 32);
    lt_random(challenge, 32);
    OK(lt_public_name(&h->ak, name, &err));
    OK(lt_credential_make(&h->ek, name, secret, 32, &credential, &err));
    snprintf(path, sizeof path, "hosts/%s/activations", r->host[0]);
    json_t *ask = json_pack("{s:o, s:o}", "credential", lt_json_new_base64(credential.p, credential.n),
                            "challenge", lt_json_new_hex(challenge, 32));
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", path, ask, 200);
    OK(lt_json_hex(reply, "proof", proof, 32, &err));
    lt_activation_proof(secret, h->host_id, name, challenge, expected);
    assert_memory_equal(proof, expected, 32);
    credential.p[20] ^= 1;
    credential.n -= 3;
    json_decref(rig_json(r, r->a, "POST", path,
                         json_pack("{s:o, s:o}", "credential", lt_json_new_base64(credential.p, credential.n),
                                   "challenge", lt_json_new_hex(challenge, 32)),
                         422));
    assert_int_equal(rig_http(r, r->a, "POST", path, "{}", NULL, NULL), 400);
}

/* ---- who may ---- */

static int status_of(struct rig *r, struct lt_http_client *c, const struct lt_http_route *route)
{
    char url[256], path[128] = "";
    struct lt_http_reply reply = {0};

    for (const char *s = route->path; *s; s++) { /* {} becomes a segment */
        size_t n = strlen(path);
        snprintf(path + n, sizeof path - n, *s == '{' ? "x" : *s == '}' ? "" : "%c", *s);
    }
    snprintf(url, sizeof url, "https://%s%s", r->address, path);
    err = (struct lt_err){0};
    if (lt_http_call(c, &(struct lt_http_request){.method = route->method, .url = url}, &reply, &err))
        return -1;
    free((char *)reply.body);
    return reply.status;
}

static void every_route_has_its_rule(void **state)
{
    struct rig *r = *state;
    size_t count;
    const struct lt_http_route *routes = lt_provider_routes(&count);
    struct lt_http_client *nobody = rig_client(r, NULL, 0), *host = rig_client(r, "host-0", 0),
                          *provider = rig_client(r, "provider", 0);

    assert_true(count > 15);
    for (size_t i = 0; i < count; i++) {
        int anonymous = status_of(r, nobody, &routes[i]);
        if (anonymous != -1 && anonymous != 401)
            fail_msg("%s %s without a certificate: %d", routes[i].method, routes[i].path, anonymous);
        assert_int_equal(status_of(r, host, &routes[i]), 403);
        assert_int_equal(status_of(r, provider, &routes[i]), 403);
        bool tenant = routes[i].access & LT_PEER_ROLE_TENANT, operator= routes[i].access &
                                                              LT_PEER_ROLE_OPERATOR;
        assert_int_equal(routes[i].access & ~(LT_PEER_ROLE_TENANT | LT_PEER_ROLE_OPERATOR), 0);
        assert_int_equal(status_of(r, r->a, &routes[i]) == 403, !tenant);
        assert_int_equal(status_of(r, r->operator, & routes[i]) == 403, !operator);
    }
    lt_http_client_free(nobody);
    lt_http_client_free(host);
    lt_http_client_free(provider);
}

/* ---- kill -9 ---- */

static void a_kill_in_mid_batch_loses_nothing(void **state)
{
    struct rig *r = *state;
    atomic_int ended = 0;
    char path[80], url[128];
    struct lt_http_client *waiter = rig_client(r, "tenant-a", 0);

    settle(r);
    snprintf(path, sizeof path, "hosts/%s/learn", r->host[0]);
    LT_JSON_AUTO json_t *learnt = rig_json(r, r->operator, "POST", path, json_object(), 201);
    const char *digest = json_string_value(json_object_get(learnt, "digest"));
    atomic_store(&r->agent[0].hang, true);
    LT_AUTOFREE char *text = ({
        LT_JSON_AUTO json_t *j = rig_ask(0, 5, 1);
        lt_json_dump(j);
    });
    snprintf(url, sizeof url, "https://%s/federation/v1/proofs", r->address);
    lt_http_send(
        waiter, &(struct lt_http_request){.method = "POST", .url = url, .body = text, .body_n = strlen(text)},
        never, &ended);
    rig_assign(r, 4242, r->tenant_b); /* the last that was promised before the end */
    rig_kill(r);
    lt_http_client_free(waiter);
    assert_int_equal(ended, 1);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);

    rig_start(r, quick);
    LT_JSON_AUTO json_t *list = rig_json(r, r->operator, "GET", "hosts", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "hosts")), 2);
    LT_JSON_AUTO json_t *reply = rig_json(r, r->a, "POST", "proofs", rig_ask(0, 5, 2), 200);
    for (uint32_t i = 0; i < 5; i++) {
        struct lt_residency_header h = check_proof(reply, i, &r->agent[0].host, i, 2, true);
        char hex[65];
        lt_hex(h.policy_digest, 32, hex);
        assert_string_equal(hex, digest);
    }
    snprintf(path, sizeof path, "policies/%s", digest);
    assert_int_equal(rig_http(r, r->a, "GET", path, NULL, NULL, NULL), 200);
    guest_path(4242, path);
    LT_JSON_AUTO json_t *g = rig_json(r, r->b, "GET", path, NULL, 200);
    assert_false(lt_json_has(g, "host"));
    strcat(path, "/tenant");
    json_decref(rig_json(r, r->operator, "DELETE", path, NULL, 200));
    json_decref(rig_json(r, r->operator, "DELETE", path, NULL, 404));
}

/* A provider that is told to stop answers who waits, and ends. */
static void term_answers_who_waits(void **state)
{
    struct rig *r = *state;
    atomic_int ended = 0;
    char url[128];
    struct lt_http_client *waiter = rig_client(r, "tenant-a", 0);

    settle(r);
    atomic_store(&r->agent[0].hang, true);
    LT_AUTOFREE char *text = ({
        LT_JSON_AUTO json_t *j = rig_ask(0, 5, 1);
        lt_json_dump(j);
    });
    snprintf(url, sizeof url, "https://%s/federation/v1/proofs", r->address);
    lt_http_send(
        waiter, &(struct lt_http_request){.method = "POST", .url = url, .body = text, .body_n = strlen(text)},
        never, &ended);
    assert_int_equal(rig_http(r, r->b, "POST", "proofs", text, "Prefer: respond-async", NULL), 202);
    rig_stop(r);
    lt_http_client_free(waiter);
    assert_true(atomic_load(&ended) == 1 || atomic_load(&ended) == 1000);
    atomic_store(&r->agent[0].hang, false);
    mock_agent_wake(&r->agent[0]);
}

/* A port where somebody listens, and nobody answers. */
static int silent_port(char address[32])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    snprintf(address, 32, "127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}

struct enrolment {
    struct rig *r;
    struct lt_http_client *c; /* of its own: the rig's has few connections */
    char address[32];
};

static void *enrol_silent(void *arg)
{
    const struct enrolment *x = arg;
    char body[96];

    snprintf(body, sizeof body, "{\"address\":\"%s\"}", x->address);
    assert_true(rig_http(x->r, x->c, "POST", "hosts", body, NULL, NULL) >= 400);
    return NULL;
}

/* However many of an operator's requests wait for something, who wants to look is answered. */
static void looking_waits_for_nobody(void **state)
{
    struct rig *r = *state;
    struct enrolment x = {.r = r, .c = rig_client(r, "operator", 8)};
    pthread_t waits[8];

    rig_stop(r);
    rig_start(r, (const char *const[]){NULL}); /* with the timeouts of real hosts */
    int fd = silent_port(x.address);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&waits[i], NULL, enrol_silent, &x), 0);
    usleep(300000); /* nothing tells that they wait; a test that is too early passes */
    uint64_t from = lt_clock_ms();
    json_decref(rig_json(r, r->operator, "GET", "status", NULL, 200));
    json_decref(rig_json(r, r->operator, "GET", "hosts", NULL, 200));
    assert_true(lt_clock_ms() - from < 4000);
    close(fd); /* the kernel hangs up on all of them */
    for (int i = 0; i < 8; i++)
        pthread_join(waits[i], NULL);
    lt_http_client_free(x.c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(enrolment),
        T(refused_enrolments),
        T(proofs_of_two_hosts_in_the_order_asked),
        T(anothers_guest_is_like_none),
        T(bad_requests),
        T(a_new_guest_is_found_when_asked_for),
        T(place_theft),
        T(another_ek_is_another_pair),
        T(an_inventory_that_no_quote_has),
        T(more_claimants_than_are_asked),
        T(a_slow_claimant),
        T(tickets),
        T(a_host_that_hangs_fails_its_own),
        T(a_dead_host_comes_back),
        T(a_host_s_state_is_its_last_quote),
        T(listing_does_not_wait_for_ever),
        T(an_idle_host_is_looked_after),
        T(empty_pcrs_are_not_learnt),
        T(who_vanishes_harms_nobody),
        T(ceilings),
        T(policies),
        T(relayed_logs),
        T(ima_lists),
        T(odd_names),
        T(relayed_activation),
        T(every_route_has_its_rule),
        T(a_kill_in_mid_batch_loses_nothing),
        T(looking_waits_for_nobody),
        T(term_answers_who_waits),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
