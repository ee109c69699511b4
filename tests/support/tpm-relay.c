/*
 * tpm-relay: lets several programs share one swtpm, and gives it a real chip's pace.
 *
 * swtpm serves one client at a time. The relay holds that one connection and serves many
 * clients on --listen PATH, interleaving whole TPM commands first come first served, as the
 * kernel does behind /dev/tpm0. --quote-delay MS stretches every TPM2_Quote to MS in all,
 * counted from its arrival at the TPM; meanwhile the TPM serves nobody: there is only one.
 *
 * Like /dev/tpm0 and unlike /dev/tpmrm0 it keeps no contexts apart: the TPM's three transient
 * slots and its sessions are common to all, so every client must flush what it makes, and a
 * client that dies between load and flush leaves its object behind.
 *
 * Control channel (PATH.ctrl, where tss2-tcti-swtpm looks): answered here, nothing is
 * forwarded. Whatever would stop, reset or cancel the TPM under the others is accepted and
 * has no effect. Locality is 0 for all. Reset the TPM through swtpm's own control socket.
 * Commands of our own there (tests/lab/relay.py): how many commands of each code came;
 * from now on a code is refused as one that the chip does not know, or is not on its list of
 * commands; before the next so many commands of a code a PCR is extended, as IMA does; who
 * sends the next so many commands of a code is hung up on, and the TPM does them all the same,
 * or is answered with an error, and the TPM does not hear of them.
 *
 * Ends on SIGTERM or SIGINT (status 0), and when swtpm goes away (status 1); removes its sockets.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    MSG_MAX = 4096, /* a TPM command or response; TPM2_PT_MAX_COMMAND_SIZE of libtpms */
    HEADER = 10,    /* u16 tag, u32 size, u32 code */
    CLIENTS_MAX = 128,
    CTRL_MAX = 32,
    CC_QUOTE = 0x158,
    CC_GET_CAPABILITY = 0x17a,
    CC_PCR_EXTEND = 0x182,
    CC_MAX = 0x200, /* codes below are counted */
    CAP_COMMANDS = 2,
    RC_COMMAND_CODE = 0x143,
};

/* swtpm control commands, swtpm 0.7 tpm_ioctl.h. Requests: u32 command, then its body. */
enum {
    CTRL_INIT = 2, /* body u32 flags */
    CTRL_SHUTDOWN = 3,
    CTRL_SET_LOCALITY = 5, /* body u8 locality */
    CTRL_CANCEL = 9,
    CTRL_STORE_VOLATILE = 10,
    CTRL_STOP = 14,
    CTRL_COUNTS = 0x4c540001,  /* answered with u32 0, u32 n, n x (u32 code, u32 count) */
    CTRL_REFUSE = 0x4c540002,  /* body u32 code, u32 whether */
    CTRL_HIDE = 0x4c540003,    /* the same */
    CTRL_EXTEND = 0x4c540004,  /* body u32 code, u32 PCR, u32 how often */
    CTRL_HANG_UP = 0x4c540005, /* body u32 code, u32 how often */
    CTRL_FAIL = 0x4c540006,    /* body u32 code, u32 error, u32 how often */
    CTRL_SUCCESS = 0,
    CTRL_BAD_ORDINAL = 10, /* TPM_BAD_ORDINAL: what swtpm says of unknown commands */
    CTRL_BAD_LOCALITY = 0x3d,
};

struct client {
    int fd;       /* -1: free */
    uint64_t seq; /* arrival order of the whole command, 0: none whole yet */
    bool served;  /* its command is with the TPM */
    size_t in_len, out_len, out_off;
    uint8_t in[MSG_MAX], out[MSG_MAX];
};

struct ctrl {
    int fd;
    size_t len;
    uint8_t buf[16];
};

static struct {
    uint32_t count;
    bool refused, hidden;
} codes[CC_MAX];

static struct {
    uint32_t code, pcr, left;
    uint64_t before; /* the command that it was done before */
} extend;

static struct {
    uint32_t code, left;
} hang_up;

static struct {
    uint32_t code, error, left;
} fail;

static struct client clients[CLIENTS_MAX];
static struct ctrl ctrls[CTRL_MAX];

