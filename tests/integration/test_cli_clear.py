"""limetree guest clear, against a tenant's API played by this test: whom it clears, and whom it leaves alone."""

import http.server
import json
import os
from pathlib import Path

import pytest

from faketenant import fake_tenant

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
LIMETREE = BUILD / "bin/limetree"
HOSTS = ["aa" * 16, "bb" * 16]


def uuid(i):
    return f"00000000-0000-4000-8000-{i:012d}"


def guest(i, result, host):
    verdict = result and {"result": result, "reason": None, "host": host}
    return {"uuid": uuid(i), "address": None, "added": True, "registered": True, "policy": None, "verdict": verdict}


GUESTS = [guest(1, "failed", HOSTS[0]), guest(2, "trusted", HOSTS[0]), guest(3, "failed", HOSTS[1]),
          guest(4, "failed", None), guest(5, None, None), guest(6, "failed", HOSTS[0])]


@pytest.fixture
def tenant(tmp_path):
    p, cleared = tmp_path / "pki", []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            self.answer(200, {"guests": GUESTS})

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            who = self.path.split("/")[4]
            if who == uuid(6):      # a round ended meanwhile
                self.answer(409, {"error": {"code": 409, "slug": "conflict", "message": "not failed"}})
                return
            cleared.append(who)
            self.answer(200, {})

        def log_message(self, *_):
            pass

    with fake_tenant(LIMETREE, p, uuid(9), Handler) as run:
        def clear(*args):
            del cleared[:]
            return run("clear", *args, text=True), list(cleared)
        yield clear


def test_all_of_one_host(tenant):
    done, cleared = tenant("--all", "--host", HOSTS[0], "--json")
    assert done.returncode == 0, done.stderr
    assert cleared == [uuid(1)] == json.loads(done.stdout)
    done, cleared = tenant("--all", "--host", "cc" * 16)
    assert done.returncode == 0 and cleared == [] and "none was failed" in done.stdout


def test_all(tenant):
    done, cleared = tenant("--all")
    assert done.returncode == 0 and cleared == [uuid(1), uuid(3), uuid(4)] and "3 guests cleared" in done.stdout


def test_one(tenant):
    done, cleared = tenant(uuid(3))
    assert done.returncode == 0 and cleared == [uuid(3)]


@pytest.mark.parametrize("args", [[], ["--all", uuid(1)], ["--host", HOSTS[0]], [uuid(1), "--host", HOSTS[0]],
                                  ["--all", "--host", "xyz"]])
def test_usage(tenant, args):
    done, cleared = tenant(*args)
    assert done.returncode == 2 and cleared == []
