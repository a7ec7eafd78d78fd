"""Two questions asked in one turn: a task whose right answer makes the calls of both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.matching import accepted_values
from toolrm_jax.toolcalls.types import Context, Message, Reference, Stale, Task, Tool

CATEGORY = "joined"

_FORMS = (
    "{0}\nAlso, {1}", "{0}\n{1}", "{0} {1}", "1. {0}\n2. {1}", "{0}\n\n{1}", "{0} And then: {1}", "{0} Also: {1}",
    "First: {0}\nSecond: {1}", "Two things. {0} {1}", "{0}\nBesides that, {1}", "- {0}\n- {1}", "{0} After that, {1}",
    "I have two requests.\n{0}\n{1}", "{0}\nOne more thing: {1}", "{0} In addition, {1}",
)  # fmt: skip
_STARTERS = frozenset(
    (
        *("can", "could", "what", "find", "please", "how", "is", "are", "get", "calculate", "what's", "who", "where"),
        *("when", "show", "tell", "give", "help", "book", "search", "list", "set", "play", "which", "provide", "would"),
    )
)


def join(first: Task, second: Task) -> Task:
    """Both tasks' questions in one user message, their tools united, their references' calls one after the other.

    Each must have calls in its reference and one user message; a system message may stand before it in one of
    them, or be the same in both. The wording and the order of the tools are drawn by the ids.
    Raises DataError where the tasks cannot be joined, as when both offer a tool of one name with different schemas.
    """
    name = f"{first.id}+{second.id}"
    questions = [_question(task, name) for task in (first, second)]
    systems = {
        message.content for task in (first, second) for message in task.context.messages if message.role == "system"
    }
    if len(systems) > 1:
        raise DataError(f"join {name}: the system messages differ; join tasks with the same one")
    rng = seeded(0, "join", name)
    tools = list(_united(first, second, name))
    rng.shuffle(tools)
    form = rng.choice(_FORMS)
    if re.search(r"[,:] \{1\}", form) and not form.startswith("First"):
        questions[1] = _running_on(questions[1])
    if not form.startswith(("1.", "-")) and "{0}\n" not in form and questions[0][-1].isalnum():
        questions[0] += "."
    messages = [*(Message("system", text) for text in systems), Message("user", form.format(*questions))]
    licences = dict.fromkeys(part for task in (first, second) for part in task.licence.split(" and "))
    sources = dict.fromkeys((first.source, second.source))
    return Task(
        id=name,
        source="+".join(sources),
        category=CATEGORY,
        licence=" and ".join(licences),
        context=Context(tuple(tools), tuple(messages)),
        reference=_both(first.reference, second.reference, name),
        stale=(*first.stale, *_later(second.stale, len(first.reference.calls))),
    )


def _question(task: Task, name: str) -> str:
    if task.reference is None or not task.reference.calls:
        raise DataError(f"join {name}: {task.id} has no calls in its reference; join tasks that need one")
    roles = [message.role for message in task.context.messages if message.role != "system"]
    if roles != ["user"] or [message.role for message in task.context.messages].count("system") > 1:
        raise DataError(f"join {name}: {task.id} is not a single user message; join single-turn tasks")
    text = next(message.content for message in task.context.messages if message.role == "user").strip()
    if not text:
        raise DataError(f"join {name}: {task.id} has an empty question; join others")
    return text


def _running_on(question: str) -> str:
    """The question without its capital, where its first word is no name."""
    first, space, rest = question.partition(" ")
    return first.lower() + space + rest if first.lower() in _STARTERS else question


def _united(first: Task, second: Task, name: str) -> tuple[Tool, ...]:
    tools = {tool.name: tool for tool in first.context.tools}
    for tool in second.context.tools:
        if tools.setdefault(tool.name, tool) != tool:
            raise DataError(f"join {name}: both offer a tool {tool.name!r}, with different schemas; join other tasks")
    return tuple(tools.values())


def _later(stale: Sequence[Stale], places: int) -> Iterator[Stale]:
    """The marks for calls that stand so many places later."""
    return (Stale(one.call + places, one.parameter, one.value) for one in stale)


def _both(first: Reference, second: Reference, name: str) -> Reference:
    accepted = ()
    if first.accepted or second.accepted:
        for part in (first, second):
            if not part.accepted and any("" in call.arguments.values() for call in part.calls):
                raise DataError(f"join {name}: an empty string that must be given cannot stand beside accepted values")
        accepted = tuple(accepted_values(part, i) for part in (first, second) for i in range(len(part.calls)))
    return Reference(first.calls + second.calls, None, accepted, first.ordered or second.ordered)
