"""docs/operations.md, followed to the letter: its files and commands are taken out of the text and run, up to a guest
that is trusted. What is replaced is the table at its end, and nothing else."""

import json
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest

from tests.lab import Libvirtd
from tests.lab.federation import Federation
from tests.lab.guest import GuestImage, find_library
from tests.lab.host import SERVED_BY
from tests.lab.hwtpm import default_log_file
from tests.lab.libvirtd import DRIVERS
from tests.lab.procs import Deadline

TOP = Path(__file__).resolve().parents[2]
TEXT = (TOP / "docs/operations.md").read_text()
MACHINES = {"provider": "provider", "host": "host1", "tenant": "tenant", "guest": "guest1"}
MAX_ROWS, MAX_ILLUSTRATIONS = 10, 4
SCP = """#!/bin/sh
# scp [-p] FILE... root@NAME.example:PATH, between the machines' directories.
set -e
[ "$1" != -p ] || shift
for to; do :; done
name=${to#root@}
where=MACHINES/${name%%.example:*}${to#*:}
[ -d "${where%/*}" ] || { echo "scp: $to: no such directory" >&2; exit 1; }
while [ $# -gt 1 ]; do cp -p "$1" "$where"; shift; done
"""


class Block:
    """```LANG MACHINE [FILE | service | until], dedented; line: of the text, for messages."""

    def __init__(self, line, info, lines, indent):
        self.line, self.words = line, info.split()
        self.text = "".join(re.sub(f"^ {{0,{indent}}}", "", each) + "\n" for each in lines)
        self.lang, self.machine, self.what = (self.words + ["", "", ""])[:3]

    def __repr__(self):
        return f"docs/operations.md:{self.line}: ```{' '.join(self.words)}"


def blocks_of(text):
    found, start = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"( *)```(.*)$", line)
        if fence and start is None:
            start, info, indent, lines = number, fence[2], len(fence[1]), []
        elif fence:
            found.append(Block(start, info, lines, indent))
            start = None
        elif start is not None:
            lines.append(line)
        else:
            # Code by indentation alone could not say what it is.
            assert not re.match(r"(    |\t)\s*\S", line) or re.match(r"\s*([-*]|\d+\.) ", line), (number, line)
    assert start is None, f"the block of line {start} does not end"
    return found


def rows_of(text):
    """Code spans in the first column of the table."""
    table = text.partition("## What the test replaces")[2]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in lines]


