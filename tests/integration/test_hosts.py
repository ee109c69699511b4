"""The provider attests its hosts: real daemons, a TPM that swtpm stands for, and one thing wrong at a time."""

import http.server
import json
import os
import ssl
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.federation import Federation  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
MADE = ["host-quote", "host-identity", "host-policy", "host-clock", "window"]
OF_GUESTS = ["guest-quote", "guest-clock", "guest-policy", "batch-inclusion", "residency", "sandwich"]


def verdict(fed):
    return fed.cli("host", "show", fed.host)["verdict"]


def events(fed, name):
    text = Path(fed.provider.log).read_text()
    lines = [json.loads(x) for x in text.splitlines() if x.startswith("{") and x.endswith("}")]
    return [x for x in lines if x["event"] == name]


class Bare(Federation):
    """libvirt's test driver has one domain and no vTPM: the inventory is complete and empty."""

    def start_libvirt(self):
        self.virt = SimpleNamespace(uri="test:///default", env={})

    def verdict(self):
        return verdict(self)

    def expect(self, result, reason=None, timeout=30):
        def probe():
            v = self.verdict()
            return v and v["result"] == result and v["reason"] == reason and v
        return self.poll(probe, timeout, lambda: f"{result} {reason}: {self.verdict()}\n{self.provider.tail()}")

    def events(self, name):
        return events(self, name)

    def restart_provider(self):
        """Killed in the middle of whatever it does; the agents' provider is at the same address again."""
        self.provider.kill()
        self.start_provider(self.provider_url.removeprefix("https://"))


@pytest.fixture
def lab():
    with Lab(prefix="lth") as lab:
        yield lab


def up(lab, hooked=False, **options):
    fed = Bare(lab, BUILD, quote_delay_ms=0)
    fed.make_pki()
    if hooked:
        fed.hook = Webhook(fed)
        options.update(revocation_webhook=fed.hook.url, revocation_webhook_ca=f"{fed.pki}/federation-ca.crt")
    fed.start_hardware()
    roots = lab.path("roots", directory=True)
    lab.write("roots/maker.pem", fed.hw.ca_bundle.read_bytes(), 0o644)
    fed.provider_options = [f"{k}={v}" for k, v in {"host_period_s": 1, "host_ek_roots": roots,
                                                    "host_accept": "boot-only", **options}.items()]
    fed.start_libvirt()
    fed.start_provider()
    fed.start_agent()
    fed.enrol()
    return fed


class Webhook:
    """An https server under the federation's CA that writes down what it is sent, and answers as it is told."""

    def __init__(self, fed):
        self.status, self.seen, hook = 200, [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.seen.append((hook.status, int(self.headers["X-Limetree-Revocation"]), self.path, body))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{fed.pki}/provider.crt", f"{fed.pki}/provider.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_port}/hook/secret"

    def taken(self):
        return [(number, body["kind"]) for status, number, _, body in self.seen if status == 200]


def names(lines):
    return [x["check"] for x in lines if "part" not in x]


def test_a_host_is_trusted_and_each_check_is_shown(lab):
    fed = up(lab)
    v = fed.expect("trusted")
    assert v["passed"] == MADE and not v["failed"]
    assert names(v["not_made"]) == OF_GUESTS
    assert all("a host by itself" in x["message"] for x in v["not_made"] if x["check"] in OF_GUESTS and "part" not in x)
    assert v["host"] == fed.host and v["policy"] == fed.policy and v["link"] is None
    shown = fed.cli_raw("host", "show", fed.host).stdout
    for check in MADE:
        assert f"passed    {check}" in shown, shown
    assert "not made  guest-quote" in shown and "trusted" in shown
    table = fed.cli_raw("host", "list").stdout
    assert "trusted" in table and "verdict" in table
    # A tenant's certificate sees nothing of it.
    status, body = fed.https(fed.provider_url, "tenant", "federation-ca", "GET", f"/federation/v1/hosts/{fed.host}")
    assert status == 200 and "verdict" not in json.loads(body) and "state" not in json.loads(body)
    for path in ("rounds", f"hosts/{fed.host}/clear"):
        assert fed.https(fed.provider_url, "tenant", "federation-ca", "POST", f"/federation/v1/{path}", {"hosts": None})[0] == 403


