"""docs/sealing.md's tables against the tree: each attack has tests that exist, each rule of ours a mutation whose test is
named beside it, and every slug and reason is one that the programs say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS, MUTATIONS = ROOT / "tests", ROOT / "tests/mutations"
TEXT = (ROOT / "docs/sealing.md").read_text()


def section(number):
    return re.search(rf"^## {number}\. .*?(?=^## \d+\. |\Z)", TEXT, re.M | re.S)[0]


def rows(text):
    """The cells of each row of the tables in that text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for i, row in enumerate(cells) if not set(row[0]) <= set("-") and not
            (i + 1 < len(cells) and set(cells[i + 1][0]) == {"-"})]


ATTACKS = rows(section(9))


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def has(path, name):
    text = path.read_text()
    if path.suffix == ".py":
        return re.search(rf"^def {name}\(", text, re.M)
    # of cmocka, and run: defined, and in the table of tests
    return re.search(rf"^static void {name}\(void \*\*\w+\)", text, re.M) and re.search(
        rf"\b(?:cmocka_unit_test(?:_setup_teardown)?|CASE|TEST|T)\({name}\b", text)


def test_the_table_is_read():
    assert len(ATTACKS) > 40 and all(len(row) == 4 for row in ATTACKS)


@pytest.mark.parametrize("row", ATTACKS, ids=[re.sub(r"\W+", "-", row[0])[:60] for row in ATTACKS])
def test_attack(row):
    attack, tests, stops, ours = row
    assert words(tests), attack
    for test in words(tests):
        path, _, name = test.partition("::")
        assert (TESTS / path).is_file(), test
        assert has(TESTS / path, name), f"{test}: there is no such test"
    for mutation in words(ours):
        patch = MUTATIONS / f"{mutation}.patch"
        assert patch.is_file(), f"{attack}: {mutation}.patch is not there"
        tried = re.findall(r"^# test: (\S+)", patch.read_text(), re.M)
        assert {t.partition("::")[0] for t in tried} & {"tests/" + t.partition("::")[0] for t in words(tests)}, \
            f"{mutation} is tried with {tried}, none of which stands in the row of: {attack}"
    assert ours == "-" or words(ours)


def test_slugs_of_the_vault():
    said = set(re.findall(r'^ *X\(\w+, "([a-z-]+)"', (ROOT / "agent/seal.h").read_text(), re.M)) - {"open"}
    assert {words(row[0])[0] for row in rows(section(8))} == said


def test_reasons_of_check_8():
    code = (ROOT / "appraisal/checks/openers.c").read_text()
    said = set(re.findall(r'^ *\[\w+\] = "([a-z-]+)"', code, re.M)) | set(re.findall(r'"(openers-\w+)"', code))
    assert {words(row[0])[0] for row in rows(section(5))} == said


def test_words_of_check_seals():
    said = set(re.findall(r'^ *X\(\w+, "([a-z-]+)"', (ROOT / "agent/check_seals.h").read_text(), re.M))
    assert set(re.findall(r"\[`([a-z-]+)`", section(7))) == said


def test_commits_of_a_change():
    order = re.search(r"^change: (.*)", (TESTS / "model/order.txt").read_text(), re.M)[1].split()
    assert [row[0].split()[0] for row in rows(section(3))] == order
