#include "appraisal/ima/document.h"

#include "common/hash.h"
#include "common/json_pull.h"

#include <stdio.h>
#include <string.h>

struct walk {
    struct lt_json_pull in;
    const struct lt_ima_doc_sink *sink;
    struct lt_ima_doc *doc;
};

typedef int value_fn(struct walk *w, struct lt_err *e);

struct member {
    const char *key;
    value_fn *read;
    bool optional;
};

/* An object whose members are in a table: each once, the required ones all there. */
static int members(struct walk *w, const struct member *m, size_t count, const char *where, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice key;
    unsigned seen = 0;
    size_t i;

    LT_TRY(lt_json_pull_object(&w->in, &l, e));
    for (;;) {
        LT_TRY(lt_json_pull_key(&w->in, &l, LT_MAX_IMA_NAME, &key, e));
        if (l.end)
            break;
        for (i = 0; i < count && !lt_slice_is(key, m[i].key); i++)
            ;
        if (i == count)
            return lt_json_pull_fail(&w->in, e, "%sunknown key \"%.*s\"", where,
                                     (int)(key.n < 40 ? key.n : 40), key.p);
        if (seen >> i & 1)
            return lt_json_pull_fail(&w->in, e, "%s\"%s\" is there twice", where, m[i].key);
        seen |= 1u << i;
        LT_TRY_IN(m[i].read(w, e), e, "\"%s\"", m[i].key);
    }
    for (i = 0; i < count; i++)
        if (!(seen >> i & 1) && !m[i].optional)
            return lt_json_pull_fail(&w->in, e, "%s\"%s\" is missing", where, m[i].key);
    return 0;
}

/* [0-9a-f]{40,128}: the algorithm is not named, values are compared as they stand. */
static int digest(struct walk *w, uint8_t out[LT_IMA_DIGEST_MAX], size_t *n, struct lt_err *e)
{
    struct lt_slice s;

    *n = 0;
    LT_TRY(lt_json_pull_string(&w->in, 2 * LT_IMA_DIGEST_MAX, &s, e));
    if (s.n < 40 || s.n % 2)
        return lt_json_pull_fail(&w->in, e, "a digest of %zu characters, not 40 to 128", s.n);
    if (!lt_unhex_lower(s.p, s.n / 2, out))
        return lt_json_pull_fail(&w->in, e, "a digest that is not lower-case hex");
    *n = s.n / 2;
    return 0;
}

static int digest_list(struct walk *w, struct lt_err *e)
{
    struct lt_json_pull_list l;
    uint8_t d[LT_IMA_DIGEST_MAX];
    size_t n;

    LT_TRY(lt_json_pull_array(&w->in, &l, e));
    for (unsigned count = 0;; count++) {
        LT_TRY(lt_json_pull_item(&w->in, &l, e));
        if (l.end)
            return count ? 0 : lt_json_pull_fail(&w->in, e, "a name without digests");
        if (count == LT_MAX_NAME_DIGESTS)
            return lt_json_pull_fail(&w->in, e, "more than %u digests for one name", LT_MAX_NAME_DIGESTS);
        LT_TRY(digest(w, d, &n, e));
        LT_TRY(w->sink->digest(w->sink->arg, d, n, e));
    }
}

static int section(struct walk *w, unsigned s, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice name;

    LT_TRY(lt_json_pull_object(&w->in, &l, e));
    for (;;) {
        LT_TRY(lt_json_pull_key(&w->in, &l, LT_MAX_IMA_NAME, &name, e));
        if (l.end)
            return 0;
        if (!name.n)
            return lt_json_pull_fail(&w->in, e, "an empty name");
        LT_TRY(w->sink->name(w->sink->arg, s, name, e));
        LT_TRY(digest_list(w, e));
    }
}

static int digests(struct walk *w, struct lt_err *e)
{
    return section(w, LT_IMA_FILES, e);
}

static int keyrings(struct walk *w, struct lt_err *e)
{
    return section(w, LT_IMA_KEYRINGS, e);
}

static int buffers(struct walk *w, struct lt_err *e)
{
    return section(w, LT_IMA_BUFFERS, e);
}

static int excludes(struct walk *w, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice s;

    LT_TRY(lt_json_pull_array(&w->in, &l, e));
    for (unsigned i = 0;; i++) {
        LT_TRY(lt_json_pull_item(&w->in, &l, e));
        if (l.end)
            return 0;
        if (i == LT_MAX_EXCLUDES)
            return lt_json_pull_fail(&w->in, e, "more than %u patterns", LT_MAX_EXCLUDES);
        LT_TRY(lt_json_pull_string(&w->in, LT_MAX_PATTERN, &s, e));
        LT_TRY(w->sink->exclude(w->sink->arg, i, s, e));
    }
}

