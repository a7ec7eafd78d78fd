"""`toolrm prepare`: two folders of groups that share no function, made once."""

import json

import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands.prepare import OVER_LIMIT, OVERLAP, fewer_without_call
from toolrm_jax.errors import ConfigError
from toolrm_jax.preferences.card import read_card
from toolrm_jax.preferences.shards import read_groups
from toolrm_jax.toolcalls.types import Call, Context, Message, Reference, Task


@pytest.fixture
def words(bfcl_folder, tmp_path):
    return [
        "prepare",
        f"path={bfcl_folder}",
        f"output={tmp_path / 'groups'}",
        "train.categories=live_simple",
        "held_out.categories=simple_python",
    ]


def ids(folder):
    return {group.task.id.split("+")[0] for group in read_groups(folder)}


def test_what_was_left_out_is_on_the_card(words, tmp_path, capsys):
    assert main([*words, "train.max_tasks=4"]) == 0
    card = read_card(tmp_path / "groups" / "train")
    assert card.drops == {OVERLAP: 1, OVER_LIMIT: 5}
    assert card.groups == 4
    assert "4 groups, " in capsys.readouterr().out
    saved = json.loads((tmp_path / "groups" / "config.json").read_text())
    assert (saved["train"]["max_tasks"], saved["held_out"]["recipe"]["joined"]) == (4, 0.0)


def test_held_out_tasks_overlap_even_where_the_limit_leaves_them_out(words, tmp_path):
    assert main([*words, "held_out.max_tasks=1"]) == 0
    assert read_card(tmp_path / "groups" / "train").drops[OVERLAP] == 1


def test_a_smaller_sample_is_part_of_a_larger_one(words, tmp_path):
    for count in (3, 6):
        assert main([*words, f"train.max_tasks={count}", f"output={tmp_path / str(count)}"]) == 0
    assert ids(tmp_path / "3" / "train") < ids(tmp_path / "6" / "train")


def test_tasks_without_a_call_are_at_most_the_share_asked_for():
    context = Context((), (Message("user", "hello"),))

    def made(i, *calls):
        return Task(f"t{i}", "made", "live", "Apache-2.0", context, Reference(calls))

    tasks = [made(i, Call("f", {})) for i in range(10)] + [made(i) for i in range(10, 30)]
    for share, expected in ((0.0, 0), (0.25, 2), (1.0, 10), (9.0, 20)):
        kept = fewer_without_call(tasks, share, seed=0)
        assert sum(not task.reference.calls for task in kept) == expected
        assert sum(bool(task.reference.calls) for task in kept) == 10
    with pytest.raises(ConfigError, match="no_call=-1"):
        fewer_without_call(tasks, -1, seed=0)


def test_again_it_does_nothing_and_with_other_settings_it_refuses_unless_told(words, tmp_path, fails):
    assert main(words) == 0
    card = tmp_path / "groups" / "train" / "card.json"
    before = card.stat().st_mtime_ns
    assert main(words) == 0
    assert card.stat().st_mtime_ns == before
    assert "was made with config.seed=0, now 1; say overwrite=true" in fails(*words, "seed=1")
    assert card.stat().st_mtime_ns == before
    assert main([*words, "seed=1", "overwrite=true"]) == 0
    assert read_card(card.parent).config["seed"] == 1


def test_an_empty_data_set_is_one_line(words, bfcl_folder, tmp_path, fails):
    for file in (tmp_path / "empty", tmp_path / "empty" / "possible_answer"):
        file.mkdir()
    for file in bfcl_folder.rglob("*.json"):
        (tmp_path / "empty" / file.relative_to(bfcl_folder)).write_text("")
    said = fails(*words, f"path={tmp_path / 'empty'}")
    assert "held_out.categories: unknown category 'simple_python'" in said or "no tasks" in said
    assert not (tmp_path / "groups").exists()


def pool(folder):
    """Answers of an open, a closed and an unknown model to the first live question, as a pool of graded answers."""
    call = [{"wind": {"city": "Nowhere", "days": 2}}]
    wrong = [
        {"call": call, "models": ["Qwen_Qwen2.5-7B-Instruct"], "error_type": "incorrect parameter value"},
        {"call": [*call, *call], "models": ["gpt-4o"], "error_type": "incorrect number of functions"},
    ]
    (folder / "pool.jsonl").write_text(json.dumps({"id": "live_simple_0", "right": [], "wrong": wrong}) + "\n")
    return folder / "pool.jsonl"


def makers(folder):
    return {candidate.maker for group in read_groups(folder) for candidate in group.candidates}


def test_published_answers_stand_beside_the_made_ones_those_of_permissive_models_unless_told(words, tmp_path):
    more = [f"train.answers={pool(tmp_path)}", "any_licence=true"]
    assert main([*words, *more]) == 0
    assert "model:Qwen_Qwen2.5-7B-Instruct" in makers(tmp_path / "groups" / "train")
    assert "model:gpt-4o" not in makers(tmp_path / "groups" / "train")
    assert read_card(tmp_path / "groups" / "train").changes["answers of models that may not train"] == 1
    assert not any(maker.startswith("model:") for maker in makers(tmp_path / "groups" / "held_out"))
    every = tmp_path / "every"
    assert main([*words, *more, "train.makers=all", f"output={every}"]) == 0
    assert "model:gpt-4o" in makers(every / "train")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((), "train.answers: may not train by default"),
        (("any_licence=true", "train.makers=mine"), "train.makers=mine: say permissive, open, all"),
        (("any_licence=true", "train.answers=nowhere"), "train.answers: no such file or folder nowhere"),
    ],
)
def test_published_answers_that_cannot_be_taken_are_one_line(words, tmp_path, fails, more, says):
    assert says in fails(*words, f"train.answers={pool(tmp_path)}", *more)
    assert not (tmp_path / "groups").exists()
