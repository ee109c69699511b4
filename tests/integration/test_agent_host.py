"""limetree-agent, role host, on a fresh swtpm and with no guest: the key AK_h, PCR 13, activation, host quotes.

libvirt's test driver (test:///default) has one domain and no vTPM, so the inventory is complete and empty.
"""

import base64
import hashlib
import hmac
import json
import os
import ssl
import struct
from pathlib import Path

import pytest

from agentkit import (NONE, TOP, Attest, Ca, Https, agent, b64, extended, lab, make_credential,  # noqa: F401
                      name_of, options, tpm, unb64)

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
ROOT, POLICY = "ab" * 32, "cd" * 32
V1 = "/federation/v1"


def tagged(tag, size=16):
    return tag.encode().ljust(size, b"\0")


class Header:
    """The 168 bytes of docs/protocol.md section 3."""

    def __init__(self, raw):
        assert len(raw) == 168
        (tag, self.version, self.hash_alg, self.host, self.seq, self.n, self.root, self.inventory_seq, self.m,
         self.inventory_root, self.policy, self.ima_count, self.flags) = struct.unpack(
             ">16sHH16sQI32sQI32s32sQI", raw)
        assert tag == tagged("LT1:HOST-QUOTE")


class Host:
    def __init__(self, lab, agent, tpm, **more):
        self.lab, self.tpm, self.program, self.uri = lab, tpm, agent, "test:///default"
        self.ca = Ca(lab, "federation-ca")
        self.ima = lab.write("ima", "10 a\n10 b\n10 c\n")
        self.boot_log = lab.write("boot-log", bytes(range(256)))
        self.base = dict(role="host", seal_checks="none", tcti=tpm.tcti, state_dir=lab.path("hs")) | more

    def command(self, flag, check=True):
        done = self.lab.run([self.program, flag, "--json", *options(**self.base)], check=check)
        return json.loads(done.stdout) if check else done

    def options(self):
        return options(**self.base, listen="127.0.0.1:0", cert=self.cert[0], key=self.cert[1], client_ca=self.ca.cert,
                       libvirt_uri=self.uri, ima=self.ima, boot_log=self.boot_log)

    def start(self):
        self.command("--anchor")
        self.identity = self.command("--identity")
        self.cert = self.ca.issue("host", "host", host=self.identity["host"])
        self.child = self.lab.spawn("host-agent", [self.program, *self.options()], ready_fd=True)
        ready = self.child.ready()
        assert ready["host"] == self.identity["host"]
        self.address = ready["listen"]
        self.http = self.client("provider", role="provider")
        return self

    def client(self, name, **scope):
        return Https(self.address, self.ca.cert.read_text(), self.ca.issue(name, **scope))

    def ask(self, seq, n=3, known=None):
        return self.http.post(f"{V1}/host-quotes", {
            "batch_seq": seq, "n": n, "batch_root": ROOT, "policy_digest": POLICY, "inventory_root": known})

    def patiently(self, first_seq, tries=400):
        """Asks as a provider would after 503: again, with a number above the last."""
        for seq in range(first_seq, first_seq + tries):
            status, reply, headers = self.ask(seq)
            if status != 503:
                return status, reply
            assert headers["Retry-After"] and reply["error"]["retry_after"]
        raise AssertionError(reply)

    def check(self, reply):
        """A quote judged by tpm2-tools and by hand; returns (header, attest)."""
        header, attest, signature = (unb64(reply[k]) for k in ("header", "attest", "signature"))
        paths = [self.lab.write(f"hq.{i}", p) for i, p in enumerate((attest, signature, self.ak))]
        self.lab.run(["tpm2_checkquote", "-u", paths[2], "-m", paths[0], "-s", paths[1], "-q",
                      hashlib.sha256(header).hexdigest(), "-g", "sha256"])
        parsed = Attest(attest)
        assert parsed.extra == hashlib.sha256(header).digest()
        assert parsed.selection.hex() == "00000001000b03ffff00"
        values = [bytes.fromhex(reply["pcrs"][str(i)]) for i in range(16)]
        assert len(reply["pcrs"]) == 16
        assert parsed.pcr_digest == hashlib.sha256(b"".join(values)).digest()
        assert values[13] == extended(hashlib.sha256(tagged("LT1:AK-HOST") + name_of(self.ak)).digest())
        qn_ek = b"\0\x0b" + hashlib.sha256(struct.pack(">I", 0x4000000B) + name_of(self.ek)).digest()
        assert parsed.signer == b"\0\x0b" + hashlib.sha256(qn_ek + name_of(self.ak)).digest()
        return Header(header), parsed

    def learn(self):
        status, reply, _ = self.http.get(f"{V1}/host")
        assert status == 200, reply
        self.ak, self.ek = unb64(reply["ak"]), unb64(reply["ek"])
        return reply


