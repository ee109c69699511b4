/* The keys of host.h; its other shapes are filled by host_source.h. */
#include "verifier/host.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

struct lt_verifier_host_keys *lt_verifier_host_keys_new(struct lt_budget *memory)
{
    struct lt_verifier_host_keys *k = lt_new(struct lt_verifier_host_keys);

    k->memory = memory;
    return k;
}

void lt_verifier_host_keys_free(struct lt_verifier_host_keys *k)
{
    lt_checks_identity_host_free(k->id);
    free(k->ak.p);
    free(k->ek.p);
    for (unsigned i = 0; i < k->certificates.count; i++)
        free(k->certificates.pem[i]);
    if (k->memory)
        (void)!lt_budget_keep(k->memory, &k->kept, 0);
    free(k);
}

static void keys_free(void *p)
{
    lt_verifier_host_keys_free(p);
}

struct lt_ref *lt_verifier_host_keys_share(struct lt_verifier_host_keys *k)
{
    return lt_ref_new(k, keys_free);
}

static int make_id(struct lt_verifier_host_keys *k, struct lt_err *e)
{
    k->id =
        lt_checks_identity_host_new((struct lt_slice){k->ek.p, k->ek.n}, (struct lt_slice){k->ak.p, k->ak.n});
    return k->id->fault.code == LT_E_NO_MEMORY ? lt_fail(e, LT_E_NO_MEMORY, "%s", k->id->fault.msg) : 0;
}

static size_t keys_size(const struct lt_verifier_host_keys *k)
{
    size_t n = k->ak.n + k->ek.n;

    for (unsigned i = 0; i < k->certificates.count; i++)
        n += strlen(k->certificates.pem[i]);
    return n;
}

int lt_verifier_host_keys_identify(struct lt_verifier_host_keys *k, struct lt_err *e)
{
    LT_TRY(make_id(k, e));
    return lt_budget_keep(k->memory, &k->kept, keys_size(k))
               ? 0
               : lt_fail(e, LT_E_NO_ROOM, "its keys and certificates find no room (memory_limit_mib)");
}

static bool same_blob(const struct lt_bundle_blob *a, const struct lt_bundle_blob *b)
{
    return a->n == b->n && !memcmp(a->p, b->p, a->n);
}

bool lt_verifier_host_keys_same(const struct lt_verifier_host_keys *a, const struct lt_verifier_host_keys *b)
{
    return same_blob(&a->ek, &b->ek) && same_blob(&a->ak, &b->ak);
}

static int copy_blob(const struct lt_bundle_blob *from, struct lt_bundle_blob *to)
{
    to->p = malloc(from->n + 1);
    if (!to->p)
        return LT_E_NO_MEMORY;
    memcpy(to->p, from->p, from->n);
    to->n = from->n;
    return 0;
}

static int copy_keys(const struct lt_verifier_host_keys *from, struct lt_verifier_host_keys *to)
{
    if (copy_blob(&from->ak, &to->ak) || copy_blob(&from->ek, &to->ek))
        return LT_E_NO_MEMORY;
    for (unsigned i = 0; i < from->certificates.count; i++, to->certificates.count++)
        if (!(to->certificates.pem[i] = strdup(from->certificates.pem[i])))
            return LT_E_NO_MEMORY;
    return make_id(to, LT_NO_ERR);
}

int lt_verifier_host_keys_again(const struct lt_verifier_host_keys *had,
                                const struct lt_verifier_trust *trust, struct lt_ref **out, struct lt_err *e)
{
    struct lt_verifier_host_keys *k = lt_verifier_host_keys_new(NULL);

    *out = NULL;
    if (copy_keys(had, k)) {
        lt_verifier_host_keys_free(k);
        return lt_fail(e, LT_E_NO_MEMORY, "host: no memory");
    }
    k->memory = had->memory;
    /* As large as the ones it takes the place of: without room they count once, until they have gone. */
    if (k->memory)
        (void)!lt_budget_keep(k->memory, &k->kept, had->kept);
    k->id->in_registry = had->id->in_registry; /* judged anew where one is pinned */
    lt_verifier_trust_judge(trust, &k->certificates, k->id);
    k->id->activated = had->id->activated; /* no time makes an AK another EK's */
    *out = lt_verifier_host_keys_share(k);
    return 0;
}
