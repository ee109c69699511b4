"""Domains with a sealed vTPM on one host: `limetree domain`, libvirt's hook, and what is left in libvirtd.

A private session libvirtd, swtpm as the chip, bare domains that are started paused. The tests share them; each has a
domain of its own.
"""

import json
import os
import shutil
import signal
import socket
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from agentkit import TOP, Ca, Https, options
from tests.lab import Lab
from tests.lab.hwtpm import HwTpm
from tests.lab.libvirtd import Libvirtd
from tests.lab.procs import Deadline
from tests.lab.sealed import sealed_xml, secret_uuid

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
STATE = "tpm2-00.permall"
SEALED, BORN = 16 | 32, 16
V1 = "/federation/v1"


def program(name):
    for where in ("bin", "tests/support", "tests/unit"):
        if (BUILD / where / name).exists():
            return BUILD / where / name
    pytest.fail(f"{BUILD}: no {name}; run scripts/test --integration")


class Place:
    """A host: chip, libvirtd (with our hook where that can be had), agent with an open vault."""

    def __init__(self, lab):
        self.lab, self.tpm = lab, HwTpm(lab).start(boot_log=None)
        self.agent_program, self.limetree = lab.install(program("limetree-agent")), lab.install(program("limetree"))
        self.socket, self.hooked = lab.path("agent.sock"), Libvirtd.hooks_work()
        self.ca = Ca(lab, "federation-ca")
        self.base = {"role": "host", "seal_checks": "none", "tcti": self.tpm.tcti, "state_dir": lab.path("hs")}
        self.virt = Libvirtd(lab, hook=self.hook() if self.hooked else None).start()
        self.command("--anchor")
        host = json.loads(self.command("--identity", "--json"))["host"]
        self.cert = self.ca.issue("host", "host", host=host)
        self.start()
        provider = Https(self.address, self.ca.cert.read_text(), self.ca.issue("provider", role="provider"))
        status, vault, _ = provider.post(f"{V1}/vault/seal", {})
        assert status == 201 and vault["state"] == "open", vault

    def hook(self):
        text = (TOP / "deploy/libvirt/limetree").read_text()
        assert text.count("limetree domain hook") == 1
        return self.lab.write("hook", text.replace(
            "limetree domain hook", f"{self.limetree} domain hook --socket {self.socket}"), 0o755)

    def command(self, *flags):
        return self.lab.run([self.agent_program, *flags, *options(**self.base)]).stdout

    def options(self):
        return options(**self.base, listen="127.0.0.1:0", cert=self.cert[0], key=self.cert[1], client_ca=self.ca.cert,
                       libvirt_uri=self.virt.uri, local_socket=self.socket,
                       swtpm_setup_config=self.virt.config_dir / "swtpm_setup.conf",
                       ima=self.lab.path("no-ima"), boot_log=self.lab.path("no-boot-log"))

    def start(self, agent=None, env=None):
        self.agent = self.lab.spawn("host-agent", [agent or self.agent_program, *self.options()], ready_fd=True, env=env)
        if not env:
            self.address = self.agent.ready(60)["listen"]

    def restart(self):
        self.agent.stop()
        self.start()

    def raw(self, verb, *args, check=False, timeout=60):
        return self.lab.run([self.limetree, "domain", verb, *args, "--socket", self.socket, "--json"], check=check,
                            timeout=timeout)

    def domain(self, verb, *args):
        return json.loads(self.raw(verb, *args, check=True).stdout)

    def refused(self, *words, status=1, says=""):
        done = self.raw(*words)
        assert done.returncode == status and says in done.stderr, (done.returncode, done.stderr)
        assert done.stderr.startswith(f"limetree: domain {words[0]}: ") and done.stderr.count("\n") == 1
        return done.stderr

    def secrets(self):
        return self.virt.virsh("secret-list").split()

    def guest(self, name, **kwargs):
        return self.virt.guest(name, **kwargs)

    def define(self, guest, *args):
        return self.domain("define", self.lab.write(f"g/{guest.name}/plain.xml", guest.xml()), *args)

    def sealed(self, name, *args):
        guest = self.guest(name)
        self.define(guest, *args)
        assert self.domain("provision", guest.uuid)["made"] is True
        return guest

    def listed(self, guest, flags):
        """Its line of --inventory, which the running agent is asked for, once it has these flags."""
        deadline = Deadline(30)
        while True:
            report = json.loads(self.lab.run([self.agent_program, "--inventory", "--json", *self.options()]).stdout)
            mine = next((d for d in report["domains"] if d["uuid"] == guest.uuid), {})
            if mine.get("listed") and mine["flags"] & SEALED == flags:
                return mine
            assert not deadline.expired(), report
            time.sleep(0.05)

    def state(self, guest):
        return self.virt.swtpm_dir / guest.uuid / "tpm2" / STATE


