#include "agent/device.h"

#include "agent/tpm_words.h"
#include "common/hash.h"

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#define QUOTE_ATTEMPTS 5
#define LEFTOVERS_MAX 64
/* tss2's own constants shift a signed int out of range. */
#define FIRST_TRANSIENT 0x80000000u
#define FIRST_LOADED_SESSION 0x02000000u
/* Small enough for every TPM's TPM2_PT_NV_BUFFER_MAX. */
#define NV_CHUNK 512

#define AUTOESYS __attribute__((cleanup(esys_free)))
static void esys_free(void *pp)
{
    Esys_Free(*(void **)pp);
}

/* What only a new open can mend: the transport, a TPM that was reset (startup, handles gone). */
static bool lost_by(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK, code = rc & 0xffff;

    if (layer == TSS2_TCTI_RC_LAYER || layer == TSS2_SYS_RC_LAYER || layer == TSS2_ESAPI_RC_LAYER)
        return true;
    return code == TPM2_RC_INITIALIZE || code == TPM2_RC_FAILURE ||
           (code >= TPM2_RC_REFERENCE_H0 && code <= TPM2_RC_REFERENCE_H6) ||
           (code >= TPM2_RC_REFERENCE_S0 && code <= TPM2_RC_REFERENCE_S6) ||
           ((code & TPM2_RC_FMT1) && !(code & TPM2_RC_P) && (code & 0xbf) == TPM2_RC_HANDLE);
}

int lt_device_rc(struct lt_device *d, TSS2_RC rc, const char *command, struct lt_err *e)
{
    if (rc == TSS2_RC_SUCCESS)
        return 0;
    if (rc == TPM2_RC_OBJECT_MEMORY || rc == TPM2_RC_OBJECT_HANDLES || rc == TPM2_RC_SESSION_MEMORY ||
        rc == TPM2_RC_SESSION_HANDLES)
        d->crowded = true;
    if (d->crowded || lost_by(rc))
        d->lost = true;
    const char *words = lt_tpm_words(rc);
    return words ? lt_fail(e, LT_E_TPM, "%s: %s (0x%x %s)", command, words, (unsigned)rc, Tss2_RC_Decode(rc))
                 : lt_fail(e, LT_E_TPM, "%s: 0x%x %s", command, (unsigned)rc, Tss2_RC_Decode(rc));
}

void lt_device_flush(struct lt_device *d, ESYS_TR *handle)
{
    TPM2_HANDLE h = 0;

    if (*handle == ESYS_TR_NONE)
        return;
    /* A persistent key is only let go of; and a TPM that is gone has nothing left to flush. */
    bool persistent =
        Esys_TR_GetTpmHandle(d->esys, *handle, &h) == TSS2_RC_SUCCESS && h >> 24 == TPM2_HT_PERSISTENT;
    if (persistent || Esys_FlushContext(d->esys, *handle) != TSS2_RC_SUCCESS)
        Esys_TR_Close(d->esys, handle);
    *handle = ESYS_TR_NONE;
}

static int handles(struct lt_device *d, TPM2_HANDLE first, TPMS_CAPABILITY_DATA **out, struct lt_err *e)
{
    TPMI_YES_NO more;
    return lt_device_rc(d,
                        Esys_GetCapability(d->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                           TPM2_CAP_HANDLES, first, LEFTOVERS_MAX, &more, out),
                        "TPM2_GetCapability(handles)", e);
}

static int flush_leftovers(struct lt_device *d, TPM2_HANDLE first, struct lt_err *e)
{
    AUTOESYS TPMS_CAPABILITY_DATA *cap = NULL;
    int rc = handles(d, first, &cap, e);

    for (UINT32 i = 0; !rc && i < cap->data.handles.count; i++) {
        ESYS_TR h;
        if (Esys_TR_FromTPMPublic(d->esys, cap->data.handles.handle[i], ESYS_TR_NONE, ESYS_TR_NONE,
                                  ESYS_TR_NONE, &h) == TSS2_RC_SUCCESS)
            lt_device_flush(d, &h);
    }
    return rc;
}

int lt_device_open(const char *tcti, bool sweep, struct lt_device *out, struct lt_err *e)
{
    *out = (struct lt_device){0};
    int rc = lt_device_rc(out, Tss2_TctiLdr_Initialize(tcti, &out->tcti), "opening", e);
    if (!rc)
        rc = lt_device_rc(out, Esys_Initialize(&out->esys, out->tcti, NULL), "Esys_Initialize", e);
    if (!rc && sweep)
        rc = flush_leftovers(out, FIRST_TRANSIENT, e);
    if (!rc && sweep)
        rc = flush_leftovers(out, FIRST_LOADED_SESSION, e);
    if (rc) {
        lt_device_close(out);
        (void)lt_tpm_words_tcti_diagnose(tcti, e); /* the operating system often knows better than the TSS */
        return lt_fail_in(e, rc, "TPM %s", tcti);
    }
    return 0;
}

