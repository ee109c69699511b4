"""A few raw TPM 2.0 commands (TCG Library part 3), over anything that carries bytes."""

import contextlib
import socket
import struct

SHA256 = 0x000B
ST_NO_SESSIONS, ST_SESSIONS = 0x8001, 0x8002
RS_PW = 0x40000009
SU_CLEAR, SU_STATE = 0, 1
RSA_EK, ECC_EK = 0x81010001, 0x81010016
NV_RSA_EK_CERT, NV_ECC_EK_CERT = 0x01C00002, 0x01C00016


class TpmError(RuntimeError):
    def __init__(self, name, code):
        super().__init__(f"{name}: TPM response code 0x{code:03x}")
        self.code = code


def socket_transport(path, timeout=30):
    """Opens a connection for each command: swtpm serves one client at a time."""
    def transact(command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(str(path))
            s.sendall(command)
            data = b""
            while len(data) < 10 or len(data) < struct.unpack_from(">I", data, 2)[0]:
                chunk = s.recv(4096)
                if not chunk:
                    raise OSError(f"{path}: the TPM hung up")
                data += chunk
            return data
    return transact


class Tpm:
    """Tpm(transact) with transact(command bytes) -> response bytes."""

    def __init__(self, transact):
        self.transact = transact

    def command(self, name, code, body=b"", handles=b"", auth=False):
        """Returns the response's parameters. auth: one empty-password session."""
        session = b""
        if auth:
            session = struct.pack(">IIHBH", 9, RS_PW, 0, 0, 0)
        tag = ST_SESSIONS if auth else ST_NO_SESSIONS
        payload = handles + session + body
        out = self.transact(struct.pack(">HII", tag, 10 + len(payload), code) + payload)
        tag, size, rc = struct.unpack_from(">HII", out)
        if size != len(out):
            raise OSError(f"{name}: response says {size} bytes, has {len(out)}")
        if rc:
            raise TpmError(name, rc)
        if auth:
            length = struct.unpack_from(">I", out, 10)[0]
            return out[14:14 + length]
        return out[10:]

    def startup(self, kind=SU_CLEAR):
        self.command("Startup", 0x144, struct.pack(">H", kind))

    def shutdown(self, kind=SU_CLEAR):
        self.command("Shutdown", 0x145, struct.pack(">H", kind))

    def pcr_extend(self, index, digest):
        if len(digest) != 32:
            raise ValueError("a sha256 digest has 32 bytes")
        self.command("PCR_Extend", 0x182, struct.pack(">IH", 1, SHA256) + digest,
                     struct.pack(">I", index), auth=True)

    def pcr_read(self, index):
        select = bytearray(3)
        select[index // 8] = 1 << index % 8
        out = self.command("PCR_Read", 0x17E, struct.pack(">IHB", 1, SHA256, 3) + bytes(select))
        # u32 counter, TPML_PCR_SELECTION (u32 1, u16 hash, u8 3, 3 bytes), TPML_DIGEST
        count, size = struct.unpack_from(">IH", out, 14)
        if count != 1 or size != 32 or len(out) != 52:
            raise TpmError(f"PCR_Read {index}: no sha256 value", 0)
        return out[20:]

    def pcr_reset(self, index):
        self.command("PCR_Reset", 0x13D, b"", struct.pack(">I", index), auth=True)

    def read_public(self, handle):
        """TPM2B_PUBLIC, as stored (with its length field)."""
        out = self.command("ReadPublic", 0x173, b"", struct.pack(">I", handle))
        return out[:2 + struct.unpack_from(">H", out)[0]]

    def nv_read(self, index, chunk=512):
        """An NV index readable with its own empty auth, whole."""
        public = self.command("NV_ReadPublic", 0x169, b"", struct.pack(">I", index))
        # TPM2B { nvIndex u32, nameAlg u16, attributes u32, authPolicy TPM2B, dataSize u16 }
        size = struct.unpack_from(">H", public, 2 + 10 + 2 + struct.unpack_from(">H", public, 12)[0])[0]
        data = b""
        while len(data) < size:
            n = min(chunk, size - len(data))
            out = self.command("NV_Read", 0x14E, struct.pack(">HH", n, len(data)),
                               struct.pack(">II", index, index), auth=True)
            data += out[2:2 + struct.unpack_from(">H", out)[0]]
        return data

    def read_clock(self):
        """(time ms, clock ms, resetCount, restartCount, safe)"""
        time, clock, reset, restart, safe = struct.unpack(">QQIIB", self.command("ReadClock", 0x181))
        return time, clock, reset, restart, bool(safe)

    def transient_handles(self):
        return self.handles(0x80000000)

    def handles(self, first):
        out = self.command("GetCapability", 0x17A, struct.pack(">III", 1, first, 64))
        count = struct.unpack_from(">I", out, 5)[0]
        return list(struct.unpack_from(f">{count}I", out, 9))

    def flush(self, handle):
        self.command("FlushContext", 0x165, struct.pack(">I", handle))

    def flush_transients(self):
        """What the kernel's resource manager does for a client that died: objects, and sessions."""
        for handle in self.transient_handles() + self.handles(0x02000000):
            with contextlib.suppress(TpmError):
                self.flush(handle)
