"""A program that runs under any Python with torch and transformers, and answers in JSON.

Such a program imports nothing of this package, so that it also runs in an environment with another transformers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from toolrm_jax.errors import ConfigError, ModelError


def ask_program(program: str, folder: Path, asked: dict[str, Any], python: str = "") -> Any:
    """What the program, called as `PYTHON PROGRAM ASKED.json GIVEN.json`, has written.

    folder: of the model; its absolute path is added to what is asked. python: default this one.
    Raises ModelError where the model cannot be loaded or run, ConfigError where there is no such Python or no torch.
    """
    python = python or sys.executable
    with tempfile.TemporaryDirectory() as scratch:
        asking, given = Path(scratch, "asked.json"), Path(scratch, "given.json")
        asking.write_text(json.dumps(asked | {"folder": str(folder.resolve())}))
        try:
            done = subprocess.run([python, program, asking, given], capture_output=True, text=True, check=False)
        except OSError as error:
            raise ConfigError(f"python={python}: cannot be run ({error.strerror})") from None
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            if "ModuleNotFoundError" in why:
                raise ConfigError(f"{python}: {why}; install the extra `hf`, or name a Python that has it as python=")
            raise ModelError(f"{folder}: transformers cannot run it ({why})")
        return json.loads(given.read_text())
