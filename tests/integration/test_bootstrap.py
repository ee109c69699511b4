"""A tenant's first secret: `limetree guest add --payload` against real agents, a real tenant and a real provider; the
host's half is a mock (tests/lab/mocked.py). A guest that is not trusted never gets V, whatever the cause."""

import json
import os
import re
import sqlite3
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402
from tests.lab.tap import Tap  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
SECRET = "the first secret of this guest"


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="ltb") as lab:
        fed = Mocked(lab, BUILD, guests=3, tenant_options=["period_s=1", "gather_ms=200"]).up()
        for guest in fed.guests:
            guest.start()
        fed.adopt(fed.guests)
        for guest in fed.guests:
            fed.wait_result(guest, "trusted")
        lab.write("secret", SECRET)
        lab.path("payload", directory=True)
        lab.path("payload/sub", directory=True)
        lab.write("payload/secret", SECRET)
        lab.write("payload/sub/more", "more")
        yield fed


def add(fed, guest, *args, check=True, wait="wait_s=60"):
    return fed.cli_raw("guest", "add", guest.uuid, *args, "-o", wait, check=check, timeout=120)


def anew(fed, guest):
    """Trusted, and without V or payload, as after a boot."""
    fed.cli("guest", "remove", guest.uuid)
    guest.reboot()
    guest.start()
    fed.residents_are(fed.guests)
    fed.cli("guest", "add", guest.uuid)
    fed.wait_verdict(guest, lambda v: v["batch"] is not None, "a round")
    fed.cli("guest", "learn", guest.uuid, "--accept", "copyable,boot-only")
    fed.wait_result(guest, "trusted")
    assert fed.release(guest) is None and not guest.unpacked


def wait_unpacked(fed, guest, name="decrypted_payload"):
    fed.poll(lambda: name in guest.unpacked, 20, lambda: f"{name}:\n{guest.agent.tail()}")
    return guest.unpacked


def test_a_file(fed):
    guest = fed.guests[0]
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--wait")
    assert "has its payload" in done.stdout
    said = done.stderr.splitlines()
    assert [line.split(":")[0] for line in said[:4]] == ["registrar", "agent", "agent", "tenant"], said
    assert wait_unpacked(fed, guest)["decrypted_payload"] == SECRET.encode()
    release = fed.release(guest)
    assert release["delivered"] and release["error"] is None and re.fullmatch("[0-9a-f]{64}", release["key"])
    shown = fed.cli_raw("guest", "show", guest.uuid).stdout
    assert re.search(r"^  payload +V was delivered", shown, re.M), shown


def test_a_directory(fed):
    guest = fed.guests[0]
    add(fed, guest, "--payload", fed.lab.dir / "payload", "--wait")
    have = wait_unpacked(fed, guest, "sub/more")
    assert have["secret"] == SECRET.encode() and have["sub/more"] == b"more"
    reply = json.loads(add(fed, guest, "--payload", fed.lab.dir / "payload", "--wait", "--json").stdout)
    assert reply["uuid"] == guest.uuid and "v" not in reply


def test_a_certificate(fed):
    guest = fed.guests[0]
    ca = fed.lab.dir / "guests-ca"
    fed.lab.run([fed.program["limetree"], "ca", "init", ca, "--url", "http://127.0.0.1:1/guests.crl"])
    add(fed, guest, "--payload", fed.lab.dir / "payload", "--cert", "-o",
        f"guests_ca={ca}", "--name", "web.example", "--wait")
    have = wait_unpacked(fed, guest, "RevocationNotifier-cert.crt")
    for name in (f"{guest.uuid}-cert.crt", f"{guest.uuid}-private.pem", f"{guest.uuid}-public.pem", "cacert.crt",
                 "cacrl.der", "secret", "sub/more"):
        assert have[name], name
    crt = fed.lab.write("got.crt", have[f"{guest.uuid}-cert.crt"])
    fed.lab.run(["openssl", "verify", "-CAfile", fed.lab.write("got-ca.crt", have["cacert.crt"]), crt])
    assert "RSA" not in json.dumps(fed.show(guest)) and "PRIVATE" not in json.dumps(fed.show(guest))
    listed = fed.lab.run([fed.program["limetree"], "ca", "list", ca, "--json"]).stdout
    assert guest.uuid in listed


