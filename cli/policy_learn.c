/* limetree policy learn: what a good machine measured becomes what others may measure. Evidence of a bundle
 * is believed only as far as its quotes reach; the same evidence always gives the same document. */
#include "cli/policy.h"

#include "appraisal/offline.h"
#include "common/clock.h"
#include "common/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct learnt {
    json_t *digests; /* name → list */
    uint64_t until;  /* entries from here on are left out */
    uint64_t entries, left_out, unnameable;
};

static int learn_file(void *arg, const struct lt_ima_file *f, struct lt_err *e)
{
    static const uint8_t zeros[LT_MAX_DIGEST];
    struct learnt *l = arg;
    size_t i;
    json_t *v;

    l->entries++;
    if (f->digest.n > sizeof zeros ||
        !memcmp(f->digest.p, zeros, f->digest.n)) { /* could not be hashed: says nothing */
        l->unnameable++;
        return 0;
    }
    if (f->entry >= l->until) {
        l->left_out++;
        return 0;
    }
    /* JSON holds no other bytes than UTF-8 without NULs: such a file cannot be allowed by name. */
    json_t *text = f->path.n && f->path.n <= LT_MAX_IMA_NAME && !memchr(f->path.p, 0, f->path.n)
                       ? json_stringn((const char *)f->path.p, f->path.n)
                       : NULL;
    LT_AUTOJSON json_t *name = text;
    if (!name) {
        l->unnameable++;
        lt_policy_say(
            "IMA entry %llu: its path is no UTF-8 text of 1 to %u bytes and cannot stand in a policy\n",
            (unsigned long long)f->entry, LT_MAX_IMA_NAME);
        return 0;
    }
    LT_AUTOJSON json_t *digest = lt_json_new_hex(f->digest.p, f->digest.n);
    json_t *list = json_object_get(l->digests, json_string_value(name));
    if (!list) {
        json_object_set_new(l->digests, json_string_value(name), json_array());
        list = json_object_get(l->digests, json_string_value(name));
    }
    json_array_foreach(list, i, v)
    {
        if (json_equal(v, digest))
            return 0;
    }
    return json_array_append(list, digest) ? lt_fail(e, LT_E_NO_MEMORY, "no memory for a policy") : 0;
}

/* Of the template-hash column: told by its width. */
static const char *log_hash(struct lt_slice list)
{
    static const char *const names[] = {"sha1", "sha256", "sha384", "sha512"};
    const uint8_t *blank = list.n ? memchr(list.p, ' ', list.n) : NULL;
    size_t left = blank ? list.n - (size_t)(blank + 1 - list.p) : 0;
    const uint8_t *end = blank ? memchr(blank + 1, ' ', left) : NULL;

    for (size_t i = 0; end && i < sizeof names / sizeof *names; i++)
        if ((size_t)(end - blank - 1) == 2 * lt_hash_size(lt_hash_by_name(names[i])))
            return names[i];
    return "sha1";
}

static char *document(const struct learnt *l, struct lt_slice list)
{
    LT_AUTOJSON json_t *j = json_pack(
        "{s:{s:i, s:i}, s:i, s:O, s:[], s:{}, s:{s:[], s:s, s:n}, s:{}, s:s}", "meta", "version", 1,
        "generator", 0, "release", 0, "digests", l->digests, "excludes", "keyrings", "ima",
        "ignored_keyrings", "log_hash_alg", log_hash(list), "dm_policy", "ima-buf", "verification-keys", "");
    return j ? json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
}

/* Entries that the quoted PCR 10 covers; all of them if there is no quote. */
static int covered(const struct lt_policy_evidence *ev, uint64_t *until, struct lt_err *e)
{
    struct lt_ima_progress progress = {0};
    struct lt_ima_result *r = calloc(1, sizeof *r);
    struct lt_ima_input in = {.list = ev->ima, .layers = NULL};

    *until = UINT64_MAX;
    if (!r)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    LT_AUTOFREE struct lt_ima_result *mine = r;
    if (!ev->pcrs)
        return 0;
    if (!(ev->pcrs->mask >> LT_IMA_PCR & 1))
        return lt_fail(e, LT_E_REFUSED, "PCR 10 is not in the quote, so nothing vouches for the IMA list");
    in.bank = ev->pcrs->alg;
    in.pcr = ev->pcrs->value[LT_IMA_PCR];
    int rc = lt_ima_appraise(&in, &progress, mine, e);
    lt_ima_progress_free(&progress);
    *until = mine->matched;
    return rc;
}

