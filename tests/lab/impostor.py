"""An impostor: a guest's vTPM state, run outside of any host, that shows the guest's PCRs."""

import base64

from .eventlog import BootLog, ima_extends
from .hwtpm import HwTpm


class Impostor:
    """Stops the guest's QEMU, copies its vTPM's state (power-off copies are all an attacker needs), replays the
    boot log and the IMA list into it and starts an agent that registers as the guest, and shows both. evidence: the
    guest's part of a bundle, which everybody has seen who ever attested it. key: of a sealed state, as its escrow copy gives
    it. address is where it answers."""

    def __init__(self, lab, fed, guest, evidence, key=None):
        self.key, self.lab, self.fed, self.guest = key, lab, fed, guest
        self.boot_log, self.ima = (base64.b64decode(evidence[k]) for k in ("boot_log", "ima"))
        self.address = self.chip = self.agent = None

    def __enter__(self):
        self.guest.destroy()
        name = f"impostor-{self.guest.name}"
        # One client at a time: the agent keeps the connection, so the PCRs come first.
        chip = self.chip = HwTpm(self.lab, name, state_from=self.guest.vtpm_state, state_key=self.key)
        chip.start(boot_log=BootLog(self.boot_log))
        for pcr, digest in ima_extends(self.ima):
            chip.tpm.pcr_extend(pcr, digest)
        logs = {k: self.lab.write(f"{name}/{k}", getattr(self, k)) for k in ("boot_log", "ima")}
        fed = self.fed
        self.agent = self.lab.spawn(name, [
            fed.program["limetree-agent"], "-o", "role=guest", "-o", f"tcti={chip.tcti}",
            "-o", "listen=127.0.0.1:0", "-o", "state_dir=", "-o", f"registrar={fed.registrar_url}",
            "-o", f"client_ca={fed.pki}/tenant-ca.crt", "-o", f"uuid={self.guest.uuid}",
            *(w for k, path in logs.items() for w in ("-o", f"{k}={path}"))], ready_fd=True)
        self.address = self.agent.ready(60)["listen"]
        self.agent.wait_log(r"registered", 60)
        return self

    def __exit__(self, *_):
        self.agent.stop()
        self.chip.stop()

    def give_back(self):
        """The real guest runs again. Its vTPM is reset twice: the impostor's reset count was one ahead, and the
        tenant rightly refuses a vTPM whose counters do not rise."""
        self.guest.start().wait_boot()
        self.guest.reset()
        self.fed.back(self.guest)