def test_secrets_lie_sealed(fed):
    for path in fed.lab.path("tenant").glob("tenant.db*"):
        assert b"PRIVATE KEY" not in path.read_bytes(), path
    assert oct(os.stat(fed.lab.path("tenant") / "vault.key").st_mode & 0o777) == "0o600"
    db = sqlite3.connect(f"file:{fed.lab.path('tenant')}/tenant.db?mode=ro", uri=True)
    assert db.execute("SELECT count(*) FROM releases WHERE v IS NOT NULL").fetchone()[0] >= 1
    db.close()


def off_residency(fed, guest):
    fed.residents_are([g for g in fed.guests if g is not guest])


def off_host(fed, guest):
    fed.residents_are(fed.guests, pcr4="ab" * 32)


@pytest.mark.parametrize("turn,reason", [(off_residency, "residency"), (off_host, "host-policy")])
def test_no_v_on_a_failing_host(fed, turn, reason):
    guest = fed.guests[1]
    anew(fed, guest)
    turn(fed, guest)
    fed.wait_result(guest, "failed", reason)
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--wait", check=False)
    assert done.returncode == 1 and f"gets no V: failed {reason}" in done.stderr, done
    fed.ask(guest)
    assert not fed.release(guest)["delivered"] and not guest.unpacked
    assert not any("vkey" in line for line in guest.agent.log.read_text().splitlines())
    fed.residents_are(fed.guests)
    for each in fed.guests:
        if fed.show(each)["verdict"]["result"] == "failed":
            fed.cli("guest", "clear", each.uuid)
    fed.wait_release(guest)      # nothing else was in the way
    assert wait_unpacked(fed, guest)["decrypted_payload"] == SECRET.encode()


def test_no_v_while_the_provider_is_down(fed):
    guest = fed.guests[1]
    anew(fed, guest)
    address = fed.provider_url.removeprefix("https://")
    fed.provider.stop()
    fed.wait_result(guest, "unreachable", "provider-unreachable")
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--wait", check=False, wait="wait_s=3")
    assert done.returncode == 4 and "unreachable provider-unreachable" in done.stderr, done
    assert not fed.release(guest)["delivered"] and not guest.unpacked
    fed.start_provider(address)
    fed.wait_release(guest)
    assert wait_unpacked(fed, guest)["decrypted_payload"] == SECRET.encode()


def test_no_v_over_a_weaker_link(fed):
    guest = fed.guests[1]
    anew(fed, guest)
    policy = json.loads(fed.https(fed.tenant_url, "tenant-operator", "tenant-ca", "GET",
                                  f"/federation/v1/policies/{fed.show(guest)['policy']}")[1])
    assert "copyable" in policy["accept"]
    good = fed.lab.write("good.json", json.dumps(policy))
    weak = fed.lab.write("weak.json", json.dumps(policy | {"accept": ["boot-only"]}))
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--policy", weak, "--wait", check=False, wait="wait_s=3")
    assert done.returncode == 4 and "unchecked level" in done.stderr, done
    assert not fed.release(guest)["delivered"] and not guest.unpacked
    add(fed, guest, "--policy", good)
    fed.wait_release(guest)
    assert wait_unpacked(fed, guest)["decrypted_payload"] == SECRET.encode()


def test_an_agent_restarted_in_the_middle(fed):
    """U has come, V has not: the agent that is killed then goes on where it was."""
    guest = fed.guests[2]
    anew(fed, guest)
    off_residency(fed, guest)
    fed.wait_result(guest, "failed")
    add(fed, guest, "--payload", fed.lab.dir / "secret")
    guest.agent.kill()
    guest.agent.wait()
    guest.start()
    fed.residents_are(fed.guests)
    fed.cli("guest", "clear", guest.uuid)
    fed.wait_release(guest)
    assert wait_unpacked(fed, guest)["decrypted_payload"] == SECRET.encode()


