"""scripts/check sees what it promises to see: offences of every rule, planted in a copy of the tree, each named with
file and line. And the tree itself has none but the known ones."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def check(tree, *rules):
    return subprocess.run(["scripts/check", *rules], cwd=tree, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """What git knows of, in a repository of its own."""
    tree = tmp_path_factory.mktemp("house") / "tree"
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        if os.path.exists(ROOT / name):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tree, check=True)
    return tree


def add(tree, name, text):
    """Appends; the line on which the text begins."""
    path = tree / name
    old = path.read_text() if path.exists() else ""
    path.write_text(old + text)
    return old.count("\n") + 1


def planted(tree):
    """Each offence on a line that is known: (rule, file, line)."""
    function = "int lt_check_planted(int a)\n{\n    return a;\n}\n"
    long = "int lt_check_long(int a)\n{\n" + "    a++;\n" * 61 + "    return a;\n}\n"
    out = [
        ("format", "merkle/merkle.c", add(tree, "merkle/merkle.c", "static   int  ugly ;\n")),
        ("one-name", "residency/proof.c", (add(tree, "merkle/planted.c", function),
                                           add(tree, "residency/proof.c", function) + 1)[1]),
        ("prefix", "merkle/merkle.h", add(tree, "merkle/merkle.h", "int lt_elsewhere(int a);\n")),
        ("prefix", "tpm/der.h", add(tree, "tpm/der.h", "enum lt_der_planted {\n    LT_NOWHERE\n};\n") + 1),
        ("limits", "tpm/attest.h", add(tree, "tpm/attest.h", "#define LT_MAX_PLANTED 1\n")),
        ("banned", "common/ids.c", add(tree, "common/ids.c", "static char *lt_plant(char *a, char *b)\n{\n"
                                       "    return strcat(a, b);\n}\n") + 2),
        ("headers", "merkle/alone.h", add(tree, "merkle/alone.h", "lt_no_such_type lt_merkle_alone(int a);\n")),
        ("rooms", "merkle/rooms.c", add(tree, "merkle/rooms.c", '#include "verifier/registrar.h"\n')),
        ("rooms", "tpm/CMakeLists.txt", (add(tree, "tpm/CMakeLists.txt",
                                             "target_link_libraries(lt_tpm PUBLIC lt_merkle)\n"), 1)[1]),
        ("cycles", "residency/ring_a.h", (add(tree, "residency/ring_b.h", '#include "residency/ring_a.h"\n'),
                                          add(tree, "residency/ring_a.h", '#include "residency/ring_b.h"\n'))[1]),
        ("size", "tpm/der.c", add(tree, "tpm/der.c", long) + 1),
        ("size", "tpm/planted.h", add(tree, "tpm/planted.h", "/* " + "x" * 110 + " */\n")),
        ("comments", "tpm/attest.c", add(tree, "tpm/attest.c", "/* As tpm/planted_nowhere.c has it. */\n")),
        ("comments", "docs/testing.md", add(tree, "docs/testing.md", "See `planted_nowhere.h`.\n")),
        ("docs", "docs/api.md", add(tree, "docs/api.md", "word " * 30 + "\n")),
    ]
    subprocess.run(["git", "add", "-A"], cwd=tree, check=True)
    return out


def test_the_hook_looks_at_the_index(copy):
    """What is staged counts: mended in the working tree alone is not mended, spoilt there alone is not spoilt."""
    hook = copy / ".git/hooks/pre-commit"
    hook.symlink_to("../../scripts/check")
    file = copy / "tpm/der.c"
    good = file.read_text()
    run = lambda *args: subprocess.run(args, cwd=copy, capture_output=True, text=True, timeout=300)
    bad = good + "static   int  ugly ;\n"
    try:
        file.write_text(bad)
        assert check(copy, "format").returncode == 1
        assert check(copy, "--staged", "format").returncode == 0
        run("git", "add", "tpm/der.c")
        file.write_text(good)
        assert check(copy, "format").returncode == 0
        named = check(copy, "--staged", "format")
        assert named.returncode == 1 and "tpm/der.c:" in named.stdout
        commit = run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x")
        assert commit.returncode == 1 and "tpm/der.c:" in commit.stdout + commit.stderr
    finally:
        file.write_text(good)
        run("git", "add", "tpm/der.c")
        hook.unlink()


def test_the_tree_keeps_its_rules():
    run = check(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


def test_planted_offences_are_named(copy):
    wanted = planted(copy)
    run = check(copy)
    assert run.returncode == 1, run.stdout + run.stderr
    found = {(rule, file, int(line)) for file, line, rule in re.findall(r"^(\S+?):(\d+): ([\w-]+): ", run.stdout, re.M)}
    assert not [w for w in wanted if w not in found], run.stdout


def test_every_rule_is_tried(copy):
    rules = subprocess.run(["scripts/check", "--rules"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    source = pathlib.Path(__file__).read_text()
    for line in rules.splitlines():
        assert f'("{line.split()[0]}", ' in source, line


def test_the_list_of_known_ones_only_shrinks(copy):
    known = copy / "scripts/check.known"
    known.write_text(known.read_text() + "banned\tmerkle/merkle.c\tgets\n" if known.exists() else
                     "banned\tmerkle/merkle.c\tgets\n")
    run = check(copy, "banned")
    assert run.returncode == 1 and "take 1 of this out: banned\tmerkle/merkle.c\tgets" in run.stdout
