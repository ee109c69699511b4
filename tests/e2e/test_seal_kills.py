"""kill -9 of the host agent, and of libvirtd, at every named fault point of what makes, starts and reseals sealed vTPMs
(agent/fault.h; limetree-agent-faults is the agent with these points compiled in). Whatever the moment: afterwards the
vault opens or says why, what was committed is there, the act can be done again, no key is in a file, a log or a core,
and no state in which a key could ever be had is missing in the list that its tenant is shown.

Once each point; LT_SEAL_KILLS=200 (scripts/test --seal-kills) for that many runs, each point five times at least.
Domains are started paused: no guest boots."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.lab import LabError, Libvirtd
from tests.lab import vaultfile
from tests.lab.procs import Deadline
from tests.lab.sealed import SealedFederation, SealedGuest, recovery_key

FAILED = (LabError, OSError, http.client.HTTPException, AssertionError, ValueError)     # an act of a process that ended
RUNS = int(os.environ.get("LT_SEAL_KILLS", "0"))
AT_LEAST = 5
# What comes by a point: (act, the so-manieth time that it does in that process). The vault's points are a commit's: a
# reseal that drops a state makes four. One comes by twice in each, one when the vault is opened at start, too.
ACTS = {"seal-counter-defined": [("create", 1)], "seal-opened": [("open", 1)], "seal-burnt": [("reseal", 1)],
        "seal-grown": [("reseal", 1)], "seal-wrapped": [("reseal", 1)], "seal-closed": [("reseal", 1)]}
BY_PREFIX = {"provision": [("provision", 1)], "start": [("start", 1)], "hook": [("virsh", 1)]}
COMMITS = {"reseal": 4, "provision": 1, "pin": 1}
A_COMMIT = {"seal-dir-synced": 2}
AT_START = {"seal-counter-read": 1}
LIBVIRTD_TOO = ("provision", "start")
COUNTER = 0x01804C54
FLAGS = 16 | 32


def acts_of(point):
    found = ACTS.get(point) or BY_PREFIX.get(point.partition("-")[0])
    if found:
        return found
    before, each = AT_START.get(point, 0), A_COMMIT.get(point, 1)
    return [(act, before + 1 + i) for act, commits in COMMITS.items() for i in range(commits * each)] + \
        [("open", 1 + i) for i in range(before)]


def plan(points, runs):
    """[(point, act, n, victim)]: each point once; with runs, at least so many, and each point AT_LEAST times."""
    variants = {}
    for number, point in enumerate(points):
        victims = ["agent"] + (["libvirtd", "both"] if point.startswith(LIBVIRTD_TOO) else [])
        ways = [(point, act, n, victim) for victim in victims for act, n in acts_of(point)]
        turn = number % len(ways) if not runs else 0        # not all of them the same act
        variants[point] = ways[turn:] + ways[:turn]
    each = max(AT_LEAST, -(-runs // len(points))) if runs else 1
    runs = [variants[p][i % len(variants[p])] for i in range(each) for p in points]
    return sorted(runs, key=lambda run: run[1] != "create")     # a new vault knows nothing of what was before


class Site:
    """One host with its provider; `base` is a domain that stays."""

    def __init__(self, lab, build):
        (self.faults,) = [lab.install(p) for p in build.rglob("limetree-agent-faults") if p.is_file()]
        self.hook = Libvirtd.hooks_work()
        self.fed = SealedFederation(lab, build, quote_delay_ms=0, hook=self.hook)
        self.lab, self.captured, self.keys, self.count, self.states = lab, [], {}, 0, 0
        self.committed = {}             # {uuid: (ek_digest, how many files were captured before it was committed)}
        self.recovery, self.recovery_public, _ = recovery_key(lab)
        self.fed.up(tenant=False)
        self.base = self.new_domain()
        self.provision(self.base)

    def points(self):
        listed = self.lab.run([self.faults, "--list-faults"]).stdout.split()
        return [p for p in listed if self.hook or not p.startswith("hook")]

    # -- the acts

    def new_domain(self):
        self.count += 1
        return self.fed.virt.guest(f"d{self.count}", kind=SealedGuest)

    def define(self, guest):
        if not guest.defined:
            self.fed.domain("define", self.lab.write(f"g/{guest.name}/domain.xml", guest.xml()))
            guest.defined = True

    def provision(self, guest):
        self.define(guest)
        self.fed.domain("provision", guest.uuid, "--escrow", self.recovery_public)
        self.learn_key(guest)

    def start(self, guest):
        self.fed.domain("start", guest.uuid, "--paused")

    def pin(self, guest):
        self.fed.poll(lambda: guest.uuid in self.fed.residents(), 30, lambda: f"the record of {guest.name}")
        self.fed.domain("pin", guest.uuid)

    def virsh(self, guest):
        self.fed.patiently(lambda: self.fed.virt.virsh("start", guest.name, "--paused"))

    def reseal(self):
        """A state that nothing was ever in, in place of the one before it."""
        self.states += 1
        status, body = self.post("vault/reseal", self.next_states())
        assert status == 200, body

    def next_states(self):
        vault = self.fed.vault()
        present = vault["present"]
        stale = [i for i, s in enumerate(vault["states"]) if any(s[k] != present[k] for k in s)]
        other = dict(present, **{"4": f"{self.states:064x}"})
        return {"add": [other], "drop": stale}

    def create(self):
        status, body = self.post("vault/seal", {})
        assert status == 201, body

    def post(self, what, body):
        return self.fed.https(self.fed.agent_address, "provider", "federation-ca", "POST", f"/federation/v1/{what}", body)

    # -- killing

    def kill_at(self, point, act, n, victim):
        """Whoever is killed when the act comes by that point; returns the act's domain."""
        guest = self.prepare(act)
        self.fed.agent.stop()
        pause = "" if victim == "agent" else ":pause"
        self.fed.start_agent(self.fed.agent_address, self.faults, {"LT_FAULT": f"{point}:{n}{pause}"})
        began = time.monotonic()
        if act == "open":
            self.await_end(point, act)
            return guest
        self.fed.agent.ready(60)
        if victim == "agent":
            with contextlib.suppress(*FAILED):
                self.do(act, guest)
            self.await_end(point, act)
        else:
            self.kill_libvirtd(point, lambda: self.do(act, guest), victim == "both")
        assert time.monotonic() - began < 30, f"{point}: nobody was told of the end for {time.monotonic() - began:.0f} s"
        return guest

    def await_end(self, point, act):
        assert self.fed.agent.wait(30) == 137, f"{point}: {act} never came by\n{self.fed.agent.tail()}"

    def do(self, act, guest):
        {"provision": self.provision, "start": self.start, "virsh": self.virsh, "pin": self.pin,
         "reseal": lambda _: self.reseal(), "create": lambda _: self.create(), "open": lambda _: None}[act](guest)

    def kill_libvirtd(self, point, act, both):
        failed = []

        def run():
            try:
                act()
            except FAILED as error:
                failed.append(error)
        thread = threading.Thread(target=run)
        thread.start()
        self.wait_stopped(self.fed.agent, point)
        self.fed.virt.kill()
        self.fed.agent.signal(signal.SIGKILL if both else signal.SIGCONT)
        thread.join(60)
        assert not thread.is_alive(), f"{point}: the act still waits for a libvirtd that was killed"
        for error in failed:
            assert str(error).strip(), "failed without a word"
        self.fed.virt.start()

    @staticmethod
    def wait_stopped(child, point):
        deadline = Deadline(30)
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert child.alive() and not deadline.expired(), f"{point}: never came by\n{child.tail()}"
            time.sleep(0.005)       # nothing tells of a stop but to the parent's own waitpid

    def prepare(self, act):
        """The domain of the act, ready for it."""
        if act == "create":
            self.fed.agent.stop()
            for name in ("vault", "vault.next"):
                (self.fed.host_state / name).unlink(missing_ok=True)
            self.fed.hw.tpm.command("NV_UndefineSpace", 0x122, b"", bytes.fromhex("40000001") + COUNTER.to_bytes(4, "big"),
                                    auth=True)
            self.committed, self.captured = {}, []
            for name in self.fed.virt.domains():
                self.fed.virt.virsh("destroy", name, check=False)
            self.fed.start_agent(self.fed.agent_address)
            return None
        if act == "provision":
            guest = self.new_domain()
            self.define(guest)
            return guest
        if act in ("start", "virsh"):
            self.base.off()
        if act == "reseal" and not self.next_states()["drop"]:
            self.reseal()
        if act == "pin":            # of a new one: where the pins are there already, nothing is committed
            self.base.off()
            self.base = self.new_domain()
            self.provision(self.base)
            self.start(self.base)
        return self.base

    # -- what must be so afterwards

    def capture(self):
        """Every vault file that lies there now; a pending one gives its keys too, in its states."""
        for name in ("vault", "vault.next"):
            with contextlib.suppress(FileNotFoundError):
                raw = (self.fed.host_state / name).read_bytes()
                with contextlib.suppress(ValueError):       # cut in the middle of a write
                    self.captured.append(vaultfile.vault(raw))

    def restart(self):
        if self.fed.agent.alive():
            self.fed.agent.stop()
        self.fed.hw.tpm.flush_transients()
        self.fed.start_agent(self.fed.agent_address)

    def judge(self, what, act):
        vault = self.fed.poll(lambda: self.settled(), 70, lambda: f"{what}: the vault is busy")
        if vault["state"] != "open":
            assert act == "create" and vault["message"], (what, vault)
            return
        entries = {e["uuid"]: e for e in vault["entries"]}
        for uuid, (ek, since) in self.committed.items():
            assert uuid in entries and entries[uuid]["ek_digest"] == ek, f"{what}: the entry of {uuid} is lost"
            self.judge_openers(what, entries[uuid]["openers"], since)
        self.fed.poll(lambda: "limetree:" not in self.fed.virt.virsh("secret-list"), 20,
                      lambda: f"{what}: a key stays in libvirtd: {self.fed.virt.virsh('secret-list')}")
        self.judge_keys(what)

    def settled(self):
        vault = self.fed.vault()
        return vault if vault["state"] != "vault-busy" else None

    def judge_openers(self, what, digest, since):
        status, raw = self.fed.https(self.fed.agent_address, "provider", "federation-ca", "GET",
                                     f"/federation/v1/openers/{digest}")
        assert status == 200, (what, status, raw)
        listed = {vaultfile.state_bytes(o.state) for o in vaultfile.openers(raw)
                  if o.kind == vaultfile.STATE and o.digest.hex() == self.fed.identity["ek_digest"]}
        for file in self.captured[since:]:
            for state in file.states:
                assert vaultfile.state_bytes(state) in listed, \
                    f"{what}: a file of generation {file.generation} gave keys in a state that the list lacks"

    def judge_tenants_view(self):
        """What a tenant is shown of its guest, by the provider, is that list, and none other."""
        fed, guest = self.fed, self.base
        fed.cli("guest", "assign", guest.uuid, fed.tenant_id)
        digest = {e["uuid"]: e["openers"] for e in fed.vault()["entries"]}[guest.uuid]

        def shown():
            fed.cli("host", "round", fed.host)
            status, raw = fed.https(fed.provider_url, "tenant", "federation-ca", "GET", f"/federation/v1/openers/{digest}")
            return raw if status == 200 else None
        raw = fed.poll(shown, 60, lambda: f"the openers of {guest.name} at the provider")
        assert hashlib.sha256(raw).hexdigest() == digest
        self.judge_openers("at the end, by the provider", digest, self.committed[guest.uuid][1])

    def learn_key(self, guest):
        """From the escrow copy, which is opened as its tenant would; and that its entry is there from now on."""
        entry = {e["uuid"]: e for e in self.fed.vault()["entries"]}[guest.uuid]
        self.committed.setdefault(guest.uuid, (entry["ek_digest"], len(self.captured)))
        self.keys[guest.uuid] = self.fed.opened(guest, self.recovery)

    def judge_keys(self, what):
        """In no file that the lab has, logs among them, and in none of its agent's on tmpfs."""
        needles = [n for text in self.keys.values() for n in (text, base64.b64decode(text), base64.b64decode(text).hex().encode())]
        for path in self.lab.dir.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.parts[len(self.lab.dir.parts)] not in ("bin", "img"):
                raw = path.read_bytes()
                assert not any(n in raw for n in needles), f"{what}: {path} holds a vTPM's key"
        assert not list(self.lab.dir.rglob("core*")), what

    def judge_base(self, what):
        """It starts, and is what it should be: sealed, by the list that the vault has."""
        fed, guest = self.fed, self.base
        if guest.state() == "shut off":
            self.start(guest)
        record = fed.poll(lambda: fed.residents().get(guest.uuid), 30, lambda: f"{what}: the record of {guest.name}")
        digest = {e["uuid"]: e["openers"] for e in fed.vault()["entries"]}[guest.uuid]
        assert len(record) == 232 and record[165] & FLAGS == FLAGS, (what, record.hex())
        assert record[200:].hex() == digest, what

    def run(self, point, act, n, victim):
        what = f"{victim} at {point}, the {n}. time, of {act}"
        began = time.monotonic()
        guest = self.kill_at(point, act, n, victim)
        self.capture()
        self.restart()
        self.judge(what, act)
        if not self.whole(act, guest):
            self.do(act, guest)
        if act == "create":
            self.base = self.new_domain()
            self.provision(self.base)
        self.judge_base(what)
        self.judge(what, "done again")
        print(f"{what}: right after {time.monotonic() - began:.1f} s", flush=True)

    def whole(self, act, guest):
        """The act was done when its end came, and would be refused a second time."""
        if act == "create":
            return self.fed.vault()["state"] == "open"
        return act in ("start", "virsh") and guest.state() != "shut off"


