"""`toolrm COMMAND key=value …`: finds the command, reads its settings, runs it, and turns errors into one line.

Nothing heavy is imported before the command is known, so that `toolrm --help` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from toolrm_jax import __version__
from toolrm_jax.errors import ConfigError, ToolrmError

COMMANDS = {
    "quickstart": ("quickstart", "all of the below in one go: from public tasks to an exported reward model"),
    "import": ("import_model", "bring a backbone (GGUF file, hub id, or a name) into a Hugging Face folder"),
    "synth": ("synth", "ask models for answers to contexts, and grade them"),
    "synth status": ("synth_status", "what a journal of synth holds, also while a run writes it"),
    "prepare": ("prepare", "turn tasks into groups of right and wrong answers"),
    "inspect": ("inspect", "look at groups: tables in the terminal, and a page of samples to browse"),
    "train": ("train", "fine-tune a backbone into a reward model"),
    "sweep": ("sweep", "train over settings: a grid, a list or random draws, each point a run of its own"),
    "sweep status": ("sweep_status", "a sweep's table so far, and a page of plots"),
    "sweep best": ("sweep_best", "a sweep's best point, and the command that trains it again"),
    "runs": ("runs", "compare training runs in a table and a plot"),
    "plan": ("plan", "compile a training step for TPUs that are not there: memory, communication, a speed estimate"),
    "plan search": ("plan_search", "the same over meshes, row counts and remat policies: the best that fits"),
    "eval": ("eval", "judge groups and benchmarks, beside the baselines, and write a report"),
    "import-tools": ("import_tools", "tool definitions from an OpenAPI file, an MCP server or a Python module"),
    "eval build": ("eval_build", "build FC-RewardBench or TRBench-BFCL anew from recorded answers to BFCL"),
    "report": ("report", "lay evaluations side by side on one page"),
    "filter": ("filter", "score a training set and keep the best, a random draw, and all of it"),
    "filter policies": ("filter_policies", "train a policy on each of these, and compare what they answer"),
    "score": ("score", "score the candidates of a JSON-lines file"),
    "export": ("export", "write a run's newest checkpoint as a Hugging Face folder"),
    "verify": ("verify", "compare an exported folder's scores in transformers, SGLang or vLLM with ours"),
    "push": ("push", "upload an exported folder to the Hugging Face hub"),
}
"""The module of each command (in `toolrm_jax.commands`) and what it does, in the order of the help."""

FAILED = 2
INTERRUPTED = 130
PIPE_CLOSED = 141  # as a shell says of any program that SIGPIPE ended
DEBUG = "TOOLRM_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit code.

    2: something the user can mend, told in one line on stderr. 75: training stopped cleanly by a signal; start it
    again. 130: interrupted elsewhere. 141: nobody reads the output any more (`toolrm inspect … | head`).
    TOOLRM_DEBUG=1 shows tracebacks.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get(DEBUG) == "1"
    _quieten()
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left unsaid has nowhere to go
        return PIPE_CLOSED
    except ToolrmError as error:
        if debug:
            raise
        return _fail(str(error))
    except OSError as error:
        # A full disk or a folder that may not be written to; other errors of the system are faults of ours.
        if debug or error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}; name another path or free it")
    except KeyboardInterrupt:
        if debug:
            raise
        print("toolrm: interrupted; the same command goes on from the last finished stage", file=sys.stderr)
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        print(f"toolrm_jax {__version__}")
        return 0
    words = 2 if " ".join(argv[:2]) in COMMANDS else 1
    name, settings = " ".join(argv[:words]), ["dry_run=true" if word == "--dry-run" else word for word in argv[words:]]
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(COMMANDS)}"
        raise ConfigError(f"unknown command {name!r}; {hint}")
    command = importlib.import_module(f"toolrm_jax.commands.{COMMANDS[name][0]}")
    from toolrm_jax.commands import settings as reader

    kinds = getattr(command, "CONFIGS", command.Config)
    if {"--help", "-h"} & set(settings):
        print(reader.help_text(name, kinds, command.__doc__, command.BASE, settings))
        return 0
    # A sweep's words are settings of another command, some with several values.
    read = getattr(command, "read", reader.resolve)(name, kinds, settings, command.BASE)
    for line in read.difference:
        print(line)
    return command.run(read.config, overwrite=read.overwrite)


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "toolrm COMMAND [config=NAME] [a.b=value …] [bindings=FILE] [overwrite=true]",
            "",
            *(f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()),
            "",
            "config=NAME       a file of configs/, or a path to a .py file with a function config()",
            "a.b=value         a setting; `toolrm COMMAND --help` lists them with their defaults",
            "bindings=FILE     settings as lines `a.b = value`",
            "overwrite=true    replace what was made with other settings",
        ]
    )


def _fail(message: str) -> int:
    print(f"toolrm: {' '.join(message.split())}", file=sys.stderr)
    return FAILED


def _quieten() -> None:
    """Leave out notes of libraries that ask nothing of the user; warnings stay."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # "PyTorch was not found": it is not needed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("absl", "orbax", "jax", "matplotlib", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.WARNING)
