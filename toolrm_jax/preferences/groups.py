"""From tasks to groups: right answers, made mistakes and real candidates of a task, each with its verdict."""

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.preferences.cut_off import whole_answers
from toolrm_jax.preferences.partners import Partners, joined_answers
from toolrm_jax.preferences.split import in_order
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.equality import candidate_key
from toolrm_jax.toolcalls.mistakes import REFERENCE_FIRST, make_mistakes, right_variants
from toolrm_jax.toolcalls.render import render_hermes
from toolrm_jax.toolcalls.types import Candidate, Context, Group, Task, Tool, Verdict

NO_REFERENCE = "no reference"
NO_RIGHT = "no right candidate"
NO_WRONG = "no wrong candidate"
TOO_LONG = "too long"
FAULTY = "faulty task"
RIGHT_POOL = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How a group is put together.

    right, mistakes: right answers (at most) and rule-made wrong ones.
    real_right, real_wrong: at most so many real candidates of each verdict, unlike makers and error types first.
    joined: share of the tasks with calls that stand joined with another such one, so that call counts can be learned.
    max_tools: tools a context may offer; the reference's always stay.
    neighbours: other tasks whose tools may lend their names and values to mistakes.
    max_characters: of a group's text (tools, messages, answers). A longer one loses answers, down to one right and
    one wrong; what is too long even so is left out. None: no limit.
    """

    right: int = 1
    mistakes: int = 3
    real_right: int = 1
    real_wrong: int = 3
    joined: float = 0.4
    max_tools: int = 8
    neighbours: int = 3
    max_characters: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            low = 1 if field.name in ("right", "max_tools", "max_characters") else 0
            value = getattr(self, field.name)
            if value is not None and value < low:
                raise ConfigError(f"{field.name}={value}: give at least {low}")
        if self.joined > 1:
            raise ConfigError(f"joined={self.joined}: is a share; give 0 to 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """The groups, why tasks gave none (`drops`), and how often a task or candidate was altered (`changes`)."""

    groups: tuple[Group, ...]
    drops: dict[str, int]
    changes: dict[str, int]


def make_groups(
    tasks: Iterable[Task],
    recipe: Recipe,
    seed: int,
    real: Mapping[str, Sequence[Candidate]] | None = None,
    strict: bool = False,
    epoch: int = 0,
) -> Made:
    """One group for each task that has a right and a wrong candidate, in the order of task ids.

    `real` holds models' answers by task id; in a joined task they stand among the right calls of its other parts.
    Every choice is seeded by the task's id, so order of arrival changes nothing; that of answers also by the `epoch` of
    training they are for, while joins and tools on offer are the same in every epoch. With `strict`, a fault in one
    task is a DataError, otherwise a counted drop. The difficulty filter is method.md section 4, item 11, with made
    candidates counted like sampled ones.
    """
    real = real or {}
    ordered = in_order(tasks)
    referenced = [task for task in ordered if task.reference is not None]
    calling = [task for task in referenced if task.reference.calls]
    partners = Partners(calling)
    drops = Counter({NO_REFERENCE: len(ordered) - len(referenced)})
    changes: Counter[str] = Counter()
    groups = []
    for task in referenced:
        answers = real.get(task.id, ())
        try:
            if task.reference.calls and seeded(seed, "join", task.id).random() < recipe.joined:
                task, parts = partners.join(task, seed, changes)
                answers = joined_answers(parts, real)
            task = _trim(task, answers, recipe, seed, changes)
            neighbours = _neighbours(task, referenced, recipe.neighbours, seed, epoch)
            members = _members(task, answers, neighbours, recipe, seed, changes, epoch)
        except DataError:
            if strict:
                raise
            drops[FAULTY] += 1
            continue
        verdicts = {verdict.right for _, verdict in members}
        if verdicts != {True, False}:
            drops[NO_WRONG if True in verdicts else NO_RIGHT] += 1
        elif kept := _within(task, members, recipe.max_characters):
            changes["answers left out for length"] += len(members) - len(kept)
            groups.append(Group(task, *zip(*kept), epoch=epoch))
        else:
            drops[TOO_LONG] += 1
    return Made(tuple(groups), dict(+drops), dict(+changes))


def trim_tools(task: Task, max_tools: int, seed: int, keep: Collection[str] = ()) -> Task:
    """The task with at most `max_tools` tools on offer, in their order; those needed stay even if they are more.

    Needed are the tools that the reference or a message calls. Of the others, those named in `keep` stay first,
    then a seeded draw.
    """
    tools = task.context.tools
    if len(tools) <= max_tools:
        return task
    needed = {call.name for call in task.reference.calls} if task.reference else set()
    needed |= {call.name for message in task.context.messages for call in message.calls}
    others = [index for index, tool in enumerate(tools) if tool.name not in needed]
    seeded(seed, "trim tools", task.id).shuffle(others)
    others.sort(key=lambda index: tools[index].name not in keep)
    dropped = set(others[max(0, max_tools - (len(tools) - len(others))) :])
    if not dropped:
        return task
    kept = tuple(tool for index, tool in enumerate(tools) if index not in dropped)
    return dataclasses.replace(task, context=Context(kept, task.context.messages))


def _trim(task: Task, answers: Sequence[Candidate], recipe: Recipe, seed: int, changes: Counter[str]) -> Task:
    trimmed = trim_tools(task, recipe.max_tools, seed, {call.name for answer in answers for call in answer.calls})
    changes["contexts trimmed"] += trimmed is not task
    return trimmed


def _neighbours(task: Task, tasks: Sequence[Task], count: int, seed: int, epoch: int) -> tuple[Tool, ...]:
    """The tools of a few other tasks, each name once, none of them on offer here."""
    drawn = seeded(seed, "neighbours", task.id, epoch).sample(tasks, min(count, len(tasks)))
    found = {tool.name: tool for other in drawn for tool in other.context.tools}
    return tuple(tool for name, tool in found.items() if task.context.tool(name) is None)


def _right(task: Task, count: int, seed: int, epoch: int) -> list[Candidate]:
    """Up to `count` seeded right answers, unlike by `candidate_key`."""
    pool = right_variants(task, seed, max(count, RIGHT_POOL))
    rng = seeded(seed, "right candidates", task.id, epoch)
    drawn = rng.sample(pool, len(pool))
    if task.reference.calls and rng.random() < REFERENCE_FIRST:
        drawn.sort(key=lambda candidate: candidate.maker != "reference")
    unlike: dict[Hashable, Candidate] = {}
    for candidate in drawn:
        unlike.setdefault(candidate_key(candidate), candidate)
    return list(unlike.values())[:count]


def _members(
    task: Task,
    answers: Sequence[Candidate],
    neighbours: Sequence[Tool],
    recipe: Recipe,
    seed: int,
    changes: Counter[str],
    epoch: int,
) -> list[tuple[Candidate, Verdict]]:
    """The group's candidates with their verdicts: right variants, real answers, mistakes; equal ones once."""
    seen: set[Hashable] = set()

    def judged(candidates: Iterable[Candidate]) -> list[tuple[Candidate, Verdict]]:
        found = []
        for candidate in candidates:
            try:
                key = candidate_key(candidate)
            except DataError:
                changes["candidates nested too deep"] += 1
                continue
            if key in seen:
                changes["candidates merged"] += 1
                continue
            seen.add(key)
            found.append((candidate, judge(task, candidate)))
        return found

    right = judged(_right(task, recipe.right, seed, epoch))
    real = judged(sorted(whole_answers(answers, changes), key=lambda answer: json.dumps(answer.to_json())))
    mistakes = judged(make_mistakes(task, seed, recipe.mistakes, epoch=epoch, neighbours=neighbours))
    # A candidate whose maker and whose judge disagree has a label nobody can trust.
    doubtful = [member for member in right if not member[1].right] + [member for member in mistakes if member[1].right]
    changes["doubtful candidates"] += len(doubtful)
    rng = seeded(seed, "real candidates", task.id, epoch)
    order = rng.sample(real, len(real))
    return [
        *(member for member in right if member[1].right),
        *unlike([member for member in order if member[1].right], recipe.real_right),
        *unlike([member for member in order if not member[1].right], recipe.real_wrong),
        *(member for member in mistakes if not member[1].right),
    ]