static int write_boot(const char *out, const struct lt_policy_evidence *ev, uint8_t digest[LT_SHA256],
                      struct lt_err *e)
{
    if (!ev->boot_log.p)
        return lt_fail(e, LT_E_NOT_FOUND, "no boot log to learn --boot from");
    struct lt_boot_log *log = lt_boot_log_new(ev->boot_log);
    if (!log)
        return lt_fail(e, LT_E_NO_MEMORY, "boot log: no memory");
    json_t *j = NULL;
    int rc = log->replay.fault.code ? lt_fail(e, LT_E_MALFORMED, "%.300s", log->replay.fault.msg)
             : ev->pcrs             ? lt_boot_replay_match(&log->replay, ev->pcrs, e)
                                    : 0;
    if (!rc && !(j = lt_boot_policy_learn(log, e)))
        rc = e->code;
    LT_AUTOJSON json_t *mine = j;
    lt_boot_log_free(log);
    LT_AUTOFREE char *text = rc ? NULL : lt_json_pretty(mine);
    if (!rc && !text)
        rc = lt_fail(e, LT_E_NO_MEMORY, "boot policy: no memory");
    if (!rc)
        lt_sha256(text, strlen(text), digest);
    return rc ? rc : lt_file_write(out, text, strlen(text), 0644, e);
}

/* A boot log alone: its policy is all there is to write, and goes to --boot or -o. */
static int learn_boot(const struct lt_policy_cli *c, const struct lt_policy_evidence *ev, struct lt_err *e)
{
    uint8_t hash[LT_SHA256];
    char name[65];

    LT_TRY(write_boot(c->boot ? c->boot : c->out, ev, hash, e));
    lt_hex(hash, sizeof hash, name);
    if (c->json)
        return lt_policy_print_json(json_pack("{s:s, s:b, s:b}", "digest", name, "quoted", false, "boot", true), e);
    lt_policy_say("%s: a boot policy; no quote stands behind it\n", name);
    return 0;
}

static int learn(const struct lt_policy_cli *c, const struct lt_policy_evidence *ev, struct lt_err *e)
{
    LT_AUTOJSON json_t *digests = json_object();
    LT_AUTOBUF struct lt_buf table = LT_BUF(0);
    struct learnt l = {.digests = digests};
    uint64_t quoted;
    uint8_t hash[LT_SHA256];
    char name[65];

    if (!ev->ima.p && c->boot_log)
        return learn_boot(c, ev, e);
    if (!ev->ima.p)
        return lt_fail(e, LT_E_NOT_FOUND, "no IMA list in the evidence");
    LT_TRY(covered(ev, &quoted, e));
    l.until = c->all ? UINT64_MAX : quoted;
    LT_TRY(lt_ima_files(ev->ima, learn_file, &l, e));
    LT_AUTOFREE char *text = document(&l, ev->ima);
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "runtime policy: no memory");
    /* What is written must be what a verifier takes. */
    if (lt_ima_table_compile(text, strlen(text), NULL, &table, e))
        return lt_fail_in(e, "what was learnt");
    LT_TRY(lt_file_write(c->out, text, strlen(text), 0644, e));
    if (c->boot)
        LT_TRY(write_boot(c->boot, ev, hash, e));
    lt_sha256(text, strlen(text), hash);
    lt_hex(hash, sizeof hash, name);
    if (c->json)
        return lt_policy_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:b, s:b}", "digest", name, "names",
                                              (json_int_t)json_object_size(digests), "files",
                                              (json_int_t)l.entries, "left_out", (json_int_t)l.left_out,
                                              "unnameable", (json_int_t)l.unnameable, "quoted",
                                              ev->pcrs != NULL, "boot", c->boot != NULL),
                                    e);
    lt_policy_say("%s: %zu names from %llu file entries%s\n", name, json_object_size(digests),
                  (unsigned long long)l.entries, ev->pcrs ? "" : "; no quote stands behind them");
    if (l.left_out)
        lt_policy_say("%llu entries beyond the quoted ones left out (--all takes them)\n",
                      (unsigned long long)l.left_out);
    return 0;
}

