/* What stands behind a list of openers: fetched by digest, shared, bounded, and asked for ever more seldom.
 */
#include "appraisal/checks/opened.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "tests/support/appraisal/boot_forge.h"
#include "tests/support/mock_host.h"
#include "tests/support/opener_lists.h"
#include "verifier/sealing.h"
#include "verifier/store/seals.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define ITEMS 8

struct at {
    char dir[64], path[96], tables[96], fetched[96], registry[96];
    struct lt_budget *memory;
    struct lt_store *store;
    struct lt_documents *documents;
    struct lt_hosts *hosts;
    struct lt_sealing_cache *cache;
    struct mock_host host;
    /* what the source has */
    struct {
        uint8_t digest[32], *p;
        size_t n;
        bool garbled;
    } item[ITEMS];
    unsigned count, asked, hosts_asked;
    bool host_silent;
    bool activate; /* of the last question */
};

static int get(void *arg, const struct lt_host_source_question *q, struct lt_host_source_bytes *out,
               struct lt_err *e)
{
    struct at *a = arg;

    a->asked++;
    for (unsigned i = 0; i < a->count; i++)
        if (!memcmp(a->item[i].digest, q->digest, 32) && a->item[i].n <= q->max) {
            *out = (struct lt_host_source_bytes){.b = {malloc(a->item[i].n + 1), a->item[i].n}};
            memcpy(out->b.p, a->item[i].p, a->item[i].n);
            out->b.p[0] ^= a->item[i].garbled;
            return 0;
        }
    return lt_fail(e, LT_E_NOT_FOUND, "no such thing");
}

static int keys(void *arg, const char *host, const struct lt_verifier_trust *trust,
                const struct lt_verifier_host_keys *had, bool activate, struct lt_ref **out, struct lt_err *e)
{
    struct lt_verifier_host_keys *k = lt_verifier_host_keys_new(NULL);
    struct at *a = arg;

    (void)host, (void)had;
    a->hosts_asked++;
    a->activate = activate;
    if (a->host_silent) {
        lt_verifier_host_keys_free(k);
        return lt_fail(e, LT_E_PROVIDER_UNREACHABLE, "silent");
    }
    k->ek = (struct lt_bundle_blob){malloc(a->host.ek.raw_n), a->host.ek.raw_n};
    memcpy(k->ek.p, a->host.ek.raw, a->host.ek.raw_n);
    k->ak = (struct lt_bundle_blob){malloc(a->host.ak.raw_n), a->host.ak.raw_n};
    memcpy(k->ak.p, a->host.ak.raw, a->host.ak.raw_n);
    k->id =
        lt_checks_identity_host_new((struct lt_slice){k->ek.p, k->ek.n}, (struct lt_slice){k->ak.p, k->ak.n});
    lt_verifier_trust_judge(trust, &k->certificates, k->id);
    *out = lt_verifier_host_keys_share(k);
    return 0;
}

static void add(struct at *a, struct lt_slice bytes, uint8_t digest[32])
{
    assert_true(a->count < ITEMS);
    lt_sha256(bytes.p, bytes.n, digest);
    a->item[a->count].p = (uint8_t *)bytes.p;
    a->item[a->count].n = bytes.n;
    memcpy(a->item[a->count++].digest, digest, 32);
}

static void add_list(struct at *a, uint8_t host, uint8_t state, uint8_t digest[32])
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    const uint8_t ek[32] = {host};

    opener_lists_add(&list, ek, state);
    add(a, opener_lists_bytes(&list, digest), digest);
}

static void add_text(struct at *a, const char *text, uint8_t digest[32])
{
    add(a, (struct lt_slice){(uint8_t *)strdup(text), strlen(text)}, digest);
}

