"""keylime_tenant against limetree-tenant: every command, guests of either door, and what its policies make of a guest.

The host's half of the chain is the lab's mock, the agents are ours on a fresh swtpm each; stock agents are on no
package registry.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.hwtpm import default_log_file
from tests.lab.mocked import Mocked

from conftest import TRANSCRIPTS
from keyshares import memory  # noqa: F401
from tenantkit import KeylimeTenant

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


class Site(Mocked):
    """Its tenant accepts what this lab can show: no domain, a host without IMA, and guests that nobody judges."""

    accept = "copyable, boot-only, unjudged"

    def start_tenant(self, *args, **kwargs):
        self.tenant_options = ["period_s=2", f"keylime_accept={self.accept}",
                               f"keylime_host_policies={self.policy}"]
        return super().start_tenant(*args, **kwargs)


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="lki") as lab:
        fed = Site(lab, BUILD, guests=3).up()
        for guest in fed.guests:
            fed.cli("guest", "assign", guest.uuid, fed.tenant_id)
            guest.start()
        yield fed


@pytest.fixture
def lab(fed):
    """Whose user the directories of `memory` are for."""
    return fed.lab


@pytest.fixture(scope="module")
def tenant(stock, fed):
    place = TRANSCRIPTS / "keylime_tenant"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    tenant = KeylimeTenant(stock, fed, place)
    tenant.trust(*(guest.chip.ca_bundle for guest in fed.guests))
    return tenant


def at(guest):
    """Whom to add: the id, and the address of its agent."""
    host, _, port = guest.address.rpartition(":")
    return ["-u", guest.uuid, "-t", host, "-tp", port]


def as_it_is(guest):
    """A tpm_policy that the guest meets."""
    return ["--tpm_policy", json.dumps({"4": [guest.chip.tpm.pcr_read(4).hex()]})]


def told(tenant, guest):
    return tenant("cvstatus", "-u", guest.uuid).json()[guest.uuid]


def wait(fed, guest, state, status):
    """Until the verifier tells that; polled by our own client, for a stock command takes seconds."""
    def probe():
        code, body = fed.https(fed.tenant_url, "tenant-operator", "tenant-ca", "GET", f"/v2.6/agents/{guest.uuid}")
        is_ = json.loads(body)["results"]
        return code == 200 and (is_["operational_state"], is_["attestation_status"]) == (state, status) and is_
    return fed.poll(probe, 60, lambda: f"{guest.name} in state {state}, {status}: {fed.show(guest)}")


def test_whole_life(fed, tenant):
    guest = fed.guests[0]
    done = tenant("add", *at(guest), *as_it_is(guest))
    assert done.ok and f"Agent {guest.uuid}" in done.text and "added to Verifier" in done.text, done.text
    state = wait(fed, guest, 3, "PASS")
    assert state["attestation_count"] > 0 and state["hash_alg"] == "sha256"
    again = tenant("add", *at(guest))
    assert not again.ok and "conflict" in again.text, again.text
    status = tenant("status", "-u", guest.uuid)
    assert status.ok and '"operational_state": "Get Quote"' in status.text, status.text
    assert guest.uuid in tenant("cvlist").text
    assert tenant("bulkinfo").json()[guest.uuid]["attestation_status"] == "PASS"
    assert guest.uuid in tenant("reglist").text
    assert tenant("regstatus", "-u", guest.uuid).ok
    assert tenant("update", *at(guest), *as_it_is(guest)).ok
    wait(fed, guest, 3, "PASS")
    assert tenant("reactivate", "-u", guest.uuid).ok
    wait(fed, guest, 3, "PASS")
    done = tenant("delete", "-u", guest.uuid)
    assert done.ok and "deleted from the CV" in done.text, done.text
    assert guest.uuid not in tenant("cvlist").text


def test_a_federation_guest_is_read_and_not_written(fed, tenant):
    guest = fed.guests[1]
    fed.cli("guest", "add", guest.uuid)
    fed.wait_verdict(guest, lambda v: v["batch"] is not None, "a first round")
    before = fed.show(guest)["policy"]
    assert guest.uuid in tenant("cvlist").text
    assert told(tenant, guest)["operational_state"] == "Get Quote"
    for command, more in (("add", at(guest)), ("update", at(guest)), ("reactivate", ["-u", guest.uuid])):
        done = tenant(command, *more)
        assert "403" in done.text, done.text
    done = tenant("delete", "-u", guest.uuid)
    assert "deleted from the CV" not in done.text, done.text
    assert fed.show(guest)["added"] and fed.show(guest)["policy"] == before
    fed.cli("guest", "remove", guest.uuid)


def test_pcrs_decide(fed, tenant):
    guest = fed.guests[0]
    value = guest.chip.tpm.pcr_read(4).hex()
    assert tenant("add", *at(guest), "--tpm_policy", json.dumps({"4": [value]})).ok
    wait(fed, guest, 3, "PASS")
    assert tenant("update", *at(guest), "--tpm_policy", json.dumps({"4": ["ff" * 32]})).ok
    state = wait(fed, guest, 9, "FAIL")
    assert state["last_event_id"] == "pcr_validation.invalid_pcr_4" and state["severity_level"] == 6
    # What our policies have no words for is refused with its name.
    assert tenant("delete", "-u", guest.uuid).ok
    done = tenant("add", *at(guest), "--tpm_policy", json.dumps({"4": ["aa" * 20]}))
    assert not done.ok and "400" in done.text and "tpm_policy" in done.text, done.text
    assert guest.uuid not in tenant("cvlist").text


def restarted(guest, *options):
    """With other options of its configuration."""
    guest.agent.stop()
    guest.options = list(options)
    return guest.start()


def unpacked(fed, guest, path):
    fed.poll(path.exists, 60, lambda: f"{path}: {guest.agent.tail(20)}\n{fed.show(guest)}")


def test_payload_with_a_certificate(fed, tenant, memory):  # noqa: F811
    """--cert and --include: key, certificate and what else is in the directory, and --verify waits for it."""
    guest = restarted(fed.guests[0], f"secure_dir={memory}")
    extra = fed.lab.path("extra", directory=True)
    fed.lab.write("extra/secret.txt", "the secret\n", 0o644)
    done = tenant("add", *at(guest), *as_it_is(guest), "--cert", fed.lab.path("keylime-ca"), "--include", extra,
                  "--verify")
    assert done.ok, done.text
    unpacked(fed, guest, memory / "unzipped/secret.txt")
    for name in ("RevocationNotifier-cert.crt", "cacert.crt", f"{guest.uuid}-cert.crt", f"{guest.uuid}-private.pem"):
        assert (memory / "unzipped" / name).exists(), name
    told_ = told(tenant, guest)
    assert told_["v"] is None and "cert_serial" in told_["meta_data"]
    assert "PRIVATE KEY" not in json.dumps(told_)
    # A guest that comes back, with a new key, gets V after its next trusted round.
    assert fed.wait_release(guest)
    assert tenant("delete", "-u", guest.uuid).ok


def test_payload_of_one_file(fed, tenant, memory):  # noqa: F811
    guest = restarted(fed.guests[0], f"secure_dir={memory}")
    path = fed.lab.write("payload.txt", "only a file\n", 0o644)
    assert tenant("add", *at(guest), *as_it_is(guest), "-f", path, "--verify").ok
    unpacked(fed, guest, memory / "unzipped/decrypted_payload")
    assert (memory / "unzipped/decrypted_payload").read_text() == "only a file\n"
    assert tenant("delete", "-u", guest.uuid).ok


def test_no_payload_without_trust(fed, tenant, memory):  # noqa: F811
    """A guest off its policy never gets V, whatever is tried: --verify gives up, and nothing was unpacked."""
    guest = restarted(fed.guests[0], f"secure_dir={memory}")
    path = fed.lab.write("payload.txt", "only a file\n", 0o644)
    done = tenant("add", *at(guest), "--tpm_policy", json.dumps({"4": ["ff" * 32]}), "-f", path, "--verify")
    assert not done.ok or "verified" not in done.text.lower(), done.text
    fed.wait_result(guest, "failed", "guest-policy")
    assert told(tenant, guest)["attestation_status"] == "FAIL"    # --verify may have said stop, too
    assert not fed.show(guest)["release"]["delivered"] and not (memory / "unzipped").exists()
    assert tenant("delete", "-u", guest.uuid).ok
    guest.agent.stop()
    guest.options = []
    guest.start()


RUNTIME = {"meta": {"version": 1, "generator": 3, "timestamp": "2026-01-01 00:00:00"}, "release": 0,
           "digests": {"/usr/bin/true": ["aa" * 32]}, "excludes": [], "keyrings": {},
           "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": None}, "ima-buf": {},
           "verification-keys": ""}
BOOT = {"events": {"4": ["bb" * 32]}}


@pytest.mark.parametrize("kind, content, option", [("runtime", RUNTIME, "--runtime-policy"),
                                                   ("mb", BOOT, "--mb-policy")])
def test_policies_by_name(fed, tenant, kind, content, option):
    path = fed.lab.write("policy.json", json.dumps(content), 0o644)
    name = [f"{option}-name", f"{kind}-one"]
    assert tenant(f"add{kind}policy", option, path, *name).ok
    assert "409" in tenant(f"add{kind}policy", option, path, *name).text
    assert f"{kind}-one" in tenant(f"list{kind}policy").text
    shown = tenant(f"show{kind}policy", *name)
    assert shown.code == 0 and ("bb" * 32 if kind == "mb" else "aa" * 32) in shown.text, shown.text
    fed.lab.write("policy.json", json.dumps(content).replace("aa" * 32, "cc" * 32).replace("bb" * 32, "dd" * 32))
    assert tenant(f"update{kind}policy", option, path, *name).ok
    assert ("dd" * 32 if kind == "mb" else "cc" * 32) in tenant(f"show{kind}policy", *name).text
    missing = tenant(f"update{kind}policy", option, path, f"{option}-name", "nowhere")
    assert ("409" if kind == "mb" else "404") in missing.text, missing.text
    fed.lab.write("policy.json", '{"unknown": 1}')
    bad = tenant(f"add{kind}policy", option, path, f"{option}-name", f"{kind}-two")
    assert not bad.ok and f"{kind}-two" not in tenant(f"list{kind}policy").text, bad.text
    assert tenant(f"delete{kind}policy", *name).ok
    assert "404" in tenant(f"show{kind}policy", *name).text
    assert "404" in tenant(f"delete{kind}policy", *name).text


@pytest.fixture(scope="module")
def measured(fed):
    """A guest with a boot log and an IMA list, and the policies that Keylime's own tool makes of them."""
    guest = fed.guests[2]
    guest.agent.stop()
    guest.chip.reboot()
    ima = fed.lab.path("guest-ima")
    fed.lab.run([fed.emulator, "--tpm", guest.chip.socket, "--list", ima, "--measure", "/usr/bin/true"])
    guest.options = [f"boot_log={default_log_file()}", f"ima={ima}"]
    guest.start()
    return guest, ima


