"""The builders: shares of error types, what is debatable, components by function, and files that read back."""

import dataclasses
import itertools
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evals.making import TOOL
from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals import build_files, build_pairs, fc_rewardbench, samples, trbench
from toolrm_jax.evals.build_pairs import OTHER_CATEGORY, PLACE, YEAR
from toolrm_jax.evals.build_shares import assign
from toolrm_jax.sources import bfcl
from toolrm_jax.sources.bfcl_outputs import Answer, Graded, answer_key
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Message, Task, Verdict

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


@pytest.mark.parametrize(
    ("values", "names", "cap", "kept"),
    [
        (10, 10, 0.5, {VALUE: 10, NAME: 10}),
        (10, 4, 0.5, {VALUE: 4, NAME: 4}),  # the share is of the pairs written: 5 of 9 would be above a half
        (10, 4, 0.75, {VALUE: 10, NAME: 4}),
        (10, 2, 0.75, {VALUE: 6, NAME: 2}),
    ],
)
def test_no_type_makes_more_of_the_pairs_than_its_cap(values, names, cap, kept):
    some = [graded(f"v{k}", ["Ulm"], {"Bonn": (VALUE, ["m"])}) for k in range(values)]
    some += [graded(f"n{k}", ["Ulm"], {"Bonn": (NAME, ["m"])}) for k in range(names)]
    built = build_pairs.outcome(some, shares={VALUE: 9, NAME: 1}, cap=cap)
    assert Counter(pair.wrong.verdict.error_type for pair in built.pairs) == kept
    left = values + names - len(built.pairs)
    assert built.drops == ({build_pairs.OVER_CAP: left} if left else {})


def test_a_cap_that_no_choice_of_pairs_can_keep_is_told():
    some = [graded(str(k), ["Ulm"], {"Bonn": (VALUE, ["m"])}) for k in range(10)]
    for build in (lambda: build_pairs.outcome(some, cap=0.4), lambda: build_pairs.agentic(some, cap=0.4)):
        with pytest.raises(ConfigError, match=r"cap=0.4: no choice of pairs .* \(there are 10 of incorrect parameter"):
            build()
    for cap in (0.0, 1.1):
        with pytest.raises(ConfigError, match="give a share above 0, and at most 1"):
            build_pairs.outcome(some, cap=cap)


KINDS = (VALUE, NAME, NUMBER)


@settings(max_examples=60)
@given(
    st.lists(st.sets(st.sampled_from(KINDS), min_size=1), min_size=1, max_size=7),
    st.sampled_from((0.34, 0.5, 0.55, 0.7, 1.0)),
)
def test_as_many_questions_are_kept_as_the_cap_allows(offers, cap):
    """Against all ways to give each question one of its types, or none."""

    def fits(kinds):
        return max(Counter(kinds).values(), default=0) <= cap * len(kinds) + 1e-9

    ways = itertools.product(*[(None, *offer) for offer in offers])
    best = max(len(kinds) for way in ways if fits(kinds := [kind for kind in way if kind]))
    offered = {str(k): offer for k, offer in enumerate(offers)}
    if not best:
        with pytest.raises(ConfigError, match="no choice of pairs"):
            assign(offered, {VALUE: 3, NAME: 1}, cap, 0)
        return
    chosen = assign(offered, {VALUE: 3, NAME: 1}, cap, 0)
    assert len(chosen) == best
    assert fits(list(chosen.values()))
    assert all(kind in offered[id] for id, kind in chosen.items())


def test_the_cap_holds_over_several_pairs_a_question_and_pairs_of_runs_too():
    some = [graded(str(k), ["Ulm"], {"Bonn": (VALUE, ["m"]), "Jena": (NAME, ["n"])}) for k in range(4)]
    turns = build_pairs.agentic([graded(f"t{k}", ["Ulm"], {"Bonn": (VALUE, ["m"])}) for k in range(4)]).pairs
    built = build_pairs.agentic(some, cap=0.6, turns=turns)
    assert Counter(pair.wrong.verdict.error_type for pair in built.pairs) == {VALUE: 6, NAME: 4}
    assert built.drops == {build_pairs.OVER_CAP: 2}
    assert len(build_pairs.agentic(some, turns=turns).pairs) == 12


def test_pairs_of_runs_are_dropped_like_the_others_where_they_are_debatable_or_of_a_model_left_out():
    def run(name, right, wrong, model):
        one = graded(name, [right], {wrong: (VALUE, [model])})
        return build_pairs.Pair(one, one.right[0], one.wrong[0])

    turns = [
        run("a", "Berkeley", "Berkeley, CA", "m"),
        run("b", "Berkeley", "Oakland", "m"),
        run("c", "Berkeley", "Oakland", "n"),
    ]
    built = build_pairs.agentic([], turns=turns, without=("n",))
    assert [pair.graded.task.id for pair in built.pairs] == ["b"]
    assert built.drops == {PLACE: 1}


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


def calling(name, *functions, category="simple_python"):
    """A question whose right answer calls these functions."""
    one = graded(name, ["Ulm"], {"Bonn": (VALUE, ["m"])}, asked=f"{name}?", category=category)
    calls = tuple(Call(function, {"city": "Ulm"}) for function in functions)
    right = dataclasses.replace(one.answers[0], candidate=Candidate(calls, maker="model:good"))
    return dataclasses.replace(one, answers=(right, one.answers[1]))


