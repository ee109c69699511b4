#include "tests/support/seal_forge.h"

#include "agent/seal_memory.h"
#include "common/file.h"
#include "common/ids.h"

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#define NONE ESYS_TR_NONE
#define ATTRIBUTES_AT 6 /* of TPM2B_PUBLIC */

struct make_job {
    const struct seal_forge *f;
    const struct seal_forge_key *k;
    const uint8_t *policy;
    struct lt_buf *public, *private;
};

static int put_key(struct make_job *m, const TPM2B_PUBLIC *pub, const TPM2B_PRIVATE *priv, struct lt_err *e)
{
    uint8_t raw[sizeof *pub + sizeof *priv];
    size_t a = 0, b = 0;

    if (Tss2_MU_TPM2B_PUBLIC_Marshal(pub, raw, sizeof raw, &a))
        return lt_fail(e, LT_E_TPM, "TPM2B_PUBLIC");
    lt_buf_put(m->public, raw, a);
    if (Tss2_MU_TPM2B_PRIVATE_Marshal(priv, raw, sizeof raw, &b))
        return lt_fail(e, LT_E_TPM, "TPM2B_PRIVATE");
    lt_buf_put(m->private, raw, b);
    return lt_buf_ok(m->private, e);
}

/* A storage key of the owner's: the parent that is not the EK. */
static int owners_key(struct lt_device *d, ESYS_TR *out, struct lt_err *e)
{
    TPM2B_SENSITIVE_CREATE sensitive = {0};
    TPM2B_DATA outside = {0};
    TPML_PCR_SELECTION none = {0};
    TPM2B_PUBLIC t = {
        .publicArea = {.type = TPM2_ALG_ECC, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = 0x00030472}};

    t.publicArea.parameters.eccDetail = (TPMS_ECC_PARMS){
        .symmetric = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB},
        .scheme.scheme = TPM2_ALG_NULL,
        .curveID = TPM2_ECC_NIST_P256,
        .kdf.scheme = TPM2_ALG_NULL};
    return lt_device_rc(d,
                        Esys_CreatePrimary(d->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, NONE, NONE,
                                           &sensitive, &t, &outside, &none, out, NULL, NULL, NULL, NULL),
                        "TPM2_CreatePrimary(owner)", e);
}

static int make_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct make_job *m = arg;
    TPM2B_SENSITIVE_CREATE sensitive = {0};
    TPM2B_DATA outside = {0};
    TPML_PCR_SELECTION none = {0};
    TPM2B_PUBLIC template = {0}, *pub = NULL;
    TPM2B_PRIVATE *priv = NULL;
    uint8_t bytes[LT_SEAL_KEY_TEMPLATE];
    size_t at = 0, n = lt_seal_key_template(LT_SEAL_KEY_HMAC, m->policy, bytes);
    ESYS_TR parent = NONE, session = ESYS_TR_PASSWORD;

    if (m->k->attributes)
        lt_put_u32(bytes + ATTRIBUTES_AT, m->k->attributes);
    if (m->k->known)
        sensitive.sensitive.data = (TPM2B_SENSITIVE_DATA){.size = 32, .buffer = {1, 2, 3}};
    LT_TRY(lt_device_rc(d, Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes, n, &at, &template), "template", e));
    LT_TRY(m->k->storage ? owners_key(d, &parent, e) : lt_agent_ek_load(d, m->f->ek, &parent, e));
    int rc = m->k->storage ? 0 : lt_agent_ek_session(d, &session, e);
    if (!rc)
        rc = lt_device_rc(d,
                          Esys_Create(d->esys, parent, session, NONE, NONE, &sensitive, &template, &outside,
                                      &none, &priv, &pub, NULL, NULL, NULL),
                          "TPM2_Create(forged)", e);
    if (session != ESYS_TR_PASSWORD)
        lt_device_flush(d, &session);
    lt_device_flush(d, &parent);
    if (!rc)
        rc = put_key(m, pub, priv, e);
    Esys_Free(pub);
    Esys_Free(priv);
    return rc;
}

static void policy_of(const struct seal_forge_key *k, struct lt_seal_key_states states, uint64_t generation,
                      uint8_t out[LT_SHA256])
{
    if (k->extra_state) {
        states.state[states.count] = states.state[0];
        memset(states.state[states.count++].value[4], 0x44, LT_SHA256);
    }
    if (k->any_counter)
        lt_seal_key_or_policy(&states, out);
    else
        lt_seal_key_policy(&states, k->limit ? k->limit : generation, out);
}

static int write_file(const struct seal_forge *f, const struct lt_agent_seal_content *c,
                      struct lt_slice public, struct lt_slice private, const uint8_t km[LT_SHA256],
                      struct lt_err *e)
{
    const struct lt_agent_seal_files *files = f->ops.file_ctx;
    struct lt_seal_vault_draft draft = {
        .generation = c->generation, .states = &c->states, .public = public, .private = private};
    LT_AUTOBUF struct lt_buf file = LT_BUF(LT_MAX_VAULT);
    size_t n = lt_seal_vault_plain_size(c->entries, c->count);
    LT_AUTOFREE uint8_t *plain = malloc(n);

    memcpy(draft.host_ek_digest, f->host_ek_digest, LT_SHA256);
    lt_seal_vault_plain_put(c->entries, c->count, plain);
    LT_TRY(lt_seal_vault_seal(&draft, km, (struct lt_slice){plain, n}, &file, e));
    return lt_file_write(files->vault, file.p, file.n, 0600, e);
}

