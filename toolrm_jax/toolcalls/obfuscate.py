"""Random names for tools and parameters, so that a model cannot go by names it has seen (method.md, 2.2 and 4.20).

One map per sample covers tools and parameters alike: the same name is the same random string wherever it stands, in
schemas, in the calls and tool results of the conversation, in the reference and in every candidate, and in text that
mentions it by name (obfuscate_text.py says when). Left alone are all values and ordinary words, also where a name
looks the same: what a user says and what is to be passed on must stay alike. So an identifier that is a value too
(in an enumeration or an argument) is renamed only where it stands as a name. The keys of nested objects are part of a
parameter's value and stay.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.obfuscate_schema import parameter_names, rewrite, told, values
from toolrm_jax.toolcalls.obfuscate_text import is_identifier, replace_mentions
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Message, Reference, Task, Tool

LENGTHS = (6, 12)

_LIKE_NEW = re.compile(rf"(?<!\w)[a-z]{{{LENGTHS[0]},{LENGTHS[1]}}}(?!\w)")


@dataclasses.dataclass(frozen=True, slots=True)
class Renaming:
    """The map of one sample.

    known: the names of the task itself. values: identifiers among them that are values as well. words: words of the
    sample's texts that could pass for a new name, which none may be. described: how many of the names still stand in a
    description or message, as whole words. epoch: of training; each has another map.
    """

    names: Mapping[str, str]
    seed: int
    record: str
    known: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    described: int = 0
    epoch: int = 0

    def apply(self, calls: Sequence[Call]) -> tuple[Call, ...]:
        """The calls under the new names. A name the sample does not have gets its own random string, always the same.

        Argument order and values are kept.
        """
        return tuple(_rename(call, self.new) for call in calls)

    def invert(self, calls: Sequence[Call]) -> tuple[Call, ...]:
        """The calls under the original names. Strings that stand for none of the map's names are left as they are:
        a random string does not say which unknown name it was (`with_names_of` puts it into the map)."""
        return tuple(_rename(call, self._old) for call in calls)

    def apply_text(self, text: str) -> str:
        """The text with the task's names replaced where it mentions them. Unknown names stay as they are."""
        return replace_mentions(text, self.known, self.values, self.names.__getitem__, set())

    def apply_reason(self, reason: str) -> str:
        """A verdict's line under the new names: it opens with a tool's name, or quotes what it names."""
        quoted = re.sub(r'"([^"]*)"', lambda found: f'"{self.names.get(found[1], found[1])}"', reason)
        head, colon, rest = quoted.partition(": ")
        return self.apply_text(self.names.get(head, head) + colon + rest)

    def invert_text(self, text: str) -> str:
        """The inverse of `apply_text`: exact for texts of the sample, whose words are no new names."""
        original = {new: old for old, new in self.names.items()}
        return _LIKE_NEW.sub(lambda found: original.get(found[0], found[0]), text)

    def apply_candidate(self, candidate: Candidate) -> Candidate:
        """An answer under the new names, its words and its unparsed text too."""
        return self._candidate(candidate, self.apply, self.apply_text)

    def invert_candidate(self, candidate: Candidate) -> Candidate:
        """The inverse of `apply_candidate`, up to unknown names."""
        return self._candidate(candidate, self.invert, self.invert_text)

    def invert_task(self, task: Task) -> Task:
        """The task that was obfuscated. Keys of schemas stay in their random order, which equality does not see."""
        return _renamed_task(task, self._old, self.invert_text, None)

    def with_names_of(self, calls: Sequence[Call]) -> Renaming:
        """The same map, and in it every unknown name of these calls with its random string."""
        grown = self
        for name in (name for call in calls for name in (call.name, *call.arguments)):
            if name not in grown.names:
                grown = dataclasses.replace(grown, names={**grown.names, name: grown.new(name)})
        return grown

    def new(self, name: str) -> str:
        """The random string of a name, known or not."""
        if name in self.names:
            return self.names[name]
        generator = seeded(self.seed, f"obfuscate unknown name {name}", self.record, self.epoch)
        return _draw(generator, {*self.names, *self.names.values(), *self.words, name})

    def _old(self, name: str) -> str:
        return next((old for old, new in self.names.items() if new == name), name)

    def _candidate(self, candidate: Candidate, calls, text) -> Candidate:
        raw = candidate.raw if candidate.raw is None else text(candidate.raw)
        fault = candidate.fault if candidate.fault is None else text(candidate.fault)
        return dataclasses.replace(
            candidate, calls=calls(candidate.calls), text=text(candidate.text), raw=raw, fault=fault
        )