static struct {
    int up, listen, ctrl, sig;
    uint64_t seq;         /* last arrival number given */
    bool busy;            /* a command is with the TPM */
    int owner;            /* whose; -1 once that client has gone */
    bool quote, answered; /* answered: response is whole, waiting for not_before */
    uint64_t not_before;  /* ns, CLOCK_MONOTONIC */
    size_t cmd_len, cmd_off, rsp_len;
    uint8_t cmd[MSG_MAX], rsp[MSG_MAX];
    uint64_t quote_delay; /* ns */
} tpm = {.up = -1, .listen = -1, .ctrl = -1, .sig = -1, .owner = -1};

static char listen_path[108], ctrl_path[108];
static bool listen_bound, ctrl_bound;

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void cleanup(void)
{
    if (listen_bound)
        unlink(listen_path);
    if (ctrl_bound)
        unlink(ctrl_path);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("tpm-relay: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    cleanup();
    exit(1);
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        die("socket path longer than %zu bytes: %s", sizeof a.sun_path - 1, path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    return a;
}

static int listen_on(const char *path, bool *bound)
{
    struct sockaddr_un a = address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a))
        die("bind %s: %s", path, strerror(errno));
    *bound = true;
    if (listen(fd, SOMAXCONN))
        die("listen %s: %s", path, strerror(errno));
    return fd;
}

