"""Stock Keylime, as it is on PyPI: fetched once, pinned, into a venv under build/interop.

Where PyPI cannot be reached every test here is skipped, and says so. Its package names no dependencies and has no
templates of its configuration: requirements.txt beside this file has the first, the sdist the second.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP), str(TOP / "tests/integration")]

from tests.lab import Lab  # noqa: E402

VERSION = "7.14.3"
SDIST_SHA256 = "0e7085b7c8b6b0380ad5634c097d37c64695e2ac2d0362de386d84c0fea7eb62"
PLACE = TOP / "build/interop"
PYTHON = "/usr/bin/python3"     # Debian's: python3-gpg is for it
TRANSCRIPTS = PLACE / "transcripts"


class NotToBeHad(Exception):
    pass


def pip(*args):
    done = subprocess.run([PLACE / "venv/bin/pip", "--disable-pip-version-check", *map(str, args)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise NotToBeHad((done.stdout.strip().splitlines() or ["pip says nothing"])[-1])


def fetch():
    """The pinned sdist and what it imports; nothing if they are there already."""
    stamp, sdist = PLACE / f"keylime-{VERSION}.complete", PLACE / f"keylime-{VERSION}.tar.gz"
    wanted = hashlib.sha256(Path(__file__).with_name("requirements.txt").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(PLACE / "venv", ignore_errors=True)
    PLACE.mkdir(parents=True, exist_ok=True)
    subprocess.run([PYTHON, "-m", "venv", "--system-site-packages", PLACE / "venv"], check=True)
    pip("download", "--no-deps", "--no-binary", ":all:", "-d", PLACE, f"keylime=={VERSION}")
    got = hashlib.sha256(sdist.read_bytes()).hexdigest()
    assert got == SDIST_SHA256, f"{sdist} is {got}: not the one that is pinned"
    pip("install", "--no-deps", sdist)
    pip("install", "-r", Path(__file__).with_name("requirements.txt"))
    with tarfile.open(sdist) as tar:
        for member in tar.getmembers():
            path = Path(member.name)
            if member.isfile() and path.parts[1:2] == ("templates",):
                out = PLACE.joinpath(*path.parts[1:])
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_bytes(tar.extractfile(member).read())
    stamp.write_text(wanted)


class Stock:
    """Keylime's programs, for the lab's user; configuration by files of its own templates and by environment."""

    def __init__(self, site, templates):
        self.site, self.templates = site, templates

    def argv(self, program, *args):
        module = {"upgrade_config": "convert_config"}.get(program, program)
        code = f"import sys; sys.argv[0] = 'keylime_{program}'; from keylime.cmd.{module} import main; sys.exit(main())"
        return [PYTHON, "-B", "-c", code, *map(str, args)]

    def env(self, home=None, options=None):
        """options: {"verifier": {"port": 1, "revocations.zmq_ip": "…"}}"""
        env = {"PYTHONPATH": str(self.site)}
        if home:
            env |= {"KEYLIME_DIR": str(home)} | {
                f"KEYLIME_{c.upper()}_CONFIG": str(home / "conf" / f"{c}.conf")
                for c in ("verifier", "tenant", "registrar", "ca", "logging")}
        for component, values in (options or {}).items():
            for key, value in values.items():
                env[f"KEYLIME_{component.upper()}_{key.replace('.', '_').upper()}"] = str(value)
        return env

    def configure(self, lab, home):
        """The defaults of every component below home/conf."""
        conf = lab.path(*home.relative_to(lab.dir).parts, "conf", directory=True)
        lab.run(self.argv("upgrade_config", "--defaults", "--out", conf, "--templates", self.templates), env=self.env())


def readable(path, uid):
    return os.geteuid() != 0 or subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "test", "-r", path]).returncode == 0


@pytest.fixture(scope="session")
def stock():
    try:
        fetch()
    except NotToBeHad as why:
        pytest.skip(f"stock Keylime cannot be had from PyPI: {why}")
    site = next((PLACE / "venv/lib").glob("python3*/site-packages"))
    templates = PLACE / "templates"
    with tempfile.TemporaryDirectory(prefix="lt-keylime-") as copy:
        with Lab(prefix="lti") as lab:
            if not readable(site / "keylime/__init__.py", lab.uid):    # a checkout in /root
                os.chmod(copy, 0o755)
                site = shutil.copytree(site, Path(copy, "site"))
                templates = shutil.copytree(templates, Path(copy, "templates"))
        yield Stock(site, templates)


@pytest.fixture
def transcript(request):
    """transcript(name, text) keeps text below build/interop/transcripts."""
    place = TRANSCRIPTS / request.node.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)

    def keep(name, text):
        with open(place / name, "a", encoding="utf-8") as f:
            f.write(text)
    return keep


def free_port():
    """For programs that do not take port 0; the kernel does not hand it out again soon."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
