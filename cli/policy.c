/* limetree policy: runtime policies made, compiled, tried, compared, shown. Exit codes: 0, 1 (a bundle would
 * fail, the documents differ, or a malformed one), 2 usage or unreadable file. */
#include "cli/policy.h"

#include "appraisal/boot/policy.h"
#include "appraisal/ima/document.h"
#include "appraisal/policy/dsse.h"
#include "cli/cli.h"
#include "common/file.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: limetree policy COMMAND [ARGUMENT]...\n"
    "\n"
    "  learn --from BUNDLE [--host] [--all] -o OUT [--boot OUT]\n"
    "  learn --ima FILE [--boot-log FILE] -o OUT [--boot OUT]\n"
    "  learn --boot-log FILE --boot OUT\n"
    "             a runtime policy of what a good machine measured; --boot: also a boot policy, from its "
    "boot log.\n"
    "             A bundle must be consistent and its quote hold PCR 10; entries beyond the quoted ones are "
    "left out\n"
    "             unless --all. Files are taken as they are, and the output says that no quote stands behind "
    "them\n"
    "  compile DOC [-k KEY.pem] -o TABLE\n"
    "             the table that verifiers use; with -k DOC must be in an envelope signed with that key\n"
    "  check [--layers NAME=DOC[,NAME=DOC]...] [--boot DOC] [--host] [-k KEY.pem] BUNDLE...\n"
    "             a dry run: which of these bundles would fail, and why. Exit 1 if any would\n"
    "  diff A B   names and digests that only one of two runtime policies has. Exit 1 if they differ\n"
    "  show DOC   what is in a runtime policy\n"
    "\n"
    "  -o, --out FILE   where to write\n"
    "  -k, --key FILE   PEM public key that signed documents are checked with\n"
    "  --host           the host's half of a bundle instead of the guest's\n"
    "  --json           output for programs\n"
    "  --help           this text\n"
    "\n"
    "Exit status: 0 ok, 1 refused, malformed, would fail or differs, 2 usage or a file that cannot be "
    "read.\n";

#define MAX_KEY 16384

void lt_cli_policy_say(const char *fmt, ...)
{
    LT_AUTOFREE char *s = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        s = NULL;
    va_end(ap);
    for (const char *c = s; c && *c; c++)
        putchar((*c < ' ' && *c != '\n') || *c > '~' ? '?' : *c);
}

int lt_cli_policy_print_json(json_t *j, struct lt_err *e)
{
    LT_JSON_AUTO json_t *mine = j;
    LT_AUTOFREE char *text = mine ? lt_json_pretty(mine) : NULL;

    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory for the output");
    return fputs(text, stdout) < 0 ? lt_fail(e, LT_E_IO, "standard output: %m") : 0;
}

static int read_key(const char *path, char **pem, struct lt_err *e)
{
    size_t n;

    *pem = NULL;
    return path ? lt_file_read(path, MAX_KEY, (uint8_t **)pem, &n, e) : 0;
}

/* A document of the other kind is the caller's mistake; else the parser's word stands. */
static int not_runtime(const char *path, const uint8_t *doc, size_t n, struct lt_err *e)
{
    struct lt_boot_policy *boot = NULL;
    struct lt_err ignored;

    if (lt_boot_policy_parse(doc, n, &boot, &ignored))
        return lt_fail_in(e, e->code, "%s", path);
    lt_boot_policy_free(boot);
    return lt_fail(e, LT_E_USAGE, "%s: a boot policy or reference state; a runtime policy is wanted here",
                   path);
}

int lt_cli_policy_load(const char *path, const char *key_file, bool strict, struct lt_buf *b,
                       struct lt_ima_table **t, struct lt_err *e)
{
    LT_AUTOFREE char *pem = NULL;
    LT_AUTOFREE uint8_t *doc = NULL;
    size_t n;

    *b = LT_BUF(0);
    *t = NULL;
    LT_TRY(read_key(key_file, &pem, e));
    LT_TRY(lt_file_read(path, LT_MAX_POLICY, &doc, &n, e));
    if (lt_ima_table_compile(doc, n, strict || lt_dsse_is(doc, n) ? pem : NULL, b, e) ||
        lt_ima_table_open(b->p, b->n, t, e))
        return not_runtime(path, doc, n, e);
    return 0;
}

