"""The reference's checklist, row 4: what the registrar makes is opened by TPM2_ActivateCredential, by tpm2-tools, which
know nothing of us; EKs of RSA, P-256 and P-384, AKs and Names of SHA-256 and SHA-384, on both ports.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import ssl
import sys
import uuid
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.hwtpm import HwTpm  # noqa: E402

BIN = Path(os.environ.get("LT_BUILD", TOP / "build/dev")) / "bin"
TENANT = str(uuid.UUID(int=0xa1))
PLAIN, TLS = "registrar_listen", "registrar_tls_listen"

# PolicyA and PolicyC of SHA-384: PolicySecret(endorsement), and the index that an owner may write
POLICY_A = ("8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e"
            "143e8bb1133824ccb431053871c6db53")
POLICY_C = ("d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5"
            "b4947c2d73e63005eed2dc2b3593d165")

# EK, AK, hash of the AK and its Name, bytes of the blob, listener
ROWS = [("rsa", "ecc", "sha256", 336, PLAIN), ("ecc", "ecc", "sha256", 148, TLS),
        ("ecc", "rsa", "sha256", 148, PLAIN), ("ecc384", "ecc384", "sha384", 196, TLS),
        ("ecc384", "ecc", "sha256", 196, PLAIN), ("rsa", "rsa", "sha384", 336, PLAIN)]


class Tenant:
    def __init__(self, lab):
        self.pki = lab.path("pki")
        lab.run([lab.install(BIN / "limetree"), "pki", "init", self.pki, "--tenant", TENANT])
        d = self.pki
        options = {
            "listen": "127.0.0.1:0", PLAIN: "127.0.0.1:0", TLS: "127.0.0.1:0",
            "cert": d / "tenant-server.crt", "key": d / "tenant-server.key", "ca": d / "tenant-ca.crt",
            "agent_cert": d / "tenant-client.crt", "agent_key": d / "tenant-client.key",
            "federation_cert": d / "tenant.crt", "federation_key": d / "tenant.key",
            "federation_ca": d / "federation-ca.crt", "provider": "https://127.0.0.1:1", "tenant_id": TENANT,
            "state_dir": lab.path("tenant", directory=True)}
        self.child = lab.spawn("tenant", [lab.install(BIN / "limetree-tenant"),
                                          *(w for k, v in options.items() for w in ("-o", f"{k}={v}"))], ready_fd=True)
        self.ready = self.child.ready()

    def call(self, key, method, path, body=None, cert=None):
        host, _, port = self.ready[key].rpartition(":")
        if key == PLAIN:
            connection = http.client.HTTPConnection(host, int(port), timeout=20)
        else:
            context = ssl.create_default_context(cafile=self.pki / "tenant-ca.crt")
            if cert:
                context.load_cert_chain(self.pki / f"{cert}.crt", self.pki / f"{cert}.key")
            connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
        connection.request(method, path, body and json.dumps(body))
        reply = connection.getresponse()
        said = json.loads(reply.read())
        assert said["code"] == reply.status and isinstance(said["results"], dict), said
        return reply.status, said["results"]

    def record(self, agent):
        return self.call(TLS, "GET", f"/v2.6/agents/{agent}", cert="tenant-operator")


class Chip:
    """tpm2-tools over a swtpm, without a resource manager: each step flushes what it leaves."""

    def __init__(self, lab, name):
        self.lab, self.dir = lab, lab.path(name, "keys", directory=True)
        self.tcti = HwTpm(lab, name).start(boot_log=None).tcti

    def tool(self, *argv, check=True):
        self.lab.run(argv, env={"TPM2TOOLS_TCTI": self.tcti}, cwd=self.dir, check=check)

    def run(self, *argv):
        self.tool(*argv)
        if not argv[0].startswith(("tpm2_start", "tpm2_policy")):
            self.tool("tpm2_flushcontext", "-t")

    def make(self, ek, ak, hashing):
        scheme = "rsassa" if ak == "rsa" else "ecdsa"
        self.run("tpm2_createek", "-G", ek, "-c", "ek.ctx", "-u", "ek.pub")
        self.run("tpm2_createak", "-C", "ek.ctx", "-G", ak, "-g", hashing, "-s", scheme, "-c", "ak.ctx", "-u", "ak.pub")
        return [base64.b64encode((self.dir / f"{name}.pub").read_bytes()).decode() for name in ("ek", "ak")]

    def activate(self, blob, high):
        """high: an EK of the TCG's high range, whose policy is PolicyOR of two (annex B.6 of the EK profile)."""
        self.lab.write(f"{self.dir.relative_to(self.lab.dir)}/blob", blob)
        self.run("tpm2_startauthsession", "--policy-session", "-S", "session.ctx", "-g", "sha384" if high else "sha256")
        self.run("tpm2_policysecret", "-S", "session.ctx", "-c", "e")
        if high:
            for name, policy in (("a", POLICY_A), ("c", POLICY_C)):
                self.lab.write(f"{self.dir.relative_to(self.lab.dir)}/{name}.policy", bytes.fromhex(policy))
            self.run("tpm2_policyor", "-S", "session.ctx", "-l", "sha384:a.policy,c.policy")
        self.run("tpm2_activatecredential", "-c", "ak.ctx", "-C", "ek.ctx", "-i", "blob", "-o", "secret",
                 "-P", "session:session.ctx")
        self.tool("tpm2_flushcontext", "session.ctx", check=False)
        return (self.dir / "secret").read_bytes()


