#include "cli/hostvault.h"

#include "common/alloc.h"
#include "residency/openers.h"
#include "residency/proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Hosts differ in these whatever they boot, or one host from boot to boot. */
#define BY_NATURE 0x0000006au /* 1, 3, 5, 6: settings, cards, boot order, partitions, wake events */
#define PERHAPS 0x00004080u   /* 7, 14: where hosts enrolled other keys (db, dbx, MOK) */
#define GROWS (1u << 11)   /* as the system comes up: what it holds when the agent opens the vault counts */
#define QUOTED 0x0000ffffu /* what a host quote has */

const char *lt_cli_hostvault_list(uint32_t mask, char out[80])
{
    size_t n = 0;

    snprintf(out, 80, "none");
    for (unsigned i = 0; i < LT_MAX_PCRS; i++) {
        unsigned last = i;
        if (!(mask >> i & 1))
            continue;
        while (last + 1 < LT_MAX_PCRS && mask >> (last + 1) & 1)
            last++;
        n += (size_t)snprintf(out + n, 80 - n, last > i ? "%s%u-%u" : "%s%u", n ? ", " : "", i, last);
        i = last;
    }
    return out;
}

/* ---- VAULT ---- */

int lt_cli_hostvault_read(const json_t *vault, struct lt_cli_hostvault *out, struct lt_err *e)
{
    json_t *states, *one;
    size_t i;

    *out = (struct lt_cli_hostvault){0};
    LT_TRY(lt_json_array(vault, "states", LT_MAX_SEAL_STATES, &states, e));
    json_array_foreach(states, i, one) LT_TRY_IN(
        lt_residency_pcrs_from_json(one, LT_HASH_SHA256, &out->states[out->count++], e), e, "state %zu", i);
    const json_t *present = json_object_get(vault, "present");
    if (json_object_size(present))
        LT_TRY_IN(lt_residency_pcrs_from_json(present, LT_HASH_SHA256, &out->present, e), e, "present");
    return 0;
}

uint32_t lt_cli_hostvault_mask(const struct lt_cli_hostvault *v)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < v->count; i++)
        mask |= v->states[i].mask;
    return mask;
}

/* PCRs of both whose values are not the same. */
static uint32_t differing(const struct lt_pcrs *a, const struct lt_pcrs *b)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if ((a->mask & b->mask) >> i & 1 && memcmp(a->value[i], b->value[i], LT_SHA256) != 0)
            mask |= 1u << i;
    return mask;
}

static void print_state(const struct lt_cli_hostvault *v, unsigned i)
{
    char list[80];
    uint32_t other = differing(&v->states[i], &v->present);

    printf("  state %u   PCR %s", i, lt_cli_hostvault_list(v->states[i].mask, list));
    if (!v->present.mask)
        printf("\n");
    else if (other)
        printf("; the host has other values in %s now\n", lt_cli_hostvault_list(other, list));
    else
        printf("; the host is in it now\n");
}

void lt_cli_hostvault_unfinished(const char *host, const json_t *vault)
{
    if (json_is_true(json_object_get(vault, "unfinished")))
        printf(
            "  unfinished: a change of openers was cut off; type 'limetree host reseal %s' to close what was "
            "dropped, or the same reseal again\n",
            host);
}

void lt_cli_hostvault_print_states(const struct lt_cli_hostvault *v)
{
    for (unsigned i = 0; i < v->count; i++)
        print_state(v, i);
}

static int print_vault(const char *host, const json_t *vault, struct lt_err *e)
{
    const char *message = json_string_value(json_object_get(vault, "message"));
    struct lt_cli_hostvault v;

    LT_TRY(lt_cli_hostvault_read(vault, &v, e));
    printf("host %s\n  vault     %s%s%s, generation %lld\n", host, lt_cli_text(vault, "state"),
           message ? ": " : "", message ? lt_cli_shown(message) : "",
           (long long)json_integer_value(json_object_get(vault, "generation")));
    lt_cli_hostvault_print_states(&v);
    printf("  vTPMs     %zu\n", json_array_size(json_object_get(vault, "entries")));
    lt_cli_hostvault_unfinished(host, vault);
    return 0;
}

static int show(struct lt_cli *c, const char *host, const json_t *vault, struct lt_err *e)
{
    if (c->json)
        return lt_cli_json(vault), 0;
    return print_vault(host, vault, e);
}

static void note(FILE *to, uint32_t mask, const char *text)
{
    char list[80];

    if (mask)
        fprintf(to, "PCR %s: %s\n", lt_cli_hostvault_list(mask, list), text);
}

