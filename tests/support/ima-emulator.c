/* Stands for the kernel's IMA where there is none (a container, CI, the demo's "host"): measures real files,
 * writes the list in the kernel's ascii format (ima-ng) and extends PCR 10 of a stand-in TPM behind swtpm's
 * protocol on a unix socket. A part of the lab: nobody measures what really runs, so its list proves nothing.
 * Never installed.
 *
 *   ima-emulator --tpm SOCKET --list FILE --measure PATH...
 *
 * Each PATH (a program or a library) is measured with all that ldd says it loads. An entry is written once
 * for each (path, digest). As in the kernel the list is ahead of the PCR, never behind: an entry is appended,
 * then extended; what a killed run left unextended is extended by the next. A PCR 10 of zeros is a new boot:
 * the list begins anew with boot_aggregate. Exit: 0, 1 on any failure, 2 on usage. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIGEST = 32, SHA1 = 20, PCR = 10, ENTRIES_MAX = 4096, LINE = PATH_MAX + 256 };

struct entry {
    char *path;
    uint8_t digest[DIGEST];
};

static const char *tpm_path, *list_path;
static struct entry entries[ENTRIES_MAX];
static unsigned count, added;
static int list = -1;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list ap;

    fputs("ima-emulator: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

/* ---- digests ---- */

static void hash(const EVP_MD *md, const void *p, size_t n, uint8_t *out)
{
    if (EVP_Digest(p, n, out, NULL, md, NULL) != 1)
        die("no digest");
}

static void hash_file(const char *path, uint8_t out[DIGEST])
{
    uint8_t buffer[65536];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    FILE *f = fopen(path, "re");
    size_t n;

    if (!f || !c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
        die("%s: %s", path, strerror(errno));
    while ((n = fread(buffer, 1, sizeof buffer, f)))
        EVP_DigestUpdate(c, buffer, n);
    if (ferror(f) || EVP_DigestFinal_ex(c, out, NULL) != 1)
        die("%s: %s", path, strerror(errno));
    fclose(f);
    EVP_MD_CTX_free(c);
}

static size_t put_le(uint8_t *p, size_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
    return 4;
}

/* Template data of ima-ng: d-ng = "sha256:" NUL digest, n-ng = path NUL, each after its length (little
 * endian). */
static size_t template(const struct entry *x, uint8_t out[LINE])
{
    size_t path_n = strlen(x->path) + 1, n = put_le(out, 8 + DIGEST);

    memcpy(out + n, "sha256:", 8);
    n += 8;
    memcpy(out + n, x->digest, DIGEST);
    n += DIGEST;
    n += put_le(out + n, path_n);
    memcpy(out + n, x->path, path_n);
    return n + path_n;
}

/* What is extended: the template data's digest in the PCR's own bank (kernels since 5.8). */
static void extension(const struct entry *x, uint8_t out[DIGEST])
{
    uint8_t data[LINE];
    size_t n = template(x, data);
    hash(EVP_sha256(), data, n, out);
}

/* ---- the TPM: raw commands, a connection for each (swtpm serves one client at a time) ---- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static size_t transact(const char *name, const uint8_t *in, size_t in_n, uint8_t out[4096])
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = 0;

    if (strlen(tpm_path) >= sizeof a.sun_path)
        die("TPM %s: socket path too long", tpm_path);
    memcpy(a.sun_path, tpm_path, strlen(tpm_path));
    if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a) ||
        send(s, in, in_n, MSG_NOSIGNAL) != (ssize_t)in_n)
        die("TPM %s: %s", tpm_path, strerror(errno));
    while (n < 10 || n < be32(out + 2)) {
        ssize_t got = recv(s, out + n, 4096 - n, 0);
        if (got <= 0)
            die("TPM %s: %s", tpm_path, got ? strerror(errno) : "it hung up, or answers too much");
        n += (size_t)got;
    }
    close(s);
    if (n != be32(out + 2) || be32(out + 6))
        die("%s: TPM response code 0x%x", name, (unsigned)be32(out + 6));
    return n;
}

static void pcr_read(unsigned pcr, uint8_t value[DIGEST])
{
    /* TPM2_PCR_Read: one selection, sha256, three bytes */
    uint8_t c[20] = {0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3}, r[4096];

    c[17 + pcr / 8] = (uint8_t)(1u << pcr % 8);
    /* header 10, counter 4, selection 10, count 4, size 2, digest */
    if (transact("TPM2_PCR_Read", c, sizeof c, r) != 30 + DIGEST || be32(r + 24) != 1)
        die("TPM2_PCR_Read: no sha256 value of PCR %u", pcr);
    memcpy(value, r + 30, DIGEST);
}

