"""limetree-tenant with real agents on fresh swtpms and a real provider, and no virtual machine.

Nothing is resident anywhere, so the host's part of the chain cannot stand: what must hold is that the guest's part
does, that trouble is never a verdict, and that nothing is forgotten. The whole chain is tests/e2e's business.
"""

import json
import os
import ssl
import sys
import urllib.request
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
GUEST_CHECKS = {"guest-quote", "guest-clock"}


class Bare(Federation):
    """libvirt's test driver has one domain and no vTPM: the inventory is complete and empty."""

    def start_libvirt(self):
        self.virt = SimpleNamespace(uri="test:///default", env={})


class Guest:
    def __init__(self, lab, fed, name):
        self.lab, self.fed, self.name, self.uuid = lab, fed, name, str(uuid.uuid4())
        self.chip = HwTpm(lab, name).start(boot_log=None)
        self.agent = None

    def start(self, listen="127.0.0.1:0"):
        state = self.lab.path(f"{self.name}-state", directory=True)
        self.agent = self.lab.spawn(f"{self.name}-agent", [
            self.fed.program["limetree-agent"], "-o", "role=guest", "-o", f"tcti={self.chip.tcti}", "-o",
            f"listen={listen}", "-o", f"state_dir={state}", "-o", f"registrar={self.fed.registrar_url}", "-o",
            f"client_ca={self.fed.pki}/tenant-ca.crt", "-o", f"uuid={self.uuid}"], ready_fd=True)
        self.address = self.agent.ready(60)["listen"]
        self.agent.wait_log(r"registered", 60)
        return self


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="ltt") as lab:
        fed = Bare(lab, BUILD, quote_delay_ms=0, tenant_options=["period_s=2"]).up()
        fed.guests = [Guest(lab, fed, f"guest{i}").start() for i in range(3)]
        yield fed


def test_registered_is_not_attested(fed):
    listed = {g["uuid"]: g for g in fed.cli("guest", "list")["guests"]}
    for guest in fed.guests:
        g = listed[guest.uuid]
        assert g["registered"] and not g["added"] and g["verdict"] is None
        assert g["address"] == guest.address


def test_the_registrar_speaks_keylime(fed):
    context = ssl.create_default_context(cafile=f"{fed.pki}/tenant-ca.crt")
    context.check_hostname = False
    context.load_cert_chain(f"{fed.pki}/tenant-client.crt", f"{fed.pki}/tenant-client.key")
    base = fed.registrar_tls_url

    def get(path):
        with urllib.request.urlopen(base + path, context=context, timeout=10) as reply:
            return json.load(reply)["results"]
    assert get("/version")["current_version"] == "2.6"
    assert {g.uuid for g in fed.guests} <= set(get("/v2.6/agents/")["uuids"])
    agent = get(f"/v2.1/agents/{fed.guests[0].uuid}")
    assert agent["regcount"] == 1 and agent["ekcert"] and agent["mtls_cert"].startswith("-----BEGIN")
    with pytest.raises(OSError):
        context = ssl.create_default_context(cafile=f"{fed.pki}/tenant-ca.crt")
        context.check_hostname = False
        get("/v2.6/agents/")


def test_a_guest_that_is_nowhere_is_not_failed(fed):
    for guest in fed.guests:
        fed.cli("guest", "assign", guest.uuid, fed.tenant_id)
        fed.cli("guest", "add", guest.uuid)
    for guest in fed.guests:
        verdict = fed.wait_verdict(guest, lambda v: GUEST_CHECKS <= set(v["passed"]), f"a quote of {guest.name}")
        assert verdict["result"] in ("unreachable", "unchecked") and verdict["failed"] == []
        checks = set(verdict["passed"]) | {n["check"] for n in verdict["not_made"]}
        assert len(checks) == 11
        bundle = fed.bundle(guest)
        assert bundle["guest"]["uuid"] == guest.uuid and "host" not in bundle
        learn = fed.cli_raw("guest", "learn", guest.uuid, check=False)
        assert learn.returncode != 0


def test_an_agent_that_dies_and_comes_back(fed):
    guest = fed.guests[0]
    guest.agent.stop()
    verdict = fed.wait_verdict(guest, lambda v: not v["passed"], "the dead agent")
    assert verdict["result"] == "unreachable" and verdict["failed"] == []
    guest.start()          # at another port: it registers anew, and that is where it is asked
    fed.wait_verdict(guest, lambda v: GUEST_CHECKS <= set(v["passed"]), "the agent that came back")


def test_a_tenant_that_is_killed_forgets_nothing(fed):
    guest = fed.guests[1]
    # A clone is started while the original runs on; the tenant has seen the clone's higher reset count.
    clone = HwTpm(fed.lab, "clone", state_from=guest.chip.dir / "state").start(boot_log=None)
    twin = Guest.__new__(Guest)
    twin.lab, twin.fed, twin.name, twin.uuid, twin.chip = fed.lab, fed, guest.name, guest.uuid, clone
    guest.agent.stop()
    twin.start()
    fed.cli("guest", "round", guest.uuid)
    fed.wait_verdict(guest, lambda v: GUEST_CHECKS <= set(v["passed"]), "the clone")
    fed.tenant.kill()
    twin.agent.stop()
    fed.start_tenant()
    guest.start()          # the original's counters lie behind the clone's
    verdict = fed.wait_result(guest, "failed", "guest-clock")
    assert [f["check"] for f in verdict["failed"]] == ["guest-clock"]
    assert json.loads(fed.cli_raw("guest", "show", guest.uuid, "--json").stdout)["verdict"]["result"] == "failed"


def test_a_provider_that_is_gone(fed):
    guest = fed.guests[2]
    fed.provider.stop()
    verdict = fed.wait_verdict(guest, lambda v: v["result"] == "unreachable" and v["passed"], "the missing provider")
    assert verdict["failed"] == []
