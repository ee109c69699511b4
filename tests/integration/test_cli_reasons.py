"""limetree guest list and show, against a tenant's API played by this test: a reason is a cause and a remedy, once for
all guests that share it, and nothing of what outsiders say drives the terminal."""

import http.server
import json
import os
from pathlib import Path

import pytest

from faketenant import fake_tenant

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

    with fake_tenant(LIMETREE, p, uuid(9), Handler) as run:
        yield run


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
