"""limetree-agent, role guest, on a fresh swtpm: registration, Keylime's agent API, trouble."""

import hashlib
import signal
import ssl
import struct
import uuid as uuidlib

import pytest

from agentkit import (Attest, Ca, Https, Registrar, agent, b64, extended, lab, name_of, options,  # noqa: F401
                      tpm, unb64)
from tests.lab.procs import Deadline

IMA = "".join(f"10 {i:040x} ima-ng sha256:{i:064x} /usr/bin/tool-{i}\n" for i in range(5))


class Guest:
    """The agent under test and a client that its CA lets in."""

    def __init__(self, lab, agent, tpm, wait=True, registrar=None, **more):
        self.lab, self.tpm, self.uuid = lab, tpm, more.pop("uuid", None) or str(uuidlib.uuid4())
        self.ca = Ca(lab, "tenant-ca")
        self.registrar = registrar or Registrar(lab)
        self.ima = lab.write("ima", IMA)
        self.boot_log = lab.write("boot-log", b"\0\1\2 a boot log")
        self.options = dict(role="guest", tcti=tpm.tcti, listen="127.0.0.1:0", state_dir=lab.path("gs"),
                            uuid=self.uuid, registrar=self.registrar.url, client_ca=self.ca.cert, ima=self.ima,
                            boot_log=self.boot_log) | more
        self.program = agent
        self.start(wait)

    def start(self, wait=True, times=1):
        self.child = self.lab.spawn("guest-agent", [self.program, *options(**self.options)], ready_fd=True)
        if wait:
            self.address = self.child.ready()["listen"]
            self.record = self.registrar.wait_active(self.uuid, times)
            self.http = Https(self.address, self.record["mtls_cert"], self.ca.issue("verifier"))

    def quote(self, nonce="0123456789abcdefABCD", mask="0x0", partial=0, extra="", version="v2.6"):
        status, body, _ = self.http.get(
            f"/{version}/quotes/integrity?nonce={nonce}&mask={mask}&partial={partial}{extra}")
        assert status == 200, body
        assert (body["code"], body["status"]) == (200, "Success")
        return body["results"]

    def check(self, results, nonce, name="q"):
        """tpm2_checkquote's opinion; returns (attest, PCR blob)."""
        assert results["quote"][0] == "r"
        parts = [unb64(p) for p in results["quote"][1:].split(":")]
        paths = [self.lab.write(f"{name}.{i}", p) for i, p in enumerate(parts)]
        ak = self.lab.write(f"{name}.ak", unb64(self.record["aik_tpm"]))
        self.lab.run(["tpm2_checkquote", "-u", ak, "-m", paths[0], "-s", paths[1], "-f", paths[2], "-q",
                      nonce.encode().hex(), "-g", "sha256"])
        return Attest(parts[0]), parts[2]


@pytest.fixture
def guest(lab, agent, tpm):  # noqa: F811
    return Guest(lab, agent, tpm)


def test_registration(guest, tpm):  # noqa: F811
    r = guest.record
    host, port = guest.address.rsplit(":", 1)
    assert (r["ip"], r["port"]) == (host, int(port))
    assert unb64(r["ek_tpm"]) == tpm.tpm.read_public(0x81010001)
    der = ssl.PEM_cert_to_DER_cert(r["ekcert"])
    assert der == tpm.ek_certs["rsa2048"].read_bytes()
    ak = unb64(r["aik_tpm"])
    assert struct.unpack_from(">HHI", ak, 2) == (1, 0x000B, 0x00050072)
    assert ("POST", f"/v2.6/agents/{guest.uuid}") in guest.registrar.seen
    # Nothing stays behind in the TPM but the AK that is in use.
    assert len(tpm.tpm.transient_handles()) == 1


