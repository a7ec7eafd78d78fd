"""From a model's text to a group with verdicts, and what is counted on the way."""

from __future__ import annotations

import json

import pytest

from toolrm_jax.errors import ConfigError, DataError
from toolrm_jax.evals.best_of_n import from_answers
from toolrm_jax.synth.grade import NO_ANSWER, NO_REFERENCE, ModelTally, grade, offered_names, reader, warnings
from toolrm_jax.synth.protocol import Answer, Outcome, Prompt, Sampling, requests
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.equality import candidate_key
from toolrm_jax.toolcalls.render import render_hermes
from toolrm_jax.toolcalls.types import Call, Candidate, Context, ErrorType, Group, Message, Reference, Task, Tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (Tool("weather.read", "Reads.", SCHEMA), Tool("clock", "Tells.", SCHEMA))
CONTEXT = Context(TOOLS, (Message("user", "Weather in Ulm?"),))
TASK = Task("t", "s", "c", "MIT", CONTEXT, Reference((Call("weather.read", {"city": "Ulm"}),)))
RIGHT = [Call("weather_read", {"city": "Ulm"})]


def outcomes(*texts, finish="stop", **more):
    asked = requests(Prompt(ids=(1,)), "m", Sampling(), range(len(texts)))
    return [
        Outcome(
            "t",
            request,
            None if text is None else Answer(text, finish, 5, 3, 0.5, **more),
            "" if text is not None else "gone",
        )
        for request, text in zip(asked, texts)
    ]


def graded(some, task=TASK, notation="hermes"):
    tallies = {"m": ModelTally()}
    return grade(task, {"m": some}, {"m": reader(notation)}, tallies), tallies["m"]


def test_answers_become_candidates_with_verdicts_of_the_comparison():
    wrong = render_hermes([Call("clock", {"city": "Ulm"})])
    group, tally = graded(outcomes(render_hermes(RIGHT), wrong, "<tool_call>{", "Ulm is nice.", ""))
    assert [candidate.maker for candidate in group.candidates] == ["model:m"] * 5
    assert [judge(TASK, candidate) for candidate in group.candidates] == list(group.verdicts)
    assert group.candidates[0].calls == (Call("weather.read", {"city": "Ulm"}),)
    assert [verdict.right for verdict in group.verdicts] == [True, False, False, False, False]
    assert (tally.answers, tally.right, tally.valid, tally.unparsable, tally.empty) == (5, 1, 4, 1, 1)
    assert tally.wrong == {ErrorType.NAME: 1, ErrorType.FORMAT: 1, ErrorType.NUMBER: 2}
    assert (tally.tokens, tally.seconds) == (15, 2.5)


def test_a_name_that_lost_its_dots_is_the_offered_tool_where_only_one_can_be_meant():
    assert offered_names(TOOLS) == {"weather_read": "weather.read"}
    both = (*TOOLS, Tool("weather_read", "Other.", SCHEMA))
    assert offered_names(both) == {}
    twins = (Tool("a.b", "", SCHEMA), Tool("a b", "", SCHEMA))
    assert offered_names(twins) == {}


def test_equal_answers_stand_once_and_are_all_counted():
    same = render_hermes(RIGHT)
    group, tally = graded(outcomes(same, same + "\n", render_hermes([Call("weather.read", {"city": "ulm "})]), "no"))
    assert [candidate.count for candidate in group.candidates] == [3, 1]
    assert Group.from_json(group.to_json()) == group
    assert (tally.answers, tally.right, tally.merged) == (4, 3, 2)


def test_best_of_n_draws_answers_as_often_as_they_were_given():
    group, _ = graded(outcomes(*[render_hermes(RIGHT)] * 3, "no"))
    (samples,) = from_answers([group], candidate_key)
    assert (samples.counts, samples.drawn) == ((3, 1), 4)


def test_a_greedy_answer_equal_to_samples_stays_known_and_is_none_of_the_draws():
    same, other = render_hermes(RIGHT), "no"
    for drawn, greedy, counts in (
        ([same, same, other], same, (2, 1)),
        ([same, other], other, (1, 1)),
        ([other, other], same, (2, 0)),
    ):
        some = {"m": outcomes(*drawn), "m@greedy": outcomes(greedy)}
        tallies, readers = {name: ModelTally() for name in some}, dict.fromkeys(some, reader("hermes"))
        group = grade(TASK, some, readers, tallies)
        assert Group.from_json(group.to_json()) == group
        (samples,) = from_answers([group], candidate_key)
        assert (samples.counts, samples.drawn) == (counts, len(drawn))
        assert group.verdicts[samples.greedy].right is (greedy is same)


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "2"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(DataError, match=r"count is .*, expected 1 or more"):
        Candidate.from_json({"text": "no", "count": count})


@pytest.mark.parametrize("others", [{"model:n": 2}, {"model:n": 0}, {"model:n": 1.0}])
def test_others_that_leave_nothing_to_the_maker_or_are_no_counts_are_refused(others):
    with pytest.raises(DataError, match=r"others are .*, expected fewer than all 2"):
        Candidate.from_json({"text": "no", "count": 2, "others": others})


def test_an_answer_of_another_model_like_an_earlier_one_is_merged_into_it():
    tallies = {"m": ModelTally(), "n": ModelTally()}
    read = {"m": reader("hermes"), "n": reader("python")}
    some = {"m": outcomes(render_hermes(RIGHT)), "n": outcomes("[weather_read(city='Ulm')]")}
    group = grade(TASK, some, read, tallies)
    assert [(candidate.maker, candidate.count) for candidate in group.candidates] == [("model:m", 2)]
    assert group.candidates[0].makers == {"model:m": 1, "model:n": 1}
    assert tallies["n"].merged == 1
    assert tallies["n"].right == 1


