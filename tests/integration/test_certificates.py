"""Certificates of our own TLS with real daemons: a wrong one stops a start with a sentence, refusals are told on both
sides, lists of revoked certificates count from the moment they are read, and what runs out is said in time.
"""

import datetime
import http.client
import json
import os
import signal
import ssl
import sys
import uuid
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.hwtpm import HwTpm  # noqa: E402

BIN = Path(os.environ.get("LT_BUILD", TOP / "build/dev")) / "bin"
TENANT, OTHER = str(uuid.UUID(int=0xa1)), str(uuid.UUID(int=0xa2))
HOST = "11" * 16


class Pki:
    def __init__(self, lab):
        self.lab, self.dir = lab, lab.path("pki")
        self.program = {n: lab.install(BIN / n) for n in
                        ("limetree", "limetree-provider", "limetree-tenant", "limetree-agent")}
        self.limetree("pki", "init", self.dir, "--tenant", TENANT)

    def limetree(self, *args, check=True):
        return self.lab.run([self.program["limetree"], *args], check=check)

    def issue(self, name, *args, ca="federation"):
        self.limetree("pki", "issue", self.dir, "--ca", ca, "--out", self.dir / name, *args)
        return name

    def forge(self, name, role, first_day, last_day):
        """By the federation's CA, on days that limetree pki would not write."""
        ca = x509.load_pem_x509_certificate((self.dir / "federation-ca.crt").read_bytes())
        ca_key = serialization.load_pem_private_key((self.dir / "federation-ca.key").read_bytes(), None)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.utcnow()
        cert = (x509.CertificateBuilder()
                .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])).issuer_name(ca.subject)
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now + datetime.timedelta(days=first_day))
                .not_valid_after(now + datetime.timedelta(days=last_day))
                .add_extension(x509.BasicConstraints(False, None), True)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                               False)
                .add_extension(x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(f"urn:limetree:role:{role}")]), False)
                .sign(ca_key, hashes.SHA256()))
        self.lab.write(f"pki/{name}.crt", cert.public_bytes(serialization.Encoding.PEM))
        self.lab.write(f"pki/{name}.key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return name

    def revoke(self, *names):
        for name in names or (None,):
            self.limetree("pki", "revoke", self.dir, "--ca", "federation",
                          *(("--cert", self.dir / f"{name}.crt") if name else ()))
        return self.dir / "federation-ca.crl"

    def provider(self, name="provider", ca="federation-ca", **more):
        return self.options("limetree-provider", **{
            "listen": "127.0.0.1:0", "cert": self.dir / f"{name}.crt", "key": self.dir / f"{name}.key",
            "ca": self.dir / f"{ca}.crt", "state_dir": self.lab.path("provider", directory=True), **more})

    def tenant(self, **more):
        d = self.dir
        return self.options("limetree-tenant", **{
            "listen": "127.0.0.1:0", "registrar_listen": "127.0.0.1:0", "registrar_tls_listen": "127.0.0.1:0",
            "cert": d / "tenant-server.crt", "key": d / "tenant-server.key", "ca": d / "tenant-ca.crt",
            "agent_cert": d / "tenant-client.crt", "agent_key": d / "tenant-client.key",
            "federation_cert": d / "tenant.crt", "federation_key": d / "tenant.key",
            "federation_ca": d / "federation-ca.crt", "provider": "https://127.0.0.1:1", "tenant_id": TENANT,
            "state_dir": self.lab.path("tenant", directory=True), **more})

    def agent(self, role, **more):
        return self.options("limetree-agent", role=role, listen="127.0.0.1:0",
                            state_dir=self.lab.path("agent", directory=True), **more)

    def options(self, program, **options):
        return [self.program[program], *(w for k, v in options.items() for w in ("-o", f"{k}={v}"))]


@pytest.fixture(scope="module")
def lab():
    with Lab(prefix="ltc") as lab:
        yield lab


@pytest.fixture(scope="module")
def pki(lab):
    pki = Pki(lab)
    pki.issue("host", "--role", "host", "--host", HOST)
    pki.issue("soon", "--role", "provider", "--days", "10")
    pki.issue("other-tenant", "--role", "tenant", "--tenant", OTHER)
    pki.issue("server-only", "--role", "provider", "--server")
    pki.forge("expired", "provider", -20, -10)
    pki.forge("early", "provider", 10, 20)
    return pki


def refused(lab, argv, *says):
    """By --check-config and by a start alike: one sentence, exit status 2, nothing is ready."""
    for extra in (["--check-config"], []):
        done = lab.run([*argv, *extra], check=False)
        assert done.returncode == 2, (extra, done.stdout, done.stderr)
        assert "ready" not in done.stdout + done.stderr
        for words in says:
            assert words in done.stderr, (words, done.stderr)


def good(lab, argv):
    done = lab.run([*argv, "--check-config"])
    assert "configuration is good" in done.stdout, done.stderr
    return done


def test_a_provider_with_the_wrong_certificate_does_not_start(lab, pki):
    d = pki.dir
    assert "not looked at" in good(lab, pki.provider()).stdout
    refused(lab, pki.provider("operator"), f"cert = {d}/operator.crt: its role is operator, provider is needed here",
            "limetree pki issue DIR --ca federation --role provider")
    refused(lab, pki.provider("tenant-operator"), "its role is operator")
    refused(lab, pki.provider("expired"), f"cert = {d}/expired.crt: expired on 20", "issue the right one")
    refused(lab, pki.provider("early"), "good from 20", "clock")
    refused(lab, pki.provider("server-only"), "not for a client")
    refused(lab, pki.provider(ca="tenant-ca"), f"cert = {d}/provider.crt: not under ca = {d}/tenant-ca.crt")
    refused(lab, pki.provider(ca="provider"), f"ca = {d}/provider.crt", "not a CA's certificate")
    refused(lab, pki.provider(key=d / "operator.key"), f"key = {d}/operator.key: not the key of the certificate")
    refused(lab, pki.provider(cert=d / "none.crt"), f"cert = {d}/none.crt", "No such file")
    refused(lab, pki.provider(crl=d / "none.crl"), f"crl = {d}/none.crl", "No such file")


def test_check_config_does_all_but_binding(lab, pki):
    def check(argv, words):
        done = lab.run([*argv, "--check-config"], check=False)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    d = pki.dir
    check(pki.provider(state_dir="/proc/none/provider"), "state_dir = /proc/none/provider")
    broken = lab.path("broken", directory=True)
    broken.chmod(0o700)
    lab.write("broken/provider.db", b"not a database, but long enough to be taken for one" * 100)
    check(pki.provider(state_dir=broken), f"{broken}/provider.db: not a database")
    check([*pki.provider(), "-o", "listen=127.0.0.1:99999"], "listen = 127.0.0.1:99999")
    good(lab, pki.tenant())
    roots = lab.path("roots", directory=True)
    lab.write("roots/README", b"makers of TPMs\n", 0o644)
    check(pki.tenant(roots=roots), "no *.pem")
    lab.write("roots/chip.pem", (d / "provider.crt").read_bytes(), 0o644)
    check(pki.tenant(roots=roots), f"{roots}/chip.pem")
    check(pki.tenant(registry=d / "provider.crt"), f"registry {d}/provider.crt")
    check(pki.tenant(policy_key=d / "provider.crt"), f"policy_key = {d}/provider.crt: not a public key")
    check(pki.tenant(provider="provider.example:8981"), "provider = provider.example:8981")
    check(pki.tenant(federation_crl=d / "tenant.crt"), f"federation_crl = {d}/tenant.crt")
    for ca in ("tenant-ca", "federation-ca"):
        check(pki.tenant(keylime_admin_ca=d / f"{ca}.crt"), f"keylime_admin_ca = {d}/{ca}.crt: also a CA of")
    check(pki.tenant(keylime_admin_ca=d / "tenant.crt"), f"keylime_admin_ca = {d}/tenant.crt (CN = tenant): not a CA's")
    check(pki.agent("guest"), "client_ca: must be set")
    check(pki.agent("guest", client_ca=d / "tenant.crt"), f"client_ca = {d}/tenant.crt")
    check(pki.agent("guest", client_ca=d / "tenant-ca.crt", tcti="device:/dev/no-such-tpm"),
          "tcti = device:/dev/no-such-tpm")
    for registrar in ("tenant:8890", "https://tenant:8890"):
        check(pki.agent("guest", client_ca=d / "tenant-ca.crt", tcti="device:/dev/null", registrar=registrar),
              f"registrar = {registrar}: not http://HOST:PORT")
    assert "the TPM" in good(lab, pki.agent("guest", client_ca=d / "tenant-ca.crt", tcti="device:/dev/null")).stdout


def test_a_tenant_with_the_wrong_certificate_does_not_start(lab, pki):
    d = pki.dir
    refused(lab, pki.tenant(tenant_id=OTHER), f"for tenant {TENANT}, this one is {OTHER}")
    refused(lab, pki.tenant(federation_cert=d / "other-tenant.crt", federation_key=d / "other-tenant.key"),
            f"federation_cert = {d}/other-tenant.crt: for tenant {OTHER}, this one is {TENANT}")
    refused(lab, pki.tenant(cert=d / "tenant-client.crt", key=d / "tenant-client.key"), "not for a server")
    refused(lab, pki.tenant(agent_cert=d / "tenant.crt", agent_key=d / "tenant.key"),
            f"agent_cert = {d}/tenant.crt: not under ca = {d}/tenant-ca.crt")
    refused(lab, pki.tenant(federation_cert=d / "operator.crt", federation_key=d / "operator.key"),
            "its role is operator, tenant is needed here")


def test_a_host_with_another_hosts_certificate_does_not_start(lab, pki):
    d, chip = pki.dir, HwTpm(lab, "certificates").start(boot_log=None)
    options = dict(client_ca=d / "federation-ca.crt", tcti=chip.tcti, libvirt_uri="test:///default")
    refused(lab, pki.agent("host", cert=d / "provider.crt", key=d / "provider.key", **options),
            "its role is provider, host is needed here")
    argv = pki.agent("host", cert=d / "host.crt", key=d / "host.key", **options)
    good(lab, argv)                                      # the TPM is not opened for this
    done = lab.run(argv, check=False)
    assert done.returncode == 2 and f"cert = {d}/host.crt: for host {HOST}, this one is " in done.stderr, done.stderr


def get(address, pki, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(pki.dir / "federation-ca.crt")
    context.load_cert_chain(pki.dir / f"{name}.crt", pki.dir / f"{name}.key")
    host, _, port = address.rpartition(":")
    return http.client.HTTPSConnection(host, int(port), context=context, timeout=20)


def status(connection, path="/federation/v1/hosts", method="GET"):
    connection.request(method, path)
    reply = connection.getresponse()
    reply.read()
    return reply.status


def test_revocation_and_refusals(lab, pki):
    for name in ("operator-2", "operator-3"):
        pki.issue(name, "--role", "operator", "--client")
    pki.issue("stranger", "--role", "operator", ca="tenant")
    crl = pki.revoke("operator-2")
    provider = lab.spawn("provider", pki.provider("soon", crl=crl), ready_fd=True)
    address = provider.ready()["listen"]
    provider.wait_log(r"soon.crt \(CN = soon\): runs out on .*, in 9 days", 10)
    provider.wait_log(r"federation-ca.crl: read, 1 revoked", 10)
    kept, last = get(address, pki, "operator"), get(address, pki, "operator-3")
    assert status(kept) == status(last) == 200
    with pytest.raises((ssl.SSLError, OSError)):
        status(get(address, pki, "operator-2"))
    provider.wait_log(r'client certificate \\"CN=operator-2\\" refused: revoked by its CA', 10)
    # Read anew: nobody's connection breaks but the one of who is revoked now.
    pki.revoke("operator-3")
    provider.signal(signal.SIGHUP)
    provider.wait_log(r"federation-ca.crl: read, 2 revoked", 10)
    assert (status(last), status(kept)) == (401, 200)
    # A list that cannot be used leaves the one of before in force.
    crl.write_bytes(b"nothing")
    provider.signal(signal.SIGHUP)
    provider.wait_log(r"the lists of before stay in force", 10)
    assert status(kept) == 200
    with pytest.raises((ssl.SSLError, OSError)):
        status(get(address, pki, "operator-2"))
    # The other side is told why, too.
    conf = "".join(f"provider_{k} = {v}\n" for k, v in {
        "url": f"https://{address}", "cert": pki.dir / "stranger.crt", "key": pki.dir / "stranger.key",
        "ca": pki.dir / "federation-ca.crt"}.items())
    done = pki.limetree("host", "list", "--config", lab.write("stranger.conf", conf), check=False)
    assert done.returncode != 0 and "stranger.crt" in done.stderr and "Empty reply" not in done.stderr, done.stderr
    # The command line reads a list, too.
    pki.issue("lost", "--role", "provider")
    crl.unlink()
    pki.revoke("lost")
    lost = lab.spawn("provider-lost", pki.provider("lost", state_dir=lab.path("lost", directory=True)), ready_fd=True)
    conf = "".join(f"provider_{k} = {v}\n" for k, v in {
        "url": f"https://{lost.ready()['listen']}", "cert": pki.dir / "operator.crt", "key": pki.dir / "operator.key",
        "ca": pki.dir / "federation-ca.crt"}.items())
    for more, code in (("", 0), (f"provider_crl = {crl}\n", 1)):
        done = pki.limetree("host", "list", "--config", lab.write("operator.conf", conf + more), check=False)
        assert done.returncode == code and '"event"' not in done.stderr, done.stderr
    assert 'server certificate: revoked by its CA (it is "CN = lost")' in done.stderr
    lost.stop()
    provider.stop()
    crl.write_bytes(b"nothing")
    refused(lab, pki.provider("soon", crl=crl), f"crl = {crl}: not lists of revoked certificates")


def keylime_ca(lab):
    """As keylime_ca makes them: RSA, certificates without extended key usage, CN and DNS name "client"."""
    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def sign(subject, key, extensions):
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("Keylime CA"))
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        cert = builder.sign(ca_key, hashes.SHA256())
        lab.write(f"keylime/{subject}.crt", cert.public_bytes(serialization.Encoding.PEM), 0o644)
        lab.write(f"keylime/{subject}.key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    lab.path("keylime", directory=True)
    ca_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    sign("Keylime CA", ca_key, [(x509.BasicConstraints(True, None), True)])
    sign("client", key, [
        (x509.SubjectAlternativeName([x509.DNSName("client")]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)])
    return lab.path("keylime")


def test_names_are_told(lab, pki):
    """What clients call a server by, and when they will find nothing."""
    def names(name):
        return json.loads(pki.limetree("pki", "show", pki.dir / f"{name}.crt", "--json").stdout).get("names")
    assert names("provider") == names("tenant-server") == "localhost, 127.0.0.1, ::1"
    assert names("operator") is None
    done = pki.limetree("pki", "issue", pki.dir, "--ca", "tenant", "--role", "tenant", "--tenant", TENANT, "--server",
                        "--out", pki.dir / "nameless")
    assert "names no --name" in done.stderr
    done = pki.limetree("pki", "issue", pki.dir, "--ca", "tenant", "--role", "tenant", "--tenant", TENANT, "--server",
                        "--name", "tenant.example", "--name", "192.0.2.7", "--out", pki.dir / "named")
    assert not done.stderr and names("named") == "tenant.example, 192.0.2.7"
    other = lab.path("named-pki")
    pki.limetree("pki", "init", other, "--name", "tenant.example")
    shown = json.loads(pki.limetree("pki", "show", other / "tenant-server.crt", "--json").stdout)
    assert shown["names"] == "tenant.example, localhost, 127.0.0.1, ::1"


def test_the_admin_of_keylimes_api(lab, pki):
    """Under its own CA, and nobody where its role is not named; and a client that checks names calls by a name."""
    keylime = keylime_ca(lab)
    argv = pki.tenant(keylime_admin_ca=keylime / "Keylime CA.crt", state_dir=lab.path("with-admin", directory=True))
    good(lab, argv)
    tenant = lab.spawn("tenant-with-admin", argv, ready_fd=True)
    ready = tenant.ready()

    def call(key, path, cert=None, method="GET"):
        context = ssl.create_default_context(cafile=pki.dir / "tenant-ca.crt")
        if cert:
            context.load_cert_chain(f"{cert}.crt", f"{cert}.key")
        port = int(ready[key].rpartition(":")[2])
        name = "localhost" if cert else "127.0.0.1"
        return status(http.client.HTTPSConnection(name, port, context=context, timeout=20), path, method)

    admin, operator, api = keylime / "client", pki.dir / "tenant-operator", "/federation/v1/status"
    assert call("listen", api, operator) == 200
    assert call("listen", api, admin) == 403
    assert call("registrar_tls_listen", "/v2.6/agents/", admin) == 200
    assert call("registrar_tls_listen", "/v2.6/agents/nobody", admin, "DELETE") == 404
    assert call("registrar_tls_listen", "/version") == 200
    assert call("registrar_tls_listen", "/v2.6/agents/") == 401
    with pytest.raises((ssl.SSLError, OSError)):
        call("registrar_tls_listen", "/version", pki.dir / "operator")     # the federation's: a foreign one here
    tenant.stop()
