/* Errors: one table, one struct, filled where the fault is found and passed up unchanged.
 *
 * Functions return 0 or the negative code. A message names the object, the place and the value:
 * "inventory record at byte 14: version 2, only 1 is known". */
#ifndef LT_COMMON_ERR_H
#define LT_COMMON_ERR_H

/* X(NAME, slug, class, HTTP status, exit code of a command line program)
 * class: peer = the other side's bytes are wrong; retry = may go away by itself; local = ours to mend;
 * bug = cannot happen. */
#define LT_ERR_TABLE(X)                                                                                      \
    X(USAGE, "usage", LT_CLASS_LOCAL, 400, 2)                                                                \
    X(CONFIG, "config", LT_CLASS_LOCAL, 500, 2)                                                              \
    X(IO, "io", LT_CLASS_LOCAL, 500, 2)                                                                      \
    X(MALFORMED, "malformed", LT_CLASS_PEER, 400, 1)                                                         \
    X(UNSUPPORTED, "unsupported", LT_CLASS_PEER, 400, 1)                                                     \
    X(UNSUPPORTED_NAME_ALGORITHM, "unsupported-name-algorithm", LT_CLASS_PEER, 400, 1)                       \
    X(BAD_SIGNATURE, "bad-signature", LT_CLASS_PEER, 400, 1)                                                 \
    X(REFUSED, "refused", LT_CLASS_PEER, 422, 1)                                                             \
    X(TOO_LARGE, "too-large", LT_CLASS_PEER, 413, 1)                                                         \
    X(UNAUTHENTICATED, "unauthenticated", LT_CLASS_PEER, 401, 1)                                             \
    X(FORBIDDEN, "forbidden", LT_CLASS_PEER, 403, 1)                                                         \
    X(NOT_FOUND, "not-found", LT_CLASS_PEER, 404, 1)                                                         \
    X(METHOD, "method-not-allowed", LT_CLASS_PEER, 405, 1)                                                   \
    X(CONFLICT, "conflict", LT_CLASS_PEER, 409, 1)                                                           \
    X(TOO_MANY, "too-many-requests", LT_CLASS_RETRY, 429, 4)                                                 \
    X(BUSY, "busy", LT_CLASS_RETRY, 503, 4)                                                                  \
    X(HOST_UNREACHABLE, "host-unreachable", LT_CLASS_RETRY, 503, 4)                                          \
    X(HOST_TPM, "host-tpm", LT_CLASS_RETRY, 503, 4)                                                          \
    X(NOT_ASSIGNED, "not-assigned", LT_CLASS_PEER, 404, 1)                                                   \
    X(PROVIDER_UNREACHABLE, "provider-unreachable", LT_CLASS_RETRY, 503, 4)                                  \
    X(PROVIDER_REFUSED, "provider-refused", LT_CLASS_PEER, 502, 1)                                           \
    X(GUEST_UNREACHABLE, "guest-unreachable", LT_CLASS_RETRY, 503, 4)                                        \
    X(GUEST_TPM, "guest-tpm", LT_CLASS_RETRY, 503, 4)                                                        \
    X(NOT_REGISTERED, "not-registered", LT_CLASS_PEER, 404, 1)                                               \
    X(NO_ROOM, "no-room", LT_CLASS_RETRY, 503, 4)                                                            \
    X(VAULT_NONE, "vault-none", LT_CLASS_PEER, 409, 1)                                                       \
    X(VAULT_LOCKED, "vault-locked", LT_CLASS_PEER, 409, 1)                                                   \
    X(VAULT_STALE, "vault-stale", LT_CLASS_PEER, 409, 1)                                                     \
    X(VAULT_FORGED, "vault-forged", LT_CLASS_PEER, 409, 1)                                                   \
    X(COUNTER_LOST, "counter-lost", LT_CLASS_PEER, 409, 1)                                                   \
    X(TPM_NO_HMAC, "tpm-no-hmac", LT_CLASS_PEER, 409, 1)                                                     \
    X(HOST_LEAKS, "host-leaks", LT_CLASS_PEER, 409, 1)                                                       \
    X(STATE_PLAIN, "state-plain", LT_CLASS_PEER, 409, 1)                                                     \
    X(STATE_FOREIGN_KEY, "state-foreign-key", LT_CLASS_PEER, 409, 1)                                         \
    X(STATE_FOREIGN_EK, "state-foreign-ek", LT_CLASS_PEER, 409, 1)                                           \
    X(STATE_VOLATILE, "state-volatile", LT_CLASS_PEER, 409, 1)                                               \
    X(DOMAIN_UNPINNED, "domain-unpinned", LT_CLASS_PEER, 409, 1)                                             \
    X(VAULT_BUSY, "vault-busy", LT_CLASS_RETRY, 503, 4)                                                      \
    X(UNREACHABLE, "unreachable", LT_CLASS_RETRY, 503, 4)                                                    \
    X(TIMEOUT, "timeout", LT_CLASS_RETRY, 504, 4)                                                            \
    X(TPM, "tpm", LT_CLASS_RETRY, 500, 4)                                                                    \
    X(NO_MEMORY, "no-memory", LT_CLASS_RETRY, 500, 5)                                                        \
    X(INTERNAL, "internal", LT_CLASS_BUG, 500, 5)

