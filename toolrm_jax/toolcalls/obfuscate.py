"""Random names for tools and parameters, so that a model cannot go by names it has seen (method.md, 2.2 and 4.20).

One map per sample covers tools and parameters alike: the same name is the same random string wherever it stands.
Renamed are tools' names, top-level parameters, and both in the calls of the conversation and of the reference. Left
alone are descriptions, messages' texts and all values. The keys of nested objects are part of a parameter's value, so
they stay too: in the schema, in arguments and in accepted values.
"""

from __future__ import annotations

import dataclasses
import random
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from toolrm_jax.errors import DataError
from toolrm_jax.seeding import seeded
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task, Tool

LENGTHS = (6, 12)

# Keywords of JSON Schema that hold one schema, several, or schemas by name.
_ONE = ("items", "additionalProperties", "contains", "not", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME = ("properties", "$defs", "definitions", "dependentSchemas")
# Those among them whose schemas speak of the same object as the schema they stand in.
_SAME_OBJECT = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
# Keywords that tie the top level's names to something that cannot be followed.
_REFUSED = ("patternProperties", "propertyNames", "$ref", "$dynamicRef", "unevaluatedProperties")
_POINTER = re.compile(r"#/(\$defs|definitions|properties)/([^/]+)(.*)", re.DOTALL)

Rename = Callable[[str], str]


@dataclasses.dataclass(frozen=True, slots=True)
class Renaming:
    """The map of one sample. `described` counts names that still stand in a description, as whole words."""

    names: Mapping[str, str]
    seed: int
    record: str
    described: int = 0

    def apply(self, calls: Sequence[Call]) -> tuple[Call, ...]:
        """The calls under the new names. A name the sample does not have gets its own random string, always the same.

        Argument order and values are kept.
        """
        return tuple(_rename(call, self._new) for call in calls)

    def invert(self, calls: Sequence[Call]) -> tuple[Call, ...]:
        """The calls under the original names. Strings that stand for none of the sample's names are left as they are:
        a random string does not say which unknown name it was."""
        original = {new: old for old, new in self.names.items()}
        return tuple(_rename(call, lambda name: original.get(name, name)) for call in calls)

    def apply_text(self, raw: str) -> str:
        """The raw text of an answer that could not be parsed, with the sample's names replaced where they stand as
        names: before `(` or `=`, as a quoted key, or as the value of "name". Unknown names stay as they are."""
        known = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True) if name)
        if not known:
            return raw
        pattern = (
            rf"(?P<key>[\"']name[\"']\s*:\s*[\"'])(?P<tool>{known})(?=[\"'])"
            rf"|(?<![\w.])(?P<name>{known})(?=\s*[=(]|[\"']\s*:)"
        )
        return re.sub(pattern, lambda found: (found["key"] or "") + self.names[found["tool"] or found["name"]], raw)

    def _new(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        generator = seeded(self.seed, f"obfuscate unknown name {name}", self.record)
        return _draw(generator, {*self.names, *self.names.values(), name})


def obfuscate(task: Task, seed: int) -> tuple[Task, Renaming]:
    """The task under random names (6–12 lower-case letters), with the keys of its tools' schemas shuffled.

    Depends on the seed and the task alone. Raises DataError for schemas whose parameters cannot be renamed for sure:
    known by a pattern, or by a `$ref` to the whole schema.
    """
    generator = seeded(seed, "obfuscate", task.id)
    names: dict[str, str] = {}
    originals = list(dict.fromkeys(_names(task)))
    taken = set(originals)
    for name in originals:
        names[name] = _draw(generator, taken)
        taken.add(names[name])
    renaming = Renaming(names, seed, task.id, _count_described(originals, task.context.tools))
    tools = tuple(_tool(tool, renaming, generator) for tool in task.context.tools)
    messages = tuple(_message(message, renaming) for message in task.context.messages)
    reference = task.reference and _reference(task.reference, renaming)
    return dataclasses.replace(task, context=Context(tools, messages), reference=reference), renaming


def _names(task: Task) -> Iterator[str]:
    """Every name to be replaced, in the order of the sample."""
    for tool in task.context.tools:
        yield tool.name
        _check_followable(tool)
        found: dict[str, str] = {}
        _rewrite(tool.parameters, lambda name: found.setdefault(name, name), None)  # noqa: B023 (used at once)
        yield from found
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


def _check_followable(tool: Tool) -> None:
    stack = [tool.parameters]
    while stack:
        schema = stack.pop()
        if not isinstance(schema, dict):
            continue
        for keyword in _REFUSED:
            if keyword in schema:
                raise DataError(f"tool {tool.name!r}: top-level {keyword!r} cannot be obfuscated; leave the task out")
        for keyword in _SAME_OBJECT:
            value = schema.get(keyword)
            by_name = keyword in _BY_NAME and isinstance(value, dict)
            stack.extend(value.values() if by_name else value if isinstance(value, list) else [value])


def _rewrite(schema: Any, rename: Rename, generator: random.Random | None, top: bool = True) -> Any:
    """The schema with the top level's parameters renamed and (given a generator) all its keys in a random order.

    `top`: the schema speaks of the arguments as a whole. Enumerations, defaults and constants are values: untouched.
    """
    if not isinstance(schema, dict):
        return schema
    out = {}
    for keyword, value in schema.items():
        inner_top = top and keyword in _SAME_OBJECT
        if keyword in _ONE:
            value = _rewrite(value, rename, generator, inner_top)
        elif keyword in _SEVERAL and isinstance(value, list):
            value = [_rewrite(item, rename, generator, inner_top) for item in value]
        elif keyword in _BY_NAME and isinstance(value, dict):
            renamed = top and keyword in ("properties", "dependentSchemas")
            new = rename if renamed else str
            value = _shuffled(
                {new(name): _rewrite(item, rename, generator, inner_top) for name, item in value.items()}, generator
            )
        elif keyword == "required" and top:
            value = _all(value, rename)
        elif keyword == "dependentRequired" and top and isinstance(value, dict):
            value = {rename(name): _all(others, rename) for name, others in value.items()}
        elif keyword == "$ref" and isinstance(value, str):
            value = _pointer(value, rename)
        out[keyword] = value
    return _shuffled(out, generator)


def _all(names: Any, rename: Rename) -> Any:
    return [rename(name) if isinstance(name, str) else name for name in names] if isinstance(names, list) else names


def _pointer(reference: str, rename: Rename) -> str:
    found = _POINTER.fullmatch(reference)
    if found is None:
        raise DataError(f"a schema's $ref {reference!r} cannot be obfuscated; use #/$defs/NAME or leave the task out")
    section, name, rest = found.groups()
    if section != "properties":
        return reference
    return f"#/properties/{rename(name.replace('~1', '/').replace('~0', '~'))}{rest}"


def _shuffled(mapping: dict[str, Any], generator: random.Random | None) -> dict[str, Any]:
    items = list(mapping.items())
    if generator is not None:
        generator.shuffle(items)
    return dict(items)


def _tool(tool: Tool, renaming: Renaming, generator: random.Random) -> Tool:
    parameters = _rewrite(tool.parameters, renaming.names.__getitem__, generator)
    return Tool(renaming.names[tool.name], tool.description, parameters)


def _count_described(names: Sequence[str], tools: Sequence[Tool]) -> int:
    """How many names stand in a description or title, as whole words."""
    told = "\n".join(text for tool in tools for text in (tool.description, *_descriptions(tool.parameters)))
    return sum(bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", told)) for name in names)


def _descriptions(schema: Any) -> Iterator[str]:
    stack = [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            yield from (part[key] for key in ("description", "title") if isinstance(part.get(key), str))
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)


def _draw(generator: random.Random, taken: set[str]) -> str:
    while True:
        name = "".join(generator.choices(string.ascii_lowercase, k=generator.randint(*LENGTHS)))
        if name not in taken:
            return name


def _rename(call: Call, new: Rename) -> Call:
    return Call(new(call.name), {new(name): value for name, value in call.arguments.items()})


def _message(message: Message, renaming: Renaming) -> Message:
    name = message.name and renaming.names[message.name]
    return dataclasses.replace(message, calls=renaming.apply(message.calls), name=name)


def _reference(reference: Reference, renaming: Renaming) -> Reference:
    accepted = tuple({renaming.names[name]: values for name, values in one.items()} for one in reference.accepted)
    return dataclasses.replace(reference, calls=renaming.apply(reference.calls), accepted=accepted)
