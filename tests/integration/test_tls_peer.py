"""The demo's TLS service on this machine, without guests: who is on the list of limetree ca is cut off and refused."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import uuid
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


def free_port():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as s:
        return s.getsockname()[1]


class Pair:
    """A CA that serves its list, and payloads of guests; a service that answers, and one that calls it."""

    def __init__(self, lab):
        self.lab = lab
        self.limetree = lab.install(BUILD / "bin/limetree")
        self.program = lab.install(BUILD / "tests/support/tls-peer")
        self.port = free_port()
        self.run("pki", "init", lab.path("pki"), "--tenant", str(uuid.uuid4()))
        self.make_ca("ca", self.port)
        self.serve_list()

    def run(self, *args):
        self.lab.run([self.limetree, *args])

    def make_ca(self, name, port):
        self.run("ca", "init", self.lab.path(name), "--url", f"http://127.0.0.1:{port}/guests.crl")

    def serve_list(self):
        pki = self.lab.path("pki")
        options = {"dir": self.lab.path("ca"), "list_listen": f"127.0.0.1:{self.port}", "listen": "127.0.0.1:0",
                   "cert": pki / "tenant-server.crt", "key": pki / "tenant-server.key", "ca": pki / "tenant-ca.crt"}
        self.ca = self.lab.spawn("ca", [self.limetree, "ca", "serve",
                                        *(w for k, v in options.items() for w in ("-o", f"{k}={v}"))], ready_fd=True)
        self.ca.ready()

    def payload(self, ca="ca", name="db.demo"):
        """(id, directory) of a new guest's."""
        guest = str(uuid.uuid4())
        at = self.lab.path(guest, directory=True)
        self.run("ca", "issue", self.lab.path(ca), guest, "--out", at / "x", "--name", name)
        (at / "x.crt").rename(at / f"{guest}-cert.crt")
        (at / "x.key").rename(at / f"{guest}-private.pem")
        shutil.copy(self.lab.path("ca/guests-ca.crt"), at / "cacert.crt")
        return guest, at

    def start(self, guest, at, *args):
        return self.lab.spawn(f"{args[0]}-{guest[:4]}", [self.program, args[0], guest, *args[1:]], cwd=at)

    def serve(self, guest, at):
        child = self.start(guest, at, "serve", 0)
        return child, child.wait_log(r"listens at (\d+)").group(1)


@pytest.fixture(scope="module")
def pair():
    with Lab(prefix="ltp") as lab:
        yield Pair(lab)


def test_revoked(pair):
    (db, db_at), (web, web_at) = pair.payload(), pair.payload()
    serve, port = pair.serve(db, db_at)
    call = pair.start(web, web_at, "call", f"127.0.0.1:{port}", "db.demo")
    serve.wait_log(f"talks with {web}")
    call.wait_log(f"talks with {db}")
    pair.run("ca", "revoke", pair.lab.path("ca"), web)
    assert "cut off" not in serve.log.read_text()
    serve.signal(signal.SIGHUP)
    serve.wait_log(f"cut off {web}: certificate revoked\n(.*\n)*tls-peer: refused {web}: certificate revoked")
    call.wait_log(f"cut off by {db}")


def test_strangers(pair):
    """Another CA's, another name, and nobody without a list."""
    pair.make_ca("other", pair.port)
    db, db_at = pair.payload()
    serve, port = pair.serve(db, db_at)
    stranger = pair.payload("other")
    pair.start(*stranger, "call", f"127.0.0.1:{port}", "db.demo")
    serve.wait_log(f"refused {stranger[0]}: unable to get local issuer certificate")
    call = pair.start(*pair.payload(), "call", f"127.0.0.1:{port}", "web.demo")
    call.wait_log(f"refused {db}: hostname mismatch")
    pair.ca.stop()
    late = pair.payload()
    call = pair.start(*late, "call", f"127.0.0.1:{port}", "db.demo")
    call.wait_log(f"no list from http://.*\n(.*\n)*tls-peer: refused {db}: unable to get certificate CRL")
    pair.serve_list()
