#include "agent/vault_api.h"

#include "agent/escrow.h"
#include "common/alloc.h"
#include "residency/proof.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_S 2

/* What may pass by itself keeps its name here: who asks waits for a vault, or for a TPM. */
static void reply_error(struct lt_http_req *req, const struct lt_err *why)
{
    struct lt_err e = *why;

    if (e.code == LT_E_TPM)
        e.code = LT_E_HOST_TPM;
    else if (e.code == LT_E_USAGE) /* the asker's, who shall read why */
        e.code = LT_E_MALFORMED;
    lt_http_reply_error(req, &e, lt_err_class(e.code) == LT_CLASS_RETRY ? RETRY_S : 0);
}

static bool has_vault(struct lt_http_req *req, const struct lt_agent_vault_api *v)
{
    struct lt_err e = {0};

    if (!v->seal) {
        (void)lt_fail(&e, LT_E_VAULT_NONE, "this agent keeps no vault");
        reply_error(req, &e);
    }
    return v->seal;
}

/* ---- work ---- */

struct job {
    struct lt_work_task task;
    struct lt_http_req *req;
    struct lt_agent_vault_api *vault;
    void (*fn)(struct lt_http_req *req, struct lt_agent_vault_api *v);
};

static void run(struct lt_work_task *t)
{
    struct job *j = LT_WORK_OWNER(t, struct job);
    struct lt_err e = {0};

    if (t->stopped) {
        (void)lt_fail(&e, LT_E_BUSY, "the agent stops");
        reply_error(j->req, &e);
    } else {
        j->fn(j->req, j->vault);
    }
    free(j);
}

static void post(struct lt_http_req *req, struct lt_agent_vault_api *v,
                 void (*fn)(struct lt_http_req *, struct lt_agent_vault_api *))
{
    struct job *j = lt_new(struct job);
    struct lt_err e = {0};

    *j = (struct job){.req = req, .vault = v, .fn = fn};
    lt_http_req_hold(req);
    if (!lt_work_offer(v->work, LT_WORK_USUAL, &j->task, run, &e))
        return;
    free(j);
    reply_error(req, &e);
}

/* ---- GET vault ---- */

static void reply_vault(struct lt_http_req *req, const struct lt_agent_vault_api *v, int status)
{
    static const struct lt_err none = {LT_E_NO_MEMORY, "vault: no memory"};
    json_t *j = lt_agent_seal_json(v->seal);

    if (j)
        lt_http_reply_json(req, status, j);
    else
        reply_error(req, &none);
}

static void get(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    reply_vault(req, v, 200);
}

void lt_agent_vault_get(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    if (has_vault(req, v))
        post(req, v, get);
}

/* ---- POST vault/seal ---- */

/* {} and null: the least that a state of ours holds. */
static int read_bitmap(const json_t *j, uint32_t *out, struct lt_err *e)
{
    static const char *const keys[] = {"bitmap", NULL};
    uint8_t raw[4];

    *out = LT_OPENERS_STATE_MIN;
    LT_TRY(lt_json_only(j, keys, e));
    if (!lt_json_has(j, "bitmap"))
        return 0;
    LT_TRY(lt_json_hex(j, "bitmap", raw, sizeof raw, e));
    *out = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
    return 0;
}

static void seal(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    struct lt_err e = {0};
    uint32_t bitmap;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);

    if (!j || read_bitmap(j, &bitmap, &e) || lt_agent_seal_create(v->seal, bitmap, &e))
        reply_error(req, &e);
    else
        reply_vault(req, v, 201);
}

void lt_agent_vault_seal(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    if (has_vault(req, v))
        post(req, v, seal);
}

/* ---- POST vault/reseal ---- */

struct reseal {
    struct lt_pcrs add[LT_MAX_SEAL_STATES];
    unsigned drop[LT_MAX_SEAL_STATES];
    unsigned add_n, drop_n;
};

static int read_state(const json_t *j, struct lt_pcrs *out, struct lt_err *e)
{
    LT_TRY(lt_residency_pcrs_from_json(j, LT_HASH_SHA256, out, e));
    if (lt_openers_state_mask(out->mask, e))
        return LT_E_MALFORMED;
    if ((out->mask & LT_OPENERS_STATE_MIN) != LT_OPENERS_STATE_MIN)
        return lt_fail(e, LT_E_MALFORMED, "PCR 0, 2, 4, 7-9, 12 and 14 are in every state");
    return 0;
}

static int read_add(const json_t *list, struct reseal *r, struct lt_err *e)
{
    const json_t *one;
    size_t i;

    json_array_foreach(list, i, one) LT_TRY_IN(read_state(one, &r->add[r->add_n++], e), e, "add, %zu", i);
    return 0;
}

static int read_drop(const json_t *list, struct reseal *r, struct lt_err *e)
{
    const json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        json_int_t n = json_is_integer(one) ? json_integer_value(one) : -1;
        if (n < 0 || n >= LT_MAX_SEAL_STATES)
            return lt_fail(e, LT_E_MALFORMED, "drop, %zu: not the number of a state", i);
        r->drop[r->drop_n++] = (unsigned)n;
    }
    return 0;
}

static int read_reseal(const json_t *j, struct reseal *r, struct lt_err *e)
{
    static const char *const keys[] = {"add", "drop", NULL};
    json_t *list;

    *r = (struct reseal){0};
    LT_TRY(lt_json_only(j, keys, e));
    if (lt_json_has(j, "add")) {
        LT_TRY(lt_json_array(j, "add", LT_MAX_SEAL_STATES, &list, e));
        LT_TRY(read_add(list, r, e));
    }
    if (!lt_json_has(j, "drop"))
        return 0;
    LT_TRY(lt_json_array(j, "drop", LT_MAX_SEAL_STATES, &list, e));
    return read_drop(list, r, e);
}

static void reseal(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    struct lt_err e = {0};
    struct reseal r;
    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);

    if (!j || read_reseal(j, &r, &e) || lt_agent_seal_reseal(v->seal, r.add, r.add_n, r.drop, r.drop_n, &e))
        reply_error(req, &e);
    else
        reply_vault(req, v, 200);
}

void lt_agent_vault_reseal(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    if (has_vault(req, v))
        post(req, v, reseal);
}

/* ---- lists and copies ---- */

void lt_agent_vault_openers(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);
    uint8_t digest[LT_SHA256];
    struct lt_err e = {0};

    if (!v->seal || lt_unhex(lt_http_req_arg(req, 0), digest, sizeof digest, &e)) {
        (void)lt_fail(&e, LT_E_NOT_FOUND, "no such openers");
        reply_error(req, &e);
    } else if (lt_agent_seal_openers(v->seal, digest, &b, &e)) {
        reply_error(req, &e);
    } else {
        lt_http_reply_bytes(req, 200, "application/octet-stream", lt_take(&b.p), b.n);
    }
}

static void escrow(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    uint8_t uuid[LT_UUID], *p;
    struct lt_err e = {0};
    size_t n;

    if (lt_uuid_parse(lt_http_req_arg(req, 0), uuid, &e)) {
        (void)lt_fail(&e, LT_E_NOT_FOUND, "no escrow copy of that vTPM is here");
        reply_error(req, &e);
    } else if (lt_agent_escrow_read(v->dir, uuid, &p, &n, &e)) {
        reply_error(req, &e);
    } else {
        lt_http_reply_bytes(req, 200, "application/octet-stream", p, n);
    }
}

void lt_agent_vault_escrow(struct lt_http_req *req, struct lt_agent_vault_api *v)
{
    post(req, v, escrow);
}
