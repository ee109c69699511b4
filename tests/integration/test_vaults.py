"""An operator seals, predicts and reseals a host; tenants get lists of openers and escrow copies; a copy is opened offline.

Real programs, a chip that swtpm stands for, a private libvirt; domains are started paused.
"""

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.sealed import (STATE, SealedFederation, SealedGuest, other_kernel, recovery_key,  # noqa: E402
                              swtpm_runs)

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
BY_NATURE, NEVER = {1, 3, 5, 6}, {10, 13}


class Place(SealedFederation):
    def seal(self, *args):
        self.first = self.cli("host", "seal", self.host, *args)

    def refused(self, *words, status, says):
        done = self.cli_raw(*words, check=False)
        assert (done.returncode, says in done.stderr) == (status, True), (done.returncode, done.stdout, done.stderr)

    def vault_seen(self):
        status, body = self.https(self.provider_url, "operator", "federation-ca", "GET",
                                  f"/federation/v1/hosts/{self.host}/vault")
        assert status == 200, body
        return json.loads(body)

    def ask_as(self, path, identity="tenant"):
        return self.https(self.provider_url, identity, "federation-ca", "GET", f"/federation/v1/{path}")

    def openers(self):
        return self.cli("host", "openers", self.host)

    def states(self):
        return [o for o in self.openers()["openers"] if o["kind"] == "state"]


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="ltv") as lab:
        fed = Place(lab, BUILD, quote_delay_ms=0).up(tenant=False)
        fed.recovery = recovery_key(lab)
        yield fed


@pytest.fixture(scope="module")
def updated(fed):
    """A host that runs another kernel already."""
    return fed.another_host("b", boot_log=other_kernel(), seal=False)


@pytest.fixture(scope="module")
def guest(fed):
    """Provisioned with an escrow key, and not started."""
    return fed.virt.guest("sealed", kind=SealedGuest, escrow=fed.recovery[1]).define()


@pytest.fixture(scope="module")
def running(fed, guest):
    """It runs, it is the tenant's, and a quote has its record."""
    fed.cli("guest", "assign", guest.uuid, fed.tenant_id)
    guest.start(paused=True)

    def quoted():
        fed.cli("host", "round", fed.host)
        record = fed.residents().get(guest.uuid)
        if record is None or len(record) != 232 or not any(record[200:]):
            return None
        digest = record[200:].hex()
        return digest if fed.ask_as(f"openers/{digest}")[0] == 200 else None
    guest.list = fed.poll(quoted, 60, lambda: f"{fed.residents()}\n{fed.provider.tail()}")
    yield guest
    guest.destroy()


def write_state(lab, name, pcrs):
    return lab.write(name, "".join(f"{n} {v}\n" for n, v in pcrs.items()), 0o644)


def test_a_seal_takes_what_the_policy_judges(fed):
    vault = fed.first
    assert (vault["state"], vault["key"], vault["entries"]) == ("open", "hmac", []) and vault["generation"] > 0
    (state,) = vault["states"]
    status, policy = fed.https(fed.provider_url, "operator", "federation-ca", "GET",
                               f"/federation/v1/policies/{fed.policy}")
    assert status == 200
    judged = {int(n) for n in json.loads(policy)["pcrs"]} - NEVER
    assert {int(n) for n in state} == judged | {0, 2, 4, 7, 8, 9, 12, 14}
    assert vault["present"] == state
    fed.refused("host", "seal", fed.host, status=1, says="vault")
    fed.refused("host", "seal", fed.host, "--bitmap", "5395", status=2, says="bitmap")
    assert fed.vault_seen() == vault


def test_a_state_is_predicted_from_a_host_that_runs_it(fed, updated):
    shown = fed.cli("host", "predict", updated.host)
    assert shown["age_ms"] < 60000 and len(shown["pcrs"]) == 16
    wanted = "00005bff"     # 0-9, 11, 12, 14
    path = fed.lab.path("predicted")
    done = fed.cli_raw("host", "predict", updated.host, "--bitmap", wanted, "-o", path)
    lines = dict(line.split(" ") for line in path.read_text().splitlines())
    assert {int(n) for n in lines} == {n for n in range(24) if 0x5bff >> n & 1} - BY_NATURE - NEVER
    assert all(shown["pcrs"][n] == v for n, v in lines.items())
    says = done.stdout.splitlines()
    assert any(x.startswith("PCR 1, 3, 5-6: left out") and "differs by nature" in x for x in says)
    assert any(x.startswith("PCR 10, 13: never in a state") for x in says)
    assert any(x.startswith("PCR 7, 14: may differ") for x in says) and any(x.startswith("PCR 11: grows") for x in says)
    assert any(x.startswith("PCR 15: left out") for x in says)
    # Without -o the lines alone are on standard output. A host without a vault lends the least.
    done = fed.cli_raw("host", "predict", updated.host)
    assert [int(x.split(" ")[0]) for x in done.stdout.splitlines()] == [0, 2, 4, 7, 8, 9, 12, 14]
    assert "never in a state" in done.stderr
    fed.refused("host", "predict", updated.host, "--bitmap", "00000400", status=2, says="PCR 10")