@pytest.fixture
def host(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm).start()
    host.patiently(1)
    return host


def put_in_nv(tpm, index, data):  # noqa: F811
    """As a maker would: an index that its empty auth and the owner may read."""
    attributes = 0x02060006     # OWNERWRITE, AUTHWRITE, OWNERREAD, AUTHREAD, NO_DA
    public = struct.pack(">IHIHH", index, 0x0B, attributes, 0, len(data))
    tpm.tpm.command("NV_DefineSpace", 0x12A, struct.pack(">HH", 0, len(public)) + public, struct.pack(">I", 0x40000001),
                    auth=True)
    for at in range(0, len(data), 512):
        part = data[at:at + 512]
        tpm.tpm.command("NV_Write", 0x137, struct.pack(">H", len(part)) + part + struct.pack(">H", at),
                        struct.pack(">II", index, index), auth=True)


def test_chain_in_nv_is_sent_behind_the_leaf(lab, agent, tpm):  # noqa: F811
    """Two issuers in the indices of the EK profile, one going on in the next index, padded at the end."""
    pems = tpm.ca_bundle.read_text().split("-----END CERTIFICATE-----\n")[:2]
    issuer, root = (ssl.PEM_cert_to_DER_cert(p[p.index("-----BEGIN"):] + "-----END CERTIFICATE-----\n") for p in pems)
    put_in_nv(tpm, 0x01C00100, issuer + root[:100])
    put_in_nv(tpm, 0x01C00101, root[100:] + b"\xff" * 20)
    put_in_nv(tpm, 0x01C00200, b"not of the chain")
    host = Host(lab, agent, tpm).start()
    host.patiently(1)
    sent = [ssl.PEM_cert_to_DER_cert(c) for c in host.learn()["ek_certificates"]]
    assert sent == [tpm.ek_certs["rsa2048"].read_bytes(), issuer, root]


def test_anchor_then_identity(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm)
    anchored = host.command("--anchor")
    identity = host.command("--identity")
    assert anchored["ak_name"] == identity["ak_name"]
    assert tpm.tpm.pcr_read(13).hex() == anchored["pcr13"]
    assert anchored["pcr13"] == extended(
        hashlib.sha256(tagged("LT1:AK-HOST") + bytes.fromhex(identity["ak_name"])).digest()).hex()
    # Once a boot: the second time changes nothing.
    assert host.command("--anchor") == anchored
    assert tpm.tpm.pcr_read(13).hex() == anchored["pcr13"]
    ak = tpm.tpm.read_public(0x81010030)
    assert name_of(ak).hex() == identity["ak_name"]
    assert struct.unpack_from(">HHI", ak, 2) == (0x23, 0x0B, 0x00050472)
    der = lab.run(["openssl", "x509", "-inform", "DER", "-in", tpm.ek_certs["rsa2048"], "-noout", "-pubkey"]).stdout
    spki = base64.b64decode("".join(der.splitlines()[1:-1]))
    assert identity["ek_digest"] == hashlib.sha256(spki).hexdigest()
    assert identity["host"] == identity["ek_digest"][:32]
    assert tpm.tpm.transient_handles() == []
    assert (lab.dir / "hs/ak-host.secret").stat().st_mode & 0o777 == 0o600


def test_identity_extends_and_makes_nothing(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm)
    before = persistent(lab, tpm)
    said = host.command("--identity")
    assert tpm.tpm.pcr_read(13) == bytes(32) and persistent(lab, tpm) == before
    assert not (lab.dir / "hs/ak-host.secret").exists()
    assert said["ak_name"] is None and "limetree-agent --anchor" in said["note"]
    made = host.command("--anchor")
    assert host.command("--identity") == {k: said[k] for k in ("host", "ek_digest")} | {"ak_name": made["ak_name"]}
    plain = lab.run([agent, "--identity", *options(**host.base)]).stdout
    assert made["ak_name"] in plain and said["host"] in plain


