"""What everybody may read of a vault file, and OPENERS (docs/sealing.md section 2): a reader of the tests' own."""

import struct
from collections import namedtuple

MAGIC = b"LT1:VAULT".ljust(16, b"\0")
OPENERS_MAGIC = b"LT1:OPENERS".ljust(16, b"\0")
STATE, ESCROW, HANDOVER, AUTHORITY = 1, 2, 3, 4

Vault = namedtuple("Vault", "host_ek_digest generation states")     # states: [{pcr: bytes}] of its compartments' keys
Opener = namedtuple("Opener", "kind closed digest state")           # state: {pcr: bytes} of kind 1, else None


class Reader:
    def __init__(self, raw):
        self.raw, self.at = bytes(raw), 0

    def take(self, n):
        if n > len(self.raw) - self.at:
            raise ValueError(f"{n} bytes wanted at {self.at} of {len(self.raw)}")
        self.at += n
        return self.raw[self.at - n:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def magic(self, text):
        if self.take(len(text)) != text:
            raise ValueError(f"not {text}")

    def state(self):
        bitmap = self.number(4)
        return {i: self.take(32) for i in range(24) if bitmap >> i & 1}

    def end(self):
        if self.at != len(self.raw):
            raise ValueError(f"{len(self.raw) - self.at} bytes after the end")


def state_bytes(state):
    return struct.pack(">I", sum(1 << i for i in state)) + b"".join(state[i] for i in sorted(state))


def vault(raw):
    r = Reader(raw)
    r.magic(MAGIC)
    if r.number(2) != 1:
        raise ValueError("version")
    count, ek = r.number(2), r.take(32)
    r.take(34)
    generation, states = r.number(8), []
    for _ in range(count):
        states += [r.state() for _ in range(r.number(1))]
        r.take(r.number(2)), r.take(r.number(2)), r.take(12)
        r.take(r.number(4)), r.take(16)
    r.end()
    return Vault(ek, generation, states)


def with_generation(raw, generation):
    """The file as it would be, had it been written at another value of the counter: what anybody can make of it."""
    at = len(MAGIC) + 2 + 2 + 32 + 34
    return raw[:at] + struct.pack(">Q", generation) + raw[at + 8:]


def openers(raw):
    r, out = Reader(raw), []
    r.magic(OPENERS_MAGIC)
    for _ in range(r.number(2)):
        kind, closed = r.number(1), bool(r.number(1))
        body = Reader(r.take(r.number(2)))
        digest = body.take(32)
        state = body.state() if kind == STATE else None
        if kind == HANDOVER:
            body.take(32)
        body.end()
        out.append(Opener(kind, closed, digest, state))
    r.end()
    return out
