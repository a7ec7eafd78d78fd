"""Best of n against numbers worked by hand: draws without replacement, ties, faults, irrelevance, who is left out."""

import dataclasses

import pytest

from tests.evals.making import group
from toolrm_jax.errors import DataError
from toolrm_jax.evals import best_of_n
from toolrm_jax.evals.best_of_n import Samples
from toolrm_jax.evals.samples import read
from toolrm_jax.preferences.card import new_card
from toolrm_jax.preferences.shards import write_groups
from toolrm_jax.toolcalls.types import Call, Candidate, ErrorType, Group, Reference, Verdict


def measured(samples, scores, sizes=(1, 2, 4)):
    found = best_of_n.benchmark("b", samples, "", sizes)
    return {m.name: m for m in found.metric.of_scores(found.groups, scores)}, found


def test_with_all_answers_drawn_every_selector_is_what_it_should_be():
    # Three models say Bonn (wrong), one says Ulm (right): the majority errs, a good judge and the oracle do not.
    samples = [Samples(group("a", ["Ulm"], ["Bonn"]), (1, 3))]
    found, _ = measured(samples, [[2.0, 1.0]])
    assert found["random, best of 4"].value == pytest.approx(1 / 4)
    assert found["majority, best of 4"].value == 0.0
    assert found["judge, best of 4"].value == 1.0
    assert found["oracle, best of 4"].value == 1.0
    assert found["schema-valid, best of 4"].value == pytest.approx(1 / 4)


def test_of_one_answer_all_selectors_are_the_same_draw():
    samples = [Samples(group(str(k), ["Ulm"], ["Bonn"]), (2, 2)) for k in range(30)]
    found, _ = measured(samples, [[0.0, 1.0]] * 30)
    values = {found[f"{name}, best of 1"].value for name in ("random", "majority", "judge", "oracle", "schema-valid")}
    assert len(values) == 1
    assert 0.35 < values.pop() < 0.65


def test_a_judge_that_cannot_decide_is_as_good_as_chance_among_the_best():
    found, _ = measured([Samples(group("a", ["Ulm"], ["Bonn", "Gera"]), (1, 1, 2))], [[1.0, 1.0, 0.0]])
    assert found["judge, best of 4"].value == 0.5


def test_the_oracle_at_two_of_four_with_one_right_is_one_half():
    samples = [Samples(group(str(k), ["Ulm"], ["Bonn"]), (1, 3)) for k in range(60)]
    found, _ = measured(samples, [[0.0, 1.0]] * 60)
    assert found["oracle, best of 2"].value == pytest.approx(0.5, abs=0.06)
    assert found["judge, best of 2"].value == 0.0


def test_what_could_not_be_read_is_no_vote():
    whole = group("a", ["Ulm"], ["Bonn"])
    broken = dataclasses.replace(whole.candidates[1], calls=(), raw="weather(", fault="not calls")
    samples = [Samples(dataclasses.replace(whole, candidates=(whole.candidates[0], broken)), (1, 3))]
    found, _ = measured(samples, [[0.0, 0.0]])
    assert found["majority, best of 4"].value == 1.0
    assert found["schema-valid, best of 4"].value == 1.0


def test_a_judge_taken_in_by_what_breaks_the_schema_chooses_among_the_valid():
    whole = group("a", ["Ulm"], ["Bonn", "Gera"])
    unknown = dataclasses.replace(whole.candidates[2], calls=(Call("climate", {"city": "Ulm"}),))
    samples = [Samples(dataclasses.replace(whole, candidates=(*whole.candidates[:2], unknown)), (1, 1, 2))]
    found, _ = measured(samples, [[2.0, 1.0, 9.0]])
    assert found["judge, best of 4"].value == 0.0
    assert found["judge among schema-valid, best of 4"].value == 1.0


def test_greedy_is_shown_where_it_is_known_and_the_same_at_every_n():
    found, _ = measured([Samples(group("a", ["Ulm"], ["Bonn"]), (1, 3), greedy=1)], [[1.0, 0.0]])
    assert [found[f"greedy, best of {n}"].value for n in (1, 4)] == [0.0, 0.0]
    found, _ = measured([Samples(group("a", ["Ulm"], ["Bonn"]), (1, 3))], [[1.0, 0.0]])
    assert not any(name.startswith("greedy") for name in found)


def test_questions_where_no_call_is_right_are_reported_apart():
    calls = group("a", ["Ulm"], ["Bonn"])
    task = dataclasses.replace(calls.task, id="n", reference=Reference())
    none = Group(
        task, (Candidate(text="No tool fits."), calls.candidates[0]), (Verdict(True, 1.0), Verdict(False, 0.0))
    )
    found = best_of_n.benchmark("b", [Samples(calls, (2, 2)), Samples(none, (2, 2))], "", (4,))
    parts = {(m.part, m.name): (m.value, m.n) for m in found.metric.of_scores(found.groups, [[1.0, 0.0], [0.0, 1.0]])}
    assert parts["", "judge, best of 4"] == (1.0, 1)
    assert parts[best_of_n.IRRELEVANCE, "judge, best of 4"] == (0.0, 1)


