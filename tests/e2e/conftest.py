"""End to end: real libvirt, real QEMU guests, real vTPMs, a real TPM command stream behind AK_h."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.federation import Federation  # noqa: E402
from tests.lab.middle import Middle  # noqa: E402


@pytest.fixture(scope="session")
def build():
    path = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
    if not (path / "bin/limetree").exists():
        pytest.fail(f"{path} holds no build; run scripts/test --e2e")
    return path


@pytest.fixture(scope="session")
def cache():
    return TOP / ".cache"


@pytest.fixture(scope="module")
def lab():
    if not shutil.which("virsh") or not os.path.exists("/usr/sbin/libvirtd"):
        pytest.skip("libvirt is not installed (scripts/setup)")
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def fed(lab, build, cache):
    """A federation with two guests, trusted; fed.middle stands between tenant and provider."""
    federation = Federation(lab, build, cache, quote_delay_ms=165, progress=print).up(tenant=False)
    with contextlib.closing(Middle(federation.provider_url, federation.pki)) as federation.middle:
        federation.start_tenant(federation.middle.url)
        guests = federation.boot(2)
        federation.registered(guests)
        federation.adopt(guests)
        since = federation.ask()
        for guest in guests:
            federation.wait_result(guest, "trusted", since=since)
        yield federation


def processes(base):
    """Whoever has that directory in his arguments or environment."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and any(base.encode() in Path(f"/proc/{entry}/{f}").read_bytes()
                                       for f in ("cmdline", "environ")):
                found.append((entry, Path(f"/proc/{entry}/comm").read_text().strip()))
    return found


@pytest.fixture
def demo_env():
    """The demo's environment, with a TMPDIR of its own: afterwards it is empty, and nobody is left who knows it."""
    base = tempfile.mkdtemp(prefix="lt")
    os.chmod(base, 0o711)
    yield os.environ | {"TMPDIR": base}
    assert processes(base) == []
    os.rmdir(base)
