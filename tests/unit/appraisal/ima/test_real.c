/* Lists of real machines: the guests' against their PCR 10, the server's (whose PCR was not kept) by its
 * column. Each entry changed, moved, removed, doubled: never good, and the entry is named. */
#include "appraisal/ima/line.h"
#include "common/ima_list.h"
#include "tests/support/appraisal/imalist.h"
#include "tests/support/vectors.h"

#define MAX_LINES 1024
#define GUEST_LINES 58 /* of which PCR 10 had 56 when it was read: the list grew meanwhile */
#define GUEST_MATCH 56

struct real {
    uint8_t *text;
    size_t n;
    unsigned lines;
    struct lt_slice line[MAX_LINES]; /* with newlines */
    uint8_t pcr[LT_SHA256];
    struct imapolicy policy;
};

/* Every file of the list, as `limetree policy learn` does it. */
struct learnt {
    unsigned count;
    struct {
        struct lt_slice path;
        char hex[2 * LT_MAX_DIGEST + 1];
    } file[MAX_LINES];
};

static int learn(void *arg, const struct lt_ima_file *f, struct lt_err *e)
{
    struct learnt *l = arg;

    (void)e;
    assert_true(l->count < MAX_LINES);
    l->file[l->count].path = f->path;
    lt_hex(f->digest.p, f->digest.n, l->file[l->count++].hex);
    return 0;
}

static void split(struct real *r)
{
    r->lines = 0;
    for (size_t at = 0; at < r->n;) {
        uint8_t *end = memchr(r->text + at, '\n', r->n - at);
        assert_non_null(end);
        assert_true(r->lines < MAX_LINES);
        r->line[r->lines++] = (struct lt_slice){r->text + at, (size_t)(end + 1 - r->text - at)};
        at += r->line[r->lines - 1].n;
    }
}

static void make_policy(struct real *r)
{
    static struct learnt l;
    LT_AUTOBUF struct lt_buf json = LT_BUF(1 << 20);

    l.count = 0;
    OK(lt_ima_files((struct lt_slice){r->text, r->n}, learn, &l, &err));
    for (unsigned i = 0; i < l.count; i++) {
        unsigned first = 0;
        while (!lt_slice_eq(l.file[first].path, l.file[i].path))
            first++;
        if (first < i) /* told with the first of its name */
            continue;
        lt_buf_printf(&json, "%c\"%.*s\":[\"%s\"", i ? ',' : '{', (int)l.file[i].path.n,
                      (const char *)l.file[i].path.p, l.file[i].hex);
        for (unsigned k = i + 1; k < l.count; k++)
            if (lt_slice_eq(l.file[k].path, l.file[i].path))
                lt_buf_printf(&json, ",\"%s\"", l.file[k].hex);
        lt_buf_str(&json, "]");
    }
    lt_buf_str(&json, "}");
    LT_AUTOFREE char *text = lt_buf_take_str(&json);
    assert_non_null(text);
    imapolicy_make(&r->policy, &(struct imapolicy_parts){.digests = text});
}

static int appraise(const struct real *r, struct lt_slice list, struct lt_ima_result *out)
{
    const struct lt_ima_input in = {
        .list = list, .bank = LT_HASH_SHA256, .pcr = r->pcr, .layers = &r->policy.layers};
    return lt_ima_appraise(&in, NULL, out, &err);
}

static void guest(const char *dir, struct real *r)
{
    LT_AUTOFREE char *list = lt_file_path(dir, "ima_ascii_runtime_measurements"),
                     *pcrs = lt_file_path(dir, "pcrs.txt");
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    r->text = lt_vector_read(list, &r->n);
    text = lt_vector_read(pcrs, &n);
    char *ten = memmem(text, n, "\n10 ", 4);
    assert_non_null(ten);
    ten[4 + 2 * sizeof r->pcr] = 0;
    OK(lt_unhex(ten + 4, r->pcr, sizeof r->pcr, &err));
    split(r);
    make_policy(r);
}

static void done(struct real *r)
{
    imapolicy_free(&r->policy);
    free(r->text);
}

static void pieces(struct lt_buf *b, const struct real *r, unsigned skip_at, unsigned twice_at,
                   unsigned swap_at)
{
    b->n = 0;
    for (unsigned i = 0; i < r->lines; i++) {
        unsigned from = i == swap_at ? i + 1 : i == swap_at + 1 ? i - 1 : i;
        for (int k = i == twice_at ? 2 : i != skip_at; k > 0; k--)
            lt_buf_put(b, r->line[from].p, r->line[from].n);
    }
}

#define NONE (MAX_LINES + 1u)

