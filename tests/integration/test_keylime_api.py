"""Keylime's verifier API on limetree-tenant with real agents: by the admin of Keylime's own CA, and by an operator.

What its own command line makes of it is tests/interop's business; this needs nothing from PyPI.
"""

import base64
import http.client
import json
import os
import ssl
import sys
import uuid
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from keyshares import Payload, memory  # noqa: E402,F401
from test_certificates import keylime_ca  # noqa: E402
from tests.lab import Lab  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402
from test_unlinked import Alone, Guest  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))


class Site(Mocked):
    """Its tenant knows Keylime's own CA, and accepts what this lab can show."""

    def start_tenant(self, *args, **kwargs):
        if not hasattr(self, "keylime"):
            self.keylime = keylime_ca(self.lab)
        self.tenant_options = ["period_s=1", "keylime_accept=copyable, boot-only", f"keylime_host_policies={self.policy}",
                               f"keylime_admin_ca={self.keylime}/Keylime CA.crt"]
        return super().start_tenant(*args, **kwargs)


class Api:
    """One client of it; cert: path without its ending."""

    def __init__(self, fed, cert):
        self.fed, self.cert = fed, cert

    def __call__(self, method, path, body=None):
        """(status, results or, of an error, its text); no Content-Type, as keylime_tenant sends none."""
        context = ssl.create_default_context(cafile=f"{self.fed.pki}/tenant-ca.crt")
        context.check_hostname = False
        if self.cert:
            context.load_cert_chain(f"{self.cert}.crt", f"{self.cert}.key")
        connection = http.client.HTTPSConnection(self.fed.tenant_url.removeprefix("https://"), context=context, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status == 204:
            return 204, text
        if "error" in (is_ := json.loads(text)):
            return reply.status, is_
        assert is_["code"] == reply.status and (reply.status < 400 or is_["results"] == {}), is_
        return reply.status, is_["results"] if reply.status < 400 else is_["status"]


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="lka") as lab:
        fed = Site(lab, BUILD, guests=2).up()
        for guest in fed.guests:
            fed.cli("guest", "assign", guest.uuid, fed.tenant_id)
            guest.start()
        yield fed


@pytest.fixture
def lab(fed):
    return fed.lab


@pytest.fixture(scope="module")
def admin(fed):
    return Api(fed, fed.keylime / "client")


def add_body(fed, guest, **more):
    """As keylime_tenant sends it, with a policy that the guest meets."""
    status, body = fed.https(fed.registrar_tls_url, "tenant-operator", "tenant-ca", "GET", f"/v2.6/agents/{guest.uuid}")
    assert status == 200
    agent = json.loads(body)["results"]
    return {
        "v": None, "cloudagent_ip": agent["ip"], "cloudagent_port": str(agent["port"]), "verifier_ip": "198.51.100.1",
        "verifier_port": "8881", "tpm_policy": json.dumps({"4": [guest.chip.tpm.pcr_read(4).hex()]}),
        "runtime_policy": "", "runtime_policy_name": "", "runtime_policy_key": "", "mb_policy": None,
        "mb_policy_name": "", "ima_sign_verification_keys": "", "metadata": "{}", "revocation_key": "",
        "accept_tpm_hash_algs": ["sha256"], "accept_tpm_encryption_algs": ["ecc", "rsa"],
        "accept_tpm_signing_algs": ["rsassa", "ecdsa"], "ak_tpm": agent["aik_tpm"], "mtls_cert": agent["mtls_cert"],
        "supported_version": "2.6"} | more


def wait(fed, api, guest, state, status):
    def probe():
        code, is_ = api("GET", f"/v2.6/agents/{guest.uuid}")
        return code == 200 and (is_["operational_state"], is_["attestation_status"]) == (state, status) and is_
    return fed.poll(probe, 60, lambda: f"{guest.name} in state {state}, {status}: {api('GET', f'/v2.6/agents/{guest.uuid}')}")


