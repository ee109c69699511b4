#!/usr/bin/python3
"""What sealing costs, on a real libvirt and two real host agents: the start of a sealed domain beside an unsealed one, and a
host's quote where there is a vault beside one where there is none. JSON lines; what is compared is done in turn."""

import argparse
import http.client
import json
import os
import ssl
import statistics
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))
sys.dont_write_bytecode = True
os.environ["PATH"] += ":/usr/sbin:/sbin"

from tests.lab import Lab, LabError, Libvirtd, exit_on_signals  # noqa: E402
from tests.lab.sealed import SealedFederation, SealedGuest  # noqa: E402

MORE_MS = 50        # that a start may cost


def told(name, **figures):
    print(json.dumps({"bench": name} | figures), flush=True)


def spread(ms):
    """Median and quartiles, in ms."""
    low, middle, high = statistics.quantiles(ms, n=4)
    return {"median_ms": round(middle, 2), "quartiles_ms": [round(low, 2), round(high, 2)]}


def timed(function, *args):
    began = time.monotonic()
    function(*args)
    return (time.monotonic() - began) * 1000


def starts(fed, count, sealed, plain, start_sealed, name):
    """Both by the same kind of command, each from shut off to paused."""
    took = {sealed: [], plain: []}
    for _ in range(count):
        for guest, start in ((sealed, start_sealed), (plain, lambda: fed.virt.virsh("start", plain.name, "--paused"))):
            took[guest].append(timed(start))
            guest.destroy()
    more = statistics.median(took[sealed]) - statistics.median(took[plain])
    told(name, n=count, sealed=spread(took[sealed]), unsealed=spread(took[plain]), more_ms=round(more, 2), bound_ms=MORE_MS)
    return more <= MORE_MS


class Quoting:
    """One kept connection to a host agent, as the provider's."""

    def __init__(self, fed, host):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(f"{fed.pki}/federation-ca.crt")
        context.load_cert_chain(f"{fed.pki}/provider.crt", f"{fed.pki}/provider.key")
        self.http = http.client.HTTPSConnection(host.agent_address, context=context, timeout=30)
        self.seq = 1 << 40
        self.known, self.took = None, []

    def ask(self):
        self.seq += 1
        body = {"batch_seq": self.seq, "n": 1, "batch_root": "00" * 32, "policy_digest": "00" * 32, "inventory_root": self.known}
        began = time.monotonic()
        self.http.request("POST", "/federation/v1/host-quotes", json.dumps(body), {"Content-Type": "application/json"})
        reply = self.http.getresponse()
        answer = json.loads(reply.read())
        if reply.status != 200:
            raise LabError(f"host-quotes: HTTP {reply.status}: {answer}")
        self.took.append((time.monotonic() - began) * 1000)
        self.known = answer.get("inventory", {}).get("root", self.known)


def quotes(fed, count, sealed, plain):
    pair = {True: Quoting(fed, sealed), False: Quoting(fed, plain)}
    for _ in range(10 + count):
        for one in pair.values():
            one.ask()
    with_, without = (spread(pair[k].took[10:]) for k in (True, False))
    within = with_["median_ms"] <= without["quartiles_ms"][1] and without["median_ms"] <= with_["quartiles_ms"][1]
    told("sealed_host_quote", n=count, vault=with_, none=without, within_spread=within)
    return within


def quotes_while_it_changes(fed, count, sealed):
    """Not judged: every commit of a vault takes the chip, in short jobs, between two quotes."""
    one, end = Quoting(fed, sealed), threading.Event()
    one.seq += 1 << 20

    def change():
        number = 0
        while not end.is_set():
            vault, number = sealed.vault(), number + 1
            stale = [i for i, s in enumerate(vault["states"]) if any(s[k] != vault["present"][k] for k in s)]
            fed.https(sealed.agent_address, "provider", "federation-ca", "POST", "/federation/v1/vault/reseal",
                      {"add": [vault["present"] | {"4": f"{number:064x}"}], "drop": stale})
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(count):
            one.ask()
    finally:
        end.set()
        thread.join()
    told("sealed_host_quote_while_resealing", n=count, **spread(one.took))


def bench(lab, build, a):
    fed = SealedFederation(lab, build, quote_delay_ms=0, hook=Libvirtd.hooks_work()).up(tenant=False)
    plain_host = fed.another_host("b", seal=False)
    fed.provider.stop()             # whose own rounds would be in the way
    sealed = fed.virt.guest("sealed", kind=SealedGuest).define()
    plain = fed.virt.guest("plain").start(paused=True)
    beside = plain_host.virt.guest("beside").start(paused=True)
    plain.destroy()
    good = starts(fed, a.starts, sealed, plain, lambda: sealed.start(paused=True), "sealed_start")
    if fed.hook:
        good &= starts(fed, a.starts, sealed, plain, lambda: fed.virt.virsh("start", sealed.name, "--paused"),
                       "sealed_start_by_hook")
    sealed.start(paused=True)
    for host, guest in ((fed, sealed), (plain_host, beside)):
        fed.poll(lambda h=host, g=guest: g.uuid in h.residents(), 30, lambda g=guest: f"the record of {g.name}")
    good &= quotes(fed, a.quotes, fed, plain_host)
    quotes_while_it_changes(fed, a.quotes, fed)
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", type=Path, default=TOP / "build/release")
    p.add_argument("--starts", type=int, default=20, help="of each kind (default 20)")
    p.add_argument("--quotes", type=int, default=200, help="of each host (default 200)")
    a = p.parse_args()
    exit_on_signals()
    try:
        with Lab() as lab:
            good = bench(lab, a.build, a)
    except LabError as error:
        sys.exit(f"bench: {error}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
