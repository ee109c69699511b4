#include "vtpm/sockdiag.h"

#include "common/limits.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WHAT "sock_diag answer"

static int add(struct lt_sockdiag_sockets *s, const struct lt_sockdiag_socket *one, struct lt_err *e)
{
    if (s->count == s->cap) {
        if (s->cap >= LT_MAX_SOCKETS)
            return lt_fail(e, LT_E_TOO_LARGE, WHAT ": more than %u sockets", LT_MAX_SOCKETS);
        size_t cap = s->cap ? s->cap * 2 : 512;
        struct lt_sockdiag_socket *list = realloc(s->list, cap * sizeof *list);
        if (!list)
            return lt_fail(e, LT_E_NO_MEMORY, WHAT ": no memory for %zu sockets", cap);
        s->list = list;
        s->cap = cap;
    }
    s->list[s->count++] = *one;
    return 0;
}

static void take_name(struct lt_sockdiag_socket *one, const uint8_t *p, size_t n)
{
    if (n >= sizeof one->name)
        n = sizeof one->name - 1;
    memcpy(one->name, p, n);
    if (n && !one->name[0])
        one->name[0] = '@';
}

static int attributes(struct lt_sockdiag_socket *one, const uint8_t *p, size_t n, struct lt_err *e)
{
    for (size_t at = 0; n - at >= sizeof(struct rtattr);) {
        struct rtattr a;
        memcpy(&a, p + at, sizeof a);
        if (a.rta_len < sizeof a || a.rta_len > n - at)
            return lt_fail(e, LT_E_MALFORMED, WHAT ": attribute of %u bytes, %zu are left", a.rta_len,
                           n - at);
        const uint8_t *data = p + at + sizeof a;
        size_t size = a.rta_len - sizeof a;
        if (a.rta_type == UNIX_DIAG_PEER) {
            if (size != sizeof one->peer)
                return lt_fail(e, LT_E_MALFORMED, WHAT ": peer of %zu bytes", size);
            memcpy(&one->peer, data, sizeof one->peer);
        } else if (a.rta_type == UNIX_DIAG_NAME) {
            take_name(one, data, size);
        }
        size_t step = RTA_ALIGN(a.rta_len);
        at = step > n - at ? n : at + step;
    }
    return 0;
}

static int message(const uint8_t *p, size_t n, struct lt_sockdiag_sockets *out, struct lt_err *e)
{
    struct unix_diag_msg m;
    struct lt_sockdiag_socket one = {0};
    size_t head = NLMSG_ALIGN(sizeof m);

    if (n < head)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": message of %zu bytes", n);
    memcpy(&m, p, sizeof m);
    if (m.udiag_family != AF_UNIX)
        return lt_fail(e, LT_E_MALFORMED, WHAT ": family %u", m.udiag_family);
    one.inode = m.udiag_ino;
    one.state = m.udiag_state;
    int rc = attributes(&one, p + head, n - head, e);
    return rc ? rc : add(out, &one, e);
}

int lt_sockdiag_sockets_parse(const void *p, size_t n, struct lt_sockdiag_sockets *out, bool *done,
                              struct lt_err *e)
{
    const uint8_t *b = p;

    *done = false;
    for (size_t at = 0; at < n;) {
        struct nlmsghdr h;
        if (n - at < sizeof h)
            return lt_fail(e, LT_E_MALFORMED, WHAT ": %zu trailing bytes", n - at);
        memcpy(&h, b + at, sizeof h);
        if (h.nlmsg_len < sizeof h || h.nlmsg_len > n - at)
            return lt_fail(e, LT_E_MALFORMED, WHAT ": message of %u bytes, %zu are left", h.nlmsg_len,
                           n - at);
        if (h.nlmsg_flags & NLM_F_DUMP_INTR)
            return lt_fail(e, LT_E_BUSY, WHAT ": the list changed while it was read");
        if (h.nlmsg_type == NLMSG_DONE) {
            *done = true;
            return 0;
        }
        if (h.nlmsg_type == NLMSG_ERROR) {
            int32_t code = 0;
            if (h.nlmsg_len >= sizeof h + sizeof code)
                memcpy(&code, b + at + sizeof h, sizeof code);
            return lt_fail(e, LT_E_IO, WHAT ": %s", strerror(code < 0 && code > -4096 ? -code : EPROTO));
        }
        if (h.nlmsg_type == SOCK_DIAG_BY_FAMILY)
            LT_TRY(message(b + at + sizeof h, h.nlmsg_len - sizeof h, out, e));
        size_t step = NLMSG_ALIGN(h.nlmsg_len);
        at = step > n - at ? n : at + step;
    }
    return 0;
}

static int by_inode(const void *a, const void *b)
{
    const struct lt_sockdiag_socket *x = a, *y = b;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

void lt_sockdiag_sockets_sort(struct lt_sockdiag_sockets *s)
{
    if (s->count)
        qsort(s->list, s->count, sizeof *s->list, by_inode);
}

static int dump(int fd, struct lt_sockdiag_sockets *out, struct lt_err *e)
{
    struct {
        struct nlmsghdr h;
        struct unix_diag_req r;
    } ask = {
        .h = {.nlmsg_len = sizeof ask,
              .nlmsg_type = SOCK_DIAG_BY_FAMILY,
              .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .r = {.sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER}};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    uint8_t block[32768];
    bool done = false;

    if (sendto(fd, &ask, sizeof ask, 0, (struct sockaddr *)&kernel, sizeof kernel) != sizeof ask)
        return lt_fail(e, LT_E_IO, "sock_diag request: %s", strerror(errno));
    while (!done) {
        struct sockaddr_nl from = {0};
        socklen_t from_n = sizeof from;
        ssize_t got = recvfrom(fd, block, sizeof block, MSG_TRUNC, (struct sockaddr *)&from, &from_n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || (size_t)got > sizeof block)
            return lt_fail(e, LT_E_IO, WHAT ": %s", got < 0 ? strerror(errno) : "truncated");
        if (from.nl_pid) /* only the kernel has port 0 */
            continue;
        LT_TRY(lt_sockdiag_sockets_parse(block, (size_t)got, out, &done, e));
    }
    return 0;
}

int lt_sockdiag_sockets_read(struct lt_sockdiag_sockets *out, struct lt_err *e)
{
    *out = (struct lt_sockdiag_sockets){0};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return lt_fail(e, LT_E_IO, "sock_diag: %s", strerror(errno));
    int rc = dump(fd, out, e);
    close(fd);
    if (!rc)
        lt_sockdiag_sockets_sort(out);
    return rc;
}

void lt_sockdiag_sockets_free(struct lt_sockdiag_sockets *s)
{
    free(s->list);
    *s = (struct lt_sockdiag_sockets){0};
}

const struct lt_sockdiag_socket *lt_sockdiag_sockets_find(const struct lt_sockdiag_sockets *s, uint32_t inode)
{
    struct lt_sockdiag_socket key = {.inode = inode};
    return s->count ? bsearch(&key, s->list, s->count, sizeof *s->list, by_inode) : NULL;
}
