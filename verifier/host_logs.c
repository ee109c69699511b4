/* The functions of host_source.h: documents and logs. */
#include "common/alloc.h"
#include "common/limits.h"
#include "verifier/host_source.h"

#include "common/ima_list.h"
#include "common/run/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* n bytes stay of what was fetched. */
static int stay(const struct lt_host_source *s, const char *what, struct lt_host_source_bytes *f,
                size_t *kept, size_t n, struct lt_err *e)
{
    size_t charge = f->charge;

    f->charge = 0;
    return lt_budget_settle(s->memory, charge, kept, n)
               ? 0
               : lt_fail(e, LT_E_NO_ROOM, "%s: %zu bytes find no room (memory_limit_mib)", what, n);
}

/* ---- documents ---- */

/* Of a document or a list: by its digest. */
static int fetch_named(const struct lt_host_source *s, const struct lt_host_source_question *q,
                       struct lt_host_source_bytes *out, struct lt_err *e)
{
    const uint8_t *digest = q->digest;
    char name[2 * LT_SHA256 + 1];
    uint8_t is[LT_SHA256];

    LT_TRY(s->get(s->arg, q, out, e));
    lt_sha256(out->b.p, out->b.n, is);
    if (!memcmp(is, digest, LT_SHA256))
        return 0;
    free(lt_take(&out->b.p));
    lt_budget_give(s->memory, out->charge);
    lt_hex(digest, LT_SHA256, name);
    return lt_fail(e, LT_E_REFUSED, "%s/%s: what came has another digest",
                   q->kind == LT_HOST_SOURCE_OPENERS ? "openers" : "policies", name);
}

static int fetch_document(const struct lt_host_source *s, const uint8_t digest[LT_SHA256], size_t max,
                          struct lt_host_source_bytes *out, struct lt_err *e)
{
    return fetch_named(s, &(struct lt_host_source_question){.digest = digest, .max = max}, out, e);
}

int lt_host_source_openers(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                           struct lt_bundle_blob *out, size_t *charge, struct lt_err *e)
{
    const struct lt_host_source_question q = {
        .kind = LT_HOST_SOURCE_OPENERS, .digest = digest, .max = LT_MAX_OPENERS_BYTES};
    struct lt_host_source_bytes f = {0};

    LT_TRY(fetch_named(s, &q, &f, e));
    *out = f.b;
    *charge = f.charge;
    return 0;
}

static void bring(const struct lt_host_source *s, struct lt_documents *d, const uint8_t digest[LT_SHA256])
{
    struct lt_host_source_bytes f = {0};
    uint8_t is[LT_SHA256];
    struct lt_err e = {0};

    if (!fetch_document(s, digest, LT_MAX_POLICY, &f, &e)) {
        (void)!lt_documents_put_fetched(d, f.b.p, f.b.n, is, &e);
        free(f.b.p);
        lt_budget_give(s->memory, f.charge);
    }
    if (e.code)
        lt_log(LT_LOG_WARNING, "host-document-missing", "%s", e.msg);
}

/* What is not there is fetched once; what cannot be had is named by check 7 as not at hand. */
static void open_documents(const struct lt_host_source *s, struct lt_documents *d,
                           const struct lt_policy_measured *m, struct lt_documents_document_set *out)
{
    struct lt_err e = {0};

    if (!lt_documents_open(d, m, out, &e))
        return;
    if (m->has_boot && !out->boot)
        bring(s, d, m->boot);
    for (unsigned i = 0; i < m->layer_count; i++)
        if (!out->layer[i])
            bring(s, d, m->layer[i].policy);
    lt_documents_document_set_free(out);
    if (lt_documents_open(d, m, out, &e))
        lt_log(LT_LOG_WARNING, "host-document-missing", "%s", e.msg);
}

static void document_free(void *p)
{
    struct lt_verifier_host_document *d = p;
    lt_policy_host_free(d->parsed);
    lt_documents_document_set_free(&d->documents);
    free(d->bytes);
    free(d);
}

