#include "agent/seal_chip.h"

#include "agent/fault.h"
#include "common/run/clock.h"

#include <string.h>
#include <time.h>
#include <tss2/tss2_mu.h>

#define NONE ESYS_TR_NONE
#define RETRY_NS 10000000
#define RATE_NS 100000000

#define AUTOESYS __attribute__((cleanup(esys_free)))
static void esys_free(void *pp)
{
    Esys_Free(*(void **)pp);
}

/* The TPM's own code, also where a resource manager says it for the TPM. */
static TSS2_RC own_code(TSS2_RC rc)
{
    return (rc & TSS2_RC_LAYER_MASK) == TSS2_RESMGR_TPM_RC_LAYER ? rc & 0xffff : rc;
}

static bool unknown_command(TSS2_RC rc)
{
    return own_code(rc) == TPM2_RC_COMMAND_CODE || own_code(rc) == TPM2_RC_DISABLED;
}

/* The TPM judged what it was given (format one), and would again. */
static bool refused(const struct lt_device *d, TSS2_RC rc)
{
    return rc && !d->lost && !(own_code(rc) & TSS2_RC_LAYER_MASK) && (own_code(rc) & TPM2_RC_FMT1);
}

static int chip_call(struct lt_agent_seal_chip *c, lt_tpm_fn fn, void *arg, struct lt_err *e)
{
    return lt_tpm_call(c->tpm, fn, arg, e);
}

/* ---- which kind of key ---- */

static int has_command(struct lt_device *d, TPM2_CC command, bool *out, struct lt_err *e)
{
    AUTOESYS TPMS_CAPABILITY_DATA *cap = NULL;
    TPMI_YES_NO more;
    int rc = lt_device_rc(
        d, Esys_GetCapability(d->esys, NONE, NONE, NONE, TPM2_CAP_COMMANDS, command, 1, &more, &cap),
        "TPM2_GetCapability(commands)", e);

    /* The list begins with the first command that is not below the one asked for. */
    *out = !rc && cap->data.command.count &&
           (cap->data.command.commandAttributes[0] & TPMA_CC_COMMANDINDEX_MASK) == command;
    return rc;
}

static int kinds_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    unsigned *kinds = arg;
    bool hmac, ecdh;

    LT_TRY(has_command(d, TPM2_CC_HMAC, &hmac, e));
    LT_TRY(has_command(d, TPM2_CC_ECDH_ZGen, &ecdh, e));
    *kinds = (hmac ? 1u << LT_SEAL_KEY_HMAC : 0) | (ecdh ? 1u << LT_SEAL_KEY_ECDH : 0);
    return 0;
}

static int chip_kinds(void *ctx, unsigned *out, struct lt_err *e)
{
    return chip_call(ctx, kinds_job, out, e);
}

/* ---- the counter ---- */

/* *out: to be closed; NONE when it is not there. LT_E_COUNTER_LOST when what is there is another's: Names
 * hold attributes, policy, size, and whether it was ever written. */
static int find_counter(struct lt_device *d, ESYS_TR *out, bool *written, struct lt_err *e)
{
    AUTOESYS TPM2B_NAME *name = NULL;

    *written = false;
    LT_TRY(lt_device_find(d, LT_SEAL_KEY_NV, out, e));
    if (*out == NONE)
        return 0;
    int rc = lt_device_rc(d, Esys_TR_GetName(d->esys, *out, &name), "the counter's Name", e);
    if (!rc) {
        struct lt_slice is = {name->name, name->size};
        *written = lt_slice_eq(is, (struct lt_slice){lt_seal_key_nv_name, LT_TPM_NAME});
        if (!*written && !lt_slice_eq(is, (struct lt_slice){lt_seal_key_nv_name_unwritten, LT_TPM_NAME}))
            rc = lt_fail(
                e, LT_E_COUNTER_LOST,
                "TPM NV index 0x%x is not the vault's counter, but another's; nothing was changed there",
                LT_SEAL_KEY_NV);
    }
    if (rc)
        Esys_TR_Close(d->esys, out);
    return rc;
}

