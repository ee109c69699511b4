"""limetree-agent, role guest: key shares, payloads, revocation messages; hostile ones; kills in between."""

import json
import os
import stat
import time
import zipfile

import pytest

from agentkit import agent, lab, tpm  # noqa: F401
from keyshares import Notifier, Payload, memory, zeros, zipped  # noqa: F401
from test_agent_guest import Guest
from tests.lab.procs import Deadline


class Booted(Guest):
    """An agent with a directory in memory."""

    def __init__(self, lab, agent, tpm, memory, **more):  # noqa: F811
        self.secure = memory
        super().__init__(lab, agent, tpm, secure_dir=memory, **more)

    def pubkey(self):
        return self.http.get("/v2.6/keys/pubkey")[1]["results"]["pubkey"]

    def post(self, path, body, status=200):
        got, reply, _ = self.http.post(f"/v2.6/{path}", body)
        assert got == status == reply["code"], reply
        return reply

    def give_u(self, p):
        self.post("keys/ukey", p.ukey(self.pubkey(), self.uuid))

    def give_v(self, p):
        self.post("keys/vkey", p.vkey(self.pubkey()))

    def give(self, p):
        self.give_u(p)
        self.give_v(p)

    def state(self):
        return self.http.get("/v2.6/agent/info")[1]["results"]["payload"]

    def wait_state(self, *states, autorun=None):
        deadline = Deadline(60)
        while (s := self.state())["state"] not in states or (autorun and s["autorun"] in (None, "due", "started")):
            assert not deadline.expired(), s
            time.sleep(0.02)
        return s

    def unpacked(self, private=False):
        """Path below unzipped -> bytes (None: a folder). private: and nothing there that others may read."""
        out = {}
        top = self.secure / "unzipped"
        for at, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(at, name)
                mode = os.lstat(path).st_mode
                assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)
                assert not private or stat.S_IMODE(mode) & 0o077 == 0, path
                out[os.path.relpath(path, top)] = None if stat.S_ISDIR(mode) else open(path, "rb").read()
        return out

    def left(self):
        return sorted(x for x in os.listdir(self.secure) if x not in ("pid", "transport.pem", "k", "state.json"))

    def restart(self, times):
        self.child.kill()
        self.start(times=times)


@pytest.fixture
def guest(lab, agent, tpm, memory):  # noqa: F811
    return Booted(lab, agent, tpm, memory)


def verify(guest, p):
    status, body, _ = guest.http.get("/v2.6/keys/verify?challenge=Ab12Cd34")
    if p is None:
        assert status == body["code"] == 400, body
    else:
        assert status == 200 and body["results"] == {"hmac": p.hmac("Ab12Cd34")}


@pytest.mark.parametrize("order", ["u first", "v first"])
@pytest.mark.parametrize("size", [16, 32])
def test_whole(guest, order, size):
    p = Payload(zipped({"a.txt": b"one", "d/e/f": b"two", "empty/": b""}), size)
    verify(guest, None)
    assert guest.state() == {"state": "none", "message": None, "autorun": None}
    for give in (guest.give_u, guest.give_v) if order == "u first" else (guest.give_v, guest.give_u):
        verify(guest, None)
        give(p)
    verify(guest, p)
    assert guest.wait_state("unpacked") == {"state": "unpacked", "message": None, "autorun": None}
    assert guest.unpacked(private=True) == {"derived_tci_key": p.k, "decrypted_payload": p.plain, "a.txt": b"one", "d": None,
                                "d/e": None, "d/e/f": b"two", "empty": None}
    assert guest.left() == ["unzipped"]
    assert stat.S_IMODE(guest.secure.stat().st_mode) == 0o700


def test_key_alone_and_payload_that_is_no_zip(guest):
    p = Payload()
    guest.give(p)
    guest.wait_state("key-only")
    verify(guest, p)
    assert guest.unpacked() == {"derived_tci_key": p.k}
    p = Payload(b"just a file\n")
    guest.give(p)
    guest.wait_state("unpacked")
    assert guest.unpacked() == {"derived_tci_key": p.k, "decrypted_payload": b"just a file\n"}


