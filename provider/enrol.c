#include "provider/enrol.h"

#include "appraisal/ima/learn.h"
#include "common/alloc.h"
#include "common/http/address.h"
#include "common/run/clock.h"
#include "common/run/log.h"
#include "common/run/wait.h"
#include "provider/certificates.h"
#include "residency/activation.h"

#include <stdlib.h>
#include <string.h>

#define LEARNED_PCRS 0x53ffu /* 0-9, 12, 14: what boot is measured into; 11 too where it is */
#define FIRMWARE_PCRS 8      /* 0-7, count */

static int read_public(const json_t *j, const char *key, struct lt_public *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *raw = NULL;
    size_t n;
    int rc = lt_json_base64(j, key, LT_MAX_PUBLIC, &raw, &n, e);

    if (!rc && (rc = lt_public_parse(raw, n, out, e)))
        rc = lt_fail_in(e, rc, "%s", key);
    return rc;
}

static int read_certificates(const json_t *j, json_t **out, struct lt_err *e)
{
    json_t *list, *item;
    size_t i;
    int rc = lt_json_array(j, "ek_certificates", LT_MAX_CERTIFICATES, &list, e);

    if (!rc)
        json_array_foreach(
            list, i, item) if (!json_is_string(item) ||
                               json_string_length(item) >
                                   2 * LT_MAX_CERTIFICATE) return lt_fail(e, LT_E_MALFORMED,
                                                                          "ek_certificates, %zu: not a PEM "
                                                                          "text of at most %d bytes",
                                                                          i, 2 * LT_MAX_CERTIFICATE);
    *out = rc ? NULL : list;
    return rc;
}

/* The agent shows that AK_h lives in the TPM of EK_h (protocol.md section 4). */
static int activate(const struct lt_provider_host *h, struct lt_peer *peer, struct lt_err *e)
{
    __attribute__((cleanup(lt_activation_end))) struct lt_activation a = {0};
    uint8_t name[LT_TPM_NAME];

    LT_TRY(lt_public_name(&h->ak, name, e));
    LT_TRY(lt_activation_begin(&h->ek, name, h->id, &a, e));
    LT_JSON_AUTO json_t *j = lt_net_call(h->shared->net,
                                         &(struct lt_net_request){.method = "POST",
                                                                  .address = h->address,
                                                                  .name = "activations",
                                                                  .body = a.body,
                                                                  .body_n = strlen(a.body),
                                                                  .max_reply = LT_MAX_BODY_SMALL},
                                         peer, e);
    LT_TRY_IN(j ? lt_activation_check(&a, j, e) : e->code, e, "activation");
    return 0;
}

int lt_enrol(struct lt_registry *r, const struct lt_provider_host_shared *shared, const char *address,
             const uint8_t *ek_digest, const json_t *intermediates, struct lt_provider_host **out,
             struct lt_err *e)
{
    struct lt_peer peer = {0};
    struct lt_public ek, ak;
    struct lt_provider_host *h = NULL, *known = NULL;
    struct lt_residents *residents = NULL;
    LT_JSON_AUTO json_t *certificates = NULL;
    uint8_t id[LT_RESIDENCY_HOST_ID];
    json_t *shown = NULL;

    *out = NULL;
    LT_TRY(lt_http_address_check_peer(address, e));
    LT_JSON_AUTO json_t *j =
        lt_net_call(shared->net,
                    &(struct lt_net_request){
                        .method = "GET", .address = address, .name = "host", .max_reply = LT_MAX_HOST_REPLY},
                    &peer, e);
    if (!j)
        return lt_fail_in(e, e->code, "host %s", address);
    int rc = read_public(j, "ek", &ek, e);
    if (!rc)
        rc = read_public(j, "ak", &ak, e);
    if (!rc)
        rc = read_certificates(j, &shown, e);
    if (!rc)
        rc = lt_residency_host_id(&ek, id, e);
    if (!rc) {
        known = lt_registry_host(r, id);
        rc = lt_provider_certificates_join(shown, intermediates, known ? known->certificates : NULL,
                                           &certificates, e);
    }
    if (!rc)
        rc = lt_residents_from_json(json_object_get(j, "inventory"), &residents, e);
    if (!rc)
        rc = lt_provider_host_new(shared, address, &(struct lt_provider_host_keys){&ek, &ak, certificates},
                                  (const uint8_t[32]){0}, &h, e);
    if (!rc && memcmp(h->id, peer.host_id, LT_RESIDENCY_HOST_ID))
        rc = lt_fail(e, LT_E_REFUSED, "the server's certificate is for another host than its EK");
    if (!rc && ek_digest && memcmp(h->ek_digest, ek_digest, sizeof h->ek_digest))
        rc = lt_fail(e, LT_E_REFUSED, "its EK is not the one with the digest given");
    if (!rc)
        rc = activate(h, &peer, e);
    if (!rc) {
        h->health.tried_ms = lt_clock_ms(); /* it has just shown itself: its first quote is not due yet */
        rc = lt_registry_put_host(r, h, e);
    }
    if (!rc) {
        lt_provider_host_adopt(h, residents, false);
        *out = lt_provider_host_ref(h);
        lt_log(LT_LOG_INFO, "enrol", "host at %s", address);
    } else {
        rc = lt_fail_in(e, rc, "host %s", address);
    }
    lt_residents_unref(residents);
    lt_provider_host_unref(known);
    lt_provider_host_unref(h);
    return rc;
}

/* ---- learn ---- */