/* Of --bitmap: 8 hex digits, PCRs that a state may have. */
static int read_bitmap(const char *text, uint32_t *out, struct lt_err *e)
{
    uint8_t raw[4];

    if (lt_unhex(text, raw, sizeof raw, e))
        return lt_fail(e, LT_E_USAGE, "--bitmap %s: 8 hex digits are wanted, bit N for PCR N", text);
    *out = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
    if (lt_openers_state_mask(*out, e))
        return lt_fail(e, LT_E_USAGE, "--bitmap %s: PCR 10, 13 and 16-23 are in no state, and some PCR is",
                       text);
    return 0;
}

/* ---- seal ---- */

int lt_cli_hostvault_seal(struct lt_cli *c, struct lt_err *e)
{
    struct lt_cli_hostvault v;
    uint32_t mask;
    char id[33];

    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_TRY(c->bitmap ? read_bitmap(c->bitmap, &mask, e) : 0);
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "POST", 201,
                                         json_pack("{s:s*}", "bitmap", c->bitmap), e, "hosts/%s/seal", id);
    if (!j)
        return e->code;
    LT_TRY(lt_cli_hostvault_read(j, &v, e));
    LT_TRY(show(c, id, j, e));
    if (!c->json)
        note(stdout, lt_cli_hostvault_mask(&v) & BY_NATURE,
             "changes with settings, cards, boot order or partitions, and the vault is locked then");
    return 0;
}

/* ---- reseal ---- */

static int read_file(const char *path, struct lt_pcrs *out, struct lt_err *e)
{
    LT_AUTOFREE uint8_t *text = NULL;
    size_t n;

    LT_TRY(lt_file_read(path, LT_MAX_BODY_SMALL, &text, &n, e));
    if (lt_pcrs_text_parse((struct lt_slice){text, n}, out, e))
        return lt_fail_in(e, LT_E_USAGE, "%s", path);
    if (out->alg != LT_HASH_SHA256)
        return lt_fail(e, LT_E_USAGE, "%s: values of the %s bank; a vault's states are of sha256", path,
                       lt_hash_name(out->alg));
    if (lt_openers_state_mask(out->mask, e))
        return lt_fail_in(e, LT_E_USAGE, "%s", path);
    return 0;
}

/* What the file leaves out and the vault's states have stays as the host has it now. */
static int fill_up(const char *path, const struct lt_cli_hostvault *v, struct lt_pcrs *state, bool quiet,
                   struct lt_err *e)
{
    uint32_t lacking = lt_cli_hostvault_mask(v) & ~state->mask;
    char list[80];

    if (lacking & ~v->present.mask)
        return lt_fail(
            e, LT_E_REFUSED,
            "%s: says nothing of PCR %s, which the vault's states have, and the host does not tell "
            "its own value now",
            path, lt_cli_hostvault_list(lacking & ~v->present.mask, list));
    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (lacking >> i & 1)
            memcpy(state->value[i], v->present.value[i], LT_SHA256);
    state->mask |= lacking;
    if (!quiet && lacking)
        printf("%s: PCR %s as the host has it now\n", path, lt_cli_hostvault_list(lacking, list));
    if (!quiet)
        printf("%s: other than the host has now: PCR %s\n", path,
               lt_cli_hostvault_list(differing(state, &v->present), list));
    return 0;
}

static int read_states(struct lt_cli *c, const struct lt_cli_hostvault *v, json_t *add, struct lt_err *e)
{
    for (unsigned i = 0; i < c->pcrs.n; i++) {
        struct lt_pcrs state;
        LT_TRY(read_file(c->pcrs.at[i], &state, e));
        LT_TRY(fill_up(c->pcrs.at[i], v, &state, c->json, e));
        json_array_append_new(add, lt_residency_pcrs_to_json(&state));
    }
    return 0;
}

static int read_drops(const struct lt_cli *c, const struct lt_cli_hostvault *v, json_t *drop,
                      struct lt_err *e)
{
    for (unsigned i = 0; i < c->drop.n; i++) {
        const char *s = c->drop.at[i];
        unsigned number = *s && strlen(s) < 3 ? (unsigned)strtoul(s, NULL, 10) : LT_MAX_SEAL_STATES;
        if (strspn(s, "0123456789") != strlen(s) || number >= v->count)
            return lt_fail(e, LT_E_USAGE, "--drop %s: the vault %s ('limetree host openers')", s,
                           v->count ? "has no such state" : "is not open");
        json_array_append_new(drop, json_integer(number));
    }
    return 0;
}