static void pcr_extend(const uint8_t digest[DIGEST])
{
    /* TPM2_PCR_Extend: handle, an empty password session, one sha256 digest */
    uint8_t c[65] = {0x80, 0x02, 0, 0, 0, sizeof c, 0, 0, 0x01, 0x82, 0, 0, 0, PCR, 0, 0,   0,
                     9,    0x40, 0, 0, 9, 0,        0, 0, 0,    0,    0, 0, 0, 1,   0, 0x0b},
            r[4096];

    memcpy(c + 33, digest, DIGEST);
    transact("TPM2_PCR_Extend", c, sizeof c, r);
}

/* ---- the list ---- */

static bool known(const struct entry *x)
{
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(entries[i].path, x->path) && !memcmp(entries[i].digest, x->digest, DIGEST))
            return true;
    return false;
}

static void remember(const struct entry *x)
{
    if (count == ENTRIES_MAX)
        die("%s: more than %d entries", list_path, ENTRIES_MAX);
    entries[count] = *x;
    if (!(entries[count++].path = strdup(x->path)))
        die("no memory");
}

static void hex(const uint8_t *p, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        sprintf(out + 2 * i, "%02x", p[i]);
}

static void append(const struct entry *x)
{
    uint8_t data[LINE], sha1[SHA1], value[DIGEST];
    char line[LINE + 256], template_hash[2 * SHA1 + 1], digest[2 * DIGEST + 1];

    if (strpbrk(x->path, "\n\r") || strlen(x->path) >= PATH_MAX)
        die("%s: no path for a line", x->path);
    if (known(x))
        return;
    hash(EVP_sha1(), data, template(x, data), sha1); /* the column is SHA-1 in every kernel */
    hex(sha1, sizeof sha1, template_hash);
    hex(x->digest, DIGEST, digest);
    int n = snprintf(line, sizeof line, "10 %s ima-ng sha256:%s %s\n", template_hash, digest, x->path);
    if (write(list, line, (size_t)n) != n) /* one write: a reader sees whole lines */
        die("%s: %s", list_path, strerror(errno));
    remember(x);
    added++;
    extension(x, value);
    pcr_extend(value);
}

static void parse(char *text)
{
    for (char *at = text, *end; *at; at = end + 1) {
        struct entry x;
        char digest[65];
        int path = 0;

        if (!(end = strchr(at, '\n')))
            die("%s: a line without end", list_path);
        *end = 0;
        if (sscanf(at, "10 %*40[0-9a-f] ima-ng sha256:%64[0-9a-f] %n", digest, &path) != 1 || !path)
            die("%s: not a line of ours: %s", list_path, at);
        for (int i = 0; i < DIGEST; i++) {
            unsigned byte;
            if (sscanf(digest + 2 * i, "%2x", &byte) != 1)
                die("%s: not a line of ours: %s", list_path, at);
            x.digest[i] = (uint8_t)byte;
        }
        x.path = at + path;
        remember(&x);
    }
}

