"""limetree-tenant without a provider, with real agents on fresh swtpms: guests are attested by their own evidence, and
trusted by the names that their policies accept."""

import hashlib
import json
import os
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.federation import Federation  # noqa: E402
from tests.lab.hwtpm import HwTpm  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
MADE = ["guest-quote", "guest-clock", "guest-policy", "window"]
OF_A_HOST = {"batch-inclusion", "host-quote", "host-identity", "host-policy", "residency", "host-clock", "sandwich"}


class Told(Federation):
    def verdict(self, guest, result, reason=None):
        def probe():
            v = self.cli("guest", "show", guest.uuid)["verdict"]
            return v if v and (v["result"], v["reason"]) == (result, reason) else None
        return self.poll(probe, 30, lambda: f"{result} {reason}: {self.cli('guest', 'show', guest.uuid)}")


class Alone(Told):
    """A tenant that nobody has told of a provider."""

    def up(self):
        self.make_pki()
        self.lab.path("ek-roots", directory=True)
        self.start_tenant()
        return self

    def start_tenant(self):
        p = self.pki
        options = {
            "listen": "127.0.0.1:0", "registrar_listen": "127.0.0.1:0", "registrar_tls_listen": "127.0.0.1:0",
            "cert": f"{p}/tenant-server.crt", "key": f"{p}/tenant-server.key", "ca": f"{p}/tenant-ca.crt",
            "agent_cert": f"{p}/tenant-client.crt", "agent_key": f"{p}/tenant-client.key",
            "guest_ek_roots": str(self.lab.dir / "ek-roots"), "tenant_id": self.tenant_id,
            "state_dir": str(self.lab.path("tenant", directory=True)), "period_s": 1}
        self.argv = [self.program["limetree-tenant"]]
        for key, value in options.items():
            self.argv += ["-o", f"{key}={value}"]
        self.tenant = self.lab.spawn("tenant", self.argv, ready_fd=True)
        ready = self.tenant.ready()
        self.tenant_url = f"https://{ready['listen']}"
        self.registrar_url = f"http://{ready['registrar_listen']}"
        self.registrar_tls_url = f"https://{ready['registrar_tls_listen']}"

    def trust_maker(self, chip):
        self.lab.write(f"ek-roots/{chip.name}.pem", chip.ca_bundle.read_bytes(), 0o644)


class Guest:
    def __init__(self, fed, name, ident=None, chip=None):
        self.fed, self.name, self.uuid = fed, name, ident or str(uuid.uuid4())
        self.chip = chip or HwTpm(fed.lab, name, maker=f"Maker-{name}").start(boot_log=None)

    def start(self):
        state = self.fed.lab.path(f"{self.name}-state", directory=True)
        self.agent = self.fed.lab.spawn(f"{self.name}-agent", [
            self.fed.program["limetree-agent"], "-o", "role=guest", "-o", f"tcti={self.chip.tcti}", "-o",
            "listen=127.0.0.1:0", "-o", f"state_dir={state}", "-o", f"registrar={self.fed.registrar_url}", "-o",
            f"client_ca={self.fed.pki}/tenant-ca.crt", "-o", f"uuid={self.uuid}"], ready_fd=True)
        self.agent.ready(60)
        self.agent.wait_log(r"registered", 60)
        return self

    def ek_digest(self):
        """By another hand than the agent's: of the certificate that the maker wrote."""
        cert = x509.load_der_x509_certificate(self.chip.ek_certs["rsa2048"].read_bytes())
        key = cert.public_key().public_bytes(serialization.Encoding.DER,
                                             serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(key).hexdigest()


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="ltu") as lab:
        chip = HwTpm(lab, "guest0", maker="Known").start(boot_log=None)
        lab.path("ek-roots", directory=True)
        lab.write("ek-roots/known.pem", chip.ca_bundle.read_bytes(), 0o644)
        fed = Alone(lab, BUILD).up()
        fed.known = Guest(fed, "guest0", chip=chip).start()
        fed.foreign = Guest(fed, "guest1").start()
        for guest in (fed.known, fed.foreign):
            fed.cli("guest", "add", guest.uuid)
        yield fed


