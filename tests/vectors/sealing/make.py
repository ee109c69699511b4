#!/usr/bin/python3 -B
"""Writes vectors.json beside itself: the bytes of docs/sealing.md section 2, computed from that page alone (struct,
hashlib, uuid, and AES-GCM of Python's `cryptography`), so that the C code is held against something that is not its own.

usage: make.py [--check]    --check: write nothing, status 1 where the file differs"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys
import uuid

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).resolve().parent
BITMAP = 0x5395
NV = 0x01804C54
NAMESPACE = uuid.UUID("6c696d65-7472-6565-8076-54504d4b6579")


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def tag(text):
    return text.encode().ljust(16, b"\0")


def u8(v):
    return struct.pack(">B", v)


def u16(v):
    return struct.pack(">H", v)


def u32(v):
    return struct.pack(">I", v)


def u64(v):
    return struct.pack(">Q", v)


def sized(b):
    return u16(len(b)) + b


# ---- states and openers

def state(name, bitmap=BITMAP):
    return {n: sha(name.encode(), u8(n)) for n in range(24) if bitmap >> n & 1}


def bitmap_of(pcrs):
    return sum(1 << n for n in pcrs)


def state_bytes(pcrs):
    return u32(bitmap_of(pcrs)) + b"".join(pcrs[n] for n in sorted(pcrs))


def opener(kind, body, closed=False):
    return u8(kind) + u8(closed) + sized(body)


def openers_bytes(*openers):
    return tag("LT1:OPENERS") + u16(len(openers)) + b"".join(openers)


# ---- the key's policy, as the chip computes it

def pcr_policy(pcrs):
    mask = bitmap_of(pcrs)
    selection = u32(1) + u16(0x000B) + u8(3) + bytes(mask >> 8 * i & 255 for i in range(3))
    return sha(bytes(32), u32(0x17F), selection, sha(*(pcrs[n] for n in sorted(pcrs))))


def or_policy(states):
    branches = [pcr_policy(s) for s in states]
    return sha(bytes(32), u32(0x171), *(branches * 2 if len(branches) == 1 else branches))


def nv_name(attributes):
    return u16(0x000B) + sha(u32(NV), u16(0x000B), u32(attributes), u16(0), u16(8))


NV_NAME = nv_name(0x02040014 | 0x20000000)


def policy(states, generation):
    return sha(or_policy(states), u32(0x149), sha(u64(generation), u16(0), u16(9)), NV_NAME)


def hmac_public(p, unique):
    return sized(u16(8) + u16(0x0B) + u32(0x000404B2) + sized(p) + u16(5) + u16(0x0B) + sized(unique))


def ecdh_public(p, x, y):
    return sized(u16(0x23) + u16(0x0B) + u32(0x000204B2) + sized(p) + u16(0x10) + u16(0x10) + u16(3) + u16(0x10)
                 + sized(x) + sized(y))


# ---- the point

P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
B256 = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def vault_point():
    for i in range(256):
        x = int.from_bytes(sha(tag("LT1:VAULT-POINT"), u8(i)), "big")
        square = (x**3 - 3 * x + B256) % P256
        y = pow(square, (P256 + 1) // 4, P256)
        if x < P256 and y * y % P256 == square:
            return i, x, P256 - y if y & 1 else y
    raise AssertionError("no point")


def multiply(d, point):
    """Affine double and add: slow, and nobody's code but this."""
    def add(a, b):
        if a is None or b is None:
            return a or b
        if a[0] == b[0] and (a[1] + b[1]) % P256 == 0:
            return None
        slope = ((3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P256) if a == b
                 else (b[1] - a[1]) * pow(b[0] - a[0], -1, P256)) % P256
        x = (slope * slope - a[0] - b[0]) % P256
        return x, (slope * (a[0] - x) - a[1]) % P256
    out = None
    while d:
        if d & 1:
            out = add(out, point)
        point, d = add(point, point), d >> 1
    return out


# ---- entries and the vault

def entry(n, openers):
    """Every field told apart from its neighbours."""
    return {"uuid": bytes([n]) + sha(b"uuid", u8(n))[1:16], "ek_digest": sha(b"ek", u8(n)),
            "key": base64.b64encode(sha(b"key", u8(n))), "origin": 1 + n % 2, "authority": bytes(32),
            "firmware": sha(b"firmware", u8(n)), "domain": sha(b"domain", u8(n)) if n % 2 else bytes(32),
            "openers": openers}


def entry_bytes(e):
    return (e["uuid"] + e["ek_digest"] + e["key"] + u8(e["origin"]) + e["authority"] + e["firmware"] + e["domain"]
            + u32(len(e["openers"])) + e["openers"])


def vault(host, generation, states, public, private, km, nonce, plain):
    head = tag("LT1:VAULT") + u16(1) + u16(1) + host + NV_NAME + u64(generation)
    compartment = u8(len(states)) + b"".join(state_bytes(s) for s in states) + public + private + nonce
    key = hmac.digest(km, tag("LT1:VAULT-KEY"), "sha256")
    sealed = AESGCM(key).encrypt(nonce, plain, head + u16(0) + compartment)
    return head + compartment + u32(len(plain)) + sealed


# ---- the escrow copy

