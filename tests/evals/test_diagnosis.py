"""Diagnosis against numbers worked by hand, and the AUC of human labels."""

import dataclasses
import math

import numpy as np
import pytest

from tests.evals.making import group
from toolrm_jax.evals import diagnosis, human_labels
from toolrm_jax.evals.baselines import Judge, random_judge
from toolrm_jax.toolcalls.types import Verdict


def test_calibration_bins_confidence_and_the_error_is_its_distance_from_what_was_won():
    groups = [group(str(k), ["Ulm"], ["Bonn"]) for k in range(4)]
    # All four differences are log 3: confidence 0.75; three are won, so the judge is right about itself.
    scores = [[math.log(3), 0.0]] * 3 + [[0.0, math.log(3)]]
    drawing, error = diagnosis.calibration(groups, scores)
    ((said, was, *_),) = drawing.lines[0][1]
    assert (said, was) == (pytest.approx(0.75), 0.75)
    assert error.value == pytest.approx(0.0)
    _, sure = diagnosis.calibration(groups, [[50.0, 0.0]] * 3 + [[0.0, 50.0]])
    assert sure.value == pytest.approx(0.25)


def test_a_judge_that_prefers_longer_answers_is_found_out_and_right_or_wrong_does_not_count():
    groups = [group("a", ["Ulm"], ["Bo", "Bonn", "Bonn on the Rhine"])]
    longer = {m.name: m.value for m in diagnosis.leanings(groups, [[9.0, 1.0, 2.0, 3.0]])}
    assert longer["score with length"] == pytest.approx(1.0)
    assert "score with number of calls" not in longer  # all have one
    shorter = {m.name: m.value for m in diagnosis.leanings(groups, [[9.0, 3.0, 2.0, 1.0]])}
    assert shorter["score with length"] == pytest.approx(-1.0)


def test_a_judge_that_goes_by_the_place_it_is_shown_is_found_out():
    by_place = Judge("place", lambda groups: [[float(k) for k in range(len(g.candidates))] for g in groups])
    many = [group(str(k), ["Ulm"], ["Bonn", "Gera", "Hof"]) for k in range(20)]
    pairs = [group(str(k), ["Ulm"], ["Bonn"]) for k in range(20)]
    for groups, name in ((many, "score with place as shown"), (pairs, "lead in score with lead in place as shown")):
        found = {m.name: m.value for m in diagnosis.leanings(groups, by_place(groups))}
        assert found[name] == pytest.approx(1.0)
        fair = {m.name: m for m in diagnosis.leanings(groups, random_judge()(groups))}
        assert fair[name].low < 0 < fair[name].high


def test_on_pairs_a_leaning_is_of_the_right_answers_lead_over_the_wrong_one():
    wrong = ["U", "Ul", "Ulmer", "Ulmer Platz", "Ulmer Platz 1", "Ulmer Platz 12"]
    pairs = [group(str(k), ["Ulm"], [city]) for k, city in enumerate(wrong)]
    # A shorter wrong answer scores lower, but every pair is at another level, that of its context.
    found = {m.name: m for m in diagnosis.leanings(pairs, [[k * 7.0, k * 7.0 + len(c)] for k, c in enumerate(wrong)])}
    lead = found["lead in score with lead in length"]
    assert (lead.value, lead.n) == (pytest.approx(1.0), 6)
    assert "lead in score with lead in number of calls" not in found  # all have one
    # By hand: ranks 1 to 6 of the lead in length against 1, 2, 3, 4, 6, 5: r = 1 − 6·2 / (6·35).
    rows = [[0.0, value] for value in (1.0, 2.0, 3.0, 4.0, 6.0, 5.0)]
    near = {m.name: m for m in diagnosis.leanings(pairs, rows)}["lead in score with lead in length"]
    assert near.value == pytest.approx(1 - 12 / 210)
    half = 1.959964 / math.sqrt(3)
    assert near.low == pytest.approx(math.tanh(math.atanh(near.value) - half), abs=1e-5)
    assert near.high == pytest.approx(math.tanh(math.atanh(near.value) + half), abs=1e-5)


def test_numbers_that_have_no_interval_show_none():
    _, error = diagnosis.calibration([group("a", ["Ulm"], ["Bonn"])], [[1.0, 0.0]])
    assert error.shown == f"{100 * error.value:.1f}"
    largest = diagnosis.agreement([[1.0, 2.0]], [[1.0, 2.5]], "x")[0]
    assert largest.shown == "0.500"


def test_accuracy_by_number_of_tools():
    one, two = group("a", ["Ulm"], ["Bonn"]), group("b", ["Ulm"], ["Bonn"])
    many = dataclasses.replace(two.task.context, tools=two.task.context.tools * 5)
    two = dataclasses.replace(two, task=dataclasses.replace(two.task, context=many))
    found = {m.name: m.value for m in diagnosis.by_context([one, two], [[1.0, 0.0], [0.0, 1.0]])}
    assert (found["from 1 tools"], found["from 4 tools"]) == (1.0, 0.0)


def test_agreement_tells_the_largest_difference_and_changed_orders():
    found = {m.name: m.value for m in diagnosis.agreement([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.5], [4.0, 3.75]], "x")}
    assert found == {"x: largest difference": 1.0, "x: same order": 0.5}


def test_auc_by_hand_with_a_tie():
    right = np.array([True, True, False, False])
    assert human_labels.auc(right, np.array([3.0, 1.0, 2.0, 1.0])) == pytest.approx((1 + 1 + 0 + 0.5) / 4)


def test_each_set_and_kind_of_answer_has_its_own_auc():
    def labelled(k, good, name="TM-3-2020"):
        one = group(str(k), ["Ulm"], [], name)
        return dataclasses.replace(one, verdicts=(Verdict(good, float(good)),))

    groups = [labelled(k, k < 2) for k in range(4)] + [labelled(9, True, "TM-4-2024")]
    found = human_labels.measures(groups, [[4.0], [3.0], [2.0], [1.0], [0.0]])
    assert [(m.name, m.value, m.unit) for m in found] == [
        ("TM-3-2020, API calls", 1.0, "AUC")
    ]  # TM-4 has only good ones
