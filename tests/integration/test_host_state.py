"""`limetree host list` on real daemons: a host is as its last quote says, and a dead one is not "up" for a moment."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.federation import Federation  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


class Bare(Federation):
    """libvirt's test driver has one domain and no vTPM: the inventory is complete and empty."""

    def start_libvirt(self):
        self.virt = SimpleNamespace(uri="test:///default", env={})


@pytest.fixture
def fed():
    with Lab(prefix="lth") as lab:
        yield Bare(lab, BUILD, quote_delay_ms=0).up(tenant=False)


def state(fed):
    while True:
        (host,) = fed.cli("host", "list")["hosts"]
        assert host["host"] == fed.host
        shown = fed.cli("host", "show", fed.host)
        (after,) = fed.cli("host", "list")["hosts"]
        if (host["state"], host["error"]) == (after["state"], after["error"]):    # it did not change meanwhile
            assert shown["state"] == host["state"] and shown["error"] == host["error"]
            return host


def test_a_killed_agent_and_a_dead_tpm_are_seen_at_once(fed):
    host = state(fed)
    assert host["state"] == "up" and host["error"] is None and host["last_quote_age_ms"] < 10000
    table = fed.cli_raw("host", "list").stdout
    assert "last quote" in table and " s ago" in table and "up" in table

    fed.agent.kill()
    fed.poll(lambda: state(fed)["state"] == "unreachable", 10, lambda: f"unreachable: {state(fed)}")
    host = state(fed)
    assert host["error"]["slug"] and host["error"]["message"]
    table = fed.cli_raw("host", "list").stdout
    assert "unreachable" in table and host["error"]["message"] in table
    changes = [e for e in fed.provider.tail().splitlines() if '"host-state"' in e]
    assert sum("is now unreachable" in e or ": unreachable, was" in e for e in changes) == 1, changes

    # Back at the same address, and its TPM goes.
    fed.start_agent(fed.agent_address)
    fed.poll(lambda: state(fed)["state"] == "up", 30, lambda: f"up: {state(fed)}")
    fed.hw.stop()
    fed.poll(lambda: state(fed)["state"] == "host-tpm", 10, lambda: f"host-tpm: {state(fed)}")
    assert "absent" in state(fed)["error"]["message"]
    done = fed.cli_raw("host", "learn", fed.host, check=False)
    assert done.returncode == 4 and "TPM" in done.stderr


def test_a_boot_that_nobody_measured_is_not_learnt(fed):
    before = state(fed)["policy"]
    fed.hw.reboot(boot_log=None)
    done = fed.cli_raw("host", "learn", fed.host, check=False)
    assert done.returncode == 1 and "PCR 0-7 of the sha256 bank are empty" in done.stderr, done
    assert state(fed)["policy"] == before
    assert json.loads(fed.cli_raw("host", "list", "--json").stdout)["hosts"][0]["state"] == "up"
