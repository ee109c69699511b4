#include "agent/keys.h"

#include "residency/residency.h"
#include "tpm/credential.h"
#include "tpm/ek_template.h"

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#define EK_HANDLE 0x81010001

#define AUTOESYS __attribute__((cleanup(esys_free)))
static void esys_free(void *pp)
{
    Esys_Free(*(void **)pp);
}

static int to_public(struct lt_device *d, const TPM2B_PUBLIC *in, struct lt_public *out, struct lt_err *e)
{
    uint8_t raw[sizeof *in];
    size_t n = 0;
    int rc = lt_device_rc(d, Tss2_MU_TPM2B_PUBLIC_Marshal(in, raw, sizeof raw, &n), "TPM2B_PUBLIC", e);
    return rc ? rc : lt_public_parse(raw, n, out, e);
}

static int read_public(struct lt_device *d, ESYS_TR key, struct lt_public *out, TPM2B_NAME *qualified,
                       struct lt_err *e)
{
    AUTOESYS TPM2B_PUBLIC *pub = NULL;
    AUTOESYS TPM2B_NAME *name = NULL, *qn = NULL;
    int rc = lt_device_rc(
        d, Esys_ReadPublic(d->esys, key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &pub, &name, &qn),
        "TPM2_ReadPublic", e);
    if (!rc && qualified)
        *qualified = *qn;
    return rc ? rc : to_public(d, pub, out, e);
}

static int create_primary(struct lt_device *d, uint16_t alg, ESYS_TR *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf bytes = LT_BUF(LT_MAX_PUBLIC);
    TPM2B_PUBLIC template = {0};
    TPM2B_SENSITIVE_CREATE sensitive = {0};
    TPM2B_DATA outside = {0};
    TPML_PCR_SELECTION none = {0};
    size_t at = 0;

    *out = ESYS_TR_NONE;
    lt_ek_template_put(&bytes, alg);
    LT_TRY(lt_buf_ok(&bytes, e));
    LT_TRY(
        lt_device_rc(d, Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes.p, bytes.n, &at, &template), "EK template", e));
    return lt_device_rc(d,
                        Esys_CreatePrimary(d->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &sensitive, &template, &outside, &none, out, NULL,
                                           NULL, NULL, NULL),
                        "TPM2_CreatePrimary(EK)", e);
}

static bool same_public(const struct lt_public *a, const struct lt_public *b)
{
    return lt_slice_eq((struct lt_slice){a->raw, a->raw_n}, (struct lt_slice){b->raw, b->raw_n});
}

int lt_agent_ek_find(struct lt_device *d, uint16_t alg, struct lt_agent_ek *out, struct lt_err *e)
{
    ESYS_TR primary = ESYS_TR_NONE, there = ESYS_TR_NONE;
    struct lt_public other;

    out->alg = alg;
    out->at_handle = false;
    int rc = create_primary(d, alg, &primary, e);
    if (!rc)
        rc = read_public(d, primary, &out->pub, NULL, e);
    if (!rc)
        rc = lt_device_find(d, EK_HANDLE, &there, e);
    /* Equal public areas of primaries are equal keys; what we cannot parse there is not ours. */
    if (!rc && there != ESYS_TR_NONE && !read_public(d, there, &other, NULL, LT_NO_ERR))
        out->at_handle = same_public(&other, &out->pub);
    lt_device_flush(d, &primary);
    lt_device_flush(d, &there);
    return rc;
}

int lt_agent_tpm_name(struct lt_device *d, uint8_t out[LT_TPM_NAME], struct lt_err *e)
{
    ESYS_TR primary = ESYS_TR_NONE;
    struct lt_public pub;
    int rc = create_primary(d, LT_TPM_ALG_ECC, &primary, e);

    if (rc && !d->lost)
        rc = create_primary(d, LT_TPM_ALG_RSA, &primary, e);
    if (!rc)
        rc = read_public(d, primary, &pub, NULL, e);
    if (!rc)
        rc = lt_public_name(&pub, out, e);
    lt_device_flush(d, &primary);
    return rc;
}

int lt_agent_ek_load(struct lt_device *d, const struct lt_agent_ek *ek, ESYS_TR *out, struct lt_err *e)
{
    int rc = 0;

    *out = ESYS_TR_NONE;
    if (ek->at_handle) {
        struct lt_public now;
        rc = lt_device_find(d, EK_HANDLE, out, e);
        if (rc || (*out != ESYS_TR_NONE && !read_public(d, *out, &now, NULL, LT_NO_ERR) &&
                   same_public(&now, &ek->pub)))
            return rc;
        lt_device_flush(d, out);
    }
    return create_primary(d, ek->alg, out, e);
}

