"""python3 -m tests.lab selftest: does the lab work on this machine? (from the project's root)"""

import argparse
import hashlib
import sys
import time
import urllib.request

from . import (BootLog, GuestImage, HwTpm, Kernel, Lab, LabError, Libvirtd, exit_on_signals,
               ima_extends)
from .tpm import RSA_EK

# Stands for the agent: shows its TPM devices and configuration on the agent's port.
STAND_IN = b"""#!/bin/sh
mkdir -p /run/www
{ ls /dev/tpm0 /dev/tpmrm0; cat /etc/limetree/agent.conf; } >/run/www/index.html
exec httpd -f -p 9002 -h /run/www
"""


def check(condition, what):
    if not condition:
        raise LabError(f"selftest: {what}")


def selftest(args):
    began = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - began:6.2f} s  {text}", flush=True)

    with Lab(keep=args.keep) as lab:
        say(f"{lab.dir}, user {lab.uid}, {'KVM' if lab.kvm else 'TCG'}")
        virt = Libvirtd(lab).start(wait=False)
        hw = HwTpm(lab, relay=args.relay, quote_delay_ms=165 if args.relay else 0).start()
        expected = BootLog.expected()
        check(all(hw.tpm.pcr_read(i) == v for i, v in expected.items()), "host PCRs after replay")
        _, _, resets, _, _ = hw.tpm.read_clock()
        hw.tpm.pcr_extend(14, bytes(32))
        hw.reboot()
        check(hw.tpm.read_clock()[2] == resets + 1, "resetCount after a reboot")
        check(hw.tpm.pcr_read(14) == bytes(32), "PCR 14 after a reboot")
        say("host TPM: boot replayed, rebooted" + ("" if args.relay else " (no relay given)"))
        image = GuestImage.build(lab, args.cache, extra={"/usr/bin/limetree-agent": STAND_IN})
        say(f"guest image {image.initrd.stat().st_size >> 10} KiB")
        virt.wait()
        say("libvirtd answers")
        guests = [virt.guest(f"guest{i}", image=image, firmware=args.firmware,
                             files={"agent.conf": f"name = guest{i}\n"}).start()
                  for i in range(args.guests)]
        say(f"{len(guests)} guests started")
        for guest in guests:
            guest.wait_serial("LT-GUEST: agent started")
            check(guest.uuid in guest.wait_boot().string, f"{guest.name}: UUID from DMI")
        say("all up")
        eks = set()
        for guest in guests:
            port = guest.host_port()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
                text = page.read().decode()
            check("/dev/tpmrm0" in text and f"name = {guest.name}" in text, f"{guest.name}: {text}")
            eks.add(guest.tpm.read_public(RSA_EK))
            log = BootLog(guest.boot_log())
            check(all(guest.tpm.pcr_read(i) == v for i, v in log.pcrs().items()),
                  f"{guest.name}: boot log against PCRs")
            guest.tpm.pcr_extend(14, bytes(32))
            check(guest.tpm.pcr_read(14) == hashlib.sha256(bytes(64)).digest(), "PCR 14")
            value, seen = guest.tpm.pcr_read(10), []
            pcr10 = bytes(32)
            for _, digest in ima_extends(guest.ima_log()):
                pcr10 = hashlib.sha256(pcr10 + digest).digest()
                seen.append(pcr10)
            check(value in seen, f"{guest.name}: IMA list against PCR 10")
            say(f"{guest.name}: 127.0.0.1:{port}, EK, boot log, {len(seen)} IMA entries")
        check(len(eks) == len(guests), "each guest has an EK of its own")
        bare = virt.guest("bare").start()
        check(not virt.taints("bare"), "a bare domain is not tainted")
        virt.stop()
        virt.start()
        check(set(virt.domains()) == {"bare", *(g.name for g in guests)},
              "libvirtd found its guests again")
        say("libvirtd restarted, guests still there")
        first = guests[0]
        first.destroy()
        clone = HwTpm(lab, "clone", state_from=first.vtpm_state).start()
        check(clone.tpm.read_public(RSA_EK) in eks, "a clone has the same EK")
        clone.stop()
        first.start().wait_boot()
        check(first.tpm.read_public(RSA_EK) in eks, "a defined guest keeps its EK")
        bare.destroy()
        say("stopped, cloned, started again")
    say("cleaned up")


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab")
    sub = parser.add_subparsers(dest="what", required=True)
    test = sub.add_parser("selftest", help="boot guests and take everything down again")
    test.add_argument("--guests", type=int, default=2)
    test.add_argument("--firmware", choices=["seabios", "ovmf"], default="seabios")
    test.add_argument("--relay", help="tpm-relay from the build directory")
    test.add_argument("--cache", help="where the kernel is kept (default: ~/.cache/limetree)")
    test.add_argument("--keep", action="store_true", help="leave the files")
    fetch = sub.add_parser("kernel", help="download the guests' kernel; print where it is")
    fetch.add_argument("--cache")
    args = parser.parse_args()
    exit_on_signals()
    try:
        if args.what == "kernel":
            print(Kernel.fetch(args.cache).dir)
        else:
            selftest(args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


sys.exit(main())
