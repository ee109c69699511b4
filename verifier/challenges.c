#include "verifier/challenges.h"

#include "common/alloc.h"
#include "common/hash.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024
#define CROWDS 4096
#define SOURCE 64

/* Where a source stands in the counts of its network (one IPv4 address, an IPv6 /64) and of the one around
 * that
 * (/24, /48). */
struct origin {
    uint16_t narrow, wide, bucket;
};

struct challenge {
    char source[SOURCE];
    char secret[LT_CHALLENGE];
    struct origin from;
    uint64_t made_ms;
    struct lt_agent agent;
};

/* A token bucket in thousandths of a registration. Networks whose keyed hashes meet share one: that can only
 * slow. */
struct bucket {
    uint64_t tokens, at_ms;
};

struct lt_challenges {
    pthread_mutex_t lock;
    uint8_t key[32];
    struct bucket buckets[BUCKETS];
    uint16_t narrow[CROWDS],
        wide[CROWDS]; /* challenges of each network; those whose keyed hashes meet share one */
    struct challenge *list[LT_CHALLENGES_MAX];
    size_t count;
};

struct lt_challenges *lt_challenges_new(void)
{
    struct lt_challenges *c = lt_new(struct lt_challenges);

    pthread_mutex_init(&c->lock, NULL);
    lt_random(c->key, sizeof c->key);
    return c;
}

static uint16_t place(const struct lt_challenges *c, const uint8_t *p, size_t n)
{
    uint8_t h[32];

    lt_hmac(LT_HASH_SHA256, c->key, sizeof c->key, p, n, h);
    return (uint16_t)(h[0] << 8 | h[1]);
}

/* Whoever has one address of an IPv6 network has its 2^64: they are one source. */
static struct origin origin_of(const struct lt_challenges *c, const char *source)
{
    uint8_t a[17] = {0}; /* the last byte keeps narrow and wide apart */
    char text[SOURCE];
    size_t n = strcspn(source, "%"); /* fe80::1%eth0 */

