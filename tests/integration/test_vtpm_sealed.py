"""Sealed vTPMs: made, installed, started and judged, and what an attacker puts into their place. Real swtpm, libvirt
and QEMU; domains are started paused. The vault is inventory-shell's: what it holds is what the test tells it.

What a hostile provider could do behind our back is done here by hand: a key put into libvirtd, a domain started."""

import base64
import contextlib
import hashlib
import os
import shutil
import struct
import time
import uuid as uuidlib

import pytest

from vtpmkit import (PAUSED, RUNNING, TAINTED, Deadline, Libvirtd, Shell, Vm, ca, lab, new_vm_count,  # noqa: F401
                     program, put_state, records)

BORN, SEALED = 16, 32
NAMESPACE = uuidlib.UUID("6c696d65-7472-6565-8076-54504d4b6579")
PLAIN = "<backend type='emulator' version='2.0'/>"


def new_key():
    return base64.b64encode(os.urandom(32)).decode()


def secret_of(uuid):
    return str(uuidlib.uuid5(NAMESPACE, uuid))


@pytest.fixture(scope="module")
def setup_conf(lab, ca, records):  # noqa: F811
    conf = lab.write("localca.conf", f"ca_cert = {ca[0]}\nca_key = {ca[1]}\nrecords = {records}\n")
    return lab.write("host/swtpm_setup.conf",
                     f"create_certs_tool = {lab.install(program('limetree-localca', 'bin'))}\n"
                     f"create_certs_tool_config = {conf}\ncreate_certs_tool_options = /dev/null\n"
                     "active_pcr_banks = sha256\n")


@pytest.fixture(scope="module")
def virt(lab, setup_conf):  # noqa: F811
    it = Libvirtd(lab)
    lab.write("c/libvirt/libvirtd.conf", f'log_level=1\nlog_outputs="1:file:{lab.dir}/log/debug.log"\n')
    return it.start()


@pytest.fixture(scope="module")
def shell(lab, virt, records):  # noqa: F811
    it = Shell(lab, virt.uri, records)
    yield it
    it.close()


class Sealed(Vm):
    """provision() as the agent does it; start_by_hand() as somebody else does."""

    names_secret_of = None

    def __init__(self, *args, shell, conf, **kwargs):
        super().__init__(*args, **kwargs)
        self.shell, self.conf, self.key = shell, conf, new_key()

    def xml(self):
        secret = secret_of(self.names_secret_of or self.uuid)
        return super().xml().replace(PLAIN, PLAIN[:-2] + f"><encryption secret='{secret}'/></backend>")

    def ask(self, command):
        said = self.shell(command)
        assert "error" not in said, said
        return said

    def make(self):
        return self.ask(f"make {self.uuid} {self.name} {self.key} {self.conf}")

    def entry(self, ek=None, openers=2):
        self.ek = ek or self.ek
        self.ask(f"entry {self.uuid} {self.ek} {self.key} {openers}")

    def provision(self):
        made = self.make()
        self.entry(made["ek_digest"])
        self.ask(f"install {self.uuid}")
        return self

    def check(self, uuid=None):
        path = self.lab.write(f"g/{self.name}/check.xml", self.xml())
        return self.shell(f"check {path} {self.key}").get("error")

    def start_by_hand(self, key=None):
        if not self.defined:
            self.define()
        self.ask(f"put {self.names_secret_of or self.uuid} {key or self.key}")
        try:
            self.start(paused=True)
        finally:
            self.ask(f"drop {self.names_secret_of or self.uuid}")
        return self

    @property
    def file(self):
        return self.vtpm_state / "tpm2-00.permall"

    def rewrite(self, change):
        data = bytearray(self.file.read_bytes())
        change(data)
        self.file.write_bytes(data)


