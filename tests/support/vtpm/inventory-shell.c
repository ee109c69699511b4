/* Drives an inventory from a test. Standard input is a socket: one command a line, one JSON object a line in
 * answer.
 *
 *   snapshot            {"seq","count","flags","root","records":[…]} or {"error":slug,"message"}
 *   report              lt_inventory_report
 *   counts RESET RESTART
 *   clock RESET RESTART MS     what the host TPM's clock reads from now on; "clock away": it cannot be read
 *   and what tests/support/vtpm/sealing.h has
 */
#include "common/run/log.h"
#include "tests/support/vtpm/sealing.h"
#include "vtpm/inventory.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lt_vtpm_host_clock now = {7, 3, 1000};
static bool away;

static int read_clock(void *ctx, struct lt_vtpm_host_clock *out, struct lt_err *e)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    int rc = away ? lt_fail(e, LT_E_TPM, "the clock is away") : 0;
    *out = now;
    now.clock_ms++;
    pthread_mutex_unlock(&lock);
    return rc;
}

static json_t *record(const struct lt_residency_record *r)
{
    return json_pack("{s:o, s:o, s:o, s:i, s:i, s:I, s:o, s:o, s:i, s:i, s:o}", "uuid",
                     lt_json_new_uuid(r->guest_uuid), "ek_digest", lt_json_new_hex(r->ek_digest, 32),
                     "incarnation", lt_json_new_hex(r->incarnation, LT_RESIDENCY_INCARNATION), "start_reset",
                     (int)r->start_reset, "start_restart", (int)r->start_restart, "start_clock",
                     (json_int_t)r->start_clock_ms, "firmware", lt_json_new_hex(r->firmware_digest, 32),
                     "domain", lt_json_new_hex(r->domain_digest, 32), "flags", (int)r->flags, "version",
                     (int)r->version, "openers", lt_json_new_hex(r->openers_digest, 32));
}

static json_t *failure(const struct lt_err *e)
{
    return json_pack("{s:s, s:o}", "error", lt_err_slug(e->code), "message", lt_json_new_text(e->msg));
}

static json_t *snapshot(struct lt_vtpm_inventory *inv)
{
    const struct lt_inventory_snapshot *s;
    struct lt_err e = {0};

    if (lt_inventory_snapshot(inv, &s, &e))
        return failure(&e);
    json_t *records = json_array();
    for (uint32_t i = 0; i < s->count; i++)
        json_array_append_new(records, record(&s->records[i]));
    json_t *o = json_pack("{s:I, s:i, s:i, s:o, s:o}", "seq", (json_int_t)s->seq, "count", (int)s->count,
                          "flags", (int)s->header_flags, "root", lt_json_new_hex(lt_merkle_root(s->tree), 32),
                          "records", records);
    lt_inventory_snapshot_put(s);
    return o;
}

static json_t *answer(const char *uri, struct lt_vtpm_inventory *inv, const char *line)
{
    unsigned reset, restart;
    unsigned long long ms;

    if (!strcmp(line, "snapshot"))
        return snapshot(inv);
    if (!strcmp(line, "report"))
        return lt_inventory_report(inv);
    if (sscanf(line, "counts %u %u", &reset, &restart) == 2) {
        lt_inventory_counts(inv, reset, restart);
        return json_object();
    }
    bool read = sscanf(line, "clock %u %u %llu", &reset, &restart, &ms) == 3;
    if (!read && strcmp(line, "clock away")) {
        json_t *o = sealing_answer(uri, inv, line);
        return o ? o : json_pack("{s:s}", "error", "usage");
    }
    pthread_mutex_lock(&lock);
    away = !read;
    if (read)
        now = (struct lt_vtpm_host_clock){reset, restart, ms};
    pthread_mutex_unlock(&lock);
    return json_object();
}

int main(int argc, char **argv)
{
    struct lt_inventory_conf conf = {.read_clock = read_clock, .keeper = sealing_keeper()};
    struct lt_vtpm_inventory *inv;
    struct lt_err e = {0};
    char line[1024];
    FILE *in = fdopen(0, "r");

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: inventory-shell URI [RECORDS]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* as the agent does: libvirt writes to a libvirtd that is gone */
    conf.uri = argv[1];
    conf.records = argc == 3 ? argv[2] : NULL;
    if (lt_log_open("inventory-shell", NULL, LT_LOG_DEBUG, &e) || lt_inventory_start(&conf, &inv, &e)) {
        fprintf(stderr, "inventory-shell: %s\n", e.msg);
        return 1;
    }
    while (in && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = 0;
        LT_JSON_AUTO json_t *o = answer(argv[1], inv, line);
        LT_AUTOFREE char *text = o ? lt_json_dump(o) : NULL;
        dprintf(0, "%s\n", text ? text : "{\"error\":\"no-memory\"}");
    }
    lt_inventory_stop(inv);
    sealing_end();
    return 0;
}