def test_all_pairs_are_tried_and_a_match_clears_them(guest):
    ours, others = Payload(b"mine"), [Payload(b"x") for _ in range(2)]
    for o in others:
        guest.give_u(o)
    guest.give_u(ours)
    for o in [Payload(), Payload(), ours]:
        guest.give_v(o)
    guest.wait_state("unpacked")
    verify(guest, ours)
    assert guest.left() == ["unzipped"]
    guest.give_v(others[0])         # its U went with the lists
    verify(guest, ours)
    assert [x[0] for x in guest.left()] == ["u", "v"]


def test_the_oldest_makes_way(guest):
    all_of_them = [Payload(b"%d" % i) for i in range(6)]
    for p in all_of_them:
        guest.give_u(p)
    assert sum(x.startswith("u-") for x in guest.left()) == sum(x.startswith("p-") for x in guest.left()) == 4
    guest.give_v(all_of_them[0])
    verify(guest, None)
    guest.give_v(all_of_them[2])
    guest.wait_state("unpacked")
    verify(guest, all_of_them[2])


def test_another_agents_share_never_opens(guest):
    p = Payload(b"x")
    body = p.ukey(guest.pubkey(), "another-agent")
    guest.post("keys/ukey", body)
    guest.give_v(p)
    verify(guest, None)
    assert guest.state()["state"] == "none"


def test_a_newer_payload_takes_the_place_of_an_older_one_whole(guest):
    guest.give(Payload(zipped({"old": b"1", "both": b"1"})))
    guest.wait_state("unpacked")
    p = Payload(zipped({"new": b"2", "both": b"2"}))
    guest.give(p)
    deadline = Deadline(30)
    while "new" not in guest.unpacked():
        assert not deadline.expired()
    assert set(guest.unpacked()) == {"new", "both", "derived_tci_key", "decrypted_payload"}


# ---- bad bodies ----

def test_what_is_no_share(guest):
    p, pem = Payload(b"x"), guest.pubkey()
    other = Payload.wrap(pem, b"s" * 31)
    good = p.ukey(pem, guest.uuid)
    for body in ({}, [], {"encrypted_key": good["encrypted_key"]}, good | {"encrypted_key": "*"}, good | {"encrypted_key": ""},
                 good | {"encrypted_key": other}, good | {"auth_tag": "00"}, good | {"auth_tag": None},
                 good | {"auth_tag": "zz" * 48}, good | {"payload": 1}, good | {"payload": "x"},
                 good | {"encrypted_key": good["encrypted_key"][4:]}):
        assert guest.post("keys/ukey", body, 400)["results"] == {}
    for body in ({}, {"encrypted_key": None}, {"encrypted_key": other}, {"encrypted_key": "A" * 60000}):
        guest.post("keys/vkey", body, 400)
    assert guest.left() == [] and guest.child.alive()
    good["payload"] = None          # as good as absent
    guest.post("keys/ukey", good)
    for challenge in ("", "a-b", "a" * 65, "%00"):
        assert guest.http.get(f"/v2.6/keys/verify?challenge={challenge}")[0] == 400
    assert guest.http.get("/v2.6/keys/verify")[0] == 400
    for path in ("keys/ukey", "keys/vkey", "notifications/revocation"):
        assert guest.http.get(f"/v2.6/{path}")[0] == 405
        status, body, _ = guest.http.post(f"/v9.9/{path}", {})
        assert status == 400 and "API version not supported" in body["status"]


def shut_out(guest, body):
    """A body above the ceiling: 413, or the connection ends while it is sent."""
    try:
        assert guest.http.post("/v2.6/keys/ukey", body)[0] == 413
    except OSError:
        pass
    assert guest.child.alive()


def test_a_payload_above_the_ceiling(guest):
    p = Payload(os.urandom((4 << 20) - 31))
    guest.post("keys/ukey", p.ukey(guest.pubkey(), guest.uuid), 400)
    shut_out(guest, {"payload": "A" * (7 << 20)})
    assert guest.left() == []


def test_a_payload_that_was_altered(guest):
    p = Payload(b"x")
    p.sealed = p.sealed[:-1] + bytes([p.sealed[-1] ^ 1])
    guest.give(p)
    assert "does not open" in guest.wait_state("refused")["message"]
    verify(guest, p)
    assert guest.left() == []