def persistent(lab, tpm):  # noqa: F811
    """{handle: public area} of what is in the TPM for good."""
    handles = lab.run(["tpm2_getcap", "handles-persistent"], env=tpm.env()).stdout.split()
    return {h: tpm.tpm.read_public(int(h, 16)).hex() for h in handles if h.startswith("0x")}


def other_names(lab, tpm):  # noqa: F811
    """One TPM, said differently."""
    link = lab.dir / "link"
    if not link.is_symlink():
        link.symlink_to(tpm.socket)
        Path(f"{link}.ctrl").symlink_to(f"{tpm.socket}.ctrl")
    return (tpm.tcti, f"swtpm:path={link}", f"swtpm:path={tpm.dir}/../{tpm.name}/{tpm.socket.name}",
            f"libtss2-tcti-swtpm.so.0:path={tpm.socket}")


def test_one_agent_a_tpm(host, lab, agent, tpm):  # noqa: F811
    """A second start, by whatever command, state directory and name of the TPM, changes nothing and says who has it."""
    host.learn()
    before = persistent(lab, tpm)
    for n, tcti in enumerate(other_names(lab, tpm)):
        base = host.base | {"tcti": tcti, "state_dir": lab.path(f"other{n}")}
        serve = options(listen="127.0.0.1:0", cert=host.cert[0], key=host.cert[1], client_ca=host.ca.cert,
                        libvirt_uri=host.uri)
        guest = options(**base | {"role": "guest"}, uuid="11111111-2222-4333-8444-555555555555",
                        client_ca=host.ca.cert, listen="127.0.0.1:0")
        for argv in (["--identity", *options(**base)], ["--anchor", *options(**base)], [*options(**base), *serve],
                     ["--identity", *options(**base, ak_handle="0x81010031", ek_alg="ecc", ak_alg="rsa")], guest):
            done = lab.run([agent, *argv], check=False)
            assert done.returncode == 2 and f"pid {host.child.proc.pid} (limetree-agent)" in done.stderr, done
    assert persistent(lab, tpm) == before
    host.check(host.ask(3000)[1])
    # The lock goes with its process, however that ends.
    host.child.kill()
    host.start()
    host.learn()


def test_another_name_through_a_relay(host, lab, agent, tpm):  # noqa: F811
    relay = lab.install(BUILD / "tests/support/tpm-relay")
    child = lab.spawn("relay", [relay, "--upstream", tpm.socket, "--listen", lab.dir / "relayed"], ready_fd=True)
    child.ready()
    done = lab.run([agent, "--identity", *options(**host.base | {
        "tcti": f"swtpm:path={lab.dir}/relayed", "state_dir": lab.path("other")})], check=False)
    assert done.returncode == 2 and f"pid {host.child.proc.pid} (limetree-agent)" in done.stderr, done


def test_another_state_directory_destroys_no_anchored_key(host, lab, agent, tpm):  # noqa: F811
    """Nobody serves, so nobody holds the lock: PCR 13 says whose key it is."""
    host.learn()
    before, ak = persistent(lab, tpm), host.ak
    assert host.child.stop() == 0
    wrong = host.base | {"state_dir": lab.path("wrong")}
    said = json.loads(lab.run([agent, "--identity", "--json", *options(**wrong)]).stdout)
    assert said["ak_name"] is None and "state_dir" in said["note"] and said["host"] == host.identity["host"]
    serve = options(listen="127.0.0.1:0", cert=host.cert[0], key=host.cert[1], client_ca=host.ca.cert,
                    libvirt_uri=host.uri)
    for argv in (["--anchor", *options(**wrong)], [*options(**wrong), *serve]):
        for _ in range(2):
            done = lab.run([agent, *argv], check=False)
            assert done.returncode == 1 and "state_dir" in done.stderr and "reboot" in done.stderr, done
    # A guest without a disk that is told the host's handle does not get it either.
    guest = dict(role="guest", tcti=tpm.tcti, state_dir="", ak_handle="0x81010030", client_ca=host.ca.cert,
                 uuid="11111111-2222-4333-8444-555555555555", listen="127.0.0.1:0")
    done = lab.run([agent, *options(**guest)], check=False)
    assert done.returncode == 1 and "PCR 13 names the key at TPM handle 0x81010030" in done.stderr, done
    # Another handle: a second key could not be named in PCR 13.
    done = lab.run([agent, "--anchor", *options(**wrong, ak_handle="0x81010031")], check=False)
    assert done.returncode == 1 and "reboot" in done.stderr, done
    assert persistent(lab, tpm) == before
    host.start()
    host.patiently(4000)
    host.learn()
    assert host.ak == ak
    host.check(host.patiently(5000)[1])


