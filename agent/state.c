#include "agent/state.h"

#include "agent/secure.h"
#include "common/alloc.h"
#include "common/hash.h"
#include "common/pki/issue.h"
#include "common/pki/peer.h"
#include "common/run/clock.h"
#include "common/run/expiry.h"
#include "common/run/lock.h"
#include "common/run/log.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CERTIFICATE_DAYS 3650
#define CERTIFICATE_MAX 65536

static char *runtime_dir(const char *tcti, const char *suffix)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    uint8_t digest[LT_SHA256];
    char hex[17], name[48];

    if (!base || *base != '/')
        base = access("/run", W_OK) ? "/tmp" : "/run";
    lt_sha256(tcti, strlen(tcti), digest);
    lt_hex(digest, 8, hex);
    snprintf(name, sizeof name, "limetree-agent-%s%s", hex, suffix);
    return lt_file_path(base, name);
}

int lt_state_open(const char *state_dir, const char *tcti, struct lt_state *out, struct lt_err *e)
{
    *out = (struct lt_state){.lasting = *state_dir, .lock = -1};
    out->dir = *state_dir ? strdup(state_dir) : runtime_dir(tcti, "");
    if (!out->dir)
        return lt_fail(e, LT_E_NO_MEMORY, "state: no memory");
    int rc = lt_file_dir_private(out->dir, e);
    if (!rc)
        rc = lt_lock_state(out->dir, &out->lock, e);
    if (rc == LT_E_CONFLICT) /* a second start by mistake: a matter of configuration */
        rc = lt_fail_in(e, LT_E_CONFIG, "another limetree-agent is at work");
    if (rc)
        lt_state_close(out);
    return rc;
}

void lt_state_close(struct lt_state *s)
{
    lt_lock_release(&s->lock);
    free(s->dir);
    *s = (struct lt_state){.lock = -1};
}

static int open_secure(struct lt_state_secure *s, struct lt_err *e)
{
    LT_TRY(lt_secure_open(s->dir, &s->fd, e));
    int rc = lt_lock_state(s->dir, &s->lock, e);
    return rc == LT_E_CONFLICT ? lt_fail_in(e, LT_E_CONFIG, "another limetree-agent is at work") : rc;
}

int lt_state_secure_open(const char *configured, const char *tcti, struct lt_state_secure *out,
                         struct lt_err *e)
{
    struct lt_err why = {0};

    *out = (struct lt_state_secure){.fd = -1, .lock = -1};
    out->dir = *configured ? lt_alloc_text(configured) : runtime_dir(tcti, "-secure");
    int rc = open_secure(out, &why);
    if (!rc)
        return 0;
    if (!*configured)
        rmdir(out->dir); /* if it was made just now */
    lt_state_secure_close(out);
    if (*configured)
        return lt_fail(e, rc, "secure_dir = %s", why.msg);
    lt_log(LT_LOG_WARNING, "secure-dir",
           "no payload is taken, and each start of the agent has another transport key: %s; set secure_dir",
           why.msg);
    return 0;
}

void lt_state_secure_close(struct lt_state_secure *s)
{
    lt_lock_release(&s->lock);
    if (s->fd >= 0)
        close(s->fd);
    free(s->dir);
    *s = (struct lt_state_secure){.fd = -1, .lock = -1};
}

/* For longer than a warning lasts: a restart meanwhile makes a new one. */
static bool usable(const char *pem, const char *id, const char *path)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    char cn[128] = "";
    bool ok = x && X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn) > 0 &&
              !strcmp(cn, id) &&
              lt_expiry_seconds(X509_get0_notAfter(x)) - lt_clock_wall_s() > LT_EXPIRY_CERTIFICATE_S;

    lt_expiry_forget("its own certificate");
    if (ok)
        lt_expiry_add_x509("its own certificate", path, x);

    X509_free(x);
    BIO_free(bio);
    return ok;
}

int lt_state_certificate(const struct lt_state *s, const char *id, char **cert, char **key, char **pem,
                         struct lt_err *e)
{
    const struct lt_pki_subject subject = {.common_name = id, .server = true, .days = CERTIFICATE_DAYS};
    LT_AUTOFREE uint8_t *secret = NULL;
    uint8_t *text;
    struct lt_err why;
    size_t n;

    *cert = lt_file_path(s->dir, "mtls.pem");
    *key = lt_file_path(s->dir, "mtls-key.pem");
    if (!lt_file_read(*cert, CERTIFICATE_MAX, &text, &n, &why)) {
        *pem = (char *)text;
        if (usable(*pem, id, *cert) && !lt_file_read_secret(*key, CERTIFICATE_MAX, &secret, &n, &why)) {
            lt_wipe(secret, n);
            return 0;
        }
        free(lt_take(pem));
    }
    /* lt_pki_issue overwrites nothing. */
    unlink(*cert);
    unlink(*key);
    int rc = lt_pki_issue(NULL, NULL, &subject, *cert, *key, e);
    if (!rc)
        rc = lt_file_read(*cert, CERTIFICATE_MAX, &text, &n, e);
    if (!rc)
        *pem = (char *)text;
    return rc;
}