static void guests(void **state)
{
    static const char *const dirs[] = {"guest-logs/ovmf", "guest-logs/seabios"};
    static struct real r;
    struct lt_ima_result out;

    (void)state;
    for (size_t d = 0; d < 2; d++) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1 << 20);
        guest(dirs[d], &r);
        OK(appraise(&r, (struct lt_slice){r.text, r.n}, &out));
        assert_int_equal(r.lines, GUEST_LINES);
        assert_int_equal(out.entries, GUEST_MATCH);
        assert_int_equal(out.matched, GUEST_MATCH);
        assert_int_equal(out.matched_bytes, r.line[GUEST_MATCH].p - r.text);
        assert_int_equal(out.faults, 0);
        for (unsigned i = 0; i < GUEST_MATCH; i++)
            for (int how = 0; how < 3; how++) {
                if (how && i + 1 == GUEST_MATCH)
                    continue; /* the last one doubled lies past the match, and so does what it were swapped
                                 with */
                pieces(&b, &r, how == 0 ? i : NONE, how == 1 ? i : NONE, how == 2 ? i : NONE);
                FAILS(LT_E_REFUSED, appraise(&r, (struct lt_slice){b.p, b.n}, &out));
                assert_non_null(strstr(err.msg, "IMA list: PCR 10 is sha256:"));
                assert_int_equal(out.faults, 1);
            }
        done(&r);
    }
}

/* One character of a line at a time: the entry that is named is that one, and it is never good; what is
 * behind the match is nobody's. */
static void changed(void **state)
{
    static struct real r;
    struct lt_ima_result out;
    char name[48];

    (void)state;
    guest("guest-logs/ovmf", &r);
    for (unsigned i = 0; i < r.lines; i++) {
        snprintf(name, sizeof name, "IMA entry %u ", i);
        uint8_t *line = r.text + (r.line[i].p - r.text);
        for (size_t k = 0; k + 1 < r.line[i].n; k++)
            for (unsigned bit = 0; bit < 8; bit += i < 3 ? 1 : 3) {
                line[k] ^= (uint8_t)(1u << bit);
                int rc = appraise(&r, (struct lt_slice){r.text, r.n}, &out);
                line[k] ^= (uint8_t)(1u << bit);
                if (i >= GUEST_MATCH) {
                    assert_int_equal(rc, 0);
                    continue;
                }
                if (rc != LT_E_REFUSED && rc != LT_E_MALFORMED)
                    fail_msg("entry %u, byte %zu, bit %u: %d", i, k, bit, rc);
                if (strncmp(err.msg, name, strlen(name)))
                    fail_msg("entry %u, byte %zu, bit %u: %s", i, k, bit, err.msg);
            }
    }
    OK(appraise(&r, (struct lt_slice){r.text, r.n}, &out));
    done(&r);
}

/* Good exactly from the match on; a cut line is not an entry, but for what only lacks its newline. */
static void prefixes(void **state)
{
    static struct real r;
    struct lt_ima_result out;

    (void)state;
    guest("guest-logs/seabios", &r);
    for (size_t n = 0; n <= r.n; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, r.text, n);
        int rc = appraise(&r, (struct lt_slice){copy, n}, &out);
        bool good = n + 1 >= (size_t)(r.line[GUEST_MATCH].p - r.text);
        free(copy);
        if ((rc == 0) != good)
            fail_msg("%zu of %zu bytes: %d %s", n, r.n, rc, err.msg);
    }
    done(&r);
}

/* A line of the policy less: that file is named, and nothing else is wrong. */
static void policy_changed(void **state)
{
    static struct real r;
    struct lt_ima_result out;

    (void)state;
    guest("guest-logs/ovmf", &r);
    imapolicy_free(&r.policy);
    for (unsigned i = 5; i < GUEST_MATCH; i += 5) { /* 0 is boot_aggregate, which follows from PCRs */
        struct real less = r;
        LT_AUTOFREE uint8_t *text = malloc(r.n);
        size_t before = (size_t)(r.line[i].p - r.text), after = before + r.line[i].n;
        memcpy(text, r.text, before);
        memcpy(text + before, r.text + after, r.n - after);
        less.text = text;
        less.n = r.n - r.line[i].n;
        make_policy(&less);
        FAILS(LT_E_REFUSED, appraise(&less, (struct lt_slice){r.text, r.n}, &out));
        assert_int_equal(out.faults, 1);
        assert_int_equal(out.matched, GUEST_MATCH);
        assert_string_equal(out.fault[0], err.msg);
        char start[32];
        snprintf(start, sizeof start, "IMA entry %u (", i);
        if (strncmp(err.msg, start, strlen(start)) || !strstr(err.msg, "): digest sha256:") ||
            !strstr(err.msg, " not in layers base@"))
            fail_msg("%s", err.msg);
        imapolicy_free(&less.policy);
    }
    free(r.text);
}