static int read_counter(struct lt_device *d, ESYS_TR nv, uint64_t *out, struct lt_err *e)
{
    AUTOESYS TPM2B_MAX_NV_BUFFER *b = NULL;

    LT_TRY(lt_device_rc(
        d, Esys_NV_Read(d->esys, nv, nv, ESYS_TR_PASSWORD, NONE, NONE, LT_SEAL_KEY_NV_SIZE, 0, &b),
        "TPM2_NV_Read(counter)", e));
    struct lt_reader r = lt_reader(b->buffer, b->size, "the counter");
    LT_TRY(lt_read_u64(&r, out, e));
    return lt_reader_end(&r, e);
}

static int open_counter(struct lt_device *d, ESYS_TR *out, struct lt_err *e)
{
    bool written;

    LT_TRY(find_counter(d, out, &written, e));
    if (written)
        return 0;
    if (*out != NONE)
        Esys_TR_Close(d->esys, out);
    return lt_fail(e, LT_E_NOT_FOUND, "the vault's counter (TPM NV index 0x%x) is not there", LT_SEAL_KEY_NV);
}

static int counter_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    ESYS_TR nv;

    LT_TRY(open_counter(d, &nv, e));
    int rc = read_counter(d, nv, arg, e);
    Esys_TR_Close(d->esys, &nv);
    return rc;
}

static int chip_counter(void *ctx, uint64_t *out, struct lt_err *e)
{
    int rc = chip_call(ctx, counter_job, out, e);

    LT_FAULT_AT(SEAL_COUNTER_READ);
    return rc;
}

/* The chip wants a pause between writes. */
static bool wants_a_pause(TSS2_RC rc)
{
    return own_code(rc) == TPM2_RC_NV_RATE || own_code(rc) == TPM2_RC_NV_UNAVAILABLE;
}

static int increment_once(struct lt_device *d, ESYS_TR nv, bool *later, struct lt_err *e)
{
    TSS2_RC tss = Esys_NV_Increment(d->esys, nv, nv, ESYS_TR_PASSWORD, NONE, NONE);

    *later = wants_a_pause(tss);
    return lt_device_rc(d, tss, "TPM2_NV_Increment", e);
}

/* Runs a job that sets *later until it does not, or for as long as an answer may take. */
static int call_patiently(struct lt_agent_seal_chip *c, lt_tpm_fn fn, void *arg, const bool *later,
                          struct lt_err *e)
{
    const struct timespec pause = {.tv_nsec = RATE_NS};
    const uint64_t until = lt_clock_ms() + c->still_ms;

    for (;;) {
        int rc = chip_call(c, fn, arg, e);
        if (!rc || !*later || lt_clock_ms() >= until)
            return rc;
        nanosleep(&pause, NULL);
    }
}

static int define(struct lt_device *d, ESYS_TR *out, struct lt_err *e)
{
    const TPM2B_AUTH no_auth = {0};
    const TPM2B_NV_PUBLIC public = {.nvPublic = {.nvIndex = LT_SEAL_KEY_NV,
                                                 .nameAlg = TPM2_ALG_SHA256,
                                                 .attributes = LT_SEAL_KEY_NV_ATTRIBUTES,
                                                 .dataSize = LT_SEAL_KEY_NV_SIZE}};
    int rc = lt_device_rc(
        d,
        Esys_NV_DefineSpace(d->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, NONE, NONE, &no_auth, &public, out),
        "TPM2_NV_DefineSpace(counter)", e);

    LT_FAULT_AT(SEAL_COUNTER_DEFINED);
    return rc;
}

