"""Imports point one way: the table of the architecture, held by reading the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

STAGES = frozenset(
    {"toolcalls", "sources", "synth", "preferences", "data", "models", "parallel", "train", "evals", "converters"}
)
MAY_IMPORT = {
    "toolcalls": frozenset(),
    "sources": frozenset({"toolcalls"}),
    "synth": frozenset({"toolcalls", "models"}),
    "preferences": frozenset({"toolcalls"}),
    "data": frozenset({"toolcalls", "preferences"}),
    "models": frozenset(),
    "parallel": frozenset({"models"}),
    "train": frozenset({"data", "models", "parallel"}),
    "evals": STAGES - {"train", "evals", "converters"},
    "converters": frozenset({"models"}),
    # An experiment's file builds the configs of the stages; those of a command stand beside the command.
    "configs": STAGES | {"commands"},
    "commands": STAGES | {"configs"},
    # The modules that stand in no folder.
    "errors": frozenset(),
    "seeding": frozenset(),
    "files": frozenset(),
    "cli": frozenset({"commands"}),
    "reward_model": frozenset({"commands", "toolcalls"}),
    "reward_functions": frozenset({"reward_model", "toolcalls"}),
    "__main__": frozenset({"cli"}),
}
"""Which other parts of the package each part may import."""

EVERYWHERE = frozenset({"errors", "seeding", "files", "__init__"})
"""What stands in no folder and any part may import, save `PURE`."""
PURE = {"toolcalls": "files", "errors": "seeding", "seeding": "files"}
"""toolcalls do no I/O; the modules at the root know nothing of each other but the errors."""

HEAVY = frozenset({"jax", "jaxlib", "flax", "optax", "orbax", "qwix", "torch", "transformers", "matplotlib", "gguf"})
"""Slow to import: inside functions only, so that `toolrm --help` is quick and the data stages run without them."""
HEAVY_ALLOWED = {
    "models": frozenset({"jax", "flax"}),
    "parallel": frozenset({"jax", "flax"}),
    "train": frozenset({"jax", "flax", "optax", "orbax"}),
    "data": frozenset({"jax", "flax"}),
    "evals": frozenset({"jax", "flax"}),
}
TOOLCALLS_NEED = frozenset({"jsonschema", "referencing"}) | sys.stdlib_module_names
LAZY = frozenset({"importlib.metadata.version", "toolrm_jax.reward_model.RewardModel"})
"""What the package itself gives by name: imported when asked for, never on load."""
NAMELESS = frozenset({"utils", "util", "common", "helpers", "helper", "core", "misc"})


def sources() -> dict[str, Path]:
    """Every module of the package by its dotted name within it; `converters/` and `configs/` are mapped in."""
    found = {}
    for base, prefix in (
        (ROOT / "toolrm_jax", ()),
        (ROOT / "converters", ("converters",)),
        (ROOT / "configs", ("configs",)),
    ):
        for path in sorted(base.rglob("*.py")):
            found[".".join((*prefix, *path.relative_to(base).with_suffix("").parts))] = path
    return found


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """The full names a module imports, wherever in it, by literal `import_module` too."""
    package = ["toolrm_jax", *module.split(".")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            first = node.args[0]
            literal = first.values[0] if isinstance(first, ast.JoinedStr) else first
            if isinstance(literal, ast.Constant):
                yield str(literal.value)


def imported_on_load(body: list[ast.stmt], module: str) -> Iterator[str]:
    """The full names a module imports when it is loaded: not those inside functions or for type checkers."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported_on_load(node.orelse, module)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node, module)
        else:
            inside = [child for child in ast.walk(node) if isinstance(child, ast.ExceptHandler)]
            for part in (node, *inside):
                for name in ("body", "orelse", "finalbody"):
                    yield from imported_on_load(getattr(part, name, []), module)


