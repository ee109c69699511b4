"""keylime_tenant of a federation's tenant, as its operator; every command and its output is kept."""

import json
import re

NOISE = re.compile(r"keylime\.config|configuration upgrade templates path|FutureWarning|warnings\.warn|keylime_upgrade_config")


class Done:
    """What one command printed, noise left out, and how it ended."""

    def __init__(self, code, text):
        self.code, self.text = code, text

    @property
    def ok(self):
        return self.code == 0 and " - ERROR - " not in self.text and "Traceback" not in self.text

    def json(self):
        """The last JSON object among what was printed."""
        found, decoder = None, json.JSONDecoder()
        for line in self.text.splitlines():
            start = line.find("{")
            if start >= 0:
                try:
                    found = decoder.raw_decode(line[start:])[0]
                except ValueError:
                    pass
        assert found is not None, f"no JSON in:\n{self.text}"
        return found


class KeylimeTenant:
    """transcripts: a directory, emptied by the caller."""

    def __init__(self, stock, fed, transcripts, cert="tenant-operator"):
        self.stock, self.fed, self.transcripts, self.cert, self.count = stock, fed, transcripts, cert, 0
        self.home = fed.lab.path("keylime-tenant", directory=True)
        self.certs = fed.lab.path("keylime-tenant", "tpm_cert_store", directory=True)
        stock.configure(fed.lab, self.home)

    def trust(self, *bundles):
        """Issuers of EK certificates, a file each: that is how its store wants them."""
        text = "".join(b.read_text() for b in bundles)
        for i, cert in enumerate(re.findall("-----BEGIN CERT.*?-----END CERTIFICATE-----\n", text, re.S)):
            self.fed.lab.write(f"keylime-tenant/tpm_cert_store/ca{i}.pem", cert, 0o644)

    def options(self):
        p = self.fed.pki
        verifier, registrar = (url.rpartition("/")[2].rpartition(":")
                               for url in (self.fed.tenant_url, self.fed.registrar_tls_url))
        return {"ca": {"password": "interop"}, "tenant": {
            "verifier_ip": verifier[0], "verifier_port": verifier[2], "registrar_ip": registrar[0],
            "registrar_port": registrar[2], "tls_dir": p, "client_cert": f"{p}/{self.cert}.crt",
            "client_key": f"{p}/{self.cert}.key", "client_key_password": "",
            "trusted_server_ca": json.dumps([f"{p}/tenant-ca.crt"]), "require_ek_cert": "True",
            "tpm_cert_store": self.certs, "max_retries": 5, "retry_interval": 1, "exponential_backoff": "False"}}

    def __call__(self, command, *args, timeout=120):
        argv = self.stock.argv("tenant", "-c", command, *args)
        done = self.fed.lab.run(argv, timeout=timeout, check=False, cwd=self.home,
                                env=self.stock.env(self.home, self.options()))
        text = "".join(line for line in (done.stdout + done.stderr).splitlines(True) if not NOISE.search(line))
        self.count += 1
        said = f"$ keylime_tenant -c {command} {' '.join(map(str, args))}\n{text}[exit {done.returncode}]\n"
        (self.transcripts / f"{self.count:02d}-{command}.log").write_text(said)
        return Done(done.returncode, text)
