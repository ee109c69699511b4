#include "verifier/challenges.h"

#include "common/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024
#define SOURCE 64

struct challenge {
    char source[SOURCE];
    char secret[LT_CHALLENGE];
    uint64_t made_ms;
    struct lt_agent agent;
};

/* A token bucket in thousandths of a registration. Sources whose keyed hashes meet share one: that can only
 * slow. */
struct bucket {
    uint64_t tokens, at_ms;
};

struct lt_challenges {
    pthread_mutex_t lock;
    uint8_t key[32];
    struct bucket buckets[BUCKETS];
    struct challenge *list[LT_CHALLENGES_MAX];
    size_t count;
};

struct lt_challenges *lt_challenges_new(void)
{
    struct lt_challenges *c = calloc(1, sizeof *c);

    if (c) {
        pthread_mutex_init(&c->lock, NULL);
        lt_random(c->key, sizeof c->key);
    }
    return c;
}

static void drop(struct lt_challenges *c, size_t i)
{
    struct challenge *x = c->list[i];

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
    const uint64_t full = LT_REGISTRATIONS_BURST * 1000;
    uint8_t h[32];
    bool ok;

    lt_hmac(LT_HASH_SHA256, c->key, sizeof c->key, source, strlen(source), h);
    pthread_mutex_lock(&c->lock);
    struct bucket *b = &c->buckets[(h[0] << 8 | h[1]) % BUCKETS];
    /* The clock may not run backwards, but two callers may have read it in the other order. */
    uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    if (!b->at_ms || passed >= full / LT_REGISTRATIONS_RATE)
        b->tokens = full;
    else if ((b->tokens += passed * LT_REGISTRATIONS_RATE) > full)
        b->tokens = full;
    if (now_ms > b->at_ms)
        b->at_ms = now_ms;
    ok = b->tokens >= 1000;
    if (ok)
        b->tokens -= 1000;
    pthread_mutex_unlock(&c->lock);
    return ok ? 0
              : lt_fail(e, LT_E_TOO_MANY, "more than %d registrations a second from %s",
                        LT_REGISTRATIONS_RATE, source);
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

static size_t oldest(const struct lt_challenges *c)
{
    size_t at = 0;
    for (size_t i = 1; i < c->count; i++)
        if (c->list[i]->made_ms < c->list[at]->made_ms)
            at = i;
    return at;
}

int lt_challenges_put(struct lt_challenges *c, const char *source, struct lt_agent *a,
                      const char secret[LT_CHALLENGE], uint64_t now_ms, struct lt_err *e)
{
    struct challenge *x = strlen(source) < SOURCE ? calloc(1, sizeof *x) : NULL;

    if (!x)
        return lt_fail(e, LT_E_NO_MEMORY, "challenge for %s: no memory", a->id);
    strcpy(x->source, source);
    memcpy(x->secret, secret, sizeof x->secret);
    x->made_ms = now_ms;
    x->agent = *a;
    *a = (struct lt_agent){0};
    pthread_mutex_lock(&c->lock);
    size_t i = find(c, source, x->agent.id, now_ms);
    if (i < c->count)
        drop(c, i);
    else if (c->count == LT_CHALLENGES_MAX)
        drop(c, oldest(c));
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
        lt_auth_tag(c->list[i]->secret, id, want);
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

void lt_auth_tag(const char secret[LT_CHALLENGE], const char *id, uint8_t out[LT_AUTH_TAG])
{
    char key[(LT_CHALLENGE + 2) / 3 * 4 + 1];

    lt_base64(secret, LT_CHALLENGE, key);
    lt_hmac(LT_HASH_SHA384, key, strlen(key), id, strlen(id), out);
    lt_wipe(key, sizeof key);
}