@pytest.fixture
def new_sealed(virt, shell, setup_conf):
    made = []

    def make(**kwargs):
        made.append(Sealed(virt, f"s{new_vm_count()}", shell=shell, conf=setup_conf, **kwargs))
        return made[-1]
    yield make
    for vm in made:
        if vm.defined:
            vm.stop()
            vm.undefine()
        shell(f"forget {vm.uuid}")
        shutil.rmtree(vm.vtpm_state.parent, ignore_errors=True)
    assert virt.virsh("secret-list").split() == []


@pytest.fixture
def vm(new_sealed):
    return new_sealed().provision()


def flags(shell, vm, wanted):
    return shell.until(lambda: (r := shell.record(vm)) and r["flags"] == wanted and r)


# ---- as it should be

def test_sealed(lab, virt, shell, records, vm):  # noqa: F811
    made = vm.file.read_bytes()
    assert struct.unpack_from(">BBHHI", made) == (2, 1, 10, 9, len(made))
    assert vm.file.stat().st_mode & 0o7777 == 0o600
    assert not list((lab.dir / "c/libvirt/qemu/swtpm").glob(".limetree-*"))
    assert vm.check() is None
    vm.start_by_hand()
    assert vm.file.read_bytes() == made, "libvirt made it anew, or the paused guest's firmware ran"
    r = flags(shell, vm, PAUSED | BORN | SEALED)
    assert r["ek_digest"] == vm.ek and r["version"] == 2 and r["openers"] != "00" * 32
    told = shell.reported(vm)
    assert told["born"] and told["not_sealed"] is None and told["listed"]
    assert len(list((records / vm.uuid).glob("*.json"))) == 2, "an RSA and an ECC one"


def test_reset_and_restart_stay_sealed(shell, vm):
    vm.start_by_hand().resume()
    first = flags(shell, vm, RUNNING | BORN | SEALED)
    vm.reset()
    after = shell.until(lambda: (r := shell.record(vm)) and r["incarnation"] != first["incarnation"] and r)
    assert after["flags"] == RUNNING | BORN | SEALED
    vm.destroy()
    assert vm.check() is None
    vm.start_by_hand()
    assert flags(shell, vm, PAUSED | BORN | SEALED)["openers"] == first["openers"]


def test_the_next_snapshot_has_the_new_openers(shell, vm):
    vm.start_by_hand()
    first = flags(shell, vm, PAUSED | BORN | SEALED)
    for count in (3, 4, 5):
        vm.entry(openers=count)
        now = shell.record(vm)
        assert now["openers"] != first["openers"]
        assert {**now, "openers": 0} == {**first, "openers": 0}
        first = now


def test_a_leaking_host_seals_nothing(shell, vm):
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)
    shell("leak host-leaks")
    assert shell.record(vm)["flags"] == PAUSED | BORN
    assert shell.reported(vm)["not_sealed"] == "host-leaks"
    shell("leak ok")
    assert shell.record(vm)["flags"] == PAUSED | BORN | SEALED


def test_the_vault_closes_and_opens(shell, vm, lab, virt, records):  # noqa: F811
    vm.start_by_hand()
    first = flags(shell, vm, PAUSED | BORN | SEALED)
    shell("vault vault-locked")
    closed = shell.record(vm)
    assert (closed["version"], closed["flags"], closed["openers"]) == (1, PAUSED, "00" * 32)
    assert closed["incarnation"] == first["incarnation"]
    shell("vault ok")
    assert flags(shell, vm, PAUSED | BORN | SEALED) == first


def test_not_listed_until_the_vault_is_open(shell, vm):
    shell("vault vault-busy")
    vm.start_by_hand()
    shell.refused(vm, "its key is not in the vault")
    shell("vault ok")
    flags(shell, vm, PAUSED | BORN | SEALED)


def test_without_an_entry_nobody_reads_it(shell, vm):
    shell(f"forget {vm.uuid}")
    vm.start_by_hand()
    shell.refused(vm, "its key is not in the vault")
    vm.entry()
    flags(shell, vm, PAUSED | BORN | SEALED)


# ---- another state in its place