/* Entries 0 to i-1, extended from zero, give value: extends the rest. */
static void catch_up(const uint8_t value[DIGEST])
{
    uint8_t run[2 * DIGEST] = {0}, digest[DIGEST];
    unsigned i = 0;

    for (;; i++) {
        if (!memcmp(run, value, DIGEST))
            break;
        if (i == count)
            die("%s: its %u entries do not lead to PCR %d", list_path, count, PCR);
        extension(&entries[i], run + DIGEST);
        hash(EVP_sha256(), run, sizeof run, digest);
        memcpy(run, digest, DIGEST);
    }
    for (; i < count; i++) {
        extension(&entries[i], digest);
        pcr_extend(digest);
    }
}

/* SHA-256 over PCR 0 to 9 (kernel, ima_calc_boot_aggregate_tfm). */
static void boot_aggregate(void)
{
    char name[] = "boot_aggregate";
    struct entry x = {.path = name};
    uint8_t pcrs[10 * DIGEST];

    for (unsigned i = 0; i < 10; i++)
        pcr_read(i, pcrs + (size_t)i * DIGEST);
    hash(EVP_sha256(), pcrs, sizeof pcrs, x.digest);
    append(&x);
}

static void open_list(void)
{
    static const uint8_t zeros[DIGEST];
    uint8_t value[DIGEST];
    struct stat s;

    list = open(list_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (list < 0 || flock(list, LOCK_EX) || fstat(list, &s))
        die("%s: %s", list_path, strerror(errno));
    pcr_read(PCR, value);
    if (!memcmp(value, zeros, DIGEST)) {
        if (ftruncate(list, 0))
            die("%s: %s", list_path, strerror(errno));
        boot_aggregate();
        return;
    }
    char *text = calloc(1, (size_t)s.st_size + 1);
    if (!text || pread(list, text, (size_t)s.st_size, 0) != s.st_size)
        die("%s: %s", list_path, strerror(errno));
    parse(text);
    free(text);
    catch_up(value);
}

/* ---- files ---- */

static void measure(const char *path)
{
    char real[PATH_MAX];
    struct entry x = {.path = real};

    if (!realpath(path, real)) /* IMA names files by where they lie, not by links */
        die("%s: %s", path, strerror(errno));
    hash_file(real, x.digest);
    append(&x);
}

/* Lines of ldd: "	libc.so.6 => /lib/…/libc.so.6 (0x…)", "	/lib64/ld-linux-x86-64.so.2 (0x…)". Scripts
 * and static programs have none. */
static void measure_libraries(const char *path)
{
    int ends[2];
    char line[LINE];

    if (pipe2(ends, O_CLOEXEC))
        die("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (!child) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
        execlp("ldd", "ldd", path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    while (f && fgets(line, sizeof line, f)) {
        char *at = strstr(line, "=> "), *end = strrchr(line, '(');
        at = at ? at + 3 : line + strspn(line, " \t");
        if (strstr(line, "=> not found"))
            die("%s: a library is missing: %s", path, line);
        if (*at != '/' || !end || end == at)
            continue;
        end[-1] = 0;
        measure(at);
    }
    if (f)
        fclose(f);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        die("ldd cannot be run");
}

int main(int argc, char **argv)
{
    int i = 1;

    for (; i + 1 < argc && strcmp(argv[i], "--measure"); i += 2) {
        if (!strcmp(argv[i], "--tpm"))
            tpm_path = argv[i + 1];
        else if (!strcmp(argv[i], "--list"))
            list_path = argv[i + 1];
        else
            break;
    }
    if (!tpm_path || !list_path || i + 1 >= argc || strcmp(argv[i], "--measure")) {
        fputs("usage: ima-emulator --tpm SOCKET --list FILE --measure PATH...\n"
              "A part of the lab: stands for the kernel's IMA, and proves nothing.\n",
              stderr);
        return 2;
    }
    open_list();
    for (i++; i < argc; i++) {
        measure(argv[i]);
        measure_libraries(argv[i]);
    }
    printf("ima-emulator: a part of the lab, not the kernel's IMA: %u entries, %u new\n", count, added);
    for (unsigned k = 0; k < count; k++)
        free(entries[k].path);
    return 0;
}
