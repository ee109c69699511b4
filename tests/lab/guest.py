"""Guests: Debian's cloud kernel, an initramfs with an agent, domains, and a shell inside.

The guest's /init is guest-init.sh beside this file. Configuration goes in through fw_cfg
(opt/limetree/NAME becomes /etc/limetree/NAME), commands through a virtio-serial port.
"""

import base64
import contextlib
import gzip
import hashlib
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import uuid as uuidlib
from pathlib import Path
from xml.sax.saxutils import quoteattr

from .procs import Deadline, LabError, wait_text
from .tpm import Tpm
from .tunnel import Tunnel

# In the order of their dependencies. Everything else a guest needs is built in.
MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "failover", "net_failover", "virtio_net", "virtio_console", "qemu_fw_cfg"]
CMDLINE = ("console=ttyS0 tsc=unstable random.trust_cpu=on rootfstype=ramfs "
           "ima_policy=tcb quiet")
AGENT_PORT = 9002
# Opened with dlopen by tss2-tctildr, so ldd does not show them.
DLOPENED = ["libtss2-tcti-device.so.0"]


def tool(argv, **kwargs):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, **kwargs)
    if done.returncode:
        raise LabError(f"{' '.join(map(str, argv))}: status {done.returncode}\n"
                       f"{done.stdout}{done.stderr}")
    return done.stdout


