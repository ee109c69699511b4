#include "agent/attester.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Guests: keylime-api 2.7. */
#define AK_GUEST_ATTRIBUTES (LT_AK_HOST_ATTRIBUTES & ~LT_OBJ_NO_DA)

/* The file of AK_h: the authValue, and the Name of the key that has it, so that a crash between making the
 * key and writing the file cannot pair them wrongly. */
struct host_secret {
    uint8_t auth[32], name[LT_NAME];
};

static struct lt_ak_spec spec_of(const struct lt_attester *a, struct lt_slice auth)
{
    return (struct lt_ak_spec){
        .alg = a->ak_alg,
        .attributes = a->home == LT_AK_HOST ? LT_AK_HOST_ATTRIBUTES : AK_GUEST_ATTRIBUTES,
        .auth = auth,
    };
}

/* Makes the AK under the EK and loads it; *blob is its wrapped form. */
static int make(struct lt_dev *d, const struct lt_ek *ek, const struct lt_ak_spec *spec, struct lt_buf *blob,
                ESYS_TR *key, struct lt_err *e)
{
    ESYS_TR parent;
    int rc = lt_ek_load(d, ek, &parent, e);

    if (!rc)
        rc = lt_ak_create(d, parent, spec, blob, e);
    if (!rc)
        rc = lt_ak_load(d, parent, blob->p, blob->n, spec->auth, key, e);
    lt_dev_flush(d, &parent);
    return rc;
}

static int load_wrapped(struct lt_dev *d, struct lt_attester *a, const struct lt_ek *ek, struct lt_public *ak,
                        struct lt_err *e)
{
    const struct lt_ak_spec spec = spec_of(a, (struct lt_slice){0});
    LT_AUTOBUF struct lt_buf blob = LT_BUF(LT_AK_BLOB);
    LT_AUTOFREE uint8_t *old = NULL;
    int rc = LT_E_REFUSED;
    ESYS_TR parent;
    size_t n;

    if (!access(a->file, F_OK)) {
        rc = lt_file_read_secret(a->file, LT_AK_BLOB, &old, &n, e);
        if (!rc)
            rc = lt_ek_load(d, ek, &parent, e);
        if (rc)
            return rc;
        rc = lt_ak_load(d, parent, old, n, spec.auth, &a->key, e);
        lt_dev_flush(d, &parent);
        if (!rc)
            rc = lt_ak_check(d, a->key, ek, &spec, ak, e);
        if (!rc || rc != LT_E_REFUSED)
            return rc;
        lt_dev_flush(d, &a->key);
        lt_log(LT_LOG_WARNING, "ak", "%s: %s; making a new AK, which the registrar must be told to accept",
               a->file, e->msg);
    }
    rc = make(d, ek, &spec, &blob, &a->key, e);
    if (!rc)
        rc = lt_file_write(a->file, blob.p, blob.n, 0600, e);
    return rc ? rc : lt_ak_check(d, a->key, ek, &spec, ak, e);
}

/* The key at the handle, if it is one of this EK's with these properties; else LT_E_REFUSED. */
static int find_at_handle(struct lt_dev *d, struct lt_attester *a, const struct lt_ek *ek,
                          const struct lt_ak_spec *spec, struct lt_public *ak, struct lt_err *e)
{
    int rc = lt_dev_find(d, a->handle, &a->key, e);

    if (!rc && a->key == ESYS_TR_NONE)
        return lt_fail(e, LT_E_REFUSED, "TPM handle 0x%x is empty", (unsigned)a->handle);
    if (!rc)
        rc = lt_ak_check(d, a->key, ek, spec, ak, e);
    if (rc)
        lt_dev_flush(d, &a->key);
    return rc;
}

static int make_at_handle(struct lt_dev *d, struct lt_attester *a, const struct lt_ek *ek,
                          const struct lt_ak_spec *spec, struct lt_public *ak, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf blob = LT_BUF(LT_AK_BLOB);
    ESYS_TR loaded = ESYS_TR_NONE;

    lt_log(LT_LOG_WARNING, "ak", "%s; making a new AK", e->msg);
    int rc = make(d, ek, spec, &blob, &loaded, e);
    if (!rc)
        rc = lt_ak_persist(d, loaded, a->handle, e);
    lt_dev_flush(d, &loaded);
    return rc ? rc : find_at_handle(d, a, ek, spec, ak, e);
}

