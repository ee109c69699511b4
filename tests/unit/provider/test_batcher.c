/* The batcher over a host without sockets: every interleaving of arrivals and answers, and every answer that
 * a broken host may give. */
#include "provider/batcher.h"
#include "provider/limits.h"
#include "tests/support/mock_host.h"
#include "tests/support/unit.h"
#include "tpm/attest.h"
#include "tpm/signature.h"

#define ITEMS 64

struct rig;

struct item {
    struct lt_batcher_batch_item item; /* first */
    struct rig *rig;
    unsigned done;
    struct lt_batcher_batch *batch;
    uint32_t index;
    struct lt_batcher_item_error why;
    int cause;    /* LT_E_…; 0: none */
    bool refused; /* the quote came along */
};

struct rig {
    struct mock_host host;
    struct lt_batcher *b;
    struct lt_residents *known;
    uint8_t policy[32];
    unsigned asks, adopted;
    struct lt_batcher_batch_ask ask; /* the last */
    bool asked_with_root;
    uint8_t asked_root[32];
    struct item items[ITEMS];
};

/* ---- the owner's side ---- */

static void context(void *arg, uint8_t policy[32], struct lt_residents **known)
{
    struct rig *r = arg;
    memcpy(policy, r->policy, 32);
    *known = lt_residents_ref(r->known);
}

static void quoted(void *arg, const struct lt_batcher_batch *batch)
{
    struct rig *r = arg;
    r->adopted += batch->residents != r->known;
    lt_residents_unref(r->known);
    r->known = lt_residents_ref(batch->residents);
}

static void send_ask(void *arg, const struct lt_batcher_batch_ask *ask)
{
    struct rig *r = arg;
    r->asks++;
    r->ask = *ask;
    r->asked_with_root = ask->inventory_root;
    if (ask->inventory_root)
        memcpy(r->asked_root, ask->inventory_root, 32);
}

static void item_done(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                      const struct lt_batcher_failure *why)
{
    struct item *x = (struct item *)i;
    x->done++;
    x->batch = batch ? lt_batcher_batch_ref(batch) : NULL;
    x->index = index;
    x->why = why->told;
    x->cause = why->cause ? why->cause->code : 0;
    x->refused = why->refused;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);

    mock_host_init(&r->host);
    mock_host_populate(&r->host, 0, 8);
    memset(r->policy, 0x5a, sizeof r->policy);
    struct lt_batcher_conf c = {
        .ak = &r->host.ak, .arg = r, .context = context, .quoted = quoted, .send = send_ask};
    memcpy(c.host_id, r->host.host_id, 16);
    OK(lt_batcher_new(&c, &r->b, &err));
    for (unsigned i = 0; i < ITEMS; i++) {
        r->items[i].rig = r;
        r->items[i].item.done = item_done;
        memset(r->items[i].item.commitment, (int)i + 1, 32);
    }
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;

    for (unsigned i = 0; i < ITEMS; i++)
        lt_batcher_batch_unref(r->items[i].batch);
    lt_batcher_free(r->b);
    lt_residents_unref(r->known);
    mock_host_free(&r->host);
    free(r);
    return 0;
}

/* Items from to to - 1 in one list. */
static void add(struct rig *r, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        r->items[i].item.next = i + 1 < to ? &r->items[i + 1].item : NULL;
    lt_batcher_add(r->b, &r->items[from].item);
}

static json_t *ask_json(const struct rig *r)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:o}", "batch_seq", (json_int_t)r->ask.batch_seq, "n",
                     (json_int_t)r->ask.n, "batch_root", lt_json_new_hex(r->ask.batch_root, 32),
                     "policy_digest", lt_json_new_hex(r->ask.policy_digest, 32), "inventory_root",
                     r->asked_with_root ? lt_json_new_hex(r->asked_root, 32) : json_null());
}

static void give_text(struct rig *r, int status, const char *text)
{
    lt_batcher_answer(r->b,
                      &(struct lt_batcher_host_answer){.status = status, .body = text, .n = strlen(text)});
}

static void give(struct rig *r, int status, json_t *j)
{
    LT_AUTOFREE char *text = lt_json_dump(j);
    json_decref(j);
    give_text(r, status, text);
}

/* What the sound host says to the last ask. */
static void answer(struct rig *r)
{
    int status;
    LT_JSON_AUTO json_t *ask = ask_json(r);
    json_t *j = mock_host_answer(&r->host, ask, &status);
    give(r, status, j);
}

