"""APIGen's single-turn sets: xlam-function-calling-60k (Liu et al., 2024) and xlam-irrelevance-7.5k (Hammer).

A row is `id`, `query`, and JSON in strings: `tools`, whose parameters are a bare map with Python's type names
(`str, optional`), and `answers`, `[]` where no tool fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrm_jax.sources.drops import Drops, each
from toolrm_jax.sources.literals import read_calls
from toolrm_jax.sources.rows import files, read_json, rows
from toolrm_jax.sources.tools import read_tools
from toolrm_jax.sources.trajectories import single
from toolrm_jax.sources.type_names import is_optional
from toolrm_jax.toolcalls.types import Message, Reference, Task

LICENCE = "CC-BY-4.0"


def read(path: Path | None, drops: Drops, source: str = "xlam") -> Iterator[Task]:
    """Tasks of all files at or below `path`."""
    for file in files(path, source):
        numbered = ((where, (number, row)) for number, (where, row) in enumerate(rows(file, drops, ("query", "tools"))))
        yield from each(numbered, lambda _, item, stem=file.stem: (_task(source, stem, *item),), drops)


def _task(source: str, stem: str, number: int, row: dict[str, Any]) -> Task:
    tools = read_tools([_with_required(tool) for tool in read_json(row["tools"])])
    reference = Reference(read_calls(row["answers"]))
    id = f"{source}/{row.get('id', f'{stem}/{number}')}"
    category = "call" if reference.calls else "irrelevance"
    return single(id, source, category, LICENCE, tools, (Message("user", row["query"]),), reference)


def _with_required(tool: Any) -> Any:
    """Required are the parameters that are neither marked optional nor have a default."""
    if isinstance(tool, str):
        tool = json.loads(tool)
    parameters = tool.get("parameters")
    if not isinstance(parameters, dict) or "properties" in parameters or "required" in tool:
        return tool
    names = [name for name, part in parameters.items() if isinstance(part, dict) and _is_required(part)]
    return {**tool, "required": names}


def _is_required(part: dict[str, Any]) -> bool:
    if isinstance(part.get("required"), bool):
        return part["required"]
    named = part.get("type")
    return "default" not in part and not (isinstance(named, str) and is_optional(named))