/* What a run of it left behind that was cut off is gone on with. */
static int define_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    bool written, *later = arg;
    ESYS_TR nv;

    *later = false;
    LT_TRY(find_counter(d, &nv, &written, e));
    int rc = nv == NONE ? define(d, &nv, e) : 0;
    if (!rc && !written)
        rc = increment_once(d, nv, later, e);
    if (nv != NONE)
        Esys_TR_Close(d->esys, &nv);
    return rc;
}

static int chip_define(void *ctx, struct lt_err *e)
{
    bool later = false;
    return call_patiently(ctx, define_job, &later, &later, e);
}

struct increment {
    uint64_t from;
    bool later;
};

/* Run again after its answer was lost, it finds the counter where it wanted it. */
static int increment_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct increment *i = arg;
    const uint64_t from = i->from;
    uint64_t now;
    ESYS_TR nv;

    i->later = false;
    LT_TRY(open_counter(d, &nv, e));
    int rc = read_counter(d, nv, &now, e);
    if (!rc && now == from)
        rc = increment_once(d, nv, &i->later, e);
    if (!rc)
        rc = read_counter(d, nv, &now, e);
    if (!rc && now != from + 1)
        rc = lt_fail(e, LT_E_VAULT_STALE, "the counter is at %llu, not %llu: somebody else incremented it",
                     (unsigned long long)now, (unsigned long long)from + 1);
    Esys_TR_Close(d->esys, &nv);
    return rc;
}

static int chip_increment(void *ctx, uint64_t from, struct lt_err *e)
{
    struct increment i = {.from = from};
    int rc = call_patiently(ctx, increment_job, &i, &i.later, e);

    LT_FAULT_AT(SEAL_INCREMENTED);
    return rc;
}

/* ---- PCRs ---- */

static int present_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct lt_pcrs *p = arg;
    return lt_device_pcr_read(d, p->mask, p, e);
}

static int chip_present(void *ctx, uint32_t mask, struct lt_pcrs *out, struct lt_err *e)
{
    *out = (struct lt_pcrs){.alg = LT_HASH_SHA256, .mask = mask};
    return chip_call(ctx, present_job, out, e);
}

/* ---- the EK ---- */

void lt_agent_seal_chip_forget(struct lt_agent_seal_chip *c)
{
    Esys_Free(c->saved);
    c->saved = NULL;
}

/* Saved, not left loaded: quotes come in between, and a chip has three places. It is this chip's alone. */
static void save_ek(struct lt_device *d, struct lt_agent_seal_chip *c, ESYS_TR ek)
{
    TPMS_CONTEXT *context = NULL;

    if (c->ek->at_handle || Esys_ContextSave(d->esys, ek, &context))
        return;
    lt_agent_seal_chip_forget(c);
    c->saved = context;
}

/* A chip that was reset takes no context of before. */
static int load_ek(struct lt_device *d, const struct lt_agent_seal_chip *c, ESYS_TR *out, struct lt_err *e)
{
    if (c->saved && !Esys_ContextLoad(d->esys, c->saved, out))
        return 0;
    return lt_agent_ek_load(d, c->ek, out, e);
}

/* ---- the key ---- */

struct make {
    struct lt_agent_seal_chip *chip;
    enum lt_seal_key_kind kind;
    const uint8_t *policy;
    struct lt_buf *public, *private;
};

static int create(struct lt_device *d, const struct make *m, ESYS_TR ek, ESYS_TR session,
                  TPM2B_PUBLIC **public, TPM2B_PRIVATE **private, struct lt_err *e)
{
    uint8_t bytes[LT_SEAL_KEY_TEMPLATE];
    TPM2B_SENSITIVE_CREATE sensitive = {0};
    TPM2B_DATA outside = {0};
    TPML_PCR_SELECTION none = {0};
    TPM2B_PUBLIC template = {0};
    size_t at = 0;

    size_t n = lt_seal_key_template(m->kind, m->policy, bytes);
    LT_TRY(lt_device_rc(d, Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes, n, &at, &template),
                        "the vault key's template", e));
    TSS2_RC tss = Esys_Create(d->esys, ek, session, NONE, NONE, &sensitive, &template, &outside, &none,
                              private, public, NULL, NULL, NULL);
    int rc = lt_device_rc(d, tss, "TPM2_Create(vault key)", e);
    return refused(d, tss) ? lt_fail_in(e, LT_E_TPM_NO_HMAC, "this TPM makes no such key") : rc;
}

