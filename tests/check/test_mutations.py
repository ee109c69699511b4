"""Each mutation names a test that is there and applies to the tree as it is; and the runner believes no mutation that
proves nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutations import run as mutations  # noqa: E402

PATCHES = sorted((ROOT / "tests/mutations").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=[p.stem for p in PATCHES])
def test_patch_of_the_tree(patch):
    mutation = mutations.Mutation(patch)
    for test in mutation.tests:
        assert (ROOT / test.path.partition("::")[0]).is_file(), test.line
    assert all(f.partition("/")[0] != "tests" for f in re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.M)), \
        "a mutation changes the product, not its tests"
    done = subprocess.run(["git", "apply", "--check", patch], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Tree(mutations.Copy):
    """No compiler: a build is a check that the file is good Python."""

    def build(self, targets):
        status, out = self.run([sys.executable, "-c", "compile(open('room/rule.py').read(), 'rule', 'exec')"])
        if status:
            raise mutations.Trouble(f"the build breaks\n{out}")


RULE = "def allowed(age):\n    if age < 0:\n        return False\n    return age < 10\n"
TEST = ("import os, sys\nsys.path.insert(0, os.getcwd())\nimport pytest\nfrom room.rule import allowed\n"
        "@pytest.fixture\ndef ready():\n    assert allowed(1) in (True, False)\n"
        "def test_old(ready):\n    assert not allowed(10)\n"
        "def test_young(ready):\n    assert allowed(1)\n"
        "def test_away():\n    pytest.skip('away')\n")


def diff(old, new):
    at = RULE.splitlines().index(old)
    lines = RULE.splitlines()
    before, after = lines[max(0, at - 1):at], lines[at + 1:at + 2]
    body = [" " + x for x in before] + ["-" + old] + ["+" + x for x in new.splitlines()] + [" " + x for x in after]
    count = len(before) + len(after)
    return (f"--- a/room/rule.py\n+++ b/room/rule.py\n@@ -{at + 1 - len(before)},{count + 1} "
            f"+{at + 1 - len(before)},{count + len(new.splitlines())} @@\n" + "\n".join(body) + "\n")


@pytest.fixture
def tried(tmp_path):
    source = tmp_path / "source"
    for name, text in (("room/rule.py", RULE), ("tests/test_rule.py", TEST)):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    subprocess.run(["git", "init", "-q", source], check=True)

    def one(test, old, new):
        path = tmp_path / "m.patch"
        path.write_text(f"# test: {test}\n{diff(old, new)}")
        copy = Tree(source, tmp_path / "copy")
        copy.refresh()
        run = mutations.Run(copy, 60, say=lambda text: None)
        good = run.all([mutations.Mutation(path)])
        run.junit(tmp_path / "junit.xml")
        assert (copy.top / "room/rule.py").read_text() == RULE
        return good, [wrong for _, _, wrong in run.cases]
    return one


def test_a_rule_that_is_missed(tried):
    assert tried("tests/test_rule.py -k old", "    return age < 10", "    return True") == (True, [None, None])


@pytest.mark.parametrize("test, old, new, why", [
    ("tests/test_rule.py -k young", "    return age < 10", "    return True", "passed, expected: failed"),
    ("tests/test_rule.py -k old", "    return age < 10", "    return (", "the build breaks"),
    ("tests/test_rule.py -k old", "    return age < 10", "    raise OSError", "made no test, expected: failed"),
    ("tests/test_rule.py -k away", "    return age < 10", "    return True", "made no test, expected: passed"),
    ("tests/test_rule.py -k nobody", "    return age < 10", "    return True", "made no test, expected: passed"),
])
def test_what_proves_nothing(tried, test, old, new, why):
    good, wrongs = tried(test, old, new)
    assert not good and any(why in w for w in wrongs if w), wrongs


def test_a_patch_that_does_not_apply(tried, monkeypatch):
    text = diff("    return age < 10", "    return True").replace("return age < 10", "return age < 11")
    monkeypatch.setitem(globals(), "diff", lambda old, new: text)
    good, wrongs = tried("tests/test_rule.py -k old", "", "")
    assert not good and "does not apply" in wrongs[1]


@pytest.mark.parametrize("status, out, came", [
    (0, "[  PASSED  ] 3 test(s).", mutations.PASSED), (1, "[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s)", mutations.FAILED),
    (-11, "[  PASSED  ] 0 test(s).", mutations.NOTHING), (0, "", mutations.NOTHING), (None, "", mutations.TIMEOUT),
    (0, "[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s)", mutations.NOTHING), (77, "cannot run", mutations.NOTHING),
])
def test_a_programs_word(status, out, came):
    assert mutations.judge_cmocka(status, out) == came


def test_targets_by_path():
    assert mutations.Test("tests/unit/vtpm/seal/test_key.c").program == "test_vtpm_seal_key"
    assert mutations.Test("tests/integration/test_provider.c").program == "test_provider"
    assert mutations.Test("tests/e2e/test_sealing.py -k 'a or b'").args == ["-k", "a or b"]