@pytest.mark.parametrize("instead", ["nothing", "another key"])
def test_key_taken_away_under_a_serving_agent(host, lab, agent, tpm, instead):  # noqa: F811
    host.learn()
    env = tpm.env()
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", "0x81010030"], env=env)
    if instead == "another key":
        lab.run(["tpm2_createek", "-G", "ecc", "-c", lab.dir / "e", "-u", lab.dir / "e.pub"], env=env)
        tpm.tpm.flush_transients()
        lab.run(["tpm2_createak", "-C", lab.dir / "e", "-c", lab.dir / "a", "-G", "ecc", "-g", "sha256", "-s", "ecdsa"],
                env=env)
        lab.run(["tpm2_evictcontrol", "-C", "o", "-c", lab.dir / "a", "0x81010030"], env=env)
        tpm.tpm.flush_transients()
    before = persistent(lab, tpm)
    credential = b64(make_credential(lab, host.ek, name_of(host.ak), os.urandom(32)))
    for seq in (3000, 3001):
        status, reply, headers = host.ask(seq)
        assert (status, reply["error"]["slug"]) == (503, "host-tpm") and headers["Retry-After"]
        assert "removed or replaced" in reply["error"]["message"]
        status, reply, _ = host.http.post(f"{V1}/activations", {"credential": credential, "challenge": "00" * 32})
        assert (status, reply["error"]["slug"]) == (503, "host-tpm")
    assert "removed or replaced" in host.child.tail()
    assert host.child.alive() and persistent(lab, tpm) == before
    # Neither does the next start put anything in its place: PCR 13 cannot name it. A reboot ends that.
    assert host.child.stop() == 0
    done = lab.run([agent, *host.options()], check=False)
    assert done.returncode == 1 and "removed or replaced" in done.stderr and "eboot" in done.stderr, done
    assert persistent(lab, tpm) == before
    tpm.reboot(boot_log=None)
    host.start()
    host.learn()
    host.check(host.patiently(1)[1])


def test_what_is_wrong_with_the_tpm_is_said_in_words(host, lab, agent, tpm):  # noqa: F811
    host.learn()
    tpm.swtpm.kill()
    status, reply, _ = host.ask(3000)
    assert (status, reply["error"]["slug"]) == (503, "host-tpm") and "absent" in reply["error"]["message"], reply
    assert host.child.stop() == 0
    for tcti, words in ((tpm.tcti, "nobody listens"), (f"swtpm:path={lab.dir}/none", "no such socket"),
                        ("device:/dev/no-tpm", "absent: /dev/no-tpm"), ("device:/dev", "absent: /dev"),
                        (f"device:{host.ima}", "is no device"),
                        ("nothing:x", "no library libtss2-tcti-nothing.so.0")):
        done = lab.run([agent, "--identity", *options(**host.base | {"tcti": tcti})], check=False)
        assert done.returncode == 4 and words in done.stderr, done
    tpm.start(boot_log=None)
    tpm.socket.chmod(0)
    done = lab.run([agent, "--identity", *options(**host.base)], check=False)
    assert done.returncode == 4 and "denied: uid" in done.stderr, done


def test_the_key_needs_its_secret(host, lab, tpm):  # noqa: F811
    done = lab.run(["tpm2_quote", "-c", "0x81010030", "-l", "sha256:0", "-q", "00"], env=tpm.env(), check=False)
    assert done.returncode != 0 and "auth" in done.stderr.lower()
    for _ in range(4):      # noDA: wrong guesses lock nobody out
        lab.run(["tpm2_quote", "-c", "0x81010030", "-p", "guess", "-l", "sha256:0"], env=tpm.env(), check=False)
    assert host.ask(2000)[0] == 200


