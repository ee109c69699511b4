/* limetree escrow: what is in the escrow copy of a vTPM, offline and with the tenant's recovery key. */
#include "cli/cli.h"

#include "cli/client.h"
#include "vtpm/seal/escrow.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: limetree escrow show FILE --key PEM [--key-out FILE] [--json]\n\n"
    "FILE is an escrow copy (limetree guest escrow UUID -o FILE), PEM the recovery key it was made for (its\n"
    "private half, not encrypted, mode 0600). Prints which vTPM it is of, and the platform states and keys "
    "that\n"
    "could open it when the copy was made. No server is asked: compare the EK digest with the one that you\n"
    "know of that guest ('limetree guest openers UUID --json').\n\n"
    "  --key PEM       the recovery key\n"
    "  --key-out FILE  write the vTPM's own key there, mode 0600, no newline: who has it reads the vTPM's "
    "state\n"
    "  --json          "
    "{\"uuid\",\"ek_digest\",\"origin\",\"authority\",\"firmware\",\"domain\",\"recovery\",\n"
    "                  \"openers\":[...]}\n\n"
    "Exit status: 0 ok, 1 not to be opened, 2 usage or a file that cannot be read, 5 internal.\n";

struct conf {
    const char *file, *key, *key_out;
    bool json;
};

/* null: none. */
static json_t *digest_or_null(const uint8_t d[LT_SHA256])
{
    static const uint8_t none[LT_SHA256];

    return memcmp(d, none, LT_SHA256) ? lt_json_new_hex(d, LT_SHA256) : json_null();
}

static json_t *describe(const struct lt_seal_entry *x, const struct lt_seal_escrow_head *h)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "uuid", lt_json_new_uuid(x->uuid),
                     "ek_digest", lt_json_new_hex(x->ek_digest, LT_SHA256), "origin",
                     x->origin == LT_SEAL_MADE ? "made" : "imported", "authority",
                     digest_or_null(x->authority), "firmware", digest_or_null(x->firmware), "domain",
                     digest_or_null(x->domain), "recovery", lt_json_new_hex(h->recovery, LT_SHA256),
                     "openers", lt_openers_to_json(&x->openers));
}

static void print_opener(const json_t *o)
{
    const json_t *pcrs = json_object_get(o, "pcrs"), *value;
    const char *key;

    printf("  %s%s %s\n", lt_cli_text(o, "kind"),
           json_is_true(json_object_get(o, "closed")) ? ", closed," : "",
           lt_cli_text(o, pcrs || json_object_get(o, "host_ek_digest") ? "host_ek_digest" : "key"));
    json_object_foreach((json_t *)pcrs, key, value)
        printf("    PCR %-2s %s\n", key, json_string_value(value));
}

static void print(const json_t *j)
{
    const json_t *o;
    size_t i;

    printf("vTPM of %s, %s\n  EK        %s\n  firmware  %s\n  domain    %s\n  recovery  %s\n",
           lt_cli_text(j, "uuid"), lt_cli_text(j, "origin"), lt_cli_text(j, "ek_digest"),
           lt_cli_text(j, "firmware"), lt_cli_text(j, "domain"), lt_cli_text(j, "recovery"));
    printf("could be opened by, when the copy was made:\n");
    json_array_foreach(json_object_get(j, "openers"), i, o) print_opener(o);
}

/* Over no file that is there: a key is not to be lost. */
static int write_key(const char *path, const struct lt_seal_entry *x, struct lt_err *e)
{
    if (!access(path, F_OK) || errno != ENOENT)
        return lt_fail(e, LT_E_USAGE, "%s: is there already; name another file", path);
    return lt_file_write(path, x->key, sizeof x->key, 0600, e);
}

static int show_entry(const struct conf *c, const struct lt_seal_entry *x,
                      const struct lt_seal_escrow_head *h, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = describe(x, h);

    if (!j)
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    if (c->key_out)
        LT_TRY(write_key(c->key_out, x, e));
    if (c->json)
        lt_cli_json(j);
    else
        print(j);
    return fflush(stdout) ? lt_fail(e, LT_E_IO, "standard output: write failed") : 0;
}

static int show(const struct conf *c, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *copy = NULL, *pem = NULL;
    struct lt_seal_entry x = {0};
    struct lt_seal_escrow_head h;
    size_t n, pem_n;

    LT_TRY(lt_file_read(c->file, LT_MAX_ESCROW, &copy, &n, e));
    LT_TRY_IN(lt_seal_escrow_head((struct lt_slice){copy, n}, &h, e), e, "%s", c->file);
    LT_TRY(lt_file_read_secret(c->key, LT_SEAL_ESCROW_PEM_MAX, &pem, &pem_n, e));
    int rc = lt_seal_escrow_open((struct lt_slice){copy, n}, (struct lt_slice){pem, pem_n}, &x, e);
    lt_wipe(pem, pem_n);
    if (rc)
        return lt_fail_in(e, rc, "%s", c->file);
    rc = show_entry(c, &x, &h, e);
    lt_seal_entry_free(&x);
    return rc;
}

static bool parse(int argc, char **argv, struct conf *c)
{
    static const struct option options[] = {{"key", required_argument, NULL, 'k'},
                                            {"key-out", required_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};

    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == '?')
            return false;
        *(o == 'k' ? &c->key : o == 'o' ? &c->key_out : &c->file) = optarg;
        c->json |= o == 'j';
    }
    if (argc - optind != 2 || strcmp(argv[optind], "show") != 0 || !c->key)
        return false;
    c->file = argv[optind + 1];
    return true;
}

int lt_cli_cmd_escrow(int argc, char **argv)
{
    struct conf c = {0};
    struct lt_err e = {0};

    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(usage, stdout);
            return 0;
        }
    if (!parse(argc, argv, &c)) {
        fputs(usage, stderr);
        return 2;
    }
    int rc = show(&c, &e);
    if (rc)
        fprintf(stderr, "limetree: escrow show: %s\n", lt_cli_shown(e.msg));
    return lt_err_exit(rc);
}