def create_runtime(stock, fed, ima):
    """Keylime's own tool makes a runtime policy of the guest's list."""
    path = fed.lab.path("runtime.json")
    argv = stock.argv("keylime_policy", "create", "runtime", "--ima-measurement-list", ima, "-o", path)
    argv[3] = "import os; os.geteuid = lambda: 0; " + argv[3]     # it wants to be root, and needs nothing of it
    fed.lab.run(argv, env=stock.env())
    assert "/true" in path.read_text()
    return path


def test_runtime_policy_of_keylimes_tool(stock, fed, tenant, measured):
    guest, ima = measured
    policy = create_runtime(stock, fed, ima)
    # Without measured boot the command line is open, which keylime_accept does not name here.
    assert tenant("add", *at(guest), "--runtime-policy", policy, "--runtime-policy-name", "made").ok
    state = wait(fed, guest, 3, "PENDING")
    assert "open-boot" in json.dumps(state["verdict"]), state
    assert "409" in tenant("deleteruntimepolicy", "--runtime-policy-name", "made").text
    # Where that is accepted, and with the boot judged besides, it is trusted. (Deleted before: a guest's verifier is
    # where it was added, and this one comes up at another port.)
    assert tenant("delete", "-u", guest.uuid).ok
    fed.tenant.stop()
    fed.accept += ", open-boot"
    fed.start_tenant()
    boot = fed.lab.path("boot.json")
    fed.lab.run([fed.program["limetree"], "policy", "learn", "--boot-log", default_log_file(), "--boot", boot])
    assert tenant("add", *at(guest), "--runtime-policy-name", "made", "--mb-policy", boot).ok
    state = wait(fed, guest, 3, "PASS")
    assert (state["has_runtime_policy"], state["has_mb_refstate"]) == (1, 1)
    # A program that the policy does not name.
    fed.lab.run([fed.emulator, "--tpm", guest.chip.socket, "--list", ima, "--measure", "/usr/bin/false"])
    state = wait(fed, guest, 9, "FAIL")
    assert state["last_event_id"] == "ima.validation.ima-ng.not_in_allowlist", state
    assert "/usr/bin/false" in json.dumps(state["verdict"]["failed"]), state
    # Another content for its name, and it is as good as new.
    create_runtime(stock, fed, ima)
    assert tenant("updateruntimepolicy", "--runtime-policy", policy, "--runtime-policy-name", "made").ok
    assert tenant("reactivate", "-u", guest.uuid).ok
    wait(fed, guest, 3, "PASS")
    # A boot that is another than the policy's.
    fed.lab.write("boot.json", json.dumps({"events": {"4": ["bb" * 32]}}), 0o644)
    assert tenant("update", *at(guest), "--mb-policy", boot).ok
    state = wait(fed, guest, 9, "FAIL")
    assert state["last_event_id"].startswith("measured_boot."), state
    assert tenant("delete", "-u", guest.uuid).ok
    assert tenant("deleteruntimepolicy", "--runtime-policy-name", "made").ok


def test_registration_ends(fed, tenant):
    guest = fed.guests[0]
    assert tenant("regdelete", "-u", guest.uuid).code == 0
    assert guest.uuid not in tenant("reglist").text
