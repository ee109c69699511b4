/* What is called, who may (default deny), and on which thread. */
#include "common/http/server_impl.h"

#include <stdio.h>
#include <string.h>

#define ROLE_MASK 0x0fffu
#define MAX_SEGMENTS 16

int lt_http_req_check_access(const struct lt_http_req *r, struct lt_err *e)
{
    unsigned access = r->route->access;

    if (r->server->over_local && !r->on->local)
        return lt_fail(e, LT_E_FORBIDDEN, "not for %s: root and the user that serves may call",
                       r->on->source);
    if ((access & LT_HTTP_MAY_ANYONE) || (access & LT_HTTP_MAY_LOCAL && r->server->over_local))
        return 0;
    if (!r->has_peer)
        return lt_fail(e, LT_E_UNAUTHENTICATED, "a client certificate is needed here");
    bool admin = r->peer.roles & LT_PEER_ROLE_KEYLIME_ADMIN; /* under another CA than the trusted ones */
    if (((access & LT_HTTP_MAY_TRUSTED) && !admin) || (r->peer.roles & access & ROLE_MASK))
        return 0;
    return lt_fail(e, LT_E_FORBIDDEN, "not for %s%s",
                   r->peer.roles ? "the client certificate's role, " : "a client certificate without a role",
                   r->peer.roles ? lt_peer_role_name(r->peer.roles) : "");
}

/* segs: the path's decoded segments. */
static bool path_matches(const char *pattern, char *const *segs, unsigned count, const char **args)
{
    unsigned arg = 0;

    for (unsigned i = 0;; i++) {
        pattern += *pattern == '/';
        if (!*pattern || i == count)
            return !*pattern && i == count;
        size_t n = strcspn(pattern, "/");
        if (n == 2 && !memcmp(pattern, "{}", 2)) {
            if (arg == LT_HTTP_REQ_ARGS)
                return false;
            args[arg++] = segs[i];
        } else if (strlen(segs[i]) != n || memcmp(pattern, segs[i], n)) {
            return false;
        }
        pattern += n;
    }
}

int lt_http_req_route(struct lt_http_req *r, const char *method, struct lt_err *e)
{
    char *segs[MAX_SEGMENTS], allow[64] = "";
    unsigned count = 0;

    if (r->uri[0] != '/')
        return lt_fail(e, LT_E_NOT_FOUND, "no such path");
    for (char *at = r->uri + 1, *next; at && *at; at = next) {
        if ((next = strchr(at, '/')))
            *next++ = 0;
        if (lt_http_req_unescape(at, true, e))
            return e->code;
        if (count == MAX_SEGMENTS || !*at || !strcmp(at, ".") || !strcmp(at, ".."))
            return lt_fail(e, LT_E_NOT_FOUND, "no such path");
        segs[count++] = at;
    }
    for (size_t i = 0; i < r->server->conf.route_count; i++) {
        const struct lt_http_route *route = &r->server->conf.routes[i];
        const char *args[LT_HTTP_REQ_ARGS] = {0};
        if (!path_matches(route->path, segs, count, args))
            continue;
        if (!strcmp(route->method, method)) {
            memcpy(r->args, args, sizeof args);
            r->route = route;
            return 0;
        }
        size_t n = strlen(allow);
        snprintf(allow + n, sizeof allow - n, "%s%s", n ? ", " : "", route->method);
    }
    if (!*allow)
        return lt_fail(e, LT_E_NOT_FOUND, "no such path");
    lt_http_req_add_header(r, "Allow", allow);
    return lt_fail(e, LT_E_METHOD, "%.16s is not possible here (%s is)", method, allow);
}

/* ---- routes that block ---- */

static void run_blocking(struct lt_work_task *t)
{
    static const struct lt_err stopping = {LT_E_BUSY, "the program is stopping"};
    struct lt_http_req *r = LT_WORK_OWNER(t, struct lt_http_req);

    if (t->stopped)
        lt_http_reply_error(r, &stopping, 1);
    else
        r->route->fn(r, r->app);
}

static bool blocks(const struct lt_http_req *r)
{
    return r->route->blocking || (r->has_peer && r->peer.roles & r->route->blocking_for);
}

void lt_http_req_call(struct lt_http_req *r)
{
    const struct lt_http_server_conf *c = &r->server->conf;
    struct lt_work *pool = c->look && !strcmp(r->route->method, "GET") ? c->look : c->work;
    struct lt_err e;

    if (!blocks(r)) {
        r->route->fn(r, c->app);
        return;
    }
    r->app = c->app;
    lt_http_req_hold(r);
    if (lt_work_offer(pool, r->route->urgent ? LT_WORK_URGENT : LT_WORK_USUAL, &r->task, run_blocking, &e))
        lt_http_reply_error(r, &e, 1);
}
