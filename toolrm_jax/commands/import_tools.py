"""Make tool definitions, in the form that `toolrm score` and chat templates take, from what you have already.

  openapi=FILE        an OpenAPI 3 description, JSON or YAML: a tool for each operation
  mcp=COMMAND         an MCP server over standard input and output, such as mcp='npx -y some-server': its tools
  functions=MODULE    a Python module or file: its public functions, by type hints and docstrings. It is imported

Nothing is written unless every tool is whole: a name, a description, and parameters that are a JSON Schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import chz

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import write_file
from toolrm_jax.toolcalls.render import openai_tool
from toolrm_jax.toolcalls.schema import check_tool
from toolrm_jax.toolcalls.types import Tool

BASE = None
SOURCES = ("openapi", "mcp", "functions")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@chz.chz
class Config:
    """Where the tools come from; one of the three."""

    output: str = "tools.json"  # the file to write; one that is there is replaced
    openapi: str | None = None  # a file
    mcp: str | None = None  # a command
    functions: str | None = None  # a module's name, or a .py file
    timeout: float = 60.0  # seconds that an MCP server may take for an answer


def run(config: Config, overwrite: bool = False) -> int:
    """Read the tools, write the file, and name them."""
    tools = read_tools(config)
    write_file(config.output, json.dumps([openai_tool(tool) for tool in tools], indent=1, ensure_ascii=False) + "\n")
    print(f"{config.output}: {len(tools)} tools: {', '.join(tool.name for tool in tools)}")
    return 0


def read_tools(config: Config) -> list[Tool]:
    """The tools of the one source that is named. Raises ConfigError or DataError."""
    given = [name for name in SOURCES if getattr(config, name)]
    if len(given) != 1:
        raise ConfigError(f"import-tools: give one of {', '.join(SOURCES)}; {' and '.join(given) or 'none'} is given")
    if config.openapi:
        from toolrm_jax.commands.import_tools_openapi import openapi_tools

        return checked(openapi_tools(Path(config.openapi)), config.openapi)
    if config.mcp:
        from toolrm_jax.commands.import_tools_mcp import mcp_tools

        return checked(mcp_tools(config.mcp, config.timeout), f"mcp={config.mcp}")
    from toolrm_jax.commands.import_tools_python import python_tools

    return checked(python_tools(str(config.functions)), f"functions={config.functions}")


def checked(tools: Sequence[Tool], where: str) -> list[Tool]:
    """The tools. Raises DataError that begins with `where`: none, two of one name, or one that no model could call."""
    if not tools:
        raise DataError(f"{where}: holds no tool; give another one")
    seen = set()
    for tool in tools:
        if not _NAME.fullmatch(tool.name):
            raise DataError(
                f"{where}: tool {tool.name[:80]!r}: a name is 1 to 64 letters, digits, _ . and -; rename it"
            )
        if tool.name in seen:
            raise DataError(f"{where}: two tools are called {tool.name!r}; rename one")
        seen.add(tool.name)
        try:
            check_tool(tool)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return list(tools)