def test_questions_with_too_few_answers_are_left_out_and_counted():
    samples = [Samples(group("a", ["Ulm"], ["Bonn"]), (1, 3)), Samples(group("b", ["Ulm"], ["Bonn"]), (1, 1))]
    _, found = measured(samples, [[1.0, 0.0]])
    assert [g.task.id for g in found.groups] == ["a"]
    assert dict(found.facts)["left out, fewer than 4 answers"] == "1"
    with pytest.raises(DataError, match="no question has 8 answers, the most are 4"):
        best_of_n.benchmark("b", samples, "", (8,))


def test_the_plot_has_a_line_for_each_selector_over_n():
    found, _ = measured([Samples(group("a", ["Ulm"], ["Bonn"]), (1, 3))], [[2.0, 1.0]])
    drawing = best_of_n.curves(list(found.values()))
    assert [name for name, _ in drawing.lines] == [
        "random",
        "schema-valid",
        "majority",
        "judge",
        "judge among schema-valid",
        "oracle",
    ]
    assert [point[0] for point in drawing.lines[0][1]] == [1.0, 2.0, 4.0]


def city(candidate):
    return candidate.calls[0].arguments["city"]


def test_sampled_answers_that_repeat_become_one_with_a_count():
    whole = group("a", ["Ulm", "Ulm"], ["Bonn"])
    (found,) = best_of_n.from_answers([whole], city)
    assert found.counts == (2, 1)
    assert found.greedy is None
    assert [v.right for v in found.group.verdicts] == [True, False]
    assert found.group.verdicts[1].error_type is ErrorType.VALUE


def test_the_greedy_answer_is_known_whoever_else_gave_it_and_never_drawn():
    whole = group("a", ["Ulm", "Gera"], ["Bonn"])

    def with_greedy(place, **how):
        some = [dataclasses.replace(one, **(how if k == place else {})) for k, one in enumerate(whole.candidates)]
        return best_of_n.from_answers([dataclasses.replace(whole, candidates=tuple(some))], city)[0]

    alone = with_greedy(2, maker="model:m@greedy")
    assert (alone.counts, alone.greedy, alone.drawn) == ((1, 1, 0), 2, 2)
    among = with_greedy(0, count=3, others={"model:m@greedy": 1})
    assert (among.counts, among.greedy, among.drawn) == ((2, 1, 1), 0, 4)
    found, made = measured(
        [alone, dataclasses.replace(among, group=renamed(among.group, "b"))], [[1.0, 0.0, 2.0]] * 2, (2,)
    )
    assert (found["greedy, best of 2"].value, found["greedy, best of 2"].n) == (0.5, 2)
    # Bonn is judged best, and drawn in b alone.
    assert found["oracle, best of 2"].value > found["judge, best of 2"].value
    assert "questions with a greedy answer" not in dict(made.facts)


def renamed(one, name):
    return dataclasses.replace(one, task=dataclasses.replace(one.task, id=name))


def test_a_greedy_row_over_fewer_questions_is_told():
    samples = [Samples(group("a", ["Ulm"], ["Bonn"]), (2, 2), greedy=1), Samples(group("b", ["Ulm"], ["Bonn"]), (2, 2))]
    found, made = measured(samples, [[1.0, 0.0]] * 2)
    assert found["greedy, best of 4"].n == 1
    assert dict(made.facts)["questions with a greedy answer"] == "1"


def test_only_the_greedy_answer_may_be_without_draws():
    whole = group("a", ["Ulm"], ["Bonn"])
    assert Samples(whole, (0, 3), greedy=0).drawn == 3
    for counts, greedy in (((0, 3), None), ((0, 3), 1), ((-1, 3), 0), ((3,), None)):
        with pytest.raises(DataError, match="every answer but the greedy one needs a count"):
            Samples(whole, counts, greedy)


def test_a_candidate_that_stands_for_several_equal_answers_counts_as_so_many():
    whole = group("a", ["Ulm", "Ulm"], ["Bonn"])
    counts = (3, 2, 4)
    counted = tuple(dataclasses.replace(one, count=count) for one, count in zip(whole.candidates, counts))
    merged = dataclasses.replace(whole, candidates=counted)
    (found,) = best_of_n.from_answers([merged], city)
    assert found.counts == (5, 4)


def test_a_folder_of_greedy_answers_alone_has_nothing_to_choose_from(tmp_path):
    whole = group("a", ["Ulm"], [])
    greedy = (dataclasses.replace(whole.candidates[0], maker="model:m@greedy"),)
    write_groups(tmp_path / "groups", [dataclasses.replace(whole, candidates=greedy)], new_card({}, {}, {}, {}))
    with pytest.raises(DataError, match="holds no sampled answers; give the groups of `toolrm synth`"):
        read(tmp_path / "groups")
