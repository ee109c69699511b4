#include "tests/support/vtpm/sealing.h"

#include "common/file.h"
#include "vtpm/make.h"
#include "vtpm/sealed.h"
#include "vtpm/secrets.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 8
#define WORDS 6

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lt_seal_entry entries[ENTRIES];
static bool used[ENTRIES];
static int answers;
static char leaks[32];
static struct lt_make_result made;
static struct lt_secrets *secrets;

/* ---- the keeper ---- */

static int find(const uint8_t uuid[LT_UUID])
{
    for (int i = 0; i < ENTRIES; i++)
        if (used[i] && !memcmp(entries[i].uuid, uuid, LT_UUID))
            return i;
    return -1;
}

static int entry(void *ctx, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out, struct lt_err *e)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    int i = find(uuid), rc = answers;
    if (rc || i < 0)
        rc = lt_fail(e, rc ? rc : LT_E_NOT_FOUND, "the vault says %s", lt_err_slug(rc));
    else
        rc = lt_seal_entry_copy(&entries[i], out, e);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int of_ek(void *ctx, const uint8_t ek_digest[LT_SHA256], uint8_t uuid[LT_UUID], struct lt_err *e)
{
    int rc = lt_fail(e, LT_E_NOT_FOUND, "no entry of that EK");

    (void)ctx;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ENTRIES && rc; i++)
        if (used[i] && !answers && !memcmp(entries[i].ek_digest, ek_digest, LT_SHA256)) {
            memcpy(uuid, entries[i].uuid, LT_UUID);
            rc = 0;
        }
    pthread_mutex_unlock(&lock);
    return rc;
}

static const char *leak(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    const char *s = *leaks ? leaks : NULL;
    pthread_mutex_unlock(&lock);
    return s;
}

const struct lt_seal_keeper *sealing_keeper(void)
{
    static const struct lt_seal_keeper keeper = {entry, of_ek, leak, NULL};
    return &keeper;
}

static int set_entry(char *const *w, struct lt_err *e)
{
    struct lt_seal_entry x = {.origin = LT_SEAL_MADE};

    LT_TRY(lt_uuid_parse(w[1], x.uuid, e));
    LT_TRY(lt_unhex(w[2], x.ek_digest, LT_SHA256, e));
    memcpy(x.key, w[3], LT_SEAL_KEY);
    for (int i = 0; i < atoi(w[4]); i++) {
        const struct lt_openers_one one = {.kind = LT_OPENERS_ESCROW, .digest = {(uint8_t)i}};
        LT_TRY(lt_openers_add(&x.openers, &one, e));
    }
    pthread_mutex_lock(&lock);
    int i = find(x.uuid);
    for (int j = 0; j < ENTRIES && i < 0; j++)
        i = used[j] ? -1 : j;
    if (used[i])
        lt_seal_entry_free(&entries[i]);
    entries[i] = x;
    used[i] = true;
    pthread_mutex_unlock(&lock);
    return 0;
}

