"""limetree-tenant is killed (-9) at random moments of bootstrapping and of revoking: guests with real agents and a
swtpm each (20; LT_KILL_GUESTS), a real provider, a mock host. Whatever the moment: no guest that is not trusted gets its secret, no secret
is lost, no revocation is lost, and every guest's state is what it should be.

Five moments; LT_KILLS=50 (scripts/test --kills) for more. LT_SEED=N repeats a run's choices, not its timing."""

import concurrent.futures
import http.server
import json
import os
import random
import ssl
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402
from tests.lab.procs import LabError  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
KILLS = int(os.environ.get("LT_KILLS", "5"))
SEED = int(os.environ.get("LT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
GUESTS = int(os.environ.get("LT_KILL_GUESTS", "20"))
PERIOD_S = max(1, GUESTS // 20)
TURNED, GIVEN = 3, 6        # guests that turn bad at a moment; good ones that are given a secret


class Hook:
    """What the webhook was told, by the number of the revocation."""

    def __init__(self, fed):
        self.seen, hook = [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.seen.append((int(self.headers["X-Limetree-Revocation"]), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        fed.cli("pki", "issue", fed.pki, "--ca", "tenant", "--name", "127.0.0.1", "--server", "--out", f"{fed.pki}/hook")
        context.load_cert_chain(f"{fed.pki}/hook.crt", f"{fed.pki}/hook.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        fed.lab.on_close(self.server.shutdown)

    def about(self, guest):
        """Numbers of the revocations that name the guest."""
        return {number for number, body in list(self.seen) if guest.uuid in json.dumps(body)}


class Loop:
    def __init__(self, lab):
        self.random = random.Random(SEED)
        fed = self.fed = Mocked(lab, BUILD, guests=GUESTS, tenant_options=[f"period_s={PERIOD_S}", "gather_ms=300"])
        fed.make_pki()
        self.hook = Hook(fed)
        fed.tenant_options += [f"revocation_webhook={self.hook.url}", f"revocation_webhook_ca={fed.pki}/tenant-ca.crt"]
        fed.start_hardware()
        fed.start_provider()
        fed.start_agent()
        fed.enrol()
        fed.start_tenant()
        # From here on it comes back where it was.
        for key, url in (("listen", fed.tenant_url), ("registrar_listen", fed.registrar_url),
                         ("registrar_tls_listen", fed.registrar_tls_url)):
            fed.tenant_options.append(f"{key}={url.partition('://')[2]}")
        for guest in fed.guests:
            guest.start()
        fed.adopt(fed.guests)
        self.secret = {g: None for g in fed.guests}
        self.told = {g: set() for g in fed.guests}      # revocations that were counted
        self.bad, self.failed = [], set()               # failed: were seen so, and nobody cleared them
        self.tries = Counter()
        self.wait_states()

    # -- what an operator does

    def give(self, guest, text):
        """As long as it takes: the tenant may be away."""
        path = self.fed.lab.write(f"secret-{guest.name}", text)
        for _ in range(100):
            done = self.fed.cli_raw("guest", "add", guest.uuid, "--payload", path, check=False)
            self.tries[done.returncode] += 1
            if not done.returncode:
                self.secret[guest] = text
                return
            time.sleep(0.1)
        raise LabError(f"{guest.name} could not be added: {done.stderr}")

    # -- what must be so

    def states(self):
        return {g["uuid"]: g for g in self.fed.cli("guest", "list")["guests"]}

    def wait_states(self):
        """Who is resident is trusted, who is not is failed."""
        wrong = {}

        def probe():
            states = self.states()
            wrong.clear()
            for guest in self.fed.guests:
                is_ = (states[guest.uuid]["verdict"] or {}).get("result")
                assert is_ == "failed" or guest not in self.failed, f"{guest.name} is {is_}, and was failed"
                if is_ == "failed":
                    self.failed.add(guest)
                if is_ != ("failed" if guest in self.bad else "trusted"):
                    wrong[guest.name] = (is_, guest in self.bad)
            return not wrong
        self.fed.poll(probe, 90, lambda: f"states {wrong}")

    def wait_secrets(self, guests):
        def missing():
            return [g.name for g in guests
                    if g.unpacked.get("decrypted_payload", b"").decode() != (self.secret[g] or "")]
        self.fed.poll(lambda: not missing(), 60, lambda: f"secrets of {missing()}: " + json.dumps(
            [self.fed.show(g)["release"] for g in guests if g.name in missing()]))

    def wait_revoked(self, guests):
        """One that was not counted yet, of each; returns how often the hook heard of the same once more."""
        def missing():
            return [g.name for g in guests if not self.hook.about(g) - self.told[g]]
        self.fed.poll(lambda: not missing(), 60, lambda: f"revocations of {missing()}")
        for guest in guests:
            new = self.hook.about(guest) - self.told[guest]
            assert len(new) == 1, (guest.name, new)
            self.told[guest] |= new

    def check_nothing_given(self, guests, since):
        """Nobody who is not trusted has what it was promised since."""
        for guest in guests:
            have = guest.unpacked.get("decrypted_payload", b"").decode()
            assert have != since[guest], f"{guest.name} has a secret, and is not trusted"
            assert not self.fed.release(guest)["delivered"], guest.name

    def moment(self, number):
        fed, pick = self.fed, self.random
        good = [g for g in fed.guests if g not in self.bad]
        turning = pick.sample(good, TURNED)
        given = pick.sample([g for g in good if g not in turning], GIVEN)
        was_bad = list(self.bad)
        promised = {g: f"{g.name}, moment {number}, {pick.getrandbits(64):x}" for g in given + was_bad}
        after = pick.uniform(0, 2 * PERIOD_S)
        started = time.monotonic()
        # U and V for guests that are trusted, for guests that are not; others leave their host.
        self.bad = was_bad + turning
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(self.give, g, promised[g]) for g in pick.sample(given + was_bad, GIVEN + len(was_bad))]
            fed.residents_are([g for g in fed.guests if g not in self.bad])
            time.sleep(max(0.0, after - (time.monotonic() - started)))
            fed.kill_tenant()
            fed.start_tenant()
            for job in jobs:
                job.result()
        self.wait_states()
        self.wait_secrets(given)
        self.wait_revoked(turning)
        self.check_nothing_given(was_bad, promised)
        # Those that were bad before this moment come back, and get what they were promised.
        self.bad = turning
        fed.residents_are([g for g in fed.guests if g not in self.bad])
        for guest in was_bad:
            fed.cli("guest", "clear", guest.uuid)
            self.failed.remove(guest)
        self.wait_states()
        self.wait_secrets(was_bad)
        print(f"moment {number}: killed {after:.2f} s in, all is right after {time.monotonic() - started:.1f} s", flush=True)

    def check_end(self):
        """Nothing came late, and nobody was told of what did not happen."""
        for guest in self.fed.guests:
            assert self.hook.about(guest) == self.told[guest], guest.name
        return Counter(number for number, _ in self.hook.seen)


@pytest.mark.parametrize("kills", [KILLS])
def test_killed_at_any_moment(kills):
    print(f"LT_SEED={SEED}")
    with Lab(prefix="ltk") as lab:
        loop = Loop(lab)
        for number in range(kills):
            loop.moment(number)
        heard = loop.check_end()
        print(json.dumps({"kills": kills, "guests": GUESTS, "secrets_given": sum(map(bool, loop.secret.values())),
                          "revocations": len(heard), "heard_twice": sum(n > 1 for n in heard.values()),
                          "adds": dict(loop.tries)}))
