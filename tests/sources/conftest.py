"""Where the data of these tests lie; a test is skipped, with the reason, where they are absent."""

import importlib.util
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bfcl_eval() -> None:
    if importlib.util.find_spec("bfcl_eval") is None:
        pytest.skip("bfcl-eval is not installed: pip install --no-deps bfcl-eval")


@pytest.fixture(scope="session")
def bfcl_outputs() -> Path:
    """The unpacked folder of models' answers to BFCL."""
    folders = os.environ.get("TOOLRM_DATA") or Path.home() / ".cache" / "toolrm-data"
    folder = Path(folders) / "bfcl_outputs"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set TOOLRM_DATA to the folder of the unpacked data sets")
    return folder