static void trouble(struct rig *r, int code)
{
    const struct lt_err e = {code, "no answer"};
    lt_batcher_answer(r->b, &(struct lt_batcher_host_answer){.trouble = &e});
}

/* The item has a proof that a tenant would accept. */
static void check_proof(struct item *x, uint32_t n)
{
    struct lt_residency_host_quote q = {0};
    struct lt_residency_header h;
    struct lt_attest a;
    struct lt_signature_key *key = NULL;
    struct lt_merkle_path path;
    uint8_t leaf[32], digest[32];

    assert_int_equal(x->done, 1);
    assert_non_null(x->batch);
    assert_int_equal(x->why.code, 0);
    LT_JSON_AUTO json_t *j = lt_json_parse(x->batch->text, x->batch->text_n, 1 << 20, &err);
    assert_non_null(j);
    OK(lt_json_hex(j, "host", digest, 16, &err));
    assert_memory_equal(digest, x->rig->host.host_id, 16);
    OK(lt_residency_host_quote_from_json(j, &q, &err));
    OK(lt_residency_header_parse(q.header, sizeof q.header, &h, &err));
    assert_int_equal(h.n, n);
    OK(lt_merkle_path(x->batch->tree, x->index, &path, &err));
    lt_merkle_leaf(x->item.commitment, 32, leaf);
    OK(lt_merkle_verify(leaf, &path, h.n, h.batch_root, &err));
    OK(lt_attest_parse(q.attest, q.attest_n, &a, &err));
    lt_sha256(q.header, LT_RESIDENCY_HEADER, digest);
    assert_memory_equal(a.extra_data.p, digest, 32);
    OK(lt_signature_key_new(&x->rig->host.ak, &key, &err));
    OK(lt_signature_check(key, (struct lt_slice){q.signature, q.signature_n},
                          (struct lt_slice){q.attest, q.attest_n}, &err));
    lt_signature_key_free(key);
    assert_memory_equal(h.inventory_root, lt_residents_root(x->batch->residents), 32);
    lt_residency_host_quote_free(&q);
}

static void check_failed(const struct item *x, int code)
{
    assert_int_equal(x->done, 1);
    assert_null(x->batch);
    assert_int_equal(x->why.code, code);
    assert_true(x->why.retry_after_s > 0);
    assert_non_null(x->why.message);
}

/* ---- the order of things ---- */

static void lone_tenant_waits_one_quote(void **state)
{
    struct rig *r = *state;

    add(r, 0, 1);
    assert_int_equal(r->asks, 1); /* at once: no timer */
    assert_int_equal(r->ask.n, 1);
    assert_memory_equal(r->ask.policy_digest, r->policy, 32);
    assert_int_equal(r->items[0].done, 0);
    answer(r);
    check_proof(&r->items[0], 1);
    assert_int_equal(r->asks, 1); /* an empty queue asks for nothing */
}

static void arrivals_during_a_quote_share_the_next(void **state)
{
    struct rig *r = *state;

    add(r, 0, 1);
    for (unsigned i = 1; i < ITEMS; i++)
        add(r, i, i + 1);
    assert_int_equal(r->asks, 1);
    answer(r);
    assert_int_equal(r->asks, 2);
    assert_int_equal(r->ask.n, ITEMS - 1);
    check_proof(&r->items[0], 1);
    assert_int_equal(r->items[1].done, 0);
    answer(r);
    for (unsigned i = 1; i < ITEMS; i++)
        check_proof(&r->items[i], ITEMS - 1);
    assert_int_equal(r->asks, 2);
    assert_ptr_equal(r->items[1].batch, r->items[2].batch); /* rendered once, shared */
}

static void one_request_is_one_batch(void **state)
{
    struct rig *r = *state;

    add(r, 0, 40);
    assert_int_equal(r->asks, 1);
    assert_int_equal(r->ask.n, 40);
    answer(r);
    for (unsigned i = 0; i < 40; i++)
        check_proof(&r->items[i], 40);
}

static void batch_seq_rises(void **state)
{
    struct rig *r = *state;
    uint64_t last = 0;

    for (unsigned i = 0; i < 5; i++) {
        add(r, i, i + 1);
        assert_true(r->ask.batch_seq > last);
        last = r->ask.batch_seq;
        answer(r);
    }
}

/* An item's owner may queue the next one from within its callback. */
static void again(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                  const struct lt_batcher_failure *why)
{
    struct item *x = (struct item *)i;
    item_done(i, batch, index, why);
    add(x->rig, 1, 2);
}

