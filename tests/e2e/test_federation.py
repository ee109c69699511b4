"""One host, two real guests; then what an attacker, a careless owner or bad luck does to them.

The tests share one federation and run in this order; each leaves it trusted again.
"""

import json
import shutil
import struct

import pytest

CHECKS = ["guest-quote", "guest-clock", "guest-policy", "batch-inclusion", "host-quote", "host-identity",
          "host-policy", "residency", "host-clock", "window", "sandwich"]


def again(fed, guest, clear=False):
    if clear:
        fed.cli("guest", "clear", guest.uuid)
    fed.cli("guest", "round", guest.uuid)
    return fed.wait_result(guest, "trusted")


def failing(verdict):
    return [f["check"] for f in verdict["failed"]]


def test_all_eleven_checks_pass(fed):
    for guest in fed.guests:
        verdict = fed.show(guest)["verdict"]
        assert verdict["result"] == "trusted"
        assert verdict["passed"] == CHECKS
        assert verdict["failed"] == []
        # What is weaker than it could be is named, never hidden.
        assert verdict["link"] == "copyable"
        assert verdict["host_level"] == "appraised"
        assert verdict["tainted"] is True
        assert verdict["host"] == fed.host


def test_one_quote_carries_both(fed):
    fed.cli("guest", "round", "--all")
    verdicts = [fed.wait_verdict(g, lambda v: v["result"] == "trusted" and v["batch"]["n"] == 2, "a shared batch")
                for g in fed.guests]
    assert len({(v["host"], v["batch"]["seq"]) for v in verdicts}) == 1


def test_bundles_verify_offline_and_no_bit_may_flip(fed):
    for guest in fed.guests:
        bundle = fed.bundle(guest, trusted=True)
        path = fed.lab.write(f"bundle-{guest.name}.json", json.dumps(bundle))
        done = fed.cli_raw("verify", path, "--roots", fed.lab.dir / "roots")
        assert "consistent" in done.stdout
        record = bundle["residency"]["record"]
        assert record
        bundle["residency"]["record"] = ("B" if record[20] != "B" else "C").join([record[:20], record[21:]])
        path = fed.lab.write("bundle-bad.json", json.dumps(bundle))
        done = fed.cli_raw("verify", path, check=False)
        assert done.returncode == 1, done.stdout
        assert "inconsistent" in done.stdout


