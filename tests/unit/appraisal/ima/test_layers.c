/* Layers: order, windows, names in messages. */
#include "appraisal/ima/table.h"
#include "tests/support/unit.h"

#define MAX 12
#define HEX "%064x"

struct rig {
    struct lt_buf b[MAX];
    struct lt_ima_table *t[MAX];
    struct lt_policy_layer_rule rule[MAX];
    struct lt_ima_layers l;
};

/* One path with the digest 00…0number, and what the caller adds. */
static void add(struct rig *r, const char *name, const char *path, unsigned number, const char *excludes,
                const char *hash)
{
    LT_AUTOFREE char *doc = NULL;
    unsigned i = r->l.count++;

    assert_true(
        asprintf(&doc,
                 "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"digests\":{\"%s\":[\"" HEX "\"]},"
                 "\"excludes\":[%s],\"keyrings\":{\".ima\":[\"" HEX "\"]},\"ima\":{\"ignored_keyrings\":[],"
                 "\"log_hash_alg\":\"%s\",\"dm_policy\":null},\"ima-buf\":{},\"verification-keys\":\"\"}",
                 path, number, excludes, number, hash) > 0);
    OK(lt_ima_table_compile(doc, strlen(doc), NULL, &r->b[i], &err));
    OK(lt_ima_table_open(r->b[i].p, r->b[i].n, &r->t[i], &err));
    snprintf(r->rule[i].name, sizeof r->rule[i].name, "%s", name);
    r->l.layer[i] = (struct lt_ima_layer){&r->rule[i], r->t[i]};
}

static void rig_free(struct rig *r)
{
    for (unsigned i = 0; i < r->l.count; i++) {
        lt_ima_table_close(r->t[i]);
        lt_buf_free(&r->b[i]);
    }
}

static int ask_at(struct rig *r, int64_t now, const char *path, unsigned number, int *which)
{
    uint8_t digest[32] = {0};
    enum lt_ima_answer a;

    lt_put_u32(digest + 28, number);
    OK(lt_ima_layers_ask(&r->l, now, LT_IMA_FILES, (struct lt_slice){(const uint8_t *)path, strlen(path)},
                         (struct lt_slice){digest, 32}, &a, which, &err));
    return (int)a;
}

static void order(void **state)
{
    __attribute__((cleanup(rig_free))) struct rig r = {0};
    int which;

    (void)state;
    assert_int_equal(ask_at(&r, 0, "/a", 1, &which), LT_IMA_ABSENT); /* no layer: nothing is allowed */
    assert_int_equal(which, -1);
    assert_int_equal(lt_ima_layers_log_hash(&r.l), LT_HASH_SHA1);
    add(&r, "base", "/a", 1, "", "sha256");
    add(&r, "web", "/a", 2, "\"/srv/\"", "sha1");
    add(&r, "this", "/srv/x", 3, "", "sha1");
    assert_int_equal(ask_at(&r, 0, "/a", 1, &which), LT_IMA_ALLOWED);
    assert_int_equal(which, 0);
    assert_int_equal(ask_at(&r, 0, "/a", 2, &which), LT_IMA_ALLOWED);
    assert_int_equal(which, 1);
    assert_int_equal(ask_at(&r, 0, "/a", 3, &which), LT_IMA_OTHER);
    assert_int_equal(which, -1);
    assert_int_equal(ask_at(&r, 0, "/srv/x", 9, &which), LT_IMA_EXCLUDED);
    assert_int_equal(which, 1);
    assert_int_equal(ask_at(&r, 0, "/b", 1, &which), LT_IMA_ABSENT);
    assert_int_equal(lt_ima_layers_log_hash(&r.l), LT_HASH_SHA256);
    r.l.log_hash = LT_HASH_SHA384; /* the policy's word */
    assert_int_equal(lt_ima_layers_log_hash(&r.l), LT_HASH_SHA384);
}

