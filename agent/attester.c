#include "agent/attester.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/run/log.h"
#include "residency/residency.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Guests: keylime-api 2.7. */
#define AK_GUEST_ATTRIBUTES (LT_TPM_AK_HOST_ATTRIBUTES & ~LT_TPM_OBJ_NO_DA)

/* The file of AK_h: the authValue, and the Name of the key that has it, so that a crash between making the
 * key and writing the file cannot pair them wrongly. */
struct host_secret {
    uint8_t auth[32], name[LT_TPM_NAME];
};

static struct lt_agent_ak_spec spec_of(const struct lt_attester *a, struct lt_slice auth)
{
    return (struct lt_agent_ak_spec){
        .alg = a->ak_alg,
        .attributes = a->home == LT_ATTESTER_AK_HOST ? LT_TPM_AK_HOST_ATTRIBUTES : AK_GUEST_ATTRIBUTES,
        .auth = auth,
    };
}

/* Makes the AK under the EK and loads it; *blob is its wrapped form. */
static int make(struct lt_device *d, const struct lt_agent_ek *ek, const struct lt_agent_ak_spec *spec,
                struct lt_buf *blob, ESYS_TR *key, struct lt_err *e)
{
    ESYS_TR parent;
    int rc = lt_agent_ek_load(d, ek, &parent, e);

    if (!rc)
        rc = lt_agent_ak_create(d, parent, spec, blob, e);
    if (!rc)
        rc = lt_agent_ak_load(d, parent, blob->p, blob->n, spec->auth, key, e);
    lt_device_flush(d, &parent);
    return rc;
}

static int lost_key(struct lt_err *e, const char *how)
{
    return lt_fail(e, LT_E_TPM,
                   "this agent's key was removed or replaced while it serves (%.160s). Another program did "
                   "that; restart the agent once it is known which",
                   how);
}

/* e says why there is no key. */
static int may_make(const struct lt_attester *a, struct lt_err *e)
{
    const struct lt_err why = *e;

    if (a->known)
        return lost_key(e, why.msg);
    if (!a->make)
        return lt_fail(e, LT_E_NOT_FOUND,
                       "no key was made (%.180s): limetree-agent --anchor makes one, early in the boot",
                       why.msg);
    return 0;
}

static int load_wrapped(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                        struct lt_public *ak, struct lt_err *e)
{
    const struct lt_agent_ak_spec spec = spec_of(a, (struct lt_slice){0});
    LT_AUTOBUF struct lt_buf blob = LT_BUF(LT_AGENT_AK_BLOB);
    LT_AUTOFREE uint8_t *old = NULL;
    ESYS_TR parent;
    size_t n;

    (void)lt_fail(e, LT_E_REFUSED, "%s: there is none", a->file); /* may_make says it */
    if (!access(a->file, F_OK)) {
        LT_TRY(lt_file_read_secret(a->file, LT_AGENT_AK_BLOB, &old, &n, e));
        LT_TRY(lt_agent_ek_load(d, ek, &parent, e));
        int rc = lt_agent_ak_load(d, parent, old, n, spec.auth, &a->key, e);
        lt_device_flush(d, &parent);
        if (!rc)
            rc = lt_agent_ak_check(d, a->key, ek, &spec, ak, e);
        if (!rc || rc != LT_E_REFUSED)
            return rc;
        lt_device_flush(d, &a->key);
        lt_log(LT_LOG_WARNING, "ak", "%s: %s; making a new AK, which the registrar must be told to accept",
               a->file, e->msg);
    }
    LT_TRY(may_make(a, e));
    int rc = make(d, ek, &spec, &blob, &a->key, e);
    if (!rc)
        rc = lt_file_write(a->file, blob.p, blob.n, 0600, e);
    return rc ? rc : lt_agent_ak_check(d, a->key, ek, &spec, ak, e);
}

/* The key at the handle, if it is one of this EK's with these properties; else LT_E_REFUSED. */
static int find_at_handle(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                          const struct lt_agent_ak_spec *spec, struct lt_public *ak, struct lt_err *e)
{
    int rc = lt_device_find(d, a->handle, &a->key, e);

    if (!rc && a->key == ESYS_TR_NONE)
        return lt_fail(e, LT_E_REFUSED, "TPM handle 0x%x is empty", (unsigned)a->handle);
    if (!rc)
        rc = lt_agent_ak_check(d, a->key, ek, spec, ak, e);
    if (rc)
        lt_device_flush(d, &a->key);
    return rc;
}

static int make_at_handle(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                          const struct lt_agent_ak_spec *spec, struct lt_public *ak, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf blob = LT_BUF(LT_AGENT_AK_BLOB);
    ESYS_TR loaded = ESYS_TR_NONE;

    LT_TRY(may_make(a, e));
    lt_log(LT_LOG_WARNING, "ak", "%s; making a new AK", e->msg);
    int rc = make(d, ek, spec, &blob, &loaded, e);
    if (!rc)
        rc = lt_agent_ak_persist(d, loaded, a->handle, e);
    lt_device_flush(d, &loaded);
    return rc ? rc : find_at_handle(d, a, ek, spec, ak, e);
}