def learn(fed, guest, *words):
    """Once there is a round to learn from."""
    def probe():
        done = fed.cli_raw("guest", "learn", guest.uuid, *(("--accept", ",".join(words)) if words else ()), check=False)
        return done if done.returncode == 0 else None
    return fed.poll(probe, 30, lambda: f"learning {guest.name}: {fed.cli('guest', 'show', guest.uuid)}")


def test_not_without_the_word(fed):
    learn(fed, fed.known)
    v = fed.verdict(fed.known, "unchecked", "unlinked")
    assert v["link"] == "unlinked" and v["passed"] == MADE and not v["failed"]
    text = fed.cli_raw("guest", "show", fed.known.uuid).stdout
    assert "accept that by name" in text, text


def test_by_that_name_alone(fed):
    learn(fed, fed.known, "unlinked")
    v = fed.verdict(fed.known, "trusted")
    assert v["weak"] == ["unlinked"] and v["host"] is None and v["host_level"] is None and v["passed"] == MADE
    assert {line["check"] for line in v["not_made"] if "part" not in line} == OF_A_HOST
    assert "  weak      unlinked\n" in fed.cli_raw("guest", "show", fed.known.uuid).stdout
    assert all(line["message"] == "no provider is configured" for line in v["not_made"] if line["check"] in OF_A_HOST)


def test_a_maker_that_nobody_knows(fed):
    learn(fed, fed.foreign, "unlinked")
    v = fed.verdict(fed.foreign, "unchecked", "ek-unproven")
    assert [line for line in v["not_made"] if line.get("part") == "ek-unproven" and line["check"] == "guest-quote"]
    fed.cli("guest", "add", fed.foreign.uuid, "--ek", fed.foreign.ek_digest())
    v = fed.verdict(fed.foreign, "trusted")
    assert v["weak"] == ["unlinked"]


def test_its_bundle_stands_offline(fed):
    fed.verdict(fed.known, "trusted")
    path = fed.lab.write("bundle.json", fed.cli_raw("guest", "bundle", fed.known.uuid, "--trusted", "--json").stdout)
    done = fed.lab.run([fed.program["limetree"], "verify", path])
    assert "consistent" in done.stdout and "inconsistent" not in done.stdout, done.stdout


def test_software_that_registered_first(fed):
    """Under the guest's UUID, before the guest; its operator knows the true EK."""
    true = Guest(fed, "guest2")
    fed.cli("guest", "add", true.uuid, "--ek", true.ek_digest())
    false = Guest(fed, "impostor", ident=true.uuid).start()
    policy = fed.lab.write("any.json", json.dumps({"accept": ["unlinked", "unjudged", "ek-unproven"]}))
    fed.cli("guest", "add", true.uuid, "--policy", policy)
    v = fed.verdict(true, "unchecked", "other-ek")
    assert not v["failed"]
    false.agent.stop()
    status, _ = fed.https(fed.registrar_tls_url, "tenant-operator", "tenant-ca", "DELETE", f"/v2.1/agents/{true.uuid}")
    assert status == 200
    true.start()
    v = fed.verdict(true, "trusted")
    assert v["weak"] == ["unlinked", "unjudged"]
    assert [line for line in v["not_made"] if line["check"] == "guest-policy" and "unjudged" in line["message"]]


