"""`toolrm runs`: the table's figures by hand, names that tell runs apart, settings that differ, and the plot."""

import json

import pytest

from toolrm_jax.cli import main


def make_run(folder, losses, correct, rate=1e-5, finished=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"output": str(folder), "optimizer": {"learning_rate": rate}}))
    records = [{"kind": "train", "step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
    records += [{"kind": "held_out", "step": step, "correct": share, "ranking": 1 - share} for step, share in correct]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    speeds = [
        {"kind": "speed", "step": 1, "seconds": 60, "tokens_per_second": 100 * n, "pairs_per_second": n}
        for n in (1, 9, 3)
    ]
    (folder / "speed.jsonl").write_text("".join(json.dumps(record) + "\n" for record in speeds) + '{"cut o')
    if finished:
        (folder / "card.json").write_text("{}")


def printed(capsys) -> list[str]:
    """The lines from the table's head on; what the command line says of its settings stands before."""
    lines = capsys.readouterr().out.splitlines()
    return lines[next(index for index, line in enumerate(lines) if line.startswith("run ")) :]


def test_runs_stand_side_by_side_with_what_sets_them_apart(tmp_path, capsys):
    make_run(tmp_path / "a" / "run", [1.0] * 18 + [0.5, 0.25], [(0, 0.5), (10, 0.875), (20, 0.75)])
    make_run(tmp_path / "b" / "run", [0.125], [(0, 0.5)], rate=3e-5, finished=False)
    assert main(["runs", f"path={tmp_path}", f"output={tmp_path / 'plot.svg'}"]) == 0
    head, first, second, *rest = printed(capsys)
    assert head.split() == [
        "run",
        "steps",
        "loss",
        "correct",
        "best",
        "at",
        "step",
        "tokens/s",
        "pairs/s",
        "MFU",
        "minutes",
    ]
    assert first.split() == ["a/run", "20", "0.3750", "0.7500", "0.8750", "10", "300", "3.0", "-", "3.0"]
    assert second.split()[:7] == ["b/run", "*", "1", "0.1250", "0.5000", "0.5000", "0"]
    assert "  a/run: optimizer.learning_rate=1e-05" in rest
    assert "  b/run: optimizer.learning_rate=3e-05" in rest
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_the_best_loss_is_the_lowest(tmp_path, capsys):
    make_run(tmp_path / "a", [1.0], [(0, 0.5), (1, 0.75), (2, 0.25)])
    assert main(["runs", f"path={tmp_path / 'a'}", "metric=ranking"]) == 0
    assert printed(capsys)[1].split()[3:6] == ["0.7500", "0.2500", "1"]
    assert (tmp_path / "runs.png").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["path={}/none"], "no run is there"), (["path={}/a", "output={}/x.gif"], "name a .png or .svg or .pdf file")],
)
def test_what_cannot_be_compared_is_told_in_one_line(tmp_path, fails, words, says):
    make_run(tmp_path / "a", [1.0], [])
    assert says in fails("runs", *(word.format(tmp_path) for word in words))