static int load_handle(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                       struct lt_public *ak, struct lt_err *e)
{
    const struct lt_agent_ak_spec spec = spec_of(a, (struct lt_slice){0});
    int rc = find_at_handle(d, a, ek, &spec, ak, e);

    return rc == LT_E_REFUSED ? make_at_handle(d, a, ek, &spec, ak, e) : rc;
}

/* ---- AK_h ---- */

/* LT_E_REFUSED: there is none, or another program's. */
static int read_secret(const char *file, struct host_secret *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *old = NULL;
    size_t n;

    *out = (struct host_secret){0};
    if (access(file, F_OK))
        return lt_fail(e, LT_E_REFUSED, "%s: there is none yet", file);
    LT_TRY(lt_file_read_secret(file, sizeof *out, &old, &n, e));
    if (n != sizeof *out)
        return lt_fail(e, LT_E_REFUSED, "%s: not a secret of ours", file);
    memcpy(out, old, n);
    lt_wipe(old, n);
    return 0;
}

static int find_host_key(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                         const struct host_secret *secret, struct lt_public *ak, struct lt_err *e)
{
    const struct lt_agent_ak_spec spec = spec_of(a, (struct lt_slice){secret->auth, sizeof secret->auth});
    uint8_t name[LT_TPM_NAME];
    int rc = find_at_handle(d, a, ek, &spec, ak, e);

    if (!rc)
        rc = lt_public_name(ak, name, e);
    if (!rc && memcmp(name, secret->name, sizeof name)) {
        lt_device_flush(d, &a->key);
        rc = lt_fail(e, LT_E_REFUSED, "the key at TPM handle 0x%x is not the one of %s", (unsigned)a->handle,
                     a->file);
    }
    return rc;
}

static bool names(const uint8_t pcr[LT_SHA256], const uint8_t name[LT_TPM_NAME])
{
    uint8_t want[LT_SHA256];

    lt_residency_ak_host_pcr(name, want);
    return !memcmp(pcr, want, sizeof want);
}

/* PCR 13 is taken, and not by a key that we have: a new one could not be named in it. */
static int taken(struct lt_device *d, const struct lt_attester *a, const uint8_t pcr[LT_SHA256],
                 const struct host_secret *secret, struct lt_err *e)
{
    uint8_t there[LT_TPM_NAME];
    struct lt_err none;

    if (names(pcr, secret->name))
        return lt_fail(e, LT_E_REFUSED,
                       "PCR %d names the key of %s, but it is no longer at TPM handle 0x%x: another "
                       "program removed or replaced it. Reboot this host, let the agent make a new key, and "
                       "enrol it anew",
                       LT_RESIDENCY_AK_PCR, a->file, (unsigned)a->handle);
    if (!lt_agent_handle_name(d, a->handle, there, &none) && names(pcr, there))
        return lt_fail(
            e, LT_E_REFUSED,
            "PCR %d names the key at TPM handle 0x%x, whose secret is not in %.100s: is "
            "state_dir the one that this host's agent has? If that is lost, reboot: the next start makes a "
            "new key",
            LT_RESIDENCY_AK_PCR, (unsigned)a->handle, a->file);
    return lt_attester_pcr13_refused(pcr, e);
}

int lt_attester_pcr13_refused(const uint8_t pcr[LT_SHA256], struct lt_err *e)
{
    char hex[2 * LT_SHA256 + 1];

    lt_hex(pcr, LT_SHA256, hex);
    return lt_fail(
        e, LT_E_REFUSED,
        "PCR %d holds %s, which does not name this agent's key: it was extended by another program or for a "
        "key that is gone. It cannot be reset: reboot this host, with limetree-agent --anchor early in the "
        "boot",
        LT_RESIDENCY_AK_PCR, hex);
}

/* Under a new secret; the file is written when the key is in its place. */
static int make_host_key(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                         struct host_secret *secret, struct lt_public *ak, struct lt_err *e)
{
    const struct lt_agent_ak_spec spec = spec_of(a, (struct lt_slice){secret->auth, sizeof secret->auth});

    lt_random(secret->auth, sizeof secret->auth);
    LT_TRY(make_at_handle(d, a, ek, &spec, ak, e));
    LT_TRY(lt_public_name(ak, secret->name, e));
    return lt_file_write(a->file, secret, sizeof *secret, 0600, e);
}

static int load_host(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                     struct lt_public *ak, struct lt_err *e)
{
    static const uint8_t zero[LT_SHA256];
    struct host_secret secret;
    struct lt_pcrs pcrs;

    LT_TRY(lt_device_pcr_read(d, 1u << LT_RESIDENCY_AK_PCR, &pcrs, e));
    const uint8_t *pcr = pcrs.value[LT_RESIDENCY_AK_PCR];
    int rc = read_secret(a->file, &secret, e);
    if (!rc)
        rc = find_host_key(d, a, ek, &secret, ak, e);
    if (rc == LT_E_REFUSED && (a->known || !memcmp(pcr, zero, sizeof zero))) {
        rc = make_host_key(d, a, ek, &secret, ak, e);
    } else if (rc == LT_E_REFUSED) {
        rc = taken(d, a, pcr, &secret, e);
        if (!a->make) /* there is none to be had, and that was only a question */
            rc = e->code = LT_E_NOT_FOUND;
    }
    lt_wipe(&secret, sizeof secret);
    return rc;
}