LINK, CHAR, BLOCK = 0o120777, 0o020644, 0o060644
HOSTILE = {
    "..": ({"../evil": b"x"}, "\"..\""),
    ".. inside": ({"a/../../evil": b"x"}, "\"..\""),
    "absolute": ({"/tmp/lt-evil": b"x"}, "absolute"),
    "backslash": ({"..\\evil": b"x"}, "\"..\""),     # libarchive reads it as a slash
    "control": ({"a\nb": b"x"}, "control"),
    "symlink": ({"good": b"1", "l": (LINK, b"/etc/passwd")}, "symbolic link"),
    "file through symlink": ({"l": (LINK, b"/tmp"), "l/lt-evil": b"x"}, "symbolic link"),
    "char device": ({"null": (CHAR, b"")}, "device"),
    "block device": ({"sda": (BLOCK, b"")}, "device"),
    "the agent's name": ({"derived_tci_key": b"x"}, "agent uses"),
    "below the agent's name": ({"decrypted_payload/x": b"x"}, "agent uses"),
    "file below a file": ({"a": b"1", "a/b": b"2"}, "entry"),
    "deep": ({"d/" * 17 + "f": b"x"}, "folders"),
    "long": ({"n" * 256: b"x"}, "255"),
    "ratio": ({"z": bytes(20 << 20)}, "times"),
    "bytes": ({f"r{i}": os.urandom(20000) * 100 for i in range(40)}, "together"),
    "lzma": ({"a": b"one"}, "otherwise than by deflate"),       # whose header says how much memory it takes
    "bzip2": ({"a": b"one"}, "otherwise than by deflate"),
    "many": ({f"{i:05}": b"" for i in range(20000)}, "entries"),
}


def test_hostile_zips_leave_nothing(guest):
    guest.give(Payload(zipped({"before": b"1"})))
    guest.wait_state("unpacked")
    for case, (files, word) in HOSTILE.items():
        method = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}.get(case, zipfile.ZIP_DEFLATED)
        p = Payload(zipped(files, method))
        assert len(p.sealed) < 4 << 20
        guest.give(p)
        assert word in guest.wait_state("refused")["message"], (case, guest.state())
        assert set(guest.unpacked()) == {"before", "derived_tci_key", "decrypted_payload"}, case
        assert guest.left() == ["unzipped"], case
        assert not os.path.exists("/tmp/lt-evil") and not os.path.exists(guest.secure.parent / "evil")
        assert guest.child.tail(1).count('"event":"payload","message":"refused: zip: ') == 1    # named in the log, too


def test_gigabytes_of_zeros(guest):
    """As many as a payload can carry: 3 GiB. The same as ten, which do not come through the door."""
    p = Payload(zeros(3 << 30))
    assert len(p.sealed) < 4 << 20
    start = time.monotonic()
    guest.give(p)
    assert "times" in guest.wait_state("refused")["message"] or "together" in guest.state()["message"]
    assert time.monotonic() - start < 10 and guest.left() == []
    shut_out(guest, Payload(zeros(10 << 30)).ukey(guest.pubkey(), guest.uuid))
    assert guest.left() == []


# ---- programs ----

ENVIRONMENT = b"#!/bin/sh\nenv >env; pwd >pwd; id -u >uid; ls -l /proc/self/fd >fds; echo ran >>ran\n"


def test_autorun_only_if_told_so(guest):
    guest.give(Payload(zipped({"autorun.sh": ENVIRONMENT})))
    assert guest.wait_state("unpacked")["autorun"] is None
    assert "ran" not in guest.unpacked()


def test_autorun(lab, agent, tpm, memory):  # noqa: F811
    guest = Booted(lab, agent, tpm, memory, run_payload="yes")
    guest.give(Payload(zipped({"autorun.sh": ENVIRONMENT})))
    assert guest.wait_state("unpacked", autorun=True)["autorun"] == "done"
    top = guest.secure / "unzipped"
    env = dict(line.split("=", 1) for line in (top / "env").read_text().splitlines())
    assert set(env) - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "AGENT_UUID"} and env["AGENT_UUID"] == guest.uuid
    assert (top / "pwd").read_text() == f"{top}\n"
    assert all("/dev/null" in line or "/proc/" in line or "unzipped/fds" in line
               for line in (top / "fds").read_text().splitlines()[1:])
    guest.restart(2)
    assert guest.state()["autorun"] == "done" and (top / "ran").read_text() == "ran\n"