@pytest.fixture(scope="module")
def place():
    with Lab(prefix="ltd") as lab:
        yield Place(lab)


@pytest.fixture
def hooked(place):
    if not place.hooked:
        pytest.skip("no mount namespace for another /etc/libvirt here")
    return place


def test_from_definition_to_record(place):
    guest = place.guest("first")
    made = place.define(guest)
    assert made == {"uuid": guest.uuid, "secret": secret_uuid(guest.uuid), "autostart": False}
    defined = ET.fromstring(place.virt.virsh("dumpxml", "first"))
    assert [e.get("secret") for e in defined.iterfind("devices/tpm/backend/encryption")] == [made["secret"]]
    # Nothing runs before there is a vTPM, and libvirt makes none.
    place.refused("start", guest.uuid, says="limetree domain provision")
    assert not place.state(guest).exists()
    made = place.domain("provision", guest.uuid)
    assert made["made"] is True and len(made["ek_digest"]) == len(made["openers"]) == 64
    before = place.state(guest).read_bytes()
    assert before[:2] + before[4:6] == b"\2\1\0\x09"        # libvirt's swtpm wants exactly this: sealed from the first byte
    again = place.domain("provision", guest.uuid)
    assert again == made | {"made": False} and place.state(guest).read_bytes() == before
    place.domain("start", guest.uuid, "--paused")
    assert guest.state() == "paused"
    assert place.secrets() == []
    assert place.listed(guest, SEALED)["ek_digest"] == made["ek_digest"]
    place.refused("start", guest.uuid, says="it runs already")
    place.refused("provision", guest.uuid, says="it runs")
    guest.destroy()
    # A running swtpm writes under the same key; the second start finds the same vTPM.
    place.domain("start", guest.uuid, "--paused")
    assert place.listed(guest, SEALED)["ek_digest"] == made["ek_digest"]
    guest.destroy()


def test_by_libvirt_through_the_hook(hooked):
    guest = hooked.sealed("hooked")
    started = time.monotonic()
    hooked.virt.virsh("start", "hooked", "--paused")
    assert guest.state() == "paused" and time.monotonic() - started < 30
    assert hooked.secrets() == []
    hooked.listed(guest, SEALED)
    guest.destroy()
    # The agent's own start goes through the hook as well, which then has nothing to do.
    hooked.domain("start", guest.uuid, "--paused")
    assert hooked.secrets() == []
    guest.destroy()


def test_managed_save_through_the_hook(hooked):
    """libvirt restores the image by itself at a start: whose volatile state that is, nobody knows until a cold one."""
    guest = hooked.sealed("managed")
    hooked.virt.virsh("start", "managed", "--paused")
    hooked.listed(guest, SEALED)
    hooked.virt.virsh("managedsave", "managed")
    hooked.refused("start", guest.uuid, says="save image")
    hooked.virt.virsh("start", "managed", "--paused")
    assert guest.state() == "paused" and hooked.secrets() == []
    restored = hooked.listed(guest, BORN)
    hooked.virt.virsh("resume", "managed")
    hooked.virt.virsh("suspend", "managed")
    hooked.restart()                            # nor does an agent that knows nothing of the start take it for a cold one
    assert hooked.listed(guest, BORN)["ek_digest"] == restored["ek_digest"]
    guest.destroy()
    hooked.virt.virsh("start", "managed", "--paused")
    assert hooked.listed(guest, SEALED)["ek_digest"] == restored["ek_digest"]
    guest.destroy()


def test_hook_refuses_what_the_agent_refuses(hooked):
    guest = hooked.guest("unmade")
    hooked.define(guest)
    done = hooked.lab.run(["virsh", "-c", hooked.virt.uri, "start", "unmade"], check=False)
    assert done.returncode and "limetree domain provision" in done.stderr
    assert not hooked.state(guest).exists() and hooked.secrets() == []


@pytest.mark.parametrize("silent", ["ended", "stopped"])
def test_hook_whose_agent_is_silent(hooked, silent):
    guest, other = hooked.sealed(f"silent-{silent}"), hooked.guest(f"plain-{silent}")
    if silent == "ended":
        hooked.agent.stop()
    else:
        hooked.agent.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        done = hooked.lab.run(["virsh", "-c", hooked.virt.uri, "start", guest.name], check=False)
        assert time.monotonic() - started < 10
        assert done.returncode and "its vTPM is sealed, and it gets no key" in done.stderr and "agent" in done.stderr
        assert guest.state() == "shut off"
        # It is nobody else's affair.
        other.start(paused=True)
        other.destroy()
    finally:
        if silent == "ended":
            hooked.start()
        else:
            hooked.agent.signal(signal.SIGCONT)
    hooked.virt.virsh("start", guest.name, "--paused")
    guest.destroy()