static void add_from_within_done(void **state)
{
    struct rig *r = *state;

    r->items[0].item.done = again;
    add(r, 0, 1);
    answer(r);
    assert_int_equal(r->asks, 2);
    answer(r);
    check_proof(&r->items[1], 1);
}

/* ---- inventory ---- */

static void inventory_is_learnt_and_named(void **state)
{
    struct rig *r = *state;
    uint8_t uuid[16];
    uint32_t place;

    add(r, 0, 1);
    assert_false(r->asked_with_root);
    answer(r);
    assert_int_equal(r->adopted, 1);
    add(r, 1, 2);
    assert_true(r->asked_with_root);
    assert_memory_equal(r->asked_root, lt_merkle_root(r->host.tree), 32);
    answer(r);
    check_proof(&r->items[1], 1);
    assert_int_equal(r->adopted, 1); /* nothing new came */
    mock_uuid(3, uuid);
    assert_true(lt_residents_find(r->items[1].batch->residents, uuid, NULL, &place));
}

static void inventory_changes_between_quotes(void **state)
{
    struct rig *r = *state;
    uint8_t uuid[16];
    uint32_t place;

    add(r, 0, 1);
    answer(r);
    add(r, 1, 2);
    mock_host_populate(&r->host, 4, 9);
    answer(r);
    check_proof(&r->items[1], 1);
    assert_int_equal(r->adopted, 2);
    mock_uuid(0, uuid);
    assert_false(lt_residents_find(r->items[1].batch->residents, uuid, NULL,
                                   &place)); /* null residency, not an error */
    assert_true(lt_residents_find(r->items[0].batch->residents, uuid, NULL,
                                  &place)); /* the old batch keeps its own */
}

/* While a quote is under way something else brings another inventory: the ask's own is still the one
 * compared. */
static void inventory_replaced_while_quoting(void **state)
{
    struct rig *r = *state;
    struct mock_host other;

    add(r, 0, 1);
    answer(r);
    add(r, 1, 2);
    mock_host_init(&other);
    mock_host_populate(&other, 50, 3);
    LT_JSON_AUTO json_t *j = mock_host_inventory(&other);
    lt_residents_unref(r->known);
    OK(lt_residents_from_json(j, &r->known, &err));
    answer(r); /* names the root of the ask and delivers nothing */
    check_proof(&r->items[1], 1);
    mock_host_free(&other);
}

static void root_neither_known_nor_delivered(void **state)
{
    struct rig *r = *state;
    int status;

    add(r, 0, 1);
    LT_JSON_AUTO json_t *ask = ask_json(r);
    json_t *j = mock_host_answer(&r->host, ask, &status);
    json_object_del(j, "inventory");
    give(r, 200, j);
    check_failed(&r->items[0], LT_E_HOST_UNREACHABLE);
}

/* ---- 409 ---- */

static void conflict_is_followed(void **state)
{
    struct rig *r = *state;

    r->host.last_batch_seq = 4711;
    add(r, 0, 1);
    answer(r); /* 409 */
    assert_int_equal(r->asks, 2);
    assert_int_equal(r->ask.batch_seq, 4712);
    assert_int_equal(r->items[0].done, 0);
    add(r, 1, 3);
    answer(r);
    check_proof(&r->items[0], 1);
    assert_int_equal(r->ask.batch_seq, 4713);
    answer(r);
    check_proof(&r->items[1], 2);
}

static void conflicts_without_end_fail(void **state)
{
    struct rig *r = *state;

    add(r, 0, 1);
    for (unsigned i = 0; i < 10 && !r->items[0].done; i++)
        give(r, 409, json_pack("{s:I}", "last_batch_seq", (json_int_t)(r->ask.batch_seq + 5)));
    check_failed(&r->items[0], LT_E_HOST_UNREACHABLE);
    assert_true(r->asks < 6);
    add(r, 1, 2); /* and it recovers */
    answer(r);
    check_proof(&r->items[1], 1);
}

static void senseless_conflicts_fail(void **state)
{
    static const char *const bodies[] = {"",
                                         "{}",
                                         "{\"last_batch_seq\":-1}",
                                         "{\"last_batch_seq\":0}",
                                         "{\"last_batch_seq\":9223372036854775807}",
                                         "{\"last_batch_seq\":\"9\"}",
                                         "[]"};
    struct rig *r = *state;

    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        add(r, i, i + 1);
        give_text(r, 409, bodies[i]);
        check_failed(&r->items[i], LT_E_HOST_UNREACHABLE);
    }
}