def test_autorun_that_ends_otherwise(lab, agent, tpm, memory):  # noqa: F811
    guest = Booted(lab, agent, tpm, memory, run_payload="yes", payload_timeout_s=1)
    for text, word in ((b"#!/bin/sh\nexit 3\n", "status 3"), (b"echo no first line\n", "no program"),
                       (b"#!sh\n", "interpreter"), (b"#!/no/such\n", "No such"), (b"#!" + b"x" * 300, "too long"),
                       (b"#!/bin/sh\nkill -9 $$\n", "signal 9"),
                       (b"#!/bin/sh\nsleep 1000 & sleep 1000\n", "killed after 1 s")):
        guest.give(Payload(zipped({"autorun.sh": text})))
        assert word in guest.wait_state("unpacked", autorun=True)["autorun"], text
    guest.quote()


def test_autorun_that_ends_the_agent_is_not_started_again(lab, agent, tpm, memory):  # noqa: F811
    guest = Booted(lab, agent, tpm, memory, run_payload="yes")
    guest.give(Payload(zipped({"autorun.sh": b"#!/bin/sh\necho x >>ran\nkill -9 $PPID\nsleep 1000\n"})))
    guest.child.wait()
    guest.start(times=2)
    assert "not started again" in guest.state()["autorun"]
    assert guest.unpacked()["ran"] == b"x\n"


def test_term_while_autorun_runs(lab, agent, tpm, memory):  # noqa: F811
    guest = Booted(lab, agent, tpm, memory, run_payload="yes")
    guest.give(Payload(zipped({"autorun.sh": b"#!/bin/sh\ntouch begun\nsleep 1000\n"})))
    deadline = Deadline(30)
    while "begun" not in guest.unpacked():
        assert not deadline.expired()
    guest.child.stop(timeout=10)


# ---- kills, and boots ----

def test_killed_in_between(guest):
    """The transport key and the shares outlive the process; U was wrapped before, V after."""
    pem = guest.pubkey()
    p = Payload(zipped({"f": b"1"}))
    guest.give_u(p)
    guest.restart(2)
    assert guest.pubkey() == pem
    guest.check(guest.quote("again"), "again")
    guest.give_v(p)
    guest.wait_state("unpacked")
    assert guest.unpacked()["f"] == b"1"
    guest.restart(3)
    verify(guest, p)
    assert guest.state()["state"] == "unpacked" and guest.unpacked()["f"] == b"1"


def test_killed_at_any_moment(guest):
    """However often: afterwards the payload is there whole, or its halves are."""
    for i in range(8):
        p = Payload(zipped({f"f{k}": os.urandom(5000) for k in range(60)} | {"last": b"%d" % i}))
        guest.give_u(p)
        body = p.vkey(guest.pubkey())
        guest.post("keys/vkey", body)
        time.sleep(0.004 * i)       # not for success: a different moment each time
        guest.restart(i + 2)
        guest.wait_state("unpacked")
        verify(guest, p)
        assert guest.unpacked()["last"] == b"%d" % i and len(guest.unpacked()) == 63
        assert guest.left() == ["unzipped"]


def test_after_a_boot_nothing_opens(guest):
    """A V that was wrapped for the boot before, a U of then, and the disk as it was."""
    p, pem = Payload(b"secret"), guest.pubkey()
    old_v = p.vkey(pem)
    guest.give_u(p)
    guest.child.kill()
    for name in os.listdir(guest.secure):       # what a boot does to a tmpfs
        os.unlink(guest.secure / name)
    guest.secure.rmdir()
    guest.start(times=2)
    assert guest.pubkey() != pem
    guest.post("keys/vkey", old_v, 400)
    guest.give_v(p)
    verify(guest, None)
    state = guest.lab.path("gs")
    assert not [f for f in os.listdir(state) if b"PRIVATE KEY" in (state / f).read_bytes() and f != "mtls-key.pem"]


def test_files_that_were_cut_short_are_dropped(guest):
    p = Payload(b"x")
    guest.give_u(p)
    guest.child.kill()
    share = next(x for x in os.listdir(guest.secure) if x.startswith("u-"))
    os.truncate(guest.secure / share, 20)
    (guest.secure / (share + ".abcdefghijkl")).write_bytes(b"half")
    os.truncate(guest.secure / "state.json", 0) if (guest.secure / "state.json").exists() else None
    guest.start(times=2)
    assert guest.left() == [] and "is dropped" in guest.child.tail()
    guest.give(p)
    guest.wait_state("unpacked")


