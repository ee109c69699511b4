/* libarchive through a table of its functions, found with dlopen: it brings 40 MB of other libraries, which a
 * guest that gets no zip need neither hold nor measure. */
#ifndef LT_AGENT_ARCHIVE_H
#define LT_AGENT_ARCHIVE_H

#include "common/err.h"

#include <archive.h>
#include <archive_entry.h>

#define LT_ARCHIVE_FUNCTIONS(X)                                                                              \
    X(archive_read_new)                                                                                      \
    X(archive_read_free)                                                                                     \
    X(archive_read_support_format_zip_seekable)                                                              \
    X(archive_read_open_memory)                                                                              \
    X(archive_read_next_header)                                                                              \
    X(archive_read_data)                                                                                     \
    X(archive_error_string)                                                                                  \
    X(archive_format_name)                                                                                   \
    X(archive_entry_pathname)                                                                                \
    X(archive_entry_pathname_utf8)                                                                           \
    X(archive_entry_hardlink)                                                                                \
    X(archive_entry_filetype)

struct lt_archive {
#define X(name) __typeof__(&name) name;
    LT_ARCHIVE_FUNCTIONS(X)
#undef X
};

/* The same table each time. LT_E_CONFIG: libarchive is not installed here. */
int lt_archive_load(const struct lt_archive **out, struct lt_err *e) LT_MUST_CHECK;

#endif