def test_host_and_logs(host):
    reply = host.learn()
    assert set(reply) == {"host", "ak", "ek", "ek_certificates", "batch_seq", "inventory"}
    assert name_of(host.ak).hex() == host.identity["ak_name"]
    assert host.ek == host.tpm.tpm.read_public(0x81010001)
    assert [ssl.PEM_cert_to_DER_cert(c) for c in reply["ek_certificates"]] == [
        host.tpm.ek_certs["rsa2048"].read_bytes()]
    assert reply["inventory"]["root"] == NONE and reply["inventory"]["records"] == []
    status, data, headers = host.http.get(f"{V1}/boot-log")
    assert (status, data, headers["Content-Type"]) == (200, bytes(range(256)), "application/octet-stream")
    whole = host.ima.read_bytes()
    assert host.http.get(f"{V1}/ima")[1] == whole
    # From a line on; whole where it is not that long, or where the number is none.
    for first, expected in (("0", whole), ("1", whole[5:]), ("3", b""), ("4", whole), ("-1", whole), ("x", whole)):
        assert host.http.get(f"{V1}/ima?first={first}")[1] == expected
    host.ima.unlink()
    assert host.http.get(f"{V1}/ima")[0] == 404


def test_activation(host):
    host.learn()
    secret, challenge = os.urandom(32), os.urandom(32)
    ask = {"credential": b64(make_credential(host.lab, host.ek, name_of(host.ak), secret)), "challenge": challenge.hex()}
    status, reply, _ = host.http.post(f"{V1}/activations", ask)
    assert status == 200
    message = tagged("LT1:ACTIVATE") + bytes.fromhex(host.identity["host"]) + name_of(host.ak) + challenge
    assert reply == {"proof": hmac.new(secret, message, hashlib.sha256).hexdigest()}
    # Made for another AK, cut, of the wrong length, not there: refused, and the agent goes on.
    other = make_credential(host.lab, host.ek, b"\0\x0b" + bytes(32), secret)
    short = make_credential(host.lab, host.ek, name_of(host.ak), b"x" * 16)
    for bad, code in ((other, 422), (short, 422), (unb64(ask["credential"])[:-1], 400), (b"", 400)):
        status, reply, _ = host.http.post(f"{V1}/activations", ask | {"credential": b64(bad)})
        assert status == code and reply["error"]["code"] == code, reply
        assert secret.hex() not in json.dumps(reply)
    for bad in ({}, ask | {"more": 1}, ask | {"challenge": "00"}, ask | {"credential": "@"}):
        assert host.http.post(f"{V1}/activations", bad)[0] == 400
    assert host.http.post(f"{V1}/activations", ask)[0] == 200
    assert host.tpm.tpm.transient_handles() == []


def test_host_quote(host):
    host.tpm.tpm.pcr_extend(4, b"\x44" * 32)
    host.learn()
    status, reply, _ = host.ask(2000, n=7)
    assert status == 200 and set(reply) == {"header", "attest", "signature", "pcrs", "inventory"}
    header, attest = host.check(reply)
    assert (header.version, header.hash_alg, header.seq, header.n, header.m, header.flags) == (1, 0x0B, 2000, 7, 0, 0)
    assert (header.root.hex(), header.policy.hex()) == (ROOT, POLICY)
    assert header.host.hex() == host.identity["host"]
    assert header.inventory_root.hex() == NONE == reply["inventory"]["root"]
    assert header.ima_count == 3
    assert reply["pcrs"]["4"] == extended(b"\x44" * 32).hex()
    assert (attest.reset, attest.restart) == host.tpm.tpm.read_clock()[2:4]
    # The inventory is not sent again to one who has it.
    assert "inventory" not in host.ask(2001, known=NONE)[1]
    assert "inventory" in host.ask(2002, known="00" * 32)[1]


def test_batch_seq_rises(host):
    assert host.ask(5000)[0] == 200
    for seq in (5000, 4999, 1):
        status, reply, _ = host.ask(seq)
        assert status == 409 and reply["last_batch_seq"] == 5000 and reply["error"]["slug"] == "conflict"
    assert host.ask(5001)[0] == 200
    assert host.learn()["batch_seq"] == 5001
    # Also over a restart of the agent in the same boot, which may skip numbers but repeats none.
    assert host.child.stop() == 0
    host.start()
    status, reply, _ = host.ask(5001)
    assert status == 409 and reply["last_batch_seq"] >= 5001
    assert host.patiently(reply["last_batch_seq"] + 1)[0] == 200