/* Asked again from the match on, and whole again: the same match. */
static void again(void **state)
{
    static struct real r;
    struct lt_ima_result out;

    (void)state;
    guest("guest-logs/ovmf", &r);
    struct lt_ima_progress at = {0};
    struct lt_ima_input in = {
        .list = {r.text, r.n}, .bank = LT_HASH_SHA256, .pcr = r.pcr, .layers = &r.policy.layers};
    for (int round = 0; round < 4; round++) {
        in.first = round % 2 ? at.next : 0;
        size_t from = in.first ? (size_t)(r.line[in.first].p - r.text) : 0;
        in.list = (struct lt_slice){r.text + from, r.n - from};
        OK(lt_ima_appraise(&in, &at, &out, &err));
        assert_int_equal(at.next, GUEST_MATCH);
        assert_memory_equal(at.run, r.pcr, sizeof r.pcr);
        assert_int_equal(out.matched, GUEST_MATCH);
        assert_int_equal(out.entries, in.first ? 0 : GUEST_MATCH);
    }
    lt_ima_progress_free(&at);
    done(&r);
}

/* The same boot in the kernel's binary form: entry by entry the same, and judged the same. */
static void binary(void **state)
{
    static const char *const dirs[] = {"guest-logs/ovmf", "guest-logs/seabios"};
    static struct lt_ima_line a, b;
    static struct real r;
    struct lt_ima_result out[2];

    (void)state;
    for (size_t d = 0; d < 2; d++) {
        LT_AUTOFREE char *path = lt_file_path(dirs[d], "ima_binary_runtime_measurements");
        struct lt_slice text, bin;
        bool more[2] = {true, true};
        guest(dirs[d], &r);
        LT_AUTOFREE uint8_t *bytes = lt_vector_read(path, &bin.n);
        bin.p = bytes;
        text = (struct lt_slice){r.text, r.n};
        assert_true(lt_ima_list_is_binary(bin) && !lt_ima_list_is_binary(text));
        assert_int_equal(lt_ima_list_units(bin), GUEST_LINES - 1); /* it was read before the text */
        struct lt_ima_walk w[2] = {lt_ima_walk(text), lt_ima_walk(bin)};
        for (;;) {
            OK(lt_ima_walk_next(&w[0], &a, &more[0], &err));
            OK(lt_ima_walk_next(&w[1], &b, &more[1], &err));
            if (!more[1])
                break;
            assert_true(more[0]);
            assert_true(a.proved && b.proved && a.pcr == b.pcr && a.kind == b.kind && a.alg == b.alg);
            assert_true(lt_slice_eq(a.data, b.data) && lt_slice_eq(a.path, b.path) &&
                        lt_slice_eq(a.digest, b.digest) && lt_slice_eq(a.extra, b.extra) &&
                        lt_slice_eq(a.alg_name, b.alg_name));
        }
        OK(appraise(&r, text, &out[0]));
        OK(appraise(&r, bin, &out[1]));
        assert_int_equal(out[1].matched, GUEST_MATCH);
        /* Every bit, and every prefix. */
        for (size_t i = 0; i < out[1].matched_bytes * 8; i++) {
            bytes[i / 8] ^= (uint8_t)(1u << i % 8);
            if (!appraise(&r, bin, &out[0]))
                fail_msg("bit %zu", i);
            bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        for (size_t n = 0; n < bin.n; n++) {
            uint8_t *copy = malloc(n ? n : 1);
            memcpy(copy, bytes, n);
            assert_int_equal(!appraise(&r, (struct lt_slice){copy, n}, &out[0]), n >= out[1].matched_bytes);
            free(copy);
        }
        done(&r);
    }
}

static void server(void **state)
{
    static struct real r;
    static struct lt_ima_result out;
    const char *path = vector_third_party("hpe/ima_log.txt");

    (void)state;
    OK(lt_file_read(path, VECTOR_MAX, &r.text, &r.n, &err));
    split(&r);
    make_policy(&r);
    memset(r.pcr, 0x5a, sizeof r.pcr);
    /* Every column is right and every file is in the policy: only the PCR, which was not kept, is missing. */
    FAILS(LT_E_REFUSED, appraise(&r, (struct lt_slice){r.text, r.n}, &out));
    assert_int_equal(out.entries, r.lines);
    assert_int_equal(r.lines, 780);
    assert_int_equal(out.faults, 1);
    assert_non_null(strstr(out.fault[0], "IMA list: PCR 10"));
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guests),         cmocka_unit_test(changed), cmocka_unit_test(prefixes),
        cmocka_unit_test(policy_changed), cmocka_unit_test(again),   cmocka_unit_test(server),
        cmocka_unit_test(binary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
