"""Edits that make calls wrong, one function per kind of error: each takes the calls of a right answer.

An edit gives a Candidate, or None where it has nothing to work on. Whether the result is wrong, and of the kind
meant, is for the caller to judge.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolrm_jax.toolcalls.conversation import Conversation
from toolrm_jax.toolcalls.made_values import alike, described, listed, made_value, retyped, same_words
from toolrm_jax.toolcalls.matching import OMITTED, accepts
from toolrm_jax.toolcalls.mistake_names import other_name
from toolrm_jax.toolcalls.mistake_texts import broken_text, reply_without_call
from toolrm_jax.toolcalls.mistake_values import wrong_value
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Reference, Tool

# Parameters that models invent, with the value they give them.
_INVENTED = (
    ("units", "metric"), ("unit", "celsius"), ("language", "en"), ("limit", 10), ("format", "json"), ("verbose", True),
    ("include_details", True), ("precision", 2), ("page", 1), ("sort_by", "date"), ("timezone", "UTC"), ("year", 2024),
    ("country", "US"), ("currency", "USD"), ("max_results", 5), ("detailed", True), ("type", "all"), ("mode", "fast"),
)  # fmt: skip
_NOTHING = ("", "any", "all", "none", "dontcare", "n/a", "null", "not specified")


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """What a mistake is made from: the tools, the reference, the user's words, and other tasks' tools."""

    tools: Sequence[Tool]
    reference: Reference
    said: Conversation
    neighbours: Sequence[Tool]

    def tool(self, name: str) -> Tool:
        """The offered tool of that name, or one without parameters."""
        return next((tool for tool in self.tools if tool.name == name), Tool(name, "", {}))

    def schema(self, call: Call, parameter: str) -> dict[str, Any]:
        """The schema of a call's parameter, or an empty one."""
        found = self.tool(call.name).properties.get(parameter)
        return found if isinstance(found, dict) else {}


Edit = Callable[[random.Random, Scene, tuple[Call, ...]], Candidate | None]


def _with(calls: tuple[Call, ...], index: int, *new: Call) -> Candidate:
    return Candidate((*calls[:index], *new, *calls[index + 1 :]))


def _pick(rng: random.Random, calls: tuple[Call, ...], fit: Callable[[Call], Any] = lambda call: call.arguments):
    places = [i for i, call in enumerate(calls) if fit(call)]
    return rng.choice(places) if places else None


def _without(call: Call, name: str) -> Call:
    return Call(call.name, {key: value for key, value in call.arguments.items() if key != name})


def _renamed(call: Call, old: str, new: str) -> Call:
    return Call(call.name, {new if key == old else key: value for key, value in call.arguments.items()})


def wrong_value_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """One argument's value changed, two of like type swapped, or one given that should be left out."""
    how = rng.random()
    if how < 0.15 and (made := _needless_value(rng, scene, calls)):
        return made
    if (i := _pick(rng, calls)) is None:
        return _needless_value(rng, scene, calls)
    call = calls[i]
    names = list(call.arguments)
    name = rng.choice(names)
    value = call.arguments[name]
    if how < 0.27:
        like = [key for key in names if key != name and type(call.arguments[key]) is type(value)]
        like = [key for key in like if alike(call.arguments[key], value) and not isinstance(value, bool)]
        like = [key for key in like if not listed(scene.schema(call, key)) and not listed(scene.schema(call, name))]
        if like:
            other = rng.choice(like)
            return _with(calls, i, Call(call.name, {**call.arguments, name: call.arguments[other], other: value}))
    if len(calls) > 1 and how < 0.6:
        there = [other.arguments[name] for j, other in enumerate(calls) if j != i and name in other.arguments]
        if there := [found for found in there if not same_words(found, value)]:
            return _with(calls, i, Call(call.name, {**call.arguments, name: rng.choice(there)}))
    rivals = [found for key, found in call.arguments.items() if key != name and not listed(scene.schema(call, key))]
    new = wrong_value(rng, value, name, scene.schema(call, name), scene.said, rivals)
    return None if same_words(new, value) else _with(calls, i, Call(call.name, {**call.arguments, name: new}))


