"""Children, deadlines and cleaning up.

A Lab owns a short directory (unix socket paths end at 107 bytes), an unprivileged user, and
every process started in it. Processes carry HOME=<lab directory>/h, which libvirt hands on to
QEMU and swtpm, so "ours" is a fact that can be read from /proc, not a guess from a name.
"""

import contextlib
import ctypes
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER = 36
_IN_MODIFY, _IN_CREATE, _IN_MOVED_TO = 0x2, 0x100, 0x80
_PASS_ENV = re.compile(r"^(?:(?:A|L|T|UB)SAN_OPTIONS|LLVM_PROFILE_FILE|LIMETREE_.*)$")
SLOW = float(os.environ.get("LIMETREE_TEST_SLOW", "1"))   # stretches every deadline


class LabError(RuntimeError):
    """Something in the lab did not come up, with what it said."""


def exit_on_signals():
    """SIGTERM and SIGHUP end the program the way ^C does: through the with-blocks."""
    def leave(number, _frame):
        raise SystemExit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


@contextlib.contextmanager
def _no_interruption():
    """Cleaning up is bounded by deadlines of its own; a second ^C must not cut it short."""
    try:
        held = {n: signal.signal(n, signal.SIG_IGN)
                for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    except ValueError:          # not the main thread: no handlers there anyhow
        held = {}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


class Deadline:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds * SLOW

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def expired(self):
        return self.left() == 0.0


class _Watch:
    """inotify on a directory: wakes when something in it is written or made."""

    def __init__(self, directory):
        self.fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0 or _libc.inotify_add_watch(
                self.fd, os.fsencode(directory), _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(directory))

    def wait(self, seconds, *fds):
        """True if one of the extra fds is ready (a pidfd: its process has ended)."""
        ready, _, _ = select.select([self.fd, *fds], [], [], seconds)
        if self.fd in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self.fd, 65536)
        return any(fd in ready for fd in fds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def wait_for(directory, probe, timeout, what, child=None):
    """Calls probe() now and after each change in the directory, until it returns something."""
    deadline = Deadline(timeout)
    with _Watch(directory) as watch:
        while True:
            found = probe()
            if found:
                return found
            if child is not None and not child.alive():
                raise LabError(f"{child.name} ended (status {child.proc.returncode}) while "
                               f"waiting for {what}\n{child.tail()}")
            if deadline.expired():
                tail = f"\n{child.tail()}" if child is not None else ""
                raise LabError(f"waited {timeout:g} s in vain for {what}{tail}")
            fds = [child.pidfd] if child is not None else []
            # The cap of a second is a belt: some file systems do not tell of every write.
            watch.wait(min(deadline.left(), 1.0), *fds)


def wait_text(path, pattern, timeout, child=None, start=0):
    """Waits until the file matches; returns the match (of bytes decoded as UTF-8)."""
    path = Path(path)
    regex = re.compile(pattern, re.M)

    def probe():
        with contextlib.suppress(FileNotFoundError, PermissionError):
            return regex.search(path.read_bytes()[start:].decode(errors="replace"))
        return None
    try:
        return wait_for(path.parent, probe, timeout, f"/{pattern}/ in {path.name}", child)
    except LabError as error:
        raise LabError(f"{error}\n{tail(path)}") from None


def wait_socket(path, timeout, child=None):
    """Waits until a unix socket accepts."""
    def probe():
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(os.fspath(path))
            except FileNotFoundError:
                return False
            except ConnectionRefusedError:      # between bind and listen: no event tells
                time.sleep(0.002)
                return probe_again()
            return True

    def probe_again():
        deadline = Deadline(2)
        while not deadline.expired():
            with socket.socket(socket.AF_UNIX) as s:
                if s.connect_ex(os.fspath(path)) == 0:
                    return True
            time.sleep(0.002)
        return False
    wait_for(Path(path).parent, probe, timeout, f"socket {path}", child)


def tail(path, lines=25):
    try:
        text = Path(path).read_bytes()[-8192:].decode(errors="replace")
    except OSError:
        return ""
    return "\n".join("  | " + line for line in text.splitlines()[-lines:])


class Child:
    """One process of the lab. stdout and stderr go to <lab>/log/NAME.log."""

    def __init__(self, name, proc, log, ready_fd):
        self.name, self.proc, self.log = name, proc, Path(log)
        self.pid = proc.pid
        self.pidfd = os.pidfd_open(proc.pid)
        self._ready_fd = ready_fd

    def alive(self):
        return self.proc.poll() is None

    def tail(self, lines=25):
        return tail(self.log, lines)

    def ready(self, timeout=30):
        """The line the program writes to its --ready-fd, parsed if it is JSON."""
        deadline, data = Deadline(timeout), b""
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([self._ready_fd], [], [], deadline.left())
            chunk = os.read(self._ready_fd, 4096) if ready else None
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.proc.wait(1 if ready else 0)
                why = "closed its ready-fd" if ready else f"was not ready in {timeout:g} s"
                raise LabError(f"{self.name} {why} (status {self.proc.poll()})\n{self.tail()}")
            data += chunk
        os.close(self._ready_fd)
        self._ready_fd = None
        line = data.decode(errors="replace").strip()
        try:
            return json.loads(line)
        except ValueError:
            return line

    def wait_log(self, pattern, timeout=30):
        return wait_text(self.log, pattern, timeout, self)

    def wait(self, timeout=30):
        """Waits for the end by itself; returns the exit status."""
        try:
            return self.proc.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {timeout:g} s\n{self.tail()}") from None

    def signal(self, number):
        if self.alive():
            signal.pidfd_send_signal(self.pidfd, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.proc.wait()

    def stop(self, timeout=10):
        """SIGTERM, then SIGKILL. Returns the exit status; harmless when it has ended."""
        if self.alive():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.proc.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.proc.returncode

    def close(self):
        self.stop(5)
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
            _started.discard(self.pid)


_KVM_PROBE = ["qemu-system-x86_64", "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "32",
              "-nodefaults", "-display", "none", "-chardev", "stdio,id=out",
              "-device", "isa-debugcon,iobase=0x402,chardev=out"]


def _kvm_works(prefix):
    """Does firmware really run? /dev/kvm may exist, take ioctls, and still run no guest. Nor does it run a kernel where
    the processor shows no virtualization of its own: a KVM all in software gets through firmware and then hangs."""
    if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
        return False
    with contextlib.suppress(OSError):
        proc = subprocess.Popen(prefix + _KVM_PROBE, stdin=subprocess.DEVNULL, cwd="/",
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                start_new_session=True)
        with proc:
            ready, _, _ = select.select([proc.stdout], [], [], 3)
            said = os.read(proc.stdout.fileno(), 64) if ready else b""
            proc.kill()
        return b"SeaBIOS" in said
    return False


def strays(home, uid):
    """Processes of this user whose HOME is this lab's, other than our own children."""
    mark = b"\0HOME=" + os.fsencode(home) + b"\0"
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{entry}").st_uid not in (uid, 0):
                continue
            with open(f"/proc/{entry}/environ", "rb") as f:
                if mark in b"\0" + f.read() + b"\0":
                    found.append(int(entry))
    return found


_started = set()    # every pid a lab of this process started: those have a Popen that waits


def reap_adopted():
    """Reaps orphans that came to us as subreaper: daemons of libvirt and swtpm_setup."""
    me, session = os.getpid(), os.getsid(0)
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(entry)}/stat") as f:
                state, ppid, _pgrp, sid = f.read().rpartition(")")[2].split()[:4]
            # Children of others in this process share its session; adopted ones never do.
            if state == "Z" and int(ppid) == me and int(sid) != session \
                    and int(entry) not in _started:
                os.waitpid(int(entry), os.WNOHANG)


def sweep(home, uid, timeout=5.0):
    """Ends what the lab's children left behind (libvirt's QEMUs and swtpms), and waits for it."""
    deadline = Deadline(timeout)
    while True:
        pids = strays(home, uid)
        if not pids:
            reap_adopted()
            return True
        fds = []
        for pid in pids:
            with contextlib.suppress(OSError):
                fd = os.pidfd_open(pid)
                fds.append(fd)
                if pid in strays(home, uid):    # still the same process behind the number
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
        for fd in fds:
            select.select([fd], [], [], deadline.left())
            os.close(fd)
        reap_adopted()
        if deadline.expired():
            return False


class Lab:
    """`with Lab() as lab:`; keep=True leaves the directory (never the processes)."""

    def __init__(self, keep=False, prefix="lt"):
        base = os.environ.get("TMPDIR", "/tmp")
        if len(base) > 32 or not os.path.isdir(base):
            base = "/tmp"
        self.keep = keep
        self._guard = None
        self._children = []
        self._labels = {}
        self._kvm = None
        self._stack = contextlib.ExitStack()
        if os.geteuid() == 0:
            who = pwd.getpwnam("nobody")
            self.uid, self.gid = who.pw_uid, who.pw_gid
            self._drop = [f"--reuid={self.uid}", f"--regid={self.gid}"]
        else:
            self.uid, self.gid = os.geteuid(), os.getegid()
            self._drop = []
        self.dir = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        # Searchable, so that programs run by others can reach sockets they are given; not listable.
        os.chmod(self.dir, 0o711)
        os.chown(self.dir, self.uid, self.gid)
        self.home = self.path("h", directory=True)
        self.path("log", directory=True)
        env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.path("r", directory=True)),
            "XDG_CONFIG_HOME": str(self.path("c", directory=True)),
            "XDG_CACHE_HOME": str(self.path("k", directory=True)),
            "XDG_DATA_HOME": str(self.path("d", directory=True)),
            "TMPDIR": str(self.path("t", directory=True)),
        }
        self.env = env | {k: v for k, v in os.environ.items() if _PASS_ENV.match(k)}

    # -- life

    def __enter__(self):
        # Orphans of our children (libvirt daemonises QEMU and swtpm) come to us, to be reaped.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # If we are killed outright, the guard's pipe closes and it cleans up in our place.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", Path(__file__).with_name("guard.py"), str(self.dir),
             str(self.home), str(self.uid), str(int(self.keep))],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/")
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with _no_interruption():
            self._stack.close()
            for child in reversed(self._children):
                child.close()
            clean = sweep(str(self.home), self.uid)
            if not self.keep:
                shutil.rmtree(self.dir, ignore_errors=True)
            if self._guard is not None:
                self._guard.kill()
                self._guard.stdin.close()
                self._guard.wait()
                self._guard = None
            if not clean:
                raise LabError(f"processes of {self.dir} would not end: "
                               f"{strays(str(self.home), self.uid)}")

    def on_close(self, function, *args):
        self._stack.callback(function, *args)

    # -- files

    def path(self, *parts, directory=False):
        """A path in the lab; parents are made, owned by the lab's user, mode 0700."""
        path = self.dir.joinpath(*parts)
        wanted = [p for p in reversed(path.parents) if self.dir in p.parents]
        for each in wanted + ([path] if directory else []):
            if not each.exists():
                each.mkdir(0o700)
                os.chown(each, self.uid, self.gid)
        return path

    def write(self, name, data, mode=0o600):
        """Writes a file of the lab's user; returns its path."""
        path = self.path(*Path(name).parts)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(fd, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
        os.chmod(path, mode)
        os.chown(path, self.uid, self.gid)
        return path

    def install(self, source, name=None):
        """Copies a program to where the lab's user can run it (a checkout in /root is not)."""
        source = Path(source)
        path = self.path("bin", name or source.name)
        if not path.exists():
            shutil.copyfile(source, path)
            os.chmod(path, 0o755)
            os.chown(path, self.uid, self.gid)
        return path

    # -- processes

    @property
    def kvm(self):
        """True if the lab's user can really run guests under KVM (tried once)."""
        if self._kvm is None:
            self._kvm = os.path.exists("/dev/kvm") and _kvm_works(self.argv([], kvm=True))
        return self._kvm

    def argv(self, argv, kvm=False):
        groups = []
        if self._drop:
            group = os.stat("/dev/kvm").st_gid if kvm else 0
            groups = [f"--groups={group}"] if group else ["--clear-groups"]
        return ["setpriv", *self._drop, *groups, "--pdeathsig", "KILL", "--", *map(str, argv)]

    def spawn(self, name, argv, ready_fd=False, env=None, cwd=None, stdin=None, kvm=False,
              before=()):
        """Starts a child as the lab's user. With ready_fd, `--ready-fd N` is appended. before: a command that runs
        first, as ourselves, and then the rest of its arguments."""
        argv, pass_fds, read_end, write_end = list(argv), (), None, None
        if ready_fd:
            read_end, write_end = os.pipe()
            argv += ["--ready-fd", str(write_end)]
            pass_fds = (write_end,)
        count = self._labels[name] = self._labels.get(name, 0) + 1
        log = self.dir / "log" / (f"{name}.log" if count == 1 else f"{name}.{count}.log")
        try:
            with open(log, "wb") as out:
                proc = subprocess.Popen(
                    [*map(str, before), *self.argv(argv, kvm)], stdin=subprocess.DEVNULL if stdin is None else stdin,
                    stdout=out, stderr=out, env=self.env | (env or {}), cwd=cwd or self.dir,
                    pass_fds=pass_fds, start_new_session=True)     # the terminal's ^C is not for it
        except BaseException:
            if read_end is not None:
                os.close(read_end)
            raise
        finally:
            if write_end is not None:
                os.close(write_end)
        _started.add(proc.pid)
        child = Child(name, proc, log, read_end)
        self._children.append(child)
        return child

    def run(self, argv, input=None, timeout=60, check=True, env=None, cwd=None):
        """Runs a program to its end as the lab's user; returns CompletedProcess (text)."""
        proc = subprocess.Popen(
            self.argv(argv), stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env | (env or {}),
            cwd=cwd or self.dir, text=True, start_new_session=True)
        _started.add(proc.pid)
        try:
            out, err = proc.communicate(input, timeout * SLOW)
        except BaseException as error:
            proc.kill()
            proc.communicate()
            _started.discard(proc.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"{argv[0]} still ran after {timeout:g} s") from None
            raise
        _started.discard(proc.pid)
        if check and proc.returncode:
            raise LabError(f"{' '.join(map(str, argv))}: status {proc.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(argv, proc.returncode, out, err)