def test_wrong_key(shell, vm, virt):
    vm.key, right = new_key(), vm.key
    assert vm.check() == "state-foreign-key"
    with pytest.raises(Exception, match="error"):
        vm.start_by_hand()      # swtpm's own word
    vm.key = right
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)


def test_flipped_byte(shell, vm):
    def flip(data):
        data[len(data) // 2] ^= 1
    vm.rewrite(flip)
    assert vm.check() == "state-foreign-key"
    with pytest.raises(Exception, match="error"):
        vm.start_by_hand()
    vm.rewrite(flip)
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)


@pytest.mark.parametrize("offset,value", [(0, 1), (5, 0), (5, 8), (5, 1)])
def test_header_of_another_form(vm, offset, value):
    vm.rewrite(lambda data: data.__setitem__(offset, value))
    assert vm.check() == "state-plain"


def plain_state(vm):
    """A vTPM of the attacker's own, in plaintext."""
    path = vm.lab.path("t", f"plain{new_vm_count()}", directory=True)
    vm.lab.run(["swtpm_setup", "--tpm2", "--tpmstate", path, "--createek", "--config", "/etc/swtpm_setup.conf"])
    return path / "tpm2-00.permall"


@pytest.mark.parametrize("flags_byte", [0, 8])
def test_plaintext_planted(lab, vm, flags_byte):  # noqa: F811
    put_state(lab, plain_state(vm), vm.vtpm_state)
    vm.rewrite(lambda data: data.__setitem__(5, flags_byte))
    assert vm.check() == "state-plain"
    with pytest.raises(Exception, match="error"):
        vm.start_by_hand()      # a swtpm with a key takes no such file; from a save image it does, below


def test_plaintext_without_key_planted(lab, shell, new_sealed, vm):  # noqa: F811
    """The XML, too, is another's: no <encryption>."""
    vm.xml = super(Sealed, vm).xml
    put_state(lab, plain_state(vm), vm.vtpm_state)
    assert vm.check() == "refused"
    vm.start(paused=True)
    shell.refused(vm, "state-foreign-ek")


def test_save_image_planted(lab, virt, shell, new_sealed):  # noqa: F811
    """A plaintext vTPM in a save image, restored as our domain: swtpm encrypts it under our key."""
    vm = new_sealed()
    sealed_xml, vm.xml = vm.xml, super(Sealed, vm).xml
    vm.start(paused=True)
    image = lab.path("t", f"{vm.name}.save")
    virt.virsh("save", vm.name, str(image))
    vm.undefine()
    vm.xml = sealed_xml
    vm.provision().define()
    mine = virt.virsh("save-image-dumpxml", str(image)).replace(PLAIN, PLAIN[:-2] + f"><encryption secret='{secret_of(vm.uuid)}'/></backend>")
    vm.ask(f"put {vm.uuid} {vm.key}")
    virt.virsh("restore", str(image), "--xml", str(lab.write("t/x.xml", mine)), "--paused")
    vm.ask(f"drop {vm.uuid}")
    shell.refused(vm, "state-foreign-ek")


def test_its_own_save_image(virt, shell, vm):
    """Nothing is wrong with its state, but who had the image chose RAM and PCRs."""
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)
    virt.virsh("managedsave", vm.name, "--paused")
    shell.until(lambda: shell.record(vm) is None)
    vm.start_by_hand()
    restored = shell.listed(vm)
    assert restored["flags"] & ~TAINTED == PAUSED | BORN, virt.taints(vm.name)
    assert "save image" in shell.reported(vm)["not_sealed"]
    vm.resume()
    vm.reset()
    after = shell.until(lambda: (r := shell.record(vm)) and r["incarnation"] != restored["incarnation"] and r)
    assert after["flags"] & ~TAINTED == RUNNING | BORN
    vm.destroy()
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)


