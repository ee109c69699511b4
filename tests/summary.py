#!/usr/bin/python3
"""Counts what the JUnit files of ctest and pytest tell: the last line is 'N passed, N failed, N skipped'.

A unit test program holds many cmocka tests; its own report (which ctest keeps as output) is counted, so that
a test skipped inside a passing program is counted as skipped.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree


def cmocka(output):
    """(passed, failed, skipped) of one program's cmocka reports, or None if it printed none."""
    found = [sum(int(n) for n in re.findall(r"\[  %s *\] (\d+) test" % word, output))
             for word in ("PASSED", "FAILED", "SKIPPED")]
    return found if any(found) else None


def main(paths):
    totals = [0, 0, 0]
    reasons = []
    for path in paths:
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            name = "%s %s" % (case.get("classname") or "", case.get("name"))
            bad = case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"
            skipped = case.find("skipped") is not None
            inner = cmocka("".join(case.itertext())) if "ctest" in path else None
            if inner and not (bad and not inner[1]):
                totals = [a + b for a, b in zip(totals, inner)]
                skipped = inner[2] > 0
            else:
                totals[1 if bad else 2 if skipped else 0] += 1
            if skipped:
                reasons.append(name)
    for name in reasons:
        print("skipped in:", name)
    print("%d passed, %d failed, %d skipped" % tuple(totals))
    return 0 if totals[0] and not totals[1] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
