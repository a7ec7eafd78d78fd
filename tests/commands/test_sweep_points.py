"""What swept settings mean: grids, ranges, draws and lists, the names of points, and what is refused before a start."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrm_jax.commands.sweep_plan import make_plan
from toolrm_jax.commands.sweep_points import Law, Sweep, make_points, named, read_values, short_names
from toolrm_jax.errors import ConfigError

BASE = ("model.path=m", "data.train=t", "data.held_out=h")


def plan(tmp_path, *words, sweep=None, files=(), draws=None, seed=0):
    return make_plan(tmp_path / "sweep", [*BASE, *words], sweep, files, draws, seed)


def test_a_grid_holds_every_combination_the_last_setting_changing_fastest(tmp_path):
    found = plan(tmp_path, "optimizer.learning_rate=1e-6,3e-6", "seed=0:3").runs
    assert [(run.config.optimizer.learning_rate, run.config.seed) for run in found] == [
        *((1e-6, 0), (1e-6, 1), (1e-6, 2)),
        *((3e-6, 0), (3e-6, 1), (3e-6, 2)),
    ]
    assert found[4].name == "learning_rate=3e-6_seed=1"
    assert found[4].config.output == str(tmp_path / "sweep/runs/learning_rate=3e-6_seed=1")


@pytest.mark.parametrize(
    ("text", "whole", "values"),
    [
        ("0:3", True, ("0", "1", "2")),
        ("0:10:4", True, ("0", "4", "8")),
        ("3:0:-1", True, ("3", "2", "1")),
        ("0:3", False, None),  # a range of a setting that is no whole number is one value, such as profile.steps
        ("1, 2,3", True, ("1", "2", "3")),
        ("1e-6", False, None),
        ("log:1e-6:1e-4", False, Law("log", 1e-6, 1e-4, False)),
        ("uniform:1:8", True, Law("uniform", 1, 8, True)),
    ],
)
def test_what_is_written_is_one_value_several_or_a_law(text, whole, values):
    assert read_values("a", text, whole) == values


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_draws_lie_inside_their_law_do_not_depend_on_how_many_follow_and_come_with_every_seed(seed, count):
    factors = {"rate": Law("log", 1e-6, 1e-4, False), "k": ("1", "3"), "seed": ("0", "1")}
    points = make_points(factors, count, seed)
    assert all(1e-6 * 0.995 <= float(point["rate"]) <= 1e-4 * 1.005 for point in points)
    assert points == make_points(factors, count + 5, seed)[: len(points)]
    for zero, one in zip(points[::2], points[1::2]):
        assert (zero["seed"], one["seed"]) == ("0", "1")
        assert zero | {"seed": "1"} == one


def test_a_log_law_draws_as_often_below_its_geometric_middle_as_above():
    points = make_points({"rate": Law("log", 1e-6, 1e-2, False)}, 2000, 0)
    below = sum(float(point["rate"]) < 1e-4 for point in points)
    assert abs(below / len(points) - 0.5) < 3 * math.sqrt(0.25 / len(points))


def test_a_list_of_points_is_run_as_it_stands_and_files_of_bindings_are_points(tmp_path):
    sweep = Sweep({"config": "qwen3_0p6b"}, points=[{"loss.centring": 0.1}, {"data.epochs": 2}])
    centred, longer = plan(tmp_path, sweep=sweep).runs
    assert (centred.config.loss.centring, centred.config.data.epochs) == (0.1, 3)
    assert (longer.name, longer.config.data.epochs) == ("epochs=2", 2)
    (tmp_path / "a.gin").write_text("loss.centring = 0.2  # strong\n")
    (tmp_path / "b.gin").write_text("loss.centring = 0.3\n")
    files = [str(tmp_path / name) for name in ("a.gin", "b.gin")]
    assert [run.config.loss.centring for run in plan(tmp_path, files=files).runs] == [0.2, 0.3]


def test_bindings_may_hold_several_values_and_the_command_line_wins(tmp_path):
    (tmp_path / "wide.gin").write_text("loss.centring = 0.0, 0.01\nseed = 0:2\n")
    found = plan(tmp_path, f"bindings={tmp_path / 'wide.gin'}", "seed=7").runs
    assert [(run.config.loss.centring, run.config.seed) for run in found] == [(0.0, 7), (0.01, 7)]


def test_a_name_is_made_of_what_differs_by_its_last_part_where_that_is_enough():
    assert short_names(["model.layers", "a.path", "b.path"]) == {
        "model.layers": "layers",
        "a.path": "a.path",
        "b.path": "b.path",
    }
    points = [{"data.train": "x/one/train", "seed": "1"}, {"data.train": "x/two/train", "seed": "1"}]
    assert [each.name for each in named(points)] == ["train=x-one-train", "train=x-two-train"]
    assert [each.name for each in named([{"seed": "1"}])] == ["run"]
    long = [each.name for each in named([{"data.train": "x" * 300 + end} for end in "ab"])]
    assert long[0] != long[1]
    assert max(map(len, long)) < 200


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("optimizer.learning_rat=1,2",), "unknown setting 'optimizer.learning_rat'; did you mean"),
        (("optimizer.learning_rate=1e-5,fast",), "optimizer.learning_rate=fast: expected float"),
        (("seed=0,1.5",), "seed=1.5: expected int"),
        (("seed=0,0",), "two points of one name"),
        (("data.train=a/b,a-b",), "two points of one name, train=a-b"),
        (("loss.centring=0.1,1e-1",), "two points are the same run: centring=0.1 and centring=1e-1"),
        (("seed=3:3",), "seed=3:3: holds no number"),
        (("seed=1,,2",), "a value is empty"),
        (("loss.centring=log:0:1",), "expected LOW below HIGH, both above 0"),
        (("loss.centring=uniform:a:b",), "expected uniform:LOW:HIGH with numbers"),
        (("loss.centring=uniform:0:1",), "say how many points, draws=N"),
        (("--seed",), "settings are written key=value"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_told_before_anything_starts(tmp_path, words, says):
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        plan(tmp_path, *words)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(("draws", "words"), [(0, ("seed=0:2", "loss.centring=0.1,0.2")), (3, ("seed=0:2",))])
def test_draws_need_a_number_and_something_to_draw(tmp_path, draws, words):
    with pytest.raises(ConfigError, match="draws"):
        plan(tmp_path, *words, draws=draws)


@pytest.mark.parametrize("name", ["balanced", "outcome"])
def test_the_sweeps_of_both_papers_resolve_and_judge_all_points_on_the_same_groups(tmp_path, name):
    from toolrm_jax.commands.settings import load_config

    found = make_plan(tmp_path, ["model.path=m"], load_config(f"sweeps/{name}", Sweep), (), None, 0)
    assert len({run.config.data.held_out for run in found.runs}) == 1
    assert len(found.runs) >= 24
    prepared = {word for words in found.before for word in words if word.startswith("output=")}
    if prepared:
        assert {f"output={run.config.data.train.removesuffix('/train')}" for run in found.runs} <= prepared
