/* A vTPM is made, its entry committed, its state put in place (docs/sealing.md section 3, Provision). */
#include "agent/escrow.h"
#include "agent/fault.h"
#include "agent/sealed_domains_impl.h"
#include "common/alloc.h"
#include "vtpm/make.h"
#include "vtpm/sealed.h"

#include <stdlib.h>
#include <string.h>

struct wish {
    const char *escrow; /* PEM, or NULL */
    bool convert;
};

static struct lt_slice pem(const struct wish *w)
{
    return (struct lt_slice){(const uint8_t *)w->escrow, strlen(w->escrow)};
}

/* What is there: 0, this vault's vTPM, whole (*entry); LT_E_NOT_FOUND: nothing that would be lost, and *stale
 * says whether an entry of a vTPM that never was put in place is to go; else what stands in the way. */
static int find_made(struct lt_agent_domains *d, const struct lt_domain *x, struct lt_seal_entry *entry,
                     bool *stale, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *state = NULL;
    size_t n = 0;

    int rc = d->keeper->entry(d->keeper->ctx, x->uuid, entry, e);
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    *stale = !rc;
    if (!rc) {
        rc = lt_sealed_check(&d->state, x, entry, e);
        if (rc == LT_E_NOT_FOUND && !lt_definitions_making(&d->definitions, x->uuid))
            return lt_fail(
                e, LT_E_CONFLICT,
                "the vault has its vTPM, and the state is gone: put the file back; --convert makes "
                "a new vTPM, and the old one is lost");
        return rc;
    }
    rc = lt_statedir_read(&d->state, x->uuid, &state, &n, e);
    if (state)
        lt_wipe(state, n);
    return rc ? rc
              : lt_fail(
                    e, LT_E_CONFLICT,
                    "it has a vTPM that is not the vault's; --convert makes a new one, and what the guest "
                    "keeps in the old one is lost");
}

/* Before a vTPM is made, which takes a second or two. */
static int begin_entry(const struct lt_domain *x, const struct wish *w, struct lt_seal_entry *entry,
                       struct lt_err *e)
{
    struct lt_openers_one key;

    lt_seal_entry_free(entry);
    *entry = (struct lt_seal_entry){.origin = LT_SEAL_MADE};
    memcpy(entry->uuid, x->uuid, LT_UUID);
    if (w->escrow) {
        LT_TRY(lt_seal_escrow_opener(pem(w), &key, e));
        LT_TRY(lt_openers_add(&entry->openers, &key, e));
    }
    lt_seal_key_new(entry->key);
    return 0;
}

/* Entry first, then the state: a state that no entry opens would be lost. */
static int commit(struct lt_agent_domains *d, const struct lt_seal_entry *entry,
                  const struct lt_make_result *made, const struct wish *w, bool stale, struct lt_err *e)
{
    if (stale)
        LT_TRY(lt_agent_seal_remove_entry(d->conf.seal, entry->uuid, e));
    LT_TRY(lt_definitions_begin_making(&d->definitions, entry->uuid, e)); /* of the new one, never the old */
    if (w->escrow)
        LT_TRY(lt_agent_escrow_write(d->conf.state_dir, entry, pem(w), e));
    LT_FAULT_AT(PROVISION_ESCROWED);
    LT_TRY(lt_agent_seal_put_entry(d->conf.seal, entry, e));
    LT_FAULT_AT(PROVISION_COMMITTED);
    if (w->convert)
        LT_TRY(lt_statedir_remove(&d->state, entry->uuid, e));
    LT_TRY(lt_statedir_install(&d->state, entry->uuid, made->state, made->n, e));
    LT_TRY(lt_definitions_end_making(&d->definitions, entry->uuid, e));
    LT_FAULT_AT(PROVISION_INSTALLED);
    return 0;
}

