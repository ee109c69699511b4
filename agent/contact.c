#include "agent/contact.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int lt_contact_parse(const char *text, struct lt_http_address *out, struct lt_err *e)
{
    if (lt_http_address_parse(text, out, e) || !out->port)
        return lt_fail(e, LT_E_CONFIG, "\"%.80s\": not HOST:PORT", text);
    return 0;
}

/* The source address of packets to it; a datagram socket is connected, nothing is sent. */
static bool route_source(const struct addrinfo *to, char out[256])
{
    struct sockaddr_storage us;
    socklen_t n = sizeof us;
    int s = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = s >= 0 && !connect(s, to->ai_addr, to->ai_addrlen) &&
              !getsockname(s, (struct sockaddr *)&us, &n) &&
              !getnameinfo((struct sockaddr *)&us, n, out, 256, NULL, 0, NI_NUMERICHOST);

    if (s >= 0)
        close(s);
    return ok;
}

int lt_contact_resolve(struct lt_http_address *c, const char *registrar, struct lt_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *list = NULL;
    struct lt_http_address to;

    if (strcmp(c->host, "0.0.0.0") && strcmp(c->host, "::"))
        return 0;
    LT_TRY(lt_http_address_parse_url("registrar", registrar, "http://", &to, e));
    int os = getaddrinfo(to.host, "9", &hints, &list);
    bool ok = false;
    for (const struct addrinfo *a = list; a && !ok; a = a->ai_next)
        ok = route_source(a, c->host);
    if (list)
        freeaddrinfo(list);
    return ok ? 0
              : lt_fail(e, LT_E_UNREACHABLE, "registrar %s: %s", registrar,
                        os ? gai_strerror(os) : "no route");
}
