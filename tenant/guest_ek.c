#include "tenant/guest_ek.h"

#include "common/hash.h"
#include "common/ref.h"
#include "common/run/clock.h"
#include "verifier/roots.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lt_guest_ek {
    const char *path;
    uint64_t keep_ms;
    pthread_mutex_t lock;
    uint64_t generation;  /* of the roots, from 1 on */
    struct lt_ref *roots; /* struct lt_ek_certificates_roots; NULL: none are configured */
};

static void roots_free(void *p)
{
    lt_ek_certificates_roots_free(p);
}

static int load(const char *path, struct lt_ref **out, struct lt_err *e)
{
    struct lt_ek_certificates_roots *roots;

    *out = NULL;
    if (!*path)
        return 0;
    LT_TRY(lt_roots_load("guest_ek_roots", path, &roots, e));
    *out = lt_ref_new(roots, roots_free);
    return 0;
}

int lt_guest_ek_new(const char *roots, uint64_t keep_ms, struct lt_guest_ek **out, struct lt_err *e)
{
    struct lt_ref *loaded;

    *out = NULL;
    LT_TRY(load(roots, &loaded, e));
    struct lt_guest_ek *g = lt_new(struct lt_guest_ek);
    g->path = roots;
    g->roots = loaded;
    g->keep_ms = keep_ms;
    g->generation = 1;
    pthread_mutex_init(&g->lock, NULL);
    *out = g;
    return 0;
}

void lt_guest_ek_free(struct lt_guest_ek *g)
{
    if (!g)
        return;
    lt_ref_put(g->roots);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

int lt_guest_ek_reload(struct lt_guest_ek *g, struct lt_err *e)
{
    struct lt_ref *fresh;

    LT_TRY(load(g->path, &fresh, e));
    pthread_mutex_lock(&g->lock);
    struct lt_ref *old = g->roots;
    g->roots = fresh;
    g->generation++;
    pthread_mutex_unlock(&g->lock);
    lt_ref_put(old);
    return 0;
}

void lt_guest_ek_chain(const char *pem, struct lt_bundle_certificates *out)
{
    static const char end[] = "-----END CERTIFICATE-----\n";

    out->count = 0;
    while (pem && *pem && out->count < LT_MAX_CERTIFICATES) {
        const char *stop = strstr(pem, end);
        if (!stop)
            break;
        stop += sizeof end - 1;
        out->pem[out->count] = strndup(pem, (size_t)(stop - pem));
        if (!out->pem[out->count])
            break;
        out->count++;
        pem = stop;
    }
}

void lt_tenant_cleanup_chain(struct lt_bundle_certificates *c)
{
    for (unsigned i = 0; i < c->count; i++)
        free(c->pem[i]);
}

/* Its certificates came from whoever registered: nothing that they say is proved, and nothing more is lost.
 */
static void refused(const struct lt_ek_certificates_roots *roots, const struct lt_bundle_certificates *chain,
                    const struct lt_public *ek, const struct lt_err *why, struct lt_checks_ek *out)
{
    struct lt_err e = {0};

    out->certified = why->code == LT_E_NO_MEMORY ? LT_CHECKS_FACT_UNKNOWN : LT_CHECKS_FACT_NO;
    if (lt_ek_certificates_standing(roots, chain->pem, chain->count, ek, &e) == LT_EK_CERTIFICATES_NO_ROOT)
        snprintf(out->text, sizeof out->text, "its certificate's %.200s has no certificate in guest_ek_roots",
                 e.msg);
    else
        snprintf(out->text, sizeof out->text, "its certificate: %.280s", why->msg);
}

static void look(struct lt_ref *roots, const char *pem, const struct lt_public *ek, struct lt_checks_ek *out)
{
    LT_GUEST_EK_AUTOCHAIN struct lt_bundle_certificates chain;
    struct lt_err e = {0};

    lt_guest_ek_chain(pem, &chain);
    *out = (struct lt_checks_ek){0};
    if (!roots)
        snprintf(out->text, sizeof out->text, "it is not pinned, and no guest_ek_roots are configured");
    else if (!chain.count)
        snprintf(out->text, sizeof out->text,
                 "it is not pinned, and its agent registered no certificate of it");
    else if (lt_ek_certificates_check(lt_ref_value(roots), chain.pem, chain.count, ek, lt_clock_wall_s(), &e))
        refused(lt_ref_value(roots), &chain, ek, &e, out);
    else
        out->certified = LT_CHECKS_FACT_YES;
}

/* Not what want of memory left unknown. */
static void keep(struct lt_guest_ek_found *f, uint64_t generation, const uint8_t of[LT_SHA256],
                 uint64_t until_ms)
{
    f->generation = f->facts.certified ? generation : 0;
    f->until_ms = until_ms;
    memcpy(f->of, of, sizeof f->of);
}

void lt_guest_ek_judge(struct lt_guest_ek *g, const char *pem, const struct lt_public *ek,
                       struct lt_guest_ek_found *found, struct lt_checks_ek *out)
{
    uint8_t of[LT_SHA256];
    uint64_t now = lt_clock_ms();

    lt_sha256_2(ek->raw, ek->raw_n, pem, pem ? strlen(pem) : 0, of);
    pthread_mutex_lock(&g->lock);
    struct lt_ref *roots = lt_ref_get(g->roots);
    uint64_t generation = g->generation;
    pthread_mutex_unlock(&g->lock);
    if (found->generation != generation || now >= found->until_ms || memcmp(found->of, of, sizeof of)) {
        look(roots, pem, ek, &found->facts);
        keep(found, generation, of, now + g->keep_ms);
    }
    lt_ref_put(roots);
    out->certified = found->facts.certified;
    memcpy(out->text, found->facts.text, sizeof out->text);
}
