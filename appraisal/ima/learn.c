#include "appraisal/ima/learn.h"

#include "appraisal/ima/banks.h"
#include "appraisal/ima/keys.h"
#include "appraisal/ima/line.h"
#include "common/alloc.h"
#include "common/json.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SHOWN 160

struct lesson {
    const struct lt_ima_lesson *in;
    struct lt_ima_learnt *out;
    json_t *digests, *buffers, *keyrings; /* name -> list of digests */
    uint16_t log_hash;                    /* of the first entry's column */
    uint64_t matched;                     /* entries that PCR 10 covers */
    uint64_t faults;                      /* of these, what will not pass: left out */
};

__attribute__((format(printf, 4, 5))) static void note(struct lesson *s, uint64_t entry,
                                                       const struct lt_ima_line *l, const char *fmt, ...)
{
    char path[PATH_SHOWN + 1], why[120];
    va_list ap;

    if (s->out->told == LT_IMA_FAULTS)
        return;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    lt_ima_line_show(l->path, path, PATH_SHOWN);
    snprintf(s->out->note[s->out->told++], sizeof s->out->note[0], "IMA entry %" PRIu64 " (%s): %s", entry,
             path, why);
}

static void leave(struct lesson *s, uint64_t entry, const struct lt_ima_line *l, const char *why)
{
    s->out->left_out++;
    s->faults += entry < s->matched;
    note(s, entry, l, "%s", why);
}

static int put(json_t *section, const char *name, struct lt_slice digest, struct lt_err *e)
{
    char hex[2 * LT_MAX_DIGEST + 1];
    json_t *list = json_object_get(section, name), *have;
    size_t i;

    lt_hex(digest.p, digest.n, hex);
    if (!list &&
        (json_object_set_new(section, name, json_array()) || !(list = json_object_get(section, name))))
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    json_array_foreach(list, i, have)
    {
        if (!strcmp(json_string_value(have), hex))
            return 0;
    }
    if (json_array_size(list) == LT_MAX_NAME_DIGESTS)
        return lt_fail(e, LT_E_TOO_LARGE, "policy: more than %u digests for \"%.100s\"", LT_MAX_NAME_DIGESTS,
                       name);
    return json_array_append_new(list, json_string(hex)) ? lt_fail(e, LT_E_NO_MEMORY, "policy: no memory")
                                                         : 0;
}

static bool zeros(struct lt_slice digest)
{
    static const uint8_t none[LT_MAX_DIGEST];
    return !memcmp(digest.p, none, digest.n);
}

/* Into the section, under its name as a document can hold it. */
static int learn(struct lesson *s, json_t *section, uint64_t entry, const struct lt_ima_line *l,
                 uint64_t *count, struct lt_err *e)
{
    char name[LT_UTF8_ESCAPED(LT_MAX_IMA_NAME)];
    size_t n = lt_utf8_escape(l->path, name);

    if (!n || n > LT_MAX_IMA_NAME) {
        leave(s, entry, l, n ? "its name is too long for a policy" : "it has no name");
        return 0;
    }
    if (l->digest.n < lt_hash_size(LT_HASH_SHA1)) {
        leave(s, entry, l, "its digest is too short for a policy");
        return 0;
    }
    if (n != l->path.n) {
        s->out->escaped++;
        note(s, entry, l, "its name is no UTF-8, the policy has it with \\xNN");
    }
    LT_TRY(put(section, name, l->digest, e));
    ++*count;
    return 0;
}

static int buffer(struct lesson *s, uint64_t entry, const struct lt_ima_line *l, struct lt_err *e)
{
    uint8_t h[LT_MAX_DIGEST];
    bool is_key;

    if (l->alg)
        lt_hash(l->alg, &l->extra, 1, h);
    if (!l->alg || memcmp(h, l->digest.p, l->digest.n)) {
        leave(s, entry, l, "its digest is not that of the buffer");
        return 0;
    }
    LT_TRY(lt_ima_keys_add_der(NULL, l->extra, &is_key, e));
    return is_key ? learn(s, s->keyrings, entry, l, &s->out->keys, e)
                  : learn(s, s->buffers, entry, l, &s->out->buffers, e);
}

static int one(struct lesson *s, uint64_t entry, const struct lt_ima_line *l, struct lt_err *e)
{
    if (!entry)
        s->log_hash = l->log_hash;
    if (l->pcr != LT_IMA_PCR) {
        leave(s, entry, l, "it is of another PCR");
        return 0;
    }
    if (l->violation) {
        s->out->violations++;
        return 0;
    }
    if (l->kind == LT_IMA_BUFFER)
        return buffer(s, entry, l, e);
    if (lt_ima_line_is_aggregate(l))
        return 0;
    if (zeros(l->digest)) {
        leave(s, entry, l, "it could not be hashed");
        return 0;
    }
    return learn(s, s->digests, entry, l, &s->out->files, e);
}

/* until: entries from here on are left out. */
static int walk(struct lesson *s, uint64_t until, struct lt_err *e)
{
    struct lt_ima_walk w = lt_ima_walk(s->in->list);
    struct lt_ima_line line;
    bool more;

    for (uint64_t i = 0;; i++) {
        size_t from = w.at;
        int rc = lt_ima_walk_next(&w, &line, &more, e);
        if (rc && i >= until) /* nobody's */
            return 0;
        if (rc)
            return lt_fail_in(e, rc, "IMA entry %" PRIu64 " at byte %zu", i, from);
        if (!more)
            return 0;
        if (i >= until)
            s->out->behind++;
        else
            LT_TRY(one(s, i, &line, e));
    }
}

