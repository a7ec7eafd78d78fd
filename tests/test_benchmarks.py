"""`make bench` runs what needs nothing; a benchmark whose data is not there says so in one line; scripts run dry."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
RUN = set(re.search(r"^BENCH := (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
NEED_DATA = {"bfcl_disagreement", "input_pipeline", "model_mistakes", "parsed_share", "score_vs_hf", "train_vs_trl"}
NEED_ACCELERATOR, READ_BY_OTHERS = {"train_mfu"}, {"real_groups", "torch_classifier"}


def test_every_benchmark_is_run_by_make_or_known_to_need_something():
    assert RUN | NEED_DATA | NEED_ACCELERATOR | READ_BY_OTHERS == FILES
    assert not RUN & (NEED_DATA | NEED_ACCELERATOR | READ_BY_OTHERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NEED_DATA))
def test_a_benchmark_without_its_data_ends_with_a_line_that_says_so(name, tmp_path):
    if lacking := [package for package in ("torch", "transformers", "trl", "bfcl_eval") if not find_spec(package)]:
        pytest.skip(f"{lacking[0]} is not installed")
    empty = {"TOOLRM_DATA": str(tmp_path), "TOOLRM_MODELS": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | empty, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "TOOLRM_" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_strangers_path_is_clean_and_dry_it_prints_each_command_and_makes_nothing(tmp_path):
    script = ROOT / "benchmarks" / "strangers_path.sh"
    shellcheck = shutil.which("shellcheck") or Path(sys.executable).with_name("shellcheck")
    if Path(shellcheck).exists():
        told = subprocess.run([shellcheck, "-x", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.stdout == ""
    done = subprocess.run([script, "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("+ make quickstart") == 2
    assert "+ environment/bin/python -I score.py elsewhere" in done.stderr
    assert list(tmp_path.iterdir()) == []