@pytest.mark.parametrize("tries", [1, 2])
def test_a_reboot_between_verdict_and_v(fed, tries):
    """V of a trusted round is on its way (and comes once more) when the guest is rebooted into another system: V opens
    nothing there, and nobody sends it to the new key without the whole chain."""
    guest = fed.guests[2]
    anew(fed, guest)
    tap = Tap(guest, fed.pki)
    tap.keep = True
    add(fed, guest, "--payload", fed.lab.dir / "secret", "--address", tap.address)
    tap.wait_kept(tries)
    off_residency(fed, guest)           # from here on it is not to be trusted
    guest.reboot()
    guest.start()
    for path, body in tap.kept:
        status, reply = tap.bring("POST", path, body)
        assert status == 400, reply     # the transport key went with the boot
    fed.wait_result(guest, "failed")
    kept = len(tap.kept)
    fed.ask(guest)
    fed.wait_result(guest, "failed")
    assert len(tap.kept) == kept and not fed.release(guest)["delivered"] and not guest.unpacked
    tap.keep = False
    fed.residents_are(fed.guests)
    fed.cli("guest", "clear", guest.uuid)
    fed.wait_release(guest)             # trusted anew: V comes, wrapped for the new key, and U is gone
    assert not guest.unpacked
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--wait")
    assert "has its payload" in done.stdout


def test_whoever_is_not_that_tpm_gets_nothing(fed):
    """Between the command line and the agent, with the agent's TLS key: another transport key, an old quote, a quote
    of another TPM, a reply that is none. U goes to none of them."""
    guest, other = fed.guests[0], fed.guests[1]
    tap, old = Tap(guest, fed.pki), []
    _, theirs = Tap(other, fed.pki).bring("GET", "/v2.6/quotes/identity?nonce=ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", None)
    key = fed.lab.run(["openssl", "genrsa", "2048"]).stdout
    public = fed.lab.run(["openssl", "pkey", "-pubout"], input=key).stdout

    def another_key(path, reply):
        if "identity" in path:
            old.append(dict(reply["results"]))
            reply["results"]["pubkey"] = public
        return reply

    def change(**results):
        return lambda path, reply: reply | {"results": reply["results"] | results} if "identity" in path else reply

    cases = [(another_key, "does not name the transport key"), (None, ""), (change(**json.loads(theirs)["results"]), "its quote"),
             (change(quote="r::"), "PCR blob"), (change(quote="r" * 9000), "too large"), (change(pubkey=None), "pubkey"),
             (change(quote=17), "quote")]
    for tamper, word in cases:
        if tamper is None:
            tamper, word = change(**old[0]), "is not the nonce of this round"
        tap.tamper, tap.asked[:] = tamper, []
        done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--address", tap.address, check=False)
        assert done.returncode == 1 and word in done.stderr, (word, done)
        assert "/v2.6/quotes/identity" in tap.asked and not [p for p in tap.asked if "ukey" in p], tap.asked
    tap.tamper = lambda path, reply: reply | {"results": {"supported_version": "1.0"}} if path == "/version" else reply
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--address", tap.address, check=False)
    assert done.returncode == 1 and "no version of ours" in done.stderr, done
    fed.cli("guest", "add", guest.uuid)      # asked where it registered again


def test_an_agent_with_another_key(fed):
    """It takes V, and proves a key that is not K."""
    guest = fed.guests[0]
    tap = Tap(guest, fed.pki)
    tap.tamper = lambda path, reply: reply | {"results": {"hmac": "00" * 48}} if "keys/verify" in path else reply
    done = add(fed, guest, "--payload", fed.lab.dir / "secret", "--address", tap.address, "--wait", check=False)
    assert done.returncode == 1 and "does not show that it made K" in done.stderr, done
    fed.cli("guest", "add", guest.uuid)


def test_what_add_refuses(fed):
    guest = fed.guests[0]
    secret = fed.lab.dir / "secret"

    def refused(status, word, *args):
        done = fed.cli_raw("guest", "add", *args, check=False)
        assert done.returncode == status and word in done.stderr, done
    refused(2, "--wait needs", guest.uuid, "--wait")
    refused(2, "open: No such file", guest.uuid, "--payload", "/no/such/file")
    refused(1, "not registered", "00000000-0000-4000-8000-00000000dead", "--payload", secret)
    refused(2, "registrar_url", guest.uuid, "--payload", secret, "-o", "registrar_url=")
    refused(4, "agent at 127.0.0.1:1", guest.uuid, "--payload", secret, "--address", "127.0.0.1:1")
    # another guest's agent: its certificate is not this one's
    refused(1, f"agent at {fed.guests[1].address}", guest.uuid, "--payload", secret, "--address", fed.guests[1].address)
