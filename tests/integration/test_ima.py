"""IMA lists and signatures against Debian's evmctl: both must say the same of what is good and of what was changed."""

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
DUMP = next((p for p in (BUILD / "tests/support/appraisal/ima-dump", BUILD / "bin/ima-dump", BUILD / "ima-dump") if p.exists()),
            None)

pytestmark = [pytest.mark.skipif(DUMP is None, reason="ima-dump is not built"),
              pytest.mark.skipif(not shutil.which("evmctl"), reason="evmctl (ima-evm-utils) is not installed")]


def run(*args):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, errors="replace", timeout=60)


def le(b):
    return len(b).to_bytes(4, "little") + b


class Entry:
    """One measurement, as the kernel keeps it."""

    def __init__(self, template, path, content, extra=b"", alg="sha256", violation=False):
        self.violation = violation
        digest = hashlib.new(alg, content).digest()
        self.template, self.path, self.alg, self.digest, self.extra = template.encode(), path, alg, digest, extra
        if template == "ima":
            self.data = digest + path + bytes(256 - len(path))
        else:
            self.data = le(alg.encode() + b":\0" + digest) + le(path + b"\0")
        if template in ("ima-sig", "ima-buf"):
            self.data += le(extra)

    def hash(self, alg):
        return bytes(hashlib.new(alg).digest_size) if self.violation else hashlib.new(alg, self.data).digest()

    def text(self):
        digest = self.digest.hex().encode()
        if self.template != b"ima":
            digest = self.alg.encode() + b":" + digest
        line = b"10 " + self.hash("sha1").hex().encode() + b" " + self.template + b" " + digest + b" " + self.path
        if self.template in (b"ima-sig", b"ima-buf"):
            line += b" " + self.extra.hex().encode()
        return line + b"\n"

    def binary(self):
        head = (10).to_bytes(4, "little") + self.hash("sha1") + le(self.template)
        if self.template == b"ima":  # no length before the data, and the name with one of its own
            return head + self.digest + le(self.path)
        return head + le(self.data)

    def extend(self, alg, pcr):
        with_ = b"\xff" * len(pcr) if self.violation else self.hash(alg)
        return hashlib.new(alg, pcr + with_).digest()


def pcr_of(entries, alg="sha256"):
    pcr = bytes(hashlib.new(alg).digest_size)
    for e in entries:
        pcr = e.extend(alg, pcr)
    return pcr


def evmctl_says(tmp_path, binary, pcr, alg="sha256", *more):
    (tmp_path / "list").write_bytes(binary)
    zero = "0" * 2 * len(pcr)
    (tmp_path / "pcrs").write_text("".join(f"PCR-{i:02d}: {pcr.hex() if i == 10 else zero}\n" for i in range(24)))
    return run("evmctl", "ima_measurement", *more, "--pcrs", f"{alg},{tmp_path}/pcrs", tmp_path / "list")


def we_say(tmp_path, text, pcr, alg="sha256"):
    (tmp_path / "text").write_bytes(text)
    return run(DUMP, "list", tmp_path / "text", alg, pcr.hex())


def both(tmp_path, entries, pcr, alg="sha256", binary=None, text=None):
    made = b"".join(e.binary() for e in entries) if binary is None else binary
    theirs = evmctl_says(tmp_path, made, pcr, alg, "--ignore-violations")
    ours = we_say(tmp_path, b"".join(e.text() for e in entries) if text is None else text, pcr, alg)
    assert ours.returncode in (0, 1), ours.stderr
    if binary is None:  # the kernel's binary form, judged the same
        assert we_say(tmp_path, made, pcr, alg).stdout == ours.stdout
    return theirs, ours


