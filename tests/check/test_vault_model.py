"""The bounded model of the vault (tests/model/): with the order in tests/model/order.txt and all rules there is no attack
and no loss; each rule or step taken out lets one in, so the search can find what it looks for. The vectors beside the
C tests are what their generator computes."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.model import vault_model as model  # noqa: E402

ORDER = model.read_order()


def changed(name, change):
    return dict(ORDER, **{name: change(list(ORDER[name]))})


def without(name, step):
    return changed(name, lambda steps: [s for s in steps if s != step])


def before(name, step, other):
    """step is done just before other."""
    def move(steps):
        steps.remove(step)
        steps.insert(steps.index(other), step)
        return steps
    return changed(name, move)


@pytest.mark.parametrize("first", [model.MADE, model.OPEN], ids=["from a new vault", "from one with a bad state"])
def test_no_attack(first):
    why, path, worlds = model.search(ORDER, first=first)
    assert (why, path) == (None, []) and worlds > 30000


def test_no_loss():
    assert model.losses(ORDER) is None


@pytest.mark.parametrize("rules, why", [(model.Rules(limit=False), "reopened"), (model.Rules(listed=False), "hidden")],
                         ids=["without PolicyNV", "lists not held against the key"])
def test_a_rule_taken_out(rules, why):
    assert model.search(ORDER, rules, first=model.OPEN)[0] == why


@pytest.mark.parametrize("step", ["burn", "grow"])
def test_a_commit_of_a_change_taken_out(step):
    why, path, _ = model.search(without("change", step))
    assert why == "hidden"
    assert any(p.startswith("boot B with") for p in path)
    assert model.search(without("change", step), first=model.OPEN)[0] == "reopened"


def test_closed_by_the_wrap():
    """What docs/sealing.md's first draft did: a file that calls a state closed lives beside one of its generation whose key
    answers there."""
    why, path, _ = model.search(model.closing_wrap(ORDER), first=model.OPEN)
    assert why == "reopened" and path[-1].startswith("boot B with")


def test_wrap_before_grow():
    assert model.search(changed("change", lambda s: ["burn", "wrap", "grow"]))[0] == "hidden"


@pytest.mark.parametrize("order", [without("commit", "fsync-next"), before("commit", "increment", "write-next"),
                                   before("commit", "increment", "fsync-next"), before("commit", "rename", "increment"),
                                   changed("commit", lambda s: [x for i, x in enumerate(s) if x != "fsync-dir" or i == len(s) - 1]),
                                   without("open", "rename")],
                         ids=["file not synced", "increment before write", "increment before sync", "rename before increment",
                              "directory not synced", "opened without rename"])
def test_a_step_of_a_commit_taken_out(order):
    assert model.losses(order), "a power cut loses nothing with this order: the step, or the model, is of no use"


def test_a_table_it_does_not_know():
    for text in ("commit: pray\nopen: load\nchange: burn", "commit: km\nopen: load", ""):
        with pytest.raises(ValueError):
            model.read_order(text)


def test_vectors_are_their_generators():
    done = subprocess.run([sys.executable, "-B", ROOT / "tests/vectors/sealing/make.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "tests/vectors/sealing/vectors.json is not what make.py computes"
