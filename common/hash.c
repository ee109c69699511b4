#include "common/hash.h"

#include "common/alloc.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const struct alg {
    uint16_t id;
    const char *name, *fetch;
    size_t size;
} algs[] = {
    /* in the order of at() */
    {LT_HASH_SHA1, "sha1", "SHA1", 20},
    {LT_HASH_SHA256, "sha256", "SHA2-256", 32},
    {LT_HASH_SHA384, "sha384", "SHA2-384", 48},
    {LT_HASH_SHA512, "sha512", "SHA2-512", 64},
};
#define ALGS (sizeof algs / sizeof *algs)

static EVP_MD *mds[ALGS];
static EVP_MAC *hmac;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t contexts_key;

static void die(const char *what)
{
    fprintf(stderr, "limetree: %s failed; cannot go on\n", what);
    abort();
}

/* One context an algorithm and thread, reused: a fetched digest on a reused context costs a third of a
 * one-shot call, and one that changes its algorithm is made anew by OpenSSL each time. */
struct contexts {
    EVP_MD_CTX *of[ALGS];
};
static _Thread_local struct contexts *contexts;

static void free_contexts(void *p)
{
    struct contexts *c = p;
    for (size_t i = 0; i < ALGS; i++)
        EVP_MD_CTX_free(c->of[i]);
    free(c);
}

static void fetch_all(void)
{
    for (size_t i = 0; i < ALGS; i++)
        if (!(mds[i] = EVP_MD_fetch(NULL, algs[i].fetch, NULL)))
            die(algs[i].fetch);
    if (!(hmac = EVP_MAC_fetch(NULL, "HMAC", NULL)) || pthread_key_create(&contexts_key, free_contexts))
        die("HMAC");
}

static EVP_MD_CTX *thread_context(size_t alg)
{
    if (!contexts) {
        pthread_once(&once, fetch_all);
        contexts = lt_new(struct contexts);
        if (pthread_setspecific(contexts_key, contexts))
            die("pthread_setspecific");
    }
    EVP_MD_CTX **c = &contexts->of[alg];
    if (!*c && !(*c = EVP_MD_CTX_new()))
        die("EVP_MD_CTX_new");
    return *c;
}

static size_t at(uint16_t alg)
{
    switch (alg) { /* asked several times for each entry of a list */
    case LT_HASH_SHA1:
        return 0;
    case LT_HASH_SHA256:
        return 1;
    case LT_HASH_SHA384:
        return 2;
    case LT_HASH_SHA512:
        return 3;
    default:
        return ALGS;
    }
}

size_t lt_hash_size(uint16_t alg)
{
    size_t i = at(alg);
    return i < ALGS ? algs[i].size : 0;
}

const char *lt_hash_name(uint16_t alg)
{
    size_t i = at(alg);
    return i < ALGS ? algs[i].name : NULL;
}

uint16_t lt_hash_by_name(const char *s)
{
    for (size_t i = 0; s && i < ALGS; i++)
        if (!strcmp(algs[i].name, s))
            return algs[i].id;
    return 0;
}

static void begin(EVP_MD_CTX *c, size_t alg)
{
    if (EVP_DigestInit_ex2(c, mds[alg], NULL) != 1)
        die("digest");
}

static void add(EVP_MD_CTX *c, const void *p, size_t n)
{
    if (n && EVP_DigestUpdate(c, p, n) != 1)
        die("digest");
}

static void end(EVP_MD_CTX *c, uint8_t *out)
{
    if (EVP_DigestFinal_ex(c, out, NULL) != 1)
        die("digest");
}

void lt_hash(uint16_t alg, const struct lt_slice *parts, size_t count, uint8_t *out)
{
    size_t n = at(alg);
    if (n == ALGS)
        die("digest");
    EVP_MD_CTX *c = thread_context(n);
    begin(c, n);
    for (size_t i = 0; i < count; i++)
        add(c, parts[i].p, parts[i].n);
    end(c, out);
}

void lt_sha256(const void *p, size_t n, uint8_t out[LT_SHA256])
{
    lt_hash(LT_HASH_SHA256, &(struct lt_slice){p, n}, 1, out);
}

void lt_sha256_2(const void *a, size_t an, const void *b, size_t bn, uint8_t out[LT_SHA256])
{
    lt_hash(LT_HASH_SHA256, (struct lt_slice[]){{a, an}, {b, bn}}, 2, out);
}

struct lt_hasher *lt_hasher_new(uint16_t alg)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    size_t i = at(alg);
    if (!c || i == ALGS)
        die("EVP_MD_CTX_new");
    pthread_once(&once, fetch_all);
    begin(c, i);
    return (struct lt_hasher *)c;
}

void lt_hasher_add(struct lt_hasher *h, const void *p, size_t n)
{
    add((EVP_MD_CTX *)h, p, n);
}

void lt_hasher_end(struct lt_hasher *h, uint8_t *out)
{
    end((EVP_MD_CTX *)h, out);
    EVP_MD_CTX_free((EVP_MD_CTX *)h);
}

void lt_hmac(uint16_t alg, const void *key, size_t key_n, const void *p, size_t n, uint8_t *out)
{
    pthread_once(&once, fetch_all);
    size_t i = at(alg), len = 0;
    EVP_MAC_CTX *c = EVP_MAC_CTX_new(hmac);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(i < ALGS ? algs[i].fetch : ""), 0),
        OSSL_PARAM_END,
    };
    /* OpenSSL reads a NULL key as "the key you have": an empty key is still a key. */
    if (i == ALGS || !c || EVP_MAC_init(c, key_n ? key : (const void *)"", key_n, params) != 1 ||
        (n && EVP_MAC_update(c, p, n) != 1) || EVP_MAC_final(c, out, &len, algs[i].size) != 1)
        die("HMAC");
    EVP_MAC_CTX_free(c);
}

void lt_random(void *p, size_t n)
{
    for (uint8_t *b = p; n;) {
        ssize_t got = getrandom(b, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            die("getrandom");
        b += got;
        n -= (size_t)got;
    }
}

void lt_random_alnum(char *out, size_t n)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    uint8_t pool[64];
    size_t left = 0;

    for (size_t i = 0; i < n;) {
        if (!left)
            lt_random(pool, left = sizeof pool);
        uint8_t b = pool[--left];
        if (b < 248) /* 4 * 62: every character equally often */
            out[i++] = set[b % 62];
    }
    out[n] = 0;
    lt_wipe(pool, sizeof pool);
}
