/* Runtime policies compiled and asked: Keylime's own shapes, every fault with its place, damage, hostile
 * documents. */
#include "appraisal/ima/table.h"
#include "appraisal/ima/table_format.h"
#include "tests/support/unit.h"

#include <time.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                         /* 20 bytes */
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" /* 32 bytes */
#define C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
/* As Keylime writes it, with one of everything. */
#define DOC                                                                                                  \
    "{\"meta\":{\"version\":1,\"generator\":2,\"timestamp\":\"2026-01-01 00:00:00\"},\"release\":0,"         \
    "\"digests\":{\"boot_aggregate\":[\"" A "\",\"" B "\"],\"/usr/bin/a b\":[\"" B                           \
    "\"],\"/usr/bin/\\u00e9\":[\"" C                                                                         \
    "\"]},\"excludes\":[\"/tmp/\",\"/var/log/.*\\\\.log$\"],\"keyrings\":{\".ima\":[\"" C                    \
    "\"]},\"ima\":{\"ignored_keyrings\":[\".builtin\"],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},"       \
    "\"ima-buf\":{\"kexec-cmdline\":[\"" B "\"]},\"verification-keys\":\"\"}"
#define EMPTY                                                                                                \
    "{\"meta\":{\"version\":1,\"generator\":1},\"release\":0,\"digests\":{},\"excludes\":[],\"keyrings\":{}" \
    ","                                                                                                      \
    "\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha256\",\"dm_policy\":null},\"ima-buf\":{},"       \
    "\"verification-keys\":\"\"}"

static struct lt_slice slice(const char *s)
{
    return (struct lt_slice){(const uint8_t *)s, strlen(s)};
}

static int compile(const char *doc, struct lt_buf *out)
{
    return lt_ima_table_compile(doc, strlen(doc), NULL, out, &err);
}

/* The short way knows no other answer than the long one. */
static bool probed(const struct lt_ima_table *t, struct lt_slice path, struct lt_slice digest)
{
    struct lt_ima_table_probe p = lt_ima_table_probe(t, path);

    lt_ima_table_probe_closer(&p);
    assert_false(lt_ima_table_probe_allows(&p, slice("/of another name"), digest));
    return lt_ima_table_probe_allows(&p, path, digest);
}

static enum lt_ima_answer ask(const struct lt_ima_table *t, enum lt_ima_section s, const char *name,
                              uint8_t byte, size_t n)
{
    enum lt_ima_answer a;
    uint8_t digest[64];

    memset(digest, byte, sizeof digest);
    OK(lt_ima_table_ask(t, s, slice(name), (struct lt_slice){digest, n}, &a, &err));
    if (s == LT_IMA_FILES)
        assert_int_equal(probed(t, slice(name), (struct lt_slice){digest, n}), a == LT_IMA_ALLOWED);
    return a;
}

static void asked(void **state)
{
    LT_AUTOBUF struct lt_buf b, again;
    struct lt_ima_table *t;
    uint8_t digest[32];

    (void)state;
    OK(compile(DOC, &b));
    OK(lt_ima_table_open(b.p, b.n, &t, &err));
    lt_sha256(DOC, sizeof DOC - 1, digest);
    assert_memory_equal(lt_ima_table_digest(t), digest, 32);
    assert_int_equal(lt_ima_table_log_hash(t), LT_HASH_SHA1);
    assert_int_equal(lt_ima_table_count(t, LT_IMA_FILES), 3);
    assert_int_equal(lt_ima_table_keys(t).n, 0);
    assert_int_equal(ask(t, LT_IMA_FILES, "boot_aggregate", 0xaa, 20), LT_IMA_ALLOWED);
    assert_int_equal(ask(t, LT_IMA_FILES, "boot_aggregate", 0xbb, 32), LT_IMA_ALLOWED);
    assert_int_equal(ask(t, LT_IMA_FILES, "boot_aggregate", 0xaa, 32), LT_IMA_OTHER); /* value and length */
    assert_int_equal(ask(t, LT_IMA_FILES, "boot_aggregate", 0xbb, 20), LT_IMA_OTHER);
    assert_int_equal(ask(t, LT_IMA_FILES, "boot_aggregate", 0xbb, 0), LT_IMA_OTHER);
    assert_int_equal(ask(t, LT_IMA_FILES, "/usr/bin/a b", 0xbb, 32), LT_IMA_ALLOWED);
    assert_int_equal(ask(t, LT_IMA_FILES, "/usr/bin/a", 0xbb, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_FILES, "", 0xbb, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_FILES, "/usr/bin/\xc3\xa9", 0xcc, 32), LT_IMA_ALLOWED);
    /* matched at the start, not anchored at the end; the sections are apart */
    assert_int_equal(ask(t, LT_IMA_FILES, "/tmp/x", 0, 32), LT_IMA_EXCLUDED);
    assert_int_equal(ask(t, LT_IMA_FILES, "/x/tmp/x", 0, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_FILES, "/var/log/x.log", 0, 32), LT_IMA_EXCLUDED);
    assert_int_equal(ask(t, LT_IMA_FILES, "/var/log/x.log\n", 0, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_FILES, "/var/log/x.logs", 0, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_BUFFERS, "/tmp/x", 0, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_BUFFERS, "kexec-cmdline", 0xbb, 32), LT_IMA_ALLOWED);
    assert_int_equal(ask(t, LT_IMA_FILES, "kexec-cmdline", 0xbb, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_KEYRINGS, ".ima", 0xcc, 32), LT_IMA_ALLOWED);
    assert_int_equal(ask(t, LT_IMA_KEYRINGS, ".ima", 0xcd, 32), LT_IMA_OTHER);
    assert_true(lt_ima_table_ignores_keyring(t, slice(".builtin")));
    assert_false(lt_ima_table_ignores_keyring(t, slice(".ima")));
    lt_ima_table_close(t);
    lt_ima_table_close(NULL);
    OK(compile(DOC, &again)); /* content-addressed: the same bytes */
    assert_int_equal(again.n, b.n);
    assert_memory_equal(again.p, b.p, b.n);
}