def test_a_host_off_policy_fails_stands_and_is_cleared(lab):
    fed = up(lab)
    fed.expect("trusted")
    other = lab.write("other.json", json.dumps({"pcrs": {"0": ["00" * 32], "4": ["11" * 32]}}))
    digest = fed.cli("host", "policy", fed.host, other)["digest"]
    v = fed.expect("failed", "host-policy")
    assert names(v["failed"]) == ["host-policy"] and "PCR" in v["failed"][0]["message"]
    assert v["policy"] == digest and "host-clock" in names(v["not_made"])
    assert "FAILED    host-policy" in fed.cli_raw("host", "show", fed.host).stdout
    told = [(x["event"], x.get("host"), x.get("result")) for x in fed.events("verdict") + fed.events("revocation")]
    assert ("verdict", fed.host, "failed") in told and ("revocation", fed.host, "failed") in told
    assert fed.cli_raw("host", "list").stdout.count("failed") == 1
    # A good policy does not undo it, nor does a restart: only the operator.
    fed.cli("host", "learn", fed.host, "--ima")
    fed.cli("host", "round", fed.host)
    fed.poll(lambda: any(x["note"] == "an earlier failed verdict stands" for x in fed.events("verdict")), 20,
             lambda: fed.provider.tail())
    assert fed.verdict()["result"] == "failed"
    fed.restart_provider()
    assert fed.verdict()["result"] == "failed"
    fed.cli("host", "clear", fed.host)
    fed.expect("trusted")
    assert fed.cli_raw("host", "clear", fed.host, check=False).returncode != 0      # nothing to clear


def test_an_agent_that_is_gone_is_no_verdict_and_proves_nothing(lab):
    fed = up(lab, host_max_stale_s=4)
    fed.expect("trusted")
    fed.agent.kill()
    v = fed.poll(lambda: fed.verdict()["result"] == "unreachable" and fed.verdict(), 20, fed.verdict)
    assert not v["failed"] and not v["passed"]
    fed.expect("unreachable", "unproven", timeout=20)
    fed.poll(lambda: any(x["host"] == fed.host and x["result"] == "unproven" for x in fed.events("revocation")), 20,
             lambda: fed.provider.tail())
    fed.start_agent(fed.agent_address)
    fed.expect("trusted")


def test_a_killed_provider_finds_no_host_green_that_it_did_not_attest(lab):
    fed = up(lab)
    fed.expect("trusted")
    # While it is away the host boots into something else.
    fed.agent.kill()
    fed.provider.kill()
    fed.start_provider(fed.provider_url.removeprefix("https://"))
    v = fed.verdict()
    assert v["result"] in ("trusted", "unreachable") and v["times"]["age_ms"] >= 0
    fed.poll(lambda: fed.verdict()["result"] == "unreachable", 20, fed.verdict)
    fed.hw.reboot(boot_log=None)
    fed.anchor()
    fed.start_agent(fed.agent_address)
    v = fed.expect("failed", "host-policy", timeout=40)
    assert names(v["failed"]) == ["host-policy"]
    # Five more deaths at whatever moment: it never comes back green.
    for _ in range(5):
        fed.restart_provider()
        assert fed.verdict()["result"] == "failed"


