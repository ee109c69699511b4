"""A verdict's last step: a guest leaves its policy, and programs run in the other guests that act on it. Real agents, a
real tenant and a real provider; the host's half is a mock (tests/lab/mocked.py)."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


@pytest.fixture
def fed():
    with Lab(prefix="ltv") as lab:
        fed = Mocked(lab, BUILD, guests=3, tenant_options=["period_s=1", "gather_ms=200"]).up()
        for guest in fed.guests:
            guest.options = ["run_payload=yes"]
            guest.start()
        fed.adopt(fed.guests)
        fed.ca = lab.dir / "guests-ca"
        lab.run([fed.program["limetree"], "ca", "init", fed.ca, "--url", "http://127.0.0.1:1/guests.crl"])
        for guest in fed.guests:
            fed.wait_result(guest, "trusted")
        yield fed


def said(fed, guest):
    path = fed.lab.path(f"said-{guest.uuid}")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def give(fed, guest):
    out = fed.lab.path(f"said-{guest.uuid}")
    fed.lab.path("payload", directory=True)
    fed.lab.write("payload/action_list", "local_action_drop\n")
    fed.lab.write("payload/local_action_drop", f"#!/bin/sh\n{{ cat \"$1\"; echo; }} >>{out}\n")
    fed.cli_raw("guest", "add", guest.uuid, "--payload", fed.lab.dir / "payload", "--cert", "--wait", "-o",
                f"guests_ca={fed.ca}", "-o", "wait_s=60", timeout=120)
    fed.poll(lambda: "local_action_drop" in guest.unpacked, 30, lambda: guest.agent.tail())


def test_the_others_act(fed):
    bad, good, late = fed.guests
    for guest in (bad, good):
        give(fed, guest)
    begun = time.monotonic()
    bad.chip.tpm.pcr_extend(4, b"\x66" * 32)
    fed.poll(lambda: said(fed, good) and said(fed, bad), 60, lambda: good.agent.tail() + fed.tenant.tail())
    print(f"from the act to the other guest's action: {time.monotonic() - begun:.2f} s")
    for guest in (bad, good):       # the failed one is told, too
        (msg,) = said(fed, guest)
        assert (msg["type"], msg["agent_id"]) == ("revocation", bad.uuid), msg
        assert msg["event_id"] and json.loads(msg["context"]) is not None
    # One that has no payload is told as well, and does nothing for want of a certificate to check it by.
    late.agent.wait_log("RevocationNotifier-cert.crt is here", 30)
    assert not said(fed, late)

    # Once: neither later rounds nor a restart of the agent run it again.
    good.agent.kill()
    good.start()
    rounds = fed.show(good)["verdict"]["batch"]["seq"]
    fed.wait_verdict(good, lambda v: v["batch"] and v["batch"]["seq"] > rounds + 2, "later rounds")
    assert len(said(fed, good)) == 1

    # Failed again after it was cleared is a new one.
    bad.chip.reboot(None)
    fed.cli("guest", "clear", bad.uuid)
    fed.wait_result(bad, "trusted")
    bad.chip.tpm.pcr_extend(4, b"\x77" * 32)
    fed.poll(lambda: len(said(fed, good)) == 2, 60, lambda: good.agent.tail() + fed.tenant.tail())
