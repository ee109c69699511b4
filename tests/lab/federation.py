"""A whole federation in a lab: certificates, a host with its TPM, provider, tenant, guests.

    with Lab() as lab:
        fed = Federation(lab, build, cache).up()
        guests = fed.boot(3)
        fed.adopt(guests)                      # assign, add, learn
        fed.round(guests)                      # {uuid: GUEST of docs/api.md}

Programs are started as docs/operations.md tells an operator to start them.
"""

import http.client
import json
import ssl
import time
import uuid as uuidlib
from pathlib import Path

from .guest import GuestImage
from .host import Host
from .procs import Deadline, LabError

ACCEPT = "copyable,tainted"


class Federation(Host):
    """Its first host is the federation itself (host.py); another_host() makes more.

    provider_url, tenant_url; cli(...) runs `limetree ... --json` and returns what it printed."""

    def __init__(self, lab, build, cache=None, quote_delay_ms=165, progress=lambda text: None,
                 tenant_options=(), **of_host):
        """of_host: Host's, such as unmeasured: programs (their file names) that the host's IMA list shall not name."""
        self.lab, self.build, self.cache, self.progress = lab, Path(build), cache, progress
        self.tenant_options = list(tenant_options)
        self.provider_options = []
        self.guest_options = {}     # of guests' agents, beside guest_conf()'s
        self.guest_programs = {}    # {path in guests: path here}, beside the agent
        self.guest_payloads = False     # whether they can unpack a zip
        self.tenant_id = str(uuidlib.uuid4())
        bin_dir = self.build / "bin"
        self.program = {n: lab.install(bin_dir / n) for n in (
            "limetree", "limetree-agent", "limetree-provider", "limetree-tenant", "limetree-localca")}
        self.relay = self.build / "tests/support/tpm-relay"
        self.emulator = lab.install(self.build / "tests/support/ima-emulator")
        self.pki = lab.path("pki")
        super().__init__(self, relay=self.relay, quote_delay_ms=quote_delay_ms, **of_host)
        self.hosts = [self]
        self.image = self.provider = self.tenant = None
        self.provider_url = self.tenant_url = self.registrar_tls_url = None
        self.guests = []

    # -- the command line

    def cli_options(self):
        p = self.pki
        return {"provider_url": self.provider_url or "", "provider_cert": f"{p}/operator.crt",
                "provider_key": f"{p}/operator.key", "provider_ca": f"{p}/federation-ca.crt",
                "tenant_url": self.tenant_url or "", "tenant_cert": f"{p}/tenant-operator.crt",
                "tenant_key": f"{p}/tenant-operator.key", "tenant_ca": f"{p}/tenant-ca.crt",
                "registrar_url": self.registrar_tls_url or ""}

    def cli_raw(self, *args, check=True, timeout=60):
        conf = "".join(f"{k} = {v}\n" for k, v in self.cli_options().items() if v)
        path = self.lab.path("cli.conf")
        if not path.exists() or path.read_text() != conf:      # several may run at once
            self.lab.write("cli.conf", conf)
        return self.lab.run([self.program["limetree"], *args], check=check, timeout=timeout,
                            env={"LIMETREE_CONFIG": str(path)})

    def cli(self, *args, timeout=60):
        out = self.cli_raw(*args, "--json", timeout=timeout).stdout
        try:
            return json.loads(out)
        except ValueError:
            raise LabError(f"limetree {' '.join(map(str, args))}: not JSON:\n{out}") from None

    def https(self, url, identity, ca, method, path, body=None):
        """(status, body) of one request with pki/IDENTITY's certificate; pki/CA is trusted."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(f"{self.pki}/{ca}.crt")
        context.load_cert_chain(f"{self.pki}/{identity}.crt", f"{self.pki}/{identity}.key")
        connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    # -- coming up, in the order an operator would

    def up(self, tenant=True):
        """Everything but guests."""
        self.make_pki()
        self.start_hardware()
        self.start_libvirt()
        self.start_provider()
        self.start_agent()
        self.enrol()
        if tenant:
            self.start_tenant()
        return self

    def make_pki(self):
        self.progress("making certificates (limetree pki init)")
        self.cli("pki", "init", self.pki, "--tenant", self.tenant_id)

    def another_host(self, name, boot_log=None, **of_host):
        """A second server of the same provider, up and enrolled. A tenant that runs already reads registry and roots anew
        on HUP, after write_trust()."""
        other = Host(self, name, relay=self.relay, **of_host)
        self.hosts.append(other)
        other.booted(boot_log)
        other.start_hardware()
        other.start_libvirt()
        other.start_agent()
        other.enrol()
        return other

    def write_trust(self):
        """The tenant's registry of hosts, and the roots of their chips' makers."""
        self.lab.write("registry.json", json.dumps(self.cli("host", "registry")))
        for host in self.hosts:
            self.lab.write(f"roots/maker{host.host_name}.pem", host.hw.ca_bundle.read_bytes(), 0o644)

    def start_provider(self, listen="127.0.0.1:0"):
        self.progress("starting limetree-provider")
        p = self.pki
        self.provider = self.lab.spawn("provider", [
            self.program["limetree-provider"], "-o", f"listen={listen}", "-o", f"cert={p}/provider.crt",
            "-o", f"key={p}/provider.key", "-o", f"ca={p}/federation-ca.crt",
            "-o", f"state_dir={self.lab.path('provider', directory=True)}",
            *(a for o in self.provider_options for a in ("-o", o))], ready_fd=True)
        self.provider_url = f"https://{self.provider.ready()['listen']}"

    def start_tenant(self, provider_url=None):
        self.progress("starting limetree-tenant")
        p = self.pki
        self.write_trust()
        roots = self.lab.path("roots")
        options = {
            "listen": "127.0.0.1:0", "registrar_listen": "127.0.0.1:0", "registrar_tls_listen": "127.0.0.1:0",
            "cert": f"{p}/tenant-server.crt", "key": f"{p}/tenant-server.key", "ca": f"{p}/tenant-ca.crt",
            "agent_cert": f"{p}/tenant-client.crt", "agent_key": f"{p}/tenant-client.key",
            "provider": provider_url or self.provider_url, "federation_cert": f"{p}/tenant.crt",
            "federation_key": f"{p}/tenant.key", "federation_ca": f"{p}/federation-ca.crt",
            "registry": str(self.lab.dir / "registry.json"), "roots": str(roots), "tenant_id": self.tenant_id,
            "state_dir": str(self.lab.path("tenant", directory=True)),
        }
        argv = [self.program["limetree-tenant"]]
        for key, value in options.items():
            argv += ["-o", f"{key}={value}"]
        for option in self.tenant_options:
            argv += ["-o", option]
        self.tenant = self.lab.spawn("tenant", argv, ready_fd=True)
        ready = self.tenant_ready = self.tenant.ready()
        self.tenant_url = f"https://{ready['listen']}"
        self.registrar_url = f"http://{ready['registrar_listen']}"
        self.registrar_tls_url = f"https://{ready['registrar_tls_listen']}"

    # -- guests

    def guest_conf(self):
        port = self.registrar_url.rpartition(":")[2]
        return ("role = guest\ntcti = device:/dev/tpmrm0\nlisten = 0.0.0.0:9002\nstate_dir =\n"
                f"registrar = http://10.0.2.2:{port}\nclient_ca = /etc/limetree/tenant-ca.crt\n"
                + "".join(f"{k} = {v}\n" for k, v in self.guest_options.items()))

    def boot(self, count, prefix="guest", uuids=None, files=None, **kwargs):
        if self.image is None:
            self.progress("building the guest image (Debian's cloud kernel, an initramfs with the agent)")
            self.image = GuestImage.build(self.lab, self.cache, agent=self.program["limetree-agent"],
                                           extra=self.guest_programs, payloads=self.guest_payloads)
        files = {"agent.conf": self.guest_conf(),
                 "tenant-ca.crt": (self.pki / "tenant-ca.crt").read_bytes()} | (files or {})
        new = []
        for i in range(count):
            name = f"{prefix}-{len(self.guests) + 1}"
            guest = self.new_guest(name, uuid=uuids[i] if uuids else None, image=self.image, files=files, **kwargs)
            self.progress(f"booting {name} ({'KVM' if self.lab.kvm else 'emulated'})")
            guest.start()
            self.guests.append(guest)
            new.append(guest)
        return new

    def new_guest(self, name, **kwargs):
        return self.virt.guest(name, **kwargs)

    def registered(self, guests, timeout=240):
        """Waits until the guests' agents have registered with the tenant."""
        wanted = {g.uuid: g.name for g in guests}

        def probe():
            have = {g["uuid"] for g in self.cli("guest", "list")["guests"] if g["registered"]}
            missing = [name for uuid, name in wanted.items() if uuid not in have]
            return not missing
        self.poll(probe, timeout, lambda: "registration of " + ", ".join(
            f"{g.name}:\n{self.serial_tail(g)}" for g in guests))

    def back(self, guest, registers=True):
        """After guest.start() or reset(): waits until its agent, which has new keys, has registered; a new start of
        QEMU forwards another port."""
        guest.wait_serial("LT-GUEST: agent started")
        guest.forgive()
        if registers:
            guest.wait_serial('"event":"registered"')
        self.cli("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}")

    @staticmethod
    def serial_tail(guest):
        return "\n".join(guest.serial.read_text(errors="replace").splitlines()[-15:])

    def poll(self, probe, timeout, what, interval=0.25):
        """The daemons have no event for this: ask until it is so."""
        deadline = Deadline(timeout)
        while True:
            found = probe()
            if found:
                return found
            if deadline.expired():
                raise LabError(f"waited {timeout:g} s in vain for {what()}\n"
                               + "".join(f"{c.name}:\n{c.tail()}\n" for c in (self.tenant, self.provider, self.agent) if c))
            time.sleep(interval)

    def adopt(self, guests, accept=ACCEPT):
        """Assigns and adds the guests, and learns their policies from their present, attested state."""
        for guest in guests:
            self.cli("guest", "assign", guest.uuid, self.tenant_id)
            self.cli("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}")
        for guest in guests:
            # Learning needs a round that came back with a host quote.
            self.wait_verdict(guest, lambda v: v["batch"] is not None, f"first round of {guest.name}")
            self.cli("guest", "learn", guest.uuid, "--ima", "--accept", accept)

    def policy_of(self, guest):
        """The guest's policy document, as the tenant has it."""
        name = self.show(guest)["policy"]
        status, text = self.https(self.tenant_url, "tenant-operator", "tenant-ca", "GET", f"/federation/v1/policies/{name}")
        if status != 200:
            raise LabError(f"policy {name}: HTTP {status}")
        return json.loads(text)

    def edit_policy(self, guest, change):
        """The tenant gives its guest another policy: change(DOCUMENT) alters a copy of the present one."""
        policy = self.policy_of(guest)
        change(policy)
        path = self.lab.write("policy.json", json.dumps(policy))
        self.cli("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}", "--policy", path)

    def show(self, guest):
        return self.cli("guest", "show", guest.uuid)

    def ask(self, *guests):
        """A round of these (all) in one sweep, now. The result is wait_verdict's since."""
        since = time.monotonic()
        self.cli("guest", "round", *([g.uuid for g in guests] or ["--all"]))
        return since

    def wait_verdict(self, guest, good, what, timeout=120, since=None):
        """Waits until the guest's verdict satisfies good(VERDICT); returns it. since: of a round begun after that."""
        last = [None]

        def probe():
            now = time.monotonic()
            v = last[0] = self.show(guest)["verdict"]
            fresh = v and (since is None or v["times"]["age_ms"] <= (now - since) * 1000)
            return v if fresh and good(v) else None
        return self.poll(probe, timeout, lambda: f"{what}; last verdict {json.dumps(last[0], indent=1)}")

    def wait_result(self, guest, result, reason=None, timeout=120, since=None):
        return self.wait_verdict(
            guest, lambda v: v["result"] == result and (reason is None or v["reason"] == reason),
            f"{guest.name}: {result} {reason or ''}", timeout, since)

    def trust(self, *guests, timeout=120):
        """Clears failed verdicts, and attests until all are trusted: where it is too early to tell (`unchecked`) asks
        again at once instead of waiting a period."""
        for guest in guests:
            if (self.show(guest)["verdict"] or {}).get("result") == "failed":
                self.cli("guest", "clear", guest.uuid)
        deadline, pending = Deadline(timeout), list(guests)
        while pending:
            since = self.ask(*pending)
            wanted = ("trusted",) if deadline.expired() else ("trusted", "unchecked")
            pending = [g for g in pending if self.wait_verdict(
                g, lambda v: v["result"] in wanted, f"{g.name}: trusted", since=since)["result"] != "trusted"]

    def bundle(self, guest, trusted=False):
        args = ["guest", "bundle", guest.uuid] + (["--trusted"] if trusted else [])
        return self.cli(*args)
