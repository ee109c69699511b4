"""A federation without virtual machines: the host's half is a mock (tests/support/mock-host), everything else is real:
provider, tenant, and guests' agents with a fresh swtpm each.

    with Lab() as lab:
        fed = Mocked(lab, build, guests=20).up()
        fed.adopt(fed.guests)
        fed.residents_are(fed.guests[1:])       # the first is not on its host any more
"""

import concurrent.futures
import datetime
import json
import os
import shutil
import signal
import tempfile
import uuid as uuidlib
from pathlib import Path
from types import SimpleNamespace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .federation import Federation
from .hwtpm import HwTpm

ACCEPT = "copyable,boot-only"
EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")


class MockedGuest:
    """An agent with a swtpm of its own."""

    def __init__(self, lab, fed, name):
        self.lab, self.fed, self.name, self.uuid = lab, fed, name, str(uuidlib.uuid4())
        self.chip = HwTpm(lab, name).manufacture()
        self.agent = self.address = None
        self.memory = Path(tempfile.mkdtemp(prefix="lt-secure-", dir="/dev/shm"))   # as /run is: gone with a boot
        os.chown(self.memory, lab.uid, lab.gid)
        lab.on_close(shutil.rmtree, self.memory, True)
        self.options = []

    @property
    def unpacked(self):
        """{name: bytes} of its payload's files; {} while it has none."""
        top = self.memory / "secure/unzipped"
        return {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}

    @property
    def ek_digest(self):
        cert = x509.load_der_x509_certificate(self.chip.ek_certs["rsa2048"].read_bytes())
        digest = hashes.Hash(hashes.SHA256())
        digest.update(cert.public_key().public_bytes(serialization.Encoding.DER,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo))
        return digest.finalize().hex()

    def start(self, listen="127.0.0.1:0", options=()):
        """Waits until it has registered. options: KEY=VALUE of its configuration."""
        state = self.lab.path(f"{self.name}-state", directory=True)
        argv = [self.fed.program["limetree-agent"], "-o", "role=guest", "-o", f"tcti={self.chip.tcti}", "-o",
                f"listen={listen}", "-o", f"state_dir={state}", "-o", f"registrar={self.fed.registrar_url}", "-o",
                f"client_ca={self.fed.pki}/tenant-ca.crt", "-o", f"uuid={self.uuid}", "-o",
                f"secure_dir={self.memory}/secure"]
        for option in [*self.options, *options]:
            argv += ["-o", option]
        self.agent = self.lab.spawn(f"{self.name}-agent", argv, ready_fd=True)
        self.address = self.agent.ready(60)["listen"]
        self.agent.wait_log(r"registered", 60)
        return self

    def reboot(self):
        """Into whatever its next start() is: the TPM's counters rise, and what lay in memory is gone."""
        self.agent.stop()
        self.chip.reboot(None)
        shutil.rmtree(self.memory / "secure", True)


class Mocked(Federation):
    def __init__(self, lab, build, guests=1, **kwargs):
        super().__init__(lab, build, quote_delay_ms=0, **kwargs)
        self.mock = lab.install(self.build / "tests/support/mock-host")
        self.mock_dir = lab.path("mock-host", directory=True)
        self.seq = 0
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.guests = list(pool.map(lambda i: MockedGuest(lab, self, f"guest{i}"), range(guests)))
        for guest in self.guests:      # a child dies with the thread that made it
            guest.chip.start(boot_log=None)

    # -- the host's half

    def start_hardware(self):
        """Keys of the host, and a maker's certificate of its EK."""
        self.identity = json.loads(self.lab.run([self.mock, "make", self.mock_dir]).stdout)
        self.host = self.identity["host"]
        maker = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maker of the lab")])
        root = self.certificate(issuer, issuer, maker.public_key()).add_extension(
            x509.BasicConstraints(True, None), True).add_extension(
            x509.KeyUsage(False, False, False, False, False, True, False, False, False), True).sign(
                maker, hashes.SHA256())
        ek = serialization.load_pem_public_key(self.identity["ek"].encode())
        chip = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(f"2.23.133.2.{i}"), text)
                          for i, text in ((1, "id:00001014"), (2, "mock"), (3, "id:00020170"))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chip of the lab")])
        leaf = self.certificate(subject, issuer, ek).add_extension(
            x509.BasicConstraints(False, None), True).add_extension(
            x509.ExtendedKeyUsage([EK_USAGE]), False).add_extension(
            x509.SubjectAlternativeName([x509.DirectoryName(chip)]), False).sign(maker, hashes.SHA256())
        pem = serialization.Encoding.PEM
        self.lab.write("mock-host/ek-cert.pem", leaf.public_bytes(pem))
        self.hw = SimpleNamespace(ca_bundle=self.lab.write("maker.pem", root.public_bytes(pem)))
        self.cli("pki", "issue", self.pki, "--ca", "federation", "--role", "host", "--host", self.host,
                 "--name", "127.0.0.1", "--server", "--client", "--out", f"{self.pki}/host")
        for source, name in (("federation-ca.crt", "ca.pem"), ("host.crt", "host.pem"), ("host.key", "host.key")):
            self.lab.write(f"mock-host/{name}", (self.pki / source).read_bytes())

    @staticmethod
    def certificate(subject, issuer, key):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=2)))

    def start_libvirt(self):
        pass

    def residents_are(self, guests, pcr4=None):
        """From now on; pcr4: hex, off every policy that was learnt before."""
        self.seq += 1
        self.lab.write("mock-host/residents.json", json.dumps(
            {"seq": self.seq, "pcr4": pcr4,
             "residents": [{"uuid": g.uuid, "ek_digest": g.ek_digest} for g in guests]}))
        if self.agent is not None:
            self.agent.signal(signal.SIGHUP)
            self.agent.wait_log(rf"^residents {self.seq}$")

    def start_agent(self, listen="127.0.0.1:0"):
        self.residents_are(self.guests)
        self.agent = self.lab.spawn("mock-host", [self.mock, "serve", self.mock_dir], ready_fd=True)
        self.agent_address = self.agent.ready()["listen"]

    def enrol(self):
        self.cli("host", "add", self.agent_address, "--ek-digest", self.identity["ek_digest"])
        self.policy = self.cli("host", "learn", self.host)["digest"]

    # -- the tenant

    def kill_tenant(self):
        """kill -9."""
        self.tenant.kill()
        self.tenant.wait()

    def adopt(self, guests, accept=ACCEPT):
        for guest in guests:
            self.cli("guest", "assign", guest.uuid, self.tenant_id)
            self.cli("guest", "add", guest.uuid)
        for guest in guests:
            self.wait_verdict(guest, lambda v: v["batch"] is not None, f"first round of {guest.name}")
            self.cli("guest", "learn", guest.uuid, "--accept", accept)

    def release(self, guest):
        return self.show(guest)["release"]

    def wait_release(self, guest, timeout=60):
        return self.poll(lambda: (self.release(guest) or {}).get("delivered"), timeout,
                         lambda: f"V of {guest.name}: {json.dumps(self.show(guest), indent=1)}")
