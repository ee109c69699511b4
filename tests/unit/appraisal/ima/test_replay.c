/* The replay: chain, prefix, progress, column, violations, ceilings. Content is test_judge.c's. */
#include "appraisal/ima/keys.h"
#include "appraisal/ima/line.h"
#include "tests/support/appraisal/imalist.h"
#include "tests/support/unit.h"

static struct lt_ima_result out;

static int appraise(const struct imalist *l, const struct imapolicy *p, struct lt_ima_progress *at)
{
    const struct lt_ima_input in = {
        .list = imalist_text(l), .bank = l->bank, .pcr = l->pcr, .layers = p ? &p->layers : NULL};
    return lt_ima_appraise(&in, at, &out, &err);
}

static void says(const char *want)
{
    if (!strstr(err.msg, want))
        fail_msg("'%s' is not in '%s'", want, err.msg);
}

static const char *const abc[] = {"/bin/a", "/bin/b", "/bin/c", NULL};

/* Every bank and column; the empty list; entries past the match. */
static void chains(void **state)
{
    static const uint16_t banks[] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&p, abc);
    for (size_t b = 0; b < 4; b++)
        for (size_t c = 0; c < 4; c++) {
            struct lt_ima_progress at = {0};
            imalist_start(&l, banks[b], banks[c]);
            p.layers.log_hash = banks[c];
            OK(appraise(&l, NULL, &at)); /* nothing measured, nothing listed: a chain, and no evidence */
            assert_int_equal(at.next, 0);
            FAILS(LT_E_REFUSED, appraise(&l, &p, &at));
            says("PCR 10 covers no entry");
            for (int i = 0; i < 3; i++)
                imalist_ng(&l, abc[i]);
            OK(appraise(&l, NULL, NULL));
            OK(appraise(&l, &p, &at));
            assert_int_equal(at.next, 3);
            assert_int_equal(at.bank, banks[b]);
            assert_memory_equal(at.run, l.pcr, lt_hash_size(banks[b]));
            /* Another column than the policy's. */
            p.layers.log_hash = banks[(c + 1) % 4];
            FAILS(LT_E_REFUSED, appraise(&l, &p, &at));
            says("IMA entry 0 (/bin/a): its template hash has");
            /* More in the list than in the PCR. */
            p.layers.log_hash = banks[c];
            uint8_t before[LT_MAX_DIGEST];
            memcpy(before, l.pcr, sizeof before);
            imalist_ng(&l, "/bin/a");
            memcpy(l.pcr, before, sizeof before);
            OK(appraise(&l, &p, &at));
            assert_int_equal(at.next, 3);
            assert_int_equal(out.entries, 3);
            assert_int_equal(out.matched, 3);
            assert_int_equal(at.bytes, out.matched_bytes);
            /* Past the match nothing is looked at: no quote vouches for it, whoever wrote it. */
            imalist_ng(&l, "/bin/evil");
            lt_buf_str(&l.text, "10 garbage");
            memcpy(l.pcr, before, sizeof before);
            OK(appraise(&l, &p, &at));
            assert_int_equal(at.next, 3);
            assert_int_equal(out.matched, 3);
            lt_ima_progress_free(&at);
            assert_int_equal(at.next, 0);
            imalist_free(&l);
        }
    imapolicy_free(&p);
}