static void windows(void **state)
{
    __attribute__((cleanup(rig_free))) struct rig r = {0};
    int which;

    (void)state;
    add(&r, "old", "/a", 1, "", "sha1");
    add(&r, "new", "/a", 2, "", "sha1");
    r.rule[0].not_after = 1000;
    r.rule[1].not_before = 900;
    r.rule[1].not_after = 2000;
    assert_int_equal(ask_at(&r, -5, "/a", 1, &which), LT_IMA_ALLOWED);
    assert_int_equal(ask_at(&r, 1000, "/a", 1, &which), LT_IMA_ALLOWED); /* the bounds belong to it */
    assert_int_equal(ask_at(&r, 1001, "/a", 1, &which), LT_IMA_OTHER);
    assert_int_equal(ask_at(&r, 899, "/a", 2, &which), LT_IMA_OTHER);
    assert_int_equal(ask_at(&r, 900, "/a", 2, &which), LT_IMA_ALLOWED);
    assert_int_equal(which, 1);
    assert_int_equal(ask_at(&r, 2000, "/a", 2, &which), LT_IMA_ALLOWED);
    assert_int_equal(ask_at(&r, 2001, "/a", 2, &which), LT_IMA_ABSENT); /* all passed over */
    assert_int_equal(which, -1);
}

static void ten(void **state)
{
    __attribute__((cleanup(rig_free))) struct rig r = {0};
    char name[16], path[16], text[320], small[24], none[1] = "x";
    int which;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "l%u", i);
        snprintf(path, sizeof path, "/p%u", i);
        add(&r, name, path, i, "", "sha1");
    }
    for (int i = 0; i < 10; i++) {
        snprintf(path, sizeof path, "/p%d", i);
        assert_int_equal(ask_at(&r, 0, path, (unsigned)i, &which), LT_IMA_ALLOWED);
        assert_int_equal(which, i);
    }
    lt_ima_layers_names(&r.l, text, sizeof text);
    const char *at = text;
    for (unsigned i = 0; i < 10; i++) {
        char one[32], digest[9];
        lt_hex(lt_ima_table_digest(r.t[i]), 4, digest);
        snprintf(one, sizeof one, "%sl%u@%s", i ? ", " : "", i, digest);
        assert_memory_equal(at, one, strlen(one));
        at += strlen(one);
    }
    assert_string_equal(at, "");
    for (size_t n = 1; n <= sizeof text; n++) { /* whole names, always ended, never beyond */
        char *tight = malloc(n);
        lt_ima_layers_names(&r.l, tight, n);
        assert_true(strlen(tight) < n);
        size_t len = strlen(tight);
        if (len && strcmp(tight, text))
            assert_string_equal(tight + len - 3, "…");
        free(tight);
    }
    lt_ima_layers_names(&r.l, small, sizeof small);
    assert_int_equal(strlen(small), strlen("l0@01234567, …"));
    lt_ima_layers_names(&r.l, none, 0);
    assert_int_equal(none[0], 'x');
    r.l.count = 1;
    lt_ima_layers_names(&r.l, small, sizeof small);
    assert_int_equal(strlen(small), 11);
    struct lt_ima_layers no = {0};
    lt_ima_layers_names(&no, small, sizeof small);
    assert_string_equal(small, "");
    r.l.count = 10;
}

/* A layer whose excludes run into a limit is an error that names it, unless an earlier one has decided. */
static void hostile(void **state)
{
    __attribute__((cleanup(rig_free))) struct rig r = {0};
    enum lt_ima_answer a;
    char path[1000], digest[9];
    int which;

    (void)state;
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 2] = '!';
    path[sizeof path - 1] = 0;
    add(&r, "base", path, 1, "", "sha1");
    add(&r, "evil", "/x", 1, "\"(a+)+$\"", "sha1");
    assert_int_equal(ask_at(&r, 0, path, 1, &which), LT_IMA_ALLOWED);
    FAILS(LT_E_TOO_LARGE,
          lt_ima_layers_ask(&r.l, 0, LT_IMA_FILES, (struct lt_slice){(uint8_t *)path, sizeof path - 1},
                            (struct lt_slice){(uint8_t *)path, 32}, &a, &which, &err));
    assert_int_equal(a, LT_IMA_ABSENT);
    assert_int_equal(which, -1);
    lt_hex(lt_ima_table_digest(r.t[1]), 4, digest);
    assert_non_null(strstr(err.msg, "layer evil@"));
    assert_non_null(strstr(err.msg, digest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order), cmocka_unit_test(windows),
                                       cmocka_unit_test(ten), cmocka_unit_test(hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