static void empty_one(void **state)
{
    LT_AUTOBUF struct lt_buf b, all;
    struct lt_ima_table *t;

    (void)state;
    OK(compile(EMPTY, &b));
    OK(lt_ima_table_open(b.p, b.n, &t, &err));
    assert_int_equal(ask(t, LT_IMA_FILES, "/bin/sh", 0, 32), LT_IMA_ABSENT);
    assert_int_equal(ask(t, LT_IMA_KEYRINGS, ".ima", 0, 32), LT_IMA_ABSENT);
    assert_false(lt_ima_table_ignores_keyring(t, slice("*")));
    assert_int_equal(lt_ima_table_log_hash(t), LT_HASH_SHA256);
    lt_ima_table_close(t);
    OK(compile("{\"verification-keys\":\"\",\"ima-buf\":{},\"ima\":{\"log_hash_alg\":\"sha1\",\"ignored_"
               "keyrings\":[\"*\"]},"
               "\"keyrings\":{},\"excludes\":[],\"digests\":{},\"release\":7,\"meta\":{\"generator\":0,"
               "\"version\":0}}",
               &all));
    OK(lt_ima_table_open(all.p, all.n, &t, &err));
    assert_true(lt_ima_table_ignores_keyring(t, slice("anything")));
    lt_ima_table_close(t);
}

/* DOC with the first occurrence of from replaced. */
static char *edited(const char *from, const char *to)
{
    const char *at = strstr(DOC, from);
    char *out = NULL;

    assert_non_null(at);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - DOC), DOC, to, at + strlen(from)) > 0);
    return out;
}

