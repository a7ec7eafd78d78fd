"""The protocol: pairs become credits for judges of either kind, and credits become numbers with intervals."""

import importlib

import numpy as np
import pytest

from tests.evals.making import group
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.baselines import shown_order
from toolrm_jax.evals.benchmark import (
    BOTH,
    OVERALL,
    PAIRS,
    SINGLE,
    Benchmark,
    Credit,
    Drawing,
    Measure,
    bootstrap,
    by_error_and_category,
    credits,
    mean_with_interval,
    pairs_of,
    share,
)
from toolrm_jax.evals.metrics import outcomes, wilson
from toolrm_jax.evals.pairwise import UNREAD, PairJudge, Tally, ask, knockout
from toolrm_jax.evals.registry import BENCHMARKS, entry
from toolrm_jax.toolcalls.types import ErrorType

GROUPS = (
    group("a", ["Ulm"], ["Bonn", "Gera"], kinds=[ErrorType.VALUE, ErrorType.NUMBER]),
    group("b", ["Ulm", "Ulm, BW"], ["Jena"], "live_simple"),
)
SCORES = [[2.0, 1.0, 3.0], [5.0, 4.0, 4.0]]


def test_credits_follow_the_pairs_of_the_groups_and_a_tie_is_not_won():
    found = credits(GROUPS, outcomes(GROUPS, SCORES))
    assert [(g.task.id, r, w) for g, r, w in pairs_of(GROUPS)] == [("a", 0, 1), ("a", 0, 2), ("b", 0, 2), ("b", 1, 2)]
    assert [(c.task, c.wrong, c.value, c.tied) for c in found] == [
        ("a", 1, 1.0, False),
        ("a", 2, 0.0, False),
        ("b", 2, 1.0, False),
        ("b", 2, 0.0, True),
    ]


def test_a_share_has_wilsons_interval_over_tasks_not_pairs():
    one_each = [Credit(str(k), "", None, float(k < 3)) for k in range(4)]
    found = share(one_each, "x")
    assert (found.value, found.n) == (0.75, 4)
    assert (found.low, found.high) == wilson(0.75, 4)
    # The same credits, all of one task, are one observation.
    assert share([Credit("t", "", None, c.value) for c in one_each], "x").low == wilson(0.75, 1)[0]


def test_nothing_judged_is_shown_as_such_and_not_as_zero():
    assert share([], "x").n == 0
    assert share([], "x").shown == "—"


def test_the_usual_metric_has_error_types_categories_and_the_pairs_without_wrong_numbers():
    found = {(m.part, m.name): (m.value, m.n) for m in PAIRS.of_scores(GROUPS, SCORES)}
    assert found["", OVERALL] == (0.5, 4)
    assert found["", "without wrong-number pairs"] == (pytest.approx(2 / 3), 3)
    assert found["by error type", "incorrect number of functions"] == (0.0, 1)
    assert found["by category", "live_simple"] == (0.5, 2)


def test_a_mean_of_parts_weighs_them_as_told_and_its_interval_holds_it():
    parts = {"x": [Credit(str(k), "", None, float(k < 8)) for k in range(10)], "y": [Credit("z", "", None, 0.0)]}
    found = mean_with_interval(parts, "mean", lambda rates: sum(rates.values()) / 2)
    assert found.value == pytest.approx(0.4)
    assert found.low < 0.4 < found.high < 0.51


def test_the_bootstrap_is_over_contexts_and_always_the_same():
    values = np.array([0.0, 1.0] * 20)
    assert bootstrap(values, "x", "p") == bootstrap(values, "x", "p")
    assert bootstrap(values, "x", "p").value == 0.5
    assert 0.2 < bootstrap(values, "x", "p").low < 0.45


def chooser(answers):
    asked = []

    def choose(questions):
        asked.extend(questions)
        return [answers(question) for question in questions]

    return PairJudge("one that compares", choose), asked


def test_a_judge_that_compares_is_asked_in_both_orders_and_sees_no_maker():
    judge, asked = chooser(lambda question: 1)
    found = ask(judge, GROUPS[:1])
    assert len(asked) == 4
    assert (asked[0].first, asked[0].second) == (asked[1].second, asked[1].first)
    assert all(c.maker == "" for q in asked for c in (q.first, q.second))
    # Always saying 1 is right in one order of the two: half of the single-order mean, nothing of both orders.
    measures = found.measures(PAIRS)
    assert measures[SINGLE][0].value == 0.5
    assert measures[BOTH][0].value == 0.0


def test_an_answer_without_a_choice_is_wrong_in_its_order_and_counted():
    def knows(question):
        return None if question.id == "a/0/1/21" else (1 if question.first.calls[0].arguments["city"] == "Ulm" else 2)

    judge, _ = chooser(knows)
    found = ask(judge, GROUPS[:1])
    assert [c.value for c in found.single] == [0.5, 1.0]
    assert [c.value for c in found.both] == [0.0, 1.0]
    assert found.tally == Tally(questions=4, no_choice=1, unread=0)


