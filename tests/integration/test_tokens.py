"""Verdict tokens as a receiver sees them: fetched by the command line, verified by it and by a library that is not ours."""

import base64
import json
import os
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
NONCE = "nonce-of-the-vault"


@pytest.fixture(scope="module")
def fed():
    with Lab(prefix="ltk") as lab:
        fed = Mocked(lab, BUILD, guests=1, tenant_options=["period_s=3", "gather_ms=200"]).up()
        for guest in fed.guests:
            guest.start()
        fed.adopt(fed.guests)
        fed.wait_result(fed.guests[0], "trusted")
        yield fed


def get(fed, guest, aud="vault", nonce=NONCE):
    """Between the end of a period and the next verdict there is none: 503, come again."""
    def probe():
        done = fed.cli_raw("token", "get", guest.uuid, "--aud", aud, "--nonce", nonce, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return fed.poll(probe, 30, lambda: f"a token: {json.dumps(fed.show(guest))}")


def verify(fed, token, keys, *options, aud="vault", nonce=NONCE):
    path = fed.lab.write("token.jwt", token)
    jwks = fed.lab.write("jwks.json", json.dumps(keys))
    return fed.cli_raw("token", "verify", path, "--keys", jwks, "--aud", aud, "--nonce", nonce, *options, check=False)


def unpad(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def by_others(token, keys):
    head, claims, signature = token.split(".")
    header = json.loads(unpad(head))
    assert header == {"alg": "ES256", "kid": header["kid"], "typ": "eat+jwt"}
    (jwk,) = [k for k in keys["keys"] if k["kid"] == header["kid"]]
    x, y = (int.from_bytes(unpad(jwk[c]), "big") for c in "xy")
    raw = unpad(signature)
    assert len(raw) == 64 and "d" not in jwk
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
        der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    return json.loads(unpad(claims))


def test_a_receiver_believes_it(fed):
    guest = fed.guests[0]
    keys = fed.cli("token", "keys")
    token = get(fed, guest)
    claims = by_others(token, keys)
    done = verify(fed, token, keys, "--issuer", f"urn:limetree:tenant:{fed.tenant_id}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == claims
    assert claims["aud"] == "vault" and claims["eat_nonce"] == NONCE and claims["sub"] == guest.uuid
    assert 0 < claims["exp"] - claims["iat"] <= 3
    assert claims["submods"]["host"]["limetree.host"] == fed.host
    assert claims["submods"]["guest"]["limetree.ek_digest"] == guest.ek_digest
    assert claims["cnf"]["jwk"]["kty"] == "RSA"


@pytest.mark.parametrize("how", [{"aud": "vaults"}, {"nonce": NONCE + "x"}])
def test_others_do_not(fed, how):
    done = verify(fed, get(fed, fed.guests[0]), fed.cli("token", "keys"), **how)
    assert done.returncode == 1 and next(iter(how.values())) in done.stderr, done.stderr
    assert not done.stdout


def test_a_key_that_was_replaced(fed):
    guest = fed.guests[0]
    before = fed.cli("token", "keys")
    old = get(fed, guest)
    fed.cli("token", "rotate")
    keys = fed.cli("token", "keys")
    assert len(keys["keys"]) == len(before["keys"]) + 1
    by_others(old, keys)
    new = get(fed, guest)
    assert by_others(new, keys) and verify(fed, new, before).returncode == 1    # who has the old set fetches the new one


def test_it_ends(fed):
    guest = fed.guests[0]
    token = get(fed, guest)
    keys = fed.cli("token", "keys")
    left = by_others(token, keys)["exp"] - time.time()
    fed.poll(lambda: verify(fed, token, keys).returncode == 1, left + 10, lambda: "its end")


def test_none_of_a_guest_that_failed(fed):
    guest = fed.guests[0]
    guest.chip.tpm.pcr_extend(4, b"\x66" * 32)
    fed.wait_result(guest, "failed")
    done = fed.cli_raw("token", "get", guest.uuid, "--aud", "vault", "--nonce", NONCE, check=False)
    assert done.returncode == 1 and "not trusted" in done.stderr, done.stderr
    rows = fed.cli("revocation", "list")["revocations"]
    assert [(r["guest"], r["kind"]) for r in rows] == [(guest.uuid, "failed")]
    text = fed.cli_raw("revocation", "list").stdout
    assert guest.uuid in text and "failed" in text
