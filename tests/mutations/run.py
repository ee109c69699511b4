#!/usr/bin/python3
"""Takes one rule at a time out of a copy of the tree, and sees that the rule's test notices.

A tests/mutations/NAME.patch is a small unified diff (-p1); lines before it name its tests, and may say what is lost:

    # what an attacker gains without the rule
    # test: tests/unit/vtpm/seal/test_key.c
    # test: tests/e2e/test_sealing.py -k planted

A C file is a test program (its target is named by its path); anything else is pytest's. `# build: TARGET...` names what
a pytest needs where the programs are not enough. Each test must pass without the patch, and fail with it: a build that
breaks, a test that is skipped, finds nothing or does not end proves nothing, and is an error."""

import argparse
import filecmp
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PROGRAMS = [f"{room}/all" for room in ("agent", "cli", "provider", "tenant", "vtpm", "tests/support")]
PASSED, FAILED, TIMEOUT, NOTHING = "passed", "failed", "did not end", "made no test"


class Trouble(RuntimeError):
    """A mutation that says nothing, and why."""


class Test:
    """One `# test:` line."""

    def __init__(self, line):
        self.line = line
        self.path, *self.args = shlex.split(line)

    @property
    def program(self):
        """The target of a C file (docs/testing.md), or None."""
        if not self.path.endswith(".c"):
            return None
        parts = Path(self.path).with_suffix("").parts
        if parts[:2] != ("tests", "unit"):
            return parts[-1]
        return "_".join(["test", *parts[2:-1], parts[-1].removeprefix("test_")])


class Mutation:
    def __init__(self, path):
        self.path, self.name = path, path.stem
        head = path.read_text().partition("\n--- ")[0]
        self.tests = [Test(line) for line in re.findall(r"^# test: (.+)$", head, re.M)]
        self.build = " ".join(re.findall(r"^# build: (.+)$", head, re.M)).split()
        if not self.tests:
            raise Trouble(f"{path.name}: no `# test: ...` before the diff")

    def targets(self):
        named = [t.program for t in self.tests if t.program]
        return named + (self.build or PROGRAMS) if len(named) < len(self.tests) else named


class Copy:
    """The files of the source that git knows, below `top`, with a build of its own that is kept from run to run."""

    def __init__(self, source, top, preset="dev", deadline=None):
        self.source, self.top, self.preset = source, top, preset
        self.build_dir = top / "build" / preset
        self.deadline = deadline or time.monotonic() + 86400

    def refresh(self):
        """A file that did not change keeps its time, so that only the others are built again."""
        names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=self.source,
                               capture_output=True, check=True, text=True).stdout.split("\0")
        wanted = {n for n in names if n and (self.source / n).is_file()}
        for name in wanted:
            here, there = self.source / name, self.top / name
            if not there.exists() or not filecmp.cmp(here, there, shallow=False):
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, there)
        for path in list(self.top.rglob("*")):
            name = path.relative_to(self.top)
            if name.parts[0] not in ("build", ".cache") and path.is_file() and str(name) not in wanted:
                path.unlink()
        cache = self.top / ".cache"         # of the guests' kernel
        if not cache.exists() and (self.source / ".cache").is_dir():
            cache.symlink_to(self.source / ".cache")

    def run(self, argv, timeout=3600, **kwargs):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Trouble("the time is up")
        proc = subprocess.Popen([str(a) for a in argv], cwd=self.top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, **kwargs)
        try:
            out, _ = proc.communicate(timeout=min(timeout, left))
        except subprocess.TimeoutExpired:
            proc.terminate()                # labs clean up behind themselves
            try:
                out, _ = proc.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                proc.kill()
                out, _ = proc.communicate()
            return None, out
        return proc.returncode, out

    def build(self, targets):
        if not (self.build_dir / "build.ninja").exists():
            status, out = self.run(["cmake", "--preset", self.preset])
            if status:
                raise Trouble(f"cmake: status {status}\n{tail(out)}")
        status, out = self.run(["cmake", "--build", "--preset", self.preset, "--target", *targets])
        if status:
            raise Trouble(f"the build breaks\n{tail(out)}")

    def patch(self, mutation, reverse=False):
        # Below a repository, git would look for the paths at its top.
        env = os.environ | {"GIT_CEILING_DIRECTORIES": str(self.top.parent)}
        status, out = self.run(["git", "apply", *(["-R"] if reverse else []), mutation.path], env=env)
        if status:
            raise Trouble(f"the patch does not apply\n{tail(out)}")

    def test(self, test, timeout):
        """(what came of it, the end of what it said). A test that fails leaves things behind; short, for sockets live
        below."""
        with tempfile.TemporaryDirectory(prefix="m", dir="/tmp", ignore_cleanup_errors=True) as tmp:
            os.chmod(tmp, 0o711)    # labs of root run as nobody
            return self.run_test(test, timeout, os.environ | {"TMPDIR": tmp})

    def run_test(self, test, timeout, env):
        if test.program:
            found = [p for p in self.build_dir.rglob(test.program) if p.is_file() and os.access(p, os.X_OK)]
            if len(found) != 1:
                raise Trouble(f"{test.line}: {len(found)} programs {test.program}")
            status, out = self.run([found[0], *test.args], timeout, env=env)
            return judge_cmocka(status, out), tail(out)
        junit = self.top / "build/junit.xml"
        junit.unlink(missing_ok=True)
        status, out = self.run(["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", "--junit-xml",
                                junit, test.path, *test.args], timeout, env=env | {"LT_BUILD": str(self.build_dir)})
        return judge_pytest(status, junit), tail(out)


