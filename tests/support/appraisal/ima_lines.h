/* Lines of an IMA list as the kernel writes them (template ima-ng), and PCR 10 with them. */
#ifndef LT_TESTS_SUPPORT_APPRAISAL_IMA_LINES_H
#define LT_TESTS_SUPPORT_APPRAISAL_IMA_LINES_H

#include "tests/support/unit.h"
#include "tpm/pcr.h"

#include <string.h>

/* pcr: SHA-256 bank; NULL: it is not extended. */
static inline void ima_line(struct lt_buf *list, uint8_t *pcr, const uint8_t digest[32], const char *path)
{
    uint8_t data[512] = {40}, column[20], event[32];
    char text[41], hex[65];
    size_t n = strlen(path) + 1;

    assert_true(n < sizeof data - 48);
    memcpy(data + 4, "sha256:", 8);
    memcpy(data + 12, digest, 32);
    data[44] = (uint8_t)n;
    data[45] = (uint8_t)(n >> 8);
    memcpy(data + 48, path, n);
    const struct lt_slice part = {data, 48 + n};
    lt_hash(LT_HASH_SHA1, &part, 1, column);
    lt_hash(LT_HASH_SHA256, &part, 1, event);
    if (pcr)
        lt_pcr_extend(LT_HASH_SHA256, pcr, event);
    lt_hex(column, 20, text);
    lt_hex(digest, 32, hex);
    lt_buf_printf(list, "10 %s ima-ng sha256:%s %s\n", text, hex, path);
}

/* The same entry as the kernel's binary list has it. */
static inline void ima_frame(struct lt_buf *list, const uint8_t digest[32], const char *path)
{
    uint8_t data[512] = {40}, column[20];
    size_t n = strlen(path) + 1;

    assert_true(n < sizeof data - 48);
    memcpy(data + 4, "sha256:", 8);
    memcpy(data + 12, digest, 32);
    data[44] = (uint8_t)n;
    data[45] = (uint8_t)(n >> 8);
    memcpy(data + 48, path, n);
    const struct lt_slice part = {data, 48 + n};
    lt_hash(LT_HASH_SHA1, &part, 1, column);
    lt_buf_put(list, "\x0a\0\0", 4);
    lt_buf_put(list, column, sizeof column);
    lt_buf_put(list, "\6\0\0\0ima-ng", 10);
    lt_buf_put(list, (const uint8_t[]){(uint8_t)part.n, (uint8_t)(part.n >> 8), 0, 0}, 4);
    lt_buf_put(list, part.p, part.n);
}

/* A file whose content is its path. */
static inline void ima_file(struct lt_buf *list, uint8_t *pcr, const char *path)
{
    uint8_t digest[32];

    lt_sha256(path, strlen(path), digest);
    ima_line(list, pcr, digest, path);
}

/* boot_aggregate over PCR 0-9 as they are; the kernel's first entry. */
static inline void ima_aggregate(struct lt_buf *list, uint8_t *pcr, const struct lt_pcrs *boot,
                                 uint8_t digest[32])
{
    struct lt_slice part[10];

    for (int i = 0; i < 10; i++)
        part[i] = (struct lt_slice){boot->value[i], 32};
    lt_hash(LT_HASH_SHA256, part, 10, digest);
    ima_line(list, pcr, digest, "boot_aggregate");
}

/* A runtime policy that allows these files. */
static inline void ima_policy(struct lt_buf *doc, const char *const *paths, const char *exclude)
{
    uint8_t digest[32];
    char hex[65];

    lt_buf_str(doc, "{\"meta\":{\"version\":1,\"generator\":0},\"release\":0,\"digests\":{");
    for (int i = 0; paths[i]; i++) {
        lt_sha256(paths[i], strlen(paths[i]), digest);
        lt_hex(digest, 32, hex);
        lt_buf_printf(doc, "%s\"%s\":[\"%s\"]", i ? "," : "", paths[i], hex);
    }
    lt_buf_printf(doc,
                  "},\"excludes\":[%s],\"keyrings\":{},\"ima\":{\"ignored_keyrings\":[],"
                  "\"log_hash_alg\":\"sha1\",\"dm_policy\":null},\"ima-buf\":{},\"verification-keys\":\"\"}",
                  exclude ? exclude : "");
}

#endif
