"""Judges see no verdicts, no reference and no order; the model-free ones score as their names say."""

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.evals import baselines
from toolrm_jax.evals.baselines import LONGER, SCHEMA_VALID, SHORTER, Judge
from toolrm_jax.toolcalls.types import (
    Call,
    Candidate,
    Context,
    ErrorType,
    Group,
    Message,
    Reference,
    Task,
    Tool,
    Verdict,
)

TOOL = Tool("add", "", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


def group(name, *candidates):
    context = Context((TOOL,), (Message("user", "add 1"),))
    task = Task(name, "test", "simple", "none", context, Reference((Call("add", {"a": 1}),)))
    verdicts = tuple(
        Verdict(k == 0, float(k == 0), None if k == 0 else ErrorType.VALUE) for k in range(len(candidates))
    )
    return Group(task, candidates, verdicts)


RIGHT = Candidate((Call("add", {"a": 1}),), maker="reference")
EXTRA = Candidate((Call("add", {"a": "one", "b": 2}),), maker="model:m")
NONE = Candidate(text="no", maker="model:m")
RAW = Candidate(raw="add(1", fault="not closed", maker="model:m")


def test_a_judge_sees_nothing_that_gives_the_answer_away():
    seen = []
    judge = Judge("spy", lambda groups: seen.extend(groups) or [[0.0] * len(g.candidates) for g in groups])
    judge([group(str(k), RIGHT, EXTRA, NONE) for k in range(40)])
    assert all(g.task.reference is None for g in seen)
    assert {v for g in seen for v in g.verdicts} == {Verdict(False, 0.0)}
    assert {c.maker for g in seen for c in g.candidates} == {""}
    firsts = [g.candidates[0].calls == RIGHT.calls for g in seen]
    assert 4 <= sum(firsts) <= 24  # a third of 40, ± 3 standard deviations


def test_scores_come_back_in_the_groups_own_order():
    groups = [group(str(k), NONE, RIGHT, RAW) for k in range(8)]
    lengths = [[float(len(baselines.response_text(c))) for c in g.candidates] for g in groups]
    assert LONGER(groups) == lengths
    assert SHORTER(groups) == [[-x for x in row] for row in lengths]


def test_schema_valid_counts_violations_and_no_call_is_one():
    # EXTRA: `a` of a wrong type and `b` unexpected.
    assert SCHEMA_VALID([group("x", RIGHT, EXTRA, NONE, RAW)]) == [[0.0, -2.0, -1.0, -1.0]]


def test_random_depends_on_the_task_and_the_seed_alone():
    groups = [group(str(k), RIGHT, EXTRA) for k in range(6)]
    scores = baselines.random_judge(1)(groups)
    assert baselines.random_judge(1)(groups[::-1]) == scores[::-1]
    assert baselines.random_judge(2)(groups) != scores
    assert len({row[0] for row in scores}) == 6


def test_a_judge_that_leaves_candidates_out_is_refused():
    with pytest.raises(DataError, match="lazy"):
        Judge("lazy", lambda groups: [[0.0] for _ in groups])([group("x", RIGHT, NONE)])


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_an_error_and_no_unread_answer(score):
    broken = Judge("broken", lambda groups: [[0.0, score] for _ in groups])
    with pytest.raises(DataError, match=f"'broken': scores task x with {score}"):
        broken([group("x", RIGHT, EXTRA)])


def test_white_space_and_a_closed_think_block_around_an_answer_are_not_shown_to_a_judge():
    shown = []

    def score(groups):
        shown.extend(groups[0].candidates)
        return [[0.0] * len(groups[0].candidates)]

    task = Task("t", "", "", "", Context((), (Message("user", "Hi"),)))
    candidates = (
        Candidate(text=" <think>hm</think>\n yes "),
        Candidate(raw="\n f(", fault="not calls", maker="model:m", count=2, others={"model:n": 1}),
        Candidate(text="<think>cut"),
    )
    Judge("all", score)([Group(task, candidates, tuple(Verdict(False, 0.0) for _ in candidates))])
    assert {(c.text, c.raw, c.maker) for c in shown} == {("yes", None, ""), ("", "f(", ""), ("<think>cut", None, "")}
    assert all(c.others is None for c in shown)
