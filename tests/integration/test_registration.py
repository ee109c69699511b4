"""A registrar that is lost, and one that is restored from before: its guests heal it by themselves, on real daemons."""

import os
import shutil
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.federation import Federation  # noqa: E402
from tests.lab.hwtpm import HwTpm  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
CHECKS = {"guest-quote", "guest-clock"}


class Bare(Federation):
    """libvirt's test driver has one domain and no vTPM: the inventory is complete and empty."""

    def start_libvirt(self):
        self.virt = SimpleNamespace(uri="test:///default", env={})


class Guest:
    def __init__(self, fed, name):
        self.uuid, self.name = str(uuid.uuid4()), name
        chip = HwTpm(fed.lab, name).start(boot_log=None)
        self.agent = fed.lab.spawn(f"{name}-agent", [
            fed.program["limetree-agent"], "-o", "role=guest", "-o", f"tcti={chip.tcti}", "-o", "listen=127.0.0.1:0",
            "-o", f"state_dir={fed.lab.path(f'{name}-state', directory=True)}", "-o",
            f"registrar={fed.registrar_url}", "-o", f"client_ca={fed.pki}/tenant-ca.crt", "-o", f"uuid={self.uuid}",
            "-o", "register_idle_s=2"], ready_fd=True)
        self.address = self.agent.ready(60)["listen"]
        self.agent.wait_log(r"registered", 60)


@pytest.fixture
def fed():
    with Lab(prefix="ltr") as lab:
        fed = Bare(lab, BUILD, quote_delay_ms=0, tenant_options=["period_s=1"]).up()
        # It comes back where the agents look for it.
        fed.tenant_options = [*fed.tenant_options, f"registrar_listen={fed.registrar_url.removeprefix('http://')}"]
        yield fed


def registered(fed, guest):
    return next((g for g in fed.cli("guest", "list")["guests"] if g["uuid"] == guest.uuid and g["registered"]), None)


def sealed(child):
    """The kernel gives a process that is not dumpable to root: nobody of its user reads its memory."""
    status = Path(f"/proc/{child.proc.pid}/status")
    uid = int(next(line for line in status.read_text().splitlines() if line.startswith("Uid:")).split()[1])
    return uid == 0 or os.stat(f"/proc/{child.proc.pid}/environ").st_uid == 0


def attested(fed, guest):
    fed.cli("guest", "add", guest.uuid)
    fed.wait_verdict(guest, lambda v: CHECKS <= set(v["passed"]), f"a quote of {guest.name}")


def test_a_lost_registrar_is_healed_by_its_guests(fed):
    guests = [Guest(fed, f"guest{i}") for i in range(2)]
    attested(fed, guests[0])        # the other one was never added: nobody asks it
    for child in (fed.provider, fed.tenant, fed.agent, guests[0].agent):
        assert sealed(child), child.name
    first = {g.uuid: registered(fed, g)["address"] for g in guests}
    fed.tenant.kill()
    shutil.rmtree(fed.lab.dir / "tenant")
    fed.start_tenant()
    for guest in guests:
        found = fed.poll(lambda g=guest: registered(fed, g), 60, lambda g=guest: f"registration of {g.name}")
        assert found["address"] == first[guest.uuid] and guest.agent.alive()
    attested(fed, guests[0])        # with nothing restarted in the guest


def test_a_restored_registrar_knows_its_newer_guests_again(fed):
    old = Guest(fed, "old")
    attested(fed, old)
    fed.tenant.stop()
    shutil.copytree(fed.lab.dir / "tenant", fed.lab.dir / "backup")
    fed.start_tenant()
    new = Guest(fed, "new")
    attested(fed, new)
    fed.tenant.stop()
    shutil.rmtree(fed.lab.dir / "tenant")
    shutil.copytree(fed.lab.dir / "backup", fed.lab.dir / "tenant")
    for path in (fed.lab.dir / "tenant", *(fed.lab.dir / "tenant").rglob("*")):
        os.chown(path, fed.lab.uid, fed.lab.gid)
    fed.start_tenant()
    assert registered(fed, old)
    fed.poll(lambda: registered(fed, new), 60, lambda: "registration of new")
    attested(fed, new)
    fed.wait_verdict(old, lambda v: CHECKS <= set(v["passed"]), "a quote of old")
