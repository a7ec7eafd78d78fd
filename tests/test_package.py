"""What is released: a wheel that carries configs, converters and templates, and metadata that an index takes."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_carries_configs_converters_and_templates_and_an_index_takes_it(tmp_path):
    pytest.importorskip("build", reason="releases are made with the extra release")
    pytest.importorskip("twine", reason="releases are made with the extra release")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"toolrm_jax/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "configs").rglob("*.py")}
    wanted |= {f"toolrm_jax/converters/{file.name}" for file in (ROOT / "converters").glob("*.py")}
    for kind in ("*.jinja", "*.csv"):
        wanted |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "toolrm_jax").rglob(kind)}
    wanted |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "toolrm_jax").rglob("*.py")}
    assert wanted - carried == set()
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_the_citation_is_yaml_with_what_a_citation_needs():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(cited)
    assert cited["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