def test_a_question_that_was_too_long_is_wrong_and_counted_apart():
    judge, _ = chooser(lambda question: UNREAD if question.id.startswith("a/0/1/") else 1)
    found = ask(judge, GROUPS[:1])
    assert [c.value for c in found.single] == [0.0, 0.5]
    assert found.tally == Tally(questions=4, no_choice=0, unread=2)
    assert found.tally.note == "of 4 questions 0 were answered without a choice, 2 were too long for the judge"


CITIES = ["Aa", "Bb", "Cc", "Dd", "Ee"]


def city_of(candidate):
    return candidate.calls[0].arguments["city"]


def test_a_knockout_keeps_the_winner_of_both_orders_and_its_seeds_are_the_order_shown():
    by_name, _ = chooser(lambda q: 1 if city_of(q.first) > city_of(q.second) else 2)
    one = group("a", CITIES[:1], CITIES[1:])
    seeds = [CITIES[k] for k in shown_order(one)]
    scores, tally = knockout(by_name, [one, group("b", ["Aa"], [])])
    # The last seed has no game in the rounds of five and of three.
    lasted = dict.fromkeys(CITIES, 0)
    first, second = max(seeds[:2]), max(seeds[2:4])
    lasted |= {first: 1, second: 1}
    lasted |= {max(first, second): 2, seeds[4]: 2}
    lasted[max(CITIES)] = 3
    assert scores == [[lasted[city] for city in CITIES], [3]]
    assert tally == Tally(questions=8, no_choice=0, unread=0)
    torn, asked = chooser(lambda q: 1)
    scores, _ = knockout(torn, [one])
    assert CITIES[scores[0].index(3)] == seeds[0]
    assert all(c.maker == "" for q in asked for c in (q.first, q.second))
    with pytest.raises(ConfigError, match="only compares"):
        knockout(torn, [group("b", ["Aa"], [])])


@pytest.mark.parametrize("answer", [1, 2, None])
def test_a_knockout_of_a_judge_that_knows_nothing_wins_by_chance_though_right_answers_come_first(answer):
    judge, _ = chooser(lambda question: answer)
    groups = [group(str(k), ["Ulm"], ["Bonn", "Gera", "Hof"]) for k in range(400)]
    scores, _ = knockout(judge, groups)
    won = sum(row[0] == max(row) for row in scores) / len(groups)
    assert 0.18 < won < 0.32


def test_answers_of_a_game_that_could_not_be_read_leave_the_knockout_unread():
    judge, _ = chooser(lambda q: UNREAD if q.id.startswith("a/") else 1)
    scores, tally = knockout(judge, [group("a", ["Ulm"], ["Bonn"]), group("b", ["Ulm"], ["Bonn"])])
    assert scores[0] == [None, None]
    assert sorted(scores[1]) == [0, 1]
    assert tally == Tally(questions=4, no_choice=0, unread=2)


def test_a_sample_is_seeded_keeps_the_order_and_is_told():
    benchmark = Benchmark("x", tuple(group(str(k), ["Ulm"], ["Bonn"]) for k in range(20)))
    some = benchmark.sample(5, 1)
    assert some.groups == benchmark.sample(5, 1).groups != benchmark.sample(5, 2).groups
    ids = [int(g.task.id) for g in some.groups]
    assert ids == sorted(ids)
    assert some.facts == (("groups judged", "5 of 20, drawn with seed 1"),)
    assert benchmark.sample(None, 0) is benchmark
    with pytest.raises(ConfigError, match="give at least 1"):
        benchmark.sample(0, 0)


def test_records_come_back_from_json():
    measure = Measure("x", 0.5, 0.4, 0.6, 10, "part", "AUC")
    assert Measure.from_json(measure.to_json()) == measure
    drawing = Drawing("t", "x", "y", (("judge", ((1.0, 0.5, 0.4, 0.6),)),), log=True)
    assert Drawing.from_json(drawing.to_json()) == drawing


def test_every_benchmark_of_the_registry_has_a_reader_and_an_unknown_name_is_told():
    for name, one in BENCHMARKS.items():
        module, _, function = one.reader.partition(":")
        assert callable(getattr(importlib.import_module(f"toolrm_jax.evals.{module}"), function)), name
    with pytest.raises(ConfigError, match="did you mean 'rotbench'"):
        entry("rot-bench")


@pytest.mark.parametrize("name", ["fc-rewardbench", "rewardbench", "rewardbench2"])
def test_a_file_without_rows_is_told(name, tmp_path):
    empty = tmp_path / "test.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match=r"test\.jsonl: holds no"):
        entry(name).read(empty)


def test_by_error_type_leaves_out_what_is_not_there():
    assert [m.name for m in by_error_and_category([Credit("a", "c", None, 1.0)])] == [OVERALL]