static int forget(char *const *w, struct lt_err *e)
{
    uint8_t uuid[LT_UUID];

    LT_TRY(lt_uuid_parse(w[1], uuid, e));
    pthread_mutex_lock(&lock);
    int i = find(uuid);
    if (i >= 0) {
        lt_seal_entry_free(&entries[i]);
        used[i] = false;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

static int say(char *const *w, struct lt_err *e)
{
    bool ok = !strcmp(w[1], "ok");

    (void)e;
    pthread_mutex_lock(&lock);
    if (!strcmp(w[0], "vault"))
        answers = ok ? 0 : lt_err_from_slug(w[1]);
    else
        snprintf(leaks, sizeof leaks, "%s", ok ? "" : w[1]);
    pthread_mutex_unlock(&lock);
    return 0;
}

/* ---- states ---- */

static int make(char *const *w, struct lt_err *e)
{
    const struct lt_make_conf conf = {.config = w[4], .uid = geteuid(), .gid = getegid()};
    uint8_t uuid[LT_UUID];

    lt_make_free(&made);
    LT_TRY(lt_uuid_parse(w[1], uuid, e));
    lt_make_sweep(NULL);
    return lt_make(&conf, uuid, w[2], w[3], &made, e);
}

static int where(const char *uri, const char *text, char **base, struct lt_statedir *d, uint8_t uuid[LT_UUID],
                 struct lt_err *e)
{
    if (text)
        LT_TRY(lt_uuid_parse(text, uuid, e));
    LT_TRY(lt_statedir_base(uri, base, e));
    *d = (struct lt_statedir){*base, geteuid(), getegid()};
    return 0;
}

static int place(const char *uri, char *const *w, struct lt_err *e)
{
    LT_AUTOFREE char *base = NULL;
    struct lt_statedir d;
    uint8_t uuid[LT_UUID];

    LT_TRY(where(uri, w[1], &base, &d, uuid, e));
    return *w[0] == 'i' ? lt_statedir_install(&d, uuid, made.state, made.n, e)
                        : lt_statedir_remove(&d, uuid, e);
}

static int check(const char *uri, char *const *w, struct lt_err *e)
{
    LT_AUTOFREE char *base = NULL;
    LT_AUTOFREE uint8_t *xml = NULL;
    struct lt_statedir d;
    struct lt_domain domain;
    struct lt_seal_entry x = {.origin = LT_SEAL_MADE};
    size_t n;

    LT_TRY(where(uri, NULL, &base, &d, NULL, e));
    LT_TRY(lt_file_read(w[1], LT_MAX_DOMAIN_XML, &xml, &n, e));
    int rc = lt_domain_parse(xml, n, &domain, e);
    memcpy(x.uuid, domain.uuid, LT_UUID);
    memcpy(x.key, w[2], LT_SEAL_KEY);
    if (!rc)
        rc = lt_sealed_check(&d, &domain, &x, e);
    lt_domain_free(&domain);
    return rc;
}

/* ---- secrets ---- */

static int keys(const char *uri, char *const *w, struct lt_err *e)
{
    uint8_t uuid[LT_UUID];

    if (!secrets)
        LT_TRY(lt_secrets_start(uri, &secrets, e));
    if (!strcmp(w[0], "sweep"))
        return lt_secrets_sweep(secrets, e);
    LT_TRY(lt_uuid_parse(w[1], uuid, e));
    return *w[0] == 'p' ? lt_secrets_put(secrets, uuid, w[2], e) : lt_secrets_drop(secrets, uuid, e);
}

/* ---- lines ---- */

static const struct {
    const char *word;
    int words;
    int (*local)(char *const *w, struct lt_err *e);
    int (*of_uri)(const char *uri, char *const *w, struct lt_err *e);
    bool tells; /* the inventory */
} commands[] = {
    {"entry", 5, set_entry, NULL, true}, {"forget", 2, forget, NULL, true},
    {"vault", 2, say, NULL, true},       {"leak", 2, say, NULL, false},
    {"make", 5, make, NULL, false},      {"install", 2, NULL, place, false},
    {"remove", 2, NULL, place, false},   {"check", 3, NULL, check, false},
    {"put", 3, NULL, keys, false},       {"drop", 2, NULL, keys, false},
    {"sweep", 1, NULL, keys, false},
};

static json_t *result(const char *word, int rc, const struct lt_err *e)
{
    if (rc)
        return json_pack("{s:s, s:o}", "error", lt_err_slug(rc), "message", lt_json_new_text(e->msg));
    if (strcmp(word, "make"))
        return json_object();
    return json_pack("{s:o, s:I}", "ek_digest", lt_json_new_hex(made.ek_digest, 32), "bytes",
                     (json_int_t)made.n);
}

json_t *sealing_answer(const char *uri, struct lt_vtpm_inventory *inv, const char *line)
{
    LT_AUTOFREE char *copy = strdup(line);
    char *w[WORDS + 1] = {NULL}, *rest = NULL;
    struct lt_err e = {0};
    int n = 0;

    for (char *word = strtok_r(copy, " ", &rest); word && n < WORDS; word = strtok_r(NULL, " ", &rest))
        w[n++] = word;
    for (size_t i = 0; n && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].word, w[0]) || commands[i].words != n)
            continue;
        int rc = commands[i].local ? commands[i].local(w, &e) : commands[i].of_uri(uri, w, &e);
        if (commands[i].tells)
            lt_inventory_entries_changed(inv);
        return result(w[0], rc, &e);
    }
    return NULL;
}

void sealing_end(void)
{
    lt_secrets_stop(secrets);
    lt_make_free(&made);
    for (int i = 0; i < ENTRIES; i++)
        lt_seal_entry_free(&entries[i]);
}