static void open_named(const struct lt_host_source *s, struct lt_documents *from,
                       const struct lt_policy_measured *m, bool layers, struct lt_documents_document_set *out)
{
    struct lt_policy_measured boot = {.has_boot = m->has_boot};

    memcpy(boot.boot, m->boot, sizeof boot.boot);
    open_documents(s, from, layers ? m : &boot, out);
}

static struct lt_ref *document(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                               struct lt_bundle_blob b, bool layers, struct lt_documents *from)
{
    struct lt_verifier_host_document *d = lt_new(struct lt_verifier_host_document);
    char name[2 * LT_SHA256 + 1];
    struct lt_err why = {0};

    d->bytes = b.p;
    d->n = b.n;
    memcpy(d->digest, digest, LT_SHA256);
    lt_hex(digest, LT_SHA256, name);
    if (lt_policy_host_parse(d->bytes, d->n, &d->parsed, &why))
        lt_log(LT_LOG_WARNING, "host-policy-malformed", "host policy %s: %s", name, why.msg);
    else
        open_named(s, from, &d->parsed->measured, layers, &d->documents);
    return lt_ref_new(d, document_free);
}

static int policy(const struct lt_host_source *s, const uint8_t digest[LT_SHA256], bool layers,
                  struct lt_documents *d, struct lt_ref **out, struct lt_err *e)
{
    struct lt_host_source_bytes f = {0};

    *out = NULL;
    LT_TRY(fetch_document(s, digest, LT_MAX_HOST_POLICY, &f, e));
    lt_budget_give(s->memory,
                   f.charge); /* it is one that the tenant accepts, so its size is the tenant's choice */
    *out = document(s, digest, f.b, layers, d);
    return 0;
}

int lt_host_source_policy(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                          struct lt_documents *d, struct lt_ref **out, struct lt_err *e)
{
    return policy(s, digest, true, d, out, e);
}

int lt_host_source_states(const struct lt_host_source *s, const uint8_t digest[LT_SHA256],
                          struct lt_documents *d, struct lt_ref **out, struct lt_err *e)
{
    return policy(s, digest, false, d, out, e);
}

bool lt_host_source_missing(const struct lt_host_source *s, const struct lt_verifier_host_document *have,
                            struct lt_documents *d, struct lt_ref **fresh)
{
    struct lt_bundle_blob b = {malloc(have->n + 1), have->n};

    *fresh = NULL;
    if (!b.p)
        return false;
    memcpy(b.p, have->bytes, have->n);
    *fresh = document(s, have->digest, b, true, d);
    const struct lt_verifier_host_document *is = lt_ref_value(*fresh);
    if (is->documents.complete)
        return true;
    lt_ref_put(lt_take(fresh));
    return false;
}

/* ---- logs ---- */

static void log_free(void *p)
{
    struct lt_verifier_host_log *l = p;
    lt_boot_log_free(l->log);
    (void)!lt_budget_keep(l->memory, &l->kept, 0);
    free(l);
}

int lt_host_source_log(const struct lt_host_source *s, const char *host, uint32_t reset_count,
                       struct lt_ref **out, struct lt_err *e)
{
    const struct lt_host_source_question q = {
        .kind = LT_HOST_SOURCE_BOOT_LOG, .host = host, .max = LT_MAX_BOOT_LOG};
    struct lt_host_source_bytes f = {0};