def test_quote_is_what_tpm2_tools_accept(guest, tpm):  # noqa: F811
    tpm.tpm.pcr_extend(0, b"\x11" * 32)
    tpm.tpm.pcr_extend(10, b"\x22" * 32)
    nonce = "A" * 64
    r = guest.quote(nonce, "0x401")
    attest, blob = guest.check(r, nonce)
    assert attest.extra == nonce.encode()
    assert (r["hash_alg"], r["enc_alg"], r["sign_alg"]) == ("sha256", "rsa2048", "rsassa")
    assert r["ima_measurement_list"] == IMA and r["ima_measurement_list_entry"] == 0
    assert unb64(r["mb_measurement_list"]) == guest.boot_log.read_bytes()
    # PCR 16 binds the transport key's text.
    nk = extended(hashlib.sha256(r["pubkey"].encode()).digest())
    assert tpm.tpm.pcr_read(16) == nk
    values = [extended(b"\x11" * 32), extended(b"\x22" * 32), nk]
    assert attest.pcr_digest == hashlib.sha256(b"".join(values)).digest()
    # The PCR blob is byte for byte the one tpm2_quote writes.
    lab, out = guest.lab, guest.lab.path("tools.pcrs")
    lab.run(["tpm2_createak", "-C", "0x81010001", "-c", lab.dir / "tools.ak", "-G", "ecc", "-g", "sha256", "-s",
             "ecdsa"], env=tpm.env())
    lab.run(["tpm2_quote", "-c", lab.dir / "tools.ak", "-l", "sha256:0,10,16", "-m", lab.dir / "m", "-s",
             lab.dir / "s", "-o", out], env=tpm.env())
    assert out.read_bytes() == blob


