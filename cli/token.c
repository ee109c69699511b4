/* limetree token: verdicts for those who guard secrets elsewhere. */
#include "verifier/token/token.h"

#include "cli/cli.h"
#include "cli/client.h"
#include "common/run/clock.h"

#include <stdio.h>
#include <string.h>

/* RFC 3986 2.1, of all but what is unreserved. */
static void percent(const char *s, char *out, size_t size)
{
    size_t n = 0;

    for (; *s && n + 4 < size; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
                     strchr("-._~", *s);
        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*s);
    }
    out[n] = 0;
}

static int check_words(const struct lt_cli *c, struct lt_err *e)
{
    LT_TRY_IN(lt_token_check_audience(c->aud, e), e, "token");
    LT_TRY_IN(lt_token_check_nonce(c->nonce, e), e, "token");
    return 0;
}

static int get(struct lt_cli *c, struct lt_err *e)
{
    char uuid[LT_UUID_TEXT], aud[3 * LT_TOKEN_AUDIENCE_MAX + 8], nonce[3 * LT_TOKEN_NONCE_MAX + 8];

    LT_TRY(lt_cli_uuid(c, 0, uuid, e));
    LT_TRY(check_words(c, e));
    percent(c->aud, aud, sizeof aud);
    percent(c->nonce, nonce, sizeof nonce);
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e,
                                         "guests/%s/token?aud=%s&nonce=%s", uuid, aud, nonce);
    if (!j)
        return e->code;
    if (c->json)
        return lt_cli_json(j), 0;
    printf("%s\n", lt_cli_text(j, "token"));
    return 0;
}

static int keys(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "GET", 200, NULL, e, "token-keys");

    return j ? lt_cli_json(j), 0 : e->code;
}

static int rotate(struct lt_cli *c, struct lt_err *e)
{
    LT_JSON_AUTO json_t *j = lt_cli_call(c, LT_CLI_TENANT, "POST", 200, json_object(), e, "token-keys");

    return j ? lt_cli_json(j), 0 : e->code;
}

/* Offline: what a receiver does. Prints the claims of a good one. */
static int verify(struct lt_cli *c, struct lt_err *e)
{
    const struct lt_token_expected x = {c->aud, c->nonce, c->issuer, lt_clock_wall_s()};
    LT_AUTOFREE uint8_t *token = NULL, *set = NULL;
    size_t n, set_n;

    LT_TRY(check_words(c, e));
    if (!c->keys)
        return lt_fail(e, LT_E_USAGE,
                       "--keys FILE is needed: limetree token keys > FILE, fetched from the tenant");
    LT_TRY(lt_file_read(c->argument[0], LT_MAX_TOKEN + 1, &token, &n, e));
    LT_TRY(lt_file_read(c->keys, LT_MAX_BODY_SMALL, &set, &set_n, e));
    LT_JSON_AUTO json_t *jwks = lt_json_parse(set, set_n, LT_MAX_BODY_SMALL, e);
    while (n && token[n - 1] == '\n')
        n--;
    LT_JSON_AUTO json_t *claims = jwks ? lt_token_verify((const char *)token, n, jwks, &x, e) : NULL;
    if (!claims)
        return e->code;
    lt_cli_json(claims);
    return 0;
}

static const struct lt_cli_verb verbs[] = {
    {"get", "UUID --aud TEXT --nonce TEXT", "a token of the guest, if it is trusted now", 1, 1, LT_CLI_TOKEN,
     get},
    {"verify", "FILE --keys FILE --aud TEXT --nonce TEXT",
     "whether the token in FILE (-: standard input) is good for this receiver; prints its claims", 1, 1,
     LT_CLI_TOKEN | LT_CLI_KEYS, verify},
    {"keys", "", "the keys that tokens are verified with (JWKS)", 0, 0, 0, keys},
    {"rotate", "", "sign with a new key from now on", 0, 0, 0, rotate},
};

int lt_cli_cmd_token(int argc, char **argv)
{
    return lt_cli_main("limetree token", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