class Kernel:
    """vmlinuz and the modules wanted, unpacked from Debian's package; never installed."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.vmlinuz = self.dir / "vmlinuz"
        self.version = (self.dir / "version").read_text().strip()
        self.modules = [self.dir / f"{name}.ko" for name in MODULES]

    @staticmethod
    def package():
        out = tool(["apt-cache", "depends", "linux-image-cloud-amd64"])
        names = re.findall(r"Depends: (linux-image-\S+)", out)
        if not names:
            raise LabError("apt knows no linux-image-cloud-amd64: run apt-get update")
        return names[0]

    @classmethod
    def fetch(cls, cache=None):
        """Downloads (27 MB) into the cache unless it is there. cache: $XDG_CACHE_HOME/limetree."""
        if cache is None:
            base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
            cache = Path(base) / "limetree"
        cache = Path(cache)
        try:
            package = cls.package()
        except LabError:                    # no package lists: an unpacked kernel still does
            have = sorted(cache.glob("linux-image-*/version"))
            if have:
                return cls(have[-1].parent)
            raise
        target = cache / package
        if (target / "version").exists():
            return cls(target)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as tmp:
            tmp = Path(tmp)
            sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
            tool(["apt-get", "-q", *sandbox, "download", package], cwd=tmp)
            (deb,) = tmp.glob("*.deb")
            tool(["dpkg", "-x", deb, tmp / "x"])
            out = tmp / "out"
            out.mkdir()
            (vmlinuz,) = (tmp / "x/boot").glob("vmlinuz-*")
            shutil.copyfile(vmlinuz, out / "vmlinuz")
            found = {p.stem.replace("-", "_"): p for p in (tmp / "x/lib/modules").rglob("*.ko")}
            for name in MODULES:
                shutil.copyfile(found[name], out / f"{name}.ko")
            (out / "version").write_text(vmlinuz.name.removeprefix("vmlinuz-") + "\n")
            with contextlib.suppress(OSError):      # lost the race against another lab: theirs is as good
                out.rename(target)
        return cls(target)


def library_closure(programs):
    """Every shared object the programs load, {path in guest: path here}."""
    found = {}
    for program in programs:
        done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
        if "not found" in done.stdout:
            raise LabError(f"ldd {program}:\n{done.stdout}")
        for name, path in re.findall(r"^\s*(\S+) => (/\S+) \(", done.stdout, re.M):
            found[f"/lib/{name}"] = path
        for path in re.findall(r"^\s*(/\S+) \(", done.stdout, re.M):     # the dynamic loader
            found[path] = path
    return found


def find_library(name):
    for line in tool(["/sbin/ldconfig", "-p"]).splitlines():
        if line.split(" ")[0].strip() == name and "x86-64" in line:
            return line.rpartition("=> ")[2].strip()
    raise LabError(f"{name} is not installed: run scripts/setup")


class Cpio:
    """A reproducible newc archive: fixed times, owners and inode numbers, no root needed."""

    def __init__(self):
        self._entries = {}

    def add(self, path, data=b"", mode=0o644, kind=stat.S_IFREG, rdev=(0, 0)):
        path = path.strip("/")
        for parent in reversed(Path(path).parents):
            if str(parent) != ".":
                self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", (0, 0)))
        self._entries[path] = (kind | mode, data, rdev)

    def directory(self, path, mode=0o755):
        self.add(path, b"", mode, stat.S_IFDIR)

    def symlink(self, path, target):
        self.add(path, target.encode(), 0o777, stat.S_IFLNK)

    def bytes(self):
        out = bytearray()

        def entry(name, ino, mode, data, rdev):
            raw = name.encode() + b"\0"
            fields = (ino, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(data), 0, 0,
                      rdev[0], rdev[1], len(raw), 0)
            out.extend(b"070701" + b"".join(b"%08X" % f for f in fields) + raw)
            out.extend(bytes(-len(out) % 4) + data)
            out.extend(bytes(-len(out) % 4))
        for ino, name in enumerate(sorted(self._entries), 1):
            entry(name, ino, *self._entries[name])
        entry("TRAILER!!!", 0, 0, b"", (0, 0))
        return bytes(out) + bytes(-len(out) % 512)


class GuestImage:
    """kernel and initrd, readable by the lab's user, to be shared by any number of guests."""

    def __init__(self, kernel, initrd):
        self.kernel, self.initrd = Path(kernel), Path(initrd)

    @classmethod
    def build(cls, lab, cache=None, agent=None, extra=None, compress=False, name="guest",
              payloads=False):
        """agent: program (or script) that becomes /usr/bin/limetree-agent; None: no agent.

        extra: {path in guest: path here, or bytes}. Programs among them bring their libraries.
        payloads: with libarchive, which unpacks zips; 40 MB.
        """
        kernel = Kernel.fetch(cache)
        cpio = Cpio()
        here = Path(__file__).parent
        cpio.add("/init", (here / "guest-init.sh").read_bytes(), 0o755)
        cpio.add("/bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
        cpio.symlink("/bin/sh", "busybox")
        for path in ("/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/sbin", "/usr/sbin",
                     "/etc/limetree", "/var/lib/limetree", "/lib/modules"):
            cpio.directory(path)
        cpio.add("/dev/console", b"", 0o600, stat.S_IFCHR, (5, 1))
        cpio.add("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        cpio.add("/etc/group", b"root:x:0:\n")
        cpio.add("/etc/hosts", b"127.0.0.1 localhost\n10.0.2.2 host\n")
        cpio.add("/etc/nsswitch.conf", b"hosts: files\npasswd: files\n")
        for module in kernel.modules:
            cpio.add(f"/lib/modules/{module.name}", module.read_bytes())
        cpio.add("/lib/modules/order", "".join(f"{m}.ko\n" for m in MODULES).encode())
        programs = {}
        if agent is not None:
            programs["/usr/bin/limetree-agent"] = Path(agent)
        for path, source in (extra or {}).items():
            if isinstance(source, bytes):
                cpio.add(path, source, 0o755)
            else:
                programs[path] = Path(source)
        for path, source in programs.items():
            cpio.add(path, source.read_bytes(), 0o755)
        elves = [p for p in programs.values() if p.read_bytes()[:4] == b"\x7fELF"]
        libs = library_closure(elves)
        if any("libtss2-tctildr" in lib for lib in libs):
            for lib in DLOPENED + (["libarchive.so.13"] if payloads else []):
                libs[f"/lib/{lib}"] = find_library(lib)
                libs.update(library_closure([libs[f"/lib/{lib}"]]))
        for path, source in libs.items():
            cpio.add(path, Path(source).read_bytes(), 0o755)
        data = cpio.bytes()
        if compress:
            data = gzip.compress(data, 1, mtime=0)
        vmlinuz = lab.path("img", "vmlinuz")
        if not vmlinuz.exists():
            lab.write("img/vmlinuz", kernel.vmlinuz.read_bytes(), 0o644)
        return cls(vmlinuz, lab.write(f"img/{name}.cpio", data, 0o644))


def domain_xml(name, uuid, *, kvm=False, firmware="seabios", memory=256, image=None, cmdline="",
               serial=None, channel=None, nvram=None, forward=(), fw_cfg=None, tpm="tpm-crb",
               extra_devices="", plain=False):
    """The XML. forward: guest ports reached through slirp; fw_cfg: {name: file}. plain: nothing that taints a domain
    is in it; then the guest has a network if there is something to forward to, and nothing is."""
    loader = ""
    if firmware == "ovmf":
        loader = ("<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
                  f"<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>{nvram}</nvram>")
    boot = ""
    if image is not None:
        boot = (f"<kernel>{image.kernel}</kernel><initrd>{image.initrd}</initrd>"
                f"<cmdline>{(CMDLINE + ' ' + cmdline).strip()}</cmdline>")
    devices = "<memballoon model='none'/>"
    if tpm:
        devices += f"<tpm model='{tpm}'><backend type='emulator' version='2.0'/></tpm>"
    if serial:
        devices += (f"<serial type='file'><source path={quoteattr(str(serial))}/>"
                    "<target port='0'/></serial>")
    if channel:
        devices += (f"<channel type='unix'><source mode='bind' path={quoteattr(str(channel))}/>"
                    "<target type='virtio' name='org.limetree.lab.0'/></channel>")
    args, sysinfo = [], ""
    if plain:
        entries = "".join(f"<entry name='opt/limetree/{key}' file={quoteattr(str(path))}/>"
                          for key, path in (fw_cfg or {}).items())
        sysinfo = f"<sysinfo type='fwcfg'>{entries}</sysinfo>" if entries else ""
        if forward:
            devices += (f"<interface type='user'><mac address='52:54:00:{uuid[0:2]}:{uuid[2:4]}:{uuid[4:6]}'/>"
                        "<model type='virtio'/><rom enabled='no'/></interface>")
        forward = fw_cfg = None
    if forward:
        # Port 0: the kernel picks one, `info usernet` tells which.
        ports = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in forward)
        args += ["-netdev", f"user,id=n0{ports}",
                 "-device", "virtio-net-pci,netdev=n0,romfile=,bus=pcie.0,addr=0x10"]
    for key, path in (fw_cfg or {}).items():
        args += ["-fw_cfg", f"name=opt/limetree/{key},file={path}"]
    qemu = "".join(f"<qemu:arg value={quoteattr(a)}/>" for a in args)
    if qemu:
        qemu = f"<qemu:commandline>{qemu}</qemu:commandline>"
    namespace = " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'" if qemu else ""
    return f"""<domain type='{"kvm" if kvm else "qemu"}'{namespace}>
<name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>{loader}{boot}</os>
{sysinfo}<features><acpi/>{"<smm state='off'/>" if firmware == "ovmf" else ""}</features>
<cpu mode='{"host-passthrough" if kvm else "maximum"}'/>
<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}{extra_devices}</devices>
{qemu}</domain>
"""


class Guest:
    """One defined domain with a vTPM (defined: its vTPM's state outlives a stop).

    image=None: a bare domain, no kernel, no disk, no network, no console: it starts in about two
    seconds, has a vTPM, and libvirt does not call it tainted.
    files: {name: text or bytes} -> /etc/limetree/NAME in the guest ("agent.conf", "ca.pem"; "hook"
    is run as a shell script before the agent starts).
    plain: libvirt does not call it tainted; only its agent can be reached from outside, through a Tunnel.
    port: of its agent; ports: others that are to be reached from outside. Other guests reach them at 10.0.2.2.
    """

    def __init__(self, virt, name, uuid=None, image=None, files=None, firmware="seabios",
                 memory=None, cmdline="", port=AGENT_PORT, ports=(), shell=True, tpm="tpm-crb",
                 extra_devices="", plain=False):
        self.virt, self.lab, self.name = virt, virt.lab, name
        self.uuid = str(uuid or uuidlib.uuid4())
        self.image, self.files, self.firmware = image, dict(files or {}), firmware
        self.memory, self.cmdline, self.tpm_model = memory, cmdline, tpm
        self.port = port if image is not None else None
        self.ports = [port, *ports] if image is not None else []
        self.dir = self.lab.path("g", name, directory=True)
        self.serial = self.dir / "serial.log" if image is not None else None
        self.channel = self.dir / "sh" if image is not None and shell else None
        self.extra_devices = extra_devices
        self.tunnel = None
        if plain and image is not None:
            self.tunnel = Tunnel()
            self.lab.on_close(self.tunnel.close)
            self.files["tunnel"] = f"{self.tunnel.inner}\n"
        self.plain = plain
        self.defined = False
        self._seen = 0

    def xml(self):
        fw_cfg = {}
        for key, data in self.files.items():
            fw_cfg[key] = self.lab.write(f"g/{self.name}/fw/{key}", data)
        memory = self.memory or (256 if self.image is not None else 64)
        return domain_xml(self.name, self.uuid, kvm=self.lab.kvm, firmware=self.firmware,
                          memory=memory, image=self.image, cmdline=self.cmdline,
                          serial=self.serial, channel=self.channel, nvram=self.dir / "nvram.fd",
                          forward=self.ports, fw_cfg=fw_cfg, tpm=self.tpm_model,
                          extra_devices=self.extra_devices, plain=self.plain)

    # -- life

    def define(self):
        path = self.lab.write(f"g/{self.name}/domain.xml", self.xml())
        self.virt.virsh("define", str(path))
        self.defined = True
        return self

    def start(self, paused=False):
        """Returns when QEMU and swtpm run (1-2 s, most of it swtpm_setup the first time)."""
        if not self.defined:
            self.define()
        self._seen = 0          # QEMU truncates the console's file
        self.virt.virsh("start", self.name, *(["--paused"] if paused else []))
        return self

    def destroy(self):
        """Pulls the plug."""
        self.virt.virsh("destroy", self.name)

    def off(self):
        """destroy(), also when QEMU has ended by itself, as it may once its vTPM is gone."""
        self.virt.virsh("destroy", self.name, check=False)
        if self.state() != "shut off":
            raise LabError(f"{self.name}: {self.state()}, not shut off")

    def undefine(self, keep_tpm=False):
        extra = ["--nvram"] if self.firmware == "ovmf" else []
        self.virt.virsh("undefine", self.name, "--keep-tpm" if keep_tpm else "--tpm", *extra)
        self.defined = False

    def suspend(self):
        self.virt.virsh("suspend", self.name)

    def resume(self):
        self.virt.virsh("resume", self.name)

    def reset(self):
        self._seen = self.serial.stat().st_size if self.serial else 0
        self.virt.virsh("reset", self.name)

    def state(self):
        return self.virt.virsh("domstate", self.name).strip()

    # -- what is known of it

    @property
    def qemu_pid(self):
        return int((self.virt.run_dir / f"{self.name}.pid").read_text())

    @property
    def swtpm_pid(self):
        (path,) = (self.virt.run_dir / "swtpm").glob(f"*-{self.name}-swtpm.pid")
        return int(path.read_text())

    @property
    def vtpm_state(self):
        """The directory with tpm2-00.permall."""
        return self.virt.swtpm_dir / self.uuid / "tpm2"

    def host_port(self, port=None):
        """127.0.0.1's port that leads to the guest's agent, or to another of its ports."""
        if self.tunnel and not port:
            return self.tunnel.port
        out = self.virt.virsh("qemu-monitor-command", self.name, "--hmp", "info usernet")
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+"
                          rf"{port or self.port}\b", out)
        if not found:
            raise LabError(f"{self.name}: no forwarded port in\n{out}")
        return int(found.group(1))

    def wait_serial(self, pattern, timeout=120):
        """Waits for a line on the console since the last start or reset; returns the match."""
        found = wait_text(self.serial, rf"{pattern}|Kernel panic.*", timeout, start=self._seen)
        if found.group(0).startswith("Kernel panic"):
            raise LabError(f"{self.name}: {found.group(0)}")
        return found

    def wait_boot(self, timeout=120):
        """Until the guest's userspace is up, its files in place and its shell listening."""
        return self.wait_serial(r"LT-GUEST: up", timeout)

    # -- inside

    def sh(self, command, timeout=60, check=True):
        """Runs a shell command in the guest as root; returns (status, output bytes)."""
        deadline = Deadline(timeout)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(deadline.left())
            s.connect(str(self.channel))
            tag = hashlib.sha256(os.urandom(16)).hexdigest()[:16]
            s.sendall(f"{tag} {base64.b64encode(command.encode()).decode()}\n".encode())
            data = b""
            while True:
                found = re.search(rb"^" + tag.encode() + rb" (\d+) ([A-Za-z0-9+/=]*)\n", data, re.M)
                if found:
                    break
                try:
                    s.settimeout(deadline.left() or 0.001)
                    chunk = s.recv(65536)
                except TimeoutError:
                    chunk = b""
                if not chunk:
                    raise LabError(f"{self.name}: no answer to {command!r}")
                data += chunk
        status, out = int(found.group(1)), base64.b64decode(found.group(2))
        if check and status:
            raise LabError(f"{self.name}: {command!r}: status {status}\n{out.decode(errors='replace')}")
        return status, out

    def forgive(self):
        """As its owner: forgets the hard stops. A vTPM counts each as a wrong guess at its keys (an AK on Keylime's
        wire may not have noDA), and after three it activates nothing for 1000 s."""
        self.tpm.command("DictionaryAttackLockReset", 0x139, b"", struct.pack(">I", 0x4000000A), auth=True)

    def boot_log(self):
        """The guest's own boot event log, bytes."""
        return self.sh("cat /sys/kernel/security/tpm0/binary_bios_measurements")[1]

    def ima_log(self):
        return self.sh("cat /sys/kernel/security/ima/binary_runtime_measurements")[1]

    @property
    def tpm(self):
        """The guest's vTPM, through /dev/tpmrm0 in the guest: Tpm.pcr_extend and the rest."""
        def transact(command):
            text = base64.b64encode(command).decode()
            _, out = self.sh(f"exec 4<>/dev/tpmrm0 && echo {text} | base64 -d >&4 && "
                             "dd bs=4096 count=1 <&4 2>/dev/null")
            if len(out) < 10 or struct.unpack_from(">I", out, 2)[0] != len(out):
                raise OSError(f"{self.name}: short response from /dev/tpmrm0")
            return out
        return Tpm(transact)
