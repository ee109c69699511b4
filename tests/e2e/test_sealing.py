"""Attacks on sealed vTPMs in which libvirt, QEMU, swtpm or a state directory takes part (docs/sealing.md section 9).

Domains are started paused: what is tried here is who can open a vTPM's state, and what the host says of it. What a
tenant makes of that is in test_sealing_verdicts.py."""

import base64
import contextlib
import hashlib
import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from tests.lab import BootLog, Libvirtd, vaultfile
from tests.lab.procs import LabError
from tests.lab.sealed import (STATE, SealedFederation, SealedGuest, carry, other_kernel, recovery_key, sealed_xml,
                              secret_uuid, swtpm_runs)

BORN, SEALED = 16, 32
VOLATILE = "tpm2-00.volatilestate"


@pytest.fixture(scope="module")
def fed(lab, build):
    return SealedFederation(lab, build, quote_delay_ms=0, progress=print, hook=Libvirtd.hooks_work()).up(tenant=False)


@pytest.fixture(scope="module")
def hooked(fed):
    if not fed.hook:
        pytest.skip("needs root with CAP_SYS_ADMIN: another /etc/libvirt in a mount namespace")
    return fed


def new(fed, name, provision=True, **kwargs):
    guest = fed.virt.guest(name, kind=SealedGuest, **kwargs)
    return guest.define() if provision else guest


@pytest.fixture(scope="module")
def sealed(fed):
    """A sealed domain that stays; each test leaves it shut off, its state as it was."""
    return new(fed, "sealed")


@pytest.fixture(scope="module")
def plain(fed):
    """A domain of libvirt's own making, shut off: its vTPM's state is plaintext."""
    guest = fed.virt.guest("plain").start(paused=True)
    guest.destroy()
    return guest


@pytest.fixture(scope="module")
def canary(fed):
    guest = fed.virt.guest("canary").start(paused=True)
    guest.destroy()
    return guest


@pytest.fixture(autouse=True)
def all_off(request):
    yield
    if "fed" in request.fixturenames:
        virt = request.getfixturevalue("fed").virt
        for name in virt.domains():
            virt.virsh("destroy", name, check=False)


@contextlib.contextmanager
def at_rest(guest):
    """The state directory may be changed, and is as it was afterwards."""
    kept = {p.name: p.read_bytes() for p in guest.vtpm_state.iterdir()}
    try:
        yield guest.vtpm_state
    finally:
        for path in guest.vtpm_state.iterdir():
            path.unlink() if not path.is_dir() or path.is_symlink() else shutil.rmtree(path)
        for name, raw in kept.items():
            put(guest, name, raw)


def put(guest, name, raw):
    guest.lab.write(str((guest.vtpm_state / name).relative_to(guest.lab.dir)), raw)


def listed(fed, guest, timeout=30):
    return fed.poll(lambda: fed.residents().get(guest.uuid), timeout, lambda: f"the record of {guest.name}")


def not_sealed(fed, guest, canary):
    """The host has made up its mind about the running domain, and calls it neither born nor sealed, if it lists it at
    all. canary: a domain that is started after it, and looked at after it."""
    canary.start(paused=True)
    listed(fed, canary)
    bytes_ = fed.residents().get(guest.uuid)
    assert bytes_ is None or flags(bytes_) & (BORN | SEALED) == 0, bytes_.hex()
    canary.destroy()


def flags(raw):
    return raw[165]


def refuses(fed, guest, *slugs, verb="start"):
    """The agent does not start it (or what else is asked), says why, and has not begun to."""
    status, body = fed.local("POST", f"domains/{guest.uuid}/{verb}", {"paused": True} if verb == "start" else {})
    assert status >= 400 and body["error"]["slug"] in slugs, body
    assert len(body["error"]["message"]) > 20
    if guest.defined:
        assert guest.state() == "shut off"
    assert "limetree:" not in fed.virt.virsh("secret-list")


def header(raw):
    version, least, size, bits, total = struct.unpack_from(">BBHHI", raw)
    return {"version": version, "flags": bits, "length": total, "file": len(raw)}


# -- the way it should be

