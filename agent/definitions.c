#include "agent/definitions.h"

#include "common/alloc.h"
#include "common/file.h"
#include "common/limits.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XML ".xml"
#define AUTOSTART ".autostart"
#define MAKING ".making"

static char *path_of(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], const char *suffix)
{
    char id[LT_UUID_TEXT], name[LT_UUID_TEXT + 16];

    lt_uuid_format(uuid, id);
    snprintf(name, sizeof name, "%s%s", id, suffix); /* the longest has 10 */
    return lt_file_path(d->dir, name);
}

static bool has(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], const char *suffix)
{
    LT_AUTOFREE char *path = path_of(d, uuid, suffix);

    return !access(path, F_OK);
}

static int mark(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], const char *suffix,
                struct lt_err *e)
{
    LT_AUTOFREE char *path = path_of(d, uuid, suffix);

    return lt_file_write(path, "", 0, 0600, e);
}

static void unmark(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], const char *suffix)
{
    LT_AUTOFREE char *path = path_of(d, uuid, suffix);

    (void)!unlink(path);
}

int lt_definitions_open(const char *state_dir, struct lt_definitions *out, struct lt_err *e)
{
    out->dir = lt_file_path(state_dir, "domains");
    return lt_file_dir_private(out->dir, e);
}

void lt_definitions_close(struct lt_definitions *d)
{
    free(d->dir);
    d->dir = NULL;
}

int lt_definitions_put(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], const char *xml,
                       bool autostart, struct lt_err *e)
{
    LT_AUTOFREE char *path = path_of(d, uuid, XML);

    LT_TRY(lt_file_write(path, xml, strlen(xml), 0600, e));
    if (autostart)
        return mark(d, uuid, AUTOSTART, e);
    unmark(d, uuid, AUTOSTART);
    return 0;
}

int lt_definitions_get(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], char **xml,
                       struct lt_err *e)
{
    LT_AUTOFREE char *path = path_of(d, uuid, XML);
    uint8_t *p = NULL;
    size_t n;

    *xml = NULL;
    if (!has(d, uuid, XML))
        return lt_fail(e, LT_E_NOT_FOUND, "nobody has defined that domain: limetree domain define FILE");
    LT_TRY(lt_file_read_secret(path, LT_MAX_DOMAIN_XML, &p, &n, e));
    *xml = (char *)p;
    return 0;
}

bool lt_definitions_autostart(const struct lt_definitions *d, const uint8_t uuid[LT_UUID])
{
    return has(d, uuid, AUTOSTART);
}

static bool parse_name(const char *name, uint8_t uuid[LT_UUID])
{
    char text[LT_UUID_TEXT];
    size_t n = LT_UUID_TEXT - 1;

    if (strlen(name) != n + strlen(AUTOSTART) || strcmp(name + n, AUTOSTART))
        return false;
    memcpy(text, name, n);
    text[n] = 0;
    return !lt_uuid_parse(text, uuid, LT_NO_ERR);
}

size_t lt_definitions_all_autostart(const struct lt_definitions *d, uint8_t (*uuids)[LT_UUID], size_t max)
{
    DIR *list = opendir(d->dir);
    size_t n = 0;

    if (!list)
        return 0;
    for (struct dirent *f; n < max && (f = readdir(list));)
        n += parse_name(f->d_name, uuids[n]);
    closedir(list);
    return n;
}

int lt_definitions_begin_making(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    LT_TRY(mark(d, uuid, MAKING, e));
    return lt_file_sync_dir(d->dir, e);
}

bool lt_definitions_making(const struct lt_definitions *d, const uint8_t uuid[LT_UUID])
{
    return has(d, uuid, MAKING);
}

int lt_definitions_end_making(const struct lt_definitions *d, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    if (!has(d, uuid, MAKING))
        return 0;
    unmark(d, uuid, MAKING);
    return lt_file_sync_dir(d->dir, e);
}