enum lt_err_class { LT_CLASS_PEER, LT_CLASS_RETRY, LT_CLASS_LOCAL, LT_CLASS_BUG };

enum lt_err_index {
#define X(name, slug, class, http, exit) LT_EI_##name,
    LT_ERR_TABLE(X)
#undef X
        LT_EI_COUNT
};

/* Codes are negative: LT_E_USAGE == -1, and so on down the table. */
enum lt_err_code {
#define X(name, slug, class, http, exit) LT_E_##name = -1 - LT_EI_##name,
    LT_ERR_TABLE(X)
#undef X
};

struct lt_err {
    int code; /* 0 or LT_E_… */
    char msg[320];
};

/* Whoever takes a struct lt_err takes one: e is never NULL. A caller who does not care passes LT_NO_ERR,
 * which lives to the end of his block. Who leaves without a code at hand (a function that returned NULL)
 * returns e->code. */
#define LT_NO_ERR (&(struct lt_err){0})

#define LT_MUST_CHECK __attribute__((warn_unused_result))

/* Return from the caller what a call returned, if that is a fault. */
#define LT_TRY(call)                                                                                         \
    do {                                                                                                     \
        int rc_ = (call);                                                                                    \
        if (rc_)                                                                                             \
            return rc_;                                                                                      \
    } while (0)

/* The same, and say where: LT_TRY_IN(read_guest(j, e), e, "guest %zu", i). */
#define LT_TRY_IN(call, e, ...)                                                                              \
    do {                                                                                                     \
        int rc_ = (call);                                                                                    \
        if (rc_)                                                                                             \
            return lt_fail_in(e, rc_, __VA_ARGS__);                                                          \
    } while (0)

/* Fill *e and return code, so that a fault is one line: return lt_fail(e, LT_E_IO, "…"). */
int lt_fail(struct lt_err *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull(1)));

/* Put "where: " before the message that is already in *e, which now has this code; returns rc whatever stood
 * in *e. Called without a fault (rc 0), it makes one: LT_E_INTERNAL. */
int lt_fail_in(struct lt_err *e, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull(1)));

const char *lt_err_slug(int code);
enum lt_err_class lt_err_class(int code);
int lt_err_http(int code);
int lt_err_exit(int code); /* 0 for 0 */

/* The code with that slug, or LT_E_INTERNAL. */
int lt_err_from_slug(const char *slug);
/* Of an HTTP status that came without a slug. */
int lt_err_from_http(int status);

#if defined(__clang_analyzer__) || defined(LT_ANALYZE)
/* An analyzer sees one file at a time: that a failure returns its code, which is not 0, it is told here. */
#define lt_fail(e, code, ...)                                                                                \
    ({                                                                                                       \
        int code_ = (code);                                                                                  \
        (void)!(lt_fail)(e, code_, __VA_ARGS__);                                                             \
        code_;                                                                                               \
    })
#define lt_fail_in(e, ...)                                                                                   \
    ({                                                                                                       \
        int in_ = (lt_fail_in)(e, __VA_ARGS__);                                                              \
        in_ ? in_ : LT_E_INTERNAL;                                                                           \
    })
#endif

#endif
