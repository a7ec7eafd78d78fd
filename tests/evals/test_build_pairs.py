"""The builders: shares of error types, what is debatable, components by function, and files that read back."""

import json
from collections import Counter

import pytest

from tests.evals.making import CITY, TOOL
from toolrm_jax.errors import ConfigError
from toolrm_jax.evals import build_files, build_pairs, fc_rewardbench, trbench
from toolrm_jax.evals.build_pairs import PLACE, YEAR
from toolrm_jax.evals.graded import Answer, Graded, answer_key
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Message, Task, Tool, Verdict

NUMBER, VALUE, NAME = ErrorType.NUMBER, ErrorType.VALUE, ErrorType.NAME


def graded(name, right, wrong, asked="Weather in Ulm?", tools=(TOOL,), category="simple_python"):
    """`right`: cities; `wrong`: {city: (error type, models)}."""
    task = Task(name, "bfcl", category, "Apache-2.0", Context(tuple(tools), (Message("user", asked),)))

    def answer(city, verdict, label, models):
        return Answer(Candidate((Call("weather", {"city": city}),), maker=f"model:{models[0]}"), verdict, label, models)

    answers = [answer(city, Verdict(True, 1.0), "", ("good",)) for city in right]
    answers += [
        answer(city, Verdict(False, 0.0, kind), "value_error:string", tuple(models))
        for city, (kind, models) in wrong.items()
    ]
    return Graded(task, tuple(answers))


def test_error_types_come_in_the_shares_asked_for_and_the_scarce_ones_first():
    many = [graded(f"v{k}", ["Ulm"], {"Bonn": (VALUE, ["m"]), "Jena": (NUMBER, ["m"])}) for k in range(16)]
    few = [graded(f"n{k}", ["Ulm"], {"Bonn": (VALUE, ["m"]), "Jena": (NAME, ["m"])}) for k in range(4)]
    built = build_pairs.outcome(many + few, shares={VALUE: 5, NUMBER: 3, NAME: 2}, cap=1.0)
    assert Counter(pair.wrong.verdict.error_type for pair in built.pairs) == {VALUE: 10, NUMBER: 6, NAME: 4}
    assert len({pair.graded.task.id for pair in built.pairs}) == 20


def test_questions_change_types_along_chains_until_the_shares_are_reached():
    # NAME is scarcest and takes p's questions, which offer least; NUMBER then has none until one is given back.
    name, other = ErrorType.NAME, ErrorType.TYPE
    offers = [(name, NUMBER)] * 3 + [(name, VALUE, other)] * 2
    some = [
        graded(str(k), ["Ulm"], {city: (kind, ["m"]) for city, kind in zip(("Bonn", "Jena", "Hof"), kinds)})
        for k, kinds in enumerate(offers)
    ]
    built = build_pairs.outcome(some, shares={name: 3, NUMBER: 1, VALUE: 1}, cap=1.0)
    assert Counter(pair.wrong.verdict.error_type for pair in built.pairs) == {name: 3, NUMBER: 1, VALUE: 1}


def test_a_model_to_leave_out_that_is_not_there_is_told():
    one = graded("a", ["Ulm"], {"Bonn": (VALUE, ["lab_model-7b@run"])})
    with pytest.raises(ConfigError, match="without=model-7b: no answer is of that model; there is lab_model-7b"):
        build_pairs.outcome([one], without=("model-7b",))


def test_a_type_stops_at_its_cap_and_the_rest_is_counted():
    some = [graded(str(k), ["Ulm"], {"Bonn": (VALUE, ["m"])}) for k in range(10)]
    built = build_pairs.outcome(some, shares={VALUE: 1, NAME: 9}, cap=0.4)
    assert len(built.pairs) == 4
    assert built.drops == {build_pairs.OVER_CAP: 6}


def test_wrong_answers_are_drawn_by_how_many_models_gave_them():
    some = [
        graded(str(k), ["Ulm"], {"Bonn": (VALUE, [f"m{i}" for i in range(9)]), "Jena": (VALUE, ["x"])})
        for k in range(200)
    ]
    built = build_pairs.outcome(some, shares={VALUE: 1}, cap=1.0)
    cities = Counter(pair.wrong.candidate.calls[0].arguments["city"] for pair in built.pairs)
    assert 160 < cities["Bonn"] < 195


def test_models_left_out_count_for_nothing():
    one = graded("a", ["Ulm"], {"Bonn": (VALUE, ["bad@run1", "m"]), "Jena": (VALUE, ["bad"])})
    built = build_pairs.outcome([one], without=("bad",), shares={VALUE: 1}, cap=1.0)
    assert [(p.wrong.candidate.calls[0].arguments["city"], p.wrong.models) for p in built.pairs] == [("Bonn", ("m",))]


