#include "agent/contact.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int lt_contact_parse(const char *text, struct lt_contact *out, struct lt_err *e)
{
    const char *colon = strrchr(text, ':'), *from = text;
    char *end;
    unsigned long v = colon ? strtoul(colon + 1, &end, 10) : 0;
    size_t n = colon ? (size_t)(colon - text) : 0;

    if (n > 1 && *from == '[' && from[n - 1] == ']') {
        from++;
        n -= 2;
    }
    if (!n || n >= sizeof out->address || v < 1 || v > 65535 || *end || colon[1] < '0' || colon[1] > '9')
        return lt_fail(e, LT_E_CONFIG, "%s: not HOST:PORT", text);
    memcpy(out->address, from, n);
    out->address[n] = 0;
    out->port = (unsigned)v;
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

int lt_contact_resolve(struct lt_contact *c, const char *registrar, struct lt_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    const char *authority = strstr(registrar, "://");
    struct addrinfo *list = NULL;
    struct lt_contact to;
    char text[300];

    if (strcmp(c->address, "0.0.0.0") && strcmp(c->address, "::"))
        return 0;
    authority = authority ? authority + 3 : registrar;
    size_t n = strcspn(authority, "/");
    if (n >= sizeof text)
        return lt_fail(e, LT_E_CONFIG, "registrar: host name of %zu bytes", n);
    memcpy(text, authority, n);
    text[n] = 0;
    int rc = lt_contact_parse(text, &to, e);
    if (rc)
        return lt_fail_in(e, "registrar");
    int os = getaddrinfo(to.address, "9", &hints, &list);
    bool ok = false;
    for (const struct addrinfo *a = list; a && !ok; a = a->ai_next)
        ok = route_source(a, c->address);
    if (list)
        freeaddrinfo(list);
    return ok ? 0
              : lt_fail(e, LT_E_UNREACHABLE, "registrar %s: %s", text, os ? gai_strerror(os) : "no route");
}
