"""tpm-relay's own control commands: what came by, and what it does to it. Codes are TPM2_CC_…"""

import socket
import struct

HMAC, ECDH_ZGEN, NV_INCREMENT, CREATE, CREATE_PRIMARY = 0x155, 0x154, 0x134, 0x153, 0x131
CONTEXT_LOAD = 0x161
NV_DEFINE, PCR_READ, LOAD, NV_READ = 0x12A, 0x17E, 0x157, 0x14E
COUNTS, REFUSE, HIDE, EXTEND, HANG_UP, FAIL = range(0x4C540001, 0x4C540007)
NV_RATE, NV_UNAVAILABLE = 0x920, 0x923


class Relay:
    """Of a HwTpm that has one."""

    def __init__(self, chip):
        self.path = f"{chip.socket}.ctrl"

    def _ask(self, *words):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.path)
            s.sendall(struct.pack(f">{len(words)}I", *words))
            out = self._read(s, 4)
            if out != bytes(4):
                raise OSError(f"{self.path}: tpm-relay answers {out.hex()}")
            if words[0] != COUNTS:
                return b""
            (n,) = struct.unpack(">I", self._read(s, 4))
            return self._read(s, 8 * n)

    @staticmethod
    def _read(s, n):
        data = b""
        while len(data) < n:
            part = s.recv(n - len(data))
            if not part:
                raise OSError("tpm-relay hung up")
            data += part
        return data

    def counts(self):
        """{code: how many commands of it came since the relay began}"""
        return dict(struct.iter_unpack(">II", self._ask(COUNTS)))

    def refuse(self, code, whether=True):
        """As a chip that does not know the command."""
        self._ask(REFUSE, code, int(whether))

    def hide(self, code, whether=True):
        """The command is not on the chip's list."""
        self._ask(HIDE, code, int(whether))

    def extend_before(self, code, pcr, times):
        """As IMA does while the chip is asked."""
        self._ask(EXTEND, code, pcr, times)

    def hang_up(self, code, times=1):
        """The answer is lost; the chip has done what it was told."""
        self._ask(HANG_UP, code, times)

    def fail(self, code, error, times=1):
        """The chip answers with that error, and does nothing."""
        self._ask(FAIL, code, error, times)