int lt_agent_ek_session(struct lt_device *d, ESYS_TR *out, struct lt_err *e)
{
    TPMT_SYM_DEF plain = {.algorithm = TPM2_ALG_NULL};

    *out = ESYS_TR_NONE;
    int rc =
        lt_device_rc(d,
                     Esys_StartAuthSession(d->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, NULL, TPM2_SE_POLICY, &plain, TPM2_ALG_SHA256, out),
                     "TPM2_StartAuthSession", e);
    if (!rc)
        rc = lt_device_rc(d,
                          Esys_PolicySecret(d->esys, ESYS_TR_RH_ENDORSEMENT, *out, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL),
                          "TPM2_PolicySecret", e);
    if (rc)
        lt_device_flush(d, out);
    return rc;
}

static void ak_template(const struct lt_agent_ak_spec *spec, TPM2B_PUBLIC *t)
{
    TPMT_PUBLIC *p = &t->publicArea;

    *t = (TPM2B_PUBLIC){0};
    p->type = spec->alg;
    p->nameAlg = TPM2_ALG_SHA256;
    p->objectAttributes = spec->attributes;
    if (spec->alg == LT_TPM_ALG_RSA)
        p->parameters.rsaDetail =
            (TPMS_RSA_PARMS){.symmetric.algorithm = TPM2_ALG_NULL,
                             .scheme = {.scheme = TPM2_ALG_RSASSA, .details.rsassa.hashAlg = TPM2_ALG_SHA256},
                             .keyBits = 2048};
    else
        p->parameters.eccDetail =
            (TPMS_ECC_PARMS){.symmetric.algorithm = TPM2_ALG_NULL,
                             .scheme = {.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
                             .curveID = TPM2_ECC_NIST_P256,
                             .kdf.scheme = TPM2_ALG_NULL};
}

int lt_agent_ak_create(struct lt_device *d, ESYS_TR ek, const struct lt_agent_ak_spec *spec,
                       struct lt_buf *blob, struct lt_err *e)
{
    AUTOESYS TPM2B_PRIVATE *private = NULL;
    AUTOESYS TPM2B_PUBLIC *public = NULL;
    TPM2B_SENSITIVE_CREATE sensitive = {0};
    TPM2B_DATA outside = {0};
    TPML_PCR_SELECTION none = {0};
    TPM2B_PUBLIC template;
    uint8_t raw[LT_AGENT_AK_BLOB];
    size_t n = 0;
    ESYS_TR session;

    if (spec->auth.n > sizeof sensitive.sensitive.userAuth.buffer)
        return lt_fail(e, LT_E_USAGE, "AK: authValue of %zu bytes", spec->auth.n);
    ak_template(spec, &template);
    sensitive.sensitive.userAuth.size = (UINT16)spec->auth.n;
    if (spec->auth.n)
        memcpy(sensitive.sensitive.userAuth.buffer, spec->auth.p, spec->auth.n);
    int rc = lt_agent_ek_session(d, &session, e);
    if (!rc)
        rc = lt_device_rc(d,
                          Esys_Create(d->esys, ek, session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template,
                                      &outside, &none, &private, &public, NULL, NULL, NULL),
                          "TPM2_Create(AK)", e);
    lt_wipe(&sensitive, sizeof sensitive);
    lt_device_flush(d, &session);
    if (!rc)
        rc = lt_device_rc(d, Tss2_MU_TPM2B_PUBLIC_Marshal(public, raw, sizeof raw, &n), "TPM2B_PUBLIC", e);
    if (!rc)
        rc = lt_device_rc(d, Tss2_MU_TPM2B_PRIVATE_Marshal(private, raw, sizeof raw, &n), "TPM2B_PRIVATE", e);
    if (rc)
        return rc;
    lt_buf_put(blob, raw, n);
    return lt_buf_ok(blob, e);
}

static int set_auth(struct lt_device *d, ESYS_TR key, struct lt_slice auth, struct lt_err *e)
{
    TPM2B_AUTH a = {.size = (UINT16)auth.n};

    if (auth.n > sizeof a.buffer)
        return lt_fail(e, LT_E_USAGE, "AK: authValue of %zu bytes", auth.n);
    if (auth.n)
        memcpy(a.buffer, auth.p, auth.n);
    int rc = lt_device_rc(d, Esys_TR_SetAuth(d->esys, key, &a), "Esys_TR_SetAuth", e);
    lt_wipe(&a, sizeof a);
    return rc;
}

/* A format-one answer: the TPM judged the parameters, and a new open would not change its mind. */
static bool refused(TSS2_RC rc)
{
    return !(rc & TSS2_RC_LAYER_MASK) && (rc & TPM2_RC_FMT1);
}

int lt_agent_ak_load(struct lt_device *d, ESYS_TR ek, const void *blob, size_t n, struct lt_slice auth,
                     ESYS_TR *out, struct lt_err *e)
{
    TPM2B_PUBLIC public = {0};
    TPM2B_PRIVATE private = {0};
    ESYS_TR session;
    size_t at = 0;

    *out = ESYS_TR_NONE;
    if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(blob, n, &at, &public) ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(blob, n, &at, &private) || at != n)
        return lt_fail(e, LT_E_REFUSED, "AK blob of %zu bytes: not TPM2B_PUBLIC and TPM2B_PRIVATE", n);
    LT_TRY(lt_agent_ek_session(d, &session, e));
    TSS2_RC tss = Esys_Load(d->esys, ek, session, ESYS_TR_NONE, ESYS_TR_NONE, &private, &public, out);
    int rc = lt_device_rc(d, tss, "TPM2_Load(AK)", e);
    lt_device_flush(d, &session);
    if (rc)
        return refused(tss) ? lt_fail(e, LT_E_REFUSED, "AK blob: this TPM's EK is not its parent") : rc;
    rc = set_auth(d, *out, auth, e);
    if (rc)
        lt_device_flush(d, out);
    return rc;
}

