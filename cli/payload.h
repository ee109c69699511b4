/* What a guest is to get sealed: the bytes of a file as they are, or a zip of a directory. */
#ifndef LT_CLI_PAYLOAD_H
#define LT_CLI_PAYLOAD_H

#include "common/bytes.h"
#include "common/limits.h"

/* A file that is put beside those of the directory. */
struct lt_cli_payload_extra {
    const char *name;
    struct lt_slice bytes;
    unsigned mode;
};

/* path NULL: the extras alone. With extras a file goes into the zip, too, by its name. Regular files and
 * directories are taken, with their modes; anything else is LT_E_USAGE with its name, and so is a name that
 * is there twice. *out: freed (and wiped) by the caller; LT_E_TOO_LARGE above LT_MAX_PAYLOAD. */
int lt_cli_payload_read(const char *path, const struct lt_cli_payload_extra *extras, size_t count,
                        struct lt_buf *out, struct lt_err *e) LT_MUST_CHECK;

#endif
