/* Appraises an IMA list as the verifier does and prints what came of it: for the comparison with evmctl.
 *
 *   ima-dump list FILE BANK PCR-HEX           the chain alone
 *   ima-dump signature KEY.der SIG-FILE ALG DIGEST-HEX
 *
 * Exit 0 good, 1 not good (the reason on standard output), 2 usage. */
#include "appraisal/ima/keys.h"
#include "appraisal/ima/replay.h"
#include "common/file.h"

#include <stdio.h>
#include <string.h>

static int usage(void)
{
    fprintf(stderr,
            "usage: ima-dump list FILE BANK PCR-HEX | ima-dump signature KEY.der SIG-FILE ALG DIGEST-HEX\n");
    return 2;
}

static int list(char **a)
{
    static struct lt_ima_result out;
    LT_AUTOFREE uint8_t *text = NULL;
    uint8_t pcr[LT_MAX_DIGEST];
    struct lt_err e = {0};
    size_t n;
    uint16_t bank = lt_hash_by_name(a[1]);

    if (!bank || lt_unhex(a[2], pcr, lt_hash_size(bank), &e) ||
        lt_file_read(a[0], LT_MAX_IMA_LOG, &text, &n, &e))
        return usage();
    const struct lt_ima_input in = {.list = {text, n}, .bank = bank, .pcr = pcr};
    int rc = lt_ima_appraise(&in, NULL, &out, &e);
    printf("%llu of %llu\n%s\n", (unsigned long long)out.matched, (unsigned long long)out.entries, e.msg);
    return rc ? 1 : 0;
}

static int signature(char **a)
{
    LT_AUTOFREE uint8_t *der = NULL, *sig = NULL;
    uint8_t digest[LT_MAX_DIGEST];
    struct lt_err e = {0};
    size_t der_n, sig_n;
    bool added;
    uint16_t alg = lt_hash_by_name(a[2]);

    if (!alg || lt_unhex(a[3], digest, lt_hash_size(alg), &e) ||
        lt_file_read(a[0], LT_MAX_CERTIFICATE, &der, &der_n, &e) ||
        lt_file_read(a[1], LT_MAX_IMA_LINE, &sig, &sig_n, &e))
        return usage();
    struct lt_ima_keys *k = lt_ima_keys_new();
    int rc = k ? lt_ima_keys_add_der(k, (struct lt_slice){der, der_n}, &added, &e) : LT_E_NO_MEMORY;
    if (!rc)
        rc = lt_ima_signature_check(k, (struct lt_slice){sig, sig_n}, alg,
                                    (struct lt_slice){digest, lt_hash_size(alg)}, &e);
    printf("%s\n%s\n", rc ? lt_err_slug(rc) : "good", e.msg);
    lt_ima_keys_free(k);
    return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "list"))
        return list(argv + 2);
    if (argc == 6 && !strcmp(argv[1], "signature"))
        return signature(argv + 2);
    return usage();
}
