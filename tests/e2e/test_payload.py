"""A secret in a real guest: V comes after the whole chain is trusted, the payload is unpacked in the guest's memory and
runs; after a boot it is gone, and nothing that was sent before opens."""

import pytest

from tests.lab import GuestImage, Lab
from tests.lab.federation import Federation

TOP = "/run/limetree-agent-*-secure"


class WithPayloads(Federation):
    def guest_conf(self):
        return super().guest_conf() + "run_payload = yes\n"

    def cli_options(self):
        return super().cli_options() | {"registrar_url": getattr(self, "registrar_tls_url", "")}


@pytest.fixture
def federation(build, cache):
    with Lab() as lab:
        fed = WithPayloads(lab, build, cache, progress=print).up()
        fed.image = GuestImage.build(lab, cache, agent=fed.program["limetree-agent"], payloads=True)
        guests = fed.boot(1, memory=384)
        fed.registered(guests)
        fed.adopt(guests)
        since = fed.ask()
        fed.wait_result(guests[0], "trusted", since=since)
        yield fed


def test_a_secret_of_one_boot(federation):
    fed, (guest,) = federation, federation.guests
    fed.lab.path("payload", directory=True)
    fed.lab.write("payload/secret", "of this boot\n")
    fed.lab.write("payload/autorun.sh", "#!/bin/sh\ncp secret /run/copied\n")
    fed.cli_raw("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}", "--payload",
                fed.lab.dir / "payload", "--wait", "-o", "wait_s=120", timeout=180)
    fed.poll(lambda: guest.sh("cat /run/copied", check=False)[1] == b"of this boot\n", 60,
             lambda: fed.serial_tail(guest))
    _, mode = guest.sh(f"stat -c '%a %U' {TOP} {TOP}/unzipped {TOP}/transport.pem {TOP}/unzipped/secret")
    assert mode.split() == b"700 root 700 root 600 root 600 root".split()
    _, key = guest.sh(f"sha256sum {TOP}/transport.pem")

    guest.reset()
    fed.back(guest)
    status, _ = guest.sh(f"ls {TOP}/unzipped", check=False)
    assert status != 0
    _, now = guest.sh(f"sha256sum {TOP}/transport.pem")
    assert now.split()[0] != key.split()[0]
    since = fed.ask()
    fed.wait_result(guest, "trusted", since=since)
    assert guest.sh(f"ls {TOP}/unzipped", check=False)[0] != 0      # trusted again, and given nothing anew by itself
