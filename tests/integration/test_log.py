"""`limetree log` as a person calls it, over every log and list of tests/vectors: what each replays to, and who accepts it."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
VECTORS = TOP / "tests/vectors"
CASES = VECTORS / "cases"

def rows(table):
    return [pytest.param(*row, id="-".join(row[:2])) for row in table]


OVMF, SEABIOS = VECTORS / "guest-logs/ovmf", VECTORS / "guest-logs/seabios"


def limetree(*args, stdin=None):
    return subprocess.run([BUILD / "bin/limetree", *map(str, args)], input=stdin, capture_output=True, timeout=60,
                          env={"PATH": "/usr/bin:/bin"})


def log(*args, stdin=None, want=0):
    done = limetree("log", *args, "--json", stdin=stdin)
    assert done.returncode == want, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr.decode()


def judged(file, policy, *args):
    """("ok", []), ("refused", reasons), ("malformed", reasons); the exit status must say the same."""
    done = limetree("log", "judge", file, "--policy", policy, "--json", *args)
    assert done.returncode in (0, 1), done.stderr
    out = json.loads(done.stdout)
    assert (done.returncode == 0) == (out["result"] == "ok") == (not out["reasons"])
    assert out["quoted"] is False and (out["notes"] or out["result"] == "malformed")
    return out["result"], out["reasons"]


def ima_pcrs(tmp_path, value):
    path = tmp_path / "pcrs"
    path.write_text(f"10 {value}\n")
    return "--pcrs", path


# What each log replays to, by the README of the cases and the guests' own pcrs.txt. None: any value.
REPLAYS = [
    ("boot-base.bin", "sha256", 0, "fe566898d21165776985914d6e4f7bc9167e4c9bf957be918eb88ec6b0dab25b"),
    ("boot-evil-post-code.bin", "sha256", 0, None),
    ("boot-el8.bin", "sha256", 8, None),
    ("boot-el8-cmdline.bin", "sha256", 8, None),
    ("boot-sdboot.bin", "sha256", 12, None),
    ("boot-sdboot-cmdline.bin", "sha256", 12, None),
    ("boot-old-shim.bin", "sha256", 7, None),
    ("boot-vendor-db.bin", "sha256", 7, None),
    ("boot-hcrtm.bin", "sha256", 0, "45e1dd9bca7b42f8e5afc1f6cae9960974a93033d33b97fda9f7ace279a033e2"),
    ("boot-fewer-digests.bin", "sha256", 0, "fe566898d21165776985914d6e4f7bc9167e4c9bf957be918eb88ec6b0dab25b"),
    ("ima-buffers.txt", "sha256", 10, "a54fd19e586d1d18b9438ae7c6041e668e9926d4d2f88c74523c65cf43aac397"),
    ("ima-latin1.txt", "sha256", 10, None),
    ("ima-newline.txt", "sha256", 10, "6d5c4f6a312179b80aa8e8572879e12b1d68a8543979e1d23d64e5c65c7f7164"),
]


@pytest.mark.parametrize("name,bank,pcr,value", REPLAYS)
def test_replay(name, bank, pcr, value):
    have = log("replay", CASES / name)["pcrs"][bank][str(pcr)]
    assert len(have) == 64 and have != "0" * 64
    assert value in (None, have)
    done = limetree("log", "replay", CASES / name)
    assert f"{bank} {pcr} {have}\n".encode() in done.stdout


def test_replay_without_the_bank():
    assert sorted(log("replay", CASES / "boot-fewer-digests.bin")["pcrs"]) == ["sha1", "sha256"]


def test_replay_as_kernels_before_5_8():
    have = log("replay", CASES / "ima-old-kernel.txt")
    assert have["pcrs_padded_sha1"]["sha256"]["10"] == "17039b98819180854d5f26a760fb95fc7b34be032ac197529ac90c0b50e64b46"


@pytest.mark.parametrize("guest", [OVMF, SEABIOS], ids=["ovmf", "seabios"])
def test_replay_of_guests(guest):
    want = dict(line.split() for line in (guest / "pcrs.txt").read_text().lower().splitlines())
    have = log("replay", guest / "tpm0_binary_bios_measurements")["pcrs"]["sha256"]
    assert {str(i): have[str(i)] for i in range(10)} == {str(i): want[str(i)] for i in range(10)}
    # The list grew while it was read: PCR 10 had 56 of its 58 entries.
    lines = (guest / "ima_ascii_runtime_measurements").read_bytes().splitlines(keepends=True)
    prefix = log("replay", "-", stdin=b"".join(lines[:56]))
    assert (prefix["entries"], prefix["pcrs"]["sha256"]["10"]) == (56, want["10"])


@pytest.mark.parametrize("guest", [OVMF, SEABIOS], ids=["ovmf", "seabios"])
def test_binary_list_is_the_same(guest):
    """It was read first: the text has one entry more."""
    lines = (guest / "ima_ascii_runtime_measurements").read_bytes().splitlines(keepends=True)
    binary = log("replay", guest / "ima_binary_runtime_measurements")
    assert binary == log("replay", "-", stdin=b"".join(lines[:57])) and binary["entries"] == 57


# (log, document, other arguments, what comes of it, what the reason says)
JUDGED = [
    ("boot-base.bin", "refstate-base.json", "ok", ""),
    ("boot-evil-post-code.bin", "refstate-base.json", "refused", "EV_POST_CODE"),
    ("boot-old-shim.bin", "refstate-base.json", "ok", ""),
    ("boot-vendor-db.bin", "refstate-vendor-db.json", "ok", ""),
    ("boot-vendor-db.bin", "refstate-base.json", "refused", "PCR 7"),     # it has no words for vendor_db
    ("boot-el8.bin", "refstate-base.json", "ok", ""),         # the same digests under other labels
    ("boot-el8-cmdline.bin", "refstate-base.json", "refused", "init=/bin/sh"),
    ("boot-fewer-digests.bin", "refstate-base.json", "ok", ""),
    ("boot-hcrtm.bin", "refstate-base.json", "refused", "EV_EFI_HCRTM_EVENT"),
    ("boot-sdboot.bin", "refstate-base.json", "refused", "PCR 0"),
]


@pytest.mark.parametrize("name,doc,want,reason", JUDGED)
def test_judge(name, doc, want, reason):
    result, reasons = judged(CASES / name, CASES / doc)
    assert result == want, reasons
    assert reason in " ".join(reasons)


def boot_learnt(tmp_path, name):
    out = tmp_path / "boot.json"
    done = limetree("policy", "learn", "--boot-log", CASES / name, "--boot", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", ["boot-base.bin", "boot-el8.bin", "boot-sdboot.bin", "boot-old-shim.bin",
                                  "boot-vendor-db.bin", "boot-hcrtm.bin", "boot-fewer-digests.bin"])
def test_what_is_learnt_from_a_log_passes_it(name, tmp_path):
    assert judged(CASES / name, boot_learnt(tmp_path, name)) == ("ok", [])


@pytest.mark.parametrize("good,changed,pcr", [("boot-el8.bin", "boot-el8-cmdline.bin", "PCR 8"),
                                              ("boot-sdboot.bin", "boot-sdboot-cmdline.bin", "PCR 12"),
                                              ("boot-base.bin", "boot-evil-post-code.bin", "PCR 0")])
def test_what_is_learnt_from_a_log_refuses_another(good, changed, pcr, tmp_path):
    result, reasons = judged(CASES / changed, boot_learnt(tmp_path, good))
    assert result == "refused" and pcr in " ".join(reasons)


@pytest.mark.parametrize("name,value", [(r[0], r[3]) for r in REPLAYS if r[0].startswith("ima-") and r[3]])
def test_what_is_learnt_from_a_list_passes_it(name, value, tmp_path):
    out = tmp_path / "policy.json"
    done = limetree("policy", "learn", "--ima", CASES / name, "-o", out)
    assert done.returncode == 0, done.stderr
    assert judged(CASES / name, out, *ima_pcrs(tmp_path, value)) == ("ok", [])
    result, reasons = judged(CASES / name, out, *ima_pcrs(tmp_path, "5a" * 32))
    assert result == "refused" and "PCR 10" in " ".join(reasons)


def test_a_name_that_is_no_text_is_told(tmp_path):
    out = tmp_path / "policy.json"
    done = limetree("policy", "learn", "--ima", CASES / "ima-latin1.txt", "-o", out)
    assert done.returncode == 0 and b"IMA entry 1" in done.stdout + done.stderr, done.stdout + done.stderr
    assert len(json.loads(out.read_text())["digests"]) >= 1


def test_old_kernel_is_named(tmp_path):
    quoted = ima_pcrs(tmp_path, "17039b98819180854d5f26a760fb95fc7b34be032ac197529ac90c0b50e64b46")
    result, reasons = judged(CASES / "ima-old-kernel.txt", CASES / "policy-true-sh.json", *quoted)
    assert result == "refused" and "5.8" in " ".join(reasons), reasons
    accepting = (*quoted, "--accept", "violations,sha1_padded")
    assert judged(CASES / "ima-old-kernel.txt", CASES / "policy-true-sh.json", *accepting) == ("ok", [])
    # What the list itself replays to is another value, and passes.
    assert judged(CASES / "ima-old-kernel.txt", CASES / "policy-true-sh.json") == ("ok", [])


@pytest.mark.parametrize("guest", [OVMF, SEABIOS], ids=["ovmf", "seabios"])
def test_guests_by_what_is_learnt(guest, tmp_path):
    ima, boot = tmp_path / "ima.json", tmp_path / "boot.json"
    done = limetree("policy", "learn", "--ima", guest / "ima_ascii_runtime_measurements", "--boot-log",
                    guest / "tpm0_binary_bios_measurements", "-o", ima, "--boot", boot)
    assert done.returncode == 0, done.stderr
    pcrs = ("--pcrs", guest / "pcrs.txt")
    assert judged(guest / "tpm0_binary_bios_measurements", boot, *pcrs) == ("ok", [])
    assert judged(guest / "ima_ascii_runtime_measurements", ima, *pcrs) == ("ok", [])
    assert judged(guest / "ima_binary_runtime_measurements", ima, *pcrs) == ("ok", [])
    other = tmp_path / "pcrs"
    text = (guest / "pcrs.txt").read_text()
    for pcr, file, doc in (("4", "tpm0_binary_bios_measurements", boot), ("10", "ima_ascii_runtime_measurements", ima)):
        lines = [f"{pcr} {'5a' * 32}" if line.split()[0] == pcr else line for line in text.splitlines()]
        other.write_text("\n".join(lines) + "\n")
        result, reasons = judged(guest / file, doc, "--pcrs", other)
        assert result == "refused" and f"PCR {pcr}" in " ".join(reasons)


def test_the_servers_logs(third_party, tmp_path):
    """Its log holds two EV_POST_CODE that its reference state has no words for. What is learnt from both passes them."""
    assert log("replay", third_party("hpe/uefi_log.txt"))["events"] == 153
    assert log("replay", third_party("hpe/ima_log.txt"))["entries"] == 780
    result, reasons = judged(third_party("hpe/uefi_log.txt"), third_party("hpe/uefi_refstate.json"))
    assert result == "refused" and "EV_POST_CODE" in " ".join(reasons)
    ima, boot, raw = tmp_path / "ima.json", tmp_path / "boot.json", tmp_path / "raw"
    raw.write_bytes(base64.b64decode(third_party("hpe/uefi_log.txt").read_bytes()))
    done = limetree("policy", "learn", "--ima", third_party("hpe/ima_log.txt"), "--boot-log", raw, "-o", ima, "--boot", boot)
    assert done.returncode == 0 and b": 778 names from 779 file entries" in done.stdout, done.stdout + done.stderr
    assert judged(third_party("hpe/uefi_log.txt"), boot) == ("ok", [])
    assert judged(third_party("hpe/ima_log.txt"), ima) == ("ok", [])
    compiled = limetree("policy", "compile", ima, "-o", tmp_path / "table")
    assert compiled.returncode == 0 and b": 778 files" in compiled.stdout
    guests = tmp_path / "guest.json"
    assert limetree("policy", "learn", "--ima", OVMF / "ima_ascii_runtime_measurements", "-o", guests).returncode == 0
    done = limetree("policy", "diff", ima, guests)
    assert done.returncode == 1 and b"+ digests /bin/busybox " in done.stdout


@pytest.mark.parametrize("name", [p.name for p in sorted(CASES.glob("boot-*.bin"))])
def test_show_a_boot_log(name):
    events = log("show", CASES / name)["events"]
    assert len(events) > 10 and all(e["words"] for e in events)
    done = limetree("log", "show", CASES / name)
    assert done.returncode == 0 and done.stdout.count(b" PCR ") >= len(events)


def test_judge_names_what_is_left_open(tmp_path):
    doc = tmp_path / "doc"
    learnt = json.loads(boot_learnt(tmp_path, "boot-base.bin").read_text())
    (closed,) = [k for k in learnt if k == "events"]
    doc.write_text(json.dumps({closed: {k: v for k, v in learnt[closed].items() if k in ("0", "7")}}))
    done = limetree("log", "judge", CASES / "boot-base.bin", "--policy", doc)
    assert done.returncode == 0 and b"note: open" in done.stdout and b"PCR 1, 2, 3, 4, 5, 6, 8, 9" in done.stdout, done.stdout


def test_the_documents_own_boot_policy(tmp_path):
    """The one that docs/policies.md writes by hand, and what it says of it."""
    text = (TOP / "docs/policies.md").read_text().split("```json\n")[1].split("```")[0]
    doc = tmp_path / "boot.json"
    doc.write_text(text)
    said = log("judge", CASES / "boot-base.bin", "--policy", doc)
    assert said["result"] == "ok" and said["notes"][-1].endswith("PCR 1, 3, 5, 6")
    changed = json.loads(text)
    changed["cmdline"] = ["/vmlinuz ro"]
    doc.write_text(json.dumps(changed))
    said = log("judge", CASES / "boot-base.bin", "--policy", doc, want=1)
    assert "(PCR 8, EV_IPL)" in said["reasons"][0] and "no command line that is accepted" in said["reasons"][0]
    assert not [n for n in said["notes"] if "open" in n]
    done = limetree("log", "judge", CASES / "boot-base.bin", "--policy", doc, "-k", doc)
    assert done.returncode == 2 and b"is no runtime policy" in done.stderr


def test_show_tells_what_is_proven():
    texts = [e["words"] for e in log("show", CASES / "boot-sdboot-cmdline.bin")["events"] if e["proven"]]
    assert any("init=/bin/sh" in t for t in texts) and "separator" in texts
    evil = [e for e in log("show", CASES / "boot-evil-post-code.bin")["events"] if e["type"] == "EV_POST_CODE"]
    assert evil and not evil[0]["proven"]


def test_show_a_list():
    entries = log("show", CASES / "ima-buffers.txt")["entries"]
    assert [(e["path"], e["words"]) for e in entries] == [("boot_aggregate", "file"), ("/usr/bin/true", "file"),
                                                          ("kexec-cmdline", "buffer"), ("kernel_version", "buffer")]


# (certificates or a registration's body, anchors, EK, exit status)
EKS = [
    (["ek-leaf.pem", "ek-intermediate.pem"], "ek-root.pem", "ek.pub", 0),
    (["ek-leaf.pem"], "ek-intermediate.pem", "ek.pub", 0),
    (["ek-leaf.pem"], "ek-root.pem", "ek.pub", 1),
    (["ek-leaf.pem", "ek-intermediate.pem"], "ek-leaf.pem", "ek.pub", 2),
    (["agent-plain.json", "ek-intermediate.pem"], "ek-root.pem", None, 0),
    (["agent-padded-zeros.json", "ek-intermediate.pem"], "ek-root.pem", None, 0),
    (["agent-padded-zeros.json"], "ek-intermediate.pem", None, 0),
]


@pytest.mark.parametrize("certs,roots,ek,status", EKS)
def test_ek_check(certs, roots, ek, status):
    args = ["--roots", CASES / roots, *(["--ek", CASES / ek] if ek else []), *(CASES / c for c in certs)]
    done = limetree("ek", "check", *args)
    assert done.returncode == status, done.stdout + done.stderr
    assert status != 1 or b'issuer "CN=Test TPM intermediate" is neither in --roots' in done.stdout


def test_no_case_is_left_out():
    text = Path(__file__).read_text() + (CASES / "README.md").read_text()
    for path in CASES.iterdir():
        assert text.count(path.name) >= (1 if path.name == "README.md" else 2), path.name


def test_malformed(tmp_path):
    raw = (CASES / "boot-base.bin").read_bytes()
    cut = tmp_path / "cut"
    for n in (40, 100, len(raw) - 1):
        cut.write_bytes(raw[:n])
        for command in ("replay", "show"):
            done = limetree("log", command, cut)
            assert done.returncode == 1 and b"boot log event" in done.stderr, (n, done.stderr)
        assert judged(cut, CASES / "refstate-base.json")[0] == "malformed"
    shown = limetree("log", "show", cut)
    assert shown.stdout.count(b" PCR ") > 10                 # up to the fault
    cut.write_bytes((CASES / "ima-buffers.txt").read_bytes()[:-7])
    assert limetree("log", "replay", cut).returncode == 1
    result, reasons = judged(cut, CASES / "policy-true-sh.json")
    assert result == "malformed" and "IMA entry 3" in reasons[0]
    for junk in (b"", b"\n", b"junk\n", b"\xff" * 64, b"{}"):
        done = limetree("log", "replay", "-", stdin=junk)
        assert done.returncode == 1 and b"-: " in done.stderr, (junk, done.stderr)


def test_the_quote_is_never_claimed(tmp_path):
    done = limetree("log", "judge", CASES / "boot-base.bin", "--policy", CASES / "refstate-base.json")
    assert done.returncode == 0 and done.stdout.startswith(b"ok\n") and b"no quote stands behind it" in done.stdout
    pcrs = tmp_path / "pcrs"
    have = log("replay", CASES / "boot-base.bin")["pcrs"]["sha256"]
    pcrs.write_text("".join(f"{i} {v}\n" for i, v in have.items()))
    done = limetree("log", "judge", CASES / "boot-base.bin", "--policy", CASES / "refstate-base.json", "--pcrs", pcrs)
    assert done.returncode == 0 and b"no quote was checked" in done.stdout
    # A PCR that the document judges and nobody gave is never good.
    pcrs.write_text("".join(f"{i} {v}\n" for i, v in have.items() if i != "7"))
    result, reasons = judged(CASES / "boot-base.bin", CASES / "refstate-base.json", "--pcrs", pcrs)
    assert result == "refused" and "PCR" in reasons[0]


USAGES = [
    (["judge", CASES / "boot-base.bin"], "--policy"),
    (["judge", CASES / "boot-base.bin", "--policy", CASES / "policy-true-sh.json"], "cannot judge"),
    (["judge", CASES / "ima-buffers.txt", "--policy", CASES / "refstate-base.json"], "cannot judge"),
    (["judge", CASES / "boot-base.bin", "--policy", "/absent"], "/absent"),
    (["judge", CASES / "boot-base.bin", "--policy", CASES / "refstate-base.json", "--pcrs", "/absent"], "/absent"),
    (["replay", "/absent"], "/absent"),
    (["replay", CASES / "boot-base.bin", "--pcrs", OVMF / "pcrs.txt"], "judge's"),
    (["replay"], "one FILE"),
    (["show", CASES / "boot-base.bin", CASES / "boot-base.bin"], "one FILE"),
    (["frob", CASES / "boot-base.bin"], "no command"),
    (["show", CASES / "boot-base.bin", "--nonsense"], "nonsense"),
    (["judge", CASES / "ima-buffers.txt", "--policy", CASES / "policy-true-sh.json", "--accept", "all"], "neither violations"),
    (["judge", CASES / "boot-base.bin", "--policy", CASES / "refstate-base.json", "--accept", "violations"], "is a boot log"),
    ([], "usage:"),
]


@pytest.mark.parametrize("args,says", USAGES)
def test_usage(args, says):
    done = limetree("log", *args)
    assert done.returncode == 2 and says in done.stderr.decode() and not done.stdout


def test_documents_and_values_that_are_none(tmp_path):
    doc = tmp_path / "doc"
    for text in ("", "[]", "{", '{"unknown":1}', '{"digests":{}}'):
        doc.write_text(text)
        for file in ("boot-base.bin", "ima-buffers.txt"):
            done = limetree("log", "judge", CASES / file, "--policy", doc)
            assert done.returncode in (1, 2) and done.stderr and not done.stdout, (text, file)
    doc.write_text("{}")                                     # judges nothing, so accepts nothing
    result, reasons = judged(CASES / "boot-base.bin", doc)
    assert result == "refused" and "judges nothing" in reasons[0]
    for text in ("", "10\n", "24 " + "00" * 32, "10 zz" + "00" * 31, "1 " + "00" * 32 + "\n1 " + "00" * 32,
                 "1 " + "00" * 32 + "\n2 " + "00" * 20):
        doc.write_text(text)
        done = limetree("log", "judge", CASES / "boot-base.bin", "--policy", CASES / "refstate-base.json", "--pcrs", doc)
        assert done.returncode == 1 and not done.stdout, text


def test_help():
    done = limetree("log", "--help")
    assert done.returncode == 0 and b"usage: limetree log" in done.stdout
    assert b"  log " in limetree("--help").stdout
