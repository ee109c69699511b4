#include "appraisal/ima/judge.h"

#include <stdio.h>
#include <string.h>

#define SHOWN 32 /* bytes of a digest that are told in full */
#define MAX_BAD                                                                                              \
    1024 /* signatures: after so many bad ones the verdict is clear, and a check costs up to a millisecond   \
          */

/* "digest sha256:ab12 not in layers base@9f37fd92, web@11aa22bb" */
static void not_listed(const struct lt_ima_judge *j, const struct lt_ima_line *l, const char *what,
                       const char *where, enum lt_ima_answer answer, char why[LT_IMA_WHY])
{
    char hex[2 * SHOWN + 1], names[112];
    size_t n = l->digest.n < SHOWN ? l->digest.n : SHOWN;

    lt_hex(l->digest.p, n, hex);
    lt_ima_layers_names(j->layers, names, sizeof names);
    snprintf(why, LT_IMA_WHY, "%s %.*s:%s%s not in %slayers %s%s", what, (int)l->alg_name.n,
             (const char *)l->alg_name.p, hex, n < l->digest.n ? "..." : "", where, *names ? names : "(none)",
             answer == LT_IMA_OTHER ? ", which know it with other digests" : "");
}

static void add_why(char why[LT_IMA_WHY], const char *more)
{
    size_t n = strlen(why);
    snprintf(why + n, LT_IMA_WHY - n, "; %s", more);
}

static int ask(const struct lt_ima_judge *j, const struct lt_ima_line *l, enum lt_ima_section s,
               enum lt_ima_answer *out, struct lt_err *e)
{
    int which;
    return lt_ima_layers_ask(j->layers, j->now, s, l->path, l->digest, out, &which, e);
}

/* ---- signatures ---- */

static int read_own(struct lt_ima_judge *j, struct lt_err *e)
{
    const struct lt_ima_layers *all = j->layers;

    if (j->own_read)
        return 0;
    if (!j->own)
        j->own = lt_ima_keys_new();
    for (unsigned i = 0; i < all->count; i++)
        if (lt_policy_layer_in_force(all->layer[i].rule, j->now))
            LT_TRY_IN(lt_ima_keys_add_json(j->own, lt_ima_table_keys(all->layer[i].table), e), e,
                      "verification-keys of layer %s", all->layer[i].rule->name);
    j->own_read = true;
    return 0;
}

/* 0: good. LT_E_MALFORMED, LT_E_REFUSED, LT_E_BAD_SIGNATURE: it is not. Else none could be made. */
static int signature(struct lt_ima_judge *j, const struct lt_ima_line *l, struct lt_err *e)
{
    LT_TRY(read_own(j, e));
    if (!lt_ima_keys_count(j->own) && !lt_ima_keys_count(j->learnt))
        return lt_fail(e, LT_E_REFUSED, "no keys for its signature");
    if (j->bad >= MAX_BAD || j->signatures >= LT_MAX_IMA_SIGNATURES)
        return lt_fail(e, LT_E_REFUSED, "its signature was not checked, after %u others and %u bad ones",
                       j->signatures, j->bad);
    int rc = lt_ima_signature_check(j->own, l->extra, l->alg, l->digest, e);
    if (rc == LT_E_REFUSED) /* another key may be known by the same id in the other keyring */
        rc = lt_ima_signature_check(j->learnt, l->extra, l->alg, l->digest, e);
    else if (rc == LT_E_BAD_SIGNATURE) {
        struct lt_err other = {0};
        int by = lt_ima_signature_check(j->learnt, l->extra, l->alg, l->digest, &other);
        if (!by)
            rc = 0;
        else if (by == LT_E_NO_MEMORY)
            rc = lt_fail(e, by, "%s", other.msg);
    }
    j->signatures++;
    j->bad += rc != 0;
    return rc;
}

static __attribute__((noinline)) int not_allowed(struct lt_ima_judge *j, const struct lt_ima_line *l,
                                                 enum lt_ima_answer answer, bool *good, char why[LT_IMA_WHY],
                                                 struct lt_err *e)
{
    struct lt_err local = {0};
    bool is_signed = l->kind == LT_IMA_SIGNED && l->extra.n;

