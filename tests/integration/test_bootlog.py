"""Our reading of boot logs against Debian's tpm2_eventlog: events, PCRs, types, digests, and what they replay to."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
VECTORS = TOP / "tests/vectors"
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
ENV = {"PATH": "/usr/bin:/bin"}
yaml = pytest.importorskip("yaml", reason="skipped: no python3-yaml")


def tool(name):
    for path in (BUILD / "bin" / name, BUILD / "tests/support/appraisal" / name, BUILD / "tests/support" / name):
        if path.exists():
            return path
    pytest.skip(f"no {name} in the build")


def forged(on):
    return subprocess.run([tool("dump-bootlog"), "--forge", str(on)], check=True, capture_output=True, timeout=30,
                          env=ENV).stdout


LOGS = {
    "ovmf-guest": lambda: (VECTORS / "guest-logs/ovmf/tpm0_binary_bios_measurements").read_bytes(),
    "seabios-guest": lambda: (VECTORS / "guest-logs/seabios/tpm0_binary_bios_measurements").read_bytes(),
    "lab": lambda: (TOP / "tests/lab/data/ovmf-boot-log.bin").read_bytes(),
    "forged": lambda: forged(0),
    "forged-secure-boot": lambda: forged(1),
}


def theirs(path):
    if not shutil.which("tpm2_eventlog"):
        pytest.skip("no tpm2_eventlog")
    done = subprocess.run(["tpm2_eventlog", path], check=True, capture_output=True, timeout=60, env=ENV)
    # Texts of events may hold what YAML cannot: only this test's keys are read.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(done.stdout.decode("utf-8", "replace"), loader)


def ours(path):
    return subprocess.run([tool("dump-bootlog"), path], capture_output=True, timeout=60, env=ENV)


def digests(event):
    if "Digest" in event:                               # the first event is of the SHA-1 form
        return {"sha1": event["Digest"]}
    return {d["AlgorithmId"]: d["Digest"] for d in event["Digests"]}


@pytest.mark.parametrize("name", LOGS)
def test_as_tpm2_eventlog(name, tmp_path):
    as_tpm2_eventlog(LOGS[name](), tmp_path / "log")


def as_tpm2_eventlog(raw, log):
    log.write_bytes(raw)
    want, done = theirs(log), ours(log)
    assert done.returncode == 0, done.stderr
    have = json.loads(done.stdout)
    assert len(have["events"]) == len(want["events"]) > 10
    for mine, other in zip(have["events"], want["events"]):
        assert (mine["pcr"], mine["size"]) == (other["PCRIndex"], other["EventSize"]), other["EventNum"]
        if mine["type"].startswith("EV_"):
            assert mine["type"] == other["EventType"], other["EventNum"]
        assert mine["digests"] == digests(other), other["EventNum"]
    assert set(have["pcrs"]) == set(want["pcrs"])
    for bank, values in want["pcrs"].items():
        nothing = "00" * (len(next(iter(have["pcrs"][bank].values()))) // 2)
        expected = {}
        for pcr, v in values.items():                   # hex numbers, as YAML reads them
            expected[str(pcr)] = f"{v:0{len(nothing)}x}" if isinstance(v, int) else v[2:].zfill(len(nothing))
        for pcr, v in have["pcrs"][bank].items():
            assert v == expected.get(pcr, nothing), (bank, pcr)


@pytest.mark.parametrize("name", ["ovmf-guest", "seabios-guest", "lab"])
def test_a_cut_log_is_refused_by_name(name, tmp_path):
    raw = LOGS[name]()
    for cut in (1, 31, 64, 70, len(raw) // 2, len(raw) - 1):
        (tmp_path / "log").write_bytes(raw[:cut])
        done = ours(tmp_path / "log")
        # A cut that falls between two events leaves a shorter log: only what it replays to tells.
        if done.returncode:
            assert b"boot log event" in done.stderr and b" byte" in done.stderr, (cut, done.stderr)
        else:
            assert cut not in (1, 31, 64, 70, len(raw) - 1), cut


def test_a_server(third_party, tmp_path):
    """As tpm2_eventlog, too. Its PCRs were not kept; its kernel hashed PCR 0-9 into the first line of the IMA list."""
    import hashlib
    as_tpm2_eventlog(base64.b64decode(third_party("hpe/uefi_log.txt").read_bytes()), tmp_path / "log")
    first = third_party("hpe/ima_log.txt").read_bytes().split(b"\n")[0].split()
    assert first[4] == b"boot_aggregate"
    (tmp_path / "log").write_bytes(base64.b64decode(third_party("hpe/uefi_log.txt").read_bytes()))
    pcrs = json.loads(ours(tmp_path / "log").stdout)["pcrs"]["sha256"]
    both = [hashlib.sha256(b"".join(bytes.fromhex(pcrs[str(i)]) for i in range(n))).hexdigest() for n in (8, 10)]
    assert first[3].decode() == "sha256:" + both[1]