def test_volatile_file_planted(lab, shell, vm):  # noqa: F811
    planted = vm.vtpm_state / "tpm2-00.volatilestate"
    planted.write_bytes(b"x")
    os.chown(planted, lab.uid, lab.gid)
    assert vm.check() == "state-volatile"
    planted.unlink()
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)
    planted.write_bytes(b"x")
    vm.resume()
    vm.reset()
    flags(shell, vm, RUNNING | BORN)
    assert "state-volatile" in shell.reported(vm)["not_sealed"]


def test_state_removed(shell, records, vm):  # noqa: F811
    """swtpm makes a new one, under our key. No birth record speaks: those are files of swtpm's user."""
    vm.file.unlink()
    assert vm.check() == "not-found"
    shutil.rmtree(records / vm.uuid)
    vm.start_by_hand()
    shell.refused(vm, "state-foreign-ek")


def test_directory_removed(shell, vm):
    shutil.rmtree(vm.vtpm_state.parent)
    assert vm.check() == "not-found"
    vm.start_by_hand()
    shell.refused(vm, "state-foreign-ek")


def test_clone(lab, shell, vm, new_sealed):  # noqa: F811
    vm.start_by_hand()
    first = flags(shell, vm, PAUSED | BORN | SEALED)
    clone = new_sealed()
    clone.names_secret_of, clone.key = vm.uuid, vm.key
    lab.path("c/libvirt/qemu/swtpm", clone.uuid, "tpm2", directory=True)
    put_state(lab, vm.file, clone.vtpm_state)
    assert clone.check() == "refused"
    clone.start_by_hand()
    shell.refused(clone, "its key is not in the vault")
    assert shell.record(vm) == first
    clone.entry(vm.ek)          # a vault that has it twice; the tool's, ours takes no such entry
    shell.until(lambda: shell.snapshot()["flags"] == 1)
    assert shell.record(vm) is None and shell.record(clone) is None, "two with one EK"
    clone.destroy()
    shell(f"forget {clone.uuid}")
    flags(shell, vm, PAUSED | BORN | SEALED)


def test_a_plain_clone_has_another_s_ek(lab, shell, vm, new_sealed):  # noqa: F811
    """Not under encryption at all: an attacker who has K_v writes the state in plaintext."""
    other = new_sealed()
    other.xml = super(Sealed, other).xml
    other.start(paused=True)
    ek = shell.listed(other)["ek_digest"]
    assert shell.record(other)["version"] == 1
    vm.entry(ek)
    shell.refused(other, f"a copy of domain {vm.uuid}'s vTPM")


def test_tainted(virt, shell, vm):
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)
    virt.virsh("qemu-monitor-command", vm.name, "--hmp", "info version")
    flags(shell, vm, PAUSED | BORN | TAINTED)
    assert "tainted" in shell.reported(vm)["not_sealed"]


def test_xml_names_another_secret(virt, shell, vm):
    vm.names_secret_of = "21111111-2222-4333-8444-555555555555"
    assert vm.check() == "refused"
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN)
    assert "XML" in shell.reported(vm)["not_sealed"]


# ---- libvirt's secrets

def define_secret(lab, virt, uuid, usage, value, ephemeral="no", private="no"):  # noqa: F811
    path = lab.write("t/secret.xml", f"<secret ephemeral='{ephemeral}' private='{private}'><uuid>{uuid}</uuid>"
                     f"<usage type='vtpm'><name>{usage}</name></usage></secret>")
    virt.virsh("secret-define", str(path))
    virt.virsh("secret-set-value", uuid, "--file", str(lab.write("t/value", value)), "--plain")


