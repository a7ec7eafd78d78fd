"""`toolrm prepare config=data/…`: both papers' pairs from files as published; the same bytes whatever befalls it."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.commands.sgd_files import words, write_sgd
from toolrm_jax.cli import main
from toolrm_jax.commands import prepare_units
from toolrm_jax.preferences import resume, stage
from toolrm_jax.preferences.card import read_card
from toolrm_jax.preferences.pairs import pairs
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.score import rule_score

RECIPES = ("balanced", "outcome")


@pytest.fixture(scope="module")
def sgd(tmp_path_factory):
    return write_sgd(tmp_path_factory.mktemp("sgd"))


@pytest.fixture(autouse=True)
def _small_units(monkeypatch):
    monkeypatch.setattr(prepare_units, "UNIT_BYTES", 1)


def contents(output):
    """Every file by its name below the folder."""
    files = sorted(path for path in output.rglob("*") if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(sgd, tmp_path_factory):
    """Both recipes' folders, made in one go."""
    made = {}
    for recipe in RECIPES:
        made[recipe] = tmp_path_factory.mktemp(recipe) / "out"
        before, prepare_units.UNIT_BYTES = prepare_units.UNIT_BYTES, 1
        try:
            assert main(words(recipe, sgd, made[recipe])) == 0
        finally:
            prepare_units.UNIT_BYTES = before
    return made


def test_balanced_pairs_are_scored_by_the_rule_and_no_candidate_is_without_a_pair(undisturbed):
    for side in ("train", "held_out"):
        for group in read_groups(undisturbed["balanced"] / side):
            assert {p for c in group.choices for p in (c.better, c.worse)} == set(range(len(group.candidates)))
            for pair in pairs(group):
                assert pair.intensity > 0
                for candidate, verdict in ((pair.chosen, pair.chosen_verdict), (pair.rejected, pair.rejected_verdict)):
                    assert verdict == judge(group.task, candidate)
                    if not verdict.right:
                        assert verdict.score == rule_score(candidate, group.task.reference.calls).score


def test_half_of_the_drawn_pairs_are_swapped(undisturbed):
    swapped = [pair.swapped for group in read_groups(undisturbed["balanced"] / "train") for pair in pairs(group)]
    assert abs(2 * sum(swapped) - len(swapped)) <= 1


def test_outcome_pairs_have_the_reference_over_distinct_wrong_answers_under_random_names(undisturbed):
    for group in read_groups(undisturbed["outcome"] / "train"):
        assert group.candidates[0].maker == "reference"
        assert group.candidates[0].calls == group.task.reference.calls
        assert [verdict.right for verdict in group.verdicts] == [True] + [False] * (len(group.verdicts) - 1)
        assert 1 <= len(group.verdicts) - 1 <= 3
        assert {"city", "Hotels_9_FindHotel"} <= set(group.names)
        text = json.dumps(group.to_json() | {"names": None})
        assert "Hotels_9" not in text
        assert '"city"' not in text


def test_tasks_without_a_call_have_no_more_than_their_share_of_the_outcome_pairs(undisturbed):
    table = read_card(undisturbed["outcome"] / "train").tables["pairs by class"]
    drawn = table["drawn"]
    assert drawn["no call"] == (drawn["single-turn"] + drawn["multi-turn"]) * 10 // 170
    assert drawn["no call"] < table["there were"]["no call"]
    assert drawn["multi-turn"] > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_conversation_is_on_both_sides(undisturbed, recipe):
    talks = [
        {group.task.id.rpartition("/")[0] for group in read_groups(undisturbed[recipe] / side)}
        for side in ("train", "held_out")
    ]
    assert all(talks)
    assert not talks[0] & talks[1]


def test_the_card_names_what_was_read_left_out_and_inherited(undisturbed):
    card = read_card(undisturbed["balanced"] / "train")
    assert card.tables["tasks read"] == {"sgd": {"tasks": 48}}
    assert card.sources["sgd"]["licence"] == "CC-BY-SA-4.0"
    assert card.drops["not drawn"] > 0
    drawn = sum(map(sum, (row.values() for row in card.tables["intensity by complexity"].values())))
    held_out = read_card(undisturbed["balanced"] / "held_out").tables["intensity by complexity"]
    assert drawn + sum(map(sum, (row.values() for row in held_out.values()))) == 60
    told = (undisturbed["balanced"] / "train" / "card.md").read_text()
    assert "Licences to inherit: CC-BY-SA-4.0." in told
    assert "must be shared alike" in told


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_workers_write_the_bytes_of_one(undisturbed, sgd, tmp_path, recipe):
    assert main(words(recipe, sgd, tmp_path / "out", "run.workers=2")) == 0
    assert contents(tmp_path / "out") == contents(undisturbed[recipe])