static int load_handle(struct lt_dev *d, struct lt_attester *a, const struct lt_ek *ek, struct lt_public *ak,
                       struct lt_err *e)
{
    const struct lt_ak_spec spec = spec_of(a, (struct lt_slice){0});
    int rc = find_at_handle(d, a, ek, &spec, ak, e);

    return rc == LT_E_REFUSED ? make_at_handle(d, a, ek, &spec, ak, e) : rc;
}

static int load_host(struct lt_dev *d, struct lt_attester *a, const struct lt_ek *ek, struct lt_public *ak,
                     struct lt_err *e)
{
    struct host_secret secret;
    const struct lt_ak_spec spec = spec_of(a, (struct lt_slice){secret.auth, sizeof secret.auth});
    LT_AUTOFREE uint8_t *old = NULL;
    uint8_t name[LT_NAME];
    size_t n = 0;
    int rc = 0;

    if (!access(a->file, F_OK))
        rc = lt_file_read_secret(a->file, sizeof secret, &old, &n, e);
    if (rc)
        return rc;
    if (n == sizeof secret) {
        memcpy(&secret, old, n);
        lt_wipe(old, n);
        rc = find_at_handle(d, a, ek, &spec, ak, e);
        if (!rc)
            rc = lt_public_name(ak, name, e);
        if (!rc && memcmp(name, secret.name, sizeof name)) {
            lt_dev_flush(d, &a->key);
            rc = lt_fail(e, LT_E_REFUSED, "the key at TPM handle 0x%x is not the one of %s",
                         (unsigned)a->handle, a->file);
        }
    } else {
        rc = lt_fail(e, LT_E_REFUSED, "%s: %s", a->file, n ? "not a secret of ours" : "there is none yet");
    }
    if (rc == LT_E_REFUSED) {
        lt_random(secret.auth, sizeof secret.auth);
        rc = make_at_handle(d, a, ek, &spec, ak, e);
        if (!rc)
            rc = lt_public_name(ak, secret.name, e);
        if (!rc)
            rc = lt_file_write(a->file, &secret, sizeof secret, 0600, e);
    }
    lt_wipe(&secret, sizeof secret);
    return rc;
}

static int load(struct lt_dev *d, struct lt_attester *a, const struct lt_ek *ek, struct lt_public *ak,
                struct lt_err *e)
{
    switch (a->home) {
    case LT_AK_WRAPPED:
        return load_wrapped(d, a, ek, ak, e);
    case LT_AK_HANDLE:
        return load_handle(d, a, ek, ak, e);
    case LT_AK_HOST:
        return load_host(d, a, ek, ak, e);
    }
    return lt_fail(e, LT_E_INTERNAL, "AK home %d", (int)a->home);
}

int lt_attester_open(struct lt_dev *d, struct lt_attester *a, struct lt_err *e)
{
    struct lt_public ak;
    uint8_t name[LT_NAME];
    struct lt_ek ek;

    a->key = ESYS_TR_NONE;
    int rc = lt_ek_find(d, a->ek_alg, &ek, e);
    if (!rc && a->known &&
        !lt_slice_eq((struct lt_slice){ek.pub.raw, ek.pub.raw_n},
                     (struct lt_slice){a->ek.pub.raw, a->ek.pub.raw_n}))
        return lt_fail(e, LT_E_TPM,
                       "the TPM has another EK than at start: not the same TPM; restart the agent if it "
                       "was replaced on purpose");
    if (!rc)
        rc = load(d, a, &ek, &ak, e);
    if (!rc)
        rc = lt_public_name(&ak, name, e);
    if (rc)
        return rc;
    if (a->known)
        return memcmp(name, a->ak_name, sizeof name)
                   ? lt_fail(e, LT_E_TPM, "the AK is not the one of the start; restart the agent")
                   : 0;
    rc = lt_ek_certificates(d, &ek, a->home == LT_AK_HOST, &a->ek_certificates, e);
    if (rc)
        return rc;
    a->ek.alg = ek.alg;
    a->ek.at_handle = ek.at_handle;
    lt_public_copy(&a->ek.pub, &ek.pub);
    lt_public_copy(&a->ak, &ak);
    memcpy(a->ak_name, name, sizeof name);
    a->known = true;
    return 0;
}

void lt_attester_free(struct lt_attester *a)
{
    lt_ek_certificates_free(&a->ek_certificates);
    *a = (struct lt_attester){0};
}