static void increments(void **state)
{
    struct imapolicy p;
    struct imalist l;
    struct lt_ima_progress at = {0};

    (void)state;
    imapolicy_of_paths(&p, abc);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    struct lt_ima_input in = {.bank = LT_HASH_SHA256, .pcr = l.pcr, .layers = &p.layers};
    for (unsigned i = 0; i < 30; i++) {
        size_t from = l.text.n;
        for (unsigned k = 0; k < i % 3; k++) /* also none */
            imalist_ng(&l, abc[k]);
        in.first = at.next;
        in.list = (struct lt_slice){l.text.p + from, l.text.n - from};
        if (!l.entries) {
            FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err));
            continue;
        }
        OK(lt_ima_appraise(&in, &at, &out, &err));
        assert_int_equal(out.entries, i % 3);
        assert_int_equal(at.next, l.entries);
        assert_int_equal(at.bytes, l.text.n);
    }
    /* It begins elsewhere; in another bank. */
    in.first = at.next - 1;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err));
    says("IMA list begins with entry 29, expected is 30 or 0");
    in.first = at.next + 1;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err));
    in.first = at.next;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, NULL, &out, &err));
    says("expected is 0 or 0");
    in.bank = LT_HASH_SHA384;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err));
    says("replayed before in 0x000b");
    in.bank = 0x1234;
    FAILS(LT_E_USAGE, lt_ima_appraise(&in, &at, &out, &err));
    in.bank = LT_HASH_SHA256;
    in.pcr = NULL;
    FAILS(LT_E_USAGE, lt_ima_appraise(&in, &at, &out, &err));
    assert_int_equal(at.next, 30);
    /* The PCR moved and the list did not. */
    uint8_t ahead[LT_SHA256] = {1};
    in.pcr = ahead;
    in.list.n = 0;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err));
    says("gives that after none of its entries 30 to 30");
    /* Numbers in messages count from the list's beginning. */
    struct imalist more;
    imalist_start(&more, LT_HASH_SHA256, LT_HASH_SHA1);
    memcpy(more.pcr, l.pcr, LT_SHA256);
    imalist_ng(&more, "/bin/a");
    imalist_ng(&more, "/bin/evil");
    in.list = imalist_text(&more);
    in.pcr = more.pcr;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, &at, &out, &err));
    says("IMA entry 31 (/bin/evil)");
    assert_int_equal(at.next, 30);
    imalist_free(&more);
    lt_ima_progress_free(&at);
    imalist_free(&l);
    imapolicy_free(&p);
}

/* A whole list may come again, but it may not stand before the match of last time, nor be another one. */
static void no_way_back(void **state)
{
    struct imapolicy p;
    struct imalist l, other;
    struct lt_ima_progress at = {0};
    uint8_t at_two[LT_MAX_DIGEST];

    (void)state;
    imapolicy_of_paths(&p, abc);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "/bin/a");
    imalist_ng(&l, "/bin/b");
    memcpy(at_two, l.pcr, sizeof at_two);
    imalist_ng(&l, "/bin/c");
    OK(appraise(&l, &p, &at));
    OK(appraise(&l, &p, &at));
    uint8_t at_three[LT_MAX_DIGEST];
    memcpy(at_three, l.pcr, sizeof at_three);
    memcpy(l.pcr, at_two, sizeof at_two);
    FAILS(LT_E_REFUSED, appraise(&l, &p, &at));
    says("PCR 10 stands after 2 entries, last time after 3");
    memset(l.pcr, 0, sizeof l.pcr);
    FAILS(LT_E_REFUSED, appraise(&l, &p, &at));
    says("PCR 10 stands after 0 entries, last time after 3");
    assert_int_equal(at.next, 3);
    /* Another history that leads further. */
    imalist_start(&other, LT_HASH_SHA256, LT_HASH_SHA1);
    for (int i = 0; i < 5; i++)
        imalist_ng(&other, "/bin/b");
    FAILS(LT_E_REFUSED, appraise(&other, &p, &at));
    says("its first 3 entries are not those of last time");
    /* A full list in another bank is a start of its own. */
    imalist_free(&other);
    imalist_start(&other, LT_HASH_SHA384, LT_HASH_SHA1);
    for (int i = 0; i < 3; i++)
        imalist_ng(&other, abc[i]);
    OK(appraise(&other, &p, &at));
    assert_int_equal(at.bank, LT_HASH_SHA384);
    /* After a reboot the caller starts anew. */
    lt_ima_progress_free(&at);
    memcpy(l.pcr, at_two, sizeof at_two);
    OK(appraise(&l, &p, &at));
    assert_int_equal(at.next, 2);
    lt_ima_progress_free(&at);
    imalist_free(&other);
    imalist_free(&l);
    imapolicy_free(&p);
}