def _needless_value(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """A made-up value for a parameter that is known to the reference but may only be left out or at its default."""
    places = []
    for i, call in enumerate(calls):
        for k, accepted in enumerate(scene.reference.accepted):
            if accepts(scene.reference, k, call):
                places += [(i, key) for key, some in accepted.items() if OMITTED in some and key not in call.arguments]
                break
    if not places:
        return None
    i, name = rng.choice(places)
    value = made_value(rng, name, scene.schema(calls[i], name), scene.said)
    if _says_nothing(value, scene.schema(calls[i], name)):
        return None
    return _with(calls, i, Call(calls[i].name, {**calls[i].arguments, name: value}))


def _says_nothing(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value that nobody asked for changes nothing: false, a default, or "any". Wrong only to a pedant."""
    if value is False or value is None or value in ([], {}):
        return True
    return isinstance(value, str) and (value.casefold() in _NOTHING or value in described(schema))


def name_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """One call of another offered tool, of a neighbour's, or under a name that nobody offers."""
    if not calls:
        return None
    i = rng.randrange(len(calls))
    others = [tool for tool in scene.tools if tool.name != calls[i].name]
    if others and rng.random() < 0.6:
        return _with(calls, i, adapted(rng, _nearest(rng, others, calls[i]), calls[i], scene.said))
    strangers = [tool for tool in scene.neighbours if tool.name not in {tool.name for tool in scene.tools}]
    if strangers and rng.random() < (0.15 if others else 0.35):
        return _with(calls, i, adapted(rng, rng.choice(strangers), calls[i], scene.said))
    return _with(calls, i, Call(other_name(rng, calls[i].name, scene.said.text), calls[i].arguments))


def _nearest(rng: random.Random, tools: Sequence[Tool], call: Call) -> Tool:
    """A tool, more often one that shares parameters with the call."""
    shared = [1 + 2 * len(set(tool.properties) & set(call.arguments)) for tool in tools]
    return rng.choices(tools, shared)[0]


def adapted(rng: random.Random, tool: Tool, call: Call, said: Conversation) -> Call:
    """A call of `tool` with what fits of another call's arguments, its required parameters filled."""
    properties, required = tool.properties, tool.required
    left = {key: value for key, value in call.arguments.items() if key not in properties}
    arguments = {}
    for name, found in properties.items():
        schema = found if isinstance(found, dict) else {}
        if name in call.arguments:
            arguments[name] = call.arguments[name]
        elif name in required or rng.random() < 0.1:
            fit = [key for key, value in left.items() if _fits(value, schema)]
            arguments[name] = left.pop(fit[0]) if fit and rng.random() < 0.7 else made_value(rng, name, schema, said)
    return Call(tool.name, arguments)


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(schema.get("enum"), list):
        return value in schema["enum"]
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    kind = kinds.get(type(value))
    return schema.get("type") == kind or (kind == "integer" and schema.get("type") == "number")


def number_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """Calls left out as often as added: of several mostly dropped, to a single one mostly added, or none at all."""
    if not calls:
        return _calls_for_nothing(rng, scene)
    if len(calls) == 1:
        return _no_call(rng, scene, calls) if rng.random() < 0.4 else _added(rng, scene, calls)
    how = rng.random()
    if how < 0.40:
        dropped = rng.randrange(len(calls))
        return Candidate(calls[:dropped] + calls[dropped + 1 :])
    if how < 0.62:
        return Candidate(calls[:1])
    if how < 0.70:
        return Candidate(calls[1:])
    if how < 0.82 and (merged := _merged(rng, scene, calls)):
        return Candidate(merged)
    return _no_call(rng, scene, calls) if how < 0.86 else _added(rng, scene, calls)


def _no_call(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate:
    """A reply in words, or no answer at all, which real models give about as often."""
    return Candidate(text="" if rng.random() < 0.4 else reply_without_call(rng, scene.said, calls, scene.tools))


def _added(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate:
    """One call more: a list split in two, another tool's, the same with another value, or the same again."""
    i = rng.randrange(len(calls))
    call = calls[i]
    lists = [key for key, value in call.arguments.items() if isinstance(value, list) and len(value) > 1]
    if lists and rng.random() < 0.6:
        name = rng.choice(lists)
        value = call.arguments[name]
        halves = (value[:1], value[1:])
        return _with(calls, i, *(Call(call.name, {**call.arguments, name: half}) for half in halves))
    how = rng.random()
    others = [tool for tool in scene.tools if tool.name not in {call.name for call in calls}]
    if others and how < 0.5:
        extra = adapted(rng, _nearest(rng, others, call), call, scene.said)
    elif how < 0.9 and (changed := wrong_value_edit(rng, scene, (call,))):
        extra = changed.calls[0]
    else:
        extra = call
    place = len(calls) if rng.random() < 0.7 else i
    return Candidate((*calls[:place], extra, *calls[place:]))


def _merged(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> tuple[Call, ...] | None:
    """All calls of one tool made one, with what differs between them joined."""
    names = [call.name for call in calls]
    several = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if not several:
        return None
    name = rng.choice(several)
    same = [call for call in calls if call.name == name]
    arguments = dict(same[0].arguments)
    for key in arguments:
        values = [call.arguments[key] for call in same if key in call.arguments]
        if all(value == values[0] for value in values):
            continue
        if all(isinstance(value, list) for value in values):
            arguments[key] = [item for value in values for item in value]
        elif all(isinstance(value, str) for value in values) and rng.random() < 0.5:
            arguments[key] = rng.choice([", ", " and ", ","]).join(values)
        else:
            arguments[key] = values
    first = names.index(name)
    return tuple(
        Call(name, arguments) if i == first else call for i, call in enumerate(calls) if i == first or call.name != name
    )


def _calls_for_nothing(rng: random.Random, scene: Scene) -> Candidate | None:
    """Calls where none is right: of an offered tool, its parameters filled from the conversation."""
    if not scene.tools:
        return None
    count = 2 if rng.random() < 0.08 else 1
    return Candidate(tuple(adapted(rng, rng.choice(scene.tools), Call("", {}), scene.said) for _ in range(count)))


def missing_required_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """A required parameter left out, all of them, or one given under another name."""
    return _missing(rng, scene, calls, required=True)


def missing_optional_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """A parameter left out that the tool does not require but the answer needs."""
    return _missing(rng, scene, calls, required=False)


def _missing(rng: random.Random, scene: Scene, calls: tuple[Call, ...], required: bool) -> Candidate | None:
    def names(call: Call) -> list[str]:
        return [key for key in call.arguments if (key in scene.tool(call.name).required) == required]

    if (i := _pick(rng, calls, names)) is None:
        return None
    name = rng.choice(names(calls[i]))
    if required and rng.random() < 0.25:
        return _with(calls, i, Call(calls[i].name, {}))  # small models often name the tool and stop there
    if required and rng.random() < 0.45:
        spare = [key for key in scene.tool(calls[i].name).properties if key not in calls[i].arguments]
        new = rng.choice(spare) if spare and rng.random() < 0.4 else other_name(rng, name, scene.said.text)
        return _with(calls, i, _renamed(calls[i], name, new))
    call = _without(calls[i], name)
    if rng.random() < 0.4 and (kept := list(call.arguments)):
        # What was left out is often swallowed by another argument, which also keeps length from giving it away.
        strings = [key for key in kept if isinstance(call.arguments[key], str)]
        value = calls[i].arguments[name]
        if strings and isinstance(value, str | int | float) and not isinstance(value, bool):
            key = rng.choice(strings)
            call = Call(call.name, {**call.arguments, key: f"{call.arguments[key]}{rng.choice([' ', ', '])}{value}"})
    return _with(calls, i, call)


def unexpected_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """A parameter that the tool or the answer does not have: invented, of another tool, or an optional one renamed."""
    if not calls:
        return None
    i = rng.randrange(len(calls))
    call = calls[i]
    tool = scene.tool(call.name)
    optional = [key for key in call.arguments if key not in tool.required]
    if optional and rng.random() < 0.4:
        name = rng.choice(optional)
        return _with(calls, i, _renamed(call, name, other_name(rng, name, scene.said.text)))
    unused = [key for key in tool.properties if key not in call.arguments]
    foreign = [
        (key, some) for other in scene.tools if other.name != call.name for key, some in other.properties.items()
    ]
    foreign = [(key, some) for key, some in foreign if key not in tool.properties and isinstance(some, dict)]
    how = rng.random()
    if unused and how < 0.3:
        name = rng.choice(unused)
        value = made_value(rng, name, scene.schema(call, name), scene.said)
        if _says_nothing(value, scene.schema(call, name)):
            return None
    elif foreign and how < 0.65:
        name, schema = rng.choice(foreign)
        value = made_value(rng, name, schema, scene.said)
    else:
        name, value = rng.choice([pair for pair in _INVENTED if pair[0] not in tool.properties])
    return _with(calls, i, Call(call.name, {**call.arguments, name: value}))


def type_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """A value as another JSON type; numbers, booleans and lists before plain strings."""
    if (i := _pick(rng, calls)) is None:
        return None
    call = calls[i]
    names = list(call.arguments)
    weights = [0.2 if isinstance(value, str) else 1.0 for value in call.arguments.values()]
    name = rng.choices(names, weights)[0]
    arguments = {**call.arguments, name: retyped(rng, call.arguments[name])}
    if rng.random() < 0.3:  # who quotes one number quotes them all
        kind = type(call.arguments[name])
        arguments = {
            key: str(value) if type(value) is kind else arguments[key] for key, value in call.arguments.items()
        }
    return _with(calls, i, Call(call.name, arguments))


def format_edit(rng: random.Random, scene: Scene, calls: tuple[Call, ...]) -> Candidate | None:
    """The right calls in a text that does not parse."""
    if not calls:
        return None
    raw, fault = broken_text(rng, calls)
    return Candidate(raw=raw, fault=fault)


EDITS: dict[ErrorType, Edit] = {
    ErrorType.VALUE: wrong_value_edit,
    ErrorType.NAME: name_edit,
    ErrorType.NUMBER: number_edit,
    ErrorType.MISSING_OPTIONAL: missing_optional_edit,
    ErrorType.MISSING_REQUIRED: missing_required_edit,
    ErrorType.TYPE: type_edit,
    ErrorType.UNEXPECTED: unexpected_edit,
    ErrorType.FORMAT: format_edit,
}
