#include "agent/host_api.h"

#include "agent/measurements.h"
#include "common/alloc.h"
#include "common/ima_list.h"
#include "residency/activation.h"
#include "residency/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_S 1

static json_t *inventory_json(const struct lt_inventory_snapshot *s)
{
    json_t *records = json_array();
    uint8_t raw[LT_RESIDENCY_RECORD];

    for (uint32_t i = 0; i < s->count; i++) {
        size_t n = lt_residency_record_write(&s->records[i], raw);
        json_array_append_new(records, lt_json_new_base64(raw, n));
    }
    return json_pack("{s:I, s:o, s:o}", "seq", (json_int_t)s->seq, "root",
                     lt_json_new_hex(lt_merkle_root(s->tree), LT_MERKLE_NODE), "records", records);
}

/* What may pass by itself is 503 here: the TPM's trouble under a name of its own (docs/api.md). */
static void reply_error(struct lt_http_req *req, const struct lt_err *why)
{
    struct lt_err e = *why;

    if (e.code == LT_E_TPM)
        e.code = LT_E_HOST_TPM;
    else if (lt_err_class(e.code) == LT_CLASS_RETRY)
        e.code = LT_E_BUSY;
    lt_http_reply_error(req, &e, lt_err_class(e.code) == LT_CLASS_RETRY ? RETRY_S : 0);
}

/* With body (taken), or with the error when there is none. */
static void reply(struct lt_http_req *req, json_t *body, const struct lt_err *e)
{
    static const struct lt_err none = {LT_E_NO_MEMORY, "reply: no memory"};

    if (body)
        lt_http_reply_json(req, 200, body);
    else
        reply_error(req, e && e->code ? e : &none);
}

/* ---- GET host ---- */
static void host(struct lt_http_req *req, void *app)
{
    struct lt_host_api *api = app;
    const struct lt_attester *a = api->attester;
    const struct lt_inventory_snapshot *snapshot;
    struct lt_err e = {0};

    if (lt_inventory_snapshot(api->inventory, &snapshot, &e)) {
        reply_error(req, &e);
        return;
    }
    json_t *certificates = json_array();
    for (unsigned i = 0; i < a->ek_certificates.count; i++)
        json_array_append_new(certificates, json_string(a->ek_certificates.pem[i]));
    json_t *body = json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:o}", "host", lt_json_new_hex(api->host_id, LT_RESIDENCY_HOST_ID), "ak",
        lt_json_new_base64(a->ak.raw, a->ak.raw_n), "ek", lt_json_new_base64(a->ek.pub.raw, a->ek.pub.raw_n),
        "ek_certificates", certificates, "batch_seq", (json_int_t)api->sequence.last, "inventory",
        inventory_json(snapshot));
    lt_inventory_snapshot_put(snapshot);
    reply(req, body, NULL);
}

/* ---- work for the TPM's thread ---- */
struct task {
    struct lt_host_api *api;
    struct lt_http_req *req;
    const struct lt_inventory_snapshot *snapshot;
    /* activation */
    uint8_t *credential;
    size_t credential_n;
    uint8_t challenge[32], proof[32];
    /* host quote */
    struct lt_residency_header header;
    bool known_root;
    uint8_t inventory_root[LT_MERKLE_NODE];
    struct lt_residency_host_quote quote;
    struct lt_attest_clock_info clock;
};

static struct task *task_new(struct lt_http_req *req, void *app)
{
    struct task *t = lt_new(struct task);

    t->api = app;
    t->req = req;
    return t;
}

static void task_free(struct task *t)
{
    lt_inventory_snapshot_put(t->snapshot);
    lt_residency_host_quote_free(&t->quote);
    free(t->credential);
    free(t);
}

static void task_end(struct task *t, json_t *body, const struct lt_err *e)
{
    reply(t->req, body, e);
    task_free(t);
}

/* ---- POST activations ---- */
static int activate(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct task *t = arg;
    const struct lt_attester *a = t->api->attester;
    uint8_t secret[LT_MAX_DIGEST];
    size_t n;
    int rc = lt_attester_activate(d, a, (struct lt_slice){t->credential, t->credential_n}, secret, &n, e);

    if (!rc && n != 32)
        rc = lt_fail(e, LT_E_REFUSED, "credential: a secret of %zu bytes, must be 32", n);
    if (!rc)
        lt_activation_proof(secret, t->api->host_id, a->ak_name, t->challenge, t->proof);
    lt_wipe(secret, sizeof secret);
    return rc;
}

static void activated(void *arg, int rc, const struct lt_err *e)
{
    struct task *t = arg;
    task_end(t, rc ? NULL : json_pack("{s:o}", "proof", lt_json_new_hex(t->proof, sizeof t->proof)), e);
}

