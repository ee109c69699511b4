#include "appraisal/checks/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

const struct lt_reason lt_reasons[] = {
    {"provider-unreachable", "The provider gave no answer, or none that can be read.",
     "See that limetree-provider runs and that `provider` in tenant.conf is its address; federation_ca must "
     "be its CA."},
    {"provider-refused", "The provider answered and refused, or is overloaded.",
     "Read the message under `guest show`; the tenant's federation certificate must be valid and known to "
     "the provider."},
    {"host-unreachable", "The agent of the guest's host gave the provider no answer.",
     "Ask the provider: `limetree host list` says how old that host's last quote is, and why."},
    {"host-tpm", "The TPM of the guest's host fails or is away.",
     "Ask the provider: the host agent's log says in words what its TPM answers."},
    {"busy", "The guest's host is not ready to quote: it examines its guests, or too many wait.",
     "It ends by itself; if it does not, the provider looks at the host agent's log."},
    {"guest-unreachable", "The guest's agent gave no answer, or none that can be read.",
     "See that limetree-agent runs in the guest and that the tenant reaches its address (`guest add "
     "--address`)."},
    {"guest-tpm", "The guest's agent answers that its vTPM fails or is away.",
     "Read the agent's log in the guest; after hard stops the vTPM's lockout ends by itself."},
    {"not-assigned", "The provider does not know the guest as this tenant's.",
     "The provider's operator runs `limetree guest assign GUEST TENANT`."},
    {"not-found", "No host of the provider runs the guest now.",
     "See that the VM runs, on a host that is enrolled, with the vTPM it was registered with."},
    {"not-registered", "The guest's agent has not registered here.",
     "Start limetree-agent in the guest; its `registrar` must be the tenant's registrar_listen."},
    {"no-room", "Its answer found no room in the tenant's memory before its time was over.",
     "Raise memory_limit_mib in tenant.conf, or see what makes the guest's logs so large."},
    {"policy-changed", "The policy or the vTPM changed, and no round under the new one has ended.",
     "Wait for the next round, or ask for one with `limetree guest round`."},
    {"unproven", "There was no trusted verdict for max_stale_s.",
     "What stands in the last verdict is why: `limetree guest show`."},
    {"level", "All checks passed, and the policy does not accept how much they prove.",
     "Accept it by name (`guest learn --accept`), or mend what `guest show` names: the host's level, or the "
     "vTPM's openers."},
    {"not-sealed",
     "Its vTPM is not sealed to its host's chip: whoever has the state's file can run it elsewhere.",
     "Have it provisioned sealed (`limetree domain provision`, a new vTPM), or accept `copyable` by name."},
    {"openers-missing",
     "The list of what its vTPM was open to is not at hand, or is not the one that its host signed for.",
     "Wait: it is asked for again, soon where it merely did not come. If it stays, ask the provider for "
     "`limetree host openers`."},
    {"opener-unknown-host",
     "Its vTPM was open on a host that is not in the pinned registry, or whose chip no maker vouches for.",
     "See with `guest openers` which; add the host to the registry or set `roots`, or make the vTPM anew."},
    {"opener-off-policy", "Its vTPM was open in a state that no accepted host policy holds.",
     "See with `guest openers` which; accept the policy that holds it, or find out from the provider what "
     "ran there."},
    {"opener-not-enforced",
     "Every state is on policy, and the guest's policy does not say that they enforce user space.",
     "Accept `bound` by name, or name the host policies of which that is true in `seals` (docs/sealing.md "
     "says when)."},
    {"opener-escrow", "A key has its vTPM's secrets that the guest's policy does not name.",
     "Name your own recovery keys in `escrow`, your authorities in `authorities`; a stranger's key has them "
     "for good."},
    {"import-unknown", "Its vTPM came from another host, and nothing says what was open there before.",
     "Have the vTPM made anew on this host, or accept `copyable` by name."},
    {"exposed",
     "A host that its vTPM was open on failed its policy since: whoever had that host may have its secrets.",
     "Make the vTPM anew; or, if you know what happened there, `limetree guest clear UUID --exposed`."},
    {"unlinked", "No host was asked for a proof: nothing says where the guest runs.",
     "Have the provider answer for it, or accept that by name (`unlinked` in its policy's `accept`)."},
    {"ek-unproven",
     "Nobody vouches for the EK of a guest without a host: any software could have registered it.",
     "Set guest_ek_roots in tenant.conf, pin it (`guest add --ek`), or accept `ek-unproven` by name."},
    {"other-ek", "The EK that registered is not the one that is pinned.",
     "See who registered; delete that registration, or pin the right EK (`guest add --ek`)."},
    {NULL, NULL, NULL},
};

const struct lt_reason *lt_reason(const char *slug)
{
    for (const struct lt_reason *r = lt_reasons; slug && r->slug; r++)
        if (!strcmp(r->slug, slug))
            return r;
    return NULL;
}

/* Faults of our own are nobody else's. */
static bool ours(int code)
{
    return code == LT_E_NO_MEMORY || code == LT_E_INTERNAL || code == LT_E_IO || code == LT_E_NO_ROOM;
}

int lt_reason_guest(struct lt_err *e, int status)
{
    if (status >= 500 && strcasestr(e->msg, "tpm"))
        e->code = LT_E_GUEST_TPM;
    else if (!status && e->code == LT_E_BUSY) /* nobody but our own budget says that without a reply */
        e->code = LT_E_NO_ROOM;
    else if (!ours(e->code))
        e->code = LT_E_GUEST_UNREACHABLE;
    return e->code;
}

int lt_reason_provider(struct lt_err *e)
{
    if (e->code == LT_E_BUSY)
        e->code = LT_E_NO_ROOM;
    else if (!ours(e->code))
        e->code = LT_E_PROVIDER_UNREACHABLE;
    return e->code;
}

int lt_reason_said(struct lt_err *e)
{
    static const int his[] = {LT_E_HOST_UNREACHABLE, LT_E_HOST_TPM, LT_E_BUSY, LT_E_NOT_ASSIGNED,
                              LT_E_NOT_FOUND};

    for (size_t i = 0; i < sizeof his / sizeof *his; i++)
        if (e->code == his[i])
            return e->code;
    return e->code = LT_E_PROVIDER_REFUSED;
}