/* Activation, history and registry are not in a bundle; all that is must hold. */
static int consistent(const struct lt_bundle *b, struct lt_err *e)
{
    const struct lt_offline o = {.now = lt_wall_s()};
    LT_AUTOFREE struct lt_verdict *v = calloc(1, sizeof *v);

    if (!v)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    LT_TRY(lt_appraise_bundle(b, &o, v, e));
    if (v->result == LT_CONSISTENT)
        return 0;
    for (int i = 0; i < LT_CHECKS; i++)
        if (v->check[i].state == LT_NOT_PASSED)
            return lt_fail(e, LT_E_REFUSED, "%s: %.250s", lt_check_slug(i), v->check[i].message);
    return lt_fail(e, LT_E_REFUSED, "inconsistent");
}

void lt_policy_half(const struct lt_bundle *b, bool host, struct lt_policy_evidence *out)
{
    const struct lt_blob *ima = host ? &b->host.ima : &b->guest.ima;
    const struct lt_blob *log = host ? &b->host.boot_log : &b->guest.boot_log;

    *out = (struct lt_policy_evidence){
        .pcrs = host ? &b->host.quote.pcrs : &b->guest.pcrs,
        .ima = {ima->p, ima->n},
        .boot_log = {log->p, log->n},
    };
}

static int from_bundle(const struct lt_policy_cli *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    struct lt_policy_evidence ev;
    struct lt_bundle b;
    size_t n;

    LT_TRY(lt_file_read(c->from, LT_MAX_BUNDLE, &text, &n, e));
    if (lt_bundle_parse(text, n, &b, e))
        return lt_fail_in(e, "%s", c->from);
    int rc =
        c->host && !b.has_host ? lt_fail(e, LT_E_NOT_FOUND, "no host evidence in it") : consistent(&b, e);
    if (!rc) {
        lt_policy_half(&b, c->host, &ev);
        rc = learn(c, &ev, e);
    }
    lt_bundle_free(&b);
    return rc ? lt_fail_in(e, "%s", c->from) : 0;
}

static int from_files(const struct lt_policy_cli *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *ima = NULL, *log = NULL;
    struct lt_policy_evidence ev = {0};

    if (c->ima)
        LT_TRY(lt_file_read(c->ima, LT_MAX_IMA_LOG, &ima, &ev.ima.n, e));
    if (c->boot_log)
        LT_TRY(lt_file_read(c->boot_log, LT_MAX_BOOT_LOG, &log, &ev.boot_log.n, e));
    ev.ima.p = ima;
    ev.boot_log.p = log;
    return learn(c, &ev, e) ? lt_fail_in(e, "%s", c->ima ? c->ima : c->boot_log) : 0;
}

int lt_policy_learn(const struct lt_policy_cli *c, int *verdict, struct lt_err *e)
{
    *verdict = 0;
    const bool files = c->ima || c->boot_log, boot_alone = !c->ima && c->boot_log;
    if (c->count || !c->from == !files || (files && c->host))
        return lt_fail(e, LT_E_USAGE, "learn: either --from BUNDLE, or --ima FILE and --boot-log FILE or one of them");
    if (boot_alone ? !c->out == !c->boot : !c->out)
        return lt_fail(e, LT_E_USAGE, boot_alone ? "learn: a boot log alone gives a boot policy: --boot OUT or -o OUT"
                                                 : "learn: -o OUT");
    return c->from ? from_bundle(c, e) : from_files(c, e);
}