def _within(task: Task, members: list[tuple[Candidate, Verdict]], limit: int | None) -> list[tuple[Candidate, Verdict]]:
    """The members that fit, a right and a wrong one first, then the others in their order; none if not these two."""
    if limit is None:
        return members
    first = {verdict.right: index for index, (_, verdict) in reversed(list(enumerate(members)))}
    order = sorted(range(len(members)), key=lambda index: (index not in first.values(), index))
    room = limit - len(json.dumps(task.context.to_json(), ensure_ascii=False))
    kept = []
    for rank, index in enumerate(order):
        candidate = members[index][0]
        room -= len(candidate.raw or render_hermes(candidate.calls, candidate.text))
        if room < 0:
            if rank < 2:
                return []
            break
        kept.append(index)
    return [members[index] for index in sorted(kept)]


def unlike(members: Sequence[tuple[Candidate, Verdict]], count: int) -> list[tuple[Candidate, Verdict]]:
    """Up to `count` of the members: each next one is the first that repeats the fewest makers and error types."""
    left = list(members)
    chosen: list[tuple[Candidate, Verdict]] = []
    while left and len(chosen) < count:
        makers = Counter(candidate.maker for candidate, _ in chosen)
        kinds = Counter(verdict.error_type for _, verdict in chosen)
        best = min(left, key=lambda member: makers[member[0].maker] + kinds[member[1].error_type])
        left.remove(best)
        chosen.append(best)
    return chosen