static void violations(void **state)
{
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&p, abc);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "/bin/a");
    imalist_violation(&l, "/var/log/journal");
    imalist_ng(&l, "/bin/b");
    FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
    assert_int_equal(out.faults, 1);
    assert_int_equal(out.matched, 3); /* extended with ones */
    says("IMA entry 1 (/var/log/journal): violation (ToMToU or open-writers)");
    p.layers.accept_violations = true;
    OK(appraise(&l, &p, NULL));
    /* An entry that is passed off as a violation is not what was measured. */
    imalist_ng(&l, "/bin/evil");
    char *line = memmem(l.text.p, l.text.n, "/bin/evil", 9);
    memset(line - 1 - 71 - 1 - 6 - 1 - 40, '0', 40);
    FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
    says("IMA list: PCR 10");
    imalist_free(&l);
    imapolicy_free(&p);
}

static void other_pcr(void **state)
{
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&p, abc);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "/bin/a");
    l.text.p[1] = '1';
    FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
    says("IMA entry 0 (/bin/a): it is of PCR 11, only 10 is judged; and 1 more");
    imalist_free(&l);
    imapolicy_free(&p);
}

/* Sixteen faults are told, all are counted, and that the PCR was not met is told in any case. */
static void many_faults(void **state)
{
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&p, abc);
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    for (int i = 0; i < 40; i++)
        imalist_ng(&l, i % 2 ? "/bin/a" : "/bin/evil");
    FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
    assert_int_equal(out.faults, 20);
    assert_int_equal(out.kept, LT_IMA_FAULTS);
    assert_non_null(strstr(out.fault[15], "IMA entry 30 "));
    says("; and 19 more");
    l.pcr[0] ^= 1;
    FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
    assert_int_equal(out.faults, 21);
    assert_non_null(strstr(out.fault[15], "PCR 10 is sha256:"));
    imalist_free(&l);
    imapolicy_free(&p);
}

static void malformed(void **state)
{
    static const char *const tails[] = {"\n", "10\n", "garbage", "10 00 ima-ng sha1:00 /a\n", " \n"};
    struct imapolicy p;
    struct lt_ima_progress at = {0};

    (void)state;
    imapolicy_of_paths(&p, abc);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        struct imalist l;
        char want[64];
        imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
        imalist_ng(&l, "/bin/a");
        imalist_ng(&l, "/bin/b");
        snprintf(want, sizeof want, "IMA entry 2 at byte %zu: ", l.text.n);
        lt_buf_str(&l.text, tails[i]);
        l.pcr[0] ^= 1; /* it goes on behind them */
        FAILS(LT_E_MALFORMED, appraise(&l, &p, &at));
        says(want);
        assert_int_equal(at.next, 0);
        struct lt_slice text = imalist_text(&l);
        assert_int_equal(lt_ima_appraise(&(struct lt_ima_input){.list = text, .bank = l.bank, .pcr = l.pcr},
                                         &at, &out, LT_NO_ERR),
                         LT_E_MALFORMED); /* without a place for the message */
        imalist_free(&l);
    }
    assert_null(at.learnt);
    imapolicy_free(&p);
}

static int appraise_binary(const struct imalist *l, const struct imapolicy *p, struct lt_ima_progress *at)
{
    const struct lt_ima_input in = {
        .list = imalist_binary(l), .bank = l->bank, .pcr = l->pcr, .layers = p ? &p->layers : NULL};
    return lt_ima_appraise(&in, at, &out, &err);
}