static int compile(const struct lt_cli_policy_conf *c, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(0);
    struct lt_ima_table *t;
    char digest[65];

    if (c->count != 1 || !c->out)
        return lt_fail(e, LT_E_USAGE, "compile: one document and -o TABLE");
    LT_TRY(lt_cli_policy_load(c->args[0], c->key, true, &b, &t, e));
    unsigned files = lt_ima_table_count(t, LT_IMA_FILES), keyrings = lt_ima_table_count(t, LT_IMA_KEYRINGS),
             buffers = lt_ima_table_count(t, LT_IMA_BUFFERS);
    lt_hex(lt_ima_table_digest(t), LT_SHA256, digest);
    lt_ima_table_close(t);
    LT_TRY(lt_file_write(c->out, b.p, b.n, 0644, e));
    if (c->json)
        return lt_cli_policy_print_json(json_pack("{s:s, s:i, s:i, s:i, s:I, s:b}", "digest", digest, "files",
                                                  (int)files, "keyrings", (int)keyrings, "buffers",
                                                  (int)buffers, "bytes", (json_int_t)b.n, "signed",
                                                  c->key != NULL),
                                        e);
    lt_cli_policy_say("%s: %u files, %u keyrings, %u buffers; table of %zu bytes%s\n", digest, files,
                      keyrings, buffers, b.n, c->key ? "; signature good" : "");
    return 0;
}

/* ---- a document as JSON, for people: show and diff ---- */

static int digest_name(struct lt_slice name, const char *into, json_t *sections, json_t **list)
{
    json_t *o = json_object_get(sections, into);
    LT_AUTOFREE char *key = strndup((const char *)name.p, name.n);

    *list = key ? json_object_get(o, key) : NULL;
    if (!*list && key) {
        json_object_set_new_nocheck(o, key, json_array());
        *list = json_object_get(o, key);
    }
    return *list ? 0 : LT_E_NO_MEMORY;
}

struct tree {
    json_t *sections, *list; /* list: of the current name */
};

static int tree_name(void *arg, unsigned section, struct lt_slice name, struct lt_err *e)
{
    static const char *const names[] = {"digests", "keyrings", "ima-buf", "ignored_keyrings"};
    struct tree *t = arg;
    return digest_name(name, names[section], t->sections, &t->list) ? lt_fail(e, LT_E_NO_MEMORY, "no memory")
                                                                    : 0;
}

static int tree_digest(void *arg, const uint8_t *d, size_t n, struct lt_err *e)
{
    struct tree *t = arg;
    return json_array_append_new(t->list, lt_json_new_hex(d, n)) ? lt_fail(e, LT_E_NO_MEMORY, "no memory")
                                                                 : 0;
}

static int tree_exclude(void *arg, unsigned i, struct lt_slice p, struct lt_err *e)
{
    struct tree *t = arg;
    (void)i;
    return digest_name(p, "excludes", t->sections, &t->list) ? lt_fail(e, LT_E_NO_MEMORY, "no memory") : 0;
}

static int tree_keys(void *arg, struct lt_slice text, struct lt_err *e)
{
    struct tree *t = arg;
    return text.n && digest_name(text, "verification-keys", t->sections, &t->list)
               ? lt_fail(e, LT_E_NO_MEMORY, "no memory")
               : 0;
}

static int tree_of(const struct lt_cli_policy_conf *c, const char *path, json_t **out,
                   struct lt_ima_doc *read, char digest[65], bool *is_signed, struct lt_err *e)
{
    LT_AUTOFREE char *pem = NULL;
    LT_AUTOFREE uint8_t *doc = NULL, *payload = NULL;
    LT_JSON_AUTO json_t *sections = json_pack("{s:{}, s:{}, s:{}, s:{}, s:{}, s:{}}", "digests", "keyrings",
                                              "ima-buf", "ignored_keyrings", "excludes", "verification-keys");
    struct tree t = {.sections = sections};
    const struct lt_ima_doc_sink sink = {&t, tree_name, tree_digest, tree_exclude, tree_keys};
    uint8_t hash[LT_SHA256];
    struct lt_slice text;

