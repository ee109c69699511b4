"""A server: its TPM chip, its libvirt, its host agent; and what happens to servers."""

import base64
import http.client
import json
import os
import shutil
import socket
import time
import uuid as uuidlib
from pathlib import Path

from .eventlog import BootLog
from .guest import find_library
from .hwtpm import HwTpm
from .libvirtd import DRIVERS, Libvirtd
from .procs import Deadline, LabError

TOP = Path(__file__).resolve().parents[2]
# What a host must have measured to be `appraised`, and what these load at run time.
SERVED_BY = ["libvirtd", "swtpm", "swtpm_setup", "qemu-system-x86_64"]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = os.fspath(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Host:
    """Of a federation, which is its own first host (name ""); another has a name, and everything of its own: chip (and
    the chip's maker), libvirt, agent, state directory, birth records.

    hw, virt, agent, agent_address; host: its id; identity: what `limetree-agent --identity` says; policy: digest of the
    policy that was learnt of it. The rest is the federation's: lab, program, pki, cli, progress.
    sealed: its agent serves a local socket, and libvirt asks it by a hook where hook is set too (sealed.py).
    """

    def __init__(self, fed, name="", relay=None, quote_delay_ms=0, unmeasured=(), sealed=False, hook=False):
        self.fed, self.host_name, self.unmeasured, self.hook = fed, name, set(unmeasured), hook
        self.hw = HwTpm(fed.lab, f"{name}hw", relay=relay, quote_delay_ms=quote_delay_ms,
                        serial=f"host-serial-{name or '0001'}")
        self.records = fed.lab.path(f"{name}records", directory=True)
        self.host_state = fed.lab.path(f"{name}host", directory=True)
        self.host_cert = fed.pki / (f"{name}-host" if name else "host")
        self.ima = fed.lab.path(f"{name}host-ima")
        self.boot_log = BootLog.DATA / "ovmf-boot-log.bin"     # what the agent serves
        self.agent_options = []     # KEY=VALUE, beside the lab's own
        self.local_socket = fed.lab.path(f"{name}agent.sock") if sealed else None
        self.virt = self.agent = self.agent_address = self.host = self.identity = self.policy = None

    # -- coming up

    def host_options(self):
        return ["-o", "role=host", "-o", f"tcti={self.hw.tcti}", "-o", f"state_dir={self.host_state}"]

    def booted(self, boot_log):
        """What its next boot measures: a BootLog, or None: what the one before did."""
        if boot_log is not None:
            self.boot_log = self.fed.lab.write(f"{self.host_name}boot-log", boot_log.raw, 0o644)

    def start_hardware(self):
        fed = self.fed
        fed.progress("making the host's TPM (swtpm stands for the chip), replaying a boot log into it")
        self.hw.start(BootLog.load(self.boot_log))
        self.anchor()
        self.identity = json.loads(fed.lab.run([fed.program["limetree-agent"], *self.host_options(), "--identity",
                                                "--json"]).stdout)
        self.host = self.identity["host"]
        fed.cli("pki", "issue", fed.pki, "--ca", "federation", "--role", "host", "--host", self.host,
                "--name", "127.0.0.1", "--server", "--client", "--out", self.host_cert)

    def measure(self, *paths):
        """As the kernel's IMA would when these run: this machine's kernel has no stand-in TPM to extend."""
        wanted = [str(p) for p in paths if os.path.basename(p) not in self.unmeasured]
        if wanted:
            self.fed.lab.run([self.fed.emulator, "--tpm", self.hw.socket, "--list", self.ima, "--measure", *wanted])

    def anchor(self):
        """The beginning of a boot: the host agent names its key in PCR 13 before libvirtd or any login starts."""
        fed = self.fed
        agent = fed.program["limetree-agent"]
        self.measure(agent, find_library("libtss2-tcti-swtpm.so.0"))
        fed.lab.run([agent, *self.host_options(), "--anchor"])
        self.measure(*map(shutil.which, SERVED_BY), fed.program["limetree-localca"], *sorted(DRIVERS.glob("*.so")))

    def start_libvirt(self):
        fed, p = self.fed, self.fed.pki
        fed.progress("starting a private libvirt")
        config = fed.lab.write(f"{self.host_name}localca.conf",
                               f"ca_cert = {p}/vtpm-ca.crt\nca_key = {p}/vtpm-ca.key\nrecords = {self.records}\n")
        self.virt = Libvirtd(fed.lab, certs_tool=fed.program["limetree-localca"], certs_config=config,
                             name=self.host_name, hook=self.hook_script() if self.hook else None)
        self.virt.host = self
        self.virt.start()

    def agent_argv(self, program, listen):
        options = {
            "listen": listen, "cert": f"{self.host_cert}.crt", "key": f"{self.host_cert}.key",
            "client_ca": f"{self.fed.pki}/federation-ca.crt", "libvirt_uri": self.virt.uri, "records": self.records,
            "boot_log": self.boot_log, "ima": self.ima,
            "seal_checks": "none"}  # a laboratory has swap, cores and no dm-verity
        if self.local_socket:
            options |= {"local_socket": self.local_socket, "swtpm_setup_config": self.virt.config_dir / "swtpm_setup.conf"}
        argv = [program, *self.host_options()]
        for option in [f"{k}={v}" for k, v in options.items()] + self.agent_options:
            argv += ["-o", option]
        return argv

    def start_agent(self, listen="127.0.0.1:0", program=None, env=None):
        """program: another one than limetree-agent, which is then not waited for; env: beside the lab's."""
        fed = self.fed
        fed.progress("starting limetree-agent on the host")
        self.agent = fed.lab.spawn(f"{self.host_name}host-agent",
                                   self.agent_argv(program or fed.program["limetree-agent"], listen), ready_fd=True,
                                   env=self.virt.env | (env or {}))
        if program is None:
            self.agent_address = self.agent.ready(60)["listen"]

    def enrol(self):
        fed = self.fed
        fed.progress("enrolling the host; its present state becomes its policy (limetree host learn --ima)")
        fed.cli("host", "add", self.agent_address, "--ek-digest", self.identity["ek_digest"])
        self.policy = fed.cli("host", "learn", self.host, "--ima")["digest"]

    # -- sealed domains: what is typed on the host

    def domain_raw(self, verb, *args, check=True, timeout=60):
        """`limetree domain VERB ...`: CompletedProcess."""
        return self.fed.lab.run([self.fed.program["limetree"], "domain", verb, *args, "--socket", self.local_socket,
                                 "--json"], check=check, timeout=timeout)

    def domain(self, verb, *args, timeout=60):
        """Asks again while the agent has just begun and says that it is busy."""
        return json.loads(self.patiently(lambda: self.domain_raw(verb, *args, timeout=timeout)).stdout)

    def patiently(self, ask, timeout=30):
        deadline = Deadline(timeout)
        while True:
            try:
                return ask()
            except LabError as error:
                if "busy:" not in str(error) or deadline.expired():
                    raise
            time.sleep(0.1)

    def local(self, method, path, body=None, timeout=60):
        """(status, JSON) of the agent's local socket."""
        connection = UnixConnection(self.local_socket, timeout)
        try:
            connection.request(method, f"/local/v1/{path}", None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def vault(self):
        """VAULT of docs/api.md."""
        return self.local("GET", "vault")[1]

    def seal(self, *args):
        return self.fed.cli("host", "seal", self.host, *args)

    def reseal_to(self, other):
        """As before an update to the kernel that the other host runs already: limetree host predict, reseal."""
        states = self.fed.lab.path("states")
        states.unlink(missing_ok=True)
        self.fed.cli_raw("host", "predict", other.host, "-o", states)
        return self.fed.cli("host", "reseal", self.host, "--pcrs", states)

    def hook_script(self):
        """deploy/libvirt/limetree with the lab's program and socket in it."""
        text = (TOP / "deploy/libvirt/limetree").read_text()
        return self.fed.lab.write(f"{self.host_name}hook", text.replace(
            "limetree domain hook", f"{self.fed.program['limetree']} domain hook --socket {self.local_socket}"), 0o755)

    # -- what happens to it

    def residents(self):
        """{guest uuid: record of docs/protocol.md section 3}, as the host agent lists them now."""
        status, body = self.fed.https(self.agent_address, "provider", "federation-ca", "GET", "/federation/v1/host")
        if status != 200:
            return {}
        records = [base64.b64decode(r) for r in json.loads(body)["inventory"]["records"]]
        return {str(uuidlib.UUID(bytes=r[18:34])): r for r in records}

    def reboot(self, boot_log=None, extends=()):
        """The agent ends, the guests with it; the chip loses its power and measures another boot: BootLog boot_log
        (None: as before), then {pcr: digest} pairs that no log names. Libvirt and agent are back when this returns,
        the guests are shut off. NV memory and EK are the chip's, and stay."""
        self.agent.stop()
        for name in self.virt.domains():
            self.virt.virsh("destroy", name, check=False)
        self.virt.stop()
        self.ima.unlink(missing_ok=True)
        self.booted(boot_log)
        self.hw.reboot(BootLog.load(self.boot_log))
        for pcr, digest in extends:
            self.hw.tpm.pcr_extend(pcr, digest)
        self.anchor()
        self.virt.start()
        self.start_agent(self.agent_address)
