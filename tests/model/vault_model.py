#!/usr/bin/python3 -B
"""Searches every interleaving of the vault's operations with power cuts, replayed and forged files and strangers'
increments (docs/sealing.md section 3), for two things that must not be:

  attack   the owner of B, a platform state that the tenant would not accept, has the vTPM's key, and a running host agent
           shows a list without B ("hidden"); or has it only after such an agent showed B as closed ("reopened")
  loss     a power cut alone, without an attacker, leaves no file whose generation is the counter's

The order of operations is not written here: it is read from order.txt beside this file, as the agent's tests read it. What
is a rule and no order (the key dies with the counter; lists that hide a state of the key are not taken) is in Rules.

usage: vault_model.py [GENERATIONS]    each rule and step taken out in turn, and the shortest attack that this allows"""
import itertools
import pathlib
import sys
import time
from collections import deque, namedtuple

ORDER = pathlib.Path(__file__).with_name("order.txt")
STEPS = {"commit": {"index-name", "counter-read", "key-new", "km", "encrypt", "write-next", "fsync-next", "fsync-dir", "increment",
                    "counter-check", "rename"},
         "open": {"hmac-probe", "index-name", "counter-read", "choose", "check-file", "load", "session", "km", "decrypt",
                  "check-entries", "rename", "fsync-dir"},
         "change": {"burn", "grow", "wrap", "close"}}


def read_order(text=None):
    """{"commit": [step…], "open": […], "change": […]}; a step that the model does not know is an error, not a comment."""
    order = {}
    for line in (ORDER.read_text() if text is None else text).splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, _, steps = line.partition(":")
            order[name] = steps.split()
    if set(order) != set(STEPS):
        raise ValueError(f"operations {sorted(order)}, not {sorted(STEPS)}")
    for name, steps in order.items():
        if not set(steps) <= STEPS[name]:
            raise ValueError(f"{name}: unknown steps {sorted(set(steps) - STEPS[name])}")
    return order


# ---- attacks

# limit: PolicyNV, the key answers only while counter <= generation. listed: an entry is taken only if each state that the
# file's key answers in is an open one of its list.
Rules = namedtuple("Rules", "limit listed", defaults=(True, True))
Content = namedtuple("Content", "key lists closed")  # states the key answers in; ever listed; closed where entered last
File = namedtuple("File", "generation content")
# agent: None, or what it shows, that content's generation, the contents still to be committed, the commit's next step
Agent = namedtuple("Agent", "shown generation queue step", defaults=((), 0))
World = namedtuple("World", "counter files agent leaked said_closed")
GOOD, BAD, OTHER = "A", "B", "X"


def plan(order, shown, add, drop):
    """vtpm/seal/change.c: the contents of one change of openers, in the order of the table."""
    key, lists, closed = shown
    after = key - drop | add
    steps = {"burn": shown, "grow": Content(key, lists | after, closed - after),
             "wrap": Content(after, lists | after, closed - after),
             "close": Content(after, lists | after, (lists | after) - after)}
    out = [steps[name] for name in order["change"]]
    return tuple(out[:-1] if out[-1] == out[-2] else out)


def taken(rules, content):
    return not rules.listed or content.key <= content.lists - content.closed


