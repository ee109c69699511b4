/* limetree-localca: the create_certs_tool of swtpm_setup. Issues a vTPM's EK and platform certificates under
 * the provider's vTPM CA and writes the birth record of each EK. Runs as swtpm's user with nothing in its
 * environment, three times per vTPM: EK RSA, platform, EK ECC. */
#include "common/file.h"
#include "common/limits.h"
#include "common/openssl.h"
#include "common/run/conf.h"
#include "common/run/daemon.h"
#include "vtpm/birth.h"
#include "vtpm/ekcert.h"

#include <getopt.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct conf {
    char *ca_cert, *ca_key, *records;
    char *platform_manufacturer, *platform_model, *platform_version;
};

#define KEY(name, fallback, help)                                                                            \
    {                                                                                                        \
#name, LT_CONF_TEXT, offsetof(struct conf, name), fallback, 0, 0, help                               \
    }
static const struct lt_conf_key keys[] = {
    KEY(ca_cert, NULL, "certificate of the vTPM CA, PEM"),
    KEY(ca_key, NULL, "its private key, PEM, mode 0600, readable by swtpm's user"),
    KEY(records, NULL, "directory of the birth records, owned by swtpm's user"),
    KEY(platform_manufacturer, "Limetree", "platform certificate: manufacturer"),
    KEY(platform_model, "QEMU", "platform certificate: model"),
    KEY(platform_version, "1", "platform certificate: version"),
};
#define KEYS (sizeof keys / sizeof *keys)

enum arg {
    TYPE,
    EK,
    DIR,
    VMID,
    CONFIG,
    MANUFACTURER,
    MODEL,
    VERSION,
    IGNORED,
    SIGNING,
    DECRYPTION,
    HELP,
    PROGRAM_VERSION,
    ARGS
};

static const struct option options[] = {
    {"type", required_argument, NULL, TYPE},
    {"ek", required_argument, NULL, EK},
    {"dir", required_argument, NULL, DIR},
    {"vmid", required_argument, NULL, VMID},
    {"configfile", required_argument, NULL, CONFIG},
    {"tpm-manufacturer", required_argument, NULL, MANUFACTURER},
    {"tpm-model", required_argument, NULL, MODEL},
    {"tpm-version", required_argument, NULL, VERSION},
    {"optsfile", required_argument, NULL,
     IGNORED}, /* swtpm_localca's; what it says stands in our configuration */
    {"logfile", required_argument, NULL, IGNORED}, /* standard error goes to swtpm_setup's log */
    {"tpm-spec-family", required_argument, NULL, IGNORED},
    {"tpm-spec-level", required_argument, NULL, IGNORED},
    {"tpm-spec-revision", required_argument, NULL, IGNORED},
    {"tpm2", no_argument, NULL, IGNORED},
    {"allow-signing", no_argument, NULL, SIGNING},
    {"decryption", no_argument, NULL, DECRYPTION},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, PROGRAM_VERSION},
    {0},
};

static void help(FILE *out)
{
    fprintf(out,
            "usage: limetree-localca --type ek|platform --ek KEY --dir DIR --vmid NAME:UUID --configfile "
            "FILE [...]\n\n"
            "Called by swtpm_setup (create_certs_tool in swtpm_setup.conf, its file by "
            "create_certs_tool_config).\n"
            "KEY is an RSA modulus in hex or x=HEX,y=HEX,id=CURVE. Writes DIR/ek.cert or DIR/platform.cert, "
            "DER, and\n"
            "for an EK the birth record RECORDS/UUID/EKDIGEST.json. FILE has lines \"key = value\":\n\n");
    lt_conf_help(keys, KEYS, out);
}

static int load_ca(const struct conf *c, X509 **cert, EVP_PKEY **key, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *cert_pem = NULL;
    uint8_t *key_pem = NULL;
    size_t cert_n, key_n;

    LT_TRY(lt_file_read(c->ca_cert, 1 << 16, &cert_pem, &cert_n, e));
    LT_TRY(lt_file_read_secret(c->ca_key, 1 << 16, &key_pem, &key_n, e));
    BIO *b = BIO_new_mem_buf(cert_pem, (int)cert_n), *k = BIO_new_mem_buf(key_pem, (int)key_n);
    char none[] = "";
    *cert = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    *key = k ? PEM_read_bio_PrivateKey(k, NULL, NULL, none) : NULL;
    BIO_free(b);
    BIO_free(k);
    lt_wipe(key_pem, key_n);
    free(key_pem);
    if (!*cert || !*key)
        return lt_fail(e, LT_E_CONFIG, "%s: not a PEM %s", *cert ? c->ca_key : c->ca_cert,
                       *cert ? "private key without a passphrase" : "certificate");
    return 0;
}

