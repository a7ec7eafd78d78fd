"""Which tasks are asked together in one turn, and what models' answers to one of them are worth there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.join import join
from toolrm_jax.toolcalls.types import Candidate, Task

PARTNERS_TRIED = 4
THIRD = 0.35  # share of joined tasks that take a third one
SAME_TOOLS = 0.5  # share of joins that look for a partner with the same tools first


class Partners:
    """Tasks with calls, from which partners are drawn."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.by_tools: dict[frozenset[str], list[Task]] = {}
        for task in tasks:
            self.by_tools.setdefault(_called(task), []).append(task)

    def join(self, task: Task, seed: int, changes: Counter[str]) -> tuple[Task, tuple[Task, ...]]:
        """The task joined with a seeded partner, some with a third, and its parts in order.

        Where all partners tried refuse, the task as it is. Every other time partners that call the same tools come
        first: calls to one tool side by side are what parallel calls mostly are, and the context hardly grows.
        """
        rng = seeded(seed, "join partner", task.id)
        near = self.by_tools[_called(task)] if rng.random() < SAME_TOOLS else []
        pools = [rng.sample(pool, min(PARTNERS_TRIED + 1, len(pool))) for pool in (near, self.tasks)]
        others = [other for pool in pools for other in pool if other.id != task.id]
        joined, second, left = _join_first(task, others[:PARTNERS_TRIED], changes)
        if second is None:
            return task, (task,)
        changes["tasks joined"] += 1
        if rng.random() >= THIRD:
            return joined, (task, second)
        three, third, _ = _join_first(joined, [other for other in left if other.id != second.id], changes)
        if third is None:
            return joined, (task, second)
        changes["third tasks joined"] += 1
        return three, (task, second, third)


def joined_answers(parts: Sequence[Task], real: Mapping[str, Sequence[Candidate]]) -> Sequence[Candidate]:
    """Models' answers to one part with the reference's calls for the others, so that the calls stand in their order.

    An answer of text makes no call for its part. What could not be parsed answers a part alone, and stays out.
    """
    if len(parts) == 1:
        return real.get(parts[0].id, ())
    found = []
    for part in parts:
        for answer in real.get(part.id, ()):
            if answer.fault is None:
                calls = (answer.calls if one is part else one.reference.calls for one in parts)
                found.append(Candidate(tuple(call for some in calls for call in some), "", answer.maker))
    return found


def _join_first(task: Task, others: Sequence[Task], changes: Counter[str]) -> tuple[Task, Task | None, Sequence[Task]]:
    """The task joined with the first that lets itself be joined, which one, and those not tried; else as it is."""
    for index, other in enumerate(others):
        try:
            joined = join(task, other)
        except DataError:
            changes["joins refused"] += 1
        else:
            return joined, other, others[index + 1 :]
    return task, None, ()


def _called(task: Task) -> frozenset[str]:
    return frozenset(call.name for call in task.reference.calls)