/* ---- trouble ---- */

static void no_answer_fails_all_who_wait(void **state)
{
    struct rig *r = *state;

    add(r, 0, 2);
    add(r, 2, 5);
    trouble(r, LT_E_TIMEOUT);
    for (unsigned i = 0; i < 5; i++)
        check_failed(&r->items[i], LT_E_HOST_UNREACHABLE);
    assert_int_equal(r->asks, 1);
    add(r, 5, 6); /* recovers by itself */
    answer(r);
    check_proof(&r->items[5], 1);
}

static void a_bad_answer_fails_its_own_batch_only(void **state)
{
    struct rig *r = *state;

    add(r, 0, 2);
    add(r, 2, 5);
    give_text(r, 200, "{}");
    check_failed(&r->items[0], LT_E_HOST_UNREACHABLE);
    check_failed(&r->items[1], LT_E_HOST_UNREACHABLE);
    assert_int_equal(r->asks, 2);
    answer(r);
    for (unsigned i = 2; i < 5; i++)
        check_proof(&r->items[i], 3);
}

static void busy_host_says_when(void **state)
{
    struct rig *r = *state;

    add(r, 0, 1);
    lt_batcher_answer(
        r->b, &(struct lt_batcher_host_answer){.status = 503, .body = "{}", .n = 2, .retry_after_s = 17});
    check_failed(&r->items[0], LT_E_BUSY);
    assert_int_equal(r->items[0].why.retry_after_s, 17);
}

/* A host names its own trouble, and nobody else's. */
static void a_host_s_word_about_itself(void **state)
{
    static const struct {
        const char *slug;
        int code;
    } cases[] = {
        {"host-tpm", LT_E_HOST_TPM}, {"busy", LT_E_BUSY},     {"not-assigned", LT_E_BUSY},
        {"guest-tpm", LT_E_BUSY},    {"internal", LT_E_BUSY}, {"of-tomorrow", LT_E_BUSY},
    };
    struct rig *r = *state;
    char body[128];

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = snprintf(body, sizeof body, "{\"error\":{\"slug\":\"%s\",\"message\":\"secret\"}}",
                         cases[i].slug);
        add(r, i, i + 1);
        lt_batcher_answer(r->b,
                          &(struct lt_batcher_host_answer){.status = 503, .body = body, .n = (size_t)n});
        check_failed(&r->items[i], cases[i].code);
        assert_null(strstr(r->items[i].why.message, "secret"));
        assert_true(r->items[i].why.retry_after_s > 0);
    }
}

static void other_statuses_fail(void **state)
{
    static const int statuses[] = {100, 201, 301, 400, 401, 403, 404, 413, 500};
    struct rig *r = *state;

    for (unsigned i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        add(r, i, i + 1);
        give_text(r, statuses[i], "\xff\xfe not for tenants");
        check_failed(&r->items[i], LT_E_HOST_UNREACHABLE);
        assert_null(strstr(r->items[i].why.message, "not for tenants"));
    }
}

/* ---- a host that lies ---- */

enum lie { ROOT, N, SEQ, POLICY, HOST_ID, INVENTORY, M, FLAGS, LIES };

static void lies_in_the_header(void **state)
{
    struct rig *r = *state;

    for (enum lie lie = 0; lie < LIES; lie++) {
        struct lt_residency_header h;
        add(r, lie, lie + 1u);
        LT_JSON_AUTO json_t *ask = ask_json(r);
        mock_host_header(&r->host, ask, &h);
        switch (lie) {
        case ROOT:
            h.batch_root[31] ^= 1;
            break;
        case N:
            h.n++;
            break;
        case SEQ:
            h.batch_seq++;
            break;
        case POLICY:
            h.policy_digest[0] ^= 1;
            break;
        case HOST_ID:
            h.host_id[0] ^= 1;
            break;
        case INVENTORY:
            h.inventory_root[0] ^= 1;
            break;
        case FLAGS: /* a tenant would refuse it */
            h.flags |= LT_RESIDENCY_HEADER_FLAGS + 1;
            break;
        default:
            h.m++;
        }
        json_t *j = mock_host_quote(&r->host, &h); /* signed all the same */
        json_object_set_new(j, "inventory", mock_host_inventory(&r->host));
        give(r, 200, j);
        check_failed(&r->items[lie], LT_E_HOST_UNREACHABLE);
        assert_true(r->items[lie].refused == (lie == FLAGS)); /* check 5 speaks of no other lie */
        assert_int_equal(r->items[lie].cause, LT_E_MALFORMED);
        assert_null(r->known); /* nothing of it was taken over */
    }
}

