/* A boot log as JSON, for the differential test against tpm2_eventlog: events, and what they replay to.
 *   dump-bootlog FILE {"events":[{"pcr","type","digests":{"sha256":hex}}],"pcrs":{"sha256":{"0":hex}}}
 *   dump-bootlog --forge 0|1   writes a forged server's log (secure boot off or on) to standard output */
#include "common/file.h"
#include "common/json.h"
#include "tests/support/appraisal/boot_forge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *events(const struct lt_boot_log *l)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < l->count; i++) {
        const struct lt_boot_event *ev = &l->event[i];
        json_t *digests = json_object();
        char type[16];
        for (unsigned k = 0; k < ev->digest_count; k++)
            json_object_set_new(digests, lt_hash_name(ev->digest[k].alg),
                                lt_json_new_hex(ev->digest[k].value.p, ev->digest[k].value.n));
        json_array_append_new(all, json_pack("{s:i, s:s, s:i, s:o}", "pcr", (int)ev->pcr, "type",
                                             lt_boot_type_name(ev->type, type), "size", (int)ev->data.n,
                                             "digests", digests));
    }
    return all;
}

static json_t *pcrs(const struct lt_boot_replay *r)
{
    json_t *all = json_object();
    for (unsigned b = 0; b < r->bank_count; b++) {
        json_t *values = json_object();
        for (unsigned i = 0; i < LT_BOOT_REPLAYED; i++) {
            char index[4];
            snprintf(index, sizeof index, "%u", i);
            json_object_set_new(values, index,
                                lt_json_new_hex(r->bank[b].value[i], lt_hash_size(r->bank[b].alg)));
        }
        json_object_set_new(all, lt_hash_name(r->bank[b].alg), values);
    }
    return all;
}

int main(int argc, char **argv)
{
    LT_AUTOFREE uint8_t *p = NULL;
    struct lt_err e = {0};
    size_t n;

    if (argc == 3 && !strcmp(argv[1], "--forge")) {
        LT_AUTOBUF struct lt_buf b = LT_BUF(1u << 20);
        boot_forge_server(&b, &(struct boot_plan){.secure_boot = argv[2][0] == '1', .dbx = 100});
        return fwrite(b.p, 1, b.n, stdout) != b.n;
    }
    if (argc != 2) {
        fputs("usage: dump-bootlog FILE | --forge 0|1\n", stderr);
        return 2;
    }
    if (lt_file_read(argv[1], LT_MAX_BOOT_LOG, &p, &n, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 2;
    }
    struct lt_boot_log *l = lt_boot_log_new((struct lt_slice){p, n});
    if (!l || l->replay.fault.code) {
        fprintf(stderr, "%s\n", l ? l->replay.fault.msg : "no memory");
        lt_boot_log_free(l);
        return 1;
    }
    LT_JSON_AUTO json_t *o = json_pack("{s:o, s:o}", "events", events(l), "pcrs", pcrs(&l->replay));
    LT_AUTOFREE char *text = lt_json_dump(o);
    lt_boot_log_free(l);
    return !text || puts(text) < 0;
}
