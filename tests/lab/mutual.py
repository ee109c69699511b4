"""Two guests that hold mutual TLS, by certificates that came in their payloads; and what can end it.

    with Lab() as lab:
        fed = Mutual(lab, build, cache).up()
        db, web = fed.boot_pair()
        fed.bring(db), fed.bring(web)           # limetree guest add --payload --cert --wait
        fed.talk()
        fed.revoked()                           # seconds from the act to each step, down to the refused connection

db serves and web calls, each by tests/support/tls-peer.c; web reaches db through its host, as guests on QEMU's user
network do.
"""

import concurrent.futures
import contextlib
import json
import shutil
import socket
import time

from .federation import Federation
from .procs import LabError, wait_text

PERIOD_S = 2
PORT = 4443                             # of db's service, in db
SECRET_DIR = "/run/secret"              # of the agents, on tmpfs
FOREIGN = "/usr/bin/not-in-the-policy"

AUTORUN = """#!/bin/sh
# What a guest does with its secret. $AGENT_UUID names the key and the certificate that lie here.
setsid tls-peer {command} >/dev/console 2>&1 &
"""
# In the payload's action_list: run with a revocation message whose signature the agent has checked.
RECHECK = """#!/bin/sh
killall -HUP tls-peer
"""


def run_foreign(guest):
    """The guest runs a program that nobody has allowed: its own kernel tells on it."""
    guest.sh(f"cp /bin/busybox {FOREIGN} && echo changed >>{FOREIGN} && ln -sf {FOREIGN} /run/true && /run/true")


