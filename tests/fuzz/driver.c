/* Replays a corpus without a fuzzer: every file whole, every prefix of it, and every byte turned in three
 * ways. Each try is an allocation of its own size, so that a sanitizer sees what is read beyond it. */
#include "common/bytes.h"
#include "common/file.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>

#define MAX_FILE 65536
#define MAX_SWEEP 4096 /* bytes at the beginning of a file that are cut and turned */

static void try(const uint8_t *p, size_t n, size_t at, uint8_t turn)
{
    uint8_t *copy = malloc(n ? n : 1);
    FUZZ_REQUIRE(copy);
    memcpy(copy, p, n);
    if (turn)
        copy[at] ^= turn;
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static void sweep(const uint8_t *p, size_t n)
{
    static const uint8_t turns[] = {0x01, 0x80, 0xff};
    size_t edge = n < MAX_SWEEP ? n : MAX_SWEEP;

    try(p, n, 0, 0);
    for (size_t k = 0; k < edge; k++) {
        try(p, k, 0, 0);
        for (size_t t = 0; t < sizeof turns; t++)
            try(p, n, k, turns[t]);
    }
}

int main(int argc, char **argv)
{
    unsigned files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            perror(argv[i]);
            return 2;
        }
        for (const struct dirent *d; (d = readdir(dir));) {
            LT_AUTOFREE char *path = lt_file_path(argv[i], d->d_name);
            LT_AUTOFREE uint8_t *p = NULL;
            struct lt_err e;
            size_t n;
            if (d->d_name[0] == '.')
                continue;
            if (lt_file_read(path, MAX_FILE, &p, &n, &e)) {
                fprintf(stderr, "%s\n", e.msg);
                return 2;
            }
            sweep(p, n);
            files++;
        }
        closedir(dir);
    }
    printf("%u files replayed\n", files);
    return files ? 0 : 2; /* an empty corpus tests nothing */
}
