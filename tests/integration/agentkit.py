"""What the agent's integration tests share: certificates, an HTTPS client, a small registrar, the TPM's structures.

Nothing here uses the project's own code: what the agent says is judged by a second opinion.
"""

import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import os
import ssl
import struct
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.hwtpm import HwTpm  # noqa: E402

NONE = hashlib.sha256(b"").hexdigest()


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


@pytest.fixture
def lab():
    with Lab(prefix="lta") as lab:
        yield lab


@pytest.fixture
def tpm(lab):
    """A fresh chip with an empty boot."""
    return HwTpm(lab).start(boot_log=None)


@pytest.fixture
def agent(lab):
    """The program, where the lab's user can run it."""
    path = Path(os.environ.get("LT_BUILD", TOP / "build/dev")) / "bin/limetree-agent"
    if not path.exists():
        pytest.fail(f"{path} is missing; run scripts/test --integration")
    return lab.install(path)


def options(**values):
    argv = []
    for key, value in values.items():
        argv += ["-o", f"{key}={value}"]
    return argv


class Ca:
    """A CA of the test, and leaf certificates with roles under it."""

    def __init__(self, lab, name="ca"):
        self.lab, self.name = lab, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        cert = self._builder(self.subject, self.key).add_extension(
            x509.BasicConstraints(True, None), True).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False).add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), True).sign(
                self.key, hashes.SHA256())
        self.cert = lab.write(f"{name}.pem", cert.public_bytes(serialization.Encoding.PEM), 0o644)

    def _builder(self, subject, key):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.subject)
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=1)))

    def issue(self, name, role=None, host=None, tenant=None):
        """(certificate path, key path)"""
        key = ec.generate_private_key(ec.SECP256R1())
        uris = [f"urn:limetree:role:{role}"] if role else []
        uris += [f"urn:limetree:host:{host}"] if host else []
        uris += [f"urn:limetree:tenant:{tenant}"] if tenant else []
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = self._builder(subject, key).add_extension(x509.ExtendedKeyUsage(usage), False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        if uris:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris]), False)
        cert = builder.sign(self.key, hashes.SHA256())
        return (self.lab.write(f"{name}.pem", cert.public_bytes(serialization.Encoding.PEM), 0o644),
                self.lab.write(f"{name}.key", key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())))


class Https:
    """A client with one identity; trust is a PEM text: the server's CA, or its own certificate."""

    def __init__(self, address, trust, identity=None):
        self.address = address
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self.context.load_verify_locations(cadata=trust)
        if identity:
            self.context.load_cert_chain(*map(str, identity))

    def call(self, method, path, body=None):
        """(status, parsed JSON or bytes, headers)"""
        connection = http.client.HTTPSConnection(self.address, context=self.context, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            data = reply.read()
        if reply.headers.get_content_type() == "application/json":
            data = json.loads(data)
        return reply.status, data, reply.headers

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, body)


def make_credential(lab, ek, name, secret):
    """tpm2-tools' file for the secret; no TPM is asked."""
    paths = [lab.write(f"mc-{i}", data) for i, data in enumerate((ek, secret))]
    lab.run(["tpm2_makecredential", "-T", "none", "-u", paths[0], "-s", paths[1], "-n", name.hex(), "-o",
             lab.dir / "mc-out"])
    return (lab.dir / "mc-out").read_bytes()


def name_of(public):
    """Name of a TPM2B_PUBLIC with nameAlg SHA-256."""
    assert struct.unpack_from(">H", public)[0] == len(public) - 2 and public[4:6] == b"\0\x0b"
    return b"\0\x0b" + hashlib.sha256(public[2:]).digest()


class Registrar:
    """Keylime's registration (keylime-api 2), one agent at a time, on plain HTTP."""

    def __init__(self, lab, versions=("2.0", "2.5", "2.6"), refuse=None, ours=False):
        self.lab, self.versions, self.refuse, self.ours = lab, versions, refuse, ours
        self.seen, self.agents, self.active = [], {}, {}
        self.change = threading.Condition()
        registrar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, results = registrar.answer(self.command, self.path, json.loads(body) if body else None)
                data = json.dumps({"code": status, "status": "Success" if status == 200 else "refused by the test",
                                   "results": results}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        lab.on_close(self.server.shutdown)

    def answer(self, method, path, body):
        with self.change:
            self.seen.append((method, path))
            self.change.notify_all()
            if path == "/version":
                if self.versions is None:
                    return 404, {}
                return 200, {"current_version": self.versions[-1], "supported_versions": list(self.versions)} | (
                    {"registrar": "limetree"} if self.ours else {})
            _, version, kind, uuid = path.split("/")
            if kind != "agents" or version not in [f"v{v}" for v in self.versions or ("2.3",)]:
                return 404, {}
            if self.refuse:
                return self.refuse.pop(0), {}
            if method == "POST":
                ek, ak, secret = unb64(body["ek_tpm"]), unb64(body["aik_tpm"]), os.urandom(16).hex().encode()
                self.agents[uuid] = body | {"secret": secret}
                return 200, {"blob": b64(make_credential(self.lab, ek, name_of(ak), secret))}
            want = hmac.new(base64.b64encode(self.agents[uuid]["secret"]), uuid.encode(), hashlib.sha384)
            if body != {"auth_tag": want.hexdigest()}:
                return 400, {}
            self.active[uuid] = self.active.get(uuid, 0) + 1
            self.change.notify_all()
            return 200, {}

    def wait_active(self, uuid, times=1, timeout=30):
        with self.change:
            assert self.change.wait_for(lambda: self.active.get(uuid, 0) >= times, timeout), self.seen
        return self.agents[uuid]


class Attest:
    """A TPMS_ATTEST of a quote, taken apart."""

    def __init__(self, raw):
        magic, kind = struct.unpack_from(">IH", raw)
        assert (magic, kind) == (0xFF544347, 0x8018)
        self.signer, at = self._take(raw, 6)
        self.extra, at = self._take(raw, at)
        self.clock, self.reset, self.restart, self.safe, self.firmware = struct.unpack_from(">QIIBQ", raw, at)
        at += 25
        self.selection = raw[at:at + 10]
        self.pcr_digest, end = self._take(raw, at + 10)
        assert end == len(raw)

    @staticmethod
    def _take(raw, at):
        (n,) = struct.unpack_from(">H", raw, at)
        return raw[at + 2:at + 2 + n], at + 2 + n


def extended(*digests):
    value = bytes(32)
    for digest in digests:
        value = hashlib.sha256(value + digest).digest()
    return value