static int make(void **state, size_t limit)
{
    struct at *a = calloc(1, sizeof *a);
    const char *tmp = getenv("TMPDIR");
    char registry[256], ek[65];

    mock_host_init(&a->host);
    snprintf(a->dir, sizeof a->dir, "%.40s/lt-sealing-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->path, sizeof a->path, "%s/t.db", a->dir);
    snprintf(a->tables, sizeof a->tables, "%s/tables", a->dir);
    snprintf(a->fetched, sizeof a->fetched, "%s/fetched", a->dir);
    snprintf(a->registry, sizeof a->registry, "%s/registry", a->dir);
    lt_hex(a->host.ek_digest, 32, ek);
    snprintf(registry, sizeof registry,
             "{\"format\":\"limetree-registry/1\",\"hosts\":[{\"host\":\"%.32s\",\"ek_digest\":\"%s\"}]}", ek,
             ek);
    OK(lt_file_write(a->registry, registry, strlen(registry), 0600, &err));
    a->memory = lt_budget_new(limit);
    OK(lt_store_open(a->path, "00000000-0000-4000-8000-00000000000a", NULL, &a->store, &err));
    OK(lt_documents_new(
        &(struct lt_documents_conf){
            .tables = a->tables, .fetched = a->fetched, .max_fetched = 1 << 20, .store = a->store},
        &a->documents, &err));
    const struct lt_host_source source = {.arg = a, .memory = a->memory, .keys = keys, .get = get};
    OK(lt_hosts_new(
        &(struct lt_hosts_conf){
            .source = source, .store = a->store, .documents = a->documents, .registry = a->registry},
        &a->hosts, &err));
    a->cache = lt_sealing_cache_new(&(struct lt_sealing_conf){.source = source,
                                                              .hosts = a->hosts,
                                                              .store = a->store,
                                                              .documents = a->documents,
                                                              .retry_ms = 40,
                                                              .soon_ms = 5});
    *state = a;
    return 0;
}

static int setup(void **state)
{
    return make(state, 64 << 20);
}

static int setup_small(void **state)
{
    return make(state, 64 << 10);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct at *a = *state;

    struct lt_budget_use use;
    lt_sealing_cache_free(a->cache);
    lt_hosts_free(a->hosts);
    lt_documents_free(a->documents);
    lt_store_close(a->store);
    lt_budget_use(a->memory, &use);
    assert_int_equal(use.used, 0); /* all of it was given back */
    lt_budget_free(a->memory);
    mock_host_free(&a->host);
    for (unsigned i = 0; i < a->count; i++)
        free(a->item[i].p);
    nftw(a->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(a);
    return 0;
}

static const struct lt_sealing_view *value(const struct lt_ref *r)
{
    return lt_ref_value(r);
}

/* Whether it has its list. */
static bool had(struct at *a, const uint8_t digest[32])
{
    struct lt_ref *v = lt_sealing_view(a->cache, digest, NULL, NULL);
    bool is = value(v)->list;

    assert_true(is == !value(v)->trouble[0]);
    lt_ref_put(v);
    return is;
}

static void test_one_list_for_all_that_have_it(void **state)
{
    struct at *a = *state;
    uint8_t digest[32];

    add_list(a, 1, 1, digest);
    struct lt_ref *one = lt_sealing_view(a->cache, digest, NULL, NULL),
                  *two = lt_sealing_view(a->cache, digest, NULL, NULL);
    assert_non_null(value(one)->list);
    assert_ptr_equal(value(one)->list, value(two)->list);
    assert_int_equal(a->asked, 1);
    lt_ref_put(one);
    lt_ref_put(two);
}

static void test_what_is_had_is_not_asked_for(void **state)
{
    struct at *a = *state;
    struct lt_ref *list, *v;
    uint8_t digest[32];

    add_list(a, 1, 1, digest);
    OK(lt_sealing_list_new(a->cache, a->item[0].p, a->item[0].n, &list, &err));
    v = lt_sealing_view(a->cache, digest, list, NULL);
    assert_ptr_equal(value(v)->list, list);
    assert_int_equal(a->asked, 0);
    lt_ref_put(v);
    lt_ref_put(list);
    FAILS(LT_E_MALFORMED, lt_sealing_list_new(a->cache, a->item[0].p, a->item[0].n - 1, &list, &err));
}

/* Another list than was asked for, or no list under its digest: not had, whatever else it is. */
static void test_only_what_the_digest_says(void **state)
{
    struct at *a = *state;
    uint8_t digest[32], other[32], junk[32];

    add_list(a, 1, 1, digest);
    add_list(a, 2, 2, other);
    add_text(a, "LT1:OPENERS", junk);
    memcpy(a->item[0].digest, other, 32); /* that list, under the other's name */
    memcpy(a->item[1].digest, digest, 32);
    assert_false(had(a, other));
    assert_false(had(a, junk));
    a->item[0].garbled = true;
    assert_false(had(a, digest));
}

/* Not at every round; later and later; and at once when it has come. */
static void test_asked_again_ever_more_seldom(void **state)
{
    struct at *a = *state;
    uint8_t digest[32];
    uint64_t at[4];

    add_list(a, 1, 1, digest);
    a->item[0].garbled = true;
    for (unsigned i = 0; i < 4; i++) {
        while (a->asked == i)
            assert_false(had(a, digest));
        at[i] = lt_clock_ms();
        assert_false(had(a, digest));
        assert_int_equal(a->asked, i + 1);
    }
    assert_true(at[1] - at[0] >= 40 && at[2] - at[1] >= 80 && at[3] - at[2] >= 160);
    a->item[0].garbled = false;
    while (!had(a, digest))
        ;
    assert_true(had(a, digest));
    assert_int_equal(a->asked, 5);
}

static uint64_t again(struct at *a, const uint8_t digest[32])
{
    struct lt_ref *v = lt_sealing_view(a->cache, digest, NULL, NULL);
    uint64_t at = value(v)->again_ms;

    lt_ref_put(v);
    return at;
}

/* What did not come is asked for again soon, and whoever waits is told when; not what came and was wrong. */
static void test_what_did_not_come_is_asked_for_soon(void **state)
{
    struct at *a = *state;
    uint8_t digest[32];
    uint64_t first, second = 0;

    add_list(a, 1, 1, digest);
    a->count = 0; /* the provider has it not */
    uint64_t began = lt_clock_ms();
    first = again(a, digest);
    assert_in_range(first, began + 5, lt_clock_ms() + 5);
    while (a->asked == 1)
        second = again(a, digest);
    assert_true(lt_clock_ms() >= first && second >= first + 10);
    a->count = 1;
    a->item[0].garbled = true;
    began = lt_clock_ms();
    while (a->asked == 2)
        assert_false(had(a, digest));
    assert_int_equal(again(a, digest), 0);
    a->item[0].garbled = false;
    while (!had(a, digest))
        ;
    assert_true(lt_clock_ms() - began >= 40);
    assert_int_equal(again(a, digest), 0);
}

static void test_no_room(void **state)
{
    struct at *a = *state;
    uint8_t digest[32];

    add_list(a, 1, 1, digest);
    assert_true(lt_budget_take(a->memory, 64 << 10, 0)); /* others have it all */
    assert_false(had(a, digest));
    lt_budget_give(a->memory, 64 << 10);
    while (!had(a, digest)) /* when its pause is over */
        ;
}

/* ---- host policies ---- */

static void test_policies_of_both_kinds(void **state)
{
    struct at *a = *state;
    uint8_t digest[32], live[32], old[32], junk[32];
    char text[400], l[65], o[65], j[65];
    LT_AUTO(lt_policy_guest) struct lt_policy_guest *p = NULL;

    add_list(a, 1, 1, digest);
    add_text(a, "{\"pcrs\":{}}", live);
    add_text(a, "{\"pcrs\":{ }}", old);
    add_text(a, "no policy", junk);
    lt_hex(live, 32, l);
    lt_hex(old, 32, o);
    lt_hex(junk, 32, j);
    snprintf(text, sizeof text, "{\"host_policies\":[\"%s\",\"%s\"],\"retired_host_policies\":[\"%s\"]}", l,
             j, o);
    OK(lt_policy_guest_parse(text, strlen(text), &p, &err));
    struct lt_ref *v = lt_sealing_view(a->cache, digest, NULL, p);
    assert_int_equal(value(v)->policy_count, 2); /* the third is none, and keeps nothing from the others */
    assert_int_equal(a->asked, 4);
    lt_ref_put(v);
    v = lt_sealing_view(a->cache, digest, NULL, p);
    assert_int_equal(value(v)->policy_count, 2);
    assert_int_equal(a->asked, 4);
    lt_ref_put(v);
}

static void test_policies_are_bounded(void **state)
{
    struct at *a = *state;
    uint8_t digest[32];
    struct lt_policy_guest p = {.host_policies = {.count = 2 * LT_SEALING_PER_GUEST}};

    add_list(a, 1, 1, digest);
    p.host_policies.d = calloc(p.host_policies.count, 32);
    for (size_t i = 0; i < p.host_policies.count; i++)
        memcpy(p.host_policies.d[i], &i, sizeof i);
    lt_ref_put(lt_sealing_view(a->cache, digest, NULL, &p));
    assert_int_equal(a->asked, 1 + LT_SEALING_PER_GUEST);
    lt_ref_put(lt_sealing_view(a->cache, digest, NULL, &p));
    assert_int_equal(a->asked, 1 + LT_SEALING_PER_GUEST);
    free(p.host_policies.d);
}

/* ---- hosts ---- */

static void test_hosts_that_are_registered(void **state)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    const uint8_t stranger[32] = {7};
    struct at *a = *state;
    uint8_t digest[32], look_alike[32];

    memcpy(look_alike, a->host.ek_digest, 32);
    look_alike[31] ^= 1; /* the same host_id */
    opener_lists_add(&list, a->host.ek_digest, 1);
    opener_lists_add(&list, a->host.ek_digest, 2);
    opener_lists_add(&list, stranger, 1);
    opener_lists_add(&list, look_alike, 1);
    add(a, opener_lists_bytes(&list, digest), digest);
    struct lt_ref *v = lt_sealing_view(a->cache, digest, NULL, NULL);
    assert_int_equal(value(v)->host_count, 3);
    assert_non_null(value(v)->host[0].keys);
    assert_int_equal(value(v)->host[0].registered, LT_CHECKS_FACT_YES);
    assert_int_equal(value(v)->host[1].registered, LT_CHECKS_FACT_NO);
    assert_null(value(v)->host[1].keys);
    assert_null(value(v)->host[2].keys);
    assert_int_equal(a->hosts_asked, 1);
    assert_false(a->activate); /* it need not answer */
    lt_ref_put(v);
}

/* Two EKs whose digests begin alike, both registered: what is shown of one is not the other's. */
static void test_hosts_of_one_id(void **state)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    struct at *a = *state;
    uint8_t digest[32], look_alike[32];
    char registry[400], one[65], two[65];

    memcpy(look_alike, a->host.ek_digest, 32);
    look_alike[31] ^= 1;
    lt_hex(a->host.ek_digest, 32, one);
    lt_hex(look_alike, 32, two);
    snprintf(registry, sizeof registry,
             "{\"format\":\"limetree-registry/1\",\"hosts\":[{\"host\":\"%.32s\",\"ek_digest\":\"%s\"},"
             "{\"host\":\"%.32s\",\"ek_digest\":\"%s\"}]}",
             one, one, two, two);
    OK(lt_file_write(a->registry, registry, strlen(registry), 0600, &err));
    OK(lt_hosts_reload(a->hosts, &err));
    opener_lists_add(&list, look_alike, 1);
    add(a, opener_lists_bytes(&list, digest), digest);
    struct lt_ref *v = lt_sealing_view(a->cache, digest, NULL, NULL);
    enum lt_checks_fact registered = value(v)->host[0].registered;
    bool shown = value(v)->host[0].keys;
    lt_ref_put(v); /* also when the test fails: what it rests on goes */
    assert_int_equal(registered, LT_CHECKS_FACT_YES);
    assert_false(shown);
}

