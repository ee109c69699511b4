/* Connections, from accept to close, and the clock of each: libmicrohttpd only knows idleness, and a peer
 * that sends or takes one byte now and then is never idle. */
#include "common/clock.h"
#include "common/http_req.h"
#include "common/log.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SWEEP_MS 250

static void link_to(struct lt_conn_list *l, struct lt_conn *c)
{
    c->list = l;
    c->next = NULL;
    c->prev = l->last;
    *(c->prev ? &c->prev->next : &l->first) = c;
    l->last = c;
    l->count++;
}

static void unlink_conn(struct lt_conn *c)
{
    struct lt_conn_list *l = c->list;

    *(c->prev ? &c->prev->next : &l->first) = c->next;
    *(c->next ? &c->next->prev : &l->last) = c->prev;
    l->count--;
}

/* Under the lock. The descriptor is closed only after lt_conn_close; libmicrohttpd sees the end and cleans
 * up. */
static void cut_off(struct lt_conn *c, const char *why)
{
    shutdown(c->fd, SHUT_RDWR);
    c->deadline_ms = UINT64_MAX;
    lt_log(LT_LOG_DEBUG, "connection", "cut off: %s", why);
}

static void befriend(struct lt_conns *l, struct lt_conn *c)
{
    if (c->list == &l->strangers) {
        unlink_conn(c);
        link_to(&l->others, c);
    }
}

static void take_source(struct lt_conn *c)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;

    if (getpeername(c->fd, (struct sockaddr *)&a, &n) ||
        getnameinfo((struct sockaddr *)&a, n, c->source, sizeof c->source, NULL, 0, NI_NUMERICHOST))
        snprintf(c->source, sizeof c->source, "an unknown address");
}

struct lt_conn *lt_conn_open(struct lt_http_server *s, int fd)
{
    struct lt_conns *l = &s->conns;
    struct lt_conn *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->server = s;
    c->fd = fd;
    take_source(c);
    c->deadline_ms = lt_now_ms() + l->request_ms;
    pthread_mutex_lock(&l->lock);
    /* Where everybody has to show a certificate, a flood of those who do not pushes out its own oldest. */
    link_to(s->require ? &l->strangers : &l->others, c);
    if (l->strangers.count > l->max_strangers) {
        struct lt_conn *oldest = l->strangers.first;
        befriend(l, oldest); /* no longer one of them: it ends */
        cut_off(oldest, "too many have not shown a certificate yet");
    }
    pthread_mutex_unlock(&l->lock);
    return c;
}

void lt_conn_proven(struct lt_conn *c)
{
    struct lt_conns *l = &c->server->conns;

    pthread_mutex_lock(&l->lock);
    befriend(l, c);
    pthread_mutex_unlock(&l->lock);
}

void lt_conn_allow(struct lt_conn *c, uint64_t ms)
{
    if (!c)
        return;
    struct lt_conns *l = &c->server->conns;
    pthread_mutex_lock(&l->lock);
    c->deadline_ms = ms == UINT64_MAX ? ms : lt_now_ms() + ms;
    pthread_mutex_unlock(&l->lock);
}

void lt_conn_close(struct lt_conn *c)
{
    if (!c)
        return;
    struct lt_conns *l = &c->server->conns;
    pthread_mutex_lock(&l->lock);
    unlink_conn(c);
    pthread_mutex_unlock(&l->lock);
    free(c);
}

static void sweep(struct lt_conn_list *list, uint64_t now)
{
    for (struct lt_conn *c = list->first; c; c = c->next)
        if (c->deadline_ms <= now)
            cut_off(c, "too slow");
}

static void *watch(void *arg)
{
    struct lt_conns *l = arg;

    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        struct timespec t;
        sweep(&l->strangers, lt_now_ms());
        sweep(&l->others, lt_now_ms());
        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_nsec += SWEEP_MS * 1000000L;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->wake, &l->lock, &t);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int lt_conns_start(struct lt_conns *l, struct lt_err *e)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&l->thread, NULL, watch, l);
    l->watched = !rc;
    return rc ? lt_fail(e, LT_E_IO, "thread: %s", strerror(rc)) : 0;
}

void lt_conns_stop(struct lt_conns *l)
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
