/* seal-tool TCTI DIR [rsa|ecc]: the host agent's vault (agent/seal.h) without the agent, and what attacks it.
 * A JSON object a line on standard input, {"do":VERB,…}, answered by one:
 * {"rc":"ok"|slug,"message","ms","vault":{…},…}. */
#include "agent/seal.h"
#include "common/file.h"
#include "common/run/clock.h"
#include "tests/support/seal_forge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct lt_agent_ek ek;
    uint16_t alg;
    bool known;
    struct lt_tpm *tpm;
    struct lt_agent_seal *seal;
    struct seal_forge forge;
    struct lt_agent_seal_chip chip;
    struct lt_agent_seal_files files;
    char leak[32];
} tool;

static int on_open(struct lt_device *d, void *arg, struct lt_err *e)
{
    (void)arg;
    if (tool.known)
        return 0;
    LT_TRY(lt_agent_ek_find(d, tool.alg, &tool.ek, e));
    tool.known = true;
    return 0;
}

static const char *leak(void *ctx)
{
    (void)ctx;
    return *tool.leak ? tool.leak : NULL;
}

static int read_states(const json_t *list, struct lt_pcrs *out, unsigned *n, struct lt_err *e)
{
    const char *number, *key;
    json_t *one, *value;
    size_t i;

    *n = 0;
    json_array_foreach((json_t *)list, i, one)
    {
        struct lt_pcrs *p = &out[(*n)++];
        *p = (struct lt_pcrs){.alg = LT_HASH_SHA256};
        json_object_foreach(one, key, value)
        {
            unsigned pcr = (unsigned)atoi(key);
            number = json_string_value(value);
            LT_TRY(lt_unhex(number, p->value[pcr], LT_SHA256, e));
            p->mask |= 1u << pcr;
        }
    }
    return 0;
}

static int do_open(const json_t *in, json_t *out, struct lt_err *e)
{
    (void)in, (void)out;
    return lt_agent_seal_open(tool.seal, e);
}

static int do_create(const json_t *in, json_t *out, struct lt_err *e)
{
    int64_t bitmap;

    (void)out;
    LT_TRY(lt_json_int(in, "bitmap", 0, UINT32_MAX, &bitmap, e));
    return lt_agent_seal_create(tool.seal, (uint32_t)bitmap, e);
}

static int do_reseal(const json_t *in, json_t *out, struct lt_err *e)
{
    struct lt_pcrs add[LT_MAX_SEAL_STATES + 1];
    unsigned drop[LT_MAX_SEAL_STATES], add_n, drop_n = 0;
    json_t *one;
    size_t i;

    (void)out;
    LT_TRY(read_states(json_object_get(in, "add"), add, &add_n, e));
    json_array_foreach(json_object_get(in, "drop"), i, one) drop[drop_n++] =
        (unsigned)json_integer_value(one);
    return lt_agent_seal_reseal(tool.seal, add, add_n, drop, drop_n, e);
}

static int do_put(const json_t *in, json_t *out, struct lt_err *e)
{
    struct lt_seal_entry x = {.origin = LT_SEAL_MADE};
    struct lt_openers_one escrow = {.kind = LT_OPENERS_ESCROW};

    lt_seal_key_new(x.key);
    LT_TRY(lt_json_uuid(in, "uuid", x.uuid, e));
    LT_TRY(lt_json_hex(in, "ek_digest", x.ek_digest, LT_SHA256, e));
    if (lt_json_has(in, "escrow")) {
        LT_TRY(lt_json_hex(in, "escrow", escrow.digest, LT_SHA256, e));
        LT_TRY(lt_openers_add(&x.openers, &escrow, e));
    }
    int rc = lt_agent_seal_put_entry(tool.seal, &x, e);
    json_object_set_new(out, "key", json_stringn(x.key, LT_SEAL_KEY));
    lt_seal_entry_free(&x);
    return rc;
}

