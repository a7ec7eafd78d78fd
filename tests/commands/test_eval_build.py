"""`toolrm eval build`: what it writes, what it says, and what it refuses."""

import json

import pytest

from toolrm_jax.cli import main
from toolrm_jax.evals.results import load
from toolrm_jax.files import CARD


@pytest.fixture
def pool(tmp_path):
    """One right and two wrong answers to each of three questions of BFCL, which call different functions."""
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")
    pytest.importorskip("pyarrow")
    rows = []
    for number, (name, arguments) in enumerate(
        [
            ("calculate_triangle_area", {"base": 10, "height": 5}),
            ("math.factorial", {"number": 5}),
            ("math.hypot", {"x": 4, "y": 5}),
        ]
    ):
        wrong = [
            {"call": [{name: {}}], "models": ["b", "c"], "error_type": "missing required parameter"},
            {"call": [{"f": arguments}], "models": ["d"], "error_type": "incorrect function name"},
        ]
        right = [{"call": [{name: arguments}], "models": ["a"]}]
        rows.append({"id": f"simple_python_{number}", "right": right, "wrong": wrong})
    file = tmp_path / "single_turn_pool.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("kind", "benchmark", "name", "pairs"),
    [("outcome", "fc-rewardbench", "FC-RewardBench rebuilt", 3), ("agentic", "trbench", "TRBench-BFCL rebuilt", 6)],
)
def test_answers_are_built_into_a_benchmark_of_its_own_name_and_judged(
    pool, tmp_path, capsys, kind, benchmark, name, pairs
):
    built = tmp_path / "built"
    assert main(["eval", "build", f"path={pool}", f"output={built}", f"kind={kind}", "cap=1.0"]) == 0
    assert f"{pairs} pairs of 3 questions" in capsys.readouterr().out
    assert (built / CARD).is_file()
    assert main(["eval", f"benchmark={benchmark}:{built}", f"output={tmp_path / 'out'}"]) == 0
    (judged,) = load(tmp_path / "out").judged
    assert judged.benchmark == name
    assert judged.published == ()
    assert "not the published benchmark" in judged.note


def test_with_dev_there_are_two_benchmarks(pool, tmp_path, capsys):
    built = tmp_path / "built"
    assert main(["eval", "build", f"path={pool}", f"output={built}", "cap=1.0", "dev=0.4"]) == 0
    told = capsys.readouterr().out
    assert f"{built / 'dev'}: 1 pairs of 1 questions" in told
    assert f"{built / 'test'}: 2 pairs of 2 questions" in told
    names = ",".join(f"fc-rewardbench:{built / side}" for side in ("dev", "test"))
    assert main(["eval", f"benchmark={names}", f"output={tmp_path / 'out'}"]) == 0
    assert [one.benchmark for one in load(tmp_path / "out").judged] == [
        "FC-RewardBench rebuilt, dev",
        "FC-RewardBench rebuilt, test",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["multi_turn=x"], "FC-RewardBench has single turns only; say kind=agentic"),
        (["per_question=2"], "FC-RewardBench has one pair a question; say kind=agentic"),
        (["cap=0.3"], "no choice of pairs keeps every error type below it"),
        (["kind=agentic", "cap=0.3"], "no choice of pairs keeps every error type below it"),
        (["dev=0.1"], "all parts of the questions that share functions are larger"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_nothing_is_left(pool, tmp_path, fails, words, says):
    cap = [] if any(word.startswith("cap") for word in words) else ["cap=1.0"]
    assert says in fails("eval", "build", f"path={pool}", f"output={tmp_path / 'built'}", *cap, *words)
    assert not (tmp_path / "built").exists()