/* One that the tenant retired need not be registered any more, and its certificate counts. */
static void test_a_retired_host(void **state)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    const uint8_t gone[32] = {7};
    struct at *a = *state;
    uint8_t digest[32], one[1][32] = {{7}};
    const struct lt_policy_guest p = {.retired_hosts = {.count = 1, .d = one}};

    opener_lists_add(&list, gone, 1);
    add(a, opener_lists_bytes(&list, digest), digest);
    lt_ref_put(lt_sealing_view(a->cache, digest, NULL, NULL));
    assert_int_equal(a->hosts_asked, 0);
    lt_ref_put(lt_sealing_view(a->cache, digest, NULL, &p));
    assert_int_equal(a->hosts_asked, 1);
}

static void test_a_silent_host(void **state)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    struct at *a = *state;
    uint8_t digest[32];

    a->host_silent = true;
    opener_lists_add(&list, a->host.ek_digest, 1);
    add(a, opener_lists_bytes(&list, digest), digest);
    for (int i = 0; i < 3; i++) {
        struct lt_ref *v = lt_sealing_view(a->cache, digest, NULL, NULL);
        assert_non_null(value(v)->list);
        assert_null(value(v)->host[0].keys);
        lt_ref_put(v);
    }
    assert_int_equal(a->hosts_asked, 1);
}

