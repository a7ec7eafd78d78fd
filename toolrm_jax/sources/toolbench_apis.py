"""ToolBench's RapidAPI functions as tools, under the names that its agents call them by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from toolrm_jax.sources.tools import read_tool, unlike
from toolrm_jax.toolcalls.types import Tool

_KEYWORDS = frozenset({"from", "class", "return", "false", "true", "id", "and"})
_NOT_WORD = re.compile(r"[^a-z0-9_]+")
MAX_NAME = 64


def standard(name: str) -> str:
    """A name as ToolBench writes it: lower case, underscores, `is_` before what Python would not take."""
    name = re.sub(r"_+", "_", _NOT_WORD.sub("_", name.lower())).strip("_")
    return f"is_{name}" if name in _KEYWORDS else f"get_{name}" if name[:1].isdigit() else name


def function_name(tool: str, api: str) -> str:
    """`<api>_for_<tool>`, cut at its beginning to 64 characters."""
    return f"{standard(api)}_for_{standard(tool)}"[-MAX_NAME:].strip("_")


def read_apis(apis: Iterable[dict[str, Any]]) -> tuple[Tool, ...]:
    """The tools of an `api_list`. Raises Unfit."""
    return unlike(_tool(api) for api in apis)


def _tool(api: dict[str, Any]) -> Tool:
    parameters = {}
    for required, listed in ((True, api["required_parameters"]), (False, api["optional_parameters"])):
        for item in listed:
            parameter = {"type": str(item["type"]).lower(), "description": item["description"], "required": required}
            if item.get("default") not in (None, ""):
                parameter["default"] = item["default"]
            parameters[standard(item["name"])] = parameter
    name = function_name(api["tool_name"], api["api_name"])
    return read_tool({"name": name, "description": (api["api_description"] or "").strip(), "parameters": parameters})
