"""limetree guest openers, escrow, clear --exposed, list and show, against a tenant's API played by this test: each state
is named by the policy that accepts it, those nobody accepts first; problems come with what to do, each once."""

import http.server
import json
import os
import re
from pathlib import Path

import pytest

from faketenant import fake_tenant

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
LIMETREE = BUILD / "bin/limetree"
EVIL = "name \u009b2J\u202egnp.exe\u200b\x1b[31m\x7f end"
HOST, POLICY, KEY = "aa" * 32, "bb" * 32, "cc" * 32
COPY = bytes(range(256)) * 3


def uuid(i):
    return f"00000000-0000-4000-8000-{i:012d}"


def problem(reason, message="as it is"):
    return {"reason": reason, "message": message}


def state(accepted=None, closed=False, problems=()):
    return {"kind": "state", "closed": closed, "host_ek_digest": HOST, "pcrs": {"4": "00" * 32}, "seen_closed": None,
            "accepted_by": accepted, "problems": list(problems)}


LIST = {"ek_digest": KEY, "digest": KEY, "link": "copyable", "judged": True, "problems": [], "exposed": [
    {"host_ek_digest": HOST, "since": 1700000000}], "openers": [
        state(POLICY, problems=[problem("opener-not-enforced")]),
        state(POLICY, closed=True),
        {"kind": "escrow", "closed": False, "key": KEY, "seen_closed": None, "accepted_by": None,
         "problems": [problem("opener-escrow", EVIL)]},
        state(problems=[problem("opener-off-policy", "PCR 4")]),
        state(problems=[problem("opener-off-policy", "PCR 7")])]}
NONE = {"ek_digest": KEY, "digest": None, "link": None, "judged": False, "problems": [], "openers": [], "exposed": []}


def guest(i, problems, link):
    verdict = {"result": "unchecked", "reason": "level", "link": link, "host_level": "boot-only", "tainted": False,
               "host": HOST[:32], "passed": [], "failed": [], "not_made": [], "notes": [], "batch": None, "times": None,
               "openers": {"digest": KEY, "count": 3, "problems": [dict(p, opener=k) for k, p in enumerate(problems)]}}
    return {"uuid": uuid(i), "agent": uuid(i), "address": None, "added": True, "registered": True, "policy": None,
            "exposed": LIST["exposed"] if i == 1 else [], "verdict": verdict}


GUESTS = [guest(1, [problem("opener-not-enforced"), problem("exposed")], "copyable"),
          guest(2, [problem("opener-not-enforced"), problem("opener-not-enforced")], "bound"), guest(3, [], "resident")]


@pytest.fixture(scope="module")
def limetree(tmp_path_factory):
    p = tmp_path_factory.mktemp("openers") / "pki"
    posted = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, data, kind="application/json"):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def told(self, status, body):
            self.answer(status, json.dumps(body).encode())

        def do_GET(self):
            who, *what = [*self.path.split("/")[4:], None]
            found = [g for g in GUESTS if g["uuid"] == who]
            if who is None:
                self.told(200, {"guests": GUESTS})
            elif not found:
                self.told(404, {"error": {"code": 404, "slug": "not-found", "message": EVIL}})
            elif what[0] == "openers":
                self.told(200, LIST if who == uuid(1) else NONE)
            elif what[0] == "escrow":
                self.answer(200, COPY, "application/octet-stream")
            else:
                self.told(200, found[0])

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append((self.path, body))
            conflict = {"error": {"code": 409, "slug": "conflict", "message": "it is not exposed"}}
            self.told(*((200, {}) if uuid(1) in self.path else (409, conflict)))

        def log_message(self, *_):
            pass

    with fake_tenant(LIMETREE, p, uuid(9), Handler) as run:
        run.posted = posted
        yield run


def harmless(data):
    text = data.decode()
    bad = [c for c in text if ord(c) < 32 and c != "\n" or 0x7f <= ord(c) <= 0x9f or c in "\u202e\u200b"]
    assert not bad, (bad, text)
    return text


def test_those_nobody_accepts_come_first(limetree):
    text = harmless(limetree("openers", uuid(1)).stdout)
    rows = [m.group(1) for m in re.finditer(r"^(\d) .*(?:open|closed)", text, re.M)]
    assert rows == ["2", "3", "4", "0", "1"], text
    table = {line[0]: line for line in text.splitlines() if re.match(r"\d ", line)}
    assert "nobody" in table["3"] and "opener-off-policy" in table["3"]
    assert f"policy {POLICY[:16]}" in table["0"] and f"host {HOST[:32]}" in table["0"]
    assert f"key {KEY[:16]}" in table["2"] and "closed" in table["1"]


def test_each_problem_is_told_and_each_remedy_once(limetree):
    text = harmless(limetree("openers", uuid(1)).stdout)
    assert "opener-off-policy, opener 3: PCR 4" in text and "opener-off-policy, opener 4: PCR 7" in text
    for slug in ("opener-off-policy", "opener-escrow", "opener-not-enforced"):
        assert text.count(f"do, {slug}: ") == 1, text
    assert f"exposed   by host {HOST[:32]}" in text


def test_a_guest_without_a_list(limetree):
    text = harmless(limetree("openers", uuid(2)).stdout)
    assert "no list of openers was seen" in text
    assert json.loads(limetree("openers", uuid(1), "--json").stdout) == LIST
    assert limetree("openers", uuid(7)).returncode == 1


def test_list_and_show_say_why_not_more(limetree):
    text = harmless(limetree("list").stdout)
    assert "copyable: exposed" in text  # what weighs more than the other
    assert "bound: opener-not-enforced" in text
    assert re.search(r"resident +boot-only", text)
    text = harmless(limetree("show", uuid(2)).stdout)
    assert text.count("no more   opener-not-enforced") == 2 and text.count("do        opener-not-enforced: ") == 1
    assert "seals" in text
    assert "clear UUID --exposed" in harmless(limetree("show", uuid(1)).stdout)
    assert "no more" not in harmless(limetree("show", uuid(3)).stdout)


def test_escrow_into_a_file_of_its_owners(limetree, tmp_path):
    out = tmp_path / "copy"
    assert limetree("escrow", uuid(1), "-o", out).returncode == 0
    assert out.read_bytes() == COPY and out.stat().st_mode & 0o777 == 0o600
    assert limetree("escrow", uuid(1)).returncode == 2
    assert limetree("escrow", uuid(7), "-o", tmp_path / "none").returncode == 1
    assert not (tmp_path / "none").exists()
    assert json.loads(limetree("escrow", uuid(1), "-o", out, "--json").stdout) == {"file": str(out), "bytes": len(COPY)}


def test_exposed_is_cleared_by_its_own_word(limetree):
    assert limetree("clear", uuid(1), "--exposed").returncode == 0
    assert limetree.posted[-1] == (f"/federation/v1/guests/{uuid(1)}/clear", {"exposed": True})
    assert limetree("clear", uuid(1)).returncode == 0
    assert limetree.posted[-1][1] == {}
    assert limetree("clear", uuid(2), "--exposed").returncode == 1
    count = len(limetree.posted)
    assert limetree("clear", "--all", "--exposed").returncode == 2
    assert limetree("list", "--exposed").returncode == 2
    assert len(limetree.posted) == count
