/* limetree ek: an EK certificate as the registrar reads it and as a tenant judges it. Exit codes: 0 good, 1
 * refused, 2 usage, or a file that cannot be read or used, 5 internal. */
#include "cli/cli.h"
#include "common/file.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "common/utf8.h"
#include "keylime/agent.h"
#include "tpm/certs.h"
#include "verifier/roots.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: limetree ek check --roots PATH [--ek FILE] CERT... [--json]\n"
    "\n"
    "Is this the certificate of this endorsement key, and does it come from one of these makers? Judged as\n"
    "a tenant judges a host's; revocation is not checked.\n"
    "\n"
    "  CERT          the EK's certificate first, then issuers in any order: PEM with any text around it, "
    "DER,\n"
    "                padded with 00 or FF or in an OCTET STRING, as chips keep them, several in one file; "
    "or\n"
    "                the body of a registration (JSON with ek_tpm and ekcert), read as the registrar reads "
    "it\n"
    "  --roots PATH  certificates of TPM makers: a file, or a directory (*.pem, *.crt, *.cer, *.der). Each\n"
    "                is an anchor, whether a root or an intermediate\n"
    "  --ek FILE     the endorsement key, TPM2B_PUBLIC (tpm2_createek -u), or the body of a registration; "
    "may\n"
    "                be left out where a CERT is such a body: then it is the key in there\n"
    "  --json        one JSON object\n"
    "  --help        this text\n"
    "\n"
    "exit: 0 good, 1 refused (the reason is printed), 2 usage, or a file that cannot be read or used,\n"
    "5 internal\n";

struct ek_check {
    const char *roots_path, *ek_path;
    struct lt_ek_certificates_roots *roots;
    struct lt_public ek;
    bool has_ek, json;
    char *pem[LT_MAX_CERTIFICATES];
    unsigned count;
};

/* Nothing of a stranger's may steer a terminal. */
static void print_text(FILE *to, const char *s)
{
    char text[4 * sizeof((struct lt_err *)0)->msg];

    lt_utf8_show(s, text, sizeof text);
    fprintf(to, "%s\n", text);
}

static int take_pem(void *arg, struct lt_slice der, struct lt_err *e)
{
    struct ek_check *self = arg;
    LT_AUTOFREE char *base64 = lt_base64_dup(der.p, der.n);
    LT_AUTOBUF struct lt_buf pem = LT_BUF(2 * LT_MAX_CERTIFICATE);

    if (self->count == LT_MAX_CERTIFICATES)
        return lt_fail(e, LT_E_TOO_LARGE, "more than %d certificates in all", LT_MAX_CERTIFICATES);
    lt_buf_str(&pem, "-----BEGIN CERTIFICATE-----\n");
    for (const char *at = base64; at && *at; at += strnlen(at, 64))
        lt_buf_printf(&pem, "%.64s\n", at);
    lt_buf_str(&pem, "-----END CERTIFICATE-----\n");
    if (!base64 || !(self->pem[self->count] = lt_buf_take_str(&pem)))
        return lt_fail(e, LT_E_NO_MEMORY, "no memory");
    self->count++;
    return 0;
}

static bool is_json(const uint8_t *p, size_t n)
{
    while (n && strchr(" \t\r\n", *p) && *p)
        p++, n--;
    return n && *p == '{';
}

static int take_registration(struct ek_check *self, const uint8_t *p, size_t n, struct lt_err *e)
{
    LT_JSON_AUTO json_t *body = lt_json_parse(p, n, LT_MAX_REGISTRATION, e);
    LT_AUTOFREE char *ekcert = NULL;
    struct lt_public ek;

    if (!body)
        return e->code;
    LT_TRY(lt_agent_ek_from_json(body, &ek, &ekcert, e));
    if (!self->has_ek)
        lt_public_copy(&self->ek, &ek);
    self->has_ek = true;
    if (!ekcert)
        return lt_fail(e, LT_E_REFUSED, "ekcert: the registration has none");
    return lt_certs_read((struct lt_slice){(uint8_t *)ekcert, strlen(ekcert)}, LT_MAX_CERTIFICATES, take_pem,
                         self, e);
}

static int take_file(struct ek_check *self, const char *path, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_REGISTRATION, &p, &n, e));
    int rc = is_json(p, n) ? take_registration(self, p, n, e)
                           : lt_certs_read((struct lt_slice){p, n}, LT_MAX_CERTIFICATES, take_pem, self, e);
    return rc ? lt_fail_in(e, rc, "%s", path) : 0;
}

