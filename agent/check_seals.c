#include "agent/check_seals.h"

#include "common/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- texts of the kernel ---- */

void lt_check_seals_swap(const char *swaps, char out[LT_CHECK_SEALS_TEXT])
{
    const char *line = strchr(swaps, '\n'); /* the first names the columns */

    out[0] = 0;
    for (; line && line[1] && !out[0]; line = strchr(line + 1, '\n')) {
        const int n = (int)strcspn(line + 1, " \t\n");
        if (n && strncmp(line + 1, "/dev/zram", 9) != 0)
            snprintf(out, LT_CHECK_SEALS_TEXT, "%.*s", n < 200 ? n : 200, line + 1);
    }
}

/* "\040" is a blank. */
static void unescape(const char *from, size_t n, char *out, size_t size)
{
    size_t at = 0;

    for (size_t i = 0; i < n && at + 1 < size; i++, at++)
        if (from[i] == '\\' && i + 3 < n) {
            out[at] = (char)((from[i + 1] - '0') << 6 | (from[i + 2] - '0') << 3 | (from[i + 3] - '0'));
            i += 3;
        } else
            out[at] = from[i];
    out[at] = 0;
}

static bool has_option(const char *options, const char *name)
{
    const size_t n = strlen(name);

    for (; *options; options += strcspn(options, ",") + (options[strcspn(options, ",")] == ','))
        if (!strncmp(options, name, n) && (options[n] == ',' || !options[n]))
            return true;
    return false;
}

/* "36 35 98:0 /root /point rw,nodev shared:1 - ext4 /dev/sda1 rw" */
static bool read_mount(const char *line, size_t n, struct lt_check_seals_mount *out)
{
    LT_AUTOFREE char *copy = strndup(line, n);
    char *save = NULL, *word[6] = {NULL}, *type, *source, *super;

    for (int i = 0; copy && i < 6; i++)
        if (!(word[i] = strtok_r(i ? NULL : copy, " ", &save)))
            return false;
    while ((type = strtok_r(NULL, " ", &save)) && strcmp(type, "-") != 0)
        ;
    type = strtok_r(NULL, " ", &save);
    source = strtok_r(NULL, " ", &save);
    super = strtok_r(NULL, " ", &save);
    if (!copy || !type || !source || !super)
        return false;
    unescape(word[4], strlen(word[4]), out->point, sizeof out->point);
    snprintf(out->device, sizeof out->device, "%s", word[2]);
    snprintf(out->type, sizeof out->type, "%s", type);
    snprintf(out->source, sizeof out->source, "%s", source);
    out->ro = has_option(word[5], "ro") || has_option(super, "ro");
    out->nodev = has_option(word[5], "nodev");
    out->noexec = has_option(word[5], "noexec");
    out->nosuid = has_option(word[5], "nosuid");
    return true;
}

bool lt_check_seals_mount_next(const char **mountinfo, struct lt_check_seals_mount *out)
{
    for (const char *end; **mountinfo; *mountinfo = end + (*end == '\n')) {
        end = *mountinfo + strcspn(*mountinfo, "\n");
        if (read_mount(*mountinfo, (size_t)(end - *mountinfo), out)) {
            *mountinfo = end + (*end == '\n');
            return true;
        }
    }
    return false;
}

static bool lies_in(const char *path, const char *point)
{
    const size_t n = strlen(point);
    return !strcmp(point, "/") || (!strncmp(path, point, n) && (path[n] == '/' || !path[n]));
}

bool lt_check_seals_mount_of(const char *mountinfo, const char *path, struct lt_check_seals_mount *out)
{
    struct lt_check_seals_mount one;
    bool found = false;

    while (lt_check_seals_mount_next(&mountinfo, &one))
        if (lies_in(path, one.point) && (!found || strlen(one.point) >= strlen(out->point))) {
            *out = one;
            found = true;
        }
    return found;
}

/* ---- judging ---- */

static const struct {
    const char *slug;
    enum lt_check_seals_class class;
    int point;
} checks[] = {
#define X(name, slug, class, point) {slug, class, point},
    LT_CHECK_SEALS_TABLE(X)
#undef X
};

#define SAY(finding, is, ...)                                                                                \
    do {                                                                                                     \
        (finding)->holds = (is);                                                                             \
        snprintf((finding)->message, sizeof(finding)->message, __VA_ARGS__);                                 \
    } while (0)

/* A core goes nowhere with an empty pattern, and where the program that gets it reads nothing. */
static bool cores_go_nowhere(const struct lt_check_seals_facts *f)
{
    if (f->core_pattern[0] == '|')
        return !strcmp(f->core_pattern, "|/bin/false") || !strcmp(f->core_pattern, "|/usr/bin/false");
    return !f->core_pattern[0] && strcmp(f->core_uses_pid, "1") != 0;
}

static void judge_leaks(const struct lt_check_seals_facts *f, struct lt_check_seals_finding *of)
{
    if (f->swaps[0])
        SAY(&of[LT_CHECK_SEALS_SWAP], false, "%s is swap: take it off (swapoff, fstab); zram is fine",
            f->swaps);
    else
        SAY(&of[LT_CHECK_SEALS_SWAP], true, "no swap but zram");
    if (!strcmp(f->crash_loaded, "1"))
        SAY(&of[LT_CHECK_SEALS_CRASH_KERNEL], false,
            "a crash kernel is loaded, and would write memory to a disk: kexec -p -u, and disable kdump");
    else
        SAY(&of[LT_CHECK_SEALS_CRASH_KERNEL], true, "no crash kernel is loaded");
    if (strstr(f->sleep, "disk") && !strstr(f->hibernate, "[disabled]"))
        SAY(&of[LT_CHECK_SEALS_HIBERNATION], false,
            "this kernel can hibernate: nohibernate on its command line, or lockdown");
    else
        SAY(&of[LT_CHECK_SEALS_HIBERNATION], true, "this kernel does not hibernate");
    if (cores_go_nowhere(f))
        SAY(&of[LT_CHECK_SEALS_CORE_PATTERN], true, "cores go nowhere");
    else
        SAY(&of[LT_CHECK_SEALS_CORE_PATTERN], false,
            "cores are written (kernel.core_pattern = %.100s): sysctl kernel.core_pattern='|/bin/false'",
            f->core_pattern);
}

