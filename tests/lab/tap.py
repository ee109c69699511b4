"""Whoever stands between a tenant and a guest's agent, with the agent's own TLS key: sees V as it comes, keeps it, and
brings it when it likes."""

import http.client
import http.server
import json
import ssl
import threading


class Tap:
    """address is where the tenant is told to find the agent. keep: V is kept in `kept` and answered with 500; all
    else is passed on, and noted in `asked`. tamper(path, reply): may change what the agent answers, a dict."""

    def __init__(self, guest, pki):
        self.guest, self.keep, self.kept, self.asked, self.tamper = guest, False, [], [], None
        self._news = threading.Condition()
        state = guest.lab.path(f"{guest.name}-state")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(state / "mtls.pem", state / "mtls-key.pem")
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname = False
        self._client.verify_mode = ssl.CERT_NONE
        self._client.load_cert_chain(f"{pki}/tenant-client.crt", f"{pki}/tenant-client.key")
        tap = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
                status, data = tap.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request, client_address):
                with server.wrap_socket(request, server_side=True) as secure:
                    super().finish_request(secure, client_address)

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        guest.lab.on_close(self._server.shutdown)

    def answer(self, method, path, body):
        if self.keep and path.endswith("/keys/vkey"):
            with self._news:
                self.kept.append((path, body))
                self._news.notify_all()
            return 500, json.dumps({"code": 500, "status": "kept by the test", "results": {}}).encode()
        self.asked.append(path.partition("?")[0])
        try:
            status, data = self.bring(method, path, body)
            return status, json.dumps(self.tamper(path, json.loads(data))).encode() if self.tamper else data
        except (OSError, http.client.HTTPException):
            return 500, b"{}"

    def bring(self, method, path, body):
        """To the agent that is there now: (status, body)."""
        connection = http.client.HTTPSConnection(self.guest.address, context=self._client, timeout=30)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def wait_kept(self, count, timeout=30):
        with self._news:
            assert self._news.wait_for(lambda: len(self.kept) >= count, timeout), self.kept
