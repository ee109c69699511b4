/* POST agents/{id}: Keylime's `add`. What it says becomes a guest of ours, its guest policy, and a row beside
 * it with what is told back. */
#include "common/http/address.h"
#include "common/run/log.h"
#include "keylime/add.h"
#include "keylime/algs.h"
#include "tenant/keylime.h"
#include "tenant/release.h"

#include <string.h>

struct adding {
    struct lt_tenant *t;
    const char *id;
    struct lt_add add;
    struct lt_store_guest guest;
    struct lt_store_keylime row;
    struct lt_store_keylime_policy policies[LT_STORE_KEYLIME_KINDS]; /* what it is judged by */
    struct lt_store_keylime_policy
        own[LT_STORE_KEYLIME_KINDS]; /* those of them that came with it: new names */
    size_t own_count;
    struct lt_tenant_keylime_bytes policy; /* the guest's */
    struct lt_store_release release;       /* sealed */
};

static void adding_free(struct adding *a)
{
    lt_add_free(&a->add);
    lt_tenant_keylime_bytes_free(&a->policy);
    lt_store_release_free(&a->release);
    for (int k = 0; k < LT_STORE_KEYLIME_KINDS; k++)
        lt_store_keylime_policy_free(&a->policies[k]);
}

/* Of one that is there already: whose it is decides. */
static int check_absent(const struct adding *a, struct lt_err *e)
{
    struct lt_store_guest g;
    int rc = lt_store_guest_by_agent(a->t->store, a->id, &g, LT_NO_ERR);

    if (rc == LT_E_NOT_FOUND)
        return 0;
    LT_TRY(lt_tenant_keylime_own(a->t, a->id, &g, e));
    return lt_fail(e, LT_E_CONFLICT, "agent %s: added already (update deletes it first)", a->id);
}

/* Quotes are checked with the key that the registrar activated: another one cannot be asked for. */
static int check_ak(const struct adding *a, struct lt_err *e)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent registered = {0};
    struct lt_public ak;
    int rc = lt_store_agent_get(a->t->store, a->id, &registered, e);

    if (rc == LT_E_NOT_FOUND)
        return lt_fail(e, LT_E_MALFORMED, "agent %s: not registered with this verifier's registrar", a->id);
    if (rc)
        return rc;
    if (registered.ak_n != a->add.ak_n || memcmp(registered.ak, a->add.ak, a->add.ak_n))
        return lt_fail(e, LT_E_MALFORMED, "ak_tpm: another AK than agent %s has registered", a->id);
    LT_TRY(lt_public_parse(a->add.ak, a->add.ak_n, &ak, e));
    return lt_algs_accepted(a->add.given, &ak, e);
}

/* As registered if it says the same: an agent that comes again with another address is followed. */
static int read_contact(struct adding *a, struct lt_err *e)
{
    LT_KEYLIME_AUTOAGENT struct lt_agent registered = {0};
    const json_t *ip = json_object_get(a->add.given, "ip"), *port = json_object_get(a->add.given, "port");

    if (!a->add.address[0])
        return 0;
    LT_TRY_IN(lt_http_address_check_peer(a->add.address, e), e, "cloudagent_ip");
    LT_TRY(lt_store_agent_get(a->t->store, a->id, &registered, e));
    if (!registered.ip || strcmp(registered.ip, json_string_value(ip)) ||
        registered.port != json_integer_value(port))
        memcpy(a->guest.address, a->add.address, strlen(a->add.address) + 1);
    return 0;
}

/* By name, or as it came: under a name of its own, or the agent's. */
static int take_policy(struct adding *a, enum lt_store_keylime_kind kind, const char *name, bool came,
                       struct lt_err *e)
{
    struct lt_store_keylime_policy *p = &a->policies[kind];
    const char *is = name[0] ? name : came ? a->id : "";

    memcpy(a->row.name[kind], is, strlen(is) + 1);
    if (!is[0])
        return 0;
    if (!came)
        return lt_store_keylime_policy_get(a->t->store, kind, name, p, e);
    memcpy(p->name, is, strlen(is) + 1);
    p->own = !name[0];
    a->own[a->own_count++] = *p; /* borrows tpm_policy */
    return 0;
}