def tail(text, lines=30):
    return "\n".join(text.splitlines()[-lines:])


def judge_cmocka(status, out):
    """Of a program's exit status and report: cmocka's status is how many failed, and a crash is not a failed test."""
    if status is None:
        return TIMEOUT
    counts = {word: sum(map(int, re.findall(rf"\[  {word} *\] (\d+) test", out))) for word in ("PASSED", "FAILED", "SKIPPED")}
    if status == 0 and counts["PASSED"] and not counts["SKIPPED"] and not counts["FAILED"]:
        return PASSED
    return FAILED if status > 0 and counts["FAILED"] else NOTHING


def judge_pytest(status, junit):
    """1: some failed. What breaks before a test begins is an error there, not a failure; a skipped test is none."""
    if status is None:
        return TIMEOUT
    if not junit.exists():
        return NOTHING
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    if status == 1 and any(c.find("failure") is not None for c in cases):
        return FAILED
    good = [c for c in cases if all(c.find(w) is None for w in ("failure", "error", "skipped"))]
    return PASSED if status == 0 and cases and len(good) == len(cases) else NOTHING


class Run:
    def __init__(self, copy, timeout, say=print):
        self.copy, self.timeout, self.say = copy, timeout, say
        self.cases = []     # (name, seconds, None or what is wrong)

    def case(self, name, function, *args):
        began = time.monotonic()
        try:
            function(*args)
            wrong = None
        except Trouble as trouble:
            wrong = str(trouble)
        seconds = time.monotonic() - began
        self.cases.append((name, seconds, wrong))
        self.say(f"{'ok    ' if wrong is None else 'WRONG '} {name} ({seconds:.1f} s)" + (f": {wrong}" if wrong else ""))
        return wrong is None

    def expect(self, test, wanted):
        came, said = self.copy.test(test, self.timeout)
        if came != wanted:
            raise Trouble(f"{test.line}: {came}, expected: {wanted}\n{said}")

    def without(self, test, targets):
        self.copy.build(targets)
        self.expect(test, PASSED)

    def mutated(self, mutation):
        self.copy.patch(mutation)
        try:
            self.copy.build(mutation.targets())
            for test in mutation.tests:
                self.expect(test, FAILED)
        finally:
            self.copy.patch(mutation, reverse=True)

    def all(self, mutations):
        good = {}
        for mutation in mutations:
            for test in mutation.tests:
                if test.line not in good:
                    good[test.line] = self.case(f"without: {test.line}", self.without, test, mutation.targets())
        for mutation in mutations:
            if all(good[t.line] for t in mutation.tests):
                self.case(mutation.name, self.mutated, mutation)
        return all(wrong is None for _, _, wrong in self.cases)

    def junit(self, path):
        suite = ElementTree.Element("testsuite", name="mutations")
        for name, seconds, wrong in self.cases:
            case = ElementTree.SubElement(suite, "testcase", classname="mutations", name=name, time=f"{seconds:.1f}")
            if wrong is not None:
                ElementTree.SubElement(case, "failure", message=wrong.splitlines()[0]).text = wrong
        ElementTree.ElementTree(suite).write(path, encoding="unicode")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("name", nargs="*", help="mutations to try (default: all)")
    p.add_argument("--limit", type=float, default=3600, metavar="S", help="for all of them (default 3600)")
    p.add_argument("--timeout", type=float, default=600, metavar="S", help="of one test (default 600)")
    p.add_argument("--junit-xml", type=Path)
    a = p.parse_args()
    try:
        mutations = [Mutation(path) for path in sorted(Path(__file__).parent.glob("*.patch"))]
    except Trouble as trouble:
        sys.exit(f"mutations: {trouble}")
    unknown = set(a.name) - {m.name for m in mutations}
    if unknown:
        p.error(f"no such mutation: {', '.join(sorted(unknown))}")
    mutations = [m for m in mutations if not a.name or m.name in a.name]
    copy = Copy(TOP, TOP / "build/mutations/tree", deadline=time.monotonic() + a.limit)
    copy.refresh()
    run = Run(copy, a.timeout, say=lambda text: print(text, flush=True))
    good = run.all(mutations)
    print(f"{sum(w is None for _, _, w in run.cases)} of {len(run.cases)} as they should be; {len(mutations)} mutations")
    if a.junit_xml:
        run.junit(a.junit_xml)
    sys.exit(0 if good and mutations else 1)


if __name__ == "__main__":
    main()
