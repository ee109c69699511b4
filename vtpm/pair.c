#include "vtpm/pair.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool holds(const uint32_t *list, size_t n, uint32_t inode)
{
    size_t low = 0;

    while (n) {
        size_t half = n / 2;
        if (list[low + half] == inode)
            return true;
        if (list[low + half] < inode) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return false;
}

/* swtpm's sockets against QEMU's. */
static int joined(const struct lt_proc *swtpm, const char *control, const uint32_t *qemu, size_t qemu_n,
                  const struct lt_sockdiag_sockets *sockets, struct lt_err *e)
{
    LT_AUTOFREE uint32_t *mine = NULL;
    size_t n;
    unsigned controls = 0, datas = 0;

    if (lt_proc_sockets(swtpm, &mine, &n, LT_NO_ERR))
        return lt_fail(e, LT_E_REFUSED, "swtpm %d is gone, or its descriptors are not ours to see",
                       (int)swtpm->pid);
    for (size_t i = 0; i < n; i++) {
        const struct lt_sockdiag_socket *s = lt_sockdiag_sockets_find(sockets, mine[i]);
        if (!s)
            return lt_fail(e, LT_E_REFUSED, "swtpm %d: socket %u is no unix socket of this machine",
                           (int)swtpm->pid, mine[i]);
        if (s->state == TCP_LISTEN || !s->peer)
            continue;
        if (!holds(qemu, qemu_n, s->peer))
            return lt_fail(e, LT_E_REFUSED, "swtpm %d: socket %u ends elsewhere than in the domain's QEMU",
                           (int)swtpm->pid, mine[i]);
        if (!s->name[0])
            datas++;
        else if (!strcmp(s->name, control))
            controls++;
        else
            return lt_fail(e, LT_E_REFUSED, "swtpm %d: socket %u is neither control nor data",
                           (int)swtpm->pid, mine[i]);
    }
    if (controls != 1 || datas != 1)
        return lt_fail(e, LT_E_REFUSED,
                       "swtpm %d: %u control and %u data connections to the domain's QEMU, not 1 and 1",
                       (int)swtpm->pid, controls, datas);
    return 0;
}

struct search {
    const struct lt_sockdiag_sockets *sockets;
    struct lt_pair *pair;
    uint32_t *qemu;
    size_t qemu_n;
    struct lt_err why; /* of the swtpm that came nearest */
};

static int found_qemu(void *ctx, struct lt_proc *p, const struct lt_procs_words *w, struct lt_err *e)
{
    struct search *s = ctx;

    (void)w;
    if (s->pair->qemu.pid)
        return lt_fail(e, LT_E_REFUSED, "processes %d and %d both name this domain's uuid",
                       (int)s->pair->qemu.pid, (int)p->pid);
    s->pair->qemu = *p;
    *p = LT_PROC_NONE;
    return 0;
}

static int found_swtpm(void *ctx, struct lt_proc *p, const struct lt_procs_words *w, struct lt_err *e)
{
    struct search *s = ctx;
    const char *option = lt_procs_words_option(w, "--ctrl");
    char control[LT_SOCKDIAG_SOCKET_NAME];
    LT_AUTOFREE uint32_t *mine = NULL;
    size_t n = 0;
    bool near = false;

    if (p->pid == s->pair->qemu.pid || !option ||
        !lt_procs_option_value(option, "path", control, sizeof control) ||
        lt_proc_sockets(p, &mine, &n, LT_NO_ERR))
        return 0;
    for (size_t i = 0; i < n && !near; i++) {
        const struct lt_sockdiag_socket *one = lt_sockdiag_sockets_find(s->sockets, mine[i]);
        near = one && one->peer && holds(s->qemu, s->qemu_n, one->peer);
    }
    if (!near || joined(p, control, s->qemu, s->qemu_n, s->sockets, &s->why))
        return 0;
    if (s->pair->swtpm.pid)
        return lt_fail(e, LT_E_REFUSED, "swtpm %d and swtpm %d are both joined to the domain's QEMU",
                       (int)s->pair->swtpm.pid, (int)p->pid);
    s->pair->swtpm = *p;
    snprintf(s->pair->control, sizeof s->pair->control, "%s", control);
    *p = LT_PROC_NONE;
    return 0;
}

int lt_pair_find(const char *uuid, uid_t uid, const struct lt_sockdiag_sockets *sockets, struct lt_pair *out,
                 struct lt_err *e)
{
    struct search s = {.sockets = sockets, .pair = out};

    *out = LT_PAIR_NONE;
    int rc = lt_proc_each(uid, "-uuid", uuid, found_qemu, &s, e);
    if (!rc && !out->qemu.pid)
        rc = lt_fail(e, LT_E_REFUSED, "no QEMU process for this domain that we may look at");
    if (!rc)
        rc = lt_proc_sockets(&out->qemu, &s.qemu, &s.qemu_n, e);
    if (!rc)
        rc = lt_proc_each(geteuid() ? geteuid() : LT_PROCS_ANY_UID, "--tpmstate", NULL, found_swtpm, &s, e);
    if (!rc && !out->swtpm.pid)
        rc = s.why.code ? lt_fail(e, s.why.code, "%s", s.why.msg)
                        : lt_fail(e, LT_E_REFUSED, "no swtpm is joined to QEMU %d", (int)out->qemu.pid);
    free(s.qemu);
    if (rc)
        lt_pair_close(out);
    return rc;
}

int lt_pair_confirm(const struct lt_pair *p, const struct lt_sockdiag_sockets *sockets, struct lt_err *e)
{
    LT_AUTOFREE uint32_t *qemu = NULL;
    size_t n;

    if (lt_proc_sockets(&p->qemu, &qemu, &n, LT_NO_ERR))
        return lt_fail(e, LT_E_REFUSED, "QEMU %d is gone, or its descriptors are not ours to see",
                       (int)p->qemu.pid);
    LT_TRY(joined(&p->swtpm, p->control, qemu, n, sockets, e));
    /* Last, so that what was read above was read of living processes. */
    if (!lt_pair_alive(p))
        return lt_fail(e, LT_E_REFUSED, "%s %d is gone", lt_proc_alive(&p->qemu) ? "swtpm" : "QEMU",
                       lt_proc_alive(&p->qemu) ? (int)p->swtpm.pid : (int)p->qemu.pid);
    return 0;
}

bool lt_pair_alive(const struct lt_pair *p)
{
    return lt_proc_alive(&p->qemu) && lt_proc_alive(&p->swtpm);
}

void lt_pair_close(struct lt_pair *p)
{
    lt_proc_close(&p->qemu);
    lt_proc_close(&p->swtpm);
    *p = LT_PAIR_NONE;
}