static void faults(void **state)
{
    static const struct {
        const char *from, *to, *says;
        int code;
    } f[] = {
        {"\"version\":1", "\"version\":2", "2 is not from 0 to 1", LT_E_MALFORMED},
        {"\"version\":1", "\"version\":-1", "\"version\"", LT_E_MALFORMED},
        {"\"version\":1,", "", "meta: \"version\" is missing", LT_E_MALFORMED},
        {"\"generator\":2", "\"generator\":4", "\"meta\": \"generator\"", LT_E_MALFORMED},
        {"\"generator\":2", "\"generator\":2,\"generator\":2", "meta: \"generator\" is there twice",
         LT_E_MALFORMED},
        {"\"generator\":2", "\"x\":2", "meta: unknown key \"x\"", LT_E_MALFORMED},
        {"\"release\":0,", "", "\"release\" is missing", LT_E_MALFORMED},
        {"\"release\":0", "\"release\":0,\"release\":0", "\"release\" is there twice", LT_E_MALFORMED},
        {"\"release\":0", "\"release\":\"0\"", "\"release\"", LT_E_MALFORMED},
        {"\"release\":0", "\"release\":0,\"extra\":0", "unknown key \"extra\"", LT_E_MALFORMED},
        {"\"" B "\"]", "\"" B "x\"]", "\"digests\"", LT_E_MALFORMED},
        {"\"" A "\"", "\"AAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "not lower-case hex", LT_E_MALFORMED},
        {"\"" A "\"", "\"aa\"", "a digest of 2 characters", LT_E_MALFORMED},
        {"\"" A "\"", "\"" A "a\"", "a digest of 41 characters", LT_E_MALFORMED},
        {"\"" A "\"", "\"" B B "bb\"", "more than 128 bytes", LT_E_MALFORMED},
        {"\"" A "\"", "1", "a string expected", LT_E_MALFORMED},
        {"\"/usr/bin/a b\":[\"" B "\"]", "\"/usr/bin/a b\":[]", "a name without digests", LT_E_MALFORMED},
        {"\"/usr/bin/a b\"", "\"\"", "an empty name", LT_E_MALFORMED},
        {"\"/usr/bin/a b\"", "\"boot_aggregate\"", "\"boot_aggregate\" is there twice", LT_E_MALFORMED},
        {"\"/usr/bin/a b\"", "\"boot\\u005faggregate\"", "\"boot_aggregate\" is there twice", LT_E_MALFORMED},
        {"\"/usr/bin/a b\"", "\"/a\\u0000b\"", "a NUL in a string", LT_E_MALFORMED},
        {"\"/usr/bin/a b\"", "\"/\xff\"", "byte 0xff in a string", LT_E_MALFORMED},
        {"\"/tmp/\"", "\"(\"", "\"excludes\": pattern 0", LT_E_MALFORMED},
        {"\"/tmp/\"", "\"/tmp/)|(/\"", "\"excludes\": pattern 0", LT_E_MALFORMED},
        {"\"/tmp/\"", "\"\"", "pattern 0 is empty", LT_E_MALFORMED},
        {"\"/tmp/\"", "\"\\\\Q/tmp\"", "pattern 0 holds \\Q", LT_E_MALFORMED},
        {"\"/tmp/\"", "\"(?x)/tmp/ # mine\"", "excludes joined", LT_E_MALFORMED},
        {"\"/tmp/\"", "null", "\"excludes\"", LT_E_MALFORMED},
        {"\"log_hash_alg\":\"sha1\"", "\"log_hash_alg\":\"md5\"", "unknown hash \"md5\"", LT_E_MALFORMED},
        {"\"log_hash_alg\":\"sha1\",", "", "ima: \"log_hash_alg\" is missing", LT_E_MALFORMED},
        {"\"dm_policy\":null", "\"dm_policy\":{}", "device-mapper entries are not validated", LT_E_MALFORMED},
        {"[\".builtin\"]", "[\"\"]", "an empty name", LT_E_MALFORMED},
        {"[\".builtin\"]", "[\".x\",\".x\"]", "\".x\" is there twice", LT_E_MALFORMED},
        {"\"verification-keys\":\"\"", "\"verification-keys\":\"x\"", "\"verification-keys\"",
         LT_E_MALFORMED},
        {"\"verification-keys\":\"\"", "\"verification-keys\":{}", "\"verification-keys\"", LT_E_MALFORMED},
        {"\"verification-keys\":\"\"}", "\"verification-keys\":\"\"} ]", "more text behind", LT_E_MALFORMED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        LT_AUTOFREE char *doc = edited(f[i].from, f[i].to);
        struct lt_buf b;
        FAILS(f[i].code, compile(doc, &b));
        if (!strstr(err.msg, f[i].says) || b.p)
            fail_msg("%s -> %s: %s", f[i].from, f[i].to, err.msg);
        if (f[i].says[0] != '"' && !strstr(err.msg, "policy") && !strstr(err.msg, "pattern") &&
            !strstr(err.msg, "excludes"))
            fail_msg("no object: %s", err.msg);
    }
}

static int accepts(const uint8_t *p, size_t n, void *state)
{
    struct lt_buf b;
    uint8_t digest[32];

    (void)state;
    int rc = lt_ima_table_compile(p, n, NULL, &b, &err);
    if (!rc) { /* what it takes is named by its own bytes */
        struct lt_ima_table *t;
        OK(lt_ima_table_open(b.p, b.n, &t, &err));
        lt_sha256(p, n, digest);
        assert_memory_equal(lt_ima_table_digest(t), digest, 32);
        lt_ima_table_close(t);
    }
    lt_buf_free(&b);
    return rc;
}

static void document_sweeps(void **state)
{
    uint8_t copy[sizeof DOC];

    (void)state;
    unit_every_prefix(accepts, DOC, sizeof DOC - 1, NULL);
    for (size_t bit = 0; bit < 8 * (sizeof DOC - 1); bit++) {
        memcpy(copy, DOC, sizeof DOC);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)accepts(copy, sizeof DOC - 1, NULL);
    }
}

/* 0: it opens, and answers every question as the good one does. */
static int same_answers(const uint8_t *p, size_t n, void *state)
{
    static const char *const names[] = {"boot_aggregate", "/usr/bin/a b", "/usr/bin/\xc3\xa9", "/tmp/x",
                                        "/none",          ".ima",         "kexec-cmdline",     ".builtin"};
    const struct lt_ima_table *good = state;
    uint64_t *aligned = malloc(n + 8);
    struct lt_ima_table *t;
    enum lt_ima_answer a, b;
    uint8_t digest[64];

    memcpy(aligned, p, n);
    uint64_t *exact = realloc(aligned, n ? n : 1);
    int rc = lt_ima_table_open(exact, n, &t, &err);
    for (unsigned k = 0; !rc && k < 8 * 3 * 4; k++) {
        struct lt_slice name = slice(names[k % 8]), d = {digest, k % 4 == 3 ? 20 : 32};
        memset(digest, 0xaa + 0x11 * (int)(k / 32), sizeof digest);
        OK(lt_ima_table_ask(good, k / 8 % 3, name, d, &a, &err));
        rc = lt_ima_table_ask(t, k / 8 % 3, name, d, &b, &err);
        if (k / 8 % 3 == LT_IMA_FILES)
            assert_int_equal(probed(t, name, d), !rc && b == LT_IMA_ALLOWED);
        if (!rc &&
            (a != b || lt_ima_table_ignores_keyring(t, name) != lt_ima_table_ignores_keyring(good, name)))
            rc = 1;
        if (!rc)
            rc = memcmp(lt_ima_table_digest(t), lt_ima_table_digest(good), 32) ||
                 lt_ima_table_log_hash(t) != lt_ima_table_log_hash(good);
        if (rc)
            lt_ima_table_close(t);
    }
    if (!rc)
        lt_ima_table_close(t);
    free(exact);
    return rc;
}

static void table_sweeps(void **state)
{
    LT_AUTOBUF struct lt_buf b;
    struct lt_ima_table *t;
    unsigned unseen = 0;

    (void)state;
    OK(compile(DOC, &b));
    OK(lt_ima_table_open(b.p, b.n, &t, &err));
    unit_every_prefix(same_answers, b.p, b.n, t);
    struct lt_buf copy = LT_BUF(1 << 20);
    lt_buf_put(&copy, b.p, b.n);
    for (size_t bit = 0; bit < 8 * b.n;
         bit++) { /* never a read outside; a turned bit of the header is never taken */
        copy.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (!same_answers(copy.p, copy.n, t)) {
            unseen++;
            if (bit / 8 < sizeof(struct lt_ima_table_header) &&
                bit / 8 / 4 != offsetof(struct lt_ima_table_header, excludes) / 4)
                fail_msg("bit %zu of the header is ignored", bit);
        }
        copy.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    lt_ima_table_close(t);
    print_message("%u of %zu bits: in empty slots or unasked\n", unseen, 8 * b.n);
    assert_true(unseen < 4 * b.n);
    lt_buf_free(&copy);
    uint64_t odd[64];
    FAILS(LT_E_USAGE, lt_ima_table_open((uint8_t *)odd + 4, 200, &t, &err));
    FAILS(LT_E_MALFORMED, lt_ima_table_open(odd, 0, &t, &err));
    struct lt_ima_table *first;
    OK(lt_ima_table_open(b.p, b.n, &first, &err));
    lt_ima_table_close(first);
    ((struct lt_ima_table_header *)(void *)b.p)->order = 0x04030201;
    FAILS(LT_E_UNSUPPORTED, lt_ima_table_open(b.p, b.n, &first, &err));
    assert_non_null(strstr(err.msg, "compile it again"));
}

/* A hostile expression on a long path: a clear error, quickly, and never a match. */
static void hostile_excludes(void **state)
{
    static const char *const evil[] = {"(a+)+$", "(a|aa)+$", "(a*)*b", "(.*a){30}", "((((a*)*)*)*)*b"};
    char path[4000];
    struct timespec t0, t1;
    enum lt_ima_answer a;

    (void)state;
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = '!';
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
        LT_AUTOFREE char *quoted = NULL;
        assert_true(asprintf(&quoted, "\"%s\"", evil[i]) > 0);
        LT_AUTOFREE char *doc = edited("\"/tmp/\"", quoted);
        LT_AUTOBUF struct lt_buf b;
        struct lt_ima_table *t;
        OK(compile(doc, &b));
        OK(lt_ima_table_open(b.p, b.n, &t, &err));
        clock_gettime(CLOCK_MONOTONIC, &t0);
        int rc = lt_ima_table_ask(t, LT_IMA_FILES, (struct lt_slice){(uint8_t *)path, sizeof path},
                                  (struct lt_slice){(uint8_t *)path, 32}, &a, &err);
        clock_gettime(CLOCK_MONOTONIC, &t1);
        double ms = (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6;
        print_message("%s: %d (%s), %.1f ms\n", evil[i], rc, rc ? err.msg : "", ms);
        assert_true(ms < 2000);
        if (i != 3) {
            assert_int_equal(rc, LT_E_TOO_LARGE);
            assert_non_null(strstr(err.msg, "excludes"));
            assert_int_equal(a, LT_IMA_ABSENT);
        }
        /* a listed file does not meet it */
        assert_int_equal(ask(t, LT_IMA_FILES, "/usr/bin/a b", 0xbb, 32), LT_IMA_ALLOWED);
        lt_ima_table_close(t);
    }
}

static char *many(unsigned names, unsigned digests, unsigned excludes)
{
    struct lt_buf b = LT_BUF(LT_MAX_POLICY);

    lt_buf_str(&b, "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"digests\":{");
    for (unsigned i = 0; i < names; i++) {
        lt_buf_printf(&b, "%s\"/usr/lib/x%u\":[", i ? "," : "", i);
        for (unsigned k = 0; k < digests; k++)
            lt_buf_printf(&b, "%s\"%040x\"", k ? "," : "", i + k);
        lt_buf_str(&b, "]");
    }
    lt_buf_str(&b, "},\"excludes\":[");
    for (unsigned i = 0; i < excludes; i++)
        lt_buf_printf(&b, "%s\"/x%u/\"", i ? "," : "", i);
    lt_buf_str(
        &b,
        "],\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[],\"log_hash_alg\":\"sha1\",\"dm_policy\":null},"
        "\"ima-buf\":{},\"verification-keys\":\"\"}");
    return lt_buf_take_str(&b);
}

static void many_names(void **state)
{
    LT_AUTOFREE char *doc = many(50000, 1, 200);
    LT_AUTOBUF struct lt_buf b;
    struct lt_ima_table *t;
    enum lt_ima_answer a;
    uint8_t digest[20] = {0};
    char name[32];

    (void)state;
    OK(compile(doc, &b));
    OK(lt_ima_table_open(b.p, b.n, &t, &err));
    for (unsigned i = 0; i < 50000; i++) {
        snprintf(name, sizeof name, "/usr/lib/x%u", i);
        lt_put_u32(digest + 16, i);
        OK(lt_ima_table_ask(t, LT_IMA_FILES, slice(name), (struct lt_slice){digest, 20}, &a, &err));
        assert_int_equal(a, LT_IMA_ALLOWED);
        digest[0] = 1;
        OK(lt_ima_table_ask(t, LT_IMA_FILES, slice(name), (struct lt_slice){digest, 20}, &a, &err));
        assert_int_equal(a, LT_IMA_OTHER);
        digest[0] = 0;
        snprintf(name, sizeof name, "/usr/lib/y%u", i);
        OK(lt_ima_table_ask(t, LT_IMA_FILES, slice(name), (struct lt_slice){digest, 20}, &a, &err));
        assert_int_equal(a, LT_IMA_ABSENT);
    }
    assert_int_equal(ask(t, LT_IMA_FILES, "/x199/y", 0, 20), LT_IMA_EXCLUDED);
    lt_ima_table_close(t);
}

/* Names that meet in one slot of one table are found all the same, and in a document of their own they part:
 * its digest is the seed. */
static void collisions(void **state)
{
    enum { NAMES = 64, SLOTS = 128 };
    LT_AUTOFREE char *doc = many(NAMES, 1, 0);
    LT_AUTOBUF struct lt_buf a, b;
    char name[NAMES][16], crowd[NAMES * 64 + 16];
    unsigned found = 0, same = 0, n = 0;
    struct lt_ima_table *t;

    (void)state;
    OK(compile(doc, &a));
    const struct lt_ima_table_header *h = (const void *)a.p;
    assert_int_equal(h->slots[LT_IMA_FILES], SLOTS);
    for (unsigned i = 0; found < NAMES; i++) {
        snprintf(name[found], sizeof name[0], "/c%u", i);
        found += lt_siphash(h->seed, name[found], strlen(name[found])) % SLOTS == 7;
    }
    for (unsigned i = 0; i < NAMES; i++)
        n += (unsigned)sprintf(crowd + n, "%s\"%s\":[\"" A "\"]", i ? "," : "", name[i]);
    LT_AUTOFREE char *aimed = edited("\"boot_aggregate\":[\"" A "\",\"" B "\"],\"/usr/bin/a b\":[\"" B
                                     "\"],\"/usr/bin/\\u00e9\":[\"" C "\"]",
                                     crowd);
    OK(compile(aimed, &b));
    h = (const void *)b.p;
    assert_int_equal(h->slots[LT_IMA_FILES], SLOTS);
    for (unsigned i = 0; i < NAMES; i++)
        same += lt_siphash(h->seed, name[i], strlen(name[i])) % SLOTS == 7;
    assert_true(same < NAMES / 4);
    OK(lt_ima_table_open(b.p, b.n, &t, &err));
    for (unsigned i = 0; i < NAMES; i++)
        assert_int_equal(ask(t, LT_IMA_FILES, name[i], 0xaa, 20), LT_IMA_ALLOWED);
    lt_ima_table_close(t);
    /* an index without an empty slot ends the search all the same */
    OK(lt_ima_table_open(a.p, a.n, &t, &err));
    struct lt_ima_table_slot *slot = (void *)(a.p + sizeof *h);
    for (unsigned i = 0; i < SLOTS; i++)
        if (!slot[i].record)
            slot[i] = (struct lt_ima_table_slot){1, UINT32_MAX};
    assert_int_equal(ask(t, LT_IMA_FILES, "/none", 0xaa, 20), LT_IMA_ABSENT);
    lt_ima_table_close(t);
}

static void ceilings(void **state)
{
    struct lt_buf b;
    (void)state;
    LT_AUTOFREE char *most = many(1, LT_MAX_NAME_DIGESTS, 0), *over = many(1, LT_MAX_NAME_DIGESTS + 1, 0);
    OK(compile(most, &b));
    lt_buf_free(&b);
    FAILS(LT_E_MALFORMED, compile(over, &b));
    assert_non_null(strstr(err.msg, "more than 4096 digests for one name"));
    LT_AUTOFREE char *wide = many(1, 1, LT_MAX_EXCLUDES + 1);
    FAILS(LT_E_MALFORMED, compile(wide, &b));
    assert_non_null(strstr(err.msg, "more than 4096 patterns"));
    LT_AUTOFREE char *name = malloc(LT_MAX_IMA_NAME + 8);
    memset(name, 'n', LT_MAX_IMA_NAME + 8);
    name[0] = name[LT_MAX_IMA_NAME + 2] = '"';
    name[LT_MAX_IMA_NAME + 3] = 0;
    LT_AUTOFREE char *longer = edited("\"/usr/bin/a b\"", name);
    FAILS(LT_E_MALFORMED, compile(longer, &b));
    /* three that pass alone and not together */
    enum { THIRD = 25000 };
    LT_AUTOFREE char *three = malloc(3 * (THIRD + 3) + 1);
    memset(three, 'n', 3 * (THIRD + 3));
    for (int i = 0; i < 3; i++) {
        char *at = three + i * (THIRD + 3);
        at[0] = at[THIRD + 1] = '"';
        at[THIRD + 2] = i < 2 ? ',' : 0;
    }
    LT_AUTOFREE char *joined = edited("\"/tmp/\"", three);
    FAILS(LT_E_TOO_LARGE, compile(joined, &b));
    assert_non_null(strstr(err.msg, "3 patterns joined"));
    FAILS(LT_E_TOO_LARGE, lt_ima_table_compile("", LT_MAX_POLICY + 1u, NULL, &b, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked),           cmocka_unit_test(empty_one),    cmocka_unit_test(faults),
        cmocka_unit_test(document_sweeps), cmocka_unit_test(table_sweeps), cmocka_unit_test(hostile_excludes),
        cmocka_unit_test(many_names),      cmocka_unit_test(collisions),   cmocka_unit_test(ceilings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