@pytest.mark.parametrize("operation", [("prepare", "begin"), ("started", "begin"), ("release", "end")])
def test_hook_lets_pass_what_it_cannot_read(place, operation):
    """A failure of `started` would end a guest that runs."""
    for xml in (f"<domain>{' ' * (4 << 20)}</domain>", "", "<domain"):
        done = place.lab.run([place.limetree, "domain", "hook", "any", *operation, "--socket", place.socket], input=xml)
        assert done.returncode == 0


def test_secret_of_another_domain_is_not_ours(hooked):
    """An encrypted vTPM of somebody's own passes the hook, which gives it nothing."""
    guest = hooked.guest("foreign")
    path = hooked.lab.write("g/foreign/enc.xml", sealed_xml(guest.xml(), secret_uuid("0" * 8)))
    hooked.virt.virsh("define", str(path))
    done = hooked.lab.run(["virsh", "-c", hooked.virt.uri, "start", "foreign"], check=False)
    assert done.returncode and "limetree" not in done.stderr and "secret" in done.stderr.lower()
    hooked.refused("start", guest.uuid, says="limetree domain define")


def test_pins(place):
    guest = place.sealed("pinned")
    place.refused("pin", guest.uuid, says="does not run")
    place.domain("start", guest.uuid, "--paused")
    mine = place.listed(guest, SEALED)
    pinned = place.domain("pin", guest.uuid)
    assert (pinned["firmware"], pinned["domain"]) == (mine["firmware"], mine["domain"])
    guest.destroy()
    place.domain("start", guest.uuid, "--paused")           # with what is pinned
    guest.destroy()
    if place.hooked:
        place.virt.virsh("start", "pinned", "--paused")
        guest.destroy()
    changed = place.lab.write("g/pinned/changed.xml", place.virt.virsh("dumpxml", "pinned").replace("tpm-crb", "tpm-tis"))
    place.virt.virsh("define", str(changed))
    place.refused("start", guest.uuid, says="its domain digest is")
    if place.hooked:
        done = place.lab.run(["virsh", "-c", place.virt.uri, "start", "pinned"], check=False)
        assert done.returncode and "its domain digest is" in done.stderr
    assert place.secrets() == [] and guest.state() == "shut off"
    place.domain("pin", guest.uuid, "--clear")
    place.domain("start", guest.uuid, "--paused")
    guest.destroy()


def test_existing_vtpm_is_replaced_by_name_only(place):
    guest = place.guest("old")
    guest.start(paused=True)
    guest.destroy()
    before = place.state(guest).read_bytes()
    place.define(guest)
    place.refused("provision", guest.uuid, says="--convert")
    place.refused("start", guest.uuid, says="limetree domain provision")
    assert place.state(guest).read_bytes() == before
    made = place.domain("provision", guest.uuid, "--convert")
    assert made["made"] is True and place.state(guest).read_bytes() != before
    place.domain("start", guest.uuid, "--paused")
    assert place.listed(guest, SEALED)["ek_digest"] == made["ek_digest"]
    guest.destroy()


def test_lost_state_is_not_made_up_for(place):
    guest = place.sealed("lost")
    kept = place.state(guest).read_bytes()
    shutil.rmtree(place.state(guest).parent.parent)
    place.refused("start", guest.uuid)
    place.refused("provision", guest.uuid, says="put the file back")
    place.lab.write(str(place.state(guest).relative_to(place.lab.dir)), kept)
    assert place.domain("provision", guest.uuid)["made"] is False
    place.domain("start", guest.uuid, "--paused")
    guest.destroy()


@pytest.mark.parametrize("what, says", [("plain", "state-plain"), ("flip", "state-foreign-key"),
                                        ("volatile", "state-volatile")])