def test_only_memory_will_do(lab, agent, tpm, memory):  # noqa: F811
    """A disk is refused where it is configured; unset, without a tmpfs, the agent serves but takes no payload."""
    guest = Booted(lab, agent, tpm, memory)
    guest.child.stop()
    for path, word in ((lab.path("on-disk"), "not in memory"), ("/dev/shm", "0700"), ("/no/such/place", "No such file")):
        done = lab.run([agent, *map(str, sum((["-o", f"{k}={v}"] for k, v in (guest.options | {"secure_dir": path}).items()),
                                             []))], check=False)
        assert done.returncode == 2 and "secure_dir" in done.stderr and word in done.stderr, done
    guest.options["secure_dir"] = ""
    child = lab.spawn("unset", [agent, *map(str, sum((["-o", f"{k}={v}"] for k, v in guest.options.items()), []))],
                      ready_fd=True, env={"XDG_RUNTIME_DIR": str(lab.path("xdg", directory=True))})
    guest.child, guest.address = child, child.ready()["listen"]
    guest.record = guest.registrar.wait_active(guest.uuid, 2)
    guest.http.address = guest.address
    child.wait_log("no payload is taken")
    guest.quote()
    reply = guest.post("keys/vkey", Payload().vkey(guest.pubkey()), 400)
    assert "secure_dir" in reply["status"]


# ---- revocations ----

ACTION = b"#!/bin/sh\necho \"$0 $# $(cat \"$1\")\" >>%s\n"


@pytest.fixture
def revoked(lab, agent, tpm, memory):  # noqa: F811
    """An agent whose payload has a notifier's certificate and actions, and that has a directory of actions."""
    directory = lab.path("actions", directory=True)
    said = lab.path("said")
    for name, mode in (("20-second", 0o755), ("10-first", 0o755), ("30-writable", 0o777)):
        path = lab.write(f"actions/{name}", ACTION % str(said).encode(), mode)
        os.chmod(path, mode)
    lab.write("actions/.hidden", ACTION % str(said).encode(), 0o755)
    os.symlink("/bin/true", directory / "40-link")
    os.chmod(directory, 0o755)
    guest = Booted(lab, agent, tpm, memory, run_payload="yes", revocation_actions_dir=directory)
    guest.said, guest.notifier = said, Notifier()
    guest.give(Payload(zipped({"RevocationNotifier-cert.crt": guest.notifier.certificate,
                               "action_list": b"local_action_a, local_action_b,../../bin/x,\nabsent",
                               "local_action_a": ACTION % str(said).encode(),
                               "local_action_b.py": ACTION % str(said).encode(),
                               "local_action_unlisted": ACTION % str(said).encode()})))
    guest.wait_state("unpacked")
    return guest


def wait_said(guest, lines):
    deadline = Deadline(30)
    while (said := guest.said.read_text().splitlines() if guest.said.exists() else []) == [] or len(said) < lines:
        assert not deadline.expired(), said
        time.sleep(0.02)
    return said


def test_revocation(revoked):
    revoked.post("notifications/revocation", revoked.notifier.message(agent_id="vm-7"))
    said = wait_said(revoked, 4)
    names = [line.split()[0].rsplit("/", 1)[1] for line in said]
    assert names == ["10-first", "20-second", "local_action_a", "local_action_b.py"]
    for line in said:
        assert line.split()[1] == "1"
        assert json.loads(line.split(" ", 2)[2]) == {"type": "revocation", "agent_id": "vm-7"}
    deadline = Deadline(30)
    while revoked.left() != ["unzipped"]:
        assert not deadline.expired()
    tail = revoked.child.tail()
    assert "30-writable: not run" in tail and "40-link: not run" in tail and "absent" in tail


def test_in_order(revoked):
    for i in range(5):
        revoked.post("notifications/revocation", revoked.notifier.message(agent_id=f"vm-{i}"))
    said = wait_said(revoked, 20)
    assert [json.loads(line.split(" ", 2)[2])["agent_id"] for line in said] == [f"vm-{i // 4}" for i in range(20)]


