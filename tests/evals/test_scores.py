"""An answer that the judge could not read: never preferred, no comparison with it is won, and it is counted.

Each metric is given a judge that read nothing, and one that read some.
"""

import numpy as np
import pytest

from tests.evals.making import group
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import best_of_n, diagnosis, filtering, human_labels, perturb, rewardbench, rotbench
from toolrm_jax.evals.baselines import Judge
from toolrm_jax.evals.benchmark import PAIRS
from toolrm_jax.evals.handrule import HAND_RULE, added
from toolrm_jax.evals.judges import per_call, with_hand_rule
from toolrm_jax.evals.metrics import outcomes
from toolrm_jax.evals.report import confident_mistakes
from toolrm_jax.evals.scores import preferred, unread_note
from toolrm_jax.toolcalls.types import ErrorType

KINDS = [ErrorType.NAME, ErrorType.VALUE, ErrorType.VALUE]
FOUR = [group(str(k), ["Ulm"], ["Bonn", "Gera", "Hof"], "Math", KINDS) for k in range(6)]


def nothing(groups):
    return [[None] * len(one.candidates) for one in groups]


def by_name(measures):
    return {(m.part, m.name): m for m in measures}


def test_who_has_not_read_all_answers_prefers_none():
    assert preferred([1.0, 3.0, 3.0]) == [1, 2]
    assert preferred([1.0, None]) == []


def test_unread_answers_and_groups_are_counted():
    assert unread_note([[1.0, 2.0]]) == ""
    assert unread_note([[None, 2.0], [None, None], [1.0]]).startswith("3 answers in 2 of 3 groups")


def test_a_pair_with_an_unread_answer_is_neither_won_nor_tied_and_has_no_gap():
    (one, two, three) = outcomes(FOUR[:1], [[1.0, None, 0.5, 1.0]])
    assert [(o.won, o.tied, o.gap) for o in (one, two, three)] == [
        (False, False, None),
        (True, False, 0.5),
        (False, True, 0.0),
    ]
    assert PAIRS.of_scores(FOUR, nothing(FOUR))[0].value == 0.0
    with pytest.raises(DataError, match="nan"):
        outcomes(FOUR[:1], [[1.0, float("nan"), 0.5, 1.0]])


def test_a_judge_that_read_nothing_has_no_credit_in_best_of_n_and_one_that_read_some_chooses_among_them():
    samples = [best_of_n.Samples(one, (1, 1, 1, 1)) for one in FOUR]
    metric = best_of_n.benchmark("b", samples, "", (1, 4)).metric
    lost = by_name(metric.of_scores(FOUR, nothing(FOUR)))
    assert lost["", "judge, best of 4"].value == lost["best of 1", "judge, best of 1"].value == 0.0
    assert lost["", "judge among schema-valid, best of 4"].value == 0.0
    assert lost["", "random, best of 4"].value == 0.25  # what asks no judge is as it was
    some = by_name(metric.of_scores(FOUR, [[0.0, None, None, -1.0]] * 6))
    assert some["", "judge, best of 4"].value == 1.0
    assert [m.name for m in lost.values() if metric.headline(m)] == ["judge, best of 4"]


def test_a_judge_that_read_nothing_has_no_credit_in_rewardbench_2_and_in_rotbench():
    found = by_name(rewardbench.second_measures(FOUR, nothing(FOUR)))
    assert found["", "Math"].value == 0.0
    noisy = [group(str(k), ["Ulm"], ["Bonn", "Gera", "Hof"], "first/clean", KINDS) for k in range(6)]
    found = by_name(rotbench.measures(noisy, nothing(noisy)))
    assert found["", rotbench.SELECTION].value == found["", rotbench.WHOLE].value == 0.0


def test_a_prompt_of_ties_with_an_unread_answer_is_lost():
    right, unread = (group("Ties/ref:0", ["Ulm"], ["Bonn"]), [2.0, 1.0]), (None, 1.0)
    one = {"0": right}
    assert rewardbench.ties_score(one, {"0": right}) > rewardbench.ties_score(one, {"0": (right[0], unread)})
    # 30 % each for the accuracy of both kinds: that of the reference alone is left, less the hundredth of the margin.
    assert rewardbench.ties_score(one, {"0": (right[0], unread)}) == pytest.approx(0.3 - 0.01)


