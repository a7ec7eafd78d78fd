"""Where tests find data and models that are not part of the repository; tests that need them skip without."""

import os
import pathlib

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: nothing fails for the time that an example took.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def _file_or_skip(variable: str, default: str, name: str) -> pathlib.Path:
    path = pathlib.Path(os.environ.get(variable, f"~/.cache/{default}")).expanduser() / name
    if not path.exists():
        pytest.skip(f"{path} is absent; set {variable}")
    return path


def data_folder(name: str) -> pathlib.Path:
    """The unpacked data set of that name, below TOOLRM_DATA or ~/.cache/toolrm-data."""
    return _file_or_skip("TOOLRM_DATA", "toolrm-data", name)


def model_file(name: str) -> pathlib.Path:
    """The model's file or folder of that name, below TOOLRM_MODELS or ~/.cache/toolrm-models."""
    return _file_or_skip("TOOLRM_MODELS", "toolrm-models", name)


@pytest.fixture(name="data_folder", scope="session")
def _data_folder():
    """`data_folder` for tests, which cannot import this file under pytest's importlib mode."""
    return data_folder


@pytest.fixture(name="model_file", scope="session")
def _model_file():
    """`model_file` for tests."""
    return model_file
