"""docs/bootstrap.md, followed to the letter: every block is run, and what a ```text block shows is what the block
before printed. The provider, the tenant and the guest of docs/operations.md are tests/lab/mocked.py's."""

import os
import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))

from tests.lab import Lab  # noqa: E402
from tests.lab.mocked import Mocked  # noqa: E402

BUILD = Path(os.environ.get("LT_BUILD", TOP / "build/dev"))
TEXT = (TOP / "docs/bootstrap.md").read_text()
KINDS = {"sh tenant", "sh tenant until", "sh guest", "conf guest", "text"}


def blocks():
    """[(kind, text)] in order."""
    found = re.findall(r"^```([^\n]+)\n(.*?)^```$", TEXT, re.M | re.S)
    assert TEXT.count("\n```") == 2 * len(found)
    return found


class Reader:
    """A machine for the tenant, and a guest, as operations.md leaves them."""

    def __init__(self, lab):
        self.lab = lab
        self.fed = Mocked(lab, BUILD, guests=1, tenant_options=["period_s=1", "gather_ms=100"]).up()
        self.guest = self.fed.guests[0]
        self.home = lab.path("home", directory=True)
        for name in (".config", ".config/limetree"):
            lab.path("home", *name.split("/"), directory=True)
        lab.path("var", directory=True)
        options = {k: v for k, v in self.fed.cli_options().items() if k != "registrar_url"}
        options["guests_ca"] = f"{lab.path('var')}/ca"      # what the default is
        lab.write("home/.config/limetree/cli.conf", "".join(f"{k} = {v}\n" for k, v in options.items()))
        self.fed.cli("guest", "assign", self.guest.uuid, self.fed.tenant_id)
        self.printed = None

    def replaced(self, text):
        for span, value in (("GUEST-UUID", self.guest.uuid), ("/run/limetree-secret", self.guest.memory / "secure"),
                            ("/var/lib/limetree", self.lab.path("var")),
                            ("tenant.example:8891", self.fed.registrar_tls_url.removeprefix("https://"))):
            text = text.replace(span, str(value))
        return text

    def run(self, text, check=True):
        env = {"HOME": str(self.home), "PATH": f"{self.fed.program['limetree'].parent}:{os.environ['PATH']}"}
        done = self.lab.run(["sh", "-ec", text], env=env, check=check, timeout=120)
        self.printed = done.stdout + done.stderr
        return done.returncode == 0

    def block(self, kind, text):
        if kind == "conf guest":
            assert text.split(" = ")[0] == "secure_dir"
            self.guest.start(options=[self.replaced(text).strip().replace(" = ", "=")])
        elif kind == "sh tenant until":
            self.fed.poll(lambda: self.run(self.replaced(text), check=False), 60, lambda: self.printed)
        elif kind == "text":
            for line in text.splitlines():
                pattern = re.escape(line).replace("GUEST\\-UUID", self.guest.uuid).replace(
                    "HOST:PORT", r"\S+:\d+").replace("NUMBER", r"\d+")
                assert re.search(f"^{pattern}$", self.printed, re.M), f"{line}\nis not in\n{self.printed}"
        else:
            self.run(self.replaced(text))


def test_every_block_is_run():
    found = blocks()
    assert {kind for kind, _ in found} == KINDS
    with Lab(prefix="ltd") as lab:
        reader = Reader(lab)
        for kind, text in found:
            reader.block(kind, text)
        have = reader.guest.unpacked
        assert {"cacert.crt", "RevocationNotifier-cert.crt", f"{reader.guest.uuid}-private.pem"} <= set(have)


def test_what_it_says_of_failures_is_said():
    """The messages of the table stand in the programs."""
    table = TEXT.partition("## When it ends otherwise")[2].partition("\n## ")[0]
    said = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    source = "".join((TOP / f).read_text() for f in ("cli/bootstrap.c", "agent/keys_api.c", "agent/bootstrap.c"))
    source = re.sub(r'"\s*\n\s*"', "", source)
    assert len(said) == 6
    for cell in said:
        for span in re.findall(r"`([^`]+)`", cell):
            words = [w for w in re.split(r"failed REASON|REASON|unchecked|unreachable|…|N s|: *$", span) if len(w.strip()) > 3]
            for word in words:
                assert word.strip(" :") in source, word