static void judge_word(struct lt_check_seals_finding *of, const char *found, const char *holds)
{
    if (found[0])
        SAY(of, false, "%s", found);
    else
        SAY(of, true, "%s", holds);
}

static bool has_word(const char *text, const char *word)
{
    const size_t n = strlen(word);

    for (const char *at = text; (at = strstr(at, word)); at += n)
        if ((at == text || at[-1] == ' ') && strchr(" \n", at[n])) /* a NUL counts */
            return true;
    return false;
}

static void judge_kernel(const struct lt_check_seals_facts *f, struct lt_check_seals_finding *of)
{
    const bool locked = strstr(f->lockdown, "[integrity]") || strstr(f->lockdown, "[confidentiality]");
    const bool shell = !has_word(f->cmdline, "rd.shell=0") || !strstr(f->cmdline, "panic=");

    if (locked)
        SAY(&of[LT_CHECK_SEALS_LOCKDOWN], true, "lockdown %.40s", f->lockdown);
    else
        SAY(&of[LT_CHECK_SEALS_LOCKDOWN], false,
            "no lockdown: root can change the kernel: lockdown=integrity");
    if (locked || !strcmp(f->sig_enforce, "Y"))
        SAY(&of[LT_CHECK_SEALS_MODULES], true, "modules are signed");
    else
        SAY(&of[LT_CHECK_SEALS_MODULES], false, "any module can be loaded: module.sig_enforce=1");
    if (!strcmp(f->kexec_disabled, "1") && strcmp(f->kexec_loaded, "1") != 0)
        SAY(&of[LT_CHECK_SEALS_KEXEC], true, "kexec is off");
    else
        SAY(&of[LT_CHECK_SEALS_KEXEC], false,
            "a kernel can be started that nobody measured: sysctl kernel.kexec_load_disabled=1");
    if (shell)
        SAY(&of[LT_CHECK_SEALS_EMERGENCY_SHELL], false,
            "a damaged disk opens a shell of the initramfs: rd.shell=0 panic=0 on the command line");
    else
        SAY(&of[LT_CHECK_SEALS_EMERGENCY_SHELL], true, "no shell in the initramfs");
}

void lt_check_seals_judge(const struct lt_check_seals_facts *f, struct lt_check_seals_findings *out)
{
    struct lt_check_seals_finding *of = out->of;

    judge_leaks(f, of);
    judge_word(&of[LT_CHECK_SEALS_TPM_HELD], f->tpm_held, "nothing that libvirt started holds a TPM");
    judge_word(&of[LT_CHECK_SEALS_TPM_NODE], f->tpm_node, "no TPM is in /dev of libvirt's processes");
    judge_word(&of[LT_CHECK_SEALS_USERS], f->users, "only QEMU and swtpm run, each as its user");
    judge_word(&of[LT_CHECK_SEALS_LIBVIRT_FILES], f->libvirt_files,
               "libvirt's directories begin empty, or verity");
    judge_word(&of[LT_CHECK_SEALS_ROOT], f->root, "/usr and /etc are verity");
    judge_word(&of[LT_CHECK_SEALS_MOUNTS], f->mounts, "mutable file systems are nodev,noexec,nosuid");
    judge_kernel(f, of);
    if (f->memory[0])
        SAY(&of[LT_CHECK_SEALS_MEMORY], true,
            "the CPU can encrypt memory (%s); whether it does, firmware says", f->memory);
    else
        SAY(&of[LT_CHECK_SEALS_MEMORY], false,
            "memory is not encrypted: what is in it outlives a short power cut");
    for (int i = 0; f->unread[0] && i < LT_CHECK_SEALS_COUNT; i++)
        if (of[i].holds) /* what was not seen does not hold */
            SAY(&of[i], false, "not judged: %s", f->unread);
}

const char *lt_check_seals_leak(const struct lt_check_seals_findings *f, bool all)
{
    for (int i = 0; i < LT_CHECK_SEALS_COUNT; i++)
        if (!f->of[i].holds && checks[i].class <= (all ? LT_CHECK_SEALS_SEALS : LT_CHECK_SEALS_LEAK))
            return checks[i].slug;
    return NULL;
}

static json_t *slug_or_null(const char *slug)
{
    return slug ? json_string(slug) : json_null();
}

json_t *lt_check_seals_to_json(const struct lt_check_seals_findings *f)
{
    json_t *list = json_array();

    for (int i = 0; i < LT_CHECK_SEALS_COUNT; i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:b, s:o}", "check", checks[i].slug, "point",
                                              checks[i].point, "holds", f->of[i].holds, "message",
                                              lt_json_new_text(f->of[i].message)));
    return json_pack("{s:o, s:o, s:o}", "leaks", slug_or_null(lt_check_seals_leak(f, false)), "seals",
                     slug_or_null(lt_check_seals_leak(f, true)), "checks", list);
}
