"""A tenant that says what a test wants it to say, and our command line before it."""
import contextlib
import http.server
import ssl
import subprocess
import threading


@contextlib.contextmanager
def fake_tenant(limetree, pki, tenant, handler):
    """run(*args): `limetree guest ARGS` against a server of that handler, with pki's certificates (made here)."""
    subprocess.run([limetree, "pki", "init", pki, "--tenant", tenant], check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "tenant-server.crt", pki / "tenant-server.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {"tenant_url": f"https://127.0.0.1:{server.server_address[1]}", "tenant_ca": pki / "tenant-ca.crt",
               "tenant_cert": pki / "tenant-operator.crt", "tenant_key": pki / "tenant-operator.key"}

    def run(*args, text=False):
        return subprocess.run([limetree, "guest", *args, *(x for k, v in options.items() for x in ("-o", f"{k}={v}"))],
                              capture_output=True, text=text)
    try:
        yield run
    finally:
        server.shutdown()
        server.server_close()
