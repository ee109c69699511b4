"""The lab: a host's TPM, a private libvirtd and real guests, on any Debian 12 machine.

    with Lab() as lab:
        hw = HwTpm(lab, relay=build / "tests/support/tpm-relay", quote_delay_ms=165)
        hw.start()
        virt = Libvirtd(lab).start()
        image = GuestImage.build(lab, cache, agent=build / "agent/limetree-agent")
        web = virt.guest("web", image=image, files={"agent.conf": conf}).start()
        web.wait_serial("LT-GUEST: agent started")
        connect(("127.0.0.1", web.host_port()))

Everything lives in one short directory, runs as one unprivileged user, and is gone when the
`with` ends: also after ^C, SIGTERM, or the death of the caller. Standard library only.
"""

from .eventlog import BootLog, ima_extends
from .guest import Guest, GuestImage, Kernel
from .hwtpm import HwTpm
from .libvirtd import Libvirtd
from .procs import Child, Lab, LabError, exit_on_signals
from .tpm import Tpm

__all__ = ["BootLog", "Child", "Guest", "GuestImage", "HwTpm", "Kernel", "Lab", "LabError",
           "Libvirtd", "Tpm", "exit_on_signals", "ima_extends"]
