"""What a verdict is for, from the secret that it releases to the connection that it ends, as the demo shows it."""

import json
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def test_revocation(tmp_path, demo_env):
    out = tmp_path / "out"
    done = subprocess.run([TOP / "scripts/demo", "--revocation", "--out", out, "--json"], capture_output=True, text=True,
                          timeout=900, check=False, env=demo_env)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert json.loads(done.stdout) == report

    refused = report["never_released"]
    assert "not-on-the-hosts-policy" in refused["host_failed"]
    assert "gets no V: failed host-policy" in refused["said"] and refused["secret"] is None
    assert list(report["secrets"].values()) == ["the first secret of web-2", "the first secret of db-1"]

    revocation = report["revocation"]
    assert "/usr/bin/not-in-the-policy" in revocation["message"] and revocation["period_s"] == 2
    seconds = revocation["seconds"]
    assert list(seconds) == ["verdict", "list", "message", "cut", "refused"]
    assert 0 < seconds["verdict"] <= seconds["message"] <= seconds["cut"] <= seconds["refused"] <= 6, seconds
    assert seconds["list"] <= seconds["cut"]
    assert f"from the act to the refusal {seconds['refused']:.2f} s" in done.stderr
    assert refused["guest"] == revocation["guest"] != revocation["by"]
    assert [p.name for p in (out / "refused").iterdir()] == [f"c-program-{revocation['guest']}.json"]
