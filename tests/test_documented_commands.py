"""Every command in the README and in docs/ is one that exists, with settings that exist, and is run by a test.

`toolrm` lines are resolved to whole configs; `launch/` lines that say --dry-run are run; what needs hardware is listed
here with its reason.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from toolrm_jax import cli
from toolrm_jax.commands import settings
from toolrm_jax.errors import ConfigError

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ELLIPSIS = ("…", "...")

ELSEWHERE = {
    "launch/sglang_cpu.sh": "tests/converters/test_sglang_server.py runs it where SGLANG_CPU_ENV is",
    "launch/sglang_server.sh": "needs GPUs",
    "launch/slurm.sh": "run against a stand-in by tests/launch/test_slurm.py",
    "launch/tpu_vm.sh": "run against a stand-in by tests/launch/test_tpu_vm.py",
    "launch/gke.sh": "run against a stand-in by tests/launch/test_gke.py",
}
"""Launch scripts that a page may name without --dry-run: who runs them, or what they need."""


def parts(path: Path) -> list[tuple[str | None, str]]:
    """A page: its code blocks as (language, text), indented ones without a language, other lines as (None, line)."""
    found, fence, lines = [], None, []
    for line in path.read_text(encoding="utf-8").splitlines():
        opened = re.match(r"\s*```(\w*)", line)
        if fence is not None:
            if line.strip() == "```":
                found.append((fence, "\n".join(lines)))
                fence, lines = None, []
            else:
                lines.append(line)
        elif opened:
            fence, lines = opened[1], []
        elif line.startswith("    ") and not line.lstrip().startswith(("-", "*", "|")):
            found.append(("", line.strip()))
        else:
            found.append((None, line))
    return found


def blocks(path: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: (language, text)."""
    return [(language, text) for language, text in parts(path) if language is not None]


def inline(prefix: str, table: bool) -> list[tuple[str, str]]:
    """(page, line) of every command within a line that begins so and has words: in tables, or elsewhere."""
    found = []
    for page in PAGES:
        for language, text in parts(page):
            if language is None and text.startswith("|") == table:
                lines = [line.removeprefix(".venv/bin/") for line in re.findall(r"`([^`]+)`", text)]
                where = page.relative_to(ROOT).as_posix()
                found += [(where, line) for line in lines if line.startswith(prefix) and " " in line.strip()]
    return found


def documented(prefix: str) -> list[tuple[str, str]]:
    """(page, line) of every command line that begins so; a line that ends with a backslash goes on in the next."""
    found = []
    for page in PAGES:
        for language, text in blocks(page):
            if language in ("", "bash", "sh", "shell", "console"):
                for line in re.split(r"\n| ; | && ", text.replace("\\\n", " ")):
                    line = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
                    if line.startswith(prefix):
                        found.append((page.relative_to(ROOT).as_posix(), line))
    return found


TOOLRM = documented("toolrm ") + [each for each in inline("toolrm ", table=True) if "=" in each[1]]
MENTIONED = inline("toolrm ", table=False) + [each for each in inline("toolrm ", table=True) if "=" not in each[1]]
"""Commands in running text, which may leave out settings that a whole command needs."""
SCRIPTS = documented("launch/")


def words_of(line: str) -> tuple[str, list[str]]:
    """The command's name and its other words."""
    _, *words = shlex.split(line, comments=True)
    count = 2 if " ".join(words[:2]) in cli.COMMANDS else 1
    return " ".join(words[:count]), words[count:]


@pytest.mark.parametrize(("page", "line"), TOOLRM)
def test_a_documented_command_has_settings_that_exist(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, words = words_of(line)
    assert name in cli.COMMANDS
    command = importlib.import_module(f"toolrm_jax.commands.{cli.COMMANDS[name][0]}")
    kinds = getattr(command, "CONFIGS", command.Config)
    words = ["dry_run=true" if word == "--dry-run" else word for word in words]
    if "--help" in words or name == "sweep":
        return  # a sweep's words are checked below
    elided = [word for word in words if word.endswith(ELLIPSIS)]
    try:
        settings.resolve(name, kinds, [word for word in words if word not in elided], command.BASE)
    except ConfigError as error:
        if not (elided and "is not given" in str(error)):
            pytest.fail(str(error))


@pytest.mark.parametrize(("page", "line"), [each for each in TOOLRM if each[1].startswith("toolrm sweep ")])
def test_a_documented_sweep_makes_points(page, line, monkeypatch):
    from toolrm_jax.commands import sweep
    from toolrm_jax.commands.sweep_plan import make_plan

    monkeypatch.chdir(ROOT)
    name, words = words_of(line)
    if name != "sweep":
        return
    config = sweep.read(name, sweep.Config, words, None).config
    plan = make_plan(Path(config.output), config.train, sweep._load(config.sweep), config.points, config.draws, 0)
    assert len(plan.runs) > 1


TESTS = "".join(file.read_text() for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__))