def test_questions_that_call_a_function_in_common_directly_or_through_others_are_one_component():
    some = [calling("a", "weather"), calling("b", "rain"), calling("c", "Weather", "sun"), calling("d", "sun")]
    found = build_pairs.components(build_pairs.agentic(some).pairs)
    assert found["a"] == found["c"] == found["d"] != found["b"]


def test_sides_share_no_function_and_together_are_all_pairs():
    some = [calling(f"q{k}", f"f{k // 2}") for k in range(20)]
    built = build_pairs.agentic(some)
    parts = build_pairs.sides(built, 0.3, 0)
    functions = [{call.name for pair in part.pairs for call in pair.right.candidate.calls} for part in parts.values()]
    assert [len(part.pairs) for part in parts.values()] == [6, 14]
    assert not functions[0] & functions[1]
    assert {pair for part in parts.values() for pair in ids(part)} == set(ids(built))
    with pytest.raises(ConfigError, match=r"dev=0.05: all parts .* are larger"):
        build_pairs.sides(built, 0.05, 0)
    with pytest.raises(ConfigError, match="dev=1"):
        build_pairs.sides(built, 1, 0)


def ids(built):
    return [pair.graded.task.id for pair in built.pairs]


def test_two_runs_of_one_question_are_on_one_side_whatever_they_call():
    runs = [calling("a", "weather"), calling("a", "rain"), calling("b", "sun")]
    pairs = [build_pairs.Pair(one, one.right[0], one.wrong[0]) for one in runs]
    assert build_pairs.components(pairs) == {"a": 0, "b": 1}


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("pyarrow")
    return tmp_path / "built"


def test_the_outcome_folder_reads_back_in_fc_rewardbenchs_form_and_says_whose_it_is(folder):
    one = graded("simple_python_0", ["Ulm"], {"Bonn": (VALUE, ["m"])})
    built = build_pairs.outcome([one], shares={VALUE: 1}, cap=1.0)
    build_files.write_outcome(folder, {"": built}, {"seed": 0})
    found = fc_rewardbench.read(folder)
    assert found.name == "FC-RewardBench rebuilt"
    assert "made by `toolrm eval build` from recorded answers of 2 models: not the published benchmark" in found.note
    assert found.published == ()
    (group,) = found.groups
    assert [c.calls[0].arguments["city"] for c in group.candidates] == ["Ulm", "Bonn"]
    assert [c.maker for c in group.candidates] == ["model:good", "model:m"]
    assert group.verdicts[1].error_type is VALUE
    card = json.loads((folder / "card.json").read_text())
    assert card["counts"]["error types"] == {"incorrect parameter value": 1}
    assert (card["counts"]["right answers of"], card["counts"]["wrong answers of"]) == ({"good": 1}, {"m": 1})
    (file,) = folder.glob("*.arrow")
    assert fc_rewardbench.read(file).name == found.name
    assert samples.read_any(folder) == found.groups
    (folder / "card.json").unlink()
    assert fc_rewardbench.read(folder).name == "FC-RewardBench"


def test_the_agentic_file_reads_back_in_trbenchs_form_with_both_halves_and_says_whose_it_is(folder):
    some = [graded("simple_python_0", ["Ulm"], {"Bonn": (VALUE, ["m"]), "Jena": (NUMBER, ["n"])})]
    built = build_pairs.agentic(some)
    build_files.write_agentic(folder, {"": built}, {})
    found = trbench.read(folder)
    assert (found.name, found.published) == ("TRBench-BFCL rebuilt", ())
    (group_read,) = found.groups
    assert {c.calls[0].arguments["city"] for c in group_read.candidates[1:]} == {"Bonn", "Jena"}
    assert group_read.candidates[0].maker == "model:good"
    assert group_read.task.category == "simple"
    assert group_read.task.context.tools == (TOOL,)
    assert found.metric.of_scores(found.groups, [[1.0, 0.0, 0.0]])[1].value == 1.0
    assert samples.read_any(folder) == found.groups


@pytest.mark.parametrize(
    ("write", "build", "read"),
    [
        (build_files.write_outcome, lambda some: build_pairs.outcome(some, cap=1.0), fc_rewardbench.read),
        (build_files.write_agentic, build_pairs.agentic, trbench.read),
    ],
)
def test_sides_are_benchmarks_of_their_own_below_one_card(folder, write, build, read):
    built = build([calling(f"q{k}", f"f{k}") for k in range(10)])
    write(folder, build_pairs.sides(built, 0.3, 0), {})
    dev, test = read(folder / "dev"), read(folder / "test")
    assert (len(dev.groups), len(test.groups)) == (3, 7)
    assert dev.name.endswith("rebuilt, dev")
    with pytest.raises(DataError, match=r"was built in several sides; name one of .*dev, .*test"):
        read(folder)


def test_only_categories_that_the_benchmark_has_are_built_and_its_reader_takes_them_all(folder):
    no_call = ("irrelevance", "live_irrelevance", "live_relevance")
    categories = (*bfcl.ANSWERED, *no_call)
    some = [calling(f"{name}_0", f"f_{name}", category=name) for name in categories]
    agentic, outcome = build_pairs.agentic(some), build_pairs.outcome(some, cap=1.0)
    assert {pair.graded.task.category for pair in outcome.pairs} == set(bfcl.ANSWERED)
    assert outcome.drops == {OTHER_CATEGORY: 3}
    assert agentic.drops == {OTHER_CATEGORY: 5}  # nine splits of which one is of runs: neither Java nor JavaScript
    build_files.write_agentic(folder, {"": agentic}, {})
    assert {group.task.category for group in trbench.read(folder).groups} == trbench.SPLITS.keys() - {"multi_turn_base"}


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
