"""`toolrm sweep`, `sweep status` and `sweep best` as commands."""

import fcntl
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from toolrm_jax.cli import main
from toolrm_jax.commands import settings, sweep
from toolrm_jax.commands.sweep_plan import RUNS

BASE = ("model.path=m", "data.train=t", "data.held_out=h")


def made(folder, values):
    """A sweep's folder with finished runs, one for each (rate, seed)."""
    runs = []
    for (rate, seed), value in values.items():
        name = f"learning_rate={rate}_seed={seed}"
        words = [*BASE, f"optimizer.learning_rate={rate}", f"seed={seed}"]
        runs.append({"name": name, "point": {"optimizer.learning_rate": rate, "seed": seed}, "words": words})
        output = folder / "runs" / name
        output.mkdir(parents=True)
        if value is not None:
            (output / "card.json").write_text("{}")
            records = [{"kind": "held_out", "step": step, "correct": value / 2 * step} for step in (1, 2)]
            (output / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "sweep.json").write_text(json.dumps({"metric": "correct", "runs": runs}))
    return folder


VALUES = {("1e-6", "0"): 0.5, ("1e-6", "1"): 0.7, ("3e-6", "0"): 0.8, ("3e-6", "1"): 0.9, ("1e-5", "0"): None}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("optimizer.learning_rat=1,2", *BASE), "did you mean 'optimizer.learning_rate'"),
        (("seed=0,x", *BASE), "seed=x: expected int"),
        (("seed=0,0", *BASE), "two points of one name"),
        (("seed=0:2", *BASE), "data.train=t: has no card.json"),
        (("seed=0:2", "jobs=0", *BASE), "jobs=0"),
        (("seed=0:2", "runner=cloud", *BASE), "runner=cloud: expected Literal"),
        (("seed=0:2", "runner=slurm", "launch=nowhere", *BASE), "launch=nowhere: has no slurm.sh"),
        (("seed=0:2", "sweep=balance", *BASE), "sweep=balance: no such config"),
        (
            ("seed=0:2", "runner=slurm", "halving=5", "evaluate_every=5", "loss.centring=0,1", *BASE),
            "needs runner=local",
        ),
        (("seed=0:2",), "is not given"),
    ],
)
def test_a_bad_sweep_is_one_line_and_leaves_nothing(words, says, tmp_path, fails):
    assert says in fails("sweep", f"output={tmp_path / 'sweep'}", *words)
    assert not (tmp_path / "sweep").exists()


def test_print_shows_the_commands_alone(tmp_path, capsys):
    words = ("optimizer.learning_rate=1e-6,3e-6", "seed=0:2", "runner=print", f"output={tmp_path / 'sweep'}")
    assert main(["sweep", *words, *BASE]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("toolrm train ")]
    assert len(commands) == 4
    assert "optimizer.learning_rate=3e-6" in shlex.split(commands[3])
    assert f"output={tmp_path}/sweep/runs/learning_rate=3e-6_seed=1" in shlex.split(commands[3])
    assert not (tmp_path / "sweep").exists()