def test_planted_state_starts_nothing(place, what, says):
    guest = place.sealed(f"planted-{what}")
    raw = bytearray(place.state(guest).read_bytes())
    relative = str(place.state(guest).relative_to(place.lab.dir))
    if what == "plain":
        raw[4:6] = b"\0\0"
    elif what == "flip":
        raw[len(raw) // 2] ^= 1
    else:
        place.lab.write(relative.replace("permall", "volatilestate"), b"x")
    place.lab.write(relative, bytes(raw))
    place.refused("start", guest.uuid, says=says)
    if place.hooked:
        done = place.lab.run(["virsh", "-c", place.virt.uri, "start", guest.name], check=False)
        assert done.returncode and "its vTPM is sealed, and it gets no key" in done.stderr
    assert guest.state() == "shut off" and place.secrets() == []


def test_autostart_is_the_agents(place):
    guest = place.sealed("auto")
    place.virt.virsh("autostart", "auto")
    place.refused("start", guest.uuid, says="autostart --disable")
    place.refused("define", place.lab.path("g/auto/plain.xml"), says="autostart --disable")
    place.virt.virsh("autostart", "--disable", "auto")
    assert place.define(guest, "--autostart")["autostart"] is True
    place.restart()
    place.listed(guest, SEALED)
    assert place.secrets() == []
    assert place.define(guest)["autostart"] is False        # for the next time
    guest.destroy()
    place.restart()
    assert guest.state() == "shut off"


def test_definition_that_libvirt_lost(place):
    """As on a host whose libvirt keeps its definitions on a tmpfs."""
    guest = place.sealed("forgotten")
    place.virt.virsh("undefine", "forgotten", "--keep-tpm")
    place.domain("start", guest.uuid, "--paused")
    place.listed(guest, SEALED)
    guest.destroy()


def test_libvirtd_that_restarts(place):
    guest = place.sealed("restarted")
    place.domain("start", guest.uuid, "--paused")
    place.virt.stop()
    done = place.raw("start", guest.uuid)
    assert done.returncode == 4 and "libvirt" in done.stderr, done.stderr
    place.virt.start()
    place.listed(guest, SEALED)
    assert place.secrets() == []
    guest.destroy()
    place.domain("start", guest.uuid, "--paused")
    assert place.secrets() == []
    guest.destroy()


def test_key_left_by_a_killed_agent(place):
    """What an agent that was killed had lent is taken back by the next one, before it lends anything."""
    guest = place.sealed("left")
    xml = place.lab.write("left.xml", f"<secret ephemeral='yes' private='yes'><uuid>{secret_uuid(guest.uuid)}</uuid>"
                          f"<usage type='vtpm'><name>limetree:{guest.uuid}</name></usage></secret>")
    place.agent.stop()
    place.virt.virsh("secret-define", str(xml))
    assert secret_uuid(guest.uuid) in place.secrets()
    place.start()
    place.domain("start", guest.uuid, "--paused")
    assert place.secrets() == []
    guest.destroy()


@pytest.mark.parametrize("point", ["provision-made", "provision-escrowed", "provision-committed", "provision-installed"])
def test_provision_again_after_a_kill(place, point):
    guest = place.guest(f"killed-{point}")
    place.define(guest)
    place.agent.stop()
    place.start(place.lab.install(program("limetree-agent-faults")), {"LT_FAULT": point})
    place.agent.ready(60)
    done = place.raw("provision", guest.uuid)
    assert done.returncode == 4, done
    place.start()
    made = place.domain("provision", guest.uuid)
    assert made["made"] is (point != "provision-installed")
    place.domain("start", guest.uuid, "--paused")
    assert place.listed(guest, SEALED)["ek_digest"] == made["ek_digest"]
    assert place.secrets() == []
    guest.destroy()


@pytest.mark.parametrize("point", ["start-checked", "start-secret", "start-created", "start-dropped"])
def test_start_again_after_a_kill(place, point):
    guest = place.sealed(f"killed-{point}")
    place.agent.stop()
    place.start(place.lab.install(program("limetree-agent-faults")), {"LT_FAULT": point})
    place.agent.ready(60)
    assert place.raw("start", guest.uuid, "--paused").returncode == 4
    running = guest.state() != "shut off"
    assert running is (point in ("start-created", "start-dropped"))
    place.start()
    if not running:
        place.domain("start", guest.uuid, "--paused")
    place.listed(guest, SEALED)
    deadline = Deadline(10)
    while place.secrets():
        assert not deadline.expired()
        time.sleep(0.05)
    guest.destroy()


def test_one_operation_at_a_time(place):
    """The second one is told so, and to come again."""
    both = [place.guest("slow"), place.guest("slower")]
    for guest in both:
        place.define(guest)
    children = {g.uuid: place.lab.spawn("provision", [place.limetree, "domain", "provision", g.uuid, "--socket", place.socket])
                for g in both}
    status = {uuid: child.wait(60) for uuid, child in children.items()}
    assert sorted(status.values()) == [0, 4]
    made, refused = sorted(children, key=status.get)
    assert f"provision of domain {made} is under way" in children[refused].tail()
    assert place.domain("provision", refused)["made"] is True


def test_socket_is_private(place):
    assert place.socket.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(place.socket))
        s.sendall(b"GET /local/v1/vault HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reply = b""
        while part := s.recv(65536):
            reply += part
    assert reply.startswith(b"HTTP/1.1 200") and b'"state":"open"' in reply
    key_file = list(place.lab.dir.rglob("vault"))
    assert key_file and all(p.stat().st_mode & 0o077 == 0 for p in key_file)