def test_an_answer_cut_off_is_no_answer_whatever_it_says():
    group, tally = graded(outcomes(render_hermes(RIGHT), finish="length"))
    assert group.candidates[0].calls == ()
    assert group.candidates[0].fault == "cut off after 3 tokens"
    assert group.candidates[0].cut
    assert not graded(outcomes("<tool_call>{"))[0].candidates[0].cut, "an unfinished call that the model ended itself"
    assert group.verdicts[0].error_type == ErrorType.FORMAT
    assert (tally.cut, tally.unparsable) == (1, 1)


def test_a_servers_message_is_read_as_it_came():
    call = {"type": "function", "id": "x", "function": {"name": "weather_read", "arguments": '{"city": "Ulm"}'}}
    group, _ = graded(outcomes("Looking.", message={"content": "Looking.", "tool_calls": [call]}), notation="openai")
    assert group.candidates[0].calls == (Call("weather.read", {"city": "Ulm"}),)
    assert group.candidates[0].text == "Looking."
    assert group.verdicts[0].right
    call["function"]["arguments"] = '{"city": '
    group, tally = graded(outcomes("", message={"tool_calls": [call]}), notation="openai")
    assert tally.unparsable == 1
    # What a model of our notation would have written: nothing of the server's own form is left to learn from.
    assert group.candidates[0].raw == '<tool_call>\n{"name": "weather_read", "arguments": {"city": }\n</tool_call>'


def test_failures_are_counted_by_their_reason_and_make_no_candidate():
    group, tally = graded(outcomes("no", None, None))
    assert len(group.candidates) == 1
    assert (tally.failed, dict(tally.reasons)) == (2, {"gone": 2})
    assert graded(outcomes(None))[0] == NO_ANSWER
    assert json.loads(json.dumps(tally.to_json()))["reasons"] == {"gone": 2}


def test_a_task_without_a_reference_gives_no_group():
    unknown = Task("t", "s", "c", "MIT", CONTEXT)
    assert graded(outcomes("no"), unknown)[0] == NO_REFERENCE


def test_a_value_nested_too_deep_is_a_fault_not_a_crash():
    deep = "[" * 63 + "]" * 63
    group, tally = graded(outcomes(f'<tool_call>{{"name": "clock", "arguments": {{"a": {deep}}}}}</tool_call>'))
    assert tally.answers == 1
    assert not group.verdicts[0].right


def test_samples_that_are_all_the_same_are_told_loudly_where_most_contexts_are_so():
    _, tally = graded(outcomes("a", "a", "a"))
    assert (tally.compared, tally.identical) == (1, 1)
    (told,) = warnings("m", tally, 1.0)
    assert told.startswith("WARNING: m: all samples are the same text in 1 of 1 contexts")
    assert warnings("m", tally, 0.0) == []
    tally.compared = 100
    assert warnings("m", tally, 1.0)[0].startswith("note: ")
    _, tally = graded(outcomes("a", "b"))
    assert warnings("m", tally, 1.0) == []
    assert graded(outcomes("a"))[1].compared == 0


def test_calls_that_a_server_has_parsed_are_read_whatever_notation_its_texts_are_in():
    call = {"type": "function", "id": "x", "function": {"name": "weather_read", "arguments": '{"city": "Ulm"}'}}
    for notation in ("openai", "hermes", "mistral"):
        group, _ = graded(outcomes("", message={"content": None, "tool_calls": [call]}), notation=notation)
        assert group.verdicts[0].right
    text = render_hermes(RIGHT)
    for message in ({"content": text}, {"content": text, "tool_calls": []}):
        group, _ = graded(outcomes(text, message=message), notation="hermes")
        assert group.verdicts[0].right


@pytest.mark.parametrize(
    "text",
    [
        render_hermes(RIGHT), '[TOOL_CALLS] [{"name": "f", "arguments": {}}]', "<|tool_call|>[{}]", "<function=f>{}",
        '{"name": "f", "parameters": {}}', '[{"name": "f", "arguments": {}}]', "<|python_tag|>f.call()",
        "Sure.\n<｜tool▁calls▁begin｜>…",
    ],
)  # fmt: skip
def test_words_that_bear_the_marks_of_calls_are_told_loudly(text):
    _, tally = graded(outcomes(text, "It is warm."), notation="openai")
    assert tally.unread == 1
    (told,) = warnings("m", tally, 1.0)
    assert told.startswith("WARNING: m: 1 of 2 answers were read as words")
    assert "format=" in told
    tally.answers = 1000
    assert warnings("m", tally, 1.0)[0].startswith("note: ")
    _, tally = graded(outcomes("It is warm.", 'The "name": Ulm [1]'), notation="openai")
    assert warnings("m", tally, 1.0) == []


def test_the_warning_names_the_notation_that_reads_most_of_them():
    fenced = '```json\n{"name": "weather.read", "arguments": {"city": "Ulm"}}\n```'
    _, tally = graded(outcomes(fenced, fenced, '[TOOL_CALLS] [{"name": "f", "arguments": {}}]'), notation="hermes")
    assert tally.to_json()["notations"] == {"json": 2, "mistral": 1}
    (told,) = warnings("m", tally, 0.0)
    assert "; 2 are calls in the notation json: give it as its entry's format=" in told
    _, tally = graded(outcomes(fenced), notation="json")
    assert (tally.unread, tally.right) == (0, 1)


def test_an_unknown_notation_is_refused():
    with pytest.raises(ConfigError, match="format=xml"):
        reader("xml")
