#include "agent/seal.h"

#include "common/alloc.h"

#include <stdlib.h>

struct lt_agent_seal {
    struct lt_agent_seal_conf conf;
    struct lt_seal_keeper keeper;
};

static int stub(struct lt_err *e)
{
    return lt_fail(e, LT_E_UNSUPPORTED, "the vault is not built yet");
}

const char *lt_agent_seal_slug(enum lt_agent_seal_state s)
{
    static const char *const slugs[] = {
#define X(name, slug) [LT_AGENT_SEAL_##name] = slug,
        LT_AGENT_SEAL_STATES(X)
#undef X
    };
    return slugs[s];
}

static int no_entry(void *ctx, const uint8_t uuid[LT_UUID], struct lt_seal_entry *out, struct lt_err *e)
{
    (void)ctx, (void)uuid;
    *out = (struct lt_seal_entry){0};
    return lt_fail(e, LT_E_NOT_FOUND, "the vault has no entry of that domain");
}

static int no_ek(void *ctx, const uint8_t ek_digest[LT_SHA256], uint8_t uuid[LT_UUID], struct lt_err *e)
{
    (void)ctx, (void)ek_digest, (void)uuid;
    return lt_fail(e, LT_E_NOT_FOUND, "no entry of the vault has that EK");
}

static const char *no_leak(void *ctx)
{
    (void)ctx;
    return NULL;
}

int lt_agent_seal_new(const struct lt_agent_seal_conf *c, struct lt_agent_seal **out, struct lt_err *e)
{
    (void)e;
    *out = lt_new(struct lt_agent_seal);
    (*out)->conf = *c;
    (*out)->keeper = (struct lt_seal_keeper){no_entry, no_ek, no_leak, *out};
    return 0;
}

void lt_agent_seal_free(struct lt_agent_seal *s)
{
    free(s);
}

int lt_agent_seal_open(struct lt_agent_seal *s, struct lt_err *e)
{
    (void)s, (void)e;
    return 0;
}

const struct lt_seal_keeper *lt_agent_seal_keeper(struct lt_agent_seal *s)
{
    return &s->keeper;
}

void lt_agent_seal_status(struct lt_agent_seal *s, struct lt_agent_seal_status *out)
{
    (void)s;
    *out = (struct lt_agent_seal_status){.state = LT_AGENT_SEAL_NONE};
}

json_t *lt_agent_seal_json(struct lt_agent_seal *s)
{
    (void)s;
    return json_object();
}

int lt_agent_seal_create(struct lt_agent_seal *s, uint32_t bitmap, struct lt_err *e)
{
    (void)s, (void)bitmap;
    return stub(e);
}

int lt_agent_seal_reseal(struct lt_agent_seal *s, const struct lt_pcrs *add, unsigned add_n,
                         const unsigned *drop, unsigned drop_n, struct lt_err *e)
{
    (void)s, (void)add, (void)add_n, (void)drop, (void)drop_n;
    return stub(e);
}

int lt_agent_seal_complete_entry(struct lt_agent_seal *s, struct lt_seal_entry *x, struct lt_err *e)
{
    (void)s, (void)x;
    return stub(e);
}

int lt_agent_seal_put_entry(struct lt_agent_seal *s, const struct lt_seal_entry *x, struct lt_err *e)
{
    (void)s, (void)x;
    return stub(e);
}

int lt_agent_seal_pin(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], const uint8_t *firmware,
                      const uint8_t *domain, struct lt_err *e)
{
    (void)s, (void)uuid, (void)firmware, (void)domain;
    return stub(e);
}

int lt_agent_seal_remove_entry(struct lt_agent_seal *s, const uint8_t uuid[LT_UUID], struct lt_err *e)
{
    (void)s, (void)uuid;
    return stub(e);
}

int lt_agent_seal_openers(struct lt_agent_seal *s, const uint8_t digest[LT_SHA256], struct lt_buf *out,
                          struct lt_err *e)
{
    (void)s, (void)digest, (void)out;
    return lt_fail(e, LT_E_NOT_FOUND, "no openers of that digest");
}

size_t lt_agent_seal_list(struct lt_agent_seal *s, uint8_t (*uuids)[LT_UUID], size_t max)
{
    (void)s, (void)uuids, (void)max;
    return 0;
}
