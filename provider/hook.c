#include "provider/hook.h"

#include "common/alloc.h"
#include "common/limits.h"
#include "verifier/revoke/webhook.h"

#include <stdlib.h>
#include <string.h>

struct lt_hook {
    struct lt_store *verdicts;
    struct lt_revoke_webhook *webhook; /* NULL: none */
    struct lt_revoke *revoke;
};

int lt_hook_compose(void *app, const struct lt_outbox_item *item, char **out, struct lt_err *e)
{
    json_t *verdict =
        item->doc ? lt_json_parse(item->doc, strlen(item->doc), LT_MAX_BODY_PROOFS, LT_NO_ERR) : NULL;
    LT_JSON_AUTO json_t *j =
        json_pack("{s:o, s:s, s:I, s:o}", "host", lt_json_new_hex(item->id, sizeof item->id), "kind",
                  lt_outbox_kind_slug(item->kind), "decided", (json_int_t)item->decided, "verdict",
                  verdict ? verdict : json_null());

    (void)app;
    *out = j ? lt_json_dump(j) : NULL;
    return *out ? 0 : lt_fail(e, LT_E_NO_MEMORY, "revocation: no memory");
}

/* Never called: hosts hear of no kind. */
static void to_nobody(void *app, struct lt_revoke_delivery *d)
{
    (void)app;
    lt_revoke_ended(d, NULL);
}

static int start_revoke(struct lt_hook *h, struct lt_err *e)
{
    /* The store makes everything it attests a receiver: these pass all, so that what is decided can go. */
    const struct lt_revoke_channel channels[] = {{.prefix = LT_OUTBOX_AGENT, .at_once = 1, .send = to_nobody},
                                                 {.prefix = LT_REVOKE_WEBHOOK,
                                                  .kinds = LT_REVOKE_ALL,
                                                  .at_once = 1,
                                                  .send = lt_revoke_webhook_send,
                                                  .app = h->webhook}};
    const struct lt_revoke_conf c = {.db = lt_store_outbox(h->verdicts),
                                     .channels = channels,
                                     .count = h->webhook ? 2 : 1,
                                     .compose = lt_hook_compose};

    LT_TRY(lt_revoke_start(&c, &h->revoke, e));
    lt_store_on_revocation(h->verdicts, lt_revoke_wake, h->revoke);
    return 0;
}

int lt_hook_start(struct lt_store *verdicts, const char *url, const char *ca, struct lt_hook **out,
                  struct lt_err *e)
{
    struct lt_hook *h = lt_new(struct lt_hook);
    const char *names[] = {NULL, NULL};

    *out = NULL;
    h->verdicts = verdicts;
    int rc = url ? lt_revoke_webhook_open(url, ca, &h->webhook, e) : 0;
    if (h->webhook)
        names[0] = lt_revoke_webhook_name(h->webhook);
    if (!rc)
        rc = lt_outbox_only(lt_store_outbox(verdicts), LT_REVOKE_WEBHOOK, names, e);
    if (!rc)
        rc = start_revoke(h, e);
    if (rc)
        lt_hook_free(h);
    else
        *out = h;
    return rc;
}

void lt_hook_free(struct lt_hook *h)
{
    if (!h)
        return;
    lt_store_on_revocation(h->verdicts, NULL, NULL);
    if (h->revoke)
        lt_revoke_stop(h->revoke);
    lt_revoke_webhook_close(h->webhook);
    lt_revoke_free(h->revoke);
    free(h);
}
