"""limetree-agent (role guest) under stock Keylime: Python's registrar, verifier and tenant drive it."""

import hashlib
import json
import os
import stat
import struct
import time
import uuid as uuidlib

import pytest

from agentkit import agent, lab, options, tpm  # noqa: F401
from conftest import free_port
from keyshares import memory  # noqa: F401
from tests.lab.procs import Deadline

ZEROS = "0" * 64


class Site:
    """A Keylime site: verifier, registrar, the tenant's command line; one agent of ours."""

    def __init__(self, lab, stock, tpm, agent, memory, transcript):  # noqa: F811
        self.lab, self.stock, self.tpm, self.program, self.secure, self.keep = lab, stock, tpm, agent, memory, transcript
        self.home = lab.path("keylime", directory=True)
        self.ports = {name: free_port() for name in ("verifier", "registrar", "registrar_tls", "agent")}
        self.uuid = str(uuidlib.uuid4())
        stock.configure(lab, self.home)
        store = lab.path("tpm_cert_store", directory=True)
        pems = tpm.ca_bundle.read_text().split("-----END CERTIFICATE-----\n")
        for i, pem in enumerate(p for p in pems if p.strip()):
            lab.write(f"tpm_cert_store/{i}.pem", pem + "-----END CERTIFICATE-----\n")
        self.env = stock.env(self.home, {
            "verifier": {"ip": "127.0.0.1", "port": self.ports["verifier"], "num_workers": 1, "quote_interval": 0.2,
                         "registrar_port": self.ports["registrar_tls"], "tls_dir": "generate", "mode": "pull",
                         "revocations.enabled_revocation_notifications": "['agent']"},
            "registrar": {"ip": "127.0.0.1", "port": self.ports["registrar"],
                          "tls_port": self.ports["registrar_tls"], "tls_dir": "default"},
            "tenant": {"verifier_ip": "127.0.0.1", "verifier_port": self.ports["verifier"],
                       "registrar_ip": "127.0.0.1", "registrar_port": self.ports["registrar_tls"],
                       "tls_dir": "default", "tpm_cert_store": store},
            "ca": {"password": "interop"}})
        self.verifier = self.serve("verifier", "verifier")
        self.registrar = self.serve("registrar", "registrar_tls")

    def serve(self, program, port):
        child = self.lab.spawn(f"keylime-{program}", self.stock.argv(program), env=self.env)
        deadline = Deadline(120)
        while not listening(self.ports[port]):
            assert child.alive() and not deadline.expired(), child.tail(60)
            time.sleep(0.1)
        return child

    def start_agent(self, **more):
        values = dict(role="guest", tcti=self.tpm.tcti, listen=f"127.0.0.1:{self.ports['agent']}",
                      state_dir=self.lab.path("gs"), secure_dir=self.secure, uuid=self.uuid, run_payload="yes",
                      registrar=f"http://127.0.0.1:{self.ports['registrar']}",
                      client_ca=self.home / "cv_ca/cacert.crt") | more
        self.agent = self.lab.spawn("agent", [self.program, *options(**values)], ready_fd=True)
        self.agent.ready()
        return self.agent

    def tenant(self, command, *args, check=True):
        done = self.lab.run(self.stock.argv("tenant", "-c", command, "-u", self.uuid, *args), env=self.env, check=False,
                            timeout=120)
        self.keep("tenant.txt", f"$ keylime_tenant -c {command} {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
                  f"status {done.returncode}\n\n")
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self):
        """What the verifier says of the agent."""
        for line in self.tenant("cvstatus").splitlines():
            at = line.find("{\"")
            if at >= 0 and '"operational_state"' in line:
                return json.loads(line[at:])["results"][self.uuid] if '"results"' in line else json.loads(line[at:])[self.uuid]
        raise AssertionError("no status")

    def wait_attested(self, count):
        deadline = Deadline(180)
        while True:
            s = self.status()
            assert s["operational_state"] in ("Start", "Get Quote", "Provide V", "Get Quote (retry)", "Provide V (retry)"), s
            if s["attestation_count"] >= count:
                return s
            assert not deadline.expired(), s

    def close(self):
        for child in (self.verifier, self.registrar, self.agent):
            self.keep(child.name + ".log", child.log.read_text(errors="replace"))


def listening(port):
    import socket
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def site(lab, stock, tpm, agent, memory, transcript):  # noqa: F811
    site = Site(lab, stock, tpm, agent, memory, transcript)
    site.start_agent()
    yield site
    site.close()