/* Sends what the socket takes. False: the peer has gone. */
static bool push(int fd, const uint8_t *buf, size_t len, size_t *off)
{
    while (*off < len) {
        ssize_t n = send(fd, buf + *off, len - *off, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            *off += (size_t)n;
        else if (n < 0 && errno == EINTR)
            continue;
        else
            return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
    return true;
}

/* Reads up to cap bytes in all. False: end of file or error. */
static bool pull(int fd, uint8_t *buf, size_t cap, size_t *len)
{
    ssize_t n;
    do
        n = recv(fd, buf + *len, cap - *len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        *len += (size_t)n;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

static void drop(struct client *c)
{
    if (c->served)
        tpm.owner = -1; /* the TPM finishes; its answer goes nowhere */
    close(c->fd);
    c->fd = -1;
}

/* Is a whole command in the buffer? Then it joins the queue. False: nonsense, drop the client. */
static bool enqueue(struct client *c)
{
    if (c->seq || c->in_len < HEADER)
        return true;
    uint32_t size = be32(c->in + 2);
    if (size < HEADER || size > MSG_MAX)
        return false;
    if (c->in_len >= size)
        c->seq = ++tpm.seq;
    return true;
}

static struct client *first_waiting(void)
{
    struct client *c = NULL;
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (clients[i].fd >= 0 && clients[i].seq && (!c || clients[i].seq < c->seq))
            c = &clients[i];
    return c;
}

static void forward(int owner)
{
    tpm.busy = true;
    tpm.owner = owner;
    tpm.quote = be32(tpm.cmd + 6) == CC_QUOTE;
    tpm.answered = false;
    tpm.cmd_off = tpm.rsp_len = 0;
    tpm.not_before = tpm.quote ? now() + tpm.quote_delay : 0;
    if (!push(tpm.up, tpm.cmd, tpm.cmd_len, &tpm.cmd_off))
        die("swtpm has gone");
}

/* TPM2_PCR_Extend, empty password, one sha256 digest. Its answer goes nowhere. */
static void forward_extend(void)
{
    static const uint8_t head[] = {0x80, 0x02, 0, 0, 0, 65, 0, 0, 1, 0x82};
    static const uint8_t auth[] = {0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x0b, 0x5a};

    memset(tpm.cmd, 0, sizeof tpm.cmd);
    memcpy(tpm.cmd, head, sizeof head);
    put32(tpm.cmd + 10, extend.pcr);
    memcpy(tpm.cmd + 14, auth, sizeof auth);
    tpm.cmd_len = 65;
    forward(-1);
}

/* What the client sent leaves its buffer. */
static void take(struct client *c)
{
    tpm.cmd_len = be32(c->in + 2);
    memcpy(tpm.cmd, c->in, tpm.cmd_len);
    c->in_len -= tpm.cmd_len;
    memmove(c->in, c->in + tpm.cmd_len, c->in_len);
}

static void answer(struct client *c, const uint8_t *p, size_t n)
{
    memcpy(c->out, p, n);
    c->out_len = n;
    c->out_off = 0;
    c->served = false;
    c->seq = 0;
    if (!push(c->fd, c->out, c->out_len, &c->out_off) || !enqueue(c))
        drop(c);
}

static void answer_error(struct client *c, uint32_t error)
{
    uint8_t p[HEADER] = {0x80, 0x01, 0, 0, 0, HEADER};

    put32(p + 6, error);
    answer(c, p, sizeof p);
}

static void dispatch(void)
{
    struct client *c;

    while (!tpm.busy && (c = first_waiting())) {
        uint32_t code = be32(c->in + 6);
        if (extend.left && code == extend.code && extend.before != c->seq) {
            extend.before = c->seq;
            extend.left--;
            forward_extend();
            return;
        }
        if (code < CC_MAX)
            codes[code].count++;
        take(c);
        if (code < CC_MAX && codes[code].refused) {
            answer_error(c, RC_COMMAND_CODE);
            continue;
        }
        if (fail.left && code == fail.code) {
            fail.left--;
            answer_error(c, fail.error);
            continue;
        }
        c->served = true;
        forward((int)(c - clients));
        if (hang_up.left && code == hang_up.code) {
            hang_up.left--;
            drop(c);
        }
    }
}

/* A hidden command is not on the list: it stands there as the one behind it. */
static void hide(void)
{
    const size_t list = HEADER + 1 + 4 + 4;

    if (be32(tpm.cmd + 6) != CC_GET_CAPABILITY || be32(tpm.cmd + HEADER) != CAP_COMMANDS ||
        tpm.rsp_len < list)
        return;
    for (size_t at = list; at + 4 <= tpm.rsp_len; at += 4) {
        uint32_t code = (uint32_t)tpm.rsp[at + 2] << 8 | tpm.rsp[at + 3];
        if (code < CC_MAX && codes[code].hidden)
            put32(tpm.rsp + at, (be32(tpm.rsp + at) & 0xffff0000u) | (code + 1));
    }
}

static void deliver(void)
{
    if (!tpm.busy || !tpm.answered || (tpm.not_before && now() < tpm.not_before))
        return;
    tpm.busy = false;
    if (tpm.owner < 0)
        return;
    struct client *c = &clients[tpm.owner];
    tpm.owner = -1;
    answer(c, tpm.rsp, tpm.rsp_len);
}

static void upstream(void)
{
    if (!pull(tpm.up, tpm.rsp, sizeof tpm.rsp, &tpm.rsp_len))
        die("swtpm has gone");
    if (!tpm.busy && tpm.rsp_len)
        die("swtpm answered without a command");
    if (tpm.rsp_len < HEADER)
        return;
    uint32_t size = be32(tpm.rsp + 2);
    if (size < HEADER || size > MSG_MAX || tpm.rsp_len > size)
        die("response of %zu bytes says size %u", tpm.rsp_len, size);
    tpm.answered = tpm.rsp_len == size;
    if (tpm.answered)
        hide();
}

static void serve(struct client *c, short events)
{
    if (events & POLLOUT) {
        if (!push(c->fd, c->out, c->out_len, &c->out_off))
            return drop(c);
    }
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        if (c->in_len == MSG_MAX) {
            /* Cannot read on; a hang-up would spin here. */
            if (events & (POLLHUP | POLLERR))
                drop(c);
            return;
        }
        if (!pull(c->fd, c->in, sizeof c->in, &c->in_len) || !enqueue(c))
            drop(c);
    }
}

/* Bytes of a request of that command; 0: it is unknown. */
static size_t request_size(uint32_t command)
{
    switch (command) {
    case CTRL_INIT:
        return 8;
    case CTRL_SET_LOCALITY:
        return 5;
    case CTRL_REFUSE:
    case CTRL_HIDE:
    case CTRL_HANG_UP:
        return 12;
    case CTRL_EXTEND:
    case CTRL_FAIL:
        return 16;
    case CTRL_COUNTS:
    case CTRL_SHUTDOWN:
    case CTRL_CANCEL:
    case CTRL_STORE_VOLATILE:
    case CTRL_STOP:
        return 4;
    default:
        return 0;
    }
}

static size_t write_counts(uint8_t *out)
{
    uint32_t n = 0;

    for (uint32_t code = 0; code < CC_MAX; code++)
        if (codes[code].count) {
            put32(out + 8 + 8 * n, code);
            put32(out + 12 + 8 * n++, codes[code].count);
        }
    put32(out, CTRL_SUCCESS);
    put32(out + 4, n);
    return 8 + 8 * n;
}

/* A whole request; what it is answered goes to out. */
static size_t obey(const uint8_t *p, uint8_t *out)
{
    uint32_t code = be32(p + 4), rc = CTRL_SUCCESS;

    switch (be32(p)) {
    case CTRL_COUNTS:
        return write_counts(out);
    case CTRL_SET_LOCALITY:
        rc = p[4] ? CTRL_BAD_LOCALITY : CTRL_SUCCESS;
        break;
    case CTRL_REFUSE:
        codes[code % CC_MAX].refused = be32(p + 8);
        break;
    case CTRL_HIDE:
        codes[code % CC_MAX].hidden = be32(p + 8);
        break;
    case CTRL_HANG_UP:
        hang_up.code = code;
        hang_up.left = be32(p + 8);
        break;
    case CTRL_FAIL:
        fail.code = code;
        fail.error = be32(p + 8);
        fail.left = be32(p + 12);
        break;
    case CTRL_EXTEND:
        extend.code = code;
        extend.pcr = be32(p + 8);
        extend.left = be32(p + 12);
        break;
    }
    put32(out, rc);
    return 4;
}

static void control(struct ctrl *k)
{
    uint8_t out[8 + 8 * CC_MAX];
    size_t off = 0;
    bool ok = pull(k->fd, k->buf, sizeof k->buf, &k->len);

    if (ok && k->len < 4)
        return;
    if (ok) {
        size_t want = request_size(be32(k->buf)), n = 4;
        if (k->len < want)
            return;
        if (want)
            n = obey(k->buf, out);
        else
            put32(out, CTRL_BAD_ORDINAL), want = k->len;
        k->len -= want;
        memmove(k->buf, k->buf + want, k->len);
        if (push(k->fd, out, n, &off) && off == n)
            return;
    }
    close(k->fd);
    k->fd = -1;
}

/* When all places are taken nobody is turned away: newcomers wait in the listen queue. */
static struct client *free_client(void)
{
    for (struct client *c = clients; c < clients + CLIENTS_MAX; c++)
        if (c->fd < 0)
            return c;
    return NULL;
}

static struct ctrl *free_ctrl(void)
{
    for (struct ctrl *k = ctrls; k < ctrls + CTRL_MAX; k++)
        if (k->fd < 0)
            return k;
    return NULL;
}

static void accept_clients(void)
{
    struct client *c;
    while ((c = free_client())) {
        c->fd = accept4(tpm.listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (c->fd < 0)
            return;
        c->seq = 0;
        c->served = false;
        c->in_len = c->out_len = c->out_off = 0;
    }
}

static void accept_ctrls(void)
{
    struct ctrl *k;
    while ((k = free_ctrl())) {
        k->fd = accept4(tpm.ctrl, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (k->fd < 0)
            return;
        k->len = 0;
    }
}

static void loop(void)
{
    enum { SIG, UP, LISTEN, CTRL, FIXED };
    struct pollfd p[FIXED + CLIENTS_MAX + CTRL_MAX];
    int who[FIXED + CLIENTS_MAX + CTRL_MAX];

    for (;;) {
        nfds_t n = FIXED;
        p[SIG] = (struct pollfd){tpm.sig, POLLIN, 0};
        p[UP] = (struct pollfd){tpm.up, POLLIN, 0};
        p[LISTEN] = (struct pollfd){tpm.listen, free_client() ? POLLIN : 0, 0};
        p[CTRL] = (struct pollfd){tpm.ctrl, free_ctrl() ? POLLIN : 0, 0};
        if (tpm.busy && tpm.cmd_off < tpm.cmd_len)
            p[UP].events |= POLLOUT;
        for (int i = 0; i < CLIENTS_MAX; i++) {
            struct client *c = &clients[i];
            if (c->fd < 0)
                continue;
            short want = c->in_len < MSG_MAX ? POLLIN : 0;
            if (c->out_off < c->out_len)
                want = POLLOUT; /* it reads its answer before we read on */
            who[n] = i;
            p[n++] = (struct pollfd){c->fd, want, 0};
        }
        nfds_t first_ctrl = n;
        for (int i = 0; i < CTRL_MAX; i++)
            if (ctrls[i].fd >= 0) {
                who[n] = i;
                p[n++] = (struct pollfd){ctrls[i].fd, POLLIN, 0};
            }

        struct timespec wait, *timeout = NULL;
        if (tpm.busy && tpm.answered && tpm.not_before) {
            uint64_t t = now(), left = t < tpm.not_before ? tpm.not_before - t : 0;
            wait.tv_sec = (time_t)(left / 1000000000u);
            wait.tv_nsec = (long)(left % 1000000000u);
            timeout = &wait;
        }
        if (ppoll(p, n, timeout, NULL) < 0) {
            if (errno == EINTR)
                continue;
            die("poll: %s", strerror(errno));
        }
        if (p[SIG].revents)
            return;
        if (p[UP].revents & POLLOUT && !push(tpm.up, tpm.cmd, tpm.cmd_len, &tpm.cmd_off))
            die("swtpm has gone");
        if (p[UP].revents & (POLLIN | POLLHUP | POLLERR))
            upstream();
        deliver(); /* before clients are touched: its owner index is still good */
        for (nfds_t i = FIXED; i < first_ctrl; i++)
            if (p[i].revents && clients[who[i]].fd == p[i].fd)
                serve(&clients[who[i]], p[i].revents);
        for (nfds_t i = first_ctrl; i < n; i++)
            if (p[i].revents)
                control(&ctrls[who[i]]);
        if (p[LISTEN].revents)
            accept_clients();
        if (p[CTRL].revents)
            accept_ctrls();
        dispatch();
    }
}

static const char usage[] =
    "usage: tpm-relay --upstream SWTPM_SOCKET --listen PATH [--quote-delay MS] [--ready-fd N]\n";

static unsigned long number(const char *s, unsigned long max)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(s, &end, 10);
    if (errno || end == s || *end || v > max || s[0] == '-')
        die("not a number of 0 to %lu: %s", max, s);
    return v;
}

int main(int argc, char **argv)
{
    const char *up = NULL, *path = NULL;
    int ready = -1;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--upstream"))
            up = argv[i + 1];
        else if (!strcmp(argv[i], "--listen"))
            path = argv[i + 1];
        else if (!strcmp(argv[i], "--quote-delay"))
            tpm.quote_delay = (uint64_t)number(argv[i + 1], 600000) * 1000000u;
        else if (!strcmp(argv[i], "--ready-fd"))
            ready = (int)number(argv[i + 1], 65535);
        else
            up = path = NULL, i = argc;
    }
    if (!up || !path || argc % 2 == 0) {
        fputs(usage, stderr);
        return 2;
    }

    for (int i = 0; i < CLIENTS_MAX; i++)
        clients[i].fd = -1;
    for (int i = 0; i < CTRL_MAX; i++)
        ctrls[i].fd = -1;

    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    tpm.sig = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);

    struct sockaddr_un a = address(up);
    tpm.up = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (tpm.up < 0 || connect(tpm.up, (struct sockaddr *)&a, sizeof a))
        die("connect %s: %s", up, strerror(errno));

    if (snprintf(listen_path, sizeof listen_path, "%s", path) >= (int)sizeof listen_path ||
        snprintf(ctrl_path, sizeof ctrl_path, "%s.ctrl", path) >= (int)sizeof ctrl_path)
        die("socket path longer than %zu bytes: %s.ctrl", sizeof ctrl_path - 1, path);
    umask(077);
    tpm.listen = listen_on(listen_path, &listen_bound);
    tpm.ctrl = listen_on(ctrl_path, &ctrl_bound);

    if (ready >= 0) {
        if (dprintf(ready, "{\"listen\":\"%s\"}\n", listen_path) < 0)
            die("ready-fd %d: %s", ready, strerror(errno));
        close(ready);
    }
    loop();
    cleanup();
    return 0;
}