def test_whole_life_over_restarts(fed, admin, memory):  # noqa: F811
    """Added with a payload by Keylime's admin; V comes once it is trusted; stopped, and stopped after kill -9."""
    guest, path = fed.guests[0], f"/v2.6/agents/{fed.guests[0].uuid}"
    guest.agent.stop()
    guest.options = [f"secure_dir={memory}"]
    guest.start()
    payload = Payload(b"the secret")
    body = add_body(fed, guest, v=base64.b64encode(payload.v).decode())
    assert admin("POST", path, body) == (200, {})
    is_ = wait(fed, admin, guest, 3, "PASS")
    assert fed.wait_release(guest) and is_["v"] is None and is_["verifier_ip"] == "198.51.100.1"
    assert payload.v not in (fed.lab.dir / "tenant/tenant.db").read_bytes()
    count = is_["attestation_count"]
    assert admin("PUT", f"{path}/stop") == (200, {})
    wait(fed, admin, guest, 10, "FAIL")
    fed.kill_tenant()
    fed.start_tenant()
    is_ = wait(fed, admin, guest, 10, "FAIL")
    assert is_["attestation_count"] >= count
    assert admin("PUT", f"{path}/reactivate", {}) == (200, {})
    wait(fed, admin, guest, 3, "PASS")
    guest.chip.tpm.pcr_extend(4, b"\x11" * 32)
    is_ = wait(fed, admin, guest, 9, "FAIL")
    assert is_["last_event_id"] == "pcr_validation.invalid_pcr_4"
    fed.kill_tenant()
    fed.start_tenant()
    wait(fed, admin, guest, 9, "FAIL")      # a failed verdict outlives the process
    assert admin("DELETE", path) == (200, {})
    assert admin("GET", path)[0] == 404


def test_two_doors(fed, admin):
    guest, path = fed.guests[1], f"/v2.6/agents/{fed.guests[1].uuid}"
    fed.adopt([guest])
    wait(fed, admin, guest, 3, "PASS")
    before = fed.show(guest)
    for api in (admin, Api(fed, f"{fed.pki}/tenant-operator")):
        for method, verb, body in (("POST", "", add_body(fed, guest)), ("DELETE", "", None), ("PUT", "/stop", None),
                                   ("PUT", "/reactivate", {})):
            assert api(method, path + verb, body)[0] == 403, (method, verb)
    code, _ = fed.https(fed.registrar_tls_url, "tenant-operator", "tenant-ca", "GET", path)
    assert code == 200
    after = fed.show(guest)
    assert (after["policy"], after["door"], after["added"]) == (before["policy"], "federation", True)
    assert admin("GET", "/federation/v1/guests")[0] == 403


def test_who_may_call(fed, admin):
    assert admin("GET", "/v2.6/agents/")[0] == 200 and admin("GET", "/version")[0] == 200
    other = fed.lab.path("other-pki")
    fed.cli("pki", "init", other, "--tenant", str(uuid.uuid4()))
    # Nobody; the federation's operator and its provider; another tenant's operator.
    for cert in (None, f"{fed.pki}/operator", f"{fed.pki}/provider", f"{other}/tenant-operator"):
        with pytest.raises(OSError):
            Api(fed, cert)("GET", "/v2.6/agents/")
    code, why = Api(fed, f"{fed.pki}/tenant-client")("GET", "/v2.6/agents/")   # no role
    assert code == 403, why


def test_bad_input(fed, admin):
    guest, path = fed.guests[0], f"/v2.6/agents/{fed.guests[0].uuid}"
    for key, value in (("cloudagent_port", "99999"), ("v", "AAAA"), ("ak_tpm", "AAAA"), ("tpm_policy", "["),
                       ("runtime_policy", "e30="), ("mb_policy", "{\"x\":1}"), ("accept_tpm_signing_algs", []),
                       ("metadata", 7), ("runtime_policy_name", "../x")):
        code, why = admin("POST", path, add_body(fed, guest, **{key: value}))
        assert code == 400 and key.replace("cloudagent_port", "port").split("_name")[0] in why, (key, why)
    assert admin("POST", path, [])[0] == 400
    assert admin("POST", "/v2.6/agents/..", {})[0] == 404
    assert admin("GET", "/v2.6/agents/%0a")[0] == 400
    assert admin("POST", "/v2.6/agents/" + "a" * 81, add_body(fed, guest))[0] == 400
    assert admin("GET", path)[0] == 404


def test_a_keylime_site_without_a_provider():
    """It switches first: guests under any id, attested by their own evidence, and `unlinked` is said of them."""
    with Lab(prefix="lks") as site:
        fed = Alone(site, BUILD)
        guest = Guest(fed, "solo", "hash_ek.0123-my_vm")
        site.path("ek-roots", directory=True)
        fed.trust_maker(guest.chip)
        fed.up()
        guest.start()
        api = Api(fed, f"{fed.pki}/tenant-operator")
        assert api("POST", f"/v2.6/agents/{guest.uuid}", add_body(fed, guest)) == (200, {})
        is_ = wait(fed, api, guest, 3, "PASS")
        assert is_["verdict"]["link"] == "unlinked" and is_["verdict"]["host_level"] is None
        assert api("GET", "/v2.6/agents/")[1] == {"uuids": [[guest.uuid]]}
        assert api("PUT", f"/v2.6/agents/{guest.uuid}/stop") == (200, {})
        wait(fed, api, guest, 10, "FAIL")
        assert api("DELETE", f"/v2.6/agents/{guest.uuid}") == (200, {})