    *good = j->aggregate_open && answer == LT_IMA_ABSENT && lt_ima_line_is_aggregate(l);
    if (is_signed && !*good) {
        int rc = l->verity ? lt_fail(&local, LT_E_REFUSED, "signatures of fs-verity digests are not read")
                           : signature(j, l, &local);
        if (rc && rc != LT_E_MALFORMED && rc != LT_E_REFUSED && rc != LT_E_BAD_SIGNATURE) {
            *e = local;
            return rc;
        }
        *good = !rc;
    }
    if (!*good) {
        j->cause = is_signed                ? "ima-signature"
                   : answer == LT_IMA_OTHER ? "ima-other-digest"
                                            : "ima-not-listed";
        not_listed(j, l, "digest", "", answer, why);
        if (is_signed)
            add_why(why, local.msg);
    }
    return 0;
}

/* ---- buffers ---- */

/* The kernel hashed the buffer itself. That must be checked here: PCR 10 can be extended from user space, and
 * the digest is what the policy allows while the bytes are what would be learnt. */
static bool holds(const struct lt_ima_line *l)
{
    uint8_t h[LT_MAX_DIGEST];

    if (!l->alg)
        return false;
    lt_hash(l->alg, &l->extra, 1, h);
    return !memcmp(h, l->digest.p, l->digest.n);
}

static bool ignored(const struct lt_ima_judge *j, struct lt_slice keyring)
{
    const struct lt_ima_layers *all = j->layers;

    for (unsigned i = 0; i < all->count; i++)
        if (lt_policy_layer_in_force(all->layer[i].rule, j->now) &&
            lt_ima_table_ignores_keyring(all->layer[i].table, keyring))
            return true;
    return false;
}

static __attribute__((noinline)) int buffer(struct lt_ima_judge *j, const struct lt_ima_line *l, bool *good,
                                            char why[LT_IMA_WHY], struct lt_err *e)
{
    enum lt_ima_answer answer;
    bool is_key;

    j->cause = "ima-not-listed";
    if (!holds(l)) {
        j->cause = "ima-hash";
        snprintf(why, LT_IMA_WHY, "its digest is not that of the buffer's %zu bytes", l->extra.n);
        return 0;
    }
    LT_TRY(lt_ima_keys_add_der(NULL, l->extra, &is_key, e));
    if (!is_key) {
        LT_TRY(ask(j, l, LT_IMA_BUFFERS, &answer, e));
        *good = answer == LT_IMA_ALLOWED || answer == LT_IMA_EXCLUDED;
        if (!*good)
            not_listed(j, l, "buffer", "ima-buf of ", answer, why);
        return 0;
    }
    *good = ignored(j, l->path);
    if (*good) /* and nothing is learnt from it */
        return 0;
    LT_TRY(ask(j, l, LT_IMA_KEYRINGS, &answer, e));
    *good = answer == LT_IMA_ALLOWED;
    j->cause = "ima-key";
    if (!*good)
        not_listed(j, l, "key", "keyrings of ", answer, why);
    else if (j->layers->learn_keys)
        return lt_ima_keys_add_der(j->learnt, l->extra, &is_key, e);
    return 0;
}

void lt_ima_judge_prepare(struct lt_ima_judge *j, const struct lt_ima_line *l)
{
    const struct lt_ima_layers *all = j->layers;
    unsigned i = 0;

    while (i < all->count && !lt_policy_layer_in_force(all->layer[i].rule, j->now))
        i++;
    j->probe.table = NULL;
    if (i < all->count && l->kind != LT_IMA_BUFFER)
        j->probe = lt_ima_table_probe(all->layer[i].table, l->path);
}

void lt_ima_judge_closer(const struct lt_ima_judge *j)
{
    lt_ima_table_probe_closer(&j->probe);
}

int lt_ima_judge(struct lt_ima_judge *j, const struct lt_ima_line *l, bool *good, char why[LT_IMA_WHY],
                 struct lt_err *e)
{
    enum lt_ima_answer answer;

    *good = l->kind != LT_IMA_BUFFER && lt_ima_table_probe_allows(&j->probe, l->path, l->digest);
    if (*good)
        return 0;
    if (l->kind == LT_IMA_BUFFER)
        return buffer(j, l, good, why, e);
    /* The table first: a signature costs a hundred times as much and could only say the same. */
    LT_TRY(ask(j, l, LT_IMA_FILES, &answer, e));
    *good = answer == LT_IMA_ALLOWED || answer == LT_IMA_EXCLUDED;
    return *good ? 0 : not_allowed(j, l, answer, good, why, e);
}

void lt_ima_judge_end(struct lt_ima_judge *j)
{
    lt_ima_keys_free(j->own);
    j->own = NULL;
}
