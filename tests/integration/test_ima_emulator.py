"""The lab's stand-in for the kernel's IMA: its list replays to the stand-in TPM's PCR 10, whatever happens to it."""

import hashlib
import os
import re
import struct
from pathlib import Path

import pytest

from agentkit import TOP, lab, tpm  # noqa: F401

LINE = re.compile(rb"10 ([0-9a-f]{40}) ima-ng sha256:([0-9a-f]{64}) (.+)")


@pytest.fixture
def emulator(lab):  # noqa: F811
    return lab.install(Path(os.environ.get("LT_BUILD", TOP / "build/dev")) / "tests/support/ima-emulator")


class Host:
    def __init__(self, lab, emulator, tpm):  # noqa: F811
        self.lab, self.emulator, self.tpm, self.list = lab, emulator, tpm, lab.path("ima")

    def measure(self, *paths, check=True):
        return self.lab.run([self.emulator, "--tpm", self.tpm.socket, "--list", self.list, "--measure", *paths],
                            check=check)

    def entries(self):
        """[(template data, path, file digest)], every line's SHA-1 column checked."""
        found = []
        for line in self.list.read_bytes().splitlines():
            template_hash, digest, path = LINE.fullmatch(line).groups()
            digest = bytes.fromhex(digest.decode())
            data = struct.pack("<I", 40) + b"sha256:\0" + digest + struct.pack("<I", len(path) + 1) + path + b"\0"
            assert hashlib.sha1(data).hexdigest().encode() == template_hash
            found.append((data, path.decode(), digest))
        return found

    def replayed(self):
        pcr = bytes(32)
        for data, _, _ in self.entries():
            pcr = hashlib.sha256(pcr + hashlib.sha256(data).digest()).digest()
        return pcr


@pytest.fixture
def host(lab, emulator, tpm):  # noqa: F811
    return Host(lab, emulator, tpm)


def test_list_replays_to_pcr_10(host):
    out = host.measure("/usr/bin/swtpm", "/usr/sbin/libvirtd").stdout
    assert "a part of the lab" in out
    assert host.replayed() == host.tpm.tpm.pcr_read(10)
    entries = host.entries()
    # First the boot aggregate: PCR 0 to 9 of the TPM.
    pcrs = b"".join(host.tpm.tpm.pcr_read(i) for i in range(10))
    assert entries[0][1:] == ("boot_aggregate", hashlib.sha256(pcrs).digest())
    # The programs' libraries too, by their real paths, with their real digests.
    paths = [path for _, path, _ in entries[1:]]
    assert {"/usr/bin/swtpm", "/usr/sbin/libvirtd"} <= set(paths)
    assert any("libtpms.so" in p for p in paths) and any("/libvirt.so" in p for p in paths)
    assert len(paths) == len(set(paths))
    for _, path, digest in entries[1:]:
        assert os.path.realpath(path) == path
        assert hashlib.sha256(Path(path).read_bytes()).digest() == digest


def test_once_for_each_path_and_digest(host):
    program = host.lab.write("prog", "#!/bin/sh\n", 0o755)
    host.measure(program)
    host.measure(program)
    assert [p for _, p, _ in host.entries()] == ["boot_aggregate", str(program)]
    host.lab.write("prog", "#!/bin/sh\nexit 1\n", 0o755)
    host.measure(program)
    assert [p for _, p, _ in host.entries()] == ["boot_aggregate", str(program), str(program)]
    assert host.replayed() == host.tpm.tpm.pcr_read(10)


def test_list_ahead_of_the_pcr_is_caught_up(host):
    """Killed between the two steps: the list has an entry that was not extended."""
    one, two = (host.lab.write(n, n, 0o755) for n in ("one", "two"))
    host.measure(one)
    before = host.list.read_bytes()
    host.measure(two)
    both = host.list.read_bytes()
    host.tpm.reboot(boot_log=None)
    host.measure(one)
    assert host.list.read_bytes() == before
    host.lab.write("ima", both)
    host.measure(one)
    assert host.list.read_bytes() == both
    assert host.replayed() == host.tpm.tpm.pcr_read(10)


def test_a_new_boot_begins_anew(host):
    host.measure("/usr/bin/swtpm")
    host.tpm.reboot()                       # with a boot log: another boot aggregate
    program = host.lab.write("prog", "x", 0o755)
    host.measure(program)
    assert [p for _, p, _ in host.entries()] == ["boot_aggregate", str(program)]
    assert host.replayed() == host.tpm.tpm.pcr_read(10)


def test_a_list_of_somebody_else_is_refused(host):
    host.measure("/bin/true")
    host.tpm.tpm.pcr_extend(10, bytes(32))
    done = host.measure("/bin/false", check=False)
    assert done.returncode == 1 and "do not lead to PCR 10" in done.stderr
    host.lab.write("ima", b"10 nonsense\n")
    done = host.measure("/bin/false", check=False)
    assert done.returncode == 1 and "not a line of ours" in done.stderr


def test_errors_and_usage(host):
    done = host.measure(host.lab.dir / "absent", check=False)
    assert done.returncode == 1 and "absent" in done.stderr
    done = host.measure(check=False)
    assert done.returncode == 2 and "A part of the lab" in done.stderr
    done = host.lab.run([host.emulator, "--tpm", host.lab.dir / "no-socket", "--list", host.list, "--measure", "/bin/true"],
                        check=False)
    assert done.returncode == 1 and "no-socket" in done.stderr
