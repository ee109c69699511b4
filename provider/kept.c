#include "provider/kept.h"

#include "common/alloc.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* In a tree of tsearch(3) and in a ring: next of the head is the one used last. The digest comes first. */
struct item {
    uint8_t digest[LT_SHA256];
    struct item *next, *before;
    struct lt_http_shared *bytes;
};

struct lt_kept {
    pthread_mutex_t lock;
    void *tree;
    struct item head;
    size_t bytes, max;
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, LT_SHA256);
}

static size_t weight(const struct lt_http_shared *s)
{
    return lt_http_shared_bytes(s).n + LT_KEPT_MORE;
}

static void unlink_item(struct item *i)
{
    i->before->next = i->next;
    i->next->before = i->before;
}

static void link_first(struct lt_kept *c, struct item *i)
{
    i->next = c->head.next;
    i->before = &c->head;
    i->next->before = c->head.next = i;
}

static void drop(struct lt_kept *c, struct item *i)
{
    unlink_item(i);
    tdelete(i, &c->tree, compare);
    c->bytes -= weight(i->bytes);
    lt_http_shared_unref(i->bytes);
    free(i);
}

struct lt_kept *lt_kept_new(size_t max)
{
    struct lt_kept *c = lt_new(struct lt_kept);

    pthread_mutex_init(&c->lock, NULL);
    c->head.next = c->head.before = &c->head;
    c->max = max;
    return c;
}

void lt_kept_free(struct lt_kept *c)
{
    if (!c)
        return;
    while (c->head.next != &c->head)
        drop(c, c->head.next);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct item *find(struct lt_kept *c, const uint8_t digest[LT_SHA256])
{
    void *const *node = tfind(digest, &c->tree, compare);

    return node ? *node : NULL;
}

struct lt_http_shared *lt_kept_get(struct lt_kept *c, const uint8_t digest[LT_SHA256])
{
    struct lt_http_shared *s = NULL;

    pthread_mutex_lock(&c->lock);
    struct item *i = find(c, digest);
    if (i) {
        unlink_item(i);
        link_first(c, i);
        s = lt_http_shared_ref(i->bytes);
    }
    pthread_mutex_unlock(&c->lock);
    return s;
}

/* Without memory for the tree nothing is kept: it is a cache. */
static void add(struct lt_kept *c, const uint8_t digest[LT_SHA256], struct lt_http_shared *s)
{
    struct item *i = lt_new(struct item);

    memcpy(i->digest, digest, LT_SHA256);
    if (!tsearch(i, &c->tree, compare)) {
        free(i);
        return;
    }
    i->bytes = lt_http_shared_ref(s);
    link_first(c, i);
    c->bytes += weight(s);
}

void lt_kept_put(struct lt_kept *c, const uint8_t digest[LT_SHA256], struct lt_http_shared *s)
{
    pthread_mutex_lock(&c->lock);
    if (weight(s) <= c->max && !find(c, digest)) {
        while (c->bytes + weight(s) > c->max)
            drop(c, c->head.before);
        add(c, digest, s);
    }
    pthread_mutex_unlock(&c->lock);
}

size_t lt_kept_bytes(struct lt_kept *c)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->bytes;
    pthread_mutex_unlock(&c->lock);
    return n;
}