static int make_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    AUTOESYS TPM2B_PUBLIC *public = NULL;
    AUTOESYS TPM2B_PRIVATE *private = NULL;
    uint8_t raw[sizeof *public + sizeof *private];
    struct make *m = arg;
    ESYS_TR ek, session = NONE;
    size_t a = 0, b = 0;

    LT_TRY(load_ek(d, m->chip, &ek, e));
    int rc = lt_agent_ek_session(d, &session, e);
    if (!rc)
        rc = create(d, m, ek, session, &public, &private, e);
    if (!rc)
        save_ek(d, m->chip, ek);
    lt_device_flush(d, &session);
    lt_device_flush(d, &ek);
    if (!rc)
        rc = lt_device_rc(d, Tss2_MU_TPM2B_PUBLIC_Marshal(public, raw, sizeof raw, &a), "TPM2B_PUBLIC", e);
    b = a;
    if (!rc)
        rc = lt_device_rc(d, Tss2_MU_TPM2B_PRIVATE_Marshal(private, raw, sizeof raw, &b), "TPM2B_PRIVATE", e);
    if (rc)
        return rc;
    m->public->n = m->private->n = 0; /* of a run before */
    lt_buf_put(m->public, raw, a);
    lt_buf_put(m->private, raw + a, b - a);
    LT_TRY(lt_buf_ok(m->public, e));
    return lt_buf_ok(m->private, e);
}

static int chip_make(void *ctx, enum lt_seal_key_kind kind, const uint8_t policy[LT_SHA256],
                     struct lt_buf *public, struct lt_buf *private, struct lt_err *e)
{
    struct lt_agent_seal_chip *c = ctx;
    struct make m = {c, kind, policy, public, private};
    int rc = chip_call(c, make_job, &m, e);

    LT_FAULT_AT(SEAL_KEY_MADE);
    return rc;
}

/* ---- its answer ---- */

struct answer {
    const struct lt_agent_seal_chip *chip;
    const struct lt_agent_seal_question *q;
    uint8_t *km;
    bool moved; /* a PCR, whichever, between PolicyPCR and the answer: IMA's 10 does so all the time */
};

static int load(struct lt_device *d, const struct lt_agent_seal_question *q, ESYS_TR ek, ESYS_TR *out,
                struct lt_err *e)
{
    TPM2B_PUBLIC public = {0};
    TPM2B_PRIVATE private = {0};
    size_t a = 0, b = 0;
    ESYS_TR session;

    if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(q->public.p, q->public.n, &a, &public) || a != q->public.n ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(q->private.p, q->private.n, &b, &private) || b != q->private.n)
        return lt_fail(e, LT_E_VAULT_FORGED, "the vault's key is not TPM2B_PUBLIC and TPM2B_PRIVATE");
    LT_TRY(lt_agent_ek_session(d, &session, e));
    TSS2_RC tss = Esys_Load(d->esys, ek, session, NONE, NONE, &private, &public, out);
    int rc = lt_device_rc(d, tss, "TPM2_Load(vault key)", e);
    lt_device_flush(d, &session);
    return refused(d, tss)
               ? lt_fail_in(e, LT_E_VAULT_FORGED, "the vault's key is not a child of this TPM's EK")
               : rc;
}

