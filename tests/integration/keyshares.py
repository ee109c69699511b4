"""What a tenant makes of a payload (keylime-api 3.6, 3.7): a second opinion, by Python's cryptography."""

import base64
import hashlib
import hmac
import io
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import datetime

OAEP = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)


def b64(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def memory(lab):
    """A directory in memory that the lab's user may use: the machine's, as /run is."""
    path = Path(tempfile.mkdtemp(prefix="lt-secure-", dir="/dev/shm"))
    os.chown(path, lab.uid, lab.gid)
    os.chmod(path, 0o700)
    yield path / "secure"
    shutil.rmtree(path)


class Payload:
    """K in two halves, and what it opens."""

    def __init__(self, plain=None, size=32):
        self.k, self.v = os.urandom(size), os.urandom(size)
        self.u = bytes(a ^ b for a, b in zip(self.k, self.v))
        iv = os.urandom(16)
        self.plain = plain
        self.sealed = None if plain is None else iv + AESGCM(self.k).encrypt(iv, plain, None)

    def hmac(self, text):
        return hmac.new(self.k, text.encode(), hashlib.sha384).hexdigest()

    @staticmethod
    def wrap(pem, share):
        return b64(serialization.load_pem_public_key(pem.encode()).encrypt(share, OAEP))

    def ukey(self, pem, uuid):
        body = {"encrypted_key": self.wrap(pem, self.u), "auth_tag": self.hmac(uuid)}
        return body if self.sealed is None else body | {"payload": b64(self.sealed)}

    def vkey(self, pem):
        return {"encrypted_key": self.wrap(pem, self.v)}


class Notifier:
    """Who signs revocation messages."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "RevocationNotifier")])
        now = datetime.datetime.utcnow()
        self.certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
                            .public_key(self.key.public_key()).serial_number(1).not_valid_before(now)
                            .not_valid_after(now + datetime.timedelta(days=1)).sign(self.key, hashes.SHA256())
                            .public_bytes(serialization.Encoding.PEM))

    def message(self, **what):
        msg = json.dumps({"type": "revocation"} | what)
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
        return {"msg": msg, "signature": b64(self.key.sign(msg.encode(), pss, hashes.SHA256()))}


def zipped(files, method=zipfile.ZIP_DEFLATED):
    """files: name -> bytes, or name -> (mode, bytes); a mode makes a link, a device, a pipe."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in files.items():
            mode, data = data if isinstance(data, tuple) else (0o100644, data)
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            z.writestr(info, data)
    return out.getvalue()


def zeros(size, name="zeros"):
    """A zip of so many zeros (a multiple of 1 MiB), deflated a MiB at a time."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    data = one * (size >> 20) + deflate.flush()
    n = name.encode()
    sizes = struct.pack("<III", 0, min(len(data), 0xffffffff), min(size, 0xffffffff))
    local = b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 0x21) + sizes + struct.pack("<HH", len(n), 0) + n
    central = (b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0x21) + sizes
               + struct.pack("<HHHHHII", len(n), 0, 0, 0, 0, 0o100644 << 16, 0) + n)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    return local + data + central + end
