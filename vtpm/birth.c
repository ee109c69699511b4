#include "vtpm/birth.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/run/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT "limetree-birth/1"
#define FILE_NAME 70 /* 64 hex digits, ".json", NUL */

static void file_name(const uint8_t digest[32], char out[FILE_NAME])
{
    lt_hex(digest, 32, out);
    memcpy(out + 64, ".json", sizeof ".json");
}

int lt_birth_write(const char *records, const uint8_t uuid[LT_UUID], const char *name, const void *spki,
                   size_t n, struct lt_err *e)
{
    uint8_t digest[32];
    char id[LT_UUID_TEXT], file[FILE_NAME], now[32];

    lt_uuid_format(uuid, id);
    lt_sha256(spki, n, digest);
    file_name(digest, file);
    lt_clock_wall_text(lt_clock_wall_s(), now);
    LT_AUTOFREE char *dir = lt_file_path(records, id);
    LT_AUTOFREE char *path = lt_file_path(dir, file);
    LT_JSON_AUTO json_t *o =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:s}", "format", FORMAT, "uuid", lt_json_new_uuid(uuid), "name",
                  lt_json_new_text(name), "ek_digest", lt_json_new_hex(digest, 32), "ek",
                  lt_json_new_base64(spki, n), "time", now);
    LT_AUTOFREE char *text = o ? lt_json_pretty(o) : NULL;
    if (!text)
        return lt_fail(e, LT_E_NO_MEMORY, "birth record: no memory");
    LT_TRY(lt_file_dir_private(dir, e));
    return lt_file_write(path, text, strlen(text), 0600, e);
}

/* The record in that file agrees with its directory and its name. */
static int read_record(const char *dir, const char *file, const uint8_t uuid[LT_UUID], uid_t owner,
                       uint8_t digest[32], struct lt_err *e)
{
    LT_AUTOFREE char *path = lt_file_path(dir, file);
    LT_AUTOFREE uint8_t *text = NULL, *spki = NULL;
    LT_JSON_AUTO json_t *o = NULL;
    uint8_t id[LT_UUID], said[32];
    char wanted[FILE_NAME], self[64];
    const char *format = "";
    struct stat st;
    size_t n, spki_n;
    int rc;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return lt_fail(e, LT_E_REFUSED, "birth record %s: %s", path, strerror(errno));
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != owner)
        rc = lt_fail(e, LT_E_REFUSED, "birth record %s: not a regular file of swtpm's user, uid %u", path,
                     (unsigned)owner);
    else
        rc = lt_file_read(self, LT_MAX_BIRTH, &text, &n, e);
    close(fd);
    if (rc)
        return rc;
    if (!(o = lt_json_parse(text, n, LT_MAX_BIRTH, e)) || lt_json_string(o, "format", &format, e) ||
        lt_json_uuid(o, "uuid", id, e) || lt_json_hex(o, "ek_digest", said, 32, e) ||
        lt_json_base64(o, "ek", LT_MAX_SPKI, &spki, &spki_n, e))
        return lt_fail(e, LT_E_REFUSED, "birth record %s: malformed", path);
    lt_sha256(spki, spki_n, digest);
    file_name(digest, wanted);
    if (strcmp(format, FORMAT) || memcmp(id, uuid, LT_UUID) || memcmp(said, digest, 32) ||
        strcmp(wanted, file))
        return lt_fail(e, LT_E_REFUSED, "birth record %s: does not agree with its own name", path);
    return 0;
}

static int own_records(const char *dir, const uint8_t uuid[LT_UUID], const uint8_t ek_digest[32], uid_t owner,
                       bool *born, struct lt_err *e)
{
    DIR *d = opendir(dir);
    unsigned seen = 0;
    int rc = 0;

    if (!d)
        return errno == ENOENT ? 0 : lt_fail(e, LT_E_REFUSED, "birth records %s: %s", dir, strerror(errno));
    for (struct dirent *x; !rc && (x = readdir(d));) {
        uint8_t digest[32];
        /* Anything else is a temporary file that a killed limetree-localca left. */
        if (strlen(x->d_name) != FILE_NAME - 1 || strcmp(x->d_name + 64, ".json"))
            continue;
        if (++seen > LT_MAX_BIRTHS)
            rc = lt_fail(e, LT_E_REFUSED, "birth records %s: more than %u", dir, LT_MAX_BIRTHS);
        else if (!(rc = read_record(dir, x->d_name, uuid, owner, digest, e)))
            *born |= !memcmp(digest, ek_digest, 32);
    }
    closedir(d);
    if (!rc && seen && !*born)
        rc = lt_fail(e, LT_E_REFUSED, "birth records %s: this domain was born with another EK", dir);
    return rc;
}

/* A state carried from one domain to another takes its EK along. */
static int others(const char *records, const char *own, const uint8_t ek_digest[32], struct lt_err *e)
{
    char file[FILE_NAME], path[LT_UUID_TEXT + FILE_NAME + 1];
    DIR *d = opendir(records);
    int rc = 0;

    if (!d)
        return lt_fail(e, LT_E_REFUSED, "birth records %s: %s", records, strerror(errno));
    file_name(ek_digest, file);
    for (struct dirent *x; !rc && (x = readdir(d));) {
        uint8_t id[LT_UUID];
        struct stat st;
        if (lt_uuid_parse(x->d_name, id, LT_NO_ERR) || !strcmp(x->d_name, own))
            continue;
        snprintf(path, sizeof path, "%.36s/%s", x->d_name, file);
        if (!fstatat(dirfd(d), path, &st, AT_SYMLINK_NOFOLLOW))
            rc = lt_fail(e, LT_E_REFUSED, "birth records: this EK was born as domain %.36s", x->d_name);
    }
    closedir(d);
    return rc;
}

int lt_birth_check(const char *records, const uint8_t uuid[LT_UUID], const uint8_t ek_digest[32], uid_t owner,
                   bool *born, struct lt_err *e)
{
    char own[LT_UUID_TEXT];

    *born = false;
    lt_uuid_format(uuid, own);
    LT_AUTOFREE char *dir = lt_file_path(records, own);
    int rc = own_records(dir, uuid, ek_digest, owner, born, e);
    if (!rc)
        rc = others(records, own, ek_digest, e);
    if (rc)
        *born = false;
    return rc;
}