def test_an_id_that_is_no_uuid(fed):
    ident = hashlib.sha256(b"hash_ek").hexdigest()
    guest = Guest(fed, "guest3", ident=ident).start()
    listed = {g["agent"]: g for g in fed.cli("guest", "list")["guests"]}
    assert not listed[ident]["added"]
    domain = str(uuid.uuid4())
    added = fed.cli("guest", "add", ident, "--domain", domain)
    assert (added["uuid"], added["agent"], added["registered"]) == (domain, ident, True)
    guest.uuid = domain
    learn(fed, guest, "unlinked", "ek-unproven")
    fed.verdict(guest, "trusted")
    shown = fed.cli("guest", "add", fed.known.uuid.upper())
    assert (shown["uuid"], shown["agent"]) == (fed.known.uuid, fed.known.uuid)
    fed.cli("guest", "remove", domain)
    added = fed.cli("guest", "add", ident)
    assert added["uuid"] == listed[ident]["uuid"] and added["uuid"][14] == "8" and added["agent"] == ident


def test_a_change_fails_and_says_what(fed):
    guest = fed.known
    learn(fed, guest, "unlinked")
    fed.verdict(guest, "trusted")
    guest.chip.tpm.pcr_extend(7, bytes(32))
    v = fed.verdict(guest, "failed", "guest-policy")
    assert [f["cause"] for f in v["failed"]] == ["pcr-7"]
    fed.cli("guest", "clear", guest.uuid)
    fed.verdict(guest, "failed", "guest-policy")


def test_nothing_is_green_after_a_restart_but_by_a_new_round(fed):
    fed.verdict(fed.foreign, "trusted")
    fed.tenant.stop()
    fed.lab.write("ek-roots/known.pem", fed.known.chip.ca_bundle.read_bytes(), 0o644)
    fed.start_tenant()
    v = fed.verdict(fed.foreign, "trusted")
    assert v["link"] == "unlinked"


def test_half_a_federation_stops_a_start(fed):
    done = fed.lab.run([*fed.argv, "-o", f"federation_ca={fed.pki}/federation-ca.crt", "--check-config"], check=False)
    assert done.returncode == 2 and "federation_ca" in done.stderr, done.stderr
    done = fed.lab.run([*fed.argv, "-o", "provider=https://127.0.0.1:1", "--check-config"], check=False)
    assert done.returncode == 2 and "federation_cert" in done.stderr, done.stderr


class Bare(Told):
    """With a provider. libvirt's test driver has one domain and no vTPM: nothing is resident anywhere."""

    def start_libvirt(self):
        self.virt = SimpleNamespace(uri="test:///default", env={})


def test_a_provider_that_knows_others():
    """What the real provider says of a guest that is not its tenant's, or that runs nowhere: silence for a guest that
    never had a host, and no more than that."""
    with Lab(prefix="ltu") as lab:
        fed = Bare(lab, BUILD, quote_delay_ms=0, tenant_options=["period_s=1"]).up()
        guest = Guest(fed, "guest0").start()
        words = ["unlinked", "unjudged", "ek-unproven"]
        with_word = lab.write("with.json", json.dumps({"accept": words}))
        without = lab.write("without.json", json.dumps({"accept": words[1:] + ["copyable", "boot-only"]}))
        fed.cli("guest", "add", guest.uuid, "--policy", without)
        fed.verdict(guest, "unreachable", "not-assigned")
        fed.cli("guest", "add", guest.uuid, "--policy", with_word)
        v = fed.verdict(guest, "trusted")
        assert v["weak"] == words and v["link"] == "unlinked" and v["passed"] == ["guest-quote", "guest-clock", "window"]
        assert any("no provider answers for it" in line["message"] for line in v["not_made"])
        fed.cli("guest", "assign", guest.uuid, fed.tenant_id)
        fed.poll(lambda: any("not assigned" not in line["message"] and "no provider answers" in line["message"]
                             for line in fed.verdict(guest, "trusted")["not_made"]), 30, lambda: "another word")
        fed.provider.stop()
        fed.poll(lambda: any("no provider answers for it: provider" in line["message"]
                             for line in fed.verdict(guest, "trusted")["not_made"]), 30, lambda: "a provider that is away")
        fed.cli("guest", "add", guest.uuid, "--policy", without)
        fed.verdict(guest, "unreachable", "provider-unreachable")
