"""The full appraisal on real guests: a foreign program, and a host whose IMA list lacks one of the four."""

import pytest

from tests.lab.federation import ACCEPT, Federation

FOREIGN = "/usr/bin/not-in-the-policy"


@pytest.fixture(scope="module")
def fed(lab, build, cache):
    """swtpm was never measured on this host."""
    federation = Federation(lab, build, cache, quote_delay_ms=0, progress=print, unmeasured=["swtpm"]).up()
    guests = federation.boot(2)
    federation.registered(guests)
    federation.adopt(guests, accept=f"{ACCEPT},boot-only")
    for guest in guests:
        federation.cli("guest", "round", guest.uuid)
        federation.wait_result(guest, "trusted")
    return federation


def test_boot_only_without_swtpm_in_the_list(fed):
    for guest in fed.guests:
        verdict = fed.show(guest)["verdict"]
        assert verdict["host_level"] == "boot-only"
        reasons = [n["message"] for n in verdict["not_made"] if n["check"] == "host-policy"]
        assert any("swtpm" in r for r in reasons), reasons
        assert not any("libvirtd" in r or "qemu" in r for r in reasons), reasons


def test_a_foreign_program_fails_its_guest_alone(fed):
    guest, innocent = fed.guests
    guest.sh(f"cp /bin/busybox {FOREIGN} && echo changed >>{FOREIGN} && ln -sf {FOREIGN} /run/true && /run/true")
    fed.cli("guest", "round", "--all")
    verdict = fed.wait_result(guest, "failed", "guest-policy")
    assert [f["check"] for f in verdict["failed"]] == ["guest-policy"]
    message = verdict["failed"][0]["message"]
    assert FOREIGN in message and "IMA entry" in message and "learnt" in message, message
    fed.wait_result(innocent, "trusted")
    # After a restart its list begins anew, and so does the replay.
    guest.reset()
    guest.wait_serial("LT-GUEST: agent started")
    fed.cli("guest", "clear", guest.uuid)
    fed.cli("guest", "round", guest.uuid)
    fed.wait_result(guest, "trusted")


def test_a_file_of_the_policy_that_was_changed(fed):
    """The name is known, its contents are not: the digest is named too."""
    guest, innocent = fed.guests
    guest.sh("echo >>/lib/modules/order && cat /lib/modules/order")
    fed.cli("guest", "round", "--all")
    message = fed.wait_result(guest, "failed", "guest-policy")["failed"][0]["message"]
    assert "(/lib/modules/order)" in message and "sha256:" in message, message
    fed.wait_result(innocent, "trusted")


def test_host_runs_a_program_of_no_layer(fed):
    """Entries the host's policy does not allow are no level, but a failure of every guest's check 7."""
    extra = fed.lab.write("stranger", "#!/bin/sh\nexit 0\n", 0o755)
    fed.measure(extra)
    guest = fed.guests[1]
    fed.cli("guest", "round", guest.uuid)
    verdict = fed.wait_result(guest, "failed", "host-policy")
    assert "stranger" in verdict["failed"][0]["message"]
