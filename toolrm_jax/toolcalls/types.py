"""The typed values that stand between stages: what a tool call is, and everything said about one.

All are frozen and slotted, and `from_json` refuses fields it does not know. The order of keys in
schemas and arguments is kept as it came: it is what the model saw.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import Any, Self

from toolrm_jax.errors import DataError

ROLES = ("system", "user", "assistant", "tool")


class ErrorType(enum.StrEnum):
    """FC-RewardBench's eight ways for a set of calls to be wrong (paper A, section 3; names as published)."""

    VALUE = "incorrect parameter value"
    NAME = "incorrect function name"
    NUMBER = "incorrect number of functions"
    MISSING_OPTIONAL = "missing optional parameter"
    MISSING_REQUIRED = "missing required parameter"
    TYPE = "incorrect parameter type"
    UNEXPECTED = "unexpected parameter"
    FORMAT = "incorrect output format"


class Record:
    """JSON in and out for the dataclasses below: `to_json` leaves out fields at their default."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """A plain dict of JSON values."""
        out = {}
        for name, default in _defaults(type(self)):
            value = getattr(self, name)
            if default is dataclasses.MISSING or value != default:
                out[name] = _plain(value)
        return out

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `to_json`. Raises DataError on a missing, unknown or wrongly typed field."""
        if not isinstance(value, Mapping):
            raise DataError(f"{cls.__name__}: expected an object, found {type(value).__name__}")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(map(str, set(value) - set(fields))):
            raise DataError(f"{cls.__name__}: unknown field {unknown[0]!r}; it has {', '.join(fields)}")
        for name, field in fields.items():
            if name not in value and field.default is dataclasses.MISSING:
                raise DataError(f"{cls.__name__}: field {name!r} is missing")
        return cls(**{name: cls._read(name, item) for name, item in value.items()})

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        """Turn one JSON field into its typed value; overridden where a field is itself a record."""
        return value


@functools.cache
def _defaults(kind: type[Record]) -> tuple[tuple[str, Any], ...]:
    """The fields of a record and their defaults. Remembered: `dataclasses.fields` builds them anew at each call."""
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.to_json() if isinstance(value, Record) else value


def _many(kind: type[Record], value: Any) -> tuple:
    if not isinstance(value, list | tuple):
        raise DataError(f"expected a list of {kind.__name__}, found {type(value).__name__}")
    return tuple(kind.from_json(item) for item in value)


def _expect(record: Record, name: str, kind: type | tuple[type, ...]) -> None:
    value = getattr(record, name)
    if not isinstance(value, kind):
        raise DataError(f"{type(record).__name__}: field {name!r} has type {type(value).__name__}")


@dataclasses.dataclass(frozen=True, slots=True)
class Tool(Record):
    """A function the model may call. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]

    def __post_init__(self) -> None:
        _expect(self, "name", str)
        _expect(self, "description", str)
        _expect(self, "parameters", dict)

    @property
    def properties(self) -> dict[str, Any]:
        """Schemas of the parameters by name."""
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that must be given."""
        found = self.parameters.get("required")
        return tuple(name for name in found if isinstance(name, str)) if isinstance(found, list) else ()