/* ---- boot logs ---- */

/* Of a host in which that variable was measured; what it replays to. */
static struct lt_boot_log *boot(const char *variable, struct lt_pcrs *quoted)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 16);

    boot_forge_begin(&b);
    boot_forge_label(&b, 4, "kernel", "kernel");
    boot_forge_label(&b, 7, "variable", variable);
    boot_forge_pcrs(&b, quoted);
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){b.p, b.n});
    assert_non_null(l);
    return l;
}

static void add_quoted(struct lt_openers *list, const uint8_t ek[32], const struct lt_pcrs *quoted)
{
    struct lt_openers_one one = {.kind = LT_OPENERS_STATE, .state = *quoted};

    memcpy(one.digest, ek, 32);
    one.state.mask = LT_OPENERS_STATE_MIN;
    OK(lt_openers_add(list, &one, &err));
}

/* A guest policy with one host policy: PCR 7 by a boot policy that wants the variable "sb", all else listed.
 */
static struct lt_policy_guest *by_boot(struct at *a, const struct lt_pcrs *state)
{
    LT_AUTOBUF struct lt_buf json = LT_BUF(1u << 16);
    struct lt_policy_guest *p;
    uint8_t sb[32], doc[32], host[32];
    char hex[65], text[200];

    lt_sha256("sb", 2, sb);
    lt_hex(sb, 32, hex);
    snprintf(text, sizeof text, "{\"events\":{\"7\":[\"%s\"]}}", hex);
    add_text(a, text, doc);
    lt_hex(doc, 32, hex);
    lt_buf_printf(&json, "{\"boot\":\"%s\",\"pcrs\":{", hex);
    for (unsigned i = 0, more = 0; i < LT_MAX_PCRS; i++) {
        if (!((LT_OPENERS_STATE_MIN & ~(1u << 7)) >> i & 1))
            continue;
        lt_hex(state->value[i], 32, hex);
        lt_buf_printf(&json, "%s\"%u\":[\"%s\"]", more++ ? "," : "", i, hex);
    }
    lt_buf_str(&json, "}}");
    lt_buf_u8(&json, 0);
    add_text(a, (const char *)json.p, host);
    lt_hex(host, 32, hex);
    snprintf(text, sizeof text, "{\"host_policies\":[\"%s\"]}", hex);
    OK(lt_policy_guest_parse(text, strlen(text), &p, &err));
    return p;
}