/* Whatever a user of the machine calls his file: it is one entry, with that name, in both forms. */
static void names(void **state)
{
    static const char *const odd[] = {
        "/home/u/a\nb",
        "/home/u/a\n10 0 x",
        "/home/u/\n",
        "/home/u/\n\n\n",
        "\n",
        "/home/u/a\n10 829de69e718061970530cad0f914199f7bfd0c92 ima-ng sha1:00 /bin/b",
        "/home/u/a\n10 829de69e718061970530cad0f914199f7bfd0c92 ima "
        "829de69e718061970530cad0f914199f7bfd0c92 /bin/b\n10 829de69e718061970530cad0f914199f7bfd0c92 ima x",
        "/home/u/a\n10 0000000000000000000000000000000000000000 ima-ng sha1:00 /bin/b",
        "/home/u/a\n10 829de69e718061970530cad0f914199f7bfd0c92 ima-ng sha1:00 /bin/b\n10 "
        "829de69e718061970530cad0f914199f7bfd0c92 ima 00 /bin/b",
        "/home/u/\xff\xfe",
        "/home/u/caf\xc3\xa9",
        "/home/u/a\\b\\x41\\\\",
        "/home/u/\\xff",
        "/home/u/a\r\n\tb  c ",
        " /home",
        "",
    };
    struct imapolicy p, nothing;

    (void)state;
    imapolicy_make(&p, &(struct imapolicy_parts){.excludes = "[\"(?s).*\"]"});
    imapolicy_make(&nothing, &(struct imapolicy_parts){.digests = NULL});
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (int sig = 0; sig < 3; sig++) {
            static const char *const templates[] = {"ima-ng", "ima-sig", "ima-modsig"};
            struct imalist l;
            imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
            imalist_ng(&l, "/bin/a");
            imalist_add(&l, templates[sig], LT_HASH_SHA256, "x", odd[i],
                        (struct lt_slice){(const uint8_t *)"sig", sig ? 3 : 0});
            imalist_ng(&l, "/bin/b");
            for (int both = 0; both < 2; both++) {
                int (*f)(const struct imalist *, const struct imapolicy *, struct lt_ima_progress *) =
                    both ? appraise_binary : appraise;
                if (f(&l, &p, NULL))
                    fail_msg("name %zu, %s, form %d: %s", i, templates[sig], both, err.msg);
                assert_int_equal(out.matched, 3);
                FAILS(LT_E_REFUSED, f(&l, &nothing, NULL));
                assert_int_equal(out.faults, 3);
                char shown[101], want[160];
                lt_ima_line_show((struct lt_slice){(const uint8_t *)odd[i], strlen(odd[i])}, shown, 100);
                snprintf(want, sizeof want, "IMA entry 1 (%s): digest sha256:", shown);
                assert_non_null(strstr(out.fault[1], want));
            }
            imalist_free(&l);
        }
    imapolicy_free(&p);
    imapolicy_free(&nothing);
}

/* As an agent sends them whose wire is JSON: bytes that are no UTF-8 as \xNN, and then each backslash too. */
static void escaped_names(void **state)
{
    static const struct {
        const char *name, *sent;
    } cases[] = {{"/home/u/\xff\xfe", "/home/u/\\xff\\xfe"},
                 {"/home/u/\xeb\\x41", "/home/u/\\xeb\\x5cx41"},
                 {"/home/u/\xeb\nb", "/home/u/\\xeb\nb"},
                 {"/home/u/\\x41\xc3\xa9", "/home/u/\\x41\xc3\xa9"}}; /* UTF-8: as it is */
    struct imapolicy p;

    (void)state;
    imapolicy_make(&p, &(struct imapolicy_parts){.digests = NULL});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct imalist l;
        imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
        imalist_ng(&l, "/bin/a");
        imalist_ng(&l, cases[i].name);
        char *at = memmem(l.text.p, l.text.n, cases[i].name, strlen(cases[i].name));
        assert_non_null(at);
        l.text.n = (size_t)(at - (char *)l.text.p);
        lt_buf_printf(&l.text, "%s\n", cases[i].sent);
        OK(appraise(&l, NULL, NULL));
        FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
        char shown[101], want[160];
        lt_ima_line_show((struct lt_slice){(const uint8_t *)cases[i].name, strlen(cases[i].name)}, shown,
                         100);
        snprintf(want, sizeof want, "IMA entry 1 (%s): digest", shown);
        assert_non_null(strstr(out.fault[1], want));
        at = memmem(l.text.p, l.text.n, "/u/", 3);
        at[1] ^= 1; /* another name than was hashed */
        assert_int_not_equal(appraise(&l, NULL, NULL), 0);
        assert_non_null(strstr(err.msg, i == 2 ? "IMA entry 2 at byte" : "its template hash is"));
        imalist_free(&l);
    }
    imapolicy_free(&p);
}

