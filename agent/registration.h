/* A guest agent's conversation with its registrar (keylime-api 2): register, activate, at every start and
 * until it works; again when nobody asks the agent for anything, which may mean that the registrar was lost
 * or restored; and at a registrar of ours, which takes the same keys as nothing new, about once a day. A
 * thread of its own. */
#ifndef LT_AGENT_REGISTRATION_H
#define LT_AGENT_REGISTRATION_H

#include "agent/attester.h"
#include "agent/tpm.h"

struct lt_registration_conf {
    const char *registrar; /* "http://HOST:PORT" */
    const char *id;
    const char *mtls_cert; /* PEM text */
    const char *contact;   /* "HOST:PORT"; 0.0.0.0 and :: become the address the registrar sees */
    struct lt_tpm *tpm;
    struct lt_attester *attester;
    const _Atomic uint64_t *asked_ms; /* lt_clock_ms() when a verifier last asked for a quote; 0: never */
    uint64_t idle_ms, again_ms;       /* not asked for so long; and in any case (ours only). 0: never */
    /* At the start: the registrar holds another identity under this id, and trying again cannot help. On the
     * thread. */
    void (*refused)(void *arg, const struct lt_err *why);
    void *arg;
};

struct lt_registration;

/* Everything in conf is borrowed until stop. */
int lt_registration_start(const struct lt_registration_conf *conf, struct lt_registration **out,
                          struct lt_err *e) LT_MUST_CHECK;
void lt_registration_stop(struct lt_registration *r);

#endif