static int name_of(struct lt_device *d, ESYS_TR key, uint8_t out[LT_TPM_NAME], struct lt_err *e)
{
    struct lt_public pub;
    int rc = read_public(d, key, &pub, NULL, e);

    if (!rc)
        rc = lt_public_name(&pub, out, e);
    return rc && rc != LT_E_TPM ? lt_fail(e, LT_E_REFUSED, "a key of a kind that is none of ours") : rc;
}

int lt_agent_handle_name(struct lt_device *d, TPM2_HANDLE handle, uint8_t out[LT_TPM_NAME], struct lt_err *e)
{
    ESYS_TR key;
    int rc = lt_device_find(d, handle, &key, e);

    if (!rc)
        rc = key == ESYS_TR_NONE ? lt_fail(e, LT_E_NOT_FOUND, "TPM handle 0x%x is empty", (unsigned)handle)
                                 : name_of(d, key, out, e);
    lt_device_flush(d, &key);
    return rc;
}

/* R1: what PCR 13 names is the key that this boot's quotes are made with, whoever asks for its place. */
static int check_unnamed(struct lt_device *d, TPM2_HANDLE handle, struct lt_err *e)
{
    uint8_t name[LT_TPM_NAME], pcr[LT_SHA256];
    struct lt_pcrs pcrs;

    LT_TRY(lt_device_pcr_read(d, 1u << LT_RESIDENCY_AK_PCR, &pcrs, e));
    int rc = lt_agent_handle_name(d, handle, name, e);
    if (rc)
        return rc == LT_E_TPM ? rc : 0;
    lt_residency_ak_host_pcr(name, pcr);
    return memcmp(pcr, pcrs.value[LT_RESIDENCY_AK_PCR], sizeof pcr)
               ? 0
               : lt_fail(e, LT_E_REFUSED,
                         "PCR %d names the key at TPM handle 0x%x: it is not replaced before this host "
                         "was rebooted",
                         LT_RESIDENCY_AK_PCR, (unsigned)handle);
}

/* Only an attestation key has to make room: any other is some program's, and there is no other copy of it. */
static int check_kind(struct lt_device *d, TPM2_HANDLE handle, struct lt_err *e)
{
    const uint32_t is = LT_TPM_OBJ_RESTRICTED | LT_TPM_OBJ_SIGN, is_not = LT_TPM_OBJ_DECRYPT;
    struct lt_public pub;
    ESYS_TR key;

    LT_TRY(lt_device_find(d, handle, &key, e));
    if (key == ESYS_TR_NONE)
        return 0;
    int rc = read_public(d, key, &pub, NULL, e);
    lt_device_flush(d, &key);
    if (rc == LT_E_TPM || (!rc && (pub.attributes & (is | is_not)) == is))
        return rc;
    return lt_fail(e, LT_E_CONFIG,
                   "TPM handle 0x%x holds a key that is no attestation key, but another program's; nothing "
                   "was changed. Name a free handle as ak_handle, or remove it: tpm2_evictcontrol -c 0x%x",
                   (unsigned)handle, (unsigned)handle);
}

