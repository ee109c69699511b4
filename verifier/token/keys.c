#include "verifier/token/keys.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct lt_token_keys {
    struct lt_token_keys_conf conf;
    char *path;
    pthread_mutex_t lock;
    json_t *list; /* of {"key": JWK, "made": wall, "retired": wall or null}, the one in use first */
};

static int64_t time_of(const json_t *entry, const char *key)
{
    return json_integer_value(json_object_get(entry, key));
}

static int write_list(const struct lt_token_keys *k, const json_t *list, struct lt_err *e)
{
    LT_JSON_AUTO json_t *o = json_pack("{s:O}", "keys", list);
    char *text = o ? lt_json_dump(o) : NULL;
    int rc = text ? lt_file_write(k->path, text, strlen(text), 0600, e)
                  : lt_fail(e, LT_E_NO_MEMORY, "token keys: no memory");

    if (text)
        lt_wipe(text, strlen(text));
    free(text);
    return rc;
}

/* Those whose last token has ended go; the clocks of those who verify may be behind. */
static void drop_ended(const struct lt_token_keys *k, json_t *list, int64_t now)
{
    for (size_t i = json_array_size(list); i-- > 1;) {
        json_t *entry = json_array_get(list, i);
        if (time_of(entry, "retired") + k->conf.life_s + LT_TOKEN_SKEW_S < now)
            json_array_remove(list, i);
    }
}

static int rotate(struct lt_token_keys *k, int64_t now, struct lt_err *e)
{
    json_t *key = lt_token_key_new(e), *list;

    if (!key)
        return e->code;
    list = json_array();
    json_array_append_new(list, json_pack("{s:o, s:I, s:n}", "key", key, "made", (json_int_t)now, "retired"));
    for (size_t i = 0; i < json_array_size(k->list); i++) {
        json_t *entry = json_copy(json_array_get(k->list, i));
        if (!i)
            json_object_set_new(entry, "retired", json_integer((json_int_t)now));
        json_array_append_new(list, entry);
    }
    drop_ended(k, list, now);
    int rc = json_array_size(list) > LT_TOKEN_KEYS_MAX
                 ? lt_fail(e, LT_E_BUSY, "token keys: %d are kept until their last tokens have ended",
                           LT_TOKEN_KEYS_MAX)
                 : write_list(k, list, e);
    if (rc) {
        json_decref(list);
        return rc;
    }
    json_decref(k->list);
    k->list = list;
    return 0;
}

static int check_entry(const json_t *entry, struct lt_err *e)
{
    json_t *key;
    int64_t made;
    const char *text;

    LT_TRY(lt_json_object(entry, "key", &key, e));
    LT_TRY(lt_json_string(key, "kid", &text, e));
    LT_TRY(lt_json_string(key, "d", &text, e));
    return lt_json_int(entry, "made", 0, INT64_MAX / 2, &made, e);
}

static int read_list(struct lt_token_keys *k, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    LT_JSON_AUTO json_t *o = NULL;
    json_t *list = NULL;
    size_t n;

    LT_TRY(lt_file_read_secret(k->path, LT_MAX_BODY_SMALL, &text, &n, e));
    o = lt_json_parse(text, n, LT_MAX_BODY_SMALL, e);
    lt_wipe(text, n);
    int rc = o ? lt_json_array(o, "keys", LT_TOKEN_KEYS_MAX, &list, e) : e->code;
    if (!rc && !json_array_size(list))
        rc = lt_fail(e, LT_E_MALFORMED, "no key is in it");
    for (size_t i = 0; !rc && i < json_array_size(list); i++)
        rc = check_entry(json_array_get(list, i), e);
    if (rc)
        return lt_fail(e, LT_E_CONFIG, "%s: no file of token keys; remove it, and new ones are made",
                       k->path);
    k->list = json_incref(list);
    return 0;
}

int lt_token_keys_open(const struct lt_token_keys_conf *c, int64_t now, struct lt_token_keys **out,
                       struct lt_err *e)
{
    struct lt_token_keys *k = lt_new(struct lt_token_keys);

    *out = NULL;
    k->conf = *c;
    k->path = lt_alloc_text(c->path);
    pthread_mutex_init(&k->lock, NULL);
    int rc = access(c->path, F_OK) && errno == ENOENT ? rotate(k, now, e) : read_list(k, e);
    if (rc)
        lt_token_keys_free(k);
    else
        *out = k;
    return rc;
}

void lt_token_keys_free(struct lt_token_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < json_array_size(k->list); i++) /* wiped with the last who has it */
        lt_token_key_free(json_incref(json_object_get(json_array_get(k->list, i), "key")));
    json_decref(k->list);
    pthread_mutex_destroy(&k->lock);
    free(k->path);
    free(k);
}

int lt_token_keys_sign(struct lt_token_keys *k, const json_t *claims, int64_t now, char **out,
                       struct lt_err *e)
{
    pthread_mutex_lock(&k->lock);
    int64_t made = time_of(json_array_get(k->list, 0), "made");
    int rc = now - made > k->conf.age_s ? rotate(k, now, e) : 0;
    if (rc == LT_E_BUSY) /* the old one serves on */
        rc = 0;
    if (!rc)
        rc = lt_token_sign(json_object_get(json_array_get(k->list, 0), "key"), claims, out, e);
    pthread_mutex_unlock(&k->lock);
    return rc;
}

int lt_token_keys_rotate(struct lt_token_keys *k, int64_t now, struct lt_err *e)
{
    pthread_mutex_lock(&k->lock);
    int rc = rotate(k, now, e);
    pthread_mutex_unlock(&k->lock);
    return rc;
}

json_t *lt_token_keys_public(struct lt_token_keys *k, int64_t now)
{
    json_t *keys = json_array();

    pthread_mutex_lock(&k->lock);
    drop_ended(k, k->list, now);
    for (size_t i = 0; i < json_array_size(k->list); i++)
        json_array_append_new(keys, lt_token_key_public(json_object_get(json_array_get(k->list, i), "key")));
    pthread_mutex_unlock(&k->lock);
    return json_pack("{s:o}", "keys", keys);
}