int seal_forge_file(const struct seal_forge *f, const struct seal_forge_key *k, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf public = LT_BUF(LT_MAX_PUBLIC), private = LT_BUF(LT_MAX_PUBLIC);
    struct lt_agent_seal_content c;
    uint8_t policy[LT_SHA256], km[LT_SHA256] = {0};

    int rc = lt_agent_seal_commit_open(&f->ops, f->host_ek_digest, &c, e);
    if (!rc) {
        policy_of(k, c.states, c.generation, policy);
        rc = lt_tpm_call(f->tpm, make_job, &(struct make_job){f, k, policy, &public, &private}, e);
    }
    if (!rc) {
        const struct lt_agent_seal_question q = {.kind = LT_SEAL_KEY_HMAC,
                                                 .public = {public.p, public.n},
                                                 .private = {private.p, private.n},
                                                 .states = &c.states,
                                                 .generation = c.generation};
        /* Where the chip itself stands in the way, any KM is as good. */
        (void)!f->ops.chip->answer(f->ops.chip_ctx, &q, km, LT_NO_ERR);
        rc = write_file(f, &c, q.public, q.private, km, e);
    }
    lt_agent_seal_content_free(&c);
    return rc;
}

int seal_forge_ungrown(const struct seal_forge *f, const struct lt_pcrs *state, struct lt_err *e)
{
    struct lt_agent_seal_content c;
    int rc = lt_agent_seal_commit_open(&f->ops, f->host_ek_digest, &c, e);

    if (!rc) {
        c.states.state[c.states.count++] = *state;
        rc = lt_agent_seal_commit(&f->ops, f->host_ek_digest, &c, e);
    }
    lt_agent_seal_content_free(&c);
    return rc;
}

struct ask_job {
    const struct seal_forge *f;
    const struct lt_seal_vault *v;
    bool password;
};

static int load_key(struct lt_device *d, const struct ask_job *a, ESYS_TR ek, ESYS_TR *out, struct lt_err *e)
{
    const struct lt_seal_vault_compartment *one = &a->v->one[0];
    TPM2B_PUBLIC public = {0};
    TPM2B_PRIVATE private = {0};
    size_t m = 0, n = 0;
    ESYS_TR session;

    if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(one->public.p, one->public.n, &m, &public) ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(one->private.p, one->private.n, &n, &private))
        return lt_fail(e, LT_E_INTERNAL, "the file's key");
    LT_TRY(lt_agent_ek_session(d, &session, e));
    int rc =
        lt_device_rc(d, Esys_Load(d->esys, ek, session, NONE, NONE, &private, &public, out), "TPM2_Load", e);
    lt_device_flush(d, &session);
    return rc;
}

static int ask_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    const TPMT_SYM_DEF plain = {.algorithm = TPM2_ALG_NULL};
    const TPM2B_MAX_BUFFER message = {.size = 1};
    struct ask_job *a = arg;
    TPM2B_DIGEST *got = NULL;
    ESYS_TR ek, key = NONE, session = NONE;

    LT_TRY(lt_agent_ek_load(d, a->f->ek, &ek, e));
    int rc = load_key(d, a, ek, &key, e);
    if (!rc && !a->password)
        rc = lt_device_rc(d,
                          Esys_StartAuthSession(d->esys, NONE, NONE, NONE, NONE, NONE, NULL, TPM2_SE_HMAC,
                                                &plain, TPM2_ALG_SHA256, &session),
                          "TPM2_StartAuthSession", e);
    if (!rc)
        rc = lt_device_rc(d,
                          Esys_HMAC(d->esys, key, a->password ? ESYS_TR_PASSWORD : session, NONE, NONE,
                                    &message, TPM2_ALG_NULL, &got),
                          "TPM2_HMAC", e);
    Esys_Free(got);
    lt_device_flush(d, &session);
    lt_device_flush(d, &key);
    lt_device_flush(d, &ek);
    return rc;
}

int seal_forge_ask(const struct seal_forge *f, const char *how, struct lt_err *e)
{
    const struct lt_agent_seal_files *files = f->ops.file_ctx;
    LT_AUTOFREE uint8_t *p = NULL;
    struct lt_seal_vault v;
    size_t n;

    LT_TRY(lt_file_read(files->vault, LT_MAX_VAULT, &p, &n, e));
    LT_TRY(lt_seal_vault_parse(p, n, &v, e));
    return lt_tpm_call(f->tpm, ask_job, &(struct ask_job){f, &v, !strcmp(how, "password")}, e);
}

static int fill_one(const struct seal_forge *f, struct lt_agent_seal_content *c, uint32_t i, struct lt_err *e)
{
    struct lt_seal_entry *x = &c->entries[i];

    lt_random(x->ek_digest, sizeof x->ek_digest);
    lt_random(x->uuid, sizeof x->uuid);
    lt_put_u32(x->uuid, i); /* they ascend */
    lt_seal_key_new(x->key);
    x->origin = LT_SEAL_MADE;
    return lt_seal_change_complete(&c->states, f->host_ek_digest, x, e);
}

int seal_forge_fill(const struct seal_forge *f, uint32_t n, struct lt_err *e)
{
    struct lt_agent_seal_content was, c;
    int rc = lt_agent_seal_commit_open(&f->ops, f->host_ek_digest, &was, e);

    if (!rc)
        rc = lt_agent_seal_content_new(n, &c, e);
    if (rc)
        return rc;
    c.generation = was.generation;
    c.kind = was.kind;
    c.states = was.states;
    for (c.count = 0; !rc && c.count < n; c.count++)
        rc = fill_one(f, &c, c.count, e);
    if (!rc)
        rc = lt_agent_seal_commit(&f->ops, f->host_ek_digest, &c, e);
    lt_agent_seal_content_free(&was);
    lt_agent_seal_content_free(&c);
    return rc;
}
