"""End to end: real libvirt, real QEMU guests, real vTPMs, a real TPM command stream behind AK_h."""

import contextlib
import os
import shutil
import sys
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
