#include "keylime/versions.h"

#include <string.h>

int lt_versions_minor(const char *text, int from)
{
    if (strncmp(text, "2.", 2) || text[2] < '0' + from || text[2] > '0' + LT_VERSIONS_TO || text[3])
        return -1;
    return text[2] - '0';
}

bool lt_versions_in_path(const char *segment, int from)
{
    return segment[0] == 'v' && (!strcmp(segment, "v2") || lt_versions_minor(segment + 1, from) >= 0);
}

json_t *lt_versions_list(int from)
{
    json_t *list = json_array();

    for (int minor = from; minor <= LT_VERSIONS_TO; minor++)
        json_array_append_new(list, json_sprintf("2.%d", minor));
    return list;
}