def test_a_sealed_domain(fed, sealed):
    """Made by the agent, encrypted; started; listed with both flags and the digest of its list; no key stays behind."""
    raw = (sealed.vtpm_state / STATE).read_bytes()
    assert header(raw) == {"version": 2, "flags": 9, "length": len(raw), "file": len(raw)}
    sealed.start(paused=True)
    assert secret_uuid(sealed.uuid) not in fed.virt.virsh("secret-list")
    bytes_ = listed(fed, sealed)
    assert len(bytes_) == 232 and flags(bytes_) & (BORN | SEALED) == BORN | SEALED
    (entry,) = [e for e in fed.vault()["entries"] if e["uuid"] == sealed.uuid]
    assert bytes_[200:].hex() == entry["openers"]
    status, raw = fed.https(fed.agent_address, "provider", "federation-ca", "GET", f"/federation/v1/openers/{entry['openers']}")
    assert status == 200 and hashlib.sha256(raw).hexdigest() == entry["openers"]
    (opener,) = vaultfile.openers(raw)
    assert (opener.kind, opener.closed, opener.digest.hex()) == (vaultfile.STATE, False, fed.identity["ek_digest"])
    for pcr, value in opener.state.items():
        assert fed.hw.tpm.pcr_read(pcr) == value, pcr
    assert {0, 2, 4, 7, 8, 9, 12, 14} <= set(opener.state)


def test_the_uuid_of_its_secret():
    assert secret_uuid("11111111-2222-4333-8444-555555555555") == "49ed1932-18dc-5b41-904c-95044560a982"


def test_agent_and_libvirtd_come_and_go(fed, sealed):
    """A running guest needs no key; the flags are back with the agent."""
    sealed.start(paused=True)
    before = listed(fed, sealed)
    fed.virt.stop()
    fed.virt.start()
    fed.agent.stop()
    fed.start_agent(fed.agent_address)
    after = listed(fed, sealed)
    assert flags(after) == flags(before) and after[200:] == before[200:]


def test_a_neighbour_of_libvirts_own(fed, plain):
    """An unsealed domain beside it is what it ever was: a version 1 record without the flags."""
    plain.start(paused=True)
    bytes_ = listed(fed, plain)
    assert len(bytes_) == 200 and flags(bytes_) & (BORN | SEALED) == 0


# -- the state at rest

def foreign_key(fed, guest, plain):
    return (new(fed, "other").vtpm_state / STATE).read_bytes()


def edited(at, value):
    def edit(fed, guest, plain):
        raw = bytearray((guest.vtpm_state / STATE).read_bytes())
        at_ = at if at >= 0 else len(raw) + at
        raw[at_:at_ + len(value)] = value if value != b"^" else bytes([raw[at_] ^ 1])
        return bytes(raw)
    return edit


@pytest.mark.parametrize("make, slug", [
    (foreign_key, "state-foreign-key"),
    (lambda fed, guest, plain: (plain.vtpm_state / STATE).read_bytes(), "state-plain"),
    (edited(0, b"\1"), "state-plain"),
    (edited(4, b"\0\0"), "state-plain"),
    (edited(4, b"\0\x08"), "state-plain"),
    (edited(4, b"\0\x01"), "state-plain"),
    (edited(200, b"^"), "state-foreign-key"),
    (edited(-1, b"^"), "state-foreign-key"),
    (lambda fed, guest, plain: (guest.vtpm_state / STATE).read_bytes()[:-1], "state-plain"),
    (lambda fed, guest, plain: b"", "state-plain"),
], ids=["foreign-key", "plaintext", "version-1", "flags-0", "flags-8", "flags-1", "flipped-byte", "flipped-last-byte",
        "cut", "empty"])
def test_planted_state(fed, sealed, plain, make, slug):
    with at_rest(sealed):
        put(sealed, STATE, make(fed, sealed, plain))
        refuses(fed, sealed, slug)
    sealed.start(paused=True)


@pytest.mark.parametrize("name", [VOLATILE, "tpm2-00.tmp", "tpm-00.permall"])
def test_planted_beside_the_state(fed, sealed, name):
    """swtpm would load a volatile file at a cold start, PCRs and all."""
    with at_rest(sealed):
        put(sealed, name, b"x" * 64)
        refuses(fed, sealed, "state-volatile")


def test_state_removed(fed, sealed):
    """libvirt and swtpm would make a new vTPM in its place."""
    with at_rest(sealed) as where:
        (where / STATE).unlink()
        refuses(fed, sealed, "not-found")
        assert not (where / STATE).exists()


def test_state_is_a_link(fed, sealed):
    with at_rest(sealed) as where:
        elsewhere = fed.lab.write("elsewhere", (where / STATE).read_bytes())
        (where / STATE).unlink()
        (where / STATE).symlink_to(elsewhere)
        refuses(fed, sealed, "refused")


