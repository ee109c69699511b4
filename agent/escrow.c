#include "agent/escrow.h"

#include "common/file.h"

#include <errno.h>
#include <unistd.h>

#define DIR "escrow"

static char *path_of(const char *own, const uint8_t uuid[LT_UUID])
{
    char name[LT_UUID_TEXT];

    lt_uuid_format(uuid, name);
    return lt_file_path(own, name);
}

int lt_agent_escrow_write(const char *dir, const struct lt_seal_entry *x, struct lt_slice pem,
                          struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf copy = LT_BUF(LT_MAX_ESCROW);
    LT_AUTOFREE char *own = lt_file_path(dir, DIR), *path = path_of(own, x->uuid);

    LT_TRY(lt_seal_escrow_make(x, pem, &copy, e));
    LT_TRY(lt_file_dir_private(own, e));
    LT_TRY(lt_file_write(path, copy.p, copy.n, 0600, e));
    /* The commit that follows lists the key for ever: the copy must not be lost by the same power cut. */
    LT_TRY(lt_file_sync_dir(own, e));
    return lt_file_sync_dir(dir, e);
}

int lt_agent_escrow_read(const char *dir, const uint8_t uuid[LT_UUID], uint8_t **out, size_t *n,
                         struct lt_err *e)
{
    LT_AUTOFREE char *own = lt_file_path(dir, DIR), *path = path_of(own, uuid);

    *out = NULL;
    if (access(path, F_OK) && errno == ENOENT)
        return lt_fail(e, LT_E_NOT_FOUND, "no escrow copy of that vTPM is here");
    return lt_file_read_secret(path, LT_MAX_ESCROW, out, n, e);
}
