"""A "hardware" TPM: swtpm with a maker's CA of its own, a boot to show, and a chip's pace."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from .eventlog import BootLog
from .procs import LabError, wait_socket
from .tpm import SU_CLEAR, Tpm, socket_transport

CTRL_INIT = 2       # swtpm's control channel: power off and on


class HwTpm:
    """One host's TPM below <lab>/NAME.

    tcti        what programs open: "swtpm:path=..." (the relay's socket when there is one)
    tpm         Tpm over the same socket; opens a connection per command
    ca_bundle   PEM: the maker's issuer and root, what `--roots` of a tenant would hold
    ek_certs    {"rsa2048": path, "secp384r1": path}, DER
    state_from  a directory with another TPM's state: this one starts as its copy (a clone, with
                resetCount + 1), has no CA, and by default an empty boot
    state_key   that state's passphrase, where it is encrypted
    """

    def __init__(self, lab, name="hw", relay=None, quote_delay_ms=0, serial="host-serial-0001",
                 maker="AcmeHW", state_from=None, state_key=None):
        if quote_delay_ms and not relay:
            raise ValueError("quote_delay_ms needs the relay program")
        self.lab, self.name, self.serial, self.maker = lab, name, serial, maker
        self.state_from, self.state_key = state_from, state_key
        self.relay, self.quote_delay_ms = relay, quote_delay_ms
        self.dir = lab.path(name, directory=True)
        self.socket = self.dir / ("sock" if relay else "chip")
        self.tcti = f"swtpm:path={self.socket}"
        self.tpm = Tpm(socket_transport(self.socket))
        self.swtpm = self.relay_child = None

    def manufacture(self):
        """EK certificates under a new root; sha256 bank only. About a second."""
        d = self.dir
        if self.state_from is not None:
            for path in Path(self.state_from).glob("tpm2-00.*"):
                self.lab.write(f"{self.name}/state/{path.name}", path.read_bytes())
            return self
        for sub in ("ca", "state", "certs"):
            self.lab.path(self.name, sub, directory=True)
        self.lab.write(f"{self.name}/localca.conf",
                       f"statedir = {d}/ca\nsigningkey = {d}/ca/signkey.pem\n"
                       f"issuercert = {d}/ca/issuercert.pem\ncertserial = {d}/ca/certserial\n")
        self.lab.write(f"{self.name}/localca.options",
                       f"--platform-manufacturer {self.maker}\n--platform-version 1.0\n"
                       "--platform-model Rack1\n")
        self.lab.write(f"{self.name}/setup.conf",
                       "create_certs_tool = /usr/bin/swtpm_localca\n"
                       f"create_certs_tool_config = {d}/localca.conf\n"
                       f"create_certs_tool_options = {d}/localca.options\n"
                       "active_pcr_banks = sha256\n")
        self.lab.run(["swtpm_setup", "--tpm2", "--tpmstate", d / "state", "--config",
                      d / "setup.conf", "--create-ek-cert", "--create-platform-cert", "--vmid",
                      self.serial, "--write-ek-cert-files", d / "certs", "--pcr-banks", "sha256",
                      "--not-overwrite"], timeout=60)
        pems = [d / "ca/issuercert.pem", d / "ca/swtpm-localca-rootca-cert.pem"]
        self.lab.write(f"{self.name}/ca.pem", b"".join(p.read_bytes() for p in pems), 0o644)
        return self

    @property
    def ca_bundle(self):
        return self.dir / "ca.pem"

    @property
    def ek_certs(self):
        return {p.stem.removeprefix("ek-"): p for p in (self.dir / "certs").glob("ek-*.crt")}

    def start(self, boot_log="default"):
        """Powers it on and replays a BootLog (None: an empty boot). Manufactures it if need be."""
        if not (self.dir / "state/tpm2-00.permall").exists():
            self.manufacture()
        chip = self.dir / "chip"
        for path in (chip, Path(f"{chip}.ctrl")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self.swtpm = self.lab.spawn(f"{self.name}-swtpm", [
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.dir}/state",
            "--server", f"type=unixio,path={chip},mode=0600",
            "--ctrl", f"type=unixio,path={chip}.ctrl,mode=0600",
            "--flags", "not-need-init,startup-clear",
            *(["--key", f"pwdfile={self.lab.write(f'{self.name}/key', self.state_key)},mode=aes-256-cbc"]
              if self.state_key else [])])
        wait_socket(f"{chip}.ctrl", 10, self.swtpm)
        wait_socket(chip, 10, self.swtpm)  # bound before it listens
        if self.relay:
            self.relay_child = self.lab.spawn(f"{self.name}-relay", [
                self.lab.install(self.relay), "--upstream", chip, "--listen", self.socket,
                "--quote-delay", self.quote_delay_ms], ready_fd=True)
            self.relay_child.ready()
        self.replay(boot_log)
        return self

    def stop(self):
        for child in (self.relay_child, self.swtpm):
            if child is not None:
                child.stop()

    def replay(self, boot_log="default"):
        if boot_log is None:
            return
        if boot_log == "default":
            if self.state_from is not None:
                return
            boot_log = BootLog.load()
        for pcr, digest in boot_log.extends():
            self.tpm.pcr_extend(pcr, digest)

    def reboot(self, boot_log="default", orderly=True):
        """The host's reboot as its TPM sees it: resetCount + 1, PCRs anew. Clients stay connected."""
        if orderly:
            self.tpm.shutdown(SU_CLEAR)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(f"{self.dir}/chip.ctrl")
            s.sendall(struct.pack(">II", CTRL_INIT, 0))
            (rc,) = struct.unpack(">I", s.recv(4))
        if rc:
            raise LabError(f"swtpm would not reset: 0x{rc:x}")
        self.tpm.startup(SU_CLEAR)
        self.replay(boot_log)

    def env(self):
        """For the tpm2_* tools."""
        return {"TPM2TOOLS_TCTI": self.tcti}


def default_log_file():
    """Where the bytes that start() replays lie; a host agent can serve it as its boot log."""
    return os.fspath(BootLog.DATA / "ovmf-boot-log.bin")
