#include "verifier/trust.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/run/clock.h"
#include "verifier/roots.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REGISTRY (16u << 20)
#define MAX_REGISTERED 65536u

struct lt_verifier_trust {
    bool has_registry;
    size_t count;
    uint8_t (*registered)[LT_SHA256];
    struct lt_ek_certificates_roots *roots;
};

void lt_verifier_trust_free(struct lt_verifier_trust *t)
{
    if (!t)
        return;
    lt_ek_certificates_roots_free(t->roots);
    free(t->registered);
    free(t);
}

static int read_entry(const json_t *entry, uint8_t digest[LT_SHA256], struct lt_err *e)
{
    static const char *const keys[] = {"host", "ek_digest", NULL};
    uint8_t host[LT_RESIDENCY_HOST_ID];
    int rc = lt_json_only(entry, keys, e);

    if (!rc)
        rc = lt_json_hex(entry, "host", host, sizeof host, e);
    if (!rc)
        rc = lt_json_hex(entry, "ek_digest", digest, LT_SHA256, e);
    if (!rc && memcmp(host, digest, sizeof host))
        rc = lt_fail(e, LT_E_MALFORMED, "host is not the beginning of ek_digest");
    return rc;
}

static int load_registry(struct lt_verifier_trust *t, const char *path, struct lt_err *e)
{
    static const char *const keys[] = {"format", "hosts", NULL};
    LT_AUTOFREE uint8_t *text = NULL;
    LT_JSON_AUTO json_t *j = NULL;
    const char *format;
    json_t *hosts;
    size_t n;

    LT_TRY(lt_file_read(path, MAX_REGISTRY, &text, &n, e));
    j = lt_json_parse(text, n, MAX_REGISTRY, e);
    int rc = j ? lt_json_only(j, keys, e) : e->code;
    if (!rc)
        rc = lt_json_string(j, "format", &format, e);
    if (!rc && strcmp(format, "limetree-registry/1"))
        rc = lt_fail(e, LT_E_UNSUPPORTED, "format \"%.40s\", not limetree-registry/1", format);
    if (!rc)
        rc = lt_json_array(j, "hosts", MAX_REGISTERED, &hosts, e);
    if (!rc && !(t->registered = calloc(json_array_size(hosts) + 1, LT_SHA256)))
        rc = lt_fail(e, LT_E_NO_MEMORY, "no memory");
    for (; !rc && t->count < json_array_size(hosts); t->count++)
        if ((rc = read_entry(json_array_get(hosts, t->count), t->registered[t->count], e)))
            rc = lt_fail_in(e, rc, "host %zu", t->count);
    t->has_registry = true;
    return rc ? lt_fail_in(e, rc, "registry %s", path) : 0;
}

int lt_verifier_trust_load(const char *registry, const char *roots, struct lt_verifier_trust **out,
                           struct lt_err *e)
{
    struct lt_verifier_trust *t = lt_new(struct lt_verifier_trust);
    int rc = 0;

    *out = NULL;
    if (registry && load_registry(t, registry, e)) {
        rc = e->code = LT_E_CONFIG; /* a file of ours, whatever is wrong in it */
    }
    if (!rc && roots)
        rc = lt_roots_load("roots", roots, &t->roots, e);
    if (rc)
        lt_verifier_trust_free(t);
    else
        *out = t;
    return rc;
}

__attribute__((format(printf, 3, 4))) static void gap(struct lt_checks_identity_host *id, const char *word,
                                                      const char *fmt, ...)
{
    char host[2 * LT_RESIDENCY_HOST_ID + 1];
    va_list ap;

    lt_hex(id->host_id, LT_RESIDENCY_HOST_ID, host);
    id->certificate = LT_CHECKS_FACT_UNKNOWN;
    id->certificate_gap = word;
    int n = snprintf(id->certificate_text, sizeof id->certificate_text, "host %s: ", host);
    va_start(ap, fmt);
    vsnprintf(id->certificate_text + n, sizeof id->certificate_text - (size_t)n, fmt, ap);
    va_end(ap);
}

/* The provider hands certificates on as it likes. What no maker signed for this EK is as good as not there,
 * and a root that is missing here says nothing of the host. */
static void refused(const struct lt_verifier_trust *t, const struct lt_bundle_certificates *chain,
                    const struct lt_err *why, struct lt_checks_identity_host *id)
{
    struct lt_err e = {0};

    if (why->code == LT_E_NO_MEMORY) { /* says nothing of the chain */
        gap(id, lt_err_slug(why->code), "its EK certificate was not checked: %.200s", why->msg);
        return;
    }
    switch (lt_ek_certificates_standing(t->roots, chain->pem, chain->count, &id->ek, &e)) {
    case LT_EK_CERTIFICATES_NO_ROOT:
        gap(id, "no-root",
            "its EK certificate's %.140s has no certificate in roots: put it there and send the daemon a HUP",
            e.msg);
        return;
    case LT_EK_CERTIFICATES_UNPROVEN:
        gap(id, "no-certificate",
            "the provider shows no valid certificate of its EK (%.120s); limetree host add, again, brings the"
            " chip's",
            why->msg);
        return;
    case LT_EK_CERTIFICATES_SIGNED:
        id->certificate = LT_CHECKS_FACT_NO;
        snprintf(id->certificate_text, sizeof id->certificate_text, "%.319s", why->msg);
    }
}

enum lt_checks_fact lt_verifier_trust_registered(const struct lt_verifier_trust *t,
                                                 const uint8_t ek_digest[LT_SHA256])
{
    if (!t->has_registry)
        return LT_CHECKS_FACT_UNKNOWN;
    for (size_t i = 0; i < t->count; i++)
        if (!memcmp(t->registered[i], ek_digest, LT_SHA256))
            return LT_CHECKS_FACT_YES;
    return LT_CHECKS_FACT_NO;
}

void lt_verifier_trust_judge(const struct lt_verifier_trust *t, const struct lt_bundle_certificates *chain,
                             struct lt_checks_identity_host *id)
{
    struct lt_err e = {0};

    if (t->has_registry)
        id->in_registry = lt_verifier_trust_registered(t, id->ek_digest);
    if (!t->roots) {
        snprintf(id->certificate_text, sizeof id->certificate_text,
                 "not checked: no roots of TPM makers are configured");
    } else if (!chain->count) {
        gap(id, "no-certificate",
            "the provider shows no certificate of its EK; limetree host add, again, brings the chip's");
    } else if (lt_ek_certificates_check(t->roots, chain->pem, chain->count, &id->ek, lt_clock_wall_s(), &e)) {
        refused(t, chain, &e, id);
    } else {
        id->certificate = LT_CHECKS_FACT_YES;
        snprintf(id->certificate_text, sizeof id->certificate_text, "certified by a TPM maker's root");
    }
}