def agent_moves(order, world, top):
    agent = world.agent
    yield "power cut", world._replace(agent=None)
    if not agent.queue:
        for add, drop in ((set(), set()), ({BAD}, set()), ({OTHER}, set()), (set(), {BAD}), ({OTHER}, {BAD}), ({BAD}, {OTHER})):
            if not add & agent.shown.key and drop <= agent.shown.key:
                yield (f"operator: add {'+'.join(add) or '-'}, drop {'+'.join(drop) or '-'}",
                       world._replace(agent=agent._replace(queue=plan(order, agent.shown, frozenset(add), frozenset(drop)))))
        return
    if agent.step == len(order["commit"]):
        yield "the commit stands", world._replace(agent=Agent(agent.queue[0], agent.generation + 1, agent.queue[1:]))
        return
    step = order["commit"][agent.step]
    next_step = agent._replace(step=agent.step + 1)
    if step == "counter-read" and world.counter != agent.generation:
        yield f"{step} fails", world._replace(agent=None)
    elif step == "write-next":
        file = File(agent.generation + 1, agent.queue[0])
        yield f"{step} {show(file)}", world._replace(files=world.files | {file}, agent=next_step)
    elif step == "increment":
        if world.counter < top:
            yield step, world._replace(counter=world.counter + 1, agent=next_step)
    elif step == "counter-check" and world.counter != agent.generation + 1:
        yield f"{step} fails", world._replace(agent=None)
    else:  # of no meaning to an attacker, who has every file from the moment it is written
        yield step, world._replace(agent=next_step)


def attacker_moves(rules, world, top):
    alive = lambda file: not rules.limit or world.counter <= file.generation
    if world.counter < top:
        yield "a stranger increments", world._replace(counter=world.counter + 1)
    for file in world.files:
        if world.agent is None and file.generation == world.counter and GOOD in file.content.key and taken(rules, file.content):
            yield f"the agent starts in {GOOD} on {show(file)}", world._replace(agent=Agent(file.content, file.generation))
        if not world.leaked and BAD in file.content.key and alive(file):
            yield f"boot {BAD} with {show(file)}: the key is known (counter {world.counter})", world._replace(agent=None, leaked=True)
    if world.leaked and world.agent is None:  # who has K_v seals it anew, for a key that answers in B as well, with any list
        for lists in (frozenset(GOOD), frozenset(GOOD + BAD)):
            file = File(world.counter, Content(frozenset(GOOD + BAD), lists, frozenset()))
            if file not in world.files:
                yield f"forge {show(file)}", world._replace(files=world.files | {file})


def show(file):
    c = file.content
    return (f"generation {file.generation}, key {''.join(sorted(c.key))}, list {''.join(sorted(c.lists))}"
            + (f", closed {''.join(sorted(c.closed))}" if c.closed else ""))


def forget(rules, world):
    """Files that can neither be started on nor give the key any more: fewer worlds, the same attacks."""
    return world._replace(files=frozenset(
        f for f in world.files if f.generation >= world.counter or (not rules.limit and BAD in f.content.key and not world.leaked)))


def closing_wrap(order):
    """The order in which the wrap itself says that what it drops is closed."""
    return dict(order, change=["close" if s == "wrap" else s for s in order["change"] if s != "close"])


def quiet(order):
    """Without the steps that no attacker can tell from their neighbours."""
    return dict(order, commit=[s for s in order["commit"] if s in ("counter-read", "write-next", "increment", "counter-check")])


# Where a search begins: the vault as it was made, or after B was added, which is four generations later in the life of one.
MADE, OPEN = Content(frozenset(GOOD), frozenset(GOOD), frozenset()), Content(frozenset(GOOD + BAD), frozenset(GOOD + BAD), frozenset())


def search(order, rules=Rules(), top=6, first=MADE):
    """(what it is, or None; the way there; worlds seen)"""
    order = quiet(order)
    start = World(1, frozenset([File(1, first)]), None, False, False)
    seen, todo = {start: None}, deque([start])
    while todo:
        world = todo.popleft()
        moves = attacker_moves(rules, world, top)
        if world.agent:
            moves = itertools.chain(agent_moves(order, world, top), moves)
        for name, new in moves:
            if new.agent and BAD in new.agent.shown.lists:
                new = new._replace(said_closed=BAD in new.agent.shown.closed)
            why = ("hidden" if new.leaked and new.agent and BAD not in new.agent.shown.lists else
                   "reopened" if new.leaked and not world.leaked and new.said_closed else None)
            if why:  # of the step, not of the world: that may have been reached without it
                return why, way(seen, world) + [name], len(seen)
            new = forget(rules, new)
            if new not in seen:
                seen[new] = (world, name)
                todo.append(new)
    return None, [], len(seen)