def test_bad_requests(host):
    good = {"batch_seq": 9000, "n": 1, "batch_root": ROOT, "policy_digest": POLICY, "inventory_root": None}
    for bad in (good | {"n": 0}, good | {"n": 2**20 + 1}, good | {"batch_seq": 0}, good | {"batch_seq": "1"},
                good | {"batch_root": ROOT[2:]}, good | {"policy_digest": "zz" * 32}, good | {"nonce": ROOT},
                good | {"inventory_root": 1}, {}, []):
        status, reply, _ = host.http.post(f"{V1}/host-quotes", bad)
        assert status == 400 and reply["error"]["slug"] == "malformed", bad
    status, reply, _ = host.http.post(f"{V1}/host-quotes", good | {"batch_root": "ab" * 70000})
    assert status == 413
    assert host.http.post(f"{V1}/host-quotes", good)[0] == 200


@pytest.mark.parametrize("role", ["host", "tenant", "operator", None])
def test_wrong_roles_are_refused(host, role):
    scope = {"host": host.identity["host"]} if role == "host" else {
        "tenant": "2f1b1a52-0b5e-4a6f-9a35-1a4d3d3c9f10"} if role == "tenant" else {}
    client = host.client("wrong", role=role, **scope)
    for method, path in (("GET", "host"), ("POST", "activations"), ("POST", "host-quotes"), ("GET", "boot-log"),
                         ("GET", "ima")):
        status, reply, _ = client.call(method, f"{V1}/{path}", {} if method == "POST" else None)
        assert status in (401, 403), (method, path, reply)


def test_strangers_are_refused(host, lab):  # noqa: F811
    trust = host.ca.cert.read_text()
    for identity in (None, Ca(lab, "foreign-ca").issue("stranger", "provider")):
        with pytest.raises((OSError, ssl.SSLError)):
            assert Https(host.address, trust, identity).get(f"{V1}/host")[0] == 401
            raise OSError("refused above TLS")


def test_foreign_pcr13_is_not_served(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm)
    tpm.tpm.pcr_extend(13, b"\x13" * 32)
    host.identity = host.command("--identity")
    host.cert = host.ca.issue("host", "host", host=host.identity["host"])
    for argv in (["--anchor", *options(**host.base)], host.options()):
        done = lab.run([agent, *argv], check=False)
        assert done.returncode == 1 and "reboot" in done.stderr, done


def test_a_lost_secret_needs_a_reboot(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm)
    first = host.command("--anchor")
    (lab.dir / "hs/ak-host.secret").unlink()
    done = host.command("--anchor", check=False)
    assert done.returncode == 1 and "reboot" in done.stderr
    tpm.reboot(boot_log=None)
    assert host.command("--anchor")["ak_name"] != first["ak_name"]


def test_tpm_killed_and_back(host, tpm):  # noqa: F811
    host.learn()
    tpm.swtpm.kill()
    status, reply, headers = host.ask(3000)
    assert status == 503 and headers["Retry-After"] and reply["error"]["retry_after"]
    assert reply["error"]["slug"] == "host-tpm"
    status, reply, _ = host.http.post(f"{V1}/activations", {
        "credential": b64(make_credential(host.lab, host.ek, name_of(host.ak), bytes(32))), "challenge": "00" * 32})
    assert status == 503
    tpm.start(boot_log=None)
    status, reply = host.patiently(3001)
    assert status == 200 and host.child.alive()
    host.check(reply)


def test_tpm_reset_under_the_agent(host, tpm):  # noqa: F811
    """A reset empties PCR 13: no quote leaves before it names AK_h again."""
    before = host.learn() and host.check(host.ask(3000)[1])[1]
    tpm.reboot(boot_log=None)
    status, reply = host.patiently(3001)
    assert status == 200
    _, after = host.check(reply)
    assert after.reset == before.reset + 1


def test_tpm_reset_and_taken_by_another(host, tpm):  # noqa: F811
    host.learn()
    tpm.reboot(boot_log=None)
    tpm.tpm.pcr_extend(13, b"\x66" * 32)
    for seq in (3001, 3002):
        status, reply, _ = host.ask(seq)
        assert (status, reply["error"]["slug"]) == (503, "host-tpm") and "PCR 13" in reply["error"]["message"]