def some_entries(n, seed=1):
    r = random.Random(seed)
    made = [Entry("ima-ng", b"boot_aggregate", b"b")]
    for i in range(n):
        template = r.choice(["ima-ng", "ima-ng", "ima-sig", "ima-sig", "ima-buf"])
        extra = r.randbytes(r.choice([0, 1, 9, 264])) if template != "ima-ng" else b""
        odd = r.choice(["/h\u00e4l".encode() + b"\xff-%d", b"/a\nb%d", b"/a\\x41\\%d", b"/ a\r\t%d ", b"\n\n%d\n"])
        path = f"/usr/bin/program-{i}".encode() if r.random() < 0.6 else odd % i
        made.append(Entry(template, path, b"%d" % i, extra, r.choice(["sha1", "sha256", "sha512"])))
    return made


@pytest.mark.parametrize("alg", ["sha1", "sha256"])
def test_made_lists_agree(tmp_path, alg):
    entries = some_entries(40)
    for seed in range(4):
        pcr = pcr_of(entries, alg)
        theirs, ours = both(tmp_path, entries, pcr, alg)
        assert theirs.returncode == 0, theirs.stdout + theirs.stderr
        assert ours.returncode == 0 and ours.stdout.startswith(f"{len(entries)} of {len(entries)}\n"), ours.stdout
        random.Random(seed).shuffle(entries)


def test_prefixes_agree(tmp_path):
    """The list is ahead of the PCR: evmctl and we take the same prefix."""
    entries = some_entries(12)
    for n in range(1, len(entries) + 1):
        theirs, ours = both(tmp_path, entries, pcr_of(entries[:n]))
        assert theirs.returncode == 0 and ours.returncode == 0, (n, theirs.stdout, ours.stdout)
        assert ours.stdout.startswith(f"{n} of {n}\n")


def test_changes_agree(tmp_path):
    entries = some_entries(10)
    pcr = pcr_of(entries)
    for i in range(len(entries)):
        for changed in (entries[:i] + entries[i + 1:],
                        entries[:i] + [entries[i]] + entries[i:] if i + 1 < len(entries) else None,
                        entries[:i] + [entries[i + 1], entries[i]] + entries[i + 2:] if i + 1 < len(entries) else None,
                        entries[:i] + [Entry("ima-ng", entries[i].path, b"changed")] + entries[i + 1:]):
            if changed is None:
                continue
            theirs, ours = both(tmp_path, changed, pcr)
            assert theirs.returncode != 0 and ours.returncode == 1, (i, theirs.stdout, ours.stdout)
            assert "PCR 10 is sha256:" in ours.stdout


def test_violations(tmp_path):
    """Extended with ones; evmctl only takes them with --ignore-violations, and the chain alone is what is compared."""
    entries = some_entries(5)
    entries.insert(3, Entry("ima-ng", b"/var/log/x", b"", violation=True))
    theirs, ours = both(tmp_path, entries, pcr_of(entries))
    assert theirs.returncode == 0 and ours.returncode == 0, theirs.stdout + theirs.stderr + ours.stdout


def test_real_lists_agree(tmp_path, vectors):
    for kind in ("ovmf", "seabios"):
        d = vectors / "guest-logs" / kind
        values = dict(line.split() for line in (d / "pcrs.txt").read_text().splitlines())
        pcr = bytes.fromhex(values["10"])
        text, binary = (d / "ima_ascii_runtime_measurements").read_bytes(), (d / "ima_binary_runtime_measurements").read_bytes()
        theirs, ours = both(tmp_path, [], pcr, binary=binary, text=text)
        assert theirs.returncode == 0 and ours.returncode == 0 and ours.stdout.startswith("56 of 56\n")
        assert we_say(tmp_path, binary, pcr, "sha256").stdout == ours.stdout
        wrong = bytes([pcr[0] ^ 1]) + pcr[1:]
        theirs, ours = both(tmp_path, [], wrong, binary=binary, text=text)
        assert theirs.returncode != 0 and ours.returncode == 1
        # boot_aggregate is the first entry: SHA-256 over PCR 0-9 of the bank.
        (tmp_path / "pcrs").write_text("".join(f"PCR-{int(i):02d}: {v}\n" for i, v in values.items()))
        aggregate = run("evmctl", "ima_boot_aggregate", "--pcrs", f"sha256,{tmp_path}/pcrs")
        assert text.split(b" ")[3].decode() in aggregate.stdout.split(), aggregate.stdout + aggregate.stderr