static int load_ek(struct ek_check *self, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    LT_AUTOFREE char *ekcert = NULL;
    struct lt_err why = {0};
    size_t n;

    LT_TRY(lt_file_read(self->ek_path, LT_MAX_REGISTRATION, &p, &n, e));
    LT_JSON_AUTO json_t *body = is_json(p, n) ? lt_json_parse(p, n, LT_MAX_REGISTRATION, &why) : NULL;
    int rc = body       ? lt_agent_ek_from_json(body, &self->ek, &ekcert, &why)
             : why.code ? why.code
                        : lt_public_parse(p, n, &self->ek, &why);
    self->has_ek = !rc;
    return rc ? lt_fail(e, LT_E_CONFIG, "--ek %s: %s", self->ek_path, why.msg) : 0;
}

/* What the command was given to judge by: a fault of this is no verdict. */
static int load(struct ek_check *self, struct lt_err *e)
{
    LT_TRY(lt_roots_load("roots", self->roots_path, &self->roots, e));
    return self->ek_path ? load_ek(self, e) : 0;
}

static int judge(struct ek_check *self, char **files, struct lt_err *e)
{
    for (; *files; files++)
        LT_TRY(take_file(self, *files, e));
    if (!self->has_ek)
        return lt_fail(e, LT_E_USAGE, "--ek FILE is missing, and no CERT is the body of a registration");
    int rc = lt_ek_certificates_check(self->roots, self->pem, self->count, &self->ek, lt_clock_wall_s(), e);
    struct lt_err why = {0}, first = *e;
    if (!rc || lt_ek_certificates_standing(self->roots, self->pem, self->count, &self->ek, &why) !=
                   LT_EK_CERTIFICATES_NO_ROOT)
        return rc;
    return lt_fail(e, rc, "%.120s: %s is neither in --roots nor among CERT", first.msg, why.msg);
}

/* The exit code. */
static int report(const struct ek_check *self, int rc, const struct lt_err *e)
{
    bool verdict = lt_err_exit(rc) <= 1;

    if (self->json && verdict) {
        LT_JSON_AUTO json_t *o =
            json_pack("{s:s, s:o, s:i, s:i, s:[s]}", "result", rc ? "refused" : "ok", "reason",
                      rc ? lt_json_new_text(e->msg) : json_null(), "certificates", (int)self->count,
                      "anchors", (int)lt_ek_certificates_roots_count(self->roots), "not_made", "revocation");
        LT_AUTOFREE char *text = o ? lt_json_pretty(o) : NULL;
        if (!text)
            return 5;
        fputs(text, stdout);
    } else if (!rc) {
        printf("ok: the EK's certificate leads to one of %u anchors (revocation was not checked)\n",
               lt_ek_certificates_roots_count(self->roots));
    } else {
        fputs(verdict ? "refused: " : "limetree ek: ", verdict ? stdout : stderr);
        print_text(verdict ? stdout : stderr, e->msg);
    }
    return fflush(stdout) ? 2 : lt_err_exit(rc);
}

static int check(struct ek_check *self, char **files)
{
    struct lt_err e = {0};
    int rc = load(self, &e);

    if (!rc)
        rc = judge(self, files, &e);
    int code = report(self, rc, &e);
    lt_ek_certificates_roots_free(self->roots);
    for (unsigned i = 0; i < self->count; i++)
        free(self->pem[i]);
    return code;
}

int lt_cli_cmd_ek(int argc, char **argv)
{
    static const struct option options[] = {{"roots", required_argument, NULL, 'r'},
                                            {"ek", required_argument, NULL, 'e'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct ek_check self = {0};

    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'r')
            self.roots_path = optarg;
        else if (c == 'e')
            self.ek_path = optarg;
        else if (c == 'j')
            self.json = true;
        else if (c == 'h')
            return fputs(usage, stdout) < 0 ? 5 : 0;
        else
            return 2;
    }
    if (argc == optind) {
        fputs(usage, stderr);
        return 2;
    }
    if (argc - optind < 2 || strcmp(argv[optind], "check") || !self.roots_path) {
        fprintf(stderr, "limetree ek: %s; 'limetree ek --help' tells more\n",
                strcmp(argv[optind], "check") ? "the one verb is check"
                                              : "check needs --roots PATH and a CERT");
        return 2;
    }
    return check(&self, argv + optind + 1);
}
