"""A provider that cheats: everything passes through it, and it can answer with yesterday's proofs.

It holds a real provider certificate, so that what refuses its answers is not the TLS layer.
"""

import contextlib
import http.client
import http.server
import json
import ssl
import threading


class Middle:
    """url is where a tenant is told to find its provider. tamper(path, reply) may change each reply to
    POST proofs (a dict) before it is sent; around() is a context in which such a request is passed on. None: nothing
    is changed. A provider that is gone looks so from here, too."""

    def __init__(self, upstream, pki):
        self.upstream = upstream.removeprefix("https://")
        self.tamper = self.around = None
        self.replies = []           # every genuine reply to POST proofs, oldest first
        self._lock = threading.Lock()
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname = False
        self._client.load_verify_locations(f"{pki}/federation-ca.crt")
        self._client.load_cert_chain(f"{pki}/tenant.crt", f"{pki}/tenant.key")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(f"{pki}/provider.crt", f"{pki}/provider.key")
        server.load_verify_locations(f"{pki}/federation-ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def relay(self):
                outer.relay(self)

            do_GET = do_POST = do_PUT = do_DELETE = relay

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request, client_address):
                # The handshake belongs to the connection's own thread, not to accept().
                with server.wrap_socket(request, server_side=True) as secure:
                    super().finish_request(secure, client_address)

            def handle_error(self, *_):
                pass                # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def relay(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        keep = {k: v for k, v in handler.headers.items()
                if k.lower() in ("content-type", "prefer", "accept")}
        proofs = handler.command == "POST" and handler.path.endswith("/proofs")
        upstream = http.client.HTTPSConnection(self.upstream, context=self._client, timeout=60)
        try:
            with self.around() if proofs and self.around else contextlib.nullcontext():
                upstream.request(handler.command, handler.path, body, keep)
                reply = upstream.getresponse()
                data = reply.read()
        except (OSError, http.client.HTTPException):
            handler.close_connection = True
            return
        finally:
            upstream.close()
        if proofs and reply.status == 200:
            data = self.proofs(handler.path, data)
        handler.send_response(reply.status)
        for name in ("Content-Type", "Location", "Retry-After"):
            if reply.headers[name]:
                handler.send_header(name, reply.headers[name])
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def proofs(self, path, data):
        reply = json.loads(data)
        with self._lock:
            self.replies.append(json.loads(data))
            tamper = self.tamper
        if tamper is None:
            return data
        return json.dumps(tamper(path, reply)).encode()


def replay(old):
    """A tamper function: the old reply's proof for every guest that it knew."""
    known = {p["uuid"]: p for p in old["proofs"] if p["quote"] is not None}

    def tamper(_path, reply):
        quotes = list(reply["quotes"])
        proofs = []
        for proof in reply["proofs"]:
            stale = known.get(proof["uuid"])
            if stale is None:
                proofs.append(proof)
                continue
            quotes.append(old["quotes"][stale["quote"]])
            proofs.append(dict(stale, quote=len(quotes) - 1))
        return {"quotes": quotes, "proofs": proofs}
    return tamper