static int make(struct lt_agent_domains *d, const struct lt_domain *x, const struct wish *w, bool stale,
                struct lt_seal_entry *entry, struct lt_err *e)
{
    LT_MAKE_AUTO struct lt_make_result made = {0};
    const struct lt_make_conf conf = {
        .swtpm_setup = d->conf.swtpm_setup,
        .swtpm = d->conf.swtpm,
        .config = d->conf.swtpm_setup_config,
        .uid = d->state.uid,
        .gid = d->state.gid,
    };

    LT_TRY(begin_entry(x, w, entry, e));
    LT_TRY(lt_make(&conf, x->uuid, x->name, entry->key, &made, e));
    LT_FAULT_AT(PROVISION_MADE);
    memcpy(entry->ek_digest, made.ek_digest, LT_SHA256);
    LT_TRY(lt_agent_seal_complete_entry(d->conf.seal, entry, e));
    return commit(d, entry, &made, w, stale, e);
}

/* Provisioned already: a recovery key that it does not list is not one by being given now. */
static int check_escrow(const struct lt_seal_entry *entry, const struct wish *w, struct lt_err *e)
{
    struct lt_openers_one key;

    if (!w->escrow)
        return 0;
    LT_TRY(lt_seal_escrow_opener(pem(w), &key, e));
    for (unsigned i = 0; i < entry->openers.count; i++)
        if (lt_openers_same(&entry->openers.one[i], &key))
            return 0;
    return lt_fail(e, LT_E_CONFLICT, "it has its vTPM already, made without that recovery key");
}

static int provision(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], const struct wish *w,
                     bool *made, struct lt_seal_entry *entry, struct lt_err *e)
{
    LT_AGENT_DOMAINS_VIEW_AUTO struct lt_agent_domains_view v = {0};
    bool stale = false;

    *made = false;
    LT_TRY(lt_agent_domains_check_leak(d, e));
    LT_TRY(lt_agent_domains_view_open(d, uuid, &v, e));
    if (v.found.active)
        return lt_fail(e, LT_E_CONFLICT, "it runs; its vTPM can only be made while it does not");
    int rc = find_made(d, &v.xml, entry, &stale, e);
    /* A file beside the vault's own vTPM can be taken away; its key would be gone for good. */
    bool lost = rc == LT_E_CONFLICT || rc == LT_E_STATE_PLAIN || rc == LT_E_STATE_FOREIGN_KEY ||
                (rc == LT_E_STATE_VOLATILE && !stale);
    if (!rc) {
        LT_TRY(lt_definitions_end_making(&d->definitions, uuid, e)); /* who was killed just before that */
        return check_escrow(entry, w, e);
    }
    if (rc != LT_E_NOT_FOUND && !(lost && w->convert))
        return rc;
    *made = true;
    return make(d, &v.xml, w, stale, entry, e);
}

static int tell_provisioned(const struct lt_agent_domains *d, const struct lt_seal_entry *entry, bool made,
                            json_t **out, struct lt_err *e)
{
    uint8_t digest[LT_SHA256];

    LT_TRY(lt_openers_digest(&entry->openers, digest, e));
    return lt_agent_domains_answer(d, entry->uuid,
                                   json_pack("{s:b, s:o, s:o}", "made", made, "ek_digest",
                                             lt_json_new_hex(entry->ek_digest, LT_SHA256), "openers",
                                             lt_json_new_hex(digest, sizeof digest)),
                                   out, e);
}

int lt_agent_domains_provision(struct lt_agent_domains *d, const uint8_t uuid[LT_UUID], const char *escrow,
                               bool convert, json_t **out, struct lt_err *e)
{
    const struct wish w = {escrow, convert};
    struct lt_seal_entry entry = {0};
    bool made;

    *out = NULL;
    LT_TRY(lt_agent_domains_begin(d, LT_AGENT_DOMAINS_PROVISION, uuid, e));
    int rc = provision(d, uuid, &w, &made, &entry, e);
    lt_agent_domains_end(d);
    lt_agent_domains_tell(uuid, "provision", rc, e);
    if (!rc)
        rc = tell_provisioned(d, &entry, made, out, e);
    lt_seal_entry_free(&entry);
    return rc;
}
