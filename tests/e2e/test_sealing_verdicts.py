"""What a tenant makes of sealed vTPMs: real guests on a sealed host, and a provider that changes the list of openers, its
host's kernel, or what it shows. The tests share one federation and run in this order; each leaves it trusted."""

import json

import pytest

from tests.lab.sealed import SealedFederation, other_kernel, recovery_key


@pytest.fixture(scope="module")
def fed(lab, build, cache):
    federation = SealedFederation(lab, build, cache, quote_delay_ms=0, progress=print).up()
    guests = federation.boot(1)
    federation.registered(guests)
    federation.adopt(guests)
    federation.trust(*guests)
    return federation


def reasons(verdict):
    """Why its link is no more: `residency` names each as a part that was not made."""
    return {n.get("part") for n in verdict["not_made"] if n["check"] == "residency"} - {"expected", "history", None}


def new_policy(fed, *guests):
    """The host's operator publishes what the host runs now as its policy, and the tenant accepts that."""
    fed.policy = fed.cli("host", "learn", fed.host, "--ima")["digest"]
    for guest in guests:
        fed.edit_policy(guest, lambda p: p.update(host_policies=sorted({*p["host_policies"], fed.policy})))


def level(fed, guest, link, *why):
    """A new round ends `unchecked`, for the link alone, which is lowered for these reasons."""
    since = fed.ask(guest)
    verdict = fed.wait_verdict(guest, lambda v: v["result"] == "unchecked" and v["reason"] == "level", f"link {link}", since=since)
    assert verdict["link"] == link and verdict["failed"] == []
    assert set(why) <= reasons(verdict), verdict["not_made"]
    return verdict


def test_bound_and_why_not_resident(fed):
    (guest,) = fed.guests[:1]
    verdict = fed.show(guest)["verdict"]
    assert (verdict["result"], verdict["link"]) == ("trusted", "bound")
    assert reasons(verdict) == {p["reason"] for p in verdict["openers"]["problems"]} == {"opener-not-enforced"}
    assert verdict["openers"]["count"] == 1
    listed = fed.cli("guest", "openers", guest.uuid)
    assert json.dumps(listed).count(fed.identity["ek_digest"]) >= 1


def test_resident_by_the_tenants_word_alone(fed):
    guest = fed.guests[0]
    fed.edit_policy(guest, lambda p: p.update(seals=[fed.policy]))
    since = fed.ask(guest)
    verdict = fed.wait_result(guest, "trusted", since=since)
    assert verdict["link"] == "resident" and not reasons(verdict)
    fed.edit_policy(guest, lambda p: p.pop("seals"))
    since = fed.ask(guest)
    assert fed.wait_result(guest, "trusted", since=since)["link"] == "bound"


def test_bundle_offline(fed):
    guest = fed.guests[0]
    path = fed.lab.write("bundle.json", json.dumps(fed.bundle(guest, trusted=True)))
    policy = fed.lab.write("guest-policy.json", json.dumps(fed.policy_of(guest)))
    options = ["--roots", fed.lab.dir / "roots", "--policy", policy]
    done = fed.cli_raw("verify", path, *options)
    assert "consistent (link bound" in done.stdout, done.stdout
    bundle = json.loads(path.read_text())
    assert bundle["host"]["openers"]
    del bundle["host"]["openers"]
    done = fed.cli_raw("verify", fed.lab.write("bundle-without.json", json.dumps(bundle)), *options)
    assert "consistent (link copyable" in done.stdout and "openers-missing" in done.stdout, done.stdout


def test_an_escrow_key_is_accepted_by_name(fed):
    """A guest whose keys a recovery key opens is copyable until its tenant names that key."""
    _, public, name = recovery_key(fed.lab)
    fed.escrow["guest-2"] = public
    (guest,) = fed.boot(1)
    fed.registered([guest])
    fed.adopt([guest])
    level(fed, guest, "copyable", "opener-escrow")
    fed.edit_policy(guest, lambda p: p.update(escrow=[name]))
    fed.trust(guest)
    assert fed.show(guest)["verdict"]["link"] == "bound"


def test_libvirts_own_is_copyable(fed):
    """Beside sealed ones: a version 1 record, which knows no openers to find fault with."""
    guest = fed.virt.guest("unsealed", image=fed.image, plain=True, files={
        "agent.conf": fed.guest_conf(), "tenant-ca.crt": (fed.pki / "tenant-ca.crt").read_bytes()})
    guest.start()
    fed.registered([guest])
    fed.adopt([guest])
    assert not reasons(level(fed, guest, "copyable"))
    guest.destroy()


def test_a_state_that_nobody_accepts_is_shown(fed):
    """The provider opens its vault to another kernel's state: the list says so in the next round. A policy for it, that
    the tenant accepts, makes it good again."""
    guest = fed.guests[0]
    other = fed.another_host("b", other_kernel())
    fed.reseal_to(other)
    verdict = level(fed, guest, "copyable", "opener-off-policy")
    assert verdict["openers"]["count"] == 2
    fed.edit_policy(guest, lambda p: p["host_policies"].append(other.policy))
    fed.trust(guest)
    assert fed.show(guest)["verdict"]["link"] == "bound"


def test_the_new_kernel_opens_it_too(fed):
    """What reseal is for: an update that was foretold, and the guest is bound after it as before."""
    guest = fed.guests[0]
    fed.reboot(other_kernel())
    fed.poll(lambda: fed.vault()["state"] == "open", 70, lambda: f"the vault: {fed.vault()}")
    guest.start()
    fed.back(guest)
    new_policy(fed, guest)
    fed.trust(guest)
    assert fed.show(guest)["verdict"]["link"] == "bound"
    numbers = [i for i, s in enumerate(fed.vault()["states"]) if any(s[k] != fed.vault()["present"][k] for k in s)]
    fed.cli("host", "reseal", fed.host, "--drop", *map(str, numbers))
    fed.trust(guest)
    assert any(o["closed"] for o in fed.cli("guest", "openers", guest.uuid)["openers"])


def test_a_host_that_was_off_policy_stays_in_mind(fed):
    """Whoever was root there had the keys: the link is copyable until the tenant clears that by name."""
    guest = fed.guests[0]
    fed.hw.tpm.pcr_extend(4, bytes(range(32)))
    since = fed.ask(guest)
    fed.wait_result(guest, "failed", "host-policy", since=since)
    fed.reboot()
    fed.poll(lambda: fed.vault()["state"] == "open", 70, lambda: f"the vault: {fed.vault()}")
    guest.start()
    fed.back(guest)
    fed.cli("guest", "clear", guest.uuid)
    level(fed, guest, "copyable", "exposed")
    fed.cli("guest", "clear", guest.uuid, "--exposed")
    fed.trust(guest)
    assert fed.show(guest)["verdict"]["link"] == "bound"
