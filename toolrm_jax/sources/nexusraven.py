"""The evaluation queries of NexusRaven (2023; CC BY-NC: not for training): one line of Python is the answer.

The ToolAlpaca and ToolLLM queries bring their functions as Python text. For the others the definitions are Python
files of their own, which are not read: their tools are what the answers show of them, names and types of parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from toolrm_jax.sources.drops import NO_ANSWER, Drops, Unfit, each
from toolrm_jax.sources.python_calls import python_call, python_parameters
from toolrm_jax.sources.rows import files, load, read_json, rows
from toolrm_jax.sources.tools import read_tool, unlike
from toolrm_jax.sources.trajectories import single
from toolrm_jax.sources.type_names import schema_of
from toolrm_jax.toolcalls.types import Call, Message, Reference, Task, Tool

LICENCE = "CC-BY-NC-4.0"
_DEFINED = re.compile(r"def (\w+)\((.*?)\)(?:\s*->.*?)?(?::|<func_end>)", re.DOTALL)
_DOCSTRING = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|\'((?:[^\'\\]|\\.)*)\'|"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PARAMETER = re.compile(r"^\s+(\w+) \(([^)]*)\)(?: required| optional)?: (.*)$", re.MULTILINE)


def read(path: Path | None, drops: Drops) -> Iterator[Task]:
    """Tasks of all `*_queries.json` at or below `path`; the category is the file's name."""
    for file in files(path, "nexusraven", "*_queries.json"):
        name = file.stem.removesuffix("_queries")
        if name == "toolalpaca":
            made = _by_turns(file)
            yield from each(made, lambda id, row: (_toolalpaca(id, row),), drops)
        elif name == "toolllm":
            numbered = ((f"nexusraven/{name}/{n}", row) for n, (_, row) in enumerate(rows(file, drops)))
            yield from each(numbered, lambda id, row: (_toolllm(id, row),), drops)
        else:
            yield from _plain(file, name, drops)


def _plain(file: Path, name: str, drops: Drops) -> Iterator[Task]:
    """Queries whose answers alone show the tools."""
    numbered = [(f"nexusraven/{name}/{n}", row) for n, (_, row) in enumerate(rows(file, drops, ("query", "reference")))]
    answered = list(each(numbered, lambda id, row: ((id, row["query"], python_call(row["reference"])),), drops))
    tools = _shown(call for _, _, call in answered)
    for id, query, call in answered:
        yield single(id, "nexusraven", name, LICENCE, tools, (Message("user", query),), Reference((call,)))


def _shown(calls: Iterator[Call]) -> tuple[Tool, ...]:
    """What calls show of their functions."""
    found: dict[str, dict[str, list[Any]]] = {}
    for call in calls:
        parameters = found.setdefault(call.name, {})
        for name, value in call.arguments.items():
            schema = schema_of(type(value).__name__)
            if schema not in parameters.setdefault(name, []):
                parameters[name].append(schema)
    return tuple(
        read_tool({"name": name, "parameters": {key: _either(some) for key, some in parameters.items()}})
        for name, parameters in found.items()
    )


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _by_turns(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, wordings in enumerate(load(file)):
        for turns, row in wordings.items():
            if row["instruction"] is None:
                continue  # there is no wording of this many turns
            yield f"nexusraven/toolalpaca/{number}/{turns}", row


def _toolalpaca(id: str, row: dict[str, Any]) -> Task:
    options = [part for part in row["docstring"].split("OPTION:") if part.strip()]
    tools = unlike(_defined(option) for option in options)
    golden = [python_call(line, tools) for line in read_json(row["golden_answer"])]
    return _asked(id, "toolalpaca", tools, row["instruction"], golden)


def _toolllm(id: str, row: dict[str, Any]) -> Task:
    tools = unlike(_defined(text) for text in row["context"])
    return _asked(id, "toolllm", tools, row["Input"], [python_call(row["Output"], tools)])


def _asked(id: str, category: str, tools: tuple[Tool, ...], query: str, golden: Sequence[Call]) -> Task:
    if not golden:
        raise Unfit(NO_ANSWER)
    reference = Reference(tuple(golden))
    return single(id, "nexusraven", category, LICENCE, tools, (Message("user", query),), reference)


def _defined(text: str) -> Tool:
    """A function's text as a tool: its signature, and what its docstring says of it and of each parameter."""
    found = _DEFINED.search(text)
    if found is None:
        raise Unfit(NO_ANSWER, "a function without a definition")
    parameters = python_parameters(found[2])
    about = _DOCSTRING.search(text, found.end())
    words = next((part for part in about.groups() if part is not None), "") if about else ""
    for name, _, description in _PARAMETER.findall(words):
        if name in parameters:
            parameters[name]["description"] = description.strip()
    described = words.partition("\nParameters:")[0].strip()
    return read_tool({"name": found[1], "description": described, "parameters": parameters})
