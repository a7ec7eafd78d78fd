"""Sources by name: what is known of each, and what reading by name promises whatever the source."""

import json
import sys
import types

import pytest

from toolrm_jax import sources
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.sources import SOURCES, Drops
from toolrm_jax.sources.catalogue import NO_LICENCE, Answers
from toolrm_jax.sources.drops import NOT_READABLE, REPEATED_ID
from toolrm_jax.sources.places import find

TOOL = {"name": "f", "description": "", "parameters": {"a": {"type": "int"}}}


def xlam_row(id, answers='[{"name": "f", "arguments": {"a": 1}}]'):
    return {"id": id, "query": "one", "tools": json.dumps([TOOL]), "answers": answers}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_the_functions_it_names_and_its_licence_as_data(name):
    source = SOURCES[name]
    module = source._reader()
    assert source.reads_tasks or source.reads_candidates
    assert hasattr(module, "read") or not source.reads_tasks
    assert hasattr(module, "read_candidates") or not source.reads_candidates
    assert source.about
    assert source.origin.startswith("https://")
    if hasattr(module, "LICENCE") and source.licence != NO_LICENCE:
        assert source.licence == module.LICENCE


def test_what_is_non_commercial_or_unlicensed_or_of_closed_models_does_not_train_by_default():
    for source in SOURCES.values():
        if "-NC-" in source.licence or source.licence == NO_LICENCE:
            assert not source.trains, source.name
        if source.reads_candidates and not source.reads_tasks and source.trains:
            assert source.answers is Answers.OPEN_MODELS, source.name
    assert not SOURCES["nexusraven"].trains
    assert {"sgd", "star", "taskmaster", "xlam", "toolrm_train_data"} <= {s.name for s in SOURCES.values() if s.trains}


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown source 'taskmastr'.*did you mean 'taskmaster'"):
        sources.read("taskmastr", "x")


def test_candidates_are_refused_where_there_are_none_and_tasks_likewise(tmp_path):
    with pytest.raises(ConfigError, match=r"'sgd' has no labelled candidates; these have: .*taskmaster"):
        sources.read_candidates("sgd", tmp_path)
    with pytest.raises(ConfigError, match="'toolpref' holds labelled candidates"):
        sources.read("toolpref", tmp_path)


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("bfcl", "bfcl_multi_turn")])
def test_a_source_without_a_usual_place_asks_for_one(name):
    read = sources.read if SOURCES[name].reads_tasks else sources.read_candidates
    with pytest.raises(DataError, match="give path="):
        list(read(name))


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "bfcl"])
def test_an_empty_folder_is_an_error_that_says_what_belongs_there(name, tmp_path, bfcl_eval):
    read = sources.read if SOURCES[name].reads_tasks else sources.read_candidates
    with pytest.raises(DataError, match="no "):
        list(read(name, tmp_path))


def test_a_repeated_id_is_a_drop_and_strictly_an_error(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([xlam_row(1), xlam_row(2), xlam_row(1)]))
    drops = Drops()
    assert [task.id for task in sources.read("xlam", file, drops=drops)] == ["xlam/1", "xlam/2"]
    assert drops.counts == {REPEATED_ID: 1}
    assert drops.first == {REPEATED_ID: "xlam task xlam/1"}
    with pytest.raises(DataError, match="xlam/1: repeated id"):
        list(sources.read("xlam", file, strict=True))


def test_drops_of_workers_add_up_to_those_of_one():
    one, other = Drops(), Drops()
    one.add("a", "x")
    other.add("a", "y")
    other.add("b", "z")
    one.merge(other)
    assert (one.counts, one.first, one.total) == ({"a": 2, "b": 1}, {"a": "x", "b": "z"}, 3)


def test_a_hub_id_is_fetched_and_read_from_its_parquet_files(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist([xlam_row(7)]), tmp_path / "data" / "train-0.parquet")
    asked = {}

    def snapshot_download(name, **settings):
        asked.update(name=name, **settings)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    path = "hf://datasets/Salesforce/xlam-function-calling-60k@main/data"
    assert [task.id for task in sources.read("xlam", path)] == ["xlam/7"]
    assert (asked["name"], asked["repo_type"], asked["revision"]) == (
        "Salesforce/xlam-function-calling-60k",
        "dataset",
        "main",
    )


def test_a_hub_id_that_does_not_exist_is_one_clear_line(monkeypatch):
    def snapshot_download(name, **settings):
        raise OSError("404 Client Error.\nRepository Not Found")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(DataError) as error:
        find("hf://datasets/no/such")
    assert str(error.value) == (
        "hf://datasets/no/such: the hub does not give it (404 Client Error.); check name, network and login"
    )


@pytest.mark.parametrize("path", ["hf://models/a/b", "hf://datasets/alone", "hf://datasets/"])
def test_what_is_no_hub_id_is_said_so(path):
    with pytest.raises(DataError, match="not a hub data set"):
        find(path)


def test_a_place_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        list(sources.read("xlam", tmp_path / "absent"))


def test_schema_guided_dialogue_by_the_name_of_tensorflow_datasets(tmp_path, monkeypatch):
    """A stand-in for the library: its builder's records have no calls, so the archive it downloads is read."""
    split = tmp_path / "extracted" / "dstc8-schema-guided-dialogue-master" / "dev"
    split.mkdir(parents=True)
    (split / "schema.json").write_text("[]")
    (split / "dialogues_001.json").write_text(
        json.dumps(
            [
                {
                    "dialogue_id": "1_00000",
                    "services": [],
                    "turns": [
                        {"speaker": "USER", "utterance": "Hi", "frames": []},
                        {"speaker": "SYSTEM", "utterance": "Hello", "frames": []},
                    ],
                }
            ]
        )
    )
    asked = []

    class DownloadManager:
        def __init__(self, download_dir, dataset_name):
            asked.append((download_dir, dataset_name))

        def download_and_extract(self, url):
            asked.append(url)
            return str(tmp_path / "extracted")

    builder = types.SimpleNamespace(
        data_dir=str(tmp_path / "tfds" / "schema_guided_dialogue" / "1.0.0"),
        info=types.SimpleNamespace(homepage="https://example.org/sgd"),
    )
    module = types.ModuleType("tensorflow_datasets")
    module.builder = lambda name: builder
    module.download = types.SimpleNamespace(DownloadManager=DownloadManager)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    assert [task.id for task in sources.read("sgd", "tfds://schema_guided_dialogue")] == ["sgd/dev/1_00000/1"]
    assert asked == [
        (str(tmp_path / "tfds" / "downloads"), "schema_guided_dialogue"),
        "https://example.org/sgd/archive/refs/heads/master.zip",
    ]
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError, match=r"toolrm_jax\[tfds\]"):
        find("tfds://schema_guided_dialogue")


def test_the_parts_of_a_source_together_are_the_source(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps([xlam_row(name)]))
    source = SOURCES["xlam"]
    whole = [task.id for task in source.read(tmp_path, Drops())]
    assert [task.id for part in source.parts(tmp_path) for task in source.read(part, Drops())] == whole


@pytest.mark.parametrize("strict", [False, True])
def test_one_bad_item_is_a_counted_drop_or_strictly_an_error(tmp_path, strict):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"id": 1, "query": "q", "tools": 5, "answers": "[]"}, xlam_row(2)]))
    drops = Drops()
    if strict:
        with pytest.raises(DataError, match=r"rows\.json:1"):
            list(sources.read("xlam", file, drops=drops, strict=True))
    else:
        assert len(list(sources.read("xlam", file, drops=drops))) == 1
        assert drops.counts == {NOT_READABLE: 1}
