/* Files that tests read: tests/vectors is the project's own and always there; third-party data is not part of
 * the source ($LT_SHARED_DATA, else ../shared/data), and a test that wants it is skipped without it.
 *
 * Tests that call vector_third_party carry the ctest label third-party (tests/unit/CMakeLists.txt). */
#ifndef LT_TESTS_SUPPORT_VECTORS_H
#define LT_TESTS_SUPPORT_VECTORS_H

#include "common/file.h"
#include "tests/support/unit.h"

#include <unistd.h>

#define VECTOR_MAX (1 << 20)

/* Where a file of the project's lies; caller frees. */
static inline char *lt_vector(const char *name)
{
    return lt_file_path(LT_SOURCE_DIR "/tests/vectors", name);
}

/* Its bytes, with a NUL behind; caller frees. */
static inline uint8_t *lt_vector_read(const char *name, size_t *n)
{
    LT_AUTOFREE char *path = lt_vector(name);
    uint8_t *p = NULL;

    OK(lt_file_read(path, VECTOR_MAX, &p, n, &err));
    return p;
}

/* Where a third party's file lies (the text is good until the next but one call); without it the running test
 * is skipped, and the line names the file. skip() jumps and frees nothing: call this before anything is held.
 */
static inline const char *vector_third_party(const char *name)
{
    static char path[2][512];
    static unsigned turn;
    const char *set = getenv("LT_SHARED_DATA");
    char *at = path[turn++ % 2];

    snprintf(at, sizeof path[0], "%s/%s", set && *set ? set : LT_SOURCE_DIR "/../shared/data", name);
    if (access(at, R_OK)) {
        print_message("skipped: third-party data %s is not at hand (set LT_SHARED_DATA)\n", name);
        skip();
    }
    return at;
}

#endif
