/* Files: read whole with a ceiling, write whole or not at all, refuse secrets others can read. */
#ifndef LT_COMMON_FILE_H
#define LT_COMMON_FILE_H

#include "common/bytes.h"

#include <sys/types.h>

/* Regular files, and /sys files whose size is not known before reading. The result has a NUL behind its
 * last byte (not counted); caller frees. "-" is standard input. */
int lt_file_read(const char *path, size_t max, uint8_t **out, size_t *n, struct lt_err *e) LT_MUST_CHECK;
/* The same for a secret: refused unless a regular file that is ours and mode 0600 or less. */
int lt_file_read_secret(const char *path, size_t max, uint8_t **out, size_t *n,
                        struct lt_err *e) LT_MUST_CHECK;
/* A temporary file beside it, fsync, rename. */
int lt_file_write(const char *path, const void *p, size_t n, mode_t mode, struct lt_err *e) LT_MUST_CHECK;
/* The same without fsync, for what is soon written again: whole for every reader, but a power cut may lose
 * it. */
int lt_file_replace(const char *path, const void *p, size_t n, mode_t mode, struct lt_err *e) LT_MUST_CHECK;
/* The file is at that path too from now on (whatever was there), until one of the two is written anew. */
int lt_file_link(const char *path, const char *as, struct lt_err *e) LT_MUST_CHECK;
/* Makes the last component if absent (mode 0700); refuses one that others can write to. */
int lt_file_dir_private(const char *path, struct lt_err *e) LT_MUST_CHECK;
/* The names in it, too, outlive a power cut: what was renamed, made or removed there. */
int lt_file_sync_dir(const char *path, struct lt_err *e) LT_MUST_CHECK;
/* SHA-256 over the file, streamed. */
int lt_file_sha256(const char *path, uint8_t out[32], struct lt_err *e) LT_MUST_CHECK;
/* dir/name; aborts without memory. Caller frees. */
char *lt_file_path(const char *dir, const char *name);

#endif
