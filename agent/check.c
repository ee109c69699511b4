/* What an agent's start would stumble over, looked at before. */
#include "agent/conf.h"
#include "agent/contact.h"
#include "agent/leaks.h"
#include "agent/secure.h"
#include "agent/tpm_words.h"
#include "common/alloc.h"
#include "common/http/server.h"
#include "common/pki/crl.h"
#include "common/pki/identity.h"
#include "common/run/config_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lt_agent_check_identity(const struct lt_agent_conf *c, const uint8_t *host_id, struct lt_err *e)
{
    const struct lt_identity mine = {
        .cert_key = "cert",
        .cert = c->cert,
        .key_key = "key",
        .key = c->key,
        .ca_key = "client_ca",
        .ca = c->client_ca,
        .role = LT_PEER_ROLE_HOST,
        .serve = true,
        .host_id = host_id,
        .remedy = "limetree pki issue DIR --ca federation --role host --host HEX --out PREFIX",
    };
    return lt_identity_check(&mine, e);
}

static int check_host(const struct lt_agent_conf *c, struct lt_err *e)
{
    enum lt_agent_leaks_mode mode;
    struct lt_crl *crl = NULL;

    if (!*c->cert || !*c->key || !*c->client_ca)
        return lt_fail(
            e, LT_E_CONFIG,
            "cert, key, client_ca: a host needs all three (limetree pki issue --role host --host HEX, with "
            "HEX from limetree-agent --identity)");
    LT_TRY(lt_agent_leaks_mode(c->seal_checks, &mode, e));
    LT_TRY(lt_agent_check_identity(c, NULL, e));
    if (*c->crl)
        LT_TRY(lt_crl_open("crl", c->crl, c->client_ca, &crl, e));
    lt_crl_free(crl);
    return 0;
}

static int check_guest(const struct lt_agent_conf *c, struct lt_err *e)
{
    struct lt_http_address registrar;

    if (!*c->client_ca)
        return lt_fail(e, LT_E_CONFIG, "client_ca: must be set (who may call this agent)");
    if (*c->registrar)
        LT_TRY(lt_http_address_parse_url("registrar", c->registrar, "http://", &registrar, e));
    if (*c->revocation_actions_dir && access(c->revocation_actions_dir, R_OK | X_OK))
        return lt_fail(e, LT_E_CONFIG, "revocation_actions_dir = %s: %s", c->revocation_actions_dir,
                       strerror(errno));
    if (*c->secure_dir)
        LT_TRY_IN(lt_secure_check(c->secure_dir, e), e, "secure_dir");
    return lt_identity_check_ca("client_ca", c->client_ca, e);
}

static int check_tcti(const char *tcti, struct lt_err *e)
{
    struct lt_tpm_words_tcti t;

    lt_tpm_words_tcti_parse(tcti, &t);
    if (strspn(t.name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(t.name) || (!*t.name && *tcti))
        return lt_fail(e, LT_E_CONFIG,
                       "tcti = %s: not NAME:WHERE, as device:/dev/tpmrm0 or swtpm:path=SOCKET", tcti);
    return *t.path && access(t.path, R_OK | W_OK)
               ? lt_fail(e, LT_E_CONFIG, "tcti = %s: %s: %s", tcti, t.path, strerror(errno))
               : 0;
}

static int check_local_socket(const char *path, struct lt_err *e)
{
    LT_AUTOFREE char *listen = NULL;

    if (asprintf(&listen, "unix:%s", path) < 0) {
        listen = NULL;
        return lt_fail(e, LT_E_NO_MEMORY, "local_socket: no memory");
    }
    return lt_http_server_check_listen("local_socket", listen, e);
}

/* Not at a start, which finds these by itself and has more to say. */
static int check_rest(const struct lt_agent_conf *c, const struct lt_agent_options *o, struct lt_err *e)
{
    struct lt_http_address contact;

    LT_TRY(lt_http_server_check_listen("listen", o->listen, e));
    LT_TRY(check_tcti(c->tcti, e));
    if (*c->contact)
        LT_TRY_IN(lt_contact_parse(c->contact, &contact, e), e, "contact");
    if (o->host && *c->local_socket)
        LT_TRY(check_local_socket(c->local_socket, e));
    return *c->state_dir ? lt_config_check_state(c->state_dir, NULL, e) : 0;
}

int lt_agent_check(const struct lt_agent_conf *c, bool alone, struct lt_err *e)
{
    struct lt_agent_options o;

    LT_TRY(lt_agent_options(c, &o, e));
    LT_TRY(o.host ? check_host(c, e) : check_guest(c, e));
    return alone ? check_rest(c, &o, e) : 0;
}
