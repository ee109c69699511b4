"""A revocation as stock Keylime's own code takes it: from a ZeroMQ subscription, its signature checked by
keylime.revocation_notifier with the certificate of the payload."""

import json
import os
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.mocked import Mocked

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))

SUBSCRIBER = """
import json, sys
import zmq
from zmq.utils.monitor import recv_monitor_message
from keylime import revocation_notifier
endpoint, certificate = sys.argv[1:]
context = zmq.Context()
subscriber = context.socket(zmq.SUB)
subscriber.setsockopt(zmq.SUBSCRIBE, b"")
monitor = subscriber.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
subscriber.connect(endpoint)
recv_monitor_message(monitor)
print("connected", flush=True)
body = subscriber.recv_json()
revocation_notifier.process_revocation(body, lambda msg: print("revoked " + json.dumps(msg), flush=True), certificate)
print("done", flush=True)
"""


@pytest.fixture
def fed():
    with Lab(prefix="lkr") as lab:
        fed = Mocked(lab, BUILD, guests=1, tenant_options=["period_s=1", "gather_ms=200", "revocation_zeromq=127.0.0.1:0"])
        fed.up()
        fed.guests[0].start()
        fed.adopt(fed.guests)
        fed.wait_result(fed.guests[0], "trusted")
        yield fed


def test_the_stock_notifier_takes_it(stock, fed, transcript):
    guest = fed.guests[0]
    fed.lab.path("payload", directory=True)
    fed.lab.write("payload/secret", "x\n")
    ca = fed.lab.dir / "guests-ca"
    fed.lab.run([fed.program["limetree"], "ca", "init", ca, "--url", "http://127.0.0.1:1/guests.crl"])
    fed.cli_raw("guest", "add", guest.uuid, "--payload", fed.lab.dir / "payload", "--cert", "--wait", "-o", f"guests_ca={ca}",
                "-o", "wait_s=60", timeout=120)
    fed.poll(lambda: "RevocationNotifier-cert.crt" in guest.unpacked, 30, lambda: guest.agent.tail())
    certificate = fed.lab.write("notifier.crt", guest.unpacked["RevocationNotifier-cert.crt"])
    home = fed.lab.path("keylime", directory=True)
    stock.configure(fed.lab, home)
    script = fed.lab.write("subscriber.py", SUBSCRIBER)
    endpoint = f"tcp://{fed.tenant_ready['revocation_zeromq']}"
    subscriber = fed.lab.spawn("subscriber", ["/usr/bin/python3", "-B", script, endpoint, certificate],
                               env=stock.env(home), cwd=home)
    subscriber.wait_log(r"^connected$", 60)
    guest.chip.tpm.pcr_extend(4, b"\x66" * 32)
    subscriber.wait_log(r"^done$", 60)
    text = Path(subscriber.log).read_text()
    transcript("subscriber.log", text)
    (line,) = [t for t in text.splitlines() if t.startswith("revoked ")]
    msg = json.loads(line.partition(" ")[2])
    assert (msg["type"], msg["agent_id"]) == ("revocation", guest.uuid)
    assert msg["event_id"] and msg["severity_label"] == "emergency"