static int do_pin(const json_t *in, json_t *out, struct lt_err *e)
{
    uint8_t uuid[LT_UUID], firmware[LT_SHA256], domain[LT_SHA256];

    (void)out;
    LT_TRY(lt_json_uuid(in, "uuid", uuid, e));
    if (lt_json_has(in, "firmware"))
        LT_TRY(lt_json_hex(in, "firmware", firmware, LT_SHA256, e));
    LT_TRY(lt_json_hex(in, "domain", domain, LT_SHA256, e));
    return lt_agent_seal_pin(tool.seal, uuid, lt_json_has(in, "firmware") ? firmware : NULL, domain, e);
}

static int do_remove(const json_t *in, json_t *out, struct lt_err *e)
{
    uint8_t uuid[LT_UUID];

    (void)out;
    LT_TRY(lt_json_uuid(in, "uuid", uuid, e));
    return lt_agent_seal_remove_entry(tool.seal, uuid, e);
}

static int do_entry(const json_t *in, json_t *out, struct lt_err *e)
{
    const struct lt_seal_keeper *k = lt_agent_seal_keeper(tool.seal);
    uint8_t uuid[LT_UUID], owner[LT_UUID];
    struct lt_seal_entry x;

    LT_TRY(lt_json_uuid(in, "uuid", uuid, e));
    int rc = k->entry(k->ctx, uuid, &x, e);
    if (!rc) {
        json_object_set_new(out, "key", json_stringn(x.key, LT_SEAL_KEY));
        json_object_set_new(out, "openers", lt_openers_to_json(&x.openers));
        json_object_set_new(out, "domain", lt_json_new_hex(x.domain, LT_SHA256));
        json_object_set_new(out, "firmware", lt_json_new_hex(x.firmware, LT_SHA256));
        rc = k->of_ek(k->ctx, x.ek_digest, owner, e);
        json_object_set_new(out, "owner", lt_json_new_uuid(owner));
    }
    lt_seal_entry_free(&x);
    return rc;
}

static int do_openers(const json_t *in, json_t *out, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf b = LT_BUF(LT_MAX_OPENERS_BYTES);
    uint8_t digest[LT_SHA256];

    LT_TRY(lt_json_hex(in, "digest", digest, sizeof digest, e));
    LT_TRY(lt_agent_seal_openers(tool.seal, digest, &b, e));
    json_object_set_new(out, "bytes", lt_json_new_hex(b.p, b.n));
    return 0;
}

static int do_leak(const json_t *in, json_t *out, struct lt_err *e)
{
    const char *what;

    (void)out;
    LT_TRY(lt_json_string(in, "what", &what, e));
    snprintf(tool.leak, sizeof tool.leak, "%s", what);
    return 0;
}

static int do_forge(const json_t *in, json_t *out, struct lt_err *e)
{
    const struct seal_forge_key k = {
        .attributes = (uint32_t)json_integer_value(json_object_get(in, "attributes")),
        .known = json_is_true(json_object_get(in, "known")),
        .storage = json_is_true(json_object_get(in, "storage")),
        .any_counter = json_is_true(json_object_get(in, "any_counter")),
        .extra_state = json_is_true(json_object_get(in, "extra_state")),
        .limit = (uint64_t)json_integer_value(json_object_get(in, "limit")),
    };

    (void)out;
    return seal_forge_file(&tool.forge, &k, e);
}

static int do_ungrown(const json_t *in, json_t *out, struct lt_err *e)
{
    struct lt_pcrs state[LT_MAX_SEAL_STATES];
    unsigned n;

    (void)out;
    LT_TRY(read_states(json_object_get(in, "add"), state, &n, e));
    return seal_forge_ungrown(&tool.forge, &state[0], e);
}

static int do_ask(const json_t *in, json_t *out, struct lt_err *e)
{
    const char *how;

    (void)out;
    LT_TRY(lt_json_string(in, "how", &how, e));
    return seal_forge_ask(&tool.forge, how, e);
}

/* The chip alone, about the key of `vault` and no rule of ours before it. generation: as if the file said
 * that. */