def test_rsa_federation_key(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm, ak_alg="rsa", ek_alg="ecc", ak_handle="0x81010040").start()
    host.patiently(1)
    host.learn()
    assert struct.unpack_from(">HHI", host.ak, 2) == (1, 0x0B, 0x00050472)
    assert tpm.tpm.read_public(0x81010040) == host.ak
    host.check(host.ask(2000)[1])


def test_incomplete_inventory_is_waited_for(lab, agent, tpm):  # noqa: F811
    host = Host(lab, agent, tpm)
    host.uri = f"qemu+unix:///session?socket={lab.dir}/no-libvirtd"
    host.start()
    for _ in range(2):      # the number is not used up
        status, reply, headers = host.ask(7)
        assert status == 503 and headers["Retry-After"] and reply["error"]["slug"] == "busy"
    assert host.http.get(f"{V1}/host")[0] == 503
    assert host.http.get(f"{V1}/boot-log")[0] == 200


def test_the_ek_is_the_templates_not_the_handles(host, lab, tpm):  # noqa: F811
    """The owner may put another key at 0x81010001; it is never taken for the EK."""
    host.learn()
    env = tpm.env()
    lab.run(["tpm2_evictcontrol", "-C", "o", "-c", "0x81010001"], env=env)
    for step in ("empty", "replaced"):
        secret = os.urandom(32)
        ask = {"credential": b64(make_credential(lab, host.ek, name_of(host.ak), secret)), "challenge": "11" * 32}
        assert host.http.post(f"{V1}/activations", ask)[0] == 200, step
        if step == "empty":
            lab.run(["tpm2_createprimary", "-C", "o", "-c", lab.dir / "p"], env=env)
            lab.run(["tpm2_evictcontrol", "-C", "o", "-c", lab.dir / "p", "0x81010001"], env=env)
            tpm.tpm.flush_transients()
    host.child.stop()
    assert host.command("--identity") == host.identity


def test_inventory_command(host, tpm):  # noqa: F811
    """Beside the agent that has the TPM, and without any."""
    host.base["libvirt_uri"] = "test:///default"
    for _ in range(2):
        report = host.command("--inventory")
        assert report["ready"] and not [d for d in report["domains"] if d["listed"]]
        tpm.swtpm.kill()


def test_quotes_in_order_and_all_answered(host):
    """Many at once: each number is signed at most once, and nobody waits in vain."""
    from concurrent.futures import ThreadPoolExecutor
    host.learn()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda seq: host.ask(seq), range(4000, 4032)))
    good = [host.check(r)[0].seq for s, r, _ in replies if s == 200]
    assert good and len(set(good)) == len(good) and {s for s, _, _ in replies} <= {200, 409}
    assert max(good) == host.learn()["batch_seq"] == 4031


def test_check_seals(host, lab, agent):  # noqa: F811
    """--check-seals judges this machine, whatever it is; what it finds is what closes a vault with seal_checks = all."""
    done = lab.run([agent, "--check-seals", "--json", *options(**host.base)], check=False)
    found = json.loads(done.stdout)
    checks = {c["check"]: c for c in found["checks"]}
    assert len(checks) == 15 and all(c["message"] and c["point"] in (1, 2, 3, 4) for c in checks.values())
    failing = [c["check"] for c in found["checks"] if not c["holds"] and c["check"] != "memory-encryption"]
    assert found["seals"] == (failing[0] if failing else None)
    assert done.returncode == (1 if failing else 0), done.stderr
    assert (found["leaks"] is None) == all(checks[c]["holds"] for c in (
        "swap", "crash-kernel", "hibernation", "core-pattern", "tpm-held"))
    # The state of the vault: nothing looks (none), or what is found closes it.
    assert host.http.get(f"{V1}/vault")[1]["state"] == "vault-none"
    host.child.stop()
    host.base["seal_checks"] = "all"
    host.start()
    vault = host.http.get(f"{V1}/vault")[1]
    assert vault["state"] == ("host-leaks" if failing else "vault-none")
    assert not failing or failing[0] in vault["message"]
    host.child.stop()
    host.base["seal_checks"] = "some"
    done = lab.run([agent, "--check", *host.options()], check=False)
    assert done.returncode == 2 and "seal_checks = some" in done.stderr