    snprintf(text, sizeof text, "%.*s", (int)(n < SOURCE ? n : SOURCE - 1), source);
    bool four = inet_pton(AF_INET, text, a + 12) == 1;
    if (four)
        memset(a + 10, 0xff, 2);
    else if (inet_pton(AF_INET6, text, a) == 1)
        four = !memcmp(a, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    if (!four)
        memset(a + 8, 0, 8);
    uint16_t narrow = place(c, a, sizeof a);
    memset(a + (four ? 15 : 6), 0, four ? 1 : 2);
    a[16] = 1;
    return (struct origin){narrow % CROWDS, place(c, a, sizeof a) % CROWDS, narrow % BUCKETS};
}

static void drop(struct lt_challenges *c, size_t i)
{
    struct challenge *x = c->list[i];

    c->narrow[x->from.narrow]--;
    c->wide[x->from.wide]--;
    c->list[i] = c->list[--c->count];
    lt_agent_free(&x->agent);
    lt_wipe(x, sizeof *x);
    free(x);
}

void lt_challenges_free(struct lt_challenges *c)
{
    if (!c)
        return;
    while (c->count)
        drop(c, c->count - 1);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int lt_challenges_admit(struct lt_challenges *c, const char *source, uint64_t now_ms, struct lt_err *e)
{
    const uint64_t full = LT_CHALLENGES_REGISTRATIONS_BURST * 1000;
    struct bucket *b = &c->buckets[origin_of(c, source).bucket];
    bool ok;

    pthread_mutex_lock(&c->lock);
    /* The clock may not run backwards, but two callers may have read it in the other order. */
    uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    if (!b->at_ms || passed >= full / LT_CHALLENGES_REGISTRATIONS_RATE ||
        (b->tokens += passed * LT_CHALLENGES_REGISTRATIONS_RATE) > full)
        b->tokens = full;
    if (now_ms > b->at_ms)
        b->at_ms = now_ms;
    ok = b->tokens >= 1000;
    if (ok)
        b->tokens -= 1000;
    pthread_mutex_unlock(&c->lock);
    return ok ? 0
              : lt_fail(e, LT_E_TOO_MANY, "more than %d registrations a second from %s",
                        LT_CHALLENGES_REGISTRATIONS_RATE, source);
}

/* Index of (id, source), or count. Drops what has expired on the way. Under the lock. */
static size_t find(struct lt_challenges *c, const char *source, const char *id, uint64_t now_ms)
{
    for (size_t i = 0; i < c->count;) {
        struct challenge *x = c->list[i];
        if (now_ms > x->made_ms && now_ms - x->made_ms > LT_CHALLENGE_MS)
            drop(c, i);
        else if (!strcmp(x->agent.id, id) && !strcmp(x->source, source))
            return i;
        else
            i++;
    }
    return c->count;
}

/* a gives way before b: its networks hold more of the table, or it is the older one. */
static bool before(const struct lt_challenges *c, const struct challenge *a, const struct challenge *b)
{
    if (c->wide[a->from.wide] != c->wide[b->from.wide])
        return c->wide[a->from.wide] > c->wide[b->from.wide];
    if (c->narrow[a->from.narrow] != c->narrow[b->from.narrow])
        return c->narrow[a->from.narrow] > c->narrow[b->from.narrow];
    return a->made_ms < b->made_ms;
}

/* Of the largest crowd the oldest: a flood evicts itself. */
static size_t least(const struct lt_challenges *c)
{
    size_t at = 0;
    for (size_t i = 1; i < c->count; i++)
        if (before(c, c->list[i], c->list[at]))
            at = i;
    return at;
}

int lt_challenges_put(struct lt_challenges *c, const char *source, struct lt_agent *a,
                      const char secret[LT_CHALLENGE], uint64_t now_ms, struct lt_err *e)
{
    if (strlen(source) >= SOURCE)
        return lt_fail(e, LT_E_NO_MEMORY, "challenge for %s: no memory", a->id);
    struct challenge *x = lt_new(struct challenge);
    memcpy(x->source, source, strlen(source) + 1);
    memcpy(x->secret, secret, sizeof x->secret);
    x->made_ms = now_ms;
    x->from = origin_of(c, source);
    x->agent = *a;
    *a = (struct lt_agent){0};
    pthread_mutex_lock(&c->lock);
    size_t i = find(c, source, x->agent.id, now_ms);
    if (i < c->count)
        drop(c, i);
    else if (c->count == LT_CHALLENGES_MAX)
        drop(c, least(c));
    c->narrow[x->from.narrow]++;
    c->wide[x->from.wide]++;
    c->list[c->count++] = x;
    pthread_mutex_unlock(&c->lock);
    return 0;
}

int lt_challenges_answer(struct lt_challenges *c, const char *source, const char *id,
                         const uint8_t tag[LT_AUTH_TAG], uint64_t now_ms, struct lt_agent *out,
                         struct lt_err *e)
{
    uint8_t want[LT_AUTH_TAG];
    int rc;

    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&c->lock);
    size_t i = find(c, source, id, now_ms);
    if (i == c->count) {
        rc =
            lt_fail(e, LT_E_NOT_FOUND, "agent %s: no challenge is waiting for an answer; register again", id);
    } else {
        lt_auth_tag(c->list[i]->secret, LT_CHALLENGE, id, want);
        if (lt_equal_ct(want, tag, sizeof want)) {
            *out = c->list[i]->agent;
            c->list[i]->agent = (struct lt_agent){0};
            rc = 0;
        } else {
            rc = lt_fail(e, LT_E_REFUSED, "agent %s: wrong auth_tag; register again for a new challenge", id);
        }
        drop(c, i);
    }
    pthread_mutex_unlock(&c->lock);
    lt_wipe(want, sizeof want);
    return rc;
}
