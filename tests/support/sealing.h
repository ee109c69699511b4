/* States, openers and entries for the tests of sealed vTPMs, and the values computed elsewhere
 * (tests/vectors/sealing/). */
#ifndef LT_TESTS_SUPPORT_SEALING_H
#define LT_TESTS_SUPPORT_SEALING_H

#include "common/file.h"
#include "tests/support/unit.h"
#include "vtpm/seal/entry.h"

static inline json_t *sealing_vectors(void)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    OK(lt_file_read(LT_SOURCE_DIR "/tests/vectors/sealing/vectors.json", 1 << 20, &text, &n, &err));
    json_t *j = lt_json_parse(text, n, 1 << 20, &err);
    assert_non_null(j);
    return j;
}

/* {"a": {"b": "HEX"}}: sealing_bytes(j, "a.b"). Caller frees. */
static inline uint8_t *sealing_bytes(const json_t *j, const char *path, size_t *n)
{
    char word[64];

    for (const char *at = path; j && at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, "."), at);
        j = json_object_get(j, word);
    }
    if (!json_is_string(j))
        fail_msg("no %s in the vectors", path);
    *n = json_string_length(j) / 2;
    uint8_t *p = malloc(*n + 1);
    assert_non_null(p);
    OK(lt_unhex(json_string_value(j), p, *n, &err));
    return p;
}

/* A state whose every value is told by name and PCR. */
static inline struct lt_pcrs sealing_state(const char *name, uint32_t mask)
{
    struct lt_pcrs s = {.alg = LT_HASH_SHA256, .mask = mask};

    for (uint8_t i = 0; i < LT_MAX_PCRS; i++)
        if (mask >> i & 1)
            lt_sha256_2(name, strlen(name), &i, 1, s.value[i]);
    return s;
}

static inline struct lt_openers_one sealing_opener(enum lt_openers_kind kind, uint8_t digest)
{
    struct lt_openers_one one = {.kind = kind};

    memset(one.digest, digest, LT_SHA256);
    if (kind == LT_OPENERS_STATE)
        one.state = sealing_state("state", LT_OPENERS_STATE_MIN);
    if (kind == LT_OPENERS_HANDOVER)
        memset(one.name, digest + 1, LT_SHA256);
    return one;
}

/* An entry of a UUID that ends in n, without openers. */
static inline struct lt_seal_entry sealing_entry(uint8_t n)
{
    struct lt_seal_entry x = {.origin = LT_SEAL_MADE};

    x.uuid[LT_UUID - 1] = n;
    memset(x.ek_digest, n, LT_SHA256);
    memset(x.firmware, n + 1, LT_SHA256);
    memset(x.domain, n + 2, LT_SHA256);
    lt_seal_key_new(x.key);
    return x;
}

#endif