    *out = NULL;
    int rc = s->get(s->arg, &q, &f, e);
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    struct lt_verifier_host_log *l = lt_new(struct lt_verifier_host_log);
    l->memory = s->memory;
    l->log = lt_boot_log_new((struct lt_slice){f.b.p, f.b.n});
    l->reset_count = reset_count;
    lt_sha256(f.b.p ? f.b.p : (const uint8_t *)"", f.b.n, l->digest);
    free(f.b.p);
    size_t n = l->log ? l->log->n + l->log->count * sizeof *l->log->event : 0;
    rc = l->log ? stay(s, "boot log", &f, &l->kept, n, e) : lt_fail(e, LT_E_NO_MEMORY, "boot log: no memory");
    lt_budget_give(s->memory, f.charge);
    if (!rc)
        *out = lt_ref_new(l, log_free);
    else
        log_free(l);
    return rc;
}

static void ima_free(void *p)
{
    struct lt_verifier_host_ima *i = p;
    free(i->bytes.p);
    (void)!lt_budget_keep(i->memory, &i->kept, 0);
    free(i);
}

static struct lt_slice bytes_of(const struct lt_bundle_blob *b)
{
    return (struct lt_slice){b->p, b->n};
}

/* had's units and what came after them. */
static int join(const struct lt_verifier_host_ima *had, uint64_t first, struct lt_bundle_blob *b,
                struct lt_err *e)
{
    if (!first)
        return 0;
    if (b->n && had && lt_ima_list_is_binary(bytes_of(&had->bytes)) != lt_ima_list_is_binary(bytes_of(b)))
        return lt_fail(e, LT_E_MALFORMED, "IMA list: text goes on as a binary list, or the other way round");
    if (!had || first != had->units)
        return lt_fail(e, LT_E_MALFORMED, "IMA list from entry %llu, which was not asked for",
                       (unsigned long long)first);
    if (b->n > LT_MAX_IMA_LOG - had->bytes.n)
        return lt_fail(e, LT_E_TOO_LARGE, "IMA list: %zu bytes and %zu more > %u", had->bytes.n, b->n,
                       LT_MAX_IMA_LOG);
    uint8_t *all = malloc(had->bytes.n + b->n + 1);
    if (!all)
        return lt_fail(e, LT_E_NO_MEMORY, "IMA list: no memory");
    memcpy(all, had->bytes.p, had->bytes.n);
    memcpy(all + had->bytes.n, b->p, b->n);
    free(b->p);
    *b = (struct lt_bundle_blob){all, had->bytes.n + b->n};
    return 0;
}

int lt_host_source_ima(const struct lt_host_source *s, const char *host,
                       const struct lt_verifier_host_ima *had, uint32_t reset_count,
                       const uint8_t pcr[LT_SHA256], struct lt_ref **out, struct lt_err *e)
{
    struct lt_host_source_question q = {.kind = LT_HOST_SOURCE_IMA, .host = host, .max = LT_MAX_IMA_LOG};
    struct lt_host_source_bytes f = {0};

    *out = NULL;
    /* A last line without its end is not counted, and would be told twice. */
    if (had && (!had->present || !had->units || had->reset_count != reset_count || !had->whole))
        had = NULL;
    q.first = had ? had->units : 0;
    int rc = s->get(s->arg, &q, &f, e);
    if (rc && rc != LT_E_NOT_FOUND)
        return rc;
    struct lt_verifier_host_ima *i = lt_new(struct lt_verifier_host_ima);
    bool present = !rc;
    rc = present ? join(had, f.ima_first, &f.b, e) : 0;
    if (!rc) {
        i->memory = s->memory;
        rc = stay(s, "IMA list", &f, &i->kept, f.b.n, e);
    }
    lt_budget_give(s->memory, f.charge);
    if (rc) {
        free(f.b.p);
        free(i);
        return rc;
    }
    i->present = present;
    i->bytes = f.b;
    i->whole = lt_ima_list_skip(bytes_of(&f.b), UINT64_MAX, &i->units) == f.b.n;
    i->reset_count = reset_count;
    memcpy(i->pcr, pcr, LT_SHA256);
    lt_sha256(f.b.p ? f.b.p : (const uint8_t *)"", f.b.n, i->digest);
    *out = lt_ref_new(i, ima_free);
    return 0;
}