int lt_agent_ak_persist(struct lt_device *d, ESYS_TR key, TPM2_HANDLE handle, struct lt_err *e)
{
    ESYS_TR old = ESYS_TR_NONE, new = ESYS_TR_NONE;
    int rc = check_unnamed(d, handle, e);

    if (!rc)
        rc = check_kind(d, handle, e);
    if (!rc)
        rc = lt_device_find(d, handle, &old, e);
    if (!rc && old != ESYS_TR_NONE)
        rc = lt_device_rc(d,
                          Esys_EvictControl(d->esys, ESYS_TR_RH_OWNER, old, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                            ESYS_TR_NONE, handle, &new),
                          "TPM2_EvictControl(remove)", e);
    /* The ESAPI would remember its Name and stumble over the next key at the handle. */
    if (old != ESYS_TR_NONE)
        Esys_TR_Close(d->esys, &old);
    if (!rc)
        rc = lt_device_rc(d,
                          Esys_EvictControl(d->esys, ESYS_TR_RH_OWNER, key, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                            ESYS_TR_NONE, handle, &new),
                          "TPM2_EvictControl", e);
    if (!rc)
        lt_device_flush(d, &new);
    return rc;
}

int lt_agent_ak_check(struct lt_device *d, ESYS_TR key, const struct lt_agent_ek *ek,
                      const struct lt_agent_ak_spec *spec, struct lt_public *out, struct lt_err *e)
{
    TPM2B_NAME qn;
    uint8_t want[LT_TPM_NAME];
    int rc = read_public(d, key, out, &qn, e);

    if (rc)
        return rc == LT_E_TPM ? rc : lt_fail(e, LT_E_REFUSED, "AK: its public area is not one of ours");
    if (out->type != spec->alg || out->attributes != spec->attributes)
        return lt_fail(e, LT_E_REFUSED, "AK: type 0x%04x attributes 0x%08x, wanted 0x%04x 0x%08x", out->type,
                       (unsigned)out->attributes, spec->alg, (unsigned)spec->attributes);
    rc = lt_tpm_qualified_name(&ek->pub, out, want, e);
    if (!rc && !lt_slice_eq((struct lt_slice){qn.name, qn.size}, (struct lt_slice){want, sizeof want}))
        rc = lt_fail(e, LT_E_REFUSED, "AK: it is not a child of this EK");
    return rc ? rc : set_auth(d, key, spec->auth, e);
}

int lt_agent_ak_activate(struct lt_device *d, ESYS_TR ak, const struct lt_agent_ek *ek,
                         struct lt_slice credential, uint8_t secret[LT_MAX_DIGEST], size_t *secret_n,
                         struct lt_err *e)
{
    AUTOESYS TPM2B_DIGEST *got = NULL;
    TPM2B_ID_OBJECT id = {0};
    TPM2B_ENCRYPTED_SECRET seed = {0};
    struct lt_slice id_s, seed_s;
    ESYS_TR ek_tr, session = ESYS_TR_NONE;
    TSS2_RC tss = TSS2_RC_SUCCESS;

    *secret_n = 0;
    LT_TRY(lt_credential_parse(credential.p, credential.n, &id_s, &seed_s, e));
    if (id_s.n > sizeof id.credential || seed_s.n > sizeof seed.secret)
        return lt_fail(e, LT_E_TOO_LARGE, "credential: parts of %zu and %zu bytes", id_s.n, seed_s.n);
    memcpy(id.credential, id_s.p, id.size = (UINT16)id_s.n);
    memcpy(seed.secret, seed_s.p, seed.size = (UINT16)seed_s.n);
    int rc = lt_agent_ek_load(d, ek, &ek_tr, e);
    if (!rc)
        rc = lt_agent_ek_session(d, &session, e);
    if (!rc) {
        tss = Esys_ActivateCredential(d->esys, ak, ek_tr, ESYS_TR_PASSWORD, session, ESYS_TR_NONE, &id, &seed,
                                      &got);
        rc = lt_device_rc(d, tss, "TPM2_ActivateCredential", e);
    }
    lt_device_flush(d, &session);
    lt_device_flush(d, &ek_tr);
    if (rc)
        return refused(tss) && !d->lost ? lt_fail(e, LT_E_REFUSED,
                                                  "the TPM refused the credential (0x%x): made for "
                                                  "another EK or AK",
                                                  (unsigned)tss)
                                        : rc;
    *secret_n = got->size;
    memcpy(secret, got->buffer, got->size);
    lt_wipe(got->buffer, got->size);
    return 0;
}
