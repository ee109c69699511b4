"""What tests of the inventory share: a lab, its libvirtd, inventory-shell, and bare domains without kernel or disk."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab.guest import Guest  # noqa: E402
from tests.lab.libvirtd import Libvirtd  # noqa: E402
from tests.lab.procs import Deadline, Lab, wait_socket  # noqa: E402
from tests.lab.tpm import NV_RSA_EK_CERT, RSA_EK, Tpm, socket_transport  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
RUNNING, PAUSED, TAINTED = 1, 2, 64
BIOS = Path("/usr/share/seabios/bios-256k.bin")


def program(name, *where):
    for each in where:
        if (BUILD / each / name).exists():
            return BUILD / each / name
    pytest.fail(f"{BUILD}: no {name}; run scripts/test --integration")


class Vm(Guest):
    """A bare domain that goes on after a reset, which the lab's own do not."""

    os_extra = ""

    def xml(self):
        return super().xml().replace("<on_reboot>destroy", "<on_reboot>restart").replace(
            "hvm</type>", f"hvm</type>{self.os_extra}")

    def stop(self):
        if self.state() != "shut off":
            self.destroy()


class Shell:
    """inventory-shell: one inventory under the lab's user."""

    def __init__(self, lab, uri, records, root=False):
        mine, its = socket.socketpair()
        tool = program("inventory-shell", "tests/unit", "bin")
        if root:
            self.child = subprocess.Popen([tool, uri, records], stdin=its, stderr=subprocess.DEVNULL, env=lab.env)
        else:
            self.child = lab.spawn("inventory", [lab.install(tool), uri, records], stdin=its)
        its.close()
        self.socket, self.file = mine, mine.makefile("rw")

    def __call__(self, command):
        self.file.write(command + "\n")
        self.file.flush()
        line = self.file.readline()
        assert line, self.child.tail()
        return json.loads(line)

    def snapshot(self):
        return self("snapshot")

    def record(self, vm):
        """Its record in a snapshot taken now, None if it has none."""
        snap = self.snapshot()
        assert "records" in snap, snap
        return next((r for r in snap["records"] if r["uuid"] == vm.uuid), None)

    def reported(self, vm):
        return next((d for d in self("report")["domains"] if d["uuid"] == vm.uuid), {})

    def until(self, probe, timeout=30):
        """Asks until probe() returns something; each try is a question to the inventory."""
        deadline = Deadline(timeout)
        while not (found := probe()):
            assert not deadline.expired(), f"{self('report')}\n{self.child.tail()}"
            time.sleep(0.01)
        return found

    def listed(self, vm):
        return self.until(lambda: "records" in self.snapshot() and self.record(vm))

    def refused(self, vm, reason):
        found = self.until(lambda: (d := self.reported(vm)).get("reason") and reason in d["reason"] and d)
        assert not found["listed"] and self.record(vm) is None
        return found

    def close(self):
        self.file.close()
        self.socket.close()
        assert self.child.wait(10) == 0


@pytest.fixture(scope="module")
def lab():
    with Lab(prefix="ltv") as it:
        yield it


@pytest.fixture(scope="module")
def records(lab):
    return lab.path("records", directory=True)


@pytest.fixture(scope="module")
def ca(lab):
    return make_ca(lab, "vtpm-ca")


def make_ca(lab, name):
    lab.path(name, directory=True)
    cert, key = lab.dir / name / "cert.pem", lab.dir / name / "key.pem"
    lab.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
             "-out", cert, "-subj", "/CN=vTPM CA", "-days", "30", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
    os.chmod(key, 0o600)
    return cert, key


@pytest.fixture(scope="module")
def virt(lab, ca, records):
    conf = lab.write("localca.conf", f"ca_cert = {ca[0]}\nca_key = {ca[1]}\nrecords = {records}\n")
    return Libvirtd(lab, certs_tool=lab.install(program("limetree-localca", "bin")), certs_config=conf).start()


@pytest.fixture(scope="module")
def shell(lab, virt, records):
    it = Shell(lab, virt.uri, records)
    yield it
    it.close()