void lt_device_close(struct lt_device *d)
{
    if (d->esys)
        Esys_Finalize(&d->esys);
    if (d->tcti)
        Tss2_TctiLdr_Finalize(&d->tcti);
    *d = (struct lt_device){0};
}

int lt_device_find(struct lt_device *d, TPM2_HANDLE handle, ESYS_TR *out, struct lt_err *e)
{
    AUTOESYS TPMS_CAPABILITY_DATA *cap = NULL;
    int rc = handles(d, handle, &cap, e);

    *out = ESYS_TR_NONE;
    /* The list begins with the first handle that is not below the one asked for. */
    if (rc || !cap->data.handles.count || cap->data.handles.handle[0] != handle)
        return rc;
    return lt_device_rc(d,
                        Esys_TR_FromTPMPublic(d->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, out),
                        "TPM2_ReadPublic", e);
}

int lt_device_nv_list(struct lt_device *d, TPM2_HANDLE first, TPM2_HANDLE last, TPM2_HANDLE *out,
                      unsigned max, unsigned *count, struct lt_err *e)
{
    AUTOESYS TPMS_CAPABILITY_DATA *cap = NULL;
    int rc = handles(d, first, &cap, e);

    *count = 0;
    for (UINT32 i = 0; !rc && i < cap->data.handles.count && *count < max; i++)
        if (cap->data.handles.handle[i] >= first && cap->data.handles.handle[i] <= last)
            out[(*count)++] = cap->data.handles.handle[i];
    return rc;
}

static void select_pcrs(TPML_PCR_SELECTION *s, uint32_t mask)
{
    *s = (TPML_PCR_SELECTION){.count = 1};
    s->pcrSelections[0].hash = TPM2_ALG_SHA256;
    s->pcrSelections[0].sizeofSelect = 3;
    for (unsigned i = 0; i < 3; i++)
        s->pcrSelections[0].pcrSelect[i] = (BYTE)(mask >> 8 * i);
}

int lt_device_pcr_read(struct lt_device *d, uint32_t mask, struct lt_pcrs *out, struct lt_err *e)
{
    *out = (struct lt_pcrs){.alg = LT_HASH_SHA256, .mask = mask};
    /* One command gives at most eight values; what it left out is asked for again. */
    for (uint32_t left = mask; left;) {
        AUTOESYS TPML_PCR_SELECTION *got = NULL;
        AUTOESYS TPML_DIGEST *values = NULL;
        TPML_PCR_SELECTION want;
        UINT32 at = 0;

        select_pcrs(&want, left);
        LT_TRY(lt_device_rc(
            d, Esys_PCR_Read(d->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want, NULL, &got, &values),
            "TPM2_PCR_Read", e));
        const BYTE *bits = got->pcrSelections[0].pcrSelect;
        uint32_t here = got->count ? bits[0] | (uint32_t)bits[1] << 8 | (uint32_t)bits[2] << 16 : 0;
        if (!here || (here & ~left))
            return lt_fail(e, LT_E_TPM,
                           "TPM2_PCR_Read: asked for mask 0x%x of sha256, got 0x%x; is the bank active?",
                           (unsigned)left, (unsigned)here);
        for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
            if (!(here & 1u << i))
                continue;
            if (at == values->count || values->digests[at].size != LT_SHA256)
                return lt_fail(e, LT_E_TPM, "TPM2_PCR_Read: no sha256 value for PCR %u", i);
            memcpy(out->value[i], values->digests[at++].buffer, LT_SHA256);
        }
        left &= ~here;
    }
    return 0;
}

int lt_device_pcr_extend(struct lt_device *d, unsigned pcr, const uint8_t digest[32], struct lt_err *e)
{
    TPML_DIGEST_VALUES v = {.count = 1};

    v.digests[0].hashAlg = TPM2_ALG_SHA256;
    memcpy(v.digests[0].digest.sha256, digest, LT_SHA256);
    return lt_device_rc(d, Esys_PCR_Extend(d->esys, pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &v),
                        "TPM2_PCR_Extend", e);
}

int lt_device_pcr_reset(struct lt_device *d, unsigned pcr, struct lt_err *e)
{
    return lt_device_rc(d, Esys_PCR_Reset(d->esys, pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE),
                        "TPM2_PCR_Reset", e);
}

int lt_device_clock(struct lt_device *d, struct lt_attest_clock_info *out, struct lt_err *e)
{
    AUTOESYS TPMS_TIME_INFO *t = NULL;
    int rc = lt_device_rc(d, Esys_ReadClock(d->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &t),
                          "TPM2_ReadClock", e);

    *out = (struct lt_attest_clock_info){0};
    if (!rc)
        *out = (struct lt_attest_clock_info){.clock_ms = t->clockInfo.clock,
                                             .reset_count = t->clockInfo.resetCount,
                                             .restart_count = t->clockInfo.restartCount,
                                             .safe = t->clockInfo.safe == TPM2_YES};
    return rc;
}

