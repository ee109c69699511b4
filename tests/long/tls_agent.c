#include "tests/long/tls_agent.h"

#include "keylime/quote.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static const char pubkey[] =
    "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n"; /* as JSON has it */
static const char pubkey_raw[] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

static char *quote(struct tls_agent *a, const char *nonce)
{
    struct lt_buf attest = LT_BUF(LT_MAX_ATTEST), sig = LT_BUF(LT_MAX_SIGNATURE);
    struct lt_quote q = {.pcrs = {.alg = LT_HASH_SHA256, .mask = 0x1ffff}};
    uint8_t name[LT_TPM_NAME], digest[32];
    struct lt_err e;
    char *text = NULL;

    lt_sha256(pubkey_raw, strlen(pubkey_raw), digest);
    lt_pcr_extend(LT_HASH_SHA256, q.pcrs.value[16], digest);
    lt_pcrs_digest(&q.pcrs, LT_HASH_SHA256, digest);
    if (lt_tpm_qualified_name(&a->ek, &a->ak, name, &e))
        abort();
    lt_buf_u32(&attest, LT_TPM_GENERATED);
    lt_buf_u16(&attest, LT_TPM_ST_ATTEST_QUOTE);
    lt_buf_put16(&attest, name, sizeof name);
    lt_buf_put16(&attest, nonce, strlen(nonce));
    lt_buf_u64(&attest, ++a->clock_ms);
    lt_buf_put(&attest, "\0\0\0\1\0\0\0\0\1\0\0\0\0\0\0\0\1", 17); /* counts, safe, firmware version */
    lt_buf_put(&attest, "\0\0\0\1\0\x0b\3\xff\xff\1", 10);
    lt_buf_put16(&attest, digest, sizeof digest);
    soft_sign(a->ak_key, attest.p, attest.n, &sig);
    q.attest = attest.p, q.attest_n = attest.n;
    q.signature = sig.p, q.signature_n = sig.n;
    if (lt_quote_write(&q, &text, &e))
        abort();
    lt_buf_free(&attest);
    lt_buf_free(&sig);
    return text;
}

static bool send_all(SSL *s, const char *p, size_t n)
{
    size_t put;

    for (; n; p += put, n -= put)
        if (SSL_write_ex(s, p, n < 65536 ? n : 65536, &put) != 1)
            return false;
    return true;
}

/* The request's nonce; false when the peer has gone. */
static bool read_request(SSL *s, char nonce[LT_RESIDENCY_NONCE + 1])
{
    char text[4096];
    size_t n = 0, got;

    do {
        if (n == sizeof text - 1 || SSL_read_ex(s, text + n, sizeof text - 1 - n, &got) != 1)
            return false;
        n += got;
        text[n] = 0;
    } while (!strstr(text, "\r\n\r\n"));
    const char *at = strstr(text, "nonce=");
    if (!at || strlen(at) < 6 + LT_RESIDENCY_NONCE)
        return false;
    memcpy(nonce, at + 6, LT_RESIDENCY_NONCE);
    nonce[LT_RESIDENCY_NONCE] = 0;
    return true;
}

static bool answer(struct tls_agent *a, SSL *s, const char *nonce)
{
    static const char tail[] = "\"}}";
    LT_AUTOFREE char *q = quote(a, nonce), *head = NULL, *body = NULL;
    int n = asprintf(&body,
                     "{\"code\":200,\"status\":\"Success\",\"results\":{\"quote\":\"%s\",\"hash_alg\":"
                     "\"sha256\",\"enc_alg\":\"ecc256\","
                     "\"sign_alg\":\"ecdsa\",\"pubkey\":\"%s\",\"ima_measurement_list_entry\":0,\"ima_"
                     "measurement_list\":\"",
                     q, pubkey);
    int m =
        asprintf(&head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                 (size_t)n + a->list_n + strlen(tail));

    return n > 0 && m > 0 && send_all(s, head, (size_t)m) && send_all(s, body, (size_t)n) &&
           send_all(s, a->list, a->list_n) && send_all(s, tail, strlen(tail));
}

static void serve(struct tls_agent *a, int fd)
{
    SSL *s = SSL_new(a->tls);
    char nonce[LT_RESIDENCY_NONCE + 1];

    SSL_set_fd(s, fd);
    if (SSL_accept(s) == 1)
        while (read_request(s, nonce)) {
            atomic_fetch_add(&a->asked, 1);
            if (!answer(a, s, nonce))
                break;
            atomic_fetch_add(&a->answered, 1);
        }
    SSL_free(s);
    close(fd);
}

static void *run(void *arg)
{
    struct tls_agent *a = arg;

    for (;;) {
        int fd = accept(a->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        serve(a, fd);
    }
}

void tls_agent_start(struct tls_agent *a)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    pthread_attr_t small;

    a->clock_ms = 1000;
    a->ek_key = soft_ecc("P-256");
    a->ak_key = soft_ecc("P-256");
    soft_parse(a->ek_key, &soft_ek, &a->ek);
    soft_parse(a->ak_key, &soft_ak_ecc, &a->ak);
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(a->fd >= 0 && !bind(a->fd, (struct sockaddr *)&at, sizeof at) && !listen(a->fd, 8));
    assert_int_equal(getsockname(a->fd, (struct sockaddr *)&at, &n), 0);
    a->port = ntohs(at.sin_port);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    assert_int_equal(pthread_create(&a->thread, &small, run, a), 0);
    pthread_attr_destroy(&small);
}