class Mutual(Federation):
    def __init__(self, lab, build, cache=None, quote_delay_ms=165, progress=lambda text: None):
        super().__init__(lab, build, cache, quote_delay_ms, progress,
                         tenant_options=[f"period_s={PERIOD_S}", "gather_ms=1000"])
        self.guest_programs = {"/usr/bin/tls-peer": self.build / "tests/support/tls-peer"}
        self.guest_payloads = True
        self.guest_options = {"run_payload": "yes", "secure_dir": SECRET_DIR}
        self.ca_dir, self.ca = lab.path("guests-ca"), None
        self.db = self.web = None

    def cli_options(self):
        return super().cli_options() | {"guests_ca": self.ca_dir}

    # -- coming up

    def up(self, tenant=True):
        super().up(tenant=False)
        self.start_ca()
        self.start_tenant()
        return self

    def start_ca(self):
        """Its URL goes into every certificate, so its port is chosen before it listens: again, if it was taken."""
        self.progress("starting the authority of guests' certificates (limetree ca serve)")
        for _ in range(5):
            with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as s:
                port = s.getsockname()[1]
            shutil.rmtree(self.ca_dir, ignore_errors=True)
            self.lab.run([self.program["limetree"], "ca", "init", self.ca_dir, "--url",
                          f"http://10.0.2.2:{port}/guests.crl"])
            self.ca = self.lab.spawn("ca", [
                self.program["limetree"], "ca", "serve", "-o", f"dir={self.ca_dir}", "-o", "listen=127.0.0.1:0",
                "-o", f"list_listen=127.0.0.1:{port}", "-o", f"cert={self.pki}/tenant-server.crt",
                "-o", f"key={self.pki}/tenant-server.key", "-o", f"ca={self.pki}/tenant-ca.crt"], ready_fd=True)
            with contextlib.suppress(LabError):
                self.tenant_options.append(f"ca_url=https://{self.ca.ready()['listen']}")
                return
        raise LabError(f"no port for the list\n{self.ca.tail()}")

    def boot_pair(self):
        """db and web, registered; a policy of each is learnt, and both are trusted. What the guests run later has run
        before that."""
        files = {"hook": "tls-peer --version; killall -HUP tls-peer; setsid true\n"}
        (self.db,) = self.boot(1, "db", files=files, ports=[PORT])
        (self.web,) = self.boot(1, "web", files=files)
        self.registered(self.guests)
        self.progress("learning the guests' policies from their first boot (limetree guest learn --ima)")
        self.adopt(self.guests)
        self.trust(*self.guests)
        return self.db, self.web

    # -- the host

    def stray(self):
        """The host runs a program that is not on its policy; waits until its guests are failed for it."""
        program = self.lab.write("bin/not-on-the-hosts-policy", "#!/bin/sh\necho stray\n", 0o755)
        self.measure(program)
        verdicts = [self.wait_result(g, "failed", "host-policy") for g in self.guests]
        return verdicts[0]["failed"][0]["message"]

    def mend(self):
        """Its operator finds the program harmless and publishes a policy that has it; the tenant accepts that."""
        self.policy = self.cli("host", "learn", self.host, "--ima")["digest"]
        for guest in self.guests:
            self.edit_policy(guest, lambda p: p["host_policies"].append(self.policy))
        self.trust(*self.guests)

    # -- secrets

    def payload(self, guest):
        """A directory with what the guest gets beside its key and certificate."""
        command = f'serve "$AGENT_UUID" {PORT}'
        if guest is not self.db:
            command = f'call "$AGENT_UUID" 10.0.2.2:{self.db.host_port(PORT)} db.demo'
        name = f"payload-{guest.name}"
        self.lab.path(name, directory=True)
        self.lab.write(f"{name}/autorun.sh", AUTORUN.format(command=command), 0o755)
        self.lab.write(f"{name}/recheck", RECHECK, 0o755)
        self.lab.write(f"{name}/action_list", "recheck\n")
        self.lab.write(f"{name}/secret", f"the first secret of {guest.name}\n")
        return self.lab.path(name)

    def bring(self, guest, check=True):
        """`limetree guest add --payload DIR --cert CA --wait`; returns (status, what it said)."""
        done = self.cli_raw("guest", "add", guest.uuid, "--address", f"127.0.0.1:{guest.host_port()}", "--payload",
                            self.payload(guest), "--cert", "--name", f"{guest.name.split('-')[0]}.demo",
                            "--wait", check=check, timeout=120)
        return done.returncode, done.stderr + done.stdout

    def secret(self, guest):
        """What of its payload lies open in the guest; None: nothing does."""
        status, text = guest.sh(f"cat {SECRET_DIR}/unzipped/secret", check=False)
        return None if status else text.decode().strip()

    def leaks(self, guest):
        """Files of the guest that hold its secret. /run/command is the lab's question itself."""
        found = guest.sh("grep -rl 'the first secret of' /run /tmp /root /var", check=False)[1].decode().split()
        return [f for f in found if f != "/run/command"]

    def wait_secret(self, guest):
        """It is open a moment after V has come."""
        return self.poll(lambda: self.secret(guest), 30, lambda: f"the secret in {guest.name}: {self.show(guest)}\n"
                         + self.serial_tail(guest))

    # -- the service

    def talk(self):
        """Both say that they talk with each other."""
        self.db.wait_serial(f"tls-peer: talks with {self.web.uuid}")
        self.web.wait_serial(f"tls-peer: talks with {self.db.uuid}")

    def revoked(self):
        """web runs a foreign program. {step: seconds from then}, each when it shows: in the tenant's log, in the
        authority's, in db."""
        uuid, db = self.web.uuid, self.db.serial
        steps = {"verdict": (self.tenant.log, rf'"event":"verdict".*{uuid}.*"failed"'),
                 "list": (self.ca.log, rf'"event":"ca-state".*{uuid}: 1 certificates are revoked'),
                 "message": (db, rf'"event":"revocation".*{uuid}'),
                 "cut": (db, f"tls-peer: cut off {uuid}: certificate revoked"),
                 "refused": (db, f"tls-peer: refused {uuid}: certificate revoked")}
        begins = {path: path.stat().st_size for path, _ in steps.values()}
        with concurrent.futures.ThreadPoolExecutor(len(steps)) as pool:
            began = time.monotonic()

            def seen(path, pattern):
                wait_text(path, pattern, 60, start=begins[path])
                return round(time.monotonic() - began, 2)
            waits = {step: pool.submit(seen, *where) for step, where in steps.items()}
            run_foreign(self.web)
            return {step: wait.result() for step, wait in waits.items()}