def test_openers_of_vtpms_that_do_not_run(fed, guest):
    shown = fed.openers()
    assert shown["state"] == "open" and shown["missing"] == []
    state, escrow = sorted(shown["openers"], key=lambda o: o["kind"], reverse=True)
    assert (state["kind"], state["host"], state["number"], state["open"]) == ("state", fed.host, 0, 1)
    assert state["policy"] == fed.policy and state["pcrs"] == fed.first["states"][0]
    assert (escrow["kind"], escrow["key"], escrow["open"]) == ("escrow", fed.recovery[2], 1)
    text = fed.cli_raw("host", "openers", fed.host).stdout
    assert f"accepted by policy {fed.policy}" in text and "state 0 of this host, open to 1 vTPM\n" in text
    assert "NO PUBLISHED POLICY" not in text and f"recovery key {fed.recovery[2]}, open to 1 vTPM\n" in text


def test_a_reseal_shows_itself(fed, updated, guest):
    path = fed.lab.path("other-kernel")
    fed.cli_raw("host", "predict", updated.host, "--bitmap", "00005bff", "-o", path)
    kernel = dict(line.split(" ") for line in path.read_text().splitlines())
    unknown = write_state(fed.lab, "unknown", kernel | {"4": hashlib.sha256(b"nobody's kernel").hexdigest()})
    done = fed.cli_raw("host", "reseal", fed.host, "--pcrs", path, "--pcrs", unknown)
    assert f"{path}: PCR 1, 3, 5-6 as the host has it now" in done.stdout
    assert f"{path}: other than the host has now: PCR 4\n" in done.stdout
    # The other host's policy accepts state 1; this host's own does not, and would fail its guests there.
    assert "state 0:" not in done.stderr
    for n in (1, 2):
        assert f"state {n}: the policy published for this host does not hold it: PCR 4" in done.stderr
    vault = fed.vault_seen()
    assert vault["state"] == "open" and len(vault["states"]) == 3 and vault["generation"] > fed.first["generation"]
    for n in BY_NATURE & {int(n) for n in fed.first["states"][0]}:
        assert vault["states"][1][str(n)] == fed.first["states"][0][str(n)]
    assert {n: vault["states"][1][n] for n in kernel} == kernel
    # What nobody accepts comes first; what the other host's policy accepts is named by it.
    states = fed.states()
    assert [s["number"] for s in states] == [2, 0, 1] or [s["number"] for s in states] == [2, 1, 0]
    by_number = {s["number"]: s for s in states}
    assert by_number[2]["policy"] is None and "PCR 4" in by_number[2]["message"]
    assert by_number[0]["policy"] == fed.policy and by_number[1]["policy"] == updated.policy
    text = fed.cli_raw("host", "openers", fed.host).stdout
    assert text.index("NO PUBLISHED POLICY ACCEPTS IT: PCR 4") < text.index("accepted by policy")
    # Dropped: closed for ever in the list, and not in the key any more.
    fed.cli("host", "reseal", fed.host, "--drop", "2")
    assert len(fed.vault_seen()["states"]) == 2
    gone = [s for s in fed.states() if s["number"] is None]
    assert len(gone) == 1 and gone[0]["closed"] is True and gone[0]["open"] == 0 and gone[0]["closed_for"] == 1
    assert "CLOSED for 1\n" in fed.cli_raw("host", "openers", fed.host).stdout


