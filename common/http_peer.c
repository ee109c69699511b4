/* Who calls: the handshake refuses, and each request is checked again. */
#include "common/clock.h"
#include "common/hash.h"
#include "common/http_req.h"
#include "common/log.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

static int refuse_peer(const char *why)
{
    lt_log(LT_LOG_DEBUG, "tls", "client certificate refused: %s", why);
    return -1;
}

static int verify_peer(gnutls_session_t session)
{
    struct lt_conn *c = gnutls_session_get_ptr(session);
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, 0};
    unsigned n = 0, status = 0;
    struct lt_err e = {0};

    if (!c)
        return refuse_peer("no memory");
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
    if (!chain || !n)
        return c->server->require ? refuse_peer("none was sent") : 0;
    if (gnutls_certificate_type_get2(session, GNUTLS_CTYPE_CLIENT) != GNUTLS_CRT_X509)
        return refuse_peer("not X.509");
    int rc = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
    if (rc < 0 || status) { /* 0 with a status is a refusal too */
        gnutls_datum_t text = {0};
        if (rc >= 0 && gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
            text.data = NULL;
        refuse_peer(text.data ? (const char *)text.data : gnutls_strerror(rc));
        gnutls_free(text.data);
        return -1;
    }
    struct lt_peer peer;
    if (lt_peer_from_der(chain[0].data, chain[0].size, &peer, &e))
        return refuse_peer(e.msg);
    if (!peer.may_call)
        return refuse_peer("its extended key usage is not that of a client");
    c->peer = peer;
    c->verified = true;
    lt_conn_proven(c);
    return 0;
}

static gnutls_session_t session_of(struct MHD_Connection *m)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(m, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return i ? i->tls_session : NULL;
}

void lt_http_on_connection(void *cls, struct MHD_Connection *m, void **context,
                           enum MHD_ConnectionNotificationCode code)
{
    struct lt_http_server *s = cls;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        lt_conn_close(*context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(m, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct lt_conn *c = i ? lt_conn_open(s, i->connect_fd) : NULL;
    *context = c;
    gnutls_session_t session = s->tls ? session_of(m) : NULL;
    if (session && s->ask) {
        /* HTTPS_MEM_TRUST alone only asks: the handler would still run for anybody. */
        gnutls_session_set_ptr(session, c);
        gnutls_certificate_server_set_request(session,
                                              s->require ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
        gnutls_session_set_verify_function(session, verify_peer);
    }
}

int lt_req_identify(struct lt_req *r, struct lt_err *e)
{
    const struct lt_conn *c = r->on;
    uint8_t now[32];
    unsigned n = 0;

    if (!c)
        return lt_fail(e, LT_E_NO_MEMORY, "connection: no memory");
    if (!r->server->ask)
        return 0;
    gnutls_session_t session = session_of(r->conn);
    const gnutls_datum_t *chain = session ? gnutls_certificate_get_peers(session, &n) : NULL;
    if (!c->verified && !r->server->require && (!chain || !n))
        return 0;
    if (!c->verified || !chain || !n)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "no verified client certificate");
    lt_sha256(chain[0].data, chain[0].size, now);
    if (memcmp(now, c->peer.fingerprint, sizeof now))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "client certificate: not the one that was verified");
    if (lt_wall_s() > c->peer.not_after)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "client certificate: expired since the connection was made");
    r->peer = c->peer;
    r->has_peer = true;
    return 0;
}
