/* Who calls: the handshake refuses, and each request is checked again. */
#include "common/hash.h"
#include "common/http/server_impl.h"
#include "common/run/clock.h"
#include "common/run/log.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- refusals: told to the peer, and to our log ---- */

/* The subject of what it showed, as text from outside; "" without. */
static void subject_of(const gnutls_datum_t *der, char *out, size_t n)
{
    gnutls_x509_crt_t x = NULL;

    *out = 0;
    if (der && !gnutls_x509_crt_init(&x) && !gnutls_x509_crt_import(x, der, GNUTLS_X509_FMT_DER) &&
        gnutls_x509_crt_get_dn(x, out, &n))
        *out = 0;
    if (x)
        gnutls_x509_crt_deinit(x);
}

/* what: "client certificate", "handshake". */
static void log_refusal(struct lt_http_conn *c, const char *what, const char *subject, const char *why)
{
    char more[LT_LOG_RATE_SHARE_MORE];

    c->refused = true;
    if (!lt_log_rate_may(&c->server->refusals, c->source, lt_clock_ms(), more))
        return;
    lt_log(LT_LOG_WARNING, "tls-refused", "%s: %s%s%s%s: %s%s", c->source, what, *subject ? " \"" : "",
           subject, *subject ? "\" refused" : "", why, more);
}

static int refuse_peer(gnutls_session_t session, struct lt_http_conn *c, gnutls_alert_description_t alert,
                       const char *why)
{
    unsigned n = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
    char subject[160];

    subject_of(n ? chain : NULL, subject, sizeof subject);
    if (c)
        log_refusal(c, "client certificate", subject, why);
    gnutls_alert_send(session, GNUTLS_AL_FATAL, alert); /* libmicrohttpd would only hang up */
    return -1;
}

static gnutls_alert_description_t alert_of(unsigned status)
{
    return status & GNUTLS_CERT_EXPIRED   ? GNUTLS_A_CERTIFICATE_EXPIRED
           : status & GNUTLS_CERT_REVOKED ? GNUTLS_A_CERTIFICATE_REVOKED
           : status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA) ? GNUTLS_A_UNKNOWN_CA
                                                                                 : GNUTLS_A_BAD_CERTIFICATE;
}

static int refuse_chain(gnutls_session_t session, struct lt_http_conn *c, int rc, unsigned status)
{
    gnutls_datum_t text = {0};

    if (rc >= 0 && gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
        text.data = NULL;
    if (text.data && text.size && text.data[text.size - 1] == ' ')
        text.data[text.size - 1] = 0;
    refuse_peer(session, c, rc < 0 ? GNUTLS_A_BAD_CERTIFICATE : alert_of(status),
                text.data ? (const char *)text.data : gnutls_strerror(rc));
    gnutls_free(text.data);
    return -1;
}

static int check_revoked(struct lt_http_conn *c, const gnutls_datum_t *chain, unsigned n, struct lt_err *e)
{
    unsigned now = lt_crl_generation(c->server->conf.crl);

    for (unsigned i = 0; i < n; i++)
        LT_TRY(lt_crl_check(c->server->conf.crl, chain[i].data, chain[i].size, e));
    c->crl_generation = now; /* of what was passed only: who is refused is asked again */
    return 0;
}

/* ---- two client CAs: which one is it? ---- */

#define MAX_CHAIN 16 /* certificates; GnuTLS takes no more */

static void free_list(gnutls_x509_trust_list_t *l)
{
    if (*l)
        gnutls_x509_trust_list_deinit(*l, 1);
    *l = NULL;
}

static int load_list(gnutls_x509_trust_list_t *l, const char *pem, struct lt_err *e)
{
    const gnutls_datum_t d = {(unsigned char *)pem, (unsigned)strlen(pem)};

    if (gnutls_x509_trust_list_init(l, 0) ||
        gnutls_x509_trust_list_add_trust_mem(*l, &d, NULL, GNUTLS_X509_FMT_PEM, 0, 0) < 1)
        return lt_fail(e, LT_E_CONFIG, "client CAs: no certificate in PEM");
    return 0;
}

int lt_http_cas_load(struct lt_http_server *s, const char *ca, const char *admin_ca, struct lt_err *e)
{
    LT_TRY(load_list(&s->clients, ca, e));
    return load_list(&s->keylime_admins, admin_ca, e);
}

void lt_http_cas_free(struct lt_http_server *s)
{
    free_list(&s->clients);
    free_list(&s->keylime_admins);
}

/* How many of them could be read: n, or the chain is none. */
static unsigned import_chain(const gnutls_datum_t *chain, unsigned n, gnutls_x509_crt_t certs[MAX_CHAIN])
{
    for (unsigned i = 0; i < n; i++) {
        if (i == MAX_CHAIN || gnutls_x509_crt_init(&certs[i]))
            return i;
        if (gnutls_x509_crt_import(certs[i], &chain[i], GNUTLS_X509_FMT_DER)) {
            gnutls_x509_crt_deinit(certs[i]);
            return i;
        }
    }
    return n;
}

static bool leads_to(gnutls_x509_trust_list_t list, const gnutls_datum_t *chain, unsigned n)
{
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, 0};
    gnutls_x509_crt_t certs[MAX_CHAIN];
    unsigned have = import_chain(chain, n, certs), status = 0;
    int rc =
        have == n ? gnutls_x509_trust_list_verify_crt2(list, certs, n, &purpose, 1, 0, &status, NULL) : -1;

    for (unsigned i = 0; i < have; i++)
        gnutls_x509_crt_deinit(certs[i]);
    return !rc && !status;
}