/* The states as they are, so that what is left out of a file can be filled up and numbers mean something. */
static json_t *vault_of(struct lt_cli *c, const char *id, struct lt_cli_hostvault *v, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "hosts/%s/vault", id);

    return j && !lt_cli_hostvault_read(j, v, e) ? lt_take(&j) : NULL;
}

/* With neither --pcrs nor --drop it ends one that was cut short, where the host has such a one. */
int lt_cli_hostvault_reseal(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *add = json_array(), *drop = json_array();
    struct lt_cli_hostvault v;
    char id[33];

    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_JSON_AUTO json_t *before = vault_of(c, id, &v, e);
    if (!before)
        return e->code;
    LT_TRY(read_states(c, &v, add, e));
    LT_TRY(read_drops(c, &v, drop, e));
    LT_JSON_AUTO json_t *after =
        lt_cli_call(c, LT_CLI_PROVIDER, "POST", 200, json_pack("{s:O, s:O}", "add", add, "drop", drop), e,
                    "hosts/%s/reseal", id);
    if (after)
        lt_cli_hostvault_warn(c, id, after);
    return after ? show(c, id, after, e) : e->code;
}

/* ---- predict ---- */

/* --bitmap, else what the host's own vault has, else the least. */
static int choose_mask(struct lt_cli *c, const char *id, uint32_t *out, struct lt_err *e)
{
    struct lt_cli_hostvault v = {0};

    *out = LT_OPENERS_STATE_MIN;
    if (c->bitmap)
        return read_bitmap(c->bitmap, out, e);
    LT_JSON_AUTO json_t *j = vault_of(c, id, &v, e);
    if (j && lt_cli_hostvault_mask(&v))
        *out = lt_cli_hostvault_mask(&v);
    *e = (struct lt_err){0}; /* it need not have a vault: it lends its values alone */
    return 0;
}

/* What is in the file, and why the rest is not. */
static void explain(FILE *to, const json_t *pcrs, uint32_t wanted, uint32_t told)
{
    fprintf(to, "from its quote %lld, %lld s old; make sure that it runs what the other host will\n",
            (long long)json_integer_value(json_object_get(pcrs, "seq")),
            (long long)json_integer_value(json_object_get(pcrs, "age_ms")) / 1000);
    note(to, told, "foretold");
    note(to, told & PERHAPS, "may differ between hosts all the same: keys that each enrolled (db, dbx, MOK)");
    note(to, told & GROWS,
         "grows while a system comes up: right only if the agent opens its vault as late as this host was "
         "quoted");
    note(to, wanted & BY_NATURE,
         "left out, for it differs by nature between hosts (settings, cards, boot order, partitions): "
         "`reseal` "
         "takes what the host itself has now");
    note(to, ~wanted & BY_NATURE,
         "left out: not in the vault's states, and different by nature between hosts");
    note(to, 1u << 10 | 1u << 13, "never in a state: IMA's list grows, and 13 names each host's own key");
    note(to, QUOTED & ~(wanted | BY_NATURE | 1u << 10 | 1u << 13), "left out: not in the vault's states");
}

static int write_lines(const struct lt_pcrs *p, uint32_t mask, struct lt_buf *out, struct lt_err *e)
{
    char hex[2 * LT_SHA256 + 1];

    for (unsigned i = 0; i < LT_MAX_PCRS; i++)
        if (mask >> i & 1) {
            lt_hex(p->value[i], LT_SHA256, hex);
            lt_buf_printf(out, "%u %s\n", i, hex);
        }
    return lt_buf_ok(out, e);
}

int lt_cli_hostvault_predict(struct lt_cli *c, struct lt_err *e)
{
    LT_AUTOBUF struct lt_buf lines = LT_BUF(LT_MAX_BODY_SMALL);
    struct lt_pcrs pcrs;
    uint32_t wanted;
    char id[33];

    LT_TRY(lt_cli_host(c, 0, id, e));
    LT_TRY(choose_mask(c, id, &wanted, e));
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_PROVIDER, "GET", 200, NULL, e, "hosts/%s/pcrs", id);
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    LT_TRY(lt_residency_pcrs_from_json(json_object_get(j, "pcrs"), LT_HASH_SHA256, &pcrs, e));
    uint32_t told = wanted & pcrs.mask & ~BY_NATURE;
    LT_TRY(write_lines(&pcrs, told, &lines, e));
    if (c->out)
        LT_TRY(lt_file_write(c->out, lines.p, lines.n, 0644, e));
    else
        fwrite(lines.p, 1, lines.n, stdout);
    explain(c->out ? stdout : stderr, j, wanted, told);
    return 0;
}