@pytest.fixture
def new_vm(virt, request):
    made = []

    def make(os_extra="", **kwargs):
        vm = Vm(virt, f"vm{new_vm_count()}", **kwargs)
        vm.os_extra = os_extra
        made.append(vm)
        return vm
    yield make
    for vm in made:
        if vm.defined:
            vm.stop()
            vm.undefine()


def new_vm_count(count=[0]):
    count[0] += 1
    return count[0]


@pytest.fixture
def vm(new_vm):
    return new_vm().start()


def wait_bound(path):
    """swtpm listens on its control socket first, and serves one client of the other: so nobody connects to try."""
    deadline = Deadline(10)
    while not listening(path):
        assert not deadline.expired(), f"nobody listens on {path}"
        time.sleep(0.002)


def listening(path):
    with open("/proc/net/unix") as lines:       # … flags (__SO_ACCEPTCON: 00010000), type, state, inode, path
        return any(line.split()[3] == "00010000" for line in lines if line.endswith(f" {path}\n"))


@contextlib.contextmanager
def swtpm_on(lab, state):
    """A private swtpm on that very directory; yields (Tpm, TCTI)."""
    sock = lab.path("t", f"sw{new_vm_count()}")
    child = lab.spawn("swtpm", ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server",
                                f"type=unixio,path={sock}", "--ctrl", f"type=unixio,path={sock}.ctrl", "--flags",
                                "not-need-init,startup-clear"])
    wait_socket(f"{sock}.ctrl", 10, child)
    wait_bound(sock)
    try:
        yield Tpm(socket_transport(sock)), f"swtpm:path={sock}"
    finally:
        child.stop()


def copy_of(lab, source):
    target = lab.path("t", f"copy{new_vm_count()}", directory=True)
    put_state(lab, source / "tpm2-00.permall", target)
    return target


def put_state(lab, file, directory):
    data = file.read_bytes()
    temporary = directory / "new"
    temporary.write_bytes(data)
    os.chown(temporary, lab.uid, lab.gid)
    os.chmod(temporary, 0o600)
    temporary.rename(directory / "tpm2-00.permall")


def digest_of(public):
    """ek_digest of a TPM2B_PUBLIC of RSA 2048 with a null scheme."""
    n = int.from_bytes(public[-256:], "big")
    key = rsa.RSAPublicNumbers(65537, n).public_key()
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def ek_of(lab, vm):
    with swtpm_on(lab, copy_of(lab, vm.vtpm_state)) as (tpm, _):
        return digest_of(tpm.read_public(RSA_EK))


def record_bytes(r):
    out = b"LT1:RESIDENT".ljust(16, b"\0") + struct.pack(">H", 1) + bytes.fromhex(r["uuid"].replace("-", ""))
    out += bytes.fromhex(r["ek_digest"] + r["incarnation"])
    out += struct.pack(">IIQ", r["start_reset"], r["start_restart"], r["start_clock"])
    out += bytes.fromhex(r["firmware"] + r["domain"]) + struct.pack(">I", r["flags"]) + bytes(34)
    return out


def domain_digest(text):
    root = ET.fromstring(text)

    def get(path, name):
        found = root.find(path)
        return "-" if found is None else found.get(name, "-")
    lines = ["LT1:DOMAIN", f"type={root.get('type')}", f"arch={get('os/type', 'arch')}",
             f"machine={get('os/type', 'machine')}", f"loader-type={get('os/loader', 'type')}",
             f"loader-secure={get('os/loader', 'secure')}", f"smm={get('features/smm', 'state')}"]
    for tag in ("kernel", "initrd"):
        path = root.findtext(f"os/{tag}")
        lines.append(f"{tag}=" + (hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else "-"))
    cmdline = root.findtext("os/cmdline")
    lines.append("cmdline=" + (hashlib.sha256(cmdline.encode()).hexdigest() if cmdline is not None else "-"))
    lines += [f"tpm-model={get('devices/tpm', 'model')}", f"tpm-version={get('devices/tpm/backend', 'version')}"]
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()