/* How many logs there are of the list's states, and which of the states the policy holds by them: bits. */
static unsigned held(struct at *a, const struct lt_openers *list, const struct lt_policy_guest *p,
                     size_t logs)
{
    uint8_t digest[32];
    struct lt_ref *had;
    const struct lt_boot_log *log[4];
    unsigned bits = 0;

    struct lt_slice bytes = opener_lists_bytes(list, digest);
    OK(lt_sealing_list_new(a->cache, bytes.p, bytes.n, &had, &err));
    free((void *)bytes.p);
    struct lt_ref *v = lt_sealing_view(a->cache, digest, had, p);
    assert_int_equal(value(v)->policy_count, 1);
    assert_int_equal(value(v)->log_count, logs);
    for (size_t i = 0; i < logs; i++)
        log[i] = ((const struct lt_sealing_log *)lt_ref_value(value(v)->log[i]))->log;
    const struct lt_verifier_host_document *d = lt_ref_value(value(v)->policy[0]);
    const struct lt_checks_openers_policy with = {d->parsed, &d->documents.view};
    for (unsigned i = 0; i < list->count; i++)
        bits |= !lt_checks_openers_holds(&with, &list->one[i].state, log, logs, LT_NO_ERR) ? 1u << i : 0;
    lt_ref_put(v);
    lt_ref_put(had);
    return bits;
}