@pytest.mark.parametrize(
    ("asked", "right", "wrong", "why"),
    [
        ("Weather on May 3?", "2023-05-03", "2024-05-03", YEAR),
        ("Weather on May 3, 2023?", "2023-05-03", "2024-05-03", None),
        ("Weather on May 3?", "2023-05-03", "2024-05-04", None),
        ("Weather in Berkeley?", "Berkeley", "Berkeley, CA", PLACE),
        ("Weather in Berkeley?", "Berkeley, CA", "berkeley", PLACE),
        ("Weather in Berkeley?", "Berkeley", "Oakland, CA", None),
    ],
)
def test_what_nobody_could_tell_from_the_question_is_dropped(asked, right, wrong, why):
    one = graded("a", [right], {wrong: (VALUE, ["m"])}, asked)
    assert build_pairs.debatable(one, one.right, one.wrong[0]) == why
    built = build_pairs.outcome([one], shares={VALUE: 1}, cap=1.0)
    assert len(built.pairs) == (0 if why else 1)
    if why:
        assert built.drops == {why: 1, build_pairs.NO_WRONG: 1}


def test_several_pairs_a_question_are_of_models_that_differ():
    one = graded("a", ["Ulm"], {"Bonn": (VALUE, ["m"]), "Jena": (NUMBER, ["m"]), "Hof": (VALUE, ["n"])})
    built = build_pairs.agentic([one], per_question=3)
    assert sorted(pair.wrong.models[0] for pair in built.pairs) == ["m", "n"]


def test_questions_that_share_a_function_directly_or_through_others_are_one_component():
    other, third = Tool("sun", "", CITY), Tool("rain", "", CITY)
    some = [
        graded("a", ["Ulm"], {}, tools=(TOOL,)),
        graded("b", ["Ulm"], {}, tools=(third,)),
        graded("c", ["Ulm"], {}, tools=(TOOL, other)),
        graded("d", ["Ulm"], {}, tools=(other,)),
    ]
    found = build_pairs.components(some)
    assert found["a"] == found["c"] == found["d"] != found["b"]


def test_the_outcome_folder_reads_back_as_fc_rewardbench(tmp_path):
    pytest.importorskip("pyarrow")
    one = graded("simple_python_0", ["Ulm"], {"Bonn": (VALUE, ["m"])})
    built = build_pairs.outcome([one], shares={VALUE: 1}, cap=1.0)
    build_files.write_outcome(tmp_path / "built", built, {"seed": 0})
    (found,) = fc_rewardbench.read(tmp_path / "built").groups
    assert [c.calls[0].arguments["city"] for c in found.candidates] == ["Ulm", "Bonn"]
    assert found.candidates[1].maker == "model:m"
    assert found.verdicts[1].error_type is VALUE
    card = json.loads((tmp_path / "built" / "card.json").read_text())
    assert card["counts"]["error types"] == {"incorrect parameter value": 1}


def test_the_agentic_file_reads_back_as_trbench_with_both_halves(tmp_path):
    pytest.importorskip("pyarrow")
    some = [graded("simple_python_0", ["Ulm"], {"Bonn": (VALUE, ["m"]), "Jena": (NUMBER, ["n"])})]
    built = build_pairs.agentic(some)
    build_files.write_agentic(tmp_path / "built", built, {})
    found = trbench.read(tmp_path / "built")
    (group_read,) = found.groups
    assert {c.calls[0].arguments["city"] for c in group_read.candidates[1:]} == {"Bonn", "Jena"}
    assert group_read.task.category == "simple"
    assert group_read.task.context.tools == (TOOL,)
    assert found.metric.of_scores(found.groups, [[1.0, 0.0, 0.0]])[1].value == 1.0


def test_answers_are_told_apart_as_exactly_as_bfcl_does():
    def key(value):
        return answer_key(Candidate((Call("f", {"x": value, "y": 1}),)))

    assert key(70) != key(70.0)
    assert key("A") != key("a")
    assert key(70) == answer_key(Candidate((Call("f", {"y": 1, "x": 70}),)))


def test_a_group_of_answers_counts_who_gave_each():
    one = graded("a", ["Ulm"], {"Bonn": (VALUE, ["m", "n"])})
    assert one.counts() == (1, 2)
    assert one.group().candidates == (one.right[0].candidate, one.wrong[0].candidate)