@dataclasses.dataclass(frozen=True, slots=True)
class Call(Record):
    """One call: a tool's name and its arguments, in the order they were written."""

    name: str
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        _expect(self, "name", str)
        _expect(self, "arguments", dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Message(Record):
    """One turn. `calls` belongs to the assistant; `name` is the tool a tool message answers for."""

    role: str
    content: str = ""
    calls: tuple[Call, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"Message: role {self.role!r} is none of {', '.join(ROLES)}")
        _expect(self, "content", str)
        _expect(self, "name", (str, type(None)))

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many(Call, value) if name == "calls" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Context(Record):
    """All that stands before the judged turn: the tools on offer and the messages so far."""

    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many({"tools": Tool, "messages": Message}[name], value)

    def tool(self, name: str) -> Tool | None:
        """The offered tool of that name, if there is one."""
        return next((tool for tool in self.tools if tool.name == name), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Reference(Record):
    """The right answer: calls, or (with none) a reply in text.

    `accepted` holds, per call and parameter, every value that counts as right, for benchmarks that list
    several; the empty string among them means that the parameter may be left out. Empty: `calls` alone is right.
    """

    calls: tuple[Call, ...] = ()
    text: str | None = None
    accepted: tuple[dict[str, list[Any]], ...] = ()
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.accepted and len(self.accepted) != len(self.calls):
            raise DataError(f"Reference: {len(self.accepted)} sets of accepted values for {len(self.calls)} calls")

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "calls":
            return _many(Call, value)
        return tuple(value) if name == "accepted" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Stale(Record):
    """A value the user gave for a parameter of the reference's call number `call` (from 0), and then replaced."""

    call: int
    parameter: str
    value: Any

    def __post_init__(self) -> None:
        _expect(self, "call", int)
        _expect(self, "parameter", str)


@dataclasses.dataclass(frozen=True, slots=True)
class Task(Record):
    """One question with its reference (None where the right answer is not known), and where it came from.

    `stale`: values that a judge who reads the dialogue up to its middle takes for right, the latest ones first.
    """

    id: str
    source: str
    category: str
    licence: str
    context: Context
    reference: Reference | None = None
    stale: tuple[Stale, ...] = ()

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "context":
            return Context.from_json(value)
        if name == "stale":
            return _many(Stale, value)
        return Reference.from_json(value) if name == "reference" and value is not None else value


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate(Record):
    """One answer to a context: calls, or text where there are none.

    `maker` says who made it: `reference`, `rule:<mistake>` or `model:<name>`. `raw` is the text as the
    model wrote it and `fault` why that text is not a set of calls, where it is not one. `count`: of how many equal
    answers it is the first, where they were sampled; `others`: how many of these each further maker gave. `cut`: its
    model was stopped before the answer's end.
    """

    calls: tuple[Call, ...] = ()
    text: str = ""
    maker: str = ""
    raw: str | None = None
    fault: str | None = None
    count: int = 1
    cut: bool = False
    others: dict[str, int] | None = None

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise DataError(f"Candidate: count is {self.count!r}, expected 1 or more")
        _expect(self, "cut", bool)
        others = (self.others or {}).values()
        if not all(type(some) is int and some > 0 for some in others) or sum(others) >= self.count:
            raise DataError(f"Candidate: others are {self.others!r}, expected fewer than all {self.count}, by maker")

    @property
    def makers(self) -> dict[str, int]:
        """How many of these equal answers each maker gave, the first one first."""
        others = self.others or {}
        return {self.maker: self.count - sum(others.values()), **others}

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _many(Call, value) if name == "calls" else value


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict(Record):
    """What a comparison with the reference says of a candidate: never made by a model."""

    right: bool
    score: float
    error_type: ErrorType | None = None
    reason: str = ""

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return ErrorType(value) if name == "error_type" and value is not None else value


@dataclasses.dataclass(frozen=True, slots=True)
class Choice(Record):
    """A pair that a recipe chose of a group: the places of the better and the worse candidate.

    `swapped`: whoever is shown both is to see the worse one first.
    """

    better: int
    worse: int
    swapped: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Group(Record):
    """A task with its candidates and a verdict on each: the stored unit of preference data.

    `choices` are the pairs that a recipe chose; without any, every right candidate stands over every wrong one.
    `names`: the random name of each original one, where the group is obfuscated. `epoch`: of training, from 0, for
    which its answers were drawn and its names given.
    """

    task: Task
    candidates: tuple[Candidate, ...]
    verdicts: tuple[Verdict, ...]
    choices: tuple[Choice, ...] = ()
    names: dict[str, str] | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        if type(self.epoch) is not int or self.epoch < 0:
            raise DataError(f"Group: epoch is {self.epoch!r}, expected 0 or more")
        if len(self.candidates) != len(self.verdicts):
            raise DataError(f"Group: {len(self.candidates)} candidates but {len(self.verdicts)} verdicts")
        for choice in self.choices:
            if not (0 <= choice.better < len(self.candidates) and 0 <= choice.worse < len(self.candidates)):
                raise DataError(f"Group: a choice of candidates {choice.better} and {choice.worse} that are not there")

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "task":
            return Task.from_json(value)
        kinds = {"candidates": Candidate, "verdicts": Verdict, "choices": Choice}
        return _many(kinds[name], value) if name in kinds else value
