/* A payload's zip: whatever it holds, files and folders alone come out, below the directory and within the
 * ceilings. */
#include "agent/unpack.h"
#include "agent/secure.h"
#include "common/limits.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t bytes;

static int look(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)path;
    (void)at;
    FUZZ_REQUIRE(kind == FTW_F || kind == FTW_D);
    FUZZ_REQUIRE((st->st_mode & 07777) == (kind == FTW_D ? 0700 : 0600));
    bytes += kind == FTW_F ? (uint64_t)st->st_size : 0;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const taken[] = {"derived_tci_key", NULL};
    char top[] = "/dev/shm/lt-fuzz-XXXXXX";

    FUZZ_REQUIRE(mkdtemp(top));
    int fd = open(top, O_RDONLY | O_DIRECTORY), in = -1;
    FUZZ_REQUIRE(fd >= 0 && !mkdirat(fd, "in", 0700) && (in = openat(fd, "in", O_RDONLY | O_DIRECTORY)) >= 0);
    int rc = lt_unpack_zip((struct lt_slice){p, n}, in, taken, LT_NO_ERR);
    FUZZ_REQUIRE(!rc || rc == LT_E_REFUSED || rc == LT_E_MALFORMED);
    FUZZ_REQUIRE(faccessat(in, "derived_tci_key", F_OK, AT_SYMLINK_NOFOLLOW));
    bytes = 0;
    FUZZ_REQUIRE(!nftw(top, look, 16, FTW_PHYS) && bytes <= LT_MAX_UNPACK_BYTES);
    FUZZ_REQUIRE(!lt_secure_remove(fd, "in", LT_NO_ERR));
    close(in);
    close(fd);
    FUZZ_REQUIRE(!rmdir(top)); /* nothing beside it */
    return 0;
}
