"""Files that tests read: tests/vectors is the project's own; third-party data is not part of the source."""

import os
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]


def pytest_configure(config):
    config.addinivalue_line("markers", "third_party: wants third-party data (the fixture of that name)")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """scripts/test --third-party runs these alone: -m third_party."""
    for item in items:
        if "third_party" in getattr(item, "fixturenames", ()):
            item.add_marker("third_party")


@pytest.fixture(scope="session")
def vectors():
    return TOP / "tests/vectors"


@pytest.fixture(scope="session")
def third_party():
    """third_party("hpe/…"): where it lies ($LT_SHARED_DATA, else ../shared/data), or the test is skipped."""
    root = Path(os.environ.get("LT_SHARED_DATA") or TOP.parent / "shared/data")

    def find(name):
        if not (root / name).exists():
            pytest.skip(f"third-party data {name} is not at hand (set LT_SHARED_DATA)")
        return root / name

    return find