@pytest.fixture(scope="module")
def site(lab, build):
    return Site(lab, build)


def test_cores_are_off(site):
    """No core of whoever holds keys: the limit is zero, and the kernel makes none of it in any way."""
    limits = Path(f"/proc/{site.fed.agent.pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [["0", "0"]]
    before = set(site.lab.dir.rglob("*"))
    site.fed.agent.signal(signal.SIGSEGV)
    site.fed.agent.wait()
    assert not [p for p in set(site.lab.dir.rglob("*")) - before if "core" in p.name]
    site.restart()


def test_killed_at_every_point(site):
    points = site.points()
    runs = plan(points, RUNS)
    began, done = time.monotonic(), {}
    for run in runs:
        site.run(*run)
        done[run[0]] = done.get(run[0], 0) + 1
    site.judge_tenants_view()
    assert set(done) == set(points) and (not RUNS or min(done.values()) >= AT_LEAST)
    print(json.dumps({"points": len(points), "runs": len(runs), "at_least": min(done.values()), "losses": 0,
                      "entries": len(site.committed), "files": len(site.captured), "reseals": site.states,
                      "seconds": round(time.monotonic() - began)}))


def test_plan():
    points = ["seal-counter-read", "seal-burnt", "start-secret", "provision-made"]
    assert [r[0] for r in plan(points, 0)] == points
    assert plan([*points, "seal-counter-defined"], 0)[0][1] == "create"
    many = plan(points, 24)
    assert len(many) == 24 and {r[3] for r in many} == {"agent", "libvirtd", "both"}
    assert {r[1:3] for r in many if r[0] == "seal-counter-read"} <= set(acts_of("seal-counter-read"))
    assert len(acts_of("seal-counter-read")) == 7 and len(acts_of("seal-renamed")) == 6
    assert min([r[0] for r in plan(points, 1)].count(p) for p in points) == AT_LEAST