/* A violation's name is proved by nothing: it ends at the first line that begins like an entry. */
static void violation_names(void **state)
{
    struct imapolicy p;
    struct imalist l;

    (void)state;
    imapolicy_of_paths(&p, abc);
    p.layers.accept_violations = true;
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "/bin/a");
    imalist_violation(&l, "/home/u/a\nb\n10 x");
    imalist_ng(&l, "/bin/b");
    imalist_violation(&l, "/home/u/\n");
    OK(appraise(&l, &p, NULL));
    assert_int_equal(out.matched, 4);
    OK(appraise_binary(&l, &p, NULL));
    p.layers.accept_violations = false;
    FAILS(LT_E_REFUSED, appraise(&l, &p, NULL));
    says("IMA entry 1 (/home/u/a\\x0ab\\x0a10 x): violation");
    imalist_free(&l);
    /* What begins like one needs the binary form. */
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    p.layers.accept_violations = true;
    imalist_violation(&l, "/home/u/a\n10 829de69e718061970530cad0f914199f7bfd0c92 ima-ng "
                          "sha1:829de69e718061970530cad0f914199f7bfd0c92 /x");
    imalist_ng(&l, "/bin/b");
    assert_int_not_equal(appraise(&l, &p, NULL), 0);
    OK(appraise_binary(&l, &p, NULL));
    imalist_free(&l);
    imapolicy_free(&p);
}

/* Names of nothing but beginnings of entries, as many as a name holds: work stays a small multiple of the
 * list's size, whether the ends are found or not. */
static void hostile_names(void **state)
{
    static const char lure[] = "\n10 829de69e718061970530cad0f914199f7bfd0c92 ima "
                               "829de69e718061970530cad0f914199f7bfd0c92 \\x41";
    static struct lt_ima_line line;
    struct lt_ima_result r;
    struct imalist l;
    char name[LT_MAX_IMA_NAME + 1];
    bool more = true;

    (void)state;
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)snprintf(name, sizeof name, "/tmp/%d", i);
        while (n + sizeof lure - 1 < sizeof name - 1)
            n += (size_t)snprintf(name + n, sizeof name - n, "%s", lure);
        if (i % 2) /* only newlines */
            memset(name + 5, '\n', n - 5);
        imalist_ng(&l, name);
    }
    struct lt_ima_walk w = lt_ima_walk(imalist_text(&l));
    for (unsigned i = 0;; i++) {
        OK(lt_ima_walk_next(&w, &line, &more, &err));
        if (!more) {
            assert_int_equal(i, 200);
            break;
        }
        assert_true(line.proved);
    }
    assert_int_equal(w.lost, 0);
    assert_true(w.tried > l.text.n && w.tried < 64 * (uint64_t)l.text.n);
    OK(appraise(&l, NULL, NULL));
    /* The same, each turned: nothing fits anywhere. */
    for (size_t at = 0; at < l.text.n; at++)
        if (l.text.p[at] == '/')
            l.text.p[at] = '_';
    w = lt_ima_walk(imalist_text(&l));
    while (!lt_ima_walk_next(&w, &line, &more, &err) && more)
        ;
    assert_int_equal(w.lost, LT_IMA_LOST);
    assert_true(w.tried < 64 * (uint64_t)l.text.n);
    const struct lt_ima_input in = {.list = imalist_text(&l), .bank = l.bank, .pcr = l.pcr};
    assert_int_not_equal(lt_ima_appraise(&in, NULL, &r, &err), 0);
    imalist_free(&l);
}

/* A newline more than the ceiling of a name. */
static void longest_names(void **state)
{
    char name[LT_MAX_IMA_NAME + 2];
    struct imalist l;

    (void)state;
    memset(name, '\n', sizeof name);
    name[0] = '/';
    for (unsigned n = LT_MAX_IMA_NAME - 1; n <= LT_MAX_IMA_NAME + 1; n++) {
        name[n] = 0;
        imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
        imalist_ng(&l, name);
        imalist_ng(&l, "/bin/a");
        bool good = n <= LT_MAX_IMA_NAME;
        assert_int_equal(appraise(&l, NULL, NULL) == 0, good);
        assert_int_equal(appraise_binary(&l, NULL, NULL) == 0, good);
        imalist_free(&l);
        name[n] = '\n';
    }
}