    *out = NULL;
    LT_TRY(read_key(c->key, &pem, e));
    LT_TRY(lt_file_read(path, LT_MAX_POLICY, &doc, &text.n, e));
    text.p = doc;
    lt_sha256(text.p, text.n, hash);
    lt_hex(hash, sizeof hash, digest);
    *is_signed = lt_dsse_is(doc, text.n);
    if (*is_signed && !pem)
        return lt_fail(e, LT_E_REFUSED, "%s: in a signed envelope; -k KEY.pem says whose", path);
    if (*is_signed)
        LT_TRY_IN(lt_dsse_open(doc, text.n, pem, &payload, &text.n, e), e, "%s", path);
    if (*is_signed)
        text.p = payload;
    if (lt_ima_doc_read(text.p, text.n, &sink, read, e))
        return not_runtime(path, text.p, text.n, e);
    *out = lt_take(&sections);
    return 0;
}

static int show(const struct lt_cli_policy_conf *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *t = NULL;
    struct lt_ima_doc d;
    const char *name;
    char digest[65];
    bool is_signed;
    json_t *v;

    if (c->count != 1)
        return lt_fail(e, LT_E_USAGE, "show: one document");
    LT_TRY(tree_of(c, c->args[0], &t, &d, digest, &is_signed, e));
    if (c->json) {
        json_object_set_new(t, "digest", json_string(digest));
        json_object_set_new(t, "log_hash", json_string(lt_hash_name(d.log_hash)));
        json_object_set_new(t, "signed", json_boolean(is_signed));
        return lt_cli_policy_print_json(lt_take(&t), e);
    }
    lt_cli_policy_say("%s%s\n  version %lld, generator %lld, release %lld%s%s; list hashed with %s\n", digest,
                      is_signed ? " (signature good)" : "", (long long)d.version, (long long)d.generator,
                      (long long)d.release, *d.timestamp ? ", " : "", d.timestamp, lt_hash_name(d.log_hash));
    json_object_foreach(t, name, v)
    {
        const char *key;
        json_t *list;
        lt_cli_policy_say("  %s: %zu\n", name, json_object_size(v));
        if (!strcmp(name, "digests")) /* --json has them */
            continue;
        json_object_foreach(v, key, list) lt_cli_policy_say("    %s\n", key);
    }
    return 0;
}

static bool holds(const json_t *list, const json_t *value)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
    {
        if (json_equal(v, value))
            return true;
    }
    return false;
}

/* What a has and b has not, as {"section","name","digest"?}. */
static void missing(json_t *a, json_t *b, json_t *out)
{
    const char *section, *name;
    json_t *names, *list, *v;
    size_t i;

    json_object_foreach(a, section, names)
    {
        json_object_foreach(names, name, list)
        {
            json_t *other = json_object_get(json_object_get(b, section), name);
            if (!json_array_size(list) && !other)
                json_array_append_new(out, json_pack("{s:s, s:s}", "section", section, "name", name));
            json_array_foreach(list, i, v)
            {
                if (!holds(other, v))
                    json_array_append_new(
                        out, json_pack("{s:s, s:s, s:O}", "section", section, "name", name, "digest", v));
            }
        }
    }
}

static void print_missing(char sign, const json_t *list)
{
    json_t *o;
    size_t i;

    json_array_foreach(list, i, o)
    {
        const char *digest = json_string_value(json_object_get(o, "digest"));
        lt_cli_policy_say("%c %s %s%s%s\n", sign, json_string_value(json_object_get(o, "section")),
                          json_string_value(json_object_get(o, "name")), digest ? " " : "",
                          digest ? digest : "");
    }
}

static int diff(const struct lt_cli_policy_conf *c, int *verdict, struct lt_err *e)
{
    LT_JSON_AUTO json_t *a = NULL, *b = NULL;
    LT_JSON_AUTO json_t *gone = json_array(), *come = json_array();
    struct lt_ima_doc da, db;
    char digest[65];
    bool is_signed;

    if (c->count != 2)
        return lt_fail(e, LT_E_USAGE, "diff: two documents");
    LT_TRY(tree_of(c, c->args[0], &a, &da, digest, &is_signed, e));
    LT_TRY(tree_of(c, c->args[1], &b, &db, digest, &is_signed, e));
    missing(a, b, gone);
    missing(b, a, come);
    bool hash = da.log_hash != db.log_hash;
    *verdict = json_array_size(gone) || json_array_size(come) || hash;
    if (c->json)
        return lt_cli_policy_print_json(
            json_pack("{s:O, s:O, s:b}", "removed", gone, "added", come, "log_hash_differs", hash), e);
    print_missing('-', gone);
    print_missing('+', come);
    if (hash)
        lt_cli_policy_say("- log_hash %s\n+ log_hash %s\n", lt_hash_name(da.log_hash),
                          lt_hash_name(db.log_hash));
    return 0;
}