def test_a_guests_whole_life(site):
    """Registered, added, 20 attestations and a restart between two of them, V, payload, revocation."""
    site.agent.wait_log("registered")
    assert site.uuid in site.tenant("reglist")
    extra = site.lab.path("extra", directory=True)
    said = site.lab.path("said")
    for name, text in (("autorun.sh", f"#!/bin/sh\necho autorun >>{said}\n"), ("action_list", "local_action_note"),
                       ("local_action_note", f"#!/bin/sh\ncat \"$1\" >>{said}\n"), ("secret.txt", "the secret\n")):
        site.lab.write(f"extra/{name}", text)
    site.tenant("add", "-t", "127.0.0.1", "-tp", site.ports["agent"], "--cert", site.lab.path("ca"), "--include", extra,
                "--tpm_policy", json.dumps({"15": [ZEROS]}), "--verify")
    first = site.wait_attested(3)
    assert first["has_mb_refstate"] == 0

    # The payload came whole, and ran.
    top = site.secure / "unzipped"
    deadline = Deadline(60)
    while not said.exists():
        assert not deadline.expired(), site.agent.tail()
        time.sleep(0.05)
    assert said.read_text() == "autorun\n" and (top / "secret.txt").read_text() == "the secret\n"
    for name in ("RevocationNotifier-cert.crt", "cacert.crt", f"{site.uuid}-cert.crt", f"{site.uuid}-private.pem",
                 "derived_tci_key", "decrypted_payload"):
        assert stat.S_IMODE((top / name).stat().st_mode) & 0o077 == 0, name
    assert len((top / "derived_tci_key").read_bytes()) == 32

    # Restarted between two polls: the same transport key, no Invalid Quote, and the payload is still there.
    site.agent.kill()
    site.start_agent()
    assert site.wait_attested(20)["operational_state"] in ("Get Quote", "Get Quote (retry)")

    # It leaves its policy: the verifier says so, and the agent gets the signed message and acts on it.
    site.tpm.tpm.pcr_extend(15, b"\x11" * 32)
    deadline = Deadline(60)
    while "revocation" not in said.read_text():
        assert not deadline.expired(), site.agent.tail(40)
        time.sleep(0.05)
    msg = json.loads(said.read_text().split("\n", 1)[1])
    assert (msg["type"], msg["agent_id"]) == ("revocation", site.uuid) and "pcr" in msg["event_id"], msg
    assert site.status()["operational_state"] in ("Failed", "Invalid Quote")
    site.tenant("delete")
    site.tenant("regdelete")


class Ima:
    """A kernel's list and PCR 10, by hand: ima-ng, the list's own column SHA-1 (keylime-api A.6)."""

    def __init__(self, site):
        self.site, self.path, self.known = site, site.lab.write("ima", ""), {}

    def measure(self, path, content, policy=True):
        digest = hashlib.sha256(content).hexdigest()
        data = b"".join(struct.pack("<I", len(f)) + f for f in (b"sha256:\0" + bytes.fromhex(digest), path.encode() + b"\0"))
        with open(self.path, "a", encoding="utf-8") as f:      # a list may be ahead of the quote, not behind it
            f.write(f"10 {hashlib.sha1(data).hexdigest()} ima-ng sha256:{digest} {path}\n")
        self.site.tpm.tpm.pcr_extend(10, hashlib.sha256(data).digest())
        if policy:
            self.known[path] = [digest]

    def policy(self):
        return json.dumps({"meta": {"version": 1, "generator": 0}, "release": 0, "digests": self.known, "excludes": [],
                           "keyrings": {}, "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": None},
                           "ima-buf": {}, "verification-keys": ""})


def test_a_list_that_grows(site):
    """Only what is new is asked for; a program outside the policy ends it, by its name."""
    site.agent.wait_log("registered")
    site.agent.kill()
    ima = Ima(site)
    site.start_agent(ima=ima.path)
    ima.measure("boot_aggregate", b"")
    for i in range(30):
        ima.measure(f"/usr/bin/tool-{i}", b"%d" % i)
    ima.known["/usr/bin/later"] = [hashlib.sha256(b"later").hexdigest()]
    policy = site.lab.write("policy.json", ima.policy())
    site.tenant("add", "-t", "127.0.0.1", "-tp", site.ports["agent"], "--runtime-policy", policy)
    count = site.wait_attested(3)["attestation_count"]
    ima.measure("/usr/bin/later", b"later")
    count = site.wait_attested(count + 3)["attestation_count"]
    site.agent.kill()                       # the list is asked for from where it was
    site.start_agent(ima=ima.path)
    site.wait_attested(count + 3)
    ima.measure("/usr/bin/evil", b"evil", policy=False)
    deadline = Deadline(60)
    while (s := site.status())["operational_state"] not in ("Failed", "Invalid Quote"):
        assert not deadline.expired(), s
    assert "not_in_allowlist" in s["last_event_id"], s


def test_key_alone_and_a_plain_file(site):
    """-f: a file that is no zip."""
    site.agent.wait_log("registered")
    path = site.lab.write("payload.txt", "only a file\n")
    site.tenant("add", "-t", "127.0.0.1", "-tp", site.ports["agent"], "-f", path, "--verify")
    site.wait_attested(2)
    assert (site.secure / "unzipped/decrypted_payload").read_text() == "only a file\n"
    assert sorted(os.listdir(site.secure / "unzipped")) == ["decrypted_payload", "derived_tci_key"]