def faults(module: str, text: str) -> list[str]:
    """What the architecture forbids in a module of that (dotted) name with that source."""
    tree = ast.parse(text)
    part = module.split(".")[0]
    if part == "__init__":
        on_load = set(imported_on_load(tree.body, module))
        allowed = {"typing.TYPE_CHECKING", "typing.Any", *(LAZY - on_load)}
        return [f"the package itself imports {name}" for name in imports(tree, module) if name not in allowed]
    if part not in MAY_IMPORT:
        return [f"{part} is no part of the architecture"]
    found = []
    for name in imports(tree, module):
        words = name.split(".")
        if words[0] == "toolrm_jax":
            other = words[1] if len(words) > 1 and words[1] in {*MAY_IMPORT, *EVERYWHERE} else "__init__"
            allowed = other == part or other in MAY_IMPORT[part] or other in EVERYWHERE
            if not allowed or PURE.get(part) == other:
                found.append(f"{part} may not import {other}")
        elif part == "toolcalls" and words[0] not in TOOLCALLS_NEED:
            found.append(f"toolcalls may not import {words[0]}")
    for name in imported_on_load(tree.body, module):
        if (top := name.split(".")[0]) in HEAVY - HEAVY_ALLOWED.get(part, frozenset()):
            found.append(f"{top} is imported on load; import it where it is used")
    return found


MODULES = sources()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_folder_may(module):
    assert faults(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "text", "says"),
    [
        ("toolcalls.a", "from toolrm_jax.preferences.b import c", "toolcalls may not import preferences"),
        ("toolcalls.a", "from toolrm_jax.files import write_file", "toolcalls may not import files"),
        ("toolcalls.a", "import numpy", "toolcalls may not import numpy"),
        ("sources.a", "def f():\n from ..data import rows", "sources may not import data"),
        ("sources.a", "from .. import train", "sources may not import train"),
        ("models.a", "import toolrm_jax.data.rows", "models may not import data"),
        ("evals.a", "from toolrm_jax import train", "evals may not import train"),
        ("train.a", "import_module('toolrm_jax.evals.b')", "train may not import evals"),
        ("preferences.a", "importlib.import_module(f'toolrm_jax.data.{x}')", "preferences may not import data"),
        ("evals.a", "try:\n import torch\nexcept ImportError:\n pass", "torch is imported on load"),
        ("data.a", "try:\n pass\nexcept ImportError:\n import torch", "torch is imported on load"),
        ("commands.a", "if x:\n from jax.numpy import array", "jax is imported on load"),
        ("train.a", "class A:\n import torch", "torch is imported on load"),
        ("errors", "import toolrm_jax.cli", "errors may not import cli"),
        ("extras.a", "", "extras is no part"),
        ("__init__", "import jax", "the package itself imports jax"),
        ("__init__", "def f():\n import jax", "the package itself imports jax"),
        ("__init__", "from toolrm_jax.reward_model import RewardModel", "the package itself imports toolrm_jax.reward"),
    ],
)
def test_a_forbidden_import_is_found(module, text, says):
    assert any(says in fault for fault in faults(module, text))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("toolcalls.a", "import json, jsonschema\nfrom .b import c\nfrom toolrm_jax.errors import DataError"),
        ("data.a", "from toolrm_jax.preferences.shards import read_groups"),
        ("evals.a", "def f():\n import jax, torch"),
        ("evals.a", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import torch"),
        ("train.a", "import jax\nfrom toolrm_jax.models import trunk"),
        ("commands.a", "def run():\n from toolrm_jax.train import loop"),
        ("cli", "from toolrm_jax import __version__, commands"),
    ],
)
def test_an_allowed_import_passes(module, text):
    assert faults(module, text) == []


def test_the_walk_sees_the_package():
    assert {"errors", "toolcalls.types", "preferences.split", "files"} <= set(MODULES)


def test_no_folder_or_module_goes_without_a_name():
    parts = {part for module in MODULES for part in module.split(".")}
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    assert (parts | folders) & NAMELESS == set()


def test_the_data_stages_load_without_jax_torch_or_transformers():
    stages = ("toolcalls", "sources", "preferences")
    modules = [f"toolrm_jax.{module.removesuffix('.__init__')}" for module in MODULES if module.split(".")[0] in stages]
    script = (
        "import importlib, sys\n"
        "for name in ['toolrm_jax', *sys.argv[1:]]: importlib.import_module(name)\n"
        "print(*sorted({'jax', 'torch', 'transformers', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