def test_unread_answers_are_left_out_of_auc_and_counted_in_its_n():
    groups = [group(str(k), ["Ulm"] * (k < 3), ["Bonn"] * (k >= 3), "TM-3") for k in range(6)]
    (found,) = human_labels.measures(groups, [[3.0], [2.0], [None], [1.0], [0.0], [None]])
    assert (found.value, found.n) == (1.0, 4)
    assert human_labels.measures(groups, nothing(groups)) == ()


def test_flips_and_shifts_are_of_what_was_read_in_both_forms_and_accuracy_of_all():
    made = perturb.perturbed([group("a", ["Ulm"], ["Bonn"]), group("b", ["Ulm"], ["Bonn"])]).groups
    scores = [[None, 0.0] if one.task.id == f"a | {perturb.CUT}" else [1.0, 0.0] for one in made]
    found = by_name(perturb.measures(made, scores))
    assert (found["overall", perturb.CUT].value, found["overall", perturb.CUT].n) == (0.5, 2)
    assert (found[perturb.FLIPS, perturb.CUT].value, found[perturb.FLIPS, perturb.CUT].n) == (0.0, 1)
    assert found[perturb.SHIFT, perturb.CUT].n == 1
    lost = by_name(perturb.measures(made, nothing(made)))
    assert lost["overall", perturb.PLAIN].value == 0.0
    assert lost[perturb.FLIPS, perturb.CUT].n == 0


def test_the_hand_rule_does_not_decide_what_the_model_could_not_read():
    half = Judge("half", lambda groups: [[None, 1.0, 2.0, None] for _ in groups])
    rows = with_hand_rule(half).score(FOUR)
    assert [[score is None for score in row] for row in rows] == [[True, False, False, True]] * 6
    hand = [row[1:3] for row in HAND_RULE.score(FOUR)]
    whole = added([row[1:3] for row in half.score(FOUR)], HAND_RULE.score(FOUR) and hand)
    assert [(row[1] < row[2]) for row in rows] == [(one < two) for one, two in whole]
    assert with_hand_rule(Judge("blind", nothing)).score(FOUR) == nothing(FOUR)


def test_the_correction_per_call_leaves_unread_answers_unread():
    total = Judge("sum", lambda groups: [[-3.0, None] for _ in groups])
    pair = [group("a", ["Ulm"], ["Bonn"])]
    assert per_call(total).score(pair) == [[0.0, None]]


def test_a_filter_takes_what_the_judge_could_not_read_last():
    single = filtering.single_answers(FOUR)
    scores = [[None], [-5.0], [None], [3.0], [-9.0], [1.0]]
    top, _, everything = filtering.select(single, scores, 4)
    assert [one.task.id for one in top.groups] == ["1", "3", "4", "5"]
    assert (top.mean_score, everything.mean_score) == (-2.5, -2.5)
    with pytest.raises(ConfigError, match="none of the answers"):
        filtering.select(single, [[None]] * 6, 4)


def test_unread_answers_have_no_part_in_the_diagnosis_nor_among_the_mistakes():
    scores = [[1.0, None, 0.0, 2.0]] * 6
    _, error = diagnosis.calibration(FOUR, scores)
    assert error.n == 12
    assert diagnosis.calibration(FOUR, nothing(FOUR))[1].n == 0
    assert diagnosis.leanings(FOUR, nothing(FOUR)) == ()
    (largest, same) = diagnosis.agreement(scores, [[1.0, 5.0, None, 2.0]] * 6, "x")
    assert (largest.value, largest.n, same.n) == (0.0, 12, 6)
    assert diagnosis.agreement(nothing(FOUR), scores, "x") == ()
    assert {one.wrong_score for one in confident_mistakes("x", FOUR, scores)} == {2.0}
    assert np.isfinite([m.value for m in diagnosis.by_context(FOUR, nothing(FOUR))]).all()