def obfuscate(task: Task, seed: int, candidates: Sequence[Candidate] = (), epoch: int = 0) -> tuple[Task, Renaming]:
    """The task under random names (6–12 lower-case letters), with the keys of its tools' schemas shuffled.

    Depends on seed, epoch and task alone, but for names that would be words of a candidate. Raises DataError for
    schemas whose parameters cannot be renamed for sure: known by a pattern, or by a `$ref` to the whole schema.
    """
    generator = seeded(seed, "obfuscate", task.id, epoch)
    originals = list(dict.fromkeys(_names(task)))
    words = _facts(task.context.tools).words.union(*map(_like_new, _said(task, candidates)))
    taken = {*originals, *words}
    names: dict[str, str] = {}
    for name in originals:
        names[name] = _draw(generator, taken)
        taken.add(names[name])
    renaming = Renaming(names, seed, task.id, frozenset(originals), _also_values(originals, task), words)
    left: set[str] = set()

    def told(text: str) -> str:
        return replace_mentions(text, renaming.known, renaming.values, names.__getitem__, left)

    renamed = _renamed_task(task, names.__getitem__, told, generator)
    return renamed, dataclasses.replace(renaming, described=len(left), epoch=epoch)


def _renamed_task(task: Task, name: Any, text: Any, generator: random.Random | None) -> Task:
    tools = tuple(
        Tool(name(tool.name), text(tool.description), rewrite(tool.parameters, name, generator, text))
        for tool in task.context.tools
    )
    messages = tuple(_message(message, name, text) for message in task.context.messages)
    reference = task.reference and _reference(task.reference, name, text)
    stale = tuple(dataclasses.replace(one, parameter=name(one.parameter)) for one in task.stale)
    return dataclasses.replace(task, context=Context(tools, messages), reference=reference, stale=stale)


def _names(task: Task) -> Iterator[str]:
    """Every name to be replaced, in the order of the sample."""
    yield from _facts(task.context.tools).names
    calls = [call for message in task.context.messages for call in message.calls]
    if task.reference is not None:
        calls += task.reference.calls
        for accepted in task.reference.accepted:
            yield from accepted
    for call in calls:
        yield call.name
        yield from call.arguments
    for message in task.context.messages:
        if message.name is not None:
            yield message.name
    for stale in task.stale:
        yield stale.parameter


@functools.lru_cache(maxsize=4096)  # the turns of a dialogue have their messages in common
def _like_new(text: str) -> frozenset[str]:
    return frozenset(_LIKE_NEW.findall(text))


def _said(task: Task, candidates: Sequence[Candidate]) -> Iterator[str]:
    """Every text beside the tools' in which a name may be mentioned."""
    for message in task.context.messages:
        yield message.content
    if task.reference is not None and task.reference.text:
        yield task.reference.text
    for candidate in candidates:
        yield from (text for text in (candidate.text, candidate.raw, candidate.fault) if text)


@dataclasses.dataclass(frozen=True, slots=True)
class _Facts:
    """What is the same for every task with these tools: their names, words like new names, and values as JSON."""

    tools: tuple[Tool, ...]
    names: tuple[str, ...]
    words: frozenset[str]
    values: str


_KEPT: dict[int, _Facts] = {}
_MOST = 256


def _facts(tools: tuple[Tool, ...]) -> _Facts:
    """Remembered by identity (the tools are kept, so that it stays theirs): the turns of a dialogue share their tools.

    Raises DataError for schemas that cannot be renamed.
    """
    found = _KEPT.get(id(tools))
    if found is None:
        names = [name for tool in tools for name in (tool.name, *parameter_names(tool))]
        texts = [text for tool in tools for text in (tool.description, *told(tool.parameters))]
        held = [value for tool in tools for value in values(tool.parameters)]
        words = frozenset(_LIKE_NEW.findall("\n".join(texts)))
        found = _Facts(tools, tuple(dict.fromkeys(names)), words, json.dumps(held, ensure_ascii=False))
        if len(_KEPT) >= _MOST:
            _KEPT.clear()
        _KEPT[id(tools)] = found
    return found


def _also_values(names: Sequence[str], task: Task) -> frozenset[str]:
    """The identifiers among the names that stand in a value, alone or inside a string."""
    suspects = [name for name in names if is_identifier(name)]
    if not suspects:
        return frozenset()
    calls = [call for message in task.context.messages for call in message.calls]
    reference = task.reference or Reference()
    held = [list(call.arguments.values()) for call in (*calls, *reference.calls)]
    held += [list(accepted.values()) for accepted in reference.accepted]
    text = _facts(task.context.tools).values + json.dumps(held, ensure_ascii=False)
    return frozenset(name for name in suspects if name in text)


def _draw(generator: random.Random, taken: set[str]) -> str:
    while True:
        name = "".join(generator.choices(string.ascii_lowercase, k=generator.randint(*LENGTHS)))
        if name not in taken:
            return name


def _rename(call: Call, new: Any) -> Call:
    return Call(new(call.name), {new(name): value for name, value in call.arguments.items()})


def _message(message: Message, name: Any, text: Any) -> Message:
    calls = tuple(_rename(call, name) for call in message.calls)
    return Message(message.role, text(message.content), calls, message.name and name(message.name))


def _reference(reference: Reference, name: Any, text: Any) -> Reference:
    return dataclasses.replace(
        reference,
        calls=tuple(_rename(call, name) for call in reference.calls),
        text=reference.text and text(reference.text),
        accepted=tuple({name(key): some for key, some in one.items()} for one in reference.accepted),
    )