def test_the_webhook_is_told_until_it_confirms(lab):
    fed = up(lab, hooked=True, host_max_stale_s=4)
    fed.expect("trusted")
    bad = lab.write("bad.json", json.dumps({"pcrs": {"4": ["11" * 32]}}))
    fed.hook.status = 500
    fed.cli("host", "policy", fed.host, bad)
    fed.expect("failed", "host-policy")
    fed.poll(lambda: fed.hook.seen, 20, lambda: fed.provider.tail())
    fed.restart_provider()                      # decided, and not delivered
    fed.poll(lambda: len(fed.hook.seen) > 1, 20, lambda: fed.provider.tail())
    assert not fed.hook.taken()
    fed.hook.status = 200
    fed.poll(fed.hook.taken, 30, lambda: fed.provider.tail())
    _, number, path, body = fed.hook.seen[-1]
    assert path == "/hook/secret" and body["host"] == fed.host and body["kind"] == "failed"
    assert body["verdict"]["reason"] == "host-policy" and "/hook/secret" not in Path(fed.provider.log).read_text()
    # Cleared, and failed again: another one. Then away for long, and back: two more, in order.
    fed.cli("host", "clear", fed.host)
    fed.poll(lambda: len(fed.hook.taken()) == 2, 20, fed.hook.taken)
    fed.cli("host", "learn", fed.host, "--ima")
    fed.cli("host", "clear", fed.host)
    fed.expect("trusted")
    fed.agent.kill()
    fed.poll(lambda: len(fed.hook.taken()) == 3, 30, fed.hook.taken)
    fed.start_agent(fed.agent_address)
    fed.expect("trusted")
    fed.poll(lambda: len(fed.hook.taken()) == 4, 20, fed.hook.taken)
    numbers, kinds = zip(*fed.hook.taken())
    assert kinds == ("failed", "failed", "unproven", "lifted") and list(numbers) == sorted(set(numbers))
    listed = fed.cli("host", "revocations")
    assert [(x["number"], x["kind"], x["host"]) for x in listed["revocations"]] == [
        (n, k, fed.host) for n, k in reversed(fed.hook.taken())]
    assert fed.cli_raw("host", "revocations").stdout.count(fed.host) == 4


def test_a_host_that_fails_still_proves_it_to_tenants(lab):
    """The provider's verdict withholds nothing: the tenant's own check says host-policy, and the log said so first."""
    fed = Mocked(lab, BUILD, tenant_options=["period_s=1"])
    fed.provider_options = ["host_period_s=3600", "host_accept=boot-only, ek-unproven"]
    fed.up()
    (guest,) = fed.guests
    guest.start()
    fed.adopt([guest])
    fed.wait_verdict(guest, lambda v: v["result"] == "trusted", "trusted")
    fed.poll(lambda: verdict(fed)["result"] == "trusted", 20, lambda: verdict(fed))
    fed.residents_are([guest], pcr4="11" * 32)
    v = fed.wait_verdict(guest, lambda v: v["result"] == "failed", "failed by its host")
    assert v["reason"] == "host-policy" and v["host"] == fed.host and v["batch"]
    assert "batch-inclusion" in v["passed"] and "PCR 4" in next(x["message"] for x in v["failed"])
    (changed,) = [x for x in events(fed, "host-pcrs") if x["host"] == fed.host]
    assert changed["changed"] == "PCR 4"
    mine = fed.poll(lambda: verdict(fed)["result"] == "failed" and verdict(fed), 20, lambda: fed.provider.tail())
    assert mine["reason"] == "host-policy"
    # It is asked on: a guest whose verdict was cleared is judged anew, by a proof of the same host.
    since = time.monotonic()
    fed.cli("guest", "clear", guest.uuid)
    v = fed.wait_verdict(guest, lambda v: v["batch"] is not None, "judged anew", since=since)
    assert (v["result"], v["reason"]) == ("failed", "host-policy")


def test_without_roots_the_identity_is_not_made(lab):
    fed = up(lab, host_ek_roots="")
    v = fed.expect("unchecked", "host-identity")
    (line,) = [x for x in v["not_made"] if x["check"] == "host-identity"]
    assert "no roots of TPM makers" in line["message"]
    assert "host-policy" in names(v["not_made"])


def test_an_ek_is_accepted_unproven_by_name(lab):
    fed = up(lab, host_ek_roots="", host_accept="boot-only, ek-unproven")
    v = fed.expect("trusted")
    assert any(x["check"] == "host-identity" and x.get("part") == "certificate" for x in v["not_made"])


@pytest.mark.parametrize("option, word", [("host_accept=boot-only everything", "everything"),
                                          ("revocation_webhook=http://127.0.0.1/", "https"),
                                          ("host_ek_roots=/nowhere", "host_ek_roots")])
def test_a_wrong_option_stops_the_start(lab, option, word):
    fed = Bare(lab, BUILD)
    fed.make_pki()
    p = fed.pki
    done = lab.run([fed.program["limetree-provider"], "-o", "listen=127.0.0.1:0", "-o", f"cert={p}/provider.crt", "-o",
                    f"key={p}/provider.key", "-o", f"ca={p}/federation-ca.crt", "-o",
                    f"state_dir={lab.path('provider', directory=True)}", "-o", option, "--check-config"], check=False)
    assert done.returncode == 2 and word in done.stderr