@pytest.mark.parametrize("where", ["S", "usage"])
@pytest.mark.parametrize("kind", [("no", "no"), ("no", "yes"), ("yes", "no")])
def test_secret_planted(lab, virt, shell, vm, where, kind):  # noqa: F811
    theirs = new_key()
    uuid, usage = (secret_of(vm.uuid), "theirs") if where == "S" else (str(uuidlib.uuid4()), f"limetree:{vm.uuid}")
    define_secret(lab, virt, uuid, usage, theirs, *kind)
    vm.define()
    vm.ask(f"put {vm.uuid} {vm.key}")
    assert virt.virsh("secret-list").split() == [secret_of(vm.uuid), "vtpm", f"limetree:{vm.uuid}"]
    told = virt.virsh("secret-dumpxml", secret_of(vm.uuid))
    assert "ephemeral='yes'" in told and "private='yes'" in told
    assert "rivate" in str(pytest.raises(Exception, virt.virsh, "secret-get-value", secret_of(vm.uuid)).value)
    vm.start(paused=True)
    vm.ask(f"drop {vm.uuid}")
    assert virt.virsh("secret-list").split() == []
    assert not [p for p in (lab.dir / "c/libvirt/secrets").glob("*") if p.is_file()]
    flags(shell, vm, PAUSED | BORN | SEALED)


def test_keys_of_a_dead_agent_are_swept(lab, virt, shell):  # noqa: F811
    mine, foreign = [str(uuidlib.uuid4()) for _ in range(2)], str(uuidlib.uuid4())
    define_secret(lab, virt, mine[0], "limetree:one", new_key(), "yes", "yes")
    define_secret(lab, virt, mine[1], "limetree:two", new_key(), "no", "no")
    define_secret(lab, virt, foreign, "somebody's", new_key(), "yes", "yes")
    assert shell("sweep") == {}
    assert virt.virsh("secret-list").split()[0] == foreign and len(virt.virsh("secret-list").split()) == 3
    virt.virsh("secret-undefine", foreign)


@contextlib.contextmanager
def stopped(virt):
    """libvirtd hangs."""
    reaper = virt.child.pid
    (pid,) = open(f"/proc/{reaper}/task/{reaper}/children").read().split()[:1]
    os.kill(int(pid), 19)
    try:
        yield
    finally:
        os.kill(int(pid), 18)


def test_libvirtd_hangs(virt, shell, vm):
    assert shell(f"drop {vm.uuid}") == {}       # connected
    with stopped(virt):
        begin = Deadline(7)
        assert shell(f"put {vm.uuid} {vm.key}")["error"] == "timeout"
        assert not begin.expired()
        begin = Deadline(1)
        assert shell(f"put {vm.uuid} {vm.key}")["error"] == "busy"
        assert not begin.expired()
    deadline = Deadline(20)
    while shell(f"drop {uuidlib.uuid4()}") != {}:
        assert not deadline.expired()
    assert virt.virsh("secret-list").split() == [], "a key that nobody waits for any more"


def test_libvirtd_was_restarted(virt, shell, vm):
    assert shell(f"put {vm.uuid} {vm.key}") == {}
    virt.stop()
    assert shell(f"put {vm.uuid} {vm.key}")["error"] == "unreachable"
    virt.start()
    assert virt.virsh("secret-list").split() == []
    assert shell(f"put {vm.uuid} {vm.key}") == {}
    assert shell(f"drop {vm.uuid}") == {}


# ---- making

def test_the_home_s_configuration_is_not_read(lab, shell, new_sealed, records):  # noqa: F811
    marker = lab.dir / "t/was-here"
    tool = lab.write("t/tool", f"#!/bin/sh\n/usr/bin/touch {marker}\n", 0o755)
    evil = f"create_certs_tool = {tool}\ncreate_certs_tool_config = /dev/null\ncreate_certs_tool_options = /dev/null\n"
    kept = (lab.dir / "c/swtpm_setup.conf").read_text()
    lab.write("h/.config/swtpm_setup.conf", evil)
    lab.write("c/swtpm_setup.conf", evil)
    try:
        vm = new_sealed()
        ek = vm.make()["ek_digest"]
    finally:
        lab.write("c/swtpm_setup.conf", kept)
        (lab.dir / "h/.config/swtpm_setup.conf").unlink()
    assert not marker.exists()
    assert (records / vm.uuid / f"{ek}.json").exists()