/* "NAME:UUID", the name may hold colons; or a UUID alone. */
static int parse_vmid(const char *vmid, char **name, uint8_t uuid[LT_UUID], struct lt_err *e)
{
    const char *colon = strrchr(vmid, ':');

    LT_TRY_IN(lt_uuid_parse(colon ? colon + 1 : vmid, uuid, e), e, "--vmid");
    *name = colon ? strndup(vmid, (size_t)(colon - vmid)) : strdup("");
    return *name ? 0 : lt_fail(e, LT_E_NO_MEMORY, "no memory");
}

static int issue(const struct conf *c, const char *const *arg, struct lt_err *e)
{
    LT_AUTO(EVP_PKEY) EVP_PKEY *key = NULL, *ca_key = NULL;
    LT_AUTO(X509) X509 *ca = NULL;
    LT_AUTOBUF struct lt_buf der = LT_BUF(LT_MAX_CERTIFICATE);
    LT_AUTOFREE char *name = NULL;
    uint8_t uuid[LT_UUID];
    char id[LT_UUID_TEXT];
    bool platform = !strcmp(arg[TYPE], "platform");
    int rc;

    if (!platform && strcmp(arg[TYPE], "ek"))
        return lt_fail(e, LT_E_USAGE, "--type %s: neither ek nor platform", arg[TYPE]);
    LT_TRY(parse_vmid(arg[VMID], &name, uuid, e));
    LT_TRY(lt_ekcert_key(arg[EK], &key, e));
    LT_TRY(load_ca(c, &ca, &ca_key, e));
    lt_uuid_format(uuid, id);
    const struct lt_ekcert cert = {
        .platform = platform,
        .allow_signing = arg[SIGNING],
        .decryption = arg[DECRYPTION],
        .subject = strlen(arg[VMID]) <= 64 ? arg[VMID] : id, /* X.520: a common name ends at 64 */
        .tpm_manufacturer = arg[MANUFACTURER] ? arg[MANUFACTURER] : "id:00001014",
        .tpm_model = arg[MODEL] ? arg[MODEL] : "swtpm",
        .tpm_version = arg[VERSION] ? arg[VERSION] : "id:20191023",
        .platform_manufacturer = c->platform_manufacturer,
        .platform_model = c->platform_model,
        .platform_version = c->platform_version,
    };
    LT_TRY(lt_ekcert_issue(&cert, key, ca, ca_key, &der, e));
    if (!platform) {
        unsigned char *spki = NULL;
        int n = i2d_PUBKEY(key, &spki);
        rc = n > 0 ? lt_birth_write(c->records, uuid, name, spki, (size_t)n, e)
                   : lt_fail(e, LT_E_INTERNAL, "EK: encoding failed");
        OPENSSL_free(spki);
        if (rc)
            return rc;
    }
    LT_AUTOFREE char *path = lt_file_path(arg[DIR], platform ? "platform.cert" : "ek.cert");
    return lt_file_write(path, der.p, der.n, 0600, e);
}

int main(int argc, char **argv)
{
    const char *arg[ARGS] = {0};
    struct conf conf = {0};
    struct lt_err e = {0};

    lt_daemon_no_core_dumps();
    umask(077);
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == '?')
            return 2;
        arg[o] = optarg ? optarg : "";
    }
    if (arg[HELP]) {
        help(stdout);
        return 0;
    }
    if (arg[PROGRAM_VERSION]) {
        printf("limetree-localca %s\n", LT_VERSION);
        return 0;
    }
    if (optind != argc || !arg[TYPE] || !arg[EK] || !arg[DIR] || !arg[VMID] || !arg[CONFIG]) {
        help(stderr);
        return 2;
    }
    int rc = lt_conf_load(keys, KEYS, &conf, arg[CONFIG], NULL, &e);
    if (!rc)
        rc = issue(&conf, arg, &e);
    lt_conf_free(keys, KEYS, &conf);
    if (rc)
        fprintf(stderr, "limetree-localca: %s\n", e.msg);
    return lt_err_exit(rc);
}