def way(seen, world):
    path = []
    while seen[world]:
        world, name = seen[world]
        path.append(name)
    return path[::-1]


# ---- losses

# files: what a directory holds now, name -> number of a file; durable: the same after a power cut, unless pending (a tuple of
# later directories, of which a power cut leaves any, in order) says more; content: number -> (generation, synced)
Disk = namedtuple("Disk", "files durable pending content")


def put(mapping, **new):
    out = dict(mapping)
    for name, value in new.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = value
    return tuple(sorted(out.items()))


def disk_step(disk, step, generation):
    files, content = dict(disk.files), dict(disk.content)
    if step == "write-next":  # in place where the file is there already: its old bytes are gone
        number = files.get("vault.next", max(content) + 1)
        content[number] = (generation, False)
        new = put(files, **{"vault.next": number})
        return Disk(new, disk.durable, disk.pending + (() if "vault.next" in files else (new,)), tuple(sorted(content.items())))
    if step == "fsync-next":
        content[files["vault.next"]] = (content[files["vault.next"]][0], True)
        return disk._replace(content=tuple(sorted(content.items())))
    if step == "rename":
        new = put(files, vault=files["vault.next"], **{"vault.next": None})
        return disk._replace(files=new, pending=disk.pending + (new,))
    if step == "fsync-dir":
        return disk._replace(durable=disk.files, pending=())
    return disk


def power_cuts(disk):
    """Every disk that is found afterwards."""
    for directory in (disk.durable, *disk.pending):
        unsynced = [n for n, (_, synced) in disk.content if not synced]
        for kept in itertools.product((True, False), repeat=len(unsynced)):
            lost = {n for n, k in zip(unsynced, kept) if not k}
            content = tuple((n, (None if n in lost else g, True)) for n, (g, _) in disk.content
                            if n in dict(directory).values())
            yield Disk(directory, directory, (), content)


def chosen(disk, counter):
    files, content = dict(disk.files), dict(disk.content)
    for name in ("vault.next", "vault"):
        if name in files and content[files[name]][0] == counter:
            return name
    return None


def losses(order, top=5):
    """The steps that led to a disk without the counter's file, or None."""
    start = (1, Disk((("vault", 0),), (("vault", 0),), (), ((0, (1, True)),)))
    seen, todo = {start: []}, deque([start])
    while todo:
        counter, disk = todo.popleft()
        path = seen[counter, disk]
        name = chosen(disk, counter)
        if not name:
            return path
        settle = [s for s in order["open"] if name == "vault.next" and s in ("rename", "fsync-dir")]
        for steps in (settle, settle + order["commit"] if counter < top else settle):
            now, at, done = disk, counter, []
            for step in steps:
                now = disk_step(now, step, counter + 1)
                at += step == "increment"
                done.append(step)
                for after in power_cuts(now):
                    if (at, after) not in seen:
                        seen[at, after] = path + [" ".join(done) + ", power cut"]
                        todo.append((at, after))
    return None


def main():
    top = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    order = read_order()
    without = lambda step: dict(order, change=[s for s in order["change"] if s != step])
    for what, o, rules in (("all rules", order, Rules()), ("no burn", without("burn"), Rules()),
                           ("no grow", without("grow"), Rules()), ("no close", closing_wrap(order), Rules()),
                           ("no PolicyNV", order, Rules(limit=False)),
                           ("lists not held against the key", order, Rules(listed=False))):
        for name, first in (("made", MADE), ("B open", OPEN)):
            begun = time.monotonic()
            why, path, worlds = search(o, rules, top, first)
            print(f"{what}, from {name}: {why or 'no attack'} ({worlds} worlds, {time.monotonic() - begun:.1f} s)")
            for step in path:
                print("    ", step)
    print("losses by power cuts:", losses(order) or "none")


if __name__ == "__main__":
    main()
