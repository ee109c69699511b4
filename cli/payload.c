#include "cli/payload.h"

#include "common/alloc.h"
#include "common/file.h"

#include <archive.h>
#include <archive_entry.h>
#include <fts.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct zip {
    struct archive *a;
    struct lt_buf *out;
    const struct lt_cli_payload_extra *extras;
    size_t count;
};

static int zip_fail(struct zip *z, const char *name, struct lt_err *e)
{
    if (z->out->failed)
        return lt_fail(e, LT_E_TOO_LARGE, "payload: more than %d bytes, %s among them", LT_MAX_PAYLOAD, name);
    return lt_fail(e, LT_E_INTERNAL, "payload: %s: %s", name, archive_error_string(z->a));
}

/* ---- entries ---- */

static int add_entry(struct zip *z, const char *name, mode_t type, unsigned mode, struct lt_slice bytes,
                     struct lt_err *e)
{
    struct archive_entry *entry = archive_entry_new();

    if (!entry)
        return lt_fail(e, LT_E_NO_MEMORY, "payload: no memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, mode & 0777);
    archive_entry_set_size(entry, (la_int64_t)bytes.n);
    bool good = archive_write_header(z->a, entry) == ARCHIVE_OK &&
                (!bytes.n || archive_write_data(z->a, bytes.p, bytes.n) == (la_ssize_t)bytes.n);
    archive_entry_free(entry);
    return good && !z->out->failed ? 0 : zip_fail(z, name, e);
}

static int add_file(struct zip *z, const char *path, const char *name, unsigned mode, struct lt_err *e)
{
    uint8_t *p;
    size_t n;

    for (size_t i = 0; i < z->count; i++)
        if (!strcmp(z->extras[i].name, name))
            return lt_fail(e, LT_E_USAGE, "%s: a file of that name is put into the payload besides", path);
    LT_TRY(lt_file_read(path, LT_MAX_PAYLOAD, &p, &n, e));
    int rc = add_entry(z, name, AE_IFREG, mode, (struct lt_slice){p, n}, e);
    lt_wipe(p, n);
    free(p);
    return rc;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Below the directory, by what lies there, not by what a link points to. */
static int add_found(struct zip *z, const FTSENT *f, size_t root, struct lt_err *e)
{
    const char *name = f->fts_path + root;

    switch (f->fts_info) {
    case FTS_D:
        return f->fts_level ? add_entry(z, name, AE_IFDIR, f->fts_statp->st_mode, (struct lt_slice){0}, e)
                            : 0;
    case FTS_DP:
        return 0;
    case FTS_F:
        return add_file(z, f->fts_path, name, f->fts_statp->st_mode, e);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        return lt_fail(e, LT_E_IO, "%s: %s", f->fts_path, strerror(f->fts_errno));
    default:
        return lt_fail(e, LT_E_USAGE, "%s: neither a file nor a directory; links and devices are no payload",
                       f->fts_path);
    }
}

static int add_directory(struct zip *z, const char *path, struct lt_err *e)
{
    LT_AUTOFREE char *root = lt_alloc_text(path);
    size_t n = strlen(root);

    while (n > 1 && root[n - 1] == '/')
        root[--n] = 0;
    FTS *tree = fts_open((char *const[]){root, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (!tree)
        return lt_fail(e, LT_E_NO_MEMORY, "%s: no memory", path);
    int rc = 0;
    for (FTSENT *f; !rc && (f = fts_read(tree));)
        rc = add_found(z, f, n + 1, e);
    fts_close(tree);
    return rc;
}

/* ---- the whole ---- */

/* Never an error: of a writer that saw one libarchive does not free everything. Who adds looks at the buffer.
 */
static la_ssize_t to_buf(struct archive *a, void *arg, const void *p, size_t n)
{
    (void)a;
    lt_buf_put(arg, p, n);
    return (la_ssize_t)n;
}

static int write_zip(struct zip *z, const char *path, bool directory, struct lt_err *e)
{
    if (archive_write_set_format_zip(z->a) || archive_write_set_bytes_per_block(z->a, 0) ||
        archive_write_open(z->a, z->out, NULL, to_buf, NULL))
        return zip_fail(z, "zip", e);
    for (size_t i = 0; i < z->count; i++)
        LT_TRY(add_entry(z, z->extras[i].name, AE_IFREG, z->extras[i].mode, z->extras[i].bytes, e));
    if (path && directory) {
        LT_TRY(add_directory(z, path, e));
    } else if (path) {
        LT_AUTOFREE char *copy = lt_alloc_text(path);
        LT_TRY(add_file(z, path, basename(copy), 0600, e));
    }
    return archive_write_close(z->a) == ARCHIVE_OK && !z->out->failed ? 0 : zip_fail(z, "its end", e);
}

static int read_file(const char *path, struct lt_buf *out, struct lt_err *e)
{
    uint8_t *p;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_PAYLOAD, &p, &n, e));
    lt_buf_put(out, p, n);
    lt_wipe(p, n);
    free(p);
    LT_TRY(lt_buf_ok(out, e));
    return n ? 0 : lt_fail(e, LT_E_USAGE, "%s: is empty", path);
}

int lt_cli_payload_read(const char *path, const struct lt_cli_payload_extra *extras, size_t count,
                        struct lt_buf *out, struct lt_err *e)
{
    struct stat st;
    bool directory = path && !stat(path, &st) && S_ISDIR(st.st_mode);

    *out = LT_BUF(LT_MAX_PAYLOAD);
    struct zip z = {.out = out, .extras = extras, .count = count};
    int rc;
    if (directory || count) {
        z.a = archive_write_new();
        rc = z.a ? write_zip(&z, path, directory, e) : lt_fail(e, LT_E_NO_MEMORY, "payload: no memory");
        archive_write_free(z.a);
    } else {
        rc = read_file(path, out, e);
    }
    if (rc)
        lt_buf_free(out);
    return rc;
}