/* Sorted, so that the document does not tell in which order things ran. */
static int write_document(struct lesson *s, struct lt_err *e)
{
    const char *hash = lt_hash_name(s->log_hash ? s->log_hash : (uint16_t)LT_HASH_SHA1);
    LT_JSON_AUTO json_t *j =
        json_pack("{s:{s:i, s:i}, s:i, s:O, s:[], s:O, s:{s:[], s:s, s:n}, s:O, s:s}", "meta", "version", 1,
                  "generator", 0, "release", 0, "digests", s->digests, "excludes", "keyrings", s->keyrings,
                  "ima", "ignored_keyrings", "log_hash_alg", hash, "dm_policy", "ima-buf", s->buffers,
                  "verification-keys", "");

    s->out->text = j ? json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    if (!s->out->text)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    s->out->names = json_object_size(s->digests);
    lt_sha256(s->out->text, strlen(s->out->text), s->out->digest);
    return 0;
}

/* ---- the evidence, judged ---- */

struct held {
    struct lt_buf bytes;
    struct lt_ima_table *table;
};

static void held_free(struct held *h)
{
    lt_ima_table_close(h->table);
    lt_buf_free(&h->bytes);
}

/* PCR 10 and what boot_aggregate must be: of the quote, else what the list itself gives. */
static int basis(const struct lesson *s, struct lt_ima_input *in, struct lt_ima_aggregates *keep,
                 struct lt_ima_replay *own, struct lt_err *e)
{
    *in = (struct lt_ima_input){.list = s->in->list, .bank = LT_HASH_SHA256};
    if (s->in->pcrs) {
        lt_ima_quoted(in, s->in->pcrs, keep);
        return in->pcr
                   ? 0
                   : lt_fail(e, LT_E_REFUSED,
                             "PCR %d is not in the quote, so nothing vouches for the IMA list", LT_IMA_PCR);
    }
    LT_TRY(lt_ima_replay(s->in->list, own, e));
    for (int b = 0; b < LT_IMA_BANKS; b++)
        if (own->bank[b].alg == in->bank)
            in->pcr = own->bank[b].value;
    return 0;
}

static int passes(const struct lesson *s, struct lt_ima_input *in, struct lt_err *e)
{
    __attribute__((cleanup(held_free))) struct held h = {.bytes = LT_BUF(LT_MAX_IMA_TABLE)};
    LT_AUTOFREE struct lt_ima_result *r = lt_new(struct lt_ima_result);
    static const struct lt_policy_layer_rule learnt = {.name = "learnt"};
    struct lt_ima_layers layers = {
        .count = 1, .accept_violations = true, .accept_padded = true, .log_hash = s->log_hash};
    LT_TRY_IN(lt_ima_table_compile(s->out->text, strlen(s->out->text), NULL, &h.bytes, e), e,
              "what was learnt");
    LT_TRY_IN(lt_ima_table_open(h.bytes.p, h.bytes.n, &h.table, e), e, "what was learnt");
    layers.layer[0] = (struct lt_ima_layer){&learnt, h.table};
    in->layers = &layers;
    int rc = lt_ima_appraise(in, NULL, r, e);
    in->layers = NULL;
    if (rc == LT_E_REFUSED && r->matched && r->faults <= s->faults)
        return 0;
    return rc ? lt_fail_in(e, rc, "the list does not pass what was learnt from it") : 0;
}

static int teach(struct lesson *s, struct lt_err *e)
{
    LT_AUTOFREE struct lt_ima_replay *own = lt_new(struct lt_ima_replay);
    LT_AUTOFREE struct lt_ima_result *r = lt_new(struct lt_ima_result);
    struct lt_ima_aggregates keep;
    struct lt_ima_input in;

    if (!s->in->list.n)
        return lt_fail(e, LT_E_REFUSED, "the IMA list has no entry to learn from");
    LT_TRY(basis(s, &in, &keep, own, e));
    LT_TRY(lt_ima_appraise(&in, NULL, r, e)); /* the chain alone: how far does it reach */
    s->out->padded = r->padded;
    s->matched = r->matched;
    LT_TRY(walk(s, s->in->pcrs && !s->in->all ? r->matched : UINT64_MAX, e));
    LT_TRY(write_document(s, e));
    return passes(s, &in, e);
}

int lt_ima_learn(const struct lt_ima_lesson *in, struct lt_ima_learnt *out, struct lt_err *e)
{
    LT_JSON_AUTO json_t *digests = json_object(), *buffers = json_object(), *keyrings = json_object();
    struct lesson s = {.in = in, .out = out, .digests = digests, .buffers = buffers, .keyrings = keyrings};

    *out = (struct lt_ima_learnt){0};
    int rc = digests && buffers && keyrings ? teach(&s, e) : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    if (rc)
        lt_ima_learnt_free(out);
    return rc;
}

void lt_ima_learnt_free(struct lt_ima_learnt *l)
{
    free(l->text);
    *l = (struct lt_ima_learnt){0};
}