struct lesson {
    struct lt_batcher_batch_item item;
    struct lt_wait wait;
    struct lt_batcher_batch *batch;
};

static void learned(struct lt_batcher_batch_item *i, struct lt_batcher_batch *batch, uint32_t index,
                    const struct lt_batcher_failure *why)
{
    struct lesson *l = (struct lesson *)i;
    struct lt_err e = {0};

    (void)index;
    if (batch)
        l->batch = lt_batcher_batch_ref(batch);
    else
        (void)lt_fail(&e, why->told.code, "%s", why->told.message);
    lt_wait_end(&l->wait, e.code, &e);
}

/* Firmware extends 0 to 7, if only by separators. A bank that is off, or a TPM that the firmware does not
 * use, proves nothing about the boot, and learnt would be good for every other boot that nobody measured. */
static int check_measured(const struct lt_pcrs *pcrs, struct lt_err *e)
{
    uint8_t empty[2][LT_SHA256];

    memset(empty[0], 0, sizeof empty[0]);
    memset(empty[1], 0xff, sizeof empty[1]);
    for (unsigned i = 0; i < FIRMWARE_PCRS; i++)
        if (memcmp(pcrs->value[i], empty[0], LT_SHA256) && memcmp(pcrs->value[i], empty[1], LT_SHA256))
            return 0;
    return lt_fail(e, LT_E_REFUSED,
                   "nothing was learnt: PCR 0-7 of the sha256 bank are empty, so nobody measured this "
                   "boot into this TPM. Is the sha256 bank on in the firmware's setup, and was the host "
                   "booted since? Is "
                   "the agent's tcti the TPM that the firmware uses?");
}

static json_t *policy_of(const struct lt_pcrs *pcrs)
{
    static const uint8_t zeros[LT_SHA256];
    uint32_t mask = LEARNED_PCRS | (memcmp(pcrs->value[11], zeros, sizeof zeros) ? 1u << 11 : 0);
    json_t *values = json_object();
    char key[4];

    for (unsigned i = 0; i < 16; i++)
        if (mask >> i & 1) {
            snprintf(key, sizeof key, "%u", i);
            json_object_set_new(values, key, json_pack("[o]", lt_json_new_hex(pcrs->value[i], LT_SHA256)));
        }
    return json_pack("{s:o}", "pcrs", values);
}

static int put_json(struct lt_registry *r, const json_t *j, uint8_t digest[32], struct lt_err *e)
{
    LT_AUTOFREE char *text = j ? lt_json_dump(j) : NULL;

    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    return lt_registry_put_policy(r, (struct lt_slice){(uint8_t *)text, strlen(text)}, digest, e);
}

static int put_learnt(struct lt_registry *r, const struct lt_provider_host *h, struct lt_slice list,
                      const struct lt_pcrs *pcrs, uint8_t digest[32], struct lt_err *e)
{
    const struct lt_ima_lesson lesson = {.list = list, .pcrs = pcrs};
    LT_AUTOFREE struct lt_ima_learnt *l = lt_new(struct lt_ima_learnt);
    LT_TRY(lt_ima_learn(&lesson, l, e));
    for (unsigned i = 0; i < l->told; i++)
        lt_log(LT_LOG_WARNING, "host-learnt", "host %s: %s", h->address, l->note[i]);
    int rc = lt_registry_put_policy(r, (struct lt_slice){(uint8_t *)l->text, strlen(l->text)}, digest, e);
    lt_ima_learnt_free(l);
    return rc;
}

/* One layer of what the host has measured up to its quote. The list is asked for after it, and is longer, not
 * shorter. */
static int learn_ima(struct lt_registry *r, const struct lt_provider_host *h, const struct lt_pcrs *pcrs,
                     json_t *policy, struct lt_err *e)
{
    struct lt_peer peer = {.has_host = true};
    struct lt_net_bytes list;
    uint8_t digest[32];

    memcpy(peer.host_id, h->id, sizeof peer.host_id);
    LT_TRY_IN(
        lt_net_get(h->shared->net,
                   &(struct lt_net_request){
                       .method = "GET", .address = h->address, .name = "ima", .max_reply = LT_MAX_IMA_LOG},
                   &peer, &list, e),
        e, "IMA list");
    int rc = put_learnt(r, h, (struct lt_slice){list.p, list.n}, pcrs, digest, e);
    free(list.p);
    if (rc)
        return rc;
    json_object_set_new(
        policy, "layers",
        json_pack("[{s:s, s:o}]", "name", "learnt", "policy", lt_json_new_hex(digest, sizeof digest)));
    return 0;
}

int lt_provider_learn(struct lt_registry *r, struct lt_provider_host *h, bool ima, uint8_t digest[32],
                      struct lt_err *e)
{
    struct lesson l = {.item.done = learned, .wait = LT_WAIT};

    lt_random(l.item.commitment, sizeof l.item.commitment); /* a leaf like any other */
    lt_batcher_add(h->batcher, &l.item);
    LT_TRY(lt_wait_for(&l.wait, e));
    const struct lt_pcrs pcrs = *lt_batcher_batch_pcrs(l.batch);
    int rc = check_measured(&pcrs, e);
    LT_JSON_AUTO json_t *j = rc ? NULL : policy_of(&pcrs);
    lt_batcher_batch_unref(l.batch);
    if (rc)
        return rc;
    if (j && ima)
        LT_TRY(learn_ima(r, h, &pcrs, j, e));
    LT_TRY(put_json(r, j, digest, e));
    return lt_registry_set_policy(r, h->id, digest, e);
}