def test_revocations_that_nobody_signed(revoked):
    good = revoked.notifier.message(agent_id="vm-7")
    for bad in (good | {"signature": ""}, good | {"msg": good["msg"] + " "}, Notifier().message(agent_id="vm-7"),
                revoked.notifier.message() | {"msg": good["msg"]}):
        revoked.post("notifications/revocation", bad)
    for bad in ({}, {"msg": "{}"}, {"signature": ""}, {"msg": 1, "signature": ""}, {"msg": "{}", "signature": "*"},
                {"msg": "x" * 70000, "signature": ""}):
        revoked.post("notifications/revocation", bad, 400)
    revoked.post("notifications/revocation", revoked.notifier.message(agent_id="the good one"))
    said = wait_said(revoked, 4)
    assert len(said) == 4 and all("the good one" in line for line in said)
    assert revoked.child.tail().count("revocation-refused") == 4


def test_no_action_without_a_certificate_or_permission(lab, agent, tpm, memory):  # noqa: F811
    guest = Booted(lab, agent, tpm, memory)
    notifier, said = Notifier(), lab.path("said")
    guest.post("notifications/revocation", notifier.message())
    guest.child.wait_log("RevocationNotifier-cert.crt is here")
    guest.give(Payload(zipped({"RevocationNotifier-cert.crt": notifier.certificate, "action_list": b"a",
                               "a": ACTION % str(said).encode()})))
    guest.wait_state("unpacked")
    guest.post("notifications/revocation", notifier.message(agent_id="seen"))
    guest.child.wait_log('"agent_id":"seen"')
    deadline = Deadline(30)
    while guest.left() != ["unzipped"]:
        assert not deadline.expired()
    assert not said.exists()


def test_revocation_is_not_lost_by_a_kill(revoked):
    """Answered 200: it will be acted upon. One that the agent dies of is tried once more, then dropped."""
    killer = revoked.lab.write("actions/00-killer", b"#!/bin/sh\necho k >>%s\nkill -9 $PPID\n"
                               % str(revoked.lab.path("kills")).encode(), 0o755)
    os.chmod(killer, 0o755)
    revoked.post("notifications/revocation", revoked.notifier.message(agent_id="vm-7"))
    revoked.child.wait()
    revoked.start(wait=False)
    revoked.child.wait()
    revoked.start(times=2)
    revoked.child.wait_log("is dropped")
    assert revoked.lab.path("kills").read_text() == "k\nk\n"
    killer.unlink()
    revoked.post("notifications/revocation", revoked.notifier.message(agent_id="vm-8"))
    assert len(wait_said(revoked, 4)) == 4


def test_the_queue_is_bounded(lab, agent, tpm, memory):  # noqa: F811
    """503, which a sender may come back from: nothing that was answered 200 is dropped for it."""
    directory, go, said = lab.path("actions", directory=True), lab.path("go"), lab.path("said")
    os.chmod(directory, 0o755)
    os.chmod(lab.write("actions/wait", f"#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.05; done\ncat $1 >>{said}\n"), 0o755)
    guest = Booted(lab, agent, tpm, memory, revocation_actions_dir=directory)
    notifier = Notifier()
    guest.give(Payload(zipped({"RevocationNotifier-cert.crt": notifier.certificate})))
    guest.wait_state("unpacked")
    taken = 0
    while (status := guest.http.post("/v2.6/notifications/revocation", notifier.message(n=taken))[0]) == 200:
        taken += 1
        assert taken < 300
    assert status == 503 and taken == 256, (status, taken)
    lab.write("go", "")
    deadline = Deadline(60)
    while guest.left() != ["unzipped"]:
        assert not deadline.expired(), guest.left()
        time.sleep(0.05)
    assert [json.loads(m + "}")["n"] for m in said.read_text().split("}")[:-1]] == list(range(256))
    guest.post("notifications/revocation", notifier.message())


def test_an_action_that_hangs_delays_the_next_no_longer_than_told(lab, agent, tpm, memory):  # noqa: F811
    directory, said = lab.path("actions", directory=True), lab.path("said")
    os.chmod(directory, 0o755)
    for name, text in (("1", b"#!/bin/sh\nsleep 1000\n"), ("2", ACTION % str(said).encode())):
        os.chmod(lab.write(f"actions/{name}", text), 0o755)
    guest = Booted(lab, agent, tpm, memory, revocation_actions_dir=directory, action_timeout_s=1)
    guest.said, notifier = said, Notifier()
    guest.give(Payload(zipped({"RevocationNotifier-cert.crt": notifier.certificate})))
    guest.wait_state("unpacked")
    guest.post("notifications/revocation", notifier.message(agent_id="x"))
    guest.quote()                       # served meanwhile
    wait_said(guest, 1)
    assert "killed after 1 s" in guest.child.tail()
