import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.files import first_difference, is_complete, is_done, json_hash, new_folder, write_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make_stage(folder, config, inputs=None, overwrite=False):
    with new_folder(folder, overwrite) as partial:
        write_file(partial / "card.json", json.dumps({"config": config, "inputs": inputs or {}}))


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    write_file(tmp_path / "deep" / "a.txt", "old")
    write_file(tmp_path / "deep" / "a.txt", "new \u00fc")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"new \xc3\xbc"
    assert names(tmp_path / "deep") == ["a.txt"]


def test_a_lone_surrogate_is_written_as_its_json_escape(tmp_path):
    write_file(tmp_path / "a.json", json.dumps("\ud800", ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_bytes()) == "\ud800"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_file(tmp_path / "file" / "below", "x")
    assert "\n" not in str(caught.value)


def test_a_folder_gets_its_name_only_at_the_end(tmp_path):
    with new_folder(tmp_path / "out") as partial:
        write_file(partial / "card.json", "{}")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"]
    assert is_complete(tmp_path / "out")


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_fault_while_filling_leaves_nothing(tmp_path, fault):
    def fill():
        with new_folder(tmp_path / "out") as partial:
            (partial / "half").write_text("x")
            raise fault

    with pytest.raises(fault):
        fill()
    assert names(tmp_path) == []


def test_a_fault_while_overwriting_leaves_the_old_folder(tmp_path):
    make_stage(tmp_path / "out", {"a": 1})
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out", overwrite=True):
        raise RuntimeError
    assert names(tmp_path) == ["out"]
    assert is_done(tmp_path / "out", {"a": 1}, {})


def test_overwriting_takes_the_old_folder_out_of_sight_before_removing_it(tmp_path, monkeypatch):
    make_stage(tmp_path / "out", {"a": 1})
    removed = []
    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path: (removed.append(path.name), remove(path)))
    make_stage(tmp_path / "out", {"a": 2}, overwrite=True)
    assert removed == [".out.retired"]
    assert names(tmp_path) == ["out"]
    assert is_done(tmp_path / "out", {"a": 2}, {})


def test_a_killed_writer_leaves_nothing_under_the_name_and_the_next_one_cleans_up(tmp_path):
    script = (
        "import os, signal, sys; from toolrm_jax.files import new_folder\n"
        "with new_folder(sys.argv[1]) as partial:\n"
        "    (partial / 'half').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    make_stage(tmp_path / "out", {})
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["card.json"]


def test_a_folder_no_stage_wrote_is_never_touched(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="no stage wrote it"):
            is_done(mine, {}, {}, overwrite)
        with pytest.raises(ConfigError, match="no stage wrote it"):
            make_stage(mine, {}, overwrite=overwrite)
    assert names(mine) == ["thesis.txt"]


def test_an_empty_folder_may_be_filled_and_a_file_may_not(tmp_path):
    (tmp_path / "out").mkdir()
    make_stage(tmp_path / "out", {})
    assert is_complete(tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        make_stage(tmp_path / "file", {}, overwrite=True)


def test_done_means_the_same_config_and_inputs(tmp_path):
    out = tmp_path / "out"
    assert not is_done(out, {"seed": 1}, {"bfcl": "ab"})
    make_stage(out, {"seed": 1, "recipe": {"mistakes": [3]}}, {"bfcl": "ab"})
    assert is_done(out, {"recipe": {"mistakes": (3,)}, "seed": 1}, {"bfcl": "ab"})
    with pytest.raises(ConfigError, match=r"config\.recipe\.mistakes=\[3\], now \[4\]; say overwrite=true"):
        is_done(out, {"seed": 1, "recipe": {"mistakes": [4]}}, {"bfcl": "ab"})
    with pytest.raises(ConfigError, match=r'inputs\.bfcl="ab", now "cd"'):
        is_done(out, {"seed": 1, "recipe": {"mistakes": [3]}}, {"bfcl": "cd"})
    assert not is_done(out, {"seed": 2}, {}, overwrite=True)


def test_a_card_that_is_no_json_is_one_line(tmp_path):
    make_stage(tmp_path / "out", {})
    (tmp_path / "out" / "card.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        is_done(tmp_path / "out", {}, {})


def test_the_first_difference_is_named_in_full():
    assert first_difference({"a": 1}, {"a": 1}) is None
    assert first_difference({"b": {"c": 1}, "d": 0}, {"b": {"c": 2}, "d": 1}) == ("b.c", "1", "2")
    assert first_difference({"a": 1}, {}) == ("a", "1", "absent")
    assert first_difference({"a": None}, {}) == ("a", "null", "absent")
    assert first_difference({"a": 1}, {"a": True}) == ("a", "1", "true")


def test_the_hash_of_json_ignores_the_order_of_keys():
    assert json_hash({"a": 1, "b": [1, 2]}) == json_hash({"b": [1, 2], "a": 1})
    assert json_hash({"a": [1, 2]}) != json_hash({"a": [2, 1]})
