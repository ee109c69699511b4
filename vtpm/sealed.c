#include "vtpm/sealed.h"

#include "vtpm/blob.h"

#include <stdlib.h>
#include <string.h>

/* What to do, behind what is wrong. */
static int fail_state(const struct lt_statedir *at, const uint8_t uuid[LT_UUID], int rc, struct lt_err *e)
{
    const struct lt_err why = *e;
    char id[LT_UUID_TEXT];

    lt_uuid_format(uuid, id);
    if (rc == LT_E_NOT_FOUND)
        return lt_fail(e, rc,
                       "the state of its vTPM is gone: put it back into %.80s/%s/tpm2, or make a new vTPM: "
                       "limetree domain provision --convert",
                       at->base, id);
    if (rc == LT_E_STATE_PLAIN || rc == LT_E_STATE_FOREIGN_KEY)
        return lt_fail(
            e, rc,
            "%.115s: put the right file back into %.80s/%s/tpm2, or make a new vTPM: limetree domain "
            "provision --convert",
            why.msg, at->base, id);
    return rc;
}

bool lt_sealed_domain(const struct lt_domain *d)
{
    uint8_t named[LT_UUID], own[LT_UUID];

    if (d->tpm != LT_DOMAIN_TPM_EMULATOR || !d->tpm_secret || lt_uuid_parse(d->tpm_secret, named, LT_NO_ERR))
        return false;
    lt_seal_secret_uuid(d->uuid, own);
    return !memcmp(named, own, LT_UUID);
}

int lt_sealed_check(const struct lt_statedir *at, const struct lt_domain *d, const struct lt_seal_entry *x,
                    struct lt_err *e)
{
    LT_AUTOFREE uint8_t *state = NULL;
    struct lt_blob blob;
    size_t n = 0;

    if (memcmp(d->uuid, x->uuid, LT_UUID) || !lt_sealed_domain(d))
        return lt_fail(e, LT_E_REFUSED,
                       "the domain's XML does not name the secret of its own vTPM as <encryption>: define it "
                       "with `limetree domain define`");
    int rc = lt_statedir_read(at, x->uuid, &state, &n, e);
    if (!rc)
        rc = lt_blob_sealed(state, n, &blob, e);
    if (!rc)
        rc = lt_blob_opens(&blob, x->key, sizeof x->key, e);
    if (state)
        lt_wipe(state, n);
    return rc ? fail_state(at, x->uuid, rc, e) : 0;
}
