"""The vault on a real swtpm, and what attacks it: key, counter, files, PCRs (docs/sealing.md section 9).

seal-tool is agent/seal.h without the agent; the relay counts commands, refuses them, and extends PCRs between them.
"""

import hashlib
import json
import os
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.hwtpm import HwTpm  # noqa: E402
from tests.lab.relay import (  # noqa: E402
    CONTEXT_LOAD, CREATE, CREATE_PRIMARY, ECDH_ZGEN, HMAC, LOAD, NV_DEFINE, NV_INCREMENT, NV_RATE, NV_READ, NV_UNAVAILABLE,
    PCR_READ, Relay)
from tests.lab.tpm import TpmError  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
BITMAP = 0x5395
NV, OWNER, RETRY = 0x01804C54, 0x40000001, 0x922
COUNTER = 0x02040014  # counter, AUTHREAD, AUTHWRITE, NO_DA
VK = 0x000404B2
USER_WITH_AUTH, SENSITIVE_ORIGIN, NO_DA, FIXED = 0x40, 0x20, 0x400, 0x12
ONE, TWO = "11111111-2222-4333-8444-555555555555", "22222222-2222-4333-8444-555555555555"
GENERATION_AT = 16 + 2 + 2 + 32 + 34  # of VAULT: its u64


@pytest.fixture(scope="module")
def lab():
    with Lab(prefix="lts") as lab:
        yield lab


@pytest.fixture(scope="module")
def maker(lab):
    """A chip as its maker sells it; each test has one like it."""
    chip = HwTpm(lab, "maker").manufacture()
    return chip.dir / "state"


