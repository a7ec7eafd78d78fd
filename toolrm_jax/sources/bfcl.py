"""Single-turn questions of the Berkeley Function Calling Leaderboard v4 (Patil et al., ICML 2025) as Tasks.

They come from the files inside the pip package `bfcl-eval`, or from a folder of the same files.
Function docs are normalised to JSON Schema, and BFCL's nested possible answers to plain JSON values.
"""

import importlib.util
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.sources.drops import NOT_READABLE, Drops
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task, Tool

LICENCE = "Apache-2.0"
ANSWERED = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
)
"""Categories with possible answers."""
NO_CALL = ("irrelevance", "live_irrelevance")
"""Categories where no function fits: the reference has no calls."""
UNKNOWN = ("live_relevance",)
"""Categories where some call is right but it is not said which: no reference."""
CATEGORIES = (*ANSWERED, *NO_CALL, *UNKNOWN)

MAX_ALTERNATIVES = 64
"""Nested possible answers are unfolded into at most this many plain values; the first ones are kept."""

JSON_TYPES = {
    **dict.fromkeys(("string", "String", "char"), "string"),
    **dict.fromkeys(("integer", "byte", "short", "long", "Bigint"), "integer"),
    **dict.fromkeys(("number", "float", "double"), "number"),
    **dict.fromkeys(("boolean", "bool", "Boolean"), "boolean"),
    **dict.fromkeys(("object", "dict", "HashMap", "Hashtable"), "object"),
    **dict.fromkeys(("array", "list", "tuple", "Array", "ArrayList", "Set", "Queue", "Stack"), "array"),
    **dict.fromkeys(("any", "Any", ""), None),
}
"""JSON Schema type of every type BFCL uses for Python, Java and JavaScript; None: any value will do."""


def read(
    path: str | Path | None = None, drops: Drops | None = None, categories: Iterable[str] | None = None
) -> Iterator[Task]:
    """Tasks of the given categories (None: all of CATEGORIES), in the order published.

    `path` is a folder with BFCL_v4_<category>.json and possible_answer/; None takes the installed package.
    Raises ConfigError for an unknown category, DataError where files are missing or malformed; a question that is
    malformed is a DataError too without `drops`.
    """
    drops = Drops(strict=True) if drops is None else drops
    chosen = CATEGORIES if categories is None else tuple(categories)
    if unknown := [name for name in chosen if name not in CATEGORIES]:
        raise ConfigError(f"BFCL: unknown category {unknown[0]!r}; known: {', '.join(CATEGORIES)}")
    folder = find_folder(path)
    for category in chosen:
        answers = read_possible_answers(folder, category)
        for question in read_questions(folder, category):
            try:
                made = task(question, category, answers.get(question["id"]))
            except DataError as error:
                if drops.strict:
                    raise
                drops.add(NOT_READABLE, str(error))
                continue
            yield made


def find_folder(path: str | Path | None = None) -> Path:
    """The folder of BFCL's data files. Raises DataError with the way to get them."""
    if path is not None:
        folder = Path(path)
        if not any(folder.glob("BFCL_v4_*.json")):
            raise DataError(f"{folder}: no BFCL_v4_*.json files there; give the `data` folder of bfcl-eval")
        return folder
    spec = importlib.util.find_spec("bfcl_eval")
    folders = [Path(place, "data") for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError("BFCL's questions are not installed; run `pip install --no-deps bfcl-eval` or give their folder")


def read_questions(folder: Path, category: str) -> list[dict[str, Any]]:
    """The rows of one category as published: `id`, `question` and `function`."""
    return _json_lines(folder / f"BFCL_v4_{category}.json", ("id", "question", "function"))


def read_possible_answers(folder: Path, category: str) -> dict[str, list[dict[str, Any]]]:
    """BFCL's possible answers by question id as published; empty for categories without."""
    if category not in ANSWERED:
        return {}
    rows = _json_lines(folder / "possible_answer" / f"BFCL_v4_{category}.json", ("id", "ground_truth"))
    return {row["id"]: row["ground_truth"] for row in rows}


def _json_lines(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); reinstall bfcl-eval") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error}); reinstall bfcl-eval") from error
        if not isinstance(row, dict) or any(field not in row for field in fields):
            raise DataError(f"{path}:{number}: expected an object with {', '.join(fields)}; reinstall bfcl-eval")
        rows.append(row)
    return rows


def task(question: dict[str, Any], category: str, answers: list[dict[str, Any]] | None) -> Task:
    """One question as a Task; `answers` are its possible answers, needed for ANSWERED categories."""
    where = f"BFCL question {question['id']}"
    try:
        tools = tuple(tool(function) for function in question["function"])
        messages = tuple(Message(turn["role"], turn["content"]) for turn in question["question"][0])
        if category in NO_CALL:
            known = Reference()
        elif category in UNKNOWN:
            known = None
        elif answers is None:
            raise DataError("it has no possible answers; reinstall bfcl-eval")
        else:
            known = reference(tools, answers)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: malformed ({type(error).__name__}: {error}); reinstall bfcl-eval") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return Task(question["id"], "bfcl", category, LICENCE, Context(tools, messages), known)


