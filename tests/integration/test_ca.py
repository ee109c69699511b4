"""limetree ca as a program: certificates of guests, taken back by a verifier's word within a second, and a list that
anybody can fetch, whose number only rises, also when the daemon is killed.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ReasonFlags

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402

BIN = Path(os.environ.get("LT_BUILD", TOP / "build/dev")) / "bin"
TENANT, GUEST, OTHER = (str(uuid.UUID(int=n)) for n in (0xa1, 0xb1, 0xb2))


class Ca:
    def __init__(self, lab):
        self.lab, self.program = lab, lab.install(BIN / "limetree")
        self.dir, self.pki = lab.path("ca"), lab.path("pki")
        self.limetree("pki", "init", self.pki, "--tenant", TENANT)
        self.limetree("ca", "init", self.dir, "--url", "http://127.0.0.1:1/guests.crl")
        self.daemon = None

    def limetree(self, *args, check=True):
        return self.lab.run([self.program, *args], check=check)

    def issue(self, guest, name):
        self.limetree("ca", "issue", self.dir, guest, "--out", self.lab.path(name), "--name", "localhost")
        return x509.load_pem_x509_certificate((self.lab.path(f"{name}.crt")).read_bytes())

    def options(self, **more):
        options = {"dir": self.dir, "listen": "127.0.0.1:0", "list_listen": "127.0.0.1:0",
                   "cert": self.pki / "tenant-server.crt", "key": self.pki / "tenant-server.key",
                   "ca": self.pki / "tenant-ca.crt", **more}
        return [self.program, "ca", "serve", *(w for k, v in options.items() for w in ("-o", f"{k}={v}"))]

    def serve(self):
        self.daemon = self.lab.spawn(f"ca-{time.monotonic_ns()}", self.options(), ready_fd=True)
        self.ready = self.daemon.ready()

    def tell(self, guest, state, who="tenant-client"):
        context = ssl.create_default_context(cafile=self.pki / "tenant-ca.crt")
        if who:
            context.load_cert_chain(self.pki / f"{who}.crt", self.pki / f"{who}.key")
        host, _, port = self.ready["listen"].rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
        connection.request("PUT", f"/ca/v1/guests/{guest}", json.dumps({"state": state}))
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    def list(self):
        host, _, port = self.ready["list_listen"].rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/guests.crl")
        reply = connection.getresponse()
        assert reply.status == 200 and reply.getheader("Content-Type") == "application/pkix-crl"
        crl = x509.load_der_x509_crl(reply.read())
        authority = x509.load_pem_x509_certificate((self.dir / "guests-ca.crt").read_bytes())
        assert crl.is_signature_valid(authority.public_key())
        return crl

    def number(self):
        return self.list().extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    def reason(self, cert):
        entry = self.list().get_revoked_certificate_by_serial_number(cert.serial_number)
        return entry and entry.extensions.get_extension_for_class(x509.CRLReason).value.reason


@pytest.fixture(scope="module")
def ca():
    with Lab(prefix="lta") as lab:
        ca = Ca(lab)
        ca.serve()
        yield ca


def test_a_word_is_on_the_list_within_a_second(ca):
    cert, other = ca.issue(GUEST, "guest"), ca.issue(OTHER, "other")
    number = ca.number()
    for state, reason in (("held", ReasonFlags.certificate_hold), ("good", None),
                          ("revoked", ReasonFlags.key_compromise), ("good", ReasonFlags.key_compromise)):
        began = time.monotonic()
        assert ca.tell(GUEST, state) == (200, {"state": state, "certificates": 1})
        assert ca.reason(cert) == reason and ca.reason(other) is None
        assert time.monotonic() - began < 1
    assert ca.number() > number
    assert (ca.lab.path("guest.key")).stat().st_mode & 0o777 == 0o600


def test_others_say_nothing(ca):
    cert = ca.issue(str(uuid.uuid4()), "untouched")
    number = ca.number()
    ca.limetree("pki", "issue", ca.pki, "--ca", "tenant", "--role", "host", "--host", "11" * 16, "--out",
                ca.pki / "host")
    assert ca.tell(GUEST, "revoked", "host")[0] == 403
    for who in (None, "operator"):     # nobody, and one of the federation's CA
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            ca.tell(GUEST, "revoked", who)
    assert ca.reason(cert) is None and ca.number() == number


def test_killed_and_started_again(ca):
    """What was answered stays; the number rises over every start; the command line writes beside the daemon."""
    guests = [str(uuid.uuid4()) for _ in range(6)]
    certs = [ca.issue(g, f"kill-{i}") for i, g in enumerate(guests)]
    for guest, cert in zip(guests, certs):
        number = ca.number()
        assert ca.tell(guest, "revoked")[0] == 200
        ca.daemon.kill()
        ca.serve()
        assert ca.number() > number and ca.reason(cert) == ReasonFlags.key_compromise
    one = ca.issue(guests[0], "again")
    number = ca.number()
    ca.limetree("ca", "revoke", ca.dir, "--cert", ca.lab.path("again.crt"), "--hold")
    assert ca.reason(one) == ReasonFlags.certificate_hold and ca.number() == number + 1
    ca.limetree("ca", "revoke", ca.dir, guests[0], "--release")
    assert ca.reason(one) is None
    ca.limetree("ca", "crl", ca.dir)
    assert ca.number() == number + 3
    rows = json.loads(ca.limetree("ca", "list", ca.dir, "--json").stdout)
    assert {(r["guest"], r["state"]) for r in rows} >= {(g, "revoked") for g in guests} | {(guests[0], "good")}


def test_what_is_issued_is_what_a_peer_takes(ca):
    cert = ca.issue(str(uuid.uuid4()), "peer")
    authority, crl = ca.dir / "guests-ca.crt", ca.dir / "guests-ca.crl"

    def verify(*more):
        return subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", authority, "-CRLfile", crl, "-crl_check",
                               *more, ca.lab.path("peer.crt")], capture_output=True, text=True, check=False)
    for purpose in ("sslserver", "sslclient"):
        assert verify("-purpose", purpose, "-verify_hostname", "localhost").returncode == 0
    guest = cert.subject.rfc4514_string().removeprefix("CN=")
    ca.limetree("ca", "revoke", ca.dir, guest.upper(), "--hold")
    assert "certificate revoked" in verify().stderr
    # Nothing is overwritten, and what was not saved is not believed.
    done = ca.limetree("ca", "issue", ca.dir, guest, "--out", ca.lab.path("peer"), check=False)
    assert done.returncode == 1 and "is not overwritten" in done.stderr
    states = [r["state"] for r in json.loads(ca.limetree("ca", "list", ca.dir, "--json").stdout) if r["guest"] == guest]
    assert sorted(states) == ["held", "revoked"]


class Peer:
    """A TLS server of another guest, as a sensible one does it: the list is fetched for each handshake."""

    def __init__(self, ca, name):
        self.ca, self.name = ca, name
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.ca.lab.path(f"{self.name}.crt"), self.ca.lab.path(f"{self.name}.key"))
        trust = (self.ca.dir / "guests-ca.crt").read_bytes() + self.ca.list().public_bytes(serialization.Encoding.PEM)
        context.load_verify_locations(cafile=self.ca.lab.write(f"{self.name}.pem", trust))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    def serve(self):
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            with connection:
                try:
                    with self.context().wrap_socket(connection, server_side=True) as tls:
                        tls.sendall(b"welcome")
                except OSError:
                    pass

    def lets_in(self, name):
        context = ssl.create_default_context(cafile=self.ca.dir / "guests-ca.crt")
        context.load_cert_chain(self.ca.lab.path(f"{name}.crt"), self.ca.lab.path(f"{name}.key"))
        try:
            with socket.create_connection(self.address, 20) as plain, \
                    context.wrap_socket(plain, server_hostname="localhost") as tls:
                return tls.recv(16) == b"welcome"
        except OSError:
            return False

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(20)


def test_to_the_refused_connection(ca):
    """Two guests hold mutual TLS with certificates from their payloads; one's verdict changes."""
    server, client = str(uuid.uuid4()), str(uuid.uuid4())
    ca.issue(server, "tls-server")
    ca.issue(client, "tls-client")
    peer = Peer(ca, "tls-server")
    assert peer.lets_in("tls-client")
    for state, want in (("held", False), ("good", True), ("revoked", False), ("good", False)):
        began = time.monotonic()
        assert ca.tell(client, state)[0] == 200
        assert peer.lets_in("tls-client") is want
        print(f"{state}: {time.monotonic() - began:.3f} s from the word to the {'welcome' if want else 'refusal'}")
        assert time.monotonic() - began < 2
    peer.stop()


def test_bad_starts(ca):
    def refused(words, **options):
        done = ca.lab.run([*ca.options(**options), "--check-config"], check=False)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    refused("its role is operator", cert=ca.pki / "tenant-operator.crt", key=ca.pki / "tenant-operator.key")
    refused("guests-ca.crt", dir=ca.lab.path("none"))
    refused("list_listen", list_listen="127.0.0.1:99999")
    for args in (("ca", "init", ca.dir, "--url", "https://x/"), ("ca", "init", ca.dir), ("ca", "issue", ca.dir, GUEST),
                 ("ca", "revoke", ca.dir), ("ca", "revoke", ca.dir, GUEST, "--hold", "--release"), ("ca", "none", "x"),
                 ("ca", "issue", ca.dir, GUEST, "--out", "x", "--days", "0"), ("ca",)):
        assert ca.limetree(*args, check=False).returncode == 2, args
    assert ca.limetree("ca", "revoke", ca.dir, "--cert", ca.pki / "operator.crt", check=False).returncode == 1
    assert "guests' certificates" in ca.limetree("ca", "--help").stdout