class Operator:
    """Does what the text says."""

    def __init__(self, lab, build, cache):
        self.lab = lab
        self.fed = Federation(lab, build, cache, quote_delay_ms=0)
        self.fed.hw.start()
        # Where the private libvirtd looks for it; the text's own file comes into its place.
        self.fed.virt = Libvirtd(lab)
        (lab.dir / "c/swtpm_setup.conf").unlink()
        self.home = {m: lab.path("m", name, directory=True) for m, name in MACHINES.items()}
        for home in self.home.values():                      # what every machine has
            for directory in ("etc", "var/lib", ".config"):
                lab.path(*home.relative_to(lab.dir).parts, *directory.split("/"), directory=True)
        lab.path("m", "guest1", "etc", "limetree", directory=True)
        lab.write("shims/scp", SCP.replace("MACHINES", str(lab.dir / "m")), 0o755)
        self.used, self.ports, self.printed = set(), {}, {}
        self.guest = self.devices = None

    # -- the table

    def swap(self, span, pattern, value, text):
        """Replaces in text what a code span of the table stands for."""
        new, count = re.subn(pattern, value if callable(value) else lambda _: str(value), text)
        if count:
            self.used.add(span)
        return new

    def port(self, machine, match):
        port = match[2]
        assert port in self.ports, f"{match[0]}: nothing serves port {port} yet"
        return f"10.0.2.2:{self.ports[port]}" if machine == "guest" else f"127.0.0.1:{self.ports[port]}"

    def addresses(self, machine, text):
        if machine != "guest":                               # in the guest it listens where it is told
            for span, address in (("0.0.0.0:PORT", r"0\.0\.0\.0"), ("127.0.0.1:PORT", r"127\.0\.0\.1")):
                text = self.swap(span, rf"(?m)^(\w*listen = ){address}:\d+$", lambda m: f"{m[1]}127.0.0.1:0", text)
        own = "127.0.0.1:PORT", r"(127\.0\.0\.1):([1-9]\d*)\b"
        other = "NAME.example:PORT", r"\b([\w]+\.example):(\d+)\b"
        for span, pattern in (own, other):
            text = self.swap(span, pattern, lambda m: self.port(machine, m), text)
        return text

    def replaced(self, machine, text):
        text = self.addresses(machine, text)
        if machine == "guest":
            return text
        home = self.home[machine]
        for path in ("/etc/limetree", "/var/lib/limetree"):
            text = self.swap(path, rf"(?<!\.example:){path}\b", f"{home}{path}", text)
        text = self.swap("/usr/bin/limetree-localca", "/usr/bin/limetree-localca", self.fed.program["limetree-localca"], text)
        if machine == "host":
            text = self.swap("device:/dev/tpmrm0", "device:/dev/tpmrm0", self.fed.hw.tcti, text)
            text = self.swap("/sys/kernel/security", r"/sys/kernel/security/tpm0/\w+", default_log_file(), text)
            text = self.swap("/sys/kernel/security", r"/sys/kernel/security/ima/\w+", self.fed.ima, text)
        text = self.swap("qemu:///system", "qemu:///system", self.fed.virt.uri, text)
        text = self.swap("swtpm:", r"\bswtpm:(?= )", f"{self.lab.uid}:{self.lab.gid}", text)
        text = self.swap("--accept copyable", "--accept copyable", "--accept copyable,tainted", text)
        for word, value in self.printed.items():
            text = self.swap(word, rf"\b{word}\b", value, text)
        left = re.search(r"\b[A-Z]+-(ID|DIGEST|UUID)\b", text)
        assert not left, f"{left[0]}: no command has printed it yet"
        return text

    # -- one block

    def do(self, block):
        if block.lang == "conf":
            self.write(block)
        elif block.lang == "xml":
            self.devices = block.text
        elif block.what == "service":
            self.serve(block)
        else:
            assert block.lang == "sh", block
            self.type(block)

    def write(self, block):
        path = block.what
        if path == "/etc/swtpm_setup.conf":
            self.used.add(path)
            target = self.lab.dir / "c/swtpm_setup.conf"
        else:
            target = Path(str(self.home[block.machine]) + path.removeprefix("~"))
        assert target.parent.is_dir(), f"{block}: no such directory yet"
        self.lab.write(str(target.relative_to(self.lab.dir)), self.replaced(block.machine, block.text), 0o600)

    def serve(self, block):
        for line in block.text.splitlines():
            if block.machine == "guest":
                assert line in (TOP / "tests/lab/guest-init.sh").read_text(), f"{block}: the lab's guest runs something else"
                self.guest.wait_serial("LT-GUEST: agent started")
                continue
            argv = shlex.split(self.replaced(block.machine, line))
            child = self.lab.spawn(block.machine, [self.fed.program[argv[0]], *argv[1:]], ready_fd=True)
            setattr(self.fed, {"host": "agent"}.get(block.machine, block.machine), child)
            self.know_ports(block.machine, argv, child.ready(60))

    def know_ports(self, machine, argv, ready):
        """Which port stands for the one in the text: by the key that names both."""
        name = f"/etc/limetree/{Path(argv[argv.index('--config') + 1]).name}"
        (conf,) = [b for b in blocks_of(TEXT) if (b.machine, b.what) == (machine, name)]
        for key, port in re.findall(r"(?m)^(\w*listen) = \S+:(\d+)$", conf.text):
            self.ports[port] = ready[key].rpartition(":")[2]

    def type(self, block):
        pending = []
        for line in block.text.splitlines():
            before = self.before(line)
            if before and pending:
                self.run(block, pending)
                pending = []
            if before and before():                          # done in its place
                continue
            pending.append(line)
        if pending:
            self.run(block, pending)

    def before(self, line):
        """What the machine, not its operator, does when it comes to this line."""
        for pattern, action in ((r" --anchor$", self.kernel_boots), (r"^systemctl start libvirtd$", self.start_libvirtd),
                                (r"^virsh .* start guest1$", self.define_guest)):
            if re.search(pattern, line):
                return action
        return None

    def kernel_boots(self):
        self.fed.measure(self.fed.program["limetree-agent"], find_library("libtss2-tcti-swtpm.so.0"))

    def start_libvirtd(self):
        self.used.add("systemctl start libvirtd")
        self.fed.measure(*map(shutil.which, SERVED_BY), self.fed.program["limetree-localca"],
                         *sorted(DRIVERS.glob("*.so")))
        self.fed.virt.start()
        return True

    def define_guest(self):
        image = GuestImage.build(self.lab, self.fed.cache, agent=self.fed.program["limetree-agent"])
        files = {p.name: p.read_bytes() for p in (self.home["guest"] / "etc/limetree").iterdir()}
        self.guest = self.fed.virt.guest("guest1", image=image, files=files, tpm=None, extra_devices=self.devices)
        self.guest.define()

    def run(self, block, lines):
        script = self.replaced(block.machine, "\n".join(lines) + "\n")
        if re.search(r"^scp ", script, re.M):
            self.used.add("scp")
        env = {"HOME": str(self.home[block.machine]),
               "PATH": f"{self.lab.dir}/shims:{self.lab.dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        deadline = Deadline(180)
        while True:
            done = self.lab.run(["bash", "-euo", "pipefail", "-c", script], check=False, timeout=120, env=env)
            if done.returncode == 0:
                break
            assert block.what == "until" and not deadline.expired(), \
                f"{block}: status {done.returncode}\n{script}\n{done.stdout}{done.stderr}{self.tails()}"
            time.sleep(0.5)
        self.remember("\n".join(lines), done.stdout)

    def remember(self, typed, out):
        if "--identity --json" in typed:
            identity = json.loads(out)
            self.printed |= {"HOST-ID": identity["host"], "EK-DIGEST": identity["ek_digest"]}
        if "domuuid" in typed:
            self.printed["GUEST-UUID"] = out.split()[-1]
            self.ports["9002"] = str(self.guest.host_port())

    def tails(self):
        children = (self.fed.provider, self.fed.agent, self.fed.tenant)
        return "".join(f"\n{c.name}:\n{c.tail()}" for c in children if c) + \
            (Federation.serial_tail(self.guest) if self.guest else "")


BLOCKS = blocks_of(TEXT)
RUN = [b for b in BLOCKS if b.lang != "text"]


def check(block):
    assert block.machine in MACHINES, f"{block}: no machine, and no illustration (```text)"
    if block.lang == "conf":
        assert block.what.startswith(("/etc/", "~/")), f"{block}: which file?"
    else:
        assert block.what in {"sh": ("", "service", "until"), "xml": ("",)}.get(block.lang, ()), f"{block}: not known"
    assert len(block.words) <= 3 and block.text.strip(), block


def test_every_block_says_what_it_is():
    assert len(BLOCKS) - len(RUN) <= MAX_ILLUSTRATIONS
    for block in RUN:
        check(block)
    for machine in MACHINES:
        assert any(b.machine == machine and b.lang == "conf" for b in RUN), f"no configuration of the {machine}"


def test_the_table_is_short():
    rows = rows_of(TEXT)
    assert 1 <= len(rows) <= MAX_ROWS and all(rows), rows
    spans = [span for row in rows for span in row]
    assert len(spans) == len(set(spans)), spans


@pytest.mark.parametrize("bad", ["```sh\nls\n```\n", "```\nls\n```\n", "text\n\n    ls\n", "```sh host\nls\n", "```sh host often\nls\n```\n",
                                 "```conf host\na = b\n```\n", "```yaml host\na: b\n```\n", "```sh host\n```\n"])
def test_a_block_that_nobody_runs_is_found(bad):
    with pytest.raises(AssertionError):
        for block in blocks_of(bad):
            check(block)


def test_followed_to_the_letter(lab, build, cache):
    operator = Operator(lab, build, cache)
    ran = []
    for block in RUN:
        # The tenant got its maker's root from the maker.
        roots = operator.home["tenant"] / "etc/limetree/tpm-roots"
        if roots.is_dir() and not any(roots.iterdir()):
            lab.write(str((roots / "maker.pem").relative_to(lab.dir)), operator.fed.hw.ca_bundle.read_bytes(), 0o644)
        operator.do(block)
        ran.append(block)
    assert ran == RUN
    shown = Block(0, "sh tenant until", ["limetree guest show GUEST-UUID --json >show.json",
                                         "grep -q '\"result\": *\"trusted\"' show.json"], 0)
    operator.type(shown)
    verdict = json.loads((lab.dir / "show.json").read_text())["verdict"]
    assert (verdict["result"], verdict["failed"]) == ("trusted", []), verdict
    assert (verdict["host_level"], len(verdict["passed"])) == ("appraised", 11), verdict
    # The table says all that was replaced, and nothing that was not.
    assert operator.used == {span for row in rows_of(TEXT) for span in row}