int lt_device_nv_read(struct lt_device *d, TPM2_HANDLE index, size_t max, uint8_t **out, size_t *n,
                      struct lt_err *e)
{
    AUTOESYS TPM2B_NV_PUBLIC *pub = NULL;
    ESYS_TR nv;

    *out = NULL;
    *n = 0;
    LT_TRY(lt_device_find(d, index, &nv, e));
    if (nv == ESYS_TR_NONE)
        return lt_fail(e, LT_E_NOT_FOUND, "TPM NV index 0x%x is not defined", (unsigned)index);
    int rc =
        lt_device_rc(d, Esys_NV_ReadPublic(d->esys, nv, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &pub, NULL),
                     "TPM2_NV_ReadPublic", e);
    if (!rc && pub->nvPublic.dataSize > max)
        rc = lt_fail(e, LT_E_TOO_LARGE, "TPM NV index 0x%x: %u bytes > %zu", (unsigned)index,
                     pub->nvPublic.dataSize, max);
    size_t size = rc ? 0 : pub->nvPublic.dataSize;
    LT_AUTOFREE uint8_t *p = malloc(size + 1);
    if (!p)
        rc = lt_fail(e, LT_E_NO_MEMORY, "TPM NV index: no memory");
    for (size_t at = 0; !rc && at < size;) {
        AUTOESYS TPM2B_MAX_NV_BUFFER *part = NULL;
        size_t want = size - at < NV_CHUNK ? size - at : NV_CHUNK;
        rc = lt_device_rc(d,
                          Esys_NV_Read(d->esys, nv, nv, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                       (UINT16)want, (UINT16)at, &part),
                          "TPM2_NV_Read", e);
        if (!rc && part->size != want)
            rc = lt_fail(e, LT_E_TPM, "TPM2_NV_Read: %u bytes, asked for %zu", part->size, want);
        if (!rc)
            memcpy(p + at, part->buffer, want);
        at += want;
    }
    Esys_TR_Close(d->esys, &nv);
    if (!rc) {
        *out = lt_take(&p);
        *n = size;
    }
    return rc;
}

static int quote_once(struct lt_device *d, ESYS_TR key, const TPM2B_DATA *extra, uint32_t mask,
                      struct lt_quote *out, bool *moved, struct lt_err *e)
{
    AUTOESYS TPM2B_ATTEST *attest = NULL;
    AUTOESYS TPMT_SIGNATURE *sig = NULL;
    TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL};
    TPML_PCR_SELECTION selection;
    struct lt_attest parsed;
    uint8_t digest[LT_SHA256], raw[sizeof *sig];
    size_t n = 0;

    select_pcrs(&selection, mask);
    LT_TRY(lt_device_rc(d,
                        Esys_Quote(d->esys, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, extra, &scheme,
                                   &selection, &attest, &sig),
                        "TPM2_Quote", e));
    LT_TRY(lt_device_rc(d, Tss2_MU_TPMT_SIGNATURE_Marshal(sig, raw, sizeof raw, &n), "TPMT_SIGNATURE", e));
    LT_TRY(lt_attest_parse(attest->attestationData, attest->size, &parsed, e));
    LT_TRY(lt_device_pcr_read(d, mask, &out->pcrs, e));
    lt_pcrs_digest(&out->pcrs, LT_HASH_SHA256, digest);
    *moved = !lt_slice_eq(parsed.pcr_digest, (struct lt_slice){digest, sizeof digest});
    if (*moved)
        return 0;
    out->attest = malloc(attest->size);
    out->signature = malloc(n);
    if (!out->attest || !out->signature)
        return lt_fail(e, LT_E_NO_MEMORY, "quote: no memory");
    memcpy(out->attest, attest->attestationData, out->attest_n = attest->size);
    memcpy(out->signature, raw, out->signature_n = n);
    return 0;
}

int lt_device_quote(struct lt_device *d, ESYS_TR key, const void *extra, size_t extra_n, uint32_t mask,
                    struct lt_quote *out, struct lt_err *e)
{
    TPM2B_DATA data = {.size = (UINT16)extra_n};

    *out = (struct lt_quote){0};
    if (extra_n > sizeof data.buffer)
        return lt_fail(e, LT_E_USAGE, "qualifying data: %zu bytes > %zu", extra_n, sizeof data.buffer);
    memcpy(data.buffer, extra, extra_n);
    for (int i = 0; i < QUOTE_ATTEMPTS; i++) {
        bool moved = false;
        int rc = quote_once(d, key, &data, mask, out, &moved, e);
        if (rc)
            lt_quote_free(out);
        if (rc || !moved)
            return rc;
    }
    return lt_fail(e, LT_E_TPM, "PCRs 0x%06x moved during each of %d quotes", (unsigned)mask, QUOTE_ATTEMPTS);
}
