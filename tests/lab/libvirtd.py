"""A private session libvirtd: its own directories and socket, and nobody else's VMs.

Runs in the foreground under the lab's user. libvirt's session mode keeps everything below the
XDG directories, which are the lab's; `qemu:///session` of the person at the keyboard is elsewhere.
"""

import os
import re
import shutil
import signal
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from .procs import LabError, wait_socket, wait_text

DRIVERS = Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver")    # libvirtd loads them


class Libvirtd:
    """uri, virsh(...), guest(...).

    certs_tool, certs_config, certs_options: what swtpm_setup calls to issue EK certificates
    (create_certs_tool); by default swtpm's own swtpm_localca with a CA below the lab.
    name: of a second one in the same lab, whose directories begin with it; "" is the lab's own.
    hook: a script for /etc/libvirt/hooks/qemu.d, which libvirt reads there in session mode too. So /etc/libvirt is
    another directory for this daemon, in a mount namespace of its own: hooks_work() says whether that can be had.
    """

    def __init__(self, lab, certs_tool=None, certs_config=None, certs_options=None, name="", hook=None):
        self.lab, self.name = lab, name
        xdg = {key: lab.path(name, short, directory=True) if name else lab.dir / short
               for key, short in (("RUNTIME_DIR", "r"), ("CONFIG_HOME", "c"), ("CACHE_HOME", "k"), ("DATA_HOME", "d"))}
        self.env = {f"XDG_{key}": str(path) for key, path in xdg.items()} if name else {}
        self.config_dir = xdg["CONFIG_HOME"]
        self.socket = xdg["RUNTIME_DIR"] / "libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={self.socket}"
        self.log_dir = xdg["CACHE_HOME"] / "libvirt/qemu/log"
        self.run_dir = xdg["RUNTIME_DIR"] / "libvirt/qemu/run"
        self.swtpm_dir = self.config_dir / "libvirt/qemu/swtpm"
        self.child = None
        self.guests = {}
        self.before = self.hook_namespace(hook) if hook else ()
        c = self.config_dir.relative_to(lab.dir)
        ca = lab.path(f"{name}vtpm-ca", directory=True)
        if certs_config is None:
            certs_config = lab.write(f"{c}/swtpm-localca.conf",
                                     f"statedir = {ca}\nsigningkey = {ca}/signkey.pem\n"
                                     f"issuercert = {ca}/issuercert.pem\n"
                                     f"certserial = {ca}/certserial\n")
        if certs_options is None:
            certs_options = lab.write(f"{c}/swtpm-localca.options",
                                      "--platform-manufacturer Limetree\n--platform-version 1\n"
                                      "--platform-model Lab\n")
        # swtpm_setup, called by a session libvirtd, reads this file and no other.
        lab.write(f"{c}/swtpm_setup.conf",
                  f"create_certs_tool = {certs_tool or '/usr/bin/swtpm_localca'}\n"
                  f"create_certs_tool_config = {certs_config}\n"
                  f"create_certs_tool_options = {certs_options}\n"
                  "active_pcr_banks = sha256\n")
        lab.write(f"{c}/libvirt/qemu.conf",
                  'stdio_handler = "file"\nnamespaces = []\ncgroup_controllers = []\n')
        lab.write(f"{c}/libvirt/libvirtd.conf", "")

    @staticmethod
    def hooks_work():
        """Whether this user may have a mount namespace with another /etc/libvirt."""
        return os.geteuid() == 0 and os.path.isdir("/etc/libvirt") and subprocess.run(
            ["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0

    def hook_namespace(self, hook):
        etc = self.lab.path(f"{self.name}etc-libvirt")
        shutil.copytree("/etc/libvirt", etc)
        target = etc / "hooks/qemu.d/limetree"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(hook, target)
        for path in (etc, etc / "hooks", target.parent, target):
            path.chmod(0o755)
        return ["unshare", "--mount", "--propagation", "private", "bash", "-c",
                'mount --bind "$0" /etc/libvirt && exec "$@"', etc]

    def start(self, wait=True):
        """wait=False: returns at once, so that other work overlaps the probing of QEMU (2-4 s)."""
        if self.child is None:
            self.lab.path(*self.socket.relative_to(self.lab.dir).parts[:-1], directory=True)
            reaper = self.lab.install(Path(__file__).with_name("reaper.py"))
            self.child = self.lab.spawn(f"{self.name}libvirtd", [
                "/usr/bin/python3", "-I", "-S", reaper, "/usr/sbin/libvirtd"], kvm=self.lab.kvm, env=self.env,
                before=self.before)
        else:
            self.child.signal(signal.SIGUSR2)
        return self.wait() if wait else self

    def wait(self, timeout=60):
        wait_socket(self.socket, timeout, self.child)
        self.virsh("version", timeout=timeout)
        return self

    def kill(self):
        """As stop(), by kill -9."""
        self.stop(signal.SIGHUP)

    def stop(self, number=signal.SIGUSR1):
        """Stops the daemon alone; guests go on, and start() takes them over again."""
        ended = self.child.log.stat().st_size
        self.child.signal(number)
        wait_text(self.child.log, "reaper: daemon ended", 20, self.child, start=ended)

    def virsh(self, *args, timeout=60, check=True):
        try:
            return self.lab.run(["virsh", "-q", "-c", self.uri, *args], timeout=timeout,
                                check=check).stdout
        except LabError as error:
            raise LabError(f"{error}{self.child.tail(5) if self.child else ''}") from None

    def domains(self, running=True):
        return self.virsh("list", "--name", *([] if running else ["--all"])).split()

    def guest(self, name, kind=None, **kwargs):
        """A Guest (see guest.py), or another kind of it, not yet defined."""
        from .guest import Guest
        guest = (kind or Guest)(self, name, **kwargs)
        self.guests[name] = guest
        return guest

    def taints(self, name):
        """libvirt's taint words, such as custom-argv, from the domain's log."""
        log = self.log_dir / f"{name}.log"
        return re.findall(r"is tainted: (\S+)", log.read_text(errors="replace"))

    def dumpxml(self, name):
        return self.virsh("dumpxml", name)

    def domain_element(self, name):
        return ET.fromstring(self.dumpxml(name))
