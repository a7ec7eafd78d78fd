"""Two questions in one turn."""

import dataclasses

import pytest

from toolrm_jax.errors import DataError
from toolrm_jax.toolcalls.compare import judge
from toolrm_jax.toolcalls.join import join
from toolrm_jax.toolcalls.types import Call, Candidate, Context, Message, Reference, Stale, Task, Tool

F, G = Tool("f", "F", {"type": "object"}), Tool("g", "G", {"type": "object"})


def task(name, tool, text="Do it?", reference=None, licence="MIT", system=None):
    messages = (*([Message("system", system)] if system is not None else []), Message("user", text))
    return Task(
        name, "src", "c", licence, Context((tool,), messages), reference or Reference((Call(tool.name, {"x": 1}),))
    )


def test_both_questions_tools_and_calls_are_there():
    both = join(task("a", F, "What is x?"), task("b", G, "Paint it {red}."))
    assert (both.id, both.source, both.category, both.licence) == ("a+b", "src", "joined", "MIT")
    assert {tool.name for tool in both.context.tools} == {"f", "g"}
    (message,) = both.context.messages
    assert message.role == "user"
    assert message.content.index("hat is x?") < message.content.index("aint it {red}.")
    right = (Call("f", {"x": 1}), Call("g", {"x": 1}))
    assert both.reference.calls == right
    assert judge(both, Candidate(right[::-1])).right
    assert not judge(both, Candidate(right[:1])).right


def test_accepted_values_of_one_stand_beside_the_calls_of_the_other():
    some = Reference((Call("f", {"x": 1}),), accepted=({"x": [1, 2, ""]},))
    both = join(task("a", F, reference=some), task("b", G))
    assert both.reference.accepted == ({"x": [1, 2, ""]}, {"x": [1]})
    assert judge(both, Candidate((Call("f", {}), Call("g", {"x": 1})))).right
    assert not judge(both, Candidate((Call("f", {}), Call("g", {})))).right
    empty = task("b", G, reference=Reference((Call("g", {"x": ""}),)))
    with pytest.raises(DataError, match="empty string"):
        join(task("a", F, reference=some), empty)


def test_marks_of_values_taken_back_stay_with_their_calls():
    first, second = (
        dataclasses.replace(task(name, tool), stale=(Stale(0, "x", old),))
        for name, tool, old in (("a", F, 7), ("b", G, 8))
    )
    assert join(first, second).stale == (Stale(0, "x", 7), Stale(1, "x", 8))


def test_wording_varies_and_is_fixed_by_the_ids():
    texts = {
        join(task(f"a{i}", F, "Is it on?"), task("b", G, "Can it wait")).context.messages[0].content for i in range(60)
    }
    assert len(texts) > 8
    assert any("can it wait" in text for text in texts)
    assert join(task("a", F), task("b", G)) == join(task("a", F), task("b", G))


def test_a_shared_tool_is_offered_once_and_one_of_two_schemas_is_refused():
    assert join(task("a", F), task("b", F)).context.tools == (F,)
    with pytest.raises(DataError, match=r"a\+b.*'f'"):
        join(task("a", F), task("b", Tool("f", "other", {})))


def test_licences_and_sources_are_joined():
    both = join(join(task("a", F, licence="MIT"), task("b", G, licence="CC BY 4.0")), task("c", F, licence="MIT"))
    assert both.licence == "MIT and CC BY 4.0"
    assert both.id == "a+b+c"
    assert len(both.reference.calls) == 3


def test_a_system_message_is_kept_where_it_is_the_same_or_in_one_only():
    for first, second in (("S", "S"), ("S", None), (None, "S")):
        messages = join(task("a", F, system=first), task("b", G, system=second)).context.messages
        assert [message.role for message in messages] == ["system", "user"]
        assert messages[0].content == "S"
    with pytest.raises(DataError, match="system messages differ"):
        join(task("a", F, system="S"), task("b", G, system="T"))


def test_what_cannot_be_joined_is_refused_with_its_id():
    talk = Context((G,), (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Go")))
    long = Task("b", "s", "c", "MIT", talk, Reference((Call("g", {}),)))
    for other in (long, task("b", G, reference=Reference((), "No.")), task("b", G, text=" ")):
        with pytest.raises(DataError, match=r"join a\+b: b "):
            join(task("a", F), other)
    unknown = Task("b", "s", "c", "MIT", task("b", G).context, None)
    with pytest.raises(DataError, match="b has no calls"):
        join(task("a", F), unknown)