# -- libvirt without us

def test_started_without_its_key(fed, sealed):
    """virsh, where no hook of ours asks the agent: refused, and no state is made or touched."""
    before = (sealed.vtpm_state / STATE).read_bytes()
    path = fed.lab.write("bare.xml", sealed_xml(sealed.xml(), secret_uuid(sealed.uuid)).replace("sealed</name>", "bare</name>")
                         .replace(sealed.uuid, "11111111-2222-4333-8444-555555555556"))
    fed.virt.virsh("define", path)
    with pytest.raises(LabError):
        fed.virt.virsh("start", "bare", "--paused")
    assert not (fed.virt.swtpm_dir / "11111111-2222-4333-8444-555555555556/tpm2" / STATE).exists()
    fed.virt.virsh("undefine", "bare")
    assert (sealed.vtpm_state / STATE).read_bytes() == before


def test_defined_without_encryption(fed, sealed):
    """The provider defines it anew without <encryption>: swtpm cannot open the state, and the agent starts no such thing."""
    fed.virt.virsh("define", fed.lab.write("plain.xml", sealed.xml()))
    try:
        with pytest.raises(LabError):
            fed.virt.virsh("start", sealed.name, "--paused")
    finally:
        fed.domain("define", fed.lab.write("again.xml", sealed.xml()))
    sealed.start(paused=True)
    assert flags(listed(fed, sealed)) & SEALED


def test_encryption_taken_out_and_plaintext_put_there(fed, sealed, plain, canary):
    """Then it runs, as somebody else's vTPM: no record of it says sealed, nor born."""
    with at_rest(sealed):
        fed.virt.virsh("define", fed.lab.write("plain.xml", sealed.xml()))
        put(sealed, STATE, (plain.vtpm_state / STATE).read_bytes())
        fed.virt.virsh("start", sealed.name, "--paused")
        not_sealed(fed, sealed, canary)
        assert sealed.uuid not in fed.residents()       # another EK than its entry's
        sealed.off()
        fed.domain("define", fed.lab.write("again.xml", sealed.xml()))


@pytest.mark.parametrize("under", ["uuid", "usage"])
def test_secret_planted(fed, sealed, under):
    """Whatever stands under S or under our usage is gone before the real key is there, and that is gone afterwards."""
    uuid = secret_uuid(sealed.uuid) if under == "uuid" else "99999999-2222-4333-8444-555555555555"
    path = fed.lab.write("secret.xml", f"<secret ephemeral='no' private='no'><uuid>{uuid}</uuid><usage type='vtpm'>"
                                       f"<name>limetree:{sealed.uuid}</name></usage></secret>")
    fed.virt.virsh("secret-define", path)
    fed.virt.virsh("secret-set-value", uuid, base64.b64encode(base64.b64encode(os.urandom(32))).decode())
    sealed.start(paused=True)
    assert flags(listed(fed, sealed)) & SEALED
    assert uuid not in fed.virt.virsh("secret-list")
    assert not [p for p in (fed.virt.config_dir / "libvirt/secrets").glob("*") if uuid in p.name]


def test_clone_by_anothers_secret(fed, sealed):
    """A second domain with a copy of the state, that names the first one's secret, while that is in libvirtd (planted
    here; it is there for moments): two domains have one EK, and neither is listed."""
    sealed.start(paused=True)
    listed(fed, sealed)
    clone = fed.virt.guest("clone")
    fed.lab.path(*(clone.vtpm_state / "x").relative_to(fed.lab.dir).parts[:-1], directory=True)
    put(clone, STATE, (sealed.vtpm_state / STATE).read_bytes())
    fed.virt.virsh("define", fed.lab.write("clone.xml", sealed_xml(clone.xml(), secret_uuid(sealed.uuid))))
    done = fed.domain_raw("start", clone.uuid, "--paused", check=False)
    assert done.returncode != 0 and clone.state() == "shut off", done.stdout