GENERATOR = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
             0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def spki(point):
    """RFC 5480: id-ecPublicKey, prime256v1, uncompressed."""
    return bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + uncompressed(point)


def uncompressed(point):
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def escrow(e, recovery, ephemeral, nonce, named=None):
    """RFC 5869 in its two steps; the point by multiply(). named: the UUID that the frame says, if not the entry's."""
    plain = entry_bytes(e)
    head = (tag("LT1:ESCROW") + u16(1) + (named or e["uuid"]) + sha(spki(multiply(recovery, GENERATOR)))
            + uncompressed(multiply(ephemeral, GENERATOR)))
    z = multiply(ephemeral, multiply(recovery, GENERATOR))[0].to_bytes(32, "big")
    key = hmac.digest(hmac.digest(sha(head), z, "sha256"), tag("LT1:ESCROW-KEY") + b"\x01", "sha256")
    frame = head + nonce + u32(len(plain))
    return frame + AESGCM(key).encrypt(nonce, plain, frame)


def escrow_vector(host, states):
    recovery, ephemeral = (int.from_bytes(sha(name), "big") for name in (b"recovery key", b"ephemeral key"))
    private = ec.derive_private_key(recovery, ec.SECP256R1())
    digest = sha(spki(multiply(recovery, GENERATOR)))
    e = entry(3, openers_bytes(*(opener(1, host + state_bytes(s)) for s in states), opener(2, digest)))
    return {"private": private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                             serialization.NoEncryption()).decode(),
            "public": private.public_key().public_bytes(serialization.Encoding.PEM,
                                                        serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
            "digest": digest.hex(), "entry": entry_bytes(e).hex(),
            "copy": escrow(e, recovery, ephemeral, sha(b"escrow nonce")[:12]).hex(),
            "misnamed": escrow(e, recovery, ephemeral, sha(b"escrow nonce")[:12], bytes(16)).hex()}


def vectors():
    host = sha(b"host ek")
    a, b = state("a"), state("b", BITMAP | 1 << 11)
    lists = {
        "empty": openers_bytes(),
        "one": openers_bytes(opener(1, host + state_bytes(a))),
        "all": openers_bytes(opener(4, sha(b"authority")), opener(1, host + state_bytes(a), True),
                             opener(1, host + state_bytes(b)), opener(2, sha(b"escrow")),
                             opener(3, sha(b"sender") + sha(b"import key")), opener(1, sha(b"other") + state_bytes(a))),
    }
    keys = []
    for states, generation in (([a], 1), ([a, b], 2**40 + 7), ([state(str(i)) for i in range(8)], 2**64 - 1)):
        p = policy(states, generation)
        keys.append({"states": [{str(n): v.hex() for n, v in s.items()} for s in states], "generation": str(generation),
                     "pcr_policies": [pcr_policy(s).hex() for s in states], "or_policy": or_policy(states).hex(),
                     "policy": p.hex(), "hmac_template": hmac_public(p, b"").hex(),
                     "ecdh_template": ecdh_public(p, b"", b"").hex(),
                     "hmac_public": hmac_public(p, sha(b"unique")).hex(),
                     "ecdh_public": ecdh_public(p, sha(b"x"), sha(b"y")).hex(),
                     "message": (tag("LT1:VAULT") + u64(generation) + u16(3)).hex()})
    counter, x, y = vault_point()
    d = int.from_bytes(sha(b"the chip's key"), "big")
    answer = multiply(d, (x, y))
    public = ec.derive_private_key(d, ec.SECP256R1()).public_key().public_numbers()
    assert multiply(d, GENERATOR) == (public.x, public.y)
    generation, km = 41, sha(b"km")
    entries = [entry(1, lists["one"]), entry(2, openers_bytes(opener(1, host + state_bytes(a)), opener(2, sha(b"escrow"))))]
    plain = u32(len(entries)) + b"".join(entry_bytes(e) for e in entries) + u16(0)
    file = vault(host, generation, [a], hmac_public(policy([a], generation), sha(b"unique")), sized(b"private" * 20), km,
                 sha(b"nonce")[:12], plain)
    domains = ["11111111-2222-4333-8444-555555555555", "00000000-0000-0000-0000-000000000000",
               "ABCDEF01-2345-6789-abcd-EF0123456789"]
    return {
        "openers": {name: {"bytes": raw.hex(), "digest": sha(raw).hex()} for name, raw in lists.items()},
        "nv": {"name": NV_NAME.hex(), "unwritten": nv_name(0x02040014).hex()},
        "keys": keys,
        "point": {"counter": counter, "x": f"{x:064x}", "y": f"{y:064x}", "answer_x": f"{answer[0]:064x}",
                  "answer_y": f"{answer[1]:064x}",
                  "km": sha(answer[0].to_bytes(32, "big"), answer[1].to_bytes(32, "big")).hex()},
        "secrets": {d: str(uuid.uuid5(NAMESPACE, d.lower())) for d in domains},
        "vault": {"host_ek_digest": host.hex(), "generation": generation, "km": km.hex(), "file": file.hex(),
                  "plain": plain.hex(), "entries": [entry_bytes(e).hex() for e in entries]},
        "escrow": escrow_vector(host, [a, b]),
    }


def main():
    text = json.dumps(vectors(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        return (HERE / "vectors.json").read_text() != text
    (HERE / "vectors.json").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