static int ignored_keyrings(struct walk *w, struct lt_err *e)
{
    struct lt_json_pull_list l;
    struct lt_slice s;

    LT_TRY(lt_json_pull_array(&w->in, &l, e));
    for (;;) {
        LT_TRY(lt_json_pull_item(&w->in, &l, e));
        if (l.end)
            return 0;
        LT_TRY(lt_json_pull_string(&w->in, LT_MAX_IMA_NAME, &s, e));
        if (!s.n)
            return lt_json_pull_fail(&w->in, e, "an empty name");
        if (lt_slice_is(s, "*"))
            w->doc->ignores_all = true;
        LT_TRY(w->sink->name(w->sink->arg, LT_IMA_IGNORED, s, e));
    }
}

static int log_hash(struct walk *w, struct lt_err *e)
{
    char name[16];
    struct lt_slice s;

    LT_TRY(lt_json_pull_string(&w->in, sizeof name - 1, &s, e));
    snprintf(name, sizeof name, "%.*s", (int)s.n, s.p);
    w->doc->log_hash = lt_hash_by_name(name);
    return w->doc->log_hash ? 0 : lt_json_pull_fail(&w->in, e, "unknown hash \"%s\"", name);
}

/* Keylime's own switch for it is off as well; a document that wants it must not be taken for one that does
 * not. */
static int dm_policy(struct walk *w, struct lt_err *e)
{
    LT_TRY_IN(lt_json_pull_null(&w->in, e), e, "device-mapper entries are not validated");
    return 0;
}

static int ima(struct walk *w, struct lt_err *e)
{
    static const struct member m[] = {{"ignored_keyrings", ignored_keyrings, false},
                                      {"log_hash_alg", log_hash, false},
                                      {"dm_policy", dm_policy, true}};
    return members(w, m, sizeof m / sizeof *m, "ima: ", e);
}

/* What version 2 will mean nobody knows yet. */
static int version(struct walk *w, struct lt_err *e)
{
    return lt_json_pull_int(&w->in, 0, 1, &w->doc->version, e);
}

static int generator(struct walk *w, struct lt_err *e)
{
    return lt_json_pull_int(&w->in, 0, 3, &w->doc->generator, e);
}

static int timestamp(struct walk *w, struct lt_err *e)
{
    struct lt_slice s;

    LT_TRY(lt_json_pull_string(&w->in, sizeof w->doc->timestamp - 1, &s, e));
    snprintf(w->doc->timestamp, sizeof w->doc->timestamp, "%.*s", (int)s.n, s.p);
    return 0;
}

static int meta(struct walk *w, struct lt_err *e)
{
    static const struct member m[] = {
        {"version", version, false}, {"generator", generator, false}, {"timestamp", timestamp, true}};
    return members(w, m, sizeof m / sizeof *m, "meta: ", e);
}

static int release(struct walk *w, struct lt_err *e)
{
    return lt_json_pull_int(&w->in, 0, INT32_MAX, &w->doc->release, e);
}

static int verification_keys(struct walk *w, struct lt_err *e)
{
    struct lt_slice s;

    LT_TRY(lt_json_pull_string(&w->in, LT_MAX_KEYRING_TEXT, &s, e));
    return w->sink->keys(w->sink->arg, s, e);
}

int lt_ima_doc_read(const void *p, size_t n, const struct lt_ima_doc_sink *sink, struct lt_ima_doc *out,
                    struct lt_err *e)
{
    static const struct member m[] = {
        {"meta", meta, false},         {"release", release, false},
        {"digests", digests, false},   {"excludes", excludes, false},
        {"keyrings", keyrings, false}, {"ima", ima, false},
        {"ima-buf", buffers, false},   {"verification-keys", verification_keys, false}};
    LT_JSON_PULL_AUTO struct lt_json_pull in = lt_json_pull(p, n, "runtime policy");
    struct walk w = {.sink = sink, .doc = out};

    *out = (struct lt_ima_doc){0};
    if (n > LT_MAX_POLICY)
        return lt_fail(e, LT_E_TOO_LARGE, "runtime policy: %zu bytes > %u", n, LT_MAX_POLICY);
    w.in = in;
    int rc = members(&w, m, sizeof m / sizeof *m, "", e);
    if (!rc)
        rc = lt_json_pull_end(&w.in, e);
    in = w.in; /* scratch may have moved. NOLINT(clang-analyzer-deadcode.DeadStores): the cleanup reads it */
    return rc;
}