def test_another_tenants_question_is_answered_as_for_an_unknown_guest(fed):
    """A tenant with a good certificate asks about a guest that is not its own."""
    import http.client
    import ssl
    other = "11111111-2222-4333-8444-555555555555"
    fed.cli("pki", "issue", fed.pki, "--ca", "federation", "--role", "tenant", "--tenant", other, "--client",
            "--out", f"{fed.pki}/other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(f"{fed.pki}/federation-ca.crt")
    context.load_cert_chain(f"{fed.pki}/other.crt", f"{fed.pki}/other.key")

    def ask(uuid):
        c = http.client.HTTPSConnection(fed.provider_url.removeprefix("https://"), context=context, timeout=30)
        c.request("GET", f"/federation/v1/guests/{uuid}")
        reply = c.getresponse()
        got = reply.status, reply.read().replace(uuid.encode(), b"UUID")
        c.request("POST", "/federation/v1/proofs", json.dumps(
            {"guests": [{"uuid": uuid, "commitment": "00" * 32}]}), {"Content-Type": "application/json"})
        reply = c.getresponse()
        proofs = json.loads(reply.read())
        c.close()
        return got, reply.status, json.dumps(proofs).replace(uuid, "UUID")

    foreign = ask(fed.guests[0].uuid)
    assert foreign == ask("00000000-0000-4000-8000-000000000000")
    assert foreign[0][0] == 404
    assert '"residency": null' in foreign[2] or "not-found" in foreign[2]
    assert "record" not in foreign[2]


def test_owner_replaces_the_persistent_ek_handle(fed):
    """The guest's owner evicts 0x81010001 and puts something else there: nobody looks at it."""
    guest = fed.guests[0]
    tpm = guest.tpm
    tpm.command("EvictControl", 0x120, struct.pack(">I", 0x81010001), struct.pack(">II", 0x40000001, 0x81010001), True)
    again(fed, guest)


def test_guest_on_other_pcrs_fails_alone(fed):
    guest, innocent = fed.guests
    guest.tpm.pcr_extend(4, bytes(32))
    fed.cli("guest", "round", "--all")
    verdict = fed.wait_result(guest, "failed", "guest-policy")
    assert failing(verdict) == ["guest-policy"]
    assert "PCR 4" in verdict["failed"][0]["message"]
    # A live round stops there: nothing was asked of the host, and nothing is claimed of it.
    assert {n["check"] for n in verdict["not_made"]} >= {"batch-inclusion", "host-quote", "residency", "sandwich"}
    fed.wait_result(innocent, "trusted")
    # A failed verdict does not turn green by itself, even when the guest is good again.
    guest.reset()
    guest.wait_serial("LT-GUEST: agent started")
    fed.cli("guest", "round", guest.uuid)
    assert fed.show(guest)["verdict"]["result"] == "failed"
    again(fed, guest, clear=True)


def test_reset_changes_the_incarnation_and_the_link_holds(fed):
    guest = fed.guests[0]
    before = fed.bundle(guest, trusted=True)["residency"]["record"]
    guest.reset()
    guest.wait_serial("LT-GUEST: agent started")
    again(fed, guest)
    after = fed.poll(lambda: (r := fed.bundle(guest, trusted=True)["residency"]["record"]) != before and r, 90,
                     lambda: "a new incarnation")
    assert after != before


def test_paused_guest_is_unchecked_then_failed_never_trusted(fed):
    """A paused guest does not answer at all: that is transport trouble, and never a verdict about it."""
    guest, innocent = fed.guests
    guest.suspend()
    try:
        fed.cli("guest", "round", "--all")
        fed.wait_result(guest, "unreachable")
        fed.wait_result(innocent, "trusted")
    finally:
        guest.resume()
    again(fed, guest)


def test_vtpm_killed_alone(fed):
    """swtpm dies, QEMU lives on: gone from the next inventory, and the neighbour stays trusted."""
    guest, innocent = fed.guests
    fed.lab.run(["kill", "-KILL", str(guest.swtpm_pid)])
    report = json.loads(fed.lab.run(
        [fed.program["limetree-agent"], *fed.host_options(), "-o", f"libvirt_uri={fed.virt.uri}", "-o",
         f"records={fed.records}", "--inventory", "--json"]).stdout)
    domains = {d["uuid"]: d for d in report["domains"]}
    assert domains[innocent.uuid]["listed"]
    assert not domains[guest.uuid]["listed"] and domains[guest.uuid]["reason"]
    fed.cli("guest", "round", "--all")
    fed.wait_verdict(guest, lambda v: v["result"] in ("unreachable", "unchecked", "failed"), "trouble")
    fed.wait_result(innocent, "trusted")
    guest.destroy()
    guest.start()
    guest.wait_serial("LT-GUEST: agent started")
    fed.cli("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}")
    again(fed, guest, clear=True)


def test_duplicate_ek_beside_an_innocent_guest(fed):
    """A second domain runs a copy of the first one's vTPM: neither is listed, the innocent one is."""
    victim, innocent = fed.guests
    clone = fed.virt.guest("clone")
    clone.define()
    shutil.copytree(victim.vtpm_state, clone.vtpm_state)
    for path in [clone.vtpm_state.parent, clone.vtpm_state, *clone.vtpm_state.iterdir()]:
        shutil.chown(path, fed.lab.uid, fed.lab.gid)
    clone.start()
    try:
        fed.cli("guest", "round", "--all")
        verdict = fed.wait_result(victim, "failed", "residency")
        assert failing(verdict) == ["residency"]
        fed.wait_result(innocent, "trusted")
    finally:
        clone.destroy()
        clone.undefine()
    again(fed, victim, clear=True)


def test_provider_killed_outright_loses_nothing(fed):
    listen = fed.provider_url.removeprefix("https://")
    fed.provider.kill()
    guest = fed.guests[0]
    fed.cli("guest", "round", guest.uuid)
    fed.wait_verdict(guest, lambda v: v["result"] == "unreachable", "unreachable while the provider is gone")
    p = fed.pki
    fed.provider = fed.lab.spawn("provider", [
        fed.program["limetree-provider"], "-o", f"listen={listen}", "-o", f"cert={p}/provider.crt",
        "-o", f"key={p}/provider.key", "-o", f"ca={p}/federation-ca.crt",
        "-o", f"state_dir={fed.lab.path('provider')}"], ready_fd=True)
    fed.provider.ready()
    again(fed, guest)


def test_host_agent_gone_and_back(fed):
    guest = fed.guests[0]
    fed.agent.kill()
    fed.cli("guest", "round", guest.uuid)
    fed.wait_verdict(guest, lambda v: v["result"] == "unreachable", "unreachable while the host agent is gone")
    fed.start_agent(fed.agent_address)
    again(fed, guest)


def test_host_rebooted_under_its_guests(fed):
    """The host TPM's counters change: the residency of before is void, and a new incarnation begins."""
    for guest in fed.guests:
        guest.destroy()
    fed.agent.stop()
    fed.hw.reboot()
    fed.anchor()
    fed.start_agent(fed.agent_address)
    for guest in fed.guests:
        guest.start()
    for guest in fed.guests:
        guest.wait_serial("LT-GUEST: agent started")
        fed.cli("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}")
    for guest in fed.guests:
        again(fed, guest)


@pytest.mark.parametrize("pcr", [4])
def test_host_off_policy_fails_every_guest(fed, pcr):
    """Last: nothing but a reboot of the host takes this back."""
    fed.hw.tpm.pcr_extend(pcr, bytes(range(32)))
    fed.cli("guest", "round", "--all")
    for guest in fed.guests:
        verdict = fed.wait_result(guest, "failed", "host-policy")
        assert failing(verdict) == ["host-policy"]
        assert f"PCR {pcr}" in verdict["failed"][0]["message"]
