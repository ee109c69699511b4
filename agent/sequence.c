#include "agent/sequence.h"

#include "common/alloc.h"
#include "common/file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file holds a number above the last one used, so that it is written once in so many quotes. */
#define AHEAD 1024
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

int lt_sequence_open(const char *file, uint32_t reset_count, struct lt_sequence *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *id = NULL, *text = NULL;
    char boot[80];
    uint64_t last;
    int end = 0;
    size_t n;

    *out = (struct lt_sequence){.file = lt_alloc_text(file)};
    LT_TRY(lt_file_read(BOOT_ID, 64, &id, &n, e));
    id[strcspn((char *)id, "\n")] = 0;
    snprintf(out->boot, sizeof out->boot, "%s/%" PRIu32, (char *)id, reset_count);
    if (access(file, F_OK))
        return 0;
    LT_TRY(lt_file_read(file, 256, &text, &n, e));
    if (sscanf((char *)text, "%79s %" SCNu64 "\n%n", boot, &last, &end) != 2 || end != (int)n)
        return lt_fail(e, LT_E_CONFIG, "%s: not \"BOOT NUMBER\"; remove it after a reboot of this host",
                       file);
    if (!strcmp(boot, out->boot))
        out->last = out->written = last;
    return 0;
}

void lt_sequence_close(struct lt_sequence *s)
{
    free(s->file);
    *s = (struct lt_sequence){0};
}

/* A full disk has no room for a new file, but the old one's block is there. */
static int write_over(const char *file, const char *line, size_t n)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    bool done = fd >= 0 && pwrite(fd, line, n, 0) == (ssize_t)n && !ftruncate(fd, (off_t)n) && !fsync(fd);

    if (fd >= 0)
        close(fd);
    return done ? 0 : LT_E_IO;
}

/* Always as long, so that one can be written over the other. */
static int write_ceiling(struct lt_sequence *s, uint64_t ceiling, struct lt_err *e)
{
    char line[128];
    int n = snprintf(line, sizeof line, "%s %020" PRIu64 "\n", s->boot, ceiling);
    int rc = lt_file_write(s->file, line, (size_t)n, 0600, e);

    if (rc && write_over(s->file, line, (size_t)n))
        return rc;
    s->written = ceiling;
    return 0;
}

int lt_sequence_claim(struct lt_sequence *s, uint64_t seq, struct lt_err *e)
{
    if (seq <= s->last)
        return lt_fail(e, LT_E_CONFLICT, "batch_seq %" PRIu64 ": the last one was %" PRIu64, seq, s->last);
    if (seq > s->written) {
        uint64_t ceiling = seq > INT64_MAX - AHEAD ? seq : seq + AHEAD; /* told in JSON: signed */
        LT_TRY(write_ceiling(s, ceiling, e));
    }
    s->last = seq;
    return 0;
}
