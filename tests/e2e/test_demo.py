"""The demo is a promise: it is run here as a newcomer would run it."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def test_demo(tmp_path, build, demo_env):
    out = tmp_path / "out"
    done = subprocess.run([TOP / "scripts/demo", "--guests", "3", "--out", out, "--json"], capture_output=True,
                          text=True, timeout=900, check=False, env=demo_env)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert json.loads(done.stdout) == report
    assert [g["result"] for g in report["guests"]] == ["trusted"] * 3
    assert {(g["link"], g["host_level"], g["tainted"]) for g in report["guests"]} == {("bound", "appraised", False)}
    assert [q["n"] for q in report["host_quotes"]] == [3]
    assert [r["slug"] for r in report["refusals"]] == ["batch-inclusion", "residency", "guest-policy", "host-policy",
                                                       "vault-forged", "vault-locked"]
    assert [len(r["guests"]) for r in report["refusals"]] == [1, 1, 1, 3, 1, 1]
    assert report["accept"] == ["bound"]
    # Why not resident, of each; the second has an escrow copy too, which its tenant accepts.
    for guest in report["guests"]:
        assert {p["reason"] for p in guest["openers"]["problems"]} == {"opener-not-enforced"}
    assert [g["openers"]["count"] for g in report["guests"]] == [1, 2, 1]
    copied, kernel = report["refusals"][4:]
    assert copied["keys_tried"] == ["none", "another"]
    (shown,) = kernel["guests"]
    assert (shown["result"], shown["link"], shown["reason"]) == ("unchecked", "copyable", "opener-off-policy")
    program = report["refusals"][2]
    assert "/usr/bin/not-in-the-policy" in program["guests"][0]["message"]
    assert program["others"] == ["trusted"] * 2
    assert 0 < program["seconds"] < 60
    assert f"{program['seconds']:.2f} s after it ran" in done.stderr
    bundles = sorted((out / "bundles").iterdir())
    assert len(bundles) == 3
    # One quote for all of them: the same bytes in every bundle.
    assert len({json.loads(b.read_text())["host"]["attest"] for b in bundles}) == 1
    verify = subprocess.run([build / "bin/limetree", "verify", *bundles], capture_output=True, text=True, check=False)
    assert verify.returncode == 0, verify.stdout + verify.stderr
    for bundle in bundles:
        done = subprocess.run([build / "bin/limetree", "verify", bundle, "--policy", out / "policies" / bundle.name],
                              capture_output=True, text=True, check=False)
        assert "consistent (link bound, host appraised)" in done.stdout, done.stdout + done.stderr
        every_byte_of_the_openers(build, bundle, tmp_path / "turned.json")
    refused = subprocess.run([build / "bin/limetree", "verify", *(out / "refused").glob("a-*.json")],
                             capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "batch-inclusion" in refused.stdout


def every_byte_of_the_openers(build, bundle, turned):
    """Each byte of the list changed in turn: refused, each time."""
    evidence = json.loads(bundle.read_text())
    raw = base64.b64decode(evidence["host"]["openers"])
    assert len(raw) > 300
    for at in range(len(raw)):
        evidence["host"]["openers"] = base64.b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]).decode()
        turned.write_text(json.dumps(evidence))
        done = subprocess.run([build / "bin/limetree", "verify", turned], capture_output=True, text=True, check=False)
        assert done.returncode == 1, f"byte {at}: {done.stdout}{done.stderr}"


def heed_interrupts():
    """A shell's background job, as this run may be one, begins with SIGINT ignored, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_demo_interrupted_leaves_nothing(tmp_path, demo_env):
    demo = subprocess.Popen([TOP / "scripts/demo", "--out", tmp_path / "out"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True, env=demo_env,
                            preexec_fn=heed_interrupts)
    seen = []
    for line in demo.stdout:
        seen.append(line)
        if "booting guest-1" in line:
            break
    else:
        raise AssertionError("".join(seen))
    os.killpg(demo.pid, signal.SIGINT)
    demo.stdout.read()
    assert demo.wait(60) == 130


def test_usage(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    done = subprocess.run([sys.executable, TOP / "scripts/demo", "--out", tmp_path / "full"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert "not empty" in done.stderr
