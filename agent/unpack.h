/* A payload's zip into a directory, by libarchive. Whoever made the zip decides no path, no kind of file and
 * no amount: files and folders alone, deflated or stored, 0600 and 0700, below the directory, within the
 * ceilings LT_MAX_UNPACK_…
 */
#ifndef LT_AGENT_UNPACK_H
#define LT_AGENT_UNPACK_H

#include "common/bytes.h"

/* Whether it begins as a zip does. */
bool lt_unpack_is_zip(struct lt_slice payload);

/* Into the empty directory dirfd, which is the caller's to remove if this fails. `taken` (NULL-ended): names
 * at the top that an entry may not have. LT_E_REFUSED names the entry and what is wrong with it;
 * LT_E_MALFORMED: no zip that can be read. LT_E_CONFIG: there is no libarchive here. */
int lt_unpack_zip(struct lt_slice zip, int dirfd, const char *const *taken, struct lt_err *e) LT_MUST_CHECK;

/* A path of an entry: relative, no empty, "." or ".." part, no backslash, no character below 32, UTF-8, not
 * too long or deep; one slash at the end is a folder's. */
int lt_unpack_check_path(const char *path, struct lt_err *e) LT_MUST_CHECK;

#endif