def test_save_image_planted(hooked, sealed, plain, canary):
    """The image of a domain with a plaintext vTPM, restored as the sealed one: the hook gives the key, swtpm takes the
    plaintext blobs and writes them encrypted. The EK in the vault decides: not born here, not sealed, not listed."""
    fed = hooked
    image = fed.lab.path("plain.save")
    with at_rest(sealed):
        # A domain of that name and UUID with another vTPM, on whatever machine; then the sealed one's definition again.
        put(sealed, STATE, (plain.vtpm_state / STATE).read_bytes())
        fed.virt.virsh("define", fed.lab.write("plain.xml", sealed.xml()))
        fed.virt.virsh("start", sealed.name, "--paused")
        fed.virt.virsh("save", sealed.name, image)
    with at_rest(sealed):
        fed.domain("define", fed.lab.write("again.xml", sealed.xml()))
        xml = sealed_xml(fed.virt.virsh("save-image-dumpxml", image), secret_uuid(sealed.uuid))
        restored = fed.lab.run(["virsh", "-q", "-c", fed.virt.uri, "restore", image, "--xml", fed.lab.write("save.xml", xml),
                                "--paused"], check=False)
        assert restored.returncode == 0, restored.stderr
        not_sealed(fed, sealed, canary)
        sealed.off()
        # What it left is encrypted under K_v: it starts, and is still not the vTPM that was born here.
        assert header((sealed.vtpm_state / STATE).read_bytes())["flags"] == 9
        sealed.start(paused=True)
        not_sealed(fed, sealed, canary)


def test_restored_from_its_own_image(hooked, sealed):
    """-incoming stays on QEMU's command line: what was loaded beside the state is not known, and it is not called sealed."""
    fed = hooked
    sealed.start(paused=True)
    assert flags(listed(fed, sealed)) & SEALED
    image = fed.lab.path("own.save")
    fed.virt.virsh("save", sealed.name, image)
    fed.virt.virsh("restore", image, "--paused")
    bytes_ = listed(fed, sealed)
    assert flags(bytes_) & (BORN | SEALED) == BORN
    sealed.off()
    sealed.start(paused=True)
    fed.poll(lambda: flags(fed.residents().get(sealed.uuid, bytes(200))) & SEALED, 20, lambda: "sealed after a cold start")


def test_virsh_start_by_the_hook(hooked, sealed):
    fed = hooked
    fed.virt.virsh("start", sealed.name, "--paused")
    assert flags(listed(fed, sealed)) & (BORN | SEALED) == BORN | SEALED
    fed.poll(lambda: "limetree:" not in fed.virt.virsh("secret-list"), 10, lambda: "the key is taken back")


def test_hook_refuses_as_the_agent_does(hooked, sealed):
    fed = hooked
    with at_rest(sealed):
        put(sealed, VOLATILE, b"x")
        with pytest.raises(LabError, match="state-volatile"):
            fed.virt.virsh("start", sealed.name, "--paused")
        assert sealed.state() == "shut off"
    assert "limetree:" not in fed.virt.virsh("secret-list")


def test_hook_without_an_agent(hooked, sealed, plain):
    """It ends within seconds with a sentence; a domain without a secret of ours does not wait for anybody."""
    fed = hooked
    fed.agent.stop()
    try:
        began = time.monotonic()
        with pytest.raises(LabError, match="agent"):
            fed.virt.virsh("start", sealed.name, "--paused")
        assert time.monotonic() - began < 15
        began = time.monotonic()
        plain.start(paused=True)
        assert time.monotonic() - began < 10
    finally:
        fed.start_agent(fed.agent_address)


# -- provisioning

def test_provisioned_once(fed, sealed):
    again = fed.domain("provision", sealed.uuid)
    assert again["made"] is False and again["ek_digest"] == sealed.provisioned["ek_digest"]


def test_conversion_says_what_is_lost(fed):
    """A guest that had an unsealed vTPM: not by accident, and not with the old EK."""
    old = fed.virt.guest("old").start(paused=True)
    before = listed(fed, old)
    old.destroy()
    fed.domain("define", fed.lab.write("old.xml", old.xml()))
    done = fed.domain_raw("provision", old.uuid, check=False)
    assert done.returncode != 0 and "--convert" in done.stderr, done.stderr
    made = fed.domain("provision", old.uuid, "--convert")
    assert made["made"] is True
    fed.domain("start", old.uuid, "--paused")
    after = fed.poll(lambda: (r := fed.residents().get(old.uuid)) and flags(r) & SEALED and r, 30, lambda: "its record")
    assert after[34:66] != before[34:66]


