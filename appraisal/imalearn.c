#include "appraisal/imalearn.h"

#include <string.h>

static bool has(const json_t *digests, const char *hex)
{
    const json_t *d;
    size_t i;

    json_array_foreach((json_t *)digests, i, d) if (!strcmp(json_string_value(d), hex)) return true;
    return false;
}

static int add(void *arg, const struct lt_ima_file *f, struct lt_err *e)
{
    static const uint8_t zeros[LT_MAX_DIGEST];
    static const char aggregate[] = "boot_aggregate";
    json_t *digests = arg, *list;
    char hex[2 * LT_MAX_DIGEST + 1];

    if (!f->digest.n || f->digest.n > sizeof zeros || !memcmp(f->digest.p, zeros, f->digest.n) ||
        lt_slice_eq(f->path, (struct lt_slice){(const uint8_t *)aggregate, sizeof aggregate - 1}))
        return 0;
    lt_hex(f->digest.p, f->digest.n, hex);
    list = json_object_getn(digests, (const char *)f->path.p, f->path.n);
    if (!list && json_object_setn_new(digests, (const char *)f->path.p, f->path.n, list = json_array()))
        return lt_fail(e, LT_E_MALFORMED,
                       "IMA entry %llu: its path is not UTF-8, a policy document cannot name it",
                       (unsigned long long)f->entry);
    if (!has(list, hex) && json_array_append_new(list, json_string(hex)))
        return lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
    return 0;
}

/* By the width of the template-hash column; the kernel's own is SHA-1. */
static const char *log_hash(struct lt_slice list)
{
    static const uint16_t algs[] = {LT_HASH_SHA1, LT_HASH_SHA256, LT_HASH_SHA384, LT_HASH_SHA512};
    const uint8_t *sp = list.n ? memchr(list.p, ' ', list.n) : NULL;
    const uint8_t *end = sp ? memchr(sp + 1, ' ', (size_t)(list.p + list.n - sp - 1)) : NULL;

    for (size_t i = 0; end && i < sizeof algs / sizeof *algs; i++)
        if ((size_t)(end - sp - 1) == 2 * lt_hash_size(algs[i]))
            return lt_hash_name(algs[i]);
    return "sha1";
}

int lt_ima_learn(struct lt_slice list, json_t **out, struct lt_err *e)
{
    json_t *digests = json_object();
    int rc = digests ? lt_ima_files(list, add, digests, e) : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");

    *out = NULL;
    if (rc) {
        json_decref(digests);
        return rc;
    }
    *out = json_pack("{s:{s:i, s:i}, s:i, s:o, s:[], s:{}, s:{s:[], s:s, s:n}, s:{}, s:s}", "meta", "version",
                     1, "generator", 0, "release", 0, "digests", digests, "excludes", "keyrings", "ima",
                     "ignored_keyrings", "log_hash_alg", log_hash(list), "dm_policy", "ima-buf",
                     "verification-keys", "");
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "policy: no memory");
}