@pytest.mark.parametrize("key", [["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                                 ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                                 ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]], ids=["rsa", "p256", "p384"])
@pytest.mark.parametrize("alg", ["sha1", "sha256", "sha384", "sha512"])
def test_signatures_agree(tmp_path, key, alg):
    pem, der, cert, other = (tmp_path / n for n in ("key.pem", "key.der", "cert.der", "other.der"))
    assert run("openssl", "genpkey", *key, "-out", pem).returncode == 0
    assert run("openssl", "pkey", "-in", pem, "-pubout", "-outform", "DER", "-out", der).returncode == 0
    assert run("openssl", "req", "-x509", "-new", "-key", pem, "-subj", "/CN=ima", "-outform", "DER", "-out", cert).returncode == 0
    file = tmp_path / "file"
    file.write_bytes(b"content\n")
    assert run("evmctl", "ima_sign", "--sigfile", "-a", alg, "--key", pem, file).returncode == 0
    sig = (tmp_path / "file.sig").read_bytes()

    def compare(content, blob):
        file.write_bytes(content)
        (tmp_path / "file.sig").write_bytes(blob)
        theirs = run("evmctl", "ima_verify", "--sigfile", "--key", cert, file)  # it reads no bare keys
        ours = run(DUMP, "signature", der, tmp_path / "file.sig", alg, hashlib.new(alg, content).hexdigest())
        assert ours.returncode in (0, 1), ours.stderr
        return theirs.returncode == 0, ours.returncode == 0, ours.stdout

    theirs, ours, text = compare(b"content\n", sig)
    assert theirs and ours, text
    theirs, ours, text = compare(b"other\n", sig)
    assert not theirs and not ours and "bad-signature" in text
    r = random.Random(3)
    for _ in range(12):
        at = r.randrange(9, len(sig))
        changed = sig[:at] + bytes([sig[at] ^ 1 << r.randrange(8)]) + sig[at + 1:]
        theirs, ours, text = compare(b"content\n", changed)
        assert not theirs and not ours, (at, text)
    assert run("openssl", "genpkey", *key, "-out", tmp_path / "o.pem").returncode == 0
    assert run("openssl", "pkey", "-in", tmp_path / "o.pem", "-pubout", "-outform", "DER", "-out", other).returncode == 0
    (tmp_path / "file.sig").write_bytes(sig)
    ours = run(DUMP, "signature", other, tmp_path / "file.sig", alg, hashlib.new(alg, b"content\n").hexdigest())
    assert ours.returncode == 1 and "refused" in ours.stdout and "in no keyring" in ours.stdout


def test_key_id_of_a_certificate(tmp_path):
    pem, cert = tmp_path / "key.pem", tmp_path / "cert.der"
    (tmp_path / "conf").write_text("[req]\ndistinguished_name=d\n[d]\n[v]\nsubjectKeyIdentifier=00112233445566778899aabb\n")
    assert run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", pem, "-subj", "/CN=ima", "-config",
               tmp_path / "conf", "-extensions", "v", "-outform", "DER", "-out", cert).returncode == 0
    file = tmp_path / "file"
    file.write_bytes(b"content\n")
    assert run("evmctl", "ima_sign", "--sigfile", "-a", "sha256", "--key", pem, "--keyid-from-cert", cert, file).returncode == 0
    sig = (tmp_path / "file.sig").read_bytes()
    assert sig[3:7].hex() == "8899aabb"
    ours = run(DUMP, "signature", cert, tmp_path / "file.sig", "sha256", hashlib.sha256(b"content\n").hexdigest())
    assert ours.returncode == 0, ours.stdout
