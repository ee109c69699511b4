#include "vtpm/launch.h"

#include "common/alloc.h"
#include "vtpm/virt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 3

struct lt_launch {
    const struct lt_virt *virt;
    virConnectPtr conn;
};

static int says(const struct lt_launch *l, int code, struct lt_err *e)
{
    const char *words = l->virt->virGetLastErrorMessage();
    int why = l->virt->virGetLastErrorCode();

    if (why == VIR_ERR_NO_DOMAIN)
        code = LT_E_NOT_FOUND;
    else if (why == VIR_ERR_RPC || why == VIR_ERR_INVALID_CONN)
        code = LT_E_UNREACHABLE;
    return lt_fail(e, code, "libvirt: %s", words ? words : "no word why");
}

int lt_launch_open(const char *uri, struct lt_launch **out, struct lt_err *e)
{
    const struct lt_virt *virt;

    *out = NULL;
    LT_TRY(lt_virt_load(&virt, e));
    struct lt_launch *l = lt_new(struct lt_launch);
    l->virt = virt;
    l->conn = virt->virConnectOpen(uri && *uri ? uri : geteuid() ? "qemu:///session" : "qemu:///system");
    if (!l->conn) {
        (void)says(l, LT_E_UNREACHABLE, e);
        free(l);
        return e->code = LT_E_UNREACHABLE;
    }
    (void)virt->virConnectSetKeepAlive(l->conn, KEEPALIVE_S, KEEPALIVE_COUNT);
    *out = l;
    return 0;
}

void lt_launch_close(struct lt_launch *l)
{
    if (!l)
        return;
    l->virt->virConnectClose(l->conn);
    free(l);
}

static int find(struct lt_launch *l, const uint8_t uuid[LT_UUID], virDomainPtr *out, struct lt_err *e)
{
    *out = l->virt->virDomainLookupByUUID(l->conn, uuid);
    return *out ? 0 : says(l, LT_E_REFUSED, e);
}

static int look(struct lt_launch *l, virDomainPtr dom, struct lt_launch_domain *out, struct lt_err *e)
{
    const struct lt_virt *v = l->virt;
    int active = v->virDomainIsActive(dom), saved = v->virDomainHasManagedSaveImage(dom, 0), autostart = 0;

    /* A transient domain has neither definition nor autostart. */
    if (v->virDomainIsPersistent(dom) != 1)
        return lt_fail(e, LT_E_REFUSED,
                       "the domain is not defined, only running: it loses its vTPM when it "
                       "stops");
    if (active < 0 || saved < 0 || v->virDomainGetAutostart(dom, &autostart))
        return says(l, LT_E_REFUSED, e);
    out->active = active;
    out->saved = saved;
    out->autostart = autostart;
    out->xml = v->virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    return out->xml ? 0 : says(l, LT_E_REFUSED, e);
}

int lt_launch_look(struct lt_launch *l, const uint8_t uuid[LT_UUID], struct lt_launch_domain *out,
                   struct lt_err *e)
{
    virDomainPtr dom;

    *out = (struct lt_launch_domain){0};
    LT_TRY(find(l, uuid, &dom, e));
    int rc = look(l, dom, out, e);
    l->virt->virDomainFree(dom);
    return rc;
}

int lt_launch_define(struct lt_launch *l, const char *xml, struct lt_err *e)
{
    virDomainPtr dom = l->virt->virDomainDefineXMLFlags(l->conn, xml, 0);

    if (!dom)
        return says(l, LT_E_REFUSED, e);
    l->virt->virDomainFree(dom);
    return 0;
}

int lt_launch_start(struct lt_launch *l, const uint8_t uuid[LT_UUID], bool paused, struct lt_err *e)
{
    virDomainPtr dom;

    LT_TRY(find(l, uuid, &dom, e));
    int rc = l->virt->virDomainCreateWithFlags(dom, paused ? VIR_DOMAIN_START_PAUSED : 0)
                 ? says(l, LT_E_REFUSED, e)
                 : 0;
    l->virt->virDomainFree(dom);
    return rc;
}