static int load(struct lt_device *d, struct lt_attester *a, const struct lt_agent_ek *ek,
                struct lt_public *ak, struct lt_err *e)
{
    switch (a->home) {
    case LT_ATTESTER_AK_WRAPPED:
        return load_wrapped(d, a, ek, ak, e);
    case LT_ATTESTER_AK_HANDLE:
        return load_handle(d, a, ek, ak, e);
    case LT_ATTESTER_AK_HOST:
        return load_host(d, a, ek, ak, e);
    }
    return lt_fail(e, LT_E_INTERNAL, "AK home %d", (int)a->home);
}

static int same_ek(const struct lt_attester *a, const struct lt_agent_ek *ek, struct lt_err *e)
{
    if (lt_slice_eq((struct lt_slice){ek->pub.raw, ek->pub.raw_n},
                    (struct lt_slice){a->ek.pub.raw, a->ek.pub.raw_n}))
        return 0;
    return lt_fail(e, LT_E_TPM,
                   "the TPM has another EK than at start: not the same TPM; restart the agent if it was "
                   "replaced on purpose");
}

static int same_ak(const struct lt_attester *a, const uint8_t name[LT_TPM_NAME], struct lt_err *e)
{
    return memcmp(name, a->ak_name, LT_TPM_NAME) ? lost_key(e, "another is in its place") : 0;
}

int lt_attester_open(struct lt_device *d, struct lt_attester *a, struct lt_err *e)
{
    struct lt_public ak;
    uint8_t name[LT_TPM_NAME];
    struct lt_agent_ek ek;

    a->key = ESYS_TR_NONE;
    LT_TRY(lt_agent_ek_find(d, a->ek_alg, &ek, e));
    if (a->known)
        LT_TRY(same_ek(a, &ek, e));
    else
        lt_public_copy(&a->ek.pub, &ek.pub);
    LT_TRY(load(d, a, &ek, &ak, e));
    LT_TRY(lt_public_name(&ak, name, e));
    if (a->known)
        return same_ak(a, name, e);
    LT_TRY(lt_agent_ek_certificates(d, &ek, a->home == LT_ATTESTER_AK_HOST, &a->ek_certificates, e));
    a->ek.alg = ek.alg;
    a->ek.at_handle = ek.at_handle;
    lt_public_copy(&a->ak, &ak);
    memcpy(a->ak_name, name, sizeof name);
    a->known = true;
    return 0;
}

/* ---- use ---- */

/* After a command that the TPM refused (e): if the key is no longer what it was, that is why, and a new open
 * says so. */
static int diagnose(struct lt_device *d, const struct lt_attester *a, int rc, struct lt_err *e)
{
    uint8_t name[LT_TPM_NAME];
    struct lt_err why = {0};

    if (d->lost || a->home == LT_ATTESTER_AK_WRAPPED)
        return rc;
    int found = lt_agent_handle_name(d, a->handle, name, &why);
    if (found == LT_E_TPM || (!found && !memcmp(name, a->ak_name, sizeof name)))
        return rc;
    d->lost = true;
    return lt_fail(e, LT_E_TPM, "the key at TPM handle 0x%x was replaced by another program",
                   (unsigned)a->handle);
}

/* A handle is not a key: with the empty authValue of a guest's, whatever lies there would sign. */
static int check_signer(const struct lt_attester *a, const struct lt_quote *q, struct lt_err *e)
{
    struct lt_attest attest;
    uint8_t want[LT_TPM_NAME];

    LT_TRY(lt_attest_parse(q->attest, q->attest_n, &attest, e));
    LT_TRY(lt_tpm_qualified_name(&a->ek.pub, &a->ak, want, e));
    return lt_slice_eq(attest.qualified_signer, (struct lt_slice){want, sizeof want})
               ? 0
               : lt_fail(e, LT_E_TPM, "the quote was signed by another key than this agent's");
}

int lt_attester_quote(struct lt_device *d, const struct lt_attester *a, const void *extra, size_t n,
                      uint32_t mask, struct lt_quote *out, struct lt_err *e)
{
    int rc = lt_device_quote(d, a->key, extra, n, mask, out, e);

    if (!rc) {
        rc = check_signer(a, out, e);
        if (rc)
            lt_quote_free(out);
    }
    return rc ? diagnose(d, a, rc, e) : 0;
}

int lt_attester_activate(struct lt_device *d, const struct lt_attester *a, struct lt_slice credential,
                         uint8_t secret[LT_MAX_DIGEST], size_t *secret_n, struct lt_err *e)
{
    int rc = lt_agent_ak_activate(d, a->key, &a->ek, credential, secret, secret_n, e);

    return rc ? diagnose(d, a, rc, e) : 0;
}

void lt_attester_free(struct lt_attester *a)
{
    lt_agent_ek_certificates_free(&a->ek_certificates);
    *a = (struct lt_attester){0};
}