def test_setup_fails(lab, shell, new_sealed):  # noqa: F811
    vm = new_sealed()
    conf = lab.write("t/bad.conf", "create_certs_tool = /nowhere/tool\ncreate_certs_tool_config = /dev/null\n"
                     "create_certs_tool_options = /dev/null\n")
    said = shell(f"make {vm.uuid} {vm.name} {vm.key} {conf}")
    assert said["error"] == "config" and "/nowhere/tool" in said["message"] and vm.key not in said["message"]
    assert not vm.vtpm_state.parent.exists()


def test_installed_once(vm):
    before = vm.file.read_bytes()
    vm.make()
    assert vm.shell(f"install {vm.uuid}")["error"] == "conflict"
    assert vm.file.read_bytes() == before
    vm.ask(f"remove {vm.uuid}")
    assert not vm.vtpm_state.parent.exists()
    vm.ask(f"install {vm.uuid}")
    assert vm.file.read_bytes() != before


def words_of(pid):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/cmdline", "rb").read()
    return b""


def processes(*words):
    """pids with all of that on their command lines."""
    return [pid for pid in filter(str.isdigit, os.listdir("/proc")) if all(w in words_of(pid) for w in words)]


def wait_until(probe, seconds=20):
    deadline = Deadline(seconds)
    while not (found := probe()):
        assert not deadline.expired()
        time.sleep(0.002)
    return found


@pytest.mark.parametrize("running", [b"swtpm_setup", b"swtpm\0socket"])
def test_killed_while_making(lab, virt, records, new_sealed, setup_conf, running):  # noqa: F811
    """-9, while that program works: it ends by itself, and the next start sweeps what it left."""
    vm = new_sealed()
    agent = Shell(lab, virt.uri, records)
    agent.file.write(f"make {vm.uuid} {vm.name} {vm.key} {setup_conf}\n")
    agent.file.flush()
    (pid, *_) = wait_until(lambda: processes(b"swtpm_setup", vm.uuid.encode()))
    words = words_of(pid).split(b"\0")
    directory = words[words.index(b"--tpmstate") + 1]
    wait_until(lambda: processes(running, directory))
    agent.child.kill()
    wait_until(lambda: not processes(directory) and not processes(vm.uuid.encode()))
    assert os.path.isdir(directory)
    agent = Shell(lab, virt.uri, records)
    agent(f"make {vm.uuid} {vm.name} {vm.key} {setup_conf}")
    agent.close()
    assert not os.path.exists(directory)


def test_the_key_is_nowhere(lab, virt, shell, vm):  # noqa: F811
    """Not in a file, not in libvirtd's log of everything, not among the words of a process."""
    vm.start_by_hand()
    flags(shell, vm, PAUSED | BORN | SEALED)
    virt.virsh("managedsave", vm.name)
    raw = base64.b64decode(vm.key)
    forms = {"text": vm.key.encode(), "raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(),
             "derived": hashlib.pbkdf2_hmac("sha512", vm.key.encode(), b"swtpm", 1000, 32)}
    seen = 0
    for top in (lab.dir, *lab_copies()):
        for root, _, files in os.walk(top):
            for name in files:
                path = os.path.join(root, name)
                with contextlib.suppress(OSError):
                    if os.path.isfile(path) and not os.path.islink(path):
                        data = open(path, "rb").read()
                        seen += len(data)
                        assert not [form for form, key in forms.items() if key in data], path
    assert seen > os.path.getsize(lab.dir / "log/debug.log") > 100000
    assert not lab_copies(), "a copy of a vTPM's state"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for what in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                assert vm.key.encode() not in open(f"/proc/{pid}/{what}", "rb").read(), f"{pid} {what}"
    virt.virsh("managedsave-remove", vm.name)


def lab_copies():
    return [f"/dev/shm/{name}" for name in os.listdir("/dev/shm") if name.startswith("limetree-vtpm-")]