static int read_policies(struct adding *a, struct lt_err *e)
{
    struct lt_add *add = &a->add;

    LT_TRY(lt_tenant_keylime_runtime(a->t, (struct lt_slice){add->runtime, add->runtime_n}, add->runtime_key,
                                     &a->policies[LT_STORE_KEYLIME_RUNTIME], e));
    LT_TRY(lt_tenant_keylime_boot(a->t, add->boot, &a->policies[LT_STORE_KEYLIME_BOOT], e));
    LT_TRY(take_policy(a, LT_STORE_KEYLIME_RUNTIME, add->runtime_name, add->runtime, e));
    return take_policy(a, LT_STORE_KEYLIME_BOOT, add->boot_name,
                       a->policies[LT_STORE_KEYLIME_BOOT].has_document, e);
}

static int need_policy(struct adding *a, struct lt_err *e)
{
    const struct lt_store_keylime_policy *const documents[] = {&a->policies[LT_STORE_KEYLIME_RUNTIME],
                                                               &a->policies[LT_STORE_KEYLIME_BOOT]};

    LT_TRY(lt_tenant_keylime_judged(a->t, documents, a->add.tpm_policy, a->add.ima_keys, &a->policy, e));
    a->guest.has_policy = true;
    memcpy(a->guest.policy, a->policy.digest, sizeof a->guest.policy);
    return 0;
}

/* ---- the whole ---- */

static int store(struct adding *a, struct lt_err *e)
{
    a->row.given = a->add.given;
    const struct lt_store_keylime_new new = {
        .guest = &a->guest,
        .document = {a->policy.p, a->policy.n},
        .row = &a->row,
        .policies = a->own,
        .count = a->own_count,
        .judged = a->policies,
        .ak = {a->add.ak, a->add.ak_n},
        .v = {a->release.v.p, a->release.v.n},
        .revocation_key = {a->release.revocation_key.p, a->release.revocation_key.n},
    };
    return lt_store_keylime_add(a->t->store, &new, e);
}

static int add(struct adding *a, json_t *body, struct lt_err *e)
{
    lt_uuid_of_id(a->id, a->guest.uuid);
    memcpy(a->guest.agent, a->id, strlen(a->id) + 1);
    a->guest.door = LT_STORE_DOOR_KEYLIME;
    LT_TRY(
        lt_release_read(a->t->vault, a->guest.uuid, body, &a->release, e)); /* first: they are wiped then */
    LT_TRY(lt_add_read(body, &a->add, e));
    LT_TRY(check_absent(a, e));
    LT_TRY(check_ak(a, e));
    LT_TRY(read_contact(a, e));
    LT_TRY(read_policies(a, e));
    LT_TRY(need_policy(a, e));
    return store(a, e);
}

static int post_agent(struct lt_tenant *t, struct lt_http_req *req, json_t **results, struct lt_err *e)
{
    struct adding a = {.t = t, .id = lt_http_req_arg(req, 1)};
    LT_JSON_AUTO json_t *body = NULL;

    (void)results;
    if (!lt_id_ok(a.id))
        return lt_fail(e, LT_E_MALFORMED, "agent id: 1 to %d of A-Z a-z 0-9 . _ -", LT_ID_MAX);
    if (!(body = lt_http_req_json(req, e)))
        return e->code;
    int rc = add(&a, body, e);
    if (!rc) {
        lt_log(LT_LOG_INFO, "added", "guest %s, by Keylime's API", a.id);
        lt_rounds_add(t->rounds, a.guest.uuid);
    }
    for (size_t i = 0; rc && i < a.own_count; i++)
        lt_tenant_keylime_forget(t, &a.own[i]);
    adding_free(&a);
    return rc;
}

void lt_tenant_keylime_post_agent(struct lt_http_req *req, void *app)
{
    lt_tenant_keylime_answer(req, app, post_agent, 200);
}