/* Salted with the EK and the answer encrypted: who listens on the bus hears no KM. */
static int start_session(struct lt_device *d, ESYS_TR ek, ESYS_TR *out, struct lt_err *e)
{
    const TPMT_SYM_DEF aes = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    const TPMA_SESSION want = TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION;

    LT_TRY(lt_device_rc(d,
                        Esys_StartAuthSession(d->esys, ek, NONE, NONE, NONE, NONE, NULL, TPM2_SE_POLICY, &aes,
                                              TPM2_ALG_SHA256, out),
                        "TPM2_StartAuthSession(salted)", e));
    return lt_device_rc(d, Esys_TRSess_SetAttributes(d->esys, *out, want, 0xff), "session attributes", e);
}

static int policy_pcr_or(struct lt_device *d, const struct lt_agent_seal_question *q, ESYS_TR session,
                         struct lt_err *e)
{
    const TPM2B_DIGEST as_they_are = {0};
    const unsigned count = q->states->count;
    TPML_PCR_SELECTION pcrs = {.count = 1, .pcrSelections[0] = {.hash = TPM2_ALG_SHA256, .sizeofSelect = 3}};
    TPML_DIGEST list = {.count =
                            count < 2 ? 2 : count}; /* one branch is given twice: PolicyOR takes no single */

    for (unsigned i = 0; i < 3; i++)
        pcrs.pcrSelections[0].pcrSelect[i] = (BYTE)(q->states->state[q->present].mask >> 8 * i);
    for (unsigned i = 0; i < list.count; i++) {
        list.digests[i].size = LT_SHA256;
        lt_seal_key_pcr_policy(&q->states->state[i < count ? i : 0], list.digests[i].buffer);
    }
    LT_TRY(lt_device_rc(d, Esys_PolicyPCR(d->esys, session, NONE, NONE, NONE, &as_they_are, &pcrs),
                        "TPM2_PolicyPCR", e));
    TSS2_RC tss = Esys_PolicyOR(d->esys, session, NONE, NONE, NONE, &list);
    int rc = lt_device_rc(d, tss, "TPM2_PolicyOR", e);
    return refused(d, tss) ? lt_fail(e, LT_E_VAULT_LOCKED,
                                     "the present platform state is none that the vault's key answers in")
                           : rc;
}

static int policy_nv(struct lt_device *d, const struct lt_agent_seal_question *q, ESYS_TR session,
                     struct lt_err *e)
{
    TPM2B_OPERAND limit = {.size = 8};
    ESYS_TR nv;

    lt_put_u64(limit.buffer, q->generation);
    LT_TRY(open_counter(d, &nv, e));
    TSS2_RC tss =
        Esys_PolicyNV(d->esys, nv, nv, session, ESYS_TR_PASSWORD, NONE, NONE, &limit, 0, TPM2_EO_UNSIGNED_LE);
    int rc = lt_device_rc(d, tss, "TPM2_PolicyNV", e);
    Esys_TR_Close(d->esys, &nv);
    return own_code(tss) == TPM2_RC_POLICY
               ? lt_fail(e, LT_E_VAULT_STALE, "the counter is above the vault's generation %llu",
                         (unsigned long long)q->generation)
               : rc;
}

static int ask_hmac(struct lt_device *d, ESYS_TR key, ESYS_TR session, const struct lt_agent_seal_question *q,
                    uint8_t km[LT_SHA256], TSS2_RC *tss, struct lt_err *e)
{
    AUTOESYS TPM2B_DIGEST *got = NULL;
    TPM2B_MAX_BUFFER message = {.size = LT_SEAL_KEY_MESSAGE};

    lt_seal_key_message(q->generation, q->compartment, message.buffer);
    *tss = Esys_HMAC(d->esys, key, session, NONE, NONE, &message, TPM2_ALG_NULL, &got);
    LT_TRY(lt_device_rc(d, *tss, "TPM2_HMAC", e));
    int rc = got->size == LT_SHA256 ? 0 : lt_fail(e, LT_E_TPM, "TPM2_HMAC: %u bytes", got->size);
    if (!rc)
        memcpy(km, got->buffer, LT_SHA256);
    lt_wipe(got, sizeof *got);
    return rc;
}

