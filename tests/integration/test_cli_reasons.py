"""limetree guest list and show, against a tenant's API played by this test: a reason is a cause and a remedy, once for
all guests that share it, and nothing of what outsiders say drives the terminal."""

import http.server
import json
import os
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
LIMETREE = BUILD / "bin/limetree"
EVIL = "name \u009b2J\u202egnp.exe\u200b\x1b[31m\x7f end"


def uuid(i):
    return f"00000000-0000-4000-8000-{i:012d}"


def guest(i, result, reason, message):
    lines = [{"check": c, "message": message} for c in ("batch-inclusion", "host-quote", "host-identity")]
    verdict = {"result": result, "reason": reason, "link": None, "host_level": None, "tainted": False, "host": None,
               "passed": ["guest-quote"], "failed": [], "not_made": lines, "notes": [], "batch": None, "times": None}
    return {"uuid": uuid(i), "address": None, "added": True, "registered": True, "policy": None, "verdict": verdict}


GUESTS = [guest(i, "unreachable", "provider-unreachable", "provider: connect failed") for i in range(12)] + [
    guest(20, "unreachable", "guest-tpm", EVIL), guest(21, "trusted", None, "")]


@pytest.fixture(scope="module")
def limetree(tmp_path_factory):
    p = tmp_path_factory.mktemp("reasons") / "pki"
    subprocess.run([LIMETREE, "pki", "init", p, "--tenant", uuid(9)], check=True, capture_output=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            who = self.path.split("/")[4:]
            found = [g for g in GUESTS if who and g["uuid"] == who[0]]
            body = found[0] if found else {"guests": GUESTS} if not who else {
                "error": {"code": 404, "slug": "not-found", "message": EVIL}}
            data = json.dumps(body).encode()
            self.send_response(404 if "error" in body else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(p / "tenant-server.crt", p / "tenant-server.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(*args):
        options = {"tenant_url": f"https://127.0.0.1:{server.server_address[1]}", "tenant_ca": p / "tenant-ca.crt",
                   "tenant_cert": p / "tenant-operator.crt", "tenant_key": p / "tenant-operator.key"}
        return subprocess.run([LIMETREE, "guest", *args, *(x for k, v in options.items() for x in ("-o", f"{k}={v}"))],
                              capture_output=True)
    yield run
    server.shutdown()
    server.server_close()


def harmless(data):
    text = data.decode()
    bad = [c for c in text if ord(c) < 32 and c != "\n" or 0x7f <= ord(c) <= 0x9f or c in "\u202e\u200b"]
    assert not bad, (bad, text)
    return text


def test_list_folds(limetree):
    text = harmless(limetree("list").stdout)
    lines = [line for line in text.splitlines() if line.startswith("provider-unreachable")]
    assert len(lines) == 1 and "12 guests" in lines[0]
    after = text.splitlines()[text.splitlines().index(lines[0]) + 1]
    assert after.strip().startswith("do: ") and "tenant.conf" in after
    assert "guest-tpm, 1 guest: " in text


def test_show_says_what_to_do(limetree):
    text = harmless(limetree("show", uuid(3)).stdout)
    assert text.count("connect failed") == 1
    assert "batch-inclusion, host-quote, host-identity: provider: connect failed" in text
    assert "because " in text and "  do " in text
    assert "because " not in harmless(limetree("show", uuid(21)).stdout)


def test_nothing_drives_the_terminal(limetree):
    assert r"name \u{9b}2J\u{202e}gnp.exe\u{200b}\x1b[31m\x7f end" in harmless(limetree("show", uuid(20)).stdout)
    refused = limetree("show", uuid(30))
    assert refused.returncode == 1 and r"\u{9b}2J" in harmless(refused.stderr)
    asked = limetree("show", uuid(20), "--json")
    assert json.loads(harmless(asked.stdout))["verdict"]["not_made"][0]["message"] == EVIL