@pytest.mark.parametrize("mask", ["0xffffff", "c0ffff", "0X0"])
def test_every_selection(guest, mask):
    attest, blob = guest.check(guest.quote("n0", mask), "n0")
    pcrs = int(mask, 16) | 1 << 16
    assert attest.selection == struct.pack(">IHB", 1, 0x0B, 3) + pcrs.to_bytes(3, "little")
    assert len(blob) == 136 + 532 * -(-bin(pcrs).count("1") // 8)


def test_partial_and_ima_entries(guest):
    lines = IMA.splitlines(keepends=True)
    r = guest.quote(partial=1)
    assert "pubkey" not in r and "mb_measurement_list" not in r
    for entry, first in ((0, 0), (2, 2), (5, 5), (6, 0), (10**30, 0), ("x", 0), ("-1", 0)):
        r = guest.quote(partial=1, extra=f"&ima_ml_entry={entry}")
        assert r["ima_measurement_list_entry"] == first
        assert r["ima_measurement_list"] == "".join(lines[first:])
    guest.ima.unlink()
    assert "ima_measurement_list" not in guest.quote()


def test_lists_without_loss(guest):
    """With ima_ml_b64=1 every byte, from a unit on; Keylime's field holds what JSON can, line for line."""
    line = b"10 " + b"ab" * 20 + b" ima-ng sha256:" + b"cd" * 32 + b" "
    text = line + b"/tmp/a\nb\xeb\\x41\n" + line + b"/tmp/\\x41\n"
    guest.ima.write_bytes(text)
    lines = text.splitlines(keepends=True)
    for entry, first in ((0, 0), (1, 1), (3, 3), (4, 0)):
        r = guest.quote(partial=1, extra=f"&ima_ml_entry={entry}&ima_ml_b64=1")
        assert "ima_measurement_list" not in r and r["ima_measurement_list_entry"] == first
        assert unb64(r["ima_measurement_list_b64"]) == b"".join(lines[first:])
    r = guest.quote(partial=1)
    assert "ima_measurement_list_b64" not in r
    assert r["ima_measurement_list"] == (line + b"/tmp/a\nb\\xeb\\x5cx41\n" + line + b"/tmp/\\x5cx41\n").decode()
    assert guest.quote(partial=1, extra="&ima_ml_b64=0")["ima_measurement_list"] == r["ima_measurement_list"]


def test_the_other_routes(guest):
    get = guest.http.get
    versions = [f"2.{i}" for i in range(1, 7)]
    assert get("/version")[1]["results"] == {"supported_version": "2.6", "supported_versions": versions}
    assert get("/v2.2/agent/info")[1]["results"] == {
        "agent_uuid": guest.uuid, "tpm_hash_alg": "sha256", "tpm_enc_alg": "rsa", "tpm_sign_alg": "rsassa",
        "ak_handle": 0, "payload": {"state": "none", "message": None, "autorun": None}}
    assert get("/v2.1/agent/info")[0] == 404
    status, body, _ = get("/v2.6/quotes/identity?nonce=abc")
    attest, _ = guest.check(body["results"], "abc")
    assert attest.selection.hex() == "00000001000b03000001"
    assert "ima_measurement_list" not in body["results"]
    assert body["results"]["pubkey"] == get("/v2.4/keys/pubkey")[1]["results"]["pubkey"]


@pytest.mark.parametrize("query", [
    "nonce=&mask=0&partial=0", "mask=0&partial=0", f"nonce={'a' * 65}&mask=0&partial=0", "nonce=a-b&mask=0&partial=0",
    "nonce=a%00b&mask=0&partial=0", "nonce=a&partial=0", "nonce=a&mask=0x1000000&partial=0", "nonce=a&mask=g&partial=0",
    "nonce=a&mask=0x&partial=0", "nonce=a&mask=000000001&partial=0", "nonce=a&mask=0", "nonce=a&mask=0&partial=2"])
def test_bad_parameters(guest, query):
    status, body, _ = guest.http.get(f"/v2.6/quotes/integrity?{query}")
    assert status == 400 and body["code"] == 400 and body["results"] == {}


def test_unknown_versions_and_paths(guest):
    for version in ("v2.0", "v2.7", "v3.0", "v1.0", "v2.60"):
        status, body, _ = guest.http.get(f"/{version}/quotes/identity?nonce=a")
        assert status == 400 and "API version not supported" in body["status"], version
    status, body, _ = guest.http.get("/v2.6/nothing")
    assert status == 404 and body["code"] == 404
    status, body, headers = guest.http.post("/v2.6/quotes/identity?nonce=a", {})
    assert status == 405 and "GET" in headers["Allow"]


def test_no_certificate_no_answer(guest, lab):  # noqa: F811
    foreign = Ca(lab, "foreign-ca").issue("stranger")
    for identity in (None, foreign):
        stranger = Https(guest.address, guest.record["mtls_cert"], identity)
        with pytest.raises((OSError, ssl.SSLError)):
            assert stranger.get("/version")[0] == 401
            raise OSError("refused above TLS")
    guest.quote()


def test_identity_survives_a_restart(guest):
    ak, cert = guest.record["aik_tpm"], guest.record["mtls_cert"]
    key = guest.quote()["pubkey"]
    assert guest.child.stop() == 0
    assert guest.tpm.tpm.transient_handles() == []
    guest.start(times=2)
    assert (guest.record["aik_tpm"], guest.record["mtls_cert"]) == (ak, cert)
    assert guest.quote()["pubkey"] != key
    assert (guest.lab.dir / "gs/ak.blob").stat().st_mode & 0o777 == 0o600


def test_without_a_disk_the_key_stays_in_the_tpm(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, state_dir="")
    ak = guest.record["aik_tpm"]
    assert tpm.tpm.read_public(0x81010020) == unb64(ak)
    guest.check(guest.quote("x1"), "x1")
    assert guest.child.stop() == 0
    guest.start(times=2)
    assert guest.record["aik_tpm"] == ak
    guest.child.stop()
    # Another attestation key at the handle: replaced.
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", "0x81010020"], env=tpm.env())
    lab.run(["tpm2_createak", "-C", "0x81010001", "-c", lab.dir / "a", "-G", "ecc", "-g", "sha256", "-s", "ecdsa"],
            env=tpm.env())
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", lab.dir / "a", "0x81010020"], env=tpm.env())
    tpm.tpm.flush_transients()
    guest.start(times=3)
    assert guest.record["aik_tpm"] != ak
    guest.check(guest.quote("x2"), "x2")


def test_another_programs_key_stays(lab, agent, tpm):  # noqa: F811
    """A storage key where ak_handle says, by mistake or not: whatever it protects has no other key."""
    guest = Guest(lab, agent, tpm, state_dir="")
    guest.child.stop()
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", "0x81010020"], env=tpm.env())
    lab.run(["tpm2_createprimary", "-C", "o", "-c", lab.dir / "p"], env=tpm.env())
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", lab.dir / "p", "0x81010020"], env=tpm.env())
    tpm.tpm.flush_transients()
    before = tpm.tpm.read_public(0x81010020)
    done = lab.run([agent, *options(**guest.options)], check=False)
    assert done.returncode == 2 and "another program's" in done.stderr and "ak_handle" in done.stderr, done
    assert tpm.tpm.read_public(0x81010020) == before


def test_ecc_keys(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, ek_alg="ecc", ak_alg="ecc")
    assert unb64(guest.record["ek_tpm"])[2:4] == unb64(guest.record["aik_tpm"])[2:4] == b"\0\x23"
    assert guest.record["ekcert"] == ""
    r = guest.quote("ecc1", "0x3")
    assert (r["enc_alg"], r["sign_alg"]) == ("ecc256", "ecdsa")
    guest.check(r, "ecc1")
    assert guest.quote(version="v2.4")["enc_alg"] == "ecc"


def test_tpm_killed_and_back(guest, tpm):  # noqa: F811
    ak = guest.record["aik_tpm"]
    tpm.swtpm.kill()
    status, body, _ = guest.http.get("/v2.6/quotes/identity?nonce=a")
    assert status == 500 and body["results"] == {}
    tpm.start(boot_log=None)
    # The agent waits a little before it tries again, and says so by 500: ask until it does.
    for _ in range(200):
        status, body, _ = guest.http.get("/v2.6/quotes/identity?nonce=b")
        if status == 200:
            break
    assert status == 200 and guest.child.alive()
    guest.check(body["results"], "b")
    assert guest.record["aik_tpm"] == ak


def test_tpm_restarted_between_two_quotes(guest, tpm):  # noqa: F811
    before, _ = guest.check(guest.quote("r1"), "r1")
    tpm.swtpm.kill()
    tpm.start(boot_log=None)
    after, _ = guest.check(guest.quote("r2"), "r2")
    assert after.reset > before.reset


def test_leftovers_of_killed_programs(guest, lab, tpm):  # noqa: F811
    """swtpm has three slots and no resource manager: what nobody will flush is swept, when there is need."""
    for times in (2, 3, 4):
        guest.child.kill()
        guest.start(times=times)
        guest.check(guest.quote("k"), "k")
    while len(tpm.tpm.transient_handles()) < 3:
        lab.run(["tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", lab.dir / "left"], env=tpm.env())
    guest.child.stop()
    guest.start(times=5)
    guest.check(guest.quote("l"), "l")


def test_wildcard_listener_registers_an_address(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, wait=False, listen="0.0.0.0:0")
    guest.child.ready()
    assert guest.registrar.wait_active(guest.uuid)["ip"] == "127.0.0.1"


def test_registrar_that_comes_late_or_refuses(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, registrar=Registrar(lab, refuse=[500, 400, 503]))
    assert [s for s in guest.registrar.seen if s[0] == "POST"] == [("POST", f"/v2.6/agents/{guest.uuid}")] * 4
    guest.quote()


def test_registrar_without_a_version_list(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, registrar=Registrar(lab, versions=None))
    posts = [path.split("/")[1] for method, path in guest.registrar.seen if method == "POST"]
    assert posts == ["v2.6", "v2.5", "v2.4", "v2.3"]


def busy(guest, seconds):
    """A verifier that asks, for so long."""
    deadline = Deadline(seconds)
    while not deadline.expired():
        guest.check(guest.quote("busy"), "busy")


def test_registers_again_when_nobody_asks(lab, agent, tpm):  # noqa: F811
    """With the same keys and the same certificate, at a registrar of whatever make."""
    guest = Guest(lab, agent, tpm, register_idle_s=1)
    first = {k: v for k, v in guest.record.items() if k != "secret"}
    again = guest.registrar.wait_active(guest.uuid, 3)
    assert {k: v for k, v in again.items() if k != "secret"} == first
    assert guest.child.tail().count('"event":"registered"') == 1      # a line for what is new


def test_who_is_asked_does_not_register_again(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, register_idle_s=4, register_again_s=1)   # daily: only where it is no news
    busy(guest, 7)
    assert guest.registrar.active[guest.uuid] == 1
    guest.registrar.wait_active(guest.uuid, 2)


def test_registers_again_once_a_day_at_a_registrar_of_ours(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, register_idle_s=0, register_again_s=1, registrar=Registrar(lab, ours=True))
    deadline = Deadline(30)
    while guest.registrar.active[guest.uuid] < 3:
        assert not deadline.expired()
        guest.check(guest.quote("asked"), "asked")


def test_never_again_if_told_so(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, register_idle_s=0, register_again_s=0, registrar=Registrar(lab, ours=True))
    busy(guest, 3)
    assert guest.registrar.active[guest.uuid] == 1


def test_a_refusal_later_ends_nobody_who_serves(lab, agent, tpm):  # noqa: F811
    """A registrar restored from before this guest's keys: the agent says so, serves on, and comes again."""
    guest = Guest(lab, agent, tpm, register_idle_s=1)
    with guest.registrar.change:
        guest.registrar.refuse = [403]
    guest.child.wait_log("registration-refused", 30)
    guest.check(guest.quote("on"), "on")
    times = guest.registrar.active[guest.uuid]
    guest.registrar.wait_active(guest.uuid, times + 1)
    assert guest.child.alive()


def test_a_refused_identity_ends_the_agent(lab, agent, tpm):  # noqa: F811
    guest = Guest(lab, agent, tpm, wait=False, registrar=Registrar(lab, refuse=[403]))
    assert guest.child.wait() == 1
    assert "refuses this one" in guest.child.tail()


def test_one_agent_a_state_directory(guest):
    second = guest.lab.run([guest.program, *options(**guest.options)], check=False)
    assert second.returncode == 2 and "another limetree-agent" in second.stderr


def test_one_agent_a_tpm(guest, lab, agent, tpm):  # noqa: F811
    for more in ({"state_dir": lab.path("other")}, {"state_dir": ""}, {"state_dir": lab.path("other"), "ek_alg": "ecc"}):
        done = lab.run([agent, *options(**guest.options | more)], check=False)
        assert done.returncode == 2 and f"pid {guest.child.proc.pid} (limetree-agent)" in done.stderr, done
    guest.check(guest.quote("one"), "one")


@pytest.mark.parametrize("instead", ["nothing", "another key"])
def test_key_taken_away_without_a_disk(lab, agent, tpm, instead):  # noqa: F811
    """No quote leaves that another key signed; and the verifier is told why there is none."""
    guest = Guest(lab, agent, tpm, state_dir="")
    env = tpm.env()
    guest.check(guest.quote("before"), "before")
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", "0x81010020"], env=env)
    if instead == "another key":    # of the same kind, with the same empty authValue
        lab.run(["tpm2_createak", "-C", "0x81010001", "-c", lab.dir / "a", "-G", "rsa", "-g", "sha256", "-s", "rsassa"],
                env=env)
        lab.run(["tpm2_evictcontrol", "-C", "o", "-c", lab.dir / "a", "0x81010020"], env=env)
        tpm.tpm.flush_transients()
    for _ in range(2):
        status, body, _ = guest.http.get("/v2.6/quotes/identity?nonce=a")
        assert status == body["code"] == 500 and "removed or replaced" in body["status"], body
    assert guest.child.alive()


def test_what_is_wrong_with_the_tpm_is_said_in_words(guest, lab, tpm):  # noqa: F811
    tpm.swtpm.kill()
    status, body, _ = guest.http.get("/v2.6/quotes/integrity?nonce=a&mask=0x0&partial=0")
    assert status == body["code"] == 500 and "absent" in body["status"] and body["results"] == {}


def test_configuration_that_cannot_work(lab, agent, tpm):  # noqa: F811
    good = dict(role="guest", tcti=tpm.tcti, listen="127.0.0.1:0", state_dir=lab.path("gs"), uuid="a",
                client_ca=Ca(lab, "tenant-ca").cert)
    for change, word in (({"role": "both"}, "role"), ({"ek_alg": "dsa"}, "ek_alg"), ({"ak_handle": "12"}, "ak_handle"),
                         ({"uuid": "../x"}, "uuid"), ({"client_ca": ""}, "client_ca"),
                         ({"client_ca": "x"}, "client_ca = x"), ({"tcti": "nothing"}, "TPM"),
                         ({"role": "host", "state_dir": ""}, "state_dir"), ({"role": "host"}, "cert")):
        done = lab.run([agent, *options(**good | change)], check=False)
        assert done.returncode in (2, 4) and word in done.stderr, f"{change} {done.returncode}\n{done.stderr}"


def test_term_while_quotes_are_under_way(guest):
    guest.child.signal(signal.SIGTERM)
    assert guest.child.wait() == 0