/* What the chain, which GnuTLS found good under one of our CAs, makes of its first certificate. A chain that
 * leads to both CAs is the admin's: the lesser right. */
static int take_peer(const struct lt_http_server *s, const gnutls_datum_t *chain, unsigned n,
                     struct lt_peer *out, struct lt_err *e)
{
    LT_TRY(lt_peer_from_der(chain[0].data, chain[0].size, out, e));
    if (s->keylime_admins && leads_to(s->keylime_admins, chain, n))
        return lt_peer_as_keylime_admin(out, e);
    if (s->clients && !leads_to(s->clients, chain, n))
        return lt_fail(e, LT_E_UNAUTHENTICATED, "it leads to neither client CA alone");
    return 0;
}

static int verify_peer(gnutls_session_t session)
{
    struct lt_http_conn *c = gnutls_session_get_ptr(session);
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, 0};
    unsigned n = 0, status = 0;
    struct lt_peer peer;
    struct lt_err e = {0};

    if (!c)
        return refuse_peer(session, c, GNUTLS_A_INTERNAL_ERROR, "no memory");
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
    if (!chain || !n)
        return c->server->require ? refuse_peer(session, c, GNUTLS_A_CERTIFICATE_REQUIRED, "none was sent")
                                  : 0;
    if (gnutls_certificate_type_get2(session, GNUTLS_CTYPE_CLIENT) != GNUTLS_CRT_X509)
        return refuse_peer(session, c, GNUTLS_A_UNSUPPORTED_CERTIFICATE, "not X.509");
    int rc = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
    if (rc < 0 || status) /* 0 with a status is a refusal too */
        return refuse_chain(session, c, rc, status);
    if (take_peer(c->server, chain, n, &peer, &e))
        return refuse_peer(session, c, GNUTLS_A_BAD_CERTIFICATE, e.msg);
    if (!peer.may_call)
        return refuse_peer(session, c, GNUTLS_A_UNSUPPORTED_CERTIFICATE,
                           "its extended key usage is not that of a client");
    if (check_revoked(c, chain, n, &e))
        return refuse_peer(session, c, GNUTLS_A_CERTIFICATE_REVOKED, e.msg);
    c->peer = peer;
    c->verified = true;
    lt_http_conn_proven(c);
    return 0;
}

/* A handshake that ended before it was ours to judge: no certificate, ours refused, or no TLS at all. */
static void note_unfinished(struct lt_http_conn *c)
{
    if (c && c->server->require && !c->verified && !c->refused)
        log_refusal(
            c, "handshake", "",
            "it ended before a client certificate was shown; if the peer refused ours, its log says why");
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
        note_unfinished(*context);
        lt_http_conn_close(*context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(m, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct lt_http_conn *c = i ? lt_http_conn_open(s, i->connect_fd) : NULL;
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

int lt_http_req_identify(struct lt_http_req *r, struct lt_err *e)
{
    struct lt_http_conn *c = r->on;
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
    if (c->crl_generation != lt_crl_generation(r->server->conf.crl) && /* the lists were read anew since */
        check_revoked(c, chain, n, e))
        return lt_fail_in(e, e->code, "client certificate");
    if (lt_clock_wall_s() > c->peer.not_after)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "client certificate: expired since the connection was made");
    r->peer = c->peer;
    r->has_peer = true;
    return 0;
}
