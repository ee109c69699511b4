#include "appraisal/checks/checks.h"

#include <string.h>

/* What the tenant did not find out disproves nothing: only a fact that speaks against the host is a fault. */
static void check_activation(struct lt_checks *c)
{
    enum lt_checks_fact f = c->host->identity->activated;

    if (f == LT_CHECKS_FACT_NO)
        lt_check_fault(c->v, LT_CHECK_HOST_IDENTITY, "AK: activation with the EK failed");
    else if (f == LT_CHECKS_FACT_UNKNOWN)
        lt_check_lack(c->v, LT_CHECK_HOST_IDENTITY, "activation",
                      "AK: not activated with the EK by this verifier");
}

static void check_certificate(struct lt_checks *c)
{
    const struct lt_checks_identity_host *id = c->host->identity;
    const char *text = id->certificate_text;

    if (id->certificate == LT_CHECKS_FACT_NO)
        lt_check_fault(c->v, LT_CHECK_HOST_IDENTITY, "%s", *text ? text : "EK certificate: chain refused");
    else if (id->certificate == LT_CHECKS_FACT_UNKNOWN && c->host->accept_ek_unproven)
        lt_check_omit(c->v, LT_CHECK_HOST_IDENTITY, "certificate", "%s; accepted as ek-unproven",
                      *text ? text : "EK certificate: chain not checked");
    else if (id->certificate == LT_CHECKS_FACT_UNKNOWN)
        lt_check_gap(c->v, LT_CHECK_HOST_IDENTITY, "certificate", id->certificate_gap, "%s",
                     *text ? text : "EK certificate: chain not checked");
}

static void check_registry(struct lt_checks *c)
{
    const struct lt_checks_identity_host *id = c->host->identity;
    char host[2 * LT_RESIDENCY_HOST_ID + 1];

    lt_hex(id->host_id, LT_RESIDENCY_HOST_ID, host);
    if (id->in_registry == LT_CHECKS_FACT_NO)
        lt_check_gap(c->v, LT_CHECK_HOST_IDENTITY, "registry", "not-in-registry",
                     "host %s: its EK is not in the pinned registry; if it belongs there, add it (limetree "
                     "host registry"
                     " shows the provider's list) and send limetree-tenant a HUP",
                     host);
    else if (id->in_registry == LT_CHECKS_FACT_UNKNOWN)
        lt_check_lack(c->v, LT_CHECK_HOST_IDENTITY, "registry", "no registry to look the EK up in");
}

void lt_checks_host_identity(struct lt_checks *c)
{
    const struct lt_checks_identity_host *id = c->host->identity;
    struct lt_verdict *v = c->v;

    if (id->fault.code)
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "%s", id->fault.msg);
    if (!lt_slice_eq(c->attest.qualified_signer, (struct lt_slice){id->qualified_signer, LT_TPM_NAME}))
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "qualifiedSigner is not that of an AK under this EK");
    if (memcmp(c->host->quote->pcrs.value[LT_RESIDENCY_AK_PCR], id->ak_pcr, sizeof id->ak_pcr))
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "PCR %d does not name this AK", LT_RESIDENCY_AK_PCR);
    if (memcmp(c->header.host_id, id->host_id, LT_RESIDENCY_HOST_ID))
        lt_check_fault(v, LT_CHECK_HOST_IDENTITY, "host_id in the header is not that of this EK");
    check_activation(c);
    check_certificate(c);
    check_registry(c);
}
