"""Guests whose vTPM the host agent makes, keeps the key of, and starts (docs/sealing.md).

    fed = SealedFederation(lab, build, cache).up()      # its host is sealed in its present state
    (guest,) = fed.boot(1)                              # defined, provisioned and started by `limetree domain …`
"""

import base64
import hashlib
import os
import shutil
import tempfile
import uuid as uuidlib
from pathlib import Path

from .eventlog import EV_NO_ACTION, SHA256, BootLog
from .federation import Federation
from .guest import Guest
from .procs import LabError, wait_socket
from .tpm import Tpm, socket_transport

SECRETS = uuidlib.UUID("6c696d65-7472-6565-8076-54504d4b6579")
ACCEPT = "bound"
STATE = "tpm2-00.permall"


def secret_uuid(domain):
    """S of docs/sealing.md section 1."""
    return str(uuidlib.uuid5(SECRETS, str(domain)))


def sealed_xml(xml, secret):
    """What `limetree domain define` makes of it; secret may be anybody's."""
    plain = "<backend type='emulator' version='2.0'/>"
    if plain not in xml:
        raise ValueError("no plain emulator backend in the XML")
    return xml.replace(plain, f"<backend type='emulator' version='2.0'><encryption secret='{secret}'/></backend>")


def other_kernel(log=None, pcr=4, nth=0):
    """A boot log as after a kernel update: the nth event of that PCR has another digest."""
    log = log or BootLog.load()
    raw = bytearray(log.raw)
    wanted = [e.digests[SHA256] for e in log.events if e.pcr == pcr and e.type != EV_NO_ACTION]
    old = wanted[nth]
    at = raw.find(old)
    raw[at:at + 32] = hashlib.sha256(b"another kernel: " + old).digest()
    return BootLog(raw)


def swtpm_runs(lab, state, key=None):
    """Whether swtpm runs on a copy of that state file. key: its passphrase; None: it is given none."""
    where = Path(tempfile.mkdtemp(dir=lab.path("t")))
    os.chown(where, lab.uid, lab.gid)
    name = str(where.relative_to(lab.dir))
    lab.write(f"{name}/{STATE}", state)
    argv = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={where}", "--server", f"type=unixio,path={where}/s", "--ctrl",
            f"type=unixio,path={where}/s.ctrl", "--flags", "not-need-init,startup-clear"]
    if key is not None:
        argv += ["--key", f"pwdfile={lab.write(f'{name}/key', key)},mode=aes-256-cbc"]
    child = lab.spawn("copy-swtpm", argv)
    try:
        wait_socket(where / "s", 10, child)
        Tpm(socket_transport(where / "s", 10)).read_clock()     # it listens before it looks at its state
        return True
    except (LabError, OSError):
        child.wait(5)       # by itself; who hangs does neither
        return False
    finally:
        child.stop()
        shutil.rmtree(where)


def carry(guest, other):
    """A copy of the guest's state and definition on another host, as whoever has root on both makes it."""
    lab = guest.lab
    where = other.virt.swtpm_dir / guest.uuid / "tpm2"
    lab.path(*where.relative_to(lab.dir).parts, directory=True)
    lab.write(str((where / STATE).relative_to(lab.dir)), (guest.vtpm_state / STATE).read_bytes())
    other.domain("define", lab.write(f"g/{guest.name}/carried.xml", guest.xml()))


def recovery_key(lab, name="recovery"):
    """(private key, public key, H(SubjectPublicKeyInfo)) of a tenant's: two PEM files, and hex."""
    private, public = lab.path(f"{name}.key"), lab.path(f"{name}.pem")
    lab.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private])
    lab.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public])
    der = base64.b64decode("".join(public.read_text().splitlines()[1:-1]))
    return private, public, hashlib.sha256(der).hexdigest()


class SealedGuest(Guest):
    """A Guest that `limetree domain` defines, provisions and starts. A tainted one would not be called sealed. escrow: PEM file of a recovery key."""

    def __init__(self, *args, escrow=None, **kwargs):
        super().__init__(*args, plain=True, **kwargs)
        self.escrow, self.provisioned = escrow, None

    @property
    def secret(self):
        return secret_uuid(self.uuid)

    def define(self):
        """Also provisions it: what the agent said of that is in `provisioned`."""
        path = self.lab.write(f"g/{self.name}/domain.xml", self.xml())
        self.virt.host.domain("define", path)
        self.defined = True
        self.provisioned = self.virt.host.domain("provision", self.uuid, *(["--escrow", self.escrow] if self.escrow else []))
        return self

    def start(self, paused=False):
        if not self.defined:
            self.define()
        self._seen = 0
        self.virt.host.domain("start", self.uuid, *(["--paused"] if paused else []))
        return self


class SealedFederation(Federation):
    """hook=True: virsh starts sealed domains too, by our hook (where Libvirtd.hooks_work())."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, sealed=True, **kwargs)
        self.escrow = {}        # {name of a guest: PEM file of a recovery key}

    def enrol(self):
        super().enrol()
        self.progress("sealing the host: a vault that opens in its present state (limetree host seal)")
        self.seal()

    def another_host(self, name, boot_log=None, seal=True, **of_host):
        other = super().another_host(name, boot_log, sealed=True, **of_host)
        if seal:
            other.seal()
        return other

    def new_guest(self, name, **kwargs):
        return self.virt.guest(name, kind=SealedGuest, escrow=self.escrow.get(name), **kwargs)

    def opened(self, guest, recovery):
        """K_v from the escrow copy, as the tenant with its recovery key finds it."""
        out = self.lab.path("t", f"kv-{guest.uuid}")
        self.lab.run([self.program["limetree"], "escrow", "show", self.host_state / "escrow" / guest.uuid, "--key",
                      recovery, "--key-out", out])
        key = out.read_bytes().strip()
        out.unlink()
        return key

    def adopt(self, guests, accept=ACCEPT):
        super().adopt(guests, accept)