static void a_foreign_signature(void **state)
{
    struct rig *r = *state;
    EVP_PKEY *own = r->host.ak_key;
    struct mock_host other;
    int status;

    mock_host_init(&other);
    add(r, 0, 1);
    r->host.ak_key = other.ak_key;
    LT_JSON_AUTO json_t *ask = ask_json(r);
    json_t *j = mock_host_answer(&r->host, ask, &status);
    r->host.ak_key = own;
    give(r, 200, j);
    check_failed(&r->items[0], LT_E_HOST_UNREACHABLE);
    assert_true(r->items[0].refused);
    mock_host_free(&other);
}

static void pcr_values_that_were_not_quoted(void **state)
{
    struct rig *r = *state;
    int status;

    add(r, 0, 1);
    LT_JSON_AUTO json_t *ask = ask_json(r);
    json_t *j = mock_host_answer(&r->host, ask, &status);
    uint8_t other[32] = {1};
    json_object_set_new(json_object_get(j, "pcrs"), "4", lt_json_new_hex(other, sizeof other));
    give(r, 200, j);
    check_failed(&r->items[0], LT_E_HOST_UNREACHABLE);
    assert_true(r->items[0].refused);
}

/* No bit of header, attest or signature is ignored. */
static void turned_bits_of_a_fresh_quote(void **state)
{
    static const char *const keys[] = {"header", "attest", "signature"};
    struct rig *r = *state;
    struct item *x = &r->items[0];

    for (unsigned k = 0; k < 3; k++)
        for (size_t bit = 0, bits = 1; bit < bits; bit++) {
            LT_AUTOFREE uint8_t *raw = NULL;
            size_t n;
            int status;
            x->done = 0;
            add(r, 0, 1);
            LT_JSON_AUTO json_t *ask = ask_json(r);
            json_t *j = mock_host_answer(&r->host, ask, &status);
            OK(lt_json_base64(j, keys[k], 4096, &raw, &n, &err));
            bits = 8 * n;
            raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
            json_object_set_new(j, keys[k], lt_json_new_base64(raw, n));
            give(r, 200, j);
            check_failed(x, LT_E_HOST_UNREACHABLE);
        }
}

static void bodies_of_all_sorts(void **state)
{
    static const char *const bodies[] = {"",     "null", "[]", "{\"header\":1}", "{\"header\":\"!\"}",
                                         "\x00", "{"};
    struct rig *r = *state;
    int status;

    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        add(r, i, i + 1);
        give_text(r, 200, bodies[i]);
        check_failed(&r->items[i], LT_E_HOST_UNREACHABLE);
    }
    add(r, 20, 21); /* every prefix of a true answer */
    LT_JSON_AUTO json_t *ask = ask_json(r);
    LT_JSON_AUTO json_t *j = mock_host_answer(&r->host, ask, &status);
    LT_AUTOFREE char *text = lt_json_dump(j);
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i += 1 + i / 64) {
        struct item *x = &r->items[21];
        lt_batcher_answer(r->b, &(struct lt_batcher_host_answer){.status = 200, .body = text, .n = i});
        x->done = 0;
        add(r, 21, 22);
    }
    check_failed(&r->items[20], LT_E_HOST_UNREACHABLE);
    trouble(r, LT_E_UNREACHABLE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(lone_tenant_waits_one_quote),
        T(arrivals_during_a_quote_share_the_next),
        T(one_request_is_one_batch),
        T(batch_seq_rises),
        T(add_from_within_done),
        T(inventory_is_learnt_and_named),
        T(inventory_changes_between_quotes),
        T(inventory_replaced_while_quoting),
        T(root_neither_known_nor_delivered),
        T(conflict_is_followed),
        T(conflicts_without_end_fail),
        T(senseless_conflicts_fail),
        T(no_answer_fails_all_who_wait),
        T(a_bad_answer_fails_its_own_batch_only),
        T(busy_host_says_when),
        T(a_host_s_word_about_itself),
        T(other_statuses_fail),
        T(lies_in_the_header),
        T(a_foreign_signature),
        T(pcr_values_that_were_not_quoted),
        T(turned_bits_of_a_fresh_quote),
        T(bodies_of_all_sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