static void activations(struct lt_http_req *req, void *app)
{
    static const char *const keys[] = {"credential", "challenge", NULL};
    struct task *t = task_new(req, app);
    struct lt_err e = {0};

    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    int rc = j ? lt_json_only(j, keys, &e) : e.code;
    if (!rc)
        rc = lt_json_base64(j, "credential", LT_MAX_CREDENTIAL, &t->credential, &t->credential_n, &e);
    if (!rc)
        rc = lt_json_hex(j, "challenge", t->challenge, sizeof t->challenge, &e);
    if (rc) {
        task_end(t, NULL, &e);
        return;
    }
    lt_http_req_hold(req);
    lt_tpm_post(t->api->tpm, false, activate, activated, t);
}

/* ---- POST host-quotes ---- */

/* R1: what AK_h signs is H(HDR), made here from the header alone. */
static int quote_sign(struct lt_device *d, void *arg, struct lt_err *e)
{
    struct task *t = arg;
    struct lt_attest attest;
    struct lt_quote q;
    uint8_t extra[LT_SHA256];

    lt_residency_header_write(&t->header, t->quote.header);
    lt_sha256(t->quote.header, LT_RESIDENCY_HEADER, extra);
    LT_TRY(lt_attester_quote(d, t->api->attester, extra, sizeof extra, LT_RESIDENCY_HOST_PCR_MASK, &q, e));
    t->quote.attest = lt_take(&q.attest);
    t->quote.signature = lt_take(&q.signature);
    t->quote.attest_n = q.attest_n;
    t->quote.signature_n = q.signature_n;
    t->quote.pcrs = q.pcrs;
    int rc = lt_attest_parse(t->quote.attest, t->quote.attest_n, &attest, e);
    if (!rc)
        t->clock = attest.clock;
    if (!rc && memcmp(q.pcrs.value[LT_RESIDENCY_AK_PCR], t->api->pcr13, LT_SHA256)) {
        /* The TPM was reset under us, or worse: opening it again anchors AK_h or refuses. */
        lt_residency_host_quote_free(&t->quote);
        d->lost = true;
        rc = lt_fail(e, LT_E_TPM, "PCR %d does not name AK_h", LT_RESIDENCY_AK_PCR);
    }
    return rc;
}

static void quote_signed(void *arg, int rc, const struct lt_err *e)
{
    struct task *t = arg;

    if (rc) {
        task_end(t, NULL, e);
        return;
    }
    lt_inventory_counts(t->api->inventory, t->clock.reset_count, t->clock.restart_count);
    json_t *j = lt_residency_host_quote_to_json(&t->quote);
    if (j && !(t->known_root && !memcmp(t->inventory_root, t->header.inventory_root, LT_MERKLE_NODE)))
        json_object_set_new(j, "inventory", inventory_json(t->snapshot));
    task_end(t, j, NULL);
}

/* 409 names the last number, so that the provider continues above it. */
static void reply_conflict(struct task *t, const struct lt_err *e)
{
    lt_http_reply_json(t->req, 409,
                       json_pack("{s:{s:i, s:s, s:s}, s:I}", "error", "code", 409, "slug",
                                 lt_err_slug(e->code), "message", e->msg, "last_batch_seq",
                                 (json_int_t)t->api->sequence.last));
    task_free(t);
}

/* protocol.md section 4: holding batch_root, the snapshot is taken and confirmed (t3); then the header, then
 * the quote (t4). */
static void quote_run(struct task *t)
{
    struct lt_host_api *api = t->api;
    struct lt_err e = {0};
    int rc = 0;

    if (t->header.batch_seq > api->sequence.last)
        rc = lt_inventory_snapshot(api->inventory, &t->snapshot, &e);
    if (!rc)
        rc = lt_sequence_claim(&api->sequence, t->header.batch_seq, &e);
    if (rc == LT_E_CONFLICT) {
        reply_conflict(t, &e);
        return;
    }
    if (rc || !t->snapshot) { /* a number above the last one has its snapshot */
        task_end(t, NULL, &e);
        return;
    }
    memcpy(t->header.host_id, api->host_id, LT_RESIDENCY_HOST_ID);
    t->header.inventory_seq = t->snapshot->seq;
    t->header.m = t->snapshot->count;
    memcpy(t->header.inventory_root, lt_merkle_root(t->snapshot->tree), LT_MERKLE_NODE);
    t->header.flags = t->snapshot->header_flags;
    t->header.ima_count = lt_measurements_ima_count(api->ima);
    lt_tpm_post(api->tpm, true, quote_sign, quote_signed, t);
}

static int parse_quote_request(const json_t *j, struct task *t, struct lt_err *e)
{
    static const char *const keys[] = {"batch_seq",      "n", "batch_root", "policy_digest",
                                       "inventory_root", NULL};
    int64_t seq, n;

    LT_TRY(lt_json_only(j, keys, e));
    LT_TRY(lt_json_int(j, "batch_seq", 1, INT64_MAX, &seq, e));
    LT_TRY(lt_json_int(j, "n", 1, LT_MAX_BATCH, &n, e));
    LT_TRY(lt_json_hex(j, "batch_root", t->header.batch_root, LT_MERKLE_NODE, e));
    LT_TRY(lt_json_hex(j, "policy_digest", t->header.policy_digest, LT_SHA256, e));
    t->header.batch_seq = (uint64_t)seq;
    t->header.n = (uint32_t)n;
    t->known_root = lt_json_has(j, "inventory_root");
    return t->known_root ? lt_json_hex(j, "inventory_root", t->inventory_root, LT_MERKLE_NODE, e) : 0;
}