def test_the_best_is_the_best_mean_and_its_command_is_an_ordinary_training(tmp_path, capsys):
    assert main(["sweep", "best", f"path={made(tmp_path, VALUES)}", "output=runs/again"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "best: optimizer.learning_rate=3e-6" in lines
    # Student's t with one degree of freedom: 12.7062; deviation of 0.8 and 0.9: 0.070711.
    half = 12.7062 * 0.070711 / 2**0.5
    assert f"mean correct 0.8500, 95 % interval {0.85 - half:.4f} to {0.85 + half:.4f}, 2 runs" in lines
    assert shlex.split(lines[-1]) == [
        *("toolrm", "train", *BASE, "optimizer.learning_rate=3e-6", "seed=0", "output=runs/again")
    ]


def test_status_prints_runs_and_means_and_writes_one_page_that_fetches_nothing(tmp_path, capsys):
    assert main(["sweep", "status", f"path={made(tmp_path, VALUES)}"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["learning_rate=1e-5_seed=0", "waiting", "0", "-", "-"] in rows
    assert ["3e-6", "2", "of", "2", "0.8500", "0.2147", "to", "1.4853"] in rows
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<polyline") == 4 + 1  # four finished runs, and the means over one factor
    assert "learning_rate=3e-6_seed=1: 0.9000" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)


def test_the_page_says_over_how_many_seeds_its_mean_is(tmp_path):
    folder = made(tmp_path, {("3e-6", "0"): 0.8, ("3e-6", "1"): 0.9, ("3e-6", "2"): None})
    assert main(["sweep", "status", f"path={folder}"]) == 0
    assert "over 2 seeds" in (tmp_path / "sweep.html").read_text()


def test_the_page_shows_values_as_text_not_as_markup(tmp_path):
    folder = made(tmp_path, {("<b>x</b>", "0"): 0.5, ("1e-6", "0"): 0.25})
    assert main(["sweep", "status", f"path={folder}"]) == 0
    assert "<b>x" not in (tmp_path / "sweep.html").read_text()


def test_a_sweep_without_an_end_has_no_best_and_its_page_says_so(tmp_path, fails):
    folder = made(tmp_path, {("1e-6", "0"): None})
    assert "no run has come to its end with correct" in fails("sweep", "best", f"path={folder}")
    assert main(["sweep", "status", f"path={folder}"]) == 0
    assert "No run has come to its end yet" in (folder / "sweep.html").read_text()


def test_a_folder_that_holds_no_sweep_is_told(tmp_path, fails):
    assert "no record of a sweep" in fails("sweep", "status", f"path={tmp_path}")


TRAINS = """
import json, pathlib, sys
folder, config = pathlib.Path(sys.argv[1]), sys.argv[2]
folder.mkdir()
(folder / "config.json").write_text(config)
found = {"kind": "held_out", "step": 1, "correct": json.loads(config)["steps"]}
(folder / "metrics.jsonl").write_text(json.dumps(found))
(folder / "card.json").write_text("{}")
"""


@pytest.fixture
def trained_at_once(tmp_path, monkeypatch):
    """Trainings that write their config and are done; the metric is their number of steps."""

    def command(plan):
        folder = plan.path
        return lambda run: [
            *(sys.executable, "-c", TRAINS),
            *(str(folder(RUNS, run.name)), json.dumps(settings.as_json(run.config))),
        ]

    monkeypatch.setattr(sweep, "local_command", command)
    for side in ("t", "h"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "card.json").write_text("{}")
    monkeypatch.chdir(tmp_path)


def rows_of(out):
    return [line.split() for line in out.splitlines()]


def test_a_finished_run_whose_settings_changed_is_trained_again_by_overwrite_and_no_other_is(
    trained_at_once, capsys, fails
):
    assert main(["sweep", "output=s", "seed=0:2", "steps=3", *BASE]) == 0
    assert ["seed=1", "done", "1", "3.0000", "3.0000"] in rows_of(capsys.readouterr().out)
    assert "was begun with steps=3, now 4" in fails("sweep", "output=s", "seed=0:2", "steps=4", *BASE)
    config = Path("s/runs/seed=0/config.json")
    config.write_text(config.read_text().replace('"steps": 3', '"steps": 4'))  # as if it had been trained so before
    assert main(["sweep", "output=s", "seed=0:2", "steps=4", "overwrite=true", *BASE]) == 0
    out = capsys.readouterr().out
    assert ["seed=1", "done", "1", "4.0000", "4.0000"] in rows_of(out)
    assert "seed=0: started" not in out
    assert sorted(path.name for path in Path("s/runs").iterdir()) == ["seed=0", "seed=1"]


def test_overwrite_removes_nothing_while_a_run_with_the_old_settings_is_under_way(trained_at_once, fails):
    assert main(["sweep", "output=s", "seed=0:2", "steps=3", *BASE]) == 0
    with open("s/locks/seed=1", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = fails("sweep", "output=s", "seed=0:2", "steps=4", "overwrite=true", *BASE)
    assert "seed=1: is under way with other settings" in said
    assert all(Path(f"s/runs/seed={seed}/card.json").is_file() for seed in (0, 1))
    assert "steps=3" in Path("s/sweep.json").read_text()


def test_a_runs_job_on_a_cluster_has_another_name_once_its_settings_changed(tmp_path):
    def name(*words):
        plan = sweep.make_plan(tmp_path, [*BASE, "seed=0:2", *words], None, (), None, 0)
        return sweep.job_name(plan, plan.runs[0])

    assert name("steps=3") == name("steps=3") != name("steps=4")
    assert name("steps=3") == name("steps=3", "mesh.fsdp=1")  # what may change while a run goes on