static int count(void *arg, const struct lt_ima_file *f, struct lt_err *e)
{
    unsigned *seen = arg;
    if (f->entry == 7)
        return lt_fail(e, LT_E_CONFLICT, "enough");
    assert_true(f->path.n && f->digest.n == lt_hash_size(f->alg));
    (*seen)++;
    return 0;
}

static void files(void **state)
{
    struct imalist l;
    unsigned seen = 0;

    (void)state;
    imalist_start(&l, LT_HASH_SHA256, LT_HASH_SHA1);
    imalist_ng(&l, "boot_aggregate");
    imalist_violation(&l, "/x");
    imalist_add(&l, "ima-buf", LT_HASH_SHA256, "", "kexec-cmdline",
                (struct lt_slice){(const uint8_t *)"quiet", 5});
    imalist_add(&l, "ima", LT_HASH_SHA1, "a", "/a b", (struct lt_slice){NULL, 0});
    imalist_add(&l, "ima-sig", LT_HASH_SHA512, "a", "/a b", (struct lt_slice){NULL, 0});
    OK(lt_ima_files(imalist_text(&l), count, &seen, &err));
    assert_int_equal(seen, 3);
    for (int i = 0; i < 3; i++)
        imalist_ng(&l, "/c");
    FAILS(LT_E_CONFLICT, lt_ima_files(imalist_text(&l), count, &seen, &err));
    lt_buf_str(&l.text, "x");
    l.text.p[0] = 'x';
    FAILS(LT_E_MALFORMED, lt_ima_files(imalist_text(&l), count, &seen, &err));
    says("IMA entry 0 at byte 0");
    FAILS(LT_E_TOO_LARGE, lt_ima_files((struct lt_slice){l.text.p, LT_MAX_IMA_LOG + 1}, count, &seen, &err));
    imalist_free(&l);
}

/* As large as it may be: 64 MiB without a newline, of newlines, of the shortest entries (a million and more).
 */
static void large(void **state)
{
    static const char shortest[] = "10 0000000000000000000000000000000000000000 ima-ng x:00 /\n";
    size_t n = LT_MAX_IMA_LOG, one = sizeof shortest - 1;
    uint8_t *text = malloc(n + 1), pcr[LT_SHA256] = {1};
    struct lt_ima_layers nobody = {.accept_violations = true};
    struct lt_ima_input in = {.list = {text, n}, .bank = LT_HASH_SHA256, .pcr = pcr, .layers = &nobody};

    (void)state;
    assert_non_null(text);
    memset(text, 'a', n + 1);
    FAILS(LT_E_MALFORMED, lt_ima_appraise(&in, NULL, &out, &err));
    memset(text, '\n', n);
    FAILS(LT_E_MALFORMED, lt_ima_appraise(&in, NULL, &out, &err));
    memset(text, 0, n);
    FAILS(LT_E_MALFORMED, lt_ima_appraise(&in, NULL, &out, &err));
    for (size_t at = 0; at + one <= n; at += one)
        memcpy(text + at, shortest, one);
    in.list.n = n / one * one;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, NULL, &out, &err));
    says("after none of its entries");
    assert_int_equal(out.entries, n / one);
    assert_true(out.entries > 1000000);
    assert_int_equal(out.faults, 1);
    nobody.accept_violations = false;
    FAILS(LT_E_REFUSED, lt_ima_appraise(&in, NULL, &out, &err));
    assert_int_equal(out.faults, n / one + 1);
    in.list.n = n + 1;
    FAILS(LT_E_TOO_LARGE, lt_ima_appraise(&in, NULL, &out, &err));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains),        cmocka_unit_test(increments),    cmocka_unit_test(no_way_back),
        cmocka_unit_test(violations),    cmocka_unit_test(other_pcr),     cmocka_unit_test(many_faults),
        cmocka_unit_test(malformed),     cmocka_unit_test(names),         cmocka_unit_test(files),
        cmocka_unit_test(large),         cmocka_unit_test(escaped_names), cmocka_unit_test(violation_names),
        cmocka_unit_test(hostile_names), cmocka_unit_test(longest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