static void host_quotes(struct lt_http_req *req, void *app)
{
    struct task *t = task_new(req, app);
    struct lt_err e = {0};

    LT_JSON_AUTO json_t *j = lt_http_req_json(req, &e);
    int rc = j ? parse_quote_request(j, t, &e) : e.code;
    if (rc)
        task_end(t, NULL, &e);
    else
        quote_run(t);
}

/* ---- logs ---- */
/* "first" of GET ima: 0 where it is none. */
static uint64_t first_asked(const struct lt_http_req *req)
{
    const char *s = lt_http_req_query(req, "first");
    return s && *s && strlen(s) < 20 && strspn(s, "0123456789") == strlen(s) ? strtoull(s, NULL, 10) : 0;
}

static void boot_log(struct lt_http_req *req, void *app)
{
    const struct lt_host_api *api = app;
    struct lt_err e = {0};
    uint8_t *p;
    size_t n;

    if (lt_measurements_read(api->boot_log, LT_MAX_BOOT_LOG, &p, &n, &e))
        reply_error(req, &e);
    else
        lt_http_reply_bytes(req, 200, "application/octet-stream", p, n);
}

/* Without loss, from that unit on (common/ima_list.h); a list that is shorter comes whole, and the header
 * says so. */
static void ima(struct lt_http_req *req, void *app)
{
    const struct lt_host_api *api = app;
    struct lt_err e = {0};
    char header[24];
    uint64_t first = first_asked(req);
    uint8_t *p;
    size_t n;

    if (lt_measurements_ima_read(api->ima, &p, &n, &e)) {
        reply_error(req, &e);
        return;
    }
    size_t skipped = lt_ima_list_from((struct lt_slice){p, n}, &first);
    memmove(p, p + skipped, n - skipped);
    snprintf(header, sizeof header, "%llu", (unsigned long long)first);
    lt_http_req_add_header(req, "X-Ima-First", header);
    lt_http_reply_bytes(req, 200, "application/octet-stream", p, n - skipped);
}

/* ---- the vault (agent/vault_api.h) ---- */

static void vault(struct lt_http_req *req, void *app)
{
    lt_agent_vault_get(req, &((struct lt_host_api *)app)->vault);
}

static void vault_seal(struct lt_http_req *req, void *app)
{
    lt_agent_vault_seal(req, &((struct lt_host_api *)app)->vault);
}

static void vault_reseal(struct lt_http_req *req, void *app)
{
    lt_agent_vault_reseal(req, &((struct lt_host_api *)app)->vault);
}

static void openers(struct lt_http_req *req, void *app)
{
    lt_agent_vault_openers(req, &((struct lt_host_api *)app)->vault);
}

static void escrow(struct lt_http_req *req, void *app)
{
    lt_agent_vault_escrow(req, &((struct lt_host_api *)app)->vault);
}

/* Snapshots and logs take long. One thread does them all, and a quote does not wait for logs; what changes
 * the vault takes longer, and has threads of its own (agent/vault_api.h). */
#define V1 "/federation/v1/"
const struct lt_http_route lt_agent_host_routes[] = {
    LT_HTTP_ROUTE("GET", V1 "host", LT_PEER_ROLE_PROVIDER, 0, host, .blocking = true),
    LT_HTTP_ROUTE("POST", V1 "activations", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, activations),
    LT_HTTP_ROUTE("POST", V1 "host-quotes", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, host_quotes,
                  .blocking = true, .urgent = true),
    LT_HTTP_ROUTE("GET", V1 "boot-log", LT_PEER_ROLE_PROVIDER, 0, boot_log, .blocking = true),
    LT_HTTP_ROUTE("GET", V1 "ima", LT_PEER_ROLE_PROVIDER, 0, ima, .blocking = true),
    LT_HTTP_ROUTE("GET", V1 "vault", LT_PEER_ROLE_PROVIDER, 0, vault),
    LT_HTTP_ROUTE("POST", V1 "vault/seal", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, vault_seal),
    LT_HTTP_ROUTE("POST", V1 "vault/reseal", LT_PEER_ROLE_PROVIDER, LT_MAX_BODY_SMALL, vault_reseal),
    LT_HTTP_ROUTE("GET", V1 "openers/{}", LT_PEER_ROLE_PROVIDER, 0, openers),
    LT_HTTP_ROUTE("GET", V1 "guests/{}/escrow", LT_PEER_ROLE_PROVIDER, 0, escrow),
};
const size_t lt_agent_host_route_count = sizeof lt_agent_host_routes / sizeof *lt_agent_host_routes;
