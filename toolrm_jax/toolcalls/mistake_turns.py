"""Mistakes that only a conversation has room for: what was true earlier, and the right act at the wrong time.

Each kind starts from the reference and what stands before it; each candidate is wrong by `judge`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.compare import error_of
from toolrm_jax.toolcalls.conversation import Conversation, read_conversation
from toolrm_jax.toolcalls.equality import equal, multiset
from toolrm_jax.toolcalls.made_values import made_value
from toolrm_jax.toolcalls.types import Call, Candidate, Message, Task, Tool

STALE_VALUE = "stale value"
OTHER_TURN = "call for another turn"
CALL_TOO_SOON = "call instead of asking"
ASK_AGAIN = "asking instead of calling"
OUT_OF_ORDER = "call out of order"
DUPLICATE = "duplicate call"

_ASKING = (
    "Could you tell me the {0}?", "What {0} would you like?", "And the {0}?", "Which {0} should I use?",
    "Before I go on, what is the {0}?", "Sure. Please give me the {0} first.", "Shall I go ahead with {1} as {0}?",
    "Just to be sure: {1} for the {0}, is that right?",
)  # fmt: skip
_ANYTHING = ("Is there anything else I can do for you?", "All done! Anything else?", "Okay. What else do you need?")
_TRIES = 3  # per kind, before it is taken to have no place in the task


def make_turn_mistakes(
    task: Task, seed: int, count: int, kinds: Sequence[str] | None = None, epoch: int = 0
) -> tuple[Candidate, ...]:
    """Up to `count` distinct wrong candidates, of as many kinds as fit, drawn by (seed, task id, epoch).

    `kinds` in order of preference; None: a seeded order. A stale value is one that the source marks as taken back,
    otherwise one of the conversation's earlier calls. `maker` is `rule:<kind>`.
    Raises DataError without a reference.
    """
    if task.reference is None:
        raise DataError(f"task {task.id}: has no reference to make mistakes from; drop it or give it one")
    rng = seeded(seed, "mistakes of turns", task.id, epoch)
    order = list(KINDS) if kinds is None else list(kinds)
    if kinds is None:
        rng.shuffle(order)
    scene = _Scene(task)
    made: list[Candidate] = []
    seen = set()
    for kind in order:
        for _ in range(_TRIES):
            if len(made) == count:
                return tuple(made)
            candidate = KINDS[kind](rng, scene)
            if candidate is None:
                break
            key = multiset(candidate.calls)
            if key not in seen and error_of(task, candidate) is not None:
                seen.add(key)
                made.append(Candidate(candidate.calls, candidate.text, f"rule:{kind}"))
                break
    return tuple(made)


def has_turns(task: Task) -> bool:
    """Whether anything was said or called before the user's last words: else no mistake here has a place."""
    return any(message.role in ("assistant", "tool") for message in task.context.messages)


class _Scene:
    """What the kinds draw from."""

    def __init__(self, task: Task) -> None:
        self.tools: tuple[Tool, ...] = task.context.tools
        self.messages: tuple[Message, ...] = task.context.messages
        self.calls: tuple[Call, ...] = task.reference.calls
        self.ordered: bool = task.reference.ordered
        self.text: str = task.reference.text or ""
        self.earlier: tuple[Call, ...] = tuple(call for message in self.messages for call in message.calls)
        self.task = task
        self._said: Conversation | None = None

    @property
    def said(self) -> Conversation:
        """The user's words; read when first asked for."""
        if self._said is None:
            self._said = read_conversation(self.task.context)
        return self._said

    def known(self, name: str) -> Any:
        """The value last given for a parameter of that name, None if there was none."""
        return next((call.arguments[name] for call in reversed(self.earlier) if name in call.arguments), None)