static int ask_ecdh(struct lt_device *d, ESYS_TR key, ESYS_TR session, uint8_t km[LT_SHA256], TSS2_RC *tss,
                    struct lt_err *e)
{
    AUTOESYS TPM2B_ECC_POINT *got = NULL;
    TPM2B_ECC_POINT in = {.point = {.x = {.size = LT_SHA256}, .y = {.size = LT_SHA256}}};

    lt_seal_key_point(in.point.x.buffer, in.point.y.buffer);
    *tss = Esys_ECDH_ZGen(d->esys, key, session, NONE, NONE, &in, &got);
    LT_TRY(lt_device_rc(d, *tss, "TPM2_ECDH_ZGen", e));
    int rc = lt_seal_key_of_point((struct lt_slice){got->point.x.buffer, got->point.x.size},
                                  (struct lt_slice){got->point.y.buffer, got->point.y.size}, km, e);
    lt_wipe(got, sizeof *got);
    return rc;
}

static int ask(struct lt_device *d, struct answer *a, ESYS_TR key, ESYS_TR session, struct lt_err *e)
{
    TSS2_RC tss = 0;
    int rc = a->q->kind == LT_SEAL_KEY_HMAC ? ask_hmac(d, key, session, a->q, a->km, &tss, e)
                                            : ask_ecdh(d, key, session, a->km, &tss, e);

    a->moved = own_code(tss) == TPM2_RC_PCR_CHANGED;
    if (unknown_command(tss))
        return lt_fail_in(e, LT_E_TPM_NO_HMAC, "what the vault's key needs, this TPM refuses");
    return refused(d, tss) ? lt_fail_in(e, LT_E_VAULT_FORGED, "the vault's key does not answer to its policy")
                           : rc;
}

static int answer_job(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct answer *a = arg;
    ESYS_TR ek, key = NONE, session = NONE;

    a->moved = false;
    LT_TRY(load_ek(d, a->chip, &ek, e));
    int rc = load(d, a->q, ek, &key, e);
    if (!rc)
        rc = start_session(d, ek, &session, e);
    if (!rc)
        rc = policy_pcr_or(d, a->q, session, e);
    if (!rc)
        rc = policy_nv(d, a->q, session, e);
    if (!rc)
        rc = ask(d, a, key, session, e);
    lt_device_flush(d, &session);
    lt_device_flush(d, &key);
    lt_device_flush(d, &ek);
    return rc;
}

static int answer_patiently(struct lt_agent_seal_chip *c, const struct lt_agent_seal_question *q,
                            uint8_t km[LT_SHA256], struct lt_err *e)
{
    const struct timespec pause = {.tv_nsec = RETRY_NS};
    struct answer a = {c, q, km, false};
    const uint64_t until = lt_clock_ms() + c->still_ms;

    for (;;) {
        int rc = chip_call(c, answer_job, &a, e);
        if (!rc || !a.moved)
            return rc;
        if (lt_clock_ms() >= until)
            return lt_fail(e, LT_E_VAULT_BUSY,
                           "for %u s some PCR was extended each time the vault's key was asked; try again",
                           c->still_ms / 1000);
        nanosleep(&pause, NULL);
    }
}

static int chip_answer(void *ctx, const struct lt_agent_seal_question *q, uint8_t km[LT_SHA256],
                       struct lt_err *e)
{
    int rc = answer_patiently(ctx, q, km, e);

    lt_agent_seal_chip_forget(ctx);
    return rc;
}

const struct lt_agent_seal_chip_ops lt_agent_seal_chip_ops = {
    .kinds = chip_kinds,
    .counter = chip_counter,
    .counter_define = chip_define,
    .increment = chip_increment,
    .present = chip_present,
    .make = chip_make,
    .answer = chip_answer,
};
