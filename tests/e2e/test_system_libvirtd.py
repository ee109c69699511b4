"""A host whose libvirtd is the system's: root's agent sees QEMU and swtpm of other users."""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.lab import HwTpm

HERE = Path(__file__).resolve().parent
CAP_SYS_ADMIN = 21
# Mount points; those that are not there are made on the machine itself, and taken away again.
DIRECTORIES = ["/etc/libvirt", "/var/lib/libvirt", "/run/libvirt", "/var/cache/libvirt", "/var/log/libvirt"]


def capable():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)
    return False


@pytest.mark.skipif(os.geteuid() != 0 or not capable(), reason="needs root with CAP_SYS_ADMIN: mount namespaces")
def test_inventory_of_a_system_libvirtd(lab, build):
    limetree = build / "bin/limetree"
    root = Path(lab.path("sys"))
    root.mkdir(0o711)
    pki = root / "pki"
    subprocess.run([limetree, "pki", "init", pki], check=True, capture_output=True)
    hw = HwTpm(lab, "syshw").start()
    programs = root / "bin"
    programs.mkdir(0o755)
    for name in ("limetree-agent", "limetree-localca"):
        shutil.copy(build / "bin" / name, programs / name)
    guest = str(uuid.uuid4())
    ours = [d for d in DIRECTORIES if not os.path.exists(d)]
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", HERE / "system-libvirtd.sh", root, programs / "limetree-agent", programs / "limetree-localca",
             guest, pki, hw.tcti], capture_output=True, text=True, timeout=180, check=False)
    finally:
        for directory in ours:
            os.rmdir(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    (domain,) = json.loads(done.stdout)["domains"]
    assert domain["uuid"] == guest and domain["listed"], domain
    assert domain["flags"] & 1 and not domain["flags"] & 64
    # The EK found in the loaded state is the one localca saw at birth.
    births = list((root / "records" / guest).glob("*.json"))
    assert domain["ek_digest"] in [json.loads(b.read_text())["ek_digest"] for b in births]