def _stale_value(rng: random.Random, scene: _Scene) -> Candidate | None:
    """An argument as it was before the user changed their mind, or as another earlier call had it."""
    marked = [(stale.call, stale.parameter, stale.value) for stale in scene.task.stale]
    found = marked or list(_earlier_values(scene))
    if not found:
        return None
    i, name, old = rng.choice(found)
    call = scene.calls[i]
    return Candidate((*scene.calls[:i], Call(call.name, {**call.arguments, name: old}), *scene.calls[i + 1 :]))


def _earlier_values(scene: _Scene) -> Iterator[tuple[int, str, Any]]:
    for i, call in enumerate(scene.calls):
        for name, value in call.arguments.items():
            for earlier in scene.earlier:
                if name in earlier.arguments and not equal(earlier.arguments[name], value):
                    yield i, name, earlier.arguments[name]


def _other_turn(rng: random.Random, scene: _Scene) -> Candidate | None:
    """A call that was right at an earlier turn, made again instead of what is due now."""
    return Candidate((rng.choice(scene.earlier),)) if scene.earlier else None


def _call_too_soon(rng: random.Random, scene: _Scene) -> Candidate | None:
    """Where the assistant should speak: a call with what is known so far, the rest made up or left out."""
    if scene.calls or not scene.tools:
        return None
    return Candidate((_call_of(rng, scene, rng.choice(scene.tools)),))


def _call_of(rng: random.Random, scene: _Scene, tool: Tool) -> Call:
    arguments = {}
    for name, found in tool.properties.items():
        schema = found if isinstance(found, dict) else {}
        known = scene.known(name)
        if known is not None:
            arguments[name] = known
        elif name in tool.required and rng.random() < 0.8:
            arguments[name] = made_value(rng, name, schema, scene.said)
    return Call(tool.name, arguments)


def _ask_again(rng: random.Random, scene: _Scene) -> Candidate | None:
    """Where a call is due: a question about what is known already, or an offer of something else."""
    if not scene.calls:
        return None
    arguments = scene.calls[0].arguments
    if not arguments or rng.random() < 0.15:
        return Candidate(text=rng.choice(_ANYTHING))
    name = rng.choice(list(arguments))
    value = arguments[name]
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Candidate(text=rng.choice(_ASKING).format(name.replace("_", " ").strip(), shown))


def _out_of_order(rng: random.Random, scene: _Scene) -> Candidate | None:
    """Ordered calls in another order, or a step skipped: the call of a tool that is not due yet."""
    if not scene.calls:
        return None
    if scene.ordered and len(scene.calls) > 1:
        i = rng.randrange(len(scene.calls) - 1)
        return Candidate((*scene.calls[:i], scene.calls[i + 1], scene.calls[i], *scene.calls[i + 2 :]))
    made = {call.name for call in (*scene.earlier, *scene.calls)}
    due = {name for call in scene.calls for name in call.arguments}
    later = [tool for tool in scene.tools if tool.name not in made and due & set(tool.properties)]
    if not later:
        return None
    tool, values = rng.choice(later), {name: value for call in scene.calls for name, value in call.arguments.items()}
    call = _call_of(rng, scene, tool)
    shared = {name: values.get(name, value) for name, value in call.arguments.items()}
    return Candidate((Call(tool.name, shared | {name: values[name] for name in tool.properties if name in values}),))


def _duplicate(rng: random.Random, scene: _Scene) -> Candidate | None:
    """The right calls with one made twice, or with one that was made and answered before."""
    if not scene.calls:
        return None
    if scene.earlier and rng.random() < 0.5:
        return Candidate((scene.earlier[-1], *scene.calls))
    i = rng.randrange(len(scene.calls))
    return Candidate((*scene.calls[: i + 1], *scene.calls[i:]))


KINDS: dict[str, Callable[[random.Random, _Scene], Candidate | None]] = {
    STALE_VALUE: _stale_value,
    OTHER_TURN: _other_turn,
    CALL_TOO_SOON: _call_too_soon,
    ASK_AGAIN: _ask_again,
    OUT_OF_ORDER: _out_of_order,
    DUPLICATE: _duplicate,
}
"""The edit of each kind: a Candidate, or None where the task has no place for it."""