static void forget(struct at *a)
{
    const struct lt_host_source source = {.arg = a, .memory = a->memory, .keys = keys, .get = get};

    lt_sealing_cache_free(a->cache);
    a->cache = lt_sealing_cache_new(&(struct lt_sealing_conf){
        .source = source, .hosts = a->hosts, .store = a->store, .documents = a->documents, .retry_ms = 40});
}

/* The host has rebooted: its log is another, and the state of before is judged by the one that was kept, over
 * a restart too. Of states that were not quoted, of other hosts, or by a log of another boot nothing is. */
static void test_logs_of_boots_that_are_over(void **state)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    const uint8_t stranger[32] = {7};
    struct at *a = *state;
    struct lt_pcrs good, bad;
    struct lt_boot_log *l = boot("sb", &good), *off = boot("no sb", &bad);
    LT_AUTO(lt_policy_guest) struct lt_policy_guest *p = by_boot(a, &good);

    add_quoted(&list, a->host.ek_digest, &good);
    add_quoted(&list, a->host.ek_digest, &bad);
    assert_int_equal(held(a, &list, p, 0), 0);
    lt_sealing_keep_log(a->cache, &list, stranger, &good, l); /* it has no state on the list */
    struct lt_pcrs other = good;
    other.value[12][0] ^= 1;
    lt_sealing_keep_log(a->cache, &list, a->host.ek_digest, &other, l); /* no state of it */
    other.mask &= ~(1u << 12);
    lt_sealing_keep_log(a->cache, &list, a->host.ek_digest, &other, l);
    assert_int_equal(held(a, &list, p, 0), 0);
    lt_sealing_keep_log(a->cache, &list, a->host.ek_digest, &good, l);
    assert_int_equal(held(a, &list, p, 1), 1);
    lt_sealing_keep_log(a->cache, &list, a->host.ek_digest, &good, off); /* one that is there stays */
    assert_int_equal(held(a, &list, p, 1), 1);
    forget(a);
    assert_int_equal(held(a, &list, p, 1), 1);
    lt_sealing_keep_log(a->cache, &list, a->host.ek_digest, &bad, off); /* it says what was measured */
    assert_int_equal(held(a, &list, p, 2), 1);
    lt_boot_log_free(l);
    lt_boot_log_free(off);
}

/* A log that is not the state's, by whatever way it came to be kept, holds nothing. */
static void test_a_log_of_another_boot_holds_nothing(void **state)
{
    LT_OPENERS_AUTO struct lt_openers list = {0};
    struct at *a = *state;
    struct lt_pcrs good, bad;
    struct lt_boot_log *l = boot("sb", &good), *off = boot("no sb", &bad);
    LT_AUTO(lt_policy_guest) struct lt_policy_guest *p = by_boot(a, &good);

    add_quoted(&list, a->host.ek_digest, &bad);
    lt_sealing_keep_log(a->cache, &list, a->host.ek_digest, &bad, l);
    assert_int_equal(held(a, &list, p, 1), 0);
    lt_boot_log_free(l);
    lt_boot_log_free(off);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_list_for_all_that_have_it),
        TEST(test_what_is_had_is_not_asked_for),
        TEST(test_only_what_the_digest_says),
        TEST(test_asked_again_ever_more_seldom),
        TEST(test_what_did_not_come_is_asked_for_soon),
        cmocka_unit_test_setup_teardown(test_no_room, setup_small, teardown),
        TEST(test_policies_of_both_kinds),
        TEST(test_policies_are_bounded),
        TEST(test_hosts_that_are_registered),
        TEST(test_hosts_of_one_id),
        TEST(test_a_retired_host),
        TEST(test_a_silent_host),
        TEST(test_logs_of_boots_that_are_over),
        TEST(test_a_log_of_another_boot_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
