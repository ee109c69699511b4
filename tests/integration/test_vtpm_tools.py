"""limetree-localca as swtpm_setup calls it, and `limetree domain digest`: command lines, exit codes, faults."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
BARE = (f"<domain type='qemu'><name>n</name><uuid>{UUID}</uuid><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>"
        "%s</os><devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>")


def run(name, *args):
    return subprocess.run([BUILD / "bin" / name, *map(str, args)], capture_output=True, text=True, timeout=30,
                          env={"PATH": "/usr/bin:/bin"})


@pytest.fixture
def ca(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-subj", "/CN=vTPM CA", "-addext",
                    "keyUsage=critical,keyCertSign"], check=True, capture_output=True)
    os.chmod(tmp_path / "key.pem", 0o600)
    (tmp_path / "records").mkdir(mode=0o700)
    (tmp_path / "conf").write_text(f"ca_cert = {tmp_path}/cert.pem\nca_key = {tmp_path}/key.pem\n"
                                   f"records = {tmp_path}/records\n")
    return tmp_path


def make_vtpm(ca, tmp_path, vmid=f"a:b:{UUID}"):
    """swtpm_setup itself, with our tool; returns the finished process."""
    state, certs = tmp_path / "state", tmp_path / "certs"
    state.mkdir(exist_ok=True)
    certs.mkdir(exist_ok=True)
    (tmp_path / "setup.conf").write_text(f"create_certs_tool = {BUILD}/bin/limetree-localca\n"
                                         f"create_certs_tool_config = {ca}/conf\n"
                                         f"create_certs_tool_options = /dev/null\nactive_pcr_banks = sha256\n")
    return subprocess.run(["swtpm_setup", "--tpm2", "--tpmstate", state, "--config", tmp_path / "setup.conf",
                           "--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--overwrite", "--vmid", vmid,
                           "--write-ek-cert-files", certs], capture_output=True, text=True, timeout=60)


def test_made_by_swtpm_setup(ca, tmp_path):
    done = make_vtpm(ca, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    digests = set()
    for name, usage in (("ek-rsa2048.crt", "key_encipherment"), ("ek-secp384r1.crt", "key_agreement")):
        path = tmp_path / "certs" / name
        subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", ca / "cert.pem", path], check=True,
                       capture_output=True)
        cert = x509.load_der_x509_certificate(path.read_bytes())
        assert cert.subject.rfc4514_string() == f"CN=a:b:{UUID}"
        assert cert.not_valid_after.year == 9999
        eku = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert [e.dotted_string for e in eku.value] == ["2.23.133.8.1"]
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert san.critical
        (name,) = san.value.get_values_for_type(x509.DirectoryName)
        assert [(a.oid.dotted_string, a.value) for a in name] == [
            ("2.23.133.2.1", "id:00001014"), ("2.23.133.2.2", "swtpm"), ("2.23.133.2.3", "id:20191023")]
        key_usage = cert.extensions.get_extension_for_class(x509.KeyUsage)
        assert key_usage.critical and getattr(key_usage.value, usage)
        spki = cert.public_key().public_bytes(serialization.Encoding.DER,
                                              serialization.PublicFormat.SubjectPublicKeyInfo)
        digests.add(hashlib.sha256(spki).hexdigest())
    records = list((ca / "records" / UUID).iterdir())
    assert {r.stem for r in records} == digests
    for r in records:
        assert r.stat().st_mode & 0o777 == 0o600
        said = json.loads(r.read_text())
        assert (said["uuid"], said["name"], said["ek_digest"]) == (UUID, "a:b", r.stem)


def test_long_name_gives_way_to_the_uuid(ca, tmp_path):
    done = make_vtpm(ca, tmp_path, f"{'n' * 60}:{UUID}")
    assert done.returncode == 0, done.stdout + done.stderr
    cert = x509.load_der_x509_certificate((tmp_path / "certs/ek-rsa2048.crt").read_bytes())
    assert cert.subject.rfc4514_string() == f"CN={UUID}"


@pytest.mark.parametrize("change, status, said", [
    (dict(vmid="name:not-a-uuid"), 1, "--vmid"),
    (dict(ek="abcd"), 1, "RSA modulus"),
    (dict(type="tpm"), 2, "neither ek nor platform"),
    (dict(configfile="/nonexistent"), 2, "/nonexistent"),
    (dict(unknown="x"), 2, "unrecognized option"),
    (dict(dir="/nonexistent"), 2, "/nonexistent"),
])
def test_faults(ca, tmp_path, change, status, said):
    args = dict(type="ek", ek="c" * 511 + "1", dir=tmp_path, vmid=f"n:{UUID}", configfile=ca / "conf") | change
    done = run("limetree-localca", *[word for k, v in args.items() for word in (f"--{k}", v)])
    assert done.returncode == status and said in done.stderr
    assert not (tmp_path / "ek.cert").exists()


def test_readable_key_is_refused(ca, tmp_path):
    os.chmod(ca / "key.pem", 0o644)
    assert make_vtpm(ca, tmp_path).returncode != 0
    assert not list((ca / "records").iterdir())


def test_domain_digest(tmp_path):
    (tmp_path / "k").write_bytes(b"kernel")
    (tmp_path / "d.xml").write_text(BARE % f"<kernel>{tmp_path}/k</kernel><cmdline>a &amp; b</cmdline>")
    lines = ("LT1:DOMAIN\ntype=qemu\narch=x86_64\nmachine=pc-q35-7.2\nloader-type=-\nloader-secure=-\nsmm=-\n"
             f"kernel={hashlib.sha256(b'kernel').hexdigest()}\ninitrd=-\n"
             f"cmdline={hashlib.sha256(b'a & b').hexdigest()}\ntpm-model=tpm-crb\ntpm-version=2.0\n")
    wanted = hashlib.sha256(lines.encode()).hexdigest()
    assert run("limetree", "domain", "digest", tmp_path / "d.xml").stdout == wanted + "\n"
    assert run("limetree", "domain", "digest", "--lines", tmp_path / "d.xml").stdout == lines + wanted + "\n"
    said = json.loads(run("limetree", "domain", "digest", tmp_path / "d.xml", "--json").stdout)
    assert said == {"uuid": UUID, "name": "n", "digest": wanted, "lines": lines}


def test_domain_digest_faults(tmp_path):
    (tmp_path / "bad.xml").write_text("<!DOCTYPE domain>" + BARE % "")
    (tmp_path / "gone.xml").write_text(BARE % "<kernel>/nonexistent/k</kernel>")
    for args, status in ((["digest", tmp_path / "bad.xml"], 1), (["digest", tmp_path / "gone.xml"], 2),
                         (["digest", tmp_path / "absent"], 2), (["digest"], 2), (["other", "x"], 2),
                         (["digest", "--bogus", "x"], 2)):
        done = run("limetree", "domain", *args)
        assert (done.returncode, done.stdout) == (status, "") and done.stderr
    assert run("limetree", "domain", "--help").returncode == 0
