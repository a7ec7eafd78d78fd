"""What is released: a wheel that carries configs, converters and templates, and metadata that an index takes."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_made_of_the_archive_carries_configs_converters_and_templates_and_an_index_takes_both(tmp_path):
    pytest.importorskip("build", reason="releases are made with the extra release")
    pytest.importorskip("twine", reason="releases are made with the extra release")
    # The archive of sources, and the wheel out of that alone.
    command = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (wheel,), (archive,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        packed = {name.partition("/")[2] for name in sources.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "launch/paper.sh", "launch/jobset_gpu.yaml"} <= packed
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"toolrm_jax/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "configs").rglob("*.py")}
    wanted |= {f"toolrm_jax/converters/{file.name}" for file in (ROOT / "converters").glob("*.py")}
    for kind in ("*.jinja", "*.csv"):
        wanted |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "toolrm_jax").rglob(kind)}
    wanted |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "toolrm_jax").rglob("*.py")}
    assert wanted - carried == set()
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(archive)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_citation_is_yaml_with_what_a_citation_needs():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(cited)
    assert cited["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