class Host:
    """A chip behind a relay, a state directory, and the tool that serves it while it is asked."""

    def __init__(self, lab, name, state, ek="rsa"):
        self.lab, self.name, self.ek, self.proc = lab, name, ek, None
        self.chip = HwTpm(lab, name, relay=BUILD / "tests/support/tpm-relay", state_from=state).start(boot_log=None)
        self.relay, self.tpm = Relay(self.chip), self.chip.tpm
        self.dir = lab.path(f"{name}-vault", directory=True)
        self.program = lab.install(BUILD / "tests/support/seal-tool")
        self.log = lab.path("log", f"{name}-tool.log")

    def start(self, fault=None):
        self.stop()
        env = self.lab.env | ({"LT_FAULT": fault} if fault else {})
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(self.lab.argv([self.program, self.chip.tcti, self.dir, self.ek]), text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env)
        return self

    def ask(self, verb, **more):
        if self.proc is None:
            self.start()
        self.proc.stdin.write(json.dumps({"do": verb, **more}) + "\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        assert line, f"seal-tool ended with {self.proc.wait()}: {self.log.read_text()[-2000:]}"
        return json.loads(line)

    def do(self, verb, **more):
        said = self.ask(verb, **more)
        assert said["rc"] == "ok", said
        return said

    def opened(self):
        """A fresh process's word: the state it finds."""
        self.start()
        return self.ask("open")["vault"]["state"]

    def stop(self):
        """As a power cut for the process; the chip goes on."""
        if self.proc is not None:
            self.proc.kill()
            self.proc.wait()
            self.proc.stdin.close()
            self.proc.stdout.close()
            self.proc = None
            self.tpm.flush_transients()

    def close(self):
        self.stop()
        self.chip.stop()

    # -- files

    def file(self, name="vault"):
        return (self.dir / name).read_bytes()

    def put_file(self, data, name="vault"):
        self.lab.write(f"{self.dir.name}/{name}", data)

    def files(self):
        return {name: self.file(name) for name in ("vault", "vault.next") if (self.dir / name).exists()}

    # -- the chip, as its owner uses it

    def undefine(self):
        self.tpm.command("NV_UndefineSpace", 0x122, b"", struct.pack(">II", OWNER, NV), auth=True)

    def define(self, attributes=COUNTER, size=8):
        public = struct.pack(">IHIHH", NV, 0x000B, attributes, 0, size)
        self.tpm.command("NV_DefineSpace", 0x12A, struct.pack(">HH", 0, len(public)) + public,
                         struct.pack(">I", OWNER), auth=True)

    def increment(self):
        for attempt in range(5):
            try:
                return self.tpm.command("NV_Increment", 0x134, b"", struct.pack(">II", NV, NV), auth=True)
            except TpmError as error:
                if error.code != RETRY or attempt == 4:
                    raise

    def counter(self):
        return struct.unpack(">Q", self.tpm.nv_read(NV))[0]

    def extend(self, pcr, what=b"another kernel"):
        self.tpm.pcr_extend(pcr, hashlib.sha256(what).digest())


@pytest.fixture
def host(lab, maker):
    host = Host(lab, f"h{uuid.uuid4().hex[:6]}", maker)
    yield host
    host.close()


def sealed(host):
    """A vault with one entry; its key."""
    host.do("create", bitmap=BITMAP)
    return host.do("put", uuid=ONE, ek_digest="aa" * 32)["key"]


def after(pcrs, pcr, what=b"another kernel"):
    """The state that follows from that one by an extend."""
    value = hashlib.sha256(bytes.fromhex(pcrs[str(pcr)]) + hashlib.sha256(what).digest()).hexdigest()
    return pcrs | {str(pcr): value}


# -- its life


def test_life(host):
    assert host.ask("open")["rc"] == "ok" and host.opened() == "vault-none"
    assert host.ask("put", uuid=ONE, ek_digest="aa" * 32)["rc"] == "vault-none"
    for bad in (0, 0x5394, 0x5395 | 1 << 10, 0x5395 | 1 << 13, 0x5395 | 1 << 16, 0x5395 | 1 << 24):
        assert host.ask("create", bitmap=bad)["rc"] == "usage", hex(bad)
    assert host.files() == {}
    vault = host.do("create", bitmap=BITMAP)["vault"]
    assert (vault["state"], vault["key"], vault["entries"]) == ("open", "hmac", [])
    assert vault["states"] == [vault["present"]] and set(vault["present"]) == set("0 2 4 7 8 9 12 14".split())
    assert vault["generation"] == host.counter()
    assert host.ask("create", bitmap=BITMAP)["rc"] == "conflict"
    key = host.do("put", uuid=ONE, ek_digest="aa" * 32, escrow="ee" * 32)["key"]
    assert host.ask("put", uuid=ONE, ek_digest="bb" * 32)["rc"] == "conflict"
    assert host.ask("put", uuid=TWO, ek_digest="aa" * 32)["rc"] == "conflict"
    other = host.do("put", uuid="01111111-2222-4333-8444-555555555555", ek_digest="bb" * 32)["key"]
    host.do("pin", uuid=ONE, domain="d0" * 32)
    host.do("pin", uuid=ONE, domain="d1" * 32, firmware="f1" * 32)
    at = host.do("pin", uuid=ONE, domain="d1" * 32)["vault"]["generation"]  # nothing new: no commit
    assert host.counter() == at and os.stat(host.dir / "vault").st_mode & 0o777 == 0o600
    assert host.opened() == "open"
    entry = host.do("entry", uuid=ONE)
    assert (entry["key"], entry["domain"], entry["firmware"], entry["owner"]) == (key, "d1" * 32, "f1" * 32, ONE)
    assert [o["kind"] for o in entry["openers"]] == ["state", "escrow"]
    assert entry["openers"][0]["pcrs"] == vault["present"] and not entry["openers"][0]["closed"]
    vault = entry["vault"]
    assert [e["uuid"] for e in vault["entries"]] == ["01111111-2222-4333-8444-555555555555", ONE]
    for e in vault["entries"]:
        said = bytes.fromhex(host.do("openers", digest=e["openers"])["bytes"])
        assert hashlib.sha256(said).hexdigest() == e["openers"]
    assert host.ask("openers", digest="00" * 32)["rc"] == "not-found"
    host.do("remove", uuid=ONE)
    assert host.ask("remove", uuid=ONE)["rc"] == "not-found" and host.ask("entry", uuid=ONE)["rc"] == "not-found"
    # A list that was shown a moment ago is still told; not by the next process.
    shown = vault["entries"][1]["openers"]
    assert host.do("openers", digest=shown)
    assert host.opened() == "open" and host.ask("openers", digest=shown)["rc"] == "not-found"
    assert host.do("entry", uuid="01111111-2222-4333-8444-555555555555")["key"] == other
    assert list(host.files()) == ["vault"]
    for secret in (key, other):
        assert secret.encode() not in host.file() and secret not in host.log.read_text()


def test_keys_do_not_swap_and_are_in_no_core(host):
    """Locked, and left out of dumps: as the kernel says of the process."""
    if any(word in host.program.read_bytes() for word in (b"__tsan_init", b"__asan_init")):
        pytest.skip("sanitizers make nothing of mlock")
    sealed(host)
    status = Path(f"/proc/{host.proc.pid}/status").read_text()
    locked = [line for line in Path(f"/proc/{host.proc.pid}/smaps").read_text().splitlines() if "VmFlags" in line]
    assert int(status.split("VmLck:")[1].split()[0]) >= 4
    assert any({"lo", "dd"} <= set(line.split()) for line in locked)


def test_another_ek_as_parent(lab, maker):
    host = Host(lab, "ecc", maker, ek="ecc")
    try:
        key = sealed(host)
        assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key
    finally:
        host.close()


def test_1000_entries_cost_the_chip_one_answer(host):
    host.do("create", bitmap=BITMAP)
    host.do("fill", count=1000)
    host.start()
    before = host.relay.counts()
    said = host.do("open")
    counts = host.relay.counts()
    assert len(said["vault"]["entries"]) == 1000
    assert counts[HMAC] - before[HMAC] == 1 and counts[CREATE] == before[CREATE]
    print(f"opening a vault of 1,000 entries: {said['ms']:.0f} ms, 1 TPM2_HMAC")


def test_a_commit_makes_the_ek_once(lab, maker):
    """At the EK's handle lies another key: CreatePrimary takes seconds on a chip, and quotes wait behind it."""
    host = Host(lab, "once", maker, ek="ecc")
    try:
        key = sealed(host)
        before = host.relay.counts().get(CREATE_PRIMARY, 0)
        host.do("put", uuid=TWO, ek_digest="bb" * 32)
        assert host.relay.counts()[CREATE_PRIMARY] - before == 1
        host.relay.fail(CONTEXT_LOAD, 0x1DF)  # as of a chip that was reset meanwhile
        host.do("remove", uuid=TWO)
        assert host.relay.counts()[CREATE_PRIMARY] - before == 3
        assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key
    finally:
        host.close()


# -- the key


def test_key_answers_to_its_policy_only(host):
    sealed(host)
    for how in ("password", "hmac"):
        said = host.ask("ask", how=how)
        assert said["rc"] == "tpm" and "TPM2_HMAC" in said["message"], said


def test_the_chip_itself_says_no(host):
    """What no rule of ours need stop: an old file's key, a limit that is not the key's, another state."""
    sealed(host)
    old, generation = host.file(), host.counter()
    assert host.ask("answer")["rc"] == "ok"
    assert host.ask("answer", generation=generation + 1)["rc"] == "vault-forged"   # PolicyNV passes, the key does not
    assert host.ask("answer", generation=generation - 1)["rc"] == "vault-stale"
    host.do("put", uuid=TWO, ek_digest="bb" * 32)
    now = host.file()
    host.put_file(old)
    assert host.ask("answer")["rc"] == "vault-stale"
    assert host.ask("answer", generation=generation + 1)["rc"] == "vault-forged"
    host.put_file(now)
    assert host.ask("answer")["rc"] == "ok"
    host.extend(14)
    assert host.ask("answer")["rc"] == "vault-locked"


FORGED = {
    "password": {"attributes": VK | USER_WITH_AUTH},
    "da": {"attributes": VK & ~NO_DA},
    "moves": {"attributes": VK & ~FIXED},
    "software": {"attributes": VK & ~SENSITIVE_ORIGIN, "known": True},
    "parent": {"storage": True},
    "counter": {"any_counter": True},
    "wider": {"extra_state": True},
    "limit": {"limit": 1 << 40},
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_key(host, what):
    """A file that is right but for its key, which is its maker's. Without the check of the public area the chip would
    answer for the first four."""
    sealed(host)
    host.do("forge", **FORGED[what])
    assert host.opened() == "vault-forged"
    assert host.ask("entry", uuid=ONE)["rc"] == "vault-forged" and host.ask("open")["rc"] == "vault-forged"


def test_the_forger_forges_well(host):
    """The same with the right key opens: what refused the others is what was wrong with them."""
    key = sealed(host)
    host.do("forge")
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key


def test_forged_in_a_listed_state(host):
    """Root in a state that the key answers in can write a file that the chip opens. A state that he adds to the key, and
    to no list, is seen."""
    sealed(host)
    state = after(host.do("open")["vault"]["present"], 4)
    host.do("ungrown", add=[state])
    said = host.start().ask("open")
    assert said["rc"] == "vault-forged" and "lacks a state" in said["message"]
    host.extend(4)
    assert host.opened() == "vault-forged"


def test_every_byte_counts(host):
    """Any one byte of the file changed: it is not opened (every 7th, and all of the head)."""
    sealed(host)
    good = host.file()
    seen = set()
    for at in [*range(0, GENERATION_AT + 8), *range(GENERATION_AT + 8, len(good), 7)]:
        bad = bytearray(good)
        bad[at] ^= 1
        host.put_file(bytes(bad))
        said = host.ask("open")
        assert said["rc"] in ("vault-forged", "vault-stale", "vault-locked"), (at, said)
        seen.add(said["rc"])
    assert {"vault-forged", "vault-stale"} <= seen
    host.put_file(good[:-1])
    assert host.ask("open")["rc"] == "vault-forged"
    host.put_file(good)
    assert host.ask("open")["rc"] == "ok"


def test_of_another_host(lab, host):
    """Copied with its generation: another EK."""
    sealed(host)
    other = Host(lab, "other", None)
    try:
        other.do("create", bitmap=BITMAP)
        its = other.file()[20:52]
        for behind, ahead in ((other, host), (host, other)):
            while behind.counter() < ahead.counter():
                behind.increment()
        file = host.file()[:GENERATION_AT] + struct.pack(">Q", other.counter()) + host.file()[GENERATION_AT + 8:]
        other.put_file(file)
        said = other.start().ask("open")
        assert said["rc"] == "vault-forged" and "another host" in said["message"]
        other.put_file(host.file())
        assert other.opened() in ("vault-forged", "vault-stale")
        # And with the host's digest put right.
        other.put_file(file[:20] + its + file[52:])
        assert other.opened() == "vault-forged"
    finally:
        other.close()


# -- the counter


def test_counter_removed(host):
    sealed(host)
    was = host.files()
    host.undefine()
    assert host.opened() == "counter-lost" and host.files() == was
    assert host.ask("create", bitmap=BITMAP)["rc"] == "counter-lost" and host.files() == was
    # Defined anew it begins above: the file stays dead.
    host.define()
    assert host.opened() == "counter-lost"
    host.increment()
    assert host.opened() == "vault-stale"


@pytest.mark.parametrize("attributes, size", [
    (COUNTER & ~0xF0 | 0x00040004, 8),      # ordinary
    (COUNTER | 0x00020000, 8),              # OWNERREAD too
    (COUNTER & ~0x02000000, 8),             # DA
    (COUNTER | 0x00000002, 8),              # OWNERWRITE
])
def test_counter_of_anothers(host, attributes, size):
    """Same handle, another Name: nothing is read from it, written to it or made in its place."""
    sealed(host)
    generation = host.counter()
    host.undefine()
    host.define(attributes, size)
    if attributes & 0xF0:
        host.increment()
    else:  # an ordinary index reads what the provider wrote
        host.tpm.command("NV_Write", 0x137, struct.pack(">HQH", 8, generation, 0), struct.pack(">II", NV, NV),
                         auth=True)
    value = host.tpm.nv_read(NV)
    before = host.relay.counts()
    said = host.start().ask("open")
    assert said["rc"] == "counter-lost" and "another's" in said["message"]
    assert host.ask("create", bitmap=BITMAP)["rc"] == "counter-lost"
    (host.dir / "vault").unlink()
    assert host.ask("create", bitmap=BITMAP)["rc"] == "counter-lost"
    assert host.tpm.nv_read(NV) == value and host.files() == {}
    assert all(host.relay.counts().get(code) == before.get(code) for code in (NV_INCREMENT, HMAC, CREATE, NV_DEFINE))


def test_counter_incremented_by_a_stranger(host):
    sealed(host)
    host.increment()
    # A running agent commits nothing on top of it, and says so.
    assert host.ask("put", uuid=TWO, ek_digest="bb" * 32)["rc"] == "vault-stale"
    assert host.ask("entry", uuid=ONE)["rc"] == "vault-stale"
    assert host.opened() == "vault-stale" and list(host.files()) == ["vault"]


# -- files


def test_old_files_are_dead(host):
    sealed(host)
    files = [host.file()]
    for i in range(2, 5):
        host.do("put", uuid=f"{i}" * 8 + ONE[8:], ek_digest=f"{i}{i}" * 32)
        files.append(host.file())
    now = files.pop()
    for old in files:
        host.put_file(old)
        assert host.opened() == "vault-stale"
        # Its generation put right, the chip itself does not answer.
        host.put_file(old[:GENERATION_AT] + now[GENERATION_AT:GENERATION_AT + 8] + old[GENERATION_AT + 8:])
        assert host.opened() == "vault-forged"
    host.put_file(files[0], "vault.next")
    host.put_file(now)
    assert host.opened() == "open"
    assert len(host.do("open")["vault"]["entries"]) == 4


def test_a_file_that_others_can_read(host):
    sealed(host)
    os.chmod(host.dir / "vault", 0o644)
    assert host.opened() == "vault-forged"
    (host.dir / "vault").rename(host.dir / "real")
    (host.dir / "vault").symlink_to(host.dir / "real")
    assert host.opened() == "vault-forged"


def test_closed_states_every_old_file_is_dead(host):
    """Good and bad state; bad is dropped. In bad, no file that was ever written gives the key."""
    sealed(host)
    good = host.do("open")["vault"]["present"]
    bad = after(good, 4)
    every = [host.files()]
    host.do("reseal", add=[bad])
    every.append(host.files())
    assert host.do("open")["vault"]["states"] == [good, bad]
    host.do("reseal", drop=[1])
    entry = host.do("entry", uuid=ONE)
    assert [(o["closed"], o["pcrs"]) for o in entry["openers"]] == [(False, good), (True, bad)]
    every.append(host.files())
    host.extend(4)
    for files in every:
        for data in files.values():
            for name in ("vault", "vault.next"):
                for stale in ("vault", "vault.next"):
                    (host.dir / stale).unlink(missing_ok=True)
                host.put_file(data, name)
                assert host.opened() in ("vault-stale", "vault-locked"), name
    # And opened again for that state, the list says so, for ever.
    host.chip.reboot(None)
    (host.dir / "vault.next").unlink(missing_ok=True)
    host.put_file(every[-1]["vault"])
    assert host.opened() == "open"
    host.do("reseal", add=[bad])
    entry = host.do("entry", uuid=ONE)
    assert [(o["closed"], o["pcrs"]) for o in entry["openers"]] == [(False, good), (True, bad), (False, bad)]


# -- PCRs


def test_locked_in_another_state(host):
    key = sealed(host)
    was = host.files()
    host.extend(4)
    said = host.start().ask("open")
    assert said["rc"] == "vault-locked" and said["vault"]["state"] == "vault-locked"
    assert said["vault"]["states"] != [said["vault"]["present"]] and said["vault"]["entries"] == []
    for verb in ("put", "entry", "remove", "pin"):
        assert host.ask(verb, uuid=ONE, ek_digest="cc" * 32, domain="dd" * 32)["rc"] == "vault-locked", verb
    assert host.ask("reseal", add=[said["vault"]["present"]])["rc"] == "vault-locked"
    assert host.ask("create", bitmap=BITMAP)["rc"] == "vault-locked" and host.files() == was
    host.chip.reboot(None)
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key
    host.extend(10), host.extend(13), host.extend(23)  # not of a state
    assert host.opened() == "open"


def test_reseal_before_another_kernel(host):
    key = sealed(host)
    good = host.do("open")["vault"]["present"]
    new, third = after(good, 4), after(good, 9)
    generation = host.counter()
    for wish in ({}, {"add": [good]}, {"drop": [1]}, {"drop": [0]}, {"add": [new], "drop": [0]}, {"add": [new, new]}):
        assert host.ask("reseal", **wish)["rc"] == "usage", wish
    assert host.counter() == generation
    host.do("reseal", add=[new])
    assert host.counter() == generation + 3  # burn, grow, wrap
    host.extend(4)
    assert host.opened() == "open"
    entry = host.do("entry", uuid=ONE)
    assert entry["key"] == key and [o["pcrs"] for o in entry["openers"]] == [good, new]
    host.do("reseal", add=[third], drop=[0])
    assert [(o["pcrs"], o["closed"]) for o in host.do("entry", uuid=ONE)["openers"]] == [
        (good, True), (new, False), (third, False)]
    # What the third boot may know, each list names; the first finds it closed.
    host.do("put", uuid=TWO, ek_digest="bb" * 32)
    assert [o["pcrs"] for o in host.do("entry", uuid=TWO)["openers"]] == [new, third]
    host.chip.reboot(None)
    assert host.opened() == "vault-locked"
    host.extend(9)
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key


def test_at_most_eight_states(host):
    sealed(host)
    good = host.do("open")["vault"]["present"]
    states = [after(good, 4, bytes([i])) for i in range(8)]
    assert host.ask("reseal", add=states)["rc"] == "too-large"
    host.do("reseal", add=states[:7])
    host.extend(4, bytes([6]))
    assert host.opened() == "open" and len(host.do("entry", uuid=ONE)["openers"]) == 8


@pytest.mark.parametrize("times", [1, 5])
def test_pcr_10_extended_while_it_opens(host, times):
    """IMA between PolicyPCR and the answer: 0x128, and another try."""
    key = sealed(host)
    host.start()
    before = host.relay.counts()
    host.relay.extend_before(HMAC, 10, times)
    assert host.do("open")["vault"]["state"] == "open" and host.do("entry", uuid=ONE)["key"] == key
    assert host.relay.counts()[HMAC] - before[HMAC] == times + 1
    # A PCR of the list, then: it is locked, and not for want of trying.
    host.relay.extend_before(HMAC, 4, 1)
    assert host.ask("open")["rc"] == "vault-locked"


def test_extended_while_it_commits(host):
    sealed(host)
    host.relay.extend_before(HMAC, 10, 3)
    host.do("put", uuid=TWO, ek_digest="bb" * 32)
    host.relay.extend_before(HMAC, 4, 1)
    assert host.ask("put", uuid="3" * 8 + ONE[8:], ek_digest="cc" * 32)["rc"] == "usage"
    assert host.opened() == "vault-locked"
    host.chip.reboot(None)
    assert host.opened() == "open" and len(host.do("open")["vault"]["entries"]) == 2


# -- chips without TPM2_HMAC


@pytest.mark.parametrize("how", ["hide", "refuse"])
def test_without_hmac(host, how):
    getattr(host.relay, how)(HMAC)
    key = sealed(host)
    assert host.do("open")["vault"]["key"] == "ecdh"
    host.start()
    before = host.relay.counts()
    assert host.do("open")["vault"]["state"] == "open" and host.do("entry", uuid=ONE)["key"] == key
    counts = host.relay.counts()
    assert counts[ECDH_ZGEN] - before[ECDH_ZGEN] == 1 and counts.get(HMAC) == before.get(HMAC)
    good = host.do("open")["vault"]["present"]
    host.do("reseal", add=[after(good, 4)], drop=[])
    host.extend(4)
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key
    host.do("reseal", drop=[0])
    host.chip.reboot(None)
    assert host.opened() == "vault-locked"


@pytest.mark.parametrize("how", ["hide", "refuse"])
def test_a_chip_that_forgot(host, how):
    """The file's key is an HMAC key, and firmware took the command away. Never a key of another kind over it."""
    sealed(host)
    getattr(host.relay, how)(HMAC)
    assert host.opened() == "tpm-no-hmac"
    assert host.ask("create", bitmap=BITMAP)["rc"] == "tpm-no-hmac"
    getattr(host.relay, how)(HMAC, False)
    assert host.opened() == "open"


@pytest.mark.parametrize("how", ["hide", "refuse"])
def test_without_either(host, how):
    getattr(host.relay, how)(HMAC), getattr(host.relay, how)(ECDH_ZGEN)
    assert host.ask("create", bitmap=BITMAP)["rc"] == "tpm-no-hmac" and host.files() == {}
    assert host.opened() == "vault-none"


# -- trouble that is none of the vault's


def test_host_leaks(host):
    key = sealed(host)
    host.do("leak", what="swap")
    said = host.ask("entry", uuid=ONE)
    assert said["rc"] == "host-leaks" and "swap" in said["message"]
    assert host.ask("put", uuid=TWO, ek_digest="bb" * 32)["rc"] == "host-leaks"
    assert host.do("leak", what="")["vault"]["state"] == "host-leaks"
    before = host.relay.counts()[HMAC]
    host.start().do("leak", what="kdump")
    assert host.ask("open")["rc"] == "host-leaks" and host.relay.counts()[HMAC] == before
    host.do("leak", what="")
    assert host.do("open") and host.do("entry", uuid=ONE)["key"] == key


def test_a_chip_that_goes_away(host):
    """swtpm ends and comes back between two commands: the vault stays, and no generation is lost."""
    key = sealed(host)
    host.chip.stop()
    assert host.ask("put", uuid=TWO, ek_digest="bb" * 32)["rc"] in ("vault-busy", "tpm")
    assert host.ask("entry", uuid=ONE)["rc"] == "vault-busy"
    for path in host.chip.dir.glob("sock*"):
        path.unlink()
    host.chip.start(boot_log=None)
    for _ in range(20):  # the agent's thread waits longer after each failure
        if host.ask("open")["rc"] == "ok":
            break
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key
    host.do("put", uuid=TWO, ek_digest="bb" * 32)


@pytest.mark.parametrize("code", [NV_INCREMENT, HMAC, CREATE, LOAD, NV_READ, PCR_READ])
def test_a_lost_answer(host, code):
    """The connection breaks behind a command that the chip does: the job begins anew, and the counter moves once."""
    key = sealed(host)
    generation = host.counter()
    host.relay.hang_up(code)
    host.do("put", uuid=TWO, ek_digest="bb" * 32)
    assert host.counter() == generation + 1
    host.tpm.flush_transients()  # what the lost connection left: the relay is no resource manager
    host.relay.hang_up(code)
    assert host.do("open") and host.do("entry", uuid=ONE)["key"] == key


@pytest.mark.parametrize("code", [NV_DEFINE, NV_INCREMENT])
def test_a_lost_answer_at_the_first(host, code):
    host.relay.hang_up(code)
    host.do("create", bitmap=BITMAP)
    assert host.opened() == "open"


@pytest.mark.parametrize("error", [NV_RATE, NV_UNAVAILABLE])
def test_a_chip_that_limits_its_writes(host, error):
    """A change of openers is four writes in a row: the chip may ask for a pause."""
    sealed(host)
    good = host.do("open")["vault"]["present"]
    host.relay.fail(NV_INCREMENT, error, 3)
    host.do("reseal", add=[after(good, 4)])
    assert host.opened() == "open" and len(host.do("open")["vault"]["states"]) == 2
    # Any other error ends the change; the vault is as it was.
    generation = host.counter()
    host.relay.fail(NV_INCREMENT, 0x149)  # NV_AUTHORIZATION
    assert host.ask("put", uuid=TWO, ek_digest="bb" * 32)["rc"] == "tpm"
    assert host.ask("open")["rc"] == "ok" and host.counter() == generation
    host.do("put", uuid=TWO, ek_digest="bb" * 32)


FAULTS = {"put": ["seal-counter-read", "seal-key-made", "seal-next-written", "seal-next-synced", "seal-dir-synced",
                  "seal-incremented", "seal-renamed", "seal-committed"],
          "reseal": ["seal-burnt", "seal-grown", "seal-wrapped", "seal-closed", "seal-next-synced:2", "seal-dir-synced:3",
                     "seal-incremented:2", "seal-renamed:3", "seal-incremented:3"],
          "create": ["seal-counter-defined", "seal-key-made", "seal-next-synced", "seal-incremented", "seal-renamed"]}


@pytest.mark.parametrize("verb, point", [(verb, point) for verb in FAULTS for point in FAULTS[verb]])
def test_killed(host, verb, point):
    """At every step: the vault opens, the key is there, and no opener is missing from its list."""
    if verb != "create":
        key = sealed(host)
        good = host.do("open")["vault"]["present"]
    host.start()
    if verb == "create":
        host.do("open")
    wish = {"put": {"uuid": TWO, "ek_digest": "bb" * 32}, "create": {"bitmap": BITMAP},
            "reseal": {} if verb == "create" else {"add": [after(good, 4)]} if verb == "reseal" else {}}[verb]
    host.start(fault=point)
    host.proc.stdin.write(json.dumps({"do": verb, **wish}) + "\n")
    host.proc.stdin.flush()
    assert host.proc.stdout.readline() == "" and host.proc.wait() == 137, point
    if verb == "create":
        state = host.opened()
        assert state in ("vault-none", "open")
        if state == "vault-none":
            sealed(host)
            assert host.opened() == "open"
        return
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key
    listed = [o["pcrs"] for o in host.do("entry", uuid=ONE)["openers"]]
    assert all(state in listed for state in host.do("open")["vault"]["states"])
    # In the state that was to be added the vault opens only if the list names it.
    kept = host.files()
    host.extend(4)
    state = host.opened()
    assert state == "vault-locked" or after(good, 4) in listed
    for name, data in kept.items():
        host.put_file(data, name)
    host.chip.reboot(None)
    assert host.opened() == "open"
    host.ask(verb, **wish)  # and the wish can be made again
    assert host.opened() == "open" and host.do("entry", uuid=ONE)["key"] == key


def test_the_product_has_no_fault_points(lab):
    agent = (BUILD / "bin/limetree-agent").read_bytes()
    assert b"LT_FAULT" not in agent and b"seal-next-synced" not in agent
    names = lab.run([lab.install(BUILD / "tests/support/limetree-agent-faults"), "--list-faults"]).stdout.split()
    assert {p.split(":")[0] for points in FAULTS.values() for p in points} <= set(names)