def tool(function: dict[str, Any]) -> Tool:
    """A BFCL function doc as a Tool: types as JSON Schema names them, key order as published."""
    return Tool(function["name"], function["description"], json_schema(function["parameters"]))


def json_schema(doc: Any) -> dict[str, Any]:
    """A BFCL parameter doc as JSON Schema. Raises DataError for a type BFCL does not define.

    `optional`, which is no JSON Schema keyword and repeats what `required` says, is left out. Values listed by
    `enum` for an array are those of its items, and move there.
    """
    if not isinstance(doc, dict):
        raise DataError(f"a parameter's doc is {type(doc).__name__}, not an object")
    schema: dict[str, Any] = {}
    for key, value in doc.items():
        if key == "type":
            if value not in JSON_TYPES:
                raise DataError(f"unknown parameter type {value!r}")
            if (name := JSON_TYPES[value]) is not None:
                schema[key] = name
        elif key == "properties":
            schema[key] = {name: json_schema(item) for name, item in value.items()}
        elif key == "items":
            schema[key] = json_schema(value)
        elif key != "optional":
            schema[key] = value
    values = schema.get("enum", ())
    if schema.get("type") == "array" and values and not any(isinstance(value, list) for value in values):
        schema["items"] = {**schema.get("items", {}), "enum": schema.pop("enum")}
    return schema


def reference(tools: Sequence[Tool], answers: Sequence[dict[str, Any]]) -> Reference | None:
    """BFCL's possible answers as a Reference: `accepted` in plain JSON, `calls` with the first value of each.

    A parameter whose first value is the empty string is left out of `calls`; where the tool requires it, the
    empty string is no accepted value beside others.
    An empty list of values, which no answer can meet, is read as the empty list it stands for.
    Possible answers for a parameter the tool lacks are dropped where it may be left out; where they demand it,
    no call can be right, and there is no reference.
    """
    calls, accepted = [], []
    for answer in answers:
        ((name, options),) = answer.items()
        offered = next((item for item in tools if item.name == name), None)
        if offered is None:
            raise DataError(f"possible answer calls {name!r}, which is not among the functions")
        values = {parameter: plain_values(some) for parameter, some in options.items()}
        extra = [parameter for parameter in values if parameter not in offered.properties]
        if any("" not in values[parameter] for parameter in extra):
            return None
        values = {
            parameter: _required(some) if parameter in offered.required else some
            for parameter, some in values.items()
            if parameter not in extra
        }
        accepted.append(values)
        calls.append(Call(name, _first_values(offered, values)))
    return Reference(calls=tuple(calls), accepted=tuple(accepted))


def _first_values(offered: Tool, values: dict[str, list[Any]]) -> dict[str, Any]:
    arguments = {}
    for parameter, some in values.items():
        if some[0] != "" or parameter in offered.required:
            arguments[parameter] = some[0]
    return arguments


def _required(values: list[Any]) -> list[Any]:
    """The values without the empty string, unless it is the only one: no required parameter may be left out."""
    return [value for value in values if value != ""] or values


def plain_values(options: list[Any]) -> list[Any]:
    """One parameter's possible answers as plain JSON values, without repeats, nested ones unfolded.

    `[{"a": [1, 2], "b": [3, ""]}]` gives `{"a": 1, "b": 3}, {"a": 1}, {"a": 2, "b": 3}, {"a": 2}`:
    inside an object the empty string means that the key may be absent.
    """
    if not options:
        return [[]]
    kept: list[Any] = []
    seen = set()
    for value in itertools.chain.from_iterable(_unfold(option) for option in options):
        key = json.dumps(value, sort_keys=True)
        if key not in seen:
            seen.add(key)
            kept.append(value)
        if len(kept) == MAX_ALTERNATIVES:
            break
    return kept


_ABSENT = object()


def _unfold(option: Any) -> Iterator[Any]:
    """Plain alternatives of one nested option, the first values first; lazy, as there may be very many."""
    if isinstance(option, dict):
        choices = [list(itertools.islice(_key_values(values), MAX_ALTERNATIVES)) for values in option.values()]
        for chosen in itertools.product(*choices):
            yield {key: value for key, value in zip(option, chosen) if value is not _ABSENT}
    elif isinstance(option, list):
        choices = [list(itertools.islice(_unfold(item), MAX_ALTERNATIVES)) for item in option]
        yield from map(list, itertools.product(*choices))
    else:
        yield option


def _key_values(values: Any) -> Iterator[Any]:
    if not isinstance(values, list):  # a few published objects give a value bare, not as a list of values
        yield values
        return
    for value in values:
        if value == "":
            yield _ABSENT
        else:
            yield from _unfold(value)
