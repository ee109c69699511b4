#include "cli/cli.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/limits.h"
#include "vtpm/domain.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: limetree domain digest FILE [--lines] [--json]\n\n"
    "FILE is the live XML of a running domain (`virsh dumpxml NAME`; '-' is standard input). Prints its "
    "domain\n"
    "digest as a host's record of residency carries it, and as a guest policy's \"domain\" lists it. Kernel "
    "and\n"
    "initrd that the XML names are read, so run it on the host or where the same files lie.\n\n"
    "  --lines  print the lines that are hashed, too\n"
    "  --json   {\"uuid\",\"name\",\"digest\",\"lines\"}\n";

static int hash_file(void *ctx, const char *path, uint8_t out[32], struct lt_err *e)
{
    (void)ctx;
    return lt_file_sha256(path, out, e);
}

static int print(const struct lt_domain *d, bool json, bool show_lines, struct lt_err *e)
{
    LT_AUTOFREE char *lines = NULL;
    uint8_t digest[32];
    char hex[65];

    LT_TRY(lt_domain_lines(d, hash_file, NULL, &lines, e));
    lt_sha256(lines, strlen(lines), digest);
    lt_hex(digest, 32, hex);
    if (json) {
        LT_JSON_AUTO json_t *o =
            json_pack("{s:o, s:o, s:s, s:o}", "uuid", lt_json_new_uuid(d->uuid), "name",
                      lt_json_new_text(d->name), "digest", hex, "lines", lt_json_new_text(lines));
        LT_AUTOFREE char *text = o ? lt_json_pretty(o) : NULL;
        if (!text)
            return lt_fail(e, LT_E_NO_MEMORY, "no memory");
        fputs(text, stdout);
    } else {
        printf("%s%s\n", show_lines ? lines : "", hex);
    }
    return fflush(stdout) ? lt_fail(e, LT_E_IO, "standard output: write failed") : 0;
}

static int digest(const char *file, bool json, bool lines)
{
    LT_AUTOFREE uint8_t *xml = NULL;
    struct lt_domain domain = {0};
    struct lt_err e = {0};
    size_t n;

    int rc = lt_file_read(file, LT_MAX_DOMAIN_XML, &xml, &n, &e);
    if (!rc)
        rc = lt_domain_parse(xml, n, &domain, &e);
    if (!rc)
        rc = print(&domain, json, lines, &e);
    lt_domain_free(&domain);
    if (rc)
        fprintf(stderr, "limetree: domain digest: %s: %s\n", file, e.msg);
    return lt_err_exit(rc);
}

int lt_cli_cmd_domain(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"lines", no_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    bool json = false, lines = false;

    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (c == '?') {
            fputs(usage, stderr);
            return 2;
        }
        json |= c == 'j';
        lines |= c == 'l';
    }
    if (argc - optind != 2 || strcmp(argv[optind], "digest")) {
        fputs(usage, stderr);
        return 2;
    }
    return digest(argv[optind + 1], json, lines);
}
