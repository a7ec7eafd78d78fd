"""Which tasks may stand on which side: no function and no question is on both.

Two tasks hang together when their references call the same function, or when the user's words are the same.
A function is its name, case-folded, with dots and underscores alike (`Weather.get` is `weather_get`), since
sources write one function either way. Tools that are only on offer do not count. The user's words are all user
messages, case-folded, with runs of white space as one.
"""

from collections.abc import Hashable, Iterable
from itertools import pairwise

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import Task


def function_key(name: str) -> str:
    """The identity of a function: see the head of this module."""
    return name.casefold().replace(".", "_")


def links(task: Task) -> frozenset[Hashable]:
    """What ties a task to others: its reference's functions and its question."""
    calls = task.reference.calls if task.reference else ()
    found: set[Hashable] = {("function", function_key(call.name)) for call in calls}
    words = " ".join(m.content for m in task.context.messages if m.role == "user").casefold().split()
    if words:
        found.add(("question", " ".join(words)))
    return frozenset(found)


def components(tasks: Iterable[Task]) -> list[list[Task]]:
    """The tasks by connected component, both levels in the order of task ids. DataError if an id comes twice."""
    ordered = in_order(tasks)
    parent = list(range(len(ordered)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[Hashable, int] = {}
    for index, task in enumerate(ordered):
        for link in links(task):
            parent[root(index)] = root(first_with.setdefault(link, index))
    found: dict[int, list[Task]] = {}
    for index, task in enumerate(ordered):
        found.setdefault(root(index), []).append(task)
    return list(found.values())


def split(tasks: Iterable[Task], held_out_share: float, seed: int) -> tuple[list[Task], list[Task]]:
    """(train, held out), each in the order of ids: whole components only, the same whatever the order of arrival.

    Components are taken in a seeded order as long as they fit into `held_out_share` of the tasks, so the held-out
    side has at most that share, and a component larger than it always trains.
    """
    if not 0 <= held_out_share < 1:
        raise ConfigError(f"held_out_share={held_out_share}: give a share from 0 up to, but less than, 1")
    parts = components(tasks)
    room = round(held_out_share * sum(map(len, parts)))
    train: list[Task] = []
    held_out: list[Task] = []
    for part in sorted(parts, key=lambda part: seeded(seed, "split", part[0].id).random()):
        fits = len(held_out) + len(part) <= room
        (held_out if fits else train).extend(part)
    return in_order(train), in_order(held_out)


def without_overlap(train: Iterable[Task], test: Iterable[Task]) -> tuple[list[Task], list[Task]]:
    """(kept, dropped) of `train`: dropped is each task that shares a reference function or the question with `test`.

    The link must be direct: a kept task may hang together with a dropped one, since what it shares with that one
    is not on the test side.
    """
    tested = set().union(*map(links, test))
    kept: list[Task] = []
    dropped: list[Task] = []
    for task in train:
        (dropped if links(task) & tested else kept).append(task)
    return kept, dropped


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """The tasks in the order of their ids. DataError if an id comes twice."""
    ordered = sorted(tasks, key=lambda task: task.id)
    for before, after in pairwise(ordered):
        if before.id == after.id:
            raise DataError(f"task id {after.id!r} comes twice (source {after.source}); ids must be distinct")
    return ordered
