#!/usr/bin/python3
"""Counts what the JUnit files of ctest and pytest tell: the last line is 'N passed, N failed, N skipped'.

A unit test program holds many cmocka tests; its own report (which ctest keeps as output) is counted, so that
a test skipped inside a passing program is counted as skipped.
"""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree


def cmocka(output):
    """(passed, failed, skipped) of one program's cmocka reports, or None if it printed none."""
    found = [sum(int(n) for n in re.findall(r"\[  %s *\] (\d+) test" % word, output))
             for word in ("PASSED", "FAILED", "SKIPPED")]
    return found if any(found) else None


def reason(case):
    """Why a test was skipped: pytest says it in the report, a cmocka program prints it ("skipped: ...")."""
    node = case.find("skipped")
    printed = "; ".join(re.findall(r"(?im)^skipped: (.*)", "".join(case.itertext())))
    return printed or (node is not None and node.get("message")) or "no reason given"


def count(path):
    """[passed, failed, skipped] of one file; tells of each skipped test."""
    counts = [0, 0, 0]
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"
        skipped = case.find("skipped") is not None
        inner = cmocka("".join(case.itertext())) if "ctest" in path else None
        if inner and not (bad and not inner[1]):
            counts = [a + b for a, b in zip(counts, inner)]
            skipped = inner[2] > 0
        else:
            counts[1 if bad else 2 if skipped else 0] += 1
        if skipped:
            print("skipped: %s: %s" % (case.get("name"), reason(case)))
    return counts


def main(paths):
    kinds = {}
    for path in paths:      # KIND-ctest.xml, KIND-pytest.xml
        kind = os.path.basename(path).partition("-")[0]
        kinds[kind] = [a + b for a, b in zip(kinds.get(kind, [0, 0, 0]), count(path))]
    for kind, counts in kinds.items():
        print("%-12s%5d passed, %d failed, %d skipped" % (kind, *counts))
    totals = [sum(column) for column in zip(*kinds.values())] or [0, 0, 0]
    print("%d passed, %d failed, %d skipped" % tuple(totals))
    return 0 if totals[0] and not totals[1] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
