"""`toolrm prepare … epochs=N`: groups for several epochs in one folder, each the same however many more there are."""

import pytest

from tests.commands.sgd_files import words, write_sgd
from toolrm_jax.cli import main
from toolrm_jax.commands import prepare_units
from toolrm_jax.commands.prepare_draw import NOT_IN_FIRST
from toolrm_jax.preferences.card import read_card
from toolrm_jax.preferences.pairs import pairs
from toolrm_jax.preferences.shards import check_shards, read_groups

RECIPES = ("balanced", "outcome")


@pytest.fixture(scope="module")
def sgd(tmp_path_factory):
    return write_sgd(tmp_path_factory.mktemp("sgd"))


@pytest.fixture(scope="module")
def made(sgd, tmp_path_factory):
    """Both recipes' folders for one, two and three epochs."""
    folders = {}
    before, prepare_units.UNIT_BYTES = prepare_units.UNIT_BYTES, 1
    try:
        for recipe in RECIPES:
            for epochs in (1, 2, 3):
                folders[recipe, epochs] = tmp_path_factory.mktemp(recipe) / str(epochs)
                assert main(words(recipe, sgd, folders[recipe, epochs], f"epochs={epochs}")) == 0
    finally:
        prepare_units.UNIT_BYTES = before
    return folders


def by_epoch(folder):
    found = {}
    for group in read_groups(folder):
        found.setdefault(group.epoch, []).append(group)
    return found


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("folder", ["groups", "train"])
def test_an_epochs_groups_are_the_same_however_many_there_are(made, recipe, folder):
    one, two, three = (by_epoch(made[recipe, epochs] / folder) for epochs in (1, 2, 3))
    assert [sorted(found) for found in (one, two, three)] == [[0], [0, 1], [0, 1, 2]]
    assert one[0] == two[0] == three[0]
    assert two[1] == three[1]
    assert three[1] != three[2]


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_held_out_is_settled_by_the_first_epoch_and_no_other_trains_on_it(made, recipe):
    one, three = made[recipe, 1], made[recipe, 3]
    held_out = list(read_groups(three / "held_out"))
    assert held_out == list(read_groups(one / "held_out"))
    assert {group.epoch for group in held_out} == {0}
    talks = {group.task.id.rpartition("/")[0] for group in held_out}
    trained = by_epoch(three / "train")
    for epoch in (1, 2):
        assert trained[epoch]
        assert not talks & {group.task.id.rpartition("/")[0] for group in trained[epoch]}
        assert sum(len(list(pairs(group))) for group in trained[epoch]) <= 60 - 6
    assert read_card(three / "train").drops[NOT_IN_FIRST] > 0


def test_shards_stand_in_the_order_of_epochs_and_the_card_counts_all(made):
    folder = made["outcome", 3] / "train"
    epochs = [group.epoch for group in read_groups(folder)]
    assert epochs == sorted(epochs)
    card = check_shards(folder)
    assert card.config["epochs"] == 3
    assert card.groups == len(epochs)
    assert (
        sum(sum(row.values()) for row in card.tables["pairs by source and class"].values())
        == card.counts["verdict"]["wrong"]
    )


def test_a_folder_for_one_epoch_names_none_so_that_older_data_are_still_theirs(made, sgd):
    for folder in ("groups", "train", "held_out"):
        assert "epochs" not in read_card(made["outcome", 1] / folder).config
    assert main(words("outcome", sgd, made["outcome", 1])) == 0


def test_two_workers_write_the_bytes_of_one(made, sgd, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_units, "UNIT_BYTES", 1)
    assert main(words("outcome", sgd, tmp_path / "out", "epochs=2", "run.workers=2")) == 0
    names = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.array_record")}
    assert names == {path.relative_to(made["outcome", 2]) for path in made["outcome", 2].rglob("*.array_record")}
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (made["outcome", 2] / name).read_bytes()


def test_a_share_of_the_groups_is_under_random_names(sgd, tmp_path):
    assert main(words("outcome", sgd, tmp_path / "out", "obfuscated=0.5")) == 0
    hidden = [group.names is not None for group in read_groups(tmp_path / "out" / "groups")]
    assert 0.2 < sum(hidden) / len(hidden) < 0.8


@pytest.mark.parametrize(
    ("more", "says"), [("epochs=0", "epochs=0: give at least 1"), ("obfuscated=1.5", "obfuscated=1.5: is a share")]
)
def test_what_cannot_be_done_is_one_line(sgd, tmp_path, fails, more, says):
    assert says in fails(*words("outcome", sgd, tmp_path / "out", more))


def test_a_source_split_by_category_has_fresh_answers_for_training_alone(bfcl_folder, tmp_path, fails):
    few = ["train.categories=live_simple", "held_out.categories=simple_python", "train.recipe.joined=0.0"]
    for epochs in (1, 3):
        assert (
            main(["prepare", f"path={bfcl_folder}", f"output={tmp_path / str(epochs)}", *few, f"epochs={epochs}"]) == 0
        )
    one, three = (by_epoch(tmp_path / str(epochs) / "train") for epochs in (1, 3))
    assert sorted(three) == [0, 1, 2]
    assert three[0] == one[0]
    for first, second in zip(three[0], three[1], strict=True):
        assert first.task == second.task
    assert three[1] != three[2]
    held_out = [tmp_path / str(epochs) / "held_out" for epochs in (1, 3)]
    assert list(read_groups(held_out[0])) == list(read_groups(held_out[1]))
    assert "epochs" not in read_card(tmp_path / "1" / "train").config
    assert read_card(tmp_path / "3" / "train").config["epochs"] == 3
    assert "epochs=0: give at least 1" in fails("prepare", f"path={bfcl_folder}", "epochs=0")