static int do_answer(const json_t *in, json_t *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *p = NULL;
    struct lt_seal_key_states states;
    struct lt_seal_vault v;
    uint8_t km[LT_SHA256];
    size_t n;

    (void)out;
    LT_TRY(lt_file_read(tool.files.vault, LT_MAX_VAULT, &p, &n, e));
    LT_TRY(lt_seal_vault_parse(p, n, &v, e));
    lt_seal_vault_states(&v.one[0], &states);
    const struct lt_agent_seal_question q = {
        .kind = LT_SEAL_KEY_HMAC,
        .public = v.one[0].public,
        .private = v.one[0].private,
        .states = &states,
        .present = (unsigned)json_integer_value(json_object_get(in, "state")),
        .generation = lt_json_has(in, "generation")
                          ? (uint64_t)json_integer_value(json_object_get(in, "generation"))
                          : v.generation,
    };
    return lt_agent_seal_chip_ops.answer(&tool.chip, &q, km, e);
}

static int do_fill(const json_t *in, json_t *out, struct lt_err *e)
{
    int64_t n;

    (void)out;
    LT_TRY(lt_json_int(in, "count", 0, LT_MAX_INVENTORY, &n, e));
    return seal_forge_fill(&tool.forge, (uint32_t)n, e);
}

static const struct {
    const char *name;
    int (*run)(const json_t *in, json_t *out, struct lt_err *e);
} verbs[] = {
    {"open", do_open}, {"create", do_create}, {"reseal", do_reseal},   {"put", do_put},
    {"pin", do_pin},   {"remove", do_remove}, {"entry", do_entry},     {"openers", do_openers},
    {"leak", do_leak}, {"forge", do_forge},   {"ungrown", do_ungrown}, {"ask", do_ask},
    {"fill", do_fill}, {"answer", do_answer},
};

static void obey(const char *line)
{
    struct lt_err e = {0};
    LT_JSON_AUTO json_t *in = lt_json_parse(line, strlen(line), 1 << 20, &e), *out = json_object();
    const char *verb = in ? json_string_value(json_object_get(in, "do")) : NULL;
    const uint64_t begun = lt_clock_ns();
    int rc = lt_fail(&e, LT_E_USAGE, "what is there to do?");

    for (size_t i = 0; verb && i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verb, verbs[i].name))
            rc = verbs[i].run(in, out, &e);
    json_object_set_new(out, "ms", json_real((double)(lt_clock_ns() - begun) / 1e6));
    json_object_set_new(out, "rc", json_string(rc ? lt_err_slug(rc) : "ok"));
    json_object_set_new(out, "message", lt_json_new_text(rc ? e.msg : ""));
    json_object_set_new(out, "vault", lt_agent_seal_json(tool.seal));
    char *text = lt_json_dump(out);
    puts(text);
    fflush(stdout);
    free(text);
}

static int begin(const char *tcti, const char *dir, struct lt_err *e)
{
    LT_TRY(lt_tpm_start(tcti, on_open, NULL, &tool.tpm, e));
    const struct lt_agent_seal_conf conf = {.dir = dir, .tpm = tool.tpm, .ek = &tool.ek, .leak = leak};
    LT_TRY(lt_agent_seal_new(&conf, &tool.seal, e));
    tool.chip = (struct lt_agent_seal_chip){tool.tpm, &tool.ek, LT_AGENT_SEAL_PCR10_MS, NULL};
    lt_agent_seal_files_init(&tool.files, dir);
    tool.forge = (struct seal_forge){
        {&lt_agent_seal_chip_ops, &lt_agent_seal_files_ops, &tool.chip, &tool.files, NULL},
        tool.tpm,
        &tool.ek,
        {0}};
    return lt_public_ek_digest(&tool.ek.pub, tool.forge.host_ek_digest, e);
}

int main(int argc, char **argv)
{
    struct lt_err e = {0};
    char *line = NULL;
    size_t n = 0;

    if (argc < 3)
        return 2;
    tool.alg = argc > 3 && !strcmp(argv[3], "ecc") ? LT_TPM_ALG_ECC : LT_TPM_ALG_RSA;
    if (begin(argv[1], argv[2], &e)) {
        fprintf(stderr, "seal-tool: %s\n", e.msg);
        return 1;
    }
    while (getline(&line, &n, stdin) > 0)
        obey(line);
    free(line);
    lt_agent_seal_free(tool.seal);
    lt_agent_seal_files_free(&tool.files);
    lt_tpm_stop(tool.tpm);
    lt_tpm_free(tool.tpm);
    return 0;
}