def test_reseals_that_are_refused(fed, guest):
    lab, host = fed.lab, fed.host
    before = fed.vault_seen()
    fed.refused("host", "reseal", host, status=1, says="none to drop")
    fed.refused("host", "reseal", host, "--drop", "0", status=1, says="present")     # the host is in it
    fed.refused("host", "reseal", host, "--drop", "7", status=2, says="no such state")
    fed.refused("host", "reseal", host, "--drop", "x", status=2, says="no such state")
    fed.refused("host", "reseal", host, "--pcrs", lab.path("nowhere"), status=2, says="nowhere")
    fed.refused("host", "reseal", host, "--pcrs", write_state(lab, "bad", {"4": "zz"}), status=2, says="line 1")
    ima = write_state(lab, "ima", before["present"] | {"10": "00" * 32})
    fed.refused("host", "reseal", host, "--pcrs", ima, status=2, says="PCR 10")
    sha1 = write_state(lab, "sha1", {"4": "00" * 20})
    fed.refused("host", "reseal", host, "--pcrs", sha1, status=2, says="sha1")
    same = write_state(lab, "same", before["present"])
    fed.refused("host", "reseal", host, *(x for _ in range(9) for x in ("--pcrs", same)), status=2, says="at most 8")
    # The agent judges by itself: an operator's program is not asked to be ours.
    for body in ({"add": [{"4": "00" * 32}]}, {"add": [before["present"] | {"13": "00" * 32}]}, {"drop": [-1]},
                 {"drop": [99]}, {"drop": ["0"]}, {"add": [before["present"]] * 9}, {"add": {}}, {"state": 1}):
        status, said = fed.https(fed.agent_address, "provider", "federation-ca", "POST", "/federation/v1/vault/reseal",
                                 body)
        assert status in (400, 413), (body, status, said)
    assert fed.vault_seen() == before


def test_a_list_is_the_tenants_whose_guest_has_it(fed, running):
    status, body = fed.ask_as(f"openers/{running.list}")
    assert status == 200 and hashlib.sha256(body).hexdigest() == running.list
    assert body.startswith(b"LT1:OPENERS\0") and bytes.fromhex(fed.recovery[2]) in body
    other = fed.pki / "other-tenant"
    fed.cli("pki", "issue", fed.pki, "--ca", "federation", "--role", "tenant", "--tenant",
            "11111111-2222-4333-8444-555555555555", "--client", "--out", other)
    for path in (f"openers/{running.list}", f"guests/{running.uuid}/escrow"):
        assert fed.ask_as(path, "other-tenant")[0] == 404
        assert fed.ask_as(path)[0] == 200
    assert fed.ask_as(f"openers/{'0' * 64}")[0] == 404


def test_a_copy_is_opened_offline(fed, running):
    lab = fed.lab
    status, copy = fed.ask_as(f"guests/{running.uuid}/escrow")
    assert status == 200
    path, key = lab.path("copy"), lab.path("kv")
    path.write_bytes(copy)
    private = fed.recovery[0]
    os.chmod(private, 0o600)
    show = ("escrow", "show", path, "--key")
    said = fed.cli(*show, private, "--key-out", key)
    assert (said["uuid"], said["ek_digest"]) == (running.uuid, running.provisioned["ek_digest"])
    assert said["recovery"] == fed.recovery[2] and {o["kind"] for o in said["openers"]} == {"state", "escrow"}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == 44
    # It is the key of that state, which runs with it and not without.
    state = (running.vtpm_state / STATE).read_bytes()
    assert swtpm_runs(lab, state, key.read_bytes()) and not swtpm_runs(lab, state)
    text = fed.cli_raw(*show, private).stdout
    assert key.read_text() not in text and running.uuid in text and "PCR 4 " in text
    fed.refused(*show, private, "--key-out", key, status=2, says="is there already")
    fed.refused(*show, recovery_key(lab, "another")[0], status=1, says="another recovery key")
    os.chmod(private, 0o644)
    fed.refused(*show, private, status=2, says="0600")
    os.chmod(private, 0o600)
    path.write_bytes(copy[:-1] + bytes([copy[-1] ^ 1]))
    fed.refused(*show, private, status=1, says="not as it was made")
    path.write_bytes(copy[:40])
    fed.refused(*show, private, status=1, says="escrow copy")
    fed.refused("escrow", "show", path, status=2, says="usage")


def test_a_copy_is_served_while_the_vault_is_lost(fed, running):
    """The host's agent is up, and its vault is a file of before: no key is in it, and the copy is what is left."""
    vault = fed.host_state / "vault"
    whole = vault.read_bytes()
    fed.agent.stop()
    vault.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    fed.start_agent(fed.agent_address)
    fed.poll(lambda: fed.vault_seen()["state"] == "vault-forged", 30, lambda: fed.vault_seen())
    status, copy = fed.ask_as(f"guests/{running.uuid}/escrow")
    assert status == 200 and copy.startswith(b"LT1:ESCROW\0")
    fed.refused("host", "reseal", fed.host, "--drop", "0", status=1, says="vault")
    status, said = fed.https(fed.provider_url, "operator", "federation-ca", "POST",
                             f"/federation/v1/hosts/{fed.host}/reseal", {"drop": [0]})
    assert status == 409 and json.loads(said)["error"]["slug"] == "vault-forged"
    fed.agent.stop()
    vault.write_bytes(whole)
    fed.start_agent(fed.agent_address)
    fed.poll(lambda: fed.vault_seen()["state"] == "open", 30, lambda: fed.vault_seen())
