"""Tools of a Python module: its public functions, described by their type hints and docstrings."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.toolcalls.types import Tool


def python_tools(module: str) -> list[Tool]:
    """The tools of a module's name or a .py file's path. Raises ConfigError where it does not import."""
    loaded = load(module)
    public = {
        name: value
        for name, value in vars(loaded).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == loaded.__name__
    }
    return [_tool(name, function, module) for name, function in public.items()]


def load(module: str) -> ModuleType:
    """The imported module: the user's own code, which importing runs."""
    path = Path(module)
    try:
        if path.suffix == ".py":
            spec = importlib.util.spec_from_file_location(f"toolrm_tools_{path.stem}", path)
            if spec is None or spec.loader is None or not path.is_file():
                raise ImportError("no such file")
            loaded = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = loaded  # where type hints are looked up
            spec.loader.exec_module(loaded)
            return loaded
        if "" not in sys.path:
            sys.path.insert(0, "")
        return importlib.import_module(module)
    except Exception as error:
        raise ConfigError(f"functions={module}: does not import ({type(error).__name__}: {error}); mend it") from None


def _tool(name: str, function: object, module: str) -> Tool:
    from transformers.utils import get_json_schema
    from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException

    try:
        found = get_json_schema(function)["function"]
    except (DocstringParsingException, TypeHintParsingException, NameError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise DataError(
            f"functions={module}: {name}: {why}; give every argument a type hint and a line under Args:, "
            f"or begin its name with _"
        ) from None
    return Tool(found["name"], found["description"], found["parameters"])
