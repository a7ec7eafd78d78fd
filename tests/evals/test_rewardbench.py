"""RewardBench and RewardBench 2 on hand-written rows in the published columns, scored by hand."""

import json
import math

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.evals import rewardbench


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_section_is_weighted_by_the_published_counts_and_the_score_is_the_mean_of_sections(tmp_path):
    def row(id, subset):
        return {
            "id": id,
            "prompt": "Hi",
            "chosen": f"good {id}",
            "rejected": "bad",
            "subset": subset,
            "chosen_model": "a",
            "rejected_model": "b",
        }

    rows = [row(1, "math-prm"), row(2, "math-prm"), row(3, "hep-python"), row(4, "alpacaeval-easy")]
    found = rewardbench.read(write(tmp_path / "filtered.jsonl", rows))
    assert [(c.text, v.right) for c, v in zip(found.groups[0].candidates, found.groups[0].verdicts)] == [
        ("good 1", True),
        ("bad", False),
    ]
    # math-prm 1 of 2 (weight 984), hep-python 1 of 1 (164); chat tied, which is lost.
    scores = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    measured = {(m.part, m.name): m.value for m in found.metric.of_scores(found.groups, scores)}
    reasoning = (984 * 0.5 + 164 * 1) / (984 + 164)
    assert measured["", "Reasoning"] == pytest.approx(reasoning)
    assert measured["", "Chat"] == 0.0
    assert measured["", "score"] == pytest.approx(reasoning / 2)
    assert measured["by subset", "math-prm"] == 0.5


def test_the_weights_are_the_published_ones():
    weights = {name: count for section in rewardbench.SECTIONS.values() for name, count in section.items()}
    assert len(weights) == 23
    assert sum(weights.values()) == 2985 + 984 - 447
    assert (weights["xstest-should-refuse"], weights["xstest-should-respond"]) == (250, 154)


def second(id, subset, right, wrong):
    return {
        "id": id,
        "prompt": "Hi",
        "chosen": right,
        "rejected": wrong,
        "subset": subset,
        "num_correct": len(right),
        "num_incorrect": len(wrong),
        "total_completions": len(right) + len(wrong),
    }


def test_of_four_answers_the_right_one_must_be_at_the_top_and_ties_share_the_credit(tmp_path):
    rows = [second(str(k), "Math", ["right"], ["a", "b", "c"]) for k in range(3)] + [
        second("0", "Focus", ["right"], ["a", "b", "c"])
    ]
    found = rewardbench.read_second(write(tmp_path / "test.jsonl", rows))
    scores = [[4.0, 1, 2, 3], [1.0, 4, 2, 3], [4.0, 4, 1, 1], [2.0, 2, 2, 2]]
    measured = {m.name: m.value for m in found.metric.of_scores(found.groups, scores)}
    assert measured["Math"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert measured["Focus"] == 0.25
    assert measured["score"] == pytest.approx((0.5 + 0.25) / 2)


def test_ties_have_their_own_formula(tmp_path):
    rows = [
        second("ref:1", "Ties", ["r"], ["w", "x"]),
        second("tied:1", "Ties", ["r", "s"], ["w"]),
        second("ref:2", "Ties", ["r"], ["w"]),
        second("tied:2", "Ties", ["r", "s"], ["w"]),
    ]
    found = rewardbench.read_second(write(tmp_path / "test.jsonl", rows))
    # Prompt 1: gaps 3 (ref) and 2 (tied), spread 1 among the right ones. Prompt 2: gap −1 (ref) and 1, spread 4.
    scores = [[5.0, 2.0, 1.0], [5.0, 4.0, 2.0], [1.0, 2.0], [8.0, 4.0, 3.0]]
    measured = {m.name: m.value for m in found.metric.of_scores(found.groups, scores)}
    margin = (math.tanh(2 / 1 - 1) + math.tanh(-1 / 4 - 1)) / 2
    expected = 0.3 * 0.5 + 0.3 * 1.0 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * margin
    assert measured["Ties"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("read", "row", "says"),
    [
        (rewardbench.read, {"id": 1, "prompt": "", "chosen": "", "rejected": "", "subset": "new"}, "subset 'new'"),
        (rewardbench.read, {"id": 1, "prompt": "", "chosen": "", "subset": "hep-go"}, "'rejected' is missing"),
        (rewardbench.read_second, second("3", "Ties", ["a"], ["b"]), "neither ref:N nor tied:N"),
    ],
)
def test_rows_of_another_form_are_told(tmp_path, read, row, says):
    with pytest.raises(DataError, match=says):
        read(write(tmp_path / "x.jsonl", [row]))