@pytest.mark.parametrize("name", sorted({words_of(line)[0] for _, line in TOOLRM}))
def test_a_documented_command_is_run_by_a_test(name):
    """The very line of a page may ask for a model or hardware that no test has; the command is run with another."""
    words = r'",\s*"'.join(map(re.escape, name.split()))
    as_words = re.search(rf'(\(|\[|"toolrm_jax",|"toolrm",)\s*"{words}"', TESTS)
    module = cli.COMMANDS[name][0]
    assert as_words or re.search(rf"from toolrm_jax.commands(\.{module}\b| import .*\b{module}\b)", TESTS)


@pytest.mark.parametrize(("page", "line"), SCRIPTS)
def test_a_documented_script_runs_dry_or_is_run_elsewhere(page, line, tmp_path):
    script, *words = shlex.split(line, comments=True)
    assert os.access(ROOT / script, os.X_OK)
    if "--dry-run" not in words or script in ("launch/sglang_server.sh", "launch/sglang_cpu.sh"):
        assert script in ELSEWHERE
        return
    done = subprocess.run([ROOT / script, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("+ ")
    assert list(tmp_path.iterdir()) == []


def test_every_command_of_the_readmes_table_is_looked_at():
    table = [line for page, line in TOOLRM if page == "README.md"]
    assert "toolrm runs path=FOLDER" in table
    assert len(table) > 12


@pytest.mark.parametrize(("page", "line"), MENTIONED)
def test_a_command_in_running_text_exists_with_its_settings(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    # Of `a=x|y` the first is looked at; what stands in brackets may be left out.
    name, words = words_of(re.sub(r"\|\w+|\[[^]]*\]", "", line))
    assert name in cli.COMMANDS or name.startswith("-")
    if name.startswith("-") or not words or "--help" in words:
        return
    command = importlib.import_module(f"toolrm_jax.commands.{cli.COMMANDS[name][0]}")
    kinds = getattr(command, "CONFIGS", command.Config)
    words = ["dry_run=true" if word == "--dry-run" else word for word in words if not word.endswith(ELLIPSIS)]
    try:
        settings.resolve(name, kinds, words, command.BASE)
    except ConfigError as error:
        if "is not given" not in str(error):
            pytest.fail(str(error))


@pytest.mark.parametrize(("page", "line"), inline("launch/", table=True) + inline("launch/", table=False))
def test_a_script_in_running_text_exists_with_its_options(page, line):
    script, *words = shlex.split(line)
    text = (ROOT / script).read_text()
    assert all(word in text for word in words if word.startswith("--"))


@pytest.mark.parametrize(("page", "line"), documented("make ") + inline("make ", True) + inline("make ", False))
def test_a_documented_target_is_in_the_makefile(page, line):
    targets = {word for word in shlex.split(line, comments=True)[1:] if "=" not in word and not word.startswith("-")}
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= known


PYTHON = [
    (page.relative_to(ROOT).as_posix(), text) for page in PAGES for kind, text in blocks(page) if kind == "python"
]
JSON = [(page.relative_to(ROOT).as_posix(), text) for page in PAGES for kind, text in blocks(page) if kind == "json"]


@pytest.mark.parametrize(("page", "text"), PYTHON)
def test_documented_python_parses_and_imports_what_there_is(page, text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("toolrm_jax"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize(("page", "text"), JSON)
def test_documented_json_is_json(page, text):
    json.loads(text)


def test_the_pages_hold_commands_of_every_kind():
    assert len(TOOLRM) > 30
    assert len(SCRIPTS) > 5
    assert PYTHON
    assert JSON


@pytest.mark.slow
def test_the_site_builds_without_a_dead_link(tmp_path):
    pytest.importorskip("mkdocs", reason="the site is built with the extra docs")
    command = ["python", "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    import sys

    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "quickstart/index.html", "api/index.html"} <= pages
    for page in pages:  # nothing is fetched from elsewhere
        text = (tmp_path / "site" / page).read_text()
        assert not re.search(r'<(script|img|iframe)[^>]+src="https?://', text), page
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="https?://', text), page
