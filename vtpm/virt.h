/* libvirt through a table of its functions, found with dlopen: limetree-agent also runs where there is no
 * libvirt. */
#ifndef LT_VTPM_VIRT_H
#define LT_VTPM_VIRT_H

#include "common/err.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define LT_VIRT_FUNCTIONS(X)                                                                                 \
    X(virInitialize)                                                                                         \
    X(virSetErrorFunc)                                                                                       \
    X(virGetLastErrorCode)                                                                                   \
    X(virGetLastErrorMessage)                                                                                \
    X(virEventRegisterDefaultImpl)                                                                           \
    X(virEventRunDefaultImpl)                                                                                \
    X(virEventAddTimeout)                                                                                    \
    X(virEventRemoveTimeout)                                                                                 \
    X(virEventUpdateTimeout)                                                                                 \
    X(virConnectOpen)                                                                                        \
    X(virConnectIsAlive)                                                                                     \
    X(virConnectOpenReadOnly)                                                                                \
    X(virConnectClose)                                                                                       \
    X(virConnectSetKeepAlive)                                                                                \
    X(virConnectRegisterCloseCallback)                                                                       \
    X(virConnectUnregisterCloseCallback)                                                                     \
    X(virConnectDomainEventRegisterAny)                                                                      \
    X(virConnectDomainEventDeregisterAny)                                                                    \
    X(virConnectListAllDomains)                                                                              \
    X(virDomainLookupByUUID)                                                                                 \
    X(virDomainIsActive)                                                                                     \
    X(virDomainGetUUID)                                                                                      \
    X(virDomainGetState)                                                                                     \
    X(virDomainGetXMLDesc)                                                                                   \
    X(virDomainGetMessages)                                                                                  \
    X(virDomainDefineXMLFlags)                                                                               \
    X(virDomainCreateWithFlags)                                                                              \
    X(virDomainGetAutostart)                                                                                 \
    X(virDomainHasManagedSaveImage)                                                                          \
    X(virDomainIsPersistent)                                                                                 \
    X(virDomainFree)                                                                                         \
    X(virSecretLookupByUUID)                                                                                 \
    X(virSecretLookupByUsage)                                                                                \
    X(virSecretDefineXML)                                                                                    \
    X(virSecretSetValue)                                                                                     \
    X(virSecretUndefine)                                                                                     \
    X(virSecretFree)                                                                                         \
    X(virSecretGetUsageType)                                                                                 \
    X(virSecretGetUsageID)                                                                                   \
    X(virConnectListAllSecrets)

struct lt_virt {
#define X(name) __typeof__(&name) name;
    LT_VIRT_FUNCTIONS(X)
#undef X
};

/* The table, with virEventRegisterDefaultImpl called once for the process; the same one each time. */
int lt_virt_load(const struct lt_virt **out, struct lt_err *e) LT_MUST_CHECK;

#endif