static int dispatch(const char *name, const struct lt_cli_policy_conf *c, int *verdict, struct lt_err *e)
{
    if (!strcmp(name, "learn"))
        return lt_cli_policy_learn(c, verdict, e);
    if (!strcmp(name, "compile"))
        return compile(c, e);
    if (!strcmp(name, "check"))
        return lt_cli_policy_check(c, verdict, e);
    if (!strcmp(name, "diff"))
        return diff(c, verdict, e);
    if (!strcmp(name, "show"))
        return show(c, e);
    return lt_fail(e, LT_E_USAGE, "no command '%.40s'; 'limetree policy --help' lists them", name);
}

enum { FROM = 256, IMA, LOG, BOOT, LAYERS, HOST, ALL, JSON, HELP };

/* -1, or the exit status. */
static int take_option(struct lt_cli_policy_conf *c, int option)
{
    const struct {
        int option;
        const char **text;
        bool *flag;
    } known[] = {{FROM, .text = &c->from},     {IMA, .text = &c->ima},   {LOG, .text = &c->boot_log},
                 {BOOT, .text = &c->boot},     {'o', .text = &c->out},   {'k', .text = &c->key},
                 {LAYERS, .text = &c->layers}, {HOST, .flag = &c->host}, {ALL, .flag = &c->all},
                 {JSON, .flag = &c->json}};

    if (option == HELP || option == 'h')
        return fputs(usage, stdout) < 0 ? 5 : 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].option == option) {
            if (known[i].text)
                *known[i].text = optarg;
            else
                *known[i].flag = true;
            return -1;
        }
    return 2;
}

static int take_arguments(struct lt_cli_policy_conf *c, int argc, char **argv)
{
    static const struct option options[] = {{"from", required_argument, NULL, FROM},
                                            {"ima", required_argument, NULL, IMA},
                                            {"boot-log", required_argument, NULL, LOG},
                                            {"boot", required_argument, NULL, BOOT},
                                            {"layers", required_argument, NULL, LAYERS},
                                            {"host", no_argument, NULL, HOST},
                                            {"all", no_argument, NULL, ALL},
                                            {"out", required_argument, NULL, 'o'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"json", no_argument, NULL, JSON},
                                            {"help", no_argument, NULL, HELP},
                                            {0}};

    for (int o, status; (o = getopt_long(argc, argv, "o:k:h", options, NULL)) != -1;)
        if ((status = take_option(c, o)) >= 0)
            return status;
    if (optind < argc)
        return -1;
    fputs(usage, stderr);
    return 2;
}

int lt_cli_cmd_policy(int argc, char **argv)
{
    struct lt_cli_policy_conf c = {0};
    struct lt_err e = {0};
    int verdict = 0, status = take_arguments(&c, argc, argv);

    if (status >= 0)
        return status;
    c.args = argv + optind + 1;
    c.count = argc - optind - 1;
    bool stdout_named = (c.out && !strcmp(c.out, "-")) || (c.boot && !strcmp(c.boot, "-"));
    int rc = stdout_named
                 ? lt_fail(&e, LT_E_USAGE, "'-' is no file here: standard output tells what was done")
                 : dispatch(argv[optind], &c, &verdict, &e);
    if (fflush(stdout) && !rc)
        rc = lt_fail(&e, LT_E_IO, "standard output: %m");
    if (!rc)
        return verdict;
    fputs("limetree policy: ", stderr);
    for (const char *s = e.msg; *s; s++)
        putc(*s < ' ' || *s > '~' ? '?' : *s, stderr);
    putc('\n', stderr);
    return lt_err_exit(rc);
}
