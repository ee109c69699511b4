/* Connections, from accept to close, and the clock of each: libmicrohttpd only knows idleness, and a peer
 * that sends or takes one byte now and then is never idle. */
#include "common/alloc.h"
#include "common/hash.h"
#include "common/http/server_impl.h"
#include "common/run/clock.h"
#include "common/run/cond.h"
#include "common/run/log.h"
#include "common/siphash.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SWEEP_MS 250

static void link_to(struct lt_http_conn_list *l, struct lt_http_conn *c)
{
    c->list = l;
    c->next = NULL;
    c->prev = l->last;
    *(c->prev ? &c->prev->next : &l->first) = c;
    l->last = c;
    l->count++;
}

static void unlink_conn(struct lt_http_conn *c)
{
    struct lt_http_conn_list *l = c->list;

    *(c->prev ? &c->prev->next : &l->first) = c->next;
    *(c->next ? &c->next->prev : &l->last) = c->prev;
    l->count--;
}

/* Under the lock. */
static void leave_crowd(struct lt_http_conn *c)
{
    struct lt_http_conns *l = &c->server->conns;

    if (c->cut)
        return;
    c->cut = true;
    l->crowd[c->crowd]--;
    l->open--;
}

/* Under the lock. The descriptor is closed only after lt_http_conn_close; libmicrohttpd sees the end and
 * cleans up. */
static void cut_off(struct lt_http_conn *c, const char *why)
{
    shutdown(c->fd, SHUT_RDWR);
    c->deadline_ms = UINT64_MAX;
    leave_crowd(c);
    lt_log(LT_LOG_DEBUG, "connection", "cut off: %s", why);
}

static void befriend(struct lt_http_conns *l, struct lt_http_conn *c)
{
    if (c->list == &l->strangers) {
        unlink_conn(c);
        link_to(&l->others, c);
    }
}

/* Whoever has one address of an IPv6 network has its 2^64. */
static uint16_t crowd_of(const struct lt_http_conns *l, const struct sockaddr_storage *a)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)a;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;
    const void *net = &four->sin_addr;
    size_t n = sizeof four->sin_addr;

    if (a->ss_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);
        net = six->sin6_addr.s6_addr + (mapped ? 12 : 0);
        n = mapped ? 4 : 8;
    }
    return lt_siphash(l->key, net, n) % LT_HTTP_CROWDS;
}

/* Over a UNIX socket the kernel says who it is. */
static void take_user(struct lt_http_conn *c)
{
    uid_t uid;

    c->local = lt_http_local_uid(c->fd, &uid) && lt_http_local_may(uid);
    snprintf(c->source, sizeof c->source, "uid %lu", (unsigned long)uid);
}

static void take_source(struct lt_http_conn *c)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;

    if (c->server->over_local) {
        take_user(c);
        return;
    }
    if (getpeername(c->fd, (struct sockaddr *)&a, &n) ||
        getnameinfo((struct sockaddr *)&a, n, c->source, sizeof c->source, NULL, 0, NI_NUMERICHOST))
        snprintf(c->source, sizeof c->source, "an unknown address");
    c->crowd = crowd_of(&c->server->conns, &a);
}

/* Of the network with most connections the oldest; not one that waits for us. Under the lock. */
static struct lt_http_conn *most_crowded(const struct lt_http_conns *l)
{
    struct lt_http_conn *most = NULL;

    for (struct lt_http_conn *c = l->others.first; c; c = c->next)
        if (!c->cut && c->deadline_ms != UINT64_MAX && (!most || l->crowd[c->crowd] > l->crowd[most->crowd]))
            most = c;
    return most;
}

/* Where everybody has to show a certificate, a flood of those who do not pushes out its own oldest; elsewhere
 * the largest crowd its own. Under the lock. */
static void make_room(struct lt_http_server *s)
{
    struct lt_http_conns *l = &s->conns;
    struct lt_http_conn *goes;

    if (s->require && l->strangers.count > l->max_strangers) {
        goes = l->strangers.first;
        befriend(l, goes); /* no longer one of them: it ends */
        cut_off(goes, "too many have not shown a certificate yet");
    } else if (!s->require && l->open > l->max_open && (goes = most_crowded(l))) {
        cut_off(goes, "too many connections, and most are of its network");
    }
}

struct lt_http_conn *lt_http_conn_open(struct lt_http_server *s, int fd)
{
    struct lt_http_conns *l = &s->conns;
    struct lt_http_conn *c = lt_new(struct lt_http_conn);
    c->server = s;
    c->fd = fd;
    take_source(c);
    c->deadline_ms = lt_clock_ms() + l->request_ms;
    pthread_mutex_lock(&l->lock);
    link_to(s->require ? &l->strangers : &l->others, c);
    l->crowd[c->crowd]++;
    l->open++;
    make_room(s);
    pthread_mutex_unlock(&l->lock);
    return c;
}

void lt_http_conn_proven(struct lt_http_conn *c)
{
    struct lt_http_conns *l = &c->server->conns;

    pthread_mutex_lock(&l->lock);
    befriend(l, c);
    pthread_mutex_unlock(&l->lock);
}

void lt_http_conn_allow(struct lt_http_conn *c, uint64_t ms)
{
    if (!c)
        return;
    struct lt_http_conns *l = &c->server->conns;
    pthread_mutex_lock(&l->lock);
    c->deadline_ms = ms == UINT64_MAX ? ms : lt_clock_ms() + ms;
    pthread_mutex_unlock(&l->lock);
}

void lt_http_conn_close(struct lt_http_conn *c)
{
    if (!c)
        return;
    struct lt_http_conns *l = &c->server->conns;
    pthread_mutex_lock(&l->lock);
    leave_crowd(c);
    unlink_conn(c);
    pthread_mutex_unlock(&l->lock);
    free(c);
}

static void sweep(struct lt_http_conn_list *list, uint64_t now)
{
    for (struct lt_http_conn *c = list->first; c; c = c->next)
        if (c->deadline_ms <= now)
            cut_off(c, "too slow");
}

static void *watch(void *arg)
{
    struct lt_http_conns *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        sweep(&l->strangers, lt_clock_ms());
        sweep(&l->others, lt_clock_ms());
        (void)lt_cond_until(&l->wake, &l->lock, lt_clock_ms() + SWEEP_MS);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int lt_http_conns_start(struct lt_http_conns *l, struct lt_err *e)
{
    lt_random(l->key, sizeof l->key);
    pthread_mutex_init(&l->lock, NULL);
    lt_cond_init(&l->wake);
    int rc = pthread_create(&l->thread, NULL, watch, l);
    l->watched = !rc;
    return rc ? lt_fail(e, LT_E_IO, "thread: %s", strerror(rc)) : 0;
}

void lt_http_conns_stop(struct lt_http_conns *l)
{
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    if (l->watched)
        pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
}