def test_home_of_whoever_makes_it(fed):
    """swtpm_setup would take ~/.config/swtpm_setup.conf, which names a program."""
    ran = fed.lab.path("ran")
    decoy = fed.lab.write("decoy", f"#!/bin/sh\ntouch {ran}\n", 0o755)
    for home in ("h/.config", "c"):
        if not fed.lab.path(home, "swtpm_setup.conf").exists():
            fed.lab.write(f"{home}/swtpm_setup.conf", f"create_certs_tool = {decoy}\nactive_pcr_banks = sha256\n")
    new(fed, "homely")
    assert not ran.exists()


def test_keys_are_nowhere(fed):
    """K_v of a provisioned and started domain, known here by its escrow copy: in no file and no log."""
    private, public, _ = recovery_key(fed.lab)
    guest = new(fed, "escrowed", escrow=public)
    guest.start(paused=True)
    guest.destroy()
    key = fed.opened(guest, private)
    assert swtpm_runs(fed.lab, (guest.vtpm_state / STATE).read_bytes(), key)        # it is the key
    raw = base64.b64decode(key)
    for path in [*fed.lab.dir.rglob("*"), *Path("/dev/shm").rglob("*")]:
        if path.is_file() and not path.is_symlink() and "bin" not in path.parts:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                text = path.read_bytes()
                assert not any(k in text for k in (key, raw, raw.hex().encode(), base64.b64encode(key))), path


# -- elsewhere

@pytest.fixture(scope="module")
def elsewhere(fed):
    """A second host of the provider, with another kernel; sealed in its own state."""
    return fed.another_host("b", boot_log=other_kernel())


def test_copied_to_another_host(fed, sealed, elsewhere):
    """Its state runs there under no key, and the vault that has the key is another chip's."""
    raw = (sealed.vtpm_state / STATE).read_bytes()
    carry(sealed, elsewhere)
    done = elsewhere.domain_raw("start", sealed.uuid, "--paused", check=False)
    assert done.returncode != 0 and elsewhere.virt.virsh("domstate", sealed.name).strip() == "shut off", done.stdout
    assert not swtpm_runs(fed.lab, raw)
    assert not swtpm_runs(fed.lab, raw, base64.b64encode(os.urandom(32)))
    done = elsewhere.domain_raw("provision", sealed.uuid, check=False)
    assert done.returncode != 0, "a state that is there was taken over"
    # The vault and all that the agent keeps, too: its key is the first chip's. As it is, its generation is not the
    # second chip's counter's; that can be written over, and then it is the file of another chip.
    vault = elsewhere.host_state / "vault"
    own, stolen = vault.read_bytes(), (fed.host_state / "vault").read_bytes()
    for raw, slug in ((stolen, "vault-stale"), (vaultfile.with_generation(stolen, vaultfile.vault(own).generation),
                                                "vault-forged")):
        elsewhere.agent.stop()
        fed.lab.write(str(vault.relative_to(fed.lab.dir)), raw)
        elsewhere.start_agent(elsewhere.agent_address)
        now = settled(elsewhere)
        assert now["state"] == slug and now["message"] and now["entries"] == []
        status, body = elsewhere.local("POST", f"domains/{sealed.uuid}/start", {"paused": True})
        assert (status, body["error"]["slug"]) == (409, slug)
    elsewhere.agent.stop()
    fed.lab.write(str(vault.relative_to(fed.lab.dir)), own)
    elsewhere.start_agent(elsewhere.agent_address)
    assert settled(elsewhere)["state"] == "open"


def settled(host):
    return host.fed.poll(lambda: (v := host.vault())["state"] != "vault-busy" and v, 70, lambda: "the vault to be opened, or not")


def test_another_kernel(fed, sealed):
    """Last: the host boots what is not on the list. The vault stays closed, nothing sealed starts, by us or by virsh;
    the host goes on serving. Booted as before, all is there."""
    before = fed.vault()
    fed.reboot(other_kernel())
    vault = settled(fed)
    assert vault["state"] == "vault-locked" and vault["message"] and vault["entries"] == []
    refuses(fed, sealed, "vault-locked")
    with pytest.raises(LabError):
        fed.virt.virsh("start", sealed.name, "--paused")
    late = new(fed, "late", provision=False)
    fed.domain("define", fed.lab.write("late.xml", late.xml()))
    refuses(fed, late, "vault-locked", verb="provision")
    fed.reboot(BootLog.load())
    vault = settled(fed)
    assert vault["state"] == "open" and vault["entries"] == before["entries"]
    sealed.start(paused=True)
    assert flags(listed(fed, sealed)) & (BORN | SEALED) == BORN | SEALED
