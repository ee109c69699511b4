#include "appraisal/checks/identity.h"

#include "common/alloc.h"

#include <stdlib.h>

static int guest(struct lt_checks_identity_guest *id, struct lt_slice ek, struct lt_slice ak,
                 struct lt_err *e)
{
    LT_TRY_IN(lt_public_parse(ak.p, ak.n, &id->ak, e), e, "guest AK");
    LT_TRY_IN(lt_public_check_ak(&id->ak, e), e, "guest AK");
    id->linkable = id->ak.name_alg == LT_HASH_SHA256;
    if (id->linkable)
        LT_TRY_IN(lt_public_name(&id->ak, id->ak_name, e), e, "guest AK");
    LT_TRY_IN(lt_signature_key_new(&id->ak, &id->key, e), e, "guest AK");
    LT_TRY_IN(lt_public_parse(ek.p, ek.n, &id->ek, e), e, "guest EK");
    LT_TRY_IN(lt_public_ek_digest(&id->ek, id->ek_digest, e), e, "guest EK");
    lt_tpm_any_qualified_name(&id->ek, &id->ak, &id->qualified_signer);
    return 0;
}

struct lt_checks_identity_guest *lt_checks_identity_guest_new(struct lt_slice ek, struct lt_slice ak)
{
    struct lt_checks_identity_guest *id = lt_new(struct lt_checks_identity_guest);

    (void)!guest(id, ek, ak, &id->fault);
    return id;
}

void lt_checks_identity_guest_free(struct lt_checks_identity_guest *id)
{
    if (id)
        lt_signature_key_free(id->key);
    free(id);
}

/* What check 5 needs: a key that verifies. */
static int host_key(struct lt_checks_identity_host *id, struct lt_slice ak, struct lt_err *e)
{
    LT_TRY_IN(lt_public_parse(ak.p, ak.n, &id->ak, e), e, "host AK");
    LT_TRY_IN(lt_public_name(&id->ak, id->ak_name, e), e, "host AK");
    LT_TRY_IN(lt_signature_key_new(&id->ak, &id->key, e), e, "host AK");
    lt_residency_ak_host_pcr(id->ak_name, id->ak_pcr);
    return 0;
}

/* What check 6 needs. Names first: which keys these are is known also of an AK that may not be one. */
static int host(struct lt_checks_identity_host *id, struct lt_slice ek, struct lt_err *e)
{
    LT_TRY_IN(lt_public_parse(ek.p, ek.n, &id->ek, e), e, "host EK");
    LT_TRY_IN(lt_public_ek_digest(&id->ek, id->ek_digest, e), e, "host EK");
    LT_TRY_IN(lt_residency_host_id(&id->ek, id->host_id, e), e, "host EK");
    LT_TRY_IN(lt_tpm_qualified_name(&id->ek, &id->ak, id->qualified_signer, e), e, "host EK");
    LT_TRY_IN(lt_public_check_ak_host(&id->ak, e), e, "host AK");
    return 0;
}

struct lt_checks_identity_host *lt_checks_identity_host_new(struct lt_slice ek, struct lt_slice ak)
{
    struct lt_checks_identity_host *id = lt_new(struct lt_checks_identity_host);

    /* Without a key check 5 fails and check 6, which rests on it, is never asked. */
    if (host_key(id, ak, &id->key_fault))
        id->fault = id->key_fault;
    else
        (void)!host(id, ek, &id->fault);
    return id;
}

void lt_checks_identity_host_free(struct lt_checks_identity_host *id)
{
    if (id)
        lt_signature_key_free(id->key);
    free(id);
}