def test_the_size_of_shards_changes_no_group(undisturbed, sgd, tmp_path):
    assert main(words("balanced", sgd, tmp_path / "out", "run.shard_tasks=1000", "run.shard_groups=1000")) == 0
    for side in ("groups", "train", "held_out"):
        assert list(read_groups(tmp_path / "out" / side)) == list(read_groups(undisturbed["balanced"] / side))


class Stopped(BaseException):
    """Stands for the end of the process: nothing in the code catches it."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_before_any_of_its_renames_and_run_again_it_ends_with_the_same_bytes(
    undisturbed, sgd, tmp_path, monkeypatch, recipe
):
    renames = []
    monkeypatch.setattr(os, "replace", _counted(os.replace, renames))
    assert main(words(recipe, sgd, tmp_path / "counted")) == 0
    count = len(renames)
    assert count > 30
    monkeypatch.undo()
    for stop in sorted(random.Random(recipe).sample(range(count), 8)):
        output = tmp_path / str(stop)
        with monkeypatch.context() as patch:
            patch.setattr(prepare_units, "UNIT_BYTES", 1)
            patch.setattr(os, "replace", _counted(os.replace, [], stop))
            with pytest.raises(Stopped):
                main(words(recipe, sgd, output))
        monkeypatch.setattr(prepare_units, "UNIT_BYTES", 1)
        assert main(words(recipe, sgd, output)) == 0
        assert contents(output) == contents(undisturbed[recipe])


def _counted(real, seen, stop=None):
    def replace(*arguments):
        seen.append(arguments)
        if stop is not None and len(seen) > stop:
            raise Stopped
        return real(*arguments)

    return replace


def test_what_is_done_is_not_done_again(sgd, tmp_path, monkeypatch):
    made = []
    real = stage.make_shard
    monkeypatch.setattr(prepare_units, "make_shard", lambda *some: (made.append(some[1]), real(*some)))
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(resume.shutil, "rmtree", lambda *some, **more: None)
        patch.setattr(prepare_units, "make_shard", lambda *some: _stop_at(made, some, real, 5))
        with pytest.raises(Stopped):
            main(words("balanced", sgd, output))
    assert len(made) == 5
    assert main(words("balanced", sgd, output)) == 0
    assert len(made) == len(set(made)) == len(list((output / "groups").glob("index-*.npz")))
    assert main(words("balanced", sgd, output)) == 0
    assert main(words("balanced", sgd, output, "pairs=20", "overwrite=true")) == 0
    assert len(made) == len(set(made))


def test_what_another_drawing_held_out_is_gone_where_nothing_is_held_out(sgd, tmp_path):
    for more in ([], ["held_out=0", "overwrite=true"]):
        assert main(words("balanced", sgd, tmp_path / "out", *more)) == 0
        assert (tmp_path / "out" / "held_out").exists() == (not more)


def _stop_at(made, some, real, count):
    if len(made) == count:
        raise Stopped
    made.append(some[1])
    real(*some)


def test_an_unfinished_folder_of_other_settings_is_not_gone_on_with(sgd, tmp_path, monkeypatch, fails):
    with monkeypatch.context() as patch:
        patch.setattr(prepare_units, "UNIT_BYTES", 1)
        patch.setattr(prepare_units, "make_shard", lambda *some: _stop_at([], some, None, 0))
        with pytest.raises(Stopped):
            main(words("balanced", sgd, tmp_path / "out"))
    said = fails(*words("balanced", sgd, tmp_path / "out", "seed=1"))
    assert "was begun with config.seed=0, now 1; say overwrite=true to begin anew" in said
    assert main(words("balanced", sgd, tmp_path / "out", "seed=1", "overwrite=true")) == 0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_at_random_moments_twenty_times_and_resumed_it_ends_with_the_same_bytes(tmp_path, recipe):
    sgd = write_sgd(tmp_path / "data", files=60, dialogues=8)
    more = ("run.shard_tasks=20", "pairs=900", "held_out=30")
    start = time.monotonic()
    _run(words(recipe, sgd, tmp_path / "calm", *more)).wait()
    whole = time.monotonic() - start
    rng = random.Random(recipe)
    kills = finished = 0
    while kills < 20:
        running = _run(words(recipe, sgd, tmp_path / "killed", *more, "run.workers=2"))
        try:
            running.wait(rng.uniform(0.3, 0.6) * whole)
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            kills += 1
        running.wait()
        if running.returncode == 0:  # done before all kills: what is there must not change; begin anew
            assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
            finished += 1
            (tmp_path / "killed").rename(tmp_path / f"finished {finished}")
    assert _run(words(recipe, sgd, tmp_path / "killed", *more)).wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def _run(words):
    command = [sys.executable, "-m", "toolrm_jax", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_ray_writes_the_bytes_of_one_process(undisturbed, sgd, tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert main(words("balanced", sgd, tmp_path / "out", "run.cluster=true")) == 0
    finally:
        ray.shutdown()
    assert contents(tmp_path / "out") == contents(undisturbed["balanced"])


def test_an_id_that_came_before_in_another_file_is_a_counted_drop(sgd, tmp_path):
    twice = f"data.sources=sgd={sgd},sgd={write_sgd(tmp_path / 'again')}"
    assert main(words("balanced", sgd, tmp_path / "out", twice, "data.similarity=None")) == 0
    card = read_card(tmp_path / "out" / "train")
    assert card.drops["repeated id"] == 48
    whole = read_card(tmp_path / "out" / "groups")
    assert sorted(whole.inputs) == ["sgd", "sgd 2"]
    assert whole.inputs["sgd"] == whole.inputs["sgd 2"]


def test_what_a_benchmark_shares_is_left_out_and_listed(bfcl_folder, tmp_path):
    read = f"bfcl/live={bfcl_folder}"
    few = ["data.benchmarks=bfcl/simple_python", "pairs=20", "held_out=0", f"data.folder={tmp_path}"]
    (tmp_path / "bfcl").symlink_to(bfcl_folder)
    assert main(["prepare", "config=data/outcome", f"data.sources={read}", f"output={tmp_path / 'out'}", *few]) == 0
    removed = [json.loads(line) for line in (tmp_path / "out" / "groups" / "removed.jsonl").read_text().splitlines()]
    assert [(one["id"], one["shares"], one["benchmark"]) for one in removed] == [
        ("live_simple_9", "function", "bfcl simple_python_0")
    ]
    assert read_card(tmp_path / "out" / "groups").drops["shares a function with a benchmark"] == 1


def test_the_outcome_recipe_asks_for_what_its_paper_tests_on_and_says_what_to_do_without(
    sgd, bfcl_folder, tmp_path, fails
):
    (tmp_path / "bfcl").symlink_to(bfcl_folder)
    read = [f"data.sources=sgd={sgd}", f"data.folder={tmp_path}", f"output={tmp_path / 'out'}"]
    said = fails("prepare", "config=data/outcome", *read)
    assert "'hammer_tests'" in said
    assert "leave it out of data.sources and data.benchmarks" in said


def test_what_is_written_names_neither_its_folder_nor_how_many_workers_wrote_it(undisturbed):
    kept = json.loads((undisturbed["balanced"] / "config.json").read_text())
    assert "output" not in kept
    assert set(kept["run"]) == {"shard_tasks", "shard_groups"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["data.sources=nexusraven"], "nexusraven may not train by default"),
        (["data.answers=bfcl_outputs/raw"], "bfcl_outputs may not train by default"),
        (["data.sources=sgdd"], "did you mean 'sgd'?"),
        (["data.sources=sgd=/nowhere"], "/nowhere"),
        (["data.sources=s g d"], "write NAME"),
        (["data.makers=mine"], "say permissive, open, all"),
        (["data.shared=word"], "unknown kind of contamination 'word'"),
        (["data.similarity=2.0"], "similarity=2.0"),
        (["pairs=0"], "pairs=0: give at least 1"),
        (["pairs=6"], "held_out=6: is a part of pairs=6; give 0 to 5"),
        (["held_out=-1"], "held_out=-1: is a part of pairs=60"),
        (["mistakes=0"], "mistakes=0: give at least 1"),
        (["run.workers=0"], "workers=0"),
        (["mix=1,2,3"], "unknown setting 'mix'"),
    ],
)
def test_what_cannot_be_done_is_one_line(sgd, tmp_path, fails, more, says):
    assert says in fails(*words("balanced", sgd, tmp_path / "out"), *more)
    assert not (tmp_path / "out" / "train").exists()


def test_one_bad_dialogue_is_a_counted_drop_or_with_strict_an_error(tmp_path, fails):
    sgd = write_sgd(tmp_path / "data", files=1, dialogues=3)
    file = next(sgd.rglob("dialogues_*.json"))
    rows = json.loads(file.read_text())
    del rows[1]["turns"][0]["speaker"]
    file.write_text(json.dumps(rows))
    assert main(words("balanced", sgd, tmp_path / "out")) == 0
    card = read_card(tmp_path / "out" / "groups")
    assert card.tables["left out when reading"]["sgd"] == {"not readable": 1}
    assert "dialogues_001.json" in fails(*words("balanced", sgd, tmp_path / "strict", "data.strict=true"))
    file.write_bytes(file.read_bytes()[:-40])
    assert "dialogues_001.json" in fails(*words("balanced", sgd, tmp_path / "cut"))
