"""The TCG boot event log in its crypto-agile form (TCG PC Client Platform Firmware Profile)."""

import hashlib
import struct
from collections import namedtuple
from pathlib import Path

EV_NO_ACTION = 3
SHA256 = 0x000B

Event = namedtuple("Event", "pcr type digests data")        # digests: {algorithm id: bytes}


class BootLog:
    """events, and what they make of the PCRs. Refuses anything it does not understand."""

    DATA = Path(__file__).with_name("data")

    def __init__(self, raw):
        self.raw = bytes(raw)
        self.events = list(self._parse())

    @classmethod
    def load(cls, path=None):
        """A log from a file; by default that of an OVMF boot that comes with the lab."""
        return cls(Path(path or cls.DATA / "ovmf-boot-log.bin").read_bytes())

    @classmethod
    def expected(cls):
        """{index: digest}: the PCRs 0-9 that the machine of the default log had."""
        lines = (cls.DATA / "ovmf-boot-log.pcrs").read_text().split("\n")
        return {int(i): bytes.fromhex(v) for i, v in (line.split() for line in lines if line)}

    def _parse(self):
        at = 0

        def take(fmt):
            nonlocal at
            values = struct.unpack_from("<" + fmt, self.raw, at)
            at += struct.calcsize("<" + fmt)
            return values

        def blob(n):
            nonlocal at
            if n > len(self.raw) - at:
                raise ValueError(f"event log: {n} bytes wanted at byte {at}, "
                                 f"{len(self.raw) - at} left")
            at += n
            return self.raw[at - n:at]

        # TCG_PCClientPCREvent that holds the Spec ID Event03: signature, class, version, algorithms
        pcr, kind, _sha1, size = take("II20sI")
        spec = blob(size)
        if kind != EV_NO_ACTION or spec[:16] != b"Spec ID Event03\0":
            raise ValueError("event log: not in the crypto-agile format")
        count = struct.unpack_from("<I", spec, 24)[0]
        sizes = dict(struct.unpack_from("<HH", spec, 28 + 4 * i) for i in range(count))
        while at < len(self.raw):
            pcr, kind, count = take("III")
            digests = {}
            for _ in range(count):
                (alg,) = take("H")
                if alg not in sizes:
                    raise ValueError(f"event log: algorithm 0x{alg:04x} at byte {at - 2}")
                digests[alg] = blob(sizes[alg])
            (size,) = take("I")
            yield Event(pcr, kind, digests, blob(size))

    def extends(self):
        """(pcr, sha256 digest) in order."""
        for event in self.events:
            if event.type != EV_NO_ACTION:
                yield event.pcr, event.digests[SHA256]

    def pcrs(self):
        values = {}
        for pcr, digest in self.extends():
            values[pcr] = hashlib.sha256(values.get(pcr, bytes(32)) + digest).digest()
        return values


def ima_extends(raw):
    """(pcr, sha256 digest) of an IMA list in order. Agents hand out either form, and the first byte tells which: a
    PCR number (below 24) begins the kernel's binary one, a character the text."""
    return _ima_extends_binary(raw) if raw[:1] < b"\x18" else _ima_extends_text(raw)


def _ima_extends_binary(raw):
    at = 0
    while at < len(raw):
        pcr, sha1, size = struct.unpack_from("<I20sI", raw, at)
        at += 28 + size
        (size,) = struct.unpack_from("<I", raw, at)
        data = raw[at + 4:at + 4 + size]
        if len(data) != size:
            raise ValueError(f"IMA list: {size} bytes wanted at byte {at + 4}")
        at += 4 + size
        # A violation is logged as zeros and extended as ones.
        yield pcr, hashlib.sha256(data).digest() if any(sha1) else b"\xff" * 32


def _ima_extends_text(raw):
    """Of templates ima-ng, and ima-sig without signatures."""
    for line in raw.splitlines():
        pcr, _, template, digest, rest = line.split(b" ", 4)
        algorithm, _, value = digest.partition(b":")
        if template == b"ima-sig":
            rest, _, signature = rest.rpartition(b" ")
            if signature:
                raise ValueError(f"IMA list: signatures are not replayed here: {line!r}")
        fields = [algorithm + b":\0" + bytes.fromhex(value.decode()), rest + b"\0"]
        fields += [b""] if template == b"ima-sig" else []
        yield int(pcr), hashlib.sha256(b"".join(struct.pack("<I", len(f)) + f for f in fields)).digest()
