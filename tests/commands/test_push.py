"""A push sends a whole, loadable, licensed folder, goes on where it broke off, and commits all files or none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.commands.hub_stand_in import hub
from tests.converters.made_folder import made_weights, small_config, write_folder

CARD = '---\nlicense: "apache-2.0"\n---\n# A model\n'


def folder_of(path, files):
    """An exported folder, in so many files of weights."""
    config = small_config("llama")
    made = write_folder(path, config, made_weights(config, "reward", "float32"), files=files, task="reward")
    for name, text in {"README.md": CARD, "toolrm.json": "{}", "tokenizer_config.json": "{}"}.items():
        (made / name).write_text(text)
    (made / ".cache").mkdir()
    (made / ".cache" / "left").write_text("not sent")
    return made


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path / "model", 3)


def push(folder, url, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": url, "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1", "JAX_PLATFORMS": "cpu"}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HOME": str(folder.parent / "home")}
    command = [sys.executable, "-m", "toolrm_jax", "push", f"path={folder}", "repo=owner/name", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_push_that_broke_off_goes_on_and_commits_everything_at_once(folder):
    with hub() as state:
        state.refuse_puts_after = 1
        broken = push(folder, state.url)
        assert broken.returncode == 2
        assert broken.stderr.count("\n") == 1, broken.stderr
        assert "the hub does not take it" in broken.stderr
        assert "hf_secret" not in broken.stdout + broken.stderr
        assert state.commits == []
        taken, state.refuse_puts_after = state.puts, None
        done = push(folder, state.url)
        assert done.returncode == 0, done.stderr
        assert f"pushed: {state.url}/owner/name/commit/1" in done.stdout
    assert state.puts == 3, f"{taken} large files were taken before, the others after"
    assert taken >= 1
    (sent,) = state.commits
    assert sent == contents(folder)
    assert state.repos == {"owner/name": True}, "private unless said otherwise"
    assert state.tokens == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    "files", [(1, 3), (3, 1), (3, 2)], ids=["one, then shards", "shards, then one", "fewer shards"]
)
def test_no_weights_of_an_earlier_push_stay_beside_those_of_this_one(files, tmp_path):
    """transformers takes a `model.safetensors` before any index, and other engines read every file there is."""
    before, after = (folder_of(tmp_path / str(number), count) for number, count in enumerate(files))
    others = {"notes.md": b"written by hand", "earlier/model.safetensors": b"of another push, by hand"}
    with hub() as state:
        for one in (before, after):
            assert (done := push(one, state.url)).returncode == 0, done.stderr
            if one is before:
                state.files |= others
        assert len(state.commits) == 2, "old weights go in the commit that brings the new ones"
    assert state.files == {**contents(after), **others}


def test_a_dry_run_lists_files_and_sizes_and_asks_nobody(folder):
    done = push(folder, "http://127.0.0.1:9", "--dry-run", "private=false")
    assert done.returncode == 0, done.stderr
    for file in folder.iterdir():
        if file.is_file():
            assert f"{file.stat().st_size:>15,}  {file.name}\n" in done.stdout
    assert ".cache" not in done.stdout
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: qwen-research\n---\n")
    assert "licence qwen-research" in push(folder, "http://127.0.0.1:9", "--dry-run").stdout
    assert "licence apache-2.0" in done.stdout
    assert "nothing was sent to owner/name (public)" in done.stdout


def test_a_hub_that_cannot_be_reached_is_one_line(folder):
    done = push(folder, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("toolrm: owner/name: the hub does not take it (")
    assert done.stderr.count("\n") == 1


def test_a_folder_that_is_not_whole_or_has_no_licence_is_not_pushed(folder, fails):
    def refused(says, repo="owner/name"):
        assert says in fails("push", f"path={folder}", f"repo={repo}")

    refused("no name of a repository", "name")
    (folder / "README.md").write_text("# A model\n\nlicense: mit\n")
    refused("names no licence")
    (folder / "README.md").write_text("---\nlicense: other\n---\n# A model\n")
    refused("its licence is `other`, which names none; write `license_name")
    (folder / "README.md").unlink()
    refused("a model is pushed with its card")
    (folder / "README.md").write_text(CARD)
    (folder / "toolrm.json").write_text("{")
    refused("toolrm.json cannot be read")
    (folder / "toolrm.json").write_text("{}")
    weights = folder / "model-1.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    refused("damaged or cut short")
    weights.unlink()
    refused("the index names model-1.safetensors, which is missing")
    weights.write_bytes(whole)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"hidden_size": 8', '"hidden_size": 6'))
    refused("has shape")
    (folder / "config.json").write_text(text.replace("ForSequenceClassification", "ForTokenClassification"))
    refused("is none that `toolrm export` writes")
    (folder / "adapter_config.json").write_text("{}")
    refused("holds adapters alone")
    assert "no such folder" in fails("push", f"path={folder}/absent", "repo=a/b")
