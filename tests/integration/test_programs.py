"""Every program says what it is, and what README and docs tell a reader to type exists."""

import os
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("LT_BUILD", TOP / "build/dev")) / "bin"
DAEMONS = ["limetree-agent", "limetree-provider", "limetree-tenant"]
PROGRAMS = ["limetree", "limetree-localca", *DAEMONS]
COMMANDS = ["verify", "guest", "host", "domain", "pki", "ek"]
SCRIPTS = ["setup", "demo", "test"]
PAGES = ["README.md", "docs/operations.md"]


def run(*argv):
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL,
                          env={"PATH": "/usr/bin:/bin"}, check=False)


def helps(*argv):
    done = run(*argv, "--help")
    assert (done.returncode, done.stderr) == (0, ""), argv
    assert argv[0].name in done.stdout, argv
    return done.stdout


def test_there_is_no_program_that_this_test_does_not_know():
    assert sorted(PROGRAMS) == sorted(p.name for p in BIN.iterdir() if p.is_file() and p.name.startswith("limetree"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_and_version(name):
    helps(BIN / name)
    version = re.search(r"VERSION (\d+\.\d+\.\d+)", (TOP / "CMakeLists.txt").read_text()).group(1)
    done = run(BIN / name, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {version}\n", "")
    wrong = run(BIN / name, "--no-such-option")
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_commands(name):
    assert f"\n  {name} " in helps(BIN / "limetree")
    helps(BIN / "limetree", name)
    wrong = run(BIN / "limetree", name, "--no-such-option")
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_of_scripts(name):
    helps(TOP / "scripts" / name)
    assert run(TOP / "scripts" / name, "--no-such-option").returncode == 2


def blocks(page, kind):
    """(words behind the kind, text) of the fenced blocks of that kind."""
    parts = re.split(r"^ *```(.*)\n", (TOP / page).read_text(), flags=re.M)   # text, info, text, "", text ...
    found = [(parts[i].split()[1:], parts[i + 1]) for i in range(1, len(parts) - 1, 4) if parts[i].split()[:1] == [kind]]
    assert found, page
    return found


def words_of_commands(page):
    """[program, word...] for each command of ours in a page's shell blocks."""
    for _, text in blocks(page, "sh"):
        for command in re.split(r"\n|&&", re.sub(r"\s#.*", "", text)):
            words = re.sub(r"[\[\]]|>.*", " ", command).split()
            if words and re.match(r"(build/\w+/bin/)?limetree|scripts/", words[0]):
                yield words


@pytest.mark.parametrize("page", PAGES)
def test_what_the_pages_tell_to_type(page):
    for words in words_of_commands(page):
        first = words[0].rpartition("/")[2]
        argv = [TOP / words[0] if words[0].startswith("scripts/") else BIN / first]
        if first == "limetree":
            argv.append(words[1])
        text = helps(*argv)
        if first == "limetree" and words[1] in ("guest", "host", "domain", "pki"):
            assert re.search(rf"\b{words[2]}\b", text), words
        for option in (w for w in words if w.startswith("--")):
            assert re.search(rf"{option}\b", text), words


def test_the_configurations_in_operations_have_known_keys():
    seen = set()
    for words, text in blocks("docs/operations.md", "conf"):
        name = re.search(r"/etc/limetree/(agent|provider|tenant)\.conf$", words[-1])
        if not name:
            continue
        seen.add(name.group(1))
        known = helps(BIN / f"limetree-{name.group(1)}")
        for key in re.findall(r"^\s*(\w+) =", text, re.M):
            assert re.search(rf"^\s+{key}\b", known, re.M), (name.group(0), key)
    assert seen == {"agent", "provider", "tenant"}