def auth_tag(secret, agent):
    return hmac.new(base64.b64encode(secret), agent.encode(), hashlib.sha384).hexdigest()


@pytest.fixture(scope="module")
def lab():
    with Lab(prefix="lta") as lab:
        yield lab


@pytest.fixture(scope="module")
def tenant(lab):
    return Tenant(lab)


@pytest.mark.parametrize("ek,ak,hashing,size,port", ROWS)
def test_tpm2_tools_open_what_we_make(lab, tenant, ek, ak, hashing, size, port):
    agent = f"{ek}-{ak}.{hashing}"
    chip = Chip(lab, f"chip-{agent}")
    ek_tpm, ak_tpm = chip.make(ek, ak, hashing)
    body = {"ek_tpm": ek_tpm, "aik_tpm": ak_tpm, "ekcert": "", "iak_cert": None, "idevid_cert": None,
            "mtls_cert": "disabled", "ip": "127.0.0.1", "port": 9002}
    status, results = tenant.call(port, "POST", f"/v2.6/agents/{agent}", body)
    assert status == 200, results
    blob = base64.b64decode(results["blob"], validate=True)
    assert len(blob) == size and blob[:8] == bytes.fromhex("badcc0de00000001")
    secret = chip.activate(blob, ek == "ecc384")
    assert len(secret) == 32 and secret.isalnum()
    assert tenant.record(agent)[0] == 404                           # not before it is active
    assert tenant.call(port, "PUT", f"/v2.6/agents/{agent}", {"auth_tag": auth_tag(secret, agent)}) == (200, {})
    status, record = tenant.record(agent)
    assert status == 200 and record["ek_tpm"] == ek_tpm and record["aik_tpm"] == ak_tpm
    assert record["ekcert"] is None and record["mtls_cert"] == "disabled" and record["regcount"] == 1
    name = base64.b64decode(ak_tpm)[4:6]                           # tpm2_createak takes the EK's
    assert name == (b"\x00\x0c" if ek == "ecc384" else b"\x00\x0b")
    assert record["linkable"] == (name == b"\x00\x0b")
    if not record["linkable"]:
        tenant.child.wait_log(rf"{agent}: its AK's Name is not SHA-256", 10)
    # Again, and answered wrong: 400, and the record stands.
    status, results = tenant.call(port, "POST", f"/v2.6/agents/{agent}", body)
    assert status == 200
    assert tenant.call(port, "PUT", f"/v2.6/agents/{agent}", {"auth_tag": "0" * 96})[0] == 400
    assert tenant.record(agent) == (200, record)
    # CVE-2025-13609: another chip under that id.
    other = Chip(lab, f"other-{agent}")
    ek_tpm, ak_tpm = other.make(ek, ak, hashing)
    assert tenant.call(port, "POST", f"/v2.6/agents/{agent}", {**body, "ek_tpm": ek_tpm, "aik_tpm": ak_tpm})[0] == 403
    assert tenant.record(agent) == (200, record)
